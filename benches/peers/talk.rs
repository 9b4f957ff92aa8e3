//! SIP as a load driver writes and reads it: text, and no more of it than a call and a registration need. Used where SIPp of the
//! distribution has no TLS, or cannot say how long each call's set-up took.

use md5::{Digest, Md5};
use std::fmt::Write;
use std::net::SocketAddr;

/// Where a message goes and what it names as its own place.
#[derive(Clone, Copy)]
pub struct Place {
    /// `UDP` or `TLS`.
    pub transport: &'static str,
    /// Ours.
    pub own: SocketAddr,
    /// The system in the middle.
    pub to: SocketAddr,
}

/// The first value of a header field, or nothing.
pub fn field<'m>(message: &'m str, name: &str) -> &'m str {
    fields(message, name).next().unwrap_or_default()
}

/// All values of a header field, one a line.
pub fn fields<'m>(message: &'m str, name: &str) -> impl Iterator<Item = &'m str> {
    message.split("\r\n").take_while(|line| !line.is_empty()).filter_map(move |line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

/// The status of a response.
pub fn status(message: &str) -> Option<u16> {
    message.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
}

/// Cuts a whole message off the front of what a stream brought.
pub fn framed(bytes: &mut Vec<u8>) -> Option<String> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
    let length = field(&text, "Content-Length").parse().unwrap_or(0);
    if bytes.len() < head + length {
        return None;
    }
    let message = bytes.drain(..head + length).collect::<Vec<u8>>();
    Some(String::from_utf8_lossy(&message).into_owned())
}

impl Place {
    fn uri(&self, user: &str, at: SocketAddr) -> String {
        let suffix = if self.transport == "UDP" { "" } else { ";transport=tls" };
        format!("sip:{user}@{at}{suffix}")
    }

    /// The first message of a call to `number`.
    pub fn invite(&self, number: &str, call: &str) -> String {
        let uri = format!("sip:{number}@{}", self.to);
        let body = format!(
            "v=0\r\no=caller 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio 40000 RTP/AVP 8 101\r\n\
             a=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n",
            ip = self.own.ip()
        );
        let mut text = self.head("INVITE", &uri, call, 1, &format!("<{uri}>"), "i");
        let _ = write!(
            text,
            "Contact: <{}>\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            self.uri("2125550100", self.own),
            body.len()
        );
        text
    }

    /// The ACK to a refusal of [`Self::invite`] (RFC 3261 §17.1.1.3).
    pub fn ack_refusal(&self, number: &str, call: &str, response: &str) -> String {
        let uri = format!("sip:{number}@{}", self.to);
        self.head("ACK", &uri, call, 1, field(response, "To"), "i") + "Content-Length: 0\r\n\r\n"
    }

    /// A request inside the call that `answer` began: the ACK to it (CSeq 1) or the BYE (CSeq 2).
    pub fn inside(&self, method: &str, cseq: u32, call: &str, answer: &str) -> String {
        let contact = field(answer, "Contact");
        let target = contact.split('<').nth(1).and_then(|it| it.split('>').next()).unwrap_or(contact);
        let mut text = self.head(method, target, call, cseq, field(answer, "To"), method);
        let routes: Vec<&str> = fields(answer, "Record-Route").flat_map(|it| it.split(", ")).collect();
        for route in routes.iter().rev() {
            let _ = write!(text, "Route: {route}\r\n");
        }
        text + "Content-Length: 0\r\n\r\n"
    }

    /// A REGISTER for an hour, with credentials if there are any.
    pub fn register(&self, user: &str, call: &str, cseq: u32, credentials: &str) -> String {
        let uri = format!("sip:{}", self.to);
        let of = format!("sip:{user}@{}", self.to);
        let transport = self.transport;
        format!(
            "REGISTER {uri} SIP/2.0\r\nVia: SIP/2.0/{transport} {own};branch=z9hG4bK{call}r{cseq};rport\r\nMax-Forwards: 70\r\n\
             From: <{of}>;tag={call}\r\nTo: <{of}>\r\nCall-ID: {call}\r\nCSeq: {cseq} REGISTER\r\n\
             Contact: <{}>\r\nExpires: 3600\r\n{credentials}Content-Length: 0\r\n\r\n",
            self.uri(user, self.own),
            own = self.own,
        )
    }

    fn head(&self, method: &str, uri: &str, call: &str, cseq: u32, to: &str, branch: &str) -> String {
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/{transport} {own};branch=z9hG4bK{call}{branch};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:2125550100@{own}>;tag={call}\r\nTo: {to}\r\nCall-ID: {call}\r\nCSeq: {cseq} {method}\r\n",
            transport = self.transport,
            own = self.own,
        )
    }
}

fn hash(text: &str) -> String {
    Md5::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The header line that answers the MD5 challenge of a 401 to REGISTER (RFC 7616).
pub fn credentials(user: &str, password: &str, uri: &str, challenged: &str) -> Option<String> {
    let part = |field: &str, name: &str| -> Option<String> {
        let parts = field.strip_prefix("Digest ")?.split(',');
        parts
            .filter_map(|part| part.trim().split_once('='))
            .find_map(|(key, value)| (key == name).then(|| value.trim_matches('"').to_owned()))
    };
    let field = fields(challenged, "WWW-Authenticate")
        .find(|field| part(field, "algorithm").is_none_or(|it| it.eq_ignore_ascii_case("MD5")))?;
    let (realm, nonce) = (part(field, "realm")?, part(field, "nonce")?);
    let opaque = part(field, "opaque").map(|it| format!(", opaque=\"{it}\"")).unwrap_or_default();
    let secret = hash(&format!("{user}:{realm}:{password}"));
    let request = hash(&format!("REGISTER:{uri}"));
    let response = hash(&format!("{secret}:{nonce}:00000001:0a4f113b:auth:{request}"));
    Some(format!(
        "Authorization: Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", \
         response=\"{response}\", algorithm=MD5, cnonce=\"0a4f113b\", qop=auth, nc=00000001{opaque}\r\n"
    ))
}
