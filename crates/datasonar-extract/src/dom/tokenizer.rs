//! Source → tags and text, by the tokenization rules of the HTML standard, without copying.

use memchr::{memchr, memchr2, memmem};

use crate::{ExtractError, budget::Budget};

/// Attributes of one element, at most; the rest are ignored.
pub(super) const MAX_ATTRS: usize = 256;

/// A range of the source in bytes.
pub(super) type Range = (usize, usize);

/// A piece of the source.
#[derive(Debug, Clone, Copy)]
pub(super) enum Token {
    /// Text, its character references unresolved.
    Text(Range),
    /// Text in which an ampersand is an ampersand.
    Verbatim(Range),
    /// A start tag; its attributes are in [`Tokenizer::attrs`].
    Start { name: Range, self_closing: bool },
    /// An end tag.
    End { name: Range },
    /// The end of the source.
    Eof,
}

/// Reads tokens off the source.
pub(super) struct Tokenizer<'s, 'b> {
    source: &'s str,
    at: usize,
    budget: &'b Budget<'b>,
    /// Name and value of each attribute of the last start tag.
    pub(super) attrs: Vec<(Range, Range)>,
    /// Whether a script in a comment in a script is no longer looked for.
    ignore_escapes: bool,
}

impl<'s, 'b> Tokenizer<'s, 'b> {
    pub(super) fn new(source: &'s str, budget: &'b Budget<'b>) -> Self {
        Self { source, at: 0, budget, attrs: Vec::new(), ignore_escapes: false }
    }

    /// The end of the last token.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The next token. `foreign` allows CDATA sections.
    pub(super) fn next(&mut self, foreign: bool) -> Result<Token, ExtractError> {
        let bytes = self.source.as_bytes();
        let begin = self.at;
        let mut from = begin;
        loop {
            let Some(at) = memchr(b'<', &bytes[from..]).map(|at| from + at) else {
                self.at = bytes.len();
                self.budget.spend(bytes.len() - begin)?;
                return Ok(if begin < bytes.len() { Token::Text((begin, bytes.len())) } else { Token::Eof });
            };
            let opens = match bytes.get(at + 1) {
                Some(b'/') => at + 2 < bytes.len(),
                Some(byte) => byte.is_ascii_alphabetic() || matches!(byte, b'!' | b'?'),
                None => false,
            };
            if !opens {
                from = at + 1;
                continue;
            }
            self.at = at;
            if at > begin {
                self.budget.spend(at - begin)?;
                return Ok(Token::Text((begin, at)));
            }
            self.budget.spend(0)?;
            if let Some(token) = self.markup(foreign)? {
                return Ok(token);
            }
            return self.next_after_comments(foreign);
        }
    }

    /// Comments and the like are skipped in a loop, not by recursion.
    fn next_after_comments(&mut self, foreign: bool) -> Result<Token, ExtractError> {
        loop {
            let bytes = self.source.as_bytes();
            let begins = bytes.get(self.at) == Some(&b'<');
            let opens = match bytes.get(self.at + 1) {
                Some(b'/') => self.at + 2 < bytes.len(),
                Some(byte) => byte.is_ascii_alphabetic() || matches!(byte, b'!' | b'?'),
                None => false,
            };
            if !(begins && opens) {
                return self.text_or_end();
            }
            self.budget.spend(0)?;
            if let Some(token) = self.markup(foreign)? {
                return Ok(token);
            }
        }
    }

    /// Text from here to the next markup; the end if there is nothing.
    fn text_or_end(&mut self) -> Result<Token, ExtractError> {
        let bytes = self.source.as_bytes();
        let begin = self.at;
        if begin >= bytes.len() {
            return Ok(Token::Eof);
        }
        let end = memchr(b'<', &bytes[begin + 1..]).map_or(bytes.len(), |at| begin + 1 + at);
        self.at = end;
        self.budget.spend(end - begin)?;
        Ok(Token::Text((begin, end)))
    }

    /// The text up to the end tag of an element whose content is not markup. The end tag comes next.
    pub(super) fn raw_text(&mut self, name: &str) -> Result<Range, ExtractError> {
        let bytes = self.source.as_bytes();
        let begin = self.at;
        let mut from = begin;
        let (mut escaped, mut doubly) = (false, false);
        while let Some(at) = memchr(b'<', &bytes[from..]).map(|at| from + at) {
            self.budget.spend(at - from)?;
            if escaped && memmem::find(&bytes[from..at], b"-->").is_some() {
                (escaped, doubly) = (false, false);
            }
            from = at + 1;
            if bytes[from..].starts_with(b"/") && self.names(at + 2, name) {
                if doubly {
                    doubly = false;
                    continue;
                }
                self.at = at;
                return Ok((begin, at));
            }
            if name == "script" && !self.ignore_escapes {
                escaped |= bytes[from..].starts_with(b"!--");
                doubly |= escaped && self.names(from, name);
            }
        }
        self.at = bytes.len();
        // A script that opens a comment and another script, and closes neither: then the first end tag counts.
        // Once is enough: to look for it time and again would be quadratic.
        if doubly && let Some(at) = self.first_end_tag(begin, name) {
            self.ignore_escapes = true;
            self.at = at;
            return Ok((begin, at));
        }
        Ok((begin, bytes.len()))
    }

    /// All the rest as text.
    pub(super) fn rest(&mut self) -> Range {
        let begin = self.at;
        self.at = self.source.len();
        (begin, self.at)
    }

    fn first_end_tag(&self, begin: usize, name: &str) -> Option<usize> {
        memmem::find_iter(&self.source.as_bytes()[begin..], b"</")
            .map(|at| begin + at)
            .find(|at| self.names(at + 2, name))
    }

    /// Whether `name` stands at `at`, whole and in any case.
    fn names(&self, at: usize, name: &str) -> bool {
        let bytes = self.source.as_bytes();
        bytes.get(at..at + name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name.as_bytes()))
            && bytes.get(at + name.len()).is_none_or(|byte| byte.is_ascii_whitespace() || matches!(byte, b'/' | b'>'))
    }

    /// What begins with the `<` here: nothing for comments, declarations and what is cut off.
    fn markup(&mut self, foreign: bool) -> Result<Option<Token>, ExtractError> {
        let bytes = self.source.as_bytes();
        let at = self.at;
        match bytes.get(at + 1) {
            Some(b'/') => match bytes.get(at + 2) {
                Some(byte) if byte.is_ascii_alphabetic() => {
                    let (name, _, whole) = self.tag(at + 2)?;
                    Ok(whole.then_some(Token::End { name }))
                }
                _ => {
                    self.skip_past(at + 2, b">");
                    Ok(None)
                }
            },
            Some(b'!') if bytes[at..].starts_with(b"<!--") => {
                self.skip_comment(at + 4);
                self.budget.spend(self.at - at)?;
                Ok(None)
            }
            Some(b'!') if foreign && bytes[at..].starts_with(b"<![CDATA[") => {
                self.skip_past(at + 9, b"]]>");
                let end = if bytes[at + 9..self.at].ends_with(b"]]>") { self.at - 3 } else { self.at };
                Ok(Some(Token::Verbatim((at + 9, end))))
            }
            Some(b'!' | b'?') => {
                self.skip_past(at + 1, b">");
                self.budget.spend(self.at - at)?;
                Ok(None)
            }
            _ => {
                let (name, self_closing, whole) = self.tag(at + 1)?;
                Ok(whole.then_some(Token::Start { name, self_closing }))
            }
        }
    }

    fn skip_past(&mut self, from: usize, end: &[u8]) {
        let bytes = self.source.as_bytes();
        self.at = memmem::find(&bytes[from.min(bytes.len())..], end).map_or(bytes.len(), |at| from + at + end.len());
    }

    /// Skips a comment whose text begins at `from`.
    fn skip_comment(&mut self, from: usize) {
        let bytes = self.source.as_bytes();
        for short in [&b">"[..], b"->"] {
            if bytes[from..].starts_with(short) {
                self.at = from + short.len();
                return;
            }
        }
        let mut begin = from;
        while let Some(at) = memmem::find(&bytes[begin..], b"--").map(|at| begin + at) {
            let after = &bytes[at + 2..];
            if after.first() == Some(&b'>') || after.starts_with(b"!>") {
                self.at = at + 2 + if after[0] == b'>' { 1 } else { 2 };
                return;
            }
            begin = at + 1;
        }
        self.at = bytes.len();
    }

    /// Reads a tag whose name begins at `from`: its name, whether it closes itself, and whether it is whole.
    fn tag(&mut self, from: usize) -> Result<(Range, bool, bool), ExtractError> {
        let bytes = self.source.as_bytes();
        self.attrs.clear();
        let is_end = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'/' | b'>');
        let mut at = from + bytes[from..].iter().position(is_end).unwrap_or(bytes.len() - from);
        let name = (from, at);
        self.budget.spend(at - from)?;
        let mut self_closing = false;
        loop {
            while bytes.get(at).is_some_and(|byte| byte.is_ascii_whitespace() || *byte == b'/') {
                self_closing = bytes[at] == b'/';
                at += 1;
            }
            match bytes.get(at) {
                None => {
                    self.at = bytes.len();
                    return Ok((name, false, false));
                }
                Some(b'>') => {
                    self.at = at + 1;
                    return Ok((name, self_closing, true));
                }
                Some(_) => {}
            }
            self_closing = false;
            let begin = at;
            let (attr_name, value, next) = self.attr(begin);
            self.budget.spend(next - begin)?;
            if self.attrs.len() < MAX_ATTRS {
                self.attrs.push((attr_name, value));
            }
            at = next;
        }
    }

    /// Reads an attribute at `begin`, which is neither space nor `>`: its name, its value, and where it ends.
    fn attr(&self, begin: usize) -> (Range, Range, usize) {
        let bytes = self.source.as_bytes();
        let is_end = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'/' | b'>' | b'=');
        let end = begin + 1 + bytes[begin + 1..].iter().position(is_end).unwrap_or(bytes.len() - begin - 1);
        let name = (begin, end);
        let spaces = |from: usize| from + bytes[from..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let mut at = spaces(end);
        if bytes.get(at) != Some(&b'=') {
            return (name, (end, end), at);
        }
        at = spaces(at + 1);
        match bytes.get(at) {
            Some(&quote @ (b'"' | b'\'')) => {
                let end = memchr(quote, &bytes[at + 1..]).map_or(bytes.len(), |found| at + 1 + found);
                (name, (at + 1, end), (end + 1).min(bytes.len()))
            }
            Some(b'>') | None => (name, (at, at), at),
            Some(_) => {
                let rest = &bytes[at..];
                let limit = memchr2(b'>', b' ', rest).unwrap_or(rest.len());
                let len = rest[..limit].iter().position(u8::is_ascii_whitespace).unwrap_or(limit);
                (name, (at, at + len), at + len)
            }
        }
    }
}
