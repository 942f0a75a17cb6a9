//! The engine broken on purpose, to see that the oracle notices. Each is what the defect would do to the rows, done from
//! outside, so that the engine carries no defect that can be switched on.

use std::sync::Arc;

use datasonar_store::{
    sqlite::{SqliteStore, Threading},
    *,
};
use jiff::Timestamp;
use parking_lot::Mutex;
use rusqlite::Connection;
use tempfile::TempDir;
use uuid::Uuid;

use super::FaultyStore;

/// A defect of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// Finishing a task or an attempt does not check whose lease it is.
    NoEpochCheck,
    /// A delivery is inserted after the transaction that ends its job, in one of its own.
    DeliveryApart,
    /// An attempt is recorded as delivered before the response came.
    AttemptRecordedEarly,
    /// A page is given up after one death.
    GivenUpEarly,
    /// Deaths of those who hold tasks are not counted.
    DeathsNotCounted,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::NoEpochCheck,
        Self::DeliveryApart,
        Self::AttemptRecordedEarly,
        Self::GivenUpEarly,
        Self::DeathsNotCounted,
    ];

    /// As it is named on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoEpochCheck => "no-epoch-check",
            Self::DeliveryApart => "delivery-apart",
            Self::AttemptRecordedEarly => "attempt-recorded-early",
            Self::GivenUpEarly => "given-up-early",
            Self::DeathsNotCounted => "deaths-not-counted",
        }
    }
}

/// The rows that all processes share.
pub(crate) struct Rows {
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) mutation: Option<Mutation>,
    /// A way around the store, for the mutation that needs one.
    around: Option<(Mutex<Connection>, TempDir)>,
}

impl Rows {
    /// Makes an empty store.
    ///
    /// # Errors
    /// When the database cannot be made.
    pub(crate) async fn new(mutation: Option<Mutation>) -> anyhow::Result<Self> {
        let (store, around) = if matches!(mutation, Some(Mutation::DeliveryApart | Mutation::DeathsNotCounted)) {
            let directory = tempfile::tempdir()?;
            let path = directory.path().join("rows.db");
            let store = SqliteStore::open(&path, Threading::Inline).await?;
            (store, Some((Mutex::new(Connection::open(&path)?), directory)))
        } else {
            (SqliteStore::in_memory(Threading::Inline).await?, None)
        };
        Ok(Self { store, mutation, around })
    }

    /// As if no holder of a task had ever died.
    pub(super) fn forget_deaths(&self) {
        let (connection, _) = self.around.as_ref().expect("this mutation has a way around");
        connection.lock().execute("UPDATE tasks SET owner = NULL", []).expect("the statement is sound");
    }

    fn around(&self, sql: &str, of: DeliveryId) {
        let (connection, _) = self.around.as_ref().expect("this mutation has a way around");
        let id: Uuid = of.0;
        connection.lock().execute(sql, [id.as_bytes().as_slice()]).expect("the statement is sound");
    }
}

/// Whoever comes is taken for the holder.
pub(super) async fn finish_task_unfenced(on: &FaultyStore, finish: FinishTask) -> Result<Finish> {
    let store = &on.rows.store;
    match store.finish_task(finish.clone()).await {
        Err(StoreError::LeaseLost) => {
            let lease = on.world.oracle().task_lease(finish.lease);
            store.finish_task(FinishTask { lease, ..finish }).await
        }
        finished => finished,
    }
}

/// Whoever comes is taken for the holder.
pub(super) async fn finish_attempt_unfenced(
    on: &FaultyStore,
    lease: DeliveryLease,
    attempt: Attempt,
    verdict: Verdict,
    now: Timestamp,
) -> Result<()> {
    let store = &on.rows.store;
    match store.finish_attempt(lease, attempt.clone(), verdict, now).await {
        Err(StoreError::LeaseLost) => {
            let lease = on.world.oracle().delivery_lease(lease);
            store.finish_attempt(lease, attempt, verdict, now).await
        }
        finished => finished,
    }
}

/// The job ends in one transaction; its delivery is inserted in another, before which the process may die.
pub(super) async fn finish_task_apart(on: &FaultyStore, finish: FinishTask) -> Result<Finish> {
    let finished = on.rows.store.finish_task(finish.clone()).await?;
    on.world.oracle().finished_task(&on.host.name, &finish, finished);
    if let Finish::Job { delivery: Some(delivery) } = finished {
        // Nobody sees the row in between: nothing else runs until the next wait.
        on.rows.around("CREATE TABLE IF NOT EXISTS apart AS SELECT * FROM deliveries WHERE id = ?1 AND 0", delivery);
        on.rows.around("INSERT INTO apart SELECT * FROM deliveries WHERE id = ?1", delivery);
        on.rows.around("DELETE FROM deliveries WHERE id = ?1", delivery);
        on.world.note(&on.host.name, format_args!("the job ended; its delivery comes in another transaction"));
        on.world.dawdle(on.host.slow()).await;
        on.host.living().await;
        if on.world.strikes(on.world.weather.dies_before + on.world.weather.dies_after) {
            on.world.note(&on.host.name, format_args!("dies before the delivery is inserted"));
            on.host.die().await;
        }
        on.rows.around("INSERT INTO deliveries SELECT * FROM apart WHERE id = ?1", delivery);
        on.rows.around("DELETE FROM apart WHERE id = ?1", delivery);
    }
    Ok(finished)
}

/// What is claimed counts as delivered, before anything is sent.
pub(super) async fn record_early(on: &FaultyStore, claimed: &ClaimedDelivery, now: Timestamp) -> Result<()> {
    let delivery = &claimed.delivery;
    let attempt = Attempt {
        id: AttemptId(Uuid::from_u128(delivery.id.0.as_u128() ^ u128::from(delivery.attempts + 1))),
        delivery: delivery.id,
        number: delivery.attempts + 1,
        trigger: delivery.next_trigger,
        started_at: now,
        request_headers: Vec::new(),
        request_bytes: 0,
        remote: None,
        response_status: Some(200),
        response_headers: Vec::new(),
        response_body: Vec::new(),
        timings: Timings::default(),
        error: None,
    };
    let verdict = Verdict { status: DeliveryStatus::Delivered, next_attempt_at: None };
    on.rows.store.finish_attempt(claimed.lease, attempt.clone(), verdict, now).await?;
    on.world.oracle().finished_attempt(&on.host.name, claimed.lease, &attempt, verdict);
    Ok(())
}
