//! Tones for tests and marks: one or two sines, exact in frequency over any length.

use core::f64::consts::TAU;

/// A sum of two sines that goes on from frame to frame.
#[derive(Clone, Debug)]
pub struct Tone {
    /// Phase advance per sample, in turns.
    steps: [f64; 2],
    phases: [f64; 2],
    amplitudes: [f64; 2],
}

impl Tone {
    /// A sine of `hertz` with a peak of `amplitude`, sampled at `rate` Hz.
    pub fn sine(hertz: f64, amplitude: i16, rate: u32) -> Self {
        Self::dual((hertz, amplitude), (0.0, 0), rate)
    }

    /// Two sines, each of frequency and peak, such as a DTMF digit's. Where they add up beyond 16 bits the sum is clipped.
    pub fn dual(low: (f64, i16), high: (f64, i16), rate: u32) -> Self {
        let rate = f64::from(rate.max(1));
        Self {
            steps: [low.0 / rate, high.0 / rate],
            phases: [0.0; 2],
            amplitudes: [f64::from(low.1), f64::from(high.1)],
        }
    }

    /// Writes the next samples.
    pub fn fill(&mut self, samples: &mut [i16]) {
        for sample in samples {
            let mut sum = 0.0;
            for n in 0..2 {
                sum += self.amplitudes[n] * (self.phases[n] * TAU).sin();
                self.phases[n] = (self.phases[n] + self.steps[n]).fract();
            }
            // Saturates at the ends of i16.
            *sample = sum.round() as i16;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The power at one frequency, by correlation.
    fn power(samples: &[i16], hertz: f64, rate: f64) -> f64 {
        let (mut re, mut im) = (0.0, 0.0);
        for (n, &sample) in samples.iter().enumerate() {
            let angle = TAU * hertz * n as f64 / rate;
            re += f64::from(sample) * angle.cos();
            im += f64::from(sample) * angle.sin();
        }
        (re * re + im * im).sqrt() * 2.0 / samples.len() as f64
    }

    #[test]
    fn has_its_frequencies_and_no_others_across_frames() {
        let mut tone = Tone::dual((697.0, 8000), (1209.0, 6000), 8000);
        let mut samples = vec![0; 8000];
        samples.chunks_mut(160).for_each(|frame| tone.fill(frame));
        assert!((power(&samples, 697.0, 8000.0) - 8000.0).abs() < 10.0);
        assert!((power(&samples, 1209.0, 8000.0) - 6000.0).abs() < 10.0);
        assert!(power(&samples, 1000.0, 8000.0) < 10.0);
    }

    #[test]
    fn clips_instead_of_wrapping() {
        let mut samples = vec![0; 800];
        Tone::dual((400.0, i16::MAX), (400.0, i16::MAX), 8000).fill(&mut samples);
        assert_eq!(samples.iter().max(), Some(&i16::MAX));
        assert!(samples.windows(2).all(|pair| (i32::from(pair[0]) - i32::from(pair[1])).abs() < 40_000));
    }

    #[test]
    fn survives_g711() {
        let mut samples = vec![0; 8000];
        Tone::sine(1004.0, 16_000, 8000).fill(&mut samples);
        let decoded: Vec<i16> =
            samples.iter().map(|&s| crate::g711::alaw_decode(crate::g711::alaw_encode(s))).collect();
        let noise: f64 = samples.iter().zip(&decoded).map(|(a, b)| f64::from(a - b).powi(2)).sum();
        let signal: f64 = samples.iter().map(|a| f64::from(*a).powi(2)).sum();
        // A-law reaches about 38 dB at this level.
        assert!(10.0 * (signal / noise).log10() > 36.0);
    }
}
