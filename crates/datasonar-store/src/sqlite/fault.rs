//! What SQLite's errors mean to the caller.
//!
//! The texts say what an operator can act on and never quote a statement; the whole error goes to the log.

use rusqlite::ErrorCode;

use crate::StoreError;
use crate::sql::{corrupt, unavailable};

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let code = error.sqlite_error_code();
        match code {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => unavailable("the database is busy"),
            Some(ErrorCode::DiskFull) => unavailable("the disk is full"),
            Some(ErrorCode::SystemIoFailure) => unavailable("reading or writing the database failed"),
            Some(ErrorCode::CannotOpen) => unavailable("the database cannot be opened"),
            Some(ErrorCode::ReadOnly) => unavailable("the database is read-only"),
            Some(ErrorCode::OutOfMemory) => unavailable("the database is out of memory"),
            Some(ErrorCode::ConstraintViolation) => {
                tracing::warn!(%error, "a row exists already");
                Self::Conflict("it exists already".to_owned())
            }
            _ => {
                tracing::error!(%error, "the database refused a statement");
                corrupt(match code {
                    Some(ErrorCode::DatabaseCorrupt) => "the database is damaged",
                    Some(ErrorCode::NotADatabase) => "the file is not a database",
                    None => "a row holds an unexpected value",
                    Some(_) => "the database refused a statement",
                })
            }
        }
    }
}
