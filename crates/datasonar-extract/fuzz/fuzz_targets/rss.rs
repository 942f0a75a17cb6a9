#![no_main]

#[path = "../../tests/fuzzing/mod.rs"]
mod fuzzing;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (_, target) = fuzzing::TARGETS.iter().find(|(name, _)| *name == "rss").expect("a target of that name");
    target(bytes);
});
