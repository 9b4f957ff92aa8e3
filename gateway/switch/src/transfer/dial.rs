//! A REFER outside of calls, executed (RFC 3515; RFC 5359 §2.18, click to dial): whom it is for is called, and once he has
//! answered put through to whom it refers to, as if he had called there.
//!
//! That is a transfer in a call that has no caller: his phone's leg moves into the call to the target when that is answered.
//! Both calls take the routes, caps and rules against fraud that calls of whoever referred take.

use super::afar::Hearer;
use super::{Asked, Pending, Seat};
use crate::invite::Asked as Call;
use crate::mail::Mail;
use crate::privacy::Privacy;
use crate::registrar::Aim;
use crate::session;
use crate::shard::Shard;
use core::time::Duration;
use link::{Part, Side};
use sansio::{Key, Outbox, Time};
use sip::message::Message;
use sip::transfer::Refer;
use sip::{Flow, LegId, Received, RequestId, SubscriptionId, UsageId};

/// What is to be done once the phone has answered.
#[derive(Debug)]
pub(crate) struct Dial {
    /// How whoever referred is told.
    subscription: Option<SubscriptionId>,
    /// Whom the phone is to be put through to; `None` once that has begun.
    refer: Option<Box<Refer>>,
}

impl Shard {
    /// Calls the phone that a REFER is for.
    ///
    /// # Errors
    /// The status to answer with: 403 for somebody else's phone, 404 for a temporary GRUU that is void, 481 for a Join of no dialog here, 484 without a number, 503
    /// at a limit.
    pub(crate) fn dial(
        &mut self,
        now: Time,
        (id, usage): (RequestId, UsageId),
        request: &Message<'_>,
        refer: Refer,
        flow: &Flow,
        user: Option<String>,
        out: &mut Outbox<Mail>,
    ) -> Result<(), u16> {
        let Aim { number: named, phone: aimed } = self.aim(now, request.request_uri()).ok_or(404_u16)?;
        let from = user
            .clone()
            .unwrap_or_else(|| request.from().map_or_else(String::new, |from| session::user_of(from.uri)));
        let phone = if named.is_empty() { from.clone() } else { named };
        let target = self.aim(now, refer.target.as_bytes()).ok_or(404_u16)?.number;
        if phone.is_empty() || target.is_empty() {
            return Err(484);
        }
        // Nobody has another one's phone ring.
        if user.as_ref().is_some_and(|name| *name != phone) {
            return Err(403);
        }
        // Of another shard's it is found out once he is to be put through.
        if let Some(join) = refer.join.as_ref().filter(|join| self.elsewhere(&join.dialog()).is_none()) {
            self.is_there(&join.dialog())?;
        }
        let most = self.config.outside.referrals_max;
        if self.dials >= most || self.calls.len() >= self.calls.capacity().min(self.config.calls_max as usize)
        {
            self.stats.referrals_full += 1;
            return Err(503);
        }
        let host = session::host(flow.local.ip());
        let text = format!(
            "INVITE sip:{phone}@{host} SIP/2.0\r\nVia: SIP/2.0/UDP {host};branch=z9hG4bKdial\r\nMax-Forwards: 70\r\n\
             From: <sip:{from}@{host}>;tag=dial\r\nTo: <sip:{phone}@{host}>\r\nCall-ID: {}\r\nCSeq: 1 INVITE\r\n\
             Content-Length: 0\r\n\r\n",
            session::text(request.call_id()),
        );
        let invite = Received::written(&text, b"").ok_or(400_u16)?;
        // Long enough for both to ring, one after the other.
        let lasting = self.config.no_answer.saturating_mul(2) + Duration::from_secs(60);
        let accepted =
            self.endpoint.accept_refer_outside(now, id, usage, refer.id, refer.subscribes, lasting);
        let subscription = accepted.map_err(|_| 503_u16)?;
        self.stats.referrals_executed += 1;
        let charged = user.or_else(|| self.config.users.has(&phone).then(|| phone.clone()));
        let asked = Call {
            sip_call_id: session::text(request.call_id()),
            from,
            dialled: phone,
            aimed,
            asserted: None,
            privacy: Privacy::default(),
            diversions: 0,
        };
        let Some(key) = self.open(now, LegId::NONE, invite, *flow, asked, out) else {
            self.stats.calls_limit_refused += 1;
            if let Some(subscription) = subscription {
                self.endpoint.notify(now, subscription, 503, true);
            }
            return Ok(());
        };
        self.dials += 1;
        if let Some(call) = self.calls.get_mut(key) {
            call.user = charged;
            // Nobody else has an offer to make yet (RFC 3725 §4 has the controller make one).
            call.offer_demanded = true;
            call.transferring.dial = Some(Dial { subscription, refer: Some(Box::new(refer)) });
        }
        match self.take_tolls(now, key, out) {
            Ok(()) => self.route(now, key, out),
            Err(refusal) => self.end_refused(now, key, &refusal, out),
        }
        Ok(())
    }

    /// The phone has answered: it is put through. `false` if the call is none of these.
    pub(crate) fn dialled_answered(&mut self, now: Time, key: Key, out: &mut Outbox<Mail>) -> bool {
        let Some(call) = self.calls.get_mut(key) else { return false };
        let Some(dial) = call.transferring.dial.as_mut() else { return false };
        let Some(refer) = dial.refer.take() else { return false };
        let hearer = dial.subscription.map(Hearer::Here);
        (call.late_offer, call.offer_ours) = (false, false);
        // Who asked is in no call: if the target fails, nobody is left to talk with.
        let by = Side::Caller;
        let asked = Asked { by, hearer, target: None, left: true, apart: true, timer: None };
        call.transferring.asked = Some(asked);
        let to = session::user_of(refer.target.as_bytes());
        let by = self.number_at(key, Side::Caller);
        self.note_transfer(key, link::Transfer { part: Part::Referred, by, to, status: 0, call: None });
        let Some(join) = &refer.join else {
            self.carry_out(now, key, &refer, None, out);
            return true;
        };
        let pending = || Pending::Dialled(key, refer.clone());
        if let Some(found) = self.seat_or_seek(now, &join.dialog(), pending, out) {
            self.dialled_found(now, key, &refer, found, out);
        }
        true
    }

    /// Who sits across from the dialog that the phone is to join was found, or is not there.
    pub(super) fn dialled_found(
        &mut self,
        now: Time,
        key: Key,
        refer: &Refer,
        found: Result<Seat, u16>,
        out: &mut Outbox<Mail>,
    ) {
        let asked = self.calls.get(key).and_then(|call| call.transferring.asked.as_ref());
        if asked.is_none_or(|asked| asked.target.is_some()) {
            return; // the phone has hung up in the meantime
        }
        match found {
            Ok(seat) => self.carry_out(now, key, refer, Some(Box::new(seat)), out),
            Err(status) => self.transfer_failed(now, key, status, out),
        }
    }

    /// A call that was made for a REFER outside of calls is over; whoever referred is told, if the phone never answered.
    pub(crate) fn dial_over(&mut self, now: Time, dial: Dial, status: u16) {
        self.dials = self.dials.saturating_sub(1);
        if dial.refer.is_none() {
            return;
        }
        self.stats.transfers_failed += 1;
        let status = if (300..700).contains(&status) { status } else { 500 };
        if let Some(subscription) = dial.subscription {
            self.endpoint.notify(now, subscription, status, true);
        }
    }
}
