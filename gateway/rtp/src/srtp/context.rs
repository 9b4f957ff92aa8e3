//! The cryptographic contexts of RFC 3711 §3.2, one for each direction: under one master key, for all its sources.

use super::cipher::Guard;
use super::derive::{Use, guard};
use super::window::Sources;
use super::{Keying, Suite};

/// Most RTP packets under one key (RFC 3711 §9.2): the index has 48 bits.
const RTP_INDEX_MAX: u64 = (1 << 48) - 1;
/// Most RTCP packets under one key: the index has 31 bits.
const RTCP_INDEX_MAX: u32 = (1 << 31) - 1;
/// The bit that says that an RTCP packet is encrypted (RFC 3711 §3.4).
const ENCRYPTED: u32 = 1 << 31;
/// Octets of E-flag and SRTCP index.
const INDEX_LEN: usize = 4;
/// Octets of an RTCP packet that are never encrypted (RFC 3711 §3.4).
const RTCP_CLEAR: usize = 8;
/// The longest RTCP packet taken in the clear with GCM, where all of it is associated data that the index follows.
const CLEAR_MAX: usize = 1500;

/// Why a packet was not opened or not sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Shorter than what protection takes, or a header that announces more than there is.
    Malformed,
    /// Its tag is wrong: it was not made, or was changed, by somebody without the key.
    Forged,
    /// It came before, or is too old to tell; of a sealer: its index was used before, with whatever payload.
    Replayed,
    /// There are too many sources under this key.
    Sources,
    /// The key has served as long as it may (RFC 3711 §9.2).
    Exhausted,
}

/// A master key identifier (RFC 3711 §3.1) as both sides agreed upon it: it stands in every packet, and says nothing else than
/// that the one key is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mki {
    value: [u8; Self::MAX],
    len: u8,
}

impl Mki {
    /// Most octets of one that is agreed to. RFC 4568 §6.1 allows 128; nobody has as many keys.
    pub const MAX: usize = 8;

    /// The identifier of a number in so many octets; `None` if it does not fit, or is longer than [`Self::MAX`].
    pub fn new(number: u64, len: usize) -> Option<Self> {
        let fits = (1..=Self::MAX).contains(&len) && (len == 8 || number >> (8 * len) == 0);
        let mut value = [0; Self::MAX];
        value[..len.min(8)].copy_from_slice(&number.to_be_bytes()[8usize.saturating_sub(len)..]);
        fits.then_some(Self { value, len: len as u8 })
    }

    /// Its octets; none if none was agreed upon.
    pub fn bytes(&self) -> &[u8] {
        &self.value[..usize::from(self.len)]
    }

    const fn len(self) -> usize {
        self.len as usize
    }
}

/// Length of an RTP header with its sources and extension; `None` if the packet is shorter, or no RTP.
fn header_len(packet: &[u8]) -> Option<usize> {
    let first = *packet.first().filter(|first| **first >> 6 == 2)?;
    let fixed = 12 + 4 * usize::from(first & 0xf);
    if first & 0x10 == 0 {
        return (packet.len() >= fixed).then_some(fixed);
    }
    let words = packet.get(fixed + 2..fixed + 4)?;
    let len = fixed + 4 + 4 * usize::from(u16::from_be_bytes([words[0], words[1]]));
    (packet.len() >= len).then_some(len)
}

/// Four octets as a number; the caller has checked that they are there.
fn word(packet: &[u8], at: usize) -> u32 {
    packet.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_be_bytes)
}

/// Sequence number and source of a packet of at least 12 octets.
fn identity(packet: &[u8]) -> (u16, u32) {
    ((word(packet, 0) & 0xffff) as u16, word(packet, 8))
}

/// Session keys, and what both directions do alike.
#[derive(Debug)]
struct Keys {
    suite: Suite,
    mki: Mki,
    rtp: Guard,
    rtcp: Guard,
}

impl Keys {
    fn new(keying: &Keying, mki: Mki) -> Self {
        Self { suite: keying.suite(), mki, rtp: guard(keying, Use::Rtp), rtcp: guard(keying, Use::Rtcp) }
    }
}

/// Protects what is sent under one master key.
#[derive(Debug)]
pub struct Sealer {
    keys: Keys,
    sources: Sources,
    /// The index of the next RTCP packet; one count for all sources, which each sees grow.
    rtcp_next: u32,
}

impl Sealer {
    /// Under a key.
    pub fn new(keying: &Keying, mki: Mki) -> Self {
        Self { keys: Keys::new(keying, mki), sources: Sources::default(), rtcp_next: 0 }
    }

    /// The suite.
    pub const fn suite(&self) -> Suite {
        self.keys.suite
    }

    /// Octets by which an RTP packet grows.
    pub const fn rtp_overhead(&self) -> usize {
        self.keys.suite.rtp_tag_len() + self.keys.mki.len()
    }

    /// Octets by which an RTCP packet grows.
    pub const fn rtcp_overhead(&self) -> usize {
        self.keys.suite.rtcp_tag_len() + self.keys.mki.len() + INDEX_LEN
    }

    /// The index that an RTP packet will be sealed with: none of its source that was used before, since that would show the
    /// difference of two payloads (RFC 3711 §9.1), and with GCM the means to forge (RFC 7714 §10).
    ///
    /// # Errors
    /// The packet cannot be sealed.
    #[inline]
    pub fn admit(&mut self, sequence: u16, ssrc: u32) -> Result<u64, Refusal> {
        let index = match self.sources.of(ssrc) {
            None if self.sources.is_full() => return Err(Refusal::Sources),
            None => u64::from(sequence),
            Some(window) => {
                let index = window.estimate(sequence);
                if window.has(index) {
                    return Err(Refusal::Replayed);
                }
                index
            }
        };
        if index > RTP_INDEX_MAX {
            return Err(Refusal::Exhausted);
        }
        self.sources.note(ssrc, index);
        Ok(index)
    }

    /// Seals an RTP packet whose header was admitted with that index; `packet` ends with [`Self::rtp_overhead`] octets
    /// of room. False, and nothing may be sent, if it is none.
    #[inline]
    pub fn seal_rtp(&self, index: u64, packet: &mut [u8]) -> bool {
        let Some(end) = packet.len().checked_sub(self.rtp_overhead()) else { return false };
        let Some(header) = header_len(&packet[..end]) else { return false };
        let (_, ssrc) = identity(packet);
        let (text, trailer) = packet.split_at_mut(end);
        let (mki, tag_len) = (self.keys.mki, self.keys.suite.rtp_tag_len());
        match &self.keys.rtp {
            Guard::Counter(counter) => {
                counter.apply(ssrc, index, &mut text[header..]);
                let (identifier, tag) = trailer.split_at_mut(mki.len());
                identifier.copy_from_slice(mki.bytes());
                counter.sign(text, &((index >> 16) as u32).to_be_bytes(), tag);
            }
            Guard::Gcm(gcm) => {
                let (header, payload) = text.split_at_mut(header);
                let Some(sealed) = gcm.seal(ssrc, index, header, payload) else { return false };
                let (tag, identifier) = trailer.split_at_mut(tag_len);
                tag.copy_from_slice(&sealed);
                identifier.copy_from_slice(mki.bytes());
            }
        }
        true
    }

    /// Seals an RTCP packet; it ends with [`Self::rtcp_overhead`] octets of room.
    ///
    /// # Errors
    /// It is none, or the key has served its time: it may not be sent.
    pub fn seal_rtcp(&mut self, packet: &mut [u8]) -> Result<(), Refusal> {
        let end = packet.len().checked_sub(self.rtcp_overhead()).ok_or(Refusal::Malformed)?;
        if end < RTCP_CLEAR {
            return Err(Refusal::Malformed);
        }
        if self.rtcp_next > RTCP_INDEX_MAX {
            return Err(Refusal::Exhausted);
        }
        let (index, ssrc) = (self.rtcp_next, word(packet, 4));
        let told = (ENCRYPTED | index).to_be_bytes();
        let mki = self.keys.mki;
        match &self.keys.rtcp {
            Guard::Counter(counter) => {
                counter.apply(ssrc, u64::from(index), &mut packet[RTCP_CLEAR..end]);
                let (text, trailer) = packet.split_at_mut(end + INDEX_LEN);
                text[end..].copy_from_slice(&told);
                let (identifier, tag) = trailer.split_at_mut(mki.len());
                identifier.copy_from_slice(mki.bytes());
                counter.sign(text, &[], tag);
            }
            Guard::Gcm(gcm) => {
                let mut associated = [0; RTCP_CLEAR + INDEX_LEN];
                associated[..RTCP_CLEAR].copy_from_slice(&packet[..RTCP_CLEAR]);
                associated[RTCP_CLEAR..].copy_from_slice(&told);
                let (text, trailer) = packet.split_at_mut(end);
                let sealed = gcm
                    .seal(ssrc, u64::from(index), &associated, &mut text[RTCP_CLEAR..])
                    .ok_or(Refusal::Malformed)?;
                let (tag, rest) = trailer.split_at_mut(self.keys.suite.rtcp_tag_len());
                tag.copy_from_slice(&sealed);
                let (index, identifier) = rest.split_at_mut(INDEX_LEN);
                index.copy_from_slice(&told);
                identifier.copy_from_slice(mki.bytes());
            }
        }
        self.rtcp_next += 1;
        Ok(())
    }
}

/// Takes the protection off what was sent under one master key.
#[derive(Debug)]
pub struct Opener {
    keys: Keys,
    rtp: Sources,
    rtcp: Sources,
    /// Where the sources were under the key before this one: a sender may go on with its rollover counter.
    before: Sources,
    /// Packets of such sources that were not authentic.
    missed: u32,
}

impl Opener {
    /// Under a key.
    pub fn new(keying: &Keying, mki: Mki) -> Self {
        Self {
            keys: Keys::new(keying, mki),
            rtp: Sources::default(),
            rtcp: Sources::default(),
            before: Sources::default(),
            missed: 0,
        }
    }

    /// The suite.
    pub const fn suite(&self) -> Suite {
        self.keys.suite
    }

    /// Takes note of the rollover counters under the key before: senders differ in whether they go on with theirs when
    /// they change the key, so that both are tried.
    pub fn succeed(&mut self, before: &Self) {
        self.before.clone_from(&before.rtp);
    }

    /// Opens an RTP packet in place (RFC 3711 §3.3); the length of what was protected. On an error `packet` is void.
    ///
    /// # Errors
    /// It is to be dropped. Nothing is noted of its source unless it is authentic.
    #[inline]
    pub fn open_rtp(&mut self, packet: &mut [u8]) -> Result<usize, Refusal> {
        let (tag_len, mki) = (self.keys.suite.rtp_tag_len(), self.keys.mki);
        let end = packet.len().checked_sub(tag_len + mki.len()).ok_or(Refusal::Malformed)?;
        let header = header_len(&packet[..end]).ok_or(Refusal::Malformed)?;
        let (sequence, ssrc) = identity(packet);
        let (index, other) = match self.rtp.of(ssrc) {
            Some(window) => {
                let index = window.estimate(sequence);
                if window.has(index) {
                    return Err(Refusal::Replayed);
                }
                (index, None)
            }
            None if self.rtp.is_full() => return Err(Refusal::Sources),
            None => {
                let carried = self.before.of(ssrc).map(|window| window.estimate(sequence));
                (u64::from(sequence), carried.filter(|index| *index != u64::from(sequence)))
            }
        };
        if index > RTP_INDEX_MAX {
            return Err(Refusal::Exhausted);
        }
        let index = match &self.keys.rtp {
            Guard::Counter(counter) => {
                let (text, trailer) = packet.split_at_mut(end);
                let (identifier, tag) = trailer.split_at(mki.len());
                let verifies =
                    |index: u64| counter.verifies(text, &((index >> 16) as u32).to_be_bytes(), tag);
                let index = [Some(index), other].into_iter().flatten().find(|index| verifies(*index));
                let index = index.filter(|_| identifier == mki.bytes()).ok_or(Refusal::Forged)?;
                counter.apply(ssrc, index, &mut text[header..]);
                index
            }
            Guard::Gcm(gcm) => {
                let (text, identifier) = packet.split_at_mut(end + tag_len);
                let (header, sealed) = text.split_at_mut(header);
                // A failure leaves nothing to try again with: packets take turns.
                let index = other.filter(|_| self.missed & 1 == 0).unwrap_or(index);
                if identifier != mki.bytes() || !gcm.open(ssrc, index, header, sealed) {
                    self.missed = self.missed.wrapping_add(u32::from(other.is_some()));
                    return Err(Refusal::Forged);
                }
                index
            }
        };
        self.rtp.note(ssrc, index);
        Ok(end)
    }

    /// Opens an RTCP packet in place (RFC 3711 §3.4, RFC 7714 §9); the length of what was protected. On an error `packet` is void.
    ///
    /// # Errors
    /// It is to be dropped. Nothing is noted of its source unless it is authentic.
    pub fn open_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, Refusal> {
        let (tag_len, mki) = (self.keys.suite.rtcp_tag_len(), self.keys.mki);
        let end = packet.len().checked_sub(tag_len + INDEX_LEN + mki.len()).filter(|end| *end >= RTCP_CLEAR);
        let end = end.ok_or(Refusal::Malformed)?;
        let at = match &self.keys.rtcp {
            Guard::Counter(_) => end,
            Guard::Gcm(_) => end + tag_len,
        };
        let (ssrc, told) = (word(packet, 4), word(packet, at));
        let (index, encrypted) = (u64::from(told & !ENCRYPTED), told & ENCRYPTED != 0);
        match self.rtcp.of(ssrc) {
            Some(window) if window.has(index) => return Err(Refusal::Replayed),
            None if self.rtcp.is_full() => return Err(Refusal::Sources),
            _ => {}
        }
        let authentic = match &self.keys.rtcp {
            Guard::Counter(counter) => {
                let (text, trailer) = packet.split_at_mut(end + INDEX_LEN);
                let (identifier, tag) = trailer.split_at(mki.len());
                let authentic = identifier == mki.bytes() && counter.verifies(text, &[], tag);
                if authentic && encrypted {
                    counter.apply(ssrc, index, &mut text[RTCP_CLEAR..end]);
                }
                authentic
            }
            Guard::Gcm(gcm) => {
                let mut associated = [0; CLEAR_MAX + INDEX_LEN];
                let clear = if encrypted { RTCP_CLEAR } else { end };
                if clear > CLEAR_MAX {
                    return Err(Refusal::Malformed);
                }
                associated[..clear].copy_from_slice(&packet[..clear]);
                associated[clear..clear + INDEX_LEN].copy_from_slice(&told.to_be_bytes());
                packet[at + INDEX_LEN..] == *mki.bytes()
                    && gcm.open(ssrc, index, &associated[..clear + INDEX_LEN], &mut packet[clear..at])
            }
        };
        if !authentic {
            return Err(Refusal::Forged);
        }
        self.rtcp.note(ssrc, index);
        Ok(end)
    }
}
