//! In which order the trunks of a group are tried.

use core::sync::atomic::{AtomicU64, Ordering};
use link::Selection;

/// A trunk as far as the order depends on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) trunk: usize,
    pub(super) priority: u32,
    pub(super) weight: u32,
    pub(super) calls: u32,
    pub(super) max_calls: u32,
    /// Tells trunks apart for hashing, stable across reloads: a hash of the name.
    pub(super) identity: u64,
}

/// Puts candidates in the order in which they are tried: lower priority numbers first, within one
/// priority as `selection` says. `turn` is the group's counter, `caller_hash` the calling number's.
pub(super) fn order(candidates: &mut [Candidate], selection: Selection, turn: &AtomicU64, caller_hash: u64) {
    candidates.sort_by_key(|c| c.priority);
    let turn = turn.fetch_add(1, Ordering::Relaxed);
    for tier in candidates.chunk_by_mut(|a, b| a.priority == b.priority) {
        match selection {
            Selection::Ordered => {}
            Selection::RoundRobin => tier.rotate_left((turn % tier.len() as u64) as usize),
            Selection::Weighted => weighted(tier, turn),
            Selection::LeastCalls => {
                tier.rotate_left((turn % tier.len() as u64) as usize);
                // Shares compared without division: a/b < c/d as a*d < c*b.
                tier.sort_by(|a, b| {
                    let (a_share, b_share) = (
                        u64::from(a.calls) * u64::from(b.max_calls),
                        u64::from(b.calls) * u64::from(a.max_calls),
                    );
                    a_share.cmp(&b_share)
                });
            }
            Selection::Hash => {
                // Rendezvous hashing (Thaler and Ravishankar, 1998): the highest score wins.
                tier.sort_by_key(|c| core::cmp::Reverse(mix(caller_hash ^ c.identity)));
            }
        }
    }
}

/// Puts first the trunk whose share of the turn's cycle it is; the others follow by weight.
fn weighted(tier: &mut [Candidate], turn: u64) {
    let total: u64 = tier.iter().map(|c| u64::from(c.weight)).sum();
    if total == 0 {
        return;
    }
    // A stride coprime to the total visits every place of the cycle once, spreading each trunk's places out.
    // Near the golden section neighbouring turns fall far apart.
    let stride = (total * 382 / 1000..total).find(|s| gcd(*s, total) == 1).unwrap_or(1);
    let mut place = ((turn % total) * stride) % total;
    let first = tier.iter().position(|c| {
        let here = place < u64::from(c.weight);
        if !here {
            place -= u64::from(c.weight);
        }
        here
    });
    if let Some(first) = first {
        tier[..=first].rotate_right(1);
        tier[1..].sort_by_key(|c| core::cmp::Reverse(c.weight));
    }
}

const fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// FNV-1a with a final mix: stable across runs, hosts and releases.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    }
    mix(hash)
}

const fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(weights: &[u32]) -> Vec<Candidate> {
        weights
            .iter()
            .enumerate()
            .map(|(trunk, &weight)| Candidate {
                trunk,
                priority: 0,
                weight,
                calls: 0,
                max_calls: 100,
                identity: hash(&[trunk as u8]),
            })
            .collect()
    }

    fn firsts(weights: &[u32], selection: Selection, n: u64) -> Vec<usize> {
        let turn = AtomicU64::new(0);
        (0..n)
            .map(|i| {
                let mut c = candidates(weights);
                order(&mut c, selection, &turn, hash(&i.to_be_bytes()));
                let mut all: Vec<_> = c.iter().map(|c| c.trunk).collect();
                all.sort_unstable();
                assert_eq!(all, (0..weights.len()).collect::<Vec<_>>(), "nobody lost");
                c[0].trunk
            })
            .collect()
    }

    #[test]
    fn round_robin_takes_turns() {
        assert_eq!(firsts(&[1, 1, 1], Selection::RoundRobin, 6), [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn weights_hold_exactly_over_a_cycle_and_are_spread_out() {
        let firsts = firsts(&[70, 20, 10], Selection::Weighted, 100);
        for (trunk, weight) in [(0, 70), (1, 20), (2, 10)] {
            assert_eq!(firsts.iter().filter(|t| **t == trunk).count(), weight);
        }
        let longest = firsts.chunk_by(|a, b| a == b).map(<[_]>::len).max().unwrap();
        assert!(longest <= 10, "runs of {longest}");
    }

    #[test]
    fn least_calls_compares_shares_of_the_cap() {
        let mut c = candidates(&[1, 1]);
        (c[0].calls, c[0].max_calls) = (30, 100);
        (c[1].calls, c[1].max_calls) = (40, 1000);
        order(&mut c, Selection::LeastCalls, &AtomicU64::new(0), 0);
        assert_eq!(c[0].trunk, 1);
    }

    #[test]
    fn hashing_keeps_a_caller_with_its_trunk_when_another_goes() {
        for n in 0..200u32 {
            let mut all = candidates(&[1, 1, 1, 1]);
            order(&mut all, Selection::Hash, &AtomicU64::new(0), hash(&n.to_be_bytes()));
            let mut fewer: Vec<_> = candidates(&[1, 1, 1, 1]).into_iter().filter(|c| c.trunk != 3).collect();
            order(&mut fewer, Selection::Hash, &AtomicU64::new(9), hash(&n.to_be_bytes()));
            let without: Vec<_> = all.iter().map(|c| c.trunk).filter(|t| *t != 3).collect();
            assert_eq!(without, fewer.iter().map(|c| c.trunk).collect::<Vec<_>>());
        }
    }

    #[test]
    fn priority_comes_before_everything() {
        let mut c = candidates(&[1, 1000]);
        c[1].priority = 2;
        order(&mut c, Selection::Weighted, &AtomicU64::new(1), 0);
        assert_eq!(c[0].trunk, 0);
    }
}
