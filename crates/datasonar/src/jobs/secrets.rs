//! Keeps credentials out of the rows: the values of a caller's request headers, and user names and passwords in the URLs of a
//! schedule's job.
//!
//! A job's options and a schedule's job keep the names of the headers and [`MASK`] for each value. The values are encrypted
//! with the operator's key into one more member, bound to the account, the environment and the row's id. Whoever works with
//! them opens that member; whoever only shows a row never does. Rows written before this have plain values: they are read as
//! they are, and shown masked.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use base64::{Engine, prelude::BASE64_STANDARD};
use datasonar_store::{JobId, ScheduleId, Scope};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::Url;

use super::{JobOptions, members::pointer};
use crate::{
    crypto::{CryptoError, Sealer},
    scrape::{FieldError, MASK, is_masked_url, shown_url},
};

/// The member of a schedule's job that keeps what is encrypted.
const SEALED: &str = "sealed";

/// Why a stored job cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is not what this program writes.
    #[error("it cannot be read: {0}")]
    Format(#[from] serde_json::Error),
    /// Its credentials cannot be decrypted.
    #[error("its headers cannot be decrypted: {0}")]
    Crypto(#[from] CryptoError),
}

/// The credentials of a schedule's job.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Credentials {
    /// Header values by name.
    headers: BTreeMap<String, String>,
    /// URLs with a user name or password, in their order, by what is shown instead.
    urls: BTreeMap<String, VecDeque<String>>,
}

impl Credentials {
    fn is_empty(&self) -> bool {
        self.headers.is_empty() && self.urls.is_empty()
    }
}

/// Serialises a job's options for its row.
pub fn seal_options(sealer: &Sealer, scope: Scope, job: JobId, options: &JobOptions) -> String {
    let to_json = |options: &JobOptions| serde_json::to_string(options).expect("options have string keys only");
    if options.scrape.headers.is_empty() {
        return to_json(options);
    }
    let headers = serde_json::to_string(&options.scrape.headers).expect("it has string keys only");
    let mut kept = options.masked();
    kept.sealed_headers = Some(BASE64_STANDARD.encode(sealer.seal_for(scope, &of_job(job), &headers)));
    to_json(&kept)
}

/// Reads a job's options from its row, with its headers.
///
/// # Errors
/// When the row is not readable, or its headers were encrypted with another key or for another job.
pub fn open_options(sealer: &Sealer, scope: Scope, job: JobId, row: &str) -> Result<JobOptions, OpenError> {
    let mut options: JobOptions = serde_json::from_str(row)?;
    if let Some(sealed) = options.sealed_headers.take() {
        let headers = sealer.open_for(scope, &of_job(job), &decoded(&sealed)?)?;
        options.scrape.headers = serde_json::from_str(&headers)?;
    }
    Ok(options)
}

impl JobOptions {
    /// Returns the same options with all header values masked.
    #[must_use]
    pub fn masked(&self) -> Self {
        let mut masked = self.clone();
        for value in masked.scrape.headers.values_mut() {
            MASK.clone_into(value);
        }
        masked.sealed_headers = None;
        masked
    }
}

/// Serialises a schedule's job for its row.
pub fn seal_job(sealer: &Sealer, scope: Scope, schedule: ScheduleId, mut job: Map<String, Value>) -> String {
    let credentials = take_credentials(&mut job);
    if !credentials.is_empty() {
        let text = serde_json::to_string(&credentials).expect("it has string keys only");
        let sealed = BASE64_STANDARD.encode(sealer.seal_for(scope, &of_schedule(schedule), &text));
        job.insert(SEALED.to_owned(), Value::String(sealed));
    }
    Value::Object(job).to_string()
}

/// Reads a schedule's job from its row, as it was sent.
///
/// # Errors
/// When the row is not readable, or its credentials were encrypted with another key or for another schedule.
pub fn open_job(
    sealer: &Sealer,
    scope: Scope,
    schedule: ScheduleId,
    row: &str,
) -> Result<Map<String, Value>, OpenError> {
    let mut job: Map<String, Value> = serde_json::from_str(row)?;
    if let Some(sealed) = job.shift_remove(SEALED) {
        let sealed = decoded(sealed.as_str().unwrap_or_default())?;
        let text = sealer.open_for(scope, &of_schedule(schedule), &sealed)?;
        put_back(&mut job, &mut serde_json::from_str(&text)?);
    }
    Ok(job)
}

/// Returns a schedule's job as it may be shown: names of headers stay, their values and credentials in URLs are masked.
pub fn shown_job(row: &str) -> Map<String, Value> {
    let mut job: Map<String, Value> = serde_json::from_str(row).unwrap_or_default();
    job.shift_remove(SEALED);
    take_credentials(&mut job);
    job
}

/// Puts the values of a schedule's present job in place of masks in its next one, so that a change that leaves them alone
/// keeps them.
///
/// A value is kept only for origins that receive it already: whoever may change a schedule must not be able to have a value
/// that is not shown sent to a server of their own.
///
/// # Errors
/// The masks that cannot be replaced, each with its place.
pub fn keep_masked(job: &mut Map<String, Value>, present: Map<String, Value>) -> Result<(), Vec<FieldError>> {
    let known = origins(&present);
    let mut present = present;
    let mut kept = take_credentials(&mut present);
    let mut wanted = kept.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
    let by_name: BTreeMap<String, String> = wanted.by_ref().collect();
    let mut used = Vec::new();
    let mut errors = Vec::new();
    if let Some(Value::Object(headers)) = job.get_mut("headers") {
        for (name, value) in headers {
            if value != MASK {
                continue;
            }
            match by_name.get(&name.to_ascii_lowercase()) {
                Some(known) => {
                    *value = Value::String(known.clone());
                    used.push(name.clone());
                }
                None => errors.push(masked(name)),
            }
        }
    }
    kept.headers.clear();
    put_back(job, &mut kept);
    if urls(job).into_iter().any(|url| is_masked_url(url)) {
        let place = if job.contains_key("urls") { "/urls" } else { "/url" };
        errors.push(FieldError::new(place, "has a masked user name: write the user name and password again"));
    }
    if !used.is_empty()
        && let Some(stranger) = origins(job).into_iter().find(|origin| !known.contains(origin))
    {
        let why = format!("is masked, and the job now goes to {stranger}, too: send the header's value again");
        errors.extend(used.iter().map(|name| FieldError::new(format!("/headers{}", pointer(name)), why.clone())));
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// What is wrong with a mask that stands for nothing.
fn masked(name: &str) -> FieldError {
    FieldError::new(format!("/headers{}", pointer(name)), "is masked: send the header's value")
}

/// Takes the credentials out of a job and leaves masks.
fn take_credentials(job: &mut Map<String, Value>) -> Credentials {
    let mut taken = Credentials::default();
    if let Some(Value::Object(headers)) = job.get_mut("headers") {
        for (name, value) in headers {
            if let Value::String(text) = value
                && text != MASK
            {
                taken.headers.insert(name.clone(), std::mem::replace(text, MASK.to_owned()));
            }
        }
    }
    for url in urls(job) {
        let shown = shown_url(url);
        if shown != *url && !is_masked_url(url) {
            taken.urls.entry(shown.clone()).or_default().push_back(std::mem::replace(url, shown));
        }
    }
    taken
}

/// Puts credentials in place of the masks in a job.
fn put_back(job: &mut Map<String, Value>, credentials: &mut Credentials) {
    if let Some(Value::Object(headers)) = job.get_mut("headers") {
        for (name, value) in headers {
            if value == MASK
                && let Some(text) = credentials.headers.remove(name)
            {
                *value = Value::String(text);
            }
        }
    }
    for url in urls(job) {
        if let Some(text) = credentials.urls.get_mut(url.as_str()).and_then(VecDeque::pop_front) {
            *url = text;
        }
    }
}

/// The URLs that a job names.
fn urls(job: &mut Map<String, Value>) -> Vec<&mut String> {
    let mut urls = Vec::new();
    for (name, value) in job {
        match (name.as_str(), value) {
            ("url", Value::String(url)) => urls.push(url),
            ("urls", Value::Array(list)) => urls.extend(list.iter_mut().filter_map(|url| match url {
                Value::String(url) => Some(url),
                _ => None,
            })),
            _ => {}
        }
    }
    urls
}

/// The origins that receive a job's headers.
fn origins(job: &Map<String, Value>) -> BTreeSet<String> {
    let lists =
        [job.get("urls"), job.get("headers_origins")].into_iter().flatten().filter_map(Value::as_array).flatten();
    let texts = job.get("url").into_iter().chain(lists).filter_map(Value::as_str);
    texts.filter_map(|text| Url::parse(text).ok()).map(|url| url.origin().ascii_serialization()).collect()
}

fn decoded(text: &str) -> Result<Vec<u8>, CryptoError> {
    BASE64_STANDARD.decode(text).map_err(|_| CryptoError::Damaged)
}

fn of_job(job: JobId) -> Vec<u8> {
    [&b"headers of job "[..], job.0.as_bytes()].concat()
}

fn of_schedule(schedule: ScheduleId) -> Vec<u8> {
    [&b"credentials of schedule "[..], schedule.0.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datasonar_store::{AccountId, Environment};
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::{
        clock::{Ids, SystemClock},
        scrape::ScrapeOptions,
    };

    const SCOPE: Scope = Scope { account: AccountId(Uuid::nil()), environment: Environment::Production };
    const SCHEDULE: ScheduleId = ScheduleId(Uuid::nil());

    fn sealer() -> Sealer {
        Sealer::new(&"ab".repeat(32), Ids::seeded(Arc::new(SystemClock), 1)).unwrap()
    }

    fn map(value: Value) -> Map<String, Value> {
        let Value::Object(map) = value else { panic!("not an object") };
        map
    }

    fn options() -> JobOptions {
        let headers = BTreeMap::from([("Cookie".to_owned(), "sid=hush".to_owned())]);
        JobOptions { scrape: ScrapeOptions { headers, ..ScrapeOptions::default() }, ..JobOptions::default() }
    }

    #[test]
    fn options_are_sealed_for_their_row() {
        let (sealer, job) = (sealer(), JobId(Uuid::from_u128(7)));
        let row = seal_options(&sealer, SCOPE, job, &options());
        assert!(row.contains("Cookie") && row.contains(MASK) && !row.contains("hush"), "{row}");
        assert_eq!(open_options(&sealer, SCOPE, job, &row).unwrap(), options());
        let error = open_options(&sealer, SCOPE, JobId(Uuid::from_u128(8)), &row).unwrap_err();
        assert!(matches!(error, OpenError::Crypto(CryptoError::Damaged)), "{error}");
        let plain = serde_json::to_string(&options()).unwrap();
        assert_eq!(open_options(&sealer, SCOPE, job, &plain).unwrap(), options(), "an older row");
    }

    #[test]
    fn a_schedules_job_is_sealed_and_shown_masked() {
        let sealer = sealer();
        let job = map(json!({
            "kind": "batch", "headers": {"X-Api-Key": "hush"},
            "urls": ["https://me:a@x.example/", "https://me:b@x.example/", "https://y.example", 1],
        }));
        let row = seal_job(&sealer, SCOPE, SCHEDULE, job.clone());
        assert!(!row.contains("hush") && !row.contains("me:"), "{row}");
        assert_eq!(open_job(&sealer, SCOPE, SCHEDULE, &row).unwrap(), job);
        let shown = shown_job(&row);
        assert_eq!(shown, shown_job(&Value::Object(job.clone()).to_string()), "an older row is shown alike");
        assert_eq!(shown["headers"], json!({"X-Api-Key": MASK}));
        assert_eq!(shown["urls"][1], "https://***@x.example/");
        let mut next = shown;
        keep_masked(&mut next, job.clone()).unwrap();
        assert_eq!(next, job);
    }

    #[test]
    fn a_masked_value_is_kept_for_its_origins_alone() {
        let present = || map(json!({"url": "https://x.example/", "headers": {"cookie": "hush"}}));
        let change = |url: &str, headers: Value| {
            let mut job = map(json!({"url": url, "headers": headers}));
            keep_masked(&mut job, present())
                .map(|()| job["headers"].clone())
                .map_err(|errors| errors[0].pointer.clone())
        };
        assert_eq!(change("https://x.example/b", json!({"Cookie": MASK})), Ok(json!({"Cookie": "hush"})));
        assert_eq!(change("https://x.example/b", json!({"cookie": "new"})), Ok(json!({"cookie": "new"})));
        assert_eq!(change("https://x.example/b", json!({"other": MASK})), Err("/headers/other".to_owned()));
        assert_eq!(change("https://evil.example/", json!({"cookie": MASK})), Err("/headers/cookie".to_owned()));
        assert_eq!(change("http://x.example/", json!({"cookie": MASK})), Err("/headers/cookie".to_owned()));
        assert_eq!(change("https://evil.example/", json!({"cookie": "new"})), Ok(json!({"cookie": "new"})));
    }
}
