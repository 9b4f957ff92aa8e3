//! Calls as they should go, and calls whose messages are lost one after the other.

use crate::harness::*;
use core::time::Duration;
use sip::auth::{Account, Algorithm, Authority, Authorization, Presented, Verdict};
use sip::{Body, Event, Failure, LegId, LegState, Transport};

#[test]
fn a_call_is_set_up_and_ended_with_seven_messages() {
    let mut pair = Pair::new(1);
    let (a, b) = pair.established("call-1", Transport::Udp);
    let facts = pair.nodes[A].endpoint.leg(a).unwrap();
    assert_eq!((facts.call_id, facts.state, facts.outgoing), ("call-1", LegState::Confirmed, true));
    let tags = (facts.local_tag.to_owned(), facts.remote_tag.to_owned());
    let facts = pair.nodes[B].endpoint.leg(b).unwrap();
    assert_eq!((facts.remote_tag.to_owned(), facts.local_tag.to_owned()), tags);
    assert_eq!((facts.state, facts.outgoing), (LegState::Confirmed, false));
    assert_eq!(facts.flow.remote, pair.nodes[A].address);
    let now = pair.now;
    pair.nodes[A].endpoint.bye(now, a, &[("Reason", "Q.850;cause=16")]).unwrap();
    pair.settle();
    let reason = pair.wait(B, |node| {
        node.take(|event| match event {
            Event::Bye { leg, message } if *leg == b => {
                Some(message.parse().unwrap().header(sip::message::Name::Reason).unwrap().to_vec())
            }
            _ => None,
        })
    });
    assert_eq!(reason, b"Q.850;cause=16");
    assert!(pair.nodes[B].has(|event| matches!(event, Event::Gone { leg } if *leg == b)));
    pair.wait(A, |node| node.take(|event| matches!(event, Event::Gone { leg } if *leg == a).then_some(())));
    let lines: Vec<_> = pair.log.iter().map(|(who, line)| (*who, line.split(' ').next().unwrap())).collect();
    assert_eq!(lines.len(), 7, "{:?}", pair.log);
    pair.finish();
    assert_eq!(pair.nodes[A].endpoint.stats().retransmissions_sent, 0);
}

#[test]
fn bodies_and_headers_arrive() {
    let mut pair = Pair::new(2);
    let a = pair.call("call-2", Transport::Udp, Some(OFFER));
    let b = pair.wait(B, |node| {
        node.take(|event| match event {
            Event::Invite { leg, request, .. } => {
                assert_eq!(request.body(), OFFER);
                let message = request.parse().unwrap();
                assert_eq!(message.header_by_name("X-Test"), Some(&b"yes"[..]));
                assert_eq!(message.max_forwards(), Some(70));
                Some(*leg)
            }
            _ => None,
        })
    });
    let now = pair.now;
    let endpoint = &mut pair.nodes[B].endpoint;
    endpoint.provisional(now, b, 183, &[("X-Early", "media")], Some(Body::sdp(b"early"))).unwrap();
    pair.settle();
    pair.wait(A, |node| {
        node.take(|event| match event {
            Event::Progress { status: 183, fork: 0, message, .. } => {
                assert_eq!(message.body(), b"early");
                assert!(message.parse().unwrap().contact().is_some());
                Some(())
            }
            _ => None,
        })
    });
    let now = pair.now;
    pair.nodes[B].endpoint.answer(now, b, &[], Some(Body::sdp(ANSWER))).unwrap();
    pair.settle();
    let body = pair.wait(A, |node| {
        node.take(|event| match event {
            Event::Answered { leg, message } if *leg == a => Some(message.body().to_vec()),
            _ => None,
        })
    });
    assert_eq!(body, ANSWER);
    pair.run(Duration::from_secs(1));
    let now = pair.now;
    pair.nodes[B].endpoint.bye(now, b, &[]).unwrap();
    pair.settle();
    pair.wait(A, |node| node.take(|event| matches!(event, Event::Bye { .. }).then_some(())));
    pair.finish();
}

#[test]
fn a_late_offer_is_answered_in_the_ack() {
    let mut pair = Pair::new(3);
    let a = pair.call("call-3", Transport::Udp, None);
    let b = pair.wait(B, Node::incoming);
    let now = pair.now;
    pair.nodes[B].endpoint.answer(now, b, &[], Some(Body::sdp(OFFER))).unwrap();
    pair.settle();
    pair.wait(A, |node| node.take(|event| matches!(event, Event::Answered { .. }).then_some(())));
    // The owner takes its time: the 2xx comes again and nothing is acknowledged yet.
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.sent(A, "ACK"), 0);
    assert!(pair.sent(B, "SIP/2.0 200") > 1);
    let now = pair.now;
    pair.nodes[A].endpoint.ack(now, a, Some(Body::sdp(ANSWER))).unwrap();
    assert!(pair.nodes[A].endpoint.ack(now, a, None).is_err());
    pair.settle();
    let body = pair.wait(B, |node| {
        node.take(|event| if let Event::Acked { body, .. } = event { Some(body.clone()) } else { None })
    });
    assert_eq!(&*body, ANSWER);
    let now = pair.now;
    pair.nodes[A].endpoint.bye(now, a, &[]).unwrap();
    pair.finish();
}

#[test]
fn a_refused_call_says_why() {
    let mut pair = Pair::new(4);
    let a = pair.call("call-4", Transport::Udp, Some(OFFER));
    let b = pair.wait(B, Node::incoming);
    let now = pair.now;
    let endpoint = &mut pair.nodes[B].endpoint;
    endpoint.reject(now, b, 503, Some("Full House"), &[("Retry-After", "7")]).unwrap();
    pair.settle();
    let cause = failure(&mut pair, a);
    let expected = Failure::Status { status: 503, reason: "Full House".into(), retry_after: Some(7) };
    assert_eq!(cause, expected);
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.sent(A, "ACK"), 1);
    assert_eq!(pair.sent(B, "SIP/2.0 503"), 1);
    pair.finish();
}

pub(crate) fn failure(pair: &mut Pair, leg: LegId) -> Failure {
    pair.wait(A, |node| {
        node.take(|event| match event {
            Event::Failed { leg: failed, cause, .. } if *failed == leg => Some(cause.clone()),
            _ => None,
        })
    })
}

/// The n-th datagram of each kind is lost once: the call must still come up and end.
#[test]
fn each_message_lost_once_does_no_harm() {
    for victim in 0..9 {
        let mut pair = Pair::new(100 + victim);
        let mut count = 0;
        pair.fate = Box::new(move |_, _| {
            count += 1;
            if count == victim + 1 { Fate::Lost } else { Fate::Arrives }
        });
        let (a, b) = pair.established("call-5", Transport::Udp);
        let now = pair.now;
        pair.nodes[A].endpoint.bye(now, a, &[]).unwrap();
        pair.settle();
        pair.wait(A, |node| node.take(|event| matches!(event, Event::Gone { .. }).then_some(())));
        pair.wait(B, |node| {
            node.take(|event| matches!(event, Event::Gone { leg } if *leg == b).then_some(()))
        });
        pair.finish();
    }
}

#[test]
fn calls_survive_heavy_loss_doubling_and_reordering() {
    for seed in 0..60 {
        let mut pair = Pair::new(1000 + seed);
        pair.loss = 0.25;
        pair.doubling = 0.3;
        pair.jitter = Duration::from_millis(300);
        let (a, b) = pair.established("call-6", Transport::Udp);
        let now = pair.now;
        let (who, leg) = if seed % 2 == 0 { (A, a) } else { (B, b) };
        pair.nodes[who].endpoint.bye(now, leg, &[]).unwrap();
        pair.settle();
        for which in [A, B] {
            pair.wait(which, |node| node.take(|event| matches!(event, Event::Gone { .. }).then_some(())));
        }
        pair.finish();
    }
}

#[test]
fn a_2xx_that_is_never_acknowledged_ends_in_bye() {
    let mut pair = Pair::new(7);
    pair.fate = Box::new(|_, line| if line.starts_with("ACK") { Fate::Lost } else { Fate::Arrives });
    let a = pair.call("call-7", Transport::Udp, Some(OFFER));
    let b = pair.wait(B, Node::incoming);
    let now = pair.now;
    pair.nodes[B].endpoint.answer(now, b, &[], Some(Body::sdp(ANSWER))).unwrap();
    pair.settle();
    let start = pair.now;
    pair.wait(B, |node| node.take(|event| matches!(event, Event::Lost { .. }).then_some(())));
    assert!(pair.now.since(start) >= Duration::from_secs(32));
    assert_eq!(pair.sent(B, "SIP/2.0 200"), 11);
    assert_eq!(pair.sent(A, "ACK"), 11, "each 2xx is acknowledged");
    pair.wait(A, |node| {
        node.take(|event| matches!(event, Event::Bye { leg, .. } if *leg == a).then_some(()))
    });
    assert_eq!(pair.nodes[B].endpoint.stats().acks_missing, 1);
    pair.finish();
}

#[test]
fn a_bye_of_the_called_side_waits_for_the_ack() {
    let mut pair = Pair::new(8);
    pair.call("call-8", Transport::Udp, Some(OFFER));
    let b = pair.wait(B, Node::incoming);
    let now = pair.now;
    pair.nodes[B].endpoint.answer(now, b, &[], Some(Body::sdp(ANSWER))).unwrap();
    pair.nodes[B].endpoint.bye(now, b, &[("X-Why", "quick")]).unwrap();
    assert!(pair.nodes[B].endpoint.bye(now, b, &[]).is_err());
    pair.settle();
    assert_eq!(pair.sent(B, "BYE"), 0);
    pair.wait(A, |node| node.take(|event| matches!(event, Event::Bye { .. }).then_some(())));
    assert_eq!(pair.sent(B, "BYE"), 1);
    pair.finish();
}

#[test]
fn an_unanswered_incoming_call_is_refused_in_the_end() {
    let mut pair = Pair::new(9);
    let a = pair.call("call-9", Transport::Udp, Some(OFFER));
    let b = pair.wait(B, Node::incoming);
    // The caller's own limit is below the ringing time, unless told otherwise.
    assert_eq!(failure(&mut pair, a), Failure::NoAnswer);
    pair.wait(B, |node| {
        node.take(|event| matches!(event, Event::Cancelled { leg, .. } if *leg == b).then_some(()))
    });
    pair.finish();
}

#[test]
fn a_ringing_call_is_heard_of_every_minute() {
    let short = |config: &mut sip::Config| config.timers.ringing = Duration::from_secs(150);
    let mut pair = Pair::with(10, short, ["192.0.2.1:5060", "192.0.2.2:5060"]);
    let id = pair.nodes[B].address;
    let invite = format!(
        "INVITE sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP {id};branch=z9hG4bKr\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\n\
         Call-ID: r\r\nMax-Forwards: 70\r\nCSeq: 1 INVITE\r\nContact: <sip:a@{id}>\r\n\r\n"
    );
    pair.inject(B, "192.0.2.9:5060", invite.as_bytes());
    let b = pair.wait(B, Node::incoming);
    let now = pair.now;
    pair.nodes[B].endpoint.provisional(now, b, 180, &[], None).unwrap();
    pair.run(Duration::from_secs(149));
    assert_eq!(pair.sent(B, "SIP/2.0 180"), 3);
    pair.run(Duration::from_millis(1100));
    assert_eq!(pair.sent(B, "SIP/2.0 480"), 1);
    assert!(pair.nodes[B].has(|event| matches!(event, Event::Lost { why: sip::LostCause::Unanswered, .. })));
    pair.finish();
}

/// Tables fill, places are reused, lists of destinations change under way: a thousand calls at once over a bad network.
#[test]
fn a_thousand_calls_at_once() {
    let mut pair = Pair::new(11);
    pair.loss = 0.1;
    pair.jitter = Duration::from_millis(200);
    for n in 0..1000 {
        let transport = if n % 5 == 0 { Transport::Tcp } else { Transport::Udp };
        pair.call(&format!("call-{n}"), transport, Some(OFFER));
    }
    let (mut answered, mut ended) = (0, [0, 0]);
    for _ in 0..1_000_000 {
        for which in [A, B] {
            for event in core::mem::take(&mut pair.nodes[which].events) {
                let now = pair.now;
                let endpoint = &mut pair.nodes[which].endpoint;
                match event {
                    Event::Invite { leg, .. } => {
                        endpoint.answer(now, leg, &[], Some(Body::sdp(ANSWER))).unwrap()
                    }
                    Event::Answered { leg, .. } => {
                        answered += 1;
                        endpoint.bye(now, leg, &[]).unwrap();
                    }
                    Event::Gone { .. } => ended[which] += 1,
                    Event::Failed { cause, .. } => panic!("{cause:?}"),
                    _ => {}
                }
            }
        }
        if !pair.step(sansio::Time::NEVER) {
            break;
        }
    }
    assert_eq!((answered, ended), (1000, [1000, 1000]));
    pair.finish();
}

/// RFC 3261 §22.2: the challenge is answered with the same Call-ID and From, CSeq one higher; §22.3: wrong credentials once.
#[test]
fn a_challenged_call_shows_its_credentials_once() {
    for (seed, password, transport) in
        [(70, "secret", Transport::Udp), (71, "secret", Transport::Tcp), (72, "guess", Transport::Udp)]
    {
        let mut pair = Pair::new(seed);
        let mut authority = Authority::new(&[3; 32], Duration::from_secs(60), 10);
        let offered = [Algorithm::SHA_256, Algorithm::MD5];
        let a = pair.call("call-70", transport, Some(OFFER));
        let account = Account { username: "alice".into(), password: password.into() };
        pair.nodes[A].endpoint.authenticate_as(a, account.into()).unwrap();
        let mut asked = 0;
        loop {
            let (b, request) = pair.wait(B, |node| {
                node.take(|event| match event {
                    Event::Invite { leg, request, .. } => Some((*leg, request.clone())),
                    _ => None,
                })
            });
            let message = request.parse().unwrap();
            asked += 1;
            assert_eq!(message.cseq().unwrap().number, asked);
            assert_eq!(request.body(), OFFER);
            let shown = message.header(sip::message::Name::Authorization).and_then(Authorization::parse);
            let verdict = shown.map(|shown| {
                let (method, realm, password) = (&b"INVITE"[..], &b"r"[..], Some(&b"secret"[..]));
                let presented = Presented { shown: &shown, method, realm, offered: &offered, password };
                authority.judge(1, &presented)
            });
            let now = pair.now;
            let endpoint = &mut pair.nodes[B].endpoint;
            if verdict == Some(Verdict::Right) {
                endpoint.answer(now, b, &[], Some(Body::sdp(b"answer"))).unwrap();
                break;
            }
            let challenges = authority.challenges(1, b"r", &offered, false, || u64::from(asked));
            let headers: Vec<(&str, &str)> =
                challenges.iter().map(|it| ("WWW-Authenticate", it.as_str())).collect();
            endpoint.reject(now, b, 401, None, &headers).unwrap();
            pair.settle();
            if asked == 2 {
                break;
            }
        }
        assert_eq!((asked, pair.nodes[A].endpoint.stats().challenges_answered), (2, 1));
        if password == "secret" {
            pair.wait(A, |node| {
                node.take(|event| matches!(event, Event::Answered { leg, .. } if *leg == a).then_some(()))
            });
            let now = pair.now;
            pair.nodes[A].endpoint.bye(now, a, &[]).unwrap();
        } else {
            pair.wait(A, |node| {
                node.take(|event| match event {
                    Event::Failed { cause: Failure::Status { status: 401, .. }, .. } => Some(()),
                    _ => None,
                })
            });
        }
        pair.finish();
    }
}
