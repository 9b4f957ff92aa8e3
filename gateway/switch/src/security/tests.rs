//! Offers and answers of keys, as RFC 4568 §5.1 and RFC 8643 have them.

use super::*;
use sip::sdp::Session;

fn config(srtp: SrtpPolicy) -> MediaSecurity {
    MediaSecurity { srtp, ..MediaSecurity::default() }
}

fn leg(srtp: SrtpPolicy) -> LegSecurity {
    LegSecurity::new(&config(srtp), Transport::Tls, None, Secrets::new([srtp as u8; 32]))
}

fn said(protocol: &str, crypto: &[&str]) -> Said {
    let lines: String = crypto.iter().map(|value| format!("a=crypto:{value}\n")).collect();
    let text = format!("v=0\nc=IN IP4 192.0.2.1\nm=audio 4000 {protocol} 8\n{lines}");
    let session = Session::parse(text.as_bytes()).unwrap();
    Said::of(&session, session.audio().unwrap().1)
}

/// The value of a line with a key that is all `byte`.
fn line(tag: u32, suite: Suite, byte: u8) -> String {
    crypto_value(tag, suite.name(), &vec![byte; suite.secret_len()])
}

fn written(leg: &mut LegSecurity) -> (Option<&'static str>, Vec<String>) {
    let written = leg.write(Some(Profile::PLAIN), WHERE).unwrap();
    let way = &written.way;
    let lines = way.session.iter().chain(&way.media).chain(&way.mids);
    assert!(lines.into_iter().all(String::is_empty), "nothing of the way where nothing was said of it");
    (written.protocol, written.crypto)
}

/// Address, port and index of a stream.
const WHERE: (IpAddr, u16, usize) = (IpAddr::V4(core::net::Ipv4Addr::LOCALHOST), 6000, 0);

const CM: Suite = Suite::AesCm128Sha1_80;
const GCM: Suite = Suite::AeadAes128Gcm;

#[test]
fn an_answer_has_one_key_with_the_tag_of_the_first_that_is_agreed_to() {
    for policy in [SrtpPolicy::Optional, SrtpPolicy::Required] {
        let mut leg = leg(policy);
        let offer =
            said("RTP/SAVP", &["1 F8_128_HMAC_SHA1_80 inline:AAAA", &line(4, CM, 1), &line(5, GCM, 2)]);
        leg.hear_offer(&offer).unwrap();
        let (protocol, keys) = written(&mut leg);
        assert_eq!((protocol, keys.len()), (Some("RTP/SAVP"), 1));
        assert!(keys[0].starts_with("4 AES_CM_128_HMAC_SHA1_80 inline:"), "{keys:?}");
        assert_ne!(keys[0], line(4, CM, 1), "the key is ours");
        assert_eq!(written(&mut leg).1, keys, "a preview and the answer say the same");
        let theirs = Keying::new(CM, &[1; 30]).unwrap();
        match leg.commit(&offer).unwrap() {
            Agreed::Keys(own, peer, mki) => {
                assert_eq!(crypto_value(4, CM.name(), own.secret()), keys[0]);
                assert_eq!((peer, mki), (&theirs, Mki::default()));
            }
            Agreed::Dtls(_) | Agreed::Clear => panic!("it is protected"),
        }
        assert_eq!(leg.tag(), Some(4));
    }
}

#[test]
fn names_of_suites_are_answered_as_they_were_written() {
    let mut leg = leg(SrtpPolicy::Required);
    let key = crypto_value(2, "AES_CM_256_HMAC_SHA1_80", &[7; 46]);
    leg.hear_offer(&said("RTP/SAVPF", &[&key])).unwrap();
    let (protocol, keys) = written(&mut leg);
    assert_eq!(protocol, Some("RTP/SAVPF"));
    assert!(keys[0].starts_with("2 AES_CM_256_HMAC_SHA1_80 "));
}

#[test]
fn an_offer_is_agreed_to_as_the_policy_says() {
    let (key, weak) = (line(1, CM, 1), line(1, Suite::AesCm128Sha1_32, 1));
    let cases = [
        ("RTP/AVP", None, [true, true, false]),
        ("RTP/AVP", Some(&key), [true, true, true]),
        ("RTP/AVP", Some(&weak), [true, true, false]),
        ("RTP/SAVP", Some(&key), [false, true, true]),
        ("RTP/SAVP", Some(&weak), [false, false, false]),
        ("RTP/SAVP", None, [false, false, false]),
        ("UDP/TLS/RTP/SAVPF", Some(&key), [false, false, false]),
    ];
    for (protocol, crypto, agreed) in cases {
        let crypto: Vec<&str> = crypto.into_iter().map(String::as_str).collect();
        let offer = said(protocol, &crypto);
        let policies = [SrtpPolicy::Off, SrtpPolicy::Optional, SrtpPolicy::Required];
        for (policy, agreed) in policies.into_iter().zip(agreed) {
            let mut leg = leg(policy);
            let heard = leg.hear_offer(&offer).map_err(|refusal| refusal.status);
            assert_eq!(heard, if agreed { Ok(()) } else { Err(488) }, "{policy:?} {protocol} {crypto:?}");
            assert_eq!(leg.takes(&offer).is_ok(), agreed);
        }
    }
    // RFC 8643 §4: plain RTP by its name, protected by its keys.
    let mut open = leg(SrtpPolicy::Optional);
    open.hear_offer(&said("RTP/AVP", &[&key])).unwrap();
    let (protocol, keys) = written(&mut open);
    assert_eq!((protocol, keys.len()), (Some("RTP/AVP"), 1));
    let mut off = leg(SrtpPolicy::Off);
    off.hear_offer(&said("RTP/AVP", &[&key])).unwrap();
    assert_eq!(written(&mut off), (Some("RTP/AVP"), vec![]));
}

#[test]
fn an_offer_of_ours_has_a_key_for_each_suite_and_one_is_answered() {
    let mut leg = leg(SrtpPolicy::Required);
    let (protocol, keys) = written(&mut leg);
    assert_eq!((protocol, keys.len()), (Some("RTP/SAVP"), 4));
    assert_eq!(written(&mut leg).1, keys, "until it is answered it is the same offer");
    let names: Vec<_> = keys.iter().map(|key| key.split(" inline:").next().unwrap()).collect();
    let expected = [
        "1 AEAD_AES_256_GCM",
        "2 AEAD_AES_128_GCM",
        "3 AES_256_CM_HMAC_SHA1_80",
        "4 AES_CM_128_HMAC_SHA1_80",
    ];
    assert_eq!(names, expected);
    for wrong in [vec![], vec![line(9, CM, 1)], vec![line(1, CM, 1)]] {
        let wrong: Vec<&str> = wrong.iter().map(String::as_str).collect();
        assert_eq!(leg.takes(&said("RTP/SAVP", &wrong)).unwrap_err().status, 488, "{wrong:?}");
        assert!(leg.commit(&said("RTP/SAVP", &wrong)).is_err());
    }
    let answer = said("RTP/SAVP", &[&line(4, CM, 9)]);
    leg.takes(&answer).unwrap();
    assert!(matches!(leg.commit(&answer), Ok(Agreed::Keys(..))));
    assert_eq!(leg.tag(), Some(4));
    // Another branch answers the same offer otherwise.
    assert!(matches!(leg.commit(&said("RTP/SAVP", &[&line(2, GCM, 9)])), Ok(Agreed::Keys(..))));
    // Offered anew, it is the key that is used.
    leg.offering();
    assert_eq!(written(&mut leg), (Some("RTP/SAVP"), vec![keys[1].clone()]));
}

#[test]
fn who_may_choose_may_choose_the_clear() {
    let mut open = leg(SrtpPolicy::Optional);
    let (protocol, keys) = written(&mut open);
    assert_eq!((protocol, keys.len()), (Some("RTP/AVP"), 4), "RFC 8643 §3.1");
    assert_eq!(open.commit(&said("RTP/AVP", &[])).unwrap(), Agreed::Clear);
    open.offering();
    assert_eq!(written(&mut open), (Some("RTP/AVP"), vec![]), "it is not asked again");
    let mut open = leg(SrtpPolicy::Optional);
    written(&mut open);
    assert!(matches!(open.commit(&said("RTP/AVP", &[&line(4, CM, 9)])), Ok(Agreed::Keys(..))));
    open.offering();
    let (protocol, keys) = written(&mut open);
    assert_eq!((protocol, keys.len()), (Some("RTP/AVP"), 1));
    let mut off = leg(SrtpPolicy::Off);
    assert_eq!(written(&mut off), (Some("RTP/AVP"), vec![]));
    assert_eq!(off.write(said("RTP/SAVPF", &[]).profile, WHERE).unwrap().protocol, Some("RTP/AVPF"));
    assert!(off.commit(&said("RTP/SAVP", &[&line(4, CM, 9)])).is_err(), "nobody offered that");
}

#[test]
fn a_new_key_of_the_peer_gets_a_new_one_of_ours_and_the_old_one_stays_until_agreed() {
    let mut leg = leg(SrtpPolicy::Required);
    let own = |agreed: Agreed<'_>| match agreed {
        Agreed::Keys(own, ..) => own.clone(),
        Agreed::Dtls(_) | Agreed::Clear => panic!("it is protected"),
    };
    let first = said("RTP/SAVP", &[&line(1, CM, 1)]);
    let before = own(leg.commit(&first).unwrap());
    assert_eq!(own(leg.commit(&first).unwrap()), before, "what is said again changes nothing");
    let second = said("RTP/SAVP", &[&line(1, CM, 2)]);
    leg.hear_offer(&second).unwrap();
    let answer = written(&mut leg).1;
    // Refused by the other side: what was agreed upon stays.
    leg.offering();
    assert_eq!(written(&mut leg).1, [crypto_value(1, CM.name(), before.secret())]);
    leg.hear_offer(&second).unwrap();
    let answered = written(&mut leg).1;
    let after = own(leg.commit(&second).unwrap());
    assert_ne!(after, before);
    assert_eq!(answered, [crypto_value(1, CM.name(), after.secret())]);
    assert_ne!(answer, answered, "a key is shown once");
    // A refresh of ours, which the peer answers with its key of before, or with a new one.
    leg.reoffered();
    assert_eq!(own(leg.commit(&second).unwrap()), after);
    leg.reoffered();
    assert_eq!(own(leg.commit(&said("RTP/SAVP", &[&line(1, CM, 3)])).unwrap()), after);
}

#[test]
fn keys_go_over_encrypted_signalling_unless_it_is_said_otherwise() {
    let secrets = || Secrets::new([9; 32]);
    let offer = said("RTP/SAVP", &[&line(1, CM, 1)]);
    for policy in [SrtpPolicy::Optional, SrtpPolicy::Required] {
        let mut leg = LegSecurity::new(&config(policy), Transport::Udp, None, secrets());
        assert_eq!(leg.hear_offer(&offer).unwrap_err().status, 488);
        let asked = leg.write(Some(Profile::PLAIN), WHERE);
        match policy {
            SrtpPolicy::Required => assert_eq!(asked.unwrap_err().status, 488),
            _ => assert!(asked.is_ok_and(|it| it.protocol == Some("RTP/AVP") && it.crypto.is_empty())),
        }
        let config = MediaSecurity { keys_in_clear: true, ..config(policy) };
        let mut leg = LegSecurity::new(&config, Transport::Udp, None, secrets());
        leg.hear_offer(&offer).unwrap();
        assert_eq!(written(&mut leg).1.len(), 1);
    }
}

#[test]
fn no_key_is_printed() {
    let mut leg = leg(SrtpPolicy::Required);
    let offer = said("RTP/SAVP", &[&line(1, CM, 1)]);
    leg.commit(&offer).unwrap();
    let shown = format!("{leg:?} {offer:?}");
    assert!(shown.contains("Keying(AES_CM_128_HMAC_SHA1_80)") && !shown.contains("[1, 1"), "{shown}");
}
