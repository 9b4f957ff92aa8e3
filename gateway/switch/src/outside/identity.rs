//! Who really sends a message: its Identity fields are verified before it goes anywhere, by the policy for calls (RFC 9475).

use super::{Errands, Told};
use crate::identity::{Standing, Verify, Waiter, testimony};
use crate::mail::Mail;
use crate::shard::Shard;
use sansio::{Key, Outbox, Time, TimerId};
use sip::message::Method;
use stir::Failure;

impl Errands {
    /// The identity of who sent a request, and the timer of what it waits for.
    pub(crate) fn standing_of(&mut self, key: Key) -> Option<(&mut Standing, &mut Option<TimerId>)> {
        self.passages.get_mut(key).map(|passage| (&mut passage.identity, &mut passage.patience))
    }

    /// The Call-ID of a request.
    pub(crate) fn call_id_of(&self, key: Key) -> String {
        let request = self.passages.get(key).and_then(|passage| passage.request.parse().ok());
        request.map_or_else(String::new, |request| String::from_utf8_lossy(request.call_id()).into_owned())
    }
}

impl Shard {
    /// Verifies who sent a message, if whoever it came from is to be verified; then it goes on.
    pub(super) fn identify_passage(&mut self, now: Time, key: Key, out: &mut Outbox<Mail>) {
        let Some(passage) = self.outside.passages.get(key) else { return };
        let verify = match passage.method {
            Method::Message => self.verify_from(passage.flow.remote),
            _ => Verify::Off,
        };
        if verify == Verify::Off {
            return self.passage_next(now, key, out);
        }
        let trusted = self.trusted(passage.flow.remote.ip());
        let read = testimony(&passage.request, true, trusted, &self.config.identity.policy, self.unix(now));
        self.verify_tokens(now, Waiter::Passage(key), verify, read, out);
    }

    /// Whoever sent a message is not who he says (RFC 8224 §6.2.2).
    pub(crate) fn refuse_passage(&mut self, now: Time, key: Key, failure: &Failure) {
        self.stats.messages_identity_refused += 1;
        let headers = vec![("Reason".to_owned(), failure.reason())];
        self.passage_over(now, key, &Told { status: failure.class.status(), headers }, None);
    }
}
