//! What descriptions say of the way that media takes: ICE (RFC 8839), RTP and RTCP on one port (RFC 5761), streams on one
//! port (BUNDLE, RFC 9143), and whose certificate keys are made under (RFC 8122, RFC 5763).

use super::{Media, Session, attribute, lines, words};

/// Most `a=fingerprint` lines of one stream that are looked at.
pub const FINGERPRINTS_MAX: usize = 8;

/// Who begins a DTLS handshake, as the one who wrote it sees it (RFC 4145 §4, RFC 5763 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// The writer.
    Active,
    /// The other one.
    Passive,
    /// Whoever answers says.
    Actpass,
    /// Nobody for now.
    Holdconn,
}

impl Setup {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Active, "active"),
        (Self::Passive, "passive"),
        (Self::Actpass, "actpass"),
        (Self::Holdconn, "holdconn"),
    ];

    /// As it stands behind `a=setup:`.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(setup, _)| *setup == self).map_or("actpass", |(_, name)| name)
    }

    fn of(value: &[u8]) -> Option<Self> {
        let found = Self::ALL.iter().find(|(_, name)| value.eq_ignore_ascii_case(name.as_bytes()));
        found.map(|(setup, _)| *setup)
    }
}

/// What a description says of the way of one stream. What it says of the stream goes before what it says of all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Way<'a> {
    /// `a=fingerprint`, unread.
    pub fingerprints: Vec<&'a [u8]>,
    /// `a=setup`.
    pub setup: Option<Setup>,
    /// `a=tls-id` (RFC 8842 §4): another one is another association.
    pub tls_id: Option<&'a [u8]>,
    /// `a=ice-ufrag` and `a=ice-pwd`, if both are there.
    pub ice: Option<(&'a [u8], &'a [u8])>,
    /// `a=ice-lite`.
    pub ice_lite: bool,
    /// `a=rtcp-mux`, or `a=rtcp-mux-only` (RFC 8858), which may not stand without it.
    pub mux: bool,
    /// Whether `a=group:BUNDLE` names the stream.
    pub bundled: bool,
}

#[derive(Default)]
struct Found<'a> {
    way: Way<'a>,
    fragment: Option<&'a [u8]>,
    password: Option<&'a [u8]>,
}

impl<'a> Found<'a> {
    fn read(section: &'a [u8]) -> Self {
        let mut found = Found::default();
        for (_, value) in lines(section).filter(|(kind, _)| *kind == b'a') {
            match attribute(value) {
                (b"fingerprint", Some(value)) if found.way.fingerprints.len() < FINGERPRINTS_MAX => {
                    found.way.fingerprints.push(value);
                }
                (b"setup", Some(value)) => found.way.setup = Setup::of(value),
                (b"tls-id", Some(value)) => found.way.tls_id = Some(value),
                (b"ice-ufrag", Some(value)) => found.fragment = Some(value),
                (b"ice-pwd", Some(value)) => found.password = Some(value),
                (b"ice-lite", _) => found.way.ice_lite = true,
                (b"rtcp-mux", _) => found.way.mux = true,
                _ => {}
            }
        }
        found
    }
}

impl<'a> Session<'a> {
    /// What it says of the way of one of its streams.
    pub fn way(&self, media: &Media<'a>) -> Way<'a> {
        let (all, own) = (Found::read(self.head), Found::read(media.section));
        let fingerprints =
            if own.way.fingerprints.is_empty() { all.way.fingerprints } else { own.way.fingerprints };
        let ice = own.fragment.or(all.fragment).zip(own.password.or(all.password));
        Way {
            fingerprints,
            setup: own.way.setup.or(all.way.setup),
            tls_id: own.way.tls_id.or(all.way.tls_id),
            ice,
            ice_lite: all.way.ice_lite,
            mux: own.way.mux,
            bundled: media.mid().is_some_and(|mid| self.bundles(mid)),
        }
    }

    /// Whether a group of BUNDLE names this stream (RFC 9143 §7).
    fn bundles(&self, mid: &[u8]) -> bool {
        lines(self.head).filter(|(kind, _)| *kind == b'a').any(|(_, value)| match attribute(value) {
            (b"group", Some(value)) => {
                let mut words = words(value);
                words.next().is_some_and(|kind| kind.eq_ignore_ascii_case(b"BUNDLE"))
                    && words.any(|word| word == mid)
            }
            _ => false,
        })
    }
}

impl<'a> Media<'a> {
    /// `a=mid` (RFC 5888 §4): a token.
    pub fn mid(&self) -> Option<&'a [u8]> {
        let mids = lines(self.section).filter(|(kind, _)| *kind == b'a').filter_map(|(_, value)| {
            match attribute(value) {
                (b"mid", Some(value)) => Some(value),
                _ => None,
            }
        });
        mids.take(1).find(|mid| !mid.is_empty() && mid.iter().all(u8::is_ascii_graphic))
    }
}

/// Attributes of what only those who speak with each other directly know: of their own streams in one port, and of header
/// extensions whose numbers and contents are made for it (RFC 8285, RFC 9143 §15).
pub(super) fn is_of_browsers(name: &[u8]) -> bool {
    matches!(
        name,
        b"extmap" | b"extmap-allow-mixed" | b"msid" | b"ssrc" | b"ssrc-group" | b"rid" | b"simulcast"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\na=ice-lite\r\n\
        a=fingerprint:sha-256 AA\r\na=setup:actpass\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111 0\r\nc=IN IP4 0.0.0.0\r\n\
        a=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\na=setup:active\r\na=mid:0\r\n\
        a=rtcp-mux\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:v\r\na=fingerprint:sha-256 BB\r\na=tls-id:x\r\n";

    #[test]
    fn what_is_said_of_a_stream_goes_before_what_is_said_of_all() {
        let session = Session::parse(OFFER.as_bytes()).unwrap();
        let way = session.way(&session.media[0]);
        assert_eq!(way.fingerprints, [&b"sha-256 AA"[..]]);
        assert_eq!((way.setup, way.ice_lite, way.mux, way.bundled), (Some(Setup::Active), true, true, true));
        assert_eq!(way.ice, Some((&b"abcd"[..], &b"0123456789012345678901"[..])));
        let other = session.way(&session.media[1]);
        assert_eq!(other.fingerprints, [&b"sha-256 BB"[..]]);
        assert_eq!((other.setup, other.ice, other.tls_id), (Some(Setup::Actpass), None, Some(&b"x"[..])));
        assert!(!other.bundled && !other.mux);
        assert_eq!((session.media[0].mid(), session.media[1].mid()), (Some(&b"0"[..]), Some(&b"v"[..])));
    }

    /// RFC 8840 §4.1.1: no address yet is no hold.
    #[test]
    fn no_address_is_no_hold_where_ice_finds_one() {
        let session = Session::parse(OFFER.as_bytes()).unwrap();
        assert_eq!(session.media[0].direction, super::super::Direction::SendRecv);
        assert!(session.media[0].ice && !session.media[1].ice);
        let held = OFFER.replace("a=ice-ufrag:abcd\r\n", "");
        let session = Session::parse(held.as_bytes()).unwrap();
        assert_eq!(session.media[0].direction, super::super::Direction::SendOnly);
    }

    #[test]
    fn setups_have_names() {
        for (setup, name) in Setup::ALL {
            assert_eq!((setup.as_str(), Setup::of(name.to_uppercase().as_bytes())), (name, Some(setup)));
        }
        assert_eq!(Setup::of(b"client"), None);
    }
}
