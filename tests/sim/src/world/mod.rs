//! The world: nodes, the network between them, and the queue of events in virtual time.
//!
//! The queue is ordered by time and then by the order of writing, so that a run has one order only.
//! The drain loop, in which outboxes are carried out by the contract, exists once, here.

mod streams;

use crate::log::{Shown, digest};
use crate::node::{Arrival, Bound};
use crate::stream::{Connection, ConnectionId, Step};
use crate::{EventLog, Link, Network, Node, NodeId, Pace, Plant, PostOffice, Twist};
use sansio::{Action, IoError, Machine, Mailbox, Random, SocketEvent, SocketId, StreamId, Time};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt::Debug;
use std::net::SocketAddr;

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Nothing was left to happen.
    Quiet,
    /// The time given was over.
    Limit,
    /// More events than allowed: something spins.
    TooMany,
}

/// How much of what was written last arrives before a connection breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arriving {
    /// Nothing.
    Nothing,
    /// The first half.
    Half,
    /// All.
    All,
}

type Script<A> = Box<dyn FnOnce(&mut World<A>)>;

enum Event<A: Machine> {
    Datagram {
        to: SocketAddr,
        from: SocketAddr,
        sender: (NodeId, SocketId),
        payload: Vec<u8>,
    },
    Refusal {
        node: NodeId,
        socket: SocketId,
        destination: SocketAddr,
    },
    Stream(ConnectionId, Step),
    Mail {
        node: NodeId,
        mail: A::Mail,
    },
    Wake(NodeId),
    /// A machine asked to be ended, and what it sent before is out: its sockets close with its process.
    Exit(NodeId),
    Script(Script<A>),
}

struct Queued<A: Machine> {
    at: Time,
    number: u64,
    event: Event<A>,
}

impl<A: Machine> PartialEq for Queued<A> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}
impl<A: Machine> Eq for Queued<A> {}
impl<A: Machine> PartialOrd for Queued<A> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<A: Machine> Ord for Queued<A> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// A simulated world of machines that share one mail type.
pub struct World<A: Machine> {
    now: Time,
    random: Random,
    /// What lies between the hosts.
    pub network: Network,
    /// What lies between the threads.
    pub post: PostOffice,
    /// What happened.
    pub log: EventLog,
    /// Rules that were broken, each in one line.
    pub violations: Vec<String>,
    /// Events a run may take before it counts as spinning.
    pub events_max: u64,
    events: u64,
    queue: BinaryHeap<Reverse<Queued<A>>>,
    number: u64,
    nodes: Vec<Node<A>>,
    bound: BTreeMap<SocketAddr, Vec<(NodeId, SocketId)>>,
    listening: BTreeMap<SocketAddr, Vec<(NodeId, SocketId)>>,
    connections: BTreeMap<ConnectionId, Connection>,
    by_stream: BTreeMap<(NodeId, StreamId), (ConnectionId, usize)>,
    next_connection: ConnectionId,
    next_port: u16,
    /// Writes on streams so far.
    writes: u64,
    /// The write at which a connection breaks, and what of its bytes still arrives.
    breaks: Option<(u64, Arriving)>,
    /// The write whose bytes arrive one by one.
    crumbles: Option<u64>,
}

impl<A: Machine> World<A>
where
    A::Mail: Debug,
{
    /// An empty world; `keep_log` keeps the log's text.
    pub fn new(seed: u64, link: Link, keep_log: bool) -> Self {
        let mut random = Random::new(seed);
        Self {
            now: Time::ZERO,
            network: Network::new(random.fork(), link),
            random,
            post: PostOffice::new(),
            log: EventLog::new(keep_log),
            violations: Vec::new(),
            events_max: 20_000_000,
            events: 0,
            queue: BinaryHeap::new(),
            number: 0,
            nodes: Vec::new(),
            bound: BTreeMap::new(),
            listening: BTreeMap::new(),
            connections: BTreeMap::new(),
            by_stream: BTreeMap::new(),
            next_connection: 0,
            next_port: 49_152,
            writes: 0,
            breaks: None,
            crumbles: None,
        }
    }

    /// The present.
    pub const fn now(&self) -> Time {
        self.now
    }

    /// Randomness of the run, for whoever composes it.
    pub fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// Adds a machine in process `process`; it is woken once at the present time if it has a deadline.
    pub fn add(&mut self, name: &str, process: u16, machine: A, pace: Pace) -> NodeId {
        let id = NodeId(self.nodes.len());
        self.nodes.push(Node::new(name.to_owned(), machine, process, pace));
        self.arm(id);
        id
    }

    /// Gives a mailbox to a node, in the node's process.
    pub fn assign(&mut self, mailbox: Mailbox, node: NodeId) {
        let process = self.nodes[node.0].process;
        self.post.assign(process, mailbox, node);
    }

    /// Binds a datagram socket for a node before it runs, shared with others on that address (SO_REUSEPORT).
    pub fn bind(&mut self, node: NodeId, socket: SocketId, address: SocketAddr) {
        self.bound.entry(address).or_default().push((node, socket));
        self.nodes[node.0].sockets.insert(socket, Bound { address, icmp: true, listener: false });
    }

    /// Lets a node listen for streams on an address, shared with others on that address (SO_REUSEPORT).
    pub fn listen(&mut self, node: NodeId, socket: SocketId, address: SocketAddr) {
        self.listening.entry(address).or_default().push((node, socket));
        self.nodes[node.0].sockets.insert(socket, Bound { address, icmp: false, listener: true });
    }

    /// A node.
    pub fn node(&self, node: NodeId) -> &Node<A> {
        &self.nodes[node.0]
    }

    /// A node, to be changed between two events.
    pub fn node_mut(&mut self, node: NodeId) -> &mut Node<A> {
        &mut self.nodes[node.0]
    }

    /// All nodes.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Node<A>)> {
        self.nodes.iter().enumerate().map(|(index, node)| (NodeId(index), node))
    }

    /// Plants a defect in a node.
    pub fn plant(&mut self, node: NodeId, plant: Plant) {
        self.nodes[node.0].plant = Some(plant);
    }

    /// Has `script` done at a time: a partition, a death, a return.
    pub fn at(&mut self, at: Time, script: impl FnOnce(&mut Self) + 'static) {
        self.push(at, Event::Script(Box::new(script)));
    }

    /// Puts mail into a node's mailbox from outside.
    pub fn mail(&mut self, node: NodeId, mail: A::Mail) {
        self.push(self.now, Event::Mail { node, mail });
    }

    /// Lets a node look at its deadline again after it was changed from outside.
    pub fn touch(&mut self, node: NodeId) {
        self.drain(node);
        self.arm(node);
    }

    /// Ends a node's process at once: its ports refuse from now on, its streams are reset.
    pub fn kill(&mut self, node: NodeId) {
        self.log.line(self.now, &self.nodes[node.0].name, format_args!("is killed"));
        self.nodes[node.0].alive = false;
        self.nodes[node.0].inbox.clear();
        self.nodes[node.0].sockets.clear();
        self.nodes[node.0].streams.clear();
        for owners in self.bound.values_mut().chain(self.listening.values_mut()) {
            owners.retain(|owner| owner.0 != node);
        }
        let streams: Vec<_> = self.by_stream.keys().filter(|key| key.0 == node).copied().collect();
        for key in streams {
            if let Some((id, side)) = self.by_stream.remove(&key) {
                self.end_mut(id, side, |end| end.stream = None);
                self.push(self.now, Event::Stream(id, Step::Reset { end: 1 - side }));
            }
        }
    }

    /// Starts a node's process again with a new machine and no socket.
    pub fn revive(&mut self, node: NodeId, machine: A) {
        self.log.line(self.now, &self.nodes[node.0].name, format_args!("is started again"));
        let old = &self.nodes[node.0];
        let mut fresh = Node::new(old.name.clone(), machine, old.process, old.pace);
        fresh.next_accepted = old.next_accepted;
        self.nodes[node.0] = fresh;
        self.arm(node);
    }

    /// Breaks a connection at the `number`-th write (from 0) of the whole run.
    pub const fn break_at(&mut self, number: u64, arriving: Arriving) {
        self.breaks = Some((number, arriving));
    }

    /// Has the bytes of the `number`-th write of the whole run arrive one by one.
    pub const fn crumble(&mut self, number: u64) {
        self.crumbles = Some(number);
    }

    /// Writes on streams so far.
    pub const fn writes(&self) -> u64 {
        self.writes
    }

    /// Runs until nothing is left to happen or `limit` is reached (time stands there then).
    pub fn run(&mut self, limit: Time) -> Ended {
        loop {
            if let Some(ended) = self.step_once(limit) {
                return ended;
            }
        }
    }

    /// Lets the next event happen; says why not, if there is none before `limit`.
    pub fn step_once(&mut self, limit: Time) -> Option<Ended> {
        match self.queue.peek() {
            None => return Some(Ended::Quiet),
            Some(Reverse(next)) if next.at > limit => {
                self.now = limit;
                return Some(Ended::Limit);
            }
            Some(_) => {}
        }
        let Reverse(next) = self.queue.pop()?;
        self.now = self.now.max(next.at);
        self.events += 1;
        if self.events > self.events_max {
            self.violations.push(format!("{}: more than {} events", self.now, self.events_max));
            return Some(Ended::TooMany);
        }
        self.happen(next.event);
        None
    }

    fn push(&mut self, at: Time, event: Event<A>) {
        self.number += 1;
        self.queue.push(Reverse(Queued { at, number: self.number, event }));
    }

    fn happen(&mut self, event: Event<A>) {
        match event {
            Event::Datagram { to, from, sender, payload } => self.datagram(to, from, sender, payload),
            Event::Refusal { node, socket, destination } => {
                self.arrive(node, Arrival::Unreachable { socket, destination });
            }
            Event::Stream(id, step) => self.step(id, step),
            Event::Mail { node, mail } => self.arrive(node, Arrival::Mail(mail)),
            Event::Wake(node) => {
                if self.nodes[node.0].wake_at == Some(self.now) {
                    self.nodes[node.0].wake_at = None;
                    self.turn(node);
                }
            }
            Event::Exit(node) => {
                // What was written before goes out; then the kernel closes in order.
                let streams: Vec<_> = self.nodes[node.0].streams.iter().copied().collect();
                streams.into_iter().for_each(|stream| self.shut(node, stream));
                self.kill(node);
            }
            Event::Script(script) => script(self),
        }
    }

    /// A datagram reaches the host it was sent to.
    fn datagram(&mut self, to: SocketAddr, from: SocketAddr, sender: (NodeId, SocketId), payload: Vec<u8>) {
        let owners = self.bound.get(&to).map_or(&[][..], Vec::as_slice);
        if let Some(&(node, socket)) = pick(owners, from, to) {
            if self.nodes[node.0].inbox.len() >= self.nodes[node.0].pace.backlog {
                self.nodes[node.0].datagrams_dropped += 1;
                return;
            }
            let received = self.now;
            self.arrive(node, Arrival::Datagram { socket, source: from, received, payload });
        } else if self.nodes[sender.0.0].sockets.get(&sender.1).is_some_and(|bound| bound.icmp)
            && let Some(delay) = self.network.refusal(to.ip(), from.ip())
        {
            // Of those that share the sender's address, the kernel tells the one that would get an answer.
            let sharers = self.bound.get(&from).map_or(&[][..], Vec::as_slice);
            let (node, socket) = pick(sharers, to, from).copied().unwrap_or(sender);
            self.push(self.now + delay, Event::Refusal { node, socket, destination: to });
        }
    }

    /// Puts an input before a node and sees that it wakes.
    fn arrive(&mut self, node: NodeId, arrival: Arrival<A::Mail>) {
        let it = &mut self.nodes[node.0];
        if !it.alive || it.stopped {
            return;
        }
        it.inbox.push_back(arrival);
        let at = self.now + it.latency(&mut self.random);
        self.wake(node, at);
    }

    /// Wakes a node at `at`, or before if that is due already.
    fn wake(&mut self, node: NodeId, at: Time) {
        let it = &mut self.nodes[node.0];
        if it.wake_at.is_none_or(|already| already > at) {
            it.wake_at = Some(at);
            self.push(at, Event::Wake(node));
        }
    }

    /// Sees that a node wakes at its deadline.
    fn arm(&mut self, node: NodeId) {
        let it = &self.nodes[node.0];
        if !it.alive || it.stopped {
            return;
        }
        if let Some(deadline) = it.machine.deadline() {
            let at = deadline.max(self.now) + it.latency(&mut self.random);
            self.wake(node, at);
        }
    }

    /// A node's thread runs: the inputs that wait, the timeout if due, the outbox.
    fn turn(&mut self, node: NodeId) {
        let now = self.now;
        if !self.nodes[node.0].alive {
            return;
        }
        self.nodes[node.0].shut.clear();
        let batch = std::mem::take(&mut self.nodes[node.0].inbox);
        for arrival in batch {
            let it = &mut self.nodes[node.0];
            if !it.alive || it.stopped {
                return;
            }
            // What the machine shut while this waited is not told any more.
            if arrival.stream().is_some_and(|stream| it.shut.contains(&stream)) {
                continue;
            }
            write_arrival(&mut self.log, now, &it.name, &arrival);
            if matches!(arrival, Arrival::Mail(_)) {
                self.post.taken(node);
            }
            if let Err(broken) = it.handle(now, arrival) {
                self.violate(node, broken);
            }
            if self.random.chance(self.nodes[node.0].pace.drain_between) {
                self.drain(node);
            }
        }
        loop {
            if self.nodes[node.0].stopped {
                return;
            }
            match self.nodes[node.0].timeout(now) {
                Ok(true) => self.log.line(now, &self.nodes[node.0].name, format_args!("timeout")),
                Ok(false) => break,
                Err(broken) => {
                    self.violate(node, broken);
                    self.nodes[node.0].stopped = true;
                    return;
                }
            }
            if self.random.chance(self.nodes[node.0].pace.drain_between) {
                self.drain(node);
            }
        }
        self.drain(node);
        if !self.nodes[node.0].inbox.is_empty() {
            let at = self.now + self.nodes[node.0].latency(&mut self.random);
            self.wake(node, at);
        }
        self.arm(node);
    }

    fn violate(&mut self, node: NodeId, what: String) {
        let line = format!("{} {}: {what}", self.now, self.nodes[node.0].name);
        self.violations.push(line);
    }

    /// Carries out a node's outbox: actions first, datagrams second, every packet released.
    fn drain(&mut self, node: NodeId) {
        while let Some(action) = self.nodes[node.0].outbox.next_action() {
            self.act(node, action);
        }
        while let Some(send) = self.nodes[node.0].outbox.next_send() {
            let it = &mut self.nodes[node.0];
            let payload = it.outbox.pool().bytes(&send.packet).to_vec();
            it.outbox.pool().release(send.packet);
            let Some(bound) = it.sockets.get(&send.socket).copied() else {
                if it.closed.contains(&send.socket) {
                    // Closed in this same batch: actions go first, and the datagram is lost.
                    continue;
                }
                self.violate(node, format!("sends from socket {} which is not open", send.socket.0));
                continue;
            };
            let twist = it.plant.as_mut().map_or(Twist::Pass, |plant| plant.twist(&payload));
            let (to, from) = (send.destination, bound.address);
            let note = match twist {
                Twist::Pass => "",
                Twist::Swallow => " (swallowed by the plant)",
                Twist::Replace(_) => " (replaced by the plant)",
            };
            self.log.line(self.now, &it.name, format_args!("> {to} from {from} {}{note}", Shown(&payload)));
            let payload = match twist {
                Twist::Pass => payload,
                Twist::Swallow => continue,
                Twist::Replace(other) => other,
            };
            let fate = self.network.send(self.now, from, to, &payload);
            let sender = (node, send.socket);
            let mut payload = payload;
            if let Some((damage, number)) = fate.damage {
                damage.befall(number, &mut payload);
                self.log.line(self.now, "network", format_args!("damages it: {damage:?}"));
            }
            if let Some(at) = fate.refused {
                self.log.line(self.now, "network", format_args!("refuses it"));
                self.push(at, Event::Refusal { node, socket: send.socket, destination: to });
            } else if fate.first.is_none() {
                self.log.line(self.now, "network", format_args!("loses it"));
            }
            if let Some(at) = fate.second {
                self.log.line(self.now, "network", format_args!("doubles it"));
                self.push(at, Event::Datagram { to, from, sender, payload: payload.clone() });
            }
            if let Some(at) = fate.first {
                self.push(at, Event::Datagram { to, from, sender, payload });
            }
        }
        self.nodes[node.0].closed.clear();
        let taken = self.nodes[node.0].outbox.pool().taken();
        if taken != 0 {
            self.violate(node, format!("{taken} packets were not released"));
        }
    }

    fn act(&mut self, node: NodeId, action: Action<A::Mail>) {
        match action {
            Action::Open { socket, local, options } => {
                if self.nodes[node.0].sockets.contains_key(&socket) {
                    self.violate(node, format!("opens socket {} twice", socket.0));
                    return;
                }
                let mut address = local;
                // A host has one address: a wildcard stands for it.
                let home = self.nodes[node.0].sockets.values().map(|bound| bound.address.ip()).next();
                if let Some(home) = home.filter(|_| local.ip().is_unspecified()) {
                    address.set_ip(home);
                }
                if address.port() == 0 {
                    address.set_port(self.port());
                }
                let taken = self.bound.get(&address).is_some_and(|owners| !owners.is_empty());
                let event = if taken {
                    SocketEvent::Failed(IoError::AddressInUse)
                } else {
                    self.bound.insert(address, vec![(node, socket)]);
                    let bound = Bound { address, icmp: options.icmp_errors, listener: false };
                    self.nodes[node.0].sockets.insert(socket, bound);
                    SocketEvent::Opened(address)
                };
                self.log.line(self.now, &self.nodes[node.0].name, format_args!("opens {local}: {event:?}"));
                self.arrive(node, Arrival::Socket(socket, event));
            }
            Action::Close(socket) => match self.nodes[node.0].sockets.remove(&socket) {
                None => self.violate(node, format!("closes socket {} which is not open", socket.0)),
                Some(bound) => {
                    self.nodes[node.0].closed.push(socket);
                    let table = if bound.listener { &mut self.listening } else { &mut self.bound };
                    if let Some(owners) = table.get_mut(&bound.address) {
                        owners.retain(|owner| *owner != (node, socket));
                    }
                    self.log.line(
                        self.now,
                        &self.nodes[node.0].name,
                        format_args!("closes {}", bound.address),
                    );
                }
            },
            Action::Connect { stream, local, remote } => self.connect(node, stream, local, remote),
            Action::Write(stream, bytes) => self.write(node, stream, &bytes),
            Action::Shut(stream) => self.shut(node, stream),
            Action::Mail(mailbox, mail) => self.post_mail(node, mailbox, mail),
            Action::Stop => {
                self.log.line(self.now, &self.nodes[node.0].name, format_args!("stops"));
                self.nodes[node.0].stopped = true;
                self.push(self.now, Event::Exit(node));
            }
        }
    }

    fn post_mail(&mut self, node: NodeId, mailbox: Mailbox, mail: A::Mail) {
        let Some(to) = self.post.owner(self.nodes[node.0].process, mailbox) else {
            self.violate(node, format!("sends mail to mailbox {} which nobody has", mailbox.0));
            return;
        };
        match self.post.post(self.now, node, to, &mut self.random) {
            Some(at) => self.push(at, Event::Mail { node: to, mail }),
            None => {
                self.log.line(
                    self.now,
                    &self.nodes[node.0].name,
                    format_args!("finds mailbox {} full", mailbox.0),
                );
            }
        }
    }

    const fn port(&mut self) -> u16 {
        let port = self.next_port;
        self.next_port = if port == u16::MAX { 49_152 } else { port + 1 };
        port
    }
}

/// Which of those that share an address gets what comes from `from`: always the same one.
fn pick(owners: &[(NodeId, SocketId)], from: SocketAddr, to: SocketAddr) -> Option<&(NodeId, SocketId)> {
    if owners.is_empty() {
        return None;
    }
    let hash = digest(format!("{from}>{to}").as_bytes());
    owners.get((hash % owners.len() as u64) as usize)
}

fn write_arrival<M: Debug>(log: &mut EventLog, now: Time, who: &str, arrival: &Arrival<M>) {
    if log.is_off() {
        return;
    }
    match arrival {
        Arrival::Datagram { socket, source, payload, .. } => {
            log.line(now, who, format_args!("< {source} on {} {}", socket.0, Shown(payload)));
        }
        Arrival::Data(stream, bytes) => {
            log.line(now, who, format_args!("reads {} {}", stream.0, Shown(bytes)));
        }
        Arrival::Mail(mail) => {
            log.line(now, who, format_args!("mail {}", Shown(format!("{mail:?}").as_bytes())));
        }
        Arrival::Unreachable { destination, .. } => {
            log.line(now, who, format_args!("refused by {destination}"))
        }
        other => log.line(now, who, format_args!("{other:?}")),
    }
}
