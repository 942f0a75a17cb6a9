//! Colours, times and bars, for people.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};
use jiff::{Timestamp, tz::TimeZone};

/// Colours text where there is a terminal that wants it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint {
    is_on: bool,
}

impl Paint {
    /// For standard output, unless it is for machines. `NO_COLOR` turns it off.
    pub(super) fn of_stdout(is_for_machines: bool) -> Self {
        let is_unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { is_on: std::io::stdout().is_terminal() && !is_for_machines && !is_unwanted }
    }

    /// No colours.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self { is_on: false }
    }

    /// As it is: for where a colour is chosen.
    pub(super) fn plain(self, text: &str) -> String {
        text.to_owned()
    }

    /// What is well.
    pub(super) fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    /// What is wrong.
    pub(super) fn bad(self, text: &str) -> String {
        self.with("31", text)
    }

    /// What should be noticed.
    pub(super) fn notable(self, text: &str) -> String {
        self.with("33", text)
    }

    /// What matters less.
    pub(super) fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.is_on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// The time of day, as the clock on the wall shows it.
pub(super) fn time_of_day(time: Timestamp) -> String {
    time.to_zoned(TimeZone::system()).strftime("%H:%M:%S").to_string()
}

/// A duration with as many digits as one wants to read.
pub(super) fn short(duration: std::time::Duration) -> String {
    match duration.as_millis() {
        0 => "<1 ms".to_owned(),
        1..10_000 => format!("{} ms", duration.as_millis()),
        _ => format!("{:.1} s", duration.as_secs_f64()),
    }
}

/// A bar on a terminal, nothing elsewhere.
pub(super) fn bar(template: &str, length: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(template).expect("the template is sound").progress_chars("━━─");
    ProgressBar::new(length).with_style(style)
}

/// A number of things.
pub(super) fn count(number: u64, one: &str) -> String {
    format!("{number} {one}{}", if number == 1 { "" } else { "s" })
}
