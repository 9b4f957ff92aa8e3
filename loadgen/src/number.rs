//! Numbers to dial: a pattern with a range, so that each call of a run can have a number of its own.

use core::fmt;

/// A user part with at most one range: `+4930{00000-99999}`, or `+4930#####` for all of that many digits.
/// Leading zeros are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberPattern {
    before: String,
    range: Option<Range>,
    after: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Range {
    low: u64,
    high: u64,
    width: usize,
}

/// Why a pattern was not understood; prints what is wrong and how it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberError(String);

impl fmt::Display for NumberError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}; a number is written like +49301234567, or with one range like +4930{{00000-99999}} or +4930#####",
            self.0
        )
    }
}

impl core::error::Error for NumberError {}

impl NumberPattern {
    /// The pattern of nothing: an empty user part.
    pub const fn empty() -> Self {
        Self { before: String::new(), range: None, after: String::new() }
    }

    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<Self, NumberError> {
        let plain = |part: &str| {
            part.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-_.!~*'()&=$,;?/%#".contains(&b))
        };
        let wrong = |what: &str| Err(NumberError(format!("\"{text}\": {what}")));
        if let Some(first) = text.find('#') {
            let width = text[first..].bytes().take_while(|&b| b == b'#').count();
            let (before, after) = (&text[..first], &text[first + width..]);
            if width > 18 || !plain(before) || !plain(after) || after.contains('#') {
                return wrong("one run of at most 18 # stands for the changing digits");
            }
            let range = Range { low: 0, high: 10u64.pow(width as u32) - 1, width };
            return Ok(Self { before: before.to_owned(), range: Some(range), after: after.to_owned() });
        }
        let Some((before, rest)) = text.split_once('{') else {
            if text.is_empty() {
                return wrong("no number");
            }
            if !plain(text) {
                return wrong("a character that no SIP user part may hold");
            }
            return Ok(Self { before: text.to_owned(), range: None, after: String::new() });
        };
        let Some((range, after)) = rest.split_once('}') else {
            return wrong("the range's brace is not closed");
        };
        if !plain(before) || !plain(after) {
            return wrong("a character that no SIP user part may hold, or a second range");
        }
        let Some((low, high)) = range.split_once('-') else {
            return wrong("the range has no two ends");
        };
        let digits =
            |part: &str| !part.is_empty() && part.len() <= 18 && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(low) || !digits(high) {
            return wrong("the range's ends are not digits (18 at most)");
        }
        let (Ok(from), Ok(to)) = (low.parse::<u64>(), high.parse::<u64>()) else {
            return wrong("the range's ends are not numbers");
        };
        if from > to {
            return wrong("the range ends before it begins");
        }
        let range = Range { low: from, high: to, width: low.len() };
        Ok(Self { before: before.to_owned(), range: Some(range), after: after.to_owned() })
    }

    /// The number of call `index`, appended to `text`; the range is gone through in order, over and over.
    pub fn write(&self, index: u64, text: &mut String) {
        use fmt::Write;
        text.push_str(&self.before);
        if let Some(Range { low, high, width }) = self.range {
            let number = low + index % (high - low + 1);
            // Writing to a String cannot fail.
            let _ = write!(text, "{number:0width$}");
        }
        text.push_str(&self.after);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nth(pattern: &str, index: u64) -> String {
        let mut text = String::new();
        NumberPattern::parse(pattern).unwrap().write(index, &mut text);
        text
    }

    #[test]
    fn ranges_count_on_and_begin_again() {
        assert_eq!(nth("+4930{0098-0101}7", 0), "+493000987");
        assert_eq!(nth("+4930{0098-0101}7", 3), "+493001017");
        assert_eq!(nth("+4930{0098-0101}7", 4), "+4930".to_owned() + "00987");
        assert_eq!(nth("alice", 12), "alice");
        assert_eq!(nth("+49##-7", 123), "+4923-7");
        assert_eq!(nth("{5-5}", 12), "5");
    }

    #[test]
    fn what_cannot_be_dialled_is_refused_with_the_cure() {
        for bad in [
            "",
            "a b",
            "49{1-",
            "49{1}",
            "49{a-b}",
            "49{9-1}",
            "4{1-2}{3-4}",
            "x@y",
            "4{1-9999999999999999999}",
        ] {
            let error = NumberPattern::parse(bad).unwrap_err().to_string();
            assert!(error.contains("{00000-99999}"), "{bad}: {error}");
        }
    }
}
