//! Which addresses may be dialled: the guard against server-side request forgery.
//!
//! Whoever may name a URL to fetch or to notify could name one inside the operator's network. [`AddressPolicy`] decides,
//! for one address at a time, and is asked after name resolution and just before dialling, with the very address that is
//! dialled; a name is never checked and then resolved again. [`AddressPolicy::check_url`] is the early, friendly half: it
//! refuses what can be seen without DNS, so that a caller learns at once. It is no protection by itself.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use url::{Host, Url};

use crate::special;

/// The longest URL that is fetched or posted to, in bytes of its serialised form.
pub const MAX_URL_BYTES: usize = 16 * 1024;

/// Decides which addresses may be dialled.
///
/// The default, [`AddressPolicy::public_only`], allows what is globally routable and nothing else.
#[derive(Clone, Debug, Default)]
pub struct AddressPolicy {
    allowed: Vec<IpNet>,
    unrestricted: bool,
}

impl AddressPolicy {
    /// Allows globally routable addresses only.
    pub fn public_only() -> Self {
        Self::default()
    }

    /// Allows globally routable addresses, and those in `nets`.
    ///
    /// An IPv4 network opens its addresses in their IPv6 wrappings too. The metadata services of cloud providers
    /// (`169.254.169.254` and the like) hand out credentials, so that a network around one does not open it: only an
    /// entry for the single address does (`169.254.169.254/32`).
    pub fn allowing(nets: Vec<IpNet>) -> Self {
        Self { allowed: nets, unrestricted: false }
    }

    /// Allows every address.
    ///
    /// For the command line client and the storage of blobs, which talk to the server that their user named. Never for a
    /// URL that came in a request.
    pub fn unrestricted() -> Self {
        Self { allowed: Vec::new(), unrestricted: true }
    }

    /// Checks one address that is about to be dialled.
    ///
    /// An address is allowed when it and every IPv4 address it wraps (IPv4-mapped, IPv4-compatible, NAT64, 6to4, Teredo)
    /// are globally routable or allowed by name.
    ///
    /// # Errors
    /// [`Blocked`] says what kind of address it is.
    pub fn check(&self, ip: IpAddr) -> Result<(), Blocked> {
        if self.unrestricted {
            return Ok(());
        }
        let wrapped = match ip {
            IpAddr::V4(_) => None,
            IpAddr::V6(ip) => special::wrapped(ip),
        };
        let Some(wrapped) = wrapped else {
            return self.check_plain(ip);
        };
        if !wrapped.transparent {
            self.check_plain(ip)?;
        }
        for inner in wrapped.inner.into_iter().flatten() {
            if let Err(blocked) = self.check_plain(IpAddr::V4(inner)) {
                // The operator may have named the address in its wrapped form. A translation prefix of the local network
                // is not such a name: opening it must not open every private address behind the translator.
                let is_named = wrapped.transparent && self.allows(ip, special::is_metadata(IpAddr::V4(inner)));
                if !is_named {
                    return Err(Blocked { ip, inner: Some((wrapped.form, inner)), reason: blocked.reason });
                }
            }
        }
        Ok(())
    }

    fn check_plain(&self, ip: IpAddr) -> Result<(), Blocked> {
        match special::not_global(ip) {
            Some(reason) if !self.allows(ip, reason == special::METADATA) => Err(Blocked { ip, inner: None, reason }),
            _ => Ok(()),
        }
    }

    fn allows(&self, ip: IpAddr, exactly: bool) -> bool {
        self.allowed.iter().any(|net| net.contains(&ip) && (!exactly || net.prefix_len() == net.max_prefix_len()))
    }

    /// Checks what can be seen of a URL without asking DNS.
    ///
    /// Refuses schemes other than `http` and `https`, URLs without a host or longer than [`MAX_URL_BYTES`], addresses that
    /// [`AddressPolicy::check`] refuses in every spelling that browsers understand (`http://0x7f.1/`, `http://2130706433/`,
    /// which the WHATWG parser has already normalised), and names that by definition or custom mean the machine or its
    /// network: `localhost` and names under it (RFC 6761) unless a loopback address is allowed; `.local` (RFC 6762),
    /// `.internal` and `.home.arpa` (RFC 8375) unless anything at all is.
    ///
    /// A URL that passes may still resolve to a blocked address; that is found when it is dialled.
    ///
    /// # Errors
    /// [`UrlRefused`] with the reason, for people.
    pub fn check_url(&self, url: &Url) -> Result<(), UrlRefused> {
        if url.as_str().len() > MAX_URL_BYTES {
            return Err(UrlRefused::TooLong);
        }
        if !matches!(url.scheme(), "http" | "https") {
            return Err(UrlRefused::Scheme(url.scheme().to_owned()));
        }
        match url.host() {
            None => Err(UrlRefused::NoHost),
            Some(Host::Ipv4(ip)) => Ok(self.check(IpAddr::V4(ip))?),
            Some(Host::Ipv6(ip)) => Ok(self.check(IpAddr::V6(ip))?),
            Some(Host::Domain(name)) => self.check_name(name),
        }
    }

    fn check_name(&self, name: &str) -> Result<(), UrlRefused> {
        let bare = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        if bare.is_empty() {
            return Err(UrlRefused::NoHost);
        }
        let private = if is_localhost(&bare) {
            self.check(IpAddr::V4(Ipv4Addr::LOCALHOST)).is_err() && self.check(IpAddr::V6(Ipv6Addr::LOCALHOST)).is_err()
        } else {
            const SUFFIXES: [&str; 4] = [".local", ".internal", ".home.arpa", ".localdomain"];
            !self.unrestricted && self.allowed.is_empty() && SUFFIXES.iter().any(|suffix| bare.ends_with(suffix))
        };
        if private { Err(UrlRefused::PrivateName(bare)) } else { Ok(()) }
    }
}

/// Says whether a lower-case name without a trailing dot means this machine (RFC 6761, section 6.3, and `/etc/hosts` custom).
pub(crate) fn is_localhost(name: &str) -> bool {
    matches!(name, "localhost" | "localhost.localdomain" | "ip6-localhost" | "ip6-loopback")
        || name.ends_with(".localhost")
}

/// An address that may not be dialled, and why.
///
/// Displays as a sentence without a full stop: `127.0.0.1 is a loopback address`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Blocked {
    /// The address as it would have been dialled.
    pub ip: IpAddr,
    /// What kind of address it is, or the one it wraps: `a loopback address`.
    pub reason: &'static str,
    inner: Option<(&'static str, Ipv4Addr)>,
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.inner {
            None => write!(f, "{} is {}", self.ip, self.reason),
            Some((form, inner)) => write!(f, "{} ({form} for {inner}) is {}", self.ip, self.reason),
        }
    }
}

/// A URL that is refused before anything is resolved or dialled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlRefused {
    /// The scheme is neither `http` nor `https`.
    #[error("the scheme `{0}` is not supported, only http and https are")]
    Scheme(String),
    /// The URL names no host.
    #[error("the URL has no host")]
    NoHost,
    /// The URL is longer than [`MAX_URL_BYTES`].
    #[error("the URL is longer than {MAX_URL_BYTES} bytes")]
    TooLong,
    /// The host is a name that means this machine or its network.
    #[error("{0} is a name of a private network")]
    PrivateName(String),
    /// The host is an address that may not be dialled.
    #[error(transparent)]
    Blocked(#[from] Blocked),
}

impl UrlRefused {
    /// Tells the contract's code: `blocked_address` or `invalid_url`.
    pub fn code(&self) -> &'static str {
        if self.is_blocked_address() { "blocked_address" } else { "invalid_url" }
    }

    /// Says whether the URL is well formed but points where nothing may be dialled.
    pub fn is_blocked_address(&self) -> bool {
        matches!(self, Self::PrivateName(_) | Self::Blocked(_))
    }
}
