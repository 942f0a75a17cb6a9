//! People who use the dashboard: signing in, sessions, links, members.
//!
//! **Role.** What is below HTTP: [`People`] takes e-mail addresses, passwords and tokens as they come, and answers what a person can act on. Rows are
//! [`datasonar_store::People`]; here passwords are judged and hashed ([`password`]), tokens made, and guessing slowed down ([`throttle`]).
//!
//! **Protocol.** A token is 256 random bits, handed out once and stored as SHA-256. A session ends after its lifetime, when it was not used for long
//! enough, or when it is closed; a new password closes all others. A link works once, for [`LINK_LIFETIME`].
//!
//! **What it does not do.** It sends no e-mail: whoever makes a link passes it on. It does not ask whether the caller may do what it asks for: of
//! a session, [`Session::memberships`](datasonar_store::Session) tells.

mod device;
mod email;
mod error;
mod password;
mod throttle;

#[cfg(test)]
mod tests;

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use datasonar_store::{
    AccountId, Link, LinkId, Member, MemberRole, NewLink, NewSession, NewUser, OpenSession, People as Rows,
    PeopleExpiry, Session, StoreError, User, UserId,
};
use jiff::{SignedDuration, Timestamp};

pub use email::{EmailError, checked as checked_email};
pub use error::{AcceptError, InviteError, MemberError, NewPasswordError, SignInError};
pub use password::{LONGEST_PASSWORD, PasswordError, SHORTEST_PASSWORD};

use crate::{
    clock::{Clock, Ids},
    crypto::{Sealer, sha256},
};
use password::{Hasher, Place};
use throttle::Tries;

/// For how long a link works.
pub const LINK_LIFETIME: Duration = Duration::from_secs(LINK_HOURS * 60 * 60);

/// The same, in hours.
pub const LINK_HOURS: u64 = 24;

/// The path of a link in the dashboard, before its token.
pub const LINK_PATH: &str = "/sign-in/link/";

/// What opens a door, once or for a while. Shown once, never stored, and left out of logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Makes a token: 256 random bits, as 43 characters that may stand in a URL and in a cookie.
    pub fn new(ids: &Ids) -> Self {
        Self(BASE64_URL_SAFE_NO_PAD.encode(ids.bytes::<32>()))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What is stored of it.
    pub fn hash(&self) -> [u8; 32] {
        hash(&self.0)
    }

    /// The URL of the link that it is the token of. `public_url` has no slash at its end.
    pub fn link(&self, public_url: &str) -> String {
        format!("{public_url}{LINK_PATH}{}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

fn hash(token: &str) -> [u8; 32] {
    sha256(token.as_bytes())
}

/// What [`People`] is made of.
pub struct PeopleParts {
    /// The rows.
    pub rows: Arc<dyn Rows>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Ids and tokens.
    pub ids: Ids,
    /// Knows browsers again; only a server needs it.
    pub sealer: Option<Sealer>,
    /// For how long a session lives.
    pub session_lifetime: Duration,
    /// For how long it lives unused.
    pub session_idle: Duration,
}

/// People, as the dashboard and the command line see them.
#[derive(Clone)]
pub struct People {
    parts: Arc<PeopleParts>,
    hasher: Hasher,
}

impl People {
    /// Puts the parts together.
    pub fn new(parts: PeopleParts) -> Self {
        Self { parts: Arc::new(parts), hasher: Hasher::default() }
    }

    /// Signs a person in. `address` is where the call comes from, if that is known. An address that nobody has takes as long as a wrong password.
    ///
    /// # Errors
    /// [`SignInError::Wrong`] when e-mail address and password do not belong together; [`SignInError::TooMany`] when somebody has guessed too often.
    pub async fn sign_in(&self, email: &str, password: &str, address: Option<IpAddr>) -> Result<Token, SignInError> {
        self.sign_in_with(None, email, password, address).await
    }

    /// Signs a person in with a browser that has the cookie [`Self::device`], if it has one. It answers for its own failures then,
    /// and not for those of strangers.
    ///
    /// # Errors
    /// As [`Self::sign_in`].
    pub async fn sign_in_with(
        &self,
        device: Option<&str>,
        email: &str,
        password: &str,
        address: Option<IpAddr>,
    ) -> Result<Token, SignInError> {
        let email = email::lower(email);
        if !password::may_be_one(password) {
            return Err(SignInError::Wrong);
        }
        let sealer = self.parts.sealer.as_ref();
        let number = sealer.and_then(|sealer| device::number(sealer, device?, &email));
        let tries = number.map_or_else(|| Tries::of(&email, address), |number| Tries::of_device(&number));
        let (user, _) = self.verified(&email, password, &tries).await?.ok_or(SignInError::Wrong)?;
        let (token, session) = self.new_session();
        match self.rows().open_session(user.id, user.password_hash, session).await {
            Ok(()) => Ok(token),
            Err(StoreError::NotFound) => Err(SignInError::Wrong),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes the cookie of a browser that somebody has just signed in with. `None` without a key to make it with.
    pub fn device(&self, email: &str) -> Option<String> {
        let sealer = self.parts.sealer.as_ref()?;
        Some(device::new(sealer, &self.parts.ids, &email::lower(email)))
    }

    /// Who a session is, if it is open.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn session(&self, token: &str) -> Result<Option<Session>, StoreError> {
        self.rows().session(hash(token), self.now(), self.parts.session_idle).await
    }

    /// The open sessions of a user, the one that was used last first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn sessions(&self, user: UserId) -> Result<Vec<OpenSession>, StoreError> {
        let (now, unused_since) = (self.now(), self.ago(self.parts.session_idle));
        let mut sessions = self.rows().sessions(user).await?;
        sessions.retain(|session| session.expires_at > now && session.seen_at > unused_since);
        Ok(sessions)
    }

    /// Closes a session. One that is not open is no error.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn sign_out(&self, token: &str) -> Result<(), StoreError> {
        self.rows().close_session(hash(token)).await
    }

    /// Closes all sessions of a user, this one too. Answers how many there were.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn sign_out_everywhere(&self, session: &Session) -> Result<u64, StoreError> {
        self.rows().close_sessions(session.user, None).await
    }

    /// Closes all other sessions of a user. Answers how many there were.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn sign_out_elsewhere(&self, session: &Session) -> Result<u64, StoreError> {
        self.rows().close_sessions(session.user, Some(session.hash)).await
    }

    /// Makes a link into an account, for one e-mail address or for whoever has it. For a member of the account it is a way to a new password: the
    /// member keeps the higher of both roles. Whether the caller may invite is for the caller to know.
    ///
    /// # Errors
    /// [`InviteError::Email`] when the address is none; [`InviteError::Refused`] when too many links are open.
    pub async fn invite(
        &self,
        account: AccountId,
        email: Option<&str>,
        role: MemberRole,
    ) -> Result<Token, InviteError> {
        let email = email.map(email::checked).transpose()?;
        let (token, new) = new_link(&self.parts.ids, self.now(), account, email, role);
        self.rows().create_link(new).await?;
        Ok(token)
    }

    /// What a link is for, if it can be used.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn link(&self, token: &str) -> Result<Option<Link>, StoreError> {
        self.rows().link(hash(token), self.now()).await
    }

    /// Uses a link: makes the user, or gives it a new password, and signs it in. Of a link that was made for an e-mail address, `email` must be that.
    ///
    /// # Errors
    /// [`AcceptError::Gone`] when the link cannot be used (any more); what is wrong with the e-mail address or the password otherwise.
    pub async fn accept(&self, token: &str, email: &str, password: &str) -> Result<Token, AcceptError> {
        let link = self.link(token).await?.ok_or(AcceptError::Gone)?;
        let email = email::checked(email)?;
        if link.email.is_some_and(|of| of != email) {
            return Err(AcceptError::OtherEmail);
        }
        password::check(password, &email)?;
        let password_hash = self.hash_new(password).await?;
        let user = NewUser { id: UserId(self.parts.ids.uuid()), email, password_hash };
        let (session_token, session) = self.new_session();
        self.rows().accept_link(hash(token), user, session, self.now()).await?;
        Ok(session_token)
    }

    /// Sets another password for whoever has a session. Closes all their other sessions.
    ///
    /// # Errors
    /// [`NewPasswordError::Wrong`] when the old password is another; [`NewPasswordError::Password`] when the new one is none.
    pub async fn change_password(&self, session: &Session, old: &str, new: &str) -> Result<(), NewPasswordError> {
        password::check(new, &session.email)?;
        if !password::may_be_one(old) {
            return Err(NewPasswordError::Wrong);
        }
        let tries = Tries::of_session(&session.hash);
        let (user, place) = self.verified(&session.email, old, &tries).await?.ok_or(NewPasswordError::Wrong)?;
        let new_hash = self.hasher.hash(place, new.to_owned(), self.parts.ids.bytes()).await;
        match self.rows().set_password(user.id, user.password_hash, new_hash, Some(session.hash)).await {
            Err(StoreError::NotFound) => Err(NewPasswordError::Wrong),
            done => Ok(done?),
        }
    }

    /// The members of an account, in the order of their joining.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn members(&self, account: AccountId) -> Result<Vec<Member>, StoreError> {
        self.rows().members(account).await
    }

    /// What the member of an account with this e-mail address is; `None` where there is none.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn role_of(&self, account: AccountId, email: &str) -> Result<Option<MemberRole>, StoreError> {
        let email = email::lower(email);
        Ok(self.members(account).await?.into_iter().find(|member| member.email == email).map(|member| member.role))
    }

    /// The links into an account that can be used, newest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn invitations(&self, account: AccountId) -> Result<Vec<Link>, StoreError> {
        self.rows().invitations(account, self.now()).await
    }

    /// Withdraws a link.
    ///
    /// # Errors
    /// [`MemberError::NotFound`] when it was used, or is not this account's.
    pub async fn withdraw(&self, account: AccountId, link: LinkId) -> Result<(), MemberError> {
        Ok(self.rows().withdraw_link(account, link).await?)
    }

    /// Takes a member out of an account. Whoever is in no other is signed out everywhere and forgotten.
    ///
    /// # Errors
    /// [`MemberError::Refused`] for the last owner; [`MemberError::NotFound`] when there is no such member.
    pub async fn remove(&self, account: AccountId, user: UserId) -> Result<(), MemberError> {
        Ok(self.rows().remove_member(account, user).await?)
    }

    /// Gives a member another role.
    ///
    /// # Errors
    /// [`MemberError::Refused`] for the last owner; [`MemberError::NotFound`] when there is no such member.
    pub async fn change_role(&self, account: AccountId, user: UserId, role: MemberRole) -> Result<(), MemberError> {
        Ok(self.rows().change_role(account, user, role).await?)
    }

    /// Deletes up to `limit` of each: sessions, links and failures that are past. Answers how many rows there were.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn delete_expired(&self, limit: u32) -> Result<u64, StoreError> {
        let expiry = PeopleExpiry {
            now: self.now(),
            unused_since: self.ago(self.parts.session_idle),
            failed_before: self.ago(throttle::WINDOW),
        };
        self.rows().delete_expired_people(expiry, limit).await
    }

    fn rows(&self) -> &dyn Rows {
        &*self.parts.rows
    }

    fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    fn ago(&self, span: Duration) -> Timestamp {
        let span = SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX);
        self.now().checked_sub(span).unwrap_or(Timestamp::MIN)
    }

    /// The user of an e-mail address, if this is its password, with the place at the hasher, which is free again. A try counts as a failure from before
    /// it is verified, and is taken back when it was none.
    async fn verified(&self, email: &str, password: &str, tries: &Tries) -> Result<Option<(User, Place)>, SignInError> {
        let place = self.hasher.place().ok_or(SignInError::Busy)?;
        let now = self.now();
        if let Some(until) = self.rows().note_failure(tries.subjects(), now).await? {
            return Err(SignInError::TooMany { retry_after: until.duration_since(now).unsigned_abs() });
        }
        let user = self.rows().user_by_email(email.to_owned()).await?;
        let kept = user.as_ref().map(|user| user.password_hash.clone());
        let (is_right, place) = self.hasher.verify(place, password.to_owned(), kept).await;
        let Some(user) = user.filter(|_| is_right) else { return Ok(None) };
        self.rows().forget_failures(tries.own).await?;
        for (shared, _) in &tries.shared {
            // Not all of them: whoever has one password could go on guessing others.
            self.rows().forgive_failure(*shared, now).await?;
        }
        Ok(Some((user, place)))
    }

    async fn hash_new(&self, password: &str) -> Result<String, AcceptError> {
        let place = self.hasher.place().ok_or(AcceptError::Busy)?;
        Ok(self.hasher.hash(place, password.to_owned(), self.parts.ids.bytes()).await)
    }

    fn new_session(&self) -> (Token, NewSession) {
        let (token, created_at) = (Token::new(&self.parts.ids), self.now());
        let expires_at = later(created_at, self.parts.session_lifetime);
        let session = NewSession { hash: token.hash(), created_at, expires_at };
        (token, session)
    }
}

/// Makes a link to be stored, and its token.
pub fn new_link(
    ids: &Ids,
    now: Timestamp,
    account: AccountId,
    email: Option<String>,
    role: MemberRole,
) -> (Token, NewLink) {
    let (token, id, expires_at) = (Token::new(ids), LinkId(ids.uuid()), later(now, LINK_LIFETIME));
    let link = NewLink { id, hash: token.hash(), account, role, email, created_at: now, expires_at };
    (token, link)
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}
