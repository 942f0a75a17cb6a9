//! What a PDF would inflate to, before the library does it.
//!
//! Streams of objects are inflated and read when the file is opened, all of them. So that a small file cannot become
//! gigabytes, they are inflated into nothing here first, under the budget. What cannot be measured (because it is encrypted, or
//! packed in another way) is taken for as large as it might be.

use flate2::{Decompress, FlushDecompress, Status};
use lopdf::Object;
use memchr::memmem;

use crate::{ExtractError, budget::Budget};

/// What all streams of objects may inflate to, in bytes.
const MAX_OBJECT_BYTES: usize = 48 * 1024 * 1024;
/// How many times as large a packed stream may become.
const WORST_RATIO: usize = 64;
/// How far before a stream its dictionary may begin.
const MAX_DICTIONARY: usize = 4096;

/// Refuses a file whose streams of objects are too large.
pub(super) fn check(body: &[u8], budget: &Budget<'_>) -> Result<(), ExtractError> {
    let mut total = 0usize;
    let mut from = 0;
    let mut objects = Objects::default();
    let mut read = 0;
    while let Some(at) = memmem::find(&body[from..], b"stream").map(|at| from + at) {
        budget.spend(at - from)?;
        from = at + 6;
        if body[..at].ends_with(b"end") {
            continue;
        }
        objects.count(&body[read..at], budget)?;
        let before = &body[at.saturating_sub(MAX_DICTIONARY)..at];
        let begin = memmem::rfind(before, b" obj").or_else(|| memmem::rfind(before, b"\nobj")).unwrap_or(0);
        budget.spend(before.len())?;
        let data = &body[from..];
        let data = data.strip_prefix(b"\r\n").or_else(|| data.strip_prefix(b"\n")).unwrap_or(data);
        let len = memmem::find(data, b"endstream").unwrap_or(data.len());
        budget.spend(len)?;
        if !may_hold_objects(&before[begin..]) {
            // What looks like a stream may stand in a string, say, and be none: text is counted as objects in any case.
            if is_text(&data[..len]) {
                objects.count(&data[..len], budget)?;
            }
            from += len;
            read = from;
            continue;
        }
        let packed = memmem::find_iter(&before[begin..], b"Decode").count();
        let is_plain = packed == 0 && memmem::find(&before[begin..], b"Filter").is_none();
        let size = if is_plain {
            objects.count(&data[..len], budget)?;
            len
        } else {
            let most = MAX_OBJECT_BYTES.saturating_sub(total);
            match inflated(&data[..len], most, &mut objects, budget)?.filter(|_| packed == 1) {
                Some(size) => size,
                None => {
                    objects.words += len;
                    len.saturating_mul(WORST_RATIO)
                }
            }
        };
        total += size;
        from += len;
        read = from;
        if total > MAX_OBJECT_BYTES {
            return Err(ExtractError::Decode {
                reason: "the PDF's objects are too large when decompressed".to_owned(),
            });
        }
        // The buffer that it is inflated into doubles as it grows.
        budget.allocate(size * 2)?;
        if memmem::find(&before[begin..], b"XRef").is_some() {
            // An entry has three bytes at least, and takes 24.
            budget.allocate(size * 8)?;
        }
    }
    objects.count(&body[read.min(body.len())..], budget)?;
    // The library copies the file's streams.
    budget.allocate(body.len())?;
    budget.allocate(objects.memory())
}

/// What objects are written with, counted to tell the memory that they take once they are read.
#[derive(Default)]
struct Objects {
    /// Numbers, names, strings and other words.
    words: usize,
    /// Lists and dictionaries.
    lists: usize,
    /// The most words between two ends of lists.
    run: usize,
    longest: usize,
}

impl Objects {
    fn count(&mut self, bytes: &[u8], budget: &Budget<'_>) -> Result<(), ExtractError> {
        let mut in_word = false;
        for piece in bytes.chunks(64 * 1024) {
            budget.spend(piece.len() * 4)?;
            for &byte in piece {
                match byte {
                    b'[' | b'<' => {
                        self.lists += 1;
                        self.words += 1;
                        in_word = false;
                    }
                    b']' | b'>' => {
                        self.longest = self.longest.max(self.run);
                        self.run = 0;
                        in_word = false;
                    }
                    b'/' | b'(' => {
                        self.words += 1;
                        self.run += 1;
                        in_word = true;
                    }
                    b' ' | b'\n' | b'\r' | b'\t' | 0 | 12 | b')' => in_word = false,
                    _ if !in_word => {
                        self.words += 1;
                        self.run += 1;
                        in_word = true;
                    }
                    _ => {}
                }
            }
        }
        self.longest = self.longest.max(self.run);
        Ok(())
    }

    /// The most memory that the objects take while they are read: four places at least for each list, and the longest one doubles.
    fn memory(&self) -> usize {
        const OBJECT: usize = size_of::<Object>() + 48;
        let places = self.words + 4 * self.lists + 2 * self.longest;
        places.saturating_mul(OBJECT)
    }
}

/// Whether a dictionary is, or may be, one of a stream of objects. Names can be written in ways that hide them.
fn may_hold_objects(dictionary: &[u8]) -> bool {
    let has = |needle: &[u8]| memmem::find(dictionary, needle).is_some();
    has(b"ObjStm") || has(b"XRef") || has(b"#")
}

/// Whether next to no byte of the data is one that text does not have, as in data that was not packed.
fn is_text(data: &[u8]) -> bool {
    let odd =
        data.iter().filter(|byte| !byte.is_ascii() || byte.is_ascii_control() && !byte.is_ascii_whitespace()).count();
    odd * 8 < data.len()
}

/// How large a stream gets, as far as it can be told; a little over `most` if it is more.
fn inflated(
    data: &[u8],
    most: usize,
    objects: &mut Objects,
    budget: &Budget<'_>,
) -> Result<Option<usize>, ExtractError> {
    if data.first().is_none_or(|byte| byte & 0x0F != 8) {
        return Ok(None);
    }
    let mut inflater = Decompress::new(true);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let (read, written) = (inflater.total_in(), inflater.total_out());
        budget.spend(buffer.len() / 4)?;
        let input = data.get(read as usize..).unwrap_or_default();
        let status = inflater.decompress(input, &mut buffer, FlushDecompress::None);
        let total = inflater.total_out() as usize;
        objects.count(&buffer[..total - written as usize], budget)?;
        match status {
            // What is broken gives what came before, and no more.
            Err(_) if total == 0 => return Ok(None),
            Err(_) | Ok(Status::StreamEnd) => return Ok(Some(total)),
            Ok(_) if total > most => return Ok(Some(total)),
            Ok(_) if inflater.total_in() == read && inflater.total_out() == written => return Ok(Some(total)),
            Ok(_) => {}
        }
    }
}
