//! People who may use the dashboard: the first start's link, `datasonar members`, and what the janitor leaves of them.

use std::path::Path;

use datasonar::{
    cli::demo::child::Child,
    people::{AcceptError, LINK_PATH, SignInError},
};
use datasonar_store::{
    AccountId, MemberRole, People,
    sqlite::{SqliteStore, Threading},
};
use jiff::SignedDuration;
use serde_json::{Value, json};
use tokio::process::Command;

use super::server::{Server, Setup, clock, until};

const PASSWORD: &str = "correct horse battery";

async fn members(args: &[&str], data_dir: &Path) -> (bool, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_datasonar"));
    command.arg("members").args(args).arg("--data-dir").arg(data_dir).kill_on_drop(true);
    let output = command.output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

fn token(link: &str) -> &str {
    link.trim().split_once(LINK_PATH).unwrap().1
}

async fn account(server: &Server) -> AccountId {
    server.running.app.store.account(None).await.unwrap().id
}

#[tokio::test]
async fn the_first_start_prints_a_link_that_lets_the_owner_in() {
    let folder = tempfile::tempdir().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_datasonar"));
    let mut child = Child::start_program(program, folder.path(), &[]).await.unwrap();
    let link = child.sign_in_link.clone().unwrap();
    assert!(link.starts_with(&format!("{}sign-in/link/", child.url())), "{link}");
    child.stop().await.unwrap();
    let again = Child::start_program(program, folder.path(), &[]).await.unwrap();
    assert_eq!((&again.keys, &again.sign_in_link), (&None, &None), "once");
    drop(again);

    let server = Setup::new().start().await;
    let people = &server.running.app.people;
    let first = server.running.first_keys.clone().unwrap().sign_in_link;
    assert!(first.starts_with(&format!("{}{LINK_PATH}", server.url)), "{first}");
    let session = people.accept(token(&first), "Ada@example.com", PASSWORD).await.unwrap();
    let session = people.session(session.as_str()).await.unwrap().unwrap();
    assert_eq!(session.memberships[0].account, account(&server).await);
    assert_eq!(session.memberships[0].role, MemberRole::Owner);
    let again = people.accept(token(&first), "eve@example.com", PASSWORD).await;
    assert!(matches!(again, Err(AcceptError::Gone)));
    server.finish().await;
}

#[tokio::test]
async fn the_command_line_makes_links_and_lists_members() {
    let server = Setup::new().start().await;
    let (data, people) = (server.directory().join("data"), &server.running.app.people);
    let (made, link, told) = members(&["link"], &data).await;
    assert!(made && link.lines().count() == 1 && told.contains("once, for 24 hours"), "{link}{told}");
    assert!(link.starts_with("http://127.0.0.1:8080/sign-in/link/"), "{link}");
    let old = people.accept(token(&link), "ada@example.com", PASSWORD).await.unwrap();

    // A forgotten password. The owner stays one.
    let (_, link, _) = members(&["link", "--email", "Ada@Example.com"], &data).await;
    people.accept(token(&link), "ada@example.com", "another password").await.unwrap();
    assert_eq!(people.session(old.as_str()).await.unwrap(), None);
    let forgotten = people.sign_in("ada@example.com", PASSWORD, None).await;
    assert!(matches!(forgotten, Err(SignInError::Wrong)));
    people.sign_in("ada@example.com", "another password", None).await.unwrap();

    let (_, link, _) = members(&["link", "--email", "bob@example.com", "--role", "member"], &data).await;
    people.accept(token(&link), "bob@example.com", PASSWORD).await.unwrap();
    members(&["link", "--email", "bob@example.com"], &data).await;
    let (_, listed, _) = members(&["list", "--json"], &data).await;
    let lines: Vec<Value> = listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> = lines.iter().map(|line| (line["email"].clone(), line["role"].clone())).collect();
    let ada = (json!("ada@example.com"), json!("owner"));
    let bob = (json!("bob@example.com"), json!("member"));
    // The last two are links: bob's new password, with the role that he has, and the first one, which nobody used.
    assert_eq!(told, [ada, bob.clone(), bob, (Value::Null, json!("owner"))]);
    assert!(lines[1]["id"].is_string() && lines[2]["link_id"].is_string());
    let (_, listed, _) = members(&["list"], &data).await;
    assert!(listed.lines().count() == 4 && !listed.contains(token(&link)), "{listed}");

    let (made, out, told) = members(&["link", "--email", "bob"], &data).await;
    assert!(!made && out.is_empty() && told.contains("this is no e-mail address"), "{told}");
    let (made, _, told) = members(&["link", "--role", "king"], &data).await;
    assert!(!made && told.contains("neither `owner` nor `member`"), "{told}");
    server.finish().await;
}

#[tokio::test]
async fn the_janitor_deletes_sessions_and_links_that_are_past() {
    let clock = clock();
    let server = Setup::new().clock(&clock).start().await;
    let (people, account) = (&server.running.app.people, account(&server).await);
    let link = people.invite(account, Some("ada@example.com"), MemberRole::Owner).await.unwrap();
    let session = people.accept(link.as_str(), "ada@example.com", PASSWORD).await.unwrap();
    let user = people.session(session.as_str()).await.unwrap().unwrap().user;
    let rows = SqliteStore::open(&server.directory().join("data/datasonar.db"), Threading::Pool).await.unwrap();
    assert_eq!(rows.sessions(user).await.unwrap().len(), 1);
    assert_eq!(rows.invitations(account, jiff::Timestamp::MIN).await.unwrap().len(), 1, "the first start's");
    clock.advance(SignedDuration::from_hours(24));
    until("sessions and links to go", async || {
        let gone = rows.sessions(user).await.unwrap().is_empty()
            && rows.invitations(account, jiff::Timestamp::MIN).await.unwrap().is_empty();
        gone.then_some(())
    })
    .await;
    assert_eq!(people.members(account).await.unwrap().len(), 1, "the user stays");
    rows.close().await;
    server.finish().await;
}
