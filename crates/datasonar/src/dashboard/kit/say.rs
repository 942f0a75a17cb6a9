//! Numbers and times as people read them. Times are relative, with the exact one in the element's title and for machines in `datetime`.

use std::{fmt, time::Duration};

use askama::filters::HtmlSafe;
use jiff::Timestamp;

/// A call of the API in a shell, with the key where the command line looks for it, too.
pub(in crate::dashboard) fn shell_call(method: &str, address: &str, has_key: bool, body: Option<&str>) -> String {
    let method = if method == "GET" { String::new() } else { format!(" -X {method}") };
    let key = if has_key { " \\\n  -H \"Authorization: Bearer $DATASONAR_API_KEY\"" } else { "" };
    let body = body.map_or(String::new(), |body| format!(" \\\n  -d '{}'", body.replace('\'', r"'\''")));
    format!("curl{method} {address}{key}{body}")
}

/// A time as an element.
#[derive(Clone, Copy, Debug)]
pub(in crate::dashboard) struct When {
    time: Timestamp,
    now: Timestamp,
    is_countdown: bool,
}

impl HtmlSafe for When {}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (machine, exact) = (format!("{:.3}", self.time), exact(self.time));
        let (mark, text) = match self.is_countdown {
            true => (" data-countdown", countdown(self.time, self.now)),
            false => ("", relative(self.time, self.now)),
        };
        write!(f, r#"<time datetime="{machine}" title="{exact}"{mark}>{text}</time>"#)
    }
}

impl When {
    /// A time that has passed or is to come.
    pub(in crate::dashboard) fn new(time: Timestamp, now: Timestamp) -> Self {
        Self { time, now, is_countdown: false }
    }

    /// How long it is until a time, to the second.
    pub(in crate::dashboard) fn until(time: Timestamp, now: Timestamp) -> Self {
        Self { time, now, is_countdown: true }
    }
}

/// `24 Nov 2026, 03:12:35.120 UTC`.
pub(in crate::dashboard) fn exact(time: Timestamp) -> String {
    let time = time.to_zoned(jiff::tz::TimeZone::UTC);
    format!("{}.{:03} UTC", time.strftime("%-d %b %Y, %H:%M:%S"), time.millisecond())
}

/// `5 min ago`, `in 2 h`, `just now`.
fn relative(time: Timestamp, now: Timestamp) -> String {
    let seconds = (now.as_millisecond() - time.as_millisecond()) / 1000;
    let (is_past, seconds) = (seconds >= 0, seconds.unsigned_abs());
    let amount = match seconds {
        0..5 => return if is_past { "just now".to_owned() } else { "now".to_owned() },
        5..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    };
    if is_past { format!("{amount} ago") } else { format!("in {amount}") }
}

/// `23 h 59 min 05 s`.
fn countdown(time: Timestamp, now: Timestamp) -> String {
    let seconds = (time.as_millisecond() - now.as_millisecond()).max(0) / 1000;
    format!("{} h {:02} min {:02} s", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// `1,234,567`.
pub(in crate::dashboard) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `12.5 MB`: thousands, as disks and networks count.
pub(in crate::dashboard) fn bytes(number: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if number < 1000 {
        return format!("{number} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut value = number as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = usize::from(value < 99.95);
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// `850 ms`, `12.4 s`, `3 min 5 s`, `2 h 10 min`.
pub(in crate::dashboard) fn duration_ms(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
        3_600_000..172_800_000 => format!("{} h {} min", ms / 3_600_000, ms % 3_600_000 / 60_000),
        _ => format!("{} d {} h", ms / 86_400_000, ms % 86_400_000 / 3_600_000),
    }
}

/// `14 days`, `12 hours`, `90 minutes`: a setting as people say it.
pub(in crate::dashboard) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let units = [(86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")];
    let whole = units.into_iter().find(|(length, _)| seconds >= *length && seconds.is_multiple_of(*length));
    let (length, name) = whole.unwrap_or((1, "second"));
    let number = seconds / length;
    format!("{} {name}{}", count(number), if number == 1 { "" } else { "s" })
}

/// `99.5 %`, never rounded up to all or down to none; `–` of nothing.
pub(in crate::dashboard) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "–".to_owned();
    }
    if part == whole || part == 0 {
        return format!("{} %", if part == 0 { 0 } else { 100 });
    }
    let tenths = (u128::from(part) * 1000 / u128::from(whole)).clamp(1, 999);
    format!("{}.{} %", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 7, 999, 1_000, 1_234_567].map(count), ["0", "7", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn sizes_have_three_digits() {
        let sizes = [0, 999, 1_000, 12_345, 999_499, 999_500, 12_500_000_000].map(bytes);
        assert_eq!(sizes, ["0 B", "999 B", "1.0 kB", "12.3 kB", "999 kB", "1.0 MB", "12.5 GB"]);
    }

    #[test]
    fn shares_are_all_or_none_only_when_they_are() {
        let shares =
            [(0, 0), (0, 5), (5, 5), (1, 3), (1, 100_000), (99_999, 100_000)].map(|(part, whole)| percent(part, whole));
        assert_eq!(shares, ["–", "0 %", "100 %", "33.3 %", "0.1 %", "99.9 %"]);
    }

    #[test]
    fn times_are_relative_and_exact() {
        let now: Timestamp = "2026-11-24T03:12:35.12Z".parse().unwrap();
        let at = |seconds: i64| now + jiff::SignedDuration::from_secs(seconds);
        let said = [0, -5, -59, -61, -7_200, -200_000, 4, 30, 86_400].map(|seconds| relative(at(seconds), now));
        assert_eq!(
            said,
            ["just now", "5 s ago", "59 s ago", "1 min ago", "2 h ago", "2 d ago", "now", "in 30 s", "in 24 h"]
        );
        assert_eq!(exact(now), "24 Nov 2026, 03:12:35.120 UTC");
        let element = When::new(at(-60), now).to_string();
        assert!(element.contains(r#"datetime="2026-11-24T03:11:35.120Z""#), "{element}");
        let left = [-5, 0, 65, 86_400].map(|seconds| countdown(at(seconds), now));
        assert_eq!(left, ["0 h 00 min 00 s", "0 h 00 min 00 s", "0 h 01 min 05 s", "24 h 00 min 00 s"]);
    }

    #[test]
    fn settings_are_told_in_the_unit_that_they_are_whole_in() {
        let spans = [86_400 * 14, 86_400, 3_600 * 12, 90 * 60, 61, 0].map(|seconds| span(Duration::from_secs(seconds)));
        assert_eq!(spans, ["14 days", "1 day", "12 hours", "90 minutes", "61 seconds", "0 seconds"]);
    }

    #[test]
    fn lengths_have_two_parts_at_most() {
        let lengths = [5, 1_250, 61_000, 7_800_000, 180_000_000].map(duration_ms);
        assert_eq!(lengths, ["5 ms", "1.2 s", "1 min 1 s", "2 h 10 min", "2 d 2 h"]);
    }
}
