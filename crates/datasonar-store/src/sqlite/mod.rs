//! The embedded store: SQLite, in one file.
//!
//! **Role.** All rows of an installation on one machine. One connection writes, a few read; several processes may have
//! the file open at once (the command line beside the server).
//!
//! **Protocol.** Every step that writes is queued and run by the [`group`](crate::group): all that waits is done in one transaction
//! and made durable by one sync (group commit), each step behind a savepoint of its own. Steps that only read go to the
//! [`readers`], each in one read transaction, and see every step that was answered before.
//!
//! **What it does not do.** It mints no ids and reads no clock. It does not wait for rows to appear: whoever needs work
//! polls. It holds no foreign keys and no triggers: what belongs together is written together, here.

mod copy;
mod fault;
mod readers;
mod schema;
mod session;
#[cfg(test)]
mod tests;
mod version;
mod writer;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::Connection;

use crate::Result;
pub use crate::group::Threading;
use crate::group::{self, Group, Joint};
use crate::sql;
use crate::steps::Engine;
use readers::Readers;

/// The embedded store. Made by [`SqliteStore::open`], used as [`crate::Store`].
#[derive(Debug)]
pub struct SqliteStore {
    writer: Arc<Group<Connection>>,
    /// `None` for a database in memory, which one connection alone can see.
    readers: Option<Readers>,
    threading: Threading,
}

impl SqliteStore {
    /// Opens the database at `path`, which is made if it does not exist (its directory must), and brings it up to date.
    ///
    /// # Errors
    /// [`crate::StoreError::Conflict`] when a newer version of the program made it;
    /// [`crate::StoreError::Unavailable`] when it cannot be opened.
    pub async fn open(path: &Path, threading: Threading) -> Result<Arc<Self>> {
        let connection = schema::open(path, threading).await?;
        let readers = Readers::new(path.to_owned(), threading);
        Ok(Self::build(connection, Some(readers), threading))
    }

    /// Makes an empty store that lives as long as it is held: for tests and simulation. Nothing of it is durable.
    pub async fn in_memory(threading: Threading) -> Result<Arc<Self>> {
        Ok(Self::build(schema::in_memory()?, None, threading))
    }

    fn build(connection: Connection, readers: Option<Readers>, threading: Threading) -> Arc<Self> {
        let writer = Arc::new(Group::new(connection));
        Arc::new(Self { writer, readers, threading })
    }

    /// Waits for the steps under way, folds the log into the database and lets go of the file. Steps after it answer
    /// [`crate::StoreError::Unavailable`]. Closing twice is no error.
    pub async fn close(&self) {
        if let Some(readers) = &self.readers {
            readers.close().await;
        }
        let writer = Arc::clone(&self.writer);
        group::on(self.threading, move || writer.close()).await.ok();
    }
}

#[async_trait]
impl Engine for SqliteStore {
    async fn write<T, F>(&self, step: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&sql::Connection) -> Result<T> + Send + 'static,
    {
        self.writer.run(self.threading, step).await
    }

    async fn join<J: Joint>(&self, item: J) -> Result<J::Answer> {
        self.writer.join(self.threading, item).await
    }

    async fn read<T, F>(&self, step: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&sql::Connection) -> Result<T> + Send + 'static,
    {
        match &self.readers {
            Some(readers) => readers.run(step).await,
            None => self.write(step).await,
        }
    }
}
