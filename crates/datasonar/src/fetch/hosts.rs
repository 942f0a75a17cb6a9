//! Politeness: how many requests a host gets at a time, and how far apart.
//!
//! The counting is this process's own. (Holding the limits over several processes is a matter of leasing hosts, which
//! comes with the store for several machines.)

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use super::turns::{Turn, Turns};

/// Hosts are forgotten when there are more than this many and they are idle.
const REMEMBERED: usize = 4_096;

/// The gates of all hosts.
#[derive(Clone, Debug)]
pub struct Hosts {
    gates: Arc<Mutex<HashMap<String, Arc<Gate>>>>,
    concurrency: usize,
    delay: Duration,
}

#[derive(Debug)]
struct Gate {
    turns: Turns,
    /// When the next request may begin.
    next: Mutex<Instant>,
}

impl Hosts {
    /// Lets `concurrency` requests to a host run at once, and begin at least `delay` apart.
    pub fn new(concurrency: usize, delay: Duration) -> Self {
        Self { gates: Arc::default(), concurrency, delay }
    }

    /// Waits until a request to `host` may begin. The host is busy with it until the turn is dropped.
    pub async fn enter(&self, host: &str, lane: Uuid) -> Turn {
        let gate = self.gate(host);
        let turn = gate.turns.take(lane).await;
        if !self.delay.is_zero() {
            let start = {
                let mut next = gate.next.lock();
                let start = (*next).max(Instant::now());
                *next = start + self.delay;
                start
            };
            tokio::time::sleep_until(start).await;
        }
        turn
    }

    fn gate(&self, host: &str) -> Arc<Gate> {
        let mut gates = self.gates.lock();
        if let Some(gate) = gates.get(host) {
            return gate.clone();
        }
        if gates.len() >= REMEMBERED {
            let now = Instant::now();
            gates.retain(|_, gate| {
                Arc::strong_count(gate) > 1 || !gate.turns.is_idle(self.concurrency) || *gate.next.lock() > now
            });
        }
        let gate = Arc::new(Gate { turns: Turns::new(self.concurrency), next: Mutex::new(Instant::now()) });
        gates.insert(host.to_owned(), gate.clone());
        gate
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn requests_to_a_host_begin_apart_and_others_do_not_wait() {
        let hosts = Hosts::new(8, Duration::from_millis(250));
        let begin = Instant::now();
        let enter = |host: &'static str| {
            let hosts = hosts.clone();
            async move {
                let _turn = hosts.enter(host, Uuid::nil()).await;
                begin.elapsed().as_millis()
            }
        };
        let times = join_all([enter("a"), enter("a"), enter("b"), enter("a")]).await;
        assert_eq!(times, [0, 250, 0, 500]);
    }

    #[tokio::test]
    async fn idle_hosts_are_forgotten() {
        let hosts = Hosts::new(2, Duration::ZERO);
        let held = hosts.enter("held", Uuid::nil()).await;
        for n in 0..3 * REMEMBERED {
            drop(hosts.enter(&format!("host-{n}"), Uuid::nil()).await);
        }
        assert!(hosts.gates.lock().len() <= REMEMBERED + 1);
        assert!(hosts.gates.lock().contains_key("held"));
        drop(held);
    }
}
