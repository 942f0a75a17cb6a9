//! A socket with a deadline for its client to take what is written, behind the bytes that were read to learn the version of HTTP.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

/// Time that a client may take nothing of what is written to it.
pub(super) const STALL: Duration = Duration::from_secs(30);

/// A socket whose writes fail once its client has taken nothing for [`STALL`].
pub(super) struct Socket<S> {
    inner: S,
    first: Bytes,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> Socket<S> {
    /// Reads `first` before what the socket has.
    pub(super) fn new(inner: S, first: Bytes) -> Self {
        Self { inner, first, deadline: None }
    }

    /// Ends a wait that made progress, and fails one that has lasted too long.
    fn watch<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.deadline = None;
            return written;
        }
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(STALL)));
        ready!(deadline.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client took nothing for too long")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.has_remaining() {
            let bytes = self.first.remaining().min(buffer.remaining());
            buffer.put_slice(&self.first.split_to(bytes));
            if self.first.is_empty() {
                self.first = Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.watch(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.watch(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_cut_off_and_a_slow_one_is_not() {
        let (ours, mut theirs) = duplex(16);
        let mut socket = Socket::new(ours, Bytes::new());
        let reading = tokio::spawn(async move {
            let mut some = [0; 16];
            for _ in 0..4 {
                tokio::time::sleep(STALL / 2).await;
                theirs.read_exact(&mut some).await.unwrap();
            }
            std::future::pending::<()>().await;
        });
        socket.write_all(&[7; 64]).await.unwrap();
        let error = socket.write_all(&[7; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        reading.abort();
    }

    #[tokio::test]
    async fn what_was_read_before_comes_first() {
        let (ours, mut theirs) = duplex(16);
        theirs.write_all(b" world").await.unwrap();
        drop(theirs);
        let mut text = String::new();
        Socket::new(ours, Bytes::from_static(b"hello")).read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "hello world");
    }
}
