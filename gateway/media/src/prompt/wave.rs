//! WAV files: RIFF chunks (Multimedia Programming Interface and Data Specifications 1.0), linear samples of 16 bits and both laws of G.711.
//!
//! Own code, since the libraries of a fitting licence (`hound`) refuse the laws of G.711, in which most telephone prompts come.

use crate::g711;
use core::fmt;

/// Sampling rates that are taken, in Hz.
pub const RATES: [u32; 8] = [8000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000];
/// Longest sound, in seconds: it is held in memory for each codec that it is played in.
pub const SECONDS_MAX: u32 = 600;
/// Most octets of a file worth reading: the longest sound at the highest rate in two channels, and some for what is written around it.
pub const FILE_MAX: u64 = SECONDS_MAX as u64 * 48_000 * 4 + (1 << 20);

/// Format tags.
const LINEAR: u16 = 1;
const ALAW: u16 = 6;
const ULAW: u16 = 7;
const EXTENSIBLE: u16 = 0xfffe;

/// Mono samples of 16 bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sound {
    rate: u32,
    samples: Vec<i16>,
}

/// Why octets are no sound that can be played; each says what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SoundError {
    /// They are no WAV file.
    NotWave,
    /// There is no format, or it is cut short.
    NoFormat,
    /// Another encoding: format tag and bits of a sample.
    Encoding(u16, u16),
    /// Another sampling rate, in Hz.
    Rate(u32),
    /// Another number of channels.
    Channels(u16),
    /// It has no samples.
    Empty,
    /// It lasts for so many seconds.
    TooLong(u64),
}

impl fmt::Display for SoundError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const CURE: &str = "convert it, such as by `sox in.wav -r 8000 -c 1 -b 16 -e signed out.wav`";
        match self {
            Self::NotWave => write!(f, "it is no WAV file; {CURE}"),
            Self::NoFormat => write!(f, "it has no format chunk before its data, or is cut short; {CURE}"),
            Self::Encoding(tag, bits) => write!(
                f,
                "it has format {tag} with {bits} bits a sample; linear samples of 16 bits (1), A-law (6) and u-law (7) can be played; {CURE}"
            ),
            Self::Rate(rate) => {
                write!(
                    f,
                    "it has {rate} samples a second; 8000, 16000, 44100, 48000 and some between can be played; {CURE}"
                )
            }
            Self::Channels(count) => write!(f, "it has {count} channels; one or two can be played; {CURE}"),
            Self::Empty => f.write_str("it has no samples; record it anew"),
            Self::TooLong(seconds) => {
                write!(f, "it lasts for {seconds} s; {SECONDS_MAX} s are the most, divide it")
            }
        }
    }
}

impl core::error::Error for SoundError {}

/// What the format chunk says.
#[derive(Clone, Copy)]
struct Format {
    tag: u16,
    channels: u16,
    rate: u32,
    bits: u16,
}

impl Sound {
    /// Samples of a sampling rate out of [`RATES`]; others are taken for 8000 Hz.
    pub fn new(rate: u32, samples: Vec<i16>) -> Self {
        Self { rate: if RATES.contains(&rate) { rate } else { RATES[0] }, samples }
    }

    /// Reads a WAV file. Of two channels the mean is taken. A file whose data is cut short, or was written without its length, has the
    /// samples that are there.
    ///
    /// # Errors
    /// [`SoundError`] says what is wrong and what to do.
    pub fn parse(file: &[u8]) -> Result<Self, SoundError> {
        let Some((b"RIFF", rest)) = file.split_first_chunk::<4>() else { return Err(SoundError::NotWave) };
        let mut chunks = match rest.split_at_checked(8) {
            Some((head, chunks)) if head.ends_with(b"WAVE") => chunks,
            _ => return Err(SoundError::NotWave),
        };
        let mut format = None;
        while let Some((head, rest)) = chunks.split_first_chunk::<8>() {
            let (name, size) = head.split_at(4);
            // Four octets, as the split above says.
            let size = u32::from_le_bytes([size[0], size[1], size[2], size[3]]) as usize;
            let content = &rest[..size.min(rest.len())];
            match name {
                b"fmt " => format = Some(Format::read(content)?),
                b"data" => return format.ok_or(SoundError::NoFormat)?.decode(content),
                _ => {}
            }
            // Chunks begin at even places.
            chunks = rest.get(size.saturating_add(size % 2)..).unwrap_or_default();
        }
        Err(if format.is_some() { SoundError::Empty } else { SoundError::NoFormat })
    }

    /// Samples a second.
    pub const fn rate(&self) -> u32 {
        self.rate
    }

    /// The samples.
    pub fn samples(&self) -> &[i16] {
        &self.samples
    }
}

impl Format {
    fn read(chunk: &[u8]) -> Result<Self, SoundError> {
        let word = |at: usize| chunk.get(at..at + 2).map(|it| u16::from_le_bytes([it[0], it[1]]));
        let read = || {
            let tag = match word(0)? {
                // The format itself begins the identifier that stands behind.
                EXTENSIBLE => word(24)?,
                tag => tag,
            };
            let rate = u32::from(word(4)?) | u32::from(word(6)?) << 16;
            Some(Self { tag, channels: word(2)?, rate, bits: word(14)? })
        };
        let it = read().ok_or(SoundError::NoFormat)?;
        if !matches!((it.tag, it.bits), (LINEAR, 16) | (ALAW | ULAW, 8)) {
            return Err(SoundError::Encoding(it.tag, it.bits));
        }
        if !matches!(it.channels, 1 | 2) {
            return Err(SoundError::Channels(it.channels));
        }
        if !RATES.contains(&it.rate) {
            return Err(SoundError::Rate(it.rate));
        }
        Ok(it)
    }

    fn decode(self, data: &[u8]) -> Result<Sound, SoundError> {
        let frame = usize::from(self.channels) * usize::from(self.bits / 8);
        let seconds = (data.len() / frame) as u64 / u64::from(self.rate);
        if seconds >= u64::from(SECONDS_MAX) {
            return Err(SoundError::TooLong(seconds));
        }
        let all: Vec<i16> = match self.tag {
            ALAW => data.iter().map(|&code| g711::alaw_decode(code)).collect(),
            ULAW => data.iter().map(|&code| g711::ulaw_decode(code)).collect(),
            _ => data.as_chunks::<2>().0.iter().map(|it| i16::from_le_bytes(*it)).collect(),
        };
        let samples: Vec<i16> = match self.channels {
            // The mean of two samples of 16 bits is one.
            2 => all.as_chunks::<2>().0.iter().map(|it| i16::midpoint(it[0], it[1])).collect(),
            _ => all,
        };
        if samples.is_empty() {
            return Err(SoundError::Empty);
        }
        Ok(Sound { rate: self.rate, samples })
    }
}
