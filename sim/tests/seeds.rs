//! The simulation in continuous integration: 200 seeds, each run twice; and that the oracle can fail.

use datasonar_sim::{Mutation, Property, check_many, hunt};

/// How many seeds continuous integration runs.
const SEEDS: u64 = 200;

#[test]
fn every_promise_is_kept_whatever_happens() {
    if let Err(failure) = check_many(0, SEEDS, |_| {}) {
        panic!("{failure}");
    }
}

#[test]
fn a_broken_engine_is_noticed() {
    for (mutation, property) in [
        (Mutation::NoEpochCheck, Property::Fenced),
        (Mutation::DeliveryApart, Property::OneDelivery),
        (Mutation::AttemptRecordedEarly, Property::DeliveredAfter2xx),
        (Mutation::GivenUpEarly, Property::JustlyGivenUp),
        (Mutation::DeathsNotCounted, Property::PoisonIsContained),
    ] {
        let found = hunt(mutation, 0, SEEDS).unwrap();
        let outcome = found.unwrap_or_else(|| panic!("{mutation:?} was not noticed in {SEEDS} seeds"));
        let violated: Vec<_> = outcome.violations.iter().map(|violation| violation.property).collect();
        assert!(violated.contains(&property), "{mutation:?} violates {violated:?} in seed {}", outcome.seed);
    }
}
