//! What descriptions say of telephone events where keys are translated, and what follows for the bridge.

use super::{Dtmf, Speaker};
use crate::call::{CallMedia, at};
use crate::leg_media::PayloadMap;
use crate::session::LegSession;
use link::Side;
use media::codec::Codec;
use sip::sdp::{Events, Media, OfferedCodec, Session};

/// The first payload type of those that a session gives meaning to (RFC 3551 §6).
const DYNAMIC: u8 = 96;

/// Whether nobody asks for keys in a way of his own.
pub(crate) fn is_idle(media: &CallMedia) -> bool {
    media.sessions.iter().all(|session| session.dtmf == Dtmf::Pass)
}

/// What a description that is written for `towards` says of telephone events; `offering`: it is an offer.
pub(crate) fn events(media: &CallMedia, towards: Side, described: &Media<'_>, offering: bool) -> Events {
    let own = &media.sessions[at(towards)];
    if is_idle(media) {
        return Events::AsDescribed;
    }
    if own.dtmf.is_without_events() {
        return Events::Without;
    }
    let clock = described.codecs().find(|codec| !codec.is_auxiliary()).map_or(8000, |codec| codec.clock);
    let is_described = |payload: u8| described.telephone_event(clock) == Some(payload);
    // What answers nothing that was said offers, whatever it was made of.
    if offering || own.said().is_empty() {
        return match own.dtmf {
            Dtmf::Rfc4733 if described.telephone_event(clock).is_none() => {
                Events::With { payload: free(described), clock }
            }
            _ => Events::AsDescribed,
        };
    }
    // Of the clock of the speech that was agreed upon (RFC 4733 §2.1).
    let asked = own.asked.iter().find(|(_, of)| *of == clock).map(|(payload, _)| *payload);
    match asked {
        None => Events::Without,
        Some(payload) if is_described(payload) => Events::AsDescribed,
        Some(payload) => Events::With { payload, clock },
    }
}

/// A payload type that a description leaves free: the customary one if it can be.
fn free(described: &Media<'_>) -> u8 {
    let taken = |number: &u8| described.codecs().any(|codec| codec.payload == *number);
    let customary = OfferedCodec::TELEPHONE_EVENT.payload;
    core::iter::once(customary).chain(DYNAMIC..=127).find(|number| !taken(number)).unwrap_or(customary)
}

/// Whether an offer in our own words to a side names telephone events; `described`: the other side did.
pub(crate) fn offers_events(session: &LegSession, described: bool) -> bool {
    match session.dtmf {
        Dtmf::Rfc4733 => true,
        Dtmf::Pass => described,
        Dtmf::Info | Dtmf::InfoPlain | Dtmf::Inband => false,
    }
}

/// Whether an answer in our own words takes the telephone events that a side offered; `answered`: the other side takes them.
pub(crate) fn answers_events(media: &CallMedia, towards: Side, answered: bool) -> bool {
    if is_idle(media) { answered } else { !media.sessions[at(towards)].dtmf.is_without_events() }
}

/// The sides have described anew how they speak: keys are translated accordingly.
pub(crate) fn arrange(media: &mut CallMedia) {
    if is_idle(media) && !media.bridge.has_keys() {
        return;
    }
    let [caller, callee] = [0, 1].map(|side| speaker(&media.sessions[side]));
    if !media.bridge.translates() {
        for (side, from, to) in [(Side::Caller, &caller, &callee), (Side::Callee, &callee, &caller)] {
            let mut map = PayloadMap::default();
            if let (Some((theirs, told)), Some((wanted, _)), false) = (from.events, to.events, is_idle(media))
            {
                map.insert(theirs, wanted);
                if told != theirs {
                    map.insert(told, wanted);
                }
            }
            media.bridge.set_payload_map(side.into(), map);
        }
    }
    let seed = media.sessions[0].seed;
    media.bridge.set_speakers(&caller, &callee, seed);
}

fn speaker(leg: &LegSession) -> Speaker {
    let (last, said) = (leg.last(), leg.said());
    let parsed = (Session::parse(said), Session::parse(&last));
    let (Ok(said), Ok(told)) = parsed else { return Speaker { dtmf: leg.dtmf, ..Speaker::default() } };
    let (Some((_, said)), Some((_, told))) = (said.audio(), told.audio()) else {
        return Speaker { dtmf: leg.dtmf, ..Speaker::default() };
    };
    let number = |audio: &Media<'_>| audio.codecs().find(|it| it.is("telephone-event")).map(|it| it.payload);
    let named = |codec: &sip::sdp::Codec<'_>| {
        told.codecs().any(|it| it.name.eq_ignore_ascii_case(codec.name) && it.clock == codec.clock)
    };
    let codecs = said.codecs().filter(named).filter_map(|codec| {
        let name = core::str::from_utf8(codec.name).ok()?;
        Some((codec.payload, Codec::of(name, codec.clock, codec.channels.into())?))
    });
    Speaker { dtmf: leg.dtmf, events: number(said).zip(number(told)), codecs: codecs.collect() }
}
