//! Proxies before phones that have a name (Path, RFC 3327): located as RFC 3263 says, by a server of this test's own.

use crate::gateway::{Gateway, folder, wait_until};
use crate::nameserver::{Data, NameServer};
use crate::phone::{Phone, Way, unique};
use crate::register::User;
use crate::voice::Voice;
use std::net::SocketAddr;

on_both_drivers! {
    a_call_goes_where_the_name_of_the_proxy_leads
    a_name_that_is_not_found_leads_where_the_register_came_from
}

fn gateway(io: &str, server: &NameServer) -> Gateway {
    let text = format!(
        "[dns]\nservers = [\"{}\"]\ntimeout = \"200ms\"\nttl_min = \"1s\"\nhosts = \"\"\n",
        server.address
    );
    let config = folder("paths").join("gateway.toml");
    std::fs::write(&config, text).unwrap();
    Gateway::start(io, &["--user", "bob:secret2", "--workers", "2", "--config", config.to_str().unwrap()])
}

fn register(user: &mut User, gateway: SocketAddr, path: &str) {
    let fields = format!(
        "Via: SIP/2.0/UDP 10.9.9.9;branch=z9hG4bK{}\r\nSupported: path\r\nPath: {path}\r\n\
         Contact: <sip:bob@10.1.2.3>\r\nExpires: 600\r\n",
        unique()
    );
    let answer = user.register(gateway, "SHA-256", &fields);
    assert_eq!((answer.status(), answer.field("path")), (Some(200), path), "{}", answer.text);
}

fn located(gateway: &Gateway) -> f64 {
    gateway.metric("trunkline_dns_names_located")
}

/// A call to bob that comes by `edge`, and ends there.
fn call(gateway: SocketAddr, edge: &mut Phone, path: &str, status: u16) {
    let mut caller = Phone::new("127.0.0.2");
    let sdp = Voice::new(caller.address.ip(), 1).sdp("sendrecv");
    let mut dialog = caller.invite(Way::Udp(gateway), gateway, "bob", &sdp);
    let invite = edge.expect("INVITE");
    assert_eq!(invite.0.field("route"), path, "{}", invite.0.text);
    if status == 200 {
        let stays = path.split(", ").next().unwrap();
        let record = format!("Record-Route: {stays}\r\n");
        edge.respond_with(&invite, 200, "phone", &record, &Voice::new(edge.address.ip(), 2).sdp("sendrecv"));
        assert_eq!(caller.answered(&mut dialog).status(), Some(200));
        assert_eq!(edge.expect("ACK").0.field("route"), stays);
        caller.begin_request(&mut dialog, "BYE", "");
        let bye = edge.expect("BYE");
        edge.respond(&bye, 200, "phone", "");
        assert_eq!(
            caller.final_response(&dialog.call_id, &format!("{} BYE", dialog.cseq)).status(),
            Some(200)
        );
    } else {
        edge.respond(&invite, status, "phone", "");
        edge.expect("ACK");
        assert_eq!(caller.answered(&mut dialog).status(), Some(status));
    }
}

/// RFC 3263 §4.1 to §4.3: an address record and a port; SRV with a first place where nobody is, which is passed over.
fn a_call_goes_where_the_name_of_the_proxy_leads(io: &str) {
    let mut edge = Phone::new("127.0.0.31");
    let port = edge.address.port();
    let closed = Phone::new("127.0.0.32").address.port();
    let address = |ip: &str| Data::Address(ip.parse().unwrap());
    let server = NameServer::start(
        60,
        &[
            ("edge.test", address("127.0.0.31")),
            ("_sip._udp.edges.test", Data::Srv(0, 0, closed, "gone.test".into())),
            ("_sip._udp.edges.test", Data::Srv(1, 0, port, "edge.test".into())),
            ("gone.test", address("127.0.0.32")),
        ],
    );
    let gateway = gateway(io, &server);
    let mut bob = User::new("127.0.0.3", "bob", "secret2");
    let path = format!("<sip:edge.test:{port};lr>, <sip:core.test;lr>");
    register(&mut bob, gateway.sip, &path);
    wait_until("the proxy to be located", || located(&gateway) == 1.0);
    for status in [200, 486] {
        call(gateway.sip, &mut edge, &path, status);
    }
    // Outside of calls too.
    let mut sender = Phone::new("127.0.0.2");
    let asked = sender.begin_outside("a", gateway.sip, "bob", "MESSAGE", "");
    let message = edge.expect("MESSAGE");
    edge.respond(&message, 200, "m", "");
    assert_eq!(sender.final_response(&asked.call_id, "7 MESSAGE").status(), Some(200));

    register(&mut bob, gateway.sip, "<sip:edges.test;lr>");
    // The old name goes with its binding.
    wait_until("the other one", || gateway.metric("trunkline_dns_changed_total") == 2.0);
    assert_eq!(gateway.metric("trunkline_dns_names"), 1.0);
    for status in [200, 486] {
        call(gateway.sip, &mut edge, "<sip:edges.test;lr>", status);
    }
    assert!(bob.phone.leftovers(std::time::Duration::from_millis(50)).is_empty(), "never by the source");
    assert_eq!(gateway.metric("trunkline_paths_unlocated_total"), 0.0);
}

/// As before there were names: the proxy that the REGISTER came from is one on the same way.
fn a_name_that_is_not_found_leads_where_the_register_came_from(io: &str) {
    let server = NameServer::start(60, &[]);
    let gateway = gateway(io, &server);
    let mut edge = User::new("127.0.0.3", "bob", "secret2");
    for path in ["<sip:nobody.test;lr>", "<sip:edge.test;transport=tls;lr>"] {
        register(&mut edge, gateway.sip, path);
        call(gateway.sip, &mut edge.phone, path, 200);
    }
    assert_eq!(gateway.metric("trunkline_paths_unlocated_total"), 1.0, "over TLS no name is looked for");
}
