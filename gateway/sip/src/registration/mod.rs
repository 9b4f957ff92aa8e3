//! A registration with a registrar, the client's side, without IO (RFC 3261 §10.2): when a REGISTER is sent, what it says,
//! what its answer means, and how long to wait after a failure (RFC 5626 §4.5).
//!
//! The owner calls [`Registration::compose`] when [`Registration::deadline`] has come, sends what it gets, and gives back
//! the final answer ([`Registration::on_response`]) or that there is none ([`Registration::on_failure`]).

mod answer;

pub use answer::{ASSOCIATED_MAX, SERVICE_ROUTE_MAX};

use crate::auth::{Account, Answerer};
use crate::event::{Failure, Transport};
use crate::message::{Message, Name};
use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;
use sansio::{Random, Time};
use std::sync::Arc;

/// Challenges answered for one attempt: two proxies and a registrar, one of them with a stale nonce.
const CHALLENGES: u8 = 4;
/// Times that are found too brief (423) in one attempt.
const BRIEF: u8 = 2;
/// Redirections followed in one attempt (RFC 3261 §8.1.3.4).
const REDIRECTIONS: u8 = 3;
/// The longest Retry-After that is obeyed.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(86_400);
/// Characters of a reason phrase that are kept.
const REASON_MAX: usize = 128;
/// A refresh is begun so long before the end that one REGISTER can still go unanswered (64 × T1), if time allows.
const SPARE: Duration = Duration::from_secs(40);

/// What a registration is made of. Those that differ in more than `expires`, `account` and the times make another binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The Request-URI: the registrar's domain, without user (RFC 3261 §10.2).
    pub registrar: String,
    /// The address of record, for To and From.
    pub aor: String,
    /// Seconds asked for, above 0; the registrar grants what it likes.
    pub expires: u32,
    /// What challenges are answered with.
    pub account: Option<Arc<Account>>,
    /// The Route of each REGISTER: an outbound proxy (RFC 3261 §8.1.2).
    pub route: Option<String>,
    /// Whether it goes encrypted: then no redirection leads it into the clear.
    pub secure: bool,
    /// Base of the wait after a failure (RFC 5626 §4.5: 30 s).
    pub retry_base: Duration,
    /// The longest wait (RFC 5626 §4.5: 1800 s), and that after a refusal.
    pub retry_max: Duration,
}

impl Terms {
    /// Whether both are about the same binding at the same registrar.
    pub fn is_same_binding(&self, other: &Self) -> bool {
        (&self.registrar, &self.aor) == (&other.registrar, &other.aor)
    }
}

/// How a registration stands, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The first answer is awaited.
    Trying,
    /// The registrar has the binding.
    Registered,
    /// The last attempt failed; the binding made before may still hold.
    Failing,
    /// The registrar said no: only a new configuration or another word of the registrar helps.
    Refused,
    /// It was given up, and the registrar told.
    Left,
}

/// One REGISTER to be sent.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Its CSeq number.
    pub cseq: u32,
    /// Its Request-URI.
    pub request_uri: String,
    /// Seconds to ask for; 0 removes the binding.
    pub expires: u32,
    /// Route, credentials and the like.
    pub fields: Vec<(&'static str, String)>,
    /// Where a redirection leads; `None`: to the registrar as configured.
    pub to: Option<(Transport, SocketAddr)>,
}

/// What the last answer was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Word {
    /// Its status; `None` if there was no answer.
    pub status: Option<u16>,
    /// In words.
    pub reason: String,
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            Some(status) if self.reason.is_empty() => write!(f, "{status}"),
            Some(status) => write!(f, "{status} {}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

/// What a registrar gave besides time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// Service-Route, as it is to stand in Route of requests (RFC 3608 §5).
    pub service_route: Vec<String>,
    /// P-Associated-URI (RFC 7315 §4.1).
    pub associated: Vec<String>,
    /// Whether there was a Service-Route that cannot be used: too long, or no loose router's.
    pub service_route_dropped: bool,
}

/// Where the machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The next REGISTER is due then.
    Waiting(Time),
    /// One is under way.
    Asking {
        since: Time,
        /// Seconds asked for.
        expires: u32,
    },
    /// There will be none any more.
    Over,
}

/// What was tried since the last end of an attempt.
#[derive(Clone, Copy, Debug, Default)]
struct Attempt {
    challenges: u8,
    brief: u8,
    redirections: u8,
}

/// One registration.
#[derive(Debug)]
pub struct Registration {
    terms: Terms,
    /// The same over all refreshes (RFC 3261 §10.2.4).
    call_id: String,
    tag: String,
    cseq: u32,
    phase: Phase,
    attempt: Attempt,
    answerer: Option<Answerer>,
    /// Whether the credentials at hand were made for an earlier attempt: then their refusal says nothing of the password.
    carried: bool,
    /// Seconds to ask for: the configured ones, or more after 423.
    expires: u32,
    to: Option<(Transport, SocketAddr)>,
    /// Until when the registrar has the binding.
    until: Option<Time>,
    /// Whether the registrar may have a binding of which we do not know.
    uncertain: bool,
    failures: u32,
    /// Attempts granted and failed since it was made.
    tally: (u64, u64),
    /// The terms changed while an answer was awaited: the next REGISTER follows it at once.
    anew: bool,
    leaving: bool,
    standing: Standing,
    word: Word,
    given: Given,
}

impl Registration {
    /// One whose first REGISTER is due at `first`. Call-ID and From tag are never changed again.
    pub fn new(terms: Terms, call_id: String, tag: String, first: Time) -> Self {
        Self {
            answerer: terms.account.clone().map(Answerer::new),
            expires: terms.expires,
            terms,
            call_id,
            tag,
            cseq: 0,
            phase: Phase::Waiting(first),
            attempt: Attempt::default(),
            carried: false,
            to: None,
            until: None,
            uncertain: false,
            failures: 0,
            tally: (0, 0),
            anew: false,
            leaving: false,
            standing: Standing::Trying,
            word: Word::default(),
            given: Given::default(),
        }
    }

    /// When [`Self::on_time`] is wanted next; `None` while an answer is awaited that decides, or once all is over.
    pub fn deadline(&self) -> Option<Time> {
        match self.phase {
            Phase::Waiting(at) => Some(self.until.map_or(at, |until| at.min(until))),
            Phase::Asking { .. } => self.until,
            Phase::Over => None,
        }
    }

    /// Takes note of the time: a binding that was not renewed ends. Whether a REGISTER is due.
    pub fn on_time(&mut self, now: Time) -> bool {
        if self.until.is_some_and(|until| until <= now) {
            self.until = None;
            if self.standing == Standing::Registered {
                self.standing = Standing::Failing;
                self.word = Word { status: None, reason: "the time granted is over".into() };
            }
        }
        matches!(self.phase, Phase::Waiting(at) if at <= now)
    }

    /// The REGISTER to be sent now; from now on its answer is awaited. `chance` is a random number for credentials.
    pub fn compose(&mut self, now: Time, chance: u64) -> Ask {
        self.cseq += 1;
        let expires = if self.leaving { 0 } else { self.expires };
        self.phase = Phase::Asking { since: now, expires };
        self.uncertain = true;
        if self.leaving {
            // From now on the registrar may have taken it out, whatever we hear of that.
            self.until = None;
        }
        let request_uri = match self.to {
            Some((transport, to)) => {
                let suffix = transport.uri_parameter();
                format!("sip:{to}{suffix}")
            }
            None => self.terms.registrar.clone(),
        };
        let mut fields = Vec::new();
        if let Some(route) = &self.terms.route {
            fields.push(("Route", route.clone()));
        }
        if let Some(answerer) = &mut self.answerer {
            fields.extend(answerer.fields("REGISTER", &request_uri, chance));
        }
        Ask { cseq: self.cseq, request_uri, expires, fields, to: self.to }
    }

    /// Takes the final answer to the REGISTER composed last; `contact` is the URI it named.
    pub fn on_response(&mut self, now: Time, response: &Message<'_>, contact: &str, random: &mut Random) {
        let Phase::Asking { since, expires } = self.phase else { return };
        let status = response.status();
        let reason = words(response.reason());
        match status {
            200..300 if expires == 0 => {
                self.word = Word { status: Some(status), reason };
                self.over();
            }
            200..300 => {
                let seconds = answer::granted(response, contact, expires);
                if seconds == 0 {
                    self.failed(now, Some(status), "granted no time".into(), None, random);
                } else {
                    self.given = answer::given(response);
                    self.word = Word { status: Some(status), reason };
                    self.granted(now, since, Duration::from_secs(seconds.into()), random);
                }
            }
            401 | 407 => self.challenged(now, response, reason, random),
            423 => {
                let least = response.seconds(Name::MinExpires).unwrap_or(0);
                if least > expires && self.attempt.brief < BRIEF && !self.leaving {
                    self.attempt.brief += 1;
                    self.expires = least;
                    self.phase = Phase::Waiting(now);
                } else {
                    self.refused(now, Some(status), reason, None, random);
                }
            }
            300..=399 => {
                let to = answer::redirection(response, self.terms.secure).filter(|to| self.to != Some(*to));
                if to.is_some()
                    && self.attempt.redirections < REDIRECTIONS
                    && self.terms.route.is_none()
                    && !self.leaving
                {
                    self.attempt.redirections += 1;
                    self.to = to;
                    self.carried = true;
                    self.phase = Phase::Waiting(now);
                } else {
                    self.refused(now, Some(status), reason, None, random);
                }
            }
            // Those that may pass by themselves.
            408 | 480 | 486 | 491 | 500..600 => {
                self.failed(now, Some(status), reason, retry_after(response), random);
            }
            _ => self.refused(now, Some(status), reason, retry_after(response), random),
        }
    }

    /// Takes it that the REGISTER composed last got no final answer, or could not be sent.
    pub fn on_failure(&mut self, now: Time, cause: &Failure, random: &mut Random) {
        let reason = match cause {
            Failure::Refused => "refused (nobody listens, or the connection broke)",
            Failure::ConnectFailed => "could not be connected",
            _ => "no answer",
        };
        self.failed(now, None, reason.to_owned(), None, random);
    }

    /// Takes it that a REGISTER could not be sent for want of room or of an address.
    pub fn on_unsent(&mut self, now: Time, why: &str, random: &mut Random) {
        self.failed(now, None, format!("could not be sent: {why}"), None, random);
    }

    /// The connection over which the registrar was to reach us is gone: registered anew after the wait that
    /// RFC 5626 §4.5 gives to a first failure, so that not all come back at once.
    pub fn on_flow_lost(&mut self, now: Time, random: &mut Random) {
        if self.leaving || self.standing != Standing::Registered {
            return;
        }
        if let Phase::Waiting(at) = self.phase {
            self.phase = Phase::Waiting(at.min(now + self.wait(0, random)));
            self.standing = Standing::Failing;
            self.word = Word { status: None, reason: "the connection broke".into() };
        }
    }

    /// Goes on by other terms, which are about the same binding: registers anew at once.
    pub fn change(&mut self, now: Time, terms: Terms) {
        if terms.account != self.terms.account {
            self.answerer = terms.account.clone().map(Answerer::new);
            self.carried = false;
        }
        self.expires = terms.expires;
        self.terms = terms;
        self.failures = 0;
        if matches!(self.phase, Phase::Waiting(_)) {
            self.attempt = Attempt::default();
            self.phase = Phase::Waiting(now);
        } else {
            self.anew = true;
        }
    }

    /// Gives the registration up: the registrar is told if it may have a binding (RFC 3261 §10.2.2).
    pub fn leave(&mut self, now: Time) {
        if self.leaving {
            return;
        }
        self.leaving = true;
        if matches!(self.phase, Phase::Waiting(_)) {
            if self.until.is_some() || self.uncertain {
                self.attempt = Attempt::default();
                self.phase = Phase::Waiting(now);
            } else {
                self.over();
            }
        }
    }

    /// Whether nothing will be sent any more.
    pub const fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    /// Whether it was given up.
    pub const fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// What it is made of.
    pub const fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Call-ID of every REGISTER.
    pub fn call_id(&self) -> &str {
        &self.call_id
    }

    /// From tag of every REGISTER.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// How it stands.
    pub const fn standing(&self) -> Standing {
        self.standing
    }

    /// Until when the registrar has the binding, as far as it said.
    pub const fn until(&self) -> Option<Time> {
        self.until
    }

    /// When the next REGISTER is due, if none is under way.
    pub const fn next(&self) -> Option<Time> {
        match self.phase {
            Phase::Waiting(at) => Some(at),
            _ => None,
        }
    }

    /// The last answer.
    pub const fn word(&self) -> &Word {
        &self.word
    }

    /// Attempts that were granted and that failed, since it was made.
    pub const fn tally(&self) -> (u64, u64) {
        self.tally
    }

    /// What the registrar gave with the binding.
    pub const fn given(&self) -> &Given {
        &self.given
    }

    fn granted(&mut self, now: Time, since: Time, granted: Duration, random: &mut Random) {
        // From the sending on: the registrar counts from some time after it.
        self.until = Some(since + granted);
        self.standing = Standing::Registered;
        self.failures = 0;
        self.tally.0 += 1;
        self.end_attempt();
        let soon = self.leaving || self.anew;
        self.anew = false;
        self.phase = Phase::Waiting(if soon { now } else { since + refresh(granted, random) });
    }

    fn challenged(&mut self, now: Time, response: &Message<'_>, reason: String, random: &mut Random) {
        let status = Some(response.status());
        let Some(account) = self.terms.account.clone() else {
            let reason =
                format!("{reason} (the registrar asks for a name and password, and none are configured)");
            return self.refused(now, status, reason, None, random);
        };
        self.attempt.challenges += 1;
        let mut taken = self.answerer.as_mut().is_some_and(|answerer| answerer.take(response));
        if !taken && self.carried {
            // A nonce of an earlier attempt was refused without a word about its age.
            let mut answerer = Answerer::new(account);
            taken = answerer.take(response);
            self.answerer = Some(answerer);
            self.carried = false;
        }
        if taken && self.attempt.challenges <= CHALLENGES {
            self.phase = Phase::Waiting(now);
            return;
        }
        let reason = format!("{reason} (wrong name or password, or a challenge that cannot be answered)");
        // The next attempt begins with nothing: the registrar may have learnt the password by then.
        self.answerer = self.terms.account.clone().map(Answerer::new);
        self.refused(now, status, reason, None, random);
    }

    /// An attempt failed in a way that may pass.
    fn failed(
        &mut self,
        now: Time,
        status: Option<u16>,
        reason: String,
        retry_after: Option<Duration>,
        random: &mut Random,
    ) {
        self.failures = self.failures.saturating_add(1);
        self.tally.1 += 1;
        self.word = Word { status, reason };
        if self.leaving {
            return self.over();
        }
        self.standing = Standing::Failing;
        self.end_attempt();
        self.to = None;
        let wait = self.wait(self.failures, random).max(retry_after.unwrap_or_default());
        self.phase = Phase::Waiting(if core::mem::take(&mut self.anew) { now } else { now + wait });
    }

    /// The registrar said no: nothing is gained by asking soon.
    fn refused(
        &mut self,
        now: Time,
        status: Option<u16>,
        reason: String,
        retry_after: Option<Duration>,
        random: &mut Random,
    ) {
        self.failures = self.failures.saturating_add(1);
        self.tally.1 += 1;
        self.word = Word { status, reason };
        if self.leaving {
            return self.over();
        }
        self.standing = Standing::Refused;
        self.until = None;
        self.uncertain = false;
        self.end_attempt();
        self.to = None;
        self.expires = self.terms.expires;
        let wait = share(self.terms.retry_max, 0.9, random).max(retry_after.unwrap_or_default());
        self.phase = Phase::Waiting(if core::mem::take(&mut self.anew) { now } else { now + wait });
    }

    fn over(&mut self) {
        self.phase = Phase::Over;
        self.standing = Standing::Left;
        self.until = None;
    }

    /// What comes next is a new attempt, with the credentials of this one (RFC 7616 §3.4 lets a nonce be used again).
    fn end_attempt(&mut self) {
        self.attempt = Attempt::default();
        self.carried = true;
    }

    /// RFC 5626 §4.5: between half and all of base × 2^failures, which is bounded.
    fn wait(&self, failures: u32, random: &mut Random) -> Duration {
        let most =
            self.terms.retry_base.saturating_mul(1u32.checked_shl(failures.min(31)).unwrap_or(u32::MAX));
        share(most.min(self.terms.retry_max), 0.5, random)
    }
}

/// Between `least` (a share) and all of a span.
fn share(span: Duration, least: f64, random: &mut Random) -> Duration {
    span.mul_f64(least + (1.0 - least) * random.unit())
}

/// When a binding is renewed: after half to nine tenths of its time, early enough for a second try where it lasts for
/// that, and never before half.
fn refresh(granted: Duration, random: &mut Random) -> Duration {
    let half = granted / 2;
    let latest = granted.mul_f64(0.9).min(granted.saturating_sub(SPARE)).max(granted.mul_f64(0.6));
    half + (latest - half).mul_f64(random.unit())
}

/// A reason phrase as one line of text, not long.
fn words(reason: &[u8]) -> String {
    String::from_utf8_lossy(reason).chars().filter(|char| !char.is_control()).take(REASON_MAX).collect()
}

/// Retry-After (RFC 3261 §20.33), as far as it is obeyed.
fn retry_after(response: &Message<'_>) -> Option<Duration> {
    let seconds = response.seconds(Name::RetryAfter)?;
    Some(Duration::from_secs(seconds.into()).min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests;
