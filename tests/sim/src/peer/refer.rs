//! Transfer as a peer asks for it: REFER, and the NOTIFYs that tell how it goes (RFC 3515).

use super::call::{Call, Client, Script, State};
use super::script::Outcome;
use super::text::place_of;
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
    /// What the REFER is answered with.
    pub comes_to: u16,
}

impl ReferPlan {
    /// To a number, blind, six seconds after the answer.
    pub const fn blind(serial: u64) -> Self {
        Self { after: Duration::from_secs(6), serial, attended: false, holds: false, comes_to: 202 }
    }

    /// Through the call of its own with that number, holding both.
    pub const fn attended(serial: u64) -> Self {
        Self { attended: true, holds: true, ..Self::blind(serial) }
    }
}

impl Call {
    /// Whether it is none, but a REFER outside of calls.
    pub(super) fn dials(&self) -> bool {
        matches!(&self.script, Script::Caller(plan) if plan.dials.is_some())
    }

    fn refer_plan(&self) -> Option<ReferPlan> {
        match &self.script {
            Script::Caller(plan) => plan.refer,
            Script::Carrier(behaviour) => behaviour.refer,
        }
    }
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
        let (Some(refer), Some((place, _))) = (call.refer_plan(), place_of(&call.target)) else { return };
        let mut to = format!("sip:0049{:07}@{place}", refer.serial);
        if refer.attended {
            let dialog = self.dialog(refer.serial);
            let Some(dialog) = dialog else {
                // It rings, or will: nobody's tag is known yet.
                return self.schedule(id, Some(Duration::from_millis(500)), Step::Refer);
            };
            to.push_str(&format!("?Replaces={}", dialog.replace(';', "%3B").replace('=', "%3D")));
        }
        let Some(call) = self.calls.get_mut(id) else { return };
        call.refer_to = format!("<{to}>");
        self.begin_inside(id, "REFER", "");
    }

    /// The dialog of a call of this peer's as the other side is told of it; `None` before that has a tag.
    fn dialog(&self, serial: u64) -> Option<String> {
        let call = self.calls.values().find(|call| call.serial == serial && call.join.is_empty())?;
        let ours = call.local.split(";tag=").nth(1).unwrap_or_default();
        Some(format!("{};to-tag={};from-tag={ours}", call.id, call.remote_tag.as_ref()?))
    }

    /// What Join says of a call of this peer's.
    pub(super) fn dialog_to_join(&self, serial: u64) -> String {
        self.dialog(serial).unwrap_or_default()
    }

    /// RFC 3911 §4: an INVITE that is to join a dialog names one that there is, by its own names.
    pub(super) fn check_join(&mut self, text: &Text, bytes: &[u8]) {
        let join = text.field("Join").to_owned();
        if join.is_empty() {
            return;
        }
        self.stats.joined += 1;
        let names = |call: &Call| {
            let ours = call.local.split(";tag=").nth(1).unwrap_or_default();
            let theirs = call.remote_tag.as_deref().unwrap_or_default();
            format!("{};to-tag={ours};from-tag={theirs}", call.id)
        };
        let known = self.calls.values().any(|call| call.is_alive() && names(call) == join);
        if !known && !self.lenient {
            self.fault("a Join of no dialog here", bytes);
        }
    }

    /// Asks, outside of calls, that who has this call's number be put through.
    pub(super) fn dial(&mut self, id: &str, branch: String, prefix: &str, serial: u64) {
        let Some(call) = self.calls.get_mut(id) else { return };
        let host = call.target.split('@').nth(1).unwrap_or_default().to_owned();
        call.refer_to = format!("<sip:{prefix}{serial:07}@{host}>");
        let call = call.clone();
        let bytes = self.write_request(&call, "REFER", &call.target, call.invite_cseq, &branch, "");
        self.begin(id, call.way, "REFER", call.invite_cseq, branch, bytes);
    }

    /// Sees that a call's other side is put through when it is time.
    pub(super) fn schedule_refer(&mut self, id: &str) {
        let Some(refer) = self.calls.get(id).and_then(Call::refer_plan) else { return };
        self.schedule(id, refer.holds.then_some(Duration::from_secs(1)), Step::Hold);
        self.schedule(id, Some(refer.after), Step::Refer);
    }

    /// The answer to a REFER of ours.
    pub(super) fn refer_done(&mut self, client: &Client, status: u16, bytes: &[u8]) {
        let Some(call) = self.calls.get(&client.call) else { return };
        let wanted = call.refer_plan().map_or(202, |refer| refer.comes_to);
        // Whoever was told of nothing, or of the end, or is busy changing the session, may refuse.
        let excused = self.lenient && matches!(status, 408 | 481 | 491 | 500 | 503);
        if wanted != status && !excused {
            self.fault("a REFER that was not answered as it should be", bytes);
        }
        if status >= 300 && self.calls.get(&client.call).is_some_and(Call::dials) {
            self.dial_over(&client.call, Outcome::Status(status));
        }
    }

    /// What was asked for outside of calls has come to its end, or is not waited for any longer.
    pub(super) fn dial_over(&mut self, id: &str, outcome: Outcome) {
        if let Some(call) = self.calls.get_mut(id) {
            call.outcome = outcome;
        }
        self.end(id);
    }

    /// A REFER of the other side's: it is accepted, and said to be tried and then to have succeeded (RFC 3515 §2.4.4).
    pub(super) fn referred(&mut self, key: &(String, String), text: &Text, bytes: &[u8]) {
        let id = text.field("Call-ID").to_owned();
        let Some(call) = self.calls.get_mut(&id).filter(|call| call.state == State::Talking) else {
            return self.reply(key, text, 481);
        };
        call.remote_cseq = call.remote_cseq.max(text.cseq().0);
        if !text.field("Refer-To").starts_with("<sip:") || text.field("Referred-By").is_empty() {
            self.fault("a REFER that says not where to, or by whom", bytes);
        }
        self.reply(key, text, 202);
        self.tell(&id, "active;expires=60", "SIP/2.0 100 Trying\r\n");
        self.schedule(&id, Some(Duration::from_secs(1)), Step::Tell);
    }

    /// Says how a transfer goes that the other side asked for.
    pub(super) fn tell(&mut self, id: &str, state: &str, fragment: &str) {
        let Some(call) = self.calls.get_mut(id) else { return };
        call.telling = format!("Event: refer\r\nSubscription-State: {state}\r\n");
        self.begin_inside(id, "NOTIFY", fragment);
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
        if !in_order && !self.lenient {
            self.fault("a NOTIFY whose CSeq does not grow", bytes);
        }
        if (over || !asked) && !self.lenient {
            self.fault("a NOTIFY that nobody waits for", bytes);
        }
        if status.is_none()
            || !text.field("Event").starts_with("refer")
            || !(terminated || state.starts_with("active;expires="))
        {
            self.fault("a NOTIFY that says nothing of a transfer", bytes);
        }
        self.reply(key, text, 200);
        if let Some(status) = status.filter(|_| terminated && self.calls.get(&id).is_some_and(Call::dials)) {
            let outcome = if status < 300 { Outcome::Answered } else { Outcome::Status(status) };
            return self.dial_over(&id, outcome);
        }
        if done {
            self.schedule(&id, Some(Duration::from_millis(200)), Step::HangUp);
        }
    }
}
