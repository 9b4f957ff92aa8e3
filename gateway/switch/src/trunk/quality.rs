//! How calls over a trunk sound: the last minutes of all shards together, and whether the trunk is to be chosen last because of it.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use sansio::Time;
use std::sync::{Mutex, PoisonError};

/// Spans that the window is made of, and how long each is: five minutes in all.
const SPANS: usize = 10;
const SPAN: Duration = Duration::from_secs(30);
/// Seconds of talk in the window from which on it is judged.
pub const ENOUGH: u64 = 60;
/// By how much a trunk that was bad has to be better than it had to be, in thousandths of MOS.
const HYSTERESIS: u32 = 200;

/// When a trunk is chosen last for how it sounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QualityRule {
    /// The mean opinion score that calls over it have to have at least, in thousandths.
    pub min_mos: u32,
    /// How long it is chosen last then, at least.
    pub hold_off: Duration,
}

/// What a piece of a call tells, or many added up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Heard {
    /// Seconds judged, and those of them that were poor.
    pub seconds: u64,
    /// Those of them that were poor.
    pub poor: u64,
    /// R and conversational score, added up over the seconds.
    pub r: f64,
    /// The score added up.
    pub mos: f64,
    /// Packets expected from the trunk.
    pub expected: u64,
    /// Those of them lost.
    pub lost: u64,
    /// Jitter in ms, added up over the pieces.
    pub jitter_ms: f64,
    /// Pieces.
    pub pieces: u64,
    /// Round trips in ms, added up over the pieces that had one.
    pub round_trip_ms: f64,
    /// Those pieces.
    pub round_trips: u64,
    /// Calls in which one side was not heard.
    pub one_way: u64,
}

impl Heard {
    fn add(&mut self, more: &Self) {
        self.seconds += more.seconds;
        self.poor += more.poor;
        self.r += more.r;
        self.mos += more.mos;
        self.expected += more.expected;
        self.lost += more.lost;
        self.jitter_ms += more.jitter_ms;
        self.pieces += more.pieces;
        self.round_trip_ms += more.round_trip_ms;
        self.round_trips += more.round_trips;
        self.one_way += more.one_way;
    }

    /// Mean score of a second; `None` if none was judged.
    pub fn mean_mos(&self) -> Option<f64> {
        (self.seconds > 0).then(|| self.mos / self.seconds as f64)
    }
}

/// The last minutes.
#[derive(Debug, Default)]
struct Window {
    /// The number of the newest span.
    newest: u64,
    spans: [Heard; SPANS],
}

impl Window {
    /// Forgets what is too old.
    fn turn(&mut self, now: Time) {
        let number = now.as_nanos() / SPAN.as_nanos() as u64;
        let steps = number.saturating_sub(self.newest).min(SPANS as u64);
        for step in 1..=steps {
            self.spans[((self.newest + step) % SPANS as u64) as usize] = Heard::default();
        }
        if steps == SPANS as u64 {
            self.spans = [Heard::default(); SPANS];
        }
        self.newest = self.newest.max(number);
    }

    fn sum(&self) -> Heard {
        let mut sum = Heard::default();
        self.spans.iter().for_each(|span| sum.add(span));
        sum
    }
}

/// What all shards know of how a trunk sounds.
#[derive(Debug, Default)]
pub struct SharedQuality {
    /// Touched once in some seconds of a call.
    window: Mutex<Window>,
    /// Until when the trunk is chosen last, in ns; 0: it was good when last judged.
    avoided: AtomicU64,
}

impl SharedQuality {
    /// Takes a piece of a call into account; tells when the trunk became bad (`true`) or good again.
    pub fn learn(&self, now: Time, piece: &Heard, rule: Option<QualityRule>) -> Option<bool> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        window.turn(now);
        let at = (window.newest % SPANS as u64) as usize;
        window.spans[at].add(piece);
        let Some(rule) = rule else {
            self.avoided.store(0, Ordering::Relaxed);
            return None;
        };
        let sum = window.sum();
        let mos = sum.mean_mos().filter(|_| sum.seconds >= ENOUGH)? * 1000.0;
        let was = self.avoided.load(Ordering::Relaxed);
        let wanted = rule.min_mos + if was > 0 { HYSTERESIS } else { 0 };
        if mos < f64::from(wanted) {
            self.avoided.store((now + rule.hold_off).as_nanos().max(1), Ordering::Relaxed);
            if was == 0 {
                // What it was is known; what it is has to be heard.
                window.spans = [Heard::default(); SPANS];
            }
            return (was == 0).then_some(true);
        }
        if was > 0 && was <= now.as_nanos() {
            self.avoided.store(0, Ordering::Relaxed);
            return Some(false);
        }
        None
    }

    /// Whether it is chosen last now.
    pub fn is_avoided(&self, now: Time) -> bool {
        self.avoided.load(Ordering::Relaxed) > now.as_nanos()
    }

    /// The window as it is now.
    pub fn heard(&self, now: Time) -> Heard {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        window.turn(now);
        window.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: QualityRule = QualityRule { min_mos: 3600, hold_off: Duration::from_secs(300) };

    fn piece(seconds: u64, mos: f64) -> Heard {
        Heard { seconds, mos: mos * seconds as f64, pieces: 1, ..Heard::default() }
    }

    fn at(seconds: u64) -> Time {
        Time::from_millis(1_000_000 + seconds * 1000)
    }

    #[test]
    fn a_trunk_is_judged_by_enough_and_kept_off_for_a_while() {
        let quality = SharedQuality::default();
        assert_eq!(quality.learn(at(0), &piece(ENOUGH - 1, 2.0), Some(RULE)), None, "too little was heard");
        assert_eq!(quality.learn(at(1), &piece(1, 2.0), Some(RULE)), Some(true));
        assert!(quality.is_avoided(at(1)) && quality.is_avoided(at(300)) && !quality.is_avoided(at(301)));
        // Calls that are still up go on badly: it stays off for longer.
        assert_eq!(quality.learn(at(200), &piece(ENOUGH, 2.0), Some(RULE)), None);
        assert!(quality.is_avoided(at(499)) && !quality.is_avoided(at(500)));
        // Back, it has to be better than it had to be before.
        assert_eq!(quality.learn(at(510), &piece(600, 3.7), Some(RULE)), None);
        assert!(quality.is_avoided(at(511)));
        assert_eq!(quality.learn(at(1200), &piece(600, 3.9), Some(RULE)), Some(false));
        assert!(!quality.is_avoided(at(1200)));
        assert_eq!(quality.learn(at(1201), &piece(60, 3.7), Some(RULE)), None, "3.88 in the mean");
    }

    #[test]
    fn hold_off_is_not_cut_short_and_no_rule_avoids_nothing() {
        let quality = SharedQuality::default();
        quality.learn(at(0), &piece(ENOUGH, 2.0), Some(RULE));
        assert_eq!(quality.learn(at(10), &piece(600, 4.4), Some(RULE)), None);
        assert!(quality.is_avoided(at(10)), "a good call does not end it");
        quality.learn(at(11), &piece(1, 1.0), None);
        assert!(!quality.is_avoided(at(11)));
    }

    #[test]
    fn what_is_older_than_five_minutes_is_forgotten() {
        let quality = SharedQuality::default();
        quality.learn(at(0), &piece(10, 4.0), None);
        quality.learn(at(200), &piece(10, 2.0), None);
        assert_eq!(quality.heard(at(260)).mean_mos(), Some(3.0));
        assert_eq!(quality.heard(at(330)).mean_mos(), Some(2.0));
        assert_eq!(quality.heard(at(10_000)), Heard::default());
    }
}
