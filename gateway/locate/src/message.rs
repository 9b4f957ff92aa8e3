//! DNS messages: a question written, an answer read, checked and reduced to what is asked for (RFC 1035).

use crate::config::{ALIASES_MAX, RECORDS_MAX};
use crate::name::Name;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use simple_dns::rdata::RData;
use simple_dns::{CLASS, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, ResourceRecord, TYPE};

/// Octets of a header.
const HEADER: usize = 12;
/// Octets of the smallest resource record: root name, type, class, TTL, length.
const RECORD_MIN: usize = 11;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses (RFC 3596).
    Aaaa,
    /// Servers of a service (RFC 2782).
    Srv,
    /// Services of a domain (RFC 3403).
    Naptr,
}

impl Kind {
    const fn code(self) -> TYPE {
        match self {
            Self::A => TYPE::A,
            Self::Aaaa => TYPE::AAAA,
            Self::Srv => TYPE::SRV,
            Self::Naptr => TYPE::NAPTR,
        }
    }
}

/// A server of a service (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Service {
    /// Lower is tried first.
    pub priority: u16,
    /// Share among those of one priority.
    pub weight: u16,
    /// Its port.
    pub port: u16,
    /// Its name; `None`: the service is decidedly not offered.
    pub host: Option<Name>,
}

/// A service of a domain (RFC 3403).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// Lower is taken first; of the others none once one was taken.
    pub order: u16,
    /// Lower is tried first.
    pub preference: u16,
    /// `s` if SRV records follow; lower case.
    pub flags: String,
    /// Such as `sip+d2u`; lower case.
    pub services: String,
    /// Where to go on.
    pub replacement: Option<Name>,
}

/// Records of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Records {
    /// Of [`Kind::A`] and [`Kind::Aaaa`].
    Addresses(Vec<IpAddr>),
    /// Of [`Kind::Srv`].
    Services(Vec<Service>),
    /// Of [`Kind::Naptr`].
    Rules(Vec<Rule>),
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There are records.
    Records(Records),
    /// The name stands for another, of which nothing more is said.
    Alias(Name),
    /// There is no such name, or no such record of it (RFC 2308 §2).
    Nothing,
    /// The server cannot or does not want to say.
    Refused,
    /// More aliases than are followed.
    Loop,
    /// It did not fit; to be asked over TCP.
    Truncated,
}

/// An answer, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What it says.
    pub outcome: Outcome,
    /// How long it holds, in seconds; of an answer that there is nothing, 0 if it does not say.
    pub ttl: u32,
    /// Records left out since there were too many.
    pub cut: usize,
}

/// The question for records of a name, recursion desired; `None` if the name cannot be written.
pub fn query(id: u16, name: &Name, kind: Kind) -> Option<Vec<u8>> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let name = simple_dns::Name::new(name.as_str()).ok()?;
    let (kind, class) = (QTYPE::TYPE(kind.code()), QCLASS::CLASS(CLASS::IN));
    packet.questions.push(Question::new(name, kind, class, false));
    packet.build_bytes_vec().ok()
}

/// Whether a message answers this question: identifier, kind of message and question are the same.
pub fn is_answer_to(query: &[u8], bytes: &[u8]) -> bool {
    let (Some(head), Some(asked)) = (bytes.first_chunk::<HEADER>(), query.get(HEADER..)) else {
        return false;
    };
    let same_id = query.get(..2) == Some(&head[..2]);
    let response = head[2] & 0x80 != 0 && head[2] & 0x78 == 0;
    let one_question = head[4..6] == [0, 1];
    // Letters of a name may come back in another case; nothing else in a question is a letter.
    let question = bytes.get(HEADER..query.len());
    same_id && response && one_question && question.is_some_and(|got| got.eq_ignore_ascii_case(asked))
}

/// Reads an answer to the question for records of a name; `None` if it cannot be read. That it
/// [is the answer](is_answer_to) was looked at before.
pub fn read(bytes: &[u8], name: &Name, kind: Kind) -> Option<Answer> {
    let head = bytes.first_chunk::<HEADER>()?;
    let done = |outcome, ttl| Some(Answer { outcome, ttl, cut: 0 });
    if head[2] & 0x02 != 0 {
        return done(Outcome::Truncated, 0);
    }
    // A header that promises more than there is makes nobody allocate for it.
    let promised: usize =
        head[6..].chunks_exact(2).map(|n| usize::from(u16::from_be_bytes([n[0], n[1]]))).sum();
    if promised * RECORD_MIN > bytes.len() {
        return None;
    }
    let packet = Packet::parse(bytes).ok()?;
    let nowhere = match packet.rcode() {
        RCODE::NoError => false,
        RCODE::NameError => true,
        _ => return done(Outcome::Refused, 0),
    };
    let Some((owner, ttl)) = follow(&packet.answers, name) else { return done(Outcome::Loop, 0) };
    let (records, lowest, cut) = collect(&packet.answers, &owner, kind);
    if let (Some(records), false) = (records, nowhere) {
        return Some(Answer { outcome: Outcome::Records(records), ttl: ttl.min(lowest), cut });
    }
    let authority = authority(&packet, &owner);
    if let (false, None, true) = (nowhere, authority, owner != *name) {
        return done(Outcome::Alias(owner), ttl);
    }
    let refers = packet.name_servers.iter().any(|record| matches!(record.rdata, RData::NS(_)));
    if !nowhere && authority.is_none() && refers {
        // It names other servers instead of asking them: it is not one that resolves for us (RFC 2308 §2.2).
        return done(Outcome::Refused, 0);
    }
    done(Outcome::Nothing, authority.map_or(0, |negative| negative.min(ttl)))
}

/// The name at the end of the aliases of `name`, and the lowest TTL on the way; `None` if there are too many.
fn follow(answers: &[ResourceRecord<'_>], name: &Name) -> Option<(Name, u32)> {
    let (mut owner, mut lowest) = (name.clone(), u32::MAX);
    for _ in 0..=ALIASES_MAX {
        let alias = answers.iter().find_map(|record| match &record.rdata {
            RData::CNAME(alias) if is_of(record, &owner) => Some((owned(&alias.0)?, ttl(record))),
            _ => None,
        });
        let Some((next, ttl)) = alias else { return Some((owner, lowest)) };
        lowest = lowest.min(ttl);
        owner = next;
    }
    None
}

/// The records of a name, their lowest TTL, and how many were too many.
fn collect(answers: &[ResourceRecord<'_>], owner: &Name, kind: Kind) -> (Option<Records>, u32, usize) {
    let (mut addresses, mut services, mut rules) = (Vec::new(), Vec::new(), Vec::new());
    let (mut lowest, mut cut) = (u32::MAX, 0);
    for record in answers.iter().filter(|record| is_of(record, owner)) {
        if addresses.len() + services.len() + rules.len() >= RECORDS_MAX {
            cut += 1;
            continue;
        }
        match (&record.rdata, kind) {
            (RData::A(a), Kind::A) => addresses.push(IpAddr::V4(Ipv4Addr::from(a.address))),
            (RData::AAAA(a), Kind::Aaaa) => addresses.push(IpAddr::V6(Ipv6Addr::from(a.address))),
            (RData::SRV(srv), Kind::Srv) => {
                let Ok(host) = Name::from_labels(srv.target.as_bytes()) else { continue };
                services.push(Service { priority: srv.priority, weight: srv.weight, port: srv.port, host });
            }
            (RData::NAPTR(naptr), Kind::Naptr) => {
                let Ok(replacement) = Name::from_labels(naptr.replacement.as_bytes()) else { continue };
                rules.push(Rule {
                    order: naptr.order,
                    preference: naptr.preference,
                    flags: naptr.flags.to_string().to_ascii_lowercase(),
                    services: naptr.services.to_string().to_ascii_lowercase(),
                    replacement,
                });
            }
            _ => continue,
        }
        lowest = lowest.min(ttl(record));
    }
    // One order for the same set: servers rotate what they send.
    addresses.sort_unstable();
    addresses.dedup();
    services.sort_unstable();
    services.dedup();
    rules.sort_unstable();
    let records = match kind {
        Kind::A | Kind::Aaaa if !addresses.is_empty() => Some(Records::Addresses(addresses)),
        Kind::Srv if !services.is_empty() => Some(Records::Services(services)),
        Kind::Naptr if !rules.is_empty() => Some(Records::Rules(rules)),
        _ => None,
    };
    (records, lowest, cut)
}

/// How long the zone of a name lets it be kept that there is nothing (RFC 2308 §5); `None` if no zone speaks.
fn authority(packet: &Packet<'_>, name: &Name) -> Option<u32> {
    packet.name_servers.iter().find_map(|record| match &record.rdata {
        RData::SOA(soa)
            if Name::from_labels(record.name.as_bytes())
                .is_ok_and(|zone| zone.is_none_or(|zone| name.is_within(&zone))) =>
        {
            Some(soa.minimum.min(ttl(record)))
        }
        _ => None,
    })
}

fn owned(name: &simple_dns::Name<'_>) -> Option<Name> {
    Name::from_labels(name.as_bytes()).ok().flatten()
}

fn is_of(record: &ResourceRecord<'_>, owner: &Name) -> bool {
    record.class == CLASS::IN && owned(&record.name).as_ref() == Some(owner)
}

/// A TTL with its highest bit set is none at all (RFC 2181 §8).
const fn ttl(record: &ResourceRecord<'_>) -> u32 {
    if record.ttl > i32::MAX as u32 { 0 } else { record.ttl }
}
