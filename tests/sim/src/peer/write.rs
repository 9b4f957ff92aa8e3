//! How a scripted peer writes messages.

use super::call::Call;
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

fn finish(mut head: String, body: &str) -> Vec<u8> {
    // Writing to a String does not fail.
    if !body.is_empty() {
        let _ = write!(head, "Content-Type: application/sdp\r\n");
    }
    let _ = write!(head, "Content-Length: {}\r\n\r\n{body}", body.len());
    head.into_bytes()
}

impl Peer {
    pub(super) fn contact(&self, way: Way) -> String {
        let transport = if way.is_udp() { "" } else { ";transport=tcp" };
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
        let transport = if call.way.is_udp() { "UDP" } else { "TCP" };
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
        if method == "REFER" {
            let _ = write!(head, "Contact: {}\r\nRefer-To: {}\r\n", self.contact(call.way), call.refer_to);
        }
        call.write_extras(&mut head, method);
        finish(head, body)
    }

    /// A response to `request`; `tag` is put into To if it has none.
    pub(super) fn write_response(
        &self,
        way: Way,
        request: &Text,
        status: u16,
        tag: &str,
        body: &str,
    ) -> Vec<u8> {
        self.write_response_with(way, request, status, tag, "", body)
    }

    /// The same with further header lines.
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
        finish(head, body)
    }

    /// The session of a call: this peer's media address.
    pub(super) fn write_sdp(&self, port: u16, version: u32) -> String {
        let ip = self.address.ip();
        let family = if ip.is_ipv6() { "IP6" } else { "IP4" };
        format!(
            "v=0\r\no=peer 7 {version} IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
             a=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\na=sendrecv\r\n"
        )
    }
}
