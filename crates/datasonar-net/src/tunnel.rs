//! A byte stream to a host, for whoever speaks for itself: the browser that pages are rendered with.
//!
//! It is let out by the rules of every other request: the name is resolved here, its addresses are checked, and what was
//! checked is dialled. What is said on the stream is not looked at.

use url::Url;

use crate::client::{Client, NoResponse};
use crate::connect::Target;
use crate::dial::Connection;
use crate::fetch_error::{FetchError, FetchErrorKind};
use crate::timings::Trace;

impl Client {
    /// Opens a connection to the host and port of a URL, and says nothing on it, TLS included.
    ///
    /// Bounds connecting only: resolving and dialling together, by the client's `connect_timeout`.
    ///
    /// # Errors
    /// [`FetchError`] if the URL, or every address of its host, may not be dialled, or none answered.
    pub async fn tunnel(&self, url: &Url) -> Result<Box<dyn Connection>, FetchError> {
        self.policy().check_url(url)?;
        let target =
            Target::of(url, false).ok_or_else(|| FetchError::new(FetchErrorKind::InvalidUrl, "the URL has no host"))?;
        let target = Target { https: false, ..target };
        let made = self.inner.connector.connect(&target, self.inner.connect_timeout, &mut Trace::start()).await;
        Ok(made.map_err(NoResponse::Connect)?.stream)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::Arc;

    use async_trait::async_trait;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::{AddressPolicy, ClientOptions, Resolve, ResolveError};

    struct Loopback;

    #[async_trait]
    impl Resolve for Loopback {
        async fn resolve(&self, _: &str) -> Result<Vec<IpAddr>, ResolveError> {
            Ok(vec!["127.0.0.1".parse().unwrap()])
        }
    }

    fn client(policy: AddressPolicy) -> Client {
        Client::new(ClientOptions { resolver: Arc::new(Loopback), ..ClientOptions::new(policy) }).unwrap()
    }

    #[tokio::test]
    async fn it_leads_where_a_fetch_may_go_and_says_nothing_itself() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = client(AddressPolicy::allowing(vec!["127.0.0.0/8".parse().unwrap()]));
        for url in [format!("https://site.example:{port}/"), format!("http://127.0.0.1:{port}/")] {
            let mut tunnel = client.tunnel(&url.parse().unwrap()).await.unwrap();
            let (mut peer, _) = listener.accept().await.unwrap();
            tunnel.write_all(b"ping").await.unwrap();
            peer.write_all(b"pong").await.unwrap();
            let (mut heard, mut answered) = ([0; 4], [0; 4]);
            peer.read_exact(&mut heard).await.unwrap();
            tunnel.read_exact(&mut answered).await.unwrap();
            assert_eq!((&heard, &answered), (b"ping", b"pong"), "what is sent is what was given, nothing before it");
        }
    }

    #[tokio::test]
    async fn it_does_not_lead_elsewhere() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = client(AddressPolicy::public_only());
        for host in ["site.example", "127.0.0.1", "localhost", "[::1]", "169.254.169.254", "0x7f.1"] {
            let error = client.tunnel(&format!("https://{host}:{port}/").parse().unwrap()).await.err().unwrap();
            assert_eq!(error.kind, FetchErrorKind::BlockedAddress, "{host}: {error}");
        }
        let scheme = client.tunnel(&format!("ftp://site.example:{port}/").parse().unwrap()).await.err().unwrap();
        assert_eq!(scheme.kind, FetchErrorKind::InvalidUrl);
        tokio::select! {
            biased;
            accepted = listener.accept() => panic!("somebody came: {accepted:?}"),
            () = tokio::task::yield_now() => {}
        }
    }
}
