//! Checks of accounts, their plans, and what these let a scope use.

use std::time::Duration;

use super::accounts::set_up;
use super::samples::*;
use crate::{
    Account, AccountId, Allowance, Finish, FinishTask, JobId, JobStatus, Limit, LimitReached, NewAccount, NewJob, Page,
    PageAllowance, PageErrors, RunDecision, RunOutcome, RunSchedule, RunTrigger, Scope, Spent, StoreError, Submission,
    TakeRequests, TakenRequests, UsageSample,
};

const DAY: i64 = 86_400;
/// The span that pages are counted in: it ends 100 seconds after the jobs of the checks are accepted.
const UNTIL: i64 = 100;

fn new(scope: Scope, email: &str) -> NewAccount {
    let account = Account {
        id: scope.account,
        email: email.to_owned(),
        plan: "free".to_owned(),
        created_at: at(5),
        is_built_in: false,
    };
    NewAccount { account, secrets: vec![secret(scope, at(5)), secret(sandbox_of(scope), at(5))] }
}

/// What is left, in jobs and pages.
fn allowing(open_jobs: Option<u64>, pages: Option<u64>) -> Option<Allowance> {
    let pages = pages.map(|most| PageAllowance { most, since: at(UNTIL - 30 * DAY), until: at(UNTIL) });
    Some(Allowance { plan: "free".to_owned(), open_jobs, pages })
}

fn within(job: NewJob, allowance: Option<Allowance>) -> NewJob {
    NewJob { allowance, ..job }
}

async fn refused(store: &Tested, job: NewJob) -> LimitReached {
    let (scope, id) = (job.scope, job.id);
    let Err(StoreError::LimitReached(reached)) = store.submit_job(job).await else { panic!("it is over the limit") };
    assert!(matches!(store.job(scope, id).await, Err(StoreError::NotFound)), "nothing was changed");
    reached
}

/// An account comes with its secrets, and is found; accounts are listed, the oldest first.
pub async fn accounts_are_made_and_listed(store: Tested) {
    let built_in = set_up(&store).await;
    let (one, two) = (scope(), scope());
    store.create_account(new(one, "one@example.com")).await.unwrap();
    store.create_account(new(two, "two@example.com")).await.unwrap();
    let found = store.account(Some(one.account)).await.unwrap();
    assert_eq!(found, new(one, "one@example.com").account);
    assert_eq!(store.account_by_email("one@example.com".to_owned()).await.unwrap(), Some(found));
    assert_eq!(store.account_by_email("three@example.com".to_owned()).await.unwrap(), None);
    let first = store.account(None).await.unwrap();
    assert!(first.is_built_in && first.id == built_in);
    for scope in [one, sandbox_of(one)] {
        assert_eq!(store.secrets(scope, at(9)).await.unwrap().len(), 1);
    }
    let ids = async |after, limit| -> Vec<AccountId> {
        store.accounts(after, limit).await.unwrap().into_iter().map(|account| account.id).collect()
    };
    assert_eq!(ids(None, ALL).await, [built_in, one.account, two.account]);
    assert_eq!(ids(None, 1).await, [built_in]);
    assert_eq!(ids(Some(built_in), 1).await, [one.account]);
    assert_eq!(ids(Some(two.account), ALL).await, []);
}

/// Neither an e-mail address nor an id names two accounts; what is refused leaves nothing.
pub async fn an_address_names_one_account(store: Tested) {
    set_up(&store).await;
    let (one, two) = (scope(), scope());
    store.create_account(new(one, "one@example.com")).await.unwrap();
    for twin in [new(two, "one@example.com"), new(one, "two@example.com"), new(two, "owner@example.com")] {
        assert!(matches!(store.create_account(twin).await, Err(StoreError::Conflict(_))));
    }
    assert_eq!(store.accounts(None, ALL).await.unwrap().len(), 2);
    assert_eq!(store.secrets(two, at(9)).await.unwrap(), []);
    assert_eq!(store.secrets(one, at(9)).await.unwrap().len(), 1);
}

/// An account gets another plan, the built-in one none.
pub async fn plans_are_changed(store: Tested) {
    let built_in = set_up(&store).await;
    let one = scope();
    store.create_account(new(one, "one@example.com")).await.unwrap();
    store.set_plan(one.account, "pro".to_owned()).await.unwrap();
    assert_eq!(store.account(Some(one.account)).await.unwrap().plan, "pro");
    assert!(matches!(store.set_plan(built_in, "pro".to_owned()).await, Err(StoreError::Conflict(_))));
    assert_eq!(store.account(None).await.unwrap().plan, "self-hosted");
    let nobody = store.set_plan(AccountId(uuid()), "pro".to_owned()).await;
    assert!(matches!(nobody, Err(StoreError::NotFound)));
}

/// Permits are those of a minute and a scope; a later minute has as many again, and an earlier one none of its own.
pub async fn permits_are_those_of_a_minute(store: Tested) {
    let scope = scope();
    let take = async |scope, minute, wanted| {
        let TakenRequests { minute, granted } =
            store.take_requests(TakeRequests { scope, minute, most: 10, wanted }).await.unwrap();
        (minute, granted)
    };
    assert_eq!(take(scope, 7, 4).await, (7, 4));
    assert_eq!(take(scope, 7, 4).await, (7, 4));
    assert_eq!(take(scope, 7, 4).await, (7, 2), "what is left");
    assert_eq!(take(scope, 7, 4).await, (7, 0));
    assert_eq!(take(sandbox_of(scope), 7, 4).await, (7, 4), "a scope of its own");
    assert_eq!(take(scope, 8, 9).await, (8, 9));
    assert_eq!(take(scope, 7, 4).await, (8, 1), "a clock that is behind");
}

/// However many take at the same moment, a minute has no more than it has.
pub async fn parallel_takers_share_a_minute(store: Tested) {
    let scope = scope();
    let takers = (0..40).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            store.take_requests(TakeRequests { scope, minute: 1, most: 50, wanted: 3 }).await.unwrap()
        })
    });
    let mut granted = 0;
    for taker in takers.collect::<Vec<_>>() {
        granted += taker.await.unwrap().granted;
    }
    assert_eq!(granted, 50);
}

/// Pages are charged before they are asked for, as long as there are some; what they came to is added without them.
pub async fn pages_are_charged_before_they_are_asked_for(store: Tested) {
    let scope = scope();
    let allowance = allowing(None, Some(10)).unwrap();
    let charge = async |scope, pages| store.charge_pages(scope, pages, allowance.clone(), at(0)).await;
    charge(scope, 7).await.unwrap();
    let sample = UsageSample { scope, at: at(1), pages: 7, succeeded: 6, time_ms: 9, is_charged: true };
    store.record_usage(vec![sample]).await.unwrap();
    let used = store.usage(scope, at(0)).await.unwrap();
    assert_eq!((used.pages, used.succeeded, used.time_ms), (7, 6, 9));
    let activity = store.activity(scope, at(0), at(600), 600_000).await.unwrap();
    let pages = activity
        .iter()
        .fold((0, 0), |sum, bucket| (sum.0 + bucket.counts.pages, sum.1 + bucket.counts.pages_succeeded));
    assert_eq!(pages, (7, 6), "what happened has them all the same");
    let Err(StoreError::LimitReached(reached)) = charge(scope, 4).await else { panic!("there are 3 left") };
    assert_eq!(
        reached,
        LimitReached {
            plan: "free".to_owned(),
            limit: Limit::PagesPerMonth,
            most: 10,
            used: 7,
            reserved: 0,
            asked: 4,
            retry_after: seconds(100),
        }
    );
    charge(sandbox_of(scope), 10).await.unwrap();
    charge(scope, 3).await.unwrap();
    assert!(charge(scope, 1).await.is_err());
    let later = Allowance {
        pages: Some(PageAllowance { most: 10, since: at(40 * DAY), until: at(70 * DAY) }),
        ..allowance.clone()
    };
    store.charge_pages(scope, 10, later, at(41 * DAY)).await.unwrap();
}

/// However many charge at the same moment, no more is used than is allowed.
pub async fn parallel_charges_keep_to_the_limit(store: Tested) {
    let scope = scope();
    let charging = (0..40).map(|_| {
        let (store, allowance) = (store.clone(), allowing(None, Some(50)).unwrap());
        tokio::spawn(async move { store.charge_pages(scope, 3, allowance, at(0)).await.is_ok() })
    });
    let mut charged = 0;
    for one in charging.collect::<Vec<_>>() {
        charged += u64::from(one.await.unwrap());
    }
    assert_eq!(charged, 16);
    assert_eq!(store.usage(scope, at(0)).await.unwrap().pages, 48);
}

/// A job is accepted as long as its pages, those that were used, and those of open jobs are no more than are allowed.
pub async fn jobs_keep_to_the_pages_that_are_left(store: Tested) {
    let scope = scope();
    let sized = |scope, tasks| within(silent(batch(scope, tasks)), allowing(None, Some(50)));
    submit(&store, sized(scope, 2)).await;
    let reached = refused(&store, sized(scope, 4)).await;
    assert_eq!((reached.limit, reached.most), (Limit::PagesPerMonth, 50));
    assert_eq!((reached.used, reached.reserved, reached.asked), (0, 20, 40));
    assert!(reached.retry_after < seconds(100), "room comes when a job ends, not with the next month");
    submit(&store, sized(sandbox_of(scope), 5)).await;
    let task = claim(&store, 1).await.remove(0);
    finish(&store, &task).await;
    assert_eq!(store.spent(task.scope, at(0)).await.unwrap().pages, 10);
    while let Some(task) = claim(&store, 1).await.pop() {
        finish(&store, &task).await;
    }
    assert_eq!(store.spent(scope, at(0)).await.unwrap(), Spent { pages: 20, reserved: 0, open_jobs: 0 });
    let reached = refused(&store, sized(scope, 4)).await;
    assert_eq!((reached.used, reached.reserved, reached.retry_after), (20, 0, seconds(100)));
    submit(&store, sized(scope, 3)).await;
    assert_eq!(store.spent(scope, at(0)).await.unwrap(), Spent { pages: 20, reserved: 30, open_jobs: 1 });
    let reached = refused(&store, sized(scope, 6)).await;
    assert_eq!((reached.asked, reached.retry_after), (60, seconds(100)));
    // Without an allowance there is no limit.
    submit(&store, batch(scope, 100)).await;
}

/// However many submit at the same moment, no more is accepted than is allowed.
pub async fn parallel_submissions_keep_to_the_limits(store: Tested) {
    let (by_pages, by_jobs) = (scope(), scope());
    let mut submissions = Vec::new();
    for _ in 0..20 {
        for (scope, allowance) in [(by_pages, allowing(None, Some(75))), (by_jobs, allowing(Some(4), None))] {
            let (store, job) = (store.clone(), within(silent(batch(scope, 1)), allowance));
            submissions.push(tokio::spawn(async move { (scope, store.submit_job(job).await.is_ok()) }));
        }
    }
    let mut accepted = Vec::new();
    for submission in submissions {
        accepted.extend(Some(submission.await.unwrap()).filter(|(_, accepted)| *accepted).map(|(scope, _)| scope));
    }
    assert_eq!(accepted.iter().filter(|scope| **scope == by_pages).count(), 7);
    assert_eq!(accepted.iter().filter(|scope| **scope == by_jobs).count(), 4);
}

/// So many jobs are open at once, and the next when one has ended.
pub async fn open_jobs_are_limited(store: Tested) {
    let scope = scope();
    let one = |scope| within(silent(scrape(scope)), allowing(Some(2), None));
    submit(&store, one(scope)).await;
    let (claimed, _) = (claim(&store, 1).await.remove(0), submit(&store, one(scope)).await);
    let reached = refused(&store, one(scope)).await;
    assert_eq!((reached.limit, reached.most, reached.used), (Limit::ConcurrentJobs, 2, 2));
    assert!(reached.retry_after > Duration::ZERO);
    submit(&store, one(sandbox_of(scope))).await;
    finish(&store, &claimed).await;
    submit(&store, one(scope)).await;
    refused(&store, one(scope)).await;
}

/// A crawl may have as many pages as are left, and sets them aside until it ends.
pub async fn a_crawl_gets_what_is_left(store: Tested) {
    let scope = scope();
    let allowance = || allowing(None, Some(50));
    submit(&store, within(silent(batch(scope, 4)), allowance())).await;
    let crawl = within(silent(crawl(scope, 1_000)), allowance());
    let id = submit(&store, crawl.clone()).await;
    assert_eq!(store.spent(scope, at(0)).await.unwrap(), Spent { pages: 0, reserved: 50, open_jobs: 2 });
    let reached = refused(&store, NewJob { id: JobId(uuid()), ..crawl.clone() }).await;
    assert_eq!((reached.asked, reached.reserved), (1, 50));
    let tasks = claim(&store, ALL).await;
    let start = tasks.iter().find(|task| task.lease.job == id).unwrap();
    let discovery = crate::Discovery { found: (1..40).map(|page| found(page, 1)).collect(), ..Default::default() };
    store.finish_task(FinishTask { discovery, ..outcome(start) }).await.unwrap();
    assert_eq!(store.job(scope, id).await.unwrap().total, 10, "of 40 pages");
    for task in claim(&store, ALL).await {
        finish(&store, &task).await;
    }
    assert_eq!(store.job(scope, id).await.unwrap().status, JobStatus::Completed);
    assert_eq!(store.spent(scope, at(0)).await.unwrap(), Spent { pages: 10, reserved: 40, open_jobs: 1 });
    refused(&store, NewJob { id: JobId(uuid()), ..crawl }).await;
}

/// Pages that were cancelled before they were asked for are not used.
pub async fn cancelled_pages_are_not_used(store: Tested) {
    let scope = scope();
    let id = submit(&store, silent(batch(scope, 1))).await;
    store.cancel_job(scope, id, at(1)).await.unwrap();
    let task = claim(&store, 1).await.remove(0);
    let errors = [("cancelled", 6), ("timeout", 1)]
        .map(|(code, count)| PageErrors { code: code.to_owned(), count, urls: Vec::new() })
        .to_vec();
    let ended = store.finish_task(FinishTask { succeeded: 3, failed: 7, errors, ..outcome(&task) }).await.unwrap();
    assert_eq!(ended, Finish::Job { delivery: None });
    assert_eq!(store.usage(scope, at(0)).await.unwrap().pages, 4);
    assert_eq!(store.spent(scope, at(0)).await.unwrap(), Spent { pages: 4, reserved: 0, open_jobs: 0 });
}

/// Who asks again with the same key gets the first answer, whatever is left; a key that was refused is good for another try.
pub async fn a_repeated_request_is_answered_at_the_limit(store: Tested) {
    let scope = scope();
    let job = within(keyed(silent(scrape(scope)), "one", 1), allowing(Some(1), Some(1)));
    submit(&store, job.clone()).await;
    let answer = job.idempotency.clone().unwrap().answer;
    let again = NewJob { id: JobId(uuid()), ..job.clone() };
    assert_eq!(store.submit_job(again).await.unwrap(), Submission::Repeated { answer });
    let other = within(keyed(silent(scrape(scope)), "two", 2), allowing(Some(1), Some(2)));
    refused(&store, other.clone()).await;
    run_all(&store).await;
    submit(&store, other).await;
}

/// A run of a schedule whose job is over the limit is not recorded: its scheduler says what becomes of it.
pub async fn a_run_over_the_limit_is_not_recorded(store: Tested) {
    let scope = scope();
    let schedule = super::schedules::resting(scope, false);
    let (id, planned_at) = (schedule.id, schedule.next_run_at.unwrap());
    store.create_schedule(schedule).await.unwrap();
    let found = store.schedule(scope, id).await.unwrap();
    let run = |decision| RunSchedule {
        schedule: id,
        version: found.version,
        planned_at,
        next_run_at: Some(at(900)),
        decision,
        trigger: RunTrigger::Cron,
        now: planned_at,
    };
    let job = within(silent(scrape(scope)), allowing(None, Some(0)));
    let over = store.run_schedule(run(RunDecision::Start(Box::new(job)))).await;
    assert!(matches!(over, Err(StoreError::LimitReached(_))));
    assert_eq!(store.schedule(scope, id).await.unwrap(), found);
    store.run_schedule(run(RunDecision::Refuse("over the limit".to_owned()))).await.unwrap();
    let runs = store.runs(scope, id, Page { limit: ALL, before: None }).await.unwrap();
    assert_eq!(runs[0].outcome, RunOutcome::Refused("over the limit".to_owned()));
}
