//! The algebraic code of G.729: four pulses in forty places (§3.8), sharpened by the pitch.

use super::SUBFRAME;
use super::basic::*;

/// The vector of an index of 13 bits and four signs (Q13), ITU-T G.729 §4.1.4.
pub(super) fn vector(index: u16, signs: u16) -> [i16; SUBFRAME] {
    let mut out = [0; SUBFRAME];
    for (n, place) in places(index).into_iter().enumerate() {
        out[place] = if signs >> n & 1 != 0 { 8191 } else { -8192 };
    }
    out
}

/// Where the pulses of an index stand.
pub(super) fn places(index: u16) -> [usize; 4] {
    let index = usize::from(index);
    [
        (index & 7) * 5,
        (index >> 3 & 7) * 5 + 1,
        (index >> 6 & 7) * 5 + 2,
        (index >> 10 & 7) * 5 + 3 + (index >> 9 & 1),
    ]
}

/// Adds what stood one pitch delay earlier, with a gain in Q14 (§3.8, equation 48). Also sharpens an impulse response.
pub(super) fn sharpen(vector: &mut [i16; SUBFRAME], delay: usize, gain: i16) {
    let gain = shl(gain, 1);
    for n in delay..SUBFRAME {
        vector[n] = vector[n].saturating_add(mult(vector[n - delay], gain));
    }
}
