//! Who really calls: identities that callers' networks signed are verified, and calls that leave are signed (RFC 8224).
//! The same goes for messages (RFC 9475).
//!
//! A call whose certificate is not known waits, for a moment and with few others, while control fetches it.

mod known;
mod lists;
mod outgoing;
mod verify;
mod verstat;

pub(crate) use known::{Certificates, Waiter};
pub(crate) use outgoing::{Departure, depart};
pub(crate) use verify::testimony;

use core::time::Duration;
use std::sync::Arc;
use stir::{ListIssuers, Party, Policy, Revocation, RevocationList, Roots, Signer, Testimony};
use verstat::Verstat;

/// What is done with the identity of a call that comes in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// Nothing.
    #[default]
    Off,
    /// It is verified, and the callee is told what came of it.
    Tag,
    /// It is verified, and a call that fails is refused.
    Reject,
}

/// How a trunk deals with identities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrunkIdentity {
    /// For calls from its peers.
    pub verify: Verify,
    /// Whether calls to it are signed.
    pub sign: bool,
    /// Whether calls to it keep the Identity fields they came with; such a call is not signed again.
    pub pass: bool,
    /// Whether it is a gateway from elsewhere, of whose calls nothing is known but where they came in (RFC 8588 §4, "C").
    pub gateway: bool,
}

/// How identities are verified and signed.
#[derive(Clone, Debug)]
pub struct IdentityConfig {
    /// For calls that are from no trunk's peer.
    pub verify: Verify,
    /// Whose certificates are believed.
    pub roots: Roots,
    /// What is asked of tokens.
    pub policy: Policy,
    /// What is asked of lists of revoked certificates.
    pub revocation: Revocation,
    /// Lists that are at hand, whatever certificates say.
    pub lists: Vec<Arc<RevocationList>>,
    /// Who keeps lists for others.
    pub list_issuers: ListIssuers,
    /// How long a call waits for a certificate.
    pub patience: Duration,
    /// Whether the callee is told attestation and origination in fields of their own.
    pub indicator: bool,
    /// With what calls are signed, if they are.
    pub signing: Option<Signing>,
}

impl Default for IdentityConfig {
    fn default() -> Self {
        Self {
            verify: Verify::Off,
            roots: Roots::default(),
            policy: Policy::default(),
            revocation: Revocation::default(),
            lists: Vec::new(),
            list_issuers: ListIssuers::default(),
            patience: Duration::from_secs(1),
            indicator: false,
            signing: None,
        }
    }
}

/// With what calls are signed.
#[derive(Clone, Debug)]
pub struct Signing {
    /// The key, and where its certificate is.
    pub signer: Arc<Signer>,
    /// Beginnings of the numbers, canonical, that customers are known to be entitled to.
    pub full: Vec<String>,
    /// Where calls come into this network; none: a name made of the trunk or the address each comes from.
    pub origid: Option<String>,
    /// Whether the token of a diversion has that of before nested in it, and takes its place (RFC 8946 §5).
    pub nests: bool,
}

/// What is known of a call's identity.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing {
    /// Whether the caller is a user who has shown that he is.
    pub(crate) user: bool,
    /// The tokens, while a certificate of theirs is awaited.
    waiting: Option<Box<Waiting>>,
    verstat: Option<Verstat>,
    /// Who was verified.
    verified: Option<Party>,
    /// For whom the tokens are.
    reached: Option<Party>,
    /// Whether the caller claims a priority that he is not entitled to (RFC 8443 §4).
    presumes: bool,
    /// A failure that the caller has not been told of yet (RFC 9410 §4).
    pub(crate) reason: Option<String>,
    /// For the call's record.
    pub(crate) record: Option<link::Identity>,
}

/// Tokens whose certificates are not all known.
#[derive(Clone, Debug)]
struct Waiting {
    testimony: Testimony,
    /// What is to be done with them.
    verify: Verify,
    /// The address of the certificate that is awaited.
    url: String,
}

impl Standing {
    /// Nothing is known but whether the caller is a user.
    pub(crate) fn new(user: bool) -> Self {
        Self { user, ..Self::default() }
    }

    /// The address of the certificate that is awaited.
    pub(crate) fn awaits(&self) -> Option<&str> {
        self.waiting.as_ref().map(|waiting| &*waiting.url)
    }

    /// The field that tells the caller of a failure, once.
    pub(crate) fn take_reason(&mut self) -> Option<String> {
        self.reason.take()
    }
}
