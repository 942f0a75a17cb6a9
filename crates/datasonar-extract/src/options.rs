//! What is wanted of a page, checked once for many pages.

use thiserror::Error;

use crate::{
    Format,
    select::{self, Selector},
};

/// Selectors in one list, at most.
const MAX_SELECTORS: usize = 100;
/// Length of one selector, at most.
const MAX_SELECTOR_BYTES: usize = 1024;

/// What is wanted of a page.
#[derive(Debug, Clone)]
pub struct Options {
    pub(crate) formats: Vec<Format>,
    pub(crate) only_main_content: bool,
    pub(crate) include: Vec<Selector>,
    pub(crate) exclude: Vec<Selector>,
    /// The crawler's product token, if crawl facts are wanted.
    pub(crate) crawl_facts: Option<String>,
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
        let include = compile("include_selectors", include_selectors)?;
        let exclude = compile("exclude_selectors", exclude_selectors)?;
        Ok(Self { formats, only_main_content, include, exclude, crawl_facts: None })
    }

    /// Wants crawl facts, too. `agent` is the crawler's product token, such as `Datasonar`: a page may have directives for it
    /// besides those for all.
    #[must_use]
    pub fn with_crawl_facts(mut self, agent: &str) -> Self {
        self.crawl_facts = Some(agent.to_owned());
        self
    }

    /// The formats asked for, in the order asked.
    #[must_use]
    pub fn formats(&self) -> &[Format] {
        &self.formats
    }
}

fn compile(list: &'static str, selectors: &[String]) -> Result<Vec<Selector>, InvalidSelector> {
    let invalid = |index: usize, selector: &str, reason: String| {
        let selector = selector[..selector.floor_char_boundary(MAX_SELECTOR_BYTES)].to_owned();
        InvalidSelector { list, index, selector, reason }
    };
    if let Some(first) = selectors.get(MAX_SELECTORS) {
        return Err(invalid(MAX_SELECTORS, first, format!("more than {MAX_SELECTORS} selectors")));
    }
    let compile = |(index, selector): (usize, &String)| {
        if selector.len() > MAX_SELECTOR_BYTES {
            return Err(invalid(index, selector, format!("longer than {MAX_SELECTOR_BYTES} bytes")));
        }
        select::parse(selector).map_err(|reason| invalid(index, selector, reason))
    };
    selectors.iter().enumerate().map(compile).collect()
}
