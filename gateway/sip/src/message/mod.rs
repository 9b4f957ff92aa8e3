//! SIP messages: found in the received bytes without copying, read through lazy typed views, written onto a buffer.
//!
//! [`Message::parse`] notes where each header field lies and nothing else; what a field says is worked out
//! when it is asked for. [`validate`] then holds a request against RFC 3261 and names the answer it deserves.
//! [`peek`](peek()) reads the four fields that steering needs.
//!
//! # Strictness
//!
//! Lines end with CRLF, as RFC 3261 §7 has it. A bare LF or a bare CR is an error and not tolerated: two
//! elements that disagree about where a line ends disagree about what was said. SDP is read more kindly
//! (see [`crate::sdp`]), since nothing is framed by it.

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
pub use peek::{Peek, Start, peek};
pub(crate) use scan::number as parse_number;
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
