//! From one codec to another: payloads in, payloads out, at the time of those that come in.
//!
//! Nothing is delayed but for what a codec needs: what comes out has the length of what came in, as far as whole frames of
//! the other codec allow. Loss stays loss, which the receiver conceals better than it could a second time.

use crate::codec::{Codec, Decoder, Encoder};
use crate::opus;
use crate::resample::Resampler;

/// Most milliseconds of a payload that are taken; what is beyond is no telephony.
const LONGEST: u32 = 120;
/// Most milliseconds of a payload that comes out.
const PACKET: u32 = 60;
/// Milliseconds that are decoded at a time, but of Opus, whose packets are whole.
const PIECE: u32 = 20;
/// Samples that are resampled at a time, at the highest rate.
const PIECE_SAMPLES: usize = 960;

/// The way of one stream from a codec to another. Some 4 KB and what the codecs need; nothing is allocated after it is made.
#[derive(Debug)]
pub struct Transcoder {
    decoder: Decoder,
    resampler: Option<Resampler>,
    encoder: Encoder,
    /// What was decoded last, at the rate of what it is decoded from.
    decoded: Box<[i16]>,
    /// Samples of the other codec's rate that wait to be whole frames, and how many they are.
    held: Vec<i16>,
}

impl Transcoder {
    /// A way from `from` to `to`.
    pub fn new(from: Codec, to: Codec) -> Self {
        let resampler = (from.rate() != to.rate()).then(|| Resampler::new(from.rate(), to.rate()));
        // One packet of the longest, and less than a frame before it.
        let room = to.rate().hertz() / 1000 * (LONGEST + PIECE);
        Self {
            decoder: Decoder::new(from),
            resampler,
            encoder: Encoder::new(to, false),
            decoded: vec![0; from.samples(LONGEST)].into_boxed_slice(),
            held: Vec::with_capacity(room as usize),
        }
    }

    /// What it decodes.
    pub const fn from(&self) -> Codec {
        self.decoder.codec()
    }

    /// What it encodes.
    pub const fn to(&self) -> Codec {
        self.encoder.codec()
    }

    /// Samples that wait, at the rate of [`Self::to`].
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// What was held is void: what comes next does not follow it.
    pub fn forget(&mut self) {
        self.held.clear();
    }

    /// Takes a payload, of which at most 120 ms.
    pub fn put(&mut self, payload: &[u8]) {
        let (from, mut left) = (self.from(), self.from().samples(LONGEST));
        for piece in payload.chunks(from.octets(PIECE).max(1)) {
            let count = self.decoder.decode(piece, &mut self.decoded).min(left);
            left -= count;
            self.hold(count);
        }
    }

    /// A payload of `samples` did not come: the decoder goes on as if it had, for the sake of those that do.
    pub fn miss(&mut self, samples: usize) {
        let mut left = samples.min(self.from().samples(LONGEST));
        while left > 0 {
            let count = left.min(self.from().samples(PIECE));
            let given = self.decoder.conceal(&mut self.decoded[..count]);
            if let Some(resampler) = &mut self.resampler {
                let mut raised = [0; PIECE_SAMPLES];
                resampler.process(&self.decoded[..given], &mut raised);
            }
            left -= count;
        }
    }

    /// Nothing was sent for `samples`, since there was silence: noise as it was described takes their place. To be taken as what comes is.
    pub fn fill(&mut self, samples: usize) {
        let count = samples.min(self.from().samples(PIECE));
        let given = self.decoder.conceal(&mut self.decoded[..count]);
        self.hold(given);
    }

    /// A payload of `samples` did not come, and `next`, which came after it, says once more what was in it: that is held as if it had come.
    /// False, and nothing is done, if it does not.
    pub fn recover(&mut self, next: &[u8], samples: usize) -> bool {
        let Codec::Opus(_) = self.from() else { return false };
        if !opus::repeats(next) {
            return false;
        }
        let count = samples.min(self.from().samples(LONGEST));
        let given = self.decoder.recover(next, &mut self.decoded[..count]);
        self.hold(given);
        true
    }

    /// Holds the first samples of those decoded, at the other codec's rate.
    fn hold(&mut self, count: usize) {
        let samples = &self.decoded[..count];
        let Some(resampler) = &mut self.resampler else {
            let room = self.held.capacity() - self.held.len();
            return self.held.extend_from_slice(&samples[..samples.len().min(room)]);
        };
        let most = PIECE_SAMPLES / resampler.most(1).max(1);
        for piece in samples.chunks(most) {
            let mut changed = [0; PIECE_SAMPLES];
            let count = resampler.process(piece, &mut changed);
            let room = self.held.capacity() - self.held.len();
            self.held.extend_from_slice(&changed[..count.min(room)]);
        }
    }

    /// Writes the next payload of whole frames, at most 60 ms and what there is room for; returns its octets and how many
    /// samples at the rate of [`Self::to`] it stands for. No octets: it is silence that is not sent. `None`: less than a frame is left.
    pub fn take(&mut self, payload: &mut [u8]) -> Option<(usize, usize)> {
        let to = self.to();
        let count = to.packet(self.held.len().min(to.samples(PACKET)), payload.len());
        if count == 0 {
            return None;
        }
        let encoded = self.encoder.encode(&self.held[..count], payload);
        self.held.copy_within(count.., 0);
        self.held.truncate(self.held.len() - count);
        Some((encoded.octets, count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resample::Rate;

    const ALL: [Codec; 9] = [
        Codec::Opus(opus::Settings::of(Rate::Hz8000)),
        Codec::Opus(opus::Settings::of(Rate::Hz16000)),
        Codec::Opus(opus::Settings::of(Rate::Hz48000)),
        Codec::Pcmu,
        Codec::Pcma,
        Codec::G722,
        Codec::G729,
        Codec::L16(Rate::Hz8000),
        Codec::L16(Rate::Hz16000),
    ];

    /// A second of 400 Hz, encoded in packets of so many milliseconds.
    fn tone(codec: Codec, ptime: u32) -> Vec<Vec<u8>> {
        let rate = f64::from(codec.rate().hertz());
        let wave = |n: usize| ((n as f64 * 400.0 * core::f64::consts::TAU / rate).sin() * 8000.0) as i16;
        let samples: Vec<i16> = (0..rate as usize).map(wave).collect();
        let mut encoder = Encoder::new(codec, false);
        let mut packets = Vec::new();
        for piece in samples.chunks_exact(codec.samples(ptime)) {
            let mut payload = vec![0; codec.octets(ptime)];
            let encoded = encoder.encode(piece, &mut payload);
            payload.truncate(encoded.octets);
            packets.push(payload);
        }
        packets
    }

    /// The level of a tone in what was decoded, in dB of the whole, after the first tenth.
    fn purity(samples: &[i16], rate: f64) -> (f64, f64) {
        let samples = &samples[samples.len() / 10..];
        let (mut re, mut im, mut all) = (0.0, 0.0, 0.0);
        for (n, &sample) in samples.iter().enumerate() {
            let (sample, angle) = (f64::from(sample), n as f64 * 400.0 * core::f64::consts::TAU / rate);
            re += sample * angle.cos();
            im += sample * angle.sin();
            all += sample * sample;
        }
        let count = samples.len() as f64;
        let tone = 2.0 * (re * re + im * im) / count;
        (10.0 * (tone / all).log10(), (all / count).sqrt())
    }

    #[test]
    fn a_tone_comes_through_every_pair_in_packets_as_long_as_those_that_came() {
        for from in ALL {
            for to in ALL {
                let mut way = Transcoder::new(from, to);
                let mut decoder = Decoder::new(to);
                let mut heard = Vec::new();
                for payload in tone(from, 20) {
                    way.put(&payload);
                    let mut out = [0; 1400];
                    let (octets, samples) = way.take(&mut out).unwrap();
                    assert_eq!(samples, to.samples(20), "{from:?} {to:?}");
                    let whole = if matches!(to, Codec::Opus(_)) { octets } else { to.octets(20) };
                    assert_eq!(octets, whole, "{from:?} {to:?}");
                    assert!(way.take(&mut out).is_none());
                    let mut decoded = [0; 960];
                    let count = decoder.decode(&out[..octets], &mut decoded);
                    heard.extend_from_slice(&decoded[..count]);
                }
                let (purity, level) = purity(&heard, f64::from(to.rate().hertz()));
                // Waveforms are kept but by G.729, which is no codec for tones.
                let (least, range) = match (from, to) {
                    (Codec::G729, _) | (_, Codec::G729) => (-1.5, 0.6..1.4),
                    (Codec::Opus(_), _) | (_, Codec::Opus(_)) => (-0.5, 0.9..1.05),
                    _ => (-0.01, 0.97..1.03),
                };
                assert!(purity > least, "{from:?} {to:?}: {purity} dB");
                assert!(range.contains(&(level / 5657.0)), "{from:?} {to:?}: level {level}");
            }
        }
    }

    #[test]
    fn packets_shorter_than_a_frame_are_gathered_and_long_ones_divided() {
        // 5 ms of A-law make half a frame of G.729.
        let mut way = Transcoder::new(Codec::Pcma, Codec::G729);
        let mut out = [0; 1400];
        let taken: Vec<Option<(usize, usize)>> = tone(Codec::Pcma, 5)
            .iter()
            .take(4)
            .map(|payload| {
                way.put(payload);
                way.take(&mut out)
            })
            .collect();
        assert_eq!(taken, [None, Some((10, 80)), None, Some((10, 80))]);
        way.put(&[0x55; 41]);
        assert_eq!(way.held(), 41);
        way.forget();
        assert!(way.take(&mut out).is_none());
        // 200 ms, of which 120 are taken.
        way.put(&[0x55; 1600]);
        let taken: Vec<_> = core::iter::from_fn(|| way.take(&mut out)).collect();
        assert_eq!(taken, [(60, 480), (60, 480)]);
        // No room for all of it.
        way.put(&[0x55; 480]);
        let taken: Vec<_> = core::iter::from_fn(|| way.take(&mut out[..25])).collect();
        assert_eq!(taken, [(20, 160), (20, 160), (20, 160)]);
        assert!(way.take(&mut out[..9]).is_none());
    }

    #[test]
    fn what_a_packet_repeats_of_the_one_before_it_is_heard_in_its_place() {
        // RFC 6716 §2.1.7: every fifth packet of a voice is lost, and the next one has it.
        let opus = Codec::Opus(opus::Settings {
            redundant: true,
            bit_rate: 32_000,
            ..opus::Settings::of(Rate::Hz8000)
        });
        let packets = tone(opus, 20);
        let mut way = Transcoder::new(opus, Codec::L16(Rate::Hz8000));
        let (mut heard, mut found, mut out) = (Vec::new(), 0, [0; 1400]);
        for (n, payload) in packets.iter().enumerate().skip(1) {
            if n % 5 == 4 {
                continue;
            }
            if n % 5 == 0 {
                found += usize::from(way.recover(payload, 160));
            }
            way.put(payload);
            while let Some((octets, _)) = way.take(&mut out) {
                heard.extend(out[..octets].as_chunks::<2>().0.iter().map(|it| i16::from_be_bytes(*it)));
            }
        }
        // Of what stays the same for long, less is repeated.
        assert!(found >= 5, "{found} of 9");
        assert_eq!(heard.len(), (39 + found) * 160);
        let (purity, level) = purity(&heard, 8000.0);
        assert!(purity > -0.6 && (0.9..1.1).contains(&(level / 5657.0)), "{purity} dB, {level}");
        assert!(!Transcoder::new(Codec::G729, Codec::Pcma).recover(&packets[7], 80));
    }

    #[test]
    fn any_octets_become_something_and_what_is_missing_stays_missing() {
        for from in ALL {
            for to in ALL {
                let mut way = Transcoder::new(from, to);
                let mut out = [0; 1400];
                for length in 0..400usize {
                    let payload: Vec<u8> = (0..length).map(|n| (n * 37 + length) as u8).collect();
                    way.put(&payload);
                    way.miss(length * 3);
                    while way.take(&mut out).is_some() {}
                    assert!(
                        way.held()
                            < to.frame().0.max(if matches!(to, Codec::Opus(_)) { to.samples(10) } else { 0 })
                    );
                }
            }
        }
    }
}
