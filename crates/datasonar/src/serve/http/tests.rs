//! Connections over loopback, in paused time: deadlines pass as soon as nobody has anything to do.

use axum::{Extension, extract::Request, routing::get};
use futures::future::join_all;
use tokio::io::AsyncWriteExt;

use super::*;

const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n";

async fn whole(request: Request) -> String {
    match axum::body::to_bytes(request.into_body(), 1 << 20).await {
        Ok(body) => format!("{} bytes", body.len()),
        Err(_) => "too slow".to_owned(),
    }
}

async fn peer(Extension(Peer(address)): Extension<Peer>, wrong: Option<Extension<crate::api::WrongHost>>) -> String {
    format!("{address}{}", if wrong.is_some() { " wrong host" } else { "" })
}

async fn start(max_connections: usize, trusted: &str) -> (SocketAddr, CancellationToken) {
    let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let long = get(|| async { vec![7; 64 << 20] });
    let router = Router::new().route("/", get(peer).post(whole)).route("/long", long);
    let trusted_proxies = trusted.parse().into_iter().collect();
    let options = FrontOptions { max_connections: Some(max_connections), trusted_proxies, open_files: 1_024 };
    tokio::spawn(serve(listener, router, options, stop.clone()));
    (address, stop)
}

async fn connect(address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

/// Reads until the server closes. Returns what was read, and when it closed.
async fn closed(mut stream: TcpStream) -> (String, Duration) {
    let (begin, mut answer) = (Instant::now(), Vec::new());
    // A reset is an end as well.
    let _ = stream.read_to_end(&mut answer).await;
    (String::from_utf8_lossy(&answer).into_owned(), begin.elapsed())
}

fn assert_near(elapsed: Duration, expected: Duration) {
    assert!(elapsed >= expected && elapsed < expected + Duration::from_secs(3), "{elapsed:?} instead of {expected:?}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_sends_no_request_is_closed_in_time() {
    let (address, _stop) = start(100, "").await;
    let preface = [PREFACE, SETTINGS].concat();
    for first in [&b""[..], b"P", &PREFACE[..20], PREFACE, &preface, b"GET / HTTP/1.1\r\nhost:", b"G", b"\r\n"] {
        let (_, elapsed) = closed(connect(address, first).await).await;
        assert_near(elapsed, HEAD_WITHIN);
    }
}

#[tokio::test(start_paused = true)]
async fn sending_slowly_does_not_extend_the_deadline() {
    let (address, _stop) = start(100, "").await;
    for bytes in [PREFACE, b"GET / HTTP/1.1\r\nhost: a.example\r\nx: yyyyyyyyyyyyyyyyyyyyyy"] {
        let begin = Instant::now();
        let (mut reader, mut writer) = connect(address, b"").await.into_split();
        let writing = tokio::spawn(async move {
            for byte in bytes.chunks(1) {
                if writer.write_all(byte).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
            std::future::pending::<()>().await;
        });
        let _ = reader.read_to_end(&mut Vec::new()).await;
        assert_near(begin.elapsed(), HEAD_WITHIN);
        writing.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_kept_connection_is_closed_when_idle() {
    let (address, _stop) = start(100, "").await;
    let (answer, elapsed) = closed(connect(address, GET).await).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("127.0.0.1"), "{answer}");
    assert_near(elapsed, HEAD_WITHIN);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stops_arriving_ends_its_request() {
    let (address, _stop) = start(100, "").await;
    let head = b"POST / HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\ncontent-length: 100\r\n\r\nxy";
    let (answer, elapsed) = closed(connect(address, head).await).await;
    assert!(answer.ends_with("too slow"), "{answer}");
    assert_near(elapsed, HEAD_WITHIN);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_cut_off() {
    let (address, _stop) = start(1, "").await;
    let _slow = connect(address, b"GET /long HTTP/1.1\r\nhost: a.example\r\n\r\n").await;
    let begin = Instant::now();
    // There is one place: it is free once the slow client has lost it.
    loop {
        let (answer, _) =
            closed(connect(address, b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await).await;
        if answer.starts_with("HTTP/1.1 200") {
            break;
        }
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(begin.elapsed() < socket::STALL * 3, "it never was");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(begin.elapsed() >= socket::STALL);
}

#[tokio::test(start_paused = true)]
async fn streams_of_which_nothing_is_taken_close_their_connection() {
    let activity = Arc::new(Activity::default());
    let (mut one, mut two) = (activity.begin(), activity.begin());
    one.wait(true);
    let begin = Instant::now();
    let stalled = tokio::spawn({
        let activity = activity.clone();
        async move { activity.stalled().await }
    });
    tokio::time::sleep(socket::STALL * 3).await;
    assert!(!stalled.is_finished(), "the other one waits for us");
    two.wait(true);
    stalled.await.unwrap();
    assert!(begin.elapsed() <= socket::STALL * 5);
}

#[tokio::test]
async fn connections_over_the_limit_are_told_to_come_later() {
    let (address, _stop) = start(3, "").await;
    let open = join_all((0..3).map(|_| connect(address, b""))).await;
    // Those that were accepted before are counted.
    let (answer, _) = closed(connect(address, GET).await).await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 5\r\n"), "{answer}");
    assert!(answer.contains("connection: close\r\n") && answer.contains("no-store"), "{answer}");
    drop(open);
    let request = b"GET / HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n";
    for _ in 0..1_000 {
        let (answer, _) = closed(connect(address, request).await).await;
        if answer.starts_with("HTTP/1.1 200 ") {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("no place became free");
}

#[tokio::test]
async fn the_client_behind_a_trusted_proxy_is_the_one_that_it_names() {
    let request =
        b"GET / HTTP/1.1\r\nhost: a.example\r\nx-forwarded-for: 1.1.1.1, 2001:db8::7\r\nconnection: close\r\n\r\n";
    for (trusted, client) in [("127.0.0.0/8", "2001:db8::7"), ("10.0.0.0/8", "127.0.0.1"), ("", "127.0.0.1")] {
        let (address, _stop) = start(10, trusted).await;
        let (answer, _) = closed(connect(address, request).await).await;
        assert!(answer.ends_with(client), "{trusted}: {answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn stopping_closes_what_is_idle_at_once() {
    let (address, stop) = start(10, "").await;
    let preface = [PREFACE, SETTINGS].concat();
    let mut open = join_all([&b""[..], GET, &preface].map(|bytes| connect(address, bytes))).await;
    let mut some = [0; 1];
    open[1].read_exact(&mut some).await.unwrap();
    open[2].read_exact(&mut some).await.unwrap();
    let begin = Instant::now();
    stop.cancel();
    drop(open.pop());
    for stream in open {
        closed(stream).await;
    }
    assert!(begin.elapsed() < Duration::from_secs(1));
}
