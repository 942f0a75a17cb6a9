//! What a PDF would inflate to, before the library does it.
//!
//! Streams of objects are inflated and read when the file is opened, all of them. So that a small file cannot become
//! gigabytes, they are inflated into nothing here first, under the budget. What cannot be measured (because it is encrypted, or
//! packed in another way) is taken for as large as it might be.

use flate2::{Decompress, FlushDecompress, Status};
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
    while let Some(at) = memmem::find(&body[from..], b"stream").map(|at| from + at) {
        budget.spend(at - from)?;
        from = at + 6;
        if body[..at].ends_with(b"end") {
            continue;
        }
        let before = &body[at.saturating_sub(MAX_DICTIONARY)..at];
        let begin = memmem::rfind(before, b" obj").or_else(|| memmem::rfind(before, b"\nobj")).unwrap_or(0);
        budget.spend(before.len())?;
        if !may_hold_objects(&before[begin..]) {
            continue;
        }
        let data = &body[from..];
        let data = data.strip_prefix(b"\r\n").or_else(|| data.strip_prefix(b"\n")).unwrap_or(data);
        let len = memmem::find(data, b"endstream").unwrap_or(data.len());
        let packed = memmem::find_iter(&before[begin..], b"Decode").count();
        let is_plain = packed == 0 && memmem::find(&before[begin..], b"Filter").is_none();
        total += if is_plain {
            len
        } else {
            inflated(&data[..len], MAX_OBJECT_BYTES.saturating_sub(total), budget)?
                .filter(|_| packed == 1)
                .unwrap_or(len.saturating_mul(WORST_RATIO))
        };
        from += len;
        if total > MAX_OBJECT_BYTES {
            return Err(ExtractError::Decode {
                reason: "the PDF's objects are too large when decompressed".to_owned(),
            });
        }
    }
    Ok(())
}

/// Whether a dictionary is, or may be, one of a stream of objects. Names can be written in ways that hide them.
fn may_hold_objects(dictionary: &[u8]) -> bool {
    let has = |needle: &[u8]| memmem::find(dictionary, needle).is_some();
    has(b"ObjStm") || has(b"XRef") || has(b"#")
}

/// How large a stream gets, as far as it can be told; a little over `most` if it is more.
fn inflated(data: &[u8], most: usize, budget: &Budget<'_>) -> Result<Option<usize>, ExtractError> {
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
