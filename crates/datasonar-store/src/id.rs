//! One type per kind of id, so that a delivery's id cannot be passed where a job's is meant.
//!
//! All ids are UUIDs of version 7, minted by the caller: they sort by the time of their making.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! id {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    )*};
}

id! {
    /// A tenant.
    AccountId;
    /// An API key (the row, never its text).
    KeyId;
    /// A webhook secret (the row, never its text).
    SecretId;
    /// An accepted request.
    JobId;
    /// One payload owed to one endpoint: the `webhook-id` of every attempt.
    DeliveryId;
    /// One POST of a delivery.
    AttemptId;
    /// A bulk replay.
    ReplayId;
    /// A schedule.
    ScheduleId;
    /// A person who signs in.
    UserId;
    /// A link that opens the door once (the row, never its token).
    LinkId;
    /// One running process of Datasonar, new at each start: the owner of leases.
    ProcessId;
}
