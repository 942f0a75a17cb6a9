//! What a process does besides answering calls. Each role is a loop that loads, decides by pure functions, acts and
//! records; rows are truth, so that any of them may die anywhere.
//!
//! Where a loop waits for several things, it looks at them in a fixed order (`biased`), so that a simulation of it goes the
//! same way each time. None starves another: whatever woke it, a loop does all that is to be done before it waits again.

mod attempt;
mod crawl;
mod dispatcher;
mod health;
mod isolation;
mod janitor;
mod pages;
mod replayer;
mod scheduler;
mod task;
mod worker;

pub use dispatcher::{Dispatcher, DispatcherParts};
pub use health::{Health, steady};
pub use janitor::{Janitor, JanitorParts};
pub use replayer::{Replayer, ReplayerParts};
pub use scheduler::{Scheduler, SchedulerParts};
pub use task::Tools;
pub use worker::{Worker, WorkerParts};

use std::time::Duration;

/// How long a role that is told to stop lets its open work finish before it gives it back.
pub const DRAIN: Duration = Duration::from_secs(10);
