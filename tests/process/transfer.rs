//! Transfer (RFC 5589): REFER executed, handed on and refused; INVITE with Replaces. Every call's voice is heard.

use crate::gateway::{Gateway, folder, rtp_ports};
use crate::message::Message;
use crate::phone::{Dialog, Phone, Way, unique};
use crate::voice::{Voice, talk};
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;

on_both_drivers! {
    a_caller_puts_the_callee_through
    a_callee_puts_the_caller_through
    who_refers_before_the_ack_is_served
    who_is_held_is_taken_back_by_the_target
    a_target_that_refuses_leaves_the_call_as_it_was
    who_hangs_up_too_early_is_not_missed
    who_does_not_hang_up_is_hung_up_upon
    who_is_to_be_put_through_may_hang_up
    a_transfer_is_no_way_around_a_cap
    two_calls_become_one
    two_calls_of_two_workers_become_one
    a_dialog_that_is_not_there_is_told
    an_invite_takes_the_place_of_a_leg
    a_call_that_rings_is_picked_up
    a_refer_is_handed_on
    a_refer_is_refused
    what_cannot_be_meant_is_refused
}

/// A phone with its voice.
pub(crate) struct Party {
    pub(crate) phone: Phone,
    pub(crate) voice: Voice,
}

impl Party {
    pub(crate) fn new(host: &str, mark: u8) -> Self {
        let phone = Phone::new(host);
        let voice = Voice::new(phone.address.ip(), mark);
        Self { phone, voice }
    }

    /// The next NOTIFY: status and state, answered 200.
    pub(crate) fn notified(&mut self) -> (String, String) {
        let notify = self.phone.expect("NOTIFY");
        self.phone.respond(&notify, 200, "", "");
        assert_eq!(notify.0.field("content-type"), "message/sipfrag;version=2.0", "{}", notify.0.text);
        let state = notify.0.field("subscription-state");
        (notify.0.body.clone(), state.split(';').next().unwrap().to_owned())
    }

    /// Answers a call that comes; its dialog and INVITE.
    pub(crate) fn answers(&mut self) -> (Dialog, Message) {
        let invite = self.phone.expect("INVITE");
        let tag = unique();
        self.phone.respond(&invite, 200, &tag, &self.voice.sdp("sendrecv"));
        let dialog = self.phone.dialog_of(&invite, &tag);
        self.phone.expect_in(&dialog, "ACK");
        (dialog, invite.0)
    }

    /// Answers a re-INVITE; what it offered.
    pub(crate) fn agrees(&mut self, dialog: &Dialog) -> Message {
        let invite = self.phone.expect_in(dialog, "INVITE");
        self.phone.respond(&invite, 200, "", &self.voice.sdp("sendrecv"));
        self.phone.expect_in(dialog, "ACK");
        invite.0
    }

    pub(crate) fn is_hung_up(&mut self, dialog: &Dialog) {
        let bye = self.phone.expect_in(dialog, "BYE");
        self.phone.respond(&bye, 200, "", "");
    }
}

/// Alice may call; Bob and Carol are trunks that take 1002 and 1003.
pub(crate) struct Scene {
    pub(crate) gateway: Gateway,
    pub(crate) alice: Party,
    pub(crate) bob: Party,
    pub(crate) carol: Party,
}

impl Scene {
    pub(crate) fn new(io: &str, workers: u16, more: &str) -> Self {
        let parties = [("127.0.0.2", 0xa1), ("127.0.0.3", 0xb2), ("127.0.0.4", 0xc3)];
        let [alice, bob, carol] = parties.map(|(host, mark)| Party::new(host, mark));
        let path = folder("transfer").join("gateway.toml");
        let trunk = |name: &str, number: &str, phone: &Phone| {
            format!(
                "[[trunk]]\nname = \"{name}\"\npeers = [\"{}\"]\nprofile = \"{name}\"\nmax_calls = 2\n\
                 [[route]]\nprefix = \"{number}\"\nto = [\"{name}\"]\n",
                phone.address
            )
        };
        let profiles = if more.contains("[[profile]]") {
            String::new()
        } else {
            String::from("[[profile]]\nname = \"bob\"\n[[profile]]\nname = \"carol\"\nbase = \"pbx\"\n")
        };
        let text = format!(
            "{more}\n[health]\nprobe_interval = \"0s\"\n[media]\nrtp_ports = \"{}\"\n{profiles}{}{}",
            rtp_ports(240),
            trunk("bob", "1002", &bob.phone),
            trunk("carol", "1003", &carol.phone),
        );
        std::fs::write(&path, text).unwrap();
        let workers = workers.to_string();
        let arguments = ["--config", path.to_str().unwrap(), "--workers", &workers];
        let gateway = Gateway::start(io, &arguments);
        Self { gateway, alice, bob, carol }
    }

    pub(crate) fn sip(&self) -> SocketAddr {
        self.gateway.sip
    }

    /// Alice calls one of the two, who answers: both dialogs, Alice's answer and the other's INVITE.
    pub(crate) fn call(&mut self, number: &str) -> (Dialog, Dialog, Message, Message) {
        let (gateway, offer) = (self.sip(), self.alice.voice.sdp("sendrecv"));
        let mut a = self.alice.phone.invite(Way::Udp(gateway), gateway, number, &offer);
        let other = if number == "1002" { &mut self.bob } else { &mut self.carol };
        let (b, invite) = other.answers();
        let answer = self.alice.phone.answered(&mut a);
        assert_eq!(answer.status(), Some(200), "{}", answer.text);
        (a, b, answer, invite)
    }

    /// Alice holds who she talks with.
    pub(crate) fn hold(&mut self, a: &mut Dialog, b: &Dialog) {
        let offer = self.alice.voice.sdp("sendonly");
        self.alice.phone.begin_request(a, "INVITE", &offer);
        let invite = self.bob.phone.expect_in(b, "INVITE");
        assert!(invite.0.body.contains("a=sendonly"), "{}", invite.0.text);
        self.bob.phone.respond(&invite, 200, "", &self.bob.voice.sdp("recvonly"));
        self.bob.phone.expect_in(b, "ACK");
        let held = self.alice.phone.final_response(&a.call_id.clone(), &format!("{} INVITE", a.cseq));
        assert!(held.body.contains("a=recvonly"), "{}", held.text);
        self.alice.phone.ack(a, "");
    }

    /// Alice asks that who she talks with be put through.
    pub(crate) fn refer(&mut self, a: &mut Dialog, to: &str) {
        let accepted = self.alice.phone.request_with(a, "REFER", &format!("Refer-To: {to}\r\n"));
        assert_eq!(accepted.status(), Some(202), "{}", accepted.text);
        let (said, state) = self.alice.notified();
        assert_eq!((said.as_str(), state.as_str()), ("SIP/2.0 100 Trying\r\n", "active"));
    }

    /// The records of all calls, by who was dialled.
    pub(crate) fn records(&self, count: usize) -> Vec<Value> {
        self.gateway.wait_calls(0);
        let mut cdrs = self.gateway.wait_cdrs(count);
        cdrs.sort_by_key(|cdr| cdr["dialled"].to_string());
        cdrs
    }

    pub(crate) fn nothing_more(&mut self) {
        for party in [&mut self.alice, &mut self.bob, &mut self.carol] {
            let rest =
                party.phone.leftovers(Duration::from_millis(50)).into_iter().map(|message| message.start);
            let rest: Vec<String> =
                rest.filter(|start| start != "SIP/2.0 100 Trying" && !start.starts_with("ACK ")).collect();
            assert!(rest.is_empty(), "{rest:?}");
        }
    }
}

pub(crate) const TRANSFERRED: (&str, &str) = ("SIP/2.0 200 OK\r\n", "terminated");

pub(crate) fn said(notified: &(String, String)) -> (&str, &str) {
    (&notified.0, &notified.1)
}

fn a_caller_puts_the_callee_through(io: &str) {
    let mut scene = Scene::new(io, 2, "");
    let (mut a, mut b, answer, invited) = scene.call("1002");
    talk((&mut scene.alice.voice, answer.audio()), (&mut scene.bob.voice, invited.audio()), 10);
    scene.refer(&mut a, "<sip:1003@127.0.0.1>");
    let invite = scene.carol.phone.expect("INVITE");
    assert_eq!((invite.0.number(), invite.0.tag("to")), ("1003", ""));
    assert!(invite.0.field("from").contains("sip:1002@"), "Bob calls her now: {}", invite.0.text);
    assert!(invite.0.field("referred-by").contains("sip:4711@127.0.0.1"), "{}", invite.0.text);
    assert!(
        !invite.0.text.contains("127.0.0.2") && !invite.0.text.contains("127.0.0.3"),
        "{}",
        invite.0.text
    );
    let tag = unique();
    scene.carol.phone.respond(&invite, 180, &tag, "");
    assert_eq!(scene.alice.notified().0, "SIP/2.0 180 Ringing\r\n");
    // The call goes on meanwhile.
    talk((&mut scene.alice.voice, answer.audio()), (&mut scene.bob.voice, invited.audio()), 5);
    scene.carol.phone.respond(&invite, 200, &tag, &scene.carol.voice.sdp("sendrecv"));
    let c = scene.carol.phone.dialog_of(&invite, &tag);
    scene.carol.phone.expect_in(&c, "ACK");
    assert_eq!(said(&scene.alice.notified()), TRANSFERRED);
    scene.alice.phone.bye(&mut a);
    // The codecs fit: nobody is asked for another session.
    talk((&mut scene.bob.voice, invited.audio()), (&mut scene.carol.voice, invite.0.audio()), 20);
    scene.bob.phone.bye(&mut b);
    scene.carol.is_hung_up(&c);
    let cdrs = scene.records(2);
    let [first, second] = &cdrs[..] else { unreachable!() };
    assert_eq!((&first["dialled"], &first["from"]), (&"1002".into(), &"4711".into()));
    let transfer = &first["transfer"];
    assert_eq!(
        (&transfer["part"], &transfer["by"], &transfer["to"]),
        (&"referred".into(), &"4711".into(), &"1003".into())
    );
    assert_eq!((&transfer["status"], &transfer["call"]), (&200.into(), &second["id"]));
    assert_eq!(
        (&second["from"], &second["trunk"], &second["status"]),
        (&"1002".into(), &"carol".into(), &200.into())
    );
    assert_eq!((&second["transfer"]["part"], &second["transfer"]["call"]), (&"target".into(), &first["id"]));
    let heard = |cdr: &Value, side: &str| cdr["media"][side]["received"]["packets"].as_u64().unwrap();
    assert_eq!((heard(first, "caller"), heard(second, "callee")), (15, 20), "{first} {second}");
    for (name, count) in [("asked", 1.0), ("executed", 1.0), ("failed", 0.0), ("refused", 0.0)] {
        assert_eq!(scene.gateway.metric(&format!("trunkline_transfers_{name}_total")), count, "{name}");
    }
    let ladder = |cdr: &Value| {
        let id = cdr["id"].as_str().unwrap();
        scene.gateway.get(&format!("/api/v1/calls/{id}/ladder")).1
    };
    let (of_first, of_second) = (ladder(first), ladder(second));
    assert!(of_first.contains("REFER") && of_first.contains("NOTIFY"), "{of_first}");
    assert!(of_second.contains("Referred-By") || of_second.contains("INVITE"), "{of_second}");
    scene.nothing_more();
}

fn a_callee_puts_the_caller_through(io: &str) {
    let mut scene = Scene::new(io, 1, "");
    let (mut a, mut b, answer, _) = scene.call("1002");
    let refer = scene.bob.phone.request_with(&mut b, "REFER", "Refer-To: sip:1003@127.0.0.1\r\n");
    assert_eq!(refer.status(), Some(202), "{}", refer.text);
    assert_eq!(scene.bob.notified().0, "SIP/2.0 100 Trying\r\n");
    let (c, invite) = scene.carol.answers();
    assert!(invite.field("from").contains("\"Alice\" <sip:4711@127.0.0.1>"), "{}", invite.text);
    assert!(invite.field("referred-by").contains("sip:1002@"), "{}", invite.text);
    assert_eq!(said(&scene.bob.notified()), TRANSFERRED);
    scene.bob.phone.bye(&mut b);
    talk((&mut scene.alice.voice, answer.audio()), (&mut scene.carol.voice, invite.audio()), 20);
    scene.alice.phone.bye(&mut a);
    scene.carol.is_hung_up(&c);
    let cdrs = scene.records(2);
    assert_eq!(cdrs[0]["transfer"]["by"], "1002");
    assert_eq!((&cdrs[1]["from"], &cdrs[1]["ended_by"]), (&"4711".into(), &"caller".into()));
    scene.nothing_more();
}

/// The callee has the ACK of the gateway at once, the gateway the caller's when it comes.
fn who_refers_before_the_ack_is_served(io: &str) {
    let mut scene = Scene::new(io, 1, "");
    let (gateway, offer) = (scene.sip(), scene.alice.voice.sdp("sendrecv"));
    let mut a = scene.alice.phone.invite(Way::Udp(gateway), gateway, "1002", &offer);
    let (mut b, _) = scene.bob.answers();
    let answer = scene.alice.phone.final_response(&a.call_id.clone(), "1 INVITE");
    (a.remote, a.target) = (answer.field("to").to_owned(), answer.contact().to_owned());
    let refer = scene.bob.phone.request_with(&mut b, "REFER", "Refer-To: <sip:1003@127.0.0.1>\r\n");
    assert_eq!(refer.status(), Some(202), "{}", refer.text);
    scene.bob.notified();
    let (c, invite) = scene.carol.answers();
    assert_eq!(said(&scene.bob.notified()), TRANSFERRED);
    scene.alice.phone.ack(&a, "");
    scene.bob.phone.bye(&mut b);
    talk((&mut scene.alice.voice, answer.audio()), (&mut scene.carol.voice, invite.audio()), 10);
    scene.alice.phone.bye(&mut a);
    scene.carol.is_hung_up(&c);
    scene.records(2);
}

fn who_is_held_is_taken_back_by_the_target(io: &str) {
    let mut scene = Scene::new(io, 1, "");
    let (mut a, b, _, invited) = scene.call("1002");
    scene.hold(&mut a, &b);
    scene.refer(&mut a, "<sip:1003@127.0.0.1>");
    let (mut c, invite) = scene.carol.answers();
    assert!(!invite.body.contains("recvonly") && !invite.body.contains("inactive"), "{}", invite.text);
    let taken_back = scene.bob.agrees(&b);
    assert!(!taken_back.body.contains("only"), "{}", taken_back.text);
    assert_eq!(taken_back.audio(), invited.audio(), "the ports are the same");
    assert_eq!(said(&scene.alice.notified()), TRANSFERRED);
    scene.alice.phone.bye(&mut a);
    talk((&mut scene.bob.voice, invited.audio()), (&mut scene.carol.voice, invite.audio()), 20);
    scene.carol.phone.bye(&mut c);
    scene.bob.is_hung_up(&b);
    scene.records(2);
    scene.nothing_more();
}

fn a_target_that_refuses_leaves_the_call_as_it_was(io: &str) {
    let mut scene = Scene::new(io, 1, "");
    let (mut a, b, answer, invited) = scene.call("1002");
    for (to, status, phrase) in
        [("1003", 486, "Busy Here"), ("1003", 603, "Decline"), ("1009", 404, "Not Found")]
    {
        scene.refer(&mut a, &format!("<sip:{to}@127.0.0.1>"));
        if to == "1003" {
            let invite = scene.carol.phone.expect("INVITE");
            scene.carol.phone.respond(&invite, status, &unique(), "");
        }
        let told = scene.alice.notified();
        assert_eq!(said(&told), (format!("SIP/2.0 {status} {phrase}\r\n").as_str(), "terminated"));
        talk((&mut scene.alice.voice, answer.audio()), (&mut scene.bob.voice, invited.audio()), 5);
    }
    scene.alice.phone.bye(&mut a);
    scene.bob.is_hung_up(&b);
    let cdrs = scene.records(4);
    assert_eq!(cdrs[0]["transfer"]["status"], 404, "the last one");
    assert_eq!((&cdrs[1]["status"], &cdrs[3]["status"]), (&603.into(), &404.into()));
    assert_eq!(scene.gateway.metric("trunkline_transfers_failed_total"), 3.0);
}

fn who_hangs_up_too_early_is_not_missed(io: &str) {
    for answers in [true, false] {
        let mut scene = Scene::new(io, 1, "");
        let (mut a, mut b, _, invited) = scene.call("1002");
        scene.refer(&mut a, "<sip:1003@127.0.0.1>");
        scene.alice.phone.bye(&mut a);
        if answers {
            let (c, invite) = scene.carol.answers();
            // Her dialog is over for herself; the last word is told all the same (RFC 5057 §4.1).
            assert_eq!(said(&scene.alice.notified()), TRANSFERRED);
            talk((&mut scene.bob.voice, invited.audio()), (&mut scene.carol.voice, invite.audio()), 10);
            scene.bob.phone.bye(&mut b);
            scene.carol.is_hung_up(&c);
        } else {
            let invite = scene.carol.phone.expect("INVITE");
            scene.carol.phone.respond(&invite, 486, &unique(), "");
            assert_eq!(scene.alice.notified().0, "SIP/2.0 486 Busy Here\r\n");
            scene.bob.is_hung_up(&b);
        }
        scene.records(2);
        scene.nothing_more();
    }
}

fn who_does_not_hang_up_is_hung_up_upon(io: &str) {
    for fields in ["", "Refer-Sub: false\r\nSupported: norefersub\r\n"] {
        let mut scene = Scene::new(io, 1, "");
        let (mut a, b, _, invited) = scene.call("1002");
        let refer = format!("Refer-To: <sip:1003@127.0.0.1>\r\n{fields}");
        let accepted = scene.alice.phone.request_with(&mut a, "REFER", &refer);
        assert_eq!(accepted.status(), Some(202), "{}", accepted.text);
        let (mut c, invite) = scene.carol.answers();
        if fields.is_empty() {
            scene.alice.notified();
            assert_eq!(said(&scene.alice.notified()), TRANSFERRED);
        } else {
            assert_eq!(accepted.field("refer-sub"), "false", "RFC 4488 §4");
        }
        scene.alice.is_hung_up(&a);
        talk((&mut scene.bob.voice, invited.audio()), (&mut scene.carol.voice, invite.audio()), 10);
        scene.carol.phone.bye(&mut c);
        scene.bob.is_hung_up(&b);
        let cdrs = scene.records(2);
        assert_eq!(cdrs[0]["cause"], "transferred");
        scene.nothing_more();
    }
}

fn who_is_to_be_put_through_may_hang_up(io: &str) {
    let mut scene = Scene::new(io, 1, "");
    let (mut a, mut b, _, _) = scene.call("1002");
    scene.refer(&mut a, "<sip:1003@127.0.0.1>");
    let invite = scene.carol.phone.expect("INVITE");
    let tag = unique();
    scene.carol.phone.respond(&invite, 180, &tag, "");
    assert_eq!(scene.alice.notified().0, "SIP/2.0 180 Ringing\r\n");
    scene.bob.phone.bye(&mut b);
    let cancel = scene.carol.phone.expect("CANCEL");
    scene.carol.phone.respond(&cancel, 200, &tag, "");
    scene.carol.phone.respond(&invite, 487, &tag, "");
    assert_eq!(said(&scene.alice.notified()), ("SIP/2.0 487 Request Terminated\r\n", "terminated"));
    scene.alice.is_hung_up(&a);
    let cdrs = scene.records(2);
    assert_eq!((&cdrs[0]["transfer"]["status"], &cdrs[1]["status"]), (&487.into(), &487.into()));
}

fn a_transfer_is_no_way_around_a_cap(io: &str) {
    let rule = "[[fraud]]\nname = \"few\"\nwho = \"all\"\nprefix = \"1003\"\nmax_calls = 1\n";
    let mut scene = Scene::new(io, 1, rule);
    let (other, mut c, _, _) = scene.call("1003");
    let (mut a, b, _, _) = scene.call("1002");
    scene.refer(&mut a, "<sip:1003@127.0.0.1>");
    let told = scene.alice.notified();
    assert_eq!(said(&told), ("SIP/2.0 403 Forbidden\r\n", "terminated"));
    scene.carol.phone.bye(&mut c);
    scene.alice.is_hung_up(&other);
    scene.alice.phone.bye(&mut a);
    scene.bob.is_hung_up(&b);
    scene.records(3);
}

pub(crate) fn replaces(dialog: &Dialog) -> String {
    let tag = |value: &str| value.rsplit_once(";tag=").unwrap().1.to_owned();
    let escaped = |text: &str| text.replace('@', "%40").replace(';', "%3B").replace('=', "%3D");
    let value = format!("{};to-tag={};from-tag={}", dialog.call_id, tag(&dialog.remote), tag(&dialog.local));
    escaped(&value)
}

fn two_calls_become_one(io: &str) {
    let mut scene = Scene::new(io, 1, "");
    attended(&mut scene);
    let cdrs = scene.records(2);
    assert_eq!(
        (&cdrs[0]["transfer"]["part"], &cdrs[0]["transfer"]["call"]),
        (&"referred".into(), &cdrs[1]["id"])
    );
    assert_eq!(
        (&cdrs[1]["transfer"]["part"], &cdrs[1]["transfer"]["status"]),
        (&"target".into(), &200.into())
    );
}

/// Each call is on the worker that its Call-ID falls to: sooner or later the two are on different ones.
fn two_calls_of_two_workers_become_one(io: &str) {
    let mut scene = Scene::new(io, 2, "");
    let mut made = 0;
    for _ in 0..20 {
        attended(&mut scene);
        let elsewhere = scene.gateway.metric("trunkline_transfers_elsewhere_total");
        made += 2;
        if elsewhere == 1.0 {
            let cdrs = scene.records(made + 1);
            let between =
                cdrs.iter().find(|cdr| cdr["trunk"].as_str().is_some_and(|it| it.starts_with("worker:")));
            let between = between.unwrap_or_else(|| panic!("{cdrs:?}"));
            assert_eq!((&between["status"], &between["transfer"]["part"]), (&200.into(), &"target".into()));
            assert!(cdrs.iter().any(|cdr| cdr["transfer"]["part"] == "replaced"), "{cdrs:?}");
            return;
        }
    }
    panic!("twenty pairs of calls, each on one worker");
}

/// Alice puts the two she talks with through to each other.
fn attended(scene: &mut Scene) {
    let (mut a, b, _, to_bob) = scene.call("1002");
    scene.hold(&mut a, &b);
    let (consultation, mut c, _, to_carol) = scene.call("1003");
    scene.refer(&mut a, &format!("<sip:1003@127.0.0.1?Replaces={}>", replaces(&consultation)));
    scene.alice.is_hung_up(&consultation);
    let taken_back = scene.bob.agrees(&b);
    assert!(!taken_back.body.contains("only"), "{}", taken_back.text);
    assert_eq!(said(&scene.alice.notified()), TRANSFERRED);
    scene.alice.phone.bye(&mut a);
    talk((&mut scene.bob.voice, to_bob.audio()), (&mut scene.carol.voice, to_carol.audio()), 20);
    scene.carol.phone.bye(&mut c);
    scene.bob.is_hung_up(&b);
    scene.nothing_more();
}

fn a_dialog_that_is_not_there_is_told(io: &str) {
    let mut scene = Scene::new(io, 1, "");
    let (mut a, b, answer, invited) = scene.call("1002");
    let own = replaces(&a);
    for unknown in ["abc%3Bto-tag%3D1%3Bfrom-tag%3D2", &own, &own.replace("from-tag%3D", "from-tag%3Dx")] {
        scene.refer(&mut a, &format!("<sip:1003@127.0.0.1?Replaces={unknown}>"));
        let told = scene.alice.notified();
        assert_eq!(said(&told), ("SIP/2.0 481 Call/Transaction Does Not Exist\r\n", "terminated"));
    }
    talk((&mut scene.alice.voice, answer.audio()), (&mut scene.bob.voice, invited.audio()), 5);
    scene.alice.phone.bye(&mut a);
    scene.bob.is_hung_up(&b);
    scene.records(1);
}

/// The same outside of a URI.
pub(crate) fn unescaped(dialog: &Dialog) -> String {
    replaces(dialog).replace("%40", "@").replace("%3B", ";").replace("%3D", "=")
}

/// The value of Replaces that names the dialog of a party with the gateway, as the gateway sees it.
pub(crate) fn named(dialog: &Dialog, more: &str) -> String {
    format!("Require: replaces\r\nReplaces: {}{more}\r\n", unescaped(dialog))
}

/// A dialog as the other side sees it.
pub(crate) fn turned(dialog: &Dialog) -> Dialog {
    let mut turned = dialog.clone();
    (turned.local, turned.remote) = (dialog.remote.clone(), dialog.local.clone());
    turned
}

fn an_invite_takes_the_place_of_a_leg(io: &str) {
    let mut scene = Scene::new(io, 1, "");
    let (a, mut b, _, invited) = scene.call("1002");
    let (gateway, offer) = (scene.sip(), scene.carol.voice.sdp("sendrecv"));
    let attempt = |carol: &mut Party, fields: &str| {
        let mut x = carol.phone.invite_with(Way::Udp(gateway), gateway, "1002", fields, &offer);
        let answer = carol.phone.answered(&mut x);
        (x, answer)
    };
    let refused = |(_, answer): (Dialog, Message)| answer.status().unwrap();
    assert_eq!(refused(attempt(&mut scene.carol, &named(&a, ";early-only"))), 486);
    assert_eq!(refused(attempt(&mut scene.carol, "Replaces: x;to-tag=1;from-tag=2\r\n")), 481);
    assert_eq!(refused(attempt(&mut scene.carol, "Replaces: x;to-tag=1\r\n")), 400);
    let (x, answer) = attempt(&mut scene.carol, &named(&a, ""));
    assert_eq!(answer.status(), Some(200), "{}", answer.text);
    scene.alice.is_hung_up(&a);
    talk((&mut scene.bob.voice, invited.audio()), (&mut scene.carol.voice, answer.audio()), 20);
    scene.bob.phone.bye(&mut b);
    scene.carol.is_hung_up(&x);
    let cdr = &scene.records(1)[0];
    assert_eq!(
        (&cdr["transfer"]["part"], &cdr["transfer"]["to"]),
        (&"replaced".into(), &"1002".into()),
        "{cdr}"
    );
    // One was malformed, and refused before.
    for (name, count) in [("asked", 3.0), ("done", 1.0), ("refused", 2.0)] {
        assert_eq!(scene.gateway.metric(&format!("trunkline_replaces_{name}_total")), count, "{name}");
    }
}

fn a_call_that_rings_is_picked_up(io: &str) {
    let mut scene = Scene::new(io, 1, "");
    let (gateway, offer) = (scene.sip(), scene.alice.voice.sdp("sendrecv"));
    let mut a = scene.alice.phone.invite(Way::Udp(gateway), gateway, "1002", &offer);
    let invite = scene.bob.phone.expect("INVITE");
    let tag = unique();
    scene.bob.phone.respond(&invite, 180, &tag, "");
    scene.alice.phone.response(&a, 180);
    let b = scene.bob.phone.dialog_of(&invite, &tag);
    let fields = named(&b, ";early-only");
    let offer = scene.carol.voice.sdp("sendrecv");
    let mut x = scene.carol.phone.invite_with(Way::Udp(gateway), gateway, "1002", &fields, &offer);
    let picked = scene.carol.phone.answered(&mut x);
    assert_eq!(picked.status(), Some(200), "{}", picked.text);
    let answer = scene.alice.phone.answered(&mut a);
    assert_eq!(answer.status(), Some(200), "{}", answer.text);
    let cancel = scene.bob.phone.expect("CANCEL");
    assert!(cancel.0.field("reason").contains("Call completed elsewhere"), "{}", cancel.0.text);
    scene.bob.phone.respond(&cancel, 200, &tag, "");
    scene.bob.phone.respond(&invite, 487, &tag, "");
    talk((&mut scene.alice.voice, answer.audio()), (&mut scene.carol.voice, picked.audio()), 20);
    scene.alice.phone.bye(&mut a);
    scene.carol.is_hung_up(&x);
    let cdr = &scene.records(1)[0];
    assert_eq!((&cdr["status"], &cdr["transfer"]["part"]), (&200.into(), &"replaced".into()), "{cdr}");
}

fn a_refer_is_handed_on(io: &str) {
    let more = "[[profile]]\nname = \"bob\"\ntransfer = \"pass\"\n[[profile]]\nname = \"carol\"\n";
    let mut scene = Scene::new(io, 1, more);
    let (mut a, mut b, _, _) = scene.call("1002");
    // Bob has a second call, with Carol, whose place Alice is to take.
    let (gateway, offer) = (scene.sip(), scene.bob.voice.sdp("sendrecv"));
    let mut second = scene.bob.phone.invite(Way::Udp(gateway), gateway, "1003", &offer);
    let (mut c, to_carol) = scene.carol.answers();
    assert_eq!(scene.bob.phone.answered(&mut second).status(), Some(200));
    let fields = format!(
        "Refer-To: <sip:1003@{gateway}?Replaces={}>\r\nReferred-By: <sip:x@127.0.0.3>\r\n",
        replaces(&second)
    );
    scene.bob.phone.begin_request_with(&mut b, "REFER", &fields);
    let refer = scene.alice.phone.expect_in(&a, "REFER");
    assert!(refer.0.field("referred-by").contains("sip:1002@127.0.0.1"), "{}", refer.0.text);
    // She is told of the dialog that Carol knows (RFC 3891 §3), and of nothing on Bob's side.
    let refer_to = refer.0.field("refer-to").to_owned();
    let mut seen_by_carol = c.clone();
    (seen_by_carol.local, seen_by_carol.remote) = (c.remote.clone(), c.local.clone());
    assert_eq!(refer_to, format!("<sip:1003@{gateway}?Replaces={}>", replaces(&seen_by_carol)));
    scene.alice.phone.respond(&refer, 202, "", "");
    let sent = format!("{} REFER", b.cseq);
    assert_eq!(scene.bob.phone.final_response(&b.call_id.clone(), &sent).status(), Some(202));
    // She does as she was told; her gateway is the one that knows that dialog.
    let offer = scene.alice.voice.sdp("sendrecv");
    let fields = named(&seen_by_carol, "");
    let mut x = scene.alice.phone.invite_with(Way::Udp(gateway), gateway, "1003", &fields, &offer);
    let answer = scene.alice.phone.answered(&mut x);
    assert_eq!(answer.status(), Some(200), "{}", answer.text);
    scene.bob.is_hung_up(&second);
    talk((&mut scene.alice.voice, answer.audio()), (&mut scene.carol.voice, to_carol.audio()), 10);
    for (body, state) in [
        ("SIP/2.0 100 Trying\r\n", "active;expires=60"),
        ("SIP/2.0 200 OK\r\n", "terminated;reason=noresource"),
    ] {
        scene.alice.phone.notify(
            &mut a,
            &format!("Event: refer;id=1\r\nSubscription-State: {state}\r\n"),
            body,
        );
        let notify = scene.bob.phone.expect_in(&b, "NOTIFY");
        assert_eq!((notify.0.body.as_str(), notify.0.field("subscription-state")), (body, state));
        assert_eq!(notify.0.field("event"), format!("refer;id={}", b.cseq), "his own REFER's number");
        scene.bob.phone.respond(&notify, 200, "", "");
        let cseq = format!("{} NOTIFY", a.cseq);
        assert_eq!(scene.alice.phone.final_response(&a.call_id.clone(), &cseq).status(), Some(200));
    }
    scene.bob.phone.bye(&mut b);
    scene.alice.is_hung_up(&a);
    scene.carol.phone.bye(&mut c);
    scene.alice.is_hung_up(&x);
    let cdrs = scene.records(2);
    let of = |cdr: &Value| (cdr["transfer"]["part"].clone(), cdr["transfer"]["status"].clone());
    assert_eq!(of(&cdrs[0]), ("passed".into(), 200.into()));
    assert_eq!(of(&cdrs[1]), ("replaced".into(), 200.into()));
    assert_eq!(scene.gateway.metric("trunkline_transfers_passed_total"), 1.0);
    scene.nothing_more();
}

fn a_refer_is_refused(io: &str) {
    let more = "[[profile]]\nname = \"bob\"\nbase = \"carrier-strict\"\n[[profile]]\nname = \"carol\"\n";
    let mut scene = Scene::new(io, 1, more);
    let (mut a, mut b, answer, invited) = scene.call("1002");
    let refused = scene.bob.phone.request_with(&mut b, "REFER", "Refer-To: sip:1003@127.0.0.1\r\n");
    assert_eq!(refused.status(), Some(603), "{}", refused.text);
    assert!(
        refused.field("allow").contains("BYE") && !refused.field("allow").contains("REFER"),
        "{}",
        refused.text
    );
    talk((&mut scene.alice.voice, answer.audio()), (&mut scene.bob.voice, invited.audio()), 5);
    scene.alice.phone.bye(&mut a);
    scene.bob.is_hung_up(&b);
    assert_eq!(scene.gateway.metric("trunkline_transfers_refused_total"), 1.0);
}

fn what_cannot_be_meant_is_refused(io: &str) {
    let mut scene = Scene::new(io, 1, "");
    let gateway = scene.sip();
    let status = |message: Message| message.status().unwrap();
    let outside = scene.alice.phone.outside(gateway, "REFER", "Refer-To: <sip:1003@127.0.0.1>\r\n");
    assert_eq!(status(outside), 403);
    let outside =
        scene.alice.phone.outside(gateway, "NOTIFY", "Event: refer\r\nSubscription-State: active\r\n");
    assert_eq!(status(outside), 481, "RFC 6665 §4.1.3");
    let (mut a, b, _, _) = scene.call("1002");
    for (fields, expected) in [
        ("", 400),
        ("Refer-To: <sip:1003@h>\r\nRefer-To: <sip:1004@h>\r\n", 400),
        ("Refer-To: <http://h>\r\n", 416),
        ("Refer-To: <sip:1003@h;method=BYE>\r\n", 603),
    ] {
        assert_eq!(status(scene.alice.phone.request_with(&mut a, "REFER", fields)), expected, "{fields}");
    }
    let event = "Event: refer\r\nSubscription-State: active\r\n";
    assert_eq!(status(scene.alice.phone.request_with(&mut a, "NOTIFY", event)), 481);
    scene.alice.phone.bye(&mut a);
    scene.bob.is_hung_up(&b);
}
