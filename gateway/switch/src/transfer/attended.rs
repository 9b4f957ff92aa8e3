//! Attended transfer (RFC 5589 §7): the referrer has a call with each of two, and both are put through to each other.

use super::replace::{ELSEWHERE, offer_to_be_answered};
use super::sessions::common;
use crate::call::{across, at};
use crate::mail::Mail;
use crate::session::Described;
use crate::shard::Shard;
use crate::trunk::Evidence;
use link::{Part, Phase, Reason, Side};
use sansio::{Key, Outbox, Time};
use sip::LegId;
use sip::transfer::{Refer, Replaces};

impl Shard {
    /// Puts the other side of a call in the place of the leg that a Replaces names.
    pub(super) fn put_through_attended(
        &mut self,
        now: Time,
        key: Key,
        replaces: &Replaces,
        refer: &Refer,
        out: &mut Outbox<Mail>,
    ) {
        if self.elsewhere(replaces).is_some() {
            return self.put_through_blind(now, key, refer, None, out);
        }
        let (other, place) = match self.place_named(replaces, Some(key)) {
            Ok(found) => found,
            Err(status) => return self.transfer_failed(now, key, status, out),
        };
        let Some(by) = self.calls.get(key).and_then(|call| call.transferring.asked.as_ref()).map(|it| it.by)
        else {
            return;
        };
        if self.calls.get(other).is_some_and(|call| call.phase != Phase::Answered) {
            if let Err(status) = self.put_through_ringing(now, key, (other, place), by, out) {
                self.transfer_failed(now, key, status, out);
            }
            return;
        }
        let stands = self.calls.get(other).is_some_and(|call| {
            let stands = |side| call.leg(side).is_some_and(|leg| self.stands(call, leg));
            call.phase == Phase::Answered && stands(place) && stands(across(place))
        });
        if !stands {
            return self.transfer_failed(now, key, 481, out);
        }
        if replaces.early_only {
            return self.transfer_failed(now, key, 486, out);
        }
        let Some(displaced) = self.calls.get(other).and_then(|call| call.leg(place)) else { return };
        let (number, target) = (self.number_at(key, by), self.number_at(other, across(place)));
        if !self.move_leg(now, (key, across(by)), (other, place), out) {
            return self.transfer_failed(now, key, 500, out);
        }
        self.bind_moved(other, place);
        let of = self.calls.get(key).map(|call| call.id);
        self.note_transfer(
            other,
            link::Transfer { part: Part::Target, by: number, to: target.clone(), status: 200, call: of },
        );
        if let Some(transfer) = self.calls.get_mut(key).and_then(|call| call.draft.transfer.as_mut()) {
            transfer.to = target;
        }
        // Its call is with somebody else now (RFC 3891 §3).
        self.session_of_leg_ends(now, displaced, false);
        let _ = self.endpoint.bye(now, displaced, &[]);
        self.put_through(now, key, other, out);
        self.settle_sessions(now, other, place, out);
    }

    /// The other call rings still. If it was the referrer's own, it goes on without him, for who is put through: he takes its
    /// caller's place once it is answered. (RFC 3891 §3 forbids this of an INVITE with Replaces, as nobody is to take over an
    /// early dialog that he was not called in; here both calls and the one who asks are the gateway's.) If it was for him,
    /// who is put through takes it up in his place (RFC 3891 §3).
    ///
    /// # Errors
    /// 481 if the call is to go to somebody else already, 488 if it has no offer to go on with.
    fn put_through_ringing(
        &mut self,
        now: Time,
        key: Key,
        (other, place): (Key, Side),
        by: Side,
        out: &mut Outbox<Mail>,
    ) -> Result<(), u16> {
        let call = self.calls.get(other).ok_or(481_u16)?;
        let transferring = &call.transferring;
        if transferring.target_of.is_some() || transferring.dial.is_some() || transferring.offered.is_some() {
            return Err(481);
        }
        let callers = offer_to_be_answered(call).map_err(|refusal| refusal.status)?;
        let displaced = call.leg(place).ok_or(481_u16)?;
        let (number, target) = (self.number_at(key, by), self.number_at(other, across(place)));
        let of = self.calls.get(key).map(|call| call.id);
        let record = |status| link::Transfer {
            part: Part::Target,
            by: number.clone(),
            to: target.clone(),
            status,
            call: of,
        };
        if place == Side::Caller {
            let rings = call.phase == Phase::Ringing;
            self.note_transfer(other, record(0));
            if let Some(call) = self.calls.get_mut(other) {
                call.set_leg(Side::Caller, LegId::NONE);
                call.transferring.target_of = Some(key);
            }
            let asked = self.calls.get_mut(key).and_then(|call| call.transferring.asked.as_mut());
            if let Some(asked) = asked {
                asked.target = Some(other);
            }
            // His phone is told as it would be of a call that was taken elsewhere.
            let _ = self.endpoint.reject(now, displaced, 487, None, &[("Reason", ELSEWHERE)]);
            if rings {
                self.target_rings(now, other, 180, out);
            }
            return Ok(());
        }
        let moving = self.calls.get(key).and_then(|call| call.media.as_ref()).ok_or(488_u16)?;
        let there = Described::read(moving.sessions[at(across(by))].said()).map_err(|_| 488_u16)?;
        if common(callers, &there).is_empty() {
            return Err(488);
        }
        let cause = (Reason::GivenUp, "somebody else took the call");
        self.close_attempt(now, other, None, cause, Evidence::CallServed, out);
        self.forget_own_call_id(other);
        if !self.move_leg(now, (key, across(by)), (other, place), out) {
            return Err(500);
        }
        self.bind_moved(other, place);
        let _ = self.endpoint.bye(now, displaced, &[("Reason", ELSEWHERE)]);
        self.note_transfer(other, record(200));
        if let Some(transfer) = self.calls.get_mut(key).and_then(|call| call.draft.transfer.as_mut()) {
            transfer.to = target;
        }
        self.put_through(now, key, other, out);
        self.picked_up(now, other, out);
        Ok(())
    }

    /// The call and side of the leg that a Replaces names: of one of ours as its peer sees it, or of the far end of the leg
    /// across, as whoever is there sees it.
    ///
    /// # Errors
    /// 481 if there is none, or in the call that `asks`; 491 if its call is busy with another
    /// transfer.
    pub(super) fn place_named(&self, replaces: &Replaces, asks: Option<Key>) -> Result<(Key, Side), u16> {
        let near = self.endpoint.replaced_leg(replaces);
        let named = near.or_else(|| self.endpoint.replaced_leg_from_afar(replaces));
        let (key, side) =
            named.and_then(|leg| self.slot(leg)).map(|slot| (slot.call, slot.side)).ok_or(481_u16)?;
        if !named.is_some_and(|leg| self.is_current(key, side, leg)) || asks == Some(key) {
            return Err(481);
        }
        let side = if near.is_some() { side } else { across(side) };
        let busy = self.calls.get(key).is_some_and(|call| {
            call.transferring.asked.is_some()
                || call.transferring.mending.is_some()
                || call.transferring.offered.is_some()
                || call.reinvite.is_some()
        });
        if busy { Err(491) } else { Ok((key, side)) }
    }
}
