//! Tenants: accounts with their environments, API keys, webhook secrets and usage.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{AccountId, KeyId, NewLink, SecretId};

/// One of the two sides of an account. Nothing crosses from one to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Environment {
    /// Real work.
    Production,
    /// Trials.
    Sandbox,
}

impl Environment {
    /// The name used in the API, on the command line and in rows.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Sandbox => "sandbox",
        }
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Environment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "production" => Ok(Self::Production),
            "sandbox" => Ok(Self::Sandbox),
            _ => Err(format!("`{text}` is neither `production` nor `sandbox`")),
        }
    }
}

/// The account and environment that a row belongs to and a caller may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Scope {
    /// The tenant.
    pub account: AccountId,
    /// The side of it.
    pub environment: Environment,
}

/// A tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// The address its owner is known by.
    pub email: String,
    /// The name of its plan.
    pub plan: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Whether it is the one that the first start made.
    pub is_built_in: bool,
}

/// An account to be stored, with one secret for each environment.
#[derive(Clone, Debug)]
pub struct NewAccount {
    /// The account.
    pub account: Account,
    /// Its first secrets.
    pub secrets: Vec<NewSecret>,
}

/// An API key to be stored. Its text is shown once by whoever made it and never stored.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Its id.
    pub id: KeyId,
    /// What it opens.
    pub scope: Scope,
    /// SHA-256 of its text.
    pub hash: [u8; 32],
    /// Its first characters, enough to recognise it in a list (`osk_1a2b…`).
    pub prefix: String,
    /// What it is called; may be empty.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// An API key as listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its id.
    pub id: KeyId,
    /// What it opens.
    pub scope: Scope,
    /// Its first characters.
    pub prefix: String,
    /// What it is called; may be empty.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last used, to the minute or so.
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked, if it was.
    pub revoked_at: Option<Timestamp>,
}

/// Who a valid key speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The key.
    pub key: KeyId,
    /// What it opens.
    pub scope: Scope,
}

/// A webhook secret to be stored, already encrypted: the store never sees its text.
#[derive(Clone, Debug)]
pub struct NewSecret {
    /// Its id.
    pub id: SecretId,
    /// Whose deliveries it signs.
    pub scope: Scope,
    /// Its text, encrypted.
    pub sealed: Vec<u8>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A webhook secret as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    /// Its id.
    pub id: SecretId,
    /// Whose deliveries it signs.
    pub scope: Scope,
    /// Its text, encrypted.
    pub sealed: Vec<u8>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops signing; `None` for the newest.
    pub expires_at: Option<Timestamp>,
}

/// What an empty store is filled with at the first start: one account, a key and a secret for each environment, and the link by which its
/// owner signs in.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The built-in account.
    pub account: Account,
    /// Its first keys.
    pub keys: Vec<NewKey>,
    /// Its first secrets, one for each environment.
    pub secrets: Vec<NewSecret>,
    /// Its first links.
    pub links: Vec<NewLink>,
}

/// Pages scraped for a scope, to be added to its usage of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsageSample {
    /// Who used it.
    pub scope: Scope,
    /// When (the UTC day of it is what counts).
    pub at: Timestamp,
    /// Pages asked of target sites.
    pub pages: u64,
    /// How many of them succeeded.
    pub succeeded: u64,
    /// The sum of their times, in milliseconds.
    pub time_ms: u64,
    /// Whether the pages were charged before they were asked for ([`crate::Accounts::charge_pages`]), so that they are not added again.
    pub is_charged: bool,
}

/// The usage of a scope over a span of days.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Pages asked of target sites.
    pub pages: u64,
    /// How many of them succeeded.
    pub succeeded: u64,
    /// The sum of their times, in milliseconds.
    pub time_ms: u64,
}
