//! Sitemaps do not amplify: so many files, of the site's own hosts, each counted against the plan.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    credentials::{Host, page},
    plans::account,
    server::{Call, Server, Setup, until},
};

/// How many of the paths of a host begin so.
fn asked(host: &Host, prefix: &str) -> usize {
    host.asked.lock().unwrap().iter().filter(|(path, _)| path.starts_with(prefix)).count()
}

fn index(files: impl Iterator<Item = String>) -> String {
    let files: String = files.map(|file| format!("<sitemap><loc>{file}</loc></sitemap>")).collect();
    format!("<sitemapindex>{files}</sitemapindex>")
}

/// A site whose sitemap names 200 others.
async fn many() -> Host {
    let names: Vec<&'static str> = (0..200).map(|number| &*format!("/map{number}.xml").leak()).collect();
    let mut pages: BTreeMap<&'static str, String> = names
        .iter()
        .enumerate()
        .map(|(number, name)| (*name, format!("<urlset><url><loc>/page{number}</loc></url></urlset>")))
        .collect();
    pages.insert("/", page(&[]));
    pages.insert("/sitemap.xml", index(names.iter().map(|name| (*name).to_owned())));
    Host::start(pages).await
}

#[tokio::test]
async fn fifty_sitemaps_are_read_at_most() {
    let server = Server::start().await;
    let site = many().await;
    let url = format!("{}/", site.url);
    let map = server.post("/v1/map", &json!({"url": url})).await.is(200);
    assert_eq!((asked(&site, "/map"), asked(&site, "/sitemap")), (49, 1));
    assert_eq!((map["truncated"].clone(), map["urls"].as_array().unwrap().len()), (json!(true), 50));
    site.asked.lock().unwrap().clear();
    let job = server.queue("/v1/crawl", &json!({"url": url, "max_pages": 10})).await;
    server.ended(&job).await;
    assert_eq!((asked(&site, "/map"), asked(&site, "/sitemap")), (9, 1), "no more than its pages need");
    site.asked.lock().unwrap().clear();
    let job = server.queue("/v1/crawl", &json!({"url": url, "max_pages": 1_000})).await;
    server.ended(&job).await;
    assert_eq!(asked(&site, "/map") + asked(&site, "/sitemap"), 50);
    assert!(site.asked.lock().unwrap().len() <= 1_000 + 50, "its pages and the sitemaps");
    server.finish().await;

    let server = Setup::new().flag("crawl_max_sitemaps", "3").start().await;
    site.asked.lock().unwrap().clear();
    server.post("/v1/map", &json!({"url": url})).await.is(200);
    assert_eq!(asked(&site, "/map") + asked(&site, "/sitemap"), 3);
    server.finish().await;
}

/// A site whose robots.txt names a sitemap of another host, which says this of it.
async fn across(robots: impl FnOnce(&str) -> String) -> (Host, Host) {
    let other = Host::start_with(|url| {
        BTreeMap::from([
            ("/robots.txt", robots(url)),
            ("/map.xml", index(["/more.xml".to_owned()].into_iter())),
            ("/more.xml", "<urlset><url><loc>/x</loc></url></urlset>".to_owned()),
        ])
    })
    .await;
    let map = format!("{}/map.xml", other.url);
    let home = Host::start(BTreeMap::from([
        ("/", page(&[])),
        ("/robots.txt", format!("sitemap: {map}\nsitemap: /away.xml\nsitemap: /own.xml\n")),
        ("/away.xml", format!("{}/more.xml", other.url)),
        ("/own.xml", index([format!("{}/more.xml", other.url)].into_iter())),
    ]))
    .await;
    (home, other)
}

#[tokio::test]
async fn sitemaps_of_other_hosts_are_read_where_their_robots_txt_names_them() {
    let server = Server::start().await;
    let read = async |home: &Host| {
        server.post("/v1/map", &json!({"url": format!("{}/", home.url)})).await.is(200);
        let request = json!({"url": format!("{}/", home.url), "allow_external_links": true});
        let job = server.queue("/v1/crawl", &request).await;
        server.ended(&job).await;
    };
    let (home, other) = across(|_| "user-agent: *\nallow: /\n".to_owned()).await;
    read(&home).await;
    assert_eq!((asked(&home, "/own.xml"), asked(&home, "/away.xml")), (2, 2));
    assert_eq!((asked(&other, "/map.xml"), asked(&other, "/more.xml")), (0, 0), "by no index and no redirect either");
    let (home, other) = across(|url| format!("sitemap: {url}/map.xml\n")).await;
    read(&home).await;
    assert_eq!((asked(&other, "/map.xml"), asked(&other, "/more.xml")), (2, 2), "it agrees, and with what that names");
    server.finish().await;
}

#[tokio::test]
async fn each_sitemap_counts_as_a_page_of_the_plan() {
    let server = Setup::new().flag("plan_free_pages_per_month", "30").start().await;
    let [_, key, _] = account(&server, "ada@example.com", "free").await;
    let used = async || {
        let usage = server.send(Call::new(http::Method::GET, "/v1/me").key(&key)).await.is(200);
        usage["usage"]["requests_this_month"].as_u64().unwrap_or_else(|| panic!("{usage}"))
    };
    let site = many().await;
    let url = format!("{}/", site.url);
    let crawl = json!({"url": url, "max_pages": 1_000, "sitemap": "skip"});
    let job = server.send(Call::post("/v1/crawl", &crawl).key(&key)).await.is(202)["job_id"].clone();
    let path = format!("/v1/jobs/{}", job.as_str().unwrap());
    let ended = async |path: &str| {
        until("the job's end", async || {
            let job: Value = server.send(Call::new(http::Method::GET, path).key(&key)).await.is(200);
            (job["status"] == "completed").then_some(())
        })
        .await;
    };
    ended(&path).await;
    let before = used().await;
    assert_eq!(before, 1, "the start alone");
    let crawl = json!({"url": url, "max_pages": 3});
    let job = server.send(Call::post("/v1/crawl", &crawl).key(&key)).await.is(202)["job_id"].clone();
    ended(&format!("/v1/jobs/{}", job.as_str().unwrap())).await;
    let files = asked(&site, "/map") + asked(&site, "/sitemap");
    assert_eq!(used().await, 1 + 3 + files as u64);
    let map = server.send(Call::post("/v1/map", &json!({"url": url})).key(&key)).await.is(200);
    assert_eq!(map["truncated"], true);
    assert_eq!(used().await, 30, "and not one more");
    server.running.stop().await;
}
