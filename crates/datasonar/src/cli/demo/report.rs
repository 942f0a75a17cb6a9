//! What the demonstration measured, for people and for machines.

use std::{collections::BTreeMap, time::Duration};

use indicatif::{HumanBytes, HumanCount};
use serde_json::json;

use crate::cli::say;

/// What the demonstration measured.
pub(super) struct Report {
    pub(super) urls: usize,
    pub(super) accepted: Duration,
    /// From the request to the job's end.
    pub(super) total: Duration,
    /// From the job's end to the first byte of the callback.
    pub(super) callback_began: Duration,
    /// From the job's end to its last byte.
    pub(super) callback_ended: Duration,
    /// A single scrape submitted in the middle, until it was completed.
    pub(super) single: Option<Duration>,
    pub(super) body_bytes: u64,
    /// `success` and error codes.
    pub(super) outcomes: BTreeMap<String, u64>,
    pub(super) peak_memory: Option<u64>,
}

impl Report {
    #[expect(clippy::cast_precision_loss, reason = "a rate is shown to a few digits")]
    fn pages_per_second(&self) -> f64 {
        self.urls as f64 / self.total.as_secs_f64().max(0.001)
    }

    pub(super) fn print(&self, as_json: bool) {
        if as_json {
            say(&self.json().to_string());
            return;
        }
        let outcomes: Vec<String> =
            self.outcomes.iter().map(|(name, count)| format!("{} {name}", HumanCount(*count))).collect();
        let rows = [
            ("accepted in", format!("{} ms", self.accepted.as_millis())),
            ("scraped in", format!("{:.1} s, {:.0} pages/s", self.total.as_secs_f64(), self.pages_per_second())),
            ("results", outcomes.join(", ")),
            ("callback", self.callback()),
            ("signatures", "both verified".to_owned()),
            ("order", format!("each of {} URLs has its one result, in its place", HumanCount(self.urls as u64))),
            (
                "single scrape",
                self.single.map_or("not tried: the batch was over too soon".to_owned(), |time| {
                    format!("{} ms in the middle of the batch", time.as_millis())
                }),
            ),
            (
                "peak memory",
                self.peak_memory.map_or("unknown on this system".to_owned(), |bytes| HumanBytes(bytes).to_string()),
            ),
        ];
        for (name, value) in rows {
            say(&format!("  {name:<14} {value}"));
        }
    }

    fn callback(&self) -> String {
        let (began, ended) = (self.callback_began.as_millis(), self.callback_ended.as_millis());
        format!(
            "one POST, begun {began} ms after the job's end, all of its {} there after {ended} ms",
            HumanBytes(self.body_bytes)
        )
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "urls": self.urls,
            "accepted_ms": self.accepted.as_millis() as u64,
            "total_ms": self.total.as_millis() as u64,
            "pages_per_second": self.pages_per_second().round(),
            "callback_began_ms": self.callback_began.as_millis() as u64,
            "callback_ms": self.callback_ended.as_millis() as u64,
            "single_scrape_ms": self.single.map(|time| time.as_millis() as u64),
            "body_bytes": self.body_bytes,
            "outcomes": self.outcomes,
            "peak_memory_bytes": self.peak_memory,
        })
    }
}
