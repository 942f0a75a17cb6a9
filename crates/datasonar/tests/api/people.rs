//! What people may do: members and owners, browsers that are known, and streams that end with the session or the key.

use std::{collections::BTreeMap, fs, time::Duration};

use http::Method;
use http_body_util::BodyExt;
use serde_json::json;

use super::{
    dashboard::{Browser, PASSWORD, environment_routes, form},
    server::{Server, Silence, until},
};

/// Who may use which form, as the documentation has it.
fn documented() -> BTreeMap<String, bool> {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/dashboard.md")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `POST "));
    rows.map(|row| {
        let (path, rest) = row.split_once('`').unwrap();
        let who = rest.trim_end_matches(" |").rsplit("| ").next().unwrap();
        assert!(matches!(who, "everybody" | "owners"), "{row}");
        (path.to_owned(), who == "everybody")
    })
    .collect()
}

/// Lets a member in.
async fn member(server: &Server, owner: &Browser, email: &str) -> Browser {
    let fields = [("email", email), ("role", "member")];
    let html = owner.post("/production/settings/members", &fields).await.is(200).html();
    let link = html.split_once("/sign-in/link/").unwrap().1;
    let token: String = link.chars().take_while(|next| next.is_ascii_alphanumeric() || "-_".contains(*next)).collect();
    Browser::through(server, &format!("/sign-in/link/{token}"), email).await
}

#[tokio::test]
async fn a_member_may_do_what_the_documentation_says_and_nothing_else() {
    let server = Server::start().await;
    let owner = Browser::signed_in(&server).await;
    let documented = documented();
    let forms: Vec<String> = environment_routes().filter(|(_, is_get)| !is_get).map(|(path, _)| path).collect();
    let told: Vec<String> = documented.keys().cloned().collect();
    assert_eq!(forms, told, "docs/dashboard.md lists every form");

    let secret = server.get("/v1/webhooks/secrets").await.is(200)["data"][0].clone();
    let (secret_id, secret_text) = (secret["id"].as_str().unwrap(), secret["secret"].as_str().unwrap());
    let nobody = "0192f0c1-2345-7abc-8def-0123456789ab";
    let fields = [
        ("id", secret_id),
        ("user", nobody),
        ("link", nobody),
        ("email", "eve@example.com"),
        ("role", "owner"),
        ("environment", "production"),
        ("name", "mine"),
    ];
    for (number, (path, may)) in documented.iter().enumerate() {
        // Each by a member of its own: some forms end the session.
        let bob = member(&server, &owner, &format!("bob{number}@example.com")).await;
        for environment in ["production", "sandbox"] {
            let full = format!("/{environment}{}", path.replace("{id}", nobody));
            let csrf = bob.get("/production").await;
            if csrf.status != 200 {
                continue;
            }
            let shown = bob.post(&full, &fields).await;
            assert_eq!(shown.status != 403, *may, "{full}: {} {}", shown.status, shown.html());
            assert!(!shown.html().contains(secret_text), "{full}");
        }
    }
    let bob = member(&server, &owner, "bob@example.com").await;
    for (path, _) in environment_routes().filter(|(_, is_get)| *is_get) {
        let path = format!("/production{}", path.replace("{id}", nobody).replace("{at}", "0.0"));
        let html = bob.get(&path).await.html();
        assert!(!html.contains(secret_text) && !html.contains(&server.production), "{path}");
    }
    let keys = server.running.app.store.keys(server.running.app.store.account(None).await.unwrap().id).await.unwrap();
    assert_eq!(keys.len(), 2, "none was made");
    assert_eq!(server.get("/v1/webhooks/secrets").await.is(200)["data"].as_array().unwrap().len(), 1);
    let shown = owner.post("/production/settings/webhooks/reveal", &[("id", secret_id)]).await.is(200);
    assert!(shown.html().contains(secret_text), "an owner sees it");
    server.running.stop().await;
}

#[tokio::test]
async fn a_browser_that_is_known_is_not_kept_out_by_strangers() {
    let server = Server::start().await;
    let owner = Browser::signed_in(&server).await;
    let try_with = async |cookie: &str, password: &str| {
        let fields = form(&[("email", "ada@example.com"), ("password", password)]);
        let browser = Browser::new(&server);
        let headers: &[(&'static str, &str)] = if cookie.is_empty() { &[] } else { &[("cookie", cookie)] };
        browser.send(Method::POST, "/sign-in", headers, Some(fields)).await
    };
    let shown = try_with("", PASSWORD).await.is(303);
    let cookies = shown.cookies();
    let device = cookies.lines().find(|line| line.starts_with("datasonar_device=")).unwrap();
    assert!(device.contains("HttpOnly") && device.contains("SameSite=Lax"), "{device}");
    let device = device.split(';').next().unwrap();
    assert!(owner.get("/production").await.status == 200);
    for _ in 0..5 {
        try_with("", "another password").await.is(422);
    }
    try_with("", PASSWORD).await.is(429);
    try_with("datasonar_device=AAAA", PASSWORD).await.is(429);
    try_with(device, PASSWORD).await.is(303);
    server.finish().await;
}

/// Waits for a stream to end, and answers what it said.
async fn to_the_end(stream: impl Future<Output = String>) -> String {
    tokio::time::timeout(Duration::from_secs(10), stream).await.expect("the stream goes on")
}

#[tokio::test]
async fn streams_end_with_the_session() {
    let server = Server::start().await;
    let silence = Silence::new();
    let job = server.queue("/v1/scrape/async", &json!({"url": silence.url(), "timeout": 300})).await;
    let live = format!("/production/jobs/{job}/live");
    let owner = Browser::signed_in(&server).await;
    let people = server.running.app.people.clone();
    let another = async || {
        let token = people.sign_in("ada@example.com", PASSWORD, None).await.unwrap();
        let cookie = format!("datasonar_session={}", token.as_str());
        (token, cookie)
    };
    let follow = async |cookie: String| {
        let browser = Browser::new(&server);
        browser.send(Method::GET, &live, &[("cookie", &cookie)], None).await.is(200).html()
    };
    // This session, by another process.
    let (token, cookie) = another().await;
    let (told, ()) = tokio::join!(to_the_end(follow(cookie)), async { people.sign_out(token.as_str()).await.unwrap() });
    assert!(told.contains("event: end") || told.is_empty(), "{told}");
    // All others, and by a new password.
    let (_, cookie) = another().await;
    let (_, other) = another().await;
    let session = people.session(owner.cookie().split_once('=').unwrap().1).await.unwrap().unwrap();
    let ended = async {
        until("both streams to begin", async || Some(())).await;
        tokio::task::yield_now().await;
        people.change_password(&session, PASSWORD, "a new password").await.unwrap();
    };
    tokio::join!(to_the_end(follow(cookie)), to_the_end(follow(other)), ended);
    // A member's removal.
    let bob = member(&server, &owner, "bob@example.com").await;
    let account = server.running.app.store.account(None).await.unwrap().id;
    let user =
        people.members(account).await.unwrap().into_iter().find(|of| of.email == "bob@example.com").unwrap().user;
    let removed = async { people.remove(account, user).await.unwrap() };
    let followed = async { bob.get(&live).await.html() };
    tokio::join!(to_the_end(followed), removed);
    assert_eq!(owner.get("/production").await.status, 200, "the owner's own session goes on");
    server.delete(&format!("/v1/jobs/{job}")).await;
    server.running.stop().await;
}

#[tokio::test]
async fn a_stream_of_ends_stops_when_its_key_is_revoked() {
    let server = Server::start().await;
    let mut body = server.open("/v1/webhooks/listen").await;
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(String::from_utf8_lossy(&first).contains("ready"));
    let owner = Browser::signed_in(&server).await;
    let account = server.running.app.store.account(None).await.unwrap().id;
    let keys = server.running.app.store.keys(account).await.unwrap();
    let key = keys.iter().find(|key| server.production.starts_with(&key.prefix)).unwrap().id.to_string();
    owner.post("/production/settings/keys/revoke", &[("id", &key)]).await.is(303);
    let rest = async { String::from_utf8_lossy(&body.collect().await.unwrap().to_bytes()).into_owned() };
    to_the_end(rest).await;
    server.running.stop().await;
}
