//! REFER outside of calls (RFC 3515; RFC 5359 §2.18, click to dial): executed, handed on, refused; and about a call that it
//! names (Target-Dialog, RFC 4538).

use crate::gateway::{Gateway, folder, rtp_ports};
use crate::message::Message;
use crate::phone::{Dialog, Phone, Way};
use crate::register::{User, nonce};
use crate::transfer::{Scene, TRANSFERRED, replaces, said, turned, unescaped};
use crate::voice::{Voice, talk};
use std::net::SocketAddr;

on_both_drivers! {
    a_click_makes_a_call
    a_phone_that_does_not_answer_is_told_of
    a_target_that_refuses_ends_it
    a_phone_that_hangs_up_ends_it
    who_is_rung_hears_the_target_before_it_answers
    nothing_is_told_to_who_wants_to_hear_nothing
    who_has_heard_enough_ends_the_subscription
    no_more_than_so_many_at_a_time
    a_click_is_no_way_around_a_cap
    a_user_has_his_own_phone_rung
    a_click_is_handed_on
    a_click_about_a_call_of_another_worker_names_it_as_it_is_known_there
    who_may_not_is_refused
    who_knows_the_dialog_has_a_call_transferred
    who_knows_the_dialog_of_another_worker_has_that_transferred
}

const EXECUTE: &str = "[outside]\nrefer = \"execute\"\n";

/// Alice's computer asks that 1002 be called and put through to 1003.
fn click(scene: &mut Scene, fields: &str) -> (Dialog, Message) {
    let gateway = scene.sip();
    let fields = format!("Refer-To: <sip:1003@127.0.0.1>\r\n{fields}");
    scene.alice.phone.outside_as("4711", gateway, "1002", "REFER", &fields)
}

fn accepted(scene: &mut Scene) -> Dialog {
    let (dialog, answer) = click(scene, "");
    assert_eq!(answer.status(), Some(202), "{}", answer.text);
    let notify = scene.alice.phone.expect_in(&dialog, "NOTIFY");
    // RFC 3515 §2.4.4: in the dialog that the REFER made.
    assert_eq!((notify.0.tag("to"), notify.0.tag("from")), (tag(&dialog.local), tag(&dialog.remote)));
    assert_eq!((notify.0.field("event"), notify.0.body.as_str()), ("refer;id=7", "SIP/2.0 100 Trying\r\n"));
    assert!(notify.0.field("subscription-state").starts_with("active;expires="), "{}", notify.0.text);
    scene.alice.phone.respond(&notify, 200, "", "");
    dialog
}

fn tag(value: &str) -> &str {
    value.split_once(";tag=").map_or("", |(_, tag)| tag)
}

fn a_click_makes_a_call(io: &str) {
    let mut scene = Scene::new(io, 2, EXECUTE);
    accepted(&mut scene);
    let ring = scene.bob.phone.expect("INVITE");
    assert!(
        ring.0.body.contains("m=audio ") && ring.0.field("from").contains("sip:4711@"),
        "{}",
        ring.0.text
    );
    scene.bob.phone.respond(&ring, 180, "bob", "");
    scene.bob.phone.respond(&ring, 200, "bob", &scene.bob.voice.sdp("sendrecv"));
    let mut b = scene.bob.phone.dialog_of(&ring, "bob");
    scene.bob.phone.expect_in(&b, "ACK");
    let invite = scene.carol.phone.expect("INVITE");
    assert!(invite.0.field("from").contains("sip:1002@"), "Bob calls her: {}", invite.0.text);
    assert!(invite.0.field("referred-by").contains("sip:4711@"), "{}", invite.0.text);
    scene.carol.phone.respond(&invite, 180, "carol", "");
    assert_eq!(scene.alice.notified().0, "SIP/2.0 180 Ringing\r\n");
    scene.carol.phone.respond(&invite, 200, "carol", &scene.carol.voice.sdp("sendrecv"));
    let c = scene.carol.phone.dialog_of(&invite, "carol");
    scene.carol.phone.expect_in(&c, "ACK");
    assert_eq!(said(&scene.alice.notified()), TRANSFERRED);
    talk((&mut scene.bob.voice, ring.0.audio()), (&mut scene.carol.voice, invite.0.audio()), 20);
    scene.bob.phone.bye(&mut b);
    scene.carol.is_hung_up(&c);
    let cdrs = scene.records(2);
    assert_eq!((&cdrs[0]["from"], &cdrs[0]["transfer"]["part"]), (&"4711".into(), &"referred".into()));
    assert_eq!((&cdrs[1]["from"], &cdrs[1]["transfer"]["part"]), (&"1002".into(), &"target".into()));
    assert_eq!(cdrs[0]["transfer"]["call"], cdrs[1]["id"]);
    for name in ["referrals_executed", "transfers_executed", "transfers_asked"] {
        assert_eq!(scene.gateway.metric(&format!("trunkline_{name}_total")), 1.0, "{name}");
    }
    scene.nothing_more();
}

fn a_phone_that_does_not_answer_is_told_of(io: &str) {
    let mut scene = Scene::new(io, 1, EXECUTE);
    accepted(&mut scene);
    let ring = scene.bob.phone.expect("INVITE");
    scene.bob.phone.respond(&ring, 486, "bob", "");
    assert_eq!(said(&scene.alice.notified()), ("SIP/2.0 486 Busy Here\r\n", "terminated"));
    let (_, unrouted) = {
        let gateway = scene.sip();
        let fields = "Refer-To: <sip:1003@127.0.0.1>\r\n";
        scene.alice.phone.outside_as("4711", gateway, "999", "REFER", fields)
    };
    assert_eq!(unrouted.status(), Some(202), "{}", unrouted.text);
    assert_eq!(scene.alice.notified().0, "SIP/2.0 100 Trying\r\n");
    assert_eq!(said(&scene.alice.notified()), ("SIP/2.0 404 Not Found\r\n", "terminated"));
    scene.records(2);
    scene.nothing_more();
}

/// The phone that was called, having answered; and the INVITE to whom it is put through to.
fn rung(scene: &mut Scene) -> (Dialog, Message, (Message, Way)) {
    accepted(scene);
    let (b, ring) = scene.bob.answers();
    (b, ring, scene.carol.phone.expect("INVITE"))
}

fn a_target_that_refuses_ends_it(io: &str) {
    let mut scene = Scene::new(io, 1, EXECUTE);
    let (b, _, invite) = rung(&mut scene);
    scene.carol.phone.respond(&invite, 603, "carol", "");
    assert_eq!(said(&scene.alice.notified()), ("SIP/2.0 603 Decline\r\n", "terminated"));
    scene.bob.is_hung_up(&b);
    scene.records(2);
    scene.nothing_more();
}

fn a_phone_that_hangs_up_ends_it(io: &str) {
    let mut scene = Scene::new(io, 1, EXECUTE);
    let (mut b, _, invite) = rung(&mut scene);
    scene.carol.phone.respond(&invite, 180, "carol", "");
    assert_eq!(scene.alice.notified().0, "SIP/2.0 180 Ringing\r\n");
    scene.bob.phone.bye(&mut b);
    let cancel = scene.carol.phone.expect("CANCEL");
    scene.carol.phone.respond(&cancel, 200, "carol", "");
    scene.carol.phone.respond(&invite, 487, "carol", "");
    assert_eq!(said(&scene.alice.notified()), ("SIP/2.0 487 Request Terminated\r\n", "terminated"));
    scene.records(2);
    scene.nothing_more();
}

/// RFC 3960: ringing tones and announcements.
fn who_is_rung_hears_the_target_before_it_answers(io: &str) {
    for answers in [true, false] {
        let mut scene = Scene::new(io, 1, EXECUTE);
        let (mut b, ring, invite) = rung(&mut scene);
        scene.carol.phone.respond(&invite, 183, "carol", &scene.carol.voice.sdp("sendrecv"));
        assert_eq!(scene.alice.notified().0, "SIP/2.0 183 Session Progress\r\n");
        talk((&mut scene.bob.voice, ring.audio()), (&mut scene.carol.voice, invite.0.audio()), 10);
        if answers {
            scene.carol.phone.respond(&invite, 200, "carol", &scene.carol.voice.sdp("sendrecv"));
            let c = scene.carol.phone.dialog_of(&invite, "carol");
            scene.carol.phone.expect_in(&c, "ACK");
            assert_eq!(said(&scene.alice.notified()), TRANSFERRED);
            talk((&mut scene.bob.voice, ring.audio()), (&mut scene.carol.voice, invite.0.audio()), 10);
            scene.bob.phone.bye(&mut b);
            scene.carol.is_hung_up(&c);
        } else {
            scene.bob.phone.bye(&mut b);
            let cancel = scene.carol.phone.expect("CANCEL");
            scene.carol.phone.respond(&cancel, 200, "carol", "");
            scene.carol.phone.respond(&invite, 487, "carol", "");
            assert_eq!(said(&scene.alice.notified()), ("SIP/2.0 487 Request Terminated\r\n", "terminated"));
        }
        let cdrs = scene.records(2);
        assert_eq!(cdrs[1]["status"], if answers { 200 } else { 487 }, "{}", cdrs[1]);
        assert_eq!(scene.gateway.metric("trunkline_transfers_heard_early_total"), 1.0);
        scene.nothing_more();
    }
}

/// RFC 4488 §4.
fn nothing_is_told_to_who_wants_to_hear_nothing(io: &str) {
    let mut scene = Scene::new(io, 1, EXECUTE);
    let (_, answer) = click(&mut scene, "Refer-Sub: false\r\nRequire: norefersub\r\n");
    assert_eq!((answer.status(), answer.field("refer-sub")), (Some(202), "false"), "{}", answer.text);
    let (mut b, ring) = scene.bob.answers();
    let (c, invite) = scene.carol.answers();
    talk((&mut scene.bob.voice, ring.audio()), (&mut scene.carol.voice, invite.audio()), 10);
    scene.bob.phone.bye(&mut b);
    scene.carol.is_hung_up(&c);
    scene.records(2);
    scene.nothing_more();
}

/// RFC 3515 §2.4.4: what the REFER began goes on.
fn who_has_heard_enough_ends_the_subscription(io: &str) {
    let mut scene = Scene::new(io, 1, EXECUTE);
    let mut dialog = accepted(&mut scene);
    let ring = scene.bob.phone.expect("INVITE");
    for (seconds, state) in [("30", "active;expires=30"), ("0", "terminated;reason=timeout")] {
        let fields = format!("Event: refer\r\nExpires: {seconds}\r\n");
        let answer = scene.alice.phone.request_with(&mut dialog, "SUBSCRIBE", &fields);
        assert_eq!((answer.status(), answer.field("expires")), (Some(200), seconds), "{}", answer.text);
        let notify = scene.alice.phone.expect_in(&dialog, "NOTIFY");
        assert_eq!(notify.0.field("subscription-state"), state, "{}", notify.0.text);
        scene.alice.phone.respond(&notify, 200, "", "");
    }
    let fields = "Event: refer\r\nExpires: 30\r\n";
    assert_eq!(scene.alice.phone.request_with(&mut dialog, "SUBSCRIBE", fields).status(), Some(481));
    scene.bob.phone.respond(&ring, 486, "bob", "");
    scene.records(1);
    scene.nothing_more();
}

fn no_more_than_so_many_at_a_time(io: &str) {
    let mut scene = Scene::new(io, 1, &format!("{EXECUTE}refers_max = 1\n"));
    accepted(&mut scene);
    let ring = scene.bob.phone.expect("INVITE");
    let (_, second) = click(&mut scene, "");
    assert_eq!(second.status(), Some(503), "{}", second.text);
    assert!(!second.field("retry-after").is_empty(), "{}", second.text);
    assert_eq!(scene.gateway.metric("trunkline_referrals_full_total"), 1.0);
    scene.bob.phone.respond(&ring, 480, "bob", "");
    assert_eq!(scene.alice.notified().1, "terminated");
    accepted(&mut scene);
    let ring = scene.bob.phone.expect("INVITE");
    scene.bob.phone.respond(&ring, 480, "bob", "");
    assert_eq!(scene.alice.notified().1, "terminated");
    scene.records(2);
}

fn a_click_is_no_way_around_a_cap(io: &str) {
    let rule = "[[fraud]]\nname = \"none\"\nwho = \"all\"\nprefix = \"1003\"\nmax_calls = 0\n";
    let rule = rule.replace("max_calls = 0", "max_calls = 1");
    let mut scene = Scene::new(io, 1, &format!("{EXECUTE}{rule}"));
    let (mut other, c, _, _) = scene.call("1003");
    accepted(&mut scene);
    let (b, _) = scene.bob.answers();
    assert_eq!(said(&scene.alice.notified()), ("SIP/2.0 403 Forbidden\r\n", "terminated"));
    scene.bob.is_hung_up(&b);
    scene.alice.phone.bye(&mut other);
    scene.carol.is_hung_up(&c);
    scene.records(3);
}

/// A REFER of a user's, with his password; its answer.
fn referred(user: &mut User, gateway: SocketAddr, phone: &str, target: &str) -> Message {
    let uri = format!("sip:{phone}@{gateway}");
    let fields = format!("Refer-To: <sip:{target}@127.0.0.1>\r\n");
    let (_, asked) = user.phone.outside_as("alice", gateway, phone, "REFER", &fields);
    let nonce = nonce(&asked, "MD5");
    let fields = format!("{fields}{}", user.digest("MD5", &nonce).field("REFER", &uri));
    user.phone.outside_as("alice", gateway, phone, "REFER", &fields).1
}

fn a_user_has_his_own_phone_rung(io: &str) {
    let mut carol = Phone::new("127.0.0.4");
    let path = folder("dial").join("gateway.toml");
    let text = format!(
        "{EXECUTE}[health]\nprobe_interval = \"0s\"\n[media]\nrtp_ports = \"{}\"\n\
         [[trunk]]\nname = \"carol\"\npeers = [\"{}\"]\n[[route]]\nprefix = \"1003\"\nto = [\"carol\"]\n",
        rtp_ports(80),
        carol.address
    );
    std::fs::write(&path, text).unwrap();
    let users = ["--user", "alice:wonder", "--user", "bob:builder"];
    let arguments = [&["--config", path.to_str().unwrap(), "--workers", "2"][..], &users].concat();
    let gateway = Gateway::start(io, &arguments);
    let mut alice = User::new("127.0.0.2", "alice", "wonder");
    alice.register_contact(gateway.sip, "MD5");
    let voice = Voice::new(alice.phone.address.ip(), 0xa1);
    assert_eq!(referred(&mut alice, gateway.sip, "bob", "1003").status(), Some(403), "not his");
    assert_eq!(referred(&mut alice, gateway.sip, "alice", "1003").status(), Some(202));
    let notify = alice.phone.expect("NOTIFY");
    alice.phone.respond(&notify, 200, "", "");
    let ring = alice.phone.expect("INVITE");
    alice.phone.respond(&ring, 200, "alice", &voice.sdp("sendrecv"));
    let mut a = alice.phone.dialog_of(&ring, "alice");
    alice.phone.expect_in(&a, "ACK");
    let invite = carol.expect("INVITE");
    assert!(invite.0.field("from").contains("sip:alice@"), "{}", invite.0.text);
    carol.respond(&invite, 200, "carol", &Voice::new(carol.address.ip(), 0xc3).sdp("sendrecv"));
    let c = carol.dialog_of(&invite, "carol");
    carol.expect_in(&c, "ACK");
    let done = alice.phone.expect("NOTIFY");
    assert_eq!(done.0.body, "SIP/2.0 200 OK\r\n");
    alice.phone.respond(&done, 200, "", "");
    alice.phone.bye(&mut a);
    let bye = carol.expect("BYE");
    carol.respond(&bye, 200, "", "");
    assert_eq!(gateway.wait_cdrs(2).len(), 2);
}

/// The phone executes it itself, and tells.
fn a_click_is_handed_on(io: &str) {
    let more = "[outside]\nrefer = \"pass\"\n[[profile]]\nname = \"bob\"\nrefer = \"pass\"\n[[profile]]\nname = \"carol\"\n";
    let mut scene = Scene::new(io, 2, more);
    let gateway = scene.sip();
    let mut dialogs = Vec::new();
    for status in [202, 603] {
        let call = scene.alice.phone.begin_outside(
            "4711",
            gateway,
            "1002",
            "REFER",
            "Refer-To: <sip:1003@127.0.0.1>\r\n",
        );
        let refer = scene.bob.phone.expect("REFER");
        assert!(refer.0.field("refer-to").contains("sip:1003@"), "{}", refer.0.text);
        assert!(refer.0.field("referred-by").contains("sip:4711@"), "{}", refer.0.text);
        assert_ne!(refer.0.field("call-id"), call.call_id);
        let contact = format!("Contact: <sip:bob@{}>\r\n", scene.bob.phone.address);
        scene.bob.phone.respond_with(&refer, status, "bob", &contact, "");
        let answer = scene.alice.phone.final_response(&call.call_id, "7 REFER");
        assert_eq!(answer.status(), Some(status), "{}", answer.text);
        dialogs.push((call, scene.bob.phone.dialog_of(&refer, "bob")));
    }
    let (call, mut b) = dialogs.swap_remove(0);
    for (body, state) in [
        ("SIP/2.0 100 Trying\r\n", "active;expires=60"),
        ("SIP/2.0 200 OK\r\n", "terminated;reason=noresource"),
    ] {
        let fields = format!("Event: refer;id=1\r\nSubscription-State: {state}\r\n");
        scene.bob.phone.notify(&mut b, &fields, body);
        let notify = scene.alice.phone.expect_in(&call, "NOTIFY");
        assert_eq!((notify.0.body.as_str(), notify.0.field("subscription-state")), (body, state));
        assert_eq!(notify.0.field("event"), "refer;id=7", "his own REFER's number");
        scene.alice.phone.respond(&notify, 200, "", "");
        let cseq = format!("{} NOTIFY", b.cseq);
        assert_eq!(scene.bob.phone.final_response(&b.call_id.clone(), &cseq).status(), Some(200));
    }
    assert_eq!(scene.gateway.metric("trunkline_transfers_passed_total"), 2.0);
    scene.nothing_more();
}

/// RFC 7092 §3.1.4: Bob is to take Alice's place in a call with Carol, who knows another dialog than Alice does. The REFER comes to
/// the worker that its Call-ID falls to: sooner or later that is not the one with the call.
fn a_click_about_a_call_of_another_worker_names_it_as_it_is_known_there(io: &str) {
    let more = "[outside]\nrefer = \"pass\"\n[[profile]]\nname = \"bob\"\nrefer = \"pass\"\n[[profile]]\nname = \"carol\"\n";
    let mut scene = Scene::new(io, 2, more);
    let gateway = scene.sip();
    let (mut a, c, _, _) = scene.call("1003");
    for round in 0..20 {
        let kind = if round % 2 == 0 { "Replaces" } else { "Join" };
        let fields = format!("Refer-To: <sip:1003@127.0.0.1?{kind}={}>\r\n", replaces(&a));
        let asked = scene.alice.phone.begin_outside("4711", gateway, "1002", "REFER", &fields);
        let refer = scene.bob.phone.expect("REFER");
        let plain = refer.0.field("refer-to").replace("%40", "@").replace("%3B", ";").replace("%3D", "=");
        assert!(plain.contains(&format!("?{kind}={}", unescaped(&turned(&c)))), "{plain}");
        scene.bob.phone.respond(&refer, 603, "bob", "");
        assert_eq!(scene.alice.phone.final_response(&asked.call_id, "7 REFER").status(), Some(603));
        if round > 0 && scene.gateway.metric("trunkline_transfers_elsewhere_total") > 1.0 {
            scene.alice.phone.bye(&mut a);
            scene.carol.is_hung_up(&c);
            return;
        }
    }
    panic!("twenty requests, all on one worker");
}

fn who_may_not_is_refused(io: &str) {
    let mut scene = Scene::new(io, 1, "");
    let (_, answer) = click(&mut scene, "");
    assert_eq!(answer.status(), Some(403), "the default: {}", answer.text);
    let gateway = scene.sip();
    for (fields, status) in [
        ("", 400),
        ("Refer-To: <http://h>\r\n", 416),
        ("Refer-To: <sip:1003@h>\r\nRequire: nonsense\r\n", 420),
        ("Refer-To: <sip:1003@h>\r\nTarget-Dialog: x\r\n", 400),
        ("Refer-To: <sip:1003@h>\r\nTarget-Dialog: x;local-tag=1;remote-tag=2\r\n", 403),
    ] {
        let (_, answer) = scene.alice.phone.outside_as("4711", gateway, "1002", "REFER", fields);
        assert_eq!(answer.status(), Some(status), "{fields}: {}", answer.text);
    }
    scene.nothing_more();
}

/// RFC 4538: Carol's application knows Alice's call, and has Bob put through to her.
fn who_knows_the_dialog_has_a_call_transferred(io: &str) {
    let mut scene = Scene::new(io, 1, "");
    transfers(&mut scene);
    scene.records(2);
    assert_eq!(scene.gateway.metric("trunkline_transfers_elsewhere_total"), 0.0);
}

/// Each request is for the worker that its Call-ID falls to: sooner or later that is not the one with the call.
fn who_knows_the_dialog_of_another_worker_has_that_transferred(io: &str) {
    let mut scene = Scene::new(io, 2, "");
    for pairs in 1..=20 {
        transfers(&mut scene);
        if scene.gateway.metric("trunkline_transfers_elsewhere_total") > 0.0 {
            scene.records(2 * pairs);
            return;
        }
    }
    panic!("twenty transfers, each on one worker");
}

fn transfers(scene: &mut Scene) {
    let (a, mut b, _, to_bob) = scene.call("1002");
    let gateway = scene.sip();
    let target = unescaped(&a).replace("to-tag", "local-tag").replace("from-tag", "remote-tag");
    let fields = format!("Refer-To: <sip:1003@127.0.0.1>\r\nRequire: tdialog\r\nTarget-Dialog: {target}\r\n");
    let (dialog, answer) = scene.carol.phone.outside_as("1003", gateway, "", "REFER", &fields);
    assert_eq!(answer.status(), Some(202), "{}", answer.text);
    let notify = scene.carol.phone.expect_in(&dialog, "NOTIFY");
    scene.carol.phone.respond(&notify, 200, "", "");
    let (c, invite) = scene.carol.answers();
    let notify = scene.carol.phone.expect_in(&dialog, "NOTIFY");
    assert_eq!(notify.0.body, "SIP/2.0 200 OK\r\n");
    scene.carol.phone.respond(&notify, 200, "", "");
    // Whose place it was hears of it by BYE.
    scene.alice.is_hung_up(&a);
    talk((&mut scene.bob.voice, to_bob.audio()), (&mut scene.carol.voice, invite.audio()), 10);
    scene.bob.phone.bye(&mut b);
    scene.carol.is_hung_up(&c);
    scene.gateway.wait_calls(0);
    scene.nothing_more();
}
