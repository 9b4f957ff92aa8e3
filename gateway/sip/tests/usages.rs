//! Dialogs without a call (RFC 6665 §4.4.1) between two endpoints by hand: who speaks with whom is settled by 2xx and NOTIFY in
//! either order, and nothing is left when they are closed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use core::net::SocketAddr;
use core::time::Duration;
use sansio::{Outbox, Random, SocketId, Time};
use sip::message::{Message, Method};
use sip::{Config, Destination, Endpoint, Event, Request, Transport, UsageId};

const UDP: SocketId = SocketId(0);

struct Lone {
    endpoint: Endpoint,
    now: Time,
    peer: SocketAddr,
}

impl Lone {
    fn new() -> Self {
        let config = Config { methods: vec![Method::Subscribe, Method::Notify], ..Config::default() };
        let mut endpoint = Endpoint::new(config, Random::new(1), Time::ZERO);
        endpoint.add_udp(UDP, "192.0.2.1:5060".parse().unwrap());
        Self { endpoint, now: Time::ZERO, peer: "192.0.2.9:5060".parse().unwrap() }
    }

    fn subscribe(&mut self) -> (UsageId, String) {
        let request = Request {
            method: "SUBSCRIBE",
            call_id: "c",
            request_uri: "sip:b@192.0.2.9",
            from: "<sip:a@h>",
            to: "<sip:b@h>",
            tag: "",
            cseq: 1,
            max_forwards: 70,
            destination: Destination {
                transport: Transport::Udp,
                remote: self.peer,
                socket: UDP,
                over: None,
            },
            headers: &[("Event", "x")],
            body: None,
            timeout: Duration::from_secs(32),
        };
        let (usage, _) = self.endpoint.usage_open(self.now, &request).unwrap();
        (usage, self.sent().remove(0))
    }

    fn sent(&mut self) -> Vec<String> {
        let mut out: Outbox<()> = Outbox::new(64, 4);
        self.endpoint.flush(&mut out);
        let mut all = Vec::new();
        while let Some(send) = out.next_send() {
            all.push(String::from_utf8(out.pool().bytes(&send.packet).to_vec()).unwrap());
            out.pool().release(send.packet);
        }
        all
    }

    fn take(&mut self, text: &str) -> Option<Event> {
        self.endpoint.handle_datagram(self.now, UDP, self.peer, text.as_bytes());
        self.endpoint.poll_event()
    }

    fn renew(&mut self, usage: UsageId) -> String {
        let patience = Duration::from_secs(32);
        let headers = [("Event", "x")];
        self.endpoint
            .usage_request(self.now, usage, Method::Subscribe, 70, &headers, None, patience)
            .unwrap();
        self.sent().remove(0)
    }
}

fn field(text: &str, name: &str) -> String {
    let message = Message::parse(text.as_bytes()).unwrap();
    message.header_by_name(name).map(|value| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
}

fn answer(subscribe: &str, tag: &str, more: &str) -> String {
    let line = |name: &str| format!("{name}: {}\r\n", field(subscribe, name));
    format!(
        "SIP/2.0 200 OK\r\n{}{}To: <sip:b@h>;tag={tag}\r\n{}{}{more}Contact: <sip:b@192.0.2.9:5070>\r\nContent-Length: 0\r\n\r\n",
        line("Via"),
        line("From"),
        line("Call-ID"),
        line("CSeq")
    )
}

fn notify(subscribe: &str, tag: &str, cseq: u32, more: &str) -> String {
    format!(
        "NOTIFY sip:a@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK{tag}{cseq}\r\nMax-Forwards: 70\r\n\
         From: <sip:b@h>;tag={tag}\r\nTo: {}\r\nCall-ID: c\r\nCSeq: {cseq} NOTIFY\r\n{more}Contact: <sip:b@192.0.2.9:5071>\r\n\
         Event: x\r\nSubscription-State: active\r\nContent-Length: 0\r\n\r\n",
        field(subscribe, "From")
    )
}

const ROUTE: &str = "Record-Route: <sip:192.0.2.77;lr>\r\n";

#[test]
fn the_first_notify_settles_with_whom_and_the_route_is_kept_whichever_says_it() {
    // Where the route stands: in the 2xx, in the NOTIFY; and which comes first.
    for (in_answer, in_notify, notify_first) in [
        (ROUTE, "", false),
        (ROUTE, "", true),
        ("", ROUTE, true),
        (ROUTE, ROUTE, false),
        (ROUTE, ROUTE, true),
    ] {
        let mut lone = Lone::new();
        let (usage, subscribe) = lone.subscribe();
        let (answer, notify) = (answer(&subscribe, "b1", in_answer), notify(&subscribe, "b1", 7, in_notify));
        let (first, second) = if notify_first { (&notify, &answer) } else { (&answer, &notify) };
        assert!(lone.take(first).is_some() && lone.take(second).is_some());
        let again = lone.renew(usage);
        assert_eq!(field(&again, "Route"), "<sip:192.0.2.77;lr>", "{notify_first} {again}");
        assert!(
            field(&again, "To").ends_with(";tag=b1") && field(&again, "CSeq") == "2 SUBSCRIBE",
            "{again}"
        );
    }
}

#[test]
fn a_notify_of_another_fork_than_the_answers_is_the_one_that_counts() {
    let mut lone = Lone::new();
    let (usage, subscribe) = lone.subscribe();
    assert!(lone.take(&answer(&subscribe, "b1", ROUTE)).is_some());
    assert!(matches!(
        lone.take(&notify(&subscribe, "b2", 1, "")),
        Some(Event::InUsage { begins: false, .. })
    ));
    let again = lone.renew(usage);
    assert!(field(&again, "To").ends_with(";tag=b2") && field(&again, "Route").is_empty(), "{again}");
    assert!(again.starts_with("SUBSCRIBE sip:b@192.0.2.9:5071 "), "{again}");
    // The other fork comes too late, and an old number is out of order (RFC 3261 §12.2.2).
    for (text, status) in [(notify(&subscribe, "b1", 1, ""), "481"), (notify(&subscribe, "b2", 0, ""), "500")]
    {
        assert!(lone.take(&text).is_none());
        let refusal = lone.sent().remove(0);
        assert!(refusal.starts_with(&format!("SIP/2.0 {status} ")), "{refusal}");
    }
}

#[test]
fn usages_are_bounded_and_closed_ones_leave_nothing() {
    let mut lone = Lone::new();
    let (usage, subscribe) = lone.subscribe();
    assert_eq!(lone.endpoint.census().usages, 1);
    lone.endpoint.usage_close(usage);
    lone.endpoint.usage_close(usage);
    assert!(lone.take(&answer(&subscribe, "b1", "")).is_some(), "the owner hears of it all the same");
    assert!(lone.take(&notify(&subscribe, "b1", 1, "")).is_none());
    while let Some(at) = lone.endpoint.deadline() {
        lone.endpoint.handle_timeout(at);
    }
    lone.sent();
    assert!(lone.endpoint.is_idle(), "{:?}", lone.endpoint.census());

    let mut config = Config { methods: vec![Method::Subscribe], ..Config::default() };
    config.limits.usages = 1;
    lone.endpoint = Endpoint::new(config, Random::new(1), Time::ZERO);
    lone.endpoint.add_udp(UDP, "192.0.2.1:5060".parse().unwrap());
    for (number, refused) in [(1, false), (2, true)] {
        let text = format!(
            "SUBSCRIBE sip:a@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK{number}\r\nMax-Forwards: 70\r\n\
             From: <sip:b@h>;tag={number}\r\nTo: <sip:a@h>\r\nCall-ID: {number}\r\nCSeq: 1 SUBSCRIBE\r\nEvent: x\r\n\
             Contact: <sip:b@192.0.2.9>\r\nContent-Length: 0\r\n\r\n"
        );
        assert_eq!(lone.take(&text).is_none(), refused);
        assert_eq!(lone.sent().iter().any(|text| text.starts_with("SIP/2.0 503 ")), refused);
    }
    assert_eq!(lone.endpoint.stats().usages_full, 1);
}
