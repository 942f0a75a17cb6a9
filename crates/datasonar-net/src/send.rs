//! Any request, answered with a stream: for the command line client, and for the storage of blobs.
//!
//! No redirects, no decoding, no limit on body or time but for connecting: the caller talks to the server its user named.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Method, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use url::Url;

use crate::body::{BodySource, UploadBody};
use crate::channel::{Channel, explain};
use crate::client::{Client, FETCH_KEEP, NoResponse, no_body};
use crate::connect::Target;
use crate::credentials;
use crate::fetch_error::{FetchError, FetchErrorKind};
use crate::timings::Trace;

/// The body of a response, as it arrives. Dropped before its end, it closes the connection.
pub struct ResponseBody {
    body: Incoming,
    /// The way back into the pool, once the body was read.
    connection: Option<(Client, Target, Channel)>,
}

impl Client {
    /// Sends a request of any method over HTTP/1.1 and answers as soon as the response's head is there.
    ///
    /// Bounds connecting only; wrap it in a timeout for more.
    ///
    /// # Errors
    /// [`FetchError`] if no response began; a response of any status is a success.
    pub async fn send(
        &self,
        method: Method,
        url: Url,
        headers: HeaderMap,
        body: Option<BodySource>,
    ) -> Result<Response<ResponseBody>, FetchError> {
        let sent = self.try_send(method, url.clone(), headers, body).await;
        sent.map_err(|error| {
            let mut shown = url;
            credentials::take(&mut shown, &mut HeaderMap::new());
            FetchError { final_url: Some(shown), ..error }
        })
    }

    async fn try_send(
        &self,
        method: Method,
        mut url: Url,
        mut headers: HeaderMap,
        body: Option<BodySource>,
    ) -> Result<Response<ResponseBody>, FetchError> {
        self.policy().check_url(&url)?;
        credentials::take(&mut url, &mut headers);
        let target = Target::of(&url, false)
            .ok_or_else(|| FetchError::new(FetchErrorKind::InvalidUrl, "the URL has no host"))?;
        let length = body.as_ref().map(BodySource::content_length);
        let mut body = body.map_or_else(no_body, UploadBody::new);
        let mut fresh = false;
        let mut trace = Trace::start();
        loop {
            let mut channel = self.channel(&target, fresh, self.inner.connect_timeout, &mut trace).await?;
            let request = self.request(&channel, method.clone(), &url, &headers, body, length)?;
            match channel.exchange(request).await {
                Ok(response) => {
                    let connection = Some((self.clone(), target, channel));
                    return Ok(response.map(|body| ResponseBody { body, connection }));
                }
                Err(failed) => match (failed.request, channel.is_reused && !fresh) {
                    (Some(unsent), true) => {
                        body = unsent.into_body();
                        fresh = true;
                        self.forget(&target);
                    }
                    (_, true) if method == Method::GET && length.is_none() => {
                        body = no_body();
                        fresh = true;
                        self.forget(&target);
                    }
                    _ => {
                        if let Some(message) = channel.meter.source_error() {
                            return Err(FetchError::new(FetchErrorKind::Protocol, message));
                        }
                        return Err(NoResponse::Exchange { error: failed.error, was_reused: false }.into());
                    }
                },
            }
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = FetchError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, FetchError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let ended = frame.is_none() || self.body.is_end_stream();
        if let Some((client, target, channel)) = self.connection.take_if(|_| ended)
            && channel.meter.is_sent()
        {
            client.release(target, channel, FETCH_KEEP);
        }
        Poll::Ready(
            frame.map(|frame| frame.map_err(|error| FetchError::new(FetchErrorKind::Protocol, explain(&error)))),
        )
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl std::fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResponseBody").finish_non_exhaustive()
    }
}
