//! Watches how near the process is to the limit on its open files: a connection is one, and so are pages, deliveries and the store's files.

use std::{
    fs, io,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

/// Interval between two counts.
const EVERY: Duration = Duration::from_secs(10);
/// Counts between two warnings: one in a minute.
const WARN_EVERY: u32 = 6;
/// Percentage of the limit from which a warning is logged.
const NEAR_PERCENT: u64 = 80;

/// Whether connections could not be accepted since the last count.
static FAILED: AtomicBool = AtomicBool::new(false);

/// Notes that a connection could not be accepted; the next count warns of it.
pub(super) fn accept_failed(error: &io::Error) {
    metrics::counter!("datasonar_http_accept_failures_total").increment(1);
    if !FAILED.swap(true, Ordering::Relaxed) {
        tracing::warn!(%error, "a connection could not be accepted");
    }
}

/// Counts the open files from time to time, for the metrics and for a warning when they near their limit.
pub(super) async fn watch(limit: u64, stop: CancellationToken) {
    let mut since = WARN_EVERY;
    loop {
        let open = tokio::task::spawn_blocking(count).await.ok().flatten();
        FAILED.store(false, Ordering::Relaxed);
        since += 1;
        if let Some(open) = open {
            gauges(open, limit);
            if is_near(open, limit) && since > WARN_EVERY {
                since = 1;
                tracing::warn!(
                    open,
                    limit,
                    "the open files near their limit: raise it (ulimit -n, LimitNOFILE=, ulimits:) or lower MAX_CONNECTIONS or FETCH_CONCURRENCY"
                );
            }
        }
        if stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_none() {
            return;
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "gauges are doubles")]
fn gauges(open: u64, limit: u64) {
    metrics::gauge!("datasonar_open_files").set(open as f64);
    metrics::gauge!("datasonar_open_files_limit").set(limit as f64);
}

fn is_near(open: u64, limit: u64) -> bool {
    u128::from(open) * 100 >= u128::from(limit) * u128::from(NEAR_PERCENT)
}

/// Counts this process's open files, where the system tells.
fn count() -> Option<u64> {
    let listed = fs::read_dir("/proc/self/fd").or_else(|_| fs::read_dir("/dev/fd")).ok()?;
    Some(listed.count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_counted_and_nearing_their_limit_is_noticed() {
        assert!(count().unwrap() >= 3);
        for (open, limit, near) in
            [(0, 100, false), (79, 100, false), (80, 100, true), (200, 100, true), (9, u64::MAX, false)]
        {
            assert_eq!(is_near(open, limit), near, "{open} of {limit}");
        }
    }
}
