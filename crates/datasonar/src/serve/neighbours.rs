//! What a server does because others share its store: it goes by the store's time, wakes the others and is woken by them, and shares with
//! them what hosts put up with.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use datasonar_store::{HostAsk, HostKey, HostShares, ProcessId, Result, ShareHosts, postgres::PostgresStore};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    crypto::sha256,
    fetch::{Ask, Grant, SHARE_LEASE, Shares},
    wake::Wake,
};

/// How often the store is asked for its time: in between the machine's own counter strays by no more than a millisecond or two.
const ASK: Duration = Duration::from_secs(60);

/// Asks the store for its time.
pub(super) async fn follow_time(store: &PostgresStore, clock: &dyn Clock) -> Result<()> {
    clock.follow(store.time().await?);
    Ok(())
}

/// Goes by the store's time until told to stop.
pub(super) async fn keep_time(store: Arc<PostgresStore>, clock: Arc<dyn Clock>, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(ASK)).await.is_some() {
        if let Err(error) = follow_time(&store, &*clock).await {
            tracing::debug!(%error, "the store's time is not known for now");
        }
    }
}

/// Wakes the others and is woken by them until told to stop.
pub(super) async fn exchange_notices(store: Arc<PostgresStore>, wake: Wake, stop: CancellationToken) {
    let rung = wake.clone();
    let next = move || {
        let wake = rung.clone();
        async move { wake.notice().await }
    };
    stop.run_until_cancelled(store.notices().exchange(next, move |notice| wake.heard(notice))).await;
}

/// Hosts, shared out by the store.
pub(super) struct SharedHosts {
    /// This process.
    pub(super) owner: ProcessId,
    /// Where the shares are kept.
    pub(super) store: Arc<dyn HostShares>,
    /// The time.
    pub(super) clock: Arc<dyn Clock>,
    /// How many requests a host may have open, over all processes.
    pub(super) concurrency: usize,
}

#[async_trait]
impl Shares for SharedHosts {
    async fn share(&self, asks: Vec<Ask>) -> Option<Vec<Grant>> {
        let now = self.clock.now();
        let ask = |ask: &Ask| HostAsk {
            host: key(&ask.host),
            in_use: number(ask.in_use),
            wants: number(ask.wants),
            starts: ask.starts,
            gap: ask.gap,
            rest: ask.rest,
        };
        let share = ShareHosts {
            owner: self.owner,
            asks: asks.iter().map(ask).collect(),
            concurrency: number(self.concurrency),
            now,
            lease: SHARE_LEASE,
        };
        let grants = self.store.share_hosts(share).await;
        let grants = grants.inspect_err(|error| tracing::warn!(%error, "hosts cannot be shared")).ok()?;
        let answered = self.clock.now();
        let grant = |grant: datasonar_store::HostGrant| Grant {
            permits: grant.permits as usize,
            // A millisecond more: times in rows are cut off there.
            first_start: grant.first_start.map_or(Duration::ZERO, |first| {
                Duration::try_from(first.duration_since(answered)).unwrap_or_default() + Duration::from_millis(1)
            }),
            is_paced: grant.is_paced,
        };
        Some(grants.into_iter().map(grant).collect())
    }
}

fn key(host: &str) -> HostKey {
    let hash = sha256(host.as_bytes());
    HostKey(*hash.first_chunk().expect("a hash is longer"))
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use datasonar_store::{
        AccountId, Environment, Scope, StoreError,
        sqlite::{SqliteStore, Threading},
    };
    use jiff::{SignedDuration, Timestamp};
    use parking_lot::Mutex;
    use tokio::{task::JoinSet, time::Instant};
    use tokio_util::task::AbortOnDropHandle;
    use uuid::Uuid;

    use super::*;
    use crate::fetch::{FairSemaphore, Gap, Hosts, Priority, Requester};

    /// The time of tokio's timer, which the tests pause.
    struct TimerClock(Instant);

    #[async_trait]
    impl Clock for TimerClock {
        fn now(&self) -> Timestamp {
            let begin = Timestamp::from_second(1_800_000_000).unwrap();
            begin + SignedDuration::try_from(self.0.elapsed()).unwrap()
        }

        async fn sleep_until(&self, time: Timestamp) {
            tokio::time::sleep(time.duration_since(self.now()).unsigned_abs()).await;
        }
    }

    /// A store that can be out of reach.
    struct Reachable(Arc<SqliteStore>, AtomicBool);

    #[async_trait]
    impl HostShares for Reachable {
        async fn share_hosts(&self, share: ShareHosts) -> Result<Vec<datasonar_store::HostGrant>> {
            if self.1.load(Ordering::Relaxed) {
                self.0.share_hosts(share).await
            } else {
                Err(StoreError::Unavailable("out of reach".to_owned()))
            }
        }
    }

    /// Processes on one store, and what hosts see of them.
    struct Neighbours {
        store: Arc<Reachable>,
        clock: Arc<TimerClock>,
        open: Arc<AtomicUsize>,
        most: Arc<AtomicUsize>,
        starts: Arc<Mutex<Vec<(usize, Instant)>>>,
    }

    struct Process {
        number: usize,
        hosts: Hosts,
        _sharing: AbortOnDropHandle<()>,
    }

    impl Neighbours {
        async fn new() -> Self {
            let store = SqliteStore::in_memory(Threading::Inline).await.unwrap();
            Self {
                store: Arc::new(Reachable(store, AtomicBool::new(true))),
                clock: Arc::new(TimerClock(Instant::now())),
                open: Arc::default(),
                most: Arc::default(),
                starts: Arc::default(),
            }
        }

        fn process(&self, number: usize, concurrency: usize, delay: Duration) -> Process {
            let owner = ProcessId(Uuid::from_u128(number as u128));
            let (store, clock) = (self.store.clone(), self.clock.clone());
            let shares = SharedHosts { owner, store, clock, concurrency };
            let hosts = Hosts::shared(concurrency, delay, Arc::new(shares));
            let sharing = hosts.clone();
            let _sharing = AbortOnDropHandle::new(tokio::spawn(async move { sharing.keep_sharing().await }));
            Process { number, hosts, _sharing }
        }

        /// Makes so many requests to one host, all at once, that take so long each.
        fn request(&self, process: &Process, count: usize, time: Duration, requests: &mut JoinSet<()>) {
            for _ in 0..count {
                let (hosts, number) = (process.hosts.clone(), process.number);
                let (open, most, starts) = (self.open.clone(), self.most.clone(), self.starts.clone());
                requests.spawn(async move {
                    let _turn = hosts
                        .enter("host", NOBODY, Gap::default(), &FairSemaphore::new(1_000), Priority::default())
                        .await;
                    starts.lock().push((number, Instant::now()));
                    most.fetch_max(open.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                    tokio::time::sleep(time).await;
                    open.fetch_sub(1, Ordering::Relaxed);
                });
            }
        }
    }

    const NOBODY: Requester = somebody(0);

    const fn somebody(number: u128) -> Requester {
        let tenant = Scope { account: AccountId(Uuid::from_u128(number)), environment: Environment::Production };
        Requester { tenant, job: Uuid::nil() }
    }

    const NO_DELAY: Duration = Duration::ZERO;
    const TENTH: Duration = Duration::from_millis(100);

    #[tokio::test(start_paused = true)]
    async fn a_host_gets_no_more_requests_than_from_one_process_and_each_gets_its_share() {
        let all = Neighbours::new().await;
        let processes = [1, 2, 3].map(|number| all.process(number, 8, NO_DELAY));
        let begin = Instant::now();
        let mut requests = JoinSet::new();
        all.request(&processes[0], 400, TENTH, &mut requests);
        tokio::time::sleep(Duration::from_secs(1)).await;
        // The host is busy with the first already when the others come.
        all.request(&processes[1], 200, TENTH, &mut requests);
        all.request(&processes[2], 200, TENTH, &mut requests);
        requests.join_all().await;
        assert_eq!(all.most.load(Ordering::Relaxed), 8);
        let took = begin.elapsed();
        assert!(took < Duration::from_secs(16), "800 requests of 0.1 s, 8 at a time, are 10 s: {took:?}");
        for number in [2, 3] {
            let first = all.starts.lock().iter().find(|start| start.0 == number).unwrap().1 - begin;
            assert!(first < Duration::from_millis(1_900), "{number} waited until {first:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_of_all_processes_begin_apart() {
        let all = Neighbours::new().await;
        let processes = [1, 2].map(|number| all.process(number, 8, TENTH));
        let begin = Instant::now();
        let mut requests = JoinSet::new();
        for process in &processes {
            all.request(process, 50, Duration::from_millis(30), &mut requests);
        }
        requests.join_all().await;
        let mut starts: Vec<_> = all.starts.lock().iter().map(|start| start.1).collect();
        starts.sort();
        for pair in starts.windows(2) {
            assert!(pair[1] - pair[0] >= TENTH - Duration::from_millis(2), "{:?}", pair[1] - pair[0]);
        }
        assert!(begin.elapsed() < Duration::from_secs(14), "100 requests are 10 s: {:?}", begin.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_rest_that_a_tenant_was_asked_for_holds_in_all_processes_and_for_that_tenant_alone() {
        let all = Neighbours::new().await;
        let processes = [1, 2].map(|number| all.process(number, 8, NO_DELAY));
        processes[0].hosts.overloaded("host", NOBODY.tenant, Duration::from_secs(20));
        let begin = Instant::now();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let slots = FairSemaphore::new(1);
        drop(processes[1].hosts.enter("host", somebody(1), Gap::default(), &slots, Priority::default()).await);
        assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
        drop(
            processes[1].hosts.enter("host", NOBODY, Gap::default(), &FairSemaphore::new(1), Priority::default()).await,
        );
        assert!(begin.elapsed() >= Duration::from_secs(20), "{:?}", begin.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_dead_held_is_free_when_it_has_run_out() {
        let all = Neighbours::new().await;
        let (dead, alive) = (all.process(1, 2, NO_DELAY), all.process(2, 2, NO_DELAY));
        let begin = Instant::now();
        let mut requests = JoinSet::new();
        all.request(&dead, 2, Duration::from_secs(3_600), &mut requests);
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(dead);
        requests.abort_all();
        drop(alive.hosts.enter("host", NOBODY, Gap::default(), &FairSemaphore::new(1), Priority::default()).await);
        let waited = begin.elapsed();
        assert!(waited >= Duration::from_secs(14) && waited < Duration::from_secs(18), "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_begins_on_a_grant_that_cannot_be_renewed() {
        let all = Neighbours::new().await;
        let process = all.process(1, 8, NO_DELAY);
        let slots = FairSemaphore::new(1_000);
        let enter = || process.hosts.enter("host", NOBODY, Gap::default(), &slots, Priority::default());
        let mut requests = JoinSet::new();
        all.request(&process, 1, Duration::from_secs(60), &mut requests);
        tokio::time::sleep(Duration::from_secs(1)).await;
        all.store.1.store(false, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(16)).await;
        assert!(tokio::time::timeout(Duration::from_secs(5), enter()).await.is_err());
        all.store.1.store(true, Ordering::Relaxed);
        assert!(tokio::time::timeout(Duration::from_secs(2), enter()).await.is_ok());
    }
}
