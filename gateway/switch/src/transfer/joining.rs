//! An INVITE that is to join a call (Join, RFC 3911; RFC 5359 §2.11), so that three talk.
//!
//! The gateway mixes nothing. Whose dialog is named has a call through it with somebody who may be able to: a phone that
//! knows of Join. The INVITE goes to that one as a call of its own, with Join naming the dialog as it is known there
//! (RFC 7092 §3.1.4 has a B2BUA translate what it separates), and is accepted or refused by it: 420 if it does not know the
//! extension, 488 if it cannot mix.

use super::seat::{Pending, Seat};
use crate::mail::Mail;
use crate::profile::Joins;
use crate::shard::Shard;
use crate::status::Refusal;
use sansio::{Outbox, Time};
use sip::message::{Message, Name};
use sip::transfer::Join;
use sip::{Flow, LegId, Received};

/// The option tag (RFC 3911 §7.2).
pub(crate) const TAG: &str = "join";

/// What is known of an INVITE's wish to join a call.
pub(crate) enum Joining {
    /// It has none.
    No,
    /// It goes on to who sits there.
    At(Box<Seat>),
    /// It was refused, or another shard is asked.
    Told,
}

/// An INVITE that was admitted: its leg, itself, how it came, and the user who showed a password for it.
pub(crate) type Admitted = (LegId, Received, Flow, Option<String>);

impl Shard {
    /// An INVITE was admitted: whether it is to join a call.
    pub(crate) fn joins(&mut self, now: Time, admitted: &Admitted, out: &mut Outbox<Mail>) -> Joining {
        let (leg, invite, flow, user) = admitted;
        // What is malformed was refused before it came here.
        let Some(Ok(Some(join))) = invite.parse().ok().as_ref().map(Join::of) else { return Joining::No };
        self.stats.joins_asked += 1;
        let policy = self.trunk_behind(now, flow).map_or(Joins::Pass, |trunk| trunk.config.profile.joins);
        if policy == Joins::Refuse {
            self.join_refused(now, *leg, 603);
            return Joining::Told;
        }
        let dialog = join.dialog();
        let pending = || {
            let (leg, invite, flow, user) = (*leg, invite.clone(), *flow, user.clone());
            Pending::Join { leg, invite, flow, user }
        };
        let Some(found) = self.seat_or_seek(now, &dialog, pending, out) else { return Joining::Told };
        match found.and_then(|seat| self.may_join(seat)) {
            Ok(seat) => Joining::At(Box::new(seat)),
            Err(status) => {
                self.join_refused(now, *leg, status);
                Joining::Told
            }
        }
    }

    /// Another shard has said who sits across from the dialog to be joined.
    pub(super) fn join_found(
        &mut self,
        now: Time,
        admitted: Admitted,
        found: Result<Seat, u16>,
        out: &mut Outbox<Mail>,
    ) {
        let leg = admitted.0;
        if self.endpoint.leg(leg).is_none() {
            return; // cancelled in the meantime
        }
        match found.and_then(|seat| self.may_join(seat)) {
            Ok(seat) => self.take_call(now, admitted, Some(Box::new(seat)), out),
            Err(status) => self.join_refused(now, leg, status),
        }
    }

    fn may_join(&self, seat: Seat) -> Result<Seat, u16> {
        if self.joins_at(&seat) == Joins::Refuse { Err(603) } else { Ok(seat) }
    }

    fn join_refused(&mut self, now: Time, leg: LegId, status: u16) {
        self.stats.joins_refused += 1;
        let why = match status {
            481 => "no such dialog to be joined",
            603 => "the dialog may not be joined, or is over",
            _ => "nobody is there who could mix",
        };
        self.refuse(now, leg, &Refusal::dialog(status, why));
    }
}

/// What the INVITE to a seat says of Join, in words for a header: as much a must there as it was here.
pub(crate) fn fields(seat: &Seat, invite: &Message<'_>) -> Vec<(String, String)> {
    let mut fields = vec![("Join".to_owned(), Join::from(seat.dialog.clone()).to_string())];
    if invite.lists(Name::Require, TAG) {
        fields.push((Name::Require.as_str().to_owned(), TAG.to_owned()));
    }
    fields
}
