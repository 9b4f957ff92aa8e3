//! Prompts in calls: played by order of the API and to whom is held, heard by a phone that decodes them and looks for them in what it
//! heard; the stream goes on without a gap before, within and after, and mistakes are told.

use crate::gateway::{Gateway, binary, finish, folder, rtp_ports, wait_until};
use crate::phone::{Dialog, Phone, Way, unique};
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

on_both_drivers! {
    a_prompt_is_heard_and_the_stream_goes_on
    a_prompt_in_another_codec_and_rate_is_heard_where_nobody_speaks
    what_is_repeated_is_heard_until_it_is_stopped
    who_is_held_hears_music
    the_end_of_a_call_ends_its_prompts
    mistakes_are_told
}

/// Noise from which any piece of itself can be told: samples of 16 bits, some -12 dB below full scale.
fn noise(seed: u64, count: usize) -> Vec<i16> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut last = 0i32;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            // Of low frequencies more than of high ones, as in speech.
            last = last / 2 + ((state >> 40) as i32 % 6000 - 3000);
            last as i16
        })
        .collect()
}

/// A WAV file of linear samples.
fn write_wave(path: &Path, rate: u32, samples: &[i16]) {
    let mut file = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
    file.extend(rate.to_le_bytes());
    file.extend((2 * rate).to_le_bytes());
    file.extend([2, 0, 16, 0]);
    file.extend(b"data");
    file.extend((2 * samples.len() as u32).to_le_bytes());
    file.extend(samples.iter().flat_map(|it| it.to_le_bytes()));
    std::fs::write(path, file).unwrap();
}

/// A-law as ITU-T G.711 table 1a has it.
fn alaw(code: u8) -> i16 {
    let code = code ^ 0x55;
    let (segment, step) = (i16::from(code >> 4 & 7), i16::from(code & 15));
    let size = if segment == 0 { (step << 4) + 8 } else { ((step << 4) + 0x108) << (segment - 1) };
    if code & 0x80 == 0 { -size } else { size }
}

/// u-law as ITU-T G.711 table 2a has it.
fn ulaw(code: u8) -> i16 {
    let code = !code;
    let size = (((i16::from(code & 15) << 3) + 0x84) << (code >> 4 & 7)) - 0x84;
    if code & 0x80 == 0 { size } else { -size }
}

/// How alike two sounds are, 1 at most, whatever their loudness.
fn alike(a: &[i16], b: &[i16]) -> f64 {
    let of = |a: &[i16], b: &[i16]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    of(a, b) / (of(a, a) * of(b, b)).sqrt().max(1.0)
}

/// A packet as it was heard.
#[derive(Clone, Debug)]
struct Heard {
    marker: bool,
    payload_type: u8,
    sequence: u16,
    timestamp: u32,
    ssrc: u32,
    payload: Vec<u8>,
}

/// A phone's media: it says its mark and keeps what it hears.
struct Ear {
    socket: UdpSocket,
    mark: u8,
    sent: u16,
    heard: Vec<Heard>,
}

impl Ear {
    fn new(host: &str, mark: u8) -> Self {
        let socket = UdpSocket::bind((host, 0)).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, mark, sent: 0, heard: Vec::new() }
    }

    fn sdp(&self, direction: &str, payload_type: u8) -> String {
        let at = self.socket.local_addr().unwrap();
        let name = if payload_type == 8 { "PCMA" } else { "PCMU" };
        format!(
            "v=0\r\no=test {} 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {} RTP/AVP {payload_type}\r\n\
             a=rtpmap:{payload_type} {name}/8000\r\na=ptime:20\r\na={direction}\r\n",
            self.mark,
            at.port(),
            ip = at.ip(),
        )
    }

    fn speak(&mut self, to: SocketAddr, payload_type: u8) {
        // Numbers wrap on the way.
        let sequence = self.sent.wrapping_add(65_500);
        let mut packet = vec![0x80, payload_type, 0, 0, 0, 0, 0, 0, 0, 0, 0, self.mark];
        packet[2..4].copy_from_slice(&sequence.to_be_bytes());
        packet[4..8].copy_from_slice(&(u32::from(self.sent) * 160).wrapping_sub(4000).to_be_bytes());
        packet.resize(172, self.mark);
        self.sent += 1;
        self.socket.send_to(&packet, to).unwrap();
    }

    fn listen(&mut self) {
        let mut packet = [0; 2048];
        while let Ok((length, _)) = self.socket.recv_from(&mut packet) {
            let word = |at: usize| u32::from_be_bytes(packet[at..at + 4].try_into().unwrap());
            assert_eq!((packet[0], length), (0x80, 172), "packets of 20 ms");
            self.heard.push(Heard {
                marker: packet[1] & 0x80 != 0,
                payload_type: packet[1] & 0x7f,
                sequence: u16::from_be_bytes([packet[2], packet[3]]),
                timestamp: word(4),
                ssrc: word(8),
                payload: packet[12..length].to_vec(),
            });
        }
    }

    /// Whether a packet is the speech of who has a mark.
    fn is_mark(packet: &Heard, mark: u8) -> bool {
        packet.payload.iter().all(|it| *it == mark)
    }

    /// What was heard of neither mark nor silence, in a row, as samples.
    fn foreign(&self, mark: u8, decode: fn(u8) -> i16) -> Vec<i16> {
        let packets = self.heard.iter().filter(|it| !Self::is_mark(it, mark));
        packets.flat_map(|it| it.payload.iter().map(|code| decode(*code))).collect()
    }

    /// What was heard is one stream: one source, no sequence number left out or twice, and the clock stands for what is said.
    fn assert_one_stream(&self) {
        for pair in self.heard.windows(2) {
            let [a, b] = pair else { unreachable!() };
            assert_eq!(a.ssrc, b.ssrc, "{a:?} {b:?}");
            assert_eq!(b.sequence, a.sequence.wrapping_add(1), "{a:?} {b:?}");
            let ticks = b.timestamp.wrapping_sub(a.timestamp);
            // Speech and prompt do not begin at the same moment; this host may be late.
            let most = if b.marker { 160 + 800 } else { 160 };
            assert!((160..=most).contains(&ticks), "{ticks} ticks: {a:?} {b:?}");
        }
    }
}

/// A call through a gateway that has prompts.
struct Scene {
    gateway: Gateway,
    caller: Phone,
    callee: Phone,
    caller_ear: Ear,
    callee_ear: Ear,
    a: Dialog,
    b: Dialog,
    tag: String,
    /// Where each of them speaks to.
    to: (SocketAddr, SocketAddr),
    id: String,
    codecs: (u8, u8),
}

/// A folder with prompts, and a configuration with them.
fn configured(prompts: bool, more: &str, trunk: &str) -> (PathBuf, PathBuf) {
    let folder = folder("prompts");
    let path = folder.join("gateway.toml");
    let key = if prompts { format!("prompts = \"{}\"\n", folder.display()) } else { String::new() };
    let text = format!("[health]\nprobe_interval = \"0s\"\n[media]\n{key}{more}\n{trunk}");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

impl Scene {
    fn new(io: &str, prompts: bool, more: &str, codecs: (u8, u8), files: &[(&str, u32, &[i16])]) -> Self {
        let (mut caller, mut callee) = (Phone::new("127.0.0.2"), Phone::new("127.0.0.3"));
        let name = if codecs.1 == 8 { "PCMA" } else { "PCMU" };
        let trunk = format!(
            "[[trunk]]\nname = \"carrier\"\npeers = [\"{}\"]\ncodecs = [\"{name}\"]\n",
            callee.address
        );
        let (folder, path) = configured(prompts, more, &trunk);
        for (name, rate, samples) in files {
            write_wave(&folder.join(name), *rate, samples);
        }
        let ports = rtp_ports(240);
        let arguments = ["--config", path.to_str().unwrap(), "--workers", "2", "--rtp-ports", &ports];
        let gateway = Gateway::start(io, &arguments);
        let (caller_ear, callee_ear) = (Ear::new("127.0.0.2", 0xa1), Ear::new("127.0.0.3", 0xb2));
        let offer = caller_ear.sdp("sendrecv", codecs.0);
        let mut a = caller.invite(Way::Udp(gateway.sip), gateway.sip, "4420", &offer);
        let invite = callee.expect("INVITE");
        let tag = unique();
        callee.respond(&invite, 200, &tag, &callee_ear.sdp("sendrecv", codecs.1));
        let answer = caller.answered(&mut a);
        assert_eq!(answer.status(), Some(200), "{}", answer.text);
        let b = callee.dialog_of(&invite, &tag);
        callee.expect_in(&b, "ACK");
        let to = (answer.audio(), invite.0.audio());
        let id = gateway.json("/api/v1/calls")["calls"][0]["id"].as_str().unwrap().to_owned();
        Self { gateway, caller, callee, caller_ear, callee_ear, a, b, tag, to, id, codecs }
    }

    /// Lets `packets` packets of 20 ms pass, in which those speak that shall.
    fn pass(&mut self, packets: u32, caller: bool, callee: bool) {
        let begun = Instant::now();
        for n in 1..=packets {
            if caller {
                self.caller_ear.speak(self.to.0, self.codecs.0);
            }
            if callee {
                self.callee_ear.speak(self.to.1, self.codecs.1);
            }
            let due = Duration::from_millis(20) * n;
            std::thread::sleep(due.saturating_sub(begun.elapsed()));
            self.caller_ear.listen();
            self.callee_ear.listen();
        }
    }

    fn order(&self, body: &str) -> (u16, String) {
        self.gateway.post(&format!("/api/v1/calls/{}/play", self.id), body)
    }

    /// Files and states of what was played, newest first.
    fn played(&self) -> Vec<(String, String, String)> {
        let played = self.gateway.json(&format!("/api/v1/playbacks?call={}", self.id));
        let text = |it: &serde_json::Value, key: &str| it[key].as_str().unwrap().to_owned();
        let all = played["playbacks"].as_array().unwrap();
        all.iter().map(|it| (text(it, "to"), text(it, "files"), text(it, "state"))).collect()
    }

    fn wait_state(&self, state: &str) {
        wait_until(state, || self.played().first().is_some_and(|it| it.2 == state));
    }

    /// The caller says which way media shall flow, and the callee answers so.
    fn direct(&mut self, [offered, passed, answered, told]: [&str; 4]) {
        self.caller.begin_request(&mut self.a, "INVITE", &self.caller_ear.sdp(offered, self.codecs.0));
        let again = self.callee.expect_in(&self.b, "INVITE");
        assert!(again.0.text.contains(&format!("a={passed}")), "{}", again.0.text);
        self.callee.respond(&again, 200, &self.tag, &self.callee_ear.sdp(answered, self.codecs.1));
        let cseq = format!("{} INVITE", self.a.cseq);
        let answer = self.caller.final_response(&self.a.call_id.clone(), &cseq);
        assert_eq!(answer.status(), Some(200), "{}", answer.text);
        assert!(answer.text.contains(&format!("a={told}")), "{}", answer.text);
        self.caller.ack(&self.a, "");
        self.callee.expect_in(&self.b, "ACK");
    }

    fn end(mut self) {
        self.caller.bye(&mut self.a);
        self.gateway.wait_calls(0);
    }
}

/// Where a sound is in what was heard, from its beginning; fails if it is not.
fn find(heard: &[i16], sound: &[i16]) -> usize {
    let probe = &sound[..800];
    let places = (0..heard.len().saturating_sub(probe.len())).step_by(1);
    let best =
        places.max_by(|a, b| alike(&heard[*a..a + 800], probe).total_cmp(&alike(&heard[*b..b + 800], probe)));
    let best = best.expect("something was heard");
    let likeness = alike(&heard[best..best + 800], probe);
    assert!(likeness > 0.95, "not recognised: {likeness}");
    best
}

fn a_prompt_is_heard_and_the_stream_goes_on(io: &str) {
    let (first, second) = (noise(1, 8000), noise(2, 4000));
    let files: [(&str, u32, &[i16]); 2] = [("one.wav", 8000, &first), ("two.wav", 8000, &second)];
    let mut scene = Scene::new(io, true, "", (8, 8), &files);
    scene.pass(60, true, true);
    let (status, said) = scene.order(r#"{"files": ["one.wav", "two.wav"], "to": "callee"}"#);
    assert_eq!(status, 201, "{said}");
    scene.pass(110, true, true);
    let mut beyond = 0;
    while scene.played() != [("callee".into(), "one.wav, two.wav".into(), "finished".into())] {
        scene.pass(10, true, true);
        beyond += 1;
        assert!(beyond < 100, "{:?}", scene.played());
    }
    scene.pass(20, true, true);
    // The caller heard the callee all the time; the callee heard the caller, both prompts in a row, and the caller.
    assert!(scene.caller_ear.heard.iter().all(|it| Ear::is_mark(it, 0xb2)));
    scene.callee_ear.assert_one_stream();
    let heard = scene.callee_ear.foreign(0xa1, alaw);
    assert_eq!(heard.len(), 12_000);
    assert!(alike(&heard[..8000], &first) > 0.99 && alike(&heard[8000..], &second) > 0.99);
    let marks: Vec<bool> = scene.callee_ear.heard.iter().map(|it| Ear::is_mark(it, 0xa1)).collect();
    let began = marks.iter().position(|mark| !mark).unwrap();
    assert!(
        began > 10 && marks[began + 75..].iter().all(|mark| *mark),
        "in one piece, then the caller again"
    );
    let markers: Vec<usize> = (1..marks.len()).filter(|at| scene.callee_ear.heard[*at].marker).collect();
    assert_eq!(markers, [began, began + 75], "RFC 3551 §4.1: what begins is marked");
    assert_eq!(scene.gateway.metric("trunkline_plays_started_total"), 1.0);
    assert_eq!(scene.gateway.metric("trunkline_play_packets_total"), 75.0);
    scene.end();
}

fn a_prompt_in_another_codec_and_rate_is_heard_where_nobody_speaks(io: &str) {
    // The caller speaks u-law, the callee A-law; the file has 48 kHz: each sample six times, so to say.
    let sound = noise(3, 8000);
    let slow: Vec<i16> = sound
        .windows(2)
        .flat_map(|it| (0..6).map(move |n| ((i32::from(it[0]) * (6 - n) + i32::from(it[1]) * n) / 6) as i16))
        .collect();
    let mut scene = Scene::new(io, true, "", (0, 8), &[("slow.wav", 48_000, &slow)]);
    let (status, said) = scene.order(r#"{"files": ["slow.wav"], "to": "both"}"#);
    assert_eq!(status, 201, "{said}");
    scene.pass(80, false, false);
    scene.wait_state("finished");
    scene.caller_ear.listen();
    scene.callee_ear.listen();
    for (ear, payload_type, decode) in
        [(&scene.caller_ear, 0, ulaw as fn(u8) -> i16), (&scene.callee_ear, 8, alaw)]
    {
        ear.assert_one_stream();
        assert!(ear.heard[0].marker && ear.heard.iter().all(|it| it.payload_type == payload_type));
        assert_eq!(ear.heard.len(), 50);
        let heard = ear.foreign(0xff, decode);
        assert!(alike(&heard[400..7600], &sound[400..7600]) > 0.9, "{}", alike(&heard, &sound));
    }
    scene.end();
}

fn what_is_repeated_is_heard_until_it_is_stopped(io: &str) {
    let sound = noise(4, 4000);
    let mut scene = Scene::new(io, true, "", (8, 8), &[("again.wav", 8000, &sound)]);
    scene.pass(20, true, true);
    let (status, said) = scene.order(r#"{"files": ["again.wav"], "to": "caller", "repeat": true}"#);
    assert_eq!(status, 201, "{said}");
    scene.pass(100, true, true);
    assert_eq!(scene.played(), [("caller".into(), "again.wav".into(), "playing".into())]);
    let path = format!("/api/v1/calls/{}/play?to=caller", scene.id);
    let (status, said) = scene.gateway.ask("DELETE", &path);
    assert_eq!((status, said.contains("\"stopped\":1")), (200, true), "{said}");
    scene.pass(30, true, true);
    scene.wait_state("stopped");
    assert!(scene.gateway.ask("DELETE", &path).1.contains("\"stopped\":0"));
    let ear = &scene.caller_ear;
    ear.assert_one_stream();
    assert!(Ear::is_mark(ear.heard.last().unwrap(), 0xb2), "the callee is heard again");
    let heard = ear.foreign(0xb2, alaw);
    assert!(heard.len() >= 14_000, "{} samples", heard.len());
    // 480 ms, cut to whole packets, over and over.
    let (begin, period) = (find(&heard[..4000], &sound[100..]), 3840);
    assert!(begin < 160);
    assert!(alike(&heard[begin..begin + 3000], &heard[begin + period..begin + period + 3000]) > 0.99);
    assert!(alike(&heard[begin..begin + 3000], &heard[begin + 2 * period..begin + 2 * period + 3000]) > 0.99);
    scene.end();
}

fn who_is_held_hears_music(io: &str) {
    let sound = noise(5, 8000);
    // The file has to be there before the gateway starts.
    let path = folder("music").join("music.wav");
    write_wave(&path, 8000, &sound);
    let mut scene = Scene::new(io, false, &format!("hold_music = \"{}\"", path.display()), (8, 8), &[]);
    // However it is said that nothing is heard; the phone that holds may say something of its own, which is not heard.
    for (hold, speaks) in [
        (["sendonly", "sendonly", "recvonly", "recvonly"], true),
        (["inactive", "sendonly", "recvonly", "inactive"], false),
    ] {
        scene.pass(20, true, true);
        scene.direct(hold);
        scene.wait_state("playing");
        scene.pass(80, speaks, false);
        scene.direct(["sendrecv"; 4]);
        scene.wait_state("stopped");
    }
    scene.pass(20, true, true);
    let ear = &scene.callee_ear;
    ear.assert_one_stream();
    assert!(Ear::is_mark(ear.heard.last().unwrap(), 0xa1), "the caller is heard again");
    let heard = ear.foreign(0xa1, alaw);
    assert!(heard.len() > 16_000, "{} samples", heard.len());
    assert!(find(&heard[..2000], &sound[200..]) < 400);
    assert!(scene.caller_ear.heard.iter().all(|it| Ear::is_mark(it, 0xb2)));
    scene.end();
}

fn the_end_of_a_call_ends_its_prompts(io: &str) {
    let sound = noise(6, 8000);
    let mut scene = Scene::new(io, true, "", (8, 8), &[("a.wav", 8000, &sound)]);
    assert_eq!(scene.order(r#"{"files": ["a.wav"], "to": "both", "repeat": true}"#).0, 201);
    scene.pass(5, true, true);
    scene.caller.bye(&mut scene.a);
    scene.wait_state("interrupted");
    scene.gateway.wait_calls(0);
    let (status, said) = scene.order(r#"{"files": ["a.wav"], "to": "both"}"#);
    assert_eq!((status, said.contains("there is no call")), (404, true), "{said}");
}

fn mistakes_are_told(io: &str) {
    let mut scene = Scene::new(io, true, "", (8, 8), &[("good.wav", 8000, &noise(7, 800))]);
    let played = scene.gateway.json("/api/v1/playbacks");
    assert_eq!(played["playbacks"].as_array().unwrap().len(), 0);
    for (body, status, word) in [
        (r#"{"files": ["missing.wav"], "to": "caller"}"#, 400, "missing.wav: there is no such file"),
        (
            r#"{"files": ["good.wav", "gateway.toml"], "to": "caller"}"#,
            400,
            "gateway.toml: it is no WAV file",
        ),
        (r#"{"files": ["../good.wav"], "to": "caller"}"#, 400, "without .."),
        (r#"{"files": ["/etc/passwd"], "to": "caller"}"#, 400, "without a / in front"),
        (r#"{"files": [], "to": "caller"}"#, 400, "name 1 to 32"),
        (r#"{"files": ["good.wav"], "to": "nobody"}"#, 400, "nobody"),
        (r#"{"files": ["good.wav"], "to": "caller", "loud": true}"#, 400, "loud"),
        ("nonsense", 400, "JSON"),
    ] {
        let (given, said) = scene.order(body);
        assert_eq!((given, said.contains(word)), (status, true), "{body}: {said}");
    }
    let order = r#"{"files": ["good.wav"], "to": "callee"}"#;
    for (id, status) in [("00000000000000aa", 404), ("ff000000000000aa", 404), ("nonsense", 400)] {
        let (given, said) = scene.gateway.post(&format!("/api/v1/calls/{id}/play"), order);
        assert_eq!(given, status, "{said}");
    }
    assert_eq!(scene.gateway.ask("DELETE", &format!("/api/v1/calls/{}/play?to=x", scene.id)).0, 400);
    // Before the answer it is not settled what is spoken.
    let (way, sdp) = (Way::Udp(scene.gateway.sip), scene.caller_ear.sdp("sendrecv", 8));
    let mut early = scene.caller.invite(way, scene.gateway.sip, "4421", &sdp);
    let invite = scene.callee.expect("INVITE");
    scene.callee.respond(&invite, 180, "early", "");
    scene.caller.response(&early, 180);
    let calls = scene.gateway.json("/api/v1/calls");
    let ringing = calls["calls"].as_array().unwrap().iter().find(|call| call["phase"] != "answered").unwrap();
    let path = format!("/api/v1/calls/{}/play", ringing["id"].as_str().unwrap());
    let (status, said) = scene.gateway.post(&path, order);
    assert_eq!((status, said.contains("not answered yet")), (409, true), "{said}");
    scene.callee.respond(&invite, 486, "early", "");
    assert_eq!(scene.caller.answered(&mut early).status(), Some(486));
    assert_eq!(scene.gateway.metric("trunkline_plays_started_total"), 0.0);
    scene.end();
    let scene = Scene::new(io, false, "", (8, 8), &[]);
    let (status, said) = scene.order(order);
    assert_eq!((status, said.contains("media.prompts")), (409, true), "{said}");
    scene.end();
    for (more, word) in [
        ("hold_music = \"/nowhere/a.wav\"", "media.hold_music: /nowhere/a.wav: there is no such file"),
        ("prompts = \"/nowhere\"", "media.prompts: /nowhere: there is no such folder"),
        ("prompt_cache_mib = 0", "media.prompt_cache_mib: 0 MiB is out of range"),
    ] {
        let (_, path) = configured(false, more, "");
        let (code, _, err) = finish(binary().args(["serve", "--check", "--config", path.to_str().unwrap()]));
        assert_ne!(code, 0);
        assert!(err.contains(word), "{err}");
    }
}
