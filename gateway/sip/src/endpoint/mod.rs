//! The user agent of one shard: transactions, dialogs, legs and TCP connections behind one front.

use crate::config::Config;
use crate::error::{LegError, StartError};
use crate::event::{Body, Event, Invite, LegFacts, LegId, Request, RequestId};
use crate::stats::Stats;
use core::net::SocketAddr;
use sansio::{Outbox, Random, SocketId, StreamEvent, StreamId, Time};

/// How many of each an endpoint holds; all zero once every call ended and the timers ran out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Client and server transactions.
    pub transactions: usize,
    /// Legs.
    pub legs: usize,
    /// Legs with a dialog (early or confirmed).
    pub dialogs: usize,
    /// Timers set.
    pub timers: usize,
    /// TCP connections, standing or being made.
    pub connections: usize,
    /// Events not yet taken.
    pub events: usize,
    /// Messages and connection actions not yet flushed.
    pub unsent: usize,
}

/// Transactions, dialogs, legs and TCP connections of one shard, without IO.
///
/// # Polling order
///
/// After each input (`handle_datagram`, `handle_stream`, `handle_unreachable`, `handle_timeout`) or batch of inputs:
/// 1. take events with [`Self::poll_event`] until `None`, calling any method in between;
/// 2. [`Self::flush`] what shall be sent into the outbox, once;
/// 3. ask [`Self::deadline`] when [`Self::handle_timeout`] is wanted.
///
/// Nothing but `flush` writes to the outbox; all methods may be called at any time and never call back.
/// An idle endpoint costs one look at the wheel's bitmap.
#[derive(Debug)]
pub struct Endpoint {
    config: Config,
    stats: Stats,
}

impl Endpoint {
    /// An endpoint without sockets. `random` names everything it generates (branches, tags).
    pub fn new(config: Config, random: Random, now: Time) -> Self {
        let _ = (random, now);
        Self { config, stats: Stats::default() }
    }

    /// Adds a datagram socket; `advertised` is what Via and Contact say.
    pub fn add_udp(&mut self, socket: SocketId, advertised: SocketAddr) {
        let _ = (socket, advertised);
    }

    /// Adds a listening socket; `advertised` is what Contact says of connections of this family.
    pub fn add_tcp_listener(&mut self, socket: SocketId, advertised: SocketAddr) {
        let _ = (socket, advertised);
    }

    /// Takes a datagram.
    pub fn handle_datagram(&mut self, now: Time, socket: SocketId, source: SocketAddr, payload: &[u8]) {
        let _ = (now, socket, source, payload);
    }

    /// Takes what happened on a connection: accepted, connected, data, closed.
    pub fn handle_stream(&mut self, now: Time, stream: StreamId, event: StreamEvent<'_>) {
        let _ = (now, stream, event);
    }

    /// Whether this connection is one of this endpoint.
    pub fn owns_stream(&self, stream: StreamId) -> bool {
        let _ = stream;
        false
    }

    /// Takes an ICMP refusal: client transactions to that destination fail with `Refused`.
    pub fn handle_unreachable(&mut self, now: Time, socket: SocketId, destination: SocketAddr) {
        let _ = (now, socket, destination);
    }

    /// Fires the timers that are due.
    pub fn handle_timeout(&mut self, now: Time) {
        let _ = now;
    }

    /// When [`Self::handle_timeout`] is wanted next. O(1).
    pub fn deadline(&self) -> Option<Time> {
        None
    }

    /// Moves everything to be sent, connected, written and closed into the outbox.
    pub fn flush<M>(&mut self, out: &mut Outbox<M>) {
        let _ = out;
    }

    /// The next event, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        None
    }

    /// Calls. Ends in `Answered`, or `Failed` and `Gone`.
    ///
    /// # Errors
    /// Tables full, unknown socket, or text that cannot stand in a header: nothing was sent, no leg exists.
    pub fn invite(&mut self, now: Time, invite: &Invite<'_>) -> Result<LegId, StartError> {
        let _ = (now, invite);
        Err(StartError::Full)
    }

    /// Acknowledges the answer to an INVITE that went out without body; `body` is our SDP answer.
    ///
    /// # Errors
    /// The leg is unknown or waits for no ACK.
    pub fn ack(&mut self, now: Time, leg: LegId, body: Option<Body<'_>>) -> Result<(), LegError> {
        let _ = (now, leg, body);
        Err(LegError::Unknown)
    }

    /// Cancels an outgoing call that is not answered yet; `reason` becomes a Reason header. `Failed` follows:
    /// with 487 as a rule, with `AnsweredLate` if a 2xx crossed.
    ///
    /// # Errors
    /// The leg is unknown or has its final answer.
    pub fn cancel(&mut self, now: Time, leg: LegId, reason: Option<&str>) -> Result<(), LegError> {
        let _ = (now, leg, reason);
        Err(LegError::Unknown)
    }

    /// Sends a provisional response (101 to 199) to an incoming call.
    ///
    /// # Errors
    /// The leg is unknown or already has its final response.
    pub fn provisional(
        &mut self,
        now: Time,
        leg: LegId,
        status: u16,
        headers: &[(&str, &str)],
        body: Option<Body<'_>>,
    ) -> Result<(), LegError> {
        let _ = (now, leg, status, headers, body);
        Err(LegError::Unknown)
    }

    /// Answers an incoming call with 200, repeated until the ACK comes (RFC 3261 §13.3.1.4): `Acked`, or `Lost`.
    ///
    /// # Errors
    /// The leg is unknown or already has its final response.
    pub fn answer(
        &mut self,
        now: Time,
        leg: LegId,
        headers: &[(&str, &str)],
        body: Option<Body<'_>>,
    ) -> Result<(), LegError> {
        let _ = (now, leg, headers, body);
        Err(LegError::Unknown)
    }

    /// Refuses an incoming call with 300 to 699; `Gone` follows. `reason` replaces the usual phrase.
    ///
    /// # Errors
    /// The leg is unknown or already has its final response.
    pub fn reject(
        &mut self,
        now: Time,
        leg: LegId,
        status: u16,
        reason: Option<&str>,
        headers: &[(&str, &str)],
    ) -> Result<(), LegError> {
        let _ = (now, leg, status, reason, headers);
        Err(LegError::Unknown)
    }

    /// Ends a leg in whatever state: BYE when it stands (after the ACK if that is still awaited), CANCEL when it is
    /// outgoing and unanswered, 480 when it is incoming and unanswered. `Gone` follows when it is over.
    ///
    /// # Errors
    /// The leg is unknown or ending already.
    pub fn bye(&mut self, now: Time, leg: LegId, headers: &[(&str, &str)]) -> Result<(), LegError> {
        let _ = (now, leg, headers);
        Err(LegError::Unknown)
    }

    /// Sends a re-INVITE; `ReinviteDone` follows (status 491: the peer sent one at the same time).
    ///
    /// # Errors
    /// The leg is unknown, does not stand, or has a re-INVITE pending in either direction.
    pub fn reinvite(&mut self, now: Time, leg: LegId, body: Option<Body<'_>>) -> Result<(), LegError> {
        let _ = (now, leg, body);
        Err(LegError::Unknown)
    }

    /// Answers the peer's re-INVITE; a 2xx is repeated until its ACK comes (`Acked`).
    ///
    /// # Errors
    /// The leg is unknown or has no re-INVITE waiting.
    pub fn answer_reinvite(
        &mut self,
        now: Time,
        leg: LegId,
        status: u16,
        body: Option<Body<'_>>,
    ) -> Result<(), LegError> {
        let _ = (now, leg, status, body);
        Err(LegError::Unknown)
    }

    /// Sends a request outside of dialogs; `Response` or `RequestFailed` follows.
    ///
    /// # Errors
    /// As [`Self::invite`].
    pub fn request(&mut self, now: Time, request: &Request<'_>) -> Result<RequestId, StartError> {
        let _ = (now, request);
        Err(StartError::Full)
    }

    /// Answers a request that came as [`Event::Request`], finally (200 to 699).
    ///
    /// # Errors
    /// The request is unknown or was answered.
    pub fn respond(
        &mut self,
        now: Time,
        request: RequestId,
        status: u16,
        headers: &[(&str, &str)],
        body: Option<Body<'_>>,
    ) -> Result<(), LegError> {
        let _ = (now, request, status, headers, body);
        Err(LegError::Unknown)
    }

    /// Answers an OPTIONS that came as [`Event::Request`]: 200 with Accept and Allow, or 503 with Retry-After while draining.
    ///
    /// # Errors
    /// The request is unknown or was answered.
    pub fn respond_options(&mut self, now: Time, request: RequestId, draining: bool) -> Result<(), LegError> {
        let _ = draining;
        self.respond(now, request, 200, &[], None)
    }

    /// Facts about a leg; `None` once it is gone.
    pub fn leg(&self, leg: LegId) -> Option<LegFacts<'_>> {
        let _ = leg;
        None
    }

    /// The counters.
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// What it was told.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// How many of each it holds.
    pub fn census(&self) -> Census {
        Census::default()
    }

    /// Whether it holds nothing at all.
    pub fn is_idle(&self) -> bool {
        self.census() == Census::default()
    }
}
