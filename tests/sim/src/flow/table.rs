//! The flows: one row each. A new one needs a name, the clause that describes it, what it changes on the stage, and what its
//! calls come to.

use super::Stage;
use crate::mix::Expect;
use crate::peer::{Behaviour, Demands, Inside, Login, Skills, Verdict};
use crate::town::Places;
use std::sync::Arc;
use std::time::Duration;

/// A call flow.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// Its name, unique.
    pub name: &'static str,
    /// The clause that describes it.
    pub section: &'static str,
    /// What it changes in the plain call.
    pub set: fn(&mut Stage),
    /// What its first call comes to, unless messages are kept from arriving at all.
    pub comes_to: Expect,
    /// What the others come to, if that is something else.
    pub others: Option<Expect>,
}

const fn row(name: &'static str, section: &'static str, comes_to: Expect, set: fn(&mut Stage)) -> Flow {
    Flow { name, section, set, comes_to, others: None }
}

const ANN: Login = Login { user: "phone0000001", password: "wonder" };
const LINE: Login = Login { user: "line1", password: "land" };
const OK: Expect = Expect::Answered;
const GONE: Expect = Expect::Status(487);
const RACE: Expect = Expect::Either(487);

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn ring_on(s: &mut Stage, cancel: u64) {
    s.answer().verdict = Verdict::RingOn;
    s.call().cancel = Some(ms(cancel));
}

fn reliable(s: &mut Stage) {
    let skills = Skills { reliable: true, ..Skills::NONE };
    (s.call().skills, s.answer().skills) = (skills, skills);
}

fn timers(s: &mut Stage, caller: Skills, callee: Skills) {
    (s.call().skills, s.answer().skills) = (caller, callee);
    s.call().hang_up = Some(ms(200_000));
    s.lasts = ms(240_000);
}

/// A side that keeps the session alive with re-INVITE, or with UPDATE.
const fn refresher(update: bool) -> Skills {
    Skills { session: Some(90), refreshes: true, update, ..Skills::NONE }
}

const WATCHER: Skills = Skills { session: Some(90), update: true, ..Skills::NONE };

fn backup(s: &mut Stage, first: Behaviour) {
    *s.answer() = Behaviour { rtp: None, ..first };
    s.add_carrier(Behaviour::plain());
}

fn tcp(s: &mut Stage) {
    s.call().tcp = true;
    s.carriers[0].trunk.peers[0].transport = sip::Transport::Tcp;
    // Whoever is not told of the end hangs up by himself.
    s.answer().hang_up = Some(ms(60_000));
    s.lasts = ms(120_000);
}

/// Every flow of the table.
pub const FLOWS: &[Flow] = &[
    row("caller hangs up", "RFC 3665 §3.1", OK, |_| {}),
    row("callee hangs up", "RFC 3665 §3.1", OK, |s| {
        s.call().hang_up = None;
        s.answer().hang_up = Some(ms(3000));
    }),
    row("both hang up at once", "RFC 5407 §3.1.2", OK, |s| s.answer().hang_up = Some(ms(3000))),
    row("answered at once", "RFC 3261 §13", OK, |s| {
        *s.answer() = Behaviour { trying: false, ring: None, after: ms(0), rtp: None, ..Behaviour::plain() };
        s.call().hang_up = Some(ms(0));
    }),
    row("early media", "RFC 3960 §3", OK, |s| s.answer().early_media = Some(ms(200))),
    row("control is asked", "-", OK, |s| s.ask = true),
    row("late offer", "RFC 3261 §13.2.1", OK, |s| s.call().late_offer = true),
    row("busy", "RFC 3665 §3.9", Expect::Status(486), |s| *s.answer() = Behaviour::refuse(486)),
    row("declined after ringing", "RFC 3261 §21.6.2", Expect::Status(603), |s| {
        s.answer().verdict = Verdict::Refuse(603);
    }),
    row("cancelled before the carrier speaks", "RFC 3261 §9.1", GONE, |s| {
        ring_on(s, 1000);
        (s.answer().trying, s.answer().ring) = (false, Some(ms(3000)));
    }),
    row("cancelled after 100", "RFC 3261 §9.1", GONE, |s| {
        ring_on(s, 1000);
        s.answer().ring = None;
    }),
    row("cancelled after 180", "RFC 3665 §3.8", GONE, |s| ring_on(s, 1000)),
    row("cancelled in early media", "RFC 3261 §9.1", GONE, |s| {
        ring_on(s, 1000);
        s.answer().early_media = Some(ms(200));
    }),
    row("cancelled while a PRACK is out", "RFC 3262 §4", GONE, |s| {
        ring_on(s, 102);
        reliable(s);
    }),
    row("cancelled at once", "RFC 3261 §9.1", GONE, |s| ring_on(s, 0)),
    row("cancelled while control is asked", "RFC 3261 §9.1", GONE, |s| {
        ring_on(s, 0);
        s.ask = true;
    }),
    row("CANCEL crosses the answer", "RFC 5407 §3.1.2", RACE, |s| s.call().cancel = Some(ms(500))),
    row("answer follows the CANCEL", "RFC 3261 §9.1", GONE, |s| {
        ring_on(s, 1000);
        s.answer().answer_on_cancel = true;
    }),
    row("cancelled on the second carrier", "RFC 3261 §9.1", GONE, |s| {
        backup(s, Behaviour::refuse(503));
        s.carriers[1].answer.verdict = Verdict::RingOn;
        s.call().cancel = Some(ms(2000));
    }),
    row("failover on 503", "RFC 3261 §21.5.4", OK, |s| backup(s, Behaviour::refuse(503))),
    row("failover after early media", "RFC 3261 §21.5.4", OK, |s| {
        let first = Behaviour { early_media: Some(ms(20)), after: ms(300), ..Behaviour::refuse(503) };
        backup(s, first);
    }),
    row("failover on silence", "RFC 3261 §17.1.1.2", OK, |s| backup(s, Behaviour::silent())),
    row("failover on ICMP", "RFC 3261 §18.4", OK, |s| {
        backup(s, Behaviour::plain());
        s.carriers[0].absent = true;
    }),
    row("full trunk, backup", "-", OK, |s| {
        backup(s, Behaviour::plain());
        s.carriers[0].trunk.max_calls = 1;
        s.add_call(1000);
    }),
    Flow {
        others: Some(Expect::Status(503)),
        ..row("full trunk, no backup", "RFC 3261 §21.5.4", OK, |s| {
            s.carriers[0].trunk.max_calls = 1;
            s.call().hang_up = Some(ms(50_000));
            s.add_call(3000);
            s.lasts = ms(80_000);
        })
    },
    row("caller holds and resumes", "RFC 5359 §2.1", OK, |s| {
        s.call().inside = &[(500, Inside::Hold), (3500, Inside::Resume)];
        s.call().hang_up = Some(ms(9000));
    }),
    row("callee holds and resumes", "RFC 5359 §2.1", OK, |s| {
        s.answer().inside = &[(500, Inside::Hold), (3500, Inside::Resume)];
        s.call().hang_up = Some(ms(9000));
    }),
    row("caller changes the codec", "RFC 3264 §8.3.2", OK, |s| {
        s.call().inside = &[(500, Inside::Codec)];
        s.call().hang_up = Some(ms(6000));
    }),
    row("callee changes the codec", "RFC 3264 §8.3.2", OK, |s| {
        s.answer().inside = &[(500, Inside::Codec)];
        s.call().hang_up = Some(ms(6000));
    }),
    row("re-INVITE without an offer", "RFC 3261 §14.1", OK, |s| {
        s.call().inside = &[(500, Inside::Empty)];
        s.call().hang_up = Some(ms(6000));
    }),
    row("glare", "RFC 3261 §14.1", OK, |s| {
        s.call().inside = &[(1000, Inside::Hold)];
        s.answer().inside = &[(1000, Inside::Codec)];
        s.call().hang_up = Some(ms(15_000));
    }),
    row("hang up during a re-INVITE", "RFC 5407 §3.1.3", OK, |s| {
        s.call().reinvite = Some(ms(1000));
        s.answer().hang_up = Some(ms(1002));
    }),
    row("PRACK", "RFC 3262 §3", OK, reliable),
    row("PRACK with early media", "RFC 3262 §5", OK, |s| {
        reliable(s);
        s.answer().early_media = Some(ms(200));
    }),
    row("PRACK with the caller alone", "RFC 3262 §3", OK, |s| {
        s.call().skills = Skills { reliable: true, ..Skills::NONE };
    }),
    row("PRACK, then failover", "RFC 3262 §4", OK, |s| {
        let skills = Skills { reliable: true, ..Skills::NONE };
        let first = Behaviour { ring: Some(ms(20)), after: ms(400), skills, ..Behaviour::refuse(503) };
        backup(s, first);
        s.carriers[1].answer.skills = skills;
        s.call().skills = skills;
    }),
    row("UPDATE by the caller", "RFC 3311 §5", OK, |s| {
        let skills = Skills { update: true, ..Skills::NONE };
        (s.call().skills, s.answer().skills) = (skills, skills);
        s.call().inside = &[(1000, Inside::Update)];
        s.call().hang_up = Some(ms(8000));
    }),
    row("UPDATE by the callee", "RFC 3311 §5", OK, |s| {
        let skills = Skills { update: true, ..Skills::NONE };
        (s.call().skills, s.answer().skills) = (skills, skills);
        s.answer().inside = &[(1000, Inside::Update)];
        s.call().hang_up = Some(ms(8000));
    }),
    row("session timer, caller refreshes", "RFC 4028 §10", OK, |s| timers(s, refresher(true), Skills::NONE)),
    row("session timer, caller refreshes by re-INVITE", "RFC 4028 §10", OK, |s| {
        timers(s, refresher(false), Skills::NONE);
    }),
    row("session timer, callee refreshes", "RFC 4028 §10", OK, |s| timers(s, Skills::NONE, refresher(true))),
    row("session timer, the gateway refreshes both", "RFC 4028 §10", OK, |s| timers(s, WATCHER, WATCHER)),
    row("session interval too small", "RFC 4028 §6", OK, |s| {
        s.call().skills = Skills { session: Some(60), refreshes: true, update: true, ..Skills::NONE };
    }),
    row("session interval too small for the carrier", "RFC 4028 §7.3", OK, |s| {
        s.answer().demands = Demands { min_se: Some(2400), ..Demands::default() };
        s.answer().skills = Skills { session: Some(2400), update: true, ..Skills::NONE };
    }),
    row("INFO both ways", "RFC 6086 §4.2", OK, |s| {
        s.call().inside = &[(500, Inside::Info), (1500, Inside::Info)];
        s.answer().inside = &[(1000, Inside::Info)];
        s.call().hang_up = Some(ms(8000));
    }),
    row("MESSAGE in a call, both ways", "RFC 3428 §4", OK, |s| {
        s.call().inside = &[(500, Inside::Message)];
        s.answer().inside = &[(1000, Inside::Message)];
        s.call().hang_up = Some(ms(8000));
    }),
    row("we ask the caller for a password", "RFC 3261 §22.2", OK, |s| {
        s.add_user(ANN);
        s.call().login = Some(ANN);
    }),
    row("the carrier asks for a password", "RFC 3665 §3.3", OK, |s| {
        s.answer().demands.login = Some(LINE);
        let (username, password) = (LINE.user.to_owned(), LINE.password.to_owned());
        s.carriers[0].trunk.account = Some(Arc::new(sip::auth::Account { username, password }));
    }),
    row("a phone registers, is called, leaves", "RFC 3665 §2", OK, |s| {
        s.add_phone(ANN, 120).leave = Some(sansio::Time::from_millis(40_000));
        s.calls.clear();
        s.add_call(5000).prefix = "phone";
        s.lasts = ms(60_000);
    }),
    row("a phone refreshes", "RFC 3261 §10.2.4", OK, |s| {
        let phone = s.add_phone(ANN, 120);
        (phone.refresh, phone.leave) = (Some(ms(60_000)), Some(sansio::Time::from_millis(400_000)));
        s.calls.clear();
        s.add_call(300_000).prefix = "phone";
        s.lasts = ms(450_000);
    }),
    row("a binding expires", "RFC 3261 §10.3", Expect::Status(480), |s| {
        s.add_phone(ANN, 60);
        s.calls.clear();
        s.add_call(110_000).prefix = "phone";
        s.lasts = ms(150_000);
    }),
    row("too brief an interval", "RFC 3261 §10.2.8", OK, |s| {
        s.add_phone(ANN, 30).leave = Some(sansio::Time::from_millis(20_000));
        s.calls.clear();
        s.add_call(5000).prefix = "phone";
        s.lasts = ms(60_000);
    }),
    row("a trunk registers and refreshes", "RFC 3261 §10.2", OK, |s| {
        s.register_trunk(LINE, 0);
        s.calls.clear();
        s.add_call(100_000);
        s.lasts = ms(150_000);
    }),
    row("a trunk's registrar fails at first", "RFC 5626 §4.5", OK, |s| {
        s.register_trunk(LINE, 2);
        s.calls.clear();
        s.add_call(100_000);
        s.lasts = ms(150_000);
    }),
    row("a carrier by name", "RFC 3263 §4", OK, |s| {
        s.named = true;
        s.calls.clear();
        s.add_call(10_000);
        s.lasts = ms(60_000);
    }),
    row("a carrier is probed", "RFC 3261 §11", OK, |s| {
        s.carriers[0].trunk.health.probe_interval = ms(120_000);
        s.call().hang_up = Some(ms(1000));
    }),
    row("over TCP", "RFC 3665 §3.1", OK, tcp),
    row("caller over TCP", "RFC 3261 §18", OK, |s| {
        tcp(s);
        s.carriers[0].trunk.peers[0].transport = sip::Transport::Udp;
    }),
    row("over TCP, with hold", "RFC 5359 §2.1", OK, |s| {
        tcp(s);
        s.call().inside = &[(500, Inside::Hold)];
        s.call().hang_up = Some(ms(6000));
    }),
    row("caller over WebSocket", "RFC 7118 §9", OK, |s| {
        tcp(s);
        s.carriers[0].trunk.peers[0].transport = sip::Transport::Udp;
        s.web = true;
        s.call().to = Places::V4.web();
    }),
    row("cancelled over TCP", "RFC 3665 §3.8", GONE, |s| {
        tcp(s);
        ring_on(s, 1000);
    }),
];
