//! The secrets of a scope, as people read them, and their rotation.

use std::{sync::Arc, time::Duration};

use datasonar_store::{NewSecret, Scope, SecretId, Store, StoreError};
use jiff::Timestamp;

use crate::{
    clock::{Clock, Ids},
    crypto::{CryptoError, Sealer, new_webhook_secret},
};

/// How long a secret goes on signing beside its successor.
pub const OVERLAP: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads and rotates secrets.
#[derive(Clone)]
pub struct Secrets {
    /// The rows.
    pub store: Arc<dyn Store>,
    /// Opens and seals them.
    pub sealer: Sealer,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Ids and chance.
    pub ids: Ids,
}

/// A secret that signs.
#[derive(Clone)]
pub struct SigningSecret {
    /// Its id.
    pub id: SecretId,
    /// As it is to be used for verifying. Not to be logged.
    pub text: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops signing; `None` for the newest.
    pub expires_at: Option<Timestamp>,
}

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// The rows could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// One does not open.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

impl Secrets {
    /// Lists the secrets of a scope that sign now, newest first.
    ///
    /// # Errors
    /// When the store fails, or one was sealed with another key.
    pub async fn list(&self, scope: Scope) -> Result<Vec<SigningSecret>, SecretsError> {
        let secrets = self.store.secrets(scope, self.clock.now()).await?;
        let open = |secret: datasonar_store::Secret| {
            let text = self.sealer.open(secret.scope, secret.id, &secret.sealed)?;
            Ok(SigningSecret { id: secret.id, text, created_at: secret.created_at, expires_at: secret.expires_at })
        };
        secrets.into_iter().map(open).collect()
    }

    /// Makes a new secret and answers it: when this answers, it signs. The one before goes on signing beside it for [`OVERLAP`].
    ///
    /// # Errors
    /// When the store fails.
    pub async fn rotate(&self, scope: Scope) -> Result<SigningSecret, SecretsError> {
        let (id, text, created_at) = (SecretId(self.ids.uuid()), new_webhook_secret(&self.ids), self.clock.now());
        let sealed = self.sealer.seal(scope, id, &text);
        self.store.rotate_secret(NewSecret { id, scope, sealed, created_at }, OVERLAP).await?;
        Ok(SigningSecret { id, text, created_at, expires_at: None })
    }
}
