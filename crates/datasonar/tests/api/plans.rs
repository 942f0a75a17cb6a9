//! Accounts beside the built-in one, and the limits of their plans: made by the operator's commands, met through the API.

use std::time::Duration;

use datasonar::clock::ManualClock;
use http::Method;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::process::Command;

use super::server::{Answer, Call, Reply, Server, Setup, Silence, next, site, until};

const SCRAPE: &str = "/v1/scrape/async";
const BATCH: &str = "/v1/scrape/batch/async";

/// Runs a command of the operator on the server's data. Answers whether it succeeded, and what it printed and said.
async fn operate(server: &Server, args: &[&str]) -> (bool, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_datasonar"));
    command.args(args).arg("--data-dir").arg(server.directory().join("data")).kill_on_drop(true);
    let output = command.output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim_end().to_owned();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

/// What a command prints that succeeds.
pub(super) async fn printed(server: &Server, args: &[&str]) -> String {
    let (is_done, out, told) = operate(server, args).await;
    assert!(is_done, "{args:?}: {told}");
    out
}

/// Makes an account. Answers its id and its two keys.
pub(super) async fn account(server: &Server, email: &str, plan: &str) -> [String; 3] {
    let id = printed(server, &["accounts", "create", "--email", email, "--plan", plan]).await;
    let production = printed(server, &["keys", "create", "--account", &id]).await;
    let sandbox = printed(server, &["keys", "create", "--account", &id, "--environment", "sandbox"]).await;
    [id, production, sandbox]
}

/// A clock that stands still, a minute and a half before a month ends.
fn clock() -> ManualClock {
    ManualClock::new("2026-11-30T23:58:30Z".parse().unwrap())
}

async fn me(server: &Server, key: &str) -> Value {
    server.send(Call::new(Method::GET, "/v1/me").key(key)).await.is(200)
}

async fn queue(server: &Server, key: &str, path: &str, body: &Value) -> String {
    server.send(Call::post(path, body).key(key)).await.is(202)["job_id"].as_str().unwrap().to_owned()
}

async fn ended(server: &Server, key: &str, job: &str) -> Value {
    until("the job's end", async || {
        let job = server.send(Call::new(Method::GET, &format!("/v1/jobs/{job}")).key(key)).await.is(200);
        matches!(job["status"].as_str(), Some("completed" | "failed")).then_some(job)
    })
    .await
}

/// It is refused, for this limit. Answers after how many seconds it may be asked again, and what was said.
#[track_caller]
fn limited(answer: &Answer, limit: &str) -> (u64, String) {
    let problem = answer.is(429);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!(problem["limit"], limit, "{problem}");
    (answer.header("retry-after").parse().unwrap(), problem["detail"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn the_operator_makes_accounts_and_gives_them_plans() {
    let server = Server::start().await;
    let [id, production, sandbox] = account(&server, "Ada@Example.com", "starter").await;
    let told = me(&server, &production).await;
    assert_eq!(told["user"], json!({"email": "ada@example.com", "plan": "starter", "limit": 25_000}));
    let limits = &told["limits"];
    assert_eq!((&limits["pages_left"], &limits["open_jobs"]), (&json!(25_000), &json!(0)));
    assert_eq!((&limits["requests_per_minute"], &limits["concurrent_jobs"]), (&json!(120), &json!(5)));
    assert_eq!(limits["result_retention"], 3 * 24 * 60 * 60);
    printed(&server, &["accounts", "set-plan", "ada@example.com", "enterprise"]).await;
    let told = me(&server, &sandbox).await;
    assert_eq!((&told["user"]["plan"], &told["user"]["limit"]), (&json!("enterprise"), &Value::Null));
    let own = me(&server, &server.production).await;
    assert_eq!(own["user"], json!({"email": "owner@localhost", "plan": "self-hosted", "limit": null}));
    assert_eq!(own["limits"]["requests_per_minute"], Value::Null);

    let listed = printed(&server, &["accounts", "list", "--json"]).await;
    let listed: Vec<Value> = listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> = listed.iter().map(|line| (line["email"].clone(), line["built_in"].clone())).collect();
    assert_eq!(told, [(json!("owner@localhost"), json!(true)), (json!("ada@example.com"), json!(false))]);
    assert_eq!(listed[1]["id"], id);
    let listed = printed(&server, &["accounts", "list"]).await;
    assert!(listed.contains("built in: no limits") && listed.lines().count() == 2, "{listed}");

    // Keys, secrets and members are each account's own.
    let keys = printed(&server, &["keys", "list", "--account", &id]).await;
    assert_eq!(keys.lines().count(), 2);
    assert!(keys.contains(&production[..8]) && !keys.contains(&server.production[..12]), "{keys}");
    let secret = printed(&server, &["secrets", "show", "--account", "ada@example.com"]).await;
    assert_ne!(secret, server.secret().await);
    let link = printed(&server, &["members", "link", "--account", &id, "--email", "ada@example.com"]).await;
    assert!(link.contains("/sign-in/link/"));
    assert!(printed(&server, &["members", "list", "--account", &id]).await.contains("ada@example.com"));
    assert!(!printed(&server, &["members", "list"]).await.contains("ada@example.com"));

    let listed = printed(&server, &["keys", "list", "--account", &id, "--json"]).await;
    let key = listed.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).next_back().unwrap();
    let key = key["id"].as_str().unwrap();
    for (args, words) in [
        (&["accounts", "create", "--email", "ada@example.com"][..], "there is an account with this e-mail address"),
        (&["accounts", "create", "--email", "ada"], "this is no e-mail address"),
        (&["accounts", "create", "--email", "b@example.com", "--plan", "gold"], "none of the plans"),
        (&["accounts", "set-plan", "owner@localhost", "free"], "the built-in account has no limits"),
        (&["accounts", "set-plan", "b@example.com", "free"], "there is no account `b@example.com`"),
        (&["keys", "create", "--account", "0192f0c1-2345-7abc-8def-0123456789ab"], "there is no account"),
        (&["keys", "revoke", key], "the key was not revoked"),
    ] {
        let (is_done, out, told) = operate(&server, args).await;
        assert!(!is_done && out.is_empty() && told.contains(words), "{args:?}: {told}");
    }
    me(&server, &production).await;
    printed(&server, &["keys", "revoke", key, "--account", &id]).await;
    server.send(Call::new(Method::GET, "/v1/me").key(&production)).await.is(401);
    server.finish().await;
}

#[tokio::test]
async fn calls_are_limited_by_the_minute() {
    let clock = clock();
    let server = Setup::new().clock(&clock).flag("plan_free_requests_per_minute", "3").start().await;
    let [_, production, sandbox] = account(&server, "ada@example.com", "free").await;
    for _ in 0..3 {
        me(&server, &production).await;
    }
    for path in ["/v1/me", "/v1/jobs", "/v1/webhooks/secrets"] {
        let answer = server.send(Call::new(Method::GET, path).key(&production)).await;
        let (wait, told) = limited(&answer, "requests_per_minute");
        assert_eq!((wait, told.as_str()), (30, "the plan `free` allows 3 requests per minute"));
    }
    me(&server, &sandbox).await;
    for _ in 0..20 {
        server.get("/v1/me").await.is(200);
    }
    clock.advance(SignedDuration::from_millis(29_100));
    let answer = server.send(Call::new(Method::GET, "/v1/me").key(&production)).await;
    assert_eq!(limited(&answer, "requests_per_minute").0, 1);
    clock.advance(SignedDuration::from_millis(900));
    for _ in 0..3 {
        me(&server, &production).await;
    }
    // A restart begins no minute anew.
    let server = server.restart().await;
    let answer = server.send(Call::new(Method::GET, "/v1/me").key(&production)).await;
    assert_eq!(limited(&answer, "requests_per_minute").0, 60);
    server.finish().await;
}

#[tokio::test]
async fn pages_are_limited_by_the_month() {
    let (clock, site) = (clock(), site(8).await);
    let setup = Setup::new().clock(&clock).flag("plan_free_requests_per_minute", "unlimited");
    let server = setup.flag("plan_free_pages_per_month", "10").start().await;
    let [_, key, sandbox] = account(&server, "ada@example.com", "free").await;
    let urls: Vec<String> = site.urls().collect();
    let (one, listed) = (json!({"url": urls[0]}), |count: usize| json!({"urls": urls[..count]}));
    server.send(Call::post("/v1/scrape", &one).key(&key)).await.is(200);
    server.send(Call::post("/v1/scrape/batch", &listed(2)).key(&key)).await.is(200);
    let job = queue(&server, &key, BATCH, &listed(4)).await;
    assert_eq!(ended(&server, &key, &job).await["progress"]["total"], 4);
    let left = |told: Value| (told["usage"]["requests_this_month"].clone(), told["limits"]["pages_left"].clone());
    assert_eq!(left(me(&server, &key).await), (json!(7), json!(3)));
    assert_eq!(me(&server, &key).await["limits"]["resets_at"], "2026-12-01T00:00:00.000Z");

    // What is too much does nothing, however it is asked for; what it would have been is told.
    let list = async |key: &str| {
        let jobs = server.send(Call::new(Method::GET, "/v1/jobs").key(key)).await.is(200);
        jobs["data"].as_array().unwrap().len()
    };
    for path in [BATCH, "/v1/scrape/batch"] {
        let answer = server.send(Call::post(path, &listed(4)).key(&key)).await;
        let (wait, told) = limited(&answer, "pages_per_month");
        assert_eq!(wait, 90, "the month ends then");
        assert_eq!(told, "the plan `free` allows 10 pages per month: 7 were used, and this asks for 4");
    }
    assert_eq!(list(&key).await, 1);
    let many: Vec<String> = (0..20_000).map(|number| format!("{}?{number}", urls[0])).collect();
    let answer = server.send(Call::post(BATCH, &json!({"urls": many})).key(&key)).await;
    assert!(limited(&answer, "pages_per_month").1.ends_with("more than a whole month has"));
    assert_eq!(blobs(&server), 0, "its URLs are not kept");

    // A crawl gets what is left.
    let crawl = json!({"url": urls[0], "respect_robots": false});
    let job = queue(&server, &key, "/v1/crawl", &crawl).await;
    let crawled = ended(&server, &key, &job).await;
    assert!(crawled["progress"]["total"].as_u64().unwrap() <= 3, "{crawled}");
    while server.send(Call::post("/v1/scrape", &one).key(&key)).await.status == 200 {}
    for (path, body) in [("/v1/scrape", &one), (SCRAPE, &one), ("/v1/crawl", &crawl)] {
        let answer = server.send(Call::post(path, body).key(&key)).await;
        assert_eq!(limited(&answer, "pages_per_month").0, 90, "{path}");
    }
    assert_eq!(left(me(&server, &key).await), (json!(10), json!(0)));
    server.send(Call::post("/v1/scrape", &one).key(&sandbox)).await.is(200);
    server.post("/v1/scrape", &one).await.is(200);

    // Nor does a new start; the next month does.
    let server = server.restart().await;
    limited(&server.send(Call::post(SCRAPE, &one).key(&key)).await, "pages_per_month");
    clock.advance(SignedDuration::from_secs(90));
    let job = queue(&server, &key, SCRAPE, &one).await;
    ended(&server, &key, &job).await;
    assert_eq!(left(me(&server, &key).await), (json!(1), json!(9)));
    server.finish().await;
}

fn blobs(server: &Server) -> usize {
    let inputs = server.directory().join("data/blobs");
    walk(&inputs)
}

fn walk(directory: &std::path::Path) -> usize {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    entries.map(|entry| entry.unwrap().path()).map(|path| if path.is_dir() { walk(&path) } else { 1 }).sum()
}

#[tokio::test]
async fn many_who_scrape_at_once_get_no_more_pages() {
    let site = site(2).await;
    let server = Setup::new()
        .flag("plan_free_pages_per_month", "5")
        .flag("plan_free_requests_per_minute", "unlimited")
        .start()
        .await;
    let [_, key, _] = account(&server, "ada@example.com", "free").await;
    let body = json!({"url": site.quick_url()});
    let calls = (0..20).map(|_| server.send(Call::post("/v1/scrape", &body).key(&key)));
    let answers = futures::future::join_all(calls).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 5);
    assert_eq!(answers.iter().filter(|answer| answer.status == 429).count(), 15);
    until("what they came to to be counted", async || {
        (me(&server, &key).await["usage"]["success_rate"] == 1.0).then_some(())
    })
    .await;
    server.finish().await;
}

#[tokio::test]
async fn so_many_jobs_are_open_at_once() {
    let (silence, site) = (Silence::new(), site(2).await);
    let setup = Setup::new().flag("plan_free_requests_per_minute", "unlimited");
    let server = setup.flag("plan_free_concurrent_jobs", "2").start().await;
    let [_, key, sandbox] = account(&server, "ada@example.com", "free").await;
    let stuck = json!({"url": silence.url(), "timeout": 300});
    let call = || Call::post(SCRAPE, &stuck).key(&key).header("idempotency-key", "first");
    let first = server.send(call()).await.is(202);
    queue(&server, &key, SCRAPE, &stuck).await;
    let answer = server.send(Call::post(SCRAPE, &stuck).key(&key)).await;
    let (wait, told) = limited(&answer, "concurrent_jobs");
    assert_eq!(told, "the plan `free` allows 2 concurrent jobs, and 2 have not ended");
    assert!((1..60).contains(&wait), "{wait}");
    assert_eq!(server.send(call()).await.is(202), first, "a repeated request is answered as it was");
    assert_eq!(me(&server, &key).await["limits"]["open_jobs"], 2);
    // Whoever waits may scrape all the same.
    server.send(Call::post("/v1/scrape", &json!({"url": site.quick_url()})).key(&key)).await.is(200);
    let one = json!({"url": site.quick_url()});
    let there = queue(&server, &sandbox, SCRAPE, &one).await;
    ended(&server, &sandbox, &there).await;

    let jobs = server.send(Call::new(Method::GET, "/v1/jobs").key(&key)).await.is(200);
    for job in jobs["data"].as_array().unwrap() {
        let job = job["job_id"].as_str().unwrap();
        server.send(Call::new(Method::DELETE, &format!("/v1/jobs/{job}")).key(&key)).await.is(202);
        ended(&server, &key, job).await;
    }
    let job = queue(&server, &key, SCRAPE, &one).await;
    ended(&server, &key, &job).await;
    server.finish().await;
}

#[tokio::test]
async fn webhooks_are_in_every_plan_and_signed_with_each_accounts_secret() {
    let site = site(2).await;
    let (setup, receiver) = Setup::new().receiver(|_| Reply::Status(200)).await;
    // It is asked all the time how things stand.
    let setup = setup.flag("plan_free_requests_per_minute", "unlimited");
    let server = setup.flag("plan_starter_requests_per_minute", "unlimited").start().await;
    for plan in ["free", "starter", "pro", "business", "enterprise"] {
        let email = format!("{plan}@example.com");
        let [_, key, _] = account(&server, &email, plan).await;
        let secret = printed(&server, &["secrets", "show", "--account", &email]).await;
        let body = json!({"url": site.quick_url(), "webhook_url": receiver.url()});
        let job = queue(&server, &key, SCRAPE, &body).await;
        let received = next(&receiver).await;
        assert_eq!(received.header("x-datasonar-job-id"), job);
        received.verify(&secret).unwrap();
        until("the delivery", async || {
            let list = server.send(Call::new(Method::GET, "/v1/deliveries").key(&key)).await.is(200);
            (list["data"][0]["status"] == "delivered").then_some(())
        })
        .await;
    }
    server.finish().await;
}

#[tokio::test]
async fn results_are_kept_as_long_as_the_plan_says() {
    let (clock, site) = (clock(), site(2).await);
    let setup = Setup::new().clock(&clock).flag("plan_free_result_retention", "2h").flag("result_retention", "5h");
    let server = setup.flag("plan_free_requests_per_minute", "unlimited").start().await;
    let [_, free, _] = account(&server, "ada@example.com", "free").await;
    let body = json!({"url": site.quick_url()});
    let theirs = queue(&server, &free, SCRAPE, &body).await;
    let ours = server.queue(SCRAPE, &body).await;
    let job = ended(&server, &free, &theirs).await;
    let time = |name: &str| job[name].as_str().unwrap().parse::<Timestamp>().unwrap();
    assert_eq!(time("expires_at").duration_since(time("completed_at")), SignedDuration::from_hours(2));
    server.ended(&ours).await;
    clock.advance(SignedDuration::from_hours(2) + SignedDuration::from_mins(2));
    let (theirs, ours) = (format!("/v1/jobs/{theirs}/results"), format!("/v1/jobs/{ours}/results"));
    until("their result to go", async || {
        let answer = server.send(Call::new(Method::GET, &theirs).key(&free)).await;
        (answer.status == 410).then_some(())
    })
    .await;
    server.get(&ours).await.is(200);
    server.finish().await;
}

#[tokio::test]
async fn runs_of_schedules_keep_to_the_limits() {
    let (clock, silence, site) = (clock(), Silence::new(), site(2).await);
    let setup = Setup::new().clock(&clock).flag("plan_free_concurrent_jobs", "1");
    let server = setup.flag("plan_free_requests_per_minute", "unlimited").start().await;
    let [_, key, _] = account(&server, "ada@example.com", "free").await;
    let job = json!({"kind": "scrape", "url": site.quick_url()});
    let body = json!({"name": "often", "cron": "* * * * *", "overlap": "allow", "job": job});
    let schedule = server.send(Call::post("/v1/schedules", &body).key(&key)).await.is(201);
    let path = format!("/v1/schedules/{}", schedule["id"].as_str().unwrap());
    let stuck = queue(&server, &key, SCRAPE, &json!({"url": silence.url(), "timeout": 300})).await;
    let last = async |count: usize| {
        until("a run", async || {
            let runs = server.send(Call::new(Method::GET, &format!("{path}/runs")).key(&key)).await.is(200);
            let runs = runs["data"].as_array().unwrap().clone();
            (runs.len() == count).then(|| runs[0].clone())
        })
        .await
    };
    clock.advance(SignedDuration::from_secs(30));
    let run = last(1).await;
    assert_eq!(run["outcome"], "refused", "{run}");
    let reason = "the plan `free` allows 1 concurrent jobs, and 1 have not ended";
    assert!(run.to_string().contains(reason), "{run}");
    let answer = server.send(Call::new(Method::POST, &format!("{path}/run")).key(&key)).await;
    limited(&answer, "concurrent_jobs");
    server.send(Call::new(Method::DELETE, &format!("/v1/jobs/{stuck}")).key(&key)).await.is(202);
    ended(&server, &key, &stuck).await;
    clock.advance(SignedDuration::from_secs(60));
    let run = last(2).await;
    assert_eq!(run["outcome"], "started", "{run}");
    server.send(Call::new(Method::DELETE, &path).key(&key)).await;
    let jobs = server.send(Call::new(Method::GET, "/v1/jobs").key(&key)).await.is(200);
    ended(&server, &key, jobs["data"][0]["job_id"].as_str().unwrap()).await;
    server.finish().await;
}

/// A stall of this test would be one of the server's.
#[tokio::test]
async fn an_account_at_its_limits_costs_the_others_nothing() {
    let site = site(2).await;
    let server = Setup::new().flag("plan_free_requests_per_minute", "1").start().await;
    let [_, key, _] = account(&server, "ada@example.com", "free").await;
    let flood = (0..200).map(|_| server.send(Call::new(Method::GET, "/v1/me").key(&key)));
    let own = async {
        let job = server.queue(SCRAPE, &json!({"url": site.quick_url()})).await;
        tokio::time::timeout(Duration::from_secs(30), server.ended(&job)).await.unwrap()
    };
    let (answers, job) = tokio::join!(futures::future::join_all(flood), own);
    assert!(answers.iter().filter(|answer| answer.status == 200).count() <= 2, "a minute may have ended meanwhile");
    assert_eq!(job["status"], "completed");
    server.finish().await;
}
