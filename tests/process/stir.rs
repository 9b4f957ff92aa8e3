//! STIR/SHAKEN: calls signed with OpenSSL, which shares no code with the gateway, and certificates from an HTTPS server
//! of the test's own; what is verified, refused, told the callee, signed, and written into records.

use crate::authority::{Authority, Repository, Token, now};
use crate::carrier::{Carrier, Manner};
use crate::gateway::{Gateway, folder, rtp_ports, run, wait_until};
use crate::message::Message;
use crate::phone::{Dialog, Phone, Way};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

on_both_drivers! {
    a_signed_call_passes_and_each_forgery_is_refused
    the_callee_is_told_what_came_of_it
    an_asserted_identity_counts_from_who_is_trusted
    calls_wait_for_a_certificate_together_and_not_for_ever
    what_one_gateway_signs_another_verifies
    an_identity_passes_untouched
    a_new_key_is_taken_without_a_restart
}

pub(crate) const SDP: &str =
    "v=0\r\no=a 1 1 IN IP4 127.0.0.2\r\ns=-\r\nc=IN IP4 127.0.0.2\r\nt=0 0\r\nm=audio 9 RTP/AVP 8\r\n";

/// A gateway that takes calls from everywhere on this host, with lines for its `[stir]` section and trunks.
pub(crate) fn gateway(io: &str, stir: &str, trunks: &str) -> (Gateway, PathBuf) {
    gateway_with(io, "", stir, trunks)
}

/// The same with lines in front of all sections.
pub(crate) fn gateway_with(io: &str, top: &str, stir: &str, trunks: &str) -> (Gateway, PathBuf) {
    let config = folder("stir-config").join("gateway.toml");
    std::fs::write(
        &config,
        format!("workers = 2\n{top}[health]\nprobe_interval = \"0s\"\n[stir]\n{stir}\n{trunks}"),
    )
    .unwrap();
    let arguments = ["--config", config.to_str().unwrap(), "--rtp-ports", &rtp_ports(240)];
    (Gateway::start(io, &arguments), config)
}

/// Lines of a `[stir]` section: verifies what comes from anywhere.
pub(crate) fn verifies(verify: &str, authority: &Authority, repository: &Repository) -> String {
    format!(
        "verify = \"{verify}\"\nroots = \"{}\"\nhttps_roots = \"{0}\"\nports = [{}, 1]\nprivate_addresses = true\n",
        authority.file("root.pem"),
        repository.address.port()
    )
}

pub(crate) fn trunk(name: &str, peer: SocketAddr, more: &str) -> String {
    format!("[[trunk]]\nname = \"{name}\"\npeers = [\"{peer}\"]\n{more}\n")
}

/// A call, ended as soon as it is known how it went: what the callee saw, and the caller's final response.
pub(crate) fn call(
    caller: &mut Phone,
    callee: &mut Phone,
    gateway: &Gateway,
    number: &str,
    fields: &str,
) -> (Option<Message>, Message) {
    let dialog = caller.invite_with(Way::Udp(gateway.sip), gateway.sip, number, fields, SDP);
    finish(caller, callee, &dialog)
}

pub(crate) fn finish(caller: &mut Phone, callee: &mut Phone, dialog: &Dialog) -> (Option<Message>, Message) {
    let begun = Instant::now();
    let mut seen = None;
    let call_id = dialog.call_id.clone();
    loop {
        if let Some(invite) = callee.find(Duration::from_millis(5), |message| message.method() == "INVITE") {
            callee.respond(&invite, 486, "busy", "");
            seen = Some(invite.0);
        }
        let is_final =
            |message: &Message| message.answers(&call_id, "1 INVITE") && message.status() >= Some(200);
        if let Some((message, _)) = caller.find(Duration::from_millis(5), is_final) {
            return (seen, message);
        }
        assert!(begun.elapsed() < crate::gateway::PATIENCE, "the call has no end");
    }
}

fn a_signed_call_passes_and_each_forgery_is_refused(io: &str) {
    let (authority, stranger) = (Authority::new(), Authority::new());
    authority.signer("signer");
    authority.signer("other");
    authority.sign("short", "0", "keyUsage=critical,digitalSignature\n");
    // One number, 4712.
    authority.sign("number", "30", "1.3.6.1.5.5.7.1.26=DER:30:08:a2:06:16:04:34:37:31:32\n");
    stranger.signer("signer");
    let repository = Repository::new(&authority);
    let put = |authority, name| repository.put(authority, name, Duration::ZERO);
    let url = put(&authority, "signer.pem");
    let (short, number) = (put(&authority, "short.pem"), put(&authority, "number.pem"));
    std::fs::copy(stranger.file("signer.pem"), authority.file("stranger.pem")).unwrap();
    let foreign = put(&authority, "stranger.pem");
    let (mut caller, mut callee) = (Phone::new("127.0.0.2"), Phone::new("127.0.0.3"));
    let lines = verifies("reject", &authority, &repository);
    let (gateway, _) = gateway(io, &lines, &trunk("callee", callee.address, ""));
    std::thread::sleep(Duration::from_millis(1100)); // so that the short-lived certificate has expired

    let good = Token::new(&url, "12155551213");
    let mut refused = |fields: &str, status: u16, phrase: &str| {
        let (seen, answer) = call(&mut caller, &mut callee, &gateway, "+12155551213", fields);
        assert!(seen.is_none(), "{fields}");
        assert_eq!(answer.status(), Some(status), "{fields}: {}", answer.start);
        assert_eq!(answer.start, format!("SIP/2.0 {status} {phrase}"));
        assert_eq!(answer.field("reason"), format!("STIR;cause={status};text=\"{phrase}\""));
    };
    let (invalid, unsupported, info) =
        ("Invalid Identity Header", "Unsupported Credential", "Bad Identity Info");
    refused("", 428, "Use Identity Header");
    refused("Identity: nonsense\r\n", 438, invalid);
    refused(&Token { iat: now() - 70, ..good.clone() }.field(&authority), 403, "Stale Date");
    refused(&Token { iat: now() + 70, ..good.clone() }.field(&authority), 403, "Stale Date");
    refused(&Token { orig: "4712", ..good.clone() }.field(&authority), 438, invalid);
    refused(&Token { dest: "12155551214", ..good.clone() }.field(&authority), 438, invalid);
    refused(&Token { info: "https://127.0.0.1/", ..good.clone() }.field(&authority), 438, invalid);
    refused(&Token { key: "other", ..good.clone() }.field(&authority), 438, invalid);
    // The same letters with another signature: of a token that attests the same for another second.
    let (one, two) = (good.field(&authority), Token { iat: good.iat - 1, ..good.clone() }.field(&authority));
    let cut = |field: &str| field.rfind('.').map(|at| (field[..at].to_owned(), field[at..].to_owned()));
    let ((head, _), (_, tail)) =
        (cut(one.split(";info").next().unwrap()).unwrap(), cut(two.split(";info").next().unwrap()).unwrap());
    refused(&format!("{head}{tail};info=<{url}>\r\n"), 438, invalid);
    refused(&Token { key: "short", ..Token::new(&short, good.dest) }.field(&authority), 437, unsupported);
    refused(&Token { key: "number", ..Token::new(&number, good.dest) }.field(&authority), 437, unsupported);
    refused(&Token::new(&foreign, good.dest).field(&stranger), 437, unsupported);
    let at = |path: &str| format!("https://{}/{path}", repository.address);
    for nowhere in [
        at("nothing.pem"),
        at("moved.pem"),
        "https://127.0.0.1:1/closed.pem".into(),
        "https://127.0.0.1:2/port-not-allowed.pem".into(),
        url.replace("https", "http"),
        format!("{url}?x"),
    ] {
        refused(&Token::new(&nowhere, good.dest).field(&authority), 436, info);
    }

    let field = good.field(&authority);
    let (seen, answer) = call(&mut caller, &mut callee, &gateway, "+12155551213", &field);
    assert_eq!(answer.status(), Some(486), "{}", answer.text);
    let from = seen.unwrap();
    assert!(from.field("from").contains("<sip:4711;verstat=TN-Validation-Passed@"), "{}", from.text);
    assert_eq!((from.field("identity"), answer.field("reason")), ("", ""));
    // A copy of it in another call, which any shard may get.
    for _ in 0..4 {
        let (seen, answer) = call(&mut caller, &mut callee, &gateway, "+12155551213", &field);
        assert_eq!((seen.is_none(), answer.status()), (true, Some(438)), "{}", answer.text);
    }
    assert_eq!(repository.asked("signer.pem"), 1);
    assert_eq!(gateway.metric("trunkline_identity_passed_total"), 1.0);
    assert_eq!(gateway.metric("trunkline_identity_replayed_total"), 4.0);
    assert_eq!(gateway.metric("trunkline_identity_stale_total"), 2.0);
    assert_eq!(gateway.metric("trunkline_identity_absent_total"), 1.0);
    assert_eq!(gateway.metric("trunkline_identity_unsupported_total"), 3.0);
    assert_eq!(gateway.metric("trunkline_identity_no_certificate_total"), 6.0);
    let cdrs = gateway.wait_cdrs(23);
    let of = |status: u64| cdrs.iter().find(|cdr| cdr["status"] == status).unwrap();
    let identity = &of(486)["identity"];
    assert_eq!(
        (&identity["verstat"], &identity["attest"], &identity["origid"]),
        (&"TN-Validation-Passed".into(), &"B".into(), &"0d6d2e8a-1".into())
    );
    assert_eq!(of(428)["identity"]["verstat"], "No-TN-Validation");
    assert!(of(437)["identity"]["cause"].as_str().unwrap().starts_with("437 Unsupported Credential: "));
}

fn the_callee_is_told_what_came_of_it(io: &str) {
    let authority = Authority::new();
    authority.signer("signer");
    let repository = Repository::new(&authority);
    let url = repository.put(&authority, "signer.pem", Duration::ZERO);
    let (mut caller, mut callee) = (Phone::new("127.0.0.2"), Phone::new("127.0.0.3"));
    let lines = verifies("tag", &authority, &repository) + "indicator = true\n";
    let (gateway, _) = gateway(io, &lines, &trunk("callee", callee.address, ""));
    let mut tagged = |fields: &str, verstat: &str, reason: &str| {
        let (seen, answer) = call(&mut caller, &mut callee, &gateway, "12155551213", fields);
        let seen = seen.unwrap();
        assert!(seen.field("from").contains(&format!("<sip:4711;verstat={verstat}@")), "{}", seen.text);
        assert_eq!((answer.status(), answer.field("reason")), (Some(486), reason));
        seen
    };
    let good = Token::new(&url, "12155551213");
    let seen = tagged(&good.field(&authority), "TN-Validation-Passed", "");
    assert_eq!(seen.field("p-attestation-indicator"), "B");
    assert_eq!(seen.field("p-origination-id"), "0d6d2e8a-1");
    let seen = tagged("P-Attestation-Indicator: A\r\n", "No-TN-Validation", "");
    assert_eq!(seen.field("p-attestation-indicator"), "");
    let stale = Token { iat: now() - 70, ..good.clone() }.field(&authority);
    tagged(&stale, "TN-Validation-Failed", "STIR;cause=403;text=\"Stale Date\"");
    let other = Token { orig: "4712", ..good }.field(&authority);
    tagged(&other, "TN-Validation-Failed", "STIR;cause=438;text=\"Invalid Identity Header\"");
    // Fields of other types are none that could be verified (RFC 8224 §6.2).
    tagged(&format!("Identity: a.b.c;info=<{url}>;ppt=div\r\n"), "No-TN-Validation", "");
}

fn an_asserted_identity_counts_from_who_is_trusted(io: &str) {
    let authority = Authority::new();
    authority.signer("signer");
    let repository = Repository::new(&authority);
    let url = repository.put(&authority, "signer.pem", Duration::ZERO);
    let (mut trusted, mut stranger) = (Phone::new("127.0.0.2"), Phone::new("127.0.0.4"));
    let mut callee = Phone::new("127.0.0.3");
    let lines = verifies("reject", &authority, &repository);
    let trunk = trunk("callee", callee.address, "profile = \"pbx\"");
    let (gateway, _) = gateway_with(io, "trusted = [\"127.0.0.2/32\"]\n", &lines, &trunk);
    let mut call = |caller: &mut Phone| {
        let token = Token { orig: "12155550100", ..Token::new(&url, "1") }.field(&authority);
        let asserted = "P-Asserted-Identity: \"A\" <sip:+12155550100;verstat=x@a.example>, <tel:+1999>\r\n";
        call(caller, &mut callee, &gateway, "1", &(asserted.to_owned() + &token))
    };
    let (seen, answer) = call(&mut trusted);
    assert_eq!(answer.status(), Some(486), "{}", answer.text);
    let seen = seen.unwrap();
    // Whom the token names is marked as verified, and nobody else.
    assert!(seen.field("from").contains("<sip:4711@"), "{}", seen.text);
    assert_eq!(
        seen.field("p-asserted-identity"),
        "\"A\" <sip:+12155550100;verstat=TN-Validation-Passed@a.example;user=phone>, <tel:+1999>"
    );
    // From whom nobody knows, an assertion is worth nothing (RFC 3325 §5).
    let (seen, answer) = call(&mut stranger);
    assert_eq!((seen.is_none(), answer.status()), (true, Some(438)), "{}", answer.text);
}

fn calls_wait_for_a_certificate_together_and_not_for_ever(io: &str) {
    let authority = Authority::new();
    authority.signer("signer");
    let repository = Repository::new(&authority);
    std::fs::copy(authority.file("signer.pem"), authority.file("late.pem")).unwrap();
    let url = repository.put(&authority, "signer.pem", Duration::from_millis(500));
    let late = repository.put(&authority, "late.pem", Duration::from_millis(2500));
    let (mut caller, mut callee) = (Phone::new("127.0.0.2"), Phone::new("127.0.0.3"));
    let lines = verifies("reject", &authority, &repository);
    let (gateway, _) = gateway(io, &lines, &trunk("callee", callee.address, ""));
    let way = Way::Udp(gateway.sip);
    let begun = Instant::now();
    let mut dialogs: Vec<Dialog> = (0..6)
        .map(|n| {
            let number = format!("1215{n}");
            let field = Token::new(&url, &number).field(&authority);
            caller.invite_with(way, gateway.sip, &number, &field, SDP)
        })
        .collect();
    // One of them is given up meanwhile.
    let given_up = dialogs.pop().unwrap();
    assert_eq!(caller.cancel(&given_up).status(), Some(200));
    for dialog in &dialogs {
        let (_, answer) = finish(&mut caller, &mut callee, dialog);
        assert_eq!(answer.status(), Some(486), "{}", answer.text);
    }
    assert!(begun.elapsed() >= Duration::from_millis(500));
    assert_eq!(repository.asked("signer.pem"), 1, "six calls on two shards ask once");

    let begun = Instant::now();
    let field = Token::new(&late, "1").field(&authority);
    let (_, answer) = call(&mut caller, &mut callee, &gateway, "1", &field);
    assert_eq!(answer.status(), Some(436), "{}", answer.text);
    assert!(begun.elapsed() >= Duration::from_secs(1));
    // What comes too late for one call is there for the next.
    wait_until("the certificate is known", || {
        let field = Token::new(&late, "1").field(&authority);
        call(&mut caller, &mut callee, &gateway, "1", &field).1.status() == Some(486)
    });
    assert_eq!(repository.asked("late.pem"), 1);
}

fn what_one_gateway_signs_another_verifies(io: &str) {
    let authority = Authority::new();
    authority.signer("signer");
    let repository = Repository::new(&authority);
    let url = repository.put(&authority, "signer.pem", Duration::ZERO);
    let (mut caller, mut callee) = (Phone::new("127.0.0.2"), Phone::new("127.0.0.3"));
    let mut customer = Phone::new("127.0.0.4");
    let lines = verifies("reject", &authority, &repository);
    let (verifier, _) = gateway(io, &lines, &trunk("callee", callee.address, ""));
    let keys = format!(
        "key = \"{}\"\ncertificate = \"{}\"\ncertificate_url = \"{url}\"\nfull = [\"+47\"]\n",
        authority.file("signer.key"),
        authority.file("signer.pem")
    );
    let trunks = trunk("verifier", verifier.sip, "stir.sign = true")
        + &trunk("foreign", customer.address, "stir.gateway = true")
        + "[[route]]\nto = [\"verifier\"]\n";
    let (signer, _) = gateway(io, &keys, &trunks);

    let (seen, answer) = call(&mut caller, &mut callee, &signer, "+1-215", "");
    assert_eq!(answer.status(), Some(486), "{}", answer.text);
    assert!(seen.unwrap().field("from").contains("4711;verstat=TN-Validation-Passed@"));
    let (_, answer) = call(&mut customer, &mut callee, &signer, "1216", "");
    assert_eq!(answer.status(), Some(486), "{}", answer.text);
    // A name is no number: it is not signed, and the verifier refuses it.
    let (seen, answer) = call(&mut caller, &mut callee, &signer, "alice", "");
    assert_eq!((seen.is_none(), answer.status()), (true, Some(428)), "{}", answer.text);
    assert_eq!(signer.metric("trunkline_identity_signed_a_total"), 1.0);
    assert_eq!(signer.metric("trunkline_identity_signed_c_total"), 1.0);
    assert_eq!(signer.metric("trunkline_identity_unsigned_total"), 1.0);
    let attested = |gateway: &Gateway, key: &str| -> Vec<serde_json::Value> {
        gateway.wait_cdrs(3).iter().rev().map(|cdr| cdr["identity"][key].clone()).collect()
    };
    assert_eq!(attested(&signer, "signed"), ["A".into(), "C".into(), serde_json::Value::Null]);
    assert_eq!(attested(&verifier, "attest"), ["A".into(), "C".into(), serde_json::Value::Null]);
    let origins = attested(&verifier, "origid");
    assert!(origins[0] != origins[1] && origins[0].as_str().unwrap().len() == 36, "{origins:?}");
}

fn an_identity_passes_untouched(io: &str) {
    let authority = Authority::new();
    authority.signer("signer");
    let carriers = [Carrier::start(Manner::Answer), Carrier::start(Manner::Answer)];
    let keys = format!(
        "key = \"{}\"\ncertificate_url = \"https://cert.example.org/a.pem\"\n",
        authority.file("signer.key")
    );
    let trunks = trunk("trusted", carriers[0].address, "stir.pass = true\nstir.sign = true")
        + &trunk("other", carriers[1].address, "")
        + "[[route]]\nprefix = \"1\"\nto = [\"trusted\"]\n[[route]]\nprefix = \"2\"\nto = [\"other\"]\n";
    let (gateway, _) = gateway(io, &keys, &trunks);
    let mut caller = Phone::new("127.0.0.2");
    let identity = "a.b.c;info=<https://a.example/x>;ppt=shaken";
    let mut call = |number: &str, fields: &str| {
        let mut dialog = caller.invite_with(Way::Udp(gateway.sip), gateway.sip, number, fields, SDP);
        assert_eq!(caller.answered(&mut dialog).status(), Some(200));
        caller.bye(&mut dialog);
    };
    let fields = format!("Identity: {identity}\r\ny: x.y.z;info=<https://a.example/y>;ppt=div\r\n");
    call("1", &fields);
    call("1", "");
    call("2", &fields);
    let invites = |carrier: &Carrier| -> Vec<Message> {
        carrier.seen().requests.into_iter().filter(|request| request.method() == "INVITE").collect()
    };
    let trusted = invites(&carriers[0]);
    assert_eq!(trusted[0].field("identity"), identity);
    assert_eq!(trusted[0].copied("identity", "").lines().count(), 2);
    assert_eq!(trusted[0].field("date"), "");
    // What came without is signed, and dated.
    assert!(
        trusted[1].field("identity").ends_with(";info=<https://cert.example.org/a.pem>;alg=ES256;ppt=shaken")
    );
    assert!(trusted[1].field("date").ends_with(" GMT"), "{}", trusted[1].text);
    assert_eq!(invites(&carriers[1])[0].field("identity"), "");
}

fn a_new_key_is_taken_without_a_restart(io: &str) {
    let authority = Authority::new();
    authority.signer("signer");
    authority.signer("next");
    let repository = Repository::new(&authority);
    let url = repository.put(&authority, "signer.pem", Duration::ZERO);
    let (mut caller, mut callee) = (Phone::new("127.0.0.2"), Phone::new("127.0.0.3"));
    let (verifier, _) =
        gateway(io, &verifies("reject", &authority, &repository), &trunk("callee", callee.address, ""));
    let keys = format!(
        "key = \"{}\"\ncertificate = \"{}\"\ncertificate_url = \"{url}\"\n",
        authority.file("signer.key"),
        authority.file("signer.pem")
    );
    let (signer, _) = gateway(io, &keys, &trunk("verifier", verifier.sip, "stir.sign = true"));
    let mut status = || call(&mut caller, &mut callee, &signer, "1215", "").1.status();
    assert_eq!(status(), Some(486));
    // A key without its certificate is not taken: the old one stays.
    std::fs::copy(authority.file("next.key"), authority.file("signer.key")).unwrap();
    signer.signal(rustix::process::Signal::HUP);
    wait_until("the reload is refused", || signer.logged("is not the certificate to the key").is_some());
    assert_eq!(status(), Some(486));
    // With it, it is: the verifier, which knows the old one yet, refuses what it signs.
    std::fs::copy(authority.file("next.pem"), authority.file("signer.pem")).unwrap();
    signer.signal(rustix::process::Signal::HUP);
    wait_until("the new key is taken", || signer.logged("reloaded: ").is_some());
    wait_until("the new key is used", || status() == Some(438));
}

/// The files that the configuration names are looked at before anything starts.
#[test]
fn files_that_are_no_good_are_named_at_the_start() {
    let authority = Authority::new();
    authority.signer("signer");
    authority.signer("other");
    authority.sign("short", "0", "");
    std::fs::write(authority.0.join("empty"), "").unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    let config = authority.file("gateway.toml");
    let check = |lines: &[(&str, &str)]| {
        let lines: String = lines.iter().map(|(key, value)| format!("{key} = \"{value}\"\n")).collect();
        std::fs::write(&config, format!("[stir]\n{lines}")).unwrap();
        run(&["serve", "--config", &config, "--check"])
    };
    let file = |name: &str| authority.file(name);
    let url = ("certificate_url", "https://cert.example.org/a.pem");
    let (key, good) = (file("signer.key"), file("signer.pem"));
    let (code, out, err) = check(&[("key", &key), ("certificate", &good), url]);
    assert_eq!(code, 0, "{out}{err}");
    for (lines, expected) in [
        (vec![("key", &*file("nothing")), url], "stir.key: "),
        (vec![("key", &*file("empty")), url], "empty holds no private key in PEM form"),
        (
            vec![("key", &*key), ("certificate", &*file("other.pem")), url],
            "other.pem is not the certificate to the key",
        ),
        (
            vec![("key", &*file("short.key")), ("certificate", &*file("short.pem")), url],
            "short.pem expired on ",
        ),
        (vec![("verify", "tag"), ("roots", &*file("empty"))], "empty holds no certificate in PEM form"),
        (vec![("verify", "tag"), ("roots", &*good), ("https_roots", &*file("empty"))], "stir.https_roots: "),
    ] {
        let (code, out, err) = check(&lines);
        assert!(code != 0 && err.contains(expected), "{expected}: {code} {out}{err}");
    }
}
