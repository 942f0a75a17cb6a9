//! Markdown and HTML that come of a page are inert: no element, attribute, script or address is in them that the page did not show.
//!
//! Pages are drawn: what means something to one reader or another, side by side, in texts, in code, in formulas, in what links and pictures say.
//! All that a page truly links to is at `ok.example`; whatever else is found in the output was made of text.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking, and are their own documentation")]

use std::fmt::Write as _;

use datasonar_extract::{Content, Document, Format, Options, extract};
use html5ever::{ParseOpts, parse_document, tendril::TendrilSink};
use markup5ever_rcdom::{Handle, NodeData, RcDom};
use pulldown_cmark::{Event, Options as Extensions, Parser, Tag};
use url::Url;

/// A generator of numbers, the same for the same seed (SplitMix64's steps).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % (end as u64)) as usize
    }

    fn of<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }
}

/// Pieces of text, as a reader sees them.
const TEXTS: &[&str] = &[
    "\\",
    "\\\\",
    "<",
    "<",
    "<img src=x onerror=alert(1)>",
    "img src=evil onerror=x>",
    "/b>",
    "!--",
    "?x",
    "<script>",
    "script>alert(1)</script>",
    "&lt;b&gt;",
    "&",
    "lt;",
    "#60;",
    "`",
    "``",
    "```",
    "$",
    "$$",
    "*",
    "**",
    "_",
    "~",
    "~~",
    "|",
    "[",
    "]",
    "[x](javascript:alert(1))",
    "](evil)",
    "(javascript:alert(1))",
    "![x](evil)",
    "!",
    "[x]: evil",
    "[x]",
    ":",
    "<javascript:alert(1)>",
    "javascript:alert(1)",
    "<evil:x>",
    "<a@evil.example>",
    "#",
    "-",
    "+",
    "1.",
    "1)",
    ">",
    "=",
    "---",
    "a",
    "b",
    " ",
    " ",
    "\n",
    "\u{200b}",
    "\u{ad}",
    "\u{a0}",
    "\t",
    "^",
    "[^1]",
    "x|y",
    "\\|",
    "\\<b>",
    "\\\\<b>",
    "<![CDATA[",
    "]]>",
    "<b",
    "href=javascript:x>",
    "vbscript:x",
    "data:text/html,<script>",
];

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn drawn_text(numbers: &mut Numbers) -> String {
    (0..1 + numbers.below(5)).map(|_| numbers.of(TEXTS)).collect()
}

/// A piece of a page; what is in it is text to a reader, or leads to `ok.example`.
fn drawn_markup(numbers: &mut Numbers, depth: usize) -> String {
    let text = escaped(&drawn_text(numbers));
    let inner = if depth > 3 {
        text.clone()
    } else {
        (0..1 + numbers.below(3)).map(|_| drawn_markup(numbers, depth + 1)).collect()
    };
    match numbers.below(32) {
        0 => format!("<b>{inner}</b>"),
        1 => format!("<em>{inner}</em>"),
        2 => format!("<del>{inner}</del>"),
        3 => format!("<code>{text}</code>"),
        4 => format!("<pre>{text}</pre>"),
        5 => format!("<pre><code class=\"language-{text}\">{inner}</code></pre>"),
        6 => format!("<a href=\"https://ok.example/{text}\">{inner}</a>"),
        7 => format!("<a href=\"x{text}\" title=\"{text}\">{inner}</a>"),
        8 => format!(
            "<a href=\"{}javascript:alert(1)//\">{inner}</a>",
            numbers.of(&["", " ", "&#1;", "&#x09;", "java&#10;"])
        ),
        9 => format!("<a href=\"JaVa&Tab;Script:alert(1)\">{inner}</a>"),
        10 => format!("<img src=\"https://ok.example/x\" alt=\"{text}\" width=100>"),
        11 => format!("<img src=\"javascript:{text}\" alt=\"{text}\">"),
        12 => format!("<math><annotation encoding=\"application/x-tex\">{text}</annotation></math>"),
        13 => format!("<math display=block alttext=\"{text}\"><mi>{inner}</mi></math>"),
        14 => format!("<script type=\"math/tex\">{}</script>", drawn_text(numbers).replace("</", "")),
        15 => format!("<img class=tex src=\"https://ok.example/x\" alt=\"{text}\">"),
        16 => format!("<p>{inner}</p>"),
        17 => format!("<h2>{inner}</h2>"),
        18 => format!("<ul><li>{inner}<li>{text}</ul>"),
        19 => format!("<ol><li>{inner}<li>{text}</ol>"),
        20 => format!("<blockquote>{inner}</blockquote>"),
        21 => format!("<table><tr><td>{text}<td>{inner}<tr><td>{text}<td><code>{text}</code></table>"),
        22 => format!("<table><tr><td>a<td>b<tr><td>{inner}<td>{text}</table>"),
        23 => format!("<sup><a href=#n>1</a></sup><ul><li id=n>{inner}</ul>"),
        24 => format!("{inner}<br>{text}"),
        25 => format!("<!-- {} -->{inner}", drawn_text(numbers).replace("--", "")),
        26 => format!("<math><script>alert(1)</script><style>{inner}</style><mtext>{text}</mtext></math>"),
        27 => format!("<span title=\"{text}\" onclick=\"alert(1)\" style=\"x\">{inner}</span>"),
        28 => format!("<dl><dt>{text}<dd>{inner}</dl>"),
        _ => text,
    }
}

fn drawn(numbers: &mut Numbers) -> (&'static str, String) {
    let texts = |numbers: &mut Numbers, separator: &str| {
        let texts: Vec<String> = (0..2 + numbers.below(8)).map(|_| drawn_text(numbers)).collect();
        texts.join(separator)
    };
    match numbers.below(16) {
        0 => ("text/markdown", texts(numbers, " ")),
        1 => ("text/csv", texts(numbers, ",") + "\n" + &texts(numbers, ",")),
        2 => ("text/plain", texts(numbers, "\n")),
        3 => ("application/json", serde_json::to_string(&texts(numbers, " ")).unwrap()),
        4 => (
            "application/xml",
            format!("<a><b c=\"{}\">{}</b></a>", escaped(&drawn_text(numbers)), escaped(&texts(numbers, " "))),
        ),
        5 => (
            "application/rss+xml",
            format!(
                "<rss><channel><title>{}</title><item><title>{}</title><link>https://ok.example/</link><description>{}</description></item></channel></rss>",
                escaped(&drawn_text(numbers)),
                escaped(&drawn_text(numbers)),
                escaped(&drawn_markup(numbers, 0))
            ),
        ),
        6 => ("text/x-python", texts(numbers, "\n")),
        _ => {
            let mut page = format!("<title>{}</title>", escaped(&drawn_text(numbers)));
            for _ in 0..1 + numbers.below(4) {
                let _ = write!(page, "{}", drawn_markup(numbers, 0));
            }
            ("text/html; charset=utf-8", page)
        }
    }
}

fn is_safe(address: &str) -> bool {
    match Url::parse(address) {
        Ok(url) if url.scheme() == "mailto" => true,
        Ok(url) => url.host_str().is_none_or(|host| host == "ok.example") && matches!(url.scheme(), "http" | "https"),
        Err(_) => true,
    }
}

/// What is live in Markdown that the page did not show.
fn live_in_markdown(markdown: &str, may_lead_elsewhere: bool) -> Option<String> {
    let gfm = Extensions::ENABLE_TABLES
        | Extensions::ENABLE_STRIKETHROUGH
        | Extensions::ENABLE_FOOTNOTES
        | Extensions::ENABLE_TASKLISTS;
    for extensions in [Extensions::empty(), gfm] {
        for event in Parser::new_ext(markdown, extensions) {
            match event {
                Event::Html(html) | Event::InlineHtml(html) => return Some(format!("HTML: {html}")),
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. })
                    if !is_safe(&dest_url) || !may_lead_elsewhere && !dest_url.starts_with("https://ok.example/") =>
                {
                    return Some(format!("address: {dest_url}"));
                }
                _ => {}
            }
        }
    }
    None
}

/// What is live in HTML.
fn live_in_html(html: &str) -> Option<String> {
    let dom = parse_document(RcDom::default(), ParseOpts::default()).one(html);
    let mut open: Vec<Handle> = vec![dom.document.clone()];
    while let Some(node) = open.pop() {
        if let NodeData::Element { name, attrs, .. } = &node.data {
            let name = name.local.to_string();
            if matches!(
                name.as_str(),
                "script" | "style" | "iframe" | "object" | "embed" | "form" | "base" | "meta" | "link" | "svg"
            ) {
                return Some(format!("element: {name}"));
            }
            for attr in attrs.borrow().iter() {
                let (name, value) = (attr.name.local.to_string(), attr.value.to_string());
                let is_address = matches!(name.as_str(), "href" | "src" | "cite" | "action" | "formaction" | "srcset");
                if name.starts_with("on") || name == "style" || is_address && !is_safe(&value) {
                    return Some(format!("attribute: {name}={value}"));
                }
            }
        }
        open.extend(node.children.borrow().iter().cloned());
    }
    None
}

#[test]
fn what_comes_of_a_page_is_inert() {
    let count = std::env::var("INERT_PAGES").ok().and_then(|count| count.parse().ok()).unwrap_or(4000);
    let url: Url = "https://ok.example/a/b".parse().unwrap();
    let options = Options::new(vec![Format::Markdown, Format::Html], false, &[], &[]).unwrap();
    let mut failed = Vec::new();
    for seed in 0..count {
        let (content_type, body) = drawn(&mut Numbers(seed));
        let document = Document { url: &url, content_type: Some(content_type), body: body.as_bytes() };
        let Ok(extracted) = extract(&document, &options, &|| false) else { continue };
        for (format, content) in extracted.contents {
            let Content::Text(text) = content else { continue };
            let found = match format {
                // Relative addresses of a Markdown document stay as they are.
                Format::Markdown => live_in_markdown(&text, content_type == "text/markdown"),
                _ => live_in_html(&text),
            };
            if let Some(found) = found {
                failed.push(format!("seed {seed}, {format}: {found}\n  {body:?}\n  {text:?}"));
            }
        }
    }
    assert!(
        failed.is_empty(),
        "{} of {count}:\n{}",
        failed.len(),
        failed.iter().take(8).cloned().collect::<Vec<_>>().join("\n")
    );
}

#[test]
fn named_pages_are_inert() {
    let url: Url = "https://ok.example/".parse().unwrap();
    let options = Options::new(vec![Format::Markdown, Format::Html], false, &[], &[]).unwrap();
    for page in [
        "<p>a\\<span>&lt;</span><span>img src=x onerror=alert(1)&gt;</span>",
        "<p>\\\\<i>&lt;</i>script&gt;alert(1)&lt;/script&gt;",
        "<p><em>a&lt;</em>img src=x onerror=alert(1)&gt;",
        "<math><annotation encoding=tex>&lt;img src=x onerror=alert(1)&gt;</annotation></math>",
        "<math><annotation encoding=tex>[x](javascript:alert(1))</annotation></math>",
    ] {
        let document = Document { url: &url, content_type: Some("text/html"), body: page.as_bytes() };
        for (format, content) in extract(&document, &options, &|| false).unwrap().contents {
            let Content::Text(text) = content else { continue };
            let found = if format == Format::Markdown { live_in_markdown(&text, false) } else { live_in_html(&text) };
            assert_eq!(found, None, "{page}: {text}");
        }
    }
}
