//! Gets one URL: politely, within limits, and more than once if need be.
//!
//! A page first waits for its host ([`hosts`]), then for a fetch slot, so that a slow host's queue holds no slot. Both
//! queues serve jobs in turn ([`turns`]), and the host's holds over all processes ([`sharing`]): a single scrape does not wait behind a batch. What opens sockets is
//! `datasonar_net`; what a failure means for the page is decided by whoever called.

mod fair_semaphore;
mod fetcher;
mod hosts;
#[cfg(test)]
pub(crate) mod memory_net;
pub(crate) mod percent;
mod robots;
mod robots_rules;
mod sharing;
mod turns;

pub use fair_semaphore::{FairSemaphore, Permit, Requester};
pub use fetcher::{Answer, Fetch, FetchSettings, Fetcher, Outcome, Tried};
pub use hosts::Hosts;
pub use robots::{Robots, SiteRules};
pub use robots_rules::RobotsRules;
pub use sharing::{Ask, Grant, LEASE as SHARE_LEASE, Shares};
pub use turns::{Turn, Turns};
