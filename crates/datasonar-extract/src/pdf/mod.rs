//! PDF → HTML that stands for it: its text, with headings, lists, tables and code where sizes and places tell them.
//!
//! Objects are read by `lopdf`, which bounds nesting and what a stream may inflate to; what is read eagerly (streams of
//! objects) is measured here before. From there on all is ours, under the budget: `tokens` → `show` (pieces of text with
//! places, by `fonts`) → `lines` → `layout`. Pictures are not looked at: a page that was scanned has no text.

mod fonts;
mod layout;
mod lines;
mod measure;
mod show;
mod tokens;

use std::panic::{AssertUnwindSafe, catch_unwind};

use lopdf::{Dictionary, Document, LoadOptions, decode_text_string};
use url::Url;

use self::{
    fonts::{array_of, dictionary, number},
    layout::Block,
    lines::{Area, Linked},
    show::Shower,
};
use crate::{
    ExtractError, Metadata,
    budget::Budget,
    dates::pdf_date,
    made::{self, Made},
    render::{push_escaped, push_value},
    text::clean,
};

/// Pages that are read, at most.
const MAX_PAGES: usize = 3000;
/// What one stream may inflate to, in bytes.
const MAX_STREAM_BYTES: usize = 32 * 1024 * 1024;
/// The longest address that is kept.
const MAX_URL_BYTES: usize = 8192;
/// Links of one page, at most.
const MAX_AREAS: usize = 2000;

/// Reads a PDF.
pub(crate) fn read(body: &[u8], budget: &Budget<'_>) -> Result<Made, ExtractError> {
    let scope = budget.scope();
    measure::check(body, budget)?;
    // Many files are encrypted with no password at all: so that they cannot be changed.
    let options = LoadOptions {
        password: Some(String::new()),
        max_decompressed_size: Some(MAX_STREAM_BYTES),
        ..LoadOptions::default()
    };
    // The library has not been seen to panic on hostile files, but it is large.
    let loaded = catch_unwind(AssertUnwindSafe(|| Document::load_mem_with_options(body, options)));
    let document = match loaded {
        Ok(Ok(document)) => document,
        Ok(Err(error)) => return Err(broken(&format!("{error}"))),
        Err(_) => return Err(broken("the file is damaged")),
    };
    budget.poll()?;
    let made = catch_unwind(AssertUnwindSafe(|| read_pages(&document, budget)));
    let made = made.unwrap_or_else(|_| Err(broken("the file is damaged")))?;
    scope.keep(made.markup.capacity());
    Ok(made)
}

fn broken(reason: &str) -> ExtractError {
    let reason: String = reason.chars().take(200).collect();
    ExtractError::Decode { reason: format!("not a readable PDF: {reason}") }
}

fn read_pages(document: &Document, budget: &Budget<'_>) -> Result<Made, ExtractError> {
    let mut shower = Shower::new(document, budget);
    let mut pages = Vec::new();
    for (number, id) in document.page_iter().take(MAX_PAGES).enumerate() {
        budget.spend(1024)?;
        pages.push(shower.page(id, |pieces| {
            let areas = areas(document, id, budget)?;
            lines::lines(number, pieces, &areas, budget)
        })?);
    }
    if pages.is_empty() {
        return Err(broken("it has no pages"));
    }
    let text: usize = pages.iter().flatten().map(lines::Line::len).sum();
    let count: usize = pages.iter().map(Vec::len).sum();
    budget.allocate(2 * text + count * size_of::<lines::Line>())?;
    lines::without_repeated(&mut pages);
    let mut lines = Vec::with_capacity(count);
    pages.into_iter().for_each(|mut page| lines.append(&mut page));
    let blocks = layout::blocks(&lines, budget)?;
    let mut metadata = metadata(document);
    if metadata.title.is_none() {
        metadata.title = blocks.iter().find_map(|block| match block {
            Block::Heading(_, text) => clean(&text.text, 512),
            _ => None,
        });
    }
    if blocks.is_empty() {
        return Err(ExtractError::UnsupportedContent { content_type: "a PDF without text".to_owned() });
    }
    Ok(Made { markup: markup(&blocks, budget)?, metadata })
}

/// What the file says of itself.
fn metadata(document: &Document) -> Metadata {
    let info = document.trailer.get(b"Info").ok().and_then(|info| dictionary(info, document));
    let said = |dictionary: &Dictionary, key: &[u8]| {
        let value = dictionary.get_deref(key, document).ok()?;
        clean(&decode_text_string(value).ok()?.replace('\0', ""), 1024)
    };
    let of_info = |key: &[u8]| info.and_then(|info| said(info, key));
    let title = of_info(b"Title").map(|title| {
        let title = title.strip_prefix("Microsoft Word - ").unwrap_or(&title);
        title.strip_suffix(".docx").or_else(|| title.strip_suffix(".doc")).unwrap_or(title).to_owned()
    });
    let is_title = |title: &String| {
        let lower = title.to_lowercase();
        let is_file =
            [".tex", ".dvi", ".indd", ".qxd", ".ps", ".pdf", ".pptx", ".ppt"].iter().any(|end| lower.ends_with(end));
        !is_file && !lower.starts_with("untitled")
    };
    Metadata {
        title: title.filter(is_title),
        description: of_info(b"Subject"),
        author: of_info(b"Author"),
        published_at: of_info(b"CreationDate").and_then(|date| pdf_date(&date)),
        language: document.catalog().ok().and_then(|catalog| said(catalog, b"Lang")),
        ..Metadata::default()
    }
}

/// Where a page leads, by its annotations.
fn areas(document: &Document, page: (u32, u16), budget: &Budget<'_>) -> Result<Vec<Area>, ExtractError> {
    let mut areas = Vec::new();
    let Ok(page) = document.get_dictionary(page) else { return Ok(areas) };
    let Some(annotations) = array_of(page, b"Annots", document) else { return Ok(areas) };
    for annotation in annotations.iter().take(MAX_AREAS) {
        budget.spend(512)?;
        let area = || {
            let annotation = dictionary(annotation, document)?;
            let action = annotation.get(b"A").ok().and_then(|action| dictionary(action, document))?;
            let url = action.get_deref(b"URI", document).ok()?.as_str().ok()?;
            let url = std::str::from_utf8(url).ok().filter(|url| url.len() <= MAX_URL_BYTES)?;
            let url = Url::parse(url).ok()?;
            let place: Vec<f32> =
                array_of(annotation, b"Rect", document)?.iter().filter_map(|value| number(value, document)).collect();
            let [x0, y0, x1, y1] = place[..] else { return None };
            Some(Area { left: x0.min(x1), right: x0.max(x1), bottom: y0.min(y1), top: y0.max(y1), url: url.into() })
        };
        areas.extend(area());
    }
    Ok(areas)
}

fn markup(blocks: &[Block], budget: &Budget<'_>) -> Result<String, ExtractError> {
    let mut out = String::new();
    let mut list: Option<&str> = None;
    for block in blocks {
        budget.spend(256)?;
        let wanted = match block {
            Block::Item { number: Some(_), .. } => Some("ol"),
            Block::Item { number: None, .. } => Some("ul"),
            _ => None,
        };
        let begins = matches!(block, Block::Item { number: Some(1), .. });
        if list != wanted || begins {
            if let Some(list) = list {
                budget.push(&mut out, &format!("</{list}>\n"))?;
            }
            if let Some(name) = wanted {
                match block {
                    Block::Item { number: Some(number), .. } => {
                        budget.push(&mut out, &format!("<{name} start={number}>\n"))?;
                    }
                    _ => budget.push(&mut out, &format!("<{name}>\n"))?,
                }
            }
            list = wanted;
        }
        match block {
            Block::Heading(level, text) => element(&format!("h{level}"), text, &mut out, budget)?,
            Block::Paragraph(text) => element("p", text, &mut out, budget)?,
            Block::Item { text, .. } => element("li", text, &mut out, budget)?,
            Block::Code(text) => {
                budget.push(&mut out, "<pre>\n")?;
                push_escaped(text, &mut out, budget)?;
                budget.push(&mut out, "</pre>\n")?;
            }
            Block::Table(rows) => {
                budget.push(&mut out, "<table>\n")?;
                for row in rows {
                    budget.push(&mut out, "<tr>")?;
                    for cell in row {
                        element("td", cell, &mut out, budget)?;
                    }
                    budget.push(&mut out, "</tr>\n")?;
                }
                budget.push(&mut out, "</table>\n")?;
            }
        }
    }
    if let Some(list) = list {
        budget.push(&mut out, &format!("</{list}>\n"))?;
    }
    budget.shrink(&mut out);
    Ok(out)
}

/// Writes an element that holds text with its links.
fn element(name: &str, text: &Linked, out: &mut String, budget: &Budget<'_>) -> Result<(), ExtractError> {
    budget.push(out, &format!("<{name}>"))?;
    let mut at = 0;
    for (range, url) in &text.links {
        let (Some(before), Some(within)) = (text.text.get(at..range.start), text.text.get(range.clone())) else {
            continue;
        };
        made::push_linked(before, out, budget)?;
        budget.push(out, "<a href=\"")?;
        push_value(url, out, budget)?;
        budget.push(out, "\">")?;
        push_escaped(within, out, budget)?;
        budget.push(out, "</a>")?;
        at = range.end;
    }
    made::push_linked(text.text.get(at..).unwrap_or_default(), out, budget)?;
    budget.push(out, &format!("</{name}>\n"))
}
