//! An application on `sip::Endpoint`: makes and answers calls by the same scripts as the scripted peer.
//!
//! The unit under test when the endpoint is simulated without a gateway around it. It holds the endpoint to
//! its own interface too: events in order, `Gone` once and last, no error where the state allows the call.

use crate::peer::{Behaviour, CallPlan, LISTENER, Outcome, Record, Role, SIGNALLING, Verdict};
use sansio::{Input, Machine, Outbox, Random, Time};
use sip::{
    Body, Destination, Endpoint, Event, Failure, Invite, LegError, LegId, LostCause, Received, Transport,
};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

#[derive(Clone, Copy, Debug)]
enum Step {
    Cancel,
    HangUp,
    Reinvite,
    Ring,
    EarlyMedia,
    Verdict,
}

#[derive(Clone, Debug)]
enum Timer {
    Start(usize),
    Do(LegId, Step),
}

#[derive(Clone, Debug)]
enum Script {
    Plan(CallPlan),
    Behaviour(Behaviour),
}

#[derive(Clone, Debug)]
struct Held {
    record: Record,
    script: Script,
    talking: bool,
    over: bool,
}

/// The application.
#[derive(Debug)]
pub struct Agent {
    /// The endpoint under test.
    pub endpoint: Endpoint,
    /// How INVITEs of these calls are treated.
    pub answers: BTreeMap<u64, Behaviour>,
    /// How all other INVITEs are treated.
    pub default: Behaviour,
    address: SocketAddr,
    random: Random,
    plans: Vec<CallPlan>,
    held: BTreeMap<LegId, Held>,
    done: Vec<Record>,
    timers: BTreeMap<(Time, u64), Timer>,
    next_timer: u64,
    faults: Vec<String>,
}

impl Agent {
    /// An application at `address` that makes the calls of `plans`.
    pub fn new(address: SocketAddr, seed: u64, config: sip::Config, plans: Vec<CallPlan>) -> Self {
        let mut random = Random::new(seed);
        let mut endpoint = Endpoint::new(config, random.fork(), Time::ZERO);
        endpoint.add_udp(SIGNALLING, address);
        endpoint.add_tcp_listener(LISTENER, address);
        let mut timers = BTreeMap::new();
        for (index, plan) in plans.iter().enumerate() {
            timers.insert((plan.at, index as u64), Timer::Start(index));
        }
        let next_timer = plans.len() as u64;
        Self {
            endpoint,
            answers: BTreeMap::new(),
            default: Behaviour::plain(),
            address,
            random,
            plans,
            held: BTreeMap::new(),
            done: Vec::new(),
            timers,
            next_timer,
            faults: Vec::new(),
        }
    }

    /// What the endpoint did against its interface.
    pub fn faults(&self) -> &[String] {
        &self.faults
    }

    /// How every call went.
    pub fn records(&self) -> Vec<Record> {
        self.done.iter().cloned().chain(self.held.values().map(|held| held.record.clone())).collect()
    }

    /// What is not over.
    pub fn unfinished(&self) -> Vec<String> {
        let legs = self.held.values().map(|held| format!("leg of call {} is not gone", held.record.serial));
        let census = self.endpoint.census();
        let rest = (!self.endpoint.is_idle()).then(|| format!("the endpoint is not idle: {census:?}"));
        legs.chain(rest).collect()
    }

    fn after(&mut self, now: Time, span: Option<Duration>, leg: LegId, step: Step) {
        if let Some(span) = span {
            self.next_timer += 1;
            self.timers.insert((now + span, self.next_timer), Timer::Do(leg, step));
        }
    }

    fn sdp(&self) -> String {
        let ip = self.address.ip();
        let family = if ip.is_ipv6() { "IP6" } else { "IP4" };
        format!(
            "v=0\r\no=agent 1 1 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
        )
    }

    /// Notes an error of the endpoint where its state should have allowed the call.
    fn demand<T, E: std::fmt::Debug>(
        &mut self,
        now: Time,
        what: &str,
        serial: u64,
        result: Result<T, E>,
    ) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.faults.push(format!("{now} {what} of call {serial}: {error:?}"));
                None
            }
        }
    }

    fn start(&mut self, now: Time, index: usize) {
        let plan = self.plans[index].clone();
        let mut token = [0; 12];
        self.random.token(&mut token);
        let call_id = format!("agent-{}", String::from_utf8_lossy(&token));
        let uri = format!("sip:{}{:07}@{}", plan.prefix, plan.serial, plan.to);
        let sdp = self.sdp();
        let transport = if plan.tcp { Transport::Tcp } else { Transport::Udp };
        let socket = if plan.tcp { LISTENER } else { SIGNALLING };
        let invite = Invite {
            call_id: &call_id,
            request_uri: &uri,
            from: &format!("<sip:agent@{}>", self.address),
            to: &format!("<{uri}>"),
            destination: Destination { transport, remote: plan.to, socket, over: None },
            contact_user: "agent",
            headers: &[],
            body: (!plan.late_offer).then(|| Body::sdp(sdp.as_bytes())),
            max_forwards: 70,
            no_response: Duration::from_secs(40),
            no_answer: plan.patience,
        };
        let result = self.endpoint.invite(now, &invite);
        if let Some(leg) = self.demand(now, "invite", plan.serial, result) {
            self.hold(now, leg, plan.serial, Role::Caller, Script::Plan(plan.clone()));
            self.after(now, plan.cancel, leg, Step::Cancel);
        }
    }

    fn hold(&mut self, now: Time, leg: LegId, serial: u64, role: Role, script: Script) {
        let record = Record {
            serial,
            role,
            outcome: Outcome::Open,
            started: now,
            answered: None,
            ended: None,
            cancelled: false,
            byes: (false, false),
            rtp: (0, 0),
            refreshes: 0,
            reinvites: 0,
            told: Vec::new(),
            inside: (0, 0),
            informed: 0,
            rtcp: (0, 0),
            moved: None,
        };
        if self.held.insert(leg, Held { record, script, talking: false, over: false }).is_some() {
            self.faults.push(format!("{now} a leg's number was given twice"));
        }
    }

    fn step(&mut self, now: Time, leg: LegId, step: Step) {
        let Some(held) = self.held.get(&leg).cloned() else { return };
        let serial = held.record.serial;
        if held.over {
            return;
        }
        let sdp = self.sdp();
        let body = Some(Body::sdp(sdp.as_bytes()));
        match step {
            Step::Cancel if !held.talking => {
                let result = self.endpoint.cancel(now, leg, None);
                self.demand(now, "cancel", serial, result);
                self.change(leg, |held| held.record.cancelled = true);
            }
            Step::HangUp if held.talking => {
                let result = self.endpoint.bye(now, leg, &[]);
                self.demand(now, "bye", serial, result);
                self.change(leg, |held| {
                    held.over = true;
                    held.record.byes.0 = true;
                });
            }
            // A re-INVITE may be under way already; then this one is not for now.
            Step::Reinvite if held.talking && self.endpoint.reinvite(now, leg, body).is_err() => {
                self.again(now, leg, held.record.role);
            }
            Step::Ring if !held.talking => {
                let result = self.endpoint.provisional(now, leg, 180, &[], None);
                self.demand(now, "180", serial, result);
            }
            Step::EarlyMedia if !held.talking => {
                let result = self.endpoint.provisional(now, leg, 183, &[], body);
                self.demand(now, "183", serial, result);
            }
            Step::Verdict if !held.talking => self.verdict(now, leg, &held),
            _ => {}
        }
    }

    fn verdict(&mut self, now: Time, leg: LegId, held: &Held) {
        let Script::Behaviour(behaviour) = &held.script else { return };
        let serial = held.record.serial;
        match behaviour.verdict {
            Verdict::Answer => {
                let sdp = self.sdp();
                let result = self.endpoint.answer(now, leg, &[], Some(Body::sdp(sdp.as_bytes())));
                self.demand(now, "answer", serial, result);
                self.change(leg, |held| {
                    held.talking = true;
                    held.record.outcome = Outcome::Answered;
                    held.record.answered = Some(now);
                });
            }
            Verdict::Refuse(status) => {
                let result = self.endpoint.reject(now, leg, status, None, &[]);
                self.demand(now, "reject", serial, result);
                self.change(leg, |held| {
                    held.over = true;
                    held.record.outcome = Outcome::Status(status);
                });
            }
            Verdict::RingOn | Verdict::Silent => {}
        }
    }

    fn change(&mut self, leg: LegId, change: impl FnOnce(&mut Held)) {
        if let Some(held) = self.held.get_mut(&leg) {
            change(held);
        }
    }

    /// RFC 3261 §14.1: after glare, again later.
    fn again(&mut self, now: Time, leg: LegId, role: Role) {
        let wait = self.random.below(190) * 10 + if role == Role::Caller { 2100 } else { 0 };
        self.after(now, Some(Duration::from_millis(wait)), leg, Step::Reinvite);
    }

    fn invited(&mut self, now: Time, leg: LegId, request: &Received) {
        let serial = request.parse().ok().and_then(|message| {
            let uri = String::from_utf8_lossy(message.request_uri()).into_owned();
            let user = uri.strip_prefix("sip:")?.split('@').next()?.to_owned();
            user.get(user.len().checked_sub(7)?..)?.parse::<u64>().ok()
        });
        let Some(serial) = serial else {
            self.faults.push(format!("{now} an INVITE to a number that nobody dialled"));
            return;
        };
        let behaviour = self.answers.get(&serial).unwrap_or(&self.default).clone();
        self.hold(now, leg, serial, Role::Carrier, Script::Behaviour(behaviour.clone()));
        self.after(now, behaviour.ring, leg, Step::Ring);
        self.after(now, behaviour.early_media, leg, Step::EarlyMedia);
        self.after(now, Some(behaviour.after), leg, Step::Verdict);
    }

    fn event(&mut self, now: Time, event: Event) {
        let leg = match &event {
            Event::Invite { leg, request, .. } => {
                self.invited(now, *leg, request);
                return;
            }
            Event::Request { id, .. } => {
                let result = self.endpoint.respond_options(now, *id, false);
                self.demand(now, "options", 0, result);
                return;
            }
            Event::Response { .. }
            | Event::InUsage { .. }
            | Event::RequestFailed { .. }
            | Event::Foreign { .. }
            | Event::ForeignClosed { .. }
            | Event::AcceptedLost { .. }
            | Event::KeptLost { .. } => return,
            Event::Progress { leg, .. }
            | Event::Answered { leg, .. }
            | Event::Failed { leg, .. }
            | Event::Acked { leg, .. }
            | Event::Cancelled { leg, .. }
            | Event::Bye { leg, .. }
            | Event::Lost { leg, .. }
            | Event::ByeDone { leg, .. }
            | Event::Reinvite { leg, .. }
            | Event::ReinviteDone { leg, .. }
            | Event::Pracked { leg, .. }
            | Event::Update { leg, .. }
            | Event::UpdateDone { leg, .. }
            | Event::RefreshDue { leg }
            | Event::Gone { leg } => *leg,
        };
        let Some(held) = self.held.get(&leg).cloned() else {
            self.faults.push(format!("{now} an event of a leg that is gone: {event:?}"));
            return;
        };
        let (serial, role) = (held.record.serial, held.record.role);
        match event {
            Event::Answered { .. } => self.answered(now, leg, &held),
            Event::Failed { cause, .. } => self.change(leg, |held| {
                held.over = true;
                held.record.outcome = match cause {
                    Failure::Status { status, .. } => Outcome::Status(status),
                    Failure::AnsweredLate => Outcome::Answered,
                    _ => Outcome::TimedOut,
                };
            }),
            Event::Acked { .. } => {
                if let (Script::Behaviour(behaviour), Role::Carrier) = (&held.script, role) {
                    self.after(now, behaviour.hang_up, leg, Step::HangUp);
                    self.after(now, behaviour.reinvite, leg, Step::Reinvite);
                    self.change(leg, |held| {
                        if let Script::Behaviour(behaviour) = &mut held.script {
                            behaviour.hang_up = None;
                            behaviour.reinvite = None;
                        }
                    });
                }
            }
            Event::Cancelled { .. } => self.change(leg, |held| {
                held.over = true;
                held.record.cancelled = true;
                held.record.outcome = Outcome::Status(487);
            }),
            Event::Bye { .. } => {
                if held.record.byes.1 {
                    self.faults.push(format!("{now} two BYE events of call {serial}"));
                }
                self.change(leg, |held| {
                    held.over = true;
                    held.record.byes.1 = true;
                });
            }
            Event::Lost { why, .. } => {
                // 481 to a request of ours may overtake the BYE that explains it.
                if why != LostCause::DialogGone {
                    self.faults.push(format!("{now} call {serial} is lost: {why:?}"));
                }
                self.change(leg, |held| held.over = true);
            }
            Event::RefreshDue { .. } => {
                let sdp = self.sdp();
                let result = self.endpoint.refresh(now, leg, Body::sdp(sdp.as_bytes()));
                if !held.over {
                    self.demand(now, "refresh", serial, result);
                }
            }
            Event::Update { .. } => {
                let sdp = self.sdp();
                let result = self.endpoint.answer_update(now, leg, 200, Some(Body::sdp(sdp.as_bytes())));
                if !held.over && result != Err(LegError::Unknown) {
                    self.demand(now, "answer to an UPDATE", serial, result);
                }
            }
            Event::Reinvite { .. } => {
                let sdp = self.sdp();
                let result = self.endpoint.answer_reinvite(now, leg, 200, Some(Body::sdp(sdp.as_bytes())));
                // A BYE that came with it has ended the leg already.
                if !held.over && result != Err(LegError::Unknown) {
                    self.demand(now, "answer to a re-INVITE", serial, result);
                }
                self.change(leg, |held| held.record.reinvites += 1);
            }
            Event::ReinviteDone { status, .. } => match status {
                200..300 => self.change(leg, |held| held.record.reinvites += 1),
                491 | 500 => self.again(now, leg, role),
                _ if held.over => {}
                // The other side hung up at the same time.
                481 | 487 => {}
                _ => self.faults.push(format!("{now} re-INVITE of call {serial}: {status}")),
            },
            Event::Gone { .. } => {
                if let Some(mut held) = self.held.remove(&leg) {
                    if held.record.outcome == Outcome::Open {
                        self.faults.push(format!("{now} call {serial} is gone without an outcome"));
                    }
                    held.record.ended = Some(now);
                    self.done.push(held.record);
                }
            }
            Event::Progress { .. } => {
                if held.talking {
                    self.faults.push(format!("{now} progress of call {serial} after its answer"));
                }
            }
            Event::Invite { .. }
            | Event::Pracked { .. }
            | Event::UpdateDone { .. }
            | Event::ByeDone { .. }
            | Event::InUsage { .. }
            | Event::Request { .. }
            | Event::Response { .. }
            | Event::RequestFailed { .. }
            | Event::Foreign { .. }
            | Event::ForeignClosed { .. }
            | Event::AcceptedLost { .. }
            | Event::KeptLost { .. } => {}
        }
    }

    fn answered(&mut self, now: Time, leg: LegId, held: &Held) {
        let serial = held.record.serial;
        let Script::Plan(plan) = held.script.clone() else { return };
        if held.talking || held.record.cancelled {
            self.faults.push(format!("{now} an answer of call {serial} too much"));
        }
        if plan.late_offer {
            let sdp = self.sdp();
            let result = self.endpoint.ack(now, leg, Some(Body::sdp(sdp.as_bytes())));
            self.demand(now, "ack", serial, result);
        }
        self.change(leg, |held| {
            held.talking = true;
            held.record.outcome = Outcome::Answered;
            held.record.answered = Some(now);
        });
        self.after(now, plan.hang_up, leg, Step::HangUp);
        self.after(now, plan.reinvite, leg, Step::Reinvite);
    }

    fn settle<M>(&mut self, now: Time, out: &mut Outbox<M>) {
        while let Some(event) = self.endpoint.poll_event() {
            self.event(now, event);
        }
        self.endpoint.flush(out);
    }

    /// Takes one input; see [`Machine::handle`].
    pub fn handle<M>(&mut self, now: Time, input: Input<'_, M>, out: &mut Outbox<M>) {
        match input {
            Input::Datagram(datagram) if datagram.socket == SIGNALLING => {
                self.endpoint.handle_datagram(now, datagram.socket, datagram.source, datagram.payload);
            }
            Input::Stream(stream, event) => self.endpoint.handle_stream(now, stream, event),
            Input::Unreachable { socket, destination } => {
                self.endpoint.handle_unreachable(now, socket, destination);
            }
            Input::Timeout => {
                self.endpoint.handle_timeout(now);
                self.settle(now, out);
                while let Some(entry) = self.timers.first_entry() {
                    if entry.key().0 > now {
                        break;
                    }
                    match entry.remove() {
                        Timer::Start(index) => self.start(now, index),
                        Timer::Do(leg, step) => self.step(now, leg, step),
                    }
                    self.settle(now, out);
                }
            }
            Input::Datagram(_) | Input::Socket(..) | Input::Mail(_) => {}
        }
        self.settle(now, out);
    }

    /// When [`Input::Timeout`] is wanted next.
    pub fn deadline(&self) -> Option<Time> {
        let own = self.timers.keys().next().map(|key| key.0);
        [own, self.endpoint.deadline()].into_iter().flatten().min()
    }
}

/// A machine without mail: one side of a world of endpoints and peers.
#[derive(Debug)]
pub enum Lone {
    /// A scripted peer.
    Peer(Box<crate::peer::Peer>),
    /// An application on the endpoint.
    Agent(Box<Agent>),
}

impl Machine for Lone {
    type Mail = ();

    fn handle(&mut self, now: Time, input: Input<'_, ()>, out: &mut Outbox<()>) {
        match self {
            Self::Peer(peer) => peer.handle(now, input, out),
            Self::Agent(agent) => agent.handle(now, input, out),
        }
    }

    fn deadline(&self) -> Option<Time> {
        match self {
            Self::Peer(peer) => peer.deadline(),
            Self::Agent(agent) => agent.deadline(),
        }
    }
}
