//! Plans on a real store, with a clock that is moved by hand.

use datasonar_store::{
    Account, Accounts, Environment, NewAccount, Setup, Store,
    sqlite::{SqliteStore, Threading},
};
use jiff::SignedDuration;

use super::*;
use crate::{
    clock::{Clock, Ids, ManualClock},
    config::Sources,
};

struct Scene {
    store: Arc<SqliteStore>,
    settings: Arc<Settings>,
    clock: ManualClock,
    built_in: Scope,
    scope: Scope,
    _folder: tempfile::TempDir,
}

impl Scene {
    /// A store with the built-in account and another of the plan `free`, which has these limits.
    async fn new(limits: &[(&'static str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("store.db"), Threading::Pool).await.unwrap();
        // Half a minute before a month ends.
        let clock = ManualClock::new("2026-11-30T23:59:30Z".parse().unwrap());
        let ids = Ids::seeded(Arc::new(clock.clone()), 7);
        let of = |email: &str, plan: &str, is_built_in| Account {
            id: AccountId(ids.uuid()),
            email: email.to_owned(),
            plan: plan.to_owned(),
            created_at: clock.now(),
            is_built_in,
        };
        let (built_in, other) = (of("owner@localhost", "self-hosted", true), of("a@example.com", "free", false));
        let scope = |account: &Account| Scope { account: account.id, environment: Environment::Production };
        let (built_in_scope, other_scope) = (scope(&built_in), scope(&other));
        let setup = Setup { account: built_in, keys: Vec::new(), secrets: Vec::new(), links: Vec::new() };
        assert!(store.set_up(setup).await.unwrap());
        store.create_account(NewAccount { account: other, secrets: Vec::new() }).await.unwrap();
        let flags = limits.iter().map(|(name, value)| (*name, (*value).to_owned()));
        let settings = Arc::new(Sources::default().flags(flags).settings_without_key().unwrap());
        Self { store, settings, clock, built_in: built_in_scope, scope: other_scope, _folder: folder }
    }

    /// As a process sees it.
    fn plans(&self) -> Plans {
        Plans::new(self.store.clone(), self.settings.clone(), Arc::new(self.clock.clone()))
    }

    fn wait(&self, seconds: i64) {
        self.clock.advance(SignedDuration::from_secs(seconds));
    }
}

/// How many of so many calls are admitted, and how long the last one that is not has to wait.
async fn calls(plans: &Plans, scope: Scope, count: u64) -> (u64, Option<Duration>) {
    let (mut admitted, mut wait) = (0, None);
    for _ in 0..count {
        match plans.admit_call(scope).await {
            Ok(()) => admitted += 1,
            Err(StoreError::LimitReached(reached)) => {
                assert_eq!((reached.limit, reached.plan.as_str()), (Limit::RequestsPerMinute, "free"));
                wait = Some(reached.retry_after);
            }
            Err(error) => panic!("{error}"),
        }
    }
    (admitted, wait)
}

#[tokio::test]
async fn a_minute_has_as_many_calls_as_the_plan_says() {
    let scene = Scene::new(&[("plan_free_requests_per_minute", "45")]).await;
    let plans = scene.plans();
    assert_eq!(calls(&plans, scene.scope, 45).await, (45, None));
    assert_eq!(calls(&plans, scene.scope, 3).await, (0, Some(Duration::from_secs(30))));
    let sandbox = Scope { environment: Environment::Sandbox, ..scene.scope };
    assert_eq!(calls(&plans, sandbox, 10).await, (10, None), "another environment");
    scene.wait(29);
    assert_eq!(calls(&plans, scene.scope, 1).await, (0, Some(Duration::from_secs(1))));
    scene.wait(1);
    assert_eq!(calls(&plans, scene.scope, 50).await, (45, Some(Duration::from_secs(60))));
    assert_eq!(calls(&plans, scene.built_in, 200).await, (200, None));
}

#[tokio::test]
async fn processes_share_a_minute_and_a_death_resets_nothing() {
    let scene = Scene::new(&[("plan_free_requests_per_minute", "100")]).await;
    let processes = [scene.plans(), scene.plans(), scene.plans()];
    let mut admitted = 0;
    for round in 0..300 {
        admitted += calls(&processes[round % 3], scene.scope, 1).await.0;
    }
    assert_eq!(admitted, 100, "whoever is asked often enough uses what it took");
    assert_eq!(calls(&scene.plans(), scene.scope, 5).await.0, 0, "one that was started anew");
    scene.wait(60);
    assert_eq!(calls(&scene.plans(), scene.scope, 5).await.0, 5);
    // That one died with nothing in hand; the next one dies with four permits of five.
    assert_eq!(calls(&scene.plans(), scene.scope, 1).await.0, 1);
    assert_eq!(calls(&scene.plans(), scene.scope, 200).await.0, 90);
}

#[tokio::test]
async fn many_calls_at_once_get_no_more() {
    let scene = Scene::new(&[("plan_free_requests_per_minute", "40")]).await;
    let plans = scene.plans();
    let calls: Vec<_> = (0..120)
        .map(|_| {
            let (plans, scope) = (plans.clone(), scene.scope);
            tokio::spawn(async move { plans.admit_call(scope).await.is_ok() })
        })
        .collect();
    let mut admitted = 0;
    for call in calls {
        admitted += u64::from(call.await.unwrap());
    }
    assert_eq!(admitted, 40);
}

#[tokio::test]
async fn pages_are_those_of_a_month() {
    let scene = Scene::new(&[("plan_free_pages_per_month", "10")]).await;
    let plans = scene.plans();
    assert!(plans.charge(scene.scope, 10).await.unwrap());
    let Err(StoreError::LimitReached(reached)) = plans.charge(scene.scope, 1).await else { panic!("it is used up") };
    assert_eq!((reached.limit, reached.used, reached.retry_after), (Limit::PagesPerMonth, 10, Duration::from_secs(30)));
    // Another process, after this one has died.
    assert!(scene.plans().charge(scene.scope, 1).await.is_err());
    scene.wait(30);
    assert!(plans.charge(scene.scope, 10).await.unwrap());
    assert_eq!(plans.spent(scene.scope).await.unwrap().unwrap().pages, 10);
    assert!(!plans.charge(scene.built_in, 1_000_000).await.unwrap(), "what has no limit is counted afterwards");
    assert_eq!(plans.allowance(scene.built_in).await.unwrap(), None);
    assert_eq!(plans.spent(scene.built_in).await.unwrap(), None);
}

#[tokio::test]
async fn a_plan_counts_from_the_moment_it_is_given() {
    let scene = Scene::new(&[("plan_free_result_retention", "1h"), ("plan_pro_result_retention", "2h")]).await;
    let plans = scene.plans();
    let hours = |hours: u64| Duration::from_secs(hours * 60 * 60);
    assert_eq!(plans.retention(scene.scope.account).await.unwrap(), hours(1));
    scene.store.set_plan(scene.scope.account, "pro".to_owned()).await.unwrap();
    assert_eq!(plans.retention(scene.scope.account).await.unwrap(), hours(2));
    assert_eq!(plans.retention(scene.built_in.account).await.unwrap(), scene.settings.result_retention);
    // As a newer version may have written it.
    scene.store.set_plan(scene.scope.account, "platinum".to_owned()).await.unwrap();
    let limits = plans.of(scene.scope.account).await.unwrap();
    assert_eq!((limits.plan.as_str(), limits.limits.result_retention), ("free", hours(1)));
    let nobody = AccountId(uuid::Uuid::nil());
    assert!(matches!(plans.of(nobody).await, Err(StoreError::NotFound)));
}
