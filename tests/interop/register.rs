//! Registrations with the gateway (RFC 3665 §2), by SIPp and by baresip.

use crate::baresip::Baresip;
use crate::gateway::Gateway;
use crate::place::{Scene, own_address, wait_until};
use crate::rfc3665::{assert_voice, let_talk};
use crate::sipp::Sipp;
use std::net::SocketAddr;

/// SIPp 3.6 reads one challenge only; baresip 1.0 gives up when one of several is of an algorithm it does not know. Both know MD5.
const MD5: &str = "registrar.algorithms = [\"MD5\"]\n";

fn registrar(scene: &Scene) -> Gateway {
    let user = |name: &str| format!("[[user]]\nname = \"{name}\"\npassword = \"secret{name}\"\n");
    Gateway::start(scene, &[], &format!("{MD5}{}{}", user("1001"), user("1002")))
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
