//! JSON as it is written, piece by piece, under the page's budget.

use std::io;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::{ExtractError, budget::Budget};

/// JSON being written. What it takes is given back with it.
pub(crate) struct Json<'b, 'a> {
    bytes: Vec<u8>,
    budget: &'b Budget<'a>,
}

impl<'b, 'a> Json<'b, 'a> {
    pub(crate) fn new(budget: &'b Budget<'a>) -> Self {
        Self { bytes: Vec::new(), budget }
    }

    pub(crate) fn budget(&self) -> &'b Budget<'a> {
        self.budget
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Takes back what was written behind a place.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
    }

    /// Appends JSON as it is.
    pub(crate) fn raw(&mut self, json: &str) -> Result<(), ExtractError> {
        self.budget.reserve(&mut self.bytes, json.len())?;
        self.bytes.extend_from_slice(json.as_bytes());
        Ok(())
    }

    /// Parts the next item from the one before.
    pub(crate) fn item(&mut self) -> Result<(), ExtractError> {
        if self.is_empty() { Ok(()) } else { self.raw(",") }
    }

    /// Appends JSON that was written apart.
    pub(crate) fn append(&mut self, mut other: Self) -> Result<(), ExtractError> {
        if self.bytes.capacity() == 0 {
            std::mem::swap(&mut self.bytes, &mut other.bytes);
            return Ok(());
        }
        self.budget.reserve(&mut self.bytes, other.bytes.len())?;
        self.bytes.extend_from_slice(&other.bytes);
        Ok(())
    }

    /// Appends a value.
    pub(crate) fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), ExtractError> {
        let limit = self.budget.limit();
        // Strings as keys, and a writer that fails for want of memory alone.
        serde_json::to_writer(self, value).map_err(|_| ExtractError::TooLarge { limit })
    }

    /// Ends the document. Its memory stays counted.
    pub(crate) fn finish(mut self) -> Result<Box<RawValue>, ExtractError> {
        let bytes = std::mem::take(&mut self.bytes);
        self.budget.allocate(bytes.len())?;
        let text = String::from_utf8(bytes).expect("JSON is written from text");
        Ok(RawValue::from_string(text).expect("pieces of JSON were joined to JSON"))
    }
}

impl io::Write for Json<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.budget.reserve(&mut self.bytes, bytes.len()).map_err(io::Error::other)?;
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Json<'_, '_> {
    fn drop(&mut self) {
        self.budget.free(self.bytes.capacity());
    }
}
