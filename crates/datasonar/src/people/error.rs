//! What can go wrong, in words for the person it happens to. What the store says of itself is for logs and not for them.

use std::time::Duration;

use datasonar_store::StoreError;

use super::{EmailError, PasswordError};

/// What a caller is told whose turn does not come.
const BUSY: &str = "too many people are signing in at this moment; try again";

fn in_words(wait: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_secs(wait.as_millis().div_ceil(1_000) as u64))
}

/// Why nobody was signed in.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// E-mail address and password do not belong together.
    #[error("the e-mail address or the password is wrong")]
    Wrong,
    /// Too many failures; nothing was verified.
    #[error("too many failed attempts; try again in {}", in_words(*retry_after))]
    TooMany {
        /// When it may be tried again.
        retry_after: Duration,
    },
    /// Too many are at it.
    #[error("{BUSY}")]
    Busy,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a link was not used.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// It was used, has expired, was withdrawn, or never was.
    #[error("this link was used, withdrawn or has expired; ask for a new one")]
    Gone,
    /// It was made for another address.
    #[error("this link was made for another e-mail address")]
    OtherEmail,
    /// The e-mail address is none.
    #[error(transparent)]
    Email(#[from] EmailError),
    /// The password cannot be used.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// It cannot be used by this person.
    #[error("{0}")]
    Refused(String),
    /// Too many are at it.
    #[error("{BUSY}")]
    Busy,
    /// The store failed.
    #[error(transparent)]
    Store(StoreError),
}

impl From<StoreError> for AcceptError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound => Self::Gone,
            StoreError::Conflict(told) => Self::Refused(told),
            error => Self::Store(error),
        }
    }
}

/// Why a password was not changed.
#[derive(Debug, thiserror::Error)]
pub enum NewPasswordError {
    /// The old one is another.
    #[error("the present password is another one")]
    Wrong,
    /// Too many failures; nothing was verified.
    #[error("too many failed attempts; try again in {}", in_words(*retry_after))]
    TooMany {
        /// When it may be tried again.
        retry_after: Duration,
    },
    /// The new one cannot be used.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// Too many are at it.
    #[error("{BUSY}")]
    Busy,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<SignInError> for NewPasswordError {
    fn from(error: SignInError) -> Self {
        match error {
            SignInError::Wrong => Self::Wrong,
            SignInError::TooMany { retry_after } => Self::TooMany { retry_after },
            SignInError::Busy => Self::Busy,
            SignInError::Store(error) => Self::Store(error),
        }
    }
}

/// Why no link was made.
#[derive(Debug, thiserror::Error)]
pub enum InviteError {
    /// The e-mail address is none.
    #[error(transparent)]
    Email(#[from] EmailError),
    /// There are too many.
    #[error("{0}")]
    Refused(String),
    /// The store failed.
    #[error(transparent)]
    Store(StoreError),
}

impl From<StoreError> for InviteError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict(told) => Self::Refused(told),
            error => Self::Store(error),
        }
    }
}

/// Why a member or a link stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    /// There is none (any more).
    #[error("there is no such member or invitation any more")]
    NotFound,
    /// The account would be without an owner.
    #[error("{0}")]
    Refused(String),
    /// The store failed.
    #[error(transparent)]
    Store(StoreError),
}

impl From<StoreError> for MemberError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound => Self::NotFound,
            StoreError::Conflict(told) => Self::Refused(told),
            error => Self::Store(error),
        }
    }
}
