//! Chaos: lines are cut and healed, one way or both, carriers die and return, threads stall, mailboxes are full. Whatever happens,
//! nobody breaks a rule in what does arrive, and in the end the gateway holds nothing.

use super::{blueprint, conduct, records};
use crate::NodeId;
use crate::mix::{Menu, Mix};
use crate::peer::{LISTENER, Peer, SIGNALLING};
use crate::scene::{Options, Report, Topology, draw_link, draw_pace};
use crate::town::{Member, Places, Town};
use sansio::{Random, Time};
use std::collections::BTreeSet;
use std::time::Duration;
use switch::trunk::HealthConfig;

/// A town in which everything that can fail does.
pub(crate) fn chaos(seed: u64, options: Options) -> Report {
    let mut random = Random::new(seed ^ 0x6368_616f_7300);
    let places = Places::draw(&mut random);
    let menu = Menu {
        calls: 15 + random.below(15),
        within: Duration::from_secs(60),
        rtp: Some(Duration::from_millis(500)),
        ..Menu::default()
    };
    let mix = Mix::draw(&mut random, &menu, 1, places.gateway());
    let callers = vec![Peer::new(places.host(1, 0), random.u64(), mix.plans)];
    let carriers_count = 2 + random.below(2) as usize;
    let mut carriers = Vec::new();
    for index in 0..carriers_count {
        let mut peer = Peer::new(places.host(9, index), random.u64(), Vec::new());
        peer.answers.clone_from(&mix.answers);
        for behaviour in peer.answers.values_mut() {
            // Whoever is forgotten by the other side ends by himself.
            behaviour.hang_up = behaviour.hang_up.or(Some(Duration::from_secs(90)));
        }
        carriers.push(peer);
    }
    let mut plan = blueprint(&mut random, places, callers, carriers, menu.within);
    plan.config = switch::Config {
        media_timeout: Duration::from_secs(6),
        allow: plan.config.allow.clone(),
        ..switch::Config::default()
    };
    for carrier in &mut plan.carriers {
        carrier.1.health = HealthConfig::default();
        if random.chance(0.3) {
            carrier.1.peers[0].transport = sip::Transport::Tcp;
        }
    }
    plan.link = draw_link(&mut random);
    plan.pace = draw_pace(&mut random);
    let first = usize::from(plan.shards) + 2;
    let everyone: BTreeSet<usize> = (first..=first + carriers_count).collect();
    let mut fate = random.fork();
    let script = move |town: &mut Town| {
        for _ in 0..3 + fate.below(6) {
            let from = Time::from_millis(2000 + fate.below(60_000));
            let span = Duration::from_millis(200 + fate.below(25_000));
            // A reload now and then: counters and health go on.
            if fate.chance(0.2) && town.reload_at(from).is_err() {
                return;
            }
            mishap(town, places, &mut fate, from, from + span);
        }
    };
    let judge = |town: &mut Town| (Vec::new(), records(town));
    let busy = menu.within + Duration::from_secs(60);
    conduct(Topology::Chaos, seed, options, &mut random, plan, busy, script, &everyone, judge)
}

/// Something bad from `from` to `to`.
fn mishap(town: &mut Town, places: Places, fate: &mut Random, from: Time, to: Time) {
    let peers: Vec<NodeId> = town.callers.iter().chain(&town.carriers).copied().collect();
    let node = peers[fate.below(peers.len() as u64) as usize];
    let Some(place) = town.peer(node).map(|peer| peer.address().ip()) else { return };
    let center = places.gateway().ip();
    match fate.below(5) {
        0 => town.world.at(from, move |world| world.network.part(place, center)),
        1 => town.world.at(from, move |world| world.network.cut(place, center)),
        2 => town.world.at(from, move |world| world.network.cut(center, place)),
        3 => {
            let shard = town.shards[fate.below(town.shards.len() as u64) as usize];
            fill(town, shard, from, to);
        }
        _ if town.carriers.contains(&node) => {
            let seed = fate.u64();
            town.world.at(from, move |world| world.kill(node));
            town.world.at(to, move |world| revive(world, node, seed));
        }
        _ => {}
    }
    town.world.at(to, move |world| world.network.heal(place, center));
}

/// A shard's mailbox is full from `from` to `to`: what other threads have for it is dropped.
pub(super) fn fill(town: &mut Town, shard: NodeId, from: Time, to: Time) {
    town.world.at(from, move |world| world.post.full.extend([shard]));
    town.world.at(to, move |world| world.post.full.retain(|full| *full != shard));
}

/// Brings a peer back that died, without its calls.
pub(super) fn revive(world: &mut crate::World<Member>, node: NodeId, seed: u64) {
    if world.node(node).is_alive() {
        return;
    }
    let now = world.now();
    let Member::Peer(peer) = &mut world.node_mut(node).machine else { return };
    let place = peer.address();
    let old = std::mem::replace(&mut **peer, Peer::new(place, seed, Vec::new()));
    world.revive(node, Member::Peer(Box::new(old.reborn(now))));
    world.bind(node, SIGNALLING, place);
    world.listen(node, LISTENER, place);
}
