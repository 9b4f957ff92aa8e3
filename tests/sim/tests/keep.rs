//! Phones behind NATs pinged by gateway shards over bad lines: at a pace, none given up that answers, each given up that does not.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use link::{Binding, Command, Registration, UnixMicros};
use sansio::{Input, Machine, Mailbox, Outbox, Time};
use sim::peer::SIGNALLING;
use sim::town::{EPOCH, Places};
use sim::{Link, NodeId, World, bare};
use sip::message::{Message, Method, Name};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use switch::trunk::TrunkTable;
use switch::{Config, KeepAlive, Mail, NatConfig, Shard, Users};

const PHONES: usize = 24;
const INTERVAL: Duration = Duration::from_secs(25);

/// A phone that answers OPTIONS while it is there.
#[derive(Debug, Default)]
struct Phone {
    is_gone: bool,
    /// When it was asked, each request once.
    asked: BTreeMap<Vec<u8>, Time>,
    line_ends: usize,
    faults: Vec<String>,
}

#[derive(Debug)]
enum Party {
    Shard(Box<Shard>),
    Phone(Phone),
    /// What was told of each user last.
    Control(BTreeMap<String, Registration>),
}

impl Machine for Party {
    type Mail = Mail;

    fn handle(&mut self, now: Time, input: Input<'_, Mail>, out: &mut Outbox<Mail>) {
        match self {
            Self::Shard(shard) => shard.handle(now, input, out),
            Self::Phone(phone) => {
                let Input::Datagram(datagram) = input else { return };
                if datagram.payload == b"\r\n\r\n" {
                    phone.line_ends += 1;
                    return;
                }
                let Ok(request) = Message::parse(datagram.payload) else {
                    return phone.faults.push(format!("{now} a message that cannot be read"));
                };
                if request.method() != Method::Options
                    || !request.request_uri().ends_with(b"@192.168.1.7:5060")
                {
                    phone.faults.push(format!("{now} {:?}", String::from_utf8_lossy(datagram.payload)));
                }
                phone.asked.entry(request.call_id().to_vec()).or_insert(now);
                if phone.is_gone {
                    return;
                }
                let mut text = String::from("SIP/2.0 200 OK\r\n");
                for name in [Name::Via, Name::From, Name::To, Name::CallId, Name::CSeq] {
                    let tag = if name == Name::To { ";tag=phone" } else { "" };
                    let value = String::from_utf8_lossy(request.header(name).unwrap());
                    text += &format!("{}: {value}{tag}\r\n", name.as_str());
                }
                out.send(datagram.socket, datagram.source, (text + "\r\n").as_bytes());
            }
            Self::Control(known) => {
                if let Input::Mail(Mail::Event(_, link::Event::Registered(told))) = input {
                    known.insert(told.user.to_string(), *told);
                }
            }
        }
    }

    fn deadline(&self) -> Option<Time> {
        match self {
            Self::Shard(shard) => shard.deadline(),
            Self::Phone(_) | Self::Control(_) => None,
        }
    }
}

struct Scene {
    world: World<Party>,
    shards: Vec<NodeId>,
    phones: Vec<NodeId>,
    control: NodeId,
    config: Config,
    table: Arc<TrunkTable>,
}

fn user(number: usize) -> String {
    format!("user{number}")
}

impl Scene {
    fn new(link: Link, seed: u64, keepalive: KeepAlive) -> Self {
        let mut world = World::new(seed, link, false);
        let place = Places::V4.gateway();
        let accounts = (0..PHONES).map(|number| (user(number), "pw".to_owned())).collect();
        let users = Users { accounts: Arc::new(accounts), ..Users::default() };
        let nat = NatConfig { keepalive, interval: INTERVAL, rate: 20, ..NatConfig::default() };
        let config = Config { users, nat, ..Config::default() };
        let given = (&config, Vec::new(), seed);
        let (shards, table) = bare::stand(&mut world, given, Party::Shard).unwrap();
        let pace = bare::pace();
        let control = world.add("control", 0, Party::Control(BTreeMap::new()), pace);
        world.assign(Mailbox(bare::COUNT), control);
        let mut phones = Vec::new();
        let mut known = Vec::new();
        for number in 0..PHONES {
            let at = Places::V4.host(20, number);
            let node = world.add(&user(number), 1 + number as u16, Party::Phone(Phone::default()), pace);
            world.bind(node, SIGNALLING, at);
            phones.push(node);
            let binding = Binding {
                contact: format!("sip:{}@192.168.1.7:5060", user(number)).into(),
                q: 1000,
                expires: UnixMicros(EPOCH.0 + 86_400_000_000),
                registered: EPOCH,
                call_id: "c".into(),
                cseq: 1,
                transport: "udp".into(),
                connection: None,
                source: at,
                target: at,
                behind_nat: true,
                silent: false,
                flow: None,
                path: "".into(),
                local: place,
                user_agent: "".into(),
            };
            known.push(Registration { user: user(number).into(), revision: 1, bindings: [binding].into() });
        }
        for shard in &shards {
            world.mail(*shard, Mail::Command(Command::Registrations(known.clone())));
        }
        Self { world, shards, phones, control, config, table }
    }

    fn run(&mut self, span: Duration) {
        let until = self.world.now() + span;
        self.world.run(until);
    }

    fn phone(&mut self, number: usize) -> &mut Phone {
        let Party::Phone(phone) = &mut self.world.node_mut(self.phones[number]).machine else { panic!() };
        phone
    }

    fn is_silent(&self, number: usize) -> bool {
        let Party::Control(known) = &self.world.node(self.control).machine else { panic!() };
        known.get(&user(number)).is_some_and(|told| told.bindings[0].silent)
    }

    fn silent(&self) -> Vec<usize> {
        (0..PHONES).filter(|number| self.is_silent(*number)).collect()
    }

    /// Has the gateway keep nothing open any more, sees that nothing is left of it, and stops it.
    fn finish(mut self) {
        self.config.nat.keepalive = KeepAlive::Off;
        for shard in self.shards.clone() {
            let (config, table) = (Box::new(self.config.clone()), self.table.clone());
            self.world.mail(shard, Mail::Reload { config, table });
        }
        self.run(Duration::from_secs(60));
        for shard in self.shards.clone() {
            let Party::Shard(it) = &self.world.node(shard).machine else { panic!() };
            let census = it.census();
            assert_eq!((census.probes, census.sip.transactions, census.sip.bytes), (0, 0, 0));
            self.world.mail(shard, Mail::Drain);
        }
        self.run(Duration::from_secs(5));
        assert!(self.shards.iter().all(|shard| self.world.node(*shard).has_stopped()));
        for number in 0..PHONES {
            let faults = core::mem::take(&mut self.phone(number).faults);
            assert!(faults.is_empty(), "{faults:#?}");
        }
        assert!(self.world.violations.is_empty(), "{:#?}", self.world.violations);
    }
}

fn bad_line() -> Link {
    Link {
        delay: Duration::from_millis(30),
        jitter: Duration::from_millis(40),
        loss: 0.1,
        duplicate: 0.1,
        reorder: 0.1,
        reorder_by: Duration::from_millis(900),
        ..Link::default()
    }
}

#[test]
fn phones_that_answer_stay_and_those_that_do_not_are_given_up_in_time() {
    for seed in 0..6 {
        let mut scene = Scene::new(bad_line(), seed, KeepAlive::Options);
        scene.run(Duration::from_secs(1800));
        assert_eq!(scene.silent(), [0; 0], "seed {seed}: none while all answer");
        for number in 0..PHONES {
            let asked: Vec<Time> = scene.phone(number).asked.values().copied().collect();
            // Of 72 a few may be lost whole.
            assert!((66..=74).contains(&asked.len()), "seed {seed}: {} asked", asked.len());
        }
        for number in 0..PHONES / 3 {
            scene.phone(number).is_gone = true;
        }
        // Three in a row, one interval apart, the last of them five seconds unanswered.
        scene.run(INTERVAL * 3 + Duration::from_secs(6));
        assert_eq!(scene.silent(), (0..PHONES / 3).collect::<Vec<_>>(), "seed {seed}");
        for number in 0..PHONES / 3 {
            scene.phone(number).is_gone = false;
        }
        scene.run(INTERVAL * 4);
        assert_eq!(scene.silent(), [0; 0], "seed {seed}: all are back");
        scene.finish();
    }
}

/// RFC 3261 §17.1.2: one message that is lost, whichever, makes nobody silent.
#[test]
fn any_one_message_may_be_lost() {
    for number in 0..64 {
        let mut scene = Scene::new(Link::default(), 1, KeepAlive::Options);
        scene.world.network.doom(number);
        scene.run(INTERVAL * 4);
        assert_eq!(scene.silent(), [0; 0], "{number}");
        scene.finish();
    }
}

#[test]
fn pings_are_spread_and_line_ends_ask_nobody() {
    let mut scene = Scene::new(Link::default(), 2, KeepAlive::Crlf);
    scene.run(INTERVAL * 10 + Duration::from_secs(2));
    for number in 0..PHONES {
        let (ends, asked) = (scene.phone(number).line_ends, scene.phone(number).asked.len());
        assert!((10..=11).contains(&ends) && asked == 0, "{ends} line ends, {asked} OPTIONS");
    }
    scene.finish();
    // Twenty a second of a shard, in portions of a tenth of that: two users in a tenth of a second.
    let mut scene = Scene::new(Link::default(), 3, KeepAlive::Options);
    scene.run(INTERVAL);
    let mut all: Vec<Time> = Vec::new();
    for number in 0..PHONES {
        all.extend(scene.phone(number).asked.values());
    }
    all.sort_unstable();
    assert_eq!(all.len(), PHONES);
    assert!(all.windows(9).all(|it| it[8].since(it[0]) >= Duration::from_millis(100)), "{all:?}");
    scene.finish();
}
