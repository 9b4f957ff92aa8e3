//! One request outside of calls on its way: to one phone or peer after the other until one answers it.

mod answers;

use super::subscription::Exchange;
use super::{Asker, fields};
use crate::attempt::{Way, patience};
use crate::identity::{Departure, Standing, depart};
use crate::mail::Mail;
use crate::phone::Tried;
use crate::privacy::Privacy;
use crate::profile::{Outgoing, Referrals};
use crate::session;
use crate::shard::{Shard, Timer};
use crate::status::Refusal;
use crate::trunk::{Dry, Hunt, Peer, Trunk};
use core::time::Duration;
use link::Binding;
use sansio::{Key, Outbox, Time, TimerId};
use sip::auth::Answerer;
use sip::message::Method;
use sip::session_id::SessionId;
use sip::transfer::Replaces;
use sip::{Body, Destination, Failure, Flow, Received, Request, RequestId, UsageId};
use std::sync::Arc;

/// Who is asked.
#[derive(Debug)]
pub(super) enum Targets {
    /// A user's phones, the next one last.
    Phones(Vec<Binding>),
    /// Peers of trunks.
    Trunks(Box<Hunt>),
}

/// What a request of ours is for.
#[derive(Debug)]
pub(super) enum Asked {
    /// It is the request of this passage.
    Passage(Key),
    /// It goes on inside a subscription.
    Exchange(Box<Exchange>),
}

/// A request on its way.
#[derive(Debug)]
pub(super) struct Passage {
    pub(super) asker: Asker,
    pub(super) method: Method,
    pub(super) request: Received,
    pub(super) flow: Flow,
    /// The number that a user of ours is asserted with.
    pub(super) asserted: Option<String>,
    pub(super) privacy: Privacy,
    /// The number asked for.
    pub(super) dialled: String,
    /// The number after the route's rewriting.
    pub(super) number: String,
    pub(super) targets: Targets,
    /// The phone that is asked now.
    phone: Option<Tried>,
    /// The subscription it makes.
    pub(super) subscription: Option<Key>,
    /// When whoever asked waits no longer.
    until: Time,
    sent: Option<Sent>,
    /// What the last one asked answered, or why it did not.
    last: Option<Answer>,
    /// Until 100 is due.
    timer: Option<TimerId>,
    /// In a REFER, whoever is across from the dialog that it names knows it by this.
    pub(super) across: Option<Replaces>,
    /// Whether the sender's number is the sender's.
    pub(super) identity: Standing,
    /// Until the certificate that this needs has to be there.
    pub(super) patience: Option<TimerId>,
}

/// The request of one try.
#[derive(Debug)]
struct Sent {
    id: RequestId,
    /// The dialog that a SUBSCRIBE is to make.
    usage: Option<UsageId>,
    on: Option<(Arc<Trunk>, Arc<Peer>)>,
    answerer: Option<Answerer>,
    letter: Letter,
}

/// What a request says, to be said again with credentials.
#[derive(Debug)]
struct Letter {
    call_id: String,
    tag: String,
    cseq: u32,
    request_uri: String,
    from: String,
    to: String,
    destination: Destination,
    headers: Vec<(String, String)>,
    max_forwards: u8,
    content_type: String,
}

/// How a try ended.
#[derive(Debug)]
enum Answer {
    Response(Received),
    Silence(Failure),
    /// A rule against toll fraud refused it with that status.
    Refused(u16),
}

/// What a letter goes out by.
enum Envelope {
    Usage(UsageId),
    Alone,
}

impl Passage {
    pub(super) fn new(
        now: Time,
        t1: Duration,
        asker: Asker,
        method: Method,
        request: Received,
        flow: Flow,
    ) -> Self {
        Self {
            asker,
            method,
            request,
            flow,
            asserted: None,
            privacy: Privacy::default(),
            dialled: String::new(),
            number: String::new(),
            targets: Targets::Phones(Vec::new()),
            phone: None,
            subscription: None,
            // Timer F of whoever asked, less a round trip or two (RFC 3261 §17.1.2.2).
            until: now + t1.saturating_mul(60),
            sent: None,
            last: None,
            timer: None,
            across: None,
            identity: Standing::default(),
            patience: None,
        }
    }

    pub(super) fn timers(&self) -> usize {
        [self.timer, self.patience].iter().flatten().count()
    }
}

impl Shard {
    /// RFC 4320 §4.1: 100 goes out if there is no answer by the time at which Timer E of whoever asked is at T2, and no
    /// sooner.
    pub(super) fn await_trying(&mut self, now: Time, key: Key) {
        let mut span = self.config.t1;
        let mut at = Duration::ZERO;
        while span < self.config.t2 && !span.is_zero() {
            at += span;
            span = span.saturating_mul(2);
        }
        let timer = self.set_timer(now + at, Timer::Passage(key));
        if let Some(passage) = self.outside.passages.get_mut(key) {
            passage.timer = timer;
        }
    }

    /// Whoever asked is told that his request is being seen to.
    pub(crate) fn passage_lasts(&mut self, now: Time, key: Key) {
        if let Some(passage) = self.outside.passages.get_mut(key) {
            passage.timer = None;
            self.endpoint.respond_trying(now, passage.asker.id);
        }
    }

    /// Asks the next phone or peer, or gives up.
    pub(crate) fn passage_next(&mut self, now: Time, key: Key, out: &mut Outbox<Mail>) {
        loop {
            let Some(passage) = self.outside.passages.get_mut(key) else { return };
            if now >= passage.until {
                return self.passage_fails(now, key, None);
            }
            let (method, further) = (passage.method, passage.last.is_some());
            let way = match &mut passage.targets {
                Targets::Phones(contacts) => {
                    let Some(binding) = contacts.pop() else {
                        return self.passage_fails(now, key, Some(Refusal::unregistered()));
                    };
                    let more = !contacts.is_empty();
                    passage.phone = Some(Tried::of(&binding));
                    let dialled = passage.dialled.clone();
                    self.way_to_phone(&dialled, &binding).map(|way| (way, None, more))
                }
                Targets::Trunks(hunt) => {
                    let passes = |trunk: &Trunk| match method {
                        Method::Refer => trunk.config.profile.referrals == Referrals::Pass,
                        method => trunk.config.profile.requests.has(method),
                    };
                    match hunt.next_outside(now, &self.table, passes) {
                        Ok((trunk, peer)) => {
                            let more = hunt.has_more();
                            let number = trunk.config.profile.called(&passage.number);
                            let (name, dialled) = (trunk.config.name.as_str(), passage.dialled.clone());
                            let request = passage.request.parse().ok();
                            let session = request.as_ref().and_then(SessionId::of).map(|it| it.to_string());
                            let (numbers, session) = ([&*dialled, &*number], session.as_deref());
                            if method == Method::Message
                                && let Err(status) =
                                    self.take_trunk_message_tolls(now, name, numbers, session, out)
                            {
                                if let Some(passage) = self.outside.passages.get_mut(key) {
                                    passage.last = Some(Answer::Refused(status));
                                }
                                continue;
                            }
                            self.way_on(trunk.clone(), &peer, number, more)
                                .map(|way| (way, Some(trunk), more))
                        }
                        Err(dry) => return self.passage_dry(now, key, dry),
                    }
                }
            };
            self.stats.outside_failovers += u64::from(further);
            let sent = way.and_then(|(way, trunk, more)| self.passage_send(now, key, way, trunk, more));
            match sent {
                Ok(()) => return,
                // That address is of no use; another one's may be.
                Err(_) => {
                    if let Some(passage) = self.outside.passages.get_mut(key) {
                        passage.last.get_or_insert(Answer::Silence(Failure::ConnectFailed));
                    }
                }
            }
        }
    }

    fn passage_dry(&mut self, now: Time, key: Key, dry: Dry) {
        let Some(passage) = self.outside.passages.get(key) else { return };
        if passage.last.is_some() {
            return self.passage_fails(now, key, None);
        }
        if dry == Dry::Tried {
            // Nothing was: no trunk of the route passes the method.
            let policy = self.config.outside.requests;
            let method = passage.method;
            let told = self.not_allowed(policy.without(method));
            return self.passage_over(now, key, &told, None);
        }
        self.passage_fails(now, key, Some(Refusal::dry(dry, None)));
    }

    fn way_on(
        &self,
        trunk: Arc<Trunk>,
        peer: &Arc<Peer>,
        number: String,
        more: bool,
    ) -> Result<Way, Refusal> {
        let (address, transport) = (peer.config.address, peer.config.transport);
        let (uri_host, to_host) = trunk.host_of(peer);
        let profile = trunk.config.profile.clone();
        let listener = self.listener_towards(address, trunk.config.realm.as_deref())?;
        Ok(Way {
            name: trunk.config.name.as_str().into(),
            address,
            transport,
            over: None,
            listener,
            nat: (profile.nat.unwrap_or_else(|| self.nat_at(listener)), false),
            request_uri: format!("sip:{number}@{uri_host}"),
            to: format!("<sip:{number}@{to_host}>"),
            number,
            // Twice that of an INVITE: nothing but the final answer shows that the peer is there.
            patience: patience(&self.config, &profile, more, false).saturating_mul(2),
            profile,
            route: trunk.registration().and_then(|registration| registration.route()),
            account: trunk.config.account.clone(),
            identity: trunk.config.identity,
            peer: Some(peer.clone()),
            seizure: None,
        })
    }

    fn passage_send(
        &mut self,
        now: Time,
        key: Key,
        way: Way,
        trunk: Option<Arc<Trunk>>,
        more: bool,
    ) -> Result<(), Refusal> {
        let made = (self.names.u64(), self.names.u64());
        let call_id = self.shards.draw_call_id(&mut self.names);
        let mut tag = [0; 12];
        self.names.token(&mut tag);
        let unix = self.unix(now);
        let Some(passage) = self.outside.passages.get(key) else {
            return Err(Refusal::internal("the request is gone"));
        };
        let unread = |_| Refusal::internal("the request could not be read again");
        let message = passage.request.parse().map_err(unread)?;
        let advertised = self.listeners[way.listener].advertised;
        // A phone speaks for its own numbers alone, wherever it is.
        let trusted = passage.asserted.is_none() && self.trusted(passage.flow.remote.ip());
        let mut from = session::from_of(&message, advertised, &way.profile);
        let caller = message.from().map_or_else(String::new, |from| session::user_of(from.uri));
        let calling = way.profile.calling(&caller);
        let written = way.profile.write(&Outgoing {
            invite: &message,
            caller_trusted: trusted,
            trunk: way.name.as_str(),
            called: &way.number,
            calling: &calling,
            dialled: &passage.dialled,
            source: passage.flow.remote.ip(),
            peer: way.address,
            local: advertised.ip(),
        });
        let mut headers = written.fields;
        const ASSERTED: &str = "P-Asserted-Identity";
        let is_in = |headers: &[(String, String)], name: &str| {
            headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name))
        };
        if let Some(number) = passage.asserted.as_deref()
            && way.profile.passes(ASSERTED)
            && !is_in(&headers, ASSERTED)
        {
            // RFC 3325 §5, as for a call.
            let (number, host) = (way.profile.calling(number), session::host(advertised.ip()));
            headers.push((ASSERTED.to_owned(), format!("<sip:{number}@{host}>")));
        }
        if !way.profile.trusted {
            from = passage.privacy.hide(&mut headers).unwrap_or(from);
        }
        if passage.method == Method::Message {
            let departure = Departure {
                config: &self.config.identity,
                table: &self.table,
                trunk: way.identity,
                invite: &message,
                source: passage.flow.remote,
                user: None,
                to: &way.to,
                sent_on: false,
                message: Some(message.body()),
                now: unix,
            };
            let mut identity = passage.identity.clone();
            depart(&departure, &mut identity, &mut from, &mut headers, &mut self.stats);
        }
        let (mut passed, dropped) = fields::passed(&message);
        if passage.method == Method::Subscribe {
            self.bound_expires(&mut passed);
        }
        fields::identify(&mut passed, &message, made);
        if passage.method == Method::Refer {
            passed.extend(self.referral_fields(&message, advertised, passage.across.as_ref()));
        }
        passed.retain(|(name, _)| !is_in(&headers, name));
        headers.extend(passed);
        if let Some(route) = way.route {
            headers.insert(0, ("Route".to_owned(), route));
        }
        let max_forwards = message.max_forwards().unwrap_or(70).saturating_sub(1);
        let content_type = message.content_type().map(session::text).unwrap_or_default();
        let left = passage.until.since(now);
        self.stats.headers_dropped += written.dropped + dropped;
        let letter = Letter {
            call_id,
            tag: tag.iter().map(|byte| char::from(*byte)).collect(),
            cseq: 1,
            request_uri: way.request_uri,
            from,
            to: way.to,
            destination: Destination {
                transport: way.transport,
                remote: way.address,
                socket: self.listeners[way.listener].udp,
                over: way.over,
            },
            headers,
            max_forwards,
            content_type,
        };
        let timeout = if more { way.patience.min(left) } else { left };
        let subscription = passage.subscription;
        let (id, usage) = self
            .post(now, key, &letter, &[], None, timeout)
            .ok_or_else(|| Refusal::internal("the request could not be sent"))?;
        if let (Some(subscription), Some(usage)) = (subscription, usage) {
            self.subscription_asks(subscription, usage, way.account.clone());
        }
        let answerer = way.account.map(Answerer::new);
        let on = trunk.zip(way.peer);
        if let Some(passage) = self.outside.passages.get_mut(key) {
            passage.sent = Some(Sent { id, usage, on, answerer, letter });
        }
        self.outside.asked.insert(id, Asked::Passage(key));
        self.stats.outside_sent += 1;
        Ok(())
    }

    /// Sends a letter: as a request alone, or as the SUBSCRIBE that makes a dialog, or once more in that dialog.
    fn post(
        &mut self,
        now: Time,
        key: Key,
        letter: &Letter,
        more: &[(&'static str, String)],
        envelope: Option<Envelope>,
        timeout: Duration,
    ) -> Option<(RequestId, Option<UsageId>)> {
        let passage = self.outside.passages.get(key)?;
        let own = letter.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let headers: Vec<(&str, &str)> =
            own.chain(more.iter().map(|(name, value)| (*name, value.as_str()))).collect();
        let body = passage.request.body();
        let body = (!body.is_empty()).then_some(Body { content_type: &letter.content_type, bytes: body });
        let request = Request {
            method: passage.method.as_str(),
            call_id: &letter.call_id,
            request_uri: &letter.request_uri,
            from: &letter.from,
            to: &letter.to,
            tag: &letter.tag,
            cseq: letter.cseq,
            max_forwards: letter.max_forwards,
            destination: letter.destination,
            headers: &headers,
            body,
            timeout,
        };
        match envelope {
            Some(Envelope::Usage(usage)) => {
                let id = self.endpoint.usage_request(
                    now,
                    usage,
                    passage.method,
                    letter.max_forwards,
                    &headers,
                    body,
                    timeout,
                );
                Some((id.ok()?, Some(usage)))
            }
            None if matches!(passage.method, Method::Subscribe | Method::Refer) => {
                let (usage, id) = self.endpoint.usage_open(now, &request).ok()?;
                Some((id, Some(usage)))
            }
            Some(Envelope::Alone) | None => Some((self.endpoint.request(now, &request).ok()?, None)),
        }
    }
}
