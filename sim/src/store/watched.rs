//! The calls whose effect the oracle hears of, and where the engine can be broken on purpose.

use datasonar_store::*;
use jiff::Timestamp;

use super::{FaultyStore, Mutation, mutation};
use crate::host::Cut;

impl FaultyStore {
    /// Cuts off whoever has just claimed something, so that others claim it while the first goes on.
    fn ambush(&self) {
        let (host, world) = (self.host.clone(), self.world.clone());
        if !world.strikes(world.weather.ambush) {
            return;
        }
        let (wait, time, way) = {
            let mut dice = world.dice();
            (dice.milliseconds(0..25_000), dice.milliseconds(25_000..110_000), dice.of(0..3))
        };
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            world.note(&host.name, format_args!("is ambushed for {time:?}"));
            host.cut_store(if way == 0 { Cut::Refused } else { Cut::Silent });
            host.cut_network(way == 2);
            tokio::time::sleep(time).await;
            host.heal(1);
        });
    }

    pub(super) async fn watch_claim_tasks(&self, claim: ClaimTasks) -> Result<Vec<ClaimedTask>> {
        if self.rows.mutation == Some(Mutation::DeathsNotCounted) {
            self.rows.forget_deaths();
        }
        let mut claimed = self.rows.store.claim_tasks(claim).await;
        if let (Some(Mutation::GivenUpEarly), Ok(claimed)) = (self.rows.mutation, &mut claimed) {
            let known = claimed.iter_mut().filter_map(|task| task.isolation.as_mut());
            known.flat_map(|known| &mut known.deaths).for_each(|deaths| deaths.alone *= 2);
        }
        if let Ok(claimed) = &claimed {
            self.world.oracle().claimed_tasks(&self.host.name, claimed);
            if !claimed.is_empty() {
                self.ambush();
            }
        }
        claimed
    }

    pub(super) async fn watch_finish_task(&self, finish: FinishTask) -> Result<Finish> {
        let store = &self.rows.store;
        let finished = match self.rows.mutation {
            Some(Mutation::NoEpochCheck) => mutation::finish_task_unfenced(self, finish.clone()).await,
            // It tells the oracle, too: the process may die in the middle of it.
            Some(Mutation::DeliveryApart) => return mutation::finish_task_apart(self, finish).await,
            _ => store.finish_task(finish.clone()).await,
        };
        if let Ok(finished) = &finished {
            self.world.oracle().finished_task(&self.host.name, &finish, *finished);
        }
        finished
    }

    pub(super) async fn watch_release_tasks(&self, leases: Vec<TaskLease>) -> Result<()> {
        let released = self.rows.store.release_tasks(leases.clone()).await;
        if released.is_ok() {
            leases.into_iter().for_each(|lease| self.world.oracle().released_task(lease));
        }
        released
    }

    pub(super) async fn watch_mark_page(&self, lease: TaskLease, mark: PageMark) -> Result<()> {
        let marked = self.rows.store.mark_page(lease, mark).await;
        if marked.is_ok() {
            self.world.oracle().marked_page(lease, mark);
        }
        marked
    }

    pub(super) async fn watch_keep_page(&self, lease: TaskLease, kept: KeptPage) -> Result<()> {
        let stored = self.rows.store.keep_page(lease, kept.clone()).await;
        if stored.is_ok() {
            self.world.oracle().kept_page(&self.host.name, lease, &kept);
        }
        stored
    }

    pub(super) async fn watch_submit_test(&self, test: NewTest) -> Result<ClaimedDelivery> {
        let claimed = self.rows.store.submit_test(test).await;
        if let Ok(claimed) = &claimed {
            self.world.oracle().claimed_deliveries(&self.host.name, std::slice::from_ref(claimed));
        }
        claimed
    }

    pub(super) async fn watch_claim_deliveries(&self, claim: ClaimDeliveries) -> Result<Vec<ClaimedDelivery>> {
        let now = claim.now;
        let claimed = self.rows.store.claim_deliveries(claim).await;
        if let Ok(claimed) = &claimed {
            self.world.oracle().claimed_deliveries(&self.host.name, claimed);
            if !claimed.is_empty() {
                self.ambush();
            }
            if self.rows.mutation == Some(Mutation::AttemptRecordedEarly) {
                for delivery in claimed {
                    mutation::record_early(self, delivery, now).await?;
                }
            }
        }
        claimed
    }

    pub(super) async fn watch_finish_attempt(
        &self,
        lease: DeliveryLease,
        attempt: Attempt,
        verdict: Verdict,
        now: Timestamp,
    ) -> Result<()> {
        let finished = match self.rows.mutation {
            Some(Mutation::NoEpochCheck) => {
                mutation::finish_attempt_unfenced(self, lease, attempt.clone(), verdict, now).await
            }
            // It was recorded when it was claimed.
            Some(Mutation::AttemptRecordedEarly) => return Ok(()),
            _ => self.rows.store.finish_attempt(lease, attempt.clone(), verdict, now).await,
        };
        if finished.is_ok() {
            self.world.oracle().finished_attempt(&self.host.name, lease, &attempt, verdict);
        }
        finished
    }
}
