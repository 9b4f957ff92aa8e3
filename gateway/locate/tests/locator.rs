//! A locator against a network made of a few lines: servers that answer, keep silent, lie, truncate, and change their mind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use locate::{Census, Config, How, Locator, Name, SOCKETS, STREAMS, Target};
use proptest::prelude::*;
use sansio::{
    Action, IoError, Outbox, Random, SocketEvent, SocketId, StreamEnd, StreamEvent, StreamId, Time,
};
use simple_dns::rdata::{A, CNAME, NAPTR, RData, SOA, SRV};
use simple_dns::{CLASS, CharacterString, Packet, PacketFlag, RCODE, ResourceRecord};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

#[path = "../../../tests/fuzz/src/answer.rs"]
#[allow(unreachable_pub, reason = "it is a library of its own there")]
mod exercise;

/// A zone: name and record.
type Zone = Vec<(&'static str, RData<'static>)>;

fn name(text: &'static str) -> simple_dns::Name<'static> {
    simple_dns::Name::new(text).unwrap()
}

fn a(last: u8) -> RData<'static> {
    RData::A(A { address: u32::from_be_bytes([192, 0, 2, last]) })
}

fn srv(priority: u16, weight: u16, port: u16, target: &'static str) -> RData<'static> {
    RData::SRV(SRV { priority, weight, port, target: name(target) })
}

fn naptr(order: u16, services: &'static str, replacement: &'static str) -> RData<'static> {
    RData::NAPTR(NAPTR {
        order,
        preference: 0,
        flags: CharacterString::new(b"s").unwrap(),
        services: CharacterString::new(services.as_bytes()).unwrap(),
        regexp: CharacterString::new(b"").unwrap(),
        replacement: name(replacement),
    })
}

/// What a server does with a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Habit {
    Honest,
    Silent,
    Closed,
    Failing,
    Truncating,
    /// Truncates, and closes every connection.
    TruncatingOnly,
    WrongId,
    WrongQuestion,
    WrongSource,
    Garbage,
    /// Sends this question back as the answer.
    Echo,
    /// Names other servers (RFC 2308 §2.2).
    Referring,
}

struct World {
    now: Time,
    locator: Locator,
    out: Outbox<()>,
    servers: BTreeMap<SocketAddr, Habit>,
    zone: Zone,
    ttl: u32,
    negative: Option<u32>,
    open: BTreeSet<SocketId>,
    streams: BTreeMap<StreamId, SocketAddr>,
    ports: BTreeSet<SocketId>,
    asked: Vec<(SocketAddr, String)>,
    ids: Vec<u16>,
    random: Random,
}

fn server(last: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, last], 53))
}

fn target(text: &str) -> Target {
    text.parse().unwrap()
}

impl World {
    fn new(zone: Zone, servers: &[(u8, Habit)]) -> Self {
        let config =
            Config { servers: servers.iter().map(|(last, _)| server(*last)).collect(), ..Config::default() };
        Self::with(config, zone, servers)
    }

    fn with(config: Config, zone: Zone, servers: &[(u8, Habit)]) -> Self {
        let now = Time::from_millis(1000);
        Self {
            now,
            locator: Locator::new(now, config, Random::new(5)),
            out: Outbox::new(256, 4),
            servers: servers.iter().map(|(last, habit)| (server(*last), *habit)).collect(),
            zone,
            ttl: 60,
            negative: Some(30),
            open: BTreeSet::new(),
            streams: BTreeMap::new(),
            ports: BTreeSet::new(),
            asked: Vec::new(),
            ids: Vec::new(),
            random: Random::new(11),
        }
    }

    fn config(&self) -> Config {
        Config { servers: self.servers.keys().copied().collect(), ..Config::default() }
    }

    fn watch(&mut self, config: Config, targets: &[&str]) {
        let targets: Vec<Target> = targets.iter().map(|text| target(text)).collect();
        self.locator.watch(self.now, config, &targets, &mut self.out);
        self.carry_out();
    }

    /// Runs for a while, as a driver does.
    fn run(&mut self, span: Duration) {
        let until = self.now + span;
        for _ in 0..100_000 {
            self.carry_out();
            match self.locator.deadline() {
                Some(at) if at <= until => {
                    self.now = self.now.max(at);
                    self.locator.handle_timeout(self.now, &mut self.out);
                }
                _ => {
                    self.now = until;
                    return;
                }
            }
        }
        panic!("no end of timers");
    }

    fn carry_out(&mut self) {
        while !self.out.is_empty() {
            while let Some(action) = self.out.next_action() {
                self.act(action);
            }
            while let Some(send) = self.out.next_send() {
                let bytes = self.out.pool().bytes(&send.packet).to_vec();
                self.out.pool().release(send.packet);
                assert!(self.open.contains(&send.socket), "sent from a closed socket");
                self.question(send.socket, send.destination, &bytes);
            }
        }
    }

    fn act(&mut self, action: Action<()>) {
        match action {
            Action::Open { socket, local, .. } => {
                assert!(SOCKETS.contains(&socket.0) && local.port() == 0);
                assert!(self.open.insert(socket), "a socket opened twice");
                self.ports.insert(socket);
                let event = SocketEvent::Opened(local);
                self.locator.handle_socket(self.now, socket, event, &mut self.out);
            }
            Action::Close(socket) => assert!(self.open.remove(&socket), "a socket closed that is not open"),
            Action::Connect { stream, remote, .. } => {
                assert!(STREAMS.contains(&stream.0));
                self.streams.insert(stream, remote);
            }
            Action::Write(stream, bytes) => {
                let remote = self.streams[&stream];
                if self.servers[&remote] == Habit::TruncatingOnly {
                    self.streams.remove(&stream);
                    let event = StreamEvent::Closed(StreamEnd::Refused(IoError::Refused));
                    return self.locator.handle_stream(self.now, stream, event, &mut self.out);
                }
                let length = u16::from_be_bytes([bytes[0], bytes[1]]);
                assert_eq!(usize::from(length), bytes.len() - 2);
                let answer = self.answer(&bytes[2..], true);
                let framed = [&(answer.len() as u16).to_be_bytes()[..], &answer].concat();
                for piece in framed.chunks(7) {
                    self.locator.handle_stream(self.now, stream, StreamEvent::Data(piece), &mut self.out);
                }
            }
            Action::Shut(stream) => assert!(self.streams.remove(&stream).is_some()),
            Action::Mail(..) | Action::Stop => panic!("a locator sends no mail"),
        }
    }

    fn question(&mut self, socket: SocketId, to: SocketAddr, bytes: &[u8]) {
        self.ids.push(u16::from_be_bytes([bytes[0], bytes[1]]));
        let packet = Packet::parse(bytes).unwrap();
        self.asked.push((to, packet.questions[0].qname.to_string()));
        let habit = self.servers[&to];
        let mut answer = self.answer(bytes, false);
        let mut source = to;
        match habit {
            Habit::Silent => return,
            Habit::Closed => {
                return self.locator.handle_unreachable(self.now, socket, &mut self.out);
            }
            Habit::WrongId => answer[1] ^= 1,
            Habit::WrongQuestion => answer[14] ^= 3,
            Habit::WrongSource => source = server(250),
            Habit::Garbage => {
                for byte in &mut answer[12..] {
                    *byte = self.random.u32() as u8;
                }
            }
            Habit::Echo => answer = bytes.to_vec(),
            _ => {}
        }
        self.locator.handle_datagram(self.now, socket, source, &answer, &mut self.out);
    }

    fn answer(&self, bytes: &[u8], tcp: bool) -> Vec<u8> {
        let question = Packet::parse(bytes).unwrap().questions[0].clone().into_owned();
        let mut packet = Packet::new_reply(u16::from_be_bytes([bytes[0], bytes[1]]));
        packet.set_flags(PacketFlag::RECURSION_AVAILABLE | PacketFlag::RECURSION_DESIRED);
        packet.questions.push(question.clone());
        let habit = self.servers.values().next().copied().unwrap();
        match habit {
            Habit::Failing => *packet.rcode_mut() = RCODE::ServerFailure,
            Habit::Truncating | Habit::TruncatingOnly if !tcp => packet.set_flags(PacketFlag::TRUNCATION),
            Habit::Referring => {
                let record = RData::NS(simple_dns::rdata::NS(name("ns.example")));
                packet.name_servers.push(ResourceRecord::new(name("example"), CLASS::IN, 60, record));
            }
            _ => {
                let mut owner = question.qname.to_string();
                while let Some((_, alias)) =
                    self.zone.iter().find(|(n, r)| *n == owner && matches!(r, RData::CNAME(_)))
                {
                    let RData::CNAME(CNAME(next)) = alias else { unreachable!() };
                    let from = simple_dns::Name::new(&owner).unwrap().into_owned();
                    packet.answers.push(ResourceRecord::new(from, CLASS::IN, self.ttl, alias.clone()));
                    owner = next.to_string();
                    if packet.answers.len() > 12 {
                        break;
                    }
                }
                for (host, record) in self.zone.iter().filter(|(n, _)| *n == owner) {
                    let record = ResourceRecord::new(name(host), CLASS::IN, self.ttl, record.clone());
                    if record.match_qtype(question.qtype) {
                        packet.answers.push(record);
                    }
                }
                if packet.answers.is_empty() {
                    *packet.rcode_mut() = RCODE::NameError;
                    if let Some(minimum) = self.negative {
                        let soa = SOA {
                            mname: name("ns.example"),
                            rname: name("admin.example"),
                            serial: 1,
                            refresh: 1,
                            retry: 1,
                            expire: 1,
                            minimum,
                        };
                        let record = ResourceRecord::new(name("example"), CLASS::IN, 900, RData::SOA(soa));
                        packet.name_servers.push(record);
                    }
                }
            }
        }
        packet.build_bytes_vec_compressed().unwrap()
    }

    fn places(&self, text: &str) -> Option<Vec<String>> {
        let route = self.locator.route(&target(text))?;
        Some(route.places.iter().map(|place| format!("{} {}", place.tier, place.address)).collect())
    }

    fn assert_at_rest(&self) {
        assert!(self.open.is_empty() && self.streams.is_empty(), "{:?} {:?}", self.open, self.streams);
        assert_eq!(self.locator.census().questions, 0);
    }
}

const SECOND: Duration = Duration::from_secs(1);

fn carrier() -> Zone {
    vec![
        ("carrier.example", naptr(10, "SIP+D2U", "_sip._udp.carrier.example")),
        ("_sip._udp.carrier.example", srv(0, 5, 5060, "one.example")),
        ("_sip._udp.carrier.example", srv(1, 5, 5070, "two.example")),
        ("one.example", a(1)),
        ("two.example", RData::CNAME(CNAME(name("real.example")))),
        ("real.example", a(2)),
    ]
}

const FOUND: [&str; 2] = ["0 192.0.2.1:5060", "1 192.0.2.2:5070"];

#[test]
fn a_carrier_is_located_with_a_socket_and_an_identifier_for_each_question() {
    let mut world = World::new(carrier(), &[(53, Habit::Honest)]);
    world.watch(world.config(), &["carrier.example"]);
    world.run(SECOND);
    assert_eq!(world.places("carrier.example").unwrap(), FOUND);
    assert_eq!(world.locator.route(&target("carrier.example")).unwrap().how, How::Naptr);
    assert!(world.locator.take_changed() && !world.locator.take_changed());
    world.assert_at_rest();
    // RFC 5452 §9.2: neither ports nor identifiers repeat or count up.
    assert_eq!(world.ports.len(), world.asked.len());
    assert!(world.ids.windows(2).all(|pair| pair[1] != pair[0].wrapping_add(1)), "{:?}", world.ids);
    // Asked again before the 60 s are over, and only then.
    let asked = world.asked.len();
    world.run(50 * SECOND);
    assert_eq!(world.asked.len(), asked);
    world.run(8 * SECOND);
    assert_eq!(world.asked.len(), 2 * asked);
    assert!(!world.locator.take_changed(), "nothing changed");
}

#[test]
fn the_next_server_is_asked_when_one_is_silent_closed_or_failing() {
    for habit in
        [Habit::Silent, Habit::Closed, Habit::WrongId, Habit::WrongQuestion, Habit::WrongSource, Habit::Echo]
    {
        let mut world = World::new(carrier(), &[(53, habit), (54, Habit::Honest)]);
        world.watch(world.config(), &["carrier.example"]);
        world.run(20 * SECOND);
        assert_eq!(world.places("carrier.example").unwrap(), FOUND, "{habit:?}");
        let first = world.asked.iter().filter(|(to, _)| *to == server(53)).count();
        assert_eq!(first, 1, "{habit:?}: who answered last is asked first");
        let stats = world.locator.stats();
        match habit {
            Habit::Closed => assert_eq!((stats.refused, stats.mismatched), (1, 0)),
            Habit::Silent => assert_eq!((stats.timeouts, stats.mismatched), (1, 0)),
            _ => assert_eq!((stats.timeouts, stats.mismatched), (1, 1), "{habit:?}"),
        }
        world.assert_at_rest();
    }
}

#[test]
fn dead_servers_cost_bounded_time_and_questions_and_are_tried_again() {
    for habit in [
        Habit::Silent,
        Habit::Closed,
        Habit::Failing,
        Habit::Garbage,
        Habit::Referring,
        Habit::TruncatingOnly,
    ] {
        let mut world = World::new(carrier(), &[(53, habit)]);
        world.watch(world.config(), &["carrier.example;transport=udp"]);
        world.run(60 * SECOND);
        assert_eq!(world.places("carrier.example;transport=udp"), None, "{habit:?}");
        let fact = world.locator.facts().next().unwrap();
        assert_eq!(fact.why, "no DNS server answers", "{habit:?}");
        assert!(world.asked.len() <= 30, "{habit:?}: {} questions a minute", world.asked.len());
        *world.servers.values_mut().next().unwrap() = Habit::Honest;
        world.run(130 * SECOND);
        assert_eq!(world.places("carrier.example;transport=udp").unwrap(), FOUND, "{habit:?}");
        world.assert_at_rest();
    }
}

#[test]
fn what_does_not_fit_is_asked_over_tcp() {
    let mut world = World::new(carrier(), &[(53, Habit::Truncating)]);
    world.watch(world.config(), &["carrier.example"]);
    world.run(SECOND);
    assert_eq!(world.places("carrier.example").unwrap(), FOUND);
    assert_eq!(world.locator.stats().truncated, world.asked.len() as u64);
    world.assert_at_rest();
}

/// RFC 8767: what was known is used while no server answers, for as long as is allowed.
#[test]
fn stale_answers_outlive_dns_and_then_end() {
    let config = Config { servers: vec![server(53)], stale: Duration::from_secs(3600), ..Config::default() };
    let mut world = World::with(config.clone(), carrier(), &[(53, Habit::Honest)]);
    world.watch(config, &["carrier.example"]);
    world.run(SECOND);
    world.servers.insert(server(53), Habit::Silent);
    world.run(600 * SECOND);
    assert_eq!(world.places("carrier.example").unwrap(), FOUND);
    assert!(world.locator.route(&target("carrier.example")).unwrap().stale);
    assert!(world.locator.stats().located_stale > 0);
    world.run(3600 * SECOND);
    assert_eq!(world.places("carrier.example"), None);
    world.servers.insert(server(53), Habit::Honest);
    world.run(120 * SECOND);
    assert_eq!(world.places("carrier.example").unwrap(), FOUND);
    assert!(!world.locator.route(&target("carrier.example")).unwrap().stale);
}

#[test]
fn a_change_is_taken_over_when_its_time_has_come_and_a_name_that_is_gone_is_gone() {
    let mut world = World::new(vec![("carrier.example", a(1))], &[(53, Habit::Honest)]);
    world.watch(world.config(), &["carrier.example:5060"]);
    world.run(SECOND);
    assert!(world.locator.take_changed());
    world.zone = vec![("carrier.example", a(2))];
    world.run(30 * SECOND);
    assert_eq!(world.places("carrier.example:5060").unwrap(), ["0 192.0.2.1:5060"]);
    world.run(30 * SECOND);
    assert_eq!(world.places("carrier.example:5060").unwrap(), ["0 192.0.2.2:5060"]);
    assert!(world.locator.take_changed());
    world.zone.clear();
    world.run(60 * SECOND);
    assert_eq!(world.places("carrier.example:5060"), None);
    assert_eq!(world.locator.facts().next().unwrap().why, "DNS knows no such server");
    assert!(world.locator.take_changed());
}

/// RFC 2308 §5: that there is nothing is kept as long as the zone says.
#[test]
fn that_there_is_nothing_is_kept_too() {
    for (negative, most) in [(Some(30), 6), (Some(3600), 2), (None, 40)] {
        let mut world = World::new(Vec::new(), &[(53, Habit::Honest)]);
        world.negative = negative;
        world.watch(world.config(), &["carrier.example:5060"]);
        world.run(120 * SECOND);
        assert!((1..=most).contains(&world.asked.len()), "{negative:?}: {:?}", world.asked.len());
    }
}

#[test]
fn aliases_in_a_circle_end() {
    let zone = vec![
        ("carrier.example", RData::CNAME(CNAME(name("other.example")))),
        ("other.example", RData::CNAME(CNAME(name("carrier.example")))),
    ];
    let mut world = World::new(zone, &[(53, Habit::Honest)]);
    world.watch(world.config(), &["carrier.example:5060"]);
    world.run(4 * SECOND);
    assert_eq!(world.places("carrier.example:5060"), None);
    assert_eq!((world.locator.stats().alias_loops, world.asked.len()), (1, 1));
}

#[test]
fn a_target_keeps_its_route_when_others_come_and_go() {
    let mut world = World::new(carrier(), &[(53, Habit::Honest)]);
    world.watch(world.config(), &["carrier.example"]);
    world.run(SECOND);
    let asked = world.asked.len();
    world.watch(world.config(), &["one.example:5060", "carrier.example"]);
    world.run(SECOND);
    assert_eq!(world.asked.len(), asked, "one.example is known already");
    assert!(world.places("one.example:5060").is_some() && world.places("carrier.example").is_some());
    world.watch(world.config(), &[]);
    assert_eq!(
        world.locator.census(),
        Census { answers: world.locator.census().answers, ..Census::default() }
    );
    assert_eq!(world.locator.deadline(), None);
    world.assert_at_rest();
}

#[test]
fn stopping_in_the_middle_leaves_nothing_open() {
    let mut world = World::new(carrier(), &[(53, Habit::Silent)]);
    world.watch(world.config(), &["carrier.example", "a.example", "b.example;transport=tcp"]);
    assert!(!world.open.is_empty());
    world.watch(world.config(), &[]);
    world.assert_at_rest();
}

#[test]
fn many_names_wait_for_their_turn_and_too_many_are_counted() {
    let mut world = World::new(vec![("x.example", a(1))], &[(53, Habit::Honest)]);
    let names: Vec<String> = (0..300).map(|n| format!("n{n}.example:5060")).collect();
    let targets: Vec<&str> = names.iter().map(String::as_str).collect();
    world.watch(world.config(), &targets);
    world.run(SECOND);
    assert_eq!(world.locator.census().targets, 256);
    assert_eq!((world.locator.stats().names_dropped, world.asked.len()), (44, 256));
    world.servers.insert(server(53), Habit::Silent);
    world.run(100 * SECOND);
    assert!(world.open.len() <= 64, "{}", world.open.len());
}

#[test]
fn the_hosts_file_goes_before_dns() {
    let mut config = Config { servers: vec![server(53)], ..Config::default() };
    config.hosts.insert(Name::new("carrier.example").unwrap(), vec!["192.0.2.77".parse().unwrap()]);
    let mut world = World::with(config.clone(), carrier(), &[(53, Habit::Honest)]);
    world.watch(config, &["carrier.example"]);
    world.run(SECOND);
    assert_eq!(world.places("carrier.example").unwrap(), ["0 192.0.2.77:5060"]);
    assert!(world.asked.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever servers do and however they change: no panic, nothing left open, and located again once one is honest.
    #[test]
    fn any_weather_ends_well(
        habits in proptest::collection::vec((0usize..12, 1u64..40), 1..12), seed: u64, ttl in 0u32..100
    ) {
        const ALL: [Habit; 12] = [
            Habit::Honest, Habit::Silent, Habit::Closed, Habit::Failing, Habit::Truncating, Habit::TruncatingOnly,
            Habit::WrongId, Habit::WrongQuestion, Habit::WrongSource, Habit::Garbage, Habit::Echo, Habit::Referring,
        ];
        let mut world = World::new(carrier(), &[(53, Habit::Honest)]);
        (world.random, world.ttl) = (Random::new(seed), ttl);
        world.watch(world.config(), &["carrier.example", "none.example", "real.example:5060"]);
        for (habit, seconds) in habits {
            world.servers.insert(server(53), ALL[habit]);
            world.run(Duration::from_secs(seconds));
            prop_assert!(world.open.len() <= 64);
        }
        world.servers.insert(server(53), Habit::Honest);
        world.run(200 * SECOND);
        prop_assert_eq!(world.places("carrier.example").unwrap(), FOUND);
        world.watch(world.config(), &[]);
        world.assert_at_rest();
    }

    /// Answers changed at random places: read or refused, never a panic, and never more records than the bound.
    #[test]
    fn mutated_answers_do_no_harm(changes in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..20), cut: u16, kind in 0usize..4) {
        use locate::fuzzed::{Kind, is_answer_to, query};
        let kind = [Kind::A, Kind::Aaaa, Kind::Srv, Kind::Naptr][kind];
        let world = World::new(carrier(), &[(53, Habit::Honest)]);
        let asked = Name::new("_sip._udp.carrier.example").unwrap();
        let question = query(7, &asked, kind).unwrap();
        let mut bytes = world.answer(&question, false);
        prop_assert!(is_answer_to(&question, &bytes));
        for (at, value) in changes {
            let at = usize::from(at) % bytes.len();
            bytes[at] = value;
        }
        bytes.truncate(usize::from(cut) % (bytes.len() * 2));
        exercise::answer(&bytes);
    }
}
