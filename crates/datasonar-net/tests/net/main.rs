//! The guarded client against hostile networks.
//!
//! Most tests run on a network in memory ([`world`]), where names, addresses and time are ours; what only real TCP does
//! (refusals, resets, answers before the end of an upload) runs on loopback ([`tcp`]).
#![expect(clippy::unwrap_used, reason = "tests fail by panicking, and are their own documentation")]

mod address;
mod coding;
mod fetch;
mod guard;
mod post;
mod post_time;
mod send;
mod tcp;
mod tls;
mod world;
