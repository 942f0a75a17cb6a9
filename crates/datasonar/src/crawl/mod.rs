//! What a crawl must decide of URLs, knowing neither jobs nor rows: when two of them are the same page ([`key`]), which may
//! be fetched ([`scope`]), which a page leads to ([`links`]), which a site lists ([`sitemap`], [`reader`]).
//!
//! All but the reader is pure. The worker asks; what was found goes to the store, which alone knows what is new.

mod key;
mod links;
mod options;
mod reader;
mod scope;
mod sitemap;
mod sites;

pub use key::{Keys, MAX_URL_BYTES, PageKey, UnusableUrl, parse};
pub use links::{LinkSource, follow};
pub use options::{CrawlOptions, OptionError, SitemapUse};
pub use reader::{Admission, SitemapLimits, SitemapReader, SitemapWalk};
pub use scope::{OutOfScope, Scope};
pub use sitemap::{Entry, Sitemap};
pub use sites::Sites;
