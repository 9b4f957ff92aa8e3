//! Attended transfer (RFC 5589 §7): the referrer has a call with each of two, and both are put through to each other.

use crate::call::across;
use crate::mail::Mail;
use crate::shard::Shard;
use link::{Part, Phase, Side};
use sansio::{Key, Outbox, Time};
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
            return self.put_through_blind(now, key, refer, out);
        }
        let (other, place) = match self.place_named(replaces, Some(key)) {
            Ok(found) => found,
            Err(status) => return self.transfer_failed(now, key, status, out),
        };
        let Some(by) = self.calls.get(key).and_then(|call| call.transferring.asked.as_ref()).map(|it| it.by)
        else {
            return;
        };
        // A dialog that is being set up is no place for a leg that talks (RFC 3891 §3 would have it be ours).
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
                || call.reinvite.is_some()
        });
        if busy { Err(491) } else { Ok((key, side)) }
    }
}
