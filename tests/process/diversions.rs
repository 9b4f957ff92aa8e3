//! Tokens besides that of the caller: diversions (RFC 8946), Resource-Priority (RFC 8443), and those of messages (RFC 9475);
//! signed with OpenSSL, and by one gateway for another.

use crate::authority::{Authority, Repository, Token, now, openssl, signed};
use crate::gateway::Gateway;
use crate::message::Message;
use crate::phone::{Phone, Way, unique};
use crate::stir::{SDP, call, finish, gateway, trunk, verifies};
use std::time::Duration;

on_both_drivers! {
    a_call_that_was_sent_on_is_verified_by_its_chain
    a_chain_may_be_nested_in_one_token
    what_a_gateway_sends_on_it_signs
    a_priority_passes_if_the_caller_is_entitled_to_it
    a_message_is_verified_as_a_call_is
    a_message_is_signed_for_who_verifies
}

struct World {
    authority: Authority,
    repository: Repository,
    urls: [String; 2],
}

impl World {
    fn new() -> Self {
        let authority = Authority::new();
        let repository = Repository::new(&authority);
        let urls = ["signer", "other"].map(|name| {
            authority.signer(name);
            repository.put(&authority, &format!("{name}.pem"), Duration::ZERO)
        });
        Self { authority, repository, urls }
    }

    fn div(&self, from: &str, to: &str) -> String {
        let claims = format!(
            r#"{{"dest":{{"tn":["{to}"]}},"div":{{"tn":"{from}"}},"iat":{},"orig":{{"tn":"4711"}}}}"#,
            now()
        );
        signed(&self.authority, "other", "div", (&self.urls[1], &self.urls[1]), &claims)
    }

    fn call(&self, number: &str) -> String {
        Token::new(&self.urls[0], number).field(&self.authority)
    }

    /// Lines of a section that verifies, with more patience than a busy host takes.
    fn verifies(&self, verify: &str) -> String {
        verifies(verify, &self.authority, &self.repository) + "patience = \"3s\"\n"
    }

    /// Lines of a section that signs.
    fn signs(&self) -> String {
        format!("key = \"{}\"\ncertificate_url = \"{}\"\n", self.authority.file("other.key"), self.urls[1])
    }
}

fn a_call_that_was_sent_on_is_verified_by_its_chain(io: &str) {
    let world = World::new();
    let (mut caller, mut callee) = (Phone::new("127.0.0.2"), Phone::new("127.0.0.3"));
    let lines = world.verifies("reject");
    let (gateway, _) = gateway(io, &lines, &trunk("callee", callee.address, ""));
    let mut ask = |fields: &str| call(&mut caller, &mut callee, &gateway, "1503", fields);
    let (one, two) = (world.div("1501", "1502"), world.div("1502", "1503"));
    // Two certificates are waited for, each asked for once.
    let (seen, answer) = ask(&format!("{}{two}{one}", world.call("1501")));
    assert_eq!(answer.status(), Some(486), "{}", answer.text);
    assert!(seen.unwrap().field("from").contains(";verstat=TN-Validation-Passed@"));
    assert_eq!((world.repository.asked("signer.pem"), world.repository.asked("other.pem")), (1, 1));
    for fields in [
        world.call("1501"),
        format!("{}{one}", world.call("1501")),
        format!("{}{two}", world.call("1501")),
        format!("{}{}", world.call("1502"), two.replacen("Identity: eyJhbGciO", "Identity: eyJhbGciP", 1)),
    ] {
        let (seen, answer) = ask(&fields);
        assert_eq!((seen.is_none(), answer.status()), (true, Some(438)), "{fields}");
    }
    let cdr = gateway.wait_cdrs(5).pop().unwrap();
    assert_eq!(cdr["identity"]["diverted"], serde_json::json!(["1501", "1502"]), "{cdr}");
    assert_eq!(gateway.metric("trunkline_identity_diverted_total"), 1.0);
}

/// RFC 8946 §5.
fn a_chain_may_be_nested_in_one_token(io: &str) {
    let world = World::new();
    let (mut caller, mut callee) = (Phone::new("127.0.0.2"), Phone::new("127.0.0.3"));
    let lines = world.verifies("reject");
    let (gateway, _) = gateway(io, &lines, &trunk("callee", callee.address, ""));
    let mut ask = |fields: &str| call(&mut caller, &mut callee, &gateway, "1503", fields);
    let nest = |(from, to): (&str, &str), before: &str| {
        let token = before.strip_prefix("Identity: ").unwrap().split(';').next().unwrap();
        let claims = format!(
            r#"{{"dest":{{"tn":["{to}"]}},"div":{{"tn":"{from}"}},"iat":{},"opt":"{token}","orig":{{"tn":"4711"}}}}"#,
            now()
        );
        signed(&world.authority, "other", "div-o", (&world.urls[1], &world.urls[1]), &claims)
    };
    let whole = nest(("1502", "1503"), &nest(("1501", "1502"), &world.call("1501")));
    let (seen, answer) = ask(&whole);
    assert_eq!(answer.status(), Some(486), "{}", answer.text);
    assert!(seen.unwrap().field("from").contains(";verstat=TN-Validation-Passed@"));
    let forged = world.call("1501").replacen(";info", "A;info", 1);
    for fields in [
        nest(("1502", "1503"), &world.call("1501")),
        nest(("1501", "1502"), &world.call("1501")),
        nest(("1501", "1503"), &forged),
    ] {
        let (seen, answer) = ask(&fields);
        assert_eq!((seen.is_none(), answer.status()), (true, Some(438)), "{fields}");
    }
    let cdr = gateway.wait_cdrs(4).pop().unwrap();
    assert_eq!(cdr["identity"]["diverted"], serde_json::json!(["1501", "1502"]), "{cdr}");
}

/// The number asked for in an INVITE that is sent elsewhere.
fn redirect(phone: &mut Phone, contact: &str) -> Message {
    let invite = phone.expect("INVITE");
    phone.respond_with(&invite, 302, "moved", &format!("Contact: {contact}\r\n"), "");
    phone.expect("ACK");
    invite.0
}

fn what_a_gateway_sends_on_it_signs(io: &str) {
    signs(io, "div", &["shaken", "div"]);
    signs(io, "div-o", &["div-o"]);
}

fn signs(io: &str, kind: &str, types: &[&str]) {
    let world = World::new();
    let (mut caller, mut callee) = (Phone::new("127.0.0.2"), Phone::new("127.0.0.3"));
    let mut absent = Phone::new("127.0.0.4");
    let lines = world.verifies("reject");
    let (verifier, _) = gateway(io, &lines, &trunk("callee", callee.address, "stir.pass = true"));
    let trunks = trunk("absent", absent.address, "")
        + &trunk("verifier", verifier.sip, "stir.sign = true\nstir.pass = true")
        + "[[route]]\nprefix = \"15\"\nto = [\"absent\"]\n[[route]]\nto = [\"verifier\"]\n";
    let (forwarder, _) =
        gateway(io, &(lines + &world.signs() + &format!("diversions = \"{kind}\"\n")), &trunks);
    let mut send_on = |contact: &str| {
        let way = Way::Udp(forwarder.sip);
        let dialog = caller.invite_with(way, forwarder.sip, "1501", &world.call("1501"), SDP);
        redirect(&mut absent, contact);
        finish(&mut caller, &mut callee, &dialog)
    };
    let (seen, answer) = send_on("<tel:+1601>");
    assert_eq!(answer.status(), Some(486), "{}", answer.text);
    let seen = seen.unwrap();
    assert!(seen.field("from").contains(";verstat=TN-Validation-Passed@"));
    let identities = seen.copied("identity", "Identity");
    let found = identities.lines().map(|it| it.split(";ppt=").nth(1).unwrap().trim_matches('"'));
    assert_eq!(found.collect::<Vec<_>>(), types, "{identities}");
    // To the same number by another way there is nothing to be said (RFC 8946 §4.1); here that loops to the first peer.
    assert_eq!(forwarder.metric("trunkline_identity_signed_diversions_total"), 1.0);
    let cdr = verifier.wait_cdrs(1).remove(0);
    assert_eq!(
        (&cdr["identity"]["diverted"], &cdr["dialled"]),
        (&serde_json::json!(["1501"]), &"+1601".into())
    );
    assert_eq!(cdr["identity"]["attest"], "B");
    // A call that is not sent on is passed as it came: nothing is added.
    let (_, answer) = call(&mut caller, &mut callee, &forwarder, "1700", &world.call("1700"));
    assert_eq!(answer.status(), Some(486), "{}", answer.text);
    assert_eq!(forwarder.metric("trunkline_identity_signed_diversions_total"), 1.0);
}

fn a_priority_passes_if_the_caller_is_entitled_to_it(io: &str) {
    let world = World::new();
    let (mut caller, mut callee) = (Phone::new("127.0.0.2"), Phone::new("127.0.0.3"));
    let lines = world.verifies("tag");
    let profile = "[[profile]]\nname = \"p\"\nheaders.pass = [\"Resource-Priority\"]\n";
    let trunk = trunk("callee", callee.address, "profile = \"p\"") + profile;
    let (gateway, _) = gateway(io, &lines, &trunk);
    let rph = |value: &str| {
        let claims = format!(
            r#"{{"dest":{{"tn":["1501"]}},"iat":{},"orig":{{"tn":"4711"}},"rph":{{"auth":["{value}"]}}}}"#,
            now()
        );
        signed(&world.authority, "other", "rph", (&world.urls[1], &world.urls[1]), &claims)
    };
    let mut ask = |fields: &str| {
        let fields = format!("Resource-Priority: ets.0\r\n{}{fields}", world.call("1501"));
        let (seen, _) = call(&mut caller, &mut callee, &gateway, "1501", &fields);
        let seen = seen.unwrap();
        // The caller is who he is either way.
        assert!(seen.field("from").contains(";verstat=TN-Validation-Passed@"), "{}", seen.text);
        seen.field("resource-priority").to_owned()
    };
    assert_eq!(ask(&rph("ets.0")), "ets.0");
    assert_eq!(ask(&rph("ets.1")), "", "RFC 8443 §4");
    assert_eq!(ask(&rph("ets.0").replacen(";info", "A;info", 1)), "");
    assert_eq!(ask(""), "ets.0", "nobody said anything of it");
    let cdrs = gateway.wait_cdrs(4);
    let said: Vec<_> = cdrs.iter().rev().map(|cdr| cdr["identity"]["priority"].clone()).collect();
    assert_eq!(said[0], "ets.0");
    assert!(said[1..].iter().all(serde_json::Value::is_null), "{said:?}");
    assert_eq!(gateway.metric("trunkline_identity_priority_failed_total"), 2.0);
}

/// Sends a MESSAGE from 4711; what the callee saw of it, and the sender's final answer.
fn message(
    sender: &mut Phone,
    callee: &mut Phone,
    gateway: &Gateway,
    number: &str,
    fields: &str,
    body: &str,
) -> (Option<Message>, Message) {
    let (word, own, at) = (unique(), sender.address, gateway.sip);
    let text = format!(
        "MESSAGE sip:{number}@{at} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK{word};rport\r\nMax-Forwards: 20\r\n\
         From: <sip:4711@{own}>;tag={word}\r\nTo: <sip:{number}@{at}>\r\nCall-ID: {word}\r\nCSeq: 1 MESSAGE\r\n\
         {fields}Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    sender.send(Way::Udp(at), &text);
    let mut seen = None;
    loop {
        if let Some(it) = callee.find(Duration::from_millis(5), |it| it.method() == "MESSAGE") {
            callee.respond(&it, 200, "taken", "");
            seen = Some(it.0);
        }
        let is_final = |it: &Message| it.answers(&word, "1 MESSAGE") && it.status() >= Some(200);
        if let Some((answer, _)) = sender.find(Duration::from_millis(5), is_final) {
            return (seen, answer);
        }
    }
}

fn a_message_is_verified_as_a_call_is(io: &str) {
    let world = World::new();
    let (mut sender, mut callee) = (Phone::new("127.0.0.2"), Phone::new("127.0.0.3"));
    let lines = world.verifies("reject");
    let (gateway, _) = gateway(io, &lines, &trunk("callee", callee.address, ""));
    let token = |body: &str| {
        std::fs::write(world.authority.0.join("body"), body).unwrap();
        let digest = openssl(&world.authority.0, &["dgst", "-sha256", "-binary", "body"]);
        std::fs::write(world.authority.0.join("digest"), digest).unwrap();
        let text = openssl(&world.authority.0, &["base64", "-A", "-in", "digest"]);
        let claims = format!(
            r#"{{"dest":{{"tn":["1501"]}},"iat":{},"msgi":"sha256-{}","orig":{{"tn":"4711"}}}}"#,
            now(),
            String::from_utf8(text).unwrap()
        );
        signed(&world.authority, "signer", "msg", (&world.urls[0], &world.urls[0]), &claims)
    };
    let mut ask = |fields: &str| message(&mut sender, &mut callee, &gateway, "1501", fields, "hello");
    let good = token("hello");
    let (seen, answer) = ask(&good);
    assert_eq!(answer.status(), Some(200), "{}", answer.text);
    assert!(seen.unwrap().field("from").contains("<sip:4711;verstat=TN-Validation-Passed@"));
    for (fields, status) in [(String::new(), 428), (token("hell"), 438), (good, 438)] {
        let (seen, answer) = ask(&fields);
        assert_eq!((seen.is_none(), answer.status()), (true, Some(status)), "{fields}");
        assert!(answer.field("reason").starts_with(&format!("STIR;cause={status};")), "{}", answer.text);
    }
    assert_eq!(ask(&world.call("1501")).1.status(), Some(200), "signed as a call");
    assert_eq!(gateway.metric("trunkline_messages_identity_refused_total"), 3.0);
    assert_eq!(gateway.metric("trunkline_identity_replayed_total"), 1.0);
    // A certificate that does not come is not waited for for ever, and nothing is left of the message.
    let nowhere = format!("https://{}/late.pem", world.repository.address);
    std::fs::copy(world.authority.file("signer.pem"), world.authority.file("late.pem")).unwrap();
    world.repository.put(&world.authority, "late.pem", Duration::from_secs(6));
    assert_eq!(ask(&Token::new(&nowhere, "1501").field(&world.authority)).1.status(), Some(436));
    assert_eq!(gateway.metric("trunkline_identity_waiting"), 0.0);
}

fn a_message_is_signed_for_who_verifies(io: &str) {
    let world = World::new();
    let (mut sender, mut callee) = (Phone::new("127.0.0.2"), Phone::new("127.0.0.3"));
    let lines = world.verifies("reject");
    let (verifier, _) = gateway(io, &lines, &trunk("callee", callee.address, ""));
    let trunks = trunk("verifier", verifier.sip, "stir.sign = true");
    let (signer, _) = gateway(io, &world.signs(), &trunks);
    let (seen, answer) = message(&mut sender, &mut callee, &signer, "1501", "", "hello, world");
    assert_eq!(answer.status(), Some(200), "{}", answer.text);
    let seen = seen.unwrap();
    assert!(seen.field("from").contains(";verstat=TN-Validation-Passed@"), "{}", seen.text);
    assert_eq!((seen.body.as_str(), seen.field("identity")), ("hello, world", ""));
    assert_eq!(signer.metric("trunkline_identity_signed_messages_total"), 1.0);
    assert_eq!(verifier.metric("trunkline_identity_passed_total"), 1.0);
}
