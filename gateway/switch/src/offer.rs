//! Offers of our own for callers that make none (RFC 3261 §13.2.1): to callees that demand one.
//!
//! The callee's answer is offered to the caller, in the 2xx or a reliable provisional response; the caller's answer, in the
//! ACK or PRACK, can only narrow that down, so that what both agreed upon is the same (the idea of RFC 3725 §4.4).

use crate::bridge::Side as Leg;
use crate::call::{CallMedia, at};
use crate::keys;
use crate::mail::Mail;
use crate::session::{self, Described};
use crate::shard::Shard;
use crate::status::Refusal;
use crate::trunk::Hunt;
use link::{End, Side};
use sansio::{Key, Outbox, Time};
use sip::Received;
use sip::message::Name;
use sip::sdp::OfferedCodec;

/// The codecs that can be offered without anybody's description of them: their payload types are fixed (RFC 3551 §6), or of no other's in such an offer.
pub(crate) const KNOWN: [OfferedCodec<'static>; 6] = [
    OfferedCodec::PCMA,
    OfferedCodec::PCMU,
    OfferedCodec::OPUS,
    OfferedCodec::G722,
    OfferedCodec::G729,
    OfferedCodec::GSM,
];
/// Those that a trunk is offered which names none: what every phone has.
const USUAL: [&str; 2] = ["PCMA", "PCMU"];

/// An offer to the callee, of the codecs named in that order.
///
/// # Errors
/// None of them can be offered: 488.
pub(crate) fn own_offer(media: &mut CallMedia, codecs: &[String]) -> Result<Vec<u8>, Refusal> {
    let named: Vec<&str> = codecs.iter().map(String::as_str).collect();
    let named = if named.is_empty() { &USUAL[..] } else { &named };
    let mut offered: Vec<OfferedCodec<'_>> = named
        .iter()
        .filter_map(|name| KNOWN.into_iter().find(|known| known.name.eq_ignore_ascii_case(name)))
        .collect();
    if offered.is_empty() {
        return Err(Refusal::sdp(
            "the caller offers nothing, and the trunk's codecs cannot be offered unseen",
        ));
    }
    if keys::offers_events(&media.sessions[at(Side::Callee)], true) {
        add_events(&mut offered);
    }
    let port = media.bridge.leg(Leg::Callee).pair().rtp_port;
    media.sessions[at(Side::Callee)].offer(port, &offered, sip::sdp::Direction::SendRecv)
}

/// Appends telephone events at each clock rate of the codecs offered (RFC 4733 §2.1).
pub(crate) fn add_events(offered: &mut Vec<OfferedCodec<'_>>) {
    for event in [OfferedCodec::TELEPHONE_EVENT, OfferedCodec::TELEPHONE_EVENT_48000] {
        if offered.iter().any(|codec| codec.clock == event.clock) {
            offered.push(event);
        }
    }
}

impl Shard {
    /// The caller answered what we offered it of the callee's answer.
    pub(crate) fn on_own_offer_answered(&mut self, now: Time, key: Key, body: &[u8], out: &mut Outbox<Mail>) {
        let Some(origin) = self.calls.get(key).map(|call| self.origin_of(call, Side::Caller)) else { return };
        let Some(call) = self.calls.get_mut(key) else { return };
        (call.late_offer, call.offer_ours) = (false, false);
        let Some(media) = call.media.as_mut() else { return };
        let held = Described::read(body).map(|described| described.is_held());
        match (held, session::answer(now, body, media, Side::Caller, origin)) {
            // The callee was offered a conversation, and the caller wants less: it is told.
            (Ok(true), Ok(answer)) => self.resync(now, key, Side::Callee, answer),
            (Ok(false), Ok(_)) => {}
            // RFC 3261 §13.2.2.4: an answer that is none ends the call.
            _ => {
                self.stats.calls_sdp_refused += 1;
                let cause = "the caller answered the offer with nothing that can be used";
                let end = End { side: Side::Gateway, status: 200, q850: Some(88), cause: cause.into() };
                self.finish(now, key, end, &[("Reason", "SIP;cause=488;text=\"Not Acceptable Here\"")], out);
            }
        }
    }

    /// The caller has acknowledged the answer: what it had been shown before may have been another branch's.
    pub(crate) fn on_settled(&mut self, now: Time, key: Key) {
        let Some(call) = self.calls.get_mut(key) else { return };
        if let Some(body) = call.unheard.take() {
            self.resync(now, key, Side::Caller, body);
        }
    }

    /// Whether the callee refused the call since it could not send an offer by the way that it needs (421 that requires
    /// 100rel alone, of an INVITE without offer): then it is asked once more, with an offer of ours.
    pub(crate) fn demands_offer(&mut self, key: Key, response: Option<&Received>) -> bool {
        let Some(call) = self.calls.get_mut(key) else { return false };
        let Some(message) = response.and_then(|response| response.parse().ok()) else { return false };
        let mut tags = message.values(Name::Require).peekable();
        let demanded = message.status() == 421
            && tags.peek().is_some()
            && tags.all(|tag| tag.eq_ignore_ascii_case(b"100rel"));
        if !demanded || !call.late_offer || call.offer_ours || call.offer_demanded || call.contacts.is_some()
        {
            return false;
        }
        let peer = call.draft.trunk.as_ref().zip(call.draft.peer).and_then(|(trunk, address)| {
            let trunk = call.table.trunk(trunk.as_str())?;
            let peer = trunk.peers.iter().position(|peer| peer.config.address == address)?;
            Some((trunk.clone(), peer))
        });
        let Some((trunk, peer)) = peer else { return false };
        call.offer_demanded = true;
        call.hunt = Some(Hunt::only(&call.draft.from, trunk, peer));
        true
    }
}
