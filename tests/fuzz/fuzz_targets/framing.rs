//! `cargo +nightly fuzz run framing` in this folder.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| trunkline_fuzz::exercise::framing(bytes));
