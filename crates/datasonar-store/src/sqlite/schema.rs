//! Opening the file: settings of a connection, and migrations.
//!
//! Several processes may open it at the same moment. Each brings it up to date; who comes second finds that done.

use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, TransactionBehavior};
use rusqlite_migration::{M, Migrations};

use super::Threading;
use crate::sql::{corrupt, unavailable};
use crate::{Result, StoreError, group};

/// The steps from an empty file to the present schema. Published ones are never changed, only added to.
pub(super) const STEPS: [&str; 12] = [
    include_str!("../migrations/sqlite/0001_initial.sql"),
    include_str!("../migrations/sqlite/0002_lanes_and_replays.sql"),
    include_str!("../migrations/sqlite/0003_crawls.sql"),
    include_str!("../migrations/sqlite/0004_schedules.sql"),
    include_str!("../migrations/sqlite/0005_moving_keys.sql"),
    include_str!("../migrations/sqlite/0006_hosts.sql"),
    include_str!("../migrations/sqlite/0007_lapsed.sql"),
    include_str!("../migrations/sqlite/0008_insight.sql"),
    include_str!("../migrations/sqlite/0009_people.sql"),
    include_str!("../migrations/sqlite/0010_accounts.sql"),
    include_str!("../migrations/sqlite/0011_isolation.sql"),
    include_str!("../migrations/sqlite/0012_endpoints.sql"),
];

static MIGRATIONS: LazyLock<Migrations<'static>> = LazyLock::new(|| Migrations::new(STEPS.map(M::up).to_vec()));

/// What every connection is set to. `FULL` syncs the log at each commit: an answered step survives a power cut. Pages come
/// through a cache of bounded size and not from a mapping, which would let the process grow with the file.
const SETTINGS: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA foreign_keys = OFF;
    PRAGMA temp_store = MEMORY;
    PRAGMA cache_size = -8192;
    PRAGMA wal_autocheckpoint = 4000;
    PRAGMA journal_size_limit = 67108864;
";

/// The writer's cache is larger: it holds what all open jobs touch.
const WRITER_SETTINGS: &str = "PRAGMA cache_size = -32768;";

/// How long a statement waits for another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How many statements a connection keeps prepared: more than there are.
const STATEMENTS: usize = 192;

/// How often, and after what pause, opening is tried while another process does the same.
const OPEN_TRIES: u32 = 50;
const OPEN_PAUSE: Duration = Duration::from_millis(100);

/// Opens the file for writing and brings it up to date.
pub(super) async fn open(path: &Path, threading: Threading) -> Result<Connection> {
    for _ in 1..OPEN_TRIES {
        let file = path.to_owned();
        match group::on(threading, move || try_open(&file)).await.and_then(|opened| opened) {
            Err(StoreError::Unavailable(reason)) if path.exists() => {
                tracing::debug!(reason, "the database cannot be opened yet");
                tokio::time::sleep(OPEN_PAUSE).await;
            }
            done => return done,
        }
    }
    let file = path.to_owned();
    group::on(threading, move || try_open(&file)).await?
}

fn try_open(path: &Path) -> Result<Connection> {
    let mut connection = connect(path)?;
    connection.execute_batch(WRITER_SETTINGS)?;
    migrate(&mut connection)?;
    Ok(connection)
}

/// Opens a database in memory and fills it with the schema.
pub(super) fn in_memory() -> Result<Connection> {
    let mut connection = Connection::open_in_memory()?;
    prepare(&connection)?;
    migrate(&mut connection)?;
    Ok(connection)
}

/// Opens one more connection to the file.
pub(super) fn connect(path: &Path) -> Result<Connection> {
    let connection = Connection::open(path)?;
    prepare(&connection)?;
    Ok(connection)
}

fn prepare(connection: &Connection) -> Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // Otherwise a statement with a bound limit or range is planned anew whenever other values are bound, which costs more
    // than a claim itself; and no plan here is to depend on values.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.execute_batch(SETTINGS)?;
    Ok(())
}

fn migrate(connection: &mut Connection) -> Result<()> {
    connection.set_transaction_behavior(TransactionBehavior::Immediate);
    MIGRATIONS.to_latest(connection).map_err(|error| match error {
        rusqlite_migration::Error::MigrationDefinition(
            rusqlite_migration::MigrationDefinitionError::DatabaseTooFarAhead,
        ) => StoreError::Conflict(
            "the database was made by a newer version of Datasonar: upgrade, or choose another data directory"
                .to_owned(),
        ),
        rusqlite_migration::Error::RusqliteError { err, .. } => match StoreError::from(err) {
            // Another process migrated between our look at the version and our turn: trying again finds it done.
            StoreError::Corrupt(_) if is_latest(connection) => unavailable("the database was migrated meanwhile"),
            other => other,
        },
        other => {
            tracing::error!(error = %other, "the database cannot be migrated");
            corrupt("the database cannot be brought up to date")
        }
    })
}

fn is_latest(connection: &Connection) -> bool {
    matches!(MIGRATIONS.pending_migrations(connection), Ok(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        AccountId, ClaimDeliveries, DueEndpoint, Environment, Insight, JobId, Lane, ProcessId, Scope, Selection, Share,
        Store, sqlite::SqliteStore,
    };

    #[test]
    fn migrations_are_valid() {
        MIGRATIONS.validate().unwrap();
    }

    #[test]
    fn migrating_twice_changes_nothing() {
        let mut connection = in_memory().unwrap();
        let tables = |connection: &Connection| -> Vec<String> {
            let mut statement = connection.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL").unwrap();
            statement.query_map([], |row| row.get(0)).unwrap().map(|row| row.unwrap()).collect()
        };
        let before = tables(&connection);
        assert!(before.len() > 12);
        migrate(&mut connection).unwrap();
        assert_eq!(before, tables(&connection));
    }

    /// Makes a database of version 1 with a job and a delivery, as that version wrote them, for each endpoint.
    fn of_version_1(path: &Path, endpoints: &[(&str, &str, u32, bool)]) {
        const JOB: &str = "INSERT INTO jobs (id, account, environment, kind, status, options, webhook_url, created_at,
            completed_at, total, tasks_left, tasks_claimable)
            VALUES (?, zeroblob(16), 'production', 'scrape', 'completed', '{}', ?, 5, 7, 1, 0, 0)";
        const DELIVERY: &str = "INSERT INTO deliveries (id, job, account, environment, url, status, created_at,
            next_attempt_at, next_trigger, automatic_attempts, replay_requested_at)
            VALUES (?1, ?1, zeroblob(16), 'production', ?2, 'pending', 7, 9, ?3, ?4, iif(?5, 8, NULL))";
        let mut connection = connect(path).unwrap();
        MIGRATIONS.to_version(&mut connection, 1).unwrap();
        for (number, (url, trigger, automatic, asked)) in endpoints.iter().enumerate() {
            let id = [number as u8; 16];
            connection.execute(JOB, (id, url)).unwrap();
            connection.execute(DELIVERY, (id, url, trigger, automatic, asked)).unwrap();
        }
        connection.execute(JOB, ([99; 16], None::<&str>)).unwrap();
    }

    #[tokio::test]
    async fn a_database_of_version_1_is_upgraded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let endpoints = [
            ("https://Hooks.Example/a?b#c", "automatic", 0, false, "hooks.example", Lane::First),
            ("https://a.example:8443?b/c", "automatic", 2, false, "a.example:8443", Lane::Retry),
            ("https://b.example#/", "replay", 2, false, "b.example", Lane::First),
            ("https://c.example", "automatic", 2, true, "c.example", Lane::First),
        ];
        of_version_1(&path, &endpoints.map(|(url, trigger, automatic, asked, ..)| (url, trigger, automatic, asked)));
        let store = SqliteStore::open(&path, Threading::Inline).await.unwrap();
        let host = "SELECT webhook_host FROM jobs ORDER BY id";
        let read = |c: &crate::sql::Connection| {
            let select = c.prepare(host);
            Ok(select.query_map(crate::sql::params![], |row| row.get::<_, Option<String>>(0))?)
        };
        let hosts = crate::steps::Engine::read(&*store, read).await.unwrap();
        assert_eq!(
            hosts.iter().map(Option::as_deref).collect::<Vec<_>>(),
            [Some("hooks.example"), Some("a.example:8443"), Some("b.example"), Some("c.example"), None]
        );
        let at = jiff::Timestamp::from_millisecond(9).unwrap();
        let told = store.due_endpoints(at, 10, 0).await.unwrap();
        let scope = Scope { account: AccountId(uuid::Uuid::nil()), environment: Environment::Production };
        let expected: Vec<_> = endpoints
            .iter()
            .map(|(url, .., host, lane)| DueEndpoint {
                endpoint: crate::endpoint::key(scope, url),
                scope,
                host: (*host).to_owned(),
                lane: *lane,
                since: at,
            })
            .collect();
        assert_eq!(told.len(), expected.len());
        assert!(expected.iter().all(|due| told.contains(due)), "{told:?}");
        let shares = told.into_iter().map(|due| Share { endpoint: due.endpoint, lane: due.lane, limit: 9 }).collect();
        let owner = ProcessId(uuid::Uuid::nil());
        let claim = ClaimDeliveries { owner, shares, now: at, lease: Duration::from_secs(60) };
        assert_eq!(store.claim_deliveries(claim).await.unwrap().len(), 4);
        assert_eq!(store.count_deliveries(scope, Selection::default()).await.unwrap(), 4);
        let start = (jiff::Timestamp::UNIX_EPOCH, JobId(uuid::Uuid::nil()));
        assert_eq!(store.ended_jobs(scope, start, 10).await.unwrap().len(), 5);
    }

    /// What was attempted before it was kept how the last attempt ended is told from the log; errors of jobs from their rows.
    #[tokio::test]
    async fn what_was_recorded_before_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let url = "https://a.example/";
        of_version_1(
            &path,
            &[(url, "automatic", 2, false), (url, "automatic", 1, false), (url, "automatic", 0, false)],
        );
        let connection = connect(&path).unwrap();
        let attempt = "INSERT INTO attempts (id, delivery, number, trigger, started_at, request_headers, request_bytes, response_status,
            response_headers, response_body, timings, error) VALUES (X'00', ?, ?, 'automatic', 5, '[]', 1, ?, '[]', X'', ?, ?)";
        let timings = |ms: u32| format!(r#"{{"dns_ms":null,"total_ms":{ms}}}"#);
        let error = |code: &str| Some(format!(r#"{{"code":"{code}","message":"no"}}"#));
        for (delivery, number, status, ms, error) in [
            (0_u8, 1, None, 10, error("timeout")),
            (0, 2, Some(503), 20, error("http_status")),
            (1, 1, None, 30, error("tls_error")),
        ] {
            connection.execute(attempt, ([delivery; 16], number, status, timings(ms), error)).unwrap();
        }
        connection.execute_batch("UPDATE deliveries SET attempts = automatic_attempts").unwrap();
        connection
            .execute(
                r#"UPDATE jobs SET status = 'failed', failed = 1, error = '{"code":"dns_error","message":""}' WHERE id = ?"#,
                [[0_u8; 16]],
            )
            .unwrap();
        connection.execute("UPDATE jobs SET kind = 'batch', failed = 3 WHERE id = ?", [[1_u8; 16]]).unwrap();
        drop(connection);
        let store = SqliteStore::open(&path, Threading::Inline).await.unwrap();
        let scope = Scope { account: AccountId(uuid::Uuid::nil()), environment: Environment::Production };
        let part = crate::Part { limit: 9, from: crate::Position::Newest };
        let listed = store.find_deliveries(scope, crate::DeliverySearch::default(), part).await.unwrap();
        let told: Vec<_> =
            listed.rows.into_iter().map(|row| row.last.map(|last| (last.code, last.cause, last.latency_ms))).collect();
        assert_eq!(told, [None, Some((None, "tls_error".to_owned(), 30)), Some((Some(503), "503".to_owned(), 20))]);
        for (job, code, count) in [(0, "dns_error", 1), (1, crate::UNKNOWN_ERROR, 3)] {
            let told = store.job_errors(scope, JobId(uuid::Uuid::from_bytes([job; 16]))).await.unwrap();
            assert_eq!(told, [crate::PageErrors { code: code.to_owned(), count, urls: Vec::new() }]);
        }
    }

    #[tokio::test]
    async fn a_newer_database_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("newer.db");
        open(&path, Threading::Inline).await.unwrap().pragma_update(None, "user_version", 999).unwrap();
        let error = open(&path, Threading::Inline).await.unwrap_err();
        assert!(matches!(&error, StoreError::Conflict(text) if text.contains("newer version")), "{error}");
    }

    #[tokio::test]
    async fn what_is_no_database_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text.db");
        std::fs::write(&path, "this is not a database, but it is long enough to be read as one".repeat(100)).unwrap();
        assert!(matches!(open(&path, Threading::Inline).await, Err(StoreError::Corrupt(_))));
    }

    #[tokio::test]
    async fn a_missing_directory_is_unavailable_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing").join("store.db");
        assert!(matches!(open(&path, Threading::Inline).await, Err(StoreError::Unavailable(_))));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn many_may_open_it_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let opened: Vec<_> = (0..8)
            .map(|_| {
                let path = path.clone();
                tokio::spawn(async move { open(&path, Threading::Pool).await })
            })
            .collect();
        for one in opened {
            one.await.unwrap().unwrap();
        }
    }
}
