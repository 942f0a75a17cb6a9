//! The demonstration's pages: several kinds, sizes and charsets, rendered once at the start.
//!
//! A page is a head and a tail that many pages share, and between them, in the midst of the main content, the sentence that
//! only it has. So serving one costs no more than copying it. The sentence is written with letters of the page's charset:
//! whoever takes the charset for another does not find it.

use std::io::{self, Write};

use bytes::Bytes;
use encoding_rs::{Encoding, ISO_8859_2, SHIFT_JIS, UTF_8, WINDOWS_1252};
use flate2::{Compression, Crc, write::GzEncoder};

/// A page without its own sentence.
#[derive(Clone, Debug)]
pub(super) struct Template {
    pub(super) content_type: &'static str,
    encoding: &'static Encoding,
    plain: Halves,
    zipped: Halves,
}

/// What comes before and after a page's own sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Halves {
    head: Bytes,
    tail: Bytes,
}

/// How many templates there are.
pub(super) const TEMPLATES: usize = 96;

impl Template {
    /// The sentence that only the page at `index` has.
    pub(super) fn sentence(&self, index: usize) -> String {
        // Knuth's multiplicative hash: neighbours shall not look alike.
        let depth = (index as u32).wrapping_mul(2_654_435_761);
        format!("The sounding off {} at station {index} gave {depth} fathoms.", place(self.encoding))
    }

    /// The bytes of the page at `index`.
    pub(super) fn page(&self, index: usize) -> Bytes {
        self.plain.around(&encode(self.encoding, &self.sentence(index)))
    }

    /// The same, compressed. Members of a gzip stream can be put one behind the other.
    pub(super) fn zipped_page(&self, index: usize) -> Bytes {
        self.zipped.around(&stored(&encode(self.encoding, &self.sentence(index))))
    }
}

impl Halves {
    fn around(&self, middle: &[u8]) -> Bytes {
        [&self.head[..], middle, &self.tail[..]].concat().into()
    }
}

/// A name with letters that this charset writes in its own way.
fn place(encoding: &'static Encoding) -> &'static str {
    match encoding.name() {
        "windows-1252" => "Besançon",
        "Shift_JIS" => "長崎",
        "ISO-8859-2" => "Łódź",
        _ => "Þórshöfn",
    }
}

/// Renders all templates.
pub(super) fn render() -> Vec<Template> {
    (0..TEMPLATES).map(template).collect()
}

fn template(variant: usize) -> Template {
    let mut words = Words(variant as u64 * 7_919 + 1);
    let kind = variant % 6;
    let (encoding, content_type) = match variant % 16 {
        5 => (WINDOWS_1252, "text/html; charset=windows-1252"),
        9 => (SHIFT_JIS, "text/html"),
        13 => (ISO_8859_2, "text/html; charset=iso-8859-2"),
        _ => (UTF_8, "text/html; charset=utf-8"),
    };
    // From 4 KB to some 200 KB, most of them around 25.
    let length = match variant % 32 {
        0..6 => 2_000,
        6..26 => 8_000 + 1_500 * (variant % 13),
        26..31 => 45_000,
        _ => 190_000,
    };
    let title = words.title();
    let body = match kind {
        0 => article(&mut words, &title, length),
        1 => product(&mut words, &title, length),
        2 => documentation(&mut words, &title, length),
        3 => forum(&mut words, &title, length),
        4 => listing(&mut words, &title, length),
        _ => blog(&mut words, &title, length),
    };
    let page = frame(&mut words, &title, encoding, &body);
    let (head, tail) = page.split_once(MARK).expect("every kind has the mark");
    let plain = Halves { head: encode(encoding, head), tail: encode(encoding, tail) };
    let zipped = Halves { head: zip(&plain.head), tail: zip(&plain.tail) };
    Template { content_type, encoding, plain, zipped }
}

/// Where a page's own sentence goes.
const MARK: &str = "\u{0}";

fn encode(encoding: &'static Encoding, text: &str) -> Bytes {
    Bytes::from(encoding.encode(text).0.into_owned())
}

/// A gzip member.
fn zip(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let zipped: io::Result<Vec<u8>> = encoder.write_all(bytes).and_then(|()| encoder.finish());
    zipped.expect("memory takes whatever is written").into()
}

/// A gzip member of one stored block: nothing is compressed, so that it costs nothing.
fn stored(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("a sentence is short");
    let mut crc = Crc::new();
    crc.update(bytes);
    // Magic, deflate, no flags, no time, no hints, an unknown system; then the last block, stored.
    let mut member = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 1];
    member.extend(length.to_le_bytes());
    member.extend((!length).to_le_bytes());
    member.extend(bytes);
    member.extend(crc.sum().to_le_bytes());
    member.extend(crc.amount().to_le_bytes());
    member
}

/// Navigation, sidebar and footer around a page's content: what an extractor is there to leave out.
fn frame(words: &mut Words, title: &str, encoding: &'static Encoding, body: &str) -> String {
    let charset = encoding.name().to_lowercase();
    let greeting = match charset.as_str() {
        "shift_jis" => "港の記録と天気",
        "iso-8859-2" => "Zażółć gęślą jaźń, příliš žluťoučký kůň",
        _ => "Crème brûlée, naïve façades, jalapeños",
    };
    let links: String = (0..12).map(|n| format!("<li><a href=\"/section/{n}\">{}</a></li>\n", words.title())).collect();
    format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="{charset}">
<title>{title} | The Soundings</title>
<meta name="description" content="{description}">
<meta property="og:site_name" content="The Soundings">
<link rel="stylesheet" href="/style.css">
<script>window.dataLayer = window.dataLayer || []; function track(a) {{ dataLayer.push(a); }}</script>
</head>
<body>
<header class="site-header"><a href="/" class="logo">The Soundings</a>
<nav aria-label="Main"><ul>
{links}</ul></nav></header>
<div class="cookie-banner" role="dialog"><p>We use cookies. <button>Accept</button></p></div>
<main>
{body}
<p>{greeting}.</p>
</main>
<aside class="sidebar"><h2>Related</h2><ul>
{links}</ul></aside>
<footer><p>© 2026 The Soundings. All rights reserved. <a href="/imprint">Imprint</a> <a href="/privacy">Privacy</a></p></footer>
<script src="/bundle.js" defer></script>
</body>
</html>
"#,
        description = words.sentence(12),
    )
}

fn article(words: &mut Words, title: &str, length: usize) -> String {
    format!(
        "<article>\n<h1>{title}</h1>\n<p class=\"byline\">By <span class=\"author\">Ada Marlow</span>, \
         <time datetime=\"2026-11-02\">2 November 2026</time></p>\n{}</article>",
        prose(words, length, "h2")
    )
}

fn blog(words: &mut Words, title: &str, length: usize) -> String {
    format!(
        "<article class=\"post\">\n<h1>{title}</h1>\n{}<blockquote><p>{}</p></blockquote>\n\
         <div class=\"share\"><a href=\"/share\">Share</a> <a href=\"/save\">Save</a></div>\n</article>",
        prose(words, length, "h3"),
        words.sentence(20)
    )
}

fn documentation(words: &mut Words, title: &str, length: usize) -> String {
    let code = "let depth = line.cast(station)?;\nif depth &gt; limit {\n    log::warn!(\"deep water\");\n}";
    format!(
        "<article class=\"docs\">\n<h1>{title}</h1>\n<pre><code class=\"language-rust\">{code}</code></pre>\n{}\
         <table><thead><tr><th>Option</th><th>Default</th></tr></thead><tbody>\n\
         <tr><td><code>line</code></td><td>200</td></tr>\n<tr><td><code>lead</code></td><td>7</td></tr>\n</tbody></table>\n\
         </article>",
        prose(words, length, "h2")
    )
}

fn product(words: &mut Words, title: &str, length: usize) -> String {
    let rows: String = ["Length", "Weight", "Material", "Colour"]
        .map(|name| format!("<tr><th>{name}</th><td>{}</td></tr>\n", words.word()))
        .concat();
    format!(
        "<script type=\"application/ld+json\">{{\"@context\":\"https://schema.org\",\"@type\":\"Product\",\"name\":\"{title}\",\
         \"offers\":{{\"@type\":\"Offer\",\"price\":\"149.00\",\"priceCurrency\":\"EUR\"}}}}</script>\n\
         <section class=\"product\">\n<h1>{title}</h1>\n<p class=\"price\">€ 149.00</p>\n{}\
         <h2>Specifications</h2>\n<table>\n{rows}</table>\n</section>",
        prose(words, length, "h2")
    )
}

fn forum(words: &mut Words, title: &str, length: usize) -> String {
    let mut thread = format!("<h1>{title}</h1>\n");
    let mut post = 0;
    while thread.len() < length {
        let mark = if post == 0 { MARK } else { "" };
        thread.push_str(&format!(
            "<div class=\"post\" id=\"p{post}\"><div class=\"author\">{}</div><div class=\"message\"><p>{mark} {}</p></div></div>\n",
            words.word(),
            words.sentence(40)
        ));
        post += 1;
    }
    thread
}

fn listing(words: &mut Words, title: &str, length: usize) -> String {
    let mut list = format!("<h1>{title}</h1>\n<p>{MARK} {}</p>\n<ul class=\"results\">\n", words.sentence(30));
    let mut item = 0;
    while list.len() < length {
        list.push_str(&format!(
            "<li><h3><a href=\"/item/{item}\">{}</a></h3><p>{}</p></li>\n",
            words.title(),
            words.sentence(24)
        ));
        item += 1;
    }
    list.push_str("</ul>");
    list
}

/// Paragraphs with headings between them; the mark is in the second.
fn prose(words: &mut Words, length: usize, heading: &str) -> String {
    let mut text = format!("<p>{}</p>\n<p>{MARK} {}</p>\n", words.sentence(40), words.sentence(30));
    let mut paragraph = 0;
    while text.len() < length {
        if paragraph % 4 == 3 {
            text.push_str(&format!("<{heading}>{}</{heading}>\n", words.title()));
        }
        let (first, second, third) = (words.sentence(25), words.sentence(18), words.sentence(30));
        text.push_str(&format!(
            "<p>{first} <a href=\"/note/{paragraph}\">{second}</a> <em>{}</em>, {third}</p>\n",
            words.word()
        ));
        paragraph += 1;
    }
    text
}

/// Words by a linear congruential generator: the same at every start.
struct Words(u64);

const WORDS: [&str; 48] = [
    "harbour",
    "lantern",
    "signal",
    "measure",
    "copper",
    "winter",
    "between",
    "orchard",
    "quarterly",
    "tide",
    "report",
    "engine",
    "silver",
    "garden",
    "across",
    "northern",
    "machine",
    "bridge",
    "careful",
    "second",
    "window",
    "market",
    "gentle",
    "river",
    "paper",
    "distant",
    "morning",
    "number",
    "steady",
    "valley",
    "written",
    "summer",
    "captain",
    "history",
    "moment",
    "around",
    "simple",
    "letter",
    "yellow",
    "weather",
    "island",
    "station",
    "under",
    "golden",
    "answer",
    "village",
    "record",
    "early",
];

impl Words {
    fn word(&mut self) -> &'static str {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        WORDS[(self.0 >> 33) as usize % WORDS.len()]
    }

    fn title(&mut self) -> String {
        format!("The {} {} of the {}", self.word(), self.word(), self.word())
    }

    fn sentence(&mut self, words: usize) -> String {
        let mut text = String::from("The");
        for n in 0..words {
            text.push(' ');
            text.push_str(self.word());
            if n % 9 == 8 {
                text.push(',');
            }
        }
        text.push('.');
        text
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, io::Read};

    use flate2::read::MultiGzDecoder;

    use super::*;

    #[test]
    fn templates_are_the_same_at_every_start_and_of_all_sizes() {
        let (one, two) = (render(), render());
        let mut sizes: Vec<usize> = one.iter().map(|template| template.page(0).len()).collect();
        assert!(one.iter().zip(&two).all(|(one, two)| one.plain == two.plain && one.zipped == two.zipped));
        sizes.sort_unstable();
        assert!(sizes[0] > 3_000 && sizes[0] < 8_000, "{sizes:?}");
        assert!((15_000..40_000).contains(&sizes[TEMPLATES / 2]), "{sizes:?}");
        assert!(sizes[TEMPLATES - 1] > 150_000, "{sizes:?}");
    }

    #[test]
    fn a_page_has_its_sentence_once_in_its_charset_compressed_or_not() {
        for template in render() {
            let page = template.page(4_711);
            let (text, is_lossy) = template.encoding.decode_without_bom_handling(&page);
            assert!(!is_lossy, "{}", template.content_type);
            assert_eq!(text.matches(&template.sentence(4_711)).count(), 1, "{}", template.content_type);
            assert_eq!(text.matches("4711").count(), 1);
            let mut unzipped = Vec::new();
            MultiGzDecoder::new(&template.zipped_page(4_711)[..]).read_to_end(&mut unzipped).unwrap();
            assert_eq!(unzipped, page);
            if template.encoding != UTF_8 {
                assert!(std::str::from_utf8(&page).is_err(), "{} is not UTF-8", template.content_type);
            }
        }
    }

    #[test]
    fn no_two_pages_have_the_same_sentence() {
        let templates = render();
        let sentences: HashSet<String> =
            (0..20_000).map(|index| templates[index % TEMPLATES].sentence(index)).collect();
        assert_eq!(sentences.len(), 20_000);
    }
}
