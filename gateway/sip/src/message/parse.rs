//! Finding the parts of a message: start line, where each field lies, the body (RFC 3261 §7).

use super::defect::{Defect, ParseError};
use super::name::Key;
use super::scan::{is_token, is_token_byte, next_control, number};
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

impl StartLine {
    fn parse(bytes: &[u8], start: usize, end: usize, lenient: bool) -> Result<Self, Defect> {
        let line = &bytes[start..end];
        if line.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case(b"SIP/")) {
            return Self::response(line, start, end);
        }
        let first_space = memchr::memchr(b' ', line).ok_or(Defect::NotSip)?;
        let (method, rest) = (&line[..first_space], &line[first_space + 1..]);
        if !is_token(method) {
            return Err(Defect::NotSip);
        }
        let mut parsed = Self {
            status: 0,
            method: Method::parse(method),
            is_version_2: true,
            start: start as u16,
            method_end: (start + first_space) as u16,
            text_start: (start + first_space + 1) as u16,
            text_end: 0,
        };
        if let Some(uri) = rest.strip_suffix(b" SIP/2.0")
            && !uri.is_empty()
            && uri.len() <= URI_MAX
            && memchr::memchr2(b' ', b'\t', uri).is_none()
        {
            parsed.text_end = parsed.text_start + uri.len() as u16;
            return Ok(parsed);
        }
        // Whitespace behind the version is an error that can be answered, so the version is looked for before it.
        let used = rest.iter().rposition(|&byte| byte != b' ' && byte != b'\t').map_or(0, |last| last + 1);
        let version = rest[..used].iter().rposition(|&byte| byte == b' ').map_or(0, |space| space + 1);
        let is_version_2 = version_of(&rest[version..used]).ok_or(Defect::NotSip)?;
        let uri = &rest[..version.saturating_sub(1)];
        if !lenient {
            if uri.is_empty() || used != rest.len() || uri.iter().any(|&byte| byte == b' ' || byte == b'\t') {
                return Err(Defect::RequestLine);
            }
            if uri.len() > URI_MAX {
                return Err(Defect::UriTooLong);
            }
        }
        parsed.is_version_2 = is_version_2;
        parsed.text_end = parsed.text_start + uri.len() as u16;
        Ok(parsed)
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
