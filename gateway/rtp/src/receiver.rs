//! A received stream: what arrived, what did not, how evenly, and the report block that says so.

use crate::rtcp::ReportBlock;
use crate::{Arrival, Header, Jitter, Sequence};
use core::time::Duration;
use sansio::Time;

/// Silence between two packets from here on counts as a gap.
const GAP: Duration = Duration::from_millis(200);

/// The statistics of one direction of one leg, over every source that spoke on it in turn.
///
/// The caller has decided that a packet belongs here (see [`crate::Latch`]); a new SSRC therefore starts anew at once,
/// with what was counted before kept in the sums.
#[derive(Clone, Debug)]
pub struct Receiver {
    clock: u32,
    /// The payload type of telephone events (RFC 4733), whose timestamps stand still; above 127 if none.
    event_type: u8,
    ssrc: u32,
    last: Option<Time>,
    jitter: Jitter,
    sequence: Sequence,
    packets: u64,
    octets: u64,
    duplicates: u64,
    out_of_order: u64,
    jumps: u32,
    restarts: u32,
    ssrc_changes: u32,
    gaps: u32,
    longest_gap: Duration,
    first: Option<Time>,
    /// Packets of the present source, duplicates and all, as RFC 3550 A.3 counts them.
    source_packets: u64,
    expected_before: u64,
    /// At the last report block (RFC 3550 A.3).
    expected_prior: u64,
    received_prior: u64,
}

/// What a [`Receiver`] knows, as plain values.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Packets received, duplicates included.
    pub packets: u64,
    /// Payload octets received.
    pub octets: u64,
    /// Packets that should have come, by sequence number.
    pub expected: u64,
    /// Packets that did not come.
    pub lost: u64,
    /// Packets that came more than once.
    pub duplicates: u64,
    /// Packets that came after one sent later.
    pub out_of_order: u64,
    /// Packets far from all others in sequence (RFC 3550 A.1).
    pub jumps: u32,
    /// Times the source began a new sequence or time base without a new SSRC.
    pub restarts: u32,
    /// Times the SSRC changed.
    pub ssrc_changes: u32,
    /// Interarrival jitter now (RFC 3550 §6.4.1); `None` until two packets were compared.
    pub jitter: Option<Duration>,
    /// Its mean over the stream.
    pub jitter_mean: Option<Duration>,
    /// Its maximum.
    pub jitter_max: Option<Duration>,
    /// Times that no packet came for 200 ms or more.
    pub gaps: u32,
    /// The longest time between two packets.
    pub longest_gap: Duration,
    /// Loss bursts (RFC 3611 §4.7.2).
    pub bursts: u64,
    /// Share lost inside bursts, 0 to 1.
    pub burst_density: f64,
    /// Share lost outside of bursts.
    pub gap_density: f64,
    /// Mean packets in a burst.
    pub burst_length: f64,
    /// Mean packets in a gap.
    pub gap_length: f64,
    /// BurstR of ITU-T G.107, at least 1.
    pub burst_ratio: f64,
    /// When the first packet came.
    pub first: Option<Time>,
    /// When the last packet came.
    pub last: Option<Time>,
}

/// What a [`Receiver`] counted: the part of a [`Snapshot`] that is cheap to have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets received, duplicates included.
    pub packets: u64,
    /// Payload octets received.
    pub octets: u64,
    /// Packets that did not come.
    pub lost: u64,
    /// Packets that came after one sent later.
    pub out_of_order: u64,
    /// Packets that came more than once.
    pub duplicates: u64,
}

impl Snapshot {
    /// Share of expected packets that did not come, 0 to 1; `None` before any was expected.
    pub fn loss(&self) -> Option<f64> {
        (self.expected > 0).then(|| self.lost as f64 / self.expected as f64)
    }
}

impl Receiver {
    /// A stream whose payload runs at `clock` Hz, with telephone events of type `event_type`.
    pub fn new(clock: u32, event_type: Option<u8>) -> Self {
        Self {
            clock: clock.max(1),
            event_type: event_type.unwrap_or(u8::MAX),
            ssrc: 0,
            last: None,
            jitter: Jitter::default(),
            sequence: Sequence::default(),
            packets: 0,
            octets: 0,
            duplicates: 0,
            out_of_order: 0,
            jumps: 0,
            restarts: 0,
            ssrc_changes: 0,
            gaps: 0,
            longest_gap: Duration::ZERO,
            first: None,
            source_packets: 0,
            expected_before: 0,
            expected_prior: 0,
            received_prior: 0,
        }
    }

    /// The payload's clock and event type from now on (a new answer was agreed upon).
    pub fn set_payload(&mut self, clock: u32, event_type: Option<u8>) {
        let clock = clock.max(1);
        if clock != self.clock {
            self.jitter.anchor();
        }
        self.clock = clock;
        self.event_type = event_type.unwrap_or(u8::MAX);
    }

    /// Takes a packet of `octets` payload bytes.
    pub fn record(&mut self, arrival: Time, header: &Header, octets: usize) -> Arrival {
        match self.last {
            Some(last) => {
                let silence = arrival.since(last);
                self.longest_gap = self.longest_gap.max(silence);
                self.gaps += u32::from(silence >= GAP);
            }
            None if self.first.is_none() => self.first = Some(arrival),
            None => {}
        }
        if self.ssrc != header.ssrc {
            self.change_source(header.ssrc);
        }
        self.last = Some(arrival);
        self.packets += 1;
        self.source_packets += 1;
        self.octets += octets as u64;
        let place = self.sequence.record(header.sequence);
        match place {
            Arrival::InOrder | Arrival::Ahead(_) => {}
            Arrival::Late => self.out_of_order += 1,
            Arrival::Duplicate => self.duplicates += 1,
            Arrival::Jump => {
                self.jumps += 1;
                self.source_packets -= 1;
                return place;
            }
            Arrival::Restart => {
                self.restarts += 1;
                self.source_packets = 2;
                self.begin_reporting();
                self.jitter.anchor();
            }
        }
        // RFC 4733 §2.2.1: all packets of an event carry the timestamp of its beginning.
        if header.payload_type != self.event_type {
            self.jitter.record(arrival, header.timestamp, self.clock);
        }
        place
    }

    fn change_source(&mut self, ssrc: u32) {
        self.ssrc = ssrc;
        if self.packets == 0 {
            return;
        }
        self.ssrc_changes += 1;
        self.source_packets = 0;
        self.sequence.close();
        self.begin_reporting();
        self.jitter.anchor();
    }

    /// Report blocks speak of one source since it began.
    const fn begin_reporting(&mut self) {
        self.expected_before = self.sequence.expected_closed();
        self.expected_prior = 0;
        self.received_prior = 0;
    }

    /// The stream is paused on purpose (hold): the silence that follows is neither gap nor jitter.
    pub const fn pause(&mut self) {
        self.last = None;
        self.jitter.anchor();
    }

    /// The SSRC heard last; meaningless before the first packet.
    pub const fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// A moment in both clocks: when the packet came that jitter was measured with last, and its timestamp. `None` before the first
    /// of its source and after [`Self::pause`].
    pub const fn moment(&self) -> Option<(Time, u32)> {
        self.jitter.last()
    }

    /// Interarrival jitter now (RFC 3550 §6.4.1).
    pub const fn jitter(&self) -> Duration {
        self.jitter.current()
    }

    /// Packets that should have come, by sequence number.
    pub const fn expected(&self) -> u64 {
        self.sequence.expected()
    }

    /// When the last packet came, `None` before the first and after [`Self::pause`].
    pub const fn last(&self) -> Option<Time> {
        self.last
    }

    /// Packets received, duplicates included.
    pub const fn packets(&self) -> u64 {
        self.packets
    }

    /// The payload's clock in Hz.
    pub const fn clock(&self) -> u32 {
        self.clock
    }

    /// The block for the next SR or RR (RFC 3550 §6.4.1, A.3); begins a new interval for the fraction lost.
    /// `last_sr` and `delay` tell of the last sender report heard from this source: the middle 32 bits of its NTP
    /// timestamp and the time since, both zero if none was heard.
    pub fn report(&mut self, last_sr: u32, delay: Duration) -> ReportBlock {
        let expected = self.sequence.expected() - self.expected_before;
        let expected_interval = expected - self.expected_prior;
        let received_interval = self.source_packets - self.received_prior;
        self.expected_prior = expected;
        self.received_prior = self.source_packets;
        let lost_interval = expected_interval.saturating_sub(received_interval);
        let fraction = (lost_interval << 8).checked_div(expected_interval).unwrap_or(0);
        let lost = expected.cast_signed() - self.source_packets.cast_signed();
        ReportBlock {
            ssrc: self.ssrc,
            fraction_lost: fraction.min(255) as u8,
            lost: lost.clamp(-0x80_0000, 0x7f_ffff) as i32,
            highest_sequence: self.sequence.extended_highest(),
            jitter: self.jitter.ticks(self.clock),
            last_sr,
            delay_since_sr: crate::rtcp::ntp_short(delay),
        }
    }

    /// The counts alone, without the work that bursts take.
    pub const fn counts(&self) -> Counts {
        Counts {
            packets: self.packets,
            octets: self.octets,
            lost: self.sequence.lost(),
            out_of_order: self.out_of_order,
            duplicates: self.duplicates,
        }
    }

    /// Everything known so far.
    pub fn snapshot(&self) -> Snapshot {
        let burst = self.sequence.burst();
        let measured = |value: Duration| self.jitter.is_measured().then_some(value);
        Snapshot {
            packets: self.packets,
            octets: self.octets,
            expected: self.sequence.expected(),
            lost: self.sequence.lost(),
            duplicates: self.duplicates,
            out_of_order: self.out_of_order,
            jumps: self.jumps,
            restarts: self.restarts + self.jitter.discontinuities(),
            ssrc_changes: self.ssrc_changes,
            jitter: measured(self.jitter.current()),
            jitter_mean: measured(self.jitter.mean()),
            jitter_max: measured(self.jitter.max()),
            gaps: self.gaps,
            longest_gap: self.longest_gap,
            bursts: burst.bursts(),
            burst_density: burst.burst_density(),
            gap_density: burst.gap_density(),
            burst_length: burst.burst_length(),
            gap_length: burst.gap_length(),
            burst_ratio: burst.burst_ratio(),
            first: self.first,
            last: self.last,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SSRC: u32 = 0x1234;

    fn header(n: u16) -> Header {
        Header { payload_type: 0, marker: false, sequence: n, timestamp: u32::from(n) * 160, ssrc: SSRC }
    }

    fn at(n: u16) -> Time {
        Time::from_millis(1000 + u64::from(n) * 20)
    }

    fn of(numbers: impl IntoIterator<Item = u16>) -> Receiver {
        let mut receiver = Receiver::new(8000, Some(101));
        for n in numbers {
            receiver.record(at(n), &header(n), 160);
        }
        receiver
    }

    #[test]
    fn nothing_is_measured_before_two_packets() {
        assert_eq!(of([]).snapshot().loss(), None);
        assert_eq!(of([]).snapshot().jitter, None);
        assert_eq!(of([1]).snapshot().jitter, None);
        assert_eq!(of([1, 2]).snapshot().jitter, Some(Duration::ZERO));
        assert_eq!(of([1, 2]).snapshot().loss(), Some(0.0));
    }

    #[test]
    fn finds_the_longest_gap_and_forgets_a_hold() {
        let mut receiver = of((0..10).chain(30..40));
        assert_eq!(receiver.snapshot().longest_gap, Duration::from_millis(21 * 20));
        assert_eq!(receiver.snapshot().gaps, 1);
        receiver.pause();
        receiver.record(at(5000), &header(40), 160);
        let snapshot = receiver.snapshot();
        assert_eq!((snapshot.gaps, snapshot.longest_gap), (1, Duration::from_millis(420)));
        assert!(snapshot.jitter_max.unwrap() < Duration::from_millis(1));
        assert_eq!(snapshot.first, Some(at(0)));
    }

    #[test]
    fn a_new_ssrc_adds_to_the_sums_and_is_no_loss_or_jitter() {
        let mut receiver = of(0..10);
        for n in 0..10 {
            let other = Header { ssrc: 9, sequence: n + 30_000, timestamp: 0x8000_0000, ..header(n) };
            let other = Header { timestamp: other.timestamp + u32::from(n) * 160, ..other };
            receiver.record(at(n + 10), &other, 160);
        }
        let snapshot = receiver.snapshot();
        assert_eq!((snapshot.ssrc_changes, snapshot.expected, snapshot.lost), (1, 20, 0));
        assert_eq!(snapshot.jitter_max, Some(Duration::ZERO));
        assert_eq!(receiver.report(0, Duration::ZERO).ssrc, 9);
    }

    #[test]
    fn telephone_events_leave_the_jitter_alone() {
        let mut receiver = of(0..10);
        for n in 10..20 {
            let event = Header { payload_type: 101, timestamp: 1600, ..header(n) };
            receiver.record(at(n), &event, 4);
        }
        receiver.record(at(20), &header(20), 160);
        assert_eq!(receiver.snapshot().jitter_max, Some(Duration::ZERO));
        assert_eq!(receiver.snapshot().lost, 0);
    }

    #[test]
    fn report_blocks_follow_rfc_3550_a_3() {
        let mut receiver = of((0..100).filter(|n| n % 4 != 1));
        let block = receiver.report(0xabcd, Duration::from_millis(1500));
        assert_eq!((block.fraction_lost, block.lost), (64, 25));
        assert_eq!((block.highest_sequence, block.last_sr), (99, 0xabcd));
        assert_eq!(block.delay_since_sr, 0x1_8000);
        for n in 100..200 {
            receiver.record(at(n), &header(n), 160);
            receiver.record(at(n), &header(n), 160); // all of them twice
        }
        let block = receiver.report(0, Duration::ZERO);
        assert_eq!((block.fraction_lost, block.lost), (0, 25 - 100), "duplicates may make it negative");
        assert_eq!(receiver.snapshot().lost, 25, "but never in our own figures");
        assert_eq!(receiver.report(0, Duration::ZERO).fraction_lost, 0, "nothing expected in this interval");
    }

    #[test]
    fn a_restarted_source_reports_from_its_restart() {
        let mut receiver = of((0..100).filter(|n| n % 2 == 0));
        for n in 0..10u16 {
            receiver.record(at(100 + n), &header(20_000 + n), 160);
        }
        let block = receiver.report(0, Duration::ZERO);
        assert_eq!((block.lost, block.highest_sequence), (0, 20_009));
        let snapshot = receiver.snapshot();
        assert_eq!((snapshot.restarts, snapshot.jumps, snapshot.expected, snapshot.lost), (1, 1, 109, 49));
    }

    proptest! {
        #[test]
        fn any_packets_keep_the_sums(
            packets in proptest::collection::vec((any::<u16>(), any::<u32>(), 0u32..3, any::<u64>(), 0u8..128), 0..200),
        ) {
            let mut receiver = Receiver::new(8000, Some(101));
            for (n, (sequence, timestamp, ssrc, arrival, payload_type)) in packets.into_iter().enumerate() {
                let header = Header { payload_type, marker: false, sequence, timestamp, ssrc };
                receiver.record(Time::from_nanos(arrival), &header, 1);
                if n % 7 == 0 {
                    let _ = receiver.report(0, Duration::ZERO);
                }
                let snapshot = receiver.snapshot();
                prop_assert!(snapshot.packets - snapshot.duplicates >= snapshot.expected - snapshot.lost);
                prop_assert!(snapshot.burst_ratio >= 1.0);
            }
        }
    }
}
