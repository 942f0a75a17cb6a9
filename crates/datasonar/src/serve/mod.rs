//! Builds a server from settings and injected seams, runs it, and takes it down in order.
//!
//! Nothing is parsed here, and nothing else builds these parts: `datasonar serve`, the tests, the benchmarks and the
//! simulation all come this way. Stopping goes in steps: not ready, no new connections, no new claims, drain, give leases back, close the
//! store.

mod bytes;
mod clients;
mod first_start;
mod http;
mod lock;
mod neighbours;
mod rows;

use std::{
    io,
    net::SocketAddr,
    num::NonZero,
    path::{Path, PathBuf},
    sync::Arc,
    sync::atomic::AtomicUsize,
    thread,
    time::Duration,
};

use axum::Router;
use datasonar_net::{AddressPolicy, Client, ClientError, ClientOptions, Dial, Resolve};
use datasonar_store::{ProcessId, StoreError, WholeStore};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

pub use bytes::{BytesError, open_blobs, open_checked};
use clients::{client_options, renderer, webhook_client};
pub use first_start::FirstKeys;
use http::FrontOptions;
pub use lock::Lock;
use neighbours::SharedHosts;
pub use rows::{Rows, RowsError, Version};

use crate::{
    api,
    app::App,
    blobs::Blobs,
    clock::{Clock, Ids, SteadyClock},
    config::{Role, Settings},
    cpu,
    crawl::{SitemapReader, Sites},
    crypto::{CryptoError, Sealer},
    dashboard,
    fetch::{FetchSettings, Fetcher, Hosts, Robots},
    files,
    jobs::{Jobs, JobsParts, Results, Terms},
    key_uses::KeyUses,
    mapper::Mapper,
    people::{People, PeopleParts},
    plans::Plans,
    roles::{
        Dispatcher, DispatcherParts, Health, Janitor, JanitorParts, Replayer, ReplayerParts, Scheduler, SchedulerParts,
        Tools, Worker, WorkerParts,
    },
    schedules::Schedules,
    scrape::{BeforeProcessing, Limits, Scraper, ScraperParts},
    wake::Wake,
    webhook::{
        lanes::Slots,
        retry::RetryPolicy,
        secrets::Secrets,
        send::{Sender, SenderParts},
        test_event::TestEvents,
    },
};

/// How long open work may take when the server stops, before what is left is broken off. Nothing is lost by that: whatever was open is
/// made again by the next start.
pub const STOP_WITHIN: Duration = Duration::from_secs(15);

/// What tests and the simulation put in place of the machine.
#[derive(Clone)]
pub struct Seams {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Ids and chance.
    pub ids: Ids,
    /// Name resolution, if not the system's.
    pub resolver: Option<Arc<dyn Resolve>>,
    /// Connections, if not TCP.
    pub dialer: Option<Arc<dyn Dial>>,
    /// The rows, if not those that the settings name. Others may be using them at the same time.
    pub store: Option<Arc<dyn WholeStore>>,
    /// The bytes, if not those that the settings name.
    pub blobs: Option<Blobs>,
    /// How calls come.
    pub calls: Calls,
    /// What the machine has.
    pub machine: Machine,
    /// Called before a document is processed, with its URL, if anything is to be.
    pub before_processing: Option<BeforeProcessing>,
}

/// How calls come to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calls {
    /// Over TCP, at the address that the settings name.
    Tcp,
    /// To [`Server::router`]: nothing is listened on.
    Router,
}

/// What a machine has that decides how much is done at once.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// Processors.
    pub cpus: NonZero<usize>,
    /// Files that this process may have open. A connection is one.
    pub open_files: u64,
}

impl Default for Machine {
    /// This one. Allows this process as many files as it may.
    fn default() -> Self {
        Self {
            cpus: thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN),
            open_files: rlimit::increase_nofile_limit(u64::MAX).unwrap_or(1_024),
        }
    }
}

impl Default for Seams {
    fn default() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SteadyClock::new());
        Self {
            ids: Ids::random(clock.clone()),
            clock,
            resolver: None,
            dialer: None,
            store: None,
            blobs: None,
            calls: Calls::Tcp,
            machine: Machine::default(),
            before_processing: None,
        }
    }
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another server uses the data directory.
    #[error("another datasonar server is using {0}; stop it first, or choose another directory with --data-dir")]
    InUse(PathBuf),
    /// The data directory cannot be used.
    #[error("cannot use {path}: {source}")]
    DataDir {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; choose another address with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// WEBHOOK_CA_FILE cannot be read.
    #[error("WEBHOOK_CA_FILE {path} cannot be read as PEM certificates: {reason}")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// There is no store.
    #[error(transparent)]
    Rows(#[from] RowsError),
    /// The store cannot be used.
    #[error("the store cannot be used: {0}")]
    Store(#[from] StoreError),
    /// The blob storage cannot be used.
    #[error(transparent)]
    Bytes(#[from] BytesError),
    /// ENCRYPTION_KEY is not one.
    #[error("ENCRYPTION_KEY: {0}")]
    Key(#[from] CryptoError),
    /// ENCRYPTION_KEY is not the store's.
    #[error("{0}; give every server of a store the key that its first one had")]
    OtherKey(#[source] CryptoError),
    /// The HTTP client cannot be built.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// A running server. Dropped without having been stopped, it breaks off what it does, as its death would.
pub struct Server {
    /// Where it listens, if it does.
    pub address: SocketAddr,
    /// The keys and the link that were made, if the store was empty.
    pub first_keys: Option<FirstKeys>,
    /// Its parts.
    pub app: App,
    /// Goes on while the roles finish what is open: they need hosts to the last.
    _sharing: AbortOnDropHandle<()>,
    health: Health,
    /// Unless they are another's.
    rows: Option<Rows>,
    loops: JoinSet<()>,
    machine: Machine,
    stop: CancellationToken,
    /// Of the data directory, where the store is in it.
    _lock: Option<Lock>,
}

/// Builds a server and starts its roles.
///
/// # Errors
/// When a part cannot be had: each error names what to change.
pub async fn start(settings: Settings, seams: Seams) -> Result<Server, StartError> {
    let settings = Arc::new(settings);
    let lock = match (&seams.store, &settings.database_url) {
        (None, None) => Some(Lock::take(&settings.data_dir)?),
        _ => None,
    };
    if seams.store.is_none() {
        keep_files_private(&settings.data_dir).await?;
    }
    let blobs = match &seams.blobs {
        Some(blobs) => blobs.clone(),
        None => open_checked(&settings, &seams.ids).await?,
    };
    let (store, rows) = match &seams.store {
        Some(store) => (store.clone(), None),
        None => {
            let rows = Rows::open(&settings).await?;
            (rows.store(), Some(rows))
        }
    };
    if let Some(Rows::Shared(store)) = &rows {
        neighbours::follow_time(store, &*seams.clock).await?;
    }
    if lock.is_some() {
        // The lock says that no other server lives: whatever leases there are were held by the dead.
        store.free_leases().await?;
    }
    let (listener, address) = match seams.calls {
        Calls::Tcp => listen(settings.listen).map(|(listener, address)| (Some(listener), address))?,
        Calls::Router => (None, settings.listen),
    };
    let health = Health::default();
    let hosts = hosts(&settings, rows.as_ref(), &seams);
    let stop = CancellationToken::new();
    let app = build(settings, address, (store, blobs), stop.clone(), &seams, &health, hosts.clone())?;
    let first_keys = first_start::set_up(&app).await?;
    first_start::check_key(&app).await?;
    let mut server = Server {
        address,
        first_keys,
        app,
        _sharing: AbortOnDropHandle::new(tokio::spawn(async move { hosts.keep_sharing().await })),
        health,
        rows,
        loops: JoinSet::new(),
        machine: seams.machine,
        stop,
        _lock: lock,
    };
    server.run_roles();
    server.keep_key_uses();
    server.meet_neighbours();
    if let Some(listener) = listener {
        server.loops.spawn(http::serve(listener, server.router(), server.front(), server.stop.clone()));
        tracing::info!(%address, "listening");
    }
    Ok(server)
}

/// Takes the access of other users to the data directory away, if there is one.
async fn keep_files_private(data_dir: &Path) -> Result<(), StartError> {
    let path = data_dir.to_owned();
    let repairs = cpu::run_sound(move || files::make_private(&path)).await;
    match repairs {
        Ok(repairs) => repairs.tell(data_dir),
        // With a database and a bucket it is not needed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(StartError::DataDir { path: data_dir.to_owned(), source }),
    }
    Ok(())
}

fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let fail = |source| StartError::Listen { address, source };
    let listener = http::bind(address).map_err(fail)?;
    let address = listener.local_addr().map_err(fail)?;
    Ok((listener, address))
}

fn build(
    settings: Arc<Settings>,
    address: SocketAddr,
    (store, blobs): (Arc<dyn WholeStore>, Blobs),
    stopping: CancellationToken,
    seams: &Seams,
    health: &Health,
    hosts: Hosts,
) -> Result<App, StartError> {
    let public_url = settings.public_url.clone().unwrap_or_else(|| format!("http://{address}"));
    let policy = AddressPolicy::allowing(settings.allow_private_networks.clone());
    let sealer = Sealer::new(&settings.encryption_key, seams.ids.clone())?;
    let options = ClientOptions { user_agent: settings.fetch_user_agent.clone(), ..client_options(&policy, seams) };
    let fetcher = Fetcher::new(
        Client::new(options)?,
        FetchSettings {
            concurrency: settings.fetch_concurrency,
            per_host_concurrency: settings.fetch_per_host_concurrency,
            per_host_delay: settings.fetch_per_host_delay,
            retries: settings.fetch_retries,
            body_memory: memory_for_documents(&settings),
        },
        seams.ids.clone(),
    );
    let fetcher = fetcher.with_hosts(hosts);
    let robots = Robots::new(fetcher.clone(), &settings.fetch_user_agent);
    let sitemaps = SitemapReader::new(fetcher.clone(), robots.clone(), settings.crawl_max_sitemaps);
    let sites = Sites { robots: robots.clone(), sitemaps };
    let renderer = renderer(&settings, &policy, seams)?;
    if seams.store.is_none() {
        let renderer = renderer.clone();
        tokio::task::spawn_blocking(move || renderer.sweep());
    }
    let cpus = seams.machine.cpus;
    let scraper = Arc::new(Scraper::new(ScraperParts {
        robots,
        fetcher,
        renderer,
        policy: policy.clone(),
        cpus,
        memory: memory_for_documents(&settings),
        max_result: settings.result_max_bytes,
        before_processing: seams.before_processing.clone(),
    }));
    let wake = Wake::default();
    let (clock, ids) = (seams.clock.clone(), seams.ids.clone());
    let results = Results::new(store.clone(), blobs.clone());
    let sender = Sender::new(SenderParts {
        client: webhook_client(&settings, &policy, seams)?,
        results: results.clone(),
        sealer: sealer.clone(),
        clock: clock.clone(),
        ids: ids.clone(),
        timeout: settings.webhook_timeout,
    });
    let public_url: Arc<str> = public_url.trim_end_matches('/').into();
    let terms = Terms { policy: policy.clone(), limits: limits(&settings), server: public_url.clone() };
    let plans = Plans::new(store.clone(), settings.clone(), clock.clone());
    let jobs = Jobs::new(JobsParts {
        store: store.clone(),
        blobs: blobs.clone(),
        clock: clock.clone(),
        ids: ids.clone(),
        sealer: sealer.clone(),
        terms,
        plans: plans.clone(),
        wake: wake.clone(),
    });
    Ok(App {
        test_events: TestEvents {
            store: store.clone(),
            blobs: blobs.clone(),
            clock: clock.clone(),
            ids: ids.clone(),
            sender,
            plans: plans.clone(),
        },
        secrets: Secrets { store: store.clone(), sealer: sealer.clone(), clock: clock.clone(), ids: ids.clone() },
        people: People::new(PeopleParts {
            rows: store.clone(),
            clock: clock.clone(),
            ids: ids.clone(),
            sealer: Some(sealer.clone()),
            session_lifetime: settings.session_lifetime,
            session_idle: settings.session_idle,
        }),
        schedules: Schedules::new(store.clone(), jobs.clone(), clock.clone(), ids.clone(), wake.clone()),
        plans,
        jobs,
        stopping,
        results,
        mapper: Mapper { sites: sites.clone(), scraper: scraper.clone(), limits: limits(&settings) },
        scraper,
        sites,
        key_uses: KeyUses::default(),
        not_ready: health.watch(),
        public_url,
        settings,
        store,
        blobs,
        clock,
        ids,
        sealer,
        policy,
        wake,
    })
}

/// What keeps to the limits of hosts: over all processes, where several share the store.
fn hosts(settings: &Settings, rows: Option<&Rows>, seams: &Seams) -> Hosts {
    let (concurrency, delay) = (settings.fetch_per_host_concurrency, settings.fetch_per_host_delay);
    match rows {
        None | Some(Rows::Embedded(_)) => Hosts::new(concurrency, delay),
        Some(Rows::Shared(store)) => {
            let owner = ProcessId(seams.ids.uuid());
            let (store, clock) = (store.clone(), seams.clock.clone());
            Hosts::shared(concurrency, delay, Arc::new(SharedHosts { owner, store, clock, concurrency }))
        }
    }
}

/// The memory in bytes that documents may take together while their content is derived; bodies in flight may take as much.
fn memory_for_documents(settings: &Settings) -> u64 {
    settings.extract_memory.unwrap_or_else(|| crate::memory::default_share(crate::memory::of_process()))
}

/// The bounds of a request's options.
fn limits(settings: &Settings) -> Limits {
    Limits { timeout: settings.fetch_timeout, max_bytes: settings.fetch_max_bytes }
}

impl Server {
    /// Where others share the store: goes by its time, wakes them and is woken.
    fn meet_neighbours(&mut self) {
        let Some(Rows::Shared(store)) = &self.rows else { return };
        let (clock, wake) = (self.app.clock.clone(), self.app.wake.clone());
        self.loops.spawn(neighbours::keep_time(store.clone(), clock, self.stop.clone()));
        self.loops.spawn(neighbours::exchange_notices(store.clone(), wake, self.stop.clone()));
    }

    fn front(&self) -> FrontOptions {
        FrontOptions {
            max_connections: self.app.settings.max_connections,
            trusted_proxies: self.app.settings.trusted_proxies.clone(),
            open_files: self.machine.open_files,
        }
    }

    /// Answers calls: what listens hands them to it.
    pub fn router(&self) -> Router {
        api::router(self.app.clone(), dashboard::routes(&self.app, api::document()))
    }

    /// Where keys are looked at: writes when they were used.
    fn keep_key_uses(&mut self) {
        let App { key_uses, store, clock, settings, .. } = &self.app;
        if settings.roles.contains(&Role::Api) {
            self.loops.spawn(key_uses.clone().keep(store.clone(), clock.clone(), self.stop.clone()));
        }
    }

    fn run_roles(&mut self) {
        let owner = ProcessId(self.app.ids.uuid());
        let does = |role| self.app.settings.roles.contains(&role);
        let (worker, dispatcher, scheduler) = (does(Role::Worker), does(Role::Dispatcher), does(Role::Scheduler));
        if worker {
            self.loops.spawn(self.worker(owner).run(self.stop.clone()));
        }
        if dispatcher {
            self.loops.spawn(self.dispatcher(owner).run(self.stop.clone()));
            self.loops.spawn(self.replayer().run(self.stop.clone()));
        }
        if scheduler {
            self.loops.spawn(self.scheduler().run(self.stop.clone()));
            self.loops.spawn(self.janitor().run(self.stop.clone()));
        }
    }

    fn worker(&self, owner: ProcessId) -> Worker {
        let (app, settings) = (&self.app, &self.app.settings);
        Worker::new(WorkerParts {
            owner,
            store: app.store.clone(),
            clock: app.clock.clone(),
            wake: app.wake.clone(),
            health: self.health.clone(),
            fetch_concurrency: settings.fetch_concurrency,
            tools: Arc::new(Tools {
                store: app.store.clone(),
                blobs: app.blobs.clone(),
                scraper: app.scraper.clone(),
                clock: app.clock.clone(),
                ids: app.ids.clone(),
                sealer: app.sealer.clone(),
                wake: app.wake.clone(),
                limits: limits(settings),
                plans: app.plans.clone(),
                held_bytes: AtomicUsize::new(0),
                sites: app.sites.clone(),
            }),
        })
    }

    fn scheduler(&self) -> Scheduler {
        Scheduler::new(SchedulerParts {
            store: self.app.store.clone(),
            schedules: self.app.schedules.clone(),
            clock: self.app.clock.clone(),
            wake: self.app.wake.clone(),
            health: self.health.clone(),
        })
    }

    fn janitor(&self) -> Janitor {
        Janitor::new(JanitorParts {
            store: self.app.store.clone(),
            blobs: self.app.blobs.clone(),
            people: self.app.people.clone(),
            clock: self.app.clock.clone(),
            health: self.health.clone(),
            log_retention: self.app.settings.log_retention,
        })
    }

    fn replayer(&self) -> Replayer {
        Replayer::new(ReplayerParts {
            store: self.app.store.clone(),
            clock: self.app.clock.clone(),
            wake: self.app.wake.clone(),
            health: self.health.clone(),
        })
    }

    fn dispatcher(&self, owner: ProcessId) -> Dispatcher {
        let (app, settings) = (&self.app, &self.app.settings);
        Dispatcher::new(DispatcherParts {
            owner,
            store: app.store.clone(),
            clock: app.clock.clone(),
            ids: app.ids.clone(),
            wake: app.wake.clone(),
            health: self.health.clone(),
            sender: app.test_events.sender.clone(),
            policy: RetryPolicy {
                schedule: settings.webhook_retry_schedule.clone(),
                max_attempts: settings.webhook_max_attempts,
            },
            slots: Slots::within(self.machine.open_files),
        })
    }

    /// Takes the server down: tells that it is not ready, stops listening and claiming, lets open work finish, closes
    /// the store. Answers within [`STOP_WITHIN`] whatever is still open, and within three seconds more where browsers do not die.
    pub async fn stop(mut self) {
        tracing::info!("stopping");
        self.health.fail("server", "stopping");
        self.stop.cancel();
        let ended = async { while self.loops.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_WITHIN, ended).await.is_err() {
            tracing::warn!("some work was broken off; it will be taken up at the next start");
        }
        self.app.scraper.close().await;
        if let Some(rows) = &self.rows {
            rows.close().await;
        }
        tracing::info!("stopped");
    }
}
