//! Messages that cross: CANCEL and answers, late answers, forks, re-INVITEs from both sides.

use crate::calls::failure;
use crate::harness::*;
use core::time::Duration;
use sip::message::{Message, Name, ResponseWriter};
use sip::{Body, Event, Failure, LegId, LegState, LostCause, Transport};

/// A response to a request that was sent, from a peer with this tag and address.
fn response(request: &[u8], status: u16, tag: &str, contact: &str) -> Vec<u8> {
    let request = Message::parse(request).unwrap();
    let mut out = Vec::new();
    let mut writer = ResponseWriter::answer(&mut out, &request, status, None, Some(tag.as_bytes()), None);
    writer.header(Name::Contact, contact.as_bytes());
    writer.end().unwrap();
    out
}

fn gone(pair: &mut Pair, which: usize, leg: LegId) {
    pair.expect(which, |event| matches!(event, Event::Gone { leg: gone } if *gone == leg));
}

#[test]
fn cancel_of_a_ringing_call() {
    let mut pair = Pair::new(1);
    let a = pair.call("c", Transport::Udp, Some(OFFER));
    let b = pair.wait(B, Node::incoming);
    let now = pair.now;
    pair.nodes[B].endpoint.provisional(now, b, 180, &[], None).unwrap();
    pair.run(Duration::from_secs(1));
    let now = pair.now;
    pair.nodes[A].endpoint.cancel(now, a, Some("SIP;cause=200;text=\"elsewhere\"")).unwrap();
    assert_eq!(pair.nodes[A].endpoint.leg(a).unwrap().state, LegState::Cancelling);
    let event = pair.expect(B, |event| matches!(event, Event::Cancelled { .. }));
    let Event::Cancelled { reason, .. } = event else { unreachable!() };
    assert_eq!(reason.as_deref(), Some("SIP;cause=200;text=\"elsewhere\""));
    gone(&mut pair, B, b);
    assert!(matches!(failure(&mut pair, a), Failure::Status { status: 487, .. }));
    gone(&mut pair, A, a);
    pair.finish();
    assert_eq!((pair.sent(A, "CANCEL"), pair.sent(A, "ACK"), pair.sent(B, "SIP/2.0 487")), (1, 1, 1));
    assert_eq!(pair.nodes[A].endpoint.stats().stray_responses, 0);
}

#[test]
fn cancel_before_any_response_waits_for_one() {
    let mut pair = Pair::new(2);
    pair.fate = Box::new(|_, line| if line.starts_with("SIP/2.0 100") { Fate::Lost } else { Fate::Arrives });
    let a = pair.call("c", Transport::Udp, Some(OFFER));
    let now = pair.now;
    pair.nodes[A].endpoint.cancel(now, a, None).unwrap();
    let b = pair.wait(B, Node::incoming);
    pair.run(Duration::from_secs(2));
    assert_eq!(pair.sent(A, "CANCEL"), 0, "RFC 3261 §9.1");
    let now = pair.now;
    pair.nodes[B].endpoint.provisional(now, b, 180, &[], None).unwrap();
    assert!(matches!(failure(&mut pair, a), Failure::Status { status: 487, .. }));
    assert_eq!(pair.sent(A, "CANCEL"), 1);
    pair.expect(B, |event| matches!(event, Event::Cancelled { .. }));
    pair.finish();
}

#[test]
fn an_answer_that_crosses_a_cancel_is_acknowledged_and_ended() {
    let mut pair = Pair::new(3);
    let a = pair.call("c", Transport::Udp, Some(OFFER));
    let b = pair.wait(B, Node::incoming);
    pair.run(Duration::from_millis(100));
    let now = pair.now;
    pair.nodes[A].endpoint.cancel(now, a, None).unwrap();
    pair.nodes[B].endpoint.answer(now, b, &[], Some(Body::sdp(ANSWER))).unwrap();
    assert_eq!(failure(&mut pair, a), Failure::AnsweredLate);
    gone(&mut pair, A, a);
    pair.expect(B, |event| matches!(event, Event::Acked { .. }));
    pair.expect(B, |event| matches!(event, Event::Bye { .. }));
    gone(&mut pair, B, b);
    assert!(!pair.nodes[B].has(|event| matches!(event, Event::Cancelled { .. })));
    pair.finish();
    // The CANCEL was answered although it came too late (RFC 3261 §9.2).
    assert_eq!((pair.sent(B, "SIP/2.0 200"), pair.sent(B, "SIP/2.0 487")), (3, 0));
    assert_eq!(pair.nodes[A].endpoint.stats().late_answers, 1);
}

#[test]
fn cancel_of_nothing_is_answered_481() {
    let mut pair = Pair::new(4);
    let cancel = b"CANCEL sip:bob@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKx\r\nMax-Forwards: 70\r\n\
        From: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\nCall-ID: nothing\r\nCSeq: 1 CANCEL\r\n\r\n";
    pair.inject(B, "192.0.2.1:5060", cancel);
    assert_eq!(pair.sent(B, "SIP/2.0 481"), 1);
    pair.finish();
}

#[test]
fn a_silent_peer_is_given_up_and_its_late_answer_ended() {
    for late in [false, true] {
        let mut pair = Pair::new(5);
        let deaf = Duration::from_secs(8);
        pair.fate = Box::new(move |who, _| match (who, late) {
            (B, true) => Fate::Late(deaf),
            (B, false) => Fate::Lost,
            _ => Fate::Arrives,
        });
        let a = pair.call("c", Transport::Udp, Some(OFFER));
        let start = pair.now;
        let b = pair.wait(B, Node::incoming);
        let now = pair.now;
        pair.nodes[B].endpoint.answer(now, b, &[], Some(Body::sdp(ANSWER))).unwrap();
        assert_eq!(failure(&mut pair, a), Failure::NoResponse);
        let waited = pair.now.since(start);
        assert!(waited >= Duration::from_secs(5) && waited < Duration::from_millis(5010), "{waited:?}");
        gone(&mut pair, A, a);
        let invites = pair.sent(A, "INVITE");
        if late {
            pair.expect(B, |event| matches!(event, Event::Bye { .. }));
            assert_eq!(pair.nodes[A].endpoint.stats().late_answers, 1);
        } else {
            pair.expect(B, |event| matches!(event, Event::Lost { why: LostCause::NoAck, .. }));
        }
        gone(&mut pair, B, b);
        pair.finish();
        assert_eq!(pair.sent(A, "INVITE"), invites, "nothing is sent for a call that was given up");
    }
}

#[test]
fn a_call_given_up_while_ringing_late_is_cancelled() {
    let mut pair = Pair::new(6);
    pair.fate = Box::new(|who, _| if who == B { Fate::Late(Duration::from_secs(7)) } else { Fate::Arrives });
    let a = pair.call("c", Transport::Udp, Some(OFFER));
    let b = pair.wait(B, Node::incoming);
    let now = pair.now;
    pair.nodes[B].endpoint.provisional(now, b, 180, &[], None).unwrap();
    assert_eq!(failure(&mut pair, a), Failure::NoResponse);
    pair.expect(B, |event| matches!(event, Event::Cancelled { .. }));
    pair.finish();
}

#[test]
fn a_second_fork_is_acknowledged_and_ended() {
    let mut pair = Pair::new(7);
    // Nobody but us answers.
    pair.fate = Box::new(|who, _| if who == A { Fate::Lost } else { Fate::Arrives });
    let a = pair.call("c", Transport::Udp, Some(OFFER));
    let invite = pair.message(A, "INVITE");
    let peer = "192.0.2.2:5060";
    for (tag, fork) in [("t0", 0), ("t1", 1), ("t0", 0)] {
        pair.inject(A, peer, &response(&invite, 180, tag, "<sip:x@192.0.2.2>"));
        let event = pair.expect(A, |event| matches!(event, Event::Progress { status: 180, .. }));
        assert!(matches!(event, Event::Progress { fork: found, .. } if found == fork));
    }
    pair.inject(A, peer, &response(&invite, 200, "t1", "<sip:one@192.0.2.2:5071>"));
    pair.expect(A, |event| matches!(event, Event::Answered { .. }));
    assert_eq!((pair.sent(A, "ACK sip:one@"), pair.sent(A, "BYE")), (1, 0));
    pair.inject(A, peer, &response(&invite, 200, "t0", "<sip:zero@192.0.2.2:5070>"));
    assert_eq!((pair.sent(A, "ACK sip:zero@"), pair.sent(A, "BYE sip:zero@")), (1, 1));
    // Both come again: both are acknowledged again, nothing is ended twice.
    for tag in ["t0", "t1"] {
        pair.inject(A, peer, &response(&invite, 200, tag, "<sip:again@192.0.2.2:5070>"));
    }
    assert_eq!((pair.sent(A, "ACK"), pair.sent(A, "BYE")), (4, 1));
    assert_eq!(pair.nodes[A].endpoint.stats().forked_answers, 1);
    assert_eq!(pair.nodes[A].endpoint.leg(a).unwrap().remote_tag, "t1");
    // The leg may end; a fork that answers later still is taken care of.
    let now = pair.now;
    pair.nodes[A].endpoint.bye(now, a, &[]).unwrap();
    pair.settle();
    let bye = pair.message(A, "BYE sip:one@");
    pair.inject(A, peer, &response(&bye, 200, "t1", "<sip:one@192.0.2.2>"));
    gone(&mut pair, A, a);
    pair.inject(A, peer, &response(&invite, 200, "t2", "<sip:two@192.0.2.2>"));
    assert_eq!((pair.sent(A, "ACK sip:two@"), pair.sent(A, "BYE sip:two@")), (1, 1));
    pair.finish();
}

#[test]
fn forks_are_bounded() {
    let mut pair = Pair::with(8, |config| config.limits.forks = 2, ["192.0.2.1:5060", "192.0.2.2:5060"]);
    pair.fate = Box::new(|who, _| if who == A { Fate::Lost } else { Fate::Arrives });
    pair.call("c", Transport::Udp, Some(OFFER));
    let invite = pair.message(A, "INVITE");
    for n in 0..5 {
        let tag = format!("t{n}");
        pair.inject(A, "192.0.2.2:5060", &response(&invite, 180, &tag, "<sip:x@192.0.2.2>"));
    }
    let told = pair.nodes[A].events.iter().filter(|event| matches!(event, Event::Progress { .. })).count();
    assert_eq!((told, pair.nodes[A].endpoint.stats().forks_beyond), (2, 3));
    pair.finish();
}

#[test]
fn a_reinvite_goes_both_ways() {
    for offerer in [A, B] {
        let mut pair = Pair::new(9);
        let (a, b) = pair.established("c", Transport::Udp);
        let (leg, other, peer) = if offerer == A { (a, b, B) } else { (b, a, A) };
        let now = pair.now;
        pair.nodes[offerer].endpoint.reinvite(now, leg, Some(Body::sdp(b"hold"))).unwrap();
        assert!(pair.nodes[offerer].endpoint.reinvite(now, leg, None).is_err(), "one at a time");
        let event = pair.expect(peer, |event| matches!(event, Event::Reinvite { .. }));
        assert!(matches!(event, Event::Reinvite { message, .. } if message.body() == b"hold"));
        let now = pair.now;
        pair.nodes[peer].endpoint.answer_reinvite(now, other, 200, Some(Body::sdp(b"held"))).unwrap();
        assert!(pair.nodes[peer].endpoint.answer_reinvite(now, other, 200, None).is_err());
        let event = pair.expect(offerer, |event| matches!(event, Event::ReinviteDone { .. }));
        assert!(
            matches!(event, Event::ReinviteDone { status: 200, message: Some(m), .. } if m.body() == b"held")
        );
        pair.expect(peer, |event| matches!(event, Event::Acked { .. }));
        // Refused ones leave the call as it is.
        let now = pair.now;
        pair.nodes[offerer].endpoint.reinvite(now, leg, Some(Body::sdp(b"video"))).unwrap();
        pair.expect(peer, |event| matches!(event, Event::Reinvite { .. }));
        let now = pair.now;
        pair.nodes[peer].endpoint.answer_reinvite(now, other, 488, None).unwrap();
        pair.expect(offerer, |event| matches!(event, Event::ReinviteDone { status: 488, .. }));
        let now = pair.now;
        pair.nodes[peer].endpoint.bye(now, other, &[]).unwrap();
        pair.expect(offerer, |event| matches!(event, Event::Bye { .. }));
        pair.finish();
    }
}

#[test]
fn reinvites_from_both_sides_are_both_refused_491() {
    let mut pair = Pair::new(10);
    let (a, b) = pair.established("c", Transport::Udp);
    let now = pair.now;
    pair.nodes[A].endpoint.reinvite(now, a, Some(Body::sdp(OFFER))).unwrap();
    pair.nodes[B].endpoint.reinvite(now, b, Some(Body::sdp(OFFER))).unwrap();
    for which in [A, B] {
        pair.expect(which, |event| matches!(event, Event::ReinviteDone { status: 491, .. }));
    }
    pair.run(Duration::from_secs(1));
    let now = pair.now;
    pair.nodes[A].endpoint.reinvite(now, a, Some(Body::sdp(OFFER))).unwrap();
    pair.expect(B, |event| matches!(event, Event::Reinvite { .. }));
    let now = pair.now;
    pair.nodes[B].endpoint.answer_reinvite(now, b, 200, Some(Body::sdp(ANSWER))).unwrap();
    pair.expect(A, |event| matches!(event, Event::ReinviteDone { status: 200, .. }));
    let now = pair.now;
    pair.nodes[A].endpoint.bye(now, a, &[]).unwrap();
    pair.finish();
}

#[test]
fn a_second_offer_before_the_first_is_answered_gets_500() {
    let mut pair = Pair::new(11);
    let (a, b) = pair.established("c", Transport::Udp);
    let now = pair.now;
    pair.nodes[A].endpoint.reinvite(now, a, Some(Body::sdp(OFFER))).unwrap();
    pair.expect(B, |event| matches!(event, Event::Reinvite { .. }));
    let first = String::from_utf8(pair.message(A, "INVITE")).unwrap();
    let second =
        first.replace("CSeq: 2 INVITE", "CSeq: 3 INVITE").replace("branch=z9hG4bK", "branch=z9hG4bK0");
    pair.inject(B, "192.0.2.1:5060", second.as_bytes());
    let refusal = pair.message(B, "SIP/2.0 500");
    assert!(Message::parse(&refusal).unwrap().seconds(Name::RetryAfter).unwrap() <= 10);
    // One that comes out of order is refused too (RFC 3261 §12.2.2).
    let old = first.replace("CSeq: 2 INVITE", "CSeq: 1 INVITE").replace("branch=z9hG4bK", "branch=z9hG4bK1");
    pair.inject(B, "192.0.2.1:5060", old.as_bytes());
    assert_eq!(pair.sent(B, "SIP/2.0 500"), 2);
    let now = pair.now;
    pair.nodes[B].endpoint.answer_reinvite(now, b, 200, Some(Body::sdp(ANSWER))).unwrap();
    pair.expect(A, |event| matches!(event, Event::ReinviteDone { status: 200, .. }));
    let now = pair.now;
    pair.nodes[A].endpoint.bye(now, a, &[]).unwrap();
    pair.finish();
}

#[test]
fn a_reinvite_that_nobody_answers_ends() {
    let mut pair = Pair::new(12);
    let (a, b) = pair.established("c", Transport::Udp);
    let now = pair.now;
    pair.nodes[A].endpoint.reinvite(now, a, Some(Body::sdp(OFFER))).unwrap();
    // Its owner never answers: both sides get out of it, and the call stands.
    let event = pair.expect(A, |event| matches!(event, Event::ReinviteDone { .. }));
    assert!(matches!(event, Event::ReinviteDone { status: 487 | 500, .. }), "{event:?}");
    assert!(pair.nodes[B].endpoint.leg(b).is_some());
    let now = pair.now;
    pair.nodes[A].endpoint.bye(now, a, &[]).unwrap();
    pair.finish();
}

#[test]
fn a_peer_that_lost_the_dialog_ends_it() {
    let mut pair = Pair::new(13);
    let (a, b) = pair.established("c", Transport::Udp);
    // B forgets the call behind A's back.
    pair.fate = Box::new(|who, _| if who == B { Fate::Lost } else { Fate::Arrives });
    let now = pair.now;
    pair.nodes[B].endpoint.bye(now, b, &[]).unwrap();
    gone(&mut pair, B, b);
    pair.fate = Box::new(|_, _| Fate::Arrives);
    let now = pair.now;
    pair.nodes[A].endpoint.reinvite(now, a, Some(Body::sdp(OFFER))).unwrap();
    pair.expect(A, |event| matches!(event, Event::ReinviteDone { status: 481, .. }));
    pair.expect(A, |event| matches!(event, Event::Lost { why: LostCause::DialogGone, .. }));
    gone(&mut pair, A, a);
    pair.finish();
}

#[test]
fn byes_that_cross_end_both_sides_once() {
    let mut pair = Pair::new(14);
    let (a, b) = pair.established("c", Transport::Udp);
    let now = pair.now;
    pair.nodes[A].endpoint.bye(now, a, &[]).unwrap();
    pair.nodes[B].endpoint.bye(now, b, &[]).unwrap();
    gone(&mut pair, A, a);
    gone(&mut pair, B, b);
    pair.finish();
    assert_eq!((pair.sent(A, "SIP/2.0 200"), pair.sent(B, "SIP/2.0 200")), (1, 2));
}

#[test]
fn a_bye_to_nobody_gives_up() {
    let mut pair = Pair::new(15);
    let (a, b) = pair.established("c", Transport::Udp);
    pair.fate = Box::new(|_, _| Fate::Lost);
    let start = pair.now;
    for (which, leg) in [(A, a), (B, b)] {
        pair.nodes[which].endpoint.bye(start, leg, &[]).unwrap();
    }
    gone(&mut pair, A, a);
    gone(&mut pair, B, b);
    assert!(pair.now.since(start) >= Duration::from_secs(32));
    // Timer E: 0.5, 1.5, 3.5, then every 4 s.
    assert_eq!(pair.sent(A, "BYE"), 11);
    pair.finish();
}

/// Everything at random, both sides: whatever happens, every leg ends with one `Gone` and nothing is left.
#[test]
fn random_behaviour_leaves_nothing_behind() {
    let mut seen: std::collections::BTreeMap<&'static str, u64> = std::collections::BTreeMap::new();
    for seed in 0..300 {
        let mut pair = Pair::new(20_000 + seed);
        pair.loss = [0.0, 0.1, 0.3][seed as usize % 3];
        pair.doubling = 0.2;
        pair.jitter = Duration::from_millis([0, 50, 900][seed as usize / 3 % 3]);
        let mut started = [0, 0];
        for call in 0..6 {
            let transport = if pair.random.chance(0.3) { Transport::Tcp } else { Transport::Udp };
            let body = if pair.random.chance(0.2) { None } else { Some(OFFER) };
            let leg = pair.call(&format!("call-{call}"), transport, body);
            started[A] += 1;
            let mut legs = [vec![leg], Vec::new()];
            for _ in 0..30 {
                if let Some(leg) = pair.nodes[B].incoming() {
                    legs[B].push(leg);
                    started[B] += 1;
                }
                let which = pair.random.below(2) as usize;
                let Some(&leg) = legs[which].last() else {
                    pair.run(Duration::from_millis(20));
                    continue;
                };
                act(&mut pair, which, leg);
                if pair.random.chance(0.2) {
                    replay(&mut pair);
                }
                let pause = pair.random.below(400);
                pair.run(Duration::from_millis(pause));
                if pair.random.chance(0.01) {
                    pair.sever_all();
                }
            }
        }
        // Whoever is left hangs up.
        for _ in 0..3 {
            pair.run(Duration::from_secs(400));
            for which in [A, B] {
                while pair.nodes[which].incoming().is_some() {
                    started[which] += 1;
                }
                for bits in pair.nodes[which].legs_seen() {
                    let now = pair.now;
                    let _ = pair.nodes[which].endpoint.bye(now, bits, &[]);
                }
            }
        }
        pair.run(Duration::from_secs(400));
        for which in [A, B] {
            let gone =
                pair.nodes[which].events.iter().filter(|event| matches!(event, Event::Gone { .. })).count();
            assert_eq!(gone, started[which], "seed {seed}");
        }
        pair.finish();
        for node in &pair.nodes {
            node.endpoint.stats().visit(&mut |name, _, value| *seen.entry(name).or_default() += value);
        }
    }
    // The test is worth something only as long as it gets into these corners.
    for corner in [
        "late_answers",
        "acks_missing",
        "stray_responses",
        "retransmissions_absorbed",
        "transactions_timed_out",
        "transactions_unreachable",
        "requests_refused",
        "connections_idle_closed",
    ] {
        assert!(seen[corner] > 0, "{corner}: {seen:#?}");
    }
}

/// One thing an owner may do, sensible or not.
fn act(pair: &mut Pair, which: usize, leg: LegId) {
    let now = pair.now;
    let choice = pair.random.below(10);
    let endpoint = &mut pair.nodes[which].endpoint;
    let _ = match choice {
        0 => endpoint.provisional(now, leg, 180, &[], None),
        1 => endpoint.answer(now, leg, &[], Some(Body::sdp(ANSWER))),
        2 => endpoint.reject(now, leg, 486, None, &[]),
        3 => endpoint.cancel(now, leg, None),
        4 => endpoint.bye(now, leg, &[]),
        5 => endpoint.reinvite(now, leg, Some(Body::sdp(OFFER))),
        6 => endpoint.answer_reinvite(now, leg, 200, Some(Body::sdp(ANSWER))),
        7 => endpoint.answer_reinvite(now, leg, 488, None),
        8 => endpoint.ack(now, leg, Some(Body::sdp(ANSWER))),
        _ => endpoint.reinvite(now, leg, None),
    };
    pair.settle();
}

/// A message of any age and sender comes again, at either node, perhaps damaged.
fn replay(pair: &mut Pair) {
    if pair.messages.is_empty() {
        return;
    }
    let index = pair.random.below(pair.messages.len() as u64) as usize;
    let mut message = pair.messages[index].1.clone();
    if pair.random.chance(0.3) {
        let at = pair.random.below(message.len() as u64) as usize;
        message[at] = pair.random.u32() as u8;
    }
    let which = pair.random.below(2) as usize;
    pair.inject(which, "192.0.2.77:5060", &message);
}
