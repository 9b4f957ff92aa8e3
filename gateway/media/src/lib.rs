//! Audio without IO: codecs and tones.
//!
//! Samples are 16-bit linear PCM; frames are slices that the caller owns. Nothing allocates.
#![forbid(unsafe_code)]

pub mod g711;
mod tone;

pub use tone::Tone;
