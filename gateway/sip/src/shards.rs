//! Which shard owns a message: the one its Call-ID hashes to. No table, no lock, one hop at most.
//!
//! All shards share the SIP port and the kernel spreads datagrams by their addresses, so that all of one carrier's arrive at
//! one shard. Every message of a dialog carries the same Call-ID (RFC 3261 §8.1.1.4), and the gateway draws
//! the Call-IDs of its own legs until they hash to the shard that owns the call: both legs of a call
//! thus find home by the same rule.

use crate::message::dialog;
use sansio::Random;

/// The shards of a process, and which of them one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shards {
    /// How many there are, at least 1.
    pub count: u16,
    /// This one's number, below `count`.
    pub me: u16,
}

impl Shards {
    /// One that shares with nobody.
    pub const ALONE: Self = Self { count: 1, me: 0 };

    /// The owner of a message: this shard too if it carries no Call-ID (it will be answered or dropped here).
    pub fn owner(self, message: &[u8]) -> u16 {
        if self.count == 1 {
            return self.me;
        }
        dialog(message).map_or(self.me, |(_, call_id, _)| self.owner_of(call_id))
    }

    /// The owner of a Call-ID.
    pub fn owner_of(self, call_id: &[u8]) -> u16 {
        // FNV-1a over the bytes, the high half taken: its low bits are weak for few bits of difference.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in call_id {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
        hash ^= hash >> 32;
        (hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u16 % self.count.max(1)
    }

    /// Draws a Call-ID that this shard owns: 22 characters of 5.95 bits; on average `count` draws.
    pub fn draw_call_id(self, random: &mut Random) -> String {
        let mut token = [0u8; 22];
        loop {
            random.token(&mut token);
            if self.owner_of(&token) == self.me {
                return token.iter().map(|byte| char::from(*byte)).collect();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawn_call_ids_come_home_and_all_shards_get_their_share() {
        let mut random = Random::new(1);
        for count in 1..=8 {
            for me in 0..count {
                let shards = Shards { count, me };
                assert_eq!(shards.owner_of(shards.draw_call_id(&mut random).as_bytes()), me);
            }
            let mut share = vec![0u32; usize::from(count)];
            for n in 0..8000u32 {
                share[usize::from(Shards { count, me: 0 }.owner_of(format!("{n}@192.0.2.7").as_bytes()))] +=
                    1;
            }
            let even = 8000 / u32::from(count);
            assert!(share.iter().all(|n| n.abs_diff(even) < even / 5), "{share:?}");
        }
    }

    #[test]
    fn compact_and_long_call_ids_have_one_owner() {
        let shards = Shards { count: 7, me: 3 };
        let long = b"BYE sip:a@b SIP/2.0\r\nCall-ID: abc@d\r\n\r\n";
        let compact = b"SIP/2.0 200 OK\r\ni:abc@d \r\n\r\n";
        assert_eq!(shards.owner(long), shards.owner(compact));
        assert_eq!(shards.owner(b"garbage"), 3);
    }
}
