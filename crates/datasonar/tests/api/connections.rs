//! What a connection may cost, and what is answered before a request reaches its route.

use std::{io::Read, process::Stdio, time::Duration};

use bytes::Bytes;
use http::Method;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    process::Command,
    time::Instant,
};

use super::server::{Call, Server, exchange};

/// Routes that take JSON.
const JSON_ROUTES: &[&str] = &[
    "/v1/scrape",
    "/v1/scrape/async",
    "/v1/scrape/batch",
    "/v1/scrape/batch/async",
    "/v1/crawl",
    "/v1/map",
    "/v1/schedules",
];

/// The resident memory of a process, in bytes.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[tokio::test]
async fn an_idle_connection_costs_little() {
    const CONNECTIONS: u64 = 1_000;
    let directory = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_datasonar"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(directory.path().join("data"))
        .env("RUST_LOG", "info")
        .env("DATASONAR_LOG_FORMAT", "json")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let pid = child.id().unwrap();
    let (mut out, mut err) =
        (BufReader::new(child.stdout.take().unwrap()).lines(), BufReader::new(child.stderr.take().unwrap()).lines());
    let address = loop {
        let line = tokio::select! {
            Ok(Some(line)) = out.next_line() => line,
            Ok(Some(line)) = err.next_line() => line,
        };
        if let Some(at) = line.find("127.0.0.1:") {
            let text: String =
                line[at..].chars().take_while(|next| next.is_ascii_digit() || matches!(next, '.' | ':')).collect();
            if let Ok(address) = text.parse::<std::net::SocketAddr>() {
                break address;
            }
        }
    };
    let request = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    assert!(exchange(address, request).await.starts_with("HTTP/1.1 200 "));
    let before = resident(pid);
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS {
        open.push(TcpStream::connect(address).await.unwrap());
    }
    // Connections are accepted in order: this one comes after all of them.
    assert!(exchange(address, request).await.starts_with("HTTP/1.1 200 "));
    let each = resident(pid).saturating_sub(before) / CONNECTIONS;
    assert!(each <= 16 * 1024, "{each} bytes a connection");
    drop(open);
    child.kill().await.unwrap();
}

#[tokio::test]
async fn a_request_names_one_host() {
    let server = Server::start().await;
    for (hosts, status) in [
        ("host: a.example\r\n", 200),
        ("", 400),
        ("host: a.example\r\nhost: a.example\r\n", 400),
        ("host: a.example\r\nHost: b.example\r\n", 400),
        ("host: \r\n", 400),
        ("host: a b\r\n", 400),
        ("host: user@a.example\r\n", 400),
        ("host: a.example:port\r\n", 400),
    ] {
        let request = format!("GET /healthz HTTP/1.1\r\n{hosts}connection: close\r\n\r\n");
        let answer = exchange(server.running.address, request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{hosts:?}: {answer}");
        assert!(status == 200 || answer.contains("application/problem+json"), "{answer}");
    }
    server.finish().await;
}

#[tokio::test]
async fn malformed_json_is_400_whatever_it_begins_with() {
    let server = Server::start().await;
    let deep = "[".repeat(10_000) + &"]".repeat(10_000);
    let malformed: &[&[u8]] = &[
        b"",
        b" \n",
        b"[1",
        b"\"x",
        b"nul",
        b"nullx",
        b"tru",
        b"-",
        b"1 2",
        b"01",
        b"{",
        b"{}x",
        b"[] []",
        b"\xef\xbb\xbf{}",
        b"{\"url\":",
        b"{\"url\":5",
        b"{\"urls\":5,",
        b"{\"urls\":[5",
        b"{\"urls\":[5]} x",
        b"{\"urls\":{\"a\":1}",
        b"{'url':1}",
        b"{\"url\":\"\xff\"}",
        b"[\"\xff\"]",
        b"\"\xff\"",
        b"{\"url\":\"\\ud800\"}",
        b"[\"\\ud800\"]",
        b"1e999",
        b"NaN",
        b"\x00",
        b"{\"url\":\"a\",}",
        b"{\"urls\":[\"a\",]}",
        deep.as_bytes(),
    ];
    let wrong: &[&[u8]] = &[
        b"[]",
        b"[1]",
        b"\"x\"",
        b"null",
        b"true",
        b"1",
        b"-1.5",
        b"{\"urls\":5,\"url\":5}",
        b"{\"urls\":[5],\"url\":[]}",
        b"{\"url\":\"a\",\"url\":\"b\"}",
        b" [{}] ",
    ];
    for path in JSON_ROUTES {
        for (bodies, status) in [(malformed, 400), (wrong, 422)] {
            for body in bodies {
                let answer = server.send(Call::raw(path, Bytes::copy_from_slice(body))).await;
                let shown = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
                assert_eq!(answer.status.as_u16(), status, "{path} {shown}: {}", answer.json());
            }
        }
    }
    server.finish().await;
}

#[tokio::test]
async fn names_of_codings_are_case_insensitive_and_lists_are_read() {
    let server = Server::start().await;
    let tight = zstd::encode_all(&b"[]"[..], 3).unwrap();
    for coding in ["ZSTD", "Zstd", " zstd ", "identity, zstd", "zstd,identity", ", zstd"] {
        server.send(Call::raw("/v1/scrape", tight.clone()).header("content-encoding", coding)).await.is(422);
    }
    for coding in ["Identity", "IDENTITY, identity"] {
        server.send(Call::raw("/v1/scrape", "[]").header("content-encoding", coding)).await.is(422);
    }
    for coding in ["br", "zstd, gzip", "gzip;q=1", "GZIP GZIP"] {
        let problem = server.send(Call::raw("/v1/scrape", "[]").header("content-encoding", coding)).await.is(415);
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("gzip") && detail.contains("zstd"), "{detail}");
    }
    server.finish().await;
}

#[tokio::test]
async fn answers_of_the_api_are_not_stored_nor_sniffed() {
    let server = Server::start().await;
    for (call, status) in [
        (Call::new(Method::GET, "/v1/jobs"), 200),
        (Call::new(Method::GET, "/v1/jobs").header("authorization", ""), 401),
        (Call::new(Method::GET, "/v1/nothing"), 404),
        (Call::new(Method::GET, "/v1"), 404),
        (Call::new(Method::PUT, "/v1/jobs"), 405),
        (Call::raw("/v1/scrape", vec![b' '; 2 << 20]), 413),
        (Call::raw("/v1/scrape", "{"), 400),
    ] {
        let answer = server.send(call).await;
        assert_eq!(answer.status.as_u16(), status);
        assert_eq!(answer.header("cache-control"), "no-store", "{status}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{status}");
    }
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_compressed_bodies_cost_no_time() {
    let server = Server::start().await;
    // Four megabytes that would decode to hundreds of gigabytes.
    let one = zstd::encode_all(std::io::repeat(b' ').take(16 << 20), 3).unwrap();
    let bomb = Bytes::from(one.repeat((4 << 20) / one.len()));
    let gzip_bomb = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::copy(&mut std::io::repeat(b' ').take(16 << 20), &mut encoder).unwrap();
        Bytes::from(encoder.finish().unwrap().repeat(64))
    };
    let begin = Instant::now();
    let bombs = (0..8).map(|n| {
        let (coding, bomb) = if n % 2 == 0 { ("zstd", &bomb) } else { ("gzip", &gzip_bomb) };
        server.send(Call::raw("/v1/scrape", bomb.clone()).header("content-encoding", coding))
    });
    let healthy = async {
        let mut longest = Duration::ZERO;
        for _ in 0..20 {
            let asked = Instant::now();
            assert_eq!(server.get("/healthz").await.status.as_u16(), 200);
            longest = longest.max(asked.elapsed());
        }
        longest
    };
    let (answers, longest) = tokio::join!(futures::future::join_all(bombs), healthy);
    for answer in answers {
        let problem: Value = answer.is(413);
        assert_eq!(problem["detail"], "the body is longer than 1048576 bytes");
    }
    assert!(longest < Duration::from_secs(1), "/healthz took {longest:?}");
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
    server.finish().await;
}
