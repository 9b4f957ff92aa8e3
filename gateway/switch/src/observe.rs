//! What a shard shows of its signalling: the messages of a call on request, copies over HEP, and how sessions ended.

use crate::call::Call;
use crate::ends::PastEnds;
use crate::hep::{self, Copied, HepConfig};
use crate::mail::Mail;
use crate::mask::Masks;
use crate::shard::{MEDIA_SOCKETS, Shard};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use link::{
    CallId, Event, Figure, Release, ShardId, Side, Trace, TraceAsked, TraceLeg, TraceMessage, TraceOf,
    TrunkName,
};
use sansio::{Key, Outbox, SocketEvent, SocketId, SocketOptions, Time};
use sip::observe::recorder::{Direction, Recorded};
use sip::observe::{Marks, Records};
use sip::{LegId, Transport};
use std::collections::BTreeMap;

/// The socket that copies for a capture server leave by.
const HEP_SOCKET: SocketId = SocketId(MEDIA_SOCKETS - 1);
/// Most messages and bytes of one answer; copying them takes a fraction of a millisecond.
const TRACE_MAX: (usize, usize) = (1000, 512 << 10);
/// Most messages copied to the capture server at a turn; more wait in the ring for the next.
const COPIES_MAX: usize = 64;
/// Most ended sessions that wait to be told to control.
const RELEASES_MAX: usize = 4096;

/// What is kept of messages, and where copies go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observing {
    /// Bytes of the ring that holds the last messages; 0: none are kept. Fixed at the start.
    pub ring: usize,
    /// What is blotted out of messages that leave the shard.
    pub masks: Masks,
    /// The capture server, if any.
    pub hep: Option<HepConfig>,
}

/// How the socket for copies stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Asked,
    Open,
    Failed,
}

/// How far the copies are.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    /// The socket that was asked for: whether for IPv4, and how it stands.
    socket: Option<(bool, Standing)>,
    /// Whether copies are being made, rather than not asked for.
    begun: bool,
    /// Up to where in the ring messages have been looked at, and how many that were.
    position: Marks,
    seen: u64,
    packet: Vec<u8>,
}

/// A session on a trunk that has been answered.
#[derive(Debug)]
struct Session {
    trunk: TrunkName,
    answered: Time,
    ended: Option<Time>,
    disconnect_us: Option<u64>,
    completed: bool,
}

/// Sessions on trunks, from their answer until their leg is gone, and those that control has not been told.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    open: BTreeMap<LegId, Session>,
    over: Vec<Release>,
}

impl Shard {
    /// Sets up what the configuration asks for at the start.
    pub(crate) fn start_observing(&mut self, out: &mut Outbox<Mail>) {
        if self.config.observing.ring > 0 {
            self.endpoint.record_messages(self.config.observing.ring);
        }
        self.copy_messages(out);
    }

    /// The caller's leg of a call is there: messages with its Call-ID are of that call.
    pub(crate) fn bind_caller(&mut self, key: Key) {
        let (Some(call), Some(recorder)) = (self.calls.get(key), self.endpoint.recorder_mut()) else {
            return;
        };
        recorder.bind(call.draft.sip_call_id.as_bytes(), call.id.0, 0, "caller");
    }

    /// The same for the peer that is being tried: its leg's number is one more than attempts are over.
    pub(crate) fn bind_callee(&mut self, key: Key) {
        let (Some(call), Some(recorder)) = (self.calls.get(key), self.endpoint.recorder_mut()) else {
            return;
        };
        if let Some(trying) = &call.trying {
            let leg = call.draft.attempts.len() as u16 + 1;
            recorder.bind(trying.sip_call_id.as_bytes(), call.id.0, leg, trying.trunk.as_str());
        }
    }

    /// The same for a leg that came from another call: its messages are shown with both.
    pub(crate) fn bind_moved(&mut self, key: Key, side: Side) {
        let Some(call) = self.calls.get(key) else { return };
        let Some(call_id) =
            call.leg(side).and_then(|leg| self.endpoint.leg(leg)).map(|facts| facts.call_id.to_owned())
        else {
            return;
        };
        let (id, number) = (call.id.0, call.draft.attempts.len() as u16 + 1);
        if let Some(recorder) = self.endpoint.recorder_mut() {
            recorder.bind(call_id.as_bytes(), id, number, "transferred");
        }
    }

    /// Tells the bindings of a call again, so that they are as young as its last messages.
    pub(crate) fn bind_again(recorder: &mut Records, call: &Call) {
        let id = call.id.0;
        let known = recorder.legs(id);
        let draft = &call.draft;
        // Those of a long call may be overwritten; the two that it ended with are known here.
        if !known.iter().any(|leg| leg.call_id == draft.sip_call_id) {
            recorder.bind(draft.sip_call_id.as_bytes(), id, 0, "caller");
        }
        if let Some(callee) = &draft.callee_sip_call_id
            && !known.iter().any(|leg| leg.call_id == *callee)
        {
            let label = draft.trunk.as_ref().map_or("", TrunkName::as_str);
            recorder.bind(callee.as_bytes(), id, draft.attempts.len().max(1) as u16, label);
        }
        for leg in known {
            recorder.bind(leg.call_id.as_bytes(), id, leg.leg, &leg.label);
        }
    }

    /// Answers control's question for the messages of a call.
    pub(crate) fn trace(&mut self, asked: &TraceAsked, out: &mut Outbox<Mail>) {
        if let TraceOf::Call(id) = asked.of
            && let Some(call) = self.ids.get(&id).and_then(|key| self.calls.get(*key))
            && let Some(recorder) = self.endpoint.recorder_mut()
        {
            Self::bind_again(recorder, call);
        }
        let mut trace = Trace {
            ticket: asked.ticket,
            shard: ShardId(self.shards.me as u8),
            recording: false,
            ..Trace::default()
        };
        if let Some(recorder) = self.endpoint.recorder() {
            trace.recording = true;
            self.fill(&mut trace, recorder, &asked.of);
        }
        self.tell(Event::Trace(Box::new(trace)), out);
    }

    fn fill(&self, trace: &mut Trace, recorder: &Records, of: &TraceOf) {
        let call = match of {
            TraceOf::Call(id) => Some(id.0),
            // A UUID of Session-ID is a name for a call, too.
            TraceOf::SipCallId(text) => {
                recorder.call_of(text.as_bytes()).or_else(|| Some(self.call_with_end(text)?.0))
            }
        };
        let mut legs = call.map(|call| recorder.legs(call)).unwrap_or_default();
        let alone = match of {
            TraceOf::SipCallId(text) if !legs.iter().any(|leg| leg.call_id == *text) => Some(text.as_bytes()),
            _ => None,
        };
        let call_ids = legs.iter().map(|leg| leg.call_id.as_bytes()).chain(alone);
        let (messages, truncated) = recorder.messages(call_ids, TRACE_MAX.0, TRACE_MAX.1);
        if !legs.is_empty() || !messages.is_empty() {
            trace.call = call.map(CallId);
            trace.session_id = trace.call.and_then(|call| self.session_of(call));
        }
        trace.truncated = truncated;
        trace.messages = messages.iter().map(|recorded| self.told(recorded)).collect();
        trace.legs = legs
            .drain(..)
            .map(|leg| TraceLeg { leg: leg.leg, label: leg.label, sip_call_id: leg.call_id })
            .collect();
    }

    fn told(&self, recorded: &Recorded<'_>) -> TraceMessage {
        let header = &recorded.header;
        let mut bytes = recorded.bytes.to_vec();
        let live = self.ids.get(&CallId(recorded.call)).and_then(|key| self.calls.get(*key));
        let hides = self.hiding && hides_keys(live, &self.past_ends, recorded.call);
        self.config.observing.masks.hiding_keys(hides).apply(&mut bytes);
        TraceMessage {
            at: self.wall(header.at),
            leg: recorded.leg,
            sent: header.direction == Direction::Out,
            transport: header.transport.name().into(),
            local: header.local,
            remote: header.remote,
            bytes,
        }
    }

    /// Sends copies of the messages that were recorded since the last time.
    pub(crate) fn copy_messages(&mut self, out: &mut Outbox<Mail>) {
        let copies = &mut self.copies;
        let (Some(config), Some(recorder)) = (&self.config.observing.hep, self.endpoint.recorder()) else {
            if copies.socket.take().is_some() {
                out.close(HEP_SOCKET);
            }
            copies.begun = false;
            return;
        };
        if !copies.begun {
            // A reload may ask for copies long after the start: they begin with what comes now.
            copies.begun = true;
            (copies.position, copies.seen) = (recorder.position(), recorder.stats().recorded);
        }
        let v4 = config.server.is_ipv4();
        match copies.socket {
            Some((family, Standing::Open)) if family == v4 => {}
            Some((family, Standing::Asked | Standing::Failed)) if family == v4 => return,
            other => {
                if other.is_some() {
                    out.close(HEP_SOCKET);
                }
                let any: IpAddr =
                    if v4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
                out.open(HEP_SOCKET, SocketAddr::new(any, 0), SocketOptions::default());
                copies.socket = Some((v4, Standing::Asked));
                return;
            }
        }
        let (waiting, mut taken) = (recorder.stats().recorded - copies.seen, 0);
        if waiting == 0 {
            return;
        }
        let mut last = None;
        for (marks, recorded) in recorder.since(copies.position).take(COPIES_MAX) {
            taken += 1;
            last = Some(marks);
            if !sampled(config, &recorded) {
                continue;
            }
            let header = &recorded.header;
            let (source, destination) = match header.direction {
                Direction::In => (header.remote, header.local),
                Direction::Out => (header.local, header.remote),
            };
            let id = CallId(recorded.call);
            let live = self.ids.get(&id).and_then(|key| self.calls.get(*key)).map(|call| call.ends.record());
            let session =
                live.or_else(|| (recorded.call != 0).then(|| self.past_ends.session_of(id)).flatten());
            let copied = Copied {
                source,
                destination,
                protocol: if header.transport == Transport::Udp { 17 } else { 6 },
                at: self.wall_at_zero.0 + header.at.as_nanos() / 1000,
                call: recorded.call,
                session: session.as_deref(),
                bytes: recorded.bytes,
            };
            copies.packet.clear();
            let Some(message) = hep::write(&mut copies.packet, config, &copied) else {
                self.stats.hep_dropped += 1;
                continue;
            };
            let call = self.ids.get(&id).and_then(|key| self.calls.get(*key));
            let hides = self.hiding && hides_keys(call, &self.past_ends, recorded.call);
            self.config.observing.masks.hiding_keys(hides).apply(&mut copies.packet[message..]);
            let dropped = out.stats().packets_exhausted;
            out.send(HEP_SOCKET, config.server, &copies.packet);
            if out.stats().packets_exhausted == dropped {
                self.stats.hep_sent += 1;
            } else {
                self.stats.hep_dropped += 1;
            }
        }
        // Fewer are there than were recorded: the ring went round while the socket was being opened.
        let lost = if taken < COPIES_MAX as u64 { waiting - taken } else { 0 };
        self.stats.hep_dropped += lost;
        copies.seen += taken + lost;
        copies.position = last.unwrap_or_else(|| recorder.position());
    }

    /// What became of the socket for copies.
    pub(crate) fn copies_socket(&mut self, socket: SocketId, event: &SocketEvent) {
        if socket == HEP_SOCKET
            && let Some((_, standing)) = &mut self.copies.socket
        {
            *standing = match event {
                SocketEvent::Opened(_) => Standing::Open,
                SocketEvent::Failed(_) => Standing::Failed,
            };
            self.stats.hep_unopened += u64::from(*standing == Standing::Failed);
        }
    }

    /// Done now and then: tells of sessions that are over, and asks again for a socket that could not be had.
    pub(crate) fn observe_now_and_then(&mut self, out: &mut Outbox<Mail>) {
        if matches!(self.copies.socket, Some((_, Standing::Failed))) {
            self.copies.socket = None;
        }
        self.tell_releases(out);
    }

    /// Whether a datagram came to the socket for copies, where nobody has anything to say.
    pub(crate) fn is_for_copies(socket: SocketId) -> bool {
        socket == HEP_SOCKET
    }

    /// Messages by method and status, and how full the ring is, as figures.
    pub(crate) fn observed_figures(&self, figures: &mut Vec<Figure>) {
        let tally = self.endpoint.tally();
        tally.visit_requests(&mut |direction, method, count| {
            let help = "Requests by method and direction, retransmissions included.";
            let figure = Figure::counter("sip_requests_total", help, count);
            figures.push(figure.labelled("method", method).labelled("direction", direction.as_str()));
        });
        tally.visit_responses(&mut |direction, status, count| {
            let help = "Responses by status and direction, retransmissions included.";
            let figure = Figure::counter("sip_responses_total", help, count);
            figures.push(
                figure.labelled("status", status.to_string()).labelled("direction", direction.as_str()),
            );
        });
        let (stats, capacity) =
            self.endpoint.recorder().map_or_else(Default::default, |it| (it.stats(), it.capacity()));
        for (name, help, value) in [
            ("trace_recorded_total", "SIP messages kept for traces.", stats.recorded),
            (
                "trace_overwritten_total",
                "SIP messages of the trace ring overwritten by later ones.",
                stats.overwritten,
            ),
            (
                "trace_too_long_total",
                "SIP messages not kept since they take more than a quarter of the ring.",
                stats.too_long,
            ),
            (
                "trace_unfindable_total",
                "Call-IDs that traces cannot find any more since the ring's index was full.",
                stats.unfindable,
            ),
        ] {
            figures.push(Figure::counter(name, help, value));
        }
        figures.push(Figure::gauge(
            "trace_ring_bytes",
            "Bytes of SIP messages that can be kept.",
            capacity as u64,
        ));
    }

    /// The callee's leg of a call was answered: a session on its trunk begins.
    pub(crate) fn session_begins(&mut self, now: Time, leg: LegId, trunk: TrunkName) {
        let session = Session { trunk, answered: now, ended: None, disconnect_us: None, completed: false };
        self.sessions.open.insert(leg, session);
    }

    /// A call is over: so is the session of its callee, who hung up if `by` says so.
    pub(crate) fn session_ends(&mut self, now: Time, call: &Call, by: Side) {
        // A leg that came from another call may be one of a trunk on the caller's side.
        for side in [Side::Caller, Side::Callee] {
            if let Some(leg) = call.leg(side) {
                self.session_of_leg_ends(now, leg, by == side);
            }
        }
    }

    /// The session of a leg is over, if it has one; its peer hung up if `completed` says so.
    pub(crate) fn session_of_leg_ends(&mut self, now: Time, leg: LegId, completed: bool) {
        if let Some(session) = self.sessions.open.get_mut(&leg) {
            session.ended.get_or_insert(now);
            // Its BYE was answered 200 before it was told to us (RFC 3261 §15.1.2).
            session.completed |= completed;
        }
    }

    /// Our BYE was answered.
    pub(crate) fn on_bye_done(&mut self, now: Time, leg: LegId, status: u16) {
        if let Some(session) = self.sessions.open.get_mut(&leg)
            && status / 100 == 2
        {
            session.completed = true;
            session.disconnect_us = session.ended.map(|ended| now.since(ended).as_micros() as u64);
        }
    }

    /// A leg is gone: nothing more will be known of its session.
    pub(crate) fn session_gone(&mut self, now: Time, leg: LegId) {
        let Some(session) = self.sessions.open.remove(&leg) else { return };
        if self.sessions.over.len() >= RELEASES_MAX {
            self.stats.releases_dropped += 1;
            return;
        }
        let ended = session.ended.unwrap_or(now);
        self.sessions.over.push(Release {
            trunk: session.trunk,
            talked_us: ended.since(session.answered).as_micros() as u64,
            disconnect_us: session.disconnect_us,
            completed: session.completed,
        });
    }

    /// Tells control of the sessions that are over.
    pub(crate) fn tell_releases(&mut self, out: &mut Outbox<Mail>) {
        if !self.sessions.over.is_empty() {
            let over = core::mem::take(&mut self.sessions.over);
            self.tell(Event::Released(over), out);
        }
    }
}

/// Whether a call's keys are hidden. Of one that is not known any more that is not known either: then they are.
fn hides_keys(live: Option<&Call>, past: &PastEnds, call: u64) -> bool {
    live.map(|call| call.hides_keys).or_else(|| past.hides_keys(CallId(call))).unwrap_or(true)
}

/// Whether the call of a message is one of those that are copied: all of a call, or nothing.
fn sampled(config: &HepConfig, recorded: &Recorded<'_>) -> bool {
    if config.sample >= 10_000 {
        return true;
    }
    let of = if recorded.call == 0 { recorded.dialog } else { recorded.call };
    // Call ids count up: multiplied by the golden ratio they are spread evenly.
    let spread = of.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    (spread * 10_000) >> 32 < u64::from(config.sample)
}
