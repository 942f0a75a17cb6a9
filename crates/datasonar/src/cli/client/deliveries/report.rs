//! Deliveries, their attempts and bulk replays as text for people.

use std::time::Duration;

use indicatif::{HumanBytes, HumanCount, HumanDuration};
use jiff::Timestamp;
use serde_json::Value;

use super::{
    super::{for_terminal, pairs},
    table::{Cell, lines},
    text,
};
use crate::cli::paint::{Paint, short};

/// A URL in a table is cut after so many characters.
const URL_CHARS: usize = 48;
/// So much of a response is shown.
const RESPONSE_CHARS: usize = 2_000;

/// A list of deliveries.
pub(super) fn deliveries(deliveries: &[Value], now: Timestamp, paint: Paint) -> String {
    let head = ["DELIVERY", "STATUS", "ENDPOINT", "ATTEMPTS", "LAST", "NEXT", "AGE"];
    let row = |delivery: &Value| {
        let attempts = attempts(delivery);
        [
            text(&delivery["id"]).into(),
            status(delivery),
            cut(&for_terminal(text(&delivery["webhook_url"]))).into(),
            attempts.len().to_string().into(),
            attempts.last().map_or_else(|| "".into(), outcome),
            next(delivery, now).into(),
            age(&delivery["created_at"], now).into(),
        ]
    };
    lines(head, deliveries.iter().map(row).collect(), paint).join("\n")
}

/// A delivery and its attempts.
pub(super) fn delivery(delivery: &Value, is_verbose: bool, now: Timestamp, paint: Paint) -> String {
    let aged = |name: &str| match age(&delivery[name], now) {
        age if age.is_empty() => age,
        age => format!("{} ({age} ago)", text(&delivery[name])),
    };
    let about = pairs([
        ("delivery", text(&delivery["id"]).to_owned()),
        ("status", status(delivery).painted_text(paint)),
        ("job", text(&delivery["job_id"]).to_owned()),
        ("endpoint", for_terminal(text(&delivery["webhook_url"]))),
        ("created", aged("created_at")),
        ("delivered", aged("delivered_at")),
        (
            "next",
            match next(delivery, now) {
                next if next.is_empty() => next,
                next => format!("{} ({next})", text(&delivery["next_attempt_at"])),
            },
        ),
    ]);
    match attempts(delivery) {
        [] => format!("{about}\n\nNo attempt has ended yet."),
        attempts => format!("{about}\n\n{}", table_of_attempts(attempts, is_verbose, paint)),
    }
}

/// What came of a test event.
pub(super) fn test(attempt: &Value, is_verbose: bool, paint: Paint) -> String {
    let delivery = pairs([("delivery", text(&attempt["delivery_id"]).to_owned())]);
    format!("{delivery}\n\n{}", table_of_attempts(std::slice::from_ref(attempt), is_verbose, paint))
}

/// Why an attempt failed, and where there is more of it.
pub(super) fn failure(attempt: &Value, delivery: &str) -> String {
    format!(
        "not delivered: {}\n  `datasonar deliveries show {delivery} --verbose` shows all that is known.",
        for_terminal(text(&attempt["error"]["message"]))
    )
}

/// What came of an attempt, in which time.
pub(super) fn outcome_and_latency(attempt: &Value, paint: Paint) -> String {
    format!("{} in {}", outcome(attempt).painted_text(paint), latency(attempt))
}

fn table_of_attempts(attempts: &[Value], is_verbose: bool, paint: Paint) -> String {
    let head = ["ATTEMPT", "STARTED", "TRIGGER", "OUTCOME", "LATENCY"];
    let row = |attempt: &Value| {
        [
            attempt["number"].to_string().into(),
            text(&attempt["started_at"]).into(),
            text(&attempt["trigger"]).into(),
            outcome(attempt),
            latency(attempt).into(),
        ]
    };
    let mut lines = lines(head, attempts.iter().map(row).collect(), paint);
    if is_verbose {
        for (line, attempt) in lines.iter_mut().skip(1).zip(attempts) {
            line.push_str(&details(attempt, paint));
        }
    }
    lines.join("\n").trim_end().to_owned()
}

/// All that is known of an attempt.
fn details(attempt: &Value, paint: Paint) -> String {
    let mut details = String::new();
    let mut line = |mark: &str, text: &str| {
        details.push_str(&format!("\n         {} {}", paint.dim(mark), for_terminal(text)));
    };
    if let Some(error) = attempt["error"].as_object() {
        line("error  ", text(&error["message"]));
    }
    let sent = HumanBytes(attempt["request_bytes"].as_u64().unwrap_or(0)).to_string();
    line(
        "sent   ",
        &match text(&attempt["remote"]) {
            "" => sent,
            remote => format!("{sent} to {remote}"),
        },
    );
    let parts = [("DNS", "dns_ms"), ("connecting", "connect_ms"), ("TLS", "tls_ms"), ("first byte", "first_byte_ms")];
    let timings = &attempt["timings"];
    let took = parts.iter().filter_map(|(name, member)| Some(format!("{name} {}", milliseconds(&timings[member])?)));
    match took.collect::<Vec<_>>().join(", ") {
        took if took.is_empty() => {}
        took => line("timings", &took),
    }
    for (mark, member) in [(">", "request_headers"), ("<", "response_headers")] {
        for header in attempt[member].as_array().into_iter().flatten() {
            line(mark, &format!("{}: {}", text(&header[0]), text(&header[1])));
        }
    }
    let body = text(&attempt["response_body"]);
    let beginning: String = body.chars().take(RESPONSE_CHARS).collect();
    for part in beginning.lines() {
        line("|", part);
    }
    if beginning.len() < body.len() {
        line("…", "--json prints as much of it as was kept");
    }
    details + "\n"
}

/// A list of bulk replays.
pub(super) fn replays(replays: &[Value], paint: Paint) -> String {
    let row = |replay: &Value| {
        [
            text(&replay["replay_id"]).into(),
            status(replay),
            progress(replay).into(),
            text(&replay["created_at"]).into(),
            filter(replay).into(),
        ]
    };
    lines(["REPLAY", "STATUS", "SENT", "CREATED", "OF"], replays.iter().map(row).collect(), paint).join("\n")
}

/// A bulk replay.
pub(super) fn replay(replay: &Value) -> String {
    pairs([
        ("replay", text(&replay["replay_id"]).to_owned()),
        ("status", text(&replay["status"]).to_owned()),
        ("sent", progress(replay)),
        ("of", filter(replay)),
        ("created", text(&replay["created_at"]).to_owned()),
        ("completed", text(&replay["completed_at"]).to_owned()),
    ])
}

/// How a bulk replay that was followed has ended.
pub(super) fn end_of_replay(replay: &Value) -> String {
    let count = |name: &str| replay["progress"][name].as_u64().unwrap_or(0);
    let (total, replayed) = (count("total"), count("replayed"));
    let mut text = format!("{}: {} of {} sent again", text(&replay["status"]), HumanCount(replayed), HumanCount(total));
    if replayed < total && replay["status"] == "completed" {
        text.push_str("; the others no longer fitted when it was their turn");
    }
    text + "\n  `datasonar deliveries list` shows what comes of them."
}

/// A delivery's attempts.
pub(super) fn attempts(delivery: &Value) -> &[Value] {
    delivery["attempts"].as_array().map_or(&[], Vec::as_slice)
}

/// Of a delivery or a bulk replay.
fn status(thing: &Value) -> Cell {
    let status = text(&thing["status"]);
    let paint = match status {
        "delivered" | "completed" => Paint::good,
        "failed" => Paint::bad,
        _ => Paint::notable,
    };
    Cell::painted(status, paint)
}

/// The response's status or, where that does not say it all, the error's class.
fn outcome(attempt: &Value) -> Cell {
    let code = attempt["response_code"].as_u64().map(|code| code.to_string());
    match (code, text(&attempt["error"]["code"])) {
        (Some(code), "") => Cell::painted(code, Paint::good),
        (Some(code), "http_status") => Cell::painted(code, Paint::bad),
        (Some(code), error) => Cell::painted(format!("{code} {error}"), Paint::bad),
        (None, error) => Cell::painted(error, Paint::bad),
    }
}

fn latency(attempt: &Value) -> String {
    milliseconds(&attempt["latency_ms"]).unwrap_or_default()
}

fn milliseconds(number: &Value) -> Option<String> {
    number.as_u64().map(|milliseconds| short(Duration::from_millis(milliseconds)))
}

/// When the next attempt is due.
fn next(delivery: &Value, now: Timestamp) -> String {
    let Ok(due) = text(&delivery["next_attempt_at"]).parse::<Timestamp>() else { return String::new() };
    match Duration::try_from(due.duration_since(now)) {
        Ok(left) if left >= Duration::from_secs(1) => format!("in {:#}", HumanDuration(left)),
        _ => "now".to_owned(),
    }
}

/// How long ago something was. The server's clock may be a little ahead.
fn age(time: &Value, now: Timestamp) -> String {
    let Ok(time) = text(time).parse::<Timestamp>() else { return String::new() };
    let age = Duration::try_from(now.duration_since(time)).unwrap_or_default();
    format!("{:#}", HumanDuration(age))
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(URL_CHARS) {
        None => text.to_owned(),
        Some(_) => text.chars().take(URL_CHARS - 1).chain(['…']).collect(),
    }
}

fn progress(replay: &Value) -> String {
    format!("{}/{}", replay["progress"]["replayed"], replay["progress"]["total"])
}

/// What a bulk replay was asked for.
fn filter(replay: &Value) -> String {
    let filter = &replay["filter"];
    let mut words = vec![filter["status"].as_str().unwrap_or("any").to_owned()];
    for (name, member) in [("since", "since"), ("until", "until"), ("to", "webhook_url")] {
        if let Some(value) = filter[member].as_str() {
            words.push(format!("{name} {}", for_terminal(value)));
        }
    }
    words.join(", ")
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
