//! Peers behind a NAT: requests inside their calls come to them, whoever called, whatever is lost on the way.

use crate::harness::*;
use core::time::Duration;
use sansio::{StreamEvent, StreamId};
use sip::message::{Message, Name};
use sip::{Body, Destination, Event, Held, Invite, LegId, Nat, StartError, Transport};
use std::cell::Cell;
use std::net::SocketAddr;

const INNER: &str = "192.168.1.7:5062";
const OUTER: &str = "203.0.113.9:40000";
const PUBLIC: &str = "192.0.2.2:5060";

/// A pair of which the first is behind a NAT.
fn behind_nat(seed: u64, rule: Nat) -> Pair {
    let mut pair = Pair::with(seed, |config| config.nat = rule, [INNER, PUBLIC]);
    pair.nat = Some((INNER.parse().unwrap(), OUTER.parse().unwrap()));
    pair
}

/// B calls A at the address that its NAT shows.
fn call_in(pair: &mut Pair) -> (LegId, LegId) {
    let (now, remote) = (pair.now, OUTER.parse().unwrap());
    let destination = Destination { transport: Transport::Udp, remote, socket: UDP, over: None };
    let invite = Invite {
        call_id: "in",
        request_uri: "sip:alice@192.168.1.7:5062",
        from: "<sip:b@h>",
        to: "<sip:a@h>",
        destination,
        contact_user: "",
        headers: &[],
        body: Some(Body::sdp(OFFER)),
        max_forwards: 70,
        no_response: Duration::from_secs(20),
        no_answer: Duration::from_secs(60),
    };
    let b = pair.nodes[B].endpoint.invite(now, &invite).unwrap();
    pair.settle();
    let a = pair.wait(A, Node::incoming);
    let now = pair.now;
    pair.nodes[A].endpoint.provisional(now, a, 180, &[], None).unwrap();
    pair.nodes[A].endpoint.answer(now, a, &[], Some(Body::sdp(ANSWER))).unwrap();
    pair.settle();
    pair.wait(B, |node| node.take(|e| matches!(e, Event::Answered { .. }).then_some(())));
    pair.wait(A, |node| node.take(|e| matches!(e, Event::Acked { .. }).then_some(())));
    (a, b)
}

/// The public side changes the session, then ends it.
fn change_and_end(pair: &mut Pair, a: LegId, b: LegId) {
    let now = pair.now;
    pair.nodes[B].endpoint.reinvite(now, b, Some(Body::sdp(OFFER))).unwrap();
    pair.expect(A, |event| matches!(event, Event::Reinvite { leg, .. } if *leg == a));
    let now = pair.now;
    pair.nodes[A].endpoint.answer_reinvite(now, a, 200, Some(Body::sdp(ANSWER))).unwrap();
    pair.expect(B, |event| matches!(event, Event::ReinviteDone { status: 200, .. }));
    pair.expect(A, |event| matches!(event, Event::Acked { .. }));
    let now = pair.now;
    pair.nodes[B].endpoint.bye(now, b, &[]).unwrap();
    pair.expect(A, |event| matches!(event, Event::Bye { leg, .. } if *leg == a));
    pair.expect(B, |event| matches!(event, Event::ByeDone { status: 200, .. }));
}

/// Each message lost once in turn, in either direction (RFC 3261 §17 brings it again): all goes through the NAT.
#[test]
fn everything_comes_through_whatever_is_lost() {
    for inward in [false, true] {
        for lost in 0..16 {
            let mut pair = behind_nat(100 + lost, Nat::Auto);
            let seen = Cell::new(0);
            pair.fate = Box::new(move |_, _| {
                seen.set(seen.get() + 1);
                if seen.get() == lost { Fate::Lost } else { Fate::Arrives }
            });
            let (a, b) = if inward { call_in(&mut pair) } else { pair.established("out", Transport::Udp) };
            let facts = pair.nodes[B].endpoint.leg(b).unwrap();
            assert!(facts.behind_nat && facts.flow.remote == OUTER.parse().unwrap());
            assert!(!pair.nodes[A].endpoint.leg(a).unwrap().behind_nat);
            change_and_end(&mut pair, a, b);
            pair.finish();
            assert!(pair.astray.is_empty(), "message {lost}: {:?}", pair.astray[0].0);
        }
    }
}

/// By the book alone, RFC 3261 §12.2.1.1, they go to the Contact, where nobody is.
#[test]
fn a_rule_may_say_otherwise() {
    let mut pair = behind_nat(2, Nat::Never);
    let (a, b) = pair.established("out", Transport::Udp);
    let now = pair.now;
    pair.nodes[B].endpoint.bye(now, b, &[]).unwrap();
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.astray.last().unwrap().0, INNER.parse().unwrap());
    let now = pair.now;
    pair.nodes[A].endpoint.bye(now, a, &[]).unwrap();
    pair.finish();

    // Told of one leg alone, whatever its messages show.
    let mut pair = Pair::with(3, |_| {}, ["192.0.2.1:5060", PUBLIC]);
    pair.nat = Some(("192.0.2.1:5060".parse().unwrap(), OUTER.parse().unwrap()));
    let (a, b) = pair.established("out", Transport::Udp);
    pair.nodes[B].endpoint.set_nat(b, Nat::Always, false);
    assert!(pair.nodes[B].endpoint.leg(b).unwrap().behind_nat);
    change_and_end(&mut pair, a, b);
    pair.finish();
}

/// The NAT forgets the way and gives the phone another port: the next request inside the call shows it.
#[test]
fn a_phone_whose_nat_forgets_it_is_found_again() {
    let mut pair = behind_nat(4, Nat::Auto);
    let (a, b) = pair.established("out", Transport::Udp);
    pair.nat = Some((INNER.parse().unwrap(), "203.0.113.9:40777".parse().unwrap()));
    let now = pair.now;
    pair.nodes[A].endpoint.reinvite(now, a, Some(Body::sdp(OFFER))).unwrap();
    pair.expect(B, |event| matches!(event, Event::Reinvite { .. }));
    let now = pair.now;
    pair.nodes[B].endpoint.answer_reinvite(now, b, 200, Some(Body::sdp(ANSWER))).unwrap();
    pair.expect(B, |event| matches!(event, Event::Acked { .. }));
    change_and_end(&mut pair, a, b);
    assert_eq!(pair.nodes[B].endpoint.stats().legs_moved, 1);
    pair.finish();
    assert!(pair.astray.is_empty());
}

fn line(text: &str) -> Vec<u8> {
    text.replace('\n', "\r\n").into_bytes()
}

fn accepted(pair: &mut Pair, number: u32, remote: &str) -> StreamId {
    let (stream, local) = (StreamId(StreamId::ACCEPTED + number), pair.nodes[B].address);
    let event = StreamEvent::Accepted { listener: TCP, local, remote: remote.parse().unwrap() };
    pair.nodes[B].endpoint.handle_stream(pair.now, stream, event);
    stream
}

fn say(pair: &mut Pair, stream: StreamId, text: &str) {
    pair.nodes[B].endpoint.handle_stream(pair.now, stream, StreamEvent::Data(&line(text)));
    pair.settle();
}

/// A phone on plain TCP whose Contact is another address than it comes from: nobody tries to connect there; when its
/// connection breaks and it comes by another, that is taken.
#[test]
fn a_phone_on_tcp_is_reached_over_its_connection() {
    let mut pair = Pair::new(5);
    let phone = accepted(&mut pair, 70, OUTER);
    let head = |method: &str, branch: &str, to: &str, cseq: u32| {
        format!(
            "{method} sip:b@192.0.2.2 SIP/2.0\nVia: SIP/2.0/TCP {INNER};rport;branch=z9hG4bK{branch}\nMax-Forwards: 70\n\
             From: <sip:a@h>;tag=77\nTo: {to}\nCall-ID: c\nCSeq: {cseq} {method}\n\
             Contact: <sip:a@{INNER};transport=tcp>\nContent-Length: 0\n\n"
        )
    };
    say(&mut pair, phone, &head("INVITE", "1", "<sip:b@h>", 1));
    let b = pair.wait(B, Node::incoming);
    let now = pair.now;
    pair.nodes[B].endpoint.answer(now, b, &[], Some(Body::sdp(OFFER))).unwrap();
    pair.settle();
    let answer = pair.message(B, "SIP/2.0 200");
    let to = Message::parse(&answer).unwrap().header(Name::To).unwrap().to_vec();
    let to = String::from_utf8(to).unwrap();
    assert!(String::from_utf8_lossy(&answer).contains(";received=203.0.113.9;rport=40000"));
    say(&mut pair, phone, &head("ACK", "2", &to, 1));
    let now = pair.now;
    pair.nodes[B].endpoint.reinvite(now, b, Some(Body::sdp(OFFER))).unwrap();
    pair.settle();
    pair.message(B, "INVITE sip:a@192.168.1.7:5062;transport=tcp SIP/2.0");
    assert_eq!(pair.nodes[B].endpoint.stats().connections_opened, 0);
    assert_eq!(pair.nodes[B].endpoint.census().connections, 1, "none is being made");
    pair.nodes[B].endpoint.disconnect(pair.now, phone);
    let again = accepted(&mut pair, 71, "203.0.113.9:40777");
    say(&mut pair, again, &head("INFO", "3", &to, 2));
    assert_eq!(pair.nodes[B].endpoint.leg(b).unwrap().flow.remote.port(), 40777);
    let now = pair.now;
    pair.nodes[B].endpoint.bye(now, b, &[]).unwrap();
    pair.settle();
    pair.message(B, "BYE sip:a@192.168.1.7:5062;transport=tcp SIP/2.0");
    assert_eq!(pair.nodes[B].endpoint.census().connections, 1);
    pair.finish();
}

/// RFC 5626 §5.3: what is to go over a flow that is gone goes nowhere else.
#[test]
fn a_flow_that_is_gone_fails_at_once() {
    let mut pair = Pair::new(6);
    let phone = accepted(&mut pair, 70, OUTER);
    let (now, remote, local) = (pair.now, OUTER.parse::<SocketAddr>().unwrap(), pair.nodes[B].address);
    let over = Some((Held { holder: 0, stream: phone }, local));
    let destination = Destination { transport: Transport::Tcp, remote, socket: UDP, over };
    assert!(pair.nodes[B].endpoint.keep_way(now, &destination));
    pair.settle();
    assert_eq!(pair.message(B, "\r\n"), b"\r\n\r\n");
    pair.nodes[B].endpoint.disconnect(now, phone);
    assert!(!pair.nodes[B].endpoint.keep_way(now, &destination));
    let request = sip::Request {
        method: "OPTIONS",
        call_id: "c",
        request_uri: "sip:a@h",
        from: "<sip:b@h>",
        to: "<sip:a@h>",
        tag: "",
        cseq: 1,
        max_forwards: 70,
        destination,
        headers: &[],
        body: None,
        timeout: Duration::from_secs(1),
    };
    assert_eq!(pair.nodes[B].endpoint.request(now, &request), Err(StartError::ConnectionGone));
    assert_eq!(pair.nodes[B].endpoint.stats().line_ends_sent, 1);
    pair.finish();
}

/// RFC 3581 §4 as if it had been asked for, where everybody is taken to be behind a NAT; else RFC 3261 §18.2.2.
#[test]
fn who_does_not_ask_for_rport_may_get_it() {
    for (rule, expected) in [(Nat::Auto, "203.0.113.9:5062"), (Nat::Always, OUTER)] {
        let mut pair = Pair::with(8, |config| config.nat = rule, ["192.0.2.1:5060", PUBLIC]);
        for (method, status) in [("OPTIONS", 200), ("PUBLISH", 405)] {
            let text = line(&format!(
                "{method} sip:h SIP/2.0\nVia: SIP/2.0/UDP {INNER};branch=z9hG4bK{method}\nMax-Forwards: 70\n\
                 From: <sip:a@h>;tag=1\nTo: <sip:a@h>\nCall-ID: {method}\nCSeq: 1 {method}\n\n"
            ));
            pair.inject(B, OUTER, &text);
            if let Some(id) = pair.nodes[B].take(|it| match it {
                Event::Request { id, .. } => Some(*id),
                _ => None,
            }) {
                let now = pair.now;
                pair.nodes[B].endpoint.respond_options(now, id, false).unwrap();
            }
            pair.run(Duration::from_millis(100));
            pair.message(B, &format!("SIP/2.0 {status}"));
            assert_eq!(pair.astray.last().unwrap().0, expected.parse().unwrap(), "{method}");
        }
        pair.finish();
    }
}

/// RFC 6223 §4.4: only who asks is told, in the 2xx to what makes a binding or a dialog.
#[test]
fn who_asks_whether_to_keep_the_way_open_is_told() {
    let keep = |config: &mut sip::Config| {
        (config.keep, config.methods) = (Some(60), vec![sip::message::Method::Register]);
    };
    let mut pair = Pair::with(7, keep, ["192.0.2.1:5060", PUBLIC]);
    let mut via = |asked: &str, status: u16, number: u32| {
        let text = line(&format!(
            "REGISTER sip:h SIP/2.0\nVia: SIP/2.0/UDP {INNER};rport{asked};branch=z9hG4bK{number}\nMax-Forwards: 70\n\
             From: <sip:a@h>;tag=1\nTo: <sip:a@h>\nCall-ID: r{number}\nCSeq: 1 REGISTER\n\n"
        ));
        pair.inject(B, OUTER, &text);
        let Event::Request { id, .. } = pair.expect(B, |event| matches!(event, Event::Request { .. })) else {
            unreachable!()
        };
        let now = pair.now;
        pair.nodes[B].endpoint.respond(now, id, status, &[], None).unwrap();
        pair.settle();
        let answer = pair.message(B, "SIP/2.0");
        let message = Message::parse(&answer).unwrap();
        String::from_utf8(message.header(Name::Via).unwrap().to_vec()).unwrap()
    };
    let received = ";received=203.0.113.9;rport=40000";
    assert_eq!(via(";keep", 200, 1), format!("SIP/2.0/UDP {INNER};keep=60;branch=z9hG4bK1{received}"));
    assert_eq!(via(";keep", 401, 2), format!("SIP/2.0/UDP {INNER};keep;branch=z9hG4bK2{received}"));
    assert_eq!(via("", 200, 3), format!("SIP/2.0/UDP {INNER};branch=z9hG4bK3{received}"));
    assert_eq!(via(";keep=7", 200, 4), format!("SIP/2.0/UDP {INNER};keep=7;branch=z9hG4bK4{received}"));
    pair.finish();
}
