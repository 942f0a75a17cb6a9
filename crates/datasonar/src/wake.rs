//! Wakes the loops of this process when there is something for them to do, and, where processes share a store, those of the others.
//!
//! Rows are truth; waking only spares the wait for the next poll. A wake that is lost costs a second, never a job.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use tokio::sync::Notify;

/// What may be waiting to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bell {
    /// Tasks can be claimed.
    Tasks,
    /// A delivery is due.
    Deliveries,
    /// A job was cancelled: workers are to look at their leases.
    Leases,
    /// A bulk replay was asked for.
    Replays,
    /// A schedule was made or changed.
    Schedules,
    /// A job has ended.
    Ended,
}

/// All bells, each with the letter that stands for it in a notice.
const BELLS: [(Bell, char); 6] = [
    (Bell::Tasks, 't'),
    (Bell::Deliveries, 'd'),
    (Bell::Leases, 'l'),
    (Bell::Replays, 'r'),
    (Bell::Schedules, 's'),
    (Bell::Ended, 'e'),
];

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
    /// The bells that rang here and of which the others have not been told, as bits.
    untold: AtomicU8,
    told: Notify,
}

impl Wake {
    /// Rings here, and in the other processes.
    pub fn ring(&self, bell: Bell) {
        self.ring_here(bell);
        self.0.untold.fetch_or(1 << bell as u8, Ordering::AcqRel);
        self.0.told.notify_one();
    }

    /// Waits until something rang here; answers a notice of it for the others.
    pub async fn notice(&self) -> String {
        loop {
            let bits = self.0.untold.swap(0, Ordering::AcqRel);
            if bits != 0 {
                return BELLS
                    .iter()
                    .filter(|(bell, _)| bits & (1 << *bell as u8) != 0)
                    .map(|(_, letter)| *letter)
                    .collect();
            }
            self.0.told.notified().await;
        }
    }

    /// Rings what another process tells of. Letters that stand for nothing are of another version.
    pub fn heard(&self, notice: &str) {
        for (bell, letter) in BELLS {
            if notice.contains(letter) {
                self.ring_here(bell);
            }
        }
    }

    fn ring_here(&self, bell: Bell) {
        let bells = &*self.0;
        match bell {
            Bell::Tasks => bells.tasks.notify_one(),
            Bell::Deliveries => bells.deliveries.notify_one(),
            Bell::Leases => bells.leases.notify_one(),
            Bell::Replays => bells.replays.notify_one(),
            Bell::Schedules => bells.schedules.notify_one(),
            Bell::Ended => bells.ended.notify_waiters(),
        }
    }

    /// Rings when tasks may be waiting to be claimed.
    pub fn tasks(&self) -> &Notify {
        &self.0.tasks
    }

    /// Rings when a delivery may be due.
    pub fn deliveries(&self) -> &Notify {
        &self.0.deliveries
    }

    /// Rings when a bulk replay was asked for.
    pub fn replays(&self) -> &Notify {
        &self.0.replays
    }

    /// Rings when a schedule was made or changed.
    pub fn schedules(&self) -> &Notify {
        &self.0.schedules
    }

    /// Rings, for all who wait, when a job has ended.
    pub fn ended(&self) -> &Notify {
        &self.0.ended
    }

    /// Rings when a job was cancelled, so that workers look at their leases.
    pub fn leases(&self) -> &Notify {
        &self.0.leases
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn what_rings_here_is_told_once_and_rings_there() {
        let (here, there) = (Wake::default(), Wake::default());
        assert!(here.notice().now_or_never().is_none());
        here.ring(Bell::Tasks);
        here.ring(Bell::Schedules);
        here.ring(Bell::Tasks);
        let notice = here.notice().now_or_never().unwrap();
        assert_eq!(notice, "ts");
        there.heard(&notice);
        assert!(there.tasks().notified().now_or_never().is_some());
        assert!(there.schedules().notified().now_or_never().is_some());
        assert!(there.deliveries().notified().now_or_never().is_none());
        assert!(here.notice().now_or_never().is_none(), "it is told once");
        assert!(there.notice().now_or_never().is_none(), "what was heard is not told again");
    }
}
