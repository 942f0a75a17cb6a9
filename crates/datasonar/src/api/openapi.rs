//! The API's description, made from the handlers' own types.

use std::sync::OnceLock;

use axum::Router;
use utoipa::{
    Modify, OpenApi,
    openapi::{
        self, Content, Ref, Response,
        security::{Http, HttpAuthScheme, SecurityScheme},
    },
};
use utoipa_axum::router::OpenApiRouter;

use super::{
    deliveries, health, jobs, listen, map, me,
    problem::{PROBLEM_JSON, Problem},
    replays, schedules, scrape, webhooks,
};
use crate::app::App;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Datasonar",
        description = "Fire jobs, get a clean callback: queue URLs, receive one signed POST with every result in order.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    tags(
        (name = "Jobs", description = "Queue work and walk away"),
        (name = "Scrape", description = "Scrape and wait"),
        (name = "Schedules", description = "Jobs that start by themselves"),
        (name = "Deliveries", description = "What was sent to endpoints, and sending it again"),
        (name = "Webhooks", description = "The secrets that sign"),
        (name = "Account", description = "Who is calling"),
        (name = "Operation", description = "For operators; no key needed"),
    ),
    components(schemas(Problem)),
    security(("key" = [])),
    modifiers(&Common),
)]
struct Head;

/// What all operations share: the key, and the problems that may come instead of an answer.
struct Common;

impl Modify for Common {
    fn modify(&self, document: &mut openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let mut bearer = Http::new(HttpAuthScheme::Bearer);
        bearer.description = Some("An API key: `osk_…`".to_owned());
        components.add_security_scheme("key", SecurityScheme::Http(bearer));
    }
}

/// All routes and their description. Put together once: a process that has many servers, as tests and the simulation do,
/// has them share it.
pub(super) fn assembled() -> &'static (Router<App>, openapi::OpenApi) {
    static ASSEMBLED: OnceLock<(Router<App>, openapi::OpenApi)> = OnceLock::new();
    ASSEMBLED.get_or_init(assemble)
}

fn assemble() -> (Router<App>, openapi::OpenApi) {
    let (router, mut document) = OpenApiRouter::with_openapi(Head::openapi())
        .merge(scrape::routes())
        .merge(jobs::routes())
        .merge(map::routes())
        .merge(deliveries::routes())
        .merge(replays::routes())
        .merge(schedules::routes())
        .merge(listen::routes())
        .merge(webhooks::routes())
        .merge(me::routes())
        .merge(health::routes())
        .split_for_parts();
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post, &mut item.patch, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            let problem = Content::new(Some(Ref::from_schema_name("Problem")));
            let mut any = Response::new("What is wrong, as problem details (RFC 9457)");
            any.content.insert(PROBLEM_JSON.to_owned(), problem.into());
            operation.responses.responses.entry("default".to_owned()).or_insert_with(|| any.into());
        }
    }
    (router, document)
}

/// The description.
pub fn document() -> &'static openapi::OpenApi {
    &assembled().1
}
