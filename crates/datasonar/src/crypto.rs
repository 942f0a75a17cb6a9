//! Keys and secrets: how they are made, what is stored of them.
//!
//! API keys are 192 random bits and are stored as SHA-256: there is nothing to guess, so that no slow hash is needed.
//! Webhook secrets must be readable to sign with, and the headers of stored jobs to be sent: both are encrypted with
//! XChaCha20-Poly1305 under the operator's key. The account, the environment and the row's own id are bound in, so that a row
//! moved elsewhere does not open.

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};
use chacha20poly1305::{
    XChaCha20Poly1305, XNonce,
    aead::{Aead, KeyInit, Payload},
};
use datasonar_store::{Environment, Scope, SecretId};
use ring::{digest, hmac};

use crate::clock::Ids;

/// SHA-256 of some bytes.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest::digest(&digest::SHA256, bytes).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// Makes an API key: `osk_` or `osk_sandbox_` and 48 hex digits.
pub fn new_api_key(ids: &Ids, environment: Environment) -> String {
    let prefix = match environment {
        Environment::Production => "osk_",
        Environment::Sandbox => "osk_sandbox_",
    };
    format!("{prefix}{}", hex::encode(ids.bytes::<24>()))
}

/// The first characters of an API key: enough to recognise it, far too few to guess it.
pub fn api_key_prefix(key: &str) -> String {
    let digits = key.rfind('_').map_or(0, |at| at + 1);
    key.chars().take(digits + 6).collect()
}

/// Makes a webhook secret: `whsec_` and 32 random bytes in Base64, as Standard Webhooks has it.
pub fn new_webhook_secret(ids: &Ids) -> String {
    format!("whsec_{}", BASE64_STANDARD.encode(ids.bytes::<32>()))
}

/// Why something did not open.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CryptoError {
    /// The encryption key is not what it must be.
    #[error("an encryption key is 64 hex digits (32 bytes)")]
    Key,
    /// Encrypted with another key, or damaged.
    #[error("the secret was encrypted with another ENCRYPTION_KEY (key id {found}, this one is {own})")]
    OtherKey {
        /// The id of the key it names.
        found: String,
        /// The id of the key at hand.
        own: String,
    },
    /// Damaged, or moved from another row.
    #[error("the secret in the store is damaged")]
    Damaged,
}

/// Encrypts webhook secrets and the credentials of jobs at rest.
#[derive(Clone)]
pub struct Sealer {
    cipher: XChaCha20Poly1305,
    key_id: [u8; KEY_ID],
    mac: hmac::Key,
    ids: Ids,
}

/// The bytes that name the key in front of what it encrypted, so that a later key can stand beside it.
const KEY_ID: usize = 4;
const NONCE: usize = 24;

impl Sealer {
    /// Uses the operator's key: 64 hex digits.
    ///
    /// # Errors
    /// [`CryptoError::Key`] when it is not.
    pub fn new(key: &str, ids: Ids) -> Result<Self, CryptoError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(key.trim(), &mut bytes).map_err(|_| CryptoError::Key)?;
        let key_id = sha256(&bytes)[..KEY_ID].try_into().expect("SHA-256 is longer than a key id");
        let mac = hmac::Key::new(hmac::HMAC_SHA256, &sha256(&[&b"datasonar tags "[..], &bytes].concat()));
        Ok(Self { cipher: XChaCha20Poly1305::new(&bytes.into()), key_id, mac, ids })
    }

    /// Returns a tag by which a text that was given away is known again.
    pub fn tag(&self, text: &[u8]) -> [u8; 32] {
        hmac::sign(&self.mac, text).as_ref().try_into().expect("SHA-256 has 32 bytes")
    }

    /// Tells whether a tag is that of a text, in constant time.
    pub fn knows(&self, text: &[u8], tag: &[u8]) -> bool {
        hmac::verify(&self.mac, text, tag).is_ok()
    }

    /// Encrypts a webhook secret for its row.
    pub fn seal(&self, scope: Scope, id: SecretId, secret: &str) -> Vec<u8> {
        self.seal_for(scope, id.0.as_bytes(), secret)
    }

    /// Decrypts a webhook secret from its row.
    ///
    /// # Errors
    /// When it was encrypted with another key or for another row, or is damaged.
    pub fn open(&self, scope: Scope, id: SecretId, sealed: &[u8]) -> Result<String, CryptoError> {
        self.open_for(scope, id.0.as_bytes(), sealed)
    }

    /// Encrypts a text. `row` names the row and member that keep it; no other opens it.
    pub fn seal_for(&self, scope: Scope, row: &[u8], text: &str) -> Vec<u8> {
        let nonce: [u8; NONCE] = self.ids.bytes();
        let sealed = self
            .cipher
            .encrypt(&XNonce::from(nonce), Payload { msg: text.as_bytes(), aad: &bound(scope, row) })
            .expect("a short text can be encrypted");
        [&self.key_id[..], &nonce[..], &sealed[..]].concat()
    }

    /// Decrypts a text that [`Self::seal_for`] encrypted for the same row.
    ///
    /// # Errors
    /// When it was encrypted with another key or for another row, or is damaged.
    pub fn open_for(&self, scope: Scope, row: &[u8], sealed: &[u8]) -> Result<String, CryptoError> {
        let (key_id, rest) = sealed.split_at_checked(KEY_ID).ok_or(CryptoError::Damaged)?;
        if key_id != self.key_id {
            return Err(CryptoError::OtherKey { found: hex::encode(key_id), own: hex::encode(self.key_id) });
        }
        let (nonce, text) = rest.split_at_checked(NONCE).ok_or(CryptoError::Damaged)?;
        let nonce: [u8; NONCE] = nonce.try_into().expect("it was split there");
        let text = self
            .cipher
            .decrypt(&XNonce::from(nonce), Payload { msg: text, aad: &bound(scope, row) })
            .map_err(|_| CryptoError::Damaged)?;
        String::from_utf8(text).map_err(|_| CryptoError::Damaged)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealer(key id {})", hex::encode(self.key_id))
    }
}

/// What a sealed text is bound to.
fn bound(scope: Scope, row: &[u8]) -> Vec<u8> {
    [scope.account.0.as_bytes(), scope.environment.as_str().as_bytes(), row].concat()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datasonar_store::AccountId;
    use uuid::Uuid;

    use super::*;
    use crate::clock::SystemClock;

    fn scope(environment: Environment) -> Scope {
        Scope { account: AccountId(Uuid::nil()), environment }
    }

    #[test]
    fn keys_look_as_the_contract_says() {
        let ids = Ids::seeded(Arc::new(SystemClock), 1);
        let key = new_api_key(&ids, Environment::Production);
        assert!(key.starts_with("osk_") && key.len() == 4 + 48, "{key}");
        let key = new_api_key(&ids, Environment::Sandbox);
        assert!(key.starts_with("osk_sandbox_") && key.len() == 12 + 48, "{key}");
        assert_eq!(api_key_prefix(&key).len(), 12 + 6);
    }

    #[test]
    fn a_sealed_secret_opens_only_in_its_own_row() {
        let ids = Ids::seeded(Arc::new(SystemClock), 1);
        let sealer = Sealer::new(&"ab".repeat(32), ids.clone()).unwrap();
        let id = SecretId(ids.uuid());
        let secret = new_webhook_secret(&ids);
        let mut sealed = sealer.seal(scope(Environment::Production), id, &secret);
        assert_eq!(sealer.open(scope(Environment::Production), id, &sealed).unwrap(), secret);
        assert_eq!(sealer.open(scope(Environment::Sandbox), id, &sealed), Err(CryptoError::Damaged));
        assert_eq!(
            sealer.open(scope(Environment::Production), SecretId(ids.uuid()), &sealed),
            Err(CryptoError::Damaged)
        );
        let other = Sealer::new(&"cd".repeat(32), ids).unwrap();
        assert!(matches!(other.open(scope(Environment::Production), id, &sealed), Err(CryptoError::OtherKey { .. })));
        *sealed.last_mut().unwrap() ^= 1;
        assert_eq!(sealer.open(scope(Environment::Production), id, &sealed), Err(CryptoError::Damaged));
        assert_eq!(sealer.open(scope(Environment::Production), id, &[1, 2]), Err(CryptoError::Damaged));
    }
}
