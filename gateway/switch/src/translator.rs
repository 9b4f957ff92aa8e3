//! What a leg's packets become where the other leg speaks another codec: once per packet, after latch and account.
//!
//! The gateway is then a translator (RFC 3550 §7.1): SSRC, losses and the sender's clock go through; payload types are the other
//! leg's, and so are sequence numbers where packets are gathered or divided. Nothing is allocated once it is made.

use media::codec::Codec;
use media::transcode::Transcoder;
use media::{g711, g729};
use rtp::{Header, Packet};

/// Losses in a row over which a decoder is led; more are no loss, but silence or another stream.
const LED: i16 = 5;
/// Packets further back than this begin anew, as do those further ahead.
const NEAR: i16 = 1000;
/// Milliseconds of noise in a packet in the place of one that is not sent.
pub(crate) const FILLED_MS: u32 = 20;
/// Most octets of a payload written.
pub(crate) const PAYLOAD_MAX: usize = 1400;
/// A difference of timestamps after which a new origin is taken, long before it would not be told from its opposite.
const FAR: i32 = 1 << 28;
/// No payload type.
const NONE: u8 = u8::MAX;

/// A codec as a leg numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spoken {
    /// The codec.
    pub codec: Codec,
    /// Its payload type.
    pub payload_type: u8,
    /// The payload type of telephone events beside it, of the same clock rate (RFC 4733 §2.1).
    pub event_type: Option<u8>,
    /// The payload type of comfort noise beside it (RFC 3389).
    pub noise_type: Option<u8>,
}

/// The way from one leg's codec to the other's.
#[derive(Debug)]
pub struct Translator {
    from: u8,
    to: u8,
    /// Telephone events and comfort noise, theirs and ours.
    events: (u8, u8),
    noise: (u8, u8),
    way: Way,
}

#[derive(Debug)]
enum Way {
    AlawToUlaw,
    UlawToAlaw,
    Through(Box<Stream>),
}

impl Translator {
    /// A way from one leg's codec to the other's.
    pub fn new(from: Spoken, to: Spoken) -> Self {
        let way = match (from.codec, to.codec) {
            (Codec::Pcma, Codec::Pcmu) => Way::AlawToUlaw,
            (Codec::Pcmu, Codec::Pcma) => Way::UlawToAlaw,
            (from, to) => Way::Through(Box::new(Stream::new(from, to))),
        };
        let both = |from: Option<u8>, to: Option<u8>| from.zip(to).unwrap_or((NONE, NONE));
        Self {
            from: from.payload_type,
            to: to.payload_type,
            events: both(from.event_type, to.event_type),
            noise: both(from.noise_type, to.noise_type),
            way,
        }
    }

    /// The payload type of the speech that it makes.
    pub(crate) const fn says(&self) -> u8 {
        self.to
    }

    /// Whether it is such a way.
    pub(crate) fn is(&self, from: Spoken, to: Spoken) -> bool {
        let both = |from: Option<u8>, to: Option<u8>| from.zip(to).unwrap_or((NONE, NONE));
        let codecs = match &self.way {
            Way::AlawToUlaw => (Codec::Pcma, Codec::Pcmu),
            Way::UlawToAlaw => (Codec::Pcmu, Codec::Pcma),
            Way::Through(stream) => (stream.transcoder.from(), stream.transcoder.to()),
        };
        codecs == (from.codec, to.codec)
            && (self.from, self.to) == (from.payload_type, to.payload_type)
            && self.events == both(from.event_type, to.event_type)
            && self.noise == both(from.noise_type, to.noise_type)
    }

    /// Whether what came last says that nothing follows until there is speech again (G.729 Annex B), which the other codec cannot say.
    pub(crate) fn is_quiet(&self) -> bool {
        matches!(&self.way, Way::Through(stream) if stream.quiet)
    }

    /// Gives `send` 20 ms of noise in the place of what is not sent. Only while [`Self::is_quiet`].
    pub(crate) fn fill(&mut self, send: impl FnMut(Header, &[u8])) {
        if let Way::Through(stream) = &mut self.way {
            stream.fill(self.to, send);
        }
    }

    /// Gives `send` what becomes of a packet: header and payload. False if nothing can: it is late, doubled, too long, or of a payload type
    /// that the other leg has no word for.
    pub(crate) fn translate(&mut self, packet: &Packet<'_>, send: impl FnMut(Header, &[u8])) -> bool {
        self.translate_payload(*packet.header(), packet.payload(), send)
    }

    /// The same of a packet that is no longer what came.
    pub(crate) fn translate_payload(
        &mut self,
        header: Header,
        payload: &[u8],
        mut send: impl FnMut(Header, &[u8]),
    ) -> bool {
        let payload_type = match header.payload_type {
            own if own == self.from => self.to,
            event if event == self.events.0 => self.events.1,
            noise if noise == self.noise.0 => self.noise.1,
            _ => return false,
        };
        let what = match header.payload_type {
            own if own == self.from => What::Speech,
            event if event == self.events.0 => What::Event,
            _ => What::Noise,
        };
        let recode: fn(&mut [u8]) = match &mut self.way {
            Way::Through(stream) => {
                return stream.translate(header, payload_type, what, payload, send);
            }
            Way::AlawToUlaw => g711::alaw_to_ulaw_in_place,
            Way::UlawToAlaw => g711::ulaw_to_alaw_in_place,
        };
        let mut room = [0; PAYLOAD_MAX];
        let Some(recoded) = room.get_mut(..payload.len()) else { return false };
        recoded.copy_from_slice(payload);
        if what == What::Speech {
            recode(recoded);
        }
        send(Header { payload_type, ..header }, recoded);
        true
    }
}

/// What a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Speech,
    Event,
    Noise,
}

/// A stream that is decoded and encoded.
#[derive(Debug)]
struct Stream {
    transcoder: Transcoder,
    /// Clock rates, theirs and ours, in Hz.
    clocks: (i64, i64),
    /// The source, and the last sequence number heard of it.
    last: Option<(u32, u16)>,
    /// A moment in both clocks.
    origin: (u32, u32),
    /// Added to sequence numbers: packets gathered take away, packets divided add.
    shift: u16,
    /// Samples of the last packet, at the rate of their codec.
    samples: usize,
    /// When the first sample that is held was spoken, in our clock.
    held_at: u32,
    /// What was encoded last was silence that is not sent.
    unsaid: bool,
    /// Whether nothing comes since there is silence.
    quiet: bool,
}

impl Stream {
    fn new(from: Codec, to: Codec) -> Self {
        Self {
            transcoder: Transcoder::new(from, to),
            clocks: (from.clock_rate().into(), to.clock_rate().into()),
            last: None,
            origin: (0, 0),
            shift: 0,
            samples: 0,
            held_at: 0,
            unsaid: false,
            quiet: false,
        }
    }

    fn translate(
        &mut self,
        header: Header,
        payload_type: u8,
        what: What,
        payload: &[u8],
        mut send: impl FnMut(Header, &[u8]),
    ) -> bool {
        let Some(lost) = self.follow(&header) else { return false };
        let timestamp = self.ours(header.timestamp);
        let header = Header { payload_type, timestamp, ..header };
        if what != What::Speech {
            // Events bear the time of their beginning (RFC 4733 §2.2.1); what was held belongs before them.
            self.transcoder.forget();
            let sequence = header.sequence.wrapping_add(self.shift);
            let event = rtp::event::Payload::parse(payload).filter(|_| what == What::Event);
            match event.filter(|_| self.clocks.0 != self.clocks.1) {
                Some(event) => {
                    let (event, later) = self.event(event);
                    let timestamp = timestamp.wrapping_add(later);
                    send(Header { sequence, timestamp, ..header }, &event.octets());
                }
                None => send(Header { sequence, ..header }, payload),
            }
            return true;
        }
        if (1..=LED).contains(&lost) {
            self.make_good(lost as usize, header, payload, &mut send);
        }
        let ours = self.transcoder.to();
        let expected = self.held_at.wrapping_add(ours.ticks(self.transcoder.held()));
        if self.transcoder.held() == 0 || expected != timestamp {
            self.transcoder.forget();
            self.held_at = timestamp;
        }
        self.samples = self.transcoder.from().samples_of(payload);
        self.transcoder.put(payload);
        // RFC 3551 §4.5.6: a description of silence ends a packet.
        let from_g729 = self.transcoder.from() == Codec::G729 && self.transcoder.to() != Codec::G729;
        self.quiet = from_g729 && payload.len() % g729::SPEECH_OCTETS == g729::SILENCE_OCTETS;
        self.give(header, &mut send);
        true
    }

    fn fill(&mut self, payload_type: u8, mut send: impl FnMut(Header, &[u8])) {
        let Some((ssrc, last)) = self.last.filter(|_| self.quiet) else { return };
        self.transcoder.fill(self.transcoder.from().samples(FILLED_MS));
        // It has a number of its own, behind the last packet that came.
        self.shift = self.shift.wrapping_add(1);
        self.give(Header { payload_type, marker: false, sequence: last, timestamp: 0, ssrc }, &mut send);
    }

    /// An event as long in our clock as it is in theirs, and how much later its segment begins: what is longer than the field goes on in
    /// another one (RFC 4733 §2.5.1.3).
    fn event(&self, event: rtp::event::Payload) -> (rtp::event::Payload, u32) {
        let total = i64::from(event.duration) * self.clocks.1 / self.clocks.0;
        let longest = i64::from(u16::MAX);
        let before = (total - 1).max(0) / longest * longest;
        (rtp::event::Payload { duration: (total - before) as u16, ..event }, before as u32)
    }

    /// Packets were lost before this one: the decoder is led over them, and the last of them is sent after all if this one repeats it.
    fn make_good(&mut self, lost: usize, header: Header, next: &[u8], send: &mut impl FnMut(Header, &[u8])) {
        self.transcoder.miss(self.samples * (lost - 1));
        if !self.transcoder.recover(next, self.samples) {
            return self.transcoder.miss(self.samples);
        }
        let ticks = self.transcoder.to().ticks(self.transcoder.held());
        self.held_at = header.timestamp.wrapping_sub(ticks);
        let header = Header { marker: false, sequence: header.sequence.wrapping_sub(1), ..header };
        self.give(header, send);
    }

    /// Sends what became of a packet: nothing, one packet, or several.
    fn give(&mut self, header: Header, send: &mut impl FnMut(Header, &[u8])) {
        let mut room = [0; PAYLOAD_MAX];
        let mut marker = header.marker || self.unsaid;
        while let Some((octets, samples)) = self.transcoder.take(&mut room) {
            // Silence that is not sent has a time and no number; what follows it is marked (RFC 3551 §4.1).
            self.unsaid = octets == 0;
            if octets > 0 {
                let (sequence, timestamp) = (header.sequence.wrapping_add(self.shift), self.held_at);
                send(Header { sequence, timestamp, marker, ..header }, &room[..octets]);
                self.shift = self.shift.wrapping_add(1);
                marker = false;
            }
            self.held_at = self.held_at.wrapping_add(self.transcoder.to().ticks(samples));
        }
        // The packet itself.
        self.shift = self.shift.wrapping_sub(1);
    }

    /// How many packets were lost before this one; none if it begins anew. `None` if it is late or came before.
    fn follow(&mut self, header: &Header) -> Option<i16> {
        let ahead = match self.last {
            Some((ssrc, last)) if ssrc == header.ssrc => header.sequence.wrapping_sub(last).cast_signed(),
            _ => i16::MAX,
        };
        if (-NEAR..=0).contains(&ahead) {
            return None;
        }
        if ahead > 1 {
            self.transcoder.forget();
        }
        if !(1..=NEAR).contains(&ahead) {
            self.transcoder.forget();
            // Another source has another clock, and what it says goes out as its own.
            let same = self.last.is_some_and(|(ssrc, _)| ssrc == header.ssrc);
            let ours = if same { self.ours(header.timestamp) } else { header.timestamp };
            self.origin = (header.timestamp, ours);
        }
        self.last = Some((header.ssrc, header.sequence));
        Some(if ahead <= NEAR { (ahead - 1).max(0) } else { 0 })
    }

    /// A moment of their clock in ours.
    fn ours(&mut self, theirs: u32) -> u32 {
        let since = theirs.wrapping_sub(self.origin.0).cast_signed();
        let scaled = i64::from(since) * self.clocks.1 / self.clocks.0;
        let ours = self.origin.1.wrapping_add(scaled as u32);
        if since.unsigned_abs() > FAR.unsigned_abs() {
            self.origin = (theirs, ours);
        }
        ours
    }
}

#[cfg(test)]
mod tests;
