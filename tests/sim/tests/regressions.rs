//! What seeds found, each as a small town of its own, named after the defect.
#![allow(clippy::unwrap_used, reason = "a test")]

use sansio::{Random, Time};
use sim::agent::{Agent, Lone};
use sim::peer::{Behaviour, CallPlan, Outcome, Peer, Role};
use sim::peer::{LISTENER, SIGNALLING};
use sim::town::{Blueprint, Places, Town};
use sim::{Link, Pace, World};
use std::time::Duration;

fn blueprint(shards: u16, callers: Vec<Peer>, carriers: Vec<Peer>) -> Blueprint {
    Blueprint { shards, ..Blueprint::plain(callers, carriers) }
}

fn plan(serial: u64) -> CallPlan {
    CallPlan { rtp: None, ..CallPlan::plain(Time::from_millis(1000), serial, Places::V4.gateway()) }
}

/// Runs a town and demands that every call was answered and nothing was wrong or left.
fn all_answered(mut town: Town) {
    town.world.run(Time::from_millis(400_000));
    let mut wrong = town.world.violations.clone();
    wrong.extend(town.leftovers().into_iter().filter(|line| !line.contains("questions")));
    for node in town.callers.iter().chain(&town.carriers) {
        let peer = town.peer(*node).unwrap();
        wrong.extend(peer.faults().iter().chain(peer.gaps()).cloned().chain(peer.unfinished()));
        for record in peer.records().iter().filter(|record| record.role == Role::Caller) {
            if record.outcome != Outcome::Answered {
                wrong.push(format!("{record:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}\n{}", town.world.log.text());
}

/// One ICMP message failed two calls. Handling the first sent a new INVITE, whose leg took the number of the second
/// one, over already; the failure of the second then reached nobody and its call hung until ringing timed out.
#[test]
fn two_calls_failed_by_one_refusal_both_move_on() {
    for calls in 2..6 {
        let caller = Peer::new(Places::V4.host(1, 0), 1, (1..=calls).map(plan).collect());
        let carriers = vec![
            Peer::new(Places::V4.host(9, 0), 2, Vec::new()),
            Peer::new(Places::V4.host(9, 1), 3, Vec::new()),
        ];
        let mut random = Random::new(calls);
        let mut town = Town::build(&mut random, blueprint(1, vec![caller], carriers), true).unwrap();
        town.world.kill(town.carriers[0]);
        all_answered(town);
    }
}

/// A carrier on TCP sends BYE, ACK and re-INVITE over a connection of its own (RFC 3261 §18 allows it): the shard
/// that accepts it is seldom the one that has the call, and said 481.
#[test]
fn requests_inside_a_dialog_come_home_over_any_connection() {
    for seed in 0..8 {
        let caller = Peer::new(
            Places::V4.host(1, 0),
            1,
            (1..=6).map(|serial| CallPlan { tcp: true, ..plan(serial) }).collect(),
        );
        let mut carrier = Peer::new(Places::V4.host(9, 0), 2 + seed, Vec::new());
        carrier.reuse = false;
        carrier.default = Behaviour {
            reinvite: Some(Duration::from_secs(1)),
            hang_up: Some(Duration::from_secs(4)),
            rtp: None,
            ..Behaviour::plain()
        };
        let mut caller = caller;
        caller.reuse = false;
        let mut plan = blueprint(4, vec![caller], vec![carrier]);
        plan.carriers[0].1.peers[0].transport = sip::Transport::Tcp;
        all_answered(Town::build(&mut Random::new(seed), plan, true).unwrap());
    }
}

/// A drained shard that had no call of its own left, or only waited for the disk, stopped alone, and with it the
/// connections it held for calls of other shards: their BYE was never answered, and they never ended.
#[test]
fn drained_shards_keep_their_connections_until_all_are_done() {
    for seed in 0..6 {
        let plans = (1..=5).map(|serial| CallPlan {
            tcp: true,
            hang_up: Some(Duration::from_secs(2 + 2 * serial)),
            ..plan(serial)
        });
        let caller = Peer::new(Places::V4.host(1, 0), 1 + seed, plans.collect());
        let mut carrier = Peer::new(Places::V4.host(9, 0), 2, Vec::new());
        carrier.default.rtp = None;
        let mut plan = blueprint(4, vec![caller], vec![carrier]);
        plan.slow_store = seed % 2 == 1;
        let mut town = Town::build(&mut Random::new(seed), plan, true).unwrap();
        town.world.run(Time::from_millis(2500));
        town.drain();
        town.world.run(Time::from_millis(60_000));
        for shard in &town.shards {
            assert!(town.world.node(*shard).has_stopped(), "{}", town.world.log.text());
        }
        for node in town.callers.iter().chain(&town.carriers) {
            let peer = town.peer(*node).unwrap();
            let wrong = [peer.faults().to_vec(), peer.gaps().to_vec(), peer.unfinished()].concat();
            assert!(wrong.is_empty(), "{wrong:#?}\n{}", town.world.log.text());
            assert!(peer.records().iter().all(|record| record.outcome == Outcome::Answered));
        }
    }
}

/// A call was ended while its re-INVITE had no answer yet. The 100 that then came stopped the timer of the INVITE, which
/// nobody waited for any more; its 200 was lost and not repeated since the call was over: the transaction stayed for ever.
#[test]
fn a_session_change_that_ends_with_its_call_leaves_no_transaction() {
    let (left, right) = (Places::V4.host(1, 0), Places::V4.host(9, 0));
    let mut world = World::new(1, Link::default(), true);
    let call = CallPlan {
        reinvite: Some(Duration::from_millis(1000)),
        hang_up: Some(Duration::from_millis(1300)),
        rtp: None,
        ..CallPlan::plain(Time::from_millis(100), 1, right)
    };
    for (name, place, plans) in [("caller", left, vec![call]), ("callee", right, Vec::new())] {
        let agent = Agent::new(place, 7, sip::Config::default(), plans);
        let node = world.add(
            name,
            0,
            Lone::Agent(Box::new(agent)),
            Pace { wake_max: Duration::ZERO, ..Pace::default() },
        );
        world.bind(node, SIGNALLING, place);
        world.listen(node, LISTENER, place);
    }
    // INVITE, 100, 180, 200, ACK; the re-INVITE (5) is late, the BYE (6) later; 100 (7), and 200 (8) is lost.
    world.network.hold(5, Duration::from_millis(320));
    world.network.hold(6, Duration::from_millis(100));
    world.network.doom(8);
    world.run(Time::from_millis(300_000));
    let text = world.log.text();
    assert!(
        text.contains("callee > 10.1.0.1:5060 from 10.9.0.1:5060") && text.contains("loses it"),
        "{text}"
    );
    for (_, node) in world.nodes() {
        if let Lone::Agent(agent) = &node.machine {
            assert!(agent.endpoint.is_idle(), "{}: {:?}\n{text}", node.name, agent.endpoint.census());
        }
    }
}

/// A callee hung up while its answer waited for the PRACK of what rang, which the line had lost (RFC 3262 §3): the caller
/// got 480, and the record said answered.
#[test]
fn an_answer_that_was_never_heard_is_none_in_the_record() {
    let mut unheard = 0;
    for lost in 1..16 {
        let mut call = plan(1);
        call.skills.reliable = true;
        let caller = Peer::new(Places::V4.host(1, 0), 1, vec![call]);
        let mut carrier = Peer::new(Places::V4.host(9, 0), 2, Vec::new());
        carrier.default = Behaviour {
            early_media: Some(Duration::from_millis(50)),
            after: Duration::from_millis(100),
            hang_up: Some(Duration::from_millis(30)),
            rtp: None,
            ..Behaviour::plain()
        };
        carrier.default.skills.reliable = true;
        let mut town =
            Town::build(&mut Random::new(1), blueprint(1, vec![caller], vec![carrier]), true).unwrap();
        town.world.network.doom(lost);
        town.world.run(Time::from_millis(120_000));
        let outcome = town.peer(town.callers[0]).unwrap().records()[0].outcome;
        let (_, cdr) = town.cdrs().pop().unwrap();
        let told = if cdr.answered.is_some() { Outcome::Answered } else { Outcome::Status(cdr.end.status) };
        assert_eq!(told, outcome, "without datagram {lost}:\n{}", town.world.log.text());
        unheard += u32::from(outcome == Outcome::Status(480));
    }
    assert!(unheard > 0, "no loss kept the answer back");
}
