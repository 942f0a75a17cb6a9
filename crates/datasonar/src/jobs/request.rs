//! What a job is asked for with: the bodies of the endpoints that make jobs, read and checked.
//!
//! The API reads them as they are sent, the scheduler as a schedule keeps them. Both come this way, so that both accept the
//! same. (The long list of a batch that is sent is read as a stream by the API, and only its other members come here.)

use std::sync::Arc;

use datasonar_net::AddressPolicy;
use datasonar_store::JobKind;
use http::{HeaderMap, header::AUTHORIZATION};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use url::Url;

use super::{
    CrawlJob, JobOptions, Payload, PayloadKind,
    members::{pointer, typed, unknown},
};
use crate::{
    crawl::{CrawlOptions, OptionError, Scope},
    scrape::{FieldError, Limits, Plan, ScrapeOptions, shown_url},
};

const MAX_WEBHOOK_URL_BYTES: usize = 2_048;

/// What requests are checked against.
#[derive(Clone)]
pub struct Terms {
    /// Which addresses may be dialled.
    pub policy: AddressPolicy,
    /// The bounds of options.
    pub limits: Limits,
    /// Under which address clients reach this server.
    pub server: Arc<str>,
}

/// A request for a job, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct JobRequest {
    /// Which pages it is about.
    pub pages: Pages,
    /// What it asks besides.
    pub asked: Asked,
}

/// Which pages a job is about. Each kind of job that can be asked for in one piece is a variant.
#[derive(Clone, Debug, PartialEq)]
pub enum Pages {
    /// One: a job of the kind `scrape`.
    One(String),
    /// These: a job of the kind `batch`.
    Listed(Vec<String>),
    /// Those of a site: a job of the kind `crawl`.
    Site(CrawlJob),
}

impl Pages {
    /// The kind of the job.
    pub fn kind(&self) -> JobKind {
        match self {
            Self::One(_) => JobKind::Scrape,
            Self::Listed(_) => JobKind::Batch,
            Self::Site(_) => JobKind::Crawl,
        }
    }
}

/// What a job is asked for besides its pages.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Asked {
    /// How its pages are scraped, and what its webhook carries.
    pub options: JobOptions,
    /// Where the result is POSTed.
    pub webhook_url: Option<String>,
}

#[derive(Deserialize)]
struct Single {
    url: String,
}

#[derive(Deserialize)]
struct Listed {
    urls: Vec<String>,
}

#[derive(Deserialize)]
struct Endpoint {
    webhook_url: Option<String>,
    webhook_payload: Option<PayloadKind>,
    webhook_max_bytes: Option<u64>,
}

const ENDPOINT: &[&str] = &["webhook_url", "webhook_payload", "webhook_max_bytes"];

impl Terms {
    /// Reads the body of the endpoint that makes jobs of this kind.
    ///
    /// # Errors
    /// What is wrong with it, each with its place.
    pub fn read(&self, kind: JobKind, members: Map<String, Value>) -> Result<JobRequest, Vec<FieldError>> {
        match kind {
            JobKind::Scrape => {
                let (Single { url }, mut asked) = self.take(members, "url")?;
                if !self.is_fetchable(&url) {
                    let why = "is not a URL that can be fetched: http or https, with a public host";
                    return Err(vec![FieldError::new("/url", why)]);
                }
                asked.options.url = Some(shown_url(&url));
                Ok(JobRequest { pages: Pages::One(url), asked })
            }
            JobKind::Batch => {
                let (Listed { urls }, asked) = self.take(members, "urls")?;
                if urls.is_empty() {
                    return Err(vec![FieldError::new("/urls", "is empty")]);
                }
                if !urls.iter().any(|url| self.is_fetchable(url)) {
                    return Err(vec![FieldError::new("/urls", "none of the URLs can be fetched")]);
                }
                Ok(JobRequest { pages: Pages::Listed(urls), asked })
            }
            JobKind::Crawl => self.crawl(members),
            JobKind::Test => {
                Err(vec![FieldError::new("", format!("jobs of the kind `{kind}` cannot be asked for here"))])
            }
        }
    }

    fn crawl(&self, members: Map<String, Value>) -> Result<JobRequest, Vec<FieldError>> {
        let own = |name: &str| name == "url" || CrawlOptions::FIELDS.contains(&name);
        let known: Vec<&str> =
            ["url"].iter().chain(CrawlOptions::FIELDS).chain(ENDPOINT).chain(ScrapeOptions::FIELDS).copied().collect();
        unknown(&members, &known)?;
        let (mut own, rest): (Map<_, _>, Map<_, _>) = members.into_iter().partition(|(name, _)| own(name));
        let url = own.shift_remove_entry("url").into_iter().collect();
        let Single { url } = typed(url).map_err(|error| vec![error])?;
        let options: CrawlOptions = typed(own).map_err(|error| vec![error])?;
        let start = Url::parse(&url).ok().filter(|_| self.is_fetchable(&url));
        let Some(mut start) = start else {
            let why = "is not a URL that can be fetched: http or https, with a public host";
            return Err(vec![FieldError::new("/url", why)]);
        };
        start.set_fragment(None);
        let error = |error: OptionError| FieldError::new(error.pointer, error.detail);
        Scope::new(&start, &options).map_err(|errors| errors.into_iter().map(error).collect::<Vec<_>>())?;
        let mut asked = self.asked(rest)?;
        self.keep_credentials(&mut start, &mut asked.options.scrape)?;
        let job = CrawlJob { start: start.into(), options };
        asked.options.crawl = Some(job.clone());
        Ok(JobRequest { pages: Pages::Site(job), asked })
    }

    /// Turns a user name and password in the URL of a crawl's start into a header, which is kept and sent like any other.
    fn keep_credentials(&self, start: &mut Url, options: &mut ScrapeOptions) -> Result<(), Vec<FieldError>> {
        let mut header = HeaderMap::new();
        datasonar_net::take_credentials(start, &mut header);
        let Some(value) = header.get(AUTHORIZATION).and_then(|value| value.to_str().ok()) else { return Ok(()) };
        if options.headers.keys().any(|name| name.eq_ignore_ascii_case(AUTHORIZATION.as_str())) {
            return Ok(());
        }
        options.headers.insert(AUTHORIZATION.as_str().to_owned(), value.to_owned());
        // It may be one header too many.
        Plan::new(options, &self.limits).map(|_| ())
    }

    /// Reads the one member that says which pages, and what else is asked.
    fn take<T: DeserializeOwned>(
        &self,
        mut members: Map<String, Value>,
        name: &str,
    ) -> Result<(T, Asked), Vec<FieldError>> {
        // A name that is misspelt is told before the one that is missing for it.
        let known: Vec<&str> = [name].iter().chain(ENDPOINT).chain(ScrapeOptions::FIELDS).copied().collect();
        unknown(&members, &known)?;
        let own = members.shift_remove_entry(name).into_iter().collect();
        let own = typed(own).map_err(|error| vec![error])?;
        Ok((own, self.asked(members)?))
    }

    /// Reads what a job is asked for besides its pages.
    ///
    /// # Errors
    /// What is wrong with it, each with its place.
    pub fn asked(&self, members: Map<String, Value>) -> Result<Asked, Vec<FieldError>> {
        let (own, _, options) = self.split::<Endpoint>(members, ENDPOINT)?;
        self.check_endpoint(own.webhook_url.as_deref()).map_err(|error| vec![error])?;
        if own.webhook_max_bytes == Some(0) {
            return Err(vec![FieldError::new("/webhook_max_bytes", "must be at least 1")]);
        }
        let payload = Payload {
            kind: own.webhook_payload.unwrap_or_default(),
            max_bytes: own.webhook_max_bytes,
            server: self.server.to_string(),
        };
        Ok(Asked {
            options: JobOptions { scrape: options, payload, ..JobOptions::default() },
            webhook_url: own.webhook_url,
        })
    }

    /// Parts a request's members into those of its endpoint and options, and checks the options.
    ///
    /// # Errors
    /// What is wrong with them, each with its place.
    pub fn split<T: DeserializeOwned>(
        &self,
        members: Map<String, Value>,
        own: &[&str],
    ) -> Result<(T, Arc<Plan>, ScrapeOptions), Vec<FieldError>> {
        let known: Vec<&str> = own.iter().chain(ScrapeOptions::FIELDS).copied().collect();
        unknown(&members, &known)?;
        let (own, options): (Map<_, _>, Map<_, _>) =
            members.into_iter().partition(|(name, _)| own.contains(&name.as_str()));
        let (own, options): (T, ScrapeOptions) =
            (typed(own).map_err(|error| vec![error])?, typed(options).map_err(|error| vec![error])?);
        let plan = Plan::new(&options, &self.limits)?;
        Ok((own, Arc::new(plan), options))
    }

    /// Tells whether a URL can be fetched, as far as can be seen without DNS.
    pub fn is_fetchable(&self, url: &str) -> bool {
        Url::parse(url).is_ok_and(|url| self.policy.check_url(&url).is_ok())
    }

    /// An endpoint must be https and must not be visibly private. Its address is checked again at each connection.
    ///
    /// # Errors
    /// Why it is not taken.
    pub fn check_endpoint(&self, endpoint: Option<&str>) -> Result<(), FieldError> {
        let Some(endpoint) = endpoint else { return Ok(()) };
        let refuse = |why: String| Err(FieldError::new("/webhook_url", why));
        if endpoint.len() > MAX_WEBHOOK_URL_BYTES {
            return refuse(format!("is longer than {MAX_WEBHOOK_URL_BYTES} bytes"));
        }
        let url = match Url::parse(endpoint) {
            Ok(url) => url,
            Err(error) => return refuse(format!("is not an absolute URL: {error}")),
        };
        if url.scheme() != "https" {
            return refuse("must be an https URL: webhooks are never sent in the clear".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refuse("must not carry a user name or password".to_owned());
        }
        self.policy.check_url(&url).or_else(|error| refuse(error.to_string()))
    }
}

/// Reads the job of a schedule: a kind, and the body of the endpoint that makes such jobs.
///
/// # Errors
/// What is wrong with it, each with its place within the job.
pub fn read_job(terms: &Terms, mut job: Map<String, Value>) -> Result<JobRequest, Vec<FieldError>> {
    const KINDS: &str = "must be `scrape`, `batch` or `crawl`";
    let kind = match job.shift_remove("kind") {
        None => return Err(vec![FieldError::new(pointer("kind"), "is missing")]),
        Some(Value::String(name)) => match name.parse() {
            Ok(kind @ (JobKind::Scrape | JobKind::Batch | JobKind::Crawl)) => kind,
            _ => return Err(vec![FieldError::new(pointer("kind"), KINDS)]),
        },
        Some(_) => return Err(vec![FieldError::new(pointer("kind"), KINDS)]),
    };
    terms.read(kind, job)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn read(job: Value) -> Result<JobRequest, String> {
        let terms = Terms {
            policy: AddressPolicy::public_only(),
            limits: Limits { timeout: Duration::from_secs(30), max_bytes: 1_000 },
            server: "http://here".into(),
        };
        let Value::Object(job) = job else { panic!("a job is an object") };
        read_job(&terms, job).map_err(|errors| {
            errors.iter().map(|error| format!("{}: {}", error.pointer, error.detail)).collect::<Vec<_>>().join("; ")
        })
    }

    #[test]
    fn a_job_is_a_kind_and_a_body() {
        let request = read(json!({"kind": "scrape", "url": "https://a.example/", "format": "text"})).unwrap();
        assert_eq!(request.pages, Pages::One("https://a.example/".to_owned()));
        assert_eq!(request.asked.webhook_url, None);
        let batch = json!({
            "kind": "batch", "urls": ["nonsense", "https://a.example/"], "webhook_url": "https://b.example/",
            "webhook_payload": "reference",
        });
        let request = read(batch).unwrap();
        assert_eq!(request.pages.kind(), JobKind::Batch);
        assert_eq!(request.asked.webhook_url.as_deref(), Some("https://b.example/"));
        assert_eq!(request.asked.options.payload.kind, PayloadKind::Reference);
        assert_eq!(request.asked.options.payload.server, "http://here");
    }

    #[test]
    fn what_is_wrong_has_its_place() {
        for (job, expected) in [
            (json!({}), "/kind: is missing"),
            (json!({"kind": 1}), "/kind: must be"),
            (json!({"kind": "test"}), "/kind: must be"),
            (json!({"kind": "crawl"}), "/url: is missing"),
            (json!({"kind": "crawl", "url": "https://a.example/", "max_pages": 0}), "/max_pages: must be"),
            (json!({"kind": "crawl", "url": "https://a.example/", "include_paths": ["("]}), "/include_paths/0: "),
            (json!({"kind": "crawl", "url": "https://a.example/", "max_page": 1}), "/max_page: unknown field"),
            (json!({"kind": "scrape"}), "/url: is missing"),
            (json!({"kind": "scrape", "url": 1}), "/url: "),
            (json!({"kind": "scrape", "url": "http://10.0.0.1/"}), "/url: is not a URL that can be fetched"),
            (json!({"kind": "scrape", "url": "https://a.example/", "urls": []}), "/urls: unknown field"),
            (json!({"kind": "batch", "urls": []}), "/urls: is empty"),
            (json!({"kind": "batch", "urls": ["x"]}), "/urls: none"),
            (json!({"kind": "batch", "urls": ["x", 1]}), "/urls/1: "),
            (json!({"kind": "batch", "urls": ["https://a.example/"], "fromat": "text"}), "/fromat: unknown field"),
            (json!({"kind": "batch", "urls": ["https://a.example/"], "max_bytes": 1_001}), "/max_bytes: must be"),
            (json!({"kind": "batch", "urls": ["https://a.example/"], "webhook_max_bytes": 0}), "/webhook_max_bytes: "),
            (json!({"kind": "batch", "urls": ["https://a.example/"], "webhook_url": "http://a/"}), "/webhook_url: "),
        ] {
            let error = read(job.clone()).unwrap_err();
            assert!(error.starts_with(expected), "{job}: {error}");
        }
    }
}
