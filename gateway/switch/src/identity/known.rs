//! The certificates that a shard has verified, and the calls and messages that wait for others.

use super::lists::Revocations;
use core::time::Duration;
use sansio::{Key, Time};
use std::collections::BTreeMap;
use std::sync::Arc;
use stir::{Credential, Failure};

/// Certificates kept; each takes less than 1 KiB.
const KNOWN_MAX: usize = 1024;
/// Calls and messages that may wait at a time.
pub(super) const WAITING_MAX: usize = 1000;

/// A certificate that was verified, or why it cannot be used.
pub(super) type Outcome = Result<Arc<Credential>, Failure>;

/// What waits for a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiter {
    /// A call.
    Call(Key),
    /// A request outside of calls.
    Passage(Key),
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Certificates {
    known: BTreeMap<Box<str>, (Outcome, Time)>,
    waiting: BTreeMap<Box<str>, Vec<Waiter>>,
    count: usize,
    /// Lists of those that are revoked.
    pub(super) revocations: Revocations,
}

impl Certificates {
    /// What is known of an address.
    pub(super) fn get(&self, now: Time, url: &str) -> Option<Outcome> {
        self.known.get(url).filter(|(_, until)| now < *until).map(|(outcome, _)| outcome.clone())
    }

    /// Keeps what was found; gives the number of others forgotten for it before their time.
    pub(super) fn keep(&mut self, now: Time, url: &str, outcome: Outcome, fresh: Duration) -> u64 {
        let mut evicted = 0;
        self.known.remove(url);
        if fresh.is_zero() {
            return evicted;
        }
        if self.known.len() >= KNOWN_MAX {
            self.known.retain(|_, (_, until)| now < *until);
        }
        while self.known.len() >= KNOWN_MAX {
            let soonest = self.known.iter().min_by_key(|(_, (_, until))| *until).map(|(url, _)| url.clone());
            let Some(soonest) = soonest else { break };
            self.known.remove(&soonest);
            evicted += 1;
        }
        self.known.insert(url.into(), (outcome, now + fresh));
        evicted
    }

    /// Somebody waits from now on. Whether it is the first for this address; `None` if too many wait already.
    pub(super) fn wait(&mut self, url: &str, waiter: Waiter) -> Option<bool> {
        if self.count >= WAITING_MAX {
            return None;
        }
        self.count += 1;
        let all = self.waiting.entry(url.into()).or_default();
        all.push(waiter);
        Some(all.len() == 1)
    }

    /// Whether anybody waits for an address.
    pub(super) fn is_awaited(&self, url: &str) -> bool {
        self.waiting.contains_key(url)
    }

    /// Who waited for an address: nobody does any more.
    pub(super) fn take_waiting(&mut self, url: &str) -> Vec<Waiter> {
        let all = self.waiting.remove(url).unwrap_or_default();
        self.count -= all.len();
        all
    }

    /// Somebody waits no longer.
    pub(crate) fn forget(&mut self, url: &str, waiter: Waiter) {
        if let Some(all) = self.waiting.get_mut(url) {
            let before = all.len();
            all.retain(|other| *other != waiter);
            self.count -= before - all.len();
            if all.is_empty() {
                self.waiting.remove(url);
            }
        }
    }

    /// Forgets what is known, since roots may have changed; who waits goes on waiting.
    pub(crate) fn clear(&mut self) {
        self.known.clear();
        self.revocations.clear();
    }

    /// Calls and messages that wait.
    pub(crate) const fn waiting(&self) -> usize {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sansio::Slab;
    use stir::Class;

    fn failure() -> Outcome {
        Err(Failure::new(Class::NoCertificate, "no"))
    }

    #[test]
    fn certificates_are_kept_for_their_time_and_within_bounds() {
        let (mut it, now) = (Certificates::default(), Time::ZERO);
        let second = Duration::from_secs(1);
        it.keep(now, "a", failure(), second);
        assert!(it.get(now, "a").is_some() && it.get(now + second, "a").is_none());
        it.keep(now, "b", failure(), Duration::ZERO);
        assert!(it.get(now, "b").is_none());
        for n in 0..KNOWN_MAX as u32 {
            assert_eq!(
                it.keep(now, &n.to_string(), failure(), second * (2 + n)),
                u64::from(n + 1 == KNOWN_MAX as u32)
            );
        }
        assert!(it.get(now, "a").is_none() && it.get(now, "0").is_some());
        it.clear();
        assert!(it.get(now, "0").is_none());
    }

    #[test]
    fn calls_wait_together_and_not_too_many() {
        let mut slab = Slab::new(2000);
        let mut key = || Waiter::Call(slab.insert(()).unwrap());
        let mut it = Certificates::default();
        let (a, b) = (key(), key());
        assert_eq!((it.wait("u", a), it.wait("u", b)), (Some(true), Some(false)));
        it.forget("u", a);
        it.forget("u", a);
        it.forget("v", a);
        let Waiter::Call(other) = b else { panic!("a call") };
        it.forget("u", Waiter::Passage(other));
        assert_eq!(it.waiting(), 1);
        assert_eq!(it.take_waiting("u"), [b]);
        assert_eq!(it.wait("u", a), Some(true), "to be asked for anew");
        for _ in 1..WAITING_MAX {
            assert!(it.wait("u", key()).is_some());
        }
        assert_eq!(it.wait("w", b), None);
        assert_eq!((it.take_waiting("u").len(), it.waiting()), (WAITING_MAX, 0));
    }
}
