//! Telephone events (RFC 4733): keys and flash as packets of the voice's own stream.
//!
//! [`Payload`] reads and writes the four octets. [`Listener`] turns what comes, with losses, doubles and disorder, into each event once
//! with its duration; [`Transmission`] says what to send while an event lasts.
mod listen;
mod transmit;

pub use listen::{Ending, Listener, Report};
pub use transmit::{Outgoing, Transmission};

/// Octets of an event's payload.
pub const PAYLOAD_LEN: usize = 4;
/// The event of a flash (RFC 2833 §3.10). Below are 0 to 9, `*`, `#`, A to D (RFC 4733 §3.2, table 3).
pub const FLASH: u8 = 16;
const DIGITS: &[u8; 16] = b"0123456789*#ABCD";

/// What one packet says of an event (RFC 4733 §2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The event's number.
    pub event: u8,
    /// Whether the event is over.
    pub end: bool,
    /// How soft the tone is: dBm0 without its minus sign, 0 to 63. Means nothing for what is no tone.
    pub volume: u8,
    /// How long it has lasted since the packet's timestamp, in ticks of the stream's clock.
    pub duration: u16,
}

impl Payload {
    /// Reads a payload; `None` if it is shorter than four octets. What follows them (other events in the same packet, RFC 4733 §2.5.1.5, which nobody is known to send) and
    /// the reserved bit are not looked at (§2.3.3).
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let &[event, flags, high, low] = payload.first_chunk()?;
        let duration = u16::from_be_bytes([high, low]);
        Some(Self { event, end: flags & 0x80 != 0, volume: flags & 0x3f, duration })
    }

    /// The four octets.
    pub const fn octets(&self) -> [u8; PAYLOAD_LEN] {
        let [high, low] = self.duration.to_be_bytes();
        let volume = if self.volume > 63 { 63 } else { self.volume };
        [self.event, (self.end as u8) << 7 | volume, high, low]
    }
}

/// The character of a key's event: `None` for flash and what is beyond.
pub fn character(event: u8) -> Option<char> {
    DIGITS.get(usize::from(event)).map(|&octet| char::from(octet))
}

/// The event of a key's character; letters may be small, and `!` is flash.
pub fn event_of(character: char) -> Option<u8> {
    if character == '!' {
        return Some(FLASH);
    }
    let place = DIGITS.iter().position(|&octet| char::from(octet) == character.to_ascii_uppercase())?;
    Some(place as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rfc_4733_section_2_3_the_four_octets() {
        // A 1 at -7 dBm0 that ended after 1600 ticks.
        let payload = Payload { event: 1, end: true, volume: 7, duration: 1600 };
        assert_eq!(payload.octets(), [1, 0x87, 0x06, 0x40]);
        assert_eq!(Payload::parse(&[1, 0x87, 0x06, 0x40]), Some(payload));
        assert_eq!(
            Payload::parse(&[1, 0xc7, 0x06, 0x40, 9, 9]),
            Some(payload),
            "the reserved bit, more octets"
        );
        assert_eq!(Payload::parse(&[1, 0x87, 0x06]), None);
        assert_eq!(Payload { volume: 200, ..payload }.octets()[1], 0x80 | 63);
    }

    #[test]
    fn rfc_4733_section_3_2_keys_are_the_first_sixteen_events_and_flash_is_the_next_as_in_rfc_2833_section_3_10()
     {
        for (event, key) in "0123456789*#ABCD".chars().enumerate() {
            assert_eq!((character(event as u8), event_of(key)), (Some(key), Some(event as u8)));
        }
        assert_eq!(
            (character(16), event_of('!'), event_of('d'), event_of('x')),
            (None, Some(16), Some(15), None)
        );
    }

    proptest! {
        #[test]
        fn payloads_round_trip(event: u8, end: bool, volume in 0..64u8, duration: u16) {
            let payload = Payload { event, end, volume, duration };
            prop_assert_eq!(Payload::parse(&payload.octets()), Some(payload));
        }
    }
}
