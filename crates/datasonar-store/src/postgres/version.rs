//! Which schema a database has, looked at without changing it.

use super::connector::Connector;
use super::{PostgresStore, fault, schema};
use crate::group::{self, Threading};
use crate::sql::corrupt;
use crate::{Result, StoreError};

const TABLE: &str = "SELECT to_regclass('datasonar.schema_version')::text";
const VERSION: &str = "SELECT max(version)::text FROM datasonar.schema_version";

impl PostgresStore {
    /// The schema that this program makes.
    pub const LATEST: u32 = schema::MIGRATIONS.len() as u32;

    /// The schema that a database has; 0 if it has none. Changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the database cannot be reached.
    pub async fn version(connector: Connector) -> Result<u32> {
        group::on(Threading::Pool, move || version(&connector)).await?
    }
}

fn version(connector: &Connector) -> Result<u32, StoreError> {
    let link = connector.connect().map_err(|error| fault::told(&error))?;
    let ask = |sql| link.text(sql, None).map_err(|error| fault::told(&error));
    if ask(TABLE)?.is_none() {
        return Ok(0);
    }
    let version = ask(VERSION)?.map_or(Ok(0), |version| version.parse());
    version.map_err(|_| corrupt("the version of the schema is no number"))
}
