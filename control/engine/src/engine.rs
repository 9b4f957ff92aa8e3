//! The third machine: takes the shards' events, the store's and the API's mail, and decides.

use crate::abuse::Abuse;
use crate::certificates::{Asked, Certificates, Fetch};
use crate::gather::{Gather, Gathers};
use crate::ledger::{Ledger, Recent};
use crate::performance::Performance;
use crate::playbacks::{self, Playbacks};
use crate::quality::{History, Quality};
use crate::registrations::Registrations;
use crate::traces::{Answered, Traces};
use crate::{Answer, Ask, Mail, Order, Outcome, Query, Record};
use core::time::Duration;
use link::{
    BanReason, CallAnswered, CallId, Cdr, Command, Decision, Event, Figure, Hello, PlayAsked, Reason,
    Registration, ReportAsked, RouteAsked, RouteTable, RoutingSnapshot, ShardId, StopAsked, Ticket,
    TraceAsked, TraceOf, TrunkChange, TrunkName, UnixMicros,
};
use sansio::{Input, Machine, Mailbox, Outbox, Time};
use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::Arc;

/// How the engine shall behave.
#[derive(Clone, Debug)]
pub struct Config {
    /// Mailboxes of the shards: shard `n` is at `shards + n`.
    pub shards: Mailbox,
    /// Mailbox of the store.
    pub store: Mailbox,
    /// Mailbox of the API.
    pub api: Mailbox,
    /// Mailbox of whoever fetches certificates.
    pub fetcher: Mailbox,
    /// The wall clock at [`Time::ZERO`], in unix microseconds.
    pub epoch: UnixMicros,
    /// How long shards have for a report. Default 1 s.
    pub patience: Duration,
    /// How long a shard has to begin to play something, which takes a look at the disk. Default 7 s.
    pub media_patience: Duration,
    /// Questions open at the same time. Default 64; each costs the reports it gathers.
    pub questions: usize,
    /// Writes on their way to the store. Default 100 000, about 1 KB each.
    pub writes: usize,
    /// Distinct trunks of which quality is kept. Default 10 000.
    pub trunks: usize,
    /// While calls are open, a sign of life is written this often. Default 5 s.
    pub alive: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            shards: Mailbox(0),
            store: Mailbox(1000),
            api: Mailbox(1001),
            fetcher: Mailbox(1002),
            epoch: UnixMicros(0),
            patience: Duration::from_secs(1),
            media_patience: Duration::from_secs(7),
            questions: 64,
            writes: 100_000,
            trunks: 10_000,
            alive: Duration::from_secs(5),
        }
    }
}

/// Changes of state that are kept for show.
const CHANGES: usize = 256;
/// Calls whose answer is remembered until their end; those beyond count once they are over.
const OPEN_CALLS: usize = 1 << 20;

/// What the engine counts of itself.
#[derive(Debug, Default)]
struct Counters {
    events: u64,
    cdrs: u64,
    repeated: u64,
    routes_given: u64,
    routes_refused: u64,
    versions_refused: u64,
    trunks_unknown: u64,
}

/// The control engine.
#[derive(Debug)]
pub struct Engine {
    config: Config,
    routing: RouteTable,
    snapshot: Arc<RoutingSnapshot>,
    shards: BTreeSet<ShardId>,
    draining: bool,
    gathers: Gathers,
    traces: Traces,
    playbacks: Playbacks,
    ledger: Ledger,
    trunks: BTreeMap<TrunkName, History>,
    changes: VecDeque<TrunkChange>,
    /// Calls begun and not over.
    open: HashSet<CallId>,
    registrations: Registrations,
    /// Those of them whose answer is counted already.
    answered: HashSet<CallId>,
    /// Calls that ended lately.
    ended: Recent,
    alive_due: Option<Time>,
    abuse: Abuse,
    certificates: Certificates,
    revocations: Certificates,
    counters: Counters,
}

impl Engine {
    /// An engine that routes by `routing`.
    pub fn new(config: Config, routing: RouteTable) -> Self {
        Self {
            snapshot: Arc::new(routing.snapshot().clone()),
            routing,
            shards: BTreeSet::new(),
            draining: false,
            gathers: Gathers::new(config.questions, config.patience),
            traces: Traces::new(config.questions, config.patience),
            playbacks: Playbacks::new(config.questions, config.media_patience),
            ledger: Ledger::new(config.writes),
            trunks: BTreeMap::new(),
            changes: VecDeque::with_capacity(CHANGES),
            open: HashSet::new(),
            registrations: Registrations::default(),
            answered: HashSet::new(),
            ended: Recent::default(),
            alive_due: None,
            abuse: Abuse::default(),
            certificates: Certificates::new(Fetch::Certificate),
            revocations: Certificates::new(Fetch::Revocations),
            counters: Counters::default(),
            config,
        }
    }

    /// Adds the registrations that an earlier run left behind.
    #[must_use]
    pub fn with_registrations(mut self, registrations: Vec<Registration>) -> Self {
        for registration in registrations {
            self.registrations.take(&registration);
        }
        self
    }

    /// Writes on their way to the store: 0 once everything said is on disk.
    pub fn writes_waiting(&self) -> usize {
        self.ledger.waiting()
    }

    /// Calls begun and not over, as far as the shards told.
    pub fn open_calls(&self) -> usize {
        self.open.len()
    }

    fn tell(&self, shard: ShardId, command: Command, out: &mut Outbox<Mail>) {
        let mailbox = Mailbox(self.config.shards.0 + u16::from(shard.0));
        out.mail(mailbox, Mail::ToGateway(shard, command));
    }

    fn tell_all(&self, command: &Command, out: &mut Outbox<Mail>) {
        for &shard in &self.shards {
            self.tell(shard, command.clone(), out);
        }
    }

    fn keep(&mut self, record: Record, out: &mut Outbox<Mail>) {
        if let Some(write) = self.ledger.enter(record) {
            out.mail(self.config.store, Mail::ToStore(write));
        }
    }

    fn take_event(&mut self, now: Time, shard: ShardId, event: Event, out: &mut Outbox<Mail>) {
        self.counters.events += 1;
        match event {
            Event::Hello(hello) => self.greet(shard, &hello, out),
            Event::CallStarted(record) => {
                if self.open.len() < OPEN_CALLS {
                    self.open.insert(record.call);
                }
                self.alive_due.get_or_insert(now + self.config.alive);
                self.keep(Record::Started(record), out);
            }
            Event::CallAnswered(answered) => self.take_answer(now, answered, out),
            Event::CallEnded(cdr) => self.take_end(now, cdr, out),
            Event::TrunkState(change) => {
                if self.changes.len() == CHANGES {
                    self.changes.pop_front();
                }
                self.changes.push_back(change);
            }
            Event::RouteAsked(asked) => self.decide(shard, &asked, out),
            Event::Report(report) => {
                if let Some(gather) = self.gathers.report(shard, *report) {
                    self.answer(now, gather, out);
                }
            }
            Event::Registered(registration) => {
                if self.registrations.take(&registration) {
                    self.keep(Record::Registered(registration), out);
                }
            }
            Event::CertificateAsked(url) => match self.certificates.ask(now, shard, url) {
                Asked::Known(answer) => self.tell(shard, Command::Certificate(Box::new(answer)), out),
                Asked::Fetch(url) => {
                    out.mail(self.config.fetcher, Mail::ToFetcher(Fetch::Certificate, url));
                }
                Asked::Joined => {}
            },
            Event::RevocationsAsked(url) => match self.revocations.ask(now, shard, url) {
                Asked::Known(answer) => self.tell(shard, Command::Revocations(Box::new(answer)), out),
                Asked::Fetch(url) => {
                    out.mail(self.config.fetcher, Mail::ToFetcher(Fetch::Revocations, url));
                }
                Asked::Joined => {}
            },
            Event::Banned(ban) => self.abuse.take_ban(self.wall(now), *ban),
            Event::Alarm(alarm) => self.abuse.take_alarm(*alarm),
            Event::Trace(trace) => {
                if let Some(answered) = self.traces.take(trace) {
                    self.say_trace(answered, out);
                }
            }
            Event::MediaAnswered(answer) => {
                if let Some(answered) = self.playbacks.answer(*answer) {
                    self.say_media(answered, out);
                }
            }
            Event::Playback(playback) => self.playbacks.take(*playback),
            Event::Released(releases) => {
                for release in &releases {
                    self.count(&release.trunk, |history| {
                        history.perform(now, &Performance::of_release(release))
                    });
                }
            }
            // What a trunk's registration is, the shards' reports say; the change itself is for the log.
            Event::Registration(_) | Event::Drained => {}
        }
    }

    fn greet(&mut self, shard: ShardId, hello: &Hello, out: &mut Outbox<Mail>) {
        if hello.version != link::VERSION {
            self.counters.versions_refused += 1;
            return;
        }
        self.shards.insert(shard);
        // The events of an earlier run of that shard say nothing any more.
        self.open.retain(|call| call.shard() != shard);
        self.answered.retain(|call| call.shard() != shard);
        self.keep(Record::Restarted { shard, started: hello.started }, out);
        self.tell(shard, Command::Snapshot(Arc::clone(&self.snapshot)), out);
        let registered = self.registrations.all();
        if !registered.is_empty() {
            self.tell(shard, Command::Registrations(registered), out);
        }
        if self.draining {
            self.tell(shard, Command::Drain, out);
        }
    }

    fn take_answer(&mut self, now: Time, answered: CallAnswered, out: &mut Outbox<Mail>) {
        if self.open.contains(&answered.call) && self.answered.insert(answered.call) {
            self.count_answer(now, &answered.trunk, answered.heard_us);
        }
        self.keep(Record::Answered(answered), out);
    }

    fn take_end(&mut self, now: Time, cdr: Box<Cdr>, out: &mut Outbox<Mail>) {
        if self.ledger.holds(cdr.call) {
            self.counters.repeated += 1;
            return;
        }
        if self.ended.insert(cdr.call) {
            self.count_end(now, &cdr);
        } else {
            self.counters.repeated += 1;
        }
        // Said again since it was not stored in time, or the acknowledgement was lost: both want it written.
        self.keep(Record::Ended(cdr), out);
    }

    fn count_end(&mut self, now: Time, cdr: &Cdr) {
        self.counters.cdrs += 1;
        self.open.remove(&cdr.call);
        let counted = self.answered.remove(&cdr.call);
        for attempt in &cdr.attempts {
            let answered = attempt.status.is_some_and(|status| status / 100 == 2);
            match answered {
                true if counted => {}
                true => self.count_answer(now, &attempt.trunk, attempt.heard_us),
                false => {
                    self.count(&attempt.trunk, |history| {
                        history.add(now, &Quality::of_failure(attempt.status));
                        history.perform(now, &Performance::of_failure(attempt));
                        history.attempts.count(attempt.reason, attempt.status);
                    });
                }
            }
        }
        if let Some(trunk) = &cdr.trunk {
            self.count(trunk, |history| {
                history.add(now, &Quality::of_end(cdr));
                if let Some(pdd_us) = cdr.pdd_us {
                    history.perform(now, &Performance::of_pdd(pdd_us));
                }
            });
        }
    }

    fn count_answer(&mut self, now: Time, trunk: &TrunkName, heard_us: Option<u64>) {
        self.count(trunk, |history| {
            history.add(now, &Quality::of_answer());
            history.perform(now, &Performance::of_answer(heard_us));
            history.attempts.count(Reason::Answered, Some(200));
        });
    }

    fn count(&mut self, trunk: &TrunkName, what: impl FnOnce(&mut History)) {
        // A call to a registered phone went over no trunk.
        if [link::USER_PREFIX, link::WORKER_PREFIX].iter().any(|it| trunk.as_str().starts_with(it)) {
            return;
        }
        if let Some(history) = self.trunks.get_mut(trunk) {
            what(history);
        } else if self.trunks.len() < self.config.trunks {
            what(self.trunks.entry(trunk.clone()).or_default());
        } else {
            self.counters.trunks_unknown += 1;
        }
    }

    fn decide(&mut self, shard: ShardId, asked: &RouteAsked, out: &mut Outbox<Mail>) {
        let decision = match self.routing.lookup(&asked.number) {
            Some(routed) => {
                self.counters.routes_given += 1;
                Decision::Groups {
                    groups: routed.entry.groups.clone(),
                    number: routed.entry.rewrite(&asked.number),
                }
            }
            None => {
                self.counters.routes_refused += 1;
                Decision::Refuse { status: 404, reason: "No Route".into() }
            }
        };
        self.tell(shard, Command::Route { call: asked.call, decision }, out);
    }

    fn take_query(&mut self, now: Time, query: Query, out: &mut Outbox<Mail>) {
        let Query { ticket, ask } = query;
        let outcome = match ask {
            Ask::View { calls } => {
                let Some(question) = self.gathers.open(now, ticket, calls, self.shards.iter().copied())
                else {
                    return self.say(Answer { ticket, outcome: Outcome::Busy }, out);
                };
                self.tell_all(&Command::ReportAsked(ReportAsked { ticket: question, calls }), out);
                if let Some(gather) = self.gathers.take_complete(question) {
                    self.answer(now, gather, out);
                }
                return;
            }
            Ask::Hangup(call) if self.shards.contains(&call.shard()) => {
                self.tell(call.shard(), Command::Hangup { call }, out);
                Outcome::Told
            }
            Ask::Hangup(call) => Outcome::NoShard(call.shard()),
            Ask::Registrations => Outcome::Registrations(self.registrations.current(self.wall(now))),
            Ask::Trace(of) => return self.ask_trace(now, ticket, of, out),
            Ask::Bans => Outcome::Bans(self.abuse.bans(self.wall(now))),
            Ask::Unban(source) => {
                // The shards are told in any case: one may hold a ban that is not listed here.
                self.tell_all(&Command::Unban(source), out);
                Outcome::Lifted(self.abuse.lift(self.wall(now), source))
            }
            Ask::Play { call, side, files, repeated } => {
                let order =
                    |ticket| Command::Play(Box::new(PlayAsked { ticket, call, side, files, repeated }));
                return self.order_media(now, ticket, call, order, out);
            }
            Ask::StopPlaying(call, side) => {
                let order = |ticket| Command::StopPlaying(Box::new(StopAsked { ticket, call, side }));
                return self.order_media(now, ticket, call, order, out);
            }
            Ask::Playbacks(call) => Outcome::Playbacks(self.playbacks.recent(call)),
            Ask::Alarms => Outcome::Alarms(self.abuse.alarms()),
        };
        self.say(Answer { ticket, outcome }, out);
    }

    /// An order about what is played in a call: to its shard, whose answer goes to who asked.
    fn order_media(
        &mut self,
        now: Time,
        asker: Ticket,
        call: CallId,
        order: impl FnOnce(Ticket) -> Command,
        out: &mut Outbox<Mail>,
    ) {
        let shard = call.shard();
        if !self.shards.contains(&shard) {
            return self.say(Answer { ticket: asker, outcome: Outcome::NoShard(shard) }, out);
        }
        match self.playbacks.open(now, asker) {
            Some(ticket) => self.tell(shard, order(ticket), out),
            None => self.say(Answer { ticket: asker, outcome: Outcome::Busy }, out),
        }
    }

    fn say_media(&self, (ticket, result): playbacks::Answered, out: &mut Outbox<Mail>) {
        let outcome = result.map_or(Outcome::Busy, Outcome::Media);
        self.say(Answer { ticket, outcome }, out);
    }

    fn ask_trace(&mut self, now: Time, asker: Ticket, of: TraceOf, out: &mut Outbox<Mail>) {
        let asked: Vec<ShardId> = match &of {
            TraceOf::Call(call) => self.shards.get(&call.shard()).copied().into_iter().collect(),
            TraceOf::SipCallId(_) => self.shards.iter().copied().collect(),
        };
        let Some(ticket) = self.traces.open(now, asker, asked.iter().copied()) else {
            return self.say(Answer { ticket: asker, outcome: Outcome::Busy }, out);
        };
        for shard in asked {
            let asked = TraceAsked { ticket, of: of.clone() };
            self.tell(shard, Command::TraceAsked(Box::new(asked)), out);
        }
        if let Some(answered) = self.traces.take_complete(ticket) {
            self.say_trace(answered, out);
        }
    }

    fn say_trace(&self, (ticket, trace): Answered, out: &mut Outbox<Mail>) {
        self.say(Answer { ticket, outcome: Outcome::Trace(trace) }, out);
    }

    fn answer(&mut self, now: Time, gather: Gather, out: &mut Outbox<Mail>) {
        let Gather { asker, calls, mut view, .. } = gather;
        view.figures.extend(self.figures());
        view.figures.extend(self.abuse_figures(now));
        view.finish(calls);
        for trunk in &mut view.trunks {
            if let Some(history) = self.trunks.get_mut(&trunk.name) {
                trunk.total = *history.total();
                trunk.recent = history.recent(now);
                trunk.performance = history.performance(now);
                trunk.attempts = history.attempts.clone();
            }
        }
        view.changes.extend(self.changes.iter().cloned());
        view.draining |= self.draining;
        view.routing = self.snapshot.version;
        self.say(Answer { ticket: asker, outcome: Outcome::View(Box::new(view)) }, out);
    }

    fn say(&self, answer: Answer, out: &mut Outbox<Mail>) {
        out.mail(self.config.api, Mail::ToApi(answer));
    }

    fn take_order(&mut self, order: Order, out: &mut Outbox<Mail>) {
        match order {
            Order::Routing(routing) => {
                self.snapshot = Arc::new(routing.snapshot().clone());
                self.routing = *routing;
                self.tell_all(&Command::Snapshot(Arc::clone(&self.snapshot)), out);
            }
            Order::Drain => {
                self.draining = true;
                self.tell_all(&Command::Drain, out);
            }
        }
    }

    fn on_timeout(&mut self, now: Time, out: &mut Outbox<Mail>) {
        while let Some(gather) = self.gathers.expire(now) {
            self.answer(now, gather, out);
        }
        while let Some(answered) = self.traces.expire(now) {
            self.say_trace(answered, out);
        }
        while let Some(answered) = self.playbacks.expire(now) {
            self.say_media(answered, out);
        }
        if self.alive_due.is_some_and(|due| due <= now) {
            self.alive_due = None;
            if !self.open.is_empty() {
                self.alive_due = Some(now + self.config.alive);
                self.keep(Record::Alive(self.wall(now)), out);
            }
        }
    }

    fn wall(&self, now: Time) -> UnixMicros {
        UnixMicros(self.config.epoch.0 + now.as_nanos() / 1000)
    }

    fn abuse_figures(&self, now: Time) -> Vec<Figure> {
        let it = &self.abuse;
        let count = it.count(self.wall(now)) as u64;
        let mut figures = vec![
            Figure::gauge("bans", "Sources banned now.", count),
            Figure::counter("bans_lifted_total", "Bans lifted by the operator.", it.lifted),
            Figure::counter("bans_unlisted_total", "Bans not listed since there were too many.", it.unlisted),
        ];
        for (reason, value) in BanReason::ALL.into_iter().zip(it.banned) {
            let figure = Figure::counter("bans_total", "Sources banned, by reason.", value);
            figures.push(figure.labelled("reason", reason.name()));
        }
        for ((_, kind), value) in link::AlarmKind::ALL.into_iter().zip(it.alarmed) {
            figures.push(
                Figure::counter("alarms_total", "Alarms raised, by kind.", value).labelled("kind", kind),
            );
        }
        figures
    }

    fn figures(&self) -> Vec<Figure> {
        let it = &self.counters;
        let mut figures = vec![
            Figure::counter("control_events_total", "Events received from gateway shards.", it.events),
            Figure::counter("control_cdrs_total", "Call records received, each once.", it.cdrs),
            Figure::counter("control_cdrs_repeated_total", "Call records received again.", it.repeated),
            Figure::counter("control_cdrs_stored_total", "Call records on disk.", self.ledger.stored),
            Figure::counter(
                "control_cdrs_refused_total",
                "Call records not taken since the store lags: the gateway keeps them.",
                self.ledger.refused,
            ),
            Figure::counter(
                "control_notes_skipped_total",
                "Starts and answers of calls not written since the store lags.",
                self.ledger.skipped,
            ),
            Figure::gauge(
                "control_writes_waiting",
                "Writes on their way to disk.",
                self.ledger.waiting() as u64,
            ),
            Figure::counter(
                "control_routes_asked_total",
                "Routing questions of gateways, by outcome.",
                it.routes_given,
            )
            .labelled("outcome", "routed"),
            Figure::counter(
                "control_routes_asked_total",
                "Routing questions of gateways, by outcome.",
                it.routes_refused,
            )
            .labelled("outcome", "refused"),
            Figure::counter(
                "control_questions_refused_total",
                "API questions refused since too many were open.",
                self.gathers.refused + self.traces.refused + self.playbacks.refused,
            ),
            Figure::counter(
                "control_questions_incomplete_total",
                "API questions that some shard did not answer in time.",
                self.gathers.incomplete,
            ),
            Figure::gauge(
                "control_registrations",
                "Users with a registration, as the store knows it.",
                self.registrations.users() as u64,
            ),
            Figure::counter(
                "control_registrations_refused_total",
                "Registrations not kept since too many users were known.",
                self.registrations.refused,
            ),
            Figure::counter(
                "control_versions_refused_total",
                "Gateways turned away since they speak another version.",
                it.versions_refused,
            ),
            Figure::counter(
                "control_trunks_uncounted_total",
                "Call results not counted since too many trunk names were seen.",
                it.trunks_unknown,
            ),
        ];
        self.certificates.figures(&mut figures);
        self.revocations.figures(&mut figures);
        figures
    }
}

impl Machine for Engine {
    type Mail = Mail;

    fn handle(&mut self, now: Time, input: Input<'_, Mail>, out: &mut Outbox<Mail>) {
        match input {
            Input::Mail(Mail::FromGateway(shard, event)) => self.take_event(now, shard, event, out),
            Input::Mail(Mail::FromStore(stored)) => {
                for (shard, calls) in self.ledger.settle(stored) {
                    self.tell(shard, Command::CdrAcknowledged(calls), out);
                }
            }
            Input::Mail(Mail::FromFetcher(fetched)) => {
                let what = fetched.what;
                let files = match what {
                    Fetch::Certificate => &mut self.certificates,
                    Fetch::Revocations => &mut self.revocations,
                };
                let (shards, answer) = files.take(now, fetched);
                for shard in shards {
                    let answer = Box::new(answer.clone());
                    let command = match what {
                        Fetch::Certificate => Command::Certificate(answer),
                        Fetch::Revocations => Command::Revocations(answer),
                    };
                    self.tell(shard, command, out);
                }
            }
            Input::Mail(Mail::FromApi(query)) => self.take_query(now, query, out),
            Input::Mail(Mail::FromOwner(order)) => self.take_order(order, out),
            Input::Timeout => self.on_timeout(now, out),
            // What goes out never comes in, and the engine has no sockets.
            Input::Mail(Mail::ToGateway(..) | Mail::ToStore(_) | Mail::ToApi(_) | Mail::ToFetcher(..))
            | Input::Datagram(_)
            | Input::Unreachable { .. }
            | Input::Socket(..)
            | Input::Stream(..) => {}
        }
    }

    fn deadline(&self) -> Option<Time> {
        [self.gathers.deadline(), self.traces.deadline(), self.playbacks.deadline(), self.alive_due]
            .into_iter()
            .flatten()
            .min()
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
