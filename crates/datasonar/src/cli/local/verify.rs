//! Verifies signatures as a receiver does, in its own words: what `webhook::sign` signs is not asked how it did it.

use base64::{Engine, prelude::BASE64_STANDARD};
use http::HeaderMap;
use ring::hmac;
use serde::Serialize;

/// What a signature is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::cli) enum Signature {
    /// One of the secrets made it.
    Valid,
    /// None of the secrets made it.
    Invalid,
    /// The header is not there.
    Missing,
    /// There is no secret to verify it with.
    NotVerified,
}

/// What the two signatures of a request are worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(in crate::cli) struct Verdicts {
    /// `X-Datasonar-Signature`.
    #[serde(rename = "x-datasonar-signature")]
    pub(in crate::cli) own: Signature,
    /// `webhook-signature`, with the id and the time that it covers.
    #[serde(rename = "webhook-signature")]
    pub(in crate::cli) standard: Signature,
}

impl Verdicts {
    /// Whether both are valid.
    pub(in crate::cli) fn is_sound(self) -> bool {
        (self.own, self.standard) == (Signature::Valid, Signature::Valid)
    }
}

/// Verifies both signatures of one request while its body arrives.
pub(in crate::cli) struct Verifier {
    /// Of each secret: over the body, and over `id.timestamp.body`.
    contexts: Vec<(hmac::Context, hmac::Context)>,
}

impl Verifier {
    /// Begins. A secret that is none verifies nothing.
    pub(in crate::cli) fn new(secrets: &[String], headers: &HeaderMap) -> Self {
        let prefix = format!("{}.{}.", text(headers, "webhook-id"), text(headers, "webhook-timestamp"));
        let begin = |secret: &String| {
            let decoded = decode(secret)?;
            let own = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()));
            let mut standard = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &decoded));
            standard.update(prefix.as_bytes());
            Some((own, standard))
        };
        Self { contexts: secrets.iter().filter_map(begin).collect() }
    }

    /// Takes the next bytes of the body.
    pub(in crate::cli) fn update(&mut self, bytes: &[u8]) {
        for (own, standard) in &mut self.contexts {
            own.update(bytes);
            standard.update(bytes);
        }
    }

    /// Compares with what the headers say, in constant time: any signature listed may be any secret's.
    pub(in crate::cli) fn finish(self, headers: &HeaderMap) -> Verdicts {
        let (own, standard): (Vec<_>, Vec<_>) =
            self.contexts.into_iter().map(|(own, standard)| (own.sign(), standard.sign())).unzip();
        let hex = |one: &str| hex::decode(one.strip_prefix("sha256=")?).ok();
        let base64 = |one: &str| BASE64_STANDARD.decode(one.strip_prefix("v1,")?).ok();
        Verdicts {
            own: judge(text(headers, "x-datasonar-signature"), ',', hex, &own),
            standard: judge(text(headers, "webhook-signature"), ' ', base64, &standard),
        }
    }
}

/// The bytes that a secret encodes; `None` if it is not `whsec_` and Base64.
pub(in crate::cli) fn decode(secret: &str) -> Option<Vec<u8>> {
    BASE64_STANDARD.decode(secret.strip_prefix("whsec_")?).ok().filter(|bytes| !bytes.is_empty())
}

fn judge(listed: &str, between: char, decode: impl Fn(&str) -> Option<Vec<u8>>, tags: &[hmac::Tag]) -> Signature {
    if listed.is_empty() {
        return Signature::Missing;
    }
    if tags.is_empty() {
        return Signature::NotVerified;
    }
    let given: Vec<Vec<u8>> = listed.split(between).filter_map(decode).collect();
    let is_any = given.iter().any(|given| tags.iter().any(|tag| is_equal(given, tag.as_ref())));
    if is_any { Signature::Valid } else { Signature::Invalid }
}

/// Compares without telling by its time where the difference is: HMACs of both under a key that nobody knows.
fn is_equal(one: &[u8], other: &[u8]) -> bool {
    let Ok(key) = hmac::Key::generate(hmac::HMAC_SHA256, &ring::rand::SystemRandom::new()) else { return false };
    hmac::verify(&key, one, hmac::sign(&key, other).as_ref()).is_ok()
}

/// A header's value; empty when it is missing.
pub(in crate::cli) fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(listed: &[(&'static str, &str)]) -> HeaderMap {
        listed.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn without_a_signature_or_a_secret_nothing_is_claimed() {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned();
        let bare = headers(&[]);
        let missing = Verifier::new(&[secret], &bare).finish(&bare);
        assert_eq!(missing, Verdicts { own: Signature::Missing, standard: Signature::Missing });
        let signed = headers(&[("x-datasonar-signature", "sha256=00"), ("webhook-signature", "v1,AAAA")]);
        for secrets in [&[][..], &["nothing".to_owned()], &["whsec_".to_owned()]] {
            let unknown = Verifier::new(secrets, &signed).finish(&signed);
            assert_eq!(unknown, Verdicts { own: Signature::NotVerified, standard: Signature::NotVerified });
        }
    }
}
