//! The address of the client that a request came from, behind proxies that are trusted.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, header::FORWARDED};
use ipnet::IpNet;

/// Hops that are looked at, from the nearest.
const MAX_HOPS: usize = 32;

/// Tells whether an address is one of a trusted proxy.
pub(super) fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|net| net.contains(&address))
}

/// Returns the client's address: that of the connection, or, where that is a trusted proxy's, the nearest hop that is not trusted.
///
/// Hops are read from `X-Forwarded-For`, and from `Forwarded` (RFC 7239) where there is none of the former, from right to left: each was written by the
/// hop to the right of it. Whatever stands to the left of a hop that is not trusted may be made up. A hop that has no address (`unknown`, an obfuscated
/// identifier, anything malformed) ends the walk: the client then is the trusted proxy that wrote it.
pub(super) fn address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let mut client = peer.to_canonical();
    if !is_trusted(client, trusted) {
        return client;
    }
    for hop in hops(headers).iter().rev().take(MAX_HOPS) {
        let Some(address) = hop.as_deref().and_then(node) else { break };
        client = address.to_canonical();
        if !is_trusted(client, trusted) {
            break;
        }
    }
    client
}

/// The hops that headers name, the nearest last; `None` for one that is named in no way that is understood.
fn hops(headers: &HeaderMap) -> Vec<Option<String>> {
    let lines = |name: &str| -> Vec<String> {
        headers.get_all(name).iter().map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned()).collect()
    };
    let forwarded_for = lines("x-forwarded-for");
    // Quotes are not minded: one that a client opens must not take in what a proxy adds behind it.
    let items = |line: &String| -> Vec<String> {
        line.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
    };
    if forwarded_for.is_empty() {
        return lines(FORWARDED.as_str()).iter().flat_map(items).map(|element| forwarded(&element)).collect();
    }
    forwarded_for.iter().flat_map(items).map(Some).collect()
}

/// The `for` of an element of `Forwarded`.
fn forwarded(element: &str) -> Option<String> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| value.trim().to_owned())
    })
}

/// Reads a hop: an address, perhaps in brackets, with a port and in quotes.
fn node(text: &str) -> Option<IpAddr> {
    let text = text.strip_prefix('"').map_or(Some(text), |rest| rest.strip_suffix('"'))?.trim();
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address.ip());
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => text.split_once(':')?,
    };
    // A port may be obfuscated, too.
    let port = port.strip_prefix(':').unwrap_or(port);
    let is_port = port.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    host.parse().ok().filter(|_| is_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROXY: &str = "10.0.0.1";

    #[track_caller]
    fn check(peer: &str, headers: &[(&'static str, &str)], expected: &str) {
        let trusted: Vec<IpNet> = ["10.0.0.0/8", "fd00::/8"].iter().map(|net| net.parse().unwrap()).collect();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let found = address(peer.parse().unwrap(), &map, &trusted);
        assert_eq!(found, expected.parse::<IpAddr>().unwrap(), "{peer} {headers:?}");
    }

    fn forwarded_for(peer: &str, value: &str, expected: &str) {
        check(peer, &[("x-forwarded-for", value)], expected);
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        check(PROXY, &[], PROXY);
        forwarded_for("198.51.100.1", "203.0.113.7", "198.51.100.1");
        check("198.51.100.1", &[("forwarded", "for=203.0.113.7")], "198.51.100.1");
        forwarded_for(PROXY, "203.0.113.7", "203.0.113.7");
        forwarded_for("::ffff:10.0.0.1", "203.0.113.7", "203.0.113.7");
        forwarded_for("fd00::1", "203.0.113.7", "203.0.113.7");
        assert_eq!(
            address(
                "::1".parse().unwrap(),
                &HeaderMap::from_iter([("x-forwarded-for".parse().unwrap(), "1.1.1.1".parse().unwrap())]),
                &[]
            ),
            "::1".parse::<IpAddr>().unwrap(),
            "none is trusted by default"
        );
    }

    #[test]
    fn the_nearest_hop_that_is_not_trusted_is_the_client() {
        forwarded_for(PROXY, "1.1.1.1, 203.0.113.7", "203.0.113.7");
        forwarded_for(PROXY, "1.1.1.1, 203.0.113.7, 10.9.9.9", "203.0.113.7");
        forwarded_for(PROXY, "10.1.1.1, 203.0.113.7", "203.0.113.7");
        forwarded_for(PROXY, "10.1.1.1, 10.2.2.2", "10.1.1.1");
        forwarded_for(PROXY, ",, 203.0.113.7 , ", "203.0.113.7");
        check(PROXY, &[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "203.0.113.7")], "203.0.113.7");
        check(PROXY, &[("forwarded", "for=1.1.1.1, for=203.0.113.7;proto=https;by=10.0.0.1")], "203.0.113.7");
        check(PROXY, &[("forwarded", "proto=http;FOR=\"203.0.113.7:47011\"")], "203.0.113.7");
        check(PROXY, &[("forwarded", "for=1.1.1.1"), ("x-forwarded-for", "203.0.113.7")], "203.0.113.7");
    }

    #[test]
    fn addresses_are_written_in_many_ways() {
        for written in ["203.0.113.7", "203.0.113.7:80", "\"203.0.113.7\"", "::ffff:203.0.113.7", "203.0.113.7:_port"] {
            forwarded_for(PROXY, written, "203.0.113.7");
        }
        for written in ["2001:db8::7", "[2001:db8::7]", "[2001:db8::7]:443", "\"[2001:db8::7]:443\"", "2001:DB8:0::7"] {
            forwarded_for(PROXY, written, "2001:db8::7");
            check(PROXY, &[("forwarded", &format!("for=\"{}\"", written.trim_matches('"')))], "2001:db8::7");
        }
    }

    #[test]
    fn what_is_no_address_ends_the_walk() {
        for junk in [
            "unknown",
            "_hidden",
            "_SEVKISEK",
            "",
            "999.1.1.1",
            "a b",
            "[::1",
            "\"1.1.1.1",
            "203.0.113.7:a/b",
            "1.1.1.1;2.2.2.2",
        ] {
            let expected = if junk.is_empty() { "203.0.113.7" } else { "10.9.9.9" };
            forwarded_for(PROXY, &format!("203.0.113.7, {junk}, 10.9.9.9"), expected);
        }
        for junk in ["for=unknown", "for=_hidden", "by=10.0.0.1", "for", "for=\"_x:80\"", "garbage;;="] {
            check(PROXY, &[("forwarded", &format!("for=203.0.113.7, {junk}"))], PROXY);
        }
        check(PROXY, &[("forwarded", "for=\"1.1.1.1, for=203.0.113.7")], "203.0.113.7");
        forwarded_for(PROXY, "\"1.1.1.1, 203.0.113.7", "203.0.113.7");
        let many = vec!["10.2.2.2"; 10_000].join(",");
        forwarded_for(PROXY, &format!("203.0.113.7,{many}"), "10.2.2.2");
    }
}
