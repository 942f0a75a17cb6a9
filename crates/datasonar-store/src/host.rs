//! Hosts of pages, as far as processes share them: how many requests each may have open, and when they may begin.
//!
//! An operator's limits hold for a host over all processes. Each process asks for what it needs, counts by itself what it was granted, and
//! asks again before the grant runs out; the rows only say who was granted what. The moments at which requests may begin are given out one
//! after another, each once.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::{ProcessId, Result};

/// 128 bits that stand for a host: minted by the caller, compared here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostKey(pub [u8; 16]);

/// What a process needs of one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostAsk {
    /// Which.
    pub host: HostKey,
    /// How many requests it has open.
    pub in_use: u32,
    /// How many it has open or would open. None: what it was granted is given back.
    pub wants: u32,
    /// For how many it needs a moment to begin.
    pub starts: u32,
    /// The least time between two of these moments.
    pub gap: Duration,
    /// For how long, from now, the host asked to be left alone.
    pub rest: Duration,
}

/// Hosts that a process asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareHosts {
    /// Who asks.
    pub owner: ProcessId,
    /// What for.
    pub asks: Vec<HostAsk>,
    /// How many requests one host may have open, over all processes.
    pub concurrency: u32,
    /// The time.
    pub now: Timestamp,
    /// How long a grant holds.
    pub lease: Duration,
}

/// What a process may do with one host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostGrant {
    /// How many requests it may have open. When it has more, it is to open none until it has fewer.
    pub permits: u32,
    /// The first of the moments asked for, when they were.
    pub first_start: Option<Timestamp>,
    /// Whether anybody has been given moments of this host lately: then nobody may begin without.
    pub is_paced: bool,
}

/// Shares hosts out among processes.
#[async_trait]
pub trait HostShares: Send + Sync + 'static {
    /// Grants what there is of each host, in the order asked. Over all processes whose grants have not run out, a host's open requests are no
    /// more than `concurrency`; while one has less than it wants, none is granted more than its even share, but what it has open.
    async fn share_hosts(&self, share: ShareHosts) -> Result<Vec<HostGrant>>;
}
