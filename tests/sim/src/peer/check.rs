//! What a strict peer demands of every message.

use super::text::{parameter, uri_of};
use super::{Peer, Text};

impl Peer {
    /// The form of a message: RFC 3261 §8.1.1, §20; and nothing of the other side in it.
    pub(super) fn check_form(&mut self, text: &Text, bytes: &[u8]) {
        let mut wrong: Vec<String> = Vec::new();
        for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
            if text.field(name).is_empty() {
                wrong.push(format!("no {name}"));
            }
        }
        for name in ["From", "To", "Call-ID", "CSeq", "Max-Forwards", "Content-Length", "Content-Type"] {
            if text.all(name).count() > 1 {
                wrong.push(format!("more than one {name}"));
            }
        }
        if text.tag("From").is_none_or(str::is_empty) {
            wrong.push("no tag in From".to_owned());
        }
        if text.get("Content-Length").and_then(|value| value.parse().ok()) != Some(text.body.len()) {
            wrong.push(format!("Content-Length {:?} is not {}", text.get("Content-Length"), text.body.len()));
        }
        let summary = text.field("Event").starts_with("message-summary");
        let kind = if summary { super::errand::SUMMARY } else { super::write::content_type(text.method()) };
        // The gateway says keys in INFO as their taker likes.
        let keys = text.method() == "INFO" && text.field("Content-Type") == "application/dtmf";
        if !text.body.is_empty() && text.field("Content-Type") != kind && !keys {
            wrong.push("a body that is not said to be what it is".to_owned());
        }
        match text.status() {
            None => self.check_request(text, &mut wrong),
            Some(status) => check_response(status, text, &mut wrong),
        }
        if text.get("Record-Route").is_some() || text.get("Route").is_some() {
            wrong.push("a route from a user agent".to_owned());
        }
        let whole = String::from_utf8_lossy(bytes);
        for secret in &self.forbidden {
            if whole.contains(secret.as_str()) {
                wrong.push(format!("{secret:?} of the other side shows"));
            }
        }
        for what in wrong {
            self.fault(&what, bytes);
        }
    }

    fn check_request(&self, text: &Text, wrong: &mut Vec<String>) {
        let mut words = text.start.split(' ');
        let (_, uri, version) = (words.next(), words.next(), words.next());
        if !uri.is_some_and(|uri| uri.starts_with("sip:"))
            || version != Some("SIP/2.0")
            || words.next().is_some()
        {
            wrong.push("a broken request line".to_owned());
        }
        if text.all("Via").count() != 1 || text.field("Via").contains(',') {
            wrong.push("not exactly one Via".to_owned());
        }
        if !text.branch().starts_with("z9hG4bK") || text.branch().len() < 12 {
            wrong.push("a branch without the cookie".to_owned());
        }
        if text.get("Max-Forwards").and_then(|value| value.parse().ok()).is_none_or(|hops: u32| hops > 70) {
            wrong.push(format!("Max-Forwards {:?}", text.get("Max-Forwards")));
        }
        if text.cseq().1 != text.method() || text.cseq().0 == 0 {
            wrong.push("CSeq does not fit the method".to_owned());
        }
        if text.method() == "INVITE" && !uri_of(text.field("Contact")).starts_with("sip:") {
            wrong.push("no Contact in an INVITE".to_owned());
        }
    }
}

fn check_response(status: u16, text: &Text, wrong: &mut Vec<String>) {
    if !(100..700).contains(&status) {
        wrong.push(format!("status {status}"));
    }
    if status > 100 && text.tag("To").is_none_or(str::is_empty) {
        wrong.push("no tag in To".to_owned());
    }
    if text.cseq().1 == "INVITE"
        && (200..300).contains(&status)
        && !uri_of(text.field("Contact")).starts_with("sip:")
    {
        wrong.push("no Contact in a 2xx to INVITE".to_owned());
    }
    if text.all("Via").count() != 1 {
        wrong.push("not exactly our Via in the response".to_owned());
    }
    if parameter(text.field("Via"), "branch").is_none() {
        wrong.push("no branch in the response".to_owned());
    }
}
