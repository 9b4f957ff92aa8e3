//! The codecs of a stream: payload types, their names, their parameters.

use super::{FORMATS_MAX, attribute, lines, number, words};

/// One format of an RTP stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Codec<'a> {
    /// Payload type, 0 to 127.
    pub payload: u8,
    /// Encoding name as written in `a=rtpmap`, or the one RFC 3551 gives the payload type; empty if neither says.
    pub name: &'a [u8],
    /// Clock rate in Hz, 0 if unknown. (G.722 says 8000 and samples at 16000: RFC 3551 §4.5.2.)
    pub clock: u32,
    /// Channels, 1 unless said otherwise.
    pub channels: u8,
    /// `a=fmtp` without the payload type.
    pub parameters: Option<&'a [u8]>,
}

impl Codec<'_> {
    /// Whether this is its name, case aside.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    /// Whether it carries no speech of its own: telephone events, comfort noise, redundancy.
    pub fn is_auxiliary(&self) -> bool {
        ["telephone-event", "CN", "red", "tone"].iter().any(|name| self.is(name))
    }
}

/// The codecs of a stream in the order of the `m=` line, at most [`FORMATS_MAX`]; formats that are not payload types
/// are passed over.
#[derive(Clone, Debug)]
pub struct Codecs<'a> {
    formats: &'a [u8],
    section: &'a [u8],
    left: usize,
}

impl<'a> Codecs<'a> {
    pub(super) const fn new(formats: &'a [u8], section: &'a [u8]) -> Self {
        Self { formats, section, left: FORMATS_MAX }
    }
}

impl<'a> Iterator for Codecs<'a> {
    type Item = Codec<'a>;

    fn next(&mut self) -> Option<Codec<'a>> {
        while self.left > 0 {
            self.left -= 1;
            let formats = self.formats.trim_ascii_start();
            let end = formats.iter().position(u8::is_ascii_whitespace).unwrap_or(formats.len());
            if end == 0 {
                return None;
            }
            let (word, rest) = formats.split_at(end);
            self.formats = rest;
            if let Some(payload) = number(word, 127) {
                return Some(describe(payload as u8, self.section));
            }
        }
        None
    }
}

fn describe(payload: u8, section: &[u8]) -> Codec<'_> {
    let (name, clock, channels) = assigned(payload);
    let mut codec = Codec { payload, name, clock, channels, parameters: None };
    for (_, value) in lines(section).filter(|(kind, _)| *kind == b'a') {
        let (name, Some(value)) = attribute(value) else { continue };
        let Some((number, rest)) = payload_of(value) else { continue };
        if number != payload {
            continue;
        }
        match name {
            b"rtpmap" => {
                let mut parts = words(rest).next().unwrap_or_default().split(|&byte| byte == b'/');
                codec.name = parts.next().unwrap_or_default();
                codec.clock =
                    parts.next().and_then(|clock| super::number(clock, 10_000_000)).unwrap_or(0) as u32;
                codec.channels = parts.next().and_then(|count| super::number(count, 255)).unwrap_or(1) as u8;
            }
            b"fmtp" => codec.parameters = Some(rest.trim_ascii()),
            _ => {}
        }
    }
    codec
}

/// The payload type that an attribute's value begins with, and what follows it.
pub(super) fn payload_of(value: &[u8]) -> Option<(u8, &[u8])> {
    let end = value.iter().position(u8::is_ascii_whitespace).unwrap_or(value.len());
    let (digits, rest) = value.split_at(end);
    Some((number(digits, 127)? as u8, rest))
}

/// Name, clock and channels of the payload types that RFC 3551 §6 assigns.
fn assigned(payload: u8) -> (&'static [u8], u32, u8) {
    match payload {
        0 => (b"PCMU", 8000, 1),
        3 => (b"GSM", 8000, 1),
        4 => (b"G723", 8000, 1),
        5 => (b"DVI4", 8000, 1),
        6 => (b"DVI4", 16_000, 1),
        7 => (b"LPC", 8000, 1),
        8 => (b"PCMA", 8000, 1),
        9 => (b"G722", 8000, 1),
        10 => (b"L16", 44_100, 2),
        11 => (b"L16", 44_100, 1),
        12 => (b"QCELP", 8000, 1),
        13 => (b"CN", 8000, 1),
        14 => (b"MPA", 90_000, 1),
        15 => (b"G728", 8000, 1),
        16 => (b"DVI4", 11_025, 1),
        17 => (b"DVI4", 22_050, 1),
        18 => (b"G729", 8000, 1),
        25 => (b"CelB", 90_000, 1),
        26 => (b"JPEG", 90_000, 1),
        28 => (b"nv", 90_000, 1),
        31 => (b"H261", 90_000, 1),
        32 => (b"MPV", 90_000, 1),
        33 => (b"MP2T", 90_000, 1),
        34 => (b"H263", 90_000, 1),
        _ => (b"", 0, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Session;

    #[test]
    fn codecs_are_named_by_map_or_by_assignment() {
        let session = Session::parse(
            b"v=0\r\nm=audio 4000 RTP/AVP 8 0 96 97 101 x 300\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:96 opus/48000/2\r\n\
              a=fmtp:96 useinbandfec=1; x=y\r\na=rtpmap: 101 telephone-event/8000\r\na=fmtp:101 0-16\r\n",
        )
        .unwrap();
        let codecs: Vec<_> = session.media[0].codecs().collect();
        assert_eq!(codecs.iter().map(|codec| codec.payload).collect::<Vec<_>>(), [8, 0, 96, 97, 101]);
        assert!(codecs[0].is("pcma") && codecs[1].is("PCMU"));
        assert_eq!((codecs[2].clock, codecs[2].channels), (48_000, 2));
        assert_eq!(codecs[2].parameters, Some(&b"useinbandfec=1; x=y"[..]));
        assert_eq!((codecs[3].name, codecs[3].clock), (&b""[..], 0));
        assert_eq!(session.media[0].telephone_event(8000), Some(101));
        assert_eq!(session.media[0].telephone_event(48_000), None);
        assert!(codecs[4].is_auxiliary() && !codecs[0].is_auxiliary());
    }
}
