//! The locator: which targets are wanted, where each is, and when it has to be looked for again.

use crate::cache::{Cache, Key, Known};
use crate::config::{Config, QUESTIONS_MAX, SOCKETS, STREAMS, TARGETS_MAX};
use crate::message::Outcome;
use crate::procedure::{self, Nowhere, Verdict};
use crate::resolver::{Done, Resolver};
use crate::route::Route;
use crate::stats::Stats;
use crate::target::Target;
use core::net::SocketAddr;
use core::time::Duration;
use sansio::{Outbox, Random, SocketEvent, SocketId, StreamEvent, StreamId, Time};

/// A route is sought again this long before it ends at the latest, so that the new one is there in time.
const LEAD_MAX: Duration = Duration::from_secs(30);
/// And not more often than this.
const AGAIN_MIN: Duration = Duration::from_millis(500);
/// A target that could not be located is tried again after at most this long.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// How often what is of no more use is forgotten.
const PRUNE: Duration = Duration::from_secs(60);

/// A target and what is known of it.
#[derive(Debug)]
struct Subject {
    target: Target,
    route: Option<Route>,
    /// Why there is none, or why the last search failed.
    nowhere: Option<Nowhere>,
    /// While a search goes on: when it began, and how long what is known has to hold.
    search: Option<(Time, Time)>,
    /// Questions asked in this search.
    asked: u32,
    /// When to search again.
    again: Time,
}

/// What is known of a target, for people.
#[derive(Clone, Copy, Debug)]
pub struct Fact<'a> {
    /// The target.
    pub target: &'a Target,
    /// Where it is; `None`: not known.
    pub route: Option<&'a Route>,
    /// Why it is not known, in words; empty before the first search has ended.
    pub why: &'static str,
}

/// What a locator holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Targets wanted.
    pub targets: usize,
    /// Targets located.
    pub located: usize,
    /// Questions on their way or waiting.
    pub questions: usize,
    /// Answers kept.
    pub answers: usize,
}

/// Locates targets and keeps them located.
#[derive(Debug)]
pub struct Locator {
    config: Config,
    cache: Cache,
    resolver: Resolver,
    subjects: Vec<Subject>,
    stats: Stats,
    changed: bool,
    pruned: Time,
    /// When the next target has to be looked for again.
    again: Option<Time>,
}

impl Locator {
    /// A locator that looks for nothing yet.
    pub fn new(now: Time, config: Config, random: Random) -> Self {
        Self {
            config,
            cache: Cache::default(),
            resolver: Resolver::new(now, random),
            subjects: Vec::new(),
            stats: Stats::default(),
            changed: false,
            pruned: now,
            again: None,
        }
    }

    /// What is wanted from now on; targets that were wanted before keep their routes. An empty list stops all work.
    pub fn watch<M>(&mut self, now: Time, config: Config, targets: &[Target], out: &mut Outbox<M>) {
        let anew = config != self.config;
        self.config = config;
        if targets.is_empty() || anew {
            self.resolver.clear(out);
            for subject in &mut self.subjects {
                subject.search = None;
                subject.again = now;
            }
        }
        self.subjects.retain(|subject| targets.contains(&subject.target));
        for target in targets {
            if self.subjects.iter().any(|subject| subject.target == *target) {
                continue;
            }
            if self.subjects.len() >= TARGETS_MAX {
                self.stats.names_dropped += 1;
                continue;
            }
            let (target, again) = (target.clone(), now);
            self.subjects.push(Subject { target, route: None, nowhere: None, search: None, asked: 0, again });
        }
        self.handle_timeout(now, out);
    }

    /// Whether a socket is one of this locator's.
    pub fn owns_socket(socket: SocketId) -> bool {
        SOCKETS.contains(&socket.0)
    }

    /// Whether a stream is one of this locator's.
    pub fn owns_stream(stream: StreamId) -> bool {
        STREAMS.contains(&stream.0)
    }

    /// Takes what became of a socket.
    pub fn handle_socket<M>(&mut self, now: Time, socket: SocketId, event: SocketEvent, out: &mut Outbox<M>) {
        self.resolver.handle_socket(now, &self.config, socket, event, &mut self.stats, out);
        self.settle(now, out);
    }

    /// Takes a datagram.
    pub fn handle_datagram<M>(
        &mut self,
        now: Time,
        socket: SocketId,
        source: SocketAddr,
        payload: &[u8],
        out: &mut Outbox<M>,
    ) {
        self.resolver.handle_datagram(now, &self.config, socket, source, payload, &mut self.stats, out);
        self.settle(now, out);
    }

    /// Takes that a server's port is closed.
    pub fn handle_unreachable<M>(&mut self, now: Time, socket: SocketId, out: &mut Outbox<M>) {
        self.resolver.handle_unreachable(now, &self.config, socket, &mut self.stats, out);
        self.settle(now, out);
    }

    /// Takes what happened on a stream.
    pub fn handle_stream<M>(
        &mut self,
        now: Time,
        stream: StreamId,
        event: StreamEvent<'_>,
        out: &mut Outbox<M>,
    ) {
        self.resolver.handle_stream(now, &self.config, stream, event, &mut self.stats, out);
        self.settle(now, out);
    }

    /// Does what is due.
    pub fn handle_timeout<M>(&mut self, now: Time, out: &mut Outbox<M>) {
        self.resolver.handle_timeout(now, &self.config, &mut self.stats, out);
        if now.since(self.pruned) >= PRUNE {
            self.pruned = now;
            self.cache.prune(now);
        }
        for at in 0..self.subjects.len() {
            let subject = &mut self.subjects[at];
            if subject.search.is_none() && subject.again <= now {
                // What was learnt for the present route does not do beyond its end.
                let until = subject.route.as_ref().map_or(now, |route| route.until.max(now));
                subject.search = Some((now, until));
                subject.asked = 0;
                self.search(now, at, out);
            }
        }
        self.settle(now, out);
    }

    /// When [`Self::handle_timeout`] is wanted.
    pub fn deadline(&self) -> Option<Time> {
        [self.again, self.resolver.deadline()].into_iter().flatten().min()
    }

    /// Whether the addresses of some target changed since this was last asked.
    pub fn take_changed(&mut self) -> bool {
        core::mem::take(&mut self.changed)
    }

    /// Where a target is.
    pub fn route(&self, target: &Target) -> Option<&Route> {
        self.subjects.iter().find(|subject| subject.target == *target)?.route.as_ref()
    }

    /// What is known of each target.
    pub fn facts(&self) -> impl Iterator<Item = Fact<'_>> {
        self.subjects.iter().map(|subject| Fact {
            target: &subject.target,
            route: subject.route.as_ref(),
            why: subject.nowhere.map_or("", Nowhere::as_str),
        })
    }

    /// The counters.
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// What it holds.
    pub fn census(&self) -> Census {
        Census {
            targets: self.subjects.len(),
            located: self.subjects.iter().filter(|subject| subject.route.is_some()).count(),
            questions: self.resolver.len(),
            answers: self.cache.len(),
        }
    }

    /// Takes in what was answered, and goes on with the searches that waited for it.
    fn settle<M>(&mut self, now: Time, out: &mut Outbox<M>) {
        while let Some(done) = self.resolver.poll() {
            self.learn(now, done);
            for at in 0..self.subjects.len() {
                if self.subjects[at].search.is_some() {
                    self.search(now, at, out);
                }
            }
            self.resolver.go_on(now, &self.config, &mut self.stats, out);
        }
        self.again = self.subjects.iter().filter(|s| s.search.is_none()).map(|s| s.again).min();
    }

    fn learn(&mut self, now: Time, done: Done) {
        let (key, answer, from) = match done {
            Done::Answered(key, answer, from) => (key, answer, from),
            Done::Failed(key) => {
                self.stats.failed += 1;
                self.stats.cache_evicted += self.cache.fail(now, key);
                return;
            }
        };
        self.stats.records_cut += answer.cut as u64;
        let known = match answer.outcome {
            Outcome::Records(records) => Known::Records(records),
            Outcome::Alias(alias) => Known::Alias(alias),
            Outcome::Loop => {
                self.stats.alias_loops += 1;
                Known::Nothing
            }
            // The resolver has dealt with the others.
            Outcome::Nothing | Outcome::Refused | Outcome::Truncated => Known::Nothing,
        };
        let counter =
            if known == Known::Nothing { &mut self.stats.negative } else { &mut self.stats.answered };
        *counter += 1;
        self.stats.cache_evicted += self.cache.learn(now, &self.config, key, known, answer.ttl, from);
    }

    /// Goes on with a search as far as what is known goes.
    fn search<M>(&mut self, now: Time, at: usize, out: &mut Outbox<M>) {
        let subject = &mut self.subjects[at];
        let Some((since, until)) = subject.search else { return };
        match procedure::locate(&self.cache, &self.config, now, until, since, &subject.target) {
            Verdict::Ask(keys) => self.ask(now, at, keys, out),
            Verdict::Located(route, cut) => {
                self.stats.records_cut += cut as u64;
                let counter =
                    if route.stale { &mut self.stats.located_stale } else { &mut self.stats.located };
                *counter += 1;
                let left = route.until.since(now);
                let lead = if route.stale { Duration::ZERO } else { (left / 10).min(LEAD_MAX) };
                subject.again = now + (left - lead).max(AGAIN_MIN);
                subject.nowhere = None;
                subject.search = None;
                if subject.route.as_ref().is_none_or(|old| old.places != route.places) {
                    self.stats.changed += 1;
                    self.changed = true;
                }
                subject.route = Some(route);
            }
            Verdict::Nowhere(why, retry) => {
                self.nowhere(now, at, why, retry);
            }
        }
    }

    fn ask<M>(&mut self, now: Time, at: usize, keys: Vec<Key>, out: &mut Outbox<M>) {
        for key in keys {
            if self.resolver.is_asking(&key) {
                continue;
            }
            let subject = &mut self.subjects[at];
            if subject.asked >= QUESTIONS_MAX {
                self.stats.questions_exceeded += 1;
                return self.nowhere(now, at, Nowhere::Unanswered, now + RETRY_MAX);
            }
            subject.asked += 1;
            self.resolver.ask(now, &self.config, key, &mut self.stats, out);
        }
    }

    fn nowhere(&mut self, now: Time, at: usize, why: Nowhere, retry: Time) {
        self.stats.unlocated += 1;
        let subject = &mut self.subjects[at];
        subject.again = retry.max(now + AGAIN_MIN).min(now + RETRY_MAX);
        subject.nowhere = Some(why);
        subject.search = None;
        if subject.route.take().is_some() {
            self.stats.changed += 1;
            self.changed = true;
        }
    }
}
