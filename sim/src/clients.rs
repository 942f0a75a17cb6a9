//! The clients: they submit, cancel, replay, rotate, schedule and try, each by the API and each as a careful client would:
//! what may be asked twice is asked until there is an answer.

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use datasonar_store::JobId;
use http::{Method, Request, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tower::ServiceExt;

use crate::{
    cluster::Cluster,
    dice::Dice,
    net::{INWARD, SiteKind},
    oracle::{Accepted, CrawlAsked, Property},
};

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it asks before something is wrong.
const TRIES: u32 = 400;

/// A client with its key.
#[derive(Clone)]
pub(crate) struct Client {
    cluster: Arc<Cluster>,
    key: Arc<str>,
}

/// A call of the API.
struct Call<'a> {
    method: Method,
    path: &'a str,
    body: Option<&'a Value>,
    idempotency: Option<&'a str>,
}

impl Client {
    pub(crate) fn new(cluster: Arc<Cluster>, key: &str) -> Self {
        Self { cluster, key: key.into() }
    }

    /// Asks once. `None` when there is no answer: what became of it is not known.
    async fn ask(&self, call: &Call<'_>) -> Option<(u16, Value)> {
        let (host, router) = self.cluster.anybody()?;
        let mut request = Request::builder().method(&call.method).uri(call.path);
        request = request.header(header::AUTHORIZATION, format!("Bearer {}", self.key));
        if let Some(key) = call.idempotency {
            request = request.header("Idempotency-Key", key);
        }
        let body =
            call.body.filter(|body| !body.is_null()).map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let request = request.body(body).expect("the call is well-formed");
        let answered = async {
            let response = router.oneshot(request).await.expect("a router answers");
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.ok()?.to_bytes();
            Some((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
        };
        let answer = tokio::time::timeout(PATIENCE, host.dead.run_until_cancelled(answered)).await;
        let answer = answer.ok().flatten().flatten();
        let shown = answer.as_ref().map(|(status, body)| format!("{status} {body}"));
        let shown = shown.as_deref().unwrap_or("no answer");
        let asked = call.body.map_or_else(String::new, Value::to_string);
        self.cluster
            .world
            .note("client", format_args!("{} {} {asked} -> {} {shown}", call.method, call.path, host.name));
        answer
    }

    /// Asks until there is an answer that is not "try again". For what may be asked twice.
    async fn insist(&self, call: Call<'_>) -> Option<(u16, Value)> {
        for _ in 0..TRIES {
            if let Some((status, body)) = self.ask(&call).await
                && status < 500
                && status != 429
            {
                return Some((status, body));
            }
            let pause = self.cluster.world.dice().milliseconds(100..4_000);
            tokio::time::sleep(pause).await;
        }
        let what = format!("{} {} was not answered in {TRIES} tries", call.method, call.path);
        self.cluster.world.oracle().broken(Property::Survives, what);
        None
    }

    pub(crate) async fn get(&self, path: &str) -> Option<(u16, Value)> {
        self.insist(Call { method: Method::GET, path, body: None, idempotency: None }).await
    }

    async fn post(&self, path: &str, body: Value) -> Option<(u16, Value)> {
        self.insist(Call { method: Method::POST, path, body: Some(&body), idempotency: None }).await
    }

    async fn delete(&self, path: &str) -> Option<(u16, Value)> {
        self.insist(Call { method: Method::DELETE, path, body: None, idempotency: None }).await
    }
}

/// What a client submits.
struct Wish {
    path: &'static str,
    body: Value,
    urls: Vec<String>,
    crawl: Option<CrawlAsked>,
}

/// Lets clients do what the seed has them do. Done when all are.
pub(crate) async fn run(clients: [Client; 2], mut dice: Dice) {
    let mut open = JoinSet::new();
    let storm = clients[0].cluster.world.weather.storm;
    let storm = u64::try_from(storm.as_millis()).expect("it is minutes");
    let at = |dice: &mut Dice| dice.milliseconds(0..storm);
    for number in 0..dice.of(3..9) {
        let client = dice.pick(&clients).clone();
        let (time, dice) = (at(&mut dice), dice.fork());
        open.spawn(async move {
            tokio::time::sleep(time).await;
            client.submit(number, dice).await;
        });
    }
    if dice.percent(35) {
        // Many at once to one endpoint, more than it gets attempts at a time.
        let (client, time) = (dice.pick(&clients).clone(), at(&mut dice) / 2);
        let (count, endpoint) = (dice.of(9..25), client.endpoint(dice.next()));
        for number in 0..count {
            let (client, endpoint) = (client.clone(), endpoint.clone());
            open.spawn(async move {
                tokio::time::sleep(time).await;
                client.one_of_many(number, &endpoint).await;
            });
        }
    }
    for _ in 0..dice.of(0..3) {
        let (client, time) = (dice.pick(&clients).clone(), at(&mut dice));
        open.spawn(async move {
            tokio::time::sleep(time).await;
            // Once: each time makes another.
            let path = "/v1/webhooks/secrets/rotate";
            client.ask(&Call { method: Method::POST, path, body: None, idempotency: None }).await;
        });
    }
    for _ in 0..dice.of(0..4) {
        let (client, time, dice) = (dice.pick(&clients).clone(), at(&mut dice), dice.fork());
        open.spawn(async move {
            tokio::time::sleep(time).await;
            client.replay(dice).await;
        });
    }
    for number in 0..dice.of(0..3) {
        let (client, time, dice) = (dice.pick(&clients).clone(), at(&mut dice), dice.fork());
        open.spawn(async move {
            tokio::time::sleep(time / 2).await;
            client.schedule(number, Duration::from_millis(storm), dice).await;
        });
    }
    if dice.percent(40) {
        let (client, time, endpoint) = (dice.pick(&clients).clone(), at(&mut dice), dice.next());
        open.spawn(async move {
            tokio::time::sleep(time).await;
            let body = json!({ "webhook_url": client.endpoint(endpoint) });
            // Once: who asks again wants another.
            let call = Call { method: Method::POST, path: "/v1/webhooks/test", body: Some(&body), idempotency: None };
            client.ask(&call).await;
        });
    }
    open.join_all().await;
}

impl Client {
    fn endpoint(&self, chance: u64) -> String {
        let endpoints = &self.cluster.web.endpoints;
        let place = usize::try_from(chance % (endpoints.len() as u64 + 1)).expect("there are few");
        endpoints.get(place).map_or_else(|| format!("https://{INWARD}/"), |one| format!("https://{}/hook", one.name))
    }

    fn wish(&self, dice: &mut Dice) -> Wish {
        let sites = &self.cluster.web.sites;
        let url = |dice: &mut Dice| match dice.of(0..30) {
            0 => "not a URL".to_owned(),
            1 => format!("http://{INWARD}/"),
            2 => "http://nowhere.example/".to_owned(),
            _ => format!("http://{}/p{}", dice.pick(sites).name, dice.of(0..40)),
        };
        let kind = dice.of(0..10);
        if kind < 3 {
            let url = format!("http://{}/p{}", dice.pick(sites).name, dice.of(0..40));
            return Wish { path: "/v1/scrape/async", body: json!({ "url": url }), urls: vec![url], crawl: None };
        }
        let linked = sites.iter().find_map(|site| match site.kind {
            SiteKind::Linked(pages) => Some((site, pages)),
            _ => None,
        });
        if let (true, Some((site, pages))) = (kind < 5, linked) {
            let max_pages = if dice.percent(50) { 100 } else { dice.of(1..pages) };
            let body = json!({ "url": format!("http://{}/p0", site.name), "max_pages": max_pages });
            return Wish { path: "/v1/crawl", body, urls: Vec::new(), crawl: Some(CrawlAsked { pages, max_pages }) };
        }
        let count = if dice.percent(10) { dice.of(100..230) } else { dice.of(1..13) };
        // One that can be fetched there must be.
        let first = format!("http://{}/p0", sites[0].name);
        let urls: Vec<String> = std::iter::once(first).chain((1..count).map(|_| url(dice))).collect();
        Wish { path: "/v1/scrape/batch/async", body: json!({ "urls": urls }), urls, crawl: None }
    }

    async fn submit(&self, number: u64, mut dice: Dice) {
        let Wish { path, mut body, urls, crawl } = self.wish(&mut dice);
        let has_webhook = dice.percent(75);
        if has_webhook {
            body["webhook_url"] = self.endpoint(dice.next()).into();
        }
        let key = dice.percent(70).then(|| format!("request-{number}"));
        let call = || Call { method: Method::POST, path, body: Some(&body), idempotency: key.as_deref() };
        let answer = if key.is_some() { self.insist(call()).await } else { self.ask(&call()).await };
        let Some((202, answer)) = answer else {
            let mut oracle = self.cluster.world.oracle();
            match answer.filter(|(status, _)| *status < 500) {
                Some((status, answer)) => {
                    let what = format!("{path} {body} was answered with {status} {answer}");
                    oracle.broken(Property::Survives, what);
                }
                None => oracle.unsure += 1,
            }
            return;
        };
        let id = job_id(&answer);
        let accepted = Accepted { id, urls, crawl, has_webhook };
        self.cluster.world.oracle().accepted.push(accepted);
        if key.is_some() && dice.percent(40) {
            tokio::time::sleep(dice.milliseconds(10..60_000)).await;
            let again = self.insist(call()).await;
            if again.as_ref().is_some_and(|(_, again)| *again != answer) {
                let what = format!("{path} was answered with {answer} and then with {again:?}");
                self.cluster.world.oracle().broken(Property::Idempotent, what);
            }
        }
        if dice.percent(20) {
            tokio::time::sleep(dice.milliseconds(10..30_000)).await;
            self.delete(&format!("/v1/jobs/{id}")).await;
        }
    }

    async fn one_of_many(&self, number: u64, endpoint: &str) {
        let url = format!("http://{}/many{number}", self.cluster.web.sites[0].name);
        let body = json!({ "url": url, "webhook_url": endpoint });
        let key = format!("many-{number}");
        let path = "/v1/scrape/async";
        let call = Call { method: Method::POST, path, body: Some(&body), idempotency: Some(&key) };
        if let Some((202, answer)) = self.insist(call).await {
            let (id, urls) = (job_id(&answer), vec![url]);
            let accepted = Accepted { id, urls, crawl: None, has_webhook: true };
            self.cluster.world.oracle().accepted.push(accepted);
        }
    }

    /// Asks for one delivery again, or for many.
    async fn replay(&self, mut dice: Dice) {
        if dice.percent(50) {
            let Some((200, list)) = self.get("/v1/deliveries").await else { return };
            let deliveries = list["data"].as_array().cloned().unwrap_or_default();
            if deliveries.is_empty() {
                return;
            }
            let id = dice.pick(&deliveries)["id"].as_str().unwrap_or_default().to_owned();
            self.post(&format!("/v1/deliveries/{id}/replay"), Value::Null).await;
            return;
        }
        let status = *dice.pick(&["failed", "pending", "delivered", "any"]);
        let Some((_, answer)) = self.post("/v1/deliveries/replay", json!({ "status": status })).await else { return };
        if let (true, Some(id)) = (dice.percent(30), answer["replay_id"].as_str()) {
            self.delete(&format!("/v1/deliveries/replays/{id}")).await;
        }
    }

    /// Has a schedule for a while.
    async fn schedule(&self, number: u64, storm: Duration, mut dice: Dice) {
        let site = &self.cluster.web.sites[0].name;
        let mut job = json!({ "kind": "scrape", "url": format!("http://{site}/scheduled{number}") });
        if dice.percent(50) {
            job["webhook_url"] = self.endpoint(dice.next()).into();
        }
        let body = json!({
            "name": format!("schedule {number}"),
            "cron": *dice.pick(&["*/20 * * * * *", "* * * * *", "*/7 * * * * *"]),
            "overlap": *dice.pick(&["skip", "queue", "allow"]),
            "job": job,
        });
        let key = format!("schedule-{number}");
        let call = Call { method: Method::POST, path: "/v1/schedules", body: Some(&body), idempotency: Some(&key) };
        let Some((_, made)) = self.insist(call).await else { return };
        let Some(id) = made["id"].as_str() else {
            let what = format!("a schedule was answered with {made}");
            return self.cluster.world.oracle().broken(Property::Survives, what);
        };
        if dice.percent(30) {
            tokio::time::sleep(dice.milliseconds(100..30_000)).await;
            let run = json!({});
            let path = format!("/v1/schedules/{id}/run");
            self.ask(&Call { method: Method::POST, path: &path, body: Some(&run), idempotency: None }).await;
        }
        tokio::time::sleep(dice.milliseconds(20_000..100_000).min(storm)).await;
        let rest = json!({ "paused": true });
        let path = format!("/v1/schedules/{id}");
        self.insist(Call { method: Method::PATCH, path: &path, body: Some(&rest), idempotency: None }).await;
    }
}

fn job_id(answer: &Value) -> JobId {
    answer["job_id"].as_str().and_then(|id| id.parse().ok()).expect("an accepted job has an id")
}
