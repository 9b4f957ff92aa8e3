//! A REFER outside of calls (RFC 3515, RFC 5359 §2.18): who may send one, and whether the gateway does what it asks for, or
//! hands it on to whom it is for.

use super::{Asker, Told};
use crate::mail::Mail;
use crate::profile::Referrals;
use crate::session;
use crate::shard::Shard;
use crate::transfer::Referrer;
use core::net::SocketAddr;
use sansio::{Outbox, Time};
use sip::message::{Message, Method};
use sip::transfer::{Refer, Replaces, target_dialog};
use sip::{Flow, Received, RequestId, UsageId};

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
                let key =
                    self.begin_passage(now, asker, Method::Refer, message, &request, flow, user, out)?;
                self.stats.transfers_passed += 1;
                self.stats.outside_taken += 1;
                self.passage_next(now, key, out);
                Ok(())
            }
        }
    }

    /// What a REFER that is handed on says of whom it refers to: our addresses and dialogs as they are known there.
    pub(super) fn referral_fields(
        &self,
        now: Time,
        request: &Message<'_>,
        advertised: SocketAddr,
    ) -> Vec<(String, String)> {
        let Ok(mut refer) = Refer::read(request) else { return Vec::new() };
        refer.target = self.seen_from(&refer.target, advertised);
        let across = |dialog: &Replaces| self.seat_across(now, dialog).ok().map(|seat| seat.dialog);
        if let Some(dialog) = refer.replaces.as_ref().and_then(across) {
            refer.replaces = Some(dialog);
        }
        if let Some(dialog) = refer.join.as_ref().and_then(|join| across(&join.dialog())) {
            refer.join = Some(dialog.into());
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
