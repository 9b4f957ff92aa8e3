//! Abuse of the running gateway: floods, scanners, forged sources, toll fraud. Whoever may call calls on as if nothing were.

use crate::carrier::{Carrier, Manner};
use crate::gateway::{Gateway, folder, rtp_ports, wait_until};
use crate::phone::{Dialog, Phone, Way, unique};
use crate::transfer::Scene;
use crate::voice::Voice;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

on_both_drivers! {
    a_flood_is_dropped_unread_and_callers_notice_nothing
    the_limit_of_a_source_holds_over_all_workers
    offences_on_all_workers_are_counted_together
    messages_are_capped_by_destination
    messages_inside_a_call_are_capped_and_the_call_lasts
    a_scanner_is_banned_on_all_workers_until_the_ban_is_lifted
    who_goes_on_though_refused_is_banned_and_longer_each_time
    a_peer_of_a_trunk_and_exempt_networks_are_never_limited_nor_banned
    unknown_sources_are_refused_without_a_trace
    unknown_sources_may_be_left_without_an_answer
    a_connection_of_a_scanner_is_closed
    caps_against_fraud_are_exact_over_two_workers
    caps_against_fraud_hold_by_trunk_and_alarms_let_calls_through
    a_burst_is_taken_every_call_of_it
    calls_that_waited_too_long_are_refused_and_calls_in_progress_served
}

/// A gateway on a file's text beside flags, one trunk to `carrier`; who may call is 127.0.0.1 alone.
fn start(io: &str, text: &str, workers: &str, trunk: &str) -> Gateway {
    let config = folder("abuse").join("gateway.toml");
    std::fs::write(&config, format!("allow = [\"127.0.0.1/32\"]\n{text}")).unwrap();
    let config = config.to_str().unwrap();
    Gateway::start(io, &["--config", config, "--workers", workers, "--rtp-ports", &rtp_ports(400), trunk])
}

fn carrier() -> (Carrier, String) {
    // Not on the callers' address: a trunk's peer is exempt, whichever port it calls from.
    let carrier = Carrier::start_at(SocketAddr::from(([127, 0, 0, 9], 0)), Manner::Answer);
    let trunk = carrier.trunk("carrier", ",max_calls=50");
    (carrier, trunk)
}

/// A socket of a source that may not call.
fn stranger(host: &str) -> UdpSocket {
    let socket = UdpSocket::bind((host, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    socket
}

fn request(method: &str, socket: &UdpSocket, gateway: SocketAddr, agent: &str) -> String {
    let (own, word) = (socket.local_addr().unwrap(), unique());
    let agent = if agent.is_empty() { String::new() } else { format!("User-Agent: {agent}\r\n") };
    format!(
        "{method} sip:100@{gateway} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK{word};rport\r\nMax-Forwards: 70\r\n\
         From: <sip:100@{own}>;tag={word}\r\nTo: <sip:100@{gateway}>\r\nCall-ID: {word}\r\nCSeq: 1 {method}\r\n\
         Contact: <sip:100@{own}>\r\n{agent}Content-Length: 0\r\n\r\n"
    )
}

/// What comes back to a request, if anything does.
fn answer(socket: &UdpSocket, gateway: SocketAddr, text: &str) -> Option<String> {
    socket.send_to(text.as_bytes(), gateway).unwrap();
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

fn call(phone: &mut Phone, gateway: &Gateway, number: &str) -> (Dialog, Option<u16>) {
    let sdp = Voice::new(phone.address.ip(), 1).sdp("sendrecv");
    let mut dialog = phone.invite(Way::Udp(gateway.sip), gateway.sip, number, &sdp);
    let status = phone.answered(&mut dialog).status();
    (dialog, status)
}

fn bans(gateway: &Gateway) -> Vec<serde_json::Value> {
    gateway.json("/api/v1/bans")["bans"].as_array().unwrap().clone()
}

fn metric(gateway: &Gateway, name: &str) -> f64 {
    gateway.metric(&format!("trunkline_{name}"))
}

fn a_flood_is_dropped_unread_and_callers_notice_nothing(io: &str) {
    let (_carrier, trunk) = carrier();
    let text = "[guard]\ndatagrams = [50, 100]\nban_malformed = 0\nban_refusals = 0\n";
    let gateway = start(io, text, "2", &trunk);
    let sip = gateway.sip;
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = stop.clone();
    let flood = std::thread::spawn(move || {
        let sockets: Vec<UdpSocket> = (0..4).map(|_| stranger("127.0.0.2")).collect();
        let mut sent = 0_u64;
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            for socket in &sockets {
                for text in [request("INVITE", socket, sip, ""), "nonsense".to_owned()] {
                    sent += u64::from(socket.send_to(text.as_bytes(), sip).is_ok());
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        sent
    });
    let mut phone = Phone::new("127.0.0.1");
    for round in 0..20 {
        let (mut dialog, status) = call(&mut phone, &gateway, &format!("10{round}"));
        assert_eq!(status, Some(200));
        phone.bye(&mut dialog);
    }
    wait_until("a flood that is noticed", || metric(&gateway, "guard_flood_dropped_total") > 1000.0);
    let begun_to_end = gateway.start_time + Duration::from_secs(60);
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let sent = flood.join().unwrap() as f64;
    let dropped =
        metric(&gateway, "guard_flood_dropped_total") + metric(&gateway, "guard_invites_dropped_total");
    let read =
        metric(&gateway, "calls_source_refused_total") + metric(&gateway, "sip_malformed_dropped_total");
    // All workers together let a burst in and fifty a second.
    assert!(read <= 110.0 + 50.0 * begun_to_end.as_secs_f64(), "{read} of {sent} were read");
    assert!(dropped > sent / 2.0, "{dropped} of {sent} were dropped");
    assert_eq!(metric(&gateway, "calls_started_total"), 20.0);
    assert_eq!(metric(&gateway, "calls_answered_total"), 20.0);
}

/// The stated tolerance (docs/operating.md): a twentieth of a second's worth for each worker, at most an eighth of the burst.
fn the_limit_of_a_source_holds_over_all_workers(io: &str) {
    const RATE: f64 = 100.0;
    const BURST: f64 = 200.0;
    const PART: f64 = 5.0;
    for workers in [1_u8, 2, 4] {
        let (_carrier, trunk) = carrier();
        let text = "[guard]\ndatagrams = [0, 0]\ninvites = [100, 200]\nban_refusals = 0\n";
        let gateway = start(io, text, &workers.to_string(), &trunk);
        // From so many ports that the kernel sends some to each worker.
        let sockets: Vec<UdpSocket> = (0..32).map(|_| stranger("127.0.0.2")).collect();
        let begun = Instant::now();
        let (mut sent, mut rounds) = (0, 0_u32);
        let (mut last, mut longest) = (begun, Duration::ZERO);
        while begun.elapsed() < Duration::from_secs(3) {
            for socket in &sockets {
                let text = request("INVITE", socket, gateway.sip, "");
                sent += u64::from(socket.send_to(text.as_bytes(), gateway.sip).is_ok());
            }
            longest = longest.max(last.elapsed());
            last = Instant::now();
            // Three times the limit, on each worker.
            rounds += 1;
            let due = begun
                + Duration::from_secs(1)
                    .mul_f64(f64::from(rounds) * 32.0 / (RATE * 3.0 * f64::from(workers)));
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        let offered = begun.elapsed().as_secs_f64();
        wait_until("all were read or dropped", || {
            metric(&gateway, "guard_invites_dropped_total") + metric(&gateway, "calls_source_refused_total")
                >= sent as f64
        });
        let took = begun.elapsed().as_secs_f64();
        let read = metric(&gateway, "calls_source_refused_total");
        let slack = PART * f64::from(workers) + 1.0;
        assert!(read <= BURST + RATE * took + slack, "{read} of {sent} were read in {took} s by {workers}");
        // Unless this host was too busy to send as much as was to be let in.
        if longest < Duration::from_secs(1) {
            assert!(read >= BURST + RATE * (offered - 0.1) - slack, "{read} in {offered} s by {workers}");
        }
        // Whoever sends little is not held up by what others have sent.
        let quiet = stranger("127.0.0.3");
        let text = request("INVITE", &quiet, gateway.sip, "");
        assert!(answer(&quiet, gateway.sip, &text).is_some_and(|it| it.starts_with("SIP/2.0 403 ")));
    }
}

fn offences_on_all_workers_are_counted_together(io: &str) {
    let (_carrier, trunk) = carrier();
    let text = "[guard]\ndatagrams = [0, 0]\ninvites = [0, 0]\nban_refusals = 24\n";
    let gateway = start(io, text, "4", &trunk);
    let sockets: Vec<UdpSocket> = (0..16).map(|_| stranger("127.0.0.2")).collect();
    let mut answered = 0;
    for round in 0..3 {
        for socket in &sockets {
            let text = request("INVITE", socket, gateway.sip, "");
            match answer(socket, gateway.sip, &text) {
                Some(_) => answered += 1,
                None => assert!(round > 0, "banned too early"),
            }
        }
    }
    // The last of them is on its way to the other workers while the next one comes.
    assert!((24..28).contains(&answered), "{answered} answered");
    wait_until("a ban", || bans(&gateway).len() == 1);
    assert_eq!(metric(&gateway, "guard_bans_total"), 1.0);
}

fn messages_are_capped_by_destination(io: &str) {
    // Not in the callers' network, which is exempt from nothing here but from the guard.
    let mut callee = Phone::new("127.0.0.9");
    let trunk = format!("--trunk=carrier={},max_calls=50", callee.address);
    let text = "[health]\nprobe_interval = \"0s\"\n\
                [[fraud]]\nname = \"satellites\"\nprefix = \"+882\"\nwho = \"each-source\"\nmax_messages_per_hour = 3\n\
                [[fraud]]\nname = \"all\"\nwho = \"all\"\nmax_messages_per_second = 200\naction = \"alarm\"\n";
    let gateway = start(io, text, "2", &trunk);
    let mut phone = Phone::new("127.0.0.1");
    let sip = gateway.sip;
    let mut send = |number: &str| {
        let (own, word) = (phone.address, unique());
        let text = format!(
            "MESSAGE sip:{number}@{sip} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK{word};rport\r\nMax-Forwards: 20\r\n\
             From: <sip:4711@{own}>;tag={word}\r\nTo: <sip:{number}@{sip}>\r\nCall-ID: {word}\r\nCSeq: 1 MESSAGE\r\n\
             Session-ID: ab30317f1a784dc48ff824d0d3715d86\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi"
        );
        phone.send(Way::Udp(sip), &text);
        loop {
            if let Some(it) = callee.find(Duration::from_millis(5), |it| it.method() == "MESSAGE") {
                callee.respond(&it, 200, "taken", "");
            }
            let is_final =
                |it: &crate::message::Message| it.answers(&word, "1 MESSAGE") && it.status() >= Some(200);
            if let Some((answer, _)) = phone.find(Duration::from_millis(5), is_final) {
                return answer.status().unwrap();
            }
        }
    };
    let all: Vec<u16> = (0..5).map(|n| send(&format!("+88213{n}"))).collect();
    assert_eq!(all, [200, 200, 200, 403, 403], "over both workers");
    assert_eq!(send("4930"), 200, "another destination");
    assert_eq!(metric(&gateway, "messages_fraud_refused_total"), 2.0);
    let alarms = gateway.json("/api/v1/alarms")["alarms"].as_array().unwrap().clone();
    assert_eq!(alarms.len(), 1, "{alarms:?}");
    assert_eq!(
        (&alarms[0]["rule"], &alarms[0]["who"], &alarms[0]["what"]),
        (&"satellites".into(), &"source 127.0.0.1".into(), &"more than 3 messages within an hour".into())
    );
    // The line of the log says which message, and with it which session, it was (RFC 7989).
    let line = gateway.logged("alarm fraud \"satellites\"").unwrap();
    assert!(line.contains("; Session-ID ab30317f1a784dc48ff824d0d3715d86;remote="), "{line}");
    assert!(alarms[0]["session_id"].as_str().unwrap().starts_with("ab30317f1a784dc48ff824d0d3715d86;"));
}

fn messages_inside_a_call_are_capped_and_the_call_lasts(io: &str) {
    let more = "[[fraud]]\nname = \"many\"\nprefix = \"100\"\nwho = \"all\"\nmax_messages_per_hour = 2\nstatus = 480\n\
                [[fraud]]\nname = \"trunk\"\nprefix = \"1003\"\nwho = \"each-trunk\"\nmax_messages_per_hour = 1\n";
    let mut scene = Scene::new(io, 2, more);
    let (mut a, mut b, _, _) = scene.call("1002");
    let mut statuses = Vec::new();
    for number in 0..4 {
        scene.alice.phone.begin_request_with(&mut a, "MESSAGE", "");
        if number < 2 {
            let message = scene.bob.phone.expect("MESSAGE");
            scene.bob.phone.respond(&message, 200, "", "");
        }
        let cseq = format!("{} MESSAGE", a.cseq);
        statuses.push(scene.alice.phone.final_response(&a.call_id.clone(), &cseq).status().unwrap());
    }
    // A 480 would end the call (RFC 5057 section 5.1).
    assert_eq!(statuses, [200, 200, 403, 403]);
    // The other way it is for her number, of which no rule speaks.
    for _ in 0..3 {
        scene.bob.phone.begin_request_with(&mut b, "MESSAGE", "");
        let message = scene.alice.phone.expect("MESSAGE");
        scene.alice.phone.respond(&message, 200, "", "");
        let cseq = format!("{} MESSAGE", b.cseq);
        assert_eq!(scene.bob.phone.final_response(&b.call_id.clone(), &cseq).status(), Some(200));
    }
    // Together with those outside of calls.
    let gateway = scene.sip();
    let (_, outside) = scene.alice.phone.outside_as("4711", gateway, "1002", "MESSAGE", "");
    assert_eq!(outside.status(), Some(480));
    assert_eq!(metric(&scene.gateway, "messages_fraud_refused_total"), 3.0);
    scene.alice.phone.bye(&mut a);
    scene.bob.is_hung_up(&b);
}

fn a_scanner_is_banned_on_all_workers_until_the_ban_is_lifted(io: &str) {
    let (_carrier, trunk) = carrier();
    let gateway = start(io, "", "2", &trunk);
    let scanner = stranger("127.0.0.3");
    let text = request("OPTIONS", &scanner, gateway.sip, "Friendly-Scanner");
    assert_eq!(answer(&scanner, gateway.sip, &text), None, "a scanner learns nothing");
    wait_until("a ban", || bans(&gateway).len() == 1);
    let ban = bans(&gateway).remove(0);
    assert_eq!(
        (&ban["source"], &ban["reason"], &ban["times"]),
        (&"127.0.0.3".into(), &"scanner".into(), &1.into())
    );
    assert!((290..=300).contains(&ban["seconds_left"].as_u64().unwrap()), "{ban}");
    wait_until("a line of the log", || gateway.logged("banned 127.0.0.3 for 300 s: scanner").is_some());
    // Every worker knows: from many ports the kernel spreads what comes over both.
    let ports: Vec<UdpSocket> = (0..8).map(|_| stranger("127.0.0.3")).collect();
    for port in &ports {
        let text = request("INVITE", port, gateway.sip, "");
        assert_eq!(answer(port, gateway.sip, &text), None);
    }
    assert_eq!(metric(&gateway, "guard_banned_dropped_total"), 8.0);
    assert_eq!(metric(&gateway, "bans_total"), 1.0);
    let (status, said) = gateway.ask("DELETE", "/api/v1/bans/127.0.0.3");
    assert_eq!((status, said.as_str()), (200, "{\"lifted\":1}"));
    assert!(bans(&gateway).is_empty());
    for port in &ports {
        let text = request("INVITE", port, gateway.sip, "");
        wait_until("to be listened to again", || {
            answer(port, gateway.sip, &text).is_some_and(|said| said.starts_with("SIP/2.0 403 "))
        });
    }
    assert_eq!(gateway.ask("DELETE", "/api/v1/bans/127.0.0.3").0, 404);
    assert_eq!(gateway.ask("DELETE", "/api/v1/bans/nonsense").0, 400);
    let text = request("OPTIONS", &scanner, gateway.sip, "sipcli/v1.8");
    assert_eq!(answer(&scanner, gateway.sip, &text), None);
    wait_until("a ban again", || bans(&gateway).len() == 1);
    assert_eq!(gateway.ask("DELETE", "/api/v1/bans"), (200, "{\"lifted\":1}".into()));
    assert_eq!((metric(&gateway, "bans"), metric(&gateway, "bans_lifted_total")), (0.0, 2.0));
}

fn who_goes_on_though_refused_is_banned_and_longer_each_time(io: &str) {
    let (_carrier, trunk) = carrier();
    let gateway = start(
        io,
        "[guard]\nban = \"1s\"\nban_max = \"3s\"\nban_refusals = 5\nban_malformed = 4\n",
        "1",
        &trunk,
    );
    let (refused, malformed) = (stranger("127.0.0.2"), stranger("127.0.0.3"));
    for times in 1..=3 {
        for _ in 0..5 {
            let text = request("INVITE", &refused, gateway.sip, "");
            assert!(answer(&refused, gateway.sip, &text).is_some());
        }
        wait_until("a ban", || bans(&gateway).len() == 1);
        let ban = bans(&gateway).remove(0);
        assert_eq!(ban["reason"], "refused");
        wait_until("a line of the log", || {
            gateway.log().lines().filter(|line| line.contains("banned 127.0.0.2 for ")).count() == times
        });
        wait_until("its end", || bans(&gateway).is_empty());
    }
    for span in ["for 1 s", "for 2 s", "for 3 s"] {
        assert!(
            gateway.logged(&format!("banned 127.0.0.2 {span}: refused (5 requests")).is_some(),
            "{}",
            gateway.log()
        );
    }
    for _ in 0..4 {
        malformed.send_to(b"INVITE what is this\r\n\r\n", gateway.sip).unwrap();
    }
    wait_until("a ban", || bans(&gateway).iter().any(|ban| ban["reason"] == "malformed"));
}

/// Source addresses of datagrams can be forged: whatever is sent in a peer's name, it is served.
fn a_peer_of_a_trunk_and_exempt_networks_are_never_limited_nor_banned(io: &str) {
    let (carrier, trunk) = carrier();
    let text = "[guard]\nnever_limit = [\"127.0.0.4/32\"]\ndatagrams = [1, 2]\ninvites = [1, 1]\nothers = [1, 1]\n\
                ban_malformed = 1\nban_refusals = 1\n";
    let gateway = start(io, text, "2", &trunk);
    for host in ["127.0.0.9", "127.0.0.1", "127.0.0.4"] {
        let socket = stranger(host);
        for round in 0..40 {
            let scanner = request("OPTIONS", &socket, gateway.sip, "friendly-scanner");
            let said = answer(&socket, gateway.sip, &scanner)
                .unwrap_or_else(|| panic!("{host} is not answered in round {round}"));
            assert!(
                said.starts_with(if host == "127.0.0.4" { "SIP/2.0 403 " } else { "SIP/2.0 200 " }),
                "{said}"
            );
            socket.send_to(b"INVITE rubbish\r\n\r\n", gateway.sip).unwrap();
        }
    }
    assert!(bans(&gateway).is_empty(), "{:?}", bans(&gateway));
    let mut phone = Phone::new("127.0.0.1");
    let (mut dialog, status) = call(&mut phone, &gateway, "1");
    assert_eq!(status, Some(200));
    phone.bye(&mut dialog);
    assert_eq!(carrier.seen().count("INVITE"), 1);
    for counter in ["flood", "invites", "others", "registers", "banned", "scanner"] {
        assert_eq!(metric(&gateway, &format!("guard_{counter}_dropped_total")), 0.0, "{counter}");
    }
    assert!(
        metric(&gateway, "sip_malformed_dropped_total") + metric(&gateway, "sip_malformed_refused_total")
            >= 100.0
    );
}

fn unknown_sources_are_refused_without_a_trace(io: &str) {
    let (carrier, trunk) = carrier();
    let gateway = start(io, "[health]\nprobe_interval = \"0s\"\n[guard]\nban_refusals = 0\n", "2", &trunk);
    let socket = stranger("127.0.0.2");
    for method in ["INVITE", "OPTIONS", "REGISTER", "SUBSCRIBE"] {
        let text = request(method, &socket, gateway.sip, "");
        let first = answer(&socket, gateway.sip, &text).unwrap();
        assert!(first.starts_with("SIP/2.0 403 "), "{first}");
        // RFC 3261 §8.2.7: answered the same each time, tag and all, since nothing was kept.
        assert_eq!(answer(&socket, gateway.sip, &text), Some(first));
    }
    assert_eq!(metric(&gateway, "sip_transactions"), 0.0);
    assert_eq!((metric(&gateway, "legs"), metric(&gateway, "calls_started_total")), (0.0, 0.0));
    assert_eq!(metric(&gateway, "sip_retransmissions_absorbed_total"), 0.0);
    assert_eq!(metric(&gateway, "calls_source_refused_total"), 2.0);
    assert_eq!(metric(&gateway, "sip_strangers_requests_refused_total"), 6.0);
    assert_eq!(carrier.seen().count("INVITE"), 0);
}

fn unknown_sources_may_be_left_without_an_answer(io: &str) {
    let (_carrier, trunk) = carrier();
    let gateway = start(io, "[guard]\nunknown = \"drop\"\n", "2", &trunk);
    let socket = stranger("127.0.0.2");
    for method in ["INVITE", "OPTIONS", "REGISTER", "BYE", "CANCEL", "FOO"] {
        let text = request(method, &socket, gateway.sip, "");
        assert_eq!(answer(&socket, gateway.sip, &text), None, "{method}");
    }
    assert_eq!(
        answer(&socket, gateway.sip, "INVITE sip:a SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\n\r\n"),
        None
    );
    assert!(metric(&gateway, "sip_strangers_ignored_total") >= 6.0);
    let mut phone = Phone::new("127.0.0.1");
    assert_eq!(phone.options(Way::Udp(gateway.sip), gateway.sip), Some(200));
}

fn a_connection_of_a_scanner_is_closed(io: &str) {
    let (_carrier, trunk) = carrier();
    let gateway = start(io, "", "2", &trunk);
    // A connection comes from 127.0.0.1 unless it is bound elsewhere first.
    let connect = || {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 5], 0)).into()).unwrap();
        socket.connect(&gateway.sip.into()).unwrap();
        let stream = std::net::TcpStream::from(socket);
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    };
    let read = |stream: &mut std::net::TcpStream| {
        let mut buffer = [0; 4096];
        let length = std::io::Read::read(stream, &mut buffer).unwrap_or(0);
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let udp = stranger("127.0.0.5");
    let mut stream = connect();
    let text = request("OPTIONS", &udp, gateway.sip, "").replace("SIP/2.0/UDP", "SIP/2.0/TCP");
    std::io::Write::write_all(&mut stream, text.as_bytes()).unwrap();
    assert!(read(&mut stream).starts_with("SIP/2.0 403 "));
    let text = request("OPTIONS", &udp, gateway.sip, "sipvicious").replace("SIP/2.0/UDP", "SIP/2.0/TCP");
    std::io::Write::write_all(&mut stream, text.as_bytes()).unwrap();
    assert_eq!(read(&mut stream), "", "closed");
    wait_until("a ban", || bans(&gateway).len() == 1);
    assert_eq!(read(&mut connect()), "", "who is banned is not connected");
    assert_eq!(metric(&gateway, "guard_connections_closed_total"), 2.0);
}

fn caps_against_fraud_are_exact_over_two_workers(io: &str) {
    let (carrier, trunk) = carrier();
    let text = "[[fraud]]\nname = \"satellites\"\nprefix = \"+882\"\nwho = \"all\"\nmax_calls = 3\n\
                [[fraud]]\nname = \"each\"\nprefix = \"+88\"\nwho = \"each-source\"\nmax_calls = 5\nstatus = 503\n";
    let gateway = start(io, text, "2", &trunk);
    let mut phone = Phone::new("127.0.0.1");
    let sdp = Voice::new(phone.address.ip(), 1).sdp("sendrecv");
    for round in 1..=3 {
        let number =
            |n: usize| if n.is_multiple_of(2) { format!("+88213{n}") } else { format!("0088299{n}") };
        let mut calls: Vec<Dialog> =
            (0..30).map(|n| phone.invite(Way::Udp(gateway.sip), gateway.sip, &number(n), &sdp)).collect();
        let mut up = Vec::new();
        for mut dialog in calls.drain(..) {
            match phone.answered(&mut dialog).status() {
                Some(200) => up.push(dialog),
                status => assert_eq!(status, Some(403)),
            }
        }
        assert_eq!(up.len(), 3, "round {round}");
        // Another destination is free, until the source has its five.
        let more: Vec<(Dialog, Option<u16>)> =
            (0..4).map(|n| call(&mut phone, &gateway, &format!("+881{n}"))).collect();
        let statuses: Vec<u16> = more.iter().map(|(_, status)| status.unwrap()).collect();
        assert_eq!(statuses, [200, 200, 503, 503], "round {round}");
        up.extend(more.into_iter().filter(|(_, status)| *status == Some(200)).map(|(dialog, _)| dialog));
        assert_eq!(call(&mut phone, &gateway, "+4930").1, Some(200), "no rule for it");
        for dialog in &mut up {
            phone.bye(dialog);
        }
        gateway.wait_calls(round);
    }
    assert_eq!(carrier.seen().count("INVITE"), 3 * 6, "what was refused never reached the carrier");
    assert_eq!(metric(&gateway, "calls_fraud_refused_total"), 3.0 * (27.0 + 2.0));
    let alarms = gateway.json("/api/v1/alarms");
    let alarms = alarms["alarms"].as_array().unwrap();
    assert_eq!(alarms.len(), 2, "one a minute each: {alarms:?}");
    let first = alarms.last().unwrap();
    assert_eq!(
        (&first["kind"], &first["rule"], &first["who"]),
        (&"fraud".into(), &"satellites".into(), &"all".into())
    );
    assert_eq!((&first["what"], &first["refused"]), (&"more than 3 calls at a time".into(), &true.into()));
    assert_eq!(alarms[0]["who"], "source 127.0.0.1");
    assert_eq!(metric(&gateway, "alarms_total"), 2.0);
    assert!(
        gateway.logged("alarm fraud \"satellites\": all: more than 3 calls at a time; refused").is_some()
    );
    wait_until("records of all refusals", || gateway.causes().get("a cap against toll fraud") == Some(&87));
}

fn caps_against_fraud_hold_by_trunk_and_alarms_let_calls_through(io: &str) {
    let (first, trunk) = carrier();
    let second = Carrier::start_at(SocketAddr::from(([127, 0, 0, 9], 0)), Manner::Answer);
    let text = "[[fraud]]\nname = \"per trunk\"\nprefix = \"9\"\nwho = \"each-trunk\"\nmax_calls = 2\nstatus = 503\n\
                [[fraud]]\nname = \"watch\"\nwho = \"all\"\nmax_calls = 1\naction = \"alarm\"\n";
    let config = folder("abuse").join("gateway.toml");
    std::fs::write(&config, format!("allow = [\"127.0.0.1/32\"]\n{text}")).unwrap();
    let gateway = Gateway::start(
        io,
        &[
            "--config",
            config.to_str().unwrap(),
            "--workers=2",
            "--rtp-ports",
            &rtp_ports(400),
            &trunk,
            &second.trunk("second", ""),
            "--route==carrier|second",
        ],
    );
    let mut phone = Phone::new("127.0.0.1");
    let calls: Vec<(Dialog, Option<u16>)> =
        (0..6).map(|n| call(&mut phone, &gateway, &format!("9{n}"))).collect();
    let statuses: Vec<u16> = calls.iter().map(|(_, status)| status.unwrap()).collect();
    assert_eq!(statuses, [200, 200, 200, 200, 503, 503], "two on each trunk");
    assert_eq!((first.seen().count("INVITE"), second.seen().count("INVITE")), (2, 2));
    assert_eq!(gateway.trunk("carrier")["calls"], 2, "no place is left taken");
    for (mut dialog, _) in calls.into_iter().filter(|(_, status)| *status == Some(200)) {
        phone.bye(&mut dialog);
    }
    gateway.wait_calls(0);
    let begun = Instant::now();
    assert_eq!(call(&mut phone, &gateway, "95").1, Some(200), "places came back");
    assert!(begun.elapsed() < Duration::from_secs(5));
    let alarms = gateway.json("/api/v1/alarms").to_string();
    assert!(
        alarms.contains("\"watch\"") && alarms.contains("trunk carrier") && alarms.contains("trunk second"),
        "{alarms}"
    );
}

/// What a host that has no time for a moment leaves behind is a burst, and no overload.
fn a_burst_is_taken_every_call_of_it(io: &str) {
    use rustix::process::Signal;
    let (_carrier, trunk) = carrier();
    let gateway = start(io, "", "1", &trunk);
    let mut phone = Phone::new("127.0.0.1");
    let sdp = Voice::new(phone.address.ip(), 1).sdp("sendrecv");
    assert_eq!(call(&mut phone, &gateway, "1").1, Some(200));
    gateway.signal(Signal::STOP);
    std::thread::sleep(Duration::from_millis(200));
    let mut waiting: Vec<_> =
        (0..30).map(|_| phone.invite(Way::Udp(gateway.sip), gateway.sip, "1", &sdp)).collect();
    std::thread::sleep(Duration::from_millis(50));
    gateway.signal(Signal::CONT);
    for dialog in &mut waiting {
        assert_eq!(phone.answered(dialog).status(), Some(200));
    }
    assert!(metric(&gateway, "overload_stood_back_total") >= 30.0);
    assert!(metric(&gateway, "overload_queue_refused_total") < 1.0);
}

/// The process is stopped for a while, as by a host that has no time for it: what came meanwhile bears the kernel's stamp.
fn calls_that_waited_too_long_are_refused_and_calls_in_progress_served(io: &str) {
    use rustix::process::Signal;
    let (carrier, trunk) = carrier();
    let gateway = start(io, "[overload]\ntarget = \"400ms\"\ninterval = \"0s\"\n", "1", &trunk);
    let mut phone = Phone::new("127.0.0.1");
    let sdp = Voice::new(phone.address.ip(), 1).sdp("sendrecv");
    // On a host that is busy enough the first ones are refused as well.
    let mut up = None;
    wait_until("a call", || {
        up = Some(call(&mut phone, &gateway, "1")).filter(|(_, status)| *status == Some(200));
        up.is_some()
    });
    let (mut up, _) = up.unwrap();
    gateway.signal(Signal::STOP);
    // Its threads stop one after the other, and soon.
    std::thread::sleep(Duration::from_millis(200));
    let mut late = phone.invite(Way::Udp(gateway.sip), gateway.sip, "2", &sdp);
    phone.begin_request(&mut up, "BYE", "");
    std::thread::sleep(Duration::from_millis(1200));
    gateway.signal(Signal::CONT);
    let answer = phone.answered(&mut late);
    assert_eq!(answer.status(), Some(503), "{}", answer.text);
    assert!(answer.field("retry-after").parse::<u32>().is_ok(), "{}", answer.text);
    let bye = phone.final_response(&up.call_id, &format!("{} BYE", up.cseq));
    assert_eq!(bye.status(), Some(200), "what belongs to a call is served, however late");
    wait_until("calls to be taken again", || call(&mut phone, &gateway, "3").1 == Some(200));
    assert!(metric(&gateway, "overload_queue_refused_total") >= 1.0);
    assert!(metric(&gateway, "queue_wait_us_total") >= 1_000_000.0, "two messages of 1200 ms");
    assert!(
        !carrier.seen().requests.iter().any(|request| request.number() == "2"),
        "it never reached the carrier"
    );
    wait_until("an alarm", || gateway.json("/api/v1/alarms").to_string().contains("\"overload\""));
    assert!(gateway.logged("alarm overload: worker 0: messages wait ").is_some(), "{}", gateway.log());
}
