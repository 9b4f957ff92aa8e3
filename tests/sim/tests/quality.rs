//! A trunk whose calls sound bad is chosen last, and as before where there is no other; in minutes of virtual time.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use link::{RoutingSnapshot, UnixMicros};
use sansio::{Action, Datagram, Input, Machine, Outbox, SocketEvent, SocketId, Time};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use switch::trunk::{GroupConfig, QualityRule, TrunkConfig, TrunkTable};
use switch::{Config, Listener, Mail, RtpPorts, Shard, Shards, Start};

const CALLER: &str = "192.0.2.1:5060";
const GATEWAY: &str = "192.0.2.100:5060";
const GOOD: &str = "198.51.100.2:5060";
const BAD: &str = "198.51.100.1:5060";
const PACKET: Duration = Duration::from_millis(20);

struct Stand {
    shard: Shard,
    out: Outbox<Mail>,
    now: Time,
    number: u32,
    /// RTP sockets by port.
    sockets: BTreeMap<u16, SocketId>,
    table: Arc<TrunkTable>,
}

/// A call that stands: to which carrier, and where each side sends its RTP.
struct Call {
    carrier: String,
    ports: [u16; 2],
    bye: String,
}

fn sdp(port: u16, host: &str) -> String {
    format!("v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\nm=audio {port} RTP/AVP 8\r\n")
}

/// The port in a description.
fn port(message: &str) -> u16 {
    message.split("m=audio ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
}

/// The lines of a message with these fields, in order.
fn fields(message: &str, names: &[&str]) -> String {
    let head = message.split("\r\n\r\n").next().unwrap();
    let is = |line: &&str| names.iter().any(|name| line.starts_with(&format!("{name}:")));
    head.lines().filter(is).map(|line| format!("{line}\r\n")).collect()
}

impl Stand {
    fn new() -> Self {
        let rule = QualityRule { min_mos: 3600, hold_off: Duration::from_secs(300) };
        let trunk = |name: &str, address: &str| TrunkConfig {
            quality: Some(rule),
            ..TrunkConfig::new(name, address.parse().unwrap())
        };
        let names = ["bad", "good"].map(String::from).to_vec();
        let group = GroupConfig { name: "all".into(), trunks: names, selection: link::Selection::Ordered };
        let table = Arc::new(
            TrunkTable::new(vec![trunk("bad", BAD), trunk("good", GOOD)], vec![group], None).unwrap(),
        );
        let route = |prefix: &str, to: &str| link::RouteEntry {
            prefix: prefix.into(),
            groups: vec![to.into()],
            strip: 0,
            prepend: String::new(),
            ask: false,
        };
        let group = |name: &str, trunks: &[&str]| link::TrunkGroup {
            name: name.into(),
            selection: link::Selection::Ordered,
            trunks: trunks.iter().map(|name| (*name).into()).collect(),
        };
        let routing = RoutingSnapshot {
            version: 1,
            groups: vec![group("all", &["bad", "good"]), group("bad", &["bad"])],
            routes: vec![route("1", "all"), route("2", "bad")],
        };
        let place: SocketAddr = GATEWAY.parse().unwrap();
        let start = Start {
            config: Config { allow: vec!["192.0.2.0/24".parse().unwrap()], ..Config::default() },
            shards: Shards::ALONE,
            listeners: vec![Listener { udp: SocketId(0), tcp: SocketId(1), local: place, advertised: place }],
            streams: Vec::new(),
            tls: false,
            registrar: Arc::new(switch::registrar::Registrar::new(&[0; 32])),
            rtp_ports: RtpPorts { low: 20_000, high: 20_099 },
            table: table.clone(),
            routing: Arc::new(routing),
            wall_at_zero: UnixMicros(0),
            seed: 1,
            secrets: switch::Secrets::new([1; 32]),
        };
        let now = Time::from_millis(1000);
        let (shard, out, sockets) = (Shard::new(now, start), Outbox::new(256, 8), BTreeMap::new());
        let mut stand = Self { shard, out, now, number: 0, sockets, table };
        stand.pass(Duration::from_millis(100));
        stand
    }

    /// What the shard sent: where to, and the text.
    fn sent(&mut self) -> Vec<(String, String)> {
        while let Some(action) = self.out.next_action() {
            if let Action::Open { socket, local, .. } = action {
                self.sockets.insert(local.port(), socket);
                let event = Input::Socket(socket, SocketEvent::Opened(local));
                self.shard.handle(self.now, event, &mut self.out);
            }
        }
        let mut sent = Vec::new();
        while let Some(send) = self.out.next_send() {
            let text = String::from_utf8_lossy(self.out.pool().bytes(&send.packet)).into_owned();
            sent.push((send.destination.to_string(), text));
            self.out.pool().release(send.packet);
        }
        sent
    }

    fn datagram(&mut self, socket: SocketId, from: &str, payload: &[u8]) -> Vec<(String, String)> {
        let source = from.parse().unwrap();
        let datagram = Datagram { socket, source, received: self.now, payload };
        self.shard.handle(self.now, Input::Datagram(datagram), &mut self.out);
        self.sent()
    }

    /// Lets time pass; probes of the carriers are answered.
    fn pass(&mut self, span: Duration) {
        let until = self.now + span;
        while let Some(due) = self.shard.deadline().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.shard.handle(self.now, Input::Timeout, &mut self.out);
            for (to, text) in self.sent() {
                if text.starts_with("OPTIONS") {
                    let same = fields(&text, &["Via", "From", "To", "Call-ID", "CSeq"]);
                    let answer = format!("SIP/2.0 200 OK\r\n{same}Content-Length: 0\r\n\r\n");
                    self.datagram(SocketId(0), &to, answer.as_bytes());
                }
            }
        }
        self.now = until;
    }

    fn call(&mut self, dialled: &str) -> Call {
        self.number += 1;
        let (number, body) = (self.number, sdp(4000, "192.0.2.1"));
        let same = format!(
            "Max-Forwards: 70\r\nFrom: <sip:a@{CALLER}>;tag=f{number}\r\nCall-ID: c{number}\r\n\
             Contact: <sip:a@{CALLER}>\r\n"
        );
        let via = |branch: &str| format!("Via: SIP/2.0/UDP {CALLER};branch=z9hG4bK{branch}{number}\r\n");
        let invite = format!(
            "INVITE sip:{dialled}@{GATEWAY} SIP/2.0\r\n{}{same}To: <sip:{dialled}@{GATEWAY}>\r\nCSeq: 1 INVITE\r\n\
             Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            via("i"),
            body.len()
        );
        let sent = self.datagram(SocketId(0), CALLER, invite.as_bytes());
        let (carrier, asked) = sent.iter().find(|(_, text)| text.starts_with("INVITE ")).cloned().unwrap();
        let body = sdp(6000, "198.51.100.9");
        let head = fields(&asked, &["Via", "From", "Call-ID", "CSeq"]);
        let to = fields(&asked, &["To"]).trim_end().to_owned();
        let answer = format!(
            "SIP/2.0 200 OK\r\n{head}{to};tag=t{number}\r\nContact: <sip:{carrier}>\r\nContent-Type: application/sdp\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let sent = self.datagram(SocketId(0), &carrier, answer.as_bytes());
        let ok = sent.iter().find(|(_, text)| text.starts_with("SIP/2.0 200")).map(|(_, text)| text).unwrap();
        let to = fields(ok, &["To"]);
        let ports = [port(ok), port(&asked)];
        let ack = format!(
            "ACK sip:{GATEWAY} SIP/2.0\r\n{}{same}{to}CSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n",
            via("a")
        );
        self.datagram(SocketId(0), CALLER, ack.as_bytes());
        let bye = format!(
            "BYE sip:{GATEWAY} SIP/2.0\r\n{}{same}{to}CSeq: 2 BYE\r\nContent-Length: 0\r\n\r\n",
            via("b")
        );
        Call { carrier, ports, bye }
    }

    /// Both sides talk for so many seconds; every how many-th packet of the carrier is lost.
    fn talk(&mut self, call: &Call, seconds: u16, lost: u16) {
        for n in 0..seconds * 50 {
            let sources = [("192.0.2.1:4000", 1), ("198.51.100.9:6000", 2)];
            for ((source, mark), port) in sources.into_iter().zip(call.ports) {
                if mark == 2 && lost > 0 && n % lost == 0 {
                    continue;
                }
                let mut packet = vec![0x80, 8];
                packet.extend(n.to_be_bytes());
                packet.extend((u32::from(n) * 160).to_be_bytes());
                packet.extend([0, 0, 0, mark]);
                packet.resize(172, 0xd5);
                let socket = self.sockets[&port];
                self.datagram(socket, source, &packet);
            }
            self.pass(PACKET);
        }
    }

    fn end(&mut self, call: &Call) {
        let bye = call.bye.clone();
        let sent = self.datagram(SocketId(0), CALLER, bye.as_bytes());
        let (to, ours) = sent.iter().find(|(_, text)| text.starts_with("BYE ")).unwrap();
        let same = fields(ours, &["Via", "From", "To", "Call-ID", "CSeq"]);
        let answer = format!("SIP/2.0 200 OK\r\n{same}Content-Length: 0\r\n\r\n");
        self.datagram(SocketId(0), &to.clone(), answer.as_bytes());
    }
}

#[test]
fn a_trunk_that_sounds_bad_is_chosen_last_until_its_time_is_over() {
    let mut stand = Stand::new();
    let call = stand.call("100");
    assert_eq!(call.carrier, BAD, "the first of the group");
    stand.talk(&call, 75, 20);
    let heard = stand.table.trunk("bad").unwrap().quality().heard(stand.now);
    // Found bad after a minute; what it was is forgotten then.
    assert_eq!(stand.shard.stats().trunks_avoided, 1, "{heard:?}");
    assert!(heard.seconds < 20 && heard.mean_mos().unwrap_or(2.0) < 3.0, "{heard:?}");
    stand.end(&call);

    let next = stand.call("100");
    assert_eq!(next.carrier, GOOD);
    stand.talk(&next, 5, 0);
    stand.end(&next);
    let only = stand.call("200");
    assert_eq!(only.carrier, BAD, "there is no other");
    stand.talk(&only, 5, 0);
    stand.end(&only);

    stand.pass(Duration::from_secs(310));
    let again = stand.call("100");
    assert_eq!(again.carrier, BAD, "its time is over");
    stand.talk(&again, 75, 0);
    stand.end(&again);
    assert_eq!((stand.shard.stats().trunks_avoided, stand.shard.stats().trunks_sound_again), (1, 1));
    stand.pass(Duration::from_secs(60));
    let census = stand.shard.census();
    assert_eq!((census.calls, census.pairs, census.call_timers), (0, 0, 0), "nothing is left: {census:?}");
}
