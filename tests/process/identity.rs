//! Who calls, on the wire: what a phone may say of itself, the privacy that is done for it, and calls diverted too often.

use crate::carrier::{Carrier, Manner};
use crate::gateway::{Gateway, folder, rtp_ports};
use crate::message::Message;
use crate::phone::{Phone, Way};
use crate::trunk_registration::md5;
use crate::voice::Voice;

on_both_drivers! {
    a_phone_is_asserted_with_its_own_numbers_alone
    privacy_is_done_towards_who_is_not_trusted
    calls_diverted_too_often_are_refused
}

/// A gateway with a phone and two carriers, one of them trusted: numbers that begin with 0 go there, with 1 to the other.
fn start(io: &str, trusted: &Carrier, other: &Carrier) -> Gateway {
    let file = folder("identity").join("gateway.toml");
    let text = format!(
        "health.probe_interval = \"0s\"\ntrusted = [\"127.0.0.0/8\"]\nregistrar.algorithms = [\"MD5\"]\n\
         [[user]]\nname = \"4711\"\npassword = \"pw\"\nnumbers = [\"+4930111\", \"+4930222\"]\n\
         [[profile]]\nname = \"open\"\nbase = \"pbx\"\ntrusted = false\n\
         [[trunk]]\nname = \"in\"\npeers = [\"{}\"]\nprofile = \"pbx\"\n\
         [[trunk]]\nname = \"out\"\npeers = [\"{}\"]\nprofile = \"open\"\n\
         [[route]]\nprefix = \"0\"\nto = [\"in\"]\n[[route]]\nprefix = \"1\"\nto = [\"out\"]\n",
        trusted.address, other.address
    );
    std::fs::write(&file, text).unwrap();
    Gateway::start(
        io,
        &["--config", file.to_str().unwrap(), "--rtp-ports", &rtp_ports(240), "--workers", "2"],
    )
}

/// A call that is answered and ended, by the phone 4711 with its password; gives the INVITE that the carrier got.
fn call(phone: &mut Phone, gateway: &Gateway, carrier: &Carrier, number: &str, fields: &str) -> Message {
    let sdp = Voice::new(phone.address.ip(), 1).sdp("sendrecv");
    let way = Way::Udp(gateway.sip);
    let mut asked = phone.invite_with(way, gateway.sip, number, fields, &sdp);
    let challenge = phone.answered(&mut asked);
    assert_eq!(challenge.status(), Some(401), "{}", challenge.text);
    let shown = challenge.field("www-authenticate");
    let nonce = shown.split("nonce=\"").nth(1).unwrap().split('"').next().unwrap();
    let (a1, a2) = (md5("4711:trunkline:pw"), md5(&format!("INVITE:sip:{number}@{}", gateway.sip)));
    let response = md5(&format!("{a1}:{nonce}:00000001:abc:auth:{a2}"));
    let shown = format!(
        "Authorization: Digest username=\"4711\", realm=\"trunkline\", nonce=\"{nonce}\", uri=\"sip:{number}@{}\", \
         response=\"{response}\", algorithm=MD5, qop=auth, nc=00000001, cnonce=\"abc\"\r\n",
        gateway.sip
    );
    let mut dialog = phone.invite_with(way, gateway.sip, number, &format!("{fields}{shown}"), &sdp);
    assert_eq!(phone.answered(&mut dialog).status(), Some(200));
    phone.bye(&mut dialog);
    let requests = carrier.seen().requests;
    requests.into_iter().rfind(|request| request.method() == "INVITE").unwrap()
}

/// RFC 3325 §5 and §9.2.
fn a_phone_is_asserted_with_its_own_numbers_alone(io: &str) {
    let (carrier, other) = (Carrier::start(Manner::Answer), Carrier::start(Manner::Answer));
    let gateway = start(io, &carrier, &other);
    let mut phone = Phone::new("127.0.0.2");
    let mut asserted = |fields: &str| {
        let invite = call(&mut phone, &gateway, &carrier, "0301", fields);
        assert_eq!(invite.field("p-preferred-identity"), "");
        assert_eq!(invite.copied("p-asserted-identity", "P").lines().count(), 1, "{}", invite.text);
        invite.field("p-asserted-identity").to_owned()
    };
    assert!(asserted("").starts_with("<sip:4711@127.0.0.1"));
    assert!(asserted("P-Preferred-Identity: <sip:+4930222@x>\r\n").starts_with("<sip:+4930222@127.0.0.1"));
    assert!(asserted("P-Preferred-Identity: <sip:+491100@x>\r\n").starts_with("<sip:4711@127.0.0.1"));
    // What a phone says in the network's stead is worth nothing, be its address trusted or not.
    assert!(asserted("P-Asserted-Identity: <sip:+491100@x>\r\n").starts_with("<sip:4711@127.0.0.1"));
}

/// RFC 3323 §4.2 and §5, RFC 3325 §7.
fn privacy_is_done_towards_who_is_not_trusted(io: &str) {
    let (trusted, other) = (Carrier::start(Manner::Answer), Carrier::start(Manner::Answer));
    let gateway = start(io, &trusted, &other);
    let mut phone = Phone::new("127.0.0.2");
    let fields =
        "Subject: tea\r\nHistory-Info: <sip:9@x>;index=1\r\nPrivacy: user; id; header; session; critical\r\n";
    let invite = call(&mut phone, &gateway, &other, "1301", fields);
    assert!(
        invite.field("from").starts_with("\"Anonymous\" <sip:anonymous@anonymous.invalid>;tag="),
        "{}",
        invite.text
    );
    for gone in ["subject", "history-info", "p-asserted-identity"] {
        assert_eq!(invite.field(gone), "", "{gone}");
    }
    assert_eq!(invite.field("privacy"), "id;critical");
    assert!(!invite.text.contains("4711"), "{}", invite.text);
    // Within the trust domain everything goes on, with the wish to hide it.
    let invite = call(&mut phone, &gateway, &trusted, "0301", fields);
    assert_eq!(
        (invite.field("subject"), invite.field("privacy")),
        ("tea", "user; id; header; session; critical")
    );
    assert!(invite.field("p-asserted-identity").contains("4711") && invite.field("from").contains("4711"));
    // What is not known here cannot be promised.
    let mut stranger = Phone::new("127.0.0.3");
    let sdp = Voice::new(stranger.address.ip(), 1).sdp("sendrecv");
    let fields = "Privacy: invisible;critical\r\n";
    let call = stranger.invite_from("1", Way::Udp(gateway.sip), gateway.sip, "1301", fields, &sdp);
    assert_eq!(stranger.final_response(&call, "1 INVITE").status(), Some(500));
    assert_eq!(gateway.metric("trunkline_calls_privacy_refused_total"), 1.0);
}

fn calls_diverted_too_often_are_refused(io: &str) {
    let (trusted, other) = (Carrier::start(Manner::Answer), Carrier::start(Manner::Answer));
    let gateway = start(io, &trusted, &other);
    let mut phone = Phone::new("127.0.0.3");
    let sdp = Voice::new(phone.address.ip(), 1).sdp("sendrecv");
    let mut status = |fields: &str| {
        let call = phone.invite_from("1", Way::Udp(gateway.sip), gateway.sip, "0301", fields, &sdp);
        phone.final_response(&call, "1 INVITE").status()
    };
    assert_eq!(status("Diversion: <sip:9@x>;counter=5\r\n"), Some(200));
    assert_eq!(status("Diversion: <sip:9@x>;counter=5, <sip:8@x>\r\n"), Some(482));
    let entry = |n: u32| format!("History-Info: <sip:{n}@x;cause=302>;index=1.{n}\r\n");
    assert_eq!(status(&(1..=5).map(entry).collect::<String>()), Some(200));
    assert_eq!(status(&(1..=6).map(entry).collect::<String>()), Some(482));
    assert_eq!(gateway.metric("trunkline_calls_diverted_refused_total"), 2.0);
}
