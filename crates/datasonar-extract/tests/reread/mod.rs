//! Reading Markdown back with a CommonMark parser, and comparing it with what was meant.
//!
//! What was meant is known from the other formats, which come from the same tree: `text` has the words, `json` the headings,
//! blocks of code and tables, `links` the addresses.

use datasonar_extract::{Content, Document, Format, Options, extract};
use pulldown_cmark::{CodeBlockKind, Event, Options as Extensions, Parser, Tag, TagEnd};
use serde_json::Value;

/// What is told apart of a text that was read back.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Read {
    /// All words, parted by spaces; pictures have none.
    pub(crate) text: String,
    /// Level and text.
    pub(crate) headings: Vec<(u8, String)>,
    /// Language and text.
    pub(crate) code: Vec<(String, String)>,
    /// The number of columns of each table's rows, which all have as many as its head, and its text.
    pub(crate) tables: Vec<String>,
    /// Addresses of links.
    pub(crate) links: Vec<String>,
    /// Markup that was let through.
    pub(crate) html: Vec<String>,
}

/// The extensions that Markdown is written for.
pub(crate) fn extensions(math: bool) -> Extensions {
    let gfm = Extensions::ENABLE_TABLES
        | Extensions::ENABLE_STRIKETHROUGH
        | Extensions::ENABLE_FOOTNOTES
        | Extensions::ENABLE_TASKLISTS;
    if math { gfm | Extensions::ENABLE_MATH } else { gfm }
}

/// Reads Markdown; `math` says whether dollars stand around formulas.
pub(crate) fn read(markdown: &str, math: bool) -> Read {
    let mut read = Read::default();
    let mut text = String::new();
    let (mut heading, mut code, mut table) = (None, None, None);
    let mut images = 0;
    let mut lists: Vec<Option<u64>> = Vec::new();
    // Where the text of each open item begins, behind its marker, and where the marker does.
    let mut items: Vec<(usize, usize)> = Vec::new();
    for event in Parser::new_ext(markdown, extensions(math)) {
        match event {
            Event::Start(tag) => {
                if !is_inline(&tag) {
                    text.push(' ');
                }
                match tag {
                    Tag::Heading { level, .. } => heading = Some((level as u8, text.len())),
                    Tag::CodeBlock(kind) => {
                        let language = match kind {
                            CodeBlockKind::Fenced(language) => language.to_string(),
                            CodeBlockKind::Indented => "indented".to_owned(),
                        };
                        code = Some((language, text.len()));
                    }
                    Tag::Table(_) => table = Some(text.len()),
                    Tag::Link { dest_url, .. } => read.links.push(dest_url.to_string()),
                    Tag::Image { .. } => images += 1,
                    Tag::List(first) => lists.push(first),
                    // The markers are those of plain text.
                    Tag::Item => {
                        let begin = text.len();
                        match lists.last_mut() {
                            Some(Some(number)) => {
                                text.push_str(&format!("{number}. "));
                                *number += 1;
                            }
                            _ => text.push_str("- "),
                        }
                        items.push((text.len(), begin));
                    }
                    Tag::FootnoteDefinition(label) => text.push_str(&format!("[{label}] ")),
                    _ => {}
                }
            }
            Event::End(tag) => {
                match tag {
                    TagEnd::Heading(_) => {
                        let (level, from) = heading.take().unwrap_or((0, text.len()));
                        let heading = collapse(&text[from..]);
                        // One of a picture alone has no text.
                        if !heading.is_empty() {
                            read.headings.push((level, heading));
                        }
                    }
                    TagEnd::CodeBlock => {
                        let (language, from) = code.take().unwrap_or_default();
                        read.code.push((language, text[from..].trim_end_matches('\n').to_owned()));
                    }
                    TagEnd::Table => {
                        let from = table.take().unwrap_or(text.len());
                        read.tables.push(collapse(&text[from..]));
                    }
                    TagEnd::Image => images -= 1,
                    // An item of pictures alone is none in plain text.
                    TagEnd::Item => {
                        let (from, begin) = items.pop().unwrap_or_default();
                        if text[from..].trim().is_empty() {
                            text.truncate(begin);
                            if let Some(Some(number)) = lists.last_mut() {
                                *number -= 1;
                            }
                        }
                    }
                    TagEnd::List(_) => {
                        lists.pop();
                    }
                    _ => {}
                }
                if !matches!(
                    tag,
                    TagEnd::Emphasis | TagEnd::Strong | TagEnd::Strikethrough | TagEnd::Link | TagEnd::Image
                ) {
                    text.push(' ');
                }
            }
            _ if images > 0 => {}
            Event::Text(part) | Event::Code(part) | Event::InlineMath(part) | Event::DisplayMath(part) => {
                text.push_str(&part);
            }
            Event::Html(html) | Event::InlineHtml(html) => read.html.push(html.to_string()),
            Event::FootnoteReference(label) => text.push_str(&format!("[{label}]")),
            Event::SoftBreak | Event::HardBreak | Event::Rule => text.push(' '),
            Event::TaskListMarker(_) => {}
        }
    }
    read.text = collapse(&text);
    read
}

fn is_inline(tag: &Tag<'_>) -> bool {
    matches!(tag, Tag::Emphasis | Tag::Strong | Tag::Strikethrough | Tag::Link { .. } | Tag::Image { .. })
}

/// The text with each run of white space as one space.
pub(crate) fn collapse(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Extracts a document and reads its Markdown back.
///
/// # Errors
/// What differs, in words.
pub(crate) fn check(document: &Document<'_>, main_content: bool) -> Result<(), String> {
    let formats = vec![Format::Markdown, Format::Text, Format::Json, Format::Links];
    let options = Options::new(formats, main_content, &[], &[]).map_err(|error| error.to_string())?;
    let extracted = extract(document, &options, &|| false).map_err(|error| error.to_string())?;
    let mut contents = extracted.contents.into_iter().map(|(_, content)| content);
    let (
        Some(Content::Text(markdown)),
        Some(Content::Text(text)),
        Some(Content::Json(json)),
        Some(Content::Links(links)),
    ) = (contents.next(), contents.next(), contents.next(), contents.next())
    else {
        return Err("formats are missing".to_owned());
    };
    // Dollars stand around formulas on pages that have some.
    let plain = read(&markdown, false);
    let read = if plain.text == collapse(&text) { plain } else { read(&markdown, true) };
    same_words(&read.text, &collapse(&text))?;
    if let Some(html) = read.html.first() {
        return Err(format!("markup got through: {html:?}"));
    }
    let json = serde_json::from_str(json.get()).map_err(|error| error.to_string())?;
    same_structure(&read, &json)?;
    for link in &read.links {
        let is_web = link.starts_with("http://") || link.starts_with("https://");
        if is_web && !links.iter().any(|known| same_address(&known.url, link)) {
            return Err(format!("{link:?} is not among the links"));
        }
    }
    Ok(())
}

/// Whether addresses are the same but for what Markdown must write in another way.
fn same_address(one: &str, other: &str) -> bool {
    let plain = |address: &str| {
        let mut plain = address.to_owned();
        for (sign, written) in [
            ("(", "%28"),
            (")", "%29"),
            ("[", "%5B"),
            ("]", "%5D"),
            ("|", "%7C"),
            ("^", "%5E"),
            ("`", "%60"),
            ("{", "%7B"),
            ("}", "%7D"),
            ("\\", "%5C"),
            ("<", "%3C"),
            (">", "%3E"),
            ("\"", "%22"),
            ("*", "%2A"),
            ("_", "%5F"),
        ] {
            plain = plain.replace(sign, written);
        }
        plain.trim_end_matches('/').to_owned()
    };
    plain(one) == plain(other)
}

fn same_words(read: &str, meant: &str) -> Result<(), String> {
    if read == meant {
        return Ok(());
    }
    let (read, meant): (Vec<&str>, Vec<&str>) = (read.split(' ').collect(), meant.split(' ').collect());
    let at = read.iter().zip(&meant).position(|(one, other)| one != other).unwrap_or(read.len().min(meant.len()));
    let around = |words: &[&str]| words[at.saturating_sub(6).min(words.len())..(at + 6).min(words.len())].join(" ");
    Err(format!("read {:?} instead of {:?}", around(&read), around(&meant)))
}

fn same_structure(read: &Read, json: &Value) -> Result<(), String> {
    let mut meant = Read::default();
    for block in json["blocks"].as_array().into_iter().flatten() {
        gather(block, &mut meant);
    }
    let differ = |what: &str, read: &dyn std::fmt::Debug, meant: &dyn std::fmt::Debug| {
        Err(format!("{what}: read {read:.1000?} instead of {meant:.1000?}"))
    };
    if read.headings != meant.headings {
        let at = read.headings.iter().zip(&meant.headings).take_while(|(one, other)| one == other).count();
        return differ("headings", &read.headings.get(at), &meant.headings.get(at));
    }
    if read.code != meant.code {
        let at = read.code.iter().zip(&meant.code).take_while(|(one, other)| one == other).count();
        return differ("code", &read.code.get(at), &meant.code.get(at));
    }
    if read.tables != meant.tables {
        let at = read.tables.iter().zip(&meant.tables).take_while(|(one, other)| one == other).count();
        return differ("tables", &read.tables.get(at), &meant.tables.get(at));
    }
    Ok(())
}

/// What a block of `json` means, in order.
fn gather(block: &Value, meant: &mut Read) {
    let text = || block["text"].as_str().unwrap_or_default();
    match block["type"].as_str() {
        Some("heading") => meant.headings.push((block["level"].as_u64().unwrap_or(0) as u8, collapse(text()))),
        Some("code") => {
            let language = block["language"].as_str().unwrap_or_default();
            meant.code.push((language.to_owned(), text().to_owned()));
        }
        Some("table") => {
            let rows = block["rows"].as_array().into_iter().flatten();
            let cells: Vec<&str> =
                rows.flat_map(|row| row.as_array().into_iter().flatten()).filter_map(Value::as_str).collect();
            meant.tables.push(collapse(&cells.join(" ")));
        }
        _ => {}
    }
    for inner in block["blocks"].as_array().into_iter().flatten() {
        gather(inner, meant);
    }
    for item in block["items"].as_array().into_iter().flatten() {
        for inner in item["blocks"].as_array().into_iter().flatten() {
            gather(inner, meant);
        }
    }
}
