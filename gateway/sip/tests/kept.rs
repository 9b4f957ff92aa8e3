//! What fuzzing learnt (`tests/fuzz/kept`), replayed: every input that reached something new, against the same checks.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../../tests/fuzz/src/datagram.rs"]
#[allow(unreachable_pub)]
mod datagram;
#[path = "../../../tests/fuzz/src/digest.rs"]
#[allow(unreachable_pub)]
mod digest;
#[path = "../../../tests/fuzz/src/exercise.rs"]
#[allow(unreachable_pub)]
mod exercise;

use std::path::PathBuf;

/// The inputs kept for a target: each behind its length in four bytes.
fn kept(target: &str) -> Vec<Vec<u8>> {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/kept").join(target);
    let bytes = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut rest = &bytes[..];
    let mut inputs = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let (input, behind) = behind.split_at(u32::from_be_bytes(*length) as usize);
        inputs.push(input.to_vec());
        rest = behind;
    }
    assert!(rest.is_empty(), "{target} ends in the middle of an input");
    inputs
}

fn replay(target: &str, body: fn(&[u8])) {
    let inputs = kept(target);
    assert!(inputs.len() > 10, "{} inputs of {target}", inputs.len());
    for (number, input) in inputs.iter().enumerate() {
        let outcome = std::panic::catch_unwind(|| body(input));
        assert!(outcome.is_ok(), "{target}, input {number}: {:?}", String::from_utf8_lossy(input));
    }
}

#[test]
fn messages() {
    replay("message", exercise::message);
}

#[test]
fn descriptions() {
    replay("sdp", exercise::sdp);
}

#[test]
fn uris() {
    replay("uri", exercise::uri);
}

#[test]
fn streams() {
    replay("framing", exercise::framing);
    replay("websocket", datagram::websocket);
}

#[test]
fn credentials() {
    replay("digest", digest::digest);
}

#[test]
fn stun() {
    replay("stun", datagram::stun);
}
