//! The flows of RFC 5359 (service examples).

use crate::Flow;
use crate::gateway::{Gateway, packets};
use crate::kamailio::{Kamailio, LOOSE, relay};
use crate::place::{Scene, own_address, wait_until};
use crate::rfc3665::{ANSWERS, LISTENS, NUMBER, TALKS, assert_voice, between, let_talk, phone, trunk};
use crate::sipp::Sipp;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

pub(crate) fn flows() -> Vec<Flow> {
    rows! { "RFC 5359";
        "2.1", "Call hold", "SIPp, GW, SIPp", yes hold_by_caller,
            "the caller holds and resumes: sendonly and recvonly cross, then sendrecv";
        "2.1", "Call hold", "SIPp, GW, SIPp", yes hold_by_callee,
            "the same by the callee";
        "2.1", "Call hold", "baresip, GW, SIPp", yes hold_by_baresip,
            "baresip holds and resumes";
        "2.1", "Call hold", "SIPp, GW, baresip", yes hold_of_baresip,
            "baresip is held and resumed";
        "2.2", "Consultation hold", "SIPp, GW, baresip, GW, SIPp", yes consultation,
            "baresip holds its caller, calls a third, hangs up there and resumes: two records";
        "2.3", "Music on hold", "SIPp, GW, SIPp and a music server", yes music,
            "the callee's re-INVITE names the music server's address; its RTP reaches the caller";
        "2.4", "Transfer, unattended", "SIPp, GW, SIPp", no refer_refused,
            "REFER is answered 405 with Allow; the call goes on";
        "2.4", "Transfer, unattended", "SIPp, GW, baresip", no refer_of_baresip,
            "the same: baresip reports the refusal and keeps the call";
        "2.5", "Transfer, attended", "SIPp, GW, SIPp", no refer_refused,
            "as 2.4: neither REFER nor Replaces is executed";
        "2.6", "Transfer, instant messaging", "SIPp, GW, SIPp", no refer_refused,
            "as 2.4";
        "2.7", "Forwarding, unconditional", "SIPp, GW, Kamailio, SIPp", yes forwarded,
            "the proxy forwards; 181 reaches the caller";
        "2.8", "Forwarding, busy", "SIPp, GW, Kamailio, baresip and SIPp", yes forwarded_busy,
            "the first phone refuses, the second answers: two early dialogs on one INVITE";
        "2.8", "Forwarding, busy", "SIPp, GW, SIPp and SIPp", yes forwarded_by_gateway,
            "the gateway forwards: 486 among failover_statuses sends the call to the backup trunk";
        "2.9", "Forwarding, no answer", "SIPp, GW, Kamailio, baresip and SIPp", yes forwarded_unanswered,
            "the proxy gives the first phone up and rings the second";
        "2.10", "Conference, third party is added", "SIPp and SIPp, GW, SIPp", yes conference,
            "the callee moves its media to the mixer and calls the third party; isfocus in its Contact does not cross a B2BUA";
        "2.11", "Conference, third party joins", "SIPp, GW", no join_refused,
            "Join (RFC 3911) is not executed: an INVITE that requires it is answered 420";
        "2.12", "Find me", "SIPp, GW, Kamailio, baresip and SIPp", yes forwarded_busy,
            "one place after the other, as 2.8";
        "2.12", "Find me", "SIPp, GW, Kamailio, baresip and SIPp", yes forked,
            "all places at once: the first to answer has the call, the other stops ringing";
        "2.13", "Incoming call screening", "SIPp, GW, Kamailio", yes screened,
            "403 of the callee's proxy reaches the caller";
        "2.14", "Outgoing call screening", "SIPp, GW", yes screened_out,
            "the gateway screens: a number without route is answered 404, and no carrier is asked";
        "2.15", "Call park", "SIPp, GW, SIPp", no refer_refused,
            "as 2.4: parking takes REFER and Replaces";
        "2.16", "Call pickup", "SIPp, GW", no replaces_refused,
            "Replaces (RFC 3891) is not executed: an INVITE that requires it is answered 420";
        "2.17", "Automatic redial", "SIPp, GW, SIPp", yes crate::outside::redial,
            "486; the caller subscribes to the callee's dialog, is told when it is over, and calls again";
        "2.18", "Click to dial", "SIPp, GW", no refer_outside_refused,
            "REFER is answered 405 with Allow";
    }
}

/// A caller who holds and resumes.
const HOLDS: &str = "
    > INVITE sdp
    < 180?
    < 200
    > ACK
    pause 200
    > INVITE sdp:sendonly
    < 200 ~a=recvonly
    > ACK
    pause 200
    > INVITE sdp
    < 200 ~a=sendrecv
    > ACK
    pause 200
    > BYE
    < 200";

/// A callee who is held and resumed.
const IS_HELD: &str = "
    < INVITE
    > 180
    > 200 sdp
    < ACK
    < INVITE ~a=sendonly
    > 200 sdp:recvonly
    < ACK
    < INVITE ~a=sendrecv
    > 200 sdp
    < ACK
    < BYE
    > 200";

fn hold_by_caller(scene: &Scene) {
    between(scene, HOLDS, IS_HELD, 200);
}

fn hold_by_callee(scene: &Scene) {
    let caller = "
        > INVITE sdp
        < 180
        < 200
        > ACK
        < INVITE ~a=sendonly
        > 200 sdp:recvonly
        < ACK
        < INVITE ~a=sendrecv
        > 200 sdp
        < ACK
        < BYE
        > 200";
    let callee = "
        < INVITE
        > 180
        > 200 sdp
        < ACK
        pause 200
        > INVITE sdp:sendonly
        < 200 ~a=recvonly
        > ACK
        pause 200
        > INVITE sdp
        < 200 ~a=sendrecv
        > ACK
        pause 200
        > BYE
        < 200";
    between(scene, caller, callee, 200);
}

fn hold_by_baresip(scene: &Scene) {
    let bob = Sipp::callee_at(scene, "bob", own_address(), IS_HELD, &["-rtp_echo"]);
    let gateway = Gateway::start(scene, &trunk(bob.at()), "");
    let mut alice = phone(scene, "alice", "");
    alice.order(&format!("dial sip:{NUMBER}@{}", gateway.sip));
    alice.wait_for("CALL_ESTABLISHED");
    let_talk();
    alice.order("hold");
    alice.wait_for("CALL_REMOTE_SDP");
    alice.order("resume");
    alice.wait_for("CALL_REMOTE_SDP");
    alice.order("hangup");
    bob.finish(1);
    assert_voice(&gateway.cdr(200));
}

fn hold_of_baresip(scene: &Scene) {
    let mut bob = phone(scene, NUMBER, "answermode=auto");
    let gateway = Gateway::start(scene, &trunk(bob.at), "");
    Sipp::caller(scene, "alice", NUMBER, gateway.sip, HOLDS).finish(1);
    bob.wait_for("CALL_ESTABLISHED");
    bob.wait_for("CALL_CLOSED");
    gateway.cdr(200);
}

fn consultation(scene: &Scene) {
    let mut bob = phone(scene, "1002", "answermode=auto");
    let carol = Sipp::callee(scene, "carol", ANSWERS);
    let routes =
        "[[route]]\nprefix = \"1002\"\nto = [\"bob\"]\n[[route]]\nprefix = \"1003\"\nto = [\"carol\"]\n";
    let trunks = [format!("bob={}", bob.at), format!("carol={}", carol.at())];
    let gateway = Gateway::start(scene, &trunks, routes);
    let caller = "
        > INVITE sdp
        < 180?
        < 200
        > ACK
        < INVITE ~a=sendonly
        > 200 sdp:recvonly
        < ACK
        < INVITE ~a=sendrecv
        > 200 sdp
        < ACK
        < BYE
        > 200";
    let alice = Sipp::caller(scene, "alice", "1002", gateway.sip, caller);
    bob.wait_for("CALL_ESTABLISHED");
    bob.order("hold");
    bob.wait_for("CALL_REMOTE_SDP");
    bob.order(&format!("dial sip:1003@{}", gateway.sip));
    bob.wait_for("CALL_ESTABLISHED");
    bob.order("hangup");
    carol.finish(1);
    bob.order("resume");
    bob.wait_for("CALL_REMOTE_SDP");
    bob.order("hangup");
    alice.finish(1);
    let cdrs = gateway.cdrs(2);
    assert!(cdrs.iter().all(|cdr| cdr["status"] == 200), "{cdrs:?}");
}

fn music(scene: &Scene) {
    let server = UdpSocket::bind(own_address()).unwrap();
    let place = server.local_addr().unwrap();
    let caller = "
        > INVITE sdp
        < 180
        < 200
        > ACK
        < INVITE ~a=sendonly
        > 200 sdp:recvonly
        < ACK
        < BYE
        > 200";
    let callee = format!(
        "
        < INVITE
        > 180
        > 200 sdp
        < ACK
        pause 200
        > INVITE sdp:sendonly@{place}
        < 200 ~a=recvonly
        > ACK
        pause 2000
        > BYE
        < 200"
    );
    let bob = Sipp::callee(scene, "bob", &callee);
    let gateway = Gateway::start(scene, &trunk(bob.at()), "");
    let alice = Sipp::caller(scene, "alice", NUMBER, gateway.sip, caller);
    // Where the gateway takes the callee's voice: as the answer to the re-INVITE says.
    let mut port = 0;
    wait_until("the music to be wanted", || {
        let answer = bob.messages();
        let answer = answer.split("CSeq: 1 INVITE").filter(|part| part.contains("a=recvonly")).last();
        let named = answer.and_then(|part| part.split("m=audio ").nth(1)?.split(' ').next()?.parse().ok());
        port = named.unwrap_or(0);
        port != 0
    });
    for number in 0..50_u16 {
        let mut packet = [0x55; 172];
        packet[..2].copy_from_slice(&[0x80, 8]);
        packet[2..4].copy_from_slice(&number.to_be_bytes());
        packet[4..8].copy_from_slice(&(u32::from(number) * 160).to_be_bytes());
        packet[8..12].copy_from_slice(b"song");
        server.send_to(&packet, SocketAddr::new(gateway.sip.ip(), port)).unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    alice.finish(1);
    bob.finish(1);
    let cdr = gateway.cdr(200);
    assert!(packets(&cdr)[1] >= 45, "music: {cdr}");
    assert_eq!(cdr["media"]["callee"]["remote"], place.to_string(), "{cdr}");
}

fn refer_refused(scene: &Scene) {
    let callee = "
        < INVITE
        > 180
        > 200 sdp
        < ACK
        pause 100
        > REFER | Refer-To: <sip:1003@127.0.0.1>
        < 405 ~Allow:
        pause 100
        > BYE
        < 200";
    between(scene, LISTENS, callee, 200);
}

fn refer_of_baresip(scene: &Scene) {
    let mut bob = phone(scene, NUMBER, "answermode=auto");
    let gateway = Gateway::start(scene, &trunk(bob.at), "");
    let alice = Sipp::caller(scene, "alice", NUMBER, gateway.sip, &LISTENS.replace("< 180", "< 180?"));
    bob.wait_for("CALL_ESTABLISHED");
    bob.order("transfer sip:1003@127.0.0.1");
    bob.wait_for("TRANSFER_FAILED");
    bob.order("hangup");
    alice.finish(1);
    gateway.cdr(200);
}

fn join_refused(scene: &Scene) {
    outside(
        scene,
        "> INVITE sdp | Require: join | Join: abc;to-tag=1;from-tag=2\n< 420 ~Unsupported:_join\n> ACK",
    );
}

fn replaces_refused(scene: &Scene) {
    outside(
        scene,
        "> INVITE sdp | Require: replaces | Replaces: abc;to-tag=1;from-tag=2;early-only\n< 420 ~Unsupported:_replaces\n> ACK",
    );
}

fn refer_outside_refused(scene: &Scene) {
    outside(scene, "> REFER | Refer-To: <sip:1003@127.0.0.1>\n< 405 ~Allow:");
}

/// A request that ends at the gateway: nothing of it reaches the carrier.
pub(crate) fn outside(scene: &Scene, caller: &str) {
    let carrier = UdpSocket::bind(own_address()).unwrap();
    let gateway = Gateway::start(scene, &trunk(carrier.local_addr().unwrap()), "");
    Sipp::caller(scene, "alice", NUMBER, gateway.sip, caller).finish(1);
    carrier.set_nonblocking(true).unwrap();
    assert!(carrier.recv(&mut [0; 100]).is_err(), "the carrier was asked");
}

/// A call to a proxy that has it answered by this callee.
fn by_proxy(scene: &Scene, caller: &str, carol: Sipp, lines: &str, routes: &str) -> Gateway {
    let proxy = Kamailio::start(scene, "proxy", lines, routes);
    let gateway = Gateway::start(scene, &trunk(proxy.at), "");
    Sipp::caller(scene, "alice", NUMBER, gateway.sip, caller).finish(1);
    carol.finish(1);
    gateway.cdr(200);
    gateway
}

fn forwarded(scene: &Scene) {
    let carol = Sipp::callee(scene, "carol", ANSWERS);
    let lines = format!(
        "{LOOSE}\nt_newtran();\nt_reply(\"181\", \"Call Is Being Forwarded\");\n$rU = \"carol\";\n{}",
        relay(carol.at(), "udp")
    );
    by_proxy(scene, &TALKS.replace("< 180", "< 181\n < 180"), carol, &lines, "");
}

// SIPp takes the second 180 for a retransmission of the first: its scripts await one.
fn forwarded_busy(scene: &Scene) {
    let mut bob = phone(scene, NUMBER, "answermode=manual");
    let carol = Sipp::callee(scene, "carol", ANSWERS);
    let lines = format!("{LOOSE}\nt_on_failure(\"NEXT\");\n{}", relay(bob.at, "udp"));
    let next = format!(
        "failure_route[NEXT] {{\n if (t_is_canceled()) exit;\n if (t_check_status(\"486\")) {{ $rU = \"carol\"; {} }}\n}}",
        relay(carol.at(), "udp")
    );
    std::thread::scope(|scope| {
        scope.spawn(|| {
            bob.wait_for("CALL_INCOMING");
            bob.order("hangup");
            bob.wait_for("CALL_CLOSED");
        });
        by_proxy(scene, TALKS, carol, &lines, &next);
    });
}

fn forwarded_by_gateway(scene: &Scene) {
    let bob = Sipp::callee(scene, "bob", "< INVITE\n> 486\n< ACK");
    let carol = Sipp::callee(scene, "carol", ANSWERS);
    let config = format!(
        "[[trunk]]\nname = \"bob\"\npeers = [\"{}\"]\nfailover_statuses = [486]\nbackup = \"carol\"\n\
         [[trunk]]\nname = \"carol\"\npeers = [\"{}\"]\n[[route]]\nprefix = \"\"\nto = [\"bob\"]\n",
        bob.at(),
        carol.at()
    );
    let gateway = Gateway::start(scene, &[], &config);
    Sipp::caller(scene, "alice", NUMBER, gateway.sip, TALKS).finish(1);
    bob.finish(1);
    carol.finish(1);
    let cdr = gateway.cdr(200);
    assert_eq!(cdr["trunk"], "carol", "{cdr}");
}

fn forwarded_unanswered(scene: &Scene) {
    let mut bob = phone(scene, NUMBER, "answermode=manual");
    let carol = Sipp::callee(scene, "carol", ANSWERS);
    let lines = format!("{LOOSE}\nt_on_failure(\"NEXT\");\nt_set_fr(1000, 1500);\n{}", relay(bob.at, "udp"));
    let next = format!(
        "failure_route[NEXT] {{\n if (t_is_canceled()) exit;\n if (t_branch_timeout()) {{ $rU = \"carol\"; {} }}\n}}",
        relay(carol.at(), "udp")
    );
    by_proxy(scene, TALKS, carol, &lines, &next);
    bob.wait_for("CALL_INCOMING");
    bob.wait_for("CALL_CLOSED");
}

fn forked(scene: &Scene) {
    let mut bob = phone(scene, NUMBER, "answermode=manual");
    // Answers once the other place rings too.
    let carol = Sipp::callee(scene, "carol", &ANSWERS.replace("> 180", "> 180\npause 500"));
    let lines = format!(
        "{LOOSE}\nappend_branch(\"sip:{NUMBER}@{}\");\n$ru = \"sip:carol@{}\";\nt_relay();",
        bob.at,
        carol.at()
    );
    by_proxy(scene, TALKS, carol, &lines, "");
    bob.wait_for("CALL_INCOMING");
    bob.wait_for("CALL_CLOSED");
}

fn conference(scene: &Scene) {
    let mixer = UdpSocket::bind(own_address()).unwrap().local_addr().unwrap();
    let carol = Sipp::callee(scene, "carol", ANSWERS);
    let callee = format!(
        "
        < INVITE
        > 180
        > 200 sdp
        < ACK
        pause 100
        > INVITE sdp@{mixer}
        < 200
        > ACK
        pause 2500
        > BYE
        < 200"
    );
    let bob = Sipp::callee(scene, "bob", &callee);
    let routes =
        "[[route]]\nprefix = \"1002\"\nto = [\"bob\"]\n[[route]]\nprefix = \"1003\"\nto = [\"carol\"]\n";
    let trunks = [format!("bob={}", bob.at()), format!("carol={}", carol.at())];
    let gateway = Gateway::start(scene, &trunks, routes);
    let caller = "
        > INVITE sdp
        < 180
        < 200
        > ACK
        < INVITE
        > 200 sdp
        < ACK
        < BYE
        > 200";
    let alice = Sipp::caller(scene, "alice", "1002", gateway.sip, caller);
    gateway.wait_calls(1);
    let added = TALKS.replace("> INVITE sdp", &format!("> INVITE sdp@{mixer}"));
    Sipp::caller(scene, "focus", "1003", gateway.sip, &added).finish(1);
    carol.finish(1);
    alice.finish(1);
    bob.finish(1);
    let cdrs = gateway.cdrs(2);
    assert!(cdrs.iter().all(|cdr| cdr["status"] == 200), "{cdrs:?}");
}

fn screened(scene: &Scene) {
    let proxy = Kamailio::start(scene, "proxy", "sl_send_reply(\"403\", \"Screening Failure\"); exit;", "");
    let gateway = Gateway::start(scene, &trunk(proxy.at), "");
    Sipp::caller(scene, "alice", NUMBER, gateway.sip, "> INVITE sdp\n< 403\n> ACK").finish(1);
    gateway.cdr(403);
}

fn screened_out(scene: &Scene) {
    let carrier = UdpSocket::bind(own_address()).unwrap();
    let routes = "[[route]]\nprefix = \"86\"\nto = [\"carrier\"]\n";
    let gateway = Gateway::start(scene, &trunk(carrier.local_addr().unwrap()), routes);
    Sipp::caller(scene, "alice", "900190", gateway.sip, "> INVITE sdp\n< 404\n> ACK").finish(1);
    gateway.cdr(404);
    carrier.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    assert!(carrier.recv(&mut [0; 100]).is_err(), "the carrier was asked");
}
