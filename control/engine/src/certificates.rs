//! Certificates that verify callers' signatures, and lists of revoked ones: which are known, which are being fetched, and who
//! waits for them.

use core::time::Duration;
use link::{Certificate, Chain, Figure, ShardId};
use sansio::Time;
use std::collections::{BTreeMap, BTreeSet};

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetch {
    /// A certificate with those above it, of at most 64 KiB.
    Certificate,
    /// A list of revoked certificates, of at most 1 MiB (RFC 5280 §5).
    Revocations,
}

impl Fetch {
    /// Files kept.
    const fn known_max(self) -> usize {
        match self {
            Self::Certificate => 1024,
            Self::Revocations => 64,
        }
    }

    /// Addresses fetched from at the same time.
    const fn fetches_max(self) -> usize {
        match self {
            Self::Certificate => 256,
            Self::Revocations => 64,
        }
    }
}

/// An address that gave nothing is not asked again within this.
const FAILURE: Duration = Duration::from_secs(5);
/// No file is kept for longer, whatever its server says.
const FRESH_MAX: Duration = Duration::from_secs(86_400);

/// What stood at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// What was looked for.
    pub what: Fetch,
    /// The address.
    pub url: String,
    /// The file, and for how long its server lets it be kept; or in words why it could not be had.
    pub file: Result<(Vec<u8>, Duration), String>,
}

/// What follows from a shard's question.
pub(crate) enum Asked {
    /// This is the answer.
    Known(Certificate),
    /// The file is to be fetched from there.
    Fetch(String),
    /// It is being fetched: who asks waits with the others.
    Joined,
}

#[derive(Debug)]
struct Known {
    chain: Result<Chain, String>,
    until: Time,
}

/// The files of one kind, and the questions for them.
#[derive(Debug)]
pub(crate) struct Certificates {
    what: Fetch,
    known: BTreeMap<String, Known>,
    asked: BTreeMap<String, BTreeSet<ShardId>>,
    /// Questions answered from what was known.
    hits: u64,
    /// Files fetched.
    fetched: u64,
    /// Files that could not be had.
    failed: u64,
    /// Questions refused since too many files were being fetched.
    refused: u64,
    /// Files forgotten before their time since too many were known.
    evicted: u64,
}

impl Certificates {
    pub(crate) const fn new(what: Fetch) -> Self {
        Self {
            what,
            known: BTreeMap::new(),
            asked: BTreeMap::new(),
            hits: 0,
            fetched: 0,
            failed: 0,
            refused: 0,
            evicted: 0,
        }
    }

    /// A shard asks.
    pub(crate) fn ask(&mut self, now: Time, shard: ShardId, url: String) -> Asked {
        if let Some(known) = self.known.get(&url).filter(|known| now < known.until) {
            self.hits += 1;
            let fresh_s = known.until.since(now).as_secs() as u32;
            return Asked::Known(Certificate { url, chain: known.chain.clone(), fresh_s });
        }
        if let Some(waiting) = self.asked.get_mut(&url) {
            waiting.insert(shard);
            return Asked::Joined;
        }
        if self.asked.len() >= self.what.fetches_max() {
            self.refused += 1;
            let chain = Err("too many certificates are being fetched".into());
            return Asked::Known(Certificate { url, chain, fresh_s: 0 });
        }
        self.asked.insert(url.clone(), BTreeSet::from([shard]));
        Asked::Fetch(url)
    }

    /// A fetch is over: the answer, and who is to have it.
    pub(crate) fn take(&mut self, now: Time, fetched: Fetched) -> (BTreeSet<ShardId>, Certificate) {
        let Fetched { url, file, .. } = fetched;
        let shards = self.asked.remove(&url).unwrap_or_default();
        let (chain, fresh) = match file {
            Ok((bytes, fresh)) => {
                self.fetched += 1;
                (Ok(Chain::from(bytes)), fresh.min(FRESH_MAX))
            }
            Err(why) => {
                self.failed += 1;
                (Err(why), FAILURE)
            }
        };
        if !fresh.is_zero() {
            self.make_room(now, &url);
            self.known.insert(url.clone(), Known { chain: chain.clone(), until: now + fresh });
        }
        (shards, Certificate { url, chain, fresh_s: fresh.as_secs() as u32 })
    }

    fn make_room(&mut self, now: Time, url: &str) {
        if self.known.len() < self.what.known_max() || self.known.contains_key(url) {
            return;
        }
        self.known.retain(|_, known| now < known.until);
        while self.known.len() >= self.what.known_max() {
            let soonest = self.known.iter().min_by_key(|(_, known)| known.until).map(|(url, _)| url.clone());
            let Some(soonest) = soonest else { return };
            self.known.remove(&soonest);
            self.evicted += 1;
        }
    }

    /// Files known, and what became of questions for them.
    pub(crate) fn figures(&self, figures: &mut Vec<Figure>) {
        let (known, asked, evicted) = match self.what {
            Fetch::Certificate => (
                ("control_certificates", "Certificates of callers' networks that are kept."),
                ("control_certificates_asked_total", "Certificates that shards asked for, by outcome."),
                (
                    "control_certificates_evicted_total",
                    "Certificates forgotten before their time since too many were kept.",
                ),
            ),
            Fetch::Revocations => (
                ("control_revocations", "Lists of revoked certificates that are kept."),
                (
                    "control_revocations_asked_total",
                    "Lists of revoked certificates that shards asked for, by outcome.",
                ),
                (
                    "control_revocations_evicted_total",
                    "Lists of revoked certificates forgotten before their time since too many were kept.",
                ),
            ),
        };
        figures.push(Figure::gauge(known.0, known.1, self.known.len() as u64));
        for (outcome, count) in [
            ("kept", self.hits),
            ("fetched", self.fetched),
            ("failed", self.failed),
            ("refused", self.refused),
        ] {
            figures.push(Figure::counter(asked.0, asked.1, count).labelled("outcome", outcome));
        }
        figures.push(Figure::counter(evicted.0, evicted.1, self.evicted));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN_MAX: usize = Fetch::Certificate.known_max();
    const FETCHES_MAX: usize = Fetch::Certificate.fetches_max();

    fn new() -> Certificates {
        Certificates::new(Fetch::Certificate)
    }

    fn url(n: usize) -> String {
        format!("https://a.example/{n}")
    }

    fn file(n: usize, fresh: u64) -> Fetched {
        Fetched {
            what: Fetch::Certificate,
            url: url(n),
            file: Ok((vec![n as u8], Duration::from_secs(fresh))),
        }
    }

    #[test]
    fn questions_for_one_file_are_joined_and_its_answer_is_kept() {
        let (mut it, now) = (new(), Time::ZERO);
        assert!(matches!(it.ask(now, ShardId(1), url(1)), Asked::Fetch(_)));
        assert!(matches!(it.ask(now, ShardId(2), url(1)), Asked::Joined));
        assert!(matches!(it.ask(now, ShardId(1), url(1)), Asked::Joined));
        let (shards, answer) = it.take(now, file(1, 60));
        assert_eq!((shards.len(), answer.fresh_s), (2, 60));
        let later = now + Duration::from_secs(59);
        let Asked::Known(answer) = it.ask(later, ShardId(3), url(1)) else { panic!("it is known") };
        assert_eq!((answer.chain.unwrap().0.to_vec(), answer.fresh_s), (vec![1], 1));
        assert!(matches!(it.ask(now + Duration::from_secs(60), ShardId(3), url(1)), Asked::Fetch(_)));
    }

    #[test]
    fn what_may_not_be_kept_is_not_and_failures_are_for_a_moment() {
        let (mut it, now) = (new(), Time::ZERO);
        it.ask(now, ShardId(1), url(1));
        assert_eq!(it.take(now, file(1, 0)).1.fresh_s, 0);
        assert!(matches!(it.ask(now, ShardId(1), url(1)), Asked::Fetch(_)));
        it.take(now, Fetched { what: Fetch::Certificate, url: url(1), file: Err("no".into()) });
        let Asked::Known(answer) = it.ask(now, ShardId(1), url(1)) else { panic!("it is known to fail") };
        assert_eq!(answer.chain, Err("no".into()));
        assert!(matches!(it.ask(now + FAILURE, ShardId(1), url(1)), Asked::Fetch(_)));
        it.take(now, file(1, u64::MAX / 2));
        assert_eq!(it.known[&url(1)].until, now + FRESH_MAX);
    }

    #[test]
    fn there_are_bounds() {
        let (mut it, now) = (new(), Time::ZERO);
        for n in 0..FETCHES_MAX {
            assert!(matches!(it.ask(now, ShardId(1), url(n)), Asked::Fetch(_)));
        }
        assert!(matches!(
            it.ask(now, ShardId(1), url(9999)),
            Asked::Known(Certificate { chain: Err(_), .. })
        ));
        assert_eq!(it.refused, 1);
        for n in 0..=KNOWN_MAX {
            it.take(now, file(n, 60 + n as u64));
        }
        assert_eq!((it.known.len(), it.evicted), (KNOWN_MAX, 1));
        assert!(!it.known.contains_key(&url(0)), "the one that would have ended soonest");
    }
}
