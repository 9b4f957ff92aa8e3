//! Requests too large for a datagram (RFC 3261 §18.1.1).

use crate::harness::*;
use core::time::Duration;
use sip::message::Message;
use sip::{Body, Event, LegId, LegState, Link, Transport};
use std::sync::Arc;

/// An offer that makes an INVITE larger than 1300 bytes.
fn large() -> Vec<u8> {
    let mut offer = OFFER.to_vec();
    offer.extend_from_slice(format!("a={}\r\n", "x".repeat(1300)).as_bytes());
    offer
}

fn pair(seed: u64) -> Pair {
    Pair::with(seed, |config| config.datagram_max = 1300, ["192.0.2.1:5060", "192.0.2.2:5060"])
}

fn answer(pair: &mut Pair, b: LegId) {
    let now = pair.now;
    pair.nodes[B].endpoint.answer(now, b, &[], Some(Body::sdp(ANSWER))).unwrap();
    pair.expect(A, |event| matches!(event, Event::Answered { .. }));
    pair.expect(B, |event| matches!(event, Event::Acked { .. }));
}

fn hang_up(pair: &mut Pair, a: LegId) {
    let now = pair.now;
    pair.nodes[A].endpoint.bye(now, a, &[]).unwrap();
    pair.expect(B, |event| matches!(event, Event::Bye { .. }));
    pair.finish();
}

#[test]
fn a_large_invite_goes_over_tcp_and_its_call_goes_on_as_the_contact_says() {
    let mut pair = pair(1);
    let a = pair.call("c", Transport::Udp, Some(&large()));
    let b = pair.wait(B, Node::incoming);
    let invite = pair.message(A, "INVITE");
    let text = String::from_utf8_lossy(&invite).into_owned();
    assert!(invite.len() > 1300 && text.contains("Via: SIP/2.0/TCP 192.0.2.1:5060;rport;branch="), "{text}");
    // RFC 3261 §18.2.2: the response comes by the connection.
    assert!(matches!(pair.nodes[B].endpoint.leg(b).unwrap().flow.link, Link::Stream(_)));
    answer(&mut pair, b);
    assert_eq!(pair.sent(A, "INVITE"), 1, "nothing is repeated over a connection");
    let stats = pair.nodes[A].endpoint.stats();
    assert_eq!((stats.large_over_tcp, stats.large_back_to_udp, stats.large_over_udp), (1, 0, 0));
    assert!(
        text.contains("Contact: <sip:alice@192.0.2.1:5060>"),
        "the size of one request says nothing of others: {text}"
    );
    hang_up(&mut pair, a);
    let bye = String::from_utf8(pair.message(A, "BYE")).unwrap();
    assert!(
        bye.starts_with("BYE sip:bob@192.0.2.2:5060;transport=tcp SIP/2.0\r\nVia: SIP/2.0/TCP "),
        "{bye}"
    );
}

#[test]
fn what_fits_and_what_shall_goes_over_udp() {
    let mut pair = pair(2);
    pair.call("small", Transport::Udp, Some(OFFER));
    pair.wait(B, Node::incoming);
    let other = pair.nodes[B].address;
    pair.nodes[A].endpoint.set_udp_only([other]);
    pair.call("large", Transport::Udp, Some(&large()));
    let b = pair.wait(B, Node::incoming);
    assert!(matches!(pair.nodes[B].endpoint.leg(b).unwrap().flow.link, Link::Socket(_)));
    let stats = pair.nodes[A].endpoint.stats();
    assert_eq!((stats.large_over_tcp, stats.large_over_udp, stats.connections_opened), (0, 1, 0));
    pair.nodes[A].endpoint.set_udp_only([]);
    let third = pair.call("third", Transport::Udp, Some(&large()));
    pair.wait(B, Node::incoming);
    assert_eq!(pair.nodes[A].endpoint.stats().large_over_tcp, 1);
    let now = pair.now;
    // CANCEL goes the way of its INVITE (RFC 3261 §9.1).
    let b = *pair.nodes[B].legs_seen().last().unwrap();
    pair.nodes[B].endpoint.provisional(now, b, 180, &[], None).unwrap();
    pair.expect(A, |event| matches!(event, Event::Progress { status: 180, .. }));
    let now = pair.now;
    pair.nodes[A].endpoint.cancel(now, third, None).unwrap();
    pair.expect(A, |event| matches!(event, Event::Failed { .. }));
    for start in ["CANCEL", "ACK"] {
        let text = String::from_utf8(pair.message(A, start)).unwrap();
        assert!(text.contains("Via: SIP/2.0/TCP "), "{text}");
    }
    pair.run(Duration::from_secs(400));
    pair.finish();
}

#[test]
fn a_refused_connection_leaves_the_datagram_and_is_remembered() {
    let mut pair = pair(3);
    pair.refusing = true;
    let a = pair.call("c", Transport::Udp, Some(&large()));
    let b = pair.wait(B, Node::incoming);
    let invite = String::from_utf8(pair.message(A, "INVITE")).unwrap();
    assert!(invite.contains("Via: SIP/2.0/UDP 192.0.2.1:5060;rport;branch="), "{invite}");
    answer(&mut pair, b);
    // RFC 3261 §14: a large re-INVITE does not ask for a connection again.
    let now = pair.now;
    pair.nodes[A].endpoint.reinvite(now, a, Some(Body::sdp(&large()))).unwrap();
    pair.expect(B, |event| matches!(event, Event::Reinvite { .. }));
    let now = pair.now;
    pair.nodes[B].endpoint.answer_reinvite(now, b, 200, Some(Body::sdp(ANSWER))).unwrap();
    pair.expect(B, |event| matches!(event, Event::Acked { .. }));
    let stats = pair.nodes[A].endpoint.stats();
    assert_eq!((stats.large_over_tcp, stats.large_back_to_udp, stats.large_over_udp), (1, 1, 1));
    // After a while it is tried again.
    pair.refusing = false;
    pair.run(Duration::from_secs(301));
    assert_eq!(pair.nodes[A].endpoint.leg(a).unwrap().state, LegState::Confirmed);
    let now = pair.now;
    pair.nodes[A].endpoint.reinvite(now, a, Some(Body::sdp(&large()))).unwrap();
    pair.expect(B, |event| matches!(event, Event::Reinvite { .. }));
    assert_eq!(pair.nodes[A].endpoint.stats().large_over_tcp, 2);
    let now = pair.now;
    pair.nodes[B].endpoint.answer_reinvite(now, b, 200, Some(Body::sdp(ANSWER))).unwrap();
    pair.expect(B, |event| matches!(event, Event::Acked { .. }));
    hang_up(&mut pair, a);
}

#[test]
fn a_connection_that_does_not_come_about_is_not_waited_for() {
    let mut pair = pair(4);
    pair.delay = Duration::from_secs(1);
    let a = pair.call("c", Transport::Udp, Some(&large()));
    let other = pair.call("d", Transport::Udp, Some(&large()));
    pair.run(Duration::from_millis(499));
    assert_eq!(pair.nodes[A].endpoint.stats().large_back_to_udp, 0);
    pair.delay = Duration::from_millis(10);
    for _ in [a, other] {
        let b = pair.wait(B, Node::incoming);
        assert!(matches!(pair.nodes[B].endpoint.leg(b).unwrap().flow.link, Link::Socket(_)));
        answer(&mut pair, b);
    }
    let stats = pair.nodes[A].endpoint.stats();
    assert_eq!((stats.large_over_tcp, stats.large_back_to_udp), (2, 2));
    assert_eq!(pair.nodes[B].endpoint.stats().invites_received, 2, "each came once");
    for leg in [a, other] {
        let now = pair.now;
        pair.nodes[A].endpoint.bye(now, leg, &[]).unwrap();
    }
    pair.run(Duration::from_secs(400));
    pair.finish();
}

#[test]
fn each_datagram_of_a_call_that_fell_back_may_be_lost() {
    for lost in 0..8 {
        let mut pair = pair(5);
        pair.refusing = true;
        let mut count = 0;
        pair.fate = Box::new(move |_, _| {
            count += 1;
            if count == lost + 1 { Fate::Lost } else { Fate::Arrives }
        });
        let a = pair.call("c", Transport::Udp, Some(&large()));
        let b = pair.wait(B, Node::incoming);
        answer(&mut pair, b);
        hang_up(&mut pair, a);
    }
}

#[test]
fn a_challenge_to_a_large_invite_is_answered_by_the_way_that_is_open() {
    for refusing in [false, true] {
        let mut pair = pair(6);
        pair.refusing = refusing;
        let a = pair.call("c", Transport::Udp, Some(&large()));
        let account = sip::auth::Account { username: "alice".into(), password: "secret".into() };
        pair.nodes[A].endpoint.authenticate_as(a, Arc::new(account)).unwrap();
        let b = pair.wait(B, Node::incoming);
        let now = pair.now;
        let challenge = [("WWW-Authenticate", "Digest realm=\"x\", nonce=\"1\", algorithm=MD5")];
        pair.nodes[B].endpoint.reject(now, b, 401, None, &challenge).unwrap();
        let b = pair.wait(B, Node::incoming);
        let bytes = pair.message(A, "INVITE");
        let invite = Message::parse(&bytes).unwrap();
        assert_eq!(invite.cseq().unwrap().number, 2);
        let via = if refusing { "SIP/2.0/UDP 192.0.2.1" } else { "SIP/2.0/TCP 192.0.2.1" };
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains(&format!("Via: {via}:5060;rport;branch=")), "{text}");
        assert_eq!(text.matches("Via: ").count(), 1);
        answer(&mut pair, b);
        hang_up(&mut pair, a);
    }
}

#[test]
fn the_connection_of_a_large_invite_stays_while_it_rings() {
    let change = |config: &mut sip::Config| {
        config.datagram_max = 1300;
        config.timers.idle = Duration::from_secs(10);
    };
    let mut pair = Pair::with(7, change, ["192.0.2.1:5060", "192.0.2.2:5060"]);
    let a = pair.call("c", Transport::Udp, Some(&large()));
    let b = pair.wait(B, Node::incoming);
    let now = pair.now;
    pair.nodes[B].endpoint.provisional(now, b, 180, &[], None).unwrap();
    // Many times what a connection may be idle.
    pair.run(Duration::from_secs(59));
    assert_eq!(pair.nodes[A].endpoint.census().connections, 1);
    answer(&mut pair, b);
    hang_up(&mut pair, a);
}
