//! Requests outside of calls: MESSAGE (RFC 3428), SUBSCRIBE and NOTIFY (RFC 6665), PUBLISH (RFC 3903), OPTIONS. Who may send
//! them, and where they go: to phones and trunks by the numbers that calls go by.
//!
//! A request that passes is a [`Passage`]: one transaction of the asker's, and one after the other towards peers until one
//! answers. A SUBSCRIBE makes a [`Subscription`] besides, which stays: a dialog with the subscriber, another with the notifier.

mod fields;
mod identity;
mod passage;
mod policy;
mod referral;
mod subscription;

pub(crate) use fields::END_TO_END;
pub use policy::{Outside, Passing};
pub(crate) use referral::Handed;

use crate::authenticate::Sender;
use crate::mail::Mail;
use crate::privacy::{self, Privacy};
use crate::profile::Referrals;
use crate::registrar::{Aim, Reach};
use crate::session;
use crate::shard::{Service, Shard};
use crate::status::Refusal;
use crate::trunk::{Hunt, Trunk};
use link::{BanReason, Side};
use passage::{Asked, Passage, Targets};
use sansio::{Key, Outbox, Slab, Time};
use sip::message::{Message, Method, Name};
use sip::session_id::SessionId;
use sip::{Failure, Flow, Received, RequestId, UsageId};
use std::collections::BTreeMap;
use std::sync::Arc;
use subscription::Subscription;

/// All requests outside of calls that a shard passes on.
#[derive(Debug)]
pub(crate) struct Errands {
    passages: Slab<Passage>,
    subscriptions: Slab<Subscription>,
    /// What each request of ours is for, until it has its answer.
    asked: BTreeMap<RequestId, Asked>,
    /// Which subscription a dialog belongs to, and on which side: the subscriber is the caller.
    usages: BTreeMap<UsageId, (Key, Side)>,
}

impl Errands {
    pub(crate) fn new(bounds: &Outside) -> Self {
        Self {
            passages: Slab::new(bounds.requests_max),
            subscriptions: Slab::new(bounds.subscriptions_max),
            asked: BTreeMap::new(),
            usages: BTreeMap::new(),
        }
    }

    /// Requests on their way.
    pub(crate) fn passages(&self) -> usize {
        self.passages.len() + self.asked.len()
    }

    /// Subscriptions that stand or are being made.
    pub(crate) fn subscriptions(&self) -> usize {
        self.subscriptions.len()
    }

    /// Timers of both.
    pub(crate) fn timers(&self) -> usize {
        let passages: usize = self.passages.iter().map(|(_, it)| it.timers()).sum();
        passages + self.subscriptions.iter().filter(|(_, it)| it.has_timer()).count()
    }
}

/// Who waits for the answer to a request outside of calls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker {
    pub(super) id: RequestId,
    /// The dialog that its SUBSCRIBE begins.
    pub(super) usage: Option<UsageId>,
}

/// What a refused asker is told.
pub(super) struct Told {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
}

impl Told {
    pub(super) const fn bare(status: u16) -> Self {
        Self { status, headers: Vec::new() }
    }

    fn with(status: u16, name: &str, value: String) -> Self {
        Self { status, headers: vec![(name.to_owned(), value)] }
    }
}

impl Shard {
    /// A request that belongs to no call.
    pub(crate) fn on_outside(
        &mut self,
        now: Time,
        asker: (RequestId, Option<UsageId>),
        method: Method,
        message: &Received,
        flow: &Flow,
        out: &mut Outbox<Mail>,
    ) {
        let asker = Asker { id: asker.0, usage: asker.1 };
        let Ok(request) = message.parse() else { return self.turn_away(now, asker, &Told::bare(500)) };
        if method == Method::Options && !self.is_for_another(now, flow, &request) {
            // It may have timed out meanwhile: then nobody waits.
            let _ = self.endpoint.respond_options(now, asker.id, self.service != Service::Open);
            return;
        }
        match self.take_errand(now, asker, method, message, &request, flow, out) {
            Ok(key) => {
                self.stats.outside_taken += 1;
                self.identify_passage(now, key, out);
            }
            Err(told) => self.turn_away(now, asker, &told),
        }
    }

    /// Whether an OPTIONS is to be passed on: otherwise it asks us (RFC 3261 §11).
    fn is_for_another(&self, now: Time, flow: &Flow, request: &Message<'_>) -> bool {
        let Some(Aim { number, .. }) = self.aim(now, request.request_uri()) else { return true };
        self.policy_of(now, flow).has(Method::Options)
            && !number.is_empty()
            && request.max_forwards() != Some(0)
            && (self.config.users.has(&number) || self.routes.lookup(&number).is_some())
    }

    /// Makes a passage of a request, or says why not.
    fn take_errand(
        &mut self,
        now: Time,
        asker: Asker,
        method: Method,
        message: &Received,
        request: &Message<'_>,
        flow: &Flow,
        out: &mut Outbox<Mail>,
    ) -> Result<Key, Told> {
        let user = self.admit_outside(now, request, flow, out)?;
        let policy = self.policy_of(now, flow);
        if !policy.has(method) {
            // RFC 6665 §4.1.3: of a subscription that nobody has.
            return Err(if method == Method::Notify { Told::bare(481) } else { self.not_allowed(policy) });
        }
        if method == Method::Subscribe && request.header(Name::Event).is_none() {
            // RFC 6665 §8.2.1 has exactly one; without any there is no package to speak of.
            return Err(Told::bare(489));
        }
        self.begin_passage(now, asker, method, message, request, flow, user, out)
    }

    /// Whether anything is taken from who sends a request outside of calls; the user who showed a password for it.
    fn admit_outside(
        &mut self,
        now: Time,
        request: &Message<'_>,
        flow: &Flow,
        out: &mut Outbox<Mail>,
    ) -> Result<Option<String>, Told> {
        if self.service != Service::Open {
            return Err(self.busy());
        }
        match self.sender(now, request, flow) {
            Sender::Taken(user) => Ok(user),
            Sender::Stranger => Err(Told::bare(403)),
            Sender::Wrong => {
                self.offend(now, flow.remote.ip(), BanReason::Authentication, 1, out);
                Err(Told::bare(403))
            }
            Sender::Asked(challenges) => {
                let headers = challenges.into_iter().map(|it| ("WWW-Authenticate".to_owned(), it)).collect();
                Err(Told { status: 401, headers })
            }
        }
    }

    /// Makes a passage of a request that may pass.
    fn begin_passage(
        &mut self,
        now: Time,
        asker: Asker,
        method: Method,
        message: &Received,
        request: &Message<'_>,
        flow: &Flow,
        user: Option<String>,
        out: &mut Outbox<Mail>,
    ) -> Result<Key, Told> {
        if request.body().len() > self.config.outside.body_max {
            self.stats.outside_too_large += 1;
            return Err(Told::bare(413));
        }
        let privacy = Privacy::of(request);
        if privacy.is_beyond_us() {
            return Err(Told::bare(Refusal::privacy().status));
        }
        let aim = self.number_of(now, flow, request)?;
        let (number, targets) = self.targets_of(now, method, request, (&aim, user.as_deref()))?;
        let dialled = aim.number;
        if method == Method::Message {
            let (source, numbers) = (flow.remote.ip(), [&*dialled, &*number]);
            let session = SessionId::of(request).map(|it| it.to_string());
            let (user, session) = (user.as_deref(), session.as_deref());
            self.take_message_tolls(now, source, user, numbers, session, out).map_err(Told::bare)?;
        }
        let asserted =
            user.as_deref().map(|name| privacy::asserted(request, name, self.config.users.numbers_of(name)));
        let mut passage = Passage::new(now, self.config.t1, asker, method, message.clone(), *flow);
        (passage.dialled, passage.number, passage.targets) = (dialled, number, targets);
        (passage.asserted, passage.privacy) = (asserted, privacy);
        let Ok(key) = self.outside.passages.insert(passage) else {
            self.stats.outside_full += 1;
            return Err(self.busy());
        };
        if let Some(near) = asker.usage
            && !self.begin_subscription(key, near, request)
        {
            self.outside.passages.remove(key);
            self.stats.subscriptions_full += 1;
            return Err(self.busy());
        }
        self.await_trying(now, key);
        Ok(key)
    }

    /// The number that a request is for: as for a call, that in To where a carrier names it there.
    fn number_of(&mut self, now: Time, flow: &Flow, request: &Message<'_>) -> Result<Aim, Told> {
        let Some(aim) = self.aim(now, request.request_uri()) else {
            self.stats.gruus_void += 1;
            return Err(Told::bare(Refusal::void().status));
        };
        let trunk = self.trunk_called_at(now, flow, &aim.number);
        let in_to = trunk.is_some_and(|it| it.config.register.as_ref().is_some_and(|it| it.called_in_to));
        let named = request.to().map(|to| session::user_of(to.uri)).filter(|to| in_to && !to.is_empty());
        Ok(named.map_or(aim, |number| Aim { number, phone: None }))
    }

    /// Where a request goes, and the number that it is for there: phones of a user, or trunks by the routes. A route that asks
    /// control about calls is taken as it stands.
    fn targets_of(
        &mut self,
        now: Time,
        method: Method,
        request: &Message<'_>,
        (aim, user): (&Aim, Option<&str>),
    ) -> Result<(String, Targets), Told> {
        let dialled = aim.number.as_str();
        // Who asks about himself, or publishes, does not mean his own phones but whoever keeps his mailbox or his presence
        // (RFC 3842 §3.1, RFC 3903 §4).
        let of_himself = user == Some(dialled) && matches!(method, Method::Subscribe | Method::Publish);
        if self.config.users.has(dialled) && !of_himself {
            let takes = match method {
                Method::Refer => self.config.outside.referrals == Referrals::Pass,
                method => self.config.outside.requests.has(method),
            };
            if !takes {
                return Err(self.not_allowed(self.config.outside.requests));
            }
            let phone = aim.phone.as_deref();
            self.stats.outside_to_gruus += u64::from(phone.is_some());
            let wall = self.wall(now);
            let Reach { mut contacts, unlocated } =
                self.registrar.reach(wall, dialled, phone, || self.random.u64());
            self.stats.paths_unlocated += unlocated;
            contacts.truncate(usize::from(self.config.attempts_max));
            contacts.reverse();
            if contacts.is_empty() {
                self.stats.outside_unavailable += 1;
                return Err(Told::bare(Refusal::unregistered().status));
            }
            return Ok((dialled.to_owned(), Targets::Phones(contacts)));
        }
        let Some(routed) = self.routes.lookup(dialled) else {
            self.stats.outside_unrouted += 1;
            return Err(Told::bare(Refusal::unrouted().status));
        };
        let number = routed.entry.rewrite(dialled);
        let groups: Vec<usize> =
            routed.entry.groups.iter().filter_map(|group| self.table.group(group.as_str())).collect();
        let seed = if self.table.has_names() { self.random.u64() } else { 0 };
        let from = request.from().map_or_else(String::new, |from| session::user_of(from.uri));
        let hunt = Hunt::new(&from, &groups, self.config.attempts_max).seeded(seed);
        Ok((number, Targets::Trunks(Box::new(hunt))))
    }

    /// What passes from where a request came: what the profile of its trunk says, or what holds for phones.
    fn policy_of(&self, now: Time, flow: &Flow) -> Passing {
        let trunk = self.trunk_behind(now, flow);
        trunk.map_or(self.config.outside.requests, |trunk| trunk.config.profile.requests)
    }

    /// The trunk from which a request came, by address or by the connection of its registration.
    pub(crate) fn trunk_behind(&self, now: Time, flow: &Flow) -> Option<Arc<Trunk>> {
        let source = flow.remote.ip().to_canonical();
        let all = self.table.trunks();
        let at = |exact: bool| {
            let is_it = |trunk: &&Arc<Trunk>| {
                trunk.peers.iter().map(|peer| peer.config.address).any(|address| {
                    address.ip().to_canonical() == source && (!exact || address.port() == flow.remote.port())
                })
            };
            all.iter().find(is_it)
        };
        let over = || all.iter().find(|trunk| crate::registrant::is_registered_over(trunk, now, flow));
        // A phone on a peer's host is no peer: one that shows a user's password, or is in an allowed network, counts as phone.
        let loose = || at(false).filter(|_| !self.is_allowed_network(source));
        at(true).or_else(over).or_else(loose).cloned()
    }

    fn is_allowed_network(&self, source: core::net::IpAddr) -> bool {
        self.config.allow.iter().any(|network| network.contains(source))
    }

    /// 405, with what does pass from there (RFC 3261 §8.2.1).
    pub(super) fn not_allowed(&mut self, policy: Passing) -> Told {
        self.stats.outside_not_passed += 1;
        let optional = [Method::Message, Method::Subscribe, Method::Publish];
        let own = ["INVITE", "ACK", "BYE", "CANCEL"].into_iter();
        let methods = self.endpoint.config().methods.iter().filter(|method| {
            // NOTIFY comes with what SUBSCRIBE made.
            let asked = if **method == Method::Notify { Method::Subscribe } else { **method };
            !optional.contains(&asked) || policy.has(**method) || policy.has(asked)
        });
        let all: Vec<&str> = own.chain(methods.map(|method| method.as_str())).collect();
        Told::with(405, "Allow", all.join(", "))
    }

    /// 503, to be tried again.
    pub(super) fn busy(&self) -> Told {
        Told::with(503, "Retry-After", self.config.retry_after.to_string())
    }

    /// Answers a request that does not pass.
    fn turn_away(&mut self, now: Time, asker: Asker, told: &Told) {
        self.stats.outside_refused += 1;
        self.tell_asker(now, asker, told.status, &told.headers, None);
        if let Some(usage) = asker.usage {
            self.endpoint.usage_close(usage);
        }
    }

    pub(super) fn tell_asker(
        &mut self,
        now: Time,
        asker: Asker,
        status: u16,
        headers: &[(String, String)],
        body: Option<sip::Body<'_>>,
    ) {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        // It may have timed out meanwhile: then nobody waits.
        let _ = match asker.usage {
            Some(usage) => self.endpoint.usage_respond(now, usage, asker.id, status, &headers, body),
            None => self.endpoint.respond(now, asker.id, status, &headers, body),
        };
    }
}

impl Shard {
    /// A request outside of calls was answered; `false` if this was none.
    pub(crate) fn on_outside_answer(
        &mut self,
        now: Time,
        id: RequestId,
        message: &Received,
        out: &mut Outbox<Mail>,
    ) -> bool {
        match self.outside.asked.remove(&id) {
            Some(Asked::Passage(key)) => self.passage_answered(now, key, message, out),
            Some(Asked::Exchange(exchange)) => self.exchange_answered(now, exchange, message),
            None => return false,
        }
        true
    }

    /// A request outside of calls got no answer; `false` if this was none.
    pub(crate) fn on_outside_silence(
        &mut self,
        now: Time,
        id: RequestId,
        cause: &Failure,
        out: &mut Outbox<Mail>,
    ) -> bool {
        match self.outside.asked.remove(&id) {
            Some(Asked::Passage(key)) => self.passage_silent(now, key, cause, out),
            Some(Asked::Exchange(exchange)) => self.exchange_silent(now, &exchange),
            None => return false,
        }
        true
    }
}

/// What the endpoint hands over because of what may pass: of phones, and of any trunk.
pub(crate) fn handed(config: &Outside, trunks: &[Arc<Trunk>]) -> impl Iterator<Item = Method> {
    let any = trunks.iter().fold(config.requests, |set, trunk| set.or(trunk.config.profile.requests));
    // Inside calls these pass whatever the policy says (RFC 6665 §4.5.1).
    let inside = [Method::Subscribe, Method::Notify];
    inside.into_iter().chain([Method::Publish].into_iter().filter(move |method| any.has(*method)))
}
