//! The connection that writes.

use std::{sync::Arc, time::Duration};

use super::connector::{self, Connector};
use super::fault::{self, Remedy};
use super::session::Link;
use crate::StoreError;
use crate::group::{Step, Writer};
use crate::sql::unavailable;

/// How often a group is tried, and the pauses between: some seconds in all, as a restart of the server takes. Who called is told then, and
/// tries again.
const PAUSES_MS: [u64; 6] = [20, 100, 400, 1_000, 2_000, 3_000];
/// How often the fate of a commit is asked for while it is not decided.
const ASKED: u32 = 50;
const ASK_PAUSE: Duration = Duration::from_millis(100);

/// Takes the gate; answers the transaction's number.
const GATE: &str = "SELECT pg_current_xact_id()::text FROM meta WHERE name = 'gate' FOR UPDATE";
const FATE: &str = "SELECT pg_xact_status($1::text::xid8)";

/// The connection that writes; made anew when it is lost.
pub(super) struct PostgresWriter {
    connector: Arc<Connector>,
    link: Option<Link>,
}

/// Why a group was not committed.
enum Failure {
    /// It is to be run again.
    Again(String),
    /// It may have been committed: this transaction.
    Unknown(String),
    /// A step of it is to be undone: each in a transaction of its own.
    Apart,
}

impl PostgresWriter {
    pub(super) fn new(connector: Arc<Connector>) -> Self {
        Self { connector, link: None }
    }

    fn link(&mut self) -> Result<&Link, tokio_postgres::Error> {
        let link = match self.link.take() {
            Some(link) => link,
            None => self.connector.connect()?,
        };
        Ok(self.link.insert(link))
    }

    /// Runs a group in one transaction, as often as it takes.
    fn insist(&mut self, group: &mut [Box<dyn Step>]) -> Result<(), Failure> {
        let mut last = String::new();
        for pause in [0].into_iter().chain(PAUSES_MS) {
            connector::pause(Duration::from_millis(pause));
            match self.attempt(group) {
                Err(Failure::Again(reason)) => last = reason,
                Err(Failure::Unknown(transaction)) => match self.is_committed(&transaction) {
                    Some(true) => return Ok(()),
                    Some(false) => "the database was not reached at the commit".clone_into(&mut last),
                    None => {
                        let told = "the database cannot be reached, and may have kept the step";
                        return Err(Failure::Again(told.to_owned()));
                    }
                },
                done => return done,
            }
        }
        Err(Failure::Again(last))
    }

    fn attempt(&mut self, group: &mut [Box<dyn Step>]) -> Result<(), Failure> {
        let link = self.link().map_err(|error| again(&error))?;
        let result = commit(link, group);
        let is_lost = link.take_remedy() == Remedy::Reconnect;
        // Ends the transaction that was given up.
        if is_lost || (result.is_err() && link.roll_back().is_err()) {
            self.link = None;
        }
        result
    }

    /// Asks what became of a transaction whose commit was not answered. `None` when it cannot be told.
    fn is_committed(&mut self, transaction: &str) -> Option<bool> {
        for _ in 0..ASKED {
            match self.link().and_then(|link| link.text(FATE, Some(transaction))) {
                Ok(Some(fate)) if fate == "committed" => return Some(true),
                Ok(Some(fate)) if fate == "aborted" => return Some(false),
                // In progress: the server has not noticed yet that nobody is there.
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "the fate of a transaction cannot be asked for yet");
                    self.link = None;
                }
            }
            connector::pause(ASK_PAUSE);
        }
        None
    }
}

impl Writer for PostgresWriter {
    /// Not many, so that what others wait for is short.
    const GROUP: usize = 128;

    fn transact(&mut self, group: &mut [Box<dyn Step>]) -> Result<(), String> {
        match self.insist(group) {
            Ok(()) => return Ok(()),
            Err(Failure::Again(reason) | Failure::Unknown(reason)) => return Err(reason),
            Err(Failure::Apart) => {}
        }
        for step in group {
            if let Err(Failure::Again(reason) | Failure::Unknown(reason)) = self.insist(std::slice::from_mut(step)) {
                step.refuse(unavailable(&reason));
            }
        }
        Ok(())
    }

    fn close(self) {}
}

/// Runs a group in one transaction. There are no savepoints: when a step is to be undone, all are.
fn commit(link: &Link, group: &mut [Box<dyn Step>]) -> Result<(), Failure> {
    let alone = group.len() == 1;
    link.send("BEGIN").map_err(|error| again(&error))?;
    let transaction = link.text(GATE, None).map_err(|error| again(&error))?;
    let transaction = transaction.ok_or_else(|| Failure::Again("the schema has no gate".to_owned()))?;
    for step in group {
        link.begin_step();
        let mut done = step.run(link);
        if alone
            && done
            && let Err(error) = link.settle()
        {
            step.refuse(error);
            done = false;
        }
        if link.has_given_up() {
            return Err(Failure::Again("the database is busy or restarting".to_owned()));
        }
        if alone && !done {
            return link.roll_back().map_err(|error| again(&error));
        }
        if link.has_failed() || (!done && link.has_written()) {
            return Err(Failure::Apart);
        }
    }
    link.batch("COMMIT").map_err(|error| match fault::remedy(&error) {
        Remedy::Reconnect => Failure::Unknown(transaction),
        Remedy::Again => again(&error),
        // What was sent before it failed, so that the transaction came to nothing.
        Remedy::None => Failure::Apart,
    })
}

fn again(error: &tokio_postgres::Error) -> Failure {
    let reason = match fault::told(error) {
        StoreError::Unavailable(reason) => reason,
        _ => "the database refused a transaction".to_owned(),
    };
    Failure::Again(reason)
}
