//! The parts of a running server, as its roles and its API see them.

use std::sync::Arc;

use datasonar_net::AddressPolicy;
use datasonar_store::Store;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    blobs::Blobs,
    clock::{Clock, Ids},
    config::Settings,
    crawl::Sites,
    crypto::Sealer,
    jobs::{Jobs, Results},
    key_uses::KeyUses,
    mapper::Mapper,
    people::People,
    plans::Plans,
    schedules::Schedules,
    scrape::Scraper,
    wake::Wake,
    webhook::{secrets::Secrets, test_event::TestEvents},
};

/// The parts of a running server.
#[derive(Clone)]
pub struct App {
    /// What the operator decided.
    pub settings: Arc<Settings>,
    /// Under which address clients reach this server, without a slash at its end: `PUBLIC_URL`, or where it listens.
    pub public_url: Arc<str>,
    /// The rows.
    pub store: Arc<dyn Store>,
    /// The bytes.
    pub blobs: Blobs,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Ids and chance.
    pub ids: Ids,
    /// Encrypts and decrypts webhook secrets.
    pub sealer: Sealer,
    /// The secrets that sign webhooks.
    pub secrets: Secrets,
    /// Which addresses may be dialled.
    pub policy: AddressPolicy,
    /// People who use the dashboard.
    pub people: People,
    /// What accounts may use.
    pub plans: Plans,
    /// Accepts and cancels jobs.
    pub jobs: Jobs,
    /// Keeps schedules and starts their jobs.
    pub schedules: Schedules,
    /// Reads the results of jobs.
    pub results: Results,
    /// Turns a URL into a page result.
    pub scraper: Arc<Scraper>,
    /// What is known of sites.
    pub sites: Sites,
    /// Lists the URLs of sites.
    pub mapper: Mapper,
    /// Sends test events.
    pub test_events: TestEvents,
    /// Notes when API keys are used.
    pub key_uses: KeyUses,
    /// Cancelled when the server stops: answers that go on for long end then.
    pub stopping: CancellationToken,
    /// Wakes the loops of this process.
    pub wake: Wake,
    /// What keeps this process from being ready, if anything does.
    pub not_ready: watch::Receiver<Option<String>>,
}
