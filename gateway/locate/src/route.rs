//! What was found for a target: addresses in tiers, and the order in which one call tries them (RFC 2782, RFC 3263 §4.2).

use crate::target::Transport;
use core::fmt;
use core::net::SocketAddr;
use sansio::{Random, Time};

/// An address at which a target can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Lower is tried first: the rank of NAPTR record and SRV priority.
    pub tier: u16,
    /// The SRV record within the tier.
    pub record: u16,
    /// Its share among the records of the tier.
    pub weight: u16,
    /// The rank of the address family: the preferred one is tried first.
    pub family: u8,
    /// Where.
    pub address: SocketAddr,
    /// Over what.
    pub transport: Transport,
}

/// By which records a target was located.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// NAPTR, SRV and address records.
    Naptr,
    /// SRV and address records.
    Srv,
    /// Address records alone.
    Address,
    /// The hosts file.
    Hosts,
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Naptr => "NAPTR",
            Self::Srv => "SRV",
            Self::Address => "A/AAAA",
            Self::Hosts => "hosts",
        })
    }
}

/// Where a target is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its addresses, ordered by tier, record and family.
    pub places: Vec<Place>,
    /// By which records.
    pub how: How,
    /// Who said so; `None` for the hosts file.
    pub from: Option<SocketAddr>,
    /// Until when that holds.
    pub until: Time,
    /// Whether it is past its time and kept since no server answers.
    pub stale: bool,
}

/// The order in which a call tries places: by tier; within one the records by weighted chance (RFC 2782), each with
/// the preferred family first and the addresses of a family by even chance. Yields indices into `places`, which are
/// ordered as in a [`Route`].
pub fn order(places: &[Place], random: &mut Random) -> Vec<usize> {
    let mut order = Vec::with_capacity(places.len());
    let mut start = 0;
    for tier in places.chunk_by(|a, b| a.tier == b.tier) {
        // Records as ranges of indices, in any order but that those of weight 0 are first.
        let mut records: Vec<(u16, usize, usize)> = Vec::new();
        let mut at = start;
        for record in tier.chunk_by(|a, b| a.record == b.record) {
            records.push((record[0].weight, at, at + record.len()));
            at += record.len();
        }
        shuffle(&mut records, random);
        records.sort_by_key(|record| record.0 != 0);
        while !records.is_empty() {
            let (_, from, to) = records.remove(pick(&records, random));
            let first = order.len();
            order.extend(from..to);
            for family in order[first..].chunk_by_mut(|a, b| places[*a].family == places[*b].family) {
                shuffle(family, random);
            }
        }
        start = at;
    }
    order
}

/// RFC 2782, "Usage rules": a number from 0 to the sum of the weights, and the first record whose running sum reaches it.
fn pick(records: &[(u16, usize, usize)], random: &mut Random) -> usize {
    let sum: u64 = records.iter().map(|record| u64::from(record.0)).sum();
    let number = random.below(sum + 1);
    let mut running = 0;
    records
        .iter()
        .position(|record| {
            running += u64::from(record.0);
            running >= number
        })
        .unwrap_or(0)
}

/// Fisher and Yates.
fn shuffle<T>(items: &mut [T], random: &mut Random) {
    for last in (1..items.len()).rev() {
        items.swap(last, random.below(last as u64 + 1) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn place(tier: u16, record: u16, weight: u16, family: u8, last: u8) -> Place {
        let address = SocketAddr::from(([192, 0, 2, last], 5060));
        Place { tier, record, weight, family, address, transport: Transport::Udp }
    }

    /// RFC 2782: over many draws each record comes first as often as its weight says.
    #[test]
    fn weights_hold_over_many_draws() {
        let places: Vec<Place> =
            [60, 30, 10].iter().zip(0u8..).map(|(w, n)| place(0, u16::from(n), *w, 0, n)).collect();
        let mut random = Random::new(7);
        let mut firsts = [0u32; 3];
        let mut seconds_after_first = [0u32; 3];
        const DRAWS: u32 = 100_000;
        for _ in 0..DRAWS {
            let order = order(&places, &mut random);
            firsts[order[0]] += 1;
            if order[0] == 0 {
                seconds_after_first[order[1]] += 1;
            }
        }
        for (got, expected) in firsts.iter().zip([0.6, 0.3, 0.1]) {
            let share = f64::from(*got) / f64::from(DRAWS);
            assert!((share - expected).abs() < 0.006, "{firsts:?}");
        }
        let share = f64::from(seconds_after_first[1]) / f64::from(firsts[0]);
        assert!((share - 0.75).abs() < 0.01, "{seconds_after_first:?}");
    }

    #[test]
    fn weight_0_is_hardly_ever_first_but_is_tried() {
        let places = [place(0, 0, 0, 0, 0), place(0, 1, 65_535, 0, 1)];
        let mut random = Random::new(3);
        let firsts = (0..10_000).filter(|_| order(&places, &mut random)[0] == 0).count();
        assert!(firsts < 10, "{firsts}");
        let even = [place(0, 0, 0, 0, 0), place(0, 1, 0, 0, 1)];
        let firsts = (0..10_000).filter(|_| order(&even, &mut random)[0] == 0).count();
        assert!((4_700..5_300).contains(&firsts), "{firsts}");
    }

    #[test]
    fn addresses_of_one_name_share_the_calls_and_the_preferred_family_is_first() {
        let places = [place(0, 0, 0, 0, 1), place(0, 0, 0, 0, 2), place(0, 0, 0, 1, 3)];
        let mut random = Random::new(9);
        let firsts = (0..10_000).filter(|_| order(&places, &mut random)[0] == 0).count();
        assert!((4_700..5_300).contains(&firsts), "{firsts}");
        assert!((0..100).all(|_| order(&places, &mut random)[2] == 2));
    }

    proptest! {
        #[test]
        fn nobody_is_lost_and_tiers_keep_their_order(
            mut given in proptest::collection::vec((0u16..4, 0u16..4, any::<u16>(), 0u8..2), 0..24), seed: u64
        ) {
            given.sort_unstable_by_key(|g| (g.0, g.1, g.3));
            let places: Vec<Place> =
                given.iter().zip(0u8..).map(|(g, n)| place(g.0, g.1, g.2, g.3, n)).collect();
            let order = order(&places, &mut Random::new(seed));
            let mut sorted = order.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..places.len()).collect::<Vec<_>>());
            prop_assert!(order.windows(2).all(|w| places[w[0]].tier <= places[w[1]].tier));
            // A record's addresses stay together.
            let mut seen: Vec<_> = order.iter().map(|at| (places[*at].tier, places[*at].record)).collect();
            seen.dedup();
            let runs = seen.len();
            seen.sort_unstable();
            seen.dedup();
            prop_assert_eq!(runs, seen.len());
        }
    }
}
