//! Being told to stop, by whatever signal: who starts a server must end it.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Ctrl-C, a polite kill, or a terminal that was closed. From the moment this exists, none of them ends the process.
pub(in crate::cli) struct Interrupt([Signal; 3]);

impl Interrupt {
    pub(in crate::cli) fn new() -> io::Result<Self> {
        Ok(Self([signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?]))
    }

    /// Waits for any of them.
    pub(in crate::cli) async fn wait(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
