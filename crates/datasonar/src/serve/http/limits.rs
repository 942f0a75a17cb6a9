//! How many connections are open at a time, in total and per network, and what those over the limit are told.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
};

use super::client;

/// The most connections by default, however many files the process may open.
const MOST: u64 = 20_000;
/// The share of all connections that one network may have is one of so many.
const NETWORK_SHARE: usize = 8;
/// Connections that a network may have in any case.
const NETWORK_LEAST: usize = 16;
/// Connections over the limit that are told so at a time; more are closed without a word.
static TOLD: Semaphore = Semaphore::const_new(64);
/// Time that a connection over the limit has to take its answer.
const TELL_WITHIN: Duration = Duration::from_secs(1);
/// Answers those over the limit.
const ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    content-type: application/problem+json\r\n\
    content-length: 145\r\n\
    retry-after: 5\r\n\
    cache-control: no-store\r\n\
    x-content-type-options: nosniff\r\n\
    connection: close\r\n\r\n\
    {\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,\"detail\":\"the server has too many connections; close some or try again later.\"}\n";

/// Files that are left for pages, deliveries, the store and blobs where the process may open many: more are not used.
const OTHER_FILES: u64 = 8_192;

/// Returns the number of connections that is allowed by default: half of the files that the process may open, or all but
/// 8,192 if that is more, and at most 20,000.
pub(super) fn default_total(open_files: u64) -> usize {
    let files = (open_files / 2).max(open_files.saturating_sub(OTHER_FILES));
    usize::try_from(files.clamp(1, MOST)).unwrap_or(1)
}

/// Counts open connections. Cloning is cheap.
#[derive(Clone)]
pub(super) struct Connections(Arc<Inner>);

struct Inner {
    total: usize,
    per_network: usize,
    /// Proxies, which bring many clients each.
    exempt: Vec<IpNet>,
    open: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    total: usize,
    by_network: HashMap<IpAddr, usize>,
}

/// A limit that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Total,
    Network,
}

impl Connections {
    /// Allows `total` connections, an eighth of them to one network unless it is loopback or one of `exempt`.
    pub(super) fn new(total: usize, exempt: Vec<IpNet>) -> Self {
        let per_network = (total / NETWORK_SHARE).max(NETWORK_LEAST);
        Self(Arc::new(Inner { total, per_network, exempt, open: Mutex::default() }))
    }

    /// Counts a connection until its seat is dropped.
    ///
    /// # Errors
    /// When there are as many as there may be.
    pub(super) fn admit(&self, peer: IpAddr) -> Result<Seat, Refusal> {
        let network = self.network(peer);
        let mut open = self.0.open.lock();
        if open.total >= self.0.total {
            return Err(Refusal::Total);
        }
        if let Some(network) = network {
            let count = open.by_network.entry(network).or_default();
            if *count >= self.0.per_network {
                return Err(Refusal::Network);
            }
            *count += 1;
        }
        open.total += 1;
        gauge(open.total);
        drop(open);
        Ok(Seat { connections: self.clone(), network })
    }

    /// The network that a connection counts for: of version 6 the /64. None for loopback and proxies.
    fn network(&self, peer: IpAddr) -> Option<IpAddr> {
        match peer.to_canonical() {
            address if address.is_loopback() || client::is_trusted(address, &self.0.exempt) => None,
            IpAddr::V6(address) => Some(IpAddr::V6(Ipv6Addr::from(u128::from(address) >> 64 << 64))),
            address => Some(address),
        }
    }
}

/// A connection that counts.
pub(super) struct Seat {
    connections: Connections,
    network: Option<IpAddr>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.connections.0.open.lock();
        open.total -= 1;
        gauge(open.total);
        let Some(network) = self.network else { return };
        if let Some(count) = open.by_network.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                open.by_network.remove(&network);
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "gauges are doubles")]
fn gauge(connections: usize) {
    metrics::gauge!("datasonar_http_connections").set(connections as f64);
}

/// Answers a connection over the limit with 503, and closes it.
pub(super) fn shed(mut stream: TcpStream, refusal: Refusal) {
    let limit = match refusal {
        Refusal::Total => "total",
        Refusal::Network => "network",
    };
    metrics::counter!("datasonar_http_connections_refused_total", "limit" => limit).increment(1);
    let Ok(permit) = TOLD.try_acquire() else { return };
    tokio::spawn(async move {
        let tell = async {
            stream.write_all(ANSWER).await?;
            stream.shutdown().await?;
            // Closing with bytes unread would reset the connection, and take the answer with it.
            let mut rest = [0; 4_096];
            for _ in 0..16 {
                if stream.read(&mut rest).await? == 0 {
                    break;
                }
            }
            Ok::<_, std::io::Error>(())
        };
        let _ = tokio::time::timeout(TELL_WITHIN, tell).await;
        drop(permit);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_limited_in_total_and_per_network() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let connections = Connections::new(160, vec!["10.0.0.0/8".parse().unwrap()]);
        let admit = |text: &str, count: usize| -> Vec<Seat> {
            (0..count).map(|_| connections.admit(address(text)).ok().unwrap()).collect()
        };
        let first = admit("203.0.113.7", 20);
        assert_eq!(connections.admit(address("::ffff:203.0.113.7")).err(), Some(Refusal::Network));
        let _six: Vec<Seat> = (0..20).flat_map(|n| admit(&format!("2001:db8:0:1::{n:x}"), 1)).collect();
        assert_eq!(connections.admit(address("2001:db8:0:1:ffff::1")).err(), Some(Refusal::Network));
        let _others = (admit("2001:db8:0:2::1", 20), admit("10.1.1.1", 50), admit("127.0.0.1", 25), admit("::1", 25));
        assert_eq!(connections.admit(address("127.0.0.1")).err(), Some(Refusal::Total));
        drop(first);
        let _again = admit("203.0.113.7", 20);
        assert_eq!(connections.0.open.lock().total, 160);
    }

    #[test]
    fn the_answer_is_whole() {
        let text = std::str::from_utf8(ANSWER).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{}", body.len());
        serde_json::from_str::<serde_json::Value>(body).unwrap();
    }

    #[test]
    fn the_default_leaves_files_for_other_things() {
        assert_eq!([0, 1_024, 20_000, 65_536, u64::MAX].map(default_total), [1, 512, 11_808, 20_000, 20_000]);
    }
}
