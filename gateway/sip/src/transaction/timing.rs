//! How long each lettered timer runs (RFC 3261 table 4, RFC 6026 §7): values from [`Timers`], nothing else.

use crate::config::Timers;
use core::time::Duration;

/// The lifetime timers, one per state that ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// INVITE client, Calling: 64 × T1.
    B,
    /// INVITE client, Completed: 32 s or more over UDP, 0 over TCP.
    D,
    /// Other client, Trying and Proceeding: 64 × T1.
    F,
    /// INVITE server, Completed: 64 × T1.
    H,
    /// INVITE server, Confirmed: T4 over UDP, 0 over TCP.
    I,
    /// Other server, Completed: 64 × T1 over UDP, 0 over TCP.
    J,
    /// Other client, Completed: T4 over UDP, 0 over TCP.
    K,
    /// INVITE server, Accepted: 64 × T1.
    L,
    /// INVITE client, Accepted: 64 × T1.
    M,
}

/// How long a lifetime timer runs.
pub const fn lifetime(timers: &Timers, timer: Lifetime, reliable: bool) -> Duration {
    match timer {
        Lifetime::B | Lifetime::F | Lifetime::H | Lifetime::L | Lifetime::M => timers.t1_64(),
        Lifetime::D | Lifetime::I | Lifetime::J | Lifetime::K if reliable => Duration::ZERO,
        Lifetime::D => timers.d,
        Lifetime::I | Lifetime::K => timers.t4,
        Lifetime::J => timers.t1_64(),
    }
}

/// The wait before retransmission `count` (0 the first) of an INVITE: timer A doubles without bound.
pub fn interval_a(timers: &Timers, count: u8) -> Duration {
    timers.t1.saturating_mul(1u32.checked_shl(count.into()).unwrap_or(u32::MAX))
}

/// The wait before retransmission `count` (0 the first) where it doubles up to T2: timers E and G, and the 2xx of a
/// UAS core (RFC 3261 §13.3.1.4).
pub fn interval_capped(timers: &Timers, count: u8) -> Duration {
    interval_a(timers, count).min(timers.t2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(intervals: impl Iterator<Item = Duration>) -> Vec<u128> {
        intervals.map(|interval| interval.as_millis()).collect()
    }

    #[test]
    fn intervals_double_as_in_rfc_3261_17_1() {
        let timers = Timers::default();
        assert_eq!(millis((0..6).map(|n| interval_a(&timers, n))), [500, 1000, 2000, 4000, 8000, 16000]);
        assert_eq!(millis((0..6).map(|n| interval_capped(&timers, n))), [500, 1000, 2000, 4000, 4000, 4000]);
        assert_eq!(interval_capped(&timers, 255), timers.t2);
        assert!(interval_a(&timers, 255) > timers.t1_64());
    }

    #[test]
    fn reliable_transports_do_not_linger() {
        let timers = Timers::default();
        for timer in [Lifetime::D, Lifetime::I, Lifetime::J, Lifetime::K] {
            assert_eq!(lifetime(&timers, timer, true), Duration::ZERO);
            assert!(lifetime(&timers, timer, false) >= timers.t4);
        }
        for timer in [Lifetime::B, Lifetime::F, Lifetime::H, Lifetime::L, Lifetime::M] {
            assert_eq!(lifetime(&timers, timer, true), Duration::from_secs(32));
        }
    }
}
