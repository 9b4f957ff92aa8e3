//! Says keys as tones, in packets of a leg's codec.

use media::codec::{Codec, Encoder};
use media::dtmf::{Generator, Key, Levels};

/// Milliseconds of a packet.
pub(crate) const PACKET_MS: u32 = 20;
/// Shortest tone and pause, as every network takes them (ITU-T Q.24 lists 40 ms each), and a little more.
const LEAST_MS: u32 = 50;
const PAUSE_MS: u32 = 50;

/// A key that sounds.
#[derive(Debug)]
pub(crate) struct Voice {
    codec: Codec,
    payload_type: u8,
    generator: Generator,
    encoder: Encoder,
    samples: Vec<i16>,
    /// Samples made, and of how many it is known that they are all.
    made: u32,
    whole: Option<u32>,
}

impl Voice {
    /// A tone that lasts until [`Self::end`]. `volume` is that of a telephone event: dBm0 of both frequencies together, without its sign.
    pub(crate) fn new(key: Key, volume: u8, (payload_type, codec): (u8, Codec)) -> Self {
        let rate = codec.rate().hertz();
        let mut generator = Generator::new(rate);
        // Each of the two has half the power. RFC 4733 §2.3.4: what is below -36 dBm0 need not be taken.
        let level = -f64::from(volume.clamp(4, 33)) - 3.0;
        generator.press(key, Levels { low: level, high: level }, u32::MAX, PAUSE_MS);
        Self {
            codec,
            payload_type,
            generator,
            encoder: Encoder::new(codec, false),
            samples: vec![0; codec.samples(PACKET_MS)],
            made: 0,
            whole: None,
        }
    }

    /// It lasts so long in all, or as long as it has already.
    pub(crate) fn end(&mut self, ms: u32) {
        let samples = u64::from(ms.max(LEAST_MS)) * u64::from(self.codec.rate().hertz()) / 1000;
        let samples = u32::try_from(samples).unwrap_or(u32::MAX).max(self.made);
        self.whole = self.whole.or(Some(samples));
    }

    /// The payload type of its packets.
    pub(crate) const fn payload_type(&self) -> u8 {
        self.payload_type
    }

    /// Writes the next payload; its octets, and the ticks it lasts. `None` after the pause behind the tone.
    pub(crate) fn packet(&mut self, payload: &mut [u8]) -> Option<(usize, u32)> {
        if self.generator.is_idle() {
            return None;
        }
        let count = self.samples.len();
        let left = self.whole.map_or(count, |whole| (whole.saturating_sub(self.made) as usize).min(count));
        let mut filled = self.generator.fill(&mut self.samples[..left]);
        if left < count {
            self.generator.release();
            filled += self.generator.fill(&mut self.samples[filled..]);
        }
        self.samples[filled..].fill(0);
        self.made = self.made.saturating_add(count as u32);
        let encoded = self.encoder.encode(&self.samples, payload);
        Some((encoded.octets, self.codec.ticks(count)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use media::codec::Decoder;
    use media::dtmf::{Detector, Heard};

    #[test]
    fn each_key_sounds_as_long_as_it_was_in_each_codec() {
        for codec in [Codec::Pcma, Codec::Pcmu, Codec::G722] {
            for (key, ms) in Key::all().zip([40, 60, 100, 110, 250].into_iter().cycle()) {
                let mut voice = Voice::new(key, 10, (9, codec));
                let mut detector = Detector::new(codec.rate().hertz());
                let (mut decoder, mut heard) = (Decoder::new(codec), Vec::new());
                let mut payload = [0; 320];
                let mut packets = 0;
                while let Some((octets, ticks)) = voice.packet(&mut payload) {
                    assert_eq!((octets, ticks), (160, 160));
                    let mut samples = [0; 320];
                    let count = decoder.decode(&payload[..octets], &mut samples);
                    detector.hear(&samples[..count], |it| heard.push(it));
                    packets += 1;
                    if packets == 2 {
                        voice.end(ms);
                    }
                }
                detector.hear(&[0; 1600], |it| heard.push(it));
                let [Heard::Began(began), Heard::Ended { key: ended, ms: lasted }] = heard[..] else {
                    panic!("{key:?} {heard:?}")
                };
                assert_eq!((began, ended), (key, key));
                assert!(lasted.abs_diff(ms.max(50)) <= 12, "{codec:?} {key:?} of {ms} ms: {lasted}");
                assert!((ms.max(50) + 50).div_ceil(20).abs_diff(packets) <= 1, "{packets} packets");
            }
        }
    }
}
