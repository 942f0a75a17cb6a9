//! Accounts beside the built-in one, and what their plans let them use.
//!
//! **Role.** [`Accounts`] is what an operator with several tenants needs of a store: making and listing accounts, giving them a plan, and
//! counting what a plan limits. Jobs bring their [`Allowance`] with them ([`crate::NewJob`]); what is no job is charged here.
//!
//! **Protocol.** Limits hold for each scope by itself: a sandbox cannot use up what production needs. Pages are charged before they are asked
//! for, so that no death loses any. Permits for calls are taken several at a time and handed out by whoever took them; what a process has
//! taken and not handed out when it dies is gone with the minute.

use async_trait::async_trait;
use jiff::Timestamp;

use crate::{Account, AccountId, Allowance, NewAccount, Result, Scope, Spent, TakeRequests, TakenRequests};

/// The steps of accounts and their limits, each one transaction. What holds for [`crate::Store`] holds here.
#[async_trait]
pub trait Accounts: Send + Sync + 'static {
    /// Stores an account with its first secrets.
    ///
    /// # Errors
    /// [`crate::StoreError::Conflict`] when there is one of this id or e-mail address.
    async fn create_account(&self, new: NewAccount) -> Result<()>;

    /// Lists accounts, the oldest first: up to `limit` after the one given.
    async fn accounts(&self, after: Option<AccountId>, limit: u32) -> Result<Vec<Account>>;

    /// Finds the account of an e-mail address.
    async fn account_by_email(&self, email: String) -> Result<Option<Account>>;

    /// Gives an account another plan. What was accepted before stays accepted.
    ///
    /// # Errors
    /// [`crate::StoreError::NotFound`] when there is no such account; [`crate::StoreError::Conflict`] when it is the built-in one, which has
    /// no limits.
    async fn set_plan(&self, account: AccountId, plan: String) -> Result<()>;

    /// Takes permits for calls from those of a minute. A later minute begins anew.
    async fn take_requests(&self, take: TakeRequests) -> Result<TakenRequests>;

    /// Adds pages to the usage of a scope before they are asked for.
    ///
    /// # Errors
    /// [`crate::StoreError::LimitReached`] when that would be more than is allowed.
    async fn charge_pages(&self, scope: Scope, pages: u64, allowance: Allowance, now: Timestamp) -> Result<()>;

    /// Tells what a scope has used over the UTC days from `since` on, and what its open jobs may still use.
    async fn spent(&self, scope: Scope, since: Timestamp) -> Result<Spent>;
}
