//! What a page says of itself, where several places say it: which of them is believed.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking, and are their own documentation")]

use datasonar_extract::{Document, Format, Metadata, Options, extract};
use url::Url;

const URL: &str = "https://harbour.example/2020/01/31/tides";

fn metadata(html: &str) -> Metadata {
    let url: Url = URL.parse().unwrap();
    let options = Options::new(vec![Format::Text], true, &[], &[]).unwrap();
    let document = Document { url: &url, content_type: Some("text/html"), body: html.as_bytes() };
    extract(&document, &options, &|| false).unwrap().metadata
}

/// What a place says, and where it stands: in the head, unless it is shown.
type Place = (&'static str, &'static str);

fn page(places: &[Place]) -> String {
    let is_shown =
        |html: &str| ["<h1", "<time", "<span", "<a ", "<img", "<div"].iter().any(|start| html.starts_with(start));
    let mut attributes = String::new();
    let (mut head, mut body) = (String::new(), String::new());
    for (html, _) in places {
        match html.strip_prefix("lang=") {
            Some(tag) => attributes = format!(" lang=\"{tag}\""),
            None if is_shown(html) => body.push_str(html),
            None => head.push_str(html),
        }
    }
    format!(
        "<!doctype html><html{attributes}><head>{head}</head><body>{body}<p>High water is at six.</p></body></html>"
    )
}

fn json_ld(members: &str) -> String {
    format!(
        r#"<script type="application/ld+json">{{"@context":"https://schema.org","@type":"NewsArticle",{members}}}</script>"#
    )
}

/// Each place is believed as long as none before it speaks, wherever they stand; without any, there is nothing.
fn in_order(name: &str, places: &[Place], of: impl Fn(&Metadata) -> Option<String>, without: Option<&str>) {
    for at in 0..=places.len() {
        let expected = places.get(at).map(|(_, value)| *value).or(without);
        let (mut forwards, mut backwards) = (places[at..].to_vec(), places[at..].to_vec());
        backwards.reverse();
        for places in [&mut forwards, &mut backwards] {
            let html = page(places);
            assert_eq!(of(&metadata(&html)).as_deref(), expected, "{name}, place {at}: {html}");
        }
        // What is empty says nothing.
        if let Some((html, value)) = places.get(at)
            && html.contains(&format!("content=\"{value}\""))
        {
            let empty: &str = html.replace(value, " ").leak();
            let mut with_empty = vec![(empty, "")];
            with_empty.extend(&places[at + 1..]);
            let expected = places.get(at + 1).map(|(_, value)| *value).or(without);
            assert_eq!(of(&metadata(&page(&with_empty))).as_deref(), expected, "{name}, place {at} is empty");
        }
    }
}

#[test]
fn a_title_is_what_is_shown_when_the_page_is_shared() {
    let data: &str = json_ld(r#""headline":"Three""#).leak();
    let places = [
        ("<meta property=og:title content=\"One\">", "One"),
        ("<meta name=twitter:title content=\"Two\">", "Two"),
        (data, "Three"),
        ("<meta name=citation_title content=\"Four\">", "Four"),
        ("<meta name=DC.title content=\"Five\">", "Five"),
        ("<title>Six</title>", "Six"),
        ("<h1>Seven</h1>", "Seven"),
    ];
    in_order("title", &places, |metadata| metadata.title.clone(), None);
}

#[test]
fn an_author_is_whom_the_data_name() {
    let data: &str = json_ld(r#""author":[{"@type":"Person","name":"One"},{"@type":"Person","name":"Eins"}]"#).leak();
    let places = [
        (data, "One, Eins"),
        ("<meta name=citation_author content=\"Two\">", "Two"),
        ("<meta name=author content=\"Three\">", "Three"),
        ("<meta property=article:author content=\"Four\">", "Four"),
        ("<meta name=dc.creator content=\"Five\">", "Five"),
        ("<meta name=parsely-author content=\"Six\">", "Six"),
        ("<span itemprop=author><span itemprop=name>Seven</span>, editor</span>", "Seven"),
    ];
    in_order("author", &places, |metadata| metadata.author.clone(), None);
    // An address is no name.
    let html = page(&[
        ("<meta property=article:author content=\"https://facebook.example/ada\">", ""),
        ("<a rel=author href=/ada>Ada</a>", ""),
    ]);
    assert_eq!(metadata(&html).author.as_deref(), Some("Ada"));
}

#[test]
fn a_date_is_that_of_publication_in_iso_form() {
    let data: &str = json_ld(r#""datePublished":"2020-02-02T10:00:00+01:00","dateModified":"2024-01-01""#).leak();
    let later: &str = json_ld(r#""dateCreated":"2020-02-06""#).leak();
    let places = [
        ("<meta property=article:published_time content=\"2020-02-01T08:30:00Z\">", "2020-02-01T08:30:00Z"),
        (data, "2020-02-02T10:00:00+01:00"),
        ("<meta name=citation_publication_date content=\"2020/02/03\">", "2020-02-03"),
        ("<meta name=date content=\"4 February 2020\">", "2020-02-04"),
        ("<time itemprop=datePublished datetime=\"2020-02-05\">yesterday</time>", "2020-02-05"),
        (later, "2020-02-06"),
    ];
    let of = |metadata: &Metadata| metadata.published_at.clone();
    for at in 0..=places.len() {
        // Data stand in one script, of which the first is about the page.
        let rest: Vec<Place> = places[at..].iter().filter(|(html, _)| at > 1 || *html != later).copied().collect();
        let expected = rest.first().map_or("2020-01-31", |(_, value)| value);
        assert_eq!(of(&metadata(&page(&rest))).as_deref(), Some(expected), "place {at}");
    }
    // What is no date is passed over, and a change is not a publication.
    let html = page(&[
        ("<meta property=article:published_time content=\"soon\">", ""),
        ("<meta property=article:modified_time content=\"2024-01-01\">", ""),
    ]);
    assert_eq!(of(&metadata(&html)).as_deref(), Some("2020-01-31"));
}

#[test]
fn a_language_is_that_of_the_document_first() {
    let data: &str = json_ld(r#""inLanguage":"fi""#).leak();
    let places = [
        ("lang=nb-NO", "nb-NO"),
        ("<meta http-equiv=content-language content=\"sv\">", "sv"),
        ("<meta name=dc.language content=\"da\">", "da"),
        ("<meta property=og:locale content=\"is_IS\">", "is-IS"),
        (data, "fi"),
    ];
    in_order("language", &places, |metadata| metadata.language.clone(), None);
}

#[test]
fn addresses_are_absolute_and_those_that_are_meant_come_first() {
    let places = [
        ("<link rel=canonical href=/tides>", "https://harbour.example/tides"),
        ("<meta property=og:url content=\"/shared\">", "https://harbour.example/shared"),
    ];
    in_order("canonical URL", &places, |metadata| metadata.canonical_url.clone(), None);
    let data: &str = json_ld(r#""image":{"@type":"ImageObject","url":"/four.png"}"#).leak();
    let image = |name: &str| format!("https://harbour.example/{name}.png");
    let [one, two, three, four, five, six] =
        ["one", "two", "three", "four", "five", "six"].map(|name| &*image(name).leak());
    let places = [
        ("<meta property=og:image:secure_url content=\"/one.png\">", one),
        ("<meta property=og:image content=\"/two.png\">", two),
        ("<meta name=twitter:image content=\"/three.png\">", three),
        (data, four),
        ("<img itemprop=image src=/five.png>", five),
        ("<meta name=thumbnail content=\"/six.png\">", six),
    ];
    in_order("image", &places, |metadata| metadata.image.clone(), None);
    // What no browser would fetch over the web is no address.
    let html = page(&[
        ("<link rel=canonical href='javascript:alert(1)'>", ""),
        ("<meta property=og:image content='data:image/png,x'>", ""),
    ]);
    let metadata = metadata(&html);
    assert_eq!((metadata.canonical_url, metadata.image), (None, None));
}

#[test]
fn a_site_and_a_description_have_their_places() {
    let data: &str = json_ld(r#""publisher":{"@type":"Organization","name":"Two"},"description":"Five""#).leak();
    let places = [
        ("<meta property=og:site_name content=\"One\">", "One"),
        (data, "Two"),
        ("<meta name=application-name content=\"Three\">", "Three"),
    ];
    in_order("site", &places, |metadata| metadata.site_name.clone(), None);
    let places = [
        ("<meta name=description content=\"One\">", "One"),
        ("<meta property=og:description content=\"Two\">", "Two"),
        ("<meta name=twitter:description content=\"Three\">", "Three"),
        ("<meta name=dcterms.description content=\"Four\">", "Four"),
        (data, "Five"),
    ];
    in_order("description", &places, |metadata| metadata.description.clone(), None);
}
