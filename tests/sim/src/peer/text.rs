//! SIP as a scripted peer reads it: lines of text. Shares no code with the `sip` crate, on purpose.

use std::net::SocketAddr;

/// A message taken apart into lines.
#[derive(Clone, Debug)]
pub struct Text {
    /// Request line or status line.
    pub start: String,
    /// Header names (long form, as the peer knows them) and values in order.
    pub headers: Vec<(String, String)>,
    /// What follows the empty line.
    pub body: String,
}

impl Text {
    /// Takes a message apart; says what a strict reader dislikes.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned())?;
        let (head, body) = text.split_once("\r\n\r\n").ok_or("no empty line after the headers")?;
        let mut lines = head.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let mut headers = Vec::new();
        for line in lines {
            if line.starts_with([' ', '\t']) || line.contains(['\r', '\n']) {
                return Err(format!("folded or broken header line {line:?}"));
            }
            let (name, value) = line.split_once(':').ok_or_else(|| format!("no colon in {line:?}"))?;
            headers.push((long(name.trim()), value.trim().to_owned()));
        }
        Ok(Self { start, headers, body: body.to_owned() })
    }

    /// The status of a response.
    pub fn status(&self) -> Option<u16> {
        self.start.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
    }

    /// The method of a request.
    pub fn method(&self) -> &str {
        self.start.split(' ').next().unwrap_or_default()
    }

    /// The request URI.
    pub fn uri(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    /// The first value of a header.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|header| header.0.eq_ignore_ascii_case(name)).map(|header| header.1.as_str())
    }

    /// All values of a header.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |header| header.0.eq_ignore_ascii_case(name)).map(|h| h.1.as_str())
    }

    /// The first value of a header, empty if there is none.
    pub fn field(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// The branch of the top Via.
    pub fn branch(&self) -> &str {
        parameter(self.field("Via"), "branch").unwrap_or_default()
    }

    /// The number and the method in CSeq.
    pub fn cseq(&self) -> (u32, &str) {
        let mut parts = self.field("CSeq").split_ascii_whitespace();
        (parts.next().and_then(|n| n.parse().ok()).unwrap_or(0), parts.next().unwrap_or_default())
    }

    /// A tag of From or To.
    pub fn tag(&self, name: &str) -> Option<&str> {
        parameter(self.field(name), "tag")
    }

    /// The formats of the body's audio.
    pub fn formats(&self) -> impl Iterator<Item = u8> {
        let line = self.body.lines().find(|line| line.starts_with("m=audio ")).unwrap_or_default();
        line.split_ascii_whitespace().skip(3).filter_map(|format| format.parse().ok())
    }

    /// Which way the body's audio goes, as its writer sees it.
    pub fn direction(&self) -> &str {
        let named = |line: &&str| matches!(*line, "a=sendrecv" | "a=sendonly" | "a=recvonly" | "a=inactive");
        self.body.lines().find(named).map_or("sendrecv", |line| &line[2..])
    }

    /// Where the audio of the body goes: connection address and audio port.
    pub fn media(&self) -> Option<SocketAddr> {
        let line = |kind: &str| self.body.lines().find(|line| line.starts_with(kind));
        let host = line("c=")?.split(' ').next_back()?.trim();
        let port = line("m=audio ")?.split(' ').nth(1)?;
        Some(SocketAddr::new(host.parse().ok()?, port.parse().ok()?))
    }
}

fn long(name: &str) -> String {
    match name.to_ascii_lowercase().as_str() {
        "v" => "Via",
        "f" => "From",
        "t" => "To",
        "i" => "Call-ID",
        "m" => "Contact",
        "c" => "Content-Type",
        "l" => "Content-Length",
        "k" => "Supported",
        _ => name,
    }
    .to_owned()
}

/// A header parameter (after the closing bracket, if there is one).
pub(super) fn parameter<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    let tail = value.rsplit_once('>').map_or(value, |(_, tail)| tail);
    tail.split(';').skip(1).map(str::trim).find_map(|part| {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        key.trim().eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

/// The URI in a name-addr or addr-spec.
pub(super) fn uri_of(value: &str) -> &str {
    match value.split_once('<') {
        Some((_, rest)) => rest.split('>').next().unwrap_or_default(),
        None => value.split(';').next().unwrap_or_default().trim(),
    }
}

/// The user part of a URI.
pub(super) fn user_of(uri: &str) -> &str {
    let rest = uri.split_once(':').map_or("", |(_, rest)| rest);
    rest.split_once('@').map_or("", |(user, _)| user.split(';').next().unwrap_or_default())
}

/// Where a URI points (an IP address, the port given or 5060) and whether over a connection.
pub(super) fn place_of(uri: &str) -> Option<(SocketAddr, bool)> {
    let rest = uri.strip_prefix("sip:")?;
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let (host, parameters) = host.split_once(';').unwrap_or((host, ""));
    let over = |p: &str| p.to_ascii_lowercase().strip_prefix("transport=").map(str::to_owned);
    let tcp = parameters
        .split(';')
        .filter_map(over)
        .any(|transport| matches!(transport.as_str(), "tcp" | "ws" | "tls" | "wss"));
    let address = host.parse().or_else(|_| format!("{host}:5060").parse()).ok()?;
    Some((address, tcp))
}

/// Cuts whole messages off the front of what a stream brought.
pub(super) fn frame(buffer: &mut Vec<u8>) -> Option<Result<Vec<u8>, String>> {
    while buffer.starts_with(b"\r\n") {
        buffer.drain(..2);
    }
    let end = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:").or_else(|| line.strip_prefix("l:")))
        .map(|value| value.trim().parse::<usize>());
    let Some(Ok(length)) = length else {
        buffer.clear();
        return Some(Err("a message on a stream without a valid Content-Length".to_owned()));
    };
    (buffer.len() >= end + length).then(|| Ok(buffer.drain(..end + length).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_needs() {
        let bytes = b"INVITE sip:12@10.0.0.1:5070;transport=tcp SIP/2.0\r\nv: SIP/2.0/UDP 10.0.0.2;branch=z9hG4bKa;rport\r\n\
            From: \"A\" <sip:a;b=c@x>;tag=1\r\nTo: <sip:b@y>\r\nCSeq: 7 INVITE\r\n\r\nc=IN IP4 1.2.3.4\r\nm=audio 8 RTP/AVP 0\r\n";
        let text = Text::read(bytes).unwrap();
        assert_eq!((text.method(), user_of(text.uri()), text.branch()), ("INVITE", "12", "z9hG4bKa"));
        assert_eq!(place_of(text.uri()), Some(("10.0.0.1:5070".parse().unwrap(), true)));
        assert_eq!((text.tag("From"), text.tag("To"), text.cseq()), (Some("1"), None, (7, "INVITE")));
        assert_eq!(uri_of(text.field("From")), "sip:a;b=c@x");
        assert_eq!(text.media(), Some("1.2.3.4:8".parse().unwrap()));
        assert!(Text::read(b"INVITE x SIP/2.0\r\nTo: a\r\n b\r\n\r\n").is_err());
    }

    #[test]
    fn frames_a_stream() {
        let mut buffer = b"\r\nA b SIP/2.0\r\nContent-Length: 2\r\n\r\nhiB".to_vec();
        assert_eq!(frame(&mut buffer).unwrap().unwrap().len(), 36);
        assert_eq!(buffer, b"B");
        assert!(frame(&mut buffer).is_none());
        let mut without = b"A b SIP/2.0\r\nX: y\r\n\r\n".to_vec();
        assert!(frame(&mut without).unwrap().is_err());
    }
}
