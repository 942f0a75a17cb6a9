//! The deterministic simulation of the whole engine: many processes, one store, a hostile network, one seed.
//!
//! **What is real.** Every process is built by the product's own `serve::start`, with other parts at its seams: roles, API, store
//! (SQLite in memory), HTTP, TLS and extraction are those that run in production. Calls of the API go to the router; everything else
//! goes over streams in memory.
//!
//! **What is not.** Time is tokio's, paused: it moves on when nobody has anything left to do, so that thirty hours of retries take
//! less than a second. Ids and chance are the seed's. Whatever the product gives to other threads (`cpu`, the store's `Threading`)
//! stays on the one that runs the simulation. Blobs are in memory; `DATABASE_URL`, a real disk and `kill -9` of a real process have
//! tests of their own. Lists of URLs are short enough to stay in the job's row.
//!
//! **What a seed does.** It draws a `weather` (which faults there are, and how often), sites and endpoints, two to six processes and
//! their roles. Clients submit, cancel, replay, rotate and schedule while processes die between any two calls of the store, lose
//! answers, are cut off the store or the network for longer than a lease, are slow, are stopped, and have their clocks set
//! (`store`, `blobs`, `net`, `cluster`, `clients`). Then the storm ends, and time passes until all is delivered or given up;
//! while nothing is due for long, all processes rest.
//!
//! **What is checked.** The `oracle` sees what is really done at the store and at the endpoints, and reads all rows and bytes in the
//! end: each [`Property`] is a promise. Each seed is run twice, and must leave the same trace of all calls and sends. That the oracle
//! can fail is shown by three [`Mutation`]s of the engine.
//!
//! **What it asks of the product.** A loop that waits for several things looks at them in a fixed order (`biased`); whatever decides
//! the order of calls or sends is sorted, and not in a hash map's order; nobody reads a clock or rolls dice of his own.

mod blobs;
mod check;
mod clients;
mod clock;
mod cluster;
mod dice;
mod host;
mod net;
mod oracle;
mod run;
mod store;
mod trace;
mod weather;
mod world;

pub use check::{Failure, check, check_many, hunt, report};
pub use oracle::{Property, Violation, end::Counts};
pub use run::{Outcome, run};
pub use store::Mutation;
pub use trace::Line;
