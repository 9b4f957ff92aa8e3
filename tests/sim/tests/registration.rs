//! Gateway shards that register trunks with a registrar over a line on which every message is lost, doubled or late once.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use sansio::{Input, Machine, Mailbox, Outbox, Random, Time};
use sim::peer::SIGNALLING;
use sim::town::{Places, unprobed};
use sim::{Link, NodeId, World, bare};
use sip::auth::{Account, Algorithm, Authority, Authorization, Presented, Verdict};
use sip::message::{Message, Method, Name, NameAddr};
use sip::registration::Standing;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use switch::trunk::{PeerConfig, RegistrationConfig, TrunkConfig, TrunkTable};
use switch::{Config, Mail, Shard};

/// What the registrar holds of an address of record.
#[derive(Debug)]
struct Bound {
    contact: String,
    until: Time,
    call_id: Vec<u8>,
    cseq: u32,
}

/// A registrar by the book (RFC 3261 §10.3), with transactions that answer what comes again as before.
#[derive(Debug)]
struct Registrar {
    authority: Authority,
    random: Random,
    bound: BTreeMap<String, Bound>,
    answered: BTreeMap<Vec<u8>, Vec<u8>>,
    /// New requests, by address of record: when, and with which CSeq number.
    asked: BTreeMap<String, Vec<(Time, u32)>>,
    /// Seconds granted at most.
    most: u32,
    /// Answers everything with this.
    refuses: Option<&'static str>,
    /// Sees requests come from elsewhere than they say, and says so (RFC 3581 §4).
    sees_nat: bool,
    /// Pairs of line ends that came.
    line_ends: Vec<Time>,
    faults: Vec<String>,
}

impl Registrar {
    fn new() -> Self {
        Self {
            // Nonces grow old between two refreshes now and then.
            authority: Authority::new(&[7; 32], Duration::from_secs(70), 64),
            random: Random::new(5),
            bound: BTreeMap::new(),
            answered: BTreeMap::new(),
            asked: BTreeMap::new(),
            most: 60,
            refuses: None,
            sees_nat: false,
            line_ends: Vec::new(),
            faults: Vec::new(),
        }
    }

    fn answer(&mut self, now: Time, request: &Message<'_>) -> Vec<u8> {
        let (line, fields) = self.decide(now, request);
        let mut text = format!("SIP/2.0 {line}\r\n");
        for name in [Name::Via, Name::From, Name::To, Name::CallId, Name::CSeq] {
            let tag = if name == Name::To { ";tag=registrar" } else { "" };
            let mut value = String::from_utf8_lossy(request.header(name).unwrap()).into_owned();
            if name == Name::Via && self.sees_nat {
                value = value.replace(";rport", ";received=203.0.113.7;rport=61000");
            }
            text += &format!("{}: {value}{tag}\r\n", name.as_str());
        }
        text += &fields;
        (text + "Content-Length: 0\r\n\r\n").into_bytes()
    }

    fn decide(&mut self, now: Time, request: &Message<'_>) -> (String, String) {
        let aor = String::from_utf8_lossy(request.to().unwrap().uri).into_owned();
        let cseq = request.cseq().unwrap().number;
        let asked = self.asked.entry(aor.clone()).or_default();
        asked.push((now, cseq));
        if let Some(line) = self.refuses {
            return (line.to_owned(), String::new());
        }
        let millis = now.as_nanos() / 1_000_000;
        let shown = request.header(Name::Authorization).and_then(Authorization::parse);
        let verdict = shown.map(|shown| {
            self.authority.judge(
                millis,
                &Presented {
                    shown: &shown,
                    method: b"REGISTER",
                    realm: b"r",
                    offered: &[Algorithm::SHA_256],
                    password: Some(b"pw"),
                },
            )
        });
        if verdict != Some(Verdict::Right) {
            if verdict == Some(Verdict::Wrong) {
                self.faults.push(format!("{now} {aor}: a wrong password"));
            }
            let (stale, random) = (verdict == Some(Verdict::Stale), &mut self.random);
            let all = self.authority.challenges(millis, b"r", &[Algorithm::SHA_256], stale, || random.u64());
            return ("401 Unauthorized".into(), format!("WWW-Authenticate: {}\r\n", all[0]));
        }
        let contact = request.contact().unwrap();
        let seconds: u32 =
            std::str::from_utf8(contact.params.value("expires").unwrap()).unwrap().parse().unwrap();
        let call_id = request.call_id().to_vec();
        if let Some(bound) = self.bound.get(&aor)
            && bound.call_id == call_id
            && bound.cseq >= cseq
        {
            return ("500 Out Of Order".into(), String::new());
        }
        if self.bound.get(&aor).is_some_and(|bound| bound.until > now && bound.call_id != call_id) {
            self.faults.push(format!("{now} {aor}: registered by two"));
        }
        let granted = seconds.min(self.most);
        let contact = String::from_utf8_lossy(contact.uri).into_owned();
        let fields = match granted {
            0 => String::new(),
            _ => format!("Contact: <{contact}>;expires={granted}\r\n"),
        };
        let until = now + Duration::from_secs(granted.into());
        self.bound.insert(aor, Bound { contact, until, call_id, cseq });
        ("200 OK".into(), fields)
    }

    fn holds(&self, aor: &str, now: Time) -> bool {
        self.bound.get(aor).is_some_and(|bound| bound.until > now)
    }
}

/// Who is there.
#[derive(Debug)]
enum Party {
    Shard(Box<Shard>),
    Registrar(Box<Registrar>),
    /// Control, which only listens.
    Control(Vec<link::RegistrationChange>),
}

impl Machine for Party {
    type Mail = Mail;

    fn handle(&mut self, now: Time, input: Input<'_, Mail>, out: &mut Outbox<Mail>) {
        match self {
            Self::Shard(shard) => shard.handle(now, input, out),
            Self::Registrar(registrar) => {
                let Input::Datagram(datagram) = input else { return };
                if datagram.payload == b"\r\n\r\n" {
                    return registrar.line_ends.push(now);
                }
                let Ok(request) = Message::parse(datagram.payload) else {
                    return registrar.faults.push(format!("{now} a message that cannot be read"));
                };
                if request.method() != Method::Register {
                    return;
                }
                let branch = request.top_via().unwrap().branch().unwrap().to_vec();
                let answer = match registrar.answered.get(&branch) {
                    Some(answer) => answer.clone(),
                    None => registrar.answer(now, &request),
                };
                out.send(datagram.socket, datagram.source, &answer);
                registrar.answered.insert(branch, answer);
            }
            Self::Control(changes) => {
                if let Input::Mail(Mail::Event(_, link::Event::Registration(change))) = input {
                    changes.push(*change);
                }
            }
        }
    }

    fn deadline(&self) -> Option<Time> {
        match self {
            Self::Shard(shard) => shard.deadline(),
            Self::Registrar(_) | Self::Control(_) => None,
        }
    }
}

const TRUNKS: usize = 3;

struct Scene {
    world: World<Party>,
    shards: Vec<NodeId>,
    registrar: NodeId,
    control: NodeId,
    table: Arc<TrunkTable>,
    place: SocketAddr,
}

fn aor(number: usize) -> String {
    format!("sip:line{number}@r")
}

impl Scene {
    fn new(link: Link, seed: u64) -> Self {
        let mut world = World::new(seed, link, true);
        let (place, far) = (Places::V4.gateway(), Places::V4.host(9, 0));
        let trunks = (0..TRUNKS).map(|number| {
            let mut trunk = TrunkConfig::new(&format!("trunk{number}"), far);
            trunk.health = unprobed();
            let (username, password) = (format!("line{number}"), "pw".to_owned());
            trunk.account = Some(Arc::new(Account { username, password }));
            trunk.register = Some(RegistrationConfig {
                registrar: "sip:r".into(),
                aor: aor(number),
                contact_user: format!("line{number}"),
                expires: Duration::from_secs(3600),
                to: PeerConfig { address: far, transport: sip::Transport::Udp },
                is_proxy: false,
                required: true,
                called_in_to: false,
                retry_base: Duration::from_secs(30),
                retry_max: Duration::from_secs(1800),
            });
            trunk
        });
        let given = (&Config::default(), trunks.collect(), seed);
        let (shards, table) = bare::stand(&mut world, given, Party::Shard).unwrap();
        let pace = bare::pace();
        let control = world.add("control", 0, Party::Control(Vec::new()), pace);
        world.assign(Mailbox(bare::COUNT), control);
        let registrar = world.add("registrar", 1, Party::Registrar(Box::new(Registrar::new())), pace);
        world.bind(registrar, SIGNALLING, far);
        Self { world, shards, registrar, control, table, place }
    }

    fn registrar(&mut self) -> &mut Registrar {
        let Party::Registrar(registrar) = &mut self.world.node_mut(self.registrar).machine else { panic!() };
        registrar
    }

    fn is_registered(&self, number: usize) -> bool {
        let trunk = self.table.trunk(&format!("trunk{number}")).unwrap();
        trunk.is_callable(self.world.now())
    }

    fn standing(&self, number: usize) -> Standing {
        self.table.trunk(&format!("trunk{number}")).unwrap().registration().unwrap().news().standing
    }

    /// Runs, and sees at every second that what the gateway believes the registrar holds.
    fn run(&mut self, seconds: u64) {
        for _ in 0..seconds {
            let next = self.world.now() + Duration::from_secs(1);
            self.world.run(next);
            for number in 0..TRUNKS {
                let (now, believed) = (self.world.now(), self.is_registered(number));
                if believed && !self.registrar().holds(&aor(number), now) {
                    let text = format!("{now} trunk{number} is believed to be registered and is not");
                    self.registrar().faults.push(text);
                }
            }
        }
    }

    fn all(&self, wanted: Standing) -> bool {
        (0..TRUNKS).all(|number| self.standing(number) == wanted)
    }

    /// Drains the gateway; it stops, and nothing is left at the registrar.
    fn drain(&mut self) {
        for shard in self.shards.clone() {
            self.world.mail(shard, Mail::Drain);
        }
        self.run(15);
    }

    /// What was wrong by the book: CSeq numbers that do not grow, requests too close to each other, and what was noted.
    fn judge(&mut self, most_in_a_second: usize) -> Vec<String> {
        let mut wrong = self.world.violations.clone();
        let registrar = self.registrar();
        wrong.append(&mut registrar.faults);
        for (aor, asked) in &registrar.asked {
            for window in asked.windows(most_in_a_second + 1) {
                let (first, last) = (window[0].0, window[most_in_a_second].0);
                if last.since(first) < Duration::from_secs(1) {
                    wrong.push(format!("{aor}: {} requests from {first} to {last}", window.len()));
                }
            }
        }
        wrong
    }
}

fn stopped(scene: &Scene) -> bool {
    scene.shards.iter().all(|shard| scene.world.node(*shard).has_stopped())
}

/// RFC 3261 §17.1.2 carries each REGISTER through one loss, one copy too many, and answers later than timers E and F.
#[test]
fn any_one_message_may_be_lost_doubled_or_late() {
    for number in 0..48 {
        for kind in 0..5 {
            let mut scene = Scene::new(Link::default(), 1);
            match kind {
                0 => scene.world.network.doom(number),
                1 => scene.world.network.double(number),
                2 => scene.world.network.hold(number, Duration::from_millis(600)),
                3 => scene.world.network.hold(number, Duration::from_secs(5)),
                _ => scene.world.network.hold(number, Duration::from_secs(40)),
            }
            scene.run(200);
            let text = scene.world.log.text().to_owned();
            assert!(scene.all(Standing::Registered), "{number} {kind}\n{text}");
            scene.drain();
            assert!(stopped(&scene), "{number} {kind}: it does not stop\n{text}");
            let now = scene.world.now();
            let left = (0..TRUNKS).filter(|number| scene.registrar().holds(&aor(*number), now)).count();
            assert_eq!(left, 0, "{number} {kind}: bindings left");
            let wrong = scene.judge(4);
            assert!(wrong.is_empty(), "{number} {kind}: {wrong:#?}\n{text}");
        }
    }
}

#[test]
fn bad_lines_are_lived_with() {
    for seed in 0..20 {
        let link = Link {
            delay: Duration::from_millis(30),
            jitter: Duration::from_millis(40),
            loss: 0.25,
            duplicate: 0.2,
            reorder: 0.2,
            reorder_by: Duration::from_millis(900),
            ..Link::default()
        };
        let mut scene = Scene::new(link, seed);
        scene.run(1200);
        for number in 0..TRUNKS {
            let asked = scene.registrar().asked[&aor(number)].clone();
            assert!(asked.len() > 20 && scene.is_registered(number), "seed {seed}: {} asked", asked.len());
        }
        scene.drain();
        assert!(stopped(&scene), "seed {seed}");
        let wrong = scene.judge(6);
        assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}");
    }
}

/// RFC 5626 §4.5: while nobody answers, and when a registrar says 503, the waits grow; when it is back, all is well again.
#[test]
fn a_registrar_that_is_gone_for_long_is_not_flooded() {
    for cut in [true, false] {
        let mut scene = Scene::new(Link::default(), 3);
        scene.run(30);
        assert!(scene.all(Standing::Registered));
        let (gateway, far) = (scene.place.ip(), Places::V4.host(9, 0).ip());
        if cut {
            scene.world.network.part(gateway, far);
        } else {
            scene.registrar().refuses = Some("503 Down");
        }
        scene.registrar().asked.clear();
        scene.run(3 * 3600);
        assert!(scene.all(Standing::Failing) && !scene.is_registered(0));
        if !cut {
            for (aor, asked) in scene.registrar().asked.clone() {
                assert!((6..=16).contains(&asked.len()), "{aor}: {} in three hours", asked.len());
            }
        }
        scene.world.network.heal(gateway, far);
        scene.registrar().refuses = None;
        scene.run(1900);
        assert!(scene.all(Standing::Registered), "within the longest wait");
        let wrong = scene.judge(4);
        assert!(wrong.is_empty(), "{wrong:#?}");
        let Party::Control(changes) = &scene.world.node(scene.control).machine else { panic!() };
        let states: Vec<link::RegistrationState> =
            changes.iter().filter(|it| it.trunk.as_str() == "trunk0").map(|it| it.state).collect();
        use link::RegistrationState::{Failing, Registered};
        assert_eq!(states.first(), Some(&Registered), "{states:?}");
        assert!(states.contains(&Failing) && states.last() == Some(&Registered), "{states:?}");
        assert!(states.len() < 12, "each change is told once: {states:?}");
    }
}

#[test]
fn a_refusal_is_taken_for_an_answer() {
    let mut scene = Scene::new(Link::default(), 4);
    scene.registrar().refuses = Some("403 Forbidden");
    scene.run(1000);
    assert!(scene.all(Standing::Refused) && !scene.is_registered(0));
    assert!(scene.registrar().asked.values().all(|asked| asked.len() == 1));
    scene.drain();
    assert!(stopped(&scene), "nothing is left to be removed");
}

/// What a NAT would forget is used again in time, and by those alone who are behind one.
#[test]
fn the_way_through_a_nat_is_kept_open() {
    for sees_nat in [true, false] {
        let mut scene = Scene::new(Link::default(), 7);
        scene.registrar().sees_nat = sees_nat;
        scene.registrar().most = 3600;
        scene.run(200);
        let ends = scene.registrar().line_ends.clone();
        assert_eq!(ends.len(), if sees_nat { TRUNKS * 7 } else { 0 }, "each 25 s: {ends:?}");
        // From now on no NAT is seen: the next refresh says so.
        scene.registrar().sees_nat = false;
        scene.run(3600);
        scene.registrar().line_ends.clear();
        scene.run(200);
        assert_eq!(scene.registrar().line_ends, []);
        scene.drain();
        assert!(stopped(&scene));
        let wrong = scene.judge(4);
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}

#[test]
fn the_contact_is_where_the_registrar_reaches_us() {
    let mut scene = Scene::new(Link::default(), 6);
    scene.run(5);
    let place = scene.place;
    for number in 0..TRUNKS {
        let bound = &scene.registrar().bound[&aor(number)];
        assert_eq!(bound.contact, format!("sip:line{number}@{place}"));
        assert!(NameAddr::parse(bound.contact.as_bytes()).is_some());
    }
}
