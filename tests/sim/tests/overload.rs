//! A shard that does not keep up: new calls get 503 without state, what belongs to calls is served.
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

    /// Messages that all waited so long, one a millisecond for half a second.
    fn queue(&mut self, waited: Duration) {
        for _ in 0..500 {
            self.now += Duration::from_millis(1);
            self.request("BYE", waited);
        }
    }
}

fn starts(sent: &[String]) -> Vec<&str> {
    sent.iter().map(|text| text.split_at(11).0).collect()
}

#[test]
fn a_standing_queue_refuses_new_calls_and_nothing_else() {
    let mut stand = Stand::new(|_| {});
    let late = Duration::from_millis(150);
    assert_eq!(starts(&stand.request("INVITE", late))[0], "SIP/2.0 100", "one late message is no overload");
    let before = stand.shard.census().sip;
    stand.queue(late);
    let refused = stand.request("INVITE", late);
    assert_eq!(starts(&refused), ["SIP/2.0 503"]);
    assert!(refused[0].contains("\r\nRetry-After: 5\r\n"), "{}", refused[0]);
    assert_eq!(starts(&stand.request("OPTIONS", late)), ["SIP/2.0 503"]);
    assert_eq!(starts(&stand.request("BYE", late)), ["SIP/2.0 481"], "what is in a dialog is served");
    let after = stand.shard.census().sip;
    assert_eq!((after.legs, after.transactions), (before.legs, before.transactions), "nothing was kept");
    assert_eq!(stand.shard.stats().overload_queue_refused, 2);
    // One message that did not wait shows that the queue is gone.
    assert_eq!(starts(&stand.request("INVITE", Duration::ZERO))[0], "SIP/2.0 100");
    assert_eq!(starts(&stand.request("OPTIONS", Duration::ZERO)), ["SIP/2.0 200"]);
}

#[test]
fn options_may_be_answered_all_the_same_and_the_target_switched_off() {
    let late = Duration::from_millis(150);
    let mut stand = Stand::new(|config| config.overload.refuse_options = false);
    stand.queue(late);
    assert_eq!(starts(&stand.request("OPTIONS", late)), ["SIP/2.0 200"]);
    assert_eq!(starts(&stand.request("INVITE", late)), ["SIP/2.0 503"]);
    let mut stand = Stand::new(|config| config.overload.target = Duration::ZERO);
    stand.queue(late);
    assert_eq!(starts(&stand.request("INVITE", late))[0], "SIP/2.0 100");
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
