//! Audio without IO: codecs and tones.
