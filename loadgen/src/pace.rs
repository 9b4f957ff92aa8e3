//! The pace: at which absolute instants streams send, shared so that a thread wakes seldom.
//!
//! Time is cut into slots of a millisecond that come round once per packet time. A stream keeps the
//! slot it was given; the streams of one slot share one wake-up, and slots are filled evenly. A stream's
//! instants follow from its slot alone, so lateness never adds up.

use core::time::Duration;
use sansio::{Key, Time};

/// How far apart two slots are.
pub const SLOT: Duration = Duration::from_millis(1);

/// Behind by more than this, whole slots are skipped and counted: the thread is overloaded beyond repair, and a burst
/// would only hurt the target.
const LAG_MAX: Duration = Duration::from_millis(200);

/// Where a stream sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    slot: u16,
    position: u32,
}

/// The slots of one thread.
#[derive(Debug)]
pub struct Pacer {
    slots: Vec<Vec<Key>>,
    /// The next slot to be looked at, counted from the clock's origin.
    next: u64,
    streams: usize,
    /// Packets that were not sent because the thread was too far behind.
    pub skipped: u64,
}

impl Pacer {
    /// Slots for a packet time of `ptime`.
    pub fn new(ptime: Duration, now: Time) -> Self {
        let count = (ptime.as_nanos() / SLOT.as_nanos()).clamp(1, 1000) as usize;
        Self { slots: vec![Vec::new(); count], next: Self::tick(now) + 1, streams: 0, skipped: 0 }
    }

    fn tick(now: Time) -> u64 {
        now.as_nanos() / SLOT.as_nanos() as u64
    }

    fn instant(tick: u64) -> Time {
        Time::from_nanos(tick.saturating_mul(SLOT.as_nanos() as u64))
    }

    /// Gives a stream a place in an emptiest slot; of those the one that comes next, so that it starts soon.
    pub fn join(&mut self, stream: Key, now: Time) -> Place {
        if self.streams == 0 {
            self.next = self.next.max(Self::tick(now) + 1);
        }
        let count = self.slots.len();
        let first = (self.next % count as u64) as usize;
        let mut best = first;
        for offset in 0..count {
            let slot = (first + offset) % count;
            if self.slots[slot].len() < self.slots[best].len() {
                best = slot;
            }
        }
        let place = Place { slot: best as u16, position: self.slots[best].len() as u32 };
        self.slots[best].push(stream);
        self.streams += 1;
        place
    }

    /// Takes a stream out. The stream that moves into its place, if any, with the place it has now.
    pub fn leave(&mut self, place: Place) -> Option<(Place, Key)> {
        let slot = self.slots.get_mut(usize::from(place.slot))?;
        if place.position as usize >= slot.len() {
            return None;
        }
        slot.swap_remove(place.position as usize);
        self.streams -= 1;
        slot.get(place.position as usize).map(|&key| (place, key))
    }

    /// When a stream has to send next.
    pub fn deadline(&self) -> Option<Time> {
        if self.streams == 0 {
            return None;
        }
        let count = self.slots.len() as u64;
        (self.next..self.next + count)
            .find(|tick| !self.slots[(tick % count) as usize].is_empty())
            .map(Self::instant)
    }

    /// The next slot that is due, with the instant at which it was; call until `None`.
    pub fn due(&mut self, now: Time) -> Option<(Time, &[Key])> {
        let last = Self::tick(now);
        if self.streams == 0 || self.next > last {
            self.next = self.next.max(last + u64::from(self.streams == 0));
            return None;
        }
        let count = self.slots.len() as u64;
        let lag_max = (LAG_MAX.as_nanos() / SLOT.as_nanos()) as u64;
        while self.next + lag_max < last {
            self.skipped += self.slots[(self.next % count) as usize].len() as u64;
            self.next += 1;
        }
        let tick = (self.next..=last).find(|tick| !self.slots[(tick % count) as usize].is_empty());
        let Some(tick) = tick else {
            self.next = last + 1;
            return None;
        };
        self.next = tick + 1;
        Some((Self::instant(tick), &self.slots[(tick % count) as usize]))
    }

    /// Streams that have a place.
    pub const fn len(&self) -> usize {
        self.streams
    }

    /// Whether no stream has a place.
    pub const fn is_empty(&self) -> bool {
        self.streams == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sansio::Slab;

    fn keys(n: u32) -> Vec<Key> {
        let mut slab = Slab::new(n);
        (0..n).map(|i| slab.insert(i).unwrap()).collect()
    }

    #[test]
    fn streams_are_spread_evenly_and_sent_once_per_packet_time() {
        let now = Time::from_nanos(7_000_123_456);
        let mut pacer = Pacer::new(Duration::from_millis(20), now);
        for key in keys(100) {
            pacer.join(key, now);
        }
        let end = now + Duration::from_secs(1);
        let (mut clock, mut sent, mut wakes) = (now, 0, 0);
        while let Some(deadline) = pacer.deadline().filter(|&d| d < end) {
            clock = deadline;
            wakes += 1;
            while let Some((instant, streams)) = pacer.due(clock) {
                assert_eq!(instant, clock);
                assert_eq!(streams.len(), 5);
                sent += streams.len();
            }
        }
        assert_eq!((sent, wakes), (5000, 1000));
        assert!(clock > now && pacer.skipped == 0);
    }

    #[test]
    fn a_late_thread_catches_up_and_a_hopeless_one_skips() {
        let now = Time::from_millis(1000);
        let mut pacer = Pacer::new(Duration::from_millis(20), now);
        let key = keys(1)[0];
        pacer.join(key, now);
        let mut instants = Vec::new();
        while let Some((instant, _)) = pacer.due(now + Duration::from_millis(65)) {
            instants.push(instant);
        }
        assert!(instants.len() == 3 || instants.len() == 4);
        assert!(instants.windows(2).all(|pair| pair[1].since(pair[0]) == Duration::from_millis(20)));
        while pacer.due(now + Duration::from_secs(3)).is_some() {}
        assert!(pacer.skipped > 100);
    }

    #[test]
    fn leaving_keeps_the_others_places_right() {
        let now = Time::ZERO;
        let mut pacer = Pacer::new(Duration::from_millis(20), now);
        let keys = keys(120);
        let mut places: Vec<Place> = keys.iter().map(|&key| pacer.join(key, now)).collect();
        for (i, _) in keys.iter().enumerate().take(80) {
            if let Some((place, moved)) = pacer.leave(places[i]) {
                places[moved.index()] = place;
            }
        }
        assert_eq!(pacer.len(), 40);
        let mut seen = Vec::new();
        for (i, key) in keys.iter().enumerate().skip(80) {
            assert_eq!(pacer.slots[usize::from(places[i].slot)][places[i].position as usize], *key);
            seen.push(i);
        }
        assert_eq!(seen.len(), 40);
    }
}
