//! Requests outside of calls through gateway shards over a line on which each message in turn is lost, doubled, overtaken or
//! late: MESSAGE, and a subscription from its SUBSCRIBE to its last NOTIFY. In the end nothing is left of either.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use link::{RouteEntry, RoutingSnapshot, TrunkGroup};
use sansio::{Input, Machine, Mailbox, Outbox, Time};
use sim::peer::{LISTENER, SIGNALLING};
use sim::town::Places;
use sim::{Link, NodeId, Pace, World};
use sip::message::{Message, Method, Name};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use switch::registrar::Registrar as Phones;
use switch::trunk::{HealthConfig, TrunkConfig, TrunkTable};
use switch::{Census, Config, Listener, Mail, RtpPorts, Shard, Shards, Start};

/// RFC 3261 timers of the two ends.
const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);
const TIMER_F: Duration = Duration::from_secs(32);

/// A request that has no final answer yet.
#[derive(Debug)]
struct Waiting {
    branch: String,
    bytes: Vec<u8>,
    again: Time,
    pause: Duration,
    until: Time,
}

/// A dialog as one end knows it.
#[derive(Clone, Debug, Default)]
struct Dialog {
    call_id: String,
    local: String,
    remote: String,
    target: String,
    cseq: u32,
}

/// What an end does at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Message,
    Subscribe(u32),
    Notify(&'static str),
}

/// An end of the line: what it was told to do, and what it saw.
#[derive(Debug)]
struct End {
    place: SocketAddr,
    gateway: SocketAddr,
    plan: VecDeque<(Time, Step)>,
    dialog: Dialog,
    waiting: Vec<Waiting>,
    answered: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Final statuses of its own requests, by method; 0 if there was none.
    statuses: Vec<(String, u16)>,
    /// Requests that came, once each: method, and what is notable about it.
    got: Vec<(String, String)>,
    /// Answers to SUBSCRIBE and MESSAGE.
    answers_with: u16,
    count: u32,
}

impl End {
    fn new(place: SocketAddr, gateway: SocketAddr, plan: &[(u64, Step)]) -> Self {
        Self {
            place,
            gateway,
            plan: plan.iter().map(|(at, step)| (Time::from_millis(*at), *step)).collect(),
            dialog: Dialog::default(),
            waiting: Vec::new(),
            answered: BTreeMap::new(),
            statuses: Vec::new(),
            got: Vec::new(),
            answers_with: 200,
            count: 0,
        }
    }

    fn request(&mut self, now: Time, method: &str, fields: &str, body: &str, out: &mut Outbox<Mail>) {
        self.count += 1;
        self.dialog.cseq += 1;
        let (place, gateway, count) = (self.place, self.gateway, self.count);
        if self.dialog.call_id.is_empty() {
            self.dialog.call_id = format!("call-{}", place.ip());
            self.dialog.local = format!("<sip:end@{}>;tag=end{}", place.ip(), place.ip());
            self.dialog.remote = format!("<sip:0900@{gateway}>");
            self.dialog.target = format!("sip:0900@{gateway}");
        }
        let Dialog { call_id, local, remote, target, cseq } = &self.dialog;
        let branch = format!("z9hG4bK{}x{count}", place.ip());
        let contact =
            if method == "MESSAGE" { String::new() } else { format!("Contact: <sip:end@{place}>\r\n") };
        let bytes = format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {place};branch={branch};rport\r\nMax-Forwards: 70\r\nFrom: {local}\r\n\
             To: {remote}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n{contact}{fields}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let bytes = bytes.into_bytes();
        out.send(SIGNALLING, gateway, &bytes);
        self.waiting.push(Waiting { branch, bytes, again: now + T1, pause: T1, until: now + TIMER_F });
    }

    fn act(&mut self, now: Time, step: Step, out: &mut Outbox<Mail>) {
        match step {
            Step::Message => self.request(now, "MESSAGE", "Content-Type: text/plain\r\n", "hello", out),
            Step::Subscribe(expires) => {
                let fields = format!("Event: presence\r\nExpires: {expires}\r\n");
                self.request(now, "SUBSCRIBE", &fields, "", out);
            }
            Step::Notify(state) => {
                let fields = format!("Event: presence\r\nSubscription-State: {state}\r\n");
                self.request(now, "NOTIFY", &fields, "", out);
            }
        }
    }

    fn timeout(&mut self, now: Time, out: &mut Outbox<Mail>) {
        while let Some((at, step)) = self.plan.front().copied().filter(|(at, _)| *at <= now) {
            self.plan.pop_front();
            let _ = at;
            self.act(now, step, out);
        }
        let gateway = self.gateway;
        for waiting in &mut self.waiting {
            if waiting.again <= now {
                out.send(SIGNALLING, gateway, &waiting.bytes);
                waiting.pause = (waiting.pause * 2).min(T2);
                waiting.again = now + waiting.pause;
            }
        }
        let (over, left): (Vec<_>, Vec<_>) = self.waiting.drain(..).partition(|waiting| waiting.until <= now);
        self.waiting = left;
        for waiting in over {
            let method = String::from_utf8_lossy(&waiting.bytes).split(' ').next().unwrap().to_owned();
            self.statuses.push((method, 0));
        }
    }

    fn deadline(&self) -> Option<Time> {
        let waiting = self.waiting.iter().map(|waiting| waiting.again.min(waiting.until));
        waiting.chain(self.plan.front().map(|step| step.0)).min()
    }

    fn datagram(&mut self, now: Time, from: SocketAddr, bytes: &[u8], out: &mut Outbox<Mail>) {
        let message = Message::parse(bytes).unwrap();
        let text = |name: Name| {
            message.header(name).map(|it| String::from_utf8_lossy(it).into_owned()).unwrap_or_default()
        };
        let branch = message.top_via().unwrap().branch().unwrap().to_vec();
        if !message.is_request() {
            if message.status() < 200 {
                return;
            }
            let before = self.waiting.len();
            self.waiting.retain(|waiting| waiting.branch.as_bytes() != branch);
            if self.waiting.len() < before {
                let method = message.cseq().unwrap().method;
                self.statuses.push((method.as_str().to_owned(), message.status()));
                if method == Method::Subscribe && message.status() < 300 {
                    self.dialog.remote = text(Name::To);
                    self.dialog.target = uri(&text(Name::Contact));
                }
            }
            return;
        }
        if let Some(answer) = self.answered.get(&branch) {
            let answer = answer.clone();
            return out.send(SIGNALLING, from, &answer);
        }
        let state = text(Name::SubscriptionState);
        let notable = if state.is_empty() { text(Name::Expires) } else { state };
        self.got.push((message.method().as_str().to_owned(), notable));
        let mut early = Vec::new();
        let mut more = String::new();
        match message.method() {
            Method::Notify => {
                // It may come before the answer to our SUBSCRIBE (RFC 6665 §4.1.2.4).
                self.dialog.remote = text(Name::From);
                self.dialog.target = uri(&text(Name::Contact));
            }
            Method::Subscribe => {
                let expires = text(Name::Expires);
                if message.to().unwrap().tag().is_none() {
                    self.dialog = Dialog {
                        call_id: text(Name::CallId),
                        local: format!("{};tag=notifier", text(Name::To)),
                        remote: text(Name::From),
                        target: uri(&text(Name::Contact)),
                        cseq: 0,
                    };
                }
                more = format!("Expires: {expires}\r\nContact: <sip:notifier@{}>\r\n", self.place);
                let state = if expires == "0" {
                    "terminated;reason=timeout".to_owned()
                } else {
                    format!("active;expires={expires}")
                };
                early.push(format!("Event: presence\r\nSubscription-State: {state}\r\n"));
            }
            _ => {}
        }
        // The NOTIFY before the answer: it races it.
        if self.answers_with < 300 {
            for fields in early {
                self.request(now, "NOTIFY", &fields, "", out);
            }
        }
        let status = if message.method() == Method::Notify { 200 } else { self.answers_with };
        let to = text(Name::To);
        let tag = if to.contains(";tag=") { "" } else { ";tag=notifier" };
        let vias: String = message
            .headers(Name::Via)
            .map(|via| format!("Via: {}\r\n", String::from_utf8_lossy(via)))
            .collect();
        let answer = format!(
            "SIP/2.0 {status} Fine\r\n{vias}From: {}\r\nTo: {to}{tag}\r\nCall-ID: {}\r\nCSeq: {}\r\n{more}Content-Length: 0\r\n\r\n",
            text(Name::From),
            text(Name::CallId),
            text(Name::CSeq)
        );
        out.send(SIGNALLING, from, answer.as_bytes());
        self.answered.insert(branch, answer.into_bytes());
    }
}

fn uri(value: &str) -> String {
    value.split('<').nth(1).unwrap_or(value).split('>').next().unwrap().to_owned()
}

#[derive(Debug)]
enum Party {
    Shard(Box<Shard>),
    End(Box<End>),
    Control,
}

impl Machine for Party {
    type Mail = Mail;

    fn handle(&mut self, now: Time, input: Input<'_, Mail>, out: &mut Outbox<Mail>) {
        match (self, input) {
            (Self::Shard(shard), input) => shard.handle(now, input, out),
            (Self::End(end), Input::Datagram(it)) => end.datagram(now, it.source, it.payload, out),
            (Self::End(end), Input::Timeout) => end.timeout(now, out),
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Time> {
        match self {
            Self::Shard(shard) => shard.deadline(),
            Self::End(end) => end.deadline(),
            Self::Control => None,
        }
    }
}

/// The fault that is later than any timer of a transaction.
const LATEST: u64 = 6;

struct Scene {
    world: World<Party>,
    shards: Vec<NodeId>,
    asker: NodeId,
    answerer: NodeId,
    places: [SocketAddr; 3],
}

impl Scene {
    fn new(asks: &[(u64, Step)], answers: &[(u64, Step)]) -> Self {
        let mut world = World::new(1, Link::default(), true);
        let places = [Places::V4.host(1, 0), Places::V4.gateway(), Places::V4.host(9, 0)];
        let [near, place, far] = places;
        let mut trunk = TrunkConfig::new("own", far);
        trunk.health = HealthConfig {
            probe_interval: Duration::ZERO,
            probe_interval_down: Duration::ZERO,
            ..HealthConfig::default()
        };
        let table = Arc::new(TrunkTable::new(vec![trunk], Vec::new(), None).unwrap());
        let routing = RoutingSnapshot {
            version: 1,
            groups: vec![TrunkGroup {
                name: "own".into(),
                selection: link::Selection::Ordered,
                trunks: vec!["own".into()],
            }],
            routes: vec![RouteEntry {
                prefix: String::new(),
                groups: vec!["own".into()],
                strip: 0,
                prepend: String::new(),
                ask: false,
            }],
        };
        let routing = Arc::new(routing);
        let phones = Arc::new(Phones::new(&[0; 32]));
        let pace = Pace { wake_max: Duration::ZERO, ..Pace::default() };
        let mut shards = Vec::new();
        for me in 0..2 {
            let config = Config { allow: vec!["10.1.0.0/16".parse().unwrap()], ..Config::default() };
            let start = Start {
                config,
                shards: Shards { count: 2, me },
                listeners: vec![Listener { udp: SIGNALLING, tcp: LISTENER, local: place, advertised: place }],
                streams: Vec::new(),
                tls: false,
                rtp_ports: RtpPorts { low: 20_000, high: 20_015 },
                table: table.clone(),
                registrar: phones.clone(),
                routing: routing.clone(),
                wall_at_zero: link::UnixMicros(1_700_000_000_000_000),
                seed: 100 + u64::from(me),
            };
            let node = world.add(
                &format!("shard{me}"),
                0,
                Party::Shard(Box::new(Shard::new(Time::ZERO, start))),
                pace,
            );
            world.bind(node, SIGNALLING, place);
            world.listen(node, LISTENER, place);
            world.assign(Mailbox(me), node);
            shards.push(node);
        }
        let control = world.add("control", 0, Party::Control, pace);
        world.assign(Mailbox(2), control);
        let mut end = |name: &str, process, at, plan: &[(u64, Step)]| {
            let node = world.add(name, process, Party::End(Box::new(End::new(at, place, plan))), pace);
            world.bind(node, SIGNALLING, at);
            node
        };
        let (asker, answerer) = (end("asker", 1, near, asks), end("answerer", 2, far, answers));
        Self { world, shards, asker, answerer, places }
    }

    fn end(&mut self, node: NodeId) -> &mut End {
        let Party::End(end) = &mut self.world.node_mut(node).machine else { panic!() };
        end
    }

    fn run(&mut self, until: u64) {
        self.world.run(Time::ZERO + Duration::from_secs(until));
    }

    /// What is left in the shards, and what went wrong on the way.
    fn left(&self) -> Vec<String> {
        let mut left = self.world.violations.clone();
        for node in &self.shards {
            let Party::Shard(shard) = &self.world.node(*node).machine else { panic!() };
            if shard.census() != Census::default() {
                left.push(format!("{:?}", shard.census()));
            }
        }
        left
    }

    fn fault(&mut self, number: u64, kind: u64) {
        match kind {
            0 => self.world.network.doom(number),
            1 => self.world.network.double(number),
            2 => self.world.network.hold(number, Duration::from_millis(30)),
            3 => self.world.network.hold(number, Duration::from_millis(1200)),
            4 => self.world.network.hold(number, Duration::from_secs(9)),
            5 => self.world.network.hold(number, Duration::from_secs(25)),
            _ => self.world.network.hold(number, Duration::from_secs(40)),
        }
    }

    fn stats(&self, count: fn(&switch::Stats) -> u64) -> u64 {
        let one = |node: &NodeId| match &self.world.node(*node).machine {
            Party::Shard(shard) => count(shard.stats()),
            _ => 0,
        };
        self.shards.iter().map(one).sum()
    }
}

fn named(list: &[(String, u16)]) -> Vec<(&str, u16)> {
    list.iter().map(|(method, status)| (method.as_str(), *status)).collect()
}

#[test]
fn a_message_survives_any_single_fault() {
    for number in 0..6 {
        for kind in 0..6 {
            let mut scene = Scene::new(&[(100, Step::Message)], &[]);
            scene.fault(number, kind);
            scene.run(200);
            let text = scene.world.log.text().to_owned();
            let asker = scene.asker;
            assert_eq!(named(&scene.end(asker).statuses), [("MESSAGE", 200)], "{number} {kind}\n{text}");
            let answerer = scene.answerer;
            assert_eq!(scene.end(answerer).got.len(), 1, "{number} {kind}: it came once\n{text}");
            assert!(scene.left().is_empty(), "{number} {kind}: {:#?}\n{text}", scene.left());
        }
    }
}

/// A request that comes when its transaction is long forgotten (Timer J, RFC 3261 §17.2.2) is a new one, whatever becomes of
/// it: nothing may be left.
#[test]
fn what_comes_later_than_any_timer_leaves_nothing() {
    for (plan, most) in [(&[(100, Step::Message)][..], 6), (&LIFE[..], 28)] {
        for number in 0..most {
            let mut scene = Scene::new(plan, &NEWS[..usize::from(most > 6)]);
            scene.fault(number, LATEST);
            scene.run(600);
            let text = scene.world.log.text().to_owned();
            assert!(scene.left().is_empty(), "{number}: {:#?}\n{text}", scene.left());
        }
    }
}

/// RFC 6665: subscribed, renewed, ended by the subscriber ...
const LIFE: [(u64, Step); 3] =
    [(100, Step::Subscribe(120)), (60_000, Step::Subscribe(120)), (150_000, Step::Subscribe(0))];
/// ... and notified meanwhile.
const NEWS: [(u64, Step); 1] = [(110_000, Step::Notify("active;expires=60"))];

#[test]
fn a_subscription_survives_any_single_fault() {
    // Three SUBSCRIBEs and four NOTIFYs of four datagrams each.
    for number in 0..28 {
        for kind in 0..6 {
            let mut scene = Scene::new(&LIFE, &NEWS);
            scene.fault(number, kind);
            scene.run(145);
            let standing = scene.stats(|stats| stats.subscriptions_begun);
            scene.run(500);
            let text = scene.world.log.text().to_owned();
            let (asker, answerer) = (scene.asker, scene.answerer);
            let what = format!("{number} {kind}\n{text}");
            assert_eq!(standing, 1, "{what}");
            assert_eq!(named(&scene.end(asker).statuses), [("SUBSCRIBE", 200); 3], "{what}");
            assert_eq!(named(&scene.end(answerer).statuses), [("NOTIFY", 200); 4], "{what}");
            let got = &scene.end(asker).got;
            let states: Vec<&str> = got.iter().map(|(_, state)| state.as_str()).collect();
            let expected = [
                "active;expires=120",
                "active;expires=120",
                "active;expires=60",
                "terminated;reason=timeout",
            ];
            assert_eq!(states, expected, "{what}");
            let asked: Vec<&str> = scene.end(answerer).got.iter().map(|(_, it)| it.as_str()).collect();
            assert_eq!(asked, ["120", "120", "0"], "{what}");
            assert!(scene.left().is_empty(), "{what}: {:#?}", scene.left());
            let lost = scene.stats(|stats| stats.subscriptions_expired + stats.subscriptions_unnotified);
            assert_eq!(lost, 0, "{what}");
        }
    }
}

/// RFC 6665 §4.1.2.4 and §4.2.2: whichever end is gone, the other hears of it and nothing is left.
#[test]
fn a_side_that_is_gone_ends_the_subscription_on_both() {
    for gone in [0, 2] {
        let plan = [(100, Step::Subscribe(120))];
        let mut scene = Scene::new(&plan, &[(60_000, Step::Notify("active;expires=60"))]);
        scene.run(30);
        let (place, ip) = (scene.places[1].ip(), scene.places[gone].ip());
        scene.world.network.part(place, ip);
        scene.run(400);
        let text = scene.world.log.text().to_owned();
        assert!(scene.left().is_empty(), "{gone}: {:#?}\n{text}", scene.left());
        let (asker, answerer) = (scene.asker, scene.answerer);
        if gone == 0 {
            let last = scene.end(answerer).statuses.last().cloned();
            assert_eq!(last, Some(("NOTIFY".to_owned(), 481)), "{text}");
            assert_eq!(scene.stats(|stats| stats.subscriptions_unreachable), 1, "{text}");
        } else {
            let last = scene.end(asker).got.last().cloned();
            assert_eq!(last, Some(("NOTIFY".to_owned(), "terminated;reason=timeout".to_owned())), "{text}");
            assert_eq!(scene.stats(|stats| stats.subscriptions_expired), 1, "{text}");
        }
    }
}

#[test]
fn nobody_there_is_told_in_time_and_leaves_nothing() {
    for step in [Step::Message, Step::Subscribe(600)] {
        let mut scene = Scene::new(&[(100, step)], &[]);
        let (place, far) = (scene.places[1].ip(), scene.places[2].ip());
        scene.world.network.part(place, far);
        scene.run(200);
        let text = scene.world.log.text().to_owned();
        let asker = scene.asker;
        let status = scene.end(asker).statuses[0].1;
        assert_eq!(status, 503, "within Timer F of the asker\n{text}");
        assert!(scene.left().is_empty(), "{:#?}\n{text}", scene.left());
    }
}

/// A subscription that is refused leaves nothing, whichever message of it suffers.
#[test]
fn a_refusal_survives_any_single_fault() {
    for number in 0..5 {
        for kind in 0..6 {
            let mut scene = Scene::new(&[(100, Step::Subscribe(600))], &[]);
            let answerer = scene.answerer;
            scene.end(answerer).answers_with = 489;
            scene.fault(number, kind);
            scene.run(200);
            let text = scene.world.log.text().to_owned();
            let asker = scene.asker;
            assert_eq!(named(&scene.end(asker).statuses), [("SUBSCRIBE", 489)], "{number} {kind}\n{text}");
            assert!(scene.left().is_empty(), "{number} {kind}: {:#?}\n{text}", scene.left());
        }
    }
}
