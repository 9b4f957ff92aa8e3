//! Requests outside of calls, between phones, trunks and a notifier, each a socket and plain text: MESSAGE, SUBSCRIBE and
//! NOTIFY, PUBLISH, OPTIONS; what passes, what does not, and what is left of it.

use crate::gateway::{Gateway, PATIENCE, folder, wait_until};
use crate::message::Message;
use crate::phone::{Phone, Way, unique};
use crate::register::{User, nonce};
use std::net::SocketAddr;
use std::time::Duration;

on_both_drivers! {
    a_message_goes_from_phone_to_phone
    a_message_goes_by_the_routes_and_fails_over
    what_does_not_pass_is_refused_with_what_does
    a_subscription_lives_and_ends
    a_refused_subscription_leaves_nothing
    subscribers_are_told_when_the_gateway_stops
    a_state_is_published
    a_carriers_challenge_is_answered
    options_say_what_the_gateway_can
    events_pass_inside_a_call
}

/// One side of what a request outside of calls began.
struct Talk {
    call_id: String,
    local: String,
    remote: String,
    target: String,
    cseq: u32,
    way: Way,
}

impl Talk {
    fn new(phone: &Phone, name: &str, gateway: SocketAddr, number: &str) -> Self {
        let word = unique();
        Self {
            call_id: format!("{word}@{}", phone.host()),
            local: format!("\"A\" <sip:{name}@{}>;tag=from{word}", phone.host()),
            remote: format!("<sip:{number}@{}>", gateway.ip()),
            target: format!("sip:{number}@{gateway}"),
            cseq: 0,
            way: Way::Udp(gateway),
        }
    }

    /// The other side of what a SUBSCRIBE began.
    fn of(request: &(Message, Way), tag: &str) -> Self {
        let message = &request.0;
        Self {
            call_id: message.field("call-id").to_owned(),
            local: format!("{};tag={tag}", message.field("to")),
            remote: message.field("from").to_owned(),
            target: message.contact().to_owned(),
            cseq: 10,
            way: request.1,
        }
    }

    /// Sends a request; gives its CSeq.
    fn send(&mut self, phone: &mut Phone, method: &str, fields: &str, body: &str) -> String {
        self.cseq += 1;
        let contact = match method {
            "MESSAGE" | "PUBLISH" => String::new(),
            _ => format!("Contact: <sip:me@{}>\r\n", phone.address),
        };
        let kind = if body.is_empty() { "" } else { "Content-Type: text/plain;charset=utf-8\r\n" };
        let text = format!(
            "{method} {} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bK{};rport\r\nMax-Forwards: 20\r\nFrom: {}\r\nTo: {}\r\n\
             Call-ID: {}\r\nCSeq: {} {method}\r\n{contact}{fields}{kind}Content-Length: {}\r\n\r\n{body}",
            self.target,
            phone.address,
            unique(),
            self.local,
            self.remote,
            self.call_id,
            self.cseq,
            body.len()
        );
        phone.send(self.way, &text);
        format!("{} {method}", self.cseq)
    }

    fn ask(&mut self, phone: &mut Phone, method: &str, fields: &str, body: &str) -> Message {
        let cseq = self.send(phone, method, fields, body);
        phone.final_response(&self.call_id, &cseq)
    }
}

fn message(
    phone: &mut Phone,
    name: &str,
    gateway: SocketAddr,
    number: &str,
    fields: &str,
    body: &str,
) -> Message {
    Talk::new(phone, name, gateway, number).ask(phone, "MESSAGE", fields, body)
}

fn statuses(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| message.start.as_str()).collect()
}

/// A gateway whose trunks are as given, by name, address and profile, each with a route of its number.
fn start(io: &str, more: &str, trunks: &[(&str, String, &str)]) -> Gateway {
    let path = folder("outside").join("gateway.toml");
    let trunks: String = trunks
        .iter()
        .enumerate()
        .map(|(number, (name, peers, more))| {
            format!(
                "[[trunk]]\nname = \"{name}\"\npeers = [{peers}]\n{more}\n[[route]]\nprefix = \"{number}\"\nto = [\"{name}\"]\n"
            )
        })
        .collect();
    std::fs::write(&path, format!("{more}\n[health]\nprobe_interval = \"0s\"\n{trunks}")).unwrap();
    Gateway::start(io, &["--config", path.to_str().unwrap(), "--workers", "2"])
}

fn is_empty(gateway: &Gateway) {
    wait_until("no request and no subscription is left", || {
        gateway.metric("trunkline_subscriptions") + gateway.metric("trunkline_outside_waiting") == 0.0
    });
}

/// RFC 3428 §4, §5 and §7; 480 where nobody is there (RFC 3261 §21.4.18).
fn a_message_goes_from_phone_to_phone(io: &str) {
    let users =
        ["--workers", "2", "--user", "alice:secret one", "--user", "bob:secret2", "--user", "carol:x"];
    let gateway = Gateway::start(io, &users);
    let mut alice = User::new("127.0.0.2", "alice", "secret one");
    let mut bob = User::new("127.0.0.3", "bob", "secret2");
    bob.register_contact(gateway.sip, "SHA-256");

    let mut talk = Talk::new(&alice.phone, "alice", gateway.sip, "bob");
    let challenge = talk.ask(&mut alice.phone, "MESSAGE", "Subject: lunch\r\n", "noodles?");
    let nonce = nonce(&challenge, "MD5");
    let shown = alice.digest("MD5", &nonce).field("MESSAGE", &talk.target);
    let cseq = talk.send(&mut alice.phone, "MESSAGE", &format!("Subject: lunch\r\n{shown}"), "noodles?");
    let got = bob.phone.expect("MESSAGE");
    let it = &got.0;
    assert_eq!(it.start, format!("MESSAGE sip:bob@{} SIP/2.0", bob.phone.address));
    assert!(
        it.field("from").starts_with(&format!("\"A\" <sip:alice@{}>;tag=", gateway.sip.ip())),
        "{}",
        it.text
    );
    assert_eq!((it.body.as_str(), it.field("content-type")), ("noodles?", "text/plain;charset=utf-8"));
    assert_eq!((it.field("max-forwards"), it.field("subject")), ("19", "lunch"));
    // RFC 3428 §4: no Contact. What she shows the gateway, and where she is, is not passed on.
    assert_eq!((it.field("contact"), it.field("authorization")), ("", ""));
    assert!(!it.text.contains("127.0.0.2") && it.field("call-id") != talk.call_id, "{}", it.text);
    bob.phone.respond_with(&got, 200, "bob", "Date: Thu, 21 Feb 2002 13:02:03 GMT\r\n", "");
    let answer = alice.phone.final_response(&talk.call_id, &cseq);
    assert_eq!((answer.status(), answer.field("date")), (Some(200), "Thu, 21 Feb 2002 13:02:03 GMT"));
    assert!(!answer.text.contains("127.0.0.3"), "{}", answer.text);

    // A refusal comes back as it is; nobody is there to refuse for Carol.
    for (to, answered, status) in [("bob", Some(488), 488), ("carol", None, 480), ("nobody", None, 404)] {
        let mut talk = Talk::new(&alice.phone, "alice", gateway.sip, to);
        talk.cseq = 1;
        let nonce = nonce_of(&mut alice.phone, gateway.sip);
        let shown = alice.digest("MD5", &nonce).field("MESSAGE", &talk.target);
        let cseq = talk.send(&mut alice.phone, "MESSAGE", &shown, "x");
        if let Some(status) = answered {
            let got = bob.phone.expect("MESSAGE");
            bob.phone.respond(&got, status, "bob", "");
        }
        assert_eq!(alice.phone.final_response(&talk.call_id, &cseq).status(), Some(status), "{to}");
    }
    is_empty(&gateway);
    assert_eq!(gateway.metric("trunkline_outside_answered_total"), 1.0);
    assert_eq!(gateway.metric("trunkline_outside_unavailable_total"), 1.0);
}

/// A fresh nonce.
fn nonce_of(phone: &mut Phone, gateway: SocketAddr) -> String {
    nonce(&message(phone, "alice", gateway, "bob", "", "?"), "MD5")
}

fn a_message_goes_by_the_routes_and_fails_over(io: &str) {
    let (mut first, mut second) = (Phone::new("127.0.0.1"), Phone::new("127.0.0.1"));
    let peers = format!("\"{}\", \"{}\"", first.address, second.address);
    let more = "profile = \"p\"";
    let profile = "[[profile]]\nname = \"p\"\nnumbers = { called = \"e164\", country = \"49\", trunk_prefix = \"0\" }\n";
    let gateway = start(io, profile, &[("own", peers, more)]);
    let mut phone = Phone::new("127.0.0.1");
    let mut talk = Talk::new(&phone, "4711", gateway.sip, "03012345678");
    let cseq = talk.send(&mut phone, "MESSAGE", "", "hello");
    let got = first.expect("MESSAGE");
    assert_eq!(got.0.number(), "+493012345678", "{}", got.0.text);
    first.respond(&got, 503, "x", "");
    let got = second.expect("MESSAGE");
    second.respond(&got, 202, "y", "");
    let answer = phone.final_response(&talk.call_id, &cseq);
    assert_eq!(answer.status(), Some(202), "{}", answer.text);
    // A final word of one peer is not asked of the next.
    let cseq = talk.send(&mut phone, "MESSAGE", "", "hello");
    let got = first.expect("MESSAGE");
    first.respond_with(&got, 415, "x", "Accept: text/html\r\n", "");
    let answer = phone.final_response(&talk.call_id, &cseq);
    assert_eq!((answer.status(), answer.field("accept")), (Some(415), "text/html"));
    // One that says nothing is given up for the next, and whoever asked is told to wait (RFC 4320 §4.1).
    let cseq = talk.send(&mut phone, "MESSAGE", "", "hello");
    let got = second.expect("MESSAGE");
    second.respond(&got, 200, "y", "");
    assert_eq!(phone.final_response(&talk.call_id, &cseq).status(), Some(200));
    is_empty(&gateway);
    assert_eq!(gateway.metric("trunkline_outside_failovers_total"), 2.0);
}

/// RFC 3261 §8.2.1; RFC 6086 §4.2.
fn what_does_not_pass_is_refused_with_what_does(io: &str) {
    let (mut strict, mut own) = (Phone::new("127.0.0.1"), Phone::new("127.0.0.1"));
    let profiles = "[outside]\nbody_max = 100\n[[profile]]\nname = \"texts\"\nrequests = [\"MESSAGE\"]\n";
    let address = |phone: &Phone| format!("\"{}\"", phone.address);
    let trunks = [
        ("strict", address(&strict), "profile = \"carrier-strict\""),
        ("texts", address(&own), "profile = \"texts\""),
    ];
    let gateway = start(io, profiles, &trunks);
    let mut phone = Phone::new("127.0.0.2");
    let answer = message(&mut phone, "4711", gateway.sip, "0123", "", "x");
    assert_eq!(answer.status(), Some(405), "the trunk of that route takes none: {}", answer.text);
    assert!(
        !answer.field("allow").contains("MESSAGE") && answer.field("allow").contains("INVITE"),
        "{}",
        answer.text
    );
    let mut talk = Talk::new(&phone, "4711", gateway.sip, "1234");
    let answer = talk.ask(&mut phone, "SUBSCRIBE", "Event: presence\r\n", "");
    assert_eq!(answer.status(), Some(405), "{}", answer.text);
    // From a trunk what passes to it.
    let answer = message(&mut strict, "x", gateway.sip, "1234", "", "x");
    assert_eq!(answer.status(), Some(405), "{}", answer.text);
    let mut talk = Talk::new(&own, "x", gateway.sip, "1234");
    let answer = talk.ask(&mut own, "PUBLISH", "Event: presence\r\n", "x");
    assert_eq!(answer.status(), Some(405));
    assert!(
        answer.field("allow").contains("MESSAGE") && !answer.field("allow").contains("PUBLISH"),
        "{}",
        answer.text
    );
    for (method, fields, body, status) in [
        ("MESSAGE", "", "x".repeat(101), 413),
        ("SUBSCRIBE", "", String::new(), 489),
        ("INFO", "", String::from("x"), 481),
        ("NOTIFY", "Event: x\r\nSubscription-State: active\r\n", String::new(), 481),
        ("REFER", "Refer-To: <sip:a@b>\r\n", String::new(), 403),
        ("MESSAGE", "Require: 100rel, nonsense\r\n", String::from("x"), 420),
    ] {
        let mut talk = Talk::new(&phone, "4711", gateway.sip, "1234");
        let answer = talk.ask(&mut phone, method, fields, &body);
        assert_eq!(answer.status(), Some(status), "{method}: {}", answer.text);
    }
    let mut gone = Talk::new(&phone, "4711", gateway.sip, "1234");
    gone.remote += ";tag=nobody";
    for (method, fields) in [
        ("SUBSCRIBE", "Event: x\r\n"),
        ("NOTIFY", "Event: x\r\nSubscription-State: active\r\n"),
        ("OPTIONS", ""),
    ] {
        assert_eq!(gone.ask(&mut phone, method, fields, "").status(), Some(481), "{method}");
    }
    let mut stranger = Talk::new(&phone, "4711", gateway.sip, "1234");
    stranger.cseq = 5;
    let looped = stranger.send(&mut phone, "MESSAGE", "", "x");
    let got = own.expect("MESSAGE");
    assert_eq!(looped, "6 MESSAGE");
    // RFC 3261 §16.3: what was sent comes back.
    let via = got.0.copied("via", "Via");
    let text = got.0.text.replacen(
        &via,
        &format!("Via: SIP/2.0/UDP {};branch=z9hG4bK{}\r\n{via}", own.address, unique()),
        1,
    );
    own.send(got.1, &text);
    let refused = own.find(PATIENCE, |message| message.status() == Some(482)).expect("482");
    assert!(refused.0.field("cseq").ends_with("MESSAGE"), "{}", refused.0.text);
    own.respond(&got, 200, "own", "");
    assert_eq!(phone.final_response(&stranger.call_id, &looped).status(), Some(200));
    is_empty(&gateway);
}

const MWI: &str = "Event: message-summary\r\n";

/// RFC 6665 §4.1 and §4.2 through a B2BUA: a dialog on each side.
fn a_subscription_lives_and_ends(io: &str) {
    let mut notifier = Phone::new("127.0.0.1");
    let gateway = start(io, "", &[("own", format!("\"{}\"", notifier.address), "")]);
    let mut phone = Phone::new("127.0.0.2");
    let mut near = Talk::new(&phone, "4711", gateway.sip, "0900");
    let fields = format!(
        "{MWI}Expires: 600\r\nAccept: application/simple-message-summary\r\nSupported: eventlist\r\n"
    );
    let cseq = near.send(&mut phone, "SUBSCRIBE", &fields, "");
    let subscribe = notifier.expect("SUBSCRIBE");
    let it = &subscribe.0;
    assert_eq!((it.field("event"), it.field("expires")), ("message-summary", "600"), "{}", it.text);
    assert_eq!(
        (it.field("accept"), it.field("supported")),
        ("application/simple-message-summary", "eventlist")
    );
    assert!(it.contact().contains(&gateway.sip.to_string()) && !it.text.contains("127.0.0.2"), "{}", it.text);

    // The first NOTIFY overtakes the 200 (§4.1.2.4), and goes through.
    let mut far = Talk::of(&subscribe, "note");
    let state = "Subscription-State: active;expires=600\r\n";
    let first = far.send(&mut notifier, "NOTIFY", &format!("{MWI}{state}"), "Messages-Waiting: no");
    let notify = phone.expect("NOTIFY");
    assert_eq!(notify.0.field("call-id"), near.call_id);
    assert_eq!(notify.0.tag("to"), near.local.split(";tag=").nth(1).unwrap());
    assert_eq!(notify.0.field("subscription-state"), "active;expires=600");
    assert_eq!(
        (notify.0.body.as_str(), notify.0.field("event")),
        ("Messages-Waiting: no", "message-summary")
    );
    assert!(notify.0.start.contains(&format!("sip:me@{}", phone.address)), "{}", notify.0.start);
    phone.respond(&notify, 200, "", "");
    assert_eq!(notifier.final_response(&far.call_id, &first).status(), Some(200));
    notifier.respond_with(
        &subscribe,
        200,
        "note",
        &format!("Expires: 500\r\nContact: <sip:n@{}>\r\n", notifier.address),
        "",
    );
    let answer = phone.final_response(&near.call_id, &cseq);
    assert_eq!((answer.status(), answer.field("expires")), (Some(200), "500"), "{}", answer.text);
    assert_eq!(answer.tag("to"), notify.0.tag("from"), "one dialog: {}", answer.text);
    assert!(answer.contact().contains(&gateway.sip.to_string()), "{}", answer.text);
    near.remote = answer.field("to").to_owned();
    near.target = answer.contact().to_owned();
    wait_until("the subscription is counted", || gateway.metric("trunkline_subscriptions") == 1.0);

    // A NOTIFY of another fork is refused (§4.1.4).
    let mut fork = Talk::of(&subscribe, "fork");
    let refused = fork.ask(&mut notifier, "NOTIFY", &format!("{MWI}{state}"), "");
    assert_eq!(refused.status(), Some(481), "{}", refused.text);
    // One that does not say how the subscription stands is refused; a refusal of the subscriber's goes back.
    assert_eq!(far.ask(&mut notifier, "NOTIFY", MWI, "").status(), Some(400));
    let second = far.send(&mut notifier, "NOTIFY", &format!("{MWI}{state}"), "Messages-Waiting: yes");
    let notify = phone.expect("NOTIFY");
    assert_eq!(notify.0.body, "Messages-Waiting: yes");
    phone.respond(&notify, 500, "", "");
    assert_eq!(notifier.final_response(&far.call_id, &second).status(), Some(500));

    // Renewed; what the notifier will not have goes back, and changes nothing.
    for (expires, status, more) in [("30", 423, "Min-Expires: 60\r\n"), ("600", 200, "Expires: 600\r\n")] {
        let cseq = near.send(&mut phone, "SUBSCRIBE", &format!("{MWI}Expires: {expires}\r\n"), "");
        let again = notifier.expect("SUBSCRIBE");
        assert_eq!((again.0.tag("to"), again.0.field("expires")), ("note", expires), "{}", again.0.text);
        assert!(again.0.start.contains(&format!("@{}", notifier.address)), "{}", again.0.start);
        notifier.respond_with(&again, status, "note", more, "");
        let answer = phone.final_response(&near.call_id, &cseq);
        assert_eq!(answer.status(), Some(status), "{}", answer.text);
        assert!(answer.text.contains(more), "{}", answer.text);
        if status == 200 {
            let cseq = far.send(&mut notifier, "NOTIFY", &format!("{MWI}{state}"), "");
            let notify = phone.expect("NOTIFY");
            phone.respond(&notify, 200, "", "");
            assert_eq!(notifier.final_response(&far.call_id, &cseq).status(), Some(200));
        }
    }

    // Ended by the subscriber: the last NOTIFY still comes, and then nothing is left.
    let cseq = near.send(&mut phone, "SUBSCRIBE", &format!("{MWI}Expires: 0\r\n"), "");
    let last = notifier.expect("SUBSCRIBE");
    notifier.respond_with(&last, 200, "note", "Expires: 0\r\n", "");
    assert_eq!(phone.final_response(&near.call_id, &cseq).status(), Some(200));
    let end = format!("{MWI}Subscription-State: terminated;reason=timeout\r\n");
    let cseq = far.send(&mut notifier, "NOTIFY", &end, "");
    let notify = phone.expect("NOTIFY");
    assert_eq!(notify.0.field("subscription-state"), "terminated;reason=timeout");
    phone.respond(&notify, 200, "", "");
    assert_eq!(notifier.final_response(&far.call_id, &cseq).status(), Some(200));
    is_empty(&gateway);
    assert_eq!(far.ask(&mut notifier, "NOTIFY", &format!("{MWI}{state}"), "").status(), Some(481));
    assert_eq!(near.ask(&mut phone, "SUBSCRIBE", MWI, "").status(), Some(481));
    assert_eq!(statuses(&phone.leftovers(Duration::from_millis(50))), [""; 0]);
}

fn a_refused_subscription_leaves_nothing(io: &str) {
    let mut notifier = Phone::new("127.0.0.1");
    let gateway = start(io, "", &[("own", format!("\"{}\"", notifier.address), "")]);
    let mut phone = Phone::new("127.0.0.2");
    for (status, more) in
        [(489, "Allow-Events: presence, dialog\r\n"), (404, ""), (423, "Min-Expires: 90\r\n")]
    {
        let mut near = Talk::new(&phone, "4711", gateway.sip, "0900");
        let cseq = near.send(&mut phone, "SUBSCRIBE", MWI, "");
        let subscribe = notifier.expect("SUBSCRIBE");
        notifier.respond_with(&subscribe, status, "note", more, "");
        let answer = phone.final_response(&near.call_id, &cseq);
        assert_eq!(answer.status(), Some(status), "{}", answer.text);
        assert!(answer.text.contains(more), "{}", answer.text);
    }
    is_empty(&gateway);
    // The subscriber does not know a subscription any more: so it is told to the notifier, and both dialogs end.
    let mut near = Talk::new(&phone, "4711", gateway.sip, "0900");
    let cseq = near.send(&mut phone, "SUBSCRIBE", MWI, "");
    let subscribe = notifier.expect("SUBSCRIBE");
    notifier.respond_with(&subscribe, 200, "note", "Expires: 600\r\n", "");
    assert_eq!(phone.final_response(&near.call_id, &cseq).status(), Some(200));
    let mut far = Talk::of(&subscribe, "note");
    let cseq = far.send(&mut notifier, "NOTIFY", &format!("{MWI}Subscription-State: pending\r\n"), "");
    let notify = phone.expect("NOTIFY");
    phone.respond(&notify, 481, "", "");
    assert_eq!(notifier.final_response(&far.call_id, &cseq).status(), Some(481));
    is_empty(&gateway);
}

/// RFC 6665 §4.1.3: "deactivated" has the subscriber try again at once, elsewhere.
fn subscribers_are_told_when_the_gateway_stops(io: &str) {
    let mut notifier = Phone::new("127.0.0.1");
    let mut gateway = start(io, "", &[("own", format!("\"{}\"", notifier.address), "")]);
    let mut phone = Phone::new("127.0.0.2");
    let mut near = Talk::new(&phone, "4711", gateway.sip, "0900");
    let cseq = near.send(&mut phone, "SUBSCRIBE", MWI, "");
    let subscribe = notifier.expect("SUBSCRIBE");
    let fields = format!("Expires: 600\r\nContact: <sip:n@{}>\r\n", notifier.address);
    notifier.respond_with(&subscribe, 200, "note", &fields, "");
    assert_eq!(phone.final_response(&near.call_id, &cseq).status(), Some(200));
    gateway.signal(rustix::process::Signal::TERM);
    let notify = phone.expect("NOTIFY");
    assert_eq!(notify.0.field("subscription-state"), "terminated;reason=deactivated", "{}", notify.0.text);
    let last = notifier.expect("SUBSCRIBE");
    assert_eq!(last.0.field("expires"), "0", "{}", last.0.text);
    assert!(gateway.ended().success());
}

/// RFC 3903 §4 and §6: the entity-tag goes through either way.
fn a_state_is_published(io: &str) {
    let mut agent = Phone::new("127.0.0.1");
    let gateway = start(io, "", &[("own", format!("\"{}\"", agent.address), "")]);
    let mut phone = Phone::new("127.0.0.2");
    let mut talk = Talk::new(&phone, "4711", gateway.sip, "0900");
    for (sent, answered) in [("", "abc1"), ("SIP-If-Match: abc1\r\n", "abc2")] {
        let fields = format!("Event: presence\r\nExpires: 600\r\n{sent}");
        let cseq = talk.send(&mut phone, "PUBLISH", &fields, "open");
        let publish = agent.expect("PUBLISH");
        assert!(publish.0.text.contains(sent) && publish.0.body == "open", "{}", publish.0.text);
        assert_eq!((publish.0.field("event"), publish.0.field("contact")), ("presence", ""));
        agent.respond_with(&publish, 200, "a", &format!("SIP-ETag: {answered}\r\nExpires: 600\r\n"), "");
        let answer = phone.final_response(&talk.call_id, &cseq);
        assert_eq!((answer.status(), answer.field("sip-etag")), (Some(200), answered), "{}", answer.text);
    }
    let cseq = talk.send(&mut phone, "PUBLISH", "Event: presence\r\nSIP-If-Match: old\r\n", "open");
    let publish = agent.expect("PUBLISH");
    agent.respond(&publish, 412, "a", "");
    assert_eq!(phone.final_response(&talk.call_id, &cseq).status(), Some(412));
    is_empty(&gateway);
}

/// RFC 3261 §22.2 and §22.3, as for a call.
fn a_carriers_challenge_is_answered(io: &str) {
    let mut carrier = Phone::new("127.0.0.1");
    let account = "username = \"trunk4711\"\npassword = \"pw\"";
    let gateway = start(io, "", &[("own", format!("\"{}\"", carrier.address), account)]);
    let mut phone = Phone::new("127.0.0.2");
    for (method, fields) in [("MESSAGE", ""), ("SUBSCRIBE", MWI)] {
        let mut talk = Talk::new(&phone, "4711", gateway.sip, "0900");
        let cseq = talk.send(&mut phone, method, fields, "");
        let bare = carrier.expect(method);
        assert_eq!(bare.0.field("proxy-authorization"), "");
        let challenge =
            "Proxy-Authenticate: Digest realm=\"c\", nonce=\"n1\", algorithm=MD5, qop=\"auth\"\r\n";
        carrier.respond_with(&bare, 407, "c", challenge, "");
        let shown = carrier.expect(method);
        let it = &shown.0;
        assert!(it.field("proxy-authorization").contains("username=\"trunk4711\""), "{}", it.text);
        assert_eq!((it.field("call-id"), it.field("from")), (bare.0.field("call-id"), bare.0.field("from")));
        assert_eq!(it.field("cseq"), format!("2 {method}"));
        carrier.respond_with(&shown, 200, "c", "Expires: 600\r\n", "");
        let answer = phone.final_response(&talk.call_id, &cseq);
        assert_eq!(answer.status(), Some(200), "{}", answer.text);
        // Asked a second time for the same realm: it is given up, and the asker is not asked in turn.
        if method == "MESSAGE" {
            let cseq = talk.send(&mut phone, method, fields, "");
            for _ in 0..2 {
                let request = carrier.expect(method);
                carrier.respond_with(&request, 407, "c", challenge, "");
            }
            assert_eq!(phone.final_response(&talk.call_id, &cseq).status(), Some(503));
        }
    }
}

/// RFC 3261 §11.2.
fn options_say_what_the_gateway_can(io: &str) {
    let mut own = Phone::new("127.0.0.1");
    let profiles = "[outside]\nrequests = [\"OPTIONS\", \"PUBLISH\"]\n";
    let gateway = start(
        io,
        profiles,
        &[(
            "own",
            format!("\"{}\"", own.address),
            "profile = \"o\"\n[[profile]]\nname = \"o\"\nrequests = [\"OPTIONS\"]",
        )],
    );
    let mut phone = Phone::new("127.0.0.2");
    let mut talk = Talk::new(&phone, "4711", gateway.sip, "");
    talk.target = format!("sip:{}", gateway.sip);
    talk.remote = format!("<{}>", talk.target);
    let answer = talk.ask(&mut phone, "OPTIONS", "", "");
    assert_eq!(answer.status(), Some(200));
    assert_eq!((answer.field("accept"), answer.field("accept-encoding")), ("application/sdp", "identity"));
    assert_eq!((answer.field("accept-language"), answer.field("contact")), ("en", ""));
    assert!(answer.field("supported").contains("100rel"), "{}", answer.text);
    for method in
        ["INVITE", "OPTIONS", "SUBSCRIBE", "NOTIFY", "PUBLISH", "MESSAGE", "INFO", "UPDATE", "PRACK"]
    {
        assert!(answer.field("allow").split(", ").any(|it| it == method), "{method}: {}", answer.text);
    }
    // Where OPTIONS passes, it is the far end's to say.
    let mut talk = Talk::new(&phone, "4711", gateway.sip, "0900");
    let cseq = talk.send(&mut phone, "OPTIONS", "Accept: application/sdp\r\n", "");
    let options = own.expect("OPTIONS");
    assert_eq!(options.0.number(), "0900");
    own.respond_with(&options, 200, "o", "Accept: application/sdp, text/plain\r\n", "");
    let answer = phone.final_response(&talk.call_id, &cseq);
    assert_eq!((answer.status(), answer.field("accept")), (Some(200), "application/sdp, text/plain"));
}

/// RFC 6665 §4.5.1: a subscription in the dialog of a call, such as KPML, goes to the other leg.
fn events_pass_inside_a_call(io: &str) {
    let mut carrier = Phone::new("127.0.0.1");
    let gateway = start(io, "", &[("own", format!("\"{}\"", carrier.address), "")]);
    let mut phone = Phone::new("127.0.0.2");
    let sdp = crate::voice::Voice::new(phone.address.ip(), 1).sdp("sendrecv");
    let mut call = phone.invite(Way::Udp(gateway.sip), gateway.sip, "0900", &sdp);
    let invite = carrier.expect("INVITE");
    carrier.respond(&invite, 200, "c", &crate::voice::Voice::new(carrier.address.ip(), 2).sdp("sendrecv"));
    assert_eq!(phone.answered(&mut call).status(), Some(200));
    carrier.expect("ACK");
    let inside = |call: &crate::phone::Dialog, cseq| Talk {
        call_id: call.call_id.clone(),
        local: call.local.clone(),
        remote: call.remote.clone(),
        target: call.target.clone(),
        cseq,
        way: call.way,
    };
    let mut near = inside(&call, 1);
    let cseq = near.send(&mut phone, "SUBSCRIBE", "Event: kpml\r\nExpires: 30\r\n", "<kpml-request/>");
    let subscribe = carrier.expect("SUBSCRIBE");
    assert_eq!((subscribe.0.field("event"), subscribe.0.body.as_str()), ("kpml", "<kpml-request/>"));
    assert_eq!(subscribe.0.tag("to"), "c", "{}", subscribe.0.text);
    carrier.respond_with(&subscribe, 200, "c", "Expires: 25\r\n", "");
    let answer = phone.final_response(&near.call_id, &cseq);
    assert_eq!((answer.status(), answer.field("expires")), (Some(200), "25"), "{}", answer.text);
    let mut far = inside(&carrier.dialog_of(&invite, "c"), 100);
    let state = "Event: kpml\r\nSubscription-State: terminated;reason=noresource\r\n";
    let cseq = far.send(&mut carrier, "NOTIFY", state, "<kpml-response/>");
    let notify = phone.expect("NOTIFY");
    assert_eq!(notify.0.field("subscription-state"), "terminated;reason=noresource");
    phone.respond(&notify, 481, "", "");
    assert_eq!(carrier.final_response(&far.call_id, &cseq).status(), Some(481), "of the subscription alone");
    let refer = "Event: refer;id=3\r\nSubscription-State: active\r\n";
    assert_eq!(far.ask(&mut carrier, "NOTIFY", refer, "SIP/2.0 100 Trying").status(), Some(481));
    call.cseq = near.cseq;
    phone.begin_request(&mut call, "BYE", "");
    let bye = carrier.expect("BYE");
    carrier.respond(&bye, 200, "c", "");
    gateway.wait_calls(0);
}
