//! People on a real store, with a clock that is moved by hand.

use std::{net::IpAddr, sync::Arc, time::Duration};

use datasonar_store::{
    Account, AccountId, MemberRole, Session, Setup, Store,
    sqlite::{SqliteStore, Threading},
};
use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::clock::ManualClock;

const PASSWORD: &str = "correct horse battery";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const IDLE: Duration = Duration::from_secs(12 * 60 * 60);

struct Scene {
    people: People,
    clock: ManualClock,
    account: AccountId,
    store: Arc<SqliteStore>,
    _folder: tempfile::TempDir,
}

impl Scene {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("store.db"), Threading::Pool).await.unwrap();
        let clock = ManualClock::new(Timestamp::from_second(1_800_000_000).unwrap());
        let ids = Ids::seeded(Arc::new(clock.clone()), 7);
        let account = AccountId(ids.uuid());
        let built_in = Account {
            id: account,
            email: "owner@localhost".to_owned(),
            plan: "self-hosted".to_owned(),
            created_at: clock.now(),
            is_built_in: true,
        };
        let setup = Setup { account: built_in, keys: Vec::new(), secrets: Vec::new(), links: Vec::new() };
        assert!(store.set_up(setup).await.unwrap());
        let people = Self::people(&store, &clock, ids);
        Self { people, clock, account, store, _folder: folder }
    }

    fn people(store: &Arc<SqliteStore>, clock: &ManualClock, ids: Ids) -> People {
        let clock = Arc::new(clock.clone());
        let sealer = Sealer::new(&"ab".repeat(32), ids.clone()).unwrap();
        People::new(PeopleParts {
            rows: store.clone(),
            clock,
            sealer: Some(sealer),
            ids,
            session_lifetime: 14 * DAY,
            session_idle: IDLE,
        })
    }

    /// The same people, as another process sees them.
    fn other_process(&self) -> People {
        Self::people(&self.store, &self.clock, Ids::seeded(Arc::new(self.clock.clone()), 8))
    }

    fn wait(&self, span: Duration) {
        self.clock.advance(SignedDuration::try_from(span).unwrap());
    }

    /// Lets somebody in by a link, and answers the token of the session.
    async fn join(&self, email: &str, role: MemberRole) -> Token {
        let link = self.people.invite(self.account, Some(email), role).await.unwrap();
        self.people.accept(link.as_str(), email, PASSWORD).await.unwrap()
    }

    async fn session(&self, token: &Token) -> Option<Session> {
        self.people.session(token.as_str()).await.unwrap()
    }

    async fn fails(&self, email: &str, address: Option<IpAddr>) -> SignInError {
        self.people.sign_in(email, "another password", address).await.unwrap_err()
    }
}

fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

#[tokio::test]
async fn the_first_link_makes_an_owner_once() {
    let scene = Scene::new().await;
    let (people, account) = (&scene.people, scene.account);
    let link = people.invite(account, None, MemberRole::Owner).await.unwrap();
    assert_eq!(link.as_str().len(), 43);
    assert_eq!(format!("{link:?}"), "Token(…)");
    assert_eq!(link.link("https://d.example"), format!("https://d.example/sign-in/link/{}", link.as_str()));
    let told = people.link(link.as_str()).await.unwrap().unwrap();
    assert_eq!((told.email, told.role), (None, MemberRole::Owner));

    let refused = async |email: &str, password: &str| people.accept(link.as_str(), email, password).await.unwrap_err();
    assert!(matches!(refused("nobody", PASSWORD).await, AcceptError::Email(EmailError::Malformed)));
    let too_short = refused("ada@example.com", "short").await;
    assert_eq!(too_short.to_string(), "a password has at least 10 characters");
    assert!(matches!(refused("ada@example.com", "ADA@example.com").await, AcceptError::Password(PasswordError::Email)));

    let token = people.accept(link.as_str(), " Ada@Example.com", PASSWORD).await.unwrap();
    let session = scene.session(&token).await.unwrap();
    assert_eq!(session.email, "ada@example.com");
    assert_eq!(session.memberships, [datasonar_store::Membership { account, role: MemberRole::Owner }]);
    assert!(matches!(refused("eve@example.com", PASSWORD).await, AcceptError::Gone));
    assert_eq!(people.link(link.as_str()).await.unwrap(), None);

    let expired = people.invite(account, None, MemberRole::Owner).await.unwrap();
    scene.wait(LINK_LIFETIME);
    assert!(matches!(people.accept(expired.as_str(), "eve@example.com", PASSWORD).await, Err(AcceptError::Gone)));
}

#[tokio::test]
async fn signing_in_and_out() {
    let scene = Scene::new().await;
    let people = &scene.people;
    let first = scene.join("ada@example.com", MemberRole::Owner).await;
    assert!(matches!(scene.fails("ada@example.com", None).await, SignInError::Wrong));
    assert!(matches!(scene.fails("nobody@example.com", None).await, SignInError::Wrong));
    let long = people.sign_in("ada@example.com", &"x".repeat(10_000), None).await;
    assert!(matches!(long, Err(SignInError::Wrong)));

    let second = people.sign_in("ADA@example.com ", PASSWORD, None).await.unwrap();
    assert_ne!(first, second);
    let session = scene.session(&second).await.unwrap();
    assert_eq!(people.sessions(session.user).await.unwrap().len(), 2);
    people.sign_out(first.as_str()).await.unwrap();
    assert_eq!(scene.session(&first).await, None);
    assert!(scene.session(&second).await.is_some());

    let third = people.sign_in("ada@example.com", PASSWORD, None).await.unwrap();
    assert_eq!(people.sign_out_elsewhere(&session).await.unwrap(), 1);
    assert_eq!(scene.session(&third).await, None);
    assert_eq!(people.sign_out_everywhere(&session).await.unwrap(), 1);
    assert_eq!(scene.session(&second).await, None);
    assert_eq!(people.session("").await.unwrap(), None);
}

#[tokio::test]
async fn sessions_end_unused_or_after_their_lifetime() {
    let scene = Scene::new().await;
    let used = scene.join("ada@example.com", MemberRole::Owner).await;
    let unused = scene.people.sign_in("ada@example.com", PASSWORD, None).await.unwrap();
    for _ in 0..28 {
        scene.wait(IDLE - minutes(2));
        assert!(scene.session(&used).await.is_some());
    }
    assert_eq!(scene.session(&unused).await, None);
    scene.wait(minutes(55));
    assert!(scene.session(&used).await.is_some());
    scene.wait(minutes(1));
    assert_eq!(scene.session(&used).await, None, "fourteen days are over");
    assert_eq!(scene.people.delete_expired(100).await.unwrap(), 3, "both sessions and the link");
    assert_eq!(scene.people.delete_expired(100).await.unwrap(), 0);
}

#[tokio::test]
async fn guessing_is_slowed_down_over_processes() {
    let scene = Scene::new().await;
    scene.join("ada@example.com", MemberRole::Owner).await;
    for _ in 0..5 {
        assert!(matches!(scene.fails("ada@example.com", None).await, SignInError::Wrong));
    }
    let other = scene.other_process();
    let waits = async |expected: Duration| match other.sign_in("Ada@example.com", PASSWORD, None).await {
        Err(SignInError::TooMany { retry_after }) => assert_eq!(retry_after, expected),
        other => panic!("{other:?}"),
    };
    waits(minutes(1)).await;
    scene.wait(Duration::from_secs(45));
    waits(Duration::from_secs(15)).await;
    // What is refused does not count.
    scene.wait(Duration::from_secs(15));
    assert!(matches!(scene.fails("ada@example.com", None).await, SignInError::Wrong));
    waits(minutes(2)).await;
    // Others are not concerned.
    assert!(matches!(scene.fails("eve@example.com", None).await, SignInError::Wrong));
    scene.wait(minutes(2));
    other.sign_in("ada@example.com", PASSWORD, None).await.unwrap();
    for _ in 0..5 {
        assert!(matches!(scene.fails("ada@example.com", None).await, SignInError::Wrong));
    }
    assert!(matches!(scene.fails("ada@example.com", None).await, SignInError::TooMany { .. }));
    scene.wait(throttle::WINDOW);
    assert!(matches!(scene.fails("ada@example.com", None).await, SignInError::Wrong), "a quarter of an hour is enough");
}

#[tokio::test]
async fn strangers_do_not_lock_a_known_browser_out() {
    let scene = Scene::new().await;
    scene.join("ada@example.com", MemberRole::Owner).await;
    let device = scene.people.device("Ada@example.com").unwrap();
    // From everywhere, and from the very network that ada is in.
    for number in 0..40 {
        let _ = scene.fails("ada@example.com", Some(format!("198.51.{number}.1").parse().unwrap())).await;
    }
    let address = Some("203.0.113.7".parse().unwrap());
    for _ in 0..30 {
        let _ = scene.fails("ada@example.com", address).await;
    }
    let with = async |device: &str, email: &str, password: &str| {
        scene.other_process().sign_in_with(Some(device), email, password, address).await
    };
    assert!(matches!(with("", "ada@example.com", PASSWORD).await, Err(SignInError::TooMany { .. })));
    let other = scene.people.device("eve@example.com").unwrap();
    assert!(matches!(with(&other, "ada@example.com", PASSWORD).await, Err(SignInError::TooMany { .. })));
    with(&device, "ada@example.com", PASSWORD).await.unwrap();
    // Whoever has stolen it may guess five times, and is slowed down alone.
    for _ in 0..5 {
        assert!(matches!(with(&device, "ada@example.com", "another password").await, Err(SignInError::Wrong)));
    }
    assert!(matches!(with(&device, "ada@example.com", PASSWORD).await, Err(SignInError::TooMany { .. })));
    let second = scene.people.device("ada@example.com").unwrap();
    with(&second, "ada@example.com", PASSWORD).await.unwrap();
    // A browser that is new waits a minute at most for what strangers in other networks do.
    scene.wait(minutes(1));
    scene.people.sign_in("ada@example.com", PASSWORD, Some("192.0.2.1".parse().unwrap())).await.unwrap();
}

#[tokio::test]
async fn a_network_that_guesses_is_slowed_down() {
    let scene = Scene::new().await;
    scene.join("ada@example.com", MemberRole::Owner).await;
    let address = |number: u32| Some(format!("2001:db8::{number:x}").parse().unwrap());
    for number in 0..20 {
        // One right password in between does not make the others forgotten.
        if number == 10 {
            scene.people.sign_in("ada@example.com", PASSWORD, address(1)).await.unwrap();
        }
        let error = scene.fails(&format!("{number}@example.com"), address(number)).await;
        assert!(matches!(error, SignInError::Wrong));
    }
    assert!(matches!(scene.fails("more@example.com", address(77)).await, SignInError::TooMany { .. }));
    let elsewhere = Some("2001:db8:0:1::1".parse().unwrap());
    assert!(matches!(scene.fails("more@example.com", elsewhere).await, SignInError::Wrong));
}

#[tokio::test]
async fn many_at_once_get_no_further_than_as_many_in_a_row() {
    let scene = Scene::new().await;
    scene.join("ada@example.com", MemberRole::Owner).await;
    let tries = (0..30).map(|_| scene.people.sign_in("ada@example.com", "another password", None));
    let told = futures::future::join_all(tries).await;
    let wrong = told.iter().filter(|told| matches!(told, Err(SignInError::Wrong))).count();
    assert_eq!(wrong, 5);
    assert_eq!(told.iter().filter(|told| matches!(told, Err(SignInError::TooMany { .. }))).count(), 25);
}

#[tokio::test]
async fn a_new_password_closes_the_other_sessions() {
    let scene = Scene::new().await;
    let people = &scene.people;
    let here = scene.join("ada@example.com", MemberRole::Owner).await;
    let elsewhere = people.sign_in("ada@example.com", PASSWORD, None).await.unwrap();
    let session = scene.session(&here).await.unwrap();
    let wrong = people.change_password(&session, "another password", "a new password").await;
    assert!(matches!(wrong, Err(NewPasswordError::Wrong)));
    let short = people.change_password(&session, PASSWORD, "short").await;
    assert!(matches!(short, Err(NewPasswordError::Password(PasswordError::TooShort))));
    assert!(scene.session(&elsewhere).await.is_some());

    people.change_password(&session, PASSWORD, "a new password").await.unwrap();
    assert!(scene.session(&here).await.is_some());
    assert_eq!(scene.session(&elsewhere).await, None);
    assert!(matches!(people.sign_in("ada@example.com", PASSWORD, None).await, Err(SignInError::Wrong)));
    people.sign_in("ada@example.com", "a new password", None).await.unwrap();
    for _ in 0..5 {
        people.change_password(&session, PASSWORD, "a third password").await.unwrap_err();
    }
    let held = people.change_password(&session, "a new password", "a third password").await;
    assert!(matches!(held, Err(NewPasswordError::TooMany { .. })), "a stolen session does not guess either");
}

#[tokio::test]
async fn a_forgotten_password_is_mended_by_a_link() {
    let scene = Scene::new().await;
    let people = &scene.people;
    let before = scene.join("ada@example.com", MemberRole::Owner).await;
    let ada = scene.session(&before).await.unwrap().user;
    let link = people.invite(scene.account, Some("Ada@example.com"), MemberRole::Member).await.unwrap();
    let other = people.accept(link.as_str(), "eve@example.com", "a new password").await;
    assert!(matches!(other, Err(AcceptError::OtherEmail)));
    let token = people.accept(link.as_str(), "ada@example.com", "a new password").await.unwrap();
    let session = scene.session(&token).await.unwrap();
    assert_eq!((session.user, session.memberships[0].role), (ada, MemberRole::Owner), "she stays what she was");
    assert_eq!(scene.session(&before).await, None);
    people.sign_in("ada@example.com", "a new password", None).await.unwrap();

    let for_anybody = people.invite(scene.account, None, MemberRole::Owner).await.unwrap();
    let taken = people.accept(for_anybody.as_str(), "ada@example.com", "a third password").await;
    assert!(matches!(taken, Err(AcceptError::Refused(_))), "a link for anybody gives nobody's account away");
}

#[tokio::test]
async fn members_come_and_go() {
    let scene = Scene::new().await;
    let (people, account) = (&scene.people, scene.account);
    let ada = scene.session(&scene.join("ada@example.com", MemberRole::Owner).await).await.unwrap().user;
    scene.wait(minutes(1));
    let token = scene.join("bob@example.com", MemberRole::Member).await;
    let bob = scene.session(&token).await.unwrap().user;
    let members = people.members(account).await.unwrap();
    let told: Vec<_> = members.iter().map(|member| (member.email.as_str(), member.role)).collect();
    assert_eq!(told, [("ada@example.com", MemberRole::Owner), ("bob@example.com", MemberRole::Member)]);
    assert_eq!(people.role_of(account, " BOB@example.com").await.unwrap(), Some(MemberRole::Member));

    assert!(matches!(people.remove(account, ada).await, Err(MemberError::Refused(_))));
    assert!(matches!(people.change_role(account, ada, MemberRole::Member).await, Err(MemberError::Refused(_))));
    people.change_role(account, bob, MemberRole::Owner).await.unwrap();
    people.change_role(account, ada, MemberRole::Member).await.unwrap();
    people.remove(account, ada).await.unwrap();
    assert!(matches!(people.remove(account, ada).await, Err(MemberError::NotFound)));
    assert!(matches!(people.sign_in("ada@example.com", PASSWORD, None).await, Err(SignInError::Wrong)));

    people.invite(account, Some("eve@example.com"), MemberRole::Member).await.unwrap();
    let token = people.invite(account, Some("eve@example.com"), MemberRole::Owner).await.unwrap();
    let open = people.invitations(account).await.unwrap();
    assert_eq!(open.len(), 1, "the newer takes the place of the older");
    people.withdraw(account, open[0].id).await.unwrap();
    assert!(matches!(people.withdraw(account, open[0].id).await, Err(MemberError::NotFound)));
    assert!(matches!(people.accept(token.as_str(), "eve@example.com", PASSWORD).await, Err(AcceptError::Gone)));
    assert!(matches!(
        people.invite(account, Some("eve"), MemberRole::Owner).await,
        Err(InviteError::Email(EmailError::Malformed))
    ));
}

#[test]
fn errors_are_for_people() {
    let held = SignInError::TooMany { retry_after: Duration::from_millis(59_001) };
    assert_eq!(held.to_string(), "too many failed attempts; try again in 1m");
}
