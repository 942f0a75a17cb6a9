//! What other people's servers send, and what is typed into addresses and forms, is shown as text: whatever it says, pages have the elements and
//! addresses that their templates have, and nothing else.

use std::collections::BTreeSet;

use http::Method;
use regex::Regex;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::{
    dashboard::{Browser, environment_routes, form},
    hostile::{Authority, answering, server},
    server::Server,
};

/// Texts that would be something else than text if they were not escaped, for each place that they may stand in.
const HOSTILE: [&str; 9] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "'><svg onload=alert(1)>",
    "</title></textarea></pre></code></style><script src=//evil.example></script>",
    "javascript:alert(1)",
    "{{7*7}}{% include \"x\" %}",
    "--><!--<iframe srcdoc='<script>1</script>'>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "\u{202e}gnirts\u{2066}\u{feff}\u{0}",
];

/// A site every page of which says all of it, wherever a page can say something.
async fn site() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let all = HOSTILE.join(" ").replace('\0', "");
    let escaped = all.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
    let long = escaped.repeat(2_000);
    let page = format!(
        "<html lang=\"{escaped}\"><head><title>{escaped}</title><meta name=description content=\"{long}\">\
        <meta name=author content=\"{escaped}\"><link rel=canonical href=\"javascript:alert(1)\"></head><body>\
        <h1>{escaped}</h1><p onclick=\"alert(1)\">{escaped}</p><script>alert('mine')</script><iframe src=\"javascript:1\"></iframe>\
        <form action=\"https://evil.example/\"><input name=a></form><a href=\"javascript:alert(1)\">link</a>\
        <a href=\"/next?a=%22%3E%3Cscript%3E\">next</a><p>{long}</p></body></html>"
    );
    let ok = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=utf-8\r\nx-evil: <script>\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{page}",
        page.len()
    );
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let ok = ok.clone();
            tokio::spawn(async move {
                let mut head = [0; 16_384];
                let read = stream.read(&mut head).await.unwrap_or(0);
                let text = String::from_utf8_lossy(&head[..read]).into_owned();
                let path = text.split(' ').nth(1).unwrap_or_default();
                let answer = match path.split('?').next().unwrap_or_default() {
                    "/away" => "HTTP/1.1 302 Found\r\nlocation: javascript:alert(1)//<script>\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned(),
                    "/robots.txt" => "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned(),
                    _ => ok,
                };
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    format!("http://{address}")
}

/// What a page of ours may be made of.
struct Rules {
    tag: Regex,
    attribute: Regex,
    elements: BTreeSet<String>,
}

impl Rules {
    /// The elements that templates, and what draws charts and times, have.
    fn new() -> Self {
        let tag = Regex::new(r#"<(/?[A-Za-z][A-Za-z0-9]*)((?:[^<>"]|"[^"]*")*)>"#).unwrap();
        let opening = Regex::new("<([a-z][a-z0-9]*)").unwrap();
        let mut elements = BTreeSet::new();
        for folder in ["templates", "src/dashboard/kit"] {
            let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
            for entry in std::fs::read_dir(folder).unwrap() {
                let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
                elements.extend(opening.captures_iter(&text).map(|found| found[1].to_owned()));
            }
        }
        assert!(elements.contains("main") && !elements.contains("iframe") && !elements.contains("object"));
        let attribute = Regex::new(r#"([A-Za-z-]+)(?:="([^"]*)")?"#).unwrap();
        Self { tag, attribute, elements }
    }

    fn check(&self, path: &str, html: &str) {
        // All that begins like an element is one of ours: what is text has its brackets escaped.
        let begins = html.matches('<').count() - html.matches("<!doctype").count();
        let tags: Vec<_> = self.tag.captures_iter(html).collect();
        assert_eq!(tags.len(), begins, "{path} has a bracket that is no element's");
        let mut scripts = 0;
        for tag in tags {
            let name = tag[1].trim_start_matches('/').to_lowercase();
            assert!(self.elements.contains(&name), "{path} has a foreign <{name}>");
            scripts += usize::from(&tag[1] == "script");
            for attribute in self.attribute.captures_iter(&tag[2]) {
                let (name, value) = (attribute[1].to_lowercase(), attribute.get(2).map_or("", |value| value.as_str()));
                assert!(!name.starts_with("on") && name != "style" && name != "srcdoc", "{path}: {}", &tag[0]);
                if matches!(&*name, "href" | "src" | "action" | "formaction" | "data-live") {
                    let is_ours = value.starts_with(['/', '?', '#']) && !value.starts_with("//");
                    assert!(is_ours, "{path} leads to {value}");
                }
            }
        }
        assert_eq!(scripts, 1, "{path}: one script, our own");
        assert!(html.len() < 2_000_000, "{path} has {} bytes", html.len());
    }
}

/// Makes jobs, deliveries and a schedule of hostile bytes. Answers ids.
async fn fill(server: &Server, site: &str, endpoint: &str) -> [String; 3] {
    let long = "x".repeat(4_000);
    let urls = json!([
        format!("{site}/a?q=\"><script>alert(1)</script>"),
        format!("{site}/away"),
        "javascript:alert(1)",
        "<script>alert(1)</script>",
        format!("{site}/{long}"),
        format!("{site}/\u{202e}gpj.exe"),
        "http://127.0.0.1:9/<b>",
    ]);
    let formats = json!(["markdown", "text", "html", "raw_html", "links", "json"]);
    let headers = json!({"x-mine": "<script>alert(1)</script>"});
    let body = json!({
        "urls": urls, "format": formats, "webhook_url": endpoint, "headers": headers, "include_selectors": ["body"],
    });
    let job = server.queue("/v1/scrape/batch/async", &body).await;
    server.ended(&job).await;
    let delivery = server.delivery(&job, "failed", 1).await["id"].as_str().unwrap().to_owned();
    let body = json!({
        "name": HOSTILE[..5].join(" "), "cron": "0 0 1 1 *", "job": {"kind": "scrape", "url": format!("{site}/?<script>")},
    });
    let schedule = server.post("/v1/schedules", &body).await.is(201)["id"].as_str().unwrap().to_owned();
    [job, delivery, schedule]
}

#[tokio::test]
async fn what_others_send_is_text() {
    let (site, authority) = (site().await, Authority::new());
    let server = server(&authority).await;
    let body = HOSTILE.join("\r\n").repeat(50);
    let answer = format!(
        "HTTP/1.1 500 <script>\r\nset-cookie: datasonar_session=evil\r\nx-evil: <script>alert(1)</script>\r\n\
        location: javascript:alert(1)\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let endpoint = answering(authority.acceptor("localhost", false), answer).await;
    let endpoint = format!("{endpoint}?a=\"><script>alert(1)</script>&b='");
    let [job, delivery, schedule] = fill(&server, &site, &endpoint).await;
    let browser = Browser::signed_in(&server).await;
    browser.post("/production/settings/keys", &[("name", &HOSTILE.join(" "))]).await.is(200);
    let rules = Rules::new();
    let mut frames = 0;
    for (route, is_get) in environment_routes() {
        if !is_get || route.ends_with("/live") {
            continue;
        }
        let id = match route.split('/').nth(1).unwrap() {
            "jobs" => &job,
            "schedules" => &schedule,
            _ => &delivery,
        };
        let query = if route == "/dead-letters/group" {
            format!("?{}", String::from_utf8_lossy(&form(&[("url", &endpoint), ("cause", "500")])))
        } else {
            String::new()
        };
        let path = format!("/production{}{query}", route.replace("{id}", id).replace("{at}", "0.0"));
        let shown = browser.get(&path).await.is(200);
        let policy = shown.header("content-security-policy").to_owned();
        assert_eq!(shown.header("x-content-type-options"), "nosniff", "{path}");
        assert!(!shown.cookies().contains("evil"), "{path}");
        if route.contains("/frame/") {
            // The page as it came, where it can do nothing.
            frames += 1;
            assert!(policy.starts_with("sandbox; default-src 'none'") && !policy.contains("allow-"), "{policy}");
            assert!(!policy.contains("script-src") && policy.contains("form-action 'none'"), "{policy}");
        } else if shown.header("content-type").starts_with("text/html") {
            assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{path}: {policy}");
            rules.check(&path, &shown.html());
        } else {
            let disposition = shown.header("content-disposition");
            assert!(disposition.starts_with("attachment; filename=\""), "{path}: {disposition}");
            assert!(!disposition.contains(['<', '\r', '\n']), "{disposition}");
        }
    }
    assert_eq!(frames, 1);
    let html = browser.get(&format!("/production/jobs/{job}")).await.is(200).html();
    assert!(html.contains("&#60;script&#62;alert(1)&#60;/script&#62;"), "it is shown");
    let html = browser.get(&format!("/production/deliveries/{delivery}")).await.is(200).html();
    assert!(html.contains("datasonar_session=evil") && html.contains("&#60;script&#62;"), "it is shown");
    // What turns text round ends where it stands.
    let style = html.split("href=\"").find(|part| part.starts_with("/assets/") && part.contains(".css")).unwrap();
    let style = browser.get(style.split('"').next().unwrap()).await.is(200).html();
    assert!(style.contains("code, pre, td, .mono, .url, summary > * { unicode-bidi: isolate; }"));
    server.finish().await;
}

#[tokio::test]
async fn what_is_typed_is_text() {
    let server = Server::start().await;
    let browser = Browser::signed_in(&server).await;
    let rules = Rules::new();
    let long = "<b>".repeat(1_000);
    let texts: Vec<&str> =
        HOSTILE.into_iter().chain(["\r\nset-cookie: a=b", "%0d%0aset-cookie:%20a=b", &long]).collect();
    for text in &texts {
        let value = |name: &str| String::from_utf8_lossy(&form(&[(name, *text)])).into_owned();
        for path in [
            format!("/production/jobs?{}", value("q")),
            format!("/production/jobs?{}", value("status")),
            format!("/production/deliveries?{}", value("endpoint")),
            format!("/production/deliveries?{}", value("answer")),
            format!("/production/dead-letters/group?{}", value("url")),
            format!("/production/dead-letters/replay?{}", value("url")),
            format!("/production/jobs/new?{}", value("kind")),
            format!("/production/settings/webhooks?{}", value("language")),
            format!("/production/jobs/{}", value("x")),
        ] {
            let shown = browser.get(&path).await;
            assert!(!shown.cookies().contains("a=b"), "{path}");
            if shown.header("content-type").starts_with("text/html") && shown.status == 200 {
                rules.check(&path, &shown.html());
            } else {
                assert!(!shown.html().contains(text) || !text.contains('<'), "{path}: {}", shown.html());
            }
        }
        for (path, fields) in [
            ("/production/schedules", vec![("name", *text), ("cron", *text), ("timezone", *text), ("job", *text)]),
            ("/production/settings/members", vec![("email", *text), ("role", "member")]),
            ("/production/settings/webhooks/test", vec![("webhook_url", *text)]),
        ] {
            let shown = browser.post(path, &fields).await;
            assert!(shown.status.is_client_error() || shown.status == 200, "{path} {text}: {}", shown.status);
            assert!(!shown.html().contains(text) || !text.contains('<'), "{path}: {}", shown.html());
        }
        let fields = [("kind", "crawl"), ("url", *text), ("include_paths", *text), ("curl", "1")];
        rules.check("the form for a job", &browser.upload("/production/jobs/new", &fields, None).await.is(200).html());
    }
    // Signing in leads to pages of ours only.
    for to in
        ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "\r\nx: y", "/a\r\nx: y"]
    {
        let fields = form(&[("email", "ada@example.com"), ("password", super::dashboard::PASSWORD), ("to", to)]);
        let shown = Browser::new(&server).send(Method::POST, "/sign-in", &[], Some(fields)).await.is(303);
        assert_eq!(shown.header("location"), "/", "{to:?}");
        assert_eq!(shown.header("x"), "");
    }
    // A notice is whatever a cookie says.
    for text in &texts {
        let encoded: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
        let cookie = format!("{}; notice={encoded}; theme={encoded}", browser.cookie());
        let shown = Browser::new(&server).send(Method::GET, "/production", &[("cookie", &cookie)], None).await.is(200);
        rules.check("a notice", &shown.html());
    }
    server.finish().await;
}

#[tokio::test]
async fn every_page_leads_to_the_api_reference() {
    let server = Server::start().await;
    let browser = Browser::signed_in(&server).await;
    let mut seen = 0;
    for (route, is_get) in environment_routes() {
        if is_get && !route.contains('{') {
            let shown = browser.get(&format!("/production{route}")).await;
            if shown.status == 200 && shown.header("content-type").starts_with("text/html") {
                assert!(shown.html().contains(r#"href="/docs"#), "{route}");
                seen += 1;
            }
        }
    }
    assert!(seen > 10, "{seen}");
    for (browser, path) in [(&Browser::new(&server), "/sign-in"), (&browser, "/production/jobs/nothing")] {
        assert!(browser.get(path).await.html().contains(r#"href="/docs"#), "{path}");
    }
    server.finish().await;
}
