//! The published vectors (`examples/verify/vectors.json`) are made here, with our own signer, from fixed inputs.
//! `BLESS=1` writes the file anew.

use std::{env, fs};

use base64::{Engine, prelude::BASE64_STANDARD};
use datasonar::webhook::sign::Signer;
use serde_json::{Map, Value, json};

use super::samples;

const ID: &str = "019aa0b4-6c00-7000-8000-00000000c0de";
const TIMESTAMP: i64 = 1_795_430_400;
const JOB: &str = "019aa0b4-5000-7000-8000-0000000000b1";

const OWN: &str = "x-datasonar-signature";
const STANDARD: &str = "webhook-signature";

/// A secret that nobody could take for a real one.
fn secret(text: &[u8; 32]) -> String {
    format!("whsec_{}", BASE64_STANDARD.encode(text))
}

struct Vector {
    name: &'static str,
    secret: String,
    now: i64,
    headers: Map<String, Value>,
    body: String,
    own: bool,
    standard: bool,
}

impl Vector {
    /// A sound request, signed with these secrets, newest first, and verified with one of them.
    fn new(name: &'static str, secret: &str, signing: &[&String], body: &str) -> Self {
        let mut signer = Signer::new(signing.iter().map(|secret| secret.as_str()), ID, TIMESTAMP).unwrap();
        signer.update(body.as_bytes());
        let signatures = signer.finish();
        let headers = json!({
            "content-type": "application/json",
            "x-datasonar-job-id": JOB,
            "x-datasonar-attempt": "1",
            OWN: signatures.body,
            "webhook-id": ID,
            "webhook-timestamp": TIMESTAMP.to_string(),
            STANDARD: signatures.standard,
        });
        let Value::Object(headers) = headers else { unreachable!() };
        let (secret, body) = (secret.to_owned(), body.to_owned());
        Self { name, secret, now: TIMESTAMP + 2, headers, body, own: true, standard: true }
    }

    /// Verified so many seconds after it was signed.
    fn after(self, seconds: i64, standard: bool) -> Self {
        Self { now: TIMESTAMP + seconds, standard, ..self }
    }

    /// Changes a header; without a value it is taken away.
    fn with(mut self, header: &str, change: impl FnOnce(&str) -> Option<String>) -> Self {
        let value = change(self.headers[header].as_str().unwrap());
        match value {
            Some(value) => self.headers.insert(header.to_owned(), value.into()),
            None => self.headers.shift_remove(header),
        };
        match header {
            OWN => self.own = false,
            _ => self.standard = false,
        }
        self
    }

    /// Valid after all.
    fn sound(self) -> Self {
        Self { own: true, standard: true, ..self }
    }

    /// Neither signature is that of secret and body.
    fn unsound(self) -> Self {
        Self { own: false, standard: false, ..self }
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "secret": self.secret,
            "now": self.now,
            "headers": self.headers,
            "body": self.body,
            "x_datasonar_signature": self.own,
            "standard_webhooks": self.standard,
            "valid": self.own && self.standard,
        })
    }
}

/// Replaces a signature's last character by another of its alphabet that changes what it encodes.
fn other_last(signature: &str) -> Option<String> {
    let (pad, stem) = (signature.ends_with('='), signature.trim_end_matches('='));
    let (stem, last) = stem.split_at(stem.len() - 1);
    // The last sign of 32 bytes in Base64 carries four bits, the rest being zero: `A` and `E` are two of its sixteen.
    let (one, two) = if pad { ("A", "E") } else { ("0", "1") };
    Some(format!("{stem}{}{}", if last == one { two } else { one }, if pad { "=" } else { "" }))
}

fn cut(signature: &str) -> Option<String> {
    Some(signature[..signature.len() - 8].to_owned())
}

fn vectors() -> Vec<Vector> {
    let first = secret(b"first secret of the test vectors");
    let second = secret(b"newer secret of the test vectors");
    let stranger = secret(b"secret of somebody else, perhaps");
    let result = r#"{"status":"success","total":1,"succeeded":1,"failed":0,"time_ms":815,"results":[]}"#;
    let body = format!(r#"{{"job_id":"{JOB}","status":"completed","result":{result}}}"#);
    let utf8 = body.replace("[]", "[{\"content\":\"Größe, 東京, Ελλάδα, \u{2028}🦀, \\u00e9\"}]");
    let spaced = body.replace(',', ", ") + "\n";
    let plain = |name| Vector::new(name, &first, &[&first], &body);
    let tampered = body.replace("\"succeeded\":1", "\"succeeded\":0");
    vec![
        plain("one secret"),
        Vector::new("rotation: the new secret", &second, &[&second, &first], &body),
        Vector::new("rotation: the old secret", &first, &[&second, &first], &body),
        Vector::new("rotation: a secret that signs no more", &stranger, &[&second, &first], &body).unsound(),
        Vector::new("an empty object", &first, &[&first], "{}"),
        Vector::new("a body beyond ASCII", &first, &[&first], &utf8),
        Vector::new("spaces and a line's end belong to the body", &first, &[&first], &spaced),
        Vector { body: spaced.clone(), ..plain("the same JSON in other bytes") }.unsound(),
        Vector { body: tampered, ..plain("a tampered body") }.unsound(),
        Vector { body: format!("{body} "), ..plain("a byte more") }.unsound(),
        Vector { secret: stranger.clone(), ..plain("a wrong secret") }.unsound(),
        plain("5 minutes old").after(300, true),
        plain("older than 5 minutes").after(301, false),
        plain("5 minutes ahead").after(-300, true),
        plain("more than 5 minutes ahead").after(-301, false),
        plain("the id of another delivery").with("webhook-id", |id| Some(id.replace("c0de", "beef"))),
        plain("a timestamp made new")
            .after(1_000, false)
            .with("webhook-timestamp", |_| Some(format!("{}", TIMESTAMP + 1_000))),
        plain("no X-Datasonar-Signature").with(OWN, |_| None),
        plain("no webhook-signature").with(STANDARD, |_| None),
        plain("no webhook-id").with("webhook-id", |_| None),
        plain("no webhook-timestamp").with("webhook-timestamp", |_| None),
        plain("an empty X-Datasonar-Signature").with(OWN, |_| Some(String::new())),
        plain("X-Datasonar-Signature without its scheme").with(OWN, |own| Some(own.replace("sha256=", ""))),
        plain("X-Datasonar-Signature of another scheme").with(OWN, |own| Some(own.replace("sha256", "sha1"))),
        plain("X-Datasonar-Signature that is no hex").with(OWN, |_| Some("sha256=none, at all,,".to_owned())),
        plain("webhook-signature without its version").with(STANDARD, |signature| Some(signature.replace("v1,", ""))),
        plain("webhook-signature of another version").with(STANDARD, |signature| Some(signature.replace("v1", "v2"))),
        plain("webhook-timestamp that is no number").with("webhook-timestamp", |_| Some("yesterday".to_owned())),
        plain("X-Datasonar-Signature of the right length, but wrong").with(OWN, other_last),
        plain("webhook-signature of the right length, but wrong").with(STANDARD, other_last),
        plain("a truncated X-Datasonar-Signature").with(OWN, cut),
        plain("a truncated webhook-signature").with(STANDARD, cut),
        plain("unknown signatures beside the right ones")
            .with(OWN, |own| Some(format!("sha512=00,{own}")))
            .with(STANDARD, |signature| Some(format!("v9,AAAA {signature}")))
            .sound(),
    ]
}

#[test]
fn the_published_vectors_are_those_of_our_signer() {
    let about = "Webhooks of Datasonar as they arrive, and whether a receiver whose secret and clock (`now`, Unix seconds) \
                 are these may trust them. The secrets are no one's. `valid` is both signatures together.";
    let vectors: Vec<Value> = vectors().iter().map(Vector::json).collect();
    let file = json!({"about": about, "tolerance_seconds": 300, "vectors": vectors});
    let made = serde_json::to_string_pretty(&file).unwrap() + "\n";
    let path = samples().join("vectors.json");
    if env::var_os("BLESS").is_some() {
        fs::write(&path, &made).unwrap();
    }
    let published = fs::read_to_string(&path).unwrap_or_default();
    assert!(published == made, "examples/verify/vectors.json is not what the signer makes: BLESS=1 writes it anew");
}
