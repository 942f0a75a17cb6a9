//! Content → formats. Every writer walks the selected nodes once, in document order, without recursion.

mod beside;
mod blocks;
mod code;
mod escape;
mod flow;
mod html;
mod math;
mod tables;

pub(crate) use blocks::blocks;
pub(crate) use flow::{Style, flow};
pub(crate) use html::html;

use crate::{content::Selection, dom::Dom, links::Base};

/// What is written, and what its addresses are relative to.
#[derive(Clone, Copy)]
pub(crate) struct Page<'a> {
    pub(crate) dom: &'a Dom<'a>,
    pub(crate) selection: &'a Selection,
    pub(crate) base: &'a Base,
}

/// Text as HTML shows it.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    escape::html_text(text, &mut out);
    out
}

/// An attribute's value as HTML has it within double quotes.
pub(crate) fn escaped_value(value: &str) -> String {
    let mut out = String::with_capacity(value.len() + value.len() / 8);
    escape::html_value(value, &mut out);
    out
}
