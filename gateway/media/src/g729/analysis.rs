//! Linear prediction for the encoder (§3.2): autocorrelation, the filter, its line spectral pairs.
//!
//! In floating point: what the encoder finds out is its own affair, only what it sends has to be in the decoder's arithmetic.

use super::lsp::Spectrum;
use super::search::dot;
use super::tables::{LAG_WINDOW, WINDOW};
use super::{HALF, ORDER};
use core::f32::consts::PI;

/// Samples that are looked at: 120 of the past, the frame, 40 ahead.
pub(super) const LOOK: usize = 240;
/// Lags that are computed, for voice activity two more than the filter needs.
pub(super) const LAGS: usize = 13;

/// The windowed autocorrelation.
pub(super) fn autocorrelation(signal: &[i16; LOOK]) -> [f32; LAGS] {
    let mut windowed = [0.0f32; LOOK];
    for (out, (&sample, &weight)) in windowed.iter_mut().zip(signal.iter().zip(&WINDOW)) {
        *out = f32::from(sample) * f32::from(weight) / 32_768.0;
    }
    core::array::from_fn(|lag| dot(&windowed[lag..], &windowed))
}

/// The same with the lag window, and never all zero.
pub(super) fn smoothed(correlation: &[f32; LAGS]) -> [f32; LAGS] {
    let mut out = *correlation;
    out[0] = out[0].max(1.0);
    for (out, weight) in out[1..].iter_mut().zip(LAG_WINDOW) {
        *out *= weight;
    }
    out
}

/// A prediction filter, its second reflection coefficient and what it leaves of the energy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prediction {
    pub(super) filter: [f32; ORDER + 1],
    pub(super) second: f32,
    pub(super) error: f32,
}

/// Levinson and Durbin; none if the filter would not be stable.
pub(super) fn predict(correlation: &[f32]) -> Option<Prediction> {
    let mut a = [0.0f32; ORDER + 1];
    a[0] = 1.0;
    let mut error = *correlation.first()?;
    let mut second = 0.0;
    for n in 1..=ORDER {
        let sum: f32 = (0..n).map(|j| a[j] * correlation.get(n - j).copied().unwrap_or(0.0)).sum();
        let k = -sum / error;
        if k.is_nan() || k.abs() > 0.999_45 {
            return None;
        }
        if n == 2 {
            second = k;
        }
        let previous = a;
        for j in 1..n {
            a[j] += k * previous[n - j];
        }
        a[n] = k;
        error *= 1.0 - k * k;
    }
    Some(Prediction { filter: a, second, error })
}

/// The line spectral pairs of a filter (Q15), §3.2.3; none if not all ten are found.
pub(super) fn pairs(filter: &[f32; ORDER + 1]) -> Option<Spectrum> {
    let (mut sum, mut difference) = ([1.0f32; HALF + 1], [1.0f32; HALF + 1]);
    for i in 0..HALF {
        sum[i + 1] = filter[i + 1] + filter[ORDER - i] - sum[i];
        difference[i + 1] = filter[i + 1] - filter[ORDER - i] + difference[i];
    }
    let mut found = [0; ORDER];
    let mut count = 0;
    let mut polynomials = (&sum, &difference);
    // From the highest cosine to the lowest.
    let mut high = (1.0f32, chebyshev(polynomials.0, 1.0));
    for step in 1..=100u8 {
        let x = (PI * f32::from(step) / 100.0).cos();
        let mut low = (x, chebyshev(polynomials.0, x));
        while count < ORDER && high.1 * low.1 <= 0.0 {
            let (mut above, mut below) = (high, low);
            for _ in 0..6 {
                let x = 0.5 * (above.0 + below.0);
                let middle = (x, chebyshev(polynomials.0, x));
                if middle.1 * below.1 <= 0.0 { above = middle } else { below = middle }
            }
            let rise = above.1 - below.1;
            let root = if rise == 0.0 { below.0 } else { below.0 - below.1 * (above.0 - below.0) / rise };
            found[count] = (root * 32_768.0) as i16;
            count += 1;
            polynomials = (polynomials.1, polynomials.0);
            high = (root, chebyshev(polynomials.0, root));
            low.1 = chebyshev(polynomials.0, x);
        }
        high = low;
    }
    (count == ORDER && found.is_sorted_by(|a, b| a >= b)).then_some(found)
}

/// A polynomial at cos ω, by Clenshaw's recurrence.
fn chebyshev(f: &[f32; HALF + 1], x: f32) -> f32 {
    let (mut b1, mut b2) = (1.0, 0.0);
    for &coefficient in &f[1..HALF] {
        (b1, b2) = (2.0 * x * b1 - b2 + coefficient, b1);
    }
    x * b1 - b2 + 0.5 * f[HALF]
}
