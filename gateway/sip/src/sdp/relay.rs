//! Rewriting a description for a relay that stands in the media path: its addresses instead of the peer's.

use super::codec::payload_of;
use super::write::{WriteError, connection_line};
use super::{Direction, LocalOrigin, Media, Profile, Session, attribute, lines, number};
use core::net::IpAddr;

/// What is said of telephone events (RFC 4733) in a description that is rewritten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Events {
    /// What its writer said.
    #[default]
    AsDescribed,
    /// Nothing: they are left out.
    Without,
    /// These, whatever its writer said.
    With {
        /// Their payload type.
        payload: u8,
        /// Their clock in Hz: that of the speech beside them (RFC 4733 §2.1).
        clock: u32,
    },
}

/// How a description is to be rewritten.
#[derive(Clone, Copy, Debug)]
pub struct Relay<'r> {
    /// Where the relay listens on the side the description goes to.
    pub address: IpAddr,
    /// For each stream, in order, the relay's RTP port (RTCP one above), or 0 to reject it. Streams beyond the
    /// end are rejected.
    pub ports: &'r [u16],
    /// Encoding names of the audio codecs let through, in any order; empty lets all through. Telephone events and comfort
    /// noise always pass beside a codec of the same clock rate.
    pub codecs: &'r [&'r str],
    /// What is said of telephone events in audio streams.
    pub events: Events,
    /// A bound on the direction of every stream, as seen from the receiver's side of the relay.
    pub direction: Direction,
    /// The protocol to write in the `m=` lines of audio streams over RTP that are relayed; none: as it is.
    pub protocol: Option<&'r str>,
    /// Values of `a=crypto` to write for them: the relay's own keys (RFC 4568).
    pub crypto: &'r [String],
    /// The value of `a=rtcp-xr` (RFC 3611 §5.1) to write for them in place of what is there, empty for none; `None`: it stays.
    pub extended_reports: Option<&'r str>,
    /// What else it says in its own name.
    pub added: Added<'r>,
}

/// What a relay says of its own way: ICE, certificates, ports that are shared.
#[derive(Clone, Copy, Debug, Default)]
pub struct Added<'r> {
    /// Attributes of the session, without `a=`.
    pub session: &'r [String],
    /// Attributes of streams that are relayed, without `a=`.
    pub media: &'r [String],
    /// For each stream, in order, its `a=mid`; empty or beyond the end: none.
    pub mids: &'r [String],
}

/// Appends the description to `out` with the relay's addresses: `o=` is ours (see [`LocalOrigin`]), one
/// `c=` line stands at the session, ports are replaced, and what would lead around the relay (ICE, `a=rtcp`,
/// bundling and what goes with it, source filters, alternative addresses) is left out, and so is what agrees on keys: those are the relay's. Everything else stays as it is, in order; `s=` and
/// `t=` are added if missing. Every line ends with CRLF.
///
/// Fails, with `out` as it was, if no audio codec is left of a stream to be relayed.
pub fn rewrite(
    session: &Session<'_>,
    relay: &Relay<'_>,
    origin: &mut LocalOrigin,
    out: &mut Vec<u8>,
) -> Result<(), WriteError> {
    let start = out.len();
    let after_version = head(session, relay, out);
    for (index, media) in session.media.iter().enumerate() {
        let port = relay.ports.get(index).copied().unwrap_or(0);
        if let Err(error) = stream(index, media, port, relay, out) {
            out.truncate(start);
            return Err(error);
        }
    }
    origin.insert(out, start, after_version, relay.address);
    Ok(())
}

/// The session's own lines; returns where the `o=` line belongs.
fn head(session: &Session<'_>, relay: &Relay<'_>, out: &mut Vec<u8>) -> usize {
    out.extend_from_slice(b"v=0\r\n");
    let after_version = out.len();
    line(out, b's', session.name.filter(|name| !name.is_empty()).unwrap_or(b"-"));
    let kept = |wanted: &'static [u8]| lines(session.head).filter(move |(kind, _)| wanted.contains(kind));
    for (kind, value) in kept(b"iuep") {
        line(out, kind, value);
    }
    connection_line(out, relay.address);
    for (kind, value) in kept(b"b") {
        line(out, kind, value);
    }
    if kept(b"t").next().is_none() {
        line(out, b't', b"0 0");
    }
    for (kind, value) in kept(b"trz") {
        line(out, kind, value);
    }
    let browsers = session.media.iter().filter_map(Media::profile).any(|profile| profile.dtls);
    for (kind, value) in kept(b"a") {
        let fits = !(browsers && super::way::is_of_browsers(attribute(value).0));
        // The direction is said of each stream below.
        let reports = attribute(value).0 == b"rtcp-xr" && relay.extended_reports.is_some();
        if !reports && fits && !leads_around(value) && super::media::direction_of(value).is_none() {
            line(out, kind, value);
        }
    }
    for value in relay.added.session {
        line(out, b'a', value.as_bytes());
    }
    after_version
}

fn stream(
    index: usize,
    media: &Media<'_>,
    port: u16,
    relay: &Relay<'_>,
    out: &mut Vec<u8>,
) -> Result<(), WriteError> {
    let port = if media.port == 0 { 0 } else { port };
    let mut kept = [true; 128];
    if port != 0 && media.is_audio() && media.is_rtp() && !relay.codecs.is_empty() {
        kept = select(media, relay.codecs)?;
    }
    let is_speech = port != 0 && media.is_audio() && media.is_rtp();
    let events = if is_speech { relay.events } else { Events::default() };
    if events != Events::AsDescribed {
        for event in media.codecs().filter(|codec| codec.is("telephone-event")) {
            if let Some(slot) = kept.get_mut(usize::from(event.payload)) {
                *slot = false;
            }
        }
    }
    let keeps = |payload: u8| kept.get(usize::from(payload)).copied().unwrap_or(false);
    out.extend_from_slice(b"m=");
    out.extend_from_slice(media.kind);
    out.extend_from_slice(format!(" {port} ").as_bytes());
    match relay.protocol.filter(|_| is_speech) {
        Some(protocol) => out.extend_from_slice(protocol.as_bytes()),
        None => out.extend_from_slice(media.protocol),
    }
    for word in super::words(media.formats) {
        if number(word, 127).is_none_or(|payload| keeps(payload as u8)) {
            out.push(b' ');
            out.extend_from_slice(word);
        }
    }
    if let Events::With { payload, .. } = events {
        out.extend_from_slice(format!(" {payload}").as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    if let Some(mid) = relay.added.mids.get(index).filter(|mid| !mid.is_empty()) {
        line(out, b'a', format!("mid:{mid}").as_bytes());
    }
    if port == 0 {
        return Ok(());
    }
    let written = match relay.protocol {
        Some(protocol) => Profile::of(protocol.as_bytes()),
        None => media.profile(),
    };
    let feedback = written.is_none_or(|profile| profile.feedback);
    let browsers = [written, media.profile()].into_iter().flatten().any(|profile| profile.dtls);
    for (kind, value) in lines(media.section).skip(1) {
        let stays = match kind {
            // RFC 8866 §5.12: `k=` must not be used, and would be the other leg's key.
            b'c' | b'm' | b'k' => false,
            b'a' => {
                let (name, text) = attribute(value);
                let of_payload = matches!(name, b"rtpmap" | b"fmtp" | b"rtcp-fb");
                let dropped =
                    of_payload && text.and_then(payload_of).is_some_and(|(payload, _)| !keeps(payload));
                let reports = name == b"rtcp-xr" && relay.extended_reports.is_some();
                // RFC 4585 §4.2, RFC 5506 §5.1: feedback goes with the profiles for it.
                let fits = (feedback || !matches!(name, b"rtcp-fb" | b"rtcp-rsize"))
                    && !(browsers && super::way::is_of_browsers(name));
                !dropped
                    && !reports
                    && fits
                    && !leads_around(value)
                    && super::media::direction_of(value).is_none()
            }
            _ => true,
        };
        if stays {
            line(out, kind, value);
        }
    }
    if let Events::With { payload, clock } = events {
        line(out, b'a', format!("rtpmap:{payload} telephone-event/{clock}").as_bytes());
        line(out, b'a', format!("fmtp:{payload} 0-16").as_bytes());
    }
    if let Some(value) = relay.extended_reports.filter(|value| is_speech && !value.is_empty()) {
        line(out, b'a', format!("rtcp-xr:{value}").as_bytes());
    }
    for value in relay.crypto.iter().filter(|_| is_speech) {
        line(out, b'a', format!("crypto:{value}").as_bytes());
    }
    for value in relay.added.media.iter().filter(|_| is_speech) {
        line(out, b'a', value.as_bytes());
    }
    let direction = media.direction.and(relay.direction);
    // RFC 9429 §5.3.1: browsers are told it in any case, and some take its absence for none.
    let told = written.is_some_and(|profile| profile.dtls);
    if told || direction != Direction::SendRecv || has_direction(media.section) {
        line(out, b'a', direction.as_str().as_bytes());
    }
    Ok(())
}

/// Which payload types of an audio stream stay: the codecs named, and what assists them.
fn select(media: &Media<'_>, names: &[&str]) -> Result<[bool; 128], WriteError> {
    let mut kept = [false; 128];
    let speech = |codec: &super::Codec<'_>| !codec.is_auxiliary() && names.iter().any(|name| codec.is(name));
    let codecs: Vec<_> = media.codecs().collect();
    for codec in &codecs {
        let assists =
            codec.is_auxiliary() && codecs.iter().any(|other| speech(other) && other.clock == codec.clock);
        if let Some(slot) = kept.get_mut(usize::from(codec.payload)) {
            *slot = assists || speech(codec);
        }
    }
    if codecs.iter().any(speech) { Ok(kept) } else { Err(WriteError::NoCodec) }
}

fn has_direction(section: &[u8]) -> bool {
    lines(section).any(|(kind, value)| kind == b'a' && super::media::direction_of(value).is_some())
}

/// Attributes by which media, or the keys to it, would find a way around the relay.
fn leads_around(value: &[u8]) -> bool {
    let (name, text) = attribute(value);
    match name {
        b"candidate" | b"remote-candidates" | b"end-of-candidates" | b"rtcp" | b"rtcp-mux"
        | b"rtcp-mux-only" | b"source-filter" | b"altc" | b"nortpproxy" | b"msid-semantic" => true,
        b"group" => text.is_some_and(|text| text.starts_with(b"BUNDLE")),
        _ => {
            name.starts_with(b"ice-")
                || matches!(name, b"mid" | b"bundle-only")
                || super::crypto::is_keying(name)
        }
    }
}

fn line(out: &mut Vec<u8>, kind: u8, value: &[u8]) {
    out.extend_from_slice(&[kind, b'=']);
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &[u8] = b"v=0\no=alice 77 3 IN IP4 10.9.8.7\ns=call\ni=info\nc=IN IP4 10.9.8.7\nb=AS:84\na=group:BUNDLE a v\n\
        a=ice-lite\na=tool:x\na=sendrecv\n\
        m=audio 4000 RTP/AVP 9 8 0 96 101\nc=IN IP4 10.9.8.8\na=rtpmap:9 G722/8000\na=rtpmap:8 PCMA/8000\na=rtpmap:96 opus/48000/2\n\
        a=fmtp:96 minptime=10\na=rtpmap:101 telephone-event/8000\na=fmtp:101 0-16\na=ptime:20\na=rtcp:4011 IN IP4 10.9.8.8\n\
        a=candidate:1 1 UDP 1 10.9.8.7 4000 typ host\na=ice-ufrag:x\na=rtcp-mux\na=sendonly\n\
        m=video 4002 RTP/AVP 31\na=rtpmap:31 H261/90000\na=recvonly\n";

    fn rewritten(codecs: &[&str], ports: &[u16], direction: Direction) -> String {
        let session = Session::parse(OFFER).unwrap();
        let relay = Relay {
            address: "192.0.2.1".parse().unwrap(),
            ports,
            codecs,
            events: Events::AsDescribed,
            direction,
            protocol: None,
            crypto: &[],
            extended_reports: None,
            added: Added::default(),
        };
        let mut out = Vec::new();
        rewrite(&session, &relay, &mut LocalOrigin::new(42), &mut out).unwrap();
        assert!(!String::from_utf8_lossy(&out).contains("10.9.8"), "the peer's address shows");
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_relay_stands_where_the_peer_stood() {
        assert_eq!(
            rewritten(&["PCMA", "pcmu"], &[6000], Direction::SendRecv),
            "v=0\r\no=- 42 1 IN IP4 192.0.2.1\r\ns=call\r\ni=info\r\nc=IN IP4 192.0.2.1\r\nb=AS:84\r\nt=0 0\r\na=tool:x\r\n\
             m=audio 6000 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\n\
             a=fmtp:101 0-16\r\na=ptime:20\r\na=sendonly\r\nm=video 0 RTP/AVP 31\r\n"
        );
    }

    #[test]
    fn without_a_filter_all_codecs_pass_and_directions_are_bounded() {
        let text = rewritten(&[], &[6000, 6002], Direction::SendOnly);
        assert!(text.contains("m=audio 6000 RTP/AVP 9 8 0 96 101\r\n"));
        assert!(text.contains("a=fmtp:96 minptime=10\r\n"));
        assert!(text.contains("m=video 6002 RTP/AVP 31\r\na=rtpmap:31 H261/90000\r\na=inactive\r\n"));
    }

    #[test]
    fn the_version_grows_with_each_change_and_only_then() {
        let session = Session::parse(OFFER).unwrap();
        let mut origin = LocalOrigin::new(7);
        let mut version = |port| {
            let relay = Relay {
                address: "::1".parse().unwrap(),
                ports: &[port],
                codecs: &[],
                events: Events::AsDescribed,
                direction: Direction::SendRecv,
                protocol: None,
                crypto: &[],
                extended_reports: None,
                added: Added::default(),
            };
            let mut out = b"kept".to_vec();
            rewrite(&session, &relay, &mut origin, &mut out).unwrap();
            let again = Session::parse(&out[4..]).unwrap();
            assert_eq!(again.media[0].rtp_address().unwrap().to_string(), format!("[::1]:{port}"));
            again.origin.unwrap().version.to_vec()
        };
        assert_eq!([version(1), version(1), version(2), version(1)], [b"1", b"1", b"2", b"3"]);
    }

    #[test]
    fn keys_are_the_relays_own() {
        let offer = b"v=0\no=- 1 1 IN IP4 10.9.8.7\ns=-\nk=clear:x\na=fingerprint:sha-256 AA\nm=audio 4000 RTP/SAVPF 8\n\
            k=clear:y\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAAA\na=setup:actpass\nm=audio 5000 RTP/AVP 8\n";
        let session = Session::parse(offer).unwrap();
        let written = |protocol, crypto: &[String]| {
            let relay = Relay {
                address: "192.0.2.1".parse().unwrap(),
                ports: &[6000],
                codecs: &[],
                events: Events::AsDescribed,
                direction: Direction::SendRecv,
                protocol,
                crypto,
                extended_reports: None,
                added: Added::default(),
            };
            let mut out = Vec::new();
            rewrite(&session, &relay, &mut LocalOrigin::new(42), &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let head = "v=0\r\no=- 42 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n";
        assert_eq!(
            written(Some("RTP/AVP"), &[]),
            format!("{head}m=audio 6000 RTP/AVP 8\r\nm=audio 0 RTP/AVP 8\r\n")
        );
        let crypto = ["4 AEAD_AES_128_GCM inline:BBBB".to_owned()];
        assert_eq!(
            written(None, &crypto),
            format!("{head}m=audio 6000 RTP/SAVPF 8\r\na=crypto:{}\r\nm=audio 0 RTP/AVP 8\r\n", crypto[0])
        );
    }

    /// RFC 9143 §7.3: what a browser offers comes to a carrier as plain audio, what a carrier answers to the browser as its own.
    #[test]
    fn the_way_is_the_relays_own() {
        let offer = b"v=0\no=- 1 1 IN IP4 10.9.8.7\ns=-\na=group:BUNDLE 0 1\na=msid-semantic: WMS x\n\
            m=audio 9 UDP/TLS/RTP/SAVPF 8\na=mid:0\na=rtcp-fb:8 nack\na=rtcp-rsize\na=extmap:1 urn:x\na=msid:- x\n\
            a=ssrc:1 cname:x\na=ice-ufrag:abcd\na=rtcp-mux\nm=video 9 UDP/TLS/RTP/SAVPF 96\na=mid:1\n";
        let session = Session::parse(offer).unwrap();
        let written = |protocol, added| {
            let relay = Relay {
                address: "192.0.2.1".parse().unwrap(),
                ports: &[6000],
                codecs: &[],
                events: Events::AsDescribed,
                direction: Direction::SendRecv,
                protocol: Some(protocol),
                crypto: &[],
                extended_reports: None,
                added,
            };
            let mut out = Vec::new();
            rewrite(&session, &relay, &mut LocalOrigin::new(42), &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let head = "v=0\r\no=- 42 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n";
        assert_eq!(
            written("RTP/AVP", Added::default()),
            format!("{head}m=audio 6000 RTP/AVP 8\r\nm=video 0 UDP/TLS/RTP/SAVPF 96\r\n")
        );
        let (group, mux) = (["group:BUNDLE 0".to_owned()], ["rtcp-mux".to_owned()]);
        let mids = ["0".to_owned(), "1".to_owned()];
        let added = Added { session: &group, media: &mux, mids: &mids };
        assert_eq!(
            written("UDP/TLS/RTP/SAVPF", added),
            format!(
                "{head}a=group:BUNDLE 0\r\nm=audio 6000 UDP/TLS/RTP/SAVPF 8\r\na=mid:0\r\na=rtcp-fb:8 nack\r\n\
                 a=rtcp-rsize\r\na=rtcp-mux\r\na=sendrecv\r\nm=video 0 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\n"
            )
        );
    }

    #[test]
    fn telephone_events_are_left_out_put_in_or_numbered_anew() {
        let offer = b"v=0\no=- 1 1 IN IP4 10.9.8.7\ns=-\nm=audio 4000 RTP/AVP 8 101 13\na=rtpmap:101 telephone-event/8000\n\
            a=fmtp:101 0-15\nm=video 4002 RTP/AVP 101\na=rtpmap:101 H264/90000\n";
        let session = Session::parse(offer).unwrap();
        let written = |events| {
            let relay = Relay {
                address: "192.0.2.1".parse().unwrap(),
                ports: &[6000, 6002],
                codecs: &[],
                events,
                direction: Direction::SendRecv,
                protocol: None,
                crypto: &[],
                extended_reports: None,
                added: Added::default(),
            };
            let mut out = Vec::new();
            rewrite(&session, &relay, &mut LocalOrigin::new(42), &mut out).unwrap();
            String::from_utf8(out).unwrap().split_once("t=0 0\r\n").unwrap().1.to_owned()
        };
        let video = "m=video 6002 RTP/AVP 101\r\na=rtpmap:101 H264/90000\r\n";
        assert_eq!(written(Events::Without), format!("m=audio 6000 RTP/AVP 8 13\r\n{video}"));
        assert_eq!(
            written(Events::With { payload: 96, clock: 8000 }),
            format!(
                "m=audio 6000 RTP/AVP 8 13 96\r\na=rtpmap:96 telephone-event/8000\r\na=fmtp:96 0-16\r\n{video}"
            )
        );
    }

    #[test]
    fn rfc_3611_section_5_1_what_is_reported_is_the_relays_to_say() {
        let offer = b"v=0\no=- 1 1 IN IP4 10.9.8.7\ns=-\na=rtcp-xr:stat-summary\nm=audio 4000 RTP/AVP 8\na=rtcp-xr:pkt-loss-rle\n";
        let session = Session::parse(offer).unwrap();
        let written = |extended_reports| {
            let address = "192.0.2.1".parse().unwrap();
            let (codecs, crypto) = (&[][..], &[][..]);
            let direction = Direction::SendRecv;
            let relay = Relay {
                address,
                ports: &[6000],
                codecs,
                events: Events::AsDescribed,
                direction,
                protocol: None,
                crypto,
                extended_reports,
                added: Added::default(),
            };
            let mut out = Vec::new();
            rewrite(&session, &relay, &mut LocalOrigin::new(42), &mut out).unwrap();
            let text = String::from_utf8(out).unwrap();
            text.lines().filter(|line| line.contains("rtcp-xr")).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(written(None), ["a=rtcp-xr:stat-summary", "a=rtcp-xr:pkt-loss-rle"]);
        assert!(written(Some("")).is_empty());
        assert_eq!(written(Some("voip-metrics")), ["a=rtcp-xr:voip-metrics"]);
    }

    #[test]
    fn nothing_is_written_when_no_codec_is_left() {
        let session = Session::parse(OFFER).unwrap();
        let relay = Relay {
            address: "::1".parse().unwrap(),
            ports: &[1],
            codecs: &["G729"],
            events: Events::AsDescribed,
            direction: Direction::SendRecv,
            protocol: None,
            crypto: &[],
            extended_reports: None,
            added: Added::default(),
        };
        let mut out = b"kept".to_vec();
        let mut origin = LocalOrigin::new(7);
        assert_eq!(rewrite(&session, &relay, &mut origin, &mut out), Err(WriteError::NoCodec));
        assert_eq!((out, origin.version()), (b"kept".to_vec(), 0));
    }
}
