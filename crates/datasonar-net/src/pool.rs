//! Idle connections, kept for the next request to the same place.
//!
//! Bounded three ways: connections per target, connections in all (the oldest gives way), and time. A task that lives only
//! while something is idle closes what has stood too long. A pooled connection needs no new address check: it leads to the
//! address that was checked when it was made.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::channel::Channel;
use crate::connect::Target;

/// The most idle connections of one client, over all targets.
const MAX_IDLE: usize = 1024;

/// How often, at the shortest, expired connections are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

pub(crate) struct Pool {
    per_target: usize,
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    /// By age: the key counts up.
    entries: BTreeMap<u64, Entry>,
    by_target: HashMap<Target, Vec<u64>>,
    next: u64,
    is_swept: bool,
}

struct Entry {
    target: Target,
    channel: Channel,
    expires: Instant,
}

impl Pool {
    pub(crate) fn new(per_target: usize) -> Self {
        Self { per_target, idle: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the connection to `target` that was used last. One that multiplexes stays in the pool too.
    pub(crate) fn take(&self, target: &Target) -> Option<Channel> {
        let mut idle = self.lock();
        loop {
            let id = *idle.by_target.get(target)?.last()?;
            let entry = idle.entries.get(&id)?;
            let usable = entry.expires > Instant::now() && !entry.channel.is_closed();
            if let (true, Some(shared)) = (usable, entry.channel.share()) {
                return Some(shared);
            }
            let entry = idle.remove(id)?;
            if usable {
                return Some(entry.channel);
            }
        }
    }

    /// Keeps a connection for at most `keep`.
    pub(crate) fn put(self: &Arc<Self>, target: Target, mut channel: Channel, keep: Duration) {
        channel.is_reused = true;
        if self.per_target == 0 || keep.is_zero() || channel.is_closed() {
            return;
        }
        let mut idle = self.lock();
        let beside = idle.by_target.get(&target).map_or(&[][..], Vec::as_slice);
        // A second multiplexing connection is of no use; it ends with the requests that are on it.
        if channel.is_shared() && !beside.is_empty() {
            return;
        }
        let oldest = if beside.len() >= self.per_target {
            beside.first().copied()
        } else if idle.entries.len() >= MAX_IDLE {
            idle.entries.first_key_value().map(|(id, _)| *id)
        } else {
            None
        };
        let _evicted = oldest.and_then(|id| idle.remove(id));
        let id = idle.next;
        idle.next += 1;
        idle.by_target.entry(target.clone()).or_default().push(id);
        idle.entries.insert(id, Entry { target, channel, expires: Instant::now() + keep });
        if !idle.is_swept {
            idle.is_swept = true;
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }

    /// Forgets every connection to `target`, when one of them turned out to be dead.
    pub(crate) fn forget(&self, target: &Target) {
        let mut idle = self.lock();
        for id in idle.by_target.remove(target).unwrap_or_default() {
            idle.entries.remove(&id);
        }
    }

    /// Drops what has expired; tells when to look again, or `None` when nothing is left.
    fn drop_expired(&self) -> Option<Instant> {
        let mut idle = self.lock();
        let now = Instant::now();
        let gone = |entry: &Entry| entry.expires <= now || entry.channel.is_closed();
        let expired: Vec<u64> = idle.entries.iter().filter(|(_, entry)| gone(entry)).map(|(id, _)| *id).collect();
        for id in expired {
            idle.remove(id);
        }
        let next = idle.entries.values().map(|entry| entry.expires).min();
        idle.is_swept = next.is_some();
        next.map(|next| next.max(now + SWEEP_EVERY))
    }
}

impl Idle {
    fn remove(&mut self, id: u64) -> Option<Entry> {
        let entry = self.entries.remove(&id)?;
        if let Some(ids) = self.by_target.get_mut(&entry.target) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_target.remove(&entry.target);
            }
        }
        Some(entry)
    }
}

async fn sweep(pool: Weak<Pool>) {
    while let Some(next) = pool.upgrade().and_then(|pool| pool.drop_expired()) {
        sleep_until(next).await;
    }
}
