//! How a scripted peer writes messages.

use super::call::{Call, Shape, State};
use super::transport::Way;
use super::{Peer, Text};
use std::fmt::Write;

/// The reason phrase of a status.
const fn reason(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        183 => "Session Progress",
        200 => "OK",
        404 => "Not Found",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        486 => "Busy Here",
        487 => "Request Terminated",
        491 => "Request Pending",
        500 => "Server Internal Error",
        503 => "Service Unavailable",
        603 => "Decline",
        _ => "Whatever",
    }
}

/// What the bodies of a method are.
pub(super) fn content_type(method: &str) -> &'static str {
    match method {
        "INFO" => "application/dtmf-relay",
        "MESSAGE" => "text/plain",
        "NOTIFY" => "message/sipfrag;version=2.0",
        _ => "application/sdp",
    }
}

fn finish(mut head: String, method: &str, body: &str) -> Vec<u8> {
    // Writing to a String does not fail.
    if !body.is_empty() {
        let _ = write!(head, "Content-Type: {}\r\n", content_type(method));
    }
    let _ = write!(head, "Content-Length: {}\r\n\r\n{body}", body.len());
    head.into_bytes()
}

impl Peer {
    /// What Via says of a way.
    pub(super) const fn transport(&self, way: Way) -> &'static str {
        match (way.is_udp(), self.web, self.tls) {
            (true, ..) => "UDP",
            (false, false, false) => "TCP",
            (false, true, false) => "WS",
            (false, false, true) => "TLS",
            (false, true, true) => "WSS",
        }
    }

    pub(super) fn contact(&self, way: Way) -> String {
        let transport = match self.transport(way) {
            "UDP" => String::new(),
            other => format!(";transport={}", other.to_ascii_lowercase()),
        };
        format!("<sip:{}{transport}>", self.address)
    }

    /// A request of `call`; `uri` is where it asks to go.
    pub(super) fn write_request(
        &self,
        call: &Call,
        method: &str,
        uri: &str,
        cseq: u32,
        branch: &str,
        body: &str,
    ) -> Vec<u8> {
        let transport = self.transport(call.way);
        let mut head = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/{transport} {};branch={branch};rport\r\nMax-Forwards: 70\r\n\
             From: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {cseq} {method}\r\nUser-Agent: Scripted\r\n",
            self.address, call.local, call.remote, call.id
        );
        if matches!(method, "INVITE" | "UPDATE") {
            let _ = write!(head, "Contact: {}\r\n", self.contact(call.way));
        }
        if method == "INVITE" {
            let _ = write!(head, "Allow: {}\r\n", call.skills().allow());
        }
        if method == "INVITE" && !call.join.is_empty() && call.remote_tag.is_none() {
            let _ = write!(head, "Require: join\r\nJoin: {}\r\n", call.join);
        }
        if method == "REFER" {
            let _ = write!(head, "Contact: {}\r\nRefer-To: {}\r\n", self.contact(call.way), call.refer_to);
        }
        if method == "NOTIFY" {
            let _ = write!(head, "Contact: {}\r\n{}", self.contact(call.way), call.telling);
        }
        if matches!(method, "INVITE" | "ACK") {
            head.push_str(&call.credentials);
        }
        if method == "INVITE" && call.state == State::Inviting {
            head.push_str(&call.fields);
        }
        call.write_extras(&mut head, method);
        finish(head, method, body)
    }

    /// A response to `request`, with further header lines; `tag` is put into To if it has none.
    pub(super) fn write_response_with(
        &self,
        way: Way,
        request: &Text,
        status: u16,
        tag: &str,
        lines: &str,
        body: &str,
    ) -> Vec<u8> {
        let mut head = format!("SIP/2.0 {status} {}\r\n", reason(status));
        for via in request.all("Via") {
            let _ = write!(head, "Via: {via}\r\n");
        }
        let to = request.field("To");
        let to = match request.tag("To") {
            None if status > 100 => format!("{to};tag={tag}"),
            _ => to.to_owned(),
        };
        let _ = write!(
            head,
            "From: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {}\r\n",
            request.field("From"),
            request.field("Call-ID"),
            request.field("CSeq")
        );
        head.push_str(lines);
        if request.method() == "INVITE" && (101..300).contains(&status) {
            let _ = write!(head, "Contact: {}\r\n", self.contact(way));
        }
        if status == 503 {
            head.push_str("Retry-After: 1\r\n");
        }
        finish(head, "", body)
    }

    /// The session that a call offers: this peer's media address.
    pub(super) fn write_sdp(&self, id: &str, port: u16, version: u32) -> String {
        let shape = self.calls.get(id).map(|call| call.shape).unwrap_or_default();
        self.write_session(port, version, shape.direction, shape.formats)
    }

    /// The session of a call in answer to the message that offered one; an offer if that did not (RFC 3264 §6).
    pub(super) fn write_answer(&self, id: &str, port: u16, version: u32, offer: &[u8]) -> String {
        let offer = Text::read(offer).ok().filter(|offer| !offer.body.is_empty());
        let Some(offer) = offer else { return self.write_sdp(id, port, version) };
        let own = Shape::default().formats;
        let formats: Vec<u8> = offer.formats().filter(|format| own.contains(format)).collect();
        let direction = match offer.direction() {
            "sendonly" => "recvonly",
            "recvonly" => "sendonly",
            other => other,
        };
        self.write_session(port, version, direction, &formats)
    }

    fn write_session(&self, port: u16, version: u32, direction: &str, formats: &[u8]) -> String {
        let ip = self.address.ip();
        let family = if ip.is_ipv6() { "IP6" } else { "IP4" };
        let list: Vec<String> = formats.iter().map(u8::to_string).collect();
        let mut sdp = format!(
            "v=0\r\no=peer 7 {version} IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP {}\r\n",
            list.join(" ")
        );
        for format in formats {
            let name = match format {
                0 => "PCMU",
                8 => "PCMA",
                _ => "telephone-event",
            };
            // Writing to a String does not fail.
            let _ = write!(sdp, "a=rtpmap:{format} {name}/8000\r\n");
        }
        let _ = write!(sdp, "a=ptime:20\r\na={direction}\r\n");
        sdp
    }
}
