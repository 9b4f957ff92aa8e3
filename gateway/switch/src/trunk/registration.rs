//! A trunk's registration with its carrier, as all shards know it: made by one shard, asked about by all of them.

use super::PeerConfig;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use sansio::Time;
use sip::Transport;
use sip::auth::Account;
use sip::registration::{Given, Standing, Terms, Word};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How a trunk registers (RFC 3261 §10.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationConfig {
    /// The Request-URI: the registrar's domain.
    pub registrar: String,
    /// The address of record.
    pub aor: String,
    /// User part of the Contact: what the carrier's calls will have in their Request-URI.
    pub contact_user: String,
    /// Time asked for, in whole seconds.
    pub expires: Duration,
    /// Where REGISTER is sent: the registrar, or the outbound proxy.
    pub to: PeerConfig,
    /// Whether `to` is an outbound proxy, which is named in Route then (RFC 3261 §8.1.2).
    pub is_proxy: bool,
    /// Whether the trunk is left alone while it is not registered.
    pub required: bool,
    /// Whether calls to our contact are for the number in To rather than the one in the Request-URI.
    pub called_in_to: bool,
    /// Base of the wait after a failure (RFC 5626 §4.5).
    pub retry_base: Duration,
    /// The longest wait.
    pub retry_max: Duration,
}

impl RegistrationConfig {
    /// What the protocol's side needs of it.
    pub(crate) fn terms(&self, account: Option<Arc<Account>>) -> Terms {
        let suffix = self.to.transport.uri_parameter();
        Terms {
            registrar: self.registrar.clone(),
            aor: self.aor.clone(),
            expires: u32::try_from(self.expires.as_secs()).unwrap_or(u32::MAX).max(1),
            account,
            route: self.is_proxy.then(|| format!("<sip:{}{suffix};lr>", self.to.address)),
            secure: self.to.transport.is_encrypted(),
            retry_base: self.retry_base,
            retry_max: self.retry_max,
        }
    }

    /// Whether both make the same binding: the same user at the same registrar, reached at the same contact.
    pub(crate) fn is_same_binding(&self, other: &Self) -> bool {
        (&self.registrar, &self.aor, &self.contact_user, &self.to)
            == (&other.registrar, &other.aor, &other.contact_user, &other.to)
    }
}

/// What is told of a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationNews {
    /// How it stands.
    pub standing: Standing,
    /// The last answer.
    pub word: Word,
    /// Since when it stands so.
    pub since: Time,
    /// When the next REGISTER is due, if none is under way.
    pub next: Option<Time>,
    /// What the registrar gave.
    pub given: Given,
    /// The connection that the carrier's calls come over, if it is one.
    pub over: Option<(Transport, SocketAddr)>,
}

impl Default for RegistrationNews {
    fn default() -> Self {
        Self {
            standing: Standing::Trying,
            word: Word::default(),
            since: Time::ZERO,
            next: None,
            given: Given::default(),
            over: None,
        }
    }
}

/// Counters of one registration.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) sent: AtomicU64,
    pub(crate) granted: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) calls_in: AtomicU64,
}

impl Counts {
    /// So many more.
    pub(crate) fn add(counter: &AtomicU64, more: u64) {
        counter.fetch_add(more, Ordering::Relaxed);
    }
}

/// The registration as all shards share it. A call to a trunk looks at one word, and at the lock only if there is a service
/// route to be had; a call from outside looks at the lock if it came over a connection.
#[derive(Debug, Default)]
pub struct SharedRegistration {
    /// Until when, in ns; 0: not registered.
    until: AtomicU64,
    /// Whether there is a service route.
    routed: core::sync::atomic::AtomicBool,
    news: Mutex<RegistrationNews>,
    pub(crate) counts: Counts,
}

impl SharedRegistration {
    fn lock(&self) -> MutexGuard<'_, RegistrationNews> {
        // Nothing in here panics half-way through a change.
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the carrier has our binding.
    pub fn is_registered(&self, now: Time) -> bool {
        self.until.load(Ordering::Relaxed) > now.as_nanos()
    }

    /// Until when, if at all.
    pub fn until(&self) -> Option<Time> {
        Some(self.until.load(Ordering::Relaxed)).filter(|ns| *ns > 0).map(Time::from_nanos)
    }

    /// What was told last.
    pub fn news(&self) -> RegistrationNews {
        self.lock().clone()
    }

    /// What a request to the carrier bears in Route (RFC 3608 §5), if the carrier gave something.
    pub fn route(&self) -> Option<String> {
        if !self.routed.load(Ordering::Relaxed) {
            return None;
        }
        Some(self.lock().given.service_route.join(", "))
    }

    /// Whether a connection to that address is the one that the carrier's calls come over.
    pub(crate) fn is_over(&self, now: Time, transport: Transport, remote: SocketAddr) -> bool {
        self.is_registered(now) && self.lock().over == Some((transport, remote))
    }

    /// Tells all shards; gives whether it stands otherwise than before.
    pub(crate) fn tell(&self, until: Option<Time>, mut news: RegistrationNews) -> bool {
        let mut known = self.lock();
        let changed = known.standing != news.standing || known.word != news.word;
        if known.standing == news.standing {
            news.since = known.since;
        }
        self.until.store(until.map_or(0, Time::as_nanos), Ordering::Relaxed);
        self.routed.store(!news.given.service_route.is_empty(), Ordering::Relaxed);
        *known = news;
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_shard_tells_the_others_see_until_it_is_over() {
        let (it, now) = (SharedRegistration::default(), Time::from_millis(1000));
        assert!(!it.is_registered(now) && it.route().is_none());
        let remote = "192.0.2.1:5060".parse().unwrap();
        let given =
            Given { service_route: vec!["<sip:a;lr>".into(), "<sip:b;lr>".into()], ..Given::default() };
        let over = Some((Transport::Tcp, remote));
        let news = RegistrationNews {
            standing: Standing::Registered,
            since: now,
            given,
            over,
            ..Default::default()
        };
        assert!(it.tell(Some(Time::from_millis(3000)), news.clone()));
        assert!(!it.tell(Some(Time::from_millis(5000)), RegistrationNews { since: Time::NEVER, ..news }));
        assert_eq!((it.news().since, it.until()), (now, Some(Time::from_millis(5000))));
        assert_eq!(it.route().as_deref(), Some("<sip:a;lr>, <sip:b;lr>"));
        assert!(it.is_registered(Time::from_millis(4999)) && !it.is_registered(Time::from_millis(5000)));
        assert!(it.is_over(now, Transport::Tcp, remote) && !it.is_over(now, Transport::Udp, remote));
        assert!(!it.is_over(Time::from_millis(5000), Transport::Tcp, remote));
        it.tell(None, RegistrationNews::default());
        assert!(!it.is_registered(now) && it.until().is_none() && it.route().is_none());
    }
}
