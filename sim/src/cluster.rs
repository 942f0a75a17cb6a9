//! The processes: started, killed, cut off, slowed down and started again, each built by the product's own `serve::start`.

use std::{num::NonZero, sync::Arc, time::Duration};

use axum::Router;
use datasonar::{
    blobs::Blobs,
    clock::Ids,
    config::{Role, Settings},
    scrape::BeforeProcessing,
    serve::{self, Calls, Machine, Seams, Server, StartError},
};
use object_store::memory::InMemory;
use parking_lot::Mutex;
use tokio::{sync::Notify, task::JoinSet};

use crate::{
    blobs::FaultyBlobs,
    host::{Cut, Host},
    net::{Net, Web},
    store::{FaultyStore, Rows},
    world::World,
};

/// How long a call of the store takes at most when nothing is wrong, in milliseconds.
const CALM_MS: u64 = 1;

/// The processes, and what they share.
pub(crate) struct Cluster {
    pub(crate) world: Arc<World>,
    pub(crate) web: Arc<Web>,
    pub(crate) rows: Arc<Rows>,
    pub(crate) blobs: Arc<InMemory>,
    settings: Settings,
    slots: Vec<Slot>,
    /// Whether processes are to run.
    is_up: Mutex<bool>,
    /// Rung when that has changed.
    changed: Notify,
}

/// A place for a process: what it does, and who is there.
struct Slot {
    letter: char,
    roles: Vec<Role>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    starts: u32,
    living: Option<Living>,
    /// It was asked to stop in order.
    is_asked: bool,
}

#[derive(Clone)]
struct Living {
    host: Arc<Host>,
    router: Router,
}

impl Cluster {
    pub(crate) fn new(
        world: Arc<World>,
        web: Arc<Web>,
        rows: Arc<Rows>,
        settings: Settings,
        roles: Vec<Vec<Role>>,
    ) -> Arc<Self> {
        let slot = |(letter, roles)| Slot { letter, roles, state: Mutex::default() };
        Arc::new(Self {
            world,
            web,
            rows,
            blobs: Arc::new(InMemory::new()),
            settings,
            slots: ('a'..='z').zip(roles).map(slot).collect(),
            is_up: Mutex::new(false),
            changed: Notify::new(),
        })
    }

    /// Builds a process.
    ///
    /// # Errors
    /// When the store fails meanwhile.
    pub(crate) async fn boot(&self, host: &Arc<Host>, roles: &[Role]) -> Result<Server, StartError> {
        let Self { world, web, rows, .. } = self;
        let seed = world.dice().next();
        let clock: Arc<dyn datasonar::clock::Clock> = Arc::new(HostClock(host.clone()));
        let net = || Arc::new(Net { web: web.clone(), host: host.clone() });
        let store = FaultyStore { rows: rows.clone(), host: host.clone(), world: world.clone() };
        let blobs = FaultyBlobs { blobs: self.blobs.clone(), host: host.clone(), world: world.clone() };
        let seams = Seams {
            ids: Ids::seeded(clock.clone(), seed),
            clock,
            resolver: Some(net()),
            dialer: Some(net()),
            store: Some(Arc::new(store)),
            blobs: Some(Blobs::over(Arc::new(blobs))),
            calls: Calls::Router,
            before_processing: Some(self.poison(host)),
            machine: Machine { cpus: NonZero::new(2).expect("it is two"), open_files: 4_096 },
        };
        serve::start(Settings { roles: roles.to_vec(), ..self.settings.clone() }, seams).await
    }

    /// Ends a process that processes a poisonous page.
    fn poison(&self, host: &Arc<Host>) -> BeforeProcessing {
        let (world, web, host) = (self.world.clone(), self.web.clone(), host.clone());
        Arc::new(move |url| {
            let site = web.sites.iter().find(|site| Some(site.name.as_str()) == url.host_str());
            if site.is_some_and(|site| site.is_poison(url.path())) && !host.is_dead() {
                world.note(&host.name, format_args!("is ended by {url}"));
                world.oracle().poisoned(url.as_str());
                host.dead.cancel();
            }
        })
    }

    /// A process that nothing happens to, and that does nothing but answer.
    pub(crate) fn steady_host(&self, name: &str) -> Arc<Host> {
        Host::new(name.to_owned(), self.world.begin, 0, 0)
    }

    fn new_host(&self, name: String) -> Arc<Host> {
        let slow = if self.world.is_stormy() { self.world.weather.call_ms } else { CALM_MS };
        Host::new(name, self.world.begin, self.draw_skew(), slow)
    }

    fn draw_skew(&self) -> i64 {
        let most = self.world.weather.skew_ms;
        let span = u64::try_from(2 * most + 1).expect("it is positive");
        i64::try_from(self.world.dice().of(0..span)).expect("it is small") - most
    }

    /// Keeps a process in each slot, until dropped.
    pub(crate) fn supervise(self: &Arc<Self>) -> JoinSet<()> {
        let mut loops = JoinSet::new();
        for slot in 0..self.slots.len() {
            loops.spawn(self.clone().keep(slot));
        }
        loops
    }

    async fn keep(self: Arc<Self>, place: usize) {
        let (world, slot) = (&self.world, &self.slots[place]);
        loop {
            self.until_up(true).await;
            world.dawdle(1_000).await;
            let number = {
                let mut state = slot.state.lock();
                state.starts += 1;
                state.starts
            };
            let host = self.new_host(format!("{}{number}", slot.letter));
            world.note(&host.name, format_args!("starts as {:?}", slot.roles));
            match host.dead.run_until_cancelled(self.boot(&host, &slot.roles)).await {
                None => {}
                Some(Err(error)) => world.note(&host.name, format_args!("does not start: {error}")),
                Some(Ok(server)) => {
                    let living = Living { host: host.clone(), router: server.router() };
                    slot.state.lock().living = Some(living);
                    tokio::select! {
                        biased;
                        () = host.dead.cancelled() => {}
                        () = self.until_asked(place) => {
                            slot.state.lock().living = None;
                            world.note(&host.name, format_args!("is stopping"));
                            let _ = host.dead.run_until_cancelled(server.stop()).await;
                        }
                    }
                    let mut state = slot.state.lock();
                    state.living = None;
                    state.is_asked = false;
                }
            }
            if host.is_dead() {
                world.oracle().died(&host.name);
            }
            host.dead.cancel();
            world.note(&host.name, format_args!("is gone"));
            if world.is_stormy() {
                world.dawdle(15_000).await;
            } else {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }

    async fn until_up(&self, is_up: bool) {
        while *self.is_up.lock() != is_up {
            self.changed.notified().await;
        }
    }

    async fn until_asked(&self, place: usize) {
        while !self.slots[place].state.lock().is_asked && *self.is_up.lock() {
            self.changed.notified().await;
        }
    }

    pub(crate) fn up(&self) {
        *self.is_up.lock() = true;
        self.changed.notify_waiters();
    }

    /// Takes all processes down: some in order, some at once. Waits until all are gone.
    pub(crate) async fn down(&self, in_order: bool) {
        *self.is_up.lock() = false;
        for slot in &self.slots {
            let living = slot.state.lock().living.clone();
            match living {
                Some(living) if !in_order && self.world.dice().percent(50) => living.host.dead.cancel(),
                // The others hear of it.
                _ => {}
            }
        }
        self.changed.notify_waiters();
        while self.slots.iter().any(|slot| slot.state.lock().living.is_some()) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // Those that stop in order are not listed any more, and take a while.
        tokio::time::sleep(serve::STOP_WITHIN).await;
    }

    /// The processes that live.
    fn living(&self) -> Vec<(usize, Living)> {
        let living = |(place, slot): (usize, &Slot)| slot.state.lock().living.clone().map(|living| (place, living));
        self.slots.iter().enumerate().filter_map(living).collect()
    }

    /// Somebody who answers calls, if anybody does.
    pub(crate) fn anybody(&self) -> Option<(Arc<Host>, Router)> {
        let mut living = self.living();
        living.retain(|(place, _)| self.slots[*place].roles.contains(&Role::Api));
        if living.is_empty() {
            return None;
        }
        let (_, Living { host, router }) = self.world.dice().pick(&living).clone();
        Some((host, router))
    }

    /// Lets something happen to some process, now and then, for as long as it storms.
    pub(crate) async fn misfortunes(self: Arc<Self>) {
        let (least, most) = self.world.weather.misfortune_ms;
        let mut open = JoinSet::new();
        loop {
            let pause = self.world.dice().milliseconds(least..most);
            tokio::time::sleep(pause).await;
            let living = self.living();
            if !self.world.is_stormy() || living.is_empty() {
                continue;
            }
            let (place, Living { host, .. }) = self.world.dice().pick(&living).clone();
            let (way, time) = {
                let mut dice = self.world.dice();
                (dice.of(0..14), dice.milliseconds(500..120_000))
            };
            let note = |what: &str| self.world.note(&host.name, format_args!("{what} for {time:?}"));
            match way {
                0..3 => {
                    note("is killed");
                    host.dead.cancel();
                }
                3 => {
                    self.slots[place].state.lock().is_asked = true;
                    self.changed.notify_waiters();
                }
                4..6 => {
                    note("is cut off the store silently");
                    host.cut_store(Cut::Silent);
                }
                6..8 => {
                    note("is cut off the store");
                    host.cut_store(Cut::Refused);
                }
                8..10 => {
                    note("is cut off the network");
                    host.cut_network(true);
                }
                10..12 => {
                    note("is cut off everything");
                    host.cut_store(Cut::Silent);
                    host.cut_network(true);
                }
                12 => {
                    let off = self.draw_skew();
                    self.world.note(&host.name, format_args!("has its clock set to {off} ms"));
                    host.clock.jump_to(off);
                }
                _ => {
                    note("is slow");
                    let slow = self.world.dice().of(100..3_000);
                    host.slow_ms.store(slow, std::sync::atomic::Ordering::Relaxed);
                }
            }
            let world = self.world.clone();
            open.spawn(async move {
                tokio::time::sleep(time).await;
                host.heal(if world.is_stormy() { world.weather.call_ms } else { CALM_MS });
            });
        }
    }

    /// Ends the storm: nothing is cut off or slow any more.
    pub(crate) fn calm(&self) {
        self.world.set_stormy(false);
        self.world.note("-", format_args!("the storm is over"));
        for (_, living) in self.living() {
            living.host.heal(CALM_MS);
        }
    }
}

/// A process's clock, as the product sees it.
struct HostClock(Arc<Host>);

#[async_trait::async_trait]
impl datasonar::clock::Clock for HostClock {
    fn now(&self) -> jiff::Timestamp {
        self.0.clock.now()
    }

    async fn sleep_until(&self, time: jiff::Timestamp) {
        self.0.clock.sleep_until(time).await;
    }
}
