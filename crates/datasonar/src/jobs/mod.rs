//! Jobs from acceptance to result: cutting a request into tasks ([`UrlWriter`]), writing what a task found as segments
//! ([`segment`]), and reading it back as a body ([`Results`]).

mod options;
mod results;
pub mod segment;
mod urls;

use std::sync::Arc;

use datasonar_net::AddressPolicy;
use datasonar_store::{
    Idempotency, JobId, JobInput, JobKind, NewJob, NewWork, Scope, Store, StoreError, Submission, Webhook,
};
use url::Url;

pub use options::{JobOptions, Payload, PayloadKind};
pub use results::{ByteStream, Results, ResultsError};
pub use urls::{JobUrls, UrlWriter, read_urls};

use crate::{
    blobs::{Blobs, BlobsError},
    clock::{Clock, Ids},
    wake::Wake,
};

/// How many URLs a task has; only a job's last has fewer.
pub const URLS_PER_TASK: u32 = 100;

/// Accepts jobs.
#[derive(Clone)]
pub struct Jobs {
    store: Arc<dyn Store>,
    blobs: Blobs,
    clock: Arc<dyn Clock>,
    ids: Ids,
    policy: AddressPolicy,
    wake: Wake,
}

/// Why a job was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum JobsError {
    /// The rows could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The URLs could not be written.
    #[error(transparent)]
    Blobs(#[from] BlobsError),
}

/// A job to be accepted.
pub struct Submit {
    /// Its id, as given to [`Jobs::urls`].
    pub id: JobId,
    /// Whose it is.
    pub scope: Scope,
    /// What it does.
    pub kind: JobKind,
    /// How its pages are scraped, and what its webhook carries.
    pub options: JobOptions,
    /// Its endpoint.
    pub webhook_url: Option<String>,
    /// Its URLs.
    pub urls: JobUrls,
    /// The caller's idempotency key.
    pub idempotency: Option<Idempotency>,
}

impl Jobs {
    /// Accepts jobs into a store.
    pub fn new(
        store: Arc<dyn Store>,
        blobs: Blobs,
        clock: Arc<dyn Clock>,
        ids: Ids,
        policy: AddressPolicy,
        wake: Wake,
    ) -> Self {
        Self { store, blobs, clock, ids, policy, wake }
    }

    /// Makes the id of a job to be.
    pub fn mint(&self) -> JobId {
        JobId(self.ids.uuid())
    }

    /// Begins the URLs of a job.
    pub fn urls(&self, job: JobId) -> UrlWriter {
        UrlWriter::new(self.blobs.clone(), job, self.policy.clone())
    }

    /// Accepts a job: when this answers, it is durable.
    ///
    /// # Errors
    /// When the store fails, or the idempotency key was used with another request.
    pub async fn submit(&self, new: Submit) -> Result<Submission, JobsError> {
        let id = new.id;
        let work = new.urls.into_work();
        let has_blob = matches!(work, NewWork::Listed { input: JobInput::Blob(_), .. });
        let submission = self
            .store
            .submit_job(NewJob {
                id,
                scope: new.scope,
                kind: new.kind,
                options: serde_json::to_string(&new.options).expect("options have string keys only"),
                webhook: new.webhook_url.map(|url| Webhook { host: endpoint_host(&url), url }),
                work,
                created_at: self.clock.now(),
                idempotency: new.idempotency,
            })
            .await;
        match &submission {
            Ok(Submission::Accepted) => self.wake.tasks().notify_one(),
            // Nothing will ever refer to these URLs. Where the outcome is unknown they are left to the sweep.
            Ok(Submission::Repeated { .. }) | Err(StoreError::IdempotencyMismatch) if has_blob => {
                if let Err(error) = self.blobs.delete_job(id).await {
                    tracing::debug!(%error, "the URLs of a job that was not accepted were left to the sweep");
                }
            }
            _ => {}
        }
        Ok(submission?)
    }

    /// Asks for a job's cancelling.
    ///
    /// # Errors
    /// When it is unknown within the scope, or has ended.
    pub async fn cancel(&self, scope: Scope, id: JobId) -> Result<(), StoreError> {
        self.store.cancel_job(scope, id, self.clock.now()).await?;
        self.wake.leases().notify_one();
        self.wake.tasks().notify_one();
        Ok(())
    }
}

/// The host and port of an endpoint, by which deliveries are kept apart: in lower case, without the default port.
pub fn endpoint_host(url: &str) -> String {
    let Ok(url) = Url::parse(url) else { return String::new() };
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::endpoint_host;

    #[test]
    fn hosts_of_endpoints() {
        for (url, host) in [
            ("https://Hooks.Example/a?b#c", "hooks.example"),
            ("HTTPS://hooks.example:443", "hooks.example"),
            ("https://hooks.example:8443/a", "hooks.example:8443"),
            ("https://[2001:DB8::1]:9/a", "[2001:db8::1]:9"),
            ("not a URL", ""),
        ] {
            assert_eq!(endpoint_host(url), host, "{url}");
        }
    }
}
