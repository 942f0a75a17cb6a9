//! The standing guard: everything that a page, a client or a tenant may try to hurt another.
//!
//! Each module attacks one shared thing through the server's real interfaces. `SECURITY.md` names what must hold.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking, and are their own documentation")]

mod deliveries;
mod memory;
#[path = "../api/server.rs"]
#[expect(dead_code, reason = "the tests of the API use the rest")]
mod server;
mod shares;
mod slots;
mod ssrf;
