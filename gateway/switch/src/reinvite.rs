//! Changing a session that stands: a re-INVITE or UPDATE of one side is relayed to the other, its answer back.
//!
//! What changes nothing (a refresh of the session, RFC 4028 §7.4) is answered here with what stands: each leg has a
//! session timer of its own, and the other side need not hear of this one's. A re-INVITE without an offer asks the other
//! side for one, so that it offers all it can (RFC 3261 §14.2, RFC 6337 §5.2.5), and not what a hold has left of it.

use crate::attach::hold;
use crate::call::{Change, Relayed, across, at};
use crate::extensions;
use crate::leg_media::Direction;
use crate::session::{self, Described};
use crate::shard::Shard;
use link::{Phase, Side};
use sansio::{Key, Time};
use sip::message::Name;
use sip::{Body, LegId, Received};

impl Shard {
    /// Answers what a leg asked for.
    fn answer_change(&mut self, now: Time, leg: LegId, how: Change, status: u16, body: Option<&[u8]>) {
        self.answer_change_with(now, leg, how, status, &[], body);
    }

    fn answer_change_with(
        &mut self,
        now: Time,
        leg: LegId,
        how: Change,
        status: u16,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) {
        let body = body.map(Body::sdp);
        // It may have been cancelled, or have lasted too long: then nobody waits.
        let _ = match how {
            Change::Reinvite => self.endpoint.answer_reinvite_with(now, leg, status, headers, body),
            Change::Update => self.endpoint.answer_update_with(now, leg, status, headers, body),
        };
    }

    pub(crate) fn on_change(&mut self, now: Time, key: Key, side: Side, how: Change, message: &Received) {
        let codecs = self.calls.get(key).map(|call| call.codecs_towards(across(side))).unwrap_or_default();
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
        let before = media.sessions[at(across(side))].last();
        if message.body().is_empty() {
            return self.on_change_asked(now, key, side, leg, &standing, before);
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
        if media.sessions[at(side)].security.hear_offer(described.security()).is_err() {
            return self.answer_change(now, leg, how, 488, None);
        }
        media.sessions[at(across(side))].security.offering();
        let plays = self.config.hold_music.is_some() && described.direction() == Direction::INACTIVE;
        let body = if plays { hold::audible(message.body()) } else { message.body().to_vec() };
        let Ok(offer) = session::offer(&body, media, across(side), &codecs) else {
            return self.answer_change(now, leg, how, 488, None);
        };
        let passed = message.parse().map(|it| extensions::passed(&it)).unwrap_or_default();
        let headers: Vec<(&str, &str)> = passed.iter().map(|name| (name.as_str(), extensions::TAG)).collect();
        let sent = if by_update {
            self.endpoint.update_with(now, other, &headers, Some(Body::sdp(&offer)))
        } else {
            self.endpoint.reinvite_with(now, other, &headers, Some(Body::sdp(&offer)))
        };
        match sent {
            Ok(()) => {
                call.reinvite = Some(Relayed { from: side, how, offer: Some(described), before });
                self.resync_drop(key);
            }
            // The other leg is not ready for it, as a rule since one of its own is pending there.
            Err(_) => {
                media.sessions[at(across(side))].restore(before);
                self.answer_change(now, leg, how, 491, None);
            }
        }
    }

    /// A re-INVITE without an offer: the other side is asked for one.
    fn on_change_asked(
        &mut self,
        now: Time,
        key: Key,
        side: Side,
        leg: LegId,
        standing: &[u8],
        before: Vec<u8>,
    ) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let how = Change::Reinvite;
        let Some(other) = call.other(side).filter(|_| call.phase == Phase::Answered) else {
            return self.answer_change(now, leg, how, 200, Some(standing));
        };
        match self.endpoint.reinvite(now, other, None) {
            Ok(()) => {
                call.reinvite = Some(Relayed { from: side, how, offer: None, before });
                self.resync_drop(key);
            }
            Err(_) => self.answer_change(now, leg, how, 491, None),
        }
    }

    /// The other side answered a relayed re-INVITE or UPDATE; or one of our own.
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
            // Our own: the answer may still describe something new.
            if let (200..300, Some(media), Ok(described)) =
                (status, call.media.as_mut(), Described::read(body))
            {
                session::apply(now, media, side, &described, answered_by);
            }
            return self.resync_done(now, key, side, status);
        };
        let from = relayed.from;
        let leg = if from == Side::Caller { Some(call.caller) } else { call.callee };
        let (Some(leg), Some(media)) = (leg, call.media.as_mut()) else { return };
        let Some(offer) = relayed.offer else {
            return self.on_offer_asked(now, key, side, leg, status, body);
        };
        if (200..300).contains(&status)
            && let Ok(mut answer) = session::answer(now, body, media, side, answered_by)
        {
            if self.config.hold_music.is_some() && offer.direction() == Direction::INACTIVE {
                answer = hold::silent(&answer);
                media.sessions[at(from)].restore(answer.clone());
            }
            session::apply(now, media, from, &offer, offered_by);
            return self.answer_change(now, leg, relayed.how, 200, Some(&answer));
        }
        // Refused: the session stays as it was (RFC 3261 §14.1).
        media.sessions[at(side)].restore(relayed.before);
        let after =
            message.and_then(|it| it.parse().ok()?.seconds(Name::RetryAfter)).map(|it| it.to_string());
        // RFC 3261 §14.2, RFC 3311 §5.2: a 500 for what crossed says when to try again.
        let headers: Vec<(&str, &str)> =
            after.iter().filter(|_| status == 500).map(|after| ("Retry-After", after.as_str())).collect();
        let status = match status {
            // What the other side wants of the gateway is nothing the asker could give.
            ..=399 | 401 | 407 | 420..=422 => 488,
            other => other,
        };
        self.answer_change_with(now, leg, relayed.how, status, &headers, None);
    }

    /// The other side was asked for an offer: its offer goes to who asked, whose ACK will bear the answer.
    fn on_offer_asked(&mut self, now: Time, key: Key, side: Side, leg: LegId, status: u16, body: &[u8]) {
        let Some(origin) = self.calls.get(key).map(|call| self.origin_of(call, side)) else { return };
        let Some(call) = self.calls.get_mut(key) else { return };
        let other = call.other(across(side));
        let Some(media) = call.media.as_mut() else { return };
        let standing = media.sessions[at(across(side))].last();
        media.sessions[at(across(side))].security.offering();
        let offer = match status {
            200..300 => session::answer(now, body, media, side, origin).ok(),
            _ => None,
        };
        // RFC 3261 §14.1: who asked tries again, as with an offer of its own. Not everybody can be asked: then what stands
        // is offered anew.
        let (answer, body) = match status {
            491 | 500 => (491, None),
            _ => (200, Some(Body::sdp(offer.as_deref().unwrap_or(&standing)))),
        };
        let answered = self.endpoint.answer_reinvite(now, leg, answer, body).is_ok();
        match (status, other) {
            (200..300, _) if offer.is_some() && answered => call.answer_awaited = Some(across(side)),
            // An offer that is none, or that nobody waits for any more: it has what stands for an answer.
            (200..300, Some(other)) => {
                let last = media.sessions[at(side)].last();
                let _ = self.endpoint.ack(now, other, Some(Body::sdp(&last)));
            }
            _ => {}
        }
    }

    /// The ACK of who asked for an offer: with the answer, which the other side waits for.
    pub(crate) fn on_offer_answered(&mut self, now: Time, key: Key, side: Side, body: &[u8]) {
        let Some(origin) = self.calls.get(key).map(|call| self.origin_of(call, side)) else { return };
        let Some(call) = self.calls.get_mut(key) else { return };
        call.answer_awaited = None;
        let (Some(other), Some(media)) = (call.other(side), call.media.as_mut()) else { return };
        let answer = session::answer(now, body, media, side, origin)
            .unwrap_or_else(|_| media.sessions[at(across(side))].last());
        let _ = self.endpoint.ack(now, other, Some(Body::sdp(&answer)));
    }

    /// A leg's session is to be refreshed with what was said last (RFC 4028 §7.4).
    pub(crate) fn on_refresh_due(&mut self, now: Time, key: Key, side: Side, leg: LegId) {
        let Some(media) = self.calls.get_mut(key).and_then(|call| call.media.as_mut()) else { return };
        let offer = media.sessions[at(side)].last();
        media.sessions[at(side)].security.reoffered();
        // If it cannot be sent, the session runs to its end, which ends the call.
        let _ = self.endpoint.refresh(now, leg, Body::sdp(&offer));
    }
}
