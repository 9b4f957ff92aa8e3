//! A REFER outside of calls about a call of another shard (Target-Dialog, RFC 4538): accepted where it came, carried out where
//! the call is. How it goes is told back by mail, and from there to who asked.

use super::Referrer;
use crate::mail::Mail;
use crate::shard::Shard;
use core::time::Duration;
use sansio::{Mailbox, Outbox, Time};
use sip::transfer::{Refer, Replaces};
use sip::{Received, RequestId, SubscriptionId, UsageId};

/// A REFER on its way to the shard with the call.
#[derive(Debug)]
pub struct Afar {
    /// Which shard has accepted it.
    from: u16,
    /// The subscription that it has made there.
    subscription: Option<SubscriptionId>,
    /// The dialog that it is about.
    dialog: Replaces,
    message: Received,
}

/// Who is told how a transfer goes: the subscriber of this shard's endpoint, or of another's.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Hearer {
    Here(SubscriptionId),
    There(u16, SubscriptionId),
}

impl Shard {
    /// Accepts a REFER about a call of another shard, and has it carried out there.
    ///
    /// # Errors
    /// The status to answer with: 503 at a limit.
    pub(crate) fn refer_afar(
        &mut self,
        now: Time,
        (id, usage): (RequestId, UsageId),
        (owner, dialog): (u16, Replaces),
        refer: &Refer,
        message: &Received,
        out: &mut Outbox<Mail>,
    ) -> Result<(), u16> {
        let lasting = self.config.no_answer + Duration::from_secs(60);
        let accepted =
            self.endpoint.accept_refer_outside(now, id, usage, refer.id, refer.subscribes, lasting);
        let subscription = accepted.map_err(|_| 503_u16)?;
        self.stats.transfers_elsewhere += 1;
        let afar = Afar { from: self.shards.me, subscription, dialog, message: message.clone() };
        out.mail(Mailbox(owner), Mail::Refer(Box::new(afar)));
        Ok(())
    }

    /// Another shard has accepted a REFER about a call that should be here.
    pub(crate) fn referred_afar(&mut self, now: Time, afar: &Afar, out: &mut Outbox<Mail>) {
        let hearer = afar.subscription.map(|subscription| Hearer::There(afar.from, subscription));
        let by = Referrer::Accepted(hearer);
        let leg = self.endpoint.replaced_leg(&afar.dialog);
        let done = leg.ok_or(481).and_then(|leg| self.refer(now, by, leg, &afar.message, None, out));
        if let Err(status) = done {
            self.refer_refused(now, by, leg, status, out);
        }
    }

    /// Tells who asked for a transfer how it goes.
    pub(super) fn tell_referrer(
        &mut self,
        now: Time,
        hearer: Hearer,
        status: u16,
        last: bool,
        out: &mut Outbox<Mail>,
    ) {
        match hearer {
            Hearer::Here(subscription) => self.endpoint.notify(now, subscription, status, last),
            Hearer::There(shard, subscription) => {
                out.mail(Mailbox(shard), Mail::Referred { subscription, status, last });
            }
        }
    }
}
