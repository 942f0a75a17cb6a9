//! Rendering, with the real browser through the real server: what scripts make of a page, what they cannot reach, what
//! they cannot hold up, and what is left behind: nothing.
//!
//! Pages are served at 127.0.0.2, which these servers may fetch from; 127.0.0.1 they may not, as in the wild.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking, and are their own documentation")]

mod content;
mod guard;
mod lifetime;
#[path = "../api/server.rs"]
#[expect(dead_code, reason = "the tests of the API use the rest")]
mod server;
mod trouble;
mod web;
