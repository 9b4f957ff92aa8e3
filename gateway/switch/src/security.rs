//! SRTP by leg: what is asked of a leg's peer, the keys that are offered, answered and agreed upon (SDES, RFC 4568; between
//! those who need not have it RFC 8643; [`dtls`] where a handshake makes them).
//!
//! Each leg has keys of its own, so that one may be protected and the other not. An answer is written to what a peer offered,
//! an offer is made whenever it offered nothing; what was agreed upon stays until a new exchange has come to its end.

mod dtls;

use crate::leg_way::{LegWay, WaySaid, WayWritten};
use crate::status::Refusal;
use core::net::IpAddr;
use rtp::dtls::Fingerprint;
use rtp::srtp::{Keying, Mki, Secrets, Suite};
use sip::Transport;
use sip::sdp::{Media, Profile, Session, crypto_value};

pub use dtls::KeyingPolicy;
pub(crate) use dtls::{DtlsSaid, Joint};

/// Whether a leg's media is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SrtpPolicy {
    /// It is not: an offer that demands it is refused.
    #[default]
    Off,
    /// It is if the peer wants it: offers of ours let it choose (RFC 8643).
    Optional,
    /// It has to be.
    Required,
}

impl SrtpPolicy {
    /// Its names.
    pub const WORDS: &'static [&'static str] = &["off", "optional", "required"];

    /// Its name.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Optional => "optional",
            Self::Required => "required",
        }
    }

    /// The policy of a name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "off" => Some(Self::Off),
            "optional" => Some(Self::Optional),
            "required" => Some(Self::Required),
            _ => None,
        }
    }
}

/// How media is protected on the legs of a trunk, or of phones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaSecurity {
    /// Whether it is.
    pub srtp: SrtpPolicy,
    /// How both sides come to keys.
    pub keying: KeyingPolicy,
    /// By what, the preferred first; nothing else is offered or agreed to.
    pub suites: Vec<Suite>,
    /// Whether keys go over signalling that is not encrypted: whoever reads that can hear the call (RFC 4568 §8.3).
    pub keys_in_clear: bool,
}

impl MediaSecurity {
    /// The suites that are used unless others are named: the strong ones that are fast, then what all know.
    pub const SUITES: [Suite; 4] =
        [Suite::AeadAes256Gcm, Suite::AeadAes128Gcm, Suite::AesCm256Sha1_80, Suite::AesCm128Sha1_80];
}

impl Default for MediaSecurity {
    fn default() -> Self {
        let (srtp, keying) = (SrtpPolicy::Off, KeyingPolicy::Auto);
        Self { srtp, keying, suites: Self::SUITES.to_vec(), keys_in_clear: false }
    }
}

/// A key that a peer named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    tag: u32,
    /// The suite's name as it was written.
    name: String,
    keying: Keying,
    mki: Mki,
}

/// What a description says of protection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    profile: Option<Profile>,
    keys: Vec<Named>,
    /// Of keys by DTLS.
    dtls: DtlsSaid,
    /// Of the way that media takes.
    way: WaySaid,
}

impl Said {
    /// What a stream's description says; keys of suites that are not known here are left out.
    pub(crate) fn of(session: &Session<'_>, media: &Media<'_>) -> Self {
        let keys = media.crypto().into_iter().filter_map(|crypto| {
            let name = core::str::from_utf8(crypto.suite).ok()?;
            let keying = Keying::new(Suite::named(name)?, &crypto.secret)?;
            let mki = match crypto.mki {
                Some((number, len)) => Mki::new(number, len)?,
                None => Mki::default(),
            };
            Some(Named { tag: crypto.tag, name: name.to_owned(), keying, mki })
        });
        Self {
            profile: media.profile(),
            keys: keys.collect(),
            dtls: DtlsSaid::of(session, media),
            way: WaySaid::of(session, media),
        }
    }

    fn demands_srtp(&self) -> bool {
        self.profile.is_some_and(|profile| profile.secure)
    }
}

/// A key of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Own {
    tag: u32,
    name: String,
    keying: Keying,
}

impl Own {
    fn value(&self) -> String {
        crypto_value(self.tag, &self.name, self.keying.secret())
    }
}

/// The keys of both directions.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pair {
    own: Own,
    peer: Named,
    /// Whether the profile in SDP is that of SRTP, or that of who need not have it.
    in_profile: bool,
}

/// Who offered last.
#[derive(Debug)]
enum Exchange {
    /// Nobody yet, or it is our turn.
    Open,
    /// We did, these keys.
    Ours(Vec<Own>),
    /// The peer did, in this profile; what we answer, without keys if in the clear.
    Theirs(Option<Profile>, Option<Box<Pair>>),
}

/// What an exchange has come to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Agreed<'a> {
    /// Media goes as it is.
    Clear,
    /// It is protected: by our key what we send, by the peer's, with its identifier, what it sends.
    Keys(&'a Keying, &'a Keying, Mki),
    /// It is protected by what a handshake will come to.
    Dtls(&'a Joint),
}

/// What is written of a leg's protection and way.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// The protocol, if it is one of RTP's.
    pub(crate) protocol: Option<&'static str>,
    /// Values of `a=crypto`.
    pub(crate) crypto: Vec<String>,
    /// Further attributes.
    pub(crate) way: WayWritten,
}

/// The protection of one leg.
#[derive(Debug)]
pub(crate) struct LegSecurity {
    policy: SrtpPolicy,
    suites: Vec<Suite>,
    secrets: Secrets,
    exchange: Exchange,
    active: Option<Box<Pair>>,
    /// Keys by DTLS.
    dtls: dtls::LegDtls,
    way: LegWay,
    /// Whether an exchange has come to its end: a leg in the clear is not asked again.
    settled: bool,
}

impl LegSecurity {
    /// A leg that nothing was said on yet, whose signalling goes so. `print`: of the gateway's certificate, without which
    /// nothing is keyed by DTLS.
    pub(crate) fn new(
        config: &MediaSecurity,
        transport: Transport,
        print: Option<&Fingerprint>,
        secrets: Secrets,
    ) -> Self {
        let may = transport.is_encrypted() || config.keys_in_clear;
        let dtls = dtls::LegDtls::new(config, transport, print);
        let policy = match config.srtp {
            SrtpPolicy::Optional if !may && !dtls.takes() => SrtpPolicy::Off,
            policy => policy,
        };
        let by_sdes = may && config.keying != KeyingPolicy::Dtls;
        let suites = if by_sdes { config.suites.clone() } else { Vec::new() };
        Self { policy, suites, dtls, ..Self::off(secrets) }
    }

    /// A leg in the clear.
    pub(crate) fn off(secrets: Secrets) -> Self {
        Self {
            policy: SrtpPolicy::Off,
            suites: Vec::new(),
            secrets,
            exchange: Exchange::Open,
            active: None,
            dtls: dtls::LegDtls::default(),
            way: LegWay::default(),
            settled: false,
        }
    }

    /// The first of the peer's keys that can be agreed to (RFC 4568 §5.1.2: in its order of preference).
    fn choose<'s>(&self, said: &'s Said) -> Option<&'s Named> {
        let by_sdes = said.profile.is_some_and(|profile| !profile.dtls) && self.policy != SrtpPolicy::Off;
        said.keys.iter().find(|key| by_sdes && self.suites.contains(&key.keying.suite()))
    }

    /// Whether an offer can be agreed to.
    ///
    /// # Errors
    /// 488, and why.
    pub(crate) fn admits(&self, said: &Said) -> Result<(), Refusal> {
        let chosen = self.chooses_dtls(said) || self.choose(said).is_some();
        match self.policy {
            _ if chosen => Ok(()),
            _ if said.profile.is_some_and(|profile| profile.dtls) => Err(self.dtls.refusal()),
            SrtpPolicy::Required if self.suites.is_empty() && !self.dtls.takes() => Err(Refusal::sdp(
                "SRTP is required here, and its keys may not go over unencrypted signalling",
            )),
            SrtpPolicy::Required => {
                Err(Refusal::sdp("SRTP is required here, with a key of a suite that is agreed to"))
            }
            _ if said.demands_srtp() => {
                Err(Refusal::sdp("SRTP is off here, or offered with no key of a suite that is agreed to"))
            }
            _ => Ok(()),
        }
    }

    /// The peer offers.
    ///
    /// # Errors
    /// It cannot be agreed to: 488, and nothing is changed.
    pub(crate) fn hear_offer(&mut self, said: &Said) -> Result<(), Refusal> {
        self.admits(said)?;
        self.way.hear_offer(&said.way, &mut self.secrets);
        let by_dtls = self.chooses_dtls(said);
        self.dtls.hear_offer(by_dtls.then_some(&said.dtls), said.demands_srtp(), said.way.ice.is_some());
        let chosen = if by_dtls { None } else { self.choose(said) };
        let pair = chosen.cloned().map(|peer| {
            let pending = match &self.exchange {
                Exchange::Theirs(_, pending) => pending.as_deref(),
                _ => None,
            };
            // What is offered as it was stays as it is; to a new key belongs a new one of ours, since peers begin anew then.
            let same = |pair: &&Pair| pair.peer == peer;
            let own = self
                .active
                .as_deref()
                .filter(same)
                .or_else(|| pending.filter(same))
                .map(|pair| pair.own.clone());
            let own = own.unwrap_or_else(|| Own {
                tag: peer.tag,
                name: peer.name.clone(),
                keying: Keying::draw(peer.keying.suite(), &mut self.secrets),
            });
            Box::new(Pair { own, peer, in_profile: said.demands_srtp() })
        });
        self.exchange = Exchange::Theirs(said.profile, pair);
        Ok(())
    }

    /// What is written next is an offer.
    pub(crate) fn offering(&mut self) {
        if matches!(self.exchange, Exchange::Theirs(..)) {
            self.exchange = Exchange::Open;
        }
        self.way.offering();
        self.dtls.offering();
    }

    /// What was written last is offered as it is.
    pub(crate) fn reoffered(&mut self) {
        self.exchange = Exchange::Ours(self.active.iter().map(|pair| pair.own.clone()).collect());
        self.way.reoffered();
        self.dtls.reoffered();
    }

    /// The protocol and the keys to write, in place of the other side's `profile`: to the peer's offer its answer, else an offer.
    ///
    /// # Errors
    /// It would have to be protected, and may not be.
    pub(crate) fn write(
        &mut self,
        profile: Option<Profile>,
        (address, port, index): (IpAddr, u16, usize),
    ) -> Result<Written, Refusal> {
        let (protocol, crypto) = self.keys(profile)?;
        let browser = self.dtls.is_offered();
        let mut way = self.way.write(address, port, index, browser, &mut self.secrets);
        way.media.extend(self.dtls.lines());
        Ok(Written { protocol, crypto, way })
    }

    /// The protocol, and the keys of SDES.
    fn keys(&mut self, profile: Option<Profile>) -> Result<(Option<&'static str>, Vec<String>), Refusal> {
        if let Exchange::Theirs(theirs, pair) = &self.exchange {
            let keys = pair.iter().map(|pair| pair.own.value()).collect();
            return Ok((theirs.map(Profile::as_str), keys));
        }
        let by_sdes = self.active.is_some();
        if let Some(offered) = self.dtls.offer(profile.filter(|_| !by_sdes), self.policy, self.settled) {
            self.exchange = Exchange::Ours(Vec::new());
            return Ok((offered.map(Profile::as_str), Vec::new()));
        }
        let keep = matches!(&self.exchange, Exchange::Ours(_)) && self.active.is_none() && !self.settled;
        if !keep {
            let lines = match &self.active {
                Some(pair) => vec![pair.own.clone()],
                None if self.settled && self.policy != SrtpPolicy::Required => Vec::new(),
                None if self.policy == SrtpPolicy::Off => Vec::new(),
                None => self.draw(),
            };
            self.exchange = Exchange::Ours(lines);
        }
        let Exchange::Ours(lines) = &self.exchange else { return Ok((None, Vec::new())) };
        if lines.is_empty() && self.policy == SrtpPolicy::Required {
            return Err(Refusal::sdp(
                "SRTP is required there, and its keys may not go over unencrypted signalling",
            ));
        }
        let secure = match &self.active {
            Some(pair) => pair.in_profile,
            None => self.policy == SrtpPolicy::Required,
        };
        // A protocol that is none of RTP's profiles is nothing that is known here.
        // Feedback that a browser offers is for browsers: carriers know RTP/AVP.
        let profile = profile.map(|profile| Profile {
            secure: secure && !lines.is_empty(),
            dtls: false,
            feedback: profile.feedback && !profile.dtls,
        });
        Ok((profile.map(Profile::as_str), lines.iter().map(Own::value).collect()))
    }

    /// A key for each suite, numbered in the order of preference.
    fn draw(&mut self) -> Vec<Own> {
        let Self { suites, secrets, .. } = self;
        let keys = suites.iter().zip(1..).map(|(suite, tag)| Own {
            tag,
            name: suite.name().to_owned(),
            keying: Keying::draw(*suite, secrets),
        });
        keys.collect()
    }

    /// Whether an answer can be taken: one key, of those that were offered (RFC 4568 §5.1.3), or none where that is left open.
    fn answered(&self, lines: &[Own], said: &Said) -> Result<Option<Box<Pair>>, Refusal> {
        let pair = match said.keys.as_slice() {
            [peer, ..] if !lines.is_empty() => {
                let own =
                    lines.iter().find(|own| own.tag == peer.tag && own.keying.suite() == peer.keying.suite());
                let own =
                    own.ok_or_else(|| Refusal::sdp("it answers with an SRTP key that was not offered"))?;
                let in_profile = said.demands_srtp();
                Some(Box::new(Pair { own: own.clone(), peer: peer.clone(), in_profile }))
            }
            _ => None,
        };
        if self.dtls.answered(said)?.is_some() {
            return Ok(None);
        }
        if pair.is_none() && (self.policy == SrtpPolicy::Required || said.demands_srtp()) {
            return Err(Refusal::sdp("it answers without the SRTP key that it has to have"));
        }
        Ok(pair)
    }

    /// Whether what the peer describes, offer or answer, can be agreed to.
    ///
    /// # Errors
    /// 488, and why.
    pub(crate) fn takes(&self, said: &Said) -> Result<(), Refusal> {
        match &self.exchange {
            Exchange::Ours(lines) => self.answered(lines, said).map(|_| ()),
            _ => self.admits(said),
        }
    }

    /// The exchange is at its end: what the peer described holds.
    ///
    /// # Errors
    /// It cannot be agreed to: all stays as it was.
    pub(crate) fn commit(&mut self, said: &Said) -> Result<Agreed<'_>, Refusal> {
        let answers = matches!(self.exchange, Exchange::Ours(_));
        let pair = match &self.exchange {
            Exchange::Ours(lines) => {
                let pair = self.answered(lines, said)?;
                self.dtls.take_answer(said)?;
                pair
            }
            _ => {
                self.hear_offer(said)?;
                match &self.exchange {
                    Exchange::Theirs(_, pair) => pair.clone(),
                    _ => None,
                }
            }
        };
        self.way.commit(&said.way, answers, &mut self.secrets);
        self.active = pair;
        self.settled = true;
        if let Some(joint) = self.dtls.commit() {
            return Ok(Agreed::Dtls(joint));
        }
        Ok(self
            .active
            .as_ref()
            .map_or(Agreed::Clear, |pair| Agreed::Keys(&pair.own.keying, &pair.peer.keying, pair.peer.mki)))
    }

    /// The way that was agreed upon.
    pub(crate) const fn way(&self) -> &LegWay {
        &self.way
    }

    /// The tag of the key of ours that is in use.
    pub(crate) fn tag(&self) -> Option<u32> {
        self.active.as_ref().map(|pair| pair.own.tag)
    }
}

#[cfg(test)]
mod tests;
