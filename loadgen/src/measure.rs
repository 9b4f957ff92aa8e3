//! What a shard measures: parts of one second, merged into the whole. A part is what shards mail, what carriers
//! write down line by line, and what results are made of.

use crate::mark::CallName;
use core::time::Duration;
use reports::result::{Histogram, Unit};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most call records a part keeps; calls beyond are counted in [`Part::records_dropped`].
pub const RECORDS_MAX: usize = 1_000_000;

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// As planned: by the BYE of the side that was to send it, answered.
    Completed,
    /// Refused with this status.
    Refused(u16),
    /// Not a word within the time set.
    NoResponse,
    /// No final answer within the time set; cancelled.
    NoAnswer,
    /// ICMP or TCP said that nobody is there.
    Unreachable,
    /// A transaction timed out.
    TimedOut,
    /// It stood, and the other side ended it before its time.
    EndedByPeer,
    /// It stood, and then the peer knew it no more, or did not acknowledge.
    Lost,
    /// The generator could not place it (no port, table full): its own fault.
    NotPlaced,
    /// The run ended first: neither good nor bad.
    CutShort,
    /// The caller cancelled (seen by carriers).
    Cancelled,
    /// Answered in a way that cannot be used: no audio, no common codec.
    Unusable,
}

impl Outcome {
    /// The word in reports: a status as its number.
    pub fn word(self) -> String {
        match self {
            Self::Completed => "completed".to_owned(),
            Self::Refused(status) => status.to_string(),
            Self::NoResponse | Self::NoAnswer | Self::TimedOut => "timeout".to_owned(),
            Self::Unreachable => "unreachable".to_owned(),
            Self::EndedByPeer => "ended-by-peer".to_owned(),
            Self::Lost => "lost".to_owned(),
            Self::NotPlaced => "not-placed".to_owned(),
            Self::CutShort => "cut-short".to_owned(),
            Self::Cancelled => "cancelled".to_owned(),
            Self::Unusable => "unusable-answer".to_owned(),
        }
    }

    /// Whether the target failed the call.
    pub fn failed(self) -> bool {
        !matches!(self, Self::Completed | Self::CutShort | Self::NotPlaced)
    }
}

/// One call, once it is over. Instants are nanoseconds of the host's monotonic clock.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CallRecord {
    /// Its name at this end.
    pub call: CallName,
    /// The call at the other end, as its marks said; 0 if nothing was heard.
    pub peer: CallName,
    /// When it was due (callers) or came in (carriers).
    pub due: u64,
    /// When it was answered; 0 if it was not.
    pub answered: u64,
    /// When it was over.
    pub ended: u64,
    /// How.
    pub outcome: Outcome,
    /// What the other side said of its ending, where it said something.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Whether it is judged, or of the warm-up.
    pub judged: bool,
    /// What was heard; `None` for a call without voice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voice: Option<VoiceRecord>,
}

/// What one end of a call sent and heard.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct VoiceRecord {
    /// Packets sent.
    pub sent: u64,
    /// Packets heard in a place of their own.
    pub heard: u64,
    /// Packets that did not come.
    pub lost: u64,
    /// Packets missing at the end: silence between the last one heard and a planned hang-up; not in `lost`.
    #[serde(default)]
    pub tail: u64,
    /// Packets sent since the last one was heard, of a call that the peer ended: into the void, as a rule.
    #[serde(default)]
    pub into_silence: u64,
    /// MOS-CQE of what was heard, thousandths; 0 if nothing was.
    pub mos: u32,
    /// The same with the silence at the end.
    #[serde(default)]
    pub mos_with_tail: u32,
    /// Packets of another call.
    pub crosstalk: u64,
    /// Longest time without a packet, ns.
    pub gap: u64,
    /// Time from the last packet to the call's end, ns.
    pub silence: u64,
}

/// One direction as its receiving end heard it, and the own voice as it was sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VoicePart {
    /// Packets sent.
    pub sent: u64,
    /// Streams that began to send.
    pub streams: u64,
    /// Packets heard in a place of their own.
    pub heard: u64,
    /// Packets missing, net of those that came late after all.
    pub lost: i64,
    /// Packets heard twice.
    pub duplicates: u64,
    /// Packets heard after a later one.
    pub reordered: u64,
    /// Packets too late for a jitter buffer of 60 ms.
    pub discards: u64,
    /// Packets of another call.
    pub crosstalk: u64,
    /// Packets whose mark was damaged.
    pub corrupt: u64,
    /// Packets without a mark of ours.
    pub foreign: u64,
    /// Packets of the call that had the port before.
    pub stale: u64,
    /// Packets not sent since the thread was too late for them.
    pub skipped: u64,
    /// From the actual instant of sending to the kernel's receipt, ns.
    pub delay: Histogram,
    /// Actual minus intended instant of sending, ns.
    pub send_error: Histogram,
    /// RFC 3550 jitter at the end of each call, ns.
    pub jitter: Histogram,
    /// Longest gap of each call less the packet time, ns.
    pub gap: Histogram,
    /// From the answer to the first packet heard, ns.
    pub first_audio: Histogram,
    /// MOS of what each call heard in this second, thousandths.
    pub mos: Histogram,
}

impl Default for VoicePart {
    fn default() -> Self {
        let ns = || Histogram::new(Unit::Nanoseconds);
        Self {
            sent: 0,
            streams: 0,
            heard: 0,
            lost: 0,
            duplicates: 0,
            reordered: 0,
            discards: 0,
            crosstalk: 0,
            corrupt: 0,
            foreign: 0,
            stale: 0,
            skipped: 0,
            delay: ns(),
            send_error: ns(),
            jitter: ns(),
            gap: ns(),
            first_audio: ns(),
            mos: Histogram::new(Unit::MilliMos),
        }
    }
}

impl VoicePart {
    /// Adds another part.
    pub fn merge(&mut self, other: &Self) {
        self.sent += other.sent;
        self.streams += other.streams;
        self.heard += other.heard;
        self.lost += other.lost;
        self.duplicates += other.duplicates;
        self.reordered += other.reordered;
        self.discards += other.discards;
        self.crosstalk += other.crosstalk;
        self.corrupt += other.corrupt;
        self.foreign += other.foreign;
        self.stale += other.stale;
        self.skipped += other.skipped;
        self.delay.merge(&other.delay);
        self.send_error.merge(&other.send_error);
        self.jitter.merge(&other.jitter);
        self.gap.merge(&other.gap);
        self.first_audio.merge(&other.first_audio);
        self.mos.merge(&other.mos);
    }
}

/// What one shard measured in one second, or several such parts together.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Part {
    /// When the part begins, ns of the monotonic clock.
    pub from: u64,
    /// When it ends.
    pub to: u64,
    /// Calls up (answered, not over) at its end.
    pub up: u64,
    /// Calls in any state at its end.
    pub open: u64,
    /// Calls due (callers) or come in (carriers).
    pub attempts: u64,
    /// Calls answered.
    pub answered: u64,
    /// Calls that failed.
    pub failed: u64,
    /// Calls that ended as planned.
    pub completed: u64,
    /// How calls ended that did not end as planned, by [`Outcome::word`].
    pub causes: BTreeMap<String, u64>,
    /// How INVITEs ended: final status, `timeout`, `unreachable`, `cancelled`.
    pub finals: BTreeMap<String, u64>,
    /// Responses by status.
    pub responses: BTreeMap<u16, u64>,
    /// INVITEs sent or received.
    pub invites: u64,
    /// Due to first response above 100, of calls answered, ns.
    pub srd: Histogram,
    /// Due to final refusal, ns.
    pub srd_failed: Histogram,
    /// Due to first 180 or 183, ns.
    pub pdd: Histogram,
    /// Due to 200, ns.
    pub setup: Histogram,
    /// BYE to its end, ns.
    pub sdd: Histogram,
    /// 200 to BYE, ns.
    pub sdt: Histogram,
    /// Actual minus due instant of placing a call, ns.
    pub start_error: Histogram,
    /// Voice.
    pub voice: VoicePart,
    /// Messages sent again.
    pub retransmissions: u64,
    /// Transactions that timed out.
    pub timeouts: u64,
    /// Messages that fitted nothing.
    pub unexpected: u64,
    /// Arrivals not placed since as many calls were open as allowed.
    pub limiter_hits: u64,
    /// Arrivals not placed since no RTP port was ready.
    pub ports_missing: u64,
    /// Datagrams dropped at the generator's own sockets, for lack of buffer.
    pub drops: u64,
    /// Datagrams the generator could not send.
    pub unsent: u64,
    /// CPU time of the shard's thread, ns.
    pub busy: u64,
    /// Calls over, with voice or failed.
    pub records: Vec<CallRecord>,
    /// Calls over of which no record was kept.
    pub records_dropped: u64,
}

impl Part {
    /// Counts a call that is over, and keeps its record if it has something to say.
    pub fn ended(&mut self, record: CallRecord) {
        match record.outcome {
            Outcome::Completed => self.completed += 1,
            outcome => {
                *self.causes.entry(outcome.word()).or_insert(0) += 1;
                self.failed += u64::from(outcome.failed());
            }
        }
        if record.voice.is_none() && record.outcome == Outcome::Completed {
            return;
        }
        if self.records.len() < RECORDS_MAX {
            self.records.push(record);
        } else {
            self.records_dropped += 1;
        }
    }

    /// Adds a part of another shard or of a later second. Of the gauges the later one stands; parts of
    /// several shards at one instant are to be added with [`Self::join`].
    pub fn merge(&mut self, other: &Self) {
        self.from = if self.from == 0 { other.from } else { self.from.min(other.from) };
        if other.to >= self.to {
            self.to = other.to;
            self.up = other.up;
            self.open = other.open;
        }
        self.attempts += other.attempts;
        self.answered += other.answered;
        self.failed += other.failed;
        self.completed += other.completed;
        for (mine, theirs) in [(&mut self.causes, &other.causes), (&mut self.finals, &other.finals)] {
            for (word, count) in theirs {
                *mine.entry(word.clone()).or_insert(0) += count;
            }
        }
        for (status, count) in &other.responses {
            *self.responses.entry(*status).or_insert(0) += count;
        }
        self.invites += other.invites;
        self.srd.merge(&other.srd);
        self.srd_failed.merge(&other.srd_failed);
        self.pdd.merge(&other.pdd);
        self.setup.merge(&other.setup);
        self.sdd.merge(&other.sdd);
        self.sdt.merge(&other.sdt);
        self.start_error.merge(&other.start_error);
        self.voice.merge(&other.voice);
        self.retransmissions += other.retransmissions;
        self.timeouts += other.timeouts;
        self.unexpected += other.unexpected;
        self.limiter_hits += other.limiter_hits;
        self.ports_missing += other.ports_missing;
        self.drops += other.drops;
        self.unsent += other.unsent;
        self.busy += other.busy;
        let room = RECORDS_MAX.saturating_sub(self.records.len());
        let taken = other.records.len().min(room);
        self.records.extend_from_slice(&other.records[..taken]);
        self.records_dropped += other.records_dropped + (other.records.len() - taken) as u64;
    }

    /// Adds the part of another shard of the same second: gauges add up.
    pub fn join(&mut self, other: &Self) {
        let (up, open) = (self.up + other.up, self.open + other.open);
        self.merge(other);
        (self.up, self.open) = (up, open);
    }

    /// Packets lost in percent of those expected; `None` if none was expected.
    pub fn loss_percent(&self) -> Option<f64> {
        let lost = self.voice.lost.max(0) as f64;
        let expected = lost + self.voice.heard as f64;
        (expected > 0.0).then(|| 100.0 * lost / expected)
    }
}

/// A span as a histogram's integer.
pub fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(outcome: Outcome, voice: bool) -> CallRecord {
        CallRecord {
            call: CallName::new(1, 2),
            peer: CallName::NOBODY,
            due: 1,
            answered: 0,
            ended: 3,
            outcome,
            reason: String::new(),
            judged: true,
            voice: voice.then(VoiceRecord::default),
        }
    }

    #[test]
    fn seconds_add_up_and_shards_join() {
        let mut first = Part { to: 1, up: 5, attempts: 5, ..Part::default() };
        first.ended(record(Outcome::Refused(503), false));
        first.ended(record(Outcome::Completed, false));
        first.voice.delay.record(10);
        let mut second = Part { to: 2, up: 4, attempts: 1, ..Part::default() };
        second.ended(record(Outcome::Completed, true));
        let mut whole = first.clone();
        whole.merge(&second);
        assert_eq!((whole.up, whole.attempts, whole.failed, whole.completed), (4, 6, 1, 2));
        assert_eq!(whole.causes["503"], 1);
        assert_eq!(whole.records.len(), 2, "a quiet success leaves no record");
        let mut both = first.clone();
        both.join(&second);
        assert_eq!(both.up, 9);
    }

    #[test]
    fn a_part_survives_its_line() {
        let mut part = Part { to: 7, ..Part::default() };
        part.ended(record(Outcome::NoAnswer, true));
        part.voice.lost = -1;
        part.responses.insert(180, 2);
        let line = serde_json::to_string(&part).unwrap();
        let back: Part = serde_json::from_str(&line).unwrap();
        assert_eq!(serde_json::to_string(&back).unwrap(), line);
        assert!(!line.contains('\n'));
    }
}
