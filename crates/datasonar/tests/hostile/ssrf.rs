//! Server-side request forgery: forbidden addresses in every spelling, through every way in.
//!
//! The addresses and their spellings are generated. The oracle is the dialer of the server under test, which records each
//! address that it is asked for: apart from the one public address of the test's own site, none may ever be dialled.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use datasonar_net::{Connection, Dial, Resolve, ResolveError, TcpDialer};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

use super::server::{Server, Setup};

/// The public address of the site that leads elsewhere.
const PUBLIC: Ipv4Addr = Ipv4Addr::new(93, 184, 215, 14);

/// IPv4 addresses that must never be dialled: one or more of each special-purpose block.
const FORBIDDEN4: [[u8; 4]; 18] = [
    [127, 0, 0, 1],
    [127, 255, 255, 254],
    [0, 0, 0, 0],
    [0, 1, 2, 3],
    [10, 0, 0, 1],
    [172, 16, 0, 1],
    [172, 31, 255, 255],
    [192, 168, 1, 1],
    [169, 254, 169, 254],
    [169, 254, 170, 2],
    [100, 64, 0, 1],
    [100, 100, 100, 200],
    [168, 63, 129, 16],
    [192, 0, 0, 192],
    [198, 18, 0, 1],
    [203, 0, 113, 7],
    [224, 0, 0, 1],
    [255, 255, 255, 255],
];

/// IPv6 addresses that must never be dialled.
const FORBIDDEN6: [&str; 12] = [
    "::",
    "::1",
    "fe80::1",
    "fec0::1",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
    "2001:db8::1",
    "3fff::1",
    "5f00::1",
    "100::1",
    "64:ff9b:1::1",
];

/// Names that resolve, at least in part, to forbidden addresses.
const NAMES: [&str; 7] =
    ["private.test", "loopback6.test", "metadata.test", "mixed.test", "mapped.test", "nat64.test", "rebinding.test"];

/// Spellings of an IPv4 address as the host of a URL.
fn spellings4(ip: [u8; 4]) -> Vec<String> {
    let [a, b, c, d] = ip;
    let whole = u32::from_be_bytes(ip);
    let last3 = whole & 0x00ff_ffff;
    let last2 = whole & 0xffff;
    let dotted = format!("{a}.{b}.{c}.{d}");
    let percent: String = dotted.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let full_width: String = dotted
        .chars()
        .map(|c| c.to_digit(10).map_or('\u{ff0e}', |digit| char::from_u32(0xff10 + digit).unwrap()))
        .collect();
    let circled = dotted.replace('1', "\u{2460}").replace('2', "\u{2461}").replace('0', "\u{24ea}");
    let (hi, lo) = (whole >> 16, whole & 0xffff);
    let mut spellings = vec![
        dotted.clone(),
        format!("{dotted}."),
        format!("{whole}"),
        format!("0x{whole:x}"),
        format!("0X{whole:08X}"),
        format!("0{whole:o}"),
        format!("0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}"),
        format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
        format!("0000{a:o}.0x{b:x}.{c}.0{d:o}"),
        format!("{a}.{last3}"),
        format!("0x{a:x}.0x{last3:x}"),
        format!("{a}.{b}.{last2}"),
        format!("{a}.{b}.0{last2:o}"),
        percent,
        full_width,
        circled,
        dotted.replace('.', "\u{3002}"),
        dotted.replace('.', "\u{ff61}"),
        format!("user:secret@{dotted}"),
        format!("public.test%40x@{dotted}"),
        format!("{dotted}:8080"),
        format!("{dotted}:0443"),
        format!("[::ffff:{dotted}]"),
        format!("[::ffff:{hi:x}:{lo:x}]"),
        format!("[0:0:0:0:0:ffff:{hi:04x}:{lo:04x}]"),
        format!("[::ffff:0:{hi:x}:{lo:x}]"),
        format!("[64:ff9b::{dotted}]"),
        format!("[64:ff9b::{hi:x}:{lo:x}]"),
        format!("[64:ff9b:1::{hi:x}:{lo:x}]"),
        format!("[2002:{hi:x}:{lo:x}::1]"),
        format!("[2001:0:{hi:x}:{lo:x}::{:x}:{:x}]", !hi & 0xffff, !lo & 0xffff),
        format!("[2001:0:5db8:d70e::{:x}:{:x}]", !hi & 0xffff, !lo & 0xffff),
    ];
    // `::` and `::1` are written like this, too, and are forbidden as such.
    spellings.push(format!("[::{hi:x}:{lo:x}]"));
    spellings
}

/// Spellings of an IPv6 address as the host of a URL.
fn spellings6(ip: Ipv6Addr) -> Vec<String> {
    let groups = ip.segments().map(|group| format!("{group:04x}")).join(":");
    vec![
        format!("[{ip}]"),
        format!("[{groups}]"),
        format!("[{}]", groups.to_uppercase()),
        format!("[{groups}]:8443"),
        format!("user@[{ip}]"),
        format!("%5b{ip}%5d"),
    ]
}

/// Names that mean the machine or its network by definition or custom.
fn local_names() -> Vec<String> {
    let names =
        ["localhost", "LOCALHOST", "localhost.", "a.b.localhost", "printer.local", "db.internal", "nas.home.arpa"];
    let spellings = names.iter().map(|name| (*name).to_owned());
    spellings.chain(["loc%61lhost".to_owned(), "\u{24db}ocalhost".to_owned(), "local\u{ad}host".to_owned()]).collect()
}

/// Hosts that must not be reached, in every spelling.
fn hosts() -> Vec<String> {
    let of4 = FORBIDDEN4.into_iter().flat_map(spellings4);
    let of6 = FORBIDDEN6.iter().flat_map(|ip| spellings6(ip.parse().unwrap()));
    let names = NAMES.iter().flat_map(|name| [(*name).to_owned(), name.to_uppercase(), format!("{name}.")]);
    of4.chain(of6).chain(names).chain(local_names()).collect()
}

/// Ways of writing a URL around a host, some of which only lenient parsers read.
fn urls(scheme: &str, host: &str) -> Vec<String> {
    vec![
        format!("{scheme}://{host}/"),
        format!("{scheme}:\\\\{host}\\"),
        format!("{scheme}:/{host}/?a=b#c"),
        format!("\t{scheme}:\n//{host}/"),
        format!("{}://{host}", scheme.to_uppercase()),
    ]
}

/// URLs whose scheme is not fetched.
const OTHER_SCHEMES: [&str; 10] = [
    "file:///etc/passwd",
    "FILE://localhost/etc/passwd",
    "ftp://public.test/",
    "gopher://public.test:6379/_INFO",
    "dict://127.0.0.1:11211/stats",
    "ws://127.0.0.1/",
    "data:text/html,hello",
    "javascript:alert(1)",
    "blob:http://127.0.0.1/x",
    "view-source:http://127.0.0.1/",
];

/// The names and wires of the server under test. Everything dialled but the site's address is a breach.
#[derive(Clone)]
struct Wires(Arc<State>);

struct State {
    site: SocketAddr,
    breaches: Mutex<BTreeSet<SocketAddr>>,
    /// How often the name that changes its address was resolved.
    resolved: AtomicUsize,
}

#[async_trait]
impl Resolve for Wires {
    async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let private = IpAddr::from([192, 168, 7, 7]);
        let public = IpAddr::V4(PUBLIC);
        let v6 = |text: &str| IpAddr::V6(text.parse().unwrap());
        Ok(match host.trim_end_matches('.') {
            "public.test" => vec![public],
            "private.test" => vec![private],
            "loopback6.test" => vec![v6("::1")],
            "metadata.test" => vec![IpAddr::from([169, 254, 169, 254])],
            "mixed.test" => vec![private, v6("fe80::1"), IpAddr::from([10, 1, 1, 1])],
            "mapped.test" => vec![v6("::ffff:127.0.0.1")],
            "nat64.test" => vec![v6("64:ff9b::a00:1")],
            "rebinding.test" => match self.0.resolved.fetch_add(1, Ordering::Relaxed) {
                0 => vec![public],
                _ => vec![private],
            },
            // Names under localhost and the like must be refused before they are asked for.
            _ => vec![IpAddr::from([127, 0, 0, 1])],
        })
    }
}

#[async_trait]
impl Dial for Wires {
    async fn dial(&self, addr: SocketAddr) -> io::Result<Box<dyn Connection>> {
        if addr.ip() != IpAddr::V4(PUBLIC) {
            self.0.breaches.lock().insert(addr);
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        TcpDialer.dial(self.0.site).await
    }
}

/// A site that leads to wherever its path says: `/redirect/N` and `/robots-of/N` to the N-th of the URLs.
struct Site {
    wires: Wires,
}

impl Site {
    async fn start(targets: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let state =
            State { site: listener.local_addr().unwrap(), breaches: Mutex::default(), resolved: AtomicUsize::new(0) };
        let targets = Arc::new(targets);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, targets.clone()));
            }
        });
        Self { wires: Wires(Arc::new(state)) }
    }

    async fn server(&self) -> Server {
        let wires = Arc::new(self.wires.clone());
        let setup = Setup::new().flag("allow_private_networks", "").flag("fetch_retries", "0");
        setup.network(wires.clone(), wires).start().await
    }

    fn assert_no_breach(&self) {
        assert_eq!(*self.wires.0.breaches.lock(), BTreeSet::new(), "addresses that were dialled");
    }
}

/// Answers requests: a redirect for `/redirect/N`, a sitemap and a page that lead everywhere for the rest.
async fn answer(stream: TcpStream, targets: Arc<Vec<String>>) {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut line, mut first) = (String::new(), String::new());
        loop {
            line.clear();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            if first.is_empty() {
                first = line.clone();
            }
            if line.trim_end().is_empty() {
                break;
            }
        }
        let path = first.split(' ').nth(1).unwrap_or("/").to_owned();
        let target = path.rsplit('/').next().and_then(|number| targets.get(number.parse::<usize>().ok()?));
        let escape = |url: &str| url.replace('&', "&amp;").replace('"', "&quot;");
        let response = match target {
            Some(target) if path.starts_with("/redirect/") => {
                let location: String = target.chars().filter(|c| !c.is_control()).collect();
                format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n")
            }
            _ => {
                let (kind, body) = if path.contains("robots.txt") {
                    let lines = targets.iter().map(|url| format!("Sitemap: {}", url.replace(['\n', '\t'], "")));
                    ("text/plain", lines.take(200).collect::<Vec<_>>().join("\n"))
                } else if path.contains("sitemap") {
                    let entries = targets.iter().map(|url| format!("<sitemap><loc>{}</loc></sitemap>", escape(url)));
                    ("application/xml", format!("<sitemapindex>{}</sitemapindex>", entries.collect::<String>()))
                } else {
                    let links = targets.iter().map(|url| format!("<p><a href=\"{}\">a link</a></p>", escape(url)));
                    let frames =
                        targets.iter().take(50).map(|url| format!("<iframe src=\"{}\"></iframe>", escape(url)));
                    let body = links.chain(frames).collect::<String>();
                    ("text/html", format!("<html><body><article>{body}</article></body></html>"))
                };
                let length = body.len();
                format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}")
            }
        };
        if stream.write_all(response.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The oracle can fail: what the operator allows is dialled.
#[tokio::test]
async fn an_address_that_is_allowed_is_dialled() {
    let site = Site::start(vec!["http://10.0.0.1/".to_owned()]).await;
    let wires = Arc::new(site.wires.clone());
    let setup = Setup::new().flag("allow_private_networks", "10.0.0.0/8").flag("fetch_retries", "0");
    let server = setup.network(wires.clone(), wires).start().await;
    server.post("/v1/scrape", &json!({ "url": "http://public.test/redirect/0" })).await;
    assert_eq!(site.wires.0.breaches.lock().len(), 1);
    server.finish().await;
}

/// The codes of a batch's page results, beside its URLs.
async fn codes(server: &Server, urls: &[String], options: Value) -> Vec<(String, String)> {
    let mut request = options;
    // A request needs one URL that can be valid.
    let submitted: Vec<&str> = urls.iter().map(String::as_str).chain(["http://public.test/"]).collect();
    request["urls"] = json!(submitted);
    let job = server.queue("/v1/scrape/batch/async", &request).await;
    server.ended(&job).await;
    let mut found = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = server.get(&format!("/v1/jobs/{job}/results?limit=200{cursor}")).await.is(200);
        for result in page["data"].as_array().unwrap() {
            let code = result["error"]["code"].as_str().unwrap_or("success");
            found.push((result["url"].as_str().unwrap().to_owned(), code.to_owned()));
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(found.pop().unwrap().1, "success", "the public site can be reached");
    assert_eq!(found.len(), urls.len());
    found
}

fn assert_refused(results: &[(String, String)]) {
    let refused = ["blocked_address", "invalid_url", "dns_error"];
    let others: Vec<_> = results.iter().filter(|(_, code)| !refused.contains(&code.as_str())).collect();
    assert!(others.is_empty(), "{} were not refused: {:?}", others.len(), &others[..others.len().min(20)]);
}

#[tokio::test]
async fn no_spelling_of_a_forbidden_address_is_fetched() {
    let urls: Vec<String> = hosts().iter().flat_map(|host| urls("http", host)).collect();
    let urls: Vec<String> = urls.into_iter().chain(OTHER_SCHEMES.map(str::to_owned)).collect();
    assert!(urls.len() > 3000, "{} URLs", urls.len());
    let site = Site::start(Vec::new()).await;
    let server = site.server().await;
    // The name that changes its address is public once: that answer is for nobody's benefit but the first look's.
    let results = codes(&server, &urls, json!({})).await;
    let results: Vec<_> = results.into_iter().filter(|(url, _)| !url.to_lowercase().contains("rebinding")).collect();
    assert_refused(&results);
    let blocked = results.iter().filter(|(_, code)| code == "blocked_address").count();
    assert!(blocked > 2500, "the policy refused {blocked} of {}", results.len());
    site.assert_no_breach();
    server.finish().await;
}

#[tokio::test]
async fn no_redirect_leads_to_a_forbidden_address() {
    let targets: Vec<String> = hosts().iter().map(|host| format!("http://{host}/")).collect();
    let from = |number: usize| format!("http://public.test/redirect/{number}");
    let urls: Vec<String> = (0..targets.len()).map(from).collect();
    let site = Site::start(targets).await;
    let server = site.server().await;
    let results = codes(&server, &urls, json!({ "timeout": 60 })).await;
    site.assert_no_breach();
    let blocked = results.iter().filter(|(_, code)| code == "blocked_address").count();
    assert!(blocked > 500, "the policy refused {blocked} of {}", results.len());
    let reached: Vec<_> = results.iter().filter(|(_, code)| code == "success").collect();
    // What the name that changes its address led to while it was public is the site itself; spellings with an at sign or an
    // escaped bracket may be read as paths or other hosts, none of which was dialled.
    assert!(reached.len() <= 1, "{reached:?}");
    server.finish().await;
}

#[tokio::test]
async fn crawls_and_maps_are_not_led_to_forbidden_addresses() {
    let targets: Vec<String> = hosts().iter().map(|host| format!("http://{host}/sitemap.xml")).collect();
    let site = Site::start(targets).await;
    let server = site.server().await;
    for request in [
        json!({ "url": "http://public.test/", "max_pages": 500, "allow_external_links": true, "respect_robots": true }),
        json!({ "url": "http://public.test/", "max_pages": 500, "allow_subdomains": true, "sitemap": "only" }),
    ] {
        let job = server.queue("/v1/crawl", &request).await;
        server.ended(&job).await;
    }
    server.post("/v1/map", &json!({ "url": "http://public.test/" })).await.is(200);
    site.assert_no_breach();
    server.finish().await;
}

#[tokio::test]
async fn no_callback_goes_to_a_forbidden_address() {
    let site = Site::start(Vec::new()).await;
    let server = site.server().await;
    for host in hosts() {
        let is_name = NAMES.iter().any(|name| host.to_lowercase().contains(name));
        let webhook = format!("https://{host}/hook");
        let job = json!({ "url": "http://public.test/", "webhook_url": webhook });
        if is_name {
            // Only DNS tells; that is asked when the callback is sent, and by the test event at once.
            let attempt = server.post("/v1/webhooks/test", &json!({ "webhook_url": webhook })).await.json();
            let is_rebinding = host.to_lowercase().contains("rebinding");
            assert!(is_rebinding || attempt["error"]["code"] == "blocked_address", "{webhook}: {attempt}");
            continue;
        }
        for (path, body) in [
            ("/v1/scrape/async", job.clone()),
            ("/v1/webhooks/test", json!({ "webhook_url": webhook })),
            (
                "/v1/schedules",
                json!({ "name": "s", "cron": "0 0 1 1 *",
                    "job": { "kind": "scrape", "url": "http://public.test/", "webhook_url": webhook } }),
            ),
        ] {
            let answer = server.post(path, &body).await;
            assert_eq!(answer.status.as_u16(), 422, "{path} takes {webhook}: {answer:?}");
        }
    }
    site.assert_no_breach();
    server.finish().await;
}
