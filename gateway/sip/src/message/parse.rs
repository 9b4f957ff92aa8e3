//! Finding the parts of a message: start line, where each field lies, the body (RFC 3261 §7).

use super::defect::{Defect, ParseError};
use super::name::Key;
use super::scan::{is_token_byte, next_control, number};
use super::start_line::StartLine;
use super::{FIELDS_MAX, LINE_MAX, MESSAGE_MAX, Method, Name};

/// Where a field lies: eight bytes each.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Entry {
    pub(super) name_start: u16,
    pub(super) value_start: u16,
    pub(super) value_end: u16,
    pub(super) name_len: u8,
    pub(super) name: u8,
}

/// A message as offsets into the received bytes. Less than 900 bytes, nothing on the heap.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) line: StartLine,
    /// By name: which entry is the first of it, plus one.
    pub(super) first: [u8; Name::COUNT],
    pub(super) count: u8,
    pub(super) body_start: u16,
    pub(super) body_end: u16,
    pub(super) has_content_length: bool,
    pub(super) entries: [Entry; FIELDS_MAX],
}

impl<'a> Message<'a> {
    /// Finds the parts of one message in a datagram, or in what a [`crate::framing::Framer`] cut out of a
    /// stream. Bytes behind Content-Length are discarded (RFC 3261 §18.3); without a Content-Length the body goes to
    /// the end of the datagram. No allocation; the values of fields are not looked into.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError<'a>> {
        // Made in the place where it is returned, to be copied as seldom as possible.
        let mut result = Ok(Self::empty(bytes));
        if let Ok(message) = &mut result
            && let Err(defect) = message.scan(false)
        {
            result = Err(ParseError { defect, bytes });
        }
        result
    }

    /// What can be read of a message with defects; `None` if there is no start line.
    pub(super) fn parse_leniently(bytes: &'a [u8]) -> Option<Self> {
        let mut message = Self::empty(bytes);
        message.scan(true).ok()?;
        Some(message)
    }

    fn empty(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            line: StartLine {
                status: 0,
                method: Method::Other,
                is_version_2: true,
                start: 0,
                method_end: 0,
                text_start: 0,
                text_end: 0,
            },
            first: [0; Name::COUNT],
            count: 0,
            body_start: 0,
            body_end: 0,
            has_content_length: false,
            entries: [Entry::default(); FIELDS_MAX],
        }
    }

    /// `lenient` leaves out what is malformed, as far as there is anything left to answer.
    fn scan(&mut self, lenient: bool) -> Result<(), Defect> {
        if self.bytes.len() > MESSAGE_MAX {
            if !lenient {
                return Err(Defect::TooLarge);
            }
            self.bytes = &self.bytes[..MESSAGE_MAX];
        }
        let bytes = self.bytes;
        let (start, line_end) = first_line(bytes)?;
        self.line = StartLine::parse(bytes, start, line_end, lenient)?;
        let (content_length, lines) = self.header_fields(line_end + 2, lenient)?;
        if !lenient {
            no_controls(&bytes[start..usize::from(self.body_start)], line_end - start, lines + 2)?;
        }
        let available = bytes.len() - usize::from(self.body_start);
        self.body_end = match content_length {
            None => bytes.len(),
            Some(length) if length <= available => usize::from(self.body_start) + length,
            Some(_) if lenient => bytes.len(),
            Some(_) => return Err(Defect::Truncated),
        } as u16;
        self.has_content_length = content_length.is_some();
        Ok(())
    }

    /// Notes the fields from `at` on, sets where the body begins, and returns Content-Length and the number of lines.
    fn header_fields(&mut self, mut at: usize, lenient: bool) -> Result<(Option<usize>, usize), Defect> {
        let bytes = self.bytes;
        let (mut content_length, mut lines) = (None, 0);
        loop {
            if let Some(b"\r\n") = bytes.get(at..at + 2) {
                self.body_start = (at + 2) as u16;
                return Ok((content_length, lines));
            }
            match field(bytes, at)
                .and_then(|found| if lenient { found.checked(bytes, at) } else { Ok(found) })
            {
                Ok(found) => {
                    let entry = found.entry;
                    at = found.next;
                    lines += found.lines;
                    if usize::from(self.count) == FIELDS_MAX {
                        if lenient {
                            continue;
                        }
                        return Err(Defect::TooManyFields);
                    }
                    if found.name == Name::ContentLength {
                        let value = &bytes[usize::from(entry.value_start)..usize::from(entry.value_end)];
                        match parse_length(value) {
                            Some(_) if content_length.is_some() && !lenient => {
                                return Err(Defect::ContentLengthRepeated);
                            }
                            Some(length) => content_length = Some(length),
                            None if lenient => {}
                            None => return Err(Defect::ContentLength),
                        }
                    }
                    self.entries[usize::from(self.count)] = entry;
                    self.count += 1;
                    if let Some(first) = self.first.get_mut(usize::from(entry.name))
                        && *first == 0
                    {
                        *first = self.count;
                    }
                }
                Err(defect) if !lenient => return Err(defect),
                Err(_) => match memchr::memchr(b'\n', &bytes[at..]) {
                    Some(end) => at += end + 1,
                    None => {
                        self.body_start = bytes.len() as u16;
                        return Ok((None, lines));
                    }
                },
            }
        }
    }
}

/// A field as found, how many lines it takes, and where the next one begins.
struct Found {
    entry: Entry,
    name: Name,
    lines: usize,
    next: usize,
}

impl Found {
    /// Looks for control characters in a field by itself, where the whole header is not going to be searched.
    fn checked(self, bytes: &[u8], at: usize) -> Result<Self, Defect> {
        no_controls(&bytes[at..self.next], 0, self.lines)?;
        Ok(self)
    }
}

/// The field that begins at `at`. Control characters are left to [`no_controls`].
#[inline(always)]
fn field(bytes: &[u8], at: usize) -> Result<Found, Defect> {
    let (name, name_len) = match known_name(bytes, at) {
        Some(known) => known,
        None => any_name(bytes, at)?,
    };
    let mut colon = at + name_len;
    if bytes[colon] != b':' {
        colon += bytes[colon..].iter().take_while(|&&byte| byte != b':').count(); // whitespace, any_name saw
    }
    let (mut from, mut lines) = (colon + 1, 1);
    let end = loop {
        let newline = newline(bytes, from).ok_or(Defect::Unterminated)?;
        if bytes[newline - 1] != b'\r' {
            return Err(Defect::ControlCharacter);
        }
        match bytes.get(newline + 1) {
            Some(b' ' | b'\t') => (from, lines) = (newline + 1, lines + 1),
            _ => break newline - 1,
        }
    };
    if end - at > LINE_MAX {
        return Err(Defect::LineTooLong);
    }
    // Most values have one space before them and none behind.
    let mut value_start = colon + 1 + usize::from(bytes[colon + 1] == b' ');
    while value_start < end && bytes[value_start] <= b' ' {
        value_start += 1;
    }
    let mut value_end = end;
    while value_end > value_start && bytes[value_end - 1] <= b' ' {
        value_end -= 1;
    }
    let entry = Entry {
        name_start: at as u16,
        value_start: value_start as u16,
        value_end: value_end as u16,
        name_len: name_len as u8,
        name: name as u8,
    };
    Ok(Found { entry, name, lines, next: end + 2 })
}

/// The next LF: eight bytes at a time for as long as most values are, then as fast as the machine can.
#[inline(always)]
fn newline(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    let near = bytes.len().min(from + 72);
    while let Some(chunk) = bytes.get(at..near)?.first_chunk::<8>() {
        let lines = u64::from_le_bytes(*chunk) ^ (ONES * b'\n' as u64);
        let found = lines.wrapping_sub(ONES) & !lines & (ONES << 7);
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    memchr::memchr(b'\n', &bytes[at..]).map(|offset| at + offset)
}

const ONES: u64 = 0x0101_0101_0101_0101;

/// A known name at `at` that its colon follows at once (most do), eight bytes at a time, and its length.
#[inline(always)]
fn known_name(bytes: &[u8], at: usize) -> Option<(Name, usize)> {
    let head = bytes.get(at..at + 24)?.as_chunks::<8>().0;
    let (first, hidden, len) = name_word(head[0]);
    if let Some(len) = len {
        return known([first, 0, 0], hidden, len);
    }
    let (second, more, len) = name_word(head[1]);
    let hidden = hidden | more;
    if let Some(len) = len {
        return known([first, second, 0], hidden, 8 + len);
    }
    let (third, more, len) = name_word(head[2]);
    known([first, second, third], hidden | more, 16 + len?)
}

#[inline(always)]
fn known(key: Key, hidden: u64, len: usize) -> Option<(Name, usize)> {
    let name = Name::find(key);
    (hidden == 0 && name != Name::Other).then_some((name, len))
}

/// Eight bytes of a name: as a word of its [`Key`], which control characters hide in it, and how many come before the colon.
#[inline(always)]
fn name_word(chunk: [u8; 8]) -> (u64, u64, Option<usize>) {
    let word = u64::from_le_bytes(chunk);
    let colons = word ^ (ONES * b':' as u64);
    let found = colons.wrapping_sub(ONES) & !colons & (ONES << 7);
    // All bytes before the first colon; all bytes if there is none.
    let mask = (found & found.wrapping_neg()).wrapping_shr(7).wrapping_sub(1);
    // Bytes with neither bit 5 nor bit 6 are control characters, which setting bit 5 would hide.
    let hidden = !(word | (word >> 1)) & (ONES << 5) & mask;
    let len = found.trailing_zeros() as usize / 8;
    ((word | (ONES << 5)) & mask, hidden, (found != 0).then_some(len))
}

/// The same for any name, with perhaps whitespace before the colon.
#[inline(never)]
fn any_name(bytes: &[u8], at: usize) -> Result<(Name, usize), Defect> {
    let len = bytes[at..].iter().take_while(|&&byte| is_token_byte(byte)).count();
    let white = bytes[at + len..].iter().take_while(|&&byte| matches!(byte, b' ' | b'\t')).count();
    match bytes.get(at + len + white) {
        Some(b':') if (1..=255).contains(&len) => Ok((Name::parse(&bytes[at..at + len]), len)),
        None => Err(Defect::Unterminated),
        Some(_) => Err(Defect::HeaderLine),
    }
}

/// Whether the only control characters in a run of whole lines are tabs and the line ends, which all are CRLF;
/// a backslash lets any other but CR and LF pass (`quoted-pair`), though not in the first `start_line` bytes. There
/// are `line_count` lines, which is to make it fast.
fn no_controls(lines: &[u8], start_line: usize, line_count: usize) -> Result<(), Defect> {
    // Each LF has its CR, or the lines would not have been found: as many more are control characters that must be
    // looked at. Lanes of bytes, which the compiler makes vectors of.
    let mut controls = 0;
    for block in lines.chunks(32 * 200) {
        let mut lanes = [0u8; 32];
        let (chunks, rest) = block.as_chunks::<32>();
        let mut last = [b' '; 32];
        last[..rest.len()].copy_from_slice(rest);
        for chunk in chunks.iter().chain([&last]) {
            for (lane, &byte) in lanes.iter_mut().zip(chunk) {
                *lane += u8::from(byte < b' ');
            }
        }
        controls += lanes.iter().map(|&lane| usize::from(lane)).sum::<usize>();
    }
    if controls == line_count * 2 {
        return Ok(());
    }
    let mut from = 0;
    while let Some(at) = next_control(lines, from) {
        let escaped = at > start_line && lines[at - 1] == b'\\' && !matches!(lines[at], b'\r' | b'\n');
        from = match lines.get(at..at + 2) {
            Some(b"\r\n") => at + 2,
            _ if escaped => at + 1,
            _ => return Err(Defect::ControlCharacter),
        };
    }
    Ok(())
}

/// Where the first line begins, behind any line ends, and where it ends.
fn first_line(bytes: &[u8]) -> Result<(usize, usize), Defect> {
    let mut start = 0;
    // RFC 3261 §7.5, and the keep-alives of RFC 5626.
    while bytes.get(start..start + 2) == Some(b"\r\n") {
        start += 2;
    }
    if start == bytes.len() {
        return Err(Defect::Empty);
    }
    let newline = start + memchr::memchr(b'\n', &bytes[start..]).ok_or(Defect::Unterminated)?;
    match bytes[start..newline] {
        [.., b'\r'] => Ok((start, newline - 1)),
        _ => Err(Defect::ControlCharacter),
    }
}

/// For steering: status (0 in a request), method, and where the first field begins.
pub(super) fn start_of(bytes: &[u8]) -> Result<(u16, Method, usize), Defect> {
    if bytes.len() > MESSAGE_MAX {
        return Err(Defect::TooLarge);
    }
    let (start, end) = first_line(bytes)?;
    let line = StartLine::parse(bytes, start, end, false)?;
    Ok((line.status, line.method, end + 2))
}

/// For framing and steering: which field begins at `at`, its value, and where the next line begins.
pub(crate) fn field_at(bytes: &[u8], at: usize) -> Result<(Name, &[u8], usize), Defect> {
    let Found { entry, name, next, .. } = field(bytes, at)?;
    Ok((name, &bytes[usize::from(entry.value_start)..usize::from(entry.value_end)], next))
}

/// A Content-Length.
pub(crate) fn parse_length(value: &[u8]) -> Option<usize> {
    number(value, u64::from(u32::MAX)).map(|length| length as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every byte at every place of every name and behind it: the fast way finds what the slow way finds, or nothing.
    #[test]
    fn known_names_are_found_the_same_both_ways() {
        let mut found = 0;
        for name in crate::message::name::spellings() {
            let mut line = format!("{name}: value of the field that is long enough").into_bytes();
            for place in 0..=name.len() + 1 {
                let kept = line[place];
                for byte in 0..=255 {
                    line[place] = byte;
                    if let Some(known) = known_name(&line, 0) {
                        assert_eq!(any_name(&line, 0), Ok(known), "{:?}", String::from_utf8_lossy(&line));
                        found += 1;
                    }
                }
                line[place] = kept;
            }
            assert!(known_name(&line, 0).is_some());
        }
        assert!(found > 1000);
    }

    #[test]
    fn line_ends_are_found_at_every_distance() {
        for length in 0..200 {
            let mut bytes = vec![b'a' | 0x80; length];
            assert_eq!(newline(&bytes, length / 2), None);
            bytes.push(b'\n');
            for from in 0..=length {
                assert_eq!(newline(&bytes, from), Some(length));
            }
        }
    }

    #[test]
    fn control_characters_are_found_wherever_they_stand() {
        let line = "Subject: abcdefghijklmnopqrstuvwxyz0123456789\\abcdefghijklmnopqrstuvwxyz\r\n";
        let backslash = line.find('\\').unwrap();
        for place in 0..line.len() - 2 {
            for byte in 0..=255u8 {
                let mut bytes = line.as_bytes().repeat(3);
                bytes[line.len() + place] = byte;
                // A LF without its CR is found before anyone looks here.
                if byte == b'\n' {
                    continue;
                }
                let escaped = place == backslash + 1 && byte != b'\r';
                let bad = byte < b' ' && byte != b'\t' && !escaped;
                let expected = if bad { Err(Defect::ControlCharacter) } else { Ok(()) };
                assert_eq!(no_controls(&bytes, 0, 3), expected, "{byte} at {place}");
                let in_start_line = no_controls(&bytes, line.len() * 2, 3);
                assert_eq!(in_start_line.is_err(), byte < b' ' && byte != b'\t');
            }
        }
    }

    #[test]
    fn limits_hold() {
        let message = |fields: usize| {
            format!("OPTIONS sip:h SIP/2.0\r\nVia: SIP/2.0/UDP h\r\n{}\r\n", "X: y\r\n".repeat(fields - 1))
        };
        assert_eq!(Message::parse(message(FIELDS_MAX).as_bytes()).unwrap().fields().count(), FIELDS_MAX);
        let text = message(FIELDS_MAX + 1);
        let error = Message::parse(text.as_bytes()).unwrap_err();
        assert_eq!((error.defect, error.status()), (Defect::TooManyFields, 400));
        assert!(error.answerable().is_some());
        let line = |length: usize| format!("OPTIONS sip:h SIP/2.0\r\nX:{}\r\n\r\n", "y".repeat(length - 2));
        assert!(Message::parse(line(LINE_MAX).as_bytes()).is_ok());
        assert_eq!(Message::parse(line(LINE_MAX + 1).as_bytes()).unwrap_err().defect, Defect::LineTooLong);
        let name = format!("OPTIONS sip:h SIP/2.0\r\n{}: y\r\n\r\n", "x".repeat(256));
        assert_eq!(Message::parse(name.as_bytes()).unwrap_err().defect, Defect::HeaderLine);
        let body = |length: usize| format!("OPTIONS sip:h SIP/2.0\r\n\r\n{}", "z".repeat(length - 25));
        assert!(Message::parse(body(MESSAGE_MAX).as_bytes()).is_ok());
        let text = body(MESSAGE_MAX + 1);
        let error = Message::parse(text.as_bytes()).unwrap_err();
        assert_eq!((error.defect, error.status()), (Defect::TooLarge, 513));
    }

    #[test]
    fn what_a_datagram_may_lack_and_what_not() {
        let defect = |text: &str| Message::parse(text.as_bytes()).err().map(|error| error.defect);
        assert_eq!(defect("\r\n\r\nOPTIONS sip:h SIP/2.0\r\nA: b\r\n\r\n"), None);
        assert_eq!(defect(""), Some(Defect::Empty));
        assert_eq!(defect("\r\n\r\n"), Some(Defect::Empty));
        assert_eq!(defect("OPTIONS sip:h SIP/2.0\r\nA: b\r\n"), Some(Defect::Unterminated));
        assert_eq!(defect("OPTIONS sip:h SIP/2.0\r\nA: b"), Some(Defect::Unterminated));
        assert_eq!(defect("OPTIONS sip:h SIP/2.0\r\nA"), Some(Defect::Unterminated));
        assert_eq!(defect("OPTIONS sip:h SIP/2.0"), Some(Defect::Unterminated));
        assert_eq!(defect("OPTIONS sip:h SIP/2.0\nA: b\n\n"), Some(Defect::ControlCharacter));
        assert_eq!(defect("OPTIONS sip:h SIP/2.0\r\n folded: b\r\n\r\n"), Some(Defect::HeaderLine));
        assert_eq!(defect("OPTIONS sip:h SIP/2.0\r\n: b\r\n\r\n"), Some(Defect::HeaderLine));
        assert_eq!(defect("OPTIONS sip:h SIP/2.0\r\nA B: b\r\n\r\n"), Some(Defect::HeaderLine));
        assert_eq!(defect("OPTIONS sip:h SIP/2.0\r\nl: 5\r\n\r\nabcd"), Some(Defect::Truncated));
        let message = Message::parse(b"A sip:h SIP/2.0\r\nL \t:\r\n 3\r\n\r\nabcd").unwrap();
        assert_eq!((message.body(), message.bytes().len()), (&b"abc"[..], 32));
    }
}
