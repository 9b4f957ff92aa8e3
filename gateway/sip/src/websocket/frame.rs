//! Frames (RFC 6455 §5): heads read and written, masks taken off, and what is wrong with those that are refused.

use crate::message::MESSAGE_MAX;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opcode {
    /// A further fragment of a message.
    Continuation = 0,
    /// A message of UTF-8, or its first fragment.
    Text = 1,
    /// A message of bytes, or its first fragment.
    Binary = 2,
    /// The end.
    Close = 8,
    /// To be answered with a pong.
    Ping = 9,
    /// The answer.
    Pong = 10,
}

impl Opcode {
    /// Whether it may stand between the fragments of a message (RFC 6455 §5.5).
    pub(crate) const fn is_control(self) -> bool {
        self as u8 >= Self::Close as u8
    }

    const fn of(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::Continuation),
            1 => Some(Self::Text),
            2 => Some(Self::Binary),
            8 => Some(Self::Close),
            9 => Some(Self::Ping),
            10 => Some(Self::Pong),
            _ => None,
        }
    }
}

/// What is wrong with what came (RFC 6455 §7.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It breaks the protocol.
    Protocol,
    /// Text that is not UTF-8.
    NotUtf8,
    /// More than a SIP message may hold.
    TooLarge,
}

impl Fault {
    /// The status code of the Close frame.
    pub(crate) const fn code(self) -> u16 {
        match self {
            Self::Protocol => 1002,
            Self::NotUtf8 => 1007,
            Self::TooLarge => 1009,
        }
    }
}

/// The status code of an endpoint that goes away.
pub(crate) const GOING_AWAY: u16 = 1001;

/// The head of a frame from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) is_final: bool,
    pub(crate) opcode: Opcode,
    mask: [u8; 4],
    /// Bytes of payload.
    pub(crate) length: usize,
    /// Bytes of the head itself.
    pub(crate) size: usize,
}

impl Head {
    /// Reads a head (RFC 6455 §5.2); `None` if it is not whole yet.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Result<Self, Fault>> {
        let (&first, &second) = (bytes.first()?, bytes.get(1)?);
        let is_final = first & 0x80 != 0;
        let opcode = match Opcode::of(first & 0x0f) {
            // No extension was agreed that would give the reserved bits a meaning.
            Some(opcode) if first & 0x70 == 0 => opcode,
            _ => return Some(Err(Fault::Protocol)),
        };
        // RFC 6455 §5.1: a client masks every frame. §5.5: control frames are short and whole.
        let short = second & 0x7f;
        if second & 0x80 == 0 || (opcode.is_control() && (short > 125 || !is_final)) {
            return Some(Err(Fault::Protocol));
        }
        let (length, size) = match short {
            126 => (u64::from(u16::from_be_bytes(*bytes.get(2..4)?.first_chunk()?)), 8),
            127 => (u64::from_be_bytes(*bytes.get(2..10)?.first_chunk()?), 14),
            short => (u64::from(short), 6),
        };
        // The shortest way to write a length is the only one.
        if (short == 126 && length < 126) || (short == 127 && (length < 65_536 || length >> 63 != 0)) {
            return Some(Err(Fault::Protocol));
        }
        let length = match usize::try_from(length) {
            Ok(length) if length <= MESSAGE_MAX => length,
            _ => return Some(Err(Fault::TooLarge)),
        };
        let mask = *bytes.get(size - 4..size)?.first_chunk()?;
        Some(Ok(Self { is_final, opcode, mask, length, size }))
    }

    /// Takes the mask off (RFC 6455 §5.3).
    pub(crate) fn unmask(&self, payload: &mut [u8]) {
        for (byte, mask) in payload.iter_mut().zip(self.mask.iter().cycle()) {
            *byte ^= mask;
        }
    }
}

/// The head of a whole frame from us, which is never masked (RFC 6455 §5.1).
pub(crate) fn head(opcode: Opcode, length: usize) -> Vec<u8> {
    let mut out = vec![0x80 | opcode as u8];
    match length {
        // Each fits: its range says so.
        0..126 => out.push(length as u8),
        126..65_536 => {
            out.push(126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out
}

/// A Close frame.
pub(crate) fn close(code: u16) -> Vec<u8> {
    let mut out = head(Opcode::Close, 2);
    out.extend_from_slice(&code.to_be_bytes());
    out
}

/// Our Close frame in answer to one with this payload (RFC 6455 §5.5.1, §7.4).
pub(crate) fn closing(payload: &[u8]) -> Result<Vec<u8>, Fault> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() { Ok(head(Opcode::Close, 0)) } else { Err(Fault::Protocol) };
    };
    let code = u16::from_be_bytes(*code);
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Fault::Protocol);
    }
    if core::str::from_utf8(reason).is_err() {
        return Err(Fault::NotUtf8);
    }
    Ok(close(code))
}
