//! Flows of protected media: baresip, whose SRTP is that of libre, on one side or on both. A DTMF key that is heard at the other end
//! shows that what the gateway sealed was opened there.

use crate::baresip::Baresip;
use crate::extensions::gateway_tls;
use crate::kamailio::secure;
use crate::papers::Authority;
use crate::place::{Scene, own_address};
use crate::rfc3665::{NUMBER, assert_voice, let_talk, trunk};
use serde_json::Value;
use std::net::SocketAddr;

/// A phone that speaks TLS, with papers of this authority.
fn phone(scene: &Scene, authority: &Authority, name: &str, account: &str) -> (Baresip, SocketAddr) {
    let at = own_address();
    let papers = authority.sign(scene, at);
    // Baresip wants certificate and key in one file.
    let both = [&papers.certificate, &papers.key].map(|file| std::fs::read_to_string(file).unwrap()).concat();
    let both = scene.file(&format!("{name}.pem"), &both);
    let settings =
        format!("sip_certificate {}\nsip_cafile {}\nmodule srtp.so\n", both.display(), papers.root.display());
    let account = format!("regint=0;{account}");
    (Baresip::start(at, scene, name, &at.to_string(), &account, &settings), secure(at))
}

/// Voice both ways, and a key each way; the suites of the two legs in the record.
fn converse(scene: &Scene, media: &str, caller: &str, callee: &str) -> [String; 2] {
    let authority = Authority::new(scene);
    let (mut bob, bob_tls) = phone(scene, &authority, NUMBER, &format!("answermode=auto;{callee}"));
    let over_tls = callee.contains("mediaenc");
    let trunks = if over_tls { vec![format!("carrier={bob_tls}/tls")] } else { trunk(bob.at).to_vec() };
    let (gateway, tls) = gateway_tls(scene, &authority, &trunks, media);
    let (mut alice, _) = phone(scene, &authority, "alice", caller);
    let dial = match caller {
        "" => format!("dial sip:{NUMBER}@{}", gateway.sip),
        _ => format!("dial sip:{NUMBER}@{tls};transport=tls"),
    };
    alice.order(&dial);
    alice.wait_for("CALL_ESTABLISHED");
    bob.wait_for("CALL_ESTABLISHED");
    let_talk();
    alice.order("sndcode 5");
    assert_eq!(bob.wait_for("CALL_DTMF_START")["param"], "5");
    bob.order("sndcode 7");
    assert_eq!(alice.wait_for("CALL_DTMF_START")["param"], "7");
    alice.order("hangup");
    bob.wait_for("CALL_CLOSED");
    let record = gateway.cdr(200);
    assert_voice(&record);
    let leg = |leg: &str, key: &str| -> Value { record["media"][leg][key].clone() };
    for (side, most) in [("caller", 2), ("callee", 0)] {
        // As a caller baresip opens the way through a NAT with an empty RTP packet and an RTCP APP packet, each maybe before it
        // has keys: in the clear.
        assert!(leg(side, "forged").as_u64() <= Some(most), "{record}");
        assert_eq!(leg(side, "replayed"), 0, "{record}");
    }
    ["caller", "callee"].map(|side| leg(side, "srtp").as_str().unwrap().to_owned())
}

pub(crate) fn protected_caller(scene: &Scene) {
    let media = "[media]\nsrtp = \"optional\"\n";
    let suites = converse(scene, media, "mediaenc=srtp-mand", "");
    assert!(suites[0].starts_with("A") && suites[1].is_empty(), "{suites:?}");
}

pub(crate) fn offered_callee(scene: &Scene) {
    let media = "[media]\nsrtp = \"optional\"\n";
    let suites = converse(scene, media, "", "mediaenc=srtp");
    assert!(suites[0].is_empty() && suites[1].starts_with("A"), "{suites:?}");
}

pub(crate) fn protected_both(scene: &Scene) {
    // As a caller baresip offers this one alone.
    const CALLERS: &str = "AES_CM_128_HMAC_SHA1_80";
    for suite in [CALLERS, "AES_CM_128_HMAC_SHA1_32", "AEAD_AES_128_GCM", "AEAD_AES_256_GCM"] {
        let media = format!("[media]\nsrtp = \"required\"\nsrtp_suites = [\"{suite}\", \"{CALLERS}\"]\n");
        let scene = Scene::new(&format!("srtp-{suite}"), scene.io);
        let suites = converse(&scene, &media, "mediaenc=srtp-mand", "mediaenc=srtp-mand");
        assert_eq!(suites, [CALLERS, suite]);
    }
}
