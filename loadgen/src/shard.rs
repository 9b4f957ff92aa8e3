//! The load generator's machine: one thread's calls, as caller or as carrier. Only routes.

use crate::callee::{Behaviour, Carrier};
use crate::caller::{Caller, CallerConfig};
use crate::lines::{Alarm, Lines, LinesConfig};
use crate::mail::{FARM, Mail};
use crate::mark::Direction;
use crate::measure::{Outcome, nanos};
use crate::plan::Media;
use core::net::SocketAddr;
use core::time::Duration;
use sansio::{Input, Machine, Outbox, Random, SocketId, StreamEvent, Time};
use sip::{Body, Config, Endpoint, Event, LegId};

/// The number of a shard's SIP datagram socket; the farm opens it.
pub const SIP_UDP: SocketId = SocketId(0);
/// The number of a shard's SIP listening socket; the farm opens it.
pub const SIP_TCP: SocketId = SocketId(1);

/// What a shard does.
#[derive(Clone, Debug)]
pub enum Part {
    /// It calls.
    Caller(Box<CallerConfig>),
    /// It answers.
    Carrier(Behaviour),
}

/// What a shard is made with.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// Its number among the shards of the farm.
    pub shard: u16,
    /// The farm's number in marks; not 0, and unique over the farms of a run.
    pub farm: u32,
    /// Its SIP address, UDP and TCP.
    pub sip: SocketAddr,
    /// Voice.
    pub media: Media,
    /// Most calls at once; arrivals beyond are counted as limiter hits.
    pub calls_max: u32,
    /// RTP ports to open before the run.
    pub ports_ready: u32,
    /// What it does.
    pub part: Part,
    /// Of its random stream.
    pub seed: u64,
}

#[derive(Debug)]
enum Role {
    Caller(Box<Caller>),
    Carrier(Carrier),
}

/// One thread's worth of load: a [`Machine`].
#[derive(Debug)]
pub struct Shard {
    role: Role,
    lines: Lines,
    ports_ready: u32,
    /// Set once the farm was told that this shard is ready.
    ready: bool,
    opening: bool,
    stopped: bool,
    /// The input at hand is a refusal: legs that it ends were not ended in order.
    refusal: bool,
    /// What [`Machine::deadline`] says; kept up to date after each input.
    next: Option<Time>,
}

impl Shard {
    /// A shard; its SIP sockets are to be given to the driver as [`SIP_UDP`] and [`SIP_TCP`].
    pub fn new(config: ShardConfig, now: Time) -> Self {
        let mut random = Random::new(config.seed);
        let mut sip_config = Config { user_agent: "Trunkline-load".to_owned(), ..Config::default() };
        sip_config.limits.legs = config.calls_max.saturating_mul(2).max(64);
        sip_config.limits.transactions = 1 << 20;
        // A carrier that rings at once needs no 100.
        sip_config.trying = !matches!(&config.part, Part::Carrier(behaviour) if behaviour.slow.is_zero());
        let mut endpoint = Endpoint::new(sip_config, random.fork(), now);
        endpoint.add_udp(SIP_UDP, config.sip);
        endpoint.add_tcp_listener(SIP_TCP, config.sip);
        let (direction, role) = match config.part {
            Part::Caller(caller) => {
                (Direction::Forth, Role::Caller(Box::new(Caller::new(*caller, config.sip))))
            }
            Part::Carrier(behaviour) => (Direction::Back, Role::Carrier(Carrier::new(behaviour, config.sip))),
        };
        let ports_ready = if config.media.rtp { config.ports_ready } else { 0 };
        let lines = LinesConfig {
            shard: config.shard,
            farm: config.farm,
            media: config.media,
            calls_max: config.calls_max,
            direction,
        };
        let lines = Lines::new(&lines, endpoint, config.sip, random, now);
        Self {
            role,
            lines,
            ports_ready,
            ready: false,
            opening: false,
            stopped: false,
            refusal: false,
            next: Some(Time::ZERO),
        }
    }

    /// Whether no call, transaction, port or alarm is left (for tests and the simulator).
    pub fn is_idle(&self) -> bool {
        self.lines.calls.is_empty() && self.lines.endpoint.is_idle()
    }

    fn silent(&self) -> bool {
        matches!(&self.role, Role::Carrier(carrier) if carrier.behaviour.silent)
    }

    /// Opens ports ahead, and says so to the farm once they stand.
    fn prepare(&mut self, out: &mut Outbox<Mail>) {
        if self.ready {
            return;
        }
        let wanted = self.ports_ready;
        let shard = self.lines.shard();
        let ports = self.lines.ports();
        if !self.opening {
            self.opening = true;
            ports.want(wanted, out);
        }
        if ports.settled() {
            self.ready = true;
            out.mail(FARM, Mail::Ready { shard, ports: ports.open(), refusal: ports.refusal() });
        }
    }

    fn mail(&mut self, now: Time, mail: Mail, out: &mut Outbox<Mail>) {
        match mail {
            Mail::Begin(start) => {
                self.lines.begin(start);
                if let Role::Caller(caller) = &mut self.role {
                    caller.begin(start);
                }
            }
            Mail::Drain => {
                if let Role::Caller(caller) = &mut self.role {
                    caller.drain(now, &mut self.lines);
                }
            }
            Mail::Stop => {
                let left: Vec<_> = self.lines.calls.iter().map(|(key, _)| key).collect();
                for key in left {
                    self.lines.over(key, now, Outcome::CutShort);
                }
                self.lines.mail_part(now, out);
                self.lines.ports().close(out);
                out.mail(FARM, Mail::Done { shard: self.lines.shard() });
                out.stop();
                self.stopped = true;
            }
            Mail::Behave(behaviour) => {
                if let Role::Carrier(carrier) = &mut self.role {
                    carrier.behaviour = behaviour;
                }
            }
            Mail::Die => {
                out.stop();
                self.stopped = true;
            }
            Mail::Ready { .. } | Mail::Part { .. } | Mail::Done { .. } => {}
        }
    }

    fn on_time(&mut self, now: Time, out: &mut Outbox<Mail>) {
        self.lines.talk(now, out);
        if self.lines.endpoint.deadline().is_some_and(|deadline| deadline <= now) {
            self.lines.endpoint.handle_timeout(now);
        }
        while let Some((key, alarm)) = self.lines.next_alarm(now) {
            self.alarm(now, key, alarm);
        }
    }

    fn alarm(&mut self, now: Time, key: sansio::Key, alarm: Alarm) {
        match &mut self.role {
            Role::Caller(caller) => caller.alarm(now, key, alarm, &mut self.lines),
            Role::Carrier(carrier) => carrier.alarm(now, key, alarm, &mut self.lines),
        }
    }

    /// Takes the endpoint's events, flushes what they caused, and looks at the schedule.
    fn settle(&mut self, now: Time, out: &mut Outbox<Mail>) {
        loop {
            while let Some(event) = self.lines.endpoint.poll_event() {
                self.event(now, event, out);
            }
            if let Role::Caller(caller) = &mut self.role {
                caller.tend(now, &mut self.lines, out);
            }
            self.lines.endpoint.flush(out);
            // Placing a call may leave an event behind (a table was full): none may wait for the next input.
            let Some(event) = self.lines.endpoint.poll_event() else { break };
            self.event(now, event, out);
        }
        self.lines.close_seconds(now, out);
    }

    /// Events that both roles treat alike; the rest is theirs.
    fn event(&mut self, now: Time, event: Event, out: &mut Outbox<Mail>) {
        let lines = &mut self.lines;
        match event {
            Event::Gone { leg } => gone(now, leg, self.refusal, lines),
            Event::Lost { leg, .. } => {
                if let Some(key) = lines.of_leg(leg) {
                    lines.over(key, now, Outcome::Lost);
                }
            }
            Event::Reinvite { leg, message } => {
                let Some(key) = lines.of_leg(leg) else { return };
                let usable = message.body().is_empty() || lines.connect(key, message.body());
                let mut body = Vec::new();
                if let Some(call) = lines.calls.get(key)
                    && let Some(voice) = &call.voice
                {
                    lines.describe(&mut body, call.name, voice.end());
                }
                let status = if usable { 200 } else { 488 };
                let body = (usable && !body.is_empty()).then(|| Body::sdp(&body));
                // An error means that the dialog ended meanwhile: its own event follows.
                let _ = lines.endpoint.answer_reinvite(now, leg, status, body);
            }
            Event::ReinviteDone { leg, message, .. } => {
                if let (Some(key), Some(message)) = (lines.of_leg(leg), message)
                    && !message.body().is_empty()
                {
                    lines.connect(key, message.body());
                }
            }
            Event::Request { id, .. } => {
                // An error means that the request is over: nobody waits for the answer.
                let _ = lines.endpoint.respond_options(now, id, false);
            }
            event => match &mut self.role {
                Role::Caller(caller) => caller.event(now, event, lines),
                Role::Carrier(carrier) => carrier.event(now, event, lines, out),
            },
        }
    }
}

/// A BYE whose leg lasts this long was never answered: its transaction ends after 32 s (RFC 3261 §17.1.2.2).
const UNHEARD: Duration = Duration::from_secs(31);

/// Whether an input says no: a response of 300 to 699, ICMP, a connection that is over.
fn is_refusal(input: &Input<'_, Mail>) -> bool {
    let bytes = match input {
        Input::Unreachable { .. } | Input::Stream(_, StreamEvent::Closed(_)) => return true,
        Input::Datagram(datagram) if !Lines::is_rtp(datagram.socket) => datagram.payload,
        Input::Stream(_, StreamEvent::Data(bytes)) => bytes,
        _ => return false,
    };
    bytes
        .strip_prefix(b"SIP/2.0 ")
        .and_then(|rest| rest.first())
        .is_some_and(|class| (b'3'..=b'6').contains(class))
}

/// A leg is gone: the call is over as it was to be, if nothing worse was said before.
fn gone(now: Time, leg: LegId, refused: bool, lines: &mut Lines) {
    let Some(key) = lines.of_leg(leg) else { return };
    let Some(call) = lines.calls.get(key) else { return };
    match call.ending {
        Some(ending) if call.answered.is_some() => {
            if refused || now.since(ending) >= UNHEARD {
                return lines.over(key, now, Outcome::Lost);
            }
            lines.part.sdd.record(nanos(lines.heard.since(ending)));
            lines.over(key, now, Outcome::Completed);
        }
        Some(_) => lines.over(key, now, Outcome::Cancelled),
        None => lines.over(key, now, Outcome::Lost),
    }
}

impl Machine for Shard {
    type Mail = Mail;

    fn handle(&mut self, now: Time, input: Input<'_, Mail>, out: &mut Outbox<Mail>) {
        if self.stopped {
            return;
        }
        self.refusal = is_refusal(&input);
        self.lines.heard = match &input {
            Input::Datagram(datagram) => datagram.received,
            _ => now,
        };
        match input {
            Input::Datagram(datagram) if Lines::is_rtp(datagram.socket) => {
                // The hot path: nothing else can have changed, so nothing else is looked at.
                self.lines.hear(datagram);
                return;
            }
            Input::Datagram(datagram) => {
                self.prepare(out);
                if !self.ready {
                    // A call that came now would find no port open: as on a host that is just coming up,
                    // the sender's retransmission is the one to be heard (RFC 3261 §17.1.1.2).
                    return;
                }
                if !self.silent() {
                    self.lines.endpoint.handle_datagram(
                        now,
                        datagram.socket,
                        datagram.source,
                        datagram.payload,
                    );
                }
            }
            Input::Unreachable { socket, destination } => {
                self.lines.endpoint.handle_unreachable(now, socket, destination);
            }
            Input::Socket(socket, event) => {
                self.lines.ports().opened(socket, event, out);
                self.prepare(out);
            }
            Input::Stream(stream, event) => {
                if !self.silent() {
                    self.lines.endpoint.handle_stream(now, stream, event);
                }
            }
            Input::Mail(mail) => self.mail(now, mail, out),
            Input::Timeout => {
                self.prepare(out);
                self.on_time(now, out);
            }
        }
        if self.stopped {
            self.next = None;
            return;
        }
        self.settle(now, out);
        let schedule = match &mut self.role {
            Role::Caller(caller) => caller.deadline(),
            Role::Carrier(_) => None,
        };
        self.next = [schedule, self.lines.deadline()].into_iter().flatten().min();
    }

    fn deadline(&self) -> Option<Time> {
        self.next
    }
}
