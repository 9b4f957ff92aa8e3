//! Requests inside a call that mean nothing to the gateway (INFO, MESSAGE): handed to the other leg as they are, the answer
//! back.

use crate::session;
use crate::shard::{Service, Shard};
use sansio::Time;
use sip::message::{Message, Method, Name};
use sip::{Body, LegId, Received, RequestId};

/// Header fields that say what such a request's body is for.
const PASSED: [&str; 2] = ["Info-Package", "Content-Disposition"];

impl Shard {
    /// A request that the endpoint left to us.
    pub(crate) fn on_request(
        &mut self,
        now: Time,
        id: RequestId,
        method: Method,
        leg: Option<LegId>,
        message: &Received,
    ) {
        // Each may have timed out meanwhile: then nobody waits for the answer.
        let _ = match (method, leg) {
            (Method::Info | Method::Message, Some(leg)) => match self.relay(now, id, method, leg, message) {
                Some(()) => return,
                // Not now, or not there; 481 would end the call (RFC 6086 §4.2.2).
                None => self.endpoint.respond(now, id, 488, &[], None),
            },
            // Messages that belong to no call are not taken.
            (Method::Message, None) => self.endpoint.respond(now, id, 403, &[], None),
            _ => self.endpoint.respond_options(now, id, self.service != Service::Open),
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
        let passed: Vec<(&str, String)> = PASSED
            .iter()
            .filter_map(|name| Some((*name, session::text(parsed.header_by_name(name)?))))
            .collect();
        let headers: Vec<(&str, &str)> = passed.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let body = (!message.body().is_empty())
            .then_some(Body { content_type: &content_type, bytes: message.body() });
        let ours = self.endpoint.request_inside(now, other, method, &headers, body).ok()?;
        self.relays.insert(ours, id);
        Some(())
    }

    /// The other leg answered a relayed request, or did not; `false` if this was none.
    pub(crate) fn on_relayed(&mut self, now: Time, id: RequestId, status: Option<u16>) -> bool {
        let Some(theirs) = self.relays.remove(&id) else { return false };
        let status = match status {
            // What the other leg's peer says of its own dialog, or wants of us, is nothing to the asker.
            None | Some(..=199 | 408 | 481) => 500,
            Some(300..=399 | 401 | 407 | 420..=422) => 488,
            Some(status) => status,
        };
        // It waits no longer than the other leg was given: then nobody does.
        let _ = self.endpoint.respond(now, theirs, status, &[], None);
        true
    }
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
