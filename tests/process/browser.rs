//! A browser's end of a call as far as the gateway sees it: a full ICE agent's checks, DTLS, SRTP, all on one port; and a voice.

use rtp::dtls::{DATAGRAM_MAX, End, Ends, Fingerprint, Step};
use rtp::srtp::{Mki, Opener, Sealer};
use rtp::{Framing, Header};
use sansio::Time;
use secure::DtlsEnds;
use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};
use stun::{Class, Message, Writer};

/// The user name fragment and password that it says.
pub(crate) const FRAGMENT: &str = "brow";
const PASSWORD: &str = "browserbrowserbrowserbrow";

/// What a description of the gateway's says.
pub(crate) struct Told {
    pub(crate) to: SocketAddr,
    pub(crate) fragment: String,
    pub(crate) password: String,
    print: Option<Fingerprint>,
}

/// The value of an attribute.
pub(crate) fn value<'a>(sdp: &'a str, name: &str) -> Option<&'a str> {
    sdp.lines().find_map(|line| line.trim_end().strip_prefix("a=")?.strip_prefix(name)?.strip_prefix(':'))
}

impl Told {
    /// Of a description whose first stream is the audio.
    pub(crate) fn of(sdp: &str) -> Self {
        let line = |start: &str| sdp.lines().find_map(|line| line.strip_prefix(start)).unwrap();
        let port = line("m=audio ").split(' ').next().unwrap();
        let address = line("c=IN IP4 ").trim_end();
        let said = |name: &str| value(sdp, name).unwrap_or_default().to_owned();
        Self {
            to: format!("{address}:{port}").parse().unwrap(),
            fragment: said("ice-ufrag"),
            password: said("ice-pwd"),
            print: value(sdp, "fingerprint").and_then(|print| Fingerprint::parse(print.as_bytes())),
        }
    }
}

/// The browser's media.
pub(crate) struct Browser {
    socket: UdpSocket,
    ends: DtlsEnds,
    end: Option<Box<dyn End>>,
    wake: Time,
    began: Instant,
    active: bool,
    print: Option<Fingerprint>,
    sealer: Option<Sealer>,
    opener: Option<Opener>,
    mark: u8,
    sent: u16,
    transaction: u8,
    /// Marks heard.
    pub(crate) heard: BTreeSet<(u8, u16)>,
    /// Answers to checks: class and error code.
    pub(crate) answers: Vec<(Class, Option<u16>)>,
}

impl Browser {
    pub(crate) fn new(mark: u8) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        Self {
            socket,
            ends: DtlsEnds::new().unwrap(),
            end: None,
            wake: Time::NEVER,
            began: Instant::now(),
            active: false,
            print: None,
            sealer: None,
            opener: None,
            mark,
            sent: 0,
            transaction: 0,
            heard: BTreeSet::new(),
            answers: Vec::new(),
        }
    }

    pub(crate) fn fingerprint(&self) -> String {
        self.ends.fingerprint().to_string()
    }

    /// A description as browsers make them: addresses to come by ICE, audio and video in one bundle.
    pub(crate) fn sdp(&self, setup: &str) -> String {
        let port = self.socket.local_addr().unwrap().port();
        format!(
            "v=0\r\no=- 4611 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE a v\r\na=extmap-allow-mixed\r\n\
             a=msid-semantic: WMS\r\nm=audio 9 UDP/TLS/RTP/SAVPF 8 111\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\n\
             a=candidate:1 1 udp 2113937151 127.0.0.1 {port} typ host generation 0\r\na=ice-ufrag:{FRAGMENT}\r\n\
             a=ice-pwd:{PASSWORD}\r\na=ice-options:trickle\r\na=fingerprint:{}\r\na=setup:{setup}\r\na=mid:a\r\n\
             a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=sendrecv\r\na=msid:- x\r\na=rtcp-mux\r\n\
             a=rtcp-rsize\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\n\
             a=ssrc:7 cname:x\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=mid:v\r\n\
             a=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\n",
            self.fingerprint()
        )
    }

    fn now(&self) -> Time {
        Time::from_nanos(1_000_000_000 + self.began.elapsed().as_nanos() as u64)
    }

    /// From now on it is spoken with as these descriptions have it; `active`: the handshake is the browser's to begin.
    pub(crate) fn join(&mut self, told: &Told, active: bool) {
        (self.active, self.print) = (active, told.print.clone());
        self.end = Some(self.ends.open(self.now(), active));
        self.wake = Time::ZERO;
    }

    /// A check, as the gateway's credentials have it, or with another password.
    pub(crate) fn check(&mut self, told: &Told, password: &str, role: u16, nominate: bool) {
        self.transaction += 1;
        let name = format!("{}:{FRAGMENT}", told.fragment);
        let mut check = Writer::new(Class::Request, stun::BINDING, [self.transaction; 12])
            .attribute(stun::USERNAME, name.as_bytes())
            .attribute(stun::PRIORITY, &[0x7e, 0, 0, 0xff])
            .attribute(role, &[0xfe; 8]);
        if nominate {
            check = check.attribute(stun::USE_CANDIDATE, &[]);
        }
        let bytes = check.integrity(password.as_bytes()).fingerprint().finish();
        self.socket.send_to(&bytes, told.to).unwrap();
    }

    /// A packet of its voice, under its keys.
    pub(crate) fn speak(&mut self, to: SocketAddr) {
        let header = Header {
            payload_type: 8,
            marker: false,
            sequence: self.sent,
            timestamp: u32::from(self.sent) * 160,
            ssrc: u32::from(self.mark),
        };
        let mut packet = vec![self.mark; 172];
        header.write(&mut packet).unwrap();
        if let Some(sealer) = &mut self.sealer {
            let index = sealer.admit(header.sequence, header.ssrc).unwrap();
            packet.resize(172 + sealer.rtp_overhead(), 0);
            assert!(sealer.seal_rtp(index, &mut packet));
        }
        self.sent += 1;
        self.socket.send_to(&packet, to).unwrap();
    }

    /// Takes what came, and moves the handshake on.
    pub(crate) fn hear(&mut self, told: &Told) {
        let mut packet = [0; 2048];
        while let Ok((length, source)) = self.socket.recv_from(&mut packet) {
            assert_eq!(source, told.to, "all comes from the one port that was named");
            let bytes = &packet[..length];
            match Framing::of(bytes) {
                Framing::Stun => {
                    let answer = Message::parse(bytes).unwrap();
                    assert_eq!(answer.fingerprint_holds(), Some(true));
                    if answer.class() == Class::Success {
                        assert_eq!(answer.integrity_holds(told.password.as_bytes()), Some(true));
                    }
                    let code = answer.get(stun::ERROR_CODE);
                    let code = code.map(|code| u16::from(code[2]) * 100 + u16::from(code[3]));
                    self.answers.push((answer.class(), code));
                }
                Framing::Dtls => {
                    let now = self.now();
                    if let Some(end) = &mut self.end {
                        // Once the other side has torn it down there is nothing to be said.
                        let _ = end.handle(now, bytes);
                    }
                    self.drain(told);
                }
                Framing::Rtp => {
                    let Some(opener) = &mut self.opener else { panic!("media before keys") };
                    let mut plain = bytes.to_vec();
                    let length = opener.open_rtp(&mut plain).unwrap();
                    assert_eq!(length, 172);
                    self.heard.insert((plain[12], u16::from_be_bytes([plain[2], plain[3]])));
                }
                Framing::Rtcp | Framing::Other => {}
            }
        }
        if self.now() >= self.wake {
            let now = self.now();
            if let Some(end) = &mut self.end {
                let _ = end.handle_timeout(now);
            }
            self.drain(told);
        }
    }

    fn drain(&mut self, told: &Told) {
        let mut room = [0; DATAGRAM_MAX];
        while let Some(end) = &mut self.end {
            match end.poll(&mut room) {
                Step::Send(datagram) => {
                    self.socket.send_to(datagram, told.to).unwrap();
                }
                Step::Certificate(certificate) => {
                    let print = self.print.as_ref().unwrap();
                    assert!(print.is_of(certificate), "the certificate that SDP names");
                }
                Step::Keys(keys) => {
                    let (own, other) =
                        if self.active { (&keys.client, &keys.server) } else { (&keys.server, &keys.client) };
                    self.sealer = Some(Sealer::new(own, Mki::default()));
                    self.opener = Some(Opener::new(other, Mki::default()));
                }
                Step::Closed => self.end = None,
                Step::Wait(at) => {
                    self.wake = at;
                    return;
                }
            }
        }
        self.wake = Time::NEVER;
    }

    /// Listens until something is so.
    pub(crate) fn until(&mut self, told: &Told, what: &str, so: impl Fn(&Self) -> bool) {
        let late = Instant::now() + Duration::from_secs(10);
        while !so(self) {
            assert!(Instant::now() < late, "never: {what}; answers {:?}", self.answers);
            self.hear(told);
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Listens for a while.
    pub(crate) fn listen(&mut self, told: &Told, span: Duration) {
        let late = Instant::now() + span;
        while Instant::now() < late {
            self.hear(told);
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Whether the handshake has come to keys.
    pub(crate) fn is_keyed(&self) -> bool {
        self.opener.is_some()
    }

    /// How many different packets with a mark were heard.
    pub(crate) fn count(&self, mark: u8) -> usize {
        self.heard.range((mark, 0)..=(mark, u16::MAX)).count()
    }
}
