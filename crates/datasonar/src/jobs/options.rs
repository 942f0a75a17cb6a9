//! What a job keeps of its request, besides its URLs and its endpoint: how its pages are scraped, and what its webhook
//! carries.

use datasonar_store::JobId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{crawl::CrawlOptions, scrape::ScrapeOptions};

/// A job's options, as stored with it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JobOptions {
    /// How its pages are scraped.
    pub scrape: ScrapeOptions,
    /// What its webhook carries.
    pub payload: Payload,
    /// The URL of a single scrape, so that lists of jobs can tell it; its task has it from where all jobs have their URLs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// What is asked of it, if it is a crawl.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crawl: Option<CrawlJob>,
    /// The values of `scrape.headers`, encrypted; in rows only, see [`super::secrets`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed_headers: Option<String>,
}

/// What is asked of a crawl.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CrawlJob {
    /// Where it begins.
    pub start: String,
    /// The rest.
    #[serde(flatten)]
    pub options: CrawlOptions,
}

/// What a webhook carries: the whole result, or where to fetch it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PayloadKind {
    /// The whole result.
    #[default]
    Full,
    /// Counts and the URL of the results, which is fetched with the API key.
    Reference,
}

/// How the body of a job's webhook is made. It is decided when the job is accepted, so that the body never changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Payload {
    /// What was asked for.
    pub kind: PayloadKind,
    /// A full body longer than this becomes a reference.
    pub max_bytes: Option<u64>,
    /// The server's address, as its clients knew it when the job was accepted.
    pub server: String,
}

impl Payload {
    /// Whether a body that would be so long is sent as a reference.
    pub fn is_reference(&self, full_bytes: u64) -> bool {
        self.kind == PayloadKind::Reference || self.max_bytes.is_some_and(|most| full_bytes > most)
    }

    /// Where the results of a job are fetched, for as long as they are kept.
    pub fn results_url(&self, job: JobId) -> String {
        format!("{}/v1/jobs/{job}/results", self.server)
    }
}
