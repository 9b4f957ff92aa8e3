//! Whether a request is from whom it says: asked once users are configured (RFC 3261 §22).
//!
//! The gateway is a user agent server and a registrar, never a proxy, so it asks with 401 (RFC 3261 §22.2).

use crate::mail::Mail;
use crate::session;
use crate::shard::Shard;
use crate::status::Refusal;
use core::hash::{Hash as _, Hasher as _};
use core::net::SocketAddr;
use link::BanReason;
use sansio::{Outbox, Time};
use sip::auth::{Authorization, Presented, Verdict};
use sip::message::{Message, Name};
use sip::{Flow, LegId, Received, Transport};
use std::collections::hash_map::DefaultHasher;

/// What came of looking at who calls.
pub(crate) enum Admission {
    /// He may; with the name of the user that he showed to be, if he had to.
    Taken(Option<String>),
    /// He may not, and was told.
    Refused,
}

/// Who sends a request.
pub(crate) enum Sender {
    /// One who may; with the name of the user that he showed to be, if he had to.
    Taken(Option<String>),
    /// One from whom nothing is taken.
    Stranger,
    /// One who shows wrong credentials.
    Wrong,
    /// One who has to show some, by one of these challenges.
    Asked(Vec<String>),
}

/// What came of looking at a request's credentials.
pub(crate) enum Access {
    /// They are this user's.
    User(String),
    /// They are wrong: 403, so that a phone with a wrong password does not ask for ever.
    Wrong,
    /// There are none that count: 401 with these challenges.
    Asked(Vec<String>),
}

/// What tells the phone that sends a request from others: what it says the same when it tries again, and a stranger cannot know.
fn phone_of(request: &Message<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    request.call_id().hash(&mut hasher);
    request.method_bytes().hash(&mut hasher);
    hasher.finish()
}

impl Shard {
    /// Looks at a request's credentials for our realm.
    pub(crate) fn authenticate(&mut self, now: Time, request: &Message<'_>) -> Access {
        let now = self.wall(now);
        let users = &self.config.users;
        let shown = request.headers(Name::Authorization).filter_map(Authorization::parse);
        let (mut stale, mut algorithm) = (false, None);
        let phone = phone_of(request);
        if let Some(shown) = shown.into_iter().find(|it| it.realm == users.realm.as_bytes()) {
            algorithm = shown.algorithm;
            let name = String::from_utf8_lossy(&shown.username);
            let presented = Presented {
                shown: &shown,
                method: request.method_bytes(),
                realm: users.realm.as_bytes(),
                offered: &users.algorithms,
                password: users.accounts.get(&*name).map(String::as_bytes),
            };
            let judged = self.registrar.judge(now, &presented);
            self.stats.auth_replayed += u64::from(judged.replayed);
            self.stats.auth_nonces_full += u64::from(judged.full);
            if judged.verdict != Verdict::Foreign {
                self.registrar.has_answered(phone);
            }
            match judged.verdict {
                Verdict::Right => return Access::User(name.into_owned()),
                Verdict::Wrong => {
                    self.stats.auth_wrong += 1;
                    return Access::Wrong;
                }
                Verdict::Stale => stale = true,
                Verdict::Foreign => {}
            }
        }
        self.stats.auth_challenged += 1;
        let unanswered = if stale { 0 } else { self.registrar.asks(now, phone) };
        let agent = request.header(Name::UserAgent).unwrap_or_default();
        let offered = users.offer.choose(&users.algorithms, agent, algorithm, unanswered);
        let random = &mut self.random;
        Access::Asked(self.registrar.challenges(now, &users.realm, &offered, stale, || random.u64()))
    }

    /// Whether an INVITE may become a call; if not, it is answered.
    pub(crate) fn admits(
        &mut self,
        now: Time,
        leg: LegId,
        invite: &Received,
        flow: &Flow,
        out: &mut Outbox<Mail>,
    ) -> Admission {
        // It was parsed before; should it not be readable again, it is refused where it is read.
        let Ok(message) = invite.parse() else { return Admission::Taken(None) };
        match self.sender(now, &message, flow) {
            Sender::Taken(user) => return Admission::Taken(user),
            Sender::Stranger => {
                self.stats.calls_source_refused += 1;
                self.refuse(now, leg, &Refusal::source());
            }
            Sender::Wrong => {
                self.refuse(now, leg, &Refusal::credentials());
                self.offend(now, flow.remote.ip(), BanReason::Authentication, 1, out);
            }
            Sender::Asked(challenges) => {
                let headers: Vec<(&str, &str)> =
                    challenges.iter().map(|it| ("WWW-Authenticate", it.as_str())).collect();
                // The leg may have been cancelled in the meantime: then there is nobody to ask.
                let _ = self.endpoint.reject(now, leg, 401, None, &headers);
            }
        }
        Admission::Refused
    }

    /// Who sends a request that begins something, and whether he may. Without users, the networks alone decide. With
    /// users, whoever speaks in a user's name or from elsewhere than the networks has to show that he is one.
    pub(crate) fn sender(&mut self, now: Time, message: &Message<'_>, flow: &Flow) -> Sender {
        let over_registration = self.is_over_registration(now, flow);
        let allowed = self.allowed(flow.remote.ip()) || over_registration;
        if self.config.users.is_empty() {
            return if allowed { Sender::Taken(None) } else { Sender::Stranger };
        }
        let from = message.from().map_or_else(String::new, |from| session::user_of(from.uri));
        let is_user = self.config.users.has(&from);
        if allowed && (!is_user || self.is_peer(flow) || over_registration) {
            return Sender::Taken(None);
        }
        match self.authenticate(now, message) {
            Access::User(name) if !is_user || name == from => Sender::Taken(Some(name)),
            Access::User(_) => {
                self.stats.auth_wrong += 1;
                Sender::Wrong
            }
            Access::Wrong => Sender::Wrong,
            Access::Asked(challenges) => Sender::Asked(challenges),
        }
    }

    /// Whether a request comes from a trunk's peer: from its very port over UDP. A carrier that presents a user's
    /// name as a caller's number is no phone to be asked.
    pub(crate) fn is_peer(&self, flow: &Flow) -> bool {
        let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        let source = canonical(flow.remote);
        flow.transport == Transport::Udp
            && self
                .table
                .trunks()
                .iter()
                .flat_map(|trunk| &trunk.peers)
                .any(|peer| canonical(peer.config.address) == source)
    }
}
