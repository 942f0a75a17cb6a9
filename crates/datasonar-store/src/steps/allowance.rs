//! Accounts and what they may use: see [`Accounts`].

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Engine, accounts, secrets};
use crate::sql::codec::{Millis, count, unsigned};
use crate::sql::{Connection, OptionalExtension, Row, params};
use crate::{
    Account, AccountId, Accounts, Allowance, Limit, LimitReached, NewAccount, NewJob, NewWork, Result, Scope, Spent,
    StoreError, TakeRequests, TakenRequests, UsageSample,
};

/// When it is worth to ask again for what a job that ends makes room for: nobody knows when that is.
const ROOM_SOON: Duration = Duration::from_secs(5);

/// The columns of an account.
macro_rules! select {
    ($rest:literal) => {
        concat!("SELECT id, email, plan, created_at, built_in FROM accounts ", $rest)
    };
}

#[async_trait]
impl<E: Engine> Accounts for E {
    async fn create_account(&self, new: NewAccount) -> Result<()> {
        self.write(move |c| create(c, &new)).await
    }

    async fn accounts(&self, after: Option<AccountId>, limit: u32) -> Result<Vec<Account>> {
        const FIRST: &str = select!("ORDER BY id LIMIT ?");
        const NEXT: &str = select!("WHERE id > ? ORDER BY id LIMIT ?");
        self.read(move |c| match after {
            None => Ok(c.prepare(FIRST).query_map(params![limit], read)?),
            Some(after) => Ok(c.prepare(NEXT).query_map(params![after, limit], read)?),
        })
        .await
    }

    async fn account_by_email(&self, email: String) -> Result<Option<Account>> {
        self.read(move |c| by_email(c, &email)).await
    }

    async fn set_plan(&self, account: AccountId, plan: String) -> Result<()> {
        self.write(move |c| set_plan(c, account, &plan)).await
    }

    async fn take_requests(&self, take: TakeRequests) -> Result<TakenRequests> {
        self.write(move |c| take_requests(c, take)).await
    }

    async fn charge_pages(&self, scope: Scope, pages: u64, allowance: Allowance, now: Timestamp) -> Result<()> {
        self.write(move |c| charge(c, scope, pages, &allowance, now)).await
    }

    async fn spent(&self, scope: Scope, since: Timestamp) -> Result<Spent> {
        self.read(move |c| spent(c, scope, since)).await
    }
}

fn create(connection: &Connection, new: &NewAccount) -> Result<()> {
    let account = &new.account;
    if by_email(connection, &account.email)?.is_some() {
        return Err(StoreError::Conflict("there is an account with this e-mail address".to_owned()));
    }
    if connection.prepare("SELECT 1 FROM accounts WHERE id = ?").exists([account.id])? {
        return Err(StoreError::Conflict("an account with this id exists".to_owned()));
    }
    insert(connection, account)?;
    new.secrets.iter().try_for_each(|secret| secrets::insert(connection, secret))
}

/// Writes the row of an account.
pub(super) fn insert(connection: &Connection, account: &Account) -> Result<()> {
    const INSERT: &str = "INSERT INTO accounts (id, email, plan, created_at, built_in) VALUES (?, ?, ?, ?, ?)";
    let Account { id, email, plan, created_at, is_built_in } = account;
    Ok(connection.prepare(INSERT).run(params![id, email, plan, Millis(*created_at), *is_built_in])?)
}

/// Finds an account; the built-in one when `id` is `None`.
pub(super) fn find(connection: &Connection, id: Option<AccountId>) -> Result<Account> {
    let found = match id {
        Some(id) => connection.prepare(select!("WHERE id = ?")).query_row([id], read),
        None => connection.prepare(select!("WHERE built_in = 1")).query_row(params![], read),
    };
    found.optional()?.ok_or(StoreError::NotFound)
}

fn by_email(connection: &Connection, email: &str) -> Result<Option<Account>> {
    Ok(connection.prepare(select!("WHERE email = ?")).query_row([email], read).optional()?)
}

fn read(row: &Row) -> crate::sql::Result<Account> {
    Ok(Account {
        id: row.get("id")?,
        email: row.get("email")?,
        plan: row.get("plan")?,
        created_at: row.get::<_, Millis>("created_at")?.0,
        is_built_in: row.get("built_in")?,
    })
}

fn set_plan(connection: &Connection, id: AccountId, plan: &str) -> Result<()> {
    if find(connection, Some(id))?.is_built_in {
        return Err(StoreError::Conflict("the built-in account has no limits, and no other plan".to_owned()));
    }
    Ok(connection.prepare("UPDATE accounts SET plan = ? WHERE id = ?").run(params![plan, id])?)
}

fn take_requests(connection: &Connection, take: TakeRequests) -> Result<TakenRequests> {
    const SELECT: &str = "SELECT minute, taken FROM request_minutes WHERE account = ? AND environment = ?";
    const PUT: &str = "INSERT INTO request_minutes (account, environment, minute, taken) VALUES (?, ?, ?, ?)
        ON CONFLICT (account, environment) DO UPDATE SET minute = excluded.minute, taken = excluded.taken";
    let TakeRequests { scope, minute, most, wanted } = take;
    let read = |row: &Row| Ok((row.get::<_, i64>("minute")?, unsigned(row, "taken")?));
    let found = connection.prepare(SELECT).query_row(params![scope.account, scope.environment], read).optional()?;
    let (minute, taken) = match found {
        Some((latest, taken)) if latest >= minute => (latest, taken),
        _ => (minute, 0),
    };
    let granted = wanted.min(most.saturating_sub(taken));
    if granted > 0 {
        connection.prepare(PUT).run(params![scope.account, scope.environment, minute, count(taken + granted)])?;
    }
    Ok(TakenRequests { minute, granted })
}

fn charge(connection: &Connection, scope: Scope, pages: u64, allowance: &Allowance, now: Timestamp) -> Result<()> {
    check_pages(connection, scope, allowance, Asked { pages, least: pages, now })?;
    let sample = UsageSample { scope, at: now, pages, succeeded: 0, time_ms: 0, is_charged: false };
    accounts::add_usage(connection, &[sample])
}

/// Checks a job against what its scope may use. Answers how many pages it may have at most, if that is limited: a crawl, which does not know
/// how many it will find, gets what is left.
pub(super) fn admit(connection: &Connection, job: &NewJob) -> Result<Option<u64>> {
    let Some(allowance) = &job.allowance else { return Ok(None) };
    if let Some(most) = allowance.open_jobs {
        let used = open(connection, job.scope)?.open_jobs;
        if used >= most {
            let plan = allowance.plan.clone();
            let (limit, reserved, asked, retry_after) = (Limit::ConcurrentJobs, 0, 1, ROOM_SOON);
            let reached = LimitReached { plan, limit, most, used, reserved, asked, retry_after };
            return Err(StoreError::LimitReached(reached));
        }
    }
    let (pages, least) = match &job.work {
        NewWork::Listed { tasks, .. } => {
            let urls = tasks.iter().map(|task| u64::from(task.urls)).sum();
            (urls, urls)
        }
        NewWork::Crawl(crawl) => (crawl.max_pages, 1),
    };
    check_pages(connection, job.scope, allowance, Asked { pages, least, now: job.created_at })
}

/// Pages that are asked for.
struct Asked {
    pages: u64,
    /// How many of them have to be.
    least: u64,
    now: Timestamp,
}

/// Answers how many of the pages asked for there may be; `None` where they are not limited.
fn check_pages(connection: &Connection, scope: Scope, allowance: &Allowance, asked: Asked) -> Result<Option<u64>> {
    let Some(pages) = allowance.pages else { return Ok(None) };
    let Spent { pages: used, reserved, .. } = spent(connection, scope, pages.since)?;
    let with_these = used.saturating_add(asked.least);
    if with_these.saturating_add(reserved) <= pages.most {
        return Ok(Some(asked.pages.min(pages.most - used - reserved)));
    }
    // What is set aside may come back when its jobs end; what was used comes back with the next span.
    let wait = Duration::try_from(pages.until.duration_since(asked.now)).unwrap_or_default();
    let retry_after = if with_these > pages.most { wait } else { ROOM_SOON };
    let (plan, limit, most, asked) = (allowance.plan.clone(), Limit::PagesPerMonth, pages.most, asked.least);
    Err(StoreError::LimitReached(LimitReached { plan, limit, most, used, reserved, asked, retry_after }))
}

pub(super) fn spent(connection: &Connection, scope: Scope, since: Timestamp) -> Result<Spent> {
    let pages = accounts::usage(connection, scope, since)?.pages;
    Ok(Spent { pages, ..open(connection, scope)? })
}

/// The jobs that have not ended, and the pages that they may still ask for: a crawl, all that it may find.
fn open(connection: &Connection, scope: Scope) -> Result<Spent> {
    const SELECT: &str = "SELECT count(*) AS jobs,
        CAST(coalesce(sum(coalesce(c.max_pages, j.total) - j.succeeded - j.failed), 0) AS BIGINT) AS reserved
        FROM jobs j INDEXED BY jobs_by_status LEFT JOIN crawls c ON c.job = j.id
        WHERE j.account = ? AND j.environment = ? AND j.status IN ('pending', 'started')";
    let read = |row: &Row| {
        let reserved = u64::try_from(row.get::<_, i64>("reserved")?).unwrap_or(0);
        Ok(Spent { pages: 0, reserved, open_jobs: unsigned(row, "jobs")? })
    };
    Ok(connection.prepare(SELECT).query_row(params![scope.account, scope.environment], read)?)
}
