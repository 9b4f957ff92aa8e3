//! `cargo +nightly fuzz run xr` in this folder.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| trunkline_fuzz::rtp::xr(bytes));
