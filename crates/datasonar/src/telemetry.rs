//! Logs, to standard error.

use std::io::{self, IsTerminal};

use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use crate::config::LogFormat;

/// A filter that is none.
#[derive(Debug, thiserror::Error)]
#[error("RUST_LOG is `{filter}`, which is not a filter such as info or datasonar=debug: {reason}")]
pub struct MalformedFilter {
    filter: String,
    reason: String,
}

/// Reads a filter. The PDF library warns of whatever is odd in a file, and files are hostile: it is heard at `debug` only, unless the filter
/// names it.
fn parsed(filter: &str) -> Result<EnvFilter, MalformedFilter> {
    const LIBRARY: &str = "lopdf";
    let malformed = |reason: String| MalformedFilter { filter: filter.to_owned(), reason };
    let parsed = EnvFilter::try_new(filter).map_err(|error| malformed(error.to_string()))?;
    let is_heard = parsed.max_level_hint().is_none_or(|level| level >= LevelFilter::DEBUG);
    if filter.contains(LIBRARY) || is_heard {
        return Ok(parsed);
    }
    EnvFilter::try_new(format!("{filter},{LIBRARY}=off")).map_err(|error| malformed(error.to_string()))
}

/// Begins to write logs, for as long as the process lives. Calling it twice changes nothing.
///
/// # Errors
/// When `filter` is not in the syntax of tracing's `EnvFilter`.
pub fn start(format: LogFormat, filter: &str) -> Result<(), MalformedFilter> {
    let parsed = parsed(filter)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pdf_library_is_heard_at_debug_only() {
        for (filter, is_off) in
            [("info", true), ("datasonar=info,warn", true), ("debug", false), ("info,lopdf=warn", false)]
        {
            assert_eq!(parsed(filter).unwrap().to_string().contains("lopdf=off"), is_off, "{filter}");
        }
        assert!(parsed("a=b=c").is_err());
    }
}
