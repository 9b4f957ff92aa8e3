//! Reading a parsed message: fields by name, and what they say as typed values, worked out when asked for.

use super::scan::{is_token, number, trim};
use super::{Elements, Message, Method, Name, NameAddr, Via};

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
        let count = usize::from(self.count);
        let first = self.first.get(name as usize).copied().unwrap_or(0);
        let from = usize::from(first).checked_sub(1).unwrap_or(count);
        self.entries[from..count]
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
