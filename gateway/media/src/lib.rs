//! Audio without IO: codecs and tones.
//!
//! Samples are 16-bit linear PCM; frames are slices that the caller owns. Nothing allocates.
#![forbid(unsafe_code)]

pub mod codec;
pub mod g711;
pub mod g722;
pub mod g729;
pub mod noise;
pub mod plc;
pub mod resample;
mod tone;

pub use tone::Tone;
