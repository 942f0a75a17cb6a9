//! What happened, counted while it happens: for each scope by spans of ten minutes, for each host that attempts are made at by days.
//!
//! Steps gather what they do in a [`Tally`] and write it once, in their own transaction. A row that is written often is found by the key
//! that grows with each writing, as [`super::jobs::current`] finds a job's: one statement adds to it or begins it, and nobody waits for that.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use jiff::Timestamp;

use crate::sql::codec::{count, day, narrow, unsigned};
use crate::sql::{self, Connection, Row, Value, corrupt, params};
use crate::{
    ACTIVITY_DAYS, Activity, ActivityBucket, BUCKET_MS, EndpointHealth, Histogram, LATENCY_CLASSES, MOST_BUCKETS,
    Result, Scope,
};

/// The counts of a span, in the order in which they stand in [`values`].
const COUNTS: [&str; 8] = [
    "jobs_accepted",
    "jobs_completed",
    "jobs_failed",
    "pages",
    "pages_succeeded",
    "attempts_delivered",
    "attempts_failed",
    "dead_letters",
];
const HOST_COUNTS: [&str; 3] = ["delivered", "failed", "dead_letters"];

/// An attempt that was made, as far as it counts.
pub(super) struct Tried<'a> {
    pub(super) host: &'a str,
    pub(super) delivered: bool,
    pub(super) made_dead: bool,
    pub(super) latency_ms: u64,
}

/// What steps that are done together did, by scope and span, and by scope, day and host.
#[derive(Default)]
pub(super) struct Tally {
    spans: BTreeMap<(Scope, i64), Activity>,
    hosts: BTreeMap<(Scope, i64, String), HostDay>,
}

#[derive(Default)]
struct HostDay {
    counts: [u64; 3],
    latency: Histogram,
}

impl Tally {
    /// What a scope did in the span of a time.
    pub(super) fn at(&mut self, scope: Scope, at: Timestamp) -> &mut Activity {
        self.spans.entry((scope, span(at))).or_default()
    }

    /// Counts an attempt.
    pub(super) fn tried(&mut self, scope: Scope, at: Timestamp, tried: &Tried<'_>) {
        let own = self.at(scope, at);
        own.attempts_delivered += u64::from(tried.delivered);
        own.attempts_failed += u64::from(!tried.delivered);
        own.dead_letters += u64::from(tried.made_dead);
        own.latency.record(tried.latency_ms);
        let host = self.hosts.entry((scope, day(at), tried.host.to_owned())).or_default();
        let more = [tried.delivered, !tried.delivered, tried.made_dead];
        host.counts.iter_mut().zip(more).for_each(|(count, one)| *count += u64::from(one));
        host.latency.record(tried.latency_ms);
    }

    /// Writes it.
    pub(super) fn write(&self, connection: &Connection) -> Result<()> {
        static SPAN: LazyLock<String> =
            LazyLock::new(|| upsert("activity", &["account", "environment", "bucket"], &columns(&COUNTS)));
        static HOST: LazyLock<String> = LazyLock::new(|| {
            upsert("endpoint_days", &["account", "environment", "day", "host"], &columns(&HOST_COUNTS))
        });
        let add = connection.prepare(&SPAN);
        for ((scope, span), counts) in &self.spans {
            add.run(&values(params![scope.account, scope.environment, *span], &told(counts), &counts.latency)?[..])?;
        }
        let add = connection.prepare(&HOST);
        for ((scope, day, host), sums) in &self.hosts {
            let key = params![scope.account, scope.environment, *day, host];
            add.run(&values(key, &sums.counts, &sums.latency)?[..])?;
        }
        Ok(())
    }
}

/// The counts, in the order of [`COUNTS`].
fn told(counts: &Activity) -> [u64; COUNTS.len()] {
    let Activity {
        jobs_accepted,
        jobs_completed,
        jobs_failed,
        pages,
        pages_succeeded,
        attempts_delivered,
        attempts_failed,
        dead_letters,
        latency: _,
    } = *counts;
    [
        jobs_accepted,
        jobs_completed,
        jobs_failed,
        pages,
        pages_succeeded,
        attempts_delivered,
        attempts_failed,
        dead_letters,
    ]
}

/// The columns that are summed.
fn columns(counts: &[&str]) -> Vec<String> {
    counts.iter().map(|name| (*name).to_owned()).chain((0..LATENCY_CLASSES).map(|class| format!("l{class}"))).collect()
}

/// The statement that adds to the row of a key, or begins it.
pub(super) fn upsert(table: &str, key: &[&str], sums: &[String]) -> String {
    let keys = key.join(", ");
    let same: Vec<_> = key.iter().enumerate().map(|(place, name)| format!("c.{name} = ?{}", place + 1)).collect();
    let places = |from: usize, names: usize| -> String {
        (from..from + names).map(|place| format!("?{place}")).collect::<Vec<_>>().join(", ")
    };
    let added: Vec<_> = sums.iter().map(|name| format!("{name} = {table}.{name} + excluded.{name}")).collect();
    format!(
        "INSERT INTO {table} ({keys}, version, {}) VALUES ({}, coalesce((SELECT c.version FROM {table} c WHERE {}
        ORDER BY c.version DESC LIMIT 1), 0), {})
        ON CONFLICT ({keys}, version) DO UPDATE SET version = {table}.version + 1, {}",
        sums.join(", "),
        places(1, key.len()),
        same.join(" AND "),
        places(key.len() + 1, sums.len()),
        added.join(", ")
    )
}

fn values(key: &[&dyn sql::ToValue], counts: &[u64], latency: &Histogram) -> sql::Result<Vec<Value<'static>>> {
    let key = key.iter().map(|value| value.value().map(Value::into_owned));
    let sums = counts.iter().chain(&latency.0).map(|sum| Ok(Value::Int(count(*sum))));
    key.chain(sums).collect()
}

/// The span that a time lies in.
fn span(at: Timestamp) -> i64 {
    at.as_millisecond().div_euclid(BUCKET_MS)
}

/// The sums of some columns, under their names.
fn sums(counts: &[&str]) -> String {
    let sum = |name: String| format!("CAST(sum({name}) AS BIGINT) AS {name}");
    columns(counts).into_iter().map(sum).collect::<Vec<_>>().join(", ")
}

pub(super) fn activity(
    connection: &Connection,
    scope: Scope,
    since: Timestamp,
    until: Timestamp,
    bucket_ms: i64,
) -> Result<Vec<ActivityBucket>> {
    static SELECT: LazyLock<String> = LazyLock::new(|| {
        format!(
            "SELECT (bucket - ?3) / ?5 AS place, {} FROM activity
            WHERE account = ?1 AND environment = ?2 AND bucket >= ?3 AND bucket < ?4 GROUP BY (bucket - ?3) / ?5",
            sums(&COUNTS)
        )
    });
    if bucket_ms <= 0 || bucket_ms % BUCKET_MS != 0 {
        return Err(corrupt("a bucket is a multiple of ten minutes"));
    }
    let (width, first) = (bucket_ms / BUCKET_MS, span(since));
    let last = until.as_millisecond().saturating_sub(1).div_euclid(BUCKET_MS);
    if until <= since || last < first {
        return Ok(Vec::new());
    }
    let buckets: usize = narrow((last - first) / width + 1)?;
    if buckets > MOST_BUCKETS {
        return Err(corrupt("these are too many buckets"));
    }
    let begin = |place: usize| -> Result<Timestamp> {
        let ms = (first + width * narrow::<_, i64>(place)?) * BUCKET_MS;
        Timestamp::from_millisecond(ms).map_err(|_| corrupt("a bucket lies past the end of time"))
    };
    let mut told = (0..buckets)
        .map(|place| Ok(ActivityBucket { begin: begin(place)?, counts: Activity::default() }))
        .collect::<Result<Vec<_>>>()?;
    let end = first + width * narrow::<_, i64>(buckets)?;
    let select = connection.prepare(&SELECT);
    for row in &select.query(params![scope.account, scope.environment, first, end, width])? {
        let place: usize = row.get("place")?;
        told.get_mut(place).ok_or_else(|| corrupt("a span lies outside what was asked for"))?.counts = read(row)?;
    }
    Ok(told)
}

fn read(row: &Row) -> sql::Result<Activity> {
    Ok(Activity {
        jobs_accepted: unsigned(row, "jobs_accepted")?,
        jobs_completed: unsigned(row, "jobs_completed")?,
        jobs_failed: unsigned(row, "jobs_failed")?,
        pages: unsigned(row, "pages")?,
        pages_succeeded: unsigned(row, "pages_succeeded")?,
        attempts_delivered: unsigned(row, "attempts_delivered")?,
        attempts_failed: unsigned(row, "attempts_failed")?,
        dead_letters: unsigned(row, "dead_letters")?,
        latency: latency(row)?,
    })
}

fn latency(row: &Row) -> sql::Result<Histogram> {
    let mut latency = Histogram::default();
    for (class, count) in latency.0.iter_mut().enumerate() {
        *count = unsigned(row, &format!("l{class}"))?;
    }
    Ok(latency)
}

pub(super) fn endpoints(
    connection: &Connection,
    scope: Scope,
    since: Timestamp,
    limit: u32,
) -> Result<Vec<EndpointHealth>> {
    static SELECT: LazyLock<String> = LazyLock::new(|| {
        format!(
            "SELECT host, {} FROM endpoint_days WHERE account = ? AND environment = ? AND day >= ? GROUP BY host
            ORDER BY sum(dead_letters) DESC, sum(failed) DESC, host LIMIT ?",
            sums(&HOST_COUNTS)
        )
    });
    let read = |row: &Row| {
        Ok(EndpointHealth {
            host: row.get("host")?,
            delivered: unsigned(row, "delivered")?,
            failed: unsigned(row, "failed")?,
            dead_letters: unsigned(row, "dead_letters")?,
            latency: latency(row)?,
        })
    };
    let select = connection.prepare(&SELECT);
    Ok(select.query_map(params![scope.account, scope.environment, day(since), limit], read)?)
}

/// Deletes what happened too long ago to be told. Each account's rows are found by their key.
pub(super) fn forget(connection: &Connection, now: Timestamp) -> Result<()> {
    const OF_KNOWN: &str = "account IN (SELECT id FROM accounts) AND environment IN ('production', 'sandbox')";
    let oldest = day(now) - ACTIVITY_DAYS;
    let spans_a_day = 24 * 60 * 60 * 1000 / BUCKET_MS;
    connection
        .prepare(&format!("DELETE FROM activity WHERE {OF_KNOWN} AND bucket < ?"))
        .run(params![oldest * spans_a_day])?;
    connection.prepare(&format!("DELETE FROM endpoint_days WHERE {OF_KNOWN} AND day < ?")).run(params![oldest])?;
    Ok(())
}
