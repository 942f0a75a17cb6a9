//! HTML that stands for documents which are something else: feeds, XML, text, tables, Markdown, PDF.
//!
//! Whatever a document is, it becomes markup first, and every format is written from the tree of that markup, by the same
//! writers as those of a page. So formats agree, and selectors work.

mod delimited;
mod feeds;
mod json;
mod markdown;
mod text;
mod xml;

pub(crate) use delimited::table;
pub(crate) use json::{json, write_json};
pub(crate) use markdown::markdown;
pub(crate) use text::{code, plain, push_linked};
pub(crate) use xml::xml;

use url::Url;

use crate::{
    ExtractError, Metadata,
    budget::Budget,
    content::{self, Shown},
    dom,
    links::Base,
    render::{self, Page, push_escaped},
};

/// What stands for a document.
pub(crate) struct Made {
    pub(crate) markup: String,
    pub(crate) metadata: Metadata,
}

/// What can be seen of foreign HTML, well-formed and with absolute addresses, so that it can stand within other markup.
fn cleaned(html: &str, url: &Url, budget: &Budget<'_>) -> Result<String, ExtractError> {
    if !html.contains(['<', '&']) {
        return escaped(html, budget);
    }
    let scope = budget.scope();
    let text = crate::charset::normalize(html, budget)?;
    let dom = dom::parse(&text, budget)?;
    let base = Base::of(&dom, url);
    let selection = content::seen(&dom, Shown::Yes, budget)?;
    let page = Page { dom: &dom, selection: &selection, base: &base };
    let cleaned = render::html(&page, None, budget)?;
    scope.keep(cleaned.capacity());
    Ok(cleaned)
}

/// Text as HTML shows it.
fn escaped(text: &str, budget: &Budget<'_>) -> Result<String, ExtractError> {
    let mut out = String::new();
    push_escaped(text, &mut out, budget)?;
    Ok(out)
}
