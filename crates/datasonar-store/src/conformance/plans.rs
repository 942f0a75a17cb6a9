//! The plans that a database has for what is asked of [`Insight`](crate::Insight): for the benchmark that shows them.

use crate::Result;
use crate::sqlite::SqliteStore;
pub use crate::steps::explain::{Asked, Explained};

/// Asks everything, and has SQLite explain each statement.
///
/// # Errors
/// As the questions have.
pub async fn on_sqlite(store: &SqliteStore, asked: Asked) -> Result<Vec<Explained>> {
    crate::steps::explain::explained(store, asked, "EXPLAIN QUERY PLAN").await
}
