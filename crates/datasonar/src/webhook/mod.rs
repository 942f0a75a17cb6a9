//! Webhooks: how a body is signed ([`sign`]), how one is sent ([`send`]), when to try again ([`retry`]), whose turn it is
//! ([`lanes`]), and what is sent to try an endpoint ([`test_event`]). Which delivery is due, and what is recorded of an
//! attempt, is the dispatcher's.

pub mod lanes;
pub mod retry;
pub mod send;
pub mod sign;
pub mod test_event;
