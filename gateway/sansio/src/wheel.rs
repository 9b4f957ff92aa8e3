//! The timer wheel: every deadline of a shard in one hierarchical wheel, insert and cancel in O(1).
//!
//! Six levels of 64 slots; a slot of level 0 spans 2²⁰ ns (1.05 ms), of each next level 64 times as much,
//! so that deadlines up to 2 years ahead are kept apart. A timer never fires early and, if the driver is on time,
//! less than two slots (2.1 ms) late. An occupancy bitmap per level makes the next deadline O(levels).
//! (Varghese and Lauck, "Hashed and Hierarchical Timing Wheels", 1987.)

use crate::{Key, Slab, Time};

const SLOT_SHIFT: u32 = 20;
const LEVELS: usize = 6;
const SLOTS: usize = 64;
const NIL: u64 = u64::MAX;

/// A timer that was set; finds nothing once it has fired or was cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerId(Key);

#[derive(Debug)]
struct Entry<T> {
    deadline: Time,
    /// The tick at which it fires: the deadline, rounded up.
    tick: u64,
    list: u16,
    previous: u64,
    next: u64,
    value: T,
}

/// A bounded set of timers, each carrying a value.
#[derive(Debug)]
pub struct Wheel<T> {
    entries: Slab<Entry<T>>,
    heads: Box<[u64]>,
    tails: Box<[u64]>,
    occupied: [u64; LEVELS],
    /// Everything up to and with this tick has been looked at.
    tick: u64,
}

/// The list of timers that are due, behind the slots of all levels.
const DUE: usize = LEVELS * SLOTS;

impl<T> Wheel<T> {
    /// A wheel for at most `capacity` timers that starts at `now`.
    pub fn new(now: Time, capacity: u32) -> Self {
        Self {
            entries: Slab::new(capacity),
            heads: vec![NIL; DUE + 1].into_boxed_slice(),
            tails: vec![NIL; DUE + 1].into_boxed_slice(),
            occupied: [0; LEVELS],
            tick: now.as_nanos() >> SLOT_SHIFT,
        }
    }

    /// Sets a timer; `None` when the wheel is full.
    pub fn insert(&mut self, deadline: Time, value: T) -> Option<TimerId> {
        let tick = deadline.as_nanos().saturating_add((1 << SLOT_SHIFT) - 1) >> SLOT_SHIFT;
        let entry = Entry { deadline, tick, list: 0, previous: NIL, next: NIL, value };
        let key = self.entries.insert(entry).ok()?;
        self.place(key, tick);
        Some(TimerId(key))
    }

    /// Takes a timer out before it fires.
    pub fn cancel(&mut self, timer: TimerId) -> Option<T> {
        self.entries.get(timer.0)?;
        self.unlink(timer.0);
        self.entries.remove(timer.0).map(|entry| entry.value)
    }

    /// The next timer that is due at `now`, with the deadline it had.
    pub fn pop(&mut self, now: Time) -> Option<(Time, T)> {
        self.advance(now.as_nanos() >> SLOT_SHIFT);
        let head = self.heads[DUE];
        if head == NIL {
            return None;
        }
        let key = Key::from_bits(head);
        self.unlink(key);
        self.entries.remove(key).map(|entry| (entry.deadline, entry.value))
    }

    /// When to call [`Self::pop`] next: no timer is due before.
    pub fn deadline(&self) -> Option<Time> {
        if self.heads[DUE] != NIL {
            return Some(Time::from_nanos(self.tick << SLOT_SHIFT));
        }
        self.next_tick().map(|tick| Time::from_nanos(tick.saturating_mul(1 << SLOT_SHIFT)))
    }

    /// Timers set.
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no timer is set.
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The next tick at which a slot has to be looked at.
    fn next_tick(&self) -> Option<u64> {
        let mut next: Option<u64> = None;
        for (level, &occupied) in self.occupied.iter().enumerate() {
            if occupied == 0 {
                continue;
            }
            let shift = 6 * level as u32;
            let here = self.tick >> shift;
            // The slots after `here`, in the order in which they come.
            let ahead = occupied.rotate_right(((here + 1) & 63) as u32).trailing_zeros();
            let tick = (here + 1 + u64::from(ahead)) << shift;
            next = Some(next.map_or(tick, |n| n.min(tick)));
        }
        next
    }

    fn advance(&mut self, tick: u64) {
        while let Some(next) = self.next_tick() {
            if next > tick {
                break;
            }
            self.tick = next;
            // Upper levels first: what they spread may be due in a lower one at this same tick.
            for level in (0..LEVELS).rev() {
                let shift = 6 * level as u32;
                if next & ((1u64 << shift) - 1) != 0 {
                    continue;
                }
                let slot = ((next >> shift) & 63) as usize;
                if self.occupied[level] & (1 << slot) != 0 {
                    self.spread(level, slot);
                }
            }
        }
        self.tick = self.tick.max(tick);
    }

    fn spread(&mut self, level: usize, slot: usize) {
        let list = level * SLOTS + slot;
        while self.heads[list] != NIL {
            let key = Key::from_bits(self.heads[list]);
            self.unlink(key);
            let tick = self.entries.get(key).map_or(0, |entry| entry.tick);
            self.place(key, tick);
        }
    }

    fn place(&mut self, key: Key, tick: u64) {
        let list = if tick <= self.tick {
            DUE
        } else {
            // The lowest level at which the tick is within 64 slots of now.
            let level =
                (0..LEVELS).find(|&level| (tick >> (6 * level)) - (self.tick >> (6 * level)) < SLOTS as u64);
            let (level, tick) = match level {
                Some(level) => (level, tick),
                // Beyond the last level's span: parked in its farthest slot, placed anew when that comes.
                None => (LEVELS - 1, self.tick + ((SLOTS as u64 - 1) << (6 * (LEVELS - 1)))),
            };
            let slot = ((tick >> (6 * level)) & 63) as usize;
            self.occupied[level] |= 1 << slot;
            level * SLOTS + slot
        };
        let tail = self.tails[list];
        let bits = key.to_bits();
        if tail == NIL {
            self.heads[list] = bits;
        } else if let Some(entry) = self.entries.get_mut(Key::from_bits(tail)) {
            entry.next = bits;
        }
        self.tails[list] = bits;
        if let Some(entry) = self.entries.get_mut(key) {
            entry.list = list as u16; // below 6 × 64 + 1
            entry.previous = tail;
            entry.next = NIL;
        }
    }

    fn unlink(&mut self, key: Key) {
        let Some(entry) = self.entries.get(key) else { return };
        let (list, previous, next) = (entry.list as usize, entry.previous, entry.next);
        if previous == NIL {
            self.heads[list] = next;
        } else if let Some(entry) = self.entries.get_mut(Key::from_bits(previous)) {
            entry.next = next;
        }
        if next == NIL {
            self.tails[list] = previous;
        } else if let Some(entry) = self.entries.get_mut(Key::from_bits(next)) {
            entry.previous = previous;
        }
        if self.heads[list] == NIL && list < DUE {
            self.occupied[list / SLOTS] &= !(1 << (list % SLOTS));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;
    use core::time::Duration;

    #[test]
    fn random_timers_fire_in_time_and_never_early() {
        for seed in 0..50 {
            let mut random = Random::new(seed);
            let mut now = Time::from_nanos(random.below(1 << 45));
            let mut wheel = Wheel::new(now, 10_000);
            let mut alive = std::collections::BTreeMap::new();
            for n in 0..3000u32 {
                let span = 1u64 << random.below(46);
                let deadline = now + Duration::from_nanos(random.below(span));
                let id = wheel.insert(deadline, n).unwrap();
                alive.insert(n, (deadline, id));
                if random.chance(0.3) {
                    let victim = *alive.keys().nth(random.below(alive.len() as u64) as usize).unwrap();
                    let (_, id) = alive.remove(&victim).unwrap();
                    assert_eq!(wheel.cancel(id), Some(victim));
                    assert_eq!(wheel.cancel(id), None);
                }
                if random.chance(0.2) {
                    let span = 1u64 << random.below(40);
                    now += Duration::from_nanos(random.below(span));
                    fire(&mut wheel, &mut alive, now);
                }
            }
            while let Some(deadline) = wheel.deadline() {
                now = now.max(deadline);
                fire(&mut wheel, &mut alive, now);
            }
            assert!(alive.is_empty() && wheel.is_empty());
        }
    }

    fn fire(wheel: &mut Wheel<u32>, alive: &mut std::collections::BTreeMap<u32, (Time, TimerId)>, now: Time) {
        while let Some((deadline, n)) = wheel.pop(now) {
            assert!(deadline <= now, "early");
            assert_eq!(alive.remove(&n).unwrap().0, deadline);
        }
        let late = Duration::from_nanos(2 << SLOT_SHIFT);
        assert!(alive.values().all(|(deadline, _)| *deadline + late > now), "late at {now}");
        assert!(wheel.deadline().is_none_or(|deadline| deadline > now));
    }

    #[test]
    fn a_full_wheel_refuses() {
        let mut wheel = Wheel::new(Time::ZERO, 1);
        assert!(wheel.insert(Time::from_millis(1), ()).is_some());
        assert!(wheel.insert(Time::from_millis(1), ()).is_none());
    }
}
