//! The store that the settings name: the embedded one in the data directory, or the database that many servers share.

use std::sync::Arc;

use datasonar_store::{
    Audit, Movable, MoveMark, StoreError, WholeStore,
    postgres::{Connector, ConnectorError, PostgresStore},
    sqlite::{SqliteStore, Threading},
};

use jiff::Timestamp;
use rustls_pki_types::{CertificateDer, pem::PemObject};
use url::Url;

use crate::config::Settings;

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    /// DATABASE_URL names none.
    #[error("DATABASE_URL is {0}")]
    Url(#[from] ConnectorError),
    /// The authorities that DATABASE_URL names cannot be read.
    #[error("DATABASE_URL: sslrootcert {path} cannot be read as PEM certificates: {reason}")]
    Roots {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// Connections cannot be encrypted.
    #[error("connections to the database cannot be encrypted: {0}")]
    Tls(String),
    /// There is none in the data directory.
    #[error("there is no store in {0}; `datasonar serve` makes one, --data-dir names another place")]
    Missing(String),
    /// It is half of one.
    #[error(
        "a move into this database has not ended: run the same `datasonar admin move` again, and nothing else on it before that"
    )]
    Moving,
    /// It is another's now.
    #[error(
        "the store in {from} was moved to {to} on {at:.0}, and serving both would deliver twice: set \
         DATASONAR_DATABASE_URL to that database. Only if no server uses it, and never will again, `datasonar admin move --undo` \
         makes this one a store again; what happened there meanwhile is not in it"
    )]
    Moved {
        /// The data directory.
        from: String,
        /// Where it went: host, port and database.
        to: String,
        /// When.
        at: Timestamp,
    },
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
    /// When it is not named rightly, cannot be opened, is half of one, or was moved to another place.
    pub async fn open(settings: &Settings) -> Result<Self, RowsError> {
        let rows = Self::open_marked(settings).await?;
        let refusal = match rows.movable().move_mark().await? {
            MoveMark::None => return Ok(rows),
            MoveMark::Moving => RowsError::Moving,
            MoveMark::Moved { to, at } => RowsError::Moved { from: settings.data_dir.display().to_string(), to, at },
        };
        rows.close().await;
        Err(refusal)
    }

    /// The same for those who move it: whatever a move has made of it.
    ///
    /// # Errors
    /// When it is not named rightly, or cannot be opened.
    pub async fn open_marked(settings: &Settings) -> Result<Self, RowsError> {
        match &settings.database_url {
            Some(url) => Ok(Self::Shared(PostgresStore::open(connector(url)?).await?)),
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
            Some(url) => {
                Version { found: PostgresStore::version(connector(url)?).await?, latest: PostgresStore::LATEST }
            }
            None => Version {
                found: SqliteStore::version(&settings.data_dir.join("datasonar.db")).await?,
                latest: SqliteStore::LATEST,
            },
        })
    }

    /// Names the database that servers share: host, port and name, without a password.
    ///
    /// # Errors
    /// When the URL names none.
    pub fn place(database_url: &str) -> Result<String, RowsError> {
        Ok(connector(database_url)?.place())
    }

    /// The store, to be moved or moved into.
    pub fn movable(&self) -> Arc<dyn Movable> {
        match self {
            Self::Embedded(store) => store.clone(),
            Self::Shared(store) => store.clone(),
        }
    }

    /// The store, to be audited.
    pub fn audit(&self) -> Arc<dyn Audit> {
        match self {
            Self::Embedded(store) => store.clone(),
            Self::Shared(store) => store.clone(),
        }
    }

    /// The store.
    pub fn store(&self) -> Arc<dyn WholeStore> {
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

/// What connects to a database. Of its URL, `sslmode=require` and the stricter `verify-ca` and `verify-full` of libpq mean the same: encrypted,
/// with a certificate for the host's name of an authority that Mozilla trusts or that is in the file `sslrootcert`.
fn connector(text: &str) -> Result<Connector, RowsError> {
    let Ok(mut url) = Url::parse(text) else { return Ok(Connector::new(text, None)?) };
    let mut roots = Vec::new();
    let mut terms = Vec::new();
    for (name, value) in url.query_pairs() {
        match (&*name, &*value) {
            ("sslrootcert", path) => {
                let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
                let read = read.map_err(|error| error.to_string());
                roots = read
                    .and_then(|read| if read.is_empty() { Err("it has none".to_owned()) } else { Ok(read) })
                    .map_err(|reason| RowsError::Roots { path: path.to_owned(), reason })?;
            }
            ("sslmode", "verify-ca" | "verify-full") => terms.push(("sslmode".to_owned(), "require".to_owned())),
            _ => terms.push((name.into_owned(), value.into_owned())),
        }
    }
    if terms.is_empty() {
        url.set_query(None);
    } else {
        url.query_pairs_mut().clear().extend_pairs(&terms);
    }
    let tls = datasonar_net::verifying_tls(&roots).map_err(|error| RowsError::Tls(error.to_string()))?;
    Ok(Connector::new(url.as_str(), Some(tls))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_terms_of_encryption_are_read_from_the_url() {
        let told = |url: &str| connector(url).err().map(|error| error.to_string());
        assert_eq!(told("postgres://a:b@db.example/datasonar"), None);
        assert_eq!(told("postgres://a:b@db.example/datasonar?sslmode=verify-full&connect_timeout=3"), None);
        let missing =
            told("postgres://a:secret@db.example/datasonar?sslmode=require&sslrootcert=/missing.pem").unwrap();
        assert!(missing.contains("/missing.pem") && !missing.contains("secret"), "{missing}");
        assert!(
            told("postgres://a:secret@db.example/datasonar?sslmode=perhaps")
                .is_some_and(|told| !told.contains("secret"))
        );
    }
}
