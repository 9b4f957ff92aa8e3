//! The carrier's part: answers, rings, refuses, falls silent, talks, hangs up, as it was told.

use crate::audio::{End, Voice};
use crate::lines::{Alarm, Lines};
use crate::mail::Mail;
use crate::measure::Outcome;
use crate::session;
use core::net::SocketAddr;
use core::time::Duration;
use sansio::{Key, Outbox, Time};
use sip::{Body, Event, LegId, Received};

/// How a carrier behaves.
#[derive(Clone, Debug, Default)]
pub struct Behaviour {
    /// From 180 to 200.
    pub ring: Duration,
    /// Refuse every call with this status.
    pub status: Option<u16>,
    /// Swallow everything.
    pub silent: bool,
    /// Every response to an INVITE is late by this.
    pub slow: Duration,
    /// Ring with 183 and voice.
    pub early_media: bool,
    /// Hang up so long after the answer.
    pub bye_after: Option<Duration>,
    /// Offer anew so long after the answer.
    pub reinvite_after: Option<Duration>,
}

/// The carrier's state.
#[derive(Debug)]
pub(crate) struct Carrier {
    pub(crate) behaviour: Behaviour,
    own: SocketAddr,
    body: Vec<u8>,
}

impl Carrier {
    pub(crate) fn new(behaviour: Behaviour, own: SocketAddr) -> Self {
        Self { behaviour, own, body: Vec::new() }
    }

    pub(crate) fn event(&mut self, now: Time, event: Event, lines: &mut Lines, out: &mut Outbox<Mail>) {
        match event {
            Event::Invite { leg, request, .. } => self.invited(now, leg, &request, lines, out),
            Event::Acked { leg, .. } => {
                if let Some(key) = lines.of_leg(leg) {
                    self.acked(now, key, lines);
                }
            }
            Event::Cancelled { leg, reason } => {
                let Some(key) = lines.of_leg(leg) else { return };
                if let (Some(call), Some(reason)) = (lines.calls.get_mut(key), reason) {
                    call.reason = reason.into();
                }
                *lines.part.finals.entry("487".to_owned()).or_insert(0) += 1;
                lines.over(key, now, Outcome::Cancelled);
            }
            Event::Bye { leg, .. } => {
                if let Some(key) = lines.of_leg(leg) {
                    lines.over(key, now, Outcome::Completed);
                }
            }
            _ => {}
        }
    }

    fn invited(
        &mut self,
        now: Time,
        leg: LegId,
        request: &Received,
        lines: &mut Lines,
        out: &mut Outbox<Mail>,
    ) {
        lines.part.attempts += 1;
        lines.part.invites += 1;
        let name = lines.name();
        let refuse = |lines: &mut Lines, status: u16| {
            *lines.part.finals.entry(status.to_string()).or_insert(0) += 1;
            *lines.part.causes.entry(status.to_string()).or_insert(0) += 1;
            // The leg was announced just now, so it can be refused.
            let _ = lines.endpoint.reject(now, leg, status, None, &[]);
        };
        if let Some(status) = self.behaviour.status
            && self.behaviour.slow.is_zero()
        {
            return refuse(lines, status);
        }
        let offer = session::read(request.body());
        if lines.media.rtp
            && offer.is_none_or(|offer| offer.codec != lines.media.codec)
            && self.behaviour.status.is_none()
        {
            // RFC 3261 §13.3.1.3: an offer that cannot be taken.
            lines.part.failed += 1;
            return refuse(lines, 488);
        }
        if lines.calls.len() == lines.calls.capacity() {
            lines.part.limiter_hits += 1;
            return refuse(lines, 486);
        }
        let mut voice = None;
        if lines.media.rtp && self.behaviour.status.is_none() {
            voice = lines.new_voice(name, now, out);
            if voice.is_none() {
                lines.part.ports_missing += 1;
                return refuse(lines, 500);
            }
        }
        let Some(key) = lines.enter(name, leg, now, voice) else { return };
        lines.connect(key, request.body());
        if self.behaviour.slow.is_zero() {
            self.ring(now, key, lines);
        } else {
            lines.alarm(key, now + self.behaviour.slow, Alarm::Ring);
        }
    }

    fn ring(&mut self, now: Time, key: Key, lines: &mut Lines) {
        let Some(call) = lines.calls.get_mut(key) else { return };
        let (leg, name) = (call.leg, call.name);
        call.rang = Some(now);
        if let Some(status) = self.behaviour.status {
            *lines.part.finals.entry(status.to_string()).or_insert(0) += 1;
            // An error means that the caller was faster (CANCEL): its event follows.
            let _ = lines.endpoint.reject(now, leg, status, None, &[]);
            return lines.over(key, now, Outcome::Refused(status));
        }
        if self.behaviour.early_media {
            let end = self.end(key, lines);
            lines.describe(&mut self.body, name, end);
            let _ = lines.endpoint.provisional(now, leg, 183, &[], Some(Body::sdp(&self.body)));
            lines.speak(key, now);
        } else {
            let _ = lines.endpoint.provisional(now, leg, 180, &[], None);
        }
        if self.behaviour.ring.is_zero() {
            self.answer(now, key, lines);
        } else {
            lines.alarm(key, now + self.behaviour.ring, Alarm::Answer);
        }
    }

    fn end(&self, key: Key, lines: &Lines) -> End {
        let voice = lines.calls.get(key).and_then(|call| call.voice.as_ref());
        voice.map_or_else(|| lines.nowhere(self.own.ip()), Voice::end)
    }

    fn answer(&mut self, now: Time, key: Key, lines: &mut Lines) {
        let Some(call) = lines.calls.get(key) else { return };
        let (leg, name, end) = (call.leg, call.name, self.end(key, lines));
        lines.describe(&mut self.body, name, end);
        if lines.endpoint.answer(now, leg, &[], Some(Body::sdp(&self.body))).is_ok() {
            *lines.part.finals.entry("200".to_owned()).or_insert(0) += 1;
            lines.answered(key, now);
        }
    }

    fn acked(&self, now: Time, key: Key, lines: &mut Lines) {
        // Only now: what is in the middle has seen the answer for certain and knows where voice comes from.
        lines.speak(key, now);
        let answered = lines.calls.get(key).and_then(|call| call.answered);
        let Some(answered) = answered else { return };
        match (self.behaviour.reinvite_after, self.behaviour.bye_after) {
            (Some(after), _) if answered + after > now => lines.alarm(key, answered + after, Alarm::Reinvite),
            (_, Some(after)) => lines.alarm(key, answered + after, Alarm::HangUp),
            _ => {}
        }
    }

    pub(crate) fn alarm(&mut self, now: Time, key: Key, alarm: Alarm, lines: &mut Lines) {
        match alarm {
            Alarm::Ring => self.ring(now, key, lines),
            Alarm::Answer => self.answer(now, key, lines),
            Alarm::HangUp => lines.hang_up(key, now),
            Alarm::Reinvite => {
                let Some(call) = lines.calls.get(key) else { return };
                let (leg, name, end, answered) = (call.leg, call.name, self.end(key, lines), call.answered);
                lines.describe(&mut self.body, name, end);
                // Refused if one of the peer's is under way: then that one will do.
                let _ = lines.endpoint.reinvite(now, leg, Some(Body::sdp(&self.body)));
                if let (Some(answered), Some(after)) = (answered, self.behaviour.bye_after) {
                    lines.alarm(key, answered + after, Alarm::HangUp);
                }
            }
        }
    }
}
