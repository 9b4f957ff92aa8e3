//! The life of a gateway: drained by SIGTERM, stopped by SIGINT, reloaded by SIGHUP, killed under load and started again.

use crate::carrier::{Carrier, Manner};
use crate::gateway::{Gateway, PATIENCE, folder, rtp_ports, wait_until};
use crate::phone::{Dialog, Phone, Way};
use crate::voice::{Voice, talk};
use rustix::process::Signal;
use std::path::Path;
use std::time::{Duration, Instant};

on_both_drivers! {
    sigterm_lets_calls_finish
    sigterm_ends_an_idle_gateway_at_once
    sigint_ends_calls_and_the_gateway
    sighup_takes_new_settings_and_keeps_calls
    a_killed_gateway_comes_back_whole
    dead_air_ends_a_call_and_the_record_says_so
}

/// A call with voice between two phones.
struct Call {
    caller: Phone,
    callee: Phone,
    a: Dialog,
    b: Dialog,
    voices: (Voice, Voice),
    to: (std::net::SocketAddr, std::net::SocketAddr),
}

impl Call {
    fn set_up(gateway: &Gateway, mut callee: Phone) -> Self {
        let mut caller = Phone::new("127.0.0.1");
        let voices = (Voice::new(caller.address.ip(), 0xa1), Voice::new(callee.address.ip(), 0xb2));
        let mut a = caller.invite(Way::Udp(gateway.sip), gateway.sip, "4420", &voices.0.sdp("sendrecv"));
        let invite = callee.expect("INVITE");
        callee.respond(&invite, 200, "callee", &voices.1.sdp("sendrecv"));
        let answer = caller.answered(&mut a);
        assert_eq!(answer.status(), Some(200), "{}", answer.text);
        let b = callee.dialog_of(&invite, "callee");
        callee.expect_in(&b, "ACK");
        let to = (answer.audio(), invite.0.audio());
        Self { caller, callee, a, b, voices, to }
    }

    fn talk(&mut self, packets: usize) {
        talk((&mut self.voices.0, self.to.0), (&mut self.voices.1, self.to.1), packets);
    }

    fn hang_up(&mut self) {
        self.caller.begin_request(&mut self.a, "BYE", "");
        let bye = self.callee.expect_in(&self.b, "BYE");
        self.callee.respond(&bye, 200, "", "");
        let cseq = format!("{} BYE", self.a.cseq);
        assert_eq!(self.caller.final_response(&self.a.call_id, &cseq).status(), Some(200));
    }
}

fn quiet(callee: &Phone) -> Vec<String> {
    let trunk = format!("--trunk=carrier={}", callee.address);
    [trunk.as_str(), "--workers", "2", "--probe-interval", "0s"].map(str::to_owned).to_vec()
}

fn start(io: &str, arguments: &[String]) -> Gateway {
    Gateway::start(io, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

fn sigterm_lets_calls_finish(io: &str) {
    let callee = Phone::new("127.0.0.1");
    let mut gateway = start(io, &quiet(&callee));
    let mut call = Call::set_up(&gateway, callee);
    call.talk(5);
    let mut other = Phone::new("127.0.0.1");
    assert_eq!(other.options(Way::Udp(gateway.sip), gateway.sip), Some(200));
    gateway.signal(Signal::TERM);
    wait_until("draining", || gateway.json("/healthz")["status"] == "draining");
    assert_eq!(gateway.get("/healthz").0, 503);
    for _ in 0..6 {
        // Whichever shard it falls to.
        assert_eq!(other.options(Way::Udp(gateway.sip), gateway.sip), Some(503));
        let sdp = call.voices.0.sdp("sendrecv");
        let mut late = other.invite(Way::Udp(gateway.sip), gateway.sip, "1", &sdp);
        let refused = other.answered(&mut late);
        assert_eq!(refused.status(), Some(503), "{}", refused.text);
        assert!(!refused.field("retry-after").is_empty(), "{}", refused.text);
    }
    call.talk(25);
    assert!(gateway.is_running());
    call.hang_up();
    let status = gateway.ended();
    assert_eq!(status.code(), Some(0), "{}", gateway.log());
    // What it wrote last is there for the next.
    let again =
        Gateway::start_at(io, &["127.0.0.1:0"], "127.0.0.1:0", gateway.data.clone(), &["--workers", "1"]);
    let cdrs = again.wait_cdrs(1);
    assert_eq!(
        (&cdrs[0]["cause"], &cdrs[0]["media"]["caller"]["received"]["packets"]),
        (&"normal".into(), &30.into())
    );
    assert!(again.logged("were open").is_none(), "{}", again.log());
}

fn sigterm_ends_an_idle_gateway_at_once(io: &str) {
    let mut gateway = Gateway::start(io, &["--workers", "2", "--trunk=a=127.0.0.1:9"]);
    let begun = Instant::now();
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.ended().code(), Some(0), "{}", gateway.log());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

fn sigint_ends_calls_and_the_gateway(io: &str) {
    let callee = Phone::new("127.0.0.1");
    let mut gateway = start(io, &quiet(&callee));
    let mut call = Call::set_up(&gateway, callee);
    gateway.signal(Signal::INT);
    let bye = call.caller.expect_in(&call.a, "BYE");
    call.caller.respond(&bye, 200, "", "");
    let bye = call.callee.expect_in(&call.b, "BYE");
    call.callee.respond(&bye, 200, "", "");
    assert_eq!(gateway.ended().code(), Some(0), "{}", gateway.log());
    let again =
        Gateway::start_at(io, &["127.0.0.1:0"], "127.0.0.1:0", gateway.data.clone(), &["--workers", "1"]);
    let cdrs = again.wait_cdrs(1);
    assert_eq!((&cdrs[0]["cause"], &cdrs[0]["ended_by"]), (&"gateway stopped".into(), &"gateway".into()));
}

fn sighup_takes_new_settings_and_keeps_calls(io: &str) {
    let (callee, next) = (Phone::new("127.0.0.1"), Carrier::start(Manner::Answer));
    let config = folder("reload").join("gateway.toml");
    let write = |trunks: &[(&str, std::net::SocketAddr)], more: &str| {
        let mut text = format!(
            "listen = [\"127.0.0.1:0\"]\nworkers = 2\n{more}\n[media]\nrtp_ports = \"{}\"\n[health]\nprobe_interval = \"0s\"\n",
            rtp_ports(240)
        );
        for (name, peer) in trunks {
            text.push_str(&format!("[[trunk]]\nname = \"{name}\"\npeers = [\"{peer}\"]\n"));
        }
        std::fs::write(&config, text).unwrap();
    };
    write(&[("old", callee.address)], "");
    let gateway = Gateway::start(io, &["--config", config.to_str().unwrap()]);
    let mut call = Call::set_up(&gateway, callee);
    call.talk(5);

    // A file that cannot be used changes nothing, and the log names the key.
    write(&[("new", next.address)], "wrokers = 3");
    gateway.signal(Signal::HUP);
    wait_until("the log to say why not", || gateway.logged("not reloaded").is_some());
    let line = gateway.logged("not reloaded").unwrap();
    assert!(line.contains("wrokers") && line.contains("gateway.toml"), "{line}");
    assert_eq!(gateway.json("/api/v1/trunks")["trunks"].as_array().unwrap().len(), 1);
    assert_eq!(gateway.trunk("old")["calls"], 1);
    call.talk(5);

    write(&[("new", next.address)], "");
    gateway.signal(Signal::HUP);
    wait_until("the log to say reloaded", || gateway.logged("reloaded: 1 trunks").is_some());
    let mut other = Phone::new("127.0.0.1");
    let sdp = call.voices.0.sdp("sendrecv");
    wait_until("a call over the new trunk", || {
        let mut dialog = other.invite(Way::Udp(gateway.sip), gateway.sip, "1", &sdp);
        let status = other.answered(&mut dialog).status();
        if status == Some(200) {
            other.bye(&mut dialog);
        }
        status == Some(200)
    });
    assert!(next.seen().count("INVITE") >= 1);
    // The call of before goes on, voice and all, and ends in its own way.
    call.talk(10);
    assert_eq!(call.caller.leftovers(Duration::ZERO).iter().filter(|m| m.method() == "BYE").count(), 0);
    call.hang_up();
    gateway.wait_calls(0);
    // A call may have come to a worker that had not heard of the reload yet, and found nobody at the old trunk.
    let of_before = || {
        let cdrs = gateway.json("/api/v1/cdrs")["cdrs"].as_array().cloned().unwrap_or_default();
        cdrs.into_iter().find(|cdr| cdr["trunk"] == "old" && !cdr["answered"].is_null())
    };
    wait_until("the call of before to be recorded under its trunk", || of_before().is_some());
    let old = of_before().unwrap();
    assert_eq!(old["cause"], "normal", "{old}");
}

fn a_killed_gateway_comes_back_whole(io: &str) {
    let carrier = Carrier::start(Manner::Answer);
    let (data, ports) = (folder("killed"), rtp_ports(800));
    let trunk = carrier.trunk("carrier", ",max_calls=150");
    let arguments = ["--workers", "2", &trunk, "--rtp-ports", &ports, "--probe-interval", "0s"];
    let mut gateway = Gateway::start_at(io, &["127.0.0.1:0"], "127.0.0.1:0", data.clone(), &arguments);
    let (sip, http) = (gateway.sip.to_string(), gateway.http.to_string());
    let mut caller = Phone::new("127.0.0.1");
    let sdp = Voice::new(caller.address.ip(), 1).sdp("sendrecv");
    let way = Way::Udp(gateway.sip);
    let dial = |caller: &mut Phone, count: usize| -> Vec<Dialog> {
        let mut calls: Vec<Dialog> =
            (0..count).map(|n| caller.invite(way, gateway.sip, &format!("7{n}"), &sdp)).collect();
        for call in &mut calls {
            assert_eq!(caller.answered(call).status(), Some(200));
        }
        calls
    };
    // Finished ones, acknowledged as on disk by being readable; open ones, on disk as begun; and some in the act.
    for call in &mut dial(&mut caller, 12) {
        caller.bye(call);
    }
    let finished = gateway.wait_cdrs(12);
    let open = dial(&mut caller, 20);
    wait_until("starts and answers on disk", || {
        gateway.metric("trunkline_store_records_total") >= f64::from(12 * 3 + 20 * 2)
    });
    for n in 0..40 {
        caller.invite(way, gateway.sip, &format!("8{n}"), &sdp);
    }
    gateway.kill();

    let again = Gateway::start_at(io, &[&sip], &http, data, &arguments);
    assert_eq!((again.sip.to_string(), again.http.to_string()), (sip, http), "on the same ports");
    eprintln!("{io}: ready again {:?} after its start", again.start_time);
    assert!(again.start_time < Duration::from_secs(if crowded() { 5 } else { 1 }), "{:?}", again.start_time);
    assert_eq!(again.calls(), 0);
    assert_eq!(again.trunk("carrier")["calls"], 0, "no place stays taken");
    let cdrs = again.json("/api/v1/cdrs?limit=1000")["cdrs"].as_array().unwrap().clone();
    for cdr in &finished {
        assert_eq!(
            cdrs.iter().find(|other| other["id"] == cdr["id"]),
            Some(cdr),
            "acknowledged before the kill"
        );
    }
    let cut: Vec<_> = cdrs.iter().filter(|cdr| cdr["cause"] == "gateway restarted").collect();
    assert!(cut.len() >= open.len(), "{} of {} open calls are closed", cut.len(), open.len());
    assert_eq!(cdrs.len(), finished.len() + cut.len(), "each record is whole: finished, or cut off");
    let ids: std::collections::BTreeSet<String> = cdrs.iter().map(|cdr| cdr["id"].to_string()).collect();
    assert_eq!(ids.len(), cdrs.len(), "no call twice");
    assert!(again.logged(&format!("{} calls of an earlier run", cut.len())).is_some(), "{}", again.log());
    // And it works.
    let mut after = Phone::new("127.0.0.1");
    let mut dialog = after.invite(Way::Udp(again.sip), again.sip, "9", &sdp);
    assert_eq!(after.answered(&mut dialog).status(), Some(200));
    after.bye(&mut dialog);
    again.wait_cdrs(cdrs.len() + 1);
}

/// Whether other work has more runnable threads than the machine has cores, so that a second may be nobody's fault.
fn crowded() -> bool {
    let load = std::fs::read_to_string(Path::new("/proc/loadavg")).unwrap_or_default();
    let load: f64 = load.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0.0);
    load > std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64) * 2.0
}

fn dead_air_ends_a_call_and_the_record_says_so(io: &str) {
    let callee = Phone::new("127.0.0.1");
    let mut arguments = quiet(&callee);
    arguments.extend(["--media-timeout", "2s"].map(str::to_owned));
    let gateway = start(io, &arguments);
    let mut call = Call::set_up(&gateway, callee);
    call.talk(5);
    // The callee falls silent; the caller speaks on.
    let begun = Instant::now();
    let bye = loop {
        call.voices.0.send(call.to.0);
        if let Some(bye) = call.caller.find(Duration::from_millis(20), |message| message.method() == "BYE") {
            break bye;
        }
        assert!(begun.elapsed() < PATIENCE, "nobody ends the call");
    };
    assert!(begun.elapsed() > Duration::from_millis(1500), "not before the time: {:?}", begun.elapsed());
    assert!(bye.0.field("reason").contains("media timeout"), "{}", bye.0.text);
    call.caller.respond(&bye, 200, "", "");
    let bye = call.callee.expect_in(&call.b, "BYE");
    call.callee.respond(&bye, 200, "", "");
    let cdrs = gateway.wait_cdrs(1);
    let cause = cdrs[0]["cause"].as_str().unwrap();
    assert_eq!(cause.strip_prefix("media timeout: carrier sent no RTP for "), Some("2 s"), "{}", cdrs[0]);
    assert_eq!((&cdrs[0]["ended_by"], &cdrs[0]["q850"]), (&"gateway".into(), &102.into()));
    assert_eq!(gateway.metric("trunkline_calls_media_timeout_total"), 1.0);
    gateway.wait_calls(0);
}
