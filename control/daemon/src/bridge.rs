//! The loop that runs the engine: brings it mail and carries out what it says.

use crate::fetch::{Fetcher, Fetching};
use crate::http::Server;
use crate::inbox::{Commands, Inbox};
use crate::process::Stopped;
use control::{Answer, Ask, Engine, Fetched, Mail, Outcome, Query, Stored};
use core::time::Duration;
use link::{Command, Event, RouteTable, ShardId, Ticket};
use sansio::{Action, Input, Machine as _, Outbox, Time};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;
use store::Store;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot, watch};

/// Events handled before the API gets its turn.
const TURN: usize = 256;
/// While events come, they are fetched this often: so many of them share one wake-up.
const PACE: Duration = Duration::from_millis(10);
/// The same while somebody waits for an answer: the API, or a call whose route was asked for.
const QUICK: Duration = Duration::from_millis(1);
/// Where routes are asked for, the next one is expected within this.
const ASKING: Duration = Duration::from_secs(1);
/// Lines a second about bans and alarms.
const SELDOM: u32 = 5;
/// Commands kept for shards whose mailbox is full.
const LATE: usize = 4096;

/// An order of whoever runs the process.
#[derive(Debug)]
pub(crate) enum Order {
    Routing(Box<RouteTable>),
    Fetching(Box<Option<Fetching>>),
    Drain,
}

/// A question of the API and where its answer goes.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) ask: Ask,
    pub(crate) reply: oneshot::Sender<Reply>,
}

/// An answer for the API.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) outcome: Outcome,
    pub(crate) store: store::Facts,
    /// Commands that a shard never got since its mailbox stayed full.
    pub(crate) commands_lost: u64,
}

/// The engine and everything it acts upon.
pub(crate) struct Bridge {
    engine: Engine,
    out: Outbox<Mail>,
    store: Store,
    begun: Instant,
    commands: Box<Commands>,
    late: VecDeque<(ShardId, Command)>,
    commands_lost: u64,
    fetcher: Fetcher,
    waiting: HashMap<Ticket, oneshot::Sender<Reply>>,
    next_ticket: u64,
    /// Until then more routing questions are expected.
    asking_until: Time,
    log: Box<dyn Fn(&str) + Send>,
    failing: bool,
    /// Lines that an attacker can cause: since when they are counted, and how many there were.
    seldom: (Time, u32),
}

impl Bridge {
    pub(crate) fn new(
        engine: Engine,
        store: Store,
        begun: Instant,
        commands: Box<Commands>,
        fetcher: Fetcher,
        log: Box<dyn Fn(&str) + Send>,
    ) -> Self {
        Self {
            engine,
            // The engine sends no datagrams.
            out: Outbox::new(0, 0),
            store,
            begun,
            commands,
            late: VecDeque::new(),
            commands_lost: 0,
            fetcher,
            waiting: HashMap::new(),
            next_ticket: 0,
            asking_until: Time::ZERO,
            log,
            failing: false,
            seldom: (Time::ZERO, 0),
        }
    }

    fn now(&self) -> Time {
        Time::from_nanos(self.begun.elapsed().as_nanos() as u64)
    }

    /// How long events may wait while they keep coming.
    fn pace(&self) -> Duration {
        let hurry = !self.waiting.is_empty() || self.asking_until > self.now();
        if hurry { QUICK } else { PACE }
    }

    /// One input, then everything that follows from it.
    fn give(&mut self, input: Input<'_, Mail>) {
        let now = self.now();
        self.engine.handle(now, input, &mut self.out);
        while let Some(action) = self.out.next_action() {
            match action {
                Action::Mail(_, Mail::ToGateway(shard, command)) => self.tell(shard, command),
                Action::Mail(_, Mail::ToStore(write)) => self.keep(write),
                Action::Mail(_, Mail::ToFetcher(what, url)) => self.fetcher.begin(what, url),
                Action::Mail(_, Mail::ToApi(Answer { ticket, outcome })) => self.reply(ticket, outcome),
                // The engine asks for nothing else.
                _ => {}
            }
        }
    }

    /// Up to a turn's worth of events; gives their number.
    fn take_events(&mut self, inbox: &mut dyn Inbox) -> usize {
        for taken in 0..TURN {
            let Some((shard, event)) = inbox.next() else { return taken };
            match &event {
                Event::TrunkState(change) => {
                    let state = format!("{:?}", change.state).to_lowercase();
                    (self.log)(&format!(
                        "trunk {} peer {}: {state} ({})",
                        change.trunk, change.peer, change.why
                    ));
                }
                Event::Registration(change) => (self.log)(&crate::registration::told(change)),
                Event::Banned(ban) => {
                    let span = ban.until.since(ban.since) / 1_000_000;
                    let (source, reason, evidence) = (ban.source, ban.reason.name(), &ban.evidence);
                    self.say_seldom(&format!("banned {source} for {span} s: {reason} ({evidence})"));
                }
                Event::Alarm(alarm) => {
                    let kind = format!("{:?}", alarm.kind).to_lowercase();
                    let refused = if alarm.refused { "; refused" } else { "" };
                    let rule =
                        if alarm.rule.is_empty() { String::new() } else { format!(" {:?}", alarm.rule) };
                    let session = alarm.session_id.as_ref();
                    let session = session.map_or_else(String::new, |it| format!("; Session-ID {it}"));
                    let (who, what) = (&alarm.who, &alarm.what);
                    self.say_seldom(&format!("alarm {kind}{rule}: {who}: {what}{refused}{session}"));
                }
                Event::RouteAsked(_) | Event::CertificateAsked(_) | Event::RevocationsAsked(_) => {
                    self.asking_until = self.now() + ASKING;
                }
                _ => {}
            }
            self.give(Input::Mail(Mail::FromGateway(shard, event)));
        }
        TURN
    }

    /// A line that an attacker can cause: at most some a second.
    fn say_seldom(&mut self, line: &str) {
        let now = self.now();
        if now.since(self.seldom.0) >= Duration::from_secs(1) {
            let (_, said) = std::mem::replace(&mut self.seldom, (now, 0));
            if said > SELDOM {
                (self.log)(&format!(
                    "{} further bans and alarms, see /api/v1/bans and /api/v1/alarms",
                    said - SELDOM
                ));
            }
        }
        self.seldom.1 += 1;
        if self.seldom.1 <= SELDOM {
            (self.log)(line);
        }
    }

    fn tell(&mut self, shard: ShardId, command: Command) {
        // Who waits keeps its place.
        if self.late.is_empty() && (self.commands)(shard, &command) {
            return;
        }
        // A report that comes late is of no use: the question has its own time limit.
        if matches!(command, Command::ReportAsked(_) | Command::TraceAsked(_)) || self.late.len() >= LATE {
            self.commands_lost += 1;
        } else {
            self.late.push_back((shard, command));
        }
    }

    fn tell_late(&mut self) {
        while let Some((shard, command)) = self.late.front() {
            if !(self.commands)(*shard, command) {
                break;
            }
            self.late.pop_front();
        }
    }

    fn keep(&mut self, write: control::Write) {
        let record = match write.record {
            control::Record::Started(it) => store::Record::Started(it),
            control::Record::Answered(it) => store::Record::Answered(it),
            control::Record::Ended(it) => store::Record::Ended(it),
            control::Record::Restarted { shard, started } => store::Record::Restarted { shard, started },
            control::Record::Registered(it) => store::Record::Registered(it),
            control::Record::Alive(at) => store::Record::Alive(at),
        };
        // The engine keeps within the queue's length, so only a dead writer refuses; what it refused is never acknowledged.
        if self.store.submit(store::Write { seq: write.seq, record }).is_err() {
            self.note_trouble(Some("the store takes no more records"));
        }
    }

    fn reply(&mut self, ticket: Ticket, outcome: Outcome) {
        if let Some(reply) = self.waiting.remove(&ticket) {
            let answer = Reply { outcome, store: self.store.facts(), commands_lost: self.commands_lost };
            // Whoever asked may have gone meanwhile.
            let _ = reply.send(answer);
        }
    }

    fn ask(&mut self, question: Question) {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.waiting.insert(ticket, question.reply);
        self.give(Input::Mail(Mail::FromApi(Query { ticket, ask: question.ask })));
    }

    fn obey(&mut self, order: Order) {
        let order = match order {
            Order::Routing(routing) => control::Order::Routing(routing),
            Order::Drain => control::Order::Drain,
            Order::Fetching(fetching) => return self.fetcher.set(*fetching),
        };
        self.give(Input::Mail(Mail::FromOwner(order)));
    }

    fn note_trouble(&mut self, trouble: Option<&str>) {
        match trouble {
            Some(why) if !self.failing => {
                (self.log)(&format!("call records can't be written at present: {why}"))
            }
            None if self.failing => (self.log)("call records are written again"),
            _ => {}
        }
        self.failing = trouble.is_some();
    }
}

/// Runs until there is nobody left to give orders; then writes what is left.
pub(crate) async fn run(
    mut bridge: Bridge,
    mut inbox: Box<dyn Inbox>,
    mut orders: mpsc::Receiver<Order>,
    mut questions: mpsc::Receiver<Question>,
    mut stored: watch::Receiver<u64>,
    mut fetched: mpsc::UnboundedReceiver<Fetched>,
    server: Option<Server>,
) -> Stopped {
    let awaited = match wait_for(&*inbox) {
        Ok(awaited) => awaited,
        Err(error) => {
            (bridge.log)(&format!("the control plane can't wait for events: {error}"));
            return Stopped { lost: Some((0, error.to_string())), written: 0 };
        }
    };
    let origin = tokio::time::Instant::from_std(bridge.begun);
    let mut look = tokio::time::interval(Duration::from_secs(1));
    loop {
        let taken = bridge.take_events(&mut *inbox);
        bridge.tell_late();
        if taken == TURN {
            tokio::task::yield_now().await;
            continue;
        }
        // Busy: look again soon, unasked. Idle: have the next event wake us.
        let busy = taken > 0 || !bridge.late.is_empty();
        if !busy && !inbox.arm() {
            continue;
        }
        let deadline = bridge.engine.deadline().map(|due| origin + Duration::from_nanos(due.as_nanos()));
        let next_look = if busy { Some(tokio::time::Instant::now() + bridge.pace()) } else { None };
        let wake = [deadline, next_look].into_iter().flatten().min();
        tokio::select! {
            ready = awaited.readable(), if !busy => {
                if let Ok(mut ready) = ready {
                    ready.clear_ready();
                }
            }
            () = sleep_until(wake) => {
                if bridge.engine.deadline().is_some_and(|due| due <= bridge.now()) {
                    bridge.give(Input::Timeout);
                }
            }
            Ok(()) = stored.changed() => {
                let through = *stored.borrow_and_update();
                bridge.give(Input::Mail(Mail::FromStore(Stored { through })));
            }
            Some(file) = fetched.recv() => bridge.give(Input::Mail(Mail::FromFetcher(file))),
            Some(question) = questions.recv() => bridge.ask(question),
            _ = look.tick() => {
                let failing = bridge.store.facts().failing;
                bridge.note_trouble(failing.as_deref());
            }
            order = orders.recv() => match order {
                Some(order) => bridge.obey(order),
                None => break,
            },
        }
        if !busy {
            inbox.disarm();
        }
    }
    while bridge.take_events(&mut *inbox) > 0 {}
    drop(questions);
    if let Some(server) = server {
        server.stop().await;
    }
    let Bridge { store, .. } = bridge;
    let closed = store.close();
    Stopped { lost: closed.lost, written: closed.facts.records }
}

/// Something that tokio can wait for, of an inbox's descriptor.
fn wait_for(inbox: &dyn Inbox) -> io::Result<AsyncFd<OwnedFd>> {
    let own = inbox.descriptor().try_clone_to_owned()?;
    #[expect(deprecated, reason = "its successor is an unsafe fn, whose conditions an OwnedFd meets")]
    AsyncFd::with_interest(own, Interest::READABLE)
}

async fn sleep_until(wake: Option<tokio::time::Instant>) {
    match wake {
        Some(at) => tokio::time::sleep_until(at).await,
        None => core::future::pending().await,
    }
}
