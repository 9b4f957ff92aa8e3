//! Whoever is on the other side of a call from the dialog that names it: where he is called, and by which name he knows his
//! own dialog. A request that is for him to act upon (Join; a REFER that is handed on) is to name that one.
//!
//! Only the shard that has the call knows. If the call leads on to another shard, as after a transfer between two of them, that one
//! does: the question goes on to it. It is asked by mail, which carries all that is needed to go on: nobody keeps
//! anything while the answer is awaited, and the endpoint ends what is never answered.

use super::Referrer;
use crate::attempt::Way;
use crate::call::across;
use crate::mail::Mail;
use crate::outside::Handed;
use crate::shard::Shard;
use crate::status::Refusal;
use crate::trunk::Hunt;
use core::net::SocketAddr;
use link::{Binding, Side, TrunkName};
use sansio::{Key, Mailbox, Outbox, Time};
use sip::message::Uri;
use sip::transfer::{Refer, Replaces};
use sip::{Flow, Held, LegId, LegState, Received, Transport};

/// Somebody in a call, as a request on his behalf has to know him.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    /// His dialog with us, from his view.
    pub(crate) dialog: Replaces,
    /// Whether that stands, rather than being early.
    pub(crate) stands: bool,
    /// The number that he is called by.
    pub(crate) number: String,
    place: Place,
}

/// Where he is called.
#[derive(Clone, Debug)]
enum Place {
    /// At this peer of a trunk, by this number after the route's rewriting.
    Trunk { trunk: TrunkName, peer: SocketAddr, routed: String },
    /// At this one of a user's phones.
    Phone(Box<Binding>),
    /// Where he called from: an address from which calls are taken.
    There {
        contact: String,
        address: SocketAddr,
        transport: Transport,
        local: SocketAddr,
        over: Option<Held>,
    },
}

/// What there is across from a dialog.
pub(super) enum Across {
    /// Somebody, or the status that says why nobody.
    Here(Result<Seat, u16>),
    /// A call between this shard and that one: who is on its far end is across from this dialog of that shard's.
    Beyond(u16, Replaces),
}

/// What is to go on once a seat is found.
#[derive(Debug)]
pub(crate) enum Pending {
    /// An INVITE with Join, admitted already.
    Join { leg: LegId, invite: Received, flow: Flow, user: Option<String> },
    /// A REFER that names a dialog.
    Refer { by: Referrer, leg: LegId, message: Received },
    /// A REFER outside of calls, admitted, that is to be handed on.
    Handed(Box<Handed>),
    /// A phone that was rung for a REFER outside of calls is to be put through to who sits there: its call, and the REFER.
    Dialled(Key, Box<Refer>),
}

/// The most shards that are asked one after the other: a call may lead on over several, each time by a transfer.
const HOPS_MAX: u8 = 8;

/// A question of one shard about a dialog of another's, and its answer.
#[derive(Debug)]
pub struct Search {
    asks: u16,
    /// How many shards have passed it on.
    hops: u8,
    dialog: Replaces,
    pending: Pending,
    found: Result<Seat, u16>,
}

impl Shard {
    /// Asks the shard that has a dialog who is across from it.
    pub(super) fn seek(&mut self, owner: u16, dialog: &Replaces, pending: Pending, out: &mut Outbox<Mail>) {
        self.stats.transfers_elsewhere += 1;
        let (asks, dialog) = (self.shards.me, dialog.clone());
        let search = Search { asks, hops: 0, dialog, pending, found: Err(481) };
        out.mail(Mailbox(owner), Mail::Seek(Box::new(search)));
    }

    /// Who is across from a dialog, whoever's it is; `None` if another shard has to say, which is asked and told what is to go on.
    pub(crate) fn seat_or_seek(
        &mut self,
        now: Time,
        dialog: &Replaces,
        pending: impl FnOnce() -> Pending,
        out: &mut Outbox<Mail>,
    ) -> Option<Result<Seat, u16>> {
        let (owner, dialog) = match self.elsewhere(dialog) {
            Some(owner) => (owner, dialog.clone()),
            None => match self.across_from(now, dialog) {
                Across::Here(found) => return Some(found),
                Across::Beyond(owner, dialog) => (owner, dialog),
            },
        };
        self.seek(owner, &dialog, pending(), out);
        None
    }

    /// Another shard asks.
    pub(crate) fn sought(&self, now: Time, mut search: Box<Search>, out: &mut Outbox<Mail>) {
        match self.across_from(now, &search.dialog) {
            Across::Here(found) => search.found = found,
            Across::Beyond(owner, dialog) if search.hops < HOPS_MAX => {
                (search.dialog, search.hops) = (dialog, search.hops + 1);
                return out.mail(Mailbox(owner), Mail::Seek(search));
            }
            Across::Beyond(..) => search.found = Err(488),
        }
        let asks = search.asks;
        out.mail(Mailbox(asks), Mail::Found(search));
    }

    /// The answer of another shard: what waited for it goes on.
    pub(crate) fn found(&mut self, now: Time, search: Search, out: &mut Outbox<Mail>) {
        match search.pending {
            Pending::Join { leg, invite, flow, user } => {
                self.join_found(now, (leg, invite, flow, user), search.found, out);
            }
            Pending::Refer { by, leg, message } => {
                self.refer_found(now, by, leg, &message, search.found, out);
            }
            Pending::Handed(handed) => self.hand_on(now, *handed, search.found.ok(), out),
            Pending::Dialled(key, refer) => self.dialled_found(now, key, &refer, search.found, out),
        }
    }

    /// Who is across from the leg that a dialog of ours names; or who has that dialog with us, if it is named as he sees it
    /// (he is the one who told of it). The status is 481 if there is no such dialog, or nobody across, and 603 if it is over
    /// (RFC 3911 §4).
    fn across_from(&self, now: Time, dialog: &Replaces) -> Across {
        match self.chair(dialog) {
            Ok((key, side, leg)) => {
                self.beyond(leg).unwrap_or_else(|| Across::Here(self.seat_of(now, key, side, leg)))
            }
            Err(status) => Across::Here(Err(status)),
        }
    }

    /// The shard on the far end of a leg, if one is there, with the dialog as it knows it.
    fn beyond(&self, leg: LegId) -> Option<Across> {
        let flow = self.endpoint.leg(leg).map(|facts| facts.flow).filter(|flow| self.is_tied(flow))?;
        Some(Across::Beyond(self.endpoint.held(&flow)?.holder, self.endpoint.dialog_of(leg)?))
    }

    /// Whether somebody is across from a dialog of ours.
    ///
    /// # Errors
    /// The status that says why not.
    pub(super) fn is_there(&self, dialog: &Replaces) -> Result<(), u16> {
        self.chair(dialog).map(|_| ())
    }

    /// The leg of who is across from a dialog.
    fn chair(&self, dialog: &Replaces) -> Result<(Key, Side, LegId), u16> {
        let near = self.endpoint.replaced_leg(dialog);
        let leg = near.or_else(|| self.endpoint.replaced_leg_from_afar(dialog)).ok_or(481_u16)?;
        if self
            .endpoint
            .leg(leg)
            .is_some_and(|it| matches!(it.state, LegState::Ending | LegState::Cancelling))
        {
            return Err(603);
        }
        let (key, side) = self.slot(leg).map(|slot| (slot.call, slot.side)).ok_or(481_u16)?;
        if !self.is_current(key, side, leg) {
            return Err(481);
        }
        if near.is_none() {
            return Ok((key, side, leg));
        }
        let far = self.calls.get(key).and_then(|call| call.other(side)).ok_or(481_u16)?;
        Ok((key, across(side), far))
    }

    fn seat_of(&self, now: Time, key: Key, side: Side, leg: LegId) -> Result<Seat, u16> {
        let dialog = self.endpoint.dialog_of(leg).ok_or(481_u16)?;
        let facts = self.endpoint.leg(leg).ok_or(481_u16)?;
        let number = self.number_at(key, side);
        let remote = facts.flow.remote;
        let phone = self.config.users.has(&number).then(|| {
            let reach = self.registrar.reach(self.wall(now), &number, None, || 0);
            reach.contacts.into_iter().find(|it| it.target == remote)
        });
        let place = if let Some(Some(binding)) = phone {
            Place::Phone(Box::new(binding))
        } else if let Some(trunk) = self.trunk_behind(now, &facts.flow) {
            let routed = self.calls.get(key).and_then(|call| call.draft.routed.clone());
            let routed = routed.filter(|_| side == Side::Callee).unwrap_or_else(|| number.clone());
            Place::Trunk { trunk: trunk.config.name.as_str().into(), peer: remote, routed }
        } else {
            let contact = facts.remote_target.to_owned();
            // A Contact that names an address is where he listens, unless he is behind a NAT.
            let named = Uri::parse(contact.as_bytes()).and_then(|uri| {
                let place = uri.host_port?;
                let port = place.port.unwrap_or_else(|| facts.flow.transport.default_port());
                Some(SocketAddr::new(place.host.address()?, port))
            });
            let over = self.endpoint.held(&facts.flow);
            let address = named.filter(|_| !facts.behind_nat && over.is_none()).unwrap_or(remote);
            let (transport, local) = (facts.flow.transport, facts.flow.local);
            Place::There { contact, address, transport, local, over }
        };
        Ok(Seat { dialog, stands: facts.state == LegState::Confirmed, number, place })
    }

    /// What becomes of an INVITE that is to join a dialog of who sits there: by the profile of the trunk there.
    pub(super) fn joins_at(&self, seat: &Seat) -> crate::profile::Joins {
        match &seat.place {
            Place::Trunk { trunk, .. } => self
                .table
                .trunk(trunk.as_str())
                .map_or(crate::profile::Joins::Refuse, |trunk| trunk.config.profile.joins),
            Place::Phone(_) | Place::There { .. } => crate::profile::Joins::Pass,
        }
    }

    /// Sends a call to a seat, and nowhere else.
    pub(crate) fn route_to_seat(&mut self, now: Time, key: Key, seat: &Seat, out: &mut Outbox<Mail>) {
        let gone = Refusal::dialog(481, "the trunk of the dialog to be joined is there no more");
        match &seat.place {
            Place::Phone(binding) => {
                if let Some(call) = self.calls.get_mut(key) {
                    call.draft.routed = Some(seat.number.clone());
                    call.contacts = Some(vec![(**binding).clone()]);
                }
                self.stats.calls_to_users += 1;
                self.try_next(now, key, out);
            }
            Place::Trunk { trunk, peer, routed } => {
                let found = self.table.trunk(trunk.as_str()).cloned().and_then(|trunk| {
                    let at = |exact: bool| {
                        trunk.peers.iter().position(|it| {
                            let address = it.config.address;
                            address.ip().to_canonical() == peer.ip().to_canonical()
                                && (!exact || address.port() == peer.port())
                        })
                    };
                    // Connections of a peer's come from any port.
                    let peer = at(true).or_else(|| at(false))?;
                    Some((trunk, peer))
                });
                let table = self.table.clone();
                let (Some((trunk, peer)), Some(call)) = (found, self.calls.get_mut(key)) else {
                    return self.end_refused(now, key, &gone, out);
                };
                call.table = table;
                call.hunt = Some(Hunt::only(&call.draft.from, trunk, peer));
                call.draft.routed = Some(routed.clone());
                self.try_next(now, key, out);
            }
            Place::There { contact, address, transport, local, over } => {
                let Some(listener) = self.listener_called(*local) else {
                    return self.end_refused(now, key, &gone, out);
                };
                if let Some(call) = self.calls.get_mut(key) {
                    call.draft.routed = Some(seat.number.clone());
                    call.contacts = Some(Vec::new());
                }
                self.stats.attempts += 1;
                let host = crate::session::host(self.listeners[listener].advertised.ip());
                let name = format!("{}{}", link::USER_PREFIX, seat.number).into();
                let way = Way {
                    over: over.map(|held| (held, *local)),
                    nat: (self.nat_at(listener), over.is_some()),
                    request_uri: contact.clone(),
                    to: format!("<sip:{}@{host}>", seat.number),
                    number: crate::session::user_of(contact.as_bytes()),
                    patience: self.config.no_response.saturating_mul(4),
                    ..Way::beside_trunks(name, *address, *transport, listener)
                };
                if let Err(refusal) = self.send_invite(now, key, way, &[], out) {
                    self.end_refused(now, key, &refusal, out);
                }
            }
        }
    }
}
