//! Runs seeds.
fn main() {
    let mut args = std::env::args().skip(1).map(|text| text.parse::<u64>().unwrap());
    let (first, count) = (args.next().unwrap_or(0), args.next().unwrap_or(1));
    for seed in first..first + count {
        let outcome = datasonar_sim::run(seed, None).unwrap();
        if count == 1 { for line in &outcome.trace { println!("{line}"); } }
        println!("{seed} {:?} {:?} {:x} {} {:?}", outcome.counts, outcome.elapsed, outcome.hash, outcome.violations.len(), outcome.violations.first());
    }
}
