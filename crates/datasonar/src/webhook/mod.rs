//! Webhooks: how a body is signed ([`sign`]), how one is sent ([`send`]), when to try again ([`retry`]), whose turn it is
//! ([`lanes`]), what is sent to try an endpoint ([`test_event`]), and the secrets themselves ([`secrets`]). Which delivery is due,
//! and what is recorded of an attempt, is the dispatcher's.

pub mod lanes;
pub mod retry;
pub mod secrets;
pub mod send;
pub mod sign;
pub mod test_event;
