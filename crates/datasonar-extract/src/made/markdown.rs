//! Markdown: HTML made by a CommonMark parser, for every format but its own.

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};
use url::Url;

use super::{Made, cleaned};
use crate::{ExtractError, Metadata, budget::Budget, text::clean};

/// Markdown as markup.
pub(crate) fn markdown(source: &str, url: &Url, budget: &Budget<'_>) -> Result<Made, ExtractError> {
    let extensions = Options::ENABLE_TABLES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_YAML_STYLE_METADATA_BLOCKS;
    let mut events = Vec::new();
    let mut title = String::new();
    let mut in_title = false;
    let mut in_front = false;
    for event in Parser::new_ext(source, extensions) {
        budget.spend(256)?;
        match &event {
            Event::Start(Tag::MetadataBlock(_)) => in_front = true,
            Event::End(TagEnd::MetadataBlock(_)) => in_front = false,
            Event::Start(Tag::Heading { level: HeadingLevel::H1, .. }) if title.is_empty() => in_title = true,
            Event::End(TagEnd::Heading(_)) => in_title = false,
            Event::Text(text) if in_front => {
                let named = text.lines().find_map(|line| line.strip_prefix("title:"));
                title = named.map_or(title, |named| named.trim().trim_matches(['"', '\'']).to_owned());
            }
            Event::Text(text) | Event::Code(text) if in_title => title.push_str(text),
            _ => {}
        }
        events.push(event);
    }
    let mut html = String::new();
    pulldown_cmark::html::push_html(&mut html, events.into_iter());
    let markup = cleaned(&html, url, budget)?;
    Ok(Made { markup, metadata: Metadata { title: clean(&title, 1024), ..Metadata::default() } })
}
