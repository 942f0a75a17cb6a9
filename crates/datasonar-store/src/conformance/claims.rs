//! Checks of claiming: what is told, and who is served.

use super::samples::*;
use crate::{ClaimTasks, JobInput, JobKind, JobStatus, NewJob, NewTask, NewWork, TaskInput};

/// A claim holds all that is needed to work.
pub async fn a_claim_tells_all_that_is_needed(store: Tested) {
    let scope = sandbox_of(scope());
    let new = batch(scope, 2);
    let id = submit(&store, new.clone()).await;
    let tasks = claim(&store, ALL).await;
    assert_eq!(places(&tasks), [(id, 0), (id, 1)]);
    let task = &tasks[1];
    assert_eq!((task.scope, task.kind, task.created_at), (scope, JobKind::Batch, at(0)));
    assert_eq!(task.options, new.options);
    let input = JobInput::Blob(format!("inputs/{id}"));
    assert_eq!(task.input, TaskInput::Range { input, offset: 250, bytes: 250 });
    assert_eq!((task.first, task.urls, task.cancelled), (10, 10, false));
    assert_eq!(task.lease.epoch, 1);
}

/// An input in the row comes cut to the task's range.
pub async fn inline_input_is_cut(store: Tested) {
    let range = |input_offset, input_bytes| NewTask { input_offset, input_bytes, urls: 1 };
    let input = JobInput::Inline(b"one\ntwo\nthree\n".to_vec());
    let work = NewWork::Listed { input, tasks: vec![range(0, 4), range(4, 4), range(8, 6)] };
    submit(&store, NewJob { work, ..batch(scope(), 0) }).await;
    let tasks = claim(&store, ALL).await;
    let inputs: Vec<_> = tasks.into_iter().map(|task| task.input).collect();
    let inline = |text: &str| {
        let input = JobInput::Inline(text.into());
        TaskInput::Range { input, offset: 0, bytes: text.len() as u32 }
    };
    assert_eq!(inputs, [inline("one\n"), inline("two\n"), inline("three\n")]);
}

/// The first claim starts a job; later ones do not start it again.
pub async fn the_first_claim_starts_the_job(store: Tested) {
    let scope = scope();
    let id = submit(&store, batch(scope, 2)).await;
    claim_at(&store, 1, at(5)).await;
    claim_at(&store, 1, at(6)).await;
    let job = store.job(scope, id).await.unwrap();
    assert_eq!((job.status, job.started_at), (JobStatus::Started, Some(at(5))));
}

/// Where nothing waits, nothing is claimed.
pub async fn nothing_to_claim(store: Tested) {
    assert!(claim(&store, ALL).await.is_empty());
    ended(&store, scope()).await;
    assert!(claim_at(&store, ALL, at(1_000_000)).await.is_empty());
}

/// Who asks for nothing gets nothing.
pub async fn a_limit_of_nothing(store: Tested) {
    let scope = scope();
    let id = submit(&store, batch(scope, 1)).await;
    assert!(claim(&store, 0).await.is_empty());
    assert_eq!(store.job(scope, id).await.unwrap().status, JobStatus::Pending);
}

/// A job gives its tasks in their order, those given back too.
pub async fn tasks_come_in_order(store: Tested) {
    let id = submit(&store, batch(scope(), 6)).await;
    let first = claim(&store, 3).await;
    assert_eq!(places(&first), [(id, 0), (id, 1), (id, 2)]);
    store.release_tasks(vec![first[1].lease]).await.unwrap();
    assert_eq!(places(&claim(&store, 3).await), [(id, 1), (id, 3), (id, 4)]);
}

/// Accounts take turns, however many jobs each has.
pub async fn accounts_take_turns(store: Tested) {
    let (many, one) = (scope(), scope());
    let mut jobs = Vec::new();
    for _ in 0..4 {
        jobs.push(submit(&store, batch(many, 10)).await);
    }
    let lone = submit(&store, batch(one, 10)).await;
    assert_eq!(of(&claim(&store, 8).await, lone), 4);
    let mut given = 0;
    for _ in 0..6 {
        given += of(&claim(&store, 1).await, lone);
    }
    assert_eq!(given, 3, "one by one too");
}

/// Within an account, jobs take turns; the order goes on from claim to claim.
pub async fn jobs_take_turns(store: Tested) {
    let scope = scope();
    let mut jobs = Vec::new();
    for _ in 0..3 {
        jobs.push(submit(&store, batch(scope, 10)).await);
    }
    let mut served = Vec::new();
    for _ in 0..6 {
        served.push(claim(&store, 1).await[0].lease.job);
    }
    assert_eq!(served, [jobs.clone(), jobs.clone()].concat());
    let four = claim(&store, 4).await;
    assert_eq!(jobs.iter().map(|job| of(&four, *job)).collect::<Vec<_>>(), [2, 1, 1]);
    assert_eq!(claim(&store, 1).await[0].lease.job, jobs[1]);
}

/// An account has one turn for both its environments.
pub async fn the_environments_of_an_account_share_its_turns(store: Tested) {
    let (both, other) = (scope(), scope());
    submit(&store, batch(both, 10)).await;
    submit(&store, batch(sandbox_of(both), 10)).await;
    let lone = submit(&store, batch(other, 10)).await;
    assert_eq!(of(&claim(&store, 8).await, lone), 4);
}

/// A job that was never served comes before all others of its account, and a new account before all others.
pub async fn a_new_job_comes_before_all(store: Tested) {
    let (old, other) = (scope(), scope());
    for _ in 0..3 {
        submit(&store, batch(old, 10)).await;
    }
    claim(&store, 7).await;
    let new = submit(&store, batch(old, 10)).await;
    assert_eq!(claim(&store, 1).await[0].lease.job, new);
    let newcomer = submit(&store, batch(other, 10)).await;
    assert_eq!(claim(&store, 1).await[0].lease.job, newcomer);
}

/// A job that is alone may have all that is asked for, beyond its share.
pub async fn a_lone_job_gets_everything(store: Tested) {
    let id = submit(&store, batch(scope(), 50)).await;
    let tasks = store.claim_tasks(ClaimTasks { per_job: 4, ..claiming(20) }).await.unwrap();
    assert_eq!(of(&tasks, id), 20);
    let held = vec![(id, 20)];
    let tasks = store.claim_tasks(ClaimTasks { per_job: 4, held, ..claiming(20) }).await.unwrap();
    assert_eq!(of(&tasks, id), 20);
}

/// Beside another that has tasks to give, no job gets more than its share.
pub async fn no_job_gets_more_than_its_share_beside_another(store: Tested) {
    let (one, other) = (scope(), scope());
    let jobs = [submit(&store, batch(one, 50)).await, submit(&store, batch(other, 50)).await];
    let tasks = store.claim_tasks(ClaimTasks { per_job: 4, ..claiming(20) }).await.unwrap();
    assert_eq!(jobs.map(|job| of(&tasks, job)), [4, 4]);
}

/// What the claimer holds of a job counts towards its share.
pub async fn held_tasks_count_towards_the_share(store: Tested) {
    let scope = scope();
    let jobs = [submit(&store, batch(scope, 50)).await, submit(&store, batch(scope, 50)).await];
    let held = vec![(jobs[0], 3)];
    let tasks = store.claim_tasks(ClaimTasks { per_job: 4, held, ..claiming(20) }).await.unwrap();
    assert_eq!(jobs.map(|job| of(&tasks, job)), [1, 4]);
}

/// Of two jobs that have their share already, none gets more while the other waits.
pub async fn two_full_jobs_get_no_more(store: Tested) {
    let scope = scope();
    let jobs = [submit(&store, batch(scope, 50)).await, submit(&store, batch(scope, 50)).await];
    let held = vec![(jobs[0], 4), (jobs[1], 9)];
    let claim = ClaimTasks { per_job: 4, held, ..claiming(20) };
    assert!(store.claim_tasks(claim.clone()).await.unwrap().is_empty());
    assert_eq!(store.job(scope, jobs[0]).await.unwrap().status, JobStatus::Pending);
    let third = submit(&store, batch(scope, 2)).await;
    let tasks = store.claim_tasks(claim).await.unwrap();
    assert_eq!((tasks.len(), of(&tasks, third)), (2, 2));
}

/// A job whose last task was just given waits for nothing: the other may have the rest.
pub async fn a_job_that_gave_its_last_does_not_wait(store: Tested) {
    let scope = scope();
    let jobs = [submit(&store, batch(scope, 50)).await, submit(&store, batch(scope, 2)).await];
    let tasks = store.claim_tasks(ClaimTasks { per_job: 4, ..claiming(20) }).await.unwrap();
    assert_eq!(jobs.map(|job| of(&tasks, job)), [18, 2]);
}

/// A full claimer is served newcomers only.
pub async fn newcomers_only_serves_newcomers(store: Tested) {
    let (one, other) = (scope(), scope());
    let held = submit(&store, batch(one, 50)).await;
    let claim = ClaimTasks { held: vec![(held, 1)], newcomers_only: true, per_job: 4, ..claiming(20) };
    assert!(store.claim_tasks(claim.clone()).await.unwrap().is_empty());
    let newcomer = submit(&store, batch(one, 2)).await;
    let stranger = submit(&store, scrape(other)).await;
    let tasks = store.claim_tasks(claim.clone()).await.unwrap();
    assert_eq!((tasks.len(), of(&tasks, newcomer), of(&tasks, stranger)), (3, 2, 1));
    let lone = submit(&store, batch(other, 50)).await;
    let tasks = store.claim_tasks(claim).await.unwrap();
    assert_eq!(of(&tasks, lone), 20, "what is not served does not count as waiting");
}

/// A scrape that comes while a large batch is worked on is in the next claim.
pub async fn a_single_scrape_is_served_beside_a_large_batch(store: Tested) {
    let scope = scope();
    let large = submit(&store, batch(scope, 200)).await;
    let held = claim(&store, 32).await.len() as u32;
    let small = submit(&store, scrape(scope)).await;
    let claim = ClaimTasks { held: vec![(large, held)], newcomers_only: true, ..claiming(4) };
    assert_eq!(places(&store.claim_tasks(claim).await.unwrap()), [(small, 0)]);
}
