//! Caller and carrier shards against each other in virtual time: what the network did must be what they say of it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use loadgen::arrival::{Arrivals, Spacing, Stretch};
use loadgen::hold::HoldLaw;
use loadgen::mail::Mail;
use loadgen::measure::{Outcome, Part};
use loadgen::plan::{Callee, Media};
use loadgen::{Behaviour, CallerConfig, SIP_UDP, Shard, ShardConfig};
use sansio::{Action, Datagram, Input, Machine, Outbox, Random, SocketEvent, SocketId, Time};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

const CALLER: &str = "10.0.0.1:5060";
const CARRIER: &str = "10.0.0.2:5060";

/// What the network does to RTP.
#[derive(Clone, Copy, Default)]
struct Weather {
    loss: f64,
    duplication: f64,
    /// Chance that a packet takes 30 ms longer.
    detour: f64,
    /// From so many seconds on nothing passes from carrier to caller.
    mute_after: Option<u64>,
}

struct Node {
    shard: Shard,
    out: Outbox<Mail>,
    sockets: HashMap<SocketAddr, SocketId>,
    addresses: HashMap<SocketId, SocketAddr>,
    total: Part,
    done: bool,
}

impl Node {
    fn new(config: ShardConfig, start: Time) -> Self {
        let address = config.sip;
        Self {
            shard: Shard::new(config, start),
            out: Outbox::new(4096, 16),
            sockets: HashMap::from([(address, SIP_UDP)]),
            addresses: HashMap::from([(SIP_UDP, address)]),
            total: Part::default(),
            done: false,
        }
    }

    /// Carries out the actions; what they cause is given to the machine at once.
    fn act(&mut self, now: Time) {
        while let Some(action) = self.out.next_action() {
            match action {
                Action::Open { socket, local, .. } => {
                    self.sockets.insert(local, socket);
                    self.addresses.insert(socket, local);
                    self.shard.handle(now, Input::Socket(socket, SocketEvent::Opened(local)), &mut self.out);
                }
                Action::Mail(_, Mail::Part { part, .. }) => self.total.merge(&part),
                Action::Mail(_, Mail::Done { .. }) => self.done = true,
                _ => {}
            }
        }
    }
}

/// Datagrams on their way, by arrival: to which node, from where, to where, what.
type Flying = BTreeMap<(Time, u64), (usize, SocketAddr, SocketAddr, Vec<u8>)>;

struct World {
    nodes: [Node; 2],
    now: Time,
    flying: Flying,
    serial: u64,
    random: Random,
    weather: Weather,
    /// RTP packets dropped and doubled on their way to the caller and to the carrier.
    dropped: [u64; 2],
    doubled: [u64; 2],
}

impl World {
    fn new(behaviour: Behaviour, weather: Weather, calls: u64) -> Self {
        let start = Time::from_millis(10_000);
        let media = Media::default();
        let hold = HoldLaw::Fixed(Duration::from_secs(4));
        let stretches = vec![Stretch::steady(Duration::from_secs(60), 5.0)];
        let caller = CallerConfig {
            to: Callee::parse(&format!("sip:+49{{000-999}}@{CARRIER}")).unwrap(),
            caller: loadgen::number::NumberPattern::parse("load").unwrap(),
            arrivals: Arrivals::new(stretches, Spacing::Constant, hold, calls, 3),
            share: 0,
            shares: 1,
            warm_up: Duration::ZERO,
            drain_after: None,
            no_response: Duration::from_secs(3),
            no_answer: Duration::from_secs(5),
            peer_may_end: behaviour.bye_after.is_some(),
        };
        let config = |farm, sip: &str, part| ShardConfig {
            shard: 0,
            farm,
            sip: sip.parse().unwrap(),
            media,
            calls_max: 500,
            ports_ready: 20,
            part,
            seed: u64::from(farm),
        };
        let callers = config(3, CALLER, loadgen::Part::Caller(Box::new(caller)));
        let carriers = config(5, CARRIER, loadgen::Part::Carrier(behaviour));
        let mut world = Self {
            nodes: [Node::new(callers, start), Node::new(carriers, start)],
            now: start,
            flying: BTreeMap::new(),
            serial: 0,
            random: Random::new(9),
            weather,
            dropped: [0; 2],
            doubled: [0; 2],
        };
        for node in 0..2 {
            world.give(node, Input::Timeout);
            world.give(node, Input::Mail(Mail::Begin(start)));
        }
        world
    }

    fn give(&mut self, node: usize, input: Input<'_, Mail>) {
        let now = self.now;
        let it = &mut self.nodes[node];
        it.shard.handle(now, input, &mut it.out);
        it.act(now);
        while let Some(send) = it.out.next_send() {
            let from = it.addresses[&send.socket];
            let bytes = it.out.pool().bytes(&send.packet).to_vec();
            it.out.pool().release(send.packet);
            Self::send(
                &mut self.flying,
                &mut self.serial,
                (&mut self.random, self.weather, now),
                (&mut self.dropped[1 - node], &mut self.doubled[1 - node]),
                (1 - node, from, send.destination, bytes),
            );
        }
    }

    fn send(
        flying: &mut Flying,
        serial: &mut u64,
        (random, weather, now): (&mut Random, Weather, Time),
        (dropped, doubled): (&mut u64, &mut u64),
        packet: (usize, SocketAddr, SocketAddr, Vec<u8>),
    ) {
        let mut copies = 1;
        let mut delay = Duration::from_micros(700);
        if packet.1.port() != 5060 {
            let muted = weather
                .mute_after
                .is_some_and(|s| packet.0 == 0 && now >= Time::from_millis(10_000 + s * 1000));
            if muted || random.chance(weather.loss) {
                *dropped += u64::from(!muted);
                return;
            }
            if random.chance(weather.duplication) {
                *doubled += 1;
                copies = 2;
            }
            if random.chance(weather.detour) {
                delay += Duration::from_millis(30);
            }
        }
        for _ in 0..copies {
            *serial += 1;
            flying.insert((now + delay, *serial), packet.clone());
        }
    }

    /// Steps until so many seconds after the start.
    fn run_until(&mut self, seconds: u64) {
        let end = Time::from_millis(10_000 + seconds * 1000);
        while self.step(end) {}
        self.now = self.now.max(end);
    }

    /// Does what is due next, if it is due before `end`.
    fn step(&mut self, end: Time) -> bool {
        let arrival = self.flying.keys().next().map(|key| key.0);
        let deadlines = self.nodes.iter().filter_map(|node| node.shard.deadline());
        let Some(next) = deadlines.chain(arrival).min().filter(|&next| next < end) else { return false };
        self.now = self.now.max(next);
        if arrival.is_some_and(|at| at <= self.now) {
            let ((_, _), (node, source, to, bytes)) = self.flying.pop_first().unwrap();
            if let Some(&socket) = self.nodes[node].sockets.get(&to) {
                let received = self.now;
                let datagram = Datagram { socket, source, received, payload: &bytes };
                self.give(node, Input::Datagram(datagram));
            }
            return true;
        }
        for node in 0..2 {
            if self.nodes[node].shard.deadline().is_some_and(|deadline| deadline <= self.now) {
                self.give(node, Input::Timeout);
            }
        }
        true
    }

    /// Steps until the callers are done, at most so many seconds.
    fn run(&mut self, seconds: u64) {
        let mut end = self.now + Duration::from_secs(seconds);
        let mut done = false;
        while self.step(end) {
            if self.nodes[0].done && !done {
                // What is still on its way to the carrier arrives.
                done = true;
                end = end.min(self.now + Duration::from_secs(1));
            }
        }
        // What a carrier knows of the last calls, and the transactions that linger.
        let end = self.now + Duration::from_secs(40);
        self.give(1, Input::Mail(Mail::Stop));
        while let Some(next) = self.nodes[0].shard.deadline().filter(|&next| next <= end) {
            self.now = self.now.max(next);
            self.give(0, Input::Timeout);
        }
    }

    fn totals(&self) -> [&Part; 2] {
        [&self.nodes[0].total, &self.nodes[1].total]
    }
}

fn ring() -> Behaviour {
    Behaviour { ring: Duration::from_millis(300), ..Behaviour::default() }
}

#[test]
fn calls_are_placed_answered_talked_through_and_ended() {
    let mut world = World::new(ring(), Weather::default(), 30);
    world.run(60);
    let [callers, carriers] = world.totals();
    assert!(world.nodes[0].done);
    assert_eq!((callers.attempts, callers.answered, callers.completed, callers.failed), (30, 30, 30, 0));
    assert_eq!((carriers.attempts, carriers.completed), (30, 30));
    assert_eq!(callers.finals["200"], 30);
    assert!(!callers.responses.contains_key(&100), "RFC 3261 §17.2.1: not needed by one who rings at once");
    // Two ways of 0.7 ms, and the ring.
    assert!(callers.setup.min().unwrap() >= 301_400_000 && callers.setup.max().unwrap() < 306_000_000);
    // Four seconds are 200 packets each way, give or take those at the ends.
    for (own, peer) in [(callers, carriers), (carriers, callers)] {
        assert!((5_900..=6_030).contains(&own.voice.sent), "{}", own.voice.sent);
        assert!(peer.voice.heard + 60 >= own.voice.sent);
        assert_eq!((peer.voice.lost, peer.voice.duplicates, peer.voice.crosstalk), (0, 0, 0));
        assert_eq!(own.voice.delay.max(), Some(700_000));
    }
    let mos =
        |part: &Part| part.records.iter().filter_map(|record| record.voice).map(|voice| voice.mos).min();
    assert!(mos(callers) > Some(4300) && mos(carriers) > Some(4300));
    assert!(callers.records.iter().all(|record| record.peer.farm() == 5));
    assert!(world.nodes[0].shard.is_idle(), "nothing is left behind");
}

#[test]
fn what_the_network_does_is_what_they_hear() {
    let weather = Weather { loss: 0.02, duplication: 0.01, detour: 0.01, mute_after: None };
    let mut world = World::new(ring(), weather, 30);
    world.run(60);
    let (dropped, doubled) = (world.dropped, world.doubled);
    for (node, part) in world.totals().into_iter().enumerate() {
        let tails: u64 = part.records.iter().filter_map(|record| record.voice).map(|voice| voice.tail).sum();
        let lost = part.voice.lost as u64 + tails;
        // A packet lost at a call's very end cannot be told from one that was not sent.
        assert!(lost <= dropped[node] && lost + 30 >= dropped[node], "{lost} of {} at {node}", dropped[node]);
        // The second copy of a call's last packet may come after it.
        assert!(part.voice.duplicates <= doubled[node] && part.voice.duplicates + 5 >= doubled[node]);
        assert!(part.voice.reordered > 20);
        assert_eq!(part.completed, 30);
    }
}

#[test]
fn refusals_silence_and_lateness_are_told_apart() {
    let busy = Behaviour { status: Some(486), ..Behaviour::default() };
    let mut world = World::new(busy, Weather::default(), 5);
    world.run(30);
    assert_eq!((world.totals()[0].failed, world.totals()[0].finals["486"]), (5, 5));
    assert!(world.totals()[0].records.iter().all(|record| record.outcome == Outcome::Refused(486)));
    assert!(world.nodes[0].shard.is_idle());

    let silent = Behaviour { silent: true, ..Behaviour::default() };
    let mut world = World::new(silent, Weather::default(), 5);
    world.run(60);
    assert_eq!((world.totals()[0].failed, world.totals()[0].finals["timeout"]), (5, 5));
    assert!(world.totals()[0].records.iter().all(|record| record.outcome == Outcome::NoResponse));

    let slow = Behaviour { slow: Duration::from_secs(1), ..Behaviour::default() };
    let mut world = World::new(slow, Weather::default(), 5);
    world.run(60);
    assert_eq!(world.totals()[0].completed, 5);
    assert!(world.totals()[0].pdd.min().unwrap() >= 1_000_000_000);
    assert_eq!(world.totals()[0].responses[&100], 5, "RFC 3261 §17.2.1: he who takes longer says so");

    let never = Behaviour { ring: Duration::from_secs(100), ..Behaviour::default() };
    let mut world = World::new(never, Weather::default(), 5);
    world.run(60);
    assert!(world.totals()[0].records.iter().all(|record| record.outcome == Outcome::NoAnswer));
    assert_eq!(world.totals()[1].causes["cancelled"], 5);
}

#[test]
fn a_carrier_may_ring_with_voice_offer_anew_and_hang_up() {
    let behaviour = Behaviour {
        early_media: true,
        reinvite_after: Some(Duration::from_secs(1)),
        bye_after: Some(Duration::from_secs(2)),
        ..ring()
    };
    let mut world = World::new(behaviour, Weather::default(), 10);
    world.run(60);
    let [callers, carriers] = world.totals();
    assert_eq!((callers.completed, callers.failed, carriers.completed), (10, 0, 10));
    assert_eq!(callers.responses[&183], 10);
    // 300 ms of early voice and 2 s of call against 2 s.
    assert!(carriers.voice.sent > callers.voice.sent + 100);
    assert_eq!((callers.voice.lost, carriers.voice.lost), (0, 0));
}

#[test]
fn a_direction_that_falls_silent_is_noticed_at_its_end() {
    let weather = Weather { mute_after: Some(2), ..Weather::default() };
    let mut world = World::new(ring(), weather, 5);
    world.run(60);
    let callers = world.totals()[0];
    assert_eq!(callers.completed, 5);
    let tails: u64 = callers.records.iter().filter_map(|record| record.voice).map(|voice| voice.tail).sum();
    assert!(tails > 500, "{tails}");
    let first = callers.records[0].voice.unwrap();
    assert!(first.lost == 0 && first.mos > 4300 && first.mos_with_tail < 3000, "{first:?}");
    assert_eq!(
        world.totals()[1]
            .records
            .iter()
            .filter_map(|record| record.voice)
            .map(|voice| voice.tail)
            .sum::<u64>(),
        0
    );
}

#[test]
fn a_carrier_changes_when_it_is_told_to_and_dies_without_a_word() {
    let mut world = World::new(ring(), Weather::default(), 60);
    let refusing = Behaviour { status: Some(503), ..ring() };
    world.run_until(3);
    world.give(1, Input::Mail(Mail::Behave(refusing)));
    world.run_until(6);
    world.give(1, Input::Mail(Mail::Behave(ring())));
    world.run_until(9);
    world.give(1, Input::Mail(Mail::Die));
    world.run(60);
    let callers = world.totals()[0];
    // Five calls a second: those of three seconds were refused; those after the ninth heard nothing, and those that rang
    // then heard no more.
    assert!((14..=16).contains(&callers.finals["503"]), "{:?}", callers.finals);
    assert!((15..=18).contains(&callers.finals["timeout"]), "{:?}", callers.finals);
    assert_eq!(callers.attempts, 60);
    // Calls that stood when it died are hung up in time; nobody answers their BYE.
    assert!(callers.causes["lost"] > 5, "{:?}", callers.causes);
}

#[test]
fn a_call_that_comes_before_the_ports_stand_is_heard_at_its_next_try() {
    let now = Time::from_millis(10_000);
    let config = ShardConfig {
        shard: 0,
        farm: 5,
        sip: CARRIER.parse().unwrap(),
        media: Media { rtp: true, ..Media::default() },
        calls_max: 10,
        ports_ready: 1,
        part: loadgen::Part::Carrier(ring()),
        seed: 1,
    };
    let body =
        "v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\n";
    let invite = format!(
        "INVITE sip:1@{CARRIER} SIP/2.0\r\nVia: SIP/2.0/UDP {CALLER};branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
         From: <sip:2@{CALLER}>;tag=1\r\nTo: <sip:1@{CARRIER}>\r\nCall-ID: 1@x\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:2@{CALLER}>\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut shard = Shard::new(config, now);
    let mut out = Outbox::<Mail>::new(64, 4);
    let source = CALLER.parse().unwrap();
    let datagram = Datagram { socket: SIP_UDP, source, received: now, payload: invite.as_bytes() };
    shard.handle(now, Input::Datagram(datagram), &mut out);
    assert_eq!(out.sends_waiting(), 0, "no port stands: it is as if the process came up a moment later");
    let mut asked = None;
    while let Some(action) = out.next_action() {
        if let Action::Open { socket, local, .. } = action {
            asked = Some((socket, local));
        }
    }
    let (socket, local) = asked.unwrap();
    shard.handle(now, Input::Socket(socket, SocketEvent::Opened(local)), &mut out);
    shard.handle(now, Input::Datagram(datagram), &mut out);
    let send = out.next_send().unwrap();
    let answer = String::from_utf8_lossy(out.pool().bytes(&send.packet)).into_owned();
    out.pool().release(send.packet);
    assert!(answer.starts_with("SIP/2.0 180"), "{answer}");
}
