//! The connection that writes.

use rusqlite::Connection;

use crate::group::{Step, Writer};
use crate::{Result, StoreError};

impl Writer for Connection {
    const GROUP: usize = 256;

    fn transact(&mut self, group: &mut [Box<dyn Step>]) -> Result<(), String> {
        transact(self, group)
    }

    fn close(self) {
        if let Err(error) = self.execute_batch("PRAGMA optimize; PRAGMA wal_checkpoint(TRUNCATE);") {
            tracing::warn!(%error, "the database's log could not be folded in");
        }
        if let Err((_, error)) = self.close() {
            tracing::warn!(%error, "the database could not be closed");
        }
    }
}

fn transact(connection: &Connection, group: &mut [Box<dyn Step>]) -> Result<(), String> {
    let alone = group.len() == 1;
    execute(connection, "BEGIN IMMEDIATE")?;
    for step in group {
        let done = if alone { step.run(connection) } else { guarded(connection, step.as_mut())? };
        if connection.is_autocommit() {
            // Some failures, a full disk for one, end the whole transaction and not only the step.
            return Err("the transaction was undone".to_owned());
        }
        if alone && !done {
            return execute(connection, "ROLLBACK");
        }
    }
    execute(connection, "COMMIT").inspect_err(|_| {
        if !connection.is_autocommit() {
            execute(connection, "ROLLBACK").ok();
        }
    })
}

/// Runs a step behind a savepoint, and undoes it when it fails.
fn guarded(connection: &Connection, step: &mut dyn Step) -> Result<bool, String> {
    execute(connection, "SAVEPOINT step")?;
    let done = step.run(connection);
    if !done && !connection.is_autocommit() {
        execute(connection, "ROLLBACK TO step")?;
    }
    if !connection.is_autocommit() {
        execute(connection, "RELEASE step")?;
    }
    Ok(done)
}

fn execute(connection: &Connection, sql: &str) -> Result<(), String> {
    let done = connection.prepare_cached(sql).and_then(|mut statement| statement.execute([]));
    done.map(drop).map_err(|error| match StoreError::from(error) {
        StoreError::Unavailable(text) => text,
        _ => "the transaction failed".to_owned(),
    })
}
