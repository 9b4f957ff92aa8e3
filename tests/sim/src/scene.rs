//! Scenes: a topology made from a seed, run to its end, and everything that was wrong with it.

use crate::agent::{Agent, Lone};
use crate::gateway;
use crate::mix::{Menu, Mix};
use crate::peer::{CallPlan, LISTENER, Outcome, Peer, Record, SIGNALLING};
use crate::town::Places;
use crate::{Defect, Ended, Link, NodeId, Pace, World};
use sansio::{Random, Time};
use std::fmt;
use std::time::Duration;

/// The topologies of the swarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topology {
    /// An application on `sip::Endpoint` and a scripted peer call each other.
    Endpoint,
    /// Two applications on `sip::Endpoint` call each other.
    Endpoints,
    /// Callers, gateway shards, carriers and control: a mix of calls over bad lines.
    Gateway,
    /// The same with peers that know reliable provisional responses, UPDATE and session timers; long calls.
    Extensions,
    /// The same with small caps and bursts of calls.
    Caps,
    /// The same with a carrier that dies and comes back.
    Deaths,
    /// The same with a gateway that is told to stop, drained or at once.
    Stops,
    /// The same with lines cut, carriers killed, threads stalled, all at random.
    Chaos,
    /// The same with few ports, few calls, few calls a second.
    Scarce,
    /// The same with a gateway whose process is killed with calls up, and started again.
    Restarts,
    /// The same with every shard's record of messages held against what went over its sockets.
    Ladders,
    /// The same while strangers flood the gateway and scan it.
    Siege,
    /// The same with a carrier given by name, whose addresses change, and a DNS server that behaves badly.
    Names,
}

impl Topology {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Endpoint,
        Self::Endpoints,
        Self::Gateway,
        Self::Extensions,
        Self::Caps,
        Self::Deaths,
        Self::Stops,
        Self::Chaos,
        Self::Scarce,
        Self::Restarts,
        Self::Ladders,
        Self::Siege,
        Self::Names,
    ];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint",
            Self::Endpoints => "endpoints",
            Self::Gateway => "gateway",
            Self::Extensions => "extensions",
            Self::Caps => "caps",
            Self::Deaths => "deaths",
            Self::Stops => "stops",
            Self::Chaos => "chaos",
            Self::Scarce => "scarce",
            Self::Restarts => "restarts",
            Self::Ladders => "ladders",
            Self::Siege => "siege",
            Self::Names => "names",
        }
    }

    /// What it is, in a line.
    pub const fn about(self) -> &'static str {
        match self {
            Self::Endpoint => "an application on the SIP endpoint and a scripted peer call each other",
            Self::Endpoints => "two applications on the SIP endpoint call each other",
            Self::Gateway => "callers, gateway shards, carriers, control: a mix of calls over bad lines",
            Self::Extensions => "peers with 100rel, UPDATE and session timers: no call ends before its time",
            Self::Caps => "small caps and bursts of calls: never one too many, never a needless refusal",
            Self::Stops => "the gateway is told to stop with calls up, drained or at once",
            Self::Chaos => {
                "lines cut, carriers killed, threads stalled at random: nothing is left in the end"
            }
            Self::Siege => "strangers flood the gateway and scan it: whoever may call notices nothing",
            Self::Restarts => "the gateway is killed with calls up and started again",
            Self::Ladders => "the ladder of every call is what went over the gateway's sockets",
            Self::Names => "a carrier by name: its addresses change and DNS behaves badly while calls run",
            Self::Scarce => "few ports, few calls, few calls a second: refusals with 503, nothing else",
            Self::Deaths => "a carrier dies with calls up and comes back: calls move to the others",
        }
    }

    /// The topology of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|topology| topology.name() == name)
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a scene is run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Keep the log's text.
    pub keep_log: bool,
    /// Plant this defect.
    pub defect: Option<Defect>,
}

/// What came of a scene.
#[derive(Clone, Debug)]
pub struct Report {
    /// Which topology.
    pub topology: Topology,
    /// From which seed.
    pub seed: u64,
    /// What was wrong; empty if all is well.
    pub violations: Vec<String>,
    /// Calls made, and answered.
    pub calls: (usize, usize),
    /// Hash and lines of the log.
    pub log: (u64, u64),
    /// The log's text if it was kept.
    pub text: String,
}

impl Report {
    /// The command that runs this scene again.
    pub fn command(&self) -> String {
        format!("cargo sim --topology {} --seed {} --log sim.log", self.topology, self.seed)
    }
}

/// Makes and runs the scene of a seed.
pub fn run(topology: Topology, seed: u64, options: Options) -> Report {
    match topology {
        Topology::Endpoint | Topology::Endpoints => endpoints(topology, seed, options),
        Topology::Gateway => gateway::mixed(seed, options),
        Topology::Extensions => gateway::extensions(seed, options),
        Topology::Caps => gateway::caps(seed, options),
        Topology::Deaths => gateway::deaths(seed, options),
        Topology::Stops => gateway::stops(seed, options),
        Topology::Chaos => gateway::chaos(seed, options),
        Topology::Scarce => gateway::scarce(seed, options),
        Topology::Restarts => gateway::restarts(seed, options),
        Topology::Ladders => gateway::ladders(seed, options),
        Topology::Siege => gateway::siege(seed, options),
        Topology::Names => gateway::names(seed, options),
    }
}

/// A line as a seed may draw it: from perfect to bad.
pub fn draw_link(random: &mut Random) -> Link {
    let bad = |random: &mut Random, most: f64| if random.chance(0.5) { random.unit() * most } else { 0.0 };
    Link {
        delay: Duration::from_micros(100 + random.below(60_000)),
        jitter: Duration::from_micros(random.below(20_000)),
        loss: bad(random, 0.12),
        duplicate: bad(random, 0.15),
        reorder: bad(random, 0.2),
        reorder_by: Duration::from_millis(1 + random.below(700)),
        mtu: 0,
        icmp: 1.0,
    }
}

/// A thread's pace as a seed may draw it.
pub fn draw_pace(random: &mut Random) -> Pace {
    Pace {
        wake_max: Duration::from_micros(random.below(1000)),
        stall: if random.chance(0.3) { 0.01 } else { 0.0 },
        stall_max: Duration::from_millis(1 + random.below(300)),
        drain_between: random.unit(),
        backlog: 4096,
        packets: 4096,
    }
}

/// After the last call everything must be over: talks, lingering transactions (64 × T1), idle connections.
pub(crate) const AFTERMATH: Duration = Duration::from_secs(400);

fn endpoints(topology: Topology, seed: u64, options: Options) -> Report {
    let mut random = Random::new(seed);
    let places = Places::draw(&mut random);
    let (left, right) = (places.host(1, 0), places.host(9, 0));
    let mut world = World::new(random.u64(), draw_link(&mut random), options.keep_log);
    // The application answers as it likes: it knows of no hold.
    let menu = Menu { calls: 4 + random.below(6), inside: 0.0, ..Menu::default() };
    let out = Mix::draw(&mut random, &menu, 1, right);
    let back = Mix::draw(&mut random, &menu, 1001, left);
    let mut nodes = Vec::new();
    for (name, own, plans, answers) in [
        ("agent", left, out.plans.clone(), back.answers.clone()),
        ("other", right, back.plans.clone(), out.answers.clone()),
    ] {
        let seed = random.u64();
        let machine = if name == "agent" || topology == Topology::Endpoints {
            let mut config = sip::Config::default();
            if random.chance(0.5) {
                // Reliable provisional responses where both know of them (RFC 3262).
                config.extensions = vec![String::from("100rel")];
                config.methods.push(sip::message::Method::Prack);
            }
            let mut agent = Agent::new(own, seed, config, plans);
            agent.answers = answers;
            Lone::Agent(Box::new(agent))
        } else {
            let mut peer = Peer::new(own, seed, plans);
            peer.answers = answers;
            Lone::Peer(Box::new(peer))
        };
        let node = world.add(name, 0, machine, draw_pace(&mut random));
        world.bind(node, SIGNALLING, own);
        world.listen(node, LISTENER, own);
        nodes.push(node);
    }
    if let Some(defect) = options.defect {
        world.plant(nodes[0], defect.plant());
    }
    let ended = world.run(Time::ZERO + menu.within + AFTERMATH);
    let records: Vec<Record> = nodes.iter().flat_map(|node| records(&world, *node)).collect();
    let mut violations = world.violations.clone();
    if ended != Ended::Quiet {
        violations.push(format!("the run did not come to rest: {ended:?}"));
    }
    for node in &nodes {
        let it = world.node(*node);
        let wrong: Vec<String> = match &it.machine {
            Lone::Agent(agent) => agent.faults().iter().cloned().chain(agent.unfinished()).collect(),
            Lone::Peer(peer) => {
                peer.faults().iter().chain(peer.gaps()).cloned().chain(peer.unfinished()).collect()
            }
        };
        violations.extend(wrong.into_iter().map(|wrong| format!("{}: {wrong}", it.name)));
        if it.streams_open() > 0 {
            violations.push(format!("{}: {} streams open", it.name, it.streams_open()));
        }
    }
    for mix in [&out, &back] {
        violations.extend(mix.judge(|serial| outcome(&records, serial)));
    }
    report(topology, seed, &world.log, violations, &records)
}

fn records(world: &World<Lone>, node: NodeId) -> Vec<Record> {
    match &world.node(node).machine {
        Lone::Agent(agent) => agent.records(),
        Lone::Peer(peer) => peer.records(),
    }
}

/// What a call came to at its caller.
pub(crate) fn outcome(records: &[Record], serial: u64) -> Option<Outcome> {
    records
        .iter()
        .find(|record| record.serial == serial && record.role == crate::peer::Role::Caller)
        .map(|record| record.outcome)
}

pub(crate) fn report(
    topology: Topology,
    seed: u64,
    log: &crate::EventLog,
    violations: Vec<String>,
    records: &[Record],
) -> Report {
    let callers = records.iter().filter(|record| record.role == crate::peer::Role::Caller);
    let (mut made, mut answered) = (0, 0);
    for record in callers {
        made += 1;
        answered += usize::from(record.outcome == Outcome::Answered);
    }
    Report {
        topology,
        seed,
        violations,
        calls: (made, answered),
        log: (log.hash(), log.lines()),
        text: log.text().to_owned(),
    }
}

/// One plain call between a peer and an endpoint on a perfect line, in which one datagram suffers: the fault
/// number `fault` of [`faults`]. Says what was wrong.
pub fn one_fault(fault: u64, calling: bool) -> (Vec<String>, String) {
    let (left, right) = (Places::V4.host(1, 0), Places::V4.host(9, 0));
    let mut world = World::new(1, Link::default(), true);
    let plan = |to| {
        vec![CallPlan {
            hang_up: Some(Duration::from_secs(3)),
            reinvite: Some(Duration::from_secs(1)),
            rtp: None,
            ..CallPlan::plain(Time::from_millis(100), 1, to)
        }]
    };
    let (agent_plans, peer_plans) =
        if calling { (plan(right), Vec::new()) } else { (Vec::new(), plan(left)) };
    let mut peer = Peer::new(right, 3, peer_plans);
    peer.default.rtp = None;
    let agent = Agent::new(left, 2, sip::Config::default(), agent_plans);
    let agent = world.add("agent", 0, Lone::Agent(Box::new(agent)), Pace::default());
    let peer = world.add("peer", 0, Lone::Peer(Box::new(peer)), Pace::default());
    for (node, place) in [(agent, left), (peer, right)] {
        world.bind(node, SIGNALLING, place);
    }
    let (number, kind) = (fault / 4, fault % 4);
    match kind {
        0 => world.network.doom(number),
        1 => world.network.double(number),
        2 => world.network.hold(number, Duration::from_millis(30)),
        _ => world.network.hold(number, Duration::from_millis(1200)),
    }
    world.run(Time::ZERO + AFTERMATH);
    let mut wrong = world.violations.clone();
    for (_, node) in world.nodes() {
        match &node.machine {
            Lone::Agent(agent) => wrong.extend(agent.faults().iter().cloned().chain(agent.unfinished())),
            Lone::Peer(peer) => {
                wrong.extend(peer.faults().iter().chain(peer.gaps()).cloned().chain(peer.unfinished()));
            }
        }
    }
    let answered =
        records(&world, agent).iter().chain(&records(&world, peer)).all(|r| r.outcome == Outcome::Answered);
    if !answered {
        wrong.push("the call was not answered".to_owned());
    }
    (wrong, world.log.text().to_owned())
}
