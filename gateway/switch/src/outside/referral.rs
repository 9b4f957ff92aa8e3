//! A REFER outside of calls (RFC 3515, RFC 5359 §2.18): who may send one, and whether the gateway does what it asks for, or
//! hands it on to whom it is for.

use super::{Asker, Told};
use crate::mail::Mail;
use crate::profile::Referrals;
use crate::session;
use crate::shard::Shard;
use crate::transfer::{Pending, Referrer, Seat};
use core::net::SocketAddr;
use sansio::{Outbox, Time};
use sip::message::{Message, Method};
use sip::transfer::{Join, Refer, Replaces, target_dialog};
use sip::{Flow, Received, RequestId, UsageId};

/// A REFER that is to be handed on, as soon as it is known what the dialog that it names is called there.
#[derive(Clone, Debug)]
pub(crate) struct Handed {
    asker: Asker,
    message: Received,
    flow: Flow,
    /// The user who showed a password for it.
    user: Option<String>,
}

impl Shard {
    /// A REFER that begins a dialog.
    pub(crate) fn on_refer_outside(
        &mut self,
        now: Time,
        (id, usage): (RequestId, UsageId),
        message: &Received,
        flow: &Flow,
        out: &mut Outbox<Mail>,
    ) {
        self.stats.transfers_asked += 1;
        let asker = Asker { id, usage: Some(usage) };
        if let Err(told) = self.refer_outside(now, asker, message, flow, out) {
            self.stats.transfers_refused += 1;
            self.turn_away(now, asker, &told);
        }
    }

    fn refer_outside(
        &mut self,
        now: Time,
        asker: Asker,
        message: &Received,
        flow: &Flow,
        out: &mut Outbox<Mail>,
    ) -> Result<(), Told> {
        let request = message.parse().map_err(|_| Told::bare(500))?;
        let refer = Refer::read(&request).map_err(|reject| Told::bare(reject.status))?;
        let dialog = target_dialog(&request).map_err(|reject| Told::bare(reject.status))?;
        let user = self.admit_outside(now, &request, flow, out)?;
        // The endpoint gives it a dialog of its own.
        let usage = asker.usage.ok_or(Told::bare(500))?;
        // RFC 4538 §4: who knows the dialog may do what he could do in it. What matches none is as if it did not say so.
        if let Some(dialog) = dialog {
            if let Some(owner) = self.elsewhere(&dialog) {
                let done = self.refer_afar(now, (asker.id, usage), (owner, dialog), &refer, message, out);
                return done.map_err(Told::bare);
            }
            if let Some(leg) = self.endpoint.replaced_leg(&dialog) {
                let by = Referrer::Outside(asker.id, usage);
                return self.refer(now, by, leg, message, None, out).map_err(Told::bare);
            }
        }
        match self.referrals_of(now, flow) {
            Referrals::Refuse => Err(Told::bare(403)),
            Referrals::Execute => self
                .dial(now, (asker.id, usage), &request, refer, flow, user, out)
                .map_err(|status| if status == 503 { self.busy() } else { Told::bare(status) }),
            Referrals::Pass => {
                let dialog = refer.replaces.or_else(|| refer.join.as_ref().map(Join::dialog));
                let handed = Handed { asker, message: message.clone(), flow: *flow, user };
                let Some(dialog) = dialog else { return self.try_hand_on(now, handed, None, out) };
                let pending = || Pending::Handed(Box::new(handed.clone()));
                match self.seat_or_seek(now, &dialog, pending, out) {
                    Some(found) => self.try_hand_on(now, handed, found.ok(), out),
                    None => Ok(()),
                }
            }
        }
    }

    /// Hands a REFER on, now that another shard has said who sits across from the dialog that it names, or that it knows of
    /// none: then it is somebody else's business.
    pub(crate) fn hand_on(&mut self, now: Time, handed: Handed, seat: Option<Seat>, out: &mut Outbox<Mail>) {
        let asker = handed.asker;
        if let Err(told) = self.try_hand_on(now, handed, seat, out) {
            self.stats.transfers_refused += 1;
            self.turn_away(now, asker, &told);
        }
    }

    fn try_hand_on(
        &mut self,
        now: Time,
        Handed { asker, message, flow, user }: Handed,
        seat: Option<Seat>,
        out: &mut Outbox<Mail>,
    ) -> Result<(), Told> {
        let request = message.parse().map_err(|_| Told::bare(500))?;
        let key = self.begin_passage(now, asker, Method::Refer, &message, &request, &flow, user, out)?;
        if let Some(passage) = self.outside.passages.get_mut(key) {
            passage.across = seat.map(|seat| seat.dialog);
        }
        self.stats.transfers_passed += 1;
        self.stats.outside_taken += 1;
        self.passage_next(now, key, out);
        Ok(())
    }

    /// What a REFER that is handed on says of whom it refers to: our addresses as they are known there, and instead of a dialog
    /// of ours `across`, the one of who is across from it.
    pub(super) fn referral_fields(
        &self,
        request: &Message<'_>,
        advertised: SocketAddr,
        across: Option<&Replaces>,
    ) -> Vec<(String, String)> {
        let Ok(mut refer) = Refer::read(request) else { return Vec::new() };
        refer.target = self.seen_from(&refer.target, advertised);
        match (&mut refer.replaces, &mut refer.join, across) {
            (Some(replaces), _, Some(dialog)) => {
                *replaces = Replaces { early_only: replaces.early_only, ..dialog.clone() };
            }
            (None, Some(join), Some(dialog)) => *join = dialog.clone().into(),
            _ => {}
        }
        let from = request.from().map_or_else(String::new, |from| session::user_of(from.uri));
        let referred_by = format!("<sip:{from}@{}>", session::host(advertised.ip()));
        vec![("Refer-To".to_owned(), refer.refer_to()), ("Referred-By".to_owned(), referred_by)]
    }

    /// What becomes of REFERs from there: what the profile of its trunk says, or what holds for phones.
    fn referrals_of(&self, now: Time, flow: &Flow) -> Referrals {
        self.trunk_behind(now, flow)
            .map_or(self.config.outside.referrals, |trunk| trunk.config.profile.referrals)
    }
}
