//! Jobs from acceptance to result: checking a request ([`Terms`]), cutting it into tasks ([`UrlWriter`]), writing what a task
//! found as segments ([`segment`]), and reading it back as a body ([`Results`]).

mod admission;
mod again;
mod blocking;
pub mod members;
mod options;
mod request;
mod results;
pub mod secrets;
pub mod segment;
mod shares;
mod urls;

use std::sync::Arc;

use datasonar_store::{
    FoundUrl, Idempotency, JobId, JobInput, JobKind, NewCrawl, NewJob, NewWork, Scope, Store, StoreError, Submission,
    UrlKey, Webhook,
};
use url::Url;

pub use admission::admit_sitemaps;
pub use again::AgainError;
pub use blocking::{blocking, permit};
pub use options::{CrawlJob, JobOptions, Payload, PayloadKind};
pub use request::{Asked, JobRequest, Pages, Terms, read_job};
pub use results::{ByteStream, Position, ResultPage, Results, ResultsError};
pub use shares::{Share, Shares};
pub use urls::{UrlWriter, read_urls};

use crate::{
    blobs::{Blobs, BlobsError},
    clock::{Clock, Ids},
    crawl::Keys,
    crypto::Sealer,
    plans::Plans,
    wake::{Bell, Wake},
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
    sealer: Sealer,
    terms: Terms,
    plans: Plans,
    wake: Wake,
}

/// What jobs are accepted with.
pub struct JobsParts {
    /// The rows.
    pub store: Arc<dyn Store>,
    /// The bytes.
    pub blobs: Blobs,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Ids.
    pub ids: Ids,
    /// Encrypts the headers of jobs.
    pub sealer: Sealer,
    /// What requests are checked against.
    pub terms: Terms,
    /// What accounts may use.
    pub plans: Plans,
    /// Rung when there is something to do.
    pub wake: Wake,
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
    /// A defect.
    #[error("a thread panicked: {0}")]
    Panicked(String),
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
    /// What there is to do.
    pub work: NewWork,
    /// The caller's idempotency key.
    pub idempotency: Option<Idempotency>,
}

/// What would be left of a job that is not accepted.
#[derive(Clone, Copy, Debug)]
pub struct Trace {
    id: JobId,
    has_blob: bool,
}

impl Trace {
    /// Of a job to be accepted.
    pub fn of(new: &Submit) -> Self {
        Self { id: new.id, has_blob: matches!(new.work, NewWork::Listed { input: JobInput::Blob(_), .. }) }
    }
}

impl Jobs {
    /// Accepts jobs into a store.
    pub fn new(parts: JobsParts) -> Self {
        let JobsParts { store, blobs, clock, ids, sealer, terms, plans, wake } = parts;
        Self { store, blobs, clock, ids, sealer, terms, plans, wake }
    }

    /// Encrypts and decrypts the credentials of jobs and schedules.
    pub fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    /// What requests are checked against.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Makes the id of a job to be.
    pub fn mint(&self) -> JobId {
        JobId(self.ids.uuid())
    }

    /// Begins the URLs of a job.
    pub fn urls(&self, job: JobId) -> UrlWriter {
        UrlWriter::new(self.blobs.clone(), job, self.terms.policy.clone())
    }

    /// Makes the URLs of a request durable, so that its job can be accepted.
    ///
    /// # Errors
    /// When the blob storage fails.
    pub async fn prepare(&self, scope: Scope, request: JobRequest) -> Result<Submit, JobsError> {
        let JobRequest { pages, asked: Asked { options, webhook_url } } = request;
        let (id, kind) = (self.mint(), pages.kind());
        let urls = match pages {
            Pages::One(url) => vec![url],
            Pages::Listed(urls) => urls,
            Pages::Site(crawl) => {
                let work = NewWork::Crawl(first_step(crawl));
                return Ok(Submit { id, scope, kind, options, webhook_url, work, idempotency: None });
            }
        };
        let mut writer = self.urls(id);
        let work = blocking(move || {
            urls.iter().try_for_each(|url| writer.push(url))?;
            writer.finish()
        });
        Ok(Submit { id, scope, kind, options, webhook_url, work: work.await?, idempotency: None })
    }

    /// Accepts a job: when this answers, it is durable.
    ///
    /// # Errors
    /// When the store fails, the idempotency key was used with another request, or the job is more than the plan of its account allows.
    pub async fn submit(&self, new: Submit) -> Result<Submission, JobsError> {
        let trace = Trace::of(&new);
        let submission = self.store.submit_job(self.row(new).await?).await;
        match &submission {
            Ok(Submission::Accepted) => self.accepted(),
            Ok(Submission::Repeated { .. }) | Err(StoreError::IdempotencyMismatch | StoreError::LimitReached(_)) => {
                self.discard(trace).await;
            }
            // The outcome is unknown: what there may be of the job is left to the sweep.
            Err(_) => {}
        }
        Ok(submission?)
    }

    /// The row of a job to be accepted now, with what its account may use.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn row(&self, new: Submit) -> Result<NewJob, StoreError> {
        let allowance = self.plans.allowance(new.scope).await?;
        Ok(NewJob {
            id: new.id,
            scope: new.scope,
            kind: new.kind,
            options: secrets::seal_options(&self.sealer, new.scope, new.id, &new.options),
            webhook: new.webhook_url.map(|url| Webhook { host: endpoint_host(&url), url }),
            work: new.work,
            created_at: self.clock.now(),
            idempotency: new.idempotency,
            allowance,
        })
    }

    /// Says that a job was accepted.
    pub fn accepted(&self) {
        self.wake.ring(Bell::Tasks);
    }

    /// Deletes the URLs of a job that was not accepted: nothing will ever refer to them.
    pub async fn discard(&self, trace: Trace) {
        if !trace.has_blob {
            return;
        }
        if let Err(error) = self.blobs.delete_job(trace.id).await {
            tracing::debug!(%error, "the URLs of a job that was not accepted were left to the sweep");
        }
    }

    /// Asks for a job's cancelling.
    ///
    /// # Errors
    /// When it is unknown within the scope, or has ended.
    pub async fn cancel(&self, scope: Scope, id: JobId) -> Result<(), StoreError> {
        self.store.cancel_job(scope, id, self.clock.now()).await?;
        self.wake.ring(Bell::Leases);
        self.wake.ring(Bell::Tasks);
        Ok(())
    }
}

/// Where a crawl begins.
fn first_step(crawl: CrawlJob) -> NewCrawl {
    let keys = Keys { ignore_query: crawl.options.ignore_query_parameters };
    let start = Url::parse(&crawl.start).expect("the start was parsed when the request was checked");
    let key = UrlKey(keys.of(&start).0);
    let start = FoundUrl { key, url: crawl.start, depth: 0, found_on: None };
    NewCrawl { max_pages: crawl.options.max_pages, start }
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
