//! Changing a session that stands: a re-INVITE or UPDATE of one side is relayed to the other, its answer back.
//!
//! What changes nothing (a refresh of the session, RFC 4028 §7.4) is answered here with what stands: each leg has a
//! session timer of its own, and the other side need not hear of this one's.

use crate::call::{Change, Relayed, across, at};
use crate::session::{self, Described};
use crate::shard::Shard;
use link::{Phase, Side};
use sansio::{Key, Time};
use sip::{Body, LegId, Received};

impl Shard {
    /// Answers what a leg asked for.
    fn answer_change(&mut self, now: Time, leg: LegId, how: Change, status: u16, body: Option<&[u8]>) {
        let body = body.map(Body::sdp);
        // It may have been cancelled, or have lasted too long: then nobody waits.
        let _ = match how {
            Change::Reinvite => self.endpoint.answer_reinvite(now, leg, status, body),
            Change::Update => self.endpoint.answer_update(now, leg, status, body),
        };
    }

    pub(crate) fn on_change(&mut self, now: Time, key: Key, side: Side, how: Change, message: &Received) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let leg = if side == Side::Caller { call.caller } else { call.callee.unwrap_or(call.caller) };
        let (Some(other), Some(media)) = (call.other(side), call.media.as_mut()) else {
            return self.answer_change(now, leg, how, 488, None);
        };
        if call.reinvite.is_some() {
            // One is on its way already, in either direction (RFC 3261 §14.2, RFC 3311 §5.2).
            return self.answer_change(now, leg, how, 491, None);
        }
        let standing = media.sessions[at(side)].last();
        if message.body().is_empty() {
            // No offer: the peer asks for ours. What stands is offered anew; its answer comes in the ACK.
            return self.answer_change(now, leg, how, 200, Some(&standing));
        }
        let Ok(described) = Described::read(message.body()) else {
            return self.answer_change(now, leg, how, 488, None);
        };
        if !standing.is_empty() && media.sessions[at(side)].is_unchanged(&described) {
            return self.answer_change(now, leg, how, 200, Some(&standing));
        }
        let by_update = how == Change::Update && self.endpoint.takes_update(other);
        if !by_update && call.phase != Phase::Answered {
            // Before the call is answered only UPDATE can change anything (RFC 3311 §1).
            return self.answer_change(now, leg, how, 488, None);
        }
        let before = media.sessions[at(across(side))].last();
        let Ok(offer) = session::anchor(message.body(), media, across(side), &[]) else {
            return self.answer_change(now, leg, how, 488, None);
        };
        let sent = if by_update {
            self.endpoint.update(now, other, Some(Body::sdp(&offer)))
        } else {
            self.endpoint.reinvite(now, other, Some(Body::sdp(&offer)))
        };
        match sent {
            Ok(()) => call.reinvite = Some(Relayed { from: side, how, offer: described, before }),
            // The other leg is not ready for it, as a rule since one of its own is pending there.
            Err(_) => {
                media.sessions[at(across(side))].restore(before);
                self.answer_change(now, leg, how, 491, None);
            }
        }
    }

    /// The other side answered a relayed re-INVITE or UPDATE; or a re-INVITE that was a refresh only.
    pub(crate) fn on_change_done(
        &mut self,
        now: Time,
        key: Key,
        side: Side,
        status: u16,
        message: Option<&Received>,
    ) {
        let origins = self.calls.get(key).map(|call| [side, across(side)].map(|at| self.origin_of(call, at)));
        let (Some([answered_by, offered_by]), Some(call)) = (origins, self.calls.get_mut(key)) else {
            return;
        };
        let body = message.map_or(&[][..], Received::body);
        let Some(relayed) = call.reinvite.take_if(|relayed| relayed.from != side) else {
            // Our own refresh: the answer may still describe something new.
            if let (200..300, Some(media), Ok(described)) =
                (status, call.media.as_mut(), Described::read(body))
            {
                session::apply(now, media, side, &described, answered_by);
            }
            return;
        };
        let from = relayed.from;
        let leg = if from == Side::Caller { Some(call.caller) } else { call.callee };
        let (Some(leg), Some(media)) = (leg, call.media.as_mut()) else { return };
        if (200..300).contains(&status)
            && let Ok(answer) = session::answer(now, body, media, side, answered_by)
        {
            session::apply(now, media, from, &relayed.offer, offered_by);
            return self.answer_change(now, leg, relayed.how, 200, Some(&answer));
        }
        // Refused: the session stays as it was (RFC 3261 §14.1).
        media.sessions[at(side)].restore(relayed.before);
        let status = match status {
            // What the other side wants of the gateway is nothing the asker could give.
            ..=399 | 401 | 407 | 420..=422 => 488,
            other => other,
        };
        self.answer_change(now, leg, relayed.how, status, None);
    }

    /// A leg's session is to be refreshed with what was said last (RFC 4028 §7.4).
    pub(crate) fn on_refresh_due(&mut self, now: Time, key: Key, side: Side, leg: LegId) {
        let Some(media) = self.calls.get(key).and_then(|call| call.media.as_ref()) else { return };
        let offer = media.sessions[at(side)].last();
        // If it cannot be sent, the session runs to its end, which ends the call.
        let _ = self.endpoint.refresh(now, leg, Body::sdp(&offer));
    }
}
