//! Content → formats. Every writer walks the selected nodes once, in document order, without recursion.

mod beside;
mod blocks;
mod code;
mod escape;
mod flow;
mod html;
mod json;
mod math;
mod tables;

pub(crate) use blocks::blocks;
pub(crate) use flow::{Style, flow};
pub(crate) use html::html;
pub(crate) use json::Json;

use crate::{ExtractError, budget::Budget, content::Selection, dom::Dom, links::Base};

/// What is written, and what its addresses are relative to.
#[derive(Clone, Copy)]
pub(crate) struct Page<'a> {
    pub(crate) dom: &'a Dom<'a>,
    pub(crate) selection: &'a Selection,
    pub(crate) base: &'a Base,
}

/// Appends text as HTML shows it.
pub(crate) fn push_escaped(text: &str, out: &mut String, budget: &Budget<'_>) -> Result<(), ExtractError> {
    reserve_escaped(text, out, budget)?;
    escape::html_text(text, out);
    Ok(())
}

/// Appends an attribute's value as HTML has it within double quotes.
pub(crate) fn push_value(value: &str, out: &mut String, budget: &Budget<'_>) -> Result<(), ExtractError> {
    reserve_escaped(value, out, budget)?;
    escape::html_value(value, out);
    Ok(())
}

/// Makes room for text with its characters escaped: six bytes at most for each of them.
fn reserve_escaped(text: &str, out: &mut String, budget: &Budget<'_>) -> Result<(), ExtractError> {
    if out.capacity() - out.len() >= text.len() * 6 {
        return Ok(());
    }
    let special = text.bytes().filter(|byte| matches!(byte, b'&' | b'<' | b'>' | b'"')).count();
    budget.reserve_text(out, text.len() + special * 5)
}
