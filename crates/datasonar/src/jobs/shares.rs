//! A number of places that accounts share, so that none can take all of them.

use std::collections::BTreeMap;

use datasonar_store::AccountId;
use parking_lot::Mutex;

/// Places for which accounts compete. An account gets another while it holds fewer than are free: one alone takes half of them, the next half of the
/// rest, and there is one left for an account that has none until as many accounts as that takes press at once.
pub struct Shares(Mutex<Held>);

struct Held {
    free: usize,
    by_account: BTreeMap<AccountId, usize>,
}

impl Shares {
    /// Returns so many places.
    pub const fn new(places: usize) -> Self {
        Self(Mutex::new(Held { free: places, by_account: BTreeMap::new() }))
    }

    /// Takes a place for an account. Returns `None` if it has its share.
    pub fn take(&'static self, account: AccountId) -> Option<Share> {
        let mut held = self.0.lock();
        let own = held.by_account.get(&account).copied().unwrap_or_default();
        if own >= held.free {
            return None;
        }
        held.free -= 1;
        held.by_account.insert(account, own + 1);
        Some(Share { shares: self, account })
    }
}

/// A place, until it is dropped.
pub struct Share {
    shares: &'static Shares,
    account: AccountId,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.shares.0.lock();
        held.free += 1;
        if let Some(own) = held.by_account.get_mut(&self.account) {
            *own -= 1;
            if *own == 0 {
                held.by_account.remove(&self.account);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    static PLACES: Shares = Shares::new(32);

    #[test]
    fn an_account_takes_half_of_what_is_free_and_leaves_a_place_for_others() {
        let take = |account: u128| -> Vec<Share> {
            std::iter::from_fn(|| PLACES.take(AccountId(Uuid::from_u128(account)))).collect()
        };
        let held: Vec<Vec<Share>> = (1..=5).map(take).collect();
        assert_eq!(held.iter().map(Vec::len).collect::<Vec<_>>(), [16, 8, 4, 2, 1]);
        drop(held);
        assert_eq!(take(6).len(), 16);
    }
}
