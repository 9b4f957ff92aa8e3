//! REFER and the subscription that it makes (RFC 3515, RFC 6665): told in order, to the end, over bad lines; and Replaces.

use crate::harness::{A, B, Fate, Pair};
use core::time::Duration;
use sip::message::{Message, Method, Name};
use sip::transfer::{Replaces, fragment_status};
use sip::{Config, Event, LegId, RequestId, SubscriptionId, Transport};

const LASTING: Duration = Duration::from_secs(60);

fn pair(seed: u64) -> Pair {
    let methods = |config: &mut Config| {
        config.methods = vec![Method::Options, Method::Refer, Method::Notify];
        config.extensions = vec![String::from("replaces"), String::from("norefersub")];
    };
    Pair::with(seed, methods, ["192.0.2.1:5060", "192.0.2.2:5060"])
}

/// A asks B for a transfer; how B took it.
fn referred(pair: &mut Pair, a: LegId, b: LegId, subscribes: bool) -> Option<SubscriptionId> {
    let now = pair.now;
    let headers = [("Refer-To", "<sip:carol@192.0.2.3>")];
    let refer = pair.nodes[A].endpoint.request_inside(now, a, Method::Refer, &headers, None).unwrap();
    let event = pair.expect(B, |event| matches!(event, Event::Request { method: Method::Refer, .. }));
    let Event::Request { id, leg, message, .. } = event else { unreachable!() };
    assert_eq!(leg, Some(b));
    let number = message.parse().unwrap().cseq().unwrap().number;
    let now = pair.now;
    let accepted = pair.nodes[B].endpoint.accept_refer(now, id, b, number, subscribes, LASTING).unwrap();
    assert!(pair.nodes[B].endpoint.respond(now, id, 200, &[], None).is_err(), "it was answered");
    pair.expect(A, |event| matches!(event, Event::Response { id, status: 202, .. } if *id == refer));
    accepted
}

/// The next NOTIFY that A gets: status, state, and what to answer it with.
fn notified(pair: &mut Pair) -> (u16, String, RequestId) {
    let event = pair.expect(A, |event| matches!(event, Event::Request { method: Method::Notify, .. }));
    let Event::Request { id, message, .. } = event else { unreachable!() };
    let notify = message.parse().unwrap();
    assert!(notify.header(Name::Event).unwrap().starts_with(b"refer;id="));
    assert_eq!(notify.content_type(), Some(&b"message/sipfrag;version=2.0"[..]));
    let state = String::from_utf8_lossy(notify.header(Name::SubscriptionState).unwrap()).into_owned();
    (fragment_status(message.body()).unwrap(), state, id)
}

fn answer(pair: &mut Pair, id: RequestId, status: u16) {
    let now = pair.now;
    pair.nodes[A].endpoint.respond(now, id, status, &[], None).unwrap();
}

fn tell(pair: &mut Pair, id: SubscriptionId, status: u16, last: bool) {
    let now = pair.now;
    pair.nodes[B].endpoint.notify(now, id, status, last);
}

fn hang_up(pair: &mut Pair, leg: LegId) {
    let now = pair.now;
    pair.nodes[A].endpoint.bye(now, leg, &[]).unwrap();
    pair.finish();
}

#[test]
fn a_referrer_hears_how_it_goes() {
    let mut pair = pair(1);
    let (a, b) = pair.established("c", Transport::Udp);
    let id = referred(&mut pair, a, b, true).unwrap();
    let (status, state, request) = notified(&mut pair);
    assert_eq!((status, state.as_str()), (100, "active;expires=60"));
    // What happens meanwhile is told as one: where it stands then.
    tell(&mut pair, id, 180, false);
    tell(&mut pair, id, 183, false);
    answer(&mut pair, request, 200);
    let (status, _, request) = notified(&mut pair);
    assert_eq!(status, 183);
    answer(&mut pair, request, 200);
    tell(&mut pair, id, 200, true);
    let (status, state, request) = notified(&mut pair);
    assert_eq!((status, state.as_str()), (200, "terminated;reason=noresource"));
    answer(&mut pair, request, 200);
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.nodes[B].endpoint.census().subscriptions, 0);
    tell(&mut pair, id, 486, true);
    assert_eq!(pair.sent(B, "NOTIFY"), 3, "nothing follows the last word");
    hang_up(&mut pair, a);
}

#[test]
fn each_message_of_it_may_be_lost() {
    for (who, line, nth) in [
        (A, "REFER", 0),
        (B, "SIP/2.0 202", 0),
        (B, "NOTIFY", 0),
        (B, "NOTIFY", 1),
        (A, "SIP/2.0 200", 0),
        (A, "SIP/2.0 200", 1),
    ] {
        let mut pair = pair(2);
        let (a, b) = pair.established("c", Transport::Udp);
        let mut seen = 0;
        pair.fate = Box::new(move |from, sent| {
            if from == who && sent.starts_with(line) {
                seen += 1;
                if seen == nth + 1 {
                    return Fate::Lost;
                }
            }
            Fate::Arrives
        });
        let id = referred(&mut pair, a, b, true).unwrap();
        let (status, _, request) = notified(&mut pair);
        assert_eq!(status, 100);
        answer(&mut pair, request, 200);
        tell(&mut pair, id, 200, true);
        let (status, state, request) = notified(&mut pair);
        assert_eq!((status, state.as_str()), (200, "terminated;reason=noresource"), "{line} {nth}");
        answer(&mut pair, request, 200);
        pair.run(Duration::from_secs(40));
        hang_up(&mut pair, a);
    }
}

#[test]
fn a_subscription_outlives_its_call() {
    for by_notifier in [false, true] {
        let mut pair = pair(3);
        let (a, b) = pair.established("c", Transport::Udp);
        let id = referred(&mut pair, a, b, true).unwrap();
        let (_, _, request) = notified(&mut pair);
        answer(&mut pair, request, 200);
        let now = pair.now;
        let (who, leg) = if by_notifier { (B, b) } else { (A, a) };
        pair.nodes[who].endpoint.bye(now, leg, &[]).unwrap();
        pair.run(Duration::from_secs(1));
        assert!(pair.nodes[B].endpoint.leg(b).is_none());
        tell(&mut pair, id, 200, true);
        pair.run(Duration::from_millis(100));
        let notify = pair.message(B, "NOTIFY");
        let notify = Message::parse(&notify).unwrap();
        // One more than the first NOTIFY, and than a BYE of the same side (RFC 3261 §12.2.1.1).
        assert_eq!(notify.cseq().unwrap().number, if by_notifier { 3 } else { 2 });
        assert_eq!(notify.call_id(), b"c");
        // The other side has forgotten the dialog: its 481 ends the subscription (RFC 6665 §4.2.2).
        pair.finish();
        assert_eq!(pair.nodes[B].endpoint.stats().notifies_refused, 1);
    }
}

#[test]
fn who_does_not_subscribe_hears_nothing() {
    let mut pair = pair(4);
    let (a, b) = pair.established("c", Transport::Udp);
    assert_eq!(referred(&mut pair, a, b, false), None);
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.sent(B, "NOTIFY"), 0);
    let accepted = pair.message(B, "SIP/2.0 202");
    assert_eq!(Message::parse(&accepted).unwrap().header_by_name("Refer-Sub"), Some(&b"false"[..]));
    hang_up(&mut pair, a);
}

#[test]
fn it_runs_out_and_can_be_lengthened_and_ended() {
    for (expires, state) in [
        (None, "terminated;reason=timeout"),
        (Some(0), "terminated;reason=timeout"),
        (Some(90), "active;expires=90"),
    ] {
        let mut pair = pair(5);
        let (a, b) = pair.established("c", Transport::Udp);
        referred(&mut pair, a, b, true).unwrap();
        let (_, _, request) = notified(&mut pair);
        answer(&mut pair, request, 200);
        if let Some(expires) = expires {
            let now = pair.now;
            let expires = format!("{expires}");
            let headers = [("Event", "refer"), ("Expires", expires.as_str())];
            let subscribe =
                pair.nodes[A].endpoint.request_inside(now, a, Method::Subscribe, &headers, None).unwrap();
            pair.expect(
                A,
                |event| matches!(event, Event::Response { id, status: 200, .. } if *id == subscribe),
            );
        } else {
            pair.run(Duration::from_secs(61));
        }
        let (status, said, request) = notified(&mut pair);
        assert_eq!((status, said.as_str()), (100, state));
        answer(&mut pair, request, 200);
        if expires == Some(90) {
            pair.run(Duration::from_secs(91));
            let (_, said, request) = notified(&mut pair);
            assert_eq!(said, "terminated;reason=timeout");
            answer(&mut pair, request, 200);
        }
        pair.run(Duration::from_millis(100));
        assert_eq!(pair.nodes[B].endpoint.census().subscriptions, 0);
        hang_up(&mut pair, a);
    }
}

#[test]
fn a_dialog_is_found_by_call_id_and_both_tags() {
    let mut pair = pair(6);
    let (a, b) = pair.established("c", Transport::Udp);
    let seen_by_a = pair.nodes[A].endpoint.replaces_of(a).unwrap();
    assert_eq!(pair.nodes[B].endpoint.replaced_leg(&seen_by_a), Some(b));
    assert_eq!(pair.nodes[A].endpoint.replaced_leg(&seen_by_a), None);
    assert_eq!(pair.nodes[A].endpoint.replaced_leg_from_afar(&seen_by_a), Some(a));
    for wrong in [
        Replaces { call_id: "d".into(), ..seen_by_a.clone() },
        Replaces { to_tag: "1".into(), ..seen_by_a.clone() },
        Replaces { from_tag: "1".into(), ..seen_by_a },
    ] {
        assert_eq!(pair.nodes[B].endpoint.replaced_leg(&wrong), None);
    }
    hang_up(&mut pair, a);
}

#[test]
fn a_dialog_that_rings_is_known_by_the_tag_of_each_fork() {
    let mut pair = pair(7);
    let a = pair.call("c", Transport::Udp, Some(b"v=0\r\n"));
    let b = pair.wait(B, crate::harness::Node::incoming);
    let now = pair.now;
    pair.nodes[B].endpoint.provisional(now, b, 180, &[], None).unwrap();
    pair.run(Duration::from_millis(100));
    let facts = pair.nodes[B].endpoint.leg(b).unwrap();
    let named = Replaces {
        call_id: "c".into(),
        to_tag: facts.remote_tag.into(),
        from_tag: facts.local_tag.into(),
        early_only: true,
    };
    assert_eq!(pair.nodes[A].endpoint.replaced_leg(&named), Some(a));
    let other = Replaces { from_tag: "1".into(), ..named };
    assert_eq!(pair.nodes[A].endpoint.replaced_leg(&other), None);
    let now = pair.now;
    pair.nodes[A].endpoint.cancel(now, a, None).unwrap();
    pair.finish();
}

#[test]
fn replaces_stands_in_an_invite_alone() {
    let mut pair = pair(8);
    let send = |pair: &mut Pair, method: &str, lines: &str| {
        let text = format!(
            "{method} sip:b@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK{method}{}\r\nMax-Forwards: 70\r\n\
             From: <sip:x@h>;tag=1\r\nTo: <sip:b@h>\r\nCall-ID: x\r\nCSeq: 1 {method}\r\nContact: <sip:x@192.0.2.9>\r\n{lines}\r\n",
            lines.len()
        );
        pair.inject(B, "192.0.2.9:5060", text.as_bytes());
        pair.messages
            .last()
            .map(|(_, bytes)| String::from_utf8_lossy(&bytes[8..11]).into_owned())
            .unwrap_or_default()
    };
    let one = "Replaces: c;to-tag=1;from-tag=2\r\n";
    assert_eq!(send(&mut pair, "OPTIONS", one), "400");
    assert_eq!(send(&mut pair, "INVITE", &one.repeat(2)), "400");
    pair.finish();
}
