//! What a scripted peer sends and answers outside of calls: MESSAGE, OPTIONS, PUBLISH, and subscriptions on either side.

use super::call::Client;
use super::digest;
use super::script::ErrandPlan;
use super::text::{place_of, uri_of};
use super::transport::Way;
use super::{Peer, Text, Timer};
use std::collections::BTreeMap;

/// What the bodies of the package message-summary are (RFC 3842).
pub(super) const SUMMARY: &str = "application/simple-message-summary";
/// How the Call-IDs of a peer's own requests outside of calls begin.
const PREFIX: &str = "errand-";

/// Something that a peer sends outside of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand {
    /// MESSAGE (RFC 3428).
    Message,
    /// OPTIONS (RFC 3261 §11).
    Options,
    /// PUBLISH of a state that holds for so many seconds (RFC 3903).
    Publish(u32),
    /// SUBSCRIBE for so many seconds (RFC 6665): the first begins the subscription, 0 ends it.
    Subscribe(u32),
    /// As notifier: a NOTIFY with this state of the subscription.
    Notify(&'static str),
    /// A NOTIFY that nobody subscribed to: messages wait (RFC 3842).
    Waiting,
}

impl Errand {
    const fn method(self) -> &'static str {
        match self {
            Self::Message => "MESSAGE",
            Self::Options => "OPTIONS",
            Self::Publish(_) => "PUBLISH",
            Self::Subscribe(_) => "SUBSCRIBE",
            Self::Notify(_) | Self::Waiting => "NOTIFY",
        }
    }
}

/// What came of requests outside of calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Methods and final statuses of its own requests, in the order of the answers; 0: there was none.
    pub answers: Vec<(String, u16)>,
    /// What others asked or told: the method, and the state or the seconds that came with it.
    pub heard: Vec<(String, String)>,
}

/// A dialog of a subscription.
#[derive(Clone, Debug)]
struct Usage {
    local: String,
    remote: String,
    target: String,
    cseq: u32,
    heard: u32,
    /// Whether this peer notifies.
    notifies: bool,
}

/// What a peer knows of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Errands {
    plans: Vec<ErrandPlan>,
    usages: BTreeMap<String, Usage>,
    /// The subscription that it began, and the one that it notifies of last.
    began: Option<String>,
    notifies: Option<String>,
    /// The name of what it published last (RFC 3903 §4.1).
    etag: String,
    /// Credentials that were answered once.
    tried: bool,
    news: News,
}

impl Peer {
    /// Has a peer send something outside of calls.
    pub fn add_errand(&mut self, plan: ErrandPlan) {
        let number = self.errands.plans.len();
        self.errands.plans.push(plan);
        self.at(plan.at, Timer::Errand(number));
    }

    /// What came of that, and what others sent to it.
    pub const fn news(&self) -> &News {
        &self.errands.news
    }

    pub(super) fn is_errand(&self, call_id: &str) -> bool {
        call_id.starts_with(PREFIX) || self.errands.usages.contains_key(call_id)
    }

    pub(super) fn run_errand(&mut self, number: usize) {
        let Some(plan) = self.errands.plans.get(number).copied() else { return };
        self.errands.tried = false;
        self.send_errand(&plan, "");
    }

    fn send_errand(&mut self, plan: &ErrandPlan, credentials: &str) {
        let method = plan.what.method();
        let (own, branch) = (self.token(PREFIX), self.token("z9hG4bKo"));
        let standing = match plan.what {
            Errand::Subscribe(_) => self.errands.began.clone(),
            Errand::Notify(_) => self.errands.notifies.clone(),
            _ => None,
        };
        if standing.is_none() && matches!(plan.what, Errand::Notify(_)) {
            return; // nobody has subscribed
        }
        let id = standing.unwrap_or_else(|| own.clone());
        let user = plan.login.map_or("errands", |login| login.user);
        let fresh = Usage {
            local: format!("<sip:{user}@{}>;tag=e{own}", self.host()),
            remote: format!("<sip:{}@{}>", plan.number, plan.to),
            target: format!("sip:{}@{}", plan.number, plan.to),
            cseq: 0,
            heard: 0,
            notifies: false,
        };
        let lasting = matches!(plan.what, Errand::Subscribe(_));
        let usage = self.errands.usages.entry(id.clone()).or_insert(fresh);
        usage.cseq += 1;
        let usage = usage.clone();
        if !lasting && !usage.notifies {
            self.errands.usages.remove(&id);
        }
        if lasting {
            self.errands.began = Some(id.clone());
        }
        let (lines, body) = self.errand_fields(plan);
        let to = place_of(&usage.target).map_or(plan.to, |place| place.0);
        let bytes = format!(
            "{method} {} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch={branch};rport\r\nMax-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\n\
             Call-ID: {id}\r\nCSeq: {} {method}\r\n{credentials}{lines}Content-Length: {}\r\n\r\n{body}",
            usage.target,
            self.address,
            usage.local,
            usage.remote,
            usage.cseq,
            body.len()
        );
        self.begin(&id, Way::Udp(to), method, usage.cseq, branch, bytes.into_bytes());
    }

    /// The header lines and the body of a request.
    fn errand_fields(&self, plan: &ErrandPlan) -> (String, &'static str) {
        let contact = format!("Contact: <sip:errands@{}>\r\n", self.address);
        let etag = match self.errands.etag.as_str() {
            "" => String::new(),
            etag => format!("SIP-If-Match: {etag}\r\n"),
        };
        match plan.what {
            Errand::Message => (String::from("Content-Type: text/plain\r\n"), "call me back"),
            Errand::Options => (format!("Accept: application/sdp\r\n{contact}"), ""),
            Errand::Publish(seconds) => (format!("Event: presence\r\nExpires: {seconds}\r\n{etag}"), ""),
            Errand::Subscribe(seconds) => (format!("Event: presence\r\nExpires: {seconds}\r\n{contact}"), ""),
            Errand::Notify(state) => {
                (format!("Event: presence\r\nSubscription-State: {state}\r\n{contact}"), "")
            }
            Errand::Waiting => (
                format!(
                    "Event: message-summary\r\nSubscription-State: active;expires=3600\r\nContent-Type: {SUMMARY}\r\n{contact}"
                ),
                "Messages-Waiting: yes\r\n",
            ),
        }
    }

    /// No answer came, and none will.
    pub(super) fn errand_failed(&mut self, method: &str) {
        self.errands.news.answers.push((method.to_owned(), 0));
    }

    pub(super) fn errand_done(&mut self, client: &Client, text: &Text, bytes: &[u8], status: u16) {
        if matches!(status, 401 | 407) && !self.errands.tried {
            let cnonce = self.token("cn");
            let uri = Text::read(&client.bytes).map(|request| request.uri().to_owned()).unwrap_or_default();
            let fits = |plan: &&ErrandPlan| plan.what.method() == client.method && plan.at <= self.now;
            let plan = self.errands.plans.iter().rfind(fits).copied();
            let line = plan
                .and_then(|plan| digest::answer(plan.login?, &client.method, &uri, text, &cnonce))
                .zip(plan);
            if let Some((line, plan)) = line {
                self.errands.tried = true;
                return self.send_errand(&plan, &line);
            }
        }
        self.errands.news.answers.push((client.method.clone(), status));
        if let Some(etag) = text.get("SIP-ETag") {
            etag.clone_into(&mut self.errands.etag);
        } else if client.method == "PUBLISH" && status == 200 {
            self.fault("a 200 to PUBLISH without SIP-ETag", bytes);
        }
        let Some(usage) = self.errands.usages.get_mut(&client.call) else { return };
        if client.method == "SUBSCRIBE" && status < 300 {
            text.field("To").clone_into(&mut usage.remote);
            uri_of(text.field("Contact")).clone_into(&mut usage.target);
        }
    }

    /// MESSAGE, PUBLISH or SUBSCRIBE of the other side's.
    pub(super) fn asked(&mut self, key: &(String, String), text: &Text, bytes: &[u8]) {
        let method = text.method().to_owned();
        let seconds = text.field("Expires").to_owned();
        let id = text.field("Call-ID").to_owned();
        let inside = text.tag("To").is_some();
        if inside && !self.errands.usages.contains_key(&id) {
            if !self.lenient {
                self.fault("a SUBSCRIBE in an unknown dialog", bytes);
            }
            return self.reply(key, text, 481);
        }
        self.errands.news.heard.push((method.clone(), seconds.clone()));
        if self.answers_errands >= 300 {
            return self.reply(key, text, self.answers_errands);
        }
        match method.as_str() {
            "MESSAGE" => self.reply(key, text, 200),
            "PUBLISH" => {
                self.errands.etag = self.token("etag");
                let lines = format!("Expires: {seconds}\r\nSIP-ETag: {}\r\n", self.errands.etag);
                self.reply_with(key, text, 200, &lines);
            }
            _ => self.subscribe_asked(key, text, bytes, (&id, &seconds)),
        }
    }

    fn subscribe_asked(
        &mut self,
        key: &(String, String),
        text: &Text,
        bytes: &[u8],
        (id, seconds): (&str, &str),
    ) {
        let tag = self.token("et");
        let usage = self.errands.usages.entry(id.to_owned()).or_insert_with(|| Usage {
            local: format!("{};tag={tag}", text.field("To")),
            remote: text.field("From").to_owned(),
            target: uri_of(text.field("Contact")).to_owned(),
            cseq: 0,
            heard: 0,
            notifies: true,
        });
        let grows = text.cseq().0 > usage.heard;
        usage.heard = usage.heard.max(text.cseq().0);
        let own = usage.local.split(";tag=").nth(1).unwrap_or_default().to_owned();
        self.errands.notifies = Some(id.to_owned());
        if !grows && !self.lenient {
            self.fault("a SUBSCRIBE whose CSeq does not grow", bytes);
        }
        // The NOTIFY goes before the answer: it races it (RFC 6665 §4.2.1.2).
        let state = match seconds {
            "0" => String::from("terminated;reason=timeout"),
            _ => format!("active;expires={seconds}"),
        };
        self.notify(id, &state);
        let Some(way) = self.servers.get(key).map(|server| server.way) else { return };
        let lines = format!("Expires: {seconds}\r\nContact: <sip:errands@{}>\r\n", self.address);
        let response = self.write_response_with(way, text, 200, &own, &lines, "");
        self.conclude(key, 200, &response);
    }

    fn notify(&mut self, id: &str, state: &str) {
        let branch = self.token("z9hG4bKo");
        let Some(usage) = self.errands.usages.get_mut(id) else { return };
        usage.cseq += 1;
        let Usage { local, remote, target, cseq, .. } = usage.clone();
        let Some((to, _)) = place_of(&target) else { return };
        let bytes = format!(
            "NOTIFY {target} SIP/2.0\r\nVia: SIP/2.0/UDP {us};branch={branch};rport\r\nMax-Forwards: 70\r\nFrom: {local}\r\n\
             To: {remote}\r\nCall-ID: {id}\r\nCSeq: {cseq} NOTIFY\r\nContact: <sip:errands@{us}>\r\nEvent: presence\r\n\
             Subscription-State: {state}\r\nContent-Length: 0\r\n\r\n",
            us = self.address
        );
        self.begin(id, Way::Udp(to), "NOTIFY", cseq, branch, bytes.into_bytes());
    }

    /// Whether a NOTIFY is of a subscription of this peer's, or of none.
    pub(super) fn subscribed(&self, text: &Text) -> bool {
        text.tag("To").is_none() || self.errands.usages.contains_key(text.field("Call-ID"))
    }

    /// A NOTIFY of a subscription, or one that nobody asked for.
    pub(super) fn notice(&mut self, key: &(String, String), text: &Text, bytes: &[u8]) {
        let state = text.field("Subscription-State").to_owned();
        let mut wrong = None;
        if text.tag("To").is_some()
            && let Some(usage) = self.errands.usages.get_mut(text.field("Call-ID"))
        {
            // It may come before the answer to our SUBSCRIBE (RFC 6665 §4.1.2.4).
            text.field("From").clone_into(&mut usage.remote);
            uri_of(text.field("Contact")).clone_into(&mut usage.target);
            if text.cseq().0 <= usage.heard {
                wrong = Some("a NOTIFY whose CSeq does not grow");
            }
            if text.tag("To") != usage.local.split(";tag=").nth(1) {
                wrong = Some("a NOTIFY with wrong tags");
            }
            usage.heard = usage.heard.max(text.cseq().0);
        }
        if let Some(wrong) = wrong.filter(|_| !self.lenient) {
            self.fault(wrong, bytes);
        }
        self.errands.news.heard.push(("NOTIFY".to_owned(), state));
        self.reply(key, text, 200);
    }
}
