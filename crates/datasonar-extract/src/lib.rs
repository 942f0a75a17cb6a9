//! Bytes of a page in, its content out.
//!
//! One call, [`extract`], goes the whole way: charset detection → one parse into an arena → metadata, links and main
//! content → the formats asked for. It is pure: no network, no clock, no threads. Time is the caller's: `stop` is polled
//! often, and answering `true` ends the work with [`ExtractError::Stopped`].
//!
//! # Hostile input
//! Nothing here recurses over the depth of a document, and every structure is bounded: nesting,
//! nodes, attributes, open formatting elements. What passes a bound is flattened or ignored, never an
//! error. Work is linear in the input, so that ten million bytes of anything take well under two seconds.
//!
//! # Reading order
//! `media` and `charset` (what it is) → `made` and `pdf` (markup for what is not HTML) → `dom` (tokens → tree) → `content`, `main_content` and `select` (what to keep) →
//! `render` and `links` (formats).
//! `metadata` reads the whole tree once, before anything is removed from it; `facts`, for crawlers, likewise.
#![warn(unreachable_pub)]

mod budget;
mod charset;
mod content;
mod dates;
mod dom;
mod error;
mod facts;
mod format;
mod links;
mod made;
mod main_content;
mod media;
mod metadata;
mod notes;
mod options;
mod pdf;
mod render;
mod said;
mod select;
mod structured;
mod text;

pub use error::ExtractError;
pub use facts::{CrawlFacts, PageLink, RobotsDirectives};
pub use format::{Content, Extracted, Format, Link, UnknownFormat};
pub use metadata::Metadata;
pub use options::{InvalidSelector, Options};
use serde_json::{Value, json};
use url::Url;

use crate::{
    budget::Budget,
    links::Base,
    made::Made,
    media::Kind,
    render::{Page, Style},
    structured::StructuredData,
};

/// A page as it was fetched.
#[derive(Debug, Clone, Copy)]
pub struct Document<'a> {
    /// The URL after redirects: what relative links are relative to.
    pub url: &'a Url,
    /// The `Content-Type` header, as received.
    pub content_type: Option<&'a str>,
    /// The body, with its content encoding undone.
    pub body: &'a [u8],
}

/// Derives the content of a document in every format asked for.
///
/// `stop` is polled every few milliseconds of work at the latest.
///
/// # Errors
/// [`ExtractError::UnsupportedContent`] if the document is not text, [`ExtractError::Decode`] if it cannot be what it
/// says it is, [`ExtractError::Stopped`] once `stop` answers `true`.
///
/// # What is in which format
/// With include selectors, every format but `raw_html` holds the matching elements alone; else, with `only_main_content`,
/// the main content; else the whole page. That goes for `links` too: whoever harvests links asks for the whole page.
pub fn extract(document: &Document<'_>, options: &Options, stop: &dyn Fn() -> bool) -> Result<Extracted, ExtractError> {
    let budget = Budget::new(stop);
    budget.poll()?;
    let (kind, content_type) = media::classify(document.content_type, document.url.path(), document.body);
    if kind == Kind::Unsupported {
        return Err(ExtractError::UnsupportedContent { content_type });
    }
    let url = document.url;
    if kind == Kind::Pdf {
        let made = pdf::read(document.body, &budget)?;
        return stand_in(url, made, None, Vec::new(), content_type, options, &budget);
    }
    let top_level_domain = url.domain().and_then(|domain| domain.rsplit('.').next());
    let source = charset::decode(document.body, document.content_type, top_level_domain);
    budget.poll()?;
    if kind == Kind::Html {
        let mut extracted = html(url, &source, options, &budget)?;
        extracted.metadata.content_type = Some(content_type);
        return Ok(extracted);
    }
    let text = charset::normalize(&source);
    let mut values = Vec::new();
    let made = match kind {
        Kind::Xml => made::xml(&text, url, &budget)?,
        Kind::Json => {
            let (made, value) = made::json(&source, url, &budget)?;
            values.push(value);
            made
        }
        Kind::Markdown => made::markdown(&text, url, &budget)?,
        Kind::Delimited(delimiter) => made::table(&text, delimiter, &budget)?,
        Kind::Code(language) => made::code(&text, language),
        _ => made::plain(&text),
    };
    let own = if kind == Kind::Markdown { Some(&*text) } else { None };
    let mut extracted = stand_in(url, made, Some(&source), values, content_type, options, &budget)?;
    for (format, content) in &mut extracted.contents {
        if let (Format::Markdown, Some(own)) = (*format, own) {
            *content = Content::Text(own.to_owned());
        }
    }
    Ok(extracted)
}

/// The content of a document that is not HTML, by the markup that stands for it. All of that is content; `source` is what the document
/// was, if it was text.
fn stand_in(
    url: &Url,
    made: Made,
    source: Option<&str>,
    values: Vec<Value>,
    content_type: String,
    options: &Options,
    budget: &Budget<'_>,
) -> Result<Extracted, ExtractError> {
    let options = Options { only_main_content: false, ..options.clone() };
    let dom = dom::parse(&made.markup, budget)?;
    let base = Base::of(&dom, url);
    let structured = StructuredData { objects: values };
    let selection = content::select(&dom, url, &structured, &options, budget)?;
    let page = Page { dom: &dom, selection: &selection, base: &base };
    let metadata = Metadata { content_type: Some(content_type), ..made.metadata };
    let contents = contents(&Pages { shown: page, own: page }, source, &metadata, &structured, &options, budget)?;
    let crawl_facts = options.crawl_facts.as_ref().map(|_| CrawlFacts::default());
    Ok(Extracted { contents, metadata, crawl_facts })
}

/// What the scorer of main content sees of a page, for training it.
///
/// # Errors
/// As [`extract`].
#[cfg(feature = "training")]
pub fn training_view(document: &Document<'_>) -> Result<serde_json::Value, ExtractError> {
    let budget = Budget::new(&|| false);
    let top_level_domain = document.url.domain().and_then(|domain| domain.rsplit('.').next());
    let source = charset::decode(document.body, document.content_type, top_level_domain);
    let text = charset::normalize(&source);
    let dom = dom::parse(&text, &budget)?;
    let structured = StructuredData::of(&dom, &budget)?;
    main_content::training::dump(&dom, document.url, &structured, &budget)
}

/// The text of a page's main content by scores that were made elsewhere, one for each segment of its [`training_view`].
///
/// # Errors
/// As [`extract`].
#[cfg(feature = "training")]
pub fn judged_text(document: &Document<'_>, scores: &[f32], types: &[f32; 7]) -> Result<String, ExtractError> {
    let budget = Budget::new(&|| false);
    let top_level_domain = document.url.domain().and_then(|domain| domain.rsplit('.').next());
    let source = charset::decode(document.body, document.content_type, top_level_domain);
    let text = charset::normalize(&source);
    let dom = dom::parse(&text, &budget)?;
    let structured = StructuredData::of(&dom, &budget)?;
    let selection = main_content::training::judged(&dom, &structured, scores, types, &budget)?;
    let base = Base::of(&dom, document.url);
    render::flow(&Page { dom: &dom, selection: &selection, base: &base }, Style::Plain, &budget)
}

/// The content of an HTML page.
fn html(url: &Url, source: &str, options: &Options, budget: &Budget<'_>) -> Result<Extracted, ExtractError> {
    let text = charset::normalize(source);
    let dom = dom::parse(&text, budget)?;
    let base = Base::of(&dom, url);
    let structured = StructuredData::of(&dom, budget)?;
    let metadata = Metadata::of(&dom, &base, url, &structured, budget)?;
    let selection = content::select(&dom, url, &structured, options, budget)?;
    let said = match options.include.is_empty() && options.only_main_content {
        true => said::stand_in(&dom, &structured, &selection, budget)?,
        false => None,
    };
    let said = said.as_deref().map(|said| dom::parse(said, budget)).transpose()?;
    let said = match &said {
        Some(said) => Some((said, content::seen(said, content::Shown::Yes, budget)?)),
        None => None,
    };
    let own = Page { dom: &dom, selection: &selection, base: &base };
    let shown = match &said {
        Some((said, all)) => Page { dom: said, selection: all, base: &base },
        None => own,
    };
    let contents = contents(&Pages { shown, own }, Some(source), &metadata, &structured, options, budget)?;
    let facts = |agent: &String| CrawlFacts::of(&dom, url, &base, agent, budget);
    let crawl_facts = options.crawl_facts.as_ref().map(facts).transpose()?;
    Ok(Extracted { contents, metadata, crawl_facts })
}

/// What is selected of a document.
struct Pages<'a> {
    /// What is rendered.
    shown: Page<'a>,
    /// The document's own tree, of which links are told: the same, unless something stands in for a shell.
    own: Page<'a>,
}

/// What is selected of a tree, in every format asked for.
fn contents(
    pages: &Pages<'_>,
    source: Option<&str>,
    metadata: &Metadata,
    structured: &StructuredData,
    options: &Options,
    budget: &Budget<'_>,
) -> Result<Vec<(Format, Content)>, ExtractError> {
    let Pages { shown: page, own } = pages;
    let mut contents = Vec::with_capacity(options.formats().len());
    for &format in options.formats() {
        let html = || render::html(page, metadata.title.as_deref(), budget);
        let content = match format {
            Format::Markdown => Content::Text(render::flow(page, Style::Markdown, budget)?),
            Format::Text => Content::Text(render::flow(page, Style::Plain, budget)?),
            Format::Html => Content::Text(html()?),
            Format::RawHtml => Content::Text(source.map_or_else(html, |source| Ok(source.to_owned()))?),
            Format::Links => Content::Links(links::links(own.dom, own.selection, own.base, budget)?),
            Format::Json => Content::Json(json!({
                "title": metadata.title,
                "blocks": render::blocks(page, budget)?,
                "structured_data": structured.objects,
            })),
        };
        contents.push((format, content));
    }
    Ok(contents)
}
