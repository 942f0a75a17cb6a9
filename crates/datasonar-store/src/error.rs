//! What can go wrong in the store, sorted by what the caller can do about it.

use crate::LimitReached;

/// The result of a step.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// Why a step did not happen. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No such row within the caller's scope; another scope's row answers the same.
    #[error("not found")]
    NotFound,
    /// The lease was taken over, or its work was ended by somebody else. The holder drops what it did.
    #[error("the lease is no longer held")]
    LeaseLost,
    /// The row's state does not allow the step; the text says why, fit for a client.
    #[error("{0}")]
    Conflict(String),
    /// The idempotency key was used before with another body.
    #[error("the idempotency key was used before with another request")]
    IdempotencyMismatch,
    /// It would be more than the account's plan allows.
    #[error("{0}")]
    LimitReached(LimitReached),
    /// The database is busy, full, locked or gone for now: the same step may succeed later.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The database holds what it must not hold, or refused a statement: a defect or a damaged file.
    #[error("the store is broken: {0}")]
    Corrupt(String),
}

impl StoreError {
    /// Tells whether trying the same step again later may succeed.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}
