//! Two scripted peers against each other, without a gateway: the oracle itself is sound.
#![allow(clippy::unwrap_used, reason = "a test")]

use sansio::{Input, Machine, Outbox, Time};
use sim::peer::{Behaviour, CallPlan, LISTENER, Outcome, Peer, Role, SIGNALLING, Verdict};
use sim::{Link, NodeId, Pace, World};
use std::net::SocketAddr;
use std::time::Duration;

#[derive(Debug)]
struct Lone(Peer);

impl Machine for Lone {
    type Mail = ();
    fn handle(&mut self, now: Time, input: Input<'_, ()>, out: &mut Outbox<()>) {
        self.0.handle(now, input, out);
    }
    fn deadline(&self) -> Option<Time> {
        self.0.deadline()
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn meet(seed: u64, link: Link, plans: Vec<CallPlan>, behaviour: &Behaviour) -> (World<Lone>, NodeId, NodeId) {
    let mut world = World::new(seed, link, true);
    let mut nodes = Vec::new();
    for (name, place, plans) in [("caller", "10.1.0.1:5060", plans), ("carrier", "10.9.0.1:5060", Vec::new())]
    {
        let mut peer = Peer::new(address(place), world.random().u64(), plans);
        peer.default = behaviour.clone();
        let node = world.add(name, 0, Lone(peer), Pace::default());
        world.bind(node, SIGNALLING, address(place));
        world.listen(node, LISTENER, address(place));
        nodes.push(node);
    }
    world.run(Time::from_millis(600_000));
    for node in &nodes {
        let peer = &world.node(*node).machine.0;
        let wrong =
            [peer.faults().to_vec(), peer.gaps().to_vec(), peer.unfinished(), world.violations.clone()];
        assert!(wrong.iter().all(Vec::is_empty), "seed {seed}: {wrong:#?}\n{}", world.log.text());
    }
    (world, nodes[0], nodes[1])
}

fn plan(serial: u64) -> CallPlan {
    CallPlan::plain(Time::from_millis(1000 * serial), serial, address("10.9.0.1:5060"))
}

fn bad_link() -> Link {
    Link { loss: 0.1, duplicate: 0.1, reorder: 0.1, jitter: Duration::from_millis(5), ..Link::default() }
}

fn outcomes(world: &World<Lone>, node: NodeId) -> Vec<Outcome> {
    let mut records = world.node(node).machine.0.records();
    records.sort_by_key(|record| record.serial);
    records.into_iter().map(|record| record.outcome).collect()
}

#[test]
fn plain_calls_go_through_whatever_the_line_does() {
    for seed in 0..30 {
        for tcp in [false, true] {
            let plans = (1..4).map(|serial| CallPlan { tcp, ..plan(serial) }).collect();
            let (world, caller, carrier) = meet(seed, bad_link(), plans, &Behaviour::plain());
            assert_eq!(outcomes(&world, caller), [Outcome::Answered; 3]);
            for node in [caller, carrier] {
                for record in world.node(node).machine.0.records() {
                    assert!(record.rtp.0 > 30 && record.rtp.1 > 30, "{record:?}");
                    assert_eq!(record.byes, (record.role == Role::Caller, record.role == Role::Carrier));
                }
            }
        }
    }
}

#[test]
fn refusals_cancels_and_their_race() {
    for seed in 0..30 {
        let (world, caller, _) = meet(seed, bad_link(), vec![plan(1)], &Behaviour::refuse(486));
        assert_eq!(outcomes(&world, caller), [Outcome::Status(486)]);
        let cancel = CallPlan { cancel: Some(Duration::from_millis(300)), ..plan(1) };
        let ringing = Behaviour { verdict: Verdict::RingOn, ..Behaviour::plain() };
        let (world, caller, carrier) = meet(seed, bad_link(), vec![cancel.clone()], &ringing);
        assert_eq!(outcomes(&world, caller), [Outcome::Status(487)]);
        assert_eq!(outcomes(&world, carrier), [Outcome::Status(487)]);
        let crossing = Behaviour { verdict: Verdict::RingOn, answer_on_cancel: true, ..Behaviour::plain() };
        let (world, caller, _) = meet(seed, bad_link(), vec![cancel], &crossing);
        assert_eq!(outcomes(&world, caller), [Outcome::Answered]);
    }
}

#[test]
fn audio_follows_to_another_port() {
    let mut moves = 0;
    for seed in 0..20 {
        let call = CallPlan { reinvite: Some(Duration::from_secs(2)), ..plan(1) };
        let (world, caller, _) = meet(seed, Link::default(), vec![call], &Behaviour::plain());
        if let Some((at, heard)) = world.node(caller).machine.0.records()[0].moved {
            assert!(at > Time::from_millis(3000) && heard > 20, "{heard} packets since {at}");
            moves += 1;
        }
    }
    assert!(moves > 5, "{moves} of 20");
}

#[test]
fn session_changes_late_offers_and_hanging_up_from_the_far_side() {
    for seed in 0..30 {
        let mut call = CallPlan { late_offer: true, reinvite: Some(Duration::from_secs(2)), ..plan(1) };
        call.hang_up = None;
        let behaviour = Behaviour {
            hang_up: Some(Duration::from_secs(9)),
            reinvite: Some(Duration::from_secs(2)),
            early_media: Some(Duration::from_millis(50)),
            ..Behaviour::plain()
        };
        let (world, caller, carrier) = meet(seed, bad_link(), vec![call], &behaviour);
        let (caller, carrier) =
            (&world.node(caller).machine.0.records()[0], &world.node(carrier).machine.0.records()[0]);
        assert_eq!((caller.byes, carrier.byes), ((false, true), (true, false)));
        assert!(caller.reinvites >= 1 && carrier.reinvites == caller.reinvites, "{caller:?} {carrier:?}");
    }
}
