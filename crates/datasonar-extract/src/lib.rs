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
//! Memory is bounded per page: [`default_memory`], or what [`extract_within`] is told. That goes for everything from decoding to
//! the last format, all of them together; a page that needs more ends with [`ExtractError::TooLarge`]. The body itself is the caller's.
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

pub use budget::default_memory;
pub use error::ExtractError;
pub use facts::{CrawlFacts, PageLink, RobotsDirectives};
pub use format::{Content, Extracted, Format, JsonText, Link, UnknownFormat};
pub use metadata::Metadata;
pub use options::{InvalidSelector, Options};
use url::Url;

use crate::{
    budget::Budget,
    links::Base,
    made::Made,
    media::Kind,
    render::{Json, Page, Style},
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
/// says it is, [`ExtractError::TooLarge`] if it takes more than [`default_memory`], [`ExtractError::Stopped`] once `stop` answers `true`.
///
/// # What is in which format
/// With include selectors, every format but `raw_html` holds the matching elements alone; else, with `only_main_content`,
/// the main content; else the whole page. That goes for `links` too: whoever harvests links asks for the whole page.
pub fn extract(document: &Document<'_>, options: &Options, stop: &dyn Fn() -> bool) -> Result<Extracted, ExtractError> {
    extract_within(document, options, default_memory(document.body.len()), stop)
}

/// Like [`extract`], within `memory` bytes.
///
/// # Errors
/// As [`extract`].
pub fn extract_within(
    document: &Document<'_>,
    options: &Options,
    memory: usize,
    stop: &dyn Fn() -> bool,
) -> Result<Extracted, ExtractError> {
    let budget = Budget::within(stop, memory);
    budget.poll()?;
    let (kind, content_type) = media::classify(document.content_type, document.url.path(), document.body);
    if kind == Kind::Unsupported {
        return Err(ExtractError::UnsupportedContent { content_type });
    }
    let url = document.url;
    if kind == Kind::Pdf {
        let made = pdf::read(document.body, &budget)?;
        return stand_in(url, made, &Source::default(), content_type, options, &budget);
    }
    let top_level_domain = url.domain().and_then(|domain| domain.rsplit('.').next());
    let source = charset::decode(document.body, document.content_type, top_level_domain, &budget)?;
    budget.poll()?;
    if kind == Kind::Html {
        let mut extracted = html(url, &source, options, &budget)?;
        extracted.metadata.content_type = Some(content_type);
        return Ok(extracted);
    }
    let text = charset::normalize(&source, &budget)?;
    let mut of = Source { text: Some(&source), ..Source::default() };
    let made = match kind {
        Kind::Xml => made::xml(&text, url, &budget)?,
        Kind::Json => {
            let made = made::json(&source, url, &budget)?;
            of.json = Some(&source);
            made
        }
        Kind::Markdown => {
            let (made, is_inert) = made::markdown(&text, url, &budget)?;
            of.markdown = Some(&*text).filter(|_| is_inert);
            made
        }
        Kind::Delimited(delimiter) => made::table(&text, delimiter, &budget)?,
        Kind::Code(language) => made::code(&text, language, &budget)?,
        _ => made::plain(&text, &budget)?,
    };
    stand_in(url, made, &of, content_type, options, &budget)
}

/// The texts that a document gives to formats as they are.
#[derive(Clone, Copy, Default)]
struct Source<'a> {
    /// What the document was, if it was text.
    text: Option<&'a str>,
    /// Markdown that is its own Markdown.
    markdown: Option<&'a str>,
    /// JSON that is its own structured data.
    json: Option<&'a str>,
}

/// The content of a document that is not HTML, by the markup that stands for it. All of that is content.
fn stand_in(
    url: &Url,
    made: Made,
    source: &Source<'_>,
    content_type: String,
    options: &Options,
    budget: &Budget<'_>,
) -> Result<Extracted, ExtractError> {
    let options = Options { only_main_content: false, ..options.clone() };
    let dom = dom::parse(&made.markup, budget)?;
    let base = Base::of(&dom, url);
    let structured = StructuredData::default();
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
    let source = charset::decode(document.body, document.content_type, top_level_domain, &budget)?;
    let text = charset::normalize(&source, &budget)?;
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
    let source = charset::decode(document.body, document.content_type, top_level_domain, &budget)?;
    let text = charset::normalize(&source, &budget)?;
    let dom = dom::parse(&text, &budget)?;
    let structured = StructuredData::of(&dom, &budget)?;
    let selection = main_content::training::judged(&dom, &structured, scores, types, &budget)?;
    let base = Base::of(&dom, document.url);
    render::flow(&Page { dom: &dom, selection: &selection, base: &base }, Style::Plain, &budget)
}

/// The content of an HTML page.
fn html(url: &Url, source: &str, options: &Options, budget: &Budget<'_>) -> Result<Extracted, ExtractError> {
    let text = charset::normalize(source, budget)?;
    let dom = dom::parse(&text, budget)?;
    let base = Base::of(&dom, url);
    let structured = StructuredData::of(&dom, budget)?;
    let metadata = Metadata::of(&dom, &base, url, &structured, budget)?;
    let facts = |agent: &String| CrawlFacts::of(&dom, url, &base, agent, budget);
    let crawl_facts = options.crawl_facts.as_ref().map(facts).transpose()?;
    if options.formats.iter().all(|format| *format == Format::RawHtml) {
        // Nothing of it is selected.
        let raw = |format: &Format| Ok((*format, Content::Text(copied(source, budget)?)));
        let contents = options.formats.iter().map(raw).collect::<Result<_, ExtractError>>()?;
        return Ok(Extracted { contents, metadata, crawl_facts });
    }
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
    let source = Source { text: Some(source), ..Source::default() };
    let contents = contents(&Pages { shown, own }, &source, &metadata, &structured, options, budget)?;
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
    source: &Source<'_>,
    metadata: &Metadata,
    structured: &StructuredData,
    options: &Options,
    budget: &Budget<'_>,
) -> Result<Vec<(Format, Content)>, ExtractError> {
    let Pages { shown: page, own } = pages;
    let mut contents = Vec::with_capacity(options.formats().len());
    for &format in options.formats() {
        let scope = budget.scope();
        let html = || render::html(page, metadata.title.as_deref(), budget);
        let content = match format {
            Format::Markdown => Content::Text(match source.markdown {
                Some(own) => copied(own, budget)?,
                None => render::flow(page, Style::Markdown, budget)?,
            }),
            Format::Text => Content::Text(render::flow(page, Style::Plain, budget)?),
            Format::Html => Content::Text(html()?),
            Format::RawHtml => Content::Text(match source.text {
                Some(source) => copied(source, budget)?,
                None => html()?,
            }),
            Format::Links => {
                let links = links::links(own.dom, own.selection, own.base, budget)?;
                // Their texts and addresses are counted until the end.
                contents.push((format, Content::Links(links)));
                std::mem::forget(scope);
                continue;
            }
            Format::Json => Content::Json(json(page, source, metadata, structured, budget)?),
        };
        scope.keep(match &content {
            Content::Text(text) => text.capacity(),
            Content::Json(json) => json.get().len(),
            Content::Links(_) => 0,
        });
        contents.push((format, content));
    }
    Ok(contents)
}

fn copied(text: &str, budget: &Budget<'_>) -> Result<String, ExtractError> {
    budget.allocate(text.len())?;
    Ok(text.to_owned())
}

/// The page as structure.
fn json<'b>(
    page: &Page<'_>,
    source: &Source<'_>,
    metadata: &Metadata,
    structured: &StructuredData,
    budget: &'b Budget<'b>,
) -> Result<JsonText, ExtractError> {
    let mut json = Json::new(budget);
    json.raw("{\"title\":")?;
    json.value(&metadata.title)?;
    json.raw(",\"blocks\":")?;
    render::blocks(page, &mut json)?;
    json.raw(",\"structured_data\":")?;
    match source.json {
        Some(document) => {
            json.raw("[")?;
            made::write_json(document, &mut json)?;
            json.raw("]")?;
        }
        None => json.value(&structured.objects)?,
    }
    json.raw("}")?;
    json.finish().map(JsonText::new)
}
