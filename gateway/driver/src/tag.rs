//! What a completion carries back: which kind of operation, on which slot, of which generation.

/// The kind of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Something nobody waits for (cancellations).
    Ignored = 0,
    /// The mailbox's event descriptor.
    Mail = 1,
    /// Receiving datagrams (into small buffers), or readiness of a datagram socket.
    Receive = 2,
    /// Sending a datagram; the slot is the packet's.
    Send = 3,
    /// Accepting, or readiness of a listening socket.
    Accept = 4,
    /// Connecting a stream.
    Connect = 5,
    /// Reading a stream, or readiness of one.
    Read = 6,
    /// Writing a stream.
    Write = 7,
    /// Receiving datagrams into large buffers.
    ReceiveLarge = 8,
}

/// A kind, a slot below 2^24 and the slot's generation, as the kernel's 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) kind: Kind,
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl Tag {
    /// Slots are below this.
    pub(crate) const INDEX_END: u32 = 1 << 24;

    pub(crate) const fn new(kind: Kind, index: u32, generation: u32) -> Self {
        debug_assert!(index < Self::INDEX_END);
        Self { kind, index, generation }
    }

    pub(crate) const fn to_bits(self) -> u64 {
        (self.generation as u64) << 32 | (self.kind as u64) << 24 | self.index as u64
    }

    pub(crate) const fn from_bits(bits: u64) -> Self {
        let kind = match (bits >> 24) as u8 {
            1 => Kind::Mail,
            2 => Kind::Receive,
            3 => Kind::Send,
            4 => Kind::Accept,
            5 => Kind::Connect,
            6 => Kind::Read,
            7 => Kind::Write,
            8 => Kind::ReceiveLarge,
            _ => Kind::Ignored,
        };
        Self { kind, index: bits as u32 & (Self::INDEX_END - 1), generation: (bits >> 32) as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_survive_the_kernel() {
        for kind in [Kind::Ignored, Kind::Mail, Kind::Receive, Kind::Send, Kind::Accept, Kind::Connect] {
            for kind in [kind, Kind::Read, Kind::Write, Kind::ReceiveLarge] {
                for (index, generation) in [(0, 0), (Tag::INDEX_END - 1, u32::MAX), (77, 1)] {
                    let tag = Tag::new(kind, index, generation);
                    assert_eq!(Tag::from_bits(tag.to_bits()), tag);
                }
            }
        }
    }
}
