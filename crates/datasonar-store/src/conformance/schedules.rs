//! Checks of schedules: one run for each time, whoever decides.

use super::samples::*;
use crate::{
    DueSchedule, JobId, JobKind, JobStatus, NewJob, NewSchedule, Overlap, Page, Run, RunDecision, RunOutcome,
    RunSchedule, RunTrigger, Schedule, ScheduleChange, ScheduleId, Scope, StoreError, Submission,
};

fn new(scope: Scope, next: i64) -> NewSchedule {
    NewSchedule {
        id: ScheduleId(uuid()),
        scope,
        name: "nightly".to_owned(),
        cron: "0 3 * * *".to_owned(),
        timezone: "Europe/Berlin".to_owned(),
        overlap: Overlap::Queue,
        paused: false,
        kind: JobKind::Scrape,
        job: r#"{"kind":"scrape"}"#.to_owned(),
        created_at: at(0),
        next_run_at: Some(at(next)),
        idempotency: None,
    }
}

/// A schedule that runs or rests.
pub(super) fn resting(scope: Scope, paused: bool) -> NewSchedule {
    NewSchedule { paused, ..new(scope, 50) }
}

/// Schedules are listed with the last of their runs.
pub async fn schedules_are_listed_with_their_last_run(store: Tested) {
    let scope = scope();
    let list = async |scope: Scope, limit, before| -> Vec<_> {
        let listed = store.schedules_with_runs(scope, Page { limit, before }).await.unwrap();
        listed.into_iter().map(|one| (one.schedule, one.last)).collect()
    };
    let quiet = create(&store, new(scope, 50)).await;
    let busy = create(&store, new(scope, 60)).await;
    create(&store, new(sandbox_of(scope), 60)).await;
    assert_eq!(list(scope, ALL, None).await, [(busy.clone(), None), (quiet.clone(), None)]);
    store.run_schedule(run(&busy, RunDecision::Skip)).await.unwrap();
    let busy = fresh(&store, &busy).await;
    let (job, decision) = start(scope);
    store.run_schedule(run(&busy, decision)).await.unwrap();
    let busy = fresh(&store, &busy).await;
    let last = all_runs(&store, &busy).await.remove(0);
    assert_eq!((&last.outcome, last.job_status), (&RunOutcome::Started(job), Some(JobStatus::Pending)));
    assert_eq!(list(scope, ALL, None).await, [(busy.clone(), Some(last.clone())), (quiet.clone(), None)]);
    assert_eq!(list(scope, 1, None).await, [(busy.clone(), Some(last))]);
    assert_eq!(list(scope, ALL, Some(busy.id)).await, [(quiet, None)]);
}

async fn create(store: &Tested, new: NewSchedule) -> Schedule {
    let (scope, id) = (new.scope, new.id);
    assert_eq!(store.create_schedule(new).await.unwrap(), Submission::Accepted);
    store.schedule(scope, id).await.unwrap()
}

fn change(schedule: &Schedule) -> ScheduleChange {
    let Schedule { name, cron, timezone, overlap, paused, kind, job, next_run_at, .. } = schedule.clone();
    ScheduleChange { name, cron, timezone, overlap, paused, kind, job, next_run_at }
}

/// A run at the schedule's own next time; the one after is an hour later.
fn run(schedule: &Schedule, decision: RunDecision) -> RunSchedule {
    let planned_at = schedule.next_run_at.unwrap();
    RunSchedule {
        schedule: schedule.id,
        version: schedule.version,
        planned_at,
        next_run_at: Some(after(planned_at, seconds(3_600))),
        decision,
        trigger: RunTrigger::Cron,
        now: planned_at,
    }
}

fn start(scope: Scope) -> (JobId, RunDecision) {
    let job = silent(scrape(scope));
    (job.id, RunDecision::Start(Box::new(job)))
}

async fn all_runs(store: &Tested, schedule: &Schedule) -> Vec<Run> {
    store.runs(schedule.scope, schedule.id, Page { limit: ALL, before: None }).await.unwrap()
}

async fn due_at(store: &Tested, time: i64) -> Vec<DueSchedule> {
    store.due_schedules(at(time), ALL).await.unwrap()
}

async fn fresh(store: &Tested, schedule: &Schedule) -> Schedule {
    store.schedule(schedule.scope, schedule.id).await.unwrap()
}

fn is_conflict<T>(result: crate::Result<T>) -> bool {
    matches!(result, Err(StoreError::Conflict(_)))
}

/// A schedule is kept as it was made, and changed as a whole.
pub async fn schedules_are_kept_and_changed(store: Tested) {
    let scope = scope();
    let made = new(scope, 50);
    let schedule = create(&store, made.clone()).await;
    assert_eq!((&schedule.name, &schedule.cron, &schedule.timezone), (&made.name, &made.cron, &made.timezone));
    assert_eq!((schedule.overlap, schedule.kind, &schedule.job), (made.overlap, made.kind, &made.job));
    assert_eq!((schedule.created_at, schedule.updated_at, schedule.version), (at(0), at(0), 1));
    let wanted = ScheduleChange {
        name: "hourly".to_owned(),
        cron: "0 * * * *".to_owned(),
        timezone: "UTC".to_owned(),
        overlap: Overlap::Allow,
        paused: true,
        kind: JobKind::Crawl,
        job: "{}".to_owned(),
        next_run_at: None,
    };
    store.change_schedule(scope, schedule.id, 1, wanted.clone(), at(7)).await.unwrap();
    let changed = fresh(&store, &schedule).await;
    let expected = Schedule {
        name: wanted.name,
        cron: wanted.cron,
        timezone: wanted.timezone,
        overlap: Overlap::Allow,
        paused: true,
        kind: JobKind::Crawl,
        job: wanted.job,
        next_run_at: None,
        updated_at: at(7),
        version: 2,
        ..schedule.clone()
    };
    assert_eq!(changed, expected);
    assert!(is_conflict(store.change_schedule(scope, schedule.id, 1, change(&schedule), at(8)).await));
    let other = self::scope();
    for error in [
        store.schedule(other, schedule.id).await.unwrap_err(),
        store.change_schedule(other, schedule.id, 2, change(&schedule), at(8)).await.unwrap_err(),
        store.delete_schedule(other, schedule.id).await.unwrap_err(),
        store.runs(other, schedule.id, Page { limit: 1, before: None }).await.unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::NotFound));
    }
}

/// The same request twice is one schedule.
pub async fn a_schedule_is_created_once(store: Tested) {
    let scope = scope();
    let idempotency = keyed(batch(scope, 1), "key", 1).idempotency;
    let first = NewSchedule { idempotency: idempotency.clone(), ..new(scope, 50) };
    create(&store, first).await;
    let again = NewSchedule { idempotency: idempotency.clone(), ..new(scope, 50) };
    let answer = idempotency.unwrap().answer;
    assert_eq!(store.create_schedule(again).await.unwrap(), Submission::Repeated { answer });
    let other = NewSchedule { idempotency: keyed(batch(scope, 1), "key", 2).idempotency, ..new(scope, 50) };
    assert!(matches!(store.create_schedule(other).await, Err(StoreError::IdempotencyMismatch)));
    assert_eq!(store.schedules(scope, Page { limit: ALL, before: None }).await.unwrap().len(), 1);
}

/// Newest first, in parts, of one scope.
pub async fn schedules_are_listed(store: Tested) {
    let scope = scope();
    create(&store, new(self::scope(), 50)).await;
    let mut all = Vec::new();
    for _ in 0..5 {
        all.insert(0, create(&store, new(scope, 50)).await);
    }
    assert_eq!(store.schedules(scope, Page { limit: 3, before: None }).await.unwrap(), all[..3]);
    let rest = Page { limit: 3, before: Some(all[2].id) };
    assert_eq!(store.schedules(scope, rest).await.unwrap(), all[3..]);
    store.delete_schedule(scope, all[0].id).await.unwrap();
    assert_eq!(store.schedules(scope, Page { limit: ALL, before: None }).await.unwrap(), all[1..]);
}

/// Due is what has come, earliest first, and does not rest.
pub async fn schedules_are_due_at_their_times(store: Tested) {
    let scope = scope();
    assert_eq!(store.next_schedule_at().await.unwrap(), None);
    let late = create(&store, new(scope, 60)).await;
    let early = create(&store, new(scope, 50)).await;
    create(&store, NewSchedule { paused: true, ..new(scope, 10) }).await;
    create(&store, NewSchedule { next_run_at: None, ..new(scope, 10) }).await;
    assert_eq!(store.next_schedule_at().await.unwrap(), Some(at(50)));
    assert_eq!(due_at(&store, 49).await, []);
    let due = |schedule: &Schedule| DueSchedule { schedule: schedule.clone(), is_open: false, queued: None };
    assert_eq!(due_at(&store, 50).await, [due(&early)]);
    assert_eq!(due_at(&store, 60).await, [due(&early), due(&late)]);
    assert_eq!(store.due_schedules(at(60), 1).await.unwrap(), [due(&early)]);
}

/// A time has one run, its job and the next time come with it, and who decides late changes nothing.
pub async fn a_time_runs_once(store: Tested) {
    let scope = scope();
    let schedule = create(&store, new(scope, 50)).await;
    let (job, decision) = start(scope);
    let first = run(&schedule, decision);
    assert_eq!(store.run_schedule(first.clone()).await.unwrap(), Submission::Accepted);
    let now = fresh(&store, &schedule).await;
    assert_eq!((now.next_run_at, now.version), (Some(at(3_650)), 2));
    assert_eq!(store.job(scope, job).await.unwrap().status, JobStatus::Pending);
    let (second_job, decision) = start(scope);
    assert!(is_conflict(store.run_schedule(RunSchedule { decision: decision.clone(), ..first.clone() }).await));
    assert!(is_conflict(store.run_schedule(RunSchedule { decision, version: 2, ..first.clone() }).await));
    assert!(matches!(store.job(scope, second_job).await, Err(StoreError::NotFound)));
    assert!(is_conflict(store.change_schedule(scope, schedule.id, 1, change(&schedule), at(51)).await));
    let expected = Run {
        schedule: schedule.id,
        planned_at: at(50),
        outcome: RunOutcome::Started(job),
        trigger: RunTrigger::Cron,
        at: at(50),
        job_status: Some(JobStatus::Pending),
    };
    assert_eq!(all_runs(&store, &schedule).await, [expected]);
    store.delete_schedule(scope, schedule.id).await.unwrap();
    assert!(matches!(store.run_schedule(run(&now, RunDecision::Skip)).await, Err(StoreError::NotFound)));
    assert!(store.job(scope, job).await.is_ok(), "its jobs stay");
}

/// Of many that decide at once, one starts a job.
pub async fn many_schedulers_start_one_job(store: Tested) {
    let scope = scope();
    let schedule = create(&store, new(scope, 50)).await;
    let mut deciding = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (store, run) = (store.clone(), run(&schedule, start(scope).1));
        deciding.spawn(async move { store.run_schedule(run).await.is_ok() });
    }
    let started = deciding.join_all().await.into_iter().filter(|started| *started).count();
    assert_eq!(started, 1);
    assert_eq!(store.totals().await.unwrap().jobs_open, 1);
}

/// A run that waits is due when the job before has ended, and then takes the place of its entry.
pub async fn a_run_waits_for_the_job_before(store: Tested) {
    let scope = scope();
    let schedule = create(&store, new(scope, 50)).await;
    let (first, decision) = start(scope);
    store.run_schedule(run(&schedule, decision)).await.unwrap();
    let schedule = fresh(&store, &schedule).await;
    let due = due_at(&store, 3_650).await;
    assert_eq!((due.len(), due[0].is_open, due[0].queued), (1, true, None));
    store.run_schedule(run(&schedule, RunDecision::Queue)).await.unwrap();
    assert_eq!(due_at(&store, 3_650).await, [], "the job is open");
    let task = claim(&store, ALL).await.pop().unwrap();
    finish(&store, &task).await;
    let schedule = fresh(&store, &schedule).await;
    let due = due_at(&store, 3_650).await;
    assert_eq!(due, [DueSchedule { schedule: schedule.clone(), is_open: false, queued: Some(at(3_650)) }]);
    let (second, decision) = start(scope);
    let waited = RunSchedule {
        planned_at: at(3_650),
        next_run_at: schedule.next_run_at,
        now: at(4_000),
        ..run(&schedule, decision)
    };
    store.run_schedule(waited).await.unwrap();
    assert_eq!(due_at(&store, 3_650).await, []);
    assert_eq!(fresh(&store, &schedule).await.next_run_at, Some(at(7_250)));
    let outcomes: Vec<_> = all_runs(&store, &schedule).await.into_iter().map(|run| run.outcome).collect();
    assert_eq!(outcomes, [RunOutcome::Started(second), RunOutcome::Started(first)]);
}

/// Any of the jobs that were started keeps a run waiting, not the last alone.
pub async fn an_older_job_counts_as_open(store: Tested) {
    let scope = scope();
    let mut schedule = create(&store, new(scope, 50)).await;
    for _ in 0..2 {
        store.run_schedule(run(&schedule, start(scope).1)).await.unwrap();
        schedule = fresh(&store, &schedule).await;
    }
    let last = claim(&store, ALL).await.into_iter().max_by_key(|task| task.lease.job).unwrap();
    finish(&store, &last).await;
    assert!(due_at(&store, 7_250).await[0].is_open);
}

/// What is left out and what is refused is told, with the reason.
pub async fn what_comes_of_a_time_is_told(store: Tested) {
    let scope = scope();
    let schedule = create(&store, new(scope, 50)).await;
    store.run_schedule(run(&schedule, RunDecision::Skip)).await.unwrap();
    let schedule = fresh(&store, &schedule).await;
    let reason = "/job/url: is missing".to_owned();
    store.run_schedule(run(&schedule, RunDecision::Refuse(reason.clone()))).await.unwrap();
    let runs = all_runs(&store, &schedule).await;
    let told: Vec<_> = runs.iter().map(|run| (run.planned_at, run.outcome.clone(), run.job_status)).collect();
    assert_eq!(told, [(at(3_650), RunOutcome::Refused(reason), None), (at(50), RunOutcome::Skipped, None)]);
    let page = |limit, before| Page { limit, before };
    assert_eq!(store.runs(scope, schedule.id, page(1, None)).await.unwrap(), runs[..1]);
    assert_eq!(store.runs(scope, schedule.id, page(9, Some(at(3_650)))).await.unwrap(), runs[1..]);
}

/// A person's run moves nothing, and has a time of its own.
pub async fn a_person_may_run_it_now(store: Tested) {
    let scope = scope();
    let schedule = create(&store, new(scope, 50)).await;
    let manual = |decision| RunSchedule {
        planned_at: at(20),
        version: 99,
        trigger: RunTrigger::Manual,
        now: at(20),
        ..run(&schedule, decision)
    };
    let (job, decision) = start(scope);
    store.run_schedule(manual(decision)).await.unwrap();
    assert_eq!(fresh(&store, &schedule).await, schedule);
    let (_, decision) = start(scope);
    assert!(is_conflict(store.run_schedule(manual(decision)).await));
    let runs = all_runs(&store, &schedule).await;
    assert_eq!((runs.len(), &runs[0].outcome, runs[0].trigger), (1, &RunOutcome::Started(job), RunTrigger::Manual));
    let repeated = NewJob { ..keyed(silent(scrape(scope)), "k", 1) };
    let later = |job: NewJob| RunSchedule { planned_at: at(21), ..manual(RunDecision::Start(Box::new(job))) };
    store.run_schedule(later(repeated.clone())).await.unwrap();
    let again = NewJob { id: JobId(uuid()), ..repeated.clone() };
    let answer = repeated.idempotency.unwrap().answer;
    let run = RunSchedule { planned_at: at(22), ..later(again) };
    assert_eq!(store.run_schedule(run).await.unwrap(), Submission::Repeated { answer });
    assert_eq!(all_runs(&store, &schedule).await.len(), 2);
}

/// Runs go with the logs, but for one that waits.
pub async fn runs_are_deleted_with_the_logs(store: Tested) {
    let scope = scope();
    let mut schedule = create(&store, new(scope, 50)).await;
    for decision in [RunDecision::Skip, RunDecision::Queue, RunDecision::Skip] {
        store.run_schedule(run(&schedule, decision)).await.unwrap();
        schedule = fresh(&store, &schedule).await;
    }
    store.delete_logs(at(5_000), at(5_000), ALL).await.unwrap();
    let outcomes: Vec<_> = all_runs(&store, &schedule).await.into_iter().map(|run| run.outcome).collect();
    assert_eq!(outcomes, [RunOutcome::Skipped, RunOutcome::Queued]);
}
