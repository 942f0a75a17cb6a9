//! The connections that read.
//!
//! Each step runs in one read-only transaction, so that what it puts together is of one moment. Connections are made when first needed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::connector::Connector;
use super::fault::{self, Remedy};
use super::session::Link;
use crate::group::{self, Threading};
use crate::sql::{Connection, corrupt, unavailable};
use crate::{Result, StoreError};

/// How many read at once.
const READERS: u32 = 4;
/// How often a step is tried when its connection turns out to be lost: others that wait idle are lost as well then.
const TRIES: u32 = READERS + 1;

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

#[derive(Debug)]
pub(super) struct Readers {
    connector: Arc<Connector>,
    places: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Link>>>,
}

impl Readers {
    pub(super) fn new(connector: Arc<Connector>) -> Self {
        Self { connector, places: Arc::new(Semaphore::new(READERS as usize)), idle: Arc::default() }
    }

    /// Runs a step on the next free connection.
    pub(super) async fn run<T, F>(&self, step: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&Connection) -> Result<T> + Send + 'static,
    {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| unavailable("the store is closed"))?;
        let (connector, idle) = (Arc::clone(&self.connector), Arc::clone(&self.idle));
        let work = move || {
            // Held by the work and not by the caller, who may go away before it ends.
            let _place = place;
            let mut result = Err(unavailable("the database cannot be reached"));
            for _ in 0..TRIES {
                let kept = idle.lock().pop();
                let link = match kept {
                    Some(link) => link,
                    None => connector.connect().map_err(|error| fault::told(&error))?,
                };
                result = snapshot(&link, &step);
                if link.take_remedy() == Remedy::None {
                    idle.lock().push(link);
                    break;
                }
            }
            result
        };
        group::on(Threading::Pool, work).await.unwrap_or_else(Err)
    }

    /// Waits for the steps under way, then closes the connections.
    pub(super) async fn close(&self) {
        let all = self.places.acquire_many(READERS).await;
        self.places.close();
        drop(all);
        let idle = std::mem::take(&mut *self.idle.lock());
        group::on(Threading::Pool, move || drop(idle)).await.ok();
    }
}

fn snapshot<T>(link: &Link, step: &impl Fn(&Connection) -> Result<T>) -> Result<T, StoreError> {
    link.send(BEGIN).map_err(|error| fault::told(&error))?;
    let result =
        catch_unwind(AssertUnwindSafe(|| step(link))).unwrap_or_else(|_| Err(corrupt("a step of the store panicked")));
    link.roll_back().map_err(|error| fault::told(&error))?;
    result
}
