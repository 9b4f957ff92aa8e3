//! Keys by DTLS on a leg (RFC 5763, RFC 5764): who offers it to whom, who begins, and whose certificate has to be shown.
//!
//! The keys themselves are never in SDP, so that it may go over signalling that is not encrypted; who changes the fingerprints
//! there can be the one who is spoken with (RFC 5763 §7.1).

use super::{LegSecurity, MediaSecurity, Said, SrtpPolicy};
use crate::status::Refusal;
use rtp::dtls::Fingerprint;
use sip::Transport;
use sip::sdp::{Media, Profile, Session, Setup};

/// How keys come to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyingPolicy {
    /// Offers are answered as they come. Offers of ours are for browsers where signalling goes over WebSocket: DTLS, whatever
    /// else is said of SRTP, since browsers take nothing else. Elsewhere they are SDES.
    #[default]
    Auto,
    /// By SDP (RFC 4568): offers of DTLS are refused.
    Sdes,
    /// By DTLS: keys in SDP are neither offered nor taken.
    Dtls,
}

impl KeyingPolicy {
    /// Its names.
    pub const WORDS: &'static [&'static str] = &["auto", "sdes", "dtls"];

    /// Its name.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Sdes => "sdes",
            Self::Dtls => "dtls",
        }
    }

    /// The policy of a name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Auto, Self::Sdes, Self::Dtls].into_iter().find(|policy| policy.word() == name)
    }
}

/// What a description says of keys by DTLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DtlsSaid {
    /// Fingerprints of hashes that are taken.
    prints: Vec<Fingerprint>,
    setup: Option<Setup>,
    tls_id: Option<String>,
}

impl DtlsSaid {
    /// What a session says of one of its streams.
    pub(super) fn of(session: &Session<'_>, media: &Media<'_>) -> Self {
        let way = session.way(media);
        Self {
            prints: way.fingerprints.iter().filter_map(|print| Fingerprint::parse(print)).collect(),
            setup: way.setup,
            tls_id: way.tls_id.map(|id| String::from_utf8_lossy(id).into_owned()),
        }
    }

    fn is_usable(&self) -> bool {
        !self.prints.is_empty() && self.setup != Some(Setup::Holdconn)
    }
}

/// What both sides agreed on: the handshake that is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Joint {
    /// One of these is the peer's certificate's.
    pub(crate) prints: Vec<Fingerprint>,
    /// Whether we begin.
    pub(crate) active: bool,
    /// By which the peer tells one association from another (RFC 8842 §4).
    tls_id: Option<String>,
    /// Whether the profile in SDP is that of SRTP.
    in_profile: bool,
}

/// Keys by DTLS on one leg.
#[derive(Debug, Default)]
pub(super) struct LegDtls {
    /// Of our certificate, if the leg may be keyed so.
    print: Option<Fingerprint>,
    /// Whether offers of ours are of it.
    offers: bool,
    /// Whether a browser is called: nothing less than SRTP is offered.
    browser: bool,
    /// The answer to what the peer offered, until its turn is over.
    pending: Option<Box<Joint>>,
    /// Whether the last offer of ours was of it, and in which profile.
    offered: Option<Profile>,
    active: Option<Box<Joint>>,
}

impl LegDtls {
    pub(super) fn new(config: &MediaSecurity, transport: Transport, print: Option<&Fingerprint>) -> Self {
        let browser =
            matches!(transport, Transport::Ws | Transport::Wss) && config.keying == KeyingPolicy::Auto;
        let taken = browser || config.srtp != SrtpPolicy::Off && config.keying != KeyingPolicy::Sdes;
        let print = print.filter(|_| taken).cloned();
        let offers = print.is_some() && (browser || config.keying == KeyingPolicy::Dtls);
        Self { print, offers, browser, ..Self::default() }
    }

    /// Whether it is agreed to.
    pub(super) const fn takes(&self) -> bool {
        self.print.is_some()
    }

    /// Why an offer of it is not.
    pub(super) fn refusal(&self) -> Refusal {
        Refusal::sdp(match self.takes() {
            true => "it offers DTLS without a fingerprint of SHA-256, SHA-384 or SHA-512",
            false => "SRTP by DTLS is off here",
        })
    }

    /// The peer offers; `said` if that is taken up. Without ICE its packets have to show where it is, so it is to begin.
    pub(super) fn hear_offer(&mut self, said: Option<&DtlsSaid>, in_profile: bool, ice: bool) {
        self.offered = None;
        self.pending = said.map(|said| {
            let stands = |joint: &&Joint| joint.prints == said.prints && joint.tls_id == said.tls_id;
            let role = self.active.as_deref().filter(stands).map(|joint| joint.active);
            let active = match said.setup {
                Some(Setup::Passive) => true,
                // RFC 8842 §5.3: who is what stays while the association does.
                Some(Setup::Actpass) => role.unwrap_or(ice),
                // RFC 4145 §4.1: who says nothing begins.
                _ => false,
            };
            Box::new(self.joint(said, active, in_profile))
        });
    }

    fn joint(&self, said: &DtlsSaid, active: bool, in_profile: bool) -> Joint {
        Joint { prints: said.prints.clone(), active, tls_id: said.tls_id.clone(), in_profile }
    }

    pub(super) fn offering(&mut self) {
        self.pending = None;
    }

    pub(super) fn reoffered(&mut self) {
        self.pending = None;
        self.offered = self.active.as_ref().map(|joint| profile(joint.in_profile, Profile::PLAIN));
    }

    /// The profile of an offer of ours, in place of `given`, if it is of keys by DTLS.
    pub(super) fn offer(
        &mut self,
        given: Option<Profile>,
        policy: SrtpPolicy,
        settled: bool,
    ) -> Option<Option<Profile>> {
        let given = given?;
        let secure = match &self.active {
            Some(joint) => joint.in_profile,
            // A leg in the clear is not asked again.
            None if !self.offers || settled && policy != SrtpPolicy::Required => {
                self.offered = None;
                return None;
            }
            None => self.browser || policy == SrtpPolicy::Required,
        };
        let feedback = Profile { feedback: given.feedback || self.browser, ..Profile::PLAIN };
        self.offered = Some(profile(secure, feedback));
        Some(self.offered)
    }

    /// Whether what was written last is an offer of it.
    pub(super) const fn is_offered(&self) -> bool {
        self.offered.is_some()
    }

    /// The attributes to write.
    pub(super) fn lines(&self) -> Vec<String> {
        let Some(print) = &self.print else { return Vec::new() };
        let setup = match (&self.pending, &self.active) {
            (Some(joint), _) => role(joint),
            (None, Some(joint)) if self.offered.is_some() => role(joint),
            (None, _) if self.offered.is_some() => Setup::Actpass,
            _ => return Vec::new(),
        };
        vec![format!("fingerprint:{print}"), format!("setup:{}", setup.as_str())]
    }

    /// What an answer to an offer of ours comes to: keys by DTLS, or none.
    ///
    /// # Errors
    /// It would have to have them.
    pub(super) fn answered(&self, said: &Said) -> Result<Option<Joint>, Refusal> {
        let Some(offered) = self.offered else { return Ok(None) };
        if !said.dtls.is_usable() {
            return match offered.secure {
                true => Err(Refusal::sdp("it answers without the DTLS fingerprint that it has to have")),
                false => Ok(None),
            };
        }
        let active = match (said.dtls.setup, self.active.as_deref()) {
            // RFC 8842 §5.4: who answers an association that stands says what it is.
            (Some(Setup::Passive), _) => true,
            (Some(Setup::Actpass) | None, Some(joint)) => joint.active,
            _ => false,
        };
        Ok(Some(self.joint(&said.dtls, active, said.demands_srtp())))
    }

    /// The answer holds.
    pub(super) fn take_answer(&mut self, said: &Said) -> Result<(), Refusal> {
        self.pending = self.answered(said)?.map(Box::new);
        Ok(())
    }

    /// The exchange is at its end.
    pub(super) fn commit(&mut self) -> Option<&Joint> {
        // It is said again if the same answer is asked for again.
        self.active.clone_from(&self.pending);
        self.active.as_deref()
    }
}

/// SRTP by DTLS in SDP; where it need not be, plain RTP with a fingerprint (RFC 8643 §3).
const fn profile(secure: bool, base: Profile) -> Profile {
    Profile { secure, dtls: secure, ..base }
}

const fn role(joint: &Joint) -> Setup {
    if joint.active { Setup::Active } else { Setup::Passive }
}

impl LegSecurity {
    /// Whether an offer's keys are to come by DTLS: its profile says so, or it has a fingerprint and no key that can be agreed
    /// to.
    pub(super) fn chooses_dtls(&self, said: &Said) -> bool {
        let Some(profile) = said.profile else { return false };
        self.dtls.takes() && said.dtls.is_usable() && (profile.dtls || self.choose(said).is_none())
    }
}

#[cfg(test)]
mod tests;
