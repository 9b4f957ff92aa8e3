//! Who is keyed by DTLS, who begins, and what is written of it and of the way.

use super::*;
use crate::security::{Agreed, Secrets, Written};

const WHERE: (core::net::IpAddr, u16, usize) =
    (core::net::IpAddr::V4(core::net::Ipv4Addr::LOCALHOST), 6000, 0);

fn leg(srtp: SrtpPolicy, keying: KeyingPolicy, transport: Transport) -> LegSecurity {
    let config = MediaSecurity { srtp, keying, ..MediaSecurity::default() };
    LegSecurity::new(&config, transport, Some(&Fingerprint::of(b"ours")), Secrets::new([3; 32]))
}

fn said(text: &str) -> Said {
    let session = Session::parse(text.as_bytes()).unwrap();
    Said::of(&session, session.audio().unwrap().1)
}

/// A browser's description: ICE, DTLS by a certificate, one port, a bundle.
fn browser(setup: &str, certificate: &str) -> String {
    let print = Fingerprint::of(certificate.as_bytes());
    format!(
        "v=0\na=group:BUNDLE a v\nm=audio 9 UDP/TLS/RTP/SAVPF 8\nc=IN IP4 0.0.0.0\na=mid:a\na=ice-ufrag:abcd\n\
         a=ice-pwd:0123456789012345678901\na=fingerprint:{print}\na=setup:{setup}\na=rtcp-mux\n\
         m=video 9 UDP/TLS/RTP/SAVPF 96\na=mid:v\n"
    )
}

fn without_ice(text: &str) -> String {
    text.lines().filter(|line| !line.contains("ice-")).map(|line| format!("{line}\n")).collect()
}

fn write(leg: &mut LegSecurity) -> Written {
    leg.write(Some(Profile::PLAIN), WHERE).unwrap()
}

fn line<'a>(written: &'a Written, name: &str) -> Option<&'a str> {
    written.way.media.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
}

#[test]
fn policies_have_names() {
    for word in KeyingPolicy::WORDS {
        assert_eq!(KeyingPolicy::named(word).unwrap().word(), *word);
    }
    assert_eq!(KeyingPolicy::named("zrtp"), None);
}

/// docs/operating.md, "DTLS, ICE and browsers".
#[test]
fn an_offer_is_taken_as_keying_and_transport_say() {
    use KeyingPolicy::{Auto, Dtls, Sdes};
    use SrtpPolicy::{Off, Optional, Required};
    let offer = said(&browser("actpass", "theirs"));
    for (srtp, keying, transport, taken) in [
        (Off, Auto, Transport::Udp, false),
        (Optional, Auto, Transport::Udp, true),
        (Required, Auto, Transport::Tls, true),
        (Off, Auto, Transport::Ws, true),
        (Required, Auto, Transport::Wss, true),
        (Off, Sdes, Transport::Wss, false),
        (Required, Sdes, Transport::Tls, false),
        (Off, Dtls, Transport::Ws, false),
        (Optional, Dtls, Transport::Udp, true),
    ] {
        let heard = leg(srtp, keying, transport).hear_offer(&offer);
        assert_eq!(heard.is_ok(), taken, "{srtp:?} {keying:?} {transport:?}");
        assert!(taken || heard.unwrap_err().status == 488);
    }
    let mut old = offer.clone();
    old.dtls.prints.clear();
    let refusal = leg(Off, Auto, Transport::Ws).hear_offer(&old).unwrap_err();
    assert!(refusal.cause.contains("SHA-256"), "{}", refusal.cause);
    let config = MediaSecurity::default();
    let mut none = LegSecurity::new(&config, Transport::Ws, None, Secrets::new([3; 32]));
    assert!(none.hear_offer(&offer).is_err(), "without a certificate nothing is keyed so");
}

/// RFC 5763 §5.
#[test]
fn a_browser_is_answered_in_kind() {
    for (setup, answered, active) in
        [("actpass", "active", true), ("active", "passive", false), ("passive", "active", true)]
    {
        let mut leg = leg(SrtpPolicy::Off, KeyingPolicy::Auto, Transport::Wss);
        let offer = said(&browser(setup, "theirs"));
        leg.hear_offer(&offer).unwrap();
        let written = write(&mut leg);
        assert_eq!(written.protocol, Some("UDP/TLS/RTP/SAVPF"));
        assert!(written.crypto.is_empty());
        assert_eq!(written.way.session, ["ice-lite", "group:BUNDLE a"]);
        assert_eq!(written.way.mids, ["a", "v"]);
        assert_eq!(line(&written, "setup"), Some(answered));
        assert_eq!(line(&written, "fingerprint"), Some(&*Fingerprint::of(b"ours").to_string()));
        assert_eq!(line(&written, "candidate"), Some("1 1 UDP 2130706431 127.0.0.1 6000 typ host"));
        assert!(written.way.media.contains(&"rtcp-mux".into()));
        assert_eq!(write(&mut leg).way, written.way, "a preview and the answer say the same");
        let Ok(Agreed::Dtls(joint)) = leg.commit(&offer) else { panic!("keyed by DTLS") };
        assert_eq!(joint.active, active);
        assert!(Fingerprint::vouch(&joint.prints, b"theirs"));
        let (own, remote) = leg.way().agents().unwrap();
        assert_eq!(line(&written, "ice-ufrag"), Some(own.fragment()));
        assert_eq!(remote.credentials.fragment(), "abcd");
        assert!(leg.way().is_multiplexed());
    }
}

#[test]
fn without_ice_who_offers_is_to_begin() {
    let mut leg = leg(SrtpPolicy::Required, KeyingPolicy::Auto, Transport::Udp);
    leg.hear_offer(&said(&without_ice(&browser("actpass", "theirs")))).unwrap();
    let written = write(&mut leg);
    assert_eq!((line(&written, "setup"), line(&written, "ice-ufrag")), (Some("passive"), None));
}

#[test]
fn a_browser_is_offered_what_it_takes_and_a_carrier_what_is_asked() {
    use KeyingPolicy::{Auto, Dtls};
    for (srtp, keying, transport, protocol) in [
        (SrtpPolicy::Off, Auto, Transport::Ws, "UDP/TLS/RTP/SAVPF"),
        (SrtpPolicy::Optional, Auto, Transport::Wss, "UDP/TLS/RTP/SAVPF"),
        (SrtpPolicy::Required, Dtls, Transport::Udp, "UDP/TLS/RTP/SAVP"),
        (SrtpPolicy::Optional, Dtls, Transport::Udp, "RTP/AVP"),
    ] {
        let mut leg = leg(srtp, keying, transport);
        let written = write(&mut leg);
        assert_eq!((written.protocol, line(&written, "setup")), (Some(protocol), Some("actpass")));
        assert_eq!(written.way.session, ["ice-lite", "group:BUNDLE 0"]);
        assert_eq!(write(&mut leg).way, written.way, "the same to whoever is asked");
        let must = srtp == SrtpPolicy::Required || transport != Transport::Udp;
        let plain = said("v=0\nc=IN IP4 192.0.2.1\nm=audio 4000 RTP/AVP 8\n");
        assert_eq!(leg.takes(&plain).is_err(), must, "{protocol}");
        let answer = said(&browser("active", "theirs"));
        let Ok(Agreed::Dtls(joint)) = leg.commit(&answer) else { panic!("keyed by DTLS") };
        assert!(!joint.active);
        // It is offered again as it stands (RFC 8842 §5.5).
        leg.offering();
        let again = write(&mut leg);
        assert_eq!(line(&again, "setup"), Some("passive"));
        assert_eq!(line(&again, "ice-ufrag"), line(&written, "ice-ufrag"), "no restart");
    }
    let mut sdes = leg(SrtpPolicy::Required, Auto, Transport::Tls);
    let written = write(&mut sdes);
    assert_eq!((written.protocol, line(&written, "fingerprint")), (Some("RTP/SAVP"), None));
}

#[test]
fn the_association_stands_while_its_certificates_do() {
    let mut leg = leg(SrtpPolicy::Off, KeyingPolicy::Auto, Transport::Ws);
    let first = said(&browser("active", "theirs"));
    leg.hear_offer(&first).unwrap();
    let before = write(&mut leg).way;
    leg.commit(&first).unwrap();
    // RFC 8842 §5.3: who is what stays; RFC 8839 §4.4.3: the same credentials, the same agent.
    let again = said(&browser("actpass", "theirs"));
    leg.hear_offer(&again).unwrap();
    assert_eq!(write(&mut leg).way, before);
    leg.commit(&again).unwrap();
    let restarted = said(&browser("actpass", "theirs").replace("abcd", "efgh"));
    leg.hear_offer(&restarted).unwrap();
    let after = write(&mut leg).way;
    assert_ne!(after.media[0], before.media[0], "RFC 8445 §9: other credentials of both");
    let Ok(Agreed::Dtls(joint)) = leg.commit(&restarted) else { panic!("keyed by DTLS") };
    assert!(!joint.active);
    let other = said(&browser("actpass", "another"));
    let Ok(Agreed::Dtls(joint)) = leg.commit(&other) else { panic!("keyed by DTLS") };
    assert!(joint.active && Fingerprint::vouch(&joint.prints, b"another"), "a new association");
}

/// RFC 5761 §5.1.1: on every leg that asks for it.
#[test]
fn one_port_is_agreed_to_in_the_clear_as_well() {
    let mut plain = leg(SrtpPolicy::Off, KeyingPolicy::Auto, Transport::Udp);
    let offer = said("v=0\nc=IN IP4 192.0.2.1\nm=audio 4000 RTP/AVP 8\na=rtcp-mux\n");
    plain.hear_offer(&offer).unwrap();
    assert_eq!(write(&mut plain).way.media, ["rtcp-mux"]);
    assert_eq!(plain.commit(&offer).unwrap(), Agreed::Clear);
    assert!(plain.way().is_multiplexed() && plain.way().agents().is_none());
    let mut asked = leg(SrtpPolicy::Off, KeyingPolicy::Auto, Transport::Udp);
    assert!(write(&mut asked).way.media.is_empty());
    asked.commit(&offer).unwrap();
    assert!(!asked.way().is_multiplexed(), "nobody asked for it");
}
