//! Gets one URL: politely, within limits, and more than once if need be.
//!
//! A page first waits for its host ([`hosts`]), then for a fetch slot, so that a slow host's queue holds no slot. Both
//! queues are shared fairly among tenants and jobs ([`fair_semaphore`]), and the host's holds over all processes
//! ([`sharing`]): a single scrape does not wait behind a batch, and no tenant behind another's silent hosts. A request that
//! waits for its host's answer gives up its slot to a tenant that has fewer, and is made again with the time that is left
//! ([`time_limit`]). What opens sockets is `datasonar_net`; what a failure means for the page is decided by the caller.

mod fair_semaphore;
mod fetcher;
mod hosts;
mod learned;
#[cfg(test)]
pub(crate) mod memory_net;
pub(crate) mod percent;
mod robots;
mod robots_rules;
mod sharing;
mod time_limit;

pub use fair_semaphore::{FairSemaphore, Permit, Priority, Requester};
pub use fetcher::{Answer, Fetch, FetchSettings, Fetcher, Outcome, Tried};
pub use hosts::{Gap, Hosts};
pub use robots::{Robots, SiteRules};
pub use robots_rules::RobotsRules;
pub use sharing::{Ask, Grant, LEASE as SHARE_LEASE, Shares};
pub use time_limit::TimeLimit;
