//! A server after a busy day: jobs of all kinds around the clock, endpoints that work, fail and hang, pages with hostile titles and URLs without end.

use std::time::Duration;

use axum::{Router, response::Html, routing::get};
use datasonar::{
    cli::demo::site::Site,
    clock::{Clock, ManualClock, SystemClock},
};
use datasonar_store::MemberRole;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::MissedTickBehavior};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    endpoint::Endpoints,
    server::{Server, Setup, Silence, troubled_site, until},
};

/// How long the day has been.
const HOURS: i64 = 25;

/// The server and all that it talks to.
pub(crate) struct Busy {
    server: Server,
    endpoints: Endpoints,
    site: Site,
    hostile: String,
    silence: Silence,
    clock: ManualClock,
    /// Jobs worth looking at, by name.
    jobs: Vec<(&'static str, String)>,
    _going: [AbortOnDropHandle<()>; 2],
    _directory: tempfile::TempDir,
}

/// Pages that would break out of the dashboard if they could.
async fn hostile() -> (String, AbortOnDropHandle<()>) {
    const TITLE: &str =
        "</title></pre></main><script>throw new Error('hostile')</script><style>*{display:none}</style>";
    let page = |title: String| {
        let title = title.replace('<', "&lt;");
        let text = format!(
            "<p>{}</p>",
            "A sentence that is about what this page is about, and goes on for a while. ".repeat(12)
        );
        Html(format!(
            "<!doctype html><html lang=en><title>{title}</title><main><h1>{title}</h1>{text}<p>{}</p>\
            <p><a href='javascript:alert(1)'>a link</a> \u{202e}right to left\u{202c} 日本語のとても長いタイトル</p></main>",
            "Unbreakable".repeat(60)
        ))
    };
    let router = Router::new().fallback(get(async move || page(TITLE.to_owned() + &"Long title ".repeat(40))));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, AbortOnDropHandle::new(serving))
}

/// A clock that goes on by itself, besides what it is advanced by.
fn going(clock: &ManualClock) -> AbortOnDropHandle<()> {
    const STEP: Duration = Duration::from_millis(20);
    let clock = clock.clone();
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut ticks = tokio::time::interval(STEP);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        loop {
            ticks.tick().await;
            clock.advance(SignedDuration::try_from(STEP).unwrap());
        }
    }))
}

impl Busy {
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let endpoints = Endpoints::start(directory.path()).await;
        let clock = ManualClock::new(SystemClock.now() - SignedDuration::from_hours(HOURS));
        let setup = Setup::new()
            .clock(&clock)
            .flag("webhook_ca_file", &endpoints.ca_file.to_string_lossy())
            .flag("webhook_timeout", "500ms");
        let server = setup.start().await;
        let (hostile, serving) = hostile().await;
        let going = [going(&clock), serving];
        let site = troubled_site(400).await;
        let (jobs, silence) = (Vec::new(), Silence::new());
        let mut busy =
            Self { server, endpoints, site, hostile, silence, clock, jobs, _going: going, _directory: directory };
        busy.schedules().await;
        for hour in 0..HOURS {
            busy.hour(hour).await;
        }
        busy.last_hour().await;
        busy
    }

    /// An hour of the day: more at noon than at night.
    async fn hour(&self, hour: i64) {
        let busy = usize::try_from(12 - (hour - 12).abs()).unwrap_or(0);
        let urls: Vec<String> = self.site.urls().skip(hour.unsigned_abs() as usize * 7).take(5 + busy * 6).collect();
        let batch = json!({"urls": urls, "webhook_url": self.endpoints.url("works/orders")});
        let mut jobs = vec![self.server.queue("/v1/scrape/batch/async", &batch).await];
        for (index, url) in urls.iter().take(1 + busy / 3).enumerate() {
            let endpoint = match index % 4 {
                0 => "works/prices",
                1 => {
                    "broken/a/rather/long/path/that/goes/on?tenant=0f8fad5b-d9cb-469f-a165-70867728950e&callback=https%3A%2F%2Fexample.com%2F"
                }
                2 => "hangs/for-ever",
                _ => "gone/since-yesterday",
            };
            let scrape = json!({"url": url, "webhook_url": self.endpoints.url(endpoint)});
            jobs.push(self.server.queue("/v1/scrape/async", &scrape).await);
        }
        for job in &jobs {
            self.server.ended(job).await;
        }
        // What is due in this hour is attempted in it.
        for _ in 0..6 {
            self.clock.advance(SignedDuration::from_mins(10));
            self.attempted().await;
        }
    }

    /// Waits until nothing is due any more, nor under way.
    async fn attempted(&self) {
        until("all attempts that are due", async || {
            let list = self.server.get("/v1/deliveries?limit=200").await.is(200);
            let now = self.clock.now();
            let is_due = |delivery: &Value| {
                delivery["next_attempt_at"].as_str().is_some_and(|at| at.parse::<Timestamp>().unwrap() <= now)
            };
            (!list["data"].as_array().unwrap().iter().any(is_due)).then_some(())
        })
        .await;
    }

    async fn schedules(&self) {
        let url = self.site.quick_url();
        for (name, cron, zone) in [
            ("Prices, every hour", "0 * * * *", "UTC"),
            (
                "Competitor, every night at half past two and a name that is longer than any column wants to be",
                "30 2 * * *",
                "Europe/Berlin",
            ),
            ("<b>Weekly</b>", "0 6 * * 1", "America/New_York"),
        ] {
            let job = json!({"kind": "scrape", "url": url, "webhook_url": self.endpoints.url("works/schedule")});
            let schedule =
                json!({"name": name, "cron": cron, "timezone": zone, "job": job, "paused": name.starts_with('<')});
            self.server.post("/v1/schedules", &schedule).await.is(201);
        }
    }

    /// What has happened just now.
    async fn last_hour(&mut self) {
        let long = format!("{}/{}?{}", self.hostile, "a-segment/".repeat(30), "parameter=value&".repeat(30));
        let hostile =
            [self.hostile.clone(), long, "https://does-not-exist.invalid/".to_owned(), "no URL at all".to_owned()];
        let batch = json!({"urls": hostile, "format": ["markdown", "html", "links"], "include_selectors": ["main"], "timeout": 10,
            "webhook_url": self.endpoints.url("broken/inbox")});
        let mut of = async |name, path, body: Value| {
            let job = self.server.queue(path, &body).await;
            self.server.ended(&job).await;
            self.jobs.push((name, job));
        };
        of("job_hostile", "/v1/scrape/batch/async", batch).await;
        of("job_crawl", "/v1/crawl", json!({"url": self.hostile, "max_pages": 20, "exclude_paths": ["^/private/"]}))
            .await;
        of("job_failed", "/v1/scrape/async", json!({"url": "https://does-not-exist.invalid/"})).await;
        self.server.post("/v1/webhooks/test", &json!({"webhook_url": self.endpoints.url("works/test")})).await.is(200);
        // One that is under way for as long as anybody looks.
        let slow: Vec<String> = (0..40).map(|index| format!("{}{index}", self.silence.url())).collect();
        let urls: Vec<String> = self.site.urls().take(60).chain(slow).collect();
        let job = self.server.queue("/v1/scrape/batch/async", &json!({"urls": urls, "timeout": 300})).await;
        self.jobs.push(("job_running", job));
    }

    /// What the script is told.
    pub(crate) async fn given(&self, password: &str) -> Value {
        let app = &self.server.running.app;
        let account = app.store.account(None).await.unwrap().id;
        let link = async |email: &str, role| {
            app.people.invite(account, Some(email), role).await.unwrap().link(&self.server.url)
        };
        let mut pages = serde_json::Map::new();
        for (name, job) in &self.jobs {
            pages.insert((*name).to_owned(), json!(format!("/production/jobs/{job}")));
        }
        let hanging = self.server.get("/v1/deliveries?status=failed&limit=5").await.is(200);
        for delivery in hanging["data"].as_array().unwrap() {
            let id = delivery["id"].as_str().unwrap();
            pages.insert(format!("delivery_{}", &id[30..]), json!(format!("/production/deliveries/{id}")));
        }
        json!({
            "server": self.server.url,
            "password": password,
            "link": link("ada@example.com", MemberRole::Owner).await,
            "invitation": link("grace@example.com", MemberRole::Member).await,
            "pages": pages,
        })
    }
}
