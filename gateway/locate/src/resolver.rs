//! Questions on their way: each sent to one server after the other until one answers, over TCP if it must be.

use crate::cache::Key;
use crate::config::{ASKING_MAX, Config, SOCKETS, STREAMS, WAITING_MAX};
use crate::message::{self, Answer, Outcome};
use crate::stats::Stats;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use sansio::{
    Outbox, Random, SocketEvent, SocketId, SocketOptions, StreamEvent, StreamId, Time, TimerId, Wheel,
};
use std::collections::{BTreeMap, VecDeque};

/// Octets of an answer over TCP at most; what is longer is not about a SIP server.
const STREAMED_MAX: usize = 16 << 10;

/// By what a question goes to its server. Each try has a socket of its own, so that its port is one more thing that
/// a forger has to guess (RFC 5452 §9.2).
#[derive(Debug)]
enum Link {
    /// A socket, asked to be opened or open.
    Socket(SocketId),
    /// A connection, and what came over it.
    Stream(StreamId, Vec<u8>),
    /// Neither at present.
    None,
}

#[derive(Debug)]
struct Question {
    /// As sent.
    bytes: Vec<u8>,
    link: Link,
    server: SocketAddr,
    /// Tries so far, the present one included.
    tries: u32,
    timer: Option<TimerId>,
}

/// What became of a question.
#[derive(Debug)]
pub(crate) enum Done {
    /// A server answered.
    Answered(Key, Answer, SocketAddr),
    /// None did.
    Failed(Key),
}

/// Questions on their way, and those that wait for their turn.
#[derive(Debug)]
pub(crate) struct Resolver {
    asking: BTreeMap<Key, Question>,
    waiting: VecDeque<Key>,
    sockets: BTreeMap<SocketId, Key>,
    streams: BTreeMap<StreamId, Key>,
    next_socket: u32,
    next_stream: u32,
    /// The server that answered last.
    good: usize,
    done: VecDeque<Done>,
    wheel: Wheel<Key>,
    random: Random,
}

impl Resolver {
    pub(crate) fn new(now: Time, random: Random) -> Self {
        Self {
            asking: BTreeMap::new(),
            waiting: VecDeque::new(),
            sockets: BTreeMap::new(),
            streams: BTreeMap::new(),
            next_socket: SOCKETS.start,
            next_stream: STREAMS.start,
            good: 0,
            done: VecDeque::new(),
            wheel: Wheel::new(now, ASKING_MAX as u32),
            random,
        }
    }

    /// Whether a question is on its way or waits.
    pub(crate) fn is_asking(&self, key: &Key) -> bool {
        self.asking.contains_key(key) || self.waiting.contains(key)
    }

    /// Questions on their way and waiting.
    pub(crate) fn len(&self) -> usize {
        self.asking.len() + self.waiting.len()
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        self.wheel.deadline()
    }

    /// The next question that is done with.
    pub(crate) fn poll(&mut self) -> Option<Done> {
        self.done.pop_front()
    }

    /// Asks a question, unless it is asked already.
    pub(crate) fn ask<M>(
        &mut self,
        now: Time,
        config: &Config,
        key: Key,
        stats: &mut Stats,
        out: &mut Outbox<M>,
    ) {
        if self.is_asking(&key) {
            return;
        }
        stats.questions += 1;
        if self.asking.len() >= ASKING_MAX {
            if self.waiting.len() >= WAITING_MAX {
                stats.questions_dropped += 1;
                self.done.push_back(Done::Failed(key));
            } else {
                self.waiting.push_back(key);
            }
            return;
        }
        self.begin(now, config, key, stats, out);
    }

    fn begin<M>(&mut self, now: Time, config: &Config, key: Key, stats: &mut Stats, out: &mut Outbox<M>) {
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let question =
            Question { bytes: Vec::new(), link: Link::None, server: nowhere, tries: 0, timer: None };
        self.asking.insert(key.clone(), question);
        self.try_next(now, config, &key, stats, out);
    }

    /// Puts the question to the next server, or gives it up.
    fn try_next<M>(&mut self, now: Time, config: &Config, key: &Key, stats: &mut Stats, out: &mut Outbox<M>) {
        self.unlink(key, out);
        let id = self.random.u32() as u16;
        let socket = self.fresh_socket();
        let Some(question) = self.asking.get_mut(key) else { return };
        let servers = config.servers.len() as u32;
        let most = servers * u32::from(config.rounds.max(1));
        let bytes = message::query(id, &key.0, key.1);
        let (Some(bytes), Some(socket)) = (bytes.filter(|_| question.tries < most), socket) else {
            return self.end(Done::Failed(key.clone()), out);
        };
        let round = question.tries / servers.max(1);
        let server = config.servers[(self.good + question.tries as usize) % config.servers.len()];
        question.tries += 1;
        question.server = server;
        question.bytes = bytes;
        question.link = Link::Socket(socket);
        self.sockets.insert(socket, key.clone());
        let any: IpAddr = match server {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let options = SocketOptions { icmp_errors: true, ..SocketOptions::default() };
        out.open(socket, SocketAddr::new(any, 0), options);
        self.arm(now, key, now + config.timeout * (1 << round.min(4)), stats);
    }

    fn arm(&mut self, now: Time, key: &Key, at: Time, stats: &mut Stats) {
        let Some(question) = self.asking.get_mut(key) else { return };
        if let Some(timer) = question.timer.take() {
            self.wheel.cancel(timer);
        }
        // As many timers as questions at most: there is always one left.
        question.timer = self.wheel.insert(at.max(now), key.clone());
        stats.timers_full += u64::from(question.timer.is_none());
    }

    /// Lets go of what the present try uses.
    fn unlink<M>(&mut self, key: &Key, out: &mut Outbox<M>) {
        let Some(question) = self.asking.get_mut(key) else { return };
        match core::mem::replace(&mut question.link, Link::None) {
            Link::Socket(socket) => {
                self.sockets.remove(&socket);
                out.close(socket);
            }
            Link::Stream(stream, _) => {
                self.streams.remove(&stream);
                out.shut(stream);
            }
            Link::None => {}
        }
    }

    /// The question is done with.
    fn end<M>(&mut self, done: Done, out: &mut Outbox<M>) {
        let (Done::Answered(key, ..) | Done::Failed(key)) = &done;
        self.unlink(key, out);
        if let Some(timer) = self.asking.remove(key).and_then(|question| question.timer) {
            self.wheel.cancel(timer);
        }
        self.done.push_back(done);
    }

    /// Those that wait take the places that became free.
    pub(crate) fn go_on<M>(&mut self, now: Time, config: &Config, stats: &mut Stats, out: &mut Outbox<M>) {
        while self.asking.len() < ASKING_MAX {
            let Some(key) = self.waiting.pop_front() else { return };
            self.begin(now, config, key, stats, out);
        }
    }

    /// Gives up all questions.
    pub(crate) fn clear<M>(&mut self, out: &mut Outbox<M>) {
        let keys: Vec<Key> = self.asking.keys().cloned().collect();
        for key in keys {
            self.unlink(&key, out);
            if let Some(timer) = self.asking.remove(&key).and_then(|question| question.timer) {
                self.wheel.cancel(timer);
            }
        }
        self.waiting.clear();
        self.done.clear();
    }

    pub(crate) fn handle_socket<M>(
        &mut self,
        now: Time,
        config: &Config,
        socket: SocketId,
        event: SocketEvent,
        stats: &mut Stats,
        out: &mut Outbox<M>,
    ) {
        let Some(key) = self.sockets.get(&socket).cloned() else { return };
        let Some(question) = self.asking.get(&key) else { return };
        match event {
            SocketEvent::Opened(_) => {
                stats.sent += 1;
                out.send(socket, question.server, &question.bytes);
            }
            SocketEvent::Failed(_) => {
                // It is not there to be closed.
                stats.sockets_failed += 1;
                self.sockets.remove(&socket);
                if let Some(question) = self.asking.get_mut(&key) {
                    question.link = Link::None;
                }
                self.try_next(now, config, &key, stats, out);
            }
        }
    }

    pub(crate) fn handle_datagram<M>(
        &mut self,
        now: Time,
        config: &Config,
        socket: SocketId,
        source: SocketAddr,
        payload: &[u8],
        stats: &mut Stats,
        out: &mut Outbox<M>,
    ) {
        let key = self.sockets.get(&socket).cloned();
        let Some((key, question)) = key.and_then(|key| Some((key.clone(), self.asking.get(&key)?))) else {
            stats.mismatched += 1;
            return;
        };
        // RFC 5452 §9.1: source, identifier and question have to be those of what was asked.
        if source != question.server || !message::is_answer_to(&question.bytes, payload) {
            stats.mismatched += 1;
            return;
        }
        self.answered(now, config, &key, payload, stats, out);
    }

    /// A server's own answer came.
    fn answered<M>(
        &mut self,
        now: Time,
        config: &Config,
        key: &Key,
        payload: &[u8],
        stats: &mut Stats,
        out: &mut Outbox<M>,
    ) {
        let Some(question) = self.asking.get(key) else { return };
        let (server, streamed) = (question.server, matches!(question.link, Link::Stream(..)));
        let Some(answer) = message::read(payload, &key.0, key.1) else {
            stats.malformed += 1;
            return self.try_next(now, config, key, stats, out);
        };
        match answer.outcome {
            Outcome::Truncated if streamed => {
                stats.malformed += 1;
                self.try_next(now, config, key, stats, out);
            }
            Outcome::Truncated => self.over_tcp(now, config, key, stats, out),
            Outcome::Refused => {
                stats.refused += 1;
                self.try_next(now, config, key, stats, out);
            }
            Outcome::Records(_) | Outcome::Alias(_) | Outcome::Nothing | Outcome::Loop => {
                self.good = config.servers.iter().position(|s| *s == server).unwrap_or(0);
                self.end(Done::Answered(key.clone(), answer, server), out);
            }
        }
    }

    /// Asks the same server over TCP (RFC 7766 §5).
    fn over_tcp<M>(&mut self, now: Time, config: &Config, key: &Key, stats: &mut Stats, out: &mut Outbox<M>) {
        stats.truncated += 1;
        stats.sent += 1;
        self.unlink(key, out);
        let stream = self.fresh_stream();
        let Some(question) = self.asking.get_mut(key) else { return };
        let mut framed = Vec::with_capacity(question.bytes.len() + 2);
        // A question is shorter than 300 octets.
        framed.extend_from_slice(&(question.bytes.len() as u16).to_be_bytes());
        framed.extend_from_slice(&question.bytes);
        question.link = Link::Stream(stream, Vec::new());
        self.streams.insert(stream, key.clone());
        out.connect(stream, None, question.server);
        out.write(stream, &framed);
        self.arm(now, key, now + config.timeout, stats);
    }

    pub(crate) fn handle_stream<M>(
        &mut self,
        now: Time,
        config: &Config,
        stream: StreamId,
        event: StreamEvent<'_>,
        stats: &mut Stats,
        out: &mut Outbox<M>,
    ) {
        let Some(key) = self.streams.get(&stream).cloned() else { return };
        let Some(question) = self.asking.get_mut(&key) else { return };
        match event {
            StreamEvent::Accepted { .. } | StreamEvent::Connected { .. } => {}
            StreamEvent::Data(bytes) => {
                let Link::Stream(_, got) = &mut question.link else { return };
                let room = (STREAMED_MAX + 2).saturating_sub(got.len());
                got.extend_from_slice(&bytes[..bytes.len().min(room)]);
                let Some(length) = got.first_chunk::<2>().map(|l| usize::from(u16::from_be_bytes(*l))) else {
                    return;
                };
                if length > STREAMED_MAX {
                    stats.malformed += 1;
                    return self.try_next(now, config, &key, stats, out);
                }
                let Some(payload) = got.get(2..2 + length).map(<[u8]>::to_vec) else { return };
                if message::is_answer_to(&question.bytes, &payload) {
                    self.answered(now, config, &key, &payload, stats, out);
                } else {
                    stats.mismatched += 1;
                    self.try_next(now, config, &key, stats, out);
                }
            }
            StreamEvent::Closed(_) => {
                // It is not there to be closed.
                self.streams.remove(&stream);
                question.link = Link::None;
                stats.refused += 1;
                self.try_next(now, config, &key, stats, out);
            }
        }
    }

    /// Nobody listens at a server's port.
    pub(crate) fn handle_unreachable<M>(
        &mut self,
        now: Time,
        config: &Config,
        socket: SocketId,
        stats: &mut Stats,
        out: &mut Outbox<M>,
    ) {
        let Some(key) = self.sockets.get(&socket).cloned() else { return };
        stats.refused += 1;
        self.try_next(now, config, &key, stats, out);
    }

    pub(crate) fn handle_timeout<M>(
        &mut self,
        now: Time,
        config: &Config,
        stats: &mut Stats,
        out: &mut Outbox<M>,
    ) {
        while let Some((_, key)) = self.wheel.pop(now) {
            if let Some(question) = self.asking.get_mut(&key) {
                question.timer = None;
                stats.timeouts += 1;
                self.try_next(now, config, &key, stats, out);
            }
        }
    }

    fn fresh_socket(&mut self) -> Option<SocketId> {
        // At most `ASKING_MAX` of far more numbers are taken.
        for _ in 0..=ASKING_MAX {
            let socket = SocketId(self.next_socket);
            self.next_socket = if socket.0 + 1 >= SOCKETS.end { SOCKETS.start } else { socket.0 + 1 };
            if !self.sockets.contains_key(&socket) {
                return Some(socket);
            }
        }
        None
    }

    /// The next number; those long since used are free, for each lives no longer than a few timeouts.
    fn fresh_stream(&mut self) -> StreamId {
        let stream = StreamId(self.next_stream);
        self.next_stream = if stream.0 + 1 >= STREAMS.end { STREAMS.start } else { stream.0 + 1 };
        stream
    }
}
