//! What transfer is said in: REFER (RFC 3515), Replaces (RFC 3891), Join (RFC 3911), Target-Dialog (RFC 4538), and what its
//! NOTIFYs carry (RFC 3420).

mod fragment;
mod join;
mod refer;
mod replaces;
mod target;

pub use fragment::{FRAGMENT, fragment, fragment_status};
pub use join::Join;
pub use refer::Refer;
pub use replaces::Replaces;
pub use target::target_dialog;

/// A text as it stands behind the `=` of a header field in a URI: what is not unreserved is escaped (RFC 3261 §25.1).
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// The same undone; an escape that is none stays as it is.
pub(crate) fn unescape(text: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|value| value as u8); // below 16
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text);
    while let [first, after @ ..] = rest {
        if let [b'%', high, low, after @ ..] = rest
            && let (Some(high), Some(low)) = (digit(*high), digit(*low))
        {
            out.push(high << 4 | low);
            rest = after;
        } else {
            out.push(*first);
            rest = after;
        }
    }
    out
}
