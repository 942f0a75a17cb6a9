//! What scripts make of a page comes out as its content.

use std::{collections::HashMap, io::Read, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{
    server::Server,
    web::{Answer, Site, Wires, content, scrape, setup, trusting_browser},
};

/// An application: nothing but a place, and a script that fills it with what it fetches.
const SHELL: &str = "<!doctype html><html lang=en><head><title>Shell</title></head><body><div id=root></div><script>
    fetch('/api').then(answer => answer.text()).then(text => {
        document.title = 'The catalogue';
        document.getElementById('root').innerHTML = `<main><article><h1>Catalogue</h1><p>${text.repeat(8)}</p>
            <p><a href=/lamp>A lamp</a> and <img src=/lamp.png alt='its picture'></p></article></main>`;
        document.body.style.height = '3000px';
        history.pushState({}, '', '/catalogue');
    });
    </script></body></html>";
const API: &str = "Written by a script from what it fetched: äöü, 日本語. ";

async fn shop() -> (Server, Site) {
    let site = Site::start().await;
    site.page("/", Answer::html(SHELL));
    site.page("/api", Answer::text(API).utf8());
    (setup().start().await, site)
}

impl Answer {
    fn utf8(self) -> Self {
        match self {
            Self::Is(status, _, body) => {
                Self::Is(status, vec![("content-type", "text/plain; charset=utf-8".to_owned())], body)
            }
            other => other,
        }
    }
}

/// Undoes a PNG down to its pixels: width, height, and how many bytes of them there are.
fn png(data: &str) -> (u32, u32, Vec<u8>) {
    let bytes = BASE64_STANDARD.decode(data).unwrap();
    let mut rest = bytes.strip_prefix(b"\x89PNG\r\n\x1a\n").expect("it is a PNG");
    let mut chunks: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
    while !rest.is_empty() {
        let length = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
        chunks.entry(rest[4..8].to_vec()).or_default().extend(&rest[8..8 + length]);
        rest = &rest[12 + length..];
    }
    assert!(chunks.contains_key(&b"IEND"[..]), "it is whole");
    let head = &chunks[&b"IHDR"[..]];
    let number = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().unwrap());
    let mut pixels = Vec::new();
    flate2::read::ZlibDecoder::new(&chunks[&b"IDAT"[..]][..]).read_to_end(&mut pixels).unwrap();
    let bytes_per_pixel = if head[9] == 6 { 4 } else { 3 };
    assert_eq!(pixels.len(), (number(0) as usize * bytes_per_pixel + 1) * number(4) as usize);
    (number(0), number(4), pixels)
}

#[tokio::test]
async fn what_a_script_writes_is_in_every_format() {
    let (server, site) = shop().await;
    let formats = ["markdown", "text", "html", "raw_html", "links", "json", "screenshot"];
    let page = scrape(&server, json!({"url": site.url("/"), "format": formats, "render": "always"})).await;
    assert_eq!(page["status"], "success", "{page}");
    assert_eq!((&page["status_code"], &page["final_url"]), (&json!(200), &json!(site.url("/catalogue"))));
    assert_eq!(page["metadata"]["title"], "The catalogue");
    assert_eq!(page["metadata"]["content_type"], "text/html");
    let of = &page["content"];
    assert_eq!(of.as_object().unwrap().keys().collect::<Vec<_>>(), formats);
    for format in ["markdown", "text", "html", "raw_html"] {
        assert!(of[format].as_str().unwrap().contains("what it fetched: äöü, 日本語."), "{format}: {page}");
    }
    assert!(of["markdown"].as_str().unwrap().contains("# Catalogue"));
    assert!(of["markdown"].as_str().unwrap().contains(&format!("({})", site.url("/lamp.png"))), "{page}");
    assert!(of["raw_html"].as_str().unwrap().starts_with("<!DOCTYPE html><html lang=\"en\">"));
    assert_eq!(of["links"][0]["url"], site.url("/lamp"));
    assert!(of["json"]["blocks"].is_array());
    let (width, height, pixels) = png(of["screenshot"]["data"].as_str().unwrap());
    assert_eq!(of["screenshot"]["media_type"], "image/png");
    assert_eq!((&of["screenshot"]["width"], &of["screenshot"]["height"]), (&json!(width), &json!(height)));
    assert_eq!(width, 1_280);
    assert!((3_000..3_200).contains(&height), "{height}");
    assert!(pixels.iter().any(|byte| *byte < 100), "there is dark text on it");
    server.finish().await;
}

#[tokio::test]
async fn a_screenshot_renders_by_itself_and_contradicts_never() {
    let (server, site) = shop().await;
    let page = scrape(&server, json!({"url": site.url("/"), "format": "screenshot"})).await;
    assert!(png(page["content"]["data"].as_str().unwrap()).1 >= 3_000);
    let never = json!({"url": site.url("/"), "format": ["text", "screenshot"], "render": "never"});
    let said = server.post("/v1/scrape", &never).await.blames("/render");
    assert!(said.contains("screenshot"), "{said}");
    // Without a look at the page its pictures are not fetched; with one they are.
    assert_eq!(site.hits("/lamp.png").len(), 1);
    let text = site.page("/text", Answer::text("not a page"));
    let picture = scrape(&server, json!({"url": text, "format": "screenshot"})).await;
    assert_eq!(picture["error"]["code"], "unsupported_content", "{picture}");
    server.finish().await;
}

#[tokio::test]
async fn auto_renders_shells_and_nothing_else() {
    let (server, site) = shop().await;
    let words = "There is plenty to read on this page, before any script has run. ".repeat(30);
    let article = format!(
        "<title>Article</title><article><h1>Article</h1><p id=text>{words}</p></article><script>
         document.getElementById('text').textContent = 'replaced by a script '.repeat(50)</script>"
    );
    site.page("/article", Answer::html(article));
    let job = json!({"urls": [site.url("/"), site.url("/article")], "render": "auto"});
    let result = server.post("/v1/scrape/batch", &job).await.is(200);
    let (shell, article) = (content(&result["results"][0]), content(&result["results"][1]));
    assert!(shell.contains("what it fetched: äöü"), "{shell}");
    assert!(article.contains("plenty to read"), "{article}");
    assert_eq!((site.hits("/").len(), site.hits("/article").len()), (2, 1), "the shell was fetched, then rendered");
    // What is no HTML is taken as it is, rendered or not.
    let text = site.page("/text", Answer::text("just some text"));
    for render in ["auto", "always"] {
        assert_eq!(content(&scrape(&server, json!({"url": text, "render": render})).await), "just some text\n");
    }
    server.finish().await;
}

#[tokio::test]
async fn what_is_waited_for_is_there() {
    let (server, site) = shop().await;
    let gate = Arc::new(Notify::new());
    site.page("/held", Answer::Held(gate.clone(), "It costs 12 euros, if it comes late.".to_owned()));
    let late = site.page(
        "/late",
        Answer::html(
            "<title>Late</title><p>At once.</p><script>fetch('/held').then(a => a.text()).then(text => {
             document.body.innerHTML += `<p class=price>${text}</p>` })</script>",
        ),
    );
    let at_once = content(&scrape(&server, json!({"url": late, "render": "always", "format": "text"})).await);
    assert!(at_once.contains("At once.") && !at_once.contains("12 euros"), "{at_once}");
    gate.notify_one();
    let waited = json!({"url": late, "render": "always", "format": "text", "wait_for": "p.price"});
    assert!(content(&scrape(&server, waited).await).contains("12 euros"));
    let never = json!({"url": late, "render": "always", "wait_for": "#nothing", "timeout": 6});
    let never = server.post("/v1/scrape", &never).await.is(504);
    assert_eq!(never["error"]["code"], "timeout");
    assert!(never["error"]["message"].as_str().unwrap().contains("`#nothing`"), "{never}");
    let wrong = scrape(&server, json!({"url": late, "render": "always", "wait_for": "p[[["})).await;
    assert_eq!(wrong["error"]["code"], "render_error", "{wrong}");
    assert!(wrong["error"]["message"].as_str().unwrap().contains("selector"), "{wrong}");
    server.post("/v1/scrape", &json!({"url": late, "wait_for": " "})).await.blames("/wait_for");
    server.finish().await;
}

#[tokio::test]
async fn the_callers_headers_go_to_the_callers_site_only() {
    let (server, site) = shop().await;
    let other = Site::start().await;
    let script = format!(
        "<body><p id=x></p><script>fetch('/api').then(a => a.text()).then(text => {{ x.textContent = text }});
         fetch('{}', {{mode: 'no-cors'}})</script>",
        other.url("/count")
    );
    let page = site.page("/headers", Answer::html(script));
    let headers = json!({"Authorization": "Bearer secret", "X-Own": "1", "Accept-Language": "de"});
    let url = page.replace("http://", "http://me:pass@");
    for (url, authorization) in [(&page, "Bearer secret"), (&url, "Bearer secret")] {
        let scraped = scrape(&server, json!({"url": url, "render": "always", "headers": headers})).await;
        assert_eq!(scraped["final_url"], page, "credentials are not shown: {scraped}");
        for hit in [site.hits("/headers").pop().unwrap(), site.hits("/api").pop().unwrap()] {
            assert_eq!(
                (&hit.headers["authorization"], &hit.headers["x-own"]),
                (&authorization.parse().unwrap(), &"1".parse().unwrap())
            );
            let agent = hit.headers["user-agent"].to_str().unwrap();
            assert!(
                agent.contains(" Chrome/") && agent.ends_with(concat!(" Datasonar/", env!("CARGO_PKG_VERSION"))),
                "{agent}"
            );
        }
        let seen = other.hits("/count").pop().unwrap().headers;
        assert!(!seen.contains_key("authorization") && !seen.contains_key("x-own"), "{seen:?}");
    }
    let agent = json!({"url": page, "render": "always", "headers": {"User-Agent": "Mine/1"}});
    scrape(&server, agent).await;
    assert_eq!(site.hits("/api").pop().unwrap().headers["user-agent"], "Mine/1");
    server.finish().await;
}

#[tokio::test]
async fn failures_are_those_of_a_fetch() {
    let (server, site) = shop().await;
    site.page("/broken", Answer::Is(500, vec![("content-type", "text/html".to_owned())], "<p>broken</p>".to_owned()));
    site.page("/loop", Answer::to("/loop"));
    site.page("/moved", Answer::to("/"));
    let closed = std::net::TcpListener::bind(("127.0.0.2", 0)).unwrap().local_addr().unwrap();
    let mute = Site::start().await;
    for (url, code, status) in [
        (site.url("/nowhere"), "http_status", json!(404)),
        (site.url("/broken"), "http_status", json!(500)),
        (site.url("/loop"), "too_many_redirects", Value::Null),
        (format!("http://{closed}/"), "connect_error", Value::Null),
        ("http://nowhere.invalid/".to_owned(), "dns_error", Value::Null),
        ("https://nowhere.invalid/".to_owned(), "dns_error", Value::Null),
        (mute.url("/").replace("http:", "https:"), "tls_error", Value::Null),
        ("http://127.0.0.1:1/".to_owned(), "blocked_address", Value::Null),
    ] {
        let page = scrape(&server, json!({"url": url, "render": "always"})).await;
        assert_eq!((&page["error"]["code"], &page["status_code"]), (&json!(code), &status), "{url}: {page}");
    }
    assert_eq!(site.hits("/broken").len(), 2, "it was tried once more, as FETCH_RETRIES says");
    let moved = scrape(&server, json!({"url": site.url("/moved"), "render": "always"})).await;
    assert!(content(&moved).contains("äöü"));
    let small = scrape(&server, json!({"url": site.url("/"), "render": "always", "max_bytes": 500})).await;
    assert_eq!(small["error"]["code"], "body_too_large", "{small}");
    server.finish().await;
}

#[tokio::test]
async fn a_page_over_https_is_the_browsers_to_verify() {
    let (site, pin) = Site::secure().await;
    site.page("/", Answer::html(SHELL));
    site.page("/api", Answer::text(API).utf8());
    let (_directory, browser) = trusting_browser(&pin);
    let wires = Arc::new(Wires::default());
    let url = format!("https://site.test:{}/", site.address.port());
    let server = setup().flag("render_browser", browser.to_str().unwrap()).network(wires.clone(), wires).start().await;
    let page = scrape(&server, json!({"url": url, "render": "always"})).await;
    assert!(content(&page).contains("what it fetched: äöü"), "{page}");
    assert_eq!(page["final_url"], format!("{url}catalogue"));
    assert_eq!(site.hits("/api").len(), 1, "its script fetched the same way");
    server.finish().await;
    // Whoever does not know the key does not trust it.
    let wires = Arc::new(Wires::default());
    let server = setup().network(wires.clone(), wires).start().await;
    let page = scrape(&server, json!({"url": url, "render": "always"})).await;
    assert_eq!(page["error"]["code"], "tls_error", "{page}");
    server.finish().await;
}

#[tokio::test]
async fn a_crawl_follows_links_that_scripts_make() {
    let (server, site) = shop().await;
    let link = |to: &str| {
        format!(
            "<body><div id=root></div><script>root.innerHTML = '<main><h1>Here</h1><p>Some words of this page. \
                 <a href={to}>on</a></p></main>'</script>"
        )
    };
    site.page("/one", Answer::html(link("/two")));
    site.page("/two", Answer::html(link("/three")));
    site.page("/three", Answer::html("<body><script>location = '/forbidden'</script>"));
    site.page("/forbidden", Answer::html("<p>Robots are not to read this.</p>"));
    site.page("/robots.txt", Answer::text("User-agent: *\nDisallow: /forbidden"));
    for render in ["always", "auto"] {
        let job =
            server.queue("/v1/crawl", &json!({"url": site.url("/one"), "render": render, "sitemap": "skip"})).await;
        server.ended(&job).await;
        let result = server.get(&format!("/v1/jobs/{job}?include_result=true")).await.is(200)["result"].take();
        let urls: Vec<_> = result["results"].as_array().unwrap().iter().map(|page| page["url"].clone()).collect();
        // The third leads to a page that robots.txt forbids, and has no result, as one that redirects there has none.
        assert_eq!(urls, [site.url("/one"), site.url("/two")], "{result}");
        assert_eq!(result["results"][0]["status"], "success", "{result}");
        assert!(site.hits("/forbidden").is_empty(), "robots.txt binds scripts, too");
    }
    server.finish().await;
}
