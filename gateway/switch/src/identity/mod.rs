//! Who really calls: identities that callers' networks signed are verified, and calls that leave are signed (RFC 8224).
//!
//! A call whose certificate is not known waits, for a moment and with few others, while control fetches it.

mod known;
mod outgoing;
mod verify;
mod verstat;

pub(crate) use known::Certificates;
pub(crate) use outgoing::{Departure, depart};

use core::time::Duration;
use std::sync::Arc;
use stir::{Claim, Party, Policy, Roots, Signer};
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
}

/// What is known of a call's identity.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    /// Whether the caller is a user who has shown that he is.
    pub(crate) user: bool,
    /// The claim, and what is to be done with it, while its certificate is awaited.
    waiting: Option<Box<(Claim, Verify)>>,
    verstat: Option<Verstat>,
    /// Who was verified.
    verified: Option<Party>,
    /// A failure that the caller has not been told of yet (RFC 9410 §4).
    pub(crate) reason: Option<String>,
    /// For the call's record.
    pub(crate) record: Option<link::Identity>,
}

impl Standing {
    /// Nothing is known but whether the caller is a user.
    pub(crate) fn new(user: bool) -> Self {
        Self { user, ..Self::default() }
    }

    /// The address of the certificate that is awaited.
    pub(crate) fn awaits(&self) -> Option<&str> {
        self.waiting.as_ref().map(|waiting| waiting.0.x5u())
    }

    /// The field that tells the caller of a failure, once.
    pub(crate) fn take_reason(&mut self) -> Option<String> {
        self.reason.take()
    }
}
