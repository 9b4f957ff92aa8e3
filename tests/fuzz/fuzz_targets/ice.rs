//! `cargo +nightly fuzz run ice` in this folder.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| trunkline_fuzz::link::ice(bytes));
