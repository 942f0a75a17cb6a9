//! What is promised under `kill -9` and SIGTERM, on the real binary: one result per URL, in order, one delivery, the same
//! bytes at every attempt, and nothing fetched again that was finished.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking, and are their own documentation")]

#[path = "support/generated.rs"]
mod generated;
#[path = "support/poison.rs"]
mod poison;

use std::{collections::BTreeSet, fs::File, io::BufReader, path::Path, sync::Arc, time::Duration};

use datasonar::{
    cli::{
        client::{Api, Server},
        demo::{
            check::verify_body,
            child::Child,
            receiver::{Answer, Received, Receiver},
            site::{Site, SiteOptions},
        },
    },
    clock::{Clock, Ids, SystemClock},
};
use generated::{Generated, Shape};
use http::Method;
use poison::{GIVEN_UP, PoisonSite};
use serde_json::{Value, json};
use tokio::process::Command;

const KILLS: usize = 20;
const KILLS_OF_A_CRAWL: usize = 10;
const KILLS_WHILE_DELIVERING: usize = 4;

/// A server that is killed and started again on the same data.
struct Victim<'a> {
    directory: &'a Path,
    variables: Vec<(&'static str, String)>,
    key: String,
    child: Child,
}

impl<'a> Victim<'a> {
    async fn start(directory: &'a Path, receiver: &Receiver) -> Victim<'a> {
        let variables = vec![
            ("DATASONAR_WEBHOOK_CA_FILE", receiver.ca_file().display().to_string()),
            // Fewer pages in flight: more instants at which some tasks are finished and others are not.
            ("DATASONAR_FETCH_CONCURRENCY", "32".to_owned()),
            ("DATASONAR_WEBHOOK_RETRY_SCHEDULE", "500ms,1s,2s,4s,8s,16s".to_owned()),
        ];
        let child = start(directory, &variables).await;
        let key = child.keys.clone().unwrap().0;
        Victim { directory, variables, key, child }
    }

    fn api(&self) -> Api {
        Api::new(Server { server: self.child.url(), api_key: self.key.clone() }).unwrap()
    }

    async fn kill_and_restart(&mut self) {
        self.child.kill().await.unwrap();
        self.child = start(self.directory, &self.variables).await;
    }

    /// Starts the next under a name of its own, which sites see.
    async fn kill_and_restart_as(&mut self, agent: &str) {
        self.variables.retain(|(name, _)| *name != "DATASONAR_FETCH_USER_AGENT");
        self.variables.push(("DATASONAR_FETCH_USER_AGENT", agent.to_owned()));
        self.kill_and_restart().await;
    }

    /// Stops it. The auditor finds nothing wrong with what it leaves behind.
    async fn end(mut self) {
        self.child.stop().await.unwrap();
        let mut audit = Command::new(env!("CARGO_BIN_EXE_datasonar"));
        audit.args(["admin", "check", "--deep", "--data-dir"]).arg(self.directory.join("data"));
        let audited = audit.output().await.unwrap();
        assert!(audited.status.success(), "{}", String::from_utf8_lossy(&audited.stdout));
    }
}

async fn start(directory: &Path, variables: &[(&'static str, String)]) -> Child {
    let program = Path::new(env!("CARGO_BIN_EXE_datasonar"));
    Child::start_program(program, &directory.join("data"), variables).await.unwrap()
}

async fn submit(api: &Api, urls: &[String], receiver: &Receiver) -> String {
    let request = json!({"urls": urls, "format": "text", "webhook_url": receiver.url()});
    let queued = api.json(Method::POST, "/v1/scrape/batch/async", Some(&request)).await.unwrap();
    queued["job_id"].as_str().unwrap().to_owned()
}

fn done(job: &Value) -> u64 {
    job["progress"]["succeeded"].as_u64().unwrap() + job["progress"]["failed"].as_u64().unwrap()
}

fn check_body(received: &Received, job: &str, urls: &[String], site: &Site) {
    let body = BufReader::new(File::open(received.body()).unwrap());
    let counted = verify_body(body, job, urls, |index| site.expect(index)).unwrap();
    assert_eq!(counted.outcomes.values().sum::<u64>(), urls.len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_twenty_times_a_batch_still_makes_one_callback() {
    let directory = tempfile::tempdir().unwrap();
    let site =
        Site::start(SiteOptions { urls: 20_000, trouble: false, all_sizes: false, pace: Duration::from_millis(20) })
            .await
            .unwrap();
    let urls: Vec<String> = site.urls().collect();
    // The first two attempts fail, so that kills fall between attempts, too.
    let receiver = Receiver::start(directory.path(), |n| Answer::Status(if n < 2 { 500 } else { 200 })).await.unwrap();
    let mut victim = Victim::start(directory.path(), &receiver).await;
    let job = submit(&victim.api(), &urls, &receiver).await;

    let ids = Ids::random(Arc::new(SystemClock));
    let mut seen = 0;
    // What was finished, and how often it had been fetched by then.
    let mut finished: Vec<u32> = Vec::new();
    for kill in 0..KILLS {
        // At a random instant, but while the batch is running: twenty times that leave time for the next.
        let target = seen + (ids.fraction() * (urls.len() / KILLS) as f64) as u64;
        while done(&victim.api().job(&job).await.unwrap()) < target {}
        victim.kill_and_restart().await;
        let found = victim.api().job(&job).await.unwrap();
        println!("kill {kill}: {} of {} pages, {}", done(&found), urls.len(), found["status"]);
        assert!(done(&found) >= seen, "a finished page was lost: {} < {seen}", done(&found));
        assert_eq!(found["status"], "started", "the batch is over before the last kill");
        seen = done(&found);
        let mut lines = 0;
        let count = |bytes: &[u8]| {
            lines += bytes.iter().filter(|byte| **byte == b'\n').count();
            Ok(())
        };
        victim.api().results(&job, count).await.unwrap();
        for index in finished.len()..lines {
            finished.push(site.hits(index));
        }
    }
    victim.api().wait(&job, async |_| {}).await.unwrap();
    for (index, hits) in finished.iter().enumerate() {
        assert_eq!(site.hits(index), *hits, "page {index} was fetched again after it was finished");
    }

    let mut attempts = Vec::new();
    let delivered = async {
        loop {
            let job = victim.api().job(&job).await.unwrap();
            if job["delivery"]["status"] == "delivered" {
                return job["delivery"]["id"].as_str().unwrap().to_owned();
            }
            let Some(attempt) = receiver.next_now().await else { continue };
            attempts.push(attempt);
            if attempts.len() <= KILLS_WHILE_DELIVERING {
                // Between the answer and its record, or near it.
                victim.kill_and_restart().await;
            }
        }
    };
    let delivery = tokio::time::timeout(Duration::from_secs(120), delivered).await.unwrap();
    let replay = format!("/v1/deliveries/{delivery}/replay");
    victim.api().json(Method::POST, &replay, None).await.unwrap();
    attempts.push(receiver.next().await.unwrap());
    while let Some(more) = receiver.next_now().await {
        attempts.push(more);
    }
    let secrets = victim.api().json(Method::GET, "/v1/webhooks/secrets", None).await.unwrap();
    let secret = secrets["data"][0]["secret"].as_str().unwrap();
    // The one that was taken and the replay; two that were refused, unless they were broken off; one more for each kill.
    assert!((2..=4 + KILLS_WHILE_DELIVERING).contains(&attempts.len()), "{} attempts", attempts.len());
    for attempt in &attempts {
        attempt.verify(secret).unwrap();
        assert_eq!(attempt.header("webhook-id"), delivery);
        assert_eq!(attempt.sha256, attempts[0].sha256, "the bytes of an attempt differ");
    }
    check_body(&attempts[0], &job, &urls, &site);
    let all = victim.api().json(Method::GET, "/v1/deliveries", None).await.unwrap();
    assert_eq!(all["data"].as_array().unwrap().len(), 1, "there is one delivery");
    victim.end().await;
}

/// `CRAWLED_PAGES` sets how large the site is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_ten_times_a_crawl_fetches_what_it_should() {
    let directory = tempfile::tempdir().unwrap();
    let pages = std::env::var("CRAWLED_PAGES").map_or(4_000, |pages| pages.parse().unwrap());
    let shape = Shape::mixed(pages);
    let site = Generated::start(shape).await;
    let expected: BTreeSet<usize> = shape.reachable(true, true, None).into_keys().collect();
    let receiver = Receiver::start(directory.path(), |_| Answer::Status(200)).await.unwrap();
    let mut victim = Victim::start(directory.path(), &receiver).await;
    let request = json!({"url": site.url(), "max_pages": 1_000_000, "format": "text", "webhook_url": receiver.url()});
    let queued = victim.api().json(Method::POST, "/v1/crawl", Some(&request)).await.unwrap();
    let job = queued["job_id"].as_str().unwrap().to_owned();

    let ids = Ids::random(Arc::new(SystemClock));
    let mut seen = 0;
    for kill in 0..KILLS_OF_A_CRAWL {
        let target = seen + (ids.fraction() * (expected.len() / KILLS_OF_A_CRAWL) as f64) as u64;
        while done(&victim.api().job(&job).await.unwrap()) < target {}
        victim.kill_and_restart().await;
        let found = victim.api().job(&job).await.unwrap();
        println!("kill {kill}: {} of {} pages, {}", done(&found), expected.len(), found["status"]);
        assert!(done(&found) >= seen, "a finished page was lost: {} < {seen}", done(&found));
        assert!(found["completed_at"].is_null(), "the crawl is over before the last kill");
        seen = done(&found);
    }
    let ended = victim.api().wait(&job, async |_| {}).await.unwrap();
    assert_eq!((&ended["status"], &ended["progress"]["total"]), (&json!("completed"), &json!(expected.len())));
    let received = tokio::time::timeout(Duration::from_secs(60), receiver.next()).await.unwrap().unwrap();
    let body: Value = serde_json::from_reader(BufReader::new(File::open(received.body()).unwrap())).unwrap();
    let results = body["result"]["results"].as_array().unwrap();
    let page = |result: &Value| site.page_of(result["url"].as_str().unwrap()).unwrap();
    let fetched: BTreeSet<usize> = results.iter().map(page).collect();
    assert_eq!(results.len(), fetched.len(), "a page has two results");
    assert_eq!(fetched, expected);
    for page in 0..shape.pages {
        let most = if expected.contains(&page) { 1 + KILLS_OF_A_CRAWL as u32 } else { 0 };
        assert!(site.hits(page) <= most, "page {page} was fetched {} times", site.hits(page));
    }
    victim.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_twenty_scheduled_crawls_run_each_calls_back_once() {
    const SITES: usize = 20;
    const KILLS: u64 = 4;
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(directory.path(), |_| Answer::Status(200)).await.unwrap();
    let mut victim = Victim::start(directory.path(), &receiver).await;
    let shape = Shape::mixed(400);
    let expected: BTreeSet<usize> = shape.reachable(true, true, None).into_keys().collect();
    // All in the same second, soon, and not again within the year.
    let time = (SystemClock.now() + Duration::from_secs(5)).to_zoned(jiff::tz::TimeZone::UTC);
    let cron = time.strftime("%-S %-M %-H %-d %-m *").to_string();
    let (mut sites, mut schedules) = (Vec::new(), Vec::new());
    for number in 0..SITES {
        let site = Generated::start(shape).await;
        let job = json!({"kind": "crawl", "url": site.url(), "format": "text", "webhook_url": receiver.url()});
        let schedule = json!({"name": format!("competitor {number}"), "cron": cron, "job": job});
        let created = victim.api().json(Method::POST, "/v1/schedules", Some(&schedule)).await.unwrap();
        schedules.push(created["id"].as_str().unwrap().to_owned());
        sites.push(site);
    }
    let all = SITES as u64 * expected.len() as u64;
    let ids = Ids::random(Arc::new(SystemClock));
    for kill in 0..KILLS {
        // The first while the jobs are made, the others while they run.
        let target = all * kill / KILLS + (ids.fraction() * (all * kill.min(1) / KILLS / 2) as f64) as u64;
        loop {
            let jobs = victim.api().json(Method::GET, "/v1/jobs?limit=200", None).await.unwrap();
            let jobs = jobs["data"].as_array().unwrap();
            if !jobs.is_empty() && jobs.iter().map(done).sum::<u64>() >= target {
                println!("kill {kill}: {} jobs, {} of {all} pages", jobs.len(), jobs.iter().map(done).sum::<u64>());
                break;
            }
        }
        victim.kill_and_restart().await;
    }
    let mut seen = BTreeSet::new();
    for _ in 0..SITES {
        let received = tokio::time::timeout(Duration::from_secs(120), receiver.next()).await.unwrap().unwrap();
        let body: Value = serde_json::from_reader(BufReader::new(File::open(received.body()).unwrap())).unwrap();
        let results = body["result"]["results"].as_array().unwrap();
        let port = url::Url::parse(results[0]["url"].as_str().unwrap()).unwrap().port();
        let site = sites.iter().find(|site| Some(site.port) == port).unwrap();
        let page = |result: &Value| site.page_of(result["url"].as_str().unwrap()).unwrap();
        assert_eq!(results.len(), expected.len());
        assert_eq!(results.iter().map(page).collect::<BTreeSet<_>>(), expected);
        let job = received.header("x-datasonar-job-id").to_owned();
        assert!(seen.insert((site.port, job)), "a crawl called back twice");
    }
    let ports: BTreeSet<u16> = seen.iter().map(|(port, _)| *port).collect();
    assert_eq!(ports.len(), SITES, "a site was crawled twice");
    let jobs = victim.api().json(Method::GET, "/v1/jobs?limit=200", None).await.unwrap();
    assert_eq!(jobs["data"].as_array().unwrap().len(), SITES);
    for schedule in schedules {
        let path = format!("/v1/schedules/{schedule}/runs");
        let runs = victim.api().json(Method::GET, &path, None).await.unwrap();
        let [run] = &runs["data"].as_array().unwrap()[..] else { panic!("{runs}") };
        assert_eq!(run["outcome"], "started");
        assert!(seen.iter().any(|(_, job)| run["job_id"] == **job));
    }
    victim.end().await;
}

/// Kills the server as often as it asks for poison, until a job is delivered. Tells how often that was, and what was delivered.
async fn killed_by(site: &mut PoisonSite, victim: &mut Victim<'_>, receiver: &Receiver, job: &str) -> (usize, Value) {
    let mut deaths = 0;
    let ended = async {
        loop {
            tokio::select! {
                agent = site.next() => {
                    if victim.variables.iter().any(|(_, value)| *value == agent) {
                        deaths += 1;
                        victim.kill_and_restart_as(&format!("worker-{job}-{deaths}")).await;
                    }
                }
                received = receiver.next() => return received.unwrap(),
            }
        }
    };
    let received = tokio::time::timeout(Duration::from_secs(120), ended).await.expect("the job ends");
    assert_eq!(received.header("x-datasonar-job-id"), job);
    // Killed before that is recorded, it would be sent again.
    while victim.api().job(job).await.unwrap()["delivery"]["status"] != "delivered" {}
    (deaths, serde_json::from_reader(BufReader::new(File::open(received.body()).unwrap())).unwrap())
}

fn check_given_up(results: &[Value]) {
    for result in results {
        let url = result["url"].as_str().unwrap();
        if url.contains("poison") {
            assert_eq!((&result["error"]["code"], &result["error"]["message"]), (&json!("internal"), &json!(GIVEN_UP)));
        } else {
            assert_eq!(result["status"], "success", "{result}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_ends_its_worker_is_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let mut site = PoisonSite::start().await;
    let receiver = Receiver::start(directory.path(), |_| Answer::Status(200)).await.unwrap();
    let mut victim = Victim::start(directory.path(), &receiver).await;
    victim.kill_and_restart_as("worker").await;
    let path = |page| if page == 37 { "/poison".to_owned() } else { format!("/page/{page}") };
    let urls: Vec<String> = (0..100).map(|page| site.url(&path(page))).collect();
    let job = submit(&victim.api(), &urls, &receiver).await;
    let (deaths, body) = killed_by(&mut site, &mut victim, &receiver, &job).await;
    println!("a batch: {deaths} deaths");
    assert!((2..=4).contains(&deaths), "{deaths} deaths");
    let results = body["result"]["results"].as_array().unwrap();
    assert_eq!(results.iter().map(|result| result["url"].as_str().unwrap()).collect::<Vec<_>>(), urls);
    check_given_up(results);
    let found = victim.api().job(&job).await.unwrap();
    assert_eq!((&found["status"], &found["progress"]["failed"]), (&json!("completed"), &json!(1)), "{found}");
    for page in 0..36 {
        // Twice before it was isolated, once alone.
        assert!(site.hits(&path(page)) <= 3, "page {page} was fetched {} times", site.hits(&path(page)));
    }

    let single = json!({"url": site.url("/single/poison"), "format": "text", "webhook_url": receiver.url()});
    let queued = victim.api().json(Method::POST, "/v1/scrape/async", Some(&single)).await.unwrap();
    let job = queued["job_id"].as_str().unwrap().to_owned();
    let (deaths, body) = killed_by(&mut site, &mut victim, &receiver, &job).await;
    println!("a scrape: {deaths} deaths");
    assert!((2..=4).contains(&deaths), "{deaths} deaths");
    check_given_up(std::slice::from_ref(&body["result"]));
    assert_eq!(victim.api().job(&job).await.unwrap()["error"]["message"], GIVEN_UP);

    let crawl = json!({"url": site.url("/start"), "format": "text", "webhook_url": receiver.url()});
    let queued = victim.api().json(Method::POST, "/v1/crawl", Some(&crawl)).await.unwrap();
    let job = queued["job_id"].as_str().unwrap().to_owned();
    let (deaths, body) = killed_by(&mut site, &mut victim, &receiver, &job).await;
    println!("a crawl: {deaths} deaths");
    assert!((2..=4).contains(&deaths), "{deaths} deaths");
    let results = body["result"]["results"].as_array().unwrap();
    assert_eq!(results.len(), 14, "{body}");
    check_given_up(results);
    assert!(receiver.next_now().await.is_none(), "a job called back twice");
    victim.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_to_stop_it_drains_in_time_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let site = Site::start(SiteOptions { urls: 3_000, all_sizes: false, ..SiteOptions::default() }).await.unwrap();
    let urls: Vec<String> = site.urls().collect();
    let receiver = Receiver::start(directory.path(), |_| Answer::Status(200)).await.unwrap();
    let mut victim = Victim::start(directory.path(), &receiver).await;
    let job = submit(&victim.api(), &urls, &receiver).await;
    loop {
        let found = victim.api().job(&job).await.unwrap();
        if done(&found) >= 500 {
            break;
        }
    }
    let took = victim.child.stop().await.unwrap();
    assert!(took < datasonar::serve::STOP_WITHIN, "{took:?}");
    victim.child = start(directory.path(), &victim.variables).await;
    victim.api().wait(&job, async |_| {}).await.unwrap();
    let received = tokio::time::timeout(Duration::from_secs(60), receiver.next()).await.unwrap().unwrap();
    check_body(&received, &job, &urls, &site);
    victim.end().await;
}
