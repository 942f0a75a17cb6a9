//! Connections to the server.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use rustls::ClientConfig;
use tokio::runtime::Handle;
use tokio_postgres::{
    AsyncMessage, Client, Config, NoTls,
    config::{Host, SslMode},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::line::Line;
use super::session::Link;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long what was sent may stay unacknowledged before the connection is given up.
const UNACKNOWLEDGED: Duration = Duration::from_secs(15);
/// What every connection is set to. A process that stands still in the middle of a transaction holds up the others no longer
/// than the server waits for it. Every statement has an index that gives its rows in order: no plan depends on what the server guesses of a
/// table that it has not looked at.
const SETTINGS: &str = "SET search_path = datasonar; SET statement_timeout = '30s'; SET lock_timeout = '10s';
    SET idle_in_transaction_session_timeout = '10s'; SET default_transaction_isolation = 'read committed';
    SET jit = off; SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off; SET timezone = 'UTC';";

/// Waits on tokio's timer, on a thread that may block.
pub(super) fn pause(time: Duration) {
    Handle::current().block_on(tokio::time::sleep(time));
}

/// Makes connections to one database.
#[derive(Clone)]
pub struct Connector {
    config: Config,
    tls: Option<Arc<ClientConfig>>,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("hosts", &self.config.get_hosts()).finish_non_exhaustive()
    }
}

/// A URL that does not name a database. It is not repeated, since it may hold a password.
#[derive(Debug, thiserror::Error)]
#[error("not the URL of a PostgreSQL database (postgres://user:password@host/database): {0}")]
pub struct ConnectorError(String);

impl Connector {
    /// Reads a URL, as libpq writes it. With `sslmode=require` the connection is encrypted, and the server verified, as `tls` says;
    /// otherwise it is plain.
    ///
    /// # Errors
    /// When the URL names no database.
    pub fn new(url: &str, tls: Option<Arc<ClientConfig>>) -> Result<Self, ConnectorError> {
        let mut config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
            let reason = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            ConnectorError(reason)
        })?;
        if config.get_hosts().is_empty() {
            return Err(ConnectorError("it has no host".to_owned()));
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        config.tcp_user_timeout(UNACKNOWLEDGED).application_name("datasonar");
        Ok(Self { config, tls })
    }

    /// Names the database without a user or a password: `host:port/database`.
    pub fn place(&self) -> String {
        let ports = self.config.get_ports();
        let host = |(number, host): (usize, &Host)| {
            let port = ports.get(number).or(ports.first()).copied().unwrap_or(5432);
            match host {
                Host::Tcp(name) => format!("{name}:{port}"),
                #[cfg(unix)]
                Host::Unix(path) => format!("{}:{port}", path.display()),
            }
        };
        let hosts: Vec<String> = self.config.get_hosts().iter().enumerate().map(host).collect();
        let database = self.config.get_dbname().or(self.config.get_user()).unwrap_or_default();
        format!("{}/{database}", hosts.join(","))
    }

    /// Connects. To be called where waiting is allowed.
    pub(super) fn connect(&self) -> Result<Link, tokio_postgres::Error> {
        let encrypts = self.config.get_ssl_mode() == SslMode::Require;
        let tls = self.tls.as_ref().filter(|_| encrypts);
        let line = Line::connect(&self.config, tls.map(|tls| MakeRustlsConnect::new(ClientConfig::clone(tls))))?;
        let link = Link::new(line);
        link.batch(SETTINGS)?;
        Ok(link)
    }

    /// Connects on the caller's runtime, to hear notices: what makes requests, and what drives them and yields messages.
    pub(super) async fn listen(&self) -> Result<(Client, Messages), tokio_postgres::Error> {
        let encrypts = self.config.get_ssl_mode() == SslMode::Require;
        match self.tls.as_ref().filter(|_| encrypts) {
            Some(tls) => {
                let tls = MakeRustlsConnect::new(ClientConfig::clone(tls));
                let (client, mut connection) = self.config.connect(tls).await?;
                Ok((client, Box::new(move |context| connection.poll_message(context))))
            }
            None => {
                let (client, mut connection) = self.config.connect(NoTls).await?;
                Ok((client, Box::new(move |context| connection.poll_message(context))))
            }
        }
    }
}

/// Polls a connection for its next message.
pub(super) type Messages =
    Box<dyn FnMut(&mut Context<'_>) -> Poll<Option<Result<AsyncMessage, tokio_postgres::Error>>> + Send>;
