//! Calls whose legs share no codec: what each side is offered and answered, and that each hears the other's tone in its own codec.
//! G.711 is read here by its definition; of G.722 and G.729 ffmpeg is the judge, which shares no code with the gateway.

use crate::cover::{Cover, key, key_in, protected};
use crate::gateway::{Gateway, folder, rtp_ports};
use crate::message::Message;
use crate::phone::{Dialog, Phone, Way};
use std::io::Write as _;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

on_both_drivers! {
    each_law_of_g711_is_translated_to_the_other
    g711_is_translated_to_g722_and_g729_and_back
    g711_is_translated_to_opus_and_back
    opus_passes_untouched_where_both_speak_it
    nothing_is_translated_where_a_codec_is_shared
    what_a_side_changes_is_offered_to_the_other_in_its_codec
    events_keep_their_time_and_take_the_other_sides_number
    a_protected_side_is_translated_for_one_in_the_clear
    a_profile_may_forbid_it
}

const PACKETS: usize = 50;
/// The payload type of Opus.
const OPUS: u8 = 111;

/// One side's RTP: what it sends is given, what it hears is kept.
struct Ear {
    socket: UdpSocket,
    number: u16,
    heard: Vec<Vec<u8>>,
    /// Its keys, if it is protected.
    cover: Option<Cover>,
}

impl Ear {
    fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, number: 65_500, heard: Vec::new(), cover: None }
    }

    /// SDP with these payload types and lines.
    fn sdp(&self, types: &str, lines: &str) -> String {
        let port = self.socket.local_addr().unwrap().port();
        format!(
            "v=0\r\no=x {port} 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP {types}\r\n\
             {lines}a=sendrecv\r\n"
        )
    }

    fn send(&mut self, to: SocketAddr, payload_type: u8, timestamp: u32, payload: &[u8]) {
        let mut packet = vec![0x80, payload_type];
        packet.extend(self.number.to_be_bytes());
        packet.extend(timestamp.to_be_bytes());
        packet.extend([9, 9, 9, 9]);
        packet.extend(payload);
        self.number = self.number.wrapping_add(1);
        if let Some(cover) = &self.cover {
            cover.seal(&mut packet);
        }
        self.socket.send_to(&packet, to).unwrap();
    }

    fn hear(&mut self) {
        let mut packet = [0; 2048];
        while let Ok(length) = self.socket.recv(&mut packet) {
            let opened = match &mut self.cover {
                Some(cover) => cover.open(&packet[..length]).expect("an authentic packet"),
                None => packet[..length].to_vec(),
            };
            self.heard.push(opened);
        }
    }

    /// The payloads heard, one packet after the other without a gap, each of this type and `ticks` after the one before.
    fn payloads(&self, payload_type: u8, ticks: u32) -> Vec<u8> {
        let number = |packet: &[u8]| u16::from_be_bytes([packet[2], packet[3]]);
        let time = |packet: &[u8]| u32::from_be_bytes(packet[4..8].try_into().unwrap());
        for pair in self.heard.windows(2) {
            assert_eq!(number(&pair[1]).wrapping_sub(number(&pair[0])), 1);
            assert_eq!(time(&pair[1]).wrapping_sub(time(&pair[0])), ticks);
        }
        assert!(self.heard.iter().all(|packet| packet[1] & 0x7f == payload_type), "{:?}", self.heard.first());
        self.heard.iter().flat_map(|packet| packet[12..].to_vec()).collect()
    }
}

/// Both send a second of what they have, in packets of 20 ms, until each has heard as much.
fn talk(
    (a, a_to, a_type, a_voice): (&mut Ear, SocketAddr, u8, &[u8]),
    (b, b_to, b_type, b_voice): (&mut Ear, SocketAddr, u8, &[u8]),
) {
    a.heard.clear();
    b.heard.clear();
    for n in 0..PACKETS {
        for (ear, to, payload_type, voice) in
            [(&mut *a, a_to, a_type, a_voice), (&mut *b, b_to, b_type, b_voice)]
        {
            let size = voice.len() / PACKETS;
            let ticks = if payload_type == OPUS { 960 } else { 160 };
            ear.send(to, payload_type, n as u32 * ticks, &voice[n * size..(n + 1) * size]);
        }
        std::thread::sleep(Duration::from_millis(20));
        a.hear();
        b.hear();
    }
    let late = Instant::now() + Duration::from_secs(5);
    while a.heard.len() < PACKETS || b.heard.len() < PACKETS {
        assert!(Instant::now() < late, "{} and {} of {PACKETS} packets", a.heard.len(), b.heard.len());
        std::thread::sleep(Duration::from_millis(5));
        a.hear();
        b.hear();
    }
}

/// A second of a tone at 8 kHz.
fn tone(hertz: f64) -> Vec<i16> {
    let sample = |n: i32| (f64::from(n) * hertz * std::f64::consts::TAU / 8000.0).sin() * 8000.0;
    (0..8000).map(|n| sample(n) as i16).collect()
}

/// How much of what was heard is this tone, after the first tenth.
fn share(samples: &[i16], rate: f64, hertz: f64) -> f64 {
    let samples = &samples[samples.len() / 10..];
    let (mut re, mut im, mut all) = (0.0, 0.0, 1e-9);
    for (n, sample) in samples.iter().enumerate() {
        let (sample, angle) = (f64::from(*sample), n as f64 * hertz * std::f64::consts::TAU / rate);
        (re, im, all) = (re + sample * angle.cos(), im + sample * angle.sin(), all + sample * sample);
    }
    2.0 * (re * re + im * im) / samples.len() as f64 / all
}

/// G.711 µ-law by its definition: sign, exponent and mantissa of the inverted octet, 33 added before and taken away after.
pub(crate) fn from_ulaw(octets: &[u8]) -> Vec<i16> {
    let sample = |octet: &u8| {
        let (sign, exponent, mantissa) = (!octet & 0x80, (!octet >> 4) & 7, i16::from(!octet & 15));
        let magnitude = (((mantissa * 2 + 33) << exponent) - 33) * 4;
        if sign != 0 { -magnitude } else { magnitude }
    };
    octets.iter().map(sample).collect()
}

/// G.711 A-law by its definition: even bits inverted, 1 added to the mantissa above the first segment.
pub(crate) fn from_alaw(octets: &[u8]) -> Vec<i16> {
    let sample = |octet: &u8| {
        let octet = octet ^ 0x55;
        let (exponent, mantissa) = ((octet >> 4) & 7, i16::from(octet & 15) * 2 + 1);
        let magnitude = if exponent == 0 { mantissa } else { (mantissa + 32) << (exponent - 1) };
        if octet & 0x80 == 0 { -magnitude * 8 } else { magnitude * 8 }
    };
    octets.iter().map(sample).collect()
}

/// The octet whose sample lies nearest.
fn nearest(samples: &[i16], law: fn(&[u8]) -> Vec<i16>) -> Vec<u8> {
    let all: Vec<u8> = (0..=255).collect();
    let known = law(&all);
    let distance = |octet: &u8, sample: i16| i32::from(known[usize::from(*octet)]).abs_diff(sample.into());
    samples.iter().map(|sample| *all.iter().min_by_key(|octet| distance(octet, *sample)).unwrap()).collect()
}

/// What ffmpeg makes of some octets.
pub(crate) fn ffmpeg(input: &[&str], output: &[&str], octets: &[u8]) -> Vec<u8> {
    let mut process = Command::new("ffmpeg")
        .args(["-hide_banner", "-loglevel", "error"])
        .args(input)
        .args(["-i", "pipe:0"])
        .args(output)
        .arg("pipe:1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("ffmpeg, which tests/run installs");
    let mut stdin = process.stdin.take().unwrap();
    let octets = octets.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&octets).unwrap());
    let output = process.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    output.stdout
}

pub(crate) fn samples(octets: &[u8]) -> Vec<i16> {
    octets.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect()
}

fn linear(samples: &[i16]) -> Vec<u8> {
    samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

struct Row {
    gateway: Gateway,
    caller: Phone,
    callee: Phone,
    ears: [Ear; 2],
}

impl Row {
    fn start(io: &str, profile: &str, codecs: &str) -> Self {
        Self::start_with(io, "", profile, codecs)
    }

    fn start_with(io: &str, settings: &str, profile: &str, codecs: &str) -> Self {
        let (caller, callee) = (Phone::new("127.0.0.1"), Phone::new("127.0.0.1"));
        let path = folder("transcode").join("gateway.toml");
        write(&path, settings, profile, codecs, callee.address);
        let ports = rtp_ports(40);
        let arguments = ["--config", path.to_str().unwrap(), "--workers", "2", "--rtp-ports", &ports];
        Self { gateway: Gateway::start(io, &arguments), caller, callee, ears: [Ear::new(), Ear::new()] }
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
        (invite.0.body, ok.body, call, callee)
    }

    /// Both send a voice of this payload type to where the descriptions say.
    fn talk(&mut self, offered: &str, answered: &str, a: (u8, &[u8]), b: (u8, &[u8])) {
        let [caller, callee] = &mut self.ears;
        talk((caller, place(answered), a.0, a.1), (callee, place(offered), b.0, b.1));
    }

    fn end(mut self, mut call: Dialog) -> serde_json::Value {
        self.caller.begin_request(&mut call, "BYE", "");
        let bye = self.callee.expect("BYE");
        self.callee.respond(&bye, 200, "callee", "");
        self.gateway.wait_cdrs(1)[0].clone()
    }
}

/// A re-INVITE that reaches the other side. The ACK of the one before may still have been on its way: then the two crossed.
fn change(from: &mut Phone, dialog: &mut Dialog, offer: &str, to: &mut Phone) -> (Message, Way) {
    let late = Instant::now() + Duration::from_secs(10);
    loop {
        from.begin_request(dialog, "INVITE", offer);
        let cseq = format!("{} INVITE", dialog.cseq);
        loop {
            assert!(
                Instant::now() < late,
                "{:?}",
                from.leftovers(Duration::from_millis(10))
                    .iter()
                    .map(|it| it.start.clone())
                    .collect::<Vec<_>>()
            );
            if let Some(it) = to.find(Duration::from_millis(10), |message| message.method() == "INVITE") {
                return it;
            }
            let crossed =
                |message: &Message| message.answers(&dialog.call_id, &cseq) && message.status() == Some(491);
            if from.find(Duration::from_millis(10), crossed).is_some() {
                break;
            }
        }
    }
}

fn write(path: &Path, settings: &str, profile: &str, codecs: &str, callee: SocketAddr) {
    let text = format!(
        "{settings}[[profile]]\nname = \"p\"\n{profile}\n[health]\nprobe_interval = \"0s\"\n\
         [[trunk]]\nname = \"t\"\npeers = [\"{callee}\"]\nprofile = \"p\"\ncodecs = [{codecs}]\n[[route]]\nto = [\"t\"]\n"
    );
    std::fs::write(path, text).unwrap();
}

/// Where a description wants its media.
fn place(sdp: &str) -> SocketAddr {
    let port = sdp.split("m=audio ").nth(1).unwrap().split(' ').next().unwrap();
    SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap()))
}

fn media_line(sdp: &str) -> &str {
    let line = sdp.lines().find(|line| line.starts_with("m=audio ")).unwrap();
    line.splitn(4, ' ').nth(3).unwrap()
}

const EVENTS: &str = "a=rtpmap:96 telephone-event/8000\r\na=fmtp:96 0-15\r\n";

fn each_law_of_g711_is_translated_to_the_other(io: &str) {
    let (low, high) = (tone(440.0), tone(1010.0));
    let (ulaw, alaw) = (nearest(&low, from_ulaw), nearest(&high, from_alaw));
    let mut row = Row::start(io, "", "\"PCMA\"");
    let offer = row.ears[0].sdp("0 96", EVENTS);
    let answer = row.ears[1].sdp("8", "");
    let (offered, answered, call, _) = row.call(&offer, &answer);
    assert_eq!(media_line(&offered), "8 101", "what the trunk takes, and digits as the caller can say them");
    assert_eq!(media_line(&answered), "0", "the caller's codec, and no digits that the callee did not take");
    row.talk(&offered, &answered, (0, &ulaw), (8, &alaw));
    let (at_caller, at_callee) = (row.ears[0].payloads(0, 160), row.ears[1].payloads(8, 160));
    assert!(share(&from_ulaw(&at_caller), 8000.0, 1010.0) > 0.99);
    assert!(share(&from_alaw(&at_callee), 8000.0, 440.0) > 0.99);
    // Octet by octet the nearest of the other law, ties aside: ITU-T G.711, tables 3 and 4.
    let near =
        from_ulaw(&ulaw).iter().zip(from_alaw(&at_callee)).all(|(a, b)| (a - b).abs() <= a.abs() / 16 + 16);
    assert!(near, "levels are kept");
    let metric = |name: &str| row.gateway.metric(name);
    assert_eq!(metric("trunkline_rtp_translated_total"), 2.0 * PACKETS as f64);
    assert_eq!(metric("trunkline_rtp_untranslated_total"), 0.0);
    let cdr = row.end(call);
    assert_eq!(
        (&cdr["media"]["caller"]["codec"], &cdr["media"]["callee"]["codec"]),
        (&"PCMU".into(), &"PCMA".into())
    );
}

fn g711_is_translated_to_g722_and_g729_and_back(io: &str) {
    let (low, high) = (tone(440.0), tone(1010.0));
    let ulaw = nearest(&low, from_ulaw);
    let g722 =
        ffmpeg(&["-f", "s16le", "-ar", "8000", "-ac", "1"], &["-ar", "16000", "-f", "g722"], &linear(&high));
    let mut row = Row::start(io, "", "\"G722\"");
    let (offer, answer) = (row.ears[0].sdp("0", ""), row.ears[1].sdp("9", ""));
    let (offered, answered, call, _) = row.call(&offer, &answer);
    assert_eq!((media_line(&offered), media_line(&answered)), ("9", "0"));
    row.talk(&offered, &answered, (0, &ulaw), (9, &g722[..8000]));
    let heard = ffmpeg(&["-f", "g722"], &["-f", "s16le"], &row.ears[1].payloads(9, 160));
    assert_eq!(heard.len(), 32_000);
    assert!(share(&samples(&heard), 16_000.0, 440.0) > 0.99);
    assert!(share(&from_ulaw(&row.ears[0].payloads(0, 160)), 8000.0, 1010.0) > 0.99);
    row.end(call);

    // What the gateway sends in G.729 comes back to it: nobody else here can encode it.
    let mut row = Row::start(io, "", "\"G729\"");
    let (offer, answer) = (row.ears[0].sdp("0", ""), row.ears[1].sdp("18", "a=fmtp:18 annexb=no\r\n"));
    let (offered, answered, call, _) = row.call(&offer, &answer);
    assert_eq!((media_line(&offered), media_line(&answered)), ("18", "0"));
    row.talk(&offered, &answered, (0, &ulaw), (18, &[0x55; 1000]));
    let encoded = row.ears[1].payloads(18, 160);
    assert_eq!(encoded.len(), 1000);
    // Tones are not what it is made for: most of it is there.
    let heard = ffmpeg(&["-f", "g729"], &["-f", "s16le"], &encoded);
    assert!(share(&samples(&heard), 8000.0, 440.0) > 0.7);
    for ear in &mut row.ears {
        // As a stream that goes on elsewhere.
        ear.number = ear.number.wrapping_add(5000);
    }
    row.talk(&offered, &answered, (0, &ulaw), (18, &encoded));
    assert!(share(&from_ulaw(&row.ears[0].payloads(0, 160)), 8000.0, 440.0) > 0.6);
    row.end(call);
}

/// The packets of an Ogg stream of Opus (RFC 7845), without its two headers.
fn from_ogg(stream: &[u8]) -> Vec<Vec<u8>> {
    let (mut packets, mut open, mut rest) = (Vec::new(), Vec::new(), stream);
    while rest.len() > 27 {
        assert_eq!(&rest[..4], b"OggS");
        let (lacing, mut content) = rest[27..].split_at(rest[26].into());
        for size in lacing {
            let (piece, after) = content.split_at((*size).into());
            open.extend_from_slice(piece);
            content = after;
            if *size < 255 {
                packets.push(std::mem::take(&mut open));
            }
        }
        rest = content;
    }
    packets.split_off(2)
}

/// An Ogg stream of one channel of such packets of 20 ms, a page each (RFC 3533 §6, RFC 7845 §5).
fn to_ogg(packets: &[Vec<u8>]) -> Vec<u8> {
    let head = b"OpusHead\x01\x01\0\0\x80\xbb\0\0\0\0\0".to_vec();
    let tags = b"OpusTags\0\0\0\0\0\0\0\0".to_vec();
    let mut stream = Vec::new();
    for (n, packet) in [head, tags].iter().chain(packets).enumerate() {
        let mut page = b"OggS\0".to_vec();
        page.push(if n == 0 { 2 } else { 0 });
        page.extend((n.saturating_sub(1) as u64 * 960).to_le_bytes());
        page.extend([1, 0, 0, 0]);
        page.extend((n as u32).to_le_bytes());
        page.extend([0; 4]);
        page.push((packet.len() / 255 + 1) as u8);
        page.extend(vec![255; packet.len() / 255]);
        page.push((packet.len() % 255) as u8);
        page.extend(packet);
        let sum = page.iter().fold(0u32, |sum, octet| {
            (0..8).fold(sum ^ u32::from(*octet) << 24, |sum, _| {
                (sum << 1) ^ if sum >> 31 == 1 { 0x04c1_1db7 } else { 0 }
            })
        });
        page[22..26].copy_from_slice(&sum.to_le_bytes());
        stream.extend(page);
    }
    stream
}

/// A tone in Opus as ffmpeg encodes it, in packets of 20 ms and one size.
fn opus(hertz: f64) -> Vec<u8> {
    let long: Vec<i16> = tone(hertz).into_iter().cycle().take(12_000).collect();
    let to = ["-c:a", "libopus", "-b:a", "24k", "-vbr", "off", "-frame_duration", "20", "-f", "ogg"];
    let packets = from_ogg(&ffmpeg(&["-f", "s16le", "-ar", "8000", "-ac", "1"], &to, &linear(&long)));
    assert!(packets[..PACKETS].iter().all(|packet| packet.len() == packets[0].len()));
    packets[..PACKETS].concat()
}

fn g711_is_translated_to_opus_and_back(io: &str) {
    let (alaw, opus) = (nearest(&tone(440.0), from_alaw), opus(1010.0));
    let mut row = Row::start(io, "", "\"opus\"");
    let offer = row.ears[0].sdp("8 96", EVENTS);
    let lines = "a=rtpmap:111 opus/48000/2\r\na=fmtp:111 useinbandfec=1; maxaveragebitrate=20000\r\na=rtpmap:110 telephone-event/48000\r\n";
    let answer = row.ears[1].sdp("111 110", lines);
    let (offered, answered, call, _) = row.call(&offer, &answer);
    // RFC 7587 §7: 48000 and two channels whatever is sent, and the gateway's own wishes; RFC 4733 §2.1: events at the same rate.
    assert_eq!((media_line(&offered), media_line(&answered)), ("111 110", "8 96"));
    for line in [
        "a=rtpmap:111 opus/48000/2\r\n",
        "a=fmtp:111 maxplaybackrate=8000;sprop-maxcapturerate=8000;useinbandfec=1\r\n",
        "a=rtpmap:110 telephone-event/48000\r\n",
    ] {
        assert!(offered.contains(line), "{offered}");
    }
    row.talk(&offered, &answered, (8, &alaw), (OPUS, &opus));
    assert!(share(&from_alaw(&row.ears[0].payloads(8, 160)), 8000.0, 1010.0) > 0.9);
    let octets = row.ears[1].payloads(OPUS, 960).len();
    assert!((1500..=2750).contains(&octets), "{octets} octets a second for 20 kbit/s");
    let packets: Vec<Vec<u8>> = row.ears[1].heard.iter().map(|packet| packet[12..].to_vec()).collect();
    let heard = samples(&ffmpeg(&["-f", "ogg"], &["-ar", "48000", "-f", "s16le"], &to_ogg(&packets)));
    assert!((47_000..=48_000).contains(&heard.len()), "{}", heard.len());
    assert!(share(&heard, 48_000.0, 440.0) > 0.9);
    // Keys keep how long they were pressed, in the clock of each side.
    let [caller, callee] = &mut row.ears;
    callee.heard.clear();
    caller.send(
        place(&answered),
        96,
        PACKETS as u32 * 160,
        &[5, 0x8a, 800u16.to_be_bytes()[0], 800u16.to_be_bytes()[1]],
    );
    let late = Instant::now() + Duration::from_secs(5);
    while callee.heard.is_empty() {
        assert!(Instant::now() < late);
        std::thread::sleep(Duration::from_millis(5));
        callee.hear();
    }
    let [high, low] = 4800u16.to_be_bytes();
    assert_eq!((callee.heard[0][1] & 0x7f, &callee.heard[0][12..]), (110, &[5, 0x8a, high, low][..]));
    let cdr = row.end(call);
    assert_eq!(cdr["media"]["callee"]["codec"], "opus");
}

fn opus_passes_untouched_where_both_speak_it(io: &str) {
    let voice = opus(440.0);
    let mut row = Row::start(io, "", "\"opus\", \"PCMA\"");
    let lines = "a=rtpmap:111 opus/48000/2\r\na=fmtp:111 stereo=1\r\n";
    let (offer, answer) = (row.ears[0].sdp("0 111", lines), row.ears[1].sdp("111", lines));
    let (offered, answered, call, _) = row.call(&offer, &answer);
    assert_eq!((media_line(&offered), media_line(&answered)), ("111", "111"));
    assert!(offered.contains("a=fmtp:111 stereo=1\r\n") && answered.contains("a=fmtp:111 stereo=1\r\n"));
    row.talk(&offered, &answered, (OPUS, &voice), (OPUS, &voice));
    assert!(row.ears.iter().all(|ear| ear.payloads(OPUS, 960) == voice));
    assert_eq!(row.gateway.metric("trunkline_rtp_translated_total"), 0.0);
    row.end(call);
}

fn nothing_is_translated_where_a_codec_is_shared(io: &str) {
    let ulaw = nearest(&tone(440.0), from_ulaw);
    let mut row = Row::start(io, "", "\"G729\", \"PCMU\"");
    let (offer, answer) = (row.ears[0].sdp("8 0", ""), row.ears[1].sdp("0", ""));
    let (offered, answered, call, _) = row.call(&offer, &answer);
    assert_eq!((media_line(&offered), media_line(&answered)), ("0", "0"));
    row.talk(&offered, &answered, (0, &ulaw), (0, &ulaw));
    assert_eq!(row.ears[0].payloads(0, 160), ulaw);
    assert_eq!(row.gateway.metric("trunkline_rtp_translated_total"), 0.0);
    row.end(call);
}

fn what_a_side_changes_is_offered_to_the_other_in_its_codec(io: &str) {
    let (low, high) = (tone(440.0), tone(1010.0));
    let (ulaw, alaw) = (nearest(&low, from_ulaw), nearest(&high, from_alaw));
    let mut row = Row::start(io, "", "\"PCMA\"");
    let (offer, answer) = (row.ears[0].sdp("0", ""), row.ears[1].sdp("8", ""));
    let (offered, answered, mut call, mut callee) = row.call(&offer, &answer);
    // Hold, by either side, and back.
    let ways = [("sendonly", "recvonly"), ("sendrecv", "sendrecv")];
    for (offers, says) in ways {
        let held = offer.replace("sendrecv", offers);
        let reinvite = change(&mut row.caller, &mut call, &held, &mut row.callee);
        assert_eq!(media_line(&reinvite.0.body), "8");
        assert!(reinvite.0.body.contains(&format!("a={offers}\r\n")), "{}", reinvite.0.body);
        row.callee.respond(&reinvite, 200, "callee", &answer.replace("sendrecv", says));
        let ok = row.caller.final_response(&call.call_id, &format!("{} INVITE", call.cseq));
        assert_eq!((ok.status(), media_line(&ok.body)), (Some(200), "0"), "{}", ok.text);
        assert!(ok.body.contains(&format!("a={says}\r\n")), "{}", ok.body);
        row.caller.ack(&call, "");
        row.callee.expect("ACK");
    }
    for (offers, says) in ways {
        let held = answer.replace("sendrecv", offers);
        let reinvite = change(&mut row.callee, &mut callee, &held, &mut row.caller);
        assert_eq!(media_line(&reinvite.0.body), "0");
        assert!(reinvite.0.body.contains(&format!("a={offers}\r\n")), "{}", reinvite.0.body);
        row.caller.respond(&reinvite, 200, "", &offer.replace("sendrecv", says));
        let ok = row.callee.final_response(&callee.call_id, &format!("{} INVITE", callee.cseq));
        assert_eq!((ok.status(), media_line(&ok.body)), (Some(200), "8"), "{}", ok.text);
        row.callee.ack(&callee, "");
        row.caller.expect("ACK");
    }
    row.talk(&offered, &answered, (0, &ulaw), (8, &alaw));
    assert!(share(&from_ulaw(&row.ears[0].payloads(0, 160)), 8000.0, 1010.0) > 0.99);
    assert!(share(&from_alaw(&row.ears[1].payloads(8, 160)), 8000.0, 440.0) > 0.99);
    // The caller learns the callee's codec: nothing is to be translated any more.
    let reinvite = change(&mut row.caller, &mut call, &row.ears[0].sdp("8 0", ""), &mut row.callee);
    assert_eq!(media_line(&reinvite.0.body), "8");
    row.callee.respond(&reinvite, 200, "callee", &answer);
    let ok = row.caller.final_response(&call.call_id, &format!("{} INVITE", call.cseq));
    assert_eq!(media_line(&ok.body), "8", "{}", ok.text);
    row.caller.ack(&call, "");
    row.callee.expect("ACK");
    row.talk(&offered, &answered, (8, &alaw), (8, &alaw));
    assert_eq!(row.ears[0].payloads(8, 160), alaw);
    assert_eq!(row.gateway.metric("trunkline_rtp_translated_total"), 2.0 * PACKETS as f64);
    row.end(call);
}

fn events_keep_their_time_and_take_the_other_sides_number(io: &str) {
    let mut row = Row::start(io, "", "\"G722\"");
    let lines = "a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n";
    let (offer, answer) = (row.ears[0].sdp("8 96", EVENTS), row.ears[1].sdp("9 101", lines));
    let (offered, answered, call, _) = row.call(&offer, &answer);
    assert_eq!((media_line(&offered), media_line(&answered)), ("9 101", "8 96"));
    let [caller, callee] = &mut row.ears;
    let digit = |duration: u16| [5, 10, (duration >> 8) as u8, duration as u8];
    caller.send(place(&answered), 8, 0, &[0x55; 160]);
    for duration in [160, 320, 480] {
        caller.send(place(&answered), 96, 160, &digit(duration));
    }
    // Something that nobody agreed upon.
    caller.send(place(&answered), 3, 640, &[0; 33]);
    caller.send(place(&answered), 8, 800, &[0x55; 160]);
    let late = Instant::now() + Duration::from_secs(5);
    while callee.heard.len() < 5 {
        assert!(Instant::now() < late, "{} packets", callee.heard.len());
        std::thread::sleep(Duration::from_millis(5));
        callee.hear();
    }
    let facts: Vec<(u8, u16, u32)> = callee
        .heard
        .iter()
        .map(|it| {
            (it[1], u16::from_be_bytes([it[2], it[3]]), u32::from_be_bytes(it[4..8].try_into().unwrap()))
        })
        .collect();
    assert_eq!(
        facts,
        [(9, 65_500, 0), (101, 65_501, 160), (101, 65_502, 160), (101, 65_503, 160), (9, 65_505, 800)]
    );
    assert_eq!(callee.heard[3][12..], digit(480));
    assert_eq!(row.gateway.metric("trunkline_rtp_untranslated_total"), 1.0);
    row.end(call);
}

fn a_profile_may_forbid_it(io: &str) {
    let mut row = Row::start(io, "transcode = false", "\"PCMA\"");
    let offer = row.ears[0].sdp("0", "");
    let mut call = row.caller.invite(Way::Udp(row.gateway.sip), row.gateway.sip, "1000", &offer);
    assert_eq!(row.caller.answered(&mut call).status(), Some(488));
    // Nor is there anything to be done where a codec is not known.
    let mut row = Row::start(io, "", "\"iLBC\"");
    let offer = row.ears[0].sdp("0", "");
    let mut call = row.caller.invite(Way::Udp(row.gateway.sip), row.gateway.sip, "1000", &offer);
    assert_eq!(row.caller.answered(&mut call).status(), Some(488));
}

fn a_protected_side_is_translated_for_one_in_the_clear(io: &str) {
    let (low, high) = (tone(440.0), tone(1010.0));
    let (ulaw, alaw) = (nearest(&low, from_ulaw), nearest(&high, from_alaw));
    let settings = "[media]\nsrtp = \"required\"\nsrtp_keys_in_clear = true\n";
    let mut row = Row::start_with(io, settings, "srtp = \"off\"", "\"PCMA\"");
    let own = key(0x33);
    let offer = protected(&row.ears[0].sdp("0", "a=ptime:20\r\n"), "7", &own);
    let answer = row.ears[1].sdp("8", "");
    let (offered, answered, call, _) = row.call(&offer, &answer);
    assert_eq!(media_line(&offered), "8");
    assert!(answered.contains(" RTP/SAVP 0\r\n"), "{answered}");
    let (tag, other) = key_in(&answered).expect("a key in the answer");
    assert_eq!(tag, "7");
    row.ears[0].cover = Some(Cover::new(&own, &other));
    for ear in &mut row.ears {
        // The test's own SRTP counts no rounds of the sequence number.
        ear.number = 1;
    }
    row.talk(&offered, &answered, (0, &ulaw), (8, &alaw));
    assert!(share(&from_ulaw(&row.ears[0].payloads(0, 160)), 8000.0, 1010.0) > 0.99);
    assert!(share(&from_alaw(&row.ears[1].payloads(8, 160)), 8000.0, 440.0) > 0.99);
    let cdr = row.end(call);
    assert_eq!(cdr["media"]["callee"]["codec"], "PCMA");
}
