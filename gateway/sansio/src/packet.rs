//! The packet pool: fixed buffers at fixed addresses for datagrams on their way out.
//!
//! Two sizes: most datagrams (RTP, SIP under the MTU) take a small one, the rest a large one. A packet is
//! named by its slot; who takes one gives it back. The pool never grows: when it is empty the
//! sender is told, and counts.

/// Bytes in a small packet: any datagram below the usual MTU, and then some.
pub const SMALL_PACKET: usize = 2048;
/// Bytes in a large packet: the largest UDP payload over IPv4 fits.
pub const LARGE_PACKET: usize = 65_536;

/// A buffer taken from a [`PacketPool`], to be given back to the same pool.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a packet that is not released is lost to its pool"]
pub struct Packet {
    slot: u32,
    len: u32,
}

impl Packet {
    /// Which buffer this is; small ones come first.
    pub fn slot(&self) -> usize {
        self.slot as usize
    }

    /// Bytes in use.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// Fixed buffers at addresses that stay the same for the pool's whole life.
#[derive(Debug)]
pub struct PacketPool {
    small: Box<[u8]>,
    large: Box<[u8]>,
    small_count: u32,
    free_small: Vec<u32>,
    free_large: Vec<u32>,
}

impl PacketPool {
    /// A pool of `small` packets of [`SMALL_PACKET`] and `large` packets of [`LARGE_PACKET`] bytes.
    /// Memory: `small × 2 KiB + large × 64 KiB`, touched only as it is used.
    pub fn new(small: u32, large: u32) -> Self {
        Self {
            small: vec![0; small as usize * SMALL_PACKET].into_boxed_slice(),
            large: vec![0; large as usize * LARGE_PACKET].into_boxed_slice(),
            small_count: small,
            free_small: (0..small).rev().collect(),
            free_large: (small..small + large).rev().collect(),
        }
    }

    /// Takes a packet with room for `len` bytes; `None` if none is free or `len` is above [`LARGE_PACKET`].
    pub fn take(&mut self, len: usize) -> Option<Packet> {
        let slot = if len <= SMALL_PACKET {
            self.free_small.pop().or_else(|| self.free_large.pop())?
        } else if len <= LARGE_PACKET {
            self.free_large.pop()?
        } else {
            return None;
        };
        // At most LARGE_PACKET, so it fits.
        Some(Packet { slot, len: len as u32 })
    }

    /// Gives a packet back.
    pub fn release(&mut self, packet: Packet) {
        if packet.slot < self.small_count {
            debug_assert!(!self.free_small.contains(&packet.slot) || self.free_small.len() > 256);
            self.free_small.push(packet.slot);
        } else {
            self.free_large.push(packet.slot);
        }
    }

    /// The bytes of a packet.
    pub fn bytes(&self, packet: &Packet) -> &[u8] {
        let (buffer, start) = self.place(packet);
        &buffer[start..start + packet.len()]
    }

    /// The bytes of a packet, to be written.
    pub fn bytes_mut(&mut self, packet: &Packet) -> &mut [u8] {
        let len = packet.len();
        if packet.slot < self.small_count {
            let start = packet.slot() * SMALL_PACKET;
            &mut self.small[start..start + len]
        } else {
            let start = (packet.slot - self.small_count) as usize * LARGE_PACKET;
            &mut self.large[start..start + len]
        }
    }

    fn place(&self, packet: &Packet) -> (&[u8], usize) {
        if packet.slot < self.small_count {
            (&self.small, packet.slot() * SMALL_PACKET)
        } else {
            (&self.large, (packet.slot - self.small_count) as usize * LARGE_PACKET)
        }
    }

    /// Packets not given back yet.
    pub fn taken(&self) -> usize {
        let large = self.large.len() / LARGE_PACKET;
        self.small_count as usize + large - self.free_small.len() - self.free_large.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hands_out_what_it_has_and_no_more() {
        let mut pool = PacketPool::new(2, 1);
        let a = pool.take(10).unwrap();
        let b = pool.take(SMALL_PACKET).unwrap();
        let c = pool.take(1).unwrap(); // a small one from the large class
        assert!(pool.take(1).is_none());
        assert_eq!(pool.taken(), 3);
        pool.bytes_mut(&a).copy_from_slice(b"0123456789");
        pool.bytes_mut(&c)[0] = 7;
        assert_eq!(pool.bytes(&a), b"0123456789");
        assert_eq!(pool.bytes(&c), [7]);
        for packet in [a, b, c] {
            pool.release(packet);
        }
        assert_eq!(pool.taken(), 0);
        assert!(pool.take(LARGE_PACKET + 1).is_none());
    }
}
