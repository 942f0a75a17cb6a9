//! The secrets that sign now: given, or asked of the API or of the store whenever they are needed, since they may be rotated
//! meanwhile.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use datasonar_store::{Environment, Scope};
use http::Method;
use jiff::Timestamp;
use serde::Deserialize;
use tokio::{sync::Mutex, time::Instant};

use crate::{
    cli::client::Api,
    clock::{Clock, Ids, SystemClock},
    config::Settings,
    crypto::Sealer,
    serve::Rows,
};

/// How long they are kept before they are asked for again.
const KEEP: Duration = Duration::from_secs(5);
/// How long asking may take.
const WITHIN: Duration = Duration::from_secs(30);

/// Where secrets come from.
pub(super) enum Source {
    /// The command line.
    Given(Vec<String>),
    /// The API: those of the key's environment.
    Api(Api),
    /// The embedded store: those of both environments.
    Store(Box<Settings>),
}

/// The secrets that sign now.
pub(super) struct Secrets {
    source: Source,
    kept: Mutex<Option<(Instant, Arc<[String]>)>>,
}

impl Secrets {
    /// Asks for nothing yet.
    pub(super) fn new(source: Source) -> Self {
        Self { source, kept: Mutex::new(None) }
    }

    /// The secrets, newest first; at most five seconds old.
    ///
    /// # Errors
    /// When they cannot be asked for.
    pub(super) async fn now(&self) -> Result<Arc<[String]>> {
        // Held while asking, so that many who come at once ask once.
        let mut kept = self.kept.lock().await;
        if let Some((at, secrets)) = &*kept
            && at.elapsed() < KEEP
        {
            return Ok(secrets.clone());
        }
        let asked = async {
            match &self.source {
                Source::Given(secrets) => Ok(secrets.clone()),
                Source::Api(api) => of_api(api).await,
                Source::Store(settings) => of_store(settings).await,
            }
        };
        let secrets = tokio::time::timeout(WITHIN, asked)
            .await
            .with_context(|| format!("the webhook secrets were not there within {WITHIN:?}"))??;
        let secrets: Arc<[String]> = secrets.into();
        *kept = Some((Instant::now(), secrets.clone()));
        Ok(secrets)
    }
}

#[derive(Deserialize)]
struct List {
    data: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    secret: String,
    expires_at: Option<Timestamp>,
}

async fn of_api(api: &Api) -> Result<Vec<String>> {
    let list = api.json(Method::GET, "/v1/webhooks/secrets", None).await?;
    let list: List = serde_json::from_value(list).context("the list of webhook secrets is not what was expected")?;
    let now = SystemClock.now();
    let signing = list.data.into_iter().filter(|one| one.expires_at.is_none_or(|end| end > now));
    Ok(signing.map(|one| one.secret).collect())
}

async fn of_store(settings: &Settings) -> Result<Vec<String>> {
    let rows = Rows::open_beside(settings).await?;
    let store = rows.store();
    let clock = Arc::new(SystemClock);
    let sealer = Sealer::new(&settings.encryption_key, Ids::random(clock.clone()))?;
    let account = store.account(None).await?.id;
    let mut texts = Vec::new();
    for environment in [Environment::Production, Environment::Sandbox] {
        for secret in store.secrets(Scope { account, environment }, clock.now()).await? {
            texts.push(sealer.open(secret.scope, secret.id, &secret.sealed)?);
        }
    }
    rows.close().await;
    Ok(texts)
}
