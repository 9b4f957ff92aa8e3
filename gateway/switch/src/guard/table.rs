//! The sources a shard knows, in fixed memory: sets of a few entries each, found by a keyed hash.
//!
//! What makes room for a new source is the entry, of the same set, that owes nothing: no bucket is drawn on, nothing is
//! held against it, it is not banned. So nobody gets rid of a debt or a ban by filling the table with other sources, forged
//! ones included. At most half of a set may be banned: forged bans cannot take the places of everybody else. A source for
//! which there is no place shares one entry with all others like it.

use super::bucket::Bucket;
use super::source::Source;
use super::tally::Part;
use core::hash::Hasher;
use core::time::Duration;
use link::BanReason;
use sansio::{Random, Time};
use std::collections::hash_map::DefaultHasher;

/// Entries of a set.
const WAYS: usize = 8;
/// How many of them may be banned.
const BANNED_MAX: usize = WAYS / 2;

/// What is known of a source.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Entry {
    source: Option<Source>,
    seen: Time,
    /// Everything it sends; INVITE; REGISTER; other requests.
    pub(super) buckets: [Bucket; 4],
    /// What this shard has taken of what all may let in.
    pub(super) parts: [Part; 4],
    /// What is held against it since `counted`, by reason.
    pub(super) offences: [u16; BanReason::ALL.len()],
    pub(super) counted: Time,
    /// Until when it is banned; in the past: it is not.
    pub(super) banned_until: Time,
    /// How often it was banned in a row.
    pub(super) times: u16,
}

impl Entry {
    pub(super) fn is_banned(&self, now: Time) -> bool {
        self.banned_until > now
    }

    /// Whether forgetting it gives nobody an advantage.
    fn owes_nothing(&self, now: Time, window: Duration) -> bool {
        !self.is_banned(now)
            && self.buckets.iter().all(|bucket| bucket.is_full(now))
            && (self.offences.iter().all(|&count| count == 0) || now.since(self.counted) >= window)
    }
}

/// Where a source's entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Its own.
    Own(usize),
    /// The one of all for whom there is no place.
    Crowd,
}

#[derive(Debug)]
pub(super) struct Table {
    entries: Vec<Entry>,
    crowd: Entry,
    mask: usize,
    keys: [u64; 2],
    /// How long offences count.
    window: Duration,
    /// How often a source found no place.
    pub(super) full: u64,
    /// Entries of a source taken for another.
    pub(super) evicted: u64,
}

impl Table {
    /// A table of at least `sources` entries (in whole sets, a power of two of them).
    pub(super) fn new(sources: usize, window: Duration, random: &mut Random) -> Self {
        let sets = sources.div_ceil(WAYS).clamp(1, 1 << 24).next_power_of_two();
        Self {
            entries: vec![Entry::default(); sets * WAYS],
            crowd: Entry::default(),
            mask: sets - 1,
            keys: [random.u64(), random.u64()],
            window,
            full: 0,
            evicted: 0,
        }
    }

    pub(super) const fn set_window(&mut self, window: Duration) {
        self.window = window;
    }

    #[cfg(test)]
    const fn capacity(&self) -> usize {
        self.entries.len()
    }

    /// The first entry of a source's set.
    fn set_of(&self, source: Source) -> usize {
        let mut hasher = DefaultHasher::new();
        let (v6, bits) = source.bits();
        hasher.write_u64(self.keys[0]);
        hasher.write_u64(bits);
        hasher.write_u64(self.keys[1] ^ u64::from(v6));
        (hasher.finish() as usize & self.mask) * WAYS
    }

    /// The entry of a source that has one.
    pub(super) fn find(&self, source: Source) -> Option<usize> {
        let first = self.set_of(source);
        (first..first + WAYS).find(|&at| self.entries[at].source == Some(source))
    }

    /// The entry of a source, made if there is place.
    pub(super) fn place(&mut self, now: Time, source: Source) -> Place {
        let first = self.set_of(source);
        let mut oldest: Option<usize> = None;
        for at in first..first + WAYS {
            let entry = &self.entries[at];
            match entry.source {
                Some(known) if known == source => {
                    self.entries[at].seen = now;
                    return Place::Own(at);
                }
                Some(_) if !entry.owes_nothing(now, self.window) => {}
                // An empty place is as old as can be.
                _ if oldest.is_none_or(|other| entry.seen < self.entries[other].seen) => oldest = Some(at),
                _ => {}
            }
        }
        let Some(at) = oldest else {
            self.full += 1;
            return Place::Crowd;
        };
        self.evicted += u64::from(self.entries[at].source.is_some());
        self.entries[at] = Entry { source: Some(source), seen: now, ..Entry::default() };
        Place::Own(at)
    }

    pub(super) fn entry(&mut self, place: Place) -> &mut Entry {
        match place {
            // A place is within the table: only `place` and `find` name one.
            Place::Own(at) => &mut self.entries[at],
            Place::Crowd => &mut self.crowd,
        }
    }

    /// Whether one more source of this entry's set may be banned.
    pub(super) fn may_ban(&self, now: Time, at: usize) -> bool {
        let first = at / WAYS * WAYS;
        let banned = self.entries[first..first + WAYS].iter().filter(|entry| entry.is_banned(now)).count();
        banned < BANNED_MAX
    }

    /// All entries.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.entries.iter_mut()
    }

    #[cfg(test)]
    /// How many sources are banned.
    pub(super) fn banned(&self, now: Time) -> usize {
        self.entries.iter().filter(|entry| entry.is_banned(now)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::super::bucket::Rate;
    use super::*;

    fn source(number: u32) -> Source {
        Source::of(core::net::Ipv4Addr::from_bits(number).into())
    }

    fn table(sources: usize) -> Table {
        Table::new(sources, Duration::from_secs(60), &mut Random::new(7))
    }

    #[test]
    fn memory_is_fixed_whoever_comes() {
        let mut table = table(100);
        assert_eq!(table.capacity(), 128);
        for number in 0..100_000 {
            let now = Time::from_millis(u64::from(number));
            table.place(now, source(number));
        }
        assert_eq!((table.capacity(), table.entries.len()), (128, 128));
        assert!(table.evicted > 90_000 && table.full == 0, "{} {}", table.evicted, table.full);
    }

    #[test]
    fn who_is_banned_or_in_debt_is_never_driven_out() {
        let mut table = table(64);
        let now = Time::from_millis(1000);
        let until = now + Duration::from_secs(300);
        let guilty: Vec<Source> = (0..10).map(source).collect();
        let mut kept = Vec::new();
        for (index, &it) in guilty.iter().enumerate() {
            let Place::Own(at) = table.place(now, it) else { panic!("an empty table has room") };
            match index % 3 {
                0 if table.may_ban(now, at) => table.entry(Place::Own(at)).banned_until = until,
                1 => {
                    // A whole burst taken: half a minute of debt.
                    let bucket = &mut table.entry(Place::Own(at)).buckets[1];
                    while bucket.take(now, Rate::new(2, 60)) {}
                }
                _ => {
                    table.entry(Place::Own(at)).offences[2] = 3;
                    table.entry(Place::Own(at)).counted = now;
                }
            }
            kept.push(it);
        }
        let later = now + Duration::from_secs(20);
        for number in 1000..200_000 {
            table.place(later, source(number));
        }
        for it in kept {
            assert!(table.find(it).is_some(), "{it:?} got free");
        }
        let end = now + Duration::from_secs(400);
        for number in 1000..200_000 {
            table.place(end, source(number));
        }
        assert!(guilty.iter().all(|&it| table.find(it).is_none()), "nothing is remembered for ever");
    }

    #[test]
    fn bans_leave_places_for_others_and_the_crowd_takes_the_rest() {
        let mut table = table(16);
        let now = Time::from_millis(1000);
        for number in 0..10_000 {
            if let Place::Own(at) = table.place(now, source(number))
                && table.may_ban(now, at)
            {
                table.entry(Place::Own(at)).banned_until = now + Duration::from_secs(60);
            }
        }
        assert_eq!(table.banned(now), table.capacity() / 2);
        // The other half is drawn on: who comes now is one of the crowd.
        for number in 20_000..30_000 {
            if let Place::Own(at) = table.place(now, source(number)) {
                table.entry(Place::Own(at)).buckets[0].take(now, Rate::new(1, 5));
            }
        }
        let before = table.full;
        assert_eq!(table.place(now, source(40_000)), Place::Crowd);
        assert_eq!(table.full, before + 1);
        assert!(matches!(table.place(now + Duration::from_secs(2), source(40_000)), Place::Own(_)));
    }
}
