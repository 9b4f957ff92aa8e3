//! The scripted SIP peer: caller and carrier on raw text, as strict as the RFC, sharing no code with `sip`.
//!
//! It makes the calls of its script and answers as told, retransmits as RFC 3261 wants, sends marked RTP,
//! and writes down every rule that the other side breaks.

mod call;
mod check;
mod digest;
mod doings;
mod errand;
mod fork;
mod media;
mod refer;
mod register;
mod requests;
mod responses;
mod script;
mod skills;
mod steps;
mod text;
mod transport;
mod web;
mod write;

pub use errand::{Errand, News};
pub use refer::ReferPlan;
pub use register::Standing;
pub use script::{
    Behaviour, CallPlan, Demands, ErrandPlan, Inside, Login, Outcome, PhonePlan, Probed, Record,
    RegistrarHabit, Replaced, Role, Skills, Verdict, Wiring,
};
pub use text::Text;

use call::{Call, Client, Server};
use sansio::{Input, Outbox, Random, SocketId, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;
use transport::{Effect, Stream, Way};

/// RFC 3261 §17: T1, T2 and 64 × T1.
const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);
const GIVE_UP: Duration = Duration::from_secs(32);

/// The socket a peer signals on; its listener is the next number.
pub const SIGNALLING: SocketId = SocketId(0);
/// The listening socket of a peer.
pub const LISTENER: SocketId = SocketId(1);

/// What a timer of a peer is for.
#[derive(Clone, Debug)]
enum Timer {
    /// Make the call of this plan.
    Start(usize),
    /// Send a request again, by its branch and method.
    Resend(String, String),
    /// A client transaction is over time.
    GiveUp(String, String),
    /// Send the 2xx of this call and CSeq again.
    Resend2xx(String, u32),
    /// Send the 2xx of this call's other branch again.
    ResendBranch(String),
    /// Send the non-2xx final response of this branch again.
    ResendFinal(String),
    /// Send the reliable provisional response of this call again, by its number.
    ResendReliable(String, u32),
    /// The next packet of this call.
    Rtp(String),
    /// A step of the script.
    Do(String, Step),
    /// Register the phone of this plan.
    Register(usize),
    /// Take back the binding of this plan's phone.
    Leave(usize),
    /// Send what this plan says outside of calls.
    Errand(usize),
}

/// A step of a call's script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Cancel,
    HangUp,
    Reinvite,
    Hold,
    Refer,
    Ring,
    EarlyMedia,
    Verdict,
    Patience,
    Refresh,
    Expire,
    /// Say that the transfer asked for is done.
    Tell,
    Inside(Inside),
}

/// Counts of a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerStats {
    /// INVITEs that began a call here.
    pub invited: u64,
    /// Calls at once at most, as carrier: from the INVITE to the end of the call.
    pub peak: u64,
    /// RTP packets sent.
    pub rtp_sent: u64,
    /// RTP packets received with the right mark.
    pub rtp_received: u64,
    /// OPTIONS received.
    pub probes: u64,
    /// Retransmissions received.
    pub repeats: u64,
    /// INVITEs received that were to join a call.
    pub joined: u64,
}

/// A scripted peer.
#[derive(Debug)]
pub struct Peer {
    address: SocketAddr,
    random: Random,
    /// Text that must never be seen here: addresses and names of the other side.
    pub forbidden: Vec<String>,
    /// How INVITEs of these calls are treated.
    pub answers: BTreeMap<u64, Behaviour>,
    /// How all other INVITEs are treated.
    pub default: Behaviour,
    /// Where calls refused with 3xx are sent: the same number there.
    pub moved_to: Option<SocketAddr>,
    /// How OPTIONS are treated.
    pub probed: Probed,
    /// Send requests inside a dialog over the connection that its INVITE came on, if that still stands, rather
    /// than over one of its own (RFC 5923).
    pub reuse: bool,
    /// The network may bring what nobody expects any more: a dialog that grows from such a message is none of this peer's,
    /// is refused with 481, and is nobody's fault.
    pub lenient: bool,
    /// Whether the connections it makes are WebSockets (RFC 7118).
    pub web: bool,
    /// Whether TLS is spoken over its connections by the layer around it.
    pub tls: bool,
    /// How it answers MESSAGE, PUBLISH and SUBSCRIBE.
    pub answers_errands: u16,
    /// How it treats REGISTER; without a habit nobody shall register here.
    pub registrar: Option<RegistrarHabit>,
    /// More calls than this at once are a violation (as carrier).
    pub calls_max: Option<u64>,
    plans: Vec<CallPlan>,
    phones: Vec<register::Phone>,
    bindings: BTreeMap<String, Time>,
    errands: errand::Errands,
    spent_nonces: BTreeSet<String>,
    nonces: u64,
    calls: BTreeMap<String, Call>,
    clients: BTreeMap<(String, String), Client>,
    servers: BTreeMap<(String, String), Server>,
    timers: BTreeMap<(Time, u64), Timer>,
    next_timer: u64,
    streams: BTreeMap<sansio::StreamId, Stream>,
    next_stream: u32,
    media: BTreeMap<SocketId, String>,
    next_media: u32,
    effects: Vec<Effect>,
    now: Time,
    active: u64,
    forgotten: BTreeSet<String>,
    faults: Vec<String>,
    gaps: Vec<String>,
    buried: Vec<Record>,
    stats: PeerStats,
}

impl Peer {
    /// A peer at `address` that makes the calls of `plans`.
    pub fn new(address: SocketAddr, seed: u64, plans: Vec<CallPlan>) -> Self {
        let mut peer = Self {
            address,
            random: Random::new(seed),
            forbidden: Vec::new(),
            answers: BTreeMap::new(),
            default: Behaviour::plain(),
            moved_to: None,
            probed: Probed::Status(200),
            reuse: true,
            lenient: false,
            web: false,
            tls: false,
            answers_errands: 200,
            registrar: None,
            calls_max: None,
            plans,
            phones: Vec::new(),
            bindings: BTreeMap::new(),
            errands: errand::Errands::default(),
            spent_nonces: BTreeSet::new(),
            nonces: 0,
            calls: BTreeMap::new(),
            clients: BTreeMap::new(),
            servers: BTreeMap::new(),
            timers: BTreeMap::new(),
            next_timer: 0,
            streams: BTreeMap::new(),
            next_stream: 0,
            media: BTreeMap::new(),
            next_media: 0,
            effects: Vec::new(),
            now: Time::ZERO,
            active: 0,
            forgotten: BTreeSet::new(),
            faults: Vec::new(),
            gaps: Vec::new(),
            buried: Vec::new(),
            stats: PeerStats::default(),
        };
        for index in 0..peer.plans.len() {
            peer.at(peer.plans[index].at, Timer::Start(index));
        }
        peer
    }

    /// The peer as it comes back after its process died: the script's rest, the records, but no call.
    pub fn reborn(mut self, now: Time) -> Self {
        let calls = std::mem::take(&mut self.calls);
        for (id, call) in calls {
            let mut record = self.record(&call);
            if call.is_alive() {
                record.outcome = Outcome::Died;
                record.ended = Some(now);
            }
            self.forgotten.insert(id);
            self.buried.push(record);
        }
        self.clients.clear();
        self.servers.clear();
        self.streams.clear();
        self.media.clear();
        self.effects.clear();
        self.active = 0;
        self.timers.retain(|at, timer| at.0 > now && matches!(timer, Timer::Start(_)));
        self
    }

    /// Where it signals.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its host as a URI has it.
    fn host(&self) -> String {
        match self.address.ip() {
            std::net::IpAddr::V6(ip) => format!("[{ip}]"),
            ip => ip.to_string(),
        }
    }

    /// Counts since the start.
    pub const fn stats(&self) -> PeerStats {
        self.stats
    }

    /// Calls it holds as carrier at this moment.
    pub const fn active(&self) -> u64 {
        self.active
    }

    /// Rules broken by the other side: never excusable.
    pub fn faults(&self) -> &[String] {
        &self.faults
    }

    /// What is missing (an ACK, an answer, an end): excusable only by a network that was cut or a death.
    pub fn gaps(&self) -> &[String] {
        &self.gaps
    }

    /// How every call went.
    pub fn records(&self) -> Vec<Record> {
        self.buried.iter().cloned().chain(self.calls.values().map(|call| self.record(call))).collect()
    }

    /// What is not over: calls, requests without answer, answers without ACK.
    pub fn unfinished(&self) -> Vec<String> {
        let calls = self
            .calls
            .values()
            .filter(|call| call.is_alive())
            .map(|call| format!("call {} ({:?}) is {:?}", call.serial, call.role, call.state));
        // A session change whose answer was lost ends with the call.
        let moot = |client: &&Client| {
            let call = self.calls.get(&client.call);
            client.method == "INVITE"
                && call.is_some_and(|call| !call.is_alive() && call.reinvite_out == Some(client.cseq))
        };
        let clients = self.clients.values().filter(|client| !client.done && !moot(client));
        let clients =
            clients.map(|client| format!("{} of {} has no final answer", client.method, client.call));
        let unacked = self.calls.values().flat_map(|call| {
            call.unacked
                .keys()
                .map(move |cseq| format!("2xx {cseq} of call {} is not acknowledged", call.serial))
        });
        let servers = self
            .servers
            .values()
            .filter(|server| server.waits_for_ack)
            .map(|server| format!("final response in {} is not acknowledged", server.call));
        let forgotten = self
            .calls
            .values()
            .filter(|call| call.unknown_there && !call.bye_received && !self.lenient)
            .map(|call| format!("the other side had forgotten call {} when told BYE", call.serial));
        let branches = self.calls.values().filter(|_| !self.lenient).filter_map(|call| {
            let lacks = call.branch.as_ref()?.lacks()?;
            Some(format!("the other branch of call {} {lacks}", call.serial))
        });
        calls.chain(clients).chain(unacked).chain(servers).chain(forgotten).chain(branches).collect()
    }

    /// Takes one input; see [`sansio::Machine::handle`].
    pub fn handle<M>(&mut self, now: Time, input: Input<'_, M>, out: &mut Outbox<M>) {
        self.now = now;
        match input {
            Input::Datagram(datagram) if datagram.socket == SIGNALLING => {
                self.message(Way::Udp(datagram.source), datagram.payload);
            }
            Input::Datagram(datagram) => self.packet(datagram.socket, datagram.source, datagram.payload),
            Input::Stream(stream, event) => self.stream(stream, event),
            Input::Timeout => self.timeout(),
            Input::Unreachable { socket, destination } if socket == SIGNALLING => self.refused(destination),
            Input::Unreachable { .. } | Input::Socket(..) | Input::Mail(_) => {}
        }
        self.flush(out);
    }

    /// When the next timer is due.
    pub fn deadline(&self) -> Option<Time> {
        self.timers.keys().next().map(|key| key.0)
    }

    fn at(&mut self, at: Time, timer: Timer) {
        self.next_timer += 1;
        self.timers.insert((at, self.next_timer), timer);
    }

    fn after(&mut self, span: Duration, timer: Timer) {
        self.at(self.now + span, timer);
    }

    fn timeout(&mut self) {
        while let Some(entry) = self.timers.first_entry() {
            if entry.key().0 > self.now {
                return;
            }
            match entry.remove() {
                Timer::Start(plan) => self.start(plan),
                Timer::Resend(branch, method) => self.resend(branch, method),
                Timer::GiveUp(branch, method) => self.give_up(branch, method),
                Timer::Resend2xx(call, cseq) => self.resend_2xx(call, cseq),
                Timer::ResendBranch(call) => self.resend_branch(call),
                Timer::ResendFinal(branch) => self.resend_final(branch),
                Timer::ResendReliable(call, number) => self.resend_reliable(call, number),
                Timer::Rtp(call) => self.send_rtp(call),
                Timer::Do(call, step) => self.step(&call, step),
                Timer::Register(phone) => self.register(phone),
                Timer::Leave(phone) => self.leave(phone),
                Timer::Errand(plan) => self.run_errand(plan),
            }
        }
    }

    /// One message from the other side.
    fn message(&mut self, way: Way, bytes: &[u8]) {
        if bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
            return;
        }
        let text = match Text::read(bytes) {
            Ok(text) => text,
            Err(why) => {
                self.fault(&format!("unreadable message: {why}"), bytes);
                return;
            }
        };
        self.check_form(&text, bytes);
        if text.status().is_some() {
            self.response(way, &text, bytes);
        } else {
            self.request(way, &text, bytes);
        }
    }

    /// Notes a broken rule.
    fn fault(&mut self, what: &str, message: &[u8]) {
        let start = String::from_utf8_lossy(message);
        let start = start.lines().next().unwrap_or_default();
        self.faults.push(format!("{} {}: {what} [{start}]", self.now, self.address));
    }

    /// Notes something missing.
    fn gap(&mut self, what: String) {
        self.gaps.push(format!("{} {}: {what}", self.now, self.address));
    }

    fn token(&mut self, prefix: &str) -> String {
        let mut token = [0; 10];
        self.random.token(&mut token);
        format!("{prefix}{}", String::from_utf8_lossy(&token))
    }
}
