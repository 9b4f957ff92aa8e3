//! Fresh seeds through every topology; and the simulator itself put to the proof.
#![allow(clippy::unwrap_used, reason = "a test")]

use sim::Defect;
use sim::scene::{self, Options, Topology};
use sim::swarm::Swarm;
use std::hash::{BuildHasher, RandomState};

/// Runs fresh seeds: this is the edge where randomness enters. `SIM_SEEDS` asks for more of them.
fn fresh(topology: Topology) {
    let seeds = std::env::var("SIM_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(40);
    let mut swarm = Swarm::new(RandomState::new().hash_one("swarm") >> 16, seeds);
    swarm.topologies = vec![topology];
    swarm.failures_max = 3;
    println!("{topology}: {seeds} seeds from {}", swarm.base);
    let harvest = swarm.run(|_| {});
    println!("{} scenes, {} calls, {} answered", harvest.scenes, harvest.calls.0, harvest.calls.1);
    assert!(harvest.failures.is_empty(), "\n{}", harvest.complaint());
    assert!(harvest.calls.1 > harvest.calls.0 / 5, "hardly a call was answered: the scenes show nothing");
}

#[test]
fn endpoint_and_peer() {
    fresh(Topology::Endpoint);
}

#[test]
fn endpoint_and_endpoint() {
    fresh(Topology::Endpoints);
}

#[test]
fn gateway_over_bad_lines() {
    fresh(Topology::Gateway);
}

#[test]
fn peers_with_extensions() {
    fresh(Topology::Extensions);
}

#[test]
fn caps_under_racing_shards() {
    fresh(Topology::Caps);
}

#[test]
fn carriers_that_die() {
    fresh(Topology::Deaths);
}

#[test]
fn gateways_that_stop() {
    fresh(Topology::Stops);
}

#[test]
fn carriers_by_name() {
    fresh(Topology::Names);
}

#[test]
fn scarce_resources() {
    fresh(Topology::Scarce);
}

#[test]
fn ladders_are_what_went_over_the_wire() {
    fresh(Topology::Ladders);
}

#[test]
fn gateways_that_are_killed() {
    fresh(Topology::Restarts);
}

#[test]
fn gateways_under_siege() {
    fresh(Topology::Siege);
}

#[test]
fn chaos() {
    fresh(Topology::Chaos);
}

#[test]
fn the_same_seed_gives_the_same_log_byte_for_byte() {
    for topology in Topology::ALL {
        let options = Options { keep_log: true, ..Options::default() };
        let (one, other) = (scene::run(topology, 77, options), scene::run(topology, 77, options));
        assert!(one.log.1 > 100, "{topology}: {} lines", one.log.1);
        assert_eq!(one.log, other.log, "{topology}");
        assert_eq!(one.text, other.text, "{topology}");
        let hashed = scene::run(topology, 77, Options::default());
        assert_eq!((hashed.log, hashed.text.len()), (one.log, 0), "keeping the text changes nothing");
        assert_ne!(scene::run(topology, 78, options).log.0, one.log.0);
    }
}

/// A dropped retransmission of a 2xx, a leak, cross-talk, ...: each shows within few seeds, and not without the plant.
#[test]
fn planted_defects_are_found_and_the_same_seeds_are_green_without_them() {
    for (topology, defects) in
        [(Topology::Gateway, &Defect::ALL[..]), (Topology::Endpoint, &[Defect::TwoHundredsOnce][..])]
    {
        for defect in defects {
            let mut swarm = Swarm::new(1, 150);
            swarm.topologies = vec![topology];
            swarm.failures_max = 1;
            swarm.options.defect = Some(*defect);
            let planted = swarm.run(|_| {});
            println!("{topology}: {} shows after {} seeds", defect.name(), planted.scenes);
            assert_eq!(planted.failures.len(), 1, "the swarm did not find {defect:?} in {topology}");
            let sound = scene::run(topology, planted.failures[0].seed, Options::default());
            assert_eq!(sound.violations, Vec::<String>::new(), "{topology}: red without the plant");
        }
    }
}
