//! Reading a description.

use super::media::direction_of;
use super::{Direction, LINES_MAX, MEDIA_MAX, Media, SDP_MAX, lines, words};
use core::net::IpAddr;

/// Why a body is not taken as a description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// Longer than [`SDP_MAX`].
    TooLarge,
    /// Does not begin with `v=0`.
    NotSdp,
    /// A `c=` line that cannot be read.
    Connection,
    /// An `m=` line that cannot be read.
    Media,
    /// More lines than [`LINES_MAX`].
    TooManyLines,
    /// More streams than [`MEDIA_MAX`].
    TooManyMedia,
    /// A control character where only text may stand.
    ControlCharacter,
}

/// A `c=` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection<'a> {
    /// The address; `None` for a host name.
    pub address: Option<IpAddr>,
    /// The address or name as written, without time to live.
    pub text: &'a [u8],
}

/// An `o=` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    /// Username, often `-`.
    pub username: &'a [u8],
    /// Session identifier, digits.
    pub session: &'a [u8],
    /// Version of the description, digits.
    pub version: &'a [u8],
    /// The address or name of the originator.
    pub address: &'a [u8],
}

/// A description as read; borrows the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session<'a> {
    /// `o=`, if it could be read.
    pub origin: Option<Origin<'a>>,
    /// `s=`, if there is one.
    pub name: Option<&'a [u8]>,
    /// The session's `c=`.
    pub connection: Option<Connection<'a>>,
    /// The session's direction attribute.
    pub direction: Option<Direction>,
    /// The streams, in order; at most [`MEDIA_MAX`].
    pub media: Vec<Media<'a>>,
    /// The lines before the first `m=`.
    pub(super) head: &'a [u8],
}

impl<'a> Session<'a> {
    /// Reads a description.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        if bytes.len() > SDP_MAX {
            return Err(ParseError::TooLarge);
        }
        if bytes.iter().any(|&byte| byte == 0 || (byte < b' ' && !matches!(byte, b'\r' | b'\n' | b'\t'))) {
            return Err(ParseError::ControlCharacter);
        }
        if memchr::memchr_iter(b'\n', bytes).count() > LINES_MAX {
            return Err(ParseError::TooManyLines);
        }
        if lines(bytes).next().is_none_or(|(kind, value)| (kind, value) != (b'v', b"0")) {
            return Err(ParseError::NotSdp);
        }
        let mut sections = sections(bytes);
        let head = sections.next().unwrap_or_default();
        let mut ice = false;
        let mut session =
            Self { origin: None, name: None, connection: None, direction: None, media: Vec::new(), head };
        for (kind, value) in lines(head) {
            match kind {
                b'o' => session.origin = Origin::parse(value),
                b's' => session.name = Some(value),
                b'c' => session.connection = Some(Connection::parse(value).ok_or(ParseError::Connection)?),
                b'a' => {
                    ice |= value.starts_with(b"ice-ufrag:");
                    session.direction = direction_of(value).or(session.direction);
                }
                _ => {}
            }
        }
        for section in sections {
            if session.media.len() == MEDIA_MAX {
                return Err(ParseError::TooManyMedia);
            }
            let media = Media::parse(section, session.connection, session.direction, ice)?;
            session.media.push(media);
        }
        Ok(session)
    }

    /// The first audio stream that is not rejected (port 0), and its index among the streams.
    pub fn audio(&self) -> Option<(usize, &Media<'a>)> {
        self.media.iter().enumerate().find(|(_, media)| media.is_audio() && media.port != 0)
    }
}

impl<'a> Connection<'a> {
    /// `IN IP4 address[/ttl]` or `IN IP6 address`.
    pub(super) fn parse(value: &'a [u8]) -> Option<Self> {
        let mut words = words(value);
        let (network, family, text) = (words.next()?, words.next()?, words.next()?);
        if !network.eq_ignore_ascii_case(b"IN") {
            return None;
        }
        let text = text.split(|&byte| byte == b'/').next().filter(|text| !text.is_empty())?;
        let address: Option<IpAddr> = core::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
        let fits = match address {
            Some(address) if family.eq_ignore_ascii_case(b"IP4") => address.is_ipv4(),
            Some(address) if family.eq_ignore_ascii_case(b"IP6") => address.is_ipv6(),
            Some(_) => false,
            None => memchr::memchr(b':', text).is_none(),
        };
        fits.then_some(Self { address, text })
    }

    /// Whether it is the unspecified address, by which RFC 2543 held a call (RFC 3264 §8.4).
    pub fn is_unspecified(&self) -> bool {
        self.address.is_some_and(|address| address.is_unspecified())
    }
}

impl<'a> Origin<'a> {
    fn parse(value: &'a [u8]) -> Option<Self> {
        let mut words = words(value);
        let (username, session, version) = (words.next()?, words.next()?, words.next()?);
        let (_network, _family) = (words.next()?, words.next()?);
        Some(Self { username, session, version, address: words.next()? })
    }
}

/// The part before the first `m=` line, then one part for each `m=` line, which it begins with.
fn sections(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(bytes);
    core::iter::from_fn(move || {
        let bytes = rest?;
        let mut from = 0;
        while let Some(end) = memchr::memchr(b'\n', &bytes[from..]) {
            from += end + 1;
            if bytes[from..].starts_with(b"m=") {
                rest = Some(&bytes[from..]);
                return Some(&bytes[..from]);
            }
        }
        rest = None;
        Some(bytes)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::SocketAddr;

    #[test]
    fn a_plain_offer() {
        let session = Session::parse(
            b"v=0\r\no=alice 1 2 IN IP4 h.example\r\ns=call\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\na=sendonly\r\n\
              m=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:30\r\n\
              m=video 5000/2 RTP/AVP 31\r\nc=IN IP6 2001:db8::1\r\na=recvonly\r\na=rtcp:6001 IN IP6 2001:db8::2\r\n\
              m=image 0 udptl t38\r\n",
        )
        .unwrap();
        let origin = session.origin.unwrap();
        assert_eq!(
            (origin.username, origin.version, origin.address),
            (&b"alice"[..], &b"2"[..], &b"h.example"[..])
        );
        assert_eq!(session.media.len(), 3);
        let (index, audio) = session.audio().unwrap();
        assert_eq!((index, audio.port, audio.ptime), (0, 4000, Some(30)));
        assert_eq!(audio.direction, Direction::SendOnly);
        assert_eq!(audio.rtp_address(), Some("192.0.2.1:4000".parse::<SocketAddr>().unwrap()));
        assert_eq!(audio.rtcp_address(), Some("192.0.2.1:4001".parse::<SocketAddr>().unwrap()));
        let video = &session.media[1];
        assert_eq!(video.direction, Direction::RecvOnly);
        assert_eq!(video.rtp_address(), Some("[2001:db8::1]:5000".parse::<SocketAddr>().unwrap()));
        assert_eq!(video.rtcp_address(), Some("[2001:db8::2]:6001".parse::<SocketAddr>().unwrap()));
        let fax = &session.media[2];
        assert!(!fax.is_audio() && !fax.is_rtp());
        assert_eq!((fax.port, fax.protocol, fax.rtp_address()), (0, &b"udptl"[..], None));
    }

    #[test]
    fn much_is_borne_with() {
        let session =
            Session::parse(b"\nv=0 \nm=audio  9  RTP/AVP\t0 \nc=IN IP4 224.2.1.1/127\nnonsense\n\na=x")
                .unwrap();
        assert_eq!((session.origin, session.name, session.media.len()), (None, None, 1));
        assert_eq!(session.media[0].connection.unwrap().text, b"224.2.1.1");
        let named = Session::parse(b"v=0\nc=IN IP4 host.example.com\nm=audio 9 RTP/AVP 0").unwrap();
        assert_eq!(named.media[0].connection.unwrap().address, None);
        assert_eq!(named.media[0].rtp_address(), None);
        assert!(Session::parse(b"v=0\r\nc=IN IP4 0.0.0.0\r\n").unwrap().connection.unwrap().is_unspecified());
    }

    #[test]
    fn what_is_no_description() {
        for (text, error) in [
            ("", ParseError::NotSdp),
            ("o=- 1 1 IN IP4 1.1.1.1\r\nv=0\r\n", ParseError::NotSdp),
            ("v=1\r\n", ParseError::NotSdp),
            ("v=0\r\nc=IN IP4\r\n", ParseError::Connection),
            ("v=0\r\nc=IN IP4 ::1\r\n", ParseError::Connection),
            ("v=0\r\nc=IN IP6 2001:db8:::1\r\n", ParseError::Connection),
            ("v=0\r\nm=audio\r\n", ParseError::Media),
            ("v=0\r\nm=audio 70000 RTP/AVP 0\r\n", ParseError::Media),
            ("v=0\r\nm=audio 5 RTP/AVP\r\n", ParseError::Media),
            ("v=0\r\ns=a\0\r\n", ParseError::ControlCharacter),
        ] {
            assert_eq!(Session::parse(text.as_bytes()), Err(error), "{text:?}");
        }
        let many = format!("v=0\r\n{}", "m=audio 1 RTP/AVP 0\r\n".repeat(MEDIA_MAX + 1));
        assert_eq!(Session::parse(many.as_bytes()), Err(ParseError::TooManyMedia));
        let long = format!("v=0\n{}", "\n".repeat(LINES_MAX));
        assert_eq!(Session::parse(long.as_bytes()), Err(ParseError::TooManyLines));
        assert!(Session::parse(&long.as_bytes()[..long.len() - 1]).is_ok());
        assert_eq!(Session::parse(&vec![b'v'; SDP_MAX + 1]), Err(ParseError::TooLarge));
    }
}
