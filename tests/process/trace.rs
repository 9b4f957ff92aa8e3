//! What the running gateway shows of its signalling: ladders, packets, copies over HEP, counts; held against what its
//! peers sent and received.

use crate::carrier::{Carrier, Manner};
use crate::gateway::{Gateway, PATIENCE, folder, rtp_ports, run, wait_until};
use crate::phone::{Dialog, Phone, Way};
use crate::voice::Voice;
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;

on_both_drivers! {
    a_call_is_shown_by_its_id_and_by_either_call_id
    a_call_over_tcp_is_shown_and_its_packets_are_sound
    what_is_not_kept_is_said
    credentials_and_digits_are_masked_on_request
    copies_go_to_a_capture_server_as_they_were_on_the_wire
    sessions_are_measured_as_rfc_6076_says
}

/// One answered call through a first trunk that refuses: phone, carriers, gateway.
struct Scene {
    gateway: Gateway,
    phone: Phone,
    _bad: Carrier,
    good: Carrier,
    sdp: String,
    _voice: Voice,
}

impl Scene {
    fn start(io: &str, config: &str) -> Self {
        let (bad, good) = (Carrier::start(Manner::Refuse(503)), Carrier::start(Manner::Answer));
        let file = folder("trace").join("gateway.toml");
        std::fs::write(&file, config).unwrap();
        let trunks = [bad.trunk("first", ",backup=second"), good.trunk("second", "")];
        let gateway = Gateway::start(
            io,
            &[
                "--config",
                file.to_str().unwrap(),
                "--workers",
                "2",
                &trunks[0],
                &trunks[1],
                "--route==first|second",
                "--rtp-ports",
                &rtp_ports(80),
                "--probe-interval",
                "0s",
            ],
        );
        let phone = Phone::new("127.0.0.1");
        let voice = Voice::new(phone.address.ip(), 1);
        let sdp = voice.sdp("sendrecv");
        Self { gateway, phone, _bad: bad, good, sdp, _voice: voice }
    }

    fn call(&mut self, way: Way) -> Dialog {
        let mut dialog = self.phone.invite(way, self.gateway.sip, "4930", &self.sdp);
        assert_eq!(self.phone.answered(&mut dialog).status(), Some(200));
        dialog
    }

    fn ladder(&self, id: &str) -> Value {
        self.gateway.json(&format!("/api/v1/calls/{}/ladder", id.replace('@', "%40")))
    }

    /// The ladder once it has so many messages, those not counted that a busy machine has repeated.
    fn whole_ladder(&self, id: &str, messages: usize) -> Value {
        let mut ladder = Value::Null;
        wait_until(&format!("{messages} messages of {id}"), || {
            ladder = self.ladder(id);
            ladder["messages"].is_array() && fresh(&ladder).count() >= messages
        });
        assert_eq!(fresh(&ladder).count(), messages, "{ladder:#}");
        ladder
    }
}

/// A ladder's messages without repetitions.
fn fresh(ladder: &Value) -> impl Iterator<Item = &Value> {
    ladder["messages"].as_array().unwrap().iter().filter(|it| it["retransmission"] == false)
}

/// Texts of a ladder's messages on some leg and way.
fn texts(ladder: &Value, leg: u64, direction: &str) -> BTreeSet<String> {
    let all = ladder["messages"].as_array().unwrap().iter();
    let of_leg = all.filter(|it| it["leg"] == leg && it["direction"] == direction);
    of_leg.map(|it| it["text"].as_str().unwrap().to_owned()).collect()
}

fn summaries(ladder: &Value) -> Vec<(u64, String, String)> {
    let text = |it: &Value, name: &str| it[name].as_str().unwrap().to_owned();
    fresh(ladder)
        .map(|it| (it["leg"].as_u64().unwrap(), text(it, "direction"), text(it, "summary")))
        .collect()
}

fn a_call_is_shown_by_its_id_and_by_either_call_id(io: &str) {
    let mut scene = Scene::start(io, "");
    let mut dialog = scene.call(Way::Udp(scene.gateway.sip));
    // While it lasts.
    let id = scene.gateway.json("/api/v1/calls")["calls"][0]["id"].as_str().unwrap().to_owned();
    let live = scene.whole_ladder(&id, 11);
    assert_eq!((&live["call"], &live["truncated"]), (&id.as_str().into(), &false.into()), "{live:#}");
    scene.phone.bye(&mut dialog);
    scene.gateway.wait_cdrs(1);
    let ladder = scene.whole_ladder(&id, 15);
    let steps = summaries(&ladder);
    let of_leg = |leg: u64| -> Vec<String> {
        steps.iter().filter(|it| it.0 == leg).map(|it| format!("{} {}", it.1, it.2)).collect()
    };
    assert_eq!(
        of_leg(0),
        ["in INVITE", "out 100 Trying", "out 200 OK", "in ACK", "in BYE", "out 200 OK"].map(String::from)
    );
    assert_eq!(of_leg(1), ["out INVITE", "in 503 Test", "out ACK"].map(String::from));
    assert_eq!(
        of_leg(2),
        ["out INVITE", "in 100 Test", "in 200 Test", "out ACK", "out BYE", "in 200 Test"].map(String::from)
    );
    let labels: Vec<&str> =
        ladder["parties"].as_array().unwrap().iter().map(|it| it["label"].as_str().unwrap()).collect();
    assert_eq!(labels, ["caller", "first", "second"]);
    // What it says was sent is what the peers received.
    let received: BTreeSet<String> = scene.phone.received.iter().map(|it| it.text.clone()).collect();
    assert_eq!(texts(&ladder, 0, "out"), received);
    let carried: BTreeSet<String> = scene.good.seen().requests.iter().map(|it| it.text.clone()).collect();
    assert_eq!(texts(&ladder, 2, "out"), carried);

    let cdr = &scene.gateway.wait_cdrs(1)[0];
    for name in ["caller_sip_call_id", "callee_sip_call_id"] {
        assert_eq!(scene.ladder(cdr[name].as_str().unwrap()), ladder, "by {name}");
    }
    let api = format!("http://{}", scene.gateway.http);
    let (code, text, err) = run(&["trace", &dialog.call_id, "--api", &api]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(text.lines().count(), 3 + ladder["messages"].as_array().unwrap().len(), "{text}");
    assert!(text.contains(&format!("call {id}")) && text.contains("503 Test"), "{text}");
    let file = folder("ladder").join("call.svg");
    let shown = file.to_str().unwrap();
    assert_eq!(run(&["trace", &id, "--api", &api, "--format", "svg", "--out", shown]).0, 0);
    let svg = std::fs::read_to_string(&file).unwrap();
    assert!(svg.starts_with("<svg ") && svg.matches("<g class=\"step ").count() >= 15, "{svg}");
    let (code, _, err) = run(&["trace", "no-such-call", "--api", &api]);
    assert!(code != 0 && err.contains("no messages of a call \"no-such-call\""), "{err}");
    let (status, body) = scene.gateway.get(&format!("/api/v1/calls/{id}/ladder?format=png"));
    assert!(status == 400 && body.contains("json, text or svg"), "{status} {body}");
}

fn a_call_over_tcp_is_shown_and_its_packets_are_sound(io: &str) {
    let mut scene = Scene::start(io, "");
    let way = scene.phone.connect(scene.gateway.sip);
    let mut dialog = scene.call(way);
    scene.phone.bye(&mut dialog);
    scene.gateway.wait_cdrs(1);
    let ladder = scene.whole_ladder(&dialog.call_id, 15);
    let received: BTreeSet<String> = scene.phone.received.iter().map(|it| it.text.clone()).collect();
    assert_eq!(texts(&ladder, 0, "out"), received);
    for step in ladder["messages"].as_array().unwrap() {
        let expected = if step["leg"] == 0 { "tcp" } else { "udp" };
        assert_eq!(step["transport"], expected, "{step}");
    }
    let file = folder("packets").join("call.pcapng");
    let shown = file.to_str().unwrap();
    let api = format!("http://{}", scene.gateway.http);
    let (code, _, err) = run(&["trace", &dialog.call_id, "--api", &api, "--format", "pcap", "--out", shown]);
    assert_eq!((code, err.as_str()), (0, ""));
    // The crate `ladder` reads its packets by the book; here a foreign dissector does, where there is one.
    let fields = ["_ws.expert.message", "sip.Call-ID", "sip.Method", "sip.Status-Code"];
    let mut dissector = Command::new("tshark");
    dissector.args(["-n", "-r", shown, "-T", "fields", "-E", "separator=|"]);
    dissector.args(["-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE"]);
    dissector.args(["-o", "tcp.check_checksum:TRUE"]);
    // Test peers use any port.
    for port in ports(&ladder) {
        dissector.args(["-d", &format!("udp.port=={port},sip"), "-d", &format!("tcp.port=={port},sip")]);
    }
    for field in fields {
        dissector.args(["-e", field]);
    }
    let Ok(output) = dissector.output() else {
        println!("no tshark here: its view of the packets is not asked for");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(text.lines().count(), ladder["messages"].as_array().unwrap().len(), "{text}");
    for (line, step) in text.lines().zip(ladder["messages"].as_array().unwrap()) {
        let columns: Vec<&str> = line.split('|').collect();
        let wrong = ["hecksum", "alformed", "retransmission", "unseen", "not captured", "segment"];
        assert!(!wrong.iter().any(|word| columns[0].contains(word)), "{line}");
        let (method, status) = (step["method"].as_str().unwrap(), step["status"].as_u64());
        match status {
            None => assert_eq!(columns[2], method, "{line}"),
            Some(status) => assert_eq!(columns[3], status.to_string(), "{line}"),
        }
        assert!(!columns[1].is_empty(), "{line}");
    }
}

/// Every port that messages went between.
fn ports(ladder: &Value) -> BTreeSet<u16> {
    let all = ladder["messages"].as_array().unwrap().iter();
    let ends = all.flat_map(|it| ["local", "remote"].map(|name| it[name].as_str().unwrap().to_owned()));
    ends.map(|end| end.parse::<SocketAddr>().unwrap().port()).collect()
}

fn what_is_not_kept_is_said(io: &str) {
    let mut scene = Scene::start(io, "[trace]\nring_mib = 0\n");
    let mut dialog = scene.call(Way::Udp(scene.gateway.sip));
    let (status, body) =
        scene.gateway.get(&format!("/api/v1/calls/{}/ladder", dialog.call_id.replace('@', "%40")));
    assert!(status == 404 && body.contains("trace.ring_mib is 0"), "{status} {body}");
    assert_eq!(scene.gateway.metric("trunkline_trace_recorded_total"), 0.0);
    assert_eq!(scene.gateway.metric("trunkline_trace_ring_bytes"), 0.0);
    scene.phone.bye(&mut dialog);
    // Messages are counted all the same.
    let page = scene.gateway.get("/metrics").1;
    for (key, least) in [
        ("trunkline_sip_requests_total{method=\"INVITE\",direction=\"in\"}", 1),
        ("trunkline_sip_requests_total{method=\"INVITE\",direction=\"out\"}", 2),
        ("trunkline_sip_requests_total{method=\"BYE\",direction=\"in\"}", 1),
        ("trunkline_sip_responses_total{status=\"503\",direction=\"in\"}", 1),
        ("trunkline_sip_responses_total{status=\"100\",direction=\"out\"}", 1),
    ] {
        let value = page.lines().find_map(|line| line.strip_prefix(key)?.trim().parse::<u64>().ok());
        // A busy machine repeats.
        assert!(value >= Some(least), "{key}: {value:?} in\n{page}");
    }
    let file = folder("trace").join("bad.toml");
    for (text, named) in [
        ("[trace]\nring_mib = 0\n[hep]\nserver = \"127.0.0.1:9060\"\n", "trace.ring_mib"),
        ("[hep]\nsample = 1.5\n", "hep.sample"),
        ("[hep]\nserver = \"127.0.0.1:0\"\n", "hep.server"),
        ("[trace]\nring_mib = 9999\n", "trace.ring_mib"),
    ] {
        std::fs::write(&file, text).unwrap();
        let (code, _, err) = run(&["serve", "--config", file.to_str().unwrap(), "--check"]);
        assert!(code != 0 && err.contains(named), "{text}: {err}");
    }
}

fn credentials_and_digits_are_masked_on_request(io: &str) {
    let secret = "Authorization: Digest username=\"a\", realm=\"r\", nonce=\"n\", uri=\"sip:h\", response=\"c0ffee11\"\r\n";
    for (config, hidden) in [("", false), ("[trace]\nmask_credentials = true\n", true)] {
        let mut scene = Scene::start(io, config);
        let sdp = scene.sdp.clone();
        let (way, sip) = (Way::Udp(scene.gateway.sip), scene.gateway.sip);
        let mut dialog = scene.phone.invite_with(way, sip, "4930", secret, &sdp);
        assert_eq!(scene.phone.answered(&mut dialog).status(), Some(200));
        let ladder = scene.whole_ladder(&dialog.call_id, 11);
        let invite = ladder["messages"][0]["text"].as_str().unwrap();
        assert_eq!(invite.contains("c0ffee11"), !hidden, "{invite}");
        assert_eq!(invite.contains("response=\"xxxxxxxx\""), hidden, "{invite}");
        scene.phone.bye(&mut dialog);
    }
}

/// A chunk of HEP: its type and value.
/// Those of the vendor that nobody is count from 0x8000.
fn chunks(packet: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let u16_at = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    assert_eq!(&packet[..4], b"HEP3");
    assert_eq!(usize::from(u16_at(4)), packet.len(), "the length says the whole packet");
    let (mut at, mut found) = (6, Vec::new());
    while at < packet.len() {
        let vendor = u16_at(at);
        assert!([0, 0xffff].contains(&vendor), "generic vendor, or none");
        let length = usize::from(u16_at(at + 4));
        found.push((u16_at(at + 2) | vendor & 0x8000, packet[at + 6..at + length].to_vec()));
        at += length;
    }
    assert_eq!(at, packet.len());
    found
}

fn copies_go_to_a_capture_server_as_they_were_on_the_wire(io: &str) {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let config = format!(
        "[hep]\nserver = \"{}\"\ncapture_id = 77\npassword = \"open sesame\"\n",
        server.local_addr().unwrap()
    );
    let mut scene = Scene::start(io, &config);
    let mut dialog = scene.call(Way::Udp(scene.gateway.sip));
    scene.phone.bye(&mut dialog);
    let cdr = scene.gateway.wait_cdrs(1).remove(0);
    let ladder = scene.whole_ladder(&dialog.call_id, 15);
    let mut copies = Vec::new();
    let mut buffer = [0; 65_536];
    while copies.len() < ladder["messages"].as_array().unwrap().len() {
        let length = server.recv(&mut buffer).expect("a copy of each message");
        copies.push(chunks(&buffer[..length]));
    }
    let (mut copied, mut whole) = (BTreeSet::new(), 0);
    for copy in &copies {
        let of = |kind: u16| copy.iter().find(|it| it.0 == kind).map(|it| it.1.clone()).unwrap_or_default();
        let number = |kind: u16| of(kind).iter().fold(0u64, |sum, byte| (sum << 8) | u64::from(*byte));
        assert_eq!((number(1), number(2), number(11), number(12)), (2, 17, 1, 77));
        assert_eq!(
            (of(14), String::from_utf8(of(17)).unwrap()),
            (b"open sesame".to_vec(), cdr["id"].as_str().unwrap().to_owned())
        );
        // RFC 7989: as the record has it, once the callee has spoken.
        let session = String::from_utf8(of(0x8100)).unwrap();
        let ends = cdr["session_id"].as_str().unwrap();
        assert_eq!(session.split(';').next(), ends.split(';').next(), "{session}");
        whole += usize::from(session == ends);
        let end = |address: u16, port: u16| {
            let ip: [u8; 4] = of(address).try_into().unwrap();
            SocketAddr::new(IpAddr::from(ip), number(port) as u16).to_string()
        };
        let at = number(9) * 1_000_000 + number(10);
        copied.insert((at, end(3, 7), end(4, 8), String::from_utf8(of(15)).unwrap()));
    }
    assert!(whole >= 4, "{whole} of {} copies know both ends", copies.len());
    assert_eq!(ladder["session_id"], cdr["session_id"]);
    let told = ladder["messages"].as_array().unwrap().iter().map(|it| {
        let text = |name: &str| it[name].as_str().unwrap().to_owned();
        let (local, remote) = (text("local"), text("remote"));
        let (from, to) = if it["direction"] == "out" { (local, remote) } else { (remote, local) };
        (it["at_us"].as_u64().unwrap(), from, to, text("text"))
    });
    assert_eq!(copied, told.collect());
    // And the ladder is what the peers saw.
    let received: BTreeSet<String> = scene.phone.received.iter().map(|it| it.text.clone()).collect();
    assert_eq!(texts(&ladder, 0, "out"), received);
    assert!(scene.gateway.metric("trunkline_hep_sent_total") >= copies.len() as f64);
    assert_eq!(scene.gateway.metric("trunkline_hep_dropped_total"), 0.0);
}

fn sessions_are_measured_as_rfc_6076_says(io: &str) {
    let mut scene = Scene::start(io, "");
    for _ in 0..3 {
        let mut dialog = scene.call(Way::Udp(scene.gateway.sip));
        scene.phone.bye(&mut dialog);
    }
    let _up = scene.call(Way::Udp(scene.gateway.sip));
    scene.gateway.wait_calls(1);
    scene.good.hang_up();
    scene.gateway.wait_calls(0);
    scene.gateway.wait_cdrs(4);
    let mut second = Value::Null;
    // Told within a second of the end of each session.
    wait_until("four completed sessions", || {
        second = scene.gateway.trunk("second")["rfc6076"]["5m"].clone();
        second["completed"] == 4
    });
    let one = Value::from(1.0);
    for name in ["ser", "seer", "scr"] {
        assert_eq!(second[name], one, "{name}: {second:#}");
    }
    assert_eq!((&second["isa"], &second["requests"]), (&0.0.into(), &4.into()), "{second:#}");
    let counts = ["srd", "srd_failed", "sdd", "sdt", "sdt_failed", "pdd"]
        .map(|name| second[name]["count"].as_u64().unwrap());
    assert_eq!(counts, [4, 0, 3, 4, 0, 4], "the carrier hung up once: no delay of ours there\n{second:#}");
    assert!(second["srd"]["p95_ms"].as_f64().unwrap() > 0.0, "{second:#}");
    let trunk = scene.gateway.trunk("first");
    let first = &trunk["rfc6076"]["total"];
    assert_eq!(
        (&first["isa"], &first["ser"], &first["requests"]),
        (&one, &0.0.into(), &4.into()),
        "{first:#}"
    );
    assert_eq!(first["srd_failed"]["count"], 4, "{first:#}");
    assert_eq!(
        (&trunk["attempts"]["by_status"]["503"], &trunk["attempts"]["by_reason"]["status"]),
        (&4.into(), &4.into())
    );
    let page = scene.gateway.get("/metrics").1;
    for line in [
        "trunkline_trunk_ser{trunk=\"second\",window=\"5m\"} 1",
        "trunkline_trunk_isa{trunk=\"first\",window=\"total\"} 1",
        "trunkline_trunk_attempts_by_status_total{trunk=\"first\",status=\"503\"} 4",
        "trunkline_trunk_attempts_by_reason_total{trunk=\"second\",reason=\"answered\"} 4",
        "trunkline_trunk_srd_seconds{trunk=\"second\",window=\"1h\",quantile=\"0.95\"}",
    ] {
        assert!(page.contains(line), "{line} in\n{page}");
    }
}
