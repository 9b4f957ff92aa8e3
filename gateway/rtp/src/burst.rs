//! Bursts and gaps of loss (RFC 3611 §4.7.2, Gmin = 16) and the burst ratio of the E-model (ITU-T G.107).

/// As many packets received in a row after a loss end a burst.
const GMIN: u64 = 16;

/// Sorts final verdicts, received or lost, given in sequence order, into bursts and gaps.
///
/// A burst begins and ends with a loss and has no run of [`GMIN`] received packets inside; a lone loss with as many on
/// both sides belongs to the gap around it.
#[derive(Clone, Debug, Default)]
pub struct BurstGap {
    received: u64,
    lost: u64,
    /// Runs of consecutive losses.
    runs: u64,
    /// Received since the last loss.
    since_loss: u64,
    /// The cluster of losses that may still grow.
    cluster_packets: u64,
    cluster_lost: u64,
    bursts: u64,
    burst_packets: u64,
    burst_lost: u64,
}

impl BurstGap {
    /// The next `count` packets were received.
    pub const fn received(&mut self, count: u64) {
        self.received += count;
        self.since_loss += count;
    }

    /// The next `count` packets were lost.
    pub const fn lost(&mut self, count: u64) {
        if count == 0 {
            return;
        }
        if self.since_loss > 0 || self.lost == 0 {
            self.runs += 1;
        }
        self.lost += count;
        if self.since_loss >= GMIN || self.cluster_lost == 0 {
            self.close();
            self.cluster_packets = count;
        } else {
            self.cluster_packets += self.since_loss + count;
        }
        self.cluster_lost += count;
        self.since_loss = 0;
    }

    const fn close(&mut self) {
        if self.cluster_lost > 1 {
            self.bursts += 1;
            self.burst_packets += self.cluster_packets;
            self.burst_lost += self.cluster_lost;
        }
        self.cluster_lost = 0;
        self.cluster_packets = 0;
    }

    /// Bursts so far; the one that may still grow counts.
    pub const fn bursts(&self) -> u64 {
        self.bursts + (self.cluster_lost > 1) as u64
    }

    /// Loss inside bursts, 0 to 1.
    pub fn burst_density(&self) -> f64 {
        let mut closed = self.clone();
        closed.close();
        ratio(closed.burst_lost, closed.burst_packets)
    }

    /// Loss outside bursts, 0 to 1.
    pub fn gap_density(&self) -> f64 {
        let mut closed = self.clone();
        closed.close();
        let packets = closed.received + closed.lost - closed.burst_packets;
        ratio(closed.lost - closed.burst_lost, packets)
    }

    /// Mean packets in a burst, 0 if there was none.
    pub fn burst_length(&self) -> f64 {
        let mut closed = self.clone();
        closed.close();
        ratio(closed.burst_packets, closed.bursts)
    }

    /// Mean packets in a gap: what lies outside of bursts, before, between and after them.
    pub fn gap_length(&self) -> f64 {
        let mut closed = self.clone();
        closed.close();
        ratio(closed.received + closed.lost - closed.burst_packets, closed.bursts + 1)
    }

    /// BurstR of ITU-T G.107: the mean length of loss runs over the mean length that random loss of the same rate
    /// has, `1 / (1 - p)`. 1 where losses are independent or none were seen, never below: sparse loss is
    /// not better than random loss.
    pub fn burst_ratio(&self) -> f64 {
        if self.runs == 0 {
            return 1.0;
        }
        let mean = self.lost as f64 / self.runs as f64;
        let received = ratio(self.received, self.received + self.lost);
        (mean * received).max(1.0)
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(pattern: &[bool]) -> BurstGap {
        let mut burst = BurstGap::default();
        for &received in pattern {
            if received { burst.received(1) } else { burst.lost(1) }
        }
        burst
    }

    /// The definition, read literally: positions of losses are in one burst when fewer than 16 lie between.
    fn by_definition(pattern: &[bool]) -> Vec<(usize, usize)> {
        let losses: Vec<usize> = (0..pattern.len()).filter(|&i| !pattern[i]).collect();
        let mut clusters: Vec<Vec<usize>> = Vec::new();
        for loss in losses {
            match clusters.last_mut() {
                Some(cluster) if loss - cluster[cluster.len() - 1] - 1 < 16 => cluster.push(loss),
                _ => clusters.push(vec![loss]),
            }
        }
        clusters.retain(|cluster| cluster.len() > 1);
        clusters.iter().map(|c| (c[c.len() - 1] - c[0] + 1, c.len())).collect()
    }

    #[test]
    fn rfc_3611_section_4_7_2_a_lone_loss_is_no_burst_two_near_ones_are() {
        let mut pattern = vec![true; 100];
        pattern[20] = false;
        assert_eq!(of(&pattern).bursts(), 0);
        assert_eq!(of(&pattern).gap_density(), 0.01);
        pattern[36] = false; // 15 received between
        assert_eq!((of(&pattern).bursts(), of(&pattern).burst_length()), (1, 17.0));
        assert_eq!(of(&pattern).burst_density(), 2.0 / 17.0);
        assert_eq!(of(&pattern).gap_length(), 41.5, "20 before and 63 after");
        pattern[36] = true;
        pattern[37] = false; // 16 received between
        assert_eq!(of(&pattern).bursts(), 0);
    }

    #[test]
    fn burst_ratio_is_one_for_random_and_grows_with_runs() {
        assert_eq!(of(&[]).burst_ratio(), 1.0);
        assert_eq!(of(&[true; 50]).burst_ratio(), 1.0);
        let mut pattern = vec![true; 1000];
        pattern[100..120].fill(false);
        // One run of 20 at 2 % loss: 20 × 0.98.
        assert!((of(&pattern).burst_ratio() - 19.6).abs() < 1e-9);
        let mut random = sansio::Random::new(1);
        let pattern: Vec<bool> = (0..200_000).map(|_| !random.chance(0.1)).collect();
        assert!((of(&pattern).burst_ratio() - 1.0).abs() < 0.02);
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(pattern in proptest::collection::vec(prop::bool::weighted(0.9), 0..400)) {
            let burst = of(&pattern);
            let expected = by_definition(&pattern);
            prop_assert_eq!(burst.bursts(), expected.len() as u64);
            let packets: usize = expected.iter().map(|(packets, _)| packets).sum();
            let lost: usize = expected.iter().map(|(_, lost)| lost).sum();
            prop_assert_eq!(burst.burst_density(), ratio(lost as u64, packets as u64));
        }
    }
}
