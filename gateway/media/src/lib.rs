//! Audio without IO: codecs, loss concealment, comfort noise, resampling, tones.
//!
//! Samples are 16-bit linear PCM; frames are slices that the caller owns. State is a plain value for each stream and direction. What
//! allocates does so when it is made, and never for a packet (`benches/codecs.rs` counts it). Nothing panics, whatever octets or
//! samples come.
//!
//! [`codec`] is the door: [`codec::Codec`] knows what SDP calls each codec and how large its packets are, [`codec::Encoder`] and
//! [`codec::Decoder`] are its two directions. From one codec to another, a packet is decoded, resampled where [`codec::Codec::rate`]
//! differs, and encoded; between the laws of G.711 [`g711::alaw_to_ulaw`] and its counterpart are shorter.
//!
//! | codec | from | held against | adds |
//! |---|---|---|---|
//! | [`g711`] | ITU-T G.711, tables 1 to 4 | the tables, all codes | nothing |
//! | [`g722`], 64 kbit/s | ITU-T G.722 | ffmpeg, bit by bit both ways | 1.4 ms |
//! | [`g729`], Annexes A and B | ITU-T G.729 | ffmpeg, bcg729; published frames bit by bit | 5 ms, and whole frames of 10 ms |
//! | [`opus`], 8 to 48 kHz | RFC 6716, by libopus | libopus of the distribution | 6.5 ms, and packets of 10 ms |
//! | L16, 8, 16 and 48 kHz | RFC 3551 §4.5.11 | | nothing |
//!
//! A packet that does not come is made up: by [`plc`] after ITU-T G.711 Appendix I, for G.722 with its predictors following, for G.729
//! by the Recommendation's own §4.4, for Opus by libopus. [`playout`] carries out what a jitter buffer orders and holds speech to its time by [`stretch`]. [`dtmf`] makes and
//! recognizes keys, [`signal`] recognizes fax and call progress. Silence is described by [`noise`] (RFC 3389), or in band by G.729. [`resample`] goes between 8, 16 and 48 kHz and
//! adds up to 3 ms. [`prompt`] makes packets of sound files, once for each codec, and [`player`] says when each is due.
//! [`mixer`] lets many hear each other.
#![forbid(unsafe_code)]

mod bank;
pub mod codec;
pub mod dtmf;
pub mod g711;
pub mod g722;
pub mod g729;
pub mod mixer;
pub mod noise;
pub mod opus;
pub mod player;
pub mod playout;
pub mod plc;
pub mod prompt;
pub mod resample;
pub mod signal;
pub mod stretch;
mod tone;
pub mod transcode;

pub use tone::Tone;
