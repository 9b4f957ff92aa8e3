//! Opus for calls (RFC 6716 in RTP by RFC 7587): one channel, 10 to 60 ms a packet, redundancy against loss, silence that is not sent.
//!
//! The codec itself is libopus, through `audiopus`. It codes samples of 8, 16 or 48 kHz alike, whatever the packets hold, so that towards a
//! codec of the telephone band nothing is resampled; the RTP clock is 48 kHz always (RFC 7587 §4.1). Packets of two channels are
//! heard as one.

use crate::resample::Rate;
use audiopus::coder::{Decoder as Inner, Encoder as InnerEncoder};
use audiopus::packet::{Packet, nb_samples};
use audiopus::{Application, Bandwidth, Bitrate, Channels, MutSignals, SampleRate};

/// Units of the RTP timestamp a second (RFC 7587 §4.1).
pub const CLOCK: u32 = 48_000;
/// Octets of the largest packet that is made: one frame (RFC 6716 §3.2.1), and its first octet.
pub const OCTETS_MAX: usize = 1276;
/// Milliseconds of a packet that is made, the longest first.
const SIZES: [usize; 4] = [60, 40, 20, 10];
/// Milliseconds of the longest packet there is (RFC 6716 §3.2.5).
const LONGEST: usize = 120;
/// How much work is put into a search: 0 to 10. At 3 an encoder of 8 kHz takes half as long again or more (`cargo bench --bench codecs`), and PESQ
/// differed by -0.06 to +0.07 over all pairs and losses of docs/audio.md.
const COMPLEXITY: u8 = 1;
/// The share of packets, in per cent, that redundancy is made for.
const LOSS: u8 = 10;
/// What RFC 7587 §6.1 allows of `maxaveragebitrate`.
const BIT_RATES: core::ops::RangeInclusive<u32> = 6000..=510_000;

/// How Opus is coded: the rate of the samples, and what the receiver's description asks of its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The rate of the samples that are encoded and decoded.
    pub rate: Rate,
    /// Bits a second that are not exceeded on the average, 6000 to 510 000: `maxaveragebitrate`.
    pub bit_rate: u32,
    /// Samples a second beyond which the receiver plays nothing: `maxplaybackrate`.
    pub playback: u32,
    /// Whether packets carry the one before once more, coarsely: `useinbandfec`.
    pub redundant: bool,
    /// Whether silence is not sent: `usedtx`.
    pub silence: bool,
    /// Whether all packets are of one size: `cbr`.
    pub constant: bool,
}

impl Settings {
    /// What is sent to a receiver that asks for nothing, to and from samples of a rate: 24 kbit/s for the telephone band, 32 kbit/s
    /// above it (RFC 7587 §3.1.1 names 8 to 12 and 16 to 20 for narrow and wide band, 28 to 40 for full band, without redundancy).
    pub const fn of(rate: Rate) -> Self {
        let bit_rate = if matches!(rate, Rate::Hz8000) { 24_000 } else { 32_000 };
        Self { rate, bit_rate, playback: 48_000, redundant: false, silence: false, constant: false }
    }

    /// The same for the receiver whose description has these parameters, `a=fmtp` without the payload type (RFC 7587 §6.1). What is not
    /// understood is passed over.
    pub fn asked(self, parameters: &[u8]) -> Self {
        let mut asked = self;
        for pair in parameters.split(|octet| *octet == b';') {
            let mut parts = pair.splitn(2, |octet| *octet == b'=').map(<[u8]>::trim_ascii);
            let (Some(name), Some(value)) = (parts.next(), parts.next()) else { continue };
            let Some(value) = core::str::from_utf8(value).ok().and_then(|text| text.parse::<u32>().ok())
            else {
                continue;
            };
            let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
            if is("maxaveragebitrate") && BIT_RATES.contains(&value) {
                asked.bit_rate = asked.bit_rate.min(value);
            } else if is("maxplaybackrate") && value >= 8000 {
                asked.playback = value;
            } else if is("useinbandfec") {
                asked.redundant = value == 1;
            } else if is("usedtx") {
                asked.silence = value == 1;
            } else if is("cbr") {
                asked.constant = value == 1;
            }
        }
        asked
    }

    /// The same for samples of another rate.
    #[must_use]
    pub fn at(self, rate: Rate) -> Self {
        let usual = Self::of(self.rate).bit_rate;
        let bit_rate = if self.bit_rate == usual { Self::of(rate).bit_rate } else { self.bit_rate };
        Self { rate, bit_rate, ..self }
    }

    /// What the gateway asks of who sends to it samples that end in a codec of a rate: the band that is heard, one channel, redundancy
    /// (RFC 7587 §6.1; §7 has `sprop-maxcapturerate` for gateways to the telephone network).
    pub const fn parameters(rate: Rate) -> &'static str {
        match rate {
            Rate::Hz8000 => "maxplaybackrate=8000;sprop-maxcapturerate=8000;useinbandfec=1",
            Rate::Hz16000 => "maxplaybackrate=16000;sprop-maxcapturerate=16000;useinbandfec=1",
            Rate::Hz48000 => "useinbandfec=1",
        }
    }

    const fn sample_rate(&self) -> SampleRate {
        match self.rate {
            Rate::Hz8000 => SampleRate::Hz8000,
            Rate::Hz16000 => SampleRate::Hz16000,
            Rate::Hz48000 => SampleRate::Hz48000,
        }
    }

    const fn bandwidth(&self) -> Bandwidth {
        match self.playback {
            0..12_000 => Bandwidth::Narrowband,
            12_000..16_000 => Bandwidth::Mediumband,
            16_000..24_000 => Bandwidth::Wideband,
            24_000..48_000 => Bandwidth::Superwideband,
            _ => Bandwidth::Fullband,
        }
    }
}

/// How many of so many samples the next packet takes: 60, 40, 20 or 10 ms; none of less.
pub const fn packet(rate: Rate, samples: usize) -> usize {
    let ms = rate.hertz() as usize / 1000;
    let mut n = 0;
    while n < SIZES.len() {
        if SIZES[n] * ms <= samples {
            return SIZES[n] * ms;
        }
        n += 1;
    }
    0
}

/// Samples of the smallest piece of which lost ones are made: 2.5 ms.
pub const fn piece(rate: Rate) -> usize {
    rate.hertz() as usize / 400
}

/// Samples that a payload decodes to, 0 if it is none.
pub fn samples_of(rate: Rate, payload: &[u8]) -> usize {
    let count =
        Packet::try_from(payload).and_then(|packet| nb_samples(packet, Settings::of(rate).sample_rate()));
    count.unwrap_or(0)
}

/// Whether a payload carries the end of what came before it once more (LBRR, RFC 6716 §2.1.7 and §4.2.4). Packets of more than two frames
/// are not looked into.
pub fn repeats(payload: &[u8]) -> bool {
    let [first, rest @ ..] = payload else { return false };
    // RFC 6716 §3.1: configurations from 16 on are CELT alone, which repeats nothing.
    let configuration = first >> 3;
    if configuration >= 16 {
        return false;
    }
    let frame = match (first & 3, rest) {
        (0 | 1, rest) => rest,
        // RFC 6716 §3.2.1: the length of the first of two frames.
        (2, [length, _, rest @ ..]) if *length >= 252 => rest,
        (2, [_, rest @ ..]) => rest,
        _ => return false,
    };
    // RFC 6716 §4.2.3: a voice activity flag for each 20 ms, then the flag of redundancy, all with even odds.
    let long = configuration < 12;
    let flags = if long { [1, 1, 2, 3][usize::from(configuration & 3)] } else { 1 };
    frame.first().is_some_and(|octet| octet >> (7 - flags) & 1 == 1)
}

/// One direction of a stream, to Opus.
#[derive(Debug)]
pub struct Encoder {
    settings: Settings,
    /// Missing only where there was no memory for it.
    inner: Option<InnerEncoder>,
}

impl Encoder {
    /// An encoder at rest. Some 30 KB.
    pub fn new(settings: Settings) -> Self {
        Self { settings, inner: Self::arranged(&settings).ok() }
    }

    fn arranged(settings: &Settings) -> audiopus::Result<InnerEncoder> {
        let mut inner = InnerEncoder::new(settings.sample_rate(), Channels::Mono, Application::Voip)?;
        // `bit_rate` is bounded where it is read.
        inner.set_bitrate(Bitrate::BitsPerSecond(settings.bit_rate.cast_signed()))?;
        inner.set_complexity(COMPLEXITY)?;
        inner.set_max_bandwidth(settings.bandwidth())?;
        inner.set_inband_fec(settings.redundant)?;
        inner.set_packet_loss_perc(if settings.redundant { LOSS } else { 0 })?;
        inner.set_dtx(settings.silence)?;
        inner.set_vbr(!settings.constant)?;
        Ok(inner)
    }

    /// How it codes.
    pub const fn settings(&self) -> Settings {
        self.settings
    }

    /// Encodes the first [`packet`] of some samples; returns how many octets. None if there are too few samples, or if this is silence
    /// that need not be sent (RFC 7587 §3.1.3).
    pub fn encode(&mut self, samples: &[i16], payload: &mut [u8]) -> usize {
        let count = packet(self.settings.rate, samples.len());
        let room = payload.len().min(OCTETS_MAX);
        let (Some(inner), 1.., 1..) = (&self.inner, count, room) else { return 0 };
        let octets = inner.encode(&samples[..count], &mut payload[..room]).unwrap_or(0);
        if self.settings.silence && octets <= 2 { 0 } else { octets }
    }
}

/// Encodes the last of some samples, a multiple of 20 ms, as a packet of 20 ms that is heard the same whatever came before it: for senders that
/// repeat packets made beforehand. Returns how many octets; none if there is no room or no memory. Not for use per packet.
pub fn standalone(settings: Settings, samples: &[i16], payload: &mut [u8]) -> usize {
    let mut encode = || {
        // The part of the codec that keeps least from packet to packet (CELT), told to keep nothing.
        let mut inner = InnerEncoder::new(settings.sample_rate(), Channels::Mono, Application::LowDelay)?;
        inner.set_bitrate(Bitrate::BitsPerSecond(settings.bit_rate.cast_signed()))?;
        inner.set_prediction_disabled(true)?;
        let mut octets = 0;
        for packet in samples.chunks_exact(settings.rate.hertz() as usize / 50) {
            octets = inner.encode(packet, &mut *payload)?;
        }
        audiopus::Result::Ok(octets)
    };
    encode().unwrap_or(0)
}

/// One direction of a stream, from Opus.
#[derive(Debug)]
pub struct Decoder {
    settings: Settings,
    inner: Option<Inner>,
    /// Room for the longest packet, where the caller has less.
    room: Box<[i16]>,
}

impl Decoder {
    /// A decoder at rest. Some 30 KB.
    pub fn new(settings: Settings) -> Self {
        let inner = Inner::new(settings.sample_rate(), Channels::Mono).ok();
        let room = settings.rate.hertz() as usize / 1000 * LONGEST;
        Self { settings, inner, room: vec![0; room].into_boxed_slice() }
    }

    /// How it codes.
    pub const fn settings(&self) -> Settings {
        self.settings
    }

    /// Decodes a payload; returns how many samples, as many as there is room for. One that is damaged within is filled as if it were lost, one
    /// that is none gives none.
    pub fn decode(&mut self, payload: &[u8], samples: &mut [i16]) -> usize {
        let count = samples_of(self.settings.rate, payload).min(self.room.len());
        if count > samples.len() {
            let mut room = core::mem::take(&mut self.room);
            self.run(Some(payload), false, &mut room[..count]);
            samples.copy_from_slice(&room[..samples.len()]);
            self.room = room;
            return samples.len();
        }
        self.run(Some(payload), false, &mut samples[..count])
    }

    /// Fills in for what did not come, in whole pieces of 2.5 ms and 120 ms at most; returns how many samples.
    pub fn missing(&mut self, samples: &mut [i16]) -> usize {
        let count =
            samples.len().min(self.room.len()) / piece(self.settings.rate) * piece(self.settings.rate);
        self.run(None, false, &mut samples[..count])
    }

    /// Fills in for what should have come just before `next`, from what that one repeats of it; the same as [`Self::missing`] if it
    /// repeats nothing. It is to be decoded afterwards.
    pub fn recover(&mut self, next: &[u8], samples: &mut [i16]) -> usize {
        let count =
            samples.len().min(self.room.len()) / piece(self.settings.rate) * piece(self.settings.rate);
        self.run(Some(next), true, &mut samples[..count])
    }

    fn run(&mut self, payload: Option<&[u8]>, before: bool, samples: &mut [i16]) -> usize {
        let length = samples.len();
        let (Some(inner), 1..) = (&mut self.inner, length) else {
            samples.fill(0);
            return length;
        };
        let packet = payload.and_then(|payload| Packet::try_from(payload).ok());
        let decoded = MutSignals::try_from(&mut *samples).and_then(|room| inner.decode(packet, room, before));
        let count = decoded.ok().or_else(|| {
            let room = MutSignals::try_from(&mut *samples).ok()?;
            inner.decode(None, room, false).ok()
        });
        let count = count.unwrap_or(0).min(length);
        samples[count..].fill(0);
        length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_7587_section_6_1_what_the_receiver_asks_is_heeded_as_far_as_it_makes_sense() {
        let usual = Settings::of(Rate::Hz48000);
        assert_eq!(usual.asked(b""), usual);
        let asked = usual.asked(
            b"maxplaybackrate=16000; sprop-stereo=1;MaxAverageBitrate = 20000;useinbandfec=1;usedtx=1;cbr=1",
        );
        let expected = Settings {
            bit_rate: 20_000,
            playback: 16_000,
            redundant: true,
            silence: true,
            constant: true,
            ..usual
        };
        assert_eq!(asked, expected);
        assert_eq!(asked.bandwidth(), Bandwidth::Wideband);
        // It says what is not to be exceeded.
        for odd in [
            "maxaveragebitrate=510000",
            "maxaveragebitrate=5999",
            "maxaveragebitrate=-1",
            "maxplaybackrate=0",
            ";;=;x",
            "cbr",
        ] {
            assert_eq!(usual.asked(odd.as_bytes()), usual, "{odd}");
        }
        assert_eq!(usual.at(Rate::Hz8000), Settings::of(Rate::Hz8000));
        assert_eq!(asked.at(Rate::Hz8000).bit_rate, 20_000);
    }

    #[test]
    fn packets_are_of_60_40_20_or_10_ms() {
        for (samples, expected) in [(79, 0), (80, 80), (240, 160), (400, 320), (480, 480), (960, 480)] {
            assert_eq!(packet(Rate::Hz8000, samples), expected);
        }
    }

    /// Half a second of noise that comes and goes.
    fn noise(rate: Rate) -> Vec<i16> {
        let mut seed = 1u32;
        let count = rate.hertz() as usize / 2;
        let mut next = |n: usize| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 16).cast_signed() as i16 >> if (n * 8 / count).is_multiple_of(2) { 2 } else { 5 }
        };
        (0..count).map(&mut next).collect()
    }

    #[test]
    fn the_bit_rate_is_kept_and_constant_packets_are_of_one_size() {
        for rate in [Rate::Hz8000, Rate::Hz16000, Rate::Hz48000] {
            for (constant, redundant) in [(false, false), (false, true), (true, false)] {
                let settings = Settings { constant, redundant, ..Settings::of(rate) };
                let mut encoder = Encoder::new(settings);
                let (mut octets, mut sizes) = (0, std::collections::BTreeSet::new());
                for samples in noise(rate).chunks_exact(rate.hertz() as usize / 50) {
                    let size = encoder.encode(samples, &mut [0; 1500]);
                    octets += size;
                    sizes.insert(size);
                }
                let per_second = 16 * octets as u32;
                assert!(per_second <= settings.bit_rate * 6 / 5, "{settings:?}: {per_second}");
                assert!(per_second >= settings.bit_rate / 2, "{settings:?}: {per_second}");
                assert!(!constant || sizes.len() == 1, "{sizes:?}");
            }
        }
    }

    #[test]
    fn rfc_6716_section_4_2_3_the_flag_of_redundancy_is_where_it_is_read() {
        let settings = Settings { redundant: true, bit_rate: 32_000, ..Settings::of(Rate::Hz8000) };
        for ms in [10, 20, 40, 60] {
            let (mut with, mut without) =
                (Encoder::new(settings), Encoder::new(Settings { redundant: false, ..settings }));
            let mut found = 0;
            for samples in noise(Rate::Hz8000).chunks_exact(8 * ms) {
                let mut payload = [0; 1500];
                let size = with.encode(samples, &mut payload);
                found += usize::from(repeats(&payload[..size]));
                let size = without.encode(samples, &mut payload);
                assert!(!repeats(&payload[..size]), "{ms} ms");
            }
            assert!(found > 2, "{ms} ms: {found}");
        }
        // CELT, no frame, two frames.
        assert!(!repeats(&[16 << 3, 0xff]) && !repeats(&[8 << 3]) && !repeats(&[]));
        assert!(repeats(&[(8 << 3) | 2, 1, 0x40, 0]) && repeats(&[(8 << 3) | 2, 252, 0, 0x40]));
        assert!(!repeats(&[(8 << 3) | 3, 1, 0x40]));
    }
}
