//! Checks of people: links, users, sessions, members, failures to sign in.

use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinSet;

use super::samples::*;
use crate::{
    Account, AccountId, Brake, LINKS_OF_AN_ACCOUNT, LinkId, MemberRole, Membership, NewLink, NewSession, NewUser,
    PeopleExpiry, SESSIONS_OF_A_USER, Setup, StoreError, UserId,
};

const IDLE: Duration = Duration::from_secs(12 * 60 * 60);
const DAY: i64 = 24 * 60 * 60;
const BRAKE: Brake = Brake {
    window: Duration::from_secs(900),
    free: 3,
    first_wait: Duration::from_secs(60),
    longest_wait: Duration::from_secs(900),
};

/// A hash that nothing else has.
fn hash() -> [u8; 32] {
    let mut hash = [0; 32];
    hash[..16].copy_from_slice(uuid().as_bytes());
    hash
}

fn link_to(account: AccountId, role: MemberRole, email: Option<&str>) -> NewLink {
    let (id, email) = (LinkId(uuid()), email.map(str::to_owned));
    NewLink { id, hash: hash(), account, role, email, created_at: at(0), expires_at: at(DAY) }
}

fn user(email: &str, password: &str) -> NewUser {
    NewUser { id: UserId(uuid()), email: email.to_owned(), password_hash: password.to_owned() }
}

fn session(now: i64) -> NewSession {
    NewSession { hash: hash(), created_at: at(now), expires_at: at(now + 14 * DAY) }
}

fn setup(links: Vec<NewLink>) -> Setup {
    let account = Account {
        id: links.first().map_or_else(|| AccountId(uuid()), |link| link.account),
        email: "owner@localhost".to_owned(),
        plan: "self-hosted".to_owned(),
        created_at: at(0),
        is_built_in: true,
    };
    Setup { account, keys: Vec::new(), secrets: Vec::new(), links }
}

/// Fills the store with its account.
async fn account(store: &Tested) -> AccountId {
    let setup = setup(Vec::new());
    let account = setup.account.id;
    assert!(store.set_up(setup).await.unwrap());
    account
}

/// Lets somebody in by a link; answers who it is, and the session.
async fn join(store: &Tested, account: AccountId, role: MemberRole, email: &str) -> (UserId, [u8; 32]) {
    let (link, session) = (link_to(account, role, Some(email)), session(0));
    let (link_hash, session_hash) = (link.hash, session.hash);
    store.create_link(link).await.unwrap();
    (store.accept_link(link_hash, user(email, "secret"), session, at(0)).await.unwrap(), session_hash)
}

async fn is_open(store: &Tested, session: [u8; 32], now: i64) -> bool {
    store.session(session, at(now), IDLE).await.unwrap().is_some()
}

/// What fills an empty store brings the link for its owner.
pub async fn the_first_link_comes_with_the_account(store: Tested) {
    let link = link_to(scope().account, MemberRole::Owner, None);
    assert!(store.set_up(setup(vec![link.clone()])).await.unwrap());
    let late = link_to(link.account, MemberRole::Owner, None);
    assert!(!store.set_up(setup(vec![late.clone()])).await.unwrap());
    assert_eq!(store.link(late.hash, at(0)).await.unwrap(), None);
    let found = store.link(link.hash, at(0)).await.unwrap().unwrap();
    assert_eq!((found.id, found.account, found.role, found.email), (link.id, link.account, link.role, None));
    assert_eq!((found.created_at, found.expires_at), (at(0), at(DAY)));
    let nobodys = link_to(scope().account, MemberRole::Owner, None);
    assert!(matches!(store.create_link(nobodys).await, Err(StoreError::NotFound)));
}

/// A link makes a user, a membership and a session, and does it once, before it expires.
pub async fn a_link_is_used_once(store: Tested) {
    let account = account(&store).await;
    let (link, other) = (link_to(account, MemberRole::Owner, None), link_to(account, MemberRole::Owner, None));
    store.create_link(link.clone()).await.unwrap();
    store.create_link(other.clone()).await.unwrap();
    assert!(matches!(store.create_link(link.clone()).await, Err(StoreError::Conflict(_))));

    let (ada, first) = (user("ada@example.com", "secret"), session(5));
    let made = store.accept_link(link.hash, ada.clone(), first.clone(), at(5)).await.unwrap();
    assert_eq!(made, ada.id);
    let found = store.session(first.hash, at(5), IDLE).await.unwrap().unwrap();
    assert_eq!((found.hash, found.user, found.email.as_str()), (first.hash, ada.id, "ada@example.com"));
    assert_eq!((found.created_at, found.expires_at), (first.created_at, first.expires_at));
    assert_eq!(found.memberships, [Membership { account, role: MemberRole::Owner }]);
    let kept = store.user_by_email("ada@example.com".to_owned()).await.unwrap().unwrap();
    assert_eq!((kept.id, kept.password_hash.as_str(), kept.created_at), (ada.id, "secret", at(5)));
    assert_eq!(store.user_by_email("eve@example.com".to_owned()).await.unwrap(), None);

    let again = async |hash, now| {
        let refused = store.accept_link(hash, user("eve@example.com", "secret"), session(5), at(now)).await;
        assert!(matches!(refused, Err(StoreError::NotFound)), "{refused:?}");
    };
    again(link.hash, 6).await;
    again(hash(), 6).await;
    again(other.hash, DAY).await;
    assert_eq!(store.link(link.hash, at(6)).await.unwrap(), None);
    assert_eq!(store.link(other.hash, at(DAY)).await.unwrap(), None);
    assert_eq!(store.members(account).await.unwrap().len(), 1);
    assert_eq!(store.user_by_email("eve@example.com".to_owned()).await.unwrap(), None);
}

/// However many use a link at once, one of them does.
pub async fn twenty_who_use_a_link_make_one_user(store: Tested) {
    let account = account(&store).await;
    let link = link_to(account, MemberRole::Owner, None);
    store.create_link(link.clone()).await.unwrap();
    let mut tries = JoinSet::new();
    for number in 0..20 {
        let (store, link) = (store.clone(), link.hash);
        let new = user(&format!("{number}@example.com"), "secret");
        tries.spawn(async move { store.accept_link(link, new, session(0), at(0)).await });
    }
    let made = tries.join_all().await.into_iter().filter(Result::is_ok).count();
    assert_eq!((made, store.members(account).await.unwrap().len()), (1, 1));
}

/// A link that names an address lets in nobody else, and survives the try.
pub async fn a_link_for_an_address_is_for_no_other(store: Tested) {
    let account = account(&store).await;
    let link = link_to(account, MemberRole::Member, Some("ada@example.com"));
    store.create_link(link.clone()).await.unwrap();
    let other = store.accept_link(link.hash, user("eve@example.com", "secret"), session(0), at(0)).await;
    assert!(matches!(other, Err(StoreError::Conflict(_))));
    assert!(store.link(link.hash, at(0)).await.unwrap().is_some());
    store.accept_link(link.hash, user("ada@example.com", "secret"), session(0), at(0)).await.unwrap();
}

/// A link for a user's address sets the password, closes the sessions from before, and never takes a role away.
pub async fn a_password_is_mended_by_a_link(store: Tested) {
    let account = account(&store).await;
    let (ada, before) = join(&store, account, MemberRole::Owner, "ada@example.com").await;
    let link = link_to(account, MemberRole::Member, Some("ada@example.com"));
    store.create_link(link.clone()).await.unwrap();
    let after = session(9);
    let mended = store.accept_link(link.hash, user("ada@example.com", "another"), after.clone(), at(9)).await.unwrap();
    assert_eq!(mended, ada, "the user stays the same");
    let kept = store.user_by_email("ada@example.com".to_owned()).await.unwrap().unwrap();
    assert_eq!((kept.password_hash.as_str(), kept.created_at), ("another", at(0)));
    assert!(!is_open(&store, before, 9).await && is_open(&store, after.hash, 9).await);
    let members = store.members(account).await.unwrap();
    assert_eq!((members.len(), members[0].role, members[0].joined_at), (1, MemberRole::Owner, at(0)));

    join(&store, account, MemberRole::Member, "bob@example.com").await;
    let (bob, _) = join(&store, account, MemberRole::Owner, "bob@example.com").await;
    let members = store.members(account).await.unwrap();
    let bob = members.iter().find(|member| member.user == bob).unwrap();
    assert_eq!(bob.role, MemberRole::Owner, "a link may give a higher one");
}

/// A link for whoever has it sets nobody's password.
pub async fn links_give_no_user_away(store: Tested) {
    let account = account(&store).await;
    let (_, session_of_ada) = join(&store, account, MemberRole::Owner, "ada@example.com").await;
    let link = link_to(account, MemberRole::Owner, None);
    store.create_link(link.clone()).await.unwrap();
    let refused = store.accept_link(link.hash, user("ada@example.com", "another"), session(0), at(0)).await;
    assert!(matches!(refused, Err(StoreError::Conflict(_))));
    let kept = store.user_by_email("ada@example.com".to_owned()).await.unwrap().unwrap();
    assert_eq!(kept.password_hash, "secret");
    assert!(is_open(&store, session_of_ada, 0).await);
}

/// Open links are listed newest first; a newer one for an address takes the place of the older; one that is withdrawn is gone.
pub async fn links_are_listed_and_withdrawn(store: Tested) {
    let account = account(&store).await;
    let older = link_to(account, MemberRole::Member, Some("ada@example.com"));
    let open = link_to(account, MemberRole::Owner, None);
    let newer = NewLink { created_at: at(3), ..link_to(account, MemberRole::Owner, Some("ada@example.com")) };
    let short = NewLink { expires_at: at(4), ..link_to(account, MemberRole::Owner, None) };
    for link in [&older, &open, &newer, &short] {
        store.create_link(link.clone()).await.unwrap();
    }
    let listed = async |now| -> Vec<LinkId> {
        store.invitations(account, at(now)).await.unwrap().into_iter().map(|link| link.id).collect()
    };
    assert_eq!(listed(3).await, [newer.id, short.id, open.id]);
    assert_eq!(listed(4).await, [newer.id, open.id]);
    assert_eq!(store.link(older.hash, at(0)).await.unwrap(), None);
    assert_eq!(store.invitations(scope().account, at(0)).await.unwrap(), []);

    assert!(matches!(store.withdraw_link(scope().account, newer.id).await, Err(StoreError::NotFound)));
    store.withdraw_link(account, newer.id).await.unwrap();
    assert!(matches!(store.withdraw_link(account, newer.id).await, Err(StoreError::NotFound)));
    assert_eq!(store.link(newer.hash, at(4)).await.unwrap(), None);
    store.accept_link(open.hash, user("eve@example.com", "secret"), session(4), at(4)).await.unwrap();
    assert!(matches!(store.withdraw_link(account, open.id).await, Err(StoreError::NotFound)), "it was used");
    assert_eq!(listed(4).await, []);
}

/// So many links are open at once, and no more.
pub async fn links_are_bounded(store: Tested) {
    let account = account(&store).await;
    for _ in 0..LINKS_OF_AN_ACCOUNT {
        store.create_link(link_to(account, MemberRole::Member, None)).await.unwrap();
    }
    let one_more = |now| NewLink { created_at: at(now), ..link_to(account, MemberRole::Member, None) };
    assert!(matches!(store.create_link(one_more(1)).await, Err(StoreError::Conflict(_))));
    store.create_link(one_more(DAY)).await.unwrap();
}

/// A session is found until it expires, or is not used for too long.
pub async fn sessions_are_found_while_they_are_used(store: Tested) {
    let account = account(&store).await;
    let (ada, session) = join(&store, account, MemberRole::Owner, "ada@example.com").await;
    let half = 6 * 60 * 60;
    let seen = async || store.sessions(ada).await.unwrap()[0].seen_at;
    assert!(is_open(&store, session, 59).await);
    assert_eq!(seen().await, at(0), "not every use is written down");
    assert!(is_open(&store, session, 60).await);
    assert_eq!(seen().await, at(60));
    for turn in 1..56 {
        assert!(is_open(&store, session, turn * half).await, "{turn}");
    }
    assert!(is_open(&store, session, 14 * DAY - 1).await);
    assert!(!is_open(&store, session, 14 * DAY).await);

    let unused = self::session(0);
    store.open_session(ada, "secret".to_owned(), unused.clone()).await.unwrap();
    assert!(!is_open(&store, unused.hash, 2 * half).await);
    assert!(is_open(&store, unused.hash, 2 * half - 1).await);
    assert!(!is_open(&store, hash(), 0).await);
}

/// Sessions are closed one by one, all, or all but one; those of others stay.
pub async fn sessions_are_closed(store: Tested) {
    let account = account(&store).await;
    let (ada, first) = join(&store, account, MemberRole::Owner, "ada@example.com").await;
    let (_, other) = join(&store, account, MemberRole::Member, "bob@example.com").await;
    let more = [session(1), session(2)];
    for session in more.clone() {
        store.open_session(ada, "secret".to_owned(), session).await.unwrap();
    }
    let listed: Vec<[u8; 32]> = store.sessions(ada).await.unwrap().into_iter().map(|session| session.hash).collect();
    assert_eq!(listed, [more[1].hash, more[0].hash, first]);
    store.close_session(first).await.unwrap();
    store.close_session(first).await.unwrap();
    assert!(!is_open(&store, first, 2).await);
    assert_eq!(store.close_sessions(ada, Some(more[0].hash)).await.unwrap(), 1);
    assert!(is_open(&store, more[0].hash, 2).await && !is_open(&store, more[1].hash, 2).await);
    assert_eq!(store.close_sessions(ada, None).await.unwrap(), 1);
    assert_eq!(store.sessions(ada).await.unwrap(), []);
    assert!(is_open(&store, other, 2).await);
}

/// Who opens too many sessions closes the one that was used longest ago.
pub async fn sessions_are_bounded(store: Tested) {
    let account = account(&store).await;
    let (ada, first) = join(&store, account, MemberRole::Owner, "ada@example.com").await;
    for number in 1..=SESSIONS_OF_A_USER {
        store.open_session(ada, "secret".to_owned(), session(i64::from(number))).await.unwrap();
    }
    assert_eq!(store.sessions(ada).await.unwrap().len(), SESSIONS_OF_A_USER as usize);
    assert!(!is_open(&store, first, 60).await);
}

/// A password that was set meanwhile neither opens a session nor is overwritten; the new one closes the others.
pub async fn passwords_are_set_against_the_old_one(store: Tested) {
    let account = account(&store).await;
    let (ada, first) = join(&store, account, MemberRole::Owner, "ada@example.com").await;
    let (_, other) = join(&store, account, MemberRole::Member, "bob@example.com").await;
    let second = session(0);
    store.open_session(ada, "secret".to_owned(), second.clone()).await.unwrap();
    let set = async |old: &str, new: &str, keep| store.set_password(ada, old.to_owned(), new.to_owned(), keep).await;
    assert!(matches!(set("wrong", "new", None).await, Err(StoreError::NotFound)));
    assert!(is_open(&store, first, 0).await && is_open(&store, second.hash, 0).await);
    set("secret", "new", Some(second.hash)).await.unwrap();
    assert!(!is_open(&store, first, 0).await && is_open(&store, second.hash, 0).await);
    let late = store.open_session(ada, "secret".to_owned(), session(0)).await;
    assert!(matches!(late, Err(StoreError::NotFound)));
    set("new", "newer", None).await.unwrap();
    assert!(!is_open(&store, second.hash, 0).await && is_open(&store, other, 0).await);
    let nobody = store.open_session(UserId(uuid()), "newer".to_owned(), session(0)).await;
    assert!(matches!(nobody, Err(StoreError::NotFound)));
}

/// Members are listed in the order of their joining. Who is removed is gone, with the sessions, and may come again.
pub async fn members_are_listed_and_removed(store: Tested) {
    let account = account(&store).await;
    let (ada, _) = join(&store, account, MemberRole::Owner, "ada@example.com").await;
    let (bob, session) = join(&store, account, MemberRole::Member, "bob@example.com").await;
    let members = store.members(account).await.unwrap();
    let told: Vec<_> = members.iter().map(|member| (member.user, member.email.as_str(), member.role)).collect();
    assert_eq!(told, [(ada, "ada@example.com", MemberRole::Owner), (bob, "bob@example.com", MemberRole::Member)]);
    assert_eq!(store.members(scope().account).await.unwrap(), []);

    assert!(matches!(store.remove_member(scope().account, bob).await, Err(StoreError::NotFound)));
    store.remove_member(account, bob).await.unwrap();
    assert!(matches!(store.remove_member(account, bob).await, Err(StoreError::NotFound)));
    assert!(!is_open(&store, session, 0).await);
    assert_eq!(store.sessions(bob).await.unwrap(), []);
    assert_eq!(store.user_by_email("bob@example.com".to_owned()).await.unwrap(), None);
    let (again, _) = join(&store, account, MemberRole::Member, "bob@example.com").await;
    assert_ne!(again, bob);
}

/// The last owner is neither removed nor made less.
pub async fn an_account_keeps_an_owner(store: Tested) {
    let account = account(&store).await;
    let (ada, _) = join(&store, account, MemberRole::Owner, "ada@example.com").await;
    let (bob, session) = join(&store, account, MemberRole::Member, "bob@example.com").await;
    let change = async |user, role| store.change_role(account, user, role).await;
    assert!(matches!(store.remove_member(account, ada).await, Err(StoreError::Conflict(_))));
    assert!(matches!(change(ada, MemberRole::Member).await, Err(StoreError::Conflict(_))));
    assert!(matches!(change(UserId(uuid()), MemberRole::Owner).await, Err(StoreError::NotFound)));
    assert!(matches!(change(UserId(uuid()), MemberRole::Member).await, Err(StoreError::NotFound)));
    change(ada, MemberRole::Owner).await.unwrap();
    change(bob, MemberRole::Member).await.unwrap();
    change(bob, MemberRole::Owner).await.unwrap();
    let found = store.session(session, at(0), IDLE).await.unwrap().unwrap();
    assert_eq!(found.memberships, [Membership { account, role: MemberRole::Owner }], "it shows at once");
    change(ada, MemberRole::Member).await.unwrap();
    assert!(matches!(store.remove_member(account, bob).await, Err(StoreError::Conflict(_))));
    store.remove_member(account, ada).await.unwrap();
}

/// Failures count within their window; after the free ones each makes the next wait longer, and what has to wait counts for nothing.
pub async fn failures_are_counted(store: Tested) {
    let (ada, network) = ([1; 32], [2; 32]);
    let note = async |seconds: i64| {
        let until = store.note_failure(vec![(ada, BRAKE), (network, Brake { free: 100, ..BRAKE })], at(seconds)).await;
        until.unwrap().map(|until: Timestamp| until.duration_since(at(seconds)).as_secs())
    };
    for second in [0, 0, 10] {
        assert_eq!(note(second).await, None);
    }
    assert_eq!(note(20).await, Some(50), "the third one has to wait for a minute");
    assert_eq!((store.failures(ada, at(-1)).await.unwrap(), store.failures(network, at(-1)).await.unwrap()), (3, 3));
    assert_eq!(store.failures(ada, at(5)).await.unwrap(), 1);
    assert_eq!(note(70).await, None);
    assert_eq!(note(71).await, Some(119));

    store.forgive_failure(network, at(0)).await.unwrap();
    assert_eq!(store.failures(network, at(-1)).await.unwrap(), 3, "one of the two at that time");
    store.forgive_failure(network, at(0)).await.unwrap();
    store.forgive_failure(network, at(0)).await.unwrap();
    assert_eq!(store.failures(network, at(-1)).await.unwrap(), 2);
    store.forget_failures(ada).await.unwrap();
    assert_eq!((store.failures(ada, at(-1)).await.unwrap(), store.failures(network, at(-1)).await.unwrap()), (0, 2));
    assert_eq!(note(72).await, None);
    assert_eq!(note(2_000).await, None);
    assert_eq!(store.failures(ada, at(-1)).await.unwrap(), 2);
}

/// Many at once get no further than as many in a row.
pub async fn failures_of_a_crowd_are_counted(store: Tested) {
    let mut tries = JoinSet::new();
    for _ in 0..20 {
        let store = store.clone();
        tries.spawn(async move { store.note_failure(vec![([1; 32], BRAKE)], at(0)).await.unwrap() });
    }
    let free = tries.join_all().await.into_iter().filter(Option::is_none).count();
    assert_eq!((free as u64, store.failures([1; 32], at(-1)).await.unwrap()), (BRAKE.free, BRAKE.free));
}

/// Sessions, links and failures that are past are deleted, so many at a time; what is not stays.
pub async fn what_is_past_of_people_is_deleted(store: Tested) {
    let account = account(&store).await;
    let (ada, unused) = join(&store, account, MemberRole::Owner, "ada@example.com").await;
    let (ended, open) = (NewSession { expires_at: at(10), ..session(5) }, session(6));
    for session in [&ended, &open] {
        store.open_session(ada, "secret".to_owned(), session.clone()).await.unwrap();
    }
    let link = NewLink { expires_at: at(10), ..link_to(account, MemberRole::Owner, None) };
    let kept = link_to(account, MemberRole::Owner, None);
    store.create_link(link).await.unwrap();
    store.create_link(kept.clone()).await.unwrap();
    for seconds in [1, 2, 9] {
        store.note_failure(vec![([1; 32], BRAKE)], at(seconds)).await.unwrap();
    }
    let delete = async |limit| {
        let expiry = PeopleExpiry { now: at(10), unused_since: at(0), failed_before: at(2) };
        store.delete_expired_people(expiry, limit).await.unwrap()
    };
    assert_eq!(delete(1).await, 4, "one that has ended, one that was not used, a link, a failure");
    assert_eq!(delete(1).await, 1, "another failure");
    assert_eq!(delete(1).await, 0);
    let left: Vec<[u8; 32]> = store.sessions(ada).await.unwrap().into_iter().map(|session| session.hash).collect();
    assert_eq!(left, [open.hash]);
    assert!(!is_open(&store, unused, 1).await);
    assert!(store.link(kept.hash, at(10)).await.unwrap().is_some());
    assert_eq!(store.failures([1; 32], at(-1)).await.unwrap(), 1);
}
