//! Moving rows from store to store: see [`crate::Movable`].
//!
//! Rows are carried as they stand, column by column; nothing here knows what they mean. Each table is read in the order of a key that
//! has an index in both databases, in pages whose length fits the width of its rows.

use std::hash::{DefaultHasher, Hash, Hasher};

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use super::{Engine, secrets};
use crate::moving::{CarriedPlace, CarriedRows};
use crate::sql::codec::{Millis, unsigned};
use crate::sql::{Connection, FromValue, OptionalExtension, Row, Value, corrupt, params};
use crate::{
    AccountId, BlobPlace, JobId, Movable, MoveBegin, MoveMark, NamedBlob, Result, Secret, StoreError, TableDigest,
};

/// A table that is carried.
struct Table {
    name: &'static str,
    /// What its rows are read in the order of: the first columns.
    key: usize,
    columns: &'static [&'static str],
    /// How many rows are read at once: fewer of those that may be wide.
    page: u32,
}

const fn table(name: &'static str, key: usize, page: u32, columns: &'static [&'static str]) -> Table {
    Table { name, key, columns, page }
}

/// Every table that is carried, `meta` first.
#[rustfmt::skip]
const TABLES: &[Table] = &[
    table(META, 1, 500, &["name", "value"]),
    table("accounts", 1, 500, &["id", "email", "plan", "created_at", "built_in"]),
    table("keys", 1, 500, &["id", "account", "environment", "hash", "prefix", "created_at", "revoked_at", "name",
        "last_used_at"]),
    table("secrets", 1, 500, &["id", "account", "environment", "sealed", "created_at", "expires_at"]),
    table("usage", 3, 500, &["account", "environment", "day", "pages", "succeeded", "time_ms"]),
    table("usage_days", 3, 500, &["account", "environment", "day", "pages", "succeeded", "time_ms", "version"]),
    table("jobs", 1, 200, &["id", "account", "environment", "kind", "status", "options", "webhook_url", "created_at", "started_at",
        "completed_at", "expires_at", "cancelled_at", "error", "results_deleted", "total", "succeeded", "failed", "segments",
        "result_bytes", "tasks_left", "tasks_claimable", "served", "webhook_host", "version", "claimable_from"]),
    table("turns", 1, 500, &["account", "served", "runnable"]),
    table("inputs", 1, 100, &["job", "bytes", "blob_key"]),
    table("tasks", 2, 500, &["job", "seq", "state", "epoch", "owner", "lease_expires_at", "input_offset", "input_bytes", "first", "urls",
        "depth", "crashes"]),
    table("task_crashes", 3, 500, &["job", "seq", "epoch"]),
    table("page_marks", 4, 500, &["job", "seq", "epoch", "page", "alone"]),
    table("kept_pages", 3, 200, &["job", "seq", "page", "time_ms", "error", "reason"]),
    table("segments", 3, 200, &["job", "seq", "position", "first", "count", "raw_bytes", "sha256", "blob_key", "bytes"]),
    table("idempotency", 3, 500, &["account", "environment", "key", "fingerprint", "answer", "created_at"]),
    table("deliveries", 1, 500, &["id", "job", "account", "environment", "url", "status", "created_at", "first_attempt_at",
        "last_attempt_at", "next_attempt_at", "delivered_at", "attempts", "automatic_attempts", "next_trigger",
        "replay_requested_at", "epoch", "owner", "lease_expires_at", "host", "lane", "schedule_ended", "era", "last_code",
        "last_cause", "last_ms", "endpoint"]),
    table("attempts", 2, 100, &["delivery", "number", "id", "trigger", "started_at", "request_headers", "request_bytes", "remote",
        "response_status", "response_headers", "response_body", "timings", "error"]),
    table("replays", 1, 500, &["id", "account", "environment", "of_status", "of_since", "of_until", "of_url", "era", "status",
        "created_at", "completed_at", "matched", "replayed", "cursor_at", "cursor", "turn"]),
    table("crawls", 1, 500, &["job", "max_pages", "admitted", "tasks", "level", "level_left", "listed", "robots", "out_of_scope",
        "duplicate", "over_limit"]),
    table("seen", 2, 500, &["job", "key", "position"]),
    table("found", 2, 20, &["job", "seq", "urls"]),
    table("skipped", 2, 500, &["job", "number", "reason", "url", "key"]),
    table("schedules", 1, 20, &["id", "account", "environment", "name", "cron", "timezone", "overlap", "paused", "kind", "job",
        "created_at", "updated_at", "next_run_at", "queued_at", "version"]),
    table("activity", 3, 500, &["account", "environment", "bucket", "version", "jobs_accepted", "jobs_completed", "jobs_failed", "pages",
        "pages_succeeded", "attempts_delivered", "attempts_failed", "dead_letters", "l0", "l1", "l2", "l3", "l4", "l5", "l6", "l7", "l8",
        "l9", "l10", "l11", "l12", "l13", "l14", "l15"]),
    table("endpoint_days", 4, 500, &["account", "environment", "day", "host", "version", "delivered", "failed", "dead_letters", "l0", "l1",
        "l2", "l3", "l4", "l5", "l6", "l7", "l8", "l9", "l10", "l11", "l12", "l13", "l14", "l15"]),
    table("job_errors", 2, 20, &["job", "code", "version", "count", "listed", "urls"]),
    table("users", 1, 500, &["id", "email", "password_hash", "created_at"]),
    table("members", 2, 500, &["account", "user_id", "role", "joined_at"]),
    table("links", 1, 500, &["id", "hash", "account", "role", "email", "created_at", "expires_at", "used_at"]),
    table("runs", 2, 500, &["schedule", "planned_at", "trigger", "outcome", "job", "reason", "at"]),
];

/// Tables whose rows say something of the processes that run, and nothing of what a store holds. Sessions are left as well: a cookie belongs to
/// the address of the old servers, and whoever signs in anew loses nothing. Failures to sign in and the calls of a minute
/// are past before a move has ended.
#[cfg(test)]
const LEFT: [&str; 5] = ["host_shares", "host_paces", "sessions", "sign_in_failures", "request_minutes"];

const META: &str = "meta";
/// The mark of a store into which a move has not ended; its value tells the store that is moved there.
const MOVING: &str = "moving";
/// What begins the name of the mark of a store that was moved; its value is the time.
const MOVED: &str = "moved to ";
/// What `meta` holds and is a database's own: the marks, and PostgreSQL's lock of writers.
const GATE: &str = "gate";

#[async_trait]
impl<E: Engine> Movable for E {
    async fn move_mark(&self) -> Result<MoveMark> {
        self.read(mark).await
    }

    async fn begin_move(&self, account: AccountId, may_begin: bool) -> Result<MoveBegin> {
        self.write(move |c| begin(c, account, may_begin)).await
    }

    async fn carried_rows(&self, after: Option<CarriedPlace>) -> Result<Option<CarriedRows>> {
        self.read(move |c| next_rows(c, after.clone())).await
    }

    async fn put_rows(&self, rows: CarriedRows) -> Result<()> {
        self.write(move |c| put(c, &rows)).await
    }

    async fn digests(&self) -> Result<Vec<TableDigest>> {
        let mut digests: Vec<_> =
            TABLES.iter().map(|table| TableDigest { table: table.name, rows: 0, hash: 0 }).collect();
        let mut place = None;
        while let Some(read) = self.carried_rows(place.take()).await? {
            let digest = &mut digests[read.table];
            digest.rows += read.count();
            digest.hash = read.rows.iter().map(|row| hash(row)).fold(digest.hash, u64::wrapping_add);
            place = Some(read.end);
        }
        Ok(digests)
    }

    async fn named_blobs(&self, after: Option<BlobPlace>, limit: u32) -> Result<Vec<NamedBlob>> {
        self.read(move |c| named_blobs(c, after, limit)).await
    }

    async fn named_blobs_count(&self) -> Result<u64> {
        const SELECT: &str = "SELECT (SELECT count(*) FROM inputs WHERE blob_key IS NOT NULL)
            + (SELECT count(*) FROM segments WHERE blob_key IS NOT NULL) AS blobs";
        self.read(|c| Ok(c.prepare(SELECT).query_row(params![], |row| unsigned(row, "blobs"))?)).await
    }

    async fn signing_secrets(&self, now: Timestamp) -> Result<Vec<Secret>> {
        self.read(move |c| secrets::signing(c, now)).await
    }

    async fn deliveries_owed(&self) -> Result<u64> {
        const SELECT: &str = "SELECT count(*) AS owed FROM deliveries WHERE next_attempt_at IS NOT NULL";
        self.read(|c| Ok(c.prepare(SELECT).query_row(params![], |row| unsigned(row, "owed"))?)).await
    }

    async fn mark_moved(&self, to: String, now: Timestamp) -> Result<()> {
        self.write(move |c| {
            unmark(c)?;
            let name = format!("{MOVED}{to}");
            Ok(c.prepare("INSERT INTO meta (name, value) VALUES (?, ?)").run(params![name, Millis(now)])?)
        })
        .await
    }

    async fn unmark_moved(&self) -> Result<bool> {
        self.write(unmark).await
    }

    async fn end_move(&self) -> Result<()> {
        self.write(|c| Ok(c.prepare("DELETE FROM meta WHERE name = ?").run([MOVING])?)).await
    }
}

/// Reads the marks. There are few rows.
fn mark(connection: &Connection) -> Result<MoveMark> {
    let read = |row: &Row| Ok((row.get::<_, String>("name")?, row.get::<_, i64>("value")?));
    for (name, value) in connection.prepare("SELECT name, value FROM meta ORDER BY name").query_map(params![], read)? {
        if name == MOVING {
            return Ok(MoveMark::Moving);
        }
        if let Some(to) = name.strip_prefix(MOVED) {
            let at = Timestamp::from_millisecond(value).map_err(|_| corrupt("the time of a move is none"))?;
            return Ok(MoveMark::Moved { to: to.to_owned(), at });
        }
    }
    Ok(MoveMark::None)
}

/// Whether a move into this store has not ended. Inside the step that would make a store of an empty one.
pub(super) fn is_moving(connection: &Connection) -> Result<bool> {
    Ok(connection.prepare("SELECT 1 FROM meta WHERE name = ?").exists([MOVING])?)
}

fn unmark(connection: &Connection) -> Result<bool> {
    match mark(connection)? {
        MoveMark::Moved { to, .. } => {
            let name = format!("{MOVED}{to}");
            connection.prepare("DELETE FROM meta WHERE name = ?").run([name])?;
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// What stands for a store in the mark of the other: taken from an id that no other store has.
fn sign(account: AccountId) -> i64 {
    let (high, low) = account.0.as_u64_pair();
    i64::try_from((high ^ low) >> 1).expect("a number of 63 bits has a sign to spare")
}

fn begin(connection: &Connection, account: AccountId, may_begin: bool) -> Result<MoveBegin> {
    let select = connection.prepare("SELECT value FROM meta WHERE name = ?");
    match select.query_row([MOVING], |row| row.get::<_, i64>("value")).optional()? {
        Some(of) if of == sign(account) => {
            for table in TABLES.iter().filter(|table| table.name != META) {
                connection.prepare(&format!("TRUNCATE TABLE {}", table.name)).run(params![])?;
            }
            return Ok(MoveBegin::Again);
        }
        Some(_) => {
            let told = "a move of another store into this database has not ended: choose another database";
            return Err(StoreError::Conflict(told.to_owned()));
        }
        None => {}
    }
    if connection.prepare("SELECT 1 FROM accounts WHERE id = ?").exists([account])? {
        return Ok(MoveBegin::Ended);
    }
    for table in ["accounts", "jobs"] {
        if connection.prepare(&format!("SELECT 1 FROM {table} LIMIT 1")).exists(params![])? {
            let told = "the database holds another store: a store is moved into an empty database";
            return Err(StoreError::Conflict(told.to_owned()));
        }
    }
    if !may_begin {
        let told = "the store was moved to another place already, and this database is empty";
        return Err(StoreError::Conflict(told.to_owned()));
    }
    connection.prepare("INSERT INTO meta (name, value) VALUES (?, ?)").run(params![MOVING, sign(account)])?;
    Ok(MoveBegin::First)
}

/// Reads the next page, of the next table if there is nothing left of this one.
fn next_rows(connection: &Connection, after: Option<CarriedPlace>) -> Result<Option<CarriedRows>> {
    let mut place = after.unwrap_or(CarriedPlace { table: 0, key: Vec::new() });
    while let Some(table) = TABLES.get(place.table) {
        let rows = page(connection, table, &place.key)?;
        if let Some(last) = rows.last() {
            let end = CarriedPlace { table: place.table, key: last[..table.key].to_vec() };
            let rows = rows.into_iter().filter(|row| table.name != META || is_carried(&row[0])).collect();
            return Ok(Some(CarriedRows { table: place.table, rows, end }));
        }
        place = CarriedPlace { table: place.table + 1, key: Vec::new() };
    }
    Ok(None)
}

fn page(connection: &Connection, table: &Table, after: &[Value<'static>]) -> Result<Vec<Vec<Value<'static>>>> {
    let (columns, key) = (table.columns.join(", "), table.columns[..table.key].join(", "));
    let beyond = if after.is_empty() { String::new() } else { format!("WHERE ({key}) > ({})", places(table.key)) };
    let select = format!("SELECT {columns} FROM {} {beyond} ORDER BY {key} LIMIT {}", table.name, table.page);
    let read = |row: &Row| (0..table.columns.len()).map(|place| row.get::<_, Value<'static>>(place)).collect();
    Ok(connection.prepare(&select).query_map(after, read)?)
}

/// As many placeholders.
fn places(count: usize) -> String {
    vec!["?"; count].join(", ")
}

/// Whether a row of `meta` says something of what the store holds.
fn is_carried(name: &Value<'static>) -> bool {
    !matches!(name, Value::Text(name) if name == MOVING || name == GATE || name.starts_with(MOVED))
}

fn put(connection: &Connection, carried: &CarriedRows) -> Result<()> {
    let table = &TABLES[carried.table];
    let (columns, places) = (table.columns.join(", "), places(table.columns.len()));
    // The schema has filled one table: with what is counted from.
    let counted = if table.name == META { "ON CONFLICT (name) DO UPDATE SET value = excluded.value" } else { "" };
    let insert = format!("INSERT INTO {} ({columns}) VALUES ({places}) {counted}", table.name);
    let insert = connection.prepare(&insert);
    Ok(carried.rows.iter().try_for_each(|row| insert.run(&row[..]))?)
}

/// A row's hash. No chance is in it: the same row has the same on both sides.
fn hash(row: &[Value<'static>]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for value in row {
        match value {
            Value::Null => 0.hash(&mut hasher),
            Value::Int(number) => (1, number).hash(&mut hasher),
            // As PostgreSQL keeps it: its texts cannot hold that character.
            Value::Text(text) if text.contains('\0') => (2, text.replace('\0', "\u{fffd}")).hash(&mut hasher),
            Value::Text(text) => (2, text.as_ref()).hash(&mut hasher),
            Value::Bytes(bytes) => (3, bytes.as_ref()).hash(&mut hasher),
        }
    }
    hasher.finish()
}

fn named_blobs(connection: &Connection, after: Option<BlobPlace>, limit: u32) -> Result<Vec<NamedBlob>> {
    const INPUTS: &str = "SELECT job, blob_key FROM inputs WHERE job > ? AND blob_key IS NOT NULL ORDER BY job LIMIT ?";
    const SEGMENTS: &str = "SELECT job, seq, position, sha256, blob_key FROM segments
        WHERE (job, seq, position) > (?, ?, ?) AND blob_key IS NOT NULL ORDER BY job, seq, position LIMIT ?";
    let nil = JobId(Uuid::nil());
    let after = after.unwrap_or(BlobPlace::Input(nil));
    if let BlobPlace::Input(job) = after {
        let read = |row: &Row| {
            let place = BlobPlace::Input(row.get("job")?);
            Ok(NamedBlob { key: row.get("blob_key")?, sha256: None, place })
        };
        let found = connection.prepare(INPUTS).query_map(params![job, limit], read)?;
        if !found.is_empty() {
            return Ok(found);
        }
    }
    let (job, seq, position) = match after {
        BlobPlace::Input(_) => (nil, 0, 0),
        BlobPlace::Segment(job, seq, position) => (job, seq, position),
    };
    let read = |row: &Row| {
        let place = BlobPlace::Segment(row.get("job")?, row.get("seq")?, row.get("position")?);
        Ok(NamedBlob { key: row.get("blob_key")?, sha256: Some(row.get("sha256")?), place })
    };
    Ok(connection.prepare(SEGMENTS).query_map(params![job, seq, position, limit], read)?)
}

impl FromValue for Value<'static> {
    fn from_value(value: &Value<'static>) -> crate::sql::Result<Self> {
        Ok(value.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::postgres::{Connector, PostgresStore};
    use crate::sqlite::{SqliteStore, Threading};

    type Schema = BTreeMap<String, BTreeSet<String>>;

    async fn schema<E: Engine>(store: &E, select: &'static str) -> Schema {
        let read = |row: &Row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
        let read = move |c: &Connection| Ok(c.prepare(select).query_map(params![], read)?);
        let mut schema = Schema::new();
        for (table, column) in store.read(read).await.unwrap() {
            schema.entry(table).or_default().insert(column);
        }
        schema
    }

    /// What TABLES says, with those that are left.
    fn told(mut schema: Schema) -> Schema {
        schema.retain(|table, _| LEFT.contains(&table.as_str()));
        assert_eq!(schema.len(), LEFT.len(), "a table that is left is not there");
        for table in TABLES {
            let columns: BTreeSet<String> = table.columns.iter().map(|column| (*column).to_owned()).collect();
            assert_eq!(columns.len(), table.columns.len(), "{}", table.name);
            assert!(schema.insert(table.name.to_owned(), columns).is_none());
        }
        schema
    }

    #[tokio::test]
    async fn every_table_and_column_of_the_embedded_store_is_carried_or_left_by_name() {
        let store = SqliteStore::in_memory(Threading::Inline).await.unwrap();
        let found = schema(
            &*store,
            "SELECT t.name, c.name FROM sqlite_schema t, pragma_table_info(t.name) c
                WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%'",
        )
        .await;
        assert_eq!(found, told(found.clone()));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_table_and_column_of_the_shared_store_is_carried_or_left_by_name() {
        let server = std::env::var("TEST_POSTGRES").expect("TEST_POSTGRES names a server");
        let name = format!("moved_schema_{}", std::process::id());
        let (admin, create) = (format!("{server}/postgres"), format!("CREATE DATABASE {name}"));
        let work = move || postgres::Client::connect(&admin, postgres::NoTls).unwrap().batch_execute(&create).unwrap();
        tokio::task::spawn_blocking(work).await.unwrap();
        let connector = Connector::new(&format!("{server}/{name}"), None).unwrap();
        let store = PostgresStore::open(connector).await.unwrap();
        let mut found = schema(
            &*store,
            "SELECT CAST(table_name AS TEXT), CAST(column_name AS TEXT) FROM information_schema.columns
                WHERE table_schema = 'datasonar'",
        )
        .await;
        assert!(found.remove("schema_version").is_some());
        assert_eq!(found, told(found.clone()));
        store.close().await;
    }
}
