//! Trunks: caps that hold however the calls race, backups, routes, shares, and failover within bounded time.

use crate::carrier::{Carrier, Manner};
use crate::gateway::{Gateway, PATIENCE, folder, rtp_ports, wait_until};
use crate::phone::{Dialog, Phone, Way};
use crate::voice::Voice;
use std::time::{Duration, Instant};

on_both_drivers! {
    a_cap_is_exact_while_shards_race
    a_full_trunk_goes_to_its_backup_and_all_full_is_503
    new_calls_a_second_are_bounded
    the_longest_prefix_wins
    shares_follow_the_weights
    a_503_goes_to_the_next_trunk
    a_closed_port_goes_to_the_next_trunk
    a_refused_connection_goes_to_the_next_trunk
    a_silent_peer_goes_to_the_next_trunk_in_time
    a_late_answer_is_acknowledged_and_hung_up
    probes_take_a_dead_peer_out_and_back_in
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

    fn dial(&mut self, gateway: &Gateway, number: &str) -> Dialog {
        self.phone.invite(Way::Udp(gateway.sip), gateway.sip, number, &self.sdp)
    }

    /// A call and the status it ends or begins with.
    fn call(&mut self, gateway: &Gateway, number: &str) -> (Dialog, u16) {
        let mut dialog = self.dial(gateway, number);
        let answer = self.phone.answered(&mut dialog);
        let status = answer.status().unwrap();
        if status == 503 {
            assert!(answer.field("retry-after").parse::<u32>().is_ok(), "{}", answer.text);
        }
        (dialog, status)
    }
}

fn a_cap_is_exact_while_shards_race(io: &str) {
    let carrier = Carrier::start(Manner::Answer);
    let trunk = carrier.trunk("small", ",max_calls=7");
    let gateway = Gateway::start(io, &["--workers", "4", &trunk, "--rtp-ports", &rtp_ports(800)]);
    let mut caller = Caller::new();
    for round in 1..=3 {
        let mut calls: Vec<Dialog> = (0..40).map(|n| caller.dial(&gateway, &format!("10{n}"))).collect();
        let mut up = Vec::new();
        for mut call in calls.drain(..) {
            let answer = caller.phone.answered(&mut call);
            match answer.status() {
                Some(200) => up.push(call),
                Some(503) => assert!(!answer.field("retry-after").is_empty(), "{}", answer.text),
                other => panic!("{other:?}: {}", answer.text),
            }
        }
        assert_eq!(up.len(), 7, "round {round}");
        let trunk = gateway.trunk("small");
        assert_eq!((&trunk["calls"], &trunk["max_calls"]), (&7.into(), &7.into()), "{trunk}");
        for call in &mut up {
            caller.phone.bye(call);
        }
        // A place is free once the carrier's leg is gone: after its answer to BYE and timer K (RFC 3261 §17.1.2.2).
        wait_until("an empty trunk", || gateway.trunk("small")["calls"] == 0);
        assert_eq!(carrier.seen().most_up, 7, "the carrier never saw more than the cap");
    }
    assert_eq!(carrier.seen().count("INVITE"), 21, "refused calls never reach the carrier");
    gateway.wait_cdrs(120);
    let causes = gateway.causes();
    assert_eq!((causes.get("all trunks full"), causes.get("normal")), (Some(&99), Some(&21)), "{causes:?}");
    assert_eq!(gateway.metric("trunkline_calls_trunks_full_total"), 99.0);
}

fn a_full_trunk_goes_to_its_backup_and_all_full_is_503(io: &str) {
    let (first, second) = (Carrier::start(Manner::Answer), Carrier::start(Manner::Answer));
    let trunks = [first.trunk("first", ",max_calls=2,backup=second"), second.trunk("second", ",max_calls=3")];
    let gateway = Gateway::start(io, &["--workers", "2", &trunks[0], &trunks[1]]);
    let mut caller = Caller::new();
    let calls: Vec<(Dialog, u16)> = (0..7).map(|n| caller.call(&gateway, &format!("20{n}"))).collect();
    let statuses: Vec<u16> = calls.iter().map(|(_, status)| *status).collect();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 503, 503]);
    assert_eq!((first.seen().count("INVITE"), second.seen().count("INVITE")), (2, 3));
    let cdrs = gateway.wait_cdrs(2);
    assert!(cdrs.iter().all(|cdr| cdr["cause"] == "all trunks full" && cdr["q850"] == 34), "{cdrs:?}");
}

fn new_calls_a_second_are_bounded(io: &str) {
    let carrier = Carrier::start(Manner::Answer);
    let gateway = Gateway::start(
        io,
        &["--workers", "4", &carrier.trunk("slow", ",max_cps=5"), "--rtp-ports", &rtp_ports(800)],
    );
    let mut caller = Caller::new();
    let begun = Instant::now();
    let mut calls: Vec<Dialog> = (0..40).map(|n| caller.dial(&gateway, &format!("30{n}"))).collect();
    let mut answered = 0;
    for call in &mut calls {
        answered += usize::from(caller.phone.answered(call).status() == Some(200));
    }
    // At least a second's worth goes through; beyond it only as much as time has passed.
    let most = 5 + 5 * (begun.elapsed().as_secs() as usize + 1);
    assert!((5..=most).contains(&answered), "{answered} of 40 calls in {:?}", begun.elapsed());
    assert_eq!(carrier.seen().count("INVITE"), answered);
    // Later there is room again.
    wait_until("room for another call", || {
        let (_, status) = caller.call(&gateway, "3099");
        status == 200
    });
}

fn the_longest_prefix_wins(io: &str) {
    let carriers: Vec<Carrier> = (0..3).map(|_| Carrier::start(Manner::Answer)).collect();
    let names = ["any", "london", "china"];
    let trunks: Vec<String> =
        names.iter().zip(&carriers).map(|(name, carrier)| carrier.trunk(name, "")).collect();
    let routes = ["--route=44=any", "--route=4420=london|any", "--route=86=china"];
    let mut arguments = vec!["--workers", "2"];
    arguments.extend(trunks.iter().map(String::as_str).chain(routes));
    let gateway = Gateway::start(io, &arguments);
    let mut caller = Caller::new();
    for (number, trunk) in [("442", 0), ("44201", 1), ("4420", 1), ("86", 2), ("8610", 2), ("44", 0)] {
        let before = carriers[trunk].seen().count("INVITE");
        assert_eq!(caller.call(&gateway, number).1, 200);
        assert_eq!(carriers[trunk].seen().count("INVITE"), before + 1, "{number} goes to {}", names[trunk]);
        assert_eq!(
            carriers[trunk].seen().requests.iter().rfind(|r| r.method() == "INVITE").unwrap().number(),
            number
        );
    }
    assert_eq!(caller.call(&gateway, "1555").1, 404, "no route for it");
    // The second name of a route is for when the first fails.
    carriers[1].turn_to(Manner::Refuse(503));
    let before = carriers[0].seen().count("INVITE");
    assert_eq!(caller.call(&gateway, "44207").1, 200);
    assert_eq!(carriers[0].seen().count("INVITE"), before + 1);
}

fn shares_follow_the_weights(io: &str) {
    let (heavy, light) = (Carrier::start(Manner::Answer), Carrier::start(Manner::Answer));
    let config = folder("shares").join("gateway.toml");
    let text = format!(
        "listen = [\"127.0.0.1:0\"]\nworkers = 1\n[media]\nrtp_ports = \"{}\"\n[health]\nprobe_interval = \"0s\"\n\
         [[trunk]]\nname = \"heavy\"\npeers = [\"{}\"]\nweight = 3\n[[trunk]]\nname = \"light\"\npeers = [\"{}\"]\n\
         [[group]]\nname = \"shared\"\ntrunks = [\"heavy\", \"light\"]\nselection = \"weighted\"\n\
         [[group]]\nname = \"turns\"\ntrunks = [\"heavy\", \"light\"]\nselection = \"round_robin\"\n\
         [[route]]\nprefix = \"1\"\nto = [\"shared\"]\n[[route]]\nprefix = \"2\"\nto = [\"turns\"]\n",
        rtp_ports(240),
        heavy.address,
        light.address
    );
    std::fs::write(&config, text).unwrap();
    let gateway = Gateway::start(io, &["--config", config.to_str().unwrap()]);
    let mut caller = Caller::new();
    let mut spread = |prefix: &str, calls: usize| {
        let before = (heavy.seen().count("INVITE"), light.seen().count("INVITE"));
        for n in 0..calls {
            let (mut dialog, status) = caller.call(&gateway, &format!("{prefix}{n}"));
            assert_eq!(status, 200);
            caller.phone.bye(&mut dialog);
        }
        (heavy.seen().count("INVITE") - before.0, light.seen().count("INVITE") - before.1)
    };
    let (to_heavy, to_light) = spread("1", 24);
    assert!(to_heavy >= 15 && to_light >= 3, "three to one: {to_heavy} to {to_light}");
    assert_eq!(spread("2", 8), (4, 4), "in turns");
}

/// The first trunk fails in some way; the call is answered by the second, and the record tells of both.
fn fails_over(io: &str, first: &str, second: &Carrier, cause: &str, within: Duration) {
    let second = second.trunk("second", "");
    let arguments = ["--workers", "2", first, &second, "--route==first|second", "--probe-interval", "0s"];
    let gateway = Gateway::start(io, &arguments);
    let mut caller = Caller::new();
    let begun = Instant::now();
    let (mut dialog, status) = caller.call(&gateway, "4420");
    assert_eq!(status, 200);
    assert!(begun.elapsed() < within, "answered after {:?}", begun.elapsed());
    caller.phone.bye(&mut dialog);
    let cdrs = gateway.wait_cdrs(1);
    let attempts = cdrs[0]["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 2, "{}", cdrs[0]);
    assert_eq!((&attempts[0]["trunk"], &attempts[1]["trunk"]), (&"first".into(), &"second".into()));
    let said = attempts[0]["cause"].as_str().unwrap();
    assert!(said.contains(cause), "{said}");
    assert_eq!(cdrs[0]["trunk"], "second");
    assert!(gateway.metric("trunkline_failovers_total") >= 1.0);
    wait_until("no place taken on the first", || gateway.trunk("first")["calls"] == 0);
}

fn a_503_goes_to_the_next_trunk(io: &str) {
    let (first, second) = (Carrier::start(Manner::Refuse(503)), Carrier::start(Manner::Answer));
    fails_over(io, &first.trunk("first", ""), &second, "503", PATIENCE);
    assert_eq!(first.seen().count("ACK"), 1, "the refusal is acknowledged");
}

fn a_closed_port_goes_to_the_next_trunk(io: &str) {
    let second = Carrier::start(Manner::Answer);
    let nobody = Phone::new("127.0.0.1").address;
    // Well before the 1.5 s that a silent peer is given: the ICMP message tells.
    fails_over(io, &format!("--trunk=first={nobody}"), &second, "ICMP", Duration::from_millis(1400));
}

fn a_refused_connection_goes_to_the_next_trunk(io: &str) {
    let second = Carrier::start(Manner::Answer);
    let nobody = Phone::new("127.0.0.1").address;
    fails_over(io, &format!("--trunk=first={nobody}/tcp"), &second, "connect", Duration::from_millis(1400));
}

fn a_silent_peer_goes_to_the_next_trunk_in_time(io: &str) {
    let (first, second) = (Carrier::start(Manner::Silent), Carrier::start(Manner::Answer));
    fails_over(io, &first.trunk("first", ""), &second, "no response", Duration::from_secs(5));
}

fn a_late_answer_is_acknowledged_and_hung_up(io: &str) {
    let late = Carrier::start(Manner::Late(Duration::from_millis(2200)));
    let second = Carrier::start(Manner::Answer);
    fails_over(io, &late.trunk("first", ""), &second, "no response", Duration::from_secs(5));
    // RFC 3261 §13.2.2.4: whoever answers an INVITE that was given up gets ACK and BYE. Only, the gateway of fails_over
    // is gone by now if it did so late; so it is shown again with one that stays.
    let late = Carrier::start(Manner::Late(Duration::from_millis(1500)));
    let (first, second) = (late.trunk("first", ""), second.trunk("second", ""));
    let arguments =
        ["--route==first|second", "--no-response", "500ms", "--probe-interval", "0s", "--workers", "2"];
    let gateway = Gateway::start(io, &[&[first.as_str(), second.as_str()], &arguments[..]].concat());
    let mut caller = Caller::new();
    let (mut dialog, status) = caller.call(&gateway, "4420");
    assert_eq!(status, 200);
    wait_until("ACK and BYE for the late answer", || {
        let seen = late.seen();
        seen.count("ACK") == 1 && seen.count("BYE") == 1 && seen.up == 0
    });
    assert_eq!(gateway.calls(), 1, "the call itself goes on");
    caller.phone.bye(&mut dialog);
}

fn probes_take_a_dead_peer_out_and_back_in(io: &str) {
    let (first, second) = (Carrier::start(Manner::Answer), Carrier::start(Manner::Answer));
    let trunks = [first.trunk("first", ""), second.trunk("second", "")];
    let config = folder("probes").join("gateway.toml");
    let text =
        "[health]\nprobe_interval = \"500ms\"\nprobe_timeout = \"450ms\"\nopen_after = 2\nclose_after = 2\n";
    std::fs::write(&config, text).unwrap();
    let arguments = [
        "--config",
        config.to_str().unwrap(),
        "--route==first|second",
        "--workers",
        "2",
        "--rtp-ports",
        &rtp_ports(240),
        &trunks[0],
        &trunks[1],
    ];
    let gateway = Gateway::start(io, &arguments);
    wait_until("first up by its answers to OPTIONS", || gateway.trunk("first")["state"] == "up");
    let mut caller = Caller::new();
    first.turn_to(Manner::Silent);
    wait_until("first down by silence to OPTIONS", || gateway.trunk("first")["state"] == "down");
    let begun = Instant::now();
    let (mut dialog, status) = caller.call(&gateway, "1");
    assert_eq!((status, first.seen().count("INVITE")), (200, 0), "a dead peer is not asked");
    assert!(begun.elapsed() < Duration::from_millis(1400), "nobody waits for a peer known to be dead");
    caller.phone.bye(&mut dialog);
    first.turn_to(Manner::Answer);
    wait_until("first up again", || gateway.trunk("first")["state"] == "up");
    let (mut dialog, status) = caller.call(&gateway, "2");
    assert_eq!((status, first.seen().count("INVITE")), (200, 1), "a peer that answers again is asked again");
    caller.phone.bye(&mut dialog);
    let changes = gateway.json("/api/v1/trunks")["changes"].to_string();
    assert!(changes.contains("OPTIONS not answered") && changes.contains("OPTIONS answered"), "{changes}");
}
