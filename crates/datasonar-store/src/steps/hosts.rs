//! Sharing hosts out among processes.

use std::time::Duration;

use jiff::Timestamp;

use crate::sql::codec::{Millis, later};
use crate::sql::{Connection, owned, params};
use crate::{HostAsk, HostGrant, Result, ShareHosts};

/// How long moments that have passed are remembered: so long a host counts as paced.
const REMEMBERED: Duration = Duration::from_secs(60);
/// How many rows that count no more are deleted at a time.
const STALE: u32 = 100;

pub(super) fn share(connection: &Connection, share: &ShareHosts) -> Result<Vec<HostGrant>> {
    const OTHERS: &str =
        "SELECT permits, wants FROM host_shares WHERE host = ? AND owner <> ? AND expires_at > ? ORDER BY owner";
    const PACE: &str = "SELECT next_at FROM host_paces WHERE host = ?";
    const GRANT: &str = "INSERT INTO host_shares (host, owner, permits, wants, expires_at) VALUES (?, ?, ?, ?, ?)
        ON CONFLICT (host, owner) DO UPDATE
        SET permits = excluded.permits, wants = excluded.wants, expires_at = excluded.expires_at";
    const GIVE_BACK: &str = "DELETE FROM host_shares WHERE host = ? AND owner = ?";
    const NEXT: &str = "INSERT INTO host_paces (host, next_at) VALUES (?, ?)
        ON CONFLICT (host) DO UPDATE SET next_at = excluded.next_at";
    sweep(connection, share.now)?;
    let now = Millis(share.now);
    let asks = &share.asks;
    let others = connection.prepare(OTHERS).query_all(asks.iter().map(|ask| owned![ask.host, share.owner, now]))?;
    let paces = connection.prepare(PACE).query_all(asks.iter().map(|ask| owned![ask.host]))?;
    let (grant, next) = (connection.prepare(GRANT), connection.prepare(NEXT));
    let mut grants = Vec::with_capacity(asks.len());
    for ((ask, others), pace) in asks.iter().zip(&others).zip(&paces) {
        let others = others.iter().map(|row| Ok((row.get("permits")?, row.get("wants")?)));
        let decided = decide(share.concurrency, &others.collect::<Result<Vec<_>>>()?, ask);
        if ask.wants == 0 && ask.in_use == 0 {
            connection.prepare(GIVE_BACK).run(params![ask.host, share.owner])?;
        } else {
            grant.run(params![ask.host, share.owner, decided.held, ask.wants, later(share.now, share.lease)])?;
        }
        let known = pace.first().map(|row| row.get::<_, Millis>("next_at")).transpose()?;
        let free_at = known.map_or(share.now, |next| next.0.max(share.now));
        let free_at = if ask.rest.is_zero() { free_at } else { free_at.max(later(share.now, ask.rest).0) };
        let is_pacing = ask.starts > 0 || !ask.rest.is_zero();
        if is_pacing {
            next.run(params![ask.host, later(free_at, ask.gap.saturating_mul(ask.starts))])?;
        }
        grants.push(HostGrant {
            permits: decided.permits,
            first_start: (ask.starts > 0).then_some(free_at),
            is_paced: is_pacing || known.is_some(),
        });
    }
    Ok(grants)
}

/// What is decided of an ask.
struct Decided {
    /// What the process is to keep to.
    permits: u32,
    /// What it counts for until it does.
    held: u32,
}

/// Decides on an ask, beside the permits and wants of others.
fn decide(concurrency: u32, others: &[(u32, u32)], ask: &HostAsk) -> Decided {
    let left = others.iter().fold(concurrency, |left, (permits, _)| left.saturating_sub(*permits));
    let is_short = others.iter().any(|(permits, wants)| wants > permits);
    let claimants =
        others.iter().filter(|(_, wants)| *wants > 0).fold(1_u32, |claimants, _| claimants.saturating_add(1));
    let even = (concurrency / claimants).max(1);
    let permits = ask.wants.min(left).min(if is_short { even } else { u32::MAX });
    Decided { permits, held: permits.max(ask.in_use.min(left)) }
}

/// Forgets grants that have run out, and moments long past.
fn sweep(connection: &Connection, now: Timestamp) -> Result<()> {
    const SHARES: &str = "DELETE FROM host_shares WHERE (host, owner) IN
        (SELECT host, owner FROM host_shares INDEXED BY host_shares_by_expiry WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)";
    const PACES: &str = "DELETE FROM host_paces WHERE host IN
        (SELECT host FROM host_paces INDEXED BY host_paces_by_time WHERE next_at <= ? ORDER BY next_at LIMIT ?)";
    connection.prepare(SHARES).run(params![Millis(now), STALE])?;
    let oldest = now.saturating_sub(REMEMBERED).unwrap_or(Timestamp::MIN);
    connection.prepare(PACES).run(params![Millis(oldest), STALE])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::HostKey;

    fn ask(in_use: u32, wants: u32) -> HostAsk {
        HostAsk { host: HostKey([0; 16]), in_use, wants, starts: 0, gap: Duration::ZERO, rest: Duration::ZERO }
    }

    #[test]
    fn one_alone_gets_all_and_gives_way_to_another() {
        let permits = |others: &[(u32, u32)], in_use, wants| decide(8, others, &ask(in_use, wants)).permits;
        assert_eq!(permits(&[], 0, 100), 8);
        assert_eq!(permits(&[], 0, 3), 3);
        assert_eq!(permits(&[(8, 100)], 0, 5), 0, "nothing is left for now");
        assert_eq!(permits(&[(0, 5)], 8, 100), 4, "the other is short: the even share");
        assert_eq!(decide(8, &[(0, 5)], &ask(8, 100)).held, 8, "what is open counts until it is closed");
        assert_eq!(permits(&[(4, 100)], 0, 5), 4);
        assert_eq!(permits(&[(2, 2)], 0, 100), 6, "who wants no more than it has is left out of the sharing");
    }

    proptest! {
        /// Processes that ask in any order never hold more than there is, and while they want it, end up with all of it.
        #[test]
        fn no_more_is_held_than_there_is(
            concurrency in 1_u32..20,
            wants in prop::collection::vec(0_u32..30, 1..12),
            order in prop::collection::vec(any::<prop::sample::Index>(), 60..120),
        ) {
            // Of each: held, kept to, open.
            let mut all = vec![(0_u32, 0_u32, 0_u32); wants.len()];
            let mut step = |who: usize| {
                let others: Vec<_> =
                    (0..wants.len()).filter(|other| *other != who).map(|other| (all[other].0, wants[other])).collect();
                let decided = decide(concurrency, &others, &ask(all[who].2, wants[who]));
                all[who] = (decided.held, decided.permits, all[who].2);
                assert!(all.iter().map(|one| one.0).sum::<u32>() <= concurrency);
                // It opens what it may, and what it has too many of closes some time.
                all[who].2 = if all[who].2 > decided.permits { all[who].2 - 1 } else { decided.permits };
                assert!(all[who].2 <= all[who].0);
                all.iter().map(|one| one.2).sum::<u32>()
            };
            for who in order {
                step(who.index(wants.len()));
            }
            let mut open = 0;
            for _ in 0..40 {
                for who in 0..wants.len() {
                    open = step(who);
                }
            }
            let wanted = wants.iter().sum::<u32>().min(concurrency);
            prop_assert!(2 * open >= wanted, "{open} of {wanted} are open");
        }
    }
}
