//! From addresses to byte streams: the seam, and TCP behind it.

use std::io;
use std::net::SocketAddr;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// A byte stream to a peer.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// Opens a byte stream to an address.
///
/// The seam where tests and the simulation put a network of their own. Called only with addresses that the policy allows.
#[async_trait]
pub trait Dial: Send + Sync + 'static {
    /// Opens a connection to exactly `addr`.
    ///
    /// Need not bound its time: the caller does, and drops the future when it has run out.
    async fn dial(&self, addr: SocketAddr) -> io::Result<Box<dyn Connection>>;
}

/// Dials over TCP, with Nagle's algorithm off.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpDialer;

#[async_trait]
impl Dial for TcpDialer {
    async fn dial(&self, addr: SocketAddr) -> io::Result<Box<dyn Connection>> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }
}
