//! Server transactions carried out: absorbing retransmissions, sending and repeating responses (RFC 3261 §17.2).

use super::Endpoint;
use super::timers::Timer;
use super::{compose, session_id};
use crate::dialog::session::Grant;
use crate::event::{Body, Flow, Link};
use crate::message::{Message, Method, Name, ResponseWriter, Via, trim, unfold};
use crate::nat::Nat;
use crate::transaction::key::{Arrived, OwnToken};
use crate::transaction::timing::{self, Lifetime};
use crate::transaction::{Actions, server, server_invite};
use crate::treatment::Treatment;
use core::net::SocketAddr;
use core::ops::Range;
use sansio::{Key, Time, TimerId};

/// Where a server transaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// INVITE.
    Invite(server_invite::State),
    /// Any other method.
    Other(server::State),
}

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The leg that this INVITE began.
    Invite(Key),
    /// The leg inside which this INVITE changes the session.
    Reinvite(Key),
    /// The leg inside which this UPDATE changes the session.
    Update(Key),
    /// The application.
    Request,
    /// Nobody any more.
    Nobody,
}

/// A server transaction.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) state: State,
    pub(crate) owner: Owner,
    key: u64,
    merge: Option<u64>,
    pub(crate) flow: Flow,
    /// Where responses go (RFC 3261 §18.2.2); over TCP where to connect when the connection is gone.
    pub(crate) reply_to: SocketAddr,
    pub(crate) cseq: u32,
    /// The session timer that its 2xx grants.
    pub(crate) grant: Option<Grant>,
    /// Our tag in its responses, where it names a leg or a usage.
    pub(crate) tag: Option<OwnToken>,
    /// What every response begins with behind the status line, then Record-Route; until the final response.
    head: Box<[u8]>,
    /// Where what stands in there.
    places: Head,
    /// The last response, for repetition.
    response: Box<[u8]>,
    count: u8,
    retransmit: Option<TimerId>,
    lifetime: Option<TimerId>,
}

impl Server {
    /// What RFC 3261 §17.2.3 compares.
    pub(super) const fn hash(&self) -> u64 {
        self.key
    }

    /// What §8.2.2.2 compares.
    pub(super) const fn merge(&self) -> Option<u64> {
        self.merge
    }
}

/// What can happen to a server transaction, whatever its method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    Request,
    Ack,
    Send(u16),
    Retransmit,
    Lifetime,
    TransportError,
}

fn step(state: State, input: Input) -> (State, Actions) {
    match state {
        State::Invite(state) => {
            let input = match input {
                Input::Request => server_invite::Input::Request,
                Input::Ack => server_invite::Input::Ack,
                Input::Send(..200) => server_invite::Input::SendProvisional,
                Input::Send(..300) => server_invite::Input::SendSuccess,
                Input::Send(_) => server_invite::Input::SendFailure,
                Input::Retransmit => server_invite::Input::Retransmit,
                Input::Lifetime => server_invite::Input::Lifetime,
                Input::TransportError => server_invite::Input::TransportError,
            };
            let (state, actions) = server_invite::step(state, input);
            (State::Invite(state), actions)
        }
        State::Other(state) => {
            let input = match input {
                Input::Request => server::Input::Request,
                Input::Send(..200) => server::Input::SendProvisional,
                Input::Send(_) => server::Input::SendFinal,
                Input::Lifetime => server::Input::Lifetime,
                Input::TransportError => server::Input::TransportError,
                Input::Ack | Input::Retransmit => return (State::Other(state), Actions::NONE),
            };
            let (state, actions) = server::step(state, input);
            (State::Other(state), actions)
        }
    }
}

/// The lifetime timer of a state.
const fn lifetime_of(state: State) -> Option<Lifetime> {
    match state {
        State::Invite(server_invite::State::Completed) => Some(Lifetime::H),
        State::Invite(server_invite::State::Confirmed) => Some(Lifetime::I),
        State::Invite(server_invite::State::Accepted) => Some(Lifetime::L),
        State::Other(server::State::Completed) => Some(Lifetime::J),
        _ => None,
    }
}

/// Where responses to a request from `source` go (RFC 3261 §18.2.2, RFC 3581 §4). Over TCP it is where to connect to
/// when the connection is gone.
pub(crate) fn reply_address(via: &Via<'_>, flow: Flow) -> SocketAddr {
    let source = flow.remote;
    let port = via.port().unwrap_or_else(|| flow.transport.default_port());
    if matches!(flow.link, Link::Stream(_)) {
        return SocketAddr::new(source.ip(), port);
    }
    if let Some(address) = via.maddr().and_then(|host| host.address())
        && address.is_ipv4() == source.is_ipv4()
    {
        return SocketAddr::new(address, port);
    }
    if via.rport().is_some() { source } else { SocketAddr::new(source.ip(), port) }
}

impl Endpoint {
    /// Where responses go; where every peer is taken to be behind a NAT, as if it had asked for `rport`.
    pub(super) fn reply_to(&self, via: &Via<'_>, flow: Flow) -> SocketAddr {
        let forced = self.config.nat == Nat::Always && via.maddr().is_none();
        if forced && matches!(flow.link, Link::Socket(_)) { flow.remote } else { reply_address(via, flow) }
    }

    /// Makes a server transaction with this key; `to_tag` is put into its responses where the request has none.
    /// `None` if the table is full.
    pub(crate) fn server_insert(
        &mut self,
        request: &Arrived<'_, '_>,
        hash: u64,
        flow: Flow,
        owner: Owner,
        to_tag: Option<&[u8]>,
    ) -> Option<Key> {
        if !self.has_room() {
            return None;
        }
        let merge = request.to_tag.is_none().then(|| self.hasher.merge(request));
        let mut out = core::mem::take(&mut self.scratch);
        out.clear();
        let places = Head::write(&mut out, request, flow.remote, to_tag);
        let server = Server {
            state: if request.method() == Method::Invite {
                State::Invite(server_invite::State::Proceeding)
            } else {
                State::Other(server::State::Trying)
            },
            owner,
            key: hash,
            merge,
            flow,
            reply_to: self.reply_to(&request.via, flow),
            cseq: request.cseq,
            grant: None,
            tag: request.to_tag.or(to_tag).and_then(OwnToken::parse),
            head: out.as_slice().into(),
            places,
            response: Box::default(),
            count: 0,
            retransmit: None,
            lifetime: None,
        };
        self.scratch = out;
        self.held += server.head.len() as u64;
        let key = self.servers.insert(server).ok()?;
        self.by_key.insert(hash, key);
        if let Some(merge) = merge {
            self.by_merge.insert(merge, key);
        }
        Some(key)
    }

    /// Gives a request that waits for its owner a bound: 64 × T1.
    pub(crate) fn server_bound(&mut self, now: Time, key: Key) {
        let timer = self.set_timer(now + self.config.timers.t1_64(), Timer::ServerLifetime(key));
        if let Some(server) = self.servers.get_mut(key) {
            server.lifetime = timer;
        }
    }

    /// Appends the status line and what a response takes over from its request, with Record-Route where a dialog is made
    /// (RFC 3261 §12.1.1). `false` if the final response was sent.
    #[must_use]
    pub(crate) fn server_begin(
        &self,
        out: &mut Vec<u8>,
        key: Key,
        status: u16,
        reason: Option<&str>,
    ) -> bool {
        let Some(server) = self.servers.get(key) else { return false };
        if server.head.is_empty() {
            return false;
        }
        compose::status_line(out, status, reason);
        server.places.compose(out, &server.head, status, self.config.keep);
        let leg = server.tag.and_then(|token| self.leg_named(token));
        session_id::line(out, leg.and_then(|leg| leg.session_id.as_deref()));
        true
    }

    /// Sends a response through the transaction.
    pub(crate) fn server_send(&mut self, now: Time, key: Key, status: u16, response: &[u8]) {
        let Some(server) = self.servers.get_mut(key) else { return };
        let is_success = matches!(server.state, State::Invite(_)) && (200..300).contains(&status);
        self.held += response.len() as u64;
        self.held -= server.response.len() as u64;
        server.response = response.into();
        self.server_input(now, key, Input::Send(status));
        let Some(server) = self.servers.get_mut(key) else { return };
        if status >= 200 {
            self.held -= server.head.len() as u64;
            server.head = Box::default();
        }
        if is_success {
            // The leg repeats it (RFC 3261 §13.3.1.4); the transaction only absorbs the request (RFC 6026 §7.1).
            self.held -= server.response.len() as u64;
            server.response = Box::default();
        }
    }

    /// Sends a final response without anything of the owner's in it.
    pub(crate) fn server_answer(&mut self, now: Time, key: Key, status: u16, reason: Option<&str>) {
        self.server_answer_with(now, key, status, reason, b"");
    }

    /// Sends a final response with these further lines.
    pub(crate) fn server_answer_with(
        &mut self,
        now: Time,
        key: Key,
        status: u16,
        reason: Option<&str>,
        lines: &[u8],
    ) {
        self.server_answer_whole(now, key, status, reason, lines, None);
    }

    /// Sends a final response with these further lines and this body, whose Content-Type fits its line.
    pub(crate) fn server_answer_whole(
        &mut self,
        now: Time,
        key: Key,
        status: u16,
        reason: Option<&str>,
        lines: &[u8],
        body: Option<Body<'_>>,
    ) {
        let mut out = core::mem::take(&mut self.scratch);
        out.clear();
        if self.server_begin(&mut out, key, status, reason) {
            compose::parts(&mut out, &[&self.identity.server, lines]);
            if compose::end(&mut out, body) {
                self.server_send(now, key, status, &out);
            }
        }
        self.scratch = out;
    }

    /// Sends 100 at once (RFC 3261 §8.2.6.1), with the request's Timestamp.
    pub(crate) fn server_trying(&mut self, now: Time, key: Key, request: &Message<'_>) {
        let mut out = core::mem::take(&mut self.scratch);
        out.clear();
        if self.server_begin(&mut out, key, 100, None) {
            if let Some(stamp) = request.header(Name::Timestamp) {
                compose::parts(&mut out, &[b"Timestamp: ", &unfold(stamp), b"\r\n"]);
            }
            let _ = compose::end(&mut out, None); // no body, so it fits
            self.server_send(now, key, 100, &out);
        }
        self.scratch = out;
    }

    /// Lets a transaction take an input, and does what follows.
    pub(crate) fn server_input(&mut self, now: Time, key: Key, input: Input) {
        let Some(server) = self.servers.get_mut(key) else { return };
        let (next, actions) = step(server.state, input);
        server.state = next;
        if actions.has(Actions::SEND) && !server.response.is_empty() {
            if matches!(input, Input::Request | Input::Retransmit) {
                self.stats.retransmissions_sent += 1;
            }
            let (link, to) = (server.flow.link, server.reply_to);
            if !self.wire.send(link, to, &server.response) {
                // The connection is gone: a new one to where the request says (RFC 3261 §18.2.2).
                let (flow, response) = (server.flow, server.response.clone());
                self.reply_anew(now, key, flow, to, &response);
            }
        }
        let reliable = self.servers.get(key).is_some_and(|s| matches!(s.flow.link, Link::Stream(_)));
        if actions.has(Actions::STOP_RETRANSMIT) {
            let timer = self.servers.get_mut(key).and_then(|server| server.retransmit.take());
            self.stop_timer(timer);
        }
        if actions.has(Actions::RETRANSMIT) && !reliable {
            let Some(server) = self.servers.get_mut(key) else { return };
            let interval = timing::interval_capped(&self.config.timers, server.count);
            server.count = server.count.saturating_add(1);
            let timer = self.set_timer(now + interval, Timer::ServerRetransmit(key));
            if let Some(server) = self.servers.get_mut(key) {
                server.retransmit = timer;
            }
        }
        if actions.has(Actions::LIFETIME) {
            let timer = self.servers.get_mut(key).and_then(|server| server.lifetime.take());
            self.stop_timer(timer);
            self.server_lifetime(now, key, reliable);
        }
        if actions.has(Actions::TIMED_OUT) {
            self.stats.transactions_timed_out += 1;
        }
        if actions.has(Actions::UNREACHABLE) {
            self.stats.transactions_unreachable += 1;
        }
        let terminated = self.servers.get(key).is_some_and(|server| {
            matches!(
                server.state,
                State::Invite(server_invite::State::Terminated) | State::Other(server::State::Terminated)
            )
        });
        if terminated {
            self.server_remove(key);
        }
    }

    fn server_lifetime(&mut self, now: Time, key: Key, reliable: bool) {
        let Some(server) = self.servers.get_mut(key) else { return };
        let Some(timer) = lifetime_of(server.state) else { return };
        let span = timing::lifetime(&self.config.timers, timer, reliable);
        if span.is_zero() {
            server.state = match server.state {
                State::Invite(_) => State::Invite(server_invite::State::Terminated),
                State::Other(_) => State::Other(server::State::Terminated),
            };
            return;
        }
        let timer = self.set_timer(now + span, Timer::ServerLifetime(key));
        if let Some(server) = self.servers.get_mut(key) {
            server.lifetime = timer;
        }
    }

    pub(super) fn server_remove(&mut self, key: Key) {
        let Some(server) = self.servers.remove(key) else { return };
        self.held -= (server.head.len() + server.response.len()) as u64;
        self.stop_timer(server.retransmit);
        self.stop_timer(server.lifetime);
        if self.by_key.get(&server.key) == Some(&key) {
            self.by_key.remove(&server.key);
        }
        if let Some(merge) = server.merge
            && self.by_merge.get(&merge) == Some(&key)
        {
            self.by_merge.remove(&merge);
        }
    }

    fn reply_anew(&mut self, now: Time, key: Key, flow: Flow, to: SocketAddr, response: &[u8]) {
        let Some(flow) = self.stream_to(now, flow.transport, to, Some(flow.local)) else {
            self.wire.unsendable += 1;
            let settled = self.servers.get(key).is_some_and(|server| {
                matches!(
                    server.state,
                    State::Invite(server_invite::State::Completed) | State::Other(server::State::Completed)
                )
            });
            // A provisional response that got lost does no harm; the final one may find a way again.
            if settled {
                self.server_input(now, key, Input::TransportError);
            }
            return;
        };
        if let Some(server) = self.servers.get_mut(key) {
            server.flow = flow;
        }
        if !self.wire.send(flow.link, to, response) {
            self.wire.unsendable += 1;
        }
    }

    /// Answers a request without keeping anything of it (RFC 3261 §8.2.7); the To tag is the same for each copy.
    pub(crate) fn refuse(
        &mut self,
        request: &Message<'_>,
        flow: Flow,
        status: u16,
        reason: Option<&str>,
        lines: &[u8],
    ) {
        if self.treatment == Treatment::Ignore {
            self.stats.strangers_ignored += 1;
            return;
        }
        let Some(via) = request.top_via() else {
            self.stats.malformed_dropped += 1;
            return;
        };
        let mut tag = Vec::with_capacity(16);
        {
            use std::io::Write as _;
            // Writing to a Vec cannot fail.
            let _ =
                write!(tag, "{:016x}", self.hasher.text(via.branch().unwrap_or_else(|| request.call_id())));
        }
        let mut out = core::mem::take(&mut self.scratch);
        out.clear();
        let reason = reason.map(str::as_bytes);
        let writer = ResponseWriter::answer(&mut out, request, status, reason, Some(&tag), Some(flow.remote));
        if writer.end().is_err() {
            self.stats.malformed_dropped += 1;
            self.scratch = out;
            return;
        }
        // The writer ended it; our lines go before its Content-Length.
        const END: &[u8] = b"Content-Length: 0\r\n\r\n";
        out.truncate(out.len() - END.len());
        compose::parts(&mut out, &[&self.identity.server, lines, END]);
        let to = self.reply_to(&via, flow);
        self.transmit(flow.link, to, &out);
        self.scratch = out;
    }
}

/// What a response takes over from its request: Via, From, To, Call-ID and CSeq (RFC 3261 §8.2.6.2), then Record-Route of an
/// INVITE or SUBSCRIBE; here is where what of it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    routes_at: u32,
    /// Where a `keep` that asks for a value stands in the top Via of a request that makes a binding or a dialog; 0: nowhere.
    keep_at: u32,
}

impl Head {
    /// Appends all of it, with `to_tag` where To has no tag.
    pub(super) fn write(
        out: &mut Vec<u8>,
        request: &Arrived<'_, '_>,
        source: SocketAddr,
        to_tag: Option<&[u8]>,
    ) -> Self {
        let (routes_at, keep_at) = write_head(out, request, source, to_tag);
        Self { routes_at, keep_at }
    }

    /// Appends what was written before to `lines` as a response of this status has it.
    pub(super) fn compose(self, out: &mut Vec<u8>, lines: &[u8], status: u16, keep: Option<u32>) {
        // Record-Route stands there if the request makes a dialog.
        let routes = (101..300).contains(&status);
        let end = if routes { lines.len() } else { self.routes_at as usize };
        // RFC 6223 §4.4: a 2xx says how often its sender is to show that it is still there.
        let keep = keep.filter(|_| self.keep_at > 0 && (200..300).contains(&status));
        match keep {
            Some(seconds) => {
                let (before, after) = lines[..end].split_at(self.keep_at as usize);
                compose::parts(out, &[before, b"="]);
                compose::decimal(out, seconds);
                out.extend_from_slice(after);
            }
            None => out.extend_from_slice(&lines[..end]),
        }
    }
}

/// Appends a head; returns where Record-Route begins and where `keep` stands.
fn write_head(
    out: &mut Vec<u8>,
    request: &Arrived<'_, '_>,
    source: SocketAddr,
    to_tag: Option<&[u8]>,
) -> (u32, u32) {
    let start = out.len();
    let mut keep_at = 0;
    let line = |out: &mut Vec<u8>, name: &[u8], value: &[u8]| {
        compose::parts(out, &[name, &unfold(value), b"\r\n"]);
    };
    for value in request.headers(Name::Via) {
        match top_via_in(request, value) {
            Some(params) => {
                if let Some(at) = write_marked_via(out, request, value, params, source) {
                    keep_at = at - start;
                }
            }
            None => line(out, b"Via: ", value),
        }
    }
    line(out, b"From: ", request.header(Name::From).unwrap_or_default());
    let to = request.header(Name::To).unwrap_or_default();
    match to_tag {
        Some(tag) if request.to_tag.is_none() => {
            compose::parts(out, &[b"To: ", &unfold(to), b";tag=", tag, b"\r\n"]);
        }
        _ => line(out, b"To: ", to),
    }
    line(out, b"Call-ID: ", request.call_id());
    line(out, b"CSeq: ", request.header(Name::CSeq).unwrap_or_default());
    let routes_at = out.len() - start;
    if matches!(request.method(), Method::Invite | Method::Subscribe) {
        for route in request.headers(Name::RecordRoute) {
            line(out, b"Record-Route: ", route);
        }
    }
    let asks = match request.method() {
        Method::Register => true,
        Method::Invite => request.to_tag.is_none(),
        _ => false,
    };
    (routes_at as u32, if asks { keep_at as u32 } else { 0 }) // below the size of two messages
}

/// Where in this Via field the parameters of the top Via lie; `None` if it is not in this field.
fn top_via_in(request: &Arrived<'_, '_>, field: &[u8]) -> Option<Range<usize>> {
    let params = request.via.params.bytes();
    let start = (params.as_ptr() as usize).checked_sub(field.as_ptr() as usize)?;
    // The name in front of them is at least one byte, so a field cannot begin with them.
    (start > 0 && start + params.len() <= field.len()).then(|| start..start + params.len())
}

/// Appends the Via field whose top element has these parameters, with `received` and `rport` in them
/// (RFC 3261 §18.2.1, RFC 3581 §4); returns where a `keep` without value ends.
fn write_marked_via(
    out: &mut Vec<u8>,
    request: &Arrived<'_, '_>,
    field: &[u8],
    params: Range<usize>,
    source: SocketAddr,
) -> Option<usize> {
    let mut keep_at = None;
    let via = &request.via;
    let asked = via.rport().is_some();
    compose::parts(out, &[b"Via: ", &unfold(trim(&field[..params.start]))]);
    for (name, value) in via.params.iter() {
        if name.eq_ignore_ascii_case(b"received") || (asked && name.eq_ignore_ascii_case(b"rport")) {
            continue;
        }
        compose::parts(out, &[b";", name]);
        if let Some(value) = value {
            compose::parts(out, &[b"=", &unfold(value)]);
        } else if name.eq_ignore_ascii_case(b"keep") {
            keep_at = Some(out.len());
        }
    }
    let address = source.ip().to_canonical();
    if asked || via.host().address().map(|host| host.to_canonical()) != Some(address) {
        out.extend_from_slice(b";received=");
        compose::ip(out, address);
    }
    if asked {
        out.extend_from_slice(b";rport=");
        compose::decimal(out, source.port().into());
    }
    compose::parts(out, &[&unfold(&field[params.end..]), b"\r\n"]);
    keep_at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_go_where_rfc_3261_18_2_2_and_rfc_3581_say() {
        let source: SocketAddr = "192.0.2.9:40000".parse().unwrap();
        let [udp, tcp] = [
            (crate::Transport::Udp, Link::Socket(sansio::SocketId(0))),
            (crate::Transport::Tcp, Link::Stream(sansio::StreamId(0))),
        ]
        .map(|(transport, link)| Flow { transport, link, local: source, remote: source });
        let tls = Flow { transport: crate::Transport::Tls, ..tcp };
        for (via, flow, expected) in [
            ("SIP/2.0/UDP 10.0.0.1:5070;branch=z9hG4bK1", udp, "192.0.2.9:5070"),
            ("SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1", udp, "192.0.2.9:5060"),
            ("SIP/2.0/UDP 10.0.0.1:5070;rport;branch=z9hG4bK1", udp, "192.0.2.9:40000"),
            ("SIP/2.0/UDP 10.0.0.1:5070;maddr=192.0.2.77;rport;branch=z9hG4bK1", udp, "192.0.2.77:5070"),
            ("SIP/2.0/TCP 10.0.0.1:5070;rport;branch=z9hG4bK1", tcp, "192.0.2.9:5070"),
            ("SIP/2.0/TLS 10.0.0.1;rport;branch=z9hG4bK1", tls, "192.0.2.9:5061"),
        ] {
            let via = Via::parse(via.as_bytes()).unwrap();
            assert_eq!(reply_address(&via, flow), expected.parse().unwrap());
        }
    }
}
