//! Lists of revoked certificates that a shard knows, and the chains that wait for some (RFC 5280 §6.3, RFC 8226 §10).
//!
//! A chain that leads to a root and says where its lists are is looked at again once they came. Until then whoever needs it
//! waits, as for the certificate itself; when that has lasted too long, what is known has to do.

use core::time::Duration;
use link::Chain;
use sansio::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use stir::RevocationList;

/// Lists kept; each has at most 1 MiB.
const LISTS_MAX: usize = 64;
/// Chains that may wait for their lists.
const CHAINS_MAX: usize = 256;
/// A list that was asked for and did not come is asked for again after this.
const ASK_AGAIN: Duration = Duration::from_secs(15);

/// A chain that waits for its lists.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) chain: Chain,
    /// Until when it may be kept.
    pub(super) until: Time,
    missing: BTreeSet<String>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Revocations {
    /// `None`: it cannot be had.
    known: BTreeMap<Box<str>, (Option<Arc<RevocationList>>, Time)>,
    asked: BTreeMap<Box<str>, Time>,
    pending: BTreeMap<Box<str>, Pending>,
}

impl Revocations {
    /// The lists at these addresses that are known not to be known: to be asked for now, and to be waited for.
    pub(super) fn missing(&mut self, now: Time, addresses: &[String]) -> (Vec<String>, BTreeSet<String>) {
        let is_known = |url: &str| self.known.get(url).is_some_and(|(_, until)| now < *until);
        let missing: BTreeSet<String> = addresses.iter().filter(|url| !is_known(url)).cloned().collect();
        self.asked.retain(|_, at| now.since(*at) < ASK_AGAIN);
        let mut to_ask: Vec<String> = Vec::new();
        for url in &missing {
            if !self.asked.contains_key(url.as_str()) && self.asked.len() < LISTS_MAX {
                self.asked.insert(url.as_str().into(), now);
                to_ask.push(url.clone());
            }
        }
        (to_ask, missing)
    }

    /// Lets a chain wait; `false` if too many do.
    pub(super) fn wait(&mut self, url: &str, chain: Chain, until: Time, missing: BTreeSet<String>) -> bool {
        if self.pending.len() >= CHAINS_MAX && !self.pending.contains_key(url) {
            return false;
        }
        self.pending.insert(url.into(), Pending { chain, until, missing });
        true
    }

    /// A list came, or cannot be had; gives the chains that wait for no other, and how many lists were forgotten for it.
    pub(super) fn take(
        &mut self,
        now: Time,
        url: &str,
        list: Option<Arc<RevocationList>>,
        fresh: Duration,
    ) -> (Vec<Box<str>>, u64) {
        self.asked.remove(url);
        let mut evicted = 0;
        if self.known.len() >= LISTS_MAX {
            self.known.retain(|_, (_, until)| now < *until);
        }
        while self.known.len() >= LISTS_MAX {
            let soonest = self.known.iter().min_by_key(|(_, (_, until))| *until).map(|(url, _)| url.clone());
            let Some(soonest) = soonest else { break };
            self.known.remove(&soonest);
            evicted += 1;
        }
        // What may not be kept at all is good for the chains that wait for it.
        self.known.insert(url.into(), (list, now + fresh.max(Duration::from_secs(1))));
        let mut ready = Vec::new();
        for (chain, pending) in &mut self.pending {
            if pending.missing.remove(url) && pending.missing.is_empty() {
                ready.push(chain.clone());
            }
        }
        (ready, evicted)
    }

    /// A chain waits no longer.
    pub(super) fn take_pending(&mut self, url: &str) -> Option<Pending> {
        self.pending.remove(url)
    }

    /// Whether a chain waits.
    pub(super) fn is_pending(&self, url: &str) -> bool {
        self.pending.contains_key(url)
    }

    /// The lists at these addresses that are known, and until when that is so of all of them; `None` if some are not to be had.
    pub(super) fn at(&self, now: Time, addresses: &[String]) -> (Vec<Arc<RevocationList>>, Option<Time>) {
        let mut lists = Vec::new();
        let mut until = Some(now + Duration::from_secs(86_400));
        for url in addresses {
            match self.known.get(url.as_str()).filter(|(_, until)| now < *until) {
                Some((Some(list), its)) => {
                    lists.push(Arc::clone(list));
                    until = until.map(|until| until.min(*its));
                }
                _ => until = None,
            }
        }
        (lists, until)
    }

    /// Forgets what is known; chains that wait go on waiting.
    pub(super) fn clear(&mut self) {
        self.known.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(list: &[&str]) -> Vec<String> {
        list.iter().map(|url| (*url).to_owned()).collect()
    }

    #[test]
    fn a_chain_waits_for_all_its_lists_and_each_is_asked_for_once() {
        let (mut it, now) = (Revocations::default(), Time::ZERO);
        let chain = || Chain::from(vec![1]);
        let (ask, missing) = it.missing(now, &urls(&["a", "b"]));
        assert_eq!((ask.len(), missing.len()), (2, 2));
        assert!(it.wait("x", chain(), now, missing));
        let (ask, missing) = it.missing(now, &urls(&["b"]));
        assert_eq!((ask.len(), missing.len()), (0, 1));
        assert!(it.wait("y", chain(), now, missing));
        assert!(it.take(now, "a", None, Duration::from_secs(60)).0.is_empty());
        assert_eq!(it.take(now, "b", None, Duration::from_secs(60)).0, ["x".into(), "y".into()]);
        assert!(it.take_pending("x").is_some() && it.take_pending("x").is_none());
        assert!(it.is_pending("y") && !it.is_pending("x"));
        // Known for their time that they cannot be had; asked for again after it.
        assert_eq!(it.missing(now, &urls(&["a"])), (Vec::new(), BTreeSet::new()));
        assert_eq!(it.at(now, &urls(&["a"])).1, None);
        let later = now + Duration::from_secs(60);
        assert_eq!(it.missing(later, &urls(&["a"])).0, ["a"]);
        assert_eq!(it.missing(later + Duration::from_secs(14), &urls(&["a"])).0.len(), 0);
        assert_eq!(it.missing(later + ASK_AGAIN, &urls(&["a"])).0, ["a"], "the answer was lost");
    }

    #[test]
    fn there_are_bounds() {
        let (mut it, now) = (Revocations::default(), Time::ZERO);
        for n in 0..CHAINS_MAX {
            assert!(it.wait(&n.to_string(), Chain::from(Vec::new()), now, BTreeSet::new()));
        }
        assert!(!it.wait("more", Chain::from(Vec::new()), now, BTreeSet::new()));
        assert!(it.wait("0", Chain::from(Vec::new()), now, BTreeSet::new()));
        for n in 0..=LISTS_MAX as u64 {
            let evicted = it.take(now, &n.to_string(), None, Duration::from_secs(2 + n)).1;
            assert_eq!(evicted, u64::from(n == LISTS_MAX as u64));
        }
        let many: Vec<String> = (0..2 * LISTS_MAX).map(|n| format!("more-{n}")).collect();
        assert_eq!(it.missing(now, &many).0.len(), LISTS_MAX);
    }
}
