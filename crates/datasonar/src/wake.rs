//! Wakes the loops of this process when there is something for them to do.
//!
//! Rows are truth; waking only spares the wait for the next poll. A wake that is lost costs a second, never a job.

use std::sync::Arc;

use tokio::sync::Notify;

/// The doorbells of this process's loops.
#[derive(Clone, Debug, Default)]
pub struct Wake(Arc<Bells>);

#[derive(Debug, Default)]
struct Bells {
    tasks: Notify,
    deliveries: Notify,
    leases: Notify,
    replays: Notify,
    schedules: Notify,
    ended: Notify,
}

impl Wake {
    /// Rung when tasks may be waiting to be claimed.
    pub fn tasks(&self) -> &Notify {
        &self.0.tasks
    }

    /// Rung when a delivery may be due.
    pub fn deliveries(&self) -> &Notify {
        &self.0.deliveries
    }

    /// Rung when a bulk replay was asked for.
    pub fn replays(&self) -> &Notify {
        &self.0.replays
    }

    /// Rung when a schedule was made or changed.
    pub fn schedules(&self) -> &Notify {
        &self.0.schedules
    }

    /// Rung, for all who wait, when a job has ended.
    pub fn ended(&self) -> &Notify {
        &self.0.ended
    }

    /// Rung when a job was cancelled, so that workers look at their leases.
    pub fn leases(&self) -> &Notify {
        &self.0.leases
    }
}
