//! What must be true in the end: read from the rows and blobs themselves, and compared with what endpoints saw.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::AddAssign,
    sync::Arc,
};

use datasonar::app::App;
use datasonar_store::{
    Audit as _, Delivery, DeliveryFilter, DeliveryId, DeliveryStatus, Job, JobFilter, JobId, JobKind, Page, RunOutcome,
    Scope, Trigger, sqlite::SqliteStore,
};
use futures::TryStreamExt;
use object_store::{ObjectStore, memory::InMemory};
use ring::hmac;
use serde_json::Value;

use super::{
    Accepted, Property,
    isolation::{GIVEN_UP, MOST_DEATHS},
};
use crate::{
    clock::epoch,
    net::{EndpointKind, SiteKind, Web},
    world::World,
};

/// More than there are of anything.
const ALL: u32 = 100_000;

/// Everything that is left.
pub(crate) struct End<'a> {
    pub(crate) world: &'a World,
    pub(crate) web: &'a Web,
    /// The parts of a process that nothing happens to.
    pub(crate) app: &'a App,
    pub(crate) rows: &'a SqliteStore,
    pub(crate) blobs: &'a Arc<InMemory>,
    pub(crate) scopes: [Scope; 2],
}

/// How much there was, for the summary.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Jobs.
    pub jobs: u64,
    /// Page results.
    pub pages: u64,
    /// Of these, pages that were given up.
    pub given_up: u64,
    /// Deliveries.
    pub deliveries: u64,
    /// POSTs that endpoints saw.
    pub posts: u64,
    /// Processes that died.
    pub deaths: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.jobs += other.jobs;
        self.pages += other.pages;
        self.given_up += other.given_up;
        self.deliveries += other.deliveries;
        self.posts += other.posts;
        self.deaths += other.deaths;
    }
}

/// A page result, as far as it matters for pages that end processes.
struct PageSeen {
    url: String,
    is_success: bool,
    is_given_up: bool,
}

impl PageSeen {
    fn of(page: &Value) -> Self {
        let message = page["error"]["message"].as_str().unwrap_or_default();
        Self {
            url: page["url"].as_str().unwrap_or_default().to_owned(),
            is_success: page["status"] == "success",
            is_given_up: page["error"]["code"] == "internal" && message.starts_with(GIVEN_UP),
        }
    }
}

impl End<'_> {
    fn broken(&self, property: Property, what: impl Into<String>) {
        self.world.oracle().broken(property, what);
    }

    /// Checks everything.
    ///
    /// # Errors
    /// When the store or the blobs cannot be read.
    pub(crate) async fn check(&self) -> anyhow::Result<Counts> {
        let store = &self.app.store;
        let accepted = std::mem::take(&mut self.world.oracle().accepted);
        let mut asked: BTreeMap<JobId, Accepted> = accepted.into_iter().map(|job| (job.id, job)).collect();
        let mut counts = {
            let oracle = self.world.oracle();
            Counts { posts: oracle.posts.len() as u64, deaths: oracle.deaths, ..Counts::default() }
        };
        let (mut known, mut own, runs_before) = (BTreeSet::new(), 0, asked.len() as u64);
        let (mut runs, mut results) = (BTreeSet::new(), Vec::new());
        for scope in self.scopes {
            for job in store.jobs(scope, JobFilter::default(), Page { limit: ALL, before: None }).await? {
                counts.jobs += 1;
                counts.pages += job.total;
                own += u64::from(job.kind != JobKind::Test);
                known.insert(job.id);
                let accepted = asked.remove(&job.id);
                counts.deliveries += self.job(&job, accepted.as_ref(), &mut results).await?;
            }
            for schedule in store.schedules(scope, Page { limit: ALL, before: None }).await? {
                for run in store.runs(scope, schedule.id, Page { limit: ALL, before: None }).await? {
                    if let RunOutcome::Started(job) = run.outcome
                        && !runs.insert(job)
                    {
                        self.broken(Property::OneRunPerTime, format!("job {job} is that of two times"));
                    }
                }
            }
            self.signatures(scope).await?;
        }
        for lost in asked.keys() {
            self.broken(Property::Survives, format!("job {lost} was accepted and is not there"));
        }
        for lost in runs.difference(&known) {
            self.broken(Property::Survives, format!("job {lost} was started by a schedule and is not there"));
        }
        let most = runs_before + runs.len() as u64 + self.world.oracle().unsure;
        if own > most {
            self.broken(Property::Idempotent, format!("there are {own} jobs, and at most {most} were asked for"));
        }
        counts.given_up = self.poison(&results);
        self.audit().await?;
        self.drained(&known).await?;
        Ok(counts)
    }

    /// Checks a job, its results and what it owes. Answers how many deliveries it has.
    /// Adds its page results to `all`.
    async fn job(&self, job: &Job, accepted: Option<&Accepted>, all: &mut Vec<PageSeen>) -> anyhow::Result<u64> {
        let id = job.id;
        if !job.status.has_ended() {
            self.broken(Property::Survives, format!("job {id} has not ended: it is {}", job.status));
            return Ok(0);
        }
        let ends = self.world.oracle().ends(id);
        if ends != u32::from(job.kind != JobKind::Test) {
            self.broken(Property::EndsOnce, format!("job {id} ended {ends} times"));
        }
        let (length, body) = self.app.results.payload(job);
        let body: Vec<u8> = match body.try_collect::<Vec<_>>().await {
            Ok(parts) => parts.concat(),
            Err(error) => {
                self.broken(Property::OneResultPerUrl, format!("the results of job {id} cannot be read: {error}"));
                return Ok(0);
            }
        };
        if body.len() as u64 != length {
            self.broken(Property::IdenticalBytes, format!("job {id} has {} bytes, and says {length}", body.len()));
        }
        self.results(job, accepted, &body, all);
        if accepted.is_some_and(|accepted| accepted.has_webhook != job.webhook_url.is_some()) {
            self.broken(Property::OneDelivery, format!("job {id} does not have the endpoint it was given"));
        }
        let filter = DeliveryFilter { job: Some(id), status: None };
        let deliveries = self.app.store.deliveries(job.scope, filter, Page { limit: ALL, before: None }).await?;
        if deliveries.len() != usize::from(job.webhook_url.is_some()) {
            self.broken(Property::OneDelivery, format!("job {id} has {} deliveries", deliveries.len()));
        }
        for delivery in &deliveries {
            self.delivery(job, delivery, &body).await?;
        }
        Ok(deliveries.len() as u64)
    }

    fn results(&self, job: &Job, accepted: Option<&Accepted>, body: &[u8], all: &mut Vec<PageSeen>) {
        let id = job.id;
        let Ok(payload) = serde_json::from_slice::<Value>(body) else {
            return self.broken(Property::OneResultPerUrl, format!("the results of job {id} are no JSON"));
        };
        let result = &payload["result"];
        let results = match job.kind {
            JobKind::Scrape | JobKind::Test => std::slice::from_ref(result),
            JobKind::Batch | JobKind::Crawl => result["results"].as_array().map_or(&[][..], Vec::as_slice),
        };
        all.extend(results.iter().map(PageSeen::of));
        let urls: Vec<&str> = results.iter().map(|page| page["url"].as_str().unwrap_or_default()).collect();
        if urls.len() as u64 != job.total || job.succeeded + job.failed != job.total {
            let what =
                format!("job {id} has {} results, {} succeeded and {} failed", urls.len(), job.succeeded, job.failed);
            self.broken(Property::OneResultPerUrl, format!("{what}, of {} URLs", job.total));
        }
        let is_cancelled = job.cancelled_at.is_some();
        let succeeded = results.iter().filter(|page| page["status"] == "success").count();
        if let Some(accepted) = accepted {
            match accepted.crawl {
                None if accepted.urls != urls => {
                    let what = format!("job {id} has results for {urls:?}, and was asked for {:?}", accepted.urls);
                    self.broken(Property::OneResultPerUrl, what);
                }
                None => {}
                Some(crawl) => {
                    let distinct: BTreeSet<_> = urls.iter().collect();
                    if distinct.len() != urls.len() || urls.len() as u64 > crawl.max_pages {
                        let what = format!("crawl {id} of at most {} pages found {urls:?}", crawl.max_pages);
                        self.broken(Property::OneResultPerUrl, what);
                    }
                    let all = crawl.pages.min(crawl.max_pages);
                    let went_well = succeeded == urls.len() && !is_cancelled && job.skipped.robots == 0;
                    if went_well && urls.len() as u64 != all {
                        let what = format!("crawl {id} found {} pages of {all}: {urls:?}", urls.len());
                        self.broken(Property::OneResultPerUrl, what);
                    }
                }
            }
        }
        for page in results.iter().filter(|page| page["status"] == "success") {
            let url: url::Url = match page["url"].as_str().and_then(|url| url.parse().ok()) {
                Some(url) => url,
                None => return self.broken(Property::OneResultPerUrl, format!("job {id} has a page without URL")),
            };
            let site = self.web.sites.iter().find(|site| Some(site.name.as_str()) == url.host_str());
            let says = page["content"].as_str().unwrap_or_default();
            let is_own = match site.map(|site| site.kind) {
                Some(SiteKind::Plain(_) | SiteKind::Flaky | SiteKind::Poisonous) => {
                    says.contains(&format!("This is {} of", url.path()))
                }
                Some(SiteKind::Linked(_)) => {
                    says.contains(&format!("This is page {}.", url.path().trim_start_matches("/p")))
                }
                Some(SiteKind::Hanging | SiteKind::Endless | SiteKind::Failing | SiteKind::Garbage) => false,
                _ => !says.is_empty(),
            };
            if !is_own && job.kind != JobKind::Test {
                self.broken(Property::OneResultPerUrl, format!("job {id} has for {url} what is not there: {says:.80}"));
            }
        }
        if let Some(guarded) = results.iter().find(|page| {
            page["url"].as_str().is_some_and(|url| url.contains(crate::net::INWARD)) && page["status"] == "success"
        }) {
            self.broken(Property::Guarded, format!("job {id} fetched {}", guarded["url"]));
        }
    }

    /// Checks what became of the pages that end processes. Answers how many pages were given up.
    fn poison(&self, pages: &[PageSeen]) -> u64 {
        let is_poison = |url: &str| {
            let Ok(url) = url.parse::<url::Url>() else { return false };
            let site = self.web.sites.iter().find(|site| Some(site.name.as_str()) == url.host_str());
            site.is_some_and(|site| site.is_poison(url.path()))
        };
        let mut times = BTreeMap::<&str, u64>::new();
        for page in pages {
            *times.entry(&page.url).or_default() += 1;
            if page.is_success && is_poison(&page.url) {
                self.broken(
                    Property::PoisonIsContained,
                    format!("{} ends whoever processes it, and has content", page.url),
                );
            }
        }
        let ended = self.world.oracle().ended_by().clone();
        for (url, ended) in ended {
            let most = MOST_DEATHS * times.get(url.as_str()).copied().unwrap_or_default();
            if ended > most {
                self.broken(
                    Property::PoisonIsContained,
                    format!("{url} ended {ended} processes, and at most {most} are allowed"),
                );
            }
        }
        pages.iter().filter(|page| page.is_given_up).count() as u64
    }

    async fn delivery(&self, job: &Job, delivery: &Delivery, body: &[u8]) -> anyhow::Result<()> {
        let id = delivery.id;
        let (was_accepted, was_delivered, sent) = {
            let oracle = self.world.oracle();
            let sent = oracle.bodies.iter().find(|(known, _)| *known == id).map(|(_, sent)| sent == body);
            (oracle.was_accepted(id), oracle.was_delivered(id), sent)
        };
        if sent == Some(false) {
            self.broken(Property::IdenticalBytes, format!("delivery {id} carried other bytes than job {} has", job.id));
        }
        let is_delivered = delivery.status == DeliveryStatus::Delivered;
        if is_delivered != was_delivered || (is_delivered && !was_accepted) {
            let what = format!("delivery {id} is {}, was recorded as delivered: {was_delivered}", delivery.status);
            self.broken(Property::DeliveredAfter2xx, format!("{what}, was accepted: {was_accepted}"));
        }
        if delivery.status == DeliveryStatus::Pending || delivery.next_attempt_at.is_some() {
            let what = format!("delivery {id} is {}, next due {:?}", delivery.status, delivery.next_attempt_at);
            self.broken(Property::Drained, what);
        }
        let attempts = self.app.store.attempts(delivery.scope, id).await?;
        let numbers: Vec<u32> = attempts.iter().map(|attempt| attempt.number).collect();
        if !numbers.iter().copied().eq(1..=delivery.attempts) {
            self.broken(
                Property::Fenced,
                format!("delivery {id} has the attempts {numbers:?} of {}", delivery.attempts),
            );
        }
        let automatic = attempts.iter().filter(|attempt| attempt.trigger == Trigger::Automatic).count();
        if automatic != delivery.automatic_attempts as usize {
            self.broken(Property::Fenced, format!("delivery {id} counts {automatic} attempts of the schedule wrongly"));
        }
        if job.kind == JobKind::Test || is_delivered {
            return Ok(());
        }
        let host = delivery.host.as_str();
        let endpoint = self.web.endpoints.iter().find(|endpoint| endpoint.name == host);
        let all = self.world.oracle().schedule_ms.len() + 1;
        if endpoint.is_some_and(|endpoint| endpoint.accepts_in_the_end()) {
            self.broken(Property::Survives, format!("delivery {id} is {} and {host} would take it", delivery.status));
        } else if automatic != all && endpoint.is_none_or(|endpoint| endpoint.kind != EndpointKind::Gone) {
            self.broken(Property::Survives, format!("delivery {id} was given up after {automatic} attempts of {all}"));
        }
        Ok(())
    }

    /// Every signature is by a secret of the scope.
    async fn signatures(&self, scope: Scope) -> anyhow::Result<()> {
        // As of the beginning, when none had expired.
        let sealed = self.app.store.secrets(scope, epoch()).await?;
        let open = |secret: &datasonar_store::Secret| self.app.sealer.open(scope, secret.id, &secret.sealed);
        let secrets = sealed.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let keys: Vec<hmac::Key> =
            secrets.iter().map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())).collect();
        let own =
            self.app.store.deliveries(scope, DeliveryFilter::default(), Page { limit: ALL, before: None }).await?;
        let own: BTreeSet<DeliveryId> = own.iter().map(|delivery| delivery.id).collect();
        let oracle = self.world.oracle();
        let mut wrong = Vec::new();
        for post in oracle.posts.iter().filter(|post| own.contains(&post.delivery)) {
            let body = &oracle.bodies[post.body].1;
            let is_right = |signature: &str| {
                let tag = signature.strip_prefix("sha256=").and_then(|tag| hex::decode(tag).ok());
                tag.is_some_and(|tag| keys.iter().any(|key| hmac::verify(key, body, &tag).is_ok()))
            };
            let standard = post.standard.split(' ').filter(|signature| signature.starts_with("v1,")).count();
            if !post.signature.split(',').all(is_right) || standard != post.signature.split(',').count() {
                wrong.push(format!(
                    "attempt {} at {} is signed wrongly: {}",
                    post.number, post.delivery, post.signature
                ));
            }
            let late = (post.timestamp * 1_000 - epoch().as_millisecond() - i64::try_from(post.at)?).abs();
            // The time of an attempt is its begin's, to the second.
            if late > 62_000 {
                wrong.push(format!(
                    "attempt {} at {} bears a time that is off by {late} ms",
                    post.number, post.delivery
                ));
            }
        }
        drop(oracle);
        wrong.into_iter().for_each(|what| self.broken(Property::Signed, what));
        Ok(())
    }

    /// What an operator's audit would find.
    async fn audit(&self) -> anyhow::Result<()> {
        for job in self.rows.audited_jobs(None, ALL).await? {
            let mut found = job.violations();
            for task in self.rows.audited_tasks(job.id, 0, ALL).await? {
                found.extend(task.violations());
            }
            found.into_iter().for_each(|what| self.broken(Property::Sound, format!("job {}: {what}", job.id)));
        }
        self.rows.audited_strays().await?.into_iter().for_each(|what| self.broken(Property::Sound, what));
        Ok(())
    }

    /// Nothing is held, due or owed; every blob is some job's.
    async fn drained(&self, known: &BTreeSet<JobId>) -> anyhow::Result<()> {
        let totals = self.app.store.totals().await?;
        if (totals.jobs_open, totals.tasks_pending, totals.tasks_leased, totals.deliveries_pending) != (0, 0, 0, 0) {
            self.broken(Property::Drained, format!("in the end there are {totals:?}"));
        }
        for scope in self.scopes {
            for replay in self.app.store.replays(scope, Page { limit: ALL, before: None }).await? {
                if replay.completed_at.is_none() {
                    self.broken(Property::Drained, format!("bulk replay {} has not ended", replay.id));
                }
            }
        }
        let blobs: Vec<_> = self.blobs.list(None).try_collect().await?;
        for blob in blobs {
            let job = blob.location.parts().nth(1).and_then(|part| part.as_ref().parse().ok());
            if job.is_none_or(|job| !known.contains(&job)) {
                self.broken(
                    Property::Drained,
                    format!("{} belongs to no job at {}", blob.location, self.app.clock.now()),
                );
            }
        }
        Ok(())
    }
}
