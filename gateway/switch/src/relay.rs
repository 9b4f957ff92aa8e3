//! Requests inside a call that mean nothing to the gateway (INFO, MESSAGE, SUBSCRIBE, NOTIFY): handed to the other leg as they are, the answer
//! back.

use crate::mail::Mail;
use crate::session;
use crate::shard::{Service, Shard};
use sansio::{Outbox, Time};
use sip::message::{Message, Method, Name};
use sip::{Body, LegId, Received, RequestId};

/// Header fields that go along, whatever the method: what its body is for, and what it says of events (RFC 6665).
const PASSED: [&str; 10] = [
    "Info-Package",
    "Content-Disposition",
    "Content-Encoding",
    "Content-Language",
    "Event",
    "Expires",
    "Subscription-State",
    "Accept",
    "Allow-Events",
    "Suppress-If-Match",
];

/// Header fields that go back with an answer.
const ANSWERED: [&str; 6] =
    ["Expires", "Min-Expires", "Allow-Events", "Accept", "Event", "Content-Disposition"];

impl Shard {
    /// A request inside a call that the endpoint left to us.
    pub(crate) fn on_request(
        &mut self,
        now: Time,
        id: RequestId,
        method: Method,
        leg: LegId,
        message: &Received,
        out: &mut Outbox<Mail>,
    ) {
        let tolls = match method {
            Method::Message => self.take_inside_message_tolls(now, leg, out),
            _ => Ok(()),
        };
        let taken = match method {
            Method::Info => self.take_key(now, leg, message, out),
            _ => None,
        };
        let passes = matches!(method, Method::Info | Method::Message | Method::Subscribe | Method::Notify);
        // Each may have timed out meanwhile: then nobody waits for the answer.
        let _ = if !passes {
            self.endpoint.respond_options(now, id, self.service != Service::Open)
        } else if is_of_refer(message) {
            // What a REFER implies (RFC 3515 §2.4.4) is between its two ends, and no REFER passes.
            self.endpoint.respond(now, id, 481, &[], None)
        } else if let Err(status) = tolls {
            // What says that the call is no more, or that nobody is there, would end it (RFC 5057 §5.1).
            let status =
                if matches!(status, 404 | 408 | 410 | 416 | 480..=485 | 489 | 604) { 403 } else { status };
            self.endpoint.respond(now, id, status, &[], None)
        } else if let Some(status) = taken {
            self.endpoint.respond(now, id, status, &[], None)
        } else if self.relay(now, id, method, leg, message).is_none() {
            // Not now, or not there; 481 would end the call (RFC 6086 §4.2.2).
            self.endpoint.respond(now, id, 488, &[], None)
        } else {
            Ok(())
        };
    }

    fn relay(
        &mut self,
        now: Time,
        id: RequestId,
        method: Method,
        leg: LegId,
        message: &Received,
    ) -> Option<()> {
        let (call, side) = self.slot(leg).map(|slot| (slot.call, slot.side))?;
        let other = self.calls.get(call)?.other(side)?;
        let parsed = message.parse().ok()?;
        let content_type = parsed.content_type().map(session::text).unwrap_or_default();
        let passed = passed(&parsed, &PASSED);
        let headers: Vec<(&str, &str)> = passed.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let body = (!message.body().is_empty())
            .then_some(Body { content_type: &content_type, bytes: message.body() });
        let ours = self.endpoint.request_inside(now, other, method, &headers, body).ok()?;
        self.relays.insert(ours, id);
        Some(())
    }

    /// The other leg answered a relayed request, or did not; `false` if this was none.
    pub(crate) fn on_relayed(&mut self, now: Time, id: RequestId, message: Option<&Received>) -> bool {
        let Some(theirs) = self.relays.remove(&id) else { return false };
        let response = message.and_then(|message| message.parse().ok());
        let status = match response.as_ref().map(Message::status) {
            // What the other leg's peer says of its own dialog, or wants of us, is nothing to the asker.
            None | Some(..=199 | 408) => 500,
            // RFC 6665 §4.1.2.2: a subscription that is no more is one thing, the call another.
            Some(481) if response.as_ref().is_some_and(is_of_event) => 481,
            Some(481) => 500,
            Some(300..=399 | 401 | 407 | 420..=422) => 488,
            Some(status) => status,
        };
        let passed = response.as_ref().map(|it| passed(it, &ANSWERED)).unwrap_or_default();
        let headers: Vec<(&str, &str)> = passed.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let content_type = response.as_ref().and_then(Message::content_type).map(session::text);
        let body = message.map(Received::body).filter(|body| !body.is_empty() && status < 300);
        let body =
            body.zip(content_type.as_deref()).map(|(bytes, content_type)| Body { content_type, bytes });
        // It waits no longer than the other leg was given: then nobody does.
        let _ = self.endpoint.respond(now, theirs, status, &headers, body);
        true
    }
}

/// Those of a message's fields that go along.
fn passed(message: &Message<'_>, names: &[&'static str]) -> Vec<(&'static str, String)> {
    let value = |name: &'static str| {
        let known = Name::parse(name.as_bytes());
        let value = if known == Name::Other { message.header_by_name(name) } else { message.header(known) };
        Some((name, session::text(value?)))
    };
    names.iter().filter_map(|name| value(name)).collect()
}

/// Whether a response is to SUBSCRIBE or NOTIFY.
fn is_of_event(response: &Message<'_>) -> bool {
    response.cseq().is_some_and(|cseq| matches!(cseq.method, Method::Subscribe | Method::Notify))
}

/// Whether a request is about the progress of a transfer.
fn is_of_refer(message: &Received) -> bool {
    let event = message.parse().ok().and_then(|it| it.header(Name::Event).map(session::text));
    event
        .is_some_and(|event| event.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("refer"))
}

/// The values of Reason (RFC 3326), and the Q.850 cause among them.
pub(crate) fn reasons(message: &Message<'_>) -> (Vec<String>, Option<u8>) {
    let values: Vec<String> = message.headers(Name::Reason).map(session::text).collect();
    let cause = values.iter().find_map(|value| q850(value));
    (values, cause)
}

/// The cause of a Reason of protocol Q.850 (RFC 3326 §2).
pub(crate) fn q850(reasons: &str) -> Option<u8> {
    reasons.split(',').find_map(|reason| {
        let mut words = reason.split(';').map(str::trim);
        words.next().filter(|protocol| protocol.eq_ignore_ascii_case("Q.850"))?;
        words.find_map(|word| {
            let (name, value) = word.split_once('=')?;
            let cause = name.trim().eq_ignore_ascii_case("cause").then(|| value.trim().parse().ok())??;
            (1..=127).contains(&cause).then_some(cause)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_q850_cause_is_found_among_reasons() {
        for (text, cause) in [
            ("Q.850;cause=31;text=\"normal, unspecified\"", Some(31)),
            ("SIP ;cause=200 ;text=\"Call completed elsewhere\"", None),
            ("SIP;cause=600, q.850 ; CAUSE = 17", Some(17)),
            ("Q.850;cause=0", None),
            ("Q.850;cause=999", None),
            ("Q.850", None),
            ("", None),
        ] {
            assert_eq!(q850(text), cause, "{text}");
        }
    }
}
