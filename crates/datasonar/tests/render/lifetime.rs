//! A server outlives its browsers, and no browser its server, however either ends.

use std::{path::Path, sync::Arc};

use datasonar::cli::{
    client::{Api, Server},
    demo::child::Child,
};
use http::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use super::{
    server::until,
    web::{Answer, Site, content, processes},
};

/// A real server in a process of its own, whose browsers can be told from all others.
struct Own {
    child: Child,
    api: Api,
    directory: tempfile::TempDir,
    run: tempfile::TempDir,
}

impl Own {
    async fn start() -> Self {
        let (directory, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        // The browser's user has to come through to its directory.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o711);
        std::fs::set_permissions(run.path(), open).unwrap();
        let variables = [("RUNTIME_DIRECTORY", run.path().to_string_lossy().into_owned())];
        let program = Path::new(env!("CARGO_BIN_EXE_datasonar"));
        let child = Child::start_program(program, &directory.path().join("data"), &variables).await.unwrap();
        let api = Api::new(Server { server: child.url(), api_key: child.keys.clone().unwrap().0 }).unwrap();
        Self { child, api, directory, run }
    }

    /// How many directories of browsers there are.
    fn profiles(&self) -> usize {
        let homes = [self.directory.path().join("data/browsers"), self.run.path().join("browsers")];
        homes.iter().filter_map(|home| std::fs::read_dir(home).ok()).flatten().count()
    }

    /// The processes that name a directory of its browsers.
    fn named(&self) -> Vec<i32> {
        let named = |path: std::path::PathBuf| processes(&path.join("browsers/render-").to_string_lossy());
        [named(self.directory.path().join("data")), named(self.run.path().to_owned())].concat()
    }
}

/// The same with a page under way in its browser.
struct Busy {
    own: Own,
    _site: Site,
    _page: AbortOnDropHandle<()>,
    /// The process groups of its browsers.
    groups: Vec<i32>,
}

impl Busy {
    async fn start() -> Self {
        let (own, site) = (Own::start().await, Site::start().await);
        let page = site.page("/page", Answer::html("<p>Text.</p><script>fetch('/held')</script>"));
        site.page("/held", Answer::Held(Arc::default(), String::new()));
        let body = json!({"url": page, "render": "always", "timeout": 100, "wait_for": "#never"});
        let api = Api::new(own.api.server().clone()).unwrap();
        let page = AbortOnDropHandle::new(tokio::spawn(async move {
            // It ends with the server.
            let _: Result<Value, _> = api.json(Method::POST, "/v1/scrape", Some(&body)).await;
        }));
        until("the page's request", async || (!site.hits("/held").is_empty()).then_some(())).await;
        let groups: Vec<i32> = own.named().into_iter().map(group).filter(|group| *group != 0).collect();
        let busy = Self { own, _site: site, _page: page, groups };
        assert!(busy.browsers() > 2, "a browser is several processes");
        busy
    }

    /// How many processes of its browsers live.
    fn browsers(&self) -> usize {
        // What reports crashes is in no group of theirs, but names their directory.
        let named = self.own.named();
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
    busy.own.child.stop().await.unwrap();
    until("the end of all browsers", async || (busy.browsers() == 0).then_some(())).await;
    assert_eq!(busy.own.profiles(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_leaves_no_browser() {
    let mut busy = Busy::start().await;
    busy.own.child.kill().await.unwrap();
    until("the end of all browsers", async || (busy.browsers() == 0).then_some(())).await;
    assert_eq!(busy.own.profiles(), 1, "nobody was there to remove it");
    let variables = [("RUNTIME_DIRECTORY", busy.own.run.path().to_string_lossy().into_owned())];
    let program = Path::new(env!("CARGO_BIN_EXE_datasonar"));
    let _next = Child::start_program(program, &busy.own.directory.path().join("data"), &variables).await.unwrap();
    until("the directory to be removed", async || (busy.own.profiles() == 0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_that_is_killed_in_the_middle_of_a_page_loses_nothing() {
    let (own, site) = (Own::start().await, Site::start().await);
    let gate = Arc::new(Notify::new());
    site.page("/held", Answer::Held(gate.clone(), "It came in the end, in one piece and in some words.".to_owned()));
    let page = site.page(
        "/page",
        Answer::html(
            "<p id=x>Before.</p><script>fetch('/held').then(a => a.text()).then(text => { x.textContent = text; x.id = 'done' })</script>",
        ),
    );
    let kill = async {
        until("the page's request", async || (!site.hits("/held").is_empty()).then_some(())).await;
        let server = own.child.id().and_then(|id| i32::try_from(id).ok());
        let browsers: Vec<i32> = own.named().into_iter().filter(|id| parent(*id) == server).collect();
        assert_eq!(browsers.len(), 1, "{browsers:?}");
        let environment = std::fs::read(format!("/proc/{}/environ", browsers[0])).unwrap();
        for secret in ["DATASONAR", "AWS_", "CARGO_"] {
            assert!(!String::from_utf8_lossy(&environment).contains(secret), "the browser knows {secret}");
        }
        kill_process(Pid::from_raw(browsers[0]).unwrap(), Signal::KILL).unwrap();
        until("the page's second request", async || (site.hits("/held").len() > 1).then_some(())).await;
        gate.notify_one();
    };
    let body = json!({"url": page, "render": "always", "wait_for": "#done", "format": "text", "timeout": 60});
    let (page, ()) = tokio::join!(own.api.json(Method::POST, "/v1/scrape", Some(&body)), kill);
    let page = page.unwrap();
    assert!(content(&page).contains("It came in the end"), "{page}");
}

/// A process's parent.
fn parent(id: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}
