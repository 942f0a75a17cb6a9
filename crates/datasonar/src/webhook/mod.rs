//! Webhooks: how a body is signed ([`sign`]), how one is sent ([`send`]), and when to try again ([`retry`]). Which
//! delivery is due, and what is recorded of an attempt, is the dispatcher's.

pub mod retry;
pub mod send;
pub mod sign;
