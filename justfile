# What one types while working on Datasonar. `just check` is what continuous integration runs.

# List the recipes.
default:
    @just --list

# Formatting, lints and every test.
check:
    scripts/test

# The main job on this machine, end to end.
demo *args:
    cargo run --release -- demo {{args}}

# A server on the embedded store.
serve *args:
    cargo run --release -- serve {{args}}

# The benchmarks; results with the machine's description belong in docs/benchmarks.md.
bench *args:
    cargo bench -p datasonar {{args}}

# Faults of machines, disks, databases and clocks, done to real processes, in large.
faults *rounds:
    scripts/faults {{rounds}}

# The simulation: so many seeds, each twice; `just sim 5000 --first 200`, or `just sim --seed 17` for one with its trace.
sim *args:
    cargo run -p datasonar-sim -- {{args}}

# The properties on newly drawn cases, so many times; `just check` has the same cases each time.
properties rounds="20":
    for round in $(seq {{rounds}}); do \
        cargo test --quiet -p datasonar-extract --test markdown --test bounds && \
        cargo test --quiet -p datasonar-net --test net address && \
        cargo test --quiet -p datasonar --lib -- retry lanes cron decide segment shell key sitemap robots_rules || exit; \
    done

# One of extraction's fuzz targets by libFuzzer (needs a nightly compiler and cargo-fuzz), without a sanitizer: there is no unsafe code to watch.
fuzz target="html" seconds="120" memory_mb="512" max_len="60000":
    cd crates/datasonar-extract && mkdir -p ../../target/fuzz-{{target}} && \
        cargo +nightly fuzz run --sanitizer none {{target}} ../../target/fuzz-{{target}} -- -max_total_time={{seconds}} -max_len={{max_len}} -rss_limit_mb={{memory_mb}}

# Accept the changed snapshots after looking at them.
bless:
    INSTA_UPDATE=always cargo test --workspace --locked

# Known vulnerabilities in dependencies (needs cargo-deny and the network).
audit:
    cargo deny check

# How good and how fast extraction is on a folder of pages with their truths, next to html5ever and comparable crates.
quality corpus:
    cargo build --release --manifest-path tools/quality-peers/Cargo.toml
    taskset -c 0 tools/quality-peers/target/release/quality-peers {{corpus}}

# The parser's trees next to html5ever's, on the same kind of folder.
trees corpus:
    CORPUS={{corpus}} cargo test --release -p datasonar-extract --lib agreement -- --include-ignored --nocapture
