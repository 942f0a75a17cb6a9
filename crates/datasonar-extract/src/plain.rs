//! Documents that are not HTML: text, JSON, XML and feeds.

use serde_json::{Value, json};

use crate::{
    Content, CrawlFacts, ExtractError, Extracted, Format, Link, Metadata, Options,
    budget::Budget,
    charset,
    dom::{self, BODY, Tag},
    text::collapse,
};

/// Links that are looked for in text, at most.
const MAX_LINKS: usize = 100_000;

/// Text as it is, in every format.
pub(crate) fn text(source: &str, options: &Options) -> Extracted {
    let text = charset::normalize(source);
    let paragraphs = || text.split("\n\n").map(str::trim).filter(|text| !text.is_empty());
    let blocks = || paragraphs().map(|text| json!({"type": "paragraph", "text": text})).collect();
    contents(options, source, &text, blocks, None)
}

/// JSON, indented; `json` is the value itself as structured data.
pub(crate) fn json(source: &str, options: &Options) -> Result<Extracted, ExtractError> {
    // A value may nest; serde_json refuses what is deeper than 128.
    let value: Value = serde_json::from_str(source.trim())
        .map_err(|error| ExtractError::Decode { reason: format!("not JSON: {error}") })?;
    let pretty = serde_json::to_string_pretty(&value).unwrap_or_else(|_| source.to_owned());
    let mut extracted = contents(options, source, &pretty, Vec::new, None);
    for (format, content) in &mut extracted.contents {
        match format {
            Format::Markdown => *content = Content::Text(fenced("json", &pretty)),
            Format::Json => *content = Content::Json(json!({"title": null, "blocks": [], "structured_data": [value]})),
            _ => {}
        }
    }
    Ok(extracted)
}

/// XML: the text of its elements, one a line; what is HTML in a feed loses its tags.
pub(crate) fn xml(source: &str, options: &Options, budget: &Budget<'_>) -> Result<Extracted, ExtractError> {
    let lines = dom::xml_text(source, budget)?;
    let mut title = None;
    let mut texts: Vec<String> = Vec::new();
    for (name, raw) in lines {
        budget.spend(raw.len())?;
        let text = if raw.contains('<') { without_tags(&raw, budget)? } else { collapse(&raw) };
        if text.is_empty() {
            continue;
        }
        if name == "title" && title.is_none() {
            title = Some(text.clone());
        }
        texts.push(text);
    }
    let blocks = || texts.iter().map(|text| json!({"type": "paragraph", "text": text})).collect();
    Ok(contents(options, source, &texts.join("\n\n"), blocks, title.clone()))
}

fn without_tags(html: &str, budget: &Budget<'_>) -> Result<String, ExtractError> {
    let dom = dom::parse(html, budget)?;
    let mut text = String::new();
    for id in dom.descendants(BODY) {
        budget.spend(0)?;
        if dom.tag(id).is_block() || dom.tag(id) == Tag::Br {
            text.push(' ');
        }
        text.push_str(dom.text(id));
    }
    Ok(collapse(&text))
}

fn contents(
    options: &Options,
    source: &str,
    text: &str,
    blocks: impl Fn() -> Vec<Value>,
    title: Option<String>,
) -> Extracted {
    let content = |format| match format {
        Format::Markdown | Format::Text => Content::Text(text.to_owned()),
        Format::Html => Content::Text(format!("<pre>{}</pre>", crate::render::escaped(text))),
        Format::RawHtml => Content::Text(source.to_owned()),
        Format::Links => Content::Links(links(text)),
        Format::Json => Content::Json(json!({"title": title, "blocks": blocks(), "structured_data": []})),
    };
    let contents = options.formats().iter().map(|&format| (format, content(format))).collect();
    let crawl_facts = options.crawl_facts.as_ref().map(|_| CrawlFacts::default());
    Extracted { contents, metadata: Metadata { title, ..Metadata::default() }, crawl_facts }
}

fn fenced(language: &str, text: &str) -> String {
    let fence = "`".repeat(crate::render::longest_ticks(text).max(2) + 1);
    format!("{fence}{language}\n{text}\n{fence}\n")
}

/// Addresses that stand in the text.
fn links(text: &str) -> Vec<Link> {
    let mut seen = std::collections::HashSet::new();
    let words =
        text.split(|character: char| character.is_whitespace() || matches!(character, '"' | '<' | '>' | '\'' | '`'));
    words
        .filter_map(|word| {
            let at = word.find("http://").or_else(|| word.find("https://"))?;
            let address = word[at..].trim_end_matches([',', '.', ';', ':', ')', ']', '}', '!', '?']);
            (address.len() <= 2048).then(|| url::Url::parse(address).ok())?
        })
        .map(String::from)
        .filter(|url| seen.insert(url.clone()))
        .take(MAX_LINKS)
        .map(|url| Link { url, text: String::new() })
        .collect()
}
