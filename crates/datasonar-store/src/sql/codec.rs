//! How values stand in columns: ids as 16 bytes, times as milliseconds, enums as their names, lists as JSON.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use super::value::text;
use super::{Error, FromValue, Row, ToValue, Value, corrupt};
use crate::{
    AccountId, AttemptId, DeliveryId, DeliveryStatus, Environment, HostKey, JobId, JobKind, JobStatus, KeyId, Lane,
    LinkId, MemberRole, Overlap, ProcessId, ReplayId, ReplayStatus, Result, RunTrigger, ScheduleId, SecretId,
    SkipReason, Trigger, UrlKey, UserId,
};

macro_rules! ids {
    ($($name:ident),*) => {$(
        impl ToValue for $name {
            fn value(&self) -> super::Result<Value<'_>> {
                Ok(Value::Bytes(self.0.as_bytes()[..].into()))
            }
        }

        impl FromValue for $name {
            fn from_value(value: &Value<'static>) -> super::Result<Self> {
                <[u8; 16]>::from_value(value).map(|bytes| Self(Uuid::from_bytes(bytes)))
            }
        }
    )*};
}

ids!(AccountId, KeyId, SecretId, JobId, DeliveryId, AttemptId, ProcessId, ReplayId, ScheduleId, UserId, LinkId);

macro_rules! names {
    ($($name:ident),*) => {$(
        impl ToValue for $name {
            fn value(&self) -> super::Result<Value<'_>> {
                Ok(Value::Text(self.as_str().into()))
            }
        }

        impl FromValue for $name {
            fn from_value(value: &Value<'static>) -> super::Result<Self> {
                text(value)?.parse().map_err(Error::Unexpected)
            }
        }
    )*};
}

names!(
    Environment,
    MemberRole,
    JobKind,
    JobStatus,
    DeliveryStatus,
    Trigger,
    Lane,
    ReplayStatus,
    SkipReason,
    Overlap,
    RunTrigger
);

impl ToValue for HostKey {
    fn value(&self) -> super::Result<Value<'_>> {
        self.0.value()
    }
}

impl ToValue for UrlKey {
    fn value(&self) -> super::Result<Value<'_>> {
        self.0.value()
    }
}

/// A time as it stands in a row: what is finer than a millisecond is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Millis(pub(crate) Timestamp);

impl ToValue for Millis {
    fn value(&self) -> super::Result<Value<'_>> {
        Ok(Value::Int(self.0.as_millisecond()))
    }
}

impl FromValue for Millis {
    fn from_value(value: &Value<'static>) -> super::Result<Self> {
        let ms = i64::from_value(value)?;
        Timestamp::from_millisecond(ms).map(Self).map_err(|_| Error::Unexpected(format!("{ms} is no time")))
    }
}

/// Reads a time that may be missing.
pub(crate) fn time(row: &Row, column: &str) -> super::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<Millis>>(column)?.map(|at| at.0))
}

/// Adds a duration; what would lie past the end of time is the end of time.
pub(crate) fn later(at: Timestamp, by: Duration) -> Millis {
    Millis(at.saturating_add(by).unwrap_or(Timestamp::MAX))
}

/// The UTC day of a time, in days since 1970.
pub(crate) fn day(at: Timestamp) -> i64 {
    at.as_millisecond().div_euclid(24 * 60 * 60 * 1000)
}

/// A count as it stands in a row.
pub(crate) fn count(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A value that stands in a row as JSON.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: Serialize> ToValue for Json<T> {
    fn value(&self) -> super::Result<Value<'_>> {
        let text = serde_json::to_string(&self.0).map_err(|error| Error::Unexpected(error.to_string()))?;
        Ok(Value::Text(text.into()))
    }
}

impl<T: DeserializeOwned> FromValue for Json<T> {
    fn from_value(value: &Value<'static>) -> super::Result<Self> {
        serde_json::from_str(text(value)?).map(Self).map_err(|error| Error::Unexpected(error.to_string()))
    }
}

/// Narrows a number that was computed from rows or given by a caller.
pub(crate) fn narrow<T, U>(value: T) -> Result<U>
where
    U: TryFrom<T>,
    U::Error: fmt::Display,
{
    U::try_from(value).map_err(|error| corrupt(format!("a number is out of range: {error}")))
}

/// An id that no row has: every other sorts before it.
pub(crate) fn last_id() -> Uuid {
    Uuid::max()
}

/// Reads a count: numbers in rows have a sign.
pub(crate) fn unsigned(row: &Row, column: &str) -> super::Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| Error::Unexpected(format!("{column}: {value} is negative")))
}
