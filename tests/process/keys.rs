//! Keys (DTMF) between sides that say them differently: telephone events, INFO, tones. Tones are made by ffmpeg and read by a judge that shares
//! no code with the gateway.

use crate::gateway::{Gateway, folder, rtp_ports, wait_until};
use crate::phone::{Dialog, Phone, Way};
use crate::transcode::{ffmpeg, from_alaw, from_ulaw};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

on_both_drivers! {
    events_become_info_and_info_becomes_events
    the_key_alone_and_with_its_length_become_each_other
    events_become_tones_and_tones_become_events
    tones_become_info_and_info_becomes_tones_where_codecs_differ
    events_are_offered_to_who_wants_them_though_nobody_has_any
    nothing_is_touched_where_nobody_asks
    keys_are_hidden_in_traces_on_request
}

const EVENTS: &str = "a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n";

/// One side's RTP, which speaks all the time.
struct Ear {
    socket: UdpSocket,
    to: SocketAddr,
    payload_type: u8,
    number: u16,
    timestamp: u32,
    heard: Vec<Vec<u8>>,
}

impl Ear {
    fn new(payload_type: u8) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let to = socket.local_addr().unwrap();
        Self { socket, to, payload_type, number: 100, timestamp: 16_000, heard: Vec::new() }
    }

    fn sdp(&self, types: &str, lines: &str) -> String {
        let port = self.socket.local_addr().unwrap().port();
        format!(
            "v=0\r\no=x {port} 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP {types}\r\n\
             {lines}a=sendrecv\r\n"
        )
    }

    fn send(&mut self, payload_type: u8, timestamp: u32, payload: &[u8]) {
        let mut packet = vec![0x80, payload_type];
        packet.extend(self.number.to_be_bytes());
        packet.extend(timestamp.to_be_bytes());
        packet.extend([9, 9, 9, 9]);
        packet.extend(payload);
        self.number = self.number.wrapping_add(1);
        self.socket.send_to(&packet, self.to).unwrap();
    }

    fn hear(&mut self) {
        let mut packet = [0; 2048];
        while let Ok(length) = self.socket.recv(&mut packet) {
            self.heard.push(packet[..length].to_vec());
        }
    }

    /// Telephone events heard: key, ticks, packets that say the end. All that is heard has numbers without a gap.
    fn events(&self) -> Vec<(u8, u16, usize)> {
        let mut found: Vec<(u32, u8, u16, usize)> = Vec::new();
        for packet in self.heard.iter().filter(|packet| packet[1] & 0x7f == 101) {
            let timestamp = u32::from_be_bytes(packet[4..8].try_into().unwrap());
            let duration = u16::from_be_bytes([packet[14], packet[15]]);
            let is_end = usize::from(packet[13] & 0x80 != 0);
            match found.last_mut().filter(|last| last.0 == timestamp) {
                Some(last) => {
                    assert!(last.1 == packet[12] && duration >= last.2 && packet[1] & 0x80 == 0);
                    (last.2, last.3) = (duration, last.3 + is_end);
                }
                None => {
                    assert_eq!(packet[1] & 0x80, 0x80, "the marker begins an event");
                    found.push((timestamp, packet[12], duration, is_end));
                }
            }
        }
        found.into_iter().map(|it| (it.1, it.2, it.3)).collect()
    }

    fn is_even(&self) {
        let number = |packet: &[u8]| u16::from_be_bytes([packet[2], packet[3]]);
        for pair in self.heard.windows(2) {
            assert_eq!(number(&pair[1]).wrapping_sub(number(&pair[0])), 1);
        }
    }

    /// The keys in the sound that was heard, and how many milliseconds each.
    fn tones(&self, law: fn(&[u8]) -> Vec<i16>) -> Vec<(char, u32)> {
        let octets: Vec<u8> = self
            .heard
            .iter()
            .filter(|packet| packet[1] & 0x7f == self.payload_type)
            .flat_map(|packet| packet[12..].to_vec())
            .collect();
        keys_in(&law(&octets))
    }
}

/// Which keys are in some sound, and how long: each 10 ms held against the eight frequencies.
fn keys_in(samples: &[i16]) -> Vec<(char, u32)> {
    const ROWS: [f64; 4] = [697.0, 770.0, 852.0, 941.0];
    const COLUMNS: [f64; 4] = [1209.0, 1336.0, 1477.0, 1633.0];
    let mut found: Vec<(char, u32)> = Vec::new();
    let mut last = None;
    for window in samples.chunks_exact(80) {
        let power = |hertz: f64| {
            let (mut re, mut im) = (0.0, 0.0);
            for (n, sample) in window.iter().enumerate() {
                let angle = n as f64 * hertz * std::f64::consts::TAU / 8000.0;
                (re, im) = (re + f64::from(*sample) * angle.cos(), im + f64::from(*sample) * angle.sin());
            }
            2.0 * (re * re + im * im) / window.len() as f64
        };
        let best = |group: [f64; 4]| {
            group
                .into_iter()
                .enumerate()
                .map(|(n, hertz)| (n, power(hertz)))
                .max_by(|a, b| a.1.total_cmp(&b.1))
                .unwrap()
        };
        let all: f64 = window.iter().map(|sample| f64::from(*sample).powi(2)).sum();
        let ((row, low), (column, high)) = (best(ROWS), best(COLUMNS));
        let key =
            (all > 80.0 * 100.0 * 100.0 && low + high > 0.75 * all && low > 0.2 * all && high > 0.2 * all)
                .then(|| char::from(b"123A456B789C*0#D"[4 * row + column]));
        match key {
            Some(key) if last == Some(key) => found.last_mut().unwrap().1 += 10,
            Some(key) => found.push((key, 10)),
            None => {}
        }
        last = key;
    }
    found
}

/// Silence, keys as tones of 100 ms each with as much silence between them, and silence, in A-law: made by ffmpeg.
fn tones(keys: &str) -> Vec<u8> {
    let of = |key: char| {
        let place = "123A456B789C*0#D".find(key).unwrap();
        ([697, 770, 852, 941][place / 4], [1209, 1336, 1477, 1633][place % 4])
    };
    let parts: Vec<String> = keys
        .chars()
        .enumerate()
        .map(|(n, key)| {
            let ((low, high), from) = (of(key), 0.207 + 0.2 * n as f64);
            format!("between(t,{from},{})*0.2*(sin(2*PI*{low}*t)+sin(2*PI*{high}*t))", from + 0.1)
        })
        .collect();
    let source = format!("aevalsrc='{}':s=8000:d={}", parts.join("+"), 0.5 + 0.2 * keys.len() as f64);
    // The expression is the input; what is piped in is not read.
    ffmpeg(
        &["-f", "lavfi", "-i", &source, "-f", "lavfi", "-i", "anullsrc=d=0.1", "-f", "s16le"],
        &["-map", "0:a", "-ar", "8000", "-f", "alaw"],
        &[],
    )
}

struct Row {
    gateway: Gateway,
    caller: Phone,
    callee: Phone,
    ears: [Ear; 2],
}

impl Row {
    fn start(io: &str, media: &str, profile: &str, trunk: &str, types: [u8; 2]) -> Self {
        let (caller, callee) = (Phone::new("127.0.0.1"), Phone::new("127.0.0.1"));
        let path = folder("keys").join("gateway.toml");
        let text = format!(
            "[media]\n{media}\n[[profile]]\nname = \"p\"\n{profile}\n[health]\nprobe_interval = \"0s\"\n\
             [[trunk]]\nname = \"t\"\npeers = [\"{}\"]\nprofile = \"p\"\n{trunk}\n[[route]]\nto = [\"t\"]\n",
            callee.address
        );
        std::fs::write(&path, text).unwrap();
        let ports = rtp_ports(40);
        let arguments = ["--config", path.to_str().unwrap(), "--workers", "2", "--rtp-ports", &ports];
        Self { gateway: Gateway::start(io, &arguments), caller, callee, ears: types.map(Ear::new) }
    }

    /// A call with these descriptions; what the callee was offered, what the caller was answered, and both dialogs.
    fn call(&mut self, offer: &str, answer: &str) -> (String, String, Dialog, Dialog) {
        let mut call = self.caller.invite(Way::Udp(self.gateway.sip), self.gateway.sip, "1000", offer);
        let invite = self.callee.expect("INVITE");
        self.callee.respond(&invite, 200, "callee", answer);
        let ok = self.caller.answered(&mut call);
        assert_eq!(ok.status(), Some(200), "{}", ok.text);
        self.callee.expect("ACK");
        let callee = self.callee.dialog_of(&invite, "callee");
        (self.ears[0].to, self.ears[1].to) = (ok.audio(), invite.0.audio());
        (invite.0.body, ok.body, call, callee)
    }

    /// Both speak; `say` is called for each 20 ms of each side.
    fn talk(&mut self, packets: usize, mut say: impl FnMut(usize, usize, &mut Ear)) {
        let begun = Instant::now();
        for n in 0..packets {
            for (side, ear) in self.ears.iter_mut().enumerate() {
                say(n, side, ear);
                ear.timestamp = ear.timestamp.wrapping_add(160);
            }
            let due = begun + Duration::from_millis(20) * (n as u32 + 1);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            self.ears.iter_mut().for_each(Ear::hear);
        }
        std::thread::sleep(Duration::from_millis(50));
        self.ears.iter_mut().for_each(Ear::hear);
    }

    /// A key in an INFO of the callee, its answer, and half a second of silence on both sides.
    fn press(
        &mut self,
        from_caller: bool,
        dialog: &mut Dialog,
        content_type: &str,
        body: &str,
    ) -> Option<u16> {
        self.silence(10);
        let phone = if from_caller { &mut self.caller } else { &mut self.callee };
        phone.begin_info(dialog, content_type, body);
        self.silence(35);
        let phone = if from_caller { &mut self.caller } else { &mut self.callee };
        phone.final_response(&dialog.call_id.clone(), &format!("{} INFO", dialog.cseq)).status()
    }

    fn silence(&mut self, packets: usize) {
        self.talk(packets, |_, _, ear| silence(ear));
    }

    fn end(mut self, mut call: Dialog) {
        self.caller.begin_request(&mut call, "BYE", "");
        let bye = self.callee.expect("BYE");
        self.callee.respond(&bye, 200, "callee", "");
        self.gateway.wait_cdrs(1);
    }
}

fn silence(ear: &mut Ear) {
    let octet = if ear.payload_type == 0 { 0xff } else { 0xd5 };
    ear.send(ear.payload_type, ear.timestamp, &[octet; 160]);
}

/// A side says a key of `ticks` as a telephone event from packet `from` on, three ends behind it.
fn say_event(n: usize, from: usize, event: u8, ticks: usize, ear: &mut Ear) {
    let packets = ticks.div_ceil(160);
    if n < from || n >= from + packets + 2 {
        return silence(ear);
    }
    let at = n - from;
    let begun = ear.timestamp.wrapping_sub(160 * at as u32);
    let duration = ((at + 1) * 160).min(ticks) as u16;
    let end = if at + 1 >= packets { 0x80 } else { 0 };
    let marker = if at == 0 { 0x80 } else { 0 };
    let [high, low] = duration.to_be_bytes();
    ear.send(101 | marker, begun, &[event, end | 10, high, low]);
}

fn media_line(sdp: &str) -> &str {
    let line = sdp.lines().find(|line| line.starts_with("m=audio ")).unwrap();
    line.splitn(4, ' ').nth(3).unwrap()
}

fn events_become_info_and_info_becomes_events(io: &str) {
    let mut row = Row::start(io, "", "dtmf = \"info\"", "", [8, 8]);
    let (offer, answer) = (row.ears[0].sdp("8 101", EVENTS), row.ears[1].sdp("8", ""));
    let (offered, answered, call, mut callee) = row.call(&offer, &answer);
    assert_eq!(media_line(&offered), "8", "{offered}");
    assert_eq!(media_line(&answered), "8 101", "{answered}");
    assert!(answered.contains("a=rtpmap:101 telephone-event/8000"));
    row.talk(40, |n, side, ear| if side == 0 { say_event(n, 10, 5, 800, ear) } else { silence(ear) });
    let info = row.callee.expect("INFO");
    assert_eq!(info.0.field("content-type"), "application/dtmf-relay");
    assert_eq!(info.0.body, "Signal=5\r\nDuration=100\r\n");
    row.callee.respond(&info, 200, "callee", "");
    assert!(row.ears[1].heard.iter().all(|packet| packet[1] & 0x7f == 8), "no event is heard besides");
    row.ears[1].is_even();
    for (signal, event, ms) in [("9", 9, 160), ("#", 11, 90)] {
        row.ears[0].heard.clear();
        let body = format!("Signal={signal}\r\nDuration={ms}\r\n");
        assert_eq!(row.press(false, &mut callee, "application/dtmf-relay", &body), Some(200));
        assert_eq!(row.ears[0].events(), [(event, 8 * ms, 3)]);
        row.ears[0].is_even();
    }
    assert!(row.caller.leftovers(Duration::from_millis(50)).iter().all(|it| it.method() != "INFO"));
    wait_until("keys are counted", || row.gateway.metric("trunkline_keys_to_events_total") == 2.0);
    assert_eq!(row.gateway.metric("trunkline_keys_to_info_total"), 1.0);
    assert_eq!(row.gateway.metric("trunkline_keys_unsaid_total"), 0.0);
    row.end(call);
}

fn the_key_alone_and_with_its_length_become_each_other(io: &str) {
    let mut row = Row::start(io, "dtmf = \"info\"", "dtmf = \"info-plain\"", "", [8, 8]);
    let (offer, answer) = (row.ears[0].sdp("8", ""), row.ears[1].sdp("8", ""));
    let (_, _, mut call, mut callee) = row.call(&offer, &answer);
    assert_eq!(
        row.press(true, &mut call, "application/dtmf-relay", "Signal=*\r\nDuration=300\r\n"),
        Some(200)
    );
    let info = row.callee.expect("INFO");
    assert_eq!((info.0.field("content-type"), info.0.body.as_str()), ("application/dtmf", "*"));
    // Refused: the next one is said all the same.
    row.callee.respond(&info, 415, "callee", "");
    assert_eq!(
        row.press(true, &mut call, "application/dtmf-relay", "Signal=7\r\nDuration=300\r\n"),
        Some(200)
    );
    let info = row.callee.expect("INFO");
    assert_eq!(info.0.body, "7");
    row.callee.respond(&info, 200, "callee", "");
    assert_eq!(row.press(false, &mut callee, "application/dtmf", "D"), Some(200));
    let info = row.caller.expect("INFO");
    assert_eq!(info.0.body, "Signal=D\r\nDuration=250\r\n");
    row.caller.respond(&info, 200, "caller", "");
    wait_until("the refusal is counted", || row.gateway.metric("trunkline_keys_unsaid_total") == 1.0);
    row.end(call);
}

fn events_become_tones_and_tones_become_events(io: &str) {
    let mut row = Row::start(io, "", "dtmf = \"inband\"", "", [8, 8]);
    let (offer, answer) = (row.ears[0].sdp("8 101", EVENTS), row.ears[1].sdp("8", ""));
    let (offered, answered, call, _) = row.call(&offer, &answer);
    assert_eq!((media_line(&offered), media_line(&answered)), ("8", "8 101"));
    row.talk(60, |n, side, ear| if side == 0 { say_event(n, 10, 3, 800, ear) } else { silence(ear) });
    let heard = row.ears[1].tones(from_alaw);
    assert!(heard.len() == 1 && heard[0].0 == '3' && heard[0].1.abs_diff(100) <= 30, "{heard:?}");
    row.ears[1].is_even();
    row.ears[0].heard.clear();
    let sound = tones("58#A");
    row.talk(sound.len() / 160, |n, side, ear| match side {
        0 => silence(ear),
        _ => ear.send(8, ear.timestamp, &sound[160 * n..160 * (n + 1)]),
    });
    row.silence(15);
    let events = row.ears[0].events();
    assert_eq!(events.iter().map(|it| it.0).collect::<Vec<_>>(), [5, 8, 11, 12]);
    assert!(events.iter().all(|it| it.1.abs_diff(800) <= 240 && it.2 == 3), "{events:?}");
    assert!(row.ears[0].tones(from_alaw).iter().all(|it| it.1 <= 20), "{:?}", row.ears[0].tones(from_alaw));
    row.ears[0].is_even();
    row.end(call);
}

fn tones_become_info_and_info_becomes_tones_where_codecs_differ(io: &str) {
    let mut row = Row::start(io, "dtmf = \"info\"", "dtmf = \"inband\"", "codecs = [\"PCMA\"]", [0, 8]);
    let (offer, answer) = (row.ears[0].sdp("0", ""), row.ears[1].sdp("8", ""));
    let (_, answered, mut call, _) = row.call(&offer, &answer);
    assert_eq!(media_line(&answered), "0");
    assert_eq!(
        row.press(true, &mut call, "application/dtmf-relay", "Signal=6\r\nDuration=200\r\n"),
        Some(200)
    );
    let heard = row.ears[1].tones(from_alaw);
    assert!(heard.len() == 1 && heard[0].0 == '6' && heard[0].1.abs_diff(200) <= 30, "{heard:?}");
    row.ears[1].is_even();
    row.ears[0].heard.clear();
    let sound = tones("2*");
    row.talk(sound.len() / 160, |n, side, ear| match side {
        0 => silence(ear),
        _ => ear.send(8, ear.timestamp, &sound[160 * n..160 * (n + 1)]),
    });
    for key in ["2", "*"] {
        let info = row.caller.expect("INFO");
        let ms = info.0.body.strip_prefix(&format!("Signal={key}\r\nDuration=")).unwrap().trim_end();
        assert!(ms.parse::<u32>().unwrap().abs_diff(100) <= 25, "{}", info.0.body);
        row.caller.respond(&info, 200, "caller", "");
    }
    assert!(row.ears[0].tones(from_ulaw).iter().all(|it| it.1 <= 20), "{:?}", row.ears[0].tones(from_ulaw));
    row.ears[0].is_even();
    row.end(call);
}

fn events_are_offered_to_who_wants_them_though_nobody_has_any(io: &str) {
    let mut row = Row::start(io, "dtmf = \"info\"", "dtmf = \"rfc4733\"", "", [8, 8]);
    let (offer, answer) = (row.ears[0].sdp("8", ""), row.ears[1].sdp("8 101", EVENTS));
    let (offered, answered, mut call, _) = row.call(&offer, &answer);
    assert_eq!((media_line(&offered), media_line(&answered)), ("8 101", "8"));
    assert!(!answered.contains("telephone-event"), "{answered}");
    assert_eq!(row.press(true, &mut call, "application/dtmf", "4"), Some(200));
    assert_eq!(row.ears[1].events(), [(4, 2000, 3)]);
    row.end(call);
}

fn nothing_is_touched_where_nobody_asks(io: &str) {
    let mut row = Row::start(io, "", "", "", [8, 8]);
    let (offer, answer) = (row.ears[0].sdp("8 101", EVENTS), row.ears[1].sdp("8 101", EVENTS));
    let (offered, answered, mut call, _) = row.call(&offer, &answer);
    assert_eq!((media_line(&offered), media_line(&answered)), ("8 101", "8 101"));
    row.talk(40, |n, side, ear| if side == 0 { say_event(n, 10, 5, 800, ear) } else { silence(ear) });
    assert_eq!(row.ears[1].events(), [(5, 800, 3)]);
    row.caller.begin_info(&mut call, "application/dtmf-relay", "Signal=5\r\nDuration=100\r\n");
    let info = row.callee.expect("INFO");
    assert_eq!(info.0.body, "Signal=5\r\nDuration=100\r\n");
    row.callee.respond(&info, 200, "callee", "");
    assert_eq!(row.gateway.metric("trunkline_keys_from_info_total"), 0.0);
    row.end(call);
}

fn keys_are_hidden_in_traces_on_request(io: &str) {
    for (profile, shown) in [("dtmf = \"info\"\ndtmf_hidden = true", false), ("dtmf = \"info\"", true)] {
        let mut row = Row::start(io, "", profile, "", [8, 8]);
        let (offer, answer) = (row.ears[0].sdp("8 101", EVENTS), row.ears[1].sdp("8", ""));
        let (_, _, call, mut callee) = row.call(&offer, &answer);
        row.talk(40, |n, side, ear| if side == 0 { say_event(n, 10, 5, 800, ear) } else { silence(ear) });
        let info = row.callee.expect("INFO");
        assert_eq!(info.0.body, "Signal=5\r\nDuration=100\r\n");
        row.callee.respond(&info, 200, "callee", "");
        assert_eq!(
            row.press(false, &mut callee, "application/dtmf-relay", "Signal=9\r\nDuration=80\r\n"),
            Some(200)
        );
        let id = row.gateway.json("/api/v1/calls")["calls"][0]["id"].as_str().unwrap().to_owned();
        let ladder = |row: &Row| row.gateway.get(&format!("/api/v1/calls/{id}/ladder?format=json")).1;
        let during = ladder(&row);
        let (caller, callee_phone, gateway) = (&mut row.caller, &mut row.callee, &row.gateway);
        let mut call = call;
        caller.begin_request(&mut call, "BYE", "");
        let bye = callee_phone.expect("BYE");
        callee_phone.respond(&bye, 200, "callee", "");
        gateway.wait_cdrs(1);
        for text in [during, ladder(&row)] {
            assert!(text.contains("dtmf-relay"), "{text}");
            assert_eq!(text.contains("Signal=5") && text.contains("Signal=9"), shown, "{text}");
            assert_eq!(text.contains("Signal=x"), !shown);
        }
    }
}
