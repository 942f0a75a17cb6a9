//! The command line as a client of a server: it knows the API as any client does, and nothing else.

mod api;
mod batch;
mod jobs;
mod scrape;

pub use api::{Api, Server};
pub use batch::submit_file;
pub(super) use batch::{BatchArgs, run as batch};
pub(super) use jobs::{JobsCommand, run as jobs};
pub(super) use scrape::{ScrapeArgs, run as scrape};

use clap::Args;
use serde_json::{Map, Value, json};

/// What may be asked of pages.
#[derive(Args, Debug, Default)]
pub(super) struct OptionArgs {
    /// markdown, text, html, raw_html, links or json; several, separated by commas, make the content an object
    #[arg(long, value_delimiter = ',')]
    format: Vec<String>,
    /// Keep navigation, headers, footers and the like
    #[arg(long)]
    full_page: bool,
    /// Keep only what this CSS selector matches (may be repeated)
    #[arg(long = "include", value_name = "SELECTOR")]
    include_selectors: Vec<String>,
    /// Remove what this CSS selector matches (may be repeated)
    #[arg(long = "exclude", value_name = "SELECTOR")]
    exclude_selectors: Vec<String>,
    /// Seconds for one page
    #[arg(long)]
    timeout: Option<u64>,
    /// Fetch only what robots.txt allows
    #[arg(long)]
    respect_robots: bool,
}

impl OptionArgs {
    /// The members of a request that say so.
    fn members(&self) -> Map<String, Value> {
        let mut members = Map::new();
        match &self.format[..] {
            [] => {}
            [format] => drop(members.insert("format".to_owned(), json!(format))),
            formats => drop(members.insert("format".to_owned(), json!(formats))),
        }
        if self.full_page {
            members.insert("only_main_content".to_owned(), json!(false));
        }
        for (name, selectors) in
            [("include_selectors", &self.include_selectors), ("exclude_selectors", &self.exclude_selectors)]
        {
            if !selectors.is_empty() {
                members.insert(name.to_owned(), json!(selectors));
            }
        }
        if let Some(seconds) = self.timeout {
            members.insert("timeout".to_owned(), json!(seconds));
        }
        if self.respect_robots {
            members.insert("respect_robots".to_owned(), json!(true));
        }
        members
    }
}
