//! Which addresses are not globally routable, and which hide another address inside.
//!
//! The tables restate the IANA registries of special-purpose IPv4 and IPv6 addresses (RFC 6890 and its successors) and
//! add the metadata services of cloud providers, some of which sit at addresses that look public. For IPv6 the rule is
//! the other way round: only `2000::/3` has been given out as global unicast (RFC 4291, IANA "Internet Protocol Version 6
//! Address Space"), so that everything outside of it is refused unless it wraps a public IPv4 address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A block of IPv4 addresses: network, prefix length, what an address in it is.
type Block4 = (Ipv4Addr, u32, &'static str);

/// A block of IPv6 addresses: network, prefix length, what an address in it is.
type Block6 = (Ipv6Addr, u32, &'static str);

/// The reason given for a cloud provider's metadata service.
pub(crate) const METADATA: &str = "the address of a cloud metadata service";

/// Addresses at which cloud providers hand out credentials to whoever asks from inside a machine.
const METADATA_ADDRESSES: [IpAddr; 6] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// The IPv4 blocks that are not globally routable. The first block that contains an address names it.
const BLOCKS4: [Block4; 17] = [
    (Ipv4Addr::UNSPECIFIED, 32, "the unspecified address"),
    (Ipv4Addr::BROADCAST, 32, "the broadcast address"),
    (Ipv4Addr::new(0, 0, 0, 0), 8, "a \"this network\" address"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "a private address"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "a carrier-grade NAT address"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "a loopback address"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "a link-local address"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "a private address"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "a protocol assignment"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "a documentation address"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "a 6to4 relay address"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "a private address"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "a benchmarking address"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "a documentation address"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "a documentation address"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "a multicast address"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "a reserved address"),
];

/// The IPv6 blocks that are not globally routable. The first block that contains an address names it.
const BLOCKS6: [Block6; 14] = [
    (Ipv6Addr::UNSPECIFIED, 128, "the unspecified address"),
    (Ipv6Addr::LOCALHOST, 128, "a loopback address"),
    (v6(0x64, 0xff9b, 1, 0), 48, "a local-use NAT64 address"),
    (v6(0x100, 0, 0, 0), 64, "a discard-only address"),
    (v6(0x100, 0, 0, 1), 64, "a dummy address"),
    (v6(0x2001, 0, 0, 0), 23, "a protocol assignment"),
    (v6(0x2001, 0xdb8, 0, 0), 32, "a documentation address"),
    (v6(0x3fff, 0, 0, 0), 20, "a documentation address"),
    (v6(0x5f00, 0, 0, 0), 16, "a segment routing identifier"),
    (v6(0xfc00, 0, 0, 0), 7, "a unique local address"),
    (v6(0xfe80, 0, 0, 0), 10, "a link-local address"),
    (v6(0xfec0, 0, 0, 0), 10, "a site-local address"),
    (v6(0xff00, 0, 0, 0), 8, "a multicast address"),
    (v6(0x3ffe, 0, 0, 0), 16, "a 6bone address"),
];

const fn v6(a: u16, b: u16, c: u16, d: u16) -> Ipv6Addr {
    Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)
}

/// Says whether `ip` itself, whatever it wraps, is a metadata service.
pub(crate) fn is_metadata(ip: IpAddr) -> bool {
    METADATA_ADDRESSES.contains(&ip)
}

/// Says why `ip` itself is not globally routable, or `None` when it is.
///
/// Looks at the address as written; what it wraps is told by [`wrapped`].
pub(crate) fn not_global(ip: IpAddr) -> Option<&'static str> {
    if is_metadata(ip) {
        return Some(METADATA);
    }
    match ip {
        IpAddr::V4(ip) => BLOCKS4
            .iter()
            .find(|(net, len, _)| (ip.to_bits() ^ net.to_bits()) >> (32 - len) == 0)
            .map(|(_, _, why)| *why),
        IpAddr::V6(ip) => {
            let block = BLOCKS6.iter().find(|(net, len, _)| (ip.to_bits() ^ net.to_bits()) >> (128 - len) == 0);
            match block {
                Some((_, _, why)) => Some(*why),
                None if ip.segments()[0] & 0xe000 == 0x2000 => None,
                None => Some("outside the global unicast space"),
            }
        }
    }
}

/// An IPv6 address that carries IPv4 addresses.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wrapped {
    /// The way of wrapping, for messages.
    pub(crate) form: &'static str,
    /// Every address carried: one, or for Teredo the client and the server.
    pub(crate) inner: [Option<Ipv4Addr>; 2],
    /// Whether the wrapping is mere notation, so that the outer address needs no check of its own.
    pub(crate) transparent: bool,
}

/// Unwraps the IPv4 addresses that an IPv6 address stands for.
///
/// Knows IPv4-mapped, IPv4-compatible (RFC 4291), IPv4-translated (RFC 2765), NAT64 (RFC 6052, RFC 8215), 6to4 (RFC 3056)
/// and Teredo (RFC 4380). Prefixes that a network chose for its own NAT64 cannot be known.
pub(crate) fn wrapped(ip: Ipv6Addr) -> Option<Wrapped> {
    let s = ip.segments();
    let of = |hi: u16, lo: u16| Some(Ipv4Addr::from_bits(u32::from(hi) << 16 | u32::from(lo)));
    let one = |form, inner| Some(Wrapped { form, inner: [inner, None], transparent: true });
    match s {
        // `::` and `::1` are addresses in their own right.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0xffff, hi, lo] => one("IPv4-mapped", of(hi, lo)),
        [0, 0, 0, 0, 0, 0, hi, lo] => one("IPv4-compatible", of(hi, lo)),
        [0, 0, 0, 0, 0xffff, 0, hi, lo] => one("IPv4-translated", of(hi, lo)),
        [0x64, 0xff9b, 0, 0, 0, 0, hi, lo] => one("NAT64", of(hi, lo)),
        [0x64, 0xff9b, 1, 0, 0, 0, hi, lo] => {
            Some(Wrapped { form: "NAT64", inner: [of(hi, lo), None], transparent: false })
        }
        // RFC 6052, section 2.2: with a /48 prefix the address steps over the octet at bits 64 to 71.
        [0x64, 0xff9b, 1, hi, mid, last, ..] => {
            let lo = (mid & 0xff) << 8 | last >> 8;
            Some(Wrapped { form: "NAT64", inner: [of(hi, lo), None], transparent: false })
        }
        [0x2002, hi, lo, ..] => one("6to4", of(hi, lo)),
        // RFC 4380, section 4: the server as it is, the client with every bit inverted.
        [0x2001, 0, server_hi, server_lo, _, _, hi, lo] => {
            Some(Wrapped { form: "Teredo", inner: [of(!hi, !lo), of(server_hi, server_lo)], transparent: true })
        }
        _ => None,
    }
}
