//! A copy of a database that servers go on using.

use std::path::Path;

use rusqlite::params;

use super::{SqliteStore, Threading, schema};
use crate::{Result, group, sql::unavailable};

impl SqliteStore {
    /// Copies the database at `path`, as it is at one moment, into the file `to`, which must not exist. Nobody waits for it.
    ///
    /// # Errors
    /// [`crate::StoreError::Unavailable`] when one cannot be read or the other not be written.
    pub async fn copy(path: &Path, to: &Path) -> Result<()> {
        let (path, to) = (path.to_owned(), to.to_owned());
        group::on(Threading::Pool, move || {
            let to = to.to_str().ok_or_else(|| unavailable("the name of the copy is not UTF-8"))?;
            schema::connect(&path)?.execute("VACUUM INTO ?", params![to])?;
            Ok(())
        })
        .await?
    }
}
