//! Phones that are reached by GRUU (RFC 5627): one of a user's alone, publicly or under a name that does not say whose it is.

use crate::gateway::{Gateway, folder, wait_until};
use crate::message::Message;
use crate::phone::{Phone, Way, unique};
use crate::register::User;
use crate::voice::Voice;
use std::net::SocketAddr;
use std::time::Duration;

on_both_drivers! {
    one_of_two_phones_is_reached_by_its_gruu
    a_gruu_that_is_void_reaches_nobody
    a_phone_that_calls_with_its_gruu_is_reached_inside_the_call
    with_a_secret_temporary_ones_outlive_a_restart
    a_transfer_to_a_gruu_goes_to_that_phone
}

const BOB: [&str; 2] = ["--user", "bob:secret2"];
const DESK: &str = "<urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6>";
const MOBILE: &str = "<urn:uuid:00000000-0000-1000-8000-000A95A0E128>";

fn start(io: &str) -> Gateway {
    Gateway::start(io, &[&BOB[..], &["--workers", "2"]].concat())
}

fn register(user: &mut User, gateway: SocketAddr, instance: &str, expires: u32) -> Message {
    let contact = user.contact();
    let fields = format!(
        "Supported: gruu\r\nContact: {contact};+sip.instance=\"{instance}\"\r\nExpires: {expires}\r\n"
    );
    user.register(gateway, "SHA-256", &fields)
}

/// The GRUUs that a phone was given: the public one, and a temporary one.
fn gruus(answer: &Message, instance: &str) -> [String; 2] {
    assert_eq!(answer.status(), Some(200), "{}", answer.text);
    let all = answer.copied("contact", "");
    let mine = all.lines().find(|line| line.contains(instance)).unwrap_or_else(|| panic!("{}", answer.text));
    ["pub", "temp"].map(|kind| {
        let value = mine.split(&format!(";{kind}-gruu=\"")).nth(1);
        value.unwrap_or_else(|| panic!("{}", answer.text)).split('"').next().unwrap().to_owned()
    })
}

/// The status with which a call to a URI ends, if nobody takes it.
fn refused(gateway: SocketAddr, uri: &str) -> Option<u16> {
    let mut caller = Phone::new("127.0.0.2");
    let sdp = Voice::new(caller.address.ip(), 1).sdp("sendrecv");
    let mut dialog = caller.invite_to(Way::Udp(gateway), uri, &sdp);
    caller.answered(&mut dialog).status()
}

/// A call to a URI that this phone takes, and the caller ends.
fn reaches(gateway: SocketAddr, uri: &str, phone: &mut Phone) {
    let mut caller = Phone::new("127.0.0.2");
    let sdp = Voice::new(caller.address.ip(), 1).sdp("sendrecv");
    let mut dialog = caller.invite_to(Way::Udp(gateway), uri, &sdp);
    let invite = phone.expect("INVITE");
    phone.respond(&invite, 200, &unique(), &Voice::new(phone.address.ip(), 2).sdp("sendrecv"));
    assert_eq!(caller.answered(&mut dialog).status(), Some(200));
    phone.expect("ACK");
    caller.begin_request(&mut dialog, "BYE", "");
    let bye = phone.expect("BYE");
    phone.respond(&bye, 200, "", "");
}

/// RFC 5627 §5.2 and §5.3: calls and messages, by both kinds.
fn one_of_two_phones_is_reached_by_its_gruu(io: &str) {
    let gateway = start(io);
    let [mut desk, mut mobile] = ["127.0.0.3", "127.0.0.4"].map(|host| User::new(host, "bob", "secret2"));
    let plain = desk.register_contact(gateway.sip, "SHA-256");
    assert!(!plain.text.contains("gruu=") && !plain.text.contains("instance"), "{}", plain.text);
    let at_desk = gruus(&register(&mut desk, gateway.sip, DESK, 600), DESK);
    assert_eq!(at_desk[0], "sip:bob@127.0.0.3;gr=urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6");
    assert!(at_desk[1].starts_with("sip:tgruu.") && at_desk[1].ends_with("@127.0.0.3;gr"), "{at_desk:?}");
    assert!(!at_desk[1].contains("bob"));
    let answer = register(&mut mobile, gateway.sip, MOBILE, 600);
    let on_mobile = gruus(&answer, MOBILE);
    // The other phone's is told too, a temporary one that is new.
    let [public, temporary] = gruus(&answer, DESK);
    assert!(public.contains("f81d4fae") && temporary != at_desk[1]);

    for _ in 0..2 {
        for uri in [&at_desk[0], &at_desk[1]] {
            reaches(gateway.sip, uri, &mut desk.phone);
        }
        for uri in [&on_mobile[0], &on_mobile[1]] {
            reaches(gateway.sip, uri, &mut mobile.phone);
        }
    }
    // One that does not take it leaves the other in peace.
    let mut caller = Phone::new("127.0.0.2");
    let sdp = Voice::new(caller.address.ip(), 1).sdp("sendrecv");
    let mut dialog = caller.invite_to(Way::Udp(gateway.sip), &at_desk[1], &sdp);
    let invite = desk.phone.expect("INVITE");
    desk.phone.respond(&invite, 486, "t", "");
    desk.phone.expect("ACK");
    assert_eq!(caller.answered(&mut dialog).status(), Some(486));
    for (uri, phone) in [(&at_desk[0], &mut desk.phone), (&on_mobile[1], &mut mobile.phone)] {
        let asked = caller.begin_outside_to("a", gateway.sip, uri, "MESSAGE", "");
        let message = phone.expect("MESSAGE");
        phone.respond(&message, 200, "m", "");
        assert_eq!(caller.final_response(&asked.call_id, "7 MESSAGE").status(), Some(200));
    }
    for phone in [&mut desk.phone, &mut mobile.phone] {
        assert!(phone.leftovers(Duration::from_millis(100)).is_empty());
    }
    assert_eq!(gateway.metric("trunkline_calls_to_gruus_total"), 9.0);
    assert_eq!(gateway.metric("trunkline_outside_to_gruus_total"), 2.0);
}

/// RFC 5627 §5.1 and §5.3: 480 for a phone that is not there, 404 for a temporary one that was taken back; and a contact that
/// would lead round in a circle.
fn a_gruu_that_is_void_reaches_nobody(io: &str) {
    let gateway = start(io);
    let [mut desk, mut mobile] = ["127.0.0.3", "127.0.0.4"].map(|host| User::new(host, "bob", "secret2"));
    let at_desk = gruus(&register(&mut desk, gateway.sip, DESK, 600), DESK);
    let first = gruus(&register(&mut mobile, gateway.sip, MOBILE, 600), MOBILE);
    let refreshed = gruus(&register(&mut mobile, gateway.sip, MOBILE, 600), MOBILE);
    assert_eq!(first[0], refreshed[0]);
    reaches(gateway.sip, &first[1], &mut mobile.phone);
    mobile.call_id = unique();
    let anew = gruus(&register(&mut mobile, gateway.sip, MOBILE, 600), MOBILE);
    for void in [&first[1], &refreshed[1]] {
        assert_eq!(refused(gateway.sip, void), Some(404), "{void}");
    }
    reaches(gateway.sip, &anew[1], &mut mobile.phone);
    assert_eq!(register(&mut desk, gateway.sip, DESK, 0).status(), Some(200));
    assert_eq!(refused(gateway.sip, &at_desk[0]), Some(480));
    assert_eq!(refused(gateway.sip, &at_desk[1]), Some(404));
    assert_eq!(refused(gateway.sip, "sip:bob@127.0.0.3;gr=urn:nobody"), Some(480));
    assert_eq!(refused(gateway.sip, "sip:tgruu.bm9ib2R5@127.0.0.3;gr"), Some(404));
    let mut sender = Phone::new("127.0.0.2");
    let asked = sender.begin_outside_to("a", gateway.sip, &at_desk[1], "MESSAGE", "");
    assert_eq!(sender.final_response(&asked.call_id, "7 MESSAGE").status(), Some(404));
    for contact in [&anew[0], &anew[1], &at_desk[1]] {
        let answer = mobile.register(gateway.sip, "SHA-256", &format!("Contact: <{contact}>\r\n"));
        assert_eq!(answer.status(), Some(403), "{contact}");
    }
    assert_eq!(gateway.metric("trunkline_gruus_void_total"), 5.0);
    assert_eq!(gateway.metric("trunkline_registers_gruu_refused_total"), 3.0);
}

/// RFC 5627 §4.3: Contact names the registrar's domain, which is the gateway itself; what goes to it goes to the phone.
fn a_phone_that_calls_with_its_gruu_is_reached_inside_the_call(io: &str) {
    let gateway = start(io);
    let mut bob = User::new("127.0.0.3", "bob", "secret2");
    gruus(&register(&mut bob, gateway.sip, DESK, 600), DESK);
    let mut caller = Phone::new("127.0.0.2");
    let sdp = Voice::new(caller.address.ip(), 1).sdp("sendrecv");
    for domain in [gateway.sip.to_string(), gateway.sip.ip().to_string(), "example.invalid".to_owned()] {
        let gruu = format!("sip:bob@{domain};gr=urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6");
        caller.contact = Some(format!("sip:tgruu.x@{domain};gr"));
        bob.phone.contact = Some(gruu.clone());
        let mut dialog = caller.invite(Way::Udp(gateway.sip), gateway.sip, "bob", &sdp);
        let invite = bob.phone.expect("INVITE");
        let tag = unique();
        bob.phone.respond(&invite, 200, &tag, &Voice::new(bob.phone.address.ip(), 2).sdp("sendrecv"));
        assert_eq!(caller.answered(&mut dialog).status(), Some(200));
        bob.phone.expect("ACK");
        caller.begin_request(&mut dialog, "INFO", "");
        let info = bob.phone.expect("INFO");
        assert_eq!(info.0.start, format!("INFO {gruu} SIP/2.0"));
        bob.phone.respond(&info, 200, "", "");
        assert_eq!(
            caller.final_response(&dialog.call_id, &format!("{} INFO", dialog.cseq)).status(),
            Some(200)
        );
        let mut theirs = bob.phone.dialog_of(&invite, &tag);
        bob.phone.begin_request(&mut theirs, "BYE", "");
        let bye = caller.expect("BYE");
        caller.respond(&bye, 200, "", "");
        assert_eq!(
            bob.phone.final_response(&theirs.call_id, &format!("{} BYE", theirs.cseq)).status(),
            Some(200)
        );
    }
}

fn with_a_secret_temporary_ones_outlive_a_restart(io: &str) {
    for secret in ["", "gruu_key = \"correct horse battery staple\"\n"] {
        let file = folder("gruu").join("gateway.toml");
        std::fs::write(&file, format!("[registrar]\n{secret}")).unwrap();
        let more = [&BOB[..], &["--config", file.to_str().unwrap()]].concat();
        let data = folder("gruus");
        let mut gateway = Gateway::start_at(io, &["127.0.0.1:0"], "127.0.0.1:0", data.clone(), &more);
        let mut desk = User::new("127.0.0.3", "bob", "secret2");
        let sip = gateway.sip;
        let [public, temporary] = gruus(&register(&mut desk, sip, DESK, 600), DESK);
        wait_until("the registration is on disk", || {
            gateway.metric("trunkline_control_writes_waiting") == 0.0
                && !gateway.json("/api/v1/registrations")["registrations"].as_array().unwrap().is_empty()
        });
        gateway.kill();
        let gateway = Gateway::start_at(io, &[&sip.to_string()], "127.0.0.1:0", data, &more);
        // Control tells the shards right after they have started.
        std::thread::sleep(Duration::from_millis(200));
        reaches(gateway.sip, &public, &mut desk.phone);
        if secret.is_empty() {
            assert_eq!(refused(gateway.sip, &temporary), Some(404));
        } else {
            reaches(gateway.sip, &temporary, &mut desk.phone);
        }
    }
}

/// RFC 5589 §5 has a Refer-To name one phone by its GRUU.
fn a_transfer_to_a_gruu_goes_to_that_phone(io: &str) {
    let gateway = start(io);
    let [mut desk, mut mobile] = ["127.0.0.3", "127.0.0.4"].map(|host| User::new(host, "bob", "secret2"));
    register(&mut desk, gateway.sip, DESK, 600);
    let gruus = gruus(&register(&mut mobile, gateway.sip, MOBILE, 600), MOBILE);
    let mut caller = Phone::new("127.0.0.2");
    let sdp = Voice::new(caller.address.ip(), 1).sdp("sendrecv");
    for target in gruus {
        let mut dialog = caller.invite(Way::Udp(gateway.sip), gateway.sip, "bob", &sdp);
        // Whoever registered last is asked first.
        let invite = mobile.phone.expect("INVITE");
        mobile.phone.respond(&invite, 404, "t", "");
        mobile.phone.expect("ACK");
        let invite = desk.phone.expect("INVITE");
        let tag = unique();
        let voice = Voice::new(desk.phone.address.ip(), 2);
        desk.phone.respond(&invite, 200, &tag, &voice.sdp("sendrecv"));
        assert_eq!(caller.answered(&mut dialog).status(), Some(200));
        desk.phone.expect("ACK");
        let mut at_desk = desk.phone.dialog_of(&invite, &tag);
        let refer = format!("Refer-To: <{target}>\r\nRefer-Sub: false\r\n");
        let accepted = desk.phone.request_with(&mut at_desk, "REFER", &refer);
        assert!(matches!(accepted.status(), Some(200..300)), "{}", accepted.text);
        let through = mobile.phone.expect("INVITE");
        let voice = Voice::new(mobile.phone.address.ip(), 3);
        mobile.phone.respond(&through, 200, &unique(), &voice.sdp("sendrecv"));
        mobile.phone.expect("ACK");
        let bye = desk.phone.expect("BYE");
        desk.phone.respond(&bye, 200, "", "");
        caller.begin_request(&mut dialog, "BYE", "");
        let bye = mobile.phone.expect("BYE");
        mobile.phone.respond(&bye, 200, "", "");
        assert_eq!(
            caller.final_response(&dialog.call_id, &format!("{} BYE", dialog.cseq)).status(),
            Some(200)
        );
    }
}
