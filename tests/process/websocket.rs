//! SIP over WebSocket, plain and encrypted: calls from a browser, handshakes that are refused, frames, pings and the end.

use crate::gateway::{Gateway, PATIENCE, rtp_ports, wait_until};
use crate::phone::{Duplex, Phone, Way, secured};
use crate::tls::{Authority, set_up, text};
use crate::voice::{Voice, talk};
use std::io::{Error, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

on_both_drivers! {
    a_browser_calls_over_websocket
    a_browser_calls_over_websocket_and_tls
    handshakes_not_for_sip_are_refused
    frames_that_break_the_rules_end_the_connection
}

/// The client's end of a WebSocket: each write is a frame, each read one frame's payload.
pub(crate) struct WebSocket {
    io: Box<dyn Duplex>,
    bytes: Vec<u8>,
}

impl WebSocket {
    /// Shakes hands over a connection that does not block.
    pub(crate) fn open(io: Box<dyn Duplex>) -> Self {
        let mut socket = Self { io, bytes: Vec::new() };
        socket.io.write_all(request("Sec-WebSocket-Protocol: sip\r\n").as_bytes()).unwrap();
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < PATIENCE, "no answer to the handshake");
            let _ = socket.fill();
            if let Some(end) = socket.bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8(socket.bytes.drain(..end + 4).collect()).unwrap();
                assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
                // RFC 6455 §1.3 shows this answer to this key.
                assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
                assert!(head.contains("Sec-WebSocket-Protocol: sip"), "{head}");
                return socket;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    fn fill(&mut self) -> std::io::Result<()> {
        let mut buffer = [0; 65_536];
        match self.io.read(&mut buffer)? {
            0 => Err(Error::from(ErrorKind::UnexpectedEof)),
            length => {
                self.bytes.extend_from_slice(&buffer[..length]);
                Ok(())
            }
        }
    }

    /// The next whole frame: first byte and payload.
    fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let (&first, &second) = (self.bytes.first()?, self.bytes.get(1)?);
        assert!(second < 128, "a server does not mask");
        let (head, length) = match second {
            126 => (4, usize::from(u16::from_be_bytes([*self.bytes.get(2)?, *self.bytes.get(3)?]))),
            127 => panic!("no SIP message is that long"),
            short => (2, usize::from(short)),
        };
        if self.bytes.len() < head + length {
            return None;
        }
        Some((first, self.bytes.drain(..head + length).skip(head).collect()))
    }

    fn put(&mut self, first: u8, payload: &[u8]) -> std::io::Result<()> {
        let mask = [1, 2, 3, 4];
        let mut frame = vec![first];
        if payload.len() < 126 {
            frame.push(0x80 | payload.len() as u8);
        } else {
            frame.push(0x80 | 126);
            frame.extend((payload.len() as u16).to_be_bytes());
        }
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.io.write_all(&frame)
    }

    /// The next frame, waited for.
    fn wait(&mut self) -> (u8, Vec<u8>) {
        let begun = Instant::now();
        loop {
            if let Some(frame) = self.frame() {
                return frame;
            }
            assert!(begun.elapsed() < PATIENCE, "no frame came");
            match self.fill() {
                Err(error) if error.kind() != ErrorKind::WouldBlock => panic!("{error}"),
                _ => std::thread::sleep(std::time::Duration::from_millis(1)),
            }
        }
    }
}

impl Read for WebSocket {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            if let Some((first, payload)) = self.frame() {
                assert!(matches!(first, 0x81 | 0x82), "each message is one frame: {first:x}");
                buffer[..payload.len()].copy_from_slice(&payload);
                return Ok(payload.len());
            }
            self.fill()?;
        }
    }
}

impl Write for WebSocket {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.put(0x81, bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.io.flush()
    }
}

fn request(more: &str) -> String {
    format!(
        "GET / HTTP/1.1\r\nHost: gateway.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
    )
}

pub(crate) fn plain(to: SocketAddr) -> Box<dyn Duplex> {
    let stream = TcpStream::connect(to).unwrap();
    stream.set_nonblocking(true).unwrap();
    Box::new(stream)
}

fn a_browser_calls_over_websocket(io: &str) {
    let mut callee = Phone::new("127.0.0.3");
    let trunk = format!("--trunk=carrier={}", callee.address);
    let gateway = Gateway::start(io, &["--workers", "2", "--ws", "127.0.0.1:0", &trunk]);
    let ws = gateway.address("ws");
    let mut caller = Phone::new("127.0.0.2");
    let way = caller.take(Box::new(WebSocket::open(plain(ws))), "WS");
    call(&mut caller, &mut callee, &gateway, (way, ws, "WS"));
    assert_eq!(gateway.metric("trunkline_sip_websockets_opened_total"), 1.0);
}

fn a_browser_calls_over_websocket_and_tls(io: &str) {
    let authority = Authority::new();
    let (certificate, key) = authority.sign("127.0.0.1");
    let mut callee = Phone::new("127.0.0.3");
    let trunk = format!("--trunk=carrier={}", callee.address);
    let files = ["--cert", text(&certificate), "--key", text(&key), "--rtp-ports", &rtp_ports(240)];
    let gateway =
        Gateway::start(io, &[&["--workers", "2", "--wss", "127.0.0.1:0", &trunk][..], &files].concat());
    let wss = gateway.address("wss");
    let mut caller = Phone::new("127.0.0.2");
    let socket = WebSocket::open(Box::new(secured(wss, authority.client(None)).unwrap()));
    let way = caller.take(Box::new(socket), "WSS");
    call(&mut caller, &mut callee, &gateway, (way, wss, "WSS"));
}

/// OPTIONS, then calls with voice that either side ends.
fn call(caller: &mut Phone, callee: &mut Phone, gateway: &Gateway, over: (Way, SocketAddr, &str)) {
    let (way, address, transport) = over;
    assert_eq!(caller.options(way, address), Some(200));
    for round in 0..4 {
        let (mut a_voice, mut b_voice) =
            (Voice::new(caller.address.ip(), 0xa1), Voice::new(callee.address.ip(), 0xb2));
        let a = caller.invite(way, address, "4420", &a_voice.sdp("sendrecv"));
        let ((mut a, a_to), (mut b, b_to)) = set_up(caller, callee, (&a_voice, &b_voice), a);
        assert!(a.target.ends_with(&format!("{address};transport=ws")), "{}", a.target);
        talk((&mut a_voice, a_to), (&mut b_voice, b_to), 5);
        if round % 2 == 0 {
            callee.bye(&mut b);
            let (bye, back) = caller.expect_in(&a, "BYE");
            assert_eq!(back, way);
            assert!(bye.field("via").starts_with(&format!("SIP/2.0/{transport} {address};")), "{}", bye.text);
            caller.respond(&(bye, back), 200, "a", "");
        } else {
            caller.bye(&mut a);
            let bye = callee.expect_in(&b, "BYE");
            callee.respond(&bye, 200, "b", "");
        }
        gateway.wait_calls(0);
    }
    assert_eq!(gateway.causes().into_keys().collect::<Vec<_>>(), ["normal"]);
}

fn handshakes_not_for_sip_are_refused(io: &str) {
    let gateway = Gateway::start(io, &["--ws", "127.0.0.1:0"]);
    let ws = gateway.address("ws");
    let plain_http = "GET / HTTP/1.1\r\nHost: gateway.example\r\n\r\n";
    let cases = [
        (request(""), "400"),
        (request("Sec-WebSocket-Protocol: chat\r\n"), "400"),
        (plain_http.to_owned(), "426"),
        (String::from("OPTIONS sip:a SIP/2.0\r\n\r\n"), "400"),
    ];
    for (request, status) in &cases {
        let mut stream = TcpStream::connect(ws).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}{answer}");
    }
    wait_until("all are counted", || {
        gateway.metric("trunkline_sip_websockets_refused_total") == cases.len() as f64
    });
}

fn frames_that_break_the_rules_end_the_connection(io: &str) {
    let gateway = Gateway::start(io, &["--ws", "127.0.0.1:0"]);
    let ws = gateway.address("ws");
    let mut socket = WebSocket::open(plain(ws));
    socket.put(0x89, b"still there?").unwrap();
    assert_eq!(socket.wait(), (0x8a, b"still there?".to_vec()));
    socket.put(0x81, b"\r\n\r\n").unwrap();
    assert_eq!(socket.wait(), (0x81, b"\r\n".to_vec()), "RFC 7118 §6");
    // RFC 7118 §5: no Content-Length is needed; and a message may come in fragments.
    let options = "OPTIONS sip:gateway SIP/2.0\r\nVia: SIP/2.0/WS a.invalid;branch=z9hG4bKa\r\nMax-Forwards: 70\r\n\
        From: <sip:a@a.invalid>;tag=1\r\nTo: <sip:gateway>\r\nCall-ID: a\r\nCSeq: 1 OPTIONS\r\n\r\n";
    let (first, rest) = options.as_bytes().split_at(40);
    socket.put(0x01, first).unwrap();
    socket.put(0x80, rest).unwrap();
    let (kind, answer) = socket.wait();
    assert!(kind == 0x81 && answer.starts_with(b"SIP/2.0 200 "), "{}", String::from_utf8_lossy(&answer));
    // Not masked (RFC 6455 §5.1): 1002, and the end.
    socket.io.write_all(b"\x81\x04abcd").unwrap();
    assert_eq!(socket.wait(), (0x88, vec![0x03, 0xea]));
    wait_until("the connection is closed", || {
        socket.fill().is_err_and(|error| error.kind() != ErrorKind::WouldBlock)
    });
}
