//! Fetching: redirects, limits, pooling, time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use datasonar_net::{Client, ClientOptions, FetchErrorKind, FetchRequest, check_caller_headers};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::time::Instant;

use crate::world::{World, get, one_peer, one_site, redirect, reply, url};

#[tokio::test]
async fn a_page_arrives_as_it_was_sent() {
    let world = one_site(|request| {
        assert_eq!(request.line, "GET /a%20b?q=%C3%A4 HTTP/1.1");
        assert_eq!(request.header("host"), Some("site.example"));
        assert_eq!(request.header("user-agent"), Some("Datasonar"));
        assert_eq!(request.header("accept"), Some("*/*"));
        assert_eq!(request.header("accept-encoding"), Some("gzip, deflate, br, zstd"));
        assert_eq!(request.header("content-length"), None);
        reply("200 OK", &["content-type: text/html; charset=iso-8859-1"], b"caf\xe9 \xff\x00")
    });
    let fetched = world.client().fetch(get("http://site.example/a b?q=ä#part")).await.unwrap();
    assert_eq!(fetched.status, StatusCode::OK);
    assert_eq!(&fetched.body[..], b"caf\xe9 \xff\x00", "the charset is none of our business");
    assert_eq!(fetched.headers["content-type"], "text/html; charset=iso-8859-1");
    assert_eq!(fetched.final_url.as_str(), "http://site.example/a%20b?q=%C3%A4#part");
    assert_eq!(fetched.remote, "1.1.1.1:80".parse().unwrap());
    assert!(fetched.timings.dns.is_some() && fetched.timings.connect.is_some() && fetched.timings.first_byte.is_some());
    assert!(fetched.timings.tls.is_none());
}

#[tokio::test]
async fn any_final_status_is_an_answer() {
    for (status, headers) in
        [("404 Not Found", &[][..]), ("503 Busy", &[]), ("301 Moved", &[]), ("304 Same", &["location: /x"])]
    {
        let world = one_site(move |_| reply(status, headers, ""));
        let fetched = world.client().fetch(get("http://site.example/")).await.unwrap();
        assert_eq!(fetched.status.as_str(), &status[..3]);
    }
}

#[tokio::test]
async fn informational_responses_are_passed_over() {
    let world = one_site(|_| {
        let mut all = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n".to_vec();
        all.extend(reply("200 OK", &[], "page"));
        all
    });
    assert_eq!(world.client().fetch(get("http://site.example/")).await.unwrap().body, "page");
}

#[tokio::test]
async fn ten_redirects_are_followed_and_not_eleven() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let world = one_site(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
        redirect("302 Found", "/")
    });
    let error = world.client().fetch(get("http://site.example/")).await.unwrap_err();
    assert_eq!(
        (error.kind, error.code(), error.redirects),
        (FetchErrorKind::TooManyRedirects, "too_many_redirects", 10)
    );
    assert_eq!(error.status, Some(StatusCode::FOUND));
    assert_eq!(asked.load(Ordering::Relaxed), 11);
    assert_eq!(world.dials(), 1, "redirects within a site share its connection");

    let world = one_site(|request| match request.path().trim_start_matches('/').parse::<u32>().unwrap() {
        10 => reply("200 OK", &[], "there"),
        n => redirect(["301 M", "302 F", "303 S", "307 T", "308 P"][n as usize % 5], &format!("{}", n + 1)),
    });
    let fetched = world.client().fetch(get("http://site.example/0")).await.unwrap();
    assert_eq!((fetched.redirects, &fetched.body[..]), (10, &b"there"[..]));
    let error =
        world.client().fetch(FetchRequest { max_redirects: 0, ..get("http://site.example/9") }).await.unwrap_err();
    assert_eq!((error.kind, error.redirects), (FetchErrorKind::TooManyRedirects, 0));
}

#[tokio::test]
async fn fragments_are_inherited() {
    let world = one_site(|request| match request.path() {
        "/" => redirect("301 M", "/two"),
        "/two" => redirect("301 M", "/three?x#own"),
        "/three?x" => redirect("301 M", "/four"),
        _ => reply("200 OK", &[], ""),
    });
    let end = world.client().fetch(get("http://site.example/#mine")).await.unwrap();
    assert_eq!(end.final_url.as_str(), "http://site.example/four#own");
}

#[tokio::test]
async fn what_is_secret_stays_with_its_origin() {
    let seen = Arc::new(Mutex::new(Vec::<(String, Vec<String>)>::new()));
    let log = Arc::clone(&seen);
    let answer = move |request: &crate::world::Request| {
        let mut names: Vec<String> = request.headers.iter().map(|(name, _)| name.clone()).collect();
        names.retain(|name| !["host", "accept", "accept-encoding"].contains(&name.as_str()));
        log.lock().unwrap().push((format!("{}{}", request.header("host").unwrap(), request.path()), names));
        match request.path() {
            "/" => redirect("302 F", "/same"),
            "/same" => redirect("302 F", "http://other.example/there"),
            "/there" => redirect("302 F", "http://site.example/back"),
            _ => reply("200 OK", &[], ""),
        }
    };
    let world = one_site(answer.clone());
    world.name("other.example", &[&["9.9.9.9"]]).http("9.9.9.9:80", answer);
    let mut request = get("http://me:secret@site.example/");
    for (name, value) in [
        ("cookie", "session=1"),
        ("x-api-key", "k"),
        ("user-agent", "mine"),
        ("accept-language", "de"),
        // Ours, whatever a caller says.
        ("host", "evil.example"),
        ("connection", "x-api-key"),
        ("content-length", "5"),
        ("transfer-encoding", "chunked"),
        ("proxy-authorization", "p"),
    ] {
        request.headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let fetched = world.client().fetch(request).await.unwrap();
    assert_eq!(fetched.final_url.as_str(), "http://site.example/back");
    let all = ["cookie", "x-api-key", "user-agent", "accept-language", "authorization"];
    let few = ["accept-language", "user-agent"];
    for ((asked, names), (expected, kept)) in seen.lock().unwrap().iter_mut().zip([
        ("site.example/", &all[..]),
        ("site.example/same", &all),
        ("other.example/there", &few),
        ("site.example/back", &few),
    ]) {
        names.sort();
        let mut kept = kept.to_vec();
        kept.sort_unstable();
        assert_eq!(
            (asked.as_str(), &names[..]),
            (expected, &kept.iter().map(ToString::to_string).collect::<Vec<_>>()[..])
        );
    }
    assert_eq!(seen.lock().unwrap().len(), 4);
}

#[test]
fn forbidden_headers_can_be_refused_early() {
    let said = |name: &'static str| {
        let headers = HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static("x"))]);
        check_caller_headers(&headers).map_err(|refused| refused.to_string())
    };
    for name in
        ["host", "connection", "content-length", "transfer-encoding", "te", "upgrade", "proxy-foo", "accept-encoding"]
    {
        assert_eq!(said(name), Err(format!("the header `{name}` cannot be set")));
    }
    for name in ["cookie", "authorization", "user-agent", "referer", "x-forwarded-for", "accept"] {
        assert_eq!(said(name), Ok(()));
    }
    let mut many = HeaderMap::new();
    for n in 0..65 {
        many.append(HeaderName::try_from(format!("x-{n}")).unwrap(), HeaderValue::from_static("x"));
    }
    assert_eq!(check_caller_headers(&many).unwrap_err().to_string(), "more than 64 headers");
    let large = HeaderMap::from_iter([(http::header::COOKIE, HeaderValue::try_from("x".repeat(16 * 1024)).unwrap())]);
    assert!(check_caller_headers(&large).is_err());
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_with_and_without_a_length() {
    let world = one_site(|request| match request.path() {
        "/length" => b"HTTP/1.1 200 OK\r\ncontent-length: 1000001\r\n\r\n".to_vec(),
        "/chunked" => {
            let mut all = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nf4241\r\n".to_vec();
            all.extend(vec![b'x'; 1_000_001]);
            all
        }
        _ => reply("200 OK", &[], vec![b'x'; 1_000_000]),
    });
    let client = world.client();
    for path in ["length", "chunked"] {
        let request = FetchRequest { max_body_bytes: 1_000_000, ..get(&format!("http://site.example/{path}")) };
        let error = client.fetch(request).await.unwrap_err();
        assert_eq!(
            (error.kind, error.code(), error.status),
            (FetchErrorKind::BodyTooLarge, "body_too_large", Some(StatusCode::OK))
        );
    }
    let fits = FetchRequest { max_body_bytes: 1_000_000, ..get("http://site.example/fits") };
    assert_eq!(client.fetch(fits).await.unwrap().body.len(), 1_000_000);
}

#[tokio::test]
async fn headers_without_end_are_cut_off() {
    let long = one_peer(|mut peer| async move {
        peer.head().await;
        peer.write("HTTP/1.1 200 OK\r\nx: ").await;
        while peer.write([b'x'; 4096]).await {}
    });
    let many = one_peer(|mut peer| async move {
        peer.head().await;
        peer.write("HTTP/1.1 200 OK\r\n").await;
        while peer.write("x: y\r\n").await {}
    });
    let countable = one_site(|_| reply("200 OK", &["x: y"; 201], ""));
    for world in [long, many, countable] {
        let error = world.client().fetch(get("http://site.example/")).await.unwrap_err();
        assert_eq!((error.kind, error.code()), (FetchErrorKind::Protocol, "connect_error"), "{error}");
        assert_eq!(error.message, "the response's headers are too large");
        assert!(!error.is_transient());
    }
    let fine = one_site(|_| reply("200 OK", &["x: y"; 190], ""));
    assert_eq!(
        fine.client().fetch(get("http://site.example/")).await.unwrap().headers.get_all("x").iter().count(),
        190
    );
}

#[tokio::test]
async fn what_is_not_http_is_a_protocol_error() {
    for answer in
        ["SSH-2.0-OpenSSH_9.6\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!", ""]
    {
        let world = one_peer(move |mut peer| async move {
            peer.head().await;
            peer.write(answer).await;
        });
        let error = world.client().fetch(get("http://site.example/")).await.unwrap_err();
        assert_eq!(error.kind, FetchErrorKind::Protocol, "{answer:?}: {error}");
    }
}

#[tokio::test]
async fn a_body_shorter_than_its_length_is_not_a_page() {
    for head in ["content-length: 100", "transfer-encoding: chunked"] {
        let world = one_peer(move |mut peer| async move {
            peer.head().await;
            peer.write(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n4\r\nhalf")).await;
        });
        let error = world.client().fetch(get("http://site.example/")).await.unwrap_err();
        assert_eq!((error.kind, error.status), (FetchErrorKind::Protocol, Some(StatusCode::OK)), "{error}");
        assert!(error.is_transient());
    }
}

#[tokio::test]
async fn a_body_may_end_with_the_connection() {
    let world = one_peer(|mut peer| async move {
        peer.head().await;
        peer.write("HTTP/1.0 200 OK\r\n\r\nold").await;
    });
    assert_eq!(world.client().fetch(get("http://site.example/")).await.unwrap().body, "old");
}

#[tokio::test(start_paused = true)]
async fn a_dripping_body_runs_out_of_time() {
    let world = one_peer(|mut peer| async move {
        peer.head().await;
        peer.write("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n").await;
        while peer.write("x").await {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let started = Instant::now();
    let error = world.client().fetch(get("http://site.example/slow")).await.unwrap_err();
    assert_eq!((error.kind, error.code(), error.status), (FetchErrorKind::Timeout, "timeout", Some(StatusCode::OK)));
    assert_eq!(error.final_url, Some(url("http://site.example/slow")));
    assert_eq!(started.elapsed(), Duration::from_secs(30));
}

#[tokio::test(start_paused = true)]
async fn the_time_is_for_all_redirects_together() {
    let world = one_peer(|mut peer| async move {
        while peer.request().await.is_some() {
            tokio::time::sleep(Duration::from_secs(4)).await;
            peer.write(redirect("302 F", "/")).await;
        }
    });
    let started = Instant::now();
    let error = world.client().fetch(get("http://site.example/")).await.unwrap_err();
    assert_eq!((error.kind, error.redirects), (FetchErrorKind::Timeout, 7));
    assert_eq!(started.elapsed(), Duration::from_secs(30));
}

#[tokio::test(start_paused = true)]
async fn connecting_has_its_own_limit() {
    struct Silent;
    #[async_trait::async_trait]
    impl datasonar_net::Dial for Silent {
        async fn dial(&self, _: std::net::SocketAddr) -> std::io::Result<Box<dyn datasonar_net::Connection>> {
            std::future::pending().await
        }
    }
    let client = Client::new(ClientOptions { dialer: Arc::new(Silent), ..World::new().options() }).unwrap();
    let started = Instant::now();
    let error = client.fetch(get("http://1.1.1.1/")).await.unwrap_err();
    assert_eq!((error.kind, started.elapsed()), (FetchErrorKind::Timeout, Duration::from_secs(10)));
    assert_eq!(error.message, "connecting to 1.1.1.1 took longer than 10s");
}

#[tokio::test(start_paused = true)]
async fn a_slow_address_does_not_hold_up_the_next() {
    struct OneSilent(Arc<World>);
    #[async_trait::async_trait]
    impl datasonar_net::Dial for OneSilent {
        async fn dial(&self, addr: std::net::SocketAddr) -> std::io::Result<Box<dyn datasonar_net::Connection>> {
            match addr.is_ipv6() {
                true => std::future::pending().await,
                false => self.0.dial(addr).await,
            }
        }
    }
    let world = one_site(|_| reply("200 OK", &[], ""));
    world.name("site.example", &[&["2606:4700::1", "2606:4700::2", "1.1.1.1"]]);
    let dialer = Arc::new(OneSilent(Arc::clone(&world)));
    let client = Client::new(ClientOptions { dialer, ..world.options() }).unwrap();
    let fetched = client.fetch(get("http://site.example/")).await.unwrap();
    assert_eq!(fetched.timings.connect, Some(Duration::from_millis(250)), "families take turns");
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let world = one_site(|_| reply("200 OK", &[], "page"));
    let client = world.client();
    for n in 0..5 {
        let fetched = client.fetch(get("http://site.example/")).await.unwrap();
        assert_eq!(fetched.timings.dns.is_some(), n == 0);
        assert_eq!(fetched.remote, "1.1.1.1:80".parse().unwrap());
    }
    assert_eq!(world.dials(), 1);
    let alone = Client::new(ClientOptions { pool_idle_per_host: 0, ..world.options() }).unwrap();
    for _ in 0..2 {
        alone.fetch(get("http://site.example/")).await.unwrap();
    }
    assert_eq!(world.dials(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_after_its_time() {
    let (closed, on_close) = tokio::sync::oneshot::channel();
    let closed = Arc::new(Mutex::new(Some(closed)));
    let world = one_peer(move |mut peer| {
        let closed = Arc::clone(&closed);
        async move {
            while peer.request().await.is_some() {
                peer.write(reply("200 OK", &[], "page")).await;
            }
            let _ = closed.lock().unwrap().take().unwrap().send(Instant::now());
        }
    });
    let client = world.client();
    client.fetch(get("http://site.example/")).await.unwrap();
    let started = Instant::now();
    assert_eq!(on_close.await.unwrap() - started, Duration::from_secs(30));
}

#[tokio::test]
async fn a_connection_that_died_while_idle_is_replaced_unnoticed() {
    // Answers once, and closes when it is asked again: the worst moment.
    let world = one_peer(|mut peer| async move {
        peer.request().await;
        peer.write(reply("200 OK", &[], "page")).await;
        peer.request().await;
    });
    let client = world.client();
    for _ in 0..4 {
        assert_eq!(client.fetch(get("http://site.example/")).await.unwrap().body, "page");
    }
    assert_eq!(world.dials(), 4);
}

#[tokio::test]
async fn names_and_ports_without_anyone() {
    let world = World::new();
    world.name("empty.example", &[&[]]).name("dead.example", &[&["1.1.1.1", "1.0.0.1"]]);
    let client = world.client();
    let error = client.fetch(get("http://nowhere.example/")).await.unwrap_err();
    assert_eq!((error.kind, error.is_transient()), (FetchErrorKind::Dns, false));
    assert_eq!(error.message, "nowhere.example does not exist");
    let error = client.fetch(get("http://empty.example/")).await.unwrap_err();
    assert_eq!((error.kind, error.code()), (FetchErrorKind::Dns, "dns_error"));
    let error = client.fetch(get("http://dead.example:81/")).await.unwrap_err();
    assert_eq!((error.kind, error.code(), error.is_transient()), (FetchErrorKind::Connect, "connect_error", true));
    assert_eq!(error.message, "1.0.0.1:81 refused the connection");
    assert_eq!(world.dials(), 2);
}

#[tokio::test(start_paused = true)]
async fn large_bodies_take_turns_in_memory_and_small_ones_pass_them_by() {
    let world = one_site(|request| {
        let body = if request.path() == "/large" { vec![b'x'; 2 * 1024 * 1024] } else { b"small".to_vec() };
        reply("200 OK", &[], body)
    });
    let client = Client::new(ClientOptions { body_memory: 2 * 1024 * 1024, ..world.options() }).unwrap();
    let first = client.fetch(get("http://site.example/large")).await.unwrap();

    let second = client.fetch(get("http://site.example/large"));
    tokio::pin!(second);
    assert!(tokio::time::timeout(Duration::from_secs(5), &mut second).await.is_err(), "one at a time");
    let small = client.fetch(get("http://site.example/small")).await.unwrap();
    assert_eq!(small.body, "small");

    drop(first);
    assert_eq!(second.await.unwrap().body.len(), 2 * 1024 * 1024);
}

#[tokio::test(start_paused = true)]
async fn waiting_for_memory_counts_towards_the_time_limit_and_small_bodies_give_back_what_they_reserved() {
    let world = one_site(|request| {
        let bytes = if request.path() == "/large" { 2 * 1024 * 1024 } else { 300 * 1024 };
        reply("200 OK", &[], vec![b'x'; bytes])
    });
    let client = Client::new(ClientOptions { body_memory: 2 * 1024 * 1024, ..world.options() }).unwrap();
    let held = client.fetch(get("http://site.example/medium")).await.unwrap();
    let beside = client.fetch(get("http://site.example/medium")).await.unwrap();
    let request = FetchRequest { timeout: Duration::from_secs(3), ..get("http://site.example/large") };
    let error = client.fetch(request).await.unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::Timeout);
    drop((held, beside));
    assert_eq!(client.fetch(get("http://site.example/large")).await.unwrap().body.len(), 2 * 1024 * 1024);
}
