//! Sessions, final responses, delays: RFC 6076.

use super::Histogram;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Delays in nanoseconds; an empty histogram was not measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Delays {
    /// RRD: REGISTER to its final response, successful ones (RFC 6076 §4.1).
    pub rrd: Histogram,
    /// Successful SRD: INVITE to the first status-indicative non-100 response (RFC 6076 §4.3.1).
    pub srd: Histogram,
    /// Failed SRD: INVITE to its 4xx-6xx, except 401, 402, 407 (RFC 6076 §4.3.2).
    pub srd_failed: Histogram,
    /// Setup delay: INVITE to 200.
    pub setup: Histogram,
    /// PDD: INVITE to the first 180 or 183.
    pub pdd: Histogram,
    /// Added by the target: INVITE into it to INVITE out of it, by marks.
    pub added: Histogram,
    /// SDD: BYE to its 2xx (RFC 6076 §4.4).
    pub sdd: Histogram,
    /// SDT: 200 to the INVITE until BYE or timeout (RFC 6076 §4.5).
    pub sdt: Histogram,
}

/// The ratios of RFC 6076 in percent, computed from the counts; `None` where nothing was attempted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Registers {
    /// IRA: ineffective registration attempts (§4.2).
    #[serde(rename = "IRA")]
    pub ira: Option<f64>,
    /// SER: session establishment ratio (§4.6).
    #[serde(rename = "SER")]
    pub ser: Option<f64>,
    /// SEER: session establishment effectiveness ratio (§4.7).
    #[serde(rename = "SEER")]
    pub seer: Option<f64>,
    /// ISA: ineffective session attempts (§4.8).
    #[serde(rename = "ISA")]
    pub isa: Option<f64>,
    /// SCR: session completion ratio (§4.9).
    #[serde(rename = "SCR")]
    pub scr: Option<f64>,
}

/// One trunk as seen by its counters at the end.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trunk {
    /// Name.
    pub name: String,
    /// Calls it was asked to take, refused by its cap or breaker included.
    pub bids: u64,
    /// INVITEs really sent to it.
    pub seizures: u64,
    /// Answered with 200.
    pub answered: u64,
    /// Ended busy (486, 600).
    pub busy: u64,
    /// Ended without answer of the subscriber (480, 487 after ringing, no-answer timer).
    pub no_answer: u64,
    /// Refused by the user (603).
    pub user_reject: u64,
    /// Sum of talk time, seconds.
    pub talk_s: f64,
    /// Its cap on calls; `None` when unlimited or unknown.
    pub max_calls: Option<u64>,
    /// Highest number of calls at once.
    pub peak_calls: Option<u64>,
    /// Calls counted at the end, after all calls ended: must be 0.
    pub calls_at_end: Option<u64>,
}

impl Trunk {
    /// ASR in percent: answered / seizures.
    #[must_use]
    pub fn asr(&self) -> Option<f64> {
        percent(self.answered, self.seizures)
    }

    /// NER in percent: (answered + busy + no answer + user reject) / seizures.
    #[must_use]
    pub fn ner(&self) -> Option<f64> {
        percent(self.answered + self.busy + self.no_answer + self.user_reject, self.seizures)
    }

    /// ABR in percent: answered / bids.
    #[must_use]
    pub fn abr(&self) -> Option<f64> {
        percent(self.answered, self.bids)
    }

    /// ALOC in seconds: talk time / answered.
    #[must_use]
    pub fn aloc(&self) -> Option<f64> {
        (self.answered > 0).then(|| self.talk_s / self.answered as f64)
    }
}

/// Counts seen by the callers, and the delays they measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Signalling {
    /// Initial INVITEs sent (one per session; retransmissions and authentication repeats not counted).
    pub invites: u64,
    /// How those INVITEs ended: final status as text, or `timeout`, `unreachable`, `cancelled`. Sessions still open at the end of an interrupted run are missing.
    pub finals: BTreeMap<String, u64>,
    /// Sessions answered with 200.
    pub answered: u64,
    /// Sessions set up and torn down as planned by BYE and its 200.
    pub completed: u64,
    /// Sessions not answered, or ended otherwise than planned, outside every fault window.
    pub failed_outside_fault: u64,
    /// The same inside a fault window.
    pub failed_in_fault: u64,
    /// REGISTERs sent.
    pub registers_sent: u64,
    /// REGISTERs that failed or timed out.
    pub registers_failed: u64,
    /// All responses received by status, provisional ones included.
    pub responses: BTreeMap<String, u64>,
    /// Requests retransmitted by the callers.
    pub retransmissions: Option<u64>,
    /// Fires of Timer B (INVITE timed out).
    pub timer_b: Option<u64>,
    /// Fires of Timer F (other request timed out).
    pub timer_f: Option<u64>,
    /// Fires of Timer H (no ACK).
    pub timer_h: Option<u64>,
    /// Messages that fitted no transaction, dialog or scenario.
    pub unexpected: Option<u64>,
    /// Delays.
    pub delays: Delays,
    /// The ratios; written by the judge.
    pub registers: Registers,
    /// Per trunk.
    pub trunks: Vec<Trunk>,
}

impl Signalling {
    /// The ratios of RFC 6076 from the counts.
    #[must_use]
    pub fn compute_registers(&self) -> Registers {
        let redirected = self.ended_by(|status| (300..400).contains(&status));
        let bids = self.invites.saturating_sub(redirected);
        let effective = self.ended_by(|status| matches!(status, 200 | 480 | 486 | 600 | 603));
        let timeouts = self.finals.get("timeout").copied().unwrap_or(0)
            + self.finals.get("unreachable").copied().unwrap_or(0);
        let ineffective = self.ended_by(|status| matches!(status, 408 | 500 | 503 | 504)) + timeouts;
        Registers {
            ira: percent(self.registers_failed, self.registers_sent),
            ser: percent(self.ended_by(|status| status == 200), bids),
            seer: percent(effective, bids),
            isa: percent(ineffective, self.invites),
            scr: percent(self.completed, self.invites),
        }
    }

    /// INVITEs whose final status satisfies `wanted`.
    fn ended_by(&self, wanted: impl Fn(u16) -> bool) -> u64 {
        self.finals
            .iter()
            .filter(|(status, _)| status.parse().is_ok_and(&wanted))
            .map(|(_, count)| count)
            .sum()
    }
}

/// `part / whole` in percent; `None` when `whole` is 0.
pub(crate) fn percent(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 * 100.0 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(finals: &[(&str, u64)]) -> Signalling {
        Signalling {
            invites: finals.iter().map(|(_, n)| n).sum(),
            finals: finals.iter().map(|(k, n)| ((*k).to_owned(), *n)).collect(),
            ..Signalling::default()
        }
    }

    #[test]
    fn ratios_follow_rfc_6076() {
        // RFC 6076 §4.6, §4.7: redirected INVITEs leave the denominator; busy is effective.
        let mut s = counted(&[("200", 80), ("302", 10), ("486", 10), ("503", 6), ("timeout", 4)]);
        s.completed = 78;
        let r = s.compute_registers();
        assert_eq!(r.ser, Some(80.0));
        assert_eq!(r.seer, Some(90.0));
        assert!((r.isa.unwrap() - 10.0 / 110.0 * 100.0).abs() < 1e-9);
        assert!((r.scr.unwrap() - 78.0 / 110.0 * 100.0).abs() < 1e-9);
        assert_eq!(r.ira, None, "no REGISTER was sent");
    }

    #[test]
    fn nothing_attempted_is_not_a_ratio() {
        assert_eq!(Signalling::default().compute_registers(), Registers::default());
        assert_eq!(Trunk::default().asr(), None);
    }

    #[test]
    fn trunk_ratios() {
        let trunk = Trunk {
            bids: 100,
            seizures: 80,
            answered: 60,
            busy: 10,
            no_answer: 5,
            user_reject: 1,
            talk_s: 600.0,
            ..Trunk::default()
        };
        assert_eq!(trunk.asr(), Some(75.0));
        assert_eq!(trunk.ner(), Some(95.0));
        assert_eq!(trunk.abr(), Some(60.0));
        assert_eq!(trunk.aloc(), Some(10.0));
    }
}
