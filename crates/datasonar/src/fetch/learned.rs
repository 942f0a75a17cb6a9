//! What tenants have learned of hosts: how long a host asked to be left alone, and how far apart its requests are to begin.
//!
//! A tenant is slowed by what it was told itself. What others were told does not slow it: a host that is really overloaded
//! tells each of them. The number of records is limited, for each tenant and for all.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use datasonar_store::Scope;
use parking_lot::Mutex;
use tokio::time::Instant;

/// Hosts that are remembered for one tenant, and tenants that are remembered.
const HOSTS: usize = 1_024;
const TENANTS: usize = 4_096;
/// The gap between requests to a host that has said for the first time that it is overloaded; it doubles each time.
pub(super) const FIRST_GAP: Duration = Duration::from_millis(250);
const LARGEST_GAP: Duration = Duration::from_secs(10);
/// With each answer that is none of overload the gap shrinks by a tenth, until it is gone.
const SHRINKS_TO: f64 = 0.9;
const SMALLEST_GAP: Duration = Duration::from_millis(20);
/// A host is left alone for so long at most, whatever it asks for.
pub(super) const LONGEST_REST: Duration = Duration::from_secs(120);
/// For how long it is not asked again what the tenant learned in other processes.
const SHARED_FOR: Duration = Duration::from_secs(5);

/// What all tenants know.
#[derive(Debug, Default)]
pub(super) struct Learned(Mutex<BTreeMap<Scope, HashMap<String, Lesson>>>);

/// What one tenant knows of one host.
#[derive(Clone, Copy, Debug, Default)]
struct Lesson {
    /// When the tenant's next request may begin.
    next: Option<Instant>,
    /// The gap that the host's answers ask for.
    gap: Duration,
    /// Answers in a row that may have been of overload.
    doubts: u32,
    /// When other processes were asked last.
    shared: Option<Instant>,
}

impl Lesson {
    fn is_void(&self, now: Instant) -> bool {
        let is_over = |time: Option<Instant>, hold: Duration| time.is_none_or(|time| time + hold <= now);
        self.gap.is_zero() && self.doubts == 0 && is_over(self.next, Duration::ZERO) && is_over(self.shared, SHARED_FOR)
    }
}

impl Learned {
    /// When the tenant's next request to the host may begin, if that is known.
    pub(super) fn next(&self, host: &str, tenant: Scope) -> Option<Instant> {
        self.0.lock().get(&tenant)?.get(host)?.next
    }

    /// The gap that the host wants between the tenant's requests.
    pub(super) fn gap(&self, host: &str, tenant: Scope) -> Duration {
        self.0.lock().get(&tenant).and_then(|hosts| hosts.get(host)).map_or(Duration::ZERO, |lesson| lesson.gap)
    }

    /// Begins a request that keeps at least `gap` to the next, unless it is too soon.
    pub(super) fn begin(&self, host: &str, tenant: Scope, gap: Duration, now: Instant) -> bool {
        let mut all = self.0.lock();
        let known = all.get_mut(&tenant).and_then(|hosts| hosts.get_mut(host));
        match known {
            Some(lesson) if lesson.next.is_some_and(|next| next > now) => false,
            Some(lesson) => {
                let gap = gap.max(lesson.gap);
                lesson.next = (!gap.is_zero()).then(|| now + gap);
                true
            }
            None if gap.is_zero() => true,
            None => {
                drop(all);
                self.lesson(host, tenant, now, |lesson| lesson.next = Some(now + gap));
                true
            }
        }
    }

    /// Learns that the host said it is overloaded. Returns for how long it is left alone.
    pub(super) fn overloaded(&self, host: &str, tenant: Scope, rest: Duration) -> Duration {
        let now = Instant::now();
        self.lesson(host, tenant, now, |lesson| {
            lesson.gap = (lesson.gap * 2).clamp(FIRST_GAP, LARGEST_GAP);
            let rest = rest.min(LONGEST_REST).max(lesson.gap);
            lesson.next = lesson.next.max(Some(now + rest));
            rest
        })
    }

    /// Learns that the host gave an answer that may mean overload. Tells whether it was the second in a row, or a later one.
    pub(super) fn doubts(&self, host: &str, tenant: Scope) -> bool {
        self.lesson(host, tenant, Instant::now(), |lesson| {
            lesson.doubts = lesson.doubts.saturating_add(1);
            lesson.doubts > 1
        })
    }

    /// Learns that the host gave an answer that is none of overload.
    pub(super) fn answered(&self, host: &str, tenant: Scope) {
        let mut all = self.0.lock();
        let Some(lesson) = all.get_mut(&tenant).and_then(|hosts| hosts.get_mut(host)) else { return };
        lesson.doubts = 0;
        let gap = lesson.gap.mul_f64(SHRINKS_TO);
        lesson.gap = if gap < SMALLEST_GAP { Duration::ZERO } else { gap };
    }

    /// Tells whether it is time to ask what the tenant learned of the host in other processes, and takes it as done.
    pub(super) fn take_sharing(&self, host: &str, tenant: Scope) -> bool {
        let now = Instant::now();
        self.lesson(host, tenant, now, |lesson| {
            let is_due = lesson.shared.is_none_or(|shared| shared + SHARED_FOR <= now);
            if is_due {
                lesson.shared = Some(now);
            }
            is_due
        })
    }

    /// Changes what a tenant knows of a host, and makes room for it if there is none.
    fn lesson<T>(&self, host: &str, tenant: Scope, now: Instant, change: impl FnOnce(&mut Lesson) -> T) -> T {
        let mut all = self.0.lock();
        if all.len() >= TENANTS && !all.contains_key(&tenant) {
            all.retain(|_, hosts| {
                hosts.retain(|_, lesson| !lesson.is_void(now));
                !hosts.is_empty()
            });
            if all.len() >= TENANTS {
                all.pop_first();
            }
        }
        let hosts = all.entry(tenant).or_default();
        if hosts.len() >= HOSTS && !hosts.contains_key(host) {
            hosts.retain(|_, lesson| !lesson.is_void(now));
            // The lessons that end first are the least loss.
            let first = hosts.iter().min_by_key(|(host, lesson)| (lesson.next, *host)).map(|(host, _)| host.clone());
            if let Some(first) = first.filter(|_| hosts.len() >= HOSTS) {
                hosts.remove(&first);
            }
        }
        change(hosts.entry(host.to_owned()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use datasonar_store::{AccountId, Environment};
    use uuid::Uuid;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_is_limited_and_each_tenant_forgets_its_own() {
        let learned = Learned::default();
        let tenant =
            |number: u128| Scope { account: AccountId(Uuid::from_u128(number)), environment: Environment::Production };
        learned.overloaded("host", tenant(0), Duration::from_secs(60));
        for n in 0..3 * HOSTS {
            learned.overloaded(&format!("host-{n}"), tenant(1), Duration::from_secs(n as u64 % 100));
        }
        assert!(learned.0.lock()[&tenant(1)].len() <= HOSTS);
        assert!(learned.next("host", tenant(0)).is_some());
        for n in 0..2 * TENANTS {
            learned.overloaded("host", tenant(n as u128), Duration::from_secs(60));
        }
        assert!(learned.0.lock().len() <= TENANTS);
    }
}
