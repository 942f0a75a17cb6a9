//! Days and months in UTC, as usage is counted by.

use jiff::{Timestamp, ToSpan, Zoned, tz::TimeZone};

/// Where a time lies among days and months.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calendar {
    /// When its day began.
    pub today: Timestamp,
    /// When its month began.
    pub month: Timestamp,
    /// When the next month begins.
    pub next_month: Timestamp,
}

impl Calendar {
    /// The calendar of a time. At the end of all time, months are as long as there is time left.
    pub fn of(now: Timestamp) -> Self {
        let day = now.to_zoned(TimeZone::UTC);
        let start = |day: &Zoned| day.start_of_day().map(|start| start.timestamp());
        let today = start(&day).unwrap_or(now);
        let first = day.first_of_month().and_then(|first| first.start_of_day());
        let Ok(first) = first else { return Self { today, month: today, next_month: Timestamp::MAX } };
        let next = first.checked_add(1.month()).map_or(Timestamp::MAX, |next| next.timestamp());
        Self { today, month: first.timestamp(), next_month: next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_months_begin_at_midnight() {
        for (now, today, month, next_month) in [
            ("2026-11-26T21:38:29.5Z", "2026-11-26T00:00:00Z", "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"),
            ("2026-12-31T23:59:59Z", "2026-12-31T00:00:00Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            ("2028-02-29T00:00:00Z", "2028-02-29T00:00:00Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
        ] {
            let at = |text: &str| text.parse::<Timestamp>().unwrap();
            let expected = Calendar { today: at(today), month: at(month), next_month: at(next_month) };
            assert_eq!(Calendar::of(at(now)), expected, "{now}");
        }
        assert!(Calendar::of(Timestamp::MAX).next_month == Timestamp::MAX);
        assert!(Calendar::of(Timestamp::MIN).next_month > Timestamp::MIN);
    }
}
