//! The steps of a peer's script: starting, cancelling, answering, changing, ending a call; and its retransmissions.

use super::call::{Call, Client, Script, State, Unacked};
use super::script::{Behaviour, Outcome, Replaced, Role, Verdict};
use super::text::place_of;
use super::transport::Way;
use super::{GIVE_UP, Peer, Step, T1, T2, Text, Timer};
use std::net::SocketAddr;
use std::time::Duration;

/// How long a peer rings that may not be told of the caller's end.
const RINGS_MAX: Duration = Duration::from_secs(150);

impl Peer {
    /// Makes the call of a plan.
    pub(super) fn start(&mut self, plan: usize) {
        let plan = self.plans[plan].clone();
        let way = self.way(plan.to, plan.tcp);
        let id = self.token("caller-");
        let (tag, branch) = (self.token("ft"), self.token("z9hG4bKc"));
        let cseq = 1 + self.random.below(1000) as u32;
        let uri = format!("sip:{}{:07}@{}", plan.prefix, plan.serial, plan.to);
        let mut fields = plan.fields.clone();
        if let Some(dialog) = plan.replaces.and_then(|replaced| self.named(replaced)) {
            fields.push_str(&format!("Replaces: {dialog}\r\n"));
        }
        let call = Call {
            local: format!("<sip:{}@{}>;tag={tag}", plan.caller(), self.host()),
            remote: format!("<{uri}>"),
            target: uri.clone(),
            local_cseq: cseq,
            invite_branch: branch.clone(),
            invite_cseq: cseq,
            offered: !plan.late_offer,
            fields,
            ..Call::new(&id, plan.serial, Role::Caller, Script::Caller(plan.clone()), way, self.now)
        };
        self.calls.insert(id.clone(), call);
        if let Some(serial) = plan.dials {
            self.schedule(&id, Some(plan.patience), Step::Patience);
            return self.dial(&id, branch, plan.prefix, serial);
        }
        let join = plan.joins.map_or_else(String::new, |serial| self.dialog_to_join(serial));
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.join = join;
        let call = call.clone();
        let port = self.open_media(&id);
        let body = if plan.late_offer { String::new() } else { self.write_sdp(&id, port, 1) };
        let bytes = self.write_request(&call, "INVITE", &uri, cseq, &branch, &body);
        if let Some(call) = self.calls.get_mut(&id) {
            call.invite.clone_from(&bytes);
        }
        self.begin(&id, way, "INVITE", cseq, branch, bytes);
        self.schedule(&id, plan.cancel, Step::Cancel);
        self.schedule(&id, Some(plan.patience), Step::Patience);
    }

    /// The dialog that an INVITE of ours shall replace.
    fn named(&self, replaced: Replaced) -> Option<String> {
        let (serial, role) = match replaced {
            Replaced::Made(serial) => (serial, Role::Caller),
            Replaced::Ringing(serial) => (serial, Role::Carrier),
        };
        let call = self.calls.values().find(|call| call.serial == serial && call.role == role);
        call.map(Call::as_replaced)
    }

    /// Begins a client transaction.
    pub(super) fn begin(
        &mut self,
        call: &str,
        way: Way,
        method: &str,
        cseq: u32,
        branch: String,
        bytes: Vec<u8>,
    ) {
        self.send(way, &bytes);
        let key = (branch, method.to_owned());
        if way.is_udp() {
            self.after(T1, Timer::Resend(key.0.clone(), key.1.clone()));
        }
        self.after(GIVE_UP, Timer::GiveUp(key.0.clone(), key.1.clone()));
        let client = Client {
            call: call.to_owned(),
            method: method.to_owned(),
            cseq,
            bytes,
            way,
            interval: T1,
            provisional: false,
            done: false,
            status: 0,
            ack: None,
        };
        self.clients.insert(key, client);
    }

    /// Begins a request inside the dialog, to the other side's Contact.
    pub(super) fn begin_inside(&mut self, id: &str, method: &str, body: &str) {
        let Some(call) = self.calls.get_mut(id) else { return };
        call.local_cseq += 1;
        if method == "INVITE" {
            call.reinvite_out = Some(call.local_cseq);
        }
        let (cseq, target) = (call.local_cseq, call.target.clone());
        let Some((to, tcp)) = place_of(&target) else {
            self.fault(&format!("cannot follow the Contact {target:?}"), b"");
            return;
        };
        let way = self.way_inside(id, to, tcp);
        let branch = self.token("z9hG4bKd");
        let Some(call) = self.calls.get_mut(id) else { return };
        call.way = way;
        let call = call.clone();
        let bytes = self.write_request(&call, method, &target, cseq, &branch, body);
        self.begin(id, way, method, cseq, branch, bytes);
    }

    /// The way of a request inside a call's dialog: over TCP the connection that stands, if the peer reuses it.
    pub(super) fn way_inside(&mut self, id: &str, to: SocketAddr, tcp: bool) -> Way {
        match self.calls.get(id).map(|call| call.way) {
            Some(Way::Tcp(stream, remote)) if self.reuse && tcp && self.streams.contains_key(&stream) => {
                Way::Tcp(stream, remote)
            }
            _ => self.way(to, tcp),
        }
    }

    pub(super) fn resend(&mut self, branch: String, method: String) {
        let key = (branch, method);
        let Some(client) = self.clients.get_mut(&key) else { return };
        if client.done || (client.provisional && client.method == "INVITE") {
            return;
        }
        client.interval *= 2;
        if client.method != "INVITE" {
            client.interval = if client.provisional { T2 } else { client.interval.min(T2) };
        }
        let (way, bytes, interval) = (client.way, client.bytes.clone(), client.interval);
        self.send(way, &bytes);
        self.after(interval, Timer::Resend(key.0, key.1));
    }

    pub(super) fn give_up(&mut self, branch: String, method: String) {
        let Some(client) = self.clients.get_mut(&(branch, method)) else { return };
        if client.done || (client.provisional && client.method == "INVITE") {
            return;
        }
        client.done = true;
        let (method, id) = (client.method.clone(), client.call.clone());
        self.unanswered(&id, &method, "without an answer for 32 s");
    }

    /// A request of ours has no answer, and will have none.
    fn unanswered(&mut self, id: &str, method: &str, why: &str) {
        if method == "REGISTER" {
            self.register_failed(id);
        } else if self.is_errand(id) {
            self.errand_failed(method);
        } else {
            self.abandon(id, method, why);
        }
    }

    /// A request of ours failed below SIP.
    fn abandon(&mut self, id: &str, method: &str, why: &str) {
        let Some(call) = self.calls.get_mut(id) else { return };
        let serial = call.serial;
        if call.outcome == Outcome::Open {
            call.outcome = Outcome::TimedOut;
        }
        call.reinvite_out = None;
        // A BYE that crossed, or a session change whose answer was lost with the call.
        let again = call.local_cseq > call.invite_cseq || call.role == Role::Carrier;
        let excused = (call.bye_received && method != "INVITE")
            || (method == "INVITE" && again && call.state == State::Ended);
        let talking = call.state == State::Talking && !call.bye_sent;
        if !excused {
            self.gap(format!("{method} of call {serial} is {why}"));
        }
        if self.lenient && talking {
            // RFC 3261 §12.2.1.2: the dialog is ended.
            self.hang_up(id);
        }
        self.end(id);
    }

    /// ICMP: nobody listens where we sent.
    pub(super) fn refused(&mut self, destination: SocketAddr) {
        self.cut_off(|way| way == Way::Udp(destination));
    }

    /// Requests that went this way will not be answered.
    pub(super) fn cut_off(&mut self, gone: impl Fn(Way) -> bool) {
        let keys: Vec<_> = self
            .clients
            .iter()
            .filter(|(_, client)| !client.done && gone(client.way))
            .map(|(key, _)| key.clone())
            .collect();
        for key in keys {
            if let Some(client) = self.clients.get_mut(&key) {
                client.done = true;
                let (method, id) = (client.method.clone(), client.call.clone());
                self.unanswered(&id, &method, "refused by the host");
            }
        }
    }

    pub(super) fn step(&mut self, id: &str, step: Step) {
        let Some(call) = self.calls.get(id) else { return };
        let (state, role) = (call.state, call.role);
        match (step, state) {
            (Step::Cancel, State::Inviting) => self.cancel(id),
            (Step::HangUp, State::Talking) => self.hang_up(id),
            (Step::Reinvite, State::Talking) => self.reinvite(id),
            (Step::Hold, State::Talking) => self.hold(id),
            (Step::Refer, State::Talking) => self.refer(id),
            (Step::Patience, State::Inviting) if self.lenient && call.dials() => {
                self.dial_over(id, Outcome::TimedOut)
            }
            (Step::Patience, State::Inviting) if role == Role::Caller => {
                let serial = call.serial;
                self.gap(format!("call {serial} has no final answer in spite of all patience"));
            }
            (Step::Ring, State::Inviting) => self.provisional(id, 180, false),
            (Step::EarlyMedia, State::Inviting) => self.provisional(id, 183, true),
            (Step::Verdict, State::Inviting) => self.verdict(id),
            (Step::Refresh, State::Talking) => self.refresh(id),
            (Step::Expire, State::Talking) => self.expire(id),
            (Step::Tell, State::Talking) => {
                self.tell(id, "terminated;reason=noresource", "SIP/2.0 200 OK\r\n");
            }
            (Step::Inside(what), State::Talking) => self.do_inside(id, what),
            _ => {}
        }
    }

    /// RFC 3261 §9.1: CANCEL only after a provisional response; until then it waits.
    fn cancel(&mut self, id: &str) {
        let Some(call) = self.calls.get_mut(id) else { return };
        call.cancel_wanted = true;
        if !call.provisional || call.cancelled {
            return;
        }
        call.cancelled = true;
        let call = call.clone();
        let mut bare = call.clone();
        // The To of the INVITE had no tag, and so has the CANCEL's.
        bare.remote = call.remote.split(";tag=").next().unwrap_or_default().to_owned();
        let uri = Text::read(&call.invite).map(|text| text.uri().to_owned()).unwrap_or_default();
        let bytes = self.write_request(&bare, "CANCEL", &uri, call.invite_cseq, &call.invite_branch, "");
        self.begin(id, call.way, "CANCEL", call.invite_cseq, call.invite_branch, bytes);
    }

    /// A provisional response has come: a CANCEL that waited may go.
    pub(super) fn cancel_if_wanted(&mut self, id: &str) {
        if self.calls.get(id).is_some_and(|call| call.cancel_wanted && call.state == State::Inviting) {
            self.cancel(id);
        }
    }

    pub(super) fn hang_up(&mut self, id: &str) {
        let Some(call) = self.calls.get_mut(id) else { return };
        if call.bye_sent || call.bye_received {
            return;
        }
        // RFC 3261 §15: the callee waits for the ACK before it sends BYE.
        if call.unacked.contains_key(&call.invite_cseq) && call.role == Role::Carrier {
            return;
        }
        call.bye_sent = true;
        self.begin_inside(id, "BYE", "");
        self.end(id);
    }

    fn reinvite(&mut self, id: &str) {
        let Some(call) = self.calls.get_mut(id) else { return };
        if call.reinvite_out.is_some() || !call.unacked.is_empty() || call.bye_sent {
            return;
        }
        if call.doings.pending.is_some() {
            return self.offer_again(id);
        }
        call.sdp_version += 1;
        let version = call.sdp_version;
        if self.random.chance(0.5) {
            self.move_media(id);
        }
        let port = self.open_media(id);
        let body = self.write_sdp(id, port, version);
        self.begin_inside(id, "INVITE", &body);
    }

    /// What the script says about an INVITE that came in.
    pub(super) fn follow(&mut self, id: &str, behaviour: &Behaviour) {
        if behaviour.verdict == Verdict::Silent {
            // As if it had never come.
            self.end(id);
            return;
        }
        if behaviour.trying {
            self.provisional(id, 100, false);
        }
        self.schedule(id, behaviour.ring, Step::Ring);
        self.schedule(id, behaviour.early_media, Step::EarlyMedia);
        if behaviour.verdict != Verdict::RingOn {
            self.schedule(id, Some(behaviour.after), Step::Verdict);
        } else if self.lenient {
            // Nobody rings for ever whose caller is gone.
            self.schedule(id, Some(RINGS_MAX), Step::Verdict);
        }
    }

    fn provisional(&mut self, id: &str, status: u16, with_media: bool) {
        let Some(call) = self.calls.get(id).cloned() else { return };
        let mut body = String::new();
        if with_media {
            let port = self.open_media(id);
            body = self.write_answer(id, port, 1, &call.invite);
            if let Ok(invite) = Text::read(&call.invite) {
                self.learn_media(id, &invite, &call.invite);
            }
        }
        if self.provisional_reliable(id, status, &body) {
            return;
        }
        let mut call = call;
        if status == 180 && matches!(&call.script, Script::Carrier(behaviour) if behaviour.forks) {
            call.local.push('f');
        }
        self.respond_invite(&call, status, "", &body);
    }

    /// Sends a response to the INVITE that began the call.
    pub(super) fn respond_invite(&mut self, call: &Call, status: u16, lines: &str, body: &str) -> Vec<u8> {
        let Ok(invite) = Text::read(&call.invite) else { return Vec::new() };
        let tag = Text::read(format!("X\r\nTo: {}\r\n\r\n", call.local).as_bytes());
        let tag = tag.ok().and_then(|text| text.tag("To").map(str::to_owned)).unwrap_or_default();
        let bytes = self.write_response_with(call.way, &invite, status, &tag, lines, body);
        let key = (call.invite_branch.clone(), "INVITE".to_owned());
        self.conclude(&key, status, &bytes);
        bytes
    }

    fn verdict(&mut self, id: &str) {
        let Some(call) = self.calls.get(id) else { return };
        let Script::Carrier(behaviour) = &call.script else { return };
        match behaviour.verdict {
            Verdict::Answer => self.answer(id),
            Verdict::Refuse(status) => self.refuse(id, status),
            Verdict::RingOn => self.refuse(id, 480),
            Verdict::Silent => {}
        }
    }

    pub(super) fn refuse(&mut self, id: &str, status: u16) {
        let Some(call) = self.calls.get_mut(id) else { return };
        call.outcome = Outcome::Status(status);
        let call = call.clone();
        let contact = match (status, self.moved_to, Text::read(&call.invite)) {
            (300..400, Some(place), Ok(invite)) => {
                let number = invite.uri().trim_start_matches("sip:").split('@').next().unwrap_or_default();
                format!("Contact: <sip:{number}@{place}>\r\n")
            }
            _ => String::new(),
        };
        self.respond_invite(&call, status, &contact, "");
        self.end(id);
    }

    /// 200 to the INVITE, again until the ACK comes (RFC 3261 §13.3.1.4).
    pub(super) fn answer(&mut self, id: &str) {
        if self.answer_waits(id) {
            return;
        }
        let port = self.open_media(id);
        let invite = self.calls.get(id).map(|call| call.invite.clone()).unwrap_or_default();
        let mut body = self.write_answer(id, port, 1, &invite);
        let lines = self.grant(id);
        let Some(call) = self.calls.get_mut(id) else { return };
        if call.extras.agreed {
            // Said reliably before (RFC 3262 §5).
            body.clear();
        }
        call.state = State::Talking;
        call.answered = Some(self.now);
        call.outcome = Outcome::Answered;
        let call = call.clone();
        let bytes = self.respond_invite(&call, 200, &lines, &body);
        if let Ok(invite) = Text::read(&call.invite) {
            self.learn_media(id, &invite, &call.invite);
        }
        self.await_ack(id, call.way, call.invite_cseq, bytes);
        self.answer_twice(id, &body);
    }

    /// Repeats a 2xx until its ACK comes.
    pub(super) fn await_ack(&mut self, id: &str, way: Way, cseq: u32, bytes: Vec<u8>) {
        let until = self.now + GIVE_UP;
        if let Some(call) = self.calls.get_mut(id) {
            call.unacked.insert(cseq, Unacked { bytes, way, interval: T1, until });
        }
        self.after(T1, Timer::Resend2xx(id.to_owned(), cseq));
    }

    pub(super) fn resend_2xx(&mut self, id: String, cseq: u32) {
        let now = self.now;
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Some(unacked) = call.unacked.get_mut(&cseq) else { return };
        if now >= unacked.until {
            call.unacked.remove(&cseq);
            call.acked.push(cseq);
            let serial = call.serial;
            let excused = call.bye_received;
            if !excused {
                self.gap(format!("2xx {cseq} of call {serial} was never acknowledged"));
                self.hang_up(&id);
            }
            return;
        }
        unacked.interval = (unacked.interval * 2).min(T2);
        let (way, bytes, interval) = (unacked.way, unacked.bytes.clone(), unacked.interval);
        self.send(way, &bytes);
        self.after(interval, Timer::Resend2xx(id, cseq));
    }

    pub(super) fn resend_final(&mut self, branch: String) {
        let now = self.now;
        let Some(server) = self.servers.get_mut(&(branch.clone(), "INVITE".to_owned())) else { return };
        if !server.waits_for_ack {
            return;
        }
        if now >= server.until {
            server.waits_for_ack = false;
            let (status, call) = (server.status, server.call.clone());
            self.gap(format!("{status} of {call} was never acknowledged"));
            return;
        }
        server.interval = (server.interval * 2).min(T2);
        let (way, bytes, interval) =
            (server.way, server.response.clone().unwrap_or_default(), server.interval);
        if way.is_udp() {
            self.send(way, &bytes);
        }
        self.after(interval, Timer::ResendFinal(branch));
    }
}
