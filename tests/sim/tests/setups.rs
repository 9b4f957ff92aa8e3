//! Ways of setting calls up and changing them through the gateway, in which each datagram in turn is lost, doubled,
//! overtaken or late: redirections, offers of the gateway's own, re-INVITEs that cross.
#![allow(clippy::unwrap_used, reason = "a test")]

use sansio::{Random, Time};
use sim::peer::{Behaviour, CallPlan, Outcome, Peer, Role};
use sim::town::{Blueprint, Places, Town};
use sim::{Link, Pace};
use std::sync::Arc;
use std::time::Duration;
use switch::profile::{LateOffers, Profile, Redirects};
use switch::trunk::{HealthConfig, TrunkConfig};

/// A flow: the call, how each carrier treats it, and the profile of all trunks.
struct Flow {
    name: &'static str,
    call: CallPlan,
    carriers: Vec<Behaviour>,
    /// Whether the first carrier sends calls on to the second.
    redirects: bool,
    profile: Profile,
    outcome: Outcome,
    /// Datagrams of the flow, and some that a fault adds.
    datagrams: u64,
}

fn call() -> CallPlan {
    CallPlan {
        rtp: None,
        hang_up: Some(Duration::from_secs(6)),
        ..CallPlan::plain(Time::from_millis(1000), 1, Places::V4.gateway())
    }
}

fn quiet() -> Behaviour {
    Behaviour { rtp: None, ..Behaviour::plain() }
}

fn flows() -> Vec<Flow> {
    let moved = || vec![Behaviour { rtp: None, ..Behaviour::refuse(302) }, quiet()];
    let reinvite = Some(Duration::from_secs(1));
    vec![
        Flow {
            name: "a redirection followed",
            call: call(),
            carriers: moved(),
            redirects: true,
            profile: Profile::default(),
            outcome: Outcome::Answered,
            datagrams: 20,
        },
        Flow {
            name: "a redirection told",
            call: call(),
            carriers: moved(),
            redirects: true,
            profile: Profile { redirects: Redirects::Relay, ..Profile::default() },
            outcome: Outcome::Status(302),
            datagrams: 10,
        },
        Flow {
            name: "an offer of the gateway's own",
            call: CallPlan { late_offer: true, ..call() },
            carriers: vec![quiet()],
            redirects: false,
            profile: Profile { late_offer: LateOffers::Offer, ..Profile::default() },
            outcome: Outcome::Answered,
            datagrams: 18,
        },
        Flow {
            name: "an offer that comes late",
            call: CallPlan { late_offer: true, ..call() },
            carriers: vec![quiet()],
            redirects: false,
            profile: Profile::default(),
            outcome: Outcome::Answered,
            datagrams: 18,
        },
        Flow {
            name: "session changes that cross",
            call: CallPlan { reinvite, hang_up: Some(Duration::from_secs(12)), ..call() },
            carriers: vec![Behaviour { reinvite, ..quiet() }],
            redirects: false,
            profile: Profile::default(),
            outcome: Outcome::Answered,
            datagrams: 40,
        },
    ]
}

/// Plays a flow in which one datagram suffers; says what was wrong, and how many redirections stand in the record.
fn play(flow: &Flow, fault: Option<(u64, u64)>) -> (Vec<String>, usize) {
    let caller = Peer::new(Places::V4.host(1, 0), 1, vec![flow.call.clone()]);
    let carriers = flow.carriers.iter().enumerate().map(|(index, behaviour)| {
        let mut peer = Peer::new(Places::V4.host(9, index), 2 + index as u64, Vec::new());
        peer.default = behaviour.clone();
        peer.moved_to = (flow.redirects && index == 0).then(|| Places::V4.host(9, 1));
        let mut trunk = TrunkConfig::new(&format!("carrier{index}"), Places::V4.host(9, index));
        trunk.health = HealthConfig { probe_interval: Duration::ZERO, ..HealthConfig::default() };
        trunk.profile = Arc::new(flow.profile.clone());
        (peer, trunk)
    });
    let blueprint = Blueprint {
        places: Places::V4,
        shards: 2,
        callers: vec![caller],
        carriers: carriers.collect(),
        selection: link::Selection::Ordered,
        chain: false,
        ask: false,
        config: switch::Config {
            allow: vec!["10.1.0.0/16".parse().unwrap()],
            media_timeout: Duration::ZERO,
            ..switch::Config::default()
        },
        pairs: 32,
        link: Link::default(),
        pace: Pace { wake_max: Duration::ZERO, ..Pace::default() },
        slow_store: false,
        ask_until: Time::ZERO,
        stranger: false,
        siege: 0,
        web: false,
    };
    let mut town = Town::build(&mut Random::new(7), blueprint, fault.is_some()).unwrap();
    match fault {
        None => {}
        Some((number, 0)) => town.world.network.doom(number),
        Some((number, 1)) => town.world.network.double(number),
        Some((number, 2)) => town.world.network.hold(number, Duration::from_millis(30)),
        Some((number, _)) => town.world.network.hold(number, Duration::from_millis(1200)),
    }
    town.world.run(Time::from_millis(400_000));
    let mut wrong = town.world.violations.clone();
    wrong.extend(town.leftovers().into_iter().filter(|line| !line.contains("questions")));
    for node in town.callers.iter().chain(&town.carriers) {
        let peer = town.peer(*node).unwrap();
        wrong.extend(peer.faults().iter().chain(peer.gaps()).cloned().chain(peer.unfinished()));
        for record in peer.records().iter().filter(|record| record.role == Role::Caller) {
            if record.outcome != flow.outcome {
                wrong.push(format!("{record:?}"));
            }
        }
    }
    if !wrong.is_empty() {
        wrong.push(town.world.log.text().to_owned());
    }
    let records = town.cdrs();
    let redirected = records.iter().flat_map(|(_, cdr)| &cdr.attempts).filter(|it| it.redirected.is_some());
    (wrong, redirected.count())
}

#[test]
fn each_flow_survives_any_single_fault() {
    for flow in flows() {
        let (wrong, redirected) = play(&flow, None);
        assert!(wrong.is_empty(), "{}: {wrong:#?}", flow.name);
        assert_eq!(redirected, usize::from(flow.redirects), "{}", flow.name);
        for number in 0..flow.datagrams {
            for (kind, what) in ["lost", "doubled", "overtaken", "late"].iter().enumerate() {
                let (wrong, _) = play(&flow, Some((number, kind as u64)));
                assert!(wrong.is_empty(), "{}, datagram {number} {what}: {}", flow.name, wrong.join("\n"));
            }
        }
    }
}
