//! What a scripted peer does with requests, and what it holds against them.

use super::call::{Call, Script, Server, State};
use super::script::{Probed, Role, Verdict};
use super::text::{uri_of, user_of};
use super::transport::Way;
use super::{GIVE_UP, Peer, Step, T1, Text, Timer};
use std::net::SocketAddr;

impl Peer {
    pub(super) fn request(&mut self, way: Way, text: &Text, bytes: &[u8]) {
        if text.method() == "ACK" {
            if !self.for_branch(text, bytes) {
                self.ack(text, bytes);
            }
            return;
        }
        let key = (text.branch().to_owned(), text.method().to_owned());
        if let Some(server) = self.servers.get(&key) {
            self.stats.repeats += 1;
            if server.request != bytes {
                self.fault("a retransmission that differs from the request", bytes);
                return;
            }
            // RFC 3261 §17.2.1: 2xx are the script's own to repeat; an ACKed INVITE is absorbed.
            let absorbed = text.method() == "INVITE"
                && (server.status / 100 == 2 || !server.waits_for_ack && server.status >= 300);
            if let (Some(response), false) = (server.response.clone(), absorbed) {
                self.send(server.way, &response);
            }
            return;
        }
        let back = self.back(way, text);
        let server = Server {
            call: text.field("Call-ID").to_owned(),
            request: bytes.to_vec(),
            response: None,
            way: back,
            status: 0,
            waits_for_ack: false,
            interval: T1,
            until: self.now + GIVE_UP,
        };
        self.servers.insert(key.clone(), server);
        if self.for_branch(text, bytes) {
            return;
        }
        match (text.method(), text.tag("To")) {
            ("INVITE", None) => self.invited(back, text, bytes),
            ("OPTIONS", None) => self.probe(&key, text),
            ("CANCEL", None) => self.cancelled(&key, text, bytes),
            ("REGISTER", None) => self.registers(&key, text, bytes),
            ("INVITE" | "BYE" | "UPDATE" | "PRACK" | "INFO" | "MESSAGE", Some(_)) => {
                self.inside(&key, text, bytes);
            }
            ("REFER", Some(_)) => self.referred(&key, text, bytes),
            ("MESSAGE" | "PUBLISH" | "SUBSCRIBE", None) => self.asked(&key, text, bytes),
            ("SUBSCRIBE", Some(_)) => self.asked(&key, text, bytes),
            ("NOTIFY", _) if self.subscribed(text) => self.notice(&key, text, bytes),
            ("NOTIFY", Some(_)) => self.notified(&key, text, bytes),
            (method, _) => {
                self.fault(&format!("an unexpected {method}"), bytes);
                self.reply(&key, text, 481);
            }
        }
    }

    /// Where a response goes: RFC 3261 §18.2.2, RFC 3581 §4.
    fn back(&self, way: Way, text: &Text) -> Way {
        let Way::Udp(source) = way else { return way };
        let via = text.field("Via");
        if super::text::parameter(via, "rport").is_some() {
            return way;
        }
        let sent_by = via.split(' ').nth(1).unwrap_or_default().split(';').next().unwrap_or_default();
        let port = sent_by.parse::<SocketAddr>().map_or(5060, |address| address.port());
        Way::Udp(SocketAddr::new(source.ip(), port))
    }

    /// Answers a request, final for its transaction.
    pub(super) fn reply(&mut self, key: &(String, String), text: &Text, status: u16) {
        self.reply_with(key, text, status, "");
    }

    /// The same with further header lines.
    pub(super) fn reply_with(&mut self, key: &(String, String), text: &Text, status: u16, lines: &str) {
        let Some(way) = self.servers.get(key).map(|server| server.way) else { return };
        let tag = self.token("rt");
        let bytes = self.write_response_with(way, text, status, &tag, lines, "");
        self.conclude(key, status, &bytes);
    }

    /// Sends a response in its transaction and keeps it for retransmissions of the request.
    pub(super) fn conclude(&mut self, key: &(String, String), status: u16, bytes: &[u8]) {
        let until = self.now + GIVE_UP;
        let Some(server) = self.servers.get_mut(key) else { return };
        server.response = Some(bytes.to_vec());
        server.status = status;
        let way = server.way;
        if key.1 == "INVITE" && status >= 300 {
            server.waits_for_ack = true;
            server.interval = T1;
            server.until = until;
            self.after(T1, Timer::ResendFinal(key.0.clone()));
        }
        self.send(way, bytes);
    }

    fn probe(&mut self, key: &(String, String), text: &Text) {
        self.stats.probes += 1;
        if let Probed::Status(status) = self.probed {
            self.reply(key, text, status);
        }
    }

    /// An INVITE outside of any dialog: a call.
    fn invited(&mut self, way: Way, text: &Text, bytes: &[u8]) {
        let id = text.field("Call-ID").to_owned();
        let user = user_of(text.uri());
        let digits = &user[user.len().saturating_sub(7)..];
        let Ok(serial) = digits.parse::<u64>() else {
            self.fault("a number that nobody dialled", bytes);
            return;
        };
        // Sent before this peer died and again since: to it, a new call.
        self.forgotten.remove(&id);
        if self.calls.contains_key(&id) {
            self.fault("a second INVITE with the Call-ID of another call", bytes);
            return;
        }
        let behaviour = self.answers.get(&serial).unwrap_or(&self.default).clone();
        if let Some((status, lines)) = self.demand(&behaviour.demands, text, bytes) {
            let key = (text.branch().to_owned(), "INVITE".to_owned());
            let tag = self.token("dt");
            let response = self.write_response_with(way, text, status, &tag, &lines, "");
            return self.conclude(&key, status, &response);
        }
        self.check_join(text, bytes);
        let tag = self.token("ct");
        let call = Call {
            local: format!("{};tag={tag}", text.field("To")),
            remote: text.field("From").to_owned(),
            remote_tag: text.tag("From").map(str::to_owned),
            target: uri_of(text.field("Contact")).to_owned(),
            local_cseq: self.random.below(100) as u32,
            remote_cseq: text.cseq().0,
            invite_branch: text.branch().to_owned(),
            invite_cseq: text.cseq().0,
            invite: bytes.to_vec(),
            offered: !text.body.is_empty(),
            ..Call::new(&id, serial, Role::Carrier, Script::Carrier(behaviour.clone()), way, self.now)
        };
        self.calls.insert(id.clone(), call);
        self.stats.invited += 1;
        self.active += 1;
        self.stats.peak = self.stats.peak.max(self.active);
        if self.calls_max.is_some_and(|most| self.active > most) {
            self.fault(&format!("{} calls at once, {:?} allowed", self.active, self.calls_max), bytes);
        }
        self.follow(&id, &behaviour);
    }

    /// RFC 3261 §9.2: 200 to the CANCEL, 487 to the INVITE if it has no final answer yet.
    fn cancelled(&mut self, key: &(String, String), text: &Text, bytes: &[u8]) {
        let found = self
            .calls
            .values()
            .find(|call| call.role == Role::Carrier && call.invite_branch == text.branch())
            .map(|call| call.id.clone());
        let Some(id) = found else {
            if !self.lenient && !self.forgotten.contains(text.field("Call-ID")) {
                self.fault("a CANCEL that fits no INVITE", bytes);
            }
            self.reply(key, text, 481);
            return;
        };
        let Some(call) = self.calls.get_mut(&id) else { return };
        let invite =
            Text::read(&call.invite).map(|invite| (invite.uri().to_owned(), invite.field("From").to_owned()));
        let fits = invite == Ok((text.uri().to_owned(), text.field("From").to_owned()))
            && text.cseq().0 == call.invite_cseq;
        let (state, already) = (call.state, call.cancelled);
        call.cancelled = true;
        let Script::Carrier(behaviour) = call.script.clone() else { return };
        if !fits {
            self.fault("a CANCEL that differs from its INVITE", bytes);
        }
        if already {
            self.fault("a second CANCEL", bytes);
        }
        if behaviour.verdict == Verdict::Silent {
            return;
        }
        if state == State::Inviting && behaviour.answer_on_cancel {
            self.answer(&id);
            self.reply(key, text, 200);
        } else {
            self.reply(key, text, 200);
            if state == State::Inviting {
                self.refuse(&id, 487);
            }
        }
    }

    fn ack(&mut self, text: &Text, bytes: &[u8]) {
        let id = text.field("Call-ID").to_owned();
        let key = (text.branch().to_owned(), "INVITE".to_owned());
        if let Some(server) = self.servers.get_mut(&key) {
            // The ACK to a non-2xx final response goes in the INVITE's transaction.
            if server.status >= 300 {
                server.waits_for_ack = false;
                let first = Text::read(&server.request).ok();
                let response = server.response.clone().and_then(|bytes| Text::read(&bytes).ok());
                let fits = first.is_some_and(|first| {
                    first.uri() == text.uri()
                        && first.field("From") == text.field("From")
                        && first.cseq().0 == text.cseq().0
                }) && response.is_some_and(|response| response.tag("To") == text.tag("To"));
                if !fits {
                    self.fault("an ACK that differs from its INVITE", bytes);
                }
            } else {
                self.fault("an ACK to a 2xx with the INVITE's branch, or to no final answer", bytes);
            }
            return;
        }
        let Some(call) = self.calls.get_mut(&id) else {
            if !self.forgotten.contains(&id) {
                self.fault("an ACK for an unknown call", bytes);
            }
            return;
        };
        let cseq = text.cseq().0;
        let known = call.unacked.remove(&cseq).is_some();
        let (role, first) = (call.role, role_first(call, cseq));
        let tags = tags_fit(call, text);
        let again = call.acked.contains(&cseq);
        if known {
            call.acked.push(cseq);
        }
        let hang_up_late = call.bye_received;
        let Script::Carrier(behaviour) = call.script.clone() else {
            self.check_ack(known || again, tags, bytes);
            return;
        };
        self.check_ack(known || again, tags, bytes);
        if !known || hang_up_late {
            return;
        }
        self.learn_media(&id, text, bytes);
        if role == Role::Carrier && first {
            self.schedule(&id, behaviour.hang_up, Step::HangUp);
            self.schedule(&id, behaviour.reinvite, Step::Reinvite);
            self.schedule_refer(&id);
            self.schedule_inside(&id, behaviour.inside);
        }
    }

    fn check_ack(&mut self, known: bool, tags: bool, bytes: &[u8]) {
        if !known {
            self.fault("an ACK that acknowledges nothing", bytes);
        }
        if !tags {
            self.fault("an ACK with wrong tags", bytes);
        }
    }

    /// A request inside a dialog: BYE or re-INVITE.
    fn inside(&mut self, key: &(String, String), text: &Text, bytes: &[u8]) {
        let id = text.field("Call-ID").to_owned();
        let Some(call) = self.calls.get_mut(&id) else {
            if !self.forgotten.contains(&id) {
                self.fault("a request in an unknown dialog", bytes);
            }
            self.reply(key, text, 481);
            return;
        };
        let cseq = text.cseq().0;
        let in_order = cseq > call.remote_cseq || call.remote_cseq == 0;
        call.remote_cseq = call.remote_cseq.max(cseq);
        let tags = tags_fit(call, text);
        let (state, bye_received, bye_sent) = (call.state, call.bye_received, call.bye_sent);
        if !tags {
            if !self.lenient {
                self.fault("a request with wrong tags", bytes);
            }
            self.reply(key, text, 481);
            return;
        }
        if !in_order && text.method() == "BYE" {
            // An INVITE that was overtaken on the way is answered 500 (§12.2.2) and sent again by nobody.
            self.fault("a CSeq that does not grow", bytes);
        }
        let place = uri_of_us(self.address);
        if !text.uri().starts_with(&place) {
            self.fault(&format!("a request URI that is not our Contact {place}"), bytes);
        }
        if text.method() == "BYE" {
            if bye_received {
                self.fault("a second BYE", bytes);
            }
            if state == State::Inviting {
                self.gap("a BYE of a call of which no answer ever arrived".to_owned());
            }
            if let Some(call) = self.calls.get_mut(&id) {
                call.bye_received = true;
                // The ACK may have been overtaken by the BYE.
                call.acked.extend(call.unacked.keys());
                call.unacked.clear();
            }
            self.reply(key, text, if state == State::Ended && !bye_sent { 481 } else { 200 });
            self.end(&id);
            return;
        }
        if text.method() == "PRACK" {
            self.pracked(key, &id, text, bytes);
            return;
        }
        if text.method() == "UPDATE" {
            self.updated(key, &id, text, bytes);
            return;
        }
        if matches!(text.method(), "INFO" | "MESSAGE") {
            return self.told(key, &id, text, bytes);
        }
        match state {
            State::Ended => {
                // One that the BYE has overtaken is no fault.
                if !bye_sent && in_order {
                    self.fault("a re-INVITE after the call was over", bytes);
                }
                self.reply(key, text, 481);
            }
            State::Inviting => {
                self.fault("a re-INVITE before the call was answered", bytes);
                self.reply(key, text, 500);
            }
            State::Talking => self.reinvited(key, &id, text, bytes, in_order),
        }
    }

    fn reinvited(&mut self, key: &(String, String), id: &str, text: &Text, bytes: &[u8], in_order: bool) {
        let Some(call) = self.calls.get_mut(id) else { return };
        if call.reinvite_out.is_some() {
            self.reply(key, text, 491);
            return;
        }
        if !in_order || !call.unacked.is_empty() {
            self.reply(key, text, 500);
            return;
        }
        call.sdp_version += 1;
        call.reinvites += 1;
        let (version, local) = (call.sdp_version, call.way);
        let Some(way) = self.servers.get(key).map(|server| server.way) else { return };
        let port = self.open_media(id);
        let body = self.write_answer(id, port, version, bytes);
        let lines = self.grant_again(id, text);
        let response = self.write_response_with(local, text, 200, "", &lines, &body);
        self.conclude(key, 200, &response);
        self.learn_media(id, text, bytes);
        self.await_ack(id, way, text.cseq().0, response);
    }
}

fn uri_of_us(address: SocketAddr) -> String {
    format!("sip:{address}")
}

/// Whether this CSeq is of the INVITE that began the call.
const fn role_first(call: &Call, cseq: u32) -> bool {
    call.invite_cseq == cseq
}

/// From and To tags of a request inside the dialog.
fn tags_fit(call: &Call, text: &Text) -> bool {
    let ours = call.local.split(";tag=").nth(1);
    // Whoever never got an answer does not know the other side's tag.
    text.tag("To") == ours && (call.remote_tag.is_none() || text.tag("From") == call.remote_tag.as_deref())
}
