//! The readers: a few connections for steps that only read.
//!
//! Each step runs in one read transaction, so that what it puts together is of one moment. Connections are opened when
//! first needed. A step waits for one of them, never for the writer.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::{Threading, schema};
use crate::sql::{self, corrupt, unavailable};
use crate::{Result, StoreError, group};

/// How many read at once.
const READERS: u32 = 4;

#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    threading: Threading,
    places: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Readers {
    pub(super) fn new(path: PathBuf, threading: Threading) -> Self {
        let places = Arc::new(Semaphore::new(READERS as usize));
        Self { path, threading, places, idle: Arc::default() }
    }

    /// Runs a step on the next free connection.
    pub(super) async fn run<T, F>(&self, step: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&sql::Connection) -> Result<T> + Send + 'static,
    {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| unavailable("the store is closed"))?;
        let (path, idle) = (self.path.clone(), Arc::clone(&self.idle));
        let work = move || {
            // Held by the work and not by the caller, who may go away before it ends.
            let _place = place;
            let kept = idle.lock().pop();
            let mut connection = match kept {
                Some(connection) => connection,
                None => schema::connect(&path)?,
            };
            let result = snapshot(&mut connection, step);
            if !matches!(result, Err(StoreError::Corrupt(_))) {
                idle.lock().push(connection);
            }
            result
        };
        group::on(self.threading, work).await.unwrap_or_else(Err)
    }

    /// Waits for the steps under way, then closes the connections.
    pub(super) async fn close(&self) {
        let all = self.places.acquire_many(READERS).await;
        self.places.close();
        drop(all);
        self.idle.lock().clear();
    }
}

fn snapshot<T>(connection: &mut Connection, step: impl Fn(&sql::Connection) -> Result<T>) -> Result<T> {
    let transaction = connection.transaction()?;
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| step(&*transaction)))
        .unwrap_or_else(|_| Err(corrupt("a step of the store panicked")));
    transaction.finish()?;
    result
}
