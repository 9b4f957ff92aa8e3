//! WebSocket as a SIP transport, server side (RFC 6455, RFC 7118): bytes in, whole SIP messages out, nothing unbounded.

mod frame;
mod handshake;

pub(crate) use frame::{GOING_AWAY, close, head};

use crate::message::MESSAGE_MAX;
use frame::{Fault, Head, Opcode};

/// What a session has to say next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// The opening handshake is done: these bytes go out as they are.
    Opened(Vec<u8>),
    /// One whole SIP message.
    Message(Vec<u8>),
    /// A message of line ends only: a keep-alive, to be answered with one (RFC 7118 §6, RFC 5626 §4.4.1).
    KeepAlive,
    /// Bytes that go out as they are: an answer to a ping.
    Reply(Vec<u8>),
    /// It is over: these bytes go out as they are, then the connection is closed. Nothing more comes.
    Over {
        /// The last bytes.
        reply: Vec<u8>,
        /// Why.
        why: Ending,
    },
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The peer said so.
    Closed,
    /// The opening handshake was refused.
    Refused,
    /// What came breaks the protocol or a limit.
    Broken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Opening,
    Open,
    Over,
}

/// One connection's WebSocket. Holds one unfinished frame and one unfinished message, each at most [`MESSAGE_MAX`]
/// bytes, and what was given to it last.
#[derive(Debug)]
pub struct Session {
    state: State,
    buffer: Vec<u8>,
    /// Fragments of a message so far, and whether it is text.
    message: Option<(Vec<u8>, bool)>,
}

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

impl Session {
    /// A session on a connection from which nothing has been read.
    pub const fn new() -> Self {
        Self { state: State::Opening, buffer: Vec::new(), message: None }
    }

    /// Takes bytes in; then [`Self::next`] is called until it returns `None`.
    pub fn take(&mut self, bytes: &[u8]) {
        if self.state != State::Over {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// What follows from the bytes taken in.
    #[allow(clippy::should_implement_trait, reason = "more bytes may follow a None")]
    pub fn next(&mut self) -> Option<Step> {
        match self.state {
            State::Opening => match handshake::answer(&self.buffer)? {
                Ok(handshake::Accepted { reply, used }) => {
                    self.buffer.drain(..used);
                    self.state = State::Open;
                    Some(Step::Opened(reply))
                }
                Err(reply) => Some(self.over(reply, Ending::Refused)),
            },
            State::Open => loop {
                match self.frame()? {
                    Ok(Some(step)) => return Some(step),
                    Ok(None) => {}
                    Err(fault) => return Some(self.over(close(fault.code()), Ending::Broken)),
                }
            },
            State::Over => None,
        }
    }

    fn over(&mut self, reply: Vec<u8>, why: Ending) -> Step {
        *self = Self { state: State::Over, buffer: Vec::new(), message: None };
        Step::Over { reply, why }
    }

    /// The next frame: `None` if it is not whole, `Some(Ok(None))` if nothing follows from it.
    fn frame(&mut self) -> Option<Result<Option<Step>, Fault>> {
        let head = match Head::parse(&self.buffer)? {
            Ok(head) => head,
            Err(fault) => return Some(Err(fault)),
        };
        let held = self.message.as_ref().map_or(0, |(bytes, _)| bytes.len());
        if !head.opcode.is_control() && held + head.length > MESSAGE_MAX {
            return Some(Err(Fault::TooLarge));
        }
        let end = head.size + head.length;
        if self.buffer.len() < end {
            return None;
        }
        let mut payload: Vec<u8> = self.buffer.drain(..end).skip(head.size).collect();
        head.unmask(&mut payload);
        if self.buffer.is_empty() {
            self.buffer = Vec::new(); // many idle connections cost little
        }
        Some(self.payload(head, payload))
    }

    fn payload(&mut self, head: Head, payload: Vec<u8>) -> Result<Option<Step>, Fault> {
        match (head.opcode, self.message.take()) {
            (Opcode::Ping, message) => {
                self.message = message;
                let mut reply = frame::head(Opcode::Pong, payload.len());
                reply.extend_from_slice(&payload);
                Ok(Some(Step::Reply(reply)))
            }
            (Opcode::Pong, message) => {
                self.message = message;
                Ok(None)
            }
            (Opcode::Close, _) => {
                let reply = frame::closing(&payload)?;
                Ok(Some(self.over(reply, Ending::Closed)))
            }
            (Opcode::Text | Opcode::Binary, None) => {
                self.whole(head.is_final, payload, head.opcode == Opcode::Text)
            }
            (Opcode::Continuation, Some((mut bytes, text))) => {
                bytes.extend_from_slice(&payload);
                self.whole(head.is_final, bytes, text)
            }
            // RFC 6455 §5.4: fragments of one message are not interleaved with another's.
            (Opcode::Text | Opcode::Binary, Some(_)) | (Opcode::Continuation, None) => Err(Fault::Protocol),
        }
    }

    fn whole(&mut self, is_final: bool, bytes: Vec<u8>, text: bool) -> Result<Option<Step>, Fault> {
        if !is_final {
            self.message = Some((bytes, text));
            return Ok(None);
        }
        // RFC 6455 §8.1.
        if text && core::str::from_utf8(&bytes).is_err() {
            return Err(Fault::NotUtf8);
        }
        if bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
            return Ok((!bytes.is_empty()).then_some(Step::KeepAlive));
        }
        Ok(Some(Step::Message(bytes)))
    }
}

/// A frame that carries one SIP message, up to the message itself: text where it is UTF-8 (RFC 7118 §4.2).
pub(crate) fn message_head(message: &[u8]) -> Vec<u8> {
    let opcode = if core::str::from_utf8(message).is_ok() { Opcode::Text } else { Opcode::Binary };
    head(opcode, message.len())
}

#[cfg(test)]
mod tests;
