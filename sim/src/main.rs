//! Runs seeds of the simulation: many with a progress bar, or one with its whole trace.
#![expect(clippy::print_stdout, reason = "this is a program for people")]

use std::{sync::Mutex, time::Duration};

use anyhow::bail;
use clap::Parser;
use datasonar_sim::{Counts, Mutation, Outcome, check_many, report, run};
use indicatif::{ProgressBar, ProgressStyle};

/// Many processes, one store, a hostile network, one seed.
#[derive(Parser)]
struct Args {
    /// How many seeds; each is run twice.
    #[arg(default_value_t = 200)]
    count: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Run this seed alone, and print what happened.
    #[arg(long)]
    seed: Option<u64>,
    /// Break the engine: `no-epoch-check`, `delivery-apart`, `attempt-recorded-early`, `given-up-early` or `deaths-not-counted`. With --seed.
    #[arg(long, requires = "seed", value_parser = mutation)]
    mutation: Option<Mutation>,
}

fn mutation(name: &str) -> Result<Mutation, String> {
    Mutation::ALL.into_iter().find(|mutation| mutation.name() == name).ok_or_else(|| format!("there is no `{name}`"))
}

fn main() -> anyhow::Result<()> {
    let Args { count, first, seed, mutation } = Args::parse();
    match seed {
        Some(seed) => one(seed, mutation),
        None => many(first, count),
    }
}

fn one(seed: u64, mutation: Option<Mutation>) -> anyhow::Result<()> {
    let outcome = run(seed, mutation)?;
    for line in &outcome.trace {
        println!("{}", line.text);
    }
    if !outcome.violations.is_empty() {
        bail!("seed {seed}: {}", report(&outcome));
    }
    println!("seed {seed}: {} in {}, hash {:016x}", counts(outcome.counts), hours(outcome.elapsed), outcome.hash);
    Ok(())
}

fn many(first: u64, count: u64) -> anyhow::Result<()> {
    let style = "{bar:30} {pos}/{len} seeds, {per_sec}, {eta} to go  {msg}";
    let bar = ProgressBar::new(count).with_style(ProgressStyle::with_template(style)?);
    let all = Mutex::new((Counts::default(), Duration::ZERO, 0));
    let checked = check_many(first, count, |outcome: &Outcome| {
        let mut all = all.lock().expect("nobody panics with it");
        all.0 += outcome.counts;
        all.1 += outcome.elapsed;
        all.2 += outcome.trace.len();
        bar.inc(1);
        bar.set_message(counts(all.0));
    });
    bar.finish_and_clear();
    if let Err(failure) = checked {
        bail!("{failure}");
    }
    let (sum, elapsed, lines) = all.into_inner().expect("nobody panics with it");
    println!("{count} seeds from {first} on, each run twice with the same trace: every promise was kept");
    println!("{} in {} of simulated time; {lines} lines of trace", counts(sum), hours(elapsed));
    Ok(())
}

fn counts(counts: Counts) -> String {
    let Counts { jobs, pages, given_up, deliveries, posts, deaths } = counts;
    format!("{jobs} jobs, {pages} pages, {given_up} given up, {deliveries} deliveries, {posts} POSTs, {deaths} deaths")
}

fn hours(time: Duration) -> String {
    format!("{} h", time.as_secs() / 3_600)
}
