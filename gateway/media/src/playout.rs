//! From a jitter buffer's orders to an even stream of samples: decodes, conceals, makes noise, and makes speech shorter or longer.
//!
//! A [`Source`] says what is to be heard next, in plain values; whoever has a jitter buffer and this crate joins the two (`rtp::jitter::Buffer`
//! gives just these orders). [`Playout::fill`] asks as often as it takes to fill a frame. It holds what was made and not yet
//! heard, 240 ms at most, and tells the source how much that is.

use crate::codec::{Codec, Decoder};
use crate::stretch::{shrink, stretch};

/// What is to be heard next. Times are ticks of the codec's RTP clock ([`Codec::clock_rate`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order<'a> {
    /// A payload of the codec. `shorter` ticks at most should go from it, or as many come if it is below zero. `seam` says that it does not
    /// go on where the last one ended.
    Play {
        /// The payload.
        payload: &'a [u8],
        /// Ticks to take out; below zero to put in.
        shorter: i32,
        /// Whether to blend over from what was heard.
        seam: bool,
    },
    /// So many ticks of what does not come: concealment, comfort noise if silence was described, silence if nothing was heard.
    Nothing(u32),
    /// A description of noise, RFC 3389.
    Describe(&'a [u8]),
}

/// Says what is to be heard next.
pub trait Source {
    /// `queued` ticks are made and not yet heard, `need` more are needed at once. Gives something that takes time, but for descriptions.
    fn next(&mut self, queued: u32, need: u32) -> Order<'_>;
}

/// Milliseconds of sound that may be made ahead, and orders that one frame may take.
const AHEAD: usize = 240;
const ORDERS: usize = 64;
/// A step at the border of two kinds of sound decays over as many milliseconds.
const DECAY: usize = 5;

/// What was played, in samples unless it says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Payloads decoded.
    pub payloads: u64,
    /// Samples decoded.
    pub decoded: u64,
    /// Samples made up, noise among them.
    pub made_up: u64,
    /// Samples taken out of speech.
    pub taken_out: u64,
    /// Samples put into speech.
    pub put_in: u64,
    /// Samples that were decoded and for which there was no room.
    pub cut: u64,
    /// Frames that the source did not fill.
    pub starved: u64,
}

/// The sound of one stream, from payloads to samples.
#[derive(Debug)]
pub struct Playout {
    decoder: Decoder,
    codec: Codec,
    /// Made and not yet heard: the first `queued` samples.
    samples: Box<[i16]>,
    queued: usize,
    /// The last sample made, and whether it was decoded.
    last: i16,
    spoke: bool,
    /// Whether anything was decoded or described yet.
    begun: bool,
    seed: u32,
    counts: Counts,
}

impl Playout {
    /// Nothing heard yet. `seed` is what comfort noise is drawn from.
    pub fn new(codec: Codec, seed: u32) -> Self {
        let room = codec.rate().hertz() as usize / 1000 * AHEAD;
        Self {
            decoder: Decoder::new(codec),
            codec,
            samples: vec![0; room].into_boxed_slice(),
            queued: 0,
            last: 0,
            spoke: false,
            begun: false,
            seed,
            counts: Counts::default(),
        }
    }

    /// The codec.
    pub const fn codec(&self) -> Codec {
        self.codec
    }

    /// What was played so far.
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Ticks made and not yet heard.
    pub fn queued(&self) -> u32 {
        self.ticks(self.queued)
    }

    /// Fills a frame, at most 120 ms, at the codec's rate ([`Codec::rate`]).
    pub fn fill(&mut self, source: &mut impl Source, frame: &mut [i16]) {
        let wanted = frame.len().min(self.samples.len() / 2);
        for _ in 0..ORDERS {
            if self.queued >= wanted {
                break;
            }
            let need = self.ticks(wanted - self.queued).max(1);
            self.carry_out(source.next(self.queued(), need));
        }
        if self.queued < wanted {
            self.counts.starved += 1;
            self.make_up(wanted - self.queued);
        }
        let ready = self.queued.min(frame.len());
        frame[..ready].copy_from_slice(&self.samples[..ready]);
        frame[ready..].fill(0);
        self.samples.copy_within(ready..self.queued, 0);
        self.queued -= ready;
    }

    /// Carries one order out. [`Self::fill`] does, too.
    pub fn carry_out(&mut self, order: Order<'_>) {
        self.begun |= !matches!(order, Order::Nothing(_));
        match order {
            Order::Describe(payload) => {
                self.seed = self.seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                self.decoder.describe_silence(payload, self.seed);
            }
            Order::Nothing(ticks) => self.make_up(self.samples_of(ticks)),
            Order::Play { payload, shorter, seam } => self.play(payload, shorter, seam),
        }
    }

    fn play(&mut self, payload: &[u8], shorter: i32, seam: bool) {
        if seam && self.counts.payloads > 0 {
            // What would have come, to be blended into what comes.
            self.make_up(self.codec.rate().hertz() as usize / 400);
        }
        let from = self.queued;
        let coming = self.codec.samples_of(payload);
        let count = self.decoder.decode(payload, &mut self.samples[from..]);
        self.counts.cut += coming.saturating_sub(count) as u64;
        self.counts.payloads += 1;
        self.counts.decoded += count as u64;
        self.queued += count;
        self.join(from, true);
        let rate = self.codec.rate().hertz();
        let most = self.samples_of(shorter.unsigned_abs());
        let haste = most > rate as usize / 20;
        if shorter > 0 {
            let gone = shrink(&mut self.samples[from..self.queued], rate, most, haste);
            self.queued -= gone;
            self.counts.taken_out += gone as u64;
        } else if shorter < 0 {
            let gained = stretch(&mut self.samples[from..], count, rate, most, haste);
            self.queued += gained;
            self.counts.put_in += gained as u64;
        }
        self.remember();
    }

    /// Appends so many samples, or a few more where the codec's frames are whole, of what would have come.
    fn make_up(&mut self, count: usize) {
        let from = self.queued;
        let frame = self.codec.frame().0;
        let count = count.next_multiple_of(frame).min((self.samples.len() - from) / frame * frame);
        let fresh = &mut self.samples[from..from + count];
        // A decoder that has heard nothing is not led to believe that it heard silence: the encoder starts at rest as well.
        let made = if self.begun { self.decoder.conceal(fresh) } else { quiet(fresh) };
        self.queued += made;
        self.counts.made_up += made as u64;
        self.join(from, false);
        self.remember();
    }

    /// Where noise gives way to speech or speech to noise, the step between them decays. Concealment has none.
    fn join(&mut self, from: usize, speaks: bool) {
        let turned = self.spoke != speaks;
        self.spoke = speaks;
        let rate = self.codec.rate().hertz() as usize;
        let fresh = &mut self.samples[from..self.queued];
        let (true, Some(&first)) = (turned, fresh.first()) else { return };
        let step = i32::from(self.last) - i32::from(first);
        let length = (rate / 1000 * DECAY).min(fresh.len()) as i32;
        for (n, sample) in fresh.iter_mut().take(length as usize).enumerate() {
            let left = step * (length - n as i32) / (length + 1);
            *sample = (i32::from(*sample) + left).clamp(i16::MIN.into(), i16::MAX.into()) as i16;
        }
    }

    fn remember(&mut self) {
        if let Some(&last) = self.samples[..self.queued].last() {
            self.last = last;
        }
    }

    fn ticks(&self, samples: usize) -> u32 {
        self.codec.ticks(samples)
    }

    /// Samples of so many ticks; no more than there may be at all.
    fn samples_of(&self, ticks: u32) -> usize {
        let (rate, clock) = (self.codec.rate().hertz() as usize, self.codec.clock_rate() as usize);
        ((ticks as usize).saturating_mul(rate) / clock).min(self.samples.len())
    }
}

fn quiet(samples: &mut [i16]) -> usize {
    samples.fill(0);
    samples.len()
}
