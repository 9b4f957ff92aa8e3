//! What a scripted peer knows beyond RFC 3261: reliable provisional responses (RFC 3262), UPDATE (RFC 3311), session
//! timers (RFC 4028); and what it holds against the other side there.

use super::call::{Call, Client, State};
use super::script::{Inside, Role, Skills};
use super::text::{parameter, uri_of};
use super::{GIVE_UP, Peer, Step, T1, Text, Timer};
use sansio::Time;
use std::collections::VecDeque;
use std::fmt::Write;
use std::time::Duration;

/// What a call has to remember of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Extras {
    /// Carrier: number, bytes, whether a session is described, when to give up; the interval.
    open: Option<(u32, Vec<u8>, Time, Duration)>,
    waiting: VecDeque<(u16, String)>,
    next: u32,
    answer_waits: bool,
    /// A session was described in a reliable response that counts.
    pub(super) agreed: bool,
    /// Caller: the number of the last reliable response.
    heard: Option<u32>,
    /// What the next PRACK acknowledges.
    rack: String,
    /// Seconds of the session, whether this peer refreshes, since when it stands.
    session: Option<(u32, bool, Time)>,
    refreshing: bool,
    pub(super) refreshes: u32,
}

impl Skills {
    pub(super) const fn allow(self) -> &'static str {
        match (self.reliable, self.update) {
            (false, false) => "INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, MESSAGE",
            (true, false) => "INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, MESSAGE, PRACK",
            (false, true) => "INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, MESSAGE, UPDATE",
            (true, true) => "INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, MESSAGE, PRACK, UPDATE",
        }
    }

    const fn supported(self) -> &'static str {
        match (self.reliable, self.session) {
            (false, None) => "",
            (true, None) => "Supported: 100rel\r\n",
            (false, Some(_)) => "Supported: timer\r\n",
            (true, Some(_)) => "Supported: timer, 100rel\r\n",
        }
    }
}

fn lists(text: &Text, name: &str, tag: &str) -> bool {
    text.all(name).any(|value| value.split(',').any(|one| one.trim() == tag))
}

impl Call {
    /// The header lines of a request of ours.
    pub(super) fn write_extras(&self, head: &mut String, method: &str) {
        let skills = self.skills();
        match method {
            "INVITE" | "UPDATE" => {
                head.push_str(skills.supported());
                let Some(asked) = skills.session else { return };
                let by = match self.extras.session {
                    Some((_, true, _)) => "uac",
                    Some((_, false, _)) => "uas",
                    None if skills.refreshes => "uac",
                    None => "uas",
                };
                let interval = self.extras.session.map_or(asked, |session| session.0);
                let interval = interval.max(self.min_se.unwrap_or(0));
                // Writing to a String does not fail.
                let _ = write!(head, "Session-Expires: {interval};refresher={by}\r\n");
                if let Some(least) = self.min_se {
                    let _ = write!(head, "Min-SE: {least}\r\n");
                }
            }
            "PRACK" => {
                let _ = write!(head, "RAck: {}\r\n", self.extras.rack);
            }
            _ => {}
        }
    }
}

impl Peer {
    /// Sends a provisional response reliably, if both sides know of that.
    pub(super) fn provisional_reliable(&mut self, id: &str, status: u16, body: &str) -> bool {
        let Some(call) = self.calls.get_mut(id) else { return false };
        let asked = Text::read(&call.invite).is_ok_and(|invite| lists(&invite, "Supported", "100rel"));
        if status == 100 || !asked || !call.skills().reliable || !call.offered {
            return false;
        }
        call.extras.waiting.push_back((status, body.to_owned()));
        self.reliable_next(id);
        true
    }

    fn reliable_next(&mut self, id: &str) {
        let random = 1 + self.random.below(1000) as u32;
        let Some(call) = self.calls.get_mut(id) else { return };
        if call.extras.open.is_some() || call.state != State::Inviting {
            return;
        }
        let Some((status, body)) = call.extras.waiting.pop_front() else {
            if std::mem::take(&mut call.extras.answer_waits) {
                self.answer(id);
            }
            return;
        };
        if call.extras.next == 0 {
            call.extras.next = random;
        }
        let number = call.extras.next;
        call.extras.next += 1;
        call.extras.agreed |= !body.is_empty();
        let lines = format!("Require: 100rel\r\nRSeq: {number}\r\nAllow: {}\r\n", call.skills().allow());
        let call = call.clone();
        let bytes = self.respond_invite(&call, status, &lines, &body);
        let until = self.now + GIVE_UP;
        if let Some(call) = self.calls.get_mut(id) {
            call.extras.open = Some((number, bytes, until, T1));
        }
        self.after(T1, Timer::ResendReliable(id.to_owned(), number));
    }

    pub(super) fn resend_reliable(&mut self, id: String, number: u32) {
        let now = self.now;
        let Some(call) = self.calls.get_mut(&id) else { return };
        let (serial, way, inviting) = (call.serial, call.way, call.state == State::Inviting);
        let Some((open, bytes, until, interval)) = call.extras.open.as_mut() else { return };
        if *open != number || !inviting {
            return;
        }
        if now >= *until {
            call.extras.open = None;
            self.gap(format!("a provisional response of call {serial} was never acknowledged"));
            self.refuse(&id, 504);
            return;
        }
        *interval *= 2;
        let (bytes, interval) = (bytes.clone(), *interval);
        self.send(way, &bytes);
        self.after(interval, Timer::ResendReliable(id, number));
    }

    /// Whether the answer has to wait for a PRACK (RFC 3262 §3); it follows by itself then.
    pub(super) fn answer_waits(&mut self, id: &str) -> bool {
        let Some(call) = self.calls.get_mut(id) else { return true };
        call.extras.answer_waits = call.extras.open.is_some();
        call.extras.answer_waits
    }

    pub(super) fn pracked(&mut self, key: &(String, String), id: &str, text: &Text, bytes: &[u8]) {
        let Some(call) = self.calls.get_mut(id) else { return };
        let mut words = text.field("RAck").split(' ');
        let number = words.next().and_then(|word| word.parse::<u32>().ok());
        let fits =
            words.next() == Some(call.invite_cseq.to_string().as_str()) && words.next() == Some("INVITE");
        let open = call.extras.open.as_ref().map(|open| open.0);
        let over = call.state == State::Ended;
        if !fits || number.is_none_or(|number| number >= call.extras.next) {
            self.fault("a PRACK for what was never sent", bytes);
            return self.reply(key, text, 481);
        }
        if open != number {
            if !over {
                self.fault("a second PRACK", bytes);
            }
            return self.reply(key, text, 481);
        }
        call.extras.open = None;
        self.reply(key, text, 200);
        self.reliable_next(id);
    }

    /// A provisional response to our INVITE: whether it is to be heard now (RFC 3262 §4).
    pub(super) fn reliable_progress(&mut self, client: &Client, text: &Text, bytes: &[u8]) -> bool {
        if !lists(text, "Require", "100rel") {
            return true;
        }
        let number = text.get("RSeq").and_then(|value| value.parse::<u32>().ok());
        let Some(call) = self.calls.get_mut(&client.call) else { return false };
        let (skilled, last, inviting) =
            (call.skills().reliable, call.extras.heard, call.state == State::Inviting);
        let Some(number) = number.filter(|number| *number > 0 && skilled) else {
            self.fault(
                "a reliable provisional response without number, or to who does not know of it",
                bytes,
            );
            return false;
        };
        if !inviting || last.is_some_and(|last| number != last + 1) {
            return false;
        }
        call.extras.heard = Some(number);
        call.extras.agreed |= !text.body.is_empty() && call.offered;
        call.extras.rack = format!("{number} {} INVITE", client.cseq);
        text.field("To").clone_into(&mut call.remote);
        uri_of(text.field("Contact")).clone_into(&mut call.target);
        self.begin_inside(&client.call, "PRACK", "");
        true
    }

    pub(super) fn prack_done(&mut self, client: &Client, status: u16, bytes: &[u8]) {
        let inviting = self.calls.get(&client.call).is_some_and(|call| call.state == State::Inviting);
        // The call may have been refused or given up in the meantime.
        if status != 200 && inviting && status != 481 {
            self.fault("a PRACK that was not answered 200", bytes);
        }
    }

    /// What this peer grants in its 2xx to the INVITE.
    pub(super) fn grant(&mut self, id: &str) -> String {
        let Some(call) = self.calls.get(id) else { return String::new() };
        let Ok(invite) = Text::read(&call.invite) else { return String::new() };
        let allow = format!("Allow: {}\r\n", call.skills().allow());
        allow + &self.grant_again(id, &invite)
    }

    /// The same to an INVITE or UPDATE of the other side's inside the call.
    pub(super) fn grant_again(&mut self, id: &str, request: &Text) -> String {
        let now = self.now;
        let Some(call) = self.calls.get_mut(id) else { return String::new() };
        let skills = call.skills();
        let field = request.field("Session-Expires");
        let asked = field.split(';').next().and_then(|value| value.trim().parse::<u32>().ok());
        let (Some(most), Some(asked)) = (skills.session, asked) else { return String::new() };
        let interval = most.min(asked);
        let mine = match parameter(field, "refresher") {
            Some(by) => by == "uas",
            None => skills.refreshes,
        };
        if call.extras.session.is_some() {
            call.extras.refreshes += 1;
        }
        call.extras.session = Some((interval, mine, now));
        self.session_watch(id);
        let (by, require) = if mine { ("uas", "") } else { ("uac", "Require: timer\r\n") };
        format!("Session-Expires: {interval};refresher={by}\r\n{require}")
    }

    /// A 2xx of the other side's says what is agreed.
    pub(super) fn session_agreed(&mut self, id: &str, text: &Text, again: bool) {
        let now = self.now;
        let Some(call) = self.calls.get_mut(id) else { return };
        let field = text.field("Session-Expires");
        let granted = field.split(';').next().and_then(|value| value.trim().parse::<u32>().ok());
        call.extras.refreshing = false;
        let Some(interval) = granted.filter(|_| call.skills().session.is_some()) else {
            call.extras.session = None;
            return;
        };
        let by = parameter(field, "refresher").map(str::to_owned);
        let most = call.skills().session.unwrap_or(0).max(call.min_se.unwrap_or(90)).max(90);
        let wrong = by.is_none() || interval > most;
        if call.extras.session.is_some() && again {
            call.extras.refreshes += 1;
        }
        call.extras.session = Some((interval, by.as_deref() == Some("uac"), now));
        self.session_watch(id);
        if wrong {
            self.fault("Session-Expires without refresher, or longer than asked for", field.as_bytes());
        }
    }

    fn session_watch(&mut self, id: &str) {
        let Some(call) = self.calls.get(id) else { return };
        let Some((interval, mine, _)) = call.extras.session else { return };
        if mine && !call.skills().forgets {
            self.schedule(id, Some(Duration::from_secs(u64::from(interval) / 2)), Step::Refresh);
        }
        self.schedule(id, Some(Duration::from_secs(interval.into())), Step::Expire);
    }

    /// The session is refreshed by this peer.
    pub(super) fn refresh(&mut self, id: &str) {
        let now = self.now;
        let Some(call) = self.calls.get(id) else { return };
        let Some((interval, true, since)) = call.extras.session else { return };
        if now.since(since) < Duration::from_secs(u64::from(interval) / 2) || call.bye_sent {
            return; // refreshed in the meantime
        }
        if call.extras.refreshing || call.reinvite_out.is_some() || !call.unacked.is_empty() {
            self.schedule(id, Some(Duration::from_secs(2)), Step::Refresh);
            return;
        }
        let (update, version) = (call.skills().update, call.sdp_version);
        let body = if update {
            String::new()
        } else {
            let port = self.open_media(id);
            self.write_sdp(id, port, version)
        };
        if let Some(call) = self.calls.get_mut(id) {
            call.extras.refreshing = true;
        }
        self.begin_inside(id, if update { "UPDATE" } else { "INVITE" }, &body);
    }

    /// The session has had its time: the other side must not have let it run out (RFC 4028 §10).
    pub(super) fn expire(&mut self, id: &str) {
        let now = self.now;
        let Some(call) = self.calls.get(id) else { return };
        let Some((interval, _, since)) = call.extras.session else { return };
        if now.since(since) < Duration::from_secs(interval.into()) || call.bye_sent {
            return;
        }
        let what = format!("the session of call {} ran out: {:?}", call.serial, call.extras);
        self.fault(&what, b"");
    }

    /// UPDATE of the other side's.
    pub(super) fn updated(&mut self, key: &(String, String), id: &str, text: &Text, bytes: &[u8]) {
        let Some(call) = self.calls.get(id) else { return };
        if !call.skills().update {
            self.fault("an UPDATE to who does not know of it", bytes);
            return self.reply(key, text, 405);
        }
        if call.state != State::Talking {
            return self.reply(key, text, 481);
        }
        let way = call.way;
        let lines = self.grant_again(id, text);
        let contact = format!("{lines}Contact: {}\r\n", self.contact(way));
        let response = self.write_response_with(way, text, 200, "", &contact, "");
        self.conclude(key, 200, &response);
    }

    pub(super) fn update_done(&mut self, client: &Client, text: &Text, bytes: &[u8], status: u16) {
        let Some(call) = self.calls.get_mut(&client.call) else { return };
        call.extras.refreshing = false;
        let (talking, caller) = (call.state == State::Talking, call.role == Role::Caller);
        if call.doings.pending == Some(Inside::Update) {
            // Refused for now, it is tried once more.
            match status {
                200 => {
                    call.doings.pending = None;
                    call.doings.served += 1;
                }
                491 | 500 | 503 if talking => {
                    call.doings.pending = None;
                    call.doings.begun -= 1;
                    let wait = Duration::from_secs(if caller { 3 } else { 1 });
                    self.schedule(&client.call, Some(wait), Step::Inside(Inside::Update));
                }
                _ => {}
            }
        }
        match status {
            200 => self.session_agreed(&client.call, text, true),
            491 | 500 | 503 if talking => {
                let wait = if caller { 3000 } else { 1000 };
                self.schedule(&client.call, Some(Duration::from_millis(wait)), Step::Refresh);
            }
            481 => {}
            _ if talking => self.fault("an UPDATE that was refused", bytes),
            _ => {}
        }
    }
}
