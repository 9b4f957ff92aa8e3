//! The protection of one leg's media: what comes is opened before anything else looks at it, what goes is sealed last.

use crate::bridge::{Bridge, Side};
use crate::leg_media::LegMedia;
use crate::security::Agreed;
use core::net::SocketAddr;
use rtp::srtp::{Keying, Mki, Opener, Refusal, Sealer, Suite};
use rtp::{Header, Kind, classify};
use sansio::{Outbox, SocketId, Time};

/// What protection refused on a leg.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CryptoAccount {
    /// RTP and RTCP packets that were not authentic: in the clear, under another key, or changed.
    pub forged: u64,
    /// Those that had come before.
    pub replayed: u64,
    /// Those that were not taken or not sent since the key has had too many sources or packets.
    pub exhausted: u64,
    /// Packets not sent since their index had been used: sealed again, they would show what they hide.
    pub unsealed: u64,
}

/// The keys of a leg in use.
#[derive(Debug)]
pub(crate) struct LegCrypto {
    sealer: Sealer,
    opener: Opener,
    /// The key before this one, until something came under this one: what was on its way is still heard.
    before: Option<Opener>,
    own: Keying,
    peer: (Keying, Mki),
}

impl LegCrypto {
    fn new(own: &Keying, peer: &Keying, mki: Mki) -> Self {
        Self {
            sealer: Sealer::new(own, Mki::default()),
            opener: Opener::new(peer, mki),
            before: None,
            own: own.clone(),
            peer: (peer.clone(), mki),
        }
    }

    /// New keys; those that stay keep what is known of their packets.
    fn rekey(&mut self, own: &Keying, peer: &Keying, mki: Mki) {
        if self.own != *own {
            self.sealer = Sealer::new(own, Mki::default());
            self.own = own.clone();
        }
        if self.peer != (peer.clone(), mki) {
            let mut opener = Opener::new(peer, mki);
            opener.succeed(&self.opener);
            self.before = Some(core::mem::replace(&mut self.opener, opener));
            self.peer = (peer.clone(), mki);
        }
    }

    /// Opens a packet into `plain`, which keeps its room from packet to packet.
    fn open(&mut self, is_rtcp: bool, sealed: &[u8], plain: &mut Vec<u8>) -> Result<(), Refusal> {
        let mut with = |opener: &mut Opener| {
            plain.clear();
            plain.extend_from_slice(sealed);
            let len = if is_rtcp { opener.open_rtcp(plain) } else { opener.open_rtp(plain) }?;
            plain.truncate(len);
            Ok(())
        };
        let opened = with(&mut self.opener);
        if self.before.is_none() {
            return opened;
        }
        match opened {
            Err(Refusal::Forged) => self.before.as_mut().map_or(opened, with),
            Ok(()) => {
                self.before = None;
                Ok(())
            }
            refused => refused,
        }
    }
}

impl LegMedia {
    /// The leg's media is protected from now on as was agreed.
    pub(crate) fn protect(&mut self, agreed: &Agreed<'_>) {
        match (agreed, &mut self.crypto) {
            (Agreed::Clear, crypto) => *crypto = None,
            // Until it has come to keys, those before hold.
            (Agreed::Dtls(_), _) => {}
            (Agreed::Keys(own, peer, mki), Some(crypto)) => crypto.rekey(own, peer, *mki),
            (Agreed::Keys(own, peer, mki), none) => *none = Some(Box::new(LegCrypto::new(own, peer, *mki))),
        }
    }

    /// By what the leg's media is protected.
    pub fn suite(&self) -> Option<Suite> {
        self.crypto.as_ref().map(|crypto| crypto.sealer.suite())
    }

    /// What protection refused.
    pub const fn crypto_account(&self) -> &CryptoAccount {
        &self.crypto_account
    }

    /// Opens a packet from the peer; false, and counted, if it is not to be taken.
    fn open(&mut self, is_rtcp: bool, sealed: &[u8], plain: &mut Vec<u8>) -> bool {
        let Some(crypto) = &mut self.crypto else { return false };
        let account = &mut self.crypto_account;
        match crypto.open(is_rtcp, sealed, plain) {
            Ok(()) => return true,
            Err(Refusal::Forged | Refusal::Malformed) => account.forged += 1,
            Err(Refusal::Replayed) => account.replayed += 1,
            Err(Refusal::Sources | Refusal::Exhausted) => account.exhausted += 1,
        }
        false
    }

    /// Sends an RTP packet to the peer with another second octet, marker and payload type; whether it went to the driver.
    #[inline]
    pub(crate) fn send_rtp<M>(
        &mut self,
        out: &mut Outbox<M>,
        target: SocketAddr,
        payload: &[u8],
        marked_type: u8,
        header: &Header,
    ) -> bool {
        if self.awaits_keys() {
            self.link_account.unkeyed += 1;
            return false;
        }
        let waiting = out.sends_waiting();
        let Some(crypto) = &mut self.crypto else {
            out.send_with(self.rtp_socket, target, payload.len(), |bytes| {
                bytes.copy_from_slice(payload);
                bytes[1] = marked_type; // the packet was parsed: it has more than two bytes
            });
            return out.sends_waiting() > waiting;
        };
        let sealer = &mut crypto.sealer;
        let index = match sealer.admit(header.sequence, header.ssrc) {
            Ok(index) => index,
            Err(Refusal::Sources | Refusal::Exhausted) => {
                self.crypto_account.exhausted += 1;
                return false;
            }
            Err(_) => {
                self.crypto_account.unsealed += 1;
                return false;
            }
        };
        out.send_with(self.rtp_socket, target, payload.len() + sealer.rtp_overhead(), |bytes| {
            bytes[..payload.len()].copy_from_slice(payload);
            bytes[1] = marked_type;
            if !sealer.seal_rtp(index, bytes) {
                // It was parsed, so that this does not happen; if it did, nothing of it would show.
                bytes.fill(0);
            }
        });
        out.sends_waiting() > waiting
    }

    /// Sends a compound RTCP packet to the peer.
    pub(crate) fn send_rtcp<M>(
        &mut self,
        out: &mut Outbox<M>,
        socket: SocketId,
        target: SocketAddr,
        payload: &[u8],
    ) {
        if self.crypto.is_none() && !self.awaits_keys() {
            return out.send(socket, target, payload);
        }
        let mut room = core::mem::take(&mut self.plain);
        room.clear();
        room.extend_from_slice(payload);
        self.send_written_rtcp(out, socket, target, &mut room);
        self.plain = room;
    }

    /// The same with one that may be sealed where it stands; `room` keeps what it holds, so that nothing is allocated the next time.
    pub(crate) fn send_written_rtcp<M>(
        &mut self,
        out: &mut Outbox<M>,
        socket: SocketId,
        target: SocketAddr,
        room: &mut Vec<u8>,
    ) {
        if self.awaits_keys() {
            self.link_account.unkeyed += 1;
            return;
        }
        if let Some(crypto) = &mut self.crypto {
            room.resize(room.len() + crypto.sealer.rtcp_overhead(), 0);
            if crypto.sealer.seal_rtcp(room).is_err() {
                self.crypto_account.exhausted += 1;
                return;
            }
        }
        out.send(socket, target, room);
    }
}

impl Bridge {
    /// Takes a datagram of a side whose media is protected, or whose peer ICE finds.
    pub(crate) fn relay_sealed<M>(
        &mut self,
        side: Side,
        rtcp: bool,
        received: Time,
        source: SocketAddr,
        payload: &[u8],
        out: &mut Outbox<M>,
    ) {
        let kind = if rtcp { Kind::Rtcp } else { classify(payload) };
        let leg = self.legs(side).0;
        if kind == Kind::Other {
            leg.malformed += 1;
            return;
        }
        let Some(source) = leg.admit(source) else { return };
        if leg.awaits_keys() {
            leg.link_account.unkeyed += 1;
            return;
        }
        if leg.crypto.is_none() {
            return self.relay_clear(side, rtcp, received, source, payload, out);
        }
        let mut plain = core::mem::take(&mut leg.plain);
        if leg.open(kind == Kind::Rtcp, payload, &mut plain) {
            self.relay_clear(side, rtcp, received, source, &plain, out);
        }
        self.legs(side).0.plain = plain;
    }
}

#[cfg(test)]
mod tests;
