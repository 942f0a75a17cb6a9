//! Marks: what stands around words within a paragraph, emphasis and links. A mark is opened by the first word inside it
//! and closed by the end of its element or of the paragraph, whichever comes first.

use super::{Undo, Writer};
use crate::{dom::NodeId, render::escape::markdown_url};

/// Marks within each other, at most.
const MAX_MARKS: usize = 8;

/// Around words: emphasis or a link.
pub(super) struct Mark {
    open: &'static str,
    close: &'static str,
    /// For links.
    url: Option<String>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// To be opened by the next word.
    Pending,
    Open,
    /// A link that a block ended: it is not opened again.
    Done,
}

impl Writer<'_> {
    pub(super) fn mark(&mut self, id: NodeId, mark: &'static str) {
        let within = self.marks.iter().any(|open| open.open == mark) || self.heading > 0 && mark == "**";
        if self.markdown && !within && self.marks.len() < MAX_MARKS {
            self.marks.push(Mark { open: mark, close: mark, url: None, state: State::Pending });
            self.undo.push((id, Undo::Mark));
        }
    }

    pub(super) fn link(&mut self, id: NodeId) {
        let within = self.marks.iter().any(|mark| mark.url.is_some());
        if !self.markdown || within || self.marks.len() >= MAX_MARKS {
            return;
        }
        let href =
            self.page.dom.attr(id, "href").map(str::trim).filter(|href| !href.is_empty() && !href.starts_with('#'));
        if let Some(url) = href.and_then(|href| self.page.base.safe(href)) {
            self.marks.push(Mark { open: "[", close: "]", url: Some(url.into()), state: State::Pending });
            self.undo.push((id, Undo::Mark));
        }
    }

    /// Writes a space where marks would not be read as such: between the end of one and the beginning of another of its sign,
    /// and where there is a sign inside and a letter outside.
    pub(super) fn part_marks(&mut self) {
        let next_is_letter = self.next.take().is_some_and(char::is_alphanumeric);
        let opens = self.marks.iter().find(|mark| mark.state == State::Pending);
        let parts = match opens {
            Some(mark) if mark.url.is_none() => {
                let last = self.out.chars().next_back();
                let is_alone = self.marks.iter().filter(|mark| mark.state == State::Pending).count() == 1;
                let inside = next_is_letter && is_alone;
                mark.open.chars().next() == last || last.is_some_and(char::is_alphanumeric) && !inside
            }
            Some(_) => false,
            None => self.closed_at == self.out.len() && next_is_letter,
        };
        if parts {
            self.out.push(' ');
        }
    }

    pub(super) fn open_marks(&mut self) {
        for mark in self.marks.iter_mut().filter(|mark| mark.state == State::Pending) {
            if mark.url.is_some() && self.out.ends_with('!') {
                self.out.pop();
                self.out.push_str("\\!");
            }
            self.out.push_str(mark.open);
            mark.state = State::Open;
        }
    }

    pub(super) fn close_mark(&mut self) {
        if let Some(mark) = self.marks.pop() {
            self.write_close(&mark);
        }
    }

    fn write_close(&mut self, mark: &Mark) {
        if mark.state == State::Open {
            let ends_in_sign = self.out.chars().next_back().is_some_and(|last| !last.is_alphanumeric());
            self.out.push_str(mark.close);
            if mark.url.is_none() && ends_in_sign {
                self.closed_at = self.out.len();
            }
            if let Some(url) = &mark.url {
                self.out.push('(');
                markdown_url(url, &mut self.out);
                self.out.push(')');
            }
        }
    }

    /// Closes the marks at the end of a paragraph; emphasis is opened again in the next.
    pub(super) fn suspend_marks(&mut self) {
        let mut marks = std::mem::take(&mut self.marks);
        for mark in marks.iter_mut().rev().filter(|mark| mark.state == State::Open) {
            self.write_close(mark);
            mark.state = if mark.url.is_some() { State::Done } else { State::Pending };
        }
        self.marks = marks;
    }

    pub(super) fn close_marks(&mut self) {
        while !self.marks.is_empty() {
            self.close_mark();
        }
    }
}
