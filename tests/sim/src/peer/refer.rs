//! Transfer as a peer asks for it: REFER, and the NOTIFYs that tell how it goes (RFC 3515).

use super::{Peer, Step, Text};
use std::time::Duration;

/// That a caller has the other side put through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReferPlan {
    /// How long after the answer.
    pub after: Duration,
    /// To which number.
    pub serial: u64,
    /// Through a call of its own with that number, which is to be replaced (RFC 5589 §7).
    pub attended: bool,
    /// It holds the other side first.
    pub holds: bool,
}

impl Peer {
    /// Holds the other side.
    pub(super) fn hold(&mut self, id: &str) {
        let Some(call) = self.calls.get_mut(id) else { return };
        call.sdp_version += 1;
        let version = call.sdp_version;
        let port = self.open_media(id);
        let body = self.write_sdp(id, port, version).replace("a=sendrecv", "a=sendonly");
        self.begin_inside(id, "INVITE", &body);
    }

    /// Asks for the transfer of a call.
    pub(super) fn refer(&mut self, id: &str) {
        let Some(call) = self.calls.get(id) else { return };
        let super::call::Script::Caller(plan) = &call.script else { return };
        let Some(refer) = plan.refer else { return };
        let mut to = format!("sip:{}{:07}@{}", plan.prefix, refer.serial, plan.to);
        if refer.attended {
            let other = self.calls.values().find(|call| call.serial == refer.serial);
            let Some(other) = other else { return };
            let tag = |value: &str| value.split(";tag=").nth(1).unwrap_or_default().to_owned();
            let remote = other.remote_tag.clone().unwrap_or_default();
            to.push_str(&format!(
                "?Replaces={}%3Bto-tag%3D{remote}%3Bfrom-tag%3D{}",
                other.id,
                tag(&other.local)
            ));
        }
        let Some(call) = self.calls.get_mut(id) else { return };
        call.refer_to = format!("<{to}>");
        self.begin_inside(id, "REFER", "");
    }

    /// A NOTIFY came: the call may be over already, its subscription is not.
    pub(super) fn notified(&mut self, key: &(String, String), text: &Text, bytes: &[u8]) {
        let id = text.field("Call-ID").to_owned();
        let Some(call) = self.calls.get_mut(&id) else {
            self.fault("a NOTIFY in an unknown dialog", bytes);
            return self.reply(key, text, 481);
        };
        let cseq = text.cseq().0;
        let in_order = cseq > call.remote_cseq;
        call.remote_cseq = call.remote_cseq.max(cseq);
        let body = text.body.clone();
        let status = body.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3)?.parse::<u16>().ok());
        let state = text.field("Subscription-State").to_owned();
        let over = call.told_all;
        let terminated = state.starts_with("terminated");
        call.told.extend(status);
        call.told_all |= terminated;
        let asked = !call.refer_to.is_empty();
        let done = terminated && status.is_some_and(|status| status < 300);
        if !in_order {
            self.fault("a NOTIFY whose CSeq does not grow", bytes);
        }
        if over || !asked {
            self.fault("a NOTIFY that nobody waits for", bytes);
        }
        if status.is_none()
            || !text.field("Event").starts_with("refer")
            || !(terminated || state.starts_with("active;expires="))
        {
            self.fault("a NOTIFY that says nothing of a transfer", bytes);
        }
        self.reply(key, text, 200);
        if done {
            self.schedule(&id, Some(Duration::from_millis(200)), Step::HangUp);
        }
    }
}
