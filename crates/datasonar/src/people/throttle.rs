//! Slowing down those who guess passwords: by the e-mail address that they guess for, and by the network that they come from. A
//! browser that somebody signed in with before answers for its own failures alone ([`super::device`]).
//!
//! Failures are counted in the store, so that the count holds over processes and restarts. A network is looser than an address: behind one there
//! may be an office.

use std::{net::IpAddr, time::Duration};

use datasonar_store::{Brake, Subject};

use crate::crypto::sha256;

/// For how long a failure counts.
pub(super) const WINDOW: Duration = minutes(15);

/// For one e-mail address from one network, for a browser that somebody signed in with before, and for a session.
const EMAIL: Brake = Brake { window: WINDOW, free: 5, first_wait: minutes(1), longest_wait: WINDOW };
/// For one network.
const NETWORK: Brake = Brake { free: 20, ..EMAIL };
/// For one e-mail address from all networks together. The wait is short: strangers cause it, and whoever the address belongs to
/// has to wait as well, with a browser that is new.
const ACCOUNT: Brake = Brake { window: WINDOW, free: 20, first_wait: Duration::from_secs(5), longest_wait: minutes(1) };

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

/// What a try counts for.
#[derive(Clone, Debug)]
pub(super) struct Tries {
    /// Forgotten after a right password.
    pub(super) own: Subject,
    own_brake: Brake,
    /// Where one right password says nothing of the other tries.
    pub(super) shared: Vec<(Subject, Brake)>,
}

impl Tries {
    /// A try of a browser that nobody is known to have signed in with.
    pub(super) fn of(email: &str, address: Option<IpAddr>) -> Self {
        let account = (sha256(format!("account {email}").as_bytes()), ACCOUNT);
        let network = address.and_then(network);
        let Some(network) = network else {
            return Self { own: sha256(format!("email {email}").as_bytes()), own_brake: EMAIL, shared: vec![account] };
        };
        Self {
            own: sha256(format!("email {email} {network}").as_bytes()),
            own_brake: EMAIL,
            shared: vec![account, (sha256(format!("network {network}").as_bytes()), NETWORK)],
        }
    }

    /// A try of a browser that somebody has signed in with.
    pub(super) fn of_device(number: &[u8]) -> Self {
        Self { own: sha256(&[&b"device "[..], number].concat()), own_brake: EMAIL, shared: Vec::new() }
    }

    /// A try within a session.
    pub(super) fn of_session(hash: &[u8]) -> Self {
        Self { own: sha256(&[&b"session "[..], hash].concat()), own_brake: EMAIL, shared: Vec::new() }
    }

    pub(super) fn subjects(&self) -> Vec<(Subject, Brake)> {
        [(self.own, self.own_brake)].into_iter().chain(self.shared.iter().copied()).collect()
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
        let mut subjects: Vec<Subject> = tries.subjects().into_iter().map(|(subject, _)| subject).collect();
        subjects.extend(Tries::of("203.0.113.7", None).subjects().into_iter().map(|(subject, _)| subject));
        subjects.sort_unstable();
        subjects.dedup();
        assert_eq!(subjects.len(), 4, "that of the account is the same");
        assert_eq!(Tries::of_device(&[1; 16]).subjects().len(), 1);
        assert_ne!(Tries::of_device(&[1; 32]).own, Tries::of_session(&[1; 32]).own);
    }
}
