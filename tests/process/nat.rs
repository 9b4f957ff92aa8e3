//! Phones behind a NAT: they name private addresses in Via, Contact and SDP, and are reached where they really are.

use crate::gateway::{Gateway, folder, rtp_ports, wait_until};
use crate::phone::{Phone, Way, unique};
use crate::register::User;
use crate::voice::{Voice, meet, talk};
use crate::websocket::{WebSocket, plain};
use std::net::SocketAddr;
use std::time::Duration;

on_both_drivers! {
    calls_in_both_directions_reach_a_phone_behind_a_nat
    a_phone_on_plain_tcp_is_reached_over_its_connection
    a_profile_sends_by_the_contact_alone
    media_finds_phones_behind_nats_and_nobody_else
    phones_are_pinged_and_given_up_and_found_again
    keep_alives_of_phones_are_answered
    the_way_to_a_carrier_is_kept_open
    flows_of_a_phone_are_tried_in_order
}

const HOME: &str = "192.168.1.7:5062";

fn home() -> SocketAddr {
    HOME.parse().unwrap()
}

/// A gateway by a file, with a user `bob`.
fn by_file(io: &str, text: &str, more: &[&str]) -> Gateway {
    let file = folder("nat").join("gateway.toml");
    std::fs::write(&file, text).unwrap();
    let (path, ports) = (file.to_str().unwrap().to_owned(), rtp_ports(240));
    let arguments = ["--config", &path, "--rtp-ports", &ports, "--workers", "2", "--user", "bob:secret2"];
    Gateway::start(io, &[&arguments, more].concat())
}

/// Bob behind a NAT, registered over UDP.
fn bob(gateway: &Gateway) -> User {
    let mut bob = User::new("127.0.0.3", "bob", "secret2");
    bob.phone.claims = Some(home());
    bob.register_contact(gateway.sip, "SHA-256");
    bob
}

/// What `/api/v1/registrations` says of Bob's contacts.
fn contacts(gateway: &Gateway) -> Vec<serde_json::Value> {
    let known = gateway.json("/api/v1/registrations");
    known["registrations"][0]["contacts"].as_array().cloned().unwrap_or_default()
}

fn calls_in_both_directions_reach_a_phone_behind_a_nat(io: &str) {
    let mut carrier = Phone::new("127.0.0.5");
    let trunk = format!("--trunk=carrier={}", carrier.address);
    let gateway = by_file(io, "health.probe_interval = \"0s\"\n", &[&trunk]);
    let mut bob = bob(&gateway);
    let answer = bob.register_contact(gateway.sip, "MD5");
    assert!(answer.field("via").contains(";received=127.0.0.3;rport="), "{}", answer.text);
    assert!(answer.field("contact").starts_with(&format!("<sip:bob@{HOME}>;")), "{}", answer.text);
    wait_until("the registration", || !contacts(&gateway).is_empty());
    let contact = &contacts(&gateway)[0];
    assert_eq!(contact["behind_nat"], true);
    assert_eq!(contact["contact"], format!("sip:bob@{HOME}"));
    assert_eq!(contact["target"], bob.phone.address.to_string());

    // A call to it: ACK, re-INVITE and BYE go where the REGISTER came from, whatever its 200 says.
    let way = Way::Udp(gateway.sip);
    let sdp = Voice::new(carrier.address.ip(), 1).sdp("sendrecv");
    let mut dialog = carrier.invite(way, gateway.sip, "bob", &sdp);
    let invite = bob.phone.expect("INVITE");
    assert_eq!(invite.0.start, format!("INVITE sip:bob@{HOME} SIP/2.0"));
    bob.phone.respond(&invite, 200, "phone", &Voice::new(bob.phone.address.ip(), 2).sdp("sendrecv"));
    assert_eq!(carrier.answered(&mut dialog).status(), Some(200));
    let ack = bob.phone.expect("ACK");
    assert!(ack.0.start.contains(HOME), "{}", ack.0.start);
    carrier.begin_request(&mut dialog, "INVITE", &Voice::new(carrier.address.ip(), 3).sdp("sendonly"));
    let change = bob.phone.expect("INVITE");
    bob.phone.respond(&change, 200, "phone", &Voice::new(bob.phone.address.ip(), 2).sdp("recvonly"));
    assert_eq!(carrier.answered(&mut dialog).status(), Some(200));
    bob.phone.expect("ACK");
    carrier.begin_request(&mut dialog, "BYE", "");
    let bye = bob.phone.expect("BYE");
    bob.phone.respond(&bye, 200, "phone", "");

    // A call from it: the other side hangs up.
    let mut caller = Phone::new("127.0.0.1");
    caller.claims = Some(home());
    let mut dialog = caller.invite(way, gateway.sip, "4420", &sdp);
    let invite = carrier.expect("INVITE");
    carrier.respond(&invite, 200, "taken", &sdp);
    assert_eq!(caller.answered(&mut dialog).status(), Some(200));
    carrier.expect("ACK");
    let mut theirs = carrier.dialog_of(&invite, "taken");
    carrier.begin_request(&mut theirs, "BYE", "");
    let bye = caller.expect("BYE");
    caller.respond(&bye, 200, "", "");
    gateway.wait_calls(0);
    assert_eq!(gateway.metric("trunkline_calls_behind_nat_total"), 1.0);
}

fn a_phone_on_plain_tcp_is_reached_over_its_connection(io: &str) {
    let gateway = by_file(io, "", &[]);
    let mut bob = User::new("127.0.0.3", "bob", "secret2");
    bob.phone.claims = Some(home());
    let way = bob.phone.connect(gateway.sip);
    bob.over = Some((way, "TCP"));
    let fields = format!("Contact: <sip:bob@{HOME};transport=tcp>\r\nExpires: 600\r\n");
    assert_eq!(bob.register(gateway.sip, "SHA-256", &fields).status(), Some(200));
    let mut caller = Phone::new("127.0.0.2");
    for _ in 0..8 {
        let sdp = Voice::new(caller.address.ip(), 1).sdp("sendrecv");
        let mut dialog = caller.invite(Way::Udp(gateway.sip), gateway.sip, "bob", &sdp);
        let invite = bob.phone.expect("INVITE");
        assert_eq!(invite.1, way);
        bob.phone.respond(&invite, 200, "phone", &Voice::new(bob.phone.address.ip(), 2).sdp("sendrecv"));
        assert_eq!(caller.answered(&mut dialog).status(), Some(200));
        assert_eq!(bob.phone.expect("ACK").1, way);
        caller.begin_request(&mut dialog, "BYE", "");
        let bye = bob.phone.expect("BYE");
        assert_eq!(bye.1, way);
        bob.phone.respond(&bye, 200, "phone", "");
    }
    gateway.wait_calls(0);
    assert_eq!(gateway.metric("trunkline_sip_connections_opened_total"), 0.0);
    // Once it is gone nobody is asked at its private address, which may be somebody else's here.
    bob.phone.close(way);
    wait_until("the connection's end", || {
        let call = caller.invite_as("stranger", gateway.sip, "bob");
        caller.final_response(&call, "1 INVITE").status() == Some(480)
    });
    assert_eq!(gateway.metric("trunkline_sip_connections_opened_total"), 0.0);
}

/// `nat = "never"`: a carrier whose Contact is right although it looks like one behind a NAT.
fn a_profile_sends_by_the_contact_alone(io: &str) {
    let mut carrier = Phone::new("127.0.0.5");
    let mut elsewhere = Phone::new("127.0.0.6");
    carrier.claims = Some(elsewhere.address);
    let text = format!(
        "health.probe_interval = \"0s\"\n[nat]\nmode = \"always\"\n[[profile]]\nname = \"plain\"\nnat = \"never\"\n\
         [[trunk]]\nname = \"carrier\"\npeers = [\"{}\"]\nprofile = \"plain\"\n",
        carrier.address
    );
    let gateway = by_file(io, &text, &[]);
    let mut caller = Phone::new("127.0.0.2");
    let sdp = Voice::new(caller.address.ip(), 1).sdp("sendrecv");
    for direction in ["out", "in"] {
        let (a, b, number) = if direction == "out" {
            (&mut caller, &mut carrier, "1")
        } else {
            (&mut carrier, &mut caller, "2")
        };
        if direction == "in" {
            let mut dialog = a.invite(Way::Udp(gateway.sip), gateway.sip, number, &sdp);
            // It comes back to the carrier, the only trunk there is.
            let invite = a.expect("INVITE");
            a.respond(&invite, 486, "busy", "");
            assert_eq!(a.answered(&mut dialog).status(), Some(486));
            continue;
        }
        let mut dialog = a.invite(Way::Udp(gateway.sip), gateway.sip, number, &sdp);
        let invite = b.expect("INVITE");
        b.respond(&invite, 200, "taken", &sdp);
        assert_eq!(a.answered(&mut dialog).status(), Some(200));
        elsewhere.expect("ACK");
        a.begin_request(&mut dialog, "BYE", "");
        let bye = elsewhere.expect("BYE");
        elsewhere.respond(&bye, 200, "taken", "");
        a.final_response(&dialog.call_id.clone(), &format!("{} BYE", dialog.cseq));
    }
    gateway.wait_calls(0);
}

/// Both sides behind NATs that change ports: voice flows whoever speaks first, and whoever guesses ports from elsewhere is
/// not let in.
fn media_finds_phones_behind_nats_and_nobody_else(io: &str) {
    let gateway = by_file(io, "[media]\ntimeout = \"0s\"\n", &[]);
    let mut bob = bob(&gateway);
    let mut caller = Phone::new("127.0.0.2");
    caller.claims = Some("10.1.2.3:5060".parse().unwrap());
    for first in ["caller", "callee"] {
        let mut a = Voice::new(caller.address.ip(), 1);
        let mut b = Voice::new(bob.phone.address.ip(), 2);
        // The port in SDP is not the one that the NAT shows, either.
        let offer = a.sdp_of("10.1.2.3:4000".parse().unwrap(), "sendrecv");
        let answer = b.sdp_of("192.168.1.7:4000".parse().unwrap(), "sendrecv");
        let mut dialog = caller.invite(Way::Udp(gateway.sip), gateway.sip, "bob", &offer);
        let invite = bob.phone.expect("INVITE");
        bob.phone.respond(&invite, 200, "phone", &answer);
        let told = caller.answered(&mut dialog);
        bob.phone.expect("ACK");
        let (a_to, b_to) = (told.audio(), invite.0.audio());
        // A stranger is first at the ports, with a stream as good as any.
        let mut thief = Voice::new("127.0.0.66".parse().unwrap(), 9);
        for _ in 0..10 {
            thief.send(a_to);
            thief.send(b_to);
        }
        let (early, early_to, late, late_to) =
            if first == "caller" { (&mut a, a_to, &mut b, b_to) } else { (&mut b, b_to, &mut a, a_to) };
        for _ in 0..10 {
            early.send(early_to);
            std::thread::sleep(Duration::from_millis(5));
        }
        // The other one's first packets show where it is.
        meet((early, early_to), (late, late_to));
        talk((&mut a, a_to), (&mut b, b_to), 20);
        for _ in 0..10 {
            thief.send(a_to);
            thief.send(b_to);
        }
        talk((&mut a, a_to), (&mut b, b_to), 5);
        thief.hear();
        assert_eq!((a.heard(9), b.heard(9)), (0, 0), "what a stranger says is heard by nobody");
        assert_eq!((thief.heard(1), thief.heard(2)), (0, 0), "and nobody speaks to it");
        caller.begin_request(&mut dialog, "BYE", "");
        let bye = bob.phone.expect("BYE");
        bob.phone.respond(&bye, 200, "phone", "");
        gateway.wait_calls(0);
    }
    // A port that SDP names right is spoken to before anything came from there: the gateway sends first.
    let mut a = Voice::new(caller.address.ip(), 1);
    let mut b = Voice::new(bob.phone.address.ip(), 2);
    let hidden = |port: u16| SocketAddr::new(home().ip(), port);
    let offer = a.sdp_of(hidden(a.port()), "sendrecv");
    let mut dialog = caller.invite(Way::Udp(gateway.sip), gateway.sip, "bob", &offer);
    let invite = bob.phone.expect("INVITE");
    bob.phone.respond(&invite, 200, "phone", &b.sdp_of(hidden(b.port()), "sendrecv"));
    let told = caller.answered(&mut dialog);
    let b_to = invite.0.audio();
    for _ in 0..10 {
        b.send(b_to);
        std::thread::sleep(Duration::from_millis(5));
    }
    wait_until("voice at the silent side", || {
        a.hear();
        a.heard(2) > 0
    });
    meet((&mut a, told.audio()), (&mut b, b_to));
    talk((&mut a, told.audio()), (&mut b, b_to), 5);
    caller.begin_request(&mut dialog, "BYE", "");
    let bye = bob.phone.expect("BYE");
    bob.phone.respond(&bye, 200, "phone", "");
}

fn phones_are_pinged_and_given_up_and_found_again(io: &str) {
    let text = "[nat]\nkeepalive_interval = \"1s\"\nkeepalive_misses = 1\n";
    let gateway = by_file(io, text, &[]);
    let mut bob = bob(&gateway);
    let ping = bob.phone.expect("OPTIONS");
    assert_eq!(ping.0.start, format!("OPTIONS sip:bob@{HOME} SIP/2.0"));
    bob.phone.respond(&ping, 200, "here", "");
    let again = bob.phone.expect("OPTIONS");
    assert_ne!(again.0.field("call-id"), ping.0.field("call-id"));
    // From now on it is silent.
    let is_silent = |wanted: bool| contacts(&gateway).first().is_some_and(|it| it["silent"] == wanted);
    assert!(is_silent(false));
    wait_until("the phone is given up", || is_silent(true));
    assert_eq!(gateway.metric("trunkline_phones_silent_total"), 1.0);
    let mut caller = Phone::new("127.0.0.2");
    let call = caller.invite_as("stranger", gateway.sip, "bob");
    assert_eq!(caller.final_response(&call, "1 INVITE").status(), Some(480));
    bob.phone.leftovers(Duration::from_millis(10));
    wait_until("the phone is found again", || {
        if let Some(ping) = bob.phone.find(Duration::from_millis(50), |message| message.method() == "OPTIONS")
        {
            bob.phone.respond(&ping, 404, "whatever", "");
        }
        is_silent(false)
    });
    assert_eq!(gateway.metric("trunkline_phones_back_total"), 1.0);

    // By line ends: nobody is asked, and nobody given up.
    let gateway = by_file(io, "[nat]\nkeepalive = \"crlf\"\nkeepalive_interval = \"1s\"\n", &[]);
    let bob = self::bob(&gateway);
    let mut phone = bob.phone;
    for _ in 0..2 {
        assert_eq!(phone.raw(Way::Udp(gateway.sip), Duration::from_secs(20)).unwrap(), b"\r\n\r\n");
    }
    assert_eq!(gateway.metric("trunkline_phones_pinged_total"), 0.0);
    wait_until("the figure", || gateway.metric("trunkline_sip_line_ends_sent_total") >= 2.0);
}

fn keep_alives_of_phones_are_answered(io: &str) {
    let text = "allow = [\"127.0.0.2/32\"]\n[guard]\nban_auth_failures = 3\n";
    let gateway = by_file(io, text, &["--ws", "127.0.0.1:0"]);
    let patience = Duration::from_secs(10);
    // RFC 5626 §3.5.1: two line ends are answered with one, on connections.
    let mut phone = Phone::new("127.0.0.2");
    let tcp = phone.connect(gateway.sip);
    phone.send(tcp, "\r\n\r\n");
    assert_eq!(phone.raw(tcp, patience).unwrap(), b"\r\n");
    let socket = WebSocket::open(plain(gateway.address("ws")));
    let ws = phone.take(Box::new(socket), "WS");
    phone.send(ws, "\r\n\r\n");
    assert_eq!(phone.raw(ws, patience).unwrap(), b"\r\n");
    // RFC 5626 §3.5.2: STUN on the SIP port, from whichever worker.
    for source in ["127.0.0.2", "127.0.0.9"] {
        let mut phone = Phone::new(source);
        let request = [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat();
        phone.send_bytes(Way::Udp(gateway.sip), &request);
        let answer = phone.raw(Way::Udp(gateway.sip), patience).unwrap();
        assert_eq!(answer[..4], [1, 1, 0, 12]);
        assert_eq!(answer[4..20], request[4..20]);
        let port = u16::from_be_bytes([answer[26], answer[27]]) ^ 0x2112;
        assert_eq!(port, phone.address.port());
        let key = [0x21, 0x12, 0xa4, 0x42];
        let host: Vec<u8> = answer[28..32].iter().zip(key).map(|(byte, key)| byte ^ key).collect();
        assert_eq!(format!("{}.{}.{}.{}", host[0], host[1], host[2], host[3]), source);
        phone.send_bytes(Way::Udp(gateway.sip), &request[..19]);
        phone.send_bytes(Way::Udp(gateway.sip), &[&request[..], &[0]].concat());
        assert_eq!(phone.raw(Way::Udp(gateway.sip), Duration::from_millis(200)), None);
    }
    assert_eq!(gateway.metric("trunkline_stun_answered_total"), 2.0);
    assert_eq!(gateway.metric("trunkline_stun_dropped_total"), 2.0);
    // Whoever is banned is not answered.
    let mut thief = User::new("127.0.0.4", "bob", "guess");
    for _ in 0..3 {
        assert_eq!(thief.register(gateway.sip, "MD5", "").status(), Some(403));
    }
    wait_until("a ban", || gateway.json("/api/v1/bans")["count"] == 1);
    let request = [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat();
    thief.phone.send_bytes(Way::Udp(gateway.sip), &request);
    assert_eq!(thief.phone.raw(Way::Udp(gateway.sip), Duration::from_millis(300)), None);
    // RFC 6223: who asks whether to keep its way open is told so by a 200, in its Via.
    let mut phone = Phone::new("127.0.0.2");
    let (word, address) = (unique(), phone.address);
    let text = format!(
        "REGISTER sip:{} SIP/2.0\r\nVia: SIP/2.0/UDP {address};rport;keep;branch=z9hG4bK{word}\r\nMax-Forwards: 70\r\n\
         From: <sip:bob@h>;tag=r\r\nTo: <sip:bob@h>\r\nCall-ID: {word}\r\nCSeq: 1 REGISTER\r\nContent-Length: 0\r\n\r\n",
        gateway.sip
    );
    phone.send(Way::Udp(gateway.sip), &text);
    let challenge = phone.final_response(&word, "1 REGISTER");
    assert!(challenge.field("via").contains(";keep;"), "not before it is registered: {}", challenge.text);
}

/// A trunk registers over UDP and learns from the answer that a NAT is on the way.
fn the_way_to_a_carrier_is_kept_open(io: &str) {
    let mut carrier = Phone::new("127.0.0.5");
    let text = format!(
        "health.probe_interval = \"0s\"\n[nat]\ntrunk_keepalive = \"1s\"\n[[trunk]]\nname = \"a\"\npeers = [\"{}\"]\n\
         username = \"4711\"\npassword = \"pw\"\nregister = true\n",
        carrier.address
    );
    let gateway = by_file(io, &text, &[]);
    let mut request = carrier.expect("REGISTER");
    let seen = ";received=203.0.113.7;rport=61000";
    let via = request.0.field("via").replace(";rport", seen);
    request.0 =
        crate::message::Message::read(request.0.text.replace(request.0.field("via"), &via).as_bytes());
    let contact = format!("Contact: <{}>;expires=600\r\n", request.0.contact());
    carrier.respond_with(&request, 200, "granted", &contact, "");
    let mut ends = 0;
    while ends < 2 {
        // A busy machine repeats its REGISTER.
        let bytes = carrier.raw(Way::Udp(gateway.sip), Duration::from_secs(20)).unwrap();
        assert!(bytes == b"\r\n\r\n" || bytes.starts_with(b"REGISTER"), "{bytes:?}");
        ends += usize::from(bytes == b"\r\n\r\n");
    }
}

/// RFC 5626: two flows of one phone. A call comes by the one registered last; when that is gone, by the other; what the phone
/// says by one is not asked again by the other.
fn flows_of_a_phone_are_tried_in_order(io: &str) {
    let gateway = by_file(io, "", &[]);
    let mut bob = User::new("127.0.0.3", "bob", "secret2");
    bob.phone.claims = Some(home());
    let mut ways = Vec::new();
    for reg_id in [1, 2] {
        let way = bob.phone.connect(gateway.sip);
        (bob.over, bob.call_id) = (Some((way, "TCP")), unique());
        ways.push(way);
        let fields = format!(
            "Require: outbound\r\nSupported: path, outbound\r\nContact: <sip:bob@{HOME};transport=tcp;ob>;reg-id={reg_id};\
             +sip.instance=\"<urn:uuid:00000000-0000-1000-8000-000A95A0E128>\";expires=600\r\n"
        );
        let answer = bob.register(gateway.sip, "SHA-256", &fields);
        assert_eq!(answer.status(), Some(200), "{}", answer.text);
        assert_eq!((answer.field("require"), answer.field("flow-timer")), ("outbound", "60"));
        let listed = answer.copied("contact", "m");
        assert_eq!(listed.lines().count(), reg_id, "{listed}");
        assert!(listed.contains(&format!(";reg-id={reg_id};+sip.instance=\"<urn:uuid:0000")), "{listed}");
    }
    let mut caller = Phone::new("127.0.0.2");
    let sdp = Voice::new(caller.address.ip(), 1).sdp("sendrecv");
    let mut dialog = caller.invite(Way::Udp(gateway.sip), gateway.sip, "bob", &sdp);
    let invite = bob.phone.expect("INVITE");
    assert_eq!(invite.1, ways[1]);
    bob.phone.respond(&invite, 486, "busy", "");
    bob.phone.expect("ACK");
    assert_eq!(caller.answered(&mut dialog).status(), Some(486), "the phone was asked once");
    bob.phone.close(ways[1]);
    for _ in 0..4 {
        let mut dialog = caller.invite(Way::Udp(gateway.sip), gateway.sip, "bob", &sdp);
        let invite = bob.phone.expect("INVITE");
        assert_eq!(invite.1, ways[0], "by the older flow");
        bob.phone.respond(&invite, 486, "busy", "");
        assert_eq!(caller.answered(&mut dialog).status(), Some(486));
    }
    // RFC 5626 §6: what came through a proxy that knows nothing of flows is refused.
    let mut far = User::new("127.0.0.3", "bob", "secret2");
    let through = "Via: SIP/2.0/UDP 10.9.9.9;branch=z9hG4bKfar\r\nSupported: outbound\r\n\
        Contact: <sip:bob@10.9.9.9>;reg-id=1;+sip.instance=\"<urn:uuid:1>\"\r\n";
    let refused = far.register(gateway.sip, "SHA-256", through);
    assert_eq!(refused.start, "SIP/2.0 439 First Hop Lacks Outbound Support");
}
