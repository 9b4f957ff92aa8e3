//! Header fields that go through with a request outside of calls, and with its answer.

use crate::session;
use sip::message::{Message, Name};
use sip::session_id::{SessionId, Uuid};

/// Most fields that go through with one message besides those of a profile.
const MOST: usize = 32;

/// Of a request: what describes its body, and what it asks of the far end.
const OF_REQUESTS: [&str; 18] = [
    "Accept",
    "Accept-Encoding",
    "Allow-Events",
    "Content-Disposition",
    "Content-Encoding",
    "Content-Language",
    "Date",
    "Event",
    "Expires",
    "In-Reply-To",
    "Info-Package",
    "MIME-Version",
    "Reason",
    "SIP-If-Match",
    "Subscription-State",
    // RFC 5839 §5.3.
    "Suppress-If-Match",
    // RFC 4488 §4.
    "Refer-Sub",
    "Session-ID",
];

/// Of an answer: the same, and what it says of the question.
const OF_ANSWERS: [&str; 20] = [
    "Accept",
    "Accept-Encoding",
    "Accept-Language",
    "Allow-Events",
    "Content-Disposition",
    "Content-Encoding",
    "Content-Language",
    "Date",
    "Error-Info",
    "Event",
    "Expires",
    "MIME-Version",
    "Min-Expires",
    "Reason",
    "Refer-Sub",
    "SIP-ETag",
    "Subscription-State",
    "Unsupported",
    "Warning",
    "Session-ID",
];

/// Option tags that the two ends agree on, whatever lies between: they change what bodies mean, not how messages travel
/// (RFC 4662 §4, RFC 5365 §5, RFC 5367 §4).
pub(crate) const END_TO_END: [&str; 3] = ["eventlist", "recipient-list-message", "recipient-list-subscribe"];

/// The fields of `message` that go through, and how many were too many.
pub(super) fn passed(message: &Message<'_>) -> (Vec<(String, String)>, u64) {
    let mut dropped = 0;
    let list: &[&str] = if message.is_request() { &OF_REQUESTS } else { &OF_ANSWERS };
    let mut fields = Vec::new();
    for field in message.fields() {
        let spelling = match field.name {
            Name::Other => core::str::from_utf8(field.spelling).unwrap_or_default(),
            known => known.as_str(),
        };
        let Some(name) = list.iter().find(|name| name.eq_ignore_ascii_case(spelling)) else { continue };
        if fields.len() >= MOST {
            dropped += 1;
            continue;
        }
        fields.push(((*name).to_owned(), session::text(field.value)));
    }
    for name in [Name::Supported, Name::Require] {
        let tags: Vec<&str> = END_TO_END.into_iter().filter(|tag| message.lists(name, tag)).collect();
        if !tags.is_empty() {
            fields.push((name.as_str().to_owned(), tags.join(", ")));
        }
    }
    (fields, dropped)
}

/// Puts a Session-ID into a request that has none, or one that cannot be read, on behalf of who sent it (RFC 7989 §7).
pub(super) fn identify(fields: &mut Vec<(String, String)>, message: &Message<'_>, made: (u64, u64)) {
    if SessionId::of(message).is_none() {
        fields.retain(|(name, _)| name != "Session-ID");
        let session = SessionId { local: Uuid::random(made.0, made.1), remote: None };
        fields.push(("Session-ID".to_owned(), session.to_string()));
    }
}

/// Whether an answer to a REFER says that nothing will be told of it (RFC 4488 §4).
pub(super) fn makes_no_subscription(response: &Message<'_>) -> bool {
    let value = response.header_by_name("Refer-Sub").map(|value| value.trim_ascii().to_ascii_lowercase());
    value.is_some_and(|value| value.starts_with(b"false"))
}

/// The seconds in Expires; none if it is not there or cannot be read.
pub(super) fn expires(message: &Message<'_>) -> Option<u32> {
    message.seconds(Name::Expires)
}

/// What Subscription-State says (RFC 6665 §4.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) terminated: bool,
    /// Seconds that are left, if it says so.
    pub(super) expires: Option<u32>,
}

impl Standing {
    /// Reads the field of a NOTIFY; `None` if it has none, which RFC 6665 §8.2.3 does not allow.
    pub(super) fn of(notify: &Message<'_>) -> Option<Self> {
        let value = session::text(notify.header(Name::SubscriptionState)?);
        let mut parts = value.split(';').map(str::trim);
        let state = parts.next().filter(|state| !state.is_empty())?;
        let expires = parts.find_map(|part| {
            let (name, value) = part.split_once('=')?;
            name.trim().eq_ignore_ascii_case("expires").then(|| value.trim().parse().ok())?
        });
        Some(Self { terminated: state.eq_ignore_ascii_case("terminated"), expires })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(fields: &str) -> Vec<u8> {
        format!(
            "SUBSCRIBE sip:1@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\nFrom: <sip:2@h>;tag=1\r\n\
             To: <sip:1@h>\r\nCall-ID: i\r\nCSeq: 1 SUBSCRIBE\r\n{fields}\r\n"
        )
        .into_bytes()
    }

    #[test]
    fn what_speaks_to_the_far_end_goes_through_and_nothing_else() {
        let fields = "o: presence\r\nExpires: 600\r\nContact: <sip:a@b>\r\nRecord-Route: <sip:p;lr>\r\nAuthorization: x\r\n\
            Supported: eventlist, 100rel\r\nx-secret: 1\r\nsuppress-if-match: abc\r\nSession-ID: x\r\n";
        let bytes = request(fields);
        let message = Message::parse(&bytes).unwrap();
        let (mut passed, dropped) = passed(&message);
        identify(&mut passed, &message, (0, 0));
        let lines: Vec<String> = passed.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        let session = "Session-ID: 00000000000040008000000000000000;remote=00000000000000000000000000000000";
        let expected =
            ["Event: presence", "Expires: 600", "Suppress-If-Match: abc", "Supported: eventlist", session];
        assert_eq!((lines, dropped), (expected.map(str::to_owned).to_vec(), 0));
        let bytes = request(&"Date: x\r\n".repeat(MOST + 3));
        let (passed, dropped) = super::passed(&Message::parse(&bytes).unwrap());
        assert_eq!((passed.len(), dropped), (MOST, 3));
    }

    /// RFC 6665 §4.1.3.
    #[test]
    fn a_subscriptions_standing_is_read() {
        let standing = |fields: &str| Standing::of(&Message::parse(&request(fields)).unwrap());
        let is = |terminated, expires| Some(Standing { terminated, expires });
        assert_eq!(standing("Subscription-State: active;expires=30\r\n"), is(false, Some(30)));
        assert_eq!(standing("Subscription-State: Terminated ; reason=timeout\r\n"), is(true, None));
        assert_eq!(standing("Subscription-State: pending;expires=x\r\n"), is(false, None));
        assert_eq!((standing(""), standing("Subscription-State: \r\n")), (None, None));
    }
}
