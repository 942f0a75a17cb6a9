//! The only way out: every outbound socket of Datasonar is opened here, to an address that was checked.
//!
//! Pages to fetch and endpoints to notify are named by strangers. Whatever they name, [`Client`] parses once, resolves by
//! itself, checks every address against the [`AddressPolicy`], dials exactly what it checked, and repeats that at each
//! redirect. Everything it reads is bounded: headers, decoded body, expansion, redirects, time.
//!
//! Four ways to use it: [`Client::fetch`] for pages, [`Client::post`] for webhooks, [`Client::send`] for servers that the
//! operator names (our own, from the command line, and the storage of blobs) and for the browser's plain requests, and
//! [`Client::tunnel`] for its encrypted ones. Two seams, [`Resolve`] and [`Dial`], let tests and the simulation bring their own network; time is tokio's,
//! so that it can be paused.
//!
//! The database client dials for itself: its address comes from the operator.

mod address;
mod body;
mod channel;
mod client;
mod connect;
mod credentials;
mod decode;
mod dial;
mod fetch;
mod fetch_error;
mod headers;
mod meter;
mod pool;
mod post;
mod post_error;
mod resolve;
mod send;
mod special;
mod timings;
mod tls;
mod tunnel;

pub use address::{AddressPolicy, Blocked, MAX_URL_BYTES, UrlRefused};
pub use body::{BodySource, BoxError};
pub use client::{Client, ClientError, ClientOptions};
pub use credentials::take as take_credentials;
pub use decode::{LargeBodies, ReservedBytes};
pub use dial::{Connection, Dial, TcpDialer};
pub use fetch::{FetchRequest, Fetched, Progress, RedirectGuard};
pub use fetch_error::{FetchError, FetchErrorKind};
pub use headers::{
    HeadersRefused, MAX_CALLER_HEADER_BYTES, MAX_CALLER_HEADERS, check_caller_headers, safe_for_another_origin,
};
pub use post::{PostOutcome, PostRequest, PostResponse};
pub use post_error::{PostError, PostErrorKind};
pub use resolve::{Resolve, ResolveError, ResolveErrorKind, SystemResolver};
pub use send::ResponseBody;
pub use timings::Timings;
pub use tls::verifying_tls;
