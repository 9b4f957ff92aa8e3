//! Carriers: their passwords, trunks that register with them, names in DNS, probes.

use super::*;
use crate::peer::RegistrarHabit;
use std::sync::Arc;

/// The first trunk registers with a registrar of these habits.
fn registered(s: &mut Stage, change: impl FnOnce(&mut RegistrarHabit)) {
    s.register_trunk(LINE, 0);
    if let Some(habit) = &mut s.carriers[0].registrar {
        change(habit);
    }
    s.calls.clear();
    s.add_call(130_000);
    s.lasts = ms(180_000);
}

/// The first two carriers are one name; the first of them does not take calls.
fn named(s: &mut Stage, first: Behaviour) {
    backup(s, first);
    s.named = 2;
    s.calls.clear();
    s.add_call(10_000);
    s.lasts = ms(60_000);
}

fn within_the_trunk(seen: &Seen<'_>) -> Option<String> {
    let trunks: Vec<_> = seen.cdrs.iter().filter_map(|cdr| cdr.trunk.clone()).collect();
    demand(trunks.iter().all(|it| it.as_str() == "carrier0"), || format!("calls went over {trunks:?}"))
}

pub(super) const FLOWS: &[Flow] = &[
    row("the carrier asks for a password", "RFC 3665 §3.3", OK, |s| {
        s.answer().demands.login = Some(LINE);
        let (username, password) = (LINE.user.to_owned(), LINE.password.to_owned());
        s.carriers[0].trunk.account = Some(Arc::new(sip::auth::Account { username, password }));
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
        s.named = 1;
        s.calls.clear();
        s.add_call(10_000);
        s.lasts = ms(60_000);
    }),
    row("a carrier is probed", "RFC 3261 §11", OK, |s| {
        s.carriers[0].trunk.health.probe_interval = ms(120_000);
        s.call().hang_up = Some(ms(1000));
    }),
    row("a trunk's registrar wants longer", "RFC 3261 §10.2.8", OK, |s| {
        registered(s, |habit| (habit.least, habit.grants) = (90, 120));
    }),
    row("a trunk's registrar takes a nonce once", "RFC 7616 §3.3", OK, |s| {
        registered(s, |habit| habit.fresh_nonces = true);
    }),
    row("a trunk's registrar fails for long", "RFC 5626 §4.5", OK, |s| {
        registered(s, |habit| habit.failures = 5);
        s.calls.clear();
        s.add_call(250_000);
        s.lasts = ms(300_000);
    }),
    Flow {
        check: Some(within_the_trunk),
        ..row("a carrier by name, its first host is busy", "RFC 3263 §4.3", OK, |s| {
            named(s, Behaviour::refuse(503));
        })
    },
    Flow {
        check: Some(within_the_trunk),
        ..row("a carrier by name, its first host is silent", "RFC 3263 §4.3", OK, |s| {
            named(s, Behaviour::silent());
        })
    },
    Flow {
        check: Some(within_the_trunk),
        ..row("a carrier by name, its first host is gone", "RFC 3263 §4.3", OK, |s| {
            named(s, Behaviour::plain());
            s.carriers[0].absent = true;
        })
    },
];
