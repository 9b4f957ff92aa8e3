//! The session descriptions the generator writes and reads.
//!
//! Deliberately its own and narrow: the gateway reads SDP with the `sip` crate, so a misreading there
//! does not hide behind the same misreading here.

use crate::plan::Codec;
use core::net::{IpAddr, SocketAddr};
use std::io::Write;

/// What a peer's description says of its audio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Audio {
    /// Where it wants to hear.
    pub(crate) address: SocketAddr,
    /// The first codec of ours that it lists.
    pub(crate) codec: Codec,
    /// The payload type by which it calls it.
    pub(crate) payload_type: u8,
}

/// Writes an offer or answer of one stream, with the number of the payload type of `codec`.
pub(crate) fn write(
    body: &mut Vec<u8>,
    session: u64,
    local: SocketAddr,
    (codec, payload): (Codec, u8),
    ptime_ms: u16,
) {
    body.clear();
    let family = if local.is_ipv4() { "IP4" } else { "IP6" };
    let (ip, port, name, clock) = (local.ip(), local.port(), codec.name(), codec.clock());
    // Writing to a Vec cannot fail.
    let _ = write!(
        body,
        "v=0\r\no=load {session} 1 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP {payload}\r\na=rtpmap:{payload} {name}/{clock}\r\na=ptime:{ptime_ms}\r\na=sendrecv\r\n"
    );
}

/// Reads the first audio stream; `None` if there is none with an address, a port and a codec of ours.
pub(crate) fn read(body: &[u8]) -> Option<Audio> {
    let text = core::str::from_utf8(body).ok()?;
    let mut address: Option<IpAddr> = None;
    let mut audio: Option<(u16, &str)> = None;
    let mut opus: Option<u8> = None;
    for line in text.lines() {
        let line = line.trim_end();
        if let Some(connection) = line.strip_prefix("c=IN ") {
            let ip = connection.split_whitespace().nth(1)?.split('/').next()?.parse().ok();
            address = ip.or(address);
        } else if let Some(media) = line.strip_prefix("m=") {
            if audio.is_some() {
                break;
            }
            let Some(stream) = media.strip_prefix("audio ") else { continue };
            let (port, rest) = stream.split_once(' ')?;
            audio = Some((port.split('/').next()?.parse().ok()?, rest.split_once(' ')?.1));
        } else if let Some((payload, name)) =
            line.strip_prefix("a=rtpmap:").and_then(|map| map.split_once(' '))
            && audio.is_some()
            && name.trim().eq_ignore_ascii_case("opus/48000/2")
        {
            opus = payload.parse().ok().or(opus);
        }
    }
    let (port, formats) = audio.filter(|&(port, _)| port != 0)?;
    let (codec, payload_type) =
        formats.split_whitespace().find_map(|format| match format.parse().ok()? {
            8 => Some((Codec::Pcma, 8)),
            0 => Some((Codec::Pcmu, 0)),
            number if opus == Some(number) => Some((Codec::Opus, number)),
            _ => None,
        })?;
    Some(Audio { address: SocketAddr::new(address?, port), codec, payload_type })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for local in ["127.0.0.1:4000", "[::1]:4002"] {
            let local = local.parse().unwrap();
            for (codec, payload_type) in [(Codec::Pcma, 8), (Codec::Pcmu, 0), (Codec::Opus, 97)] {
                let mut body = Vec::new();
                write(&mut body, 7, local, (codec, payload_type), 20);
                assert_eq!(read(&body), Some(Audio { address: local, codec, payload_type }));
            }
        }
    }

    #[test]
    fn a_connection_of_the_stream_stands_before_that_of_the_session() {
        let body = b"v=0\r\nc=IN IP4 10.0.0.1\r\nm=video 9 RTP/AVP 99\r\nm=audio 5000 RTP/AVP 18 0 8\r\nc=IN IP4 10.0.0.2/127\r\n";
        let audio = read(body).unwrap();
        assert_eq!((audio.address, audio.codec), ("10.0.0.2:5000".parse().unwrap(), Codec::Pcmu));
    }

    #[test]
    fn what_cannot_be_talked_to_is_none() {
        for body in [
            "",
            "v=0\r\nc=IN IP4 1.2.3.4\r\n",
            "c=IN IP4 1.2.3.4\r\nm=audio 0 RTP/AVP 8\r\n",
            "m=audio 5 RTP/AVP 8\r\n",
            "c=IN IP4 1.2.3.4\r\nm=audio 5 RTP/AVP 18\r\n",
        ] {
            assert_eq!(read(body.as_bytes()), None, "{body}");
        }
    }
}
