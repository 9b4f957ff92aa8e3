//! A side's voice: an RTP socket that sends numbered packets and tells which arrive.

use crate::cover::Cover;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// One side's RTP.
pub(crate) struct Voice {
    socket: UdpSocket,
    mark: u8,
    sent: u16,
    /// Sequence numbers heard from the side with each mark.
    heard: BTreeSet<(u8, u16)>,
    /// Where packets came from.
    pub(crate) sources: BTreeSet<SocketAddr>,
    /// What its packets are protected with.
    pub(crate) cover: Option<Cover>,
}

impl Voice {
    /// A voice whose packets carry `mark` in every payload byte.
    pub(crate) fn new(host: IpAddr, mark: u8) -> Self {
        let socket = UdpSocket::bind((host, 0)).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, mark, sent: 0, heard: BTreeSet::new(), sources: BTreeSet::new(), cover: None }
    }

    /// The port it listens at.
    pub(crate) fn port(&self) -> u16 {
        self.socket.local_addr().unwrap().port()
    }

    /// SDP with G.711 A-law, in the direction given (`sendrecv`, `sendonly`, ...).
    pub(crate) fn sdp(&self, direction: &str) -> String {
        self.sdp_of(self.socket.local_addr().unwrap(), direction)
    }

    /// The same, naming another address than it has.
    pub(crate) fn sdp_of(&self, address: SocketAddr, direction: &str) -> String {
        let family = if address.is_ipv4() { "IP4" } else { "IP6" };
        format!(
            "v=0\r\no=test {} 1 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\nm=audio {} RTP/AVP 8\r\n\
             a=rtpmap:8 PCMA/8000\r\na=ptime:20\r\na={direction}\r\n",
            self.mark,
            address.port(),
            ip = address.ip(),
        )
    }

    pub(crate) fn send(&mut self, to: SocketAddr) {
        let packet = self.next();
        self.send_raw(&packet, to);
    }

    /// Sends a packet as it is.
    pub(crate) fn send_raw(&self, packet: &[u8], to: SocketAddr) {
        self.socket.send_to(packet, to).unwrap();
    }

    /// The next packet, protected if its packets are.
    pub(crate) fn next(&mut self) -> Vec<u8> {
        let mut packet = vec![0x80, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, self.mark];
        packet[2..4].copy_from_slice(&self.sent.to_be_bytes());
        packet[4..8].copy_from_slice(&(u32::from(self.sent) * 160).to_be_bytes());
        packet.resize(12 + 160, self.mark);
        self.sent += 1;
        if let Some(cover) = &self.cover {
            cover.seal(&mut packet);
        }
        packet
    }

    pub(crate) fn hear(&mut self) {
        let mut packet = [0; 2048];
        while let Ok((length, source)) = self.socket.recv_from(&mut packet) {
            let opened = match &mut self.cover {
                Some(cover) => cover.open(&packet[..length]),
                None => Some(packet[..length].to_vec()),
            };
            let Some(packet) = opened else { continue };
            assert_eq!(packet.len(), 172, "an RTP packet as it was sent");
            let mark = packet[12];
            assert!(packet[12..].iter().all(|byte| *byte == mark), "a payload as it was sent");
            self.heard.insert((mark, u16::from_be_bytes([packet[2], packet[3]])));
            self.sources.insert(source);
        }
    }

    /// How many different packets with a mark were heard.
    pub(crate) fn heard(&self, mark: u8) -> usize {
        self.heard.range((mark, 0)..=(mark, u16::MAX)).count()
    }
}

/// Both speak until each hears the other: a gateway finds out only so where those behind NATs are.
pub(crate) fn meet((a, a_to): (&mut Voice, SocketAddr), (b, b_to): (&mut Voice, SocketAddr)) {
    let begun = Instant::now();
    let (a_heard, b_heard) = (a.heard(b.mark), b.heard(a.mark));
    while a.heard(b.mark) == a_heard || b.heard(a.mark) == b_heard {
        assert!(begun.elapsed() < Duration::from_secs(20), "they never hear each other");
        a.send(a_to);
        b.send(b_to);
        std::thread::sleep(Duration::from_millis(20));
        a.hear();
        b.hear();
    }
    // What is still under way is not to be taken for what comes next.
    std::thread::sleep(Duration::from_millis(300));
    a.hear();
    b.hear();
}

/// Both speak for `packets` packets of 20 ms; then it is waited until each heard all that the other sent since, or
/// fails. Each side sends to the address that the gateway named to it.
pub(crate) fn talk(a: (&mut Voice, SocketAddr), b: (&mut Voice, SocketAddr), packets: usize) {
    let ((a, a_to), (b, b_to)) = (a, b);
    a.sources.clear();
    b.sources.clear();
    let (a_heard, b_heard) = (a.heard(b.mark), b.heard(a.mark));
    for _ in 0..packets {
        a.send(a_to);
        b.send(b_to);
        std::thread::sleep(Duration::from_millis(20));
        a.hear();
        b.hear();
    }
    let late = Instant::now() + Duration::from_secs(5);
    loop {
        a.hear();
        b.hear();
        let (a_new, b_new) = (a.heard(b.mark) - a_heard, b.heard(a.mark) - b_heard);
        if a_new == packets && b_new == packets {
            break;
        }
        assert!(Instant::now() < late, "of {packets} packets each way {a_new} and {b_new} arrived");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(a.sources.iter().all(|source| *source == a_to), "RTP from {:?}, named was {a_to}", a.sources);
    assert!(b.sources.iter().all(|source| *source == b_to), "RTP from {:?}, named was {b_to}", b.sources);
}
