//! What comes in by SIP: let in, held up or turned away by who sent it and by how busy the shard is.
//!
//! Datagrams and connections are judged on the shard at which they arrive, before they are parsed; the shard whose calls
//! they are about then handles them. A source that was banned on one shard is banned on all.

use crate::guard::{self, Sentence, Standing, Turn, Verdict};
use crate::mail::Mail;
use crate::shard::Shard;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use link::{AlarmKind, Ban, BanReason, Event};
use sansio::{Datagram, Mailbox, Outbox, SocketId, StreamEvent, StreamId, Time};
use sip::{Transport, Treatment};

/// Between two alarms about overload, and between two about ports.
pub(crate) const QUIET: Duration = Duration::from_secs(60);
/// A line that ends so begins a request.
const REQUEST_LINE: &[u8] = b" SIP/2.0";

impl Shard {
    /// A datagram came to a SIP socket.
    pub(crate) fn datagram(&mut self, now: Time, datagram: Datagram<'_>, out: &mut Outbox<Mail>) {
        let Datagram { socket, source, received, payload } = datagram;
        let address = source.ip();
        if self.known.standing(address) == Standing::Unknown && !self.lets_in(now, address, payload, out) {
            return;
        }
        if sip::stun::is_stun(payload) {
            return self.answer_stun(socket, source, payload, out);
        }
        let owner = self.shards.owner(payload);
        if owner != self.shards.me {
            self.stats.handovers_out += 1;
            let mail = Mail::Datagram { socket, source, received, bytes: payload.into() };
            return out.mail(Mailbox(owner), mail);
        }
        self.take_datagram(now, datagram, out);
    }

    /// A datagram that is this shard's to handle. While there is a queue, a new call stands back: what came with it may be
    /// about calls that are further on.
    pub(crate) fn take_datagram(&mut self, now: Time, datagram: Datagram<'_>, out: &mut Outbox<Mail>) {
        let Datagram { source, received, payload, .. } = datagram;
        let limits = self.config.overload;
        if self.backlog.note(now, received, &limits) {
            if let Some(call_id) = sip::message::new_call(payload).filter(|_| self.may_ask(source.ip())) {
                self.stats.overload_stood_back += 1;
                if let Some(oldest) = self.backlog.stand_back(now, call_id, datagram) {
                    self.serve_datagram(now, oldest.datagram(), true, out);
                }
                return;
            }
            if let Some(call) = sip::message::cancelled(payload).and_then(|it| self.backlog.call(it)) {
                self.serve_datagram(now, call.datagram(), false, out);
            }
        }
        // OPTIONS tells balancers how it is; a call that finds no queue is welcome.
        let overloaded =
            self.backlog.was_overloaded(now, limits.interval) && sip::message::new_call(payload).is_none();
        self.serve_datagram(now, datagram, overloaded, out);
    }

    fn serve_datagram(
        &mut self,
        now: Time,
        datagram: Datagram<'_>,
        overloaded: bool,
        out: &mut Outbox<Mail>,
    ) {
        let Datagram { socket, source, received, payload } = datagram;
        self.stats.queue_wait_us += now.since(received).as_micros() as u64;
        let standing = self.known.standing(source.ip());
        self.handle_from(now, source.ip(), standing, overloaded, out, |shard| {
            shard.endpoint.handle_datagram(now, socket, source, payload);
        });
    }

    /// Those of the new calls that stood back whose turn it is.
    pub(crate) fn let_new_calls_in(&mut self, now: Time, out: &mut Outbox<Mail>) {
        let Some(mut share) = self.backlog.share(now) else { return };
        while let Some(turn) = self.backlog.turn(now, &mut share, &self.config.overload) {
            let (call, refused) = match turn {
                Turn::Serve(call) => (call, false),
                Turn::Refuse(call) => (call, true),
            };
            self.serve_datagram(now, call.datagram(), refused, out);
        }
    }

    /// Something happened on a SIP connection.
    pub(crate) fn stream(
        &mut self,
        now: Time,
        stream: StreamId,
        event: StreamEvent<'_>,
        out: &mut Outbox<Mail>,
    ) {
        let peer = match event {
            StreamEvent::Accepted { remote, .. } => Some(remote),
            _ => self.endpoint.peer_of(stream),
        };
        // Connections of our own making go where calls or phones are.
        let judged = peer
            .map(|peer| peer.ip())
            .filter(|address| stream.is_accepted() && self.known.standing(*address) == Standing::Unknown);
        let let_in = match (judged, event) {
            (Some(address), StreamEvent::Accepted { .. }) => self.lets_in(now, address, b"", out),
            (Some(address), StreamEvent::Data(bytes)) => self.lets_in_all(now, address, bytes, out),
            _ => true,
        };
        if !let_in {
            self.stats.guard_connections_closed += 1;
            return match event {
                StreamEvent::Accepted { .. } => out.shut(stream),
                _ => self.endpoint.disconnect(now, stream),
            };
        }
        let Some(peer) = peer else { return self.endpoint.handle_stream(now, stream, event) };
        let overloaded = self.backlog.was_overloaded(now, self.config.overload.interval);
        let standing = self.standing_over(stream, peer.ip());
        self.handle_from(now, peer.ip(), standing, overloaded, out, |shard| {
            shard.endpoint.handle_stream(now, stream, event);
        });
    }

    /// A message that came over a connection of another shard.
    pub(crate) fn foreign(
        &mut self,
        now: Time,
        (holder, stream): (u16, StreamId),
        transport: Transport,
        (local, remote): (SocketAddr, SocketAddr),
        bytes: &[u8],
        out: &mut Outbox<Mail>,
    ) {
        let overloaded = self.backlog.was_overloaded(now, self.config.overload.interval);
        let standing = self.standing_over(stream, remote.ip());
        self.handle_from(now, remote.ip(), standing, overloaded, out, |shard| {
            shard.endpoint.handle_foreign(now, holder, stream, transport, local, remote, bytes);
        });
    }

    /// How whoever speaks over a connection stands. One that we opened leads to a carrier or a phone, and whether a call
    /// over it is taken is decided with the call (a carrier may call over the connection of our registration).
    fn standing_over(&self, stream: StreamId, address: IpAddr) -> Standing {
        if stream.is_accepted() { self.known.standing(address) } else { Standing::Allowed }
    }

    /// Has the endpoint handle something from a source, treated as is its due; holds against the source what was wrong
    /// with it.
    fn handle_from(
        &mut self,
        now: Time,
        address: IpAddr,
        standing: Standing,
        overloaded: bool,
        out: &mut Outbox<Mail>,
        handle: impl FnOnce(&mut Self),
    ) {
        let full = self.config.overload.setups_max;
        let setups_full = full > 0 && self.setups >= full;
        let treatment = if standing != Standing::Allowed && !self.anyone_may_ask() {
            if self.config.guard.ignore_unknown { Treatment::Ignore } else { Treatment::Refuse }
        } else if overloaded || setups_full {
            Treatment::Busy { options: self.config.overload.refuse_options }
        } else {
            Treatment::Welcome
        };
        // Nobody is counted against who is let in and welcome.
        let judged = standing != Standing::Allowed || !matches!(treatment, Treatment::Welcome);
        let before = judged.then(|| *self.endpoint.stats());
        self.endpoint.treat(treatment);
        handle(self);
        self.endpoint.treat(Treatment::Welcome);
        let Some(before) = before else { return };
        let after = *self.endpoint.stats();
        let busy = after.busy_refused - before.busy_refused;
        if busy > 0 {
            let counter = if overloaded {
                &mut self.stats.overload_queue_refused
            } else {
                &mut self.stats.overload_setups_refused
            };
            *counter += busy;
            self.tell_overload(now, overloaded, out);
        }
        let calls = after.strangers_calls_refused - before.strangers_calls_refused;
        self.stats.calls_source_refused += calls;
        if standing == Standing::Unknown {
            let refused = calls + after.strangers_requests_refused - before.strangers_requests_refused;
            let malformed = after.malformed_dropped + after.malformed_refused
                - before.malformed_dropped
                - before.malformed_refused;
            for (reason, count) in [(BanReason::Refused, refused), (BanReason::Malformed, malformed)] {
                if count > 0 {
                    self.offend(now, address, reason, count, out);
                }
            }
        }
    }

    /// Tells who asks by STUN where it asks from: a phone keeps its way through a NAT open so (RFC 5626 §3.5.2). Whoever may
    /// not begin anything here, and is to learn nothing, does not learn that either.
    fn answer_stun(&mut self, socket: SocketId, source: SocketAddr, payload: &[u8], out: &mut Outbox<Mail>) {
        let stranger = self.known.standing(source.ip()) != Standing::Allowed && !self.anyone_may_ask();
        let told = (!(stranger && self.config.guard.ignore_unknown))
            .then(|| sip::stun::answer(payload, source))
            .flatten();
        match told {
            Some(answer) => {
                self.stats.stun_answered += 1;
                out.send(socket, source, &answer);
            }
            None => self.stats.stun_dropped += 1,
        }
    }

    /// Whether a call from there is considered.
    fn may_ask(&self, address: IpAddr) -> bool {
        self.known.standing(address) == Standing::Allowed || self.anyone_may_ask()
    }

    /// Whether somebody who may not place calls by his address may by a password.
    fn anyone_may_ask(&self) -> bool {
        !self.config.users.is_empty()
    }

    /// Judges what an unknown source sent, before it is parsed.
    fn lets_in(&mut self, now: Time, address: IpAddr, bytes: &[u8], out: &mut Outbox<Mail>) -> bool {
        let stats = &mut self.stats;
        let counter = match self.guard.judge(now, address, bytes, &self.config.guard) {
            Verdict::Pass => {
                if guard::scanner(bytes, &self.config.guard).is_none() {
                    return true;
                }
                self.offend(now, address, BanReason::Scanner, 1, out);
                &mut self.stats.guard_scanner_dropped
            }
            Verdict::Flood => &mut stats.guard_flood_dropped,
            Verdict::Invites => &mut stats.guard_invites_dropped,
            Verdict::Registers => &mut stats.guard_registers_dropped,
            Verdict::Others => &mut stats.guard_others_dropped,
            Verdict::Banned => &mut stats.guard_banned_dropped,
        };
        *counter += 1;
        false
    }

    /// The same for bytes of a connection, which may hold several requests: each counts.
    fn lets_in_all(&mut self, now: Time, address: IpAddr, bytes: &[u8], out: &mut Outbox<Mail>) -> bool {
        let lines = bytes.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii_end);
        let further = lines.skip(1).filter(|line| line.ends_with(REQUEST_LINE));
        self.lets_in(now, address, bytes, out)
            && further.into_iter().all(|line| self.lets_in(now, address, line, out))
    }

    /// Holds something against a source; bans it if that was too much. Nothing is ever held against trunks' peers,
    /// allowed networks and those that are never limited: source addresses of datagrams can be forged.
    pub(crate) fn offend(
        &mut self,
        now: Time,
        address: IpAddr,
        reason: BanReason,
        count: u64,
        out: &mut Outbox<Mail>,
    ) {
        if self.known.standing(address) != Standing::Unknown {
            return;
        }
        let Some(sentence) = self.guard.offend(now, address, reason, count, &self.config.guard) else {
            return;
        };
        self.stats.guard_bans += 1;
        for shard in (0..self.shards.count).filter(|shard| *shard != self.shards.me) {
            out.mail(Mailbox(shard), Mail::Banned(sentence));
        }
        let ban = self.describe(now, &sentence);
        self.tell(Event::Banned(Box::new(ban)), out);
    }

    fn describe(&self, now: Time, sentence: &Sentence) -> Ban {
        let config = &self.config.guard;
        let within =
            |count: u16, what: &str| format!("{count} {what} within {} s", config.window.as_secs()).into();
        Ban {
            source: sentence.source.address(),
            reason: sentence.reason,
            evidence: match sentence.reason {
                BanReason::Scanner => "a scanner's name in User-Agent".into(),
                BanReason::Malformed => within(config.malformed, "malformed messages"),
                BanReason::Authentication => within(config.auth_failures, "wrong passwords"),
                BanReason::Refused => within(config.refusals, "requests refused with 403 or 404"),
            },
            since: self.wall(now),
            until: self.wall(sentence.until),
            times: sentence.times,
        }
    }

    fn tell_overload(&mut self, now: Time, by_delay: bool, out: &mut Outbox<Mail>) {
        if self.overload_told.is_some_and(|told| now.since(told) < QUIET) {
            return;
        }
        self.overload_told = Some(now);
        let what = if by_delay {
            let mean = self.backlog.mean().as_millis();
            format!(
                "messages wait {mean} ms to be handled, {} new calls stand back; the oldest get 503",
                self.backlog.len()
            )
        } else {
            format!("{} calls are in set-up; new calls get 503", self.setups)
        };
        self.tell_alarm(now, AlarmKind::Overload, what, out);
    }
}
