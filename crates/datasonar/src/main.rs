//! The program: everything is in the library.

use std::process::ExitCode;

use datasonar::cli;

/// Chosen by measurement, with 100,000 pages and their callback: a peak of 200 MB, where glibc's allocator made one of 272 MB
/// that grew with the length of the job, and mimalloc one above 400 MB.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Threads that may block: for SQLite, files, extraction and large requests. Each keeps some memory to itself, so that
/// tokio's default of 512 would cost more than it gives.
const BLOCKING_THREADS: usize = 48;

fn main() -> ExitCode {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().max_blocking_threads(BLOCKING_THREADS).enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(cli::run()),
        Err(error) => cli::fail(&error.into()),
    }
}
