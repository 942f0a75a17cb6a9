//! The program: everything is in the library.

use std::process::ExitCode;

use datasonar::cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Threads that may block: for SQLite, files, extraction and large requests. Each keeps some memory to itself, so that
/// tokio's default of 512 would cost more than it gives.
const BLOCKING_THREADS: usize = 48;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().max_blocking_threads(BLOCKING_THREADS).enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(cli::run()),
        Err(error) => cli::fail(&error.into()),
    }
}
