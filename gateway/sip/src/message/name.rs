//! Header field names, full and compact, found through a perfect hash made at compile time.

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
}

const SLOTS: usize = 512;

/// A slot that two names want would be a collision, which stops the compiler.
const TABLE: [(Name, &str); SLOTS] = {
    let mut table = [(Name::Other, ""); SLOTS];
    let mut index = 0;
    while index < NAMES.len() {
        let (name, full, compact) = NAMES[index];
        let slot = hash(full.as_bytes());
        assert!(table[slot].1.is_empty(), "two header names share a slot: change the multipliers");
        table[slot] = (name, full);
        if !compact.is_empty() {
            let slot = hash(compact.as_bytes());
            assert!(table[slot].1.is_empty(), "two header names share a slot: change the multipliers");
            table[slot] = (name, compact);
        }
        index += 1;
    }
    table
};

/// Of a non-empty name: length, first, last and middle byte, case aside.
const fn hash(name: &[u8]) -> usize {
    let len = name.len();
    let first = (name[0] | 0x20) as usize;
    let last = (name[len - 1] | 0x20) as usize;
    let middle = (name[len / 2] | 0x20) as usize;
    (len * 12 + first * 34 + last * 21 + middle * 33) & (SLOTS - 1)
}

impl Name {
    /// How many names are known; each is below this as a number.
    pub(crate) const COUNT: usize = NAMES.len();

    /// The field with this name, full or compact, in any case.
    pub fn parse(name: &[u8]) -> Self {
        if name.is_empty() {
            return Self::Other;
        }
        let (found, spelling) = TABLE[hash(name)];
        if spelling.len() == name.len() && name.eq_ignore_ascii_case(spelling.as_bytes()) {
            found
        } else {
            Self::Other
        }
    }

    /// The full name as the RFCs spell it, empty for [`Name::Other`].
    pub fn as_str(self) -> &'static str {
        NAMES.get(self as usize).map_or("", |(_, full, _)| full)
    }
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
        for name in ["", "Z", "Vi", "Viaa", "X-Via", "Call_ID", "z"] {
            assert_eq!(Name::parse(name.as_bytes()), Name::Other, "{name}");
        }
        assert_eq!(Name::Other.as_str(), "");
    }
}
