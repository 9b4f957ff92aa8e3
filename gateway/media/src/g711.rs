//! G.711: A-law and µ-law, by tables computed at compile time from the recommendation's definition.
//!
//! Linear samples are 16-bit two's complement with the recommendation's uniform code left-aligned (13 bits of it for
//! A-law, 14 for µ-law), as ITU-T G.191 has it: negative samples are mapped by one's complement, so
//! that -1 is the smallest negative value and encodes to negative zero.

/// A-law codes of all samples, by the upper 12 bits: the lower four do not matter.
static ALAW_ENCODE: [u8; 4096] = alaw_encode_table();
/// µ-law codes of all samples, by the upper 14 bits.
static ULAW_ENCODE: [u8; 16_384] = ulaw_encode_table();
static ALAW_DECODE: [i16; 256] = alaw_decode_table();
static ULAW_DECODE: [i16; 256] = ulaw_decode_table();
static ALAW_TO_ULAW: [u8; 256] = alaw_to_ulaw_table();
static ULAW_TO_ALAW: [u8; 256] = ulaw_to_alaw_table();

/// A-law code of silence (positive zero).
pub const ALAW_SILENCE: u8 = 0xd5;
/// µ-law code of silence (positive zero).
pub const ULAW_SILENCE: u8 = 0xff;

/// The A-law code of a sample.
#[inline]
pub fn alaw_encode(sample: i16) -> u8 {
    ALAW_ENCODE[usize::from(sample.cast_unsigned() >> 4)]
}

/// The µ-law code of a sample.
#[inline]
pub fn ulaw_encode(sample: i16) -> u8 {
    ULAW_ENCODE[usize::from(sample.cast_unsigned() >> 2)]
}

/// The sample of an A-law code.
#[inline]
pub fn alaw_decode(code: u8) -> i16 {
    ALAW_DECODE[usize::from(code)]
}

/// The sample of a µ-law code.
#[inline]
pub fn ulaw_decode(code: u8) -> i16 {
    ULAW_DECODE[usize::from(code)]
}

/// The µ-law code that an A-law code becomes, by ITU-T G.711 table 4.
#[inline]
pub fn alaw_to_ulaw(code: u8) -> u8 {
    ALAW_TO_ULAW[usize::from(code)]
}

/// The A-law code that a µ-law code becomes, by ITU-T G.711 table 3.
#[inline]
pub fn ulaw_to_alaw(code: u8) -> u8 {
    ULAW_TO_ALAW[usize::from(code)]
}

/// Rewrites A-law codes to µ-law in place.
pub fn alaw_to_ulaw_in_place(codes: &mut [u8]) {
    for code in codes {
        *code = alaw_to_ulaw(*code);
    }
}

/// Rewrites µ-law codes to A-law in place.
pub fn ulaw_to_alaw_in_place(codes: &mut [u8]) {
    for code in codes {
        *code = ulaw_to_alaw(*code);
    }
}

/// Encodes as many samples as both slices have room for; returns how many.
pub fn alaw_encode_frame(samples: &[i16], codes: &mut [u8]) -> usize {
    let count = samples.len().min(codes.len());
    for (code, &sample) in codes.iter_mut().zip(samples) {
        *code = alaw_encode(sample);
    }
    count
}

/// Encodes as many samples as both slices have room for; returns how many.
pub fn ulaw_encode_frame(samples: &[i16], codes: &mut [u8]) -> usize {
    let count = samples.len().min(codes.len());
    for (code, &sample) in codes.iter_mut().zip(samples) {
        *code = ulaw_encode(sample);
    }
    count
}

/// Decodes as many codes as both slices have room for; returns how many.
pub fn alaw_decode_frame(codes: &[u8], samples: &mut [i16]) -> usize {
    let count = samples.len().min(codes.len());
    for (sample, &code) in samples.iter_mut().zip(codes) {
        *sample = alaw_decode(code);
    }
    count
}

/// Decodes as many codes as both slices have room for; returns how many.
pub fn ulaw_decode_frame(codes: &[u8], samples: &mut [i16]) -> usize {
    let count = samples.len().min(codes.len());
    for (sample, &code) in samples.iter_mut().zip(codes) {
        *sample = ulaw_decode(code);
    }
    count
}

/// Eight segments, each twice as coarse as the one below but for the first two, which are alike; even bits inverted.
const fn alaw_from_linear(sample: i16) -> u8 {
    // One's complement magnitude, 11 bits.
    let magnitude = (if sample < 0 { !sample } else { sample } >> 4) as u16;
    let exponent = if magnitude < 32 { (magnitude >> 4) as u32 } else { magnitude.ilog2() - 4 + 1 };
    let shift = exponent.saturating_sub(1);
    let mantissa = (magnitude >> shift) as u8 & 0x0f;
    let sign = if sample < 0 { 0 } else { 0x80 };
    (sign | (exponent as u8) << 4 | mantissa) ^ 0x55
}

const fn linear_from_alaw(code: u8) -> i16 {
    let code = code ^ 0x55;
    let exponent = (code >> 4 & 7) as u32;
    // The middle of the interval.
    let mantissa = ((code & 0x0f) as i16) << 4 | 8;
    let magnitude = if exponent == 0 { mantissa } else { (mantissa + 0x100) << (exponent - 1) };
    if code & 0x80 != 0 { magnitude } else { -magnitude }
}

/// Bias of µ-law in the 14-bit code: it makes every segment begin at a power of two.
const BIAS: u16 = 33;

const fn ulaw_from_linear(sample: i16) -> u8 {
    let magnitude = (if sample < 0 { !sample } else { sample } >> 2) as u16 + BIAS;
    let magnitude = if magnitude > 0x1fff { 0x1fff } else { magnitude };
    let exponent = magnitude.ilog2() - 5;
    let mantissa = (magnitude >> (exponent + 1)) as u8 & 0x0f;
    let sign = if sample < 0 { 0x80 } else { 0 };
    !(sign | (exponent as u8) << 4 | mantissa)
}

const fn linear_from_ulaw(code: u8) -> i16 {
    let code = !code;
    let exponent = (code >> 4 & 7) as u32;
    let magnitude = (((code & 0x0f) as i16) << 1 | 33) << exponent;
    let magnitude = (magnitude - BIAS as i16) << 2;
    if code & 0x80 != 0 { -magnitude } else { magnitude }
}

const fn alaw_encode_table() -> [u8; 4096] {
    let mut table = [0; 4096];
    let mut index = 0;
    while index < table.len() {
        table[index] = alaw_from_linear(((index as u16) << 4).cast_signed());
        index += 1;
    }
    table
}

const fn ulaw_encode_table() -> [u8; 16_384] {
    let mut table = [0; 16_384];
    let mut index = 0;
    while index < table.len() {
        table[index] = ulaw_from_linear(((index as u16) << 2).cast_signed());
        index += 1;
    }
    table
}

const fn alaw_decode_table() -> [i16; 256] {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        table[code] = linear_from_alaw(code as u8);
        code += 1;
    }
    table
}

const fn ulaw_decode_table() -> [i16; 256] {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        table[code] = linear_from_ulaw(code as u8);
        code += 1;
    }
    table
}

/// ITU-T G.711 table 3: the A-law values (numbered from 1) that the µ-law values 0 to 127 become.
const ALAW_OF_ULAW: [u8; 128] = [
    1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22,
    23, 24, 25, 27, 29, 31, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 46, 48, 49, 50, 51, 52, 53, 54,
    55, 56, 57, 58, 59, 60, 61, 62, 64, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79, 81, 82,
    83, 84, 85, 86, 87, 88, 89, 90, 91, 92, 93, 94, 95, 96, 97, 98, 99, 100, 101, 102, 103, 104, 105, 106,
    107, 108, 109, 110, 111, 112, 113, 114, 115, 116, 117, 118, 119, 120, 121, 122, 123, 124, 125, 126, 127,
    128,
];

/// ITU-T G.711 table 4: the µ-law values that the A-law values 1 to 128 become.
const ULAW_OF_ALAW: [u8; 128] = [
    1, 3, 5, 7, 9, 11, 13, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 32, 33,
    33, 34, 34, 35, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 48, 49, 49, 50, 51, 52, 53, 54,
    55, 56, 57, 58, 59, 60, 61, 62, 63, 64, 64, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79,
    79, 80, 81, 82, 83, 84, 85, 86, 87, 88, 89, 90, 91, 92, 93, 94, 95, 96, 97, 98, 99, 100, 101, 102, 103,
    104, 105, 106, 107, 108, 109, 110, 111, 112, 113, 114, 115, 116, 117, 118, 119, 120, 121, 122, 123, 124,
    125, 126, 127,
];

const fn alaw_to_ulaw_table() -> [u8; 256] {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        let value = code as u8 ^ ALAW_SILENCE;
        // A sign that is inverted here stays so.
        table[code] = (value & 0x80 | ULAW_OF_ALAW[(value & 0x7f) as usize]) ^ ULAW_SILENCE;
        code += 1;
    }
    table
}

const fn ulaw_to_alaw_table() -> [u8; 256] {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        let value = code as u8 ^ ULAW_SILENCE;
        table[code] = (value & 0x80 | (ALAW_OF_ULAW[(value & 0x7f) as usize] - 1)) ^ ALAW_SILENCE;
        code += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tables 1a and 2a of the recommendation, positive half, written out: per segment the number of intervals, their
    /// width, in units of the uniform code; then the decision values x(n) and the values y(n) in the middle.
    fn intervals(segments: &[(u32, i32)]) -> (Vec<i32>, Vec<i32>) {
        let mut decisions = vec![0];
        let mut values = Vec::new();
        for &(count, width) in segments {
            for _ in 0..count {
                let low = decisions[decisions.len() - 1];
                decisions.push(low + width);
                values.push(2 * low + width); // twice the middle, to stay whole
            }
        }
        (decisions, values)
    }

    /// Table 1a: 13 segments; intervals of 2 up to 64, then 4, 8, ... up to 4096.
    fn alaw_reference() -> (Vec<i32>, Vec<i32>) {
        intervals(&[(32, 2), (16, 4), (16, 8), (16, 16), (16, 32), (16, 64), (16, 128)])
    }

    /// Table 2a: 15 segments; the first interval has width 1, then 15 of 2 up to 31, 16 of 4 up to 95, ... up to 8159.
    fn ulaw_reference() -> (Vec<i32>, Vec<i32>) {
        let segments =
            [(1, 1), (15, 2), (16, 4), (16, 8), (16, 16), (16, 32), (16, 64), (16, 128), (16, 256)];
        let (decisions, mut values) = intervals(&segments);
        values[0] = 0; // y(1) is 0, not the middle of 0 and 1
        (decisions, values)
    }

    /// The interval of a magnitude, by search through the decision values.
    fn interval(decisions: &[i32], magnitude: i32) -> u8 {
        let last = decisions.len() - 2;
        (0..=last).rev().find(|&n| decisions[n] <= magnitude).unwrap() as u8
    }

    #[test]
    fn the_reference_ends_where_the_recommendation_does() {
        assert_eq!((alaw_reference().0.last(), alaw_reference().1.last()), (Some(&4096), Some(&(2 * 4032))));
        assert_eq!((ulaw_reference().0.last(), ulaw_reference().1.last()), (Some(&8159), Some(&(2 * 8031))));
        assert_eq!((alaw_reference().1.len(), ulaw_reference().1.len()), (128, 128));
    }

    #[test]
    fn all_65536_samples_encode_as_the_segments_say() {
        let (alaw, _) = alaw_reference();
        let (ulaw, _) = ulaw_reference();
        for sample in i16::MIN..=i16::MAX {
            let magnitude = i32::from(if sample < 0 { !sample } else { sample });
            // A-law: 13 bits of sign and magnitude; positive codes have the sign bit, even bits are inverted.
            let sign = if sample < 0 { 0 } else { 0x80 };
            let expected = (sign | interval(&alaw, magnitude >> 3)) ^ 0x55;
            assert_eq!(alaw_encode(sample), expected, "A-law of {sample}");
            // µ-law: 14 bits, all bits inverted, so that positive codes have the sign bit.
            let sign = if sample < 0 { 0x80 } else { 0 };
            let expected = !(sign | interval(&ulaw, magnitude >> 2));
            assert_eq!(ulaw_encode(sample), expected, "µ-law of {sample}");
        }
    }

    #[test]
    fn all_256_codes_decode_as_the_segments_say() {
        let (_, alaw) = alaw_reference();
        let (_, ulaw) = ulaw_reference();
        for code in 0..=255u8 {
            let plain = code ^ 0x55;
            let value = alaw[usize::from(plain & 0x7f)] * 4; // half units of 13 bits
            let expected = if plain & 0x80 != 0 { value } else { -value };
            assert_eq!(i32::from(alaw_decode(code)), expected, "A-law {code:#x}");
            let plain = !code;
            let value = ulaw[usize::from(plain & 0x7f)] * 2; // half units of 14 bits
            let expected = if plain & 0x80 == 0 { value } else { -value };
            assert_eq!(i32::from(ulaw_decode(code)), expected, "µ-law {code:#x}");
        }
    }

    #[test]
    fn codes_survive_decoding_and_encoding() {
        for code in 0..=255u8 {
            assert_eq!(alaw_encode(alaw_decode(code)), code);
            // Negative zero has no sample of its own: 0x7f comes back as 0xff.
            let expected = if code == 0x7f { 0xff } else { code };
            assert_eq!(ulaw_encode(ulaw_decode(code)), expected);
        }
        assert_eq!((alaw_encode(0), ulaw_encode(0)), (ALAW_SILENCE, ULAW_SILENCE));
    }

    /// Note 3 to tables 3 and 4: two values are not the nearest, so that what goes from A-law to µ-law and back keeps its upper
    /// seven bits.
    #[test]
    fn changing_the_law_follows_the_tables() {
        // ITU-T G.711 tables 3 and 4 at both ends, and where note 3 departs from the nearest: µ-80 to to µ-79.
        let alaw = |number: u8| ALAW_SILENCE ^ (number - 1);
        let ulaw = |number: u8| ULAW_SILENCE ^ number;
        for (from, to) in [(0, 1), (1, 1), (2, 2), (33, 27), (79, 79), (80, 81), (127, 128)] {
            assert_eq!(ulaw_to_alaw(ulaw(from)), alaw(to), "µ-{from}");
        }
        for (from, to) in [(1, 1), (2, 3), (26, 32), (79, 79), (80, 79), (81, 80), (128, 127)] {
            assert_eq!(alaw_to_ulaw(alaw(from)), ulaw(to), "A-{from}");
        }
        for code in 0..=255u8 {
            let there_and_back = ulaw_to_alaw(alaw_to_ulaw(code)) ^ code;
            assert_eq!(there_and_back & 0xfe, 0, "{code:#x}");
            // The sign stays, and nothing moves by more than an interval.
            assert_eq!(alaw_to_ulaw(code) & 0x80, code & 0x80);
            let near = |a: i16, b: i16| (i32::from(a) - i32::from(b)).abs() <= i32::from(a).abs() / 16 + 16;
            assert!(near(alaw_decode(code), ulaw_decode(alaw_to_ulaw(code))), "{code:#x}");
            assert!(near(ulaw_decode(code), alaw_decode(ulaw_to_alaw(code))), "{code:#x}");
        }
        let mut codes = [0x00, 0x55, 0xd5];
        alaw_to_ulaw_in_place(&mut codes);
        assert_eq!(codes, [alaw_to_ulaw(0x00), alaw_to_ulaw(0x55), alaw_to_ulaw(0xd5)]);
        ulaw_to_alaw_in_place(&mut codes);
        assert_eq!(codes[0], ulaw_to_alaw(alaw_to_ulaw(0x00)));
    }

    #[test]
    fn frames_stop_at_the_shorter_slice() {
        let samples = [0, 1000, -1000];
        let mut codes = [0; 2];
        assert_eq!(alaw_encode_frame(&samples, &mut codes), 2);
        assert_eq!(codes, [alaw_encode(0), alaw_encode(1000)]);
        assert_eq!(ulaw_encode_frame(&samples, &mut codes), 2);
        let mut back = [7; 3];
        assert_eq!(ulaw_decode_frame(&codes, &mut back), 2);
        assert_eq!((back[1], back[2]), (ulaw_decode(codes[1]), 7));
        assert_eq!(alaw_decode_frame(&codes[..1], &mut back), 1);
    }
}
