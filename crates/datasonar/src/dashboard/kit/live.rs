//! Telling a page that is looked at what has changed: by server-sent events, from what the rows say, asked again and again.
//!
//! An event brings a part of the page drawn anew, or says that the page has changed; the script then asks for it once more and takes the parts that
//! are marked. What a page had seen is in the address of its events, so that nothing is missed between drawing it and listening.
//!
//! A stream ends within about a second of its session: by signing out anywhere, a new password, or the member's removal. It ends
//! after some minutes whatever happens: the browser opens another, and is asked again who it is.

use std::{convert::Infallible, time::Duration};

use axum::response::{
    IntoResponse, Response,
    sse::{Event, KeepAlive, Sse},
};
use datasonar_store::{AccountId, StoreError};
use futures::{StreamExt, stream};
use serde::Deserialize;
use serde_json::json;

use super::Viewer;
use crate::app::App;

/// How often the rows are asked.
const EVERY: Duration = Duration::from_secs(1);
/// How long a stream goes on at most.
const LONGEST: Duration = Duration::from_secs(5 * 60);

/// What the address of a page's events says.
#[derive(Debug, Deserialize)]
pub(in crate::dashboard) struct LiveQuery {
    /// What the page had seen when it was drawn.
    pub(in crate::dashboard) seen: Option<String>,
}

/// What there is to tell.
#[derive(Debug)]
pub(in crate::dashboard) enum News {
    /// This part of the page looks so now.
    Part {
        id: &'static str,
        html: String,
    },
    /// The page has changed. The text says what has, for those who do not see it.
    Changed(String),
    Nothing,
    /// There will be nothing more to tell.
    Over,
}

/// Tells whether a session is open and its user still a member of the account. Other processes may have ended it.
async fn may_look(app: &App, (token, account): &(String, AccountId)) -> Result<bool, StoreError> {
    let session = app.people.session(token).await?;
    Ok(session.is_some_and(|session| session.memberships.iter().any(|of| of.account == *account)))
}

/// Answers with events until nothing more is to be told. `look` is given what the page has seen, and may change it.
pub(in crate::dashboard) fn live<F>(
    app: &App,
    viewer: &Viewer,
    seen: String,
    look: impl Fn(App, String) -> F + Send + Sync + 'static,
) -> Response
where
    F: Future<Output = Result<(News, String), StoreError>> + Send + 'static,
{
    let stop = app.stopping.clone();
    let watch = (viewer.token().to_owned(), viewer.scope.account);
    let events = stream::unfold(Some((app.clone(), watch, seen, look)), |state| async move {
        let (app, watch, seen, look) = state?;
        tokio::time::sleep(EVERY).await;
        // A store that is away for a while is asked again; what is gone has nothing more to tell.
        let told = match may_look(&app, &watch).await {
            Ok(true) => look(app.clone(), seen.clone()).await,
            Ok(false) => Ok((News::Over, seen.clone())),
            Err(error) => Err(error),
        };
        let (news, seen) = match told {
            Ok(told) => told,
            Err(error) if error.is_transient() => (News::Nothing, seen),
            Err(_) => (News::Over, seen),
        };
        let event = match news {
            News::Part { id, html } => {
                Event::default().event("part").json_data(json!({"id": id, "html": html})).unwrap_or_default()
            }
            News::Changed(what) => Event::default().event("fresh").data(what),
            News::Nothing => Event::default().comment("nothing"),
            News::Over => return Some((Ok::<_, Infallible>(Event::default().event("end").data("over")), None)),
        };
        Some((Ok(event), Some((app, watch, seen, look))))
    });
    let events = events.take_until(stop.cancelled_owned()).take_until(tokio::time::sleep(LONGEST));
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}
