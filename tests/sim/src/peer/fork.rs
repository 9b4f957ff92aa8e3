//! Another branch of an INVITE that was forked on its way to a peer: it answers too (RFC 3261 §13.2.2.4).

use super::call::Script;
use super::transport::Way;
use super::{GIVE_UP, Peer, T1, T2, Text, Timer};
use sansio::Time;
use std::time::Duration;

/// The second branch of a call that answered.
#[derive(Clone, Debug)]
pub(super) struct Branch {
    tag: String,
    answer: Vec<u8>,
    way: Way,
    interval: Duration,
    until: Time,
    acked: bool,
    ended: bool,
}

impl Branch {
    /// What it still waits for.
    pub(super) const fn lacks(&self) -> Option<&'static str> {
        match (self.acked, self.ended) {
            (false, _) => Some("is not acknowledged"),
            (true, false) => Some("is not ended"),
            (true, true) => None,
        }
    }
}

impl Peer {
    /// Has the other branch answer as well, if there is one, in a dialog of its own.
    pub(super) fn answer_twice(&mut self, id: &str, body: &str) {
        let Some(call) = self.calls.get(id).cloned() else { return };
        if !matches!(&call.script, Script::Carrier(behaviour) if behaviour.answers_twice) {
            return;
        }
        let Ok(invite) = Text::read(&call.invite) else { return };
        let tag = self.token("st");
        let answer = self.write_response_with(call.way, &invite, 200, &tag, "", body);
        self.send(call.way, &answer);
        let (interval, until) = (T1, self.now + GIVE_UP);
        let branch = Branch { tag, answer, way: call.way, interval, until, acked: false, ended: false };
        if let Some(call) = self.calls.get_mut(id) {
            call.branch = Some(branch);
        }
        self.after(T1, Timer::ResendBranch(id.to_owned()));
    }

    pub(super) fn resend_branch(&mut self, id: String) {
        let now = self.now;
        let Some(branch) = self.calls.get_mut(&id).and_then(|call| call.branch.as_mut()) else { return };
        if branch.acked || now >= branch.until {
            return;
        }
        branch.interval = (branch.interval * 2).min(T2);
        let (way, answer, interval) = (branch.way, branch.answer.clone(), branch.interval);
        self.send(way, &answer);
        self.after(interval, Timer::ResendBranch(id));
    }

    /// Whether a request is for the other branch, which takes it then.
    pub(super) fn for_branch(&mut self, text: &Text, bytes: &[u8]) -> bool {
        let Some(call) = self.calls.get_mut(text.field("Call-ID")) else { return false };
        let Some(branch) = call.branch.as_mut().filter(|branch| text.tag("To") == Some(branch.tag.as_str()))
        else {
            return false;
        };
        let again = branch.ended;
        match text.method() {
            "ACK" => branch.acked = true,
            "BYE" => branch.ended = true,
            _ => {}
        }
        let key = (text.branch().to_owned(), text.method().to_owned());
        match text.method() {
            "ACK" => {}
            "BYE" => {
                if again {
                    self.fault("a second BYE", bytes);
                }
                self.reply(&key, text, 200);
            }
            _ => {
                self.fault("a request in a dialog that nobody wanted", bytes);
                self.reply(&key, text, 481);
            }
        }
        true
    }
}
