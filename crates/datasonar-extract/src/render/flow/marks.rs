//! Marks: what stands around words within a paragraph, emphasis and links. A mark is opened by the first word inside it
//! and closed by the end of its element or of the paragraph, whichever comes first.
//!
//! Signs of emphasis count as such only beside certain characters. Where they would not, there is no emphasis: words are not
//! parted by spaces for its sake.

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
    /// Where its sign was written.
    at: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// To be opened by the next word.
    Pending,
    Open,
    /// It cannot be written here: a link that a block ended, emphasis in the middle of signs.
    Done,
}

/// Emphasis that was closed right before where the next word is written.
#[derive(Clone, Copy)]
pub(super) struct Closed {
    at: usize,
    sign: &'static str,
}

/// Emphasis whose end is the end of what is written, the inner before the outer.
#[derive(Default)]
pub(super) struct Ended {
    marks: Vec<Closed>,
    /// How much was written when the last of them ended.
    len: usize,
}

impl Writer<'_> {
    pub(super) fn mark(&mut self, id: NodeId, mark: &'static str) {
        let within = self.marks.iter().any(|open| open.open == mark) || self.heading > 0 && mark == "**";
        if self.markdown && !within && self.marks.len() < MAX_MARKS {
            self.marks.push(Mark { open: mark, close: mark, url: None, state: State::Pending, at: 0 });
            self.undo.push((id, Undo::Mark));
        }
    }

    /// Begins a link; answers whether all of it is written.
    pub(super) fn link(&mut self, id: NodeId) -> bool {
        let within = self.marks.iter().any(|mark| mark.url.is_some());
        if !self.markdown || within || self.marks.len() >= MAX_MARKS {
            return false;
        }
        let href =
            self.page.dom.attr(id, "href").map(str::trim).filter(|href| !href.is_empty() && !href.starts_with('#'));
        if let Some(url) = href.and_then(|href| self.page.base.safe(href)) {
            if let Some(address) = href.filter(|href| self.says_address(id, href, url.as_str())) {
                let address = format!("<{address}>");
                self.raw(&address);
                return true;
            }
            self.marks.push(Mark { open: "[", close: "]", url: Some(url.into()), state: State::Pending, at: 0 });
            self.undo.push((id, Undo::Mark));
        }
        false
    }

    /// Whether a link shows its own address and no more.
    fn says_address(&self, id: NodeId, href: &str, url: &str) -> bool {
        let dom = self.page.dom;
        let child = dom.node(id).first;
        let is_plain = (href.starts_with("https://") || href.starts_with("http://"))
            && !href.contains(|next: char| next.is_whitespace() || matches!(next, '<' | '>' | '|' | '\\' | '"'))
            && !(href.contains('&') && href.contains(';'))
            && href.is_ascii();
        is_plain
            && child != crate::dom::NONE
            && dom.node(child).next == crate::dom::NONE
            && dom.text(child) == href
            && (url == href || url.strip_suffix('/') == Some(href))
    }

    /// Takes emphasis back whose end would not be read as such, because a sign stands before it and a word comes right behind.
    pub(super) fn part_marks(&mut self) {
        let is_adjacent = self.emphasis.len == self.out.len() && !self.emphasis.marks.is_empty();
        if !is_adjacent {
            self.emphasis.marks.clear();
            return;
        }
        let opens = self.marks.iter().find(|mark| mark.state == State::Pending);
        // The same emphasis goes on.
        if let (Some(Closed { at, sign }), Some(mark)) = (self.emphasis.marks.last().copied(), opens)
            && mark.open == sign
        {
            self.out.truncate(self.out.len() - sign.len());
            if let Some(mark) = self.marks.iter_mut().find(|mark| mark.state == State::Pending) {
                (mark.state, mark.at) = (State::Open, at);
            }
            self.emphasis.marks.pop();
            self.opened = usize::MAX;
        }
        // Its signs would be read together with those of the same emphasis further in.
        for mark in self.marks.iter_mut().filter(|mark| mark.state == State::Pending) {
            if self.emphasis.marks.iter().any(|closed| closed.sign == mark.open) {
                mark.state = State::Done;
            }
        }
        let opens = self.marks.iter().find(|mark| mark.state == State::Pending);
        let next = opens.map_or(self.next, |mark| mark.open.chars().next());
        let signs: usize = self.emphasis.marks.iter().map(|closed| closed.sign.len()).sum();
        let before = self.out[..self.out.len() - signs].chars().next_back();
        let ends_in_sign = before.is_some_and(|before| !before.is_alphanumeric());
        let is_read =
            !ends_in_sign || next.is_none_or(|next| next.is_ascii_punctuation() && next != '*' && next != '~');
        if !is_read {
            self.out.truncate(self.out.len() - signs);
            for Closed { at, sign } in &self.emphasis.marks {
                self.out.replace_range(*at..at + sign.len(), "");
            }
            self.opened = usize::MAX;
        }
        self.emphasis.marks.clear();
    }

    pub(super) fn open_marks(&mut self) {
        let word = self.next.take();
        // Signs beside a letter or within punctuation are read as an end first, if there is something for them to end.
        let open = |sign: char| self.marks.iter().any(|mark| mark.state == State::Open && mark.open.starts_with(sign));
        let (stars, tildes) = (open('*'), open('~'));
        let mut pending = self.marks.iter_mut().filter(|mark| mark.state == State::Pending).peekable();
        while let Some(mark) = pending.next() {
            let last = self.out.chars().next_back();
            if mark.url.is_some() {
                // Behind the call of a footnote, both would be read as one reference.
                if last == Some(']') && !self.out.ends_with("\\]") {
                    mark.state = State::Done;
                    continue;
                }
                if last == Some('!') {
                    self.out.pop();
                    self.out.push_str("\\!");
                }
            } else {
                let sign = mark.open.chars().next();
                let inside = pending.peek().is_none() && word.is_some_and(char::is_alphanumeric);
                let begins = self.opened == self.out.len();
                let outside = last.is_none_or(|last| last.is_whitespace() || last.is_ascii_punctuation());
                // Signs that end emphasis, or mean themselves, must not be read together with these.
                let joins = last == sign && !begins || word.is_some_and(|word| matches!(word, '*' | '_' | '~' | '\\'));
                let begins_only = last.is_none_or(|last| {
                    last.is_whitespace() || last.is_ascii_punctuation() && word.is_some_and(char::is_alphanumeric)
                });
                let ends = !begins_only && !begins && if sign == Some('*') { stars } else { tildes };
                if joins || ends || !(inside || outside) {
                    mark.state = State::Done;
                    continue;
                }
            }
            mark.at = self.out.len();
            self.out.push_str(mark.open);
            self.opened = self.out.len();
            mark.state = State::Open;
        }
    }

    pub(super) fn close_mark(&mut self) {
        if let Some(mark) = self.marks.pop() {
            self.write_close(&mark);
        }
    }

    fn write_close(&mut self, mark: &Mark) {
        if mark.state != State::Open {
            return;
        }
        let is_adjacent = self.emphasis.len == self.out.len();
        self.out.push_str(mark.close);
        if let Some(url) = &mark.url {
            self.out.push('(');
            markdown_url(url, &mut self.out);
            self.out.push(')');
            return;
        }
        if !is_adjacent {
            self.emphasis.marks.clear();
        }
        self.emphasis.marks.push(Closed { at: mark.at, sign: mark.open });
        self.emphasis.len = self.out.len();
    }

    /// Closes the marks at the end of a paragraph; emphasis is opened again in the next.
    pub(super) fn suspend_marks(&mut self) {
        let mut marks = std::mem::take(&mut self.marks);
        for mark in marks.iter_mut().rev() {
            if mark.state == State::Open {
                self.write_close(mark);
            }
            mark.state = if mark.url.is_some() && mark.state != State::Pending { State::Done } else { State::Pending };
        }
        self.marks = marks;
        self.emphasis.marks.clear();
    }

    pub(super) fn close_marks(&mut self) {
        while !self.marks.is_empty() {
            self.close_mark();
        }
    }
}
