//! What each source has used of the limits, over all workers of a process; in fixed memory, without a lock.
//!
//! The kernel spreads a source's datagrams over the workers by the ports they come from, so no worker sees all of them. Each takes
//! what it lets in from one account per source, and some at a time: a twentieth of a second's worth, at most an eighth of the
//! burst ([`batch`]). So an account is looked at some twenty times a second for each source, worker and kind, however much is sent;
//! what is dropped is dropped without looking at it. In any span the process lets in at most the burst, the rate's share
//! of the span, and one such part per worker; and it may let in as much less, since a worker keeps what it has taken.

use super::bucket::Rate;
use super::source::Source;
use core::hash::Hasher;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use link::BanReason;
use sansio::Time;
use std::collections::hash_map::DefaultHasher;

/// Accounts of a set.
const WAYS: usize = 8;
/// Kinds of limits: everything, INVITE, REGISTER, other requests.
const KINDS: usize = 4;
/// How often a change is tried that another worker interferes with.
const TRIES: usize = 64;
/// How often a second a worker takes its part, about.
const PARTS_PER_SECOND: u32 = 20;

/// How many a worker takes at a time.
pub(super) fn batch(rate: Rate) -> u32 {
    (rate.per_second / PARTS_PER_SECOND).min(rate.burst / 8).max(1)
}

/// One source's account: a cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Account {
    /// A keyed hash of whose it is; 0: nobody's.
    whose: AtomicU64,
    /// The times in ns at which its buckets are full again (see [`Bucket`](super::bucket::Bucket)).
    full_at: [AtomicU64; KINDS],
    /// What is held against it, by reason: since when in seconds, and how often. Scanners are banned at once.
    offences: [AtomicU64; BanReason::ALL.len() - 1],
}

/// The low bits of what is held against a source count; those above are the second since when.
const COUNT_BITS: u32 = 16;

impl Account {
    /// Whether giving it to another source gives nobody an advantage.
    fn owes_nothing(&self, now: Time, window: Duration) -> bool {
        let full = |at: &AtomicU64| at.load(Ordering::Relaxed) <= now.as_nanos();
        let over = |held: &AtomicU64| is_over(held.load(Ordering::Relaxed), now, window);
        self.full_at.iter().all(full) && self.offences.iter().all(over)
    }
}

const fn seconds(now: Time) -> u64 {
    now.as_nanos() / 1_000_000_000
}

const fn is_over(held: u64, now: Time, window: Duration) -> bool {
    held == 0 || seconds(now).saturating_sub(held >> COUNT_BITS) >= window.as_secs()
}

/// The accounts of all sources.
#[derive(Debug)]
pub struct Tallies {
    accounts: Box<[Account]>,
    /// That of all for whom there is no place.
    crowd: Account,
    mask: usize,
    keys: [u64; 2],
}

impl Tallies {
    /// Accounts for at least so many sources, 64 bytes each; `keys` are secret, so that nobody can choose who shares a set.
    pub fn new(sources: usize, keys: [u64; 2]) -> Self {
        let sets = sources.div_ceil(WAYS).clamp(1, 1 << 24).next_power_of_two();
        let accounts = (0..sets * WAYS).map(|_| Account::default()).collect();
        Self { accounts, crowd: Account::default(), mask: sets - 1, keys }
    }

    fn hash(&self, source: Source) -> u64 {
        let mut hasher = DefaultHasher::new();
        let (v6, bits) = source.bits();
        hasher.write_u64(self.keys[0]);
        hasher.write_u64(bits);
        hasher.write_u64(self.keys[1] ^ u64::from(v6));
        hasher.finish().max(1)
    }

    /// The account of a source, opened if there is place; else `None`.
    fn account(&self, now: Time, source: Source, window: Duration) -> Option<&Account> {
        let whose = self.hash(source);
        let first = (whose >> 32) as usize & self.mask;
        let set = &self.accounts[first * WAYS..(first + 1) * WAYS];
        for _ in 0..WAYS {
            // Two workers may open one at the same time: the first of the set is it for both.
            if let Some(found) = set.iter().find(|it| it.whose.load(Ordering::Relaxed) == whose) {
                return Some(found);
            }
            let is_free = |it: &&Account| it.owes_nothing(now, window);
            let empty = set.iter().find(|it| it.whose.load(Ordering::Relaxed) == 0);
            let free = empty.or_else(|| set.iter().find(is_free))?;
            let before = free.whose.load(Ordering::Relaxed);
            let _ = free.whose.compare_exchange(before, whose, Ordering::Relaxed, Ordering::Relaxed);
        }
        None
    }

    /// Takes up to `wanted` from a bucket of a source, or of the crowd; none are there until the time given.
    fn take(
        &self,
        now: Time,
        source: Option<Source>,
        kind: usize,
        (rate, crowd): (Rate, Rate),
        window: Duration,
        wanted: u32,
    ) -> Result<u32, Time> {
        let own = source.and_then(|source| self.account(now, source, window));
        let (account, rate) = own.map_or((&self.crowd, crowd), |own| (own, rate));
        let interval = 1_000_000_000 / u64::from(rate.per_second.clamp(1, 1_000_000_000));
        let latest = now.as_nanos().saturating_add(interval.saturating_mul(u64::from(rate.burst.max(1) - 1)));
        let place = &account.full_at[kind];
        for _ in 0..TRIES {
            let before = place.load(Ordering::Relaxed);
            let begin = before.max(now.as_nanos());
            if begin > latest {
                // As soon as a whole part is there.
                let wait = (begin - latest).saturating_add(interval.saturating_mul(u64::from(wanted - 1)));
                return Err(now + Duration::from_nanos(wait));
            }
            let there = (latest - begin) / interval + 1;
            let taken = there.min(u64::from(wanted));
            let after = begin.saturating_add(taken.saturating_mul(interval));
            if place.compare_exchange(before, after, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return Ok(taken as u32);
            }
        }
        Err(now)
    }

    /// Holds `count` offences against a source; gives how many that are within the window. `None` if it has no account.
    pub(super) fn offend(
        &self,
        now: Time,
        source: Source,
        reason: BanReason,
        count: u16,
        window: Duration,
    ) -> Option<u16> {
        let place = &self.account(now, source, window)?.offences[place_of(reason)?];
        let add = |held: u64| {
            let (since, before) = if is_over(held, now, window) {
                (seconds(now), 0)
            } else {
                (held >> COUNT_BITS, held as u16)
            };
            since << COUNT_BITS | u64::from(before.saturating_add(count))
        };
        let change = |held| Some(add(held));
        let before = place.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change).ok()?;
        Some(add(before) as u16)
    }

    /// Nothing is held against a source any more.
    pub(super) fn forgive(&self, source: Source) {
        let whose = self.hash(source);
        let first = (whose >> 32) as usize & self.mask;
        let set = &self.accounts[first * WAYS..(first + 1) * WAYS];
        for account in set.iter().filter(|it| it.whose.load(Ordering::Relaxed) == whose) {
            account.offences.iter().for_each(|held| held.store(0, Ordering::Relaxed));
        }
    }
}

/// Where offences of a reason are counted; scanners' are not.
fn place_of(reason: BanReason) -> Option<usize> {
    BanReason::ALL.iter().filter(|it| **it != BanReason::Scanner).position(|it| *it == reason)
}

/// A worker's part of a source's bucket.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Part {
    left: u32,
    /// Until when nothing is there.
    dry: Time,
}

impl Part {
    /// Takes one of what the worker has, or takes a new part first.
    pub(super) fn take(
        &mut self,
        now: Time,
        tallies: &Tallies,
        source: Option<Source>,
        kind: usize,
        (rate, crowd): (Rate, Rate),
        window: Duration,
    ) -> bool {
        if rate.per_second == 0 {
            return true;
        }
        if self.left == 0 {
            if now < self.dry {
                return false;
            }
            match tallies.take(now, source, kind, (rate, crowd), window, batch(rate)) {
                Ok(taken) => self.left = taken,
                Err(dry) => {
                    self.dry = dry;
                    return false;
                }
            }
        }
        self.left -= 1;
        true
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "threads that meet in one account")]
mod tests {
    use super::*;
    use std::sync::Arc;

    const WINDOW: Duration = Duration::from_secs(60);

    fn source(number: u32) -> Source {
        Source::of(core::net::Ipv4Addr::from_bits(number).into())
    }

    fn tallies(sources: usize) -> Tallies {
        Tallies::new(sources, [1, 2])
    }

    #[test]
    fn an_account_is_one_cache_line_and_one_for_all() {
        assert_eq!(size_of::<Account>(), 64);
        let (it, now) = (tallies(64), Time::from_millis(5_000));
        let rate = (Rate::new(10, 25), Rate::new(100, 250));
        let take = |now, wanted| it.take(now, Some(source(7)), 1, rate, WINDOW, wanted);
        assert_eq!((take(now, 20), take(now, 20)), (Ok(20), Ok(5)));
        // The next one is due in a tenth of a second, three in three.
        assert_eq!(take(now, 1), Err(now + Duration::from_millis(100)));
        assert_eq!(take(now, 3), Err(now + Duration::from_millis(300)));
        assert_eq!(take(now + Duration::from_millis(300), 5), Ok(3));
        assert_eq!(it.take(now, Some(source(7)), 2, rate, WINDOW, 9), Ok(9), "another kind");
        assert_eq!(it.take(now, Some(source(8)), 1, rate, WINDOW, 9), Ok(9), "another source");
    }

    #[test]
    fn who_owes_keeps_the_account_and_others_are_a_crowd() {
        let (it, now) = (tallies(8), Time::from_millis(1_000));
        let rate = (Rate::new(1, 5), Rate::new(10, 50));
        for number in 0..8 {
            assert_eq!(it.take(now, Some(source(number)), 0, rate, WINDOW, 5), Ok(5));
        }
        assert_eq!(it.take(now, Some(source(100)), 0, rate, WINDOW, 50), Ok(50), "the crowd's");
        assert!(it.take(now, Some(source(101)), 0, rate, WINDOW, 1).is_err());
        assert_eq!(it.offend(now, source(101), BanReason::Refused, 1, WINDOW), None);
        assert!(it.take(now, Some(source(3)), 0, rate, WINDOW, 1).is_err(), "it owes as before");
        let later = now + Duration::from_secs(6);
        assert_eq!(it.take(later, Some(source(101)), 0, rate, WINDOW, 50), Ok(5), "an account of its own");
    }

    #[test]
    fn offences_are_counted_over_all_within_their_window() {
        let (it, now) = (tallies(64), Time::from_millis(1_000));
        let offend = |now, reason| it.offend(now, source(1), reason, 2, WINDOW);
        assert_eq!(offend(now, BanReason::Malformed), Some(2));
        assert_eq!(offend(now + Duration::from_secs(59), BanReason::Malformed), Some(4));
        assert_eq!(offend(now + Duration::from_secs(59), BanReason::Refused), Some(2));
        assert_eq!(offend(now + Duration::from_secs(60), BanReason::Malformed), Some(2));
        it.forgive(source(1));
        assert_eq!(offend(now + Duration::from_secs(60), BanReason::Malformed), Some(2));
        assert_eq!(it.offend(now, source(2), BanReason::Refused, u16::MAX, WINDOW), Some(u16::MAX));
        assert_eq!(it.offend(now, source(2), BanReason::Refused, 1, WINDOW), Some(u16::MAX));
        assert_eq!(offend(now, BanReason::Scanner), None);
    }

    #[test]
    fn racing_workers_never_take_more_than_there_is() {
        for round in 0..50_u64 {
            let it = Arc::new(tallies(64));
            let now = Time::from_millis(1_000 + round);
            let rate = (Rate::new(1, 1000), Rate::new(10, 10_000));
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    let it = Arc::clone(&it);
                    std::thread::spawn(move || {
                        let take = |_| it.take(now, Some(source(9)), 0, rate, WINDOW, 7).unwrap_or(0);
                        (0..200).map(take).sum::<u32>()
                    })
                })
                .collect();
            let all: u32 = threads.into_iter().map(|it| it.join().unwrap()).sum();
            assert_eq!(all, 1000);
        }
    }
}
