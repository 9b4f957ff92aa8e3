//! `cargo +nightly fuzz run message` in this folder.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| trunkline_fuzz::exercise::message(bytes));
