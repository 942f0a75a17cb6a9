//! The receiver, as a server posts to it.

use std::sync::atomic::AtomicU32;

use datasonar_net::{AddressPolicy, BodySource, Client, ClientOptions, PostRequest, PostResponse};
use futures::{StreamExt, stream};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use serde_json::{Value, json};

use super::*;
use crate::{
    cli::{
        listen::{report, secrets::Source},
        local::Signature,
        paint::Paint,
    },
    webhook::{send::headers, sign::Signer},
};

const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEW: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const JOB: &str = "0199e2c6-0000-7000-8000-000000000001";
const DELIVERY: &str = "0199e2c6-0000-7000-8000-000000000002";
const BODY: &str = r#"{"job_id":"1","status":"completed","result":{"status":"success","total":2,"succeeded":1,"failed":1,"time_ms":5,"results":[{"url":"a"},{"url":"b"}]}}"#;

fn secrets(given: &[&str]) -> Option<Secrets> {
    let given: Vec<String> = given.iter().map(|&secret| secret.to_owned()).collect();
    (!given.is_empty()).then(|| Secrets::new(Source::Given(given)))
}

struct Stage {
    receiver: Receiver,
    client: Client,
    sent: AtomicU32,
}

impl Stage {
    async fn start(options: Options) -> Self {
        let receiver = Receiver::start(([127, 0, 0, 1], 0).into(), options).await.unwrap();
        let root = CertificateDer::from_pem_slice(receiver.ca_pem.as_bytes()).unwrap();
        let options = ClientOptions { extra_roots: vec![root], ..ClientOptions::new(AddressPolicy::unrestricted()) };
        Self { receiver, client: Client::new(options).unwrap(), sent: AtomicU32::new(0) }
    }

    async fn verifying(given: &[&str]) -> Self {
        Self::start(Options { status: StatusCode::OK, delay: Duration::ZERO, save: None, secrets: secrets(given) })
            .await
    }

    /// Posts as the dispatcher does, but for what `change` changes.
    async fn post(&self, body: BodySource, signed: &[u8], change: impl Fn(&mut HeaderMap)) -> PostResponse {
        let timestamp = SystemClock.now().as_second();
        let mut signer = Signer::new([NEW, OLD], DELIVERY, timestamp).unwrap();
        signer.update(signed);
        let number = self.sent.fetch_add(1, Ordering::Relaxed) + 1;
        let mut headers = headers(JOB, DELIVERY, number, timestamp, &signer.finish());
        change(&mut headers);
        // By both names that its certificate has.
        let host = if number % 2 == 1 { "localhost" } else { "127.0.0.1" };
        let url = format!("https://{host}:{}/a/path?and=query", self.receiver.address.port());
        self.client.post(PostRequest::new(url.parse().unwrap(), headers, body)).await.result.unwrap()
    }

    async fn post_body(&self, change: impl Fn(&mut HeaderMap)) -> PostResponse {
        self.post(BodySource::bytes(BODY), BODY.as_bytes(), change).await
    }

    async fn received(&mut self) -> Received {
        let next = tokio::time::timeout(Duration::from_secs(20), self.receiver.next());
        match next.await.expect("nothing came").unwrap() {
            Note::Received(received) => *received,
            Note::Refused(reason) => panic!("{reason}"),
        }
    }
}

fn both(own: Signature, standard: Signature) -> Verdicts {
    Verdicts { own, standard }
}

const SOUND: Verdicts = Verdicts { own: Signature::Valid, standard: Signature::Valid };

#[tokio::test]
async fn a_delivery_is_verified_and_a_repetition_recognised() {
    for given in [&[OLD][..], &[NEW], &[OLD, NEW]] {
        let mut stage = Stage::verifying(given).await;
        for before in 0..3 {
            assert_eq!(stage.post_body(|_| {}).await.status, 200);
            let received = stage.received().await;
            assert_eq!(received.verdicts, SOUND);
            assert_eq!(received.before, before);
            assert_eq!(received.header("x-datasonar-attempt"), (before + 1).to_string());
            assert_eq!((&received.method, &received.path[..]), (&Method::POST, "/a/path?and=query"));
            assert_eq!((received.bytes, &received.beginning[..]), (BODY.len() as u64, BODY.as_bytes()));
        }
    }
}

#[tokio::test]
async fn each_signature_has_a_verdict_of_its_own() {
    let wrong = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let mut stage = Stage::verifying(&[wrong]).await;
    stage.post_body(|_| {}).await;
    assert_eq!(stage.received().await.verdicts, both(Signature::Invalid, Signature::Invalid));

    let mut stage = Stage::verifying(&[OLD]).await;
    let replaced = |name: &'static str, value: &'static str| {
        move |headers: &mut HeaderMap| drop(headers.insert(name, value.parse().unwrap()))
    };
    stage.post_body(replaced("webhook-timestamp", "1")).await;
    assert_eq!(stage.received().await.verdicts, both(Signature::Valid, Signature::Invalid));
    stage.post_body(replaced("x-datasonar-signature", "sha256=00")).await;
    assert_eq!(stage.received().await.verdicts, both(Signature::Invalid, Signature::Valid));
    stage.post_body(|headers| drop(headers.remove("x-datasonar-signature"))).await;
    assert_eq!(stage.received().await.verdicts, both(Signature::Missing, Signature::Valid));
    stage.post(BodySource::bytes("{}"), BODY.as_bytes(), |_| {}).await;
    assert_eq!(stage.received().await.verdicts, both(Signature::Invalid, Signature::Invalid));

    let mut stage = Stage::verifying(&[]).await;
    stage.post_body(|_| {}).await;
    assert_eq!(stage.received().await.verdicts, both(Signature::NotVerified, Signature::NotVerified));
}

#[tokio::test]
async fn it_answers_what_it_was_told_when_it_was_told() {
    let delay = Duration::from_millis(300);
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let mut stage = Stage::start(Options { status, delay, save: None, secrets: None }).await;
    let began = Instant::now();
    assert_eq!(stage.post_body(|_| {}).await.status, 503);
    assert!(began.elapsed() >= delay);
    let received = stage.received().await;
    assert_eq!(received.answer, Ok(status));
    assert!(received.took < delay, "the delay is not the request's");
}

#[tokio::test]
async fn a_long_body_is_kept_in_a_file_and_its_beginning_in_memory() {
    let directory = tempfile::tempdir().unwrap();
    let save = Some(directory.path().join("bodies"));
    let mut stage =
        Stage::start(Options { status: StatusCode::OK, delay: Duration::ZERO, save, secrets: secrets(&[NEW]) }).await;
    let head = BODY.split_once(r#"{"url":"a"#).unwrap().0;
    let mut body = head.as_bytes().to_vec();
    body.resize(5_000_000, b'.');
    let chunks: Vec<_> = body.chunks(70_000).map(|chunk| io::Result::Ok(Bytes::copy_from_slice(chunk))).collect();
    stage.post(BodySource::stream(stream::iter(chunks), body.len() as u64), &body, |_| {}).await;
    let received = stage.received().await;
    assert_eq!(received.verdicts, SOUND);
    assert_eq!((received.bytes, received.beginning.len()), (5_000_000, SHOW_BYTES));
    assert_eq!(fs::read(received.saved.as_ref().unwrap()).unwrap(), body);
    let text = report::for_people(&received, Paint::none());
    assert!(text.contains("2 results, 1 succeeded, 1 failed"), "{text}");
    assert!(text.lines().count() < 8, "{text}");
    let object = report::for_machines(&received);
    assert_eq!((&object["counts"]["failed"], &object["body"]), (&json!(1), &Value::Null));
}

#[tokio::test]
async fn what_it_shows_and_what_it_tells_machines() {
    let mut stage = Stage::verifying(&[OLD]).await;
    let mut texts = Vec::new();
    for _ in 0..2 {
        stage.post_body(|_| {}).await;
        let received = Received { took: Duration::ZERO, ..stage.received().await };
        let text = report::for_people(&received, Paint::none());
        let (_time, text) = text.split_once("  ").unwrap();
        texts.push(text.to_owned());
    }
    insta::assert_snapshot!(texts.join("\n"));
    stage.post_body(|_| {}).await;
    let received = stage.received().await;
    let received = Received { took: Duration::from_millis(3), at: Timestamp::UNIX_EPOCH, ..received };
    insta::assert_json_snapshot!(report::for_machines(&received));
}

#[tokio::test]
async fn a_body_that_breaks_off_is_told_of_and_is_no_delivery() {
    let mut stage = Stage::verifying(&[OLD]).await;
    let end = stream::once(async {
        // Let what came before be sent.
        tokio::time::sleep(Duration::from_millis(100)).await;
        Err(io::Error::other("enough"))
    });
    let chunks = stream::iter([Ok(Bytes::from_static(b"{"))]).chain(Box::pin(end));
    let url = format!("https://localhost:{}/", stage.receiver.address.port()).parse().unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("webhook-id", DELIVERY.parse().unwrap());
    let request = PostRequest::new(url, headers, BodySource::stream(chunks, 100));
    assert!(stage.client.post(request).await.result.is_err());
    let received = stage.received().await;
    assert_eq!(received.answer, Err("the body broke off".to_owned()));
    assert!(report::for_people(&received, Paint::none()).contains("no answer"));
    stage.post_body(|_| {}).await;
    assert_eq!(stage.received().await.before, 0);
}

#[tokio::test]
async fn who_does_not_trust_it_is_told_of() {
    let mut stage = Stage::verifying(&[]).await;
    let stranger = Client::new(ClientOptions::new(AddressPolicy::unrestricted())).unwrap();
    let url = format!("https://localhost:{}/", stage.receiver.address.port()).parse().unwrap();
    let posted = stranger.post(PostRequest::new(url, HeaderMap::new(), BodySource::empty())).await;
    assert_eq!(posted.result.unwrap_err().code(), "certificate_untrusted");
    assert!(matches!(stage.receiver.next().await.unwrap(), Note::Refused(_)));
}

#[test]
fn a_files_name_is_nobody_elses_choice() {
    let mut headers = HeaderMap::new();
    assert_eq!(file_name(Timestamp::UNIX_EPOCH, 7, &headers), "19700101T000000-7.body");
    headers.insert("webhook-id", "../../etc/passwd".parse().unwrap());
    headers.insert("content-type", "application/json".parse().unwrap());
    assert_eq!(file_name(Timestamp::UNIX_EPOCH, 7, &headers), "19700101T000000-7-etcpasswd.json");
}

#[test]
fn the_oldest_of_too_many_ids_is_forgotten() {
    let mut seen = Seen::default();
    for n in 0..=REMEMBERED {
        assert_eq!(seen.again(&n.to_string()), 0);
    }
    assert_eq!(seen.again(&REMEMBERED.to_string()), 1);
    assert_eq!(seen.again("0"), 0);
    assert_eq!(seen.again(""), seen.again(""));
    assert_eq!(seen.counts.len(), REMEMBERED);
}
