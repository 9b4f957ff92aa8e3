//! Who registers and who is asked for a password: phones with the gateway (RFC 3665 §2), callers and the gateway itself
//! with proxies (§3.3).

use crate::baresip::Baresip;
use crate::gateway::Gateway;
use crate::kamailio::{Kamailio, LOOSE, challenge, relay};
use crate::linphone::Linphone;
use crate::place::{Scene, own_address, wait_until};
use crate::rfc3665::{ANSWERS, NUMBER, TALKS, assert_voice, let_talk, trunk};
use crate::sipp::Sipp;
use std::net::SocketAddr;

/// SIPp 3.6 reads one challenge only; baresip 1.0 gives up when one of several is of an algorithm it does not know. Both are asked
/// with MD5 alone, linphone with SHA-256 beside it: nothing of that is set here.
fn registrar(scene: &Scene) -> Gateway {
    registrar_with(scene, "")
}

pub(crate) fn registrar_with(scene: &Scene, config: &str) -> Gateway {
    Gateway::start_for(scene, &["1001:secret1001", "1002:secret1002"], config)
}

/// REGISTER by the user 1001 at a proxy.
fn register_at(scene: &Scene, name: &str, at: SocketAddr, fields: &str, answer: &str) {
    let script = format!(
        "> REGISTER as=1001{fields}\n< 401 auth\n> REGISTER as=1001 auth=1001:secret1001{fields}\n< {answer}"
    );
    Sipp::caller(scene, name, "1001", at, &script).finish(1);
}

/// REGISTER by the user 1001 with these fields, and what is looked for in the final answer.
fn register(scene: &Scene, name: &str, gateway: &Gateway, fields: &str, password: &str, answer: &str) {
    let script = format!(
        "> REGISTER as=1001{fields}\n< 401 auth\n> REGISTER as=1001 auth=1001:{password}{fields}\n< {answer}"
    );
    Sipp::caller(scene, name, "1001", gateway.sip, &script).finish(1);
}

/// Contacts that the gateway knows of 1001.
fn contacts(gateway: &Gateway) -> usize {
    let known = gateway.get("/api/v1/registrations");
    known["registrations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|user| user["contacts"].as_array().unwrap().len())
        .sum()
}

const OFFICE: &str = " | Contact: <sip:1001@127.0.0.1:9> | Expires: 600";

pub(crate) fn new(scene: &Scene) {
    let gateway = registrar(scene);
    register(scene, "phone", &gateway, OFFICE, "secret1001", "200 ~1001@127.0.0.1:9>;expires=600");
    assert_eq!(contacts(&gateway), 1);
}

pub(crate) fn second(scene: &Scene) {
    let gateway = registrar(scene);
    register(scene, "phone", &gateway, OFFICE, "secret1001", "200");
    let mobile = " | Contact: <sip:1001@127.0.0.1:19> | Expires: 600";
    register(scene, "mobile", &gateway, mobile, "secret1001", "200 ~1001@127.0.0.1:9> ~1001@127.0.0.1:19>");
    assert_eq!(contacts(&gateway), 2);
}

pub(crate) fn list(scene: &Scene) {
    let gateway = registrar(scene);
    register(scene, "phone", &gateway, OFFICE, "secret1001", "200");
    register(scene, "asks", &gateway, "", "secret1001", "200 ~1001@127.0.0.1:9>");
}

pub(crate) fn cancel(scene: &Scene) {
    let gateway = registrar(scene);
    register(scene, "phone", &gateway, OFFICE, "secret1001", "200");
    register(scene, "leaves", &gateway, " | Contact: * | Expires: 0", "secret1001", "200");
    assert_eq!(contacts(&gateway), 0);
}

pub(crate) fn wrong(scene: &Scene) {
    let gateway = registrar(scene);
    register(scene, "phone", &gateway, OFFICE, "guessed", "403");
    assert_eq!(contacts(&gateway), 0);
}

/// A phone that registers with the gateway, over this transport, with this password.
fn phone(
    scene: &Scene,
    name: &str,
    gateway: SocketAddr,
    transport: &str,
    password: &str,
    more: &str,
) -> Baresip {
    let account = format!(
        "auth_user={name};auth_pass={password};regint=60;outbound=\"sip:{gateway};transport={transport}\";{more}"
    );
    let host = format!("{gateway};transport={transport}");
    Baresip::start(own_address(), scene, name, &host, &account, "")
}

/// An edge proxy in front of the gateway: it puts itself into Path, and what comes back from there goes on by its Route.
fn edge(scene: &Scene, gateway: &Gateway) -> Kamailio {
    let lines = format!(
        "if (is_method(\"REGISTER\")) {{\n    if (!add_path(\"edge\")) {{ sl_reply_error(); exit; }}\n    {}\n    exit;\n}}\n\
         if (src_ip == {}) {{ loose_route(); record_route(); t_relay(); exit; }}\n{LOOSE}\n{}",
        relay(gateway.sip, "udp"),
        gateway.sip.ip(),
        relay(gateway.sip, "udp"),
    );
    Kamailio::start(scene, "edge", &lines, "")
}

/// RFC 3327 §5.5, with a phone that can be seen into.
pub(crate) fn path(scene: &Scene) {
    let gateway = registrar(scene);
    let edge = edge(scene, &gateway);
    let at = own_address();
    let fields = format!(" | Contact: <sip:1001@{at}> | Expires: 600 | Supported: path");
    let path = format!("~Path:_<sip:edge@{};lr", edge.at);
    let script = format!(
        "> REGISTER as=1001{fields}\n< 401 auth\n> REGISTER as=1001 auth=1001:secret1001{fields}\n< 200 {path} ~Supported:_path"
    );
    Sipp::caller(scene, "phone", "1001", edge.at, &script).finish(1);
    let known = gateway.get("/api/v1/registrations");
    let contact = &known["registrations"][0]["contacts"][0];
    assert!(
        contact["path"].as_str().is_some_and(|it| it.starts_with(&format!("<sip:edge@{};lr", edge.at))),
        "{known}"
    );
    assert_eq!(contact["target"], edge.at.to_string(), "{known}");
    // The proxy has taken its own Route off, and stands in Via and Record-Route.
    let by_edge = format!("~Record-Route:_<sip:{};lr", edge.at);
    let answers = format!("< INVITE {by_edge}\n> 180\n> 200 sdp\n< ACK\n< BYE\n> 200");
    let bob = Sipp::callee_at(scene, "bob", at, &answers, &[]);
    Sipp::caller(
        scene,
        "alice",
        "1001",
        gateway.sip,
        "> INVITE sdp\n< 180?\n< 200\n> ACK\npause 200\n> BYE\n< 200",
    )
    .finish(1);
    bob.finish(1);
    gateway.cdr(200);
    let reads = Sipp::callee_at(scene, "reads", at, "< MESSAGE ~hello\n> 200", &[]);
    Sipp::caller(scene, "writes", "1001", gateway.sip, "> MESSAGE body=text/plain:hello\n< 200").finish(1);
    reads.finish(1);
    let messages = std::fs::read_to_string(scene.dir.join("reads.messages")).unwrap();
    assert!(messages.contains(&format!("Via: SIP/2.0/UDP {}", edge.at)), "{messages}");
}

/// Its recommended answer to phones that do not know of Path (§5.3).
pub(crate) fn path_unknown(scene: &Scene) {
    let gateway = registrar(scene);
    let edge = edge(scene, &gateway);
    register_at(scene, "phone", edge.at, OFFICE, "420 ~Unsupported:_path");
    assert_eq!(contacts(&gateway), 0);
}

pub(crate) fn path_baresip(scene: &Scene) {
    let gateway = registrar_with(scene, "registrar.path = \"any\"\n");
    let edge = edge(scene, &gateway);
    let mut bob = phone(scene, "1002", edge.at, "udp", "secret1002", "answermode=auto");
    bob.wait_log("200 OK (trunkline) [1 binding]");
    let mut alice = phone(scene, "1001", gateway.sip, "udp", "secret1001", "");
    alice.wait_log("200 OK (trunkline) [1 binding]");
    alice.order(&format!("dial sip:1002@{}", gateway.sip));
    alice.wait_for("CALL_ESTABLISHED");
    bob.wait_for("CALL_ESTABLISHED");
    let_talk();
    bob.order("hangup");
    alice.wait_for("CALL_CLOSED");
    let cdr = gateway.cdr(200);
    assert_eq!(cdr["peer"], edge.at.to_string(), "{cdr}");
    assert_voice(&cdr);
}

/// RFC 3842 §3: a phone asks for its messages where calls to its own number go besides the phone, and is told of them.
///
/// Baresip 1.0 begins one subscription after the other, without waiting for any answer, in about a third of its runs; with
/// Kamailio as its registrar it does the same. Such a run says nothing of the gateway, and is played again.
pub(crate) fn waiting(scene: &Scene) {
    const NOTIFIER: &str = "
        < SUBSCRIBE ~Event:_message-summary ~Accept:_application/simple-message-summary
        > 200 | Expires: 600
        > NOTIFY body=application/simple-message-summary:Messages-Waiting:yes | Event: message-summary | Subscription-State: active;expires=600
        < 200";
    for turn in 0..12 {
        let scene = Scene::new(&format!("waiting-{turn}"), scene.io);
        let mailbox = Sipp::callee(&scene, "mailbox", NOTIFIER);
        let route = format!(
            "[[trunk]]\nname = \"mailbox\"\npeers = [\"{}\"]\n[[route]]\nprefix = \"1001\"\nto = [\"mailbox\"]\n",
            mailbox.at()
        );
        let gateway = registrar_with(&scene, &route);
        let account = format!(
            "auth_user=1001;auth_pass=secret1001;regint=60;mwi=yes;outbound=\"sip:{};transport=udp\"",
            gateway.sip
        );
        let settings = "module_app mwi.so\n";
        let phone =
            Baresip::start(own_address(), &scene, "1001", &gateway.sip.to_string(), &account, settings);
        let mut told = false;
        wait_until("the phone to be told of its messages", || {
            told = phone.said("Messages-Waiting:yes");
            told || phone.said_times("mwi: subscribing") > 3
        });
        if !told {
            continue;
        }
        mailbox.finish(1);
        return;
    }
    panic!("baresip subscribed without end in each of 12 runs");
}

/// Both phones registered; one calls the other in its own name, which hangs up.
fn registered_call(scene: &Scene, transport: &str) {
    let gateway = registrar(scene);
    let mut alice = phone(scene, "1001", gateway.sip, transport, "secret1001", "");
    let mut bob = phone(scene, "1002", gateway.sip, transport, "secret1002", "answermode=auto");
    alice.wait_log("200 OK (trunkline) [1 binding]");
    bob.wait_log("200 OK (trunkline) [1 binding]");
    alice.order(&format!("dial sip:1002@{};transport={transport}", gateway.sip));
    alice.wait_for("CALL_ESTABLISHED");
    bob.wait_for("CALL_ESTABLISHED");
    let_talk();
    bob.order("hangup");
    alice.wait_for("CALL_CLOSED");
    let cdr = gateway.cdr(200);
    assert_eq!(cdr["trunk"], "user:1002", "{cdr}");
    assert_voice(&cdr);
}

pub(crate) fn baresip(scene: &Scene) {
    registered_call(scene, "udp");
}

pub(crate) fn baresip_tcp(scene: &Scene) {
    registered_call(scene, "tcp");
}

pub(crate) fn baresip_outbound(scene: &Scene) {
    let gateway = registrar(scene);
    let mut bob = phone(scene, "1002", gateway.sip, "tcp", "secret1002", "answermode=auto;sipnat=outbound");
    bob.wait_log("200 OK (trunkline) [1 binding]");
    let mut alice = phone(scene, "1001", gateway.sip, "udp", "secret1001", "");
    alice.wait_log("200 OK (trunkline) [1 binding]");
    let known = gateway.get("/api/v1/registrations");
    let contact = &known["registrations"][1]["contacts"][0];
    assert_eq!(contact["reg_id"], 1, "{known}");
    assert!(contact["instance"].as_str().is_some_and(|it| it.starts_with("<urn:uuid:")), "{known}");
    alice.order(&format!("dial sip:1002@{}", gateway.sip));
    alice.wait_for("CALL_ESTABLISHED");
    bob.wait_for("CALL_ESTABLISHED");
    let_talk();
    alice.order("hangup");
    bob.wait_for("CALL_CLOSED");
    let cdr = gateway.cdr(200);
    assert_eq!(cdr["peer"], contact["source"], "{cdr}");
    assert_voice(&cdr);
}

pub(crate) fn baresip_leaves(scene: &Scene) {
    let gateway = registrar(scene);
    let mut phone = phone(scene, "1001", gateway.sip, "udp", "secret1001", "");
    phone.wait_log("200 OK (trunkline) [1 binding]");
    assert_eq!(contacts(&gateway), 1);
    phone.order("quit");
    wait_until("the phone to be gone", || contacts(&gateway) == 0);
}

pub(crate) fn baresip_wrong(scene: &Scene) {
    let gateway = registrar(scene);
    let phone = phone(scene, "1001", gateway.sip, "udp", "guessed", "");
    phone.wait_log("403 ");
    assert_eq!(contacts(&gateway), 0);
}

/// A phone that registers with the gateway; the credentials that it showed.
pub(crate) fn linphone(scene: &Scene, name: &str, gateway: &Gateway) -> (Linphone, String) {
    let before = contacts(gateway);
    let mut phone = Linphone::start(scene, name);
    let at = gateway.sip;
    phone.order(&format!("register sip:{name}@{at} sip:{at} secret{name}"));
    wait_until(&format!("{name} to register"), || contacts(gateway) == before + 1);
    let debug = std::fs::read_to_string(scene.dir.join(name).join("debug")).unwrap();
    let credentials = debug.lines().find(|line| line.starts_with("Authorization: ")).unwrap_or("none");
    (phone, credentials.to_owned())
}

pub(crate) fn linphones(scene: &Scene) {
    let gateway = registrar(scene);
    // SHA-256 is offered first, MD5 beside it.
    let (mut alice, shown) = linphone(scene, "1001", &gateway);
    assert!(shown.contains("algorithm=SHA-256"), "{shown}");
    let (mut bob, _) = linphone(scene, "1002", &gateway);
    alice.order(&format!("call sip:1002@{}", gateway.sip));
    bob.wait_for("incoming call");
    alice.wait_for("ringing");
    bob.order("answer");
    alice.wait_for("Media streams established");
    bob.wait_for("Media streams established");
    let_talk();
    alice.order("pause");
    alice.wait_for("is now paused");
    alice.order("resume");
    alice.wait_for("Media streams established");
    bob.order("terminate");
    alice.wait_for("ended");
    let cdr = gateway.cdr(200);
    assert_eq!(cdr["ended_by"], "callee", "{cdr}");
    assert_voice(&cdr);
}

/// Linphone and baresip, both registered.
fn different_phones(scene: &Scene) -> (Gateway, Linphone, Baresip) {
    let gateway = registrar(scene);
    let (linphone, _) = linphone(scene, "1001", &gateway);
    let baresip = phone(scene, "1002", gateway.sip, "udp", "secret1002", "");
    baresip.wait_log("200 OK (trunkline) [1 binding]");
    (gateway, linphone, baresip)
}

/// The same, and a trunk that takes 1003.
pub(crate) fn phones_and_trunk(scene: &Scene, carol: SocketAddr) -> (Gateway, Linphone, Baresip) {
    let route = format!(
        "[[trunk]]\nname = \"carol\"\npeers = [\"{carol}\"]\n[[route]]\nprefix = \"1003\"\nto = [\"carol\"]\n"
    );
    let gateway = registrar_with(scene, &route);
    let (linphone, _) = linphone(scene, "1001", &gateway);
    let baresip = phone(scene, "1002", gateway.sip, "udp", "secret1002", "");
    baresip.wait_log("200 OK (trunkline) [1 binding]");
    (gateway, linphone, baresip)
}

pub(crate) fn linphone_calls_baresip(scene: &Scene) {
    let (gateway, mut alice, mut bob) = different_phones(scene);
    alice.order(&format!("call sip:1002@{}", gateway.sip));
    bob.wait_for("CALL_INCOMING");
    alice.wait_for("ringing");
    bob.order("accept");
    alice.wait_for("Media streams established");
    bob.wait_for("CALL_ESTABLISHED");
    let_talk();
    alice.order("terminate");
    bob.wait_for("CALL_CLOSED");
    let cdr = gateway.cdr(200);
    assert_eq!(cdr["ended_by"], "caller", "{cdr}");
    assert_voice(&cdr);
}

pub(crate) fn linphone_refuses_baresip(scene: &Scene) {
    let (gateway, mut bob, mut alice) = different_phones(scene);
    alice.order(&format!("dial sip:1001@{}", gateway.sip));
    bob.wait_for("incoming call");
    alice.wait_for("CALL_RINGING");
    bob.order("terminate");
    alice.wait_for("CALL_CLOSED");
    gateway.cdr(603);
}

pub(crate) fn linphone_gives_up(scene: &Scene) {
    let (gateway, mut alice, mut bob) = different_phones(scene);
    alice.order(&format!("call sip:1002@{}", gateway.sip));
    bob.wait_for("CALL_INCOMING");
    alice.wait_for("ringing");
    alice.order("terminate");
    bob.wait_for("CALL_CLOSED");
    gateway.cdr(487);
}

pub(crate) fn kamailio_registrar(scene: &Scene) {
    let lines = format!(
        "if (is_method(\"REGISTER\")) {{\n\
         if (!pv_www_authenticate(\"home.example\", \"secret\", \"0\")) {{ www_challenge(\"home.example\", \"1\"); exit; }}\n\
         save(\"location\"); exit;\n}}\n{LOOSE}\nif (!lookup(\"location\")) {{ sl_send_reply(\"404\", \"Not Found\"); exit; }}\nt_relay();"
    );
    let registrar = Kamailio::start(scene, "registrar", &lines, "");
    let account = format!("auth_user={NUMBER};auth_pass=secret;regint=60;answermode=auto");
    let mut bob = Baresip::start(own_address(), scene, NUMBER, &registrar.at.to_string(), &account, "");
    bob.wait_log("200 OK");
    let gateway = Gateway::start(scene, &trunk(registrar.at), "");
    let script = TALKS.replace("< 180", "< 180?").replace("pause 200", "play");
    Sipp::caller(scene, "alice", NUMBER, gateway.sip, &script).finish(1);
    bob.wait_for("CALL_CLOSED");
    assert_voice(&gateway.cdr(200));
}

/// A caller who is challenged with this status.
fn shows(status: u16) -> String {
    TALKS.replace(
        "> INVITE sdp",
        &format!("> INVITE sdp\n < {status} auth\n > ACK\n > INVITE sdp auth=alice:secret"),
    )
}

/// A trunk that has a password.
fn trunk_with_password(to: SocketAddr) -> String {
    format!(
        "[[trunk]]\nname = \"carrier\"\npeers = [\"{to}\"]\nusername = \"trunk4711\"\npassword = \"{SECRET}\"\n"
    )
}

const SECRET: &str = "correct horse battery";

pub(crate) fn challenged(scene: &Scene) {
    let bob = Sipp::callee(scene, "bob", ANSWERS);
    let lines = format!("{}{LOOSE}\n{}", challenge("carrier.example", SECRET), relay(bob.at(), "udp"));
    let second = Kamailio::start(scene, "second", &lines, "");
    let gateway = Gateway::start(scene, &[], &trunk_with_password(second.at));
    let lines = format!("{}{LOOSE}\n{}", challenge("home.example", "secret"), relay(gateway.sip, "udp"));
    let first = Kamailio::start(scene, "first", &lines, "");
    Sipp::caller(scene, "alice", NUMBER, first.at, &shows(407)).finish(1);
    bob.finish(1);
    gateway.cdr(200);
}

pub(crate) fn challenged_sha256(scene: &Scene) {
    let bob = Sipp::callee(scene, "bob", ANSWERS);
    let asks = challenge("carrier.example", SECRET);
    let lines = format!("#SHA-256\n{asks}{LOOSE}\n{}", relay(bob.at(), "udp"));
    let proxy = Kamailio::start(scene, "proxy", &lines, "");
    let gateway = Gateway::start(scene, &[], &trunk_with_password(proxy.at));
    Sipp::caller(scene, "alice", NUMBER, gateway.sip, TALKS).finish(1);
    bob.finish(1);
    gateway.cdr(200);
}

pub(crate) fn asked(scene: &Scene) {
    let bob = Sipp::callee(scene, "bob", ANSWERS);
    let config = "[[user]]\nname = \"alice\"\npassword = \"secret\"\n";
    let gateway = Gateway::start(scene, &trunk(bob.at()), config);
    Sipp::caller(scene, "alice", NUMBER, gateway.sip, &shows(401)).finish(1);
    bob.finish(1);
    gateway.cdr(200);
}
