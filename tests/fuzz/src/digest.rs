//! What must hold for the header fields of digest authentication, whatever they say. Called by the fuzz target here and
//! with what it kept by `gateway/sip/tests/kept.rs`.

use core::time::Duration;
use sip::auth::{Account, Algorithm, Answerer, Authority, Authorization, Challenge, Presented, Verdict};
use sip::message::Message;
use std::sync::Arc;

const OFFERED: [Algorithm; 3] = [Algorithm::SHA_512_256, Algorithm::SHA_256, Algorithm::MD5];
const REALM: &[u8] = b"trunkline";
/// Unix time in milliseconds at which everything happens.
const WALL: u64 = 1_795_392_000_000;

/// The value of a field that asks, or that shows.
pub fn digest(bytes: &[u8]) {
    asked(bytes);
    shown(bytes);
    answered(bytes);
}

/// A challenge that is written reads the same, and cannot leave its line.
fn asked(bytes: &[u8]) {
    let Some(challenge) = Challenge::parse(bytes) else { return };
    let written = challenge.write();
    assert!(!written.contains(char::is_control), "{written:?}");
    let again = Challenge::parse(written.as_bytes()).expect("what was written can be read");
    // What has an algorithm that is not known is never answered; it has no name to be written with.
    assert!(again.write() == written || challenge.algorithm.is_none());
    assert_eq!((again.stale, again.qop_auth), (challenge.stale, challenge.qop_auth));
}

/// Credentials that are written read the same; nothing but the right response for a nonce of ours lets anybody in.
fn shown(bytes: &[u8]) {
    let Some(shown) = Authorization::parse(bytes) else { return };
    let written = shown.write();
    assert!(!written.contains(char::is_control), "{written:?}");
    assert!(Authorization::parse(written.as_bytes()).is_some(), "{written:?}");
    let mut authority = Authority::new(&[7; 32], Duration::from_secs(300), 4);
    for password in [None, Some(&b"a password that nobody guesses"[..])] {
        let presented =
            Presented { shown: &shown, method: b"REGISTER", realm: REALM, offered: &OFFERED, password };
        assert_ne!(authority.judge(WALL, &presented), Verdict::Right);
    }
    assert_eq!(authority.remembered(), 0);
}

/// Whatever a server asks, the answer is header fields of one line each, and a challenge is answered once.
fn answered(bytes: &[u8]) {
    let head = b"SIP/2.0 401 Unauthorized\r\nVia: SIP/2.0/UDP a;branch=z9hG4bKx\r\nFrom: <sip:a@b>;tag=1\r\n\
                 To: <sip:a@b>;tag=2\r\nCall-ID: c\r\nCSeq: 1 REGISTER\r\nContent-Length: 0\r\nWWW-Authenticate: ";
    let response = [&head[..], bytes, b"\r\n\r\n"].concat();
    let Ok(response) = Message::parse(&response) else { return };
    let account = Account { username: "a\"b\\".into(), password: "p".into() };
    let mut answerer = Answerer::new(Arc::new(account));
    if !answerer.take(&response) {
        return;
    }
    let fields = answerer.fields("REGISTER", "sip:b", 7);
    assert!(!fields.is_empty());
    for (name, value) in &fields {
        assert_eq!(*name, "Authorization");
        assert!(!value.contains(['\r', '\n']), "{value:?}");
        let shown = Authorization::parse(value.as_bytes()).expect("an answer can be read");
        assert_eq!(shown.username, b"a\"b\\");
    }
    // RFC 3261 §22.2: the same challenge again means that the answer was wrong.
    assert!(!answerer.take(&response) || String::from_utf8_lossy(bytes).to_lowercase().contains("stale"));
}
