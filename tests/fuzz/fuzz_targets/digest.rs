//! `cargo +nightly fuzz run digest` in this folder.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| trunkline_fuzz::digest::digest(bytes));
