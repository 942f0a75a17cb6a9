//! Pages that do not end, take too much, or have no browser: each costs itself, and no other page anything.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::web::{Answer, Site, content, scrape, setup};

const GOOD: &str = "<title>Good</title><div id=root></div><script>root.innerHTML = '<p>This one is well, and says so in some words.</p>'</script>";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_that_do_not_end_cost_only_themselves() {
    let site = Site::start().await;
    let server = setup().start().await;
    let good = site.page("/good", Answer::html(GOOD));
    site.page("/spin", Answer::html("<p>Text.</p><script>for (;;) {}</script>"));
    site.page("/alerts", Answer::html("<p>Text.</p><script>for (;;) alert('again')</script>"));
    site.page("/endless", Answer::Endless);
    site.page("/reload", Answer::html("<p>Text.</p><script>location.reload()</script>"));
    site.page("/frames", Answer::html("<script>for (;;) { const f = document.createElement('iframe'); document.documentElement.append(f); f.remove() }</script>"));
    let begin = Instant::now();
    let bad = async |path: &str| {
        let page = scrape(&server, json!({"url": site.url(path), "render": "always", "timeout": 4})).await;
        (page["error"]["code"].as_str().unwrap_or("none").to_owned(), page["time_ms"].as_u64().unwrap())
    };
    let (spin, alerts, endless, reload) = tokio::join!(bad("/spin"), bad("/alerts"), bad("/endless"), bad("/reload"));
    for (page, codes) in [
        (&spin, &["timeout"][..]),
        (&alerts, &["timeout"]),
        (&endless, &["timeout"]),
        (&reload, &["too_many_redirects", "timeout"]),
    ] {
        assert!(codes.contains(&&*page.0), "{page:?} is none of {codes:?}");
        assert!(page.1 < 20_000, "{page:?}");
    }
    let frames = bad("/frames").await;
    assert!(["timeout", "render_error"].contains(&&*frames.0), "{frames:?}");
    assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", begin.elapsed());
    // The places are free again.
    let urls = vec![good.clone(); 6];
    let result =
        server.post("/v1/scrape/batch", &json!({"urls": urls, "render": "always", "format": "text"})).await.is(200);
    assert_eq!(result["succeeded"], 6, "{result}");
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_takes_too_much_memory_is_ended_and_the_others_go_on() {
    let site = Site::start().await;
    let server = setup().flag("render_memory", "300MiB").start().await;
    let good = site.page("/good", Answer::html(GOOD));
    let greedy =
        "<p>Text.</p><script>const all = []; setInterval(() => all.push(new Uint8Array(40e6).fill(7)), 20)</script>";
    let greedy = site.page("/greedy", Answer::html(greedy));
    let greedy = json!({"url": greedy, "render": "always", "timeout": 60, "wait_for": "#never"});
    let page = scrape(&server, greedy).await;
    assert_eq!(page["error"]["code"], "render_error", "{page}");
    assert!(page["error"]["message"].as_str().unwrap().contains("memory"), "{page}");
    assert!(content(&scrape(&server, json!({"url": good, "render": "always"})).await).contains("This one is well"));
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_a_browser_says_so_and_scrapes_all_the_same() {
    let site = Site::start().await;
    let server = setup().flag("render_browser", "/no/such/browser").start().await;
    let good = site.page("/good", Answer::html(GOOD));
    let article = format!("<title>A</title><article><p>{}</p></article>", "There is text on this page. ".repeat(50));
    let article = site.page("/article", Answer::html(article));
    for render in ["always", "auto"] {
        let page = scrape(&server, json!({"url": good, "render": render})).await;
        assert_eq!(page["error"]["code"], "render_error", "{page}");
        let message = page["error"]["message"].as_str().unwrap();
        assert!(message.contains("RENDER_BROWSER") && message.contains("/no/such/browser"), "{message}");
    }
    assert!(content(&scrape(&server, json!({"url": article, "render": "auto"})).await).contains("There is text"));
    assert_eq!(server.get("/readyz").await.status, 200);
    // One that is there and is none ends at once.
    let server = server.restart_with(|setup| setup.flag("render_browser", "/bin/false")).await;
    let page = scrape(&server, json!({"url": good, "render": "always"})).await;
    assert_eq!(page["error"]["code"], "render_error", "{page}");
    assert!(page["error"]["message"].as_str().unwrap().contains("did not start"), "{page}");
    server.finish().await;
}
