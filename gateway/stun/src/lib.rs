//! STUN messages (RFC 8489) without IO: read, written, and shown to be whole and from who knows a password.
//!
//! What is done with them is the business of who reads them: SIP keep-alives (`sip::stun`), ICE (`rtp::ice`).

mod read;
mod write;

pub use read::{Class, Message, is_stun};
pub use write::Writer;

/// Octets of a message's header (RFC 8489 §5).
pub const HEADER: usize = 20;
/// Attributes of one message that are looked at; a message with more is not read.
pub const ATTRIBUTES_MAX: usize = 24;
/// Octets of the longest message that is read: what fits in a packet over any path (RFC 8489 §6.1).
pub const MESSAGE_MAX: usize = 1280;
/// Attributes below this have to be understood (RFC 8489 §14).
pub const OPTIONAL_FROM: u16 = 0x8000;

/// The method of Binding (RFC 8489 §18.2).
pub const BINDING: u16 = 1;

/// MAPPED-ADDRESS.
pub const MAPPED_ADDRESS: u16 = 0x0001;
/// USERNAME.
pub const USERNAME: u16 = 0x0006;
/// MESSAGE-INTEGRITY.
pub const MESSAGE_INTEGRITY: u16 = 0x0008;
/// ERROR-CODE.
pub const ERROR_CODE: u16 = 0x0009;
/// UNKNOWN-ATTRIBUTES.
pub const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
/// MESSAGE-INTEGRITY-SHA256.
pub const MESSAGE_INTEGRITY_SHA256: u16 = 0x001c;
/// XOR-MAPPED-ADDRESS.
pub const XOR_MAPPED_ADDRESS: u16 = 0x0020;
/// PRIORITY (RFC 8445 §7.1.1).
pub const PRIORITY: u16 = 0x0024;
/// USE-CANDIDATE (RFC 8445 §7.1.2).
pub const USE_CANDIDATE: u16 = 0x0025;
/// FINGERPRINT.
pub const FINGERPRINT: u16 = 0x8028;
/// ICE-CONTROLLED (RFC 8445 §7.1.3).
pub const ICE_CONTROLLED: u16 = 0x8029;
/// ICE-CONTROLLING (RFC 8445 §7.1.3).
pub const ICE_CONTROLLING: u16 = 0x802a;

/// RFC 8489 §5.
pub(crate) const COOKIE: [u8; 4] = 0x2112_a442u32.to_be_bytes();
/// What the checksum of a fingerprint is mixed with (RFC 8489 §14.7).
pub(crate) const FINGERPRINT_MIX: u32 = 0x5354_554e;

#[cfg(test)]
mod tests;
