//! A shard that does not keep up: what belongs to calls is served at once, new calls stand back, the oldest get 503 without state.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use link::{RoutingSnapshot, UnixMicros};
use sansio::{Datagram, Input, Machine, Outbox, SocketId, Time};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use switch::trunk::{TrunkConfig, TrunkTable};
use switch::{Config, Listener, Mail, RtpPorts, Shard, Shards, Start};

struct Stand {
    shard: Shard,
    out: Outbox<Mail>,
    now: Time,
    number: u32,
}

const CALLER: &str = "192.0.2.1:5060";
const GATEWAY: &str = "192.0.2.100:5060";

impl Stand {
    fn new(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config { allow: vec!["192.0.2.0/24".parse().unwrap()], ..Config::default() };
        change(&mut config);
        let place: SocketAddr = GATEWAY.parse().unwrap();
        let trunks = vec![TrunkConfig::new("carrier", "198.51.100.1:5060".parse().unwrap())];
        let routing = RoutingSnapshot {
            version: 1,
            groups: vec![link::TrunkGroup {
                name: "carrier".into(),
                selection: link::Selection::Ordered,
                trunks: vec!["carrier".into()],
            }],
            routes: vec![link::RouteEntry {
                prefix: String::new(),
                groups: vec!["carrier".into()],
                strip: 0,
                prepend: String::new(),
                ask: false,
            }],
        };
        let start = Start {
            config,
            shards: Shards::ALONE,
            listeners: vec![Listener { udp: SocketId(0), tcp: SocketId(1), local: place, advertised: place }],
            streams: Vec::new(),
            tls: false,
            registrar: Arc::new(switch::registrar::Registrar::new(&[0; 32])),
            rtp_ports: RtpPorts { low: 20_000, high: 20_099 },
            table: Arc::new(TrunkTable::new(trunks, vec![], None).unwrap()),
            routing: Arc::new(routing),
            wall_at_zero: UnixMicros(0),
            seed: 1,
            secrets: switch::Secrets::new([1; 32]),
        };
        let now = Time::from_millis(1000);
        let mut stand = Self { shard: Shard::new(now, start), out: Outbox::new(256, 8), now, number: 0 };
        stand.shard.handle(now, Input::Timeout, &mut stand.out);
        stand.sent();
        stand
    }

    /// What the shard sent since the last time; sockets it asked for are open.
    fn sent(&mut self) -> Vec<String> {
        while let Some(action) = self.out.next_action() {
            if let sansio::Action::Open { socket, local, .. } = action {
                let event = Input::Socket(socket, sansio::SocketEvent::Opened(local));
                self.shard.handle(self.now, event, &mut self.out);
            }
        }
        let mut sent = Vec::new();
        while let Some(send) = self.out.next_send() {
            sent.push(String::from_utf8_lossy(self.out.pool().bytes(&send.packet)).into_owned());
            self.out.pool().release(send.packet);
        }
        sent
    }

    /// A request that waited so long, and what is sent because of it.
    fn request(&mut self, method: &str, waited: Duration) -> Vec<String> {
        self.number += 1;
        let number = self.number;
        let tag = if method == "BYE" { ";tag=none" } else { "" };
        let text = format!(
            "{method} sip:1@{GATEWAY} SIP/2.0\r\nVia: SIP/2.0/UDP {CALLER};branch=z9hG4bK{number}\r\nMax-Forwards: 70\r\n\
             From: <sip:a@{CALLER}>;tag=f{number}\r\nTo: <sip:1@{GATEWAY}>{tag}\r\nCall-ID: c{number}\r\nCSeq: 1 {method}\r\n\
             Contact: <sip:a@{CALLER}>\r\nContent-Length: 0\r\n\r\n"
        );
        let datagram = Datagram {
            socket: SocketId(0),
            source: CALLER.parse().unwrap(),
            received: self.now - waited,
            payload: text.as_bytes(),
        };
        self.shard.handle(self.now, Input::Datagram(datagram), &mut self.out);
        self.sent()
    }

    /// What is sent in the turns of those that stand back, so much later.
    fn turns(&mut self, later: Duration) -> Vec<String> {
        self.now += later;
        self.shard.handle(self.now, Input::Timeout, &mut self.out);
        self.sent()
    }
}

const LATE: Duration = Duration::from_millis(150);

fn starts(sent: &[String]) -> Vec<&str> {
    sent.iter().map(|text| text.split_at(11).0).collect()
}

/// The Call-IDs of what was sent with this status.
fn calls<'a>(sent: &'a [String], status: &str) -> Vec<&'a str> {
    let call = |text: &'a String| text.split("Call-ID: ").nth(1)?.split("\r\n").next();
    sent.iter().filter(|text| text.starts_with(status)).filter_map(call).collect()
}

#[test]
fn new_calls_stand_back_while_there_is_a_queue_and_nothing_else_does() {
    let mut stand = Stand::new(|_| {});
    let before = stand.shard.census().sip;
    for _ in 0..20 {
        assert!(stand.request("INVITE", LATE).is_empty());
    }
    assert_eq!(stand.shard.census().standing_back, 20);
    assert_eq!(stand.shard.census().sip.legs, before.legs, "nothing is known of them");
    assert_eq!(starts(&stand.request("BYE", LATE)), ["SIP/2.0 481"], "what is in a dialog is served");
    assert_eq!(starts(&stand.request("OPTIONS", LATE)), ["SIP/2.0 200"], "nobody was refused yet");
    // More that waited is left in the socket: one call has its turn, the newest.
    assert_eq!(calls(&stand.turns(Duration::ZERO), "SIP/2.0 100"), ["c20"]);
    // Nothing came since: there is time for more of them.
    let sent = stand.turns(Duration::from_millis(1));
    assert_eq!(calls(&sent, "SIP/2.0 100"), ["c19", "c18", "c17", "c16", "c15", "c14", "c13", "c12"]);
    for _ in 0..2 {
        assert!(calls(&stand.turns(Duration::from_millis(1)), "SIP/2.0 503").is_empty());
    }
    assert_eq!(stand.shard.census().standing_back, 0, "a burst is taken, every call of it");
    assert_eq!(stand.shard.stats().overload_stood_back, 20);
    assert_eq!(stand.shard.stats().overload_queue_refused, 0);
}

#[test]
fn who_stood_back_too_long_is_refused_without_state() {
    let mut stand = Stand::new(|_| {});
    for _ in 0..40 {
        stand.request("INVITE", LATE);
    }
    let before = stand.shard.census().sip;
    // The last moment, with more left in the socket.
    stand.request("BYE", LATE);
    let transactions = stand.shard.census().sip.transactions;
    let sent = stand.turns(Duration::from_millis(200));
    assert_eq!(calls(&sent, "SIP/2.0 503").len(), 40);
    let refused = sent.iter().find(|text| text.starts_with("SIP/2.0 503")).unwrap();
    assert!(refused.contains("\r\nRetry-After: 5\r\n"), "{refused}");
    let after = stand.shard.census().sip;
    assert_eq!((after.legs, after.transactions), (before.legs, transactions), "nothing was kept");
    assert_eq!(starts(&stand.request("OPTIONS", Duration::ZERO)), ["SIP/2.0 503"]);
    assert_eq!(stand.shard.stats().overload_queue_refused, 41);
    assert_eq!(
        starts(&stand.request("INVITE", Duration::ZERO))[0],
        "SIP/2.0 100",
        "there is no queue any more"
    );
    stand.now += Duration::from_millis(300);
    assert_eq!(starts(&stand.request("OPTIONS", Duration::ZERO)), ["SIP/2.0 200"]);
}

#[test]
fn a_cancel_does_not_come_before_its_call() {
    let mut stand = Stand::new(|_| {});
    stand.request("INVITE", LATE);
    stand.number -= 1;
    let sent = stand.request("CANCEL", LATE);
    assert_eq!(starts(&sent)[0], "SIP/2.0 100");
    assert!(calls(&sent, "SIP/2.0 200").len() == 1 && calls(&sent, "SIP/2.0 487").len() == 1, "{sent:?}");
    assert_eq!(stand.shard.census().standing_back, 0);
}

#[test]
fn options_may_be_answered_all_the_same_and_the_target_switched_off() {
    let mut stand = Stand::new(|config| config.overload.refuse_options = false);
    stand.request("INVITE", LATE);
    assert_eq!(starts(&stand.turns(Duration::from_millis(200))), ["SIP/2.0 503"]);
    assert_eq!(starts(&stand.request("OPTIONS", LATE)), ["SIP/2.0 200"]);
    let mut stand = Stand::new(|config| config.overload.target = Duration::ZERO);
    assert_eq!(starts(&stand.request("INVITE", LATE))[0], "SIP/2.0 100");
}

/// Strangers take nobody's place.
#[test]
fn who_may_not_call_is_refused_at_once() {
    let mut stand = Stand::new(|config| config.allow.clear());
    assert_eq!(starts(&stand.request("INVITE", LATE)), ["SIP/2.0 403"]);
    assert_eq!(stand.shard.census().standing_back, 0);
}

#[test]
fn calls_in_set_up_are_bounded() {
    let mut stand = Stand::new(|config| config.overload.setups_max = 3);
    for _ in 0..3 {
        assert_eq!(starts(&stand.request("INVITE", Duration::ZERO))[0], "SIP/2.0 100");
    }
    assert_eq!(starts(&stand.request("INVITE", Duration::ZERO)), ["SIP/2.0 503"]);
    assert_eq!(stand.shard.stats().overload_setups_refused, 1);
    assert_eq!(stand.shard.census().setups, 3);
}
