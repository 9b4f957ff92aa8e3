//! Transfer: a side of a call asks that the other be put through to somebody else (RFC 3515, RFC 5589), or an INVITE
//! asks to take a leg's place (RFC 3891).
//!
//! The gateway executes a REFER itself. For a blind one it makes a second call, the **target call**, that has no caller
//! yet: it is admitted, routed and hunted as a call by the referrer would be. Once it is answered, the leg to be put
//! through moves into it with its RTP ports; the first call keeps the referrer's leg until that hangs up. For an attended
//! one the second call is there already, and the leg takes the place of the referrer's other leg in it. If that call is
//! another shard's, see [`tie`].

mod afar;
mod attended;
mod blind;
mod dial;
mod join;
pub(crate) mod joining;
mod pass;
mod policy;
mod replace;
mod seat;
mod sessions;
mod tie;

pub use afar::Afar;
pub(crate) use joining::{Admitted, Joining};
pub use policy::TransferPolicy;
pub use seat::Search;
pub(crate) use seat::{Pending, Seat};
pub(crate) use sessions::open;
pub(crate) use tie::TIE;

use crate::call::Call;
use crate::mail::Mail;
use crate::shard::{Service, Shard, methods};
use afar::Hearer;
use core::time::Duration;
use link::{Part, Phase, Side};
use sansio::{Key, Outbox, Time, TimerId};
use sip::message::Method;
use sip::transfer::{Join, Refer, Replaces};
use sip::{LegId, LegState, Received, RequestId, Transport, UsageId};

/// How long a referrer whose call was put through may take to hang up.
const HANG_UP: Duration = Duration::from_secs(4);

/// What a call has to do with transfers.
#[derive(Debug, Default)]
pub(crate) struct Transferring {
    /// A side has asked that the other be put through.
    pub(crate) asked: Option<Asked>,
    /// The call whose leg is to become the caller of this one, as long as this one is not answered.
    pub(crate) target_of: Option<Key>,
    /// The number of who referred, for the target to be told (RFC 3892).
    pub(crate) referred_by: Option<String>,
    /// It was made for a REFER outside of calls, and goes on by that once it is answered.
    pub(crate) dial: Option<dial::Dial>,
    /// Whom this call goes to, to join his dialog.
    pub(crate) seat: Option<Box<Seat>>,
    /// The dialog of another shard that this call is to replace.
    pub(crate) replaces: Option<Replaces>,
    /// A side whose place was taken by an INVITE without an offer: its ACK will bear the answer to ours.
    pub(crate) offered: Option<Side>,
    /// Whether a leg of this call came from another call, or took another's place.
    pub(crate) moved: bool,
    /// New legs of a call agree on a session.
    pub(crate) mending: Option<join::Mending>,
    /// A REFER was handed on: by which side, with which CSeq.
    pub(crate) passed: Option<(Side, u32)>,
}

/// Who sent a REFER about a call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Referrer {
    /// A side of the call, in its dialog.
    Within(RequestId),
    /// Somebody who knows the dialog, in one of his own.
    Outside(RequestId, UsageId),
    /// The same, whose REFER another shard has accepted.
    Accepted(Option<Hearer>),
}

/// A transfer that a side asked for.
#[derive(Debug)]
pub(crate) struct Asked {
    /// Who asked.
    pub(crate) by: Side,
    /// How he is told.
    pub(crate) hearer: Option<Hearer>,
    /// The target call; `None` once the other side was put through.
    pub(crate) target: Option<Key>,
    /// Whether he has hung up without waiting for the end.
    pub(crate) left: bool,
    /// Whether it was somebody else who asked, who knew the dialog: then nobody waits for whose dialog it is to hang up.
    pub(crate) apart: bool,
    /// When he is hung up upon.
    pub(crate) timer: Option<TimerId>,
}

impl Transferring {
    /// The timers it holds.
    pub(crate) fn timers(&self) -> impl Iterator<Item = TimerId> {
        let mending = self.mending.as_ref().and_then(|mending| mending.timer);
        self.asked.as_ref().and_then(|asked| asked.timer).into_iter().chain(mending)
    }
}

impl Shard {
    /// A REFER came in (RFC 3515 §2.4.2).
    pub(crate) fn on_refer(
        &mut self,
        now: Time,
        id: RequestId,
        leg: Option<LegId>,
        message: &Received,
        out: &mut Outbox<Mail>,
    ) {
        self.stats.transfers_asked += 1;
        let by = Referrer::Within(id);
        // The endpoint gives those outside of calls a dialog of their own: they come another way.
        let done = leg.ok_or(403).and_then(|leg| self.refer(now, by, leg, message, None, out));
        if let Err(status) = done {
            self.refer_refused(now, by, leg, status, out);
        }
    }

    /// Another shard has said who sits across from the dialog that a REFER names.
    fn refer_found(
        &mut self,
        now: Time,
        by: Referrer,
        leg: LegId,
        message: &Received,
        found: Result<Seat, u16>,
        out: &mut Outbox<Mail>,
    ) {
        if let Err(status) = self.refer(now, by, leg, message, Some(found), out) {
            self.refer_refused(now, by, Some(leg), status, out);
        }
    }

    fn refer_refused(
        &mut self,
        now: Time,
        by: Referrer,
        leg: Option<LegId>,
        status: u16,
        out: &mut Outbox<Mail>,
    ) {
        self.stats.transfers_refused += 1;
        let allowed = leg.filter(|leg| status == 603 && self.transfer_policy(*leg) == TransferPolicy::Refuse);
        let allow = allowed.map(|_| self.methods_but_refer());
        let headers: Vec<(&str, &str)> = allow.iter().map(|value| ("Allow", value.as_str())).collect();
        // It may have timed out meanwhile: then nobody waits for the answer.
        match by {
            Referrer::Within(id) => drop(self.endpoint.respond(now, id, status, &headers, None)),
            Referrer::Outside(id, usage) => {
                let _ = self.endpoint.usage_respond(now, usage, id, status, &headers, None);
                self.endpoint.usage_close(usage);
            }
            Referrer::Accepted(None) => {}
            Referrer::Accepted(Some(hearer)) => self.tell_referrer(now, hearer, status, true, out),
        }
    }

    /// Whether a leg talks: it was answered, and at most its ACK, which may come late, is awaited.
    fn stands(&self, call: &Call, leg: LegId) -> bool {
        let state = self.endpoint.leg(leg).map(|facts| facts.state);
        state == Some(LegState::Confirmed) || (state == Some(LegState::Answered) && !call.late_offer)
    }

    /// What those may send whose REFERs are refused.
    fn methods_but_refer(&self) -> String {
        let own = [Method::Invite, Method::Ack, Method::Bye, Method::Cancel];
        let methods = own
            .into_iter()
            .chain(methods(&self.config, &self.table))
            .filter(|method| *method != Method::Refer);
        methods.map(Method::as_str).collect::<Vec<_>>().join(", ")
    }

    /// A REFER about the call of a leg, whose peer sent it or somebody who knows its dialog. `found` says who sits across from
    /// the dialog that it names, if that was another shard's to say.
    ///
    /// # Errors
    /// The status to answer with.
    pub(crate) fn refer(
        &mut self,
        now: Time,
        referrer: Referrer,
        leg: LegId,
        message: &Received,
        found: Option<Result<Seat, u16>>,
        out: &mut Outbox<Mail>,
    ) -> Result<(), u16> {
        let refer =
            message.parse().map_err(|_| 400_u16).and_then(|it| Refer::read(&it).map_err(|it| it.status))?;
        let (key, by) = self.slot(leg).map(|slot| (slot.call, slot.side)).ok_or(481_u16)?;
        if !self.is_current(key, by, leg) {
            return Err(481);
        }
        let policy = self.transfer_policy(leg);
        let passes = policy == TransferPolicy::Pass;
        if policy == TransferPolicy::Refuse {
            return Err(603);
        }
        let joined = refer.join.as_ref().map(Join::dialog);
        let named = if passes { refer.replaces.clone().or(joined) } else { joined };
        let found = match (named, found) {
            (None, _) => None,
            (Some(_), Some(found)) => Some(found),
            (Some(dialog), None) => {
                let pending = || Pending::Refer { by: referrer, leg, message: message.clone() };
                let Some(found) = self.seat_or_seek(now, &dialog, pending, out) else { return Ok(()) };
                Some(found)
            }
        };
        if passes {
            // The NOTIFYs of who it is handed on to could not find their way into another dialog than the call's.
            let Referrer::Within(id) = referrer else { return Err(603) };
            return self.pass_refer(now, id, (key, by), &refer, found);
        }
        let seat = found.transpose()?.map(Box::new);
        let call = self.calls.get(key).ok_or(481_u16)?;
        let stands = |leg: Option<LegId>| leg.is_some_and(|leg| self.stands(call, leg));
        if call.phase != Phase::Answered
            || call.transferring.asked.is_some()
            || call.transferring.mending.is_some()
            || call.transferring.offered.is_some()
        {
            // Not answered, or a transfer is under way: it may be asked for again.
            return Err(491);
        }
        if !stands(Some(leg)) || !stands(call.other(by)) {
            return Err(491);
        }
        if self.service != Service::Open {
            return Err(503);
        }
        let lasting = self.config.no_answer + Duration::from_secs(60);
        let accepted = match referrer {
            Referrer::Within(id) => {
                self.endpoint.accept_refer(now, id, leg, refer.id, refer.subscribes, lasting)
            }
            Referrer::Outside(id, usage) => {
                self.endpoint.accept_refer_outside(now, id, usage, refer.id, refer.subscribes, lasting)
            }
            Referrer::Accepted(_) => Ok(None),
        };
        let mut hearer = accepted.map_err(|_| 503_u16)?.map(Hearer::Here);
        if let Referrer::Accepted(theirs) = referrer {
            hearer = theirs;
        }
        let apart = !matches!(referrer, Referrer::Within(_));
        let asked = Asked { by, hearer, target: None, left: false, apart, timer: None };
        let number = crate::session::user_of(refer.target.as_bytes());
        if let Some(call) = self.calls.get_mut(key) {
            call.transferring.asked = Some(asked);
        }
        let record = link::Transfer {
            part: Part::Referred,
            by: self.number_at(key, by),
            to: number,
            status: 0,
            call: None,
        };
        self.note_transfer(key, record);
        self.carry_out(now, key, &refer, seat, out);
        Ok(())
    }

    /// Puts the other side through, now that it was accepted.
    fn carry_out(
        &mut self,
        now: Time,
        key: Key,
        refer: &Refer,
        seat: Option<Box<Seat>>,
        out: &mut Outbox<Mail>,
    ) {
        match &refer.replaces {
            Some(replaces) => self.put_through_attended(now, key, replaces, refer, out),
            None => self.put_through_blind(now, key, refer, seat, out),
        }
    }

    /// NOTIFY is for those who subscribed: only the peer that a REFER was handed on to has anything to say
    /// (RFC 6665 §4.1.3).
    pub(crate) fn on_notify(&mut self, now: Time, id: RequestId, leg: LegId, message: &Received) {
        let passed = self.pass_notify(now, id, leg, message).is_some();
        if !passed {
            let _ = self.endpoint.respond(now, id, 481, &[], None);
        }
    }

    /// What is done with the REFERs of a leg: as the profile of its trunk says; a phone's are executed.
    fn transfer_policy(&self, leg: LegId) -> TransferPolicy {
        let Some(flow) = self.endpoint.leg(leg).map(|facts| facts.flow) else {
            return TransferPolicy::default();
        };
        let mut peers = self.table.trunks().iter().flat_map(|trunk| {
            let addresses = trunk.peers.iter().map(|peer| peer.config.address);
            addresses.map(move |address| (trunk, address))
        });
        // A peer's connection to us comes from any port.
        let any_port = flow.transport != Transport::Udp;
        let found = peers.find(|(_, address)| {
            address.ip().to_canonical() == flow.remote.ip().to_canonical()
                && (any_port || address.port() == flow.remote.port())
        });
        found.map_or_else(TransferPolicy::default, |(trunk, _)| trunk.config.profile.transfer)
    }

    /// The number of a side.
    pub(crate) fn number_at(&self, key: Key, side: Side) -> String {
        let Some(draft) = self.calls.get(key).map(|call| &call.draft) else { return String::new() };
        match side {
            Side::Caller => draft.from.clone(),
            _ => draft.dialled.clone(),
        }
    }

    /// Writes a transfer into a call's record.
    fn note_transfer(&mut self, key: Key, transfer: link::Transfer) {
        if let Some(call) = self.calls.get_mut(key) {
            call.draft.transfer = Some(transfer);
        }
    }

    /// The transfer that a side of this call asked for has come to an end: he is told, and it stands in the record.
    fn conclude(&mut self, now: Time, key: Key, status: u16, other: Option<Key>, out: &mut Outbox<Mail>) {
        let other = other.and_then(|other| self.calls.get(other)).map(|call| call.id);
        let Some(call) = self.calls.get_mut(key) else { return };
        if let Some(transfer) = &mut call.draft.transfer {
            transfer.status = status;
            transfer.call = other.or(transfer.call);
        }
        if status < 300 {
            self.stats.transfers_executed += 1;
        } else {
            self.stats.transfers_failed += 1;
        }
        if let Some(hearer) = call.transferring.asked.as_ref().and_then(|asked| asked.hearer) {
            self.tell_referrer(now, hearer, status, true, out);
        }
    }

    /// The methods that transfer adds to those that are understood.
    pub(crate) const METHODS: [Method; 2] = [Method::Refer, Method::Notify];
}
