//! Endpoints that webhooks are sent to, and what they do to whoever sends.

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use datasonar_store::DeliveryId;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufStream, DuplexStream};
use tokio_rustls::server::TlsStream;

use super::{
    Web, Wire,
    http::{Request, respond},
    tls,
};
use crate::{dice::Dice, oracle::Post};

/// What an endpoint is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndpointKind {
    /// Answers with 200, after up to so many milliseconds.
    Good(u64),
    /// Does something wrong to the first POSTs of each delivery, another thing each time; then accepts.
    Flaky(u32),
    /// Answers with 500, always.
    Down,
    /// Answers with 410.
    Gone,
    /// Never answers.
    Hanging,
    /// Reads slowly, then accepts.
    Slow,
    /// Asks to be left alone, twice, then accepts.
    Busy,
    /// Speaks no TLS.
    Plain,
}

/// An endpoint.
pub(crate) struct Endpoint {
    pub(crate) name: String,
    pub(crate) kind: EndpointKind,
    /// How often each delivery was sent here.
    seen: Mutex<BTreeMap<DeliveryId, u32>>,
}

type Stream = BufStream<TlsStream<DuplexStream>>;

impl Endpoint {
    pub(crate) fn new(name: String, kind: EndpointKind) -> Arc<Self> {
        Arc::new(Self { name, kind, seen: Mutex::default() })
    }

    pub(crate) fn draw(dice: &mut Dice) -> EndpointKind {
        match dice.of(0..16) {
            0..5 => EndpointKind::Good(dice.of(1..2_000)),
            5..8 => EndpointKind::Flaky(u32::try_from(dice.of(1..5)).expect("it is small")),
            8..10 => EndpointKind::Down,
            10 => EndpointKind::Gone,
            11..13 => EndpointKind::Hanging,
            13 => EndpointKind::Slow,
            14 => EndpointKind::Busy,
            _ => EndpointKind::Plain,
        }
    }

    /// Whether every delivery to it must be delivered in the end.
    pub(crate) fn accepts_in_the_end(&self) -> bool {
        matches!(self.kind, EndpointKind::Good(_) | EndpointKind::Flaky(_) | EndpointKind::Slow | EndpointKind::Busy)
    }

    pub(super) async fn serve(self: Arc<Self>, web: Arc<Web>, mut stream: DuplexStream, wire: Arc<Wire>) {
        if self.kind == EndpointKind::Plain {
            // Whoever speaks TLS is told something else.
            let _ = stream.write_all(b"220 mail.example ESMTP\r\n").await;
            return;
        }
        let Ok(stream) = tls::acceptor().accept(stream).await else { return };
        let mut stream = BufStream::new(stream);
        while let Ok(Some(request)) = Request::read(&mut stream).await {
            if self.post(&web, &request, &wire, &mut stream).await.is_err() {
                return;
            }
        }
    }

    async fn post(&self, web: &Web, request: &Request, wire: &Arc<Wire>, on: &mut Stream) -> io::Result<()> {
        let world = &web.world;
        let malformed = |_| io::Error::from(io::ErrorKind::InvalidData);
        let post = Post {
            at: world.now(),
            host: wire.host.name.clone(),
            delivery: request.header("webhook-id").parse().map_err(malformed)?,
            number: request.header("x-datasonar-attempt").parse().unwrap_or(0),
            timestamp: request.header("webhook-timestamp").parse().unwrap_or(0),
            signature: request.header("x-datasonar-signature").to_owned(),
            standard: request.header("webhook-signature").to_owned(),
            body: 0,
        };
        let (delivery, number) = (post.delivery, post.number);
        world.note(&self.name, format_args!("{} begins attempt {number} at {delivery}", wire.host.name));
        world.oracle().post_begins(&post, wire);
        if self.kind == EndpointKind::Slow {
            tokio::time::sleep(Duration::from_secs(8)).await;
        }
        let body = request.body(on).await?;
        world.note(&self.name, format_args!("{delivery} {number}: {} {body:?}", post.signature));
        world.oracle().posted(post, body);
        let times = {
            let mut seen = self.seen.lock();
            let times = seen.entry(delivery).or_default();
            *times += 1;
            *times
        };
        let answered = self.answer(web, times, on).await;
        if let Ok(true) = answered {
            world.oracle().accepted(delivery, number, &wire.host.name);
            let done = respond(on, 204, "", b"").await;
            world.oracle().post_ended(delivery, wire);
            world.note(&self.name, format_args!("{delivery} {number} is accepted"));
            return done;
        }
        world.oracle().post_ended(delivery, wire);
        answered.map(drop)
    }

    /// Tells whether to accept; otherwise has answered, or fails to.
    async fn answer(&self, web: &Web, times: u32, on: &mut Stream) -> io::Result<bool> {
        let refuse = async |on: &mut Stream, status, headers| respond(on, status, headers, b"no").await.map(|()| false);
        match self.kind {
            EndpointKind::Good(slow_ms) => {
                web.world.dawdle(slow_ms).await;
                Ok(true)
            }
            EndpointKind::Flaky(most) if times <= most => {
                let way = web.world.dice().of(0..6);
                match way {
                    0 => refuse(on, 500, "").await,
                    1 => refuse(on, 302, "Location: https://inward.example/\r\n").await,
                    // The connection is dropped: after reading, or in the middle of the answer.
                    2 => Err(io::ErrorKind::ConnectionReset.into()),
                    3 => {
                        on.write_all(b"HTTP/1.1 20").await?;
                        on.flush().await?;
                        Err(io::ErrorKind::ConnectionReset.into())
                    }
                    4 => hang(on).await,
                    _ => refuse(on, 404, "").await,
                }
            }
            EndpointKind::Down => refuse(on, 500, "").await,
            EndpointKind::Gone => refuse(on, 410, "").await,
            EndpointKind::Hanging => hang(on).await,
            EndpointKind::Busy if times <= 2 => refuse(on, 429, "Retry-After: 45\r\n").await,
            EndpointKind::Busy | EndpointKind::Flaky(_) | EndpointKind::Slow | EndpointKind::Plain => Ok(true),
        }
    }
}

/// Waits for the other side to give up.
async fn hang(on: &mut Stream) -> io::Result<bool> {
    let mut rest = [0; 64];
    while on.read(&mut rest).await? > 0 {}
    Err(io::ErrorKind::ConnectionReset.into())
}
