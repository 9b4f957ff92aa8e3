//! Requests too large for a datagram (RFC 3261 §18.1.1): over TCP, over UDP where nobody takes a connection, and taken in
//! whole when they come in a datagram.

use crate::gateway::{Gateway, folder, rtp_ports};
use crate::phone::{Phone, Way};
use crate::voice::Voice;
use std::net::UdpSocket;
use std::time::Duration;

on_both_drivers! {
    a_large_invite_goes_over_tcp_and_back_to_udp_where_nobody_listens
    a_trunk_may_want_datagrams_whatever_their_size
    a_large_datagram_is_taken_in_whole
    a_large_ack_goes_over_tcp_and_back_to_udp_where_nobody_listens
}

/// More header fields than a datagram should hold.
fn ballast() -> String {
    (0..10).map(|number| format!("X-Ballast-{number}: {}\r\n", "b".repeat(180))).collect()
}

fn start(io: &str, trunks: &str) -> Gateway {
    let path = folder("large").join("gateway.toml");
    let profiles = "[[profile]]\nname = \"p\"\nheaders.pass = [\"X-*\"]\n\
        [[profile]]\nname = \"udp\"\nbase = \"p\"\nlarge_requests = \"udp\"\n[health]\nprobe_interval = \"0s\"\n";
    std::fs::write(&path, format!("{profiles}{trunks}")).unwrap();
    let ports = rtp_ports(40);
    Gateway::start(io, &["--config", path.to_str().unwrap(), "--workers", "1", "--rtp-ports", &ports])
}

fn trunk(name: &str, peer: std::net::SocketAddr, profile: &str) -> String {
    format!(
        "[[trunk]]\nname = \"{name}\"\npeers = [\"{peer}\"]\nprofile = \"{profile}\"\n\
         [[route]]\nprefix = \"{name}\"\nto = [\"{name}\"]\n"
    )
}

fn a_large_invite_goes_over_tcp_and_back_to_udp_where_nobody_listens(io: &str) {
    let mut open = Phone::new("127.0.0.1");
    let closed = UdpSocket::bind("127.0.0.2:0").unwrap();
    closed.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let trunks = [trunk("1", open.address, "p"), trunk("2", closed.local_addr().unwrap(), "p")].concat();
    let gateway = start(io, &trunks);
    let mut caller = Phone::new("127.0.0.1");
    let sdp = Voice::new(caller.address.ip(), 1).sdp("sendrecv");
    let way = Way::Udp(gateway.sip);
    let mut call = caller.invite_with(way, gateway.sip, "1000", &ballast(), &sdp);
    let invite = open.expect("INVITE");
    assert!(matches!(invite.1, Way::Stream(_)), "{}", invite.0.start);
    assert!(
        invite.0.text.len() > 1300 && invite.0.field("via").starts_with("SIP/2.0/TCP "),
        "{}",
        invite.0.text
    );
    open.respond(&invite, 200, "large", &sdp);
    assert_eq!(caller.answered(&mut call).status(), Some(200));
    // What is small goes on over UDP.
    let ack = open.expect("ACK");
    caller.begin_request(&mut call, "BYE", "");
    let bye = open.expect("BYE");
    assert!(matches!((ack.1, bye.1), (Way::Udp(_), Way::Udp(_))) || bye.1 == invite.1, "{}", bye.0.text);
    open.respond(&bye, 200, "large", "");
    // Nobody takes connections at the other one.
    for count in 1..=2 {
        let call = caller.invite_with(way, gateway.sip, "2000", &ballast(), &sdp);
        let mut packet = vec![0; 65_536];
        let (length, _) = closed.recv_from(&mut packet).expect("the INVITE in a datagram");
        let text = String::from_utf8_lossy(&packet[..length]).into_owned();
        assert!(text.starts_with("INVITE ") && text.contains("\r\nVia: SIP/2.0/UDP "), "{count}: {text}");
        caller.cancel(&call);
    }
    assert_eq!(gateway.metric("trunkline_sip_large_back_to_udp_total"), 1.0, "the second time it is known");
    assert!(gateway.metric("trunkline_sip_large_over_tcp_total") >= 2.0);
}

/// RFC 3261 §18.1.1 of an ACK that bears an answer; nobody tells that it did not arrive but the 2xx, which comes again.
fn a_large_ack_goes_over_tcp_and_back_to_udp_where_nobody_listens(io: &str) {
    let mut open = Phone::new("127.0.0.1");
    let closed = UdpSocket::bind("127.0.0.2:0").unwrap();
    closed.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let trunks = [trunk("1", open.address, "p"), trunk("2", closed.local_addr().unwrap(), "p")].concat();
    let gateway = start(io, &trunks);
    let mut caller = Phone::new("127.0.0.1");
    let sdp = Voice::new(caller.address.ip(), 1).sdp("sendrecv");
    let large = format!("{sdp}{}", format!("a=x-ballast:{}\r\n", "b".repeat(180)).repeat(10));
    let way = Way::Udp(gateway.sip);
    // The callee makes the offer: the caller's answer is in the ACK.
    let mut call = caller.invite_with(way, gateway.sip, "1000", "", "");
    let invite = open.expect("INVITE");
    assert!(matches!(invite.1, Way::Udp(_)), "{}", invite.0.start);
    open.respond(&invite, 200, "large", &sdp);
    let offer = caller.final_response(&call.call_id.clone(), "1 INVITE");
    (call.remote, call.target) = (offer.field("to").to_owned(), offer.contact().to_owned());
    caller.ack(&call, &large);
    let ack = open.expect("ACK");
    assert!(matches!(ack.1, Way::Stream(_)), "{}", ack.0.start);
    assert!(
        ack.0.field("via").starts_with("SIP/2.0/TCP ") && ack.0.body.contains("x-ballast"),
        "{}",
        ack.0.text
    );
    caller.begin_request(&mut call, "BYE", "");
    let bye = open.expect("BYE");
    open.respond(&bye, 200, "large", "");
    // Nobody takes connections at the other one.
    let mut call = caller.invite_with(way, gateway.sip, "2000", "", "");
    let mut packet = vec![0; 65_536];
    let mut receive = |wanted: &str| loop {
        let (length, from) = closed.recv_from(&mut packet).expect("a datagram");
        let text = String::from_utf8_lossy(&packet[..length]).into_owned();
        if text.starts_with(wanted) {
            return (text, from);
        }
    };
    let (invite, from) = receive("INVITE ");
    let field = |name: &str| {
        let line = invite.lines().find(|line| line.starts_with(name)).unwrap();
        format!("{line}\r\n")
    };
    let to = field("To: ").replace("\r\n", ";tag=closed\r\n");
    let answer = format!(
        "SIP/2.0 200 OK\r\n{}{}{to}{}{}Contact: <sip:c@{}>\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
        field("Via: "),
        field("From: "),
        field("Call-ID: "),
        field("CSeq: "),
        closed.local_addr().unwrap(),
        sdp.len()
    );
    closed.send_to(answer.as_bytes(), from).unwrap();
    let offer = caller.final_response(&call.call_id.clone(), "1 INVITE");
    (call.remote, call.target) = (offer.field("to").to_owned(), offer.contact().to_owned());
    caller.ack(&call, &large);
    std::thread::sleep(Duration::from_millis(300));
    closed.send_to(answer.as_bytes(), from).unwrap();
    let (ack, _) = receive("ACK ");
    assert!(ack.contains("\r\nVia: SIP/2.0/UDP ") && ack.contains("x-ballast"), "{ack}");
    assert_eq!(gateway.metric("trunkline_sip_large_back_to_udp_total"), 1.0);
    caller.begin_request(&mut call, "BYE", "");
    receive("BYE ");
}

fn a_trunk_may_want_datagrams_whatever_their_size(io: &str) {
    let mut callee = Phone::new("127.0.0.1");
    let gateway = start(io, &trunk("1", callee.address, "udp"));
    let mut caller = Phone::new("127.0.0.1");
    let sdp = Voice::new(caller.address.ip(), 1).sdp("sendrecv");
    let call = caller.invite_with(Way::Udp(gateway.sip), gateway.sip, "1000", &ballast(), &sdp);
    let invite = callee.expect("INVITE");
    assert!(matches!(invite.1, Way::Udp(_)) && invite.0.text.len() > 1300);
    caller.cancel(&call);
    assert_eq!(gateway.metric("trunkline_sip_large_over_tcp_total"), 0.0);
}

fn a_large_datagram_is_taken_in_whole(io: &str) {
    // RFC 3261 §18.1.1: up to the largest there is, less what IP and UDP need.
    let mut callee = Phone::new("127.0.0.1");
    let gateway = start(io, &trunk("1", callee.address, "carrier-lenient"));
    let mut caller = Phone::new("127.0.0.1");
    let sdp = Voice::new(caller.address.ip(), 1).sdp("sendrecv");
    for size in [3_000, 20_000, 60_000] {
        let fields: String = (0..20).map(|n| format!("X-{n}: {}\r\n", "b".repeat(size / 20))).collect();
        let call = caller.invite_with(Way::Udp(gateway.sip), gateway.sip, "1000", &fields, &sdp);
        let invite = callee.expect("INVITE");
        assert_eq!(invite.0.number(), "1000", "{size}");
        callee.respond(&invite, 486, "busy", "");
        assert_eq!(caller.response(&call, 486).status(), Some(486));
    }
}
