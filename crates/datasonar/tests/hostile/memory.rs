//! Pages that are built to use up memory, on the real binary under the memory limit of a small container.
//!
//! The limit is a control group's where the test may create one (as root). Otherwise the budget is set by hand and the
//! process's peak is measured. Each kind of page is known to have cost more than a gigabyte once, or is drawn by a seed.
//! `HOSTILE_PAGES` sets how many are drawn, `HEALTHY_PAGES` how many another tenant queues beside them, `HOSTILE_MEMORY` the
//! limit in MiB, `HOSTILE_PROGRAM` the server, such as that of a release.

use std::{
    convert::Infallible,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::LazyLock,
    time::Duration,
};

use bytes::Bytes;
use datasonar::cli::{
    client::{Api, Server},
    demo::child::Child,
};
use http::{Method, Response, header};
use http_body_util::Full;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpListener, process::Command, time::Instant};

const MIB: u64 = 1024 * 1024;
/// The size of a hostile page.
const PAGE_BYTES: usize = 5 * 1024 * 1024;
/// Healthy pages of another tenant.
const HEALTHY: usize = 300;
/// Every text format that there is.
const FORMATS: [&str; 6] = ["markdown", "text", "html", "raw_html", "links", "json"];

/// A page: its type and its bytes.
type Hostile = (&'static str, Bytes);

static KINDS: LazyLock<Vec<(&'static str, Hostile)>> = LazyLock::new(kinds);

/// Repeats a unit until a page is full.
fn repeat(unit: &str) -> Bytes {
    unit.repeat(PAGE_BYTES / unit.len()).into()
}

fn between(before: &str, unit: &str, after: &str) -> Bytes {
    [before.as_bytes(), &repeat(unit), after.as_bytes()].concat().into()
}

/// A table of so many rows and columns.
fn table(rows: usize, columns: usize) -> Bytes {
    let row = format!("<tr>{}</tr>", "<td>1</td>".repeat(columns));
    format!("<html><body><table>{}</table></body></html>", row.repeat(rows)).into()
}

/// JSON of small values below many arrays: pretty-printing indents each of them.
fn nested_json(depth: usize) -> Bytes {
    let inner = repeat("1,");
    [&b"[".repeat(depth)[..], &inner, b"1", &b"]".repeat(depth)].concat().into()
}

/// A document whose entities, spans, depth or repetition cost more than they weigh.
fn kinds() -> Vec<(&'static str, Hostile)> {
    vec![
        ("quotes-in-markdown", ("text/markdown", repeat(">"))),
        ("quoted-lines-in-markdown", ("text/markdown", repeat(">>>>>>>>>>>>>>>>x\n"))),
        ("lists-in-markdown", ("text/markdown", repeat("- "))),
        ("emphasis-in-markdown", ("text/markdown", repeat("*a _b "))),
        ("brackets-in-markdown", ("text/markdown", repeat("["))),
        ("links-in-markdown", ("text/markdown", repeat("[a](b)"))),
        ("cells-in-markdown", ("text/markdown", between("|a|b|\n|-|-|\n", "|1|2|\n", ""))),
        ("references-in-markdown", ("text/markdown", between("[a]: /x\n\n", "[a] ", ""))),
        ("nested-json", ("application/json", nested_json(120))),
        ("deeper-json", ("application/json", nested_json(100_000))),
        ("objects-in-json", ("application/json", between("[", "{\"a\":{}},", "{}]"))),
        ("table", ("text/html", table(1000, 1000))),
        ("wide-table", ("text/html", table(2, 250_000))),
        ("spans", ("text/html", between("<table>", "<tr><td colspan=1000 rowspan=1000>x", "</table>"))),
        ("deep-quotes", ("text/html", between("<body>", "<blockquote>x", ""))),
        ("deep-lists", ("text/html", between("<body>", "<ul><li>x", ""))),
        ("items", ("text/html", between("<ul>", "<li>a", ""))),
        ("breaks", ("text/html", between("<p>", "a<br>", ""))),
        (
            "links",
            (
                "text/html",
                between("<base href=\"http://example.com/a/long/base/address/of/links/\"><p>", "<a href=x>y</a>", ""),
            ),
        ),
        ("attributes", ("text/html", between("<p ", "a", ">x"))),
        ("many-attributes", ("text/html", between("<p>", "<i a b c d e f>x</i>", ""))),
        ("entities", ("text/html", between("<p>", "&nGt;", ""))),
        ("escapes", ("text/html", between("<p>", "*_`", ""))),
        ("formatting", ("text/html", between("<p>", "<b><i><u><font>x<p>", ""))),
        ("footnotes", ("text/html", between("<p>", "<sup><a href=#f>1</a></sup><p id=f>x", ""))),
        ("formulas", ("text/html", between("<p>", "<math><mi>x</mi></math>", ""))),
        ("columns-in-csv", ("text/csv", repeat("1,"))),
        ("rows-in-csv", ("text/csv", repeat("1,2,3\n"))),
        ("nested-xml", ("application/xml", repeat("<a>"))),
        ("data-in-xml", ("application/xml", between("<r>", "<a b=\"c\">d</a>", "</r>"))),
        (
            "feed",
            (
                "application/rss+xml",
                between(
                    "<rss version=\"2.0\"><channel><title>t</title>",
                    "<item><title>t</title><description>&lt;ul&gt;&lt;li&gt;a&lt;li&gt;b</description></item>",
                    "</channel></rss>",
                ),
            ),
        ),
        ("addresses-in-text", ("text/plain", repeat("http://a.b/ "))),
        ("lines-of-text", ("text/plain", repeat("a\n\n"))),
        ("utf-16", ("text/html; charset=utf-16le", repeat("<\0b\0>\0x\0"))),
    ]
}

/// A hostile page that a number stands for: pieces of markup repeated within each other.
fn drawn(number: usize) -> Hostile {
    const UNITS: [&str; 24] = [
        "<div>",
        "<ul><li>",
        "<table><tr><td>",
        "</td><td>",
        "</tr><tr>",
        "<blockquote>",
        "<b>",
        "<i>x",
        "<a href=y>z</a>",
        "<p>",
        "&amp;",
        "\\",
        "`",
        "*",
        "_",
        "[",
        "> ",
        "- ",
        "| a ",
        "<pre>",
        "<code>x</code>",
        "<h2>t</h2>",
        "<br>",
        "{\"a\":[",
    ];
    const TYPES: [&str; 6] =
        ["text/html", "text/markdown", "application/json", "text/plain", "application/xml", "application/xhtml+xml"];
    // A small generator of numbers, so that a number names its page for ever.
    let mut state = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let kind = TYPES[next(TYPES.len())];
    let size = PAGE_BYTES >> next(6);
    let mut body = String::with_capacity(size + 64);
    while body.len() < size {
        let unit: String = (0..1 + next(4)).map(|_| UNITS[next(UNITS.len())]).collect();
        let times = 1 << next(18);
        body.push_str(&unit.repeat(times.min((size - body.len()) / unit.len() + 1)));
    }
    (kind, body.into())
}

fn healthy(number: usize) -> Bytes {
    let sentence = format!("Sentence of page {number}, which a reader would like to have whole. ");
    let paragraph = format!("<p>{}</p>", sentence.repeat(8));
    format!("<html><head><title>Page {number}</title></head><body><article><h1>Page {number}</h1>{}</article></body></html>", paragraph.repeat(20)).into()
}

/// Serves `/kind/N`, `/drawn/N` and `/healthy/N`; answers where.
async fn site(ip: &str) -> String {
    let listener = TcpListener::bind((ip, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(|request: http::Request<hyper::body::Incoming>| async move {
                let mut path = request.uri().path().split('/').skip(1);
                let (what, number) = (path.next().unwrap_or("").to_owned(), path.next().and_then(|n| n.parse().ok()));
                let number: usize = number.unwrap_or(0);
                let page = tokio::task::spawn_blocking(move || match what.as_str() {
                    "kind" => KINDS[number].1.clone(),
                    "drawn" => drawn(number),
                    _ => ("text/html", healthy(number)),
                });
                let (kind, body) = page.await.unwrap();
                let response = Response::builder().header(header::CONTENT_TYPE, kind);
                Ok::<_, Infallible>(response.body(Full::new(body)).unwrap())
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    format!("http://{address}")
}

/// A control group with a memory limit; removed when dropped.
struct Group(PathBuf);

impl Group {
    /// Creates one, where the system lets this process.
    fn create(limit: u64) -> Option<Self> {
        let name = format!("datasonar-test-{}", std::process::id());
        for (root, files) in [
            ("/sys/fs/cgroup/memory", &["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"][..]),
            ("/sys/fs/cgroup", &["memory.max"][..]),
        ] {
            let path = Path::new(root).join(&name);
            if fs::create_dir(&path).is_err() {
                continue;
            }
            let group = Self(path);
            // Swap, where it is counted, belongs to the limit; where it is not, the second file does not exist.
            if fs::write(group.0.join(files[0]), limit.to_string()).is_ok() {
                for file in &files[1..] {
                    let _ = fs::write(group.0.join(file), limit.to_string());
                }
                let _ = fs::write(group.0.join("memory.swap.max"), "0");
                return Some(group);
            }
        }
        None
    }

    /// Writes a program that is the server within this group.
    fn program(&self, directory: &Path) -> PathBuf {
        let program = directory.join("confined");
        let procs = self.0.join("cgroup.procs");
        let server = server().display().to_string();
        fs::write(&program, format!("#!/bin/sh\necho $$ > {} && exec {server} \"$@\"\n", procs.display())).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        program
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

fn server() -> PathBuf {
    std::env::var_os("HOSTILE_PROGRAM").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_datasonar")), PathBuf::from)
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Makes an account on a plan and a key for it, beside the running server.
async fn tenant(data: &Path, name: &str) -> String {
    let run = async |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_datasonar"));
        command.args(arguments).arg("--data-dir").arg(data);
        let output = command.output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let email = format!("{name}@example.com");
    run(&["accounts", "create", "--email", &email, "--plan", "enterprise"]).await;
    run(&["keys", "create", "--account", &email, "--environment", "production"]).await
}

async fn queue(api: &Api, urls: &[String], formats: &Value) -> String {
    let request = json!({ "urls": urls, "format": formats, "only_main_content": false, "timeout": 120 });
    let queued = api.json(Method::POST, "/v1/scrape/batch/async", Some(&request)).await.unwrap();
    queued["job_id"].as_str().unwrap().to_owned()
}

/// The codes of a job's results.
async fn outcomes(api: &Api, job: &str) -> Vec<String> {
    let mut codes = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/v1/jobs/{job}/results?limit=5{cursor}");
        let page = api.json(Method::GET, &path, None).await.unwrap();
        for result in page["data"].as_array().unwrap() {
            codes.push(result["error"]["code"].as_str().unwrap_or("success").to_owned());
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return codes,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_pages_do_not_end_a_small_server() {
    let limit = setting("HOSTILE_MEMORY", 512) as u64 * MIB;
    let pages = setting("HOSTILE_PAGES", 40);
    let healthy_pages = setting("HEALTHY_PAGES", HEALTHY);
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    // Two hosts, since pages of one host share its permits.
    let (site, other_site) = (site("127.0.13.1").await, site("127.0.13.2").await);
    let group = Group::create(limit);
    let program = match &group {
        Some(group) => group.program(directory.path()),
        None => server(),
    };
    let mut variables = vec![("DATASONAR_FETCH_RETRIES", "0".to_owned())];
    if group.is_none() {
        println!("no control group can be created: the budget is set by hand, and the peak is measured");
        variables.push(("DATASONAR_EXTRACT_MEMORY", format!("{}MiB", limit / MIB / 4)));
    }
    let mut child = Child::start_program(&program, &data, &variables).await.unwrap();
    let api = |key: String| Api::new(Server { server: child.url(), api_key: key }).unwrap();
    let hostile = api(child.keys.clone().unwrap().0);
    let other = api(tenant(&data, "other").await);

    let healthy_urls: Vec<String> = (0..healthy_pages).map(|number| format!("{other_site}/healthy/{number}")).collect();
    let run_healthy = async || {
        let begin = Instant::now();
        let job = queue(&other, &healthy_urls, &json!("markdown")).await;
        other.wait(&job, async |_| {}).await.unwrap();
        let codes = outcomes(&other, &job).await;
        assert!(codes.iter().all(|code| code == "success"), "a healthy page failed: {codes:?}");
        healthy_pages as f64 / begin.elapsed().as_secs_f64()
    };
    let alone = run_healthy().await;

    let kinds: Vec<String> = (0..KINDS.len()).map(|number| format!("{site}/kind/{number}")).collect();
    let drawn: Vec<String> = (0..pages).map(|number| format!("{site}/drawn/{number}")).collect();
    let first = queue(&hostile, &kinds, &json!(FORMATS)).await;
    let second = queue(&hostile, &drawn, &json!(FORMATS)).await;
    let beside = run_healthy().await;
    let ended = async {
        for job in [&first, &second] {
            hostile.wait(job, async |_| {}).await.unwrap();
        }
    };
    let patience = Duration::from_secs(240 + 2 * pages as u64);
    tokio::time::timeout(patience, ended).await.expect("the hostile jobs do not end");

    let peak = child.peak_memory().unwrap_or_else(|| panic!("the server died: {}", child.last_words()));
    println!(
        "{} MiB of {} at most; healthy pages {alone:.0}/s alone, {beside:.0}/s beside hostile ones ({:.2})",
        peak / MIB,
        limit / MIB,
        beside / alone
    );
    assert!(peak <= limit, "{} MiB were used", peak / MIB);
    for (job, urls) in [(&first, &kinds), (&second, &drawn)] {
        let codes = outcomes(&hostile, job).await;
        assert_eq!(codes.len(), urls.len(), "each URL has one result");
        for (url, code) in urls.iter().zip(&codes) {
            let is_known = ["success", "body_too_large", "timeout", "decode_error"].contains(&code.as_str());
            assert!(is_known, "{url} ended with {code}");
        }
        println!("{} of {} had content", codes.iter().filter(|code| *code == "success").count(), codes.len());
    }
    child.stop().await.unwrap();
}
