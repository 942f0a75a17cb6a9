//! The store that the settings name: the embedded one in the data directory, or the database that many servers share.

use std::sync::Arc;

use datasonar_store::{
    Audit, Store, StoreError,
    postgres::{Connector, ConnectorError, PostgresStore},
    sqlite::{SqliteStore, Threading},
};

use crate::config::Settings;

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    /// DATABASE_URL names none.
    #[error("DATABASE_URL is {0}")]
    Url(#[from] ConnectorError),
    /// There is none in the data directory.
    #[error("there is no store in {0}; `datasonar serve` makes one, --data-dir names another place")]
    Missing(String),
    /// It cannot be opened.
    #[error("the store cannot be opened: {0}")]
    Store(#[from] StoreError),
}

/// Versions of a schema; each kind of store counts its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// That of the store; 0 if there is none.
    pub found: u32,
    /// The one that this program works with.
    pub latest: u32,
}

/// An open store.
pub enum Rows {
    /// Of one server.
    Embedded(Arc<SqliteStore>),
    /// Of as many as there are.
    Shared(Arc<PostgresStore>),
}

impl Rows {
    /// Opens the store, and makes it if need be.
    ///
    /// # Errors
    /// When it is not named rightly, or cannot be opened.
    pub async fn open(settings: &Settings) -> Result<Self, RowsError> {
        match &settings.database_url {
            Some(url) => Ok(Self::Shared(PostgresStore::open(Connector::new(url, tls())?).await?)),
            None => {
                let path = settings.data_dir.join("datasonar.db");
                Ok(Self::Embedded(SqliteStore::open(&path, Threading::Pool).await?))
            }
        }
    }

    /// Opens a store that is there, beside the servers that use it.
    ///
    /// # Errors
    /// As [`open`](Self::open), and when the data directory has none.
    pub async fn open_beside(settings: &Settings) -> Result<Self, RowsError> {
        if settings.database_url.is_none() && !settings.data_dir.join("datasonar.db").exists() {
            return Err(RowsError::Missing(settings.data_dir.display().to_string()));
        }
        Self::open(settings).await
    }

    /// Looks which version of the schema the store has. Changes nothing.
    ///
    /// # Errors
    /// When it is not named rightly, or cannot be read.
    pub async fn version(settings: &Settings) -> Result<Version, RowsError> {
        Ok(match &settings.database_url {
            Some(url) => Version {
                found: PostgresStore::version(Connector::new(url, tls())?).await?,
                latest: PostgresStore::LATEST,
            },
            None => Version {
                found: SqliteStore::version(&settings.data_dir.join("datasonar.db")).await?,
                latest: SqliteStore::LATEST,
            },
        })
    }

    /// The store, to be audited.
    pub fn audit(&self) -> Arc<dyn Audit> {
        match self {
            Self::Embedded(store) => store.clone(),
            Self::Shared(store) => store.clone(),
        }
    }

    /// The store.
    pub fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Embedded(store) => store.clone(),
            Self::Shared(store) => store.clone(),
        }
    }

    /// Waits for what is under way, then lets go of it.
    pub async fn close(&self) {
        match self {
            Self::Embedded(store) => store.close().await,
            Self::Shared(store) => store.close().await,
        }
    }
}

/// How a connection to the database is encrypted, where its URL asks for that.
fn tls() -> Option<Arc<rustls::ClientConfig>> {
    datasonar_net::verifying_tls().ok()
}
