//! Writing messages onto a buffer of the caller.

use super::{Message, Name, Via, reason_phrase, unfold};
use core::net::SocketAddr;

/// Why a message was not written. The buffer is then as long as it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteError {
    /// A line end or another control character in a place where it would begin a field of its own.
    ControlCharacter,
    /// A header name that is no token, or Content-Length, which is written with the end.
    HeaderName,
    /// A method, URI, status or reason phrase that does not fit its place.
    StartLine,
}

/// Begins a request.
#[derive(Debug)]
pub struct RequestWriter;

/// Begins a response.
#[derive(Debug)]
pub struct ResponseWriter;

/// A message being written. Errors are kept until [`Writer::body`] or [`Writer::end`], which every message needs.
#[derive(Debug)]
#[must_use = "a message is complete only after body() or end()"]
pub struct Writer<'v> {
    out: &'v mut Vec<u8>,
    start: usize,
    error: Option<WriteError>,
}

impl RequestWriter {
    /// Appends the request line `method uri SIP/2.0` to `out`.
    pub fn begin<'v>(out: &'v mut Vec<u8>, method: &[u8], uri: &[u8]) -> Writer<'v> {
        let start = out.len();
        let is_line = super::scan::is_token(method) && !uri.is_empty() && uri.iter().all(|&byte| byte > b' ');
        let mut writer = Writer { out, start, error: (!is_line).then_some(WriteError::StartLine) };
        writer.raw(&[method, b" ", uri, b" SIP/2.0\r\n"]);
        writer
    }
}

impl ResponseWriter {
    /// Appends the status line to `out`; without a `reason` the usual phrase for `status` (see [`reason_phrase`]).
    pub fn begin<'v>(out: &'v mut Vec<u8>, status: u16, reason: Option<&[u8]>) -> Writer<'v> {
        let start = out.len();
        let is_status = (100..700).contains(&status);
        let mut writer = Writer { out, start, error: (!is_status).then_some(WriteError::StartLine) };
        writer.raw(&[b"SIP/2.0 ", decimal(u32::from(status), &mut [0; 10]), b" "]);
        let reason = reason.unwrap_or_else(|| reason_phrase(status).as_bytes());
        if super::scan::next_control(reason, 0).is_some() {
            writer.fail(WriteError::ControlCharacter);
        }
        writer.text(reason);
        writer.raw(&[b"\r\n"]);
        writer
    }

    /// Begins the response to `request` with what RFC 3261 §8.2.6 takes over from it: every Via in order, From,
    /// To (with `to_tag` if it has none), Call-ID, CSeq, and in a 100 the Timestamp. If `source` is given, the first
    /// Via is marked with `received` and `rport` (RFC 3261 §18.2.1, RFC 3581 §4).
    pub fn answer<'v>(
        out: &'v mut Vec<u8>,
        request: &Message<'_>,
        status: u16,
        reason: Option<&[u8]>,
        to_tag: Option<&[u8]>,
        source: Option<SocketAddr>,
    ) -> Writer<'v> {
        let mut writer = Self::begin(out, status, reason);
        for (index, via) in request.headers(Name::Via).enumerate() {
            match source {
                Some(source) if index == 0 => writer.marked_via(via, source),
                _ => writer.header(Name::Via, via),
            }
        }
        writer.copy(request, Name::From);
        match (request.header(Name::To), to_tag) {
            (Some(to), Some(tag)) if request.to().is_none_or(|to| to.tag().is_none()) => {
                writer.header_parts("To", &[&unfold(to), b";tag=", tag]);
            }
            _ => writer.copy(request, Name::To),
        }
        writer.copy(request, Name::CallId);
        writer.copy(request, Name::CSeq);
        if status == 100 {
            writer.copy(request, Name::Timestamp);
        }
        writer
    }
}

impl Writer<'_> {
    /// Appends a field; folds in `value` are laid flat.
    pub fn header(&mut self, name: Name, value: &[u8]) {
        self.header_parts(name.as_str(), &[&unfold(value)]);
    }

    /// Appends a field with a name of any kind.
    pub fn header_named(&mut self, name: &str, value: &[u8]) {
        self.header_parts(name, &[&unfold(value)]);
    }

    /// Appends a field whose value is the concatenation of `parts`.
    pub fn header_parts(&mut self, name: &str, parts: &[&[u8]]) {
        if !super::scan::is_token(name.as_bytes()) || Name::parse(name.as_bytes()) == Name::ContentLength {
            self.fail(WriteError::HeaderName);
        }
        self.raw(&[name.as_bytes(), b": "]);
        for part in parts {
            self.text(part);
        }
        self.raw(&[b"\r\n"]);
    }

    /// Appends a field with a number as value.
    pub fn number(&mut self, name: Name, value: u32) {
        self.header_parts(name.as_str(), &[decimal(value, &mut [0; 10])]);
    }

    /// Appends every field of this name that `message` has, as it has them.
    pub fn copy(&mut self, message: &Message<'_>, name: Name) {
        for value in message.headers(name) {
            self.header(name, value);
        }
    }

    /// The first Via field of a request that came from `source`: its first element with `received` where the
    /// source differs from `sent-by` (RFC 3261 §18.2.1), and with both `received` and `rport` where `rport` was
    /// asked for (RFC 3581 §4). Other elements as they are.
    fn marked_via(&mut self, field: &[u8], source: SocketAddr) {
        let end = super::list::comma(field).unwrap_or(field.len());
        let (element, others) = field.split_at(end);
        let Some(via) = Via::parse(element) else { return self.header(Name::Via, field) };
        let params = via.params.bytes();
        let head = &element[..element.len() - params.len()];
        let asked = via.rport().is_some();
        let address = source.ip().to_canonical();
        self.raw(&[b"Via: "]);
        self.text(&unfold(super::trim(head)));
        for (name, value) in via.params.iter() {
            if name.eq_ignore_ascii_case(b"received") || (asked && name.eq_ignore_ascii_case(b"rport")) {
                continue;
            }
            self.raw(&[b";"]);
            self.text(&unfold(name));
            if let Some(value) = value {
                self.raw(&[b"="]);
                self.text(&unfold(value));
            }
        }
        if asked || via.host().address().map(|host| host.to_canonical()) != Some(address) {
            self.text(format!(";received={address}").as_bytes());
        }
        if asked {
            self.raw(&[b";rport=", decimal(u32::from(source.port()), &mut [0; 10])]);
        }
        self.text(&unfold(others));
        self.raw(&[b"\r\n"]);
    }

    /// Ends the message with a body; Content-Type and Content-Length are written here.
    pub fn body(mut self, content_type: &str, body: &[u8]) -> Result<(), WriteError> {
        self.header_parts("Content-Type", &[content_type.as_bytes()]);
        self.finish(body)
    }

    /// Ends the message without a body.
    pub fn end(self) -> Result<(), WriteError> {
        self.finish(b"")
    }

    fn finish(mut self, body: &[u8]) -> Result<(), WriteError> {
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
        self.raw(&[b"Content-Length: ", decimal(length, &mut [0; 10]), b"\r\n\r\n", body]);
        match self.error {
            None => Ok(()),
            Some(error) => {
                self.out.truncate(self.start);
                Err(error)
            }
        }
    }

    fn fail(&mut self, error: WriteError) {
        self.error.get_or_insert(error);
    }

    fn raw(&mut self, parts: &[&[u8]]) {
        for part in parts {
            self.out.extend_from_slice(part);
        }
    }

    /// Appends what must stay on its line. A control character is let through only behind a backslash (a quoted-pair).
    fn text(&mut self, bytes: &[u8]) {
        let mut from = 0;
        while let Some(at) = super::scan::next_control(bytes, from) {
            let escaped = at > 0 && bytes[at - 1] == b'\\' && !matches!(bytes[at], b'\r' | b'\n');
            if !escaped {
                self.fail(WriteError::ControlCharacter);
                return;
            }
            from = at + 1;
        }
        self.out.extend_from_slice(bytes);
    }
}

/// The decimal digits of `value`, at the end of `buffer`.
pub(crate) fn decimal(mut value: u32, buffer: &mut [u8; 10]) -> &[u8] {
    let mut start = buffer.len();
    loop {
        start -= 1;
        buffer[start] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            return &buffer[start..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> &'static [u8] {
        b"INVITE sip:b@h SIP/2.0\r\nv: SIP/2.0/UDP 10.0.0.1:5070 ;\r\n rport;branch=z9hG4bKa;received=1.1.1.1, SIP/2.0/TCP h2\r\n\
          Via: SIP/2.0/TCP h3\r\nf: <sip:a@h>;tag=1\r\nt: <sip:b@h>\r\ni: c\r\nTimestamp: 5\r\nCSeq: 1\r\n INVITE\r\nl: 0\r\n\r\n"
    }

    #[test]
    fn an_answer_takes_over_what_the_rfc_names() {
        let request = Message::parse(request()).unwrap();
        let mut out = b"before".to_vec();
        let source = "[::ffff:192.0.2.9]:6000".parse().unwrap();
        let mut writer = ResponseWriter::answer(&mut out, &request, 100, None, Some(b"t"), Some(source));
        writer.header_named("X-Note", b"fold\r\n ed");
        writer.end().unwrap();
        assert_eq!(
            core::str::from_utf8(&out).unwrap(),
            "beforeSIP/2.0 100 Trying\r\n\
             Via: SIP/2.0/UDP 10.0.0.1:5070;branch=z9hG4bKa;received=192.0.2.9;rport=6000, SIP/2.0/TCP h2\r\n\
             Via: SIP/2.0/TCP h3\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>;tag=t\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\
             Timestamp: 5\r\nX-Note: fold ed\r\nContent-Length: 0\r\n\r\n"
        );
    }

    #[test]
    fn received_stands_only_where_it_says_something() {
        let text = b"BYE sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP [2001:db8::1];branch=z\r\n\r\n";
        let request = Message::parse(text).unwrap();
        for (source, expected) in
            [("[2001:db8::1]:9", "branch=z\r\n"), ("[2001:db8::2]:9", "branch=z;received=2001:db8::2\r\n")]
        {
            let mut out = Vec::new();
            ResponseWriter::answer(&mut out, &request, 200, None, None, Some(source.parse().unwrap()))
                .end()
                .unwrap();
            let text = String::from_utf8(out).unwrap();
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn nothing_can_begin_a_line_of_its_own() {
        let writes: [&dyn Fn(&mut Writer<'_>); 7] = [
            &|w| w.header(Name::Subject, b"a\rb"),
            &|w| w.header(Name::Subject, b"a\0b"),
            &|w| w.header_parts("Subject", &[b"a\r\nEvil: 1"]),
            &|w| w.header_parts("Subject", &[b"a\nEvil: 1"]),
            &|w| w.header_named("Evil:\r\nX", b"1"),
            &|w| w.header_named("", b"1"),
            &|w| w.header_named("L", b"1"),
        ];
        for write in writes {
            let mut out = b"kept".to_vec();
            let mut writer = RequestWriter::begin(&mut out, b"OPTIONS", b"sip:h");
            write(&mut writer);
            assert!(writer.body("a/b", b"body").is_err());
            assert_eq!(out, b"kept");
        }
        for (method, uri) in
            [("OPT IONS", "sip:h"), ("OPTIONS", "sip:h SIP/2.0\r\nEvil: 1"), ("", "sip:h"), ("A", "")]
        {
            let mut out = Vec::new();
            let written = RequestWriter::begin(&mut out, method.as_bytes(), uri.as_bytes()).end();
            assert_eq!((written, out.len()), (Err(WriteError::StartLine), 0));
        }
        for (status, reason) in [(99, "x"), (700, "x"), (200, "OK\r\nEvil: 1")] {
            let mut out = Vec::new();
            assert!(ResponseWriter::begin(&mut out, status, Some(reason.as_bytes())).end().is_err());
            assert!(out.is_empty());
        }
        let mut out = Vec::new();
        let mut writer = RequestWriter::begin(&mut out, b"OPTIONS", b"sip:h");
        writer.header(Name::Subject, b"fold\r\n Evil: 1");
        writer.header(Name::To, b"\"\\\x07\" <sip:h>");
        assert!(writer.body("a/b\r\nEvil: 1", b"").is_err());
    }
}
