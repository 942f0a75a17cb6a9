//! What must never be dialled is never dialled.

use datasonar_net::{AddressPolicy, Client, ClientOptions, FetchErrorKind};

use crate::world::{World, get, one_site, redirect, reply};

#[tokio::test]
async fn a_redirect_inwards_is_blocked_and_not_dialled() {
    for (target, code) in [
        ("http://169.254.169.254/latest/meta-data/", "blocked_address"),
        ("http://[::ffff:a9fe:a9fe]/", "blocked_address"),
        ("http://0x7f.1:8080/", "blocked_address"),
        ("http://localhost/", "blocked_address"),
        ("//10.0.0.1/", "blocked_address"),
        ("http://inside.example/", "blocked_address"),
        ("file:///etc/passwd", "invalid_url"),
        ("gopher://site.example/", "invalid_url"),
        ("http://[::1", "invalid_url"),
    ] {
        let world = one_site(move |_| redirect("302 Found", target));
        world.name("inside.example", &[&["10.1.2.3", "::ffff:192.168.0.1", "fe80::1"]]);
        let error = world.client().fetch(get("http://site.example/")).await.unwrap_err();
        assert_eq!((error.code(), error.is_transient()), (code, false), "{target}: {error}");
        assert_eq!(*world.dialled.lock().unwrap(), ["1.1.1.1:80".parse().unwrap()], "{target}");
    }
}

#[tokio::test]
async fn a_name_that_rebinds_between_requests_is_checked_each_time() {
    let world = one_site(|_| reply("200 OK", &["connection: close"], "public"));
    world.name("site.example", &[&["1.1.1.1"], &["127.0.0.1"]]);
    world.http("127.0.0.1:80", |_| reply("200 OK", &[], "private"));
    let client = world.client();
    assert_eq!(client.fetch(get("http://site.example/")).await.unwrap().body, "public");
    let error = client.fetch(get("http://site.example/")).await.unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::BlockedAddress);
    assert_eq!(error.message, "site.example resolves to a blocked address: 127.0.0.1 is a loopback address");
    assert_eq!(world.dials(), 1);
}

#[tokio::test]
async fn a_name_that_rebinds_within_a_redirect_is_checked_at_each_hop() {
    let world = one_site(|_| reply("302 Found", &["location: /again", "connection: close"], ""));
    world.name("site.example", &[&["1.1.1.1"], &["169.254.169.254"]]);
    let error = world.client().fetch(get("http://site.example/")).await.unwrap_err();
    assert_eq!((error.kind, error.redirects), (FetchErrorKind::BlockedAddress, 1));
    assert_eq!(error.final_url.unwrap().as_str(), "http://site.example/again");
    assert_eq!(world.dials(), 1);
}

#[tokio::test]
async fn of_mixed_addresses_only_the_public_ones_are_dialled() {
    let world = one_site(|_| reply("200 OK", &[], "public"));
    world.name("site.example", &[&["10.0.0.1", "::1", "1.0.0.1", "64:ff9b::a00:1", "1.1.1.1"]]);
    let fetched = world.client().fetch(get("http://site.example/")).await.unwrap();
    assert_eq!(fetched.remote, "1.1.1.1:80".parse().unwrap());
    // 1.0.0.1 refuses, so that the next one is tried.
    assert_eq!(*world.dialled.lock().unwrap(), ["1.0.0.1:80".parse().unwrap(), "1.1.1.1:80".parse().unwrap()]);
}

#[tokio::test]
async fn an_opened_network_is_dialled() {
    let world = World::new();
    world.name("inside.example", &[&["10.1.2.3"]]).http("10.1.2.3:80", |_| reply("200 OK", &[], "inside"));
    let policy = AddressPolicy::allowing(vec!["10.1.0.0/16".parse().unwrap()]);
    let client = Client::new(ClientOptions { policy, ..world.options() }).unwrap();
    assert_eq!(client.fetch(get("http://inside.example/")).await.unwrap().body, "inside");
    assert_eq!(client.fetch(get("http://10.1.2.3/")).await.unwrap().body, "inside");
    let error = client.fetch(get("http://10.2.2.3/")).await.unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::BlockedAddress);
}

#[tokio::test]
async fn the_system_resolver_knows_localhost_without_asking() {
    use datasonar_net::{Resolve, SystemResolver};
    let resolver = SystemResolver::new();
    for name in ["localhost", "localhost.", "app.localhost"] {
        let found = resolver.resolve(name).await.unwrap();
        assert_eq!(found, ["127.0.0.1".parse::<std::net::IpAddr>().unwrap(), "::1".parse().unwrap()], "{name}");
    }
}
