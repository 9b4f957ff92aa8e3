//! Single calls through the gateway, each message looked at: voice both ways, who hangs up, early media, CANCEL, busy,
//! re-INVITE, OPTIONS, TCP, IPv6, hand-over between shards, and that neither side learns of the other.

use crate::carrier::{Carrier, Manner};
use crate::gateway::{Gateway, folder, rtp_ports};
use crate::message::Message;
use crate::phone::{Dialog, Phone, Way, unique};
use crate::voice::{Voice, talk};
use std::time::Duration;

on_both_drivers! {
    a_call_with_voice_over_one_shard
    a_call_with_voice_over_two_shards
    a_call_with_voice_over_tcp
    a_call_with_voice_over_ipv6
    messages_of_one_call_may_come_over_many_connections
    voice_is_heard_before_the_answer
    a_caller_who_gives_up_is_let_go_everywhere
    a_busy_callee_is_told_as_busy
    a_call_is_put_on_hold_and_taken_back
    calls_from_one_address_find_their_shard
    options_are_answered
    refused_calls_leave_nothing_up
}

/// Caller at 127.0.0.2, callee at 127.0.0.3, gateway between at 127.0.0.1.
struct Scene {
    gateway: Gateway,
    caller: Phone,
    callee: Phone,
    caller_voice: Voice,
    callee_voice: Voice,
    /// How the caller reaches the gateway.
    way: Way,
}

impl Scene {
    fn new(io: &str, workers: &str, transport: &str) -> Self {
        Self::at(io, workers, transport, ["127.0.0.1", "127.0.0.2", "127.0.0.3"])
    }

    fn at(io: &str, workers: &str, transport: &str, hosts: [&str; 3]) -> Self {
        let (mut caller, callee) = (Phone::new(hosts[1]), Phone::new(hosts[2]));
        let trunk = format!("--trunk=carrier={}/{transport}", callee.address);
        let listen =
            if hosts[0].contains(':') { format!("[{}]:0", hosts[0]) } else { format!("{}:0", hosts[0]) };
        let arguments =
            ["--workers", workers, &trunk, "--probe-interval", "0s", "--rtp-ports", &rtp_ports(240)];
        let gateway = Gateway::start_at(io, &[&listen], "127.0.0.1:0", folder("gateway"), &arguments);
        let way = if transport == "tcp" { caller.connect(gateway.sip) } else { Way::Udp(gateway.sip) };
        let caller_voice = Voice::new(caller.address.ip(), 0xa1);
        let callee_voice = Voice::new(callee.address.ip(), 0xb2);
        Self { gateway, caller, callee, caller_voice, callee_voice, way }
    }

    /// Dials, rings, answers: both sides' dialogs and where each speaks to.
    fn set_up(&mut self) -> (Dialog, Dialog, Message, Message) {
        let offer = self.caller_voice.sdp("sendrecv");
        let mut a = self.caller.invite(self.way, self.gateway.sip, "4420", &offer);
        let invite = self.callee.expect("INVITE");
        assert_eq!(invite.0.number(), "4420");
        let tag = unique();
        self.callee.respond(&invite, 180, &tag, "");
        let ringing = self.caller.response(&a, 180);
        assert!(!ringing.tag("to").is_empty(), "{}", ringing.text);
        self.callee.respond(&invite, 200, &tag, &self.callee_voice.sdp("sendrecv"));
        let answer = self.caller.answered(&mut a);
        assert_eq!(answer.status(), Some(200), "{}", answer.text);
        let b = self.callee.dialog_of(&invite, &tag);
        let ack = self.callee.expect_in(&b, "ACK").0;
        assert_eq!(ack.field("cseq").split(' ').next(), invite.0.field("cseq").split(' ').next());
        (a, b, answer, invite.0)
    }

    fn talk(&mut self, answer: &Message, invite: &Message, packets: usize) {
        let (a, b) = ((&mut self.caller_voice, answer.audio()), (&mut self.callee_voice, invite.audio()));
        talk(a, b, packets);
    }

    /// Neither side's address, tag or Call-ID is in anything that the other received (RFC 3261 §6, B2BUA), and
    /// the gateway has nothing left.
    fn end(mut self) {
        let hosts = (self.caller.address.ip().to_string(), self.callee.address.ip().to_string());
        let ports = (self.caller.address.port().to_string(), self.callee.address.port().to_string());
        let secrets = |messages: &[Message]| -> Vec<String> {
            let of = |message: &Message| {
                [message.field("call-id"), message.tag("from"), message.tag("to"), message.branch()]
                    .map(str::to_owned)
            };
            messages.iter().flat_map(of).filter(|word| !word.is_empty()).collect()
        };
        let callers = secrets(&self.caller.received);
        let callees = secrets(&self.callee.received);
        let told = |phone: &Phone, host: &str, port: &str, words: &[String]| {
            for message in &phone.received {
                // On ::1 all have one host; then the port alone tells.
                assert!(hosts.0 == hosts.1 || !message.text.contains(host), "{host} in {}", message.text);
                assert!(!message.text.contains(&format!(":{port}")), "{port} in {}", message.text);
                for word in words {
                    assert!(!message.text.contains(word.as_str()), "{word} in {}", message.text);
                }
            }
        };
        told(&self.callee, &hosts.0, &ports.0, &callers);
        told(&self.caller, &hosts.1, &ports.1, &callees);
        self.gateway.wait_calls(0);
        let rest: Vec<String> =
            self.caller.leftovers(Duration::from_millis(50)).into_iter().map(|m| m.start).collect();
        assert!(rest.iter().all(|start| start == "SIP/2.0 100 Trying" || start.contains(" 18")), "{rest:?}");
        let rest: Vec<String> = self.callee.leftovers(Duration::ZERO).into_iter().map(|m| m.start).collect();
        assert!(rest.iter().all(|start| start == "SIP/2.0 100 Trying"), "{rest:?}");
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.caller.leftovers(Duration::ZERO);
            for (who, phone) in [("caller", &self.caller), ("callee", &self.callee)] {
                let starts: Vec<&str> = phone.received.iter().map(|message| message.start.as_str()).collect();
                eprintln!("the {who} received {starts:?}");
            }
            eprintln!("{}", self.gateway.get("/api/v1/cdrs").1);
            let figures = self.gateway.get("/metrics").1;
            let counted = |line: &&str| !line.starts_with('#') && !line.ends_with(" 0");
            eprintln!("{}", figures.lines().filter(counted).collect::<Vec<_>>().join("\n"));
        }
    }
}

fn whole_call(mut scene: Scene) {
    // Hung up by the caller, then by the callee.
    let (mut a, b, answer, invite) = scene.set_up();
    assert_eq!(scene.gateway.calls(), 1);
    scene.talk(&answer, &invite, 25);
    scene.caller.begin_request(&mut a, "BYE", "");
    let bye = scene.callee.expect_in(&b, "BYE");
    scene.callee.respond(&bye, 200, "", "");
    let gone = scene.caller.final_response(&a.call_id, "2 BYE");
    assert_eq!(gone.status(), Some(200));

    let (a, mut b, answer, invite) = scene.set_up();
    scene.talk(&answer, &invite, 10);
    scene.callee.begin_request(&mut b, "BYE", "");
    let bye = scene.caller.expect_in(&a, "BYE");
    scene.caller.respond(&bye, 200, "", "");
    let gone = scene.callee.final_response(&b.call_id, &format!("{} BYE", b.cseq));
    assert_eq!(gone.status(), Some(200));

    let cdrs = scene.gateway.wait_cdrs(2);
    for (cdr, (side, packets)) in cdrs.iter().rev().zip([("caller", 25), ("callee", 10)]) {
        assert_eq!(cdr["ended_by"], side, "{cdr}");
        assert_eq!((&cdr["status"], &cdr["cause"]), (&200.into(), &"normal".into()), "{cdr}");
        for leg in ["caller", "callee"] {
            assert_eq!(cdr["media"][leg]["received"]["packets"], packets, "{cdr}");
            assert_eq!(cdr["media"][leg]["sent"]["packets"], packets, "{cdr}");
            assert_eq!(cdr["media"][leg]["received"]["lost"], 0, "{cdr}");
        }
    }
    scene.end();
}

fn a_call_with_voice_over_one_shard(io: &str) {
    whole_call(Scene::new(io, "1", "udp"));
}

fn a_call_with_voice_over_two_shards(io: &str) {
    whole_call(Scene::new(io, "2", "udp"));
}

fn a_call_with_voice_over_tcp(io: &str) {
    whole_call(Scene::new(io, "2", "tcp"));
}

fn a_call_with_voice_over_ipv6(io: &str) {
    whole_call(Scene::at(io, "1", "udp", ["::1"; 3]));
}

/// RFC 3261 §18: a dialog is bound to no connection; shards accept connections each on their own.
fn messages_of_one_call_may_come_over_many_connections(io: &str) {
    let mut scene = Scene::new(io, "4", "tcp");
    for _ in 0..8 {
        // The connection of the INVITE stays open for the response; ACK and BYE come over others.
        let old = scene.caller.connect(scene.gateway.sip);
        scene.way = old;
        let offer = scene.caller_voice.sdp("sendrecv");
        let mut a = scene.caller.invite(scene.way, scene.gateway.sip, "4420", &offer);
        let invite = scene.callee.expect("INVITE");
        let tag = unique();
        scene.callee.respond(&invite, 200, &tag, &scene.callee_voice.sdp("sendrecv"));
        let answer = scene.caller.final_response(&a.call_id, "1 INVITE");
        (a.remote, a.target) = (answer.field("to").to_owned(), answer.contact().to_owned());
        a.way = scene.caller.connect(scene.gateway.sip);
        scene.caller.ack(&a, "");
        let b = scene.callee.dialog_of(&invite, &tag);
        scene.callee.expect_in(&b, "ACK");
        a.way = scene.caller.connect(scene.gateway.sip);
        scene.caller.begin_request(&mut a, "BYE", "");
        let bye = scene.callee.expect_in(&b, "BYE");
        scene.callee.respond(&bye, 200, "", "");
        assert_eq!(scene.caller.final_response(&a.call_id, "2 BYE").status(), Some(200));
        scene.caller.close(old);
    }
    scene.end();
}

fn voice_is_heard_before_the_answer(io: &str) {
    let mut scene = Scene::new(io, "2", "udp");
    let offer = scene.caller_voice.sdp("sendrecv");
    let mut a = scene.caller.invite(scene.way, scene.gateway.sip, "4420", &offer);
    let invite = scene.callee.expect("INVITE");
    scene.callee.respond(&invite, 183, "early", &scene.callee_voice.sdp("sendrecv"));
    let progress = scene.caller.response(&a, 183);
    scene.talk(&progress, &invite.0, 10);
    scene.callee.respond(&invite, 200, "early", &scene.callee_voice.sdp("sendrecv"));
    let answer = scene.caller.answered(&mut a);
    assert_eq!(answer.audio(), progress.audio(), "early and later voice share a port");
    assert_eq!(answer.tag("to"), progress.tag("to"), "one dialog from the first ringing on");
    let b = scene.callee.dialog_of(&invite, "early");
    scene.callee.expect_in(&b, "ACK");
    scene.talk(&answer, &invite.0, 10);
    scene.caller.begin_request(&mut a, "BYE", "");
    let bye = scene.callee.expect_in(&b, "BYE");
    scene.callee.respond(&bye, 200, "", "");
    assert_eq!(scene.caller.final_response(&a.call_id, "2 BYE").status(), Some(200));
    scene.end();
}

fn a_caller_who_gives_up_is_let_go_everywhere(io: &str) {
    let mut scene = Scene::new(io, "2", "udp");
    let offer = scene.caller_voice.sdp("sendrecv");
    let mut a = scene.caller.invite(scene.way, scene.gateway.sip, "4420", &offer);
    let invite = scene.callee.expect("INVITE");
    scene.callee.respond(&invite, 180, "ring", "");
    scene.caller.response(&a, 180);
    // RFC 3261 §9.2: the CANCEL is answered 200, the INVITE 487.
    assert_eq!(scene.caller.cancel(&a).status(), Some(200));
    assert_eq!(scene.caller.answered(&mut a).status(), Some(487));
    let cancel = scene.callee.expect("CANCEL");
    assert_eq!(cancel.0.branch(), invite.0.branch(), "a CANCEL has the branch of its INVITE");
    scene.callee.respond(&cancel, 200, "ring", "");
    scene.callee.respond(&invite, 487, "ring", "");
    let ack = scene.callee.expect("ACK");
    assert_eq!(ack.0.branch(), invite.0.branch(), "the ACK of a refusal has the branch of its INVITE");
    let cdrs = scene.gateway.wait_cdrs(1);
    assert_eq!((&cdrs[0]["status"], &cdrs[0]["ended_by"]), (&487.into(), &"caller".into()), "{}", cdrs[0]);
    scene.end();
}

fn a_busy_callee_is_told_as_busy(io: &str) {
    let mut scene = Scene::new(io, "2", "udp");
    let offer = scene.caller_voice.sdp("sendrecv");
    let mut a = scene.caller.invite(scene.way, scene.gateway.sip, "4420", &offer);
    let invite = scene.callee.expect("INVITE");
    scene.callee.respond(&invite, 486, "busy", "");
    assert_eq!(scene.caller.answered(&mut a).status(), Some(486));
    scene.callee.expect("ACK");
    let cdrs = scene.gateway.wait_cdrs(1);
    assert_eq!((&cdrs[0]["status"], &cdrs[0]["q850"]), (&486.into(), &17.into()), "{}", cdrs[0]);
    assert_eq!(cdrs[0]["attempts"][0]["status"], 486, "{}", cdrs[0]);
    scene.end();
}

fn a_call_is_put_on_hold_and_taken_back(io: &str) {
    let mut scene = Scene::new(io, "2", "udp");
    let (mut a, mut b, answer, invite) = scene.set_up();
    scene.talk(&answer, &invite, 5);
    // The caller holds; the callee answers that it only listens.
    scene.caller.begin_request(&mut a, "INVITE", &scene.caller_voice.sdp("sendonly"));
    let hold = scene.callee.expect_in(&b, "INVITE");
    assert!(hold.0.body.contains("a=sendonly"), "{}", hold.0.text);
    scene.callee.respond(&hold, 200, "", &scene.callee_voice.sdp("recvonly"));
    let held = scene.caller.final_response(&a.call_id, "2 INVITE");
    assert!(held.status() == Some(200) && held.body.contains("a=recvonly"), "{}", held.text);
    scene.caller.ack(&a, "");
    scene.callee.expect_in(&b, "ACK");
    // The callee takes it back.
    // RFC 3261 §14.1: as long as the ACK of the first change is under way to the gateway, it says 491, try again.
    let back = loop {
        scene.callee.begin_request(&mut b, "INVITE", &scene.callee_voice.sdp("sendrecv"));
        let fits = |message: &Message| message.method() == "INVITE";
        if let Some(back) = scene.caller.find(Duration::from_millis(500), fits) {
            break back;
        }
        let early = scene.callee.final_response(&b.call_id, &format!("{} INVITE", b.cseq));
        assert_eq!(early.status(), Some(491), "{}", early.text);
    };
    assert!(!back.0.body.contains("a=sendonly"), "{}", back.0.text);
    scene.caller.respond(&back, 200, "", &scene.caller_voice.sdp("sendrecv"));
    let cseq = format!("{} INVITE", b.cseq);
    let again = scene.callee.final_response(&b.call_id, &cseq);
    assert_eq!(again.status(), Some(200), "{}", again.text);
    scene.callee.ack(&b, "");
    scene.caller.expect_in(&a, "ACK");
    scene.talk(&back.0, &again, 10);
    // A re-INVITE that the other side refuses leaves the call as it was (RFC 3261 §14.1).
    scene.caller.begin_request(&mut a, "INVITE", &scene.caller_voice.sdp("inactive"));
    let unwanted = scene.callee.expect_in(&b, "INVITE");
    scene.callee.respond(&unwanted, 488, "", "");
    let refused = scene.caller.final_response(&a.call_id, "3 INVITE");
    assert_eq!(refused.status(), Some(488), "{}", refused.text);
    scene.caller.ack(&a, "");
    scene.callee.expect_in(&b, "ACK");
    scene.talk(&back.0, &again, 5);
    scene.caller.begin_request(&mut a, "BYE", "");
    let bye = scene.callee.expect_in(&b, "BYE");
    scene.callee.respond(&bye, 200, "", "");
    assert_eq!(scene.caller.final_response(&a.call_id, "4 BYE").status(), Some(200));
    scene.end();
}

fn calls_from_one_address_find_their_shard(io: &str) {
    let carrier = Carrier::start(Manner::Answer);
    let trunk = carrier.trunk("carrier", "");
    let arguments = ["--workers", "4", &trunk, "--rtp-ports", &rtp_ports(800)];
    let gateway = Gateway::start(io, &arguments);
    let mut caller = Phone::new("127.0.0.1");
    let sdp = Voice::new(caller.address.ip(), 1).sdp("sendrecv");
    let way = Way::Udp(gateway.sip);
    let mut calls: Vec<Dialog> =
        (0..40).map(|n| caller.invite(way, gateway.sip, &format!("44{n}"), &sdp)).collect();
    for call in &mut calls {
        let answer = caller.answered(call);
        assert_eq!(answer.status(), Some(200), "{:?}", gateway.causes());
    }
    gateway.wait_calls(40);
    let listed = gateway.json("/api/v1/calls");
    let workers: std::collections::BTreeSet<u64> =
        listed["calls"].as_array().unwrap().iter().map(|call| call["worker"].as_u64().unwrap()).collect();
    assert_eq!(workers.len(), 4, "40 calls of one socket lie on all shards: {workers:?}");
    for call in &mut calls {
        caller.bye(call);
    }
    gateway.wait_calls(0);
    gateway.wait_cdrs(40);
    assert_eq!(carrier.seen().count("BYE"), 40);
    assert_eq!(carrier.seen().count("ACK"), 40);
    assert!(gateway.metric("trunkline_handovers_in_total") >= 40.0);
    assert_eq!(
        gateway.metric("trunkline_handovers_in_total"),
        gateway.metric("trunkline_handovers_out_total")
    );
}

fn options_are_answered(io: &str) {
    let gateway = Gateway::start(io, &["--workers", "2", "--trunk=a=127.0.0.1:9", "--probe-interval", "0s"]);
    let mut phone = Phone::new("127.0.0.1");
    for _ in 0..8 {
        assert_eq!(phone.options(Way::Udp(gateway.sip), gateway.sip), Some(200));
        let stream = phone.connect(gateway.sip);
        assert_eq!(phone.options(stream, gateway.sip), Some(200));
    }
}

/// Refusals that the gateway gives itself.
fn refused_calls_leave_nothing_up(io: &str) {
    let mut scene = Scene::new(io, "2", "udp");
    let offer = scene.caller_voice.sdp("sendrecv");
    let sip = scene.gateway.sip;
    // RFC 3261 §16.3: Max-Forwards, Require. Read by the endpoint; the callee hears nothing of either.
    let mut extended = scene.caller.invite_with(scene.way, sip, "1", "Require: teleport\r\n", &offer);
    let refused = scene.caller.answered(&mut extended);
    assert_eq!(refused.status(), Some(420), "{}", refused.text);
    assert_eq!(refused.field("unsupported"), "teleport", "{}", refused.text);
    let mut useless = scene.caller.invite(scene.way, sip, "1", "v=0\r\nnonsense\r\n");
    let refused = scene.caller.answered(&mut useless);
    assert!(matches!(refused.status(), Some(400 | 488)), "{}", refused.text);
    // A BYE for a call that there is not (RFC 3261 §15.1.2).
    let mut unknown = scene.caller.invite(scene.way, sip, "1", &offer);
    let invite = scene.callee.expect("INVITE");
    scene.callee.respond(&invite, 404, "none", "");
    assert_eq!(scene.caller.answered(&mut unknown).status(), Some(404));
    scene.callee.expect("ACK");
    unknown.remote.push_str(";tag=nobody");
    assert_eq!(scene.caller.request(&mut unknown, "BYE", "").status(), Some(481));
    scene.end();
}
