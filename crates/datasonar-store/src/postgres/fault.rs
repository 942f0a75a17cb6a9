//! What PostgreSQL's errors mean.
//!
//! The texts say what an operator can act on and never quote a statement; the whole error goes to the log.

use tokio_postgres::error::SqlState;

use crate::StoreError;
use crate::sql::{corrupt, unavailable};

/// What is to be done about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// The connection is of no use any more: the same on another.
    Reconnect,
    /// The transaction was given up: the same again.
    Again,
    /// Nothing: the statement was refused.
    None,
}

/// Tells what is to be done.
pub(super) fn remedy(error: &tokio_postgres::Error) -> Remedy {
    let Some(state) = error.code() else { return Remedy::Reconnect };
    let again = [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::QUERY_CANCELED,
    ];
    if again.contains(state) {
        return Remedy::Again;
    }
    // Connection exceptions; too many connections, out of memory, disk full; operator intervention, such as a shutdown; and the
    // time-outs that end a session.
    let passes = ["08", "53", "57", "25P03", "25P04"].iter().any(|class| state.code().starts_with(class));
    if passes { Remedy::Reconnect } else { Remedy::None }
}

/// What a step is told.
pub(super) fn told(error: &tokio_postgres::Error) -> StoreError {
    match remedy(error) {
        Remedy::Reconnect | Remedy::Again => {
            tracing::warn!(%error, source = source(error), "the database is not available");
            unavailable(reason(error))
        }
        Remedy::None if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => {
            tracing::warn!(%error, source = source(error), "a row exists already");
            StoreError::Conflict("it exists already".to_owned())
        }
        Remedy::None if refusal(error).is_some() => {
            tracing::error!(%error, "the database refuses the connection or its user");
            unavailable(refusal(error).unwrap_or_default())
        }
        Remedy::None => {
            tracing::error!(%error, source = source(error), "the database refused a statement");
            corrupt("the database refused a statement")
        }
    }
}

/// What an operator has to mend where the database is, or in its URL.
fn refusal(error: &tokio_postgres::Error) -> Option<&'static str> {
    match error.code()?.code() {
        "3D000" => Some("there is no database of that name on the server"),
        "42501" => {
            Some("the user may not do that in the database: it needs CREATE on it once, and then its own tables")
        }
        state if state.starts_with("28") => Some("the database refuses that user or its password"),
        _ => None,
    }
}

fn reason(error: &tokio_postgres::Error) -> &'static str {
    match error.code() {
        Some(state) if state.code().starts_with("53") => "the database is out of disk, memory or connections",
        Some(_) => "the database is busy or restarting",
        None => "the database cannot be reached",
    }
}

fn source(error: &tokio_postgres::Error) -> String {
    std::error::Error::source(error).map(ToString::to_string).unwrap_or_default()
}
