//! Decides whether packets wake the thread one by one or share wake-ups; no clock, no system call.
//!
//! Below a few packets per window every packet wakes the thread: it is seen within microseconds. Above, the
//! thread lets packets gather, the longer the more there are, up to the whole window: a busy thread
//! that drains all its sockets at once needs about two thirds of the processor.

use core::time::Duration;
use sansio::Time;

/// Below this share of the packets from which on wake-ups are shared, they are not shared any more.
const SHARE_UNTIL: f64 = 0.75;
/// From this share of them on gathering would begin to take time ...
const RAMP_FROM: f64 = 0.5;
/// ... and from this many times of them on it takes the whole window.
const RAMP_UNTIL: f64 = 4.0;
/// How long arrivals are counted before the estimate moves.
const MEASURE: Duration = Duration::from_millis(5);
/// What a new measurement weighs against the old estimate.
const WEIGHT: f64 = 0.3;

#[derive(Debug)]
pub(crate) struct Pace {
    window: Duration,
    /// Packets expected in a whole window from which on wake-ups are shared.
    share_from: f64,
    /// Packets per nanosecond.
    rate: f64,
    sharing: bool,
    /// How long packets gather while sharing.
    gather: Duration,
    counted: u64,
    counting_since: Time,
    woke: Time,
}

impl Pace {
    pub(crate) fn new(window: Duration, share_from: u16, now: Time) -> Self {
        let gather = Duration::ZERO;
        let share_from = f64::from(share_from.max(1));
        Self {
            window,
            share_from,
            rate: 0.0,
            sharing: false,
            gather,
            counted: 0,
            counting_since: now,
            woke: now,
        }
    }

    /// The thread came back from waiting at `now` and found `packets`.
    pub(crate) fn woke(&mut self, now: Time, packets: u64) {
        self.woke = now;
        self.counted += packets;
        let span = now.since(self.counting_since);
        if span < MEASURE {
            return;
        }
        let measured = self.counted as f64 / span.as_nanos() as f64;
        // A long silence is as good as many measurements of nothing.
        let weight = if span >= MEASURE * 10 { 1.0 } else { WEIGHT };
        self.rate += (measured - self.rate) * weight;
        self.counted = 0;
        self.counting_since = now;
        // In units of the number from which on wake-ups are shared.
        let expected = self.rate * self.window.as_nanos() as f64 / self.share_from;
        self.sharing = expected >= if self.sharing { SHARE_UNTIL } else { 1.0 };
        let part = (expected - RAMP_FROM) / (RAMP_UNTIL - RAMP_FROM);
        self.gather = self.window.mul_f64(part.clamp(0.0, 1.0));
    }

    /// Until when packets shall gather; `None`: the first one wakes the thread.
    pub(crate) fn gather_until(&self) -> Option<Time> {
        self.sharing.then(|| self.woke + self.gather)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_micros(500);

    /// Feeds `rate` packets a second for `millis`, in wakes of the window's length.
    fn feed(pace: &mut Pace, now: &mut Time, rate: u64, millis: u64) {
        let mut owed = 0.0;
        for _ in 0..millis * 2 {
            *now += WINDOW;
            owed += rate as f64 / 2000.0;
            pace.woke(*now, owed as u64);
            owed -= owed.floor();
        }
    }

    #[test]
    fn few_packets_wake_at_once_many_share() {
        let mut now = Time::from_millis(1);
        let mut pace = Pace::new(WINDOW, 8, now);
        feed(&mut pace, &mut now, 1_000, 200);
        assert_eq!(pace.gather_until(), None, "ten calls");
        feed(&mut pace, &mut now, 100_000, 50);
        assert_eq!(pace.gather_until(), Some(now + WINDOW), "a thousand calls, within 50 ms");
        feed(&mut pace, &mut now, 14_000, 200);
        assert!(pace.gather_until().is_some(), "between the thresholds it stays as it is");
        feed(&mut pace, &mut now, 1_000, 50);
        assert_eq!(pace.gather_until(), None);
        feed(&mut pace, &mut now, 14_000, 200);
        assert_eq!(pace.gather_until(), None, "here too");
    }

    #[test]
    fn the_more_packets_the_longer_they_gather() {
        let mut now = Time::from_millis(1);
        let mut pace = Pace::new(WINDOW, 8, now);
        let mut last = Duration::ZERO;
        for rate in [20_000, 30_000, 40_000, 50_000, 64_000] {
            feed(&mut pace, &mut now, rate, 200);
            let gather = pace.gather_until().map_or(Duration::ZERO, |until| until.since(now));
            assert!(gather > last && gather <= WINDOW, "{rate}: {gather:?}");
            last = gather;
        }
        assert!(last > WINDOW.mul_f64(0.95));
    }

    #[test]
    fn silence_ends_sharing_at_once() {
        let mut now = Time::from_millis(1);
        let mut pace = Pace::new(WINDOW, 8, now);
        feed(&mut pace, &mut now, 100_000, 100);
        now += Duration::from_millis(100);
        pace.woke(now, 1);
        assert_eq!(pace.gather_until(), None);
    }

    #[test]
    fn a_window_of_zero_never_shares() {
        let mut now = Time::from_millis(1);
        let mut pace = Pace::new(Duration::ZERO, 8, now);
        feed(&mut pace, &mut now, 1_000_000, 100);
        assert_eq!(pace.gather_until(), None);
    }
}
