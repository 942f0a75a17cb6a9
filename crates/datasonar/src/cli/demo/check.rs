//! Checks a callback's body as a suspicious client would: read as a stream, one page result in memory at a time.

use std::{collections::BTreeMap, fmt, io::Read};

use anyhow::{Context, Result};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;

/// What a URL must come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Content that has this sentence.
    Page(String),
    /// This error code.
    Failure(&'static str),
    /// This status of the site, which is an `http_status` error.
    Status(u16),
    /// A result of any kind.
    Anything,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Counted {
    /// How many results there are of each kind: `success`, or an error code.
    pub outcomes: BTreeMap<String, u64>,
}

/// Checks that a body is that of a completed batch job: that each URL has its one result, in order, and the one expected.
///
/// # Errors
/// The first thing that is not as it must be.
pub fn verify_body(
    body: impl Read,
    job_id: &str,
    urls: &[String],
    expected: impl Fn(usize) -> Expected,
) -> Result<Counted> {
    let mut deserializer = serde_json::Deserializer::from_reader(body);
    let mut counted = Counted::default();
    let root = Root { job_id, results: Results { urls, expected: &expected, counted: &mut counted } };
    root.deserialize(&mut deserializer).context("the callback's body is wrong")?;
    deserializer.end().context("the callback's body goes on after its end")?;
    Ok(counted)
}

struct Root<'a, E> {
    job_id: &'a str,
    results: Results<'a, E>,
}

/// A member that must come next.
fn member<'de, A: MapAccess<'de>>(map: &mut A, name: &str) -> Result<(), A::Error> {
    match map.next_key::<String>()? {
        Some(found) if found == name => Ok(()),
        found => Err(A::Error::custom(format!("expected `{name}`, found {found:?}"))),
    }
}

impl<'de, E: Fn(usize) -> Expected> DeserializeSeed<'de> for Root<'_, E> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, E: Fn(usize) -> Expected> Visitor<'de> for Root<'_, E> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a callback")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        member(&mut map, "job_id")?;
        let job_id: String = map.next_value()?;
        member(&mut map, "status")?;
        let status: String = map.next_value()?;
        if job_id != self.job_id || status != "completed" {
            return Err(A::Error::custom(format!("it is of job {job_id}, {status}")));
        }
        member(&mut map, "result")?;
        map.next_value_seed(BatchResult(self.results))?;
        match map.next_key::<String>()? {
            None => Ok(()),
            Some(more) => Err(A::Error::custom(format!("unexpected `{more}`"))),
        }
    }
}

struct BatchResult<'a, E>(Results<'a, E>);

impl<'de, E: Fn(usize) -> Expected> DeserializeSeed<'de> for BatchResult<'_, E> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, E: Fn(usize) -> Expected> Visitor<'de> for BatchResult<'_, E> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a batch result")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let urls = self.0.urls.len() as u64;
        let mut numbers = [0; 3];
        member(&mut map, "status")?;
        map.next_value::<String>()?;
        for (number, name) in numbers.iter_mut().zip(["total", "succeeded", "failed"]) {
            member(&mut map, name)?;
            *number = map.next_value::<u64>()?;
        }
        member(&mut map, "time_ms")?;
        map.next_value::<u64>()?;
        member(&mut map, "results")?;
        let succeeded = map.next_value_seed(self.0)?;
        if numbers != [urls, succeeded, urls - succeeded] {
            return Err(A::Error::custom(format!("it counts {numbers:?}, of {urls} URLs and {succeeded} successes")));
        }
        Ok(())
    }
}

struct Results<'a, E> {
    urls: &'a [String],
    expected: &'a E,
    counted: &'a mut Counted,
}

impl<'de, E: Fn(usize) -> Expected> DeserializeSeed<'de> for Results<'_, E> {
    type Value = u64;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u64, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

#[derive(Deserialize)]
struct Page {
    url: String,
    status: String,
    status_code: Option<u16>,
    content: Option<Value>,
    error: Option<PageError>,
}

#[derive(Deserialize)]
struct PageError {
    code: String,
    message: String,
}

impl<'de, E: Fn(usize) -> Expected> Visitor<'de> for Results<'_, E> {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("page results")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<u64, A::Error> {
        let mut succeeded = 0;
        let mut index = 0;
        while let Some(page) = seq.next_element::<Page>()? {
            let wrong = |why: String| A::Error::custom(format!("result {index} ({}): {why}", page.url));
            match self.urls.get(index) {
                Some(url) if *url == page.url => {}
                other => return Err(wrong(format!("expected {other:?} here"))),
            }
            let outcome = page.error.as_ref().map_or(page.status.as_str(), |error| error.code.as_str());
            let is_as_expected = match (self.expected)(index) {
                Expected::Anything => true,
                Expected::Failure(code) => outcome == code,
                Expected::Status(status) => outcome == "http_status" && page.status_code == Some(status),
                Expected::Page(sentence) => {
                    outcome == "success"
                        && page.content.as_ref().and_then(Value::as_str).is_some_and(|text| text.contains(&sentence))
                }
            };
            if !is_as_expected {
                let message = page.error.as_ref().map_or("", |error| error.message.as_str());
                return Err(wrong(format!("expected {:?}, found {outcome} {message}", (self.expected)(index))));
            }
            *self.counted.outcomes.entry(outcome.to_owned()).or_default() += 1;
            succeeded += u64::from(outcome == "success");
            index += 1;
        }
        if index < self.urls.len() {
            return Err(A::Error::custom(format!("{} URLs have no result", self.urls.len() - index)));
        }
        Ok(succeeded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(results: &str, counts: [u64; 3]) -> Result<Counted> {
        let body = format!(
            r#"{{"job_id":"1","status":"completed","result":{{"status":"success","total":{},"succeeded":{},"failed":{},"time_ms":1,"results":[{results}]}}}}"#,
            counts[0], counts[1], counts[2]
        );
        let urls = ["a".to_owned(), "b".to_owned()];
        let expected = |index: usize| match index {
            0 => Expected::Page("needle".to_owned()),
            _ => Expected::Status(404),
        };
        verify_body(body.as_bytes(), "1", &urls, expected)
    }

    const A: &str = r#"{"url":"a","status":"success","content":"a needle"}"#;
    const B: &str = r#"{"url":"b","status":"error","status_code":404,"error":{"code":"http_status","message":"404"}}"#;

    #[test]
    fn a_sound_body_is_counted() {
        let counted = check(&format!("{A},{B}"), [2, 1, 1]).unwrap();
        assert_eq!(counted.outcomes, BTreeMap::from([("success".to_owned(), 1), ("http_status".to_owned(), 1)]));
    }

    #[test]
    fn whatever_is_wrong_is_found() {
        let hay = A.replace("needle", "hay");
        let failed = A.replace("success", "error");
        let other = B.replace("\"status_code\":404", "\"status_code\":500");
        for (results, counts) in [
            (format!("{B},{A}"), [2, 1, 1]),
            (A.to_owned(), [2, 1, 1]),
            (format!("{A},{B},{B}"), [2, 1, 1]),
            (format!("{A},{A}"), [2, 1, 1]),
            (format!("{hay},{B}"), [2, 1, 1]),
            (format!("{failed},{B}"), [2, 1, 1]),
            (format!("{A},{other}"), [2, 1, 1]),
            (format!("{A},"), [2, 1, 1]),
            (format!("{A},{B}"), [2, 2, 0]),
            (format!("{A},{B}"), [3, 1, 1]),
        ] {
            assert!(check(&results, counts).is_err(), "{results} {counts:?}");
        }
    }

    #[test]
    fn it_says_which_result_is_wrong_and_why() {
        let error = format!("{:#}", check(&format!("{A},{A}"), [2, 1, 1]).unwrap_err());
        assert!(error.contains("result 1 (a)"), "{error}");
        let error = format!("{:#}", check(A, [2, 1, 1]).unwrap_err());
        assert!(error.contains("1 URLs have no result"), "{error}");
    }

    #[test]
    fn another_job_and_what_follows_the_end_are_refused() {
        let body = r#"{"job_id":"2","status":"completed","result":{}}"#;
        assert!(verify_body(body.as_bytes(), "1", &[], |_| Expected::Anything).is_err());
        let empty = r#"{"status":"success","total":0,"succeeded":0,"failed":0,"time_ms":1,"results":[]}"#;
        let body = format!(r#"{{"job_id":"1","status":"completed","result":{empty}}}"#);
        assert!(verify_body(body.as_bytes(), "1", &[], |_| Expected::Anything).is_ok());
        assert!(verify_body(format!("{body}{{}}").as_bytes(), "1", &[], |_| Expected::Anything).is_err());
    }
}
