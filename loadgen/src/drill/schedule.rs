//! When the drill does what: every instant follows from its length and its number of calls.

use core::time::Duration;

/// Seconds of silence after which the gateway ends a call in the drill.
pub(crate) const MEDIA_TIMEOUT: Duration = Duration::from_secs(5);

/// The shortest drill in which every part has room.
pub const SHORTEST: u32 = 40;

/// The drill's instants, from the first call's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Schedule {
    /// The wanted calls are up.
    pub(crate) ramp: Duration,
    /// Mean and only length of a call.
    pub(crate) hold: Duration,
    /// The carrier is killed.
    pub(crate) kill: Duration,
    /// It is started again.
    pub(crate) restart: Duration,
    /// No new calls; those that stand are hung up.
    pub(crate) drain: Duration,
    /// All is over.
    pub(crate) end: Duration,
}

impl Schedule {
    /// The schedule of a drill of so many seconds in all.
    pub(crate) fn new(seconds: u32) -> Self {
        // Bare test before, records after.
        let length = f64::from(seconds.max(SHORTEST)) - 10.0;
        let at = |share: f64| Duration::from_secs_f64((length * share).round());
        let kill = at(0.45);
        let restart = kill + (at(0.2)).max(MEDIA_TIMEOUT + Duration::from_secs(3));
        Self { ramp: at(0.18), hold: at(0.36), kill, restart, drain: at(0.95), end: at(1.0) }
    }
}

/// UDP ports for a gateway's RTP that carry so many calls: two legs of two ports each, and as many again, since
/// another gateway on this machine may hold some.
pub(crate) fn gateway_ports(calls: u32) -> (u16, u16) {
    let low = 16_384u32;
    let count = calls.saturating_mul(8).saturating_add(512).min(65_535 - low);
    (low as u16, (low + count) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_has_room() {
        for seconds in [10, 40, 60, 120, 600] {
            let s = Schedule::new(seconds);
            assert!(s.ramp < s.kill && s.kill + MEDIA_TIMEOUT < s.restart, "{s:?}");
            assert!(s.restart + Duration::from_secs(4) < s.drain && s.drain < s.end, "{s:?}");
            assert!(s.end.as_secs() <= u64::from(seconds.max(SHORTEST)));
        }
    }

    #[test]
    fn ports_are_within_their_range() {
        assert_eq!(gateway_ports(1000), (16_384, 16_384 + 8_512));
        assert_eq!(gateway_ports(1_000_000).1, 65_535);
    }
}
