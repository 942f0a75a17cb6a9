//! Signatures, in two schemes, both HMAC-SHA256 (RFC 2104).
//!
//! `X-Datasonar-Signature` covers the raw body and is keyed with the secret as shown, so that it can be verified with
//! three lines of any language. `webhook-signature` is Standard Webhooks': it covers `id.timestamp.body` and is keyed
//! with the bytes that the secret encodes, so that an old request cannot be replayed. While several secrets are active,
//! each signs, newest first.

use base64::{Engine, prelude::BASE64_STANDARD};
use ring::hmac;

/// What every webhook secret begins with.
const PREFIX: &str = "whsec_";

/// Signs one attempt. The body is fed piece by piece.
pub struct Signer {
    /// Of each secret, newest first: over the body, and over `id.timestamp.body`.
    contexts: Vec<(hmac::Context, hmac::Context)>,
}

/// The values of the two headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signatures {
    /// Of `X-Datasonar-Signature`: `sha256=HEX`, one for each secret, separated by commas.
    pub body: String,
    /// Of `webhook-signature`: `v1,BASE64`, one for each secret, separated by spaces.
    pub standard: String,
}

/// A secret is not `whsec_` and Base64.
#[derive(Debug, thiserror::Error)]
#[error("a webhook secret is not `whsec_` followed by Base64")]
pub struct MalformedSecret;

impl Signer {
    /// Begins to sign the body that goes out with this `webhook-id` and `webhook-timestamp` (seconds).
    ///
    /// # Errors
    /// When a secret is malformed.
    pub fn new<'a>(
        secrets: impl IntoIterator<Item = &'a str>,
        id: &str,
        timestamp: i64,
    ) -> Result<Self, MalformedSecret> {
        let begin = |secret: &str| {
            let decoded = secret
                .strip_prefix(PREFIX)
                .and_then(|text| BASE64_STANDARD.decode(text).ok())
                .ok_or(MalformedSecret)?;
            let body = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()));
            let mut standard = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &decoded));
            standard.update(format!("{id}.{timestamp}.").as_bytes());
            Ok((body, standard))
        };
        Ok(Self { contexts: secrets.into_iter().map(begin).collect::<Result<_, _>>()? })
    }

    /// Takes the next bytes of the body.
    pub fn update(&mut self, bytes: &[u8]) {
        for (body, standard) in &mut self.contexts {
            body.update(bytes);
            standard.update(bytes);
        }
    }

    /// Signs what was taken.
    pub fn finish(self) -> Signatures {
        let (body, standard): (Vec<_>, Vec<_>) = self
            .contexts
            .into_iter()
            .map(|(body, standard)| {
                (
                    format!("sha256={}", hex::encode(body.sign())),
                    format!("v1,{}", BASE64_STANDARD.encode(standard.sign())),
                )
            })
            .unzip();
        Signatures { body: body.join(","), standard: standard.join(" ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw` is the secret, and the signature the expected one, of the vector that the
    /// Standard Webhooks libraries are tested with.
    #[test]
    fn the_published_vector_of_standard_webhooks_holds() {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let mut signer = Signer::new([secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330).unwrap();
        signer.update(br#"{"test": "#);
        signer.update(b"2432232314}");
        assert_eq!(signer.finish().standard, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn an_independent_verifier_accepts_every_signature() {
        let secrets = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"];
        let body = b"{\"job_id\":\"1\"}";
        #[expect(clippy::disallowed_methods, reason = "the verifier compares with the machine's clock")]
        let now = jiff::Timestamp::now().as_second();
        let mut signer = Signer::new(secrets, "msg_1", now).unwrap();
        signer.update(body);
        let signatures = signer.finish();
        let mut headers = http::HeaderMap::new();
        headers.insert("webhook-id", "msg_1".parse().unwrap());
        headers.insert("webhook-timestamp", now.to_string().parse().unwrap());
        headers.insert("webhook-signature", signatures.standard.parse().unwrap());
        for secret in secrets {
            let verifier = standardwebhooks::Webhook::new(secret).unwrap();
            verifier.verify(body, &headers).unwrap();
            assert!(verifier.verify(b"{}", &headers).is_err());
        }
        let first = signatures.body.split(',').next().unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, secrets[0].as_bytes());
        let tag = hex::decode(first.strip_prefix("sha256=").unwrap()).unwrap();
        hmac::verify(&key, body, &tag).unwrap();
    }

    #[test]
    fn a_secret_that_is_none_is_refused() {
        for secret in ["", "whsec_", "whsec_*", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] {
            assert_eq!(Signer::new([secret], "1", 0).is_err(), secret != "whsec_", "{secret}");
        }
    }
}
