//! Stopping in the middle of the work.

use std::cell::Cell;

use crate::ExtractError;

/// Units of work between two polls: a unit is some tens of nanoseconds.
const POLL_UNITS: u32 = 8192;

/// Counts work and asks the caller, now and then, whether to go on.
pub(crate) struct Budget<'a> {
    stop: &'a dyn Fn() -> bool,
    left: Cell<u32>,
}

impl<'a> Budget<'a> {
    pub(crate) fn new(stop: &'a dyn Fn() -> bool) -> Self {
        Self { stop, left: Cell::new(POLL_UNITS) }
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
}
