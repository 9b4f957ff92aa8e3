//! RTCP of the gateway's own: what its reports say to peers that read them by RFC 3550 and RFC 3611 octet by octet, what it makes of theirs, and
//! calls in which a side is not heard. tshark, which shares no code with either, reads the same packets.

use crate::gateway::{Gateway, folder, rtp_ports, wait_until};
use crate::phone::{Dialog, Phone, Way};
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

on_both_drivers! {
    each_leg_is_reported_by_the_gateway_and_losses_show
    reports_pass_as_they_are_unless_told_otherwise
    a_side_that_is_not_heard_is_told_of
}

/// RTT that the callee makes the gateway see: it holds a report longer than it says.
const AWAY: Duration = Duration::from_millis(80);

/// One side's media: RTP, and RTCP on a port that SDP names (RFC 3605).
struct Side {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    ssrc: u32,
    number: u16,
    /// Packets heard, RTCP datagrams heard and when.
    heard: u32,
    reports: Vec<(Instant, Vec<u8>)>,
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

impl Side {
    fn new(ssrc: u32) -> Self {
        let socket = || {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        };
        Self { rtp: socket(), rtcp: socket(), ssrc, number: 100, heard: 0, reports: Vec::new() }
    }

    fn sdp(&self) -> String {
        let [rtp, rtcp] = [&self.rtp, &self.rtcp].map(|socket| socket.local_addr().unwrap().port());
        format!(
            "v=0\r\no=x {rtp} 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {rtp} RTP/AVP 8\r\n\
             a=rtcp:{rtcp}\r\na=rtcp-xr:pkt-loss-rle\r\n"
        )
    }

    /// The next packet of 20 ms; lost on its way if so.
    fn speak(&mut self, to: SocketAddr, lost: bool) {
        let mut packet = vec![0x80, 8];
        packet.extend(self.number.to_be_bytes());
        packet.extend((u32::from(self.number) * 160).to_be_bytes());
        packet.extend(self.ssrc.to_be_bytes());
        packet.resize(172, 0xd5);
        self.number += 1;
        if !lost {
            self.rtp.send_to(&packet, to).unwrap();
        }
    }

    fn hear(&mut self) {
        let mut packet = [0; 2048];
        while self.rtp.recv(&mut packet).is_ok() {
            self.heard += 1;
        }
        while let Ok(len) = self.rtcp.recv(&mut packet) {
            self.reports.push((Instant::now(), packet[..len].to_vec()));
        }
    }
}

/// The packets of a compound packet: type, count, and the octets after the header (RFC 3550 §6.1).
fn packets(datagram: &[u8]) -> Vec<(u8, u8, &[u8])> {
    let (mut rest, mut all) = (datagram, Vec::new());
    while !rest.is_empty() {
        assert_eq!(rest[0] >> 5, 4, "version 2, no padding: {datagram:02x?}");
        let octets = 4 * (usize::from(u16::from_be_bytes([rest[2], rest[3]])) + 1);
        all.push((rest[1], rest[0] & 31, &rest[4..octets]));
        rest = &rest[octets..];
    }
    all
}

struct Row {
    gateway: Gateway,
    caller: Phone,
    callee: Phone,
    near: Side,
    far: Side,
}

impl Row {
    fn start(io: &str, media: &str) -> Self {
        let (caller, callee) = (Phone::new("127.0.0.1"), Phone::new("127.0.0.1"));
        let path = folder("rtcp").join("gateway.toml");
        let text = format!(
            "[media]\n{media}\n[health]\nprobe_interval = \"0s\"\n[[trunk]]\nname = \"t\"\npeers = [\"{}\"]\n\
             [[route]]\nto = [\"t\"]\n",
            callee.address
        );
        std::fs::write(&path, text).unwrap();
        let ports = rtp_ports(40);
        let arguments = ["--config", path.to_str().unwrap(), "--workers", "2", "--rtp-ports", &ports];
        let gateway = Gateway::start(io, &arguments);
        Self { gateway, caller, callee, near: Side::new(0x0a0a_0a0a), far: Side::new(0x0b0b_0b0b) }
    }

    /// A call; the dialog, what the callee was offered and the caller answered, and where each is to send.
    fn call(&mut self) -> (Dialog, [String; 2], [SocketAddr; 2]) {
        let way = Way::Udp(self.gateway.sip);
        let mut call = self.caller.invite(way, self.gateway.sip, "1000", &self.near.sdp());
        let invite = self.callee.expect("INVITE");
        self.callee.respond(&invite, 200, "callee", &self.far.sdp());
        let answer = self.caller.answered(&mut call);
        assert_eq!(answer.status(), Some(200), "{}", answer.text);
        self.callee.expect("ACK");
        let to = [answer.audio(), invite.0.audio()];
        (call, [invite.0.body, answer.body], to)
    }

    fn end(&mut self, mut call: Dialog) -> serde_json::Value {
        self.caller.begin_request(&mut call, "BYE", "");
        let bye = self.callee.expect("BYE");
        self.callee.respond(&bye, 200, "callee", "");
        self.gateway.wait_cdrs(1).remove(0)
    }
}

fn above(rtp: SocketAddr) -> SocketAddr {
    SocketAddr::new(rtp.ip(), rtp.port() + 1)
}

fn each_leg_is_reported_by_the_gateway_and_losses_show(io: &str) {
    let mut row = Row::start(io, "rtcp = \"own\"\nrtcp_xr = true");
    let (call, described, [near_to, far_to]) = row.call();
    for sdp in &described {
        assert!(
            sdp.contains("a=rtcp-xr:rcvr-rtt=all voip-metrics\r\n") && !sdp.contains("pkt-loss"),
            "{sdp}"
        );
    }
    let (begun, mut answered, mut lost) = (Instant::now(), 0, 0);
    let mut waiting: Option<(Instant, u32)> = None;
    // Until the callee has had three reports: within two intervals of 6.2 s and a first one of 3.1.
    // What was heard, lost and sent when each report came.
    let mut marks: Vec<(u32, u32, u16)> = Vec::new();
    while row.far.reports.len() < 3 || row.near.reports.len() < 3 {
        assert!(begun.elapsed() < Duration::from_secs(30), "{} reports", row.far.reports.len());
        let drop = row.far.number % 20 == 7;
        lost += u32::from(drop);
        row.near.speak(near_to, false);
        row.far.speak(far_to, drop);
        std::thread::sleep(Duration::from_millis(20));
        row.near.hear();
        row.far.hear();
        // The callee answers each report after a while, and says that it was less: the rest was on the way.
        if row.far.reports.len() > answered {
            answered = row.far.reports.len();
            let (at, report) = &row.far.reports[answered - 1];
            assert_eq!(report[1], 200, "the gateway sends to it: SR");
            waiting = Some((*at, word(report, 8) << 16 | word(report, 12) >> 16));
            marks.resize(answered, (row.far.heard, lost, row.far.number));
        }
        if let Some((at, middle)) = waiting.filter(|(at, _)| at.elapsed() > AWAY + Duration::from_millis(40))
        {
            let held = at.elapsed() - AWAY;
            let mut report = vec![0x81, 201, 0, 7];
            let highest = 100 + row.far.heard;
            let delay = (held.as_nanos() * 65_536 / 1_000_000_000) as u32;
            // 10 % lost of the interval, jitter of 20 ms.
            for word in [row.far.ssrc, row.near.ssrc, 26 << 24 | 3, highest, 160, middle, delay] {
                report.extend(word.to_be_bytes());
            }
            row.far.rtcp.send_to(&report, above(far_to)).unwrap();
            waiting = None;
        }
    }
    let (_, report) = row.far.reports[2].clone();
    let (sent_at_report, lost_at_report, number) = marks[2];
    let all = packets(&report);
    assert_eq!(all.iter().map(|it| it.0).collect::<Vec<_>>(), [200, 202, 207], "SR, SDES, XR");
    let (_, blocks, body) = all[0];
    assert_eq!((blocks, word(body, 0)), (1, row.near.ssrc), "the source of the stream that it gets");
    let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!((u64::from(word(body, 4)) - 2_208_988_800).abs_diff(unix) < 40, "NTP time");
    let sent = word(body, 16);
    assert!(sent.abs_diff(sent_at_report) <= 3, "{sent} packets said, {sent_at_report} heard");
    assert_eq!(word(body, 20), sent * 160, "payload octets");
    // Timestamps are 160 for each packet of 20 ms, whenever that comes on a busy machine: the one sent last, and some.
    let ahead = word(body, 12).wrapping_sub((99 + sent) * 160).cast_signed();
    assert!((0..8000).contains(&ahead), "{ahead} ticks after the last packet");
    let block = &body[24..];
    assert_eq!(word(block, 0), row.far.ssrc);
    assert!((9..=17).contains(&block[4]), "5 % of 256 is 12.8: {}", block[4]);
    let said = word(block, 4) & 0xff_ffff;
    assert!(
        said <= lost_at_report && said + 2 >= lost_at_report,
        "{said} lost said, {lost_at_report} dropped"
    );
    assert!(word(block, 8).abs_diff(u32::from(number)) < 5, "highest sequence number");
    let (_, chunks, names) = all[1];
    assert_eq!((chunks, word(names, 0), names[4], names[5]), (1, row.near.ssrc, 1, 16), "CNAME of 96 bits");
    // XR: VoIP metrics follow the last-received block if there is one.
    let extended = all[2].2;
    let at = 4 + if extended[4] == 7 { 0 } else { 4 + 4 * usize::from(extended[7]) };
    let metrics = &extended[at + 4..];
    assert_eq!((extended[at], extended[at + 3], word(metrics, 0)), (7, 8, row.far.ssrc));
    assert!((11..=13).contains(&metrics[4]), "loss rate of 5 %: {}", metrics[4]);
    let round_trip = u16::from_be_bytes([metrics[12], metrics[13]]);
    assert!((80..=160).contains(&round_trip), "{round_trip} ms");
    // G.711 without concealment: 95 × 5 / (5 + 4.3) = 51 of 93.2.
    assert_eq!(metrics[19], 16, "Gmin");
    assert!((34..=43).contains(&metrics[20]), "R {}", metrics[20]);
    assert!((20..=23).contains(&metrics[22]), "MOS-LQ {}", metrics[22]);
    let cdr = row.end(call);
    goodbye(&mut row);
    dissect(&row);
    let leg = &cdr["media"]["callee"];
    assert!(leg["received"]["lost"].as_u64().unwrap().abs_diff(lost.into()) <= 1, "{leg}");
    assert!((80.0..160.0).contains(&leg["round_trip_ms"].as_f64().unwrap()), "{leg}");
    assert!(leg["received"]["mos_mean"].as_f64().unwrap() < 2.7, "{leg}");
    let figure = |leg: &serde_json::Value, name: &str| leg["received"][name].as_f64().unwrap();
    assert!(
        figure(leg, "r_min") <= figure(leg, "r_mean") && figure(leg, "mos_lq") >= figure(leg, "mos"),
        "{leg}"
    );
    assert!(leg["received"]["poor_seconds"].as_u64().unwrap() >= 3, "{leg}");
    assert!(leg["sent"]["mos_mean"].as_f64().unwrap() < 2.0, "as the callee said: {leg}");
    assert!(leg["rtcp_own"].as_u64().unwrap() >= 4 && leg["rtcp_passed"] == 0, "{leg}");
    let clean = &cdr["media"]["caller"];
    assert!(figure(clean, "mos_mean") > 4.2, "{clean}");
    assert!(row.gateway.metric("trunkline_rtcp_own_sent_total") >= 8.0);
    assert!(row.gateway.metric("trunkline_quality_seconds_poor_total") >= 3.0);
}

/// The last report on each leg says goodbye (RFC 3550 §6.6).
fn goodbye(row: &mut Row) {
    for (side, ssrc) in [(&mut row.near, row.far.ssrc), (&mut row.far, 0x0a0a_0a0a)] {
        let begun = Instant::now();
        let last = loop {
            side.hear();
            let (_, last) = side.reports.last().unwrap();
            if packets(last).last().unwrap().0 == 203 {
                break last.clone();
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "no goodbye: {last:02x?}");
            std::thread::sleep(Duration::from_millis(10));
        };
        let all = packets(&last);
        assert_eq!((all.last().unwrap().1, word(all.last().unwrap().2, 0)), (1, ssrc));
    }
}

/// What tshark reads in the callee's reports, if it is here.
fn dissect(row: &Row) {
    let port = row.far.rtcp.local_addr().unwrap().port();
    let mut capture = Vec::new();
    // pcap, of IPv4 packets.
    for half in [0xc3d4u16, 0xa1b2, 2, 4] {
        capture.extend(half.to_le_bytes());
    }
    for word in [0u32, 0, 65_535, 228] {
        capture.extend(word.to_le_bytes());
    }
    for (_, report) in &row.far.reports {
        let len = report.len() as u16;
        let mut packet = vec![0x45, 0];
        packet.extend((len + 28).to_be_bytes());
        packet.extend([0, 0, 0, 0, 64, 17, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1]);
        for half in [port + 1, port, len + 8, 0] {
            packet.extend(half.to_be_bytes());
        }
        packet.extend(report);
        for word in [1, 0, packet.len() as u32, packet.len() as u32] {
            capture.extend(word.to_le_bytes());
        }
        capture.extend(packet);
    }
    let path = folder("rtcp-pcap").join("reports.pcap");
    std::fs::write(&path, capture).unwrap();
    let dissector = Command::new("tshark")
        .args(["-n", "-V", "-d", &format!("udp.port=={port},rtcp"), "-r"])
        .arg(&path)
        .output();
    let Ok(output) = dissector else {
        println!("no tshark here: its view of the reports is not asked for");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!text.contains("Malformed") && !text.contains("incorrect"), "{text}");
    let (_, third) = &row.far.reports[2];
    for line in [
        format!("Sender's packet count: {}", word(third, 20)),
        format!("Sender's octet count: {}", word(third, 24)),
        format!("Fraction lost: {} / 256", third[32]),
        format!("Cumulative number of packets lost: {}", word(third, 32) & 0xff_ffff),
        "Type: CNAME (user and domain) (1)".to_owned(),
        "Type: VoIP Metrics Report Block (7)".to_owned(),
        "Gmin: 16".to_owned(),
        "Packet type: Goodbye (203)".to_owned(),
    ] {
        assert!(text.contains(&line), "tshark does not say {line:?}:\n{text}");
    }
}

fn reports_pass_as_they_are_unless_told_otherwise(io: &str) {
    // RR without a block, and SDES with a CNAME.
    let name = [10, 10, 10, 10, 1, 4, b'n', b'a', b'm', b'e', 0, 0];
    let report = [&[0x80, 201, 0, 1][..], &[0x0a; 4], &[0x81, 202, 0, 3], &name].concat();
    for (policy, passes) in [("auto", true), ("pass", true), ("own", false), ("off", false)] {
        let mut row = Row::start(io, &format!("rtcp = \"{policy}\""));
        let (call, described, [near_to, _]) = row.call();
        assert_eq!(described[0].contains("a=rtcp-xr:pkt-loss-rle\r\n"), passes, "{policy}: {}", described[0]);
        row.near.speak(near_to, false);
        row.near.rtcp.send_to(&report, above(near_to)).unwrap();
        wait_until("RTP", || {
            row.far.hear();
            row.far.heard == 1
        });
        wait_until("RTCP", || row.gateway.metric("trunkline_rtcp_received_total") == 1.0);
        row.far.hear();
        let heard: Vec<&Vec<u8>> =
            row.far.reports.iter().map(|(_, it)| it).filter(|it| **it == report).collect();
        assert_eq!(heard.len(), usize::from(passes), "{policy}");
        let cdr = row.end(call);
        assert_eq!(cdr["media"]["callee"]["rtcp_passed"], u64::from(passes), "{cdr}");
    }
}

fn a_side_that_is_not_heard_is_told_of(io: &str) {
    let mut row = Row::start(io, "one_way_after = \"1s\"");
    let (call, _, [near_to, _]) = row.call();
    let begun = Instant::now();
    while row.gateway.metric("trunkline_calls_one_way_total") == 0.0 {
        assert!(begun.elapsed() < Duration::from_secs(20), "nobody noticed");
        for _ in 0..10 {
            row.near.speak(near_to, false);
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let alarms = row.gateway.json("/api/v1/alarms");
    let alarm = &alarms["alarms"][0];
    assert_eq!((&alarm["kind"], &alarm["refused"]), (&"one_way".into(), &false.into()), "{alarms}");
    assert!(alarm["what"].as_str().unwrap().contains("the carrier sent no RTP for 1 s"), "{alarms}");
    // Then the caller says nothing more either.
    wait_until("silence", || row.gateway.metric("trunkline_calls_no_audio_total") == 1.0);
    let cdr = row.end(call);
    let media = &cdr["media"];
    assert_eq!(
        (&media["callee"]["silent"], &media["caller"]["silent"]),
        (&true.into(), &false.into()),
        "{cdr}"
    );
    assert_eq!(media["no_audio"], true);
    assert_eq!(row.gateway.metric("trunkline_calls_one_way_total"), 1.0, "once a call");
}
