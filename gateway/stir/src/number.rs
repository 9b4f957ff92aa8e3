//! Telephone numbers in the one form in which signer and verifier compare them.

/// Longest number: E.164 has 15 digits, the TN of a certificate no more (RFC 8226 §9).
const LENGTH_MAX: usize = 15;

/// The canonical form of a telephone number: digits, `#` and `*`, without `+` and separators (RFC 8224 §8.3). `None` if the
/// text is no telephone number: it has other characters, no digit, or is longer than a number can be. What stands
/// behind a `;` are parameters and no part of it (RFC 3966 §3).
pub fn canonical(text: &str) -> Option<String> {
    let number = text.split(';').next().unwrap_or("").trim();
    let number = number.strip_prefix('+').unwrap_or(number);
    let mut kept = String::with_capacity(LENGTH_MAX);
    for c in number.chars() {
        match c {
            '0'..='9' | '#' | '*' if kept.len() < LENGTH_MAX => kept.push(c),
            // RFC 3966 §5.1.1: visual separators.
            '-' | '.' | '(' | ')' | ' ' => {}
            _ => return None,
        }
    }
    kept.bytes().any(|byte| byte.is_ascii_digit()).then_some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8224 §8.3
    #[test]
    fn numbers_are_compared_without_what_people_put_in() {
        let same = |text: &str| assert_eq!(canonical(text).as_deref(), Some("12155551212"), "{text}");
        for text in
            ["+12155551212", "12155551212", "+1-215-555-1212", "+1 (215) 555.1212", "+12155551212;x=1"]
        {
            same(text);
        }
        assert_eq!(canonical("*67#").as_deref(), Some("*67#"));
        for text in ["", "+", "alice", "1215x", "1+215", "--", "#*", "1234567890123456", "١٢٣"] {
            assert_eq!(canonical(text), None, "{text}");
        }
    }
}
