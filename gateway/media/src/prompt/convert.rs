//! A whole sound brought from one sampling rate to another: slower and finer than [`crate::resample`], which works on a stream, and between
//! any two rates; nothing is late, since all of the sound is there.

use core::f64::consts::PI;

/// Zero crossings of the filter on either side.
const CROSSINGS: f64 = 48.0;
/// The filter's edge as a part of the lower sampling rate.
const EDGE: f64 = 0.472;

/// Samples at another rate.
pub(super) fn convert(samples: &[i16], from: u32, to: u32) -> Vec<i16> {
    if from == to || from == 0 || to == 0 {
        return samples.to_vec();
    }
    let common = divisor(from, to);
    let (up, down) = ((to / common) as usize, (from / common) as usize);
    // In cycles per sample of the source.
    let cut = EDGE * (f64::from(to) / f64::from(from)).min(1.0);
    let half = (CROSSINGS / (2.0 * cut)).ceil() as isize;
    let phases: Vec<Vec<f32>> = (0..up).map(|phase| taps(phase as f64 / up as f64, cut, half)).collect();
    let count = samples.len() * up / down;
    let sample = |at: isize| usize::try_from(at).ok().and_then(|at| samples.get(at)).copied().unwrap_or(0);
    (0..count)
        .map(|n| {
            let at = n * down;
            let (first, taps) = ((at / up) as isize - half + 1, &phases[at % up]);
            let sum: f32 = match samples.get(first.max(0) as usize..).filter(|_| first >= 0) {
                Some(window) if window.len() >= taps.len() => {
                    window.iter().zip(taps).map(|(&sample, tap)| f32::from(sample) * tap).sum()
                }
                _ => (first..).zip(taps).map(|(at, tap)| f32::from(sample(at)) * tap).sum(),
            };
            // Saturates at the ends of i16.
            sum.round() as i16
        })
        .collect()
}

/// The filter for an instant so much behind a sample of the source: what each sample from `half - 1` before to `half` behind weighs.
fn taps(behind: f64, cut: f64, half: isize) -> Vec<f32> {
    let exact: Vec<f64> = (1 - half..=half)
        .map(|n| {
            let x = n as f64 - behind;
            let angle = 2.0 * PI * cut * x;
            let sinc = if x.abs() < 1e-9 { 1.0 } else { angle.sin() / angle };
            // Blackman's window.
            let turn = PI * x / half as f64;
            sinc * (0.42 + 0.5 * turn.cos() + 0.08 * (2.0 * turn).cos())
        })
        .collect();
    let sum: f64 = exact.iter().sum();
    exact.into_iter().map(|tap| (tap / sum) as f32).collect()
}

/// The greatest common divisor.
const fn divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { divisor(b, a % b) }
}
