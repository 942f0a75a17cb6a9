//! Trials of endpoints: a job that is made ended, and its delivery, made leased.

use crate::sql::{Connection, params};

use super::submit::check_new;
use super::{deliveries, finish, jobs, secrets};
use crate::sql::codec::{Millis, count, later};
use crate::sql::corrupt;
use crate::{
    ClaimedDelivery, DeliveryLease, DeliveryStatus, JobKind, JobStatus, Lane, NewTest, Result, Trigger, endpoint,
};

/// The epoch of the lease that the delivery is made with.
const EPOCH: u32 = 1;

pub(super) fn submit(connection: &Connection, test: &NewTest) -> Result<ClaimedDelivery> {
    if (test.segment.first, test.segment.count) != (0, 1) {
        return Err(corrupt("a test has exactly one result"));
    }
    insert_job(connection, test)?;
    insert_task(connection, test)?;
    finish::insert_segments(connection, test.job, 0, std::slice::from_ref(&test.segment))?;
    insert_delivery(connection, test)?;
    let missing = || corrupt("a test was not stored");
    Ok(ClaimedDelivery {
        lease: DeliveryLease { delivery: test.delivery, epoch: EPOCH },
        delivery: deliveries::by_id(connection, test.delivery)?.ok_or_else(missing)?,
        job: jobs::by_id(connection, test.job)?.ok_or_else(missing)?,
        secrets: secrets::secrets(connection, test.scope, test.now)?,
    })
}

fn insert_job(connection: &Connection, test: &NewTest) -> Result<()> {
    check_new(connection, test.job)?;
    const INSERT: &str = "INSERT INTO jobs
        (id, account, environment, kind, status, options, webhook_url, webhook_host, created_at, started_at,
        completed_at, expires_at, total, succeeded, segments, result_bytes, tasks_left, tasks_claimable)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, ?9, ?10, 1, 1, 1, ?11, 0, 0)";
    connection.prepare(INSERT).run(params![
        test.job,
        test.scope.account,
        test.scope.environment,
        JobKind::Test,
        JobStatus::Completed,
        test.options,
        test.webhook.url,
        test.webhook.host,
        Millis(test.now),
        later(test.now, test.retention),
        count(test.segment.raw_bytes)
    ])?;
    Ok(())
}

fn insert_task(connection: &Connection, test: &NewTest) -> Result<()> {
    const INSERT: &str = "INSERT INTO tasks (job, seq, state, input_offset, input_bytes, first, urls)
        VALUES (?, 0, 'finished', 0, 0, 0, 1)";
    connection.prepare(INSERT).run([test.job])?;
    Ok(())
}

/// Nothing of it is due: it is attempted by whoever holds it now, or never.
fn insert_delivery(connection: &Connection, test: &NewTest) -> Result<()> {
    const INSERT: &str = "INSERT INTO deliveries
        (id, job, account, environment, url, host, endpoint, status, created_at, next_trigger, lane, epoch, owner,
        lease_expires_at, schedule_ended, era)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, (SELECT value FROM meta WHERE name = 'replays'))";
    connection.prepare(INSERT).run(params![
        test.delivery,
        test.job,
        test.scope.account,
        test.scope.environment,
        test.webhook.url,
        test.webhook.host,
        endpoint::key(test.scope, &test.webhook.url),
        DeliveryStatus::Pending,
        Millis(test.now),
        Trigger::Test,
        Lane::First,
        EPOCH,
        test.owner,
        later(test.now, test.lease)
    ])?;
    Ok(())
}
