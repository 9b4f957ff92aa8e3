//! Phones: how they register, are asked for passwords, are reached behind NATs and over flows.

use super::*;
use crate::peer::Wiring;
use crate::town::Places;
use sansio::Time;

/// A phone that registers in its way, is called twice, and leaves.
fn wired(s: &mut Stage, wiring: Wiring) {
    let phone = s.add_phone(ANN, 120);
    (phone.wiring, phone.refresh) = (wiring, Some(ms(60_000)));
    phone.leave = Some(Time::from_millis(140_000));
    s.calls.clear();
    s.add_call(35_000).prefix = "phone";
    s.add_call(100_000).prefix = "phone";
    s.lasts = ms(200_000);
}

pub(super) const FLOWS: &[Flow] = &[
    row("we ask the caller for a password", "RFC 3261 §22.2", OK, |s| {
        s.add_user(ANN);
        s.call().login = Some(ANN);
    }),
    row("a phone registers, is called, leaves", "RFC 3665 §2", OK, |s| {
        s.add_phone(ANN, 120).leave = Some(Time::from_millis(40_000));
        s.calls.clear();
        s.add_call(5000).prefix = "phone";
        s.lasts = ms(60_000);
    }),
    row("a phone refreshes", "RFC 3261 §10.2.4", OK, |s| {
        let phone = s.add_phone(ANN, 120);
        (phone.refresh, phone.leave) = (Some(ms(60_000)), Some(Time::from_millis(400_000)));
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
        s.add_phone(ANN, 30).leave = Some(Time::from_millis(20_000));
        s.calls.clear();
        s.add_call(5000).prefix = "phone";
        s.lasts = ms(60_000);
    }),
    Flow {
        check: Some(|seen| {
            let pinged = seen.town.total(|it| it.phones_pinged);
            demand(pinged >= 4, || format!("the phone was pinged {pinged} times"))
        }),
        ..row("a phone behind a NAT", "RFC 4787 §4.3", OK, |s| wired(s, Wiring::BehindNat))
    },
    row("a phone behind a NAT, kept by line ends", "RFC 5626 §4.4.1", OK, |s| {
        wired(s, Wiring::BehindNat);
        s.config.nat.keepalive = switch::KeepAlive::Crlf;
    }),
    row("a phone with a flow", "RFC 5626 §5", OK, |s| {
        wired(s, Wiring::Flow);
        // A call that came when the flow was cut hears 480 or rings at nobody's.
        s.phone.hang_up = Some(ms(60_000));
    }),
    row("a phone with a flow over TLS", "RFC 5626 §5", OK, |s| {
        wired(s, Wiring::Flow);
        (s.tls, s.caller_tls) = (true, true);
        s.phones[0].to = Places::V4.tls();
        s.phone.hang_up = Some(ms(60_000));
    }),
];
