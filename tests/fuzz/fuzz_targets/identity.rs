//! `cargo +nightly fuzz run identity` in this folder.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| trunkline_fuzz::identity::identity(bytes));
