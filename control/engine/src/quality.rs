//! How well a trunk does: ITU-T E.425 ratios and means over the last hour, and totals since the start.

use crate::performance::{Attempts, Performance};
use core::time::Duration;
use link::Cdr;
use sansio::Time;
use std::collections::VecDeque;

/// How far back the ratios look.
pub const WINDOW: Duration = Duration::from_secs(3600);

/// The shorter span of the RFC 6076 metrics.
pub const RECENT: Duration = Duration::from_secs(300);

/// Width of one slice of the window.
const SLICE: Duration = Duration::from_secs(60);

/// What a trunk did in a span of time. Ratios are `None` while there is nothing to divide by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quality {
    /// Calls offered to the trunk (seizures): attempts that were answered or are over.
    pub seizures: u64,
    /// Those of them that were answered.
    pub answered: u64,
    /// Those that reached the called user: answered, busy, no answer or refused by the user.
    pub effective: u64,
    /// Answered calls that are over.
    pub finished: u64,
    /// Their talk time in microseconds.
    pub talked_us: u64,
    /// Calls whose post-dial delay is known.
    pub pdd_known: u64,
    /// Sum of those delays in microseconds.
    pub pdd_us: u64,
    /// Calls for which an opinion score of what the carrier sent is known.
    pub mos_known: u64,
    /// Sum of those scores, in hundredths.
    pub mos_hundredths: u64,
}

impl Quality {
    /// Answer-seizure ratio, 0 to 1.
    pub fn asr(&self) -> Option<f64> {
        ratio(self.answered, self.seizures)
    }

    /// Network effectiveness ratio, 0 to 1.
    pub fn ner(&self) -> Option<f64> {
        ratio(self.effective, self.seizures)
    }

    /// Average length of answered calls that are over, in seconds.
    pub fn aloc_seconds(&self) -> Option<f64> {
        ratio(self.talked_us, self.finished).map(|us| us / 1e6)
    }

    /// Mean post-dial delay in milliseconds.
    pub fn pdd_ms(&self) -> Option<f64> {
        ratio(self.pdd_us, self.pdd_known).map(|us| us / 1e3)
    }

    /// Mean opinion score of what the carrier sent.
    pub fn mos(&self) -> Option<f64> {
        ratio(self.mos_hundredths, self.mos_known).map(|hundredths| hundredths / 100.0)
    }

    fn add(&mut self, other: &Self) {
        self.seizures += other.seizures;
        self.answered += other.answered;
        self.effective += other.effective;
        self.finished += other.finished;
        self.talked_us += other.talked_us;
        self.pdd_known += other.pdd_known;
        self.pdd_us += other.pdd_us;
        self.mos_known += other.mos_known;
        self.mos_hundredths += other.mos_hundredths;
    }

    /// A call was answered.
    pub(crate) const fn of_answer() -> Self {
        let mut it = Self::NOTHING;
        it.seizures = 1;
        it.answered = 1;
        it.effective = 1;
        it
    }

    /// An attempt ended without answer, with this final status if any.
    pub(crate) const fn of_failure(status: Option<u16>) -> Self {
        let mut it = Self::NOTHING;
        it.seizures = 1;
        it.effective = match status {
            Some(480 | 486 | 487 | 600 | 603) => 1,
            _ => 0,
        };
        it
    }

    /// What a finished call says of the trunk that carried it, answers and failures aside.
    pub(crate) fn of_end(cdr: &Cdr) -> Self {
        let mos = cdr.media.as_ref().and_then(|media| media.callee.received.mos);
        Self {
            finished: u64::from(cdr.answered.is_some()),
            talked_us: cdr.talked_us(),
            pdd_known: u64::from(cdr.pdd_us.is_some()),
            pdd_us: cdr.pdd_us.unwrap_or(0),
            mos_known: u64::from(mos.is_some()),
            mos_hundredths: mos.map_or(0, |mos| (f64::from(mos) * 100.0).round() as u64),
            ..Self::NOTHING
        }
    }

    const NOTHING: Self = Self {
        seizures: 0,
        answered: 0,
        effective: 0,
        finished: 0,
        talked_us: 0,
        pdd_known: 0,
        pdd_us: 0,
        mos_known: 0,
        mos_hundredths: 0,
    };
}

/// What a trunk did, over time.
#[derive(Debug, Default)]
pub(crate) struct History {
    total: Quality,
    performance: Performance,
    pub(crate) attempts: Attempts,
    /// Slices by number, oldest first; those without calls are not there.
    slices: VecDeque<(u64, Quality, Performance)>,
}

impl History {
    pub(crate) fn add(&mut self, now: Time, what: &Quality) {
        self.total.add(what);
        self.slice(now).1.add(what);
    }

    /// Adds what RFC 6076 wants to know.
    pub(crate) fn perform(&mut self, now: Time, what: &Performance) {
        self.performance.add(what);
        self.slice(now).2.add(what);
    }

    /// The present slice.
    fn slice(&mut self, now: Time) -> &mut (u64, Quality, Performance) {
        self.forget(now);
        let slice = slice_of(now);
        let last = match self.slices.back() {
            Some((last, ..)) if *last == slice => self.slices.len() - 1,
            _ => {
                self.slices.push_back((slice, Quality::default(), Performance::default()));
                self.slices.len() - 1
            }
        };
        &mut self.slices[last]
    }

    pub(crate) const fn total(&self) -> &Quality {
        &self.total
    }

    /// Of the last five minutes, of the last hour, since the start.
    pub(crate) fn performance(&mut self, now: Time) -> [Performance; 3] {
        self.forget(now);
        let (mut recent, mut window) = (Performance::default(), Performance::default());
        let first = oldest(now, RECENT);
        for (slice, _, performance) in &self.slices {
            window.add(performance);
            if *slice >= first {
                recent.add(performance);
            }
        }
        [recent, window, self.performance.clone()]
    }

    pub(crate) fn recent(&mut self, now: Time) -> Quality {
        self.forget(now);
        let mut sum = Quality::default();
        for (_, slice, _) in &self.slices {
            sum.add(slice);
        }
        sum
    }

    fn forget(&mut self, now: Time) {
        let oldest = oldest(now, WINDOW);
        while self.slices.front().is_some_and(|&(slice, ..)| slice < oldest) {
            self.slices.pop_front();
        }
    }
}

/// The oldest slice of a span that ends now.
fn oldest(now: Time, span: Duration) -> u64 {
    let kept = (span.as_nanos() / SLICE.as_nanos()) as u64;
    (slice_of(now) + 1).saturating_sub(kept)
}

const fn slice_of(now: Time) -> u64 {
    now.as_nanos() / SLICE.as_nanos() as u64
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_unknown_before_any_call_and_forget_after_an_hour() {
        let mut history = History::default();
        assert_eq!(history.recent(Time::ZERO).asr(), None);
        history.add(Time::ZERO, &Quality::of_answer());
        history.add(Time::ZERO, &Quality::of_failure(Some(503)));
        history.add(Time::ZERO, &Quality::of_failure(Some(486)));
        history.add(Time::from_millis(30 * 60_000), &Quality::of_answer());
        let now = Time::from_millis(59 * 60_000);
        assert_eq!(history.recent(now).asr(), Some(0.5));
        assert_eq!(history.recent(now).ner(), Some(0.75));
        assert_eq!(history.recent(Time::from_millis(60 * 60_000)).asr(), Some(1.0));
        assert_eq!(history.recent(Time::from_millis(3 * 60 * 60_000)).asr(), None);
        assert_eq!(history.total().seizures, 4);
    }

    #[test]
    fn performance_is_kept_for_five_minutes_an_hour_and_ever() {
        let mut history = History::default();
        history.perform(Time::ZERO, &Performance::of_answer(Some(1000)));
        history.perform(Time::from_millis(58 * 60_000), &Performance::of_answer(Some(3000)));
        let requests = |history: &mut History, minute: u64| {
            history.performance(Time::from_millis(minute * 60_000)).map(|span| span.requests)
        };
        assert_eq!(requests(&mut history, 59), [1, 2, 2]);
        assert_eq!(requests(&mut history, 61), [1, 1, 2]);
        assert_eq!(requests(&mut history, 63), [0, 1, 2]);
        assert_eq!(requests(&mut history, 200), [0, 0, 2]);
    }
}
