//! Phones behind proxies that want to stay on the way (Path, RFC 3327), phones that know few algorithms, and registrations that
//! come more than once.

use crate::gateway::{Gateway, folder, wait_until};
use crate::message::Message;
use crate::phone::{Phone, Way, unique};
use crate::register::{User, nonce};
use crate::voice::Voice;
use std::net::SocketAddr;
use std::time::Duration;

on_both_drivers! {
    a_call_goes_by_the_proxies_of_the_path
    a_path_over_tcp_is_a_place_to_connect_to
    a_strict_proxy_finds_itself_in_the_request_uri
    a_path_outlives_a_restart
    a_path_is_bounded_and_for_those_who_know_of_it
    phones_are_asked_with_what_they_can_answer
    what_is_not_among_the_algorithms_is_never_offered
    a_register_that_comes_again_is_answered_the_same
    a_flow_that_was_closed_is_forgotten
    a_flow_that_failed_at_its_proxy_is_replaced_by_the_other
}

const BOB: [&str; 2] = ["--user", "bob:secret2"];

fn start(io: &str, config: &str) -> Gateway {
    let file = folder("phones").join("gateway.toml");
    std::fs::write(&file, config).unwrap();
    let more = ["--workers", "2", "--config", file.to_str().unwrap()];
    Gateway::start(io, &[&BOB[..], &more[..]].concat())
}

/// Registers bob by a proxy at `proxy`: with its Via on top, from its address, as the proxy would have it.
fn register_by(user: &mut User, gateway: SocketAddr, path: &str, contact: &str) -> Message {
    let fields = format!(
        "Via: SIP/2.0/UDP 10.9.9.9;branch=z9hG4bK{}\r\nSupported: path\r\n{path}Contact: {contact}\r\nExpires: 600\r\n",
        unique()
    );
    user.register(gateway, "SHA-256", &fields)
}

/// A call to bob that is answered at `proxy`, and ended; the INVITE.
fn call_by(gateway: SocketAddr, proxy: &mut Phone) -> (Message, Way) {
    let mut caller = Phone::new("127.0.0.2");
    let sdp = Voice::new(caller.address.ip(), 1).sdp("sendrecv");
    let mut dialog = caller.invite(Way::Udp(gateway), gateway, "bob", &sdp);
    let invite = proxy.expect("INVITE");
    let record = format!("Record-Route: <sip:{};lr>\r\n", proxy.address);
    proxy.respond_with(&invite, 200, "phone", &record, &Voice::new(proxy.address.ip(), 2).sdp("sendrecv"));
    assert_eq!(caller.answered(&mut dialog).status(), Some(200));
    proxy.expect("ACK");
    caller.begin_request(&mut dialog, "BYE", "");
    let bye = proxy.expect("BYE");
    proxy.respond(&bye, 200, "phone", "");
    invite
}

/// RFC 3327 §5.3 with the flow of §5.5: INVITE, its CANCEL and the ACK of a refusal, MESSAGE and SUBSCRIBE.
fn a_call_goes_by_the_proxies_of_the_path(io: &str) {
    let gateway = start(io, "");
    let mut edge = User::new("127.0.0.3", "bob", "secret2");
    let path = format!("<sip:token@{};lr>, <sip:core.example;lr;x=1>", edge.phone.address);
    let answer =
        register_by(&mut edge, gateway.sip, &format!("Path: {path}\r\n"), "<sip:bob@10.1.2.3:5062>;q=0.5");
    assert_eq!(answer.status(), Some(200), "{}", answer.text);
    assert_eq!((answer.field("path"), answer.field("supported")), (path.as_str(), "path, outbound, gruu"));
    let mut known = serde_json::Value::Null;
    wait_until("the registration", || {
        known = gateway.json("/api/v1/registrations");
        !known["registrations"].as_array().unwrap().is_empty()
    });
    let contact = &known["registrations"][0]["contacts"][0];
    assert_eq!((&contact["path"], &contact["behind_nat"]), (&path.clone().into(), &false.into()), "{known}");
    assert_eq!(contact["target"], edge.phone.address.to_string());

    for _ in 0..3 {
        let (invite, _) = call_by(gateway.sip, &mut edge.phone);
        assert_eq!(invite.start, "INVITE sip:bob@10.1.2.3:5062 SIP/2.0");
        assert_eq!(invite.field("route"), path);
    }
    // Refused, and taken back.
    let mut caller = Phone::new("127.0.0.2");
    let sdp = Voice::new(caller.address.ip(), 1).sdp("sendrecv");
    let mut dialog = caller.invite(Way::Udp(gateway.sip), gateway.sip, "bob", &sdp);
    let invite = edge.phone.expect("INVITE");
    edge.phone.respond(&invite, 486, "phone", "");
    assert_eq!(edge.phone.expect("ACK").0.field("route"), path, "RFC 3261 §17.1.1.3");
    assert_eq!(caller.answered(&mut dialog).status(), Some(486));
    let dialog = caller.invite(Way::Udp(gateway.sip), gateway.sip, "bob", &sdp);
    let invite = edge.phone.expect("INVITE");
    edge.phone.respond(&invite, 180, "phone", "");
    caller.response(&dialog, 180);
    caller.cancel(&dialog);
    let cancel = edge.phone.expect("CANCEL");
    assert_eq!(cancel.0.field("route"), path, "RFC 3261 §9.1");
    edge.phone.respond(&cancel, 200, "phone", "");
    edge.phone.respond(&invite, 487, "phone", "");
    // Outside of calls.
    for method in ["MESSAGE", "SUBSCRIBE"] {
        let word = unique();
        let text = format!(
            "{method} sip:bob@{gateway} SIP/2.0\r\nVia: SIP/2.0/UDP {from};rport;branch=z9hG4bK{word}\r\nMax-Forwards: 70\r\n\
             From: <sip:4711@{from}>;tag={word}\r\nTo: <sip:bob@{gateway}>\r\nCall-ID: {word}\r\nCSeq: 1 {method}\r\n\
             Contact: <sip:4711@{from}>\r\nEvent: dialog\r\nExpires: 60\r\nContent-Length: 0\r\n\r\n",
            gateway = gateway.sip,
            from = caller.address,
        );
        caller.send(Way::Udp(gateway.sip), &text);
        let got = edge.phone.expect(method);
        assert_eq!(got.0.start, format!("{method} sip:bob@10.1.2.3:5062 SIP/2.0"));
        assert_eq!(got.0.field("route"), path);
        edge.phone.respond(&got, 480, "phone", "");
        assert_eq!(caller.final_response(&word, &format!("1 {method}")).status(), Some(480));
    }
}

/// The first proxy names TCP: requests go there by a connection of ours, whatever became of the one that the REGISTER came over.
fn a_path_over_tcp_is_a_place_to_connect_to(io: &str) {
    let gateway = start(io, "");
    let mut edge = User::new("127.0.0.3", "bob", "secret2");
    let way = edge.phone.connect(gateway.sip);
    edge.over = Some((way, "TCP"));
    let path = format!("<sip:{};transport=tcp;lr>", edge.phone.address);
    let answer = register_by(&mut edge, gateway.sip, &format!("Path: {path}\r\n"), "<sip:bob@10.1.2.3>");
    assert_eq!(answer.status(), Some(200), "{}", answer.text);
    edge.phone.close(way);
    for _ in 0..3 {
        let invite = call_by(gateway.sip, &mut edge.phone);
        assert!(matches!(invite.1, Way::Stream(_)) && invite.1 != way);
        assert_eq!(invite.0.field("route"), path);
    }
    // A name is not looked up: who passed the REGISTER on is asked.
    let mut named = User::new("127.0.0.4", "bob", "secret2");
    let path = "<sip:edge.example;lr>";
    let star = named.register(gateway.sip, "SHA-256", "Contact: *\r\nExpires: 0\r\n");
    assert_eq!(star.status(), Some(200), "{}", star.text);
    let answer = register_by(&mut named, gateway.sip, &format!("Path: {path}\r\n"), "<sip:bob@10.1.2.4>");
    assert_eq!(answer.status(), Some(200), "{}", answer.text);
    assert_eq!(call_by(gateway.sip, &mut named.phone).0.field("route"), path);
}

/// RFC 3261 §16.6 step 6.
fn a_strict_proxy_finds_itself_in_the_request_uri(io: &str) {
    let gateway = start(io, "");
    let mut edge = User::new("127.0.0.3", "bob", "secret2");
    let path = format!("Path: <sip:strict@{}>\r\nPath: <sip:next.example;lr>\r\n", edge.phone.address);
    assert_eq!(register_by(&mut edge, gateway.sip, &path, "<sip:bob@10.1.2.3>").status(), Some(200));
    let (invite, _) = call_by(gateway.sip, &mut edge.phone);
    assert_eq!(invite.start, format!("INVITE sip:strict@{} SIP/2.0", edge.phone.address));
    assert_eq!(invite.field("route"), "<sip:next.example;lr>, <sip:bob@10.1.2.3>");
}

fn a_path_outlives_a_restart(io: &str) {
    let data = folder("paths");
    let mut gateway = Gateway::start_at(io, &["127.0.0.1:0"], "127.0.0.1:0", data.clone(), &BOB);
    let sip = gateway.sip;
    let mut edge = User::new("127.0.0.3", "bob", "secret2");
    let path = format!("<sip:{};lr>", edge.phone.address);
    let answer = register_by(&mut edge, sip, &format!("Path: {path}\r\n"), "<sip:bob@10.1.2.3>");
    assert_eq!(answer.status(), Some(200), "{}", answer.text);
    wait_until("the registration is on disk", || {
        gateway.metric("trunkline_control_writes_waiting") == 0.0
            && !gateway.json("/api/v1/registrations")["registrations"].as_array().unwrap().is_empty()
    });
    gateway.kill();
    let gateway = Gateway::start_at(io, &[&sip.to_string()], "127.0.0.1:0", data, &BOB);
    // Control tells the shards right after they have started.
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(call_by(gateway.sip, &mut edge.phone).0.field("route"), path);
}

/// RFC 3327 §5.3: 420 where the phone does not know of it; what is too long is refused with a word why.
fn a_path_is_bounded_and_for_those_who_know_of_it(io: &str) {
    let mut gateway = start(io, "");
    let mut edge = User::new("127.0.0.3", "bob", "secret2");
    let contact = "Contact: <sip:bob@10.1.2.3>\r\n";
    let refused = edge.register(gateway.sip, "SHA-256", &format!("Path: <sip:p;lr>\r\n{contact}"));
    assert_eq!((refused.status(), refused.field("unsupported")), (Some(420), "path"), "{}", refused.text);
    let required = format!("Require: path\r\nPath: <sip:p;lr>\r\n{contact}");
    assert_eq!(edge.register(gateway.sip, "SHA-256", &required).status(), Some(200));
    let long = format!("Supported: path\r\n{}{contact}", "Path: <sip:p;lr>\r\n".repeat(9));
    let refused = edge.register(gateway.sip, "SHA-256", &long);
    assert_eq!(refused.status(), Some(403), "{}", refused.text);
    assert!(
        refused.field("warning").ends_with("\"more than 8 Path values or 1024 bytes\""),
        "{}",
        refused.text
    );
    let broken = format!("Supported: path\r\nPath: <tel:1>\r\n{contact}");
    assert_eq!(edge.register(gateway.sip, "SHA-256", &broken).status(), Some(400));
    assert_eq!(gateway.metric("trunkline_registers_path_refused_total"), 2.0);
    gateway.kill();
    let gateway = start(io, "registrar.path = \"any\"\n");
    let mut edge = User::new("127.0.0.3", "bob", "secret2");
    let taken = edge.register(gateway.sip, "SHA-256", &format!("Path: <sip:p;lr>\r\n{contact}"));
    assert_eq!((taken.status(), taken.field("path")), (Some(200), "<sip:p;lr>"), "{}", taken.text);
}

/// The algorithms of a 401, in their order.
fn offered(challenge: &Message) -> Vec<String> {
    assert_eq!(challenge.status(), Some(401), "{}", challenge.text);
    let all = challenge.copied("www-authenticate", "W");
    let algorithm = |line: &str| Some(line.split("algorithm=").nth(1)?.split(',').next()?.to_owned());
    all.lines().filter_map(algorithm).collect()
}

fn phones_are_asked_with_what_they_can_answer(io: &str) {
    let gateway = start(io, "");
    let uri = format!("sip:{}", gateway.sip);
    let mut bob = User::new("127.0.0.3", "bob", "secret2");
    let fields = format!("Contact: {}\r\n", bob.contact());
    // RFC 8760 §2.4: the preferred one first, to a phone that takes it.
    assert_eq!(offered(&bob.send(gateway.sip, &fields)), ["SHA-256", "MD5"]);
    (bob.agent, bob.call_id) = ("User-Agent: baresip v1.0.0 (x86_64/Linux)\r\n", unique());
    let first = bob.send(gateway.sip, &fields);
    assert_eq!(offered(&first), ["MD5"]);
    // It asks once more under the same Call-ID: it did not like that.
    assert_eq!(offered(&bob.send(gateway.sip, &fields)), ["SHA-256", "MD5"]);
    assert_eq!(offered(&bob.send(gateway.sip, &fields)), ["MD5"]);
    let shown = bob.digest("MD5", &nonce(&first, "MD5")).field("REGISTER", &uri);
    assert_eq!(bob.send(gateway.sip, &format!("{fields}{shown}")).status(), Some(200));
    // What was good is used up; the phone is asked for what it knows.
    let stale = bob.send(gateway.sip, &format!("{fields}{shown}"));
    assert_eq!(offered(&stale), ["MD5"]);
    assert!(stale.text.contains("stale=true"), "{}", stale.text);
    // One that shows a stronger algorithm can choose, whatever it is called and however often it asks.
    (bob.agent, bob.call_id) = ("", unique());
    let shown = bob.digest("SHA-256", "made up").field("REGISTER", &uri);
    for _ in 0..3 {
        let challenge = bob.send(gateway.sip, &format!("{fields}{shown}"));
        assert_eq!(offered(&challenge), ["SHA-256", "MD5"]);
    }
    // What it was not asked with is as good: the phone may know that we take it.
    bob.call_id = unique();
    let challenge = bob.send(gateway.sip, &fields);
    assert_eq!(offered(&challenge), ["MD5"]);
    let shown = bob.digest("SHA-256", &nonce(&challenge, "MD5")).field("REGISTER", &uri);
    assert_eq!(bob.send(gateway.sip, &format!("{fields}{shown}")).status(), Some(200));
}

fn what_is_not_among_the_algorithms_is_never_offered(io: &str) {
    let agents = ["", "User-Agent: baresip v1.0.0\r\n", "User-Agent: Linphone\r\n"];
    for (config, expected) in [
        ("registrar.algorithms = [\"SHA-256\"]\n", &["SHA-256"][..]),
        ("registrar.algorithms = [\"MD5\"]\n", &["MD5"]),
        ("[registrar]\nalgorithms = [\"MD5\", \"SHA-256\"]\noffer = \"all\"\n", &["MD5", "SHA-256"]),
    ] {
        let gateway = start(io, config);
        let mut bob = User::new("127.0.0.3", "bob", "secret2");
        let uri = format!("sip:{}", gateway.sip);
        for agent in agents {
            (bob.agent, bob.call_id) = (agent, unique());
            for _ in 0..3 {
                assert_eq!(offered(&bob.send(gateway.sip, "")), expected, "{agent} {config}");
            }
            if expected == ["SHA-256"] {
                let given = nonce(&bob.send(gateway.sip, ""), "SHA-256");
                let weak = bob.digest("MD5", &given).field("REGISTER", &uri);
                assert_eq!(offered(&bob.send(gateway.sip, &weak)), expected, "MD5 is not taken");
            }
        }
    }
}

/// RFC 3261 §17.2.2: the same answer to the same request, whatever else has happened; §8.2.7 for the one that is asked.
fn a_register_that_comes_again_is_answered_the_same(io: &str) {
    let gateway = start(io, "");
    let mut bob = User::new("127.0.0.3", "bob", "secret2");
    let (host, uri) = (bob.phone.host(), format!("sip:{}", gateway.sip));
    let contact = bob.contact();
    let send = |bob: &mut User, cseq: u32, branch: &str, keep: &str, shown: &str| {
        let text = format!(
            "REGISTER {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {};rport;branch=z9hG4bK{branch}{keep}\r\nMax-Forwards: 70\r\n\
             From: <sip:bob@{host}>;tag=r\r\nTo: <sip:bob@{host}>\r\nCall-ID: again\r\nCSeq: {cseq} REGISTER\r\n\
             Contact: {contact}\r\n{shown}Content-Length: 0\r\n\r\n",
            bob.phone.address
        );
        bob.phone.forget();
        bob.phone.send(Way::Udp(gateway.sip), &text);
        bob.phone.final_response("again", &format!("{cseq} REGISTER"))
    };
    let (one, two) = (unique(), unique());
    let first = send(&mut bob, 1, &one, "", "");
    let again = send(&mut bob, 1, &one, "", "");
    assert_eq!((first.tag("to"), again.status()), (again.tag("to"), Some(401)), "RFC 3261 §8.2.7");
    let shown = bob.digest("MD5", &nonce(&first, "MD5")).field("REGISTER", &uri);
    let done = send(&mut bob, 2, &two, ";keep", &shown);
    assert_eq!(done.status(), Some(200), "{}", done.text);
    assert!(done.field("via").contains(";keep=60"), "{}", done.text);
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(
        send(&mut bob, 2, &two, ";keep", &shown).text,
        done.text,
        "to the letter, though a second is over"
    );
    assert_eq!(gateway.metric("trunkline_auth_replayed_total"), 0.0, "it is no replay");
    // By another way (RFC 3261 §8.2.2.2).
    assert_eq!(send(&mut bob, 2, &unique(), "", &shown).status(), Some(482));
    assert_eq!(gateway.metric("trunkline_sip_transactions"), 1.0, "what was asked has left nothing");
}

/// What a phone says of one of its flows (RFC 5626 §4.2).
fn flow(reg_id: u32) -> String {
    format!("reg-id={reg_id};+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-000A95A0E128>\";expires=600")
}

fn contacts(gateway: &Gateway) -> Vec<serde_json::Value> {
    let known = gateway.json("/api/v1/registrations");
    let users = known["registrations"].as_array().unwrap();
    users.iter().flat_map(|user| user["contacts"].as_array().unwrap().clone()).collect()
}

/// RFC 5626: the binding of a flow goes with its connection, the phone's other one stays and is used.
fn a_flow_that_was_closed_is_forgotten(io: &str) {
    let gateway = start(io, "");
    let mut bob = User::new("127.0.0.3", "bob", "secret2");
    let mut ways = Vec::new();
    for reg_id in [1, 2] {
        let way = bob.phone.connect(gateway.sip);
        (bob.over, bob.call_id) = (Some((way, "TCP")), unique());
        let fields =
            format!("Supported: path, outbound\r\nContact: <sip:bob@h.invalid>;{}\r\n", flow(reg_id));
        assert_eq!(bob.register(gateway.sip, "SHA-256", &fields).status(), Some(200));
        ways.push(way);
    }
    wait_until("two flows", || contacts(&gateway).len() == 2);
    bob.phone.close(ways[1]);
    wait_until("one flow", || contacts(&gateway).len() == 1);
    assert_eq!(contacts(&gateway)[0]["reg_id"], 1);
    assert_eq!(gateway.metric("trunkline_registrations_flow_lost_total"), 1.0);
    let mut caller = Phone::new("127.0.0.2");
    for _ in 0..4 {
        let mut dialog = caller.invite(Way::Udp(gateway.sip), gateway.sip, "bob", "");
        let invite = bob.phone.expect("INVITE");
        assert_eq!(invite.1, ways[0]);
        bob.phone.respond(&invite, 486, "busy", "");
        assert_eq!(caller.answered(&mut dialog).status(), Some(486));
    }
    bob.phone.close(ways[0]);
    wait_until("no flow", || contacts(&gateway).is_empty());
    let mut dialog = caller.invite(Way::Udp(gateway.sip), gateway.sip, "bob", "");
    assert_eq!(caller.answered(&mut dialog).status(), Some(480));
}

/// RFC 5626 §7 and §11.5: 430 of an edge proxy, or 408, and the other flow of the same phone is tried; anything else is the
/// phone's own answer. Whoever called never sees 430.
fn a_flow_that_failed_at_its_proxy_is_replaced_by_the_other(io: &str) {
    let gateway = start(io, "");
    let mut edges: Vec<User> =
        ["127.0.0.3", "127.0.0.4"].map(|host| User::new(host, "bob", "secret2")).into_iter().collect();
    for (edge, reg_id) in edges.iter_mut().zip(1..) {
        let fields = format!(
            "Via: SIP/2.0/UDP 10.9.9.9;branch=z9hG4bK{}\r\nSupported: path, outbound\r\n\
             Path: <sip:flow{reg_id}@{};lr;ob>\r\nContact: <sip:bob@10.1.2.3>;{}\r\n",
            unique(),
            edge.phone.address,
            flow(reg_id),
        );
        let answer = edge.register(gateway.sip, "SHA-256", &fields);
        assert_eq!((answer.status(), answer.field("require")), (Some(200), "outbound"), "{}", answer.text);
    }
    let mut caller = Phone::new("127.0.0.2");
    // The flow registered last is the first; what each edge says, and what the caller hears of it.
    for (said, heard) in [([430, 486], 486), ([408, 603], 603), ([430, 430], 480), ([486, 0], 486)] {
        let mut dialog = caller.invite(Way::Udp(gateway.sip), gateway.sip, "bob", "");
        for (edge, status) in edges.iter_mut().rev().zip(said).filter(|(_, status)| *status > 0) {
            let invite = edge.phone.expect("INVITE");
            edge.phone.respond(&invite, status, "edge", "");
            edge.phone.expect("ACK");
        }
        assert_eq!(caller.answered(&mut dialog).status(), Some(heard), "{said:?}");
        let word = unique();
        let text = format!(
            "MESSAGE sip:bob@{gateway} SIP/2.0\r\nVia: SIP/2.0/UDP {from};rport;branch=z9hG4bK{word}\r\nMax-Forwards: 70\r\n\
             From: <sip:4711@{from}>;tag={word}\r\nTo: <sip:bob@{gateway}>\r\nCall-ID: {word}\r\nCSeq: 1 MESSAGE\r\n\
             Content-Length: 0\r\n\r\n",
            gateway = gateway.sip,
            from = caller.address,
        );
        caller.send(Way::Udp(gateway.sip), &text);
        for (edge, status) in edges.iter_mut().rev().zip(said).filter(|(_, status)| *status > 0) {
            let message = edge.phone.expect("MESSAGE");
            edge.phone.respond(&message, status, "edge", "");
        }
        assert_eq!(caller.final_response(&word, "1 MESSAGE").status(), Some(heard), "{said:?}");
    }
    for edge in &mut edges {
        assert!(edge.phone.leftovers(Duration::from_millis(50)).is_empty());
    }
}
