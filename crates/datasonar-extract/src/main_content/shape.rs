//! What a run of text looks like: counts of what is in it, taken in one pass over its characters.

use std::collections::HashMap;

use super::lexicon::{self, Hash, Lexicon};
use crate::{ExtractError, budget::Budget};

/// Words of a segment that are looked up, at most.
pub(super) const MAX_LOOKED_UP: u32 = 24;
/// The longest text that is known as a whole, in words.
const MAX_PHRASE: u32 = 5;

/// Words that the page says of itself.
#[derive(Default)]
pub(super) struct PageWords(HashMap<u32, u8, lexicon::Plain>);

/// Where a word of [`PageWords`] stands.
pub(super) const IN_TITLE: u8 = 1;
pub(super) const IN_DESCRIPTION: u8 = 2;
pub(super) const IN_DATA: u8 = 4;

impl PageWords {
    /// Adds the words of a text, up to 2,000 of them.
    pub(super) fn add(&mut self, text: &str, place: u8, budget: &Budget<'_>) -> Result<(), ExtractError> {
        let words = text.split(|next: char| !next.is_alphanumeric() && next != '_').filter(|word| !word.is_empty());
        for word in words.take(2000) {
            budget.reserve_entry(&mut self.0)?;
            *self.0.entry(Hash::of(word).value()).or_default() |= place;
        }
        Ok(())
    }

    fn places(&self, word: u32) -> u8 {
        self.0.get(&word).copied().unwrap_or(0)
    }
}

/// What is in a run of text.
#[derive(Debug, Clone, Default)]
pub(super) struct Shape {
    /// Characters that are no white space.
    pub(super) chars: u32,
    /// Of those, in links.
    pub(super) linked: u32,
    pub(super) words: u32,
    pub(super) digits: u32,
    pub(super) capitals: u32,
    /// Letters that begin a sentence or a word do not count.
    pub(super) commas: u32,
    /// Ends of sentences: `.`, `!`, `?` and their kin before white space.
    pub(super) stops: u32,
    pub(super) prices: u32,
    /// Signs that part things on a line: `|`, `·`, `•`, `/`, `»`, `›`.
    pub(super) bars: u32,
    pub(super) copyright: bool,
    /// The last character that is no white space.
    pub(super) last: Option<char>,
    pub(super) begins_upper: bool,
    /// Words of it in the title, the description, the structured data.
    pub(super) in_title: u32,
    pub(super) in_description: u32,
    pub(super) in_data: u32,
    /// Of all words: tells equal texts.
    pub(super) hash: u32,
    /// The lexicon's opinion, summed over words.
    pub(super) text_score: f32,
    pub(super) heading_score: f32,
    word: Hash,
    word_len: u32,
    phrase: Hash,
    space: bool,
}

impl Shape {
    /// White space, or the end of a line.
    pub(super) fn gap(&mut self) {
        self.space = true;
    }

    /// Adds text that follows.
    pub(super) fn add(&mut self, text: &str, in_link: bool, page: &PageWords) {
        if self.word_len > 0 && (self.space || text.chars().next().is_none_or(|next| !is_word(next))) {
            self.end_word(page);
        }
        for character in text.chars() {
            if character.is_whitespace() {
                if self.word_len > 0 {
                    self.end_word(page);
                }
                if !self.space && matches!(self.last, Some('.' | '!' | '?' | '…' | ':' | ';')) {
                    self.stops += 1;
                }
                self.space = true;
                continue;
            }
            if self.space {
                self.space = false;
            }
            self.chars += 1;
            self.linked += u32::from(in_link);
            if is_word(character) {
                if self.chars == 1 {
                    self.begins_upper = character.is_uppercase();
                }
                self.word_len += 1;
                if character.is_ascii() {
                    self.digits += u32::from(character.is_ascii_digit());
                    self.capitals += u32::from(character.is_ascii_uppercase());
                    self.word.add(character.to_ascii_lowercase() as u8);
                } else {
                    self.capitals += u32::from(character.is_uppercase());
                    self.word.add_char(character);
                }
            } else {
                if self.word_len > 0 {
                    self.end_word(page);
                }
                match character {
                    ',' | '，' | '、' => self.commas += 1,
                    '。' | '！' | '？' => self.stops += 1,
                    '$' | '€' | '£' | '¥' | '₹' | '₽' | '₩' => self.prices += 1,
                    '|' | '·' | '•' | '/' | '»' | '›' | '>' => self.bars += 1,
                    '©' => self.copyright = true,
                    _ => {}
                }
            }
            self.last = Some(character);
        }
    }

    fn end_word(&mut self, page: &PageWords) {
        let word = std::mem::take(&mut self.word);
        self.word_len = 0;
        self.words += 1;
        let word_hash = word.value();
        self.hash = self.hash.wrapping_mul(0x9E37_79B1).wrapping_add(word_hash | 1);
        let places = page.places(word_hash);
        self.in_title += u32::from(places & IN_TITLE != 0);
        self.in_description += u32::from(places & IN_DESCRIPTION != 0);
        self.in_data += u32::from(places & IN_DATA != 0);
        if self.words <= MAX_LOOKED_UP {
            self.text_score += Lexicon::Text.weight(word_hash);
            self.heading_score += Lexicon::Heading.weight(word_hash);
        }
        if self.words <= MAX_PHRASE {
            self.phrase.add(b' ');
            self.phrase.join(word_hash);
        }
    }

    /// Ends the text: counts its last word, and looks it up as a whole.
    pub(super) fn finish(&mut self, page: &PageWords) {
        if self.word_len > 0 {
            self.end_word(page);
        }
        if !self.space && matches!(self.last, Some('.' | '!' | '?' | '…')) {
            self.stops += 1;
        }
        if (2..=MAX_PHRASE).contains(&self.words) {
            self.text_score += Lexicon::Phrase.weight(self.phrase.value());
        }
    }
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}
