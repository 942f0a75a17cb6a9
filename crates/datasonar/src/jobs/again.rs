//! Running a job again: the same pages with the same options, as a job of its own.

use datasonar_store::{Job, JobKind, NewWork};
use serde::Deserialize;
use tokio::sync::mpsc;

use super::{
    Jobs, JobsError, Position, Results, ResultsError, Submit, blocking, first_step,
    secrets::{OpenError, open_options},
};

/// How many results are read at once.
const AT_ONCE: u32 = 100;
/// How many URLs wait to be written.
const WAITING: usize = 1_000;

/// Why a job cannot be run again.
#[derive(Debug, thiserror::Error)]
pub enum AgainError {
    /// What it was about is not known any more.
    #[error("the results of this job have expired, and its URLs with them: queue it anew")]
    Gone,
    /// What it is about is not known yet.
    #[error("the job has not ended")]
    Open,
    /// What was asked of it cannot be read.
    #[error("the job cannot be run again: {0}")]
    Unreadable(#[from] OpenError),
    /// The new one could not be made.
    #[error(transparent)]
    Jobs(#[from] JobsError),
    /// The results of the old one could not be read.
    #[error(transparent)]
    Results(#[from] ResultsError),
}

/// What is read of a page result.
#[derive(Deserialize)]
struct Fetched {
    url: String,
}

impl Jobs {
    /// Makes a job that has ended ready to be accepted anew. The URLs of a list are read from its results, of which each URL has one.
    ///
    /// # Errors
    /// When it has not ended, its results were deleted, or the storage fails.
    pub async fn again(&self, results: &Results, job: &Job) -> Result<Submit, AgainError> {
        let mut options = open_options(&self.sealer, job.scope, job.id, &job.options)?;
        options.payload.server = self.terms.server.to_string();
        let (id, scope, webhook_url) = (self.mint(), job.scope, job.webhook_url.clone());
        let kind = if job.kind == JobKind::Test { JobKind::Scrape } else { job.kind };
        if let Some(crawl) = options.crawl.clone() {
            let work = NewWork::Crawl(first_step(crawl));
            return Ok(Submit { id, scope, kind, options, webhook_url, work, idempotency: None });
        }
        if job.results_deleted {
            return Err(AgainError::Gone);
        }
        if !job.status.has_ended() {
            return Err(AgainError::Open);
        }
        let mut writer = self.urls(id);
        let (sender, mut urls) = mpsc::channel::<String>(WAITING);
        let read = async {
            // Whatever ends reading ends the writing below.
            let sender = sender;
            let mut from = Position::default();
            loop {
                let page = results.page(job, from, AT_ONCE).await?;
                for result in &page.results {
                    let Ok(Fetched { url }) = serde_json::from_slice(result) else { continue };
                    if sender.send(url).await.is_err() {
                        return Ok(());
                    }
                }
                if !page.has_more {
                    return Ok::<_, AgainError>(());
                }
                from = page.next;
            }
        };
        let write = async {
            let writing = blocking(move || {
                while let Some(url) = urls.blocking_recv() {
                    writer.push(&url)?;
                }
                writer.finish()
            });
            Ok::<_, AgainError>(writing.await?)
        };
        let ((), work) = tokio::try_join!(read, write)?;
        Ok(Submit { id, scope, kind, options, webhook_url, work, idempotency: None })
    }
}
