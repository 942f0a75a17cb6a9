//! The dashboard in a real browser: Debian's Chromium, driven by scripts beside this file, against a real server with its endpoints.
//!
//! The scripts let nothing pass that a browser complains of: errors on the console, exceptions, failed requests, breaches of the content policy.
//! `scripts/browser` installs what they need.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking, and are their own documentation")]

mod data;
mod endpoint;
mod script;
#[path = "../api/server.rs"]
#[expect(dead_code, reason = "the tests of the API use the rest")]
mod server;

use std::time::Duration;

use datasonar::cli::demo::site::{Site, SiteOptions};
use endpoint::Endpoints;
use serde_json::{Value, json};
use server::{Server, Setup};

const PASSWORD: &str = "correct horse battery";

/// A server with endpoints that it trusts. Its callbacks are given up within a second, and tried again much later.
async fn start() -> (Server, Endpoints, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let endpoints = Endpoints::start(directory.path()).await;
    let setup = Setup::new()
        .flag("webhook_ca_file", &endpoints.ca_file.to_string_lossy())
        .flag("webhook_retry_schedule", "100ms,200ms,300ms,400ms,6h,24h")
        .flag("fetch_concurrency", "4");
    (setup.start().await, endpoints, directory)
}

fn given(server: &Server) -> Value {
    let link = server.running.first_keys.clone().unwrap().sign_in_link;
    json!({"server": server.url, "link": link, "password": PASSWORD})
}

async fn walk(with_scripts: bool) {
    if !script::is_there() {
        return;
    }
    let (server, endpoints, _directory) = start().await;
    // Slow enough to be watched.
    let options = SiteOptions { urls: 24, trouble: false, all_sizes: false, pace: Duration::from_millis(1_000) };
    let site = Site::start(options).await.unwrap();
    let mut given = given(&server);
    given["scripts"] = json!(with_scripts);
    given["urls"] = json!(site.urls().collect::<Vec<_>>());
    given["endpoint"] = json!(endpoints.url("broken"));
    script::run("walk.mjs", &given, async |asked| {
        assert_eq!(asked, "mend");
        endpoints.mend();
        Value::Null
    })
    .await;
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_goes_from_the_first_link_to_a_callback_that_arrives() {
    walk(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_goes_without_scripts() {
    walk(false).await;
}

async fn nothing(asked: Value) -> Value {
    panic!("nothing can be asked for: {asked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_reached_by_keyboard() {
    if !script::is_there() {
        return;
    }
    let (server, _endpoints, _directory) = start().await;
    script::run("keyboard.mjs", &given(&server), nothing).await;
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_for_everybody() {
    if !script::is_there() {
        return;
    }
    let busy = data::Busy::start().await;
    script::run("look.mjs", &busy.given(PASSWORD).await, nothing).await;
}
