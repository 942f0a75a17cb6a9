//! What is written as it stands: blocks of code, code in a line, pictures.

use super::{SLACK, Writer};
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
    text::{collapse, is_space, is_unseen},
};

/// The most bytes of code that are written anew for the sake of a piece that comes right behind: many pieces would cost the square of
/// their number. Longer ones are parted by a space.
const REWRITTEN: usize = 1000;

/// The piece of code in a line that was written last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Code {
    /// Where its backticks begin.
    start: usize,
    /// Where they end.
    end: usize,
    /// How many there are on each side.
    ticks: usize,
    /// How many spaces part them from the code.
    pad: usize,
}

impl Code {
    /// Whether more code without backticks can be put before its end.
    fn is_plain(self) -> bool {
        self.ticks == 1 && self.pad == 0
    }
}

impl Writer<'_> {
    pub(super) fn code_block(&mut self, id: NodeId, budget: &Budget<'_>) -> Result<(), ExtractError> {
        let scope = budget.scope();
        let text = preformatted(&self.page, id, budget)?;
        if text.trim().is_empty() {
            return Ok(());
        }
        let lines = memchr::memchr_iter(b'\n', text.as_bytes()).count() + 4;
        let ticks = longest_ticks(&text);
        let written = (text.len() + ticks * 3).saturating_add(lines.saturating_mul(self.prefix.len() + 1));
        let before = self.out.capacity();
        budget.reserve_text(&mut self.out, written + SLACK)?;
        let grown = self.out.capacity() - before;
        self.block(2);
        // No emphasis is opened for code.
        self.begin_line();
        let fence = "`".repeat(ticks.max(2) + 1);
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
        scope.keep(grown);
        Ok(())
    }

    pub(super) fn code(&mut self, text: &str) {
        let begins = text.len() - text.trim_start_matches(is_space).len();
        let ends = text.trim_end_matches(is_space).len();
        let parts = |part: &str| part.chars().any(|character| !is_unseen(character));
        self.space |= parts(&text[..begins]);
        let ends_in_space = parts(&text[ends..]);
        let text = collapse(text);
        if text.is_empty() {
            return;
        }
        self.begin_word();
        self.space |= ends_in_space;
        let text = if self.in_cell { text.replace('|', "\\|") } else { text };
        // Two pieces of code side by side would be read as one, and are.
        if let Some(last) = self.code.filter(|last| last.end == self.out.len()) {
            if last.is_plain() && !text.contains('`') {
                self.out.pop();
                self.out.push_str(&text);
                self.out.push('`');
                self.code = Some(Code { end: self.out.len(), ..last });
                return;
            }
            if last.end - last.start <= REWRITTEN {
                let before = self.out.split_off(last.start);
                let before = &before[last.ticks + last.pad..before.len() - last.ticks - last.pad];
                self.code_between_ticks(&format!("{before}{text}"));
                return;
            }
            self.out.push(' ');
        } else if self.out.ends_with("\\`") {
            // Its backtick would be counted with those that open the code.
            self.out.truncate(self.out.len() - 2);
            self.out.push_str("&#96;");
        }
        self.code_between_ticks(&text);
    }

    /// Writes code between as many backticks as tell it from those within (CommonMark 6.1).
    fn code_between_ticks(&mut self, text: &str) {
        let start = self.out.len();
        let ticks = longest_ticks(text) + 1;
        let pad = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
        let fence = "`".repeat(ticks);
        for part in [fence.as_str(), pad, text, pad, &fence] {
            self.out.push_str(part);
        }
        self.code = Some(Code { start, end: self.out.len(), ticks, pad: pad.len() });
    }

    pub(super) fn image(&mut self, id: NodeId, budget: &Budget<'_>) -> Result<(), ExtractError> {
        if !self.markdown {
            return Ok(());
        }
        let dom = self.page.dom;
        if decorates(dom, id) {
            return Ok(());
        }
        let Some(url) = image_source(dom, id, self.page.base) else { return Ok(()) };
        let alt = dom.attr(id, "alt").unwrap_or_default();
        budget.allocate(alt.len())?;
        budget.reserve_text(&mut self.out, alt.len() * 2 + SLACK)?;
        budget.free(alt.len());
        let alt = collapse(alt);
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
        Ok(())
    }
}
