//! Settings → Members: who may sign in, inviting others, and what each may do.

use askama::Template;
use axum::{
    Router,
    extract::State,
    response::Response,
    routing::{get, post},
};
use datasonar_store::{Link, LinkId, Member, MemberRole, UserId};
use serde::Deserialize;

use super::{Tab, tabs};
use crate::{
    app::App,
    dashboard::kit::{Chrome, Failure, Form, Viewer, page, redirect_with},
    people::{InviteError, MemberError},
};

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/settings/members", get(show).post(invite))
        .route("/settings/members/role", post(change_role))
        .route("/settings/members/remove", post(remove))
        .route("/settings/members/withdraw", post(withdraw))
}

#[derive(Template)]
#[template(path = "settings_members.html")]
struct MembersPage {
    chrome: Chrome,
    tabs: Vec<Tab>,
    members: Vec<Member>,
    invitations: Vec<Link>,
    /// The address of the link that was made just now.
    made: Option<(String, String)>,
}

impl MembersPage {
    fn is_me(&self, member: &Member) -> bool {
        member.user == self.chrome.viewer.session.user
    }
}

async fn show(State(app): State<App>, viewer: Viewer) -> Result<Response, Failure> {
    draw(&app, &viewer, None).await
}

async fn draw(app: &App, viewer: &Viewer, made: Option<(String, String)>) -> Result<Response, Failure> {
    let members = app.people.members(viewer.scope.account).await?;
    let invitations = app.people.invitations(viewer.scope.account).await?;
    let (chrome, tabs) = (super::chrome(viewer, "Members"), tabs(viewer, "Members"));
    page(&MembersPage { chrome, tabs, members, invitations, made })
}

impl From<MemberError> for Failure {
    fn from(error: MemberError) -> Self {
        match error {
            MemberError::NotFound => Self::NotFound("member"),
            MemberError::Store(error) => error.into(),
            error => Self::conflict(error.to_string()),
        }
    }
}

#[derive(Deserialize)]
struct Invite {
    email: Option<String>,
    role: MemberRole,
}

/// Makes a link for somebody and shows it: as the answer to the form, so that it is in no address, no history and no cache.
async fn invite(State(app): State<App>, Form { viewer, fields }: Form<Invite>) -> Result<Response, Failure> {
    viewer.owner()?;
    let email = fields.email.unwrap_or_default();
    match app.people.invite(viewer.scope.account, Some(&email), fields.role).await {
        Ok(link) => draw(&app, &viewer, Some((email, link.link(&app.public_url)))).await,
        Err(InviteError::Store(error)) => Err(error.into()),
        Err(error) => Err(Failure::invalid(error.to_string())),
    }
}

#[derive(Deserialize)]
struct Which {
    user: String,
    role: Option<MemberRole>,
}

impl Which {
    fn id(&self) -> Result<UserId, Failure> {
        self.user.parse().map_err(|_| Failure::NotFound("member"))
    }
}

async fn change_role(State(app): State<App>, Form { viewer, fields }: Form<Which>) -> Result<Response, Failure> {
    viewer.owner()?;
    let role = fields.role.unwrap_or(MemberRole::Member);
    app.people.change_role(viewer.scope.account, fields.id()?, role).await?;
    Ok(redirect_with(
        &viewer.path("/settings/members"),
        &format!("They are an {role} now.").replace("an member", "a member"),
    ))
}

async fn remove(State(app): State<App>, Form { viewer, fields }: Form<Which>) -> Result<Response, Failure> {
    viewer.owner()?;
    app.people.remove(viewer.scope.account, fields.id()?).await?;
    Ok(redirect_with(
        &viewer.path("/settings/members"),
        "They do not belong to this account any more, and are signed out.",
    ))
}

#[derive(Deserialize)]
struct Withdraw {
    link: String,
}

async fn withdraw(State(app): State<App>, Form { viewer, fields }: Form<Withdraw>) -> Result<Response, Failure> {
    viewer.owner()?;
    let link: LinkId = fields.link.parse().map_err(|_| Failure::NotFound("invitation"))?;
    app.people.withdraw(viewer.scope.account, link).await?;
    Ok(redirect_with(&viewer.path("/settings/members"), "The invitation is taken back: its link is good for nothing."))
}
