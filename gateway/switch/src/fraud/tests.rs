//! The rules: whom they cover, that their caps are exact, and what is given back.
#![allow(clippy::disallowed_methods, reason = "races need threads")]

use super::*;
use core::time::Duration;
use std::sync::atomic::AtomicU32;

fn rule(prefix: &str, who: Who) -> Rule {
    Rule {
        name: prefix.to_owned(),
        prefix: prefix.to_owned(),
        who,
        max_calls: 2,
        max_cps: 0,
        max_minutes_per_hour: 0,
        max_minutes_per_day: 0,
        max_messages_per_second: 0,
        max_messages_per_hour: 0,
        action: Action::Refuse(403),
    }
}

fn caller<'a>(source: &str, user: Option<&'a str>, number: &'a str) -> Caller<'a> {
    Caller { source: Some(Source::of(source.parse().unwrap())), user, numbers: [number, number] }
}

const NOW: Time = Time::from_millis(1_000_000);

#[test]
fn prefixes_cover_numbers_however_they_are_written() {
    let covers = |prefix: &str, number: &str| rule(prefix, Who::All).covers(number);
    assert!(covers("+882", "+88213") && covers("+882", "0088213") && covers("+882", "+8-8(2) 13"));
    assert!(
        !covers("+882", "88213") && !covers("+882", "+8813") && !covers("+882", "+88") && !covers("+882", "")
    );
    assert!(covers("882", "88213") && !covers("882", "+88213"));
    assert!(covers("", "") && covers("", "anything") && covers("+", "+1") && covers("+", "001"));
}

#[test]
fn each_has_its_own_cap_and_places_come_back() {
    let table = FraudTable::new(vec![rule("+882", Who::EachSource), rule("9", Who::EachUser)], None);
    let a = caller("192.0.2.1", None, "+8821");
    let held = [table.judge(NOW, &a), table.judge(NOW, &a)];
    assert!(held.iter().all(|judged| judged.refused.is_none() && judged.held.len() == 1));
    let third = table.judge(NOW, &a);
    assert_eq!((third.refused, third.held.len(), third.alarms.len()), (Some(403), 0, 1));
    assert_eq!(
        (third.alarms[0].who.as_str(), third.alarms[0].what.as_str()),
        ("source 192.0.2.1", "more than 2 calls at a time")
    );
    assert!(table.judge(NOW, &a).alarms.is_empty(), "one alarm a minute");
    assert!(table.judge(NOW, &caller("192.0.2.2", None, "+8821")).refused.is_none(), "another source");
    assert!(table.judge(NOW, &caller("192.0.2.1", None, "+4930")).held.is_empty(), "another number");
    assert!(table.judge(NOW, &caller("192.0.2.1", None, "91")).held.is_empty(), "no user, no rule for users");
    drop(held);
    assert!(table.judge(NOW, &a).refused.is_none());
    let alice = caller("192.0.2.1", Some("alice"), "91");
    let _held = [table.judge(NOW, &alice), table.judge(NOW, &alice)];
    assert_eq!(table.judge(NOW, &alice).refused, Some(403));
    assert!(table.judge(NOW, &caller("192.0.2.1", Some("bob"), "91")).refused.is_none());
}

#[test]
fn an_alarm_alone_lets_the_call_through_and_counts_it() {
    let table = FraudTable::new(vec![Rule { action: Action::Alarm, ..rule("", Who::All) }], None);
    let a = caller("192.0.2.1", None, "1");
    let held: Vec<Judged> = (0..5).map(|_| table.judge(NOW, &a)).collect();
    assert!(held.iter().all(|judged| judged.refused.is_none() && judged.held.len() == 1));
    assert_eq!(held.iter().map(|judged| judged.exceeded).sum::<u64>(), 3);
    drop(held);
    let meters = table.rules[0].meters.lock().unwrap();
    assert_eq!(meters["all"].calls.calls(), 0, "all places came back");
}

#[test]
fn a_call_refused_by_one_rule_leaves_no_trace_under_the_others() {
    let first = Rule { max_calls: 10, max_cps: 1, ..rule("", Who::All) };
    let table = FraudTable::new(
        vec![
            Rule { name: "first".into(), ..first },
            Rule { max_calls: 0, max_minutes_per_hour: 1, ..rule("+", Who::All) },
        ],
        None,
    );
    let mut judged = table.judge(NOW, &caller("192.0.2.1", None, "+1"));
    for held in &mut judged.held {
        held.charge(NOW + Duration::from_secs(61), NOW);
    }
    drop(judged);
    let later = NOW + Duration::from_secs(100);
    assert_eq!(table.judge(later, &caller("192.0.2.1", None, "+1")).refused, Some(403));
    // The first rule lets one call a second through; the one refused did not use it up.
    assert!(table.judge(later, &caller("192.0.2.1", None, "1")).refused.is_none());
    assert_eq!(table.rules[0].meters.lock().unwrap()["all"].calls.calls(), 0);
}

#[test]
fn minutes_are_charged_while_calls_last() {
    let base = Rule { max_calls: 0, max_minutes_per_hour: 10, ..rule("", Who::All) };
    let table = FraudTable::new(vec![base], None);
    let a = caller("192.0.2.1", None, "1");
    let mut calls = [table.judge(NOW, &a), table.judge(NOW, &a)];
    let mut alarm = None;
    for second in 1..=301 {
        let now = NOW + Duration::from_secs(second);
        for held in calls.iter_mut().flat_map(|judged| &mut judged.held) {
            let exceeded = held.charge(now, NOW).map(|it| (second, it));
            alarm = alarm.or(exceeded);
        }
    }
    let (second, alarm) = alarm.unwrap();
    assert_eq!((second, alarm.what.as_str(), alarm.refused), (300, "10 minutes within an hour", false));
    let now = NOW + Duration::from_secs(302);
    assert_eq!(table.judge(now, &a).refused, Some(403));
    assert!(table.judge(now + Duration::from_secs(3700), &a).refused.is_none());
}

#[test]
fn a_reload_keeps_what_was_counted() {
    let table = FraudTable::new(vec![rule("1", Who::All)], None);
    let a = caller("192.0.2.1", None, "1");
    let held = [table.judge(NOW, &a), table.judge(NOW, &a)];
    let mut rules = table.rules();
    rules[0].max_calls = 3;
    let table = FraudTable::new(rules, Some(&table));
    let third = table.judge(NOW, &a);
    assert_eq!((third.refused, table.judge(NOW, &a).refused), (None, Some(403)));
    drop(held);
    assert!(table.judge(NOW, &a).refused.is_none());
}

#[test]
fn subjects_are_bounded_and_those_beyond_share() {
    let table = FraudTable::new(vec![rule("", Who::EachSource)], None);
    let call = |number: u32| {
        let source = Some(Source::of(core::net::Ipv4Addr::from_bits(number).into()));
        table.judge(NOW, &Caller { source, user: None, numbers: ["1", "1"] })
    };
    let held: Vec<Judged> = (0..SUBJECTS as u32 + 10).map(call).collect();
    assert_eq!(held.iter().filter(|judged| judged.refused.is_some()).count(), 8, "two of the last ten");
    assert!(table.rules[0].meters.lock().unwrap().len() <= SUBJECTS + 1);
    assert_eq!(table.untracked(), 10);
    drop(held);
    let call = |number: u32| {
        let source = Some(Source::of(core::net::Ipv4Addr::from_bits(number).into()));
        table.judge(NOW + Duration::from_secs(2), &Caller { source, user: None, numbers: ["1", "1"] })
    };
    call(1 << 30);
    assert!(table.rules[0].meters.lock().unwrap().len() <= 2, "what is idle makes room");
}

#[test]
fn racing_threads_never_exceed_the_cap_and_fill_it() {
    let table = Arc::new(FraudTable::new(vec![Rule { max_calls: 7, ..rule("", Who::All) }], None));
    let (now_up, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (table, now_up, most) = (table.clone(), now_up.clone(), most.clone());
            std::thread::spawn(move || {
                for _ in 0..5000 {
                    let judged = table.judge(NOW, &caller("192.0.2.1", None, "1"));
                    if judged.refused.is_none() {
                        most.fetch_max(now_up.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::yield_now();
                        now_up.fetch_sub(1, Ordering::SeqCst);
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert!(most.load(Ordering::SeqCst) <= 7);
    let held: Vec<Judged> = (0..9).map(|_| table.judge(NOW, &caller("192.0.2.1", None, "1"))).collect();
    assert_eq!(held.iter().filter(|judged| judged.refused.is_none()).count(), 7);
}
