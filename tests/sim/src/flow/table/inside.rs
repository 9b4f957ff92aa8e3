//! What is done in the middle of calls: hold, codecs, glare, PRACK, UPDATE, session timers, INFO and MESSAGE.

use super::*;
use crate::peer::{Demands, Inside};

pub(super) const FLOWS: &[Flow] = &[
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
    row("keys in INFO of one kind and of another", "RFC 6086 §4.2", OK, |s| {
        s.config.dtmf = switch::Dtmf::InfoPlain;
        s.profile(0, |profile| profile.dtmf = Some(switch::Dtmf::Info));
        s.call().inside = &[(500, Inside::Info), (1500, Inside::Info)];
        s.answer().inside = &[(1000, Inside::Info)];
        s.call().hang_up = Some(ms(8000));
    }),
    row("MESSAGE in a call, both ways", "RFC 3428 §4", OK, |s| {
        s.call().inside = &[(500, Inside::Message)];
        s.answer().inside = &[(1000, Inside::Message)];
        s.call().hang_up = Some(ms(8000));
    }),
    row("a NOTIFY that nobody asked for", "RFC 6665 §4.1.3", OK, |s| {
        s.call().inside = &[(500, Inside::Unasked)];
        s.answer().inside = &[(1500, Inside::Unasked)];
        s.call().hang_up = Some(ms(5000));
    }),
    row("re-INVITEs cross", "RFC 3261 §14.1", OK, |s| {
        (s.call().reinvite, s.answer().reinvite) = (Some(ms(1000)), Some(ms(1000)));
        s.call().hang_up = Some(ms(12_000));
    }),
    row("UPDATEs cross", "RFC 3311 §5.2", OK, |s| {
        let skills = Skills { update: true, ..Skills::NONE };
        (s.call().skills, s.answer().skills) = (skills, skills);
        (s.call().inside, s.answer().inside) = (&[(1000, Inside::Update)], &[(1000, Inside::Update)]);
        s.call().hang_up = Some(ms(8000));
    }),
    row("a re-INVITE crosses an UPDATE", "RFC 3311 §5.2", OK, |s| {
        let skills = Skills { update: true, ..Skills::NONE };
        (s.call().skills, s.answer().skills) = (skills, skills);
        (s.call().inside, s.answer().inside) = (&[(1000, Inside::Hold)], &[(1000, Inside::Update)]);
        s.call().hang_up = Some(ms(12_000));
    }),
    row("both hold, both resume", "RFC 3264 §8.4", OK, |s| {
        s.call().inside = &[(500, Inside::Hold), (5000, Inside::Resume)];
        s.answer().inside = &[(2500, Inside::Hold), (8000, Inside::Resume)];
        s.call().hang_up = Some(ms(14_000));
    }),
    row("cancelled while early media is reliable", "RFC 3262 §4", GONE, |s| {
        ring_on(s, 400);
        reliable(s);
        s.answer().early_media = Some(ms(200));
    }),
    row("session timer, both sides refresh after 422", "RFC 4028 §6", OK, |s| {
        s.answer().demands = Demands { min_se: Some(100), ..Demands::default() };
        let refreshes = Skills { session: Some(90), refreshes: true, update: true, ..Skills::NONE };
        timers(s, refreshes, Skills { session: Some(100), ..refreshes });
        s.config.session_expires = ms(90_000);
    }),
    row("session timer, callee refreshes by re-INVITE", "RFC 4028 §10", OK, |s| {
        timers(s, Skills::NONE, refresher(false));
    }),
    row("session timer, nobody else knows of it", "RFC 4028 §7.1", OK, |s| {
        timers(s, Skills::NONE, Skills::NONE);
        s.config.session_expires = ms(90_000);
    }),
];
