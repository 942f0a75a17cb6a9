//! Limits on the work and on the memory of one page.

use std::{
    cell::Cell,
    collections::HashMap,
    hash::{BuildHasher, Hash},
};

use crate::ExtractError;

/// Units of work between two polls: a unit is some tens of nanoseconds.
const POLL_UNITS: u32 = 8192;
/// Memory that a page may take however small it is, in bytes.
const MIN_MEMORY: usize = 64 * 1024 * 1024;
/// Bytes of memory that a page may take for each byte of its body.
const MEMORY_PER_BYTE: usize = 8;

/// Returns the memory in bytes that a page may take by default: 64 MiB, or eight times its body if that is more.
#[must_use]
pub fn default_memory(body_bytes: usize) -> usize {
    body_bytes.saturating_mul(MEMORY_PER_BYTE).max(MIN_MEMORY)
}

/// Counts work and asks the caller, now and then, whether to go on. Counts the bytes that are allocated, and refuses to allocate more than
/// the page may take.
///
/// Memory is counted where it grows with the page: by [`Budget::reserve`] and its kin right before a list grows, by [`Budget::allocate`]
/// for what a library allocates. A [`Scope`] ends the accounts of everything that one step allocated. Small temporary values of bounded
/// size are not counted.
pub(crate) struct Budget<'a> {
    stop: &'a dyn Fn() -> bool,
    left: Cell<u32>,
    limit: usize,
    held: Cell<usize>,
}

impl<'a> Budget<'a> {
    /// A budget of time alone: for tests, training and pieces of bounded size.
    pub(crate) fn new(stop: &'a dyn Fn() -> bool) -> Self {
        Self::within(stop, usize::MAX)
    }

    /// A budget of time, and of `limit` bytes of memory.
    pub(crate) fn within(stop: &'a dyn Fn() -> bool, limit: usize) -> Self {
        Self { stop, left: Cell::new(POLL_UNITS), limit, held: Cell::new(0) }
    }

    /// The bytes of memory that the page may take.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// The bytes that the page may take besides those that it holds.
    pub(crate) fn left(&self) -> usize {
        self.limit - self.held.get()
    }

    /// Counts one step that looked at `bytes` bytes.
    #[inline]
    pub(crate) fn spend(&self, bytes: usize) -> Result<(), ExtractError> {
        let units = 1 + u32::try_from(bytes / 64).unwrap_or(u32::MAX - 1);
        match self.left.get().checked_sub(units) {
            Some(left) => {
                self.left.set(left);
                Ok(())
            }
            None => self.poll(),
        }
    }

    /// Asks now.
    #[cold]
    pub(crate) fn poll(&self) -> Result<(), ExtractError> {
        self.left.set(POLL_UNITS);
        if (self.stop)() { Err(ExtractError::Stopped) } else { Ok(()) }
    }

    /// Counts bytes that are about to be allocated.
    ///
    /// # Errors
    /// [`ExtractError::TooLarge`] if the page may not take so many more.
    #[inline]
    pub(crate) fn allocate(&self, bytes: usize) -> Result<(), ExtractError> {
        let held = self.held.get().saturating_add(bytes);
        if held > self.limit {
            return Err(ExtractError::TooLarge { limit: self.limit });
        }
        self.held.set(held);
        Ok(())
    }

    /// Counts bytes that were given back.
    #[inline]
    pub(crate) fn free(&self, bytes: usize) {
        self.held.set(self.held.get().saturating_sub(bytes));
    }

    /// Begins a step whose allocations are given back when it ends, but for what it keeps.
    pub(crate) fn scope(&self) -> Scope<'_, 'a> {
        Scope { budget: self, start: self.held.get() }
    }

    /// Makes room for `more` items.
    #[inline]
    pub(crate) fn reserve<T>(&self, list: &mut Vec<T>, more: usize) -> Result<(), ExtractError> {
        if list.capacity() - list.len() >= more {
            return Ok(());
        }
        let room = self.room(list.capacity(), list.len(), more, size_of::<T>().max(1))?;
        list.reserve_exact(room - list.len());
        Ok(())
    }

    /// Makes room for `more` bytes of text.
    #[inline]
    pub(crate) fn reserve_text(&self, text: &mut String, more: usize) -> Result<(), ExtractError> {
        if text.capacity() - text.len() >= more {
            return Ok(());
        }
        let room = self.room(text.capacity(), text.len(), more, 1)?;
        text.reserve_exact(room - text.len());
        Ok(())
    }

    /// Makes room for one more entry.
    #[inline]
    pub(crate) fn reserve_entry<K: Eq + Hash, V, S: BuildHasher>(
        &self,
        map: &mut HashMap<K, V, S>,
    ) -> Result<(), ExtractError> {
        if map.capacity() > map.len() {
            return Ok(());
        }
        let entry = size_of::<(K, V)>() + 1;
        // A table has at least 8/7 as many places as entries, in a power of two.
        let places = |entries: usize| (entries * 8 / 7 + 1).next_power_of_two() * entry + 16;
        let old = map.capacity();
        let new = (old * 2).max(16);
        self.allocate(places(new))?;
        map.reserve(new - map.len());
        if old > 0 {
            self.free(places(old));
        }
        Ok(())
    }

    /// Appends text.
    #[inline]
    pub(crate) fn push(&self, out: &mut String, text: &str) -> Result<(), ExtractError> {
        self.reserve_text(out, text.len())?;
        out.push_str(text);
        Ok(())
    }

    /// Gives back the room that a finished text does not need.
    pub(crate) fn shrink(&self, text: &mut String) {
        let spare = text.capacity() - text.len();
        if spare > text.len() / 8 && self.allocate(text.len()).is_ok() {
            let old = text.capacity();
            text.shrink_to_fit();
            self.free(old);
        }
    }

    /// Counts the growth of a list of items of `size` bytes, and returns its new capacity. While it grows, the old and the new list exist.
    #[cold]
    fn room(&self, capacity: usize, len: usize, more: usize, size: usize) -> Result<usize, ExtractError> {
        let needed = len.saturating_add(more);
        let ample = needed.max(capacity + capacity / 2);
        let room = match self.allocate(ample.saturating_mul(size)) {
            Ok(()) => ample,
            Err(_) => {
                let scarce = needed.saturating_add(needed / 16);
                self.allocate(scarce.saturating_mul(size))?;
                scarce
            }
        };
        self.free(capacity * size);
        Ok(room)
    }
}

/// A step that gives back what it allocated when it is dropped.
pub(crate) struct Scope<'b, 'a> {
    budget: &'b Budget<'a>,
    start: usize,
}

impl Scope<'_, '_> {
    /// Ends the step, of whose allocations `bytes` last.
    pub(crate) fn keep(mut self, bytes: usize) {
        self.start = self.start.saturating_add(bytes);
    }
}

impl Drop for Scope<'_, '_> {
    fn drop(&mut self) {
        self.budget.held.set(self.start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_is_counted_and_given_back() {
        let never = || false;
        let budget = Budget::within(&never, 1000);
        let scope = budget.scope();
        let mut text = String::new();
        for _ in 0..400 {
            budget.push(&mut text, "a").unwrap();
        }
        assert!(budget.held.get() >= 400);
        let refused = budget.reserve_text(&mut text, 1000);
        assert_eq!(refused, Err(ExtractError::TooLarge { limit: 1000 }));
        scope.keep(text.len());
        assert_eq!(budget.held.get(), 400);
    }

    #[test]
    fn small_pages_have_64_mib() {
        assert_eq!(default_memory(0), 64 << 20);
        assert_eq!(default_memory(10 << 20), 80 << 20);
    }
}
