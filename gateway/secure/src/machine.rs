//! The machine around a machine: which streams are encrypted, and what either side is told of them.

use crate::policy::Shared;
use crate::session::{News, Progress, Session};
use crate::stats::{Gauges, Stats};
use core::net::SocketAddr;
use core::time::Duration;
use rustls::Error;
use sansio::{
    Action, Input, IoError, Machine, Outbox, SocketId, StreamEnd, StreamEvent, StreamId, Time, Wheel,
};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// What the layer is told when it is made.
#[derive(Clone, Debug)]
pub struct Config {
    /// The listening sockets on whose connections TLS is spoken.
    pub listeners: Vec<SocketId>,
    /// How long a handshake may take, from the connection being accepted or asked for.
    pub handshake: Duration,
    /// Most sessions, each of about 40 KiB and up to 256 KiB of what is written during its handshake. Beyond,
    /// connections are closed at once.
    pub sessions: u32,
}

/// A machine on some of whose streams TLS is spoken; it itself reads and writes clear text.
///
/// Streams accepted on [`Config::listeners`] are of that kind, and those it connects under numbers from
/// [`StreamId::SECURED`] on. It hears of either once the handshake is done.
pub struct Secured<M: Machine> {
    inner: M,
    config: Config,
    policy: Shared,
    sessions: BTreeMap<StreamId, Session>,
    wheel: Wheel<StreamId>,
    /// Actions of the machine within, on their way through.
    actions: VecDeque<Action<M::Mail>>,
    /// Streams that are over without the driver knowing, for the machine within to be told.
    ended: VecDeque<(StreamId, StreamEnd)>,
    stats: Stats,
    gauges: Arc<Gauges>,
}

impl<M: Machine> core::fmt::Debug for Secured<M> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Secured").field("config", &self.config).field("stats", &self.stats).finish()
    }
}

impl<M: Machine> Secured<M> {
    /// Puts the layer around a machine.
    pub fn new(now: Time, inner: M, config: Config, policy: Shared) -> Self {
        Self {
            inner,
            wheel: Wheel::new(now, config.sessions),
            config,
            policy,
            sessions: BTreeMap::new(),
            actions: VecDeque::new(),
            ended: VecDeque::new(),
            stats: Stats::default(),
            gauges: Arc::new(Gauges::default()),
        }
    }

    /// The machine within.
    pub const fn inner(&self) -> &M {
        &self.inner
    }

    /// The machine within, before it runs.
    pub const fn inner_mut(&mut self) -> &mut M {
        &mut self.inner
    }

    /// The counters.
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The counters for other threads.
    pub fn gauges(&self) -> Arc<Gauges> {
        Arc::clone(&self.gauges)
    }

    /// Lets the machine within take an input, and brings through what it writes.
    fn pass(&mut self, now: Time, input: Input<'_, M::Mail>, out: &mut Outbox<M::Mail>) {
        let before = out.actions_waiting();
        self.inner.handle(now, input, out);
        if out.actions_waiting() > before {
            self.bring(now, before, out);
        }
    }

    /// Carries out for encrypted streams what the machine within wrote after the first `before` actions.
    fn bring(&mut self, now: Time, before: usize, out: &mut Outbox<M::Mail>) {
        let mut actions = core::mem::take(&mut self.actions);
        out.take_actions(before, &mut actions);
        for action in actions.drain(..) {
            match action {
                Action::Connect { stream, local, remote } if stream.is_secured() => {
                    self.connect(now, stream, local, remote, out);
                }
                Action::Write(stream, bytes) if self.sessions.contains_key(&stream) => {
                    self.write(stream, &bytes, out);
                }
                Action::Shut(stream) if self.sessions.contains_key(&stream) => self.shut(stream, out),
                // To a stream that could not be connected: it was told so, or will be.
                Action::Write(stream, _) | Action::Shut(stream) if stream.is_secured() => {
                    self.ended.retain(|(ended, _)| *ended != stream || matches!(action, Action::Write(..)));
                }
                action => out.act(action),
            }
        }
        self.actions = actions;
    }

    fn connect(
        &mut self,
        now: Time,
        stream: StreamId,
        local: Option<SocketAddr>,
        remote: SocketAddr,
        out: &mut Outbox<M::Mail>,
    ) {
        if self.is_full() {
            self.stats.sessions_full += 1;
            return self.ended.push_back((stream, StreamEnd::Refused(IoError::TooManyFiles)));
        }
        let begun = self.policy.now().towards(remote);
        let Some(mut session) = begun.and_then(|(config, name)| Session::connecting(config, name).ok())
        else {
            self.stats.clients_unconfigured += 1;
            return self.ended.push_back((stream, StreamEnd::Refused(IoError::PermissionDenied)));
        };
        let mut bytes = Vec::new();
        session.drain(&mut bytes);
        out.connect(stream, local, remote);
        out.act(Action::Write(stream, bytes));
        self.keep(now, stream, session);
    }

    fn write(&mut self, stream: StreamId, plain: &[u8], out: &mut Outbox<M::Mail>) {
        let Some(session) = self.sessions.get_mut(&stream) else { return };
        let mut bytes = Vec::with_capacity(plain.len() + 64);
        let fits = session.put(plain, &mut bytes);
        if !bytes.is_empty() {
            out.act(Action::Write(stream, bytes));
        }
        if !fits {
            self.stats.writes_stalled += 1;
            self.end(stream, StreamEnd::Stalled, out);
        }
    }

    /// The machine within closes a stream.
    fn shut(&mut self, stream: StreamId, out: &mut Outbox<M::Mail>) {
        let Some(mut session) = self.remove(stream) else { return };
        let mut bytes = Vec::new();
        session.close(&mut bytes);
        if !bytes.is_empty() {
            out.act(Action::Write(stream, bytes));
        }
        out.shut(stream);
    }

    /// We close a stream, and the machine within is to hear of it if it knows the stream.
    fn end(&mut self, stream: StreamId, end: StreamEnd, out: &mut Outbox<M::Mail>) {
        let Some(session) = self.remove(stream) else { return };
        out.shut(stream);
        if !matches!(session.news, News::Accepted { .. }) {
            self.ended.push_back((stream, end));
        }
    }

    fn is_full(&self) -> bool {
        self.sessions.len() >= self.config.sessions as usize
    }

    fn keep(&mut self, now: Time, stream: StreamId, mut session: Session) {
        // As many timers as sessions at most: there is always one left.
        session.timer = self.wheel.insert(now + self.config.handshake, stream);
        self.sessions.insert(stream, session);
        self.stats.sessions = self.sessions.len() as u64;
    }

    fn remove(&mut self, stream: StreamId) -> Option<Session> {
        let session = self.sessions.remove(&stream)?;
        if let Some(timer) = session.timer {
            self.wheel.cancel(timer);
        }
        self.stats.sessions = self.sessions.len() as u64;
        Some(session)
    }

    fn accept(&mut self, now: Time, stream: StreamId, news: News, out: &mut Outbox<M::Mail>) {
        if self.is_full() {
            self.stats.sessions_full += 1;
            return out.shut(stream);
        }
        let server = self.policy.now().server.clone();
        match server.and_then(|config| Session::accepted(config, news).ok()) {
            Some(session) => self.keep(now, stream, session),
            None => {
                self.stats.handshakes_failed += 1;
                out.shut(stream);
            }
        }
    }

    /// Bytes came over an encrypted stream.
    fn data(&mut self, now: Time, stream: StreamId, bytes: &[u8], out: &mut Outbox<M::Mail>) {
        let Some(session) = self.sessions.get_mut(&stream) else { return };
        let (mut plain, mut reply) = (Vec::new(), Vec::new());
        let handshaking = session.is_handshaking();
        let progress = session.take(bytes, &mut plain, &mut reply);
        if !reply.is_empty() {
            out.act(Action::Write(stream, reply));
        }
        match progress {
            Progress::Broken(error) => {
                match (&error, handshaking) {
                    (Error::InvalidCertificate(_) | Error::NoCertificatesPresented, _) => {
                        self.stats.certificates_refused += 1;
                    }
                    (_, true) => self.stats.handshakes_failed += 1,
                    (_, false) => self.stats.records_broken += 1,
                }
                let end = if handshaking {
                    StreamEnd::Refused(IoError::PermissionDenied)
                } else {
                    StreamEnd::Broken(IoError::Reset)
                };
                return self.end(stream, end, out);
            }
            Progress::Done => self.done(now, stream, out),
            Progress::Fine | Progress::Over => {}
        }
        if !plain.is_empty() {
            self.pass(now, Input::Stream(stream, StreamEvent::Data(&plain)), out);
        }
        if matches!(progress, Progress::Over) {
            self.end(stream, StreamEnd::Peer, out);
        }
    }

    /// The handshake is done: the machine within hears of the stream.
    fn done(&mut self, now: Time, stream: StreamId, out: &mut Outbox<M::Mail>) {
        let Some(session) = self.sessions.get_mut(&stream) else { return };
        self.stats.handshakes_resumed += u64::from(session.is_resumed());
        if let Some(timer) = session.timer.take() {
            self.wheel.cancel(timer);
        }
        let event = match core::mem::replace(&mut session.news, News::Told) {
            News::Accepted { listener, local, remote } => {
                self.stats.handshakes_in += 1;
                StreamEvent::Accepted { listener, local, remote }
            }
            News::Connected(Some(local)) => {
                self.stats.handshakes_out += 1;
                StreamEvent::Connected { local }
            }
            // Nothing can come over a stream that does not stand.
            News::Connected(None) | News::Told => return,
        };
        self.pass(now, Input::Stream(stream, event), out);
    }

    fn closed(&mut self, now: Time, stream: StreamId, end: StreamEnd, out: &mut Outbox<M::Mail>) {
        let Some(session) = self.remove(stream) else { return };
        self.stats.handshakes_abandoned += u64::from(session.is_handshaking());
        if !matches!(session.news, News::Accepted { .. }) {
            self.pass(now, Input::Stream(stream, StreamEvent::Closed(end)), out);
        }
    }

    fn stream(&mut self, now: Time, stream: StreamId, event: StreamEvent<'_>, out: &mut Outbox<M::Mail>) {
        match event {
            StreamEvent::Accepted { listener, local, remote }
                if self.config.listeners.contains(&listener) =>
            {
                self.accept(now, stream, News::Accepted { listener, local, remote }, out);
            }
            StreamEvent::Connected { local } if stream.is_secured() => {
                if let Some(session) = self.sessions.get_mut(&stream) {
                    session.news = News::Connected(Some(local));
                }
            }
            StreamEvent::Data(bytes) if self.sessions.contains_key(&stream) => {
                self.data(now, stream, bytes, out);
            }
            StreamEvent::Closed(end) if self.sessions.contains_key(&stream) => {
                self.closed(now, stream, end, out);
            }
            event => self.pass(now, Input::Stream(stream, event), out),
        }
    }

    /// Tells the machine within what it has to hear, until there is nothing more.
    fn settle(&mut self, now: Time, out: &mut Outbox<M::Mail>) {
        while let Some((stream, end)) = self.ended.pop_front() {
            self.pass(now, Input::Stream(stream, StreamEvent::Closed(end)), out);
        }
    }
}

impl<M: Machine> Machine for Secured<M> {
    type Mail = M::Mail;

    fn handle(&mut self, now: Time, input: Input<'_, M::Mail>, out: &mut Outbox<M::Mail>) {
        match input {
            Input::Stream(stream, event) => {
                self.stream(now, stream, event, out);
                self.settle(now, out);
                self.gauges.publish(&self.stats);
            }
            Input::Timeout => {
                while let Some((_, stream)) = self.wheel.pop(now) {
                    if let Some(session) = self.sessions.get_mut(&stream) {
                        session.timer = None;
                        self.stats.handshakes_late += 1;
                        self.end(stream, StreamEnd::Refused(IoError::TimedOut), out);
                    }
                }
                self.pass(now, Input::Timeout, out);
                self.settle(now, out);
                self.gauges.publish(&self.stats);
            }
            input => {
                self.pass(now, input, out);
                if !self.ended.is_empty() {
                    self.settle(now, out);
                }
            }
        }
    }

    fn deadline(&self) -> Option<Time> {
        match (self.wheel.deadline(), self.inner.deadline()) {
            (Some(own), Some(inner)) => Some(own.min(inner)),
            (own, inner) => own.or(inner),
        }
    }
}
