//! The network: names, addresses, and streams in memory to sites and endpoints, some of which mean no good.

mod endpoints;
mod http;
mod sites;
mod tls;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use async_trait::async_trait;
use datasonar_net::{Connection, Dial, Resolve, ResolveError};
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};

pub(crate) use endpoints::{Endpoint, EndpointKind};
pub(crate) use sites::{Site, SiteKind, SiteLimits};
pub(crate) use tls::authority;

use crate::{host::Host, world::World};

/// How much is under way in one direction.
const WIRE_BYTES: usize = 32 * 1024;

/// A name that leads to this machine, which nobody may be sent to.
pub(crate) const INWARD: &str = "inward.example";

/// Whoever can be reached.
pub(crate) struct Web {
    pub(crate) sites: Vec<Arc<Site>>,
    pub(crate) endpoints: Vec<Arc<Endpoint>>,
    pub(crate) world: Arc<World>,
}

/// The network as one process sees it.
pub(crate) struct Net {
    pub(crate) web: Arc<Web>,
    pub(crate) host: Arc<Host>,
}

/// A connection, as both of its ends know it.
#[derive(Debug)]
pub(crate) struct Wire {
    /// The process that made it.
    pub(crate) host: Arc<Host>,
    is_closed: AtomicBool,
}

impl Wire {
    /// Whether the process has let go of it.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }
}

/// The process's end of a connection.
struct Near {
    stream: DuplexStream,
    wire: Arc<Wire>,
    host: Arc<Host>,
    /// Waits until the network is there again.
    waits: Option<BoxFuture<'static, ()>>,
}

fn site_address(index: usize) -> Ipv4Addr {
    Ipv4Addr::new(20, 1, 0, u8::try_from(index + 1).expect("there are few sites"))
}

fn endpoint_address(index: usize) -> Ipv4Addr {
    Ipv4Addr::new(20, 2, 0, u8::try_from(index + 1).expect("there are few endpoints"))
}

#[async_trait]
impl Resolve for Net {
    async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
        self.host.living().await;
        self.host.networked().await;
        let world = &self.web.world;
        if world.strikes(world.weather.net_fails) {
            return Err(ResolveError::unavailable("no server answered"));
        }
        if name == INWARD {
            return Ok(vec![Ipv4Addr::new(10, 0, 0, 7).into()]);
        }
        let site = self.web.sites.iter().position(|site| site.name == name).map(site_address);
        let endpoint = || self.web.endpoints.iter().position(|endpoint| endpoint.name == name).map(endpoint_address);
        match site.or_else(endpoint) {
            Some(address) => Ok(vec![address.into()]),
            None => Err(ResolveError::not_found(format!("{name} does not exist"))),
        }
    }
}

#[async_trait]
impl Dial for Net {
    async fn dial(&self, address: SocketAddr) -> io::Result<Box<dyn Connection>> {
        self.host.living().await;
        self.host.networked().await;
        let world = &self.web.world;
        if world.strikes(world.weather.net_fails) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let IpAddr::V4(ip) = address.ip() else { return Err(io::ErrorKind::NetworkUnreachable.into()) };
        let [.., kind, _, index] = ip.octets();
        let index = usize::from(index).wrapping_sub(1);
        let wire = Arc::new(Wire { host: self.host.clone(), is_closed: AtomicBool::new(false) });
        let (near, far) = duplex(WIRE_BYTES);
        match (kind, address.port()) {
            (1, 80) if index < self.web.sites.len() => {
                let site = self.web.sites[index].clone();
                if site.kind == SiteKind::Refusing {
                    return Err(io::ErrorKind::ConnectionRefused.into());
                }
                tokio::spawn(site.serve(self.web.clone(), far, wire.clone()));
            }
            (2, 443) if index < self.web.endpoints.len() => {
                let endpoint = self.web.endpoints[index].clone();
                tokio::spawn(endpoint.serve(self.web.clone(), far, wire.clone()));
            }
            _ => {
                let what = format!("{} dialled {address}, where nobody lives", self.host.name);
                world.oracle().broken(crate::oracle::Property::Guarded, what);
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
        }
        Ok(Box::new(Near { stream: near, wire, host: self.host.clone(), waits: None }))
    }
}

impl Near {
    /// Holds what a process sends and receives while its network is away; what a dead one does, for good.
    fn poll_network(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.host.is_dead() {
            return Poll::Pending;
        }
        while !self.host.has_network() {
            let host = self.host.clone();
            let waits = self.waits.get_or_insert_with(|| Box::pin(async move { host.networked().await }));
            ready!(waits.as_mut().poll(cx));
            self.waits = None;
        }
        Poll::Ready(())
    }
}

impl AsyncRead for Near {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_network(cx));
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Near {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_network(cx));
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Drop for Near {
    fn drop(&mut self) {
        self.wire.is_closed.store(true, Ordering::Relaxed);
    }
}
