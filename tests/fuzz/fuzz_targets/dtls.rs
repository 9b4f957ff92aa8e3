//! `cargo +nightly fuzz run dtls` in this folder.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| trunkline_fuzz::handshake::dtls(bytes));
