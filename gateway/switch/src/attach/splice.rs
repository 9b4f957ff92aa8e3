//! One outgoing stream of a leg out of two sources: what the other side sends, and what the gateway plays in its place.
//!
//! Towards the leg's peer the gateway is then a translator that inserts and leaves out packets (RFC 3550 §7.1): the peer hears one
//! source, whose sequence numbers have no gap and whose timestamps follow the clock (RFC 3550 §5.1), whoever speaks. Where the other side
//! has sent nothing there is nothing to go on from: then what is played is a source of its own.

use core::time::Duration;
use rtp::Header;
use sansio::Time;

/// How long it is listened for a stream to go on from, before what is played becomes a source of its own.
pub(crate) const LISTEN: Duration = Duration::from_millis(40);
/// Packets further back than this are another run of their source.
const NEAR: i16 = 1000;

/// The last packet that went out.
#[derive(Clone, Copy, Debug)]
struct Last {
    header: Header,
    at: Time,
    /// How long it lasts, as far as known.
    ticks: u32,
}

/// How packets of a source are numbered on.
#[derive(Clone, Copy, Debug, Default)]
struct Shift {
    ssrc: u32,
    /// Its first packet since; what is older came too late if something was played before it.
    first: u16,
    resumed: bool,
    sequence: u16,
    timestamp: u32,
}

/// The numbers of one outgoing stream.
#[derive(Clone, Debug)]
pub(crate) struct Splice {
    /// What plays; `None`: what comes from the other side goes through.
    playing: Option<u64>,
    /// Whether it has begun.
    begun: bool,
    since: Time,
    /// A source of our own: its first packet's numbers.
    own: Header,
    last: Option<Last>,
    shift: Option<Shift>,
    /// The first packet of the other side that was left out.
    left_out: Option<(u32, u16)>,
    /// Whether the next packet of the other side is the first after something was played.
    handing_back: bool,
    /// Silence since the last packet that was played, in ticks.
    silence: u32,
    /// Packets and octets put in, and packets left out.
    pub(crate) put_in: (u32, u32),
    pub(crate) withheld: u32,
}

impl Splice {
    /// Begins to listen. `own` has the numbers of the source that is made if there is nothing to go on from; RFC 3550 §5.1 wants them
    /// to be random.
    pub(crate) const fn new(now: Time, own: Header) -> Self {
        Self {
            playing: None,
            begun: false,
            since: now,
            own,
            last: None,
            shift: None,
            left_out: None,
            handing_back: false,
            silence: 0,
            put_in: (0, 0),
            withheld: 0,
        }
    }

    /// When what is to be played may begin: at once if it is known where the stream is.
    pub(crate) fn ready(&self, now: Time) -> Time {
        if self.last.is_some() { now } else { now.max(self.since + LISTEN) }
    }

    /// From now on this plays.
    pub(crate) const fn play(&mut self, play: u64) {
        self.playing = Some(play);
        self.begun = false;
    }

    /// What plays.
    pub(crate) const fn playing(&self) -> Option<u64> {
        self.playing
    }

    /// Whether it has begun to play: what the other side sends does not go out.
    pub(crate) const fn is_played(&self) -> bool {
        self.playing.is_some() && self.begun
    }

    /// It plays no more: the other side is heard again.
    pub(crate) fn stop(&mut self) {
        self.playing = None;
        self.handing_back |= core::mem::take(&mut self.begun);
        self.silence = 0;
    }

    /// Nothing is sent for so many ticks.
    pub(crate) const fn rest(&mut self, ticks: u32) {
        self.silence = self.silence.wrapping_add(ticks);
    }

    /// The header of the next packet that is played: of a payload type, so long in ticks of a clock in Hz.
    pub(crate) fn next(
        &mut self,
        now: Time,
        payload_type: u8,
        ticks: u32,
        clock: u32,
        octets: usize,
    ) -> Header {
        let silence = core::mem::take(&mut self.silence);
        let first = !core::mem::replace(&mut self.begun, true);
        let header = match self.last {
            None => Header { payload_type, marker: true, ..self.own },
            Some(last) => {
                // The clock goes on while nothing is sent, and a packet lasts as long as it lasts.
                let passed = if first { elapsed(now, last.at, clock).max(last.ticks) } else { last.ticks };
                let passed = if first && last.ticks == 0 { passed.max(ticks) } else { passed };
                Header {
                    payload_type,
                    marker: first || silence > 0,
                    sequence: last.header.sequence.wrapping_add(1),
                    timestamp: last.header.timestamp.wrapping_add(passed).wrapping_add(silence),
                    ssrc: last.header.ssrc,
                }
            }
        };
        self.last = Some(Last { header, at: now, ticks });
        self.put_in = (self.put_in.0.wrapping_add(1), self.put_in.1.wrapping_add(octets as u32));
        header
    }

    /// A packet of the other side, if it goes out, as it does; `clock` is that of its payload type in Hz.
    pub(crate) fn relayed(&mut self, now: Time, header: Header, clock: u32) -> Option<Header> {
        if self.is_played() {
            self.withheld = self.withheld.wrapping_add(1);
            if self.left_out.is_none_or(|(ssrc, _)| ssrc != header.ssrc) {
                self.left_out = Some((header.ssrc, header.sequence));
            }
            return None;
        }
        let known = self.shift.filter(|shift| shift.ssrc == header.ssrc && !self.handing_back);
        let shift = known.unwrap_or_else(|| self.join(now, &header, clock));
        let ahead = header.sequence.wrapping_sub(shift.first).cast_signed();
        if (-NEAR..0).contains(&ahead) && shift.resumed {
            // From before it was left out: there is no number for it.
            self.withheld = self.withheld.wrapping_add(1);
            return None;
        }
        let sent = Header {
            marker: header.marker || known.is_none() && shift.resumed,
            sequence: header.sequence.wrapping_add(shift.sequence),
            timestamp: header.timestamp.wrapping_add(shift.timestamp),
            ..header
        };
        let newer = self.last.is_none_or(|last| {
            last.header.ssrc != sent.ssrc
                || sent.sequence.wrapping_sub(last.header.sequence).cast_signed() > 0
        });
        if newer {
            self.last = Some(Last { header: sent, at: now, ticks: 0 });
        }
        Some(sent)
    }

    /// How a source is numbered from this packet on.
    fn join(&mut self, now: Time, header: &Header, clock: u32) -> Shift {
        let handing_back = core::mem::take(&mut self.handing_back);
        let left_out = self.left_out.take().filter(|(ssrc, _)| *ssrc == header.ssrc);
        let before = self.shift.filter(|shift| shift.ssrc == header.ssrc).unwrap_or_default();
        let (sequence, timestamp) = match (self.last, left_out) {
            // It goes on from what was played under its name.
            (Some(last), _) if handing_back && last.header.ssrc == header.ssrc => {
                let passed = elapsed(now, last.at, clock).max(last.ticks);
                (
                    last.header.sequence.wrapping_add(1).wrapping_sub(header.sequence),
                    last.header.timestamp.wrapping_add(passed).wrapping_sub(header.timestamp),
                )
            }
            // Another source was heard meanwhile: what was left out of this one is not missing.
            (_, Some((_, first))) if handing_back => {
                (before.sequence.wrapping_add(first.wrapping_sub(header.sequence)), before.timestamp)
            }
            _ => (before.sequence, before.timestamp),
        };
        let resumed = handing_back;
        let shift = Shift { ssrc: header.ssrc, first: header.sequence, resumed, sequence, timestamp };
        self.shift = Some(shift);
        shift
    }

    /// What a sender report of a source says, as it is true of what goes out: the timestamp of now, packets and octets
    /// (RFC 3550 §7.2: a translator that changes the data changes what reports say of it).
    pub(crate) fn restate(
        &self,
        now: Time,
        ssrc: u32,
        clock: u32,
        theirs: (u32, u32, u32),
    ) -> (u32, u32, u32) {
        let (timestamp, packets, octets) = theirs;
        let timestamp = match (self.last, self.shift) {
            (Some(last), _) if self.begun && last.header.ssrc == ssrc => {
                last.header.timestamp.wrapping_add(elapsed(now, last.at, clock))
            }
            (_, Some(shift)) if shift.ssrc == ssrc => timestamp.wrapping_add(shift.timestamp),
            _ => timestamp,
        };
        let put_in = if self.own.ssrc == ssrc { (0, 0) } else { self.put_in };
        let packets = packets.wrapping_add(put_in.0).wrapping_sub(self.withheld);
        (timestamp, packets, octets.wrapping_add(put_in.1))
    }

    /// The sequence number that the other side knows a packet of a source by, from the one that its hearer reports.
    pub(crate) fn theirs(&self, ssrc: u32, sequence: u32) -> u32 {
        let shift = self.shift.filter(|shift| shift.ssrc == ssrc).map_or(0, |shift| shift.sequence);
        // Numbers are shifted by far less than a cycle either way.
        sequence.wrapping_sub(i32::from(shift.cast_signed()).cast_unsigned())
    }
}

/// Ticks of a clock between two times.
fn elapsed(now: Time, since: Time, clock: u32) -> u32 {
    let ticks = now.since(since).as_nanos() * u128::from(clock) / 1_000_000_000;
    // Timestamps wrap.
    ticks as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Header = Header { payload_type: 0, marker: true, sequence: 500, timestamp: 90_000, ssrc: 9 };

    fn theirs(sequence: u16) -> Header {
        Header {
            payload_type: 8,
            marker: false,
            sequence,
            timestamp: u32::from(sequence).wrapping_mul(160).wrapping_add(77),
            ssrc: 5,
        }
    }

    fn at(packet: u64) -> Time {
        Time::from_millis(20 * packet)
    }

    /// Their speech, a prompt over it, their speech, all of it at 20 ms: what goes out.
    fn takeover(first: u16, spoken: u64, played: u64) -> Vec<Header> {
        let mut splice = Splice::new(Time::ZERO, OWN);
        let mut out = Vec::new();
        for n in 0..spoken + played + spoken {
            let timestamp = theirs(first).timestamp.wrapping_add(160 * n as u32);
            let (now, theirs) = (at(n), Header { timestamp, ..theirs(first.wrapping_add(n as u16)) });
            if n == spoken {
                assert_eq!(splice.ready(now), now);
                splice.play(1);
            }
            if n == spoken + played {
                splice.stop();
            }
            if splice.playing().is_some() {
                out.push(splice.next(now, 8, 160, 8000, 160));
                assert_eq!(splice.relayed(now, theirs, 8000), None);
            } else {
                out.extend(splice.relayed(now, theirs, 8000));
            }
        }
        out
    }

    #[test]
    fn taking_over_and_handing_back_is_one_stream_wherever_numbers_wrap() {
        for first in [0, 1, 4000, u16::MAX - 70, u16::MAX - 30, u16::MAX - 5, 32_700] {
            let out = takeover(first, 20, 60);
            assert_eq!(out.len(), 100);
            for (n, header) in out.iter().enumerate() {
                assert_eq!(header.ssrc, 5, "one source (RFC 3550 §5.1)");
                assert_eq!(header.sequence, first.wrapping_add(n as u16), "{first}, packet {n}");
                let wanted = theirs(first).timestamp.wrapping_add(160 * n as u32);
                assert_eq!(header.timestamp, wanted, "{first}, packet {n}");
                let begins = n == 20 || n == 80;
                assert_eq!(header.marker, begins, "RFC 3551 §4.1: the clock of another begins");
            }
        }
    }

    #[test]
    fn more_played_than_was_left_out_moves_what_comes_after() {
        let mut splice = Splice::new(Time::ZERO, OWN);
        splice.relayed(at(0), theirs(100), 8000).unwrap();
        splice.play(1);
        // They are silent meanwhile (their numbers stand still), and it lasts for 50 packets.
        let played: Vec<Header> = (1..51).map(|n| splice.next(at(n), 8, 160, 8000, 160)).collect();
        assert_eq!((played[0].sequence, played[49].sequence), (101, 150));
        splice.stop();
        let after =
            splice.relayed(at(51), Header { timestamp: theirs(151).timestamp, ..theirs(101) }, 8000).unwrap();
        assert_eq!((after.sequence, after.timestamp, after.marker), (151, theirs(151).timestamp, true));
        let next =
            splice.relayed(at(52), Header { timestamp: theirs(152).timestamp, ..theirs(102) }, 8000).unwrap();
        assert_eq!((next.sequence, next.marker), (152, false));
        // One that was under way since before has no number any more; one out of order has.
        assert_eq!(splice.relayed(at(52), theirs(100), 8000), None);
        assert_eq!(splice.relayed(at(52), theirs(104), 8000).unwrap().sequence, 154);
        assert_eq!(splice.relayed(at(52), theirs(103), 8000).unwrap().sequence, 153);
        // Reports (RFC 3550 §7.2): 50 packets more than they sent, and numbers they know.
        let (_, packets, octets) = splice.restate(at(52), 5, 8000, (0, 5, 800));
        assert_eq!((packets, octets), (5 + 50 - 1, 800 + 8000));
        assert_eq!(splice.theirs(5, 154), 104);
        assert_eq!(splice.theirs(5, (3 << 16) | 154), (3 << 16) | 104);
        assert_eq!(splice.theirs(6, 154), 154, "another source");
        // A second time.
        splice.play(2);
        let again = splice.next(at(60), 8, 160, 8000, 160);
        assert_eq!((again.sequence, again.marker, again.ssrc), (155, true, 5));
    }

    #[test]
    fn without_a_stream_it_is_a_source_of_its_own_and_theirs_has_no_hole() {
        let mut splice = Splice::new(Time::ZERO, OWN);
        assert_eq!(splice.ready(at(1)), Time::from_millis(40));
        splice.play(1);
        let first = splice.next(at(2), 8, 160, 8000, 160);
        assert_eq!((first.ssrc, first.sequence, first.timestamp, first.marker), (9, 500, 90_000, true));
        splice.rest(1600);
        let second = splice.next(at(13), 8, 160, 8000, 160);
        assert_eq!((second.sequence, second.timestamp, second.marker), (501, 91_760, true));
        // Their stream begins meanwhile; ten packets are left out.
        for n in 0..10 {
            assert_eq!(splice.relayed(at(14), theirs(40 + n), 8000), None);
        }
        splice.stop();
        let theirs_first = splice.relayed(at(24), theirs(50), 8000).unwrap();
        assert_eq!((theirs_first.ssrc, theirs_first.sequence), (5, 40), "no loss is made up");
        assert_eq!(theirs_first.timestamp, theirs(50).timestamp);
        assert_eq!(splice.relayed(at(25), theirs(51), 8000).unwrap().sequence, 41);
    }

    #[test]
    fn another_source_after_it_keeps_its_numbers() {
        let mut splice = Splice::new(Time::ZERO, OWN);
        splice.relayed(at(0), theirs(100), 8000).unwrap();
        splice.play(1);
        splice.next(at(1), 8, 160, 8000, 160);
        splice.stop();
        let other = Header { ssrc: 77, ..theirs(9000) };
        assert_eq!(splice.relayed(at(2), other, 8000), Some(Header { marker: true, ..other }));
    }
}
