//! How messages travel: TCP, IPv6, refusals of the network, routes, where responses go.

use crate::calls::failure;
use crate::harness::*;
use core::time::Duration;
use sansio::{Action, Outbox, Random, SocketId, StreamEnd, StreamEvent, StreamId, Time};
use sip::message::{Message, Method, Name};
use sip::{
    Body, Config, Destination, Endpoint, Event, Failure, Invite, Link, Request, Shards, StartError, Transport,
};

/// The message that `inject` made a node send next that begins so.
fn reply(pair: &mut Pair, source: &str, request: &str, line: &str) -> String {
    pair.messages.clear();
    pair.inject(B, source, request.replace('\n', "\r\n").as_bytes());
    String::from_utf8(pair.message(B, line)).unwrap()
}

fn options(via: &str) -> String {
    format!(
        "OPTIONS sip:b@192.0.2.2 SIP/2.0\nVia: {via}\nMax-Forwards: 70\nFrom: <sip:a@h>;tag=1\nTo: <sip:b@h>\n\
         Call-ID: {via}\nCSeq: 1 OPTIONS\n\n"
    )
    .replace("Call-ID: SIP/2.0/UDP ", "Call-ID: ")
}

#[test]
fn a_call_over_tcp_uses_one_connection_both_ways() {
    let mut pair = Pair::new(1);
    let (a, b) = pair.established("c", Transport::Tcp);
    let link = pair.nodes[B].endpoint.leg(b).unwrap().flow.link;
    assert!(matches!(link, Link::Stream(stream) if stream.is_accepted()));
    let invite = String::from_utf8(pair.message(A, "INVITE")).unwrap();
    assert!(invite.contains("SIP/2.0/TCP 192.0.2.1:5060;") && invite.contains(";transport=tcp>"), "{invite}");
    let now = pair.now;
    pair.nodes[B].endpoint.bye(now, b, &[]).unwrap();
    pair.expect(A, |event| matches!(event, Event::Bye { leg, .. } if *leg == a));
    // A second call takes the same connection.
    pair.established("d", Transport::Tcp);
    assert_eq!(pair.nodes[A].endpoint.stats().connections_opened, 1);
    assert_eq!(pair.nodes[B].endpoint.stats().connections_accepted, 1);
    // Legs keep it open, however idle they are.
    pair.run(Duration::from_secs(3600));
    assert_eq!(pair.nodes[A].endpoint.census().connections, 1);
    let legs = pair.nodes[A].legs_seen();
    let now = pair.now;
    pair.nodes[A].endpoint.bye(now, legs[0], &[]).unwrap();
    pair.finish();
    let idle = |which: usize| pair.nodes[which].endpoint.stats().connections_idle_closed;
    assert!(idle(A) + idle(B) >= 1);
    assert_eq!(pair.nodes[A].endpoint.stats().retransmissions_sent, 0);
}

#[test]
fn a_refused_or_silent_connection_fails_the_call() {
    let mut pair = Pair::new(2);
    pair.refusing = true;
    let a = pair.call("c", Transport::Tcp, Some(OFFER));
    assert_eq!(failure(&mut pair, a), Failure::ConnectFailed);
    assert_eq!(pair.nodes[A].endpoint.stats().connections_failed, 1);
    pair.finish();
}

#[test]
fn a_broken_connection_fails_what_waits_and_the_next_opens_anew() {
    let mut pair = Pair::new(3);
    let (a, b) = pair.established("c", Transport::Tcp);
    let waiting = pair.call("d", Transport::Tcp, Some(OFFER));
    pair.wait(B, Node::incoming);
    pair.sever_all();
    assert_eq!(failure(&mut pair, waiting), Failure::Refused);
    pair.run(Duration::from_millis(100));
    // The standing call survives: its BYE opens a new connection.
    let now = pair.now;
    pair.nodes[B].endpoint.bye(now, b, &[]).unwrap();
    pair.expect(A, |event| matches!(event, Event::Bye { leg, .. } if *leg == a));
    assert_eq!(pair.nodes[B].endpoint.stats().connections_opened, 1);
    pair.run(Duration::from_secs(400));
    pair.finish();
}

#[test]
fn an_answer_finds_its_way_when_the_connection_broke() {
    let mut pair = Pair::new(4);
    pair.call("c", Transport::Tcp, Some(OFFER));
    let b = pair.wait(B, Node::incoming);
    pair.sever_all();
    pair.run(Duration::from_secs(1));
    let now = pair.now;
    pair.nodes[B].endpoint.answer(now, b, &[], Some(Body::sdp(ANSWER))).unwrap();
    pair.run(Duration::from_secs(1));
    // RFC 3261 §18.2.2: to the address of the sender and the port of sent-by.
    assert_eq!(pair.nodes[B].endpoint.stats().connections_opened, 1);
    pair.run(Duration::from_secs(400));
    pair.finish();
}

#[test]
fn garbage_closes_a_connection() {
    let mut pair = Pair::new(5);
    let (_, b) = pair.established("c", Transport::Tcp);
    let Link::Stream(stream) = pair.nodes[B].endpoint.leg(b).unwrap().flow.link else { unreachable!() };
    let now = pair.now;
    let garbage = StreamEvent::Data(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    pair.nodes[B].endpoint.handle_stream(now, stream, garbage);
    pair.settle();
    assert_eq!(pair.nodes[B].endpoint.stats().connections_garbage_closed, 1);
    assert!(!pair.nodes[B].endpoint.owns_stream(stream));
    let now = pair.now;
    pair.nodes[B].endpoint.bye(now, b, &[]).unwrap();
    pair.finish();
}

#[test]
fn connections_are_bounded() {
    let mut pair =
        Pair::with(6, |config| config.limits.connections = 2, ["192.0.2.1:5060", "192.0.2.2:5060"]);
    let local = pair.nodes[B].address;
    for n in 0..3 {
        let event = StreamEvent::Accepted {
            listener: TCP,
            local,
            remote: format!("192.0.2.9:{}", 1000 + n).parse().unwrap(),
        };
        pair.nodes[B].endpoint.handle_stream(pair.now, StreamId(StreamId::ACCEPTED + n), event);
    }
    assert_eq!(pair.nodes[B].endpoint.census().connections, 2);
    assert_eq!(pair.nodes[B].endpoint.stats().connections_full, 1);
    pair.finish();
}

#[test]
fn a_call_over_ipv6() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let mut pair = Pair::with(7, |_| {}, ["[2001:db8::1]:5060", "[2001:db8::2]:5062"]);
        let (a, _) = pair.established("c", transport);
        let invite = String::from_utf8(pair.message(A, "INVITE")).unwrap();
        assert!(invite.contains(" [2001:db8::1]:5060;rport;branch="), "{invite}");
        let now = pair.now;
        pair.nodes[A].endpoint.bye(now, a, &[]).unwrap();
        pair.finish();
    }
}

#[test]
fn an_icmp_refusal_fails_the_call_at_once() {
    let mut pair = Pair::new(8);
    pair.fate = Box::new(|_, _| Fate::Lost);
    let a = pair.call("c", Transport::Udp, Some(OFFER));
    let b = pair.nodes[B].address;
    let now = pair.now;
    pair.nodes[A].endpoint.handle_unreachable(now, UDP, "192.0.2.99:5060".parse().unwrap());
    assert!(pair.nodes[A].endpoint.leg(a).is_some());
    pair.nodes[A].endpoint.handle_unreachable(now, UDP, b);
    assert_eq!(failure(&mut pair, a), Failure::Refused);
    pair.finish();
}

#[test]
fn requests_go_both_ways_and_time_out() {
    let mut pair = Pair::new(9);
    let remote = pair.nodes[B].address;
    let probe = Request {
        method: "OPTIONS",
        call_id: "probe",
        request_uri: "sip:192.0.2.2",
        from: "<sip:a@h>",
        to: "<sip:192.0.2.2>",
        tag: "",
        cseq: 1,
        max_forwards: 70,
        destination: Destination { transport: Transport::Udp, remote, socket: UDP, over: None },
        headers: &[],
        body: None,
        timeout: Duration::from_secs(2),
    };
    for draining in [false, true] {
        let now = pair.now;
        let id = pair.nodes[A].endpoint.request(now, &probe).unwrap();
        pair.settle();
        let event = pair.expect(B, |event| matches!(event, Event::Request { .. }));
        let Event::Request { id: request, method, leg, .. } = event else { unreachable!() };
        assert_eq!((method, leg), (Method::Options, None));
        let now = pair.now;
        pair.nodes[B].endpoint.respond_options(now, request, draining).unwrap();
        assert!(pair.nodes[B].endpoint.respond(now, request, 200, &[], None).is_err(), "once only");
        let expected = if draining { 503 } else { 200 };
        pair.expect(A, |event| {
            matches!(event, Event::Response { id: found, status, .. } if (*found, *status) == (id, expected))
        });
    }
    let reply = String::from_utf8(pair.message(B, "SIP/2.0 200")).unwrap();
    assert!(reply.contains("Allow: INVITE, ACK, BYE, CANCEL, OPTIONS\r\n"), "{reply}");
    pair.fate = Box::new(|_, _| Fate::Lost);
    let start = pair.now;
    let id = pair.nodes[A].endpoint.request(start, &probe).unwrap();
    pair.expect(A, |event| {
        matches!(event, Event::RequestFailed { id: found, cause: Failure::NoResponse } if *found == id)
    });
    assert!(pair.now.since(start) < Duration::from_millis(2010));
    pair.finish();
}

#[test]
fn requests_inside_a_dialog() {
    let methods = |config: &mut Config| config.methods = vec![Method::Options, Method::Info];
    let mut pair = Pair::with(10, methods, ["192.0.2.1:5060", "192.0.2.2:5060"]);
    let (a, b) = pair.established("c", Transport::Udp);
    let now = pair.now;
    let body = Body { content_type: "application/dtmf-relay", bytes: b"Signal=1" };
    let id = pair.nodes[A].endpoint.request_inside(now, a, Method::Info, &[], Some(body)).unwrap();
    let event = pair.expect(B, |event| matches!(event, Event::Request { .. }));
    let Event::Request { id: request, leg, message, .. } = event else { unreachable!() };
    assert_eq!((leg, message.body()), (Some(b), &b"Signal=1"[..]));
    let now = pair.now;
    pair.nodes[B].endpoint.respond(now, request, 200, &[], None).unwrap();
    pair.expect(A, |event| matches!(event, Event::Response { id: found, .. } if *found == id));
    // One that is not wanted is refused.
    let now = pair.now;
    pair.nodes[A].endpoint.request_inside(now, a, Method::Refer, &[], None).unwrap();
    pair.expect(A, |event| matches!(event, Event::Response { status: 405, .. }));
    let now = pair.now;
    pair.nodes[A].endpoint.bye(now, a, &[]).unwrap();
    pair.finish();
}

#[test]
fn a_dialog_follows_record_route_and_contact() {
    let mut pair = Pair::new(11);
    let proxy = "192.0.2.50:5070";
    let invite = "INVITE sip:bob@192.0.2.2 SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.50:5070;branch=z9hG4bKp\nVia: SIP/2.0/UDP 192.0.2.77;branch=z9hG4bKu\n\
        Record-Route: <sip:192.0.2.50:5070;lr>, <sip:192.0.2.51;lr>\nMax-Forwards: 69\nFrom: <sip:a@h>;tag=77\nTo: <sip:b@h>\n\
        Call-ID: routed\nCSeq: 9 INVITE\nContact: <sip:alice@192.0.2.77:5099>\nContent-Type: application/sdp\nContent-Length: 3\n\nv=0";
    pair.inject(B, proxy, invite.replace('\n', "\r\n").as_bytes());
    let b = pair.wait(B, Node::incoming);
    let now = pair.now;
    pair.nodes[B].endpoint.answer(now, b, &[], Some(Body::sdp(ANSWER))).unwrap();
    pair.settle();
    let answer = pair.message(B, "SIP/2.0 200");
    let answer = Message::parse(&answer).unwrap();
    assert_eq!(answer.values(Name::Via).count(), 2);
    let routes: Vec<_> = answer.values(Name::RecordRoute).collect();
    assert_eq!(routes, [&b"<sip:192.0.2.50:5070;lr>"[..], b"<sip:192.0.2.51;lr>"]);
    let to = String::from_utf8(answer.header(Name::To).unwrap().to_vec()).unwrap();
    let ack = format!(
        "ACK sip:bob@192.0.2.2 SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.50:5070;branch=z9hG4bKq\nMax-Forwards: 69\n\
         From: <sip:a@h>;tag=77\nTo: {to}\nCall-ID: routed\nCSeq: 9 ACK\n\n"
    );
    pair.inject(B, proxy, ack.replace('\n', "\r\n").as_bytes());
    pair.expect(B, |event| matches!(event, Event::Acked { .. }));
    let now = pair.now;
    pair.nodes[B].endpoint.bye(now, b, &[]).unwrap();
    pair.run(Duration::from_millis(100));
    let (to, bye) = pair.astray.last().unwrap().clone();
    assert_eq!(to, proxy.parse().unwrap());
    let bye = Message::parse(&bye).unwrap();
    assert_eq!(bye.request_uri(), b"sip:alice@192.0.2.77:5099");
    assert_eq!(bye.header(Name::Route), Some(&b"<sip:192.0.2.50:5070;lr>, <sip:192.0.2.51;lr>"[..]));
    assert_eq!(bye.header(Name::To), Some(&b"<sip:a@h>;tag=77"[..]));
    pair.finish();
}

#[test]
fn responses_go_where_the_via_says() {
    let mut pair = Pair::with(12, |config| config.methods.clear(), ["192.0.2.1:5060", "192.0.2.2:5060"]);
    let source = "192.0.2.9:40000";
    for (via, expected) in [
        ("SIP/2.0/UDP 10.0.0.1:5070;branch=z9hG4bK1", "192.0.2.9:5070"),
        ("SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK2", "192.0.2.9:5060"),
        ("SIP/2.0/UDP 10.0.0.1:5070;rport;branch=z9hG4bK3", source),
        ("SIP/2.0/UDP 10.0.0.1:5070;maddr=192.0.2.77;branch=z9hG4bK4", "192.0.2.77:5070"),
    ] {
        let text = reply(&mut pair, source, &options(via), "SIP/2.0 405");
        assert!(text.contains(";received=192.0.2.9"), "{text}");
        assert_eq!(text.contains(";rport=40000"), via.contains("rport"), "{text}");
        pair.run(Duration::from_millis(50));
        assert_eq!(pair.astray.last().unwrap().0, expected.parse().unwrap(), "{via}");
    }
    pair.finish();
}

#[test]
fn what_cannot_be_sent_is_refused() {
    let mut pair = Pair::new(13);
    let now = pair.now;
    let good = Invite {
        call_id: "c",
        request_uri: "sip:b@192.0.2.2",
        from: "<sip:a@h>",
        to: "<sip:b@h>",
        destination: Destination {
            transport: Transport::Udp,
            remote: pair.nodes[B].address,
            socket: UDP,
            over: None,
        },
        contact_user: "",
        headers: &[],
        body: None,
        max_forwards: 70,
        no_response: Duration::from_secs(1),
        no_answer: Duration::from_secs(1),
    };
    let endpoint = &mut pair.nodes[A].endpoint;
    for bad in [
        Invite { call_id: "", ..good },
        Invite { from: "<sip:a@h>\r\nX: y", ..good },
        Invite { request_uri: "sip:a b", ..good },
        Invite { contact_user: "\n", ..good },
        Invite { headers: &[("X", "a\r\nb")], ..good },
        Invite { headers: &[("X Y", "a")], ..good },
        Invite { body: Some(Body { content_type: "a\r\n", bytes: b"" }), ..good },
    ] {
        assert_eq!(endpoint.invite(now, &bad), Err(StartError::BadText), "{bad:?}");
    }
    let nowhere = Destination { socket: SocketId(9), ..good.destination };
    assert_eq!(endpoint.invite(now, &Invite { destination: nowhere, ..good }), Err(StartError::NoSocket));
    let v6 = Destination { remote: "[2001:db8::1]:5060".parse().unwrap(), ..good.destination };
    assert_eq!(endpoint.invite(now, &Invite { destination: v6, ..good }), Err(StartError::NoSocket));
    let v6 = Destination { transport: Transport::Tcp, ..v6 };
    assert_eq!(endpoint.invite(now, &Invite { destination: v6, ..good }), Err(StartError::NoSocket));
    assert!(endpoint.is_idle(), "{:?}", endpoint.census());
}

/// Two endpoints share an address; a call arrives over a connection of the one and belongs to the other.
#[test]
fn a_call_over_the_connection_of_another_shard() {
    let local = "192.0.2.1:5060".parse().unwrap();
    let remote = "192.0.2.9:40000".parse().unwrap();
    let mut now = Time::ZERO;
    let mut shards = [0, 1].map(|me| {
        let config = Config { shards: Shards { count: 2, me }, ..Config::default() };
        let mut endpoint = Endpoint::new(config, Random::new(me.into()), now);
        endpoint.add_tcp_listener(TCP, local);
        endpoint
    });
    let call_id = Shards { count: 2, me: 1 }.draw_call_id(&mut Random::new(1));
    let invite = format!(
        "INVITE sip:b@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.9;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\n\
         To: <sip:b@h>\r\nCall-ID: {call_id}\r\nMax-Forwards: 70\r\nCSeq: 1 INVITE\r\nContact: <sip:a@192.0.2.9>\r\n\
         Content-Length: 0\r\n\r\n"
    );
    let stream = StreamId(StreamId::ACCEPTED);
    let mut out = Outbox::<()>::new(8, 1);
    shards[0].handle_stream(now, stream, StreamEvent::Accepted { listener: TCP, local, remote });
    shards[0].handle_stream(now, stream, StreamEvent::Data(invite.as_bytes()));
    let Some(Event::Foreign { owner: 1, stream: lent, transport, local, remote, bytes }) =
        shards[0].poll_event()
    else {
        panic!("not handed over");
    };
    shards[1].handle_foreign(now, 0, lent, transport, local, remote, &bytes);
    let Some(Event::Invite { leg, flow, .. }) = shards[1].poll_event() else { panic!("no call") };
    assert_eq!(flow.remote, remote);
    shards[1].reject(now, leg, 404, None, &[]).unwrap();
    let mut replies = Vec::new();
    shards[1].flush_with(&mut out, |holder, stream, remote, bytes, _| {
        replies.push((holder, stream, remote, bytes.to_vec()))
    });
    assert!(out.is_empty());
    assert_eq!(replies.len(), 2, "100 and 404");
    for (holder, stream, remote, bytes) in replies {
        assert_eq!(holder, 0);
        shards[0].write_for(stream, remote, &bytes);
    }
    shards[0].flush(&mut out);
    let mut written = Vec::new();
    while let Some(action) = out.next_action() {
        let Action::Write(to, bytes) = action else { panic!("{action:?}") };
        assert_eq!(to, stream);
        written.extend(bytes);
    }
    assert!(String::from_utf8(written).unwrap().contains("SIP/2.0 404 "));
    shards[0].handle_stream(now, stream, StreamEvent::Closed(StreamEnd::Peer));
    let Some(Event::ForeignClosed { stream }) = shards[0].poll_event() else { panic!("not told") };
    shards[1].handle_foreign_closed(now, 0, stream);
    for endpoint in &mut shards {
        while let Some(deadline) = endpoint.deadline() {
            now = now.max(deadline);
            endpoint.handle_timeout(now);
        }
        while endpoint.poll_event().is_some() {}
        endpoint.flush(&mut out);
        assert!(endpoint.is_idle(), "{:?}", endpoint.census());
    }
}
