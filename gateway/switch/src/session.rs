//! The session descriptions of a call's legs: what each side said, and what the gateway says in its place.
//!
//! A description goes through with the gateway's addresses in it and its payload type numbers untouched, so
//! that packets need no rewriting. The first audio stream is anchored, video and fax beside it where they pass (`streams`); others are
//! refused (port 0).

use crate::bridge::Side as Leg;
use crate::call::{CallMedia, across, at};
use crate::keys::{self, Dtmf};
use crate::leg_media::{Direction, Format, LatchPolicy, Remote};
use crate::leg_reports::Reporting;
use crate::leg_way::with_rtp;
use crate::profile::Profile;
use crate::security::{LegSecurity, Said, Written};
use crate::status::Refusal;
use crate::streams::{self, Allowed};
use crate::translation;
use core::hash::{Hash as _, Hasher as _};
use core::net::{IpAddr, SocketAddr};
use link::Side;
use rtp::quality::Codec;
use sansio::Time;
use sip::message::{Message, Scheme, Uri, unfold};
use sip::sdp::{self, Added, Events, Local, LocalOrigin, Media, OfferedCodec, Relay, Session};
use std::collections::hash_map::DefaultHasher;

/// What a leg's description needs to be continued (RFC 3264 §8): its origin, and what was said last.
#[derive(Debug)]
pub(crate) struct LegSession {
    origin: LocalOrigin,
    address: IpAddr,
    last: Vec<u8>,
    /// The same with every key that was offered in it: branches of a forked call choose as they like.
    written: Vec<u8>,
    /// What the peer described last, see [`Described::substance`].
    heard: Option<u64>,
    /// The same in its words.
    said: Vec<u8>,
    /// The speech codecs agreed upon, by payload type.
    codecs: Vec<(u8, String)>,
    /// How its media is protected.
    pub(crate) security: LegSecurity,
    /// How its peer says keys.
    pub(crate) dtmf: Dtmf,
    /// Telephone events in what its peer described or offered last: payload types and their clocks.
    pub(crate) asked: Vec<(u8, u32)>,
    /// Which streams beside speech its trunk lets pass.
    pub(crate) allowed: Allowed,
    /// Of which streams of our own are numbered.
    pub(crate) seed: u32,
    /// What is reported to its peer.
    pub(crate) reporting: Reporting,
}

impl LegSession {
    /// A session of this identifier in which the gateway names `address`.
    pub(crate) const fn new(id: u64, address: IpAddr, security: LegSecurity) -> Self {
        Self {
            origin: LocalOrigin::new(id),
            address,
            last: Vec::new(),
            written: Vec::new(),
            heard: None,
            said: Vec::new(),
            codecs: Vec::new(),
            security,
            dtmf: Dtmf::Pass,
            asked: Vec::new(),
            allowed: Allowed { video: None, t38: None },
            seed: id as u32,
            reporting: Reporting::PASSED,
        }
    }

    /// Names another address from now on.
    pub(crate) const fn name_address(&mut self, address: IpAddr) {
        self.address = address;
    }

    /// What the peer described last; empty before it did.
    pub(crate) fn said(&self) -> &[u8] {
        &self.said
    }

    /// The speech codecs agreed upon, by payload type.
    pub(crate) fn codecs(&self) -> &[(u8, String)] {
        &self.codecs
    }

    /// What the gateway said on this leg last.
    pub(crate) fn last(&self) -> Vec<u8> {
        self.last.clone()
    }

    /// The address that the gateway names.
    pub(crate) const fn address(&self) -> IpAddr {
        self.address
    }

    /// Writes an offer of our own with these codecs, and keeps it as what was said last.
    ///
    /// # Errors
    /// The leg's media would have to be protected, and may not be.
    pub(crate) fn offer(
        &mut self,
        port: u16,
        codecs: &[OfferedCodec<'_>],
        direction: sdp::Direction,
    ) -> Result<Vec<u8>, Refusal> {
        let address = self.address;
        let local =
            Local { address, port, ptime: 20, direction, events: false, secured: true, parameters: None };
        let mut plain = Vec::new();
        sdp::write_offer(&local, codecs, &mut LocalOrigin::new(0), &mut plain);
        self.write(&parse(&plain)?, &[port], &[], Events::AsDescribed, sdp::Direction::SendRecv)
    }

    /// Writes a description with our address, these ports and the leg's keys, and keeps it as what was said last.
    pub(crate) fn write(
        &mut self,
        session: &Session<'_>,
        ports: &[u16],
        codecs: &[&str],
        events: Events,
        direction: sdp::Direction,
    ) -> Result<Vec<u8>, Refusal> {
        let written = match anchored(session)? {
            Some((index, audio)) => {
                let port = ports.get(index).copied().unwrap_or(0);
                self.security.write(audio.profile(), (self.address, port, index))?
            }
            None => Written::default(),
        };
        let relay = Relay {
            address: self.address,
            ports,
            codecs,
            events,
            direction,
            protocol: written.protocol,
            crypto: &written.crypto,
            extended_reports: self.reporting.attribute(),
            added: Added {
                session: &written.way.session,
                media: &written.way.media,
                mids: &written.way.mids,
            },
        };
        let mut out = Vec::with_capacity(512);
        sdp::rewrite(session, &relay, &mut self.origin, &mut out)
            .map_err(|_| Refusal::sdp("no codec that the trunk takes"))?;
        self.last.clone_from(&out);
        self.written.clone_from(&out);
        Ok(out)
    }

    /// Names of the speech codecs agreed upon.
    pub(crate) fn codec_names(&self) -> Vec<String> {
        self.codecs.iter().map(|(_, name)| name.clone()).collect()
    }

    /// What was said last is void: this holds again.
    pub(crate) fn restore(&mut self, before: Vec<u8>) {
        self.written.clone_from(&before);
        self.last = before;
    }

    /// RFC 3264 §6: an answer has a line for each that was offered. Those that the other side left out of its answer, though it
    /// must not, are refused.
    fn refuse_rest(&mut self, answered: usize, out: &mut Vec<u8>) {
        let Ok(offered) = parse(&self.said) else { return };
        if offered.media.len() <= answered {
            return;
        }
        // Of whom one stream is named, all are (RFC 5888 §9.1).
        let named = out.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"a=mid:"));
        for media in offered.media.iter().skip(answered) {
            let line = [b"m=", media.kind, b" 0 ", media.protocol, b" ", media.formats, b"\r\n"].concat();
            out.extend_from_slice(&line);
            if let Some(mid) = media.mid().filter(|_| named) {
                out.extend_from_slice(&[b"a=mid:", mid, b"\r\n"].concat());
            }
        }
        self.last.clone_from(out);
        self.written.clone_from(out);
    }

    /// Whether the peer describes what it described before, the version aside.
    pub(crate) fn is_unchanged(&self, described: &Described) -> bool {
        self.heard == Some(described.substance)
    }
}

/// What a peer's description says of its audio.
#[derive(Clone, Debug)]
pub(crate) struct Described {
    rtp: Option<SocketAddr>,
    rtcp: Option<SocketAddr>,
    direction: Direction,
    payload_types: u128,
    formats: Vec<Format>,
    event_type: Option<u8>,
    /// Telephone events by payload type and clock.
    events: Vec<(u8, u32)>,
    codecs: Vec<(u8, String)>,
    /// What it says of protection.
    security: Said,
    /// Whether there is speech at all.
    speech: bool,
    /// The streams beside it.
    streams: Vec<streams::Said>,
    /// A hash of all it says but who says it and in which version (`o=`).
    substance: u64,
    /// It itself.
    body: Vec<u8>,
}

/// From where and by which rule a side's media is latched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    /// The address its signalling comes from.
    pub(crate) signalling: IpAddr,
    /// Whether that shows a NAT.
    pub(crate) behind_nat: bool,
    /// The rule.
    pub(crate) latch: LatchPolicy,
}

impl Described {
    /// Whether it asks for less than a conversation both ways.
    pub(crate) const fn is_held(&self) -> bool {
        !(self.direction.sends && self.direction.receives)
    }

    /// Reads a description.
    pub(crate) fn read(body: &[u8]) -> Result<Self, Refusal> {
        let session = parse(body)?;
        let streams = streams::Said::all(&session);
        let Some((_, audio)) = anchored(&session)? else { return Ok(Self::silent(body, streams)) };
        let all: Vec<_> = audio.codecs().collect();
        let speech = || all.iter().filter(|codec| !codec.is_auxiliary());
        let codecs: Vec<_> = speech().map(|codec| (codec.payload, text(codec.name))).collect();
        let formats = speech().zip(&codecs).map(|(codec, (payload_type, name))| Format {
            payload_type: *payload_type,
            clock: codec.clock.max(1),
            codec: Codec::named(name),
        });
        let unspecified = is_nowhere(audio);
        Ok(Self {
            rtp: audio.rtp_address(),
            // Unless multiplexing is agreed upon (RFC 5761 §5.1.1).
            rtcp: match audio.rtcp {
                Some(_) => audio.rtcp_address(),
                None => audio.rtp_address().and_then(above),
            },
            direction: Direction {
                sends: audio.direction.sends(),
                receives: audio.direction.receives() && !unspecified,
            },
            payload_types: all.iter().fold(0, |types, codec| types | 1 << (codec.payload & 127)),
            formats: formats.collect(),
            event_type: all.iter().find(|codec| codec.is("telephone-event")).map(|codec| codec.payload),
            events: all
                .iter()
                .filter(|codec| codec.is("telephone-event"))
                .map(|codec| (codec.payload, codec.clock))
                .collect(),
            codecs,
            security: Said::of(&session, audio),
            speech: true,
            streams,
            substance: substance(body),
            body: body.into(),
        })
    }

    /// One without speech.
    fn silent(body: &[u8], streams: Vec<streams::Said>) -> Self {
        Self {
            rtp: None,
            rtcp: None,
            direction: Direction::INACTIVE,
            payload_types: 0,
            formats: Vec::new(),
            event_type: None,
            events: Vec::new(),
            codecs: Vec::new(),
            security: Said::default(),
            speech: false,
            streams,
            substance: substance(body),
            body: body.into(),
        }
    }

    /// The streams beside speech.
    pub(crate) fn streams(&self) -> &[streams::Said] {
        &self.streams
    }

    /// What it says of protection.
    pub(crate) const fn security(&self) -> &Said {
        &self.security
    }

    /// Which way media flows, from its peer's point of view.
    pub(crate) const fn direction(&self) -> Direction {
        self.direction
    }

    /// The speech codecs by payload type, the preferred one first.
    pub(crate) fn codecs(&self) -> &[(u8, String)] {
        &self.codecs
    }

    /// The payload type of telephone events.
    pub(crate) const fn event_type(&self) -> Option<u8> {
        self.event_type
    }
}

/// Offers `towards` what the other side offered, of its codecs those named, if any are; if it offers none of them, these
/// themselves, to be translated.
pub(crate) fn offer(
    body: &[u8],
    media: &mut CallMedia,
    towards: Side,
    codecs: &[String],
) -> Result<Vec<u8>, Refusal> {
    // Who was answered in another codec than the one that the other side speaks is known by what it described.
    let own = media.sessions[at(towards)].codec_names();
    let codecs = if codecs.is_empty() && media.bridge.translates() { &own } else { codecs };
    if let Ok(described) = Described::read(body) {
        media.sessions[at(across(towards))].asked.clone_from(&described.events);
    }
    match anchor_as(body, media, towards, codecs, true) {
        Ok(out) => {
            media.translating = None;
            Ok(out)
        }
        Err(refusal) if media.translates => translation::offer(body, media, towards, codecs).ok_or(refusal),
        Err(refusal) => Err(refusal),
    }
}

/// Writes for `towards` what the other side described, with the gateway's address and that leg's port; of its codecs
/// only those named, if any are.
pub(crate) fn anchor(
    body: &[u8],
    media: &mut CallMedia,
    towards: Side,
    codecs: &[String],
) -> Result<Vec<u8>, Refusal> {
    anchor_as(body, media, towards, codecs, false)
}

fn anchor_as(
    body: &[u8],
    media: &mut CallMedia,
    towards: Side,
    codecs: &[String],
    offering: bool,
) -> Result<Vec<u8>, Refusal> {
    let session = parse(body)?;
    let nowhere = anchored(&session)?.is_some_and(|(_, audio)| is_nowhere(audio));
    let bound = if nowhere { sdp::Direction::SendOnly } else { sdp::Direction::SendRecv };
    rewrite(&session, media, towards, codecs, bound, Some(offering))
}

/// RFC 2543 hold: c=0.0.0.0 cannot pass, since our address replaces it; a direction says the same. Where ICE finds the address
/// it is no hold (RFC 8840 §4.1.1).
fn is_nowhere(audio: &Media<'_>) -> bool {
    !audio.ice && audio.connection.is_some_and(|connection| connection.is_unspecified())
}

/// The direction of a stream, however it is said.
pub(crate) fn direction(audio: &Media<'_>) -> sdp::Direction {
    let bound = if is_nowhere(audio) { sdp::Direction::SendOnly } else { sdp::Direction::SendRecv };
    audio.direction.and(bound)
}

/// Answers an offer of `towards` in its own words: of its codecs those named, the gateway's address, the direction turned
/// round (RFC 3264 §6.1).
pub(crate) fn mirror(
    body: &[u8],
    media: &mut CallMedia,
    towards: Side,
    codecs: &[String],
) -> Result<Vec<u8>, Refusal> {
    let described = Described::read(body)?;
    media.sessions[at(towards)].asked.clone_from(&described.events);
    let offered = described.direction;
    let direction = match (offered.sends, offered.receives) {
        (true, true) => sdp::Direction::SendRecv,
        (true, false) => sdp::Direction::RecvOnly,
        (false, true) => sdp::Direction::SendOnly,
        (false, false) => sdp::Direction::Inactive,
    };
    rewrite(&parse(&crate::transfer::open(body))?, media, towards, codecs, direction, None)
}

fn rewrite(
    session: &Session<'_>,
    media: &mut CallMedia,
    towards: Side,
    codecs: &[String],
    direction: sdp::Direction,
    offering: Option<bool>,
) -> Result<Vec<u8>, Refusal> {
    let mut events = Events::AsDescribed;
    let mut ports = [0u16; sdp::MEDIA_MAX];
    if let Some((index, audio)) = anchored(session)? {
        events = keys::events(media, towards, audio, offering.unwrap_or(false));
        ports[index] = media.bridge.leg(Leg::from(towards)).pair().rtp_port;
    }
    // Of its own offer nobody else was asked.
    if offering.is_some() {
        streams::place(session, media, towards, &mut ports);
    }
    if ports.iter().all(|port| *port == 0) {
        return Err(Refusal::sdp("nothing of what it describes passes"));
    }
    let names: Vec<&str> = codecs.iter().map(String::as_str).collect();
    let ports = &ports[..session.media.len().min(sdp::MEDIA_MAX)];
    let session_of = &mut media.sessions[at(towards)];
    let mut out = session_of.write(session, ports, &names, events, direction)?;
    if offering == Some(false) {
        session_of.refuse_rest(session.media.len(), &mut out);
    }
    Ok(out)
}

/// The codecs named by both; of an empty list, all.
///
/// # Errors
/// There are none: 488.
pub(crate) fn common(trunk: &[String], told: Vec<String>) -> Result<Vec<String>, Refusal> {
    if trunk.is_empty() || told.is_empty() {
        return Ok(if told.is_empty() { trunk.to_vec() } else { told });
    }
    let both: Vec<String> =
        told.into_iter().filter(|name| trunk.iter().any(|other| other.eq_ignore_ascii_case(name))).collect();
    if both.is_empty() { Err(Refusal::sdp("no codec that the caller was told of")) } else { Ok(both) }
}

/// Takes the answer of `from` and writes it for the other side.
pub(crate) fn answer(
    now: Time,
    body: &[u8],
    media: &mut CallMedia,
    from: Side,
    origin: Origin,
) -> Result<Vec<u8>, Refusal> {
    if media.translating.as_ref().is_some_and(|it| it.awaits(from)) {
        return translation::answer(now, body, media, from, origin);
    }
    let described = Described::read(body)?;
    if described.speech {
        media.sessions[at(from)].security.takes(&described.security)?;
    }
    let out = anchor(body, media, across(from), &[])?;
    apply(now, media, from, &described, origin);
    if described.speech {
        media.bridge.pass();
    }
    keys::arrange(media);
    Ok(out)
}

/// The media of `side` is where and what it described, unless that cannot be agreed to: then all stays as it was.
pub(crate) fn apply(now: Time, media: &mut CallMedia, side: Side, described: &Described, origin: Origin) {
    let session = &mut media.sessions[at(side)];
    // A fax in the place of speech is for a while: how that is protected stays.
    let agreed = if described.speech {
        let Ok(agreed) = session.security.commit(&described.security) else { return };
        media.bridge.agree(side.into(), &agreed)
    } else {
        None
    };
    media.bridge.set_reporting(side.into(), session.reporting);
    // RFC 4568 §5.1.2: what was said last has the one key that is used, whether it is said again as offer or as answer.
    session.last = sdp::keep_crypto(&session.written, session.security.tag());
    let resolved = described.rtp.map(|rtp| {
        // RFC 2543 hold names no address: there is nothing to be put right.
        let nowhere = rtp.ip().is_unspecified();
        origin.latch.resolve(rtp, origin.signalling, origin.behind_nat && !nowhere)
    });
    let (rtp, policy) = resolved.map_or((None, rtp::Policy::Strict), |(rtp, policy)| (Some(rtp), policy));
    // Where a NAT was recognised, RTCP is expected from the same address as RTP.
    let rtcp = match (described.rtcp, rtp) {
        (Some(rtcp), Some(rtp)) if described.rtp.map(|d| d.ip()) != Some(rtp.ip()) => {
            Some(SocketAddr::new(rtp.ip(), rtcp.port()))
        }
        (rtcp, _) => rtcp,
    };
    let rtcp = with_rtp(media.sessions[at(side)].security.way().is_multiplexed(), rtp, rtcp);
    if described.speech {
        media.bridge.settle(side.into(), agreed.as_ref(), media.sessions[at(side)].security.way());
    }
    let remote = Remote {
        rtp,
        rtcp,
        policy,
        direction: described.direction,
        payload_types: described.payload_types,
        formats: described.formats.clone(),
        event_type: described.event_type,
    };
    media.sessions[at(side)].heard = Some(described.substance);
    media.sessions[at(side)].said.clone_from(&described.body);
    // A fax in the place of speech is for a while.
    if described.speech {
        media.sessions[at(side)].codecs.clone_from(&described.codecs);
    }
    media.sessions[at(side)].asked.clone_from(&described.events);
    media.bridge.set_remote(now, side.into(), &remote);
    streams::apply(now, media, side, &described.streams, origin);
    keys::arrange(media);
}

/// The port above an RTP port, where RTCP goes unless SDP says otherwise (RFC 3550 §11).
fn above(rtp: SocketAddr) -> Option<SocketAddr> {
    Some(SocketAddr::new(rtp.ip(), rtp.port().checked_add(1)?))
}

/// A number that two descriptions share if they say the same (RFC 3264 §8 has the version in `o=` for that, which not
/// every phone keeps).
fn substance(body: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for line in body.split(|byte| *byte == b'\n').filter(|line| !line.starts_with(b"o=")) {
        line.trim_ascii_end().hash(&mut hasher);
    }
    hasher.finish()
}

pub(crate) fn parse(body: &[u8]) -> Result<Session<'_>, Refusal> {
    Session::parse(body).map_err(|error| Refusal::sdp(&format!("{error:?}")))
}

/// The stream of speech: the first audio stream over RTP; none if there is a fax in its place.
fn anchored<'a, 'b>(session: &'b Session<'a>) -> Result<Option<(usize, &'b Media<'a>)>, Refusal> {
    let audio = session.audio().filter(|(_, media)| media.is_rtp());
    let is_fax = |media: &Media<'_>| media.port != 0 && streams::Kind::of(media) == Some(streams::Kind::Fax);
    if audio.is_none() && !session.media.iter().any(is_fax) {
        return Err(Refusal::sdp("it offers no audio over RTP"));
    }
    Ok(audio)
}

/// A header's or attribute's bytes as one line of text.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&unfold(bytes)).into_owned()
}

/// A host as it stands in a URI.
pub(crate) fn host(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

/// The number (or name) in a URI: the user part up to its parameters, as written; of a tel URI the digits without
/// visual separators (RFC 3966 §5.1.1). Empty if there is none.
pub(crate) fn user_of(uri: &[u8]) -> String {
    let Some(parsed) = Uri::parse(uri) else { return String::new() };
    let is_tel = parsed.scheme == Scheme::Tel;
    let user = match parsed.user {
        Some(user) => user,
        None if is_tel => parsed.bytes.get(4..).unwrap_or_default(),
        None => return String::new(),
    };
    let end = user.iter().position(|byte| *byte == b';').unwrap_or(user.len());
    let kept = user[..end].iter().filter(|byte| !is_tel || !b"-.()".contains(byte));
    kept.map(|byte| char::from(*byte)).filter(char::is_ascii_graphic).collect()
}

/// The caller as the callee sees it: name, number as `profile` writes it, and the gateway in place of the caller's network.
pub(crate) fn from_of(message: &Message<'_>, advertised: SocketAddr, profile: &Profile) -> String {
    let Some(from) = message.from() else { return format!("<sip:{}>", host(advertised.ip())) };
    let display = String::from_utf8_lossy(&from.display_text()).replace(['"', '\\', '\r', '\n', '\0'], "");
    let user = profile.calling(&user_of(from.uri));
    // A caller that hides stays hidden (RFC 3323 §4.1.1.3).
    let anonymous = from.uri.windows(17).any(|part| part.eq_ignore_ascii_case(b"anonymous.invalid"));
    let host = if anonymous { "anonymous.invalid".to_owned() } else { host(advertised.ip()) };
    let name = if display.is_empty() { String::new() } else { format!("\"{display}\" ") };
    let separator = if user.is_empty() { "" } else { "@" };
    format!("{name}<sip:{user}{separator}{host}>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_from_what_uris_there_are() {
        assert_eq!(user_of(b"sip:+8613800@192.0.2.1:5060;user=phone"), "+8613800");
        assert_eq!(user_of(b"sip:123;phone-context=+1@192.0.2.1"), "123");
        assert_eq!(user_of(b"tel:+1-(201)-555.0123;ext=3"), "+12015550123");
        assert_eq!(user_of(b"sip:192.0.2.1"), "");
        assert_eq!(user_of(b"nonsense"), "");
    }

    #[test]
    fn a_description_that_cannot_be_anchored_is_refused() {
        assert_eq!(Described::read(b"hello").unwrap_err().status, 488);
        let video = b"v=0\r\nc=IN IP4 192.0.2.1\r\nm=video 4000 RTP/AVP 31\r\n";
        assert_eq!(Described::read(video).unwrap_err().status, 488);
        let mux =
            b"v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 96 8 101\r\na=rtpmap:96 opus/48000/2\r\n\
            a=rtpmap:101 telephone-event/8000\r\na=rtcp-mux\r\n";
        let described = Described::read(mux).unwrap();
        assert_eq!(described.rtcp.unwrap().to_string(), "192.0.2.1:4001", "unless multiplexing is agreed to");
        assert_eq!((described.formats.len(), described.event_type), (2, Some(101)));
        assert_eq!(described.codecs, [(96, "opus".to_owned()), (8, "PCMA".to_owned())]);
        let (again, held) = (b"v=0\no=x 1 9 IN IP4 h\nm=", b"v=0\r\no=x 1 2 IN IP4 h\r\na=sendonly\r\nm=");
        assert_eq!(
            substance(b"v=0\r\no=x 1 2 IN IP4 h\r\nm="),
            substance(again),
            "the version alone is no change"
        );
        assert_ne!(substance(again), substance(held));
        let hold = b"v=0\r\nc=IN IP4 0.0.0.0\r\nm=audio 4000 RTP/AVP 8\r\n";
        assert!(!Described::read(hold).unwrap().direction.receives);
    }
}
