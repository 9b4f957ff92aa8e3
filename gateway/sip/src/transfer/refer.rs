//! The REFER request (RFC 3515): whom somebody is to be put through to.

use super::{Join, Replaces, unescape};
use crate::message::{Message, Name, NameAddr, Reject, Scheme, Uri, unfold};

/// What a REFER asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refer {
    /// The URI in Refer-To, without the header part.
    pub target: String,
    /// The dialog that the call to it shall replace (RFC 5589 §7).
    pub replaces: Option<Replaces>,
    /// The dialog that the call to it shall join (RFC 3911 §5).
    pub join: Option<Join>,
    /// Who refers, as Referred-By says (RFC 3892).
    pub referred_by: Option<String>,
    /// Whether the referrer wants to hear how it goes: not with `Refer-Sub: false` (RFC 4488 §4).
    pub subscribes: bool,
    /// The number in CSeq, which names the subscription (RFC 3515 §2.4.6).
    pub id: u32,
}

const fn refused(status: u16, reason: &'static str) -> Reject {
    Reject { status, reason }
}

impl Refer {
    /// Reads a REFER.
    ///
    /// # Errors
    /// 400 for none or several Refer-To or one that is malformed (RFC 3515 §2.4.2), 416 for a URI that is neither
    /// SIP nor tel, 603 where another request than INVITE shall be sent.
    pub fn read(request: &Message<'_>) -> Result<Self, Reject> {
        let mut values = request.values(Name::ReferTo);
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(refused(400, "Not One Refer-To"));
        };
        let malformed = refused(400, "Malformed Refer-To");
        let value = unfold(value);
        let address = NameAddr::parse(&value).ok_or(malformed)?;
        let uri = Uri::parse(address.uri).ok_or(malformed)?;
        if uri.scheme == Scheme::Other {
            return Err(refused(416, "Unsupported URI Scheme In Refer-To"));
        }
        if uri.params.value("method").is_some_and(|method| method != b"INVITE") {
            return Err(refused(603, "Only INVITE Is Sent For REFER"));
        }
        let bare = uri.headers.map_or(address.uri.len(), |headers| address.uri.len() - headers.len() - 1);
        let headers = uri.headers.unwrap_or_default();
        let replaces = embedded(headers, "Replaces", Replaces::parse)?;
        let join = embedded(headers, "Join", Join::parse)?;
        if replaces.is_some() && join.is_some() {
            // RFC 3911 §4, as it would be of the INVITE.
            return Err(refused(400, "Replaces And Join In Refer-To"));
        }
        let referred_by = request.header(Name::ReferredBy).map(unfold);
        let wanted = request.header_by_name("Refer-Sub").map(|value| value.trim_ascii().to_ascii_lowercase());
        Ok(Self {
            target: String::from_utf8_lossy(&address.uri[..bare]).into_owned(),
            replaces,
            join,
            referred_by: referred_by.map(|value| String::from_utf8_lossy(&value).into_owned()),
            subscribes: wanted.is_none_or(|value| !value.starts_with(b"false")),
            id: request.cseq().map_or(0, |cseq| cseq.number),
        })
    }

    /// The value of Refer-To that says the same.
    pub fn refer_to(&self) -> String {
        match (&self.replaces, &self.join) {
            (Some(replaces), _) => format!("<{}?Replaces={}>", self.target, replaces.escaped()),
            (None, Some(join)) => format!("<{}?Join={}>", self.target, join.escaped()),
            (None, None) => format!("<{}>", self.target),
        }
    }
}

/// One that names a dialog among the header fields of a URI. Others than Replaces and Join are not taken over into the
/// INVITE (RFC 3261 §19.1.5 leaves it to us to honour only what is harmless).
fn embedded<T>(headers: &[u8], name: &str, parse: impl Fn(&[u8]) -> Option<T>) -> Result<Option<T>, Reject> {
    let fields = headers.split(|byte| *byte == b'&').filter_map(|field| {
        let at = memchr::memchr(b'=', field)?;
        Some((unescape(&field[..at]), &field[at + 1..]))
    });
    let mut values =
        fields.filter(|(it, _)| it.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| unescape(value));
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => parse(&value).map(Some).ok_or(refused(400, "Malformed Dialog In Refer-To")),
        (Some(_), Some(_)) => Err(refused(400, "Multiple Dialogs In Refer-To")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refer(lines: &str) -> Result<Refer, u16> {
        let text = format!(
            "REFER sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\n\
             To: <sip:b@h>;tag=2\r\nCall-ID: c\r\nCSeq: 93809823 REFER\r\n{lines}\r\n"
        );
        Refer::read(&Message::parse(text.as_bytes()).unwrap()).map_err(|reject| reject.status)
    }

    #[test]
    fn whom_to_call_and_what_to_replace_are_read() {
        let plain = refer("Refer-To: sip:1003@192.0.2.1\r\nReferred-By: <sip:a@h>\r\n").unwrap();
        assert_eq!(
            (plain.target.as_str(), plain.replaces, plain.id),
            ("sip:1003@192.0.2.1", None, 93_809_823)
        );
        assert_eq!((plain.referred_by.as_deref(), plain.subscribes), (Some("<sip:a@h>"), true));
        // The example of RFC 3515 §2.1, and the field's compact form.
        let there = refer(
            "r: <sip:dave@denver.example.org;method=INVITE?Accept-Contact=x&\
             replaces=12345%40192.168.118.3%3Bto-tag%3D12345%3Bfrom-tag%3D5FFE-3994>\r\n",
        )
        .unwrap();
        assert_eq!(there.target, "sip:dave@denver.example.org;method=INVITE");
        let replaces = there.replaces.as_ref().unwrap();
        assert_eq!(replaces.to_string(), "12345@192.168.118.3;to-tag=12345;from-tag=5FFE-3994");
        assert_eq!(
            there.refer_to(),
            "<sip:dave@denver.example.org;method=INVITE?Replaces=12345%40192.168.118.3%3Bto-tag%3D12345%3Bfrom-tag%3D5FFE-3994>"
        );
        let joins = refer("Refer-To: <sip:b@h?Join=c%40h%3Bto-tag%3D1%3Bfrom-tag%3D2>\r\n").unwrap();
        assert_eq!(joins.join.as_ref().unwrap().to_string(), "c@h;to-tag=1;from-tag=2");
        assert_eq!(joins.refer_to(), "<sip:b@h?Join=c%40h%3Bto-tag%3D1%3Bfrom-tag%3D2>");
        assert_eq!(refer("Refer-To: <tel:+1-201-555-0123>\r\n").unwrap().target, "tel:+1-201-555-0123");
        assert!(!refer("Refer-To: <sip:b@h>\r\nRefer-Sub: false\r\n").unwrap().subscribes);
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        for (lines, status) in [
            ("", 400),
            ("Refer-To: <sip:b@h>\r\nRefer-To: <sip:c@h>\r\n", 400),
            ("Refer-To: <sip:b@h>, <sip:c@h>\r\n", 400),
            ("Refer-To: <sip:b@h\r\n", 400),
            ("Refer-To: <nonsense>\r\n", 400),
            ("Refer-To: <sip:b@h?Replaces=c%3Bto-tag%3D1>\r\n", 400),
            (
                "Refer-To: <sip:b@h?Replaces=c%3Bto-tag%3D1%3Bfrom-tag%3D2&Replaces=c%3Bto-tag%3D1%3Bfrom-tag%3D2>\r\n",
                400,
            ),
            ("Refer-To: <sip:b@h?Join=c%3Bto-tag%3D1>\r\n", 400),
            (
                "Refer-To: <sip:b@h?Replaces=c%3Bto-tag%3D1%3Bfrom-tag%3D2&Join=c%3Bto-tag%3D1%3Bfrom-tag%3D2>\r\n",
                400,
            ),
            ("Refer-To: <http://www.example.com>\r\n", 416),
            ("Refer-To: <mailto:a@h>\r\n", 416),
            ("Refer-To: <sip:b@h;method=BYE>\r\n", 603),
        ] {
            assert_eq!(refer(lines), Err(status), "{lines}");
        }
    }
}
