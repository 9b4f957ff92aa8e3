//! The user agent of one shard: transactions, dialogs, legs and TCP connections behind one front.

mod answered;
pub(crate) mod challenged;
mod clients;
mod compose;
mod inside;
mod large;
mod legs;
mod receive;
mod register;
mod reliable;
mod requests;
mod servers;
mod session;
mod session_id;
mod streams;
mod subscriptions;
mod timers;
mod uac;
mod uas;
mod update;
mod usages;
mod wire;

pub use session::glare_pause;

use crate::config::Config;
use crate::connection::Connections;
use crate::dialog::invite::Leg;
use crate::dialog::subscription::Subscription;
use crate::dialog::usage::Usage;
use crate::event::{Event, Link, Transport};
use crate::message::Method;
use crate::observe::{Records, Tally};
use crate::stats::Stats;
use crate::transaction::key::{HashedMap, KeyHasher};
use crate::treatment::Treatment;
use answered::Answered;
use clients::Client;
use compose::Identity;
use core::hash::BuildHasherDefault;
use core::net::{IpAddr, SocketAddr};
use sansio::{Key, Outbox, Random, Slab, SocketId, StreamId, Time, Wheel};
use servers::Server;
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use timers::Timer;
use wire::Wire;

/// How many of each an endpoint holds; all zero once every call ended and the timers ran out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Client and server transactions.
    pub transactions: usize,
    /// Legs.
    pub legs: usize,
    /// Legs with a dialog (early or confirmed).
    pub dialogs: usize,
    /// Dialogs without a call.
    pub usages: usize,
    /// Subscriptions that REFERs made.
    pub subscriptions: usize,
    /// Timers set.
    pub timers: usize,
    /// TCP connections, standing or being made.
    pub connections: usize,
    /// Events not yet taken.
    pub events: usize,
    /// Messages and connection actions not yet flushed.
    pub unsent: usize,
    /// Bytes of messages kept by transactions and dialogs.
    pub bytes: u64,
}

/// How a client transaction ended without final response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Silence {
    /// Nothing came.
    Total,
    /// Provisional responses came.
    Late,
    /// The transport failed.
    Unreachable,
}

/// A listening socket.
#[derive(Clone, Copy, Debug)]
struct Listener {
    socket: SocketId,
    /// What is spoken on the connections accepted there.
    transport: Transport,
    /// What Via and Contact say.
    advertised: SocketAddr,
}

/// Transactions, dialogs, legs and TCP connections of one shard, without IO.
///
/// # Polling order
///
/// After each input (`handle_datagram`, `handle_stream`, `handle_unreachable`, `handle_timeout`) or batch of inputs:
/// 1. take events with [`Self::poll_event`] until `None`, calling any method in between;
/// 2. [`Self::flush`] what shall be sent into the outbox, once;
/// 3. ask [`Self::deadline`] when [`Self::handle_timeout`] is wanted.
///
/// Nothing but `flush` writes to the outbox; all methods may be called at any time and never call back.
/// An idle endpoint costs one look at the wheel's bitmap.
#[derive(Debug)]
pub struct Endpoint {
    config: Config,
    identity: Identity,
    stats: Stats,
    random: Random,
    hasher: KeyHasher,
    sockets: Vec<(SocketId, SocketAddr)>,
    listeners: Vec<Listener>,
    /// By the address told: from which one connections are opened.
    bound: Vec<(IpAddr, IpAddr)>,
    wheel: Wheel<Timer>,
    wire: Wire,
    clients: Slab<Client>,
    servers: Slab<Server>,
    /// Server transactions by what RFC 3261 §17.2.3 compares.
    by_key: HashedMap<Key>,
    /// Server transactions by what §8.2.2.2 compares.
    by_merge: HashedMap<Key>,
    /// Server transactions of registrations that were answered.
    answered: Answered,
    /// Client transactions that await a final response, by where they went.
    pending: HashMap<(Link, SocketAddr), Vec<Key>, BuildHasherDefault<DefaultHasher>>,
    legs: Slab<Leg>,
    /// Dialogs without a call.
    usages: Slab<Usage>,
    /// What REFERs subscribed to.
    subscriptions: Slab<Subscription>,
    events: VecDeque<Event>,
    /// Whether reliable provisional responses (RFC 3262) are among the extensions.
    reliable: bool,
    /// Places that are asked over UDP alone, whatever the size of a request.
    udp_only: BTreeSet<SocketAddr>,
    /// Places where nobody took a connection for a large request, and until when that is believed.
    closed: BTreeMap<SocketAddr, Time>,
    /// Bytes of messages kept.
    held: u64,
    /// Where messages are written before they are sent.
    scratch: Vec<u8>,
    /// How what comes next is taken.
    treatment: Treatment,
}

impl Endpoint {
    /// An endpoint without sockets. `random` names everything it generates (branches, tags).
    pub fn new(config: Config, mut random: Random, now: Time) -> Self {
        let limits = config.limits;
        // Two timers per transaction, four per leg, one per connection: the wheel is never the first to be full.
        let legs = limits.legs.saturating_mul(2);
        let timers = limits.transactions.saturating_add(legs).saturating_mul(2);
        let connections = Connections::new(limits.connections, config.streams_first, config.streams_end);
        Self {
            identity: identity(&config),
            stats: Stats::default(),
            hasher: KeyHasher::new(&mut random),
            random,
            sockets: Vec::new(),
            listeners: Vec::new(),
            bound: Vec::new(),
            wheel: Wheel::new(now, timers.saturating_add(limits.connections)),
            wire: Wire::new(connections),
            clients: Slab::new(limits.transactions),
            servers: Slab::new(limits.transactions),
            by_key: HashedMap::default(),
            by_merge: HashedMap::default(),
            answered: Answered::default(),
            pending: HashMap::default(),
            legs: Slab::new(limits.legs),
            usages: Slab::new(limits.usages),
            subscriptions: Slab::new(limits.legs),
            events: VecDeque::new(),
            reliable: config.extensions.iter().any(|tag| tag == "100rel"),
            udp_only: BTreeSet::new(),
            closed: BTreeMap::new(),
            held: 0,
            scratch: Vec::new(),
            treatment: Treatment::Welcome,
            config,
        }
    }

    /// Other methods to be handed to the owner from now on (see [`Config::methods`]), and named in Allow.
    pub fn set_methods(&mut self, methods: Vec<Method>) {
        self.config.methods = methods;
        self.identity = identity(&self.config);
    }

    /// Adds a datagram socket; `advertised` is what Via and Contact say.
    pub fn add_udp(&mut self, socket: SocketId, advertised: SocketAddr) {
        self.wire.tap.sockets.push((socket, advertised));
        self.sockets.push((socket, advertised));
    }

    /// Adds a listening socket; `advertised` is what Via and Contact say of connections of this family.
    pub fn add_tcp_listener(&mut self, socket: SocketId, advertised: SocketAddr) {
        self.add_listener(socket, Transport::Tcp, advertised);
    }

    /// Adds a listening socket on whose connections `transport` is spoken; what is encrypted has to come here in clear.
    pub fn add_listener(&mut self, socket: SocketId, transport: Transport, advertised: SocketAddr) {
        self.listeners.push(Listener { socket, transport, advertised });
    }

    /// Has connections on which we call ourselves `advertised` be opened from the address `local`: for a host with several
    /// networks. Without, the operating system chooses.
    pub fn connect_from(&mut self, advertised: IpAddr, local: IpAddr) {
        self.bound.push((advertised, local));
    }

    /// Takes an ICMP refusal: client transactions to that destination fail with `Refused`.
    pub fn handle_unreachable(&mut self, now: Time, socket: SocketId, destination: SocketAddr) {
        self.clients_unreachable(now, Link::Socket(socket), destination);
    }

    /// When [`Self::handle_timeout`] is wanted next. O(1).
    pub fn deadline(&self) -> Option<Time> {
        self.wheel.deadline()
    }

    /// Moves everything to be sent, connected, written and closed into the outbox.
    pub fn flush<M>(&mut self, out: &mut Outbox<M>) {
        self.flush_with(out, |_, _, _, _, _| ());
    }

    /// As [`Self::flush`], for an endpoint that shares its addresses: what is to go over a connection that another
    /// endpoint holds is given to `foreign` (holder, its number of the connection, the peer's address, bytes), which brings it there.
    pub fn flush_with<M>(
        &mut self,
        out: &mut Outbox<M>,
        foreign: impl FnMut(u16, StreamId, SocketAddr, &[u8], &mut Outbox<M>),
    ) {
        self.wire.flush(out, foreign);
        self.stats.messages_sent = self.wire.sent;
        self.stats.unsendable = self.wire.unsendable;
    }

    /// The next event, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front();
        if let Some(Event::Gone { leg }) = event {
            self.legs.release(leg.0);
        }
        event
    }

    /// Tells the present before anything but `handle_*` is called, for the times of recorded messages.
    pub const fn note_time(&mut self, now: Time) {
        self.wire.tap.now = now;
    }

    /// Keeps the last messages from now on, up to `bytes` bytes (see [`Records::new`]).
    pub fn record_messages(&mut self, bytes: usize) {
        self.wire.tap.recorder = Some(Box::new(Records::new(bytes, &mut self.random)));
    }

    /// The last messages, if they are kept.
    pub fn recorder(&self) -> Option<&Records> {
        self.wire.tap.recorder.as_deref()
    }

    /// The same, to tell it which Call-ID is whose.
    pub fn recorder_mut(&mut self) -> Option<&mut Records> {
        self.wire.tap.recorder.as_deref_mut()
    }

    /// Messages by method and status.
    pub fn tally(&self) -> &Tally {
        &self.wire.tap.tally
    }

    /// How requests outside dialogs are taken from now on; to be said before each input whose source matters.
    pub const fn treat(&mut self, treatment: Treatment) {
        self.treatment = treatment;
    }

    /// The counters.
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// What it was told.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// How many of each it holds.
    pub fn census(&self) -> Census {
        Census {
            transactions: self.clients.len() + self.servers.len() + self.answered.len(),
            legs: self.legs.len(),
            dialogs: self.legs.iter().filter(|(_, leg)| !leg.dialog.parts().remote_tag.is_empty()).count(),
            usages: self.usages.len(),
            subscriptions: self.subscriptions.len(),
            timers: self.wheel.len(),
            connections: self.wire.connections.len(),
            events: self.events.len(),
            unsent: self.wire.waiting(),
            bytes: self.held,
        }
    }

    /// Whether it holds nothing at all.
    pub fn is_idle(&self) -> bool {
        self.census() == Census::default()
    }

    /// Whether one more transaction may be made.
    fn has_room(&self) -> bool {
        self.clients.len() + self.servers.len() + self.answered.len() < self.clients.capacity()
            && self.held < self.config.limits.message_bytes
    }

    /// Sends a message; counted if there is no way.
    fn transmit(&mut self, link: Link, to: SocketAddr, bytes: &[u8]) {
        if !self.wire.send(link, to, bytes) {
            self.wire.unsendable += 1;
        }
    }
}

/// The lines that say who we are; control characters in the configuration are left out.
fn identity(config: &Config) -> Identity {
    let line = |name: &str, value: &str| -> Box<[u8]> {
        let value: String = value.chars().filter(|character| !character.is_control()).collect();
        if value.is_empty() { Box::default() } else { format!("{name}: {value}\r\n").into_bytes().into() }
    };
    let mut allow = String::from("INVITE, ACK, BYE, CANCEL");
    for method in &config.methods {
        let own = matches!(method, Method::Invite | Method::Ack | Method::Bye | Method::Cancel);
        if !own && !method.as_str().is_empty() {
            allow.push_str(", ");
            allow.push_str(method.as_str());
        }
    }
    let late: Vec<&str> =
        config.extensions.iter().map(String::as_str).filter(|tag| *tag != "100rel").collect();
    Identity {
        user_agent: line("User-Agent", &config.user_agent),
        server: line("Server", &config.user_agent),
        allow: line("Allow", &allow),
        supported: line("Supported", &config.extensions.join(", ")),
        supported_late: line("Supported", &late.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Transactions linger for 64 × T1 by the hundred thousand; what they weigh is in the limits' comments.
    #[test]
    fn states_are_small() {
        assert!(size_of::<Client>() <= 256);
        assert!(size_of::<Server>() <= 256);
        assert!(size_of::<Leg>() <= 512);
        assert!(size_of::<Event>() <= 128);
    }
}
