//! What came of a request outside of calls: its answer or silence, and what whoever asked is told.

use super::{Answer, Asked, Envelope, Targets};
use crate::attempt::judge;
use crate::identity::Waiter;
use crate::mail::Mail;
use crate::outside::{Told, fields};
use crate::session;
use crate::shard::Shard;
use crate::status::Refusal;
use crate::trunk::Evidence;
use sansio::{Key, Outbox, Time};
use sip::message::Name;
use sip::{Body, Failure, Received, UsageId};

impl Shard {
    /// A request of a passage was answered.
    pub(in crate::outside) fn passage_answered(
        &mut self,
        now: Time,
        key: Key,
        message: &Received,
        out: &mut Outbox<Mail>,
    ) {
        let Ok(response) = message.parse() else {
            return self.passage_silent(now, key, &Failure::NoResponse, out);
        };
        let status = response.status();
        if matches!(status, 401 | 407) && self.passage_authenticates(now, key, message) {
            return;
        }
        let Some(passage) = self.outside.passages.get_mut(key) else { return };
        let Some(sent) = passage.sent.take() else { return };
        let failure = Failure::Status {
            status,
            reason: String::from_utf8_lossy(response.reason()).into(),
            retry_after: response.seconds(Name::RetryAfter),
        };
        let (_, mut next) = judge(&failure, sent.on.as_ref().map(|(trunk, _)| &trunk.config));
        if sent.on.is_none() {
            // RFC 3261 §16.7 step 5: 6xx speaks for all phones of a user.
            next = (300..600).contains(&status);
            // RFC 5626 §7: what a phone has answered it is not asked again by another flow.
            if let (Targets::Phones(contacts), Some(phone)) = (&mut passage.targets, &passage.phone) {
                phone.leave(status, contacts);
            }
        }
        if let Some((trunk, peer)) = &sent.on
            && !next
        {
            self.learn(
                now,
                trunk,
                peer,
                Evidence::ProbeServed,
                "a request outside of calls was answered",
                out,
            );
        }
        let Some(passage) = self.outside.passages.get_mut(key) else { return };
        passage.last = Some(Answer::Response(message.clone()));
        if next && status >= 300 {
            self.abandon(sent.usage);
            return self.passage_next(now, key, out);
        }
        if status >= 300 {
            self.abandon(sent.usage);
            return self.passage_fails(now, key, None);
        }
        let (headers, dropped) = fields::passed(&response);
        self.stats.headers_dropped += dropped;
        let subscription = passage.subscription;
        if let Some(subscription) = subscription {
            self.subscription_stands(now, subscription, fields::expires(&response));
        }
        let content_type = response.content_type().map(session::text).unwrap_or_default();
        let body = message.body();
        let body = (!body.is_empty()).then_some(Body { content_type: &content_type, bytes: body });
        let silent = subscription.filter(|_| fields::makes_no_subscription(&response));
        self.passage_over(now, key, &Told { status, headers }, body);
        if let Some(subscription) = silent {
            self.subscription_over(now, subscription);
        }
    }

    /// Answers the challenge to a passage's request, if there is an account for it.
    fn passage_authenticates(&mut self, now: Time, key: Key, message: &Received) -> bool {
        let chance = self.names.u64();
        let Some(passage) = self.outside.passages.get_mut(key) else { return false };
        let (method, left) = (passage.method, passage.until.since(now));
        let Some(mut sent) = passage.sent.take() else { return false };
        let Ok(response) = message.parse() else { return false };
        let taken = sent
            .answerer
            .as_mut()
            .and_then(|it| it.take(&response).then_some(it))
            .map(|it| it.fields(method.as_str(), &sent.letter.request_uri, chance));
        let Some(more) = taken else {
            passage.sent = Some(sent);
            return false;
        };
        // RFC 3261 §22.2: same Call-ID, From and To, CSeq one higher.
        sent.letter.cseq += 1;
        let envelope = sent.usage.map_or(Envelope::Alone, Envelope::Usage);
        let posted = self.post(now, key, &sent.letter, &more, Some(envelope), left);
        let done = posted.map(|(id, _)| {
            sent.id = id;
            self.outside.asked.insert(id, Asked::Passage(key));
            self.stats.outside_challenges_answered += 1;
        });
        if let Some(passage) = self.outside.passages.get_mut(key) {
            passage.sent = Some(sent);
        }
        done.is_some()
    }

    /// A request of a passage got no answer.
    pub(in crate::outside) fn passage_silent(
        &mut self,
        now: Time,
        key: Key,
        failure: &Failure,
        out: &mut Outbox<Mail>,
    ) {
        let Some(passage) = self.outside.passages.get_mut(key) else { return };
        let Some(sent) = passage.sent.take() else { return };
        passage.last = Some(Answer::Silence(failure.clone()));
        let subscription = passage.subscription;
        if let Some((trunk, peer)) = &sent.on
            && matches!(failure, Failure::Refused | Failure::ConnectFailed)
        {
            self.learn(now, trunk, peer, Evidence::Refused, "a request outside of calls was refused", out);
        }
        if let Some(subscription) = subscription
            && let Some(left) = self.notified_before_answer(subscription)
        {
            // RFC 6665 §4.1.2.4: a NOTIFY shows that the SUBSCRIBE was taken; its 2xx got lost.
            self.subscription_stands(now, subscription, Some(left));
            let headers = vec![("Expires".to_owned(), left.to_string())];
            return self.passage_over(now, key, &Told { status: 200, headers }, None);
        }
        self.abandon(sent.usage);
        self.passage_next(now, key, out);
    }

    /// The dialog that a SUBSCRIBE was to make is not wanted any more.
    fn abandon(&mut self, usage: Option<UsageId>) {
        if let Some(usage) = usage {
            self.outside.usages.remove(&usage);
            self.endpoint.usage_close(usage);
        }
    }

    /// Nobody took it: whoever asked is told what the last one said, or `refusal`.
    pub(super) fn passage_fails(&mut self, now: Time, key: Key, refusal: Option<Refusal>) {
        let Some(passage) = self.outside.passages.get_mut(key) else { return };
        let is_phone = matches!(passage.targets, Targets::Phones(_));
        let told = match passage.last.take() {
            Some(Answer::Response(message)) => self.relayed_failure(&message),
            Some(Answer::Refused(status)) => Told::bare(status),
            Some(Answer::Silence(_)) if is_phone => Told::bare(Refusal::unregistered().status),
            Some(Answer::Silence(failure)) => self.told_of(&Refusal::callee(&failure)),
            None => self.told_of(&refusal.unwrap_or_else(|| Refusal::callee(&Failure::TimedOut))),
        };
        self.passage_over(now, key, &told, None);
    }

    fn told_of(&self, refusal: &Refusal) -> Told {
        if refusal.retry { self.busy_with(refusal.status) } else { Told::bare(refusal.status) }
    }

    fn busy_with(&self, status: u16) -> Told {
        Told { status, ..self.busy() }
    }

    /// A failure as it is told to whoever asked.
    pub(in crate::outside) fn relayed_failure(&self, message: &Received) -> Told {
        let Ok(response) = message.parse() else { return Told::bare(500) };
        let status = response.status();
        match status {
            // The challenge was for the gateway, and where to go instead would lead around it.
            300..=399 | 401 | 407 | 503 => {
                let reason = String::from_utf8_lossy(response.reason()).into();
                let failure = Failure::Status { status, reason, retry_after: None };
                self.told_of(&Refusal::callee(&failure))
            }
            // RFC 4320 §4.2: "MUST NOT send a response with status-code of 408 to a non-INVITE request"; RFC 5626 §11.5 of 430:
            // "Endpoints should never receive" it.
            408 | 430 => Told::bare(480),
            _ => {
                let (mut headers, _) = fields::passed(&response);
                let allow: Vec<String> = response.headers(Name::Allow).map(session::text).collect();
                if status == 405 {
                    headers.push(("Allow".to_owned(), allow.join(", ")));
                }
                if let Some(seconds) = response.seconds(Name::RetryAfter) {
                    headers.push(("Retry-After".to_owned(), seconds.to_string()));
                }
                Told { status, headers }
            }
        }
    }

    /// Tells whoever asked, and forgets the passage.
    pub(in crate::outside) fn passage_over(
        &mut self,
        now: Time,
        key: Key,
        told: &Told,
        body: Option<Body<'_>>,
    ) {
        let Some(passage) = self.outside.passages.remove(key) else { return };
        for timer in [passage.timer, passage.patience].into_iter().flatten() {
            self.wheel.cancel(timer);
        }
        if let Some(url) = passage.identity.awaits() {
            self.certificates.forget(url, Waiter::Passage(key));
        }
        if let Some(sent) = passage.sent {
            self.outside.asked.remove(&sent.id);
        }
        match told.status {
            200..300 => self.stats.outside_answered += 1,
            _ => self.stats.outside_failed += 1,
        }
        self.tell_asker(now, passage.asker, told.status, &told.headers, body);
        if let Some(subscription) = passage.subscription {
            self.subscription_answered(now, subscription, told.status);
        }
    }
}
