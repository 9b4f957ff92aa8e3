//! Finding the parts of a message: start line, where each field lies, the body (RFC 3261 §7).

use super::defect::{Defect, ParseError};
use super::scan::{is_token, is_token_byte, is_white, next_control, number, trim};
use super::{FIELDS_MAX, LINE_MAX, MESSAGE_MAX, Method, Name, URI_MAX};

/// Where a field lies: eight bytes each.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Entry {
    pub(super) name_start: u16,
    pub(super) value_start: u16,
    pub(super) value_end: u16,
    pub(super) name_len: u8,
    pub(super) name: u8,
}

/// The first line, as offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StartLine {
    /// 0 in a request.
    pub(super) status: u16,
    pub(super) method: Method,
    pub(super) is_version_2: bool,
    /// Where the message begins (behind leading line ends).
    pub(super) start: u16,
    /// End of method.
    pub(super) method_end: u16,
    /// Request-URI or reason phrase.
    pub(super) text_start: u16,
    pub(super) text_end: u16,
}

/// A message as offsets into the received bytes. About 1.1 KiB, nothing on the heap.
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

impl StartLine {
    fn parse(bytes: &[u8], start: usize, end: usize, lenient: bool) -> Result<Self, Defect> {
        let line = &bytes[start..end];
        if line.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case(b"SIP/")) {
            return Self::response(line, start, end);
        }
        let first_space = memchr::memchr(b' ', line).ok_or(Defect::NotSip)?;
        let (method, rest) = (&line[..first_space], &line[first_space + 1..]);
        // Whitespace behind the version is an error that can be answered, so the version is looked for before it.
        let used = rest.iter().rposition(|&byte| byte != b' ' && byte != b'\t').map_or(0, |last| last + 1);
        let version = rest[..used].iter().rposition(|&byte| byte == b' ').map_or(0, |space| space + 1);
        let is_version_2 = version_of(&rest[version..used]).ok_or(Defect::NotSip)?;
        if !is_token(method) {
            return Err(Defect::NotSip);
        }
        let uri = &rest[..version.saturating_sub(1)];
        if !lenient {
            if uri.is_empty() || used != rest.len() || uri.iter().any(|&byte| byte == b' ' || byte == b'\t') {
                return Err(Defect::RequestLine);
            }
            if uri.len() > URI_MAX {
                return Err(Defect::UriTooLong);
            }
        }
        Ok(Self {
            status: 0,
            method: Method::parse(method),
            is_version_2,
            start: start as u16,
            method_end: (start + first_space) as u16,
            text_start: (start + first_space + 1) as u16,
            text_end: (start + first_space + 1 + uri.len()) as u16,
        })
    }

    fn response(line: &[u8], start: usize, end: usize) -> Result<Self, Defect> {
        let version_end = memchr::memchr(b' ', line).ok_or(Defect::StatusLine)?;
        let is_version_2 = version_of(&line[..version_end]).ok_or(Defect::StatusLine)?;
        let rest = &line[version_end + 1..];
        let status = rest.get(..3).and_then(|digits| number(digits, 699)).ok_or(Defect::StatusLine)?;
        // The space is there even if the phrase is empty; one that is missing at the end does no harm.
        let text = match rest.get(3) {
            None => line.len(),
            Some(b' ') => version_end + 5,
            Some(_) => return Err(Defect::StatusLine),
        };
        if status < 100 {
            return Err(Defect::StatusLine);
        }
        Ok(Self {
            status: status as u16,
            method: Method::Other,
            is_version_2,
            start: start as u16,
            method_end: start as u16,
            text_start: (start + text) as u16,
            text_end: end as u16,
        })
    }
}

impl<'a> Message<'a> {
    /// Finds the parts of one message in a datagram, or in what a [`crate::framing::Framer`] cut out of a
    /// stream. Bytes behind Content-Length are discarded (RFC 3261 §18.3); without a Content-Length the body goes to
    /// the end of the datagram. No allocation; the values of fields are not looked into.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError<'a>> {
        let mut message = Self::empty(bytes);
        match message.scan(false) {
            Ok(()) => Ok(message),
            Err(defect) => Err(ParseError { defect, bytes }),
        }
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
        let content_length = self.header_fields(line_end + 2, lenient)?;
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

    /// Notes the fields from `at` on, sets where the body begins, and returns Content-Length.
    fn header_fields(&mut self, mut at: usize, lenient: bool) -> Result<Option<usize>, Defect> {
        let bytes = self.bytes;
        let mut content_length = None;
        loop {
            if let Some(b"\r\n") = bytes.get(at..at + 2) {
                self.body_start = (at + 2) as u16;
                return Ok(content_length);
            }
            match field(bytes, at) {
                Ok((entry, next)) => {
                    at = next;
                    if usize::from(self.count) == FIELDS_MAX {
                        if lenient {
                            continue;
                        }
                        return Err(Defect::TooManyFields);
                    }
                    if entry.name == Name::ContentLength as u8 {
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
                        return Ok(None);
                    }
                },
            }
        }
    }
}

/// `SIP/` digits `.` digits: whether it is 2.0, `None` if it is no SIP version at all.
fn version_of(version: &[u8]) -> Option<bool> {
    if version == b"SIP/2.0" {
        return Some(true);
    }
    let (protocol, number) = version.split_at_checked(4)?;
    let mut halves = number.splitn(2, |&byte| byte == b'.');
    let mut digits = || halves.next().filter(|half| !half.is_empty() && half.iter().all(u8::is_ascii_digit));
    let (major, minor) = (digits()?, digits()?);
    protocol.eq_ignore_ascii_case(b"SIP/").then_some((major, minor) == (b"2", b"0"))
}

/// The field that begins at `at`, and where the next line begins.
#[inline]
fn field(bytes: &[u8], at: usize) -> Result<(Entry, usize), Defect> {
    let mut name_end = at;
    while let Some(&byte) = bytes.get(name_end)
        && is_token_byte(byte)
    {
        name_end += 1;
    }
    let mut colon = name_end;
    while let Some(b' ' | b'\t') = bytes.get(colon) {
        colon += 1;
    }
    let name_len = u8::try_from(name_end - at).map_err(|_| Defect::HeaderLine)?;
    match bytes.get(colon) {
        Some(b':') if name_len > 0 => {}
        None => return Err(Defect::Unterminated),
        Some(_) => return Err(Defect::HeaderLine),
    }
    let mut from = colon + 1;
    let end = loop {
        let control = next_control(bytes, from).ok_or(Defect::Unterminated)?;
        if bytes[control] == b'\r' && bytes.get(control + 1) == Some(&b'\n') {
            match bytes.get(control + 2) {
                Some(b' ' | b'\t') => from = control + 2,
                _ => break control,
            }
        } else if bytes[control - 1] == b'\\' && !matches!(bytes[control], b'\r' | b'\n') {
            from = control + 1; // a quoted-pair may hold any of the other control characters
        } else {
            return Err(Defect::ControlCharacter);
        }
    };
    if end - at > LINE_MAX {
        return Err(Defect::LineTooLong);
    }
    let value = &bytes[colon + 1..end];
    let leading = value.iter().position(|&byte| !is_white(byte)).unwrap_or(value.len());
    let value_start = colon + 1 + leading;
    let value_end = value_start + trim(&value[leading..]).len();
    let entry = Entry {
        name_start: at as u16,
        value_start: value_start as u16,
        value_end: value_end as u16,
        name_len,
        name: Name::parse(&bytes[at..name_end]) as u8,
    };
    Ok((entry, end + 2))
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
    let end = next_control(bytes, start).ok_or(Defect::Unterminated)?;
    if bytes.get(end..end + 2) == Some(b"\r\n") { Ok((start, end)) } else { Err(Defect::ControlCharacter) }
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
    let (entry, next) = field(bytes, at)?;
    let name = Name::parse(&bytes[at..at + usize::from(entry.name_len)]);
    Ok((name, &bytes[usize::from(entry.value_start)..usize::from(entry.value_end)], next))
}

/// A Content-Length.
pub(crate) fn parse_length(value: &[u8]) -> Option<usize> {
    number(value, u64::from(u32::MAX)).map(|length| length as usize)
}
