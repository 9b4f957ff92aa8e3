//! A subscription (RFC 6665) passed through: a dialog with the subscriber, a dialog with the notifier, each with Call-ID and
//! tags of ours; what is said in one is said in the other.
//!
//! It ends when the notifier says so, when a side does not know it any more, when nobody renews it, or when the notifier
//! stays silent after a SUBSCRIBE (Timer N); then both dialogs end.

use super::passage::Asked;
use super::{Asker, Told, fields};
use crate::session;
use crate::shard::{Shard, Timer};
use core::time::Duration;
use link::Side;
use sansio::{Key, Time, TimerId};
use sip::auth::{Account, Answerer};
use sip::message::{Message, Method, Name};
use sip::{Body, LegError, Received, RequestId, UsageId};
use std::sync::Arc;

/// How long a request inside a subscription may take, in T1: less than whoever asked waits, so that he hears of it.
const WITHIN: u32 = 60;

/// One subscription.
#[derive(Debug)]
pub(super) struct Subscription {
    /// The dialog with the subscriber.
    near: UsageId,
    /// The dialog with the notifier, once it was asked.
    far: Option<UsageId>,
    /// The first SUBSCRIBE while it has no answer.
    begun_by: Option<Key>,
    /// What answers the notifier's challenges.
    account: Option<Arc<Account>>,
    /// The value of Event.
    event: String,
    /// The number of the REFER that makes it, as its sender counts (RFC 3515 §2.4.6).
    refer: Option<u32>,
    /// The time asked for last.
    wanted: u32,
    /// What the first NOTIFY said was left, if it came.
    first: Option<u32>,
    /// Whether a NOTIFY is awaited since a SUBSCRIBE was sent.
    awaits: bool,
    /// The notifier has ended it, or the subscriber has: it goes with the last answer.
    ending: bool,
    /// By when a NOTIFY has to come (RFC 6665 §4.1.2.4, Timer N).
    notify_by: Option<Time>,
    /// It is over as soon as whatever is still on its way has its answer.
    done: bool,
    /// When it is over if nobody renews it.
    until: Option<Time>,
    timer: Option<TimerId>,
}

/// A SUBSCRIBE or NOTIFY on its way from one dialog of a subscription into the other.
#[derive(Debug)]
pub(super) struct Exchange {
    subscription: Key,
    /// Who sent it.
    from: Side,
    asker: Asker,
    method: Method,
    request: Received,
    /// The subscription ends with the answer to it.
    last: bool,
    answerer: Option<Answerer>,
}

impl Subscription {
    pub(super) const fn has_timer(&self) -> bool {
        self.timer.is_some()
    }
}

impl Shard {
    /// Makes room for the subscription that a SUBSCRIBE is to make; `false` if there is none.
    pub(super) fn begin_subscription(&mut self, passage: Key, near: UsageId, request: &Message<'_>) -> bool {
        let refer = (request.method() == Method::Refer).then(|| request.cseq().map_or(0, |cseq| cseq.number));
        let subscription = Subscription {
            near,
            far: None,
            begun_by: Some(passage),
            account: None,
            event: if refer.is_some() {
                String::from("refer")
            } else {
                request.header(Name::Event).map(session::text).unwrap_or_default()
            },
            refer,
            wanted: self.wanted(request),
            first: None,
            awaits: true,
            ending: false,
            notify_by: None,
            done: false,
            until: None,
            timer: None,
        };
        let Ok(key) = self.outside.subscriptions.insert(subscription) else { return false };
        self.outside.usages.insert(near, (key, Side::Caller));
        if let Some(passage) = self.outside.passages.get_mut(passage) {
            passage.subscription = Some(key);
        }
        true
    }

    /// The seconds that a SUBSCRIBE asks for: an hour where it does not say (RFC 6665 §3.1.1 leaves it to the package).
    fn wanted(&self, request: &Message<'_>) -> u32 {
        let most = u32::try_from(self.config.outside.expires_max.as_secs()).unwrap_or(u32::MAX);
        fields::expires(request).unwrap_or(3600).min(most)
    }

    /// Asks the notifier for no more than is allowed.
    pub(super) fn bound_expires(&self, fields: &mut [(String, String)]) {
        let most = self.config.outside.expires_max.as_secs();
        for (_, value) in fields.iter_mut().filter(|(name, _)| name == "Expires") {
            if value.parse::<u64>().is_ok_and(|seconds| seconds > most) {
                *value = most.to_string();
            }
        }
    }

    /// The SUBSCRIBE went out to a notifier, which may speak from now on.
    pub(super) fn subscription_asks(&mut self, key: Key, far: UsageId, account: Option<Arc<Account>>) {
        if let Some(subscription) = self.outside.subscriptions.get_mut(key) {
            subscription.far = Some(far);
            subscription.account = account;
            self.outside.usages.insert(far, (key, Side::Callee));
        }
    }

    /// What the notifier said was left of a subscription, if it spoke before it answered.
    pub(super) fn notified_before_answer(&self, key: Key) -> Option<u32> {
        self.outside.subscriptions.get(key)?.first
    }

    /// The notifier took a SUBSCRIBE, for so long.
    pub(super) fn subscription_stands(&mut self, now: Time, key: Key, expires: Option<u32>) {
        let patience = self.config.t1.saturating_mul(64);
        let Some(subscription) = self.outside.subscriptions.get_mut(key) else { return };
        let seconds = expires.unwrap_or(subscription.wanted).min(subscription.wanted);
        subscription.ending |= seconds == 0;
        subscription.until = Some(now + Duration::from_secs(seconds.into()) + patience);
        if subscription.awaits {
            subscription.notify_by = Some(now + patience);
        }
        self.subscription_rearm(key);
    }

    /// The subscriber has the answer to the first SUBSCRIBE.
    pub(super) fn subscription_answered(&mut self, now: Time, key: Key, status: u16) {
        let Some(subscription) = self.outside.subscriptions.get_mut(key) else { return };
        subscription.begun_by = None;
        if (200..300).contains(&status) {
            self.stats.subscriptions_begun += 1;
            // The last NOTIFY may have been answered before.
            self.subscription_settles(now, key);
        } else {
            self.subscription_over(now, key);
        }
    }

    fn subscription_rearm(&mut self, key: Key) {
        let Some(subscription) = self.outside.subscriptions.get_mut(key) else { return };
        let at = [subscription.until, subscription.notify_by].into_iter().flatten().min();
        let old = subscription.timer.take();
        if let Some(old) = old {
            self.wheel.cancel(old);
        }
        let timer = at.and_then(|at| self.set_timer(at, Timer::Subscription(key)));
        if let Some(subscription) = self.outside.subscriptions.get_mut(key) {
            subscription.timer = timer;
        }
    }

    /// A subscription's time is up: nobody renewed it, or the notifier has not spoken.
    pub(crate) fn subscription_due(&mut self, now: Time, key: Key) {
        let Some(subscription) = self.outside.subscriptions.get_mut(key) else { return };
        subscription.timer = None;
        if subscription.notify_by.is_some_and(|by| by <= now) {
            self.stats.subscriptions_unnotified += 1;
        } else {
            self.stats.subscriptions_expired += 1;
        }
        // RFC 6665 §4.2.2: the subscriber is told, in case the notifier is gone without a word.
        let told = !subscription.ending;
        self.end_subscription(now, key, told.then_some("timeout"), false);
    }

    /// Ends a subscription from our side: the subscriber is told why, the notifier is asked to stop.
    fn end_subscription(&mut self, now: Time, key: Key, reason: Option<&str>, stop: bool) {
        let Some(subscription) = self.outside.subscriptions.get(key) else { return };
        let (near, far, event) = (subscription.near, subscription.far, subscription.event.clone());
        let patience = self.config.t1.saturating_mul(WITHIN);
        // What comes of either is of no matter: both dialogs end now.
        if let Some(reason) = reason {
            let state = format!("terminated;reason={reason}");
            let headers = [("Event", event.as_str()), ("Subscription-State", state.as_str())];
            let _ = self.endpoint.usage_request(now, near, Method::Notify, 70, &headers, None, patience);
        }
        if let Some(far) = far.filter(|_| stop) {
            let headers = [("Event", event.as_str()), ("Expires", "0")];
            let _ = self.endpoint.usage_request(now, far, Method::Subscribe, 70, &headers, None, patience);
        }
        self.subscription_over(now, key);
    }

    /// Takes a subscription out. Whoever still waits for an answer inside it is told that it is no more.
    pub(super) fn subscription_over(&mut self, now: Time, key: Key) {
        let Some(subscription) = self.outside.subscriptions.remove(key) else { return };
        if let Some(timer) = subscription.timer {
            self.wheel.cancel(timer);
        }
        let is_its = |asked: &Asked| matches!(asked, Asked::Exchange(it) if it.subscription == key);
        let ours: Vec<RequestId> =
            self.outside.asked.iter().filter(|(_, asked)| is_its(asked)).map(|(id, _)| *id).collect();
        for id in ours {
            if let Some(Asked::Exchange(exchange)) = self.outside.asked.remove(&id) {
                self.tell_asker(now, exchange.asker, 481, &[], None);
            }
        }
        for usage in [Some(subscription.near), subscription.far].into_iter().flatten() {
            self.outside.usages.remove(&usage);
            self.endpoint.usage_close(usage);
        }
    }

    /// The gateway takes no more calls: subscribers are told to subscribe anew, elsewhere or later.
    pub(crate) fn deactivate_subscriptions(&mut self, now: Time) {
        let standing = |it: &Subscription| it.begun_by.is_none();
        let keys: Vec<Key> =
            self.outside.subscriptions.iter().filter(|(_, it)| standing(it)).map(|(key, _)| key).collect();
        for key in keys {
            self.end_subscription(now, key, Some("deactivated"), true);
        }
    }

    /// A SUBSCRIBE or NOTIFY in a dialog of a subscription.
    pub(crate) fn on_in_usage(
        &mut self,
        now: Time,
        usage: UsageId,
        id: RequestId,
        method: Method,
        message: &Received,
    ) {
        let asker = Asker { id, usage: Some(usage) };
        let told = match self.outside.usages.get(&usage).copied() {
            Some((key, from)) => self.exchange(now, key, from, asker, method, message),
            None => Err(Told::bare(481)),
        };
        if let Err(told) = told {
            self.tell_asker(now, asker, told.status, &told.headers, None);
        }
    }

    fn exchange(
        &mut self,
        now: Time,
        key: Key,
        from: Side,
        asker: Asker,
        method: Method,
        message: &Received,
    ) -> Result<(), Told> {
        let request = message.parse().map_err(|_| Told::bare(500))?;
        if request.body().len() > self.config.outside.body_max {
            self.stats.outside_too_large += 1;
            return Err(Told::bare(413));
        }
        let wanted = self.wanted(&request);
        let patience = self.config.t1.saturating_mul(64);
        let Some(subscription) = self.outside.subscriptions.get_mut(key) else { return Err(Told::bare(481)) };
        let mut last = false;
        if method == Method::Notify {
            // RFC 6665 §8.2.3: "NOTIFY requests MUST contain" it.
            let Some(standing) = fields::Standing::of(&request) else { return Err(Told::bare(400)) };
            last = standing.terminated;
            subscription.awaits = false;
            subscription.notify_by = None;
            let left = standing.expires.unwrap_or(subscription.wanted);
            subscription.first.get_or_insert(left);
            if last {
                subscription.ending = true;
                subscription.until = subscription.until.map(|_| now + patience);
            } else if let (Some(seconds), true) = (standing.expires, subscription.until.is_some()) {
                // RFC 6665 §4.1.3: the notifier may shorten what is left.
                let seconds = seconds.min(subscription.wanted);
                subscription.until = Some(now + Duration::from_secs(seconds.into()) + patience);
            }
        } else {
            if subscription.ending {
                return Err(Told::bare(481));
            }
            if subscription.begun_by.is_some() {
                return Err(Told { status: 500, headers: vec![("Retry-After".to_owned(), "1".to_owned())] });
            }
            subscription.wanted = wanted;
            subscription.awaits = true;
        }
        let answerer = subscription.account.clone().filter(|_| from == Side::Caller).map(Answerer::new);
        let request = message.clone();
        let exchange = Exchange { subscription: key, from, asker, method, request, last, answerer };
        self.subscription_rearm(key);
        let (headers, dropped) = self.letter_of(&exchange);
        self.stats.headers_dropped += dropped;
        match self.exchange_send(now, &exchange, &headers) {
            Ok(id) => {
                self.stats.outside_exchanges += 1;
                self.outside.asked.insert(id, Asked::Exchange(Box::new(exchange)));
                Ok(())
            }
            Err(LegError::Full) => Err(self.busy()),
            Err(_) => Err(Told::bare(500)),
        }
    }

    fn letter_of(&self, exchange: &Exchange) -> (Vec<(String, String)>, u64) {
        let Ok(request) = exchange.request.parse() else { return (Vec::new(), 0) };
        let (mut headers, dropped) = fields::passed(&request);
        if exchange.method == Method::Subscribe {
            self.bound_expires(&mut headers);
        }
        let refer = self.outside.subscriptions.get(exchange.subscription).and_then(|it| it.refer);
        for (_, value) in headers.iter_mut().filter(|(name, _)| name == "Event" && refer.is_some()) {
            // Each side numbers its REFER itself, and there is but one in the dialog (RFC 3515 §2.4.6).
            let named = value.contains(";id=") && exchange.from == Side::Callee;
            *value = match refer.filter(|_| named) {
                Some(number) => format!("refer;id={number}"),
                None => String::from("refer"),
            };
        }
        (headers, dropped)
    }

    fn exchange_send(
        &mut self,
        now: Time,
        exchange: &Exchange,
        headers: &[(String, String)],
    ) -> Result<RequestId, LegError> {
        let subscription = self.outside.subscriptions.get(exchange.subscription).ok_or(LegError::Unknown)?;
        let to = if exchange.from == Side::Caller { subscription.far } else { Some(subscription.near) };
        let to = to.ok_or(LegError::WrongState)?;
        let request = exchange.request.parse().map_err(|_| LegError::BadText)?;
        let max_forwards = request.max_forwards().unwrap_or(70).saturating_sub(1);
        let content_type = request.content_type().map(session::text).unwrap_or_default();
        let body = exchange.request.body();
        let body = (!body.is_empty()).then_some(Body { content_type: &content_type, bytes: body });
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        let patience = self.config.t1.saturating_mul(WITHIN);
        self.endpoint.usage_request(now, to, exchange.method, max_forwards, &headers, body, patience)
    }

    /// What was passed on inside a subscription was answered.
    pub(super) fn exchange_answered(&mut self, now: Time, mut exchange: Box<Exchange>, message: &Received) {
        let Ok(response) = message.parse() else { return self.exchange_silent(now, &exchange) };
        let (status, key) = (response.status(), exchange.subscription);
        if matches!(status, 401 | 407)
            && let Some(answerer) = exchange.answerer.as_mut().and_then(|it| it.take(&response).then_some(it))
        {
            let uri = self.outside.subscriptions.get(key).and_then(|it| it.far);
            let uri = uri.and_then(|far| self.endpoint.usage_target(far)).unwrap_or_default();
            let more = answerer.fields(exchange.method.as_str(), &uri, self.names.u64());
            let (mut headers, _) = self.letter_of(&exchange);
            headers.extend(more.into_iter().map(|(name, value)| (name.to_owned(), value)));
            if let Ok(id) = self.exchange_send(now, &exchange, &headers) {
                self.stats.outside_challenges_answered += 1;
                self.outside.asked.insert(id, Asked::Exchange(exchange));
                return;
            }
        }
        // RFC 6665 §4.1.2.2 and §4.2.2: only 481 says that it is no more; a SUBSCRIBE that failed otherwise has changed
        // nothing.
        let over = exchange.last || status == 481;
        if status < 300 {
            let (headers, _) = fields::passed(&response);
            let content_type = response.content_type().map(session::text).unwrap_or_default();
            let body = (!message.body().is_empty())
                .then_some(Body { content_type: &content_type, bytes: message.body() });
            self.tell_asker(now, exchange.asker, status, &headers, body);
            if exchange.method == Method::Subscribe {
                self.subscription_stands(now, key, fields::expires(&response));
            }
        } else {
            let told = self.relayed_failure(message);
            self.tell_asker(now, exchange.asker, told.status, &told.headers, None);
        }
        if over {
            self.exchange_ends(now, key);
        } else {
            self.subscription_settles(now, key);
        }
    }

    /// What was passed on inside a subscription got no answer.
    pub(super) fn exchange_silent(&mut self, now: Time, exchange: &Exchange) {
        if exchange.method == Method::Notify {
            // RFC 6665 §4.2.2: a subscriber that cannot be reached is one no more; 481 tells the notifier so.
            self.stats.subscriptions_unreachable += 1;
            self.tell_asker(now, exchange.asker, 481, &[], None);
            return self.exchange_ends(now, exchange.subscription);
        }
        let told = self.busy();
        self.tell_asker(now, exchange.asker, told.status, &told.headers, None);
        self.subscription_settles(now, exchange.subscription);
    }

    /// A subscription is over.
    fn exchange_ends(&mut self, now: Time, key: Key) {
        if let Some(subscription) = self.outside.subscriptions.get_mut(key) {
            subscription.ending = true;
            subscription.done = true;
        }
        self.subscription_settles(now, key);
    }

    /// Takes a subscription out that is over, unless an answer is still on its way: the last NOTIFY may overtake the answer to
    /// the SUBSCRIBE that brought it about.
    fn subscription_settles(&mut self, now: Time, key: Key) {
        let is_its = |asked: &Asked| matches!(asked, Asked::Exchange(it) if it.subscription == key);
        let Some(subscription) = self.outside.subscriptions.get(key) else { return };
        if subscription.done && subscription.begun_by.is_none() && !self.outside.asked.values().any(is_its) {
            self.subscription_over(now, key);
        }
    }
}
