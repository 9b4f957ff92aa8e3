//! The 16 and 32-bit operators in which ITU-T G.729 §5 defines its arithmetic: all of them saturate.
//!
//! Their names are those of ITU-T G.191's basic operators, since the Recommendation's text and every other description of the codec
//! use them. A pair of 16-bit words (`high`, `low`) stands for `high * 2^16 + low * 2`.

use super::tables::{INVERSE_ROOT, LOG2, POW2};

/// The upper word of a 32-bit value.
#[inline]
pub(super) const fn extract_h(x: i32) -> i16 {
    (x >> 16) as i16
}

/// Q15 product of two Q15 values.
#[inline]
pub(super) const fn mult(a: i16, b: i16) -> i16 {
    let product = (a as i32 * b as i32) >> 15;
    if product > 32_767 { 32_767 } else { product as i16 }
}

/// The same, rounded.
#[inline]
pub(super) const fn mult_r(a: i16, b: i16) -> i16 {
    let product = (a as i32 * b as i32 + 0x4000) >> 15;
    if product > 32_767 { 32_767 } else { product as i16 }
}

/// Twice the product.
#[inline]
pub(super) const fn l_mult(a: i16, b: i16) -> i32 {
    (a as i32 * b as i32).saturating_mul(2)
}

#[inline]
pub(super) const fn l_mac(sum: i32, a: i16, b: i16) -> i32 {
    sum.saturating_add(l_mult(a, b))
}

#[inline]
pub(super) const fn l_msu(sum: i32, a: i16, b: i16) -> i32 {
    sum.saturating_sub(l_mult(a, b))
}

/// Shifts to the left, or by a negative count to the right.
#[inline]
pub(super) const fn shl(x: i16, by: i16) -> i16 {
    if by < 0 {
        let by = if by < -15 { 15 } else { -by };
        return x >> by;
    }
    let by = if by > 16 { 16 } else { by };
    saturate((x as i32) << by)
}

/// Shifts to the right, or by a negative count to the left.
#[inline]
pub(super) const fn shr(x: i16, by: i16) -> i16 {
    shl(x, if by == i16::MIN { i16::MAX } else { -by })
}

/// Shifts to the left, or by a negative count to the right.
#[inline]
pub(super) const fn l_shl(x: i32, by: i16) -> i32 {
    if by < 0 {
        let by = if by < -31 { 31 } else { -by };
        return x >> by;
    }
    if x == 0 {
        return 0;
    }
    if by > 31 {
        return if x > 0 { i32::MAX } else { i32::MIN };
    }
    let wide = (x as i64) << by;
    if wide > i32::MAX as i64 {
        i32::MAX
    } else if wide < i32::MIN as i64 {
        i32::MIN
    } else {
        wide as i32
    }
}

/// Shifts to the right, or by a negative count to the left.
#[inline]
pub(super) const fn l_shr(x: i32, by: i16) -> i32 {
    l_shl(x, if by == i16::MIN { i16::MAX } else { -by })
}

/// Shifts to the right and rounds.
#[inline]
pub(super) const fn l_shr_r(x: i32, by: i16) -> i32 {
    if by > 31 {
        return 0;
    }
    let shifted = l_shr(x, by);
    if by > 0 && x >> (by - 1) & 1 != 0 { shifted.saturating_add(1) } else { shifted }
}

/// Shifts to the right and rounds.
#[inline]
pub(super) const fn shr_r(x: i16, by: i16) -> i16 {
    if by > 15 {
        return 0;
    }
    let shifted = shr(x, by);
    if by > 0 && x >> (by - 1) & 1 != 0 { shifted.saturating_add(1) } else { shifted }
}

/// The upper word, rounded.
#[inline]
pub(super) const fn round(x: i32) -> i16 {
    extract_h(x.saturating_add(0x8000))
}

#[inline]
pub(super) const fn saturate(x: i32) -> i16 {
    if x > 32_767 {
        32_767
    } else if x < -32_768 {
        -32_768
    } else {
        x as i16
    }
}

/// How far a value may be shifted left without loss; 0 for 0.
#[inline]
pub(super) const fn norm_l(x: i32) -> i16 {
    if x == 0 { 0 } else { ((if x < 0 { !x } else { x }).leading_zeros() as i16) - 1 }
}

/// The same for 16 bits.
#[inline]
pub(super) const fn norm_s(x: i16) -> i16 {
    if x == 0 { 0 } else { ((if x < 0 { !x } else { x }).leading_zeros() as i16) - 1 }
}

/// The Q15 quotient of two values with 0 <= a <= b, b > 0; anything else is brought into that range.
#[inline]
pub(super) const fn div_s(a: i16, b: i16) -> i16 {
    if a <= 0 || b <= 0 {
        0
    } else if a >= b {
        32_767
    } else {
        (((a as i32) << 15) / b as i32) as i16
    }
}

/// Splits into a pair of words.
#[inline]
pub(super) const fn l_extract(x: i32) -> (i16, i16) {
    let high = extract_h(x);
    (high, ((x >> 1) - ((high as i32) << 15)) as i16)
}

/// Joins a pair of words.
#[inline]
pub(super) const fn l_comp(high: i16, low: i16) -> i32 {
    ((high as i32) << 16).saturating_add((low as i32) << 1)
}

/// The product of a pair and a word.
#[inline]
pub(super) const fn mpy_32_16(a: (i16, i16), b: i16) -> i32 {
    l_mac(l_mult(a.0, b), mult(a.1, b), 1)
}

/// A value of a table by linear interpolation: `x` has the index in its upper word, counted from `first`, the fraction below it.
#[inline]
fn interpolate(table: &[i16], x: i32, first: i16) -> i32 {
    let index = usize::try_from(extract_h(x) - first).unwrap_or(0).min(table.len() - 2);
    let fraction = ((x >> 1) & 0x7fff) as i16;
    let step = table[index].saturating_sub(table[index + 1]);
    l_msu(i32::from(table[index]) << 16, step, fraction)
}

/// The logarithm to the base of 2: exponent, and fraction in Q15. That of 0 and less is 0.
pub(super) fn log2(x: i32) -> (i16, i16) {
    if x <= 0 {
        return (0, 0);
    }
    let shift = norm_l(x);
    let mantissa = l_shr(l_shl(x, shift), 9);
    (30 - shift, extract_h(interpolate(&LOG2, mantissa, 32)))
}

/// 2 to the power of `exponent` and a fraction in Q15.
pub(super) fn pow2(exponent: i16, fraction: i16) -> i32 {
    l_shr_r(interpolate(&POW2, l_mult(fraction, 32), 0), 30 - exponent)
}

/// One over the square root of a value, Q30.
pub(super) fn inv_sqrt(x: i32) -> i32 {
    if x <= 0 {
        return 0x3fff_ffff;
    }
    let shift = norm_l(x);
    let mut mantissa = l_shl(x, shift);
    let exponent = 30 - shift;
    if exponent & 1 == 0 {
        mantissa >>= 1;
    }
    l_shr(interpolate(&INVERSE_ROOT, mantissa >> 9, 16), (exponent >> 1) + 1)
}

/// The Recommendation's random numbers, for erased frames and comfort noise.
#[derive(Clone, Debug)]
pub(super) struct Random(pub(super) i16);

impl Random {
    #[inline]
    pub(super) const fn next(&mut self) -> i16 {
        self.0 = (self.0 as i32 * 31_821 + 13_849) as i16;
        self.0
    }
}
