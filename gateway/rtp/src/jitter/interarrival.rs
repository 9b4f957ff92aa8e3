//! Interarrival jitter (RFC 3550 §6.4.1, A.8), kept in nanoseconds so that a coarse media clock costs no precision.

use core::time::Duration;
use sansio::Time;

/// A step of the transit time beyond this is a new time base, not jitter: the estimate is anchored anew.
const DISCONTINUITY_NS: i64 = 5_000_000_000;

/// The running jitter estimate of one stream.
#[derive(Clone, Debug, Default)]
pub struct Jitter {
    last: Option<(Time, u32)>,
    /// 16 times the estimate, in nanoseconds (A.8's scaling keeps what a shift would lose).
    scaled: u64,
    max: u64,
    sum: u64,
    samples: u64,
    discontinuities: u32,
}

impl Jitter {
    /// Takes a packet in order of arrival; `clock` is the payload's clock in Hz, above zero.
    pub fn record(&mut self, arrival: Time, timestamp: u32, clock: u32) {
        let Some((last_arrival, last_timestamp)) = self.last.replace((arrival, timestamp)) else { return };
        // RFC 3550 §6.4.1: D(i,j) = (Rj - Ri) - (Sj - Si).
        let spacing = arrival.as_nanos().wrapping_sub(last_arrival.as_nanos()) as i64;
        let ticks = i64::from(timestamp.wrapping_sub(last_timestamp).cast_signed());
        let media = ticks * 1_000_000_000 / i64::from(clock.max(1));
        let difference = spacing.saturating_sub(media);
        if difference.abs() > DISCONTINUITY_NS {
            self.discontinuities += 1;
            return;
        }
        // A.8: jitter += |d| - ((jitter + 8) >> 4)
        self.scaled = self.scaled + difference.unsigned_abs() - ((self.scaled + 8) >> 4);
        let jitter = self.scaled >> 4;
        self.max = self.max.max(jitter);
        self.sum += jitter;
        self.samples += 1;
    }

    /// The next packet starts a new time base (new SSRC, end of hold): it is compared with nothing.
    pub const fn anchor(&mut self) {
        self.last = None;
    }

    /// The packet taken last: when it came, and its timestamp.
    pub const fn last(&self) -> Option<(Time, u32)> {
        self.last
    }

    /// The estimate now.
    pub const fn current(&self) -> Duration {
        Duration::from_nanos(self.scaled >> 4)
    }

    /// The largest estimate so far.
    pub const fn max(&self) -> Duration {
        Duration::from_nanos(self.max)
    }

    /// The mean of the estimate over all packets.
    pub const fn mean(&self) -> Duration {
        if self.samples == 0 {
            return Duration::ZERO;
        }
        Duration::from_nanos(self.sum / self.samples)
    }

    /// The estimate in ticks of `clock` Hz, as report blocks carry it.
    pub const fn ticks(&self, clock: u32) -> u32 {
        let ticks = (self.scaled >> 4) as u128 * clock as u128 / 1_000_000_000;
        if ticks > u32::MAX as u128 { u32::MAX } else { ticks as u32 }
    }

    /// Whether two packets have been compared yet.
    pub const fn is_measured(&self) -> bool {
        self.samples > 0
    }

    /// How often the time base jumped without a new SSRC.
    pub const fn discontinuities(&self) -> u32 {
        self.discontinuities
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3550 A.8, floating point, in timestamp units.
    fn reference(packets: &[(u64, u32)]) -> f64 {
        let mut jitter = 0.0;
        for pair in packets.windows(2) {
            let d =
                (pair[1].0 as f64 - pair[0].0 as f64) - f64::from(pair[1].1.wrapping_sub(pair[0].1) as i32);
            jitter += (d.abs() - jitter) / 16.0;
        }
        jitter
    }

    #[test]
    fn follows_rfc_3550_section_6_4_1() {
        let mut random = sansio::Random::new(9);
        let mut timestamp = u32::MAX - 5000; // wraps
        let mut packets = Vec::new();
        for n in 0..2000u64 {
            packets.push((n * 160 + 100_000 + random.below(400), timestamp));
            timestamp = timestamp.wrapping_add(160);
        }
        let mut jitter = Jitter::default();
        for &(arrival, timestamp) in &packets {
            jitter.record(Time::from_nanos(arrival * 125_000), timestamp, 8000);
        }
        let expected = reference(&packets);
        assert!((jitter.current().as_nanos() as f64 / 125_000.0 - expected).abs() < 0.01);
        assert_eq!(jitter.ticks(8000), expected as u32);
        assert!(jitter.max() >= jitter.mean());
    }

    #[test]
    fn even_pacing_has_none_and_one_late_packet_counts_a_sixteenth() {
        let mut jitter = Jitter::default();
        for n in 0..50 {
            jitter.record(Time::from_millis(n * 20), n as u32 * 160, 8000);
        }
        assert!(jitter.is_measured());
        assert_eq!(jitter.current(), Duration::ZERO);
        jitter.record(Time::from_millis(50 * 20 + 16), 50 * 160, 8000);
        assert_eq!(jitter.current(), Duration::from_millis(1));
    }

    #[test]
    fn a_new_time_base_is_not_jitter() {
        let mut jitter = Jitter::default();
        jitter.record(Time::from_millis(0), 0, 8000);
        jitter.record(Time::from_millis(20), 0x7000_0000, 8000);
        assert_eq!((jitter.max(), jitter.discontinuities()), (Duration::ZERO, 1));
        jitter.record(Time::from_millis(40), 0x7000_0000 + 160, 8000);
        assert_eq!(jitter.max(), Duration::ZERO);
        assert!(jitter.is_measured());
    }

    #[test]
    fn odd_clocks_and_extremes_do_not_overflow() {
        for clock in [0, 1, 8000, 90_000, u32::MAX] {
            let mut jitter = Jitter::default();
            for (arrival, timestamp) in [(0, 0), (u64::MAX, 1 << 31), (0, u32::MAX), (u64::MAX / 2, 0)] {
                jitter.record(Time::from_nanos(arrival), timestamp, clock);
            }
            let _ = jitter.ticks(clock);
        }
    }
}
