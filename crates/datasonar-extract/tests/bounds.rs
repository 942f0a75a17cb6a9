//! Whatever a page is, extracting it comes to a clear end: in time, on a small stack, without a panic.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking, and are their own documentation")]

use std::{cell::Cell, thread};

use datasonar_extract::{Content, Document, ExtractError, Format, Options, extract};
use proptest::prelude::*;
use url::Url;

const FORMATS: [Format; 6] =
    [Format::Markdown, Format::Text, Format::Html, Format::RawHtml, Format::Links, Format::Json];

fn options(only_main_content: bool) -> Options {
    Options::new(FORMATS.to_vec(), only_main_content, &[], &["nav".to_owned()]).unwrap()
}

fn text(body: &[u8], content_type: &str, format: Format) -> String {
    let url: Url = "https://example.com/a/b?c".parse().unwrap();
    let options = Options::new(vec![format], true, &[], &[]).unwrap();
    let document = Document { url: &url, content_type: Some(content_type), body };
    match extract(&document, &options, &|| false).unwrap().contents.pop().unwrap().1 {
        Content::Text(text) => text,
        other => serde_json::to_string(&other).unwrap(),
    }
}

/// Extracts a page in every format on a thread with a small stack. A page may take long enough to be stopped, but nothing
/// else may come of it.
fn survives(name: &str, body: Vec<u8>) {
    let work = move || {
        let url: Url = "https://example.com/a/b?c".parse().unwrap();
        for only_main_content in [true, false] {
            let document = Document { url: &url, content_type: Some("text/html"), body: &body };
            match extract(&document, &options(only_main_content), &|| false) {
                Ok(extracted) => assert_eq!(extracted.contents.len(), FORMATS.len()),
                // Six formats of ten megabytes each are too many.
                Err(error) => {
                    assert!(matches!(error, ExtractError::TooLarge { .. }) && body.len() > 1 << 20, "{error}")
                }
            }
        }
    };
    let done = thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(work).unwrap().join();
    assert!(done.is_ok(), "{name}");
}

#[test]
fn deep_pages_are_flattened() {
    survives("100,000 nested elements", "<div>".repeat(100_000).into_bytes());
    survives("nested and closed", [&"<div>".repeat(100_000)[..], "x", &"</div>".repeat(100_000)].concat().into());
    survives("nested lists", "<ul><li>x".repeat(100_000).into_bytes());
    survives("nested tables", "<table><tr><td>".repeat(100_000).into_bytes());
    survives("nested quotes", "<blockquote>x".repeat(100_000).into_bytes());
}

#[test]
fn elements_that_are_opened_again_and_again_do_not_multiply() {
    survives("bold left open", "<p><b>x".repeat(100_000).into_bytes());
    survives("formatting in disorder", "<a><b><i><u>x</p>".repeat(50_000).into_bytes());
    survives("fonts", "<font size=1>".repeat(100_000).into_bytes());
}

#[test]
fn ten_megabytes_are_a_page_like_any_other() {
    survives("text", "word ".repeat(2_000_000).into_bytes());
    survives("one attribute", format!("<p title=\"{}\">x</p>", "x".repeat(10_000_000)).into_bytes());
    let attributes: String = (0..500_000).map(|n| format!("a{n}=1 ")).collect();
    survives("attributes", format!("<p {attributes}>x</p>").into_bytes());
    survives("less-than signs", "<".repeat(10_000_000).into_bytes());
    survives("comments", "<!--".repeat(2_500_000).into_bytes());
    survives("noise", (0..10_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect());
}

#[test]
fn whoever_is_told_to_stop_stops() {
    let url: Url = "https://example.com/".parse().unwrap();
    let body = "<p>hello, world".repeat(500_000);
    let document = Document { url: &url, content_type: None, body: body.as_bytes() };
    let asked = Cell::new(0_u32);
    let stop = || {
        asked.set(asked.get() + 1);
        asked.get() > 3
    };
    let stopped = extract(&document, &options(true), &stop);
    assert!(matches!(stopped, Err(ExtractError::Stopped)));
    assert_eq!(ExtractError::Stopped.code(), "timeout");
}

#[test]
fn charsets_are_declared_sniffed_or_wrong() {
    let windows = b"<p>Cr\xe8me br\xfbl\xe9e, na\xefve fa\xe7ades \x96 really</p>";
    assert!(
        text(windows, "text/html; charset=windows-1252", Format::Text).contains("Crème brûlée, naïve façades – really")
    );
    let declared = [&b"<meta charset=windows-1252>"[..], windows].concat();
    assert!(text(&declared, "text/html", Format::Text).contains("Crème brûlée"));
    let japanese = b"<meta charset=shift_jis><p>\x8d\x60\x82\xcc\x8bL\x98^\x82\xc6\x93V\x8bC</p>";
    assert!(text(japanese, "text/html", Format::Text).contains("港の記録と天気"));
    let with_mark = "\u{feff}<meta charset=windows-1252><p>déjà vu</p>".as_bytes();
    assert!(text(with_mark, "text/html; charset=iso-8859-2", Format::Text).contains("déjà vu"));
    assert!(text(b"<p>broken \xff\xfe bytes</p>", "text/html; charset=utf-8", Format::Text).contains("broken"));
}

#[test]
fn what_is_no_text_is_unsupported() {
    let url: Url = "https://example.com/".parse().unwrap();
    for (content_type, body) in [("image/png", &b"\x89PNG\r\n\x1a\n"[..]), ("application/octet-stream", b"\0\x01\x02")]
    {
        let document = Document { url: &url, content_type: Some(content_type), body };
        let error = extract(&document, &options(true), &|| false).unwrap_err();
        assert_eq!(error.code(), "unsupported_content", "{content_type}");
    }
}

#[test]
fn markdown_reads_well() {
    let page = br#"<html><head><title>Soundings</title></head><body><nav><a href="/x">Elsewhere</a></nav><main>
        <h1>Depths &amp; lines</h1>
        <p>Cast the <strong>lead</strong> line <a href="/line">early</a>, and <em>often</em>, says <code>cast()</code>.</p>
        <ul><li>one<ul><li>inner</li></ul></li><li>two</li></ul>
        <ol><li>first</li><li>second</li></ol>
        <pre><code class="language-rust">let a = 1;
let b = 2;</code></pre>
        <blockquote><p>Deep water.</p></blockquote>
        <table><tr><th>Option</th><th>Default</th></tr><tr><td>line</td><td>200</td></tr></table>
        </main><footer>All rights reserved</footer></body></html>"#;
    let markdown = text(page, "text/html; charset=utf-8", Format::Markdown);
    for part in [
        "# Depths & lines",
        "Cast the **lead** line [early](https://example.com/line), and *often*, says `cast()`.",
        "```rust\nlet a = 1;\nlet b = 2;\n```",
        "> Deep water.",
        "| Option | Default |",
        "| line | 200 |",
        "inner",
    ] {
        assert!(markdown.contains(part), "{part:?} is not in:\n{markdown}");
    }
    assert!(!markdown.contains("Elsewhere") && !markdown.contains("All rights reserved"), "{markdown}");
    let links = text(page, "text/html", Format::Links);
    assert!(links.contains("https://example.com/line"), "{links}");
}

#[test]
fn selectors_choose() {
    let url: Url = "https://example.com/".parse().unwrap();
    let body = b"<div class=a><p>keep <span>not this</span></p></div><div class=b><p>leave</p></div>";
    let document = Document { url: &url, content_type: None, body };
    let options = Options::new(vec![Format::Text], true, &[".a p".to_owned()], &["span".to_owned()]).unwrap();
    let extracted = extract(&document, &options, &|| false).unwrap();
    assert!(matches!(&extracted.contents[0].1, Content::Text(text) if text.trim() == "keep"));
    let error = Options::new(vec![Format::Text], true, &["p".to_owned(), "p[".to_owned()], &[]).unwrap_err();
    assert_eq!((error.list, error.index), ("include_selectors", 1));
}

/// What tag soup is made of.
const PIECES: &[&str] = &[
    "<p>",
    "</p>",
    "<b>",
    "</b>",
    "<i>",
    "</i>",
    "<a href=x>",
    "</a>",
    "<table>",
    "<tr>",
    "<td>",
    "</table>",
    "<ul>",
    "<li>",
    "</ul>",
    "<pre>",
    "</pre>",
    "<svg>",
    "<math>",
    "</svg>",
    "<select>",
    "<option>",
    "<template>",
    "<script>",
    "</script>",
    "<!--",
    "-->",
    "&amp;",
    "&#x0;",
    "&#xD800;",
    "<",
    ">",
    "\"",
    "\0",
    "\u{feff}",
    "\u{202e}",
    "text",
    " ",
    "\n",
    "<h1>",
    "<blockquote>",
    "<img src=y>",
    "<br>",
    "</body>",
    "<html>",
    "<frameset>",
    "<title>",
    "<![CDATA[",
    "]]>",
    "<?xml",
    "é",
];

fn soup() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(proptest::sample::select(PIECES), 0..80).prop_map(|parts| parts.concat().into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn tag_soup_is_digested(body in soup(), only_main_content: bool) {
        let url: Url = "https://example.com/".parse().unwrap();
        let document = Document { url: &url, content_type: Some("text/html"), body: &body };
        let extracted = extract(&document, &options(only_main_content), &|| false).unwrap();
        prop_assert_eq!(extracted.contents.len(), FORMATS.len());
    }

    #[test]
    fn arbitrary_bytes_come_to_a_clear_outcome(body in proptest::collection::vec(any::<u8>(), 0..600)) {
        let url: Url = "https://example.com/".parse().unwrap();
        for content_type in [None, Some("text/html"), Some("text/plain"), Some("application/json"), Some("text/xml; charset=x")] {
            let document = Document { url: &url, content_type, body: &body };
            match extract(&document, &options(true), &|| false) {
                Ok(extracted) => prop_assert_eq!(extracted.contents.len(), FORMATS.len()),
                Err(error) => prop_assert!(matches!(error.code(), "unsupported_content" | "decode_error")),
            }
        }
    }
}
