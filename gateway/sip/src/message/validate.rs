//! Holding a message against RFC 3261: which answer a request deserves, which response is dropped.
//!
//! Where RFC 4475 leaves a choice, what the grammar does not have is refused; [`super`] lists what is borne with.

use super::params::quoted_end;
use super::scan::{is_token, number, trim};
use super::{Elements, Message, Method, Name, NameAddr, Scheme, Uri, Via};

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reject {
    /// The status of the answer.
    pub status: u16,
    /// Its reason phrase.
    pub reason: &'static str,
}

/// Why a response is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drop {
    /// Not SIP/2.0.
    Version,
    /// No Via, a malformed one, or more than one: it was not meant for us (RFC 3261 §8.1.3.3).
    Via,
    /// CSeq is missing or malformed.
    CSeq,
    /// From, To or Call-ID is missing, malformed, or stands more than once.
    Dialog,
}

/// What the user agent understands, for [`acceptable`].
#[derive(Clone, Copy, Debug)]
pub struct Capabilities<'a> {
    /// Option tags that may stand in Require.
    pub extensions: &'a [&'a str],
    /// Media types a body may have.
    pub media_types: &'a [&'a str],
}

const fn bad(reason: &'static str) -> Reject {
    Reject { status: 400, reason }
}

/// Checks the form of a request: that what every request must have is there, once, and well formed
/// (RFC 3261 §8.1.1, §20). An ACK that fails is dropped by the caller; everything else is answered.
pub fn validate(message: &Message<'_>) -> Result<(), Reject> {
    if !message.is_version_2() {
        return Err(Reject { status: 505, reason: "Version Not Supported" });
    }
    vias(message)?;
    request_uri(message.request_uri())?;
    sequence(message)?;
    address(message, Name::From, "Missing From", "Multiple From", "Malformed From")?;
    address(message, Name::To, "Missing To", "Multiple To", "Malformed To")?;
    let call_id = single(message, Name::CallId, "Missing Call-ID", "Multiple Call-ID")?;
    if call_id.is_empty() || !call_id.iter().all(|&byte| byte > b' ' && byte != 0x7f) {
        return Err(bad("Malformed Call-ID"));
    }
    if message.header(Name::MaxForwards).is_some() {
        let hops = single(message, Name::MaxForwards, "", "Multiple Max-Forwards")?;
        number(hops, 255).ok_or(bad("Malformed Max-Forwards"))?;
    }
    contacts(message)?;
    routes(message)?;
    content(message)
}

/// Checks what a client must find in a response before it matches it to a request (RFC 3261 §8.1.3, §18.1.2).
pub fn validate_response(message: &Message<'_>) -> Result<(), Drop> {
    if !message.is_version_2() {
        return Err(Drop::Version);
    }
    let mut vias = message.values(Name::Via);
    if vias.next().and_then(Via::parse).is_none_or(|via| !via.is_sip_2) || vias.next().is_some() {
        return Err(Drop::Via);
    }
    if message.count(Name::CSeq) != 1 || message.cseq().is_none() {
        return Err(Drop::CSeq);
    }
    let single = [Name::From, Name::To, Name::CallId].into_iter().all(|name| message.count(name) == 1);
    if !single || message.from().is_none() || message.to().is_none() || message.call_id().is_empty() {
        return Err(Drop::Dialog);
    }
    Ok(())
}

/// Checks a well-formed request against what we understand: 420 for an extension it requires (RFC 3261 §8.2.2.3;
/// [`unsupported`] lists them), 415 for a body we cannot read (§8.2.3), 406 for an INVITE whose Accept leaves out
/// SDP (§20.1).
pub fn acceptable(message: &Message<'_>, capabilities: &Capabilities<'_>) -> Result<(), Reject> {
    let method = message.method();
    if !matches!(method, Method::Cancel | Method::Ack)
        && unsupported(message, capabilities.extensions).next().is_some()
    {
        return Err(Reject { status: 420, reason: "Bad Extension" });
    }
    if !message.body().is_empty() {
        let encoded =
            message.values(Name::ContentEncoding).any(|coding| !coding.eq_ignore_ascii_case(b"identity"));
        let known = capabilities.media_types.iter().any(|media_type| message.is_content(media_type));
        if encoded || (!known && !is_optional(message)) {
            return Err(Reject { status: 415, reason: "Unsupported Media Type" });
        }
    }
    if method == Method::Invite && message.header(Name::Accept).is_some() && !accepts_sdp(message) {
        return Err(Reject { status: 406, reason: "Not Acceptable" });
    }
    Ok(())
}

/// The option tags of Require, and of Proxy-Require since a call does not go past us (RFC 3261 §16.3 step 5), that are not
/// among `extensions`: the content of Unsupported in a 420.
pub fn unsupported<'a>(message: &Message<'a>, extensions: &[&str]) -> impl Iterator<Item = &'a [u8]> {
    message
        .values(Name::Require)
        .chain(message.values(Name::ProxyRequire))
        .filter(|tag| !extensions.iter().any(|known| tag.eq_ignore_ascii_case(known.as_bytes())))
}

/// `Content-Disposition: ...;handling=optional` lets a body be passed over (RFC 3261 §20.11).
fn is_optional(message: &Message<'_>) -> bool {
    message.header(Name::ContentDisposition).is_some_and(|value| {
        let params = memchr::memchr(b';', value).map_or(&b""[..], |at| &value[at..]);
        super::Params::new(params).value("handling").is_some_and(|how| how.eq_ignore_ascii_case(b"optional"))
    })
}

fn accepts_sdp(message: &Message<'_>) -> bool {
    message.values(Name::Accept).any(|range| {
        let end = memchr::memchr(b';', range).unwrap_or(range.len());
        let range = trim(&range[..end]);
        ["application/sdp", "application/*", "*/*", "multipart/mixed"]
            .iter()
            .any(|wanted| range.eq_ignore_ascii_case(wanted.as_bytes()))
    })
}

/// The only field of this name.
fn single<'a>(
    message: &Message<'a>,
    name: Name,
    missing: &'static str,
    repeated: &'static str,
) -> Result<&'a [u8], Reject> {
    let mut fields = message.headers(name);
    let value = fields.next().ok_or_else(|| bad(missing))?;
    if fields.next().is_some() {
        return Err(bad(repeated));
    }
    Ok(value)
}

fn vias(message: &Message<'_>) -> Result<(), Reject> {
    let mut top = true;
    for field in message.headers(Name::Via) {
        if has_empty_element(field) {
            return Err(bad("Malformed Via"));
        }
        for element in Elements::new(field) {
            let via = Via::parse(element).ok_or(bad("Malformed Via"))?;
            // What other hops wrote is theirs; ours to read is the first.
            if top && (!via.is_sip_2 || !via.params.is_well_formed()) {
                return Err(bad("Malformed Via"));
            }
            // RFC 4475 §3.2.1: the cookie alone names no transaction.
            if top && via.branch().is_some_and(|branch| branch.eq_ignore_ascii_case(b"z9hG4bK")) {
                return Err(bad("Missing Transaction Identifier"));
            }
            top = false;
        }
    }
    if top { Err(bad("Missing Via")) } else { Ok(()) }
}

/// `a,,b`, `,a` or `a,`: lists of RFC 3261 have no empty elements.
fn has_empty_element(field: &[u8]) -> bool {
    let mut rest = Some(field);
    while let Some(bytes) = rest {
        let end = super::list::comma(bytes).unwrap_or(bytes.len());
        if trim(&bytes[..end]).is_empty() {
            return true;
        }
        rest = bytes.get(end + 1..);
    }
    false
}

fn request_uri(bytes: &[u8]) -> Result<(), Reject> {
    let uri = Uri::parse(bytes).ok_or(bad("Malformed Request-URI"))?;
    if uri.scheme == Scheme::Other {
        return Err(Reject { status: 416, reason: "Unsupported URI Scheme" });
    }
    // RFC 3261 §19.1.1, table 1: headers are not allowed here.
    if uri.headers.is_some() { Err(bad("Headers In Request-URI")) } else { Ok(()) }
}

/// CSeq, and whether its method is that of the request (RFC 3261 §8.1.1.5).
fn sequence(message: &Message<'_>) -> Result<(), Reject> {
    let value = single(message, Name::CSeq, "Missing CSeq", "Multiple CSeq")?;
    let cseq = super::CSeq::parse(value).ok_or(bad("Malformed CSeq"))?;
    if cseq.token == message.method_bytes() {
        return Ok(());
    }
    // RFC 4475 §3.1.2.18: for a method nobody knows, 501 is the better answer.
    if message.method() == Method::Other {
        return Err(Reject { status: 501, reason: "Not Implemented" });
    }
    Err(bad("CSeq Method Mismatch"))
}

/// From and To.
fn address(
    message: &Message<'_>,
    name: Name,
    missing: &'static str,
    repeated: &'static str,
    malformed: &'static str,
) -> Result<(), Reject> {
    let value = single(message, name, missing, repeated)?;
    if is_address(value).is_some() { Ok(()) } else { Err(bad(malformed)) }
}

/// A well-formed address with well-formed parameters and URI.
fn is_address(value: &[u8]) -> Option<(NameAddr<'_>, Uri<'_>)> {
    let address = NameAddr::parse(value)?;
    let quotes_hold =
        address.display.first() != Some(&b'"') || quoted_end(address.display) == Some(address.display.len());
    if !quotes_hold || !address.params.is_well_formed() {
        return None;
    }
    Some((address, Uri::parse(address.uri)?))
}

/// Contact: addresses, or a lone star in a REGISTER (RFC 3261 §10.2.2); one at most, and a SIP one, where a dialog
/// may follow (§8.1.1.8). An INVITE without any is left to the user agent, since RFC 2543 had such.
fn contacts(message: &Message<'_>) -> Result<(), Reject> {
    const MALFORMED: Reject = bad("Malformed Contact");
    let method = message.method();
    let mut count = 0;
    for field in message.headers(Name::Contact) {
        if field == b"*" {
            let only = message.count(Name::Contact) == 1;
            if method == Method::Register && only { continue } else { return Err(MALFORMED) }
        }
        if has_empty_element(field) {
            return Err(MALFORMED);
        }
        for element in Elements::new(field) {
            let (_, uri) = is_address(element).ok_or(MALFORMED)?;
            count += 1;
            let dialog =
                matches!(method, Method::Invite | Method::Subscribe | Method::Refer | Method::Update);
            if dialog && count > 1 {
                return Err(bad("Multiple Contact"));
            }
            if dialog && !uri.is_sip() {
                return Err(bad("Contact Is Not SIP"));
            }
        }
    }
    Ok(())
}

/// Route and Record-Route: addresses in brackets (RFC 3261 §20.30, §20.34).
fn routes(message: &Message<'_>) -> Result<(), Reject> {
    for (name, reason) in [(Name::RecordRoute, "Malformed Record-Route"), (Name::Route, "Malformed Route")] {
        for element in message.values(name) {
            if !is_address(element).is_some_and(|(address, uri)| address.bracketed && uri.is_sip()) {
                return Err(bad(reason));
            }
        }
    }
    Ok(())
}

/// A body has a type (RFC 3261 §20.15), and one only.
fn content(message: &Message<'_>) -> Result<(), Reject> {
    if message.header(Name::ContentType).is_none() {
        return if message.body().is_empty() { Ok(()) } else { Err(bad("Missing Content-Type")) };
    }
    let value = single(message, Name::ContentType, "", "Multiple Content-Type")?;
    let end = memchr::memchr(b';', value).unwrap_or(value.len());
    let (media_type, params) = value.split_at(end);
    let mut halves = media_type.splitn(2, |&byte| byte == b'/').map(trim);
    let mut half = || halves.next().is_some_and(is_token);
    if half() && half() && super::Params::new(params).is_well_formed() {
        Ok(())
    } else {
        Err(bad("Malformed Content-Type"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "INVITE sip:b@example.com SIP/2.0\r\n\
        Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\n\
        From: <sip:a@example.com>;tag=1\r\n\
        To: <sip:b@example.com>\r\n\
        Call-ID: x==@y\r\n\
        CSeq: 1 INVITE\r\n\
        Max-Forwards: 70\r\n\
        Contact: <sip:a@192.0.2.1>\r\n\
        Content-Type: application/sdp\r\n\
        Content-Length: 4\r\n\r\nv=0\n";

    fn status(from: &str, to: &str) -> u16 {
        assert!(GOOD.contains(from), "{from}");
        let text = GOOD.replacen(from, to, 1);
        match Message::parse(text.as_bytes()) {
            Err(error) => error.status(),
            Ok(message) => validate(&message).map_or_else(|reject| reject.status, |()| 0),
        }
    }

    #[test]
    fn each_rule_has_its_status() {
        assert_eq!(status("sip:b", "sip:b"), 0);
        for (from, to, expected) in [
            ("SIP/2.0\r\n", "SIP/3.0\r\n", 505),
            ("INVITE sip:b@example.com", "INVITE http://x", 416),
            ("INVITE sip:b@example.com", "INVITE sip:b@example.com?a=b", 400),
            ("INVITE sip:b@example.com", "INVITE <sip:b@example.com>", 400),
            ("INVITE sip:b@example.com", "INVITE tel:+1", 0),
            ("Via:", "X:", 400),
            ("SIP/2.0/UDP", "SIP/2.0/UDP;", 400),
            ("z9hG4bKa", "z9hG4bK", 400),
            ("z9hG4bKa", "z9hG4bKa,", 400),
            ("z9hG4bKa", "1", 0),
            ("From:", "X:", 400),
            (";tag=1", "", 0),
            (";tag=1", ";tag=", 400),
            ("From: <", "From: \"x <", 400),
            ("To: <", "To: <sip:b@h>\r\nTo: <", 400),
            ("Call-ID: x==@y", "Call-ID: a b", 400),
            ("Call-ID: x==@y", "Call-ID:", 400),
            ("CSeq: 1 INVITE", "CSeq: 2147483648 INVITE", 400),
            ("CSeq: 1 INVITE", "CSeq: 1", 400),
            ("CSeq: 1 INVITE", "CSeq: 1 BYE", 400),
            ("INVITE sip:", "NEW sip:", 501),
            ("Max-Forwards: 70", "Max-Forwards: 256", 400),
            ("Max-Forwards: 70\r\n", "", 0),
            ("Contact: <sip:a@192.0.2.1>", "Contact: *", 400),
            ("Contact: <sip:a@192.0.2.1>", "Contact: <sip:a@192.0.2.1>, <sip:c@d>", 400),
            ("Contact: <sip:a@192.0.2.1>", "Contact: <tel:+1>", 400),
            ("Contact: <sip:a@192.0.2.1>", "Contact: sip:a@192.0.2.1?x=y", 400),
            ("Contact:", "Record-Route: sip:p;lr\r\nContact:", 400),
            ("Contact:", "Record-Route: <sip:p;lr>, <sip:q>\r\nContact:", 0),
            ("Content-Type: application/sdp\r\n", "", 400),
            ("application/sdp", "sdp", 400),
            ("application/sdp", "application / sdp;a=b", 0),
        ] {
            assert_eq!(status(from, to), expected, "{from:?} as {to:?}");
        }
    }

    #[test]
    fn what_is_understood_is_accepted() {
        let capabilities = Capabilities { extensions: &["100rel"], media_types: &["application/sdp"] };
        let check = |from: &str, to: &str| {
            let text = GOOD.replacen(from, to, 1);
            let message = Message::parse(text.as_bytes()).unwrap();
            acceptable(&message, &capabilities).map_or_else(|reject| reject.status, |()| 0)
        };
        assert_eq!(check("Contact:", "Require: 100REL\r\nContact:"), 0);
        assert_eq!(check("Contact:", "Require: 100rel, timer\r\nContact:"), 420);
        // RFC 3261 §16.3 step 5
        assert_eq!(check("Contact:", "Proxy-Require: timer\r\nContact:"), 420);
        assert_eq!(check("Contact:", "Proxy-Require: 100rel\r\nContact:"), 0);
        assert_eq!(check("application/sdp", "APPLICATION/SDP;x=y"), 0);
        assert_eq!(check("application/sdp", "text/plain"), 415);
        assert_eq!(check("application/sdp", "a/b\r\nContent-Disposition: x; handling=optional"), 0);
        assert_eq!(check("Contact:", "Content-Encoding: gzip\r\nContact:"), 415);
        assert_eq!(check("Contact:", "Accept: text/plain, application/*;q=0.1\r\nContact:"), 0);
        assert_eq!(check("Contact:", "Accept: text/plain\r\nContact:"), 406);
    }
}
