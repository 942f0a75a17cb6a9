//! What is written as it stands: blocks of code, code in a line, pictures.

use super::Writer;
use crate::{
    ExtractError,
    budget::Budget,
    dom::NodeId,
    links::image_source,
    render::{
        beside::decorates,
        code::{language, longest_ticks, preformatted},
        escape::{markdown_url, markdown_word},
    },
    text::{collapse, is_space},
};

impl Writer<'_> {
    pub(super) fn code_block(&mut self, id: NodeId, budget: &Budget<'_>) -> Result<(), ExtractError> {
        let text = preformatted(&self.page, id, budget)?;
        if text.trim().is_empty() {
            return Ok(());
        }
        self.block(2);
        // No emphasis is opened for code.
        self.begin_line();
        let fence = "`".repeat(longest_ticks(&text).max(2) + 1);
        if self.markdown {
            self.out.push_str(&fence);
            self.out.push_str(language(&self.page, id).unwrap_or_default());
            self.new_line();
        }
        for (at, line) in text.lines().enumerate() {
            if at > 0 {
                self.new_line();
            }
            budget.spend(line.len())?;
            self.out.push_str(line);
        }
        if self.markdown {
            self.new_line();
            self.out.push_str(&fence);
        }
        self.block(2);
        Ok(())
    }

    pub(super) fn code(&mut self, text: &str) {
        let spaced = text.starts_with(is_space);
        let text = collapse(text);
        if text.is_empty() {
            self.space |= spaced;
            return;
        }
        self.begin_word();
        // Two pieces of code side by side would be read as one, and are.
        if self.code_end == self.out.len() && !text.contains('`') {
            self.out.pop();
            self.out.push_str(&if self.in_cell { text.replace('|', "\\|") } else { text });
            self.out.push('`');
            self.code_end = self.out.len();
            return;
        }
        if self.out.ends_with('`') {
            self.out.push(' ');
        }
        let ticks = "`".repeat(longest_ticks(&text) + 1);
        let pad = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
        let text = if self.in_cell { text.replace('|', "\\|") } else { text };
        for part in [ticks.as_str(), pad, &text, pad, &ticks] {
            self.out.push_str(part);
        }
        if ticks.len() == 1 && pad.is_empty() {
            self.code_end = self.out.len();
        }
    }

    pub(super) fn image(&mut self, id: NodeId) {
        if !self.markdown {
            return;
        }
        let dom = self.page.dom;
        if decorates(dom, id) {
            return;
        }
        let Some(url) = image_source(dom, id, self.page.base) else { return };
        let alt = collapse(dom.attr(id, "alt").unwrap_or_default());
        self.begin_word();
        self.out.push_str("![");
        for (at, word) in alt.split(' ').enumerate() {
            if at > 0 {
                self.out.push(' ');
            }
            markdown_word(word, self.place(false), &mut self.out);
        }
        self.out.push_str("](");
        markdown_url(url.as_str(), &mut self.out);
        self.out.push(')');
    }
}
