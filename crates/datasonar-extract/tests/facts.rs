//! What a crawler is told of a page.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking, and are their own documentation")]

use std::fmt::Write;

use datasonar_extract::{CrawlFacts, Document, Format, Options, RobotsDirectives, extract};
use url::Url;

fn facts_of(body: &str, formats: Vec<Format>, content_type: &str) -> Option<CrawlFacts> {
    let url: Url = "https://example.com/a/b?c".parse().unwrap();
    let options = Options::new(formats, true, &["main".to_owned()], &["nav".to_owned()]).unwrap();
    let document = Document { url: &url, content_type: Some(content_type), body: body.as_bytes() };
    let without = extract(&document, &options, &|| false).unwrap();
    assert_eq!(without.crawl_facts, None);
    let with = extract(&document, &options.with_crawl_facts("Datasonar"), &|| false).unwrap();
    assert_eq!((with.contents, with.metadata), (without.contents, without.metadata));
    with.crawl_facts
}

fn facts(body: &str) -> CrawlFacts {
    facts_of(body, vec![Format::Markdown], "text/html").unwrap()
}

fn links(body: &str) -> Vec<String> {
    facts(body).links.into_iter().map(|link| link.url.into()).collect()
}

#[test]
fn links_are_those_of_the_whole_page_whatever_is_content() {
    let body =
        "<nav><a href=/nav>n</a></nav><main><a href=x>x</a></main><div hidden><a href=//other.example/>o</a></div>
        <footer><map><area href='?page=2'></map><a href=/x#part>again</a><a href='/a/x'>again</a></footer>";
    let expected = [
        "https://example.com/nav",
        "https://example.com/a/x",
        "https://other.example/",
        "https://example.com/a/b?page=2",
        "https://example.com/x",
    ];
    assert_eq!(links(body), expected);
    for formats in [vec![], vec![Format::RawHtml], vec![Format::Links, Format::Json]] {
        assert_eq!(facts_of(body, formats, "text/html"), Some(facts(body)));
    }
}

#[test]
fn what_leads_nowhere_is_no_link() {
    let body = "<a href='#top'>t</a><a href=''>e</a><a href='  '>s</a><a name=x>n</a><a href='mailto:a@b.example'>m</a>
        <a href='javascript:void(0)'>j</a><a href='data:text/html,x'>d</a><a href='http://[bad'>b</a><a href='ftp://x/'>f</a>";
    assert_eq!(links(body), <[&str; 0]>::default());
    assert_eq!(facts(body).more_links, 0);
}

#[test]
fn other_elements_lead_on() {
    let head = "<head><link rel=next href=/2><link rel='Prev nofollow' href=/0><link rel=stylesheet href=/s.css>
        <link rel=canonical href='../c'><meta http-equiv=Refresh content='0; URL=\"/refreshed\"'></head>";
    assert_eq!(links(head), ["/2", "/0", "/refreshed"].map(|path| format!("https://example.com{path}")));
    let frames = "<iframe src=/inner></iframe><iframe src='https://player.example/1'></iframe>";
    assert_eq!(links(frames), ["https://example.com/inner"]);
    let frameset = "<frameset cols='1,2'><frame src=menu.html><frame src=main.html></frameset>";
    assert_eq!(links(frameset), ["https://example.com/a/menu.html", "https://example.com/a/main.html"]);
}

#[test]
fn refreshes_lead_where_they_say() {
    for (content, target) in [
        ("5;url=/n", Some("https://example.com/n")),
        ("5 ; URL = '/n'", Some("https://example.com/n")),
        ("0,/n", Some("https://example.com/n")),
        ("0;urls", Some("https://example.com/a/urls")),
        ("0.5;url=", None),
        ("30", None),
        ("", None),
        ("0;é", Some("https://example.com/a/%C3%A9")),
    ] {
        let found = links(&format!("<meta http-equiv=refresh content=\"{content}\">"));
        assert_eq!(found.first().map(String::as_str), target, "{content}");
    }
}

#[test]
fn addresses_are_relative_to_the_base() {
    assert_eq!(links("<base href=/docs/><a href=x>x</a>"), ["https://example.com/docs/x"]);
}

#[test]
fn links_not_to_be_followed_are_marked_unless_another_says_otherwise() {
    let body = "<a rel='external NOFOLLOW' href=/1>1</a><a rel=ugc href=/2>2</a><a rel=sponsored href=/3>3</a>
        <a rel=noopener href=/4>4</a><a rel=nofollow href=/5>5</a><a href=/5>5</a>";
    let marks: Vec<bool> = facts(body).links.iter().map(|link| link.nofollow).collect();
    assert_eq!(marks, [true, true, true, false, false]);
}

#[test]
fn directives_are_those_for_all_and_those_for_us() {
    let of = |body: &str| facts(body).robots;
    let asked = |noindex, nofollow| RobotsDirectives { noindex, nofollow };
    assert_eq!(of("<meta name=robots content='index, follow'>"), asked(false, false));
    assert_eq!(of("<meta name=ROBOTS content='NoIndex'><meta name=datasonar content=nofollow>"), asked(true, true));
    assert_eq!(of("<meta name=robots content=none>"), asked(true, true));
    assert_eq!(of("<meta name=otherbot content=none>"), asked(false, false));
    assert_eq!(of("<meta name=robots content='max-snippet:-1, nofollow,noarchive'>"), asked(false, true));
    assert_eq!(of("<meta content=none>"), asked(false, false));
}

#[test]
fn the_canonical_address_is_the_heads() {
    let of = |body: &str| facts(body).canonical_url.map(String::from);
    assert_eq!(of("<link rel=canonical href='/c#part'>").as_deref(), Some("https://example.com/c"));
    assert_eq!(of("<meta property=og:url content=/c>"), None);
    assert_eq!(of("<body><p>x<link rel=canonical href='https://evil.example/'>"), None);
}

#[test]
fn documents_that_are_not_html_lead_nowhere() {
    for (body, content_type) in [
        ("see https://example.com/x", "text/plain"),
        ("{\"a\": \"https://example.com/x\"}", "application/json"),
        ("<?xml version='1.0'?><rss><link>https://example.com/x</link></rss>", "application/xml"),
    ] {
        assert_eq!(facts_of(body, vec![Format::Text], content_type), Some(CrawlFacts::default()));
    }
}

#[test]
fn a_million_links_are_counted_and_ten_thousand_kept() {
    let mut body = String::new();
    for n in 0..1_000_000 {
        write!(body, "<a href=/{n}>").unwrap();
    }
    let found = facts(&body);
    assert_eq!((found.links.len(), found.more_links), (10_000, 990_000));
    assert_eq!(found.links[9_999].url.path(), "/9999");
}

#[test]
fn a_million_times_the_same_link_is_one() {
    let found = facts(&"<a href=/x>".repeat(1_000_000));
    assert_eq!((found.links.len(), found.more_links), (1, 800_000));
}

#[test]
fn a_long_base_does_not_make_a_short_page_long() {
    let mut body = format!("<base href='/{}/'>", "long".repeat(2_000));
    for n in 0..20_000 {
        write!(body, "<a href={n}>").unwrap();
    }
    let found = facts(&body);
    let bytes: usize = found.links.iter().map(|link| link.url.as_str().len()).sum();
    assert!(bytes < 5 * 1024 * 1024, "{bytes} bytes");
    assert_eq!(found.links.len() as u64 + found.more_links, 20_000);
}
