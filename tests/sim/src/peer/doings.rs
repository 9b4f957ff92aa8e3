//! What a scripted peer does in the middle of a call, asks for before it takes one, and does again when it was asked for
//! something itself: hold and codec changes, INFO and MESSAGE, passwords and session intervals.

use super::call::{Client, Script, Shape, State};
use super::digest;
use super::script::{CallPlan, Demands, Inside};
use super::{Peer, Step, Text};
use std::time::Duration;

impl CallPlan {
    /// The user in From.
    pub(super) fn caller(&self) -> String {
        self.login.map_or_else(|| (4000 + self.serial).to_string(), |login| login.user.to_owned())
    }
}

impl Peer {
    /// The status and header lines with which an INVITE is turned away until it shows what is asked for.
    pub(super) fn demand(&mut self, demands: &Demands, text: &Text, bytes: &[u8]) -> Option<(u16, String)> {
        if let Some(login) = demands.login
            && !self.shows(login, text, "Proxy-Authorization", bytes)
        {
            return Some((407, self.challenge("Proxy-Authenticate")));
        }
        let least = demands.min_se?;
        let asked =
            text.field("Session-Expires").split(';').next().and_then(|it| it.trim().parse::<u32>().ok());
        // RFC 4028 §9: only whoever said that he knows of session timers is told 422.
        (asked? < least).then(|| (422, format!("Min-SE: {least}\r\n")))
    }

    /// Makes the call again after a refusal that says how; whether it did.
    pub(super) fn try_again(&mut self, id: &str, text: &Text, status: u16) -> bool {
        let cnonce = self.token("cn");
        let Some(call) = self.calls.get_mut(id) else { return false };
        let Script::Caller(plan) = &call.script else { return false };
        let uri = Text::read(&call.invite).map(|invite| invite.uri().to_owned()).unwrap_or_default();
        match status {
            401 | 407 if call.credentials.is_empty() => {
                let Some(login) = plan.login else { return false };
                let Some(line) = digest::answer(login, "INVITE", &uri, text, &cnonce) else { return false };
                call.credentials = line;
            }
            422 if call.min_se.is_none() => match text.field("Min-SE").parse() {
                Ok(least) => call.min_se = Some(least),
                Err(_) => return false,
            },
            _ => return false,
        }
        let branch = self.token("z9hG4bKe");
        let version = self.calls.get(id).map_or(1, |call| call.sdp_version);
        let port = self.open_media(id);
        let offered = self.calls.get(id).is_some_and(|call| call.offered);
        let body = if offered { self.write_sdp(id, port, version) } else { String::new() };
        let Some(call) = self.calls.get_mut(id) else { return false };
        call.local_cseq += 1;
        (call.invite_cseq, call.invite_branch) = (call.local_cseq, branch.clone());
        (call.remote_tag, call.provisional, call.cancelled) = (None, false, false);
        let call = call.clone();
        let bytes = self.write_request(&call, "INVITE", &uri, call.invite_cseq, &branch, &body);
        if let Some(call) = self.calls.get_mut(id) {
            call.invite.clone_from(&bytes);
        }
        self.begin(id, call.way, "INVITE", call.invite_cseq, branch, bytes);
        true
    }

    pub(super) fn schedule_inside(&mut self, id: &str, doings: &'static [(u64, Inside)]) {
        for (after, what) in doings {
            self.schedule(id, Some(Duration::from_millis(*after)), Step::Inside(*what));
        }
    }

    pub(super) fn do_inside(&mut self, id: &str, what: Inside) {
        let Some(call) = self.calls.get_mut(id) else { return };
        if call.bye_sent {
            return;
        }
        let busy = call.doings.pending.is_some() || call.reinvite_out.is_some() || !call.unacked.is_empty();
        if busy && !matches!(what, Inside::Info | Inside::Message | Inside::Unasked) {
            self.schedule(id, Some(Duration::from_secs(1)), Step::Inside(what));
            return;
        }
        call.doings.begun += 1;
        match what {
            Inside::Info => return self.begin_inside(id, "INFO", "Signal=5\r\nDuration=160\r\n"),
            Inside::Message => return self.begin_inside(id, "MESSAGE", "call me back"),
            Inside::Unasked => return self.tell(id, "active;expires=60", "SIP/2.0 200 OK\r\n"),
            Inside::Hold => call.shape.direction = "sendonly",
            Inside::Resume => call.shape = Shape::default(),
            Inside::Codec => call.shape.formats = &[8],
            Inside::Empty | Inside::Update => {}
        }
        call.doings.pending = Some(what);
        if what == Inside::Update {
            return self.begin_inside(id, "UPDATE", "");
        }
        self.offer_again(id);
    }

    /// The re-INVITE of what is pending; also after it was refused for now.
    pub(super) fn offer_again(&mut self, id: &str) {
        let Some(call) = self.calls.get_mut(id) else { return };
        call.sdp_version += 1;
        let (version, pending) = (call.sdp_version, call.doings.pending);
        let port = self.open_media(id);
        let body = match pending {
            Some(Inside::Empty) => String::new(),
            _ => self.write_sdp(id, port, version),
        };
        self.begin_inside(id, "INVITE", &body);
    }

    /// What the answer to a changed session has to say (RFC 3264 §6.1, §8.4).
    pub(super) fn check_shape(&mut self, id: &str, changed: Option<Inside>, text: &Text, bytes: &[u8]) {
        let shape = self.calls.get(id).map(|call| call.shape).unwrap_or_default();
        let fits = match changed {
            Some(Inside::Hold) => matches!(text.direction(), "recvonly" | "inactive"),
            Some(Inside::Resume) => text.direction() == "sendrecv",
            Some(Inside::Codec) => text.formats().all(|format| shape.formats.contains(&format)),
            Some(Inside::Empty) => !text.body.is_empty(),
            _ => true,
        };
        if !fits {
            self.fault(&format!("an answer that does not fit what was offered: {changed:?}"), bytes);
        }
    }

    /// INFO or MESSAGE of the other side's.
    pub(super) fn told(&mut self, key: &(String, String), id: &str, text: &Text, bytes: &[u8]) {
        let Some(call) = self.calls.get_mut(id) else { return };
        if call.state != State::Talking {
            return self.reply(key, text, 481);
        }
        call.doings.told += 1;
        // A key may come alone where the gateway was told so.
        if !matches!(text.body.as_str(), "call me back" | "5" | "Signal=5\r\nDuration=160\r\n") {
            self.fault("a body that nobody wrote", bytes);
        }
        self.reply(key, text, 200);
    }

    /// The answer to a NOTIFY in a call.
    pub(super) fn notified_done(&mut self, client: &Client, status: u16, bytes: &[u8]) {
        let Some(call) = self.calls.get_mut(&client.call) else { return };
        // Nobody has asked for a transfer there: it is none of theirs (RFC 6665 §4.1.3).
        let unasked = call.doings.begun > 0;
        call.doings.served += u32::from(unasked && status == 481);
        if unasked && status < 300 {
            self.fault("a NOTIFY that nobody asked for was taken", bytes);
        }
    }

    pub(super) fn told_done(&mut self, client: &Client, status: u16, bytes: &[u8]) {
        let Some(call) = self.calls.get_mut(&client.call) else { return };
        call.doings.served += u32::from(status == 200);
        match status {
            // RFC 3261 §12.2.2: a later request overtook it. Or the call's other leg has nobody yet to hear it.
            200 | 488 | 500 => {}
            _ if call.state == State::Ended => {}
            // Their BYE may be on its way still; else the other side has forgotten the call.
            481 => call.unknown_there = true,
            _ => self.fault("a request inside the call that was not answered 200", bytes),
        }
    }
}
