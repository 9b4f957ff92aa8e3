//! Two endpoints stepped through virtual time over a network that delays, loses and doubles by one seed.

use core::net::SocketAddr;
use core::time::Duration;
use sansio::{Action, IoError, Outbox, Random, SocketId, StreamEnd, StreamEvent, StreamId, Time};
use sip::message::Message;
use sip::{Body, Config, Destination, Endpoint, Event, Invite, LegId, Transport};
use std::collections::BTreeMap;

pub(crate) const UDP: SocketId = SocketId(0);
pub(crate) const TCP: SocketId = SocketId(1);
pub(crate) const OFFER: &[u8] = b"v=0\r\noffer\r\n";
pub(crate) const ANSWER: &[u8] = b"v=0\r\nanswer\r\n";
/// The caller's and the called side's place in [`Pair::nodes`].
pub(crate) const A: usize = 0;
pub(crate) const B: usize = 1;

pub(crate) struct Node {
    pub(crate) endpoint: Endpoint,
    pub(crate) address: SocketAddr,
    pub(crate) events: Vec<Event>,
    seen: Vec<LegId>,
    out: Outbox<()>,
    next_accepted: u32,
}

impl Node {
    /// Takes the oldest event that `wanted` turns into something.
    pub(crate) fn take<T>(&mut self, wanted: impl Fn(&Event) -> Option<T>) -> Option<T> {
        let (index, found) = self.events.iter().enumerate().find_map(|(i, e)| Some((i, wanted(e)?)))?;
        self.events.remove(index);
        Some(found)
    }

    pub(crate) fn incoming(&mut self) -> Option<LegId> {
        self.take(|event| if let Event::Invite { leg, .. } = event { Some(*leg) } else { None })
    }

    /// Legs named by any event still there that are alive.
    pub(crate) fn legs_seen(&self) -> Vec<LegId> {
        self.seen.iter().copied().filter(|leg| self.endpoint.leg(*leg).is_some()).collect()
    }

    pub(crate) fn has(&self, wanted: impl Fn(&Event) -> bool) -> bool {
        self.events.iter().any(wanted)
    }
}

enum Delivery {
    Datagram { to: SocketAddr, from: SocketAddr, bytes: Vec<u8> },
    Stream { node: usize, stream: StreamId, event: Happening },
}

enum Happening {
    Accepted { local: SocketAddr, remote: SocketAddr },
    Connected { local: SocketAddr },
    Data(Vec<u8>),
    Closed(StreamEnd),
}

/// Decides on a datagram by its sender and first line.
pub(crate) type Judge = Box<dyn FnMut(usize, &str) -> Fate>;

/// What becomes of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Arrives,
    Lost,
    /// Arrives this much later than it would.
    Late(Duration),
}

pub(crate) struct Pair {
    pub(crate) now: Time,
    pub(crate) nodes: [Node; 2],
    pub(crate) random: Random,
    pub(crate) delay: Duration,
    pub(crate) jitter: Duration,
    pub(crate) loss: f64,
    pub(crate) doubling: f64,
    /// Decides on each datagram: who sends it, its first line.
    pub(crate) fate: Judge,
    /// First lines of what was sent, with the sender.
    pub(crate) log: Vec<(usize, String)>,
    /// Whole messages of what was sent.
    pub(crate) messages: Vec<(usize, Vec<u8>)>,
    /// Datagrams sent to addresses of nobody.
    pub(crate) astray: Vec<(SocketAddr, Vec<u8>)>,
    /// A NAT: the address of a node that it hides, and the one it shows. Nothing comes in but to that.
    pub(crate) nat: Option<(SocketAddr, SocketAddr)>,
    /// Whether connections are refused.
    pub(crate) refusing: bool,
    queue: BTreeMap<(Time, u64), Delivery>,
    sequence: u64,
    /// The other end of each stream.
    streams: BTreeMap<(usize, u32), (usize, u32)>,
}

impl Pair {
    pub(crate) fn new(seed: u64) -> Self {
        Self::with(seed, |_| {}, ["192.0.2.1:5060", "192.0.2.2:5060"])
    }

    pub(crate) fn with(seed: u64, change: impl Fn(&mut Config), addresses: [&str; 2]) -> Self {
        let mut random = Random::new(seed);
        let nodes = addresses.map(|address| {
            let address: SocketAddr = address.parse().unwrap();
            let mut config = Config::default();
            change(&mut config);
            let mut endpoint = Endpoint::new(config, random.fork(), Time::ZERO);
            endpoint.add_udp(UDP, address);
            endpoint.add_tcp_listener(TCP, address);
            Node {
                endpoint,
                address,
                events: Vec::new(),
                seen: Vec::new(),
                out: Outbox::new(512, 8),
                next_accepted: StreamId::ACCEPTED,
            }
        });
        Self {
            now: Time::ZERO,
            nodes,
            random,
            delay: Duration::from_millis(10),
            jitter: Duration::ZERO,
            loss: 0.0,
            doubling: 0.0,
            fate: Box::new(|_, _| Fate::Arrives),
            log: Vec::new(),
            messages: Vec::new(),
            astray: Vec::new(),
            nat: None,
            refusing: false,
            queue: BTreeMap::new(),
            sequence: 0,
            streams: BTreeMap::new(),
        }
    }

    /// A calls B.
    pub(crate) fn call(&mut self, id: &str, transport: Transport, body: Option<&[u8]>) -> LegId {
        let remote = self.nodes[B].address;
        let (now, uri) = (self.now, format!("sip:bob@{remote}"));
        let leg = self.nodes[A].endpoint.invite(
            now,
            &Invite {
                call_id: id,
                request_uri: &uri,
                from: "\"Alice\" <sip:alice@a.example>",
                to: "<sip:bob@b.example>",
                destination: Destination {
                    transport,
                    remote,
                    socket: if transport == Transport::Udp { UDP } else { TCP },
                    over: None,
                },
                contact_user: "alice",
                headers: &[("X-Test", "yes")],
                body: body.map(Body::sdp),
                max_forwards: 70,
                no_response: Duration::from_secs(5),
                no_answer: Duration::from_secs(60),
            },
        );
        self.settle();
        let leg = leg.unwrap();
        self.nodes[A].seen.push(leg);
        leg
    }

    /// A calls B, B rings and answers, everything is acknowledged.
    pub(crate) fn established(&mut self, id: &str, transport: Transport) -> (LegId, LegId) {
        let a = self.call(id, transport, Some(OFFER));
        let b = self.wait(B, Node::incoming);
        let now = self.now;
        self.nodes[B].endpoint.provisional(now, b, 180, &[], None).unwrap();
        self.nodes[B].endpoint.answer(now, b, &[], Some(Body::sdp(ANSWER))).unwrap();
        self.settle();
        self.wait(A, |node| node.take(|e| matches!(e, Event::Answered { .. }).then_some(())));
        self.wait(B, |node| node.take(|e| matches!(e, Event::Acked { .. }).then_some(())));
        (a, b)
    }

    /// Steps until `found` finds something at a node.
    pub(crate) fn wait<T>(&mut self, which: usize, found: impl Fn(&mut Node) -> Option<T>) -> T {
        self.settle();
        for _ in 0..100_000 {
            if let Some(found) = found(&mut self.nodes[which]) {
                return found;
            }
            if !self.step(Time::NEVER) {
                break;
            }
        }
        panic!("never came; log: {:#?}; events: {:#?}", self.log, self.nodes[which].events);
    }

    /// Runs for a time.
    pub(crate) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while self.step(end) {}
        self.now = end;
    }

    /// Runs until nothing happens any more, and checks that nothing is left.
    pub(crate) fn finish(&mut self) {
        while self.step(Time::NEVER) {}
        for node in &mut self.nodes {
            node.events.clear();
            assert!(node.endpoint.is_idle(), "{:?}; {:#?}", node.endpoint.census(), self.log);
            assert_eq!(node.endpoint.stats().timers_full, 0);
        }
    }

    /// How often a line that begins so was sent by a node.
    pub(crate) fn sent(&self, who: usize, line: &str) -> usize {
        self.log.iter().filter(|(from, sent)| *from == who && sent.starts_with(line)).count()
    }

    /// The last message of a node that begins so.
    pub(crate) fn message(&self, who: usize, line: &str) -> Vec<u8> {
        let found =
            self.messages.iter().rev().find(|(from, m)| *from == who && m.starts_with(line.as_bytes()));
        found.map(|(_, message)| message.clone()).unwrap()
    }

    /// Takes an event of this kind as soon as it comes.
    pub(crate) fn expect(&mut self, which: usize, wanted: impl Fn(&Event) -> bool) -> Event {
        self.wait(which, |node| node.take(|event| wanted(event).then(|| event.clone())))
    }

    /// Gives a node bytes as if they had come from `source`.
    pub(crate) fn inject(&mut self, which: usize, source: &str, bytes: &[u8]) {
        let now = self.now;
        self.nodes[which].endpoint.handle_datagram(now, UDP, source.parse().unwrap(), bytes);
        self.settle();
    }

    /// Takes what the endpoints want done after calls from outside.
    pub(crate) fn settle(&mut self) {
        for which in [A, B] {
            self.drain(which);
        }
    }

    /// The next thing that happens not after `end`; `false` if there is none.
    pub(crate) fn step(&mut self, end: Time) -> bool {
        self.settle();
        let timer = self.nodes.iter().filter_map(|node| node.endpoint.deadline()).min();
        let delivery = self.queue.keys().next().map(|(time, _)| *time);
        let next = match (timer, delivery) {
            (None, None) => return false,
            (a, b) => a.unwrap_or(Time::NEVER).min(b.unwrap_or(Time::NEVER)),
        };
        if next > end {
            return false;
        }
        self.now = self.now.max(next);
        if delivery.is_some_and(|time| time <= self.now)
            && let Some((_, delivery)) = self.queue.pop_first()
        {
            self.deliver(delivery);
        } else {
            for node in &mut self.nodes {
                if node.endpoint.deadline().is_some_and(|deadline| deadline <= self.now) {
                    node.endpoint.handle_timeout(self.now);
                }
            }
        }
        self.settle();
        true
    }

    fn deliver(&mut self, delivery: Delivery) {
        let now = self.now;
        match delivery {
            Delivery::Datagram { to, from, bytes } => {
                let nat = self.nat;
                let seen = |node: &Node| match nat {
                    Some((inner, outer)) if inner == node.address => outer,
                    _ => node.address,
                };
                match self.nodes.iter_mut().find(|node| seen(node) == to) {
                    Some(node) => node.endpoint.handle_datagram(now, UDP, from, &bytes),
                    None => self.astray.push((to, bytes)),
                }
            }
            Delivery::Stream { node, stream, event } => {
                let event = match &event {
                    Happening::Accepted { local, remote } => {
                        StreamEvent::Accepted { listener: TCP, local: *local, remote: *remote }
                    }
                    Happening::Connected { local } => StreamEvent::Connected { local: *local },
                    Happening::Data(bytes) => StreamEvent::Data(bytes),
                    Happening::Closed(end) => StreamEvent::Closed(*end),
                };
                self.nodes[node].endpoint.handle_stream(now, stream, event);
            }
        }
    }

    fn drain(&mut self, which: usize) {
        while let Some(event) = self.nodes[which].endpoint.poll_event() {
            if let Event::Invite { leg, .. } = &event {
                self.nodes[which].seen.push(*leg);
            }
            self.nodes[which].events.push(event);
        }
        let node = &mut self.nodes[which];
        node.endpoint.flush(&mut node.out);
        while let Some(action) = self.nodes[which].out.next_action() {
            self.act(which, action);
        }
        while let Some(send) = self.nodes[which].out.next_send() {
            let bytes = self.nodes[which].out.pool().bytes(&send.packet).to_vec();
            self.nodes[which].out.pool().release(send.packet);
            self.send(which, send.destination, bytes);
        }
    }

    fn note(&mut self, which: usize, bytes: &[u8]) -> String {
        if let Err(error) = Message::parse(bytes)
            && bytes.iter().any(|byte| !b"\r\n".contains(byte))
        {
            panic!("sent garbage: {error:?} {}", String::from_utf8_lossy(bytes));
        }
        let line = String::from_utf8_lossy(bytes).lines().next().unwrap_or_default().to_owned();
        self.log.push((which, line.clone()));
        self.messages.push((which, bytes.to_vec()));
        line
    }

    fn send(&mut self, which: usize, to: SocketAddr, bytes: Vec<u8>) {
        let line = self.note(which, &bytes);
        let extra = match (self.fate)(which, &line) {
            Fate::Lost => return,
            Fate::Arrives => Duration::ZERO,
            Fate::Late(extra) => extra,
        };
        let copies = 1 + u32::from(self.random.chance(self.doubling));
        for _ in 0..copies {
            if self.random.chance(self.loss) {
                continue;
            }
            let jitter = Duration::from_nanos(self.random.below(self.jitter.as_nanos() as u64 + 1));
            let from = self.outside(self.nodes[which].address);
            self.push(self.delay + extra + jitter, Delivery::Datagram { to, from, bytes: bytes.clone() });
        }
    }

    /// An address as it is seen from outside.
    fn outside(&self, address: SocketAddr) -> SocketAddr {
        self.nat.filter(|(inner, _)| *inner == address).map_or(address, |(_, outer)| outer)
    }

    fn push(&mut self, after: Duration, delivery: Delivery) {
        self.sequence += 1;
        self.queue.insert((self.now + after, self.sequence), delivery);
    }

    fn act(&mut self, which: usize, action: Action<()>) {
        let delay = self.delay;
        match action {
            Action::Connect { stream, remote, .. } => {
                let peer = self.nodes.iter().position(|node| node.address == remote);
                let local = SocketAddr::new(self.nodes[which].address.ip(), 40_000 + stream.0 as u16);
                match peer {
                    Some(peer) if !self.refusing => {
                        let accepted = self.nodes[peer].next_accepted;
                        self.nodes[peer].next_accepted += 1;
                        self.streams.insert((which, stream.0), (peer, accepted));
                        self.streams.insert((peer, accepted), (which, stream.0));
                        let event = Happening::Accepted { local: remote, remote: local };
                        self.push(delay, Delivery::Stream { node: peer, stream: StreamId(accepted), event });
                        let event = Happening::Connected { local };
                        self.push(delay, Delivery::Stream { node: which, stream, event });
                    }
                    _ => {
                        let event = Happening::Closed(StreamEnd::Refused(IoError::Refused));
                        self.push(delay, Delivery::Stream { node: which, stream, event });
                    }
                }
            }
            Action::Write(stream, bytes) => {
                self.note(which, &bytes);
                if let Some(&(peer, other)) = self.streams.get(&(which, stream.0)) {
                    // In two pieces, so that messages are cut anywhere.
                    let cut = self.random.below(bytes.len() as u64) as usize;
                    for piece in [&bytes[..cut], &bytes[cut..]] {
                        let event = Happening::Data(piece.to_vec());
                        self.push(delay, Delivery::Stream { node: peer, stream: StreamId(other), event });
                    }
                }
            }
            Action::Shut(stream) => self.sever(which, stream),
            _ => panic!("unexpected action"),
        }
    }

    /// Closes a connection from one side.
    pub(crate) fn sever(&mut self, which: usize, stream: StreamId) {
        if let Some((peer, other)) = self.streams.remove(&(which, stream.0)) {
            self.streams.remove(&(peer, other));
            let delay = self.delay;
            let event = Happening::Closed(StreamEnd::Peer);
            self.push(delay, Delivery::Stream { node: peer, stream: StreamId(other), event });
        }
    }

    /// Breaks all connections, both sides are told.
    pub(crate) fn sever_all(&mut self) {
        for ((node, stream), _) in core::mem::take(&mut self.streams) {
            let event = Happening::Closed(StreamEnd::Broken(IoError::Reset));
            self.push(Duration::ZERO, Delivery::Stream { node, stream: StreamId(stream), event });
        }
    }
}
