//! Crawls of a generated site, whose graph says what must come of them.

use std::collections::BTreeMap;

use http::Method;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{
    generated::{Generated, Shape},
    server::{Call, Reply, Server, Setup, clock, next, until},
};

const CRAWL: &str = "/v1/crawl";

/// All page results of a job, as lines.
async fn lines(server: &Server, job: &str) -> Vec<Value> {
    let call = Call::new(Method::GET, &format!("/v1/jobs/{job}/results")).header("accept", "application/x-ndjson");
    let answer = server.send(call).await;
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The pages among results with their depths. Whatever else has a result is in vain.
fn pages(site: &Generated, results: &[Value]) -> BTreeMap<usize, u32> {
    let mut pages = BTreeMap::new();
    for result in results {
        let url = result["url"].as_str().unwrap();
        let page = site.page_of(url).unwrap_or_else(|| panic!("{url} is no page"));
        let depth = result["depth"].as_u64().unwrap();
        assert!(pages.insert(page, depth.try_into().unwrap()).is_none(), "page {page} is there twice");
    }
    pages
}

async fn crawl(server: &Server, site: &Generated, options: Value) -> (Value, Vec<Value>) {
    let mut request = json!({"url": site.url(), "format": "text", "max_pages": 100_000});
    request.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    let job = server.queue(CRAWL, &request).await;
    let ended = server.ended(&job).await;
    assert_eq!((&ended["kind"], &ended["status"]), (&json!("crawl"), &json!("completed")), "{ended}");
    let lines = lines(server, &job).await;
    assert_eq!(ended["progress"]["total"], lines.len());
    (ended, lines)
}

#[tokio::test]
async fn a_site_is_crawled_exactly() {
    let (setup, receiver) = Setup::new().receiver(|_| Reply::Status(200)).await;
    let server = setup.start().await;
    let shape = Shape::mixed(1_200);
    let site = Generated::start(shape).await;
    let (job, results) = crawl(&server, &site, json!({"webhook_url": receiver.url()})).await;
    let expected = shape.reachable(true, true, None);
    assert_eq!(pages(&site, &results), expected);
    for page in 0..shape.pages {
        // Once under its own name, and once by the redirect that leads there.
        let fetched = if expected.contains_key(&page) { 1 + u32::from(shape.has_alias(page)) } else { 0 };
        assert_eq!(site.hits(page), fetched, "page {page}");
    }
    for result in &results {
        let page = site.page_of(result["url"].as_str().unwrap()).unwrap();
        let status = if shape.is_missing(page) { "error" } else { "success" };
        assert_eq!(result["status"], status, "{result}");
        let found_on = result["found_on"].as_str();
        match page {
            0 => assert_eq!(found_on, None),
            page if shape.is_orphan(page) => assert!(found_on.unwrap().ends_with("/pages.xml.gz")),
            page => {
                let from = site.page_of(found_on.unwrap()).unwrap();
                assert!(shape.links(from).contains(&page), "page {from} has no link to {page}");
            }
        }
    }
    let depths: Vec<u64> = results.iter().map(|result| result["depth"].as_u64().unwrap()).collect();
    assert!(depths.is_sorted(), "results are in the order found");

    let is_linked = |page: usize| expected.keys().any(|from| shape.links(*from).contains(&page));
    let private =
        (0..shape.pages).filter(|page| shape.is_private(*page) && (shape.is_orphan(*page) || is_linked(*page)));
    assert_eq!(job["skipped"]["robots"], private.count() + 1, "one by a redirect");
    assert_eq!(job["skipped"]["over_limit"], 0);
    assert_eq!(job["skipped"]["out_of_scope"], 1, "the one link that leads elsewhere");
    assert!(job["skipped"]["duplicate"].as_u64().unwrap() > 100);
    let mut skipped = BTreeMap::<String, u64>::new();
    let mut cursor = String::new();
    let id = job["job_id"].as_str().unwrap();
    loop {
        let page = server.get(&format!("/v1/jobs/{id}/skipped?limit=200{cursor}")).await.is(200);
        for one in page["data"].as_array().unwrap() {
            *skipped.entry(one["reason"].as_str().unwrap().to_owned()).or_default() += 1;
            assert!(one["url"].as_str().unwrap().starts_with("http"));
        }
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    for (reason, count) in skipped {
        assert_eq!(job["skipped"][&reason], count, "{reason}");
    }

    let (mut parts, mut cursor) = (Vec::new(), String::new());
    loop {
        let part = server.get(&format!("/v1/jobs/{id}/results?limit=57{cursor}")).await.is(200);
        parts.extend(part["data"].as_array().unwrap().iter().cloned());
        let Some(next) = part["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(parts, results);

    let received = next(&receiver).await;
    received.verify(&server.secret().await).unwrap();
    let body: Value = serde_json::from_slice(&std::fs::read(received.body()).unwrap()).unwrap();
    assert_eq!(body["result"]["results"], json!(results));
    assert_eq!(body["result"]["total"], results.len());
    server.delivery(id, "delivered", 1).await;
    server.finish().await;
}

#[tokio::test]
async fn no_more_pages_are_fetched_than_asked_for_and_no_fewer() {
    let server = Server::start().await;
    let shape = Shape::mixed(600);
    for most in [1, 2, 37, 250] {
        let site = Generated::start(shape).await;
        let (job, results) = crawl(&server, &site, json!({"max_pages": most})).await;
        assert_eq!(results.len(), most);
        assert_eq!(pages(&site, &results).len(), most);
        assert!(job["skipped"]["over_limit"].as_u64().unwrap() > 0);
    }
    server.finish().await;
}

#[tokio::test]
async fn depth_sitemaps_and_robots_bind_as_asked() {
    let server = Server::start().await;
    let shape = Shape { fan_out: 4, leads_to_private: false, ..Shape::mixed(400) };
    let cases = [
        (json!({"max_depth": 0}), shape.reachable(true, true, Some(0))),
        (json!({"max_depth": 2}), shape.reachable(true, true, Some(2))),
        (json!({"max_depth": 3, "sitemap": "skip"}), shape.reachable(true, false, Some(3))),
        (json!({"respect_robots": false}), shape.reachable(false, true, None)),
        (json!({"sitemap": "skip", "respect_robots": false}), shape.reachable(false, false, None)),
    ];
    for (options, expected) in cases {
        let site = Generated::start(shape).await;
        let (_, results) = crawl(&server, &site, options.clone()).await;
        assert_eq!(pages(&site, &results), expected, "{options}");
    }
    let site = Generated::start(shape).await;
    let (_, results) = crawl(&server, &site, json!({"sitemap": "only"})).await;
    let of_sitemap = (0..shape.pages).filter(|page| *page == 0 || (shape.is_orphan(*page) && !shape.is_private(*page)));
    assert!(pages(&site, &results).into_keys().eq(of_sitemap));
    server.finish().await;
}

#[tokio::test]
async fn paths_are_chosen_by_regular_expressions() {
    let server = Server::start().await;
    let shape = Shape::plain(300);
    let site = Generated::start(shape).await;
    let options = json!({"include_paths": ["^/section-[0-6]/"], "exclude_paths": ["page-[0-9]*3$"]});
    let (job, results) = crawl(&server, &site, options).await;
    let found = pages(&site, &results);
    assert!(found.len() > 20, "{found:?}");
    assert!(found.keys().all(|page| *page == 0 || (page % 13 <= 6 && page % 10 != 3)));
    assert!(job["skipped"]["out_of_scope"].as_u64().unwrap() > 20);

    let refused = server.post(CRAWL, &json!({"url": site.url(), "include_paths": ["fine", "(bad"]})).await;
    refused.blames("/include_paths/1");
    let huge = json!({"url": site.url(), "exclude_paths": ["((a{1,100}){1,100}){1,100}"]});
    server.post(CRAWL, &huge).await.blames("/exclude_paths/0");
    for (name, value) in [
        ("max_pages", json!(0)),
        ("max_pages", json!(100_000_000)),
        ("max_depth", json!(-1)),
        ("sitemap", json!("maybe")),
        ("delay_ms", json!(1_000_000_000)),
        ("maxpages", json!(3)),
    ] {
        let request = json!({"url": site.url(), name: value});
        let answer = server.post(CRAWL, &request).await;
        assert_eq!(answer.status, 422, "{name}");
        assert!(answer.json().to_string().contains(name), "{name}: {}", answer.json());
    }
    server.post(CRAWL, &json!({"url": "ftp://example.com/"})).await.blames("/url");
    server.post(CRAWL, &json!({})).await.blames("/url");
    server.finish().await;
}

#[tokio::test]
async fn traps_are_left_and_told() {
    let server = Server::start().await;
    // All pages are a link away, and what the traps lead to is two.
    let shape = Shape { has_traps: true, fan_out: 60, ..Shape::mixed(60) };
    let site = Generated::start(shape).await;
    let request = json!({"url": site.url(), "format": "text", "max_pages": 400});
    let job = server.queue(CRAWL, &request).await;
    let ended = server.ended(&job).await;
    assert_eq!(ended["status"], "completed");
    let results = lines(&server, &job).await;
    assert!(results.len() <= 400);
    let found: Vec<usize> = results.iter().filter_map(|result| site.page_of(result["url"].as_str().unwrap())).collect();
    let mut expected: Vec<usize> = shape.reachable(true, true, None).into_keys().collect();
    let mut sorted = found.clone();
    sorted.sort_unstable();
    expected.sort_unstable();
    assert_eq!(sorted, expected, "traps take no page's place");
    let of = |part: &str| results.iter().filter(|result| result["url"].as_str().unwrap().contains(part)).count();
    assert!(of("/deep/") <= 10, "{} of ever deeper paths", of("/deep/"));
    assert!(of("PHPSESSID") <= 1);
    assert_eq!(of("/loop/1"), 1);
    assert!(ended["skipped"]["over_limit"].as_u64().unwrap() > 1_000, "{ended}");
    server.finish().await;
}

#[tokio::test]
async fn a_crawl_goes_on_after_a_restart_and_can_be_cancelled() {
    let clock = clock();
    let server = Setup::new().clock(&clock).flag("fetch_concurrency", "8").start().await;
    let shape = Shape::mixed(1_500);
    let site = Generated::start(shape).await;
    let request = json!({"url": site.url(), "format": "text", "max_pages": 100_000});
    let job = server.queue(CRAWL, &request).await;
    let done = async |server: &Server, least: u64| {
        until("some pages", async || {
            let job = server.get(&format!("/v1/jobs/{job}")).await.is(200);
            (job["progress"]["succeeded"].as_u64().unwrap() >= least).then_some(())
        })
        .await;
    };
    done(&server, 1).await;
    let server = server.restart().await;
    done(&server, 300).await;
    let server = server.restart().await;
    clock.advance(SignedDuration::from_secs(60));
    server.ended(&job).await;
    let results = lines(&server, &job).await;
    assert_eq!(pages(&site, &results), shape.reachable(true, true, None));

    let site = Generated::start(Shape::plain(5_000)).await;
    let request = json!({"url": site.url(), "format": "text", "max_pages": 100_000});
    let job = server.queue(CRAWL, &request).await;
    until("some pages", async || {
        let job = server.get(&format!("/v1/jobs/{job}")).await.is(200);
        (job["progress"]["succeeded"].as_u64().unwrap() >= 1).then_some(())
    })
    .await;
    server.delete(&format!("/v1/jobs/{job}")).await.is(202);
    let ended = server.ended(&job).await;
    assert_eq!((&ended["status"], &ended["error"]["code"]), (&json!("failed"), &json!("cancelled")));
    let results = lines(&server, &job).await;
    assert_eq!(ended["progress"]["total"], results.len());
    assert!(results.len() < 5_000);
    server.finish().await;
}

#[tokio::test]
async fn a_site_is_mapped_without_being_scraped() {
    let server = Server::start().await;
    let shape = Shape::mixed(300);
    let site = Generated::start(shape).await;
    let map = server.post("/v1/map", &json!({"url": site.url()})).await.is(200);
    let urls: Vec<&str> = map["urls"].as_array().unwrap().iter().map(|url| url.as_str().unwrap()).collect();
    let expected = shape.reachable(true, true, Some(1));
    let mut found: Vec<usize> = urls.iter().filter_map(|url| site.page_of(url)).collect();
    found.sort_unstable();
    found.dedup();
    assert!(expected.keys().all(|page| found.binary_search(page).is_ok()), "{urls:?}");
    assert!((1..shape.pages).all(|page| site.hits(page) == 0), "nothing but the first page is fetched");
    let few = server.post("/v1/map", &json!({"url": site.url(), "limit": 5})).await.is(200);
    assert_eq!(few["urls"].as_array().unwrap().len(), 5);
    let some = server.post("/v1/map", &json!({"url": site.url(), "search": "page-29"})).await.is(200);
    assert!(some["urls"].as_array().unwrap().iter().all(|url| url.as_str().unwrap().contains("page-29")));
    server.post("/v1/map", &json!({"url": "nothing"})).await.blames("/url");
    server.finish().await;
}
