//! What processes tell each other through the database, so that one need not wait for its next poll.
//!
//! Rows are truth; a notice that is lost costs a poll's wait. Notices have a connection of their own and are sent outside the transactions
//! that do the work, and not often: a `NOTIFY` inside a transaction makes the commits of the whole server wait for each other.

use std::{future::poll_fn, sync::Arc, time::Duration};

use tokio_postgres::AsyncMessage;

use super::connector::Connector;

/// The least time between two notices of this process: what comes meanwhile goes into the next.
const APART: Duration = Duration::from_millis(50);
/// How long it takes to try again when the connection is lost.
const RECONNECT: Duration = Duration::from_secs(1);

/// The channel of an installation.
const LISTEN: &str = "LISTEN datasonar";
const NOTIFY: &str = "SELECT pg_notify('datasonar', $1)";
const OWN: &str = "SELECT pg_backend_pid()";

/// Tells other processes, and hears from them.
#[derive(Debug)]
pub struct Notices {
    pub(super) connector: Arc<Connector>,
}

impl Notices {
    /// Tells the others what `next` answers, as often as it answers, and hands what they tell to `heard`. Connects anew when the connection
    /// is lost; never ends by itself.
    pub async fn exchange<F>(self, mut next: impl FnMut() -> F, heard: impl Fn(&str) + Clone + Send + Sync + 'static)
    where
        F: Future<Output = String>,
    {
        loop {
            if let Err(error) = self.connected(&mut next, heard.clone()).await {
                tracing::debug!(%error, "notices of other processes are not heard for now");
            }
            tokio::time::sleep(RECONNECT).await;
        }
    }

    async fn connected<F>(
        &self,
        next: &mut impl FnMut() -> F,
        heard: impl Fn(&str) + Send + Sync + 'static,
    ) -> Result<(), tokio_postgres::Error>
    where
        F: Future<Output = String>,
    {
        let (client, mut messages) = self.connector.listen().await?;
        let (own, mut is_own) = tokio::sync::watch::channel(0);
        let driver = async move {
            while let Some(message) = poll_fn(|context| messages(context)).await {
                match message? {
                    AsyncMessage::Notification(notice) if notice.process_id() != *is_own.borrow_and_update() => {
                        heard(notice.payload());
                    }
                    _ => {}
                }
            }
            Ok(())
        };
        let mut driver = tokio::task::JoinSet::from_iter([driver]);
        let telling = async {
            let _ = own.send(client.query_one(OWN, &[]).await?.get(0));
            client.batch_execute(LISTEN).await?;
            loop {
                let told = next().await;
                client.execute(NOTIFY, &[&told]).await?;
                tokio::time::sleep(APART).await;
            }
        };
        tokio::select! {
            ended = driver.join_next() => ended.and_then(Result::ok).unwrap_or(Ok(())),
            told = telling => told,
        }
    }
}
