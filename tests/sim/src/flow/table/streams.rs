//! Calls over connections: TCP, WebSocket, and both with TLS.

use super::*;
use crate::peer::Inside;
use crate::town::Places;

fn tcp(s: &mut Stage) {
    s.call().tcp = true;
    s.carriers[0].trunk.peers[0].transport = sip::Transport::Tcp;
    // Whoever is not told of the end hangs up by himself.
    s.answer().hang_up = Some(ms(60_000));
    s.lasts = ms(120_000);
}

/// The caller's side over TLS.
fn caller_tls(s: &mut Stage) {
    tcp(s);
    s.carriers[0].trunk.peers[0].transport = sip::Transport::Udp;
    (s.tls, s.caller_tls) = (true, true);
    s.call().to = Places::V4.tls();
}

/// The carrier's side over TLS.
fn carrier_tls(s: &mut Stage) {
    tcp(s);
    s.call().tcp = false;
    (s.tls, s.carrier_tls) = (true, true);
    s.carriers[0].trunk.peers[0].transport = sip::Transport::Tls;
}

/// Both.
fn tls(s: &mut Stage) {
    caller_tls(s);
    s.carrier_tls = true;
    s.carriers[0].trunk.peers[0].transport = sip::Transport::Tls;
}

/// The caller's side over WebSocket and TLS.
fn secure_web(s: &mut Stage) {
    caller_tls(s);
    s.web = true;
    s.call().to = Places::V4.secure_web();
}

pub(super) const FLOWS: &[Flow] = &[
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
    row("caller over TLS", "RFC 3261 §26.2.1", OK, caller_tls),
    row("carrier over TLS", "RFC 3261 §26.2.1", OK, carrier_tls),
    row("over TLS, with hold", "RFC 5359 §2.1", OK, |s| {
        tls(s);
        s.call().inside = &[(500, Inside::Hold)];
        s.call().hang_up = Some(ms(6000));
    }),
    row("cancelled over TLS", "RFC 3665 §3.8", GONE, |s| {
        tls(s);
        ring_on(s, 1000);
    }),
    row("failover from TLS", "RFC 3261 §21.5.4", OK, |s| {
        carrier_tls(s);
        backup(s, Behaviour::refuse(503));
        s.carriers[1].answer.hang_up = Some(ms(60_000));
    }),
    row("caller over WebSocket and TLS", "RFC 7118 §9", OK, secure_web),
    row("cancelled over WebSocket and TLS", "RFC 7118 §9", GONE, |s| {
        secure_web(s);
        ring_on(s, 1000);
    }),
    row("WebSocket and TLS to TLS", "RFC 7118 §9", OK, |s| {
        secure_web(s);
        s.carrier_tls = true;
        s.carriers[0].trunk.peers[0].transport = sip::Transport::Tls;
    }),
];
