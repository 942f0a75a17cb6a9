//! What happened, line by line: every call of the store and every send, in order. Two runs of one seed have the same.

use std::{
    collections::hash_map::DefaultHasher,
    fmt::{self, Debug, Write},
    hash::Hasher,
};

/// How much of a call's arguments a line shows, and of its answer. All of it counts for the hash.
const ARGS_SHOWN: usize = 200;
const SHOWN: usize = 160;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When, in milliseconds since the simulation began.
    pub at: u64,
    /// What.
    pub text: String,
}

/// The lines, and a hash of all that they are about.
#[derive(Default)]
pub(crate) struct Trace {
    pub(crate) lines: Vec<Line>,
    hash: DefaultHasher,
}

impl Trace {
    pub(crate) fn note(&mut self, at: u64, who: &str, what: fmt::Arguments<'_>) {
        let mut line = format!("{:>10}.{:03}s {who:<8} ", at / 1_000, at % 1_000);
        let mut text = Text { line: &mut line, left: ARGS_SHOWN, hash: &mut self.hash };
        write!(text, "{what}").expect("text can be written to memory");
        self.hash.write_u64(at);
        self.hash.write(who.as_bytes());
        self.lines.push(Line { at, text: line });
    }

    /// Adds to the last line.
    pub(crate) fn add(&mut self, what: fmt::Arguments<'_>) {
        if let Some(line) = self.lines.last_mut() {
            let mut text = Text { line: &mut line.text, left: SHOWN, hash: &mut self.hash };
            write!(text, "{what}").expect("text can be written to memory");
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash.finish()
    }
}

/// Hashes all, keeps the beginning.
struct Text<'a> {
    line: &'a mut String,
    left: usize,
    hash: &'a mut DefaultHasher,
}

impl Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.hash.write(text.as_bytes());
        let mut end = self.left.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.line.push_str(&text[..end]);
        self.left = if end < text.len() { 0 } else { self.left - end };
        Ok(())
    }
}

/// Shows a result in a word where it says nothing.
pub(crate) struct Answer<'a, T, E>(pub(crate) &'a Result<T, E>);

impl<T: Debug, E: fmt::Display> fmt::Display for Answer<'_, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Ok(value) => write!(f, "{value:?}"),
            Err(error) => write!(f, "Err: {error}"),
        }
    }
}
