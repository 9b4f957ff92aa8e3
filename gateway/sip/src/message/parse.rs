//! Finding the parts of a message: start line, where each field lies, the body (RFC 3261 §7).

use super::scan::{is_token, is_token_byte, next_control, number, trim};
use super::{Elements, FIELDS_MAX, LINE_MAX, MESSAGE_MAX, Method, Name, NameAddr, URI_MAX, Via};

/// What is wrong with a message as a sequence of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// Nothing but line ends: a keep-alive (RFC 5626 §3.5.1), or an empty datagram.
    Empty,
    /// The first line is neither a request nor a status line.
    NotSip,
    /// Longer than [`MESSAGE_MAX`].
    TooLarge,
    /// More fields than [`FIELDS_MAX`].
    TooManyFields,
    /// A line longer than [`LINE_MAX`].
    LineTooLong,
    /// A Request-URI longer than [`URI_MAX`].
    UriTooLong,
    /// The request line is not `Method SP Request-URI SP SIP-Version` (RFC 3261 §7.1).
    RequestLine,
    /// The status line is not `SIP-Version SP Status-Code SP Reason-Phrase` (RFC 3261 §7.2).
    StatusLine,
    /// A header line is not `name: value`.
    HeaderLine,
    /// A line end that is not CRLF, or a control character that nothing escapes.
    ControlCharacter,
    /// No empty line behind the header fields.
    Unterminated,
    /// Content-Length is not a number.
    ContentLength,
    /// Content-Length stands more than once.
    ContentLengthRepeated,
    /// Content-Length is larger than what follows.
    Truncated,
}

impl Defect {
    /// The reason phrase for the answer.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Empty => "Empty Message",
            Self::NotSip => "Not SIP",
            Self::TooLarge => "Message Too Large",
            Self::TooManyFields => "Too Many Header Fields",
            Self::LineTooLong => "Header Field Too Long",
            Self::UriTooLong => "Request-URI Too Long",
            Self::RequestLine => "Malformed Request-Line",
            Self::StatusLine => "Malformed Status-Line",
            Self::HeaderLine => "Malformed Header Field",
            Self::ControlCharacter => "Control Character In Header",
            Self::Unterminated => "Header Not Terminated",
            Self::ContentLength => "Malformed Content-Length",
            Self::ContentLengthRepeated => "Multiple Content-Length",
            Self::Truncated => "Message Shorter Than Content-Length",
        }
    }

    /// The status of the answer.
    pub const fn status(self) -> u16 {
        match self {
            Self::TooLarge => 513,
            Self::UriTooLong => 414,
            _ => 400,
        }
    }
}

/// A message that could not be parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseError<'a> {
    /// What is wrong with it.
    pub defect: Defect,
    bytes: &'a [u8],
}

impl<'a> ParseError<'a> {
    /// The status of the answer: 400, 414 or 513.
    pub const fn status(&self) -> u16 {
        self.defect.status()
    }

    /// The reason phrase of the answer, which should "identify the syntax problem" (RFC 3261 §21.4.1).
    pub const fn reason(&self) -> &'static str {
        self.defect.reason()
    }

    /// What could be read of a request that shall be answered: `Some` if it is a request other than ACK and
    /// Via, From, To, Call-ID and CSeq could be found. Lines that could not be read are left out of it.
    pub fn answerable(&self) -> Option<Message<'a>> {
        if matches!(self.defect, Defect::Empty | Defect::NotSip | Defect::StatusLine) {
            return None;
        }
        let mut message = Message::empty(self.bytes);
        message.scan(true).ok()?;
        message.is_answerable().then_some(message)
    }
}

/// Where a field lies: eight bytes each.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    name_start: u16,
    value_start: u16,
    value_end: u16,
    name_len: u8,
    name: u8,
}

/// The first line, as offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct StartLine {
    /// 0 in a request.
    status: u16,
    method: Method,
    is_version_2: bool,
    /// Where the message begins (behind leading line ends).
    start: u16,
    /// End of method.
    method_end: u16,
    /// Request-URI or reason phrase.
    text_start: u16,
    text_end: u16,
}

/// A message as offsets into the received bytes. About 1.1 KiB, nothing on the heap.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
    line: StartLine,
    /// By name: which entry is the first of it, plus one.
    first: [u8; Name::COUNT],
    count: u8,
    body_start: u16,
    body_end: u16,
    has_content_length: bool,
    entries: [Entry; FIELDS_MAX],
}

/// A header field as received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Which it is.
    pub name: Name,
    /// How its name was written.
    pub spelling: &'a [u8],
    /// Its value without whitespace around it; a fold inside is still there (see [`super::unfold`]).
    pub value: &'a [u8],
}

/// CSeq (RFC 3261 §20.16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CSeq<'a> {
    /// The number, below 2³¹ (RFC 3261 §8.1.1.5).
    pub number: u32,
    /// The method.
    pub method: Method,
    /// The method's token.
    pub token: &'a [u8],
}

impl<'a> CSeq<'a> {
    /// Parses `number LWS method`.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let value = trim(value);
        let digits = value.iter().position(|byte| !byte.is_ascii_digit())?;
        let (digits, rest) = value.split_at(digits);
        let token = trim(rest);
        if token.len() == rest.len() || !is_token(token) {
            return None;
        }
        let number = number(digits, (1 << 31) - 1)? as u32;
        Some(Self { number, method: Method::parse(token), token })
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
        let bytes = self.bytes;
        if bytes.len() > MESSAGE_MAX {
            if !lenient {
                return Err(Defect::TooLarge);
            }
            self.bytes = &bytes[..MESSAGE_MAX];
        }
        let bytes = self.bytes;
        let mut start = 0;
        while bytes.get(start..start + 2) == Some(b"\r\n") {
            start += 2;
        }
        if start == bytes.len() {
            return Err(Defect::Empty);
        }
        let line_end = next_control(bytes, start).unwrap_or(bytes.len());
        self.start_line(start, line_end, lenient)?;
        if bytes.get(line_end..line_end + 2) != Some(b"\r\n") {
            return Err(if line_end == bytes.len() {
                Defect::Unterminated
            } else {
                Defect::ControlCharacter
            });
        }
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

    fn start_line(&mut self, start: usize, end: usize, lenient: bool) -> Result<(), Defect> {
        let line = &self.bytes[start..end];
        if line.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case(b"SIP/")) {
            return self.status_line(start, end);
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
        self.line = StartLine {
            status: 0,
            method: Method::parse(method),
            is_version_2,
            start: start as u16,
            method_end: (start + first_space) as u16,
            text_start: (start + first_space + 1) as u16,
            text_end: (start + first_space + 1 + uri.len()) as u16,
        };
        Ok(())
    }

    fn status_line(&mut self, start: usize, end: usize) -> Result<(), Defect> {
        let line = &self.bytes[start..end];
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
        self.line = StartLine {
            status: status as u16,
            method: Method::Other,
            is_version_2,
            start: start as u16,
            method_end: start as u16,
            text_start: (start + text) as u16,
            text_end: end as u16,
        };
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
            match self.field(at) {
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
                        match number(value, u64::from(u32::MAX)) {
                            Some(_) if content_length.is_some() && !lenient => {
                                return Err(Defect::ContentLengthRepeated);
                            }
                            Some(length) => content_length = Some(length as usize),
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

    /// The field that begins at `at`, and where the next line begins.
    #[inline]
    fn field(&self, at: usize) -> Result<(Entry, usize), Defect> {
        let bytes = self.bytes;
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
        let leading = value.iter().position(|&byte| !super::scan::is_white(byte)).unwrap_or(value.len());
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

    fn is_answerable(&self) -> bool {
        let has = |name| self.header(name).is_some_and(|value| !value.is_empty());
        self.is_request()
            && self.method() != Method::Ack
            && self.top_via().is_some()
            && [Name::From, Name::To, Name::CallId, Name::CSeq].into_iter().all(has)
    }

    /// Whether it is a request.
    pub const fn is_request(&self) -> bool {
        self.line.status == 0
    }

    /// The method of a request; of a response the one in CSeq.
    pub fn method(&self) -> Method {
        if self.is_request() {
            self.line.method
        } else {
            self.cseq().map_or(Method::Other, |cseq| cseq.method)
        }
    }

    /// The token of a request's method; empty in a response.
    pub fn method_bytes(&self) -> &'a [u8] {
        self.slice(self.line.start, self.line.method_end)
    }

    /// The Request-URI; empty in a response.
    pub fn request_uri(&self) -> &'a [u8] {
        if self.is_request() { self.slice(self.line.text_start, self.line.text_end) } else { b"" }
    }

    /// The status code, 100 to 699; 0 in a request.
    pub const fn status(&self) -> u16 {
        self.line.status
    }

    /// The reason phrase, perhaps empty; empty in a request.
    pub fn reason(&self) -> &'a [u8] {
        if self.is_request() { b"" } else { self.slice(self.line.text_start, self.line.text_end) }
    }

    /// Whether the version is `SIP/2.0`.
    pub const fn is_version_2(&self) -> bool {
        self.line.is_version_2
    }

    /// The value of the first field of this name.
    pub fn header(&self, name: Name) -> Option<&'a [u8]> {
        let first = *self.first.get(name as usize)?;
        let entry = self.entries.get(usize::from(first).checked_sub(1)?)?;
        Some(self.slice(entry.value_start, entry.value_end))
    }

    /// The values of all fields of this name, in order; what commas separate stays together.
    pub fn headers(&self, name: Name) -> impl Iterator<Item = &'a [u8]> + use<'a, '_> {
        let from = self.first.get(name as usize).map_or(usize::from(self.count), |&first| {
            if first == 0 { usize::from(self.count) } else { usize::from(first) - 1 }
        });
        self.entries[from..usize::from(self.count)]
            .iter()
            .filter(move |entry| entry.name == name as u8)
            .map(|entry| self.slice(entry.value_start, entry.value_end))
    }

    /// The elements of all fields of this name taken as comma-separated lists.
    pub fn values(&self, name: Name) -> impl Iterator<Item = &'a [u8]> + use<'a, '_> {
        self.headers(name).flat_map(Elements::new)
    }

    /// The value of the first field with this name in any spelling, for names that [`Name`] does not know.
    pub fn header_by_name(&self, name: &str) -> Option<&'a [u8]> {
        self.fields()
            .find(|field| field.spelling.eq_ignore_ascii_case(name.as_bytes()))
            .map(|field| field.value)
    }

    /// How many fields of this name there are.
    pub fn count(&self, name: Name) -> usize {
        self.headers(name).count()
    }

    /// All fields, in order.
    pub fn fields(&self) -> Fields<'a, '_> {
        Fields { message: self, next: 0 }
    }

    /// The Call-ID, empty if missing (only before [`super::validate`]).
    pub fn call_id(&self) -> &'a [u8] {
        self.header(Name::CallId).unwrap_or_default()
    }

    /// CSeq, `None` if missing or malformed (only before [`super::validate`]).
    pub fn cseq(&self) -> Option<CSeq<'a>> {
        CSeq::parse(self.header(Name::CSeq)?)
    }

    /// From, `None` if missing or malformed (only before [`super::validate`]).
    pub fn from(&self) -> Option<NameAddr<'a>> {
        NameAddr::parse(self.header(Name::From)?)
    }

    /// To, `None` if missing or malformed (only before [`super::validate`]).
    pub fn to(&self) -> Option<NameAddr<'a>> {
        NameAddr::parse(self.header(Name::To)?)
    }

    /// The first Via, `None` if missing or malformed (only before [`super::validate`]).
    pub fn top_via(&self) -> Option<Via<'a>> {
        Via::parse(self.values(Name::Via).next()?)
    }

    /// The first Contact, `None` if there is none, it is `*`, or it is malformed.
    pub fn contact(&self) -> Option<NameAddr<'a>> {
        NameAddr::parse(self.values(Name::Contact).next()?)
    }

    /// Max-Forwards, `None` if missing or malformed.
    pub fn max_forwards(&self) -> Option<u8> {
        number(self.header(Name::MaxForwards)?, 255).map(|hops| hops as u8)
    }

    /// Content-Type as received, parameters included.
    pub fn content_type(&self) -> Option<&'a [u8]> {
        self.header(Name::ContentType)
    }

    /// Whether the body is of this media type (`type/subtype`, case and parameters aside).
    pub fn is_content(&self, media_type: &str) -> bool {
        let Some(value) = self.content_type() else { return false };
        let end = memchr::memchr(b';', value).unwrap_or(value.len());
        let mut halves = value[..end].splitn(2, |&byte| byte == b'/').map(trim);
        let mut wanted = media_type.as_bytes().splitn(2, |&byte| byte == b'/');
        let mut half = || Some(halves.next()?.eq_ignore_ascii_case(wanted.next()?));
        half() == Some(true) && half() == Some(true)
    }

    /// Seconds in the field of this name (Expires, Retry-After, Session-Expires, Min-SE): the number it begins with.
    pub fn seconds(&self, name: Name) -> Option<u32> {
        let value = self.header(name)?;
        let end = value.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(value.len());
        number(&value[..end], u64::from(u32::MAX)).map(|seconds| seconds as u32)
    }

    /// Whether the list of this name (Require, Supported, Allow, ...) has this token, case aside.
    pub fn lists(&self, name: Name, token: &str) -> bool {
        self.values(name).any(|element| element.eq_ignore_ascii_case(token.as_bytes()))
    }

    /// The body: as long as Content-Length says, or to the end.
    pub fn body(&self) -> &'a [u8] {
        self.slice(self.body_start, self.body_end)
    }

    /// The message from its first to its last byte, without leading line ends and without what follows the body.
    pub fn bytes(&self) -> &'a [u8] {
        self.slice(self.line.start, self.body_end)
    }

    /// Whether a Content-Length stood in it; over a stream one must (RFC 3261 §20.14).
    pub const fn has_content_length(&self) -> bool {
        self.has_content_length
    }

    #[inline]
    fn slice(&self, start: u16, end: u16) -> &'a [u8] {
        self.bytes.get(usize::from(start)..usize::from(end)).unwrap_or_default()
    }
}

/// All fields of a message, in order.
#[derive(Clone, Debug)]
pub struct Fields<'a, 'm> {
    message: &'m Message<'a>,
    next: u8,
}

impl<'a> Iterator for Fields<'a, '_> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let message = self.message;
        if self.next >= message.count {
            return None;
        }
        let entry = message.entries.get(usize::from(self.next))?;
        self.next += 1;
        let spelling = message.slice(entry.name_start, entry.name_start + u16::from(entry.name_len));
        let value = message.slice(entry.value_start, entry.value_end);
        Some(Field { name: Name::parse(spelling), spelling, value })
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
