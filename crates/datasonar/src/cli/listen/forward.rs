//! Passes callbacks on: the bytes and headers of a delivery, POSTed to a program under development.
//!
//! A payload is read twice, once to be signed and once to be sent, and never held, unless it is small.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use datasonar_net::{AddressPolicy, BodySource, Client, ClientOptions, PostError, PostErrorKind, PostRequest};
use futures::{Stream, StreamExt, stream};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use jiff::Timestamp;
use tokio::{sync::mpsc, time::timeout};
use url::Url;

use super::{
    feed::{Ended, Pace, follow},
    secrets::{Secrets, Source},
};
use crate::{
    cli::client::{Api, ApiError, length_of},
    clock::{Clock, SystemClock},
    webhook::{
        send::{USER_AGENT, headers, sign},
        sign::Signer,
    },
};

/// How many are passed on at a time.
const AT_ONCE: usize = 4;
/// How many ended jobs may wait for that.
const WAITING: usize = 1_000;
/// How often a callback is tried.
pub(super) const TRIES: u32 = 3;
/// How long the server may take to answer, or to go on with a payload.
const WITHIN: Duration = Duration::from_secs(30);

/// What happens while callbacks are passed on.
#[derive(Debug)]
pub(super) enum News {
    /// The server is followed: for the first time, or again.
    Connected { is_first: bool },
    /// The connection to the server is lost.
    Lost { reason: String, again_in: Duration },
    /// A job has ended; its callback is about to be passed on.
    Begun,
    /// A callback was tried.
    Tried(Box<Tried>),
}

/// One try to pass a callback on.
#[derive(Debug)]
pub(super) struct Tried {
    pub(super) ended: Ended,
    /// When it began.
    pub(super) at: Timestamp,
    /// From 1.
    pub(super) number: u32,
    /// How long the program took, from connecting to its answer.
    pub(super) took: Duration,
    pub(super) result: Result<StatusCode, Failure>,
}

impl Tried {
    /// Whether it is tried again.
    pub(super) fn is_tried_again(&self) -> bool {
        self.result.is_err() && self.number < TRIES
    }
}

/// Why a callback was not passed on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The program answered, but with no 2xx.
    #[error("{0}")]
    Status(StatusCode),
    /// The program did not answer.
    #[error("{0}")]
    Post(#[from] PostError),
    /// The server did not give the payload.
    #[error("the payload cannot be read: {0}")]
    Payload(String),
    /// There is nothing to sign with.
    #[error("it cannot be signed: {0}")]
    Secrets(String),
}

impl Failure {
    /// The program's status, if it answered.
    pub(super) fn status(&self) -> Option<StatusCode> {
        if let Self::Status(status) = self { Some(*status) } else { None }
    }

    /// What a developer may do about it.
    pub(super) fn hint(&self, to: &Url) -> String {
        match self {
            Self::Status(status) if status.is_redirection() => {
                format!("{to} redirects, and redirects are not followed: name the URL it leads to.")
            }
            Self::Status(StatusCode::NOT_FOUND) => format!("Does --forward-to name the right path? It is {to}."),
            Self::Status(_) => "Only a 2xx is a success; the program's own log may say more.".to_owned(),
            Self::Post(error) => match error.kind {
                PostErrorKind::Refused | PostErrorKind::Connect | PostErrorKind::Dns => {
                    format!("Is your program running at {to}?")
                }
                PostErrorKind::Tls
                | PostErrorKind::CertificateExpired
                | PostErrorKind::CertificateWrongHost
                | PostErrorKind::CertificateUntrusted => {
                    "Only public certificates are trusted; on your own machine --forward-to takes http.".to_owned()
                }
                PostErrorKind::Timeout | PostErrorKind::HeadersTimeout => {
                    "Answer first, work afterwards: a delivery waits 30 s.".to_owned()
                }
                _ => "A delivery would be tried again for 24 hours.".to_owned(),
            },
            Self::Payload(_) | Self::Secrets(_) => "That is the server's doing; its log may say more.".to_owned(),
        }
    }
}

/// Passes on what ends, for ever, and tells of it.
///
/// # Errors
/// When the server cannot be followed.
pub(super) async fn forward(api: Api, to: Url, pace: Pace, tell: mpsc::Sender<News>) -> Result<Infallible, ApiError> {
    let options = ClientOptions {
        user_agent: USER_AGENT.to_owned(),
        // The program is where its developer says it is: as a rule on this machine.
        ..ClientOptions::new(AddressPolicy::unrestricted())
    };
    let client = Client::new(options).map_err(|error| ApiError::Unexpected(error.to_string()))?;
    let secrets = Secrets::new(Source::Api(api.clone()));
    let forwarder = Forwarder { api: &api, client, secrets, to, pace, tell: &tell };
    let (sender, ended) = mpsc::channel(WAITING);
    let ended = stream::unfold(ended, async |mut ended| Some((ended.recv().await?, ended)));
    let passing_on = ended.for_each_concurrent(AT_ONCE, async |ended| forwarder.pass_on(ended).await);
    tokio::select! {
        failed = follow(&api, pace, &sender, &tell) => failed,
        // It ends when there is no sender; there is one as long as the server is followed.
        () = passing_on => Err(ApiError::Unexpected("nothing is passed on any more".to_owned())),
    }
}

struct Forwarder<'a> {
    api: &'a Api,
    client: Client,
    secrets: Secrets,
    to: Url,
    pace: Pace,
    tell: &'a mpsc::Sender<News>,
}

impl Forwarder<'_> {
    async fn pass_on(&self, ended: Ended) {
        let _ = self.tell.send(News::Begun).await;
        for number in 1..=TRIES {
            let at = SystemClock.now();
            let (result, took) = match self.prepare(&ended, number, at).await {
                Err(failure) => (Err(failure), Duration::ZERO),
                Ok(request) => {
                    let posted = self.client.post(request).await;
                    let result = match posted.result {
                        Ok(response) if response.status.is_success() => Ok(response.status),
                        Ok(response) => Err(Failure::Status(response.status)),
                        Err(error) => Err(error.into()),
                    };
                    (result, posted.timings.total)
                }
            };
            let tried = Tried { ended: ended.clone(), at, number, took, result };
            let is_tried_again = tried.is_tried_again();
            // Whoever no longer listens need not be told.
            let _ = self.tell.send(News::Tried(Box::new(tried))).await;
            if !is_tried_again {
                return;
            }
            tokio::time::sleep(self.pace.between_tries).await;
        }
    }

    /// Signs a payload, and makes it ready to be sent.
    async fn prepare(&self, ended: &Ended, number: u32, at: Timestamp) -> Result<PostRequest, Failure> {
        let secrets = self.secrets.now().await.map_err(|error| Failure::Secrets(format!("{error:#}")))?;
        let job_id = ended.job_id.to_string();
        let id = ended.delivery_id.map_or_else(|| job_id.clone(), |id| id.to_string());
        let timestamp = at.as_second();
        let signer = Signer::new(secrets.iter().map(String::as_str), &id, timestamp)
            .map_err(|error| Failure::Secrets(error.to_string()))?;
        let (length, body) = self.payload(ended).await?;
        let (signatures, kept) = sign(signer, Box::pin(body), length).await.map_err(Failure::Payload)?;
        let body = match kept {
            Some(bytes) => BodySource::bytes(bytes),
            None => {
                let (length, body) = self.payload(ended).await?;
                BodySource::stream(body, length)
            }
        };
        let headers = headers(&job_id, &id, number, timestamp, &signatures);
        Ok(PostRequest { https_only: false, ..PostRequest::new(self.to.clone(), headers, body) })
    }

    /// A payload and its length.
    async fn payload(
        &self,
        ended: &Ended,
    ) -> Result<(u64, impl Stream<Item = Result<Bytes, String>> + Send + 'static), Failure> {
        let path = format!("/v1/jobs/{}/payload", ended.job_id);
        let response = timeout(WITHIN, self.api.open(&path, HeaderMap::new())).await;
        let response = response.map_err(|_| Failure::Payload(silent()))?;
        let response = response.map_err(|error| Failure::Payload(error.to_string()))?;
        let length = length_of(&response).ok_or_else(|| Failure::Payload("its length is unknown".to_owned()))?;
        let body = stream::try_unfold(response.into_body(), async |mut body| {
            loop {
                let Some(frame) = timeout(WITHIN, body.frame()).await.map_err(|_| silent())? else { return Ok(None) };
                if let Ok(bytes) = frame.map_err(|error| error.message)?.into_data() {
                    return Ok(Some((bytes, body)));
                }
            }
        });
        Ok((length, body))
    }
}

fn silent() -> String {
    format!("the server said nothing for {WITHIN:?}")
}

#[cfg(test)]
#[path = "forward_tests.rs"]
mod tests;
