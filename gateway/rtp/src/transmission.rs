//! The E-model's algorithm (ITU-T G.107 (06/2015) §7) for the default values of all that a gateway cannot see, and the delay that it can.
//!
//! Names are those of the Recommendation; levels are in dB, delays in ms.

use core::time::Duration;

/// Send and receive loudness ratings.
const SLR: f64 = 8.0;
const RLR: f64 = 2.0;
/// Sidetone masking rating, and what listeners hear of their room beside it.
const STMR: f64 = 15.0;
const LSTR: f64 = STMR + 3.0;
/// The telephone's D-factor at the sending side.
const DS: f64 = 3.0;
/// Talker echo loudness rating, and the weighted echo path loss.
const TELR: f64 = 65.0;
const WEPL: f64 = 110.0;
/// Noise: of the circuit, the floor at the receiver, of the rooms at both ends.
const NC: f64 = -70.0;
const NFOR: f64 = -64.0;
const PS: f64 = 35.0;
const PR: f64 = 35.0;
/// Quantizing distortion units.
const QDU: f64 = 1.0;

fn decibels(powers: &[f64]) -> f64 {
    10.0 * powers.iter().map(|level| 10f64.powf(level / 10.0)).sum::<f64>().log10()
}

/// `(1 + |x|^n)^(1/n)`, of which most terms are made.
fn bend(x: f64, n: i32) -> f64 {
    (1.0 + x.abs().powi(n)).powf(1.0 / f64::from(n))
}

/// No: all noise, at the 0 dBr point (7-3 to 7-7).
fn noise() -> f64 {
    let olr = SLR + RLR;
    let nos = PS - SLR - DS - 100.0 + 0.004 * (PS - olr - DS - 14.0).powi(2);
    let pre = PR + 10.0 * (1.0 + 10f64.powf((10.0 - LSTR) / 10.0)).log10();
    let nor = RLR - 121.0 + pre + 0.008 * (pre - 35.0).powi(2);
    decibels(&[NC, nos, nor, NFOR + RLR])
}

/// Is: what comes with the voice (7-8 to 7-15), with talker echo after `t`.
fn simultaneous(ro: f64, no: f64, t: f64) -> f64 {
    let xolr = SLR + RLR + 0.2 * (64.0 + no - RLR);
    let iolr = 20.0 * (bend(xolr / 8.0, 8) - xolr / 8.0);
    let stmro = -10.0 * (10f64.powf(-STMR / 10.0) + (-t / 4.0).exp() * 10f64.powf(-TELR / 10.0)).log10();
    let ist = 12.0 * bend((stmro - 13.0) / 6.0, 8)
        - 28.0 * bend((stmro + 1.0) / 19.4, 35)
        - 13.0 * bend((stmro - 3.0) / 33.0, 13)
        + 29.0;
    let q = 37.0 - 15.0 * QDU.log10();
    let g = 1.07 + 0.258 * q + 0.0602 * q * q;
    let y = (ro - 100.0) / 15.0 + 46.0 / 8.4 - g / 9.0;
    let z = 46.0 / 30.0 - g / 40.0;
    iolr + ist + 15.0 * (1.0 + 10f64.powf(y) + 10f64.powf(z)).log10()
}

/// Half of a difference and what rounds it off: the shape of both echo terms.
fn echo(strong: f64, weak: f64, squared: f64) -> f64 {
    let half = (strong - weak) / 2.0;
    half + (half * half + squared).sqrt()
}

/// Id: talker echo, listener echo and too long a delay (7-16 to 7-28); `ta` is the delay one way, and that of the echo path.
fn delayed(ro: f64, no: f64, ta: f64) -> f64 {
    let terv = TELR - 40.0 * ((1.0 + ta / 10.0) / (1.0 + ta / 150.0)).log10() + 6.0 * (-0.3 * ta * ta).exp();
    let idte = (echo(-1.5 * (no - RLR), 80.0 + 2.5 * (terv - 14.0), 100.0) - 1.0) * (1.0 - (-ta).exp());
    let rle = 10.5 * (WEPL + 7.0) * (2.0 * ta + 1.0).powf(-0.25);
    let idle = echo(ro, rle, 169.0);
    let x = (ta / 100.0).log2();
    let idd = if ta > 100.0 { 25.0 * (bend(x, 6) - 3.0 * bend(x / 3.0, 6) + 2.0) } else { 0.0 };
    idte + idle + idd
}

/// R for a codec without impairment and this delay one way (7-1, with Ie,eff and A zero).
pub(crate) fn rating(delay: Duration) -> f64 {
    let ta = delay.as_secs_f64() * 1000.0;
    let no = noise();
    let ro = 15.0 - 1.5 * (SLR + no);
    ro - simultaneous(ro, no, ta) - delayed(ro, no, ta)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_values_give_93_2() {
        // ITU-T G.107 §7.7: "all parameters at their default values: R = 93.2".
        assert_eq!((rating(Duration::ZERO) * 10.0).round() / 10.0, 93.2);
        assert!((noise() - -61.18).abs() < 0.01);
    }

    #[test]
    fn delay_takes_what_its_usual_approximation_says_and_less_beyond_300_ms() {
        // 0.024 d + 0.11 (d - 177.3): Cole and Rosenbluth, Voice over IP performance monitoring, 2001.
        for d in [0u64, 20, 50, 100, 150, 177, 200, 250, 300] {
            let usual = 93.2 - 0.024 * d as f64 - 0.11 * (d as f64 - 177.3).max(0.0);
            let rating = rating(Duration::from_millis(d));
            assert!((rating - usual).abs() < 1.0, "{d} ms: {rating} for {usual}");
        }
        let far = rating(Duration::from_millis(500));
        assert!((54.0..56.0).contains(&far), "{far}");
    }
}
