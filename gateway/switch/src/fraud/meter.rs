//! What one subject of a rule has used: calls, rate, minutes over a sliding hour and day, and messages.

use crate::trunk::{CallLimit, RateLimit};
use core::time::Duration;
use sansio::Time;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Between two alarms about the same subject.
const QUIET: Duration = Duration::from_secs(60);
const MINUTE: u64 = 60;
const HOUR: u64 = 3600;

/// The meter of one subject.
#[derive(Debug, Default)]
pub(super) struct Meter {
    pub(super) calls: CallLimit,
    pub(super) rate: RateLimit,
    /// Messages a second.
    pub(super) messages: RateLimit,
    /// Milliseconds of talk.
    spent: Mutex<Spent>,
    /// Messages.
    messages_sent: Mutex<Spent>,
    /// When the last alarm was raised, in ns; 0: never.
    told: AtomicU64,
}

impl Meter {
    fn spent_now(&self, now: Time) -> MutexGuard<'_, Spent> {
        advanced(&self.spent, now)
    }

    /// Counts a message.
    pub(super) fn send(&self, now: Time) {
        advanced(&self.messages_sent, now).add(1);
    }

    /// A message that was counted just now was not sent after all.
    pub(super) fn take_back(&self, now: Time) {
        advanced(&self.messages_sent, now).take_back(1);
    }

    /// Messages of the last hour.
    pub(super) fn sent(&self, now: Time) -> u64 {
        advanced(&self.messages_sent, now).sums().0
    }

    /// Adds talk time; gives the milliseconds of the last hour and day.
    pub(super) fn charge(&self, now: Time, span: Duration) -> (u64, u64) {
        let mut spent = self.spent_now(now);
        spent.add(span.as_millis() as u64);
        spent.sums()
    }

    /// The milliseconds of the last hour and day.
    pub(super) fn spent(&self, now: Time) -> (u64, u64) {
        self.spent_now(now).sums()
    }

    /// Whether an alarm is due; then it counts as raised. Of racing shards one is told yes.
    pub(super) fn may_tell(&self, now: Time) -> bool {
        let now = now.as_nanos().max(1);
        self.told
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |told| {
                (told == 0 || now.saturating_sub(told) >= QUIET.as_nanos() as u64).then_some(now)
            })
            .is_ok()
    }

    /// Whether forgetting it gives nobody an advantage.
    pub(super) fn is_idle(&self, now: Time) -> bool {
        self.calls.calls() == 0 && self.spent(now) == (0, 0) && self.sent(now) == 0
    }
}

fn advanced(spent: &Mutex<Spent>, now: Time) -> MutexGuard<'_, Spent> {
    // Nothing in here panics half-way through a change.
    let mut spent = spent.lock().unwrap_or_else(PoisonError::into_inner);
    spent.advance(now);
    spent
}

/// Milliseconds, or whatever is counted, by minute and by hour.
#[derive(Debug)]
struct Spent {
    minute: u64,
    minutes: [u64; 60],
    hour: u64,
    hours: [u64; 24],
}

impl Default for Spent {
    fn default() -> Self {
        Self { minute: 0, minutes: [0; 60], hour: 0, hours: [0; 24] }
    }
}

impl Spent {
    fn advance(&mut self, now: Time) {
        let seconds = now.as_nanos() / 1_000_000_000;
        roll(&mut self.minute, seconds / MINUTE, &mut self.minutes);
        roll(&mut self.hour, seconds / HOUR, &mut self.hours);
    }

    const fn add(&mut self, millis: u64) {
        let (minute, hour) = ((self.minute % 60) as usize, (self.hour % 24) as usize);
        self.minutes[minute] = self.minutes[minute].saturating_add(millis);
        self.hours[hour] = self.hours[hour].saturating_add(millis);
    }

    const fn take_back(&mut self, count: u64) {
        let (minute, hour) = ((self.minute % 60) as usize, (self.hour % 24) as usize);
        self.minutes[minute] = self.minutes[minute].saturating_sub(count);
        self.hours[hour] = self.hours[hour].saturating_sub(count);
    }

    fn sums(&self) -> (u64, u64) {
        (self.minutes.iter().sum(), self.hours.iter().sum())
    }
}

/// Goes on to step `to`, emptying the places of all steps in between.
fn roll(at: &mut u64, to: u64, places: &mut [u64]) {
    let steps = to.saturating_sub(*at).min(places.len() as u64);
    *at = to.max(*at);
    for step in 0..steps {
        places[((*at - step) % places.len() as u64) as usize] = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_slide_out_of_the_hour_and_the_day() {
        let meter = Meter::default();
        let at = |minutes: u64| Time::from_millis(minutes * 60_000);
        for minute in 100..130 {
            meter.charge(at(minute), Duration::from_secs(30));
        }
        assert_eq!(meter.spent(at(130)), (15 * 60_000, 15 * 60_000));
        assert_eq!(meter.spent(at(165)).0, 24 * 30_000, "to the minute");
        assert_eq!(meter.spent(at(190)), (0, 15 * 60_000));
        assert!(!meter.is_idle(at(190)));
        assert_eq!(meter.spent(at(130 + 25 * 60)), (0, 0));
        assert!(meter.is_idle(at(130 + 25 * 60)));
    }

    #[test]
    fn an_alarm_a_minute() {
        let meter = Meter::default();
        let told = (0..600).filter(|&second| meter.may_tell(Time::from_millis(1000 * second))).count();
        assert_eq!(told, 10);
    }
}
