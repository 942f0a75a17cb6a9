//! Runs seeds.
fn main() {
    let seed = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
    let outcome = datasonar_sim::run(seed, None).unwrap();
    for line in &outcome.trace { println!("{line}"); }
    println!("{:?} {:?} {:x} {:?}", outcome.counts, outcome.elapsed, outcome.hash, outcome.violations);
}
