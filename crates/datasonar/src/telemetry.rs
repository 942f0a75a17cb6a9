//! Logs, to standard error.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// A filter that is none.
#[derive(Debug, thiserror::Error)]
#[error("RUST_LOG is `{filter}`, which is not a filter such as info or datasonar=debug: {reason}")]
pub struct MalformedFilter {
    filter: String,
    reason: String,
}

/// Begins to write logs, for as long as the process lives. Calling it twice changes nothing.
///
/// # Errors
/// When `filter` is not in the syntax of tracing's `EnvFilter`.
pub fn start(format: LogFormat, filter: &str) -> Result<(), MalformedFilter> {
    let parsed = EnvFilter::try_new(filter)
        .map_err(|error| MalformedFilter { filter: filter.to_owned(), reason: error.to_string() })?;
    let logs = tracing_subscriber::fmt().with_env_filter(parsed).with_writer(io::stderr);
    let started = match format {
        LogFormat::Text => logs.with_ansi(io::stderr().is_terminal()).with_target(false).try_init(),
        LogFormat::Json => logs.json().flatten_event(true).try_init(),
    };
    if started.is_err() {
        tracing::debug!("logs were being written already");
    }
    Ok(())
}
