//! Whether a peer is alive: OPTIONS probing with hysteresis, and a circuit breaker fed by real traffic.
//!
//! ```text
//!            failures >= open_after          (calls or probes)
//!   Up ───────────────────────────────► Down
//!    ▲  ◄── any success ── Suspect ─┘     │  successes >= close_after (probes), or
//!    │                                    ▼  retry_after passed: not every peer answers probes
//!    └────────────── success ────────── Trial ── failure ──► Down
//! ```
//! `Suspect` is Up with at least one failure in a row: calls still go there, but wait less for it.
//! `Trial` lets one call at a time through (half-open).

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use sansio::Time;

/// The thresholds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthConfig {
    /// Failures in a row that take a peer out of service.
    pub open_after: u32,
    /// Probe successes in a row that bring it back.
    pub close_after: u32,
    /// A peer out of service is tried again with one call each time this has passed: not every peer answers probes.
    pub retry_after: Duration,
    /// A peer in service that was not heard from for so long is probed; zero: never.
    pub probe_interval: Duration,
    /// Time between probes of a peer that failed last; zero: none.
    pub probe_interval_down: Duration,
    /// How long a probe waits for an answer.
    pub probe_timeout: Duration,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self {
            open_after: 5,
            close_after: 2,
            retry_after: Duration::from_secs(10),
            probe_interval: Duration::from_secs(30),
            probe_interval_down: Duration::from_secs(2),
            probe_timeout: Duration::from_secs(1),
        }
    }
}

impl HealthConfig {
    /// Whether a peer that stands so, heard from `heard` ago and probed `probed` ago, is to be probed now.
    pub fn wants_probe(&self, state: HealthState, heard: Duration, probed: Duration) -> bool {
        match state {
            HealthState::Up => !self.probe_interval.is_zero() && heard.min(probed) >= self.probe_interval,
            _ => !self.probe_interval_down.is_zero() && probed >= self.probe_interval_down,
        }
    }
}

/// Something learnt about a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// It answered a call with anything that shows it works.
    CallServed,
    /// It failed a call: silence, ICMP refusal, no connection, or a status that means failure.
    CallFailed,
    /// It refused the connection outright: nobody is there.
    Refused,
    /// It answered a probe.
    ProbeServed,
    /// It did not answer a probe, or with 503.
    ProbeFailed,
}

/// Where a peer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthState {
    /// In service.
    Up,
    /// In service after at least one failure in a row.
    Suspect,
    /// Out of service.
    Down,
    /// Out of service, one call is trying it.
    Trial,
}

impl HealthState {
    /// The state's name in API and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Suspect => "suspect",
            Self::Down => "down",
            Self::Trial => "trial",
        }
    }
}

/// A peer went into or out of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// Out of service.
    WentDown,
    /// Back in service.
    CameUp,
}

/// The health of one peer as a pure state machine.
#[derive(Clone, Copy, Debug)]
pub struct Health {
    state: HealthState,
    failures: u32,
    successes: u32,
    since: Time,
}

impl Default for Health {
    fn default() -> Self {
        Self { state: HealthState::Up, failures: 0, successes: 0, since: Time::ZERO }
    }
}

impl Health {
    /// Where it stands.
    pub const fn state(&self) -> HealthState {
        self.state
    }

    /// Since when it stands there.
    pub const fn since(&self) -> Time {
        self.since
    }

    /// Takes a piece of evidence; tells when the peer went into or out of service.
    pub fn learn(&mut self, now: Time, evidence: Evidence, config: &HealthConfig) -> Option<Transition> {
        match evidence {
            Evidence::CallServed | Evidence::ProbeServed => self.succeed(now, evidence, config),
            Evidence::CallFailed | Evidence::ProbeFailed => self.fail(now, 1, config),
            Evidence::Refused => self.fail(now, config.open_after, config),
        }
    }

    /// Whether a call may go there now; a call to a peer that is down makes it a trial.
    pub fn admit(&mut self, now: Time, config: &HealthConfig) -> bool {
        match self.state {
            HealthState::Up | HealthState::Suspect => true,
            HealthState::Trial => {
                // The trial call was lost without a word (its shard refused it elsewhere): another may try.
                let stale = now.since(self.since) >= config.retry_after;
                if stale {
                    self.since = now;
                }
                stale
            }
            HealthState::Down => {
                let try_it = now.since(self.since) >= config.retry_after;
                if try_it {
                    self.enter(now, HealthState::Trial);
                }
                try_it
            }
        }
    }

    fn succeed(&mut self, now: Time, evidence: Evidence, config: &HealthConfig) -> Option<Transition> {
        self.failures = 0;
        match self.state {
            HealthState::Up => None,
            HealthState::Suspect => {
                self.enter(now, HealthState::Up);
                None
            }
            HealthState::Down | HealthState::Trial => {
                self.successes += 1;
                // A call that got through proves more than a probe.
                let enough = evidence == Evidence::CallServed && self.state == HealthState::Trial
                    || self.successes >= config.close_after;
                enough.then(|| {
                    self.enter(now, HealthState::Up);
                    Transition::CameUp
                })
            }
        }
    }

    fn fail(&mut self, now: Time, weight: u32, config: &HealthConfig) -> Option<Transition> {
        self.successes = 0;
        self.failures = self.failures.saturating_add(weight);
        match self.state {
            HealthState::Up | HealthState::Suspect if self.failures >= config.open_after => {
                self.enter(now, HealthState::Down);
                Some(Transition::WentDown)
            }
            HealthState::Up => {
                self.enter(now, HealthState::Suspect);
                None
            }
            HealthState::Trial => {
                self.enter(now, HealthState::Down);
                None
            }
            HealthState::Suspect | HealthState::Down => None,
        }
    }

    fn enter(&mut self, now: Time, state: HealthState) {
        self.state = state;
        self.since = now;
        self.successes = 0;
    }
}

/// A peer's health as the shards share it: one word, changed by compare-and-swap once per call or probe.
#[derive(Debug, Default)]
pub struct SharedHealth(AtomicU64);

impl SharedHealth {
    /// The health now.
    pub fn load(&self) -> Health {
        Health::unpack(self.0.load(Ordering::Acquire))
    }

    /// [`Health::learn`]; of several shards learning the same, one is told of the transition.
    pub fn learn(&self, now: Time, evidence: Evidence, config: &HealthConfig) -> Option<Transition> {
        self.change(|health| health.learn(now, evidence, config))
    }

    /// [`Health::admit`]; of several shards asking, one gets the trial.
    pub fn admit(&self, now: Time, config: &HealthConfig) -> bool {
        self.change(|health| health.admit(now, config))
    }

    fn change<R>(&self, change: impl Fn(&mut Health) -> R) -> R {
        let mut packed = self.0.load(Ordering::Acquire);
        loop {
            let mut health = Health::unpack(packed);
            let result = change(&mut health);
            let changed = health.pack();
            if changed == packed {
                return result;
            }
            match self.0.compare_exchange_weak(packed, changed, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return result,
                Err(other) => packed = other,
            }
        }
    }
}

impl Health {
    /// State in 2 bits, counts in 8 each (they saturate), the instant in ms in 46 (2 200 years).
    fn pack(self) -> u64 {
        let state = match self.state {
            HealthState::Up => 0,
            HealthState::Suspect => 1,
            HealthState::Down => 2,
            HealthState::Trial => 3,
        };
        let count = |n: u32| u64::from(n.min(255));
        state
            | count(self.failures) << 2
            | count(self.successes) << 10
            | (self.since.as_nanos() / 1_000_000) << 18
    }

    const fn unpack(packed: u64) -> Self {
        Self {
            state: match packed & 3 {
                0 => HealthState::Up,
                1 => HealthState::Suspect,
                2 => HealthState::Down,
                _ => HealthState::Trial,
            },
            failures: (packed >> 2 & 255) as u32,
            successes: (packed >> 10 & 255) as u32,
            since: Time::from_millis(packed >> 18),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use HealthState::*;

    const CONFIG: HealthConfig = HealthConfig {
        open_after: 3,
        close_after: 2,
        retry_after: Duration::from_secs(10),
        probe_interval: Duration::from_secs(30),
        probe_interval_down: Duration::from_secs(2),
        probe_timeout: Duration::from_secs(1),
    };

    fn after(evidence: &[Evidence]) -> Health {
        let mut health = Health::default();
        for piece in evidence {
            health.learn(Time::ZERO, *piece, &CONFIG);
        }
        health
    }

    #[test]
    fn opens_after_failures_in_a_row_only() {
        use Evidence::*;
        assert_eq!(after(&[CallFailed]).state(), Suspect);
        assert_eq!(after(&[CallFailed, CallFailed, CallServed, CallFailed, CallFailed]).state(), Suspect);
        assert_eq!(after(&[CallFailed, ProbeFailed, CallFailed]).state(), Down);
        assert_eq!(after(&[Refused]).state(), Down);
    }

    #[test]
    fn closes_after_probe_successes_in_a_row_only() {
        use Evidence::*;
        assert_eq!(after(&[Refused, ProbeServed]).state(), Down);
        assert_eq!(after(&[Refused, ProbeServed, ProbeFailed, ProbeServed]).state(), Down);
        assert_eq!(after(&[Refused, ProbeServed, ProbeServed]).state(), Up);
    }

    #[test]
    fn tells_each_transition_once() {
        let mut health = Health::default();
        let mut learn = |e| health.learn(Time::ZERO, e, &CONFIG);
        assert_eq!(learn(Evidence::Refused), Some(Transition::WentDown));
        assert_eq!(learn(Evidence::Refused), None);
        assert_eq!(learn(Evidence::ProbeServed), None);
        assert_eq!(learn(Evidence::ProbeServed), Some(Transition::CameUp));
        assert_eq!(learn(Evidence::ProbeServed), None);
    }

    #[test]
    fn a_peer_that_works_is_left_alone_and_one_that_failed_is_asked_often() {
        let secs = Duration::from_secs;
        assert!(!CONFIG.wants_probe(Up, secs(5), secs(500)), "heard from in a call");
        assert!(!CONFIG.wants_probe(Up, secs(500), secs(5)), "just probed");
        assert!(CONFIG.wants_probe(Up, secs(30), secs(30)));
        assert!(CONFIG.wants_probe(Down, secs(1), secs(2)));
        assert!(CONFIG.wants_probe(Suspect, secs(1), secs(2)));
        let never = HealthConfig { probe_interval: secs(0), probe_interval_down: secs(0), ..CONFIG };
        assert!(![Up, Suspect, Down, Trial].into_iter().any(|s| never.wants_probe(s, secs(900), secs(900))));
    }

    #[test]
    fn the_shared_word_holds_what_the_machine_says() {
        let shared = SharedHealth::default();
        let now = Time::from_millis(77_000);
        assert_eq!(shared.learn(now, Evidence::CallFailed, &CONFIG), None);
        assert_eq!(shared.load().state(), Suspect);
        assert_eq!(shared.learn(now, Evidence::Refused, &CONFIG), Some(Transition::WentDown));
        assert_eq!(shared.load().since(), now);
        assert!(!shared.admit(now, &CONFIG));
    }

    #[test]
    fn one_call_at_a_time_tries_a_dead_peer() {
        let config = CONFIG;
        let mut health = Health::default();
        let start = Time::from_millis(1000);
        health.learn(start, Evidence::Refused, &config);
        assert!(!health.admit(start + Duration::from_secs(9), &config));
        assert!(health.admit(start + Duration::from_secs(10), &config));
        assert!(!health.admit(start + Duration::from_secs(11), &config), "one trial at a time");
        assert_eq!(
            health.learn(start + Duration::from_secs(12), Evidence::CallServed, &config),
            Some(Transition::CameUp)
        );
    }
}
