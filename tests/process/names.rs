//! Peers by name: located by DNS as RFC 3263 says, kept while DNS is away, changed while calls are up.

use crate::carrier::{Carrier, Manner};
use crate::gateway::{Gateway, folder, rtp_ports, wait_until};
use crate::nameserver::{Data, Habit, NameServer};
use crate::phone::{Dialog, Phone, Way};
use crate::voice::Voice;
use std::net::{IpAddr, SocketAddr};

on_both_drivers! {
    srv_leads_to_both_carriers_and_a_killed_one_loses_no_call
    naptr_srv_and_aliases_are_followed_over_tcp_when_truncated
    a_change_of_address_takes_new_calls_along_and_leaves_those_that_are_up
    without_any_answer_calls_go_to_the_backup_or_get_503
    when_dns_dies_what_was_known_is_used_on
    forged_answers_are_dropped
    a_reload_keeps_what_is_known
    the_cap_is_one_for_all_addresses_of_a_name
    the_hosts_file_needs_no_dns
}

/// A phone that places calls on a gateway.
struct Caller {
    phone: Phone,
    sdp: String,
    _voice: Voice,
}

impl Caller {
    fn new() -> Self {
        let phone = Phone::new("127.0.0.1");
        let voice = Voice::new(phone.address.ip(), 1);
        Self { phone, sdp: voice.sdp("sendrecv"), _voice: voice }
    }

    fn call(&mut self, gateway: &Gateway, number: &str) -> (Dialog, u16) {
        let mut dialog = self.phone.invite(Way::Udp(gateway.sip), gateway.sip, number, &self.sdp);
        let answer = self.phone.answered(&mut dialog);
        let status = answer.status().unwrap();
        if status != 200 {
            eprintln!("{}\n{}", answer.text, gateway.json("/api/v1/cdrs"));
        }
        (dialog, status)
    }
}

fn a(ip: &str) -> Data {
    Data::Address(ip.parse().unwrap())
}

fn srv(priority: u16, weight: u16, carrier: &Carrier, host: &str) -> Data {
    Data::Srv(priority, weight, carrier.address.port(), host.into())
}

fn carrier(last: u8) -> Carrier {
    Carrier::start_at(SocketAddr::from(([127, 0, 0, last], 0)), Manner::Answer)
}

/// A gateway that asks this server, and again soon.
fn gateway(io: &str, server: &NameServer, more: &str, arguments: &[&str]) -> Gateway {
    let text = format!(
        "[dns]\nservers = [\"{}\"]\ntimeout = \"200ms\"\nttl_min = \"1s\"\nhosts = \"\"\n{more}",
        server.address
    );
    let config = folder("names").join("gateway.toml");
    std::fs::write(&config, text).unwrap();
    let ports = rtp_ports(480);
    let mut all = vec!["--config", config.to_str().unwrap(), "--rtp-ports", &ports];
    all.extend(arguments);
    Gateway::start(io, &all)
}

fn located(gateway: &Gateway, trunk: &str, addresses: &[SocketAddr]) -> bool {
    let trunk = gateway.trunk(trunk);
    let names = trunk["names"].as_array().unwrap();
    let found: Vec<String> = names
        .iter()
        .flat_map(|name| name["addresses"].as_array().unwrap())
        .map(|place| place["address"].as_str().unwrap().to_owned())
        .collect();
    found.len() == addresses.len() && addresses.iter().all(|address| found.contains(&address.to_string()))
}

fn wait_located(gateway: &Gateway, trunk: &str, addresses: &[SocketAddr]) {
    wait_until(&format!("{trunk} at {addresses:?}"), || located(gateway, trunk, addresses));
    // Every shard has the table once the peers are seen on all.
    wait_until("all shards to have it", || {
        gateway.trunk(trunk)["peers"].as_array().unwrap().len() >= addresses.len()
    });
}

fn srv_leads_to_both_carriers_and_a_killed_one_loses_no_call(io: &str) {
    let (one, two) = (carrier(11), carrier(12));
    let addresses = [one.address, two.address];
    let server = NameServer::start(
        60,
        &[
            ("_sip._udp.carrier.test", srv(0, 50, &one, "one.carrier.test")),
            ("_sip._udp.carrier.test", srv(0, 50, &two, "two.carrier.test")),
            ("one.carrier.test", a("127.0.0.11")),
            ("two.carrier.test", a("127.0.0.12")),
        ],
    );
    let gateway =
        gateway(io, &server, "", &["--workers", "2", "--probe-interval", "0s", "--trunk=c=carrier.test"]);
    wait_located(&gateway, "c", &addresses);
    let trunk = gateway.trunk("c");
    let name = &trunk["names"][0];
    assert_eq!((&name["name"], &name["by"]), (&"carrier.test".into(), &"SRV".into()), "{trunk}");
    assert_eq!(name["from"], server.address.to_string(), "{trunk}");
    assert!(name["until"].as_str().is_some_and(|until| until.ends_with('Z')), "{trunk}");
    let mut caller = Caller::new();
    for n in 0..40 {
        let (mut call, status) = caller.call(&gateway, &format!("10{n}"));
        assert_eq!(status, 200);
        caller.phone.bye(&mut call);
    }
    let shares = [one.seen().count("INVITE"), two.seen().count("INVITE")];
    assert_eq!(shares[0] + shares[1], 40);
    assert!(shares.iter().all(|share| (8..=32).contains(share)), "{shares:?}");
    // The URI says the name, not the address (RFC 3263 §4.2 locates, it does not rewrite).
    let invite = one.seen().requests.into_iter().find(|request| request.method() == "INVITE").unwrap();
    assert!(invite.text.contains("@carrier.test SIP/2.0"), "{}", invite.text);
    drop(one);
    for n in 0..20 {
        let (mut call, status) = caller.call(&gateway, &format!("20{n}"));
        assert_eq!(status, 200, "RFC 3263 §4.3: {:?}", gateway.causes());
        caller.phone.bye(&mut call);
    }
    assert_eq!(two.seen().count("INVITE"), shares[1] + 20);
}

fn naptr_srv_and_aliases_are_followed_over_tcp_when_truncated(io: &str) {
    let one = carrier(11);
    let server = NameServer::start(
        60,
        &[
            ("carrier.test", Data::Naptr(10, 10, "SIPS+D2T".into(), "_sips._tcp.carrier.test".into())),
            ("carrier.test", Data::Naptr(20, 10, "SIP+D2U".into(), "udp.carrier.test".into())),
            ("udp.carrier.test", srv(5, 0, &one, "alias.carrier.test")),
            ("alias.carrier.test", Data::Alias("host.carrier.test".into())),
            ("host.carrier.test", a("127.0.0.11")),
        ],
    );
    server.turn_to(Habit::Truncating);
    let gateway = gateway(io, &server, "", &["--workers", "2", "--trunk=c=carrier.test"]);
    wait_located(&gateway, "c", &[one.address]);
    assert_eq!(gateway.trunk("c")["names"][0]["by"], "NAPTR");
    assert_eq!(Caller::new().call(&gateway, "1").1, 200);
    let asked = server.asked();
    for question in ["NAPTR carrier.test", "SRV udp.carrier.test", "A alias.carrier.test"] {
        for asked_by in ["", "tcp "] {
            assert!(asked.contains(&format!("{asked_by}{question}")), "{asked_by}{question} in {asked:?}");
        }
    }
    assert!(gateway.metric("trunkline_dns_truncated_total") >= 3.0);
}

fn a_change_of_address_takes_new_calls_along_and_leaves_those_that_are_up(io: &str) {
    let one = carrier(11);
    let two = Carrier::start_at(SocketAddr::from(([127, 0, 0, 12], one.address.port())), Manner::Answer);
    let server = NameServer::start(1, &[("carrier.test", a("127.0.0.11"))]);
    let trunk = format!("--trunk=c=carrier.test:{},max_calls=3", one.address.port());
    let gateway = gateway(io, &server, "", &["--workers", "2", &trunk]);
    wait_located(&gateway, "c", &[one.address]);
    let mut caller = Caller::new();
    let mut up: Vec<Dialog> = (0..2).map(|n| caller.call(&gateway, &format!("10{n}")).0).collect();
    gateway.wait_calls(2);
    server.replace(&[("carrier.test", a("127.0.0.12"))]);
    wait_located(&gateway, "c", &[two.address]);
    wait_until("the old address to be gone", || gateway.trunk("c")["peers"].as_array().unwrap().len() == 1);
    assert_eq!(caller.call(&gateway, "200").1, 200);
    assert_eq!((one.seen().count("INVITE"), two.seen().count("INVITE")), (2, 1));
    assert_eq!(gateway.calls(), 3, "calls to the old address stay up");
    assert_eq!(caller.call(&gateway, "201").1, 503, "and count against the cap");
    for dialog in &mut up {
        caller.phone.bye(dialog);
    }
    wait_until("the old calls to be over", || one.seen().count("BYE") == 2);
    assert_eq!(gateway.metric("trunkline_dns_changed_total"), 2.0);
}

fn without_any_answer_calls_go_to_the_backup_or_get_503(io: &str) {
    let (lost, backup) = (carrier(11), carrier(12));
    let server = NameServer::start(60, &[("carrier.test", a("127.0.0.11"))]);
    server.turn_to(Habit::Silent);
    let port = lost.address.port();
    let trunks = [
        format!("--trunk=backed=carrier.test:{port},backup=other"),
        backup.trunk("other", ""),
        format!("--trunk=alone=lost.test:{port}"),
    ];
    let mut arguments = vec!["--workers", "2", "--route=1=backed", "--route=2=alone"];
    arguments.extend(trunks.iter().map(String::as_str));
    let gateway = gateway(io, &server, "", &arguments);
    let mut caller = Caller::new();
    assert_eq!(caller.call(&gateway, "1").1, 200);
    assert_eq!(backup.seen().count("INVITE"), 1);
    assert_eq!(caller.call(&gateway, "2").1, 503);
    let cdrs = gateway.wait_cdrs(1);
    assert_eq!(cdrs[0]["cause"], "no address is known of the trunk's peers, which are names", "{cdrs:?}");
    assert_eq!(gateway.metric("trunkline_calls_trunks_unlocated_total"), 1.0);
    wait_until("the reason to be shown", || {
        gateway.trunk("alone")["names"][0]["why"] == "no DNS server answers"
    });
    server.turn_to(Habit::Honest);
    wait_located(&gateway, "backed", &[lost.address]);
    assert_eq!(caller.call(&gateway, "1").1, 200);
    assert_eq!(lost.seen().count("INVITE"), 1);
    wait_until("the reason to be shown", || {
        gateway.trunk("alone")["names"][0]["why"] == "DNS knows no such server"
    });
}

fn when_dns_dies_what_was_known_is_used_on(io: &str) {
    let one = carrier(11);
    let server = NameServer::start(1, &[("carrier.test", a("127.0.0.11"))]);
    let trunk = format!("--trunk=c=carrier.test:{}", one.address.port());
    let gateway = gateway(io, &server, "", &["--workers", "2", &trunk]);
    wait_located(&gateway, "c", &[one.address]);
    server.turn_to(Habit::Failing);
    wait_until("stale answers", || gateway.trunk("c")["names"][0]["stale"] == true);
    assert_eq!(Caller::new().call(&gateway, "1").1, 200, "RFC 8767 §4");
    server.turn_to(Habit::Honest);
    wait_until("fresh answers", || gateway.trunk("c")["names"][0]["stale"] == false);
    assert_eq!(gateway.metric("trunkline_dns_changed_total"), 1.0, "the addresses never changed");
}

fn forged_answers_are_dropped(io: &str) {
    let one = carrier(11);
    let server = NameServer::start(60, &[("carrier.test", a("127.0.0.11"))]);
    server.turn_to(Habit::Forged);
    let trunk = format!("--trunk=c=carrier.test:{}", one.address.port());
    let gateway = gateway(io, &server, "", &["--workers", "1", &trunk]);
    wait_located(&gateway, "c", &[one.address]);
    assert_eq!(gateway.metric("trunkline_dns_mismatched_total"), 1.0);
    assert_eq!(Caller::new().call(&gateway, "1").1, 200);
}

fn a_reload_keeps_what_is_known(io: &str) {
    let one = carrier(11);
    let server = NameServer::start(60, &[("carrier.test", a("127.0.0.11"))]);
    let trunk = format!("--trunk=c=carrier.test:{}", one.address.port());
    let gateway = gateway(io, &server, "", &["--workers", "3", &trunk]);
    wait_located(&gateway, "c", &[one.address]);
    server.turn_to(Habit::Silent);
    let mut caller = Caller::new();
    for round in 1..=3 {
        gateway.signal(rustix::process::Signal::HUP);
        wait_until("the reload", || gateway.log().matches("reloaded:").count() == round);
        for n in 0..6 {
            assert_eq!(caller.call(&gateway, &format!("{round}0{n}")).1, 200);
        }
    }
}

fn the_cap_is_one_for_all_addresses_of_a_name(io: &str) {
    let carriers = [carrier(11), carrier(12), carrier(13)];
    let mut records: Vec<(&str, Data)> = Vec::new();
    let hosts = ["one.test", "two.test", "three.test"];
    for (n, (carrier, host)) in carriers.iter().zip(hosts).enumerate() {
        records.push(("_sip._udp.carrier.test", srv(n as u16 / 2, 10, carrier, host)));
        records.push((host, Data::Address(IpAddr::from([127, 0, 0, 11 + n as u8]))));
    }
    let server = NameServer::start(1, &records);
    let gateway = gateway(io, &server, "", &["--workers", "2", "--trunk=c=carrier.test,max_calls=7"]);
    wait_located(&gateway, "c", &carriers.each_ref().map(|carrier| carrier.address));
    let mut caller = Caller::new();
    let mut calls: Vec<Dialog> = (0..30)
        .map(|n| caller.phone.invite(Way::Udp(gateway.sip), gateway.sip, &format!("1{n}"), &caller.sdp))
        .collect();
    let statuses: Vec<u16> =
        calls.iter_mut().map(|call| caller.phone.answered(call).status().unwrap()).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 7, "{statuses:?}");
    let up: usize = carriers.iter().map(|carrier| carrier.seen().up).sum();
    assert_eq!((up, gateway.trunk("c")["calls"].as_u64()), (7, Some(7)));
    assert_eq!(carriers[2].seen().count("INVITE"), 0, "the lower priority is not needed");
}

fn the_hosts_file_needs_no_dns(io: &str) {
    let one = carrier(11);
    let folder = folder("hosts");
    let hosts = folder.join("hosts");
    std::fs::write(&hosts, "# ours\n127.0.0.11 Carrier.test # one\n").unwrap();
    let config = folder.join("gateway.toml");
    std::fs::write(&config, format!("[dns]\nservers = [\"127.0.0.1:9\"]\nhosts = \"{}\"\n", hosts.display()))
        .unwrap();
    let trunk = format!("--trunk=c=carrier.test:{}", one.address.port());
    let ports = rtp_ports(100);
    let gateway = Gateway::start(
        io,
        &["--config", config.to_str().unwrap(), "--rtp-ports", &ports, "--workers", "2", &trunk],
    );
    wait_located(&gateway, "c", &[one.address]);
    assert_eq!(gateway.trunk("c")["names"][0]["by"], "hosts");
    assert_eq!(Caller::new().call(&gateway, "1").1, 200);
}
