//! A mix of everything over lines as bad as the seed draws them.

use super::chaos::fill;
use super::{audit, blueprint, compare, conduct, records};
use crate::mix::{Menu, Mix};
use crate::peer::{Behaviour, Peer};
use crate::scene::{Options, Report, Topology, draw_link, draw_pace, outcome};
use crate::town::{Places, Town};
use sansio::{Random, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A mix of everything over lines as bad as the seed draws them; nothing dies, no cap is reached.
pub(crate) fn mixed(seed: u64, options: Options) -> Report {
    let mut random = Random::new(seed ^ 0x6d69_7865_6400);
    let places = Places::draw(&mut random);
    // A source of its own, so that seeds from before there were full mailboxes still mean what they did.
    let mut fate = random.clone().fork();
    let fills = if fate.chance(0.3) { 1 + fate.below(4) } else { 0 };
    let menu = Menu {
        calls: 5 + random.below(8),
        rtp: random.chance(0.5).then(|| Duration::from_millis(200)),
        ..Menu::default()
    };
    let mut callers = Vec::new();
    let mut whole = Mix::default();
    let carriers_count = 1 + random.below(3) as usize;
    let mut answers: Vec<BTreeMap<u64, Behaviour>> = vec![BTreeMap::new(); carriers_count];
    for index in 0..1 + random.below(2) as usize {
        let mut mix = Mix::draw(&mut random, &menu, 1 + 1000 * index as u64, places.gateway());
        // What a full mailbox drops is sent again over UDP, and lost for good over TCP.
        mix.plans.iter_mut().for_each(|plan| plan.tcp &= fills == 0);
        callers.push(Peer::new(places.host(1, index), random.u64(), mix.plans.clone()));
        for (serial, behaviour) in &mix.answers {
            // Some carriers fail this call in a way that sends it on; one at least takes it as drawn.
            let good = random.below(carriers_count as u64) as usize;
            for (carrier, answers) in answers.iter_mut().enumerate() {
                let mut behaviour = behaviour.clone();
                if carrier != good && random.chance(0.3) {
                    behaviour = match random.below(3) {
                        0 => Behaviour::refuse(503),
                        1 => Behaviour::refuse(500),
                        _ => Behaviour::silent(),
                    };
                }
                answers.insert(*serial, behaviour);
            }
        }
        whole.expected.extend(mix.expected);
    }
    let carriers = answers.into_iter().enumerate().map(|(index, answers)| {
        let mut peer = Peer::new(places.host(9, index), random.u64(), Vec::new());
        peer.answers = answers;
        peer
    });
    let carriers: Vec<Peer> = carriers.collect();
    // A caller that cancels while a silent carrier is being tried is answered 487 as well.
    let mut plan = blueprint(&mut random, places, callers, carriers, menu.within);
    plan.link = draw_link(&mut random);
    plan.pace = draw_pace(&mut random);
    for carrier in &mut plan.carriers {
        if random.chance(0.2) && fills == 0 {
            carrier.1.peers[0].transport = sip::Transport::Tcp;
        }
    }
    let script = move |town: &mut Town| {
        for _ in 0..fills {
            let shard = town.shards[fate.below(town.shards.len() as u64) as usize];
            let from = Time::from_millis(500 + fate.below(menu.within.as_millis() as u64));
            fill(town, shard, from, from + Duration::from_millis(fate.below(800)));
        }
    };
    let judge = |town: &mut Town| {
        let records = records(town);
        let mut wrong: Vec<String> = whole.judge(|serial| outcome(&records, serial)).collect();
        wrong.extend(compare(&records));
        wrong.extend(audit(town, &records));
        (wrong, records)
    };
    conduct(Topology::Gateway, seed, options, &mut random, plan, menu.within, script, &BTreeSet::new(), judge)
}
