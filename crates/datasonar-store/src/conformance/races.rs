//! Checks of many callers at once.

use std::collections::HashSet;

use tokio::task::JoinSet;

use super::samples::*;
use crate::{DeliveryFilter, DeliveryStatus, Finish, JobFilter, Page, Submission};

/// However many claim at once, no task is given twice, and none is left.
pub async fn parallel_claimers_never_share_a_task(store: Tested) {
    let mut expected = HashSet::new();
    for tasks in [40, 1, 60, 1, 20] {
        let id = submit(&store, batch(scope(), tasks)).await;
        expected.extend((0..tasks).map(|seq| (id, seq)));
    }
    let mut claimers = JoinSet::new();
    for _ in 0..16 {
        let store = store.clone();
        claimers.spawn(async move {
            let mut mine = Vec::new();
            loop {
                let claimed = claim(&store, 3).await;
                if claimed.is_empty() {
                    return mine;
                }
                mine.extend(places(&claimed));
            }
        });
    }
    let given: Vec<_> = claimers.join_all().await.concat();
    assert_eq!(given.len(), expected.len());
    assert_eq!(given.into_iter().collect::<HashSet<_>>(), expected);
}

/// However many finish a job's tasks at once, one of them ends it, with one delivery.
pub async fn parallel_finishers_end_the_job_once(store: Tested) {
    let scope = scope();
    let id = submit(&store, batch(scope, 40)).await;
    let mut finishers = JoinSet::new();
    for task in claim(&store, ALL).await {
        let store = store.clone();
        finishers.spawn(async move { finish(&store, &task).await });
    }
    let ends: Vec<_> = finishers.join_all().await.into_iter().filter(|end| *end != Finish::Task).collect();
    let [Finish::Job { delivery: Some(delivery) }] = ends[..] else { panic!("it ended {} times", ends.len()) };
    let job = store.job(scope, id).await.unwrap();
    assert_eq!((job.succeeded, job.segments), (400, 40));
    assert_eq!(job.delivery, Some((delivery, DeliveryStatus::Pending)));
    let page = Page { limit: ALL, before: None };
    assert_eq!(store.deliveries(scope, DeliveryFilter::default(), page).await.unwrap().len(), 1);
    assert_eq!(store.usage(scope, at(0)).await.unwrap().pages, 400);
}

/// However many submit under one key at once, one job is made, and all get its answer.
pub async fn twenty_submissions_with_one_key_make_one_job(store: Tested) {
    let scope = scope();
    let mut submitters = JoinSet::new();
    for _ in 0..20 {
        let store = store.clone();
        let job = keyed(batch(scope, 2), "key", 1);
        let answer = job.idempotency.clone().unwrap().answer;
        submitters.spawn(async move { (answer, store.submit_job(job).await.unwrap()) });
    }
    let answers = submitters.join_all().await;
    let accepted: Vec<_> =
        answers.iter().filter(|(_, done)| *done == Submission::Accepted).map(|(answer, _)| answer).collect();
    assert_eq!(accepted.len(), 1);
    let repeated = Submission::Repeated { answer: accepted[0].clone() };
    assert_eq!(answers.iter().filter(|(_, done)| *done == repeated).count(), 19);
    let page = Page { limit: ALL, before: None };
    assert_eq!(store.jobs(scope, JobFilter::default(), page).await.unwrap().len(), 1);
}

/// However many dispatch at once, no delivery is given twice.
pub async fn parallel_dispatchers_never_share_a_delivery(store: Tested) {
    let scope = scope();
    for _ in 0..40 {
        submit(&store, scrape(scope)).await;
    }
    run_all(&store).await;
    let mut dispatchers = JoinSet::new();
    for _ in 0..8 {
        let store = store.clone();
        dispatchers.spawn(async move {
            let mut mine = Vec::new();
            loop {
                let claimed = claim_due(&store, 3, at(10)).await;
                if claimed.is_empty() {
                    return mine;
                }
                mine.extend(claimed.into_iter().map(|claimed| claimed.delivery.id));
            }
        });
    }
    let given = dispatchers.join_all().await.concat();
    assert_eq!((given.len(), given.into_iter().collect::<HashSet<_>>().len()), (40, 40));
}

/// Of two that finish with one lease at once, one does.
pub async fn two_finishers_of_one_lease(store: Tested) {
    let scope = scope();
    for _ in 0..20 {
        submit(&store, batch(scope, 1)).await;
    }
    for task in claim(&store, ALL).await {
        let (one, other) = tokio::join!(store.finish_task(outcome(&task)), store.finish_task(outcome(&task)));
        assert_eq!(u8::from(one.is_ok()) + u8::from(other.is_ok()), 1);
    }
    assert_eq!(store.usage(scope, at(0)).await.unwrap().pages, 200);
}

/// A caller that goes away before its answer leaves the store in order, with its step done wholly or not at all.
pub async fn a_caller_that_goes_away_harms_nobody(store: Tested) {
    let scope = scope();
    for _ in 0..20 {
        let job = batch(scope, 5);
        let (gone, id) = (store.clone(), job.id);
        let caller = tokio::spawn(async move { gone.submit_job(job).await });
        tokio::task::yield_now().await;
        caller.abort();
        caller.await.ok();
        // What comes after it in the queue has seen it through.
        store.ping().await.unwrap();
        if let Ok(job) = store.job(scope, id).await {
            assert_eq!(job.total, 50);
        }
    }
    let page = Page { limit: ALL, before: None };
    let jobs = store.jobs(scope, JobFilter::default(), page).await.unwrap().len();
    assert_eq!(claim(&store, ALL).await.len(), jobs * 5);
}
