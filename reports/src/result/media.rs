//! Voice quality as the two ends measured it.

use super::Histogram;
use serde::{Deserialize, Serialize};

/// One direction of all calls. Every packet carries a mark, so the counts are exact.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Direction {
    /// `caller-to-callee` or `callee-to-caller`.
    pub name: String,
    /// Streams that sent at least one packet.
    pub streams: u64,
    /// Packets sent.
    pub sent: u64,
    /// Packets received for the first time.
    pub received: u64,
    /// Sent while the receiver was there, and never received.
    pub lost: u64,
    /// Received again.
    pub duplicated: u64,
    /// Received after a later one.
    pub reordered: u64,
    /// Received too late to be played (counted apart from loss).
    pub late: u64,
    /// Received without a mark that can be read: changed on the way, or nobody's of this run. Not in `received`; `None` in results of before it was counted.
    pub unreadable: Option<u64>,
    /// Received with another call's mark: must be 0.
    pub cross_talk: u64,
    /// Sent to a receiver that was dead by plan (inside a fault window); not part of `lost`.
    pub lost_to_fault: u64,
    /// One-way delay of each packet, ns.
    pub delay: Histogram,
    /// RFC 3550 §6.4.1 interarrival jitter at the end of each stream, ns.
    pub jitter: Histogram,
    /// Worst difference between scheduled and real gap per stream, ns.
    pub gap: Histogram,
}

impl Direction {
    /// Packets lost / packets sent (less those sent to the dead); `None` when none was sent.
    #[must_use]
    pub fn loss(&self) -> Option<f64> {
        let wanted = self.sent.checked_sub(self.lost_to_fault)?;
        (wanted > 0).then(|| self.lost as f64 / wanted as f64)
    }
}

/// Packets counted at one place on their way, in travelling order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stage {
    /// Place, for instance `sent by callers`, `received by target`.
    pub name: String,
    /// Packets; `None` when that place cannot count.
    pub packets: Option<u64>,
}

/// Media quality of the run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Media {
    /// Both directions.
    pub directions: Vec<Direction>,
    /// Delay added by the target: one-way delay less the bare path's median, ns; empty when the bare path was not measured.
    pub added_delay: Histogram,
    /// Median one-way delay of the bare path (no target between), ns.
    pub bare_delay_ns: Option<u64>,
    /// MOS-CQE of each call's worse direction, thousandths.
    pub mos: Histogram,
    /// Packet loss of each call, parts per million.
    pub call_loss: Histogram,
    /// 200 to the first packet heard, per direction, ns.
    pub first_audio: Histogram,
    /// Calls whose media was measured.
    pub calls: u64,
    /// Calls with exactly one silent direction.
    pub one_way_audio: Option<u64>,
    /// Calls with both directions silent.
    pub no_audio: Option<u64>,
    /// Calls that heard another call's mark.
    pub cross_talk_calls: Option<u64>,
    /// Upper bound on the difference between sender's and receiver's clock, ns (0: one clock).
    pub clock_error_ns: Option<u64>,
    /// E-model inputs in words, for instance `G.711 with PLC: Ie 0, Bpl 25.1`.
    pub model: Option<String>,
    /// Packets along the way.
    pub waterfall: Vec<Stage>,
}

impl Media {
    /// All packets lost / all sent, both directions; `None` when nothing was sent.
    #[must_use]
    pub fn loss(&self) -> Option<f64> {
        let wanted: u64 = self.directions.iter().map(|d| d.sent.saturating_sub(d.lost_to_fault)).sum();
        let lost: u64 = self.directions.iter().map(|d| d.lost).sum();
        (wanted > 0).then(|| lost as f64 / wanted as f64)
    }

    /// One-way delay of both directions together.
    #[must_use]
    pub fn delay(&self) -> Histogram {
        let mut all = Histogram::default();
        self.directions.iter().for_each(|d| all.merge(&d.delay));
        all
    }

    /// Jitter of both directions together.
    #[must_use]
    pub fn jitter(&self) -> Histogram {
        let mut all = Histogram::default();
        self.directions.iter().for_each(|d| all.merge(&d.jitter));
        all
    }
}
