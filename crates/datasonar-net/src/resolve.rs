//! From names to addresses: the seam, and the system's resolver behind it.
//!
//! What a resolver answers is never trusted: every address is checked against the policy afterwards, by the connector.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use async_trait::async_trait;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, ResolveHosts};
use hickory_resolver::net::{DnsError, NetError};
use tokio::sync::OnceCell;

use crate::address::is_localhost;

/// How many answers are cached.
const CACHE_RECORDS: u64 = 16 * 1024;

/// The longest an answer is believed, whatever its time to live.
const MAX_POSITIVE_TTL: Duration = Duration::from_secs(3600);

/// The longest an absence is believed: someone may just be setting up the name they are trying.
const MAX_NEGATIVE_TTL: Duration = Duration::from_secs(60);

/// Turns a host name into addresses.
///
/// The seam where tests and the simulation put a network of their own. Literal addresses never come here.
#[async_trait]
pub trait Resolve: Send + Sync + 'static {
    /// Resolves a host name, in lower case and possibly with a trailing dot, as it stands in a URL.
    ///
    /// An empty answer is treated as [`ResolveErrorKind::NotFound`].
    async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError>;
}

/// Whether asking again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResolveErrorKind {
    /// The name does not exist, has no address, or is not a name.
    NotFound,
    /// No server answered in time, or one answered that it failed.
    Unavailable,
}

/// A name that could not be resolved.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ResolveError {
    /// Whether asking again can help.
    pub kind: ResolveErrorKind,
    /// What happened, for people.
    pub message: String,
}

impl ResolveError {
    /// The name does not exist or has no address.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self { kind: ResolveErrorKind::NotFound, message: message.into() }
    }

    /// The servers did not answer, or failed.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self { kind: ResolveErrorKind::Unavailable, message: message.into() }
    }
}

/// Resolves as the machine is configured to: `/etc/hosts`, then the servers of `/etc/resolv.conf`.
///
/// Answers are cached for their time to live, absences for a minute at most. DNSSEC is off (not compiled in): it is left to the servers. `localhost` and names under it are
/// `127.0.0.1` and `::1` without asking anyone (RFC 6761, section 6.3). The configuration is read at the first use.
#[derive(Default)]
pub struct SystemResolver {
    resolver: OnceCell<TokioResolver>,
}

impl SystemResolver {
    /// Makes a resolver; reads nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    async fn resolver(&self) -> Result<&TokioResolver, ResolveError> {
        let failed =
            |error: NetError| ResolveError::unavailable(format!("the system's DNS configuration is unusable: {error}"));
        self.resolver
            .get_or_try_init(|| async {
                let mut builder = TokioResolver::builder_tokio().map_err(failed)?;
                let options = builder.options_mut();
                options.use_hosts_file = ResolveHosts::Always;
                options.ip_strategy = LookupIpStrategy::Ipv6AndIpv4;
                options.cache_size = CACHE_RECORDS;
                options.max_active_requests = 256;
                options.positive_max_ttl = Some(MAX_POSITIVE_TTL);
                options.negative_max_ttl = Some(MAX_NEGATIVE_TTL);
                builder.build().map_err(failed)
            })
            .await
    }
}

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let bare = host.strip_suffix('.').unwrap_or(host);
        if is_localhost(bare) {
            return Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]);
        }
        let resolver = self.resolver().await?;
        // A name with a dot in it is tried as it stands, so that the search list (five suffixes in a Kubernetes pod) costs
        // nothing for the names of the public web. Only what is not found there is looked for in the search list.
        let absolute = format!("{bare}.");
        let relative = bare.to_owned();
        let (first, second) = match (bare.contains('.'), bare.len() < host.len()) {
            (_, true) => (absolute, None),
            (true, false) => (absolute, Some(relative)),
            (false, false) => (relative, None),
        };
        let found = match (resolver.lookup_ip(first).await, second) {
            (Err(error), Some(second)) if error.is_no_records_found() => resolver.lookup_ip(second).await,
            (found, _) => found,
        };
        match found {
            Ok(found) => Ok(found.iter().collect()),
            Err(error) => Err(explain(bare, &error)),
        }
    }
}

fn explain(host: &str, error: &NetError) -> ResolveError {
    match error {
        error if error.is_nx_domain() => ResolveError::not_found(format!("{host} does not exist")),
        error if error.is_no_records_found() => ResolveError::not_found(format!("{host} has no address")),
        NetError::Dns(DnsError::ResponseCode(code)) => {
            ResolveError::unavailable(format!("resolving {host} failed: the DNS server answered {code}"))
        }
        NetError::Timeout => ResolveError::unavailable(format!("resolving {host} timed out")),
        NetError::Proto(_) => ResolveError::not_found(format!("{host} is not a valid DNS name")),
        error => ResolveError::unavailable(format!("resolving {host} failed: {error}")),
    }
}
