//! Bulk replays: a selection of deliveries sent again, a few at a time.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{DeliveryStatus, ReplayId, Scope, job::names};

/// Which deliveries of a scope are meant: those that fit everything that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only those that stand there.
    pub status: Option<DeliveryStatus>,
    /// Only those that became owed then or later.
    pub since: Option<Timestamp>,
    /// Only those that became owed before.
    pub until: Option<Timestamp>,
    /// Only those of exactly this endpoint.
    pub url: Option<String>,
}

/// Where a bulk replay stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplayStatus {
    /// Deliveries are left to look at.
    Started,
    /// All were looked at.
    Completed,
    /// It was stopped by a person. What it had marked by then is sent all the same.
    Cancelled,
}

names!(ReplayStatus { Started => "started", Completed => "completed", Cancelled => "cancelled" });

/// A bulk replay to be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewReplay {
    /// Its id.
    pub id: ReplayId,
    /// Whose it is.
    pub scope: Scope,
    /// What it sends again.
    pub selection: Selection,
    /// When it was asked for.
    pub created_at: Timestamp,
}

/// A bulk replay as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// Its id.
    pub id: ReplayId,
    /// Whose it is.
    pub scope: Scope,
    /// What it sends again.
    pub selection: Selection,
    /// Where it stands.
    pub status: ReplayStatus,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// How many deliveries were selected when it was asked for.
    pub matched: u64,
    /// How many of them it has marked so far: to be sent, or found with a replay due or under way already.
    pub replayed: u64,
}

/// How far a step took the bulk replays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Advance {
    /// How many deliveries it marked.
    pub replayed: u32,
    /// Whether some bulk replay has work that can go on now.
    pub more: bool,
}
