//! RTP of a scripted peer: each packet carries a mark that says whose it is, and is checked on arrival.

use super::call::State;
use super::transport::Effect;
use super::{Peer, Role, Step, Text, Timer};
use sansio::{SocketId, Time};
use std::net::SocketAddr;
use std::time::Duration;

/// Bytes of the fixed RTP header.
const HEADER: usize = 12;
/// RTP ports of a peer start here, two apart.
const FIRST_PORT: u16 = 20_000;
const FIRST_SOCKET: u32 = 1000;
/// From the number of a socket for RTP to that of the one for its RTCP, on the next port (RFC 3550 §11).
const RTCP: u32 = 1 << 20;
/// A sender report goes out about this often, counted in packets of audio.
const REPORT: Duration = Duration::from_secs(1);

/// Bytes of a sender report and of the head of an item of source description, up to the mark in it.
const REPORT_HEADER: usize = 28 + 4 + 4 + 2;

/// A compound packet of a sender report and a name that carries the mark (RFC 3550 §6.4.1, §6.5).
fn sender_report(serial: u64, role: Role, sent: u64) -> Vec<u8> {
    let ssrc = (serial as u32 * 2 + u32::from(role == Role::Carrier)).to_be_bytes();
    let mut packet = vec![0x80, 200, 0, 6];
    packet.extend_from_slice(&ssrc);
    packet.extend_from_slice(&[0; 12]);
    packet.extend_from_slice(&(sent as u32).to_be_bytes());
    packet.extend_from_slice(&(sent as u32 * 160).to_be_bytes());
    let name = format!("mark {serial} {role:?} {sent} ");
    let mut item = vec![1, name.len() as u8];
    item.extend_from_slice(name.as_bytes());
    // One zero at least ends the list.
    item.resize((item.len() / 4 + 1) * 4, 0);
    packet.extend_from_slice(&[0x81, 202, 0, 1 + (item.len() / 4) as u8]);
    packet.extend_from_slice(&ssrc);
    packet.extend_from_slice(&item);
    packet
}

/// Whether RTCP is the gateway's own: a report and a name of 16 characters that is no mark (RFC 7022 §4.2).
fn is_gateways(packet: &[u8]) -> bool {
    let Some([first, 200 | 201, high, low]) = packet.first_chunk() else { return false };
    let at = 4 * (usize::from(u16::from_be_bytes([*high, *low])) + 1);
    let name = packet.get(at..).unwrap_or_default();
    let is_name = matches!(name, [0x81, 202, 0, 6, _, _, _, _, 1, 16, ..]);
    first >> 6 == 2 && is_name && name.get(10..26).is_some_and(|name| !name.starts_with(b"mark "))
}

/// The audio of one call at this peer.
#[derive(Clone, Debug)]
pub(super) struct Media {
    pub(super) socket: SocketId,
    pub(super) port: u16,
    pub(super) remote: Option<SocketAddr>,
    /// What it was before the last session change: packets of then may still come.
    pub(super) remote_before: Option<SocketAddr>,
    /// The socket that packets go out from: the old one until a move is agreed.
    pub(super) sender: SocketId,
    pub(super) running: bool,
    pub(super) sent: u64,
    pub(super) received: u64,
    /// RTCP packets sent and received.
    pub(super) rtcp: (u64, u64),
    pub(super) last: Option<Time>,
    /// Since when the other side knows of the present port, if it is not the first; packets received on it since.
    pub(super) moved: Option<Time>,
    pub(super) received_moved: u64,
}

impl Peer {
    /// Opens a port for a call, if it has none; says which.
    pub(super) fn open_media(&mut self, id: &str) -> u16 {
        let (socket, port) =
            (SocketId(FIRST_SOCKET + self.next_media), FIRST_PORT + (self.next_media as u16 % 20_000) * 2);
        let Some(call) = self.calls.get_mut(id) else { return 0 };
        if let Some(media) = &call.media {
            return media.port;
        }
        self.next_media += 1;
        call.media = Some(Media {
            socket,
            port,
            remote: None,
            remote_before: None,
            sender: socket,
            running: false,
            sent: 0,
            received: 0,
            rtcp: (0, 0),
            last: None,
            moved: None,
            received_moved: 0,
        });
        self.open_pair(id, socket, port);
        port
    }

    fn open_pair(&mut self, id: &str, socket: SocketId, port: u16) {
        for (socket, port) in [(socket, port), (SocketId(socket.0 + RTCP), port + 1)] {
            self.media.insert(socket, id.to_owned());
            self.effects.push(Effect::Open(socket, SocketAddr::new(self.address.ip(), port)));
        }
    }

    /// Moves a call's audio to another port; the old one stays open for what is under way.
    pub(super) fn move_media(&mut self, id: &str) {
        let Some(media) = self.calls.get_mut(id).and_then(|call| call.media.as_mut()) else { return };
        if !self.media.contains_key(&media.socket) {
            return;
        }
        let number = self.next_media;
        self.next_media += 1;
        media.socket = SocketId(FIRST_SOCKET + number);
        media.port = FIRST_PORT + (number as u16 % 20_000) * 2;
        (media.moved, media.received_moved) = (None, 0);
        let (socket, port) = (media.socket, media.port);
        self.open_pair(id, socket, port);
    }

    /// The other side has taken a session change of ours.
    pub(super) fn media_moved(&mut self, id: &str) {
        let now = self.now;
        if let Some(media) = self.calls.get_mut(id).and_then(|call| call.media.as_mut()) {
            media.moved = Some(now);
            media.sender = media.socket;
        }
    }

    pub(super) fn close_media(&mut self, id: &str) {
        let Some(media) = self.calls.get_mut(id).and_then(|call| call.media.as_mut()) else { return };
        media.running = false;
        let sockets: Vec<SocketId> =
            self.media.iter().filter(|(_, call)| *call == id).map(|(socket, _)| *socket).collect();
        for socket in sockets {
            self.media.remove(&socket);
            self.effects.push(Effect::Close(socket));
        }
    }

    /// The other side's session in a message, if it has one: audio goes there from now on.
    pub(super) fn learn_media(&mut self, id: &str, text: &Text, bytes: &[u8]) {
        if text.body.is_empty() {
            return;
        }
        let Some(remote) = text.media() else {
            self.fault("a session without connection or audio port", bytes);
            return;
        };
        let now = self.now;
        let Some(call) = self.calls.get_mut(id) else { return };
        let interval = call.rtp();
        let Some(media) = &mut call.media else { return };
        if media.remote.is_some_and(|before| before != remote) {
            media.remote_before = media.remote;
        }
        media.remote = Some(remote);
        if !self.media.contains_key(&media.socket) {
            return;
        }
        if interval.is_some() && !media.running {
            media.running = true;
            self.at(now, Timer::Rtp(id.to_owned()));
        }
    }

    pub(super) fn send_rtp(&mut self, id: String) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let interval = call.rtp();
        let (serial, role) = (call.serial, call.role);
        let (Some(media), Some(interval), true) = (&mut call.media, interval, call.state != State::Ended)
        else {
            return;
        };
        if !media.running {
            return;
        }
        if let Some(remote) = media.remote {
            let mut packet = vec![0x80, 0];
            packet.extend_from_slice(&(media.sent as u16).to_be_bytes());
            packet.extend_from_slice(&(media.sent as u32 * 160).to_be_bytes());
            packet.extend_from_slice(&(serial as u32 * 2 + u32::from(role == Role::Carrier)).to_be_bytes());
            packet.extend_from_slice(format!("mark {serial} {role:?} {} ", media.sent).as_bytes());
            packet.resize(HEADER + 160, b'.');
            let each = (REPORT.as_nanos() / interval.as_nanos().max(1)).max(1) as u64;
            if media.sent.is_multiple_of(each) {
                let report = sender_report(serial, role, media.sent);
                let remote = SocketAddr::new(remote.ip(), remote.port() + 1);
                media.rtcp.0 += 1;
                self.effects.push(Effect::Send(SocketId(media.sender.0 + RTCP), remote, report));
            }
            media.sent += 1;
            self.stats.rtp_sent += 1;
            self.effects.push(Effect::Send(media.sender, remote, packet));
        }
        self.after(interval, Timer::Rtp(id));
    }

    /// A packet came to one of our media ports.
    pub(super) fn packet(&mut self, socket: SocketId, source: SocketAddr, payload: &[u8]) {
        let Some(id) = self.media.get(&socket).cloned() else { return };
        let now = self.now;
        let Some(call) = self.calls.get_mut(&id) else { return };
        let (serial, role) = (call.serial, call.role);
        let Some(media) = &mut call.media else { return };
        let report = socket.0 >= FIRST_SOCKET + RTCP;
        let header = if report { REPORT_HEADER } else { HEADER };
        let mark = payload.get(header..).map(String::from_utf8_lossy).unwrap_or_default();
        let mut words = mark.split(' ');
        let other = if role == Role::Caller { "Carrier" } else { "Caller" };
        let right = words.next() == Some("mark")
            && words.next() == Some(serial.to_string().as_str())
            && words.next() == Some(other);
        let above = |place: SocketAddr| SocketAddr::new(place.ip(), place.port() + u16::from(report));
        let (from, before) = (media.remote.map(above), media.remote_before.map(above));
        if report && is_gateways(payload) {
            // It speaks for itself where it does not hear the other side's reports; so it does in a call that an INVITE began which
            // came once more when its transaction was over, of which we know nothing.
            return;
        }
        if right && report {
            media.rtcp.1 += 1;
        } else if right {
            media.received += 1;
            media.received_moved += u64::from(socket == media.socket);
            media.last = Some(now);
            self.stats.rtp_received += 1;
        } else {
            let mark = mark.chars().take(40).collect::<String>();
            self.fault(&format!("call {serial} ({role:?}) hears a stranger: {mark:?} from {source}"), b"RTP");
        }
        if from.is_some_and(|from| from != source) && before != Some(source) {
            self.fault(&format!("call {serial} ({role:?}) hears {source}, was told {from:?}"), b"RTP");
        }
    }

    pub(super) fn schedule(&mut self, id: &str, after: Option<Duration>, step: Step) {
        if let Some(after) = after {
            self.after(after, Timer::Do(id.to_owned(), step));
        }
    }
}
