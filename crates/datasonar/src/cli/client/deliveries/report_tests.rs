//! What people are shown, of answers as the API gives them.

use serde_json::json;

use super::*;

fn now() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

fn delivered() -> Value {
    json!({
        "id": "019aa0b4-6c00-7000-8000-00000000c0de", "job_id": "019aa0b4-5000-7000-8000-0000000000b1",
        "webhook_url": "https://yourapp.example/datasonar-callback", "status": "delivered",
        "created_at": "2026-11-23T11:56:00.000Z", "next_attempt_at": null, "delivered_at": "2026-11-23T11:58:10.200Z",
        "attempts": [
            {
                "id": "019aa0b4-6c00-7000-8000-0000000000a1", "number": 1, "trigger": "automatic",
                "started_at": "2026-11-23T11:56:00.100Z",
                "request_headers": [["content-type", "application/json"], ["x-datasonar-attempt", "1"]],
                "request_bytes": 4321, "remote": "192.0.2.7:443", "response_code": 503,
                "response_headers": [["content-type", "text/html"]],
                "response_body": "<h1>back soon</h1>\n<p>we are moving</p>\n", "latency_ms": 87,
                "timings": {"dns_ms": 0, "connect_ms": 12, "tls_ms": 31, "first_byte_ms": 87, "total_ms": 87},
                "error": {"code": "http_status", "message": "the endpoint answered 503 Service Unavailable"},
            },
            {
                "id": "019aa0b4-6c00-7000-8000-0000000000a2", "number": 2, "trigger": "automatic",
                "started_at": "2026-11-23T11:56:31.000Z", "request_headers": [], "request_bytes": 0, "remote": null,
                "response_code": null, "response_headers": [], "response_body": "", "latency_ms": 30_004,
                "timings": {"dns_ms": null, "connect_ms": null, "tls_ms": null, "first_byte_ms": null, "total_ms": 30_004},
                "error": {"code": "timeout", "message": "no answer came in time"},
            },
            {
                "id": "019aa0b4-6c00-7000-8000-0000000000a3", "number": 3, "trigger": "replay",
                "started_at": "2026-11-23T11:58:10.000Z", "request_headers": [], "request_bytes": 4321,
                "remote": "192.0.2.7:443", "response_code": 204, "response_headers": [],
                "response_body": "", "latency_ms": 0,
                "timings": {"dns_ms": null, "connect_ms": null, "tls_ms": null, "first_byte_ms": 0, "total_ms": 0},
                "error": null,
            },
        ],
    })
}

/// One that was never tried; its endpoint has a long name.
fn pending() -> Value {
    json!({
        "id": "019aa0b4-6c00-7000-8000-00000000c0df", "job_id": "019aa0b4-5000-7000-8000-0000000000b2",
        "webhook_url": "https://yourapp.example/a/path/that/is/longer/than/a/table/has/room/for", "status": "pending",
        "created_at": "2026-11-23T12:00:00.400Z", "next_attempt_at": "2026-11-23T12:00:00.400Z", "delivered_at": null,
        "attempts": [],
    })
}

/// One with a last attempt that is still due; its endpoint redirects.
fn failed() -> Value {
    json!({
        "id": "019aa0b4-6c00-7000-8000-00000000c0e0", "job_id": "019aa0b4-5000-7000-8000-0000000000b3",
        "webhook_url": "https://other.example/", "status": "failed", "created_at": "2026-11-23T06:00:00.000Z",
        "next_attempt_at": "2026-11-24T06:00:00.000Z", "delivered_at": null,
        "attempts": [{"number": 1, "trigger": "automatic", "response_code": 302, "latency_ms": 9,
            "started_at": "2026-11-23T06:00:00.000Z",
            "error": {"code": "redirect", "message": "the endpoint answered 302 Found"}}],
    })
}

fn replayed(status: &str, replayed: u64) -> Value {
    json!({
        "replay_id": "019aa0b4-7000-7000-8000-0000000000e1", "status": status, "created_at": "2026-11-23T11:00:00.000Z",
        "completed_at": "2026-11-23T11:00:09.000Z", "progress": {"total": 12_345, "replayed": replayed},
        "filter": {"status": "failed", "since": "2026-11-23T00:00:00.000Z", "until": null, "webhook_url": "https://a.example/"},
    })
}

#[test]
fn a_list_says_what_came_of_each_and_what_comes_next() {
    insta::assert_snapshot!(deliveries(&[pending(), delivered(), failed()], now(), Paint::none()));
}

#[test]
fn a_delivery_is_shown_with_its_attempts() {
    insta::assert_snapshot!(delivery(&delivered(), false, now(), Paint::none()));
    insta::assert_snapshot!(delivery(&failed(), false, now(), Paint::none()));
    insta::assert_snapshot!(delivery(&pending(), false, now(), Paint::none()));
}

#[test]
fn all_of_an_attempt_is_shown_to_those_who_ask() {
    insta::assert_snapshot!(delivery(&delivered(), true, now(), Paint::none()));
}

#[test]
fn the_beginning_of_a_long_response_is_enough() {
    let shown = |chars: usize| {
        details(&json!({"response_body": "é".repeat(chars), "request_bytes": 0}), Paint::none()).replace('\n', "")
    };
    assert!(shown(RESPONSE_CHARS).ends_with('é'));
    let cut = shown(RESPONSE_CHARS + 1);
    assert_eq!(cut.matches('é').count(), RESPONSE_CHARS);
    assert!(cut.ends_with("--json prints as much of it as was kept"), "{cut}");
}

#[test]
fn a_test_event_is_shown_with_its_attempt() {
    let mut attempt = delivered()["attempts"][0].clone();
    attempt["delivery_id"] = json!("019aa0b4-6c00-7000-8000-00000000c0de");
    let shown = format!("{}\n{}", test(&attempt, false, Paint::none()), failure(&attempt, "019aa0b4"));
    insta::assert_snapshot!(shown);
}

#[test]
fn bulk_replays_are_shown_with_what_they_were_asked_for() {
    let mut any = replayed("started", 0);
    any["filter"] = json!({"status": null, "since": null, "until": "2026-11-23T00:00:00.000Z", "webhook_url": null});
    insta::assert_snapshot!(replays(&[any, replayed("cancelled", 7)], Paint::none()));
    insta::assert_snapshot!(replay(&replayed("cancelled", 7)));
}

#[test]
fn a_bulk_replay_that_left_some_out_says_so() {
    let ends = [replayed("completed", 12_345), replayed("completed", 12_344), replayed("cancelled", 7)];
    insta::assert_snapshot!(ends.iter().map(end_of_replay).collect::<Vec<_>>().join("\n"));
}
