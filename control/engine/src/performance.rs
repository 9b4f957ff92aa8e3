//! The end-to-end metrics of RFC 6076 for one trunk, with the gateway as the originating user agent.
//!
//! A session request is one INVITE to one of the trunk's peers, answered or over. Where no response came, RFC 3261 §8.1.3.1
//! says what it counts as: a time-out as 408, a failure of the transport as 503.

use crate::Spread;
use link::{Attempt, Reason, Release};
use std::collections::BTreeMap;

/// Counts and delays of a span of time. Ratios are `None` while there is nothing to divide by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Performance {
    /// Session requests.
    pub requests: u64,
    /// Those redirected with 3xx.
    pub redirected: u64,
    /// Those answered with 2xx.
    pub answered: u64,
    /// Those that reached a user: 2xx, 480, 486, 600 or 603.
    pub effective: u64,
    /// Those that failed on the way: 408, 500, 503 or 504, or what counts as such.
    pub ineffective: u64,
    /// Sessions set up and torn down properly.
    pub completed: u64,
    /// Session request delay of those that rang or were answered (RFC 6076 §4.3.1).
    pub srd: Spread,
    /// Session request delay of those that were refused (RFC 6076 §4.3.2).
    pub srd_failed: Spread,
    /// Session disconnect delay (RFC 6076 §4.4).
    pub sdd: Spread,
    /// Duration of sessions torn down properly (RFC 6076 §4.5.1).
    pub sdt: Spread,
    /// Duration of the others (RFC 6076 §4.5.2).
    pub sdt_failed: Spread,
    /// Post-dial delay as the caller had it, earlier attempts included (not of RFC 6076).
    pub pdd: Spread,
}

impl Performance {
    /// Session establishment ratio, 0 to 1 (RFC 6076 §4.6): redirections count as no request.
    pub fn ser(&self) -> Option<f64> {
        ratio(self.answered, self.requests - self.redirected)
    }

    /// Session establishment effectiveness ratio, 0 to 1 (RFC 6076 §4.7).
    pub fn seer(&self) -> Option<f64> {
        ratio(self.effective, self.requests - self.redirected)
    }

    /// Ineffective session attempts, 0 to 1 (RFC 6076 §4.8).
    pub fn isa(&self) -> Option<f64> {
        ratio(self.ineffective, self.requests)
    }

    /// Session completion ratio, 0 to 1 (RFC 6076 §4.9). Sessions that still last are not complete yet.
    pub fn scr(&self) -> Option<f64> {
        ratio(self.completed, self.requests)
    }

    /// Adds another span's.
    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.redirected += other.redirected;
        self.answered += other.answered;
        self.effective += other.effective;
        self.ineffective += other.ineffective;
        self.completed += other.completed;
        self.srd.add(&other.srd);
        self.srd_failed.add(&other.srd_failed);
        self.sdd.add(&other.sdd);
        self.sdt.add(&other.sdt);
        self.sdt_failed.add(&other.sdt_failed);
        self.pdd.add(&other.pdd);
    }

    /// A session request was answered.
    pub(crate) fn of_answer(heard_us: Option<u64>) -> Self {
        let srd = heard_us.map(Spread::of).unwrap_or_default();
        Self { requests: 1, answered: 1, effective: 1, srd, ..Self::default() }
    }

    /// An attempt ended without an answer.
    pub(crate) fn of_failure(attempt: &Attempt) -> Self {
        let status = match attempt.reason {
            Reason::Status => attempt.status.unwrap_or(500),
            // RFC 3261 §8.1.3.1.
            Reason::NoResponse | Reason::TimedOut | Reason::NoAnswer => 408,
            Reason::Refused | Reason::ConnectFailed => 503,
            // Given up by our own side: a request that neither succeeded nor failed.
            Reason::Answered | Reason::AnsweredLate | Reason::GivenUp => 487,
        };
        let mut it = Self { requests: 1, ..Self::default() };
        it.redirected = u64::from(status / 100 == 3);
        it.effective = u64::from(matches!(status, 480 | 486 | 600 | 603));
        it.ineffective = u64::from(matches!(status, 408 | 500 | 503 | 504));
        // RFC 6076 §4.3.2: 4xx, 5xx and 6xx, but no challenge; a time-out has no response to be timed.
        if attempt.reason == Reason::Status && status >= 400 && !matches!(status, 401 | 402 | 407) {
            it.srd_failed.note(attempt.spent_us);
        } else if let Some(heard) = attempt.heard_us {
            it.srd.note(heard);
        }
        it
    }

    /// A session is over on the wire.
    pub(crate) fn of_release(release: &Release) -> Self {
        let mut it = Self { completed: u64::from(release.completed), ..Self::default() };
        if let Some(delay) = release.disconnect_us {
            it.sdd.note(delay);
        }
        let duration = if release.completed { &mut it.sdt } else { &mut it.sdt_failed };
        duration.note(release.talked_us);
        it
    }

    /// A call over the trunk is over; its caller heard it ring after this long.
    pub(crate) fn of_pdd(pdd_us: u64) -> Self {
        Self { pdd: Spread::of(pdd_us), ..Self::default() }
    }
}

/// Attempts since the start by what came of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    /// By final status; at most one entry for each of 200 to 699.
    pub by_status: BTreeMap<u16, u64>,
    /// In the order of [`Reason::ALL`].
    pub by_reason: [u64; Reason::ALL.len()],
}

impl Attempts {
    /// Counts one.
    pub(crate) fn count(&mut self, reason: Reason, status: Option<u16>) {
        if let Some(status) = status.filter(|status| (200..700).contains(status)) {
            *self.by_status.entry(status).or_default() += 1;
        }
        if let Some(at) = Reason::ALL.iter().position(|it| *it == reason) {
            self.by_reason[at] += 1;
        }
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(reason: Reason, status: Option<u16>) -> Attempt {
        Attempt {
            trunk: "t".into(),
            peer: "10.0.0.1:5060".parse().unwrap(),
            status,
            cause: "".into(),
            spent_us: 40_000,
            heard_us: Some(10_000),
            reason,
            redirected: None,
        }
    }

    /// RFC 6076 §4.3, §4.6, §4.7, §4.8, §4.9.
    #[test]
    fn ratios_are_as_defined() {
        let mut all = Performance::default();
        assert_eq!((all.ser(), all.seer(), all.isa(), all.scr()), (None, None, None, None));
        for _ in 0..5 {
            all.add(&Performance::of_answer(Some(20_000)));
        }
        let failures = [
            (Reason::Status, Some(486)),
            (Reason::Status, Some(302)),
            (Reason::Status, Some(503)),
            (Reason::Status, Some(404)),
            (Reason::Status, Some(407)),
            (Reason::NoResponse, None),
            (Reason::Refused, None),
            (Reason::GivenUp, None),
        ];
        for (reason, status) in failures {
            all.add(&Performance::of_failure(&attempt(reason, status)));
        }
        for completed in [true, true, false] {
            let disconnect_us = completed.then_some(5000);
            let release = Release { trunk: "t".into(), talked_us: 3_000_000, disconnect_us, completed };
            all.add(&Performance::of_release(&release));
        }
        assert_eq!((all.requests, all.redirected), (13, 1));
        assert_eq!(all.ser(), Some(5.0 / 12.0));
        assert_eq!(all.seer(), Some(6.0 / 12.0), "five answers and a busy");
        assert_eq!(all.isa(), Some(3.0 / 13.0), "503, silence, ICMP");
        assert_eq!(all.scr(), Some(2.0 / 13.0));
        assert_eq!(all.srd_failed.count(), 3, "486, 503 and 404; neither 302 nor 407");
        assert_eq!((all.srd.count(), all.sdd.count()), (10, 2));
        assert_eq!((all.sdt.count(), all.sdt_failed.count()), (2, 1));
    }

    #[test]
    fn attempts_are_counted_by_status_and_reason() {
        let mut attempts = Attempts::default();
        attempts.count(Reason::Status, Some(486));
        attempts.count(Reason::Status, Some(486));
        attempts.count(Reason::NoResponse, None);
        attempts.count(Reason::Status, Some(9999));
        assert_eq!(attempts.by_status, BTreeMap::from([(486, 2)]));
        let by = |reason| attempts.by_reason[Reason::ALL.iter().position(|it| *it == reason).unwrap()];
        assert_eq!((by(Reason::Status), by(Reason::NoResponse), by(Reason::Answered)), (3, 1, 0));
    }
}
