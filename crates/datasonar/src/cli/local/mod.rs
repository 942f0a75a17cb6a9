//! Parts of endpoints on the developer's own machine: the demonstration and `datasonar listen` are built of them.

mod accept;
mod https;
mod interrupt;
mod verify;

pub(super) use accept::each_connection;
pub(super) use https::{Authority, Endpoint, serve_https};
pub(super) use interrupt::Interrupt;
pub(super) use verify::{Signature, Verdicts, Verifier, decode, text};
