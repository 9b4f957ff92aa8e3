//! Streams beside speech: fax over UDPTL (T.38) in its place or beside it, video over RTP, what is refused; and that the speech of a call that changes
//! has no gap.

use crate::gateway::{Gateway, folder, rtp_ports, wait_until};
use crate::message::Message;
use crate::phone::{Dialog, Phone, Way};
use crate::voice::{Voice, talk};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

on_both_drivers! {
    a_call_changes_to_t38_and_back
    a_fax_that_is_refused_goes_on_as_sound
    t38_in_a_line_of_its_own_keeps_the_lines_in_order
    video_has_ports_of_its_own
    refused_video_keeps_its_line
    a_hold_and_another_codec_leave_no_gap
}

struct Row {
    gateway: Gateway,
    caller: Phone,
    callee: Phone,
    near: Voice,
    far: Voice,
}

impl Row {
    fn start(io: &str, media: &str, profile: &str) -> Self {
        let (caller, callee) = (Phone::new("127.0.0.1"), Phone::new("127.0.0.1"));
        let path = folder("streams").join("gateway.toml");
        let text = format!(
            "[media]\n{media}\n[[profile]]\nname = \"p\"\n{profile}\n[health]\nprobe_interval = \"0s\"\n\
             [[trunk]]\nname = \"t\"\npeers = [\"{}\"]\nprofile = \"p\"\n[[route]]\nto = [\"t\"]\n",
            callee.address
        );
        std::fs::write(&path, text).unwrap();
        let ports = rtp_ports(40);
        let arguments = ["--config", path.to_str().unwrap(), "--workers", "2", "--rtp-ports", &ports];
        let gateway = Gateway::start(io, &arguments);
        let (near, far) = (Voice::new(caller.address.ip(), 1), Voice::new(callee.address.ip(), 2));
        Self { gateway, caller, callee, near, far }
    }

    /// A call with these descriptions: what the callee was offered, what the caller was answered, both dialogs.
    fn call(&mut self, offer: &str, answer: &str) -> (String, String, Dialog, Dialog) {
        let mut call = self.caller.invite(Way::Udp(self.gateway.sip), self.gateway.sip, "1000", offer);
        let invite = self.callee.expect("INVITE");
        self.callee.respond(&invite, 200, "callee", answer);
        let ok = self.caller.answered(&mut call);
        assert_eq!(ok.status(), Some(200), "{}", ok.text);
        self.callee.expect("ACK");
        let callee = self.callee.dialog_of(&invite, "callee");
        (invite.0.body, ok.body, call, callee)
    }

    /// The callee offers another session: what the caller was offered, and the answer to it.
    fn change(&mut self, callee: &mut Dialog, offer: &str, status: u16, answer: &str) -> (String, Message) {
        // The ACK of what was before may still be on its way: then the two cross.
        let late = Instant::now() + Duration::from_secs(10);
        loop {
            assert!(Instant::now() < late, "the re-INVITE never reaches the caller");
            self.callee.begin_request(callee, "INVITE", offer);
            let cseq = format!("{} INVITE", callee.cseq);
            let reached = loop {
                assert!(Instant::now() < late, "neither a re-INVITE nor its answer");
                let moment = Duration::from_millis(10);
                if let Some(it) = self.caller.find(moment, |message| message.method() == "INVITE") {
                    break Some(it);
                }
                let crossed = |it: &Message| it.answers(&callee.call_id, &cseq) && it.status() == Some(491);
                if self.callee.find(moment, crossed).is_some() {
                    break None;
                }
            };
            let Some(invite) = reached else { continue };
            self.caller.respond(&invite, status, "caller", answer);
            if status < 300 {
                self.caller.expect("ACK");
            }
            let ok = self.callee.answered(callee);
            return (invite.0.body, ok);
        }
    }

    fn end(mut self, mut call: Dialog) -> serde_json::Value {
        self.caller.begin_request(&mut call, "BYE", "");
        let bye = self.callee.expect("BYE");
        self.callee.respond(&bye, 200, "callee", "");
        let record = self.gateway.wait_cdrs(1)[0].clone();
        wait_until("all ports are given back", || self.gateway.metric("trunkline_rtp_pairs_in_use") == 0.0);
        record
    }
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

fn port(socket: &UdpSocket) -> u16 {
    socket.local_addr().unwrap().port()
}

const HEAD: &str = "s=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n";
const T38: &str = "a=T38FaxVersion:0\r\na=T38MaxBitRate:14400\r\na=T38FaxRateManagement:transferredTCF\r\na=T38FaxUdpEC:t38UDPRedundancy\r\n";

fn t38(version: u32, port: u16) -> String {
    format!("v=0\r\no=x 77 {version} IN IP4 127.0.0.1\r\n{HEAD}m=image {port} udptl t38\r\n{T38}")
}

fn lines(sdp: &str) -> Vec<&str> {
    sdp.lines().filter(|line| line.starts_with("m=")).collect()
}

/// Where the stream of a kind is to be sent to.
fn place(sdp: &str, kind: &str) -> SocketAddr {
    let line = sdp.lines().find(|line| line.starts_with(&format!("m={kind} "))).unwrap();
    SocketAddr::from(([127, 0, 0, 1], line.split(' ').nth(1).unwrap().parse().unwrap()))
}

/// Datagrams of any form pass both ways, as they are, and a stranger's do not.
fn passes(a: (&UdpSocket, SocketAddr), b: (&UdpSocket, SocketAddr), what: &dyn Fn(u8) -> Vec<u8>) {
    let stranger = socket();
    for n in 0..10 {
        for ((from, to), (by, expected)) in [(a, b), (b, a)] {
            stranger.send_to(b"not of this call", to).unwrap();
            let datagram = what(n);
            from.send_to(&datagram, to).unwrap();
            let mut heard = [0; 2048];
            let (length, source) = by.recv_from(&mut heard).unwrap();
            assert_eq!(heard[..length], datagram);
            assert_eq!(source, expected);
        }
    }
}

/// A UDPTL packet, which is nothing like RTP (T.38 §9).
fn udptl(n: u8) -> Vec<u8> {
    vec![0, n, 1, 6, n, 0, 0]
}

fn a_call_changes_to_t38_and_back(io: &str) {
    let mut row = Row::start(io, "", "");
    let (offer, answer) = (row.near.sdp("sendrecv"), row.far.sdp("sendrecv"));
    let (offered, answered, call, mut callee) = row.call(&offer, &answer);
    let (near, far) = (socket(), socket());
    talk((&mut row.near, place(&answered, "audio")), (&mut row.far, place(&offered, "audio")), 10);
    let (asked, ok) = row.change(&mut callee, &t38(2, port(&far)), 200, &t38(2, port(&near)));
    assert_eq!(ok.status(), Some(200), "{}", ok.text);
    for sdp in [&asked, &ok.body] {
        assert!(sdp.contains(T38), "attributes untouched: {sdp}");
        assert_eq!(lines(sdp).len(), 1, "{sdp}");
        assert!(!sdp.contains(&port(&far).to_string()) && !sdp.contains(&port(&near).to_string()), "{sdp}");
    }
    passes((&near, place(&asked, "image")), (&far, place(&ok.body, "image")), &udptl);
    wait_until("UDPTL is counted", || row.gateway.metric("trunkline_udptl_sent_total") == 20.0);
    let (asked, ok) =
        row.change(&mut callee, &answer.replace(" 1 IN", " 3 IN"), 200, &offer.replace(" 1 IN", " 3 IN"));
    assert_eq!(ok.status(), Some(200));
    assert_eq!((lines(&asked).len(), lines(&ok.body).len()), (1, 1));
    talk((&mut row.near, place(&asked, "audio")), (&mut row.far, place(&ok.body, "audio")), 10);
    row.end(call);
}

fn a_fax_that_is_refused_goes_on_as_sound(io: &str) {
    // By who is asked; by the profile, of which he hears nothing.
    for (profile, asks) in [("", true), ("t38 = false", false)] {
        let mut row = Row::start(io, "", profile);
        let (offer, answer) = (row.near.sdp("sendrecv"), row.far.sdp("sendrecv"));
        let (offered, answered, call, mut callee) = row.call(&offer, &answer);
        let far = socket();
        let ok = if asks {
            row.change(&mut callee, &t38(2, port(&far)), 488, "").1
        } else {
            let cseq = |dialog: &Dialog| format!("{} INVITE", dialog.cseq);
            let late = Instant::now() + Duration::from_secs(10);
            loop {
                assert!(Instant::now() < late);
                row.callee.begin_request(&mut callee, "INVITE", &t38(2, port(&far)));
                let response = row.callee.final_response(&callee.call_id.clone(), &cseq(&callee));
                if response.status() != Some(491) {
                    break response;
                }
            }
        };
        assert_eq!(ok.status(), Some(488));
        talk((&mut row.near, place(&answered, "audio")), (&mut row.far, place(&offered, "audio")), 25);
        row.end(call);
    }
}

fn t38_in_a_line_of_its_own_keeps_the_lines_in_order(io: &str) {
    let mut row = Row::start(io, "", "");
    let (offer, answer) = (row.near.sdp("sendrecv"), row.far.sdp("sendrecv"));
    let (_, _, call, mut callee) = row.call(&offer, &answer);
    let (near, far) = (socket(), socket());
    let beside = |audio: &str, port: u16| {
        let audio = audio.replace(" 1 IN", " 2 IN");
        let (head, rest) = audio.split_once("m=audio ").unwrap();
        let (_, rest) = rest.split_once(' ').unwrap();
        format!("{head}m=audio 0 {rest}m=image {port} udptl t38\r\n{T38}")
    };
    let (asked, ok) =
        row.change(&mut callee, &beside(&answer, port(&far)), 200, &beside(&offer, port(&near)));
    assert_eq!(ok.status(), Some(200), "{}", ok.text);
    for sdp in [&asked, &ok.body] {
        let lines = lines(sdp);
        assert!(
            lines.len() == 2 && lines[0].starts_with("m=audio 0 ") && lines[1].starts_with("m=image "),
            "{sdp}"
        );
    }
    passes((&near, place(&asked, "image")), (&far, place(&ok.body, "image")), &udptl);
    row.end(call);
}

fn with_video(audio: &str, port: u16) -> String {
    format!(
        "{audio}m=video {port} RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 profile-level-id=42e01f\r\n"
    )
}

fn video(n: u8) -> Vec<u8> {
    let mut packet = vec![0x80, 96, 0, n, 0, 0, 0, n, 1, 2, 3, 4];
    packet.extend([n; 900]);
    packet
}

fn video_has_ports_of_its_own(io: &str) {
    let mut row = Row::start(io, "video = true", "");
    let (near, far) = (socket(), socket());
    let offer = with_video(&row.near.sdp("sendrecv"), port(&near));
    let answer = with_video(&row.far.sdp("sendrecv"), port(&far));
    let (offered, answered, call, _) = row.call(&offer, &answer);
    for sdp in [&offered, &answered] {
        assert!(sdp.contains("a=fmtp:96 profile-level-id=42e01f\r\n"), "{sdp}");
        assert_ne!(place(sdp, "audio"), place(sdp, "video"));
    }
    talk((&mut row.near, place(&answered, "audio")), (&mut row.far, place(&offered, "audio")), 10);
    passes((&near, place(&answered, "video")), (&far, place(&offered, "video")), &video);
    row.end(call);
}

fn refused_video_keeps_its_line(io: &str) {
    // By the gateway, and by the callee.
    for (media, profile) in [("", ""), ("video = true", "video = false"), ("video = true", "")] {
        let mut row = Row::start(io, media, profile);
        let near = socket();
        let offer = with_video(&row.near.sdp("sendrecv"), port(&near));
        let answer = format!("{}m=video 0 RTP/AVP 96\r\n", row.far.sdp("sendrecv"));
        let (offered, answered, call, _) = row.call(&offer, &answer);
        let refused = !(media.contains("true") && profile.is_empty());
        assert_eq!(lines(&offered)[1] == "m=video 0 RTP/AVP 96", refused, "{offered}");
        assert_eq!((lines(&answered).len(), lines(&answered)[1]), (2, "m=video 0 RTP/AVP 96"));
        talk((&mut row.near, place(&answered, "audio")), (&mut row.far, place(&offered, "audio")), 10);
        row.end(call);
    }
}

/// What the caller's side hears while the session changes under it: sequence numbers in a row, and no longer pause than `most`.
fn a_hold_and_another_codec_leave_no_gap(io: &str) {
    let mut row = Row::start(io, "", "");
    let both = |sdp: String| sdp.replace("RTP/AVP 8\r\n", "RTP/AVP 8 0\r\n");
    let (offer, answer) = (both(row.near.sdp("sendrecv")), both(row.far.sdp("sendrecv")));
    let (offered, _, call, mut callee) = row.call(&offer, &answer);
    let to = place(&offered, "audio");
    let voice = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    // The callee speaks without a pause in a thread of its own, while it holds the caller and takes him back.
    let mut far = std::mem::replace(&mut row.far, Voice::new([127, 0, 0, 1].into(), 9));
    let speaks = voice.clone();
    let speaker = std::thread::spawn(move || {
        let (begun, mut sent) = (Instant::now(), 0);
        while speaks.load(std::sync::atomic::Ordering::Relaxed) {
            far.send(to);
            sent += 1;
            std::thread::sleep(
                (begun + Duration::from_millis(20) * sent).saturating_duration_since(Instant::now()),
            );
        }
        (far, sent as usize)
    });
    for (version, direction) in [(2, "sendonly"), (3, "sendrecv"), (4, "sendonly"), (5, "sendrecv")] {
        let of = |sdp: &str, direction: &str| {
            sdp.replace("sendrecv", direction).replace(" 1 IN", &format!(" {version} IN"))
        };
        let back = if direction == "sendonly" { "recvonly" } else { direction };
        // From the second change on another codec is the first.
        let offer_now = if version > 2 { answer.replace("8 0\r\n", "0 8\r\n") } else { answer.clone() };
        let (_, ok) = row.change(&mut callee, &of(&offer_now, direction), 200, &of(&offer, back));
        assert_eq!(ok.status(), Some(200));
        std::thread::sleep(Duration::from_millis(200));
        row.near.hear();
    }
    voice.store(false, std::sync::atomic::Ordering::Relaxed);
    let (far, sent) = speaker.join().unwrap();
    row.far = far;
    std::thread::sleep(Duration::from_millis(300));
    row.near.hear();
    assert_eq!(
        row.near.heard(2),
        sent,
        "each packet of who speaks arrives, whatever is agreed upon meanwhile"
    );
    let record = row.end(call);
    let gap = record["media"]["callee"]["received"]["longest_gap_ms"].as_u64().unwrap();
    assert!(gap < 200, "{gap} ms without a packet");
}
