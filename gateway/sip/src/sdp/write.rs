//! Writing offers and answers of our own, and choosing codecs (RFC 3264 §5, §6).

use super::{Codec, Direction, LocalOrigin, Media, Session};
use core::net::IpAddr;

/// Why a description was not written. The buffer is then as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteError {
    /// No codec that both sides know: the answer is 488 (RFC 3261 §21.4.26).
    NoCodec,
    /// The offer has no audio stream.
    NoAudio,
}

/// Our end of the one audio stream.
#[derive(Clone, Copy, Debug)]
pub struct Local<'a> {
    /// Where we receive.
    pub address: IpAddr,
    /// The RTP port; RTCP is one above.
    pub port: u16,
    /// Milliseconds of audio in a packet.
    pub ptime: u16,
    /// What we would do; an answer is further bounded by the offer.
    pub direction: Direction,
    /// Whether an answer takes the telephone events that are offered; an offer names them among its codecs.
    pub events: bool,
    /// Whether keys are added to what is written: then an offer of SRTP can be answered too.
    pub secured: bool,
    /// `a=fmtp` of the codec in an answer, without the payload type; `None`: what the offer says holds both ways.
    pub parameters: Option<&'a str>,
}

/// A codec as we offer it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfferedCodec<'a> {
    /// Payload type.
    pub payload: u8,
    /// Encoding name.
    pub name: &'a str,
    /// Clock rate in Hz.
    pub clock: u32,
    /// Channels.
    pub channels: u8,
    /// `a=fmtp` without the payload type.
    pub parameters: Option<&'a str>,
}

impl OfferedCodec<'_> {
    /// G.711 µ-law.
    pub const PCMU: Self = Self::assigned(0, "PCMU");
    /// G.711 A-law.
    pub const PCMA: Self = Self::assigned(8, "PCMA");
    /// G.722, whose clock RFC 3551 §4.5.2 has at half its samples.
    pub const G722: Self = Self::assigned(9, "G722");
    /// G.729.
    pub const G729: Self = Self::assigned(18, "G729");
    /// GSM full rate.
    pub const GSM: Self = Self::assigned(3, "GSM");
    /// Opus (RFC 7587 §7: 48000 and two channels always), which takes redundancy against loss.
    pub const OPUS: Self =
        Self { payload: 111, name: "opus", clock: 48_000, channels: 2, parameters: Some("useinbandfec=1") };
    /// Telephone events 0 to 16 at 8000 Hz (RFC 4733).
    pub const TELEPHONE_EVENT: Self =
        Self { payload: 101, name: "telephone-event", clock: 8000, channels: 1, parameters: Some("0-16") };
    /// The same beside a codec of 48000 Hz: events have the clock of the audio (RFC 4733 §2.1).
    pub const TELEPHONE_EVENT_48000: Self = Self { payload: 110, clock: 48_000, ..Self::TELEPHONE_EVENT };

    /// A codec of 8000 Hz and one channel whose payload type RFC 3551 §6 assigns.
    const fn assigned(payload: u8, name: &'static str) -> Self {
        Self { payload, name, clock: 8000, channels: 1, parameters: None }
    }
}

/// What was agreed for a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen<'a> {
    /// The codec, with the payload type of the description it was found in.
    pub codec: Codec<'a>,
    /// The payload type of telephone events at the codec's clock rate.
    pub telephone_event: Option<u8>,
}

/// The codec to use with a stream: the first of the description that is among `names`. The one who wrote it
/// listed them in order of preference (RFC 3264 §5.1, §6.1).
pub fn choose<'a>(media: &Media<'a>, names: &[&str]) -> Option<Chosen<'a>> {
    let codec =
        media.codecs().find(|codec| !codec.is_auxiliary() && names.iter().any(|name| codec.is(name)))?;
    Some(Chosen { codec, telephone_event: media.telephone_event(codec.clock) })
}

/// Appends an offer of one audio stream to `out`.
pub fn write_offer(
    local: &Local<'_>,
    codecs: &[OfferedCodec<'_>],
    origin: &mut LocalOrigin,
    out: &mut Vec<u8>,
) {
    let start = out.len();
    let after_version = session(local, out);
    out.extend_from_slice(format!("m=audio {} RTP/AVP", local.port).as_bytes());
    for codec in codecs {
        out.extend_from_slice(format!(" {}", codec.payload).as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    for codec in codecs {
        map(out, codec.payload, codec.name.as_bytes(), codec.clock, codec.channels);
        if let Some(parameters) = codec.parameters {
            out.extend_from_slice(format!("a=fmtp:{} {parameters}\r\n", codec.payload).as_bytes());
        }
    }
    ending(out, local.ptime, local.direction);
    origin.insert(out, start, after_version, local.address);
}

/// Appends the answer to `offer`: its first audio stream with one codec of `names` and telephone events if offered,
/// every other stream rejected (RFC 3264 §6). Returns what was chosen.
pub fn write_answer<'a>(
    offer: &Session<'a>,
    local: &Local<'_>,
    names: &[&str],
    origin: &mut LocalOrigin,
    out: &mut Vec<u8>,
) -> Result<Chosen<'a>, WriteError> {
    let (audio, media) = offer.audio().ok_or(WriteError::NoAudio)?;
    // What is encrypted cannot be answered in the clear.
    if !local.secured
        && ![&b"RTP/AVP"[..], b"RTP/AVPF"].iter().any(|plain| media.protocol.eq_ignore_ascii_case(plain))
    {
        return Err(WriteError::NoCodec);
    }
    let mut chosen = choose(media, names).ok_or(WriteError::NoCodec)?;
    chosen.telephone_event = chosen.telephone_event.filter(|_| local.events);
    let start = out.len();
    let after_version = session(local, out);
    for (index, stream) in offer.media.iter().enumerate() {
        out.extend_from_slice(b"m=");
        out.extend_from_slice(stream.kind);
        out.extend_from_slice(
            if index == audio { format!(" {} ", local.port) } else { " 0 ".into() }.as_bytes(),
        );
        out.extend_from_slice(stream.protocol);
        out.push(b' ');
        if index != audio {
            // RFC 3264 §6: the formats of a rejected stream say nothing, but one must be there.
            out.extend_from_slice(super::words(stream.formats).next().unwrap_or(b"0"));
            out.extend_from_slice(b"\r\n");
            continue;
        }
        answered(media, &chosen, local, out);
    }
    origin.insert(out, start, after_version, local.address);
    Ok(chosen)
}

fn answered(media: &Media<'_>, chosen: &Chosen<'_>, local: &Local<'_>, out: &mut Vec<u8>) {
    let codec = chosen.codec;
    out.extend_from_slice(codec.payload.to_string().as_bytes());
    if let Some(event) = chosen.telephone_event {
        out.extend_from_slice(format!(" {event}").as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    map(out, codec.payload, codec.name, codec.clock, codec.channels);
    if let Some(parameters) = local.parameters.map(str::as_bytes).or(codec.parameters) {
        out.extend_from_slice(format!("a=fmtp:{} ", codec.payload).as_bytes());
        out.extend_from_slice(parameters);
        out.extend_from_slice(b"\r\n");
    }
    if let Some(event) = chosen.telephone_event {
        map(out, event, b"telephone-event", codec.clock, 1);
        out.extend_from_slice(format!("a=fmtp:{event} 0-16\r\n").as_bytes());
    }
    ending(out, local.ptime, media.direction.reversed().and(local.direction));
}

/// `v=` to `t=`, without `o=`; returns where that belongs.
fn session(local: &Local<'_>, out: &mut Vec<u8>) -> usize {
    out.extend_from_slice(b"v=0\r\n");
    let after_version = out.len();
    out.extend_from_slice(b"s=-\r\n");
    connection_line(out, local.address);
    out.extend_from_slice(b"t=0 0\r\n");
    after_version
}

/// `c=`.
pub(super) fn connection_line(out: &mut Vec<u8>, address: IpAddr) {
    let family = if address.is_ipv4() { "IP4" } else { "IP6" };
    out.extend_from_slice(format!("c=IN {family} {address}\r\n").as_bytes());
}

fn map(out: &mut Vec<u8>, payload: u8, name: &[u8], clock: u32, channels: u8) {
    out.extend_from_slice(format!("a=rtpmap:{payload} ").as_bytes());
    out.extend_from_slice(name);
    out.extend_from_slice(format!("/{clock}").as_bytes());
    if channels > 1 {
        out.extend_from_slice(format!("/{channels}").as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

fn ending(out: &mut Vec<u8>, ptime: u16, direction: Direction) {
    out.extend_from_slice(format!("a=ptime:{ptime}\r\na={}\r\n", direction.as_str()).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(address: &str) -> Local<'static> {
        Local {
            address: address.parse().unwrap(),
            port: 7000,
            ptime: 20,
            direction: Direction::SendRecv,
            events: true,
            secured: false,
            parameters: None,
        }
    }

    #[test]
    fn an_offer_is_read_back_and_answered() {
        let (mut offer, mut answer) = (Vec::new(), Vec::new());
        let codecs = [OfferedCodec::PCMU, OfferedCodec::PCMA, OfferedCodec::TELEPHONE_EVENT];
        write_offer(&local("192.0.2.1"), &codecs, &mut LocalOrigin::new(5), &mut offer);
        assert_eq!(
            core::str::from_utf8(&offer).unwrap(),
            "v=0\r\no=- 5 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 7000 RTP/AVP 0 8 101\r\n\
             a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n\
             a=ptime:20\r\na=sendrecv\r\n"
        );
        let session = Session::parse(&offer).unwrap();
        let chosen = write_answer(
            &session,
            &local("2001:db8::1"),
            &["pcma", "opus"],
            &mut LocalOrigin::new(6),
            &mut answer,
        )
        .unwrap();
        assert_eq!((chosen.codec.payload, chosen.telephone_event), (8, Some(101)));
        let answer = Session::parse(&answer).unwrap();
        let (_, audio) = answer.audio().unwrap();
        assert_eq!(audio.codecs().map(|codec| codec.payload).collect::<Vec<_>>(), [8, 101]);
        assert_eq!(audio.rtp_address().unwrap().to_string(), "[2001:db8::1]:7000");
    }

    #[test]
    fn events_that_are_not_wanted_are_not_answered() {
        let text = b"v=0\nm=audio 5 RTP/AVP 8 101\na=rtpmap:101 telephone-event/8000\n";
        let offer = Session::parse(text).unwrap();
        let mut out = Vec::new();
        let local = Local { events: false, ..local("1.2.3.4") };
        let chosen = write_answer(&offer, &local, &["PCMA"], &mut LocalOrigin::new(6), &mut out).unwrap();
        assert_eq!(chosen.telephone_event, None);
        assert!(
            core::str::from_utf8(&out)
                .unwrap()
                .contains("m=audio 7000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na=ptime")
        );
    }

    #[test]
    fn an_answer_has_as_many_streams_as_the_offer() {
        let offer = Session::parse(
            b"v=0\nc=IN IP4 1.1.1.1\nm=video 5 RTP/AVP 31 32\nm=audio 0 RTP/AVP 0\nm=audio 6 RTP/AVP 18 96\n\
              a=rtpmap:96 opus/48000/2\na=fmtp:96 x=1\na=sendonly\nm=image 7 udptl t38\n",
        )
        .unwrap();
        let mut out = Vec::new();
        let chosen =
            write_answer(&offer, &local("1.2.3.4"), &["opus"], &mut LocalOrigin::new(6), &mut out).unwrap();
        assert_eq!(chosen.codec.clock, 48_000);
        let text = core::str::from_utf8(&out).unwrap();
        assert!(text.contains(
            "t=0 0\r\nm=video 0 RTP/AVP 31\r\nm=audio 0 RTP/AVP 0\r\nm=audio 7000 RTP/AVP 96\r\n\
             a=rtpmap:96 opus/48000/2\r\na=fmtp:96 x=1\r\na=ptime:20\r\na=recvonly\r\nm=image 0 udptl t38\r\n"
        ));
    }

    #[test]
    fn without_common_ground_nothing_is_written() {
        let mut out = Vec::new();
        let mut answer = |offer: &[u8]| {
            let offer = Session::parse(offer).unwrap();
            write_answer(&offer, &local("1.2.3.4"), &["PCMU"], &mut LocalOrigin::new(6), &mut out)
                .unwrap_err()
        };
        assert_eq!(
            answer(b"v=0\nm=audio 5 RTP/AVP 8 101\na=rtpmap:101 telephone-event/8000\n"),
            WriteError::NoCodec
        );
        assert_eq!(answer(b"v=0\nm=audio 5 RTP/SAVP 0\n"), WriteError::NoCodec);
        assert_eq!(answer(b"v=0\nm=audio 0 RTP/AVP 0\n"), WriteError::NoAudio);
        assert_eq!(answer(b"v=0\n"), WriteError::NoAudio);
        assert!(out.is_empty());
    }
}
