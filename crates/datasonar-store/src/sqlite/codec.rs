//! How values stand in columns: ids as 16 bytes, times as milliseconds, enums as their names, lists as JSON.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, Value, ValueRef};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use super::fault::corrupt;
use crate::{
    AccountId, AttemptId, DeliveryId, DeliveryStatus, Environment, JobId, JobKind, JobStatus, KeyId, Lane, Overlap,
    ProcessId, ReplayId, ReplayStatus, Result, RunTrigger, ScheduleId, SecretId, SkipReason, Trigger, UrlKey,
};

macro_rules! ids {
    ($($name:ident),*) => {$(
        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(ToSqlOutput::Borrowed(ValueRef::Blob(self.0.as_bytes())))
            }
        }

        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                <[u8; 16]>::column_result(value).map(|bytes| Self(Uuid::from_bytes(bytes)))
            }
        }
    )*};
}

ids!(AccountId, KeyId, SecretId, JobId, DeliveryId, AttemptId, ProcessId, ReplayId, ScheduleId);

macro_rules! names {
    ($($name:ident),*) => {$(
        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(ToSqlOutput::from(self.as_str()))
            }
        }

        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                value.as_str()?.parse().map_err(|text: String| FromSqlError::Other(text.into()))
            }
        }
    )*};
}

names!(Environment, JobKind, JobStatus, DeliveryStatus, Trigger, Lane, ReplayStatus, SkipReason, Overlap, RunTrigger);

impl ToSql for UrlKey {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Blob(&self.0)))
    }
}

/// A time as it stands in a row: what is finer than a millisecond is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Millis(pub(super) Timestamp);

impl ToSql for Millis {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.0.as_millisecond()))
    }
}

impl FromSql for Millis {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let ms = value.as_i64()?;
        Timestamp::from_millisecond(ms).map(Self).map_err(|_| FromSqlError::OutOfRange(ms))
    }
}

/// Reads a time that may be missing.
pub(super) fn time(row: &rusqlite::Row<'_>, column: &str) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<Millis>>(column)?.map(|at| at.0))
}

/// Adds a duration; what would lie past the end of time is the end of time.
pub(super) fn later(at: Timestamp, by: Duration) -> Millis {
    Millis(at.saturating_add(by).unwrap_or(Timestamp::MAX))
}

/// The UTC day of a time, in days since 1970.
pub(super) fn day(at: Timestamp) -> i64 {
    at.as_millisecond().div_euclid(24 * 60 * 60 * 1000)
}

/// A count as it stands in a row.
pub(super) fn count(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A value that stands in a row as JSON.
pub(super) struct Json<T>(pub(super) T);

impl<T: Serialize> ToSql for Json<T> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        serde_json::to_string(&self.0)
            .map(|text| ToSqlOutput::Owned(Value::Text(text)))
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
    }
}

impl<T: DeserializeOwned> FromSql for Json<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        serde_json::from_str(value.as_str()?).map(Self).map_err(|error| FromSqlError::Other(error.into()))
    }
}

/// Narrows a number that was computed from rows or given by a caller.
pub(super) fn narrow<T, U>(value: T) -> Result<U>
where
    U: TryFrom<T>,
    U::Error: fmt::Display,
{
    U::try_from(value).map_err(|error| corrupt(format!("a number is out of range: {error}")))
}

/// An id that no row has: every other sorts before it.
pub(super) fn last_id() -> Uuid {
    Uuid::max()
}

/// Reads a count: SQLite's numbers have a sign.
pub(super) fn unsigned(row: &rusqlite::Row<'_>, column: &str) -> rusqlite::Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| FromSqlError::OutOfRange(value).into())
}
