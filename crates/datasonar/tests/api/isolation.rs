//! Nothing of another account or environment can be reached: by every route there is, taken from the API's description and from the
//! dashboard's sources, so that a new one cannot escape, and with both kinds of credential.

use http::Method;
use serde_json::{Value, json};

use super::{
    dashboard::{Browser, environment_routes, form},
    plans::{account, printed},
    server::{Call, Reply, Server, Setup, next, site, until},
};

const NOBODY: &str = "0192f0c1-2345-7abc-8def-0123456789ab";

/// What an account has, that others are after.
struct Things {
    job: String,
    delivery: String,
    schedule: String,
    replay: String,
    key: String,
    secret: String,
    user: String,
    link: String,
    endpoint: String,
    /// Texts that no other may see.
    private: Vec<String>,
}

impl Things {
    /// The one that a route is about, by its path.
    fn of(&self, route: &str) -> &str {
        let parts: Vec<&str> = route.trim_start_matches("/v1").split('/').collect();
        match parts[1..] {
            ["jobs", ..] => &self.job,
            ["deliveries", "replays", ..] | ["dead-letters", "replays", ..] => &self.replay,
            ["deliveries", ..] => &self.delivery,
            ["schedules", ..] => &self.schedule,
            _ => panic!("{route}: teach this test what its id is one of"),
        }
    }
}

/// Makes one of everything in the production environment of the built-in account.
async fn things(server: &Server, browser: &Browser, endpoint: &str) -> Things {
    let pages = site(2).await;
    let url = pages.quick_url();
    let made = |answer: Value, name: &str| answer[name].as_str().unwrap().to_owned();
    let job = server.queue("/v1/scrape/async", &json!({"url": url, "webhook_url": endpoint})).await;
    let delivery = made(server.delivery(&job, "delivered", 1).await, "id");
    let body = json!({"name": "private plan", "cron": "0 0 1 1 *", "job": {"kind": "scrape", "url": url}});
    let schedule = made(server.post("/v1/schedules", &body).await.is(201), "id");
    let replay = server.post("/v1/deliveries/replay", &json!({"status": "failed"})).await.is(202);
    let replay = made(replay, "replay_id");
    let path = format!("/v1/deliveries/replays/{replay}");
    until("the replay to end", async || (server.get(&path).await.is(200)["status"] != "started").then_some(())).await;
    let secret = server.get("/v1/webhooks/secrets").await.is(200)["data"][0].clone();
    let app = &server.running.app;
    let owner = app.store.account(None).await.unwrap().id;
    let keys = app.store.keys(owner).await.unwrap();
    let key = keys.iter().find(|key| server.production.starts_with(&key.prefix)).unwrap();
    browser.post("/production/settings/members", &[("email", "bob@example.com"), ("role", "member")]).await.is(200);
    let (members, links) = (app.people.members(owner).await.unwrap(), app.people.invitations(owner).await.unwrap());
    let link = links.iter().find(|link| link.email.as_deref() == Some("bob@example.com")).unwrap();
    let (user, link) = (members[0].user.to_string(), link.id.to_string());
    let private = vec![job.clone(), delivery.clone(), schedule.clone(), replay.clone(), endpoint.to_owned(), url];
    let secret_text = made(secret.clone(), "secret");
    let others = ["private plan".to_owned(), secret_text, key.id.to_string(), key.prefix.clone()];
    Things {
        private: private.into_iter().chain(others).collect(),
        secret: made(secret, "id"),
        key: key.id.to_string(),
        endpoint: endpoint.to_owned(),
        job,
        delivery,
        schedule,
        replay,
        user,
        link,
    }
}

/// Every route of the API that needs a key, with its method.
async fn api_routes(server: &Server) -> Vec<(Method, String)> {
    let document = server.get("/openapi.json").await.is(200);
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let operation = &item[method.as_str().to_lowercase()];
            if operation.is_object() && operation.get("security").is_none_or(|own| *own == document["security"]) {
                routes.push((method, path.clone()));
            }
        }
    }
    assert!(routes.len() > 25, "{routes:?}");
    routes
}

/// A body that every route with an id accepts, so that what is refused is refused for the id.
fn body(method: &Method) -> Option<Value> {
    (method == Method::PATCH || method == Method::PUT).then(|| json!({"name": "mine now"}))
}

fn call(method: &Method, path: &str, key: &str) -> Call {
    let call = match body(method) {
        Some(body) => Call::post(path, &body).to(method.clone(), path),
        None => Call::new(method.clone(), path),
    };
    call.key(key)
}

/// Everything that the account can see of its own by its ids.
async fn seen(server: &Server, things: &Things) -> Vec<Value> {
    let mut seen = Vec::new();
    for (method, route) in api_routes(server).await {
        if method == Method::GET && route.contains("{id}") {
            let answer = server.get(&route.replace("{id}", things.of(&route))).await;
            assert!(answer.status.is_success(), "{route}: {answer:?}");
            seen.push(answer.json());
        }
    }
    seen.push(server.get("/v1/webhooks/secrets").await.is(200));
    seen
}

#[tokio::test]
async fn no_key_reaches_what_is_not_its_own() {
    let (setup, receiver) = Setup::new().receiver(|_| Reply::Status(200)).await;
    let server = setup.start().await;
    let browser = Browser::signed_in(&server).await;
    let things = things(&server, &browser, &receiver.url()).await;
    next(&receiver).await;
    let [_, production, sandbox] = account(&server, "eve@example.com", "enterprise").await;
    let before = seen(&server, &things).await;
    let mut tried = 0;
    for (method, route) in api_routes(&server).await {
        for key in [&production, &sandbox, &server.sandbox] {
            if let Some((_, parameter)) = route.split_once('{') {
                assert!(parameter.starts_with("id}"), "{route}: teach this test what its parameter is");
                let ids = [things.of(&route), NOBODY];
                let mut answers = Vec::new();
                for id in ids {
                    let path = route.replace("{id}", id);
                    let answer = server.send(call(&method, &path, key)).await;
                    let mut problem = answer.is(404);
                    problem["request_id"] = Value::Null;
                    answers.push(problem.to_string().replace(id, "ID"));
                }
                assert_eq!(answers[0], answers[1], "{method} {route}: another's is told from nobody's");
                tried += 1;
            } else if method == Method::GET && route != "/v1/webhooks/listen" {
                // Lists, with whatever filter: nothing of it is in them.
                for query in ["", "?limit=200", "?status=delivered"] {
                    let answer = server.send(Call::new(Method::GET, &format!("{route}{query}")).key(key)).await;
                    let text = String::from_utf8_lossy(&answer.body);
                    let leak = things.private.iter().find(|private| text.contains(private.as_str()));
                    assert_eq!(leak, None, "GET {route}{query}: {text}");
                }
            }
        }
    }
    assert!(tried >= 36, "{tried}");
    for key in [&production, &sandbox, &server.sandbox] {
        for path in [
            format!("/v1/deliveries?job_id={}", things.job),
            format!("/v1/deliveries?cursor={}", things.delivery),
            format!("/v1/jobs?cursor={}", things.job),
            format!("/v1/schedules?cursor={}", things.schedule),
            format!("/v1/deliveries/replays?cursor={}", things.replay),
        ] {
            let list = server.send(Call::new(Method::GET, &path).key(key)).await.is(200);
            assert_eq!(list["data"], json!([]), "{path}");
        }
        // A bulk replay of everything replays nothing of it.
        let all = json!({"status": "delivered", "webhook_url": things.endpoint, "dry_run": true});
        let answer = server.send(Call::post("/v1/deliveries/replay", &all).key(key)).await;
        assert!(!answer.json().to_string().contains(&things.delivery), "{answer:?}");
    }
    assert_eq!(seen(&server, &things).await, before, "something was changed");
    assert!(receiver.next_now().await.is_none(), "something was sent");
    server.finish().await;
}

/// The fields of a form that name everything that there is of another, and all that is required besides.
fn fields(things: &Things, path: &str) -> Vec<(&'static str, String)> {
    let id = if path.contains("/keys/") { &things.key } else { &things.secret };
    let job = r#"{"kind": "scrape", "url": "https://example.com/"}"#;
    vec![
        ("id", id.clone()),
        ("user", things.user.clone()),
        ("link", things.link.clone()),
        ("role", "member".to_owned()),
        ("name", "mine now".to_owned()),
        ("cron", "0 0 * * *".to_owned()),
        ("timezone", "UTC".to_owned()),
        ("overlap", "skip".to_owned()),
        ("job", job.to_owned()),
    ]
}

#[tokio::test]
async fn no_session_reaches_what_is_not_its_own() {
    let (setup, receiver) = Setup::new().receiver(|_| Reply::Status(200)).await;
    let server = setup.start().await;
    let ours = Browser::signed_in(&server).await;
    let things = things(&server, &ours, &receiver.url()).await;
    next(&receiver).await;
    let [id, _, _] = account(&server, "eve@example.com", "enterprise").await;
    let link = printed(&server, &["members", "link", "--account", &id]).await;
    let eve = Browser::through(&server, &link, "eve@example.com").await;
    let before = seen(&server, &things).await;
    // When a page was drawn.
    let drawn_at = regex::Regex::new(" data-now=\"[^\"]*\"").unwrap();
    let mut tried = 0;
    // Those whose forms name ids, and do nothing for one that is not theirs.
    let by_form =
        ["/settings/keys/revoke", "/settings/members/role", "/settings/members/remove", "/settings/members/withdraw"];
    for (who, environments) in [(&eve, &["production", "sandbox"][..]), (&ours, &["sandbox"][..])] {
        for environment in environments {
            for (route, is_get) in environment_routes() {
                let at = |id: &str| format!("/{environment}{}", route.replace("{id}", id).replace("{at}", "0.0"));
                if route.contains("{id}") {
                    let mut pages = Vec::new();
                    for id in [things.of(&route), NOBODY] {
                        let fields = fields(&things, &route);
                        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
                        let shown = if is_get { who.get(&at(id)).await } else { who.post(&at(id), &fields).await };
                        pages.push(drawn_at.replace(&shown.is(404).html().replace(id, "ID"), "").into_owned());
                    }
                    assert_eq!(pages[0], pages[1], "{route}: another's is told from nobody's");
                    tried += 1;
                } else if is_get {
                    let shown = who.get(&at("")).await;
                    assert!(matches!(shown.status.as_u16(), 200 | 422), "{route}: {}", shown.status);
                    let html = shown.html();
                    // An owner sees members in either environment: those of the account.
                    let leak = things.private.iter().find(|private| html.contains(private.as_str()));
                    assert_eq!(leak, None, "{environment} {route}");
                } else if by_form.contains(&&*route) && (std::ptr::eq(who, &eve) || route.contains("/keys/")) {
                    let fields = fields(&things, &route);
                    let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
                    who.post(&at(""), &fields).await.is(404);
                    tried += 1;
                }
            }
            let revealed =
                who.post(&format!("/{environment}/settings/webhooks/reveal"), &[("id", &things.secret)]).await.html();
            assert!(!things.private.iter().any(|private| revealed.contains(private.as_str())), "{revealed}");
            // Searching for what is another's finds nothing.
            for path in [
                format!("/jobs?q={}", things.job),
                format!("/deliveries?job={}", things.job),
                format!("/dead-letters/group?{}", String::from_utf8_lossy(&form(&[("url", &things.endpoint)]))),
            ] {
                let shown = who.get(&format!("/{environment}{path}")).await;
                let listed = shown.html().matches(&format!("/{}\"", things.job)).count();
                assert_eq!(listed, 0, "{path}");
                assert!(!shown.html().contains(&format!("/{}\"", things.delivery)), "{path}");
            }
        }
    }
    assert!(tried > 36, "{tried}");
    assert_eq!(seen(&server, &things).await, before, "something was changed");
    let app = &server.running.app;
    let owner = app.store.account(None).await.unwrap().id;
    assert_eq!(app.people.members(owner).await.unwrap().len(), 1);
    let links = app.people.invitations(owner).await.unwrap();
    assert!(links.iter().any(|link| link.id.to_string() == things.link));
    assert!(receiver.next_now().await.is_none(), "something was sent");
    server.finish().await;
}

/// A key opens no page, and a session no route of the API.
#[tokio::test]
async fn a_credential_is_good_for_its_own_kind_only() {
    let server = Server::start().await;
    let browser = Browser::signed_in(&server).await;
    for (method, route) in api_routes(&server).await {
        let path = route.replace("{id}", NOBODY);
        let call = Call::new(method, &path).header("authorization", "").header("cookie", browser.cookie());
        server.send(call).await.is(401);
    }
    let stranger = Browser::new(&server);
    let key = format!("Bearer {}", server.production);
    for (route, is_get) in environment_routes() {
        let path = format!("/production{}", route.replace("{id}", NOBODY).replace("{at}", "0.0"));
        let method = if is_get { Method::GET } else { Method::POST };
        let shown = stranger.send(method, &path, &[("authorization", &key)], (!is_get).then(Vec::new)).await;
        assert!(matches!(shown.status.as_u16(), 303 | 403), "{path}: {}", shown.status);
        assert!(shown.status != 303 || shown.header("location").starts_with("/sign-in"), "{path}");
    }
    server.finish().await;
}
