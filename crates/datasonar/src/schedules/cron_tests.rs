//! Runs of cron expressions, against tables and against a clock that is watched minute by minute.

use std::collections::BTreeSet;

use jiff::{SignedDuration, tz::TimeZoneDatabase};
use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The first runs after an instant, as they stand on the zone's clocks.
fn runs(cron: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    let rule = Rule::new(cron, zone).unwrap_or_else(|error| panic!("{cron}: {error}"));
    let show = |at: Timestamp| at.to_zoned(rule.zone.clone()).strftime("%Y-%m-%d %H:%M:%S %:z").to_string();
    rule.upcoming(at(after), count).into_iter().map(show).collect()
}

#[track_caller]
fn check(cron: &str, zone: &str, after: &str, expected: &[&str]) {
    assert_eq!(runs(cron, zone, after, expected.len()), expected, "{cron} in {zone} after {after}");
}

#[test]
fn fields_and_names() {
    const UTC: &str = "UTC";
    const START: &str = "2026-01-01T00:00:00Z";
    let first = |cron: &str| runs(cron, UTC, START, 1).remove(0);
    for (cron, expected) in [
        ("* * * * *", "2026-01-01 00:01:00"),
        ("*/10 * * * * *", "2026-01-01 00:00:10"),
        ("30 15 2 * * *", "2026-01-01 02:15:30"),
        ("5,10-12 3 * * *", "2026-01-01 03:05:00"),
        ("0 9-17/4 * * *", "2026-01-01 09:00:00"),
        ("0 0 * * MON", "2026-01-05 00:00:00"),
        ("0 0 * * mon-fri", "2026-01-02 00:00:00"),
        ("0 0 * * 7", "2026-01-04 00:00:00"),
        ("0 0 * * 0", "2026-01-04 00:00:00"),
        ("0 0 1 FEB *", "2026-02-01 00:00:00"),
        ("0 0 L * *", "2026-01-31 00:00:00"),
        ("0 0 L 2 *", "2026-02-28 00:00:00"),
        ("0 0 15W 2 *", "2026-02-16 00:00:00"),
        ("0 0 LW 2 *", "2026-02-27 00:00:00"),
        ("0 0 * * FRI#2", "2026-01-09 00:00:00"),
        ("0 0 * * FRIL", "2026-01-30 00:00:00"),
        // Days of the month and of the week are alternatives, as everywhere.
        ("0 0 13 * FRI", "2026-01-02 00:00:00"),
        ("0 0 13 * +FRI", "2026-02-13 00:00:00"),
        ("0 0 ? * SUN", "2026-01-04 00:00:00"),
        ("0 0 29 2 *", "2028-02-29 00:00:00"),
        ("0 0 29 2 +MON", "2044-02-29 00:00:00"),
        ("@hourly", "2026-01-01 01:00:00"),
        ("@daily", "2026-01-02 00:00:00"),
        ("@Weekly", "2026-01-04 00:00:00"),
        ("@monthly", "2026-02-01 00:00:00"),
        (" @yearly ", "2027-01-01 00:00:00"),
    ] {
        assert_eq!(first(cron), format!("{expected} +00:00"), "{cron}");
    }
}

#[test]
fn what_cannot_be_followed_is_refused() {
    for cron in [
        "",
        "   ",
        "* * * *",
        "* * * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * 32 * *",
        "* * * 13 *",
        "* * * * 8",
        "*/0 * * * *",
        "5-1 * * * *",
        "a * * * *",
        "@reboot",
        "@",
        "@daily @daily",
        "* * * * MONDAY",
        "-1 * * * *",
        "1..2 * * * *",
        "* * * * FRI#6",
        "99999999999 * * * *",
        "💥 * * * *",
    ] {
        assert!(matches!(Rule::new(cron, "UTC"), Err(RuleError::Cron(_))), "{cron}");
    }
    for cron in ["0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 31 2 *", ", * * * *", "0 0 , * *", "0 0 31 2 +MON"] {
        let error = Rule::new(cron, "UTC").unwrap_err();
        assert!(error.to_string().contains("no time ever fits"), "{cron}: {error}");
    }
    let long = format!("{} * * * *", "1,".repeat(200));
    assert!(Rule::new(&long, "UTC").unwrap_err().to_string().contains("longer than"));
    for zone in [
        "",
        "Mars/Olympus",
        "../etc/passwd",
        "/etc/localtime",
        "localtime",
        "Factory",
        "posixrules",
        "right/UTC",
        "posix/UTC",
        "Europe",
        "+01:00",
        "CET-1CEST",
        &"x".repeat(10_000),
    ] {
        assert!(matches!(Rule::new("@daily", zone), Err(RuleError::Zone(_))), "{zone}");
    }
    for zone in ["UTC", "Etc/UTC", "europe/berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+5"] {
        Rule::new("@daily", zone).unwrap();
    }
}

#[test]
fn zones_are_built_in() {
    // Where the machine has no database of its own, this one is used.
    for zone in ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"] {
        TimeZoneDatabase::bundled().get(zone).unwrap();
    }
}

#[test]
fn a_skipped_time_runs_right_after_the_gap() {
    // 29 March 2026: 02:00 becomes 03:00.
    let berlin = "Europe/Berlin";
    check(
        "30 2 * * *",
        berlin,
        "2026-03-27T12:00:00Z",
        &[
            "2026-03-28 02:30:00 +01:00",
            "2026-03-29 03:00:00 +02:00",
            "2026-03-30 02:30:00 +02:00",
            "2026-03-31 02:30:00 +02:00",
        ],
    );
    // Everything that was skipped is one run, and so is what was due at its end anyway.
    check(
        "*/20 * * * *",
        berlin,
        "2026-03-29T00:30:00Z",
        &["2026-03-29 01:40:00 +01:00", "2026-03-29 03:00:00 +02:00", "2026-03-29 03:20:00 +02:00"],
    );
    check("0 3 * * *", berlin, "2026-03-28T12:00:00Z", &["2026-03-29 03:00:00 +02:00", "2026-03-30 03:00:00 +02:00"]);
    check("0 0 2 * * *", "America/New_York", "2027-03-14T00:00:00Z", &["2027-03-14 03:00:00 -04:00"]);
    // Half an hour: 02:00 becomes 02:30.
    check(
        "15 2 * * *",
        "Australia/Lord_Howe",
        "2025-10-04T00:00:00Z",
        &["2025-10-05 02:30:00 +11:00", "2025-10-06 02:15:00 +11:00"],
    );
    check("45 2 * * *", "Australia/Lord_Howe", "2025-10-04T00:00:00Z", &["2025-10-05 02:45:00 +11:00"]);
    // At midnight, and a whole day.
    check(
        "@daily",
        "America/Santiago",
        "2025-09-06T12:00:00Z",
        &["2025-09-07 01:00:00 -03:00", "2025-09-08 00:00:00 -03:00"],
    );
    check(
        "0 12 * * *",
        "Pacific/Apia",
        "2011-12-29T12:00:00Z",
        &["2011-12-29 12:00:00 -10:00", "2011-12-31 00:00:00 +14:00", "2011-12-31 12:00:00 +14:00"],
    );
}

#[test]
fn a_doubled_time_runs_once() {
    // 25 October 2026: 03:00 becomes 02:00.
    let berlin = "Europe/Berlin";
    check("30 2 * * *", berlin, "2026-10-24T12:00:00Z", &["2026-10-25 02:30:00 +02:00", "2026-10-26 02:30:00 +01:00"]);
    check(
        "*/30 * * * *",
        berlin,
        "2026-10-24T23:40:00Z",
        &[
            "2026-10-25 02:00:00 +02:00",
            "2026-10-25 02:30:00 +02:00",
            "2026-10-25 03:00:00 +01:00",
            "2026-10-25 03:30:00 +01:00",
        ],
    );
    // From within the second showing.
    check("* * * * * *", berlin, "2026-10-25T01:00:00Z", &["2026-10-25 03:00:00 +01:00"]);
    check("30 2 * * *", berlin, "2026-10-25T01:10:00Z", &["2026-10-26 02:30:00 +01:00"]);
    check("30 2 * * *", berlin, "2026-10-25T00:29:59.999Z", &["2026-10-25 02:30:00 +02:00"]);
    check("30 1 * * *", "America/New_York", "2026-11-01T05:30:00Z", &["2026-11-02 01:30:00 -05:00"]);
    // Half an hour: 02:00 becomes 01:30.
    check(
        "*/15 1 * * *",
        "Australia/Lord_Howe",
        "2026-04-04T14:20:00Z",
        &["2026-04-05 01:30:00 +11:00", "2026-04-05 01:45:00 +11:00", "2026-04-06 01:00:00 +10:30"],
    );
    check("0 2 * * *", "Australia/Lord_Howe", "2026-04-04T14:20:00Z", &["2026-04-05 02:00:00 +10:30"]);
}

#[test]
fn every_year_has_as_many_days() {
    for zone in ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Tehran"]
    {
        for cron in ["30 2 * * *", "0 0 * * *"] {
            let rule = Rule::new(cron, zone).unwrap();
            let start = civil::date(2017, 1, 1).to_zoned(rule.zone.clone()).unwrap().timestamp();
            let end = civil::date(2021, 1, 1).to_zoned(rule.zone.clone()).unwrap().timestamp();
            let mut next = start - SECOND;
            let mut days = 0;
            while let Some(run) = rule.next(next).filter(|run| *run < end) {
                (next, days) = (run, days + 1);
            }
            assert_eq!(days, 4 * 365 + 1, "{cron} in {zone}");
        }
    }
}

/// What a watcher of the zone's clocks would run, minute by minute, between two instants.
fn watched(rule: &Rule, start: Timestamp, end: Timestamp) -> Vec<Timestamp> {
    const MINUTE: SignedDuration = SignedDuration::from_mins(1);
    let cron: croner::Cron = rule.pattern.as_str().parse().unwrap();
    let fits = |local: &DateTime| cron.is_time_matching(local).unwrap();
    let mut shown = BTreeSet::new();
    // What was shown before the window, as far as it can be shown again.
    let mut now = start - SignedDuration::from_hours(30);
    let mut last = rule.zone.to_datetime(now - MINUTE);
    let mut runs = Vec::new();
    while now < end {
        let local = rule.zone.to_datetime(now);
        let mut runs_now = false;
        // Usually this one; after a jump also those that it passed over.
        let mut passed = if local > last { last.checked_add(MINUTE).unwrap() } else { local };
        while passed <= local {
            runs_now |= shown.insert(passed) && fits(&passed);
            passed = passed.checked_add(MINUTE).unwrap();
        }
        if runs_now && now > start {
            runs.push(now);
        }
        (last, now) = (local, now + MINUTE);
    }
    runs
}

/// Expressions to the minute, hostile ones and common ones.
fn expressions() -> impl Strategy<Value = String> {
    let field = |most: u32| {
        prop_oneof![
            3 => Just("*".to_owned()),
            2 => (1..most).prop_map(|step| format!("*/{step}")),
            2 => (0..most).prop_map(|value| value.to_string()),
            1 => (0..most, 0..most).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
            1 => proptest::collection::vec(0..most, 1..4)
                .prop_map(|values| values.iter().map(u32::to_string).collect::<Vec<_>>().join(",")),
        ]
    };
    (field(60), field(24), prop_oneof![Just("*"), Just("1-15"), Just("L"), Just("15W"), Just("*/2")], field(7))
        .prop_map(|(minute, hour, day, weekday)| format!("{minute} {hour} {day} * {weekday}"))
}

fn zones() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        Just("UTC"),
        Just("Europe/Berlin"),
        Just("America/New_York"),
        Just("Australia/Lord_Howe"),
        Just("America/Santiago"),
        Just("Pacific/Apia"),
        Just("Africa/Casablanca"),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    /// The runs are those that a watcher of the clocks finds, around a change of theirs where there is one.
    #[test]
    fn runs_are_those_that_a_watcher_finds(cron in expressions(), zone in zones(), day in 0_i64..9_000, offset in -40_i64..40) {
        let Ok(rule) = Rule::new(&cron, zone) else { return Ok(()) };
        let some_day = at("2005-01-01T00:00:00Z") + SignedDuration::from_hours(24 * day);
        let change = rule.zone.following(some_day).next().map_or(some_day, |change| change.timestamp());
        // Some entries of the database are no change of the clocks and lie at no whole minute.
        let start = change - SignedDuration::from_hours(26) + SignedDuration::from_mins(offset);
        let start = Timestamp::from_second(start.as_second() / 60 * 60).unwrap();
        let end = change + SignedDuration::from_hours(26);
        let mut found = Vec::new();
        let mut last = start;
        while let Some(run) = rule.next(last).filter(|run| *run < end) {
            prop_assert!(run > last);
            found.push(run);
            last = run;
        }
        let watched = watched(&rule, start, end);
        let odd = found.iter().zip(&watched).find(|(found, watched)| found != watched);
        prop_assert!(odd.is_none() && found.len() == watched.len(), "{:?}; {} of {}", odd, found.len(), watched.len());
        // Asked at any moment between two runs, it answers the second.
        for pair in found.windows(2).take(50) {
            let between = pair[1] - SignedDuration::from_millis(1);
            prop_assert_eq!(rule.next(between), Some(pair[1]));
        }
    }

    /// Whatever is sent is refused or followed, and soon.
    #[test]
    fn nothing_hostile_takes_long(cron in "[0-9*/,#LW?+@A-Z -]{0,40}", fields in "([0-9*/,#LW?+-]{1,5} ){4,5}[0-9*/,#LW?+-]{1,5}") {
        for cron in [cron, fields] {
            let begin = tokio::time::Instant::now();
            if let Ok(rule) = Rule::new(&cron, "Europe/Berlin") {
                let runs = rule.upcoming(at("2026-10-25T00:30:00Z"), 20);
                prop_assert!(runs.is_sorted() && runs.len() == 20, "{}", cron);
            }
            prop_assert!(begin.elapsed() < Duration::from_secs(1), "{}", cron);
        }
    }
}

#[test]
fn what_cannot_be_read_is_named() {
    for (cron, expected) in [
        ("99 9 * * *", "cannot be read: the minute `99` is wrong: number out of bounds"),
        ("0 61 9 * * *", "cannot be read: the minute `61` is wrong: number out of bounds"),
        ("0 9 * foo *", "cannot be read: the month `foo` is wrong: "),
        ("0 9 * * 9", "cannot be read: the weekday `9` is wrong: "),
        ("0 9 * *", "has 4 fields"),
    ] {
        let told = Rule::new(cron, "UTC").unwrap_err().to_string();
        assert!(told.starts_with(expected), "{cron}: {told}");
        assert!(!told.contains("Component") && !told.ends_with('.'), "{cron}: {told}");
    }
}
