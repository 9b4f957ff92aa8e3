//! `cargo +nightly fuzz run certificate` in this folder.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| trunkline_fuzz::identity::certificate(bytes));
