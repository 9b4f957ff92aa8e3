//! The clocks of the host, as [`Time`]: the one place where time is read.
#![allow(unsafe_code, reason = "clock_gettime and clock_nanosleep have no safe form that gives nanoseconds")]

use core::time::Duration;
use sansio::Time;

fn read(clock: libc::clockid_t) -> u64 {
    let mut at = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `at` is ours and outlives the call, which only writes it.
    unsafe { libc::clock_gettime(clock, &mut at) };
    (at.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(at.tv_nsec as u64)
}

/// Now, on CLOCK_MONOTONIC: the clock all drivers of a host share.
pub fn now() -> Time {
    Time::from_nanos(read(libc::CLOCK_MONOTONIC))
}

/// Processor time used by the calling thread, user and system, in nanoseconds.
pub fn thread_cpu_nanos() -> u64 {
    read(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// Processor time used by the whole process, user and system, in nanoseconds.
pub fn process_cpu_nanos() -> u64 {
    read(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// Sleeps until `when`; may return early on a signal.
pub fn sleep_until(when: Time) {
    let when = timespec(when.as_nanos());
    // SAFETY: `when` lives on this frame until the call returns; no remaining time is asked for.
    unsafe {
        libc::clock_nanosleep(libc::CLOCK_MONOTONIC, libc::TIMER_ABSTIME, &when, core::ptr::null_mut());
    }
}

pub(crate) fn timespec(nanos: u64) -> libc::timespec {
    libc::timespec {
        tv_sec: (nanos / 1_000_000_000) as libc::time_t,
        tv_nsec: (nanos % 1_000_000_000) as libc::c_long,
    }
}

/// What the wall clock said at an instant of the monotonic one, so that either can be had from the other.
///
/// Good for as long as nobody sets the wall clock: take a new one now and then.
#[derive(Clone, Copy, Debug)]
pub struct WallAnchor {
    monotonic: u64,
    /// Nanoseconds since 1970, UTC.
    wall: u64,
}

impl WallAnchor {
    /// Reads both clocks, as close together as the host allows.
    pub fn take() -> Self {
        let mut best = Self { monotonic: 0, wall: 0 };
        let mut narrowest = u64::MAX;
        for _ in 0..3 {
            let before = read(libc::CLOCK_MONOTONIC);
            let wall = read(libc::CLOCK_REALTIME);
            let after = read(libc::CLOCK_MONOTONIC);
            if after.wrapping_sub(before) < narrowest {
                narrowest = after.wrapping_sub(before);
                best = Self { monotonic: before + narrowest / 2, wall };
            }
        }
        best
    }

    /// Wall-clock time of `at`, since 1970-01-01 UTC.
    pub fn wall(&self, at: Time) -> Duration {
        let nanos = i128::from(self.wall) + i128::from(at.as_nanos()) - i128::from(self.monotonic);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
    }

    /// The instant at which the wall clock said `wall` nanoseconds since 1970.
    pub fn monotonic(&self, wall: u64) -> Time {
        let nanos = i128::from(wall) - i128::from(self.wall) + i128::from(self.monotonic);
        Time::from_nanos(u64::try_from(nanos).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_anchor_converts_both_ways() {
        let anchor = WallAnchor::take();
        let at = now();
        let wall = anchor.wall(at);
        assert_eq!(anchor.monotonic(wall.as_nanos() as u64), at);
        assert!(wall > Duration::from_secs(1_600_000_000), "the year is at least 2020");
    }

    #[test]
    fn sleeping_reaches_its_instant() {
        let until = now() + Duration::from_millis(3);
        sleep_until(until);
        assert!(now() >= until);
    }
}
