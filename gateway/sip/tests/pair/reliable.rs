//! Reliable provisional responses (RFC 3262), over lines that lose them and their PRACKs; UPDATE in early dialogs.

use crate::harness::*;
use core::time::Duration;
use sip::message::{Message, Method, Name, ResponseWriter};
use sip::{Body, Config, Event, LegId, LostCause, Transport};

fn pair(seed: u64) -> Pair {
    let change = |config: &mut Config| {
        config.extensions = vec![String::from("100rel")];
        config.methods.extend([Method::Prack, Method::Update]);
    };
    Pair::with(seed, change, ["192.0.2.1:5060", "192.0.2.2:5060"])
}

fn header(bytes: &[u8], name: Name) -> Option<String> {
    let message = Message::parse(bytes).unwrap();
    message.header(name).map(|value| String::from_utf8_lossy(value).into_owned())
}

/// Statuses and bodies of the reliable provisional responses a node heard of.
fn heard(pair: &mut Pair, which: usize) -> Vec<(u16, Vec<u8>)> {
    let mut all = Vec::new();
    while let Some(one) = pair.nodes[which].take(|event| match event {
        Event::Progress { status, reliable: true, message, .. } => Some((*status, message.body().to_vec())),
        _ => None,
    }) {
        all.push(one);
    }
    all
}

fn ring(pair: &mut Pair, leg: LegId, status: u16, body: Option<&[u8]>) {
    let now = pair.now;
    pair.nodes[B].endpoint.provisional(now, leg, status, &[], body.map(Body::sdp)).unwrap();
    pair.settle();
}

fn answer(pair: &mut Pair, leg: LegId, body: Option<&[u8]>) {
    let now = pair.now;
    pair.nodes[B].endpoint.answer(now, leg, &[], body.map(Body::sdp)).unwrap();
    pair.settle();
}

fn end(pair: &mut Pair, leg: LegId) {
    let now = pair.now;
    pair.nodes[A].endpoint.bye(now, leg, &[]).unwrap();
    pair.finish();
}

#[test]
fn provisional_responses_come_once_and_in_order_whatever_is_lost() {
    for seed in 0..40 {
        let mut pair = pair(seed);
        (pair.loss, pair.doubling, pair.jitter) = (0.25, 0.2, Duration::from_millis(30));
        let a = pair.call("call-1", Transport::Udp, Some(OFFER));
        let b = pair.wait(B, Node::incoming);
        ring(&mut pair, b, 180, None);
        ring(&mut pair, b, 183, Some(ANSWER));
        ring(&mut pair, b, 181, None);
        answer(&mut pair, b, None);
        pair.expect(A, |e| matches!(e, Event::Answered { .. }));
        let heard = heard(&mut pair, A);
        // The 2xx waits for the description only; what came before it came in order.
        let expected = [(180, Vec::new()), (183, ANSWER.to_vec()), (181, Vec::new())];
        assert!(heard.len() >= 2 && expected.starts_with(&heard), "seed {seed}: {heard:?}");
        pair.expect(B, |e| matches!(e, Event::Acked { .. }));
        (pair.loss, pair.doubling) = (0.0, 0.0);
        end(&mut pair, a);
    }
}

#[test]
fn each_is_numbered_and_acknowledged_by_number() {
    let mut pair = pair(1);
    let a = pair.call("call-1", Transport::Udp, Some(OFFER));
    let b = pair.wait(B, Node::incoming);
    ring(&mut pair, b, 180, None);
    ring(&mut pair, b, 183, Some(ANSWER));
    // RFC 3262 §3: the second waits for the PRACK of the first.
    assert_eq!(pair.sent(B, "SIP/2.0 183"), 0);
    pair.run(Duration::from_secs(1));
    let first: u32 = header(&pair.message(B, "SIP/2.0 180"), Name::RSeq).unwrap().parse().unwrap();
    let second: u32 = header(&pair.message(B, "SIP/2.0 183"), Name::RSeq).unwrap().parse().unwrap();
    assert_eq!(second, first + 1);
    let prack = pair.message(A, "PRACK");
    assert_eq!(header(&prack, Name::RAck), Some(format!("{second} 1 INVITE")));
    assert_eq!(header(&prack, Name::CSeq).as_deref(), Some("3 PRACK"));
    assert_eq!(pair.sent(A, "PRACK"), 2);
    answer(&mut pair, b, None);
    pair.expect(A, |e| matches!(e, Event::Answered { .. }));
    let now = pair.now;
    pair.nodes[A].endpoint.bye(now, a, &[]).unwrap();
    pair.settle();
    assert_eq!(header(&pair.message(A, "BYE"), Name::CSeq).as_deref(), Some("4 BYE"), "numbers go on");
    pair.finish();
    assert_eq!(pair.nodes[B].endpoint.stats().retransmissions_sent, 0);
}

#[test]
fn a_2xx_waits_for_the_prack_of_a_description() {
    let mut pair = pair(2);
    let a = pair.call("call-1", Transport::Udp, Some(OFFER));
    let b = pair.wait(B, Node::incoming);
    let mut lost = 0;
    pair.fate = Box::new(move |_, line| {
        lost += u32::from(line.starts_with("PRACK"));
        if line.starts_with("PRACK") && lost <= 2 { Fate::Lost } else { Fate::Arrives }
    });
    ring(&mut pair, b, 183, Some(ANSWER));
    pair.run(Duration::from_millis(100));
    answer(&mut pair, b, None);
    pair.run(Duration::from_millis(300));
    assert_eq!(pair.sent(B, "SIP/2.0 200"), 0);
    pair.expect(A, |e| matches!(e, Event::Answered { .. }));
    assert!(pair.sent(B, "SIP/2.0 183") > 1, "repeated until then");
    end(&mut pair, a);
}

#[test]
fn without_prack_the_call_is_refused_with_504_after_64_t1() {
    let mut pair = pair(3);
    let a = pair.call("call-1", Transport::Udp, Some(OFFER));
    let b = pair.wait(B, Node::incoming);
    pair.fate = Box::new(|_, line| if line.starts_with("PRACK") { Fate::Lost } else { Fate::Arrives });
    ring(&mut pair, b, 180, None);
    let began = pair.now;
    pair.expect(B, |e| matches!(e, Event::Lost { leg, why: LostCause::NoPrack } if *leg == b));
    assert_eq!(pair.now.since(began).as_secs(), 32);
    assert_eq!(pair.sent(B, "SIP/2.0 180"), 7);
    pair.expect(A, |e| matches!(e, Event::Failed { leg, .. } if *leg == a));
    pair.finish();
    assert_eq!(pair.nodes[B].endpoint.stats().pracks_missing, 1);
}

#[test]
fn an_offer_in_a_provisional_response_is_answered_in_its_prack() {
    for loss in [0.0, 0.25] {
        let mut pair = pair(4);
        pair.loss = loss;
        let now = pair.now;
        let destination = sip::Destination {
            transport: Transport::Udp,
            remote: pair.nodes[B].address,
            socket: UDP,
            over: None,
        };
        let invite = sip::Invite {
            call_id: "late",
            request_uri: "sip:bob@192.0.2.2",
            from: "<sip:alice@a.example>",
            to: "<sip:bob@b.example>",
            destination,
            contact_user: "",
            headers: &[("Supported", "100rel")],
            body: None,
            max_forwards: 70,
            no_response: Duration::from_secs(20),
            no_answer: Duration::from_secs(60),
        };
        let a = pair.nodes[A].endpoint.invite(now, &invite).unwrap();
        let b = pair.wait(B, Node::incoming);
        ring(&mut pair, b, 183, Some(OFFER));
        pair.expect(
            A,
            |e| matches!(e, Event::Progress { reliable: true, message, .. } if message.body() == OFFER),
        );
        pair.run(Duration::from_secs(1));
        assert_eq!(pair.sent(A, "PRACK"), 0, "the owner takes its time");
        let now = pair.now;
        pair.nodes[A].endpoint.prack(now, a, Body::sdp(ANSWER)).unwrap();
        assert!(pair.nodes[A].endpoint.prack(now, a, Body::sdp(ANSWER)).is_err());
        pair.expect(B, |e| matches!(e, Event::Pracked { leg, body } if *leg == b && **body == *ANSWER));
        answer(&mut pair, b, None);
        pair.expect(A, |e| matches!(e, Event::Answered { .. }));
        pair.expect(B, |e| matches!(e, Event::Acked { body, .. } if body.is_empty()));
        pair.loss = 0.0;
        end(&mut pair, a);
    }
}

#[test]
fn a_late_offer_is_not_offered_early_to_who_did_not_ask() {
    let mut pair = pair(5);
    let a = pair.call("call-1", Transport::Udp, None);
    let b = pair.wait(B, Node::incoming);
    assert_eq!(header(&pair.message(A, "INVITE"), Name::Supported), None);
    ring(&mut pair, b, 180, None);
    assert_eq!(header(&pair.message(B, "SIP/2.0 180"), Name::RSeq), None);
    answer(&mut pair, b, Some(OFFER));
    pair.expect(A, |e| matches!(e, Event::Answered { .. }));
    let now = pair.now;
    pair.nodes[A].endpoint.ack(now, a, Some(Body::sdp(ANSWER))).unwrap();
    end(&mut pair, a);
}

#[test]
fn early_dialogs_are_updated_both_ways_once_the_first_offer_has_its_answer() {
    let mut pair = pair(6);
    let a = pair.call("call-1", Transport::Udp, Some(OFFER));
    let b = pair.wait(B, Node::incoming);
    let now = pair.now;
    assert!(pair.nodes[A].endpoint.update(now, a, Some(Body::sdp(OFFER))).is_err());
    ring(&mut pair, b, 183, Some(ANSWER));
    pair.run(Duration::from_millis(200));
    for (from, to, leg, other) in [(A, B, a, b), (B, A, b, a)] {
        let now = pair.now;
        pair.nodes[from].endpoint.update(now, leg, Some(Body::sdp(b"v=1"))).unwrap();
        pair.expect(to, |e| matches!(e, Event::Update { leg, .. } if *leg == other));
        let now = pair.now;
        pair.nodes[to].endpoint.answer_update(now, other, 200, Some(Body::sdp(b"v=2"))).unwrap();
        let done = pair.expect(from, |e| matches!(e, Event::UpdateDone { .. }));
        assert!(
            matches!(done, Event::UpdateDone { status: 200, message: Some(m), .. } if m.body() == b"v=2")
        );
    }
    answer(&mut pair, b, None);
    pair.expect(A, |e| matches!(e, Event::Answered { .. }));
    pair.run(Duration::from_secs(1));
    // The callee's own requests go on in the same dialog.
    let now = pair.now;
    pair.nodes[B].endpoint.bye(now, b, &[]).unwrap();
    pair.expect(A, |e| matches!(e, Event::Bye { .. }));
    pair.finish();
}

/// A reliable provisional response of one branch of a forked call.
fn branch(invite: &[u8], tag: &str, rseq: u32) -> Vec<u8> {
    let request = Message::parse(invite).unwrap();
    let mut out = Vec::new();
    let mut writer = ResponseWriter::answer(&mut out, &request, 183, None, Some(tag.as_bytes()), None);
    writer.header(Name::Contact, format!("<sip:{tag}@192.0.2.2>").as_bytes());
    writer.header(Name::Require, b"100rel");
    writer.header(Name::RSeq, rseq.to_string().as_bytes());
    writer.end().unwrap();
    out
}

#[test]
fn each_early_dialog_of_a_forked_call_has_pracks_of_its_own() {
    // RFC 3262 §4, RFC 3261 §12.1: numbers and targets are those of the dialog.
    let mut pair = pair(11);
    pair.fate = Box::new(|who, _| if who == A { Fate::Lost } else { Fate::Arrives });
    pair.call("c", Transport::Udp, Some(OFFER));
    let invite = pair.message(A, "INVITE");
    for (tag, rseq, cseq, new) in [
        ("zero", 1, "2 PRACK", true),
        ("one", 71, "2 PRACK", true),
        ("zero", 2, "3 PRACK", true),
        ("zero", 2, "", false),
        ("one", 73, "", false),
        ("one", 72, "3 PRACK", true),
    ] {
        pair.messages.clear();
        pair.inject(A, "192.0.2.2:5060", &branch(&invite, tag, rseq));
        let pracks: Vec<Vec<u8>> = pair.messages.iter().map(|(_, bytes)| bytes.clone()).collect();
        assert_eq!(pracks.len(), usize::from(new), "{tag} {rseq}");
        for prack in pracks {
            assert!(prack.starts_with(format!("PRACK sip:{tag}@192.0.2.2 ").as_bytes()));
            let rack = format!("{rseq} 1 INVITE");
            assert_eq!(
                (header(&prack, Name::RAck), header(&prack, Name::CSeq)),
                (Some(rack), Some(cseq.into()))
            );
            assert!(header(&prack, Name::To).unwrap().ends_with(&format!(";tag={tag}")));
        }
    }
    assert_eq!(pair.nodes[A].endpoint.stats().provisionals_early, 1);
    pair.finish();
}

#[test]
fn cancelling_and_refusing_end_what_waits_for_a_prack() {
    for refuse in [false, true] {
        let mut pair = pair(7);
        let a = pair.call("call-1", Transport::Udp, Some(OFFER));
        let b = pair.wait(B, Node::incoming);
        pair.fate = Box::new(|_, line| if line.starts_with("PRACK") { Fate::Lost } else { Fate::Arrives });
        ring(&mut pair, b, 180, None);
        ring(&mut pair, b, 183, Some(ANSWER));
        pair.run(Duration::from_secs(2));
        let now = pair.now;
        if refuse {
            pair.nodes[B].endpoint.reject(now, b, 486, None, &[]).unwrap();
        } else {
            pair.nodes[A].endpoint.cancel(now, a, None).unwrap();
        }
        pair.expect(A, |e| matches!(e, Event::Failed { .. }));
        pair.finish();
    }
}

#[test]
fn a_prack_that_fits_nothing_is_answered_481() {
    let mut pair = pair(8);
    let a = pair.call("call-1", Transport::Udp, Some(OFFER));
    let b = pair.wait(B, Node::incoming);
    ring(&mut pair, b, 180, None);
    pair.run(Duration::from_secs(1));
    let prack = String::from_utf8(pair.message(A, "PRACK")).unwrap();
    let again = prack.replace("2 PRACK", "3 PRACK").replace("z9hG4bK", "z9hG4bKx");
    pair.inject(B, "192.0.2.1:5060", again.as_bytes());
    assert_eq!(pair.sent(B, "SIP/2.0 481"), 1);
    answer(&mut pair, b, Some(ANSWER));
    pair.expect(A, |e| matches!(e, Event::Answered { .. }));
    end(&mut pair, a);
}
