//! The schema, and bringing it up to date.
//!
//! All tables are in the schema `datasonar`. Processes that start at once take turns: the table that knows the version is locked.
//!
//! Processes are upgraded one after another, and one of the version before may start again meanwhile. So each migration says from which
//! version on programs can work with what it leaves, and takes away nothing that the version before needs: that is for a later one.

use std::time::Duration;

use super::connector::{self, Connector};
use super::fault;
use super::session::Link;
use crate::sql::unavailable;
use crate::{Result, StoreError};

/// What leads from each version to the next, and the lowest version whose programs can work with it.
pub(super) const MIGRATIONS: [(&str, usize); 10] = [
    (include_str!("../migrations/postgres/0001_initial.sql"), 1),
    (include_str!("../migrations/postgres/0002_moving_keys.sql"), 1),
    (include_str!("../migrations/postgres/0003_hosts.sql"), 1),
    (include_str!("../migrations/postgres/0004_readable_by.sql"), 1),
    (include_str!("../migrations/postgres/0005_lapsed.sql"), 1),
    (include_str!("../migrations/postgres/0006_insight.sql"), 1),
    (include_str!("../migrations/postgres/0007_people.sql"), 1),
    (include_str!("../migrations/postgres/0008_accounts.sql"), 1),
    (include_str!("../migrations/postgres/0009_isolation.sql"), 1),
    (include_str!("../migrations/postgres/0010_endpoints.sql"), 1),
];

/// From which version on a schema says who can work with it.
const RECORDED: usize = 4;

/// How often it is tried while others do the same, or the server is starting.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(250);

const LOCK: &str = "CREATE SCHEMA IF NOT EXISTS datasonar;
    CREATE TABLE IF NOT EXISTS datasonar.schema_version (version BIGINT NOT NULL);
    LOCK TABLE datasonar.schema_version IN ACCESS EXCLUSIVE MODE;";
const VERSION: &str = "SELECT max(version)::text FROM datasonar.schema_version";
const READABLE_BY: &str = "SELECT readable_by::text FROM datasonar.schema_version ORDER BY version DESC LIMIT 1";

/// Brings the schema up to date.
///
/// # Errors
/// [`StoreError::Conflict`] when a newer version of the program made it; [`StoreError::Unavailable`] when the database cannot be
/// reached or changed.
pub(super) fn migrate(connector: &Connector) -> Result<()> {
    let mut last = unavailable("the database cannot be reached");
    for _ in 0..TRIES {
        let done = connector.connect().map_err(|error| fault::told(&error)).and_then(|link| try_migrate(&link));
        match done {
            // Two that make the schema at the same time meet in the catalogue: one of them is told that it exists already.
            Err(error @ (StoreError::Unavailable(_) | StoreError::Corrupt(_))) => last = error,
            Err(StoreError::Conflict(text)) if text == EXISTS => last = unavailable("the schema is being made"),
            done => return done,
        }
        connector::pause(PAUSE);
    }
    Err(last)
}

/// What [`fault::told`] says of a row that exists already.
const EXISTS: &str = "it exists already";

fn try_migrate(link: &Link) -> Result<()> {
    let batch = |sql: &str| link.batch(sql).map_err(|error| fault::told(&error));
    batch("BEGIN")?;
    batch(LOCK)?;
    let version = link.text(VERSION, None).map_err(|error| fault::told(&error))?;
    let version = version.and_then(|version| version.parse::<usize>().ok()).unwrap_or(0);
    let Some(pending) = MIGRATIONS.get(version..) else {
        let readable_by = link.text(READABLE_BY, None).map_err(|error| fault::told(&error))?;
        if readable_by.and_then(|oldest| oldest.parse().ok()).is_some_and(|oldest: usize| oldest <= MIGRATIONS.len()) {
            tracing::info!(
                version,
                "a newer version of Datasonar has upgraded the database; this one can work with it"
            );
            return batch("ROLLBACK");
        }
        return Err(StoreError::Conflict(
            "the database was made by a newer version of Datasonar: upgrade, or choose another database".to_owned(),
        ));
    };
    for (number, (migration, readable_by)) in (version + 1..).zip(pending) {
        batch(migration)?;
        batch(&format!("INSERT INTO datasonar.schema_version (version) VALUES ({number})"))?;
        if number >= RECORDED {
            batch(&format!(
                "UPDATE datasonar.schema_version SET readable_by = {readable_by} WHERE version = {number}"
            ))?;
        }
        tracing::info!(version = number, "the database's schema was brought up to date");
    }
    batch("COMMIT")
}
