//! What the first start on an empty store makes: the built-in account, a key and a secret for each environment, and the link by which its owner
//! comes into the dashboard.

use datasonar_store::{
    Account, AccountId, Environment, KeyId, MemberRole, NewKey, NewSecret, Scope, SecretId, Setup, StoreError,
};

use super::StartError;
use crate::{
    app::App,
    crypto::{CryptoError, api_key_prefix, new_api_key, new_webhook_secret, sha256},
    people,
};

/// The keys and the link that were made, to be shown this once.
#[derive(Clone, Debug)]
pub struct FirstKeys {
    /// For real work.
    pub production: String,
    /// For trials.
    pub sandbox: String,
    /// Where the owner chooses an e-mail address and a password.
    pub sign_in_link: String,
}

/// Fills the store if it is empty. Answers the keys and the link if it was.
pub(super) async fn set_up(app: &App) -> Result<Option<FirstKeys>, StoreError> {
    let account = Account {
        id: AccountId(app.ids.uuid()),
        email: "owner@localhost".to_owned(),
        plan: "self-hosted".to_owned(),
        created_at: app.clock.now(),
        is_built_in: true,
    };
    let environments = [Environment::Production, Environment::Sandbox];
    let texts = environments.map(|environment| new_api_key(&app.ids, environment));
    let scope = |environment| Scope { account: account.id, environment };
    let keys = environments.iter().zip(&texts).map(|(&environment, text)| NewKey {
        id: KeyId(app.ids.uuid()),
        scope: scope(environment),
        hash: sha256(text.as_bytes()),
        prefix: api_key_prefix(text),
        name: "first start".to_owned(),
        created_at: app.clock.now(),
    });
    let secrets = environments.iter().map(|&environment| {
        let id = SecretId(app.ids.uuid());
        let sealed = app.sealer.seal(scope(environment), id, &new_webhook_secret(&app.ids));
        NewSecret { id, scope: scope(environment), sealed, created_at: app.clock.now() }
    });
    let (token, link) = people::new_link(&app.ids, app.clock.now(), account.id, None, MemberRole::Owner);
    let (keys, secrets) = (keys.collect(), secrets.collect());
    let setup = Setup { keys, secrets, links: vec![link], account: account.clone() };
    let was_empty = app.store.set_up(setup).await?;
    let [production, sandbox] = texts;
    Ok(was_empty.then_some(FirstKeys { production, sandbox, sign_in_link: token.link(&app.public_url) }))
}

/// Checks that this process has the key that the store's secrets are sealed with: with another it could sign nothing, and the processes
/// beside it could not open what it seals.
pub(super) async fn check_key(app: &App) -> Result<(), StartError> {
    let account = app.store.account(None).await?.id;
    for environment in [Environment::Production, Environment::Sandbox] {
        let scope = Scope { account, environment };
        if let Some(newest) = app.store.secrets(scope, app.clock.now()).await?.first() {
            match app.sealer.open(scope, newest.id, &newest.sealed) {
                Err(error @ CryptoError::OtherKey { .. }) => return Err(StartError::OtherKey(error)),
                Err(error) => {
                    tracing::error!(%error, secret = %newest.id, "a webhook secret cannot be used; rotate it")
                }
                Ok(_) => {}
            }
        }
    }
    Ok(())
}
