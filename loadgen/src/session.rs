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
    /// The first G.711 law it lists.
    pub(crate) codec: Codec,
}

/// Writes an offer or answer of one G.711 stream.
pub(crate) fn write(body: &mut Vec<u8>, session: u64, local: SocketAddr, codec: Codec, ptime_ms: u16) {
    body.clear();
    let family = if local.is_ipv4() { "IP4" } else { "IP6" };
    let (ip, port, payload, name) = (local.ip(), local.port(), codec.payload_type(), codec.name());
    // Writing to a Vec cannot fail.
    let _ = write!(
        body,
        "v=0\r\no=load {session} 1 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP {payload}\r\na=rtpmap:{payload} {name}/8000\r\na=ptime:{ptime_ms}\r\na=sendrecv\r\n"
    );
}

/// Reads the first audio stream; `None` if there is none with an address, a port and G.711.
pub(crate) fn read(body: &[u8]) -> Option<Audio> {
    let text = core::str::from_utf8(body).ok()?;
    let mut address: Option<IpAddr> = None;
    let mut audio: Option<(u16, Codec)> = None;
    for line in text.lines() {
        let line = line.trim_end();
        if let Some(connection) = line.strip_prefix("c=IN ") {
            let ip = connection.split_whitespace().nth(1)?.split('/').next()?.parse().ok();
            address = ip.or(address);
        } else if let Some(media) = line.strip_prefix("m=") {
            if audio.is_some() {
                break;
            }
            let mut words = media.split_whitespace();
            if words.next() != Some("audio") {
                continue;
            }
            let port: u16 = words.next()?.split('/').next()?.parse().ok()?;
            let codec = words.skip(1).find_map(|payload| match payload {
                "8" => Some(Codec::Pcma),
                "0" => Some(Codec::Pcmu),
                _ => None,
            });
            audio = Some((port, codec?));
        }
    }
    let (port, codec) = audio.filter(|&(port, _)| port != 0)?;
    Some(Audio { address: SocketAddr::new(address?, port), codec })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for local in ["127.0.0.1:4000", "[::1]:4002"] {
            let local = local.parse().unwrap();
            for codec in [Codec::Pcma, Codec::Pcmu] {
                let mut body = Vec::new();
                write(&mut body, 7, local, codec, 20);
                assert_eq!(read(&body), Some(Audio { address: local, codec }));
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
