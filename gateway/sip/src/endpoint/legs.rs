//! The table of legs: making, waiting, losing and ending them. The only place where a leg is removed.

use super::timers::Timer;
use super::{Endpoint, clients, servers};
use crate::dialog::Dialog;
use crate::dialog::invite::Leg;
use crate::event::{Event, Failure, Flow, LegFacts, LegId, LegState, Link, LostCause, Transport};
use crate::message::{Message, NameAddr, Scheme, Uri};
use crate::nat::Nat;
use crate::transaction::key::OwnToken;
use core::net::SocketAddr;
use sansio::{Key, Time};

impl Endpoint {
    /// Takes a leg into the table.
    pub(crate) fn leg_insert(&mut self, leg: Leg) -> Option<Key> {
        let link = leg.flow.link;
        let key = self.legs.insert(leg).ok()?;
        if let Link::Stream(stream) = link
            && let Some(connection) = self.wire.connections.get_mut(stream)
        {
            connection.legs += 1;
        }
        Some(key)
    }

    /// Gives a leg its dialog.
    pub(crate) fn leg_dialog(&mut self, key: Key, dialog: Dialog) {
        if let Some(leg) = self.legs.get_mut(key) {
            self.held += dialog.len() as u64;
            self.held -= leg.dialog.len() as u64;
            leg.dialog = dialog;
        }
    }

    /// Takes over the Contact of a message inside a leg's dialog.
    pub(crate) fn leg_refresh(&mut self, key: Key, message: &Message<'_>) {
        if let Some(leg) = self.legs.get_mut(key) {
            self.held -= leg.dialog.len() as u64;
            leg.dialog.refresh(message);
            self.held += leg.dialog.len() as u64;
        }
    }

    /// Takes a leg out without a word.
    pub(crate) fn leg_remove(&mut self, key: Key) {
        self.leg_retire(key);
        self.legs.release(key);
    }

    /// Takes a leg out but keeps its number until the owner has heard of it: the owner's own table still means
    /// this leg by it while events wait.
    fn leg_retire(&mut self, key: Key) {
        self.stop_repeating(key);
        self.session_stop(key);
        self.provisionals_stop(key);
        self.subscriptions_keep(key);
        let Some(leg) = self.legs.retire(key) else { return };
        self.held -= leg.dialog.len() as u64;
        self.held -= leg.challenged.map_or(0, |challenged| challenged.len()) as u64;
        self.stop_timer(leg.timer);
        if let Link::Stream(stream) = leg.flow.link
            && let Some(connection) = self.wire.connections.get_mut(stream)
        {
            connection.legs = connection.legs.saturating_sub(1);
            connection.used = true;
        }
    }

    /// Ends what is pending in a leg: its INVITEs go on without it, the peer's are answered 487, nothing is repeated.
    pub(crate) fn leg_stop(&mut self, now: Time, key: Key) {
        self.stop_repeating(key);
        self.session_stop(key);
        self.provisionals_stop(key);
        self.updates_stop(now, key);
        let Some(leg) = self.legs.get_mut(key) else { return };
        let (timer, invite, out, inward) =
            (leg.timer.take(), leg.invite.take(), leg.reinvite_out.take(), leg.reinvite_in.take());
        let outgoing = leg.outgoing;
        self.stop_timer(timer);
        match invite {
            Some(client) if outgoing => self.client_orphan(now, client, true),
            Some(server) => self.server_answer(now, server, 487, None),
            None => {}
        }
        if let Some(client) = out {
            self.client_orphan(now, client, false);
        }
        if let Some(server) = inward {
            self.server_answer(now, server, 487, None);
        }
    }

    /// A leg is over: removed, and said so.
    pub(crate) fn leg_finish(&mut self, now: Time, key: Key) {
        if self.legs.get(key).is_none() {
            return;
        }
        self.leg_stop(now, key);
        self.leg_retire(key);
        self.events.push_back(Event::Gone { leg: LegId(key) });
    }

    /// A standing leg broke: BYE is sent for whoever may hear it, and the leg is over.
    pub(crate) fn leg_lost(&mut self, now: Time, key: Key, why: LostCause) {
        if self.legs.get(key).is_none() {
            return;
        }
        self.leg_stop(now, key);
        self.leg_bye(now, key, clients::Owner::Nobody { bye: false }, b"");
        self.events.push_back(Event::Lost { leg: LegId(key), why });
        self.leg_finish(now, key);
    }

    /// What a leg waited for did not come.
    pub(crate) fn leg_timer(&mut self, now: Time, key: Key) {
        let Some(leg) = self.legs.get_mut(key) else { return };
        match (leg.outgoing, leg.invite) {
            (true, Some(client)) => {
                if leg.heard && now < leg.answer_by {
                    let answer_by = leg.answer_by;
                    let timer = self.set_timer(answer_by, Timer::Leg(key));
                    if let Some(leg) = self.legs.get_mut(key) {
                        leg.timer = timer;
                    }
                    return;
                }
                let cause = if leg.heard { Failure::NoAnswer } else { Failure::NoResponse };
                leg.invite = None;
                if cause == Failure::NoResponse {
                    self.client_quiet(client);
                }
                self.client_cancel(now, client, None);
                self.client_orphan(now, client, true);
                self.events.push_back(Event::Failed { leg: LegId(key), cause, message: None });
                self.leg_finish(now, key);
            }
            (false, Some(server)) if now < leg.answer_by => {
                let next = leg.answer_by.min(now + self.config.timers.refresh);
                if leg.state == LegState::Early {
                    self.server_input(now, server, servers::Input::Request);
                }
                let timer = self.set_timer(next, Timer::Leg(key));
                if let Some(leg) = self.legs.get_mut(key) {
                    leg.timer = timer;
                }
            }
            (false, Some(server)) => {
                leg.invite = None;
                self.server_answer(now, server, 480, None);
                self.events.push_back(Event::Lost { leg: LegId(key), why: LostCause::Unanswered });
                self.leg_finish(now, key);
            }
            (_, None) => {
                if let Some(client) = leg.reinvite_out {
                    self.client_cancel(now, client, None);
                } else if let Some(server) = leg.reinvite_in.take() {
                    self.server_answer(now, server, 500, None);
                }
            }
        }
    }

    /// The way to a leg's peer for a request inside its dialog.
    pub(crate) fn leg_flow(&mut self, now: Time, key: Key) -> Option<Flow> {
        let leg = self.legs.get(key)?;
        let hop = if leg.keeps_way() { None } else { self.next_hop(&leg.dialog) };
        let flow = leg.flow;
        Some(self.flow_inside(now, hop, flow))
    }

    /// The way for a request inside a dialog that has no leg.
    pub(crate) fn inside_flow(&mut self, now: Time, dialog: &Dialog, flow: Flow, keeps_way: bool) -> Flow {
        let hop = if keeps_way { None } else { self.next_hop(dialog) };
        self.flow_inside(now, hop, flow)
    }

    /// Address and transport that the next hop's URI names, if it names an address. A GRUU of ours names us, who know no better
    /// way to the phone than the one it speaks by (RFC 5627 §4.3).
    fn next_hop(&self, dialog: &Dialog) -> Option<(SocketAddr, Option<Transport>)> {
        let path = dialog.path();
        let uri = Uri::parse(path.next_hop)
            .or_else(|| NameAddr::parse(path.next_hop).and_then(|address| address.parsed_uri()))?;
        let named = uri.params.value("transport").and_then(Transport::named);
        // RFC 3261 §26.2.2: a SIPS URI is reached over TLS, whatever its parameter says.
        let transport = match (uri.scheme, named) {
            (Scheme::Sips, Some(Transport::Ws)) => Some(Transport::Wss),
            (Scheme::Sips, _) => Some(Transport::Tls),
            (_, named) => named,
        };
        let port = uri.host_port?.port.unwrap_or_else(|| transport.unwrap_or(Transport::Udp).default_port());
        let address = match uri.params.value("maddr") {
            Some(maddr) => crate::message::Host::parse(maddr)?.address()?,
            None => uri.host_port?.host.address()?,
        };
        let ours = self.sockets.iter().map(|(_, advertised)| *advertised);
        let mut ours = ours.chain(self.listeners.iter().map(|known| known.advertised));
        let any_port = uri.host_port?.port.is_none();
        if uri.params.has("gr") && ours.any(|it| it.ip() == address && (any_port || it.port() == port)) {
            return None;
        }
        Some((SocketAddr::new(address, port), transport))
    }

    /// Where a request inside a dialog goes: to the address its next hop names, over the transport it names or else
    /// the one spoken so far. A next hop that is a name is the peer we speak with: this core resolves no names.
    fn flow_inside(&mut self, now: Time, hop: Option<(SocketAddr, Option<Transport>)>, flow: Flow) -> Flow {
        let Some((address, named)) = hop else { return self.flow_again(now, flow) };
        let transport = match named {
            // One parameter for both (RFC 7118 §5.2.4): the one that is spoken is meant.
            Some(Transport::Ws) if flow.transport.is_websocket() => flow.transport,
            named => named.unwrap_or(flow.transport),
        };
        let stream = transport != Transport::Udp;
        match flow.link {
            Link::Socket(_) if !stream && address.is_ipv4() == flow.local.is_ipv4() => {
                Flow { remote: address, ..flow }
            }
            // The connection the peer opened is the way back to it, whatever port it listens on.
            Link::Stream(held)
                if transport == flow.transport
                    && self.wire.connections.get(held).is_some_and(|connection| {
                        address.ip() == flow.remote.ip() || connection.is_only_way(held)
                    }) =>
            {
                flow
            }
            _ if stream => self.stream_to(now, transport, address, Some(flow.local)).unwrap_or(flow),
            _ => {
                let same = |local: &SocketAddr| local.is_ipv4() == address.is_ipv4();
                let beside = |local: &SocketAddr| same(local) && local.ip() == flow.local.ip();
                let beside = self.sockets.iter().find(|(_, local)| beside(local));
                match beside.or_else(|| self.sockets.iter().find(|(_, local)| same(local))) {
                    Some((socket, local)) => {
                        let link = Link::Socket(*socket);
                        Flow { transport: Transport::Udp, link, local: *local, remote: address }
                    }
                    None => flow,
                }
            }
        }
    }

    /// The same way again; over TCP a new connection if the old one is gone.
    fn flow_again(&mut self, now: Time, flow: Flow) -> Flow {
        match flow.link {
            Link::Stream(stream) if self.wire.connections.get(stream).is_none() => {
                self.stream_to(now, flow.transport, flow.remote, Some(flow.local)).unwrap_or(flow)
            }
            _ => flow,
        }
    }

    /// Says whether requests inside a leg's dialog go the way that its peer is heard over, rather than to the Contact it
    /// names; for a leg of ours `shown` that the peer is behind a NAT, as far as that is known from before.
    pub fn set_nat(&mut self, leg: LegId, nat: Nat, shown: bool) {
        if let Some(leg) = self.legs.get_mut(leg.0) {
            leg.nat = nat;
            leg.shows_nat |= shown;
        }
    }

    /// A request came inside the dialog of a leg whose peer is behind a NAT: it is reached where that came from, which is
    /// elsewhere once the NAT has forgotten the old way, or the peer has connected again (RFC 5626 §5.3 as an idea).
    pub(crate) fn leg_heard_over(&mut self, key: Key, flow: Flow) {
        let Some(leg) = self.legs.get_mut(key).filter(|leg| leg.keeps_way() && leg.flow != flow) else {
            return;
        };
        let old = core::mem::replace(&mut leg.flow, flow);
        self.stats.legs_moved += 1;
        for (link, came) in [(old.link, false), (flow.link, true)] {
            if let Link::Stream(stream) = link
                && let Some(connection) = self.wire.connections.get_mut(stream)
            {
                connection.legs = if came { connection.legs + 1 } else { connection.legs.saturating_sub(1) };
                connection.used = true;
            }
        }
    }

    /// Facts about a leg; `None` once it is gone.
    pub fn leg(&self, leg: LegId) -> Option<LegFacts<'_>> {
        let state = self.legs.get(leg.0)?;
        let parts = state.dialog.parts();
        let text = |bytes| core::str::from_utf8(bytes).unwrap_or_default();
        let tag = parts.local.len().saturating_sub(OwnToken::LEN);
        Some(LegFacts {
            call_id: text(parts.call_id),
            local_tag: text(&parts.local[tag..]),
            remote_tag: text(parts.remote_tag),
            remote_target: text(parts.target),
            flow: state.flow,
            behind_nat: state.keeps_way(),
            state: state.state,
            outgoing: state.outgoing,
        })
    }
}
