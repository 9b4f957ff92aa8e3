//! Bytes and character classes of RFC 3261 §25.1, and the search for the ends of lines.

use std::borrow::Cow;

const TOKEN: u8 = 1;
const WHITE: u8 = 2;
const HEX: u8 = 4;
const HOST: u8 = 8;
/// `user` of a URI, escapes aside; with the number sign (see [`super::Uri::parse`]).
pub(crate) const USER: u8 = 16;
/// `password` of a URI, escapes aside.
pub(crate) const PASSWORD: u8 = 32;
/// `paramchar` of a URI, escapes aside.
pub(crate) const PARAMETER: u8 = 64;
/// `headers` of a URI, escapes aside, with the equals signs and ampersands between them.
pub(crate) const HEADER: u8 = 128;

const UNRESERVED: u8 = USER | PASSWORD | PARAMETER | HEADER;

const CLASS: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        let mut class = 0;
        if b.is_ascii_alphanumeric() {
            class |= TOKEN | UNRESERVED;
            if b.is_ascii_hexdigit() {
                class |= HEX;
            }
            class |= HOST;
        }
        if matches!(b, b'-' | b'.' | b'!' | b'*' | b'_' | b'\'' | b'~') {
            class |= TOKEN | UNRESERVED;
        }
        class |= match b {
            b'-' | b'.' => HOST,
            b'%' | b'`' => TOKEN,
            b'(' | b')' => UNRESERVED,
            b' ' | b'\t' | b'\r' | b'\n' => WHITE,
            b'&' | b'$' => UNRESERVED,
            b'+' => TOKEN | UNRESERVED,
            b'=' => USER | PASSWORD | HEADER,
            b',' => USER | PASSWORD,
            b';' | b'#' => USER,
            b'?' => USER | HEADER,
            b'/' => USER | PARAMETER | HEADER,
            b':' | b'[' | b']' => PARAMETER | HEADER,
            _ => 0,
        };
        table[byte] = class;
        byte += 1;
    }
    table
};

/// `token` characters.
#[inline]
pub(crate) const fn is_token_byte(byte: u8) -> bool {
    CLASS[byte as usize] & TOKEN != 0
}

/// Whitespace, CR and LF among it: inside a header value they can only be a fold.
#[inline]
pub(crate) const fn is_white(byte: u8) -> bool {
    CLASS[byte as usize] & WHITE != 0
}

/// Letters, digits, hyphen and dot: what host names and IPv4 addresses are made of.
#[inline]
pub(crate) const fn is_host_byte(byte: u8) -> bool {
    CLASS[byte as usize] & HOST != 0
}

/// How many bytes from `from` on are of this class of URI characters or part of a whole escape.
#[inline]
pub(crate) fn uri_run(bytes: &[u8], from: usize, class: u8) -> usize {
    let mut at = from;
    while let Some(&byte) = bytes.get(at) {
        if CLASS[byte as usize] & class != 0 {
            at += 1;
        } else if byte == b'%'
            && let Some([high, low]) = bytes.get(at + 1..at + 3)
            && is_hex(*high)
            && is_hex(*low)
        {
            at += 3;
        } else {
            break;
        }
    }
    at - from
}

/// Hexadecimal digits.
#[inline]
pub(crate) const fn is_hex(byte: u8) -> bool {
    CLASS[byte as usize] & HEX != 0
}

/// Whether this is a non-empty `token`.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is_token_byte(byte))
}

/// The value without linear whitespace (folds included) at either end.
#[inline]
pub fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && is_white(*first)
    {
        bytes = rest;
    }
    while let [rest @ .., last] = bytes
        && is_white(*last)
    {
        bytes = rest;
    }
    bytes
}

/// The value on one line: each fold and the whitespace around it becomes one space (RFC 3261 §7.3.1).
/// Borrows unless there is a fold.
pub fn unfold(value: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'\n', value).is_none() {
        return Cow::Borrowed(value);
    }
    let mut flat: Vec<u8> = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = memchr::memchr(b'\n', rest) {
        let (line, after) = rest.split_at(at);
        let line_end = line.iter().rposition(|&byte| !is_white(byte)).map_or(0, |last| last + 1);
        flat.extend_from_slice(&line[..line_end]);
        let after_start = after.iter().position(|&byte| !is_white(byte)).unwrap_or(after.len());
        rest = &after[after_start..];
        flat.push(b' ');
    }
    flat.extend_from_slice(rest);
    Cow::Owned(flat)
}

/// A decimal number without sign, at most `max`; no whitespace allowed, any number of leading zeros.
pub(crate) fn number(digits: &[u8], max: u64) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    let mut value = 0u64;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
        if value > max {
            return None;
        }
    }
    Some(value)
}

const LOW_SEVEN: u64 = 0x7f7f_7f7f_7f7f_7f7f;
const HIGH: u64 = 0x8080_8080_8080_8080;
const UP_TO_SPACE: u64 = 0x6060_6060_6060_6060;

/// The first control character (below space, the tab aside) at or after `from`: the end of a line, or an error.
/// Eight bytes at a time.
#[inline]
pub(crate) fn next_control(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    let mut rest = bytes.get(from..)?;
    while let Some((chunk, after)) = rest.split_first_chunk::<8>() {
        let word = u64::from_le_bytes(*chunk);
        // The high bit of a lane stays clear only if its byte is below 0x20.
        let controls = !(((word & LOW_SEVEN) + UP_TO_SPACE) | word) & HIGH;
        if controls != 0 {
            let mut left = controls;
            while left != 0 {
                let lane = (left.trailing_zeros() / 8) as usize;
                if chunk[lane] != b'\t' {
                    return Some(at + lane);
                }
                left &= left - 1;
            }
        }
        at += 8;
        rest = after;
    }
    rest.iter().position(|&byte| byte < 0x20 && byte != b'\t').map(|offset| at + offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_are_found_at_every_offset() {
        for length in 0..40 {
            for place in 0..length {
                for byte in 0..=255u8 {
                    let mut bytes = vec![b'a'; length];
                    bytes[place] = byte;
                    let expected = (byte < 0x20 && byte != b'\t').then_some(place);
                    assert_eq!(next_control(&bytes, 0), expected);
                    assert_eq!(next_control(&bytes, place), expected);
                    assert_eq!(next_control(&bytes, place + 1), None);
                }
            }
        }
        assert_eq!(next_control(b"a\t\t\tb\tc\t\tab\r", 0), Some(11));
        assert_eq!(next_control(b"", 1), None);
    }

    #[test]
    fn folds_become_one_space() {
        assert_eq!(unfold(b"a  \r\n  b").as_ref(), b"a b");
        assert_eq!(unfold(b"a\r\n\tb\r\n c").as_ref(), b"a b c");
        assert!(matches!(unfold(b"plain  value"), Cow::Borrowed(_)));
    }

    #[test]
    fn numbers_are_digits_within_their_limit() {
        assert_eq!(number(b"0068", 255), Some(68));
        assert_eq!(number(b"256", 255), None);
        assert_eq!(number(b"", 255), None);
        assert_eq!(number(b"+1", 255), None);
        assert_eq!(number(b"99999999999999999999999", u64::MAX), None);
    }

    #[test]
    fn classes_are_those_of_the_grammar() {
        let tokens: Vec<u8> = (0..=255).filter(|&byte| is_token_byte(byte)).collect();
        let expected: Vec<u8> =
            (0..=255u8).filter(|b| b.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(b)).collect();
        assert_eq!(tokens, expected);
    }
}
