//! No browser outlives its server, however that ends.

use std::path::Path;

use datasonar::cli::{
    client::{Api, Server},
    demo::child::Child,
};
use http::Method;
use serde_json::{Value, json};

use super::{
    server::until,
    web::{Answer, Site, processes},
};

/// A real server in a process of its own, with a page under way in its browser.
struct Busy {
    child: Child,
    directory: tempfile::TempDir,
    _site: Site,
    _page: tokio_util::task::AbortOnDropHandle<()>,
    /// The process groups of its browsers.
    groups: Vec<i32>,
}

impl Busy {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        // The browser's user has to come through to its directory.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(directory.path(), open).unwrap();
        let site = Site::start().await;
        let page = site.page("/page", Answer::html("<p>Text.</p><script>fetch('/held')</script>"));
        site.page("/held", Answer::Held(std::sync::Arc::default(), String::new()));
        let variables = [("TMPDIR", directory.path().to_string_lossy().into_owned())];
        let program = Path::new(env!("CARGO_BIN_EXE_datasonar"));
        let child = Child::start_program(program, &directory.path().join("data"), &variables).await.unwrap();
        let api = Api::new(Server { server: child.url(), api_key: child.keys.clone().unwrap().0 }).unwrap();
        let body = json!({"url": page, "render": "always", "timeout": 100, "wait_for": "#never"});
        let page = tokio::spawn(async move {
            // It ends with the server.
            let _: Result<Value, _> = api.json(Method::POST, "/v1/scrape", Some(&body)).await;
        });
        let page = tokio_util::task::AbortOnDropHandle::new(page);
        until("the page's request", async || (!site.hits("/held").is_empty()).then_some(())).await;
        let profiles = directory.path().join("datasonar-render-").to_string_lossy().into_owned();
        let groups: Vec<i32> = processes(&profiles).into_iter().map(group).filter(|group| *group != 0).collect();
        let busy = Self { child, directory, _site: site, _page: page, groups };
        assert!(busy.browsers() > 2, "a browser is several processes");
        busy
    }

    /// How many processes of its browsers live.
    fn browsers(&self) -> usize {
        let profiles = self.directory.path().join("datasonar-render-").to_string_lossy().into_owned();
        // What reports crashes is in no group of theirs, but names their directory.
        let named = processes(&profiles);
        processes("").into_iter().filter(|id| named.contains(id) || self.groups.contains(&group(*id))).count()
    }
}

/// A process's group.
fn group(id: i32) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let group = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_ascii_whitespace().nth(2)?.parse().ok());
    group.unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_leaves_no_browser_and_no_directory() {
    let mut busy = Busy::start().await;
    busy.child.stop().await.unwrap();
    until("the end of all browsers", async || (busy.browsers() == 0).then_some(())).await;
    let left = std::fs::read_dir(busy.directory.path()).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).filter(|name| name != "data").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_leaves_no_browser() {
    let mut busy = Busy::start().await;
    busy.child.kill().await.unwrap();
    until("the end of all browsers", async || (busy.browsers() == 0).then_some(())).await;
}
