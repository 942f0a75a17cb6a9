//! `datasonar deliveries` as it is called: the program itself, without a terminal, against a server.

use std::{
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use datasonar::cli::demo::receiver::Receiver;
use serde_json::Value;
use tokio::process::Command;

use super::{
    replays::dead_letters,
    server::{Reply, Server, Setup, next, site, until},
};

/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a command printed, and what it ended with.
#[derive(Debug)]
struct Ran {
    code: i32,
    out: Vec<u8>,
    told: String,
}

impl Ran {
    /// What it printed, if it ended with this code.
    #[track_caller]
    fn is(&self, code: i32) -> &str {
        assert_eq!(self.code, code, "{}{}", String::from_utf8_lossy(&self.out), self.told);
        std::str::from_utf8(&self.out).unwrap()
    }

    /// The same, as JSON lines.
    #[track_caller]
    fn lines(&self, code: i32) -> Vec<Value> {
        self.is(code).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// It failed, and said so, in these words among others.
    #[track_caller]
    fn fails(&self, words: &[&str]) {
        self.is(1);
        for word in words {
            assert!(self.told.contains(word), "nothing of `{word}` in: {}", self.told);
        }
    }
}

async fn run(server: &Server, args: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_datasonar"));
    command.arg("deliveries").args(args).stdin(Stdio::null()).kill_on_drop(true);
    command.env("DATASONAR_SERVER", &server.url).env("DATASONAR_API_KEY", &server.production);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("the command does not end").unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    Ran { code: output.status.code().unwrap(), out: output.stdout, told }
}

/// A server with dead letters, whose endpoint answers what it is told to from now on.
struct Scene {
    server: Server,
    receiver: Receiver,
    answer: Arc<AtomicU16>,
    jobs: Vec<String>,
    ids: Vec<String>,
}

impl Scene {
    async fn of(count: usize) -> Self {
        let site = site(1).await;
        let answer = Arc::new(AtomicU16::new(410));
        let told = answer.clone();
        let (setup, receiver) = Setup::new().receiver(move |_| Reply::Status(told.load(Ordering::Relaxed))).await;
        let server = setup.start().await;
        let (page, endpoint) = (site.urls().next().unwrap(), receiver.url());
        let (mut jobs, mut ids) = (Vec::new(), Vec::new());
        // One after the other, so that they are in the order of their times.
        for _ in 0..count {
            let job = dead_letters(&server, &page, &endpoint, 1).await.remove(0);
            ids.push(server.delivery(&job, "failed", 1).await["id"].as_str().unwrap().to_owned());
            next(&receiver).await;
            jobs.push(job);
        }
        Self { server, receiver, answer, jobs, ids }
    }

    fn answer(&self, status: u16) {
        self.answer.store(status, Ordering::Relaxed);
    }

    async fn run(&self, args: &[&str]) -> Ran {
        run(&self.server, args).await
    }
}

#[tokio::test]
async fn deliveries_are_looked_at() {
    let scene = Scene::of(2).await;
    let table = scene.run(&["list", "--status", "failed"]).await;
    let lines: Vec<&str> = table.is(0).lines().collect();
    assert_eq!(lines.len(), 3, "{table:?}");
    // Newest first.
    assert!(lines[1].starts_with(&scene.ids[1]) && lines[2].starts_with(&scene.ids[0]), "{table:?}");
    assert!(lines[1].contains("410") && !lines[1].contains('\x1b'), "{table:?}");
    assert_eq!(scene.run(&["list", "--limit", "1", "--json"]).await.lines(0)[0]["id"], scene.ids[1]);
    let of_job = scene.run(&["list", "--job", &scene.jobs[0], "--json"]).await.lines(0);
    assert_eq!((of_job.len(), &of_job[0]["id"]), (1, &Value::from(scene.ids[0].as_str())));
    assert_eq!(scene.run(&["list", "--status", "delivered"]).await.is(0), "No delivery has this status.\n");

    let id = &scene.ids[0];
    let shown = scene.run(&["show", id]).await;
    assert!(shown.is(0).contains("410") && !shown.is(0).contains("x-datasonar"), "{shown:?}");
    let verbose = scene.run(&["show", id, "--verbose"]).await;
    assert!(verbose.is(0).to_lowercase().contains("> x-datasonar-attempt: 1"), "{verbose:?}");
    let json: Value = serde_json::from_str(scene.run(&["show", id, "--json"]).await.is(0)).unwrap();
    assert_eq!(json, scene.server.get(&format!("/v1/deliveries/{id}")).await.is(200));
    let nobodys = "019a0000-0000-7000-8000-000000000000";
    scene.run(&["show", nobodys]).await.fails(&["404", "datasonar deliveries list"]);

    let bytes = scene.server.get(&format!("/v1/deliveries/{id}/payload")).await.body;
    assert_eq!(scene.run(&["payload", id]).await.out, bytes);
    let file = scene.server.directory().join("payload.json");
    let path = file.to_str().unwrap();
    assert_eq!(scene.run(&["payload", id, "--output", path]).await.is(0), "");
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
    scene.run(&["payload", nobodys, "--output", path]).await.fails(&["404"]);
    assert_eq!(std::fs::read(&file).unwrap(), bytes, "what is refused spoils no file");
    scene.server.finish().await;
}

#[tokio::test]
async fn deliveries_are_sent_again_by_id() {
    let scene = Scene::of(2).await;
    let (first, second) = (&scene.ids[0], &scene.ids[1]);
    scene.run(&["replay", first]).await.fails(&["410", "show", "--verbose"]);
    scene.answer(200);
    // Twice the same is once.
    let again = scene.run(&["replay", first, second, first]).await;
    assert_eq!(again.is(0).lines().count(), 2, "{again:?}");
    assert!(again.is(0).lines().all(|line| line.contains("200 in ")), "{again:?}");
    // One that is not there does not keep the others from it.
    let mixed = scene.run(&["replay", "019a0000-0000-7000-8000-000000000000", second, "--json"]).await;
    mixed.fails(&["019a0000-0000-7000-8000-000000000000: ", "404"]);
    let delivery = &mixed.lines(1)[0];
    assert_eq!((delivery["id"].as_str(), delivery["status"].as_str()), (Some(&second[..]), Some("delivered")));
    scene.run(&["replay", second, "--no-wait"]).await.is(0);
    scene.server.delivery(&scene.jobs[1], "delivered", 4).await;
    for _ in 0..5 {
        next(&scene.receiver).await;
    }
    scene.server.finish().await;
}

#[tokio::test]
async fn deliveries_are_sent_again_in_bulk_by_those_who_mean_it() {
    let scene = Scene::of(3).await;
    scene.answer(200);
    let dry = scene.run(&["replay", "--all", "--dry-run"]).await;
    assert_eq!(dry.is(0), "3 failed deliveries would be sent again\n");
    scene.run(&["replay", "--all"]).await.fails(&["3 failed deliveries", "--yes"]);
    let none = scene.run(&["replay", "--all", "--webhook-url", "https://example.com/", "--yes"]).await;
    assert!(none.is(0).starts_with("0 failed deliveries"), "{none:?}");
    assert_eq!(scene.run(&["replay", "--all", "--until", "1h", "--dry-run"]).await.is(0).chars().next(), Some('0'));
    assert!(scene.receiver.next_now().await.is_none(), "nothing was sent so far");

    let sent = scene.run(&["replay", "--all", "--since", "1h", "--yes"]).await;
    assert!(sent.is(0).starts_with("completed: 3 of 3 sent again"), "{sent:?}");
    for job in &scene.jobs {
        next(&scene.receiver).await;
        scene.server.delivery(job, "delivered", 2).await;
    }
    let told = scene.run(&["replay", "--all", "--status", "delivered", "--yes", "--json"]).await.lines(0);
    assert_eq!((&told[0]["replayed"], &told[1]["status"]), (&Value::from(3), &Value::from("completed")));
    let started = scene.run(&["replay", "--all", "--status", "any", "--yes", "--no-wait"]).await;
    let id = started.is(0).trim();
    for job in &scene.jobs {
        // The third bulk replay may have come before the second one's attempt: then both are one.
        until("the replays", async || {
            let path = format!("/v1/deliveries?job_id={job}");
            let attempts = scene.server.get(&path).await.is(200)["data"][0]["attempts"].as_array().unwrap().len();
            (attempts >= 3).then_some(())
        })
        .await;
    }

    let list = scene.run(&["replays"]).await;
    assert_eq!(list.is(0).lines().count(), 4, "{list:?}");
    let ended = until("the bulk replay", async || {
        let newest = scene.run(&["replays", "--limit", "1", "--json"]).await.lines(0).remove(0);
        (newest["status"] == "completed").then_some(newest)
    })
    .await;
    assert_eq!(ended["replay_id"], id);
    scene.run(&["cancel-replay", id]).await.fails(&["409", "datasonar deliveries replays"]);
    let nobodys = "019a0000-0000-7000-8000-000000000000";
    scene.run(&["cancel-replay", nobodys]).await.fails(&["404", "datasonar deliveries replays"]);
    scene.server.finish().await;
}

#[tokio::test]
async fn an_endpoint_is_tested() {
    let scene = Scene::of(0).await;
    let url = scene.receiver.url();
    scene.run(&["test", &url]).await.fails(&["not delivered", "410"]);
    scene.answer(204);
    let tested = scene.run(&["test", &url, "--verbose"]).await;
    assert!(tested.is(0).contains("204") && tested.is(0).contains("test"), "{tested:?}");
    let json: Value = serde_json::from_str(scene.run(&["test", &url, "--json"]).await.is(0)).unwrap();
    assert_eq!((&json["response_code"], &json["trigger"]), (&Value::from(204), &Value::from("test")));
    scene.run(&["test", "http://example.com/"]).await.fails(&["webhook_url", "422"]);
    scene.server.finish().await;
}

#[tokio::test]
async fn who_has_no_key_or_no_server_is_told_what_to_do() {
    let mut server = Server::start().await;
    let key = std::mem::take(&mut server.production);
    for args in [&["list"][..], &["replay", "--all"], &["test", "https://example.com/"]] {
        run(&server, args).await.fails(&["DATASONAR_API_KEY", "datasonar keys create"]);
    }
    server.production = key;
    // What makes no sense is refused before anything is asked.
    for args in [&["replay"][..], &["replay", "--yes"], &["replay", "--all", "--since", "yesterday"]] {
        assert_eq!(run(&server, args).await.code, 2, "{args:?}");
    }
    server.finish().await;
}
