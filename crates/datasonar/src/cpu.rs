//! Threads for work that keeps a processor busy: extracting, compressing, hashing.
//!
//! There are as many as processors, and no more: tokio's threads for blocking calls are many and come and go, and each
//! that ever parsed a large page keeps memory for the next. Reactor threads never do such work.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::OnceLock,
    thread,
};

use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::sync::oneshot;

/// How much stack a thread has.
const STACK_BYTES: usize = 4 * 1024 * 1024;

/// Work that panicked, with what it said.
pub type Panicked = Box<dyn Any + Send>;

/// Does work on one of the threads; first come, first served. Work that was handed over is done even if nobody waits for it
/// any more.
///
/// # Errors
/// When the work panicked. The thread goes on.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Panicked> {
    let (sender, result) = oneshot::channel();
    pool().spawn_fifo(move || {
        // Whoever waited may have gone away.
        let _ = sender.send(catch_unwind(AssertUnwindSafe(work)));
    });
    result.await.expect("work that was handed over is done")
}

/// Does work that panics only where there is a defect, whose panic is then the caller's.
pub async fn run_sound<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    run(work).await.unwrap_or_else(|panic| resume_unwind(panic))
}

fn pool() -> &'static ThreadPool {
    static POOL: OnceLock<ThreadPool> = OnceLock::new();
    POOL.get_or_init(|| {
        let threads = thread::available_parallelism().map_or(1, Into::into);
        ThreadPoolBuilder::new()
            .num_threads(threads)
            .stack_size(STACK_BYTES)
            .thread_name(|index| format!("cpu-{index}"))
            .build()
            .expect("the system has threads to give")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_answer_and_the_threads_go_on() {
        for n in 0..10 {
            assert!(run(|| panic!("this page is poison")).await.is_err());
            assert_eq!(run_sound(move || n + 1).await, n + 1);
        }
    }
}
