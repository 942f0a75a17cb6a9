//! The host that a request names (RFC 9112, section 3.2; RFC 9113, section 8.3.1).

use http::{Request, Version, header, uri::Authority};

use crate::api::WrongHost;

/// Checks that a request names one host, and properly.
///
/// # Errors
/// When an HTTP/1.1 request has no `Host`, when any request has several, one that is malformed, or names two hosts.
pub(super) fn check<B>(request: &Request<B>) -> Result<(), WrongHost> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (host, another) = (hosts.next(), hosts.next());
    if another.is_some() {
        return Err(WrongHost("the request has more than one Host header"));
    }
    let authority = request.uri().authority();
    if authority.is_some_and(|authority| !is_sound(authority.as_str())) {
        return Err(WrongHost("the request names no valid host"));
    }
    let Some(host) = host else {
        return match request.version() {
            Version::HTTP_09 | Version::HTTP_10 => Ok(()),
            Version::HTTP_11 => Err(WrongHost("the request has no Host header")),
            _ if authority.is_some() => Ok(()),
            _ => Err(WrongHost("the request has neither :authority nor a Host header")),
        };
    };
    let host = host.to_str().unwrap_or("\u{0}");
    if !is_sound(host) {
        return Err(WrongHost("the Host header is not a valid host"));
    }
    // HTTP/1.1 has the target decide. HTTP/2 allows no difference.
    let differs = authority.is_some_and(|authority| !authority.as_str().eq_ignore_ascii_case(host));
    if differs && request.version() == Version::HTTP_2 {
        return Err(WrongHost("the Host header differs from :authority"));
    }
    Ok(())
}

/// Whether a text is a host with an optional port, without credentials.
fn is_sound(text: &str) -> bool {
    let Ok(authority) = text.parse::<Authority>() else { return false };
    let rest = &text[authority.host().len()..];
    let is_port =
        rest.is_empty() || rest.strip_prefix(':').is_some_and(|port| port.is_empty() || port.parse::<u16>().is_ok());
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'~' | b'%');
    let host = authority.host();
    let is_host = match host.strip_prefix('[') {
        Some(address) => address.strip_suffix(']').is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok()),
        None => !host.is_empty() && host.bytes().all(is_name),
    };
    !text.contains('@') && is_host && is_port
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(version: Version, uri: &str, hosts: &[&str]) -> Result<(), WrongHost> {
        let mut request = Request::builder().version(version).uri(uri);
        for host in hosts {
            request = request.header("host", *host);
        }
        check(&request.body(()).unwrap())
    }

    #[test]
    fn requests_name_one_host() {
        for host in ["a.example", "a.example:8080", "127.0.0.1:1", "[::1]:80", "localhost", "my_host", "a:"] {
            assert_eq!(request(Version::HTTP_11, "/", &[host]), Ok(()), "{host}");
        }
        for host in
            ["", " ", "a b", "a/b", "a.example:99999", "a:b", "user@a.example", "[::1", "[x]", "a,b", "a?b", ":80"]
        {
            assert!(request(Version::HTTP_11, "/", &[host]).is_err(), "{host}");
        }
        assert!(request(Version::HTTP_11, "/", &[]).is_err());
        assert!(request(Version::HTTP_11, "/", &["a.example", "a.example"]).is_err());
        assert!(request(Version::HTTP_10, "/", &["a", "b"]).is_err());
        assert_eq!(request(Version::HTTP_10, "/", &[]), Ok(()));
        assert_eq!(request(Version::HTTP_11, "http://b.example/", &["a.example"]), Ok(()));
        assert_eq!(request(Version::HTTP_2, "http://a.example/", &[]), Ok(()));
        assert_eq!(request(Version::HTTP_2, "http://a.example/", &["A.example"]), Ok(()));
        assert!(request(Version::HTTP_2, "http://a.example/", &["b.example"]).is_err());
        assert!(request(Version::HTTP_2, "/", &[]).is_err());
    }
}
