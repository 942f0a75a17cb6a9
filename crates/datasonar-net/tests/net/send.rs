//! Sending for the command line client: anything, streamed both ways.

use datasonar_net::{BodySource, FetchErrorKind};
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt;

use crate::world::{World, one_peer, one_site, redirect, reply, url};

#[tokio::test]
async fn any_method_goes_and_the_answer_streams() {
    let world = one_peer(|mut peer| async move {
        let request = peer.request().await.unwrap();
        assert_eq!((request.line.as_str(), &request.body[..]), ("PATCH /v1 HTTP/1.1", &b"{}"[..]));
        peer.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n").await;
        peer.hang().await;
    });
    let body = Some(BodySource::bytes("{}"));
    let sent = world.client().send(Method::PATCH, url("http://site.example/v1"), HeaderMap::new(), body).await;
    let mut response = sent.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let frame = response.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "first", "before the end is in sight");
}

#[tokio::test]
async fn a_body_read_to_its_end_gives_the_connection_back() {
    let world = one_site(|request| {
        assert_eq!(request.header("content-length"), None);
        redirect("302 Found", "/elsewhere")
    });
    let client = world.client();
    for _ in 0..3 {
        let response = client.send(Method::GET, url("http://site.example/"), HeaderMap::new(), None).await.unwrap();
        assert_eq!(response.status(), StatusCode::FOUND, "redirects are the caller's");
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "moved");
    }
    assert_eq!(world.dials(), 1);
    drop(client.send(Method::GET, url("http://site.example/"), HeaderMap::new(), None).await.unwrap());
    client.send(Method::GET, url("http://site.example/"), HeaderMap::new(), None).await.unwrap();
    assert_eq!(world.dials(), 2, "an unread body closes its connection");
}

#[tokio::test]
async fn a_body_cut_short_is_an_error() {
    let world = one_peer(|mut peer| async move {
        peer.request().await;
        peer.write("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
    });
    let response = world.client().send(Method::GET, url("http://site.example/"), HeaderMap::new(), None).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap_err().kind, FetchErrorKind::Protocol);
}

#[tokio::test]
async fn the_policy_holds_here_too() {
    let world = World::new();
    world.name("inside.example", &[&["10.0.0.1"]]);
    for to in ["http://127.0.0.1/", "http://inside.example/"] {
        let error = world.client().send(Method::GET, url(to), HeaderMap::new(), None).await.unwrap_err();
        assert_eq!((error.kind, world.dials()), (FetchErrorKind::BlockedAddress, 0));
    }
    let reply_all = world.http("10.0.0.1:80", |_| reply("200 OK", &[], ""));
    let options =
        datasonar_net::ClientOptions { policy: datasonar_net::AddressPolicy::unrestricted(), ..reply_all.options() };
    let client = datasonar_net::Client::new(options).unwrap();
    assert!(client.send(Method::GET, url("http://inside.example/"), HeaderMap::new(), None).await.is_ok());
}
