//! Listens for keys in a leg's sound, and hides their tones from the other leg.

use media::codec::{Codec, Decoder, Encoder};
use media::dtmf::{Detector, Heard};
use rtp::Packet;

/// Most milliseconds of a payload that are listened to.
const LONGEST: u32 = 120;

/// What of the present codec is needed.
#[derive(Debug)]
struct Present {
    payload_type: u8,
    decoder: Decoder,
    detector: Detector,
    /// Makes the silence that stands for a tone.
    encoder: Encoder,
}

/// Listens to one stream. Some 30 KiB.
#[derive(Debug)]
pub(crate) struct Ear {
    codecs: Vec<(u8, Codec)>,
    present: Option<Box<Present>>,
    samples: Vec<i16>,
}

impl Ear {
    /// For a stream of one of these codecs at a time, by payload type.
    pub(crate) fn new(codecs: &[(u8, Codec)]) -> Self {
        let room = codecs.iter().map(|(_, codec)| codec.samples(LONGEST)).max().unwrap_or(0);
        Self { codecs: codecs.to_vec(), present: None, samples: vec![0; room] }
    }

    /// Listens to a packet. If there is, or may be, a key in it, silence of the same length is to pass in its place, which is written to
    /// `silence`; its octets.
    pub(crate) fn hear(
        &mut self,
        packet: &Packet<'_>,
        silence: &mut [u8],
        heard: impl FnMut(Heard),
    ) -> Option<usize> {
        let (payload, payload_type) = (packet.payload(), packet.header().payload_type);
        if self.present.as_ref().is_none_or(|present| present.payload_type != payload_type) {
            let known = self.codecs.iter().find(|(number, _)| *number == payload_type);
            let &(_, codec) = known?;
            self.present = Some(Box::new(Present {
                payload_type,
                decoder: Decoder::new(codec),
                detector: Detector::new(codec.rate().hertz()),
                encoder: Encoder::new(codec, false),
            }));
        }
        let present = self.present.as_mut()?;
        let count = present.decoder.decode(payload, &mut self.samples);
        let before = present.detector.suspects();
        present.detector.hear(&self.samples[..count], heard);
        if !before && !present.detector.suspects() {
            return None;
        }
        self.samples[..count].fill(0);
        Some(present.encoder.encode(&self.samples[..count], silence).octets)
    }

    /// Forgets a key that is pressed: its stream has stopped.
    pub(crate) fn forget(&mut self) {
        self.present = None;
    }
}
