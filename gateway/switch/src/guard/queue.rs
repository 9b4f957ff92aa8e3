//! Whether the shard keeps up: how long what arrives has waited to be handled, judged as CoDel does (RFC 8289).

use core::time::Duration;
use sansio::Time;

/// Waits longer than this are a clock that was set, not a queue: no receive buffer holds so much.
const IMPLAUSIBLE: Duration = Duration::from_secs(10);
/// Who was overloaded this many intervals ago is so again without the patience of a whole interval.
const MEMORY: u32 = 16;

/// When new calls are refused because the shard does not keep up.
#[derive(Clone, Copy, Debug)]
pub struct Overload {
    /// The wait that is tolerated for ever; zero: no limit.
    pub target: Duration,
    /// How long every wait may be above the target before calls are refused: bursts are shorter.
    pub interval: Duration,
    /// Calls of this shard that the callee has not begun to ring for; more are refused. 0: no limit.
    pub setups_max: u32,
    /// Whether OPTIONS is refused as well.
    pub refuse_options: bool,
}

impl Default for Overload {
    fn default() -> Self {
        Self {
            target: Duration::from_millis(50),
            interval: Duration::from_millis(200),
            setups_max: 10_000,
            refuse_options: true,
        }
    }
}

/// The standing queue, by the least wait over an interval (RFC 8289 §3.2): one message that waited less than the target
/// shows that there is none.
#[derive(Debug, Default)]
pub struct QueueDelay {
    /// Since when every wait was above the target.
    above_since: Option<Time>,
    /// When the last message was handled.
    noted_at: Time,
    /// When it was last found overloaded.
    overloaded_at: Option<Time>,
    /// Smoothed over some 64 messages, for show.
    mean_nanos: u64,
}

impl QueueDelay {
    /// A message that arrived at `received` is handled at `now`; tells whether there is overload.
    pub fn note(&mut self, now: Time, received: Time, limits: &Overload) -> bool {
        let waited = now.since(received);
        if now.since(self.noted_at) > limits.interval {
            self.above_since = None; // nothing came, so nothing stood in a queue
        }
        self.noted_at = now;
        if limits.target.is_zero() || waited >= IMPLAUSIBLE {
            self.above_since = None;
            return false;
        }
        self.mean_nanos = self.mean_nanos - self.mean_nanos / 64 + waited.as_nanos() as u64 / 64;
        if waited < limits.target {
            self.above_since = None;
            return false;
        }
        let since = *self.above_since.get_or_insert(now);
        let lately =
            self.overloaded_at.is_some_and(|at| now.since(at) < limits.interval.saturating_mul(MEMORY));
        let overloaded = lately || now.since(since) >= limits.interval;
        if overloaded {
            self.overloaded_at = Some(now);
        }
        overloaded
    }

    /// Whether there was overload within the last `span`.
    pub fn was_overloaded(&self, now: Time, span: Duration) -> bool {
        self.overloaded_at.is_some_and(|at| now.since(at) < span)
    }

    /// The mean wait of late.
    pub const fn mean(&self) -> Duration {
        Duration::from_nanos(self.mean_nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Overload = Overload {
        target: Duration::from_millis(50),
        interval: Duration::from_millis(200),
        setups_max: 0,
        refuse_options: true,
    };

    fn ms(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    #[test]
    fn a_burst_is_no_overload_and_a_standing_queue_is() {
        let mut queue = QueueDelay::default();
        // A stall: everything that came meanwhile is handled at once.
        for received in 1000..1400 {
            assert!(!queue.note(ms(1400), ms(received), &LIMITS));
        }
        // A queue of 80 ms that does not go away.
        let found: Vec<u64> =
            (2000..2400).filter(|&now| queue.note(ms(now), ms(now - 80), &LIMITS)).collect();
        assert_eq!(found.first(), Some(&2200));
        assert_eq!(found.len(), 200);
        // One message that waited less ends it, and a queue soon after is known at once.
        assert!(!queue.note(ms(2400), ms(2390), &LIMITS));
        assert!(queue.note(ms(2410), ms(2355), &LIMITS));
        assert!(queue.mean() > Duration::from_millis(60), "{:?}", queue.mean());
        // Long after, it needs an interval again.
        assert!(!queue.note(ms(9000), ms(8900), &LIMITS));
    }

    #[test]
    fn a_clock_that_was_set_is_no_queue_and_zero_is_no_limit() {
        let mut queue = QueueDelay::default();
        assert!((20_000..21_000).all(|now| !queue.note(ms(now), ms(now - 15_000), &LIMITS)));
        let off = Overload { target: Duration::ZERO, ..LIMITS };
        assert!((20_000..21_000).all(|now| !queue.note(ms(now), ms(now - 5000), &off)));
    }
}
