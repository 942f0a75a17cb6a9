//! What the operator decides.
//!
//! A setting has one name in three spellings (`--data-dir`, `DATASONAR_DATA_DIR`, `data_dir` in a file) and one row in
//! [`SPECS`], from which the flags, their help and the reference are made. Flags come before the environment, the
//! environment before the file, the file before the default. Whatever is unknown or malformed stops the start, by name.

mod blob_url;
mod parse;
mod plans;
mod sources;
mod specs;

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;

pub use blob_url::{AwsVariables, BlobUrl};
pub use plans::{AccountPlan, PlanLimits};
pub use sources::{CLIENT_VARIABLES, KEY_FILE, Sources};
pub use specs::{SPECS, Spec};

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Answers calls.
    Api,
    /// Scrapes.
    Worker,
    /// Sends webhooks.
    Dispatcher,
    /// Runs schedules and deletes what retention has passed.
    Scheduler,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: a JSON object a line.
    Json,
}

/// The settings of a server.
#[derive(Clone)]
#[expect(missing_docs, reason = "each is described by its row in SPECS")]
pub struct Settings {
    pub listen: SocketAddr,
    pub public_url: Option<String>,
    pub data_dir: PathBuf,
    /// Where rows are, if not in the data directory.
    pub database_url: Option<String>,
    /// Where blobs are, if not in the data directory.
    pub blob_url: Option<BlobUrl>,
    /// How blobs are reached, if they are on S3.
    pub aws: AwsVariables,
    pub roles: Vec<Role>,
    /// 64 hex digits; empty for commands that encrypt nothing.
    pub encryption_key: String,
    pub allow_private_networks: Vec<IpNet>,
    pub fetch_concurrency: usize,
    pub fetch_per_host_concurrency: usize,
    pub fetch_per_host_delay: Duration,
    pub fetch_timeout: Duration,
    pub fetch_max_bytes: u64,
    pub fetch_retries: u32,
    pub crawl_max_sitemaps: usize,
    pub fetch_user_agent: String,
    pub render_browser: Option<PathBuf>,
    pub render_concurrency: usize,
    pub render_memory: u64,
    pub render_user: String,
    pub render_sandbox: bool,
    pub webhook_timeout: Duration,
    pub webhook_retry_schedule: Vec<Duration>,
    pub webhook_max_attempts: u32,
    pub webhook_ca_file: Option<PathBuf>,
    pub result_retention: Duration,
    pub log_retention: Duration,
    /// What each plan allows, in the order of [`AccountPlan::ALL`].
    pub plans: [PlanLimits; 5],
    pub session_lifetime: Duration,
    pub session_idle: Duration,
    pub max_request_bytes: u64,
    pub log_format: LogFormat,
    pub rust_log: String,
}

impl fmt::Debug for Settings {
    /// Leaves out the encryption key and all other credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("listen", &self.listen)
            .field("data_dir", &self.data_dir)
            .field("roles", &self.roles)
            .finish_non_exhaustive()
    }
}

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingError {
    /// No such setting.
    #[error("unknown setting {spelling}{}", suggestion.as_deref().map(|name| format!("; did you mean {name}?")).unwrap_or_default())]
    Unknown {
        /// As it was spelt.
        spelling: String,
        /// A setting of a similar name.
        suggestion: Option<String>,
    },
    /// Its value is malformed.
    #[error("{spelling} is `{value}`, which is not {expected}")]
    Malformed {
        /// As it was spelt.
        spelling: String,
        /// The value given.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// Its value is sound and cannot be served.
    #[error("{spelling}: {reason}")]
    Refused {
        /// As it was spelt.
        spelling: String,
        /// Why.
        reason: String,
    },
    /// The file is not TOML, or cannot be read.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
}
