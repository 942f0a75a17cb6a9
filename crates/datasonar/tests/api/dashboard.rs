//! The dashboard as a browser without scripts sees it: signing in, every page, every form, and what must not be reached.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use bytes::Bytes;
use datasonar_net::{AddressPolicy, BodySource, Client, ClientOptions};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::server::{Reply, Server, Setup, clock, site, until};

pub(super) const PASSWORD: &str = "correct horse battery";

/// A browser: it keeps one cookie, and follows no redirect by itself.
pub(super) struct Browser {
    base: String,
    client: Client,
    session: Option<String>,
}

/// What a browser is shown.
pub(super) struct Shown {
    pub(super) status: StatusCode,
    headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Shown {
    pub(super) fn html(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(super) fn cookies(&self) -> String {
        self.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>().join("\n")
    }

    pub(super) fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.html());
        self
    }
}

impl Browser {
    pub(super) fn new(server: &Server) -> Self {
        let client = Client::new(ClientOptions::new(AddressPolicy::unrestricted())).unwrap();
        Self { base: server.url.clone(), client, session: None }
    }

    /// One that has followed the first start's link.
    pub(super) async fn signed_in(server: &Server) -> Self {
        let link = server.running.first_keys.clone().unwrap().sign_in_link;
        Self::through(server, &link, "ada@example.com").await
    }

    /// One that has followed a link.
    pub(super) async fn through(server: &Server, link: &str, email: &str) -> Self {
        let mut browser = Self::new(server);
        let path = &link[link.find("/sign-in/link/").unwrap()..];
        assert!(browser.get(path).await.is(200).html().contains("Welcome"));
        let fields = form(&[("email", email), ("password", PASSWORD)]);
        let shown = browser.send(Method::POST, path, &[], Some(fields)).await;
        browser.take_session(&shown.is(303));
        browser
    }

    /// The cookie that it has.
    pub(super) fn cookie(&self) -> &str {
        self.session.as_deref().unwrap()
    }

    fn take_session(&mut self, shown: &Shown) {
        let cookies = shown.cookies();
        let cookie = cookies.lines().find(|line| line.starts_with("datasonar_session=")).unwrap();
        assert!(
            cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax") && cookie.contains("Path=/"),
            "{cookie}"
        );
        self.session = Some(cookie.split(';').next().unwrap().to_owned());
    }

    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
        body: Option<Vec<u8>>,
    ) -> Shown {
        let mut all = HeaderMap::new();
        if let Some(session) = &self.session {
            all.insert("cookie", session.parse().unwrap());
        }
        if body.is_some() {
            all.insert("content-type", HeaderValue::from_static("application/x-www-form-urlencoded"));
        }
        for (name, value) in headers {
            all.insert(HeaderName::from_static(name), value.parse().unwrap());
        }
        let url = format!("{}{path}", self.base).parse().unwrap();
        let response = self.client.send(method, url, all, body.map(BodySource::bytes)).await.unwrap();
        let (head, body) = response.into_parts();
        let body = tokio::time::timeout(Duration::from_secs(60), body.collect()).await.unwrap().unwrap().to_bytes();
        Shown { status: head.status, headers: head.headers, body }
    }

    pub(super) async fn get(&self, path: &str) -> Shown {
        self.send(Method::GET, path, &[], None).await
    }

    /// The token of this session's forms, as any page has it.
    pub(super) async fn csrf(&self) -> String {
        let html = self.get("/production").await.is(200).html();
        html.split_once(r#"name="csrf" value=""#).unwrap().1.split_once('"').unwrap().0.to_owned()
    }

    /// Sends a form of a page.
    pub(super) async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Shown {
        let csrf = self.csrf().await;
        let fields: Vec<_> = [("csrf", &*csrf)].into_iter().chain(fields.iter().copied()).collect();
        self.send(Method::POST, path, &[], Some(form(&fields))).await
    }

    /// Sends a form with a file.
    pub(super) async fn upload(&self, path: &str, fields: &[(&str, &str)], file: Option<&str>) -> Shown {
        let csrf = self.csrf().await;
        let mut body = String::new();
        for (name, value) in [("csrf", &*csrf)].into_iter().chain(fields.iter().copied()) {
            body += &format!("--cut\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        }
        if let Some(file) = file {
            let head =
                "content-disposition: form-data; name=\"file\"; filename=\"urls.txt\"\r\ncontent-type: text/plain";
            body += &format!("--cut\r\n{head}\r\n\r\n{file}\r\n");
        }
        body += "--cut--\r\n";
        let headers = [("content-type", "multipart/form-data; boundary=cut")];
        self.send(Method::POST, path, &headers, Some(body.into_bytes())).await
    }
}

pub(super) fn form(fields: &[(&str, &str)]) -> Vec<u8> {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish().into_bytes()
}

/// Every route of the dashboard, as its sources name them, with the methods it takes.
fn routes() -> BTreeSet<(String, bool)> {
    fn read(directory: &Path, found: &mut BTreeSet<(String, bool)>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read(&path, found);
                continue;
            }
            let text: String = fs::read_to_string(&path).unwrap().split_whitespace().collect();
            // A route that is put together otherwise would escape.
            let (all, named) = (text.matches(".route(").count(), text.matches(".route(\"").count());
            let (nested, is_root) = (text.matches(".nest(").count(), path.ends_with("dashboard/mod.rs"));
            assert_eq!((all - named, nested), if is_root { (1, 1) } else { (0, 0) }, "{}", path.display());
            for route in text.split(".route(\"").skip(1) {
                let (path, rest) = route.split_once('"').unwrap();
                let methods = rest.split(".route(").next().unwrap();
                for (name, is_get) in [("get(", true), ("post(", false)] {
                    if methods.contains(name) {
                        found.insert((path.to_owned(), is_get));
                    }
                }
                let others = ["any(", "on(", "put(", "patch(", "delete(", "head(", "_service("];
                let known = methods.split([',', ')', '(', '.']).any(|word| matches!(word, "get" | "post"));
                let other = others.iter().find(|other| methods.starts_with(&format!(",{other}")));
                assert!(known && other.is_none(), "{path} takes methods that are not known here: {methods}");
            }
        }
    }
    let mut found = BTreeSet::new();
    read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src/dashboard")), &mut found);
    assert!(found.len() > 35, "{found:?}");
    found
}

/// Those that belong to an environment.
pub(super) fn environment_routes() -> impl Iterator<Item = (String, bool)> {
    let outside = ["/sign-in", "/sign-out", "/theme", "/assets", "/docs", "/{environment}/"];
    routes().into_iter().filter(move |(path, _)| path != "/" && !outside.iter().any(|prefix| path.starts_with(prefix)))
}

#[tokio::test]
async fn one_signs_in_and_out() {
    let clock = clock();
    let server = Setup::new().clock(&clock).start().await;
    let mut browser = Browser::signed_in(&server).await;
    let overview = browser.get("/production").await.is(200);
    assert!(overview.html().contains("ada@example.com"));
    let policy = overview.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    for (name, value) in
        [("x-content-type-options", "nosniff"), ("cache-control", "no-store"), ("x-frame-options", "DENY")]
    {
        assert_eq!(overview.header(name), value);
    }
    assert_eq!(browser.get("/").await.is(303).header("location"), "/production");

    // What is not there is said within the dashboard to whoever is in it, and leads back.
    let nothing = browser.get("/sandbox/nowhere").await.is(404).html();
    assert!(nothing.contains("Nothing here") && nothing.contains("Sandbox: trials only"), "{nothing}");
    assert!(!Browser::new(&server).get("/sandbox/nowhere").await.is(404).html().contains("Sandbox"));
    let csrf = browser.csrf().await;
    let from = [("referer", &*format!("{}/production/settings/webhooks?language=go", server.url))];
    let fields = form(&[("csrf", &csrf), ("webhook_url", "http://a/")]);
    let wrong =
        browser.send(Method::POST, "/production/settings/webhooks/test", &from, Some(fields)).await.is(422).html();
    assert!(wrong.contains(r#"href="/production/settings/webhooks?language=go">Back"#), "{wrong}");

    browser.post("/sign-out", &[]).await.is(303);
    let asked = browser.get("/sandbox/jobs?status=failed").await.is(303);
    let door = asked.header("location");
    assert_eq!(door, "/sign-in?to=%2Fsandbox%2Fjobs%3Fstatus%3Dfailed");
    browser.session = None;
    assert!(browser.get(door).await.is(200).html().contains(r#"value="/sandbox/jobs?status=failed""#));
    let sign_in = async |browser: &Browser, password: &str, to: &str| {
        let fields = form(&[("email", "Ada@example.com"), ("password", password), ("to", to)]);
        browser.send(Method::POST, "/sign-in", &[], Some(fields)).await
    };
    let wrong = sign_in(&browser, "wrong", "/").await.is(422);
    assert!(wrong.html().contains("The e-mail address or the password is wrong.") && wrong.cookies().is_empty());
    for _ in 0..4 {
        sign_in(&browser, "wrong", "/").await.is(422);
    }
    let waits = sign_in(&browser, PASSWORD, "/").await.is(429);
    assert!(
        waits.header("retry-after").parse::<u64>().unwrap() > 0 && waits.html().contains("Too many failed attempts")
    );
    clock.advance(SignedDuration::from_mins(20));
    assert_eq!(sign_in(&browser, PASSWORD, "https://evil.example/").await.is(303).header("location"), "/");
    let back = sign_in(&browser, PASSWORD, "/sandbox/jobs?status=failed").await.is(303);
    assert_eq!(back.header("location"), "/sandbox/jobs?status=failed");
    browser.take_session(&back);
    browser.get("/sandbox/jobs").await.is(200);
    clock.advance(SignedDuration::from_hours(12));
    browser.get("/sandbox/jobs").await.is(303);
    server.finish().await;
}

#[tokio::test]
async fn nothing_is_shown_to_nobody_and_no_form_is_taken_from_elsewhere() {
    let server = Server::start().await;
    let browser = Browser::signed_in(&server).await;
    let stranger = Browser::new(&server);
    let id = "01a20bda-3f53-7e0a-aaf8-fac5e24c03e6";
    for (route, is_get) in environment_routes() {
        let path = format!("/production{}", route.replace("{id}", id).replace("{at}", "0.0"));
        if is_get {
            let shown = stranger.get(&path).await.is(303);
            assert!(shown.header("location").starts_with("/sign-in?to="), "{path}");
            continue;
        }
        // Without the token of the session, and with it from another site.
        let fields = form(&[("id", id), ("user", id), ("link", id), ("email", "eve@example.com"), ("role", "owner")]);
        let shown = stranger.send(Method::POST, &path, &[], Some(fields.clone())).await;
        assert!(matches!(shown.status.as_u16(), 303 | 403), "{path}: {}", shown.status);
        let shown = browser.send(Method::POST, &path, &[], Some(fields)).await;
        assert!(matches!(shown.status.as_u16(), 403 | 422), "{path}: {} {}", shown.status, shown.html());
        let csrf = browser.csrf().await;
        for elsewhere in [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")] {
            let shown = browser.send(Method::POST, &path, &[elsewhere], Some(form(&[("csrf", &csrf)]))).await;
            assert_eq!(shown.status, 403, "{path} {elsewhere:?}");
        }
    }
    assert_eq!(browser.send(Method::POST, "/sign-in", &[("origin", "null")], Some(Vec::new())).await.status, 403);
    server.finish().await;
}

#[tokio::test]
async fn the_other_environment_cannot_be_reached() {
    let (setup, receiver) = Setup::new().receiver(|_| Reply::Status(200)).await;
    let server = setup.start().await;
    let pages = site(1).await;
    let job = server
        .queue("/v1/scrape/async", &json!({"url": pages.urls().next().unwrap(), "webhook_url": receiver.url()}))
        .await;
    server.ended(&job).await;
    let delivery = server.delivery(&job, "delivered", 1).await["id"].as_str().unwrap().to_owned();
    let schedule =
        json!({"name": "never", "cron": "0 0 1 1 *", "job": {"kind": "scrape", "url": pages.urls().next().unwrap()}});
    let schedule = server.post("/v1/schedules", &schedule).await.is(201)["id"].as_str().unwrap().to_owned();
    let browser = Browser::signed_in(&server).await;
    let mut tried = 0;
    for (route, is_get) in environment_routes().filter(|(route, _)| route.contains("{id}")) {
        let id = match route.split('/').nth(1).unwrap() {
            "jobs" => &job,
            "schedules" => &schedule,
            _ => &delivery,
        };
        let path = route.replace("{id}", id).replace("{at}", "0.0");
        let (here, there) = (format!("/production{path}"), format!("/sandbox{path}"));
        let job_json = r#"{"kind": "scrape", "url": "https://example.com/"}"#;
        let fields = [("name", "n"), ("cron", "0 0 * * *"), ("job", job_json)];
        let seen = if is_get { browser.get(&there).await } else { browser.post(&there, &fields).await };
        assert_eq!(seen.status, 404, "{there}: {}", seen.html());
        if is_get {
            let own = browser.get(&here).await.status.as_u16();
            assert!(matches!(own, 200 | 404) && (own == 200 || path.contains("/frame/")), "{here}: {own}");
        }
        tried += 1;
    }
    assert!(tried > 12, "{tried}");
    let lists = ["/jobs", "/deliveries", "/schedules"].map(|list| format!("/sandbox{list}"));
    for list in &lists {
        let html = browser.get(list).await.is(200).html();
        assert!(![&job, &delivery, &schedule].iter().any(|id| html.contains(id.as_str())), "{list}");
    }
    // A production secret and key are not to be had by naming them from the sandbox.
    let secret = server.get("/v1/webhooks/secrets").await.is(200)["data"][0].clone();
    let html = browser
        .post("/sandbox/settings/webhooks/reveal", &[("id", secret["id"].as_str().unwrap())])
        .await
        .is(200)
        .html();
    assert!(!html.contains(secret["secret"].as_str().unwrap()));
    let keys = server.running.app.store.keys(server.running.app.store.account(None).await.unwrap().id).await.unwrap();
    let key = keys.iter().find(|key| key.scope.environment == datasonar_store::Environment::Production).unwrap();
    browser.post("/sandbox/settings/keys/revoke", &[("id", &key.id.to_string())]).await.is(404);
    server.get("/v1/me").await.is(200);
    server.finish().await;
}

#[tokio::test]
async fn jobs_are_made_watched_and_run_again() {
    let server = Server::start().await;
    let pages = site(60).await;
    let browser = Browser::signed_in(&server).await;
    for kind in ["scrape", "batch", "crawl"] {
        browser.get(&format!("/production/jobs/new?kind={kind}")).await.is(200);
    }
    let wrong = browser
        .upload("/production/jobs/new", &[("kind", "scrape"), ("url", "ftp://a/"), ("webhook_url", "")], None)
        .await;
    assert!(wrong.is(422).html().contains("is not a URL that can be fetched"));
    let fields = [("kind", "batch"), ("urls", ""), ("format", "html")];
    let list: String = pages.urls().map(|url| format!("  {url}\r\n\r\n")).collect();
    let curl = browser
        .upload("/production/jobs/new", &[("kind", "crawl"), ("url", "https://a.example/"), ("curl", "1")], None)
        .await;
    assert!(curl.is(200).html().contains("/v1/crawl"));
    let queued = browser.upload("/production/jobs/new", &fields, Some(&list)).await.is(303);
    let path = queued.header("location").to_owned();
    let id = path.rsplit('/').next().unwrap();
    assert!(queued.cookies().contains("notice=Queued"));
    let job = server.ended(id).await;
    assert_eq!(job["progress"], json!({"total": 60, "succeeded": 60, "failed": 0}));
    let live = browser.get(&format!("{path}/live")).await.is(200);
    assert!(live.header("content-type").starts_with("text/event-stream") && live.html().contains("event: end"));

    let html = browser.get(&path).await.is(200).html();
    assert!(html.contains("60 <small>of 60"));
    let more = html.split_once("?from=").unwrap().1.split_once('#').unwrap().0;
    browser.get(&format!("{path}?from={more}")).await.is(200);
    let lines = browser.get(&format!("{path}/results.jsonl")).await.is(200);
    assert!(lines.header("content-disposition").starts_with("attachment") && lines.html().lines().count() == 60);
    let whole: serde_json::Value =
        serde_json::from_slice(&browser.get(&format!("{path}/result.json")).await.is(200).body).unwrap();
    assert_eq!(whole["results"].as_array().unwrap().len(), 60);
    let frame = browser.get(&format!("{path}/frame/0.3")).await.is(200);
    let policy = frame.header("content-security-policy");
    assert!(
        policy.starts_with("sandbox; default-src 'none'") && frame.header("x-frame-options") == "SAMEORIGIN",
        "{policy}"
    );

    let again = browser.post(&format!("{path}/again"), &[]).await.is(303);
    let again = again.header("location").rsplit('/').next().unwrap().to_owned();
    assert_ne!(again, id);
    let ended = server.ended(&again).await;
    assert_eq!(ended["progress"], job["progress"]);
    let urls = async |id: &str| {
        let lines = browser.get(&format!("/production/jobs/{id}/results.jsonl")).await.html();
        let url = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["url"].clone();
        lines.lines().map(url).collect::<Vec<_>>()
    };
    assert_eq!(urls(id).await, urls(&again).await);
    let found = browser.get(&format!("/production/jobs?q={}", &id[..13])).await.is(200).html();
    assert!(found.contains(id));
    assert_eq!(browser.get(&format!("/production/jobs?q={id}")).await.is(303).header("location"), path);
    browser.post(&format!("{path}/cancel"), &[]).await.is(409);
    browser.get("/production").await.is(200);
    server.finish().await;
}

#[tokio::test]
async fn a_dead_letter_is_replayed_with_one_click() {
    let fails = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let broken = fails.clone();
    let answer = move |_| Reply::Status(if broken.load(std::sync::atomic::Ordering::SeqCst) { 503 } else { 200 });
    let (setup, receiver) = Setup::new().receiver(answer).await;
    let setup = setup.flag("webhook_retry_schedule", "10ms,20ms,30ms,40ms,1h,2h");
    let server = setup.start().await;
    let pages = site(3).await;
    let browser = Browser::signed_in(&server).await;
    let mut deliveries = Vec::new();
    for index in 0..3 {
        let job = json!({"url": pages.urls().nth(index).unwrap(), "webhook_url": receiver.url()});
        let job = server.queue("/v1/scrape/async", &job).await;
        deliveries.push(server.delivery(&job, "failed", 5).await["id"].as_str().unwrap().to_owned());
    }
    let overview = browser.get("/production").await.is(200).html();
    assert!(overview.contains("3 deliveries were given up"), "{overview}");
    let letters = browser.get("/production/dead-letters").await.is(200).html();
    assert!(letters.contains(&receiver.url()) && letters.contains("503"), "{letters}");
    let query = form(&[("url", &receiver.url()), ("cause", "503")]);
    let group = browser
        .get(&format!("/production/dead-letters/group?{}", String::from_utf8(query).unwrap()))
        .await
        .is(200)
        .html();
    assert!(deliveries.iter().all(|id| group.contains(id.as_str())));
    let found = browser.get("/production/deliveries?answer=503&status=failed").await.is(200).html();
    assert!(found.contains(&deliveries[0]));
    assert!(!browser.get("/production/deliveries?answer=504").await.is(200).html().contains(&deliveries[0]));

    fails.store(false, std::sync::atomic::Ordering::SeqCst);
    let path = format!("/production/deliveries/{}", deliveries[0]);
    let shown = browser.get(&path).await.is(200).html();
    assert!(shown.contains("answered 503") && shown.contains("webhook-signature"), "{shown}");
    browser.post(&format!("{path}/replay"), &[]).await.is(303);
    until("it to arrive", async || browser.get(&path).await.html().contains("6</span> answered 200").then_some(()))
        .await;
    let payload = browser.get(&format!("{path}/payload")).await.is(200);
    assert!(
        payload.header("content-disposition").starts_with("attachment") && payload.html().starts_with("{\"job_id\"")
    );

    let count = browser.get("/production/dead-letters/replay").await.is(200).html();
    assert!(count.contains("<strong>2</strong> deliveries will be sent again"), "{count}");
    browser.post("/production/dead-letters/replay", &[("url", &receiver.url())]).await.is(303);
    until("all to arrive", async || {
        let html = browser.get("/production/dead-letters").await.html();
        (html.contains("Nothing waits for you") && html.contains("2 of 2")).then_some(())
    })
    .await;
    server.finish().await;
}

#[tokio::test]
async fn schedules_are_made_changed_and_run() {
    let server = Server::start().await;
    let pages = site(1).await;
    let browser = Browser::signed_in(&server).await;
    browser.get("/production/schedules/new").await.is(200);
    // What would be is shown, and nothing made.
    let fields = [("name", "n"), ("cron", "15 4 * * 1"), ("preview", "1")];
    let would = browser.post("/production/schedules", &fields).await.is(200).html();
    assert!(would.contains("04:15") && would.matches("<li>").count() == 5, "{would}");
    assert!(browser.get("/production/schedules").await.is(200).html().contains("Nothing runs by itself yet"));
    let fields = [("kind", "crawl"), ("url", "https://a.example/"), ("max_pages", "7"), ("schedule", "1")];
    let of_a_job = browser.upload("/production/jobs/new", &fields, None).await.is(200).html();
    assert!(of_a_job.contains("Make the schedule") && of_a_job.contains("&#34;max_pages&#34;: 7"), "{of_a_job}");
    let job = json!({"kind": "scrape", "url": pages.urls().next().unwrap()}).to_string();
    let fields = |cron: &'static str| {
        let (name, zone) = (("name", "Nightly <b>"), ("timezone", "Europe/Berlin"));
        [name, ("cron", cron), zone, ("overlap", "queue")]
    };
    let with_job = |cron: &'static str| fields(cron).into_iter().chain([("job", &*job)]).collect::<Vec<_>>();
    let wrong = browser.post("/production/schedules", &with_job("never")).await.is(422).html();
    assert!(wrong.contains("cron: ") && wrong.contains("Nightly &#60;b&#62;"), "{wrong}");
    let made = browser.post("/production/schedules", &with_job("30 2 * * *")).await.is(303);
    let path = made.header("location").to_owned();
    let html = browser.get(&path).await.is(200).html();
    assert!(html.contains("02:30") && html.contains("Europe/Berlin") && !html.contains("Nightly <b>"), "{html}");
    browser.post(&path, &with_job("0 4 * * 1")).await.is(303);
    browser.post(&format!("{path}/pause"), &[("paused", "1")]).await.is(303);
    assert!(browser.get("/production/schedules").await.is(200).html().contains("paused"));
    browser.post(&format!("{path}/pause"), &[]).await.is(303);
    browser.post(&format!("{path}/run"), &[]).await.is(303);
    until("its job to end", async || browser.get(&path).await.html().contains("badge completed").then_some(())).await;
    browser.post(&format!("{path}/delete"), &[]).await.is(303);
    browser.get(&path).await.is(404);
    server.finish().await;
}

#[tokio::test]
async fn settings_rotate_secrets_make_keys_and_invite() {
    let server = Server::start().await;
    let browser = Browser::signed_in(&server).await;
    let secret = server.secret().await;
    let shown = browser.get("/production/settings/webhooks?language=go").await.is(200).html();
    assert!(!shown.contains(&secret) && shown.contains("VerifySignature"));
    let id = server.get("/v1/webhooks/secrets").await.is(200)["data"][0]["id"].as_str().unwrap().to_owned();
    assert!(
        browser.post("/production/settings/webhooks/reveal", &[("id", &id)]).await.is(200).html().contains(&secret)
    );
    browser.post("/production/settings/webhooks/rotate", &[]).await.is(303);
    let secrets = server.get("/v1/webhooks/secrets").await.is(200);
    assert_eq!(secrets["data"].as_array().unwrap().len(), 2);
    assert!(browser.get("/production/settings/webhooks").await.is(200).html().contains("badge expiring"));

    let made = browser.post("/sandbox/settings/keys", &[("name", "laptop")]).await.is(200).html();
    let key =
        made.split("osk_sandbox_").map(|rest| rest.chars().take_while(char::is_ascii_hexdigit).collect::<String>());
    let key = format!("osk_sandbox_{}", key.into_iter().find(|digits| digits.len() == 48).unwrap());
    let me = super::server::Call::new(Method::GET, "/v1/me");
    server.send(me.key(&key)).await.is(200);
    let listed = browser.get("/sandbox/settings/keys").await.is(200).html();
    assert!(listed.contains("laptop") && !listed.contains(&key));

    let made = browser
        .post("/production/settings/members", &[("email", "bob@example.com"), ("role", "member")])
        .await
        .is(200)
        .html();
    let token = made.split_once("/sign-in/link/").unwrap().1.split('<').next().unwrap();
    let mut bob = Browser::new(&server);
    let path = format!("/sign-in/link/{token}");
    let fields = form(&[("email", "bob@example.com"), ("password", "short")]);
    assert!(bob.send(Method::POST, &path, &[], Some(fields)).await.is(422).html().contains("at least"));
    let fields = form(&[("email", "bob@example.com"), ("password", "battery staple")]);
    let welcome = bob.send(Method::POST, &path, &[], Some(fields)).await.is(303);
    bob.take_session(&welcome);
    // A member sees everything and may not touch keys, secrets and members.
    bob.get("/production/settings/members").await.is(200);
    for path in ["settings/keys", "settings/keys/revoke", "settings/webhooks/rotate", "settings/members/withdraw"] {
        bob.post(&format!("/production/{path}"), &[("id", &id), ("link", &id)]).await.is(403);
    }
    for path in ["settings/members", "settings/members/role", "settings/members/remove"] {
        let fields = [("email", "eve@example.com"), ("role", "owner"), ("user", &*id)];
        bob.post(&format!("/production/{path}"), &fields).await.is(403);
    }
    let changed = [("old", "battery staple"), ("new", "another battery")];
    bob.post("/production/settings/profile", &changed).await.is(303);
    bob.post("/production/settings/profile", &changed).await.is(422);
    bob.get("/production/settings/usage").await.is(200);
    // Signed out everywhere, and here.
    let fields = form(&[("email", "bob@example.com"), ("password", "another battery")]);
    let mut elsewhere = Browser::new(&server);
    let welcome = elsewhere.send(Method::POST, "/sign-in", &[], Some(fields.clone())).await.is(303);
    elsewhere.take_session(&welcome);
    assert!(bob.get("/production/settings/profile").await.is(200).html().contains("another browser"));
    elsewhere.post("/production/settings/profile/sign-out-everywhere", &[]).await.is(303);
    bob.get("/production").await.is(303);
    elsewhere.get("/production").await.is(303);
    let welcome = bob.send(Method::POST, "/sign-in", &[], Some(fields)).await.is(303);
    bob.take_session(&welcome);
    let members = browser.get("/production/settings/members").await.is(200).html();
    let user = members.split("bob@example.com").nth(1).unwrap().split_once(r#"name="user" value=""#).unwrap().1;
    browser.post("/production/settings/members/remove", &[("user", &user[..36])]).await.is(303);
    bob.get("/production").await.is(303);
    server.finish().await;
}

#[tokio::test]
async fn the_api_reference_is_served_from_here_and_asks_nobody_else() {
    let server = Server::start().await;
    let browser = Browser::new(&server);
    let page = browser.get("/docs").await.is(200);
    assert!(!page.header("content-security-policy").contains("unsafe"));
    let html = page.html();
    assert_eq!(browser.get("/docs/").await.is(200).html(), html);
    assert!(!html.contains("<script") && !html.contains("src=\"http"), "it needs more than is allowed");
    // Everything that the document describes is there, and every link within the page leads somewhere.
    let document: Value = serde_json::from_str(&browser.get("/openapi.json").await.is(200).html()).unwrap();
    for path in document["paths"].as_object().unwrap().keys() {
        assert!(html.contains(&format!("<code>{path}</code>")), "{path} is missing");
    }
    for (at, _) in html.match_indices("href=\"#") {
        let id = html[at + 7..].split('"').next().unwrap();
        assert!(html.contains(&format!("id=\"{id}\"")), "#{id} leads nowhere");
    }
    server.finish().await;
}

#[tokio::test]
async fn a_scrape_is_told_by_its_url() {
    let server = Server::start().await;
    let pages = site(1).await;
    let url = pages.urls().next().unwrap();
    let job = server.queue("/v1/scrape/async", &json!({"url": url})).await;
    server.ended(&job).await;
    let browser = Browser::signed_in(&server).await;
    for path in ["/production/jobs".to_owned(), format!("/production/jobs/{job}")] {
        assert!(browser.get(&path).await.is(200).html().contains(&url), "{path}");
    }
    // One that is run again is told by it, too.
    let next = browser.post(&format!("/production/jobs/{job}/again"), &[]).await.is(303);
    let next = next.header("location").to_owned();
    assert!(!next.contains(&job));
    assert!(browser.get(&next).await.is(200).html().contains(&url), "{next}");
    server.ended(next.rsplit('/').next().unwrap()).await;
    server.finish().await;
}
