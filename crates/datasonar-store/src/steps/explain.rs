//! How the questions of the dashboard, those of [`crate::Insight`] and all others, are answered: each is asked, and the database tells its plan for every statement of it.
//!
//! For tests, which see that nothing is read as a whole, and for the benchmark, which shows it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::{
    Engine, accounts, activity, allowance, attempts, bulk, deliveries, frontier, insight, jobs, page_errors, people,
    schedules, secrets,
};
use crate::sql::recorder::recorded;
use crate::sql::{self, Connection, Row};
use crate::{
    BUCKET_MS, DeadLetterKey, DeliveryId, DeliverySearch, DeliveryStatus, EndpointSearch, JobId, JobKind, JobSearch,
    JobStatus, Page, Part, Position, Result, ScheduleId, Scope, Selection, StoreError, UserId, Webhook,
};

/// A statement that a question led to, and its plan.
#[derive(Clone, Debug)]
pub struct Explained {
    /// The question.
    pub question: String,
    /// The statement.
    pub sql: String,
    /// What the database says of it, line by line.
    pub plan: Vec<String>,
}

/// What the questions are asked about.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Whose.
    pub scope: Scope,
    /// A time at which there is much.
    pub now: Timestamp,
    /// A job, with a delivery of the same id or none.
    pub job: JobId,
    /// A schedule.
    pub schedule: ScheduleId,
    /// An endpoint.
    pub endpoint: Webhook,
}

/// Asks everything, and has each statement explained by what begins with `explain`.
pub(crate) async fn explained<E: Engine>(store: &E, asked: Asked, explain: &'static str) -> Result<Vec<Explained>> {
    let step = move |c: &Connection| {
        let mut told = Vec::new();
        for (question, ask) in questions(&asked) {
            let (answered, seen) = recorded(|| ask(c));
            answered?;
            for (sql, values) in seen {
                let rows = c.query(&format!("{explain} {sql}"), &values)?;
                // SQLite's plans stand in the last of four columns, PostgreSQL's in the only one.
                let line = |row: &Row| row.get::<_, String>("detail").or_else(|_| row.get::<_, String>(0));
                let plan = rows.iter().map(line).collect::<sql::Result<_>>()?;
                told.push(Explained { question: question.clone(), sql, plan });
            }
        }
        Ok(told)
    };
    store.read(step).await
}

type Ask = Box<dyn Fn(&Connection) -> Result<()>>;

/// What is not there was asked for all the same.
fn known<T>(answer: Result<T>) -> Result<()> {
    match answer {
        Err(StoreError::NotFound) => Ok(()),
        answer => answer.map(drop),
    }
}

/// Every question of the dashboard, with every combination of what lists are searched by.
fn questions(asked: &Asked) -> Vec<(String, Ask)> {
    let Asked { scope, now, job, schedule, endpoint } = asked.clone();
    let week = now - SignedDuration::from_hours(7 * 24);
    let mut all: Vec<(String, Ask)> = Vec::new();
    let mut add = |name: &str, ask: Ask| all.push((name.to_owned(), ask));
    add("activity", Box::new(move |c| activity::activity(c, scope, week, now, BUCKET_MS).map(drop)));
    add("standing", Box::new(move |c| insight::standing(c, scope).map(drop)));
    add("dead letters", Box::new(move |c| insight::dead_letters(c, scope, 50).map(drop)));
    let group = DeadLetterKey { url: endpoint.url.clone(), cause: "503".to_owned() };
    add(
        "dead letters of a group",
        Box::new(move |c| insight::dead_letters_of(c, scope, &group, Some(DeliveryId(Uuid::nil())), 50).map(drop)),
    );
    add("endpoints", Box::new(move |c| activity::endpoints(c, scope, week, 50).map(drop)));
    add("errors of a job", Box::new(move |c| page_errors::errors(c, scope, job).map(drop)));
    let page = Page { limit: 50, before: None };
    add("a job", Box::new(move |c| known(jobs::job(c, scope, job))));
    add("results of a job", Box::new(move |c| jobs::finished_tasks(c, job, 0, 50).map(drop)));
    add("what a crawl skipped", Box::new(move |c| known(frontier::skipped(c, scope, job, 0, 50))));
    add("a delivery", Box::new(move |c| known(deliveries::delivery(c, scope, DeliveryId(job.0)))));
    add("attempts of a delivery", Box::new(move |c| known(attempts::attempts(c, scope, DeliveryId(job.0)))));
    add("a schedule", Box::new(move |c| known(schedules::schedule(c, scope, schedule))));
    add(
        "runs of a schedule",
        Box::new(move |c| known(schedules::runs(c, scope, schedule, Page { limit: 50, before: None }))),
    );
    add("bulk replays", Box::new(move |c| bulk::replays(c, scope, Page { limit: 50, before: None }).map(drop)));
    for selected in [None, Some(endpoint.url.clone())] {
        let (status, since, until) = (Some(DeliveryStatus::Failed), None, None);
        let selection = Selection { status, since, until, url: selected };
        add("what would be replayed", Box::new(move |c| bulk::count_looked_at(c, scope, &selection, 10_001).map(drop)));
    }
    add("an account", Box::new(move |c| known(allowance::find(c, Some(scope.account)))));
    add("usage", Box::new(move |c| accounts::usage(c, scope, week).map(drop)));
    add("what is spent", Box::new(move |c| allowance::spent(c, scope, week).map(drop)));
    add("keys", Box::new(move |c| accounts::keys(c, scope.account).map(drop)));
    add("secrets", Box::new(move |c| secrets::secrets(c, scope, now).map(drop)));
    add("members", Box::new(move |c| people::members(c, scope.account).map(drop)));
    add("invitations", Box::new(move |c| people::invitations(c, scope.account, now).map(drop)));
    add("sessions", Box::new(move |c| people::sessions(c, UserId(job.0)).map(drop)));
    add("a session", Box::new(move |c| people::session(c, [7; 32], now, Duration::from_secs(60)).map(drop)));
    add("a user", Box::new(move |c| people::user_by_email(c, "ada@example.com").map(drop)));
    add("schedules with runs", Box::new(move |c| schedules::with_runs(c, scope, page).map(drop)));
    for which in 0..32_u32 {
        let has = |bit: u32| which & (1 << bit) != 0;
        let search = JobSearch {
            status: has(0).then_some(JobStatus::Completed),
            kind: has(1).then_some(JobKind::Batch),
            since: has(2).then_some(week),
            until: None,
            host: has(3).then(|| endpoint.host.clone()),
            has_endpoint: has(4).then_some(true),
            text: None,
        };
        let back = Part { limit: 50, from: if has(2) { Position::NewerThan(job) } else { Position::Newest } };
        add("jobs", Box::new(move |c| insight::find_jobs(c, scope, &search, back).map(drop)));
        let search = DeliverySearch {
            status: has(0).then_some(DeliveryStatus::Failed),
            endpoint: match (has(3), has(4)) {
                (false, _) => None,
                (true, false) => Some(EndpointSearch::Host(endpoint.host.clone())),
                (true, true) => Some(EndpointSearch::Endpoint(endpoint.clone())),
            },
            job: (!has(3) && has(4)).then_some(job),
            since: has(2).then_some(week),
            until: None,
            cause: has(1).then(|| "503".to_owned()),
        };
        let back = match has(2) {
            true => Part { limit: 50, from: Position::NewerThan(DeliveryId(job.0)) },
            false => Part { limit: 50, from: Position::Newest },
        };
        add("deliveries", Box::new(move |c| insight::find_deliveries(c, scope, &search, back).map(drop)));
    }
    all
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;
