//! Header field names, full and compact, found through a perfect hash made at compile time.

use super::scan::is_token_byte;

macro_rules! names {
    ($($ident:ident, $name:literal, $compact:literal;)*) => {
        /// The header fields known by name. Names compare without regard to case, and a compact form is the
        /// same as the full one (RFC 3261 §7.3.3).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Name {
            $(#[doc = concat!("`", $name, "`")] $ident,)*
            /// Any other.
            Other,
        }

        /// Full name, compact name (or nothing), in the order of the enum.
        const NAMES: &[(Name, &str, &str)] = &[$((Name::$ident, $name, $compact),)*];
    };
}

names! {
    Via, "Via", "v";
    From, "From", "f";
    To, "To", "t";
    CallId, "Call-ID", "i";
    CSeq, "CSeq", "";
    Contact, "Contact", "m";
    MaxForwards, "Max-Forwards", "";
    Route, "Route", "";
    RecordRoute, "Record-Route", "";
    ContentType, "Content-Type", "c";
    ContentLength, "Content-Length", "l";
    Require, "Require", "";
    ProxyRequire, "Proxy-Require", "";
    Supported, "Supported", "k";
    Unsupported, "Unsupported", "";
    Allow, "Allow", "";
    RetryAfter, "Retry-After", "";
    Reason, "Reason", "";
    Warning, "Warning", "";
    UserAgent, "User-Agent", "";
    Server, "Server", "";
    Expires, "Expires", "";
    MinExpires, "Min-Expires", "";
    Date, "Date", "";
    Accept, "Accept", "";
    AcceptEncoding, "Accept-Encoding", "";
    AcceptLanguage, "Accept-Language", "";
    ContentEncoding, "Content-Encoding", "e";
    ContentDisposition, "Content-Disposition", "";
    ContentLanguage, "Content-Language", "";
    MimeVersion, "MIME-Version", "";
    Subject, "Subject", "s";
    Organization, "Organization", "";
    Priority, "Priority", "";
    Timestamp, "Timestamp", "";
    AlertInfo, "Alert-Info", "";
    CallInfo, "Call-Info", "";
    ErrorInfo, "Error-Info", "";
    InReplyTo, "In-Reply-To", "";
    ReplyTo, "Reply-To", "";
    Authorization, "Authorization", "";
    ProxyAuthorization, "Proxy-Authorization", "";
    WwwAuthenticate, "WWW-Authenticate", "";
    ProxyAuthenticate, "Proxy-Authenticate", "";
    AuthenticationInfo, "Authentication-Info", "";
    Event, "Event", "o";
    AllowEvents, "Allow-Events", "u";
    SubscriptionState, "Subscription-State", "";
    ReferTo, "Refer-To", "r";
    ReferredBy, "Referred-By", "b";
    Replaces, "Replaces", "";
    RSeq, "RSeq", "";
    RAck, "RAck", "";
    SessionExpires, "Session-Expires", "x";
    MinSe, "Min-SE", "";
    PAssertedIdentity, "P-Asserted-Identity", "";
    PPreferredIdentity, "P-Preferred-Identity", "";
    Privacy, "Privacy", "";
    Diversion, "Diversion", "";
    HistoryInfo, "History-Info", "";
    Path, "Path", "";
    ServiceRoute, "Service-Route", "";
    Identity, "Identity", "y";
    SipETag, "SIP-ETag", "";
    SipIfMatch, "SIP-If-Match", "";
    AcceptContact, "Accept-Contact", "a";
    RejectContact, "Reject-Contact", "j";
    RequestDisposition, "Request-Disposition", "d";
    SessionId, "Session-ID", "";
}

/// A name of up to 24 bytes as three words, in lower case, zero behind its end. Bit 5 is set in every byte, which
/// makes capitals small and leaves every other character of a token as it is.
pub(super) type Key = [u64; 3];

const SLOTS: usize = 512;

/// A slot that two names want would be a collision, which stops the compiler.
const TABLE: [(Key, Name); SLOTS] = {
    let mut table = [([0; 3], Name::Other); SLOTS];
    let mut index = 0;
    while index < NAMES.len() * 2 {
        let (name, full, compact) = NAMES[index / 2];
        let spelling = if index % 2 == 0 { full } else { compact };
        index += 1;
        if spelling.is_empty() {
            continue;
        }
        let key = key(spelling.as_bytes());
        let slot = slot(key);
        assert!(table[slot].0[0] == 0, "two header names share a slot: change the multiplier");
        table[slot] = (key, name);
    }
    table
};

/// Of a name that is no longer than 24 bytes.
const fn key(name: &[u8]) -> Key {
    let mut key = [0; 3];
    let mut index = 0;
    while index < name.len() {
        key[index / 8] |= ((name[index] | 0x20) as u64) << (index % 8 * 8);
        index += 1;
    }
    key
}

const fn slot(key: Key) -> usize {
    let mixed = key[0].wrapping_add(key[1] ^ (key[2] << 7));
    (mixed.wrapping_mul(0x804d_b86b_6201_972f) >> 55) as usize
}

impl Name {
    /// How many names are known; each is below this as a number.
    pub(crate) const COUNT: usize = NAMES.len();

    /// The field with this name, full or compact, in any case.
    pub fn parse(name: &[u8]) -> Self {
        if name.len() > 24 || !name.iter().all(|&byte| is_token_byte(byte)) {
            return Self::Other;
        }
        Self::find(key(name))
    }

    /// The field with this key.
    #[inline]
    pub(super) fn find(key: Key) -> Self {
        let ([first, second, third], name) = &TABLE[slot(key)];
        // Word by word: compared as one, the key would go through memory and stall there.
        let differs = (first ^ key[0]) | (second ^ key[1]) | (third ^ key[2]);
        if differs == 0 { *name } else { Self::Other }
    }

    /// The full name as the RFCs spell it, empty for [`Name::Other`].
    pub fn as_str(self) -> &'static str {
        NAMES.get(self as usize).map_or("", |(_, full, _)| full)
    }
}

/// Every spelling of every name.
#[cfg(test)]
pub(super) fn spellings() -> impl Iterator<Item = &'static str> {
    NAMES.iter().flat_map(|&(_, full, compact)| [full, compact]).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_found_in_any_case_and_in_its_compact_form() {
        for &(name, full, compact) in NAMES {
            assert_eq!(Name::parse(full.as_bytes()), name);
            assert_eq!(Name::parse(full.to_ascii_uppercase().as_bytes()), name);
            assert_eq!(Name::parse(full.to_ascii_lowercase().as_bytes()), name);
            assert_eq!(name.as_str(), full);
            if !compact.is_empty() {
                assert_eq!(Name::parse(compact.as_bytes()), name);
                assert_eq!(Name::parse(compact.to_ascii_uppercase().as_bytes()), name);
            }
        }
        for (index, &(name, ..)) in NAMES.iter().enumerate() {
            assert_eq!(name as usize, index);
        }
    }

    #[test]
    fn anything_else_is_other() {
        for name in [
            "",
            "Z",
            "Vi",
            "Viaa",
            "X-Via",
            "Call_ID",
            "z",
            "Call\rID",
            "\0",
            "Via\0",
            "P-Preferred-Identity-Extra",
        ] {
            assert_eq!(Name::parse(name.as_bytes()), Name::Other, "{name}");
        }
        assert_eq!(Name::Other.as_str(), "");
    }
}
