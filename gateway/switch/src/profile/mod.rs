//! Profiles: how a trunk likes its INVITEs. Which header fields pass, are added, rewritten or removed, how numbers are
//! written, who is trusted, and how long to wait.
//!
//! A profile is made once, when the configuration is read, and is not changed after that: a call keeps the one that its
//! trunk had when it was tried, whatever a reload says meanwhile.

mod apply;
mod field;
mod manner;
mod number;
mod template;

pub use crate::history::Telling;
pub use apply::{Outgoing, Written};
pub use field::{FieldError, FieldName, Pattern};
pub use manner::{EarlyDialogs, Joins, LargeRequests, LateOffers, Redirects, Referrals};
pub use number::{NumberFormat, NumberPlan, PlanError};
pub use template::{Template, TemplateError};

use crate::keys::Dtmf;
use crate::leg_reports::Reporting;
use crate::outside::Passing;
use crate::security::MediaSecurity;
use crate::streams::Allowed;
use crate::transfer::TransferPolicy;
use core::time::Duration;

/// The names of the built-in profiles.
pub const BUILT_IN: [&str; 4] = ["carrier-strict", "carrier-lenient", "pbx", "ims"];

/// Most rules of one kind in a profile.
pub const RULES_MAX: usize = 64;

/// How INVITEs to a trunk are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// Whether the trunk is in our trust domain (RFC 3325 §2.4): only then it sees what was said in confidence.
    pub trusted: bool,
    /// Whether media before the answer passes; without it 183 becomes 180, and provisional responses have no SDP.
    pub early_media: bool,
    /// Whether it is offered its own codecs where the caller offers none of them, and the gateway translates.
    pub transcode: bool,
    /// Whose media that is when the call was forked.
    pub early_dialogs: EarlyDialogs,
    /// What becomes of its redirections.
    pub redirects: Redirects,
    /// What becomes of a call without an offer.
    pub late_offer: LateOffers,
    /// How a request goes that is too large for a datagram.
    pub large_requests: LargeRequests,
    /// What is done with its REFERs.
    pub transfer: TransferPolicy,
    /// What becomes of INVITEs from and to it that are to join a call.
    pub joins: Joins,
    /// What becomes of its REFERs outside of calls.
    pub referrals: Referrals,
    /// How long a peer may say nothing at all; none: as for all trunks.
    pub no_response: Option<Duration>,
    /// How long the callee may ring; none: as for all trunks.
    pub no_answer: Option<Duration>,
    /// Where requests inside a call go if the trunk's side is behind a NAT; none: as for everybody in its realm.
    pub nat: Option<sip::Nat>,
    /// How media is protected; none: as on all other legs.
    pub security: Option<MediaSecurity>,
    /// How its peers say keys (DTMF); none: as on all other legs.
    pub dtmf: Option<Dtmf>,
    /// Whether keys in its calls are hidden from whoever looks at traces: card numbers and PINs.
    pub dtmf_hidden: bool,
    /// What is reported on its legs; none: as on all other legs.
    pub reporting: Option<Reporting>,
    /// Which streams beside speech pass.
    pub allowed: Allowed,
    /// How the number called is written.
    pub called: NumberFormat,
    /// How the calling number is written.
    pub calling: NumberFormat,
    /// What the two formats need to know.
    pub plan: NumberPlan,
    /// What passes: of all rules that fit a field the last one says whether it does; without any it does not.
    pub pass: Vec<(Pattern, bool)>,
    /// Fields that pass with another value.
    pub rewrite: Vec<(FieldName, Template)>,
    /// How the trunk is told of diversions.
    pub diversions: Telling,
    /// Whether calls to the trunk bear Session-ID (RFC 7989).
    pub session_id: bool,
    /// Requests outside of calls that pass from and to the trunk.
    pub requests: Passing,
    /// Fields that are put in.
    pub add: Vec<(FieldName, Template)>,
}

impl Default for Profile {
    /// `carrier-lenient`: the profile of a trunk that names none.
    fn default() -> Self {
        Self::of("carrier-lenient", false, &["Subject", "Priority", "Accept-Language"], NumberFormat::AsIs)
    }
}

impl Profile {
    /// The built-in profile of that name.
    pub fn built_in(name: &str) -> Option<Self> {
        const USUAL: [&str; 3] = ["Subject", "Priority", "Accept-Language"];
        const PBX: [&str; 6] =
            ["Diversion", "History-Info", "P-Asserted-Identity", "Privacy", "Alert-Info", "Call-Info"];
        const IMS: [&str; 4] =
            ["P-Asserted-Identity", "Privacy", "P-Charging-Vector", "P-Access-Network-Info"];
        match name {
            "carrier-strict" => Some(Self {
                transfer: TransferPolicy::Refuse,
                ..Self::of(name, false, &[], NumberFormat::E164)
            }),
            "carrier-lenient" => Some(Self::default()),
            "pbx" => Some(Self::of(name, true, &[&USUAL[..], &PBX].concat(), NumberFormat::AsIs)),
            "ims" => Some(Self {
                transfer: TransferPolicy::Pass,
                ..Self::of(name, true, &[&USUAL[..], &IMS].concat(), NumberFormat::E164)
            }),
            _ => None,
        }
    }

    fn of(name: &str, trusted: bool, pass: &[&str], numbers: NumberFormat) -> Self {
        Self {
            name: name.to_owned(),
            trusted,
            early_media: true,
            transcode: true,
            early_dialogs: EarlyDialogs::Latest,
            redirects: match name {
                "carrier-strict" => Redirects::Refuse,
                "ims" => Redirects::Relay,
                _ => Redirects::Follow,
            },
            late_offer: if name == "carrier-strict" { LateOffers::Offer } else { LateOffers::Pass },
            large_requests: LargeRequests::Tcp,
            transfer: TransferPolicy::default(),
            joins: if name == "carrier-strict" { Joins::Refuse } else { Joins::Pass },
            // Whoever may send one has calls placed that he does not pay for: nobody, unless told.
            referrals: Referrals::Refuse,
            no_response: None,
            no_answer: None,
            nat: None,
            security: None,
            dtmf: None,
            dtmf_hidden: false,
            reporting: None,
            allowed: Allowed::default(),
            called: numbers,
            calling: numbers,
            plan: NumberPlan::default(),
            // Every name above can be passed; a test shows it.
            pass: pass.iter().filter_map(|name| Some((Pattern::new(name).ok()?, true))).collect(),
            rewrite: Vec::new(),
            diversions: Telling::AsIs,
            session_id: true,
            requests: if name == "carrier-strict" { Passing::NONE } else { Passing::USUAL },
            add: Vec::new(),
        }
    }

    /// Whether a field of the caller's INVITE goes on to the trunk, as far as the rules say.
    pub fn passes(&self, name: &str) -> bool {
        let rule = self.pass.iter().rev().find(|(pattern, _)| pattern.fits(name));
        rule.is_some_and(|(_, passes)| *passes) && field::reserved(name).is_none()
    }

    /// Lets fields pass, in addition to those that do.
    pub fn let_pass(&mut self, pattern: Pattern) {
        self.pass.push((pattern, true));
    }

    /// Takes fields out: they pass no more, and what was to be added or rewritten so far is forgotten.
    pub fn take_out(&mut self, pattern: Pattern) {
        self.add.retain(|(name, _)| !pattern.fits(name.as_str()));
        self.rewrite.retain(|(name, _)| !pattern.fits(name.as_str()));
        self.pass.push((pattern, false));
    }

    /// Adds a field, in place of one of that name added so far.
    pub fn put_in(&mut self, name: FieldName, template: Template) {
        self.add.retain(|(other, _)| *other != name);
        self.add.push((name, template));
    }

    /// Gives a field that passes another value.
    pub fn write_anew(&mut self, name: FieldName, template: Template) {
        self.rewrite.retain(|(other, _)| *other != name);
        self.rewrite.push((name, template));
    }

    /// The number called as the trunk sees it.
    pub fn called(&self, number: &str) -> String {
        self.plan.write(number, self.called)
    }

    /// The calling number as the trunk sees it.
    pub fn calling(&self, number: &str) -> String {
        self.plan.write(number, self.calling)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_profiles_are_what_their_names_say() {
        for name in BUILT_IN {
            assert_eq!(Profile::built_in(name).unwrap().name, name);
        }
        assert_eq!(Profile::built_in("nonsense"), None);
        let profile = |name| Profile::built_in(name).unwrap();
        assert!(profile("pbx").passes("diversion") && profile("pbx").trusted);
        assert!(profile("ims").passes("P-Charging-Vector") && profile("ims").trusted);
        assert!(!profile("carrier-lenient").passes("Diversion") && !profile("carrier-lenient").trusted);
        assert!(profile("carrier-lenient").passes("Subject") && !profile("carrier-strict").passes("Subject"));
        assert_eq!((profile("pbx").pass.len(), profile("ims").pass.len()), (9, 7), "no name is refused");
        assert_eq!(profile("carrier-strict").called("861380013800"), "+861380013800");
        let redirects = BUILT_IN.map(|name| profile(name).redirects);
        assert_eq!(redirects, [Redirects::Refuse, Redirects::Follow, Redirects::Follow, Redirects::Relay]);
    }

    #[test]
    fn the_last_rule_that_fits_decides() {
        let mut profile = Profile::built_in("pbx").unwrap();
        let pattern = |text| Pattern::new(text).unwrap();
        profile.let_pass(pattern("X-*"));
        profile.take_out(pattern("X-Secret"));
        profile.take_out(pattern("Diversion"));
        assert!(profile.passes("x-colour") && !profile.passes("X-SECRET") && !profile.passes("Diversion"));
        profile.let_pass(pattern("Diversion"));
        assert!(profile.passes("Diversion"));
        assert!(!profile.passes("Contact") && !profile.passes("P-Preferred-Identity"));
    }

    #[test]
    fn what_a_base_adds_can_be_taken_out() {
        let mut profile = Profile::default();
        let name = |text| FieldName::new(text).unwrap();
        let template = |text| Template::new(text, false).unwrap();
        profile.put_in(name("X-A"), template("1"));
        profile.put_in(name("x-a"), template("2"));
        assert_eq!(profile.add.len(), 1);
        profile.take_out(Pattern::new("X-*").unwrap());
        assert!(profile.add.is_empty());
    }
}
