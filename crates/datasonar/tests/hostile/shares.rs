//! Uploads and readers: clients that send or read next to nothing keep no other tenant from doing either.

use std::{net::SocketAddr, time::Duration};

use http::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{
    server::{Answer, Call, Server, Setup, until},
    slots::{Host, Trick, account},
};

/// More connections than there are places.
const CONNECTIONS: usize = 40;
/// How long the other tenant may take.
const WITHIN: Duration = Duration::from_secs(10);

/// Opens a connection and sends the beginning of a request.
async fn begin(address: SocketAddr, head: &str, body: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    stream
}

async fn in_time(call: impl Future<Output = Answer>) -> Answer {
    timeout(WITHIN, call).await.expect("the other tenant waits")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_that_stand_still_keep_no_other_upload_waiting() {
    let server = Server::start().await;
    let [neighbour, _] = account(&server, "neighbour").await;
    let head = format!(
        "POST /v1/scrape/batch/async HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: 50000000\r\n\r\n",
        server.production
    );
    let urls = |count: usize| (0..count).map(|n| format!("https://example.invalid/a/long/enough/path/{n:0>60}"));
    let body = json!({ "urls": urls(20_000).collect::<Vec<_>>() }).to_string();
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS {
        open.push(begin(server.running.address, &head, &body.as_bytes()[..600_000]).await);
    }
    let upload = async || {
        let call = Call::raw("/v1/scrape/batch/async", body.clone()).key(&neighbour);
        server.send(call.header("content-type", "application/json")).await
    };
    // Once without waiting for the others to be in their places, and once when they must be.
    for _ in 0..2 {
        let job = in_time(upload()).await.is(202)["job_id"].as_str().unwrap().to_owned();
        server.send(Call::new(Method::DELETE, &format!("/v1/jobs/{job}")).key(&neighbour)).await;
        until("the job's end", async || {
            let job = server.send(Call::new(Method::GET, &format!("/v1/jobs/{job}")).key(&neighbour)).await.is(200);
            matches!(job["status"].as_str(), Some("completed" | "failed")).then_some(())
        })
        .await;
    }
    drop(open);
    server.finish().await;
}

/// Has a job of large pages done, and returns it.
async fn large_job(server: &Server, key: &str, host: &Host) -> String {
    let request = json!({ "urls": host.urls(4), "format": "text", "only_main_content": false });
    let queued = server.send(Call::post("/v1/scrape/batch/async", &request).key(key)).await.is(202);
    let job = queued["job_id"].as_str().unwrap().to_owned();
    until("the job's end", async || {
        let found = server.send(Call::new(Method::GET, &format!("/v1/jobs/{job}")).key(key)).await.is(200);
        (found["status"] == "completed").then_some(())
    })
    .await;
    job
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_stand_still_keep_no_other_reader_waiting() {
    let server = Setup::new().start().await;
    let [neighbour, _] = account(&server, "neighbour").await;
    let host = Host::start("127.0.12.1", |_| Trick::Large).await;
    let own = large_job(&server, &server.production.clone(), &host).await;
    let theirs = large_job(&server, &neighbour, &host).await;
    let head = format!(
        "GET /v1/jobs/{own}/results HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\naccept: application/x-ndjson\r\n\r\n",
        server.production
    );
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = begin(server.running.address, &head, b"").await;
        let mut first = [0; 12];
        timeout(WITHIN, stream.read_exact(&mut first)).await.expect("no response").unwrap();
        open.push((stream, String::from_utf8_lossy(&first).into_owned()));
    }
    let served = open.iter().filter(|(_, first)| first.ends_with(" 200")).count();
    assert!((1..CONNECTIONS).contains(&served), "{served} of {CONNECTIONS} were served");
    let call = Call::new(Method::GET, &format!("/v1/jobs/{theirs}/results")).key(&neighbour);
    let answer = in_time(server.send(call.header("accept", "application/x-ndjson"))).await;
    assert_eq!(answer.status.as_u16(), 200);
    let lines = answer.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let statuses: Vec<Value> =
        lines.map(|line| serde_json::from_slice::<Value>(line).unwrap()["status"].clone()).collect();
    assert_eq!(statuses, ["success"; 4]);
    drop(open);
    server.finish().await;
}
