//! `cargo +nightly fuzz run answer` in this folder.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| trunkline_fuzz::answer::answer(bytes));
