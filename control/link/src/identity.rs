//! Whether a caller's number is the caller's: what a verification came to, and the certificates it needs.

use crate::Text;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What was found out of a call's identity (RFC 8224, RFC 8588), and what the gateway vouched for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// What came of the verification, as it is told the callee: `TN-Validation-Passed`, `TN-Validation-Failed` or
    /// `No-TN-Validation` (3GPP TS 24.229 §7.2A.20); `None` if it was not verified.
    pub verstat: Option<Text>,
    /// What the caller's network attests, if that was verified: `A`, `B` or `C` (RFC 8588 §4).
    pub attest: Option<Text>,
    /// Where the call came into that network, if that was verified (RFC 8588 §5).
    pub origid: Option<String>,
    /// Status and words of a verification that failed: `438 Invalid Identity Header: the signature is wrong`.
    pub cause: Option<String>,
    /// What the gateway attested in its own signature towards the last trunk tried; `None` if it did not sign.
    pub signed: Option<Text>,
    /// Whom the call was for before it was sent on to the number dialled, the first callee first, as those who sent it on
    /// have signed (RFC 8946).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diverted: Vec<String>,
    /// The Resource-Priority that the caller was verified to be entitled to (RFC 8443).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<String>,
}

/// The answer to [`Event::CertificateAsked`](crate::Event::CertificateAsked) and
/// [`Event::RevocationsAsked`](crate::Event::RevocationsAsked): what stands at an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// The address.
    pub url: String,
    /// The file, PEM or DER; or in words why it cannot be had.
    pub chain: Result<Chain, String>,
    /// For how many seconds this may be kept.
    pub fresh_s: u32,
}

/// A file of certificates, or a list of revoked ones, shared between the shards of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<u8>", into = "Vec<u8>")]
pub struct Chain(pub Arc<[u8]>);

impl From<Vec<u8>> for Chain {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl From<Chain> for Vec<u8> {
    fn from(chain: Chain) -> Self {
        chain.0.to_vec()
    }
}
