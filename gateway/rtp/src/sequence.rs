//! Extended sequence numbers (RFC 3550 A.1, A.3) with a window that tells duplicates from late packets.

use crate::BurstGap;

/// A step forward up to this is loss, beyond it a jump (RFC 3550 A.1 MAX_DROPOUT).
const MAX_DROPOUT: u16 = 3000;
/// A step backward below this is reordering, beyond it a jump (RFC 3550 A.1 MAX_MISORDER).
const MAX_MISORDER: u16 = 100;
/// Sequence numbers whose arrival is remembered one by one; more than [`MAX_MISORDER`].
const WINDOW: u64 = 128;

/// What a packet's sequence number says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The first of its stream, or the next one; nothing missing.
    InOrder,
    /// Ahead of the next one: this many are missing so far.
    Ahead(u16),
    /// Behind one that came before: out of order.
    Late,
    /// Came before.
    Duplicate,
    /// Far from all others; not counted unless the next one follows it (RFC 3550 A.1).
    Jump,
    /// The second in a row after a jump: the source restarted, counting begins anew with the jump's packet.
    Restart,
}

/// The sequence numbers of one stream: `update_seq` of RFC 3550 A.1, with two differences. There is no probation, since
/// whether the source is valid has been decided elsewhere ([`crate::Latch`]) and its first packets count too; and a packet
/// from shortly before the first one heard counts as expected and received.
#[derive(Clone, Debug, Default)]
pub struct Sequence {
    /// The highest number received, extended by cycles; the first has cycle 1, so that earlier ones exist.
    max: u64,
    /// The lowest number received, extended.
    base: u64,
    /// Bit `n`: `max - n` was received.
    window: u128,
    /// Distinct numbers received.
    distinct: u64,
    /// What would follow the jump seen last, or 2^16.
    after_jump: u32,
    burst: BurstGap,
    /// Expected in what a restart closed.
    expected_closed: u64,
}

impl Sequence {
    /// Takes the next packet's number.
    pub fn record(&mut self, sequence: u16) -> Arrival {
        if self.window == 0 {
            self.begin(sequence);
            return Arrival::InOrder;
        }
        let step = sequence.wrapping_sub(self.max as u16);
        match step {
            1 => {
                self.settle_one();
                self.max += 1;
                self.window = self.window << 1 | 1;
                self.distinct += 1;
                Arrival::InOrder
            }
            0 => Arrival::Duplicate,
            2..MAX_DROPOUT => {
                let step = u64::from(step);
                self.settle(step);
                self.max += step;
                self.window = self.window.checked_shl(step as u32).unwrap_or(0) | 1;
                self.distinct += 1;
                Arrival::Ahead(step as u16 - 1)
            }
            _ if step > u16::MAX - MAX_MISORDER + 1 => self.late(u64::from(step.wrapping_neg())),
            _ => self.jump(sequence),
        }
    }

    /// The stream goes on under a new source: what it expected is kept, its window is closed.
    pub fn close(&mut self) {
        self.settle(WINDOW);
        self.expected_closed += self.expected_open();
        self.window = 0;
    }

    fn begin(&mut self, sequence: u16) {
        self.base = (1 << 16) + u64::from(sequence);
        self.max = self.base;
        self.window = 1;
        self.distinct += 1;
        self.after_jump = 1 << 16;
    }

    fn late(&mut self, behind: u64) -> Arrival {
        let bit = 1u128 << behind;
        if self.window & bit != 0 {
            return Arrival::Duplicate;
        }
        self.window |= bit;
        self.distinct += 1;
        // Before the first one heard: that one was itself ahead. Nothing up to here has been settled,
        // since the window reaches farther back than a late packet may.
        self.base = self.base.min(self.max - behind);
        Arrival::Late
    }

    fn jump(&mut self, sequence: u16) -> Arrival {
        if u32::from(sequence) != self.after_jump {
            self.after_jump = u32::from(sequence.wrapping_add(1));
            return Arrival::Jump;
        }
        self.close();
        self.begin(sequence.wrapping_sub(1));
        self.max += 1;
        self.window = 0b11;
        self.distinct += 1;
        Arrival::Restart
    }

    /// The oldest number of the window leaves it: received or lost for good.
    const fn settle_one(&mut self) {
        if self.max >= self.base + (WINDOW - 1) {
            if self.window >> (WINDOW - 1) & 1 == 1 {
                self.burst.received(1);
            } else {
                self.burst.lost(1);
            }
        }
    }

    /// The oldest `step` numbers of the window leave it; beyond its length, numbers skipped.
    fn settle(&mut self, step: u64) {
        let known = (self.max - self.base + 1).min(WINDOW);
        // The window's `known` newest bits are of this stream; of its WINDOW places `step` leave, oldest first.
        let keep = WINDOW.saturating_sub(step);
        for place in (keep..known).rev() {
            if self.window >> place & 1 == 1 {
                self.burst.received(1);
            } else {
                self.burst.lost(1);
            }
        }
        self.burst.lost(step.saturating_sub(WINDOW));
    }

    const fn expected_open(&self) -> u64 {
        if self.window == 0 { 0 } else { self.max - self.base + 1 }
    }

    /// Packets expected in what restarts and [`Self::close`] have closed.
    pub const fn expected_closed(&self) -> u64 {
        self.expected_closed
    }

    /// Packets expected so far (RFC 3550 A.3), over all restarts.
    pub const fn expected(&self) -> u64 {
        self.expected_closed + self.expected_open()
    }

    /// Distinct packets received, those of jumps that led nowhere left out.
    pub const fn distinct(&self) -> u64 {
        self.distinct
    }

    /// Expected and never received: duplicates do not make up for losses.
    pub const fn lost(&self) -> u64 {
        self.expected().saturating_sub(self.distinct)
    }

    /// The extended highest sequence number received as report blocks carry it: cycles and number.
    pub const fn extended_highest(&self) -> u32 {
        (self.max as u32).wrapping_sub(1 << 16)
    }

    /// Bursts and gaps, with the numbers still in the window taken as they stand.
    pub fn burst(&self) -> BurstGap {
        let mut closed = self.clone();
        if closed.window != 0 {
            closed.close();
        }
        closed.burst
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn of(numbers: impl IntoIterator<Item = u16>) -> Sequence {
        let mut sequence = Sequence::default();
        for number in numbers {
            sequence.record(number);
        }
        sequence
    }

    #[test]
    fn counts_through_the_wrap() {
        let sequence = of((0..100_000u32).map(|n| (n + 65_000) as u16));
        assert_eq!((sequence.expected(), sequence.lost()), (100_000, 0));
        assert_eq!(sequence.extended_highest(), 65_000 + 99_999);
    }

    #[test]
    fn tells_missing_late_and_duplicate() {
        let mut sequence = Sequence::default();
        assert_eq!(sequence.record(10), Arrival::InOrder);
        assert_eq!(sequence.record(13), Arrival::Ahead(2));
        assert_eq!(sequence.lost(), 2);
        assert_eq!(sequence.record(11), Arrival::Late);
        assert_eq!(sequence.record(11), Arrival::Duplicate);
        assert_eq!(sequence.record(13), Arrival::Duplicate);
        assert_eq!(sequence.record(12), Arrival::Late);
        assert_eq!((sequence.expected(), sequence.lost()), (4, 0));
        assert_eq!(sequence.record(8), Arrival::Late, "before the first: that one was ahead");
        assert_eq!((sequence.expected(), sequence.lost()), (6, 1));
    }

    #[test]
    fn rfc_3550_a_1_a_lone_jump_is_ignored_two_in_a_row_restart() {
        let mut sequence = of(0..10);
        assert_eq!(sequence.record(40_000), Arrival::Jump);
        assert_eq!(sequence.record(10), Arrival::InOrder);
        assert_eq!((sequence.expected(), sequence.lost()), (11, 0));
        assert_eq!(sequence.record(40_001), Arrival::Restart, "RFC 3550 A.1 keeps bad_seq over good packets");
        assert_eq!(sequence.record(40_002), Arrival::InOrder);
        assert_eq!((sequence.expected(), sequence.lost()), (14, 0));
        assert_eq!(sequence.record(39_000), Arrival::Jump, "too far behind to be late");
    }

    #[test]
    fn the_bounds_of_dropout_and_misorder_are_rfc_3550_a_1s() {
        assert_eq!(of([0]).record(2999), Arrival::Ahead(2998));
        assert_eq!(of([0]).record(3000), Arrival::Jump);
        assert_eq!(of([1000]).record(901), Arrival::Late);
        assert_eq!(of([1000]).record(900), Arrival::Jump);
    }

    #[test]
    fn a_long_loss_is_one_burst() {
        let sequence = of((0..500).chain(1500..2000));
        assert_eq!((sequence.expected(), sequence.lost()), (2000, 1000));
        let burst = sequence.burst();
        assert_eq!((burst.bursts(), burst.burst_length()), (1, 1000.0));
        assert!((burst.burst_ratio() - 500.0).abs() < 1e-9);
    }

    /// RFC 3550 A.1 as printed, without probation.
    #[derive(Default)]
    struct UpdateSeq {
        max_seq: u16,
        cycles: u32,
        base_seq: u32,
        bad_seq: u32,
        received: u32,
    }

    impl UpdateSeq {
        fn init(&mut self, seq: u16) {
            *self =
                Self { base_seq: seq.into(), max_seq: seq, bad_seq: (1 << 16) + 1, cycles: 0, received: 0 };
        }

        fn update(&mut self, seq: u16) -> bool {
            let udelta = seq.wrapping_sub(self.max_seq);
            if udelta < 3000 {
                if seq < self.max_seq {
                    self.cycles += 1 << 16;
                }
                self.max_seq = seq;
            } else if u32::from(udelta) <= (1 << 16) - 100 {
                if u32::from(seq) == self.bad_seq {
                    self.init(seq);
                } else {
                    self.bad_seq = u32::from(seq.wrapping_add(1));
                    return false;
                }
            }
            self.received += 1;
            true
        }
    }

    proptest! {
        /// Small steps, repetitions, jumps near every bound: verdicts and extended numbers are those of RFC 3550 A.1.
        #[test]
        fn agrees_with_rfc_3550_a_1(
            start: u16,
            steps in proptest::collection::vec(
                prop_oneof![
                    4 => Just(1i32), 1 => -130..130i32, 1 => 2990..3010i32, 1 => Just(0x7fff), 1 => any::<i16>().prop_map(i32::from)
                ],
                0..400,
            ),
        ) {
            let mut ours = Sequence::default();
            let mut theirs = UpdateSeq::default();
            ours.record(start);
            theirs.init(start);
            theirs.received = 1;
            let mut at = start;
            for step in steps {
                at = at.wrapping_add(step as u16);
                let arrival = ours.record(at);
                prop_assert_eq!(arrival != Arrival::Jump, theirs.update(at));
                if arrival == Arrival::Restart && at == 0 {
                    // The packet that we count from lies before the wrap.
                    theirs.cycles = 1 << 16;
                }
                prop_assert_eq!(ours.extended_highest(), theirs.cycles + u32::from(theirs.max_seq));
                if arrival == Arrival::Restart {
                    // It counts from the second packet of the restart on, we from the first.
                    prop_assert_eq!(ours.expected() - ours.expected_closed(), 2);
                    prop_assert_eq!(theirs.base_seq, u32::from(at));
                }
            }
        }

        /// Packets delayed by up to 60 places, some lost, some doubled: the counts are the truth.
        #[test]
        fn counts_what_happened(start: u16, fates in proptest::collection::vec((0u8..20, 0u16..60), 1..600)) {
            let mut wire: Vec<(usize, u16)> = Vec::new();
            for (n, &(fate, delay)) in fates.iter().enumerate() {
                let number = start.wrapping_add(n as u16);
                let delay = if fate > 15 { usize::from(delay) } else { 0 };
                if fate != 0 {
                    wire.push((n + delay, number));
                }
                if fate == 1 {
                    wire.push((n + delay + 3, number));
                }
            }
            wire.sort_by_key(|&(at, _)| at);
            let mut sequence = Sequence::default();
            let mut seen = HashSet::new();
            let mut duplicates = 0;
            for &(_, number) in &wire {
                let arrival = sequence.record(number);
                prop_assert_ne!(arrival, Arrival::Jump);
                prop_assert_eq!(arrival == Arrival::Duplicate, !seen.insert(number));
                duplicates += usize::from(arrival == Arrival::Duplicate);
            }
            prop_assert_eq!(sequence.distinct() as usize, wire.len() - duplicates);
            if !wire.is_empty() {
                let present = |n: &usize| seen.contains(&start.wrapping_add(*n as u16));
                let first = (0..fates.len()).find(present).unwrap();
                let last = (0..fates.len()).rev().find(present).unwrap();
                prop_assert_eq!(sequence.expected() as usize, last - first + 1);
                prop_assert_eq!(sequence.lost() as usize, last - first + 1 - seen.len());
                let mut burst = BurstGap::default();
                for n in first..=last {
                    if present(&n) { burst.received(1) } else { burst.lost(1) }
                }
                prop_assert_eq!(sequence.burst().bursts(), burst.bursts());
                prop_assert_eq!(sequence.burst().burst_ratio(), burst.burst_ratio());
            }
        }

        #[test]
        fn any_numbers_keep_the_sums(numbers in proptest::collection::vec(any::<u16>(), 0..300)) {
            let mut sequence = Sequence::default();
            for number in numbers {
                sequence.record(number);
                prop_assert!(sequence.distinct() <= sequence.expected());
            }
            let _ = sequence.burst();
        }
    }
}
