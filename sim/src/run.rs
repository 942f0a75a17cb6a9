//! A simulation from its seed to its verdict.

use std::{sync::Arc, time::Duration};

use datasonar::{
    config::{Role, Settings, Sources},
    cpu,
};
use datasonar_store::{DeliveryFilter, Environment, Page, Scope, Store};
use jiff::Timestamp;
use tokio::time::Instant;

use crate::{
    clients::{self, Client},
    clock::epoch,
    cluster::Cluster,
    dice::Dice,
    net::{Endpoint, EndpointKind, Site, SiteKind, SiteLimits, Web, authority},
    oracle::{
        Property, Violation,
        end::{Counts, End},
    },
    store::{Mutation, Rows},
    trace::Line,
    weather::Weather,
    world::World,
};

/// How long everything may take, in the simulation's time, until all retries are through.
const LONGEST: Duration = Duration::from_secs(40 * 60 * 60);
/// How long the clients may take, once nothing fails any more.
const CLIENTS: Duration = Duration::from_secs(2 * 60 * 60);
/// All processes rest when nothing is due for so long.
const REST: Duration = Duration::from_secs(75);
/// After so long, orphaned blobs are old enough to be swept.
const ORPHANED: Duration = Duration::from_secs(25 * 60 * 60);

/// What became of a seed.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// The promises that were broken, as they were found.
    pub violations: Vec<Violation>,
    /// What happened, line by line.
    pub trace: Vec<Line>,
    /// A hash of all that the trace is about.
    pub hash: u64,
    /// How much there was.
    pub counts: Counts,
    /// How much time passed, in the simulation.
    pub elapsed: Duration,
}

/// Runs the simulation of a seed, with the engine broken on purpose if so wanted.
///
/// # Errors
/// When it could not be carried out: the machine's failure, or a defect of the simulation.
pub fn run(seed: u64, mutation: Option<Mutation>) -> anyhow::Result<Outcome> {
    cpu::stay_inline();
    // Without the driver of input and output: nothing outside has a say.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    runtime.block_on(simulate(seed, mutation))
}

async fn simulate(seed: u64, mutation: Option<Mutation>) -> anyhow::Result<Outcome> {
    let mut dice = Dice::new(seed);
    let weather = Weather::draw(&mut dice);
    let settings = settings(&mut dice)?;
    let world = World::new(weather, dice.fork());
    {
        let mut oracle = world.oracle();
        let offsets = settings.webhook_retry_schedule.iter();
        oracle.schedule_ms = offsets.map(|offset| offset.as_millis().try_into()).collect::<Result<_, _>>()?;
        oracle.skew_ms = 2 * world.weather.skew_ms;
    }
    let web = web(&mut dice, &world, &settings);
    let rows = Arc::new(Rows::new(mutation).await?);
    let roles = roles(&mut dice);
    world.note("-", format_args!("seed {seed}: {:?} {roles:?}", world.weather));
    let cluster = Cluster::new(world.clone(), web, rows, settings, roles);

    let steady = cluster.steady_host("steady");
    let server = cluster.boot(&steady, &[Role::Api]).await?;
    let keys = server.first_keys.clone().ok_or_else(|| anyhow::anyhow!("the store is not empty"))?;
    drop(server);

    let processes = cluster.supervise();
    cluster.up();
    world.set_stormy(true);
    let misfortunes = tokio::spawn(cluster.clone().misfortunes());
    let two = [&keys.production, &keys.sandbox];
    let two = two.map(|key| Client::new(cluster.clone(), key));
    let clients = tokio::spawn(clients::run(two, dice.fork()));
    tokio::time::sleep(world.weather.storm).await;
    cluster.calm();
    misfortunes.abort();
    if tokio::time::timeout(CLIENTS, clients).await.is_err() {
        world.oracle().broken(Property::Survives, "some client was not served in the end");
    }
    drain(&cluster).await?;
    drop(processes);

    // What was left by those who died is swept when it is old enough.
    tokio::time::sleep(ORPHANED).await;
    let steady = cluster.steady_host("sweeper");
    let server = cluster.boot(&steady, &[Role::Scheduler]).await?;
    tokio::time::sleep(Duration::from_secs(90)).await;
    let account = server.app.store.account(None).await?.id;
    let scopes = [Environment::Production, Environment::Sandbox].map(|environment| Scope { account, environment });
    let end = End {
        world: &world,
        web: &cluster.web,
        app: &server.app,
        rows: &cluster.rows.store,
        blobs: &cluster.blobs,
        scopes,
    };
    let counts = end.check().await?;
    drop(server);

    let violations = std::mem::take(&mut world.oracle().violations);
    let (trace, hash) = world.take_trace();
    Ok(Outcome { seed, violations, trace, hash, counts, elapsed: world.begin.elapsed() })
}

/// Lets time pass until nothing is left to do. While nothing is due for long, everybody rests.
async fn drain(cluster: &Arc<Cluster>) -> anyhow::Result<()> {
    let world = &cluster.world;
    let begin = Instant::now();
    while begin.elapsed() < LONGEST {
        tokio::time::sleep(Duration::from_secs(3)).await;
        if cluster.rows.mutation.is_some() && !world.oracle().violations.is_empty() {
            // It was noticed, and may go on for ever.
            cluster.down(true).await;
            return Ok(());
        }
        match pending(cluster).await? {
            Pending::Nothing => {
                cluster.down(true).await;
                return Ok(());
            }
            Pending::Now => {}
            Pending::Later(time) => {
                let left = time.duration_since(now(world)).unsigned_abs();
                if left > REST {
                    world.note("-", format_args!("nothing is due for {left:?}"));
                    cluster.down(false).await;
                    let early = world.dice().milliseconds(0..20_000);
                    let left = time.duration_since(now(world)).unsigned_abs();
                    tokio::time::sleep(left.saturating_sub(early)).await;
                    cluster.up();
                }
            }
        }
    }
    world.oracle().broken(Property::Drained, format!("something is still to be done after {LONGEST:?}"));
    cluster.down(true).await;
    Ok(())
}

/// What is left to do.
enum Pending {
    Nothing,
    Now,
    Later(Timestamp),
}

async fn pending(cluster: &Cluster) -> anyhow::Result<Pending> {
    let store = &cluster.rows.store;
    let totals = store.totals().await?;
    if totals.jobs_open > 0 {
        return Ok(Pending::Now);
    }
    let account = store.account(None).await?.id;
    let mut due: Option<Timestamp> = None;
    for environment in [Environment::Production, Environment::Sandbox] {
        let scope = Scope { account, environment };
        let replays = store.replays(scope, Page { limit: 1_000, before: None }).await?;
        if replays.iter().any(|replay| replay.completed_at.is_none()) {
            return Ok(Pending::Now);
        }
        let page = Page { limit: 10_000, before: None };
        for delivery in store.deliveries(scope, DeliveryFilter::default(), page).await? {
            due = [due, delivery.next_attempt_at].into_iter().flatten().min();
        }
    }
    Ok(match due {
        None if totals.deliveries_pending == 0 => Pending::Nothing,
        Some(due) if due > now(&cluster.world) => Pending::Later(due),
        _ => Pending::Now,
    })
}

fn now(world: &World) -> Timestamp {
    epoch() + jiff::SignedDuration::from_millis(i64::try_from(world.now()).expect("it is days, not ages"))
}

fn settings(dice: &mut Dice) -> anyhow::Result<Settings> {
    let delay = *dice.pick(&["0ms", "0ms", "250ms"]);
    let flags = [
        ("data_dir", "/nonexistent".to_owned()),
        ("encryption_key", "5e".repeat(32)),
        ("webhook_ca_file", authority().to_string_lossy().into_owned()),
        ("fetch_concurrency", dice.of(4..24).to_string()),
        ("fetch_per_host_concurrency", dice.of(1..5).to_string()),
        ("fetch_per_host_delay", delay.to_owned()),
        ("fetch_timeout", "8s".to_owned()),
        ("fetch_retries", "1".to_owned()),
    ];
    Ok(Sources::default().flags(flags).settings()?)
}

fn web(dice: &mut Dice, world: &Arc<World>, settings: &Settings) -> Arc<Web> {
    let limits = SiteLimits { concurrency: settings.fetch_per_host_concurrency, delay: settings.fetch_per_host_delay };
    let mut kinds = vec![SiteKind::Plain(300)];
    kinds.extend((0..dice.of(2..6)).map(|_| Site::draw(dice)));
    if dice.percent(60) {
        kinds.push(SiteKind::Linked(dice.of(3..25)));
    }
    let site = |(number, kind)| Site::new(format!("site{number}.example"), kind, limits);
    let mut tempers = vec![EndpointKind::Good(500)];
    tempers.extend((0..dice.of(1..5)).map(|_| Endpoint::draw(dice)));
    let endpoint = |(number, kind)| Endpoint::new(format!("e{number}.hooks.example"), kind);
    Arc::new(Web {
        sites: kinds.into_iter().enumerate().map(site).collect(),
        endpoints: tempers.into_iter().enumerate().map(endpoint).collect(),
        world: world.clone(),
    })
}

/// Two workers and two dispatchers at least, and a scheduler.
fn roles(dice: &mut Dice) -> Vec<Vec<Role>> {
    use Role::{Api, Dispatcher, Scheduler, Worker};
    let mut roles = match dice.of(0..3) {
        0 => vec![vec![Api, Worker, Dispatcher, Scheduler], vec![Api, Worker, Dispatcher, Scheduler]],
        1 => vec![vec![Api, Scheduler], vec![Worker], vec![Worker], vec![Dispatcher], vec![Dispatcher]],
        _ => vec![vec![Api, Worker], vec![Worker, Dispatcher], vec![Dispatcher, Scheduler]],
    };
    if dice.percent(30) {
        roles.push(vec![Worker, Scheduler]);
    }
    roles
}
