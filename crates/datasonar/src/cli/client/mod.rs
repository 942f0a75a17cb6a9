//! The command line as a client of a server: it knows the API as any client does, and nothing else.

mod api;
mod batch;
mod crawl;
mod deliveries;
mod health;
mod jobs;
mod schedules;
mod scrape;

pub(super) use api::length_of;
pub use api::{Api, ApiError, Server};
pub use batch::submit_file;
pub(super) use batch::{BatchArgs, run as batch};
pub(super) use crawl::{CrawlArgs, run as crawl};
pub(super) use deliveries::{DeliveriesCommand, run as deliveries};
pub(super) use health::{HealthArgs, run as health};
pub(super) use jobs::{JobsCommand, run as jobs};
pub(super) use schedules::{SchedulesCommand, run as schedules};
pub(super) use scrape::{ScrapeArgs, run as scrape};

use std::io::{self, ErrorKind, IsTerminal, Write};

use clap::Args;
use serde_json::{Map, Value, json};

use crate::cli::say;

/// What may be asked of pages.
#[derive(Args, Debug, Default)]
pub(super) struct OptionArgs {
    /// markdown, text, html, raw_html, links, json or screenshot; several, separated by commas, make the content an object
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
    /// Render pages in the server's browser: always, or auto for those that show nothing without their scripts
    #[arg(long, value_parser = ["never", "auto", "always"])]
    render: Option<String>,
    /// A CSS selector to wait for when rendering
    #[arg(long, value_name = "SELECTOR")]
    wait_for: Option<String>,
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
        for (name, value) in [("render", &self.render), ("wait_for", &self.wait_for)] {
            if let Some(value) = value {
                members.insert(name.to_owned(), json!(value));
            }
        }
        if self.respect_robots {
            members.insert("respect_robots".to_owned(), json!(true));
        }
        members
    }
}

/// Writes bytes to standard output. A reader that has read enough, as `head` does, ends the command without complaint.
fn print(bytes: &[u8]) -> io::Result<()> {
    match io::stdout().lock().write_all(bytes) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        written => written,
    }
}

/// Prints a list: for machines one object a line, for people as `table` has it, or what is to be said of none.
fn print_list(answer: &Value, as_json: bool, none: &str, table: impl FnOnce(&[Value]) -> String) {
    let things = answer["data"].as_array().map_or(&[][..], Vec::as_slice);
    if as_json {
        for thing in things {
            say(&thing.to_string());
        }
    } else if things.is_empty() {
        say(none);
    } else {
        say(&table(things));
    }
}

/// Names and values, one pair a line; without those that have no value.
fn pairs<const N: usize>(pairs: [(&str, String); N]) -> String {
    let lines = pairs.into_iter().filter(|(_, value)| !value.is_empty());
    lines.map(|(name, value)| format!("{name:<10} {value}")).collect::<Vec<_>>().join("\n")
}

/// A member that is text; empty when it is missing.
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

/// Makes text of a stranger fit for a terminal: without the characters that steer it. Elsewhere it stays as it is.
pub(super) fn for_terminal(text: &str) -> String {
    if !io::stdout().is_terminal() {
        return text.to_owned();
    }
    harmless(text)
}

fn harmless(text: &str) -> String {
    text.chars().filter(|&next| !next.is_control() || matches!(next, '\n' | '\t')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_left_out() {
        assert_eq!(harmless("a\x1b]0;title\x07b\r\n\tc\u{9b}2Jé"), "a]0;titleb\n\tc2Jé");
    }

    #[test]
    fn only_what_was_said_is_asked() {
        assert_eq!(Value::from(OptionArgs::default().members()), json!({}));
        let args = OptionArgs {
            format: vec!["text".to_owned(), "links".to_owned()],
            full_page: true,
            include_selectors: vec!["main".to_owned()],
            exclude_selectors: Vec::new(),
            timeout: Some(9),
            render: Some("auto".to_owned()),
            wait_for: Some("#price".to_owned()),
            respect_robots: true,
        };
        let all = json!({
            "format": ["text", "links"], "only_main_content": false, "include_selectors": ["main"], "timeout": 9,
            "render": "auto", "wait_for": "#price", "respect_robots": true,
        });
        assert_eq!(Value::from(args.members()), all);
    }
}
