//! A carrier given by name: its addresses change, and DNS behaves badly, while calls run.

use super::{blueprint, compare, conduct, records};
use crate::Link;
use crate::mix::Expect;
use crate::nameserver::{Habit, NameServer};
use crate::peer::{Behaviour, CallPlan, Peer, Role};
use crate::scene::{Options, Report, Topology};
use crate::town::{Member, Places, Town};
use sansio::{Random, Time};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use switch::trunk::{HealthConfig, NamedPeer};

/// The carrier's name.
const CARRIER: &str = "carrier.example";
/// Until when DNS is honest and the name stands for what it does at first.
const CALM: Duration = Duration::from_secs(12);
/// How long after a change of addresses calls may still go to an old one: time to live, a few timeouts.
const LAG: Duration = Duration::from_secs(12);

/// Calls go on while what a name stands for changes and DNS is silent, fails, forges, truncates.
pub(crate) fn names(seed: u64, options: Options) -> Report {
    let mut random = Random::new(seed ^ 0x6e61_6d65);
    let places = Places::draw(&mut random);
    let busy = Duration::from_secs(110);
    let carriers_count = 2 + random.below(3) as usize;
    let mut plans = Vec::new();
    for serial in 1..=40 + random.below(30) {
        let at = Time::from_millis(200 + random.below(100_000));
        let mut plan = CallPlan::plain(at, serial, places.gateway());
        plan.hang_up = Some(Duration::from_millis(2000 + random.below(20_000)));
        plan.tcp = random.chance(0.2);
        plans.push(plan);
    }
    let started: BTreeMap<u64, Time> = plans.iter().map(|plan| (plan.serial, plan.at)).collect();
    let callers = vec![Peer::new(places.host(1, 0), random.u64(), plans)];
    let carriers = (0..carriers_count)
        .map(|index| {
            let mut peer = Peer::new(places.host(9, index), random.u64(), Vec::new());
            let after = Duration::from_millis(100 + random.below(500));
            peer.default = Behaviour { after, hang_up: Some(Duration::from_secs(40)), ..Behaviour::plain() };
            peer
        })
        .collect();
    let mut plan = blueprint(&mut random, places, callers, carriers, busy);
    for (index, (_, trunk)) in plan.carriers.iter_mut().enumerate() {
        trunk.health = HealthConfig::default();
        trunk.peers.clear();
        // The first trunk is the carrier; the others are names that nobody knows, and never get a call.
        let name = if index == 0 { CARRIER.to_owned() } else { format!("c{index}.unknown.example") };
        trunk.names =
            name.parse().map_or_else(|_| Vec::new(), |target| vec![NamedPeer { before: 0, target }]);
    }
    plan.link = Link {
        delay: Duration::from_micros(200 + random.below(20_000)),
        jitter: Duration::from_micros(random.below(5000)),
        ..Link::default()
    };
    let server = SocketAddr::new(places.host(53, 0).ip(), 53);
    plan.config.locate = locate::Config {
        servers: vec![server],
        timeout: Duration::from_millis(500 + random.below(1500)),
        ttl_min: Duration::from_secs(1),
        families: vec![places == Places::V6],
        ..locate::Config::default()
    };
    let mut fate = random.fork();
    let draw = move |random: &mut Random| -> Vec<(u16, SocketAddr)> {
        let mut hosts: Vec<_> =
            (0..carriers_count).map(|n| (random.below(2) as u16, places.host(9, n))).collect();
        let gone = random.below(carriers_count as u64) as usize;
        hosts.remove(gone);
        hosts
    };
    let first = draw(&mut random);
    let ttl = 1 + random.below(8) as u32;
    let machine = NameServer::new(random.fork(), CARRIER, first.clone(), ttl);
    // What the name stands for, from when on.
    let mut reigns = vec![(Time::ZERO, first)];
    for _ in 0..1 + fate.below(2) {
        let last = reigns.last().map_or(Time::ZERO, |reign| reign.0);
        reigns.push((last + CALM + Duration::from_millis(fate.below(30_000)), draw(&mut fate)));
    }
    let changes = reigns.clone();
    let troubles = fate.below(4);
    let script = move |town: &mut Town| {
        let node = town.add_name_server(server, machine);
        let change = move |world: &mut crate::World<Member>, what: &dyn Fn(&mut NameServer)| {
            if let Member::NameServer(server) = &mut world.node_mut(node).machine {
                what(server);
            }
        };
        for (at, hosts) in changes.into_iter().skip(1) {
            town.world.at(at, move |world| change(world, &|server| server.hosts.clone_from(&hosts)));
        }
        for _ in 0..troubles {
            let habits = [Habit::Silent, Habit::Failing, Habit::Truncating, Habit::Forging, Habit::Babbling];
            let habit = habits[fate.below(5) as usize];
            let from = Time::ZERO + CALM + Duration::from_millis(fate.below(60_000));
            let until = from + Duration::from_millis(500 + fate.below(20_000));
            town.world.at(from, move |world| change(world, &|server| server.habit = habit));
            town.world.at(until, move |world| change(world, &|server| server.habit = Habit::Honest));
            // A reload now and then: what is known is kept.
            if fate.chance(0.3) && town.reload_at(from).is_err() {
                town.world.violations.push("a reload was refused".to_owned());
            }
        }
    };
    // While DNS misbehaves what was known is used on, so that only the lag grows.
    let bad = if troubles > 0 { Duration::from_secs(4 * 21) } else { Duration::ZERO };
    let judge = move |town: &mut Town| {
        let records = records(town);
        let mut wrong = Vec::new();
        for record in records.iter().filter(|record| record.role == Role::Caller) {
            let at = started.get(&record.serial).copied().unwrap_or_default();
            let located = at > Time::from_millis(3000);
            let fate = if located { Expect::Answered } else { Expect::Anything };
            if !fate.admits(record.outcome) {
                wrong.push(format!("call {} of {at} came to {:?}", record.serial, record.outcome));
            }
        }
        for (index, carrier) in town.carriers.iter().enumerate() {
            let place = places.host(9, index);
            for record in town.peer(*carrier).map(Peer::records).unwrap_or_default() {
                let from = record.started;
                // Of all that the name stood for within the lag, one has to be this carrier.
                let reign = |n: usize| {
                    let ends = reigns.get(n + 1).map_or(Time::from_millis(u64::MAX >> 24), |next| next.0);
                    reigns[n].0 <= from && ends + LAG + bad > from
                };
                let known =
                    (0..reigns.len()).any(|n| reign(n) && reigns[n].1.iter().any(|(_, host)| *host == place));
                if !known {
                    wrong.push(format!("call {} of {from} went to {place}, which is none", record.serial));
                }
            }
        }
        wrong.extend(compare(&records));
        wrong.extend(town.unlike_tables());
        (wrong, records)
    };
    conduct(
        Topology::Names,
        seed,
        options,
        &mut random,
        plan,
        busy,
        script,
        &std::collections::BTreeSet::new(),
        judge,
    )
}
