//! Scales: values to pixels, and the ticks that readers expect.

/// A linear map from values to pixels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Linear {
    from: (f64, f64),
    to: (f64, f64),
}

impl Linear {
    pub(crate) fn new(values: (f64, f64), pixels: (f64, f64)) -> Self {
        let width = values.1 - values.0;
        Self { from: (values.0, if width > 0.0 { values.1 } else { values.0 + 1.0 }), to: pixels }
    }

    pub(crate) fn at(&self, value: f64) -> f64 {
        let share = (value - self.from.0) / (self.from.1 - self.from.0);
        self.to.0 + share.clamp(0.0, 1.0) * (self.to.1 - self.to.0)
    }
}

/// A logarithmic map from positive values to pixels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Log {
    inner: Linear,
}

impl Log {
    pub(crate) fn new(values: (f64, f64), pixels: (f64, f64)) -> Self {
        Self { inner: Linear::new((values.0.log10(), values.1.log10()), pixels) }
    }

    pub(crate) fn at(&self, value: f64) -> f64 {
        self.inner.at(value.max(1e-300).log10())
    }
}

/// Round steps (1, 2, 5 x 10^n) that cover `0..=top` with about `wanted` ticks; the last tick is at least `top`.
pub(crate) fn ticks(top: f64, wanted: usize) -> Vec<f64> {
    if top.is_nan() || top <= 0.0 {
        return vec![0.0, 1.0];
    }
    let step = round_step(top / wanted as f64);
    let count = (top / step - 1e-9).ceil().max(1.0) as usize;
    (0..=count).map(|index| index as f64 * step).collect()
}

/// Round times for an axis of seconds: 1, 2, 5, 10, 15, 30 s, 1, 2, 5, 10, 15, 30 min, 1, 2, 6, 12, 24 h.
pub(crate) fn time_ticks(low: f64, high: f64, wanted: usize) -> Vec<f64> {
    const STEPS: [f64; 19] = [
        0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0,
        21_600.0, 43_200.0, 86_400.0,
    ];
    let rough = (high - low) / wanted as f64;
    let step = STEPS.into_iter().find(|step| *step >= rough).unwrap_or(86_400.0);
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (first..=last).map(|index| index as f64 * step).collect()
}

/// Powers of ten from the one not above `low` to the one not below `high`.
pub(crate) fn decades(low: f64, high: f64) -> Vec<f64> {
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    (first..=last.max(first + 1)).map(|power| 10f64.powi(power)).collect()
}

fn round_step(rough: f64) -> f64 {
    let power = 10f64.powf(rough.log10().floor());
    let factor = rough / power;
    let round = match factor {
        f if f <= 1.0 => 1.0,
        f if f <= 2.0 => 2.0,
        f if f <= 5.0 => 5.0,
        _ => 10.0,
    };
    round * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_cover() {
        assert_eq!(ticks(1000.0, 4), vec![0.0, 500.0, 1000.0]);
        assert_eq!(ticks(0.9, 4).last().copied(), Some(1.0));
        assert_eq!(ticks(0.0, 4), vec![0.0, 1.0]);
        assert_eq!(time_ticks(0.0, 120.0, 6), vec![0.0, 20.0, 40.0, 60.0, 80.0, 100.0, 120.0]);
        assert_eq!(decades(0.03, 20.0), vec![0.01, 0.1, 1.0, 10.0, 100.0]);
    }

    #[test]
    fn scales_clamp() {
        let scale = Linear::new((0.0, 10.0), (100.0, 200.0));
        assert!((scale.at(5.0) - 150.0).abs() < 1e-9);
        assert!((scale.at(50.0) - 200.0).abs() < 1e-9);
        let flat = Linear::new((3.0, 3.0), (0.0, 1.0));
        assert!(flat.at(3.0).is_finite());
    }
}
