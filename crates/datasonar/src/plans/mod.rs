//! What accounts may use, by their plans.
//!
//! **Role.** [`Plans`] knows what an account is allowed ([`AccountLimits`]), hands out permits for calls, charges pages before they are asked
//! for, and gives jobs the [`Allowance`] that the store checks as it accepts them.
//!
//! **Protocol.** Limits hold for each environment of an account by itself, over all processes that share the store: what is counted is counted
//! there. Calls are counted by the minute of the clock; a process takes permits from the store a twentieth of the limit at a time and hands them
//! out in memory, so that a call seldom waits for a write. What it has in hand when it dies, or when the minute is over, is not used: a limit
//! is never passed, and may be missed by a twentieth for each further process.
//!
//! **What it does not do.** The built-in account has no limits, and costs nothing here but one look at its row in the life of a process.

mod calendar;

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use datasonar_store::{
    AccountId, Allowance, Limit, LimitReached, PageAllowance, Scope, Spent, StoreError, TakeRequests, WholeStore,
};
use jiff::Timestamp;
use parking_lot::Mutex;

pub use calendar::Calendar;

use crate::{
    clock::Clock,
    config::{AccountPlan, PlanLimits, Settings},
};

const MINUTE_SECONDS: i64 = 60;
/// Into how many shares a minute's permits are cut, and the largest share.
const SHARES: u64 = 20;
const LARGEST_SHARE: u64 = 50;
/// How many scopes are remembered before those are forgotten whose minute is over.
const SCOPES: usize = 10_000;

/// What an account may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountLimits {
    /// The name of its plan.
    pub plan: String,
    /// What that allows.
    pub limits: PlanLimits,
}

/// Knows what accounts may use.
#[derive(Clone)]
pub struct Plans(Arc<Inner>);

struct Inner {
    store: Arc<dyn WholeStore>,
    settings: Arc<Settings>,
    clock: Arc<dyn Clock>,
    /// The account without limits, once it is known.
    built_in: OnceLock<(AccountId, AccountLimits)>,
    minutes: Mutex<HashMap<Scope, Minute>>,
}

/// The calls of a scope in a minute, as far as this process knows.
struct Minute {
    /// Counted since 1970.
    number: i64,
    /// Permits in hand.
    permits: u64,
    /// Whether the store has none left.
    is_spent: bool,
    /// Held by whoever takes more of them.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Minute {
    fn new(number: i64) -> Self {
        Self { number, permits: 0, is_spent: false, turn: Arc::default() }
    }

    /// Goes on to a later minute.
    fn begin(&mut self, number: i64) {
        if self.number < number {
            (self.number, self.permits, self.is_spent) = (number, 0, false);
        }
    }
}

/// What this process has for a call.
enum InHand {
    /// A permit, which was taken.
    Permit,
    /// Nothing, and the store has none left in this minute.
    Spent(i64),
    /// Nothing; whose turn it is may take some.
    Nothing(Arc<tokio::sync::Mutex<()>>),
}

impl Plans {
    /// Plans as the settings have them, counted in a store.
    pub fn new(store: Arc<dyn WholeStore>, settings: Arc<Settings>, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner { store, settings, clock, built_in: OnceLock::new(), minutes: Mutex::default() }))
    }

    /// Tells what an account may use now.
    ///
    /// # Errors
    /// When the store fails, or there is no such account.
    pub async fn of(&self, account: AccountId) -> Result<AccountLimits, StoreError> {
        let inner = &*self.0;
        if let Some((_, limits)) = inner.built_in.get().filter(|(id, _)| *id == account) {
            return Ok(limits.clone());
        }
        let found = inner.store.account(Some(account)).await?;
        if found.is_built_in {
            let limits = PlanLimits {
                pages_per_month: None,
                requests_per_minute: None,
                concurrent_jobs: None,
                result_retention: inner.settings.result_retention,
            };
            let (_, limits) = inner.built_in.get_or_init(|| (account, AccountLimits { plan: found.plan, limits }));
            return Ok(limits.clone());
        }
        let plan = found.plan.parse().unwrap_or_else(|_| {
            tracing::warn!(account = %found.id, plan = found.plan, "a plan that is not known is taken for `free`");
            AccountPlan::Free
        });
        Ok(AccountLimits { plan: plan.to_string(), limits: plan.limits(&inner.settings) })
    }

    /// Admits a call of the API.
    ///
    /// # Errors
    /// [`StoreError::LimitReached`] when the minute has no more; otherwise when the store fails.
    pub async fn admit_call(&self, scope: Scope) -> Result<(), StoreError> {
        let AccountLimits { plan, limits } = self.of(scope.account).await?;
        let Some(most) = limits.requests_per_minute else { return Ok(()) };
        let now = self.0.clock.now();
        let minute = now.as_second().div_euclid(MINUTE_SECONDS);
        let refused = |number: i64| Err(StoreError::LimitReached(call_refused(&plan, most, number, now)));
        let turn = match self.in_hand(scope, minute) {
            InHand::Permit => return Ok(()),
            InHand::Spent(number) => return refused(number),
            InHand::Nothing(turn) => turn,
        };
        // One takes for all that wait.
        let _turn = turn.lock().await;
        match self.in_hand(scope, minute) {
            InHand::Permit => return Ok(()),
            InHand::Spent(number) => return refused(number),
            InHand::Nothing(_) => {}
        }
        let wanted = (most / SHARES).clamp(1, LARGEST_SHARE);
        let taken = self.0.store.take_requests(TakeRequests { scope, minute, most, wanted }).await?;
        let mut minutes = self.0.minutes.lock();
        let known = minutes.entry(scope).or_insert_with(|| Minute::new(taken.minute));
        known.begin(taken.minute);
        if taken.granted > 0 {
            known.permits += if known.number == taken.minute { taken.granted - 1 } else { 0 };
            return Ok(());
        }
        known.is_spent |= known.number == taken.minute;
        refused(taken.minute)
    }

    /// Takes a permit that this process has in hand, if it has one.
    fn in_hand(&self, scope: Scope, minute: i64) -> InHand {
        let mut minutes = self.0.minutes.lock();
        if minutes.len() >= SCOPES {
            minutes.retain(|_, known| known.number >= minute);
        }
        let known = minutes.entry(scope).or_insert_with(|| Minute::new(minute));
        known.begin(minute);
        if known.permits > 0 {
            known.permits -= 1;
            return InHand::Permit;
        }
        if known.is_spent { InHand::Spent(known.number) } else { InHand::Nothing(known.turn.clone()) }
    }

    /// Charges pages that are about to be asked for while the caller waits. Tells whether they were: those of an account whose pages are not
    /// limited are counted afterwards.
    ///
    /// # Errors
    /// [`StoreError::LimitReached`] when there are not as many left; otherwise when the store fails.
    pub async fn charge(&self, scope: Scope, pages: u64) -> Result<bool, StoreError> {
        match self.allowance(scope).await? {
            Some(allowance) if allowance.pages.is_some() => {
                self.0.store.charge_pages(scope, pages, allowance, self.0.clock.now()).await?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Charges pages besides those that open jobs have set aside. Tells whether there was at least one left of those that are not used;
    /// for an account whose pages are not limited, there always is, and nothing is counted.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn charge_besides(&self, scope: Scope, pages: u64) -> Result<bool, StoreError> {
        let Some(mut allowance) = self.allowance(scope).await? else { return Ok(true) };
        let Some(limit) = &mut allowance.pages else { return Ok(true) };
        let now = self.0.clock.now();
        if self.0.store.spent(scope, limit.since).await?.pages >= limit.most {
            return Ok(false);
        }
        limit.most = i64::MAX.unsigned_abs();
        self.0.store.charge_pages(scope, pages, allowance, now).await?;
        Ok(true)
    }

    /// What the jobs of a scope are checked against as they are accepted.
    ///
    /// # Errors
    /// When the store fails, or there is no such account.
    pub async fn allowance(&self, scope: Scope) -> Result<Option<Allowance>, StoreError> {
        let AccountLimits { plan, limits } = self.of(scope.account).await?;
        if limits.pages_per_month.is_none() && limits.concurrent_jobs.is_none() {
            return Ok(None);
        }
        let Calendar { month, next_month, .. } = Calendar::of(self.0.clock.now());
        let pages = limits.pages_per_month.map(|most| PageAllowance { most, since: month, until: next_month });
        Ok(Some(Allowance { plan, open_jobs: limits.concurrent_jobs, pages }))
    }

    /// What a scope has used of its month, and what its open jobs may still use; `None` where neither is limited.
    ///
    /// # Errors
    /// When the store fails, or there is no such account.
    pub async fn spent(&self, scope: Scope) -> Result<Option<Spent>, StoreError> {
        let limits = self.of(scope.account).await?.limits;
        if limits.pages_per_month.is_none() && limits.concurrent_jobs.is_none() {
            return Ok(None);
        }
        self.0.store.spent(scope, Calendar::of(self.0.clock.now()).month).await.map(Some)
    }

    /// How long the results of an account are kept.
    ///
    /// # Errors
    /// When the store fails, or there is no such account.
    pub async fn retention(&self, account: AccountId) -> Result<Duration, StoreError> {
        Ok(self.of(account).await?.limits.result_retention)
    }
}

/// The refusal of a call, until the minute is over.
fn call_refused(plan: &str, most: u64, minute: i64, now: Timestamp) -> LimitReached {
    let end = Timestamp::from_second((minute + 1) * MINUTE_SECONDS).unwrap_or(Timestamp::MAX);
    let retry_after = Duration::try_from(end.duration_since(now)).unwrap_or_default();
    let (plan, limit) = (plan.to_owned(), Limit::RequestsPerMinute);
    LimitReached { plan, limit, most, used: most, reserved: 0, asked: 1, retry_after }
}

#[cfg(test)]
mod tests;
