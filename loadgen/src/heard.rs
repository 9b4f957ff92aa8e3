//! What one end of a call hears: every packet's mark set against what should have come. No allocation per packet.

use crate::mark::{CallName, Direction, Mark};
use core::time::Duration;
use sansio::Time;

/// How many places back a late packet is still told from a duplicate.
const WINDOW: u32 = 128;

/// The account of one direction of one call, at its receiving end.
#[derive(Clone, Debug)]
pub struct Heard {
    own: CallName,
    expects: Direction,
    /// The call this end hears, from its first packet on.
    peer: CallName,
    /// Places from 0 up to this one have been looked at; `None` before the first packet.
    highest: Option<u32>,
    /// Which of the last 128 places came, the highest in bit 0.
    window: u128,
    /// When the first packet came.
    pub first: Option<Time>,
    /// When the last packet came.
    pub last: Option<Time>,
    /// Transit time of the packet before (arrival minus sending), for the jitter.
    transit: Option<i64>,
    /// RFC 3550 §6.4.1 interarrival jitter, in nanoseconds.
    jitter: f64,
    /// Longest time between two packets that followed each other.
    pub gap_max: Duration,
    delay_sum: u64,
    /// Packets whose place was new.
    pub unique: u64,
    /// Packets whose place had come before.
    pub duplicates: u64,
    /// Packets that came after one of a higher place.
    pub reordered: u64,
    /// Packets that came more than 60 ms after the fastest of the call: a usual jitter buffer would drop them.
    pub discards: u64,
    /// Packets of another call, or from a sender that hears another call.
    pub crosstalk: u64,
    delay_min: u64,
    /// Places missing when the last packet came in, per run of losses: for the burst ratio of G.107.
    loss_runs: u64,
}

/// What a packet turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// In its place, or late in its place: its delay counts.
    Counted {
        /// From the intended instant of sending to the arrival.
        from_intended: Duration,
        /// From the actual instant of sending to the arrival.
        from_sent: Duration,
        /// Since the packet before.
        gap: Duration,
    },
    /// Its place had come before.
    Duplicate,
    /// Sent before this call began: a straggler of the call that had the port before.
    Stale,
    /// It belongs to another call.
    Crosstalk,
}

impl Heard {
    /// The account of what `own` hears from the direction `expects`.
    pub fn new(own: CallName, expects: Direction) -> Self {
        Self {
            own,
            expects,
            peer: CallName::NOBODY,
            highest: None,
            window: 0,
            first: None,
            last: None,
            transit: None,
            jitter: 0.0,
            gap_max: Duration::ZERO,
            delay_sum: 0,
            unique: 0,
            duplicates: 0,
            reordered: 0,
            discards: 0,
            crosstalk: 0,
            delay_min: u64::MAX,
            loss_runs: 0,
        }
    }

    /// The call this end hears: what its own marks shall say.
    pub fn peer(&self) -> CallName {
        self.peer
    }

    /// Takes one packet; `began` is when this call took its port.
    pub fn take(&mut self, mark: &Mark, arrived: Time, began: Time) -> Verdict {
        if mark.intended + Duration::from_millis(5) < began && self.peer != mark.call {
            return Verdict::Stale;
        }
        let others = self.peer != CallName::NOBODY && self.peer != mark.call
            || mark.hears != CallName::NOBODY && mark.hears != self.own
            || mark.direction != self.expects;
        if others {
            self.crosstalk += 1;
            return Verdict::Crosstalk;
        }
        self.peer = mark.call;
        if !self.place(mark.place) {
            self.duplicates += 1;
            return Verdict::Duplicate;
        }
        self.unique += 1;
        let from_intended = arrived.since(mark.intended);
        let from_sent = arrived.since(mark.sent);
        let delay = u64::try_from(from_intended.as_nanos()).unwrap_or(u64::MAX);
        self.delay_sum = self.delay_sum.saturating_add(delay);
        self.delay_min = self.delay_min.min(delay);
        if delay > self.delay_min.saturating_add(60_000_000) {
            self.discards += 1;
        }
        // RFC 3550 §6.4.1, with nanoseconds in place of timestamp units.
        let transit = (arrived.as_nanos() as i64).wrapping_sub(mark.intended.as_nanos() as i64);
        if let Some(before) = self.transit {
            let d = transit.wrapping_sub(before).unsigned_abs() as f64;
            self.jitter += (d - self.jitter) / 16.0;
        }
        self.transit = Some(transit);
        let gap = self.last.map_or(Duration::ZERO, |last| arrived.since(last));
        self.gap_max = self.gap_max.max(gap);
        self.first.get_or_insert(arrived);
        self.last = Some(arrived);
        Verdict::Counted { from_intended, from_sent, gap }
    }

    /// Marks a place as come; false if it had.
    fn place(&mut self, place: u32) -> bool {
        let Some(highest) = self.highest else {
            self.highest = Some(place);
            self.window = 1;
            self.loss_runs += u64::from(place > 0);
            return true;
        };
        if place > highest {
            let ahead = place - highest;
            self.loss_runs += u64::from(ahead > 1);
            self.window = if ahead < WINDOW { self.window << ahead } else { 0 };
            self.window |= 1;
            self.highest = Some(place);
            return true;
        }
        let back = highest - place;
        if back >= WINDOW || self.window & (1 << back) != 0 {
            // Older than the window counts as a duplicate: the safe side would be to call it late, but a
            // packet 2.5 s late is of no use to anybody and stays counted as lost.
            return false;
        }
        self.window |= 1 << back;
        self.reordered += 1;
        true
    }

    /// Packets that should have come: from place 0 to the highest seen.
    pub fn expected(&self) -> u64 {
        self.highest.map_or(0, |highest| u64::from(highest) + 1)
    }

    /// Packets that should have come and did not.
    pub fn lost(&self) -> u64 {
        self.expected().saturating_sub(self.unique)
    }

    /// Mean delay from the intended instant, in milliseconds; `None` before the first packet.
    pub fn delay_ms(&self) -> Option<f64> {
        (self.unique > 0).then(|| self.delay_sum as f64 / self.unique as f64 / 1e6)
    }

    /// The RFC 3550 jitter, in milliseconds.
    pub fn jitter_ms(&self) -> f64 {
        self.jitter / 1e6
    }

    /// Loss and late discards, in percent of what should have come.
    pub fn impaired_percent(&self) -> f64 {
        match self.expected() {
            0 => 0.0,
            expected => 100.0 * (self.lost() + self.discards) as f64 / expected as f64,
        }
    }

    /// G.107 burst ratio: mean length of the runs of losses against that of random losses; at least 1.
    pub fn burst_ratio(&self) -> f64 {
        let (lost, expected) = (self.lost() as f64, self.expected() as f64);
        if lost < 1.0 || self.loss_runs == 0 || lost >= expected {
            return 1.0;
        }
        let mean_run = lost / self.loss_runs as f64;
        (mean_run * (1.0 - lost / expected)).max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: CallName = CallName(1);
    const PEER: CallName = CallName(2);

    fn at(ms: u64) -> Time {
        Time::from_millis(1000 + ms)
    }

    fn packet(place: u32) -> Mark {
        let sent = at(u64::from(place) * 20);
        Mark { call: PEER, hears: OWN, direction: Direction::Back, place, intended: sent, sent }
    }

    fn heard(places: &[u32]) -> Heard {
        let mut heard = Heard::new(OWN, Direction::Back);
        for &place in places {
            heard.take(&packet(place), at(u64::from(place) * 20 + 1), at(0));
        }
        heard
    }

    #[test]
    fn loss_order_and_duplicates_are_told_apart() {
        let h = heard(&[0, 1, 2, 5, 4, 6, 6, 5, 9]);
        assert_eq!((h.expected(), h.unique, h.lost()), (10, 7, 3));
        assert_eq!((h.duplicates, h.reordered), (2, 1));
        let h = heard(&[3, 4]);
        assert_eq!(h.lost(), 3, "packets before the first one heard are lost too");
        let h = heard(&[0, 500, 1]);
        assert_eq!((h.lost(), h.duplicates), (499, 1));
        assert!(h.burst_ratio() > 1.0);
    }

    #[test]
    fn delay_and_jitter_count_from_the_intended_instant() {
        let mut h = Heard::new(OWN, Direction::Back);
        let mut late = packet(0);
        late.sent = at(4);
        let verdict = h.take(&late, at(5), at(0));
        let ms = Duration::from_millis;
        assert_eq!(verdict, Verdict::Counted { from_intended: ms(5), from_sent: ms(1), gap: ms(0) });
        h.take(&packet(1), at(25), at(0));
        assert!(h.jitter_ms() == 0.0);
        h.take(&packet(2), at(40 + 5 + 16), at(0));
        assert!((h.jitter_ms() - 1.0).abs() < 1e-9);
        assert_eq!(h.gap_max, ms(36));
        assert_eq!(h.discards, 0);
        h.take(&packet(3), at(60 + 5 + 61), at(0));
        assert_eq!(h.discards, 1);
    }

    #[test]
    fn another_calls_packets_are_crosstalk_and_old_ones_stale() {
        let mut h = heard(&[0]);
        assert_eq!(h.peer(), PEER);
        let stranger = Mark { call: CallName(9), ..packet(1) };
        assert_eq!(h.take(&stranger, at(21), at(0)), Verdict::Crosstalk);
        let hears_another = Mark { hears: CallName(7), ..packet(1) };
        assert_eq!(h.take(&hears_another, at(21), at(0)), Verdict::Crosstalk);
        let own_voice = Mark { direction: Direction::Forth, ..packet(1) };
        assert_eq!(h.take(&own_voice, at(21), at(0)), Verdict::Crosstalk);
        let straggler = Mark { call: CallName(9), intended: at(0) - Duration::from_millis(80), ..packet(7) };
        assert_eq!(h.take(&straggler, at(21), at(0)), Verdict::Stale);
        assert_eq!(h.crosstalk, 3);
    }
}
