//! A town: callers, gateway shards, carriers, control and a store, wired as the daemon wires them.

use crate::guarded::{self, Spoken};
use crate::nameserver::NameServer;
use crate::peer::{LISTENER, Peer, SIGNALLING};
use crate::stranger::Stranger;
use crate::{Link, NodeId, Pace, World};
use control::{Engine, Fetched, Query, Record as Kept, Stored};
use link::{RouteEntry, RouteTable, RoutingSnapshot, Ticket, TrunkGroup, UnixMicros};
use sansio::{Action, Input, Machine, Mailbox, Outbox, Random, SocketId, Time};
use secure::Secured;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use switch::registrar::Registrar;
use switch::trunk::{GroupConfig, HealthConfig, TrunkConfig, TrunkTable};
use switch::{Config, Listener, RtpPorts, Shard, Shards, Start, StreamListener};

/// The gateway's socket for WebSockets.
const WEB: SocketId = SocketId(2);
/// The gateway's socket for TLS.
const TLS: SocketId = SocketId(3);
/// The gateway's socket for WebSockets over TLS.
const SECURE_WEB: SocketId = SocketId(4);

/// Everything that travels between the town's threads.
#[derive(Debug)]
pub enum Mail {
    /// To and from shards.
    Switch(switch::Mail),
    /// To and from control.
    Control(control::Mail),
}

/// A datagram of signalling as it went over a machine's socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wire {
    /// Whether the machine sent it.
    pub sent: bool,
    /// The other side.
    pub remote: SocketAddr,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// A machine whose mail is one kind of the town's.
#[derive(Debug)]
pub struct Wrapped<A: Machine> {
    /// The machine.
    pub machine: A,
    outbox: Outbox<A::Mail>,
    /// Everything that went over its signalling socket, if that is kept.
    wire: Option<Vec<Wire>>,
}

impl<A: Machine> Wrapped<A> {
    fn new(machine: A, packets: u32) -> Self {
        Self { machine, outbox: Outbox::new(packets, 8), wire: None }
    }

    fn handle(
        &mut self,
        now: Time,
        input: Input<'_, A::Mail>,
        out: &mut Outbox<Mail>,
        wrap: impl Fn(A::Mail) -> Mail,
    ) {
        if let (Some(wire), Input::Datagram(it)) = (&mut self.wire, &input)
            && it.socket == SIGNALLING
        {
            wire.push(Wire { sent: false, remote: it.source, bytes: it.payload.to_vec() });
        }
        self.machine.handle(now, input, &mut self.outbox);
        while let Some(action) = self.outbox.next_action() {
            match action {
                Action::Open { socket, local, options } => out.open(socket, local, options),
                Action::Close(socket) => out.close(socket),
                Action::Connect { stream, local, remote } => out.connect(stream, local, remote),
                Action::Write(stream, bytes) => out.write(stream, &bytes),
                Action::Shut(stream) => out.shut(stream),
                Action::Mail(to, mail) => out.mail(to, wrap(mail)),
                Action::Stop => out.stop(),
            }
        }
        while let Some(send) = self.outbox.next_send() {
            let bytes = self.outbox.pool().bytes(&send.packet);
            if let Some(wire) = self.wire.as_mut().filter(|_| send.socket == SIGNALLING) {
                wire.push(Wire { sent: true, remote: send.destination, bytes: bytes.to_vec() });
            }
            out.send(send.socket, send.destination, bytes);
            self.outbox.pool().release(send.packet);
        }
    }
}

/// An input as a machine with mail `M` takes it; `None` if it is mail of another kind.
fn translate<M>(input: Input<'_, Mail>, pick: impl Fn(Mail) -> Option<M>) -> Option<Input<'_, M>> {
    Some(match input {
        Input::Datagram(datagram) => Input::Datagram(datagram),
        Input::Unreachable { socket, destination } => Input::Unreachable { socket, destination },
        Input::Socket(socket, event) => Input::Socket(socket, event),
        Input::Stream(stream, event) => Input::Stream(stream, event),
        Input::Timeout => Input::Timeout,
        Input::Mail(mail) => Input::Mail(pick(mail)?),
    })
}

/// A certificate that can be fetched.
#[derive(Clone, Debug)]
pub struct Published {
    /// What stands at every address; `None`: nobody answers there.
    pub chain: Option<Vec<u8>>,
    /// How long it takes.
    pub after: Duration,
}

/// The store, the API and the fetcher of certificates in one: acknowledges writes late, asks for a view now and then.
#[derive(Debug)]
pub struct Desk {
    random: Random,
    control: Mailbox,
    slow: bool,
    due: VecDeque<(Time, u64)>,
    ask_at: Option<Time>,
    ask_until: Time,
    asked: u64,
    /// Answers to its questions.
    pub answers: u64,
    /// What was written, in order.
    pub kept: Vec<Kept>,
    /// Answers to questions for a call's messages.
    traces: Vec<link::Trace>,
    /// What it finds when it fetches.
    published: Option<Published>,
    fetching: VecDeque<(Time, control::Fetch, String)>,
}

impl Desk {
    fn handle(&mut self, now: Time, input: Input<'_, Mail>, out: &mut Outbox<Mail>) {
        match input {
            Input::Mail(Mail::Control(control::Mail::ToStore(write))) => {
                let most = if self.slow { 6_000_000 } else { 20_000 };
                let last = self.due.back().map_or(now, |due| due.0);
                let at = last.max(now + Duration::from_micros(self.random.below(most)));
                self.due.push_back((at, write.seq));
                self.kept.push(write.record);
            }
            Input::Mail(Mail::Control(control::Mail::ToApi(answer))) => match answer.outcome {
                control::Outcome::Trace(trace) => self.traces.extend(trace.map(|trace| *trace)),
                _ => self.answers += 1,
            },
            Input::Mail(Mail::Control(control::Mail::ToFetcher(what, url))) => {
                let after = self.published.as_ref().map_or(Duration::ZERO, |published| published.after);
                self.fetching.push_back((now + after, what, url));
            }
            Input::Timeout => {
                while self.fetching.front().is_some_and(|(at, ..)| *at <= now) {
                    let Some((_, what, url)) = self.fetching.pop_front() else { break };
                    let chain = self.published.as_ref().and_then(|published| published.chain.clone());
                    let file = chain.map(|chain| (chain, Duration::from_secs(300)));
                    let file = file.ok_or_else(|| String::from("nobody answers"));
                    let fetched = Fetched { what, url, file };
                    out.mail(self.control, Mail::Control(control::Mail::FromFetcher(fetched)));
                }
                while let Some(&(at, through)) = self.due.front() {
                    if at > now {
                        break;
                    }
                    self.due.pop_front();
                    out.mail(self.control, Mail::Control(control::Mail::FromStore(Stored { through })));
                }
                if self.ask_at.is_some_and(|at| at <= now) {
                    self.asked += 1;
                    let query = Query { ticket: Ticket(self.asked), ask: control::Ask::View { calls: 10 } };
                    out.mail(self.control, Mail::Control(control::Mail::FromApi(query)));
                    let next = now + Duration::from_secs(3 + self.random.below(5));
                    self.ask_at = (next < self.ask_until).then_some(next);
                }
            }
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Time> {
        let fetched = self.fetching.front().map(|it| it.0);
        [self.due.front().map(|due| due.0), self.ask_at, fetched].into_iter().flatten().min()
    }

    /// Questions asked.
    pub const fn asked(&self) -> u64 {
        self.asked
    }
}

/// Who lives in a town.
#[derive(Debug)]
pub enum Member {
    /// A gateway shard.
    Shard(Box<Wrapped<Secured<Shard>>>),
    /// The control engine.
    Control(Box<Wrapped<Engine>>),
    /// The store and the API.
    Desk(Box<Desk>),
    /// A caller or a carrier.
    Peer(Box<Peer>),
    /// One that speaks TLS over its connections.
    Guarded(Box<Secured<Spoken>>),
    /// Someone who was not invited.
    Stranger(Box<Stranger>),
    /// A DNS server.
    NameServer(Box<NameServer>),
}

impl Machine for Member {
    type Mail = Mail;

    fn handle(&mut self, now: Time, input: Input<'_, Mail>, out: &mut Outbox<Mail>) {
        match self {
            Self::Shard(shard) => {
                let input = translate(input, |mail| match mail {
                    Mail::Switch(mail) => Some(mail),
                    Mail::Control(control::Mail::ToGateway(_, command)) => {
                        Some(switch::Mail::Command(command))
                    }
                    Mail::Control(_) => None,
                });
                if let Some(input) = input {
                    shard.handle(now, input, out, Mail::Switch);
                }
            }
            Self::Control(engine) => {
                let input = translate(input, |mail| match mail {
                    Mail::Control(mail) => Some(mail),
                    Mail::Switch(switch::Mail::Event(shard, event)) => {
                        Some(control::Mail::FromGateway(shard, event))
                    }
                    Mail::Switch(_) => None,
                });
                if let Some(input) = input {
                    engine.handle(now, input, out, Mail::Control);
                }
            }
            Self::Desk(desk) => desk.handle(now, input, out),
            Self::Peer(peer) => peer.handle(now, input, out),
            Self::Guarded(peer) => peer.handle(now, input, out),
            Self::Stranger(stranger) => stranger.handle(now, input, out),
            Self::NameServer(server) => server.handle(now, input, out),
        }
    }

    fn deadline(&self) -> Option<Time> {
        match self {
            Self::Shard(shard) => shard.machine.deadline(),
            Self::Control(engine) => engine.machine.deadline(),
            Self::Desk(desk) => desk.deadline(),
            Self::Peer(peer) => peer.deadline(),
            Self::Guarded(peer) => peer.deadline(),
            Self::Stranger(stranger) => stranger.deadline(),
            Self::NameServer(_) => None,
        }
    }
}

/// What a town is made of.
#[derive(Debug)]
pub struct Blueprint {
    /// Where everybody lives.
    pub places: Places,
    /// How many shards.
    pub shards: u16,
    /// The callers, each at its address.
    pub callers: Vec<Peer>,
    /// The carriers, each with its trunk (whose peers are at the carrier's address).
    pub carriers: Vec<(Peer, TrunkConfig)>,
    /// How calls are spread over the carriers.
    pub selection: link::Selection,
    /// Whether calls go to the first carrier, and to the others only as its backup chain, rather than to all as a group.
    pub chain: bool,
    /// Whether shards ask control about every call.
    pub ask: bool,
    /// How calls are handled.
    pub config: Config,
    /// Pairs of RTP ports for each shard.
    pub pairs: u16,
    /// How all lines behave.
    pub link: Link,
    /// How promptly threads run.
    pub pace: Pace,
    /// Whether the store is slow to acknowledge.
    pub slow_store: bool,
    /// When the last question is asked.
    pub ask_until: Time,
    /// Whether a stranger sprays RTP and malformed SIP at the gateway until then.
    pub stranger: bool,
    /// How many addresses a stranger lays siege from; 0: there is no siege.
    pub siege: u32,
    /// Whether the gateway takes WebSockets too, at [`Places::web`].
    pub web: bool,
    /// Whether it takes and makes connections with TLS: at [`Places::tls`], and with `web` at [`Places::secure_web`].
    pub tls: bool,
    /// What certificates of callers' networks can be fetched.
    pub published: Option<Published>,
}

impl Blueprint {
    /// The smallest town: these callers may call, these carriers are called, each over a trunk that is never out of service
    /// and tried in this order; one shard, lines of 1 ms, and nobody asks, listens or is in the way.
    pub fn plain(callers: Vec<Peer>, carriers: Vec<Peer>) -> Self {
        let places = Places::V4;
        let trunk = |index| {
            let mut trunk = TrunkConfig::new(&format!("carrier{index}"), places.host(9, index));
            trunk.health = unprobed();
            trunk
        };
        Self {
            places,
            shards: 1,
            callers,
            carriers: carriers.into_iter().enumerate().map(|(index, peer)| (peer, trunk(index))).collect(),
            selection: link::Selection::Ordered,
            chain: false,
            ask: false,
            config: Config {
                allow: places.network(1).into_iter().collect(),
                media_timeout: Duration::ZERO,
                ..Config::default()
            },
            pairs: 32,
            link: Link::default(),
            pace: Pace { wake_max: Duration::ZERO, ..Pace::default() },
            slow_store: false,
            ask_until: Time::ZERO,
            stranger: false,
            siege: 0,
            web: false,
            tls: false,
            published: None,
        }
    }
}

/// Health of a trunk that is not probed.
pub fn unprobed() -> HealthConfig {
    HealthConfig {
        probe_interval: Duration::ZERO,
        probe_interval_down: Duration::ZERO,
        ..HealthConfig::default()
    }
}

/// The gateway's process: what it is started with, and started again.
#[derive(Clone, Debug)]
struct Process {
    count: u16,
    packets: u32,
    place: SocketAddr,
    further: Vec<StreamListener>,
    tls: bool,
    rtp_ports: RtpPorts,
    config: Config,
    registrar: Arc<Registrar>,
    routing: Arc<RoutingSnapshot>,
    routes: RouteTable,
}

/// The wall clock at the start of time.
pub const EPOCH: UnixMicros = UnixMicros(1_700_000_000_000_000);

impl Process {
    fn shard(&self, now: Time, me: u16, table: Arc<TrunkTable>, seed: u64) -> Member {
        let start = Start {
            config: self.config.clone(),
            shards: Shards { count: self.count, me },
            listeners: vec![Listener {
                udp: SIGNALLING,
                tcp: LISTENER,
                local: self.place,
                advertised: self.place,
            }],
            streams: self.further.clone(),
            tls: self.tls,
            rtp_ports: self.rtp_ports,
            table,
            registrar: self.registrar.clone(),
            routing: self.routing.clone(),
            wall_at_zero: EPOCH,
            seed,
            secrets: switch::Secrets::new([seed as u8; 32]),
        };
        let shard = guarded::around(now, Shard::new(now, start), &[TLS, SECURE_WEB], self.tls);
        let mut shard = Wrapped::new(shard, self.packets);
        shard.wire = (self.config.observing.ring > 0).then(Vec::new);
        Member::Shard(Box::new(shard))
    }

    fn control(&self) -> Member {
        let config = control::Config { epoch: EPOCH, ..control::Config::default() };
        Member::Control(Box::new(Wrapped::new(Engine::new(config, self.routes.clone()), self.packets)))
    }

    fn bind(&self, world: &mut World<Member>, node: NodeId) {
        world.bind(node, SIGNALLING, self.place);
        world.listen(node, LISTENER, self.place);
        for further in &self.further {
            world.listen(node, further.socket, further.local);
        }
    }
}

/// The addresses of the gateway for connections alone.
fn further(plan: &Blueprint) -> Vec<StreamListener> {
    let listener = |socket, transport, local| StreamListener { socket, transport, local, advertised: local };
    let (web, tls) = (plan.web, plan.tls);
    let places = plan.places;
    let all = [
        (web && !tls).then(|| listener(WEB, sip::Transport::Ws, places.web())),
        tls.then(|| listener(TLS, sip::Transport::Tls, places.tls())),
        (web && tls).then(|| listener(SECURE_WEB, sip::Transport::Wss, places.secure_web())),
    ];
    all.into_iter().flatten().collect()
}

/// A town that runs.
pub struct Town {
    /// Its world.
    pub world: World<Member>,
    /// Its gateway shards.
    pub shards: Vec<NodeId>,
    /// Its callers.
    pub callers: Vec<NodeId>,
    /// Its carriers.
    pub carriers: Vec<NodeId>,
    /// Its control engine.
    pub control: NodeId,
    /// Its store and API.
    pub desk: NodeId,
    /// Its trunks, shared by the shards.
    pub table: Arc<TrunkTable>,
    trunks: Vec<TrunkConfig>,
    groups: Vec<GroupConfig>,
    process: Process,
}

impl Town {
    /// Builds the town of a blueprint.
    ///
    /// # Errors
    /// Says which part of the blueprint does not fit.
    pub fn build(random: &mut Random, plan: Blueprint, keep_log: bool) -> Result<Self, String> {
        let mut world = World::new(random.u64(), plan.link, keep_log);
        let mut trunks: Vec<TrunkConfig> = plan.carriers.iter().map(|carrier| carrier.1.clone()).collect();
        let mut names: Vec<String> = trunks.iter().map(|trunk| trunk.name.clone()).collect();
        if plan.chain {
            for (trunk, next) in trunks.iter_mut().zip(names.iter().skip(1)) {
                trunk.backup = Some(next.clone());
            }
            names.truncate(1);
        }
        let groups =
            vec![GroupConfig { name: "all".to_owned(), trunks: names.clone(), selection: plan.selection }];
        let table =
            TrunkTable::new(trunks.clone(), groups.clone(), None).map_err(|error| error.to_string())?;
        let table = Arc::new(table);
        let routing = Self::routing(&names, plan.selection, plan.ask);
        let routes = RouteTable::new(routing.clone()).map_err(|error| error.to_string())?;
        let place = plan.places.gateway();
        let rtp_ports = RtpPorts { low: 20_000, high: 20_000 + plan.pairs * plan.shards * 2 - 1 };
        let process = Process {
            count: plan.shards,
            packets: plan.pace.packets / 2,
            place,
            further: further(&plan),
            tls: plan.tls,
            rtp_ports,
            config: plan.config.clone(),
            registrar: Arc::new(Registrar::new(&[0; 32])),
            routing: Arc::new(routing),
            routes,
        };
        let mut shards = Vec::new();
        for me in 0..plan.shards {
            let shard = process.shard(Time::ZERO, me, table.clone(), random.u64());
            let node = world.add(&format!("shard{me}"), 0, shard, plan.pace);
            process.bind(&mut world, node);
            world.assign(Mailbox(me), node);
            shards.push(node);
        }
        let config = control::Config::default();
        let (store, api, fetcher) = (config.store, config.api, config.fetcher);
        let control = world.add("control", 0, process.control(), plan.pace);
        world.assign(Mailbox(plan.shards), control);
        let desk = Desk {
            random: random.fork(),
            control: Mailbox(plan.shards),
            slow: plan.slow_store,
            due: VecDeque::new(),
            ask_at: Some(Time::from_millis(1000)),
            ask_until: plan.ask_until,
            asked: 0,
            answers: 0,
            kept: Vec::new(),
            traces: Vec::new(),
            published: plan.published,
            fetching: VecDeque::new(),
        };
        let desk = world.add("desk", 0, Member::Desk(Box::new(desk)), plan.pace);
        world.assign(store, desk);
        world.assign(api, desk);
        world.assign(fetcher, desk);
        let mut town = Self {
            world,
            shards,
            callers: Vec::new(),
            carriers: Vec::new(),
            control,
            desk,
            table,
            trunks,
            groups,
            process,
        };
        for (index, peer) in plan.callers.into_iter().enumerate() {
            let node = town.add_peer(&format!("caller{index}"), peer, plan.pace);
            town.callers.push(node);
        }
        for (index, (peer, _)) in plan.carriers.into_iter().enumerate() {
            let node = town.add_peer(&format!("carrier{index}"), peer, plan.pace);
            town.carriers.push(node);
        }
        if plan.siege > 0 {
            let addresses: Vec<SocketAddr> =
                (0..plan.siege as usize).map(|index| plan.places.host(66, index)).collect();
            let stranger = Stranger::new(
                random.fork(),
                addresses[0],
                place,
                (rtp_ports.low, rtp_ports.high),
                plan.ask_until,
            )
            .laying_siege(plan.siege);
            let node = town.world.add("siege", 998, Member::Stranger(Box::new(stranger)), plan.pace);
            for (index, address) in addresses.into_iter().enumerate() {
                town.world.bind(node, SocketId(index as u32), address);
            }
        } else if plan.stranger {
            let address = plan.places.host(66, 0);
            let ports = (rtp_ports.low, rtp_ports.high);
            let stranger = Stranger::new(random.fork(), address, place, ports, plan.ask_until);
            let node = town.world.add("stranger", 999, Member::Stranger(Box::new(stranger)), plan.pace);
            town.world.bind(node, SocketId(0), address);
        }
        Ok(town)
    }

    fn add_peer(&mut self, name: &str, peer: Peer, pace: Pace) -> NodeId {
        let address = peer.address();
        let process = 1 + self.world.nodes().count() as u16;
        let member = match peer.tls {
            false => Member::Peer(Box::new(peer)),
            true => {
                let now = self.world.now();
                Member::Guarded(Box::new(guarded::around(now, Spoken(peer), &[LISTENER], true)))
            }
        };
        let node = self.world.add(name, process, member, pace);
        self.world.bind(node, SIGNALLING, address);
        self.world.listen(node, LISTENER, address);
        node
    }

    /// Adds a DNS server to the town.
    pub fn add_name_server(&mut self, address: SocketAddr, server: NameServer) -> NodeId {
        let member = Member::NameServer(Box::new(server));
        let node = self.world.add("nameserver", 53, member, Pace::default());
        self.world.bind(node, NameServer::SOCKET, address);
        self.world.listen(node, NameServer::LISTENER, address);
        node
    }

    /// Shards that go by another table than the first.
    pub fn unlike_tables(&self) -> Vec<String> {
        let version = |node: &NodeId| match &self.world.node(*node).machine {
            Member::Shard(shard) => Some(shard.machine.inner().table().version()),
            _ => None,
        };
        let first = self.shards.first().and_then(version);
        let unlike = |node: &&NodeId| version(node) != first;
        let say = |node: &NodeId| format!("{node:?} goes by table {:?}, not {first:?}", version(node));
        self.shards.iter().filter(unlike).map(say).collect()
    }

    fn routing(names: &[String], selection: link::Selection, ask: bool) -> RoutingSnapshot {
        let route = |prefix: &str, strip, prepend: &str| RouteEntry {
            prefix: prefix.to_owned(),
            groups: vec!["all".into()],
            strip,
            prepend: prepend.to_owned(),
            ask,
        };
        RoutingSnapshot {
            version: 1,
            groups: vec![TrunkGroup {
                name: "all".into(),
                selection,
                trunks: names.iter().map(|name| name.as_str().into()).collect(),
            }],
            routes: vec![route("", 0, ""), route("0049", 4, "+49"), route("00", 2, "+")],
        }
    }

    /// A peer of the town.
    pub fn peer(&self, node: NodeId) -> Option<&Peer> {
        match &self.world.node(node).machine {
            Member::Peer(peer) => Some(peer),
            Member::Guarded(peer) => Some(&peer.inner().0),
            _ => None,
        }
    }

    /// Gives all shards the same settings again at some time, as a reload does.
    ///
    /// # Errors
    /// As [`Self::build`].
    pub fn reload_at(&mut self, at: Time) -> Result<(), String> {
        let table = TrunkTable::new(self.trunks.clone(), self.groups.clone(), Some(&self.table));
        let table = Arc::new(table.map_err(|error| error.to_string())?);
        for shard in self.shards.clone() {
            let (config, table) = (Box::new(self.process.config.clone()), table.clone());
            self.world.at(at, move |world| {
                world.mail(shard, Mail::Switch(switch::Mail::Reload { config, table }));
            });
        }
        self.table = table;
        Ok(())
    }

    /// Kills the gateway's process at `dies` (shards and control at once, nothing said to anybody) and starts it again
    /// at `back`, with nothing but its settings and what the store has.
    ///
    /// # Errors
    /// As [`Self::build`].
    pub fn restart_at(&mut self, dies: Time, back: Time, seed: u64) -> Result<(), String> {
        let table = TrunkTable::new(self.trunks.clone(), self.groups.clone(), None);
        let table = Arc::new(table.map_err(|error| error.to_string())?);
        let (shards, control, desk) = (self.shards.clone(), self.control, self.desk);
        let victims: Vec<NodeId> = shards.iter().copied().chain([control]).collect();
        self.world.at(dies, move |world| {
            victims.iter().for_each(|node| world.kill(*node));
            if let Member::Desk(desk) = &mut world.node_mut(desk).machine {
                desk.due.clear();
            }
        });
        self.process.registrar = Arc::new(Registrar::new(&[0; 32]));
        let (process, fresh) = (self.process.clone(), table.clone());
        self.world.at(back, move |world| {
            let now = world.now();
            for (me, node) in shards.iter().enumerate() {
                let shard = process.shard(now, me as u16, fresh.clone(), seed.wrapping_add(me as u64));
                world.revive(*node, shard);
                process.bind(world, *node);
            }
            world.revive(control, process.control());
        });
        self.table = table;
        Ok(())
    }

    /// Kills control at `dies`, and starts it again at `back` with nothing but its settings. Shards and store live on.
    pub fn restart_control_at(&mut self, dies: Time, back: Time) {
        let (control, desk, process) = (self.control, self.desk, self.process.clone());
        self.world.at(dies, move |world| {
            world.kill(control);
            if let Member::Desk(desk) = &mut world.node_mut(desk).machine {
                // Nobody waits any more for what it is about to say.
                desk.due.clear();
                desk.fetching.clear();
            }
        });
        self.world.at(back, move |world| world.revive(control, process.control()));
    }

    /// The counters of all shards together.
    pub fn total(&self, count: fn(&switch::Stats) -> u64) -> u64 {
        let machines = self.shards.iter().map(|node| &self.world.node(*node).machine);
        let one = |machine: &Member| match machine {
            Member::Shard(shard) => count(shard.machine.inner().stats()),
            _ => 0,
        };
        machines.map(one).sum()
    }

    /// What the store was told to keep.
    pub fn kept(&self) -> &[Kept] {
        match &self.world.node(self.desk).machine {
            Member::Desk(desk) => &desk.kept,
            _ => &[],
        }
    }

    /// Switches probing off in all shards, so that they can come to rest.
    ///
    /// # Errors
    /// As [`Self::build`].
    pub fn stop_probing(&mut self) -> Result<(), String> {
        let mut trunks = self.trunks.clone();
        for trunk in &mut trunks {
            trunk.health.probe_interval = Duration::ZERO;
        }
        let table = TrunkTable::new(trunks, self.groups.clone(), Some(&self.table));
        let table = Arc::new(table.map_err(|error| error.to_string())?);
        for shard in &self.shards {
            let mail =
                switch::Mail::Reload { config: Box::new(self.process.config.clone()), table: table.clone() };
            self.world.mail(*shard, Mail::Switch(mail));
        }
        self.table = table;
        Ok(())
    }

    /// Tells all shards to stop once they have nothing to do.
    pub fn drain(&mut self) {
        for shard in &self.shards {
            self.world.mail(*shard, Mail::Switch(switch::Mail::Drain));
        }
    }

    /// What is left in shards, trunks and control that should be gone by now.
    pub fn leftovers(&mut self) -> Vec<String> {
        let mut left = Vec::new();
        for node in self.shards.clone() {
            let it = self.world.node_mut(node);
            let taken = it.packets_taken();
            let (name, streams) = (it.name.clone(), it.streams_open());
            let Member::Shard(shard) = &it.machine else { continue };
            let census = shard.machine.inner().census();
            let sessions = shard.machine.stats().sessions;
            if sessions > 0 {
                left.push(format!("{name} still holds {sessions} sessions of TLS"));
            }
            // What names stand for is asked again and again, and trunks are registered, as long as shards run.
            let mut passing = switch::Census { questions: 0, registrants: 0, ..census };
            if census.registrants > 0 {
                let legs = (census.sip.legs, census.sip.dialogs);
                passing.sip = sip::Census { legs: legs.0, dialogs: legs.1, ..sip::Census::default() };
            }
            if passing != switch::Census::default() {
                left.push(format!("{name} still holds {census:?}"));
            }
            if taken + streams > 0 {
                left.push(format!("{name} still holds {taken} packets, {streams} streams"));
            }
            let dropped = it.datagrams_dropped();
            if dropped > 0 {
                left.push(format!("{name} did not take {dropped} datagrams"));
            }
        }
        for trunk in self.table.trunks() {
            if trunk.calls() != 0 {
                left.push(format!("trunk {} still counts {} calls", trunk.config.name, trunk.calls()));
            }
        }
        if let Member::Control(engine) = &self.world.node(self.control).machine {
            let (open, writes) = (engine.machine.open_calls(), engine.machine.writes_waiting());
            if open + writes > 0 {
                left.push(format!("control still holds {open} calls, {writes} writes"));
            }
        }
        if let Member::Desk(desk) = &self.world.node(self.desk).machine
            && desk.answers != desk.asked()
        {
            left.push(format!("{} of {} questions were answered", desk.answers, desk.asked()));
        }
        left
    }

    /// Bindings of phones that the gateway holds.
    pub fn bindings(&self) -> usize {
        self.process.registrar.bindings()
    }

    /// What went over the shards' signalling sockets so far, shard by shard; empty unless messages are recorded.
    pub fn wire(&self) -> Vec<Wire> {
        let machines = self.shards.iter().map(|node| &self.world.node(*node).machine);
        let wires = machines.filter_map(|machine| match machine {
            Member::Shard(shard) => shard.wire.as_ref(),
            _ => None,
        });
        wires.flatten().cloned().collect()
    }

    /// Asks control for the messages of a call, as the API does; `None` if there is no answer.
    pub fn trace(&mut self, of: link::TraceOf) -> Option<link::Trace> {
        let query = Query { ticket: Ticket(1 << 40), ask: control::Ask::Trace(of) };
        self.world.mail(self.control, Mail::Control(control::Mail::FromApi(query)));
        let until = self.world.now() + Duration::from_secs(2);
        self.world.run(until);
        match &mut self.world.node_mut(self.desk).machine {
            Member::Desk(desk) => desk.traces.pop(),
            _ => None,
        }
    }

    /// The records of ended calls that the store has, each once.
    pub fn ended(&self) -> Vec<link::Cdr> {
        let ended = self.kept().iter().filter_map(|kept| match kept {
            Kept::Ended(cdr) => Some((cdr.call, (**cdr).clone())),
            _ => None,
        });
        ended.collect::<BTreeMap<_, _>>().into_values().collect()
    }

    /// The records of ended calls that the store has, by the last digits of the number dialled.
    pub fn cdrs(&self) -> Vec<(u64, link::Cdr)> {
        let Member::Desk(desk) = &self.world.node(self.desk).machine else { return Vec::new() };
        let ended = desk.kept.iter().filter_map(|kept| match kept {
            Kept::Ended(cdr) => Some((**cdr).clone()),
            _ => None,
        });
        ended
            .filter_map(|cdr| {
                let digits = &cdr.dialled[cdr.dialled.len().checked_sub(7)?..];
                Some((digits.parse().ok()?, cdr))
            })
            .collect()
    }
}

/// Where everybody lives: a network of IPv4 or one of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Places {
    /// 10.1 are callers, 10.5 the gateway, 10.9 carriers.
    V4,
    /// fd00:1 are callers, fd00:5 the gateway, fd00:9 carriers.
    V6,
}

impl Places {
    /// One of the two, IPv4 more often.
    pub fn draw(random: &mut Random) -> Self {
        if random.chance(0.3) { Self::V6 } else { Self::V4 }
    }

    /// The address of number `index` in network `net`.
    pub fn host(self, net: u8, index: usize) -> SocketAddr {
        let last = 1 + index as u8;
        let ip = match self {
            Self::V4 => IpAddr::from([10, net, 0, last]),
            Self::V6 => IpAddr::from([0xfd00, u16::from(net), 0, 0, 0, 0, 0, u16::from(last)]),
        };
        SocketAddr::new(ip, 5060)
    }

    /// The gateway's address.
    pub fn gateway(self) -> SocketAddr {
        self.host(5, 0)
    }

    /// The gateway's address for WebSockets.
    pub fn web(self) -> SocketAddr {
        SocketAddr::new(self.gateway().ip(), 5080)
    }

    /// The gateway's address for TLS.
    pub fn tls(self) -> SocketAddr {
        SocketAddr::new(self.gateway().ip(), 5061)
    }

    /// The gateway's address for WebSockets over TLS.
    pub fn secure_web(self) -> SocketAddr {
        SocketAddr::new(self.gateway().ip(), 5443)
    }

    /// How the addresses of network `net` begin, as text.
    pub fn mark(self, net: u8) -> String {
        match self {
            Self::V4 => format!("10.{net}."),
            Self::V6 => format!("fd00:{net}:"),
        }
    }

    /// Network `net` as a network that may place calls.
    pub fn network(self, net: u8) -> Option<switch::Network> {
        let text = match self {
            Self::V4 => format!("10.{net}.0.0/16"),
            Self::V6 => format!("fd00:{net}::/32"),
        };
        text.parse().ok()
    }
}
