//! The flows of RFC 3665 (basic call flows).

use crate::Flow;
use crate::baresip::Baresip;
use crate::gateway::{Gateway, packets};
use crate::kamailio::{Kamailio, LOOSE, relay};
use crate::place::{Scene, own_address};
use crate::register;
use crate::sipp::Sipp;
use serde_json::Value;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

pub(crate) const NUMBER: &str = "862155550123";

/// A caller that talks and hangs up.
pub(crate) const TALKS: &str = "
    > INVITE sdp
    < 180
    < 200
    > ACK
    pause 200
    > BYE
    < 200";

/// A callee that rings, answers, and is hung up on.
pub(crate) const ANSWERS: &str = "
    < INVITE
    > 180
    > 200 sdp
    < ACK
    < BYE
    > 200";

/// A caller that is hung up on.
pub(crate) const LISTENS: &str = "
    > INVITE sdp
    < 180
    < 200
    > ACK
    < BYE
    > 200";

/// A callee that answers and hangs up.
pub(crate) const HANGS_UP: &str = "
    < INVITE
    > 180
    > 200 sdp
    < ACK
    pause 200
    > BYE
    < 200";

pub(crate) fn flows() -> Vec<Flow> {
    rows! { "RFC 3665";
        "2.1", "New registration", "SIPp, GW", yes register::new,
            "401, then 200 with the Contact and its time";
        "2.1", "New registration", "baresip, GW", yes register::baresip,
            "two phones register (MD5, with no setting for it); one is asked for its password when it calls the other; RTP both ways";
        "2.1", "New registration", "baresip (TCP), GW", yes register::baresip_tcp,
            "the same over the phones' connections";
        "2.1", "New registration", "linphone, GW", yes register::linphones,
            "two phones register with SHA-256; one calls the other, holds and resumes; RTP both ways";
        "2.2", "Update of the contact list", "SIPp, GW", yes register::second,
            "200 with both Contacts";
        "2.3", "Request for the contact list", "SIPp, GW", yes register::list,
            "REGISTER without Contact: 200 with the Contact there is";
        "2.4", "Cancellation of registration", "SIPp, GW", yes register::cancel,
            "Contact: * and Expires: 0: nobody is registered any more";
        "2.4", "Cancellation of registration", "baresip, GW", yes register::baresip_leaves,
            "baresip goes and takes its Contact along";
        "2.5", "Unsuccessful registration", "SIPp, GW", yes register::wrong,
            "401, then 403 to a wrong password (the RFC's registrar says 401 again)";
        "2.5", "Unsuccessful registration", "baresip, GW", yes register::baresip_wrong,
            "baresip reports the failure";
        "3.1", "Successful session", "SIPp, GW, SIPp", yes talk,
            "200, RTP both ways in the record, BYE of the caller";
        "3.1", "Successful session", "SIPp, GW, SIPp", yes hung_up,
            "200, BYE of the callee";
        "3.1", "Successful session", "SIPp, GW (TCP), SIPp (TCP)", yes over_tcp,
            "the same, each leg on a connection";
        "3.1", "Successful session", "baresip, GW, SIPp", yes baresip_calls,
            "baresip calls and hangs up; RTP both ways in the record";
        "3.1", "Successful session", "SIPp, GW, baresip", yes baresip_answers,
            "baresip answers and is hung up on; RTP both ways in the record";
        "3.1", "Successful session", "baresip (TCP), GW, baresip", yes baresips,
            "a tone each way, heard on both sides; BYE of the callee";
        "3.1", "Successful session", "linphone, GW, baresip", yes register::linphone_calls_baresip,
            "both registered; RTP both ways, BYE of the caller";
        "3.1", "Successful session", "SIPp, GW, Kamailio, baresip", yes register::kamailio_registrar,
            "baresip is registered with Kamailio (401), which is the gateway's carrier and looks it up";
        "3.2", "Through two proxies", "SIPp, Kamailio, GW, Kamailio, SIPp", yes two_proxies,
            "Record-Route on both legs; ACK and BYE along the routes";
        "3.2", "Through two proxies", "SIPp, Kamailio, GW, Kamailio, SIPp", yes two_proxies_hung_up,
            "the same, BYE of the callee";
        "3.2", "Through two proxies", "SIPp, Kamailio, GW (TCP), Kamailio (TCP), SIPp", yes two_proxies_tcp,
            "the proxies change the transport: two Record-Route entries each";
        "3.2", "Through two proxies", "SIPp, Kamailio (strict), GW, Kamailio (strict), SIPp", yes two_strict,
            "routes without lr: Request-URI and Route change places (RFC 3261 §12.2.1.1)";
        "3.2", "Through two proxies", "baresip, Kamailio, GW, Kamailio, baresip", yes two_proxies_baresip,
            "the same between phones, RTP both ways";
        "3.3", "Multiple proxy authentication", "SIPp, Kamailio, GW, Kamailio, SIPp", yes register::challenged,
            "407 of the first proxy to the caller, of the second (MD5) to the gateway, which shows the trunk's password";
        "3.3", "Multiple proxy authentication", "SIPp, GW, Kamailio, SIPp", yes register::challenged_sha256,
            "407 with SHA-256 (RFC 8760)";
        "3.3", "Authentication by the gateway", "SIPp, GW, SIPp", yes register::asked,
            "401 of the gateway to a caller in a user's name";
        "3.4", "Proxy failure", "SIPp, GW, silent and refusing, Kamailio, SIPp", yes proxy_failure,
            "the second proxy says nothing, the third 503, the fourth serves; the record names all";
        "3.5", "Through a SIP ALG", "SIPp, GW, SIPp", yes alg,
            "the gateway is the ALG: neither side sees the other's address in SDP, and RTP goes through it";
        "3.6", "Redirect and proxy, SDP in ACK", "SIPp, Kamailio, GW, Kamailio, SIPp", yes sdp_in_ack,
            "302 of a redirect server before the gateway, then INVITE without SDP: offer in 200, answer in ACK";
        "3.6", "Redirect by a carrier", "SIPp, GW, Kamailio, SIPp", yes redirect_followed,
            "302 to a peer of another trunk: the gateway calls there, and the record says so";
        "3.6", "Redirect by a carrier", "SIPp, GW, Kamailio, SIPp", yes redirect_relayed,
            "`redirects = \"relay\"`: 302 with a Contact at the gateway, which the caller calls";
        "3.6", "Redirect to elsewhere", "SIPp, GW, Kamailio", yes redirect_elsewhere,
            "to a place that is nobody's: not followed, 480";
        "3.7", "re-INVITE (IP address change)", "SIPp, GW, SIPp", yes address_change,
            "re-INVITE relayed; RTP goes to the new address";
        "3.8", "No answer", "SIPp, GW, SIPp", yes cancelled,
            "CANCEL and 487 on both legs";
        "3.8", "No answer", "SIPp, Kamailio, GW, Kamailio, SIPp", yes cancelled_by_proxies,
            "the same through two proxies";
        "3.8", "No answer", "baresip, GW, baresip", yes cancelled_by_baresip,
            "the phone that rings stops";
        "3.8", "No answer", "linphone, GW, baresip", yes register::linphone_gives_up,
            "the phone that rings stops";
        "3.9", "Busy", "SIPp, GW, SIPp", yes busy,
            "486 at the caller, Q.850 cause 17 in the record";
        "3.9", "Busy", "SIPp, Kamailio, GW, Kamailio, baresip", yes busy_baresip,
            "baresip refuses";
        "3.9", "Busy", "baresip, GW, linphone", yes register::linphone_refuses_baresip,
            "linphone refuses: 603";
        "3.10", "No response from the user agent", "SIPp, GW, silent", yes no_response,
            "INVITE repeated, then 503 with Retry-After at the caller (the RFC's proxy says 480)";
        "3.11", "Temporarily unavailable", "SIPp, GW, SIPp", yes unavailable,
            "480 after 180";
    }
}

pub(crate) fn trunk(to: SocketAddr) -> [String; 1] {
    [format!("carrier={to},max_calls=50")]
}

/// SIPp on both sides and the gateway between; the record.
pub(crate) fn between(scene: &Scene, caller: &str, callee: &str, status: u16) -> Value {
    let bob = Sipp::callee(scene, "bob", callee);
    let gateway = Gateway::start(scene, &trunk(bob.at()), "");
    Sipp::caller(scene, "alice", NUMBER, gateway.sip, caller).finish(1);
    bob.finish(1);
    gateway.cdr(status)
}

fn talk(scene: &Scene) {
    let bob = Sipp::callee_at(scene, "bob", own_address(), ANSWERS, &["-rtp_echo"]);
    let gateway = Gateway::start(scene, &trunk(bob.at()), "");
    let script = TALKS.replace("pause 200", "play");
    Sipp::caller(scene, "alice", NUMBER, gateway.sip, &script).finish(1);
    bob.finish(1);
    let cdr = gateway.cdr(200);
    assert_eq!(cdr["ended_by"], "caller", "{cdr}");
    assert!(packets(&cdr).iter().all(|count| *count > 40), "{cdr}");
}

fn hung_up(scene: &Scene) {
    let cdr = between(scene, LISTENS, HANGS_UP, 200);
    assert_eq!(cdr["ended_by"], "callee", "{cdr}");
}

fn over_tcp(scene: &Scene) {
    let bob = Sipp::callee_at(scene, "bob", own_address(), ANSWERS, &["-t", "t1"]);
    let gateway = Gateway::start(scene, &[format!("carrier={}/tcp", bob.at())], "");
    Sipp::caller_at(scene, "alice", own_address(), NUMBER, gateway.sip, TALKS, &["-t", "t1"]).finish(1);
    bob.finish(1);
    gateway.cdr(200);
}

/// A phone that is not registered anywhere.
pub(crate) fn phone(scene: &Scene, name: &str, account: &str) -> Baresip {
    let at = own_address();
    Baresip::start(at, scene, name, &at.to_string(), &format!("regint=0;{account}"), "")
}

/// Lets a call stand until both sides have sent a second of voice and more.
pub(crate) fn let_talk() {
    std::thread::sleep(Duration::from_millis(1500));
}

pub(crate) fn assert_voice(cdr: &Value) {
    assert!(packets(cdr).iter().all(|count| *count > 40), "RTP both ways: {cdr}");
}

fn baresip_calls(scene: &Scene) {
    let bob = Sipp::callee_at(scene, "bob", own_address(), ANSWERS, &["-rtp_echo"]);
    let gateway = Gateway::start(scene, &trunk(bob.at()), "");
    let mut alice = phone(scene, "alice", "");
    alice.order(&format!("dial sip:{NUMBER}@{}", gateway.sip));
    alice.wait_for("CALL_ESTABLISHED");
    let_talk();
    alice.order("hangup");
    bob.finish(1);
    let cdr = gateway.cdr(200);
    assert_eq!(cdr["ended_by"], "caller", "{cdr}");
    assert_voice(&cdr);
}

fn baresip_answers(scene: &Scene) {
    let mut bob = phone(scene, NUMBER, "answermode=auto");
    let gateway = Gateway::start(scene, &trunk(bob.at), "");
    let script = TALKS.replace("< 180", "< 180?").replace("pause 200", "play");
    Sipp::caller(scene, "alice", NUMBER, gateway.sip, &script).finish(1);
    bob.wait_for("CALL_ESTABLISHED");
    bob.wait_for("CALL_CLOSED");
    assert_voice(&gateway.cdr(200));
}

/// Two phones through whatever stands between; the callee hangs up.
fn between_phones(gateway: &Gateway, alice: &mut Baresip, bob: &mut Baresip, dial: &str) {
    alice.order(&format!("dial {dial}"));
    bob.wait_for("CALL_INCOMING");
    alice.wait_for("CALL_RINGING");
    bob.order("accept");
    alice.wait_for("CALL_ESTABLISHED");
    bob.wait_for("CALL_ESTABLISHED");
    let_talk();
    bob.order("hangup");
    alice.wait_for("CALL_CLOSED");
    let cdr = gateway.cdr(200);
    assert_eq!(cdr["ended_by"], "callee", "{cdr}");
    assert_voice(&cdr);
}

fn baresips(scene: &Scene) {
    let mut bob = phone(scene, NUMBER, "answermode=manual");
    let gateway = Gateway::start(scene, &trunk(bob.at), "");
    let mut alice = phone(scene, "alice", "");
    let dial = format!("sip:{NUMBER}@{};transport=tcp", gateway.sip);
    between_phones(&gateway, &mut alice, &mut bob, &dial);
}

/// Two Kamailios around the gateway: the gateway, the first proxy, and what they need to live on.
struct Row {
    gateway: Gateway,
    first: Kamailio,
    _second: Kamailio,
}

impl Row {
    /// `stay` is how the proxies stay in the path; the gateway is reached and reaches out over `transport`.
    fn start(scene: &Scene, callee: SocketAddr, stay: &str, transport: &str) -> Self {
        let second = Kamailio::start(scene, "second", &format!("{stay}\n{}", relay(callee, "udp")), "");
        let way = if transport == "tcp" { "/tcp" } else { "" };
        let gateway = Gateway::start(scene, &[format!("carrier={}{way}", second.at)], "");
        let first =
            Kamailio::start(scene, "first", &format!("{stay}\n{}", relay(gateway.sip, transport)), "");
        Self { gateway, first, _second: second }
    }
}

fn through_proxies(scene: &Scene, caller: &str, callee: &str, stay: &str, transport: &str, status: u16) {
    let bob = Sipp::callee(scene, "bob", callee);
    let row = Row::start(scene, bob.at(), stay, transport);
    Sipp::caller(scene, "alice", NUMBER, row.first.at, caller).finish(1);
    bob.finish(1);
    row.gateway.cdr(status);
}

/// As [`ANSWERS`], seeing that requests came along the route.
fn answers_routed() -> String {
    ANSWERS.replace("< INVITE", "< INVITE ~Record-Route:")
}

fn two_proxies(scene: &Scene) {
    let caller = TALKS.replace("< 200\n    > ACK", "< 200 ~Record-Route:\n    > ACK");
    through_proxies(scene, &caller, &answers_routed(), LOOSE, "udp", 200);
}

fn two_proxies_hung_up(scene: &Scene) {
    through_proxies(scene, LISTENS, HANGS_UP, LOOSE, "udp", 200);
}

fn two_proxies_tcp(scene: &Scene) {
    through_proxies(scene, TALKS, &answers_routed(), LOOSE, "tcp", 200);
}

fn two_strict(scene: &Scene) {
    through_proxies(scene, LISTENS, HANGS_UP, "STRICT", "udp", 200);
}

fn two_proxies_baresip(scene: &Scene) {
    let mut bob = phone(scene, NUMBER, "answermode=manual");
    let row = Row::start(scene, bob.at, LOOSE, "udp");
    let mut alice = phone(scene, "alice", "");
    between_phones(&row.gateway, &mut alice, &mut bob, &format!("sip:{NUMBER}@{}", row.first.at));
}

fn proxy_failure(scene: &Scene) {
    let bob = Sipp::callee(scene, "bob", ANSWERS);
    let silent = UdpSocket::bind(own_address()).unwrap();
    let refusing = Kamailio::start(scene, "refusing", "sl_send_reply(\"503\", \"Closed\"); exit;", "");
    let serving = Kamailio::proxy(scene, "serving", bob.at(), "udp");
    let trunks = [
        format!("silent={},priority=1", silent.local_addr().unwrap()),
        format!("refusing={},priority=2", refusing.at),
        format!("serving={},priority=3", serving.at),
    ];
    let gateway = Gateway::start(scene, &trunks, "");
    Sipp::caller(scene, "alice", NUMBER, gateway.sip, TALKS).finish(1);
    bob.finish(1);
    let cdr = gateway.cdr(200);
    let tried: Vec<&str> =
        cdr["attempts"].as_array().unwrap().iter().filter_map(|tried| tried["trunk"].as_str()).collect();
    assert_eq!(tried, ["silent", "refusing", "serving"], "{cdr}");
}

fn alg(scene: &Scene) {
    let (alice_at, bob_at, at) = (own_address(), own_address(), own_address());
    let seen = format!("~c=IN_IP4_{}", at.ip());
    let callee = ANSWERS.replace("< INVITE", &format!("< INVITE {seen}"));
    let bob = Sipp::callee_at(scene, "bob", bob_at, &callee, &["-rtp_echo"]);
    let gateway = Gateway::start_at(at, scene, &trunk(bob_at), "");
    let caller =
        TALKS.replace("< 200\n    > ACK", &format!("< 200 {seen}\n    > ACK")).replace("pause 200", "play");
    Sipp::caller_at(scene, "alice", alice_at, NUMBER, gateway.sip, &caller, &[]).finish(1);
    bob.finish(1);
    let cdr = gateway.cdr(200);
    assert_voice(&cdr);
    for (leg, at) in [("caller", alice_at), ("callee", bob_at)] {
        let remote = cdr["media"][leg]["remote"].as_str().unwrap_or("");
        assert!(remote.starts_with(&at.ip().to_string()), "{leg}: {cdr}");
    }
}

fn sdp_in_ack(scene: &Scene) {
    let callee = "
        < INVITE
        > 180
        > 200 sdp
        < ACK ~m=audio
        < BYE
        > 200";
    let bob = Sipp::callee(scene, "bob", callee);
    let second = Kamailio::proxy(scene, "second", bob.at(), "udp");
    let gateway = Gateway::start(scene, &trunk(second.at), "");
    // One Kamailio is the redirect server and, asked again, the proxy.
    let redirects = format!(
        "if ($cs == 1) {{ append_to_reply(\"Contact: <sip:{NUMBER}@{}>\\r\\n\"); sl_send_reply(\"302\", \"Moved Temporarily\"); exit; }}\n",
        gateway.sip
    );
    let first =
        Kamailio::start(scene, "first", &format!("{redirects}{LOOSE}\n{}", relay(gateway.sip, "udp")), "");
    let caller = "
        > INVITE sdp
        < 302 ~Contact:
        > ACK
        > INVITE
        < 180
        < 200 ~m=audio
        > ACK sdp
        pause 200
        > BYE
        < 200";
    Sipp::caller(scene, "alice", NUMBER, first.at, caller).finish(1);
    bob.finish(1);
    gateway.cdr(200);
}

/// The lines of a redirect server.
fn moved(contact: &str) -> String {
    format!(
        "append_to_reply(\"Contact: <{contact}>\\r\\n\"); sl_send_reply(\"302\", \"Moved Temporarily\"); exit;"
    )
}

fn redirect_followed(scene: &Scene) {
    let bob = Sipp::callee(scene, "bob", ANSWERS);
    let carrier = Kamailio::start(scene, "carrier", &moved(&format!("sip:4711@{}", bob.at())), "");
    let trunks = [format!("carrier={},priority=1", carrier.at), format!("bobs={},priority=2", bob.at())];
    let gateway = Gateway::start(scene, &trunks, "");
    Sipp::caller(scene, "alice", NUMBER, gateway.sip, TALKS).finish(1);
    let at = bob.at();
    bob.finish(1);
    let cdr = gateway.cdr(200);
    assert_eq!((&cdr["routed"], &cdr["trunk"]), (&Value::from("4711"), &Value::from("bobs")), "{cdr}");
    assert_eq!(cdr["attempts"][0]["redirected"], Value::from(format!("4711@{at}")), "{cdr}");
}

fn redirect_relayed(scene: &Scene) {
    let bob = Sipp::callee(scene, "bob", ANSWERS);
    let (at, sip) = (own_address(), own_address());
    let lines = format!(
        "if ($rU == \"{NUMBER}\") {{ {} }}\n{}",
        moved(&format!("sip:4711@{at}")),
        relay(bob.at(), "udp")
    );
    let carrier = Kamailio::start_at(at, scene, "carrier", &lines, "");
    let trunks = [format!("carrier={},profile=p", carrier.at)];
    let profile = "[[profile]]\nname = \"p\"\nredirects = \"relay\"\n";
    let gateway = Gateway::start_at(sip, scene, &trunks, profile);
    let hears = format!("> INVITE sdp\n< 302 ~Contact:_<sip:4711@{sip}>\n> ACK");
    Sipp::caller(scene, "alice", NUMBER, gateway.sip, &hears).finish(1);
    Sipp::caller(scene, "again", "4711", gateway.sip, TALKS).finish(1);
    bob.finish(1);
    let statuses: Vec<Value> = gateway.cdrs(2).iter().map(|cdr| cdr["status"].clone()).collect();
    assert_eq!(statuses, [302, 200]);
}

fn redirect_elsewhere(scene: &Scene) {
    let carrier = Kamailio::start(scene, "carrier", &moved("sip:elsewhere@127.0.0.1:9"), "");
    let gateway = Gateway::start(scene, &trunk(carrier.at), "");
    Sipp::caller(scene, "alice", NUMBER, gateway.sip, "> INVITE sdp\n< 480\n> ACK").finish(1);
    let cdr = gateway.cdr(480);
    assert_eq!(cdr["attempts"][0]["status"], 302, "{cdr}");
}

fn address_change(scene: &Scene) {
    let elsewhere = UdpSocket::bind(own_address()).unwrap();
    elsewhere.set_read_timeout(Some(crate::place::PATIENCE)).unwrap();
    let place = elsewhere.local_addr().unwrap();
    let caller = format!(
        "
        > INVITE sdp
        < 180
        < 200
        > ACK
        pause 200
        > INVITE sdp@{place}
        < 200 ~m=audio
        > ACK
        pause 3000
        > BYE
        < 200"
    );
    let callee = "
        < INVITE
        > 180
        > 200 sdp
        < ACK
        < INVITE
        > 200 sdp
        < ACK
        play
        < BYE
        > 200";
    crate::sipp::write_speech(&scene.dir);
    let bob = Sipp::callee(scene, "bob", callee);
    let gateway = Gateway::start(scene, &trunk(bob.at()), "");
    let alice = Sipp::caller(scene, "alice", NUMBER, gateway.sip, &caller);
    let mut packet = [0; 2000];
    let (length, from) = elsewhere.recv_from(&mut packet).expect("voice at the new address");
    assert!(length >= 12 && from.ip() == gateway.sip.ip(), "RTP of the gateway: {length} bytes from {from}");
    alice.finish(1);
    bob.finish(1);
    gateway.cdr(200);
}

const GIVES_UP: &str = "
    > INVITE sdp
    < 180
    pause 100
    > CANCEL
    < 200
    < 487
    > ACK";

pub(crate) const RINGS: &str = "
    < INVITE
    > 180
    < CANCEL
    > 200
    > 487 INVITE
    < ACK";

fn cancelled(scene: &Scene) {
    between(scene, GIVES_UP, RINGS, 487);
}

fn cancelled_by_proxies(scene: &Scene) {
    through_proxies(scene, GIVES_UP, RINGS, LOOSE, "udp", 487);
}

fn cancelled_by_baresip(scene: &Scene) {
    let mut bob = phone(scene, NUMBER, "answermode=manual");
    let gateway = Gateway::start(scene, &trunk(bob.at), "");
    let mut alice = phone(scene, "alice", "");
    alice.order(&format!("dial sip:{NUMBER}@{}", gateway.sip));
    bob.wait_for("CALL_INCOMING");
    alice.wait_for("CALL_RINGING");
    alice.order("hangup");
    bob.wait_for("CALL_CLOSED");
    gateway.cdr(487);
}

fn busy(scene: &Scene) {
    let cdr = between(scene, "> INVITE sdp\n< 486\n> ACK", "< INVITE\n> 486\n< ACK", 486);
    assert_eq!(cdr["q850"], 17, "{cdr}");
}

fn busy_baresip(scene: &Scene) {
    let mut bob = phone(scene, NUMBER, "answermode=manual");
    let row = Row::start(scene, bob.at, LOOSE, "udp");
    let alice = Sipp::caller(scene, "alice", NUMBER, row.first.at, "> INVITE sdp\n< 180\n< 486\n> ACK");
    bob.wait_for("CALL_INCOMING");
    bob.order("hangup");
    alice.finish(1);
    row.gateway.cdr(486);
}

fn no_response(scene: &Scene) {
    let silent = UdpSocket::bind(own_address()).unwrap();
    let gateway = Gateway::start(scene, &trunk(silent.local_addr().unwrap()), "");
    Sipp::caller(scene, "alice", NUMBER, gateway.sip, "> INVITE sdp\n< 503 ~Retry-After:\n> ACK").finish(1);
    silent.set_nonblocking(true).unwrap();
    let mut packet = [0; 4000];
    let mut invites = 0;
    while let Ok(length) = silent.recv(&mut packet) {
        invites += u32::from(packet[..length].starts_with(b"INVITE "));
    }
    assert!(invites >= 3, "INVITE is repeated (RFC 3261 §17.1.1.2): {invites}");
    gateway.cdr(503);
}

fn unavailable(scene: &Scene) {
    between(scene, "> INVITE sdp\n< 180\n< 480\n> ACK", "< INVITE\n> 180\n> 480\n< ACK", 480);
}
