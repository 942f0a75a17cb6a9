//! Markdown: HTML made by a CommonMark parser, for every format but its own.

use std::fmt;

use pulldown_cmark::{Event, HeadingLevel, LinkType, Options, Parser, Tag, TagEnd};
use url::Url;

use super::{Made, cleaned};
use crate::{ExtractError, Metadata, budget::Budget, links::Base, text::clean};

/// The longest title, in bytes.
const MAX_TITLE: usize = 4096;

/// Markdown as markup; and whether the document may stand for its own Markdown: whether it has no HTML, and leads nowhere that is unsafe.
pub(crate) fn markdown(source: &str, url: &Url, budget: &Budget<'_>) -> Result<(Made, bool), ExtractError> {
    let extensions = Options::ENABLE_TABLES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_YAML_STYLE_METADATA_BLOCKS;
    let scope = budget.scope();
    budget.spend(source.len() * 8)?;
    let parsed = parsed_memory(source);
    budget.allocate(parsed)?;
    let mut seen = Seen::new(url);
    let mut html = Charged { text: String::new(), budget, failed: None };
    let mut stopped = None;
    let events = Parser::new_ext(source, extensions).map_while(|event| {
        if let Err(error) = budget.spend(256) {
            stopped = Some(error);
            return None;
        }
        seen.see(&event);
        Some(event)
    });
    let written = pulldown_cmark::html::write_html_fmt(&mut html, events);
    if let Some(error) = html.failed.or(stopped) {
        return Err(error);
    }
    written.map_err(|_| ExtractError::TooLarge { limit: budget.limit() })?;
    // Whoever reads the document may know fewer extensions, or more.
    let gfm = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    for extensions in [Options::empty(), gfm] {
        let mut events = Parser::new_ext(source, extensions);
        while seen.is_inert
            && let Some(event) = events.next()
        {
            budget.spend(256)?;
            seen.see_address(&event);
        }
    }
    budget.free(parsed);
    let markup = cleaned(&html.text, url, budget)?;
    scope.keep(markup.capacity());
    let metadata = Metadata { title: clean(&seen.title, 1024), ..Metadata::default() };
    Ok((Made { markup, metadata }, seen.is_inert))
}

/// Facts gathered from events as they pass.
struct Seen {
    base: Base,
    title: String,
    in_title: bool,
    in_front: bool,
    is_inert: bool,
}

impl Seen {
    fn new(url: &Url) -> Self {
        Self { base: Base::new(url), title: String::new(), in_title: false, in_front: false, is_inert: true }
    }

    fn see(&mut self, event: &Event<'_>) {
        match event {
            Event::Start(Tag::MetadataBlock(_)) => self.in_front = true,
            Event::End(TagEnd::MetadataBlock(_)) => self.in_front = false,
            Event::Start(Tag::Heading { level: HeadingLevel::H1, .. }) if self.title.is_empty() => {
                self.in_title = true;
            }
            Event::End(TagEnd::Heading(_)) => self.in_title = false,
            Event::Text(text) if self.in_front => {
                let named = text.lines().find_map(|line| line.strip_prefix("title:"));
                if let Some(named) = named {
                    let named = named.trim().trim_matches(['"', '\'']);
                    self.title = named[..named.floor_char_boundary(MAX_TITLE)].to_owned();
                }
            }
            Event::Text(text) | Event::Code(text) if self.in_title && self.title.len() < MAX_TITLE => {
                self.title.push_str(&text[..text.floor_char_boundary(MAX_TITLE)]);
            }
            event => self.see_address(event),
        }
    }

    /// Looks for what would be live: HTML, and addresses that are unsafe.
    fn see_address(&mut self, event: &Event<'_>) {
        match event {
            Event::Html(_) | Event::InlineHtml(_) => self.is_inert = false,
            Event::Start(Tag::Link { link_type, dest_url, .. }) if *link_type != LinkType::Email => {
                self.is_inert &= self.base.safe(dest_url).is_some();
            }
            Event::Start(Tag::Image { dest_url, .. }) => self.is_inert &= self.base.web(dest_url).is_some(),
            _ => {}
        }
    }
}

/// Returns the most memory that the parser takes for a document, in bytes.
///
/// It makes a tree of everything that may be markup, before anything can be asked of it: nodes for containers, lines, cells and signs within
/// lines, in a list that doubles as it grows; and addresses, labels and definitions besides.
fn parsed_memory(source: &str) -> usize {
    const NODE: usize = 56;
    const LINE_NODES: usize = 3;
    const ADDRESS: usize = 384;
    // Cells that rows lack are added, up to a bound of the parser's.
    const CELLS: usize = 1 << 18;
    let (mut nodes, mut addresses, mut has_cells) = (64, 0, false);
    // A sign is a node, and so is the text behind it.
    let mut after_sign = false;
    let mut before = b'\n';
    for byte in source.bytes() {
        let is_sign = match byte {
            b'>' | b'-' | b'+' | b'*' | b'_' | b'~' | b'[' | b'!' | b'&' | b'\\' | b'`' | b'^' | b'|' | b']' | b'<' => {
                true
            }
            b'.' | b')' => before.is_ascii_digit(),
            _ => false,
        };
        nodes += match byte {
            b'\n' | b'\r' if !matches!(before, b'\n' | b'\r') => LINE_NODES,
            _ => usize::from(is_sign || after_sign),
        };
        nodes += usize::from(matches!(byte, b'|' | b')' | b'.') && is_sign);
        addresses += usize::from(matches!(byte, b']' | b'<'));
        has_cells |= byte == b'|';
        (after_sign, before) = (is_sign, byte);
    }
    nodes += if has_cells { CELLS.min(source.len() * 4) } else { 0 };
    nodes.next_power_of_two() * NODE * 3 / 2 + addresses * ADDRESS
}

/// Text that grows under the budget.
struct Charged<'b> {
    text: String,
    budget: &'b Budget<'b>,
    failed: Option<ExtractError>,
}

impl fmt::Write for Charged<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.budget.push(&mut self.text, text).map_err(|error| {
            self.failed = Some(error);
            fmt::Error
        })
    }
}
