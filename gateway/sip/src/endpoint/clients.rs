//! Client transactions carried out: sending, retransmitting, matching responses (RFC 3261 §17.1).

use super::Endpoint;
use super::compose;
use super::large::Fallback;
use super::timers::Timer;
use crate::event::{Flow, Link};
use crate::message::{Message, Method, Name, unfold};
use crate::transaction::key::OwnToken;
use crate::transaction::timing::{self, Lifetime};
use crate::transaction::{Actions, client, client_invite};
use sansio::{Key, Time, TimerId};

/// Where a client transaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// INVITE.
    Invite(client_invite::State),
    /// Any other method.
    Other(client::State),
}

/// Who is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The leg that this INVITE began.
    Invite(Key),
    /// The leg inside which this INVITE changes the session.
    Reinvite(Key),
    /// The leg inside which this UPDATE changes or refreshes the session.
    Update(Key),
    /// The leg that this BYE ends.
    Bye(Key),
    /// The subscription that this NOTIFY is for.
    Notify(Key),
    /// The application.
    Request,
    /// The application, for a request in this dialog without a call.
    Usage(Key),
    /// Nobody; a 2xx to it is acknowledged, and ended with BYE if `bye`.
    Nobody {
        /// Whether a dialog that comes of it shall be ended.
        bye: bool,
    },
}

/// What is to become of an INVITE that nobody wants any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cancel {
    /// It is wanted.
    No,
    /// CANCEL as soon as a provisional response allows it (RFC 3261 §9.1).
    Wanted,
    /// CANCEL was sent in this transaction.
    Sent(Key),
}

/// A client transaction.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) state: State,
    pub(crate) method: Method,
    pub(crate) nonce: u64,
    pub(crate) owner: Owner,
    pub(crate) flow: Flow,
    pub(crate) cseq: u32,
    /// CSeq of the last request in a dialog that this INVITE began (PRACK, UPDATE).
    pub(crate) used_cseq: u32,
    /// The request; once an INVITE was refused, its ACK; once it was accepted, the ACK if it has a body of its own.
    pub(crate) bytes: Box<[u8]>,
    /// Fate of an INVITE.
    pub(crate) cancel: Cancel,
    /// Reason header for the CANCEL.
    pub(crate) reason: Option<Box<str>>,
    /// Accepted: hash of the To tag of the dialog that is kept.
    pub(crate) accepted: u64,
    /// Accepted: hashes of the To tags of dialogs that were ended.
    pub(crate) ended: Vec<u64>,
    /// Whether the INVITE had no body, so that the owner makes the ACK.
    pub(crate) late_offer: bool,
    /// How long before the lifetime timer, if not 64 × T1.
    pub(crate) patience: Option<core::time::Duration>,
    pub(crate) count: u8,
    pub(crate) retransmit: Option<TimerId>,
    pub(crate) lifetime: Option<TimerId>,
    /// Place in the list of its destination while a final response is awaited.
    pub(crate) pending: Option<u32>,
    /// How the request goes if the connection does not come about that it was too large to go without.
    pub(crate) fallback: Option<Box<Fallback>>,
}

impl Client {
    fn new(method: Method, nonce: u64, owner: Owner, flow: Flow, cseq: u32) -> Self {
        let state = if method == Method::Invite {
            State::Invite(client_invite::State::Calling)
        } else {
            State::Other(client::State::Trying)
        };
        Self {
            state,
            method,
            nonce,
            owner,
            flow,
            cseq,
            used_cseq: cseq,
            bytes: Box::default(),
            cancel: Cancel::No,
            reason: None,
            accepted: 0,
            ended: Vec::new(),
            late_offer: false,
            patience: None,
            count: 0,
            retransmit: None,
            lifetime: None,
            pending: None,
            fallback: None,
        }
    }

    /// Whether it is over.
    pub(crate) fn is_terminated(&self) -> bool {
        matches!(
            self.state,
            State::Invite(client_invite::State::Terminated) | State::Other(client::State::Terminated)
        )
    }

    /// Whether no response at all came.
    pub(crate) fn is_unheard(&self) -> bool {
        matches!(
            self.state,
            State::Invite(client_invite::State::Calling) | State::Other(client::State::Trying)
        )
    }

    pub(crate) const fn is_reliable(&self) -> bool {
        matches!(self.flow.link, Link::Stream(_))
    }
}

/// What can happen to a client transaction, whatever its method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    Response(u16),
    Retransmit,
    Lifetime,
    TransportError,
}

fn step(state: State, input: Input) -> (State, Actions) {
    match state {
        State::Invite(state) => {
            let input = match input {
                Input::Response(..200) => client_invite::Input::Provisional,
                Input::Response(..300) => client_invite::Input::Success,
                Input::Response(_) => client_invite::Input::Failure,
                Input::Retransmit => client_invite::Input::Retransmit,
                Input::Lifetime => client_invite::Input::Lifetime,
                Input::TransportError => client_invite::Input::TransportError,
            };
            let (state, actions) = client_invite::step(state, input);
            (State::Invite(state), actions)
        }
        State::Other(state) => {
            let input = match input {
                Input::Response(..200) => client::Input::Provisional,
                Input::Response(_) => client::Input::Final,
                Input::Retransmit => client::Input::Retransmit,
                Input::Lifetime => client::Input::Lifetime,
                Input::TransportError => client::Input::TransportError,
            };
            let (state, actions) = client::step(state, input);
            (State::Other(state), actions)
        }
    }
}

/// The lifetime timer of a state.
const fn lifetime_of(state: State) -> Option<Lifetime> {
    match state {
        State::Invite(client_invite::State::Calling) => Some(Lifetime::B),
        State::Invite(client_invite::State::Completed) => Some(Lifetime::D),
        State::Invite(client_invite::State::Accepted) => Some(Lifetime::M),
        State::Other(client::State::Trying | client::State::Proceeding) => Some(Lifetime::F),
        State::Other(client::State::Completed) => Some(Lifetime::K),
        _ => None,
    }
}

impl Endpoint {
    /// Takes a place for a client transaction; the caller composes the request with its token and calls
    /// [`Self::client_start`]. `None` if the table is full.
    pub(crate) fn client_insert(
        &mut self,
        method: Method,
        owner: Owner,
        flow: Flow,
        cseq: u32,
    ) -> Option<(Key, OwnToken)> {
        if !self.has_room() {
            self.stats.own_full += 1;
            return None;
        }
        let nonce = self.random.u64();
        let key = self.clients.insert(Client::new(method, nonce, owner, flow, cseq)).ok()?;
        Some((key, OwnToken { key, nonce }))
    }

    /// Sends the request and sets the timers (A and B, or E and F). What is too large for a datagram goes another way.
    pub(crate) fn client_start(&mut self, now: Time, key: Key, request: &[u8]) {
        let wide = self.client_by_stream(now, key, request);
        let request = wide.as_deref().unwrap_or(request);
        let Some(client) = self.clients.get_mut(key) else { return };
        client.bytes = request.into();
        self.held += request.len() as u64;
        let patience = client.patience.unwrap_or_else(|| self.config.timers.t1_64());
        let lifetime = self.set_timer(now + patience, Timer::ClientLifetime(key));
        if let Some(client) = self.clients.get_mut(key) {
            client.lifetime = lifetime;
        }
        self.client_send(now, key);
    }

    /// Takes a response: finds its transaction and lets it pass.
    pub(crate) fn client_response(&mut self, now: Time, response: &Message<'_>) {
        let Some(mut key) = response
            .top_via()
            .and_then(|via| OwnToken::of_branch(via.branch()?))
            .filter(|token| self.clients.get(token.key).is_some_and(|client| client.nonce == token.nonce))
            .map(|token| token.key)
        else {
            self.stats.stray_responses += 1;
            return;
        };
        let Some(cseq) = response.cseq() else { return };
        let Some(mut client) = self.clients.get(key) else { return };
        // A CANCEL bears the branch of its INVITE (RFC 3261 §9.1); only CSeq tells their responses apart (§17.1.3).
        if cseq.method == Method::Cancel
            && client.method == Method::Invite
            && let Cancel::Sent(cancel) = client.cancel
            && let Some(found) = self.clients.get(cancel)
        {
            (key, client) = (cancel, found);
        }
        if cseq.method != client.method || cseq.number != client.cseq {
            self.stats.stray_responses += 1;
            return;
        }
        self.client_input(now, key, Input::Response(response.status()), Some(response));
    }

    /// Lets a transaction take an input, and does what follows.
    pub(crate) fn client_input(&mut self, now: Time, key: Key, input: Input, response: Option<&Message<'_>>) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let unheard = client.is_unheard();
        let (next, actions) = step(client.state, input);
        client.state = next;
        let owner = client.owner;
        if actions.has(Actions::STOP_RETRANSMIT) || client.is_terminated() {
            let timer = client.retransmit.take();
            self.stop_timer(timer);
        }
        // What nobody waits for any more keeps its limit: a provisional response is no reason to wait for ever.
        let orphan = matches!(owner, Owner::Nobody { .. });
        if actions.has(Actions::LIFETIME) || (actions.has(Actions::STOP_LIFETIME) && !orphan) {
            let timer = self.clients.get_mut(key).and_then(|client| client.lifetime.take());
            self.stop_timer(timer);
        }
        if actions.has(Actions::SEND) {
            self.client_resend(key);
        }
        if actions.has(Actions::RETRANSMIT) {
            self.client_rearm(now, key);
        }
        if actions.has(Actions::LIFETIME) {
            // The final response came.
            self.client_settled(key);
            self.client_lifetime(now, key);
        }
        // A refused INVITE may be made anew of what was sent; the ACK takes its place.
        let sent = match (response, owner) {
            (Some(response), Owner::Invite(_)) if response.status() == 422 => {
                self.clients.get(key).map(|client| client.bytes.clone())
            }
            _ => None,
        };
        if actions.has(Actions::ACK) {
            self.client_ack(key, response);
        }
        if actions.has(Actions::DELIVER)
            && let Some(response) = response
        {
            self.client_deliver(now, key, owner, response, sent.as_deref());
        }
        if actions.has(Actions::TIMED_OUT) {
            self.stats.transactions_timed_out += 1;
            self.client_failed(
                now,
                key,
                owner,
                if unheard { super::Silence::Total } else { super::Silence::Late },
            );
        }
        if actions.has(Actions::UNREACHABLE) {
            self.stats.transactions_unreachable += 1;
            self.client_failed(now, key, owner, super::Silence::Unreachable);
        }
        if self.clients.get(key).is_some_and(Client::is_terminated) {
            self.client_remove(key);
        }
    }

    fn client_resend(&mut self, key: Key) {
        let Some(client) = self.clients.get(key) else { return };
        self.stats.retransmissions_sent += 1;
        if !self.wire.send(client.flow.link, client.flow.remote, &client.bytes) {
            self.wire.unsendable += 1;
        }
    }

    fn client_rearm(&mut self, now: Time, key: Key) {
        let timers = self.config.timers;
        let Some(client) = self.clients.get_mut(key) else { return };
        client.count = client.count.saturating_add(1);
        let interval = match client.state {
            State::Invite(_) => timing::interval_a(&timers, client.count),
            // RFC 3261 §17.1.2.2: in Proceeding timer E is T2.
            State::Other(client::State::Proceeding) => timers.t2,
            State::Other(_) => timing::interval_capped(&timers, client.count),
        };
        let timer = self.set_timer(now + interval, Timer::ClientRetransmit(key));
        if let Some(client) = self.clients.get_mut(key) {
            client.retransmit = timer;
        }
    }

    fn client_lifetime(&mut self, now: Time, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let Some(timer) = lifetime_of(client.state) else { return };
        let span = timing::lifetime(&self.config.timers, timer, client.is_reliable());
        if span.is_zero() {
            client.state = match client.state {
                State::Invite(_) => State::Invite(client_invite::State::Terminated),
                State::Other(_) => State::Other(client::State::Terminated),
            };
            return;
        }
        let timer = self.set_timer(now + span, Timer::ClientLifetime(key));
        if let Some(client) = self.clients.get_mut(key) {
            client.lifetime = timer;
        }
    }

    /// No longer awaits a final response: out of its destination's list, and its request is let go unless an
    /// ACK is to be made of it.
    fn client_settled(&mut self, key: Key) {
        self.client_unlist(key);
        self.fallback_forget(key);
        if let Some(client) = self.clients.get_mut(key)
            && !matches!(client.state, State::Invite(client_invite::State::Completed))
        {
            self.held -= client.bytes.len() as u64;
            client.bytes = Box::default();
        }
    }

    pub(crate) fn client_unlist(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let Some(place) = client.pending.take() else { return };
        let destination = (client.flow.link, client.flow.remote);
        let Some(list) = self.pending.get_mut(&destination) else { return };
        list.swap_remove(place as usize);
        if let Some(&moved) = list.get(place as usize)
            && let Some(client) = self.clients.get_mut(moved)
        {
            client.pending = Some(place);
        }
        if list.is_empty() {
            self.pending.remove(&destination);
        }
    }

    /// Takes a transaction out, with its CANCEL, whose answer nobody needs any more.
    pub(crate) fn client_remove(&mut self, key: Key) {
        self.client_unlist(key);
        self.fallback_forget(key);
        let Some(client) = self.clients.remove(key) else { return };
        self.held -= client.bytes.len() as u64;
        self.stop_timer(client.retransmit);
        self.stop_timer(client.lifetime);
        if let Cancel::Sent(cancel) = client.cancel {
            self.client_remove(cancel);
        }
    }

    /// The ACK of a refused INVITE (RFC 3261 §17.1.1.3): the first time made of the INVITE and the response.
    fn client_ack(&mut self, key: Key, response: Option<&Message<'_>>) {
        let mut out = core::mem::take(&mut self.scratch);
        out.clear();
        if let Some(client) = self.clients.get_mut(key) {
            if !client.bytes.starts_with(b"ACK ")
                && let (Ok(request), Some(response)) = (Message::parse(&client.bytes), response)
            {
                follow_up(&mut out, &request, b"ACK", response.header(Name::To), None);
                self.held = self.held + out.len() as u64 - client.bytes.len() as u64;
                client.bytes = out.as_slice().into();
            }
            if !self.wire.send(client.flow.link, client.flow.remote, &client.bytes) {
                self.wire.unsendable += 1;
            }
        }
        self.scratch = out;
    }

    /// Cancels an INVITE: now if a provisional response came, else as soon as one comes (RFC 3261 §9.1).
    pub(crate) fn client_cancel(&mut self, now: Time, key: Key, reason: Option<&str>) {
        let Some(client) = self.clients.get_mut(key) else { return };
        if matches!(client.cancel, Cancel::Sent(_)) {
            return;
        }
        client.cancel = Cancel::Wanted;
        if reason.is_some() {
            client.reason = reason.map(Box::from);
        }
        if client.state == State::Invite(client_invite::State::Proceeding) {
            self.client_send_cancel(now, key);
        }
    }

    /// Sends the CANCEL that is wanted, and gives the INVITE 64 × T1 from now (RFC 3261 §9.1).
    pub(crate) fn client_send_cancel(&mut self, now: Time, key: Key) {
        let Some(client) = self.clients.get(key) else { return };
        let (flow, cseq, old) = (client.flow, client.cseq, client.lifetime);
        self.stop_timer(old);
        let lifetime = self.set_timer(now + self.config.timers.t1_64(), Timer::ClientLifetime(key));
        let Some((cancel, _)) = self.client_insert(Method::Cancel, Owner::Nobody { bye: false }, flow, cseq)
        else {
            if let Some(client) = self.clients.get_mut(key) {
                client.lifetime = lifetime;
            }
            return;
        };
        let mut out = core::mem::take(&mut self.scratch);
        out.clear();
        if let Some(client) = self.clients.get_mut(key) {
            client.lifetime = lifetime;
            client.cancel = Cancel::Sent(cancel);
            if let Ok(request) = Message::parse(&client.bytes) {
                follow_up(&mut out, &request, b"CANCEL", request.header(Name::To), client.reason.as_deref());
            }
        }
        self.client_start(now, cancel, &out);
        self.scratch = out;
    }

    /// Lets an INVITE go on without its leg: a 2xx that still comes is acknowledged, and ended if `bye`.
    pub(crate) fn client_orphan(&mut self, now: Time, key: Key, bye: bool) {
        let Some(client) = self.clients.get_mut(key) else { return };
        client.owner = Owner::Nobody { bye };
        if client.lifetime.is_none() {
            let timer = self.set_timer(now + self.config.timers.t1_64(), Timer::ClientLifetime(key));
            if let Some(client) = self.clients.get_mut(key) {
                client.lifetime = timer;
            }
        }
    }

    /// Stops sending an INVITE that nobody waits for.
    pub(crate) fn client_quiet(&mut self, key: Key) {
        let timer = self.clients.get_mut(key).and_then(|client| client.retransmit.take());
        self.stop_timer(timer);
    }

    /// Fails everything that awaits a final response from there.
    pub(crate) fn clients_unreachable(&mut self, now: Time, link: Link, remote: core::net::SocketAddr) {
        let Some(list) = self.pending.get(&(link, remote)) else { return };
        // A copy, since each failure changes the list, and its owner may start anew to the same place.
        for key in list.clone() {
            if !self.client_fall_back(now, key) {
                self.client_input(now, key, Input::TransportError, None);
            }
        }
    }
}

/// Appends an ACK or CANCEL of an INVITE of ours: same Request-URI, Via, Route, From, Call-ID and CSeq number
/// (RFC 3261 §9.1, §17.1.1.3).
fn follow_up(
    out: &mut Vec<u8>,
    invite: &Message<'_>,
    method: &[u8],
    to: Option<&[u8]>,
    reason: Option<&str>,
) {
    let line = |out: &mut Vec<u8>, name: Name, value: &[u8]| {
        compose::parts(out, &[name.as_str().as_bytes(), b": ", &unfold(value), b"\r\n"]);
    };
    compose::parts(out, &[method, b" ", invite.request_uri(), b" SIP/2.0\r\n"]);
    for name in [Name::Via, Name::MaxForwards, Name::Route, Name::From] {
        for value in invite.headers(name) {
            line(out, name, value);
        }
    }
    line(out, Name::To, to.unwrap_or_default());
    line(out, Name::CallId, invite.call_id());
    compose::cseq(out, invite.cseq().map_or(0, |cseq| cseq.number), method);
    if let Some(reason) = reason {
        line(out, Name::Reason, reason.as_bytes());
    }
    // RFC 7989 §6: CANCEL and ACK belong to the session as the INVITE does.
    if let Some(session) = invite.header(Name::SessionId) {
        line(out, Name::SessionId, session);
    }
    out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
}
