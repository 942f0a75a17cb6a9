//! A request that was received, as text for people and as JSON for machines.

use indicatif::{HumanBytes, HumanCount};
use serde::Deserialize;
use serde_json::{Value, json};

use super::receiver::{Received, SHOW_BYTES};
use crate::cli::{
    client::for_terminal,
    local::Signature,
    paint::{Paint, short, time_of_day},
};

/// What a request's body says of itself, as far as it was kept.
#[derive(Debug)]
enum Shown {
    /// All of it.
    Json(Value),
    /// How many results it has.
    Counts(Counts),
    /// Nothing that is understood.
    Nothing,
}

/// The counts of a batch or a crawl.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
struct Counts {
    total: u64,
    succeeded: u64,
    failed: u64,
}

#[derive(Deserialize)]
struct Body {
    result: Counts,
}

fn shown(received: &Received) -> Shown {
    let beginning = &received.beginning[..];
    if received.bytes <= SHOW_BYTES as u64 {
        return serde_json::from_slice(beginning).map_or(Shown::Nothing, Shown::Json);
    }
    counts_of(beginning).map_or(Shown::Nothing, Shown::Counts)
}

/// The counts stand before the results: a body that is cut there and closed is a small one.
fn counts_of(beginning: &[u8]) -> Option<Counts> {
    const RESULTS: &[u8] = br#""results":["#;
    let at = memchr::memmem::find(beginning, RESULTS)? + RESULTS.len();
    let body = [&beginning[..at], b"]}}"].concat();
    serde_json::from_slice(&body).ok().map(|body: Body| body.result)
}

/// The counts that a whole body has.
fn counts_in(body: &Value) -> Option<Counts> {
    Counts::deserialize(body.get("result")?).ok()
}

/// For people: a few lines, then the body if it is short.
pub(super) fn for_people(received: &Received, paint: Paint) -> String {
    let answer = match &received.answer {
        Ok(status) if status.is_success() => paint.good(status.as_str()),
        Ok(status) => paint.notable(status.as_str()),
        Err(_) => paint.bad("no answer"),
    };
    let line = format!("{} {}", received.method, received.path);
    let mut text = format!("{}  {line}  {} {answer}\n", paint.dim(&time_of_day(received.at)), paint.dim("→"));
    let mut row = |name: &str, value: &str| {
        if !value.is_empty() {
            text.push_str(&format!("          {} {value}\n", paint.dim(&format!("{name:<9}"))));
        }
    };
    let shown = shown(received);
    row("job", received.header("x-datasonar-job-id"));
    row("delivery", &delivery(received, paint));
    if received.answer.is_ok() {
        row("signed", &signed(received, paint));
    }
    let counts = match &shown {
        Shown::Json(body) => counts_in(body),
        Shown::Counts(counts) => Some(*counts),
        Shown::Nothing => None,
    };
    let size = format!("{} in {}", HumanBytes(received.bytes), short(received.took));
    row(
        "body",
        &match counts {
            Some(counts) => format!("{size}: {}", results(counts)),
            None => size,
        },
    );
    if let Some(path) = &received.saved {
        row("saved", &path.display().to_string());
    }
    if let Err(reason) = &received.answer {
        row("error", &paint.bad(reason));
    }
    // What came before was shown before.
    if let (Shown::Json(body), Ok(_), 0) = (&shown, &received.answer, received.before) {
        text.push('\n');
        for line in format!("{body:#}").lines() {
            text.push_str(&format!("  {}\n", for_terminal(line)));
        }
    }
    text
}

fn results(counts: Counts) -> String {
    let Counts { total, succeeded, failed } = counts;
    let results = format!("{} result{}", HumanCount(total), if total == 1 { "" } else { "s" });
    match failed {
        0 => format!("{results}, none failed"),
        _ => format!("{results}, {} succeeded, {} failed", HumanCount(succeeded), HumanCount(failed)),
    }
}

fn delivery(received: &Received, paint: Paint) -> String {
    let (id, attempt) = (received.header("webhook-id"), received.header("x-datasonar-attempt"));
    let attempt = if attempt.is_empty() { String::new() } else { format!("attempt {attempt}") };
    let repeated = match received.before {
        0 => String::new(),
        before => paint.notable(&format!("repeated: it came {} before", times(before))),
    };
    [id.to_owned(), attempt, repeated].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("  ")
}

fn times(count: u32) -> String {
    match count {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        _ => format!("{count} times"),
    }
}

fn signed(received: &Received, paint: Paint) -> String {
    let one = |name: &str, signature: Signature| match signature {
        Signature::Valid => paint.good(&format!("{name} ✓")),
        Signature::Invalid => paint.bad(&format!("{name} ✗ wrong")),
        Signature::Missing => paint.bad(&format!("{name} ✗ missing")),
        Signature::NotVerified => paint.notable(&format!("{name} not verified")),
    };
    let verdicts = received.verdicts;
    let both = [one("X-Datasonar-Signature", verdicts.own), one("webhook-signature", verdicts.standard)].join("  ");
    match &received.unverified {
        Some(reason) => format!("{both}: {}", for_terminal(reason)),
        None => both,
    }
}

/// For machines: one object.
pub(super) fn for_machines(received: &Received) -> Value {
    let header = |name: &str| Some(received.header(name)).filter(|value| !value.is_empty());
    let shown = shown(received);
    let counts = match &shown {
        Shown::Json(body) => counts_in(body),
        Shown::Counts(counts) => Some(*counts),
        Shown::Nothing => None,
    };
    let body = if let Shown::Json(body) = shown { Some(body) } else { None };
    json!({
        "received_at": format!("{:.3}", received.at),
        "method": received.method.as_str(),
        "path": received.path,
        "job_id": header("x-datasonar-job-id"),
        "webhook_id": header("webhook-id"),
        "attempt": header("x-datasonar-attempt").and_then(|text| text.parse::<u32>().ok()),
        "repeated": received.before > 0,
        "signatures": received.answer.is_ok().then_some(received.verdicts),
        "bytes": received.bytes,
        "took_ms": u64::try_from(received.took.as_millis()).unwrap_or(u64::MAX),
        "counts": counts.map(|Counts { total, succeeded, failed }| {
            json!({"total": total, "succeeded": succeeded, "failed": failed})
        }),
        "answered": received.answer.as_ref().ok().map(|status| status.as_u16()),
        "error": received.answer.as_ref().err().or(received.unverified.as_ref()),
        "saved": received.saved.as_ref().map(|path| path.display().to_string()),
        "body": body,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_of_a_long_body_stand_at_its_beginning() {
        let body = br#"{"job_id":"1","status":"completed","result":{"status":"success","total":3,"succeeded":2,"failed":1,"time_ms":9,"results":[{"url":"#;
        assert_eq!(counts_of(body), Some(Counts { total: 3, succeeded: 2, failed: 1 }));
        for other in [&b"{"[..], br#"{"result":{"results":["#, br#"not "results":[ at all"#] {
            assert_eq!(counts_of(other), None);
        }
    }
}
