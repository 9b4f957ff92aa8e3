//! The engine's behaviour, told in mail.

use super::*;
use crate::{Stored, Write};
use link::{
    Attempt, CallIds, CallRecord, End, LiveCall, Phase, RouteEntry, Selection, ShardReport, Side, Ticket,
    TrunkFacts, TrunkGroup, TrunkState,
};
use sansio::Action;

struct Bench {
    engine: Engine,
    now: Time,
    out: Outbox<Mail>,
    ids: CallIds,
}

const SHARD: ShardId = ShardId(0);

fn routing(version: u64, prefix: &str) -> RouteTable {
    RouteTable::new(RoutingSnapshot {
        version,
        groups: vec![TrunkGroup {
            name: "out".into(),
            selection: Selection::Weighted,
            trunks: vec!["alpha".into()],
        }],
        routes: vec![RouteEntry {
            prefix: prefix.into(),
            groups: vec!["out".into()],
            strip: 2,
            prepend: "0".into(),
            ask: true,
        }],
    })
    .unwrap()
}

impl Bench {
    fn new(config: Config) -> Self {
        Self {
            engine: Engine::new(config, routing(1, "86")),
            now: Time::from_millis(1),
            out: Outbox::new(1, 1),
            ids: CallIds::new(SHARD, UnixMicros(5)),
        }
    }

    fn greeted(config: Config) -> Self {
        let mut it = Self::new(config);
        it.event(hello(9));
        it
    }

    fn give(&mut self, mail: Mail) -> Vec<Mail> {
        self.engine.handle(self.now, Input::Mail(mail), &mut self.out);
        self.said()
    }

    fn event(&mut self, event: Event) -> Vec<Mail> {
        self.give(Mail::FromGateway(SHARD, event))
    }

    fn wait(&mut self, span: Duration) -> Vec<Mail> {
        let end = self.now + span;
        let mut said = Vec::new();
        while let Some(due) = self.engine.deadline().filter(|&due| due <= end) {
            self.now = due;
            self.engine.handle(self.now, Input::Timeout, &mut self.out);
            said.extend(self.said());
        }
        self.now = end;
        said
    }

    fn said(&mut self) -> Vec<Mail> {
        std::iter::from_fn(|| self.out.next_action())
            .map(|action| match action {
                Action::Mail(_, mail) => mail,
                other => panic!("only mail is expected, not {other:?}"),
            })
            .collect()
    }

    fn view(&mut self) -> crate::View {
        let said = self.give(Mail::FromApi(Query { ticket: Ticket(1), ask: Ask::View { calls: 10 } }));
        let Mail::ToGateway(_, Command::ReportAsked(asked)) = &said[0] else { panic!("{said:?}") };
        let report = ShardReport { ticket: asked.ticket, trunks: vec![facts()], ..ShardReport::default() };
        view_of(self.event(Event::Report(Box::new(report))))
    }
}

fn hello(started: u64) -> Event {
    Event::Hello(Hello { version: link::VERSION, started: UnixMicros(started) })
}

fn facts() -> TrunkFacts {
    TrunkFacts {
        trunk: "alpha".into(),
        calls: 3,
        own_calls: 2,
        max_calls: 100,
        max_cps: None,
        state: TrunkState::Up,
        peers: Vec::new(),
        registration: None,
        names: Vec::new(),
        heard: link::TrunkHeard::default(),
    }
}

fn view_of(said: Vec<Mail>) -> crate::View {
    match said.into_iter().next() {
        Some(Mail::ToApi(Answer { ticket: Ticket(1), outcome: Outcome::View(view) })) => *view,
        other => panic!("no view but {other:?}"),
    }
}

fn start(call: CallId) -> Event {
    Event::CallStarted(Box::new(CallRecord {
        call,
        shard: call.shard(),
        started: UnixMicros(1_000_000),
        sip_call_id: "a@b".into(),
        from: "100".into(),
        dialled: "8613".into(),
        source: "127.0.0.1:5080".parse().unwrap(),
    }))
}

fn answer(call: CallId) -> Event {
    Event::CallAnswered(CallAnswered {
        call,
        at: UnixMicros(2_000_000),
        trunk: "alpha".into(),
        peer: "127.0.0.1:5070".parse().unwrap(),
        heard_us: Some(20_000),
    })
}

fn attempt(trunk: &str, status: Option<u16>) -> Attempt {
    Attempt {
        trunk: trunk.into(),
        peer: "127.0.0.1:5070".parse().unwrap(),
        status,
        cause: "".into(),
        spent_us: 1,
        heard_us: None,
        reason: if status == Some(200) { Reason::Answered } else { Reason::Status },
        redirected: None,
    }
}

fn end(call: CallId, attempts: Vec<Attempt>) -> Event {
    let last = attempts.last().cloned();
    let answered = last.as_ref().is_some_and(|it| it.status == Some(200));
    Event::CallEnded(Box::new(Cdr {
        call,
        shard: call.shard(),
        caller_sip_call_id: "a@b".into(),
        callee_sip_call_id: None,
        from: "100".into(),
        dialled: "8613".into(),
        routed: Some("013".into()),
        source: "127.0.0.1:5080".parse().unwrap(),
        trunk: last.map(|it| it.trunk),
        peer: None,
        attempts,
        started: UnixMicros(1_000_000),
        answered: answered.then_some(UnixMicros(2_000_000)),
        ended: UnixMicros(5_000_000),
        pdd_us: Some(50_000),
        setup_us: None,
        end: End { side: Side::Caller, status: 200, q850: Some(16), cause: "normal".into() },
        media: None,
        identity: None,
        session_id: None,
        transfer: None,
    }))
}

#[test]
fn a_shard_that_says_hello_gets_the_routing_and_its_old_calls_are_closed() {
    let mut it = Bench::new(Config::default());
    let said = it.event(hello(9));
    assert!(matches!(
        &said[0],
        Mail::ToStore(Write { record: Record::Restarted { started: UnixMicros(9), .. }, .. })
    ));
    assert!(matches!(&said[1], Mail::ToGateway(SHARD, Command::Snapshot(it)) if it.version == 1));
    let said = it.give(Mail::FromOwner(Order::Routing(Box::new(routing(2, "44")))));
    assert!(matches!(&said[..], [Mail::ToGateway(SHARD, Command::Snapshot(it))] if it.version == 2));
}

#[test]
fn a_shard_of_another_version_is_turned_away() {
    let mut it = Bench::new(Config::default());
    let said = it.event(Event::Hello(Hello { version: 99, started: UnixMicros(1) }));
    assert!(said.is_empty(), "{said:?}");
}

#[test]
fn a_record_is_acknowledged_once_it_is_on_disk_and_not_before() {
    let mut it = Bench::greeted(Config::default());
    let call = it.ids.draw();
    it.event(start(call));
    let said = it.event(end(call, vec![attempt("alpha", Some(200))]));
    let [Mail::ToStore(write)] = &said[..] else { panic!("{said:?}") };
    let before = it.give(Mail::FromStore(Stored { through: write.seq - 1 }));
    assert!(before.is_empty(), "{before:?}");
    let seq = write.seq;
    let after = it.give(Mail::FromStore(Stored { through: seq }));
    assert!(
        matches!(&after[..], [Mail::ToGateway(SHARD, Command::CdrAcknowledged(calls))] if calls == &[call])
    );
    assert_eq!((it.engine.writes_waiting(), it.engine.open_calls()), (0, 0));
}

#[test]
fn a_lagging_store_costs_notes_first_and_never_memory() {
    let mut it = Bench::greeted(Config { writes: 8, ..Config::default() });
    let mut written = 0;
    for _ in 0..20 {
        let call = it.ids.draw();
        written += it.event(start(call)).len();
    }
    assert_eq!(written, 3, "half of the room, less the hello");
    for _ in 0..20 {
        let call = it.ids.draw();
        written += it.event(end(call, Vec::new())).len();
    }
    assert_eq!(written, 7);
    let figures = it.view().figures;
    let value = |name: &str| figures.iter().find(|it| it.name == name).unwrap().value;
    assert_eq!(value("control_notes_skipped_total"), 17);
    assert_eq!(value("control_cdrs_refused_total"), 16);
    assert_eq!(value("control_writes_waiting"), 8);
}

#[test]
fn asked_routes_are_decided_by_the_longest_prefix() {
    let mut it = Bench::greeted(Config::default());
    let call = it.ids.draw();
    let mut ask = |number: &str| {
        let asked = RouteAsked {
            call,
            number: number.into(),
            from: "1".into(),
            source: "127.0.0.1:1".parse().unwrap(),
        };
        match it.event(Event::RouteAsked(Box::new(asked))).pop() {
            Some(Mail::ToGateway(SHARD, Command::Route { decision, .. })) => decision,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(ask("+8613"), Decision::Groups { groups: vec!["out".into()], number: "013".into() });
    assert!(matches!(ask("44"), Decision::Refuse { status: 404, .. }));
}

#[test]
fn a_view_adds_up_the_shards() {
    let mut it = Bench::greeted(Config::default());
    it.give(Mail::FromGateway(ShardId(1), hello(9)));
    let said = it.give(Mail::FromApi(Query { ticket: Ticket(1), ask: Ask::View { calls: 1 } }));
    let [Mail::ToGateway(_, Command::ReportAsked(asked)), Mail::ToGateway(..)] = &said[..] else {
        panic!("{said:?}")
    };
    let report = |shard: u8, started: u64| {
        let call = LiveCall {
            call: CallId(started),
            shard: ShardId(shard),
            phase: Phase::Answered,
            from: String::new(),
            dialled: String::new(),
            source: "127.0.0.1:1".parse().unwrap(),
            trunk: None,
            peer: None,
            started: UnixMicros(started),
            answered: None,
            media: None,
        };
        ShardReport {
            ticket: asked.ticket,
            calls_total: 4,
            calls_answered: 3,
            calls: vec![call],
            figures: vec![Figure::counter("x_total", "x", 2)],
            trunks: vec![facts()],
            draining: false,
        }
    };
    let (first, second) = (report(0, 10), report(1, 20));
    assert!(it.event(Event::Report(Box::new(first.clone()))).is_empty());
    assert!(it.event(Event::Report(Box::new(first))).is_empty(), "the same shard twice counts once");
    let view = view_of(it.give(Mail::FromGateway(ShardId(1), Event::Report(Box::new(second)))));
    assert_eq!((view.calls_total, view.calls_answered, view.calls.len()), (8, 6, 1));
    assert_eq!(view.calls[0].started, UnixMicros(20), "newest first");
    assert_eq!((view.trunks[0].calls, view.trunks[0].counted), (3, 4));
    assert_eq!(view.figures.iter().find(|it| it.name == "x_total").unwrap().value, 4);
    assert!(view.missing.is_empty());
    assert_eq!(view.trunks[0].recent.asr(), None);
}

#[test]
fn a_shard_that_does_not_answer_is_named_after_the_time_is_up() {
    let mut it = Bench::greeted(Config::default());
    it.give(Mail::FromApi(Query { ticket: Ticket(1), ask: Ask::View { calls: 0 } }));
    assert!(it.wait(Duration::from_millis(999)).is_empty());
    let view = view_of(it.wait(Duration::from_millis(2)));
    assert_eq!((view.missing, view.answering), (vec![SHARD], vec![]));
    assert_eq!(it.engine.deadline(), None);
}

#[test]
fn too_many_questions_are_refused() {
    let mut it = Bench::greeted(Config { questions: 2, ..Config::default() });
    for ticket in 0..3 {
        let said = it.give(Mail::FromApi(Query { ticket: Ticket(ticket), ask: Ask::View { calls: 0 } }));
        let busy = matches!(&said[..], [Mail::ToApi(Answer { outcome: Outcome::Busy, .. })]);
        assert_eq!(busy, ticket == 2);
    }
}

#[test]
fn a_question_without_shards_is_answered_at_once() {
    let mut it = Bench::new(Config::default());
    let said = it.give(Mail::FromApi(Query { ticket: Ticket(1), ask: Ask::View { calls: 0 } }));
    assert_eq!(view_of(said).calls_total, 0);
}

#[test]
fn answers_count_at_once_and_only_once() {
    let mut it = Bench::greeted(Config::default());
    let (told, untold) = (it.ids.draw(), it.ids.draw());
    it.event(start(told));
    it.event(answer(told));
    it.event(answer(told));
    assert_eq!(it.view().trunks[0].recent.asr(), Some(1.0));
    it.event(end(told, vec![attempt("beta", Some(503)), attempt("alpha", Some(200))]));
    it.event(end(untold, vec![attempt("alpha", Some(200))]));
    let busy = it.ids.draw();
    it.event(end(busy, vec![attempt("alpha", Some(486))]));
    let total = it.view().trunks[0].total;
    assert_eq!((total.seizures, total.answered, total.effective), (3, 2, 3));
    assert_eq!(total.aloc_seconds(), Some(3.0));
    assert_eq!(total.pdd_ms(), Some(50.0));
}

#[test]
fn signs_of_life_are_written_while_calls_are_open() {
    let mut it = Bench::greeted(Config { epoch: UnixMicros(1_000_000_000), ..Config::default() });
    let call = it.ids.draw();
    it.event(start(call));
    let said = it.wait(Duration::from_secs(11));
    assert_eq!(said.len(), 2);
    assert!(
        matches!(&said[0], Mail::ToStore(Write { record: Record::Alive(at), .. }) if at.0 == 1_005_001_000),
        "{said:?}"
    );
    it.event(end(call, Vec::new()));
    assert!(it.wait(Duration::from_secs(60)).is_empty());
    assert_eq!(it.engine.deadline(), None);
}

#[test]
fn a_hangup_goes_to_the_shard_of_the_call() {
    let mut it = Bench::greeted(Config::default());
    let call = it.ids.draw();
    let said = it.give(Mail::FromApi(Query { ticket: Ticket(1), ask: Ask::Hangup(call) }));
    assert!(matches!(&said[0], Mail::ToGateway(SHARD, Command::Hangup { call: it }) if *it == call));
    assert!(matches!(&said[1], Mail::ToApi(Answer { outcome: Outcome::Told, .. })));
    let foreign = CallId(7 << 56);
    let said = it.give(Mail::FromApi(Query { ticket: Ticket(1), ask: Ask::Hangup(foreign) }));
    assert!(matches!(&said[..], [Mail::ToApi(Answer { outcome: Outcome::NoShard(ShardId(7)), .. })]));
}

#[test]
fn a_drain_reaches_shards_that_come_later() {
    let mut it = Bench::greeted(Config::default());
    assert!(matches!(&it.give(Mail::FromOwner(Order::Drain))[..], [Mail::ToGateway(SHARD, Command::Drain)]));
    let said = it.give(Mail::FromGateway(ShardId(1), hello(1)));
    assert!(matches!(said.last(), Some(Mail::ToGateway(ShardId(1), Command::Drain))));
    assert!(it.engine.draining);
}

#[test]
fn a_record_said_again_counts_once_and_is_acknowledged_again() {
    let mut it = Bench::greeted(Config::default());
    let call = it.ids.draw();
    let record = end(call, vec![attempt("alpha", Some(200))]);
    assert_eq!(it.event(record.clone()).len(), 1);
    assert_eq!(it.event(record.clone()).len(), 0, "it is under way");
    assert_eq!(it.give(Mail::FromStore(Stored { through: 2 })).len(), 1);
    let said = it.event(record);
    let [Mail::ToStore(Write { seq, .. })] = said[..] else { panic!("{said:?}") };
    assert_eq!(it.give(Mail::FromStore(Stored { through: seq })).len(), 1);
    assert_eq!(it.view().trunks[0].total.seizures, 1);
}
