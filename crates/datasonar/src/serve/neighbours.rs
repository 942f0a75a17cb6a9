//! What a server does because others share its store: it goes by the store's time, and wakes the others and is woken by them.

use std::{sync::Arc, time::Duration};

use datasonar_store::{Result, postgres::PostgresStore};
use tokio_util::sync::CancellationToken;

use crate::{clock::Clock, wake::Wake};

/// How often the store is asked for its time: in between the machine's own counter strays by no more than a millisecond or two.
const ASK: Duration = Duration::from_secs(60);

/// Asks the store for its time.
pub(super) async fn follow_time(store: &PostgresStore, clock: &dyn Clock) -> Result<()> {
    clock.follow(store.time().await?);
    Ok(())
}

/// Goes by the store's time until told to stop.
pub(super) async fn keep_time(store: Arc<PostgresStore>, clock: Arc<dyn Clock>, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(ASK)).await.is_some() {
        if let Err(error) = follow_time(&store, &*clock).await {
            tracing::debug!(%error, "the store's time is not known for now");
        }
    }
}

/// Wakes the others and is woken by them until told to stop.
pub(super) async fn exchange_notices(store: Arc<PostgresStore>, wake: Wake, stop: CancellationToken) {
    let rung = wake.clone();
    let next = move || {
        let wake = rung.clone();
        async move { wake.notice().await }
    };
    stop.run_until_cancelled(store.notices().exchange(next, move |notice| wake.heard(notice))).await;
}
