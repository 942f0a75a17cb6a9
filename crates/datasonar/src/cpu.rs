//! Threads for work that keeps a processor busy (extracting, compressing, hashing), or that blocks.
//!
//! For the first there are as many as processors at each [`Priority`], and no more: tokio's threads for blocking calls are many and come and go,
//! and each that ever parsed a large page keeps memory for the next. Reactor threads never do such work, except in the
//! simulation, where no other thread may decide an order: [`stay_inline`].

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::sync::oneshot;

/// How much stack a thread has.
const STACK_BYTES: usize = 4 * 1024 * 1024;

/// Work that panicked, with what it said.
pub type Panicked = Box<dyn Any + Send>;

/// Whether work is done by whoever asks for it.
static INLINE: AtomicBool = AtomicBool::new(false);

/// Has all work of this process done on the thread that asks for it, from now on. For the simulation.
pub fn stay_inline() {
    INLINE.store(true, Ordering::Relaxed);
}

fn is_inline() -> bool {
    INLINE.load(Ordering::Relaxed)
}

/// The priority of work. Each has threads of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// Work that takes milliseconds.
    Normal,
    /// Work that may take seconds. On Linux the system gives its threads a tenth of the time of others that are busy.
    Background,
}

/// How much nicer than others the threads of background work are, see `setpriority(2)`.
#[cfg(target_os = "linux")]
const BACKGROUND_NICE: i32 = 10;

/// Does work at the normal priority; first come, first served. Work that was handed over is done even if nobody waits for it
/// any more.
///
/// # Errors
/// When the work panicked. The thread goes on.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Panicked> {
    run_at(Priority::Normal, work).await
}

/// Does the same at a priority.
///
/// # Errors
/// When the work panicked. The thread goes on.
pub async fn run_at<T: Send + 'static>(
    priority: Priority,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Panicked> {
    if is_inline() {
        return catch_unwind(AssertUnwindSafe(work));
    }
    let (sender, result) = oneshot::channel();
    pool(priority).spawn_fifo(move || {
        // Whoever waited may have gone away.
        let _ = sender.send(catch_unwind(AssertUnwindSafe(work)));
    });
    result.await.expect("work that was handed over is done")
}

/// Does work that panics only where there is a defect, whose panic is then the caller's.
pub async fn run_sound<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    run(work).await.unwrap_or_else(|panic| resume_unwind(panic))
}

/// Does work that may wait for others, on one of tokio's threads that may be blocked.
///
/// # Errors
/// When the work panicked.
pub async fn block<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Panicked> {
    if is_inline() {
        return catch_unwind(AssertUnwindSafe(work));
    }
    // It is never aborted, so that panicking is all that it can have failed by, unless the process is stopping.
    tokio::task::spawn_blocking(work).await.map_err(|error| match error.try_into_panic() {
        Ok(panic) => panic,
        Err(stopping) => Box::new(stopping),
    })
}

/// What work said when it panicked.
pub fn said(panic: &Panicked) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no reason given").to_owned()
}

fn pool(priority: Priority) -> &'static ThreadPool {
    static NORMAL: OnceLock<ThreadPool> = OnceLock::new();
    static BACKGROUND: OnceLock<ThreadPool> = OnceLock::new();
    let (pool, name) = match priority {
        Priority::Normal => (&NORMAL, "cpu"),
        Priority::Background => (&BACKGROUND, "background"),
    };
    pool.get_or_init(|| {
        let threads = thread::available_parallelism().map_or(1, Into::into);
        ThreadPoolBuilder::new()
            .num_threads(threads)
            .stack_size(STACK_BYTES)
            .thread_name(move |index| format!("{name}-{index}"))
            .start_handler(move |_| {
                #[cfg(target_os = "linux")]
                if priority == Priority::Background {
                    // Without it the work is done all the same.
                    let _ = rustix::process::setpriority_process(None, BACKGROUND_NICE);
                }
            })
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
            assert_eq!(run_at(Priority::Background, move || n + 2).await.ok(), Some(n + 2));
        }
    }
}
