//! One media stream of a description.

use super::session::{Connection, ParseError};
use super::{Codec, Codecs, attribute, lines, number, words};
use core::net::{IpAddr, SocketAddr};

/// Who sends, as the one who wrote the description sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Both; the default (RFC 3264 §5.1).
    #[default]
    SendRecv,
    /// Only the writer sends.
    SendOnly,
    /// Only the writer receives.
    RecvOnly,
    /// Neither.
    Inactive,
}

impl Direction {
    /// The attribute's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    /// The same as the other side sees it, which is the most an answer may say (RFC 3264 §6.1).
    pub const fn reversed(self) -> Self {
        match self {
            Self::SendOnly => Self::RecvOnly,
            Self::RecvOnly => Self::SendOnly,
            both => both,
        }
    }

    /// Whether the writer sends.
    pub const fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether the writer receives.
    pub const fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// Both conditions at once: sends only if both say so, receives only if both say so.
    pub const fn and(self, other: Self) -> Self {
        match (self.sends() && other.sends(), self.receives() && other.receives()) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }
}

/// The direction that an attribute's text says, if it is one.
pub(super) fn direction_of(value: &[u8]) -> Option<Direction> {
    [Direction::SendRecv, Direction::SendOnly, Direction::RecvOnly, Direction::Inactive]
        .into_iter()
        .find(|direction| value == direction.as_str().as_bytes())
}

/// An `m=` line and what belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Media<'a> {
    /// `audio`, `video`, `image`, ...
    pub kind: &'a [u8],
    /// The port, 0 for a stream that is rejected or gone.
    pub port: u16,
    /// `RTP/AVP`, `RTP/SAVP`, `udptl`, ...
    pub protocol: &'a [u8],
    /// The formats as written: for RTP, payload types.
    pub formats: &'a [u8],
    /// The connection that holds for it: its own, or the session's.
    pub connection: Option<Connection<'a>>,
    /// The direction that holds for it: its own, the session's, or the default. A stream to the unspecified address, which
    /// RFC 2543 held a call by, is taken as written by someone who does not receive, unless ICE finds the address.
    pub direction: Direction,
    /// `a=rtcp`: port, and address if it has one (RFC 3605).
    pub rtcp: Option<(u16, Option<IpAddr>)>,
    /// `a=rtcp-mux` (RFC 5761).
    pub rtcp_mux: bool,
    /// Whether it says credentials of ICE (RFC 8839): its address is then not all there is.
    pub ice: bool,
    /// `a=ptime` in milliseconds.
    pub ptime: Option<u16>,
    /// Its lines, the `m=` line first.
    pub(super) section: &'a [u8],
}

impl<'a> Media<'a> {
    pub(super) fn parse(
        section: &'a [u8],
        connection: Option<Connection<'a>>,
        direction: Option<Direction>,
        ice: bool,
    ) -> Result<Self, ParseError> {
        let mut lines = lines(section);
        let (_, value) = lines.next().ok_or(ParseError::Media)?;
        let (kind, port, protocol, formats) = media_line(value).ok_or(ParseError::Media)?;
        let mut media = Media {
            kind,
            port,
            protocol,
            formats,
            connection,
            direction: direction.unwrap_or_default(),
            rtcp: None,
            rtcp_mux: false,
            ice,
            ptime: None,
            section,
        };
        for (kind, value) in lines {
            match kind {
                b'c' => media.connection = Some(Connection::parse(value).ok_or(ParseError::Connection)?),
                b'a' => media.attribute(value),
                _ => {}
            }
        }
        if !media.ice && media.connection.is_some_and(|connection| connection.is_unspecified()) {
            media.direction = media.direction.and(Direction::SendOnly);
        }
        Ok(media)
    }

    fn attribute(&mut self, value: &'a [u8]) {
        match attribute(value) {
            (b"ptime", Some(value)) => {
                let whole = value.split(|&byte| byte == b'.').next().unwrap_or_default();
                self.ptime = number(whole, 1000).map(|ptime| ptime as u16);
            }
            (b"rtcp-mux", _) => self.rtcp_mux = true,
            (b"ice-ufrag", Some(_)) => self.ice = true,
            (b"rtcp", Some(value)) => {
                let mut words = words(value);
                let port = words.next().and_then(|digits| number(digits, 65_535));
                let address = words
                    .nth(2)
                    .and_then(|text| core::str::from_utf8(text).ok())
                    .and_then(|text| text.parse().ok());
                self.rtcp = port.map(|port| (port as u16, address));
            }
            _ => self.direction = direction_of(value).unwrap_or(self.direction),
        }
    }

    /// Whether it is audio.
    pub fn is_audio(&self) -> bool {
        self.kind.eq_ignore_ascii_case(b"audio")
    }

    /// Whether it goes over RTP of any profile.
    pub fn is_rtp(&self) -> bool {
        self.protocol.len() > 4 && {
            let upper = self.protocol.to_ascii_uppercase();
            upper.starts_with(b"RTP/") || memchr::memmem::find(&upper, b"/RTP/").is_some()
        }
    }

    /// Where to send RTP; `None` if the stream is rejected or the connection is a host name.
    pub fn rtp_address(&self) -> Option<SocketAddr> {
        let address = self.connection?.address?;
        (self.port != 0).then(|| SocketAddr::new(address, self.port))
    }

    /// Where to send RTCP: where `a=rtcp` says (RFC 3605), to the RTP port if multiplexed, else to the port above it.
    pub fn rtcp_address(&self) -> Option<SocketAddr> {
        let rtp = self.rtp_address()?;
        match self.rtcp {
            Some((port, address)) => Some(SocketAddr::new(address.unwrap_or_else(|| rtp.ip()), port)),
            None if self.rtcp_mux => Some(rtp),
            None => Some(SocketAddr::new(rtp.ip(), rtp.port().checked_add(1)?)),
        }
    }

    /// Its codecs in the order of preference.
    pub fn codecs(&self) -> Codecs<'a> {
        Codecs::new(self.formats, self.section)
    }

    /// The codec of this name (case aside) and clock rate.
    pub fn codec(&self, name: &str, clock: u32) -> Option<Codec<'a>> {
        self.codecs().find(|codec| codec.is(name) && codec.clock == clock)
    }

    /// The payload type of telephone events for this clock rate (RFC 4733).
    pub fn telephone_event(&self, clock: u32) -> Option<u8> {
        self.codec("telephone-event", clock).map(|codec| codec.payload)
    }
}

/// Kind, port, protocol and formats of `kind port[/count] protocol formats`.
#[allow(clippy::type_complexity)]
fn media_line(value: &[u8]) -> Option<(&[u8], u16, &[u8], &[u8])> {
    let (kind, rest) = word(value)?;
    let (port, rest) = word(rest)?;
    let (protocol, formats) = word(rest)?;
    let port = port.split(|&byte| byte == b'/').next()?;
    let port = number(port, 65_535)? as u16;
    let formats = formats.trim_ascii();
    (!formats.is_empty()).then_some((kind, port, protocol, formats))
}

/// The first word and what follows it.
fn word(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let value = value.trim_ascii_start();
    let end = value.iter().position(u8::is_ascii_whitespace).unwrap_or(value.len());
    (end > 0).then(|| value.split_at(end))
}

#[cfg(test)]
mod tests {
    use super::super::Session;
    use super::*;

    #[test]
    fn directions_combine() {
        assert_eq!(Direction::SendOnly.reversed(), Direction::RecvOnly);
        assert_eq!(Direction::SendRecv.and(Direction::RecvOnly), Direction::RecvOnly);
        assert_eq!(Direction::SendOnly.and(Direction::RecvOnly), Direction::Inactive);
        assert_eq!(Direction::Inactive.reversed(), Direction::Inactive);
    }

    #[test]
    fn both_kinds_of_hold_are_seen() {
        let old = Session::parse(b"v=0\nc=IN IP4 0.0.0.0\nm=audio 4000 RTP/AVP 0\n").unwrap();
        assert_eq!(old.media[0].direction, Direction::SendOnly);
        let new = Session::parse(b"v=0\nc=IN IP4 1.1.1.1\na=inactive\nm=audio 4000 RTP/AVP 0\na=sendonly\n")
            .unwrap();
        assert_eq!(new.media[0].direction, Direction::SendOnly);
    }

    #[test]
    fn rtcp_goes_where_it_should() {
        let address = |attributes: &str| {
            let text = format!("v=0\nc=IN IP4 1.1.1.1\nm=audio 4000 RTP/SAVP 0\n{attributes}");
            let session = Session::parse(text.as_bytes()).unwrap();
            assert!(session.media[0].is_rtp());
            session.media[0].rtcp_address().unwrap().to_string()
        };
        assert_eq!(address(""), "1.1.1.1:4001");
        assert_eq!(address("a=rtcp-mux"), "1.1.1.1:4000");
        assert_eq!(address("a=rtcp:5"), "1.1.1.1:5");
        assert_eq!(address("a=rtcp:5 IN IP4 2.2.2.2"), "2.2.2.2:5");
    }
}
