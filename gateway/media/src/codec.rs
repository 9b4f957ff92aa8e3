//! The codecs under one interface: what SDP calls them, how large their packets are, and a state for each direction.
//!
//! The set is closed and small, so that encoder and decoder are enums: one branch per packet, no table of pointers, no allocation after
//! they are made, and `match` finds every place that a new codec needs.

use crate::noise::{Generator, Noise};
use crate::plc::Concealer;
pub use crate::resample::Rate;
use crate::{g711, g722, g729, opus};

/// A codec, with its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// G.711 µ-law, RFC 3551 §4.5.14.
    Pcmu,
    /// G.711 A-law, RFC 3551 §4.5.14.
    Pcma,
    /// G.722 at 64 kbit/s, RFC 3551 §4.5.2.
    G722,
    /// G.729 with Annexes A and B, RFC 3551 §4.5.6.
    G729,
    /// Linear samples of 16 bits in network order, one channel, RFC 3551 §4.5.11.
    L16(Rate),
    /// Opus, RFC 7587, of one channel: SDP says two, whatever is sent.
    Opus(opus::Settings),
}

/// How silence is said without sending all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// By packets of another payload type, comfort noise by RFC 3389, which has to be negotiated.
    ComfortNoise,
    /// By descriptions in the codec's own packets: `annexb` of RFC 4856 §2.1.9, which holds unless it says no.
    InBand,
}

impl Codec {
    /// The encoding's name in `a=rtpmap`; letter case does not matter there.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
            Self::G722 => "G722",
            Self::G729 => "G729",
            Self::L16(_) => "L16",
            Self::Opus(_) => "opus",
        }
    }

    /// The codec of an encoding name, a clock rate and a number of channels, as they stand in `a=rtpmap`.
    pub fn of(name: &str, clock_rate: u32, channels: u32) -> Option<Self> {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        // RFC 7587 §7: always 48000 and two channels.
        if is("opus") && (clock_rate, channels) == (opus::CLOCK, 2) {
            return Some(Self::Opus(opus::Settings::of(Rate::Hz48000)));
        }
        if channels != 1 {
            return None;
        }
        match clock_rate {
            8000 if is("PCMU") => Some(Self::Pcmu),
            8000 if is("PCMA") => Some(Self::Pcma),
            8000 if is("G722") => Some(Self::G722),
            8000 if is("G729") => Some(Self::G729),
            _ if is("L16") => Rate::of(clock_rate).map(Self::L16),
            _ => None,
        }
    }

    /// The payload type that needs no `a=rtpmap`, RFC 3551 table 4.
    pub const fn static_payload_type(self) -> Option<u8> {
        match self {
            Self::Pcmu => Some(0),
            Self::Pcma => Some(8),
            Self::G722 => Some(9),
            Self::G729 => Some(18),
            Self::L16(_) | Self::Opus(_) => None,
        }
    }

    /// The codec of a payload type that needs no `a=rtpmap`.
    pub const fn of_static_payload_type(payload_type: u8) -> Option<Self> {
        match payload_type {
            0 => Some(Self::Pcmu),
            8 => Some(Self::Pcma),
            9 => Some(Self::G722),
            18 => Some(Self::G729),
            _ => None,
        }
    }

    /// Units of the RTP timestamp a second. G.722's is 8000 for 16 000 samples, RFC 3551 §4.5.2.
    pub const fn clock_rate(self) -> u32 {
        match self {
            Self::Pcmu | Self::Pcma | Self::G722 | Self::G729 => 8000,
            Self::L16(rate) => rate.hertz(),
            Self::Opus(_) => opus::CLOCK,
        }
    }

    /// The rate of the samples that are encoded and decoded.
    pub const fn rate(self) -> Rate {
        match self {
            Self::Pcmu | Self::Pcma | Self::G729 => Rate::Hz8000,
            Self::G722 => Rate::Hz16000,
            Self::L16(rate) => rate,
            Self::Opus(settings) => settings.rate,
        }
    }

    /// The same codec to and from samples of that rate, where it can be had of several: Opus.
    #[must_use]
    pub fn at(self, rate: Rate) -> Self {
        match self {
            Self::Opus(settings) => Self::Opus(settings.at(rate)),
            other => other,
        }
    }

    /// The same codec as its receiver asks for it in `a=fmtp`, without the payload type.
    #[must_use]
    pub fn asked(self, parameters: &[u8]) -> Self {
        match self {
            Self::Opus(settings) => Self::Opus(settings.asked(parameters)),
            other => other,
        }
    }

    /// Samples of the smallest piece that is decoded or made up on its own, and its octets; of Opus, whose octets vary, the most that 10 ms
    /// take at its bit rate, for 2.5 ms that can be made up.
    pub const fn frame(self) -> (usize, usize) {
        match self {
            Self::Pcmu | Self::Pcma => (1, 1),
            Self::G722 => (2, 1),
            Self::G729 => (g729::FRAME, g729::SPEECH_OCTETS),
            Self::L16(_) => (1, 2),
            Self::Opus(settings) => (opus::piece(settings.rate), opus::OCTETS_MAX),
        }
    }

    /// Samples of a packet of `ptime` milliseconds, in whole frames; at least one.
    pub const fn samples(self, ptime: u32) -> usize {
        let samples = self.rate().hertz() as usize / 1000 * ptime as usize;
        let frames = samples / self.frame().0;
        (if frames == 0 { 1 } else { frames }) * self.frame().0
    }

    /// Octets of a packet of `ptime` milliseconds without silence compression; of Opus the most.
    pub const fn octets(self, ptime: u32) -> usize {
        match self {
            Self::Opus(_) => opus::OCTETS_MAX,
            _ => self.samples(ptime) / self.frame().0 * self.frame().1,
        }
    }

    /// How many of so many samples the next packet takes that has room for so many octets: whole frames; of Opus 60, 40, 20 or 10 ms.
    pub const fn packet(self, samples: usize, room: usize) -> usize {
        let (frame, octets) = self.frame();
        if let Self::Opus(settings) = self {
            return if room == 0 { 0 } else { opus::packet(settings.rate, samples) };
        }
        let (held, fits) = (samples / frame, room / octets);
        frame * if held < fits { held } else { fits }
    }

    /// Samples that a payload decodes to; octets that are no whole frame count for nothing.
    pub fn samples_of(self, payload: &[u8]) -> usize {
        let (samples, size) = self.frame();
        let whole = payload.len() / size * samples;
        match self {
            Self::Opus(settings) => opus::samples_of(settings.rate, payload),
            Self::G729 if payload.len() % size == g729::SILENCE_OCTETS => whole + samples,
            _ => whole,
        }
    }

    /// How the RTP timestamp advances over samples.
    pub const fn ticks(self, samples: usize) -> u32 {
        match self {
            Self::G722 => samples as u32 / 2,
            Self::Opus(settings) => samples as u32 * (opus::CLOCK / settings.rate.hertz()),
            _ => samples as u32,
        }
    }

    /// How silence is said.
    pub const fn silence(self) -> Silence {
        match self {
            Self::G729 | Self::Opus(_) => Silence::InBand,
            _ => Silence::ComfortNoise,
        }
    }
}

/// Turns samples into payloads, for one stream.
#[derive(Debug)]
pub enum Encoder {
    /// G.711 µ-law.
    Pcmu,
    /// G.711 A-law.
    Pcma,
    /// G.722.
    G722(Box<g722::Encoder>),
    /// G.729.
    G729(Box<g729::Encoder>),
    /// Linear samples.
    L16(Rate),
    /// Opus.
    Opus(Box<opus::Encoder>),
}

/// What became of a packet's samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    /// Octets of the payload; none if the packet is silence that is not sent.
    pub octets: usize,
    /// Samples before the first that the payload stands for, by which its timestamp is later; only with silence compression.
    pub skipped: usize,
}

impl Encoder {
    /// An encoder at rest. `compress_silence` is for codecs that say silence in band ([`Silence::InBand`]); others do not heed it.
    pub fn new(codec: Codec, compress_silence: bool) -> Self {
        match codec {
            Codec::Pcmu => Self::Pcmu,
            Codec::Pcma => Self::Pcma,
            Codec::G722 => Self::G722(Box::default()),
            Codec::G729 => Self::G729(Box::new(g729::Encoder::new(compress_silence))),
            Codec::L16(rate) => Self::L16(rate),
            Codec::Opus(settings) => Self::Opus(Box::new(opus::Encoder::new(settings))),
        }
    }

    /// The codec.
    pub const fn codec(&self) -> Codec {
        match self {
            Self::Pcmu => Codec::Pcmu,
            Self::Pcma => Codec::Pcma,
            Self::G722(_) => Codec::G722,
            Self::G729(_) => Codec::G729,
            Self::L16(rate) => Codec::L16(*rate),
            Self::Opus(encoder) => Codec::Opus(encoder.settings()),
        }
    }

    /// Encodes a packet's samples, as many as [`Codec::packet`] says.
    pub fn encode(&mut self, samples: &[i16], payload: &mut [u8]) -> Encoded {
        let octets = match self {
            Self::Pcmu => g711::ulaw_encode_frame(samples, payload),
            Self::Pcma => g711::alaw_encode_frame(samples, payload),
            Self::G722(encoder) => encoder.encode(samples, payload),
            Self::G729(encoder) => {
                let (octets, skipped) = encoder.encode_packet(samples, payload);
                return Encoded { octets, skipped };
            }
            Self::Opus(encoder) => encoder.encode(samples, payload),
            Self::L16(_) => {
                let octets = payload.as_chunks_mut::<2>().0;
                let count = octets.len().min(samples.len());
                for (octets, sample) in octets.iter_mut().zip(samples) {
                    *octets = sample.to_be_bytes();
                }
                2 * count
            }
        };
        Encoded { octets, skipped: 0 }
    }
}

/// Turns payloads into samples, for one stream, and fills in for those that do not come.
#[derive(Debug)]
pub struct Decoder {
    state: Decoding,
    /// Comfort noise of RFC 3389, while it lasts.
    noise: Option<Generator>,
}

#[derive(Debug)]
enum Decoding {
    Pcmu(Concealer),
    Pcma(Concealer),
    G722(Box<g722::Decoder>, Concealer),
    G729(Box<g729::Decoder>),
    L16(Rate, Concealer),
    Opus(Box<opus::Decoder>),
}

impl Decoder {
    /// A decoder at rest.
    pub fn new(codec: Codec) -> Self {
        let concealer = || Concealer::new(codec.rate().hertz());
        let state = match codec {
            Codec::Pcmu => Decoding::Pcmu(concealer()),
            Codec::Pcma => Decoding::Pcma(concealer()),
            Codec::G722 => Decoding::G722(Box::default(), concealer()),
            Codec::G729 => Decoding::G729(Box::default()),
            Codec::L16(rate) => Decoding::L16(rate, concealer()),
            Codec::Opus(settings) => Decoding::Opus(Box::new(opus::Decoder::new(settings))),
        };
        Self { state, noise: None }
    }

    /// The codec.
    pub const fn codec(&self) -> Codec {
        match &self.state {
            Decoding::Pcmu(_) => Codec::Pcmu,
            Decoding::Pcma(_) => Codec::Pcma,
            Decoding::G722(..) => Codec::G722,
            Decoding::G729(_) => Codec::G729,
            Decoding::L16(rate, _) => Codec::L16(*rate),
            Decoding::Opus(decoder) => Codec::Opus(decoder.settings()),
        }
    }

    /// Decodes a payload, in whole frames and as many as `samples` has room for; returns how many samples. Any octets decode to something.
    pub fn decode(&mut self, payload: &[u8], samples: &mut [i16]) -> usize {
        self.noise = None;
        let (count, concealer) = match &mut self.state {
            Decoding::Pcmu(concealer) => (g711::ulaw_decode_frame(payload, samples), concealer),
            Decoding::Pcma(concealer) => (g711::alaw_decode_frame(payload, samples), concealer),
            Decoding::G722(decoder, concealer) => (decoder.decode(payload, samples), concealer),
            Decoding::G729(decoder) => return decoder.decode(payload, samples),
            Decoding::Opus(decoder) => return decoder.decode(payload, samples),
            Decoding::L16(_, concealer) => {
                let octets = payload.as_chunks::<2>().0;
                for (sample, octets) in samples.iter_mut().zip(octets) {
                    *sample = i16::from_be_bytes(*octets);
                }
                (octets.len().min(samples.len()), concealer)
            }
        };
        concealer.good(&mut samples[..count]);
        count
    }

    /// Fills `samples` for the packet that should have come just before `next`, from what that one repeats of it, if it does; else like
    /// [`Self::conceal`]. `next` is to be decoded afterwards.
    pub fn recover(&mut self, next: &[u8], samples: &mut [i16]) -> usize {
        match &mut self.state {
            Decoding::Opus(decoder) => decoder.recover(next, samples),
            _ => self.conceal(samples),
        }
    }

    /// Takes a comfort noise payload (RFC 3389): what is missing from now on is filled with such noise. `seed` is what the noise is drawn from,
    /// when it begins. G.729 and Opus have their own descriptions and take none.
    pub fn describe_silence(&mut self, payload: &[u8], seed: u32) {
        if let (Some(noise), Silence::ComfortNoise) = (Noise::parse(payload), self.codec().silence()) {
            self.noise.get_or_insert_with(|| Generator::new(seed)).set(noise);
        }
    }

    /// Fills `samples` for packets that did not come: in silence with comfort noise, else by what was last heard. Returns how many samples,
    /// all of them but for G.729 and Opus, whose frames are whole.
    pub fn conceal(&mut self, samples: &mut [i16]) -> usize {
        let concealer = match &mut self.state {
            Decoding::G729(decoder) => return decoder.missing(samples),
            Decoding::Opus(decoder) => return decoder.missing(samples),
            Decoding::Pcmu(concealer)
            | Decoding::Pcma(concealer)
            | Decoding::G722(_, concealer)
            | Decoding::L16(_, concealer) => concealer,
        };
        if let Some(noise) = &mut self.noise {
            noise.fill(samples);
            concealer.good(samples);
            return samples.len();
        }
        concealer.lost(samples);
        if let Decoding::G722(decoder, concealer) = &mut self.state {
            let mut ahead = [0; g722::DELAY];
            concealer.ahead(&mut ahead);
            decoder.follow(samples, &ahead);
        }
        samples.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Codec; 7] = [
        Codec::Pcmu,
        Codec::Pcma,
        Codec::G722,
        Codec::G729,
        Codec::L16(Rate::Hz8000),
        Codec::L16(Rate::Hz16000),
        Codec::L16(Rate::Hz48000),
    ];

    #[test]
    fn names_and_numbers_are_those_of_rfc_3551() {
        // RFC 3551 §4.5, tables 1 and 4: name, clock, static type, octets of 20 ms.
        let expected = [
            ("PCMU", 8000, Some(0), 160, 160),
            ("PCMA", 8000, Some(8), 160, 160),
            ("G722", 8000, Some(9), 320, 160),
            ("G729", 8000, Some(18), 160, 20),
            ("L16", 8000, None, 160, 320),
            ("L16", 16_000, None, 320, 640),
            ("L16", 48_000, None, 960, 1920),
        ];
        for (codec, (name, clock, payload_type, samples, octets)) in ALL.into_iter().zip(expected) {
            assert_eq!((codec.name(), codec.clock_rate()), (name, clock));
            assert_eq!(codec.static_payload_type(), payload_type);
            assert_eq!((codec.samples(20), codec.octets(20)), (samples, octets), "{name}");
            assert_eq!(codec.samples_of(&vec![0; octets]), samples);
            assert_eq!(codec.ticks(samples), clock / 50);
            assert_eq!(Codec::of(&name.to_lowercase(), clock, 1), Some(codec));
            assert_eq!(Codec::of(name, clock, 2), None);
            if let Some(payload_type) = payload_type {
                assert_eq!(Codec::of_static_payload_type(payload_type), Some(codec));
            }
        }
        // A rate that is G.722's own and not SDP's; static types of other rates.
        assert_eq!(Codec::of("G722", 16_000, 1), None);
        assert_eq!((Codec::of("L16", 44_100, 1), Codec::of_static_payload_type(11)), (None, None));
        // Whole frames, and at least one.
        assert_eq!(
            (Codec::G729.samples(5), Codec::G729.octets(25), Codec::G729.samples_of(&[0; 12])),
            (80, 20, 160)
        );
    }

    #[test]
    fn l16_is_in_network_order() {
        let mut payload = [0; 5];
        let mut encoder = Encoder::new(Codec::L16(Rate::Hz16000), true);
        assert_eq!(encoder.encode(&[0x0102, -2, 5], &mut payload), Encoded { octets: 4, skipped: 0 });
        assert_eq!(payload, [1, 2, 0xff, 0xfe, 0]);
        let mut samples = [0; 4];
        assert_eq!(Decoder::new(encoder.codec()).decode(&payload, &mut samples), 2);
        assert_eq!(samples, [0x0102, -2, 0, 0]);
    }

    #[test]
    fn silence_within_a_packet_is_told_by_its_time() {
        // RFC 3551 §4.5.6: nothing follows a silence description; speech after a gap has a later timestamp.
        let mut encoder = Encoder::new(Codec::G729, true);
        let mut seed = 1u32;
        let (mut late, mut described) = (0, 0);
        for n in 0..600u32 {
            let mut samples = [0i16; 240];
            for (k, sample) in samples.iter_mut().enumerate() {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                // Bursts that begin anywhere.
                let loud = (240 * n + k as u32) % 5130 < 2000;
                *sample = ((seed >> 16) as i16) >> if loud { 2 } else { 12 };
            }
            let mut payload = [0; 30];
            let Encoded { octets, skipped } = encoder.encode(&samples, &mut payload);
            assert!(octets % 10 == 0 || octets % 10 == 2, "{octets}");
            assert!(octets.div_ceil(10) * 80 + skipped <= 240);
            late += u32::from(skipped > 0);
            described += u32::from(octets % 10 == 2);
        }
        assert!(late > 5 && described > 5, "{late} late, {described} described");
    }

    #[test]
    fn what_is_missing_is_filled_and_noise_lasts_until_speech() {
        for codec in ALL {
            let mut decoder = Decoder::new(codec);
            assert_eq!(decoder.codec(), codec);
            let mut samples = vec![0; codec.samples(20)];
            let payload = vec![0x35; codec.octets(20)];
            assert_eq!(decoder.decode(&payload, &mut samples), samples.len());
            samples.fill(0);
            assert_eq!(decoder.conceal(&mut samples), samples.len());
            assert!(samples.iter().any(|&s| s != 0), "{codec:?} conceals nothing");
            if codec.silence() == Silence::InBand {
                continue;
            }
            for _ in 0..10 {
                decoder.conceal(&mut samples);
            }
            assert!(samples.iter().all(|&s| s == 0), "{codec:?} goes on for ever");
            // -40 dBov.
            decoder.describe_silence(&[40], 1);
            decoder.conceal(&mut samples);
            let power = samples.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / samples.len() as f64;
            let level = 20.0 * (power.sqrt() / 32_767.0).log10();
            assert!((level + 40.0).abs() < 2.0, "{codec:?}: {level}");
            decoder.decode(&payload, &mut samples);
            decoder.conceal(&mut samples);
            assert!(decoder.noise.is_none());
        }
    }
}
