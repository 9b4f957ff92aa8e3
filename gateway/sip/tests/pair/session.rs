//! Session timers (RFC 4028) and UPDATE (RFC 3311), with messages lost where it hurts.

use crate::harness::*;
use core::cell::Cell;
use core::time::Duration;
use sip::message::{Message, Method, Name};
use sip::{Body, Config, Event, LegId, LostCause, SessionTimers, Transport};

const SECOND: Duration = Duration::from_secs(1);

/// Two endpoints with session timers: expires and least interval of each.
fn pair(seed: u64, timers: [(u32, u32); 2], update: bool) -> Pair {
    let which = Cell::new(0);
    let change = |config: &mut Config| {
        let (expires, min_se) = timers[which.get()];
        which.set(which.get() + 1);
        config.extensions = vec![String::from("timer")];
        config.session = Some(SessionTimers { expires, min_se });
        if update {
            config.methods.push(Method::Update);
        }
    };
    Pair::with(seed, change, ["192.0.2.1:5060", "192.0.2.2:5060"])
}

/// Runs for a time in which both owners refresh whenever they are asked to, and answer re-INVITEs.
fn live(pair: &mut Pair, span: Duration) {
    let end = pair.now + span;
    while pair.step(end) {
        for which in [A, B] {
            let due =
                pair.nodes[which].take(|e| if let Event::RefreshDue { leg } = e { Some(*leg) } else { None });
            if let Some(leg) = due {
                let now = pair.now;
                pair.nodes[which].endpoint.refresh(now, leg, Body::sdp(OFFER)).unwrap();
            }
            let asked = pair.nodes[which]
                .take(|e| if let Event::Reinvite { leg, .. } = e { Some(*leg) } else { None });
            if let Some(leg) = asked {
                let now = pair.now;
                pair.nodes[which].endpoint.answer_reinvite(now, leg, 200, Some(Body::sdp(ANSWER))).unwrap();
            }
        }
    }
    pair.now = end;
}

fn lost(pair: &Pair, which: usize, leg: LegId) -> bool {
    pair.nodes[which]
        .has(|e| matches!(e, Event::Lost { leg: l, why: LostCause::SessionExpired } if *l == leg))
}

fn header(bytes: &[u8], name: Name) -> Option<String> {
    let message = Message::parse(bytes).unwrap();
    message.header(name).map(|value| String::from_utf8_lossy(value).into_owned())
}

#[test]
fn the_refresher_refreshes_half_way_for_as_long_as_the_call_lasts() {
    for (update, method) in [(true, "UPDATE"), (false, "INVITE")] {
        let mut pair = pair(1, [(1800, 90), (600, 90)], update);
        let (a, b) = pair.established("call-1", Transport::Udp);
        let invite = pair.message(A, "INVITE");
        assert_eq!(header(&invite, Name::SessionExpires).as_deref(), Some("1800"));
        assert_eq!(header(&invite, Name::Supported).as_deref(), Some("timer"));
        let answer = pair.message(B, "SIP/2.0 200");
        assert_eq!(header(&answer, Name::SessionExpires).as_deref(), Some("600;refresher=uas"));
        let before = pair.sent(B, method);
        live(&mut pair, 3000 * SECOND);
        assert_eq!(pair.sent(B, method) - before, 9, "every 300 s within 3000 s; {method}");
        assert_eq!(pair.sent(A, "UPDATE"), 0, "one side refreshes");
        let refresh = pair.message(B, method);
        assert_eq!(header(&refresh, Name::SessionExpires).as_deref(), Some("600;refresher=uac"));
        assert!(pair.nodes[A].endpoint.leg(a).is_some() && pair.nodes[B].endpoint.leg(b).is_some());
        let now = pair.now;
        pair.nodes[A].endpoint.bye(now, a, &[]).unwrap();
        pair.finish();
        assert_eq!(pair.nodes[B].endpoint.stats().sessions_refreshed, 9);
        assert_eq!(pair.nodes[B].endpoint.stats().sessions_expired, 0);
    }
}

#[test]
fn a_lost_refresh_is_sent_again_and_the_call_goes_on() {
    for seed in 0..10 {
        let mut pair = pair(seed, [(600, 90), (600, 90)], true);
        let (a, _) = pair.established("call-1", Transport::Udp);
        pair.loss = 0.4;
        live(&mut pair, 2000 * SECOND);
        pair.loss = 0.0;
        assert!(pair.nodes[A].endpoint.leg(a).is_some(), "seed {seed}: {:?}", pair.nodes[A].events);
        assert!(pair.nodes[B].endpoint.stats().retransmissions_sent > 0);
        let now = pair.now;
        pair.nodes[A].endpoint.bye(now, a, &[]).unwrap();
        pair.finish();
    }
}

#[test]
fn a_session_that_nobody_refreshes_ends_on_both_sides_before_its_interval() {
    let mut pair = pair(3, [(600, 90), (600, 90)], true);
    let (a, b) = pair.established("call-1", Transport::Udp);
    // The refresher's owner does nothing: 600 s minus 32 s later both sides give up (RFC 4028 §10).
    let began = pair.now;
    pair.run(567 * SECOND);
    assert!(pair.nodes[A].endpoint.leg(a).is_some() && pair.nodes[B].endpoint.leg(b).is_some());
    pair.run(2 * SECOND);
    assert!(lost(&pair, A, a) || lost(&pair, B, b));
    assert!(pair.now.since(began) < 600 * SECOND);
    assert!(pair.sent(A, "BYE") + pair.sent(B, "BYE") >= 1);
    pair.finish();
}

#[test]
fn a_peer_that_vanished_is_found_out_by_the_refresh() {
    for update in [true, false] {
        let mut pair = pair(4, [(600, 90), (600, 90)], update);
        let (_, b) = pair.established("call-1", Transport::Udp);
        pair.fate = Box::new(|_, _| Fate::Lost);
        live(&mut pair, 400 * SECOND);
        // RFC 3261 §12.2.1.2: no answer to a request inside the dialog ends it.
        let gone = |e: &Event| matches!(e, Event::Lost { leg, why: LostCause::DialogGone } if *leg == b);
        assert!(pair.nodes[B].has(gone), "{:?}", pair.nodes[B].events);
        live(&mut pair, 400 * SECOND);
        assert!(pair.nodes[A].has(|e| matches!(e, Event::Lost { why: LostCause::SessionExpired, .. })));
        pair.finish();
    }
}

#[test]
fn too_small_an_interval_is_refused_with_422_and_asked_for_anew() {
    let mut pair = pair(5, [(300, 90), (1800, 900)], true);
    let (a, _) = pair.established("call-1", Transport::Udp);
    let refusal = pair.message(B, "SIP/2.0 422");
    assert_eq!(header(&refusal, Name::MinSe).as_deref(), Some("900"));
    let again = pair.message(A, "INVITE");
    assert_eq!(header(&again, Name::SessionExpires).as_deref(), Some("900"));
    assert_eq!(header(&again, Name::MinSe).as_deref(), Some("900"));
    assert_eq!(header(&again, Name::CSeq).as_deref(), Some("2 INVITE"));
    let again = Message::parse(&again).unwrap();
    assert_eq!((again.body(), again.header_by_name("X-Test")), (OFFER, Some(&b"yes"[..])));
    assert_eq!(pair.nodes[A].endpoint.stats().intervals_raised, 1);
    assert_eq!(pair.nodes[B].endpoint.stats().intervals_refused, 1);
    live(&mut pair, 2000 * SECOND);
    let now = pair.now;
    pair.nodes[A].endpoint.bye(now, a, &[]).unwrap();
    pair.finish();
}

#[test]
fn a_422_that_names_nothing_longer_is_an_ordinary_refusal() {
    let mut pair = pair(6, [(1800, 90), (1800, 90)], true);
    let a = pair.call("call-1", Transport::Udp, Some(OFFER));
    let b = pair.wait(B, Node::incoming);
    let now = pair.now;
    pair.nodes[B].endpoint.reject(now, b, 422, None, &[("Min-SE", "90")]).unwrap();
    pair.expect(A, |e| matches!(e, Event::Failed { leg, .. } if *leg == a));
    pair.finish();
    assert_eq!(pair.sent(A, "INVITE"), 1);
}

#[test]
fn updates_change_a_session_and_cross_with_491() {
    let mut pair = pair(7, [(1800, 90), (1800, 90)], true);
    let (a, b) = pair.established("call-1", Transport::Udp);
    let now = pair.now;
    pair.nodes[A].endpoint.update(now, a, Some(Body::sdp(OFFER))).unwrap();
    assert!(pair.nodes[A].endpoint.update(now, a, Some(Body::sdp(OFFER))).is_err());
    assert!(pair.nodes[A].endpoint.reinvite(now, a, Some(Body::sdp(OFFER))).is_err());
    pair.nodes[B].endpoint.update(now, b, Some(Body::sdp(OFFER))).unwrap();
    for which in [A, B] {
        let done = pair.expect(which, |e| matches!(e, Event::UpdateDone { .. }));
        assert!(matches!(done, Event::UpdateDone { status: 491, .. }), "RFC 3311 §5.2: {done:?}");
    }
    let now = pair.now;
    pair.nodes[A].endpoint.update(now, a, Some(Body::sdp(OFFER))).unwrap();
    pair.expect(B, |e| matches!(e, Event::Update { message, .. } if message.body() == OFFER));
    // A second one while the first waits for its owner: 500 with Retry-After (RFC 3311 §5.2).
    let parts = String::from_utf8(pair.message(A, "UPDATE")).unwrap();
    let cseq = header(parts.as_bytes(), Name::CSeq).unwrap();
    let second = parts.replace(&cseq, "99 UPDATE").replace("z9hG4bK", "z9hG4bKx");
    pair.inject(B, "192.0.2.1:5060", second.as_bytes());
    let refusal = pair.message(B, "SIP/2.0 500");
    assert!(header(&refusal, Name::RetryAfter).unwrap().parse::<u32>().unwrap() <= 10);
    let now = pair.now;
    pair.nodes[B].endpoint.answer_update(now, b, 200, Some(Body::sdp(ANSWER))).unwrap();
    assert!(pair.nodes[B].endpoint.answer_update(now, b, 200, None).is_err());
    let done = pair.expect(A, |e| matches!(e, Event::UpdateDone { .. }));
    assert!(matches!(done, Event::UpdateDone { status: 200, message: Some(m), .. } if m.body() == ANSWER));
    let now = pair.now;
    pair.nodes[A].endpoint.bye(now, a, &[]).unwrap();
    pair.finish();
}

#[test]
fn what_is_required_and_unknown_is_refused_by_name() {
    let mut pair = pair(8, [(1800, 90), (1800, 90)], true);
    let invite = b"INVITE sip:bob@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKq\r\n\
        From: <sip:a@a>;tag=1\r\nTo: <sip:b@b>\r\nCall-ID: q\r\nCSeq: 1 INVITE\r\nContact: <sip:a@192.0.2.1>\r\n\
        Require: timer, teleport, x-y\r\nContent-Length: 0\r\n\r\n";
    pair.inject(B, "192.0.2.1:5060", invite);
    let refusal = pair.message(B, "SIP/2.0 420");
    assert_eq!(header(&refusal, Name::Unsupported).as_deref(), Some("teleport, x-y"), "RFC 3261 §8.2.2.3");
    for method in ["UPDATE", "INFO"] {
        let outside =
            String::from_utf8_lossy(invite).replace("INVITE", method).replace(", teleport, x-y", "");
        pair.inject(B, "192.0.2.1:5060", outside.replace("z9hG4bKq", "z9hG4bKr").as_bytes());
    }
    assert_eq!((pair.sent(B, "SIP/2.0 481"), pair.sent(B, "SIP/2.0 405")), (1, 1));
    let options = String::from_utf8_lossy(invite).replace("INVITE", "OPTIONS").replace(", teleport, x-y", "");
    pair.inject(B, "192.0.2.1:5060", options.replace("z9hG4bKq", "z9hG4bKs").as_bytes());
    let id =
        pair.wait(B, |node| node.take(|e| if let Event::Request { id, .. } = e { Some(*id) } else { None }));
    let now = pair.now;
    pair.nodes[B].endpoint.respond_options(now, id, false).unwrap();
    pair.settle();
    let answer = pair.message(B, "SIP/2.0 200");
    assert_eq!(header(&answer, Name::Supported).as_deref(), Some("timer"));
    assert_eq!(header(&answer, Name::Allow).as_deref(), Some("INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE"));
    pair.finish();
}
