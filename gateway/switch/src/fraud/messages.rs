//! The caps on messages (RFC 3428): a second and within an hour, by the same prefixes and subjects as calls.

use super::{Caller, FraudTable, Judged, Meter, State, Who, exceeded, subject_of, subject_of_trunk};
use sansio::Time;
use std::sync::Arc;

impl FraudTable {
    /// Judges a message as it comes in: all rules but those for each trunk. Nothing is held for it.
    pub(crate) fn judge_message(&self, now: Time, sender: &Caller<'_>) -> Judged {
        self.judge_message_by(now, &sender.numbers, |who| subject_of(who, sender))
    }

    /// Judges a message that is about to be sent to a trunk: the rules for each trunk.
    pub(crate) fn judge_trunk_message(&self, now: Time, trunk: &str, numbers: [&str; 2]) -> Judged {
        self.judge_message_by(now, &numbers, |who| subject_of_trunk(who, trunk))
    }

    fn judge_message_by(
        &self,
        now: Time,
        numbers: &[&str],
        subject: impl Fn(Who) -> Option<String>,
    ) -> Judged {
        let mut judged = Judged::default();
        let mut counted: Vec<(&Arc<State>, Arc<Meter>)> = Vec::new();
        let fits = self.rules.iter().filter(|state| {
            state.rule.counts_messages() && numbers.iter().any(|number| state.rule.covers(number))
        });
        for state in fits {
            let Some(who) = subject(state.rule.who) else { continue };
            let meter = self.meter(now, state, &who);
            let status = state.rule.action.status();
            let what = count(now, state, &meter);
            // One that is refused was not counted.
            if what.is_none() || status.is_none() {
                counted.push((state, meter.clone()));
            }
            let Some(what) = what else { continue };
            judged.exceeded += 1;
            if meter.may_tell(now) {
                judged.alarms.push(exceeded(&state.rule, &who, what, status.is_some()));
            }
            if status.is_some() {
                judged.refused = status;
                break;
            }
        }
        if judged.refused.is_some() {
            // It was never sent: it counts nowhere.
            for (state, meter) in counted {
                meter.messages.give_back(state.rule.max_messages_per_second);
                meter.take_back(now);
            }
        }
        judged
    }
}

/// Counts a message under a rule, and tells what that exceeds; where that refuses it, it does not count.
fn count(now: Time, state: &State, meter: &Meter) -> Option<String> {
    let rule = &state.rule;
    let refuses = rule.action.status().is_some();
    let mut what = None;
    let most = rule.max_messages_per_hour;
    if most > 0 && meter.sent(now) >= u64::from(most) {
        what = Some(format!("more than {most} messages within an hour"));
        if refuses {
            return what;
        }
    }
    if !meter.messages.take(now, rule.max_messages_per_second) {
        what = Some(format!("more than {} messages a second", rule.max_messages_per_second));
        if refuses {
            return what;
        }
    }
    meter.send(now);
    what
}

#[cfg(test)]
mod tests {
    use super::super::{Action, Rule};
    use super::*;
    use crate::guard::Source;
    use core::time::Duration;

    const NOW: Time = Time::from_millis(7_200_000);

    fn rule(name: &str, who: Who, per_second: u32, per_hour: u32) -> Rule {
        Rule {
            name: name.to_owned(),
            prefix: "+882".to_owned(),
            who,
            max_calls: 0,
            max_cps: 0,
            max_minutes_per_hour: 0,
            max_minutes_per_day: 0,
            max_messages_per_second: per_second,
            max_messages_per_hour: per_hour,
            action: Action::Refuse(403),
        }
    }

    fn sender<'a>(source: &str, number: &'a str) -> Caller<'a> {
        let source = Some(Source::of(source.parse().unwrap()));
        Caller { source, user: Some("alice"), numbers: [number, number] }
    }

    #[test]
    fn messages_a_second_are_counted_by_prefix_and_subject() {
        let table = FraudTable::new(vec![rule("m", Who::EachSource, 3, 0)], None);
        let send = |now, source: &str, number: &str| table.judge_message(now, &sender(source, number));
        let passed =
            |now, source: &str| (0..9).filter(|_| send(now, source, "+88213").refused.is_none()).count();
        assert_eq!((passed(NOW, "192.0.2.1"), passed(NOW, "192.0.2.2")), (3, 3));
        assert_eq!(passed(NOW + Duration::from_secs(1), "192.0.2.1"), 3);
        assert!(send(NOW, "192.0.2.1", "+4930").refused.is_none(), "another destination");
        let refused = send(NOW + Duration::from_secs(1), "192.0.2.1", "0088213");
        assert_eq!((refused.refused, refused.alarms.len()), (Some(403), 0), "told within the last minute");
        let later = NOW + Duration::from_secs(100);
        assert_eq!(passed(later, "192.0.2.1"), 3);
        // Calls are none of this rule's.
        assert!(table.judge(later, &sender("192.0.2.1", "+88213")).refused.is_none());
    }

    #[test]
    fn messages_within_an_hour_are_counted_and_those_refused_are_not() {
        let rules = vec![rule("hour", Who::EachUser, 0, 5), rule("all", Who::All, 0, 3)];
        let table = FraudTable::new(rules, None);
        let send = |now| table.judge_message(now, &sender("192.0.2.1", "+88213"));
        let first: Vec<_> = (0..6).map(|_| send(NOW)).collect();
        assert_eq!(first.iter().filter(|judged| judged.refused.is_none()).count(), 3);
        let alarm = &first[3].alarms[0];
        assert_eq!((&*alarm.rule, &*alarm.what), ("all", "more than 3 messages within an hour"));
        // Had those refused counted for alice, the first rule would refuse now.
        let later = NOW + Duration::from_secs(3600);
        assert_eq!((0..6).filter(|_| send(later).refused.is_none()).count(), 3);
    }

    #[test]
    fn trunks_have_caps_and_an_alarm_lets_messages_through() {
        let mut loud = rule("loud", Who::EachTrunk, 1, 0);
        loud.action = Action::Alarm;
        let table = FraudTable::new(vec![loud], None);
        let send = |trunk: &str| table.judge_trunk_message(NOW, trunk, ["+8821", "+8821"]);
        assert_eq!(send("a").alarms.len(), 0);
        let second = send("a");
        assert_eq!((second.refused, second.exceeded, second.alarms.len()), (None, 1, 1));
        assert_eq!(second.alarms[0].who, "trunk a");
        assert_eq!(send("b").exceeded, 0);
        assert_eq!(table.judge_message(NOW, &sender("192.0.2.1", "+8821")).exceeded, 0);
    }
}
