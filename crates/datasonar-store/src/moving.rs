//! Moving the rows of one store into another, whatever databases the two are.
//!
//! **Role.** [`Movable`] is what a move needs of its source and of its target: rows a page at a time, counts and digests to compare
//! both sides by, and two marks. `moving` is set in the target by the transaction that begins a move and taken off by the one that ends
//! it: what carries it is half a store, and nobody may serve it. The mark of the source, set before that, says where its rows went.
//!
//! **Protocol.** [`begin_move`](Movable::begin_move), [`carried_rows`](Movable::carried_rows) and [`put_rows`](Movable::put_rows) for all
//! tables, [`digests`](Movable::digests) on both sides, [`mark_moved`](Movable::mark_moved), [`end_move`](Movable::end_move). A move that
//! died is begun again: the rows that it brought are deleted first, since its source may have been served meanwhile.
//!
//! **What it does not do.** It moves no blobs, and does not keep others from the source: the lock on the data directory does.

use async_trait::async_trait;
use jiff::Timestamp;

use crate::sql::Value;
use crate::{AccountId, Result, Secret};

/// What a move needs of a store. Every store of this crate is a source; the target is a [`PostgresStore`](crate::postgres::PostgresStore).
#[async_trait]
pub trait Movable: Send + Sync {
    /// What a move has to do with this store: one look at a few rows.
    async fn move_mark(&self) -> Result<MoveMark>;

    /// Begins to move the store of this account into this one, or begins it again after it died: from then on nobody may serve it.
    /// `may_begin` says whether a move that was not begun yet may be.
    ///
    /// # Errors
    /// [`crate::StoreError::Conflict`] when it holds something else, or was not begun and may not be.
    async fn begin_move(&self, account: AccountId, may_begin: bool) -> Result<MoveBegin>;

    /// Reads the next rows to be carried: from the first table's first, or after those that were read before. `None` when there are no more.
    async fn carried_rows(&self, after: Option<CarriedPlace>) -> Result<Option<CarriedRows>>;

    /// Writes rows that were read from another store, all or none.
    async fn put_rows(&self, rows: CarriedRows) -> Result<()>;

    /// Counts the rows of every table that is carried, and adds up their hashes. Reads all of them, a page at a time.
    async fn digests(&self) -> Result<Vec<TableDigest>>;

    /// Reads the next blobs that rows name, after those read before, at most `limit`.
    async fn named_blobs(&self, after: Option<BlobPlace>, limit: u32) -> Result<Vec<NamedBlob>>;

    /// How many blobs rows name.
    async fn named_blobs_count(&self) -> Result<u64>;

    /// Reads the webhook secrets of all accounts that still sign at a time.
    async fn signing_secrets(&self, now: Timestamp) -> Result<Vec<Secret>>;

    /// How many deliveries are owed: those that have a next attempt.
    async fn deliveries_owed(&self) -> Result<u64>;

    /// Marks this store as moved to another place, which is told to whoever wants to serve it.
    async fn mark_moved(&self, to: String, now: Timestamp) -> Result<()>;

    /// Takes that mark off. Tells whether there was one.
    async fn unmark_moved(&self) -> Result<bool>;

    /// Ends the move into this store: it may be served.
    async fn end_move(&self) -> Result<()>;
}

/// What a move has to do with a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MoveMark {
    /// Nothing.
    None,
    /// A move into it has not ended.
    Moving,
    /// Its rows went to another place.
    Moved {
        /// The place.
        to: String,
        /// When they had all arrived.
        at: Timestamp,
    },
}

/// How a move begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoveBegin {
    /// For the first time.
    First,
    /// Again, after it died.
    Again,
    /// Not at all: it had ended before.
    Ended,
}

/// A place among the rows that are carried: what was read before it, will not be read after it.
#[derive(Clone, Debug)]
pub struct CarriedPlace {
    pub(crate) table: usize,
    /// The key of the last row that was read; empty before the first of a table.
    pub(crate) key: Vec<Value<'static>>,
}

/// Some rows of one table, on their way.
#[derive(Clone, Debug)]
pub struct CarriedRows {
    pub(crate) table: usize,
    pub(crate) rows: Vec<Vec<Value<'static>>>,
    pub(crate) end: CarriedPlace,
}

impl CarriedRows {
    /// The place after them.
    pub fn end(&self) -> CarriedPlace {
        self.end.clone()
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.rows.len() as u64
    }
}

/// The rows of a table, counted and hashed. Equal on both sides, they are the same rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableDigest {
    /// The table.
    pub table: &'static str,
    /// How many rows it has.
    pub rows: u64,
    /// The sum of their hashes: of no meaning but to be compared by the same program.
    pub hash: u64,
}

/// A blob that a row names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedBlob {
    /// Its key.
    pub key: String,
    /// The hash of its bytes, where its row has one: inputs have none.
    pub sha256: Option<[u8; 32]>,
    /// Its place among those that are named.
    pub place: BlobPlace,
}

/// A place among the blobs that rows name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobPlace {
    /// After the input of this job.
    Input(crate::JobId),
    /// After the segment of this job, task and position.
    Segment(crate::JobId, u32, u32),
}
