//! Offers and answers where the legs of a call share no codec: each side is told what it speaks, and the bridge translates.
//!
//! That happens only where it must: an offer that names a codec which the trunk takes goes through as it is. Where it names
//! none, the trunk is offered its own codecs in the gateway's words, and the caller's offer is answered with the first of its
//! codecs that can be translated. What a side is offered later (a re-INVITE of the other) is judged anew by what it described
//! itself.

use crate::bridge::Side as Leg;
use crate::call::{CallMedia, across, at};
use crate::keys;
use crate::offer::{KNOWN, add_events};
use crate::session::{self, Described, Origin};
use crate::status::Refusal;
use crate::translator::Spoken;
use link::Side;
use media::codec::{Codec, Rate};
use media::opus::Settings;
use sansio::Time;
use sip::sdp::{self, Events, Local, LocalOrigin, Media, OfferedCodec, Session, write_answer};

/// An offer in the gateway's own words.
#[derive(Debug)]
pub(crate) struct Translating {
    /// Who was offered it.
    towards: Side,
    /// The offer of the other side for which it stands.
    offer: Vec<u8>,
}

impl Translating {
    /// Whether what a side describes answers such an offer.
    pub(crate) fn awaits(&self, from: Side) -> bool {
        self.towards == from
    }
}

/// Writes an offer of those of `codecs` that can be translated, for `towards`, in place of one that names none of them.
/// `None` if nothing can be translated.
pub(crate) fn offer(body: &[u8], media: &mut CallMedia, towards: Side, codecs: &[String]) -> Option<Vec<u8>> {
    let session = Session::parse(body).ok()?;
    let audio = audio(&session)?;
    let asked = spoken(audio)?;
    let known = |name: &String| {
        let known = KNOWN.into_iter().find(|known| known.name.eq_ignore_ascii_case(name))?;
        let codec = Codec::of(known.name, known.clock, known.channels.into())?;
        Some(OfferedCodec { parameters: parameters(codec, asked.codec.rate()).or(known.parameters), ..known })
    };
    let mut offered: Vec<OfferedCodec<'_>> = codecs.iter().filter_map(known).collect();
    if offered.is_empty() {
        return None;
    }
    if keys::offers_events(&media.sessions[at(towards)], asked.event_type.is_some()) {
        add_events(&mut offered);
    }
    let port = media.bridge.leg(Leg::from(towards)).pair().rtp_port;
    let direction = session::direction(audio);
    let out = media.sessions[at(towards)].offer(port, &offered, direction).ok()?;
    media.translating = Some(Translating { towards, offer: body.into() });
    Some(out)
}

/// Takes the answer of `from` to such an offer, and writes the answer to the offer for which it stood. From now on the
/// bridge translates.
pub(crate) fn answer(
    now: Time,
    body: &[u8],
    media: &mut CallMedia,
    from: Side,
    origin: Origin,
) -> Result<Vec<u8>, Refusal> {
    let Some(translating) = media.translating.take() else {
        return Err(Refusal::internal("an answer without an offer"));
    };
    let out = settle(now, body, media, from, origin, &translating.offer);
    // It may be answered again: provisionally first, or by another branch.
    media.translating = Some(translating);
    out
}

fn settle(
    now: Time,
    body: &[u8],
    media: &mut CallMedia,
    from: Side,
    origin: Origin,
    offer: &[u8],
) -> Result<Vec<u8>, Refusal> {
    let none = || Refusal::sdp("no codec that can be translated");
    let described = Described::read(body)?;
    let (answered, offered) = (session::parse(body)?, session::parse(offer)?);
    let (Some(theirs), Some(asked)) = (audio(&answered), audio(&offered)) else { return Err(none()) };
    let mut here = spoken(theirs).ok_or_else(none)?;
    let mut there = spoken(asked).ok_or_else(none)?;
    // Where a codec can be had at several rates, it is had at the other's.
    (here.codec, there.codec) = (here.codec.at(there.codec.rate()), there.codec.at(here.codec.rate()));
    let towards = across(from);
    let port = media.bridge.leg(Leg::from(towards)).pair().rtp_port;
    let local = Local {
        address: media.sessions[at(towards)].address(),
        port,
        ptime: asked.ptime.unwrap_or(20),
        direction: session::direction(theirs),
        // Digits that one side cannot say are not promised to the other.
        events: keys::answers_events(media, towards, here.event_type.is_some()),
        secured: true,
        parameters: parameters(there.codec, here.codec.rate()),
    };
    let mut plain = Vec::with_capacity(512);
    write_answer(&offered, &local, &[there.codec.name()], &mut LocalOrigin::new(0), &mut plain)
        .map_err(|_| none())?;
    media.sessions[at(from)].security.takes(described.security())?;
    let mut ports = [0; sdp::MEDIA_MAX];
    let count = offered.media.len().min(sdp::MEDIA_MAX);
    if let Some((index, _)) = offered.audio() {
        ports[index] = port;
    }
    let bound = sdp::Direction::SendRecv;
    let plain = session::parse(&plain)?;
    let out = media.sessions[at(towards)].write(&plain, &ports[..count], &[], Events::AsDescribed, bound)?;
    if here.event_type.is_none() || there.event_type.is_none() {
        (here.event_type, there.event_type) = (None, None);
    }
    session::apply(now, media, from, &described, origin);
    media.bridge.translate(Leg::from(from), here, there);
    keys::arrange(media);
    Ok(out)
}

fn audio<'a, 'b>(session: &'b Session<'a>) -> Option<&'b Media<'a>> {
    session.audio().map(|(_, media)| media).filter(|media| media.is_rtp())
}

/// The first codec of a stream that can be translated.
fn spoken(audio: &Media<'_>) -> Option<Spoken> {
    audio.codecs().find_map(|codec| {
        let name = core::str::from_utf8(codec.name).ok()?;
        Some(Spoken {
            codec: Codec::of(name, codec.clock, codec.channels.into())?
                .asked(codec.parameters.unwrap_or_default()),
            payload_type: codec.payload,
            // RFC 4733 §2.1: its clock is the audio's.
            event_type: audio.telephone_event(codec.clock),
            // Nobody is offered it.
            noise_type: None,
        })
    })
}

/// What the gateway asks of who sends it a codec, to be translated to one of that rate; `None` if that is what its offer says, or nothing.
fn parameters(codec: Codec, rate: Rate) -> Option<&'static str> {
    matches!(codec, Codec::Opus(_)).then(|| Settings::parameters(rate))
}
