//! What can be asked for, and what comes out.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;

use crate::{CrawlFacts, Metadata};

/// A format of content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// CommonMark with GFM's tables, task lists and strikethrough.
    Markdown,
    /// Plain text, paragraphs parted by an empty line.
    Text,
    /// HTML without scripts, styles, hidden elements and event handlers; all URLs absolute.
    Html,
    /// The source as it was, decoded.
    RawHtml,
    /// The links, absolute, each URL once.
    Links,
    /// The page as structure: title, blocks, structured data.
    Json,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 6] = [Self::Markdown, Self::Text, Self::Html, Self::RawHtml, Self::Links, Self::Json];

    /// The format's name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Markdown => "markdown",
            Self::Text => "text",
            Self::Html => "html",
            Self::RawHtml => "raw_html",
            Self::Links => "links",
            Self::Json => "json",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is no format's.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("unknown format `{0}`: it is one of markdown, text, html, raw_html, links, json")]
pub struct UnknownFormat(pub String);

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|format| format.name() == name).ok_or_else(|| UnknownFormat(name.to_owned()))
    }
}

/// What a document gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Extracted {
    /// The content in each format, in the order asked for.
    pub contents: Vec<(Format, Content)>,
    /// What the page says of itself.
    pub metadata: Metadata,
    /// What a crawler wants to know, if it was asked for. Only HTML has any: of other documents it is empty.
    pub crawl_facts: Option<CrawlFacts>,
}

/// The content of a page in one format.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Content {
    /// `markdown`, `text`, `html` and `raw_html`.
    Text(String),
    /// `links`.
    Links(Vec<Link>),
    /// `json`.
    Json(JsonText),
}

/// A JSON document, serialised.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct JsonText(Box<RawValue>);

impl JsonText {
    pub(crate) fn new(json: Box<RawValue>) -> Self {
        Self(json)
    }

    /// Returns the document's text, on one line.
    #[must_use]
    pub fn get(&self) -> &str {
        self.0.get()
    }

    /// Returns the document as raw JSON, which serialises as it is.
    #[must_use]
    pub fn into_raw(self) -> Box<RawValue> {
        self.0
    }
}

impl PartialEq for JsonText {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

/// A link of a page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Absolute, `http` or `https`.
    pub url: String,
    /// What the link says; empty if it says nothing.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for format in Format::ALL {
            assert_eq!(format.to_string().parse(), Ok(format));
            assert_eq!(serde_json::to_value(format).unwrap(), format.name());
        }
        assert!("Markdown".parse::<Format>().is_err());
    }
}
