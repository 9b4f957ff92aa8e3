//! Changing a session that stands: a re-INVITE of one side is relayed to the other, its answer back.

use crate::call::{Relayed, across};
use crate::session::{self, Described};
use crate::shard::Shard;
use link::Side;
use sansio::{Key, Time};
use sip::{Body, Received};

impl Shard {
    pub(crate) fn on_reinvite(&mut self, now: Time, key: Key, side: Side, message: &Received) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let leg = if side == Side::Caller { call.caller } else { call.callee.unwrap_or(call.caller) };
        let (Some(other), Some(media)) = (call.other(side), call.media.as_mut()) else {
            let _ = self.endpoint.answer_reinvite(now, leg, 488, None);
            return;
        };
        if call.reinvite.is_some() {
            // One is on its way already, in either direction (RFC 3261 §14.2).
            let _ = self.endpoint.answer_reinvite(now, leg, 491, None);
            return;
        }
        if message.body().is_empty() {
            // No offer: the peer asks for ours. What stands is offered anew; its answer comes in the ACK.
            let offer = media.sessions[crate::call::at(side)].last();
            let _ = self.endpoint.answer_reinvite(now, leg, 200, Some(Body::sdp(&offer)));
            return;
        }
        let anchored = Described::read(message.body()).and_then(|described| {
            Ok((session::anchor(message.body(), media, across(side), &[])?, described))
        });
        let Ok((offer, described)) = anchored else {
            let _ = self.endpoint.answer_reinvite(now, leg, 488, None);
            return;
        };
        match self.endpoint.reinvite(now, other, Some(Body::sdp(&offer))) {
            Ok(()) => call.reinvite = Some(Relayed { from: side, offer: Some(described) }),
            // The other leg is not ready for it, as a rule since one of its own is pending there.
            Err(_) => {
                let _ = self.endpoint.answer_reinvite(now, leg, 491, None);
            }
        }
    }

    /// The other side answered a relayed re-INVITE.
    pub(crate) fn on_reinvite_done(
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
        let Some(relayed) = call.reinvite.take() else { return };
        let from = relayed.from;
        let leg = if from == Side::Caller { Some(call.caller) } else { call.callee };
        let (Some(leg), Some(media)) = (leg, call.media.as_mut()) else { return };
        let body = message.map_or(&[][..], Received::body);
        if (200..300).contains(&status)
            && let Ok(answer) = session::answer(now, body, media, side, answered_by)
        {
            if let Some(offer) = relayed.offer {
                session::apply(now, media, from, &offer, offered_by);
            }
            let _ = self.endpoint.answer_reinvite(now, leg, 200, Some(Body::sdp(&answer)));
            return;
        }
        // Refused: the session stays as it was (RFC 3261 §14.1).
        let status = if status < 300 { 488 } else { status };
        let _ = self.endpoint.answer_reinvite(now, leg, status, None);
    }
}
