//! Makes sound shorter or longer by whole periods, so that its pitch stays: overlap and add where it is most like itself.
//!
//! After Verhelst and Roelands, "An overlap-add technique based on waveform similarity (WSOLA)", ICASSP 1993: the lag at which a
//! frame's beginning is most like what follows is found by normalized correlation, between 2.5 and 15 ms, and one lag is taken out
//! or put in by blending over. Sound that is not like itself at any lag (an onset, a click) is left alone; what is
//! too soft to be heard may be cut anywhere.

/// Lags, and the shortest overlap, in samples at 8000 Hz: 2.5 ms, 15 ms.
const SHORTEST: usize = 20;
const LONGEST: usize = 120;
/// How much a lag has to be like itself: 0.8 normally; more haste, less likeness.
const ALIKE: f64 = 0.8;
const ALIKE_IN_HASTE: f64 = 0.5;
/// The mean square below which nothing is heard: 54 dB below full scale.
const SOFT: f64 = 65.0 * 65.0;

/// Takes out at most `most` samples near the beginning of `samples`, which last 10 ms or more, at `rate` Hz. Returns how many; what is left
/// stands at the front. None if nothing is like enough; `haste` asks for less likeness.
pub fn shrink(samples: &mut [i16], rate: u32, most: usize, haste: bool) -> usize {
    let Some((lag, overlap)) = find(samples, rate, most, haste) else { return 0 };
    for n in 0..overlap {
        samples[n] = blend(samples[n], samples[n + lag], n, overlap);
    }
    samples.copy_within(overlap + lag.., overlap);
    lag
}

/// Puts in at most `most` samples near the beginning of the first `count` of `samples`, which has room for as many more. Returns how many.
pub fn stretch(samples: &mut [i16], count: usize, rate: u32, most: usize, haste: bool) -> usize {
    let count = count.min(samples.len());
    let most = most.min(samples.len() - count);
    let Some((lag, overlap)) = find(&samples[..count], rate, most, haste) else { return 0 };
    // The first lag stays; what follows goes back by it, blended over from what would have come.
    samples.copy_within(..count, lag);
    for n in 0..overlap {
        // What would have come was moved as well.
        samples[lag + n] = blend(samples[2 * lag + n], samples[lag + n], n, overlap);
    }
    lag
}

/// From `a` to `b`.
const fn blend(a: i16, b: i16, n: usize, length: usize) -> i16 {
    let (weight, length) = (n as i32 + 1, length as i32 + 1);
    ((a as i32 * (length - weight) + b as i32 * weight) / length) as i16
}

/// The lag, and over how many samples it is blended.
fn find(samples: &[i16], rate: u32, most: usize, haste: bool) -> Option<(usize, usize)> {
    let scale = (rate / 8000).clamp(1, 6) as usize;
    let (shortest, least) = (SHORTEST * scale, SHORTEST * scale);
    // A lag and an overlap have to fit.
    let longest = most.min(LONGEST * scale).min(samples.len().checked_sub(least)?);
    if longest < shortest {
        return None;
    }
    let overlap = |lag: usize| (samples.len() - lag).min(lag);
    let energy = samples.iter().map(|&s| f64::from(s) * f64::from(s)).sum::<f64>();
    if energy < SOFT * samples.len() as f64 {
        let lag = longest.min(samples.len() / 2);
        return (lag >= shortest).then(|| (lag, overlap(lag)));
    }
    let mut best = (0.0, 0);
    let mut look = |lags: &mut dyn Iterator<Item = usize>, step: usize| {
        best.0 = 0.0;
        for lag in lags {
            let alike = likeness(samples, lag, overlap(lag), step);
            if alike > best.0 {
                best = (alike, lag);
            }
        }
        best
    };
    let coarse = look(&mut (shortest..=longest).step_by(scale), scale);
    let mut near = coarse.1.saturating_sub(scale).max(shortest)..=(coarse.1 + scale).min(longest);
    let (alike, lag) = look(&mut near, 1);
    let enough = if haste { ALIKE_IN_HASTE } else { ALIKE };
    (alike >= enough).then(|| (lag, overlap(lag)))
}

/// Normalized correlation of the beginning with what comes `lag` later, over `length` samples, every `step`th.
fn likeness(samples: &[i16], lag: usize, length: usize, step: usize) -> f64 {
    let (mut product, mut here, mut there) = (0i64, 1i64, 1i64);
    for (&a, &b) in samples[..length].iter().zip(&samples[lag..lag + length]).step_by(step) {
        let (a, b) = (i64::from(a), i64::from(b));
        (product, here, there) = (product + a * b, here + a * a, there + b * b);
    }
    product as f64 / (here as f64).sqrt() / (there as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tone;
    use proptest::prelude::*;

    fn steepest(samples: &[i16]) -> u16 {
        samples.windows(2).map(|w| w[0].abs_diff(w[1])).max().unwrap()
    }

    #[test]
    fn a_tone_loses_or_gains_whole_periods_and_no_click() {
        for rate in [8000u32, 16_000, 48_000] {
            let ms = rate as usize / 1000;
            for pitch in [90.0, 133.0, 210.0, 350.0] {
                let mut tone = Tone::sine(pitch, 12_000, rate);
                let mut samples = vec![0; 40 * ms];
                tone.fill(&mut samples[..20 * ms]);
                let steep = steepest(&samples[..20 * ms]);
                let before = samples.clone();
                let period = f64::from(rate) / pitch;
                let whole = |lag: usize| {
                    let periods = lag as f64 / period;
                    (periods - periods.round()).abs() * period
                };
                let mut shorter = before[..20 * ms].to_vec();
                let gone = shrink(&mut shorter, rate, 13 * ms, false);
                assert!(gone > 0 && whole(gone) < 0.06 * period, "{rate} Hz, {pitch} Hz: {gone}");
                let gained = stretch(&mut samples, 20 * ms, rate, 13 * ms, false);
                assert!(gained > 0 && whole(gained) < 0.06 * period, "{rate} Hz, {pitch} Hz: {gained}");
                for (result, count) in [(&shorter, 20 * ms - gone), (&samples, 20 * ms + gained)] {
                    let result = &result[..count];
                    // The ends are those that were, so that what stands beside them still fits.
                    assert!(result[count - 1].abs_diff(before[20 * ms - 1]) <= steep / 8);
                    assert!(result[0].abs_diff(before[0]) <= steep);
                    assert!(steepest(result) <= steep + steep / 5 + 20, "{rate} Hz, {pitch} Hz: a click");
                    let loudest = result.iter().map(|s| s.unsigned_abs()).max().unwrap();
                    assert!((11_000..12_100).contains(&loudest));
                }
            }
        }
    }

    #[test]
    fn what_is_not_like_itself_is_left_alone_and_what_is_soft_is_cut_anywhere() {
        let mut seed = 1u32;
        let mut noise = |loud: i32| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((((seed >> 16) as i32) - 32_768) / loud) as i16
        };
        let mut loud: Vec<i16> = (0..160).map(|_| noise(4)).collect();
        assert_eq!(shrink(&mut loud, 8000, 80, false), 0);
        let mut soft: Vec<i16> = (0..160).map(|_| noise(700)).collect();
        assert_eq!(shrink(&mut soft, 8000, 80, false), 80);
        let mut few = [0; 30];
        assert_eq!(shrink(&mut few, 8000, 80, true), 0, "too short for anything");
    }

    proptest! {
        #[test]
        fn never_more_than_asked_and_never_out_of_bounds(
            mut samples in proptest::collection::vec(any::<i16>(), 0..700),
            rate in prop_oneof![Just(8000u32), Just(16_000), Just(48_000), any::<u32>()],
            count in 0..700usize,
            most in 0..900usize,
            haste: bool,
        ) {
            let gone = shrink(&mut samples.clone(), rate, most, haste);
            prop_assert!(gone <= most && gone <= samples.len());
            let room = samples.len();
            let gained = stretch(&mut samples, count, rate, most, haste);
            prop_assert!(gained <= most && gained + count.min(room) <= room);
        }
    }
}
