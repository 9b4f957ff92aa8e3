//! Sends an event: what each packet says while it lasts, and the three that say it is over.

use super::Payload;

/// Times that the end is said (RFC 4733 §2.5.1.4).
const ENDS: u8 = 3;
/// The longest duration that a packet can say.
const LONGEST: u32 = u16::MAX as u32;

/// What to send: the payload, and what its header has beside the stream's own numbering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The four octets.
    pub payload: Payload,
    /// The timestamp, which stands still while the event lasts (RFC 4733 §2.2.1).
    pub timestamp: u32,
    /// The marker: on the event's first packet alone (RFC 4733 §2.2.2).
    pub marker: bool,
}

/// One event on its way. The caller asks for a packet in even intervals (RFC 4733 §2.5.1.2: 50 ms, or the voice's packet time) until there is none left.
#[derive(Clone, Debug)]
pub struct Transmission {
    event: u8,
    volume: u8,
    /// When the present segment began, and how long it has lasted.
    timestamp: u32,
    elapsed: u32,
    /// What all segments have lasted.
    total: u32,
    /// What is left of a length known ahead.
    left: Option<u32>,
    first: bool,
    ended: bool,
    ends: u8,
}

impl Transmission {
    /// An event that begins at `timestamp` and lasts until [`Self::end`]. `volume` is dBm0 without its sign.
    pub const fn new(event: u8, volume: u8, timestamp: u32) -> Self {
        Self {
            event,
            volume,
            timestamp,
            elapsed: 0,
            total: 0,
            left: None,
            first: true,
            ended: false,
            ends: 0,
        }
    }

    /// An event of `ticks` of the stream's clock.
    pub const fn lasting(event: u8, volume: u8, timestamp: u32, ticks: u32) -> Self {
        Self { left: Some(ticks), ..Self::new(event, volume, timestamp) }
    }

    /// The key was let go: what has elapsed at the next packet is all.
    pub const fn end(&mut self) {
        self.ended = true;
    }

    /// The key was let go after `ticks` of the stream's clock in all; what was said already is not taken back.
    pub fn end_after(&mut self, ticks: u32) {
        if self.left.is_none() && !self.ended {
            let left = ticks.saturating_sub(self.total);
            self.left = Some(left);
            self.ended = left == 0;
        }
    }

    /// Whether all is said.
    pub const fn is_done(&self) -> bool {
        self.ends >= ENDS
    }

    /// The next packet, `ticks` after the last one or, for the first, after the event began. `None` when all is said.
    pub fn packet(&mut self, ticks: u32) -> Option<Outgoing> {
        if self.is_done() {
            return None;
        }
        if self.ends == 0 {
            let more = self.left.map_or(ticks, |left| left.min(ticks));
            self.elapsed = self.elapsed.saturating_add(more);
            self.total = self.total.saturating_add(more);
            if let Some(left) = &mut self.left {
                *left -= more;
                self.ended |= *left == 0;
            }
        }
        let marker = core::mem::take(&mut self.first);
        let timestamp = self.timestamp;
        // RFC 4733 §2.5.1.3: a segment is as long as can be said and has no end bit; the next begins where it ended, without marker.
        if self.elapsed > LONGEST {
            self.elapsed -= LONGEST;
            self.timestamp = timestamp.wrapping_add(LONGEST);
            let payload = Payload { event: self.event, end: false, volume: self.volume, duration: u16::MAX };
            return Some(Outgoing { payload, timestamp, marker });
        }
        if self.ended {
            self.ends += 1;
        }
        let payload = Payload {
            event: self.event,
            end: self.ended,
            volume: self.volume,
            duration: self.elapsed as u16,
        };
        Some(Outgoing { payload, timestamp, marker })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All packets of an event of `ticks`, one each `interval`.
    fn all(ticks: u32, interval: u32) -> Vec<Outgoing> {
        let mut event = Transmission::lasting(5, 10, 1000, ticks);
        let packets: Vec<_> = std::iter::from_fn(|| event.packet(interval)).take(10_000).collect();
        assert!(event.is_done());
        packets
    }

    #[test]
    fn rfc_4733_section_2_5_1_a_key_of_100_ms() {
        for (clock, interval) in [(8000, 160), (16_000, 320), (48_000, 960)] {
            let packets = all(clock / 10, interval);
            let durations: Vec<u32> =
                packets.iter().map(|p| u32::from(p.payload.duration) / interval).collect();
            assert_eq!(durations, [1, 2, 3, 4, 5, 5, 5], "grows, and the end is said three times");
            let ends: Vec<bool> = packets.iter().map(|p| p.payload.end).collect();
            assert_eq!(ends, [false, false, false, false, true, true, true]);
            assert!(packets.iter().all(|p| p.timestamp == 1000));
            assert!(packets.iter().enumerate().all(|(n, p)| p.marker == (n == 0)));
        }
    }

    #[test]
    fn a_key_that_is_held_ends_when_it_is_let_go() {
        let mut event = Transmission::new(11, 8, u32::MAX);
        for n in 1..=50 {
            let packet = event.packet(160).unwrap();
            assert_eq!((u32::from(packet.payload.duration), packet.payload.end), (n * 160, false));
        }
        event.end();
        for _ in 0..3 {
            let packet = event.packet(160).unwrap();
            assert_eq!((packet.payload.duration, packet.payload.end), (51 * 160, true));
        }
        assert_eq!(event.packet(160), None);
    }

    #[test]
    fn rfc_4733_section_2_5_1_3_a_long_event_is_sent_in_segments() {
        // 20 seconds at 8000 Hz are two whole segments and 28 930 ticks; at 48 kHz fourteen.
        for (ticks, interval, segments) in [(160_000u32, 160u32, 2u32), (960_000, 960, 14)] {
            let packets = all(ticks, interval);
            let last = packets.last().unwrap();
            assert_eq!(last.timestamp, 1000 + segments * 65_535);
            assert_eq!(u32::from(last.payload.duration) + segments * 65_535, ticks);
            let full: Vec<_> = packets.iter().filter(|p| p.payload.duration == u16::MAX).collect();
            assert_eq!(full.len() as u32, segments);
            assert!(full.iter().all(|p| !p.payload.end));
            assert_eq!(packets.iter().filter(|p| p.marker).count(), 1);
            assert_eq!(packets.iter().filter(|p| p.payload.end).count(), 3);
            // Time never goes back.
            let ends = packets.iter().map(|p| p.timestamp + u32::from(p.payload.duration));
            assert!(ends.clone().zip(ends.skip(1)).all(|(a, b)| a <= b));
        }
    }

    #[test]
    fn a_key_whose_length_is_told_while_it_is_held_lasts_as_long() {
        for (told_at, ticks, lasts) in [(1, 500, 500), (3, 480, 480), (3, 200, 480), (60, 70_000, 70_000)] {
            let mut event = Transmission::new(5, 10, 0);
            let mut packets: Vec<_> = (0..told_at).filter_map(|_| event.packet(160)).collect();
            event.end_after(ticks);
            packets.extend(std::iter::from_fn(|| event.packet(160)));
            let last = packets.last().unwrap();
            assert_eq!(last.timestamp + u32::from(last.payload.duration), lasts);
            assert_eq!(packets.iter().filter(|p| p.payload.end).count(), 3);
        }
    }

    #[test]
    fn one_that_ends_exactly_with_a_segment_has_one_segment() {
        let packets = all(65_535, 655);
        assert!(packets.iter().all(|p| p.timestamp == 1000));
        assert_eq!(packets.last().unwrap().payload.duration, u16::MAX);
        assert_eq!(packets.iter().filter(|p| p.payload.end).count(), 3);
    }
}
