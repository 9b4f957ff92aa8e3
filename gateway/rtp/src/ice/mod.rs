//! The lite agent of ICE (RFC 8445 §2.5): it sends no checks, answers those that come, and learns from them where its peer is.
//!
//! Only who knows the password that went through signalling is answered with success, may send media, and is sent media. The
//! peer chooses the way (USE-CANDIDATE, §7.3.2); that it goes on checking it is its consent to be sent to (RFC 7675), which
//! runs out when it stops.

mod credentials;

pub use credentials::{Credentials, Remote};

use core::net::SocketAddr;
use core::time::Duration;
use sansio::Time;
use stun::{Class, Message, Writer};

/// Sources whose checks were authentic that are kept: more than a host has addresses. Of those beyond, none is taken.
pub const SOURCES_MAX: usize = 8;
/// Without a check for this long there is no consent (RFC 7675 §5.1).
pub const CONSENT: Duration = Duration::from_secs(30);
/// A peer that checks later than this after it chose goes on checking: retransmissions are over (RFC 8445 §14.3).
const SETTLED: Duration = Duration::from_secs(3);

/// Checks whose transactions are remembered.
const SEEN_MAX: usize = 16;

/// Attributes that a check has, or may have, and that have to be understood.
const KNOWN: [u16; 6] = [
    stun::MAPPED_ADDRESS,
    stun::USERNAME,
    stun::MESSAGE_INTEGRITY,
    stun::MESSAGE_INTEGRITY_SHA256,
    stun::PRIORITY,
    stun::USE_CANDIDATE,
];
/// Attributes not understood that a refusal names.
const UNKNOWN_MAX: usize = 4;

/// What a lite agent counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Checks answered with success.
    pub checks: u64,
    /// Checks refused since they did not show the password: 400 or 401.
    pub unauthentic: u64,
    /// Checks refused since their sender thought itself controlled: 487.
    pub conflicts: u64,
    /// Checks refused since they asked for what is not known: 420.
    pub unknown: u64,
    /// What was neither a check nor an indication, or had no right fingerprint: not answered.
    pub ignored: u64,
    /// Checks that had come from another source before: somebody says again what he heard. Not answered.
    pub replayed: u64,
    /// Checks from more sources than are kept: not answered.
    pub crowded: u64,
    /// Times that the peer's consent ran out.
    pub lapses: u64,
}

impl Account {
    /// Adds another one, if there is one.
    pub fn add(&mut self, other: Option<Self>) {
        let Some(other) = other else { return };
        self.checks += other.checks;
        self.unauthentic += other.unauthentic;
        self.conflicts += other.conflicts;
        self.unknown += other.unknown;
        self.ignored += other.ignored;
        self.replayed += other.replayed;
        self.crowded += other.crowded;
        self.lapses += other.lapses;
    }
}

/// Where the peer was heard, by authentic checks.
#[derive(Clone, Copy, Debug)]
struct Source {
    address: SocketAddr,
    /// The last check.
    heard: Time,
}

/// The way that the peer chose.
#[derive(Clone, Copy, Debug)]
struct Chosen {
    address: SocketAddr,
    priority: u32,
    /// When it was chosen, first and last.
    since: Time,
    named: Time,
    /// Whether the peer has shown that it goes on checking.
    renewing: bool,
}

/// The agent of one leg.
#[derive(Clone, Debug)]
pub struct Agent {
    own: Credentials,
    /// Those before a restart, until the new ones were used (RFC 8445 §9).
    before: Option<Credentials>,
    remote: Remote,
    sources: Vec<Source>,
    /// The last checks, and where they came from.
    seen: Vec<([u8; 12], SocketAddr)>,
    chosen: Option<Chosen>,
    lapsed: bool,
    account: Account,
}

/// What follows from a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// What is to be sent back to its source.
    pub answer: Option<Vec<u8>>,
    /// Whether it was an authentic check.
    pub authentic: bool,
    /// Whether [`Agent::chosen`] is another than before.
    pub moved: bool,
}

impl Agent {
    /// An agent with these credentials, of a peer with those.
    pub const fn new(own: Credentials, remote: Remote) -> Self {
        let account = Account {
            checks: 0,
            unauthentic: 0,
            conflicts: 0,
            unknown: 0,
            ignored: 0,
            replayed: 0,
            crowded: 0,
            lapses: 0,
        };
        Self {
            own,
            before: None,
            remote,
            sources: Vec::new(),
            seen: Vec::new(),
            chosen: None,
            lapsed: false,
            account,
        }
    }

    /// The credentials of both sides are these from now on. Others than before are a restart (RFC 8445 §9): what was chosen
    /// holds until the peer chooses again.
    pub fn renew(&mut self, own: &Credentials, remote: &Remote) {
        if self.own != *own {
            self.before = Some(core::mem::replace(&mut self.own, own.clone()));
        }
        self.remote = remote.clone();
    }

    /// Takes a STUN message that came from `source`.
    pub fn handle(&mut self, now: Time, source: SocketAddr, datagram: &[u8]) -> Heard {
        let Some(message) = Message::parse(datagram) else { return self.ignore() };
        // RFC 8445 §7.1: checks have one.
        if message.method() != stun::BINDING || message.fingerprint_holds() != Some(true) {
            return self.ignore();
        }
        match message.class() {
            Class::Request => {}
            // A keep-alive (RFC 8445 §11): nothing follows.
            Class::Indication => return Heard::default(),
            Class::Success | Class::Error => return self.ignore(),
        }
        let Some(own) = self.key_of(&message) else {
            self.account.unauthentic += 1;
            return refusal(&message);
        };
        let password = own.password().as_bytes().to_vec();
        let unknown = message.unknown(&KNOWN, UNKNOWN_MAX);
        if !unknown.is_empty() {
            self.account.unknown += 1;
            let refusal = answer(&message, Class::Error).error(420, "Unknown Attribute").unknown(&unknown);
            return said(refusal, &password);
        }
        // RFC 8445 §7.3.1.1, §6.1.1: who speaks to a lite agent controls, whatever it thinks.
        if message.get(stun::ICE_CONTROLLED).is_some() && !self.remote.lite {
            self.account.conflicts += 1;
            return said(answer(&message, Class::Error).error(487, "Role Conflict"), &password);
        }
        if self.is_replay(&message, source) {
            self.account.replayed += 1;
            return Heard::default();
        }
        if !self.note(now, source) {
            self.account.crowded += 1;
            return Heard::default();
        }
        self.account.checks += 1;
        if self.own.password().as_bytes() == password {
            self.before = None;
        }
        let moved = self.follow(now, source, &message);
        Heard { authentic: true, moved, ..said(answer(&message, Class::Success).mapped(source), &password) }
    }

    fn ignore(&mut self) -> Heard {
        self.account.ignored += 1;
        Heard::default()
    }

    /// The credentials by which a request is authentic (RFC 8445 §7.3, RFC 8489 §9.1.3).
    fn key_of(&self, message: &Message<'_>) -> Option<&Credentials> {
        let name = message.get(stun::USERNAME)?;
        let fragment = name.split(|byte| *byte == b':').next()?;
        [Some(&self.own), self.before.as_ref()].into_iter().flatten().find(|own| {
            own.fragment().as_bytes() == fragment
                && name.contains(&b':')
                && message.integrity_holds(own.password().as_bytes()) == Some(true)
        })
    }

    /// Whether a check came from elsewhere before: each has a transaction of its own (RFC 8489 §6).
    fn is_replay(&mut self, message: &Message<'_>, source: SocketAddr) -> bool {
        let transaction = message.transaction();
        if let Some((_, first)) = self.seen.iter().find(|(id, _)| *id == transaction) {
            return *first != source;
        }
        if self.seen.len() == SEEN_MAX {
            self.seen.remove(0);
        }
        self.seen.push((transaction, source));
        false
    }

    /// Keeps a source; false if there are too many.
    fn note(&mut self, now: Time, address: SocketAddr) -> bool {
        if let Some(known) = self.sources.iter_mut().find(|source| source.address == address) {
            known.heard = now;
            return true;
        }
        // Who has not been heard for as long as consent lasts makes room.
        self.sources.retain(|source| now.since(source.heard) < CONSENT);
        if self.sources.len() == SOURCES_MAX {
            return false;
        }
        self.sources.push(Source { address, heard: now });
        true
    }

    /// What the peer chooses by a check. Of several it is the one of the highest priority (RFC 8445 §8.1.2), unless the one
    /// before was not named lately: then the peer moved.
    fn follow(&mut self, now: Time, source: SocketAddr, message: &Message<'_>) -> bool {
        let priority = message.number(stun::PRIORITY).unwrap_or(0);
        let names = message.get(stun::USE_CANDIDATE).is_some();
        if let Some(chosen) = self.chosen.as_mut().filter(|chosen| chosen.address == source) {
            chosen.renewing |= now.since(chosen.since) > SETTLED;
            if names {
                (chosen.named, chosen.priority) = (now, priority);
            }
            return core::mem::take(&mut self.lapsed);
        }
        let gives_way =
            |chosen: &Chosen| self.lapsed || chosen.priority <= priority || now.since(chosen.named) > SETTLED;
        if !names || !self.chosen.as_ref().is_none_or(gives_way) {
            return false;
        }
        let renewing = self.chosen.is_some_and(|chosen| chosen.renewing);
        self.chosen = Some(Chosen { address: source, priority, since: now, named: now, renewing });
        self.lapsed = false;
        true
    }

    /// Where media goes: the way that the peer chose, as long as it consents.
    pub fn chosen(&self) -> Option<SocketAddr> {
        self.chosen.filter(|_| !self.lapsed).map(|chosen| chosen.address)
    }

    /// Whether media may come from here: an authentic check did.
    pub fn knows(&self, source: SocketAddr) -> bool {
        self.sources.iter().any(|known| known.address == source)
    }

    /// When consent runs out unless it is renewed; `None` if nothing was chosen, if the peer never renewed it (who keeps to
    /// RFC 5245 alone does not), or if it has run out.
    pub fn consent_ends(&self) -> Option<Time> {
        let chosen = self.chosen.filter(|chosen| chosen.renewing && !self.lapsed)?;
        let heard = self.sources.iter().find(|source| source.address == chosen.address)?.heard;
        Some(heard + CONSENT)
    }

    /// Time went by; true if consent ran out with it: nothing may be sent any more (RFC 7675 §5.1).
    pub fn handle_timeout(&mut self, now: Time) -> bool {
        let over = self.consent_ends().is_some_and(|end| now >= end);
        self.lapsed |= over;
        self.account.lapses += u64::from(over);
        over
    }

    /// Whether the peer withdrew, or let run out, its consent.
    pub const fn has_lapsed(&self) -> bool {
        self.lapsed
    }

    /// What was counted.
    pub const fn account(&self) -> &Account {
        &self.account
    }
}

/// The beginning of an answer.
fn answer(request: &Message<'_>, class: Class) -> Writer {
    Writer::new(class, stun::BINDING, request.transaction())
}

/// An answer, finished.
fn said(answer: Writer, password: &[u8]) -> Heard {
    Heard { answer: Some(answer.integrity(password).fingerprint().finish()), ..Heard::default() }
}

/// Who is not known is told so, without integrity, since no password is shared (RFC 8489 §9.1.3).
fn refusal(request: &Message<'_>) -> Heard {
    let complete = request.get(stun::USERNAME).is_some() && request.get(stun::MESSAGE_INTEGRITY).is_some();
    let refusal = match complete {
        true => answer(request, Class::Error).error(401, "Unauthenticated"),
        false => answer(request, Class::Error).error(400, "Bad Request"),
    };
    Heard { answer: Some(refusal.fingerprint().finish()), ..Heard::default() }
}

#[cfg(test)]
mod tests;
