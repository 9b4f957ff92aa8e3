//! What DNS said, for as long as it may be believed: bounded, with negative answers, and stale ones for need.

use crate::config::{CACHE_MAX, Config};
use crate::message::{Kind, Records};
use crate::name::Name;
use core::net::SocketAddr;
use core::time::Duration;
use sansio::Time;
use std::collections::BTreeMap;

/// What is asked: a name and a kind of record.
pub(crate) type Key = (Name, Kind);

/// How long nothing is asked anew after a failure, doubled with each further one (RFC 2308 §7.1 allows up to 5 minutes).
const RETRY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

/// What is known under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// These records.
    Records(Records),
    /// The name stands for another.
    Alias(Name),
    /// There is nothing.
    Nothing,
    /// No server ever answered.
    Unknown,
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) known: Known,
    /// When it was learnt.
    pub(crate) since: Time,
    /// Until when it holds.
    pub(crate) until: Time,
    /// Until when it is used if no server answers.
    stale_until: Time,
    /// Who said so.
    pub(crate) from: Option<SocketAddr>,
    /// Failures to learn it anew, and when to try again.
    failed: Option<(u32, Time)>,
}

/// What a look into the cache found.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    /// It holds.
    Fresh(&'a Entry),
    /// It held once; no server answers now.
    Stale(&'a Entry, Time),
    /// No server answers and nothing is known; to be asked again then.
    Failed(Time),
    /// It has to be asked.
    Ask,
}

/// The cache.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    entries: BTreeMap<Key, Entry>,
}

impl Cache {
    /// What is known of a key that will still hold at `at`, or was learnt since `since`.
    pub(crate) fn find(&self, now: Time, at: Time, since: Time, key: &Key) -> Found<'_> {
        let Some(entry) = self.entries.get(key) else { return Found::Ask };
        let known = entry.known != Known::Unknown;
        match entry.failed {
            Some((_, retry)) if retry > now && known && entry.until > now => Found::Fresh(entry),
            Some((_, retry)) if retry > now && known && entry.stale_until > now => Found::Stale(entry, retry),
            Some((_, retry)) if retry > now => Found::Failed(retry),
            // Learnt in this very search: it serves it, however short it holds.
            _ if known && (entry.until > at || entry.since >= since) => Found::Fresh(entry),
            _ => Found::Ask,
        }
    }

    /// Takes in an answer; tells how many others had to give way.
    pub(crate) fn learn(
        &mut self,
        now: Time,
        config: &Config,
        key: Key,
        known: Known,
        ttl: u32,
        from: SocketAddr,
    ) -> u64 {
        let until = now + config.ttl(ttl);
        let entry = Entry {
            known,
            since: now,
            until,
            stale_until: until + config.stale,
            from: Some(from),
            failed: None,
        };
        let evicted = self.make_room(now, &key);
        self.entries.insert(key, entry);
        evicted
    }

    /// No server answered; tells how many others had to give way.
    pub(crate) fn fail(&mut self, now: Time, key: Key) -> u64 {
        let evicted = self.make_room(now, &key);
        let entry = self.entries.entry(key).or_insert(Entry {
            known: Known::Unknown,
            since: now,
            until: now,
            stale_until: now,
            from: None,
            failed: None,
        });
        let failures = entry.failed.map_or(0, |(failures, _)| failures);
        let pause = (RETRY.0 * (1 << failures.min(8))).min(RETRY.1);
        entry.failed = Some((failures + 1, now + pause));
        evicted
    }

    /// Forgets what is of no more use.
    pub(crate) fn prune(&mut self, now: Time) {
        self.entries.retain(|_, entry| {
            entry.stale_until > now || entry.until > now || entry.failed.is_some_and(|(_, retry)| retry > now)
        });
    }

    fn make_room(&mut self, now: Time, key: &Key) -> u64 {
        if self.entries.len() < CACHE_MAX || self.entries.contains_key(key) {
            return 0;
        }
        self.prune(now);
        if self.entries.len() < CACHE_MAX {
            return 0;
        }
        let first = self.entries.iter().min_by_key(|(_, entry)| entry.until).map(|(key, _)| key.clone());
        first.and_then(|key| self.entries.remove(&key)).map_or(0, |_| 1)
    }

    /// Answers held.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::IpAddr;
    use proptest::prelude::*;

    fn key(n: u32) -> Key {
        (Name::new(&format!("n{n}.example")).unwrap(), Kind::A)
    }

    fn records() -> Known {
        Known::Records(Records::Addresses(vec![IpAddr::from([192, 0, 2, 1])]))
    }

    fn server() -> SocketAddr {
        "192.0.2.53:53".parse().unwrap()
    }

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    #[test]
    fn an_answer_holds_for_its_ttl_within_floor_and_ceiling() {
        let config = Config { ttl_max: Duration::from_secs(100), ..Config::default() };
        let mut cache = Cache::default();
        for (n, ttl, holds) in [(0, 0, 5), (1, 60, 60), (2, u32::MAX, 100)] {
            cache.learn(at(0), &config, key(n), records(), ttl, server());
            let found = |now| matches!(cache.find(at(now), at(now), at(now), &key(n)), Found::Fresh(_));
            assert!(found(holds - 1), "{ttl}");
            assert!(!found(holds), "{ttl}");
        }
    }

    /// RFC 8767 §4: what was known is used while servers fail, no longer than is said.
    #[test]
    fn stale_answers_serve_while_no_server_answers() {
        let config = Config { stale: Duration::from_secs(1000), ..Config::default() };
        let mut cache = Cache::default();
        cache.learn(at(0), &config, key(0), records(), 60, server());
        assert!(matches!(cache.find(at(61), at(61), at(61), &key(0)), Found::Ask));
        cache.fail(at(61), key(0));
        assert!(matches!(cache.find(at(62), at(62), at(62), &key(0)), Found::Stale(..)));
        assert!(
            matches!(cache.find(at(66), at(66), at(66), &key(0)), Found::Ask),
            "asked again after the pause"
        );
        cache.fail(at(1059), key(0));
        assert!(matches!(cache.find(at(1061), at(1061), at(1061), &key(0)), Found::Failed(_)));
        cache.learn(at(1062), &config, key(0), records(), 60, server());
        assert!(matches!(cache.find(at(1063), at(1063), at(1063), &key(0)), Found::Fresh(_)));
    }

    #[test]
    fn a_failed_refresh_leaves_what_still_holds_fresh() {
        let mut cache = Cache::default();
        cache.learn(at(0), &Config::default(), key(0), records(), 60, server());
        cache.fail(at(50), key(0));
        assert!(matches!(cache.find(at(51), at(70), at(50), &key(0)), Found::Fresh(_)));
    }

    proptest! {
        #[test]
        fn the_cache_never_grows_beyond_its_bound_and_never_serves_beyond_its_time(
            steps in proptest::collection::vec((0u32..40, 0u32..200, 0u64..50, any::<bool>()), 1..200)
        ) {
            let config = Config { stale: Duration::from_secs(30), ..Config::default() };
            let mut cache = Cache::default();
            let mut now = 0;
            let mut learnt: BTreeMap<u32, u64> = BTreeMap::new();
            for (n, ttl, wait, fails) in steps {
                now += wait;
                if fails {
                    cache.fail(at(now), key(n));
                } else {
                    cache.learn(at(now), &config, key(n), records(), ttl, server());
                    learnt.insert(n, now + u64::from(ttl).max(5));
                }
                prop_assert!(cache.len() <= CACHE_MAX);
                match cache.find(at(now), at(now), at(now + 1), &key(n)) {
                    Found::Fresh(entry) => {
                        prop_assert!(entry.until > at(now));
                        prop_assert!(learnt.get(&n).is_some_and(|until| now < *until));
                    }
                    Found::Stale(..) => prop_assert!(learnt.get(&n).is_some_and(|until| now < *until + 30)),
                    Found::Failed(_) | Found::Ask => {}
                }
                cache.prune(at(now));
            }
            cache.prune(at(now + 100_000));
            prop_assert_eq!(cache.len(), 0);
        }
    }

    #[test]
    fn a_full_cache_forgets_what_ends_first() {
        let mut cache = Cache::default();
        for n in 0..CACHE_MAX as u32 {
            assert_eq!(cache.learn(at(0), &Config::default(), key(n), records(), 100 + n, server()), 0);
        }
        assert_eq!(cache.learn(at(1), &Config::default(), key(1_000_000), records(), 50, server()), 1);
        assert_eq!(cache.len(), CACHE_MAX);
        assert!(matches!(cache.find(at(1), at(1), at(1), &key(0)), Found::Ask));
        assert!(matches!(cache.find(at(1), at(1), at(1), &key(1)), Found::Fresh(_)));
    }
}
