//! People who use the dashboard: who they are, which accounts they belong to, and how they come in.
//!
//! **Role.** [`People`] is what signing in, inviting and looking after members need of a store. A **user** is a person with an e-mail address and a
//! password; a **membership** is their place in an account; a **session** is one browser that they signed in with; a **link** opens the door
//! once, to set a password behind it: the first one of an empty store, an invitation, or what mends a forgotten password.
//!
//! **Protocol.** Tokens and passwords never come here: the caller hashes both. Whoever belongs to no account is no user, so that the last
//! membership takes the user and the sessions with it. An account always keeps an owner. E-mail addresses are compared as they are given:
//! the caller brings them to lower case.
//!
//! **What it does not do.** It judges no password and says nothing of who may invite whom.

use std::{fmt, str::FromStr, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{AccountId, LinkId, Result, UserId};

/// SHA-256 of a token.
pub type TokenHash = [u8; 32];

/// SHA-256 of what sign-ins are counted by: an e-mail address, or the network that they come from.
pub type Subject = [u8; 32];

/// How many sessions a user has at most: who opens another closes the one that was used longest ago.
pub const SESSIONS_OF_A_USER: u32 = 50;

/// Rows of failures to sign in that are kept, newest first. Passwords take long enough to verify that a window has fewer.
pub(crate) const FAILURES_KEPT: u32 = 100_000;

/// How many open links an account has at most.
pub const LINKS_OF_AN_ACCOUNT: u32 = 200;

/// How exactly it is known when a session was used last: so seldom is it written down.
pub const SEEN_WITHIN: Duration = Duration::from_secs(60);

/// The steps of people, each one transaction. What holds for [`crate::Store`] holds here.
#[async_trait]
pub trait People: Send + Sync + 'static {
    // ---- links

    /// Stores a link. One with an e-mail address takes the place of those for the same address in the same account that are open.
    ///
    /// # Errors
    /// [`crate::StoreError::NotFound`] when there is no such account; [`crate::StoreError::Conflict`] when it has
    /// [`LINKS_OF_AN_ACCOUNT`] open links.
    async fn create_link(&self, new: NewLink) -> Result<()>;

    /// Finds a link that is open: not used, and not expired at `now`.
    async fn link(&self, hash: TokenHash, now: Timestamp) -> Result<Option<Link>>;

    /// Uses a link: makes the user, its membership and the session. Where a user has this e-mail address already and the link was made for it,
    /// sets its password, closes its other sessions, and keeps its membership, in the higher of both roles. Answers whose session it is.
    ///
    /// # Errors
    /// [`crate::StoreError::NotFound`] when the link is not open; [`crate::StoreError::Conflict`] when it was made for another address, or
    /// there is a user of this address and the link was made for none, or that user belongs to another account as well: whoever has the
    /// link would have what is another account's.
    async fn accept_link(&self, hash: TokenHash, user: NewUser, session: NewSession, now: Timestamp) -> Result<UserId>;

    /// Lists the links of an account that are open at `now`, newest first.
    async fn invitations(&self, account: AccountId, now: Timestamp) -> Result<Vec<Link>>;

    /// Withdraws a link that was not used.
    ///
    /// # Errors
    /// [`crate::StoreError::NotFound`] when the account has none of this id that is unused.
    async fn withdraw_link(&self, account: AccountId, link: LinkId) -> Result<()>;

    // ---- users and sessions

    /// Finds the user of an e-mail address.
    async fn user_by_email(&self, email: String) -> Result<Option<User>>;

    /// Opens a session, if the password is still the one that was verified.
    ///
    /// # Errors
    /// [`crate::StoreError::NotFound`] when there is no such user, or its password was set meanwhile.
    async fn open_session(&self, user: UserId, password_hash: String, session: NewSession) -> Result<()>;

    /// Finds a session that has not expired at `now` and was used within `idle`, and notes that it is used, at most once in [`SEEN_WITHIN`].
    async fn session(&self, hash: TokenHash, now: Timestamp, idle: Duration) -> Result<Option<Session>>;

    /// Lists the sessions of a user, the one that was used last first, those too that have expired and were not deleted yet.
    async fn sessions(&self, user: UserId) -> Result<Vec<OpenSession>>;

    /// Closes a session. One that is not there is no error.
    async fn close_session(&self, hash: TokenHash) -> Result<()>;

    /// Closes the sessions of a user, but one. Answers how many there were.
    async fn close_sessions(&self, user: UserId, except: Option<TokenHash>) -> Result<u64>;

    /// Sets the password of a user, if it is still the one that was verified, and closes its sessions, but one.
    ///
    /// # Errors
    /// [`crate::StoreError::NotFound`] when there is no such user, or its password was set meanwhile.
    async fn set_password(
        &self,
        user: UserId,
        old_hash: String,
        new_hash: String,
        keep: Option<TokenHash>,
    ) -> Result<()>;

    // ---- members

    /// Lists the members of an account, in the order of their joining.
    async fn members(&self, account: AccountId) -> Result<Vec<Member>>;

    /// Takes a user out of an account. Whoever belongs to no other is deleted, with its sessions.
    ///
    /// # Errors
    /// [`crate::StoreError::NotFound`] when the user is no member; [`crate::StoreError::Conflict`] when it is the last owner.
    async fn remove_member(&self, account: AccountId, user: UserId) -> Result<()>;

    /// Gives a member another role.
    ///
    /// # Errors
    /// [`crate::StoreError::NotFound`] when the user is no member; [`crate::StoreError::Conflict`] when it is the last owner.
    async fn change_role(&self, account: AccountId, user: UserId, role: MemberRole) -> Result<()>;

    // ---- failures to sign in

    /// Notes a failure of each subject, or, when one of them has to wait, notes nothing and tells until when. To be called before a password is
    /// verified, so that many calls at once get no further than as many in a row.
    async fn note_failure(&self, subjects: Vec<(Subject, Brake)>, now: Timestamp) -> Result<Option<Timestamp>>;

    /// How often a subject failed from `since` on.
    async fn failures(&self, subject: Subject, since: Timestamp) -> Result<u64>;

    /// Takes back one failure of a subject that was noted at a time.
    async fn forgive_failure(&self, subject: Subject, at: Timestamp) -> Result<()>;

    /// Forgets the failures of a subject.
    async fn forget_failures(&self, subject: Subject) -> Result<()>;

    // ---- upkeep

    /// Deletes up to `limit` of each: sessions and links that have expired, sessions that were not used since a time, and failures from
    /// before a time. Answers how many rows there were.
    async fn delete_expired_people(&self, expiry: PeopleExpiry, limit: u32) -> Result<u64>;
}

/// A store with all that a server needs of it, for whoever builds one.
pub trait WholeStore: crate::Store + People + crate::Accounts {}

impl<T: crate::Store + People + crate::Accounts> WholeStore for T {}

/// What a member may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberRole {
    /// See and use everything.
    Member,
    /// That, and look after the members.
    Owner,
}

impl MemberRole {
    /// The name used on the command line and in rows.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Owner => "owner",
        }
    }
}

impl fmt::Display for MemberRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for MemberRole {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "member" => Ok(Self::Member),
            "owner" => Ok(Self::Owner),
            _ => Err(format!("`{text}` is neither `owner` nor `member`")),
        }
    }
}

/// A link to be stored.
#[derive(Clone, Debug)]
pub struct NewLink {
    /// Its id.
    pub id: LinkId,
    /// SHA-256 of its token.
    pub hash: TokenHash,
    /// The account that it leads to.
    pub account: AccountId,
    /// As what.
    pub role: MemberRole,
    /// Whom it was made for; `None`: whoever has it.
    pub email: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Until when it can be used.
    pub expires_at: Timestamp,
}

/// A link that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its id.
    pub id: LinkId,
    /// The account that it leads to.
    pub account: AccountId,
    /// As what.
    pub role: MemberRole,
    /// Whom it was made for; `None`: whoever has it.
    pub email: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Until when it can be used.
    pub expires_at: Timestamp,
}

/// A user to be stored.
#[derive(Clone)]
pub struct NewUser {
    /// Its id, should it be a new one.
    pub id: UserId,
    /// Its e-mail address, in lower case.
    pub email: String,
    /// Its password, hashed.
    pub password_hash: String,
}

/// A user.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// Its e-mail address.
    pub email: String,
    /// Its password, hashed.
    pub password_hash: String,
    /// When it was made.
    pub created_at: Timestamp,
}

impl fmt::Debug for NewUser {
    /// Leaves out the password's hash.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewUser").field("id", &self.id).field("email", &self.email).finish_non_exhaustive()
    }
}

impl fmt::Debug for User {
    /// Leaves out the password's hash.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("id", &self.id).field("email", &self.email).finish_non_exhaustive()
    }
}

/// A session to be opened.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// SHA-256 of its token.
    pub hash: TokenHash,
    /// When it is opened.
    pub created_at: Timestamp,
    /// When it ends, however much it is used.
    pub expires_at: Timestamp,
}

/// A session in use: who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// SHA-256 of its token.
    pub hash: TokenHash,
    /// Whose it is.
    pub user: UserId,
    /// Their e-mail address.
    pub email: String,
    /// Their accounts; at least one, the one that was joined first first.
    pub memberships: Vec<Membership>,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When it ends, however much it is used.
    pub expires_at: Timestamp,
}

/// A place in an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The account.
    pub account: AccountId,
    /// As what.
    pub role: MemberRole,
}

/// A session as listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenSession {
    /// SHA-256 of its token.
    pub hash: TokenHash,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When it was used last, to [`SEEN_WITHIN`].
    pub seen_at: Timestamp,
    /// When it ends, however much it is used.
    pub expires_at: Timestamp,
}

/// A member of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub user: UserId,
    /// Their e-mail address.
    pub email: String,
    /// As what.
    pub role: MemberRole,
    /// Since when.
    pub joined_at: Timestamp,
}

/// How those who fail to sign in are slowed down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Brake {
    /// For how long a failure counts.
    pub window: Duration,
    /// How many failures cost no wait.
    pub free: u64,
    /// What the first one after them has to wait; each further one twice as long.
    pub first_wait: Duration,
    /// The longest wait.
    pub longest_wait: Duration,
}

impl Brake {
    /// How long after the last failure the next try may come, when so many count.
    pub fn wait(&self, failures: u64) -> Duration {
        let Some(further) = failures.checked_sub(self.free) else { return Duration::ZERO };
        let factor = u32::try_from(further).ok().and_then(|further| 2_u32.checked_pow(further)).unwrap_or(u32::MAX);
        self.first_wait.saturating_mul(factor).min(self.longest_wait)
    }
}

/// What of people is past.
#[derive(Clone, Copy, Debug)]
pub struct PeopleExpiry {
    /// The time.
    pub now: Timestamp,
    /// Sessions that were used last before this are past.
    pub unused_since: Timestamp,
    /// Failures from before this count no more.
    pub failed_before: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_the_longest() {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        let brake = Brake { window: minutes(15), free: 5, first_wait: minutes(1), longest_wait: minutes(15) };
        for (failures, expected) in [(0, 0), (4, 0), (5, 1), (6, 2), (7, 4), (8, 8), (9, 15), (40, 15), (u64::MAX, 15)]
        {
            assert_eq!(brake.wait(failures), minutes(expected), "{failures}");
        }
    }

    #[test]
    fn what_is_secret_is_not_shown() {
        let user = User {
            id: UserId(uuid::Uuid::nil()),
            email: "a@example.com".to_owned(),
            password_hash: "$argon2id$secret".to_owned(),
            created_at: Timestamp::UNIX_EPOCH,
        };
        assert!(!format!("{user:?}").contains("argon2"));
    }
}
