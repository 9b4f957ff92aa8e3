//! Names of header fields that a profile may touch, and why it may not touch the others.

use core::fmt;
use sip::message::Name;

/// The name of a header field that may be added or rewritten.
#[derive(Clone, Debug)]
pub struct FieldName(String);

/// Names of header fields: one, or all that begin so (`X-*`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    open: bool,
}

/// Why a name cannot stand in a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldError {
    /// It is no token (RFC 3261 §25.1).
    NoName(String),
    /// It is a compact form (RFC 3261 §7.3.3), which says less than the full name.
    Compact(String),
    /// The gateway writes the field, or it would break the call; `why` says which.
    Reserved {
        /// The field.
        name: String,
        /// The reason.
        why: &'static str,
    },
    /// A pattern that fits a field which may not be touched.
    TooWide {
        /// The pattern.
        pattern: String,
        /// A field that it fits.
        name: &'static str,
        /// Why that one may not be touched.
        why: &'static str,
    },
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoName(text) => {
                write!(f, "\"{text}\" is no header name; write it as X-Name, or X-* where several are meant")
            }
            Self::Compact(text) => write!(f, "\"{text}\" is a compact form; write the full name"),
            Self::Reserved { name, why } => write!(f, "\"{name}\" may not be touched: {why}"),
            Self::TooWide { pattern, name, why } => {
                write!(
                    f,
                    "\"{pattern}\" fits {name}, which may not be touched: {why}; write a longer beginning"
                )
            }
        }
    }
}

impl core::error::Error for FieldError {}

/// The fields a profile may not touch, and why.
const RESERVED: [(&str, &str); 42] = [
    ("Via", ROUTING),
    ("Route", ROUTING),
    ("Record-Route", ROUTING),
    ("Path", ROUTING),
    ("Service-Route", ROUTING),
    ("Contact", ROUTING),
    ("Max-Forwards", "it keeps calls from going round for ever"),
    ("Call-ID", DIALOG),
    ("CSeq", DIALOG),
    ("From", NUMBERS),
    ("To", NUMBERS),
    ("Replaces", DIALOG),
    ("Join", DIALOG),
    ("Target-Dialog", DIALOG),
    ("Content-Type", BODY),
    ("Content-Length", BODY),
    ("Content-Encoding", BODY),
    ("Content-Disposition", BODY),
    ("Content-Language", BODY),
    ("MIME-Version", BODY),
    ("Accept", BODY),
    ("Accept-Encoding", BODY),
    ("Require", OPTIONS),
    ("Proxy-Require", OPTIONS),
    ("Supported", OPTIONS),
    ("Unsupported", OPTIONS),
    ("Allow", OPTIONS),
    ("Allow-Events", OPTIONS),
    ("Session-Expires", OPTIONS),
    ("Min-SE", OPTIONS),
    ("RSeq", OPTIONS),
    ("RAck", OPTIONS),
    ("Expires", "calls.no_answer and the profile's no_answer set it"),
    ("Timestamp", "it belongs to one hop"),
    ("Retry-After", "it belongs to responses"),
    ("Refer-To", "it belongs to REFER"),
    ("Event", "it belongs to events"),
    ("User-Agent", "calls.user_agent sets it"),
    ("Server", "calls.user_agent sets it"),
    ("Authorization", SECRETS),
    ("Proxy-Authorization", SECRETS),
    ("P-Preferred-Identity", "it speaks to the first trusted hop alone (RFC 3325 §9.2)"),
];

const ROUTING: &str = "the gateway routes each leg by itself";
const DIALOG: &str = "it tells calls apart, and each leg has its own";
const NUMBERS: &str = "the gateway writes it; numbers.called and numbers.calling say how";
const BODY: &str = "it describes the body, which the gateway writes";
const OPTIONS: &str = "it says what the gateway can do on its leg";
const SECRETS: &str = "credentials are for the hop that asked for them";

/// Why a field may not be touched, if so.
pub(super) fn reserved(name: &str) -> Option<&'static str> {
    let parsed = Name::parse(name.as_bytes());
    let name = if parsed == Name::Other { name } else { parsed.as_str() };
    if name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("Content-")) {
        return Some(BODY);
    }
    RESERVED.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, why)| *why)
}

fn is_token(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte))
}

impl FieldName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`FieldError`] says why it may not be touched.
    pub fn new(text: &str) -> Result<Self, FieldError> {
        if !is_token(text) || text.contains('*') {
            return Err(FieldError::NoName(text.to_owned()));
        }
        if text.len() == 1 {
            return Err(FieldError::Compact(text.to_owned()));
        }
        match reserved(text) {
            Some(why) => Err(FieldError::Reserved { name: text.to_owned(), why }),
            None => Ok(Self(text.to_owned())),
        }
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq for FieldName {
    /// Names compare without regard to case (RFC 3261 §7.3.1).
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for FieldName {}

impl Pattern {
    /// Checks a name, or the beginning of names with `*` behind it.
    ///
    /// # Errors
    /// [`FieldError`] says why it may not be touched.
    pub fn new(text: &str) -> Result<Self, FieldError> {
        let Some(start) = text.strip_suffix('*') else {
            return FieldName::new(text).map(|name| Self { text: name.0, open: false });
        };
        if !start.is_empty() && (!is_token(start) || start.contains('*')) {
            return Err(FieldError::NoName(text.to_owned()));
        }
        let begins = |name: &str| name.get(..start.len()).is_some_and(|s| s.eq_ignore_ascii_case(start));
        match RESERVED.iter().find(|(name, _)| begins(name)) {
            Some((name, why)) => Err(FieldError::TooWide { pattern: text.to_owned(), name, why }),
            None => Ok(Self { text: start.to_owned(), open: true }),
        }
    }

    /// Whether a field of that (full) name is meant.
    pub fn fits(&self, name: &str) -> bool {
        if self.open {
            return name.get(..self.text.len()).is_some_and(|start| start.eq_ignore_ascii_case(&self.text));
        }
        name.eq_ignore_ascii_case(&self.text)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.text, if self.open { "*" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_a_call_together_may_not_be_touched() {
        for name in [
            "Via",
            "route",
            "Record-Route",
            "CONTACT",
            "Call-ID",
            "CSeq",
            "From",
            "To",
            "Content-Length",
            "Content-Anything",
            "Max-Forwards",
            "Authorization",
            "Require",
            "P-Preferred-Identity",
        ] {
            let error = FieldName::new(name).unwrap_err();
            assert!(matches!(error, FieldError::Reserved { .. }), "{name}: {error}");
            assert!(error.to_string().contains("may not be touched: "), "{error}");
            assert!(Pattern::new(name).is_err(), "{name}");
        }
        for name in ["X-Trunk", "P-Asserted-Identity", "Diversion", "Subject", "Reason", "Privacy"] {
            assert!(FieldName::new(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn compact_forms_and_nonsense_are_refused() {
        // RFC 3261 §7.3.3: "i" is Call-ID and would get around the list.
        assert!(matches!(FieldName::new("i"), Err(FieldError::Compact(_))));
        for text in ["", "X Name", "X-Name:", "X-\r\nVia", "X-*", "Ä", &"X".repeat(65)] {
            assert!(matches!(FieldName::new(text), Err(FieldError::NoName(_))), "{text:?}");
        }
    }

    #[test]
    fn patterns_fit_names_in_any_case_and_never_the_reserved() {
        let pattern = Pattern::new("X-*").unwrap();
        assert!(pattern.fits("x-trunk") && pattern.fits("X-") && !pattern.fits("Subject"));
        assert!(Pattern::new("Subject").unwrap().fits("SUBJECT"));
        for text in ["*", "C*", "Con*", "Re*", "P-Pre*"] {
            let error = Pattern::new(text).unwrap_err();
            assert!(matches!(error, FieldError::TooWide { .. }), "{text}: {error}");
        }
        assert!(Pattern::new("P-A*").unwrap().fits("P-Asserted-Identity"));
    }
}
