//! Trunks that register with their carrier: asked for the password, called at their contact, refreshed, refused, given up.

use crate::gateway::{Gateway, folder, rtp_ports, wait_until};
use crate::message::Message;
use crate::phone::{Dialog, Phone, Way};
use crate::voice::Voice;
use md5::Digest as _;
use rustix::process::Signal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

on_both_drivers! {
    a_trunk_registers_calls_and_is_called
    a_refused_trunk_is_left_alone
    a_registrar_that_dies_is_found_again
    a_reload_registers_and_gives_up
    calls_over_the_registered_connection_are_the_carriers
    a_gateway_registers_at_a_gateway
}

pub(crate) fn md5(text: &str) -> String {
    md5::Md5::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Answers a REGISTER with what was asked for.
fn grant(registrar: &mut Phone, request: &(Message, Way), seconds: u32, more: &str) {
    let contact = format!("Contact: <{}>;expires={seconds}\r\n{more}", request.0.contact());
    registrar.respond_with(request, 200, "granted", &contact, "");
}

fn registration(gateway: &Gateway, trunk: &str) -> serde_json::Value {
    gateway.trunk(trunk)["registration"].clone()
}

fn wait_registered(gateway: &Gateway, trunk: &str, registered: bool) {
    wait_until("the registration", || registration(gateway, trunk)["registered"] == registered);
}

/// Starts a gateway by a file; the file can be written anew.
fn by_file(io: &str, text: &str) -> (Gateway, PathBuf) {
    let file = folder("registering").join("gateway.toml");
    std::fs::write(&file, text).unwrap();
    let path = file.to_str().unwrap().to_owned();
    (Gateway::start(io, &["--config", &path, "--rtp-ports", &rtp_ports(240), "--workers", "2"]), file)
}

fn trunk(name: &str, peer: SocketAddr, more: &str) -> String {
    format!(
        "[[trunk]]\nname = \"{name}\"\npeers = [\"{peer}\"]\nusername = \"4711\"\npassword = \"pw7\"\n{more}\n"
    )
}

/// Ends a call through the gateway.
fn hang_up(caller: &mut Phone, dialog: &mut Dialog, callee: &mut Phone) {
    caller.begin_request(dialog, "BYE", "");
    let bye = callee.expect("BYE");
    callee.respond(&bye, 200, "over", "");
}

const NO_PROBES: &str = "health.probe_interval = \"0s\"\nhealth.probe_interval_down = \"0s\"\n";

fn a_trunk_registers_calls_and_is_called(io: &str) {
    let (mut carrier, mut caller, mut far) =
        (Phone::new("127.0.0.3"), Phone::new("127.0.0.2"), Phone::new("127.0.0.5"));
    let own = format!("--trunk=carrier={},username=4711,password=pw7,register=2m", carrier.address);
    let other = format!("--trunk=other={}", far.address);
    let arguments =
        [&own, &other, "--route=86=carrier", "--route=4711=other", "--workers=2", "--probe-interval=0s"];
    let mut gateway = Gateway::start(io, &arguments);
    let first = carrier.expect("REGISTER");
    assert_eq!(first.0.start, format!("REGISTER sip:{} SIP/2.0", carrier.address));
    assert_eq!(
        (first.0.field("to"), first.0.field("expires")),
        (&*format!("<sip:4711@{}>", carrier.address), "120")
    );
    assert_eq!(first.0.contact(), format!("sip:4711@{}", gateway.sip));
    assert!(first.0.field("supported").contains("path"), "{}", first.0.text);
    // Not registered yet: no call is sent there.
    let call = caller.invite_as("stranger", gateway.sip, "861");
    assert_eq!(caller.final_response(&call, "1 INVITE").status(), Some(503));
    let challenge =
        "WWW-Authenticate: Digest realm=\"carrier\", nonce=\"n1\", qop=\"auth\", algorithm=MD5\r\n";
    carrier.respond_with(&first, 401, "asked", challenge, "");
    let second = carrier.expect("REGISTER");
    let shown = second.0.field("authorization").to_owned();
    let cnonce = shown.split("cnonce=\"").nth(1).unwrap().split('"').next().unwrap();
    let (a1, a2) = (md5("4711:carrier:pw7"), md5(&format!("REGISTER:sip:{}", carrier.address)));
    let response = md5(&format!("{a1}:n1:00000001:{cnonce}:auth:{a2}"));
    assert!(shown.contains(&format!("response=\"{response}\"")), "{shown}");
    // RFC 3261 §8.1.3.5: the same Call-ID, To and From, tag and all.
    for field in ["call-id", "to", "from"] {
        assert_eq!(first.0.field(field), second.0.field(field));
    }
    assert_eq!((first.0.field("cseq"), second.0.field("cseq")), ("1 REGISTER", "2 REGISTER"));
    let more = "Service-Route: <sip:orig@127.0.0.3;lr>, <sip:home.example;lr>\r\nP-Associated-URI: <sip:+8610@carrier>\r\n";
    grant(&mut carrier, &second, 120, more);
    wait_registered(&gateway, "carrier", true);
    let facts = registration(&gateway, "carrier");
    assert_eq!((facts["state"].as_str(), facts["status"].as_u64()), (Some("registered"), Some(200)));
    assert_eq!(facts["associated"][0], "sip:+8610@carrier");
    assert_eq!(registration(&gateway, "other"), serde_json::Value::Null);
    assert_eq!(gateway.metric("trunkline_trunk_registered"), 1.0);
    assert_eq!(gateway.metric("trunkline_trunk_registers_sent_total"), 2.0);
    wait_until("the log says so", || {
        gateway.logged("trunk carrier: registered for 120 s (200 Test)").is_some()
    });

    // RFC 3608 §5: calls go by the service route.
    let sdp = Voice::new(caller.address.ip(), 1).sdp("sendrecv");
    let mut dialog = caller.invite(Way::Udp(gateway.sip), gateway.sip, "8613800", &sdp);
    let invite = carrier.expect("INVITE");
    assert_eq!(invite.0.field("route"), "<sip:orig@127.0.0.3;lr>, <sip:home.example;lr>");
    carrier.respond(&invite, 200, "taken", &Voice::new(carrier.address.ip(), 2).sdp("sendrecv"));
    assert_eq!(caller.answered(&mut dialog).status(), Some(200));
    carrier.expect("ACK");
    hang_up(&mut caller, &mut dialog, &mut carrier);

    // The carrier calls the contact.
    let mut dialog = carrier.invite(Way::Udp(gateway.sip), gateway.sip, "4711", &sdp);
    let invite = far.expect("INVITE");
    assert_eq!((invite.0.number(), invite.0.field("route")), ("4711", ""));
    far.respond(&invite, 200, "taken", &Voice::new(far.address.ip(), 2).sdp("sendrecv"));
    assert_eq!(carrier.answered(&mut dialog).status(), Some(200));
    far.expect("ACK");
    hang_up(&mut carrier, &mut dialog, &mut far);
    assert_eq!(gateway.metric("trunkline_trunk_calls_in_total"), 1.0);

    gateway.signal(Signal::TERM);
    let leaving = carrier.expect("REGISTER");
    assert_eq!((leaving.0.field("expires"), leaving.0.field("cseq")), ("0", "3 REGISTER"));
    assert!(leaving.0.field("authorization").contains("nc=00000002"), "{}", leaving.0.text);
    assert!(gateway.is_running(), "it waits for the answer");
    grant(&mut carrier, &leaving, 0, "");
    assert!(gateway.ended().success());
}

fn a_refused_trunk_is_left_alone(io: &str) {
    let (mut carrier, mut caller) = (Phone::new("127.0.0.3"), Phone::new("127.0.0.2"));
    let text = trunk("carrier", carrier.address, "register = true");
    let (gateway, _) = by_file(io, &format!("{NO_PROBES}{text}"));
    let request = carrier.expect("REGISTER");
    carrier.respond(&request, 403, "no", "");
    wait_until("it is known", || registration(&gateway, "carrier")["state"] == "refused");
    let facts = gateway.trunk("carrier");
    assert_eq!((&facts["state"], &facts["registration"]["status"]), (&"down".into(), &403.into()));
    wait_until("the log says so", || gateway.logged("trunk carrier: registration refused (403 ").is_some());
    let call = caller.invite_as("stranger", gateway.sip, "861");
    assert_eq!(caller.final_response(&call, "1 INVITE").status(), Some(503));
    assert_eq!(gateway.metric("trunkline_trunk_registered"), 0.0);
    assert_eq!(gateway.metric("trunkline_trunk_up"), 0.0);
    assert!(
        carrier.find(Duration::from_millis(1500), |it| it.method() == "REGISTER").is_none(),
        "it hammers"
    );
}

fn a_registrar_that_dies_is_found_again(io: &str) {
    let carrier = Phone::new("127.0.0.3");
    let address = carrier.address;
    drop(carrier);
    let register = "register = { expires = \"10s\", retry_base = \"200ms\", retry_max = \"800ms\" }";
    let text = trunk("carrier", address, register);
    let (gateway, _) = by_file(io, &format!("{NO_PROBES}{text}"));
    // Nobody listens: the network says so, and it is tried again and again, ever later.
    wait_until("failures", || registration(&gateway, "carrier")["failed"].as_u64() >= Some(3));
    assert_eq!(registration(&gateway, "carrier")["state"], "failing");
    let mut carrier = Phone::at(address);
    let request = carrier.expect("REGISTER");
    grant(&mut carrier, &request, 10, "");
    wait_registered(&gateway, "carrier", true);
    let sent = registration(&gateway, "carrier")["sent"].as_u64().unwrap();
    drop(carrier);
    wait_until("the refresh fails", || registration(&gateway, "carrier")["state"] == "failing");
    assert!(registration(&gateway, "carrier")["sent"].as_u64().unwrap() > sent);
    let mut carrier = Phone::at(address);
    let again = carrier.expect("REGISTER");
    assert_eq!(again.0.field("call-id"), request.0.field("call-id"));
    let number = |message: &Message| message.field("cseq").split(' ').next().unwrap().parse::<u32>().unwrap();
    assert!(number(&again.0) > number(&request.0));
    grant(&mut carrier, &again, 10, "");
    wait_until("registered again", || registration(&gateway, "carrier")["state"] == "registered");
}

fn a_reload_registers_and_gives_up(io: &str) {
    let (mut a, mut b) = (Phone::new("127.0.0.3"), Phone::new("127.0.0.4"));
    let only =
        |name: &str, peer: SocketAddr, register: &str| format!("{NO_PROBES}{}", trunk(name, peer, register));
    let (gateway, file) = by_file(io, &only("a", a.address, "register = true"));
    let first = a.expect("REGISTER");
    grant(&mut a, &first, 600, "");
    wait_registered(&gateway, "a", true);
    // The same with another time: the same binding, asked for anew.
    std::fs::write(&file, only("a", a.address, "register = { expires = \"5m\" }")).unwrap();
    gateway.signal(Signal::HUP);
    let second = a.expect("REGISTER");
    assert_eq!(second.0.field("call-id"), first.0.field("call-id"));
    assert_eq!((second.0.field("expires"), second.0.field("cseq")), ("300", "2 REGISTER"));
    assert_eq!(registration(&gateway, "a")["registered"], true);
    grant(&mut a, &second, 300, "");
    wait_until("granted", || registration(&gateway, "a")["granted"] == 2);
    // Nothing changed: nothing is asked.
    gateway.signal(Signal::HUP);
    assert!(a.find(Duration::from_millis(700), |it| it.method() == "REGISTER").is_none());
    // Another trunk in its place.
    std::fs::write(&file, only("b", b.address, "register = true")).unwrap();
    gateway.signal(Signal::HUP);
    let leaving = a.expect("REGISTER");
    assert_eq!((leaving.0.field("expires"), leaving.0.field("call-id")), ("0", first.0.field("call-id")));
    grant(&mut a, &leaving, 0, "");
    let request = b.expect("REGISTER");
    grant(&mut b, &request, 600, "");
    wait_registered(&gateway, "b", true);
    assert!(gateway.logged("trunk a: registration given up").is_some());
}

fn calls_over_the_registered_connection_are_the_carriers(io: &str) {
    let (mut carrier, mut far) = (Phone::new("127.0.0.3"), Phone::new("127.0.0.5"));
    // The carrier registers us elsewhere than where it takes calls.
    let register = format!(
        "register = {{ registrar = \"sip:{};transport=tcp\", retry_base = \"300ms\", called_in = \"to\" }}",
        carrier.address
    );
    let text = format!(
        "{NO_PROBES}allow = [\"127.0.0.88/32\"]\n{}{}[[route]]\nprefix = \"86\"\nto = [\"other\"]\n",
        trunk("carrier", "127.0.0.9:5060".parse().unwrap(), &register),
        trunk("other", far.address, "")
    );
    let (gateway, _) = by_file(io, &text);
    let request = carrier.expect("REGISTER");
    assert!(matches!(request.1, Way::Stream(_)));
    assert_eq!(request.0.contact(), format!("sip:4711@{};transport=tcp", gateway.sip));
    assert!(request.0.field("via").contains(";keep"), "{}", request.0.text);
    grant(&mut carrier, &request, 600, "");
    wait_registered(&gateway, "carrier", true);
    let sdp = Voice::new(carrier.address.ip(), 1).sdp("sendrecv");
    for _ in 0..4 {
        // On whichever shard its Call-ID leads to.
        let mut dialog = carrier.invite_for(request.1, gateway.sip, "4711", "86139", &sdp);
        let invite = far.expect("INVITE");
        assert_eq!(invite.0.number(), "86139", "the number in To");
        far.respond(&invite, 200, "taken", &Voice::new(far.address.ip(), 2).sdp("sendrecv"));
        assert_eq!(carrier.answered(&mut dialog).status(), Some(200));
        far.expect("ACK");
        hang_up(&mut carrier, &mut dialog, &mut far);
    }
    // The same name, but over no connection of ours.
    let stranger = carrier.connect(gateway.sip);
    let mut dialog = carrier.invite(stranger, gateway.sip, "4711", &sdp);
    assert_eq!(carrier.answered(&mut dialog).status(), Some(403));
    // The connection breaks: registered again over a new one.
    carrier.close(request.1);
    let again = carrier.expect("REGISTER");
    assert!(again.1 != request.1 && again.0.field("call-id") == request.0.field("call-id"));
    assert!(gateway.logged("trunk carrier: registration failed (the connection broke)").is_some());
    grant(&mut carrier, &again, 600, "");
    wait_until("registered again", || registration(&gateway, "carrier")["state"] == "registered");
}

/// The gateway's own registrar at the other end: both sides of the digest, and a call each way.
fn a_gateway_registers_at_a_gateway(io: &str) {
    let (mut near, mut far) = (Phone::new("127.0.0.2"), Phone::new("127.0.0.5"));
    let carrier = Gateway::start(
        io,
        &["--user=4711:pw7", &format!("--trunk=far={}", far.address), "--probe-interval=0s", "--workers=2"],
    );
    let mut gateway = Gateway::start(
        io,
        &[
            &format!("--trunk=carrier={},username=4711,password=pw7,register=yes", carrier.sip),
            &format!("--trunk=near={}", near.address),
            "--route=4711=near",
            "--route=86=carrier",
            "--probe-interval=0s",
            "--workers=2",
        ],
    );
    wait_registered(&gateway, "carrier", true);
    assert_eq!(carrier.json("/api/v1/registrations")["registrations"][0]["user"], "4711");
    // In: the carrier's side calls 4711.
    let sdp = Voice::new(far.address.ip(), 1).sdp("sendrecv");
    let mut dialog = far.invite(Way::Udp(carrier.sip), carrier.sip, "4711", &sdp);
    let invite = near.expect("INVITE");
    near.respond(&invite, 200, "taken", &Voice::new(near.address.ip(), 2).sdp("sendrecv"));
    assert_eq!(far.answered(&mut dialog).status(), Some(200));
    near.expect("ACK");
    hang_up(&mut far, &mut dialog, &mut near);
    // Out.
    let mut dialog = near.invite(Way::Udp(gateway.sip), gateway.sip, "8613", &sdp);
    let invite = far.expect("INVITE");
    far.respond(&invite, 200, "taken", &Voice::new(far.address.ip(), 2).sdp("sendrecv"));
    assert_eq!(near.answered(&mut dialog).status(), Some(200));
    far.expect("ACK");
    hang_up(&mut near, &mut dialog, &mut far);
    gateway.signal(Signal::TERM);
    assert!(gateway.ended().success());
    wait_until("the binding is gone", || {
        carrier.json("/api/v1/registrations")["registrations"].as_array().unwrap().is_empty()
    });
}
