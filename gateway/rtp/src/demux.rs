//! What a datagram on a media port is, where RTP, RTCP, STUN and DTLS share one (RFC 7983).

use crate::{Kind, classify};

/// What shares a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// STUN: a first octet from 0 to 3.
    Stun,
    /// DTLS: a first octet from 20 to 63.
    Dtls,
    /// RTP, or what looks like it.
    Rtp,
    /// RTCP, or what looks like it.
    Rtcp,
    /// None of these: ZRTP, TURN channels, keep-alives, noise.
    Other,
}

impl Framing {
    /// By the first octet (RFC 7983 §7), RTP and RTCP by the second (RFC 5761 §4).
    pub const fn of(datagram: &[u8]) -> Self {
        match datagram {
            [0..=3, ..] => Self::Stun,
            [20..=63, ..] => Self::Dtls,
            _ => match classify(datagram) {
                Kind::Rtp => Self::Rtp,
                Kind::Rtcp => Self::Rtcp,
                Kind::Other => Self::Other,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7983 §7, its figure.
    #[test]
    fn the_first_octet_tells() {
        for first in 0..=255u8 {
            let expected = match first {
                0..=3 => Framing::Stun,
                20..=63 => Framing::Dtls,
                128..=191 => Framing::Rtp,
                _ => Framing::Other,
            };
            assert_eq!(Framing::of(&[first, 8, 0, 0, 0]), expected, "{first}");
        }
        assert_eq!(Framing::of(&[0x80, 200, 0, 0]), Framing::Rtcp);
        assert_eq!(Framing::of(&[]), Framing::Other);
        assert_eq!(Framing::of(&[22]), Framing::Dtls);
    }
}
