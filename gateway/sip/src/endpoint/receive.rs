//! What arrives, sorted: responses to their transactions, requests to transactions, dialogs, the owner, or a refusal.

use super::Endpoint;
use super::servers::{self, Owner};
use crate::dialog::invite::Leg;
use crate::event::{Event, Flow, Link, Received, RequestId, Transport};
use crate::message::{
    Capabilities, Defect, Message, Method, Name, Uri, Via, acceptable, unsupported, validate,
    validate_response,
};
use crate::transaction::key::{Arrived, OwnToken};
use crate::transaction::server_invite;
use crate::transfer::{Join, Replaces};
use crate::treatment::Treatment;
use core::net::SocketAddr;
use sansio::{Key, SocketId, Time};

/// What a body of a session request may be.
const MEDIA_TYPES: [&str; 1] = ["application/sdp"];

impl Endpoint {
    /// Takes a datagram.
    pub fn handle_datagram(&mut self, now: Time, socket: SocketId, source: SocketAddr, payload: &[u8]) {
        let Some((_, local)) = self.sockets.iter().find(|(id, _)| *id == socket) else {
            self.stats.unsendable += 1;
            return;
        };
        let flow =
            Flow { transport: Transport::Udp, link: Link::Socket(socket), local: *local, remote: source };
        self.handle_message(now, flow, payload);
    }

    /// Takes one message, from wherever it came.
    pub(crate) fn handle_message(&mut self, now: Time, flow: Flow, bytes: &[u8]) {
        self.wire.tap.received(now, flow, bytes);
        let message = match Message::parse(bytes) {
            Ok(message) => message,
            Err(error) => {
                if error.defect == Defect::Empty {
                    return; // a keep-alive
                }
                self.stats.messages_received += 1;
                match error.answerable() {
                    Some(request) => {
                        self.stats.malformed_refused += 1;
                        self.refuse(&request, flow, error.status(), Some(error.reason()), b"");
                    }
                    None => self.stats.malformed_dropped += 1,
                }
                return;
            }
        };
        self.stats.messages_received += 1;
        if message.is_request() {
            self.handle_request(now, flow, &message);
        } else if validate_response(&message).is_ok() {
            self.client_response(now, &message);
        } else {
            self.stats.malformed_dropped += 1;
        }
    }

    fn handle_request(&mut self, now: Time, flow: Flow, request: &Message<'_>) {
        let method = request.method();
        if let Err(reject) = validate(request) {
            if method == Method::Ack {
                self.stats.malformed_dropped += 1;
            } else {
                self.stats.malformed_refused += 1;
                self.refuse(request, flow, reject.status, Some(reject.reason), b"");
            }
            return;
        }
        let Some(request) = &Arrived::of(request) else {
            self.stats.malformed_dropped += 1;
            return;
        };
        match method {
            Method::Ack => return self.receive_ack(now, request),
            Method::Cancel => return self.receive_cancel(now, flow, request),
            _ => {}
        }
        let hash = self.hasher.server(request, method);
        if let Some(&key) = self.by_key.get(&hash) {
            self.stats.retransmissions_absorbed += 1;
            self.server_input(now, key, servers::Input::Request);
            return;
        }
        if method == Method::Register && self.answer_again(flow, request, hash) {
            return;
        }
        if let Err(reject) = Replaces::of(request).map(drop).and_then(|()| Join::of(request).map(drop)) {
            self.stats.malformed_refused += 1;
            return self.refuse(request, flow, reject.status, Some(reject.reason), b"");
        }
        if !self.has_room() {
            self.stats.transactions_full += 1;
            self.refuse_busy(flow, request);
            return;
        }
        match request.to_tag {
            Some(tag) => self.receive_inside(now, flow, request, hash, tag),
            None => self.receive_outside(now, flow, request, hash),
        }
    }

    /// A request that belongs to no dialog (RFC 3261 §8.2).
    fn receive_outside(&mut self, now: Time, flow: Flow, request: &Arrived<'_, '_>, hash: u64) {
        let method = request.method();
        if !self.is_welcome(flow, request) {
            return;
        }
        if method == Method::Bye {
            return self.refuse_counted(flow, request, 481);
        }
        if method != Method::Invite && !self.config.methods.contains(&method) {
            return self.refuse_method(flow, request);
        }
        if matches!(method, Method::Update | Method::Prack | Method::Info) {
            // These exist inside dialogs only (RFC 3311 §5, RFC 3262 §4, RFC 6086 §4.2).
            return self.refuse_counted(flow, request, 481);
        }
        // RFC 3261 §8.2.2.2: the same request by another way.
        if self.is_merged(request) {
            self.stats.merged_refused += 1;
            return self.refuse(request, flow, 482, None, b"");
        }
        if !self.accepts(flow, request) {
            return;
        }
        // What is passed on can go round as a call can (RFC 3261 §16.3).
        if matches!(
            method,
            Method::Message | Method::Subscribe | Method::Publish | Method::Notify | Method::Refer
        ) {
            if self.config.refuse_exhausted && request.max_forwards() == Some(0) {
                return self.refuse_counted(flow, request, 483);
            }
            if self.config.refuse_loops && self.is_loop(request) {
                self.stats.loops_refused += 1;
                return self.refuse(request, flow, 482, None, b"");
            }
        }
        if matches!(method, Method::Subscribe | Method::Refer) {
            return self.receive_subscribe(now, flow, request, hash);
        }
        if method == Method::Invite {
            if self.grant_to(request).is_err() {
                return self.refuse_interval(flow, request);
            }
            if self.config.refuse_exhausted && request.max_forwards() == Some(0) {
                return self.refuse_counted(flow, request, 483);
            }
            if self.config.refuse_loops && self.is_loop(request) {
                self.stats.loops_refused += 1;
                return self.refuse(request, flow, 482, None, b"");
            }
            return self.receive_invite(now, flow, request, hash);
        }
        self.receive_for_owner(now, flow, request, hash, None);
    }

    /// Whether a request that begins something is taken ([`Treatment`]); if not it is answered here, without state.
    fn is_welcome(&mut self, flow: Flow, request: &Arrived<'_, '_>) -> bool {
        let method = request.method();
        match self.treatment {
            Treatment::Welcome => true,
            Treatment::Refuse | Treatment::Ignore => {
                if method == Method::Invite {
                    self.stats.strangers_calls_refused += 1;
                } else {
                    self.stats.strangers_requests_refused += 1;
                }
                self.refuse(request, flow, 403, None, b"");
                false
            }
            Treatment::Busy { options } => {
                let refused = method == Method::Invite || options && method == Method::Options;
                if refused {
                    self.stats.busy_refused += 1;
                    self.refuse_busy(flow, request);
                }
                !refused
            }
        }
    }

    /// Whether an INVITE is one that we sent, come back: it bears a branch of ours, and its Request-URI the same user
    /// still (with another it is a spiral, which is no error: RFC 3261 §6).
    fn is_loop(&self, request: &Arrived<'_, '_>) -> bool {
        self.is_own(request, request.branch)
            || request.values(Name::Via).skip(1).any(|via| {
                let branch = Via::parse(via).and_then(|via| via.branch());
                branch.is_some_and(|branch| self.is_own(request, branch))
            })
    }

    fn is_own(&self, request: &Arrived<'_, '_>, branch: &[u8]) -> bool {
        let Some(token) = OwnToken::of_branch(branch) else { return false };
        let Some(client) = self.clients.get(token.key) else { return false };
        let sent = client.bytes.split(|&byte| byte == b' ').nth(1).unwrap_or_default();
        let user = |uri| Uri::parse(uri).and_then(|uri| uri.user);
        client.nonce == token.nonce && user(sent) == user(request.request_uri())
    }

    /// Hands a request to the owner.
    pub(crate) fn receive_for_owner(
        &mut self,
        now: Time,
        flow: Flow,
        request: &Arrived<'_, '_>,
        hash: u64,
        leg: Option<Key>,
    ) {
        let tag = self.tag_of(hash);
        let Some(key) = self.server_insert(request, hash, flow, Owner::Request, Some(&tag)) else {
            self.stats.transactions_full += 1;
            return self.refuse_busy(flow, request);
        };
        self.server_bound(now, key);
        self.events.push_back(Event::Request {
            id: RequestId(key),
            method: request.method(),
            leg: leg.map(crate::event::LegId),
            message: Received::of(request),
            flow,
        });
    }

    /// Whether we understand what a request requires and carries; if not it is refused (RFC 3261 §8.2.2.3, §8.2.3).
    pub(crate) fn accepts(&mut self, flow: Flow, request: &Message<'_>) -> bool {
        let requires = [Name::Require, Name::ProxyRequire].iter().any(|name| request.header(*name).is_some());
        let mut extensions: Vec<&str> = if requires {
            let is_call = matches!(request.method(), Method::Invite | Method::Update);
            let passed = self.config.passed.iter().filter(|_| !is_call);
            let known = self.config.extensions.iter().chain(&self.config.transparent);
            known.chain(passed).map(String::as_str).collect()
        } else {
            Vec::new()
        };
        if request.method() == Method::Register {
            // A registrar's extensions, which it speaks of in its answers alone (RFC 5626 §6, RFC 3327 §5.3).
            extensions.extend(["outbound", "path"]);
        }
        if !matches!(request.method(), Method::Invite | Method::Update) && !requires {
            return true; // bodies of other methods are the owner's to judge
        }
        let capabilities = Capabilities { extensions: &extensions, media_types: &MEDIA_TYPES };
        let Err(reject) = acceptable(request, &capabilities) else { return true };
        let mut lines = Vec::new();
        match reject.status {
            420 => {
                for tag in unsupported(request, &extensions) {
                    lines.extend_from_slice(if lines.is_empty() { b"Unsupported: " } else { b", " });
                    lines.extend_from_slice(tag);
                }
                lines.extend_from_slice(b"\r\n");
            }
            415 => lines.extend_from_slice(b"Accept: application/sdp\r\nAccept-Encoding: identity\r\n"),
            _ => {}
        }
        drop(extensions);
        self.stats.requests_refused += 1;
        self.refuse(request, flow, reject.status, Some(reject.reason), &lines);
        false
    }

    /// Refuses and counts.
    pub(crate) fn refuse_counted(&mut self, flow: Flow, request: &Message<'_>, status: u16) {
        self.stats.requests_refused += 1;
        self.refuse(request, flow, status, None, b"");
    }

    /// 405 for a method we know, 501 for one we do not (RFC 3261 §8.2.1).
    pub(crate) fn refuse_method(&mut self, flow: Flow, request: &Message<'_>) {
        self.stats.requests_refused += 1;
        let status = if request.method() == Method::Other { 501 } else { 405 };
        let allow = self.identity.allow.clone();
        self.refuse(request, flow, status, None, &allow);
    }

    /// 503 with Retry-After.
    pub(crate) fn refuse_busy(&mut self, flow: Flow, request: &Message<'_>) {
        let lines = format!("Retry-After: {}\r\n", self.config.limits.retry_after);
        self.refuse(request, flow, 503, None, lines.as_bytes());
    }

    /// The leg in whose dialog a request comes (RFC 3261 §12.2.2): our tag says which, Call-ID and the peer's tag
    /// must agree.
    pub(crate) fn leg_of(&self, request: &Arrived<'_, '_>, our_tag: &[u8]) -> Option<Key> {
        let token = OwnToken::parse(our_tag)?;
        let leg = self.leg_named(token)?;
        let parts = leg.dialog.parts();
        let unknown = leg.is_unanswered() && leg.outgoing && parts.remote_tag.is_empty();
        let same = parts.call_id == request.call_id() && (unknown || parts.remote_tag == request.from_tag);
        same.then_some(token.key)
    }

    /// The leg that a tag of ours names.
    pub(crate) fn leg_named(&self, token: OwnToken) -> Option<&Leg> {
        self.legs.get(token.key).filter(|leg| leg.nonce == token.nonce)
    }

    fn receive_ack(&mut self, now: Time, request: &Arrived<'_, '_>) {
        if let Some(&key) = self.by_key.get(&self.hasher.server(request, Method::Ack))
            && let Some(server) = self.servers.get(key)
            && server.state != servers::State::Invite(server_invite::State::Accepted)
        {
            self.server_input(now, key, servers::Input::Ack);
            return;
        }
        match request.to_tag.and_then(|tag| self.leg_of(request, tag)) {
            Some(leg) => self.leg_acked(now, leg, request.cseq, request.body()),
            None => self.stats.stray_acks += 1,
        }
    }

    /// CANCEL (RFC 3261 §9.2).
    fn receive_cancel(&mut self, now: Time, flow: Flow, request: &Arrived<'_, '_>) {
        let hash = self.hasher.server(request, Method::Cancel);
        if let Some(&key) = self.by_key.get(&hash) {
            self.stats.retransmissions_absorbed += 1;
            self.server_input(now, key, servers::Input::Request);
            return;
        }
        let invite = self.by_key.get(&self.hasher.server(request, Method::Invite)).copied();
        let Some((invite, server)) = invite.and_then(|key| Some((key, self.servers.get(key)?))) else {
            return self.refuse_counted(flow, request, 481);
        };
        let (owner, tag) = (server.owner, server.tag.map(OwnToken::text));
        let pending = server.state == servers::State::Invite(server_invite::State::Proceeding);
        match self.server_insert(request, hash, flow, Owner::Nobody, tag.as_ref().map(<[u8; 32]>::as_slice)) {
            Some(key) => self.server_answer(now, key, 200, None),
            None => {
                self.stats.transactions_full += 1;
                return self.refuse_busy(flow, request);
            }
        }
        if !pending {
            return;
        }
        self.server_answer(now, invite, 487, None);
        match owner {
            Owner::Invite(leg) => {
                let reason =
                    request.header(Name::Reason).map(|reason| String::from_utf8_lossy(reason).into());
                self.leg_cancelled(now, leg, reason);
            }
            Owner::Reinvite(leg) => {
                if let Some(leg) = self.legs.get_mut(leg) {
                    leg.reinvite_in = None;
                }
            }
            Owner::Update(_) | Owner::Request | Owner::Nobody => {}
        }
    }
}
