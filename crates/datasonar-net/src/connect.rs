//! One connection: resolve → check → dial → TLS.
//!
//! The only place that opens a socket. Between the check and the dial there is nothing but the loop over the addresses
//! that passed it, so that what was checked is what is dialled, whatever DNS says a moment later.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use rustls_pki_types::ServerName;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use crate::address::AddressPolicy;
use crate::dial::{Connection, Dial};
use crate::resolve::{Resolve, ResolveError, ResolveErrorKind};
use crate::timings::Trace;

/// How long an address is given before the next is tried beside it (RFC 8305, section 5: 250 ms).
const STAGGER: Duration = Duration::from_millis(250);

/// The most addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;

/// Where a connection leads: what connections are pooled by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    pub(crate) https: bool,
    pub(crate) host: Host<String>,
    pub(crate) port: u16,
    /// Whether HTTP/2 may be negotiated.
    pub(crate) h2: bool,
}

impl Target {
    /// Reads a URL that passed [`AddressPolicy::check_url`]; `None` if it names no host.
    pub(crate) fn of(url: &Url, h2: bool) -> Option<Self> {
        let port = url.port_or_known_default()?;
        Some(Self { https: url.scheme() == "https", host: url.host()?.to_owned(), port, h2 })
    }
}

/// Why a connection could not be made.
#[derive(Debug)]
pub(crate) enum ConnectError {
    Blocked(String),
    Dns(ResolveError),
    /// Every address refused the connection.
    Refused(String),
    /// No address took the connection, for whatever reason.
    Connect(String),
    Tls {
        message: String,
        transient: bool,
        certificate: Option<CertificateFault>,
    },
    Timeout(String),
}

/// What is wrong with a peer's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CertificateFault {
    /// Its time is over, or has not begun.
    Expired,
    /// It names another host.
    WrongHost,
    /// It leads to no root that is trusted.
    Untrusted,
}

/// A connection, ready for HTTP.
pub(crate) struct Established {
    pub(crate) stream: Box<dyn Connection>,
    pub(crate) remote: SocketAddr,
    pub(crate) h2: bool,
}

pub(crate) struct Connector {
    pub(crate) policy: AddressPolicy,
    pub(crate) resolver: Arc<dyn Resolve>,
    pub(crate) dialer: Arc<dyn Dial>,
    pub(crate) tls: crate::tls::Tls,
}

impl Connector {
    /// Connects within `limit`, which covers name resolution, TCP and TLS.
    pub(crate) async fn connect(
        &self,
        to: &Target,
        limit: Duration,
        trace: &mut Trace,
    ) -> Result<Established, ConnectError> {
        match timeout(limit, self.connect_unbounded(to, trace)).await {
            Ok(result) => result,
            Err(_elapsed) => {
                let at = trace.remote.map_or_else(String::new, |remote| format!(" ({})", remote.ip()));
                let stage = trace.stage;
                Err(ConnectError::Timeout(format!("{stage} {}{at} took longer than {limit:?}", to.host)))
            }
        }
    }

    async fn connect_unbounded(&self, to: &Target, trace: &mut Trace) -> Result<Established, ConnectError> {
        trace.stage = "resolving";
        let addresses = self.addresses(to, trace).await?;
        trace.stage = "connecting to";
        let started = Instant::now();
        let (stream, remote) = self.dial_any(&addresses).await?;
        trace.timings.connect = Some(started.elapsed());
        trace.remote = Some(remote);
        if !to.https {
            return Ok(Established { stream, remote, h2: false });
        }
        trace.stage = "the TLS handshake with";
        let started = Instant::now();
        let name = server_name(&to.host)?;
        let connector = TlsConnector::from(Arc::clone(if to.h2 { &self.tls.any } else { &self.tls.http1 }));
        let stream = connector.connect(name, stream).await.map_err(|error| tls_error(&to.host, &error))?;
        trace.timings.tls = Some(started.elapsed());
        let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok(Established { stream: Box::new(stream), remote, h2 })
    }

    /// Resolves the target and keeps the addresses that may be dialled, families taking turns.
    async fn addresses(&self, to: &Target, trace: &mut Trace) -> Result<Vec<SocketAddr>, ConnectError> {
        let found = match &to.host {
            Host::Ipv4(ip) => vec![IpAddr::V4(*ip)],
            Host::Ipv6(ip) => vec![IpAddr::V6(*ip)],
            Host::Domain(name) => {
                let started = Instant::now();
                let found = self.resolver.resolve(name).await.map_err(ConnectError::Dns)?;
                trace.timings.dns = Some(started.elapsed());
                found
            }
        };
        let mut blocked = None;
        let mut allowed = Vec::with_capacity(found.len());
        for ip in found {
            match self.policy.check(ip) {
                Ok(()) if allowed.contains(&ip) => {}
                Ok(()) => allowed.push(ip),
                Err(refusal) => blocked = Some(refusal),
            }
        }
        match (allowed.is_empty(), blocked) {
            (false, _) => Ok(interleave(allowed).into_iter().map(|ip| SocketAddr::new(ip, to.port)).collect()),
            (true, Some(refusal)) => Err(ConnectError::Blocked(match &to.host {
                Host::Domain(name) => format!("{name} resolves to a blocked address: {refusal}"),
                _ => refusal.to_string(),
            })),
            (true, None) => {
                let message = format!("{} has no address", to.host);
                Err(ConnectError::Dns(ResolveError { kind: ResolveErrorKind::NotFound, message }))
            }
        }
    }

    /// Tries the addresses in order, the next one as soon as one fails or is slow; the first to answer wins.
    async fn dial_any(&self, addresses: &[SocketAddr]) -> Result<(Box<dyn Connection>, SocketAddr), ConnectError> {
        let mut waiting: VecDeque<SocketAddr> = addresses.iter().copied().collect();
        let mut dialling = FuturesUnordered::new();
        let (mut failure, mut all_refused) = (String::new(), true);
        loop {
            if let Some(addr) = waiting.pop_front() {
                dialling.push(async move { (addr, self.dialer.dial(addr).await) });
            }
            tokio::select! {
                biased;
                dialled = dialling.next() => match dialled {
                    Some((addr, Ok(stream))) => return Ok((stream, addr)),
                    Some((addr, Err(error))) => {
                        failure = dial_error(addr, &error);
                        all_refused &= error.kind() == io::ErrorKind::ConnectionRefused;
                    }
                    None if all_refused => return Err(ConnectError::Refused(failure)),
                    None => return Err(ConnectError::Connect(failure)),
                },
                () = sleep(STAGGER), if !waiting.is_empty() => {}
            }
        }
    }
}

fn interleave(ips: Vec<IpAddr>) -> Vec<IpAddr> {
    let first_is_v6 = ips.first().is_some_and(IpAddr::is_ipv6);
    let (mut first, mut second): (VecDeque<_>, VecDeque<_>) =
        ips.into_iter().partition(|ip| ip.is_ipv6() == first_is_v6);
    let mut taken = Vec::new();
    while taken.len() < MAX_ADDRESSES && !(first.is_empty() && second.is_empty()) {
        taken.extend(first.pop_front());
        taken.extend(second.pop_front());
    }
    taken.truncate(MAX_ADDRESSES);
    taken
}

fn dial_error(addr: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => format!("{addr} refused the connection"),
        io::ErrorKind::ConnectionReset => format!("{addr} reset the connection"),
        io::ErrorKind::TimedOut => format!("{addr} did not answer"),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            format!("{addr} is unreachable")
        }
        _ => format!("connecting to {addr} failed: {error}"),
    }
}

fn server_name(host: &Host<String>) -> Result<ServerName<'static>, ConnectError> {
    match host {
        Host::Ipv4(ip) => Ok(ServerName::from(IpAddr::V4(*ip))),
        Host::Ipv6(ip) => Ok(ServerName::from(IpAddr::V6(*ip))),
        Host::Domain(name) => {
            let name = name.strip_suffix('.').unwrap_or(name).to_owned();
            ServerName::try_from(name.clone()).map_err(|_| ConnectError::Tls {
                message: format!("{name} cannot be named in a certificate"),
                transient: false,
                certificate: None,
            })
        }
    }
}

fn tls_error(host: &Host<String>, error: &io::Error) -> ConnectError {
    let ours = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match ours {
        Some(error) => ConnectError::Tls {
            message: format!("the TLS handshake with {host} failed: {error}"),
            transient: false,
            certificate: certificate_fault(error),
        },
        None => ConnectError::Tls {
            message: format!("the connection to {host} broke during the TLS handshake: {error}"),
            transient: true,
            certificate: None,
        },
    }
}

fn certificate_fault(error: &rustls::Error) -> Option<CertificateFault> {
    use rustls::CertificateError as Fault;
    let rustls::Error::InvalidCertificate(fault) = error else { return None };
    match fault {
        Fault::Expired | Fault::ExpiredContext { .. } | Fault::NotValidYet | Fault::NotValidYetContext { .. } => {
            Some(CertificateFault::Expired)
        }
        Fault::NotValidForName | Fault::NotValidForNameContext { .. } => Some(CertificateFault::WrongHost),
        // A root of the same name and another key makes for a bad signature.
        Fault::UnknownIssuer | Fault::BadSignature => Some(CertificateFault::Untrusted),
        _ => None,
    }
}
