//! The signalling of a call drawn: as a ladder in text and SVG, as JSON, and as packets for a protocol analyser.
//!
//! Everything is made of a [`link::Trace`] and nothing else; nothing here reads more of SIP than a first line, a few
//! header fields and where the body begins.
#![forbid(unsafe_code)]

mod packets;
mod svg;
mod text;

pub use packets::pcapng;

use link::{CallId, Trace, TraceMessage, UnixMicros};
use serde::Serialize;
use std::collections::HashSet;
use std::net::SocketAddr;

/// A trace laid out: who took part, and what was said in which order.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ladder {
    /// The call; `None` if the messages belong to none.
    pub call: Option<CallId>,
    /// Its Session-ID, from the caller's side (RFC 7989); `None` if it is not known.
    pub session_id: Option<String>,
    /// When the first message came or went, as given to [`Ladder::new`].
    pub started: String,
    /// Whether older messages are missing.
    pub truncated: bool,
    /// The gateway's address in the first message.
    pub gateway: Option<SocketAddr>,
    /// The other sides: the caller first, then each peer tried.
    pub parties: Vec<Party>,
    /// The messages, oldest first.
    pub messages: Vec<Step>,
}

/// Who talks with the gateway on one leg.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Party {
    /// The leg's number: 0 the caller.
    pub leg: u16,
    /// `caller`, or the trunk.
    pub label: String,
    /// Call-ID of the leg; empty if it is not known.
    pub sip_call_id: String,
    /// Its address in its first message.
    pub address: Option<SocketAddr>,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// Milliseconds since the first message.
    pub offset_ms: f64,
    /// When, in microseconds since 1970.
    pub at_us: u64,
    /// Its leg.
    pub leg: u16,
    /// `in`: to the gateway, `out`: from it.
    pub direction: &'static str,
    /// Over what.
    pub transport: String,
    /// The gateway's address.
    pub local: SocketAddr,
    /// The other side's.
    pub remote: SocketAddr,
    /// `INVITE`, `180 Ringing`.
    pub summary: String,
    /// The method, of a response that of its CSeq; empty if it cannot be read.
    pub method: String,
    /// The status of a response.
    pub status: Option<u16>,
    /// Whether it carries a session description.
    pub sdp: bool,
    /// Whether the very same message went the same way before.
    pub retransmission: bool,
    /// The message; bytes that are not UTF-8 are replaced.
    pub text: String,
}

impl Ladder {
    /// Lays a trace out. `started` names the time of the first message for people.
    pub fn new(trace: &Trace, started: impl FnOnce(UnixMicros) -> String) -> Self {
        let first = trace.messages.first();
        let began = first.map_or(UnixMicros(0), |message| message.at);
        let mut parties: Vec<Party> = trace
            .legs
            .iter()
            .map(|leg| Party {
                leg: leg.leg,
                label: leg.label.clone(),
                sip_call_id: leg.sip_call_id.clone(),
                address: None,
            })
            .collect();
        let mut seen = HashSet::new();
        let mut messages = Vec::with_capacity(trace.messages.len());
        for message in &trace.messages {
            let party = match parties.iter().position(|party| party.leg == message.leg) {
                Some(at) => &mut parties[at],
                None => {
                    let label = if message.leg == 0 { "peer".into() } else { format!("leg {}", message.leg) };
                    parties.push(Party {
                        leg: message.leg,
                        label,
                        sip_call_id: String::new(),
                        address: None,
                    });
                    let last = parties.len() - 1;
                    &mut parties[last]
                }
            };
            party.address.get_or_insert(message.remote);
            let again = !seen.insert((message.leg, message.sent, message.bytes.as_slice()));
            messages.push(step(message, began, again));
        }
        parties.sort_by_key(|party| party.leg);
        Self {
            call: trace.call,
            session_id: trace.session_id.clone(),
            started: started(began),
            truncated: trace.truncated,
            gateway: first.map(|message| message.local),
            parties,
            messages,
        }
    }

    /// The ladder as text of fixed width.
    pub fn text(&self) -> String {
        text::draw(self)
    }

    /// The ladder as an SVG that reads in light and dark; each arrow has its message as its title.
    pub fn svg(&self) -> String {
        svg::draw(self)
    }

    /// The column of a leg: the first party, the gateway, the other parties.
    fn column(&self, leg: u16) -> usize {
        match self.parties.iter().position(|party| party.leg == leg).unwrap_or(0) {
            0 => 0,
            at => at + 1,
        }
    }

    /// Title and address of each column.
    fn columns(&self) -> Vec<(String, String)> {
        let shown = |address: Option<SocketAddr>| address.map_or_else(String::new, |it| it.to_string());
        let mut columns: Vec<_> =
            self.parties.iter().map(|party| (party.label.clone(), shown(party.address))).collect();
        columns.insert(columns.len().min(1), ("gateway".to_owned(), shown(self.gateway)));
        columns
    }

    /// What stands above the drawing.
    fn heading(&self) -> String {
        let what = self.call.map_or_else(|| "no call".to_owned(), |call| format!("call {call}"));
        let cut = if self.truncated { ", older messages left out" } else { "" };
        let session = self.session_id.as_ref().map_or_else(String::new, |it| format!(", Session-ID {it}"));
        format!("{what}, {} messages from {}{cut}{session}", self.messages.len(), self.started)
    }
}

fn step(message: &TraceMessage, began: UnixMicros, retransmission: bool) -> Step {
    let text = String::from_utf8_lossy(&message.bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let line = head.lines().next().unwrap_or_default();
    let field = |names: [&str; 2]| {
        head.lines().skip(1).find_map(|line| {
            let (name, value) = line.split_once(':')?;
            names.iter().any(|it| name.trim().eq_ignore_ascii_case(it)).then(|| value.trim())
        })
    };
    let mut words = line.splitn(3, ' ');
    let (status, method) = match words.next() {
        Some("SIP/2.0") => {
            let status = words.next().and_then(|code| code.parse().ok());
            (
                status,
                field(["CSeq", "CSeq"]).and_then(|cseq| cseq.split_whitespace().nth(1)).unwrap_or_default(),
            )
        }
        Some(method) => (None, method),
        None => (None, ""),
    };
    let summary = match status {
        Some(status) => format!("{status} {}", words.next().unwrap_or_default()).trim_end().to_owned(),
        None => method.to_owned(),
    };
    Step {
        offset_ms: message.at.since(began) as f64 / 1e3,
        at_us: message.at.0,
        leg: message.leg,
        direction: if message.sent { "out" } else { "in" },
        transport: message.transport.to_string(),
        local: message.local,
        remote: message.remote,
        summary,
        method: method.to_owned(),
        status,
        sdp: !body.is_empty()
            && field(["Content-Type", "c"]).is_some_and(|kind| kind.starts_with("application/sdp")),
        retransmission,
        text,
    }
}

impl Step {
    /// The words on its arrow.
    fn words(&self) -> String {
        let mut words = self.summary.clone();
        // A 200 says little without what it answers.
        if self.status.is_some() && self.method != "INVITE" && !self.method.is_empty() {
            words.push_str(&format!(" ({})", self.method));
        }
        if self.sdp {
            words.push_str(" SDP");
        }
        if self.retransmission {
            words.push_str(" again");
        }
        words
    }

    fn is_sent(&self) -> bool {
        self.direction == "out"
    }
}

#[cfg(test)]
mod tests;
