//! What a scripted peer does with responses, and what it holds against them.

use super::call::{Call, Client, Script, State};
use super::script::{Inside, Outcome, Role};
use super::text::{place_of, uri_of};
use super::transport::Way;
use super::{Peer, Step, Text};
use std::time::Duration;

impl Peer {
    pub(super) fn response(&mut self, way: Way, text: &Text, bytes: &[u8]) {
        let Some(status) = text.status() else { return };
        let key = (text.branch().to_owned(), text.cseq().1.to_owned());
        let Some(client) = self.clients.get(&key).cloned() else {
            if !self.forgotten.contains(text.field("Call-ID")) {
                self.fault("a response to no request of ours", bytes);
            }
            return;
        };
        self.check_echo(&client, text, bytes);
        if way.is_udp() != client.way.is_udp() {
            self.fault("a response over another transport", bytes);
        }
        if status < 200 {
            if let Some(client) = self.clients.get_mut(&key) {
                client.provisional = true;
            }
            if client.method == "INVITE" && !client.done {
                self.progress(&client, text, bytes);
            }
            return;
        }
        if client.done && client.status == 0 {
            // The transaction is over: nobody is left to hear it (RFC 3261 §18.1.2).
            return;
        }
        if client.done {
            self.stats.repeats += 1;
            self.final_again(&client, text, status, bytes);
            return;
        }
        if let Some(client) = self.clients.get_mut(&key) {
            client.done = true;
            client.status = status;
        }
        let first = self
            .calls
            .get(&client.call)
            .is_some_and(|call| call.role == Role::Caller && call.invite_cseq == client.cseq);
        match client.method.as_str() {
            "INVITE" if first => self.invite_done(&key, &client, text, bytes, status),
            "INVITE" => self.reinvite_done(&key, &client, text, bytes, status),
            "BYE" => {
                let crossed = self.calls.get(&client.call).is_some_and(|call| call.bye_received);
                if status == 481 && !crossed {
                    // Their BYE may be on its way still; else the other side has forgotten the call.
                    if let Some(call) = self.calls.get_mut(&client.call) {
                        call.unknown_there = true;
                    }
                } else if status != 200 && status != 481 {
                    self.fault("a BYE that was not answered 200", bytes);
                }
            }
            "PRACK" => self.prack_done(&client, status, bytes),
            "UPDATE" => self.update_done(&client, text, bytes, status),
            _ if self.is_errand(&client.call) => self.errand_done(&client, text, bytes, status),
            "REFER" => self.refer_done(&client, status, bytes),
            "REGISTER" => self.register_done(&client, text, bytes, status),
            "NOTIFY" => self.notified_done(&client, status, bytes),
            "INFO" | "MESSAGE" => self.told_done(&client, status, bytes),
            "CANCEL" if status != 200 && status != 481 => {
                self.fault("a CANCEL that was not answered 200", bytes);
            }
            _ => {}
        }
    }

    /// RFC 3261 §8.2.6.2: what a response copies from its request.
    fn check_echo(&mut self, client: &Client, text: &Text, bytes: &[u8]) {
        let Ok(request) = Text::read(&client.bytes) else { return };
        for name in ["From", "Call-ID", "CSeq"] {
            if request.field(name) != text.field(name) {
                self.fault(&format!("{name} differs from the request's"), bytes);
            }
        }
        if request.tag("To").is_some() && request.tag("To") != text.tag("To") {
            self.fault("the tag in To differs from the request's", bytes);
        }
        let sent_by = |via: &str| via.split(';').next().map(str::to_owned);
        if sent_by(request.field("Via")) != sent_by(text.field("Via")) {
            self.fault("Via differs from the request's", bytes);
        }
    }

    /// The same final answer once more, or (a fault) another one.
    fn final_again(&mut self, client: &Client, text: &Text, status: u16, bytes: &[u8]) {
        let other_dialog = self.calls.get(&client.call).is_some_and(|call| {
            call.remote_tag.is_some() && text.tag("To") != call.remote_tag.as_deref() && status / 100 == 2
        });
        if self.lenient && (status != client.status || other_dialog) {
            return;
        }
        if status != client.status {
            self.fault(&format!("a second final answer after {}", client.status), bytes);
            return;
        }
        if client.method != "INVITE" {
            return;
        }
        let ack = match &client.ack {
            Some(ack) => Some(ack.clone()),
            None => self.calls.get(&client.call).and_then(|call| call.acks.get(&client.cseq).cloned()),
        };
        if let Some(ack) = ack {
            let way = if status < 300 {
                self.calls.get(&client.call).map_or(client.way, |call| call.way)
            } else {
                client.way
            };
            self.send(way, &ack);
        }
    }

    fn progress(&mut self, client: &Client, text: &Text, bytes: &[u8]) {
        if !self.reliable_progress(client, text, bytes) {
            return;
        }
        let Some(call) = self.calls.get_mut(&client.call) else { return };
        if call.state == State::Inviting {
            call.provisional = true;
            if call.remote_tag.is_none() && text.status() > Some(100) {
                call.remote_tag = text.tag("To").map(str::to_owned);
            } else if text.status() > Some(100)
                && call.remote_tag.as_deref() != text.tag("To")
                && !text.body.is_empty()
            {
                // Failover may show early dialogs of several carriers; the media must follow the newest.
                call.remote_tag = text.tag("To").map(str::to_owned);
            }
            self.learn_media(&client.call, text, bytes);
            self.cancel_if_wanted(&client.call);
        }
    }

    fn invite_done(
        &mut self,
        key: &(String, String),
        client: &Client,
        text: &Text,
        bytes: &[u8],
        status: u16,
    ) {
        if status >= 300 {
            self.ack_failure(key, client, text);
            if self.try_again(&client.call, text, status) {
                return;
            }
            let Some(call) = self.calls.get_mut(&client.call) else { return };
            call.outcome = Outcome::Status(status);
            self.end(&client.call);
            return;
        }
        let Some(call) = self.calls.get_mut(&client.call) else { return };
        if call.state == State::Ended {
            // The BYE overtook the answer by far: it is acknowledged, and that is all (RFC 3261 §13.2.2.4).
            call.outcome = Outcome::Answered;
            text.field("To").clone_into(&mut call.remote);
            uri_of(text.field("Contact")).clone_into(&mut call.target);
            return self.ack_success(client, false, bytes);
        }
        call.state = State::Talking;
        call.outcome = Outcome::Answered;
        call.answered = Some(self.now);
        call.remote_tag = text.tag("To").map(str::to_owned);
        text.field("To").clone_into(&mut call.remote);
        uri_of(text.field("Contact")).clone_into(&mut call.target);
        let (late_offer, cancelled) = (!call.offered, call.cancelled);
        let Script::Caller(plan) = call.script.clone() else { return };
        if text.body.is_empty() && !call.extras.agreed {
            self.fault("a 2xx without a session", bytes);
        }
        self.learn_media(&client.call, text, bytes);
        self.ack_success(client, late_offer, bytes);
        self.session_agreed(&client.call, text, true);
        if cancelled {
            self.hang_up(&client.call);
            return;
        }
        self.schedule(&client.call, plan.hang_up, Step::HangUp);
        self.schedule(&client.call, plan.reinvite, Step::Reinvite);
        self.schedule_refer(&client.call);
        self.schedule_inside(&client.call, plan.inside);
    }

    fn reinvite_done(
        &mut self,
        key: &(String, String),
        client: &Client,
        text: &Text,
        bytes: &[u8],
        status: u16,
    ) {
        let Some(call) = self.calls.get_mut(&client.call) else { return };
        call.reinvite_out = None;
        let (over, crossed) = (call.state == State::Ended, call.bye_received);
        let caller = call.role == Role::Caller;
        if status < 300 {
            uri_of(text.field("Contact")).clone_into(&mut call.target);
            call.reinvites += 1;
            let pending = call.doings.pending.take();
            call.doings.served += u32::from(pending.is_some());
            self.check_shape(&client.call, pending, text, bytes);
            self.media_moved(&client.call);
            self.learn_media(&client.call, text, bytes);
            self.ack_success(client, pending == Some(Inside::Empty), bytes);
            self.session_agreed(&client.call, text, true);
            return;
        }
        self.ack_failure(key, client, text);
        match status {
            491 | 500 | 503 if !over => {
                // RFC 3261 §14.1: glare; once more, the owner of the Call-ID later than the other.
                let wait = self.random.below(190) * 10 + if caller { 2100 } else { 0 };
                self.schedule(&client.call, Some(Duration::from_millis(wait)), Step::Reinvite);
            }
            // Their BYE may be on its way still; else the other side has forgotten the call.
            481 | 487 => {
                if !crossed
                    && !over
                    && let Some(call) = self.calls.get_mut(&client.call)
                {
                    call.unknown_there = true;
                }
            }
            491 | 500 | 503 => {}
            _ => self.fault("a re-INVITE that was refused", bytes),
        }
    }

    /// RFC 3261 §17.1.1.3: the ACK to a failure, in the INVITE's transaction.
    fn ack_failure(&mut self, key: &(String, String), client: &Client, text: &Text) {
        let Some(call) = self.calls.get(&client.call) else { return };
        let mut it: Call = call.clone();
        text.field("To").clone_into(&mut it.remote);
        it.way = client.way;
        let uri = Text::read(&client.bytes).map(|request| request.uri().to_owned()).unwrap_or_default();
        let ack = self.write_request(&it, "ACK", &uri, client.cseq, &key.0, "");
        self.send(client.way, &ack);
        if let Some(client) = self.clients.get_mut(key) {
            client.ack = Some(ack);
        }
    }

    /// RFC 3261 §13.2.2.4: the ACK to a 2xx, in the dialog.
    fn ack_success(&mut self, client: &Client, with_answer: bool, bytes: &[u8]) {
        let Some(call) = self.calls.get(&client.call) else { return };
        let Some((to, tcp)) = place_of(&call.target) else {
            self.fault("a Contact that cannot be followed", bytes);
            return;
        };
        let way = self.way_inside(&client.call, to, tcp);
        let branch = self.token("z9hG4bKa");
        let port = if with_answer { self.open_media(&client.call) } else { 0 };
        let body = if with_answer {
            let version = self.calls.get(&client.call).map_or(1, |call| call.sdp_version);
            self.write_answer(&client.call, port, version, bytes)
        } else {
            String::new()
        };
        let Some(call) = self.calls.get_mut(&client.call) else { return };
        call.way = way;
        let call = call.clone();
        let ack = self.write_request(&call, "ACK", &call.target, client.cseq, &branch, &body);
        self.send(way, &ack);
        if let Some(call) = self.calls.get_mut(&client.call) {
            call.acks.insert(client.cseq, ack);
        }
    }
}
