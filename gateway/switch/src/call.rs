//! A call: two legs, where it is, what it has tried, its media, and what will stand in its record.

use crate::bridge::Bridge;
use crate::early::Heard;
use crate::ends::Ends;
use crate::fraud::{Exceeded, Held};
use crate::identity::Standing;
use crate::media_watch::MediaWatch;
use crate::phone::Tried;
use crate::ports::PairId;
use crate::privacy::Privacy;
use crate::profile::{EarlyDialogs, Redirects};
use crate::redirect::Redirected;
use crate::resync::Resync;
use crate::session::{Described, LegSession};
use crate::streams::Stream;
use crate::transfer::Transferring;
use crate::translation::Translating;
use crate::trunk::{Hunt, Peer, Seizure, TrunkTable};
use core::net::SocketAddr;
use core::time::Duration;
use link::{Attempt, Binding, CallId, Phase, Side, TrunkName, UnixMicros};
use sansio::{Key, Time, TimerId};
use sip::{Failure, Flow, LegId, Received};
use std::sync::Arc;

/// One call of a shard.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) id: CallId,
    pub(crate) caller: LegId,
    /// The number that a user of ours is asserted with; none if the caller is nobody's phone.
    pub(crate) asserted: Option<String>,
    /// The one phone of the user that it is for (RFC 5627), if it is for one alone.
    pub(crate) aimed: Option<Box<str>>,
    /// The privacy that the caller asks for.
    pub(crate) privacy: Privacy,
    /// The callee's leg now being tried or talked to.
    pub(crate) callee: Option<LegId>,
    pub(crate) phase: Phase,
    /// The caller's INVITE, for every attempt to be made of.
    pub(crate) invite: Received,
    /// How it came.
    pub(crate) flow: Flow,
    /// Which listener it came by.
    pub(crate) listener: usize,
    /// The trunks it is searched among: a reload is for calls that come after it.
    pub(crate) table: Arc<TrunkTable>,
    /// The search for a peer; `None` while control is asked where to go.
    pub(crate) hunt: Option<Hunt>,
    /// A call to a user: the contacts not tried yet, the next one last.
    pub(crate) contacts: Option<Vec<Binding>>,
    /// Which of the user's phones is tried.
    pub(crate) phone: Option<Tried>,
    /// Where it was sent on to, if it was.
    pub(crate) redirected: Option<Box<Redirected>>,
    /// What the caller's offer says.
    pub(crate) offer: Option<Described>,
    /// The INVITE had no offer: it comes in the 2xx (RFC 3264 §4), its answer in the ACK.
    pub(crate) late_offer: bool,
    /// The offer to the callee tried now is ours, since the caller made none: its answer is offered to the caller.
    pub(crate) offer_ours: bool,
    /// No callee is asked without an offer: one demanded it.
    pub(crate) offer_demanded: bool,
    /// The codecs of the first answer that the caller was shown before the call was answered.
    pub(crate) shown: Option<Vec<String>>,
    /// What the caller has still to hear of the answer, once it has acknowledged it.
    pub(crate) unheard: Option<Vec<u8>>,
    /// The callee tried now has answered the offer in a reliable provisional response: its 2xx need not.
    pub(crate) agreed: bool,
    /// The caller has been told of a session reliably: nothing else may be told before the call is answered.
    pub(crate) told: bool,
    /// The attempt under way.
    pub(crate) trying: Option<Trying>,
    /// Why the last attempt failed.
    pub(crate) last_failure: Option<Failure>,
    /// No-progress or no-route timer.
    pub(crate) timer: Option<TimerId>,
    /// Whether its keys are hidden from whoever looks on.
    pub(crate) hides_keys: bool,
    /// When the bridge has packets of its own to send.
    pub(crate) bridge_timer: Option<TimerId>,
    /// Media check timer.
    pub(crate) media_timer: Option<TimerId>,
    /// When its media is looked at next, once it was answered.
    pub(crate) watch: Option<MediaWatch>,
    pub(crate) watch_timer: Option<TimerId>,
    pub(crate) media: Option<CallMedia>,
    /// A re-INVITE or UPDATE being relayed, by the side that sent it.
    pub(crate) reinvite: Option<Relayed>,
    /// The side whose ACK will bear the answer to the other's offer, for which it had asked.
    pub(crate) answer_awaited: Option<Side>,
    /// What one side has still to hear of the session.
    pub(crate) resync: Option<Resync>,
    /// The user who showed a password for it.
    pub(crate) user: Option<String>,
    /// Its places under the rules against toll fraud, and under those for its trunk.
    pub(crate) tolls: Vec<Held>,
    pub(crate) trunk_tolls: Vec<Held>,
    /// Whether the caller's number is the caller's.
    pub(crate) identity: Standing,
    /// Its ends, as Session-ID names them.
    pub(crate) ends: Ends,
    /// Whether the callee tried now is told of them.
    pub(crate) shows_ends: bool,
    /// Its part in transfers.
    pub(crate) transferring: Transferring,
    pub(crate) draft: Draft,
}

/// The ports and the bridge of a call.
#[derive(Debug)]
pub(crate) struct CallMedia {
    pub(crate) bridge: Bridge,
    pub(crate) pairs: [PairId; 2],
    pub(crate) sessions: [LegSession; 2],
    /// Its streams beside speech.
    pub(crate) streams: Vec<Stream>,
    /// Whether the callee tried now may be offered codecs that the caller does not speak.
    pub(crate) translates: bool,
    /// The offer that was made so last.
    pub(crate) translating: Option<Translating>,
}

/// By what a side changes the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// RFC 3261 §14.
    Reinvite,
    /// RFC 3311.
    Update,
}

/// A re-INVITE or UPDATE on its way through.
#[derive(Debug)]
pub(crate) struct Relayed {
    pub(crate) from: Side,
    pub(crate) how: Change,
    /// The session the asking side described, to be used when the other side agrees; none if it asks for an offer.
    pub(crate) offer: Option<Described>,
    /// What the other side had been told before.
    pub(crate) before: Vec<u8>,
}

/// The attempt under way.
#[derive(Debug)]
pub(crate) struct Trying {
    pub(crate) trunk: TrunkName,
    /// Whom it says something of; none if it is a user's phone.
    pub(crate) peer: Option<Arc<Peer>>,
    pub(crate) address: SocketAddr,
    pub(crate) started: Time,
    /// How long it may say nothing at all.
    pub(crate) patience: Duration,
    pub(crate) sip_call_id: String,
    /// Whether its media before the answer passes.
    pub(crate) early_media: bool,
    /// Whose media that is when the call is forked, and who has been heard.
    pub(crate) early_dialogs: EarlyDialogs,
    pub(crate) early: Heard,
    /// What becomes of its redirections.
    pub(crate) redirects: Redirects,
    /// When it first said more than 100.
    pub(crate) heard: Option<Time>,
}

/// What is known for the record so far.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) sip_call_id: String,
    pub(crate) from: String,
    pub(crate) dialled: String,
    pub(crate) routed: Option<String>,
    pub(crate) source: SocketAddr,
    pub(crate) started: Time,
    pub(crate) started_wall: UnixMicros,
    pub(crate) ringing: Option<Time>,
    pub(crate) answered: Option<Time>,
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) callee_sip_call_id: Option<String>,
    pub(crate) trunk: Option<TrunkName>,
    pub(crate) peer: Option<SocketAddr>,
    /// The last transfer it took part in.
    pub(crate) transfer: Option<link::Transfer>,
    /// What was heard until one of its legs went to another call.
    pub(crate) media: Option<link::Media>,
}

/// What a leg's number means to the shard: kept from the leg's start until it is gone, which may be after its call.
#[derive(Debug)]
pub(crate) struct LegSlot {
    pub(crate) leg: LegId,
    pub(crate) call: Key,
    pub(crate) side: Side,
    /// The place on the trunk: held until the peer cannot count the call any more.
    pub(crate) seizure: Option<Seizure>,
}

impl Call {
    /// Charges its minutes since the last time.
    pub(crate) fn charge_tolls(&mut self, now: Time) -> Vec<Exceeded> {
        let Some(answered) = self.draft.answered else { return Vec::new() };
        let tolls = self.tolls.iter_mut().chain(&mut self.trunk_tolls);
        tolls.filter_map(|held| held.charge(now, answered)).collect()
    }

    /// The number it is for: the one dialled, or the one that it was sent on to.
    pub(crate) fn number(&self) -> &str {
        let redirected = self.redirected.as_ref().and_then(|redirected| redirected.number());
        redirected.unwrap_or(&self.draft.dialled)
    }

    /// Which phone of the user it is for, if for one alone: where it was sent on to, whoever was named there.
    pub(crate) fn phone_meant(&self) -> Option<&str> {
        match self.redirected.as_ref().filter(|redirected| redirected.number().is_some()) {
            Some(redirected) => redirected.phone(),
            None => self.aimed.as_deref(),
        }
    }

    /// The codecs that may be offered to a side: those of the callee's trunk; empty: all.
    pub(crate) fn codecs_towards(&self, side: Side) -> Vec<String> {
        let trunk = self.draft.trunk.as_ref().filter(|_| side == Side::Callee);
        let trunk = trunk.and_then(|name| self.table.trunk(name.as_str()));
        trunk.map_or_else(Vec::new, |trunk| trunk.config.codecs.clone())
    }

    /// The leg of a side, if it is there.
    pub(crate) fn leg(&self, side: Side) -> Option<LegId> {
        match side {
            Side::Caller => Some(self.caller).filter(|leg| *leg != LegId::NONE),
            _ => self.callee,
        }
    }

    /// Puts a leg in a side's place.
    pub(crate) fn set_leg(&mut self, side: Side, leg: LegId) {
        match side {
            Side::Caller => self.caller = leg,
            _ => self.callee = Some(leg).filter(|leg| *leg != LegId::NONE),
        }
    }

    /// The other leg of a side, if it is there.
    pub(crate) fn other(&self, side: Side) -> Option<LegId> {
        self.leg(across(side))
    }
}

/// Index of a side in per-leg arrays.
pub(crate) const fn at(side: Side) -> usize {
    match side {
        Side::Caller => 0,
        _ => 1,
    }
}

/// The other side.
pub(crate) const fn across(side: Side) -> Side {
    match side {
        Side::Caller => Side::Callee,
        _ => Side::Caller,
    }
}
