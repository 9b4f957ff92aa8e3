//! Cutting a TCP stream into messages (RFC 3261 §18.3): bytes in, whole messages out, nothing unbounded.

use crate::message::{Defect, LINE_MAX, MESSAGE_MAX, Name, ParseError, field_at, parse_length};

/// A buffer larger than this is given back once it is empty, so that many idle connections cost little.
const KEPT: usize = 4096;

/// What a stream holds next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// One whole message, for [`crate::message::Message::parse`].
    Message(&'a [u8]),
    /// Two line ends between messages: a keep-alive, to be answered with one (RFC 5626 §4.4.1).
    KeepAlive,
    /// No telling where the next message begins. If the request can be answered it should be, then the
    /// connection is closed (RFC 3261 §18.3). Nothing more comes from this framer.
    Broken(ParseError<'a>),
}

/// Cuts one stream. Holds at most one incomplete message, so at most [`MESSAGE_MAX`] bytes and what was
/// given to it last.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: Vec<u8>,
    /// Bytes of `buffer` already given out.
    taken: usize,
    /// Bytes behind `taken` known not to hold the end of the header.
    searched: usize,
    /// How many bytes behind `taken` the next message has, once its header said so; 0 before.
    needed: usize,
    broken: bool,
}

impl Framer {
    /// A framer for a stream from which nothing has been read.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next frame; called until it returns `None`, when all of `input` is taken in. A message that lies
    /// whole in `input` is given out from there, without a copy.
    pub fn next<'s, 'i: 's>(&'s mut self, input: &mut &'i [u8]) -> Option<Frame<'s>> {
        if self.broken {
            *input = &[];
            return None;
        }
        if self.taken == self.buffer.len() {
            self.buffer.clear();
            if self.buffer.capacity() > KEPT {
                self.buffer = Vec::new();
            }
            self.taken = 0;
            let bytes = *input;
            return match cut(bytes, 0) {
                Cut::Frame { kind, start, end, used } => {
                    *input = &bytes[used..];
                    self.broken = matches!(kind, Kind::Broken(_));
                    Some(kind.of(&bytes[start..end]))
                }
                Cut::Incomplete { skip, searched, needed } => {
                    self.buffer.extend_from_slice(&bytes[skip..]);
                    (self.searched, self.needed) = (searched, needed);
                    *input = &[];
                    None
                }
            };
        }
        if !input.is_empty() {
            self.buffer.drain(..self.taken);
            self.taken = 0;
            self.buffer.extend_from_slice(input);
            *input = &[];
        }
        if self.held() < self.needed {
            return None;
        }
        self.needed = 0;
        let from = self.taken;
        match cut(&self.buffer[from..], self.searched) {
            Cut::Frame { kind, start, end, used } => {
                self.taken += used;
                self.searched = 0;
                self.broken = matches!(kind, Kind::Broken(_));
                Some(kind.of(&self.buffer[from + start..from + end]))
            }
            Cut::Incomplete { skip, searched, needed } => {
                self.buffer.drain(..from + skip);
                self.taken = 0;
                (self.searched, self.needed) = (searched, needed);
                None
            }
        }
    }

    /// Bytes held of a message that is not whole yet.
    pub fn held(&self) -> usize {
        self.buffer.len() - self.taken
    }
}

/// What the beginning of a stream is, as offsets.
enum Cut {
    /// A frame of `start..end`, for which `used` bytes go.
    Frame { kind: Kind, start: usize, end: usize, used: usize },
    /// More bytes are needed, in all `needed` if that is known: `skip` of these are not, and behind them `searched`
    /// need not be searched again.
    Incomplete { skip: usize, searched: usize, needed: usize },
}

enum Kind {
    Message,
    KeepAlive,
    Broken(Defect),
}

impl Kind {
    fn of(self, bytes: &[u8]) -> Frame<'_> {
        match self {
            Self::Message => Frame::Message(bytes),
            Self::KeepAlive => Frame::KeepAlive,
            Self::Broken(defect) => Frame::Broken(ParseError { defect, bytes }),
        }
    }
}

fn cut(bytes: &[u8], searched: usize) -> Cut {
    let mut skip = 0;
    // RFC 3261 §7.5: line ends before a message mean nothing.
    while let Some(b"\r\n") = bytes.get(skip..skip + 2) {
        if bytes.get(skip..skip + 4) == Some(b"\r\n\r\n") {
            return Cut::Frame { kind: Kind::KeepAlive, start: skip, end: skip + 4, used: skip + 4 };
        }
        if bytes.len() < skip + 4 && b"\r\n\r\n".starts_with(&bytes[skip..]) {
            return Cut::Incomplete { skip, searched: 0, needed: 0 }; // one line end: the second may follow
        }
        skip += 2;
    }
    let message = &bytes[skip..];
    let broken = |defect, end: usize| {
        let end = skip + end.min(message.len());
        Cut::Frame { kind: Kind::Broken(defect), start: skip, end, used: bytes.len() }
    };
    if message.is_empty() || message == b"\r" {
        return Cut::Incomplete { skip, searched: 0, needed: 0 };
    }
    let searched = if skip == 0 { searched } else { 0 };
    // A stream that does not begin with a line, or not with one of ours, is given up at once.
    match memchr::memchr(b'\n', &message[..message.len().min(LINE_MAX)]) {
        Some(end) if end == 0 || message[end - 1] != b'\r' => return broken(Defect::ControlCharacter, end),
        None if message.len() >= LINE_MAX => return broken(Defect::LineTooLong, LINE_MAX),
        _ => {}
    }
    let window = &message[searched..message.len().min(MESSAGE_MAX)];
    let Some(end) = memchr::memmem::find(window, b"\r\n\r\n") else {
        if message.len() >= MESSAGE_MAX {
            return broken(Defect::TooLarge, MESSAGE_MAX);
        }
        return Cut::Incomplete { skip, searched: message.len().saturating_sub(3), needed: 0 };
    };
    let head = searched + end + 4;
    match content_length(&message[..head]) {
        Err(defect) => broken(defect, head),
        Ok(length) if head + length > MESSAGE_MAX => broken(Defect::TooLarge, head),
        Ok(length) if head + length > message.len() => {
            Cut::Incomplete { skip, searched: head - 4, needed: head + length }
        }
        Ok(length) => {
            let end = skip + head + length;
            Cut::Frame { kind: Kind::Message, start: skip, end, used: end }
        }
    }
}

/// The one Content-Length of a header; lines that are malformed otherwise are left to the parser.
fn content_length(head: &[u8]) -> Result<usize, Defect> {
    let mut length = None;
    let mut at = memchr::memchr(b'\n', head).map_or(head.len(), |end| end + 1);
    while at + 2 < head.len() {
        match field_at(head, at) {
            Ok((Name::ContentLength, value, next)) => {
                let value = parse_length(value).ok_or(Defect::ContentLength)?;
                if length.replace(value).is_some() {
                    return Err(Defect::ContentLengthRepeated);
                }
                at = next;
            }
            Ok((_, _, next)) => at = next,
            // Where lines end must be beyond doubt, or another element may see another Content-Length.
            Err(Defect::ControlCharacter) => return Err(Defect::ControlCharacter),
            Err(_) => at = memchr::memchr(b'\n', &head[at..]).map_or(head.len(), |end| at + end + 1),
        }
    }
    length.ok_or(Defect::ContentLengthMissing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(call_id: &str, body: &str) -> String {
        format!("OPTIONS sip:h SIP/2.0\r\nCall-ID: {call_id}\r\nL : {}\r\n\r\n{body}", body.len())
    }

    #[derive(Debug, PartialEq)]
    enum Owned {
        Message(String),
        KeepAlive,
        Broken(Defect),
    }

    fn collect(framer: &mut Framer, mut input: &[u8], into: &mut Vec<Owned>) {
        while let Some(frame) = framer.next(&mut input) {
            into.push(match frame {
                Frame::Message(bytes) => Owned::Message(String::from_utf8(bytes.to_vec()).unwrap()),
                Frame::KeepAlive => Owned::KeepAlive,
                Frame::Broken(error) => Owned::Broken(error.defect),
            });
        }
        assert!(input.is_empty());
    }

    #[test]
    fn frames_do_not_depend_on_where_the_stream_was_cut() {
        let (one, two, three) = (message("1", ""), message("2", "line\r\n\r\nline"), message("3", "x"));
        let stream = format!("\r\n{one}\r\n\r\n{two}{three}\r\n\r\n\r\n\r\n\r\n");
        let expected = || {
            vec![
                Owned::Message(one.clone()),
                Owned::KeepAlive,
                Owned::Message(two.clone()),
                Owned::Message(three.clone()),
                Owned::KeepAlive,
                Owned::KeepAlive,
            ]
        };
        for size in 1..=stream.len() {
            let (mut framer, mut frames) = (Framer::new(), Vec::new());
            for piece in stream.as_bytes().chunks(size) {
                collect(&mut framer, piece, &mut frames);
            }
            assert_eq!(frames, expected(), "pieces of {size}");
            assert!(framer.held() <= 2);
        }
    }

    #[test]
    fn what_cannot_be_framed_breaks_the_stream_for_good() {
        let large = format!("A sip:h SIP/2.0\r\nX: {}", "y".repeat(MESSAGE_MAX));
        for (stream, defect) in [
            ("A sip:h SIP/2.0\r\nX: y\r\n\r\n", Defect::ContentLengthMissing),
            ("A sip:h SIP/2.0\r\nl: 1\r\nContent-Length: 1\r\n\r\nx", Defect::ContentLengthRepeated),
            ("A sip:h SIP/2.0\r\nl: -1\r\n\r\n", Defect::ContentLength),
            ("A sip:h SIP/2.0\r\nX: y\nl: 1\r\nX: y\r\n\r\n", Defect::ControlCharacter),
            ("A sip:h SIP/2.0\r\nl: 65536\r\n\r\n", Defect::TooLarge),
            ("A sip:h SIP/2.0\nl: 0\n\n", Defect::ControlCharacter),
            (&large, Defect::TooLarge),
            (&large[20..], Defect::LineTooLong),
        ] {
            for size in [7, stream.len()] {
                let (mut framer, mut frames) = (Framer::new(), Vec::new());
                for piece in stream.as_bytes().chunks(size) {
                    collect(&mut framer, piece, &mut frames);
                }
                collect(&mut framer, message("1", "").as_bytes(), &mut frames);
                assert_eq!(frames, [Owned::Broken(defect)]);
            }
        }
    }

    #[test]
    fn a_broken_request_can_still_be_answered() {
        let mut input: &[u8] =
            b"BYE sip:h SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bKa\r\nFrom: <sip:a@b>\r\n\
            To: <sip:c@d>\r\nCall-ID: 1\r\nCSeq: 1 BYE\r\n\r\n";
        let mut framer = Framer::new();
        let Some(Frame::Broken(error)) = framer.next(&mut input) else { panic!() };
        assert_eq!((error.status(), error.answerable().unwrap().call_id()), (400, &b"1"[..]));
    }

    #[test]
    fn a_drip_is_not_searched_again_and_again() {
        let mut framer = Framer::new();
        let line = b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n";
        let mut input: &[u8] = b"A sip:h SIP/2.0\r\n";
        assert_eq!(framer.next(&mut input), None);
        for _ in 0..1000 {
            let mut input: &[u8] = line;
            assert_eq!(framer.next(&mut input), None);
            assert!(framer.searched + 3 >= framer.held());
        }
        let mut input: &[u8] = b"l: 1000\r\n\r\n";
        assert_eq!(framer.next(&mut input), None);
        assert_eq!(framer.needed, framer.held() + 1000);
        for _ in 0..999 {
            let mut input: &[u8] = b"z";
            assert_eq!(framer.next(&mut input), None);
        }
        let mut input: &[u8] = b"zA sip:h SIP/2.0\r\nl: 0\r\n\r\n";
        assert!(matches!(framer.next(&mut input), Some(Frame::Message(bytes)) if bytes.ends_with(b"zz")));
        assert!(matches!(framer.next(&mut input), Some(Frame::Message(bytes)) if bytes.len() == 25));
    }
}
