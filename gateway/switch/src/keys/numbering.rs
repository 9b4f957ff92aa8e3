//! The numbers of a stream into which packets are put and from which some are taken (RFC 3550 §5.1): what was lost stays lost, nothing
//! else shows.

use core::time::Duration;
use rtp::Header;
use sansio::Time;

/// What went out last.
#[derive(Clone, Copy, Debug)]
struct Edge {
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    at: Time,
}

/// The numbering of what goes to one peer.
#[derive(Clone, Debug)]
pub(crate) struct Numbering {
    edge: Option<Edge>,
    /// Added to sequence numbers.
    shift: u16,
    /// What is not above this is late: its number is another packet's.
    floor: Option<u16>,
    /// The last packet that came, and its source.
    came: Option<(u32, u16)>,
    /// Of which a stream of our own begins.
    seed: u32,
    /// Ticks a second.
    clock: u32,
    /// Whether something was put in or taken out since the last packet that passed.
    apart: bool,
}

impl Numbering {
    /// Nothing went out yet. `seed` is what a stream is numbered from that has no packets but ours.
    pub(crate) const fn new(clock: u32, seed: u32) -> Self {
        Self { edge: None, shift: 0, floor: None, came: None, seed, clock, apart: false }
    }

    /// Whether anything went out yet.
    pub(crate) const fn has_begun(&self) -> bool {
        self.edge.is_some()
    }

    /// A packet that came, whatever becomes of it; false if it is late or doubled.
    pub(crate) fn note(&mut self, header: &Header) -> bool {
        let newer = match self.came {
            Some((ssrc, last)) if ssrc == header.ssrc => header.sequence.wrapping_sub(last).cast_signed() > 0,
            _ => true,
        };
        if newer {
            self.came = Some((header.ssrc, header.sequence));
        }
        newer
    }

    /// A packet that came is not sent.
    pub(crate) const fn take_out(&mut self) {
        self.shift = self.shift.wrapping_sub(1);
        self.mark();
    }

    const fn mark(&mut self) {
        self.apart = true;
        if let Some(edge) = &self.edge {
            self.floor = Some(edge.sequence);
        }
    }

    /// The header of a packet that goes on; `None` if its number was given to another one.
    pub(crate) fn pass(&mut self, now: Time, header: Header) -> Option<Header> {
        let edge = self.edge.filter(|edge| edge.ssrc == header.ssrc);
        if edge.is_none() {
            (self.shift, self.floor) = (0, None);
        }
        let sequence = header.sequence.wrapping_add(self.shift);
        if self.floor.is_some_and(|floor| sequence.wrapping_sub(floor).cast_signed() <= 0) {
            return None;
        }
        if edge.is_none_or(|edge| sequence.wrapping_sub(edge.sequence).cast_signed() > 0) {
            self.edge = Some(Edge { ssrc: header.ssrc, sequence, timestamp: header.timestamp, at: now });
        }
        // RFC 3551 §4.1: speech begins anew after a pause.
        let marker = header.marker | core::mem::take(&mut self.apart);
        Some(Header { sequence, marker, ..header })
    }

    /// The moment behind what went out last, in ticks.
    pub(crate) fn present(&self, now: Time) -> u32 {
        let edge = self.edge(now);
        let since = now.since(edge.at).min(Duration::from_secs(3600));
        let ticks = since.as_nanos() * u128::from(self.clock) / 1_000_000_000;
        // It was spoken for 20 ms before it went out.
        edge.timestamp.wrapping_add(ticks as u32).wrapping_add(self.clock / 50)
    }

    /// The header of a packet that is put in.
    pub(crate) fn put_in(&mut self, now: Time, payload_type: u8, timestamp: u32, marker: bool) -> Header {
        let mut edge = self.edge(now);
        edge.sequence = edge.sequence.wrapping_add(1);
        self.edge = Some(edge);
        self.shift = self.shift.wrapping_add(1);
        self.mark();
        Header { payload_type, marker, sequence: edge.sequence, timestamp, ssrc: edge.ssrc }
    }

    /// Sound was put in that begins at `timestamp`, and now.
    pub(crate) const fn reach(&mut self, now: Time, timestamp: u32) {
        if let Some(edge) = &mut self.edge {
            (edge.timestamp, edge.at) = (timestamp.wrapping_sub(self.clock / 50), now);
        }
    }

    fn edge(&self, now: Time) -> Edge {
        let own = || Edge {
            ssrc: self.seed,
            sequence: self.seed as u16,
            timestamp: self.seed.rotate_left(16),
            at: now,
        };
        self.edge.unwrap_or_else(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(sequence: u16) -> Header {
        let timestamp = u32::from(sequence) * 160;
        Header { payload_type: 8, marker: false, sequence, timestamp, ssrc: 7 }
    }

    #[test]
    fn what_is_put_in_and_taken_out_leaves_no_gap() {
        let mut numbers = Numbering::new(8000, 1);
        let now = Time::from_millis(5);
        let pass =
            |numbers: &mut Numbering, n| numbers.pass(now, header(n)).map(|it| (it.sequence, it.marker));
        assert_eq!(pass(&mut numbers, 65_534), Some((65_534, false)));
        assert_eq!(numbers.put_in(now, 101, 0, true).sequence, 65_535);
        assert_eq!(numbers.put_in(now, 101, 0, false).sequence, 0);
        numbers.take_out(); // 65 535
        assert_eq!(pass(&mut numbers, 0), Some((1, true)));
        assert_eq!(pass(&mut numbers, 65_535), None, "late, and its number is gone");
        assert_eq!(pass(&mut numbers, 3), Some((4, false)), "lost packets are lost");
        assert_eq!(pass(&mut numbers, 2), Some((3, false)), "what is late is late");
    }

    #[test]
    fn a_stream_of_our_own_gives_way_to_the_peers() {
        let mut numbers = Numbering::new(8000, 0x12_3456);
        let now = Time::from_millis(5);
        let own = numbers.put_in(now, 101, 0, true);
        assert_eq!((own.ssrc, own.sequence), (0x12_3456, 0x3457));
        assert_eq!(numbers.pass(now, header(9)).unwrap().sequence, 9);
        assert_eq!(numbers.put_in(now, 101, 0, true).sequence, 10);
        assert_eq!(numbers.present(now + Duration::from_millis(100)), 9 * 160 + 800 + 160);
    }

    proptest! {
        /// Whatever is put in and taken out: numbers never come twice, and go up by one where nothing was lost.
        #[test]
        fn numbers_are_even(doings in proptest::collection::vec(0..4u8, 1..300), start: u16) {
            let mut numbers = Numbering::new(8000, 5);
            let (mut came, mut last, mut lost) = (start, None::<u16>, 0u16);
            for doing in doings {
                came = came.wrapping_add(1);
                let now = Time::from_millis(u64::from(came) * 20);
                let out = match doing {
                    0 => { lost += 1; continue }
                    1 => { prop_assert!(numbers.note(&header(came))); numbers.take_out(); continue }
                    2 => { came = came.wrapping_sub(1); numbers.put_in(now, 101, 0, false) }
                    _ => { prop_assert!(numbers.note(&header(came))); numbers.pass(now, header(came)).unwrap() }
                };
                if let Some(before) = last && out.ssrc == 7 {
                    let step = out.sequence.wrapping_sub(before);
                    prop_assert!(step >= 1 && step <= 1 + lost, "{} after {}", out.sequence, before);
                    if doing == 3 { lost = 0; }
                }
                last = Some(out.sequence).filter(|_| out.ssrc == 7);
            }
        }
    }
}
