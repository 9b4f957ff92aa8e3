//! The caller's part: places calls when they are due, talks for their time, hangs up.

use crate::arrival::{Arrivals, Due};
use crate::audio::{End, Voice};
use crate::lines::{Alarm, Lines, Stage};
use crate::mail::Mail;
use crate::measure::{CallRecord, Outcome, nanos};
use crate::number::NumberPattern;
use crate::pace::SLOT;
use crate::plan::{Callee, SipTransport};
use core::fmt::Write;
use core::net::SocketAddr;
use core::time::Duration;
use sansio::{Key, Outbox, Time};
use sip::{Body, Destination, Event, Failure, Invite, Received, Transport};
use std::iter::Peekable;

/// How long after draining the last answers may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two hang-ups of a drain: a wave of BYEs in one instant would measure the wave.
const HANG_UP_EVERY: Duration = Duration::from_millis(2);

/// What a caller is told.
#[derive(Clone, Debug)]
pub struct CallerConfig {
    /// Whom to call.
    pub to: Callee,
    /// User part of From and Contact.
    pub caller: NumberPattern,
    /// The whole run's schedule.
    pub arrivals: Arrivals,
    /// This caller takes each call whose number leaves this remainder ...
    pub share: u64,
    /// ... by this.
    pub shares: u64,
    /// Calls due before this are not judged.
    pub warm_up: Duration,
    /// After the last arrival, hang up what still stands after this; `None`: never.
    pub drain_after: Option<Duration>,
    /// Give up a call after so long without a word.
    pub no_response: Duration,
    /// Give up a call after so long without a final answer.
    pub no_answer: Duration,
    /// Whether the other side may end calls (else that is a failure).
    pub peer_may_end: bool,
}

/// The caller's state.
#[derive(Debug)]
pub(crate) struct Caller {
    config: CallerConfig,
    arrivals: Peekable<Arrivals>,
    own: SocketAddr,
    start: Option<Time>,
    /// No further arrivals: calls are hung up, and what is left at the instant is cut.
    drained: Option<Time>,
    /// Hang up everything at this instant.
    drain_at: Option<Time>,
    /// When the last call was due.
    placed: Time,
    done: bool,
    texts: Texts,
}

/// Reused for each INVITE.
#[derive(Debug, Default)]
struct Texts {
    call_id: String,
    uri: String,
    from: String,
    to: String,
    user: String,
    body: Vec<u8>,
}

impl Caller {
    pub(crate) fn new(config: CallerConfig, own: SocketAddr) -> Self {
        let arrivals = config.arrivals.clone().peekable();
        Self {
            config,
            arrivals,
            own,
            start: None,
            drained: None,
            drain_at: None,
            placed: Time::ZERO,
            done: false,
            texts: Texts::default(),
        }
    }

    pub(crate) fn begin(&mut self, start: Time) {
        self.start = Some(start);
        self.skip_foreign();
    }

    /// Leaves out what is another shard's.
    fn skip_foreign(&mut self) {
        let (share, shares) = (self.config.share, self.config.shares.max(1));
        while self.arrivals.next_if(|due| due.number % shares != share).is_some() {}
    }

    /// When the next call is due, or the drain.
    pub(crate) fn deadline(&mut self) -> Option<Time> {
        let start = self.start?;
        if self.done {
            return None;
        }
        let arrival = match self.drained {
            Some(until) => Some(until),
            None => self.arrivals.peek().map(|due| shared(start + due.at, self.placed)),
        };
        [arrival, self.drain_at].into_iter().flatten().min()
    }

    /// Places what is due, ends what is to end.
    pub(crate) fn tend(&mut self, now: Time, lines: &mut Lines, out: &mut Outbox<Mail>) {
        let Some(start) = self.start else { return };
        if self.done {
            return;
        }
        while self.drained.is_none() {
            let Some(at) = self.arrivals.peek().map(|due| start + due.at) else { break };
            let slot = shared(at, self.placed);
            let Some(due) = self.arrivals.next_if(|_| slot <= now) else { break };
            self.placed = at;
            self.place(due, (at, slot), now, lines, out);
            self.skip_foreign();
        }
        let finished = self.drained.is_some() || self.arrivals.peek().is_none();
        if finished && self.drained.is_none() && self.drain_at.is_none() {
            self.drain_at =
                self.config.drain_after.map(|after| now.max(start + self.config.arrivals.length()) + after);
        }
        if self.drained.is_none() && self.drain_at.is_some_and(|at| at <= now) {
            self.drain(now, lines);
        }
        if self.drained.is_some_and(|until| until <= now) {
            let left: Vec<Key> = lines.calls.iter().map(|(key, _)| key).collect();
            for key in left {
                lines.over(key, now, Outcome::CutShort);
            }
        }
        if finished && lines.calls.is_empty() {
            self.done = true;
            lines.mail_part(now, out);
            out.mail(crate::mail::FARM, Mail::Done { shard: lines.shard() });
        }
    }

    /// No new calls; gives up those that start and hangs up the others, one after the other.
    pub(crate) fn drain(&mut self, now: Time, lines: &mut Lines) {
        if self.drained.is_some() || self.done {
            return;
        }
        self.start.get_or_insert(now);
        self.drain_at = None;
        let mut turn = now;
        let all: Vec<(Key, Stage)> = lines.calls.iter().map(|(key, call)| (key, call.stage)).collect();
        for (key, stage) in all {
            match stage {
                Stage::Starting => {
                    lines.hang_up(key, now);
                    if let Some(call) = lines.calls.get_mut(key) {
                        call.verdict = Some(Outcome::CutShort);
                    }
                }
                Stage::Standing => {
                    lines.alarm(key, turn, Alarm::HangUp);
                    turn += HANG_UP_EVERY;
                }
                Stage::Ending => {}
            }
        }
        self.drained = Some(turn + PATIENCE);
    }

    /// Places a call that is due at the first of two instants, and placed with others at the second.
    fn place(
        &mut self,
        due: Due,
        (at, slot): (Time, Time),
        now: Time,
        lines: &mut Lines,
        out: &mut Outbox<Mail>,
    ) {
        let judged = due.at >= self.config.warm_up;
        lines.part.attempts += 1;
        lines.part.start_error.record(nanos(now.since(at)));
        let name = lines.name();
        let not_placed = |lines: &mut Lines| {
            lines.part.ended(CallRecord {
                call: name,
                peer: crate::mark::CallName::NOBODY,
                due: at.as_nanos(),
                answered: 0,
                ended: now.as_nanos(),
                outcome: Outcome::NotPlaced,
                reason: String::new(),
                judged,
                voice: None,
            });
        };
        if lines.calls.len() == lines.calls.capacity() {
            lines.part.limiter_hits += 1;
            return not_placed(lines);
        }
        let voice = if lines.media.rtp {
            let Some(voice) = lines.new_voice(name, now, out) else {
                lines.part.ports_missing += 1;
                return not_placed(lines);
            };
            Some(voice)
        } else {
            None
        };
        let end = voice.as_ref().map_or_else(|| lines.nowhere(self.own.ip()), Voice::end);
        let leg = self.invite(due, name, end, now, lines);
        let Ok(leg) = leg else {
            lines.drop_voice(voice, now);
            lines.part.limiter_hits += 1;
            return not_placed(lines);
        };
        lines.part.invites += 1;
        if let Some(key) = lines.enter(name, leg, slot, voice)
            && let Some(call) = lines.calls.get_mut(key)
        {
            call.hold = due.hold;
            call.judged = judged;
        }
    }

    fn invite(
        &mut self,
        due: Due,
        name: crate::mark::CallName,
        end: End,
        now: Time,
        lines: &mut Lines,
    ) -> Result<sip::LegId, sip::StartError> {
        let texts = &mut self.texts;
        for text in [&mut texts.call_id, &mut texts.uri, &mut texts.from, &mut texts.to, &mut texts.user] {
            text.clear();
        }
        let (own, to) = (self.own, &self.config.to);
        // Writing to a String cannot fail.
        let _ = write!(texts.call_id, "{:016x}-{:08x}@{}", name.0, lines.random.u32(), own.ip());
        texts.uri.push_str("sip:");
        to.number.write(due.number, &mut texts.uri);
        let _ = write!(texts.uri, "@{}", to.address);
        let _ = write!(texts.to, "<{}>", texts.uri);
        self.config.caller.write(due.number, &mut texts.user);
        let _ = write!(texts.from, "<sip:{}@{}>", texts.user, own);
        lines.describe(&mut texts.body, name, end);
        let (transport, socket) = match to.transport {
            SipTransport::Udp => (Transport::Udp, crate::shard::SIP_UDP),
            SipTransport::Tcp => (Transport::Tcp, crate::shard::SIP_TCP),
        };
        lines.endpoint.invite(
            now,
            &Invite {
                call_id: &texts.call_id,
                request_uri: &texts.uri,
                from: &texts.from,
                to: &texts.to,
                destination: Destination { transport, remote: to.address, socket, over: None },
                contact_user: &texts.user,
                headers: &[],
                body: Some(Body::sdp(&texts.body)),
                max_forwards: 70,
                no_response: self.config.no_response,
                no_answer: self.config.no_answer,
            },
        )
    }

    pub(crate) fn alarm(&self, now: Time, key: Key, alarm: Alarm, lines: &mut Lines) {
        if alarm == Alarm::HangUp {
            lines.hang_up(key, now);
        }
    }

    pub(crate) fn event(&self, now: Time, event: Event, lines: &mut Lines) {
        match event {
            Event::Progress { leg, status, .. } => {
                *lines.part.responses.entry(status).or_insert(0) += 1;
                let Some(key) = lines.of_leg(leg) else { return };
                if status > 100 {
                    self.rang(key, status, lines);
                }
            }
            Event::Answered { leg, message } => {
                *lines.part.responses.entry(200).or_insert(0) += 1;
                if let Some(key) = lines.of_leg(leg) {
                    self.answered(now, key, &message, lines);
                }
            }
            Event::Failed { leg, cause, .. } => {
                if let Some(key) = lines.of_leg(leg) {
                    failed(now, key, cause, lines);
                }
            }
            Event::Bye { leg, message } => {
                if let Some(key) = lines.of_leg(leg) {
                    self.ended_by_peer(now, key, &message, lines);
                }
            }
            _ => {}
        }
    }

    fn rang(&self, key: Key, status: u16, lines: &mut Lines) {
        let Some(call) = lines.calls.get_mut(key) else { return };
        if call.rang.is_none() {
            call.rang = Some(lines.heard);
            if matches!(status, 180 | 183) {
                let delay = nanos(lines.heard.since(call.due));
                lines.part.pdd.record(delay);
            }
        }
    }

    fn answered(&self, now: Time, key: Key, message: &Received, lines: &mut Lines) {
        let Some(call) = lines.calls.get(key) else { return };
        let (due, rang, hold, stage) = (call.due, call.rang, call.hold, call.stage);
        if stage != Stage::Starting {
            return;
        }
        *lines.part.finals.entry("200".to_owned()).or_insert(0) += 1;
        let heard = lines.heard;
        lines.part.setup.record(nanos(heard.since(due)));
        lines.part.srd.record(nanos(rang.unwrap_or(heard).since(due)));
        lines.answered(key, now);
        if !lines.connect(key, message.body()) {
            if let Some(call) = lines.calls.get_mut(key) {
                call.verdict = Some(Outcome::Unusable);
            }
            lines.hang_up(key, now);
            return;
        }
        lines.speak(key, now);
        if self.drained.is_some() {
            lines.hang_up(key, now);
        } else {
            // Ramp calls end at a planned instant, others after their hold: both count from the plan's clock,
            // so a slow answer does not delay the ending of the ramp's calls.
            let setup = now.since(due);
            let hold = if hold > setup { hold } else { hold.max(Duration::from_millis(1)) };
            lines.alarm(key, now + hold, Alarm::HangUp);
        }
    }

    fn ended_by_peer(&self, now: Time, key: Key, message: &Received, lines: &mut Lines) {
        let Some(call) = lines.calls.get_mut(key) else { return };
        if call.stage == Stage::Ending {
            return; // Both hung up at once; our own BYE's end closes the call.
        }
        call.reason = reason(message);
        let outcome = if self.config.peer_may_end { Outcome::Completed } else { Outcome::EndedByPeer };
        lines.over(key, now, outcome);
    }
}

/// When to wake for a call: calls that follow each other closely share the wake-ups of the voice. Their delays
/// count from that slot; how much later than due it is, at most a slot, is told as the error of the start.
fn shared(due: Time, before: Time) -> Time {
    if due.since(before) >= SLOT * 2 {
        return due;
    }
    Time::from_nanos(due.as_nanos().next_multiple_of(SLOT.as_nanos() as u64))
}

/// What a BYE says of its reason.
fn reason(message: &Received) -> String {
    let parsed = message.parse().ok();
    let text = parsed.as_ref().and_then(|message| message.header_by_name("Reason"));
    text.map(|text| String::from_utf8_lossy(text).into_owned()).unwrap_or_default()
}

fn failed(now: Time, key: Key, cause: Failure, lines: &mut Lines) {
    let Some(call) = lines.calls.get_mut(key) else { return };
    let due = call.due;
    let outcome = match cause {
        Failure::Status { status, reason, .. } => {
            *lines.part.responses.entry(status).or_insert(0) += 1;
            call.reason = reason.into();
            // RFC 6076 §4.3.2 leaves out the challenges.
            if !matches!(status, 401 | 402 | 407) {
                lines.part.srd_failed.record(nanos(lines.heard.since(due)));
            }
            Outcome::Refused(status)
        }
        Failure::NoResponse => Outcome::NoResponse,
        Failure::NoAnswer => Outcome::NoAnswer,
        Failure::Refused | Failure::ConnectFailed => Outcome::Unreachable,
        Failure::TimedOut => Outcome::TimedOut,
        Failure::AnsweredLate => Outcome::Cancelled,
    };
    let word = call.verdict.map_or_else(|| outcome.word(), |_| "cancelled".to_owned());
    *lines.part.finals.entry(word).or_insert(0) += 1;
    lines.over(key, now, outcome);
}
