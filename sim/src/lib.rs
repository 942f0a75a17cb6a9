//! The deterministic simulation of the whole engine.

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
