//! Jobs that start by themselves: at their times, once for each, whatever happens in between.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use datasonar::{
    cli::demo::site::{Site, SiteOptions},
    clock::{Clock, ManualClock},
    roles::{Health, Scheduler, SchedulerParts},
    schedules::{SchedulesError, Wanted},
};
use datasonar_store::StoreError;
use http::Method;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::server::{Call, Reply, Server, Setup, Silence, next, site, until};

const SCHEDULES: &str = "/v1/schedules";

/// A clock that stands at this time.
fn clock_at(time: &str) -> ManualClock {
    ManualClock::new(time.parse().unwrap())
}

/// Moves a clock on to this time.
fn set(clock: &ManualClock, time: &str) {
    let time: Timestamp = time.parse().unwrap();
    clock.advance(time.duration_since(clock.now()));
}

async fn create(server: &Server, body: &Value) -> String {
    let created = server.post(SCHEDULES, body).await.is(201);
    created["id"].as_str().unwrap().to_owned()
}

async fn show(server: &Server, id: &str) -> Value {
    server.get(&format!("{SCHEDULES}/{id}")).await.is(200)
}

async fn patch(server: &Server, id: &str, body: &Value) -> super::server::Answer {
    let call = Call::post("", body);
    server.send(call.to(Method::PATCH, &format!("{SCHEDULES}/{id}"))).await
}

/// What came of its times, oldest first: planned at, outcome.
async fn history(server: &Server, id: &str) -> Vec<(String, String)> {
    let runs = server.get(&format!("{SCHEDULES}/{id}/runs?limit=200")).await.is(200);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let runs = runs["data"].as_array().unwrap().iter();
    runs.rev().map(|run| (text(&run["planned_at"]), text(&run["outcome"]))).collect()
}

/// Waits for so many runs.
async fn runs(server: &Server, id: &str, count: usize) -> Vec<(String, String)> {
    until("the runs", async || {
        let runs = history(server, id).await;
        (runs.len() >= count).then_some(runs)
    })
    .await
}

/// The jobs of a schedule's last runs, newest first.
async fn jobs(server: &Server, id: &str) -> Vec<String> {
    let schedule = show(server, id).await;
    let jobs = schedule["last_jobs"].as_array().unwrap();
    jobs.iter().map(|job| job["job_id"].as_str().unwrap().to_owned()).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(planned, outcome)| ((*planned).to_owned(), (*outcome).to_owned())).collect()
}

#[tokio::test]
async fn a_schedule_is_made_looked_at_changed_and_deleted() {
    let (clock, site) = (clock_at("2026-01-15T10:00:00Z"), site(1).await);
    let server = Setup::new().clock(&clock).start().await;
    let job = json!({"kind": "batch", "urls": site.urls().collect::<Vec<_>>(), "format": "text"});
    let body = json!({"name": "nightly", "cron": "30 2 * * *", "timezone": "Europe/Berlin", "job": job});
    let created = server.post(SCHEDULES, &body).await.is(201);
    let id = created["id"].as_str().unwrap();
    let expected = json!({
        "id": id, "name": "nightly", "cron": "30 2 * * *", "timezone": "Europe/Berlin", "overlap": "skip",
        "paused": false, "job": job, "created_at": "2026-01-15T10:00:00.000Z",
        "updated_at": "2026-01-15T10:00:00.000Z", "next_run_at": "2026-01-16T01:30:00.000Z",
        "next_runs": [
            "2026-01-16T01:30:00.000Z", "2026-01-17T01:30:00.000Z", "2026-01-18T01:30:00.000Z",
            "2026-01-19T01:30:00.000Z", "2026-01-20T01:30:00.000Z",
        ],
        "last_runs": [], "last_jobs": [],
    });
    assert_eq!(created, expected);
    assert_eq!(show(&server, id).await, expected);

    clock.advance(SignedDuration::from_secs(60));
    let changed = patch(&server, id, &json!({"name": "hourly", "cron": "@hourly", "overlap": "allow"})).await.is(200);
    assert_eq!((&changed["name"], &changed["overlap"]), (&json!("hourly"), &json!("allow")));
    assert_eq!(changed["next_run_at"], "2026-01-15T11:00:00.000Z");
    assert_eq!((&changed["created_at"], &changed["job"]), (&expected["created_at"], &job));
    assert_eq!(changed["updated_at"], "2026-01-15T10:01:00.000Z");
    let paused = patch(&server, id, &json!({"paused": true})).await.is(200);
    assert_eq!((&paused["next_run_at"], &paused["next_runs"]), (&Value::Null, &json!([])));
    clock.advance(SignedDuration::from_hours(30));
    let resumed = patch(&server, id, &json!({"paused": false, "timezone": "UTC"})).await.is(200);
    assert_eq!(resumed["next_run_at"], "2026-01-16T17:00:00.000Z", "what passed meanwhile is not made up for");
    assert_eq!(history(&server, id).await, []);
    assert_eq!(patch(&server, id, &json!({})).await.is(200)["next_run_at"], resumed["next_run_at"]);

    server.delete(&format!("{SCHEDULES}/{id}")).await.is_empty(204);
    server.get(&format!("{SCHEDULES}/{id}")).await.is(404);
    server.delete(&format!("{SCHEDULES}/{id}")).await.is(404);
    server.finish().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_schedule_is_told() {
    let server = Server::start().await;
    let good = json!({"name": "n", "cron": "@daily", "job": {"kind": "scrape", "url": "https://example.com/"}});
    for (field, value, pointer, detail) in [
        ("name", json!(""), "/name", "1 to 200"),
        ("name", json!("a\nb"), "/name", "steer"),
        ("name", json!("x".repeat(201)), "/name", "1 to 200"),
        ("name", json!(7), "/name", ""),
        ("cron", json!("every day"), "/cron", "2 fields"),
        ("cron", json!("61 * * * *"), "/cron", "cannot be read"),
        ("cron", json!("0 0 30 2 *"), "/cron", "no time ever fits"),
        ("timezone", json!("Mars/Olympus"), "/timezone", "IANA"),
        ("timezone", json!("../../etc/passwd"), "/timezone", "IANA"),
        ("overlap", json!("maybe"), "/overlap", ""),
        ("paused", json!("yes"), "/paused", ""),
        ("corn", json!("@daily"), "/corn", "unknown field"),
        ("next_run_at", json!("2026-01-01T00:00:00Z"), "/next_run_at", "unknown field"),
        ("job", json!("x"), "/job", ""),
        ("job", json!({}), "/job/kind", "is missing"),
        ("job", json!({"kind": "nap"}), "/job/kind", "must be"),
        ("job", json!({"kind": "scrape"}), "/job/url", "is missing"),
        ("job", json!({"kind": "scrape", "url": "http://10.0.0.1/"}), "/job/url", "cannot be fetched|can be fetched"),
        ("job", json!({"kind": "batch", "urls": []}), "/job/urls", "is empty"),
        ("job", json!({"kind": "batch", "urls": ["https://example.com/", 1]}), "/job/urls/1", ""),
        (
            "job",
            json!({"kind": "batch", "urls": ["https://example.com/"], "fromat": 1}),
            "/job/fromat",
            "unknown field",
        ),
        (
            "job",
            json!({"kind": "scrape", "url": "https://example.com/", "webhook_url": "http://example.com/"}),
            "/job/webhook_url",
            "https",
        ),
    ] {
        let mut body = good.clone();
        body[field] = value;
        let told = server.post(SCHEDULES, &body).await.blames(pointer);
        assert!(detail.split('|').any(|detail| told.contains(detail)), "{body}: {told}");
    }
    for field in ["name", "cron", "job"] {
        let mut body = good.clone();
        body.as_object_mut().unwrap().remove(field);
        assert_eq!(server.post(SCHEDULES, &body).await.blames(&format!("/{field}")), "is missing");
    }
    let several = server.post(SCHEDULES, &json!({"name": "", "cron": "x", "job": {"kind": "scrape"}})).await;
    for pointer in ["/name", "/cron", "/job/url"] {
        several.blames(pointer);
    }
    let urls: Vec<String> = (0..40_000).map(|n| format!("https://example.com/{n:020}")).collect();
    let long = json!({"name": "n", "cron": "@daily", "job": {"kind": "batch", "urls": urls}});
    server.post(SCHEDULES, &long).await.is(413);
    assert_eq!(server.get(SCHEDULES).await.is(200), json!({"data": [], "next_cursor": null}));
    let id = create(&server, &good).await;
    patch(&server, &id, &json!({"cron": "x"})).await.blames("/cron");
    patch(&server, &id, &json!({"job": {"kind": "scrape"}})).await.blames("/job/url");
    patch(&server, &id, &json!({"id": "x"})).await.blames("/id");
    assert_eq!(show(&server, &id).await["cron"], "@daily");
    server.finish().await;
}

#[tokio::test]
async fn schedules_are_of_ones_own_environment_and_listed_newest_first() {
    let clock = clock_at("2026-01-15T10:00:00Z");
    let server = Setup::new().clock(&clock).start().await;
    let body =
        |name: &str| json!({"name": name, "cron": "@daily", "job": {"kind": "scrape", "url": "https://example.com/"}});
    let mut ids = Vec::new();
    for name in ["a", "b", "c", "d", "e"] {
        clock.advance(SignedDuration::from_millis(1));
        ids.push(create(&server, &body(name)).await);
    }
    let mut names = String::new();
    let mut cursor = String::new();
    loop {
        let part = server.get(&format!("{SCHEDULES}?limit=2{cursor}")).await.is(200);
        part["data"].as_array().unwrap().iter().for_each(|one| names += one["name"].as_str().unwrap());
        let Some(next) = part["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(names, "edcba");

    let id = &ids[0];
    for (method, path) in [
        (Method::GET, format!("{SCHEDULES}/{id}")),
        (Method::DELETE, format!("{SCHEDULES}/{id}")),
        (Method::PATCH, format!("{SCHEDULES}/{id}")),
        (Method::POST, format!("{SCHEDULES}/{id}/run")),
        (Method::GET, format!("{SCHEDULES}/{id}/runs")),
    ] {
        let call = Call::post("", &json!({})).to(method.clone(), &path).key(&server.sandbox);
        assert!(server.send(call).await.is(404)["detail"].as_str().unwrap().contains("schedule"), "{method}");
    }
    let sandbox = Call::new(Method::GET, SCHEDULES).key(&server.sandbox);
    assert_eq!(server.send(sandbox).await.is(200)["data"], json!([]));

    let once = || Call::post(SCHEDULES, &body("once")).header("idempotency-key", "k1");
    let first = server.send(once()).await.is(201);
    clock.advance(SignedDuration::from_hours(1));
    assert_eq!(server.send(once()).await.is(201), first);
    let other = Call::post(SCHEDULES, &body("other")).header("idempotency-key", "k1");
    server.send(other).await.is(409);
    assert_eq!(server.get(SCHEDULES).await.is(200)["data"].as_array().unwrap().len(), 6);
    server.finish().await;
}

#[tokio::test]
async fn a_job_starts_at_its_time_and_calls_back() {
    let (clock, site) = (clock_at("2026-03-28T12:00:00Z"), site(3).await);
    let (setup, receiver) = Setup::new().clock(&clock).receiver(|_| Reply::Status(200)).await;
    // Half a year of runs is looked at.
    let server = setup.flag("log_retention", "400d").flag("result_retention", "400d").start().await;
    let job = json!({"kind": "batch", "urls": site.urls().collect::<Vec<_>>(), "webhook_url": receiver.url()});
    // On the night from 28 to 29 March there is no 02:30 in Berlin; from 24 to 25 October there are two.
    let body = json!({"name": "nightly", "cron": "30 2 * * *", "timezone": "Europe/Berlin", "job": job});
    let id = create(&server, &body).await;
    set(&clock, "2026-03-29T00:59:59.999Z");
    assert_eq!(show(&server, &id).await["next_run_at"], "2026-03-29T01:00:00.000Z");
    assert_eq!(history(&server, &id).await, []);
    clock.advance(SignedDuration::from_millis(1));
    let received = next(&receiver).await;
    received.verify(&server.secret().await).unwrap();
    assert_eq!(runs(&server, &id, 1).await, pairs(&[("2026-03-29T01:00:00.000Z", "started")]));
    let first = jobs(&server, &id).await.remove(0);
    assert_eq!(received.header("x-datasonar-job-id"), first);
    let ended = server.ended(&first).await;
    assert_eq!((&ended["kind"], &ended["progress"]["succeeded"]), (&json!("batch"), &json!(3)));
    server.delivery(&first, "delivered", 1).await;
    assert_eq!(show(&server, &id).await["next_run_at"], "2026-03-30T00:30:00.000Z");

    patch(&server, &id, &json!({"paused": true})).await.is(200);
    set(&clock, "2026-10-24T12:00:00Z");
    patch(&server, &id, &json!({"paused": false})).await.is(200);
    for (time, count) in [("2026-10-25T00:30:00Z", 2), ("2026-10-25T01:30:00Z", 2), ("2026-10-26T01:30:00Z", 3)] {
        set(&clock, time);
        runs(&server, &id, count).await;
        server.ended(&jobs(&server, &id).await[0]).await;
    }
    let expected = [
        ("2026-03-29T01:00:00.000Z", "started"),
        ("2026-10-25T00:30:00.000Z", "started"),
        ("2026-10-26T01:30:00.000Z", "started"),
    ];
    assert_eq!(history(&server, &id).await, pairs(&expected));
    for job in &jobs(&server, &id).await {
        server.delivery(job, "delivered", 1).await;
    }

    let last = jobs(&server, &id).await.remove(0);
    server.delete(&format!("{SCHEDULES}/{id}")).await.is_empty(204);
    assert_eq!(server.ended(&last).await["status"], "completed", "its jobs stay");
    server.finish().await;
}

/// A job that ends when it is cancelled.
fn endless(page: &Silence) -> Value {
    json!({"kind": "scrape", "url": page.url(), "timeout": 300})
}

async fn cancel(server: &Server, job: &str) {
    server.delete(&format!("/v1/jobs/{job}")).await.is(202);
    server.ended(job).await;
}

#[tokio::test]
async fn what_overlaps_is_skipped_queued_or_allowed() {
    let (clock, page) = (clock_at("2026-01-15T10:00:30Z"), Silence::new());
    let server = Setup::new().clock(&clock).flag("fetch_per_host_concurrency", "64").start().await;
    let mut ids = BTreeMap::new();
    for overlap in ["skip", "queue", "allow"] {
        let body = json!({"name": overlap, "cron": "* * * * *", "overlap": overlap, "job": endless(&page)});
        ids.insert(overlap, create(&server, &body).await);
    }
    for minute in 1..=4 {
        set(&clock, &format!("2026-01-15T10:0{minute}:00Z"));
        for id in ids.values() {
            runs(&server, id, minute).await;
        }
    }
    let outcomes = async |overlap: &str| -> Vec<String> {
        history(&server, &ids[overlap]).await.into_iter().map(|(_, outcome)| outcome).collect()
    };
    assert_eq!(outcomes("skip").await, ["started", "skipped", "skipped", "skipped"]);
    assert_eq!(outcomes("queue").await, ["started", "queued", "skipped", "skipped"]);
    assert_eq!(outcomes("allow").await, ["started"; 4]);

    // When the job ends, the one that was queued starts, and the others wait for their next time.
    for overlap in ["skip", "queue"] {
        let open = jobs(&server, &ids[overlap]).await;
        assert_eq!(open.len(), 1);
        cancel(&server, &open[0]).await;
    }
    until("the queued run", async || (jobs(&server, &ids["queue"]).await.len() == 2).then_some(())).await;
    assert_eq!(outcomes("queue").await, ["started", "started", "skipped", "skipped"]);
    assert_eq!(outcomes("skip").await, ["started", "skipped", "skipped", "skipped"]);
    set(&clock, "2026-01-15T10:05:00Z");
    for id in ids.values() {
        runs(&server, id, 5).await;
    }
    assert_eq!(outcomes("skip").await[4], "started");
    assert_eq!(outcomes("queue").await[4], "queued");

    for id in ids.values() {
        patch(&server, id, &json!({"paused": true})).await.is(200);
        for job in jobs(&server, id).await {
            if server.get(&format!("/v1/jobs/{job}")).await.is(200)["completed_at"].is_null() {
                cancel(&server, &job).await;
            }
        }
    }
    server.finish().await;
}

#[tokio::test]
async fn what_was_missed_runs_once() {
    let (clock, site) = (clock_at("2026-01-15T10:00:00Z"), site(1).await);
    let server = Setup::new().clock(&clock).start().await;
    let job = json!({"kind": "scrape", "url": site.urls().next().unwrap()});
    let hourly = create(&server, &json!({"name": "hourly", "cron": "@hourly", "job": job})).await;
    let yearly = create(&server, &json!({"name": "yearly", "cron": "@yearly", "job": job})).await;
    let server = server
        .restart_with(|setup| {
            clock.advance(SignedDuration::from_hours(50) + SignedDuration::from_mins(10));
            setup
        })
        .await;
    assert_eq!(runs(&server, &hourly, 1).await, pairs(&[("2026-01-15T11:00:00.000Z", "started")]));
    assert_eq!(show(&server, &hourly).await["next_run_at"], "2026-01-17T13:00:00.000Z");
    server.ended(&jobs(&server, &hourly).await[0]).await;
    set(&clock, "2026-01-17T13:00:00Z");
    runs(&server, &hourly, 2).await;
    server.ended(&jobs(&server, &hourly).await[0]).await;
    assert_eq!(history(&server, &hourly).await.len(), 2);
    assert_eq!(history(&server, &yearly).await, []);
    server.finish().await;
}

#[tokio::test]
async fn twenty_at_the_same_minute_each_call_back_once_through_a_restart() {
    const COUNT: usize = 20;
    let clock = clock_at("2026-01-15T10:00:30Z");
    let options = SiteOptions { urls: 60, trouble: false, all_sizes: false, pace: Duration::from_millis(20) };
    let site = Site::start(options).await.unwrap();
    let (setup, receiver) =
        Setup::new().clock(&clock).flag("fetch_concurrency", "4").receiver(|_| Reply::Status(200)).await;
    let server = setup.start().await;
    let urls: Vec<String> = site.urls().collect();
    let mut ids = Vec::new();
    for number in 0..COUNT {
        let job = json!({"kind": "batch", "urls": urls, "format": "text", "webhook_url": receiver.url()});
        let body = json!({"name": format!("site {number}"), "cron": "1 10 * * *", "job": job});
        ids.push(create(&server, &body).await);
    }
    set(&clock, "2026-01-15T10:01:00Z");
    until("some jobs", async || {
        let mut started = 0;
        for id in &ids {
            started += history(&server, id).await.len();
        }
        (started >= 3).then_some(())
    })
    .await;
    let server = server.restart().await;
    let mut expected = BTreeSet::new();
    for id in &ids {
        assert_eq!(runs(&server, id, 1).await, pairs(&[("2026-01-15T10:01:00.000Z", "started")]));
        let jobs = jobs(&server, id).await;
        assert_eq!(jobs.len(), 1);
        server.delivery(&jobs[0], "delivered", 1).await;
        expected.insert(jobs[0].clone());
    }
    assert_eq!(expected.len(), COUNT);
    let mut received = BTreeSet::new();
    for _ in 0..COUNT {
        let callback = next(&receiver).await;
        assert!(received.insert(callback.header("x-datasonar-job-id").to_owned()), "a callback came twice");
    }
    assert_eq!(received, expected);
    assert!(receiver.next_now().await.is_none());
    let all = server.get("/v1/jobs?limit=200").await.is(200);
    assert_eq!(all["data"].as_array().unwrap().len(), COUNT);
    server.finish().await;
}

#[tokio::test]
async fn two_schedulers_make_one_job_for_each_time() {
    let (clock, site) = (clock_at("2026-01-15T10:00:30Z"), site(1).await);
    let server = Setup::new().clock(&clock).start().await;
    let app = &server.running.app;
    let stop = CancellationToken::new();
    let parts = || SchedulerParts {
        store: app.store.clone(),
        schedules: app.schedules.clone(),
        clock: app.clock.clone(),
        wake: app.wake.clone(),
        health: Health::default(),
    };
    let others: Vec<_> = (0..3).map(|_| tokio::spawn(Scheduler::new(parts()).run(stop.clone()))).collect();
    let mut ids = Vec::new();
    for number in 0..5 {
        let job = json!({"kind": "scrape", "url": site.urls().next().unwrap()});
        let body = json!({"name": format!("{number}"), "cron": "* * * * *", "overlap": "allow", "job": job});
        ids.push(create(&server, &body).await);
    }
    for minute in 1..=6 {
        set(&clock, &format!("2026-01-15T10:0{minute}:00Z"));
        for id in &ids {
            runs(&server, id, minute).await;
        }
    }
    for id in &ids {
        let planned: Vec<String> = history(&server, id).await.into_iter().map(|(planned, _)| planned).collect();
        let expected: Vec<String> = (1..=6).map(|minute| format!("2026-01-15T10:0{minute}:00.000Z")).collect();
        assert_eq!(planned, expected);
    }
    stop.cancel();
    for other in others {
        other.await.unwrap();
    }
    let all = server.get("/v1/jobs?limit=200").await.is(200);
    let all = all["data"].as_array().unwrap();
    assert_eq!(all.len(), 30);
    for job in all {
        server.ended(job["job_id"].as_str().unwrap()).await;
    }
    server.finish().await;
}

#[tokio::test]
async fn a_change_does_not_bring_a_time_back_that_has_run() {
    let (clock, site) = (clock_at("2026-01-15T10:30:00Z"), site(1).await);
    let server = Setup::new().clock(&clock).start().await;
    let job = json!({"kind": "scrape", "url": site.urls().next().unwrap()});
    let id = create(&server, &json!({"name": "n", "cron": "@hourly", "job": job})).await;
    let app = &server.running.app;
    let hash = datasonar::crypto::sha256(server.production.as_bytes());
    let scope = app.store.authenticate(hash).await.unwrap().unwrap().scope;
    let before = app.store.schedule(scope, id.parse().unwrap()).await.unwrap();
    set(&clock, "2026-01-15T11:00:00Z");
    runs(&server, &id, 1).await;
    // Somebody who read the schedule before that run changes it after.
    let wanted = Wanted {
        name: "renamed".to_owned(),
        cron: before.cron.clone(),
        timezone: before.timezone.clone(),
        overlap: before.overlap,
        paused: before.paused,
        job: serde_json::from_str(&before.job).unwrap(),
    };
    let changed = app.schedules.change(&before, wanted).await;
    assert!(matches!(changed, Err(SchedulesError::Store(StoreError::Conflict(_)))), "{changed:?}");
    // The API reads it again.
    let renamed = patch(&server, &id, &json!({"name": "renamed"})).await.is(200);
    assert_eq!((&renamed["name"], &renamed["next_run_at"]), (&json!("renamed"), &json!("2026-01-15T12:00:00.000Z")));
    server.ended(&jobs(&server, &id).await[0]).await;
    server.finish().await;
}

#[tokio::test]
async fn a_run_can_be_asked_for() {
    let (clock, page) = (clock_at("2026-01-15T10:00:00Z"), Silence::new());
    let server = Setup::new().clock(&clock).flag("fetch_per_host_concurrency", "64").start().await;
    let body = json!({"name": "n", "cron": "@daily", "paused": true, "job": endless(&page)});
    let id = create(&server, &body).await;
    let run = format!("{SCHEDULES}/{id}/run");
    let once = || Call::new(Method::POST, &run).header("idempotency-key", "k");
    let first = server.send(once()).await.is(202);
    assert_eq!((&first["status"], &first["overlaps"]), (&json!("queued"), &json!(false)));
    assert_eq!(server.send(once()).await.is(202), first);
    // It waits for nothing, and says that there is something.
    clock.advance(SignedDuration::from_millis(5));
    let second = server.send(Call::new(Method::POST, &run)).await.is(202);
    assert_eq!(second["overlaps"], true);
    assert_ne!(second["job_id"], first["job_id"]);
    // At the same moment, too.
    let third = server.send(Call::new(Method::POST, &run)).await.is(202);
    assert_ne!(third["job_id"], second["job_id"]);
    let view = show(&server, &id).await;
    assert_eq!(view["next_run_at"], Value::Null);
    let triggers: Vec<&Value> = view["last_runs"].as_array().unwrap().iter().map(|run| &run["trigger"]).collect();
    assert_eq!(triggers, ["manual"; 3]);

    // Its next time stays.
    patch(&server, &id, &json!({"paused": false})).await.is(200);
    let fourth = server.send(Call::new(Method::POST, &run)).await.is(202);
    assert_eq!(show(&server, &id).await["next_run_at"], "2026-01-16T00:00:00.000Z");
    for answer in [first, second, third, fourth] {
        cancel(&server, answer["job_id"].as_str().unwrap()).await;
    }
    server.finish().await;
}

#[tokio::test]
async fn a_job_that_is_not_acceptable_any_more_is_refused_and_the_schedule_goes_on() {
    let (clock, site) = (clock_at("2026-01-15T10:30:00Z"), site(1).await);
    let server = Setup::new().clock(&clock).start().await;
    let job = json!({"kind": "scrape", "url": site.urls().next().unwrap(), "max_bytes": 5_000_000});
    let id = create(&server, &json!({"name": "n", "cron": "@hourly", "job": job})).await;
    // The operator allows less than the schedule asks for.
    let server = server.restart_with(|setup| setup.flag("fetch_max_bytes", "1000000")).await;
    for (hour, count) in [(11, 1), (12, 2)] {
        set(&clock, &format!("2026-01-15T{hour}:00:00Z"));
        runs(&server, &id, count).await;
    }
    let view = show(&server, &id).await;
    assert_eq!(view["next_run_at"], "2026-01-15T13:00:00.000Z");
    let last = &view["last_runs"][0];
    assert_eq!((&last["outcome"], &last["job_id"]), (&json!("refused"), &Value::Null));
    assert!(last["reason"].as_str().unwrap().contains("/job/max_bytes: must be"), "{last}");
    server.post(&format!("{SCHEDULES}/{id}/run"), &json!({})).await.blames("/job/max_bytes");
    let server = server.restart_with(|setup| setup.flag("fetch_max_bytes", "10000000")).await;
    set(&clock, "2026-01-15T13:00:00Z");
    runs(&server, &id, 3).await;
    server.ended(&jobs(&server, &id).await[0]).await;
    server.finish().await;
}

#[tokio::test]
async fn a_schedule_of_many_urls_runs() {
    let (clock, site) = (clock_at("2026-01-15T10:30:00Z"), site(3_000).await);
    let server = Setup::new().clock(&clock).start().await;
    let urls: Vec<String> = site.urls().collect();
    let body = json!({"name": "n", "cron": "@hourly", "job": {"kind": "batch", "urls": urls, "format": "text"}});
    let id = create(&server, &body).await;
    set(&clock, "2026-01-15T11:00:00Z");
    runs(&server, &id, 1).await;
    let ended = server.ended(&jobs(&server, &id).await[0]).await;
    assert_eq!(ended["progress"], json!({"total": 3_000, "succeeded": 3_000, "failed": 0}));
    server.finish().await;
}
