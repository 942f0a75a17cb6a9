//! Slowing down those who guess passwords: by the e-mail address that they guess for, and by the network that they come from.
//!
//! Failures are counted in the store, so that the count holds over processes and restarts. A network is looser than an address: behind one there
//! may be an office.

use std::{net::IpAddr, time::Duration};

use datasonar_store::{Brake, Subject};

use crate::crypto::sha256;

/// For how long a failure counts.
pub(super) const WINDOW: Duration = minutes(15);

/// For one e-mail address.
const EMAIL: Brake = Brake { window: WINDOW, free: 5, first_wait: minutes(1), longest_wait: WINDOW };
/// For one network.
const NETWORK: Brake = Brake { free: 20, ..EMAIL };

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

/// What a try counts for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tries {
    pub(super) email: Subject,
    pub(super) network: Option<Subject>,
}

impl Tries {
    pub(super) fn of(email: &str, address: Option<IpAddr>) -> Self {
        let network = address.and_then(network).map(|network| sha256(format!("network {network}").as_bytes()));
        Self { email: sha256(format!("email {email}").as_bytes()), network }
    }

    pub(super) fn subjects(&self) -> Vec<(Subject, Brake)> {
        [(self.email, EMAIL)].into_iter().chain(self.network.map(|network| (network, NETWORK))).collect()
    }
}

/// Whom an address stands for: one of version 6 for its /64, which is what a household or a machine is given. None for a loopback address: that is
/// a proxy on this machine, and everybody behind it.
fn network(address: IpAddr) -> Option<IpAddr> {
    match address.to_canonical() {
        address if address.is_loopback() => None,
        IpAddr::V6(address) => Some(IpAddr::V6((u128::from(address) >> 64 << 64).into())),
        address => Some(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        for (address, expected) in [
            ("203.0.113.7", Some("203.0.113.7")),
            ("::ffff:203.0.113.7", Some("203.0.113.7")),
            ("2001:db8:1:2:3:4:5:6", Some("2001:db8:1:2::")),
            ("2001:db8:1:2:ffff::1", Some("2001:db8:1:2::")),
            ("127.0.0.1", None),
            ("::1", None),
        ] {
            let found = network(address.parse().unwrap()).map(|network| network.to_string());
            assert_eq!(found.as_deref(), expected, "{address}");
        }
    }

    #[test]
    fn subjects_are_apart() {
        let address = Some("203.0.113.7".parse().unwrap());
        let tries = Tries::of("203.0.113.7", address);
        assert_ne!(Some(tries.email), tries.network);
        assert_eq!(tries.subjects().len(), 2);
        assert_eq!(Tries::of("ada@example.com", None).subjects().len(), 1);
    }
}
