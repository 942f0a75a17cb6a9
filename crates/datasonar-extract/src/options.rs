//! What is wanted of a page, checked once for many pages.

use thiserror::Error;

use crate::Format;

/// Selectors in one list, at most.
pub(crate) const MAX_SELECTORS: usize = 100;
/// Length of one selector, at most.
pub(crate) const MAX_SELECTOR_BYTES: usize = 1024;

/// What is wanted of a page.
#[derive(Debug, Clone)]
pub struct Options {
    formats: Vec<Format>,
    pub(crate) only_main_content: bool,
}

/// A selector that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{list}[{index}]: {reason}")]
pub struct InvalidSelector {
    /// `include_selectors` or `exclude_selectors`.
    pub list: &'static str,
    /// The selector's place in that list.
    pub index: usize,
    /// The selector, cut to its first 1,024 bytes.
    pub selector: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Options {
    /// Checks and compiles what is wanted.
    ///
    /// # Errors
    /// [`InvalidSelector`] for the first selector that is too long, one too many, or not understood.
    pub fn new(
        formats: Vec<Format>,
        only_main_content: bool,
        include_selectors: &[String],
        exclude_selectors: &[String],
    ) -> Result<Self, InvalidSelector> {
        for (list, selectors) in [("include_selectors", include_selectors), ("exclude_selectors", exclude_selectors)] {
            if selectors.len() > MAX_SELECTORS {
                return Err(InvalidSelector {
                    list,
                    index: MAX_SELECTORS,
                    selector: String::new(),
                    reason: format!("more than {MAX_SELECTORS} selectors"),
                });
            }
        }
        Ok(Self { formats, only_main_content })
    }

    /// The formats asked for, in the order asked.
    #[must_use]
    pub fn formats(&self) -> &[Format] {
        &self.formats
    }
}
