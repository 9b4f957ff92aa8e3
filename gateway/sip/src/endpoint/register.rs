//! REGISTER as a client sends it (RFC 3261 §10.2), and the connection it went over, kept open (RFC 5626 §4.4.1).

use super::clients::Owner;
use super::{Endpoint, compose};
use crate::connection::Kept;
use crate::error::StartError;
use crate::event::{Destination, Event, Flow, Link, Register, Registering, RequestId};
use crate::message::Method;
use core::time::Duration;
use sansio::{StreamId, Time};

/// RFC 5626 §4.4.1: a ping each 95 to 120 s, unless the other side names a time.
const PING_EVERY: Duration = Duration::from_secs(120);
/// RFC 5626 §4.4.1: an answer to a ping takes no longer than this.
const PONG_WITHIN: Duration = Duration::from_secs(10);

impl Endpoint {
    /// Sends a REGISTER; [`Event::Response`] or [`Event::RequestFailed`] follows. Our Contact is the address that the
    /// registrar reaches us at, over the same transport.
    ///
    /// # Errors
    /// As [`Self::request`].
    pub fn register(&mut self, now: Time, register: &Register<'_>) -> Result<Registering, StartError> {
        let texts = [register.call_id, register.tag, register.request_uri, register.aor];
        if texts.iter().any(|text| text.is_empty() || !compose::is_line(text.as_bytes()))
            || register.request_uri.contains([' ', '>'])
            || register.contact_user.contains([' ', '>'])
            || !compose::is_line(register.contact_user.as_bytes())
        {
            return Err(StartError::BadText);
        }
        let flow = self.flow_to(now, &register.destination)?;
        let made = self.client_insert(Method::Register, Owner::Request, flow, register.cseq);
        let (key, token) = made.ok_or(StartError::Full)?;
        let mut out = core::mem::take(&mut self.scratch);
        out.clear();
        let (uri, branch) = (register.request_uri.as_bytes(), token.branch());
        // RFC 6223 §4.3: whether the other side wants keep-alives. Over UDP they would be STUN, which is not spoken.
        let keep: &[u8] = if matches!(flow.link, Link::Stream(_)) { b";keep" } else { b"" };
        compose::begin_request(&mut out, b"REGISTER", uri, &flow, &[&branch, keep], 70);
        let aor = register.aor.as_bytes();
        compose::parts(&mut out, &[b"From: <", aor, b">;tag=", register.tag.as_bytes()]);
        compose::parts(
            &mut out,
            &[b"\r\nTo: <", aor, b">\r\nCall-ID: ", register.call_id.as_bytes(), b"\r\n"],
        );
        compose::cseq(&mut out, register.cseq, b"REGISTER");
        let mut contact = Vec::new();
        compose::contact(&mut contact, register.contact_user.as_bytes(), &flow);
        let contact = contact.trim_ascii_end();
        let expires = register.expires.to_string();
        compose::parts(&mut out, &[contact, b";expires=", expires.as_bytes()]);
        compose::parts(&mut out, &[b"\r\nExpires: ", expires.as_bytes(), b"\r\n"]);
        out.extend_from_slice(&self.identity.allow);
        // RFC 3327 §5.1: proxies on the way may ask to stay on it.
        out.extend_from_slice(b"Supported: path\r\n");
        out.extend_from_slice(&self.identity.user_agent);
        let fits = compose::headers(&mut out, register.headers) && compose::end(&mut out, None);
        if fits {
            if let Some(client) = self.clients.get_mut(key) {
                client.patience = Some(register.timeout.min(self.config.timers.t1_64()));
            }
            self.client_start(now, key, &out);
        } else {
            self.client_remove(key);
        }
        self.scratch = out;
        let uri = contact.strip_prefix(b"Contact: <").and_then(|rest| rest.strip_suffix(b">"));
        let contact = String::from_utf8_lossy(uri.unwrap_or_default()).into_owned();
        if fits { Ok(Registering { id: RequestId(key), contact, flow }) } else { Err(StartError::BadText) }
    }

    /// Keeps a connection open that this endpoint holds: it is not closed for lack of traffic, it is pinged, and
    /// [`Event::KeptLost`] tells its end. `every` is the time that the other side named (RFC 6223 §4.3), which then
    /// answers pings for certain. `false` if there is no such connection.
    pub fn keep_open(&mut self, now: Time, stream: StreamId, every: Option<Duration>) -> bool {
        let Some(connection) = self.wire.connections.get_mut(stream).filter(|it| it.holder.is_none()) else {
            return false;
        };
        let fresh = connection.kept.is_none();
        let kept = connection.kept.get_or_insert_default();
        kept.every = every.filter(|span| !span.is_zero());
        kept.answers |= kept.every.is_some();
        if fresh {
            let span = self.ping_span(every);
            self.connection_rearm(now, stream, span);
        }
        true
    }

    /// Sends two line ends, which every peer passes over (RFC 3261 §7.5), so that NATs on the way to it go on knowing the way
    /// and a connection is not closed for lack of traffic. `false` if there is no way.
    pub fn keep_way(&mut self, now: Time, to: &Destination) -> bool {
        let Ok(flow) = self.flow_to(now, to) else { return false };
        self.stats.line_ends_sent += 1;
        self.wire.pass(flow.link, flow.remote, b"\r\n\r\n")
    }

    /// Keeps a connection open no longer; it is closed like any other once nothing goes over it.
    pub fn let_go(&mut self, now: Time, stream: StreamId) {
        let Some(connection) = self.wire.connections.get_mut(stream) else { return };
        if connection.kept.take().is_some() {
            connection.used = true;
            self.connection_rearm(now, stream, self.config.timers.idle);
        }
    }

    /// The timer of a kept connection: a ping, or the end if the last one was not answered by who answered before.
    /// Whether the connection goes on.
    pub(super) fn kept_timer(&mut self, now: Time, stream: StreamId, mut kept: Kept) -> bool {
        let awaited = core::mem::take(&mut kept.awaited);
        if awaited && kept.answers {
            self.stats.connections_pong_missing += 1;
            return false;
        }
        let span = if awaited {
            // It was not answered, and never has been: that side does not know how. The network will tell of a break.
            self.ping_span(kept.every)
        } else {
            kept.awaited = true;
            PONG_WITHIN
        };
        if kept.awaited
            && let Some(remote) = self.wire.connections.get(stream).map(|connection| connection.remote)
        {
            self.wire.send(Link::Stream(stream), remote, b"\r\n\r\n");
            self.stats.pings_sent += 1;
        }
        if let Some(connection) = self.wire.connections.get_mut(stream) {
            connection.kept = Some(kept);
        }
        self.connection_rearm(now, stream, span);
        true
    }

    /// Something came over a kept connection.
    pub(super) fn kept_heard(&mut self, now: Time, stream: StreamId, bytes: &[u8]) {
        let Some(connection) = self.wire.connections.get_mut(stream) else { return };
        let Some(kept) = connection.kept.as_mut().filter(|kept| kept.awaited) else { return };
        kept.awaited = false;
        // Anything shows that the line stands; a line end alone, that pings are answered.
        kept.answers |= bytes == b"\r\n";
        let every = kept.every;
        let span = self.ping_span(every);
        self.connection_rearm(now, stream, span);
    }

    /// Between 80 and 100 % of the time until the next ping (RFC 5626 §4.4.1, RFC 6223 §4.3).
    fn ping_span(&mut self, every: Option<Duration>) -> Duration {
        let every = every.filter(|span| !span.is_zero()).unwrap_or(PING_EVERY);
        every.mul_f64(0.8 + 0.2 * self.random.unit())
    }

    /// The end of a connection, if it was kept.
    pub(super) fn kept_lost(&mut self, stream: StreamId, kept: Option<Kept>) {
        if kept.is_some() {
            self.events.push_back(Event::KeptLost { stream });
        }
    }
}

impl Flow {
    /// The connection, if it is one.
    pub const fn stream(&self) -> Option<StreamId> {
        match self.link {
            Link::Stream(stream) => Some(stream),
            Link::Socket(_) => None,
        }
    }
}
