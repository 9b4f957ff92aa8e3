//! Requests outside of calls: messages, subscriptions and published state between SIPp, Kamailio and linphone.

use crate::gateway::Gateway;
use crate::kamailio::Kamailio;
use crate::place::{Scene, own_address};
use crate::register::{linphone, registrar_with};
use crate::rfc3665::{ANSWERS, NUMBER, TALKS, trunk};
use crate::sipp::Sipp;

/// What goes between the two without a call.
fn between(scene: &Scene, caller: &str, callee: &str) {
    let bob = Sipp::callee(scene, "bob", callee);
    let gateway = Gateway::start(scene, &trunk(bob.at()), "");
    Sipp::caller(scene, "alice", NUMBER, gateway.sip, caller).finish(1);
    bob.finish(1);
}

pub(crate) fn message(scene: &Scene) {
    between(scene, "> MESSAGE body=text/plain:hello\n< 200", "< MESSAGE ~hello\n> 200");
}

pub(crate) fn chat(scene: &Scene) {
    let gateway = registrar_with(scene, "");
    let (mut alice, _) = linphone(scene, "1001", &gateway);
    let (mut bob, _) = linphone(scene, "1002", &gateway);
    alice.order(&format!("chat sip:1002@{} noodles?", gateway.sip));
    bob.wait_for("noodles?");
    bob.order(&format!("chat sip:1001@{} rice!", gateway.sip));
    alice.wait_for("rice!");
}

pub(crate) fn publish(scene: &Scene) {
    let caller = "
        > PUBLISH body=text/plain:open | Event: presence | Expires: 600
        < 200 ~SIP-ETag:_one
        > PUBLISH | Event: presence | Expires: 600 | SIP-If-Match: one
        < 200 ~SIP-ETag:_two
        > PUBLISH | Event: presence | Expires: 0 | SIP-If-Match: one
        < 412";
    let callee = "
        < PUBLISH ~Event:_presence ~open
        > 200 | SIP-ETag: one | Expires: 600
        < PUBLISH ~SIP-If-Match:_one
        > 200 | SIP-ETag: two | Expires: 600
        < PUBLISH ~Expires:_0
        > 412";
    // Each has a Call-ID of its own on the far side: three dialogues of one request there.
    let bob: Vec<&str> =
        callee.trim().split("\n        < ").map(|part| part.trim_start_matches("< ")).collect();
    let at = own_address();
    let gateway = Gateway::start(scene, &trunk(at), "");
    for (number, (ask, answer)) in caller.trim().split("\n        > ").zip(bob).enumerate() {
        let agent = Sipp::callee_at(scene, &format!("agent{number}"), at, &format!("< {answer}"), &[]);
        let ask = format!("> {}", ask.trim_start_matches("> "));
        Sipp::caller(scene, &format!("alice{number}"), NUMBER, gateway.sip, &ask).finish(1);
        agent.finish(1);
    }
}

const SUBSCRIBER: &str = "
    > SUBSCRIBE | Event: dialog | Expires: 600 | Accept: application/dialog-info+xml
    < 200 dialog ~Expires:_600
    < NOTIFY ~Subscription-State:_active;expires=600 ~early
    > 200
    > SUBSCRIBE | Event: dialog | Expires: 500
    < 200 ~Expires:_500
    < NOTIFY ~confirmed
    > 200
    > SUBSCRIBE | Event: dialog | Expires: 0
    < 200
    < NOTIFY ~Subscription-State:_terminated;reason=timeout
    > 200";

const NOTIFIER: &str = "
    < SUBSCRIBE ~Event:_dialog ~Accept:_application/dialog-info.xml
    > 200 | Expires: 600
    pause 100
    > NOTIFY body=application/dialog-info+xml:early | Event: dialog | Subscription-State: active;expires=600
    < 200
    < SUBSCRIBE ~Expires:_500
    > 200 | Expires: 500
    pause 100
    > NOTIFY body=application/dialog-info+xml:confirmed | Event: dialog | Subscription-State: active;expires=500
    < 200
    < SUBSCRIBE ~Expires:_0
    > 200 | Expires: 0
    pause 100
    > NOTIFY | Event: dialog | Subscription-State: terminated;reason=timeout
    < 200";

pub(crate) fn subscription(scene: &Scene) {
    between(scene, SUBSCRIBER, NOTIFIER);
}

pub(crate) fn subscription_by_proxy(scene: &Scene) {
    let bob = Sipp::callee(scene, "bob", NOTIFIER);
    let proxy = Kamailio::proxy(scene, "proxy", bob.at(), "udp");
    let gateway = Gateway::start(scene, &trunk(proxy.at), "");
    Sipp::caller(scene, "alice", NUMBER, gateway.sip, SUBSCRIBER).finish(1);
    bob.finish(1);
}

pub(crate) fn bad_event(scene: &Scene) {
    let caller = "> SUBSCRIBE | Event: nonsense | Expires: 600\n< 489 ~Allow-Events:_dialog";
    between(scene, caller, "< SUBSCRIBE ~nonsense\n> 489 | Allow-Events: dialog, presence");
}

/// RFC 5359 §2.17: one callee after the other at the same place, as the callee's phone is busy, watched and free.
pub(crate) fn redial(scene: &Scene) {
    let at = own_address();
    let gateway = Gateway::start(scene, &trunk(at), "");
    let busy = "< INVITE\n> 180\n> 486\n< ACK";
    let watched = "
        < SUBSCRIBE ~Event:_dialog
        > 200 | Expires: 600
        > NOTIFY body=application/dialog-info+xml:confirmed | Event: dialog | Subscription-State: active;expires=600
        < 200
        pause 200
        > NOTIFY body=application/dialog-info+xml:terminated | Event: dialog | Subscription-State: terminated;reason=noresource
        < 200";
    let watches = "
        > SUBSCRIBE | Event: dialog | Expires: 600
        < 200 dialog
        < NOTIFY ~confirmed
        > 200
        < NOTIFY ~Subscription-State:_terminated
        > 200";
    let calls = [
        ("busy", busy, "> INVITE sdp\n< 180\n< 486\n> ACK"),
        ("watched", watched, watches),
        ("free", ANSWERS, TALKS),
    ];
    for (name, callee, caller) in calls {
        let bob = Sipp::callee_at(scene, name, at, callee, &[]);
        Sipp::caller(scene, &format!("alice-{name}"), NUMBER, gateway.sip, caller).finish(1);
        bob.finish(1);
    }
    let statuses: Vec<_> = gateway.cdrs(2).iter().map(|cdr| cdr["status"].clone()).collect();
    assert_eq!(statuses, [486, 200]);
}
