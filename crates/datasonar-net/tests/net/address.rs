//! The table of addresses and URLs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use datasonar_net::{AddressPolicy, UrlRefused};
use ipnet::IpNet;
use proptest::prelude::*;

use crate::world::url;

const PUBLIC: &[&str] = &[
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "168.63.129.15",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "191.255.255.255",
    "192.0.1.0",
    "192.0.3.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2000::1",
    "2001:200::1",
    "2001:4860:4860::8888",
    "2606:4700:4700::1111",
    "2a00:1450:4001:81b::200e",
    "3ffd::1",
    // Wrappings of public addresses.
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "2002:808:808::1",
    "2001:0:808:808:0:0:fefe:fefe",
];

const BLOCKED: &[(&str, &str)] = &[
    ("0.0.0.0", "the unspecified address"),
    ("0.1.2.3", "a \"this network\" address"),
    ("10.0.0.0", "a private address"),
    ("10.255.255.255", "a private address"),
    ("100.64.0.0", "a carrier-grade NAT address"),
    ("100.127.255.255", "a carrier-grade NAT address"),
    ("100.100.100.200", "the address of a cloud metadata service"),
    ("127.0.0.1", "a loopback address"),
    ("127.255.255.254", "a loopback address"),
    ("168.63.129.16", "the address of a cloud metadata service"),
    ("169.254.0.1", "a link-local address"),
    ("169.254.169.254", "the address of a cloud metadata service"),
    ("172.16.0.0", "a private address"),
    ("172.31.255.255", "a private address"),
    ("192.0.0.1", "a protocol assignment"),
    ("192.0.0.192", "the address of a cloud metadata service"),
    ("192.0.2.1", "a documentation address"),
    ("192.88.99.1", "a 6to4 relay address"),
    ("192.168.0.0", "a private address"),
    ("192.168.255.255", "a private address"),
    ("198.18.0.0", "a benchmarking address"),
    ("198.19.255.255", "a benchmarking address"),
    ("198.51.100.7", "a documentation address"),
    ("203.0.113.7", "a documentation address"),
    ("224.0.0.1", "a multicast address"),
    ("239.255.255.255", "a multicast address"),
    ("240.0.0.1", "a reserved address"),
    ("255.255.255.254", "a reserved address"),
    ("255.255.255.255", "the broadcast address"),
    ("::", "the unspecified address"),
    ("::1", "a loopback address"),
    ("64:ff9b:1::1", "a local-use NAT64 address"),
    ("64:ff9b:1::8.8.8.8", "a local-use NAT64 address"),
    ("64:ff9b:2::1", "outside the global unicast space"),
    ("100::1", "a discard-only address"),
    ("100:0:0:1::1", "a dummy address"),
    ("1234::1", "outside the global unicast space"),
    ("2001:2::1", "a protocol assignment"),
    ("2001:10::1", "a protocol assignment"),
    ("2001:20::1", "a protocol assignment"),
    ("2001:1ff:ffff::1", "a protocol assignment"),
    ("2001:db8::1", "a documentation address"),
    ("3ffe::1", "a 6bone address"),
    ("3fff::1", "a documentation address"),
    ("3fff:fff::1", "a documentation address"),
    ("4000::1", "outside the global unicast space"),
    ("5f00::1", "a segment routing identifier"),
    ("fc00::1", "a unique local address"),
    ("fdff::1", "a unique local address"),
    ("fd00:ec2::254", "the address of a cloud metadata service"),
    ("fe80::1", "a link-local address"),
    ("fec0::1", "a site-local address"),
    ("ff02::1", "a multicast address"),
    // Wrappings.
    ("::ffff:127.0.0.1", "a loopback address"),
    ("::ffff:169.254.169.254", "the address of a cloud metadata service"),
    ("::127.0.0.1", "a loopback address"),
    ("::10.0.0.1", "a private address"),
    ("::2", "a \"this network\" address"),
    ("::ffff:0:10.0.0.1", "a private address"),
    ("64:ff9b::10.0.0.1", "a private address"),
    ("64:ff9b::a9fe:a9fe", "the address of a cloud metadata service"),
    ("2002:7f00:1::", "a loopback address"),
    ("2002:c0a8:101::1", "a private address"),
    ("2002:a9fe:a9fe::1", "the address of a cloud metadata service"),
    // Teredo: a private client behind a public server, and the other way round.
    ("2001:0:808:808:0:0:80ff:fffe", "a loopback address"),
    ("2001:0:7f00:1:0:0:fefe:fefe", "a loopback address"),
];

#[test]
fn public_addresses_are_allowed() {
    let policy = AddressPolicy::public_only();
    for text in PUBLIC {
        let ip: IpAddr = text.parse().unwrap();
        assert_eq!(policy.check(ip), Ok(()), "{text}");
        assert_eq!(policy.check_url(&url(&as_url(ip))), Ok(()), "{text}");
    }
}

#[test]
fn other_addresses_are_blocked_for_the_right_reason() {
    let policy = AddressPolicy::public_only();
    for (text, reason) in BLOCKED {
        let ip: IpAddr = text.parse().unwrap();
        let blocked = policy.check(ip).expect_err(text);
        assert_eq!((blocked.ip, blocked.reason), (ip, *reason), "{text}");
        assert!(policy.check_url(&url(&as_url(ip))).unwrap_err().is_blocked_address(), "{text}");
        assert_eq!(AddressPolicy::unrestricted().check(ip), Ok(()), "{text}");
    }
}

fn as_url(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => format!("https://{ip}/"),
        IpAddr::V6(ip) => format!("https://[{ip}]/"),
    }
}

#[test]
fn refusals_read_well() {
    let policy = AddressPolicy::public_only();
    let said = |ip: &str| policy.check(ip.parse().unwrap()).unwrap_err().to_string();
    assert_eq!(said("127.0.0.1"), "127.0.0.1 is a loopback address");
    assert_eq!(said("2002:a00:1::"), "2002:a00:1:: (6to4 for 10.0.0.1) is a private address");
    let refused = policy.check_url(&url("ftp://example.com/")).unwrap_err();
    assert_eq!(refused.to_string(), "the scheme `ftp` is not supported, only http and https are");
}

#[test]
fn urls_are_refused_in_every_spelling() {
    let policy = AddressPolicy::public_only();
    for text in [
        "http://127.0.0.1/",
        "http://127.1/",
        "http://0x7f.1/",
        "http://0177.0.0.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://127.0.0.1./",
        "http://１２７.0.0.1/",
        "http://127。0。0。1/",
        "http://0/",
        "http://[::ffff:7f00:1]/",
        "http://[0:0:0:0:0:ffff:127.0.0.1]/",
        "http://user:pass@10.0.0.1:8080/x",
        "http://localhost/",
        "http://LOCALHOST:8080/",
        "http://localhost./",
        "http://app.localhost/",
        "http://loc%61lhost/",
        "http://localhost.localdomain/",
        "http://printer.local/",
        "http://metadata.google.internal/computeMetadata/v1/",
        "http://router.home.arpa/",
    ] {
        let refused = policy.check_url(&url(text)).expect_err(text);
        assert_eq!(refused.code(), "blocked_address", "{text}: {refused}");
    }
    for text in
        ["file:///etc/passwd", "gopher://example.com/", "data:text/plain,x", "javascript:alert(1)", "ws://example.com/"]
    {
        let refused = policy.check_url(&url(text)).expect_err(text);
        assert!(matches!(refused, UrlRefused::Scheme(_)), "{text}: {refused:?}");
        assert_eq!(refused.code(), "invalid_url");
        assert!(AddressPolicy::unrestricted().check_url(&url(text)).is_err());
    }
    let long = format!("http://example.com/{}", "a".repeat(16 * 1024));
    assert_eq!(policy.check_url(&url(&long)), Err(UrlRefused::TooLong));
    for text in
        ["http://example.com/", "https://localhost.example/", "http://mylocal/", "http://internal.example.com:8080/"]
    {
        assert_eq!(policy.check_url(&url(text)), Ok(()), "{text}");
    }
}

fn allowing(nets: &[&str]) -> AddressPolicy {
    AddressPolicy::allowing(nets.iter().map(|net| net.parse::<IpNet>().unwrap()).collect())
}

#[test]
fn the_operator_opens_networks_in_all_their_wrappings() {
    let policy = allowing(&["127.0.0.0/8", "fd00:1::/32"]);
    for text in
        ["127.0.0.1", "::ffff:127.0.0.1", "::127.9.9.9", "64:ff9b::127.0.0.1", "2002:7f00:1::", "fd00:1::5", "8.8.8.8"]
    {
        assert_eq!(policy.check(text.parse().unwrap()), Ok(()), "{text}");
    }
    for text in ["10.0.0.1", "::1", "fd00:2::5", "::ffff:10.0.0.1", "64:ff9b:1::7f00:1", "2001:0:a00:1:0:0:80ff:fffe"] {
        assert!(policy.check(text.parse().unwrap()).is_err(), "{text}");
    }
    assert_eq!(policy.check_url(&url("http://localhost:8080/")), Ok(()));
    assert_eq!(policy.check_url(&url("http://receiver.internal/")), Ok(()), "left to DNS and the check after it");
    assert!(allowing(&["10.0.0.0/8"]).check_url(&url("http://localhost/")).is_err());
    assert_eq!(allowing(&["::ffff:10.0.0.0/104"]).check("::ffff:10.0.0.1".parse().unwrap()), Ok(()));
    assert_eq!(allowing(&["64:ff9b:1::/48"]).check("64:ff9b:1::8.8.8.8".parse().unwrap()), Ok(()));
}

#[test]
fn metadata_services_are_opened_only_one_by_one() {
    let metadata: IpAddr = "169.254.169.254".parse().unwrap();
    let mapped: IpAddr = "::ffff:169.254.169.254".parse().unwrap();
    for nets in [&["169.254.0.0/16"][..], &["0.0.0.0/0", "::/0"]] {
        assert!(allowing(nets).check(metadata).is_err());
        assert!(allowing(nets).check(mapped).is_err());
        assert!(allowing(&["fd00::/8"]).check("fd00:ec2::254".parse().unwrap()).is_err());
    }
    assert_eq!(allowing(&["169.254.169.254/32"]).check(metadata), Ok(()));
    assert_eq!(allowing(&["169.254.169.254/32"]).check(mapped), Ok(()));
    assert_eq!(allowing(&["169.254.0.0/16"]).check("169.254.1.1".parse().unwrap()), Ok(()));
}

/// What the standard library knows, as an oracle of its own: whatever it calls special must be blocked.
fn std_calls_special(ip: Ipv4Addr) -> bool {
    ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_broadcast()
        || ip.is_documentation()
        || ip.is_unspecified()
        || ip.is_multicast()
        || ip.octets()[0] >= 240
}

/// Addresses of which half lie in or just beside a special block.
fn any_v4() -> impl Strategy<Value = Ipv4Addr> {
    let edge = prop::sample::select(vec![
        0x0a00_0000_u32,
        0x6440_0000,
        0x7f00_0000,
        0xa9fe_0000,
        0xac10_0000,
        0xc000_0000,
        0xc0a8_0000,
        0xc612_0000,
        0xe000_0000,
    ]);
    prop_oneof![any::<u32>(), (edge, -70_000_i32..70_000).prop_map(|(at, off)| at.wrapping_add_signed(off))]
        .prop_map(Ipv4Addr::from_bits)
}

proptest! {
    #[test]
    fn a_wrapping_changes_nothing(ip in any_v4(), server in any_v4()) {
        let policy = AddressPolicy::public_only();
        let is_public = policy.check(IpAddr::V4(ip)).is_ok();
        prop_assert!(!(is_public && std_calls_special(ip)));
        let [hi, lo] = [(ip.to_bits() >> 16) as u16, ip.to_bits() as u16];
        let mut wrapped = vec![
            ip.to_ipv6_mapped(),
            Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, hi, lo),
            Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, hi, lo),
            Ipv6Addr::new(0x2002, hi, lo, 7, 0, 0, 0, 1),
        ];
        if ip.to_bits() > 1 {
            wrapped.push(Ipv6Addr::new(0, 0, 0, 0, 0, 0, hi, lo));
        }
        for wrapped in wrapped {
            prop_assert_eq!(policy.check(IpAddr::V6(wrapped)).is_ok(), is_public, "{} in {}", ip, wrapped);
        }
        let both = is_public && policy.check(IpAddr::V4(server)).is_ok();
        let [shi, slo] = [(server.to_bits() >> 16) as u16, server.to_bits() as u16];
        let teredo = Ipv6Addr::new(0x2001, 0, shi, slo, 0, 0, !hi, !lo);
        prop_assert_eq!(policy.check(IpAddr::V6(teredo)).is_ok(), both);
        let local = Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, hi, lo);
        prop_assert!(policy.check(IpAddr::V6(local)).is_err());
        let wide = allowing(&["64:ff9b:1::/48"]);
        prop_assert_eq!(wide.check(IpAddr::V6(local)).is_ok(), is_public, "the prefix is open, not what is behind it");
    }

    #[test]
    fn outside_of_the_global_unicast_space_nothing_but_wrappings_is_public(bits in any::<u128>()) {
        let ip = Ipv6Addr::from_bits(bits);
        if AddressPolicy::public_only().check(IpAddr::V6(ip)).is_ok() {
            prop_assert_eq!(ip.segments()[0] & 0xe000, 0x2000);
            prop_assert!(!ip.is_loopback() && !ip.is_multicast() && !ip.is_unique_local() && !ip.is_unicast_link_local());
        }
    }
}
