//! The bodies of requests, which have to arrive at a least rate, and of responses, which have to be taken.

use std::{
    error::Error,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body as AxumBody;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::Open;

/// Time that a client may keep a reader of its body waiting at a stretch, and in all beyond what [`RATE`] earns.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes that earn a second of waiting: a body that comes more slowly for longer than [`PATIENCE`] fails.
const RATE: u64 = 4 * 1024;
/// Bytes of a response that are handed over at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// A request body that fails with [`io::ErrorKind::TimedOut`] when it comes too slowly. Only the time that its reader waits counts.
pub(super) struct Paced<B> {
    inner: B,
    left: Duration,
    wait: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl<B> Paced<B> {
    /// Watches a body.
    pub(super) fn new(inner: B) -> Self {
        Self { inner, left: PATIENCE, wait: None }
    }
}

impl<B> Body for Paced<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        match Pin::new(&mut this.inner).poll_frame(context) {
            Poll::Ready(frame) => {
                if let Some((since, _)) = this.wait.take() {
                    this.left = this.left.saturating_sub(since.elapsed());
                }
                if let Some(Ok(bytes)) = frame.as_ref().map(|frame| frame.as_ref().map(Frame::data_ref)) {
                    let earned = Duration::from_millis(bytes.map_or(0, |bytes| bytes.len() as u64) * 1_000 / RATE);
                    this.left = (this.left + earned).min(PATIENCE);
                }
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Poll::Pending => {
                let left = this.left;
                let (_, sleep) = this.wait.get_or_insert_with(|| (Instant::now(), Box::pin(tokio::time::sleep(left))));
                sleep
                    .as_mut()
                    .poll(context)
                    .map(|()| Some(Err(io::Error::new(io::ErrorKind::TimedOut, "the body arrives too slowly").into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A response body that is handed over in small pieces, and tells its connection whether the client takes them.
pub(super) struct Tracked {
    inner: AxumBody,
    rest: Bytes,
    open: Open,
}

impl Tracked {
    /// Watches a body for the request that is open until it ends.
    pub(super) fn new(inner: AxumBody, open: Open) -> Self {
        Self { inner, rest: Bytes::new(), open }
    }
}

impl Body for Tracked {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        if this.rest.is_empty() {
            let polled = Pin::new(&mut this.inner).poll_frame(context);
            match polled {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => this.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                other => {
                    this.open.wait(false);
                    return other;
                }
            }
        }
        this.open.wait(true);
        let piece = this.rest.split_to(this.rest.len().min(PIECE_BYTES));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let inner = self.inner.size_hint();
        let rest = self.rest.len() as u64;
        let mut hint = SizeHint::new();
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(inner.lower() + rest);
        hint
    }
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt, stream};
    use http_body_util::BodyExt;

    use super::*;

    /// A body of `count` pieces of so many bytes, each after a while.
    fn body(count: usize, bytes: usize, every: Duration) -> AxumBody {
        AxumBody::from_stream(stream::iter(0..count).then(move |_| async move {
            tokio::time::sleep(every).await;
            Ok::<_, io::Error>(vec![7; bytes])
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_has_to_arrive_at_a_least_rate() {
        let second = Duration::from_secs(1);
        for (count, bytes, every, arrives) in [
            (1_000, 5 * 1024, second, true),
            (1_000, 1, second, false),
            (20, 1, second, true),
            (2, 1 << 20, second * 29, true),
            (2, 1 << 20, second * 31, false),
            // What came quickly before earns no longer wait later.
            (3, 10 << 20, second * 31, false),
        ] {
            let read = Paced::new(body(count, bytes, every)).collect().await;
            assert_eq!(read.is_ok(), arrives, "{count} × {bytes} bytes every {every:?}");
        }
    }

    #[tokio::test]
    async fn a_response_is_handed_over_in_small_pieces() {
        let activity = std::sync::Arc::new(super::super::Activity::default());
        let mut body = Tracked::new(AxumBody::from(vec![7; PIECE_BYTES * 2 + 1]), activity.begin());
        let mut sizes = Vec::new();
        while let Some(frame) = body.frame().await {
            sizes.push(frame.unwrap().into_data().unwrap().len());
        }
        assert_eq!(sizes, [PIECE_BYTES, PIECE_BYTES, 1]);
    }
}
