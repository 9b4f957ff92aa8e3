//! Receives events: each is reported once, whatever is lost, doubled or out of order among its packets.
//!
//! An event is known by its timestamp (RFC 4733 §2.2.1); all packets with it speak of the same event, and what is older than the newest is of one
//! that was reported before. A long event goes on in a new segment, whose timestamp is where the last one ended and which has no marker (§2.5.1.3).
//! It is over when a packet says so, when another begins, or when nothing has come for a while: the three packets that say the end may
//! all be lost.

use super::Payload;
use crate::Header;
use core::time::Duration;
use sansio::Time;

/// Packets older than the newest by no more than so many seconds are late; beyond that the sender's time base is new.
const LATE_SECONDS: u32 = 10;
/// As many ticks as a segment has.
const SEGMENT: u32 = u16::MAX as u32;

/// Why an event is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// A packet said so: the duration is what the sender measured.
    Said,
    /// Another event began: the duration is what was last heard of it.
    Replaced,
    /// Nothing came any more: likewise.
    TimedOut,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// An event began.
    Began {
        /// Its number.
        event: u8,
        /// dBm0 without its sign, as its first packet said.
        volume: u8,
    },
    /// The event that began last is over.
    Ended {
        /// Its number.
        event: u8,
        /// How long it lasted.
        duration: Duration,
        /// How this is known.
        ending: Ending,
    },
}

#[derive(Clone, Copy, Debug)]
struct Event {
    event: u8,
    ssrc: u32,
    /// Timestamp of the present segment, and what all before it lasted.
    timestamp: u32,
    before: u64,
    /// The longest duration that was heard of the present segment.
    duration: u16,
    /// When a packet of it came last.
    heard: Time,
    over: bool,
    /// Whether it was given up: should it go on all the same, it is not reported again.
    gone: bool,
}

/// Listens to the events of one stream.
#[derive(Clone, Debug)]
pub struct Listener {
    clock: u32,
    patience: Duration,
    last: Option<Event>,
    packets: u64,
    malformed: u64,
}

impl Listener {
    /// A listener for a payload of `clock` Hz. An event of which nothing comes for `patience` is over; RFC 4733 §2.5.2.2 leaves the time to the
    /// receiver: several intervals of 20 to 50 ms, 200 ms say.
    pub const fn new(clock: u32, patience: Duration) -> Self {
        let clock = if clock == 0 { 1 } else { clock };
        Self { clock, patience, last: None, packets: 0, malformed: 0 }
    }

    /// Takes a packet of the event payload type; calls `report` for what it means, three times at most.
    pub fn put(&mut self, now: Time, header: &Header, payload: &[u8], mut report: impl FnMut(Report)) {
        self.packets += 1;
        let Some(payload) = Payload::parse(payload) else {
            self.malformed += 1;
            return;
        };
        // One that should have been given up long ago is, before what comes is looked at.
        self.poll(now, &mut report);
        if let Some(last) = &mut self.last {
            let newer = header.timestamp.wrapping_sub(last.timestamp);
            let older = last.timestamp.wrapping_sub(header.timestamp);
            let late = older != 0 && older < self.clock.saturating_mul(LATE_SECONDS);
            if last.ssrc != header.ssrc {
                Self::finish(last, self.clock, Ending::Replaced, &mut report);
            } else if newer == 0 && last.event == payload.event {
                if !last.over {
                    last.heard = now;
                    last.duration = last.duration.max(payload.duration);
                    if payload.end {
                        // What the end says is the duration, whatever was said before.
                        last.duration = payload.duration;
                        Self::finish(last, self.clock, Ending::Said, &mut report);
                    }
                }
                return;
            } else if late {
                return;
            } else if last.event == payload.event && !header.marker && goes_on(last, newer) {
                last.before += u64::from(newer);
                (last.timestamp, last.duration, last.heard) = (header.timestamp, payload.duration, now);
                if payload.end {
                    Self::finish(last, self.clock, Ending::Said, &mut report);
                    last.gone = false;
                }
                return;
            } else {
                Self::finish(last, self.clock, Ending::Replaced, &mut report);
            }
        }
        report(Report::Began { event: payload.event, volume: payload.volume });
        let mut event = Event {
            event: payload.event,
            ssrc: header.ssrc,
            timestamp: header.timestamp,
            before: 0,
            duration: payload.duration,
            heard: now,
            over: false,
            gone: false,
        };
        if payload.end {
            Self::finish(&mut event, self.clock, Ending::Said, &mut report);
        }
        self.last = Some(event);
    }

    /// Reports the end of an event of which nothing came for too long. To be called at [`Self::deadline`].
    pub fn poll(&mut self, now: Time, mut report: impl FnMut(Report)) {
        let due = self.deadline().is_some_and(|deadline| now >= deadline);
        if let Some(last) = self.last.as_mut().filter(|_| due) {
            last.gone = true;
            Self::finish(last, self.clock, Ending::TimedOut, &mut report);
        }
    }

    /// When [`Self::poll`] is to be called; `None` while no event goes on.
    pub fn deadline(&self) -> Option<Time> {
        self.last.as_ref().filter(|last| !last.over).map(|last| last.heard + self.patience)
    }

    /// The event that goes on.
    pub fn present(&self) -> Option<u8> {
        self.last.as_ref().filter(|last| !last.over).map(|last| last.event)
    }

    /// Packets that came, and those of them that were no event.
    pub const fn counts(&self) -> (u64, u64) {
        (self.packets, self.malformed)
    }

    fn finish(last: &mut Event, clock: u32, ending: Ending, report: &mut impl FnMut(Report)) {
        if last.over {
            return;
        }
        last.over = true;
        let ticks = last.before.saturating_add(u64::from(last.duration));
        let nanos = u128::from(ticks) * 1_000_000_000 / u128::from(clock);
        let duration = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        report(Report::Ended { event: last.event, duration, ending });
    }
}

/// Whether a timestamp later by `newer` is the next segment: it begins where a full one ends, or where the last packet heard says that
/// this one had come to.
const fn goes_on(last: &Event, newer: u32) -> bool {
    (!last.over || last.gone) && (newer == SEGMENT || newer == last.duration as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Outgoing, Transmission};
    use proptest::prelude::*;

    const PATIENCE: Duration = Duration::from_millis(200);

    fn header(packet: &Outgoing) -> Header {
        Header { payload_type: 101, marker: packet.marker, timestamp: packet.timestamp, ..Header::default() }
    }

    /// The packets of an event with their times, from `start` on, one each 20 ms.
    fn packets(event: u8, start: u64, clock: u32, ms: u32) -> Vec<(Time, Outgoing)> {
        let timestamp = (start as u32).wrapping_mul(clock / 1000).wrapping_sub(5000);
        let mut sending = Transmission::lasting(event, 10, timestamp, clock / 1000 * ms);
        std::iter::from_fn(|| sending.packet(clock / 50))
            .enumerate()
            .map(|(n, packet)| (Time::from_millis(start + 20 * (n as u64 + 1)), packet))
            .collect()
    }

    fn listen(clock: u32, packets: &[(Time, Outgoing)]) -> Vec<Report> {
        let mut listener = Listener::new(clock, PATIENCE);
        let mut reports = Vec::new();
        for (at, packet) in packets {
            if let Some(deadline) = listener.deadline().filter(|deadline| deadline <= at) {
                listener.poll(deadline, |report| reports.push(report));
            }
            listener.put(*at, &header(packet), &packet.payload.octets(), |report| reports.push(report));
        }
        if let Some(deadline) = listener.deadline() {
            listener.poll(deadline, |report| reports.push(report));
        }
        assert_eq!(listener.present(), None);
        reports
    }

    fn once(event: u8, ms: u64, ending: Ending) -> Vec<Report> {
        let duration = Duration::from_millis(ms);
        vec![Report::Began { event, volume: 10 }, Report::Ended { event, duration, ending }]
    }

    #[test]
    fn each_event_once_with_its_duration_at_every_clock() {
        for clock in [8000, 16_000, 48_000] {
            for event in 0..=16 {
                assert_eq!(listen(clock, &packets(event, 1000, clock, 100)), once(event, 100, Ending::Said));
            }
            let mut two = packets(1, 1000, clock, 100);
            two.extend(packets(1, 1200, clock, 60));
            let reports = listen(clock, &two);
            assert_eq!(
                reports,
                [once(1, 100, Ending::Said), once(1, 60, Ending::Said)].concat(),
                "the same key twice"
            );
        }
    }

    #[test]
    fn rfc_4733_section_2_5_1_3_segments_are_one_event() {
        for (clock, ms) in [(8000, 20_000), (48_000, 10_000)] {
            let all = packets(5, 1000, clock, ms);
            assert_eq!(listen(clock, &all), once(5, ms.into(), Ending::Said));
            // Without the packets that fill a segment, and the first of the next.
            let some: Vec<_> = all
                .iter()
                .filter(|p| p.1.payload.duration < 65_300 && p.1.payload.duration > 600)
                .copied()
                .collect();
            assert_eq!(listen(clock, &some), once(5, ms.into(), Ending::Said));
        }
    }

    #[test]
    fn when_every_end_is_lost_the_event_times_out_or_the_next_one_ends_it() {
        let mut cut = packets(3, 1000, 8000, 100);
        cut.truncate(4);
        assert_eq!(listen(8000, &cut), once(3, 80, Ending::TimedOut));
        cut.extend(packets(4, 1100, 8000, 50));
        assert_eq!(listen(8000, &cut), [once(3, 80, Ending::Replaced), once(4, 50, Ending::Said)].concat());
    }

    #[test]
    fn what_was_given_up_and_goes_on_is_not_reported_again() {
        let mut all = packets(5, 1000, 8000, 10_000);
        // Nothing for half a second around the end of the first segment.
        all.retain(|p| !(8900..9400).contains(&(p.0.as_nanos() / 1_000_000)));
        assert_eq!(listen(8000, &all), once(5, 7880, Ending::TimedOut));
    }

    #[test]
    fn an_event_of_which_only_the_end_comes_is_reported_all_the_same() {
        let last = packets(9, 1000, 8000, 100).pop().unwrap();
        assert_eq!(listen(8000, &[last]), once(9, 100, Ending::Said));
    }

    #[test]
    fn late_packets_of_the_event_before_change_nothing() {
        let first = packets(1, 1000, 8000, 60);
        let mut mixed = first.clone();
        mixed.extend(packets(2, 1200, 8000, 60));
        mixed.insert(7, (Time::from_millis(1230), first[0].1));
        mixed.insert(8, (Time::from_millis(1235), first[4].1));
        assert_eq!(listen(8000, &mixed), [once(1, 60, Ending::Said), once(2, 60, Ending::Said)].concat());
    }

    #[test]
    fn a_new_source_and_a_new_time_base_begin_anew() {
        let mut listener = Listener::new(8000, PATIENCE);
        let mut began = 0;
        let end = Payload { event: 1, end: true, volume: 10, duration: 400 }.octets();
        for (n, (ssrc, timestamp)) in [(1, 5000u32), (2, 4000), (2, 4_000_000_000)].into_iter().enumerate() {
            let header = Header { ssrc, timestamp, ..Header::default() };
            listener.put(Time::from_millis(1000 * n as u64), &header, &end, |report| {
                began += u32::from(matches!(report, Report::Began { .. }));
            });
        }
        assert_eq!(began, 3);
        listener.put(Time::from_millis(9000), &Header::default(), &[1, 2, 3], |_| panic!("no event"));
        assert_eq!(listener.counts(), (4, 1));
    }

    proptest! {
        /// Of each event some packets are lost, some come twice, all come up to 60 ms late and in that order: as long as one packet of it
        /// comes before the next event is heard of, it is reported once, and with its duration if an end came.
        #[test]
        fn each_event_is_reported_once_whatever_happens_to_its_packets(
            keys in proptest::collection::vec((0..17u8, 40..400u32), 1..8),
            clock in prop_oneof![Just(8000u32), Just(16_000), Just(48_000)],
            seed: u64,
        ) {
            let mut random = sansio::Random::new(seed);
            let mut came = Vec::new();
            let mut start = 1000;
            let mut expected = Vec::new();
            for (event, ms) in keys {
                let all = packets(event, start, clock, ms);
                let sure = random.below(all.len() as u64) as usize;
                let mut here = Vec::new();
                for (n, (at, packet)) in all.into_iter().enumerate() {
                    let copies = if n == sure { 1 } else { random.below(3) };
                    for _ in 0..copies {
                        here.push((at + Duration::from_millis(random.below(60)), packet));
                    }
                }
                expected.push((event, ms));
                came.extend(here);
                // 60 ms for what is late, and the three ends.
                start += u64::from(ms) + 150;
            }
            came.sort_by_key(|p| p.0);
            let reports = listen(clock, &came);
            let began: Vec<u8> = reports.iter().filter_map(|r| match r { Report::Began { event, .. } => Some(*event), _ => None }).collect();
            let ended: Vec<(u8, Duration, Ending)> = reports.iter().filter_map(|r| match r { Report::Ended { event, duration, ending } => Some((*event, *duration, *ending)), _ => None }).collect();
            prop_assert_eq!(&began, &expected.iter().map(|e| e.0).collect::<Vec<_>>());
            prop_assert_eq!(began.len(), ended.len());
            for ((event, ms), (same, duration, ending)) in expected.iter().zip(ended) {
                prop_assert_eq!(*event, same);
                prop_assert!(duration <= Duration::from_millis(u64::from(*ms)));
                if ending == Ending::Said {
                    prop_assert_eq!(duration, Duration::from_millis(u64::from(*ms)));
                }
            }
        }

        #[test]
        fn nothing_panics_and_every_end_has_a_beginning(
            packets in proptest::collection::vec((any::<u32>(), any::<u32>(), any::<bool>(), proptest::collection::vec(any::<u8>(), 0..6), 0..3000u64), 0..100),
            clock: u32,
        ) {
            let mut listener = Listener::new(clock, PATIENCE);
            let (mut now, mut open) = (Time::ZERO, false);
            for (ssrc, timestamp, marker, payload, later) in packets {
                now += Duration::from_millis(later);
                let header = Header { ssrc: ssrc % 2, timestamp, marker, ..Header::default() };
                let mut reports = Vec::new();
                listener.put(now, &header, &payload, |report| reports.push(report));
                prop_assert!(reports.len() <= 3);
                for report in reports {
                    let begins = matches!(report, Report::Began { .. });
                    prop_assert_eq!(begins, !open);
                    open = begins;
                }
                prop_assert_eq!(listener.present().is_some(), open);
            }
        }
    }
}
