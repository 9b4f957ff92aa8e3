//! Subscriptions and requests outside of calls whose one side is gone: the other hears of it in time, and nothing is left.
//! Single faults are in the flows.
#![allow(clippy::unwrap_used, reason = "a test")]

use sansio::Time;
use sim::flow::Stage;
use sim::peer::{Errand, News};
use sim::town::{Places, Town};
use std::time::Duration;

fn stage() -> Stage {
    let mut stage = Stage::plain(2);
    stage.calls.clear();
    stage
}

/// Parts the gateway from somebody, runs on, and sees that nothing is left there.
fn part(town: &mut Town, gone: std::net::IpAddr, seconds: u64) {
    let gateway = Places::V4.gateway().ip();
    town.world.network.part(gateway, gone);
    town.world.run(Time::ZERO + Duration::from_secs(seconds));
    let mut wrong = town.world.violations.clone();
    wrong.extend(town.leftovers());
    assert!(wrong.is_empty(), "{wrong:#?}\n{}", town.world.log.text());
}

/// What the asker or the answerer has seen.
fn news(town: &Town, asker: bool) -> &News {
    town.peer(if asker { town.callers[0] } else { town.carriers[0] }).unwrap().news()
}

fn text(pair: &(String, String)) -> (&str, &str) {
    (&pair.0, &pair.1)
}

/// RFC 6665 §4.1.2.4 and §4.2.2: whichever end is gone, the other hears of it and nothing is left.
#[test]
fn a_side_that_is_gone_ends_the_subscription_on_both() {
    for asker_is_gone in [true, false] {
        let mut stage = stage();
        stage.add_errand(100, Errand::Subscribe(120), 200);
        stage.add_carrier_errand(60_000, Errand::Notify("active;expires=60"), "");
        let mut town = stage.build(true, true).unwrap();
        town.world.run(Time::from_millis(30_000));
        let gone = Places::V4.host(if asker_is_gone { 1 } else { 9 }, 0).ip();
        part(&mut town, gone, 430);
        let log = town.world.log.text();
        if asker_is_gone {
            let last = news(&town, false).answers.last().cloned();
            assert_eq!(last, Some(("NOTIFY".to_owned(), 481)), "{log}");
            assert_eq!(town.total(|stats| stats.subscriptions_unreachable), 1, "{log}");
        } else {
            let last = news(&town, true).heard.last().map(text);
            assert_eq!(last, Some(("NOTIFY", "terminated;reason=timeout")), "{log}");
            assert_eq!(town.total(|stats| stats.subscriptions_expired), 1, "{log}");
        }
    }
}

#[test]
fn nobody_there_is_told_in_time_and_leaves_nothing() {
    for what in [Errand::Message, Errand::Subscribe(600), Errand::Publish(600)] {
        let mut stage = stage();
        stage.add_errand(100, what, 503);
        let mut town = stage.build(true, true).unwrap();
        part(&mut town, Places::V4.host(9, 0).ip(), 200);
        let answers = &news(&town, true).answers;
        assert_eq!(answers[0].1, 503, "within Timer F of the asker\n{}", town.world.log.text());
    }
}
