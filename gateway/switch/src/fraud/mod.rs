//! Caps against toll fraud: calls at a time, calls a second and minutes, by destination and by who calls; and messages.
//!
//! Shared by the shards. As with trunks, calls at a time and calls a second are single atomic words changed by
//! compare-and-swap ([`CallLimit`], [`RateLimit`]), so that racing shards never take one call too many. Who they belong to
//! is found behind a lock once per call.

mod messages;
mod meter;
mod rule;

pub use rule::{Action, Rule, Who};

use crate::guard::Source;
use core::time::Duration;
use meter::Meter;
use sansio::Time;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Sources, users or trunks that a rule tells apart at a time; about 1 KiB each. Those beyond share one meter.
const SUBJECTS: usize = 16_384;
/// Between two looks for meters that can be forgotten.
const SWEEP: Duration = Duration::from_secs(1);
/// The name of those beyond.
const OTHERS: &str = "others";

/// Who calls whom, as the rules see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller<'a> {
    /// Where the call comes from; none if no rule for each source shall count it.
    pub(crate) source: Option<Source>,
    /// The user who showed a password.
    pub(crate) user: Option<&'a str>,
    /// The numbers it is for: dialled, and as it will be sent on.
    pub(crate) numbers: [&'a str; 2],
}

/// A limit that was exceeded, to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exceeded {
    pub(crate) rule: String,
    pub(crate) who: String,
    pub(crate) what: String,
    pub(crate) refused: bool,
}

/// What the rules say to a call.
#[derive(Debug, Default)]
pub(crate) struct Judged {
    /// Its places; given back when dropped.
    pub(crate) held: Vec<Held>,
    /// The status to refuse it with.
    pub(crate) refused: Option<u16>,
    /// Limits exceeded, whether or not that refuses it.
    pub(crate) exceeded: u64,
    /// Those to be told now: of each subject one a minute.
    pub(crate) alarms: Vec<Exceeded>,
}

/// A call's place under one rule.
#[derive(Debug)]
pub(crate) struct Held {
    state: Arc<State>,
    meter: Arc<Meter>,
    who: Box<str>,
    /// Until when its minutes are charged.
    charged: Option<Time>,
}

impl Held {
    /// Charges the time since it was answered or last charged; tells what that exceeds.
    pub(crate) fn charge(&mut self, now: Time, answered: Time) -> Option<Exceeded> {
        let rule = &self.state.rule;
        if rule.max_minutes_per_hour == 0 && rule.max_minutes_per_day == 0 {
            return None;
        }
        let since = self.charged.replace(now).unwrap_or(answered);
        let (hour, day) = self.meter.charge(now, now.since(since));
        let what = rule.minutes_exceeded(hour, day)?;
        self.meter.may_tell(now).then(|| exceeded(rule, &self.who, what, false))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.meter.calls.give_back();
    }
}

/// One rule and its meters, by subject.
#[derive(Debug)]
struct State {
    rule: Rule,
    meters: Arc<Mutex<BTreeMap<Box<str>, Arc<Meter>>>>,
    /// When it was last looked through for meters to be forgotten, in ns; 0: never.
    swept: AtomicU64,
}

impl State {
    fn may_sweep(&self, now: Time) -> bool {
        let last = self.swept.load(Ordering::Relaxed);
        let due = last == 0 || now.since(Time::from_nanos(last)) >= SWEEP;
        if due {
            self.swept.store(now.as_nanos(), Ordering::Relaxed);
        }
        due
    }
}

/// All rules of a configuration. A table never changes; a reload makes a new one in which rules of the same name keep
/// what they have counted.
#[derive(Debug, Default)]
pub struct FraudTable {
    rules: Vec<Arc<State>>,
    /// Calls of subjects for whom there was no meter.
    untracked: AtomicU64,
}

impl FraudTable {
    /// A table of these rules; those that `before` had keep their meters.
    pub fn new(rules: Vec<Rule>, before: Option<&Self>) -> Self {
        let old = |rule: &Rule| {
            let all = before.map_or(&[][..], |table| table.rules.as_slice());
            all.iter().find(|old| old.rule.name == rule.name && old.rule.who == rule.who)
        };
        let rules = rules
            .into_iter()
            .map(|rule| {
                let meters = old(&rule).map_or_else(Arc::default, |old| old.meters.clone());
                Arc::new(State { rule, meters, swept: AtomicU64::new(0) })
            })
            .collect();
        let untracked = before.map_or(0, |table| table.untracked.load(Ordering::Relaxed));
        Self { rules, untracked: AtomicU64::new(untracked) }
    }

    /// The rules, in the order of the configuration.
    pub fn rules(&self) -> Vec<Rule> {
        self.rules.iter().map(|state| state.rule.clone()).collect()
    }

    /// Whether some rule counts minutes.
    pub(crate) fn counts_minutes(&self) -> bool {
        self.rules.iter().any(|it| it.rule.max_minutes_per_hour > 0 || it.rule.max_minutes_per_day > 0)
    }

    /// Calls of subjects for whom there was no meter of their own, since the start.
    pub(crate) fn untracked(&self) -> u64 {
        self.untracked.load(Ordering::Relaxed)
    }

    /// Judges a call as it comes in: all rules but those for each trunk.
    pub(crate) fn judge(&self, now: Time, caller: &Caller<'_>) -> Judged {
        self.judge_by(now, &caller.numbers, |who| subject_of(who, caller))
    }

    /// Judges a call that is about to be offered to a trunk: the rules for each trunk.
    pub(crate) fn judge_trunk(&self, now: Time, trunk: &str, numbers: [&str; 2]) -> Judged {
        self.judge_by(now, &numbers, |who| subject_of_trunk(who, trunk))
    }

    fn judge_by(&self, now: Time, numbers: &[&str], subject: impl Fn(Who) -> Option<String>) -> Judged {
        let mut judged = Judged::default();
        let fits = self.rules.iter().filter(|state| numbers.iter().any(|number| state.rule.covers(number)));
        for state in fits {
            let Some(who) = subject(state.rule.who) else { continue };
            let meter = self.meter(now, state, &who);
            let what = self.seize(now, state, &meter, &who, &mut judged);
            let Some(what) = what else { continue };
            judged.exceeded += 1;
            let status = state.rule.action.status();
            if meter.may_tell(now) {
                judged.alarms.push(exceeded(&state.rule, &who, what, status.is_some()));
            }
            if status.is_some() {
                judged.refused = judged.refused.or(status);
                break;
            }
        }
        if judged.refused.is_some() {
            // It was never a call: none counts against a rate.
            for held in judged.held.drain(..) {
                held.meter.rate.give_back(held.state.rule.max_cps);
            }
        }
        judged
    }

    /// Takes a place under a rule, and tells what that exceeds. Where that refuses the call, no place is taken.
    fn seize(
        &self,
        now: Time,
        state: &Arc<State>,
        meter: &Arc<Meter>,
        who: &str,
        judged: &mut Judged,
    ) -> Option<String> {
        let rule = &state.rule;
        let refuses = rule.action.status().is_some();
        let (hour, day) = meter.spent(now);
        let mut what = rule.minutes_exceeded(hour, day);
        if refuses && what.is_some() {
            return what;
        }
        if !meter.rate.take(now, rule.max_cps) {
            what = Some(format!("more than {} calls a second", rule.max_cps));
            if refuses {
                return what;
            }
        }
        let max = if rule.max_calls == 0 { u32::MAX } else { rule.max_calls };
        if !meter.calls.take(max) {
            what = Some(format!("more than {max} calls at a time"));
            if refuses {
                meter.rate.give_back(rule.max_cps);
                return what;
            }
            meter.calls.take(u32::MAX);
        }
        judged.held.push(Held { state: state.clone(), meter: meter.clone(), who: who.into(), charged: None });
        what
    }

    fn meter(&self, now: Time, state: &State, who: &str) -> Arc<Meter> {
        // Nothing in here panics half-way through a change.
        let mut meters = state.meters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(meter) = meters.get(who) {
            return meter.clone();
        }
        // Looking through all of them is dear: not for every call.
        if meters.len() >= SUBJECTS && state.may_sweep(now) {
            meters.retain(|_, meter| Arc::strong_count(meter) > 1 || !meter.is_idle(now));
        }
        let who = if meters.len() >= SUBJECTS {
            self.untracked.fetch_add(1, Ordering::Relaxed);
            OTHERS
        } else {
            who
        };
        meters.entry(who.into()).or_default().clone()
    }
}

/// Who a rule counts it for; `None` if the rule is for trunks, or does not know him.
fn subject_of(who: Who, caller: &Caller<'_>) -> Option<String> {
    match who {
        Who::All => Some("all".to_owned()),
        Who::EachSource => caller.source.map(|source| format!("source {}", source.address())),
        Who::EachUser => caller.user.map(|user| format!("user {user}")),
        Who::EachTrunk => None,
    }
}

fn subject_of_trunk(who: Who, trunk: &str) -> Option<String> {
    (who == Who::EachTrunk).then(|| format!("trunk {trunk}"))
}

fn exceeded(rule: &Rule, who: &str, what: String, refused: bool) -> Exceeded {
    Exceeded { rule: rule.name.clone(), who: who.to_owned(), what, refused }
}

#[cfg(test)]
mod tests;
