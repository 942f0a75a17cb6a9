//! What the codes of a font mean, and how wide they are.

use std::collections::HashMap;

use encoding_rs::Encoding;
use lopdf::{Dictionary, Document, Object};

use super::{
    MAX_STREAM_BYTES,
    tokens::{Token, Tokens},
};
use crate::{ExtractError, budget::Budget};

/// Entries of one character map, at most.
const MAX_ENTRIES: usize = 70_000;

/// A font: codes to text and widths.
pub(super) struct Font {
    meaning: HashMap<u32, String>,
    widths: HashMap<u32, f32>,
    default_width: f32,
    codes: Codes,
    pub(super) bold: bool,
    pub(super) mono: bool,
}

/// How strings are cut into codes.
enum Codes {
    Single,
    Double,
    /// Codes are characters of an encoding.
    Encoded(&'static Encoding),
}

/// A character of a string that is shown.
pub(super) struct Shown<'f> {
    pub(super) text: &'f str,
    /// In thousandths of the size.
    pub(super) width: f32,
    /// Whether it is the one that word spacing goes for.
    pub(super) is_space: bool,
}

impl Font {
    /// Reads a font's dictionary.
    pub(super) fn of(font: &Dictionary, document: &Document, budget: &Budget<'_>) -> Result<Self, ExtractError> {
        let name = name_of(font, b"BaseFont", document).unwrap_or_default();
        let lower = String::from_utf8_lossy(name).to_ascii_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
        let descendant = array_of(font, b"DescendantFonts", document)
            .and_then(|fonts| fonts.first())
            .and_then(|first| dictionary(first, document));
        let mut read = Self {
            meaning: HashMap::new(),
            widths: HashMap::new(),
            default_width: 500.0,
            codes: if descendant.is_some() { Codes::Double } else { Codes::Single },
            bold: has(&["bold", "black", "heavy", "-bd", "cmbx", "demi", "medi", "semib"]),
            mono: has(&["mono", "courier", "consol", "cmtt", "typewriter", "menlo"]),
        };
        match descendant {
            Some(inner) => read.composite(font, inner, document, budget)?,
            None => read.simple(font, lower.as_str(), document, budget)?,
        }
        let map = font.get_deref(b"ToUnicode", document).and_then(Object::as_stream);
        if let Ok(map) = map
            && let Ok(bytes) = map.get_plain_content_with_limit((MAX_STREAM_BYTES / 4).min(budget.left() / 4))
        {
            budget.allocate(bytes.capacity() * 2)?;
            read.add_meanings(&bytes, budget)?;
            budget.free(bytes.capacity() * 2);
        }
        Ok(read)
    }

    /// A font of single bytes: its encoding, with what differs from it.
    fn simple(
        &mut self,
        font: &Dictionary,
        name: &str,
        document: &Document,
        budget: &Budget<'_>,
    ) -> Result<(), ExtractError> {
        let encoding = font.get_deref(b"Encoding", document).ok();
        let base = match encoding {
            Some(Object::Name(name)) => Some(name.as_slice()),
            Some(Object::Dictionary(encoding)) => encoding.get(b"BaseEncoding").and_then(Object::as_name).ok(),
            _ => None,
        };
        let base = base.unwrap_or(if is_symbolic(font, document) { b"WinAnsiEncoding" } else { b"StandardEncoding" });
        let is_dingbats = name.contains("dingbats") || name.contains("symbol") && encoding.is_none();
        for code in 0..=255u8 {
            budget.spend(64)?;
            let text = if is_dingbats { None } else { in_encoding(base, code, document) };
            if let Some(text) = text {
                self.means(u32::from(code), text, budget)?;
            }
        }
        if let Some(Object::Dictionary(encoding)) = encoding
            && let Some(differences) = array_of(encoding, b"Differences", document)
        {
            let mut code = 0u32;
            for item in differences.iter().take(1024) {
                budget.spend(1024)?;
                match item {
                    Object::Integer(next) => code = u32::try_from(*next).unwrap_or(0),
                    Object::Name(name) => {
                        if let Some(text) = glyph(name, document) {
                            self.means(code, text, budget)?;
                        }
                        code = code.saturating_add(1);
                    }
                    _ => {}
                }
            }
        }
        self.default_width = if self.mono { 600.0 } else { 500.0 };
        let first = font.get_deref(b"FirstChar", document).and_then(Object::as_i64).unwrap_or(0);
        let first = u32::try_from(first).unwrap_or(0);
        // A Type 3 font says how long its unit is.
        let unit = array_of(font, b"FontMatrix", document).and_then(|matrix| number(matrix.first()?, document));
        let scale = unit.map_or(1.0, |unit| unit.abs() * 1000.0);
        if let Some(widths) = array_of(font, b"Widths", document) {
            for (code, width) in (first..).zip(widths.iter().take(256)) {
                if let Some(width) = number(width, document) {
                    budget.reserve_entry(&mut self.widths)?;
                    self.widths.insert(code, width * scale);
                }
            }
        }
        Ok(())
    }

    /// A font of codes that may have two bytes.
    fn composite(
        &mut self,
        font: &Dictionary,
        inner: &Dictionary,
        document: &Document,
        budget: &Budget<'_>,
    ) -> Result<(), ExtractError> {
        self.default_width = inner.get_deref(b"DW", document).and_then(Object::as_float).unwrap_or(1000.0);
        let map = name_of(font, b"Encoding", document).unwrap_or_default();
        if let Some(encoding) = encoding_of(map) {
            self.codes = Codes::Encoded(encoding);
        }
        let Some(widths) = array_of(inner, b"W", document) else { return Ok(()) };
        let mut at = 0;
        while at + 1 < widths.len() && self.widths.len() < MAX_ENTRIES {
            budget.spend(64)?;
            let Some(first) = number(&widths[at], document).map(|first| first as u32) else { break };
            match document.dereference(&widths[at + 1]) {
                Ok((_, Object::Array(list))) => {
                    for (code, width) in (first..).zip(list.iter().take(MAX_ENTRIES)) {
                        budget.spend(64)?;
                        budget.reserve_entry(&mut self.widths)?;
                        self.widths.extend(number(width, document).map(|width| (code, width)));
                    }
                    at += 2;
                }
                Ok((_, last)) => {
                    let last = number(last, document).map_or(first, |last| last as u32);
                    let width = widths.get(at + 2).and_then(|width| number(width, document));
                    for code in first..=last.min(first.saturating_add(0xFFFF)) {
                        budget.spend(0)?;
                        budget.reserve_entry(&mut self.widths)?;
                        self.widths.extend(width.map(|width| (code, width)));
                    }
                    at += 3;
                }
                Err(_) => break,
            }
        }
        Ok(())
    }

    /// A character map, which says best what codes mean.
    fn add_meanings(&mut self, map: &[u8], budget: &Budget<'_>) -> Result<(), ExtractError> {
        let mut tokens = Tokens::new(map);
        let mut operands: Vec<Token<'_>> = Vec::new();
        let mut before = 0;
        while let Some(token) = tokens.next() {
            budget.spend(64 + tokens.at() - std::mem::replace(&mut before, tokens.at()))?;
            match token {
                Token::Operator(b"beginbfchar" | b"beginbfrange" | b"begincodespacerange") => operands.clear(),
                Token::Operator(b"endcodespacerange") => {
                    if let Some(Token::Text(first)) = operands.first()
                        && first.len() == 1
                        && matches!(self.codes, Codes::Double)
                        && operands.len() == 2
                    {
                        self.codes = Codes::Single;
                    }
                    operands.clear();
                }
                Token::Operator(b"endbfchar") => {
                    for pair in operands.chunks_exact(2) {
                        if let [Token::Text(code), Token::Text(text)] = pair {
                            self.means(value(code), utf16(text), budget)?;
                        }
                    }
                    operands.clear();
                }
                Token::Operator(b"endbfrange") => {
                    self.ranges(&operands, budget)?;
                    operands.clear();
                }
                token if operands.len() < MAX_ENTRIES => {
                    budget.reserve(&mut operands, 1)?;
                    operands.push(token);
                }
                _ => {}
            }
        }
        budget.free(operands.capacity() * size_of::<Token<'_>>());
        Ok(())
    }

    fn ranges(&mut self, operands: &[Token<'_>], budget: &Budget<'_>) -> Result<(), ExtractError> {
        let mut operands = operands.iter();
        while let (Some(Token::Text(first)), Some(Token::Text(last)), Some(to)) =
            (operands.next(), operands.next(), operands.next())
        {
            let (first, last) = (value(first), value(last));
            match to {
                Token::Text(to) => {
                    let text = utf16(to);
                    let mut characters: Vec<char> = text.chars().collect();
                    for code in first..=last.min(first.saturating_add(0xFFFF)) {
                        budget.spend(64)?;
                        self.means(code, characters.iter().collect(), budget)?;
                        if let Some(end) = characters.last_mut() {
                            *end = char::from_u32(u32::from(*end) + 1).unwrap_or(char::REPLACEMENT_CHARACTER);
                        }
                    }
                }
                _ => {
                    for code in first.. {
                        budget.spend(64)?;
                        match operands.next() {
                            Some(Token::Text(text)) => self.means(code, utf16(text), budget)?,
                            _ => break,
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn means(&mut self, code: u32, text: String, budget: &Budget<'_>) -> Result<(), ExtractError> {
        let says_nothing =
            text.is_empty() || text.chars().all(|character| character == '\0' || character == '\u{fffd}');
        if self.meaning.len() < MAX_ENTRIES && !says_nothing {
            budget.reserve_entry(&mut self.meaning)?;
            budget.allocate(text.capacity().max(16))?;
            self.meaning.insert(code, text);
        }
        Ok(())
    }

    /// Cuts a string into characters.
    pub(super) fn show(
        &self,
        bytes: &[u8],
        mut each: impl FnMut(Shown<'_>) -> Result<(), ExtractError>,
    ) -> Result<(), ExtractError> {
        let mut shown = |code: u32, is_space: bool| {
            let text = self.meaning.get(&code).map_or("", String::as_str);
            let width = self.widths.get(&code).copied().unwrap_or(self.default_width);
            each(Shown { text, width, is_space })
        };
        match self.codes {
            Codes::Single => bytes.iter().try_for_each(|byte| shown(u32::from(*byte), *byte == b' ')),
            Codes::Double => bytes.chunks(2).try_for_each(|pair| shown(value(pair), false)),
            Codes::Encoded(encoding) => {
                let text = encoding.decode_without_bom_handling(bytes).0;
                text.chars().try_for_each(|character| {
                    let width = if character.is_ascii() { 500.0 } else { 1000.0 };
                    let mut buffer = [0; 4];
                    each(Shown { text: character.encode_utf8(&mut buffer), width, is_space: character == ' ' })
                })
            }
        }
    }
}

fn value(code: &[u8]) -> u32 {
    code.iter().take(4).fold(0, |value, byte| value << 8 | u32::from(*byte))
}

fn utf16(bytes: &[u8]) -> String {
    if let [byte] = bytes {
        return char::from(*byte).to_string();
    }
    encoding_rs::UTF_16BE.decode_without_bom_handling(&bytes[..bytes.len().min(64)]).0.into_owned()
}

/// The encoding of a predefined character map, where it is one that text is known in.
fn encoding_of(map: &[u8]) -> Option<&'static Encoding> {
    let name = std::str::from_utf8(map).ok()?;
    let has = |part: &str| name.contains(part);
    if has("UCS2") || has("UTF16") {
        Some(encoding_rs::UTF_16BE)
    } else if has("RKSJ") {
        Some(encoding_rs::SHIFT_JIS)
    } else if has("GBK") || has("GB-EUC") {
        Some(encoding_rs::GBK)
    } else if has("B5") {
        Some(encoding_rs::BIG5)
    } else if has("KSC") && (has("EUC") || has("UHC")) {
        Some(encoding_rs::EUC_KR)
    } else if name == "EUC-H" || name == "EUC-V" {
        Some(encoding_rs::EUC_JP)
    } else {
        None
    }
}

/// Whether a font has signs of its own instead of letters in an order that is known.
fn is_symbolic(font: &Dictionary, document: &Document) -> bool {
    let descriptor = font.get_deref(b"FontDescriptor", document).and_then(Object::as_dict);
    let flags = descriptor.and_then(|descriptor| descriptor.get_deref(b"Flags", document)).and_then(Object::as_i64);
    flags.is_ok_and(|flags| flags & 4 != 0)
}

/// What a byte means in a named encoding.
fn in_encoding(encoding: &[u8], code: u8, document: &Document) -> Option<String> {
    let mut font = Dictionary::new();
    font.set("Type", Object::Name(b"Font".to_vec()));
    font.set("Encoding", Object::Name(encoding.to_vec()));
    decoded(&font, code, document)
}

/// What a glyph is called after.
fn glyph(name: &[u8], document: &Document) -> Option<String> {
    let text = std::str::from_utf8(name).ok()?;
    let base = text.split('.').next().filter(|base| !base.is_empty())?;
    let hexadecimal = |digits: &str| u32::from_str_radix(digits, 16).ok().and_then(char::from_u32);
    let by_number = base
        .strip_prefix("uni")
        .filter(|digits| digits.len() == 4)
        .or_else(|| base.strip_prefix('u').filter(|digits| (4..=6).contains(&digits.len())))
        .and_then(hexadecimal);
    if let Some(character) = by_number {
        return Some(character.to_string());
    }
    if base.contains('_') {
        return base.split('_').take(8).map(|part| named(part, document)).collect();
    }
    named(base, document)
}

fn named(name: &str, document: &Document) -> Option<String> {
    let mut encoding = Dictionary::new();
    encoding.set("Differences", Object::Array(vec![Object::Integer(0), Object::Name(name.into())]));
    let mut font = Dictionary::new();
    font.set("Type", Object::Name(b"Font".to_vec()));
    font.set("Encoding", Object::Dictionary(encoding));
    decoded(&font, 0, document)
}

fn decoded(font: &Dictionary, code: u8, document: &Document) -> Option<String> {
    let encoding = font.get_font_encoding_with_limit(document, MAX_STREAM_BYTES).ok()?;
    encoding.bytes_to_string(&[code]).ok().filter(|text| !text.is_empty())
}

// Objects

pub(super) fn dictionary<'d>(object: &'d Object, document: &'d Document) -> Option<&'d Dictionary> {
    let (_, object) = document.dereference(object).ok()?;
    match object {
        Object::Dictionary(dictionary) => Some(dictionary),
        Object::Stream(stream) => Some(&stream.dict),
        _ => None,
    }
}

pub(super) fn array_of<'d>(dictionary: &'d Dictionary, key: &[u8], document: &'d Document) -> Option<&'d Vec<Object>> {
    dictionary.get_deref(key, document).and_then(Object::as_array).ok()
}

fn name_of<'d>(dictionary: &'d Dictionary, key: &[u8], document: &'d Document) -> Option<&'d [u8]> {
    dictionary.get_deref(key, document).and_then(Object::as_name).ok()
}

pub(super) fn number(object: &Object, document: &Document) -> Option<f32> {
    let (_, object) = document.dereference(object).ok()?;
    object.as_float().ok().filter(|value| value.is_finite())
}
