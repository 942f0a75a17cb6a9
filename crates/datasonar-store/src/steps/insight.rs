//! Answering those who look at a scope as a whole: see [`Insight`].

use async_trait::async_trait;
use jiff::Timestamp;

use super::listing::{Looking, Range, Wanted, look};
use super::{Engine, accounts, activity, bulk, deliveries, jobs, page_errors, schedules};
use crate::sql::codec::{Millis, time, unsigned};
use crate::sql::{self, Connection, OptionalExtension, Row, owned, params};
use crate::{
    ActivityBucket, Attempt, COUNTED, CappedCount, DeadLetterGroup, DeadLetterKey, DeadLetters, DeliveryId,
    DeliverySearch, DeliveryStatus, EndpointHealth, EndpointSearch, GROUP_COUNTED, Insight, Job, JobId, JobSearch,
    JobStatus, KeyId, LastAttempt, ListedDelivery, Listing, Page, PageErrors, Part, Position, Result, ScheduleId,
    ScheduleOverview, Scope, Selection, Standing,
};

#[async_trait]
impl<E: Engine> Insight for E {
    async fn activity(
        &self,
        scope: Scope,
        since: Timestamp,
        until: Timestamp,
        bucket_ms: i64,
    ) -> Result<Vec<ActivityBucket>> {
        self.read(move |c| activity::activity(c, scope, since, until, bucket_ms)).await
    }

    async fn standing(&self, scope: Scope) -> Result<Standing> {
        self.read(move |c| standing(c, scope)).await
    }

    async fn find_jobs(&self, scope: Scope, search: JobSearch, part: Part<JobId>) -> Result<Listing<Job, JobId>> {
        self.read(move |c| find_jobs(c, scope, &search, part)).await
    }

    async fn find_deliveries(
        &self,
        scope: Scope,
        search: DeliverySearch,
        part: Part<DeliveryId>,
    ) -> Result<Listing<ListedDelivery, DeliveryId>> {
        self.read(move |c| find_deliveries(c, scope, &search, part)).await
    }

    async fn dead_letters(&self, scope: Scope, limit: u32) -> Result<DeadLetters> {
        self.read(move |c| dead_letters(c, scope, limit)).await
    }

    async fn count_replayable(&self, scope: Scope, selection: Selection) -> Result<CappedCount> {
        let (looked, count) = self.read(move |c| bulk::count_looked_at(c, scope, &selection, COUNTED + 1)).await?;
        Ok(CappedCount { count: count.min(COUNTED), is_capped: looked > COUNTED })
    }

    async fn dead_letters_of(
        &self,
        scope: Scope,
        group: DeadLetterKey,
        after: Option<DeliveryId>,
        limit: u32,
    ) -> Result<Vec<ListedDelivery>> {
        self.read(move |c| dead_letters_of(c, scope, &group, after, limit)).await
    }

    async fn endpoints(&self, scope: Scope, since: Timestamp, limit: u32) -> Result<Vec<EndpointHealth>> {
        self.read(move |c| activity::endpoints(c, scope, since, limit)).await
    }

    async fn job_errors(&self, scope: Scope, job: JobId) -> Result<Vec<PageErrors>> {
        self.read(move |c| page_errors::errors(c, scope, job)).await
    }

    async fn schedules_with_runs(&self, scope: Scope, page: Page<ScheduleId>) -> Result<Vec<ScheduleOverview>> {
        self.read(move |c| schedules::with_runs(c, scope, page)).await
    }

    async fn touch_keys(&self, uses: Vec<(KeyId, Timestamp)>) -> Result<()> {
        self.write(move |c| accounts::touch_keys(c, &uses)).await
    }
}

/// How an attempt ended, in a word (see [`LastAttempt::cause`]).
pub(super) fn cause(attempt: &Attempt) -> String {
    let code = attempt.response_status.map(|code| code.to_string());
    match &attempt.error {
        None => code.unwrap_or_default(),
        Some(error) if matches!(error.code.as_str(), "http_status" | "redirect") => {
            code.unwrap_or_else(|| error.code.clone())
        }
        Some(error) => error.code.clone(),
    }
}

/// Each count walks an index that holds what it counts, and stops.
pub(super) fn standing(connection: &Connection, scope: Scope) -> Result<Standing> {
    const JOBS: &str = "SELECT count(*) AS rows FROM (SELECT 1 AS one FROM jobs INDEXED BY jobs_by_status
        WHERE account = ? AND environment = ? AND status = ? LIMIT ?) AS looked";
    const DELIVERIES: &str =
        "SELECT count(*) AS rows FROM (SELECT 1 AS one FROM deliveries INDEXED BY deliveries_by_status
        WHERE account = ? AND environment = ? AND status = ? LIMIT ?) AS looked";
    const SCHEDULES: &str = "SELECT count(CASE WHEN paused = 0 THEN 1 END) AS active, count(CASE WHEN paused = 1 THEN 1 END) AS paused
        FROM (SELECT paused FROM schedules INDEXED BY schedules_by_scope WHERE account = ? AND environment = ? LIMIT ?) AS looked";
    let most = COUNTED as i64 + 1;
    let jobs = |status: JobStatus| -> Result<CappedCount> {
        let counted = params![scope.account, scope.environment, status, most];
        Ok(capped(connection.prepare(JOBS).query_row(counted, |row| unsigned(row, "rows"))?))
    };
    let (active, paused) =
        connection.prepare(SCHEDULES).query_row(params![scope.account, scope.environment, most], |row| {
            Ok((unsigned(row, "active")?, unsigned(row, "paused")?))
        })?;
    let deliveries = |status| count_deliveries(connection, DELIVERIES, scope, status);
    let is_capped = active + paused > COUNTED;
    let of_schedules = |count: u64| CappedCount { count: count.min(COUNTED), is_capped };
    Ok(Standing {
        jobs_pending: jobs(JobStatus::Pending)?,
        jobs_started: jobs(JobStatus::Started)?,
        deliveries_pending: deliveries(DeliveryStatus::Pending)?,
        dead_letters: deliveries(DeliveryStatus::Failed)?,
        schedules_active: of_schedules(active),
        schedules_paused: of_schedules(paused),
    })
}

fn count_deliveries(connection: &Connection, sql: &str, scope: Scope, status: DeliveryStatus) -> Result<CappedCount> {
    let counted = params![scope.account, scope.environment, status, COUNTED as i64 + 1];
    Ok(capped(connection.prepare(sql).query_row(counted, |row| unsigned(row, "rows"))?))
}

fn capped(rows: u64) -> CappedCount {
    CappedCount { count: rows.min(COUNTED), is_capped: rows > COUNTED }
}

pub(super) fn find_jobs(
    connection: &Connection,
    scope: Scope,
    search: &JobSearch,
    part: Part<JobId>,
) -> Result<Listing<Job, JobId>> {
    let mut wanted = Vec::new();
    let mut range = Range::of_time(search.since, search.until);
    let host = |host: &String| {
        let says = " AND webhook_host IS NOT NULL";
        Wanted::by_index("webhook_host = ?", &host.to_ascii_lowercase(), "jobs_by_host", says)
    };
    if let Some(own) = &search.host {
        wanted.push(host(own)?);
    }
    if let Some(text) = search.text.as_deref().map(str::trim).filter(|text| !text.is_empty()) {
        match Range::of_beginning(text) {
            Some(ids) => range = range.and(ids),
            None => wanted.push(host(&text.to_owned())?),
        }
    }
    if let Some(status) = search.status {
        wanted.push(Wanted::by_index("status = ?", &status, "jobs_by_status", "")?);
    }
    if let Some(kind) = search.kind {
        wanted.push(Wanted::by_index("kind = ?", &kind, "jobs_by_kind", "")?);
    }
    if let Some(has_endpoint) = search.has_endpoint {
        wanted.push(Wanted::by_looking("(webhook_host IS NOT NULL) = ?", &has_endpoint)?);
    }
    let columns = "status, kind, webhook_host";
    let looking = Looking { table: "jobs", columns, all: "jobs_by_scope", scope, range, wanted };
    let found = look(connection, &looking, part_of(part, |id: JobId| id.0))?;
    let rows = jobs::by_ids(connection, found.ids.into_iter().map(JobId))?;
    Ok(Listing {
        rows: rows.into_iter().flatten().collect(),
        newer: found.newer.map(JobId),
        older: found.older.map(JobId),
    })
}

pub(super) fn find_deliveries(
    connection: &Connection,
    scope: Scope,
    search: &DeliverySearch,
    part: Part<DeliveryId>,
) -> Result<Listing<ListedDelivery, DeliveryId>> {
    let mut wanted = Vec::new();
    let host = |host: &str| Wanted::by_index("host = ?", &host.to_ascii_lowercase(), "deliveries_by_host", "");
    match &search.endpoint {
        None => {}
        Some(EndpointSearch::Host(own)) => wanted.push(host(own)?),
        Some(EndpointSearch::Endpoint(endpoint)) => {
            wanted.push(host(&endpoint.host)?);
            wanted.push(Wanted::by_looking("url = ?", &endpoint.url)?);
        }
    }
    if let Some(cause) = &search.cause {
        // Only trouble has an index: what succeeds is most of all there is.
        wanted.push(if cause.as_str() >= "3" {
            Wanted::by_index("last_cause = ?", cause, "deliveries_troubled", " AND last_cause >= '3'")?
        } else {
            Wanted::by_looking("last_cause = ?", cause)?
        });
    }
    if let Some(status) = search.status {
        wanted.push(Wanted::by_index("status = ?", &status, "deliveries_by_status", "")?);
    }
    let mut range = Range::of_time(search.since, search.until);
    if let Some(job) = search.job {
        // It has one at most.
        const OF_JOB: &str = "SELECT id FROM deliveries WHERE job = ?";
        let own = connection.prepare(OF_JOB).query_row([job], |row| row.get::<_, DeliveryId>("id")).optional()?;
        range = range.and(own.map_or(Range::NONE, |id| Range::of_id(id.0)));
    }
    let columns = "status, host, url, last_cause";
    let looking = Looking { table: "deliveries", columns, all: "deliveries_by_scope", scope, range, wanted };
    let found = look(connection, &looking, part_of(part, |id: DeliveryId| id.0))?;
    const SELECT: &str = deliveries::select!("WHERE id = ?");
    let rows = connection.prepare(SELECT).query_all(found.ids.into_iter().map(|id| owned![DeliveryId(id)]))?;
    let rows = rows.iter().flatten().map(read_listed).collect::<sql::Result<_>>()?;
    Ok(Listing { rows, newer: found.newer.map(DeliveryId), older: found.older.map(DeliveryId) })
}

fn part_of<Id>(part: Part<Id>, plain: impl Fn(Id) -> uuid::Uuid) -> Part<uuid::Uuid> {
    let from = match part.from {
        Position::Newest => Position::Newest,
        Position::OlderThan(id) => Position::OlderThan(plain(id)),
        Position::NewerThan(id) => Position::NewerThan(plain(id)),
    };
    Part { limit: part.limit, from }
}

fn read_listed(row: &Row) -> sql::Result<ListedDelivery> {
    let cause: String = row.get("last_cause")?;
    let last = if cause.is_empty() {
        None
    } else {
        let latency: Option<i64> = row.get("last_ms")?;
        let latency_ms = latency.and_then(|ms| u64::try_from(ms).ok()).unwrap_or(0);
        Some(LastAttempt { code: row.get("last_code")?, cause, latency_ms })
    };
    Ok(ListedDelivery { delivery: deliveries::read(row)?, last })
}

/// The oldest of each group is found by going from group to group through their index. Where there are more than [`GROUPS`], those are told
/// that are among the [`OLDEST`] oldest: whose oldest are the oldest is then told rightly, too.
pub(super) fn dead_letters(connection: &Connection, scope: Scope, limit: u32) -> Result<DeadLetters> {
    const TOTAL: &str = "SELECT count(*) AS rows FROM (SELECT 1 AS one FROM deliveries INDEXED BY deliveries_by_status
        WHERE account = ? AND environment = ? AND status = ? LIMIT ?) AS looked";
    const BY_GROUP: &str = "SELECT d.url, d.last_cause, d.host, d.created_at FROM (
        WITH RECURSIVE oldest (id, number) AS (
            SELECT (SELECT f.id FROM deliveries f INDEXED BY deliveries_dead WHERE f.account = ?1 AND f.environment = ?2
                AND f.status = 'failed' ORDER BY f.url, f.last_cause, f.id LIMIT 1), 1
            UNION ALL
            SELECT coalesce(
                (SELECT n.id FROM deliveries n INDEXED BY deliveries_dead WHERE n.account = ?1 AND n.environment = ?2
                    AND n.status = 'failed' AND n.url = p.url AND n.last_cause > p.last_cause ORDER BY n.last_cause, n.id LIMIT 1),
                (SELECT n.id FROM deliveries n INDEXED BY deliveries_dead WHERE n.account = ?1 AND n.environment = ?2
                    AND n.status = 'failed' AND n.url > p.url ORDER BY n.url, n.last_cause, n.id LIMIT 1)), o.number + 1
            FROM oldest o CROSS JOIN deliveries p WHERE p.id = o.id AND o.number <= ?3)
        SELECT id FROM oldest) AS g CROSS JOIN deliveries d WHERE d.id = g.id";
    const BY_AGE: &str = "SELECT url, last_cause, min(host) AS host, min(created_at) AS created_at
        FROM (SELECT url, last_cause, host, created_at FROM deliveries INDEXED BY deliveries_by_status
            WHERE account = ? AND environment = ? AND status = 'failed' ORDER BY id LIMIT ?) AS looked
        GROUP BY url, last_cause";
    let total = count_deliveries(connection, TOTAL, scope, DeliveryStatus::Failed)?;
    let read = |row: &Row| {
        let oldest = row.get::<_, Millis>("created_at")?.0;
        Ok(DeadLetterGroup {
            key: DeadLetterKey { url: row.get("url")?, cause: row.get("last_cause")? },
            host: row.get("host")?,
            count: CappedCount::default(),
            oldest,
            newest: oldest,
            next_attempt_at: None,
        })
    };
    let of = params![scope.account, scope.environment, GROUPS as i64];
    let mut groups = connection.prepare(BY_GROUP).query_map(of, read)?;
    if groups.len() > GROUPS {
        let of = params![scope.account, scope.environment, OLDEST];
        groups = connection.prepare(BY_AGE).query_map(of, read)?;
    }
    groups.sort_by(|a, b| (a.oldest, &a.key.url, &a.key.cause).cmp(&(b.oldest, &b.key.url, &b.key.cause)));
    groups.truncate(limit as usize);
    fill_groups(connection, scope, &mut groups)?;
    Ok(DeadLetters { total, groups })
}

/// How many groups of dead letters are gone through.
const GROUPS: usize = 500;
/// How many dead letters are grouped where there are more.
const OLDEST: i64 = 2_000;

/// Counts each group, up to [`GROUP_COUNTED`], and finds its newest. Its index holds all that takes.
fn fill_groups(connection: &Connection, scope: Scope, groups: &mut [DeadLetterGroup]) -> Result<()> {
    const COUNT: &str = "SELECT count(*) AS rows, min(next_attempt_at) AS next_attempt_at
        FROM (SELECT next_attempt_at FROM deliveries INDEXED BY deliveries_dead WHERE account = ? AND environment = ?
            AND status = 'failed' AND url = ? AND last_cause = ? ORDER BY id LIMIT ?) AS looked";
    const NEWEST: &str =
        "SELECT created_at FROM deliveries INDEXED BY deliveries_dead WHERE account = ? AND environment = ?
        AND status = 'failed' AND url = ? AND last_cause = ? ORDER BY id DESC LIMIT 1";
    let (account, environment) = (scope.account, scope.environment);
    let most = GROUP_COUNTED as i64 + 1;
    let keys = groups.iter().map(|group| owned![account, environment, group.key.url, group.key.cause, most]);
    let counted = connection.prepare(COUNT).query_all(keys)?;
    let keys = groups.iter().map(|group| owned![account, environment, group.key.url, group.key.cause]);
    let newest = connection.prepare(NEWEST).query_all(keys)?;
    for ((group, counted), newest) in groups.iter_mut().zip(&counted).zip(&newest) {
        if let (Some(counted), Some(newest)) = (counted.first(), newest.first()) {
            let rows = unsigned(counted, "rows")?;
            group.count = CappedCount { count: rows.min(GROUP_COUNTED), is_capped: rows > GROUP_COUNTED };
            group.next_attempt_at = time(counted, "next_attempt_at")?;
            group.newest = group.newest.max(newest.get::<_, Millis>("created_at")?.0);
        }
    }
    Ok(())
}

pub(super) fn dead_letters_of(
    connection: &Connection,
    scope: Scope,
    group: &DeadLetterKey,
    after: Option<DeliveryId>,
    limit: u32,
) -> Result<Vec<ListedDelivery>> {
    const SELECT: &str = deliveries::select!(
        "INDEXED BY deliveries_dead WHERE account = ? AND environment = ? AND status = 'failed' AND url = ? AND last_cause = ?
        AND id > ? ORDER BY id LIMIT ?"
    );
    let after = after.unwrap_or(DeliveryId(uuid::Uuid::nil()));
    let select = connection.prepare(SELECT);
    let of = params![scope.account, scope.environment, group.url, group.cause, after, limit];
    Ok(select.query_map(of, read_listed)?)
}
