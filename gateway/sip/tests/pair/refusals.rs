//! What an endpoint refuses by itself, and the bounds of its tables.

use crate::calls::failure;
use crate::harness::*;
use core::time::Duration;
use sip::{Event, Failure, StartError, Transport};

const PEER: &str = "192.0.2.1:5060";

/// Gives B a request made of these lines behind Via and Max-Forwards, and returns the status line it answers with.
fn status(pair: &mut Pair, first: &str, branch: &str, lines: &str) -> String {
    let request = format!(
        "{first}\nVia: SIP/2.0/UDP {PEER};branch=z9hG4bK{branch}\nFrom: <sip:a@h>;tag=1\n{lines}\n\n"
    );
    pair.log.clear();
    pair.inject(B, PEER, request.replace('\n', "\r\n").as_bytes());
    let line = pair.log.iter().find(|(who, line)| *who == B && !line.starts_with("SIP/2.0 100"));
    line.map(|(_, line)| line.clone()).unwrap_or_default()
}

#[test]
fn requests_that_cannot_be_served_get_their_status() {
    let mut pair = Pair::new(1);
    let common = "To: <sip:b@h>\nMax-Forwards: 70\nContact: <sip:a@192.0.2.1>\n";
    let inside = "To: <sip:b@h>;tag=none\nMax-Forwards: 70\n";
    for (n, (first, lines, expected)) in [
        ("REGISTER sip:h SIP/2.0", format!("{common}Call-ID: 1\nCSeq: 1 REGISTER"), "SIP/2.0 405"),
        ("BREW sip:h SIP/2.0", format!("{common}Call-ID: 2\nCSeq: 1 BREW"), "SIP/2.0 501"),
        ("BYE sip:h SIP/2.0", format!("{inside}Call-ID: 3\nCSeq: 1 BYE"), "SIP/2.0 481"),
        ("BYE sip:h SIP/2.0", format!("{common}Call-ID: 4\nCSeq: 1 BYE"), "SIP/2.0 481"),
        ("INVITE sip:h SIP/2.0", format!("{inside}Call-ID: 5\nCSeq: 1 INVITE"), "SIP/2.0 481"),
        ("OPTIONS sip:h SIP/2.0", format!("{inside}Call-ID: 6\nCSeq: 1 OPTIONS"), "SIP/2.0 481"),
        ("INVITE sip:h SIP/7.0", format!("{common}Call-ID: 7\nCSeq: 1 INVITE"), "SIP/2.0 505"),
        ("INVITE nobody:h SIP/2.0", format!("{common}Call-ID: 8\nCSeq: 1 INVITE"), "SIP/2.0 416"),
        (
            "INVITE sip:h SIP/2.0",
            format!("{common}Require: 100rel\nCall-ID: 9\nCSeq: 1 INVITE"),
            "SIP/2.0 420",
        ),
        (
            "INVITE sip:h SIP/2.0",
            "To: <sip:b@h>\nMax-Forwards: 0\nCall-ID: 10\nCSeq: 1 INVITE".to_owned(),
            "SIP/2.0 483",
        ),
        ("INVITE sip:h SIP/2.0", format!("{common}Call-ID: 11\nCSeq: 1 BYE"), "SIP/2.0 400"),
        ("ACK sip:h SIP/2.0", format!("{inside}Call-ID: 12\nCSeq: 1 ACK"), ""),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = status(&mut pair, first, &n.to_string(), &lines);
        assert!(
            answer.starts_with(expected) && answer.is_empty() == expected.is_empty(),
            "{first}: {answer}"
        );
    }
    let refusal = String::from_utf8(pair.message(B, "SIP/2.0 405")).unwrap();
    assert!(refusal.contains("Allow: INVITE, ACK, BYE, CANCEL, OPTIONS\r\n"), "{refusal}");
    let refusal = String::from_utf8(pair.message(B, "SIP/2.0 420")).unwrap();
    assert!(refusal.contains("Unsupported: 100rel\r\n"), "{refusal}");
    assert_eq!(pair.nodes[B].endpoint.stats().stray_acks, 1);
    assert!(pair.nodes[B].events.is_empty());
    pair.finish();
}

#[test]
fn a_request_by_two_ways_is_taken_once() {
    let mut pair = Pair::new(2);
    let lines = "To: <sip:b@h>\nMax-Forwards: 70\nContact: <sip:a@192.0.2.1>\nCall-ID: m\nCSeq: 1 INVITE";
    assert_eq!(status(&mut pair, "INVITE sip:b@h SIP/2.0", "one", lines), "");
    assert!(status(&mut pair, "INVITE sip:b@h SIP/2.0", "two", lines).starts_with("SIP/2.0 482"));
    assert_eq!(pair.nodes[B].endpoint.stats().merged_refused, 1);
    // The same again by the first way is only a retransmission.
    status(&mut pair, "INVITE sip:b@h SIP/2.0", "one", lines);
    assert_eq!(pair.nodes[B].endpoint.stats().retransmissions_absorbed, 1);
    assert_eq!(pair.nodes[B].endpoint.census().legs, 1);
    let b = pair.wait(B, Node::incoming);
    let now = pair.now;
    pair.nodes[B].endpoint.reject(now, b, 486, None, &[]).unwrap();
    pair.finish();
}

#[test]
fn a_call_of_ours_that_comes_back_is_a_loop_unless_it_goes_elsewhere() {
    let mut pair = Pair::new(10);
    pair.fate = Box::new(|who, _| if who == A { Fate::Lost } else { Fate::Arrives });
    pair.call("c", Transport::Udp, Some(OFFER));
    let sent = String::from_utf8(pair.message(A, "INVITE")).unwrap();
    let via = "\r\nVia: SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bKproxy\r\nVia: ";
    let back = sent.replacen("\r\nVia: ", via, 1);
    pair.inject(A, "192.0.2.2:5060", back.as_bytes());
    assert_eq!((pair.sent(A, "SIP/2.0 482"), pair.nodes[A].endpoint.stats().loops_refused), (1, 1));
    let spiral = back.replacen("sip:bob@", "sip:carol@", 1).replace("bKproxy", "bKother");
    pair.inject(A, "192.0.2.2:5060", spiral.as_bytes());
    let leg = pair.wait(A, Node::incoming);
    let now = pair.now;
    pair.nodes[A].endpoint.reject(now, leg, 404, None, &[]).unwrap();
    pair.finish();
}

#[test]
fn a_client_without_cookie_is_served_as_rfc_2543_had_it() {
    let mut pair = Pair::new(3);
    let head = |method: &str, tag: &str| {
        format!(
            "{method} sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP {PEER}\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>{tag}\r\n\
             Call-ID: old\r\nMax-Forwards: 70\r\nCSeq: 1 {method}\r\nContact: <sip:a@{PEER}>\r\n\r\n"
        )
    };
    pair.inject(B, PEER, head("INVITE", "").as_bytes());
    pair.inject(B, PEER, head("INVITE", "").as_bytes());
    assert_eq!(pair.nodes[B].endpoint.census().legs, 1);
    let b = pair.wait(B, Node::incoming);
    let now = pair.now;
    pair.nodes[B].endpoint.answer(now, b, &[], None).unwrap();
    let tag = format!(";tag={}", pair.nodes[B].endpoint.leg(b).unwrap().local_tag);
    pair.inject(B, PEER, head("ACK", &tag).as_bytes());
    pair.expect(B, |event| matches!(event, Event::Acked { .. }));
    let bye = head("BYE", &tag).replace("CSeq: 1", "CSeq: 2");
    pair.inject(B, PEER, bye.as_bytes());
    pair.expect(B, |event| matches!(event, Event::Bye { .. }));
    pair.finish();
}

#[test]
fn beyond_the_legs_calls_are_refused_503_without_state() {
    let limit = |config: &mut sip::Config| config.limits.legs = 1;
    let mut pair = Pair::with(4, limit, ["192.0.2.1:5060", "192.0.2.2:5060"]);
    pair.established("c", Transport::Udp);
    let lines = "To: <sip:b@h>\nMax-Forwards: 70\nContact: <sip:a@192.0.2.1>\nCall-ID: d\nCSeq: 1 INVITE";
    let before = pair.nodes[B].endpoint.census();
    assert!(status(&mut pair, "INVITE sip:b@h SIP/2.0", "x", lines).starts_with("SIP/2.0 503"));
    assert_eq!(pair.nodes[B].endpoint.census(), before);
    let refusal = String::from_utf8(pair.message(B, "SIP/2.0 503")).unwrap();
    assert!(refusal.contains("Retry-After: 5\r\n"), "{refusal}");
    assert_eq!(pair.nodes[B].endpoint.stats().legs_full, 1);
    let legs = pair.nodes[A].legs_seen();
    let now = pair.now;
    pair.nodes[A].endpoint.bye(now, legs[0], &[]).unwrap();
    pair.finish();
}

#[test]
fn beyond_the_transactions_everything_is_refused_503_without_state() {
    let limit = |config: &mut sip::Config| config.limits.transactions = 4;
    let mut pair = Pair::with(5, limit, ["192.0.2.1:5060", "192.0.2.2:5060"]);
    let lines = |n: u32| format!("To: <sip:b@h>\nMax-Forwards: 70\nCall-ID: {n}\nCSeq: 1 OPTIONS");
    for n in 0..4 {
        assert_eq!(status(&mut pair, "OPTIONS sip:h SIP/2.0", &n.to_string(), &lines(n)), "");
    }
    assert!(status(&mut pair, "OPTIONS sip:h SIP/2.0", "x", &lines(9)).starts_with("SIP/2.0 503"));
    assert_eq!(pair.nodes[B].endpoint.stats().transactions_full, 1);
    assert_eq!(pair.nodes[B].endpoint.census().transactions, 4);
    pair.finish();
}

#[test]
fn beyond_the_bytes_everything_is_refused_503_without_state() {
    let limit = |config: &mut sip::Config| config.limits.message_bytes = 2000;
    let mut pair = Pair::with(6, limit, ["192.0.2.1:5060", "192.0.2.2:5060"]);
    let long = "x".repeat(1500);
    for (n, expected) in [(0, ""), (1, ""), (2, "SIP/2.0 503")] {
        let lines = format!("To: <sip:{long}@h>\nMax-Forwards: 70\nCall-ID: {n}\nCSeq: 1 OPTIONS");
        let answer = status(&mut pair, "OPTIONS sip:h SIP/2.0", &n.to_string(), &lines);
        assert!(answer.starts_with(expected), "{answer}");
        assert_eq!(answer.is_empty(), expected.is_empty(), "{answer}");
    }
    pair.finish();
}

#[test]
fn own_calls_beyond_the_tables_are_refused() {
    let limit = |config: &mut sip::Config| config.limits.legs = 1;
    let mut pair = Pair::with(7, limit, ["192.0.2.1:5060", "192.0.2.2:5060"]);
    pair.fate = Box::new(|_, _| Fate::Lost);
    let a = pair.call("c", Transport::Udp, Some(OFFER));
    let now = pair.now;
    let facts = pair.nodes[A].endpoint.leg(a).unwrap();
    let destination =
        sip::Destination { transport: Transport::Udp, remote: facts.flow.remote, socket: UDP, over: None };
    let again = sip::Invite {
        call_id: "d",
        request_uri: "sip:b@h",
        from: "<sip:a@h>",
        to: "<sip:b@h>",
        destination,
        contact_user: "",
        headers: &[],
        body: None,
        max_forwards: 70,
        no_response: Duration::from_secs(1),
        no_answer: Duration::from_secs(1),
    };
    assert_eq!(pair.nodes[A].endpoint.invite(now, &again), Err(StartError::Full));
    assert_eq!(pair.nodes[A].endpoint.stats().own_full, 1);
    assert_eq!(failure(&mut pair, a), Failure::NoResponse);
    pair.finish();
}

#[test]
fn strays_are_dropped_and_counted() {
    let mut pair = Pair::new(8);
    let stray = format!(
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP {PEER};branch=z9hG4bK{}\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>;tag=2\r\n\
         Call-ID: s\r\nCSeq: 1 INVITE\r\n\r\n",
        "0".repeat(32)
    );
    pair.inject(A, PEER, stray.as_bytes());
    assert_eq!(pair.nodes[A].endpoint.stats().stray_responses, 1);
    pair.inject(A, PEER, b"\r\n\r\n");
    pair.inject(A, PEER, b"");
    assert_eq!(pair.nodes[A].endpoint.stats().malformed_dropped, 0);
    pair.inject(A, PEER, &[0; 100]);
    pair.inject(A, PEER, b"SIP/2.0 999 What\r\n\r\n");
    assert_eq!(pair.nodes[A].endpoint.stats().malformed_dropped, 2);
    assert!(pair.log.is_empty());
    pair.finish();
}

/// An owner that never answers a request does not keep it for ever.
#[test]
fn an_unanswered_request_is_forgotten() {
    let mut pair = Pair::new(9);
    let lines = "To: <sip:b@h>\nMax-Forwards: 70\nCall-ID: o\nCSeq: 1 OPTIONS";
    assert_eq!(status(&mut pair, "OPTIONS sip:h SIP/2.0", "o", lines), "");
    assert_eq!(pair.nodes[B].endpoint.census().transactions, 1);
    pair.finish();
}

#[test]
fn vias_of_odd_form_are_given_back() {
    let mut pair = Pair::new(11);
    for (n, (vias, expected)) in [
        (
            "SIP/2.0/UDP a;branch=z9hG4bK1;rport , SIP/2.0/UDP b;branch=z9hG4bK2",
            "a;branch=z9hG4bK1;received=192.0.2.9;rport=5999",
        ),
        ("SIP/2.0/UDP a", "a;received=192.0.2.9\r\n"),
        ("SIP / 2.0 / UDP  192.0.2.9 : 5061 ;\r\n branch = z9hG4bK3", ";branch=z9hG4bK3\r\n"),
        ("\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK4", ""),
        (", SIP/2.0/UDP a;branch=z9hG4bK5", ""),
    ]
    .into_iter()
    .enumerate()
    {
        pair.messages.clear();
        let request = format!(
            "OPTIONS sip:b@h SIP/2.0\r\nVia: {vias}\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\n\
             Call-ID: {n}\r\nMax-Forwards: 70\r\nCSeq: 1 OPTIONS\r\n\r\n"
        );
        pair.inject(B, "192.0.2.9:5999", request.as_bytes());
        let event =
            pair.nodes[B].take(|event| if let Event::Request { id, .. } = event { Some(*id) } else { None });
        let now = pair.now;
        if let Some(id) = event {
            pair.nodes[B].endpoint.respond_options(now, id, false).unwrap();
            pair.settle();
        }
        let reply = String::from_utf8(pair.message(B, "SIP/2.0")).unwrap();
        assert!(reply.contains(expected), "{vias}: {reply}");
    }
    pair.finish();
}
