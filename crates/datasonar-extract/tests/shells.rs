//! Pages that show nothing without scripts: what they say of themselves stands in for their content.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking, and are their own documentation")]

use datasonar_extract::{Content, Document, Format, Options, extract};
use url::Url;

const SAID: &str = "A lamp of brass & glass that is made by hand in Porto, for desks that deserve one.";

fn extracted(page: &str, format: Format, only_main_content: bool) -> String {
    let url: Url = "https://shop.example/lamp".parse().unwrap();
    let options = Options::new(vec![format], only_main_content, &[], &[]).unwrap();
    let document = Document { url: &url, content_type: Some("text/html"), body: page.as_bytes() };
    match extract(&document, &options, &|| false).unwrap().contents.pop().unwrap().1 {
        Content::Text(text) => text.trim().to_owned(),
        other => serde_json::to_string(&other).unwrap(),
    }
}

fn shell(head: &str, body: &str) -> String {
    format!("<title>Lamp</title>{head}<body><div id=root>{body}</div><script>start()</script>")
}

#[test]
fn the_longest_description_stands_in() {
    let said = SAID.replace('&', "&amp;");
    let page = shell(
        &format!("<meta name=description content='A lamp of brass'><meta property=og:description content='{said}'>"),
        "",
    );
    assert_eq!(extracted(&page, Format::Text, true), SAID);
    assert_eq!(extracted(&page, Format::Markdown, true), SAID);
    assert!(extracted(&page, Format::Html, true).contains(&format!("<p>{said}</p>")));
    assert_eq!(extracted(&page, Format::Text, false), "", "the whole page has no text");
}

#[test]
fn structured_data_stands_in_with_its_paragraphs() {
    let data = r#"{"@type": "Article", "articleBody": "The first paragraph of the article.\n\nThe second one <b>is</b> longer than that."}"#;
    let page = shell(&format!("<script type='application/ld+json'>{data}</script>"), "");
    let text = extracted(&page, Format::Text, true);
    assert_eq!(text, "The first paragraph of the article.\n\nThe second one <b>is</b> longer than that.");
}

#[test]
fn a_page_that_shows_something_speaks_for_itself() {
    let shown = "The page itself says what there is to say about lamps, in words enough to count as text of its own right here.";
    let page = shell(&format!("<meta name=description content='{SAID}'>"), &format!("<p>{shown}</p>"));
    assert_eq!(extracted(&page, Format::Text, true), shown);
    let page = shell("<meta name=description content='A lamp.'>", "<p>Loading the lamp</p>");
    assert_eq!(extracted(&page, Format::Text, true), "Loading the lamp", "a few words are not worth it");
}
