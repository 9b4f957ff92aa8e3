//! `cargo +nightly fuzz run websocket` in this folder.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| trunkline_fuzz::datagram::websocket(bytes));
