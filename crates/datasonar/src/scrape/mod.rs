//! One URL in, one page result out: the step that the worker takes for each URL of a task and the API for a call that
//! waits. Fetching is [`crate::fetch`]'s, rendering [`crate::render`]'s, deriving content `datasonar_extract`'s; what a page result looks like is said
//! here and nowhere else.

mod document;
mod gate;
mod masked;
mod options;
mod page_result;
mod scraper;

pub use gate::{Alone, Door, Inside, Phase, ProcessingGate};
pub use masked::{MASK, is_masked_url, shown_url};
pub use options::{FieldError, Format, Formats, Limits, Plan, Render, ScrapeOptions};
pub use page_result::{
    Content, ErrorCode, Metadata, PageContent, PageError, PageLink, PagePicture, PageResult, PageStatus,
};
pub use scraper::{BeforeProcessing, Origin, PageFacts, Scraped, Scraper, ScraperParts, Target};
