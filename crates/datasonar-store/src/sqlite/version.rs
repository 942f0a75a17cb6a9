//! Which schema a file has, looked at without changing it.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::{SqliteStore, Threading, schema};
use crate::{Result, group};

impl SqliteStore {
    /// The schema that this program makes.
    pub const LATEST: u32 = schema::STEPS.len() as u32;

    /// The schema that the database at `path` has; 0 if it has none, or is not there. Changes nothing.
    ///
    /// # Errors
    /// [`crate::StoreError::Unavailable`] when it cannot be read, [`crate::StoreError::Corrupt`] when it is no database.
    pub async fn version(path: &Path) -> Result<u32> {
        if !path.exists() {
            return Ok(0);
        }
        let path = path.to_owned();
        group::on(Threading::Pool, move || {
            // A log that was left behind is read, too; for that the file must be open for writing.
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(path, flags)?;
            Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
        })
        .await?
    }
}
