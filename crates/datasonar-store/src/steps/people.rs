//! People: links, users, sessions, members, and failures to sign in. See [`crate::People`].

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::Engine;
use crate::people::{FAILURES_KEPT, LINKS_OF_AN_ACCOUNT, SEEN_WITHIN, SESSIONS_OF_A_USER, Subject, TokenHash};
use crate::sql::codec::{Millis, later, time, unsigned};
use crate::sql::{self, Connection, OptionalExtension, Row, params};
use crate::{
    AccountId, Brake, Link, LinkId, Member, MemberRole, Membership, NewLink, NewSession, NewUser, OpenSession, People,
    PeopleExpiry, Result, Session, StoreError, User, UserId,
};

#[async_trait]
impl<E: Engine> People for E {
    async fn create_link(&self, new: NewLink) -> Result<()> {
        self.write(move |c| create_link(c, &new)).await
    }

    async fn link(&self, hash: TokenHash, now: Timestamp) -> Result<Option<Link>> {
        self.read(move |c| link(c, hash, now)).await
    }

    async fn accept_link(&self, hash: TokenHash, user: NewUser, session: NewSession, now: Timestamp) -> Result<UserId> {
        self.write(move |c| accept_link(c, hash, &user, &session, now)).await
    }

    async fn invitations(&self, account: AccountId, now: Timestamp) -> Result<Vec<Link>> {
        self.read(move |c| invitations(c, account, now)).await
    }

    async fn withdraw_link(&self, account: AccountId, link: LinkId) -> Result<()> {
        const DELETE: &str = "DELETE FROM links WHERE id = ? AND account = ? AND used_at IS NULL";
        self.write(move |c| found(c.prepare(DELETE).execute(params![link, account])?)).await
    }

    async fn user_by_email(&self, email: String) -> Result<Option<User>> {
        self.read(move |c| user_by_email(c, &email)).await
    }

    async fn open_session(&self, user: UserId, password_hash: String, session: NewSession) -> Result<()> {
        const SELECT: &str = "SELECT 1 FROM users WHERE id = ? AND password_hash = ?";
        self.write(move |c| match c.prepare(SELECT).exists(params![user, password_hash])? {
            true => insert_session(c, user, &session),
            false => Err(StoreError::NotFound),
        })
        .await
    }

    /// One transaction of two, when the session's use is to be written down.
    async fn session(&self, hash: TokenHash, now: Timestamp, idle: Duration) -> Result<Option<Session>> {
        let Some((session, seen_at)) = self.read(move |c| session(c, hash, now, idle)).await? else { return Ok(None) };
        if later(seen_at, SEEN_WITHIN) <= Millis(now) {
            self.write(move |c| see(c, hash, now)).await?;
        }
        Ok(Some(session))
    }

    async fn sessions(&self, user: UserId) -> Result<Vec<OpenSession>> {
        self.read(move |c| sessions(c, user)).await
    }

    async fn close_session(&self, hash: TokenHash) -> Result<()> {
        self.write(move |c| Ok(c.prepare("DELETE FROM sessions WHERE hash = ?").run([hash])?)).await
    }

    async fn close_sessions(&self, user: UserId, except: Option<TokenHash>) -> Result<u64> {
        self.write(move |c| close_sessions(c, user, except)).await
    }

    async fn set_password(
        &self,
        user: UserId,
        old_hash: String,
        new_hash: String,
        keep: Option<TokenHash>,
    ) -> Result<()> {
        const UPDATE: &str = "UPDATE users SET password_hash = ? WHERE id = ? AND password_hash = ?";
        self.write(move |c| {
            found(c.prepare(UPDATE).execute(params![new_hash, user, old_hash])?)?;
            close_sessions(c, user, keep).map(drop)
        })
        .await
    }

    async fn members(&self, account: AccountId) -> Result<Vec<Member>> {
        self.read(move |c| members(c, account)).await
    }

    async fn remove_member(&self, account: AccountId, user: UserId) -> Result<()> {
        self.write(move |c| remove_member(c, account, user)).await
    }

    async fn change_role(&self, account: AccountId, user: UserId, role: MemberRole) -> Result<()> {
        self.write(move |c| change_role(c, account, user, role)).await
    }

    async fn note_failure(&self, subjects: Vec<(Subject, Brake)>, now: Timestamp) -> Result<Option<Timestamp>> {
        self.write(move |c| note_failure(c, &subjects, now)).await
    }

    async fn failures(&self, subject: Subject, since: Timestamp) -> Result<u64> {
        self.read(move |c| Ok(failures(c, subject, since)?.0)).await
    }

    async fn forgive_failure(&self, subject: Subject, at: Timestamp) -> Result<()> {
        const UPDATE: &str = "UPDATE sign_in_failures SET failures = failures - 1 WHERE subject = ? AND at = ?";
        const DELETE: &str = "DELETE FROM sign_in_failures WHERE subject = ? AND at = ? AND failures <= 0";
        self.write(move |c| {
            c.prepare(UPDATE).run(params![subject, Millis(at)])?;
            Ok(c.prepare(DELETE).run(params![subject, Millis(at)])?)
        })
        .await
    }

    async fn forget_failures(&self, subject: Subject) -> Result<()> {
        self.write(move |c| Ok(c.prepare("DELETE FROM sign_in_failures WHERE subject = ?").run([subject])?)).await
    }

    async fn delete_expired_people(&self, expiry: PeopleExpiry, limit: u32) -> Result<u64> {
        self.write(move |c| delete_expired(c, &expiry, limit)).await
    }
}

fn found(changed: usize) -> Result<()> {
    if changed == 0 { Err(StoreError::NotFound) } else { Ok(()) }
}

fn conflict<T>(told: &str) -> Result<T> {
    Err(StoreError::Conflict(told.to_owned()))
}

fn create_link(connection: &Connection, new: &NewLink) -> Result<()> {
    const OTHERS: &str = "DELETE FROM links WHERE account = ? AND email = ? AND used_at IS NULL";
    const OPEN: &str = "SELECT count(*) AS open FROM links WHERE account = ? AND used_at IS NULL AND expires_at > ?";
    if !connection.prepare("SELECT 1 FROM accounts WHERE id = ?").exists([new.account])? {
        return Err(StoreError::NotFound);
    }
    if let Some(email) = &new.email {
        connection.prepare(OTHERS).run(params![new.account, email])?;
    }
    let open = connection.prepare(OPEN);
    if open.query_row(params![new.account, Millis(new.created_at)], |row| unsigned(row, "open"))?
        >= u64::from(LINKS_OF_AN_ACCOUNT)
    {
        return conflict("there are too many open invitations: withdraw some, or wait until they have expired");
    }
    insert_link(connection, new)
}

pub(super) fn insert_link(connection: &Connection, new: &NewLink) -> Result<()> {
    const INSERT: &str = "INSERT INTO links (id, hash, account, role, email, created_at, expires_at)
        VALUES (?, ?, ?, ?, ?, ?, ?)";
    let NewLink { id, hash, account, role, email, created_at, expires_at } = new;
    let values = params![id, hash, account, role, email, Millis(*created_at), Millis(*expires_at)];
    Ok(connection.prepare(INSERT).run(values)?)
}

fn link(connection: &Connection, hash: TokenHash, now: Timestamp) -> Result<Option<Link>> {
    const SELECT: &str = "SELECT id, account, role, email, created_at, expires_at FROM links
        WHERE hash = ? AND used_at IS NULL AND expires_at > ?";
    Ok(connection.prepare(SELECT).query_row(params![hash, Millis(now)], read_link).optional()?)
}

pub(super) fn invitations(connection: &Connection, account: AccountId, now: Timestamp) -> Result<Vec<Link>> {
    const SELECT: &str = "SELECT id, account, role, email, created_at, expires_at FROM links
        WHERE account = ? AND used_at IS NULL AND expires_at > ? ORDER BY created_at DESC, id DESC LIMIT ?";
    Ok(connection.prepare(SELECT).query_map(params![account, Millis(now), LINKS_OF_AN_ACCOUNT], read_link)?)
}

fn read_link(row: &Row) -> sql::Result<Link> {
    Ok(Link {
        id: row.get("id")?,
        account: row.get("account")?,
        role: row.get("role")?,
        email: row.get("email")?,
        created_at: at(row, "created_at")?,
        expires_at: at(row, "expires_at")?,
    })
}

fn at(row: &Row, column: &str) -> sql::Result<Timestamp> {
    Ok(row.get::<_, Millis>(column)?.0)
}

fn accept_link(
    connection: &Connection,
    hash: TokenHash,
    new: &NewUser,
    session: &NewSession,
    now: Timestamp,
) -> Result<UserId> {
    const USE: &str = "UPDATE links SET used_at = ? WHERE id = ?";
    const INSERT: &str = "INSERT INTO users (id, email, password_hash, created_at) VALUES (?, ?, ?, ?)";
    let link = link(connection, hash, now)?.ok_or(StoreError::NotFound)?;
    if link.email.as_ref().is_some_and(|email| *email != new.email) {
        return conflict("the link was made for another e-mail address");
    }
    let user = match user_by_email(connection, &new.email)? {
        Some(user) => mend(connection, &link, &user, new)?,
        None => {
            let values = params![new.id, new.email, new.password_hash, Millis(now)];
            connection.prepare(INSERT).run(values)?;
            new.id
        }
    };
    join(connection, &link, user, now)?;
    connection.prepare(USE).run(params![Millis(now), link.id])?;
    insert_session(connection, user, session)?;
    Ok(user)
}

/// Sets the password of a user that there is.
fn mend(connection: &Connection, link: &Link, user: &User, new: &NewUser) -> Result<UserId> {
    const ELSEWHERE: &str = "SELECT 1 FROM members WHERE user_id = ? AND account <> ? LIMIT 1";
    const UPDATE: &str = "UPDATE users SET password_hash = ? WHERE id = ?";
    if link.email.is_none() {
        return conflict("somebody signs in with this e-mail address already: a new password needs a link made for it");
    }
    if connection.prepare(ELSEWHERE).exists(params![user.id, link.account])? {
        return conflict("this e-mail address belongs to another account as well: use another one here");
    }
    connection.prepare(UPDATE).run(params![new.password_hash, user.id])?;
    close_sessions(connection, user.id, None)?;
    Ok(user.id)
}

/// Makes a user a member as its link says; one who is an owner stays one.
fn join(connection: &Connection, link: &Link, user: UserId, now: Timestamp) -> Result<()> {
    const INSERT: &str = "INSERT INTO members (account, user_id, role, joined_at) VALUES (?, ?, ?, ?)";
    match role(connection, link.account, user)? {
        None => connection.prepare(INSERT).run(params![link.account, user, link.role, Millis(now)])?,
        Some(role) if role < link.role => set_role(connection, link.account, user, link.role)?,
        Some(_) => {}
    }
    Ok(())
}

pub(super) fn user_by_email(connection: &Connection, email: &str) -> Result<Option<User>> {
    const SELECT: &str = "SELECT id, email, password_hash, created_at FROM users WHERE email = ?";
    let read = |row: &Row| {
        Ok(User {
            id: row.get("id")?,
            email: row.get("email")?,
            password_hash: row.get("password_hash")?,
            created_at: at(row, "created_at")?,
        })
    };
    Ok(connection.prepare(SELECT).query_row([email], read).optional()?)
}

/// Opens a session; of too many, those that were used longest ago are closed.
fn insert_session(connection: &Connection, user: UserId, session: &NewSession) -> Result<()> {
    const DELETE: &str = "DELETE FROM sessions WHERE user_id = ?1 AND hash NOT IN
        (SELECT hash FROM sessions WHERE user_id = ?1 ORDER BY seen_at DESC, hash LIMIT ?2)";
    const INSERT: &str = "INSERT INTO sessions (hash, user_id, created_at, seen_at, expires_at) VALUES (?, ?, ?, ?, ?)";
    let NewSession { hash, created_at, expires_at } = session;
    connection.prepare(DELETE).run(params![user, SESSIONS_OF_A_USER - 1])?;
    let values = params![hash, user, Millis(*created_at), Millis(*created_at), Millis(*expires_at)];
    Ok(connection.prepare(INSERT).run(values)?)
}

/// The session and when it was seen last.
pub(super) fn session(
    connection: &Connection,
    hash: TokenHash,
    now: Timestamp,
    idle: Duration,
) -> Result<Option<(Session, Timestamp)>> {
    const SELECT: &str = "SELECT s.user_id, u.email, s.created_at, s.seen_at, s.expires_at FROM sessions s
        JOIN users u ON u.id = s.user_id WHERE s.hash = ? AND s.expires_at > ?";
    const MEMBERSHIPS: &str = "SELECT account, role FROM members WHERE user_id = ? ORDER BY joined_at, account";
    let read = |row: &Row| {
        let session = Session {
            hash,
            user: row.get("user_id")?,
            email: row.get("email")?,
            memberships: Vec::new(),
            created_at: at(row, "created_at")?,
            expires_at: at(row, "expires_at")?,
        };
        Ok((session, at(row, "seen_at")?))
    };
    let found = connection.prepare(SELECT).query_row(params![hash, Millis(now)], read).optional()?;
    let Some((mut session, seen_at)) = found.filter(|(_, seen_at)| later(*seen_at, idle) > Millis(now)) else {
        return Ok(None);
    };
    let read = |row: &Row| Ok(Membership { account: row.get("account")?, role: row.get("role")? });
    session.memberships = connection.prepare(MEMBERSHIPS).query_map([session.user], read)?;
    Ok((!session.memberships.is_empty()).then_some((session, seen_at)))
}

fn see(connection: &Connection, hash: TokenHash, now: Timestamp) -> Result<()> {
    const UPDATE: &str = "UPDATE sessions SET seen_at = ?1 WHERE hash = ?2 AND seen_at < ?1";
    Ok(connection.prepare(UPDATE).run(params![Millis(now), hash])?)
}

pub(super) fn sessions(connection: &Connection, user: UserId) -> Result<Vec<OpenSession>> {
    const SELECT: &str = "SELECT hash, created_at, seen_at, expires_at FROM sessions WHERE user_id = ?
        ORDER BY seen_at DESC, created_at DESC, hash";
    let read = |row: &Row| {
        Ok(OpenSession {
            hash: row.get("hash")?,
            created_at: at(row, "created_at")?,
            seen_at: at(row, "seen_at")?,
            expires_at: at(row, "expires_at")?,
        })
    };
    Ok(connection.prepare(SELECT).query_map([user], read)?)
}

fn close_sessions(connection: &Connection, user: UserId, except: Option<TokenHash>) -> Result<u64> {
    const ALL: &str = "DELETE FROM sessions WHERE user_id = ?";
    const OTHERS: &str = "DELETE FROM sessions WHERE user_id = ? AND hash <> ?";
    let closed = match except {
        None => connection.prepare(ALL).execute([user])?,
        Some(kept) => connection.prepare(OTHERS).execute(params![user, kept])?,
    };
    Ok(closed as u64)
}

pub(super) fn members(connection: &Connection, account: AccountId) -> Result<Vec<Member>> {
    const SELECT: &str =
        "SELECT m.user_id, u.email, m.role, m.joined_at FROM members m JOIN users u ON u.id = m.user_id
        WHERE m.account = ? ORDER BY m.joined_at, m.user_id";
    let read = |row: &Row| {
        Ok(Member {
            user: row.get("user_id")?,
            email: row.get("email")?,
            role: row.get("role")?,
            joined_at: at(row, "joined_at")?,
        })
    };
    Ok(connection.prepare(SELECT).query_map([account], read)?)
}

fn role(connection: &Connection, account: AccountId, user: UserId) -> Result<Option<MemberRole>> {
    const SELECT: &str = "SELECT role FROM members WHERE account = ? AND user_id = ?";
    Ok(connection.prepare(SELECT).query_row(params![account, user], |row| row.get("role")).optional()?)
}

fn set_role(connection: &Connection, account: AccountId, user: UserId, role: MemberRole) -> Result<()> {
    const UPDATE: &str = "UPDATE members SET role = ? WHERE account = ? AND user_id = ?";
    Ok(connection.prepare(UPDATE).run(params![role, account, user])?)
}

/// Refuses what would leave an account without an owner. Answers the user's role.
fn keep_an_owner(connection: &Connection, account: AccountId, user: UserId) -> Result<()> {
    const OTHERS: &str = "SELECT 1 FROM members WHERE account = ? AND role = 'owner' AND user_id <> ? LIMIT 1";
    match role(connection, account, user)?.ok_or(StoreError::NotFound)? {
        MemberRole::Owner if !connection.prepare(OTHERS).exists(params![account, user])? => {
            conflict("an account needs an owner: make somebody else one first")
        }
        _ => Ok(()),
    }
}

fn remove_member(connection: &Connection, account: AccountId, user: UserId) -> Result<()> {
    const DELETE: &str = "DELETE FROM members WHERE account = ? AND user_id = ?";
    const ELSEWHERE: &str = "SELECT 1 FROM members WHERE user_id = ? LIMIT 1";
    keep_an_owner(connection, account, user)?;
    connection.prepare(DELETE).run(params![account, user])?;
    if !connection.prepare(ELSEWHERE).exists([user])? {
        close_sessions(connection, user, None)?;
        connection.prepare("DELETE FROM users WHERE id = ?").run([user])?;
    }
    Ok(())
}

fn change_role(connection: &Connection, account: AccountId, user: UserId, role: MemberRole) -> Result<()> {
    if role < MemberRole::Owner {
        keep_an_owner(connection, account, user)?;
    } else if self::role(connection, account, user)?.is_none() {
        return Err(StoreError::NotFound);
    }
    set_role(connection, account, user, role)
}

fn note_failure(connection: &Connection, subjects: &[(Subject, Brake)], now: Timestamp) -> Result<Option<Timestamp>> {
    const INSERT: &str = "INSERT INTO sign_in_failures (subject, at, failures) VALUES (?, ?, 1)
        ON CONFLICT (subject, at) DO UPDATE SET failures = sign_in_failures.failures + 1";
    const SURPLUS: &str = "DELETE FROM sign_in_failures WHERE at <
        (SELECT at FROM sign_in_failures ORDER BY at DESC LIMIT 1 OFFSET ?)";
    let mut until = None;
    for (subject, brake) in subjects {
        let window = jiff::SignedDuration::try_from(brake.window).unwrap_or(jiff::SignedDuration::MAX);
        let since = now.checked_sub(window).unwrap_or(Timestamp::MIN);
        if let (failed, Some(last)) = failures(connection, *subject, since)? {
            until = until.max(Some(later(last, brake.wait(failed)).0).filter(|until| *until > now));
        }
    }
    if until.is_none() {
        for (subject, _) in subjects {
            connection.prepare(INSERT).run(params![subject, Millis(now)])?;
        }
        connection.prepare(SURPLUS).run(params![FAILURES_KEPT])?;
    }
    Ok(until)
}

/// How often, and when last, a subject failed from `since` on.
fn failures(connection: &Connection, subject: Subject, since: Timestamp) -> Result<(u64, Option<Timestamp>)> {
    const SELECT: &str =
        "SELECT CAST(coalesce(sum(failures), 0) AS BIGINT) AS failures, max(at) AS last FROM sign_in_failures
        WHERE subject = ? AND at > ?";
    let read = |row: &Row| Ok((unsigned(row, "failures")?, time(row, "last")?));
    Ok(connection.prepare(SELECT).query_row(params![subject, Millis(since)], read)?)
}

fn delete_expired(connection: &Connection, expiry: &PeopleExpiry, limit: u32) -> Result<u64> {
    const DELETE: [&str; 4] = [
        "DELETE FROM sessions WHERE hash IN (SELECT hash FROM sessions WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)",
        "DELETE FROM sessions WHERE hash IN (SELECT hash FROM sessions WHERE seen_at <= ? ORDER BY seen_at LIMIT ?)",
        "DELETE FROM links WHERE id IN (SELECT id FROM links WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)",
        "DELETE FROM sign_in_failures WHERE (subject, at) IN
            (SELECT subject, at FROM sign_in_failures WHERE at <= ? ORDER BY at LIMIT ?)",
    ];
    let PeopleExpiry { now, unused_since, failed_before } = *expiry;
    let mut deleted = 0;
    for (statement, before) in DELETE.into_iter().zip([now, unused_since, now, failed_before]) {
        deleted += connection.prepare(statement).execute(params![Millis(before), limit])?;
    }
    Ok(deleted as u64)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::sqlite::{SqliteStore, Threading};

    const HERE: AccountId = AccountId(Uuid::from_u128(1));
    const THERE: AccountId = AccountId(Uuid::from_u128(2));

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    /// Uses a link that is made for a purpose and an address.
    async fn join(store: &SqliteStore, account: AccountId, number: u8, email: &str) -> Result<UserId> {
        let expires_at = later(now(), Duration::from_secs(60)).0;
        let link = NewLink {
            id: LinkId(Uuid::from_u128(number.into())),
            hash: [number; 32],
            account,
            role: MemberRole::Owner,
            email: Some(email.to_owned()),
            created_at: now(),
            expires_at,
        };
        store.create_link(link).await?;
        let id = UserId(Uuid::from_u128(number.into()));
        let user = NewUser { id, email: email.to_owned(), password_hash: format!("secret {number}") };
        let session = NewSession { hash: [number; 32], created_at: now(), expires_at };
        store.accept_link([number; 32], user, session, now()).await
    }

    /// The owner of one account gets no hold of a user of another by inviting them; and a user stays while one membership is left.
    #[tokio::test]
    async fn a_user_of_two_accounts_is_neither_ones() {
        const ACCOUNT: &str = "INSERT INTO accounts (id, email, plan, created_at, built_in) VALUES (?, ?, 'b', 0, 0)";
        const MEMBER: &str = "INSERT INTO members (account, user_id, role, joined_at) VALUES (?, ?, 'member', 0)";
        let store = SqliteStore::in_memory(Threading::Inline).await.unwrap();
        for account in [HERE, THERE] {
            let email = account.to_string();
            store.write(move |c| Ok(c.prepare(ACCOUNT).run(params![account, email])?)).await.unwrap();
        }
        let ada = join(&store, HERE, 1, "ada@example.com").await.unwrap();
        let stolen = join(&store, THERE, 2, "ada@example.com").await;
        assert!(matches!(stolen, Err(StoreError::Conflict(_))), "{stolen:?}");
        let kept = store.user_by_email("ada@example.com".to_owned()).await.unwrap().unwrap();
        assert_eq!(kept.password_hash, "secret 1");

        join(&store, HERE, 3, "bob@example.com").await.unwrap();
        store.write(move |c| Ok(c.prepare(MEMBER).run(params![THERE, ada])?)).await.unwrap();
        store.remove_member(HERE, ada).await.unwrap();
        let session = store.session([1; 32], now(), Duration::from_secs(60)).await.unwrap().unwrap();
        assert_eq!(session.memberships, [Membership { account: THERE, role: MemberRole::Member }]);
    }
}
