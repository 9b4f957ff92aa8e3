//! A scripted peer as a phone that registers, and as the registrar of a carrier (RFC 3261 §10).

use super::call::Client;
use super::digest;
use super::script::{PhonePlan, Wiring};
use super::transport::Way;
use super::{Peer, Text, Timer};
use sansio::{StreamId, Time};
use std::fmt::Write;
use std::time::Duration;

/// How long a phone waits after a REGISTER that came to nothing, or after its flow was lost.
const PAUSE: Duration = Duration::from_secs(5);
/// Where a phone behind a NAT says it is.
const PRIVATE: &str = "192.168.1.7:5060";
/// What a phone with flows is called (RFC 5626 §4.1).
const INSTANCE: &str = "<urn:uuid:00000000-0000-1000-8000-000A95A0E128>";

/// How a phone's registration stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The end of its binding as the last 200 said.
    pub until: Option<Time>,
    /// REGISTER requests answered with 200.
    pub granted: u32,
    /// Those that failed or were refused for good.
    pub failed: u32,
    /// Whether it took its binding back, and that was confirmed.
    pub left: bool,
}

/// A phone of a peer.
#[derive(Debug)]
pub(super) struct Phone {
    plan: PhonePlan,
    call_id: String,
    tag: String,
    cseq: u32,
    expires: u32,
    /// The way it registered last.
    way: Option<Way>,
    leaving: bool,
    /// A request is under way.
    asking: bool,
    standing: Standing,
}

fn number_of(id: &str) -> Option<usize> {
    id.strip_prefix("phone-")?.split('-').next()?.parse().ok()
}

impl Peer {
    /// Lets a peer register as a phone.
    pub fn add_phone(&mut self, plan: PhonePlan) {
        let number = self.phones.len();
        let (call_id, tag) = (self.token(&format!("phone-{number}-")), self.token("pt"));
        let (expires, standing) = (plan.expires, Standing::default());
        let phone = Phone {
            plan,
            call_id,
            tag,
            cseq: 0,
            expires,
            way: None,
            leaving: false,
            asking: false,
            standing,
        };
        self.phones.push(phone);
        self.at(plan.at, Timer::Register(number));
        if let Some(leave) = plan.leave {
            self.at(leave, Timer::Leave(number));
        }
    }

    /// How its phones stand, in the order they were added.
    pub fn standings(&self) -> Vec<Standing> {
        self.phones.iter().map(|phone| phone.standing).collect()
    }

    /// Addresses of record that are bound here at a time.
    pub fn bound(&self, now: Time) -> usize {
        self.bindings.values().filter(|until| **until > now).count()
    }

    pub(super) fn register(&mut self, number: usize) {
        self.ask(number, "");
    }

    pub(super) fn leave(&mut self, number: usize) {
        let Some(phone) = self.phones.get_mut(number) else { return };
        (phone.leaving, phone.expires) = (true, 0);
        self.ask(number, "");
    }

    fn ask(&mut self, number: usize, credentials: &str) {
        let branch = self.token("z9hG4bKr");
        let Some(phone) = self.phones.get(number) else { return };
        if phone.asking || phone.standing.left {
            return; // RFC 3261 §10.2: no second one while the first is under way; what waits follows it
        }
        let plan = phone.plan;
        let way = self.way(plan.to, plan.wiring == Wiring::Flow);
        let transport = self.transport(way);
        let contact = self.phone_contact(plan);
        let Some(phone) = self.phones.get_mut(number) else { return };
        (phone.asking, phone.way) = (true, Some(way));
        phone.cseq += 1;
        let (cseq, expires) = (phone.cseq, phone.expires);
        let (call_id, tag) = (phone.call_id.clone(), phone.tag.clone());
        let user = plan.login.user;
        let mut text = format!(
            "REGISTER sip:{to} SIP/2.0\r\nVia: SIP/2.0/{transport} {us};branch={branch};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:{user}@{to}>;tag={tag}\r\nTo: <sip:{user}@{to}>\r\nCall-ID: {call_id}\r\n\
             CSeq: {cseq} REGISTER\r\nContact: {contact}\r\nExpires: {expires}\r\n",
            to = plan.to,
            us = if plan.wiring == Wiring::BehindNat { PRIVATE.to_owned() } else { self.address.to_string() },
        );
        if plan.wiring == Wiring::Flow {
            text.push_str("Supported: outbound\r\n");
        }
        // Writing to a String does not fail.
        let _ = write!(text, "{credentials}Content-Length: 0\r\n\r\n");
        self.begin(&call_id, way, "REGISTER", cseq, branch, text.into_bytes());
    }

    fn phone_contact(&self, plan: PhonePlan) -> String {
        let (user, us) = (plan.login.user, self.address);
        match plan.wiring {
            Wiring::Plain => format!("<sip:{user}@{us}>"),
            Wiring::BehindNat => format!("<sip:{user}@{PRIVATE}>"),
            Wiring::Flow => {
                let transport = if self.tls { "tls" } else { "tcp" };
                format!("<sip:{user}@{us};transport={transport}>;reg-id=1;+sip.instance=\"{INSTANCE}\"")
            }
        }
    }

    /// A connection is gone: a phone that registered over it as a flow does so again (RFC 5626 §4.5).
    pub(super) fn flow_lost(&mut self, stream: StreamId) {
        let now = self.now;
        let over = |phone: &Phone| matches!(phone.way, Some(Way::Tcp(own, _)) if own == stream);
        let lost: Vec<usize> = (0..self.phones.len()).filter(|number| over(&self.phones[*number])).collect();
        for number in lost {
            self.phones[number].way = None;
            self.at(now + PAUSE, Timer::Register(number));
        }
    }

    /// No answer came.
    pub(super) fn register_failed(&mut self, id: &str) {
        let now = self.now;
        let Some(number) = number_of(id) else { return };
        let Some(phone) = self.phones.get_mut(number) else { return };
        phone.asking = false;
        phone.standing.failed += 1;
        self.at(now + PAUSE, Timer::Register(number));
    }

    pub(super) fn register_done(&mut self, client: &Client, text: &Text, bytes: &[u8], status: u16) {
        let now = self.now;
        let cnonce = self.token("cn");
        let Some(number) = number_of(&client.call) else { return };
        let Some(phone) = self.phones.get_mut(number) else { return };
        phone.asking = false;
        let tried = client.bytes.windows(15).any(|window| window == b"\r\nAuthorization");
        match status {
            200 => {
                let own = self.phone_contact(self.phones[number].plan);
                let own = super::text::uri_of(&own);
                let listed = text.all("Contact").any(|contact| super::text::uri_of(contact) == own);
                let Some(phone) = self.phones.get_mut(number) else { return };
                phone.standing.granted += 1;
                // A REGISTER that was under way when the phone left is followed by the one that it leaves with.
                let asked_to_leave = String::from_utf8_lossy(&client.bytes).contains("\r\nExpires: 0\r\n");
                if asked_to_leave {
                    (phone.standing.left, phone.standing.until) = (true, None);
                } else {
                    let left = u64::from(phone.expires);
                    phone.standing.until = Some(now + Duration::from_secs(left));
                }
                let refresh = phone.plan.refresh.filter(|_| !phone.leaving);
                let leaves = phone.leaving && !asked_to_leave;
                if listed == asked_to_leave {
                    self.fault("a 200 to REGISTER that does not list what is bound", bytes);
                }
                if let Some(refresh) = refresh {
                    self.at(now + refresh, Timer::Register(number));
                }
                if leaves {
                    self.ask(number, "");
                }
            }
            401 | 407 if !tried || text.all("WWW-Authenticate").any(|it| it.contains("stale=true")) => {
                let (login, to) = (phone.plan.login, phone.plan.to);
                match digest::answer(login, "REGISTER", &format!("sip:{to}"), text, &cnonce) {
                    Some(line) => self.ask(number, &line),
                    None => self.fault("a challenge that cannot be answered", bytes),
                }
            }
            423 => {
                match text.field("Min-Expires").parse() {
                    Ok(least) if least > phone.expires && !phone.leaving => phone.expires = least,
                    _ => return self.fault("423 without a longer Min-Expires", bytes),
                }
                self.ask(number, "");
            }
            _ => {
                phone.standing.failed += 1;
                self.at(now + PAUSE, Timer::Register(number));
            }
        }
    }

    /// REGISTER of the other side's.
    pub(super) fn registers(&mut self, key: &(String, String), text: &Text, bytes: &[u8]) {
        let Some(habit) = self.registrar else {
            self.fault("a REGISTER to who is no registrar", bytes);
            return self.reply(key, text, 405);
        };
        if habit.failures > 0 {
            self.registrar = Some(super::RegistrarHabit { failures: habit.failures - 1, ..habit });
            return self.reply(key, text, 503);
        }
        let (status, lines) = if self.shows(habit.login, text, "Authorization", bytes) {
            if habit.fresh_nonces && !self.spent_nonces.insert(digest::nonce(text).to_owned()) {
                let stale =
                    self.challenge("WWW-Authenticate").replace(", algorithm", ", stale=true, algorithm");
                return self.reply_with(key, text, 401, &stale);
            }
            let contact = text.field("Contact");
            let asked = super::text::parameter(contact, "expires").or_else(|| text.get("Expires"));
            let seconds = asked.and_then(|it| it.parse::<u32>().ok()).unwrap_or(3600).min(habit.grants);
            if seconds > 0 && seconds < habit.least {
                return self.reply_with(key, text, 423, &format!("Min-Expires: {}\r\n", habit.least));
            }
            let until = self.now + Duration::from_secs(seconds.into());
            self.bindings.insert(super::text::uri_of(text.field("To")).to_owned(), until);
            let uri = super::text::uri_of(contact);
            let listed = format!("Contact: <{uri}>;expires={seconds}\r\n");
            (200, if seconds == 0 { String::new() } else { listed })
        } else {
            (401, self.challenge("WWW-Authenticate"))
        };
        self.reply_with(key, text, status, &lines);
    }
}
