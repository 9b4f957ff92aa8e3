//! Profiles on the wire: header fields added, removed, rewritten and passed, numbers formatted, early media held back, and
//! a reload that changes new calls and leaves live ones.

use crate::carrier::{Carrier, Manner};
use crate::gateway::{Gateway, folder, rtp_ports, wait_until};
use crate::message::Message;
use crate::phone::{Phone, Way};
use crate::voice::Voice;
use rustix::process::Signal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

on_both_drivers! {
    headers_and_numbers_are_written_as_the_profile_says
    an_identity_stays_within_the_trust_domain
    a_reload_changes_new_calls_and_leaves_live_ones
    a_call_that_hunts_keeps_its_profiles_through_a_reload
    early_media_is_held_back
}

fn config(name: &str, profiles: &str, trunks: &[(&str, SocketAddr, &str)]) -> PathBuf {
    let path = folder(name).join("gateway.toml");
    write(&path, profiles, trunks);
    path
}

fn write(path: &Path, profiles: &str, trunks: &[(&str, SocketAddr, &str)]) {
    let trunks: String = trunks
        .iter()
        .enumerate()
        .map(|(number, (name, peer, profile))| {
            format!(
                "[[trunk]]\nname = \"{name}\"\npeers = [\"{peer}\"]\nprofile = \"{profile}\"\n\
                 [[route]]\nprefix = \"{number}\"\nto = [\"{name}\"]\n"
            )
        })
        .collect();
    let text = format!("{profiles}\n[health]\nprobe_interval = \"0s\"\n{trunks}");
    // Replaced in one go, as an editor does: a reload never sees half a file.
    let next = path.with_extension("next");
    std::fs::write(&next, text).unwrap();
    std::fs::rename(&next, path).unwrap();
}

fn start(io: &str, config: &Path) -> Gateway {
    let ports = rtp_ports(240);
    let arguments = ["--config", config.to_str().unwrap(), "--workers", "2", "--rtp-ports", &ports];
    Gateway::start(io, &arguments)
}

fn invites(carrier: &Carrier) -> Vec<Message> {
    carrier.seen().requests.into_iter().filter(|request| request.method() == "INVITE").collect()
}

fn headers_and_numbers_are_written_as_the_profile_says(io: &str) {
    let (first, second) = (Carrier::start(Manner::Answer), Carrier::start(Manner::Answer));
    let profiles = "[[profile]]\nname = \"p\"\nbase = \"pbx\"\n\
        headers.pass = [\"X-*\"]\nheaders.remove = [\"X-Secret\", \"Subject\"]\n\
        headers.rewrite = { X-Colour = \"{value} on {trunk}\" }\n\
        headers.add = { X-Trunk = \"{trunk} {dialled}\" }\n\
        numbers = { called = \"e164\", calling = \"national\", country = \"49\" }\n";
    let trunks = [("own", first.address, "p"), ("plain", second.address, "carrier-lenient")];
    let gateway = start(io, &config("profiles", profiles, &trunks));
    let mut phone = Phone::new("127.0.0.1");
    let sdp = Voice::new(phone.address.ip(), 1).sdp("sendrecv");
    let fields = "X-Colour: red\r\nX-Secret: 1\r\nX-Other: 2\r\nSubject: tea\r\nDiversion: <sip:9@x>\r\n\
        Organization: me\r\n";
    for number in ["0301234567", "1301234567"] {
        let way = Way::Udp(gateway.sip);
        let mut call = phone.invite_with(way, gateway.sip, number, fields, &sdp);
        assert_eq!(phone.answered(&mut call).status(), Some(200));
        phone.bye(&mut call);
    }
    let own = &invites(&first)[0];
    assert_eq!((own.number(), own.field("x-colour")), ("+49301234567", "red on own"), "{}", own.text);
    assert!(own.field("to").starts_with("<sip:+49301234567@"), "{}", own.text);
    assert!(own.field("from").contains("<sip:4711@"), "a short number stays: {}", own.text);
    assert_eq!((own.field("x-trunk"), own.field("x-other")), ("own 0301234567", "2"));
    assert_eq!((own.field("diversion"), own.field("subject")), ("<sip:9@x>", ""));
    assert_eq!((own.field("x-secret"), own.field("organization")), ("", ""));
    // RFC 3261 §8.1.1: what a profile may not touch is there once.
    for name in ["via", "contact", "call-id", "cseq", "max-forwards", "content-type"] {
        assert_eq!(own.copied(name, name).lines().count(), 1, "{name}: {}", own.text);
    }
    let plain = &invites(&second)[0];
    assert_eq!((plain.number(), plain.field("subject")), ("1301234567", "tea"), "{}", plain.text);
    for name in ["x-colour", "x-other", "x-trunk", "diversion"] {
        assert_eq!(plain.field(name), "", "{}", plain.text);
    }
}

fn an_identity_stays_within_the_trust_domain(io: &str) {
    // RFC 3325 §5, §7
    let (trusted, stranger) = (Carrier::start(Manner::Answer), Carrier::start(Manner::Answer));
    let profiles =
        "trusted = [\"127.0.0.3/32\"]\n[[profile]]\nname = \"p\"\nbase = \"ims\"\ntrusted = false\n";
    let trunks = [("trusted", trusted.address, "ims"), ("stranger", stranger.address, "p")];
    let gateway = start(io, &config("trust", profiles, &trunks));
    let call = |host: &str, number: &str, privacy: &str| {
        let mut phone = Phone::new(host);
        let sdp = Voice::new(phone.address.ip(), 1).sdp("sendrecv");
        let fields = format!("P-Asserted-Identity: <sip:2@x>\r\n{privacy}");
        let mut call = phone.invite_with(Way::Udp(gateway.sip), gateway.sip, number, &fields, &sdp);
        assert_eq!(phone.answered(&mut call).status(), Some(200), "{host} {number}");
        phone.bye(&mut call);
        let carrier = if number.starts_with('0') { &trusted } else { &stranger };
        invites(carrier).last().unwrap().field("p-asserted-identity").to_owned()
    };
    assert_eq!(call("127.0.0.3", "0", "Privacy: id\r\n"), "<sip:2@x>");
    assert_eq!(call("127.0.0.3", "1", ""), "<sip:2@x>");
    assert_eq!(call("127.0.0.3", "1", "Privacy: id\r\n"), "", "towards an untrusted trunk");
    assert_eq!(call("127.0.0.4", "0", ""), "", "from an untrusted caller");
}

fn a_reload_changes_new_calls_and_leaves_live_ones(io: &str) {
    let carrier = Carrier::start(Manner::Answer);
    let profile =
        |word: &str| format!("[[profile]]\nname = \"p\"\nheaders.add = {{ X-Word = \"{word}\" }}\n");
    let trunks = [("a", carrier.address, "p")];
    let path = config("reload", &profile("old"), &trunks);
    let gateway = start(io, &path);
    let mut phone = Phone::new("127.0.0.1");
    let sdp = Voice::new(phone.address.ip(), 1).sdp("sendrecv");
    let mut place = |number: &str| {
        let mut call = phone.invite(Way::Udp(gateway.sip), gateway.sip, number, &sdp);
        assert_eq!(phone.answered(&mut call).status(), Some(200));
        call
    };
    let mut live = place("01");
    assert_eq!(invites(&carrier)[0].field("x-word"), "old");
    write(&path, &profile("new"), &trunks);
    gateway.signal(Signal::HUP);
    wait_until("the reload", || gateway.logged("reloaded: 1 trunks").is_some());
    // A shard learns of it by mail; the next call may be of either.
    let mut number = 1;
    wait_until("a call by the new profile", || {
        number += 1;
        place(&format!("0{number}"));
        invites(&carrier).last().unwrap().field("x-word") == "new"
    });
    // A bad profile changes nothing.
    write(&path, "[[profile]]\nname = \"p\"\nheaders.add = { Via = \"x\" }\n", &trunks);
    gateway.signal(Signal::HUP);
    wait_until("the refusal", || gateway.logged("\"Via\" may not be touched").is_some());
    place("099");
    assert_eq!(invites(&carrier).last().unwrap().field("x-word"), "new");
    let held = Voice::new(phone.address.ip(), 1).sdp("sendonly");
    let answer = phone.request(&mut live, "INVITE", &held);
    assert_eq!(answer.status(), Some(200), "the live call goes on: {}", answer.text);
    phone.ack(&live, "");
    phone.bye(&mut live);
    let all = invites(&carrier);
    let inside: Vec<_> = all.iter().filter(|invite| !invite.tag("to").is_empty()).collect();
    assert_eq!(inside.len(), 1, "the re-INVITE went through");
    assert_eq!(inside[0].field("x-word"), "", "inside a call nothing is added");
}

fn a_call_that_hunts_keeps_its_profiles_through_a_reload(io: &str) {
    let (silent, second) = (Carrier::start(Manner::Silent), Carrier::start(Manner::Answer));
    let text = |word: &str| {
        format!(
            "[health]\nprobe_interval = \"0s\"\n[[profile]]\nname = \"p\"\nheaders.add = {{ X-Word = \"{word}\" }}\n\
             [[trunk]]\nname = \"first\"\npeers = [\"{}\"]\n\
             [[trunk]]\nname = \"second\"\npeers = [\"{}\"]\nprofile = \"p\"\n\
             [[route]]\nto = [\"first\", \"second\"]\n",
            silent.address, second.address
        )
    };
    let path = folder("hunt").join("gateway.toml");
    std::fs::write(&path, text("old")).unwrap();
    let gateway = start(io, &path);
    let mut phone = Phone::new("127.0.0.1");
    let sdp = Voice::new(phone.address.ip(), 1).sdp("sendrecv");
    let mut hunting = phone.invite(Way::Udp(gateway.sip), gateway.sip, "1", &sdp);
    wait_until("the first trunk to be asked", || silent.seen().count("INVITE") > 0);
    std::fs::write(&path, text("new")).unwrap();
    gateway.signal(Signal::HUP);
    wait_until("the reload", || gateway.logged("reloaded: 2 trunks").is_some());
    assert_eq!(phone.answered(&mut hunting).status(), Some(200));
    assert_eq!(invites(&second)[0].field("x-word"), "old", "it hunts among the trunks it began with");
    let mut later = phone.invite(Way::Udp(gateway.sip), gateway.sip, "2", &sdp);
    assert_eq!(phone.answered(&mut later).status(), Some(200));
    assert_eq!(invites(&second)[1].field("x-word"), "new");
}

fn early_media_is_held_back(io: &str) {
    let mut callee = Phone::new("127.0.0.1");
    let profiles = "[[profile]]\nname = \"p\"\nearly_media = false\n";
    let trunks = [("quiet", callee.address, "p"), ("usual", callee.address, "carrier-lenient")];
    let gateway = start(io, &config("early", profiles, &trunks));
    let mut phone = Phone::new("127.0.0.1");
    let sdp = Voice::new(phone.address.ip(), 1).sdp("sendrecv");
    for (number, status, has_body) in [("0", 180, false), ("1", 183, true)] {
        let call = phone.invite(Way::Udp(gateway.sip), gateway.sip, number, &sdp);
        let invite = callee.expect("INVITE");
        callee.respond(&invite, 183, "early", &sdp);
        let heard = phone.response(&call, status);
        assert_eq!(!heard.body.is_empty(), has_body, "{}", heard.text);
        phone.cancel(&call);
        let cancel = callee.expect("CANCEL");
        callee.respond(&cancel, 200, "early", "");
        callee.respond(&invite, 487, "early", "");
    }
}
