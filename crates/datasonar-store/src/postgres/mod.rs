//! The shared store: PostgreSQL, for as many processes as there are.
//!
//! **Role.** The rows of an installation on many machines. The steps are those of the embedded store ([`steps`](crate::steps)).
//!
//! **Protocol.** Steps that write are queued and done in groups, one transaction each ([`group`](crate::group)). Each transaction first
//! takes the row lock of `meta`'s `gate` and holds it until it commits: of all processes one writes at a time, as on the embedded store,
//! so that every step means the same on both, and none fails because of another. What a process waits for is a group of another, which is short.
//! Steps that only read take no lock and see one moment.
//!
//! **Faults.** A group whose transaction was given up (connection lost, server restarting, time-out) is run again. When the
//! connection is lost at the commit, the transaction's number tells on the next connection whether it was kept.
//!
//! **What it does not do.** It mints no ids and reads no clock, but to pause between two tries.

mod connector;
mod dialect;
mod fault;
mod line;
mod notices;
mod readers;
mod schema;
mod session;
#[cfg(test)]
mod tests;
mod version;
mod writer;

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

pub use connector::{Connector, ConnectorError};
pub use notices::Notices;

use crate::group::{self, Group, Joint, Threading};
use crate::sql::{Connection, codec::Millis, params};
use crate::steps::Engine;
use crate::{Result, StoreError};
use readers::Readers;
use writer::PostgresWriter;

/// The shared store. Made by [`PostgresStore::open`], used as [`crate::Store`].
#[derive(Debug)]
pub struct PostgresStore {
    connector: Arc<Connector>,
    writer: Arc<Group<PostgresWriter>>,
    readers: Readers,
}

impl PostgresStore {
    /// Connects to a database, and brings its schema up to date. Several processes may do so at once.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when a newer version of the program made the schema; [`StoreError::Unavailable`] when the database
    /// cannot be reached.
    pub async fn open(connector: Connector) -> Result<Arc<Self>> {
        let connector = Arc::new(connector);
        let migrating = Arc::clone(&connector);
        group::on(Threading::Pool, move || schema::migrate(&migrating)).await??;
        let writer = Arc::new(Group::new(PostgresWriter::new(Arc::clone(&connector))));
        Ok(Arc::new(Self { writer, readers: Readers::new(Arc::clone(&connector)), connector }))
    }

    /// What time it is at the server, to the millisecond: what leases and due times are measured by, where several machines share it.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the database cannot be reached.
    pub async fn time(&self) -> Result<Timestamp> {
        const NOW: &str = "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT) AS now";
        self.read(|c| Ok(c.prepare(NOW).query_row(params![], |row| row.get::<_, Millis>("now"))?.0)).await
    }

    /// The notices that processes on this database send each other.
    pub fn notices(&self) -> Notices {
        Notices { connector: Arc::clone(&self.connector) }
    }

    /// Waits for the steps under way, then lets go of the database. Steps after it answer [`StoreError::Unavailable`]. Closing twice is
    /// no error.
    pub async fn close(&self) {
        self.readers.close().await;
        let writer = Arc::clone(&self.writer);
        group::on(Threading::Pool, move || writer.close()).await.ok();
    }
}

#[async_trait]
impl Engine for PostgresStore {
    async fn write<T, F>(&self, step: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Fn(&Connection) -> Result<T> + Send + 'static,
    {
        self.writer.run(Threading::Pool, step).await
    }

    async fn join<J: Joint>(&self, item: J) -> Result<J::Answer> {
        self.writer.join(Threading::Pool, item).await
    }

    async fn read<T, F>(&self, step: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Fn(&Connection) -> Result<T> + Send + 'static,
    {
        self.readers.run(step).await
    }
}
