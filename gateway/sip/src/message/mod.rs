//! SIP messages: found in the received bytes without copying, read through lazy typed views, written onto a buffer.
//!
//! [`Message::parse`] notes where each header field lies and nothing else; what a field says is worked out
//! when it is asked for. [`validate`] then holds a request against RFC 3261 and names the answer it deserves.
//! [`peek`](peek()) reads the four fields that steering needs.
//!
//! # Strictness
//!
//! What the grammar of RFC 3261 §25 does not have is refused, with 400 and a reason phrase that says what. Lines end
//! with CRLF: a bare LF or CR is an error, since two elements that disagree about where a line ends disagree about
//! what was said. SDP is read more kindly (see [`crate::sdp`]); nothing is framed by it.
//!
//! Borne with, because carriers and phones send it and it cannot be misread:
//! - any printable character in a Call-ID (base64 with its `=`);
//! - a `#` in the user part of a SIP URI (prefix and number);
//! - characters beyond ASCII in a display name without quotes;
//! - an underscore in a host name;
//! - a status line without the space behind its code;
//! - three colons before an IPv4 address in an IPv6 reference (RFC 5118 §4.10);
//! - `received` in brackets or without (RFC 5118 §4.5);
//! - a Date that is not GMT, and an expiry too large for a number, which count as not given (RFC 4475 §3.1.2.4,
//!   §3.1.2.12);
//! - requests of RFC 2543: no From tag, Max-Forwards, Contact or branch (RFC 4475 §3.4.1).

mod address;
mod defect;
mod host;
mod list;
mod method;
mod name;
mod params;
mod parse;
mod peek;
mod scan;
mod start_line;
mod status;
mod uri;
mod validate;
mod via;
mod view;
mod write;

pub use address::NameAddr;
pub use defect::{Defect, ParseError};
pub use host::{Host, HostPort};
pub use list::Elements;
pub use method::Method;
pub use name::Name;
pub use params::Params;
pub use parse::Message;
pub(crate) use parse::{field_at, parse_length};
pub use peek::{Peek, Start, cancelled, dialog, new_call, peek, start};
pub(crate) use scan::{is_token, number as parse_number};
pub use scan::{trim, unfold};
pub use status::reason_phrase;
pub use uri::{Scheme, Uri};
pub use validate::{Capabilities, Drop, Reject, acceptable, unsupported, validate, validate_response};
pub use via::Via;
pub use view::{CSeq, Field, Fields};
pub use write::{RequestWriter, ResponseWriter, WriteError, Writer};

/// Bytes in the longest message taken, over any transport: what a UDP datagram can carry.
pub const MESSAGE_MAX: usize = 65_535;
/// Header fields in one message; one more is an error (400).
pub const FIELDS_MAX: usize = 96;
/// Bytes in the longest start line or header field, folds included (400).
pub const LINE_MAX: usize = 8_192;
/// Bytes in the longest URI (414 for a Request-URI, else 400).
pub const URI_MAX: usize = 2_048;
/// Parameters of one field or URI that are looked at; a field with more is malformed (400).
pub const PARAMS_MAX: usize = 64;
/// Elements of one comma-separated list that are looked at; a list with more is malformed (400).
pub const ELEMENTS_MAX: usize = 128;
