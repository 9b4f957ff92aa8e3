//! From what went wrong inside to what the caller is told: the only such table.

use crate::session::text;
use crate::trunk::Dry;
use sip::message::{Name, reason_phrase};
use sip::{Failure, Received};

/// A refusal: status, phrase, Q.850 cause, whether Retry-After goes with it, and why in words for the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) reason: Option<Box<str>>,
    pub(crate) q850: u8,
    pub(crate) retry: bool,
    pub(crate) cause: String,
    /// The value of a Reason field that goes with it.
    pub(crate) reason_field: Option<String>,
    /// What else goes with it.
    pub(crate) more: Option<Box<More>>,
}

/// What goes with a refusal that says more than no.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct More {
    /// Header fields.
    pub(crate) fields: Vec<(&'static str, String)>,
    /// Type and bytes of a body.
    pub(crate) body: Option<(String, Vec<u8>)>,
}

impl Refusal {
    fn new(status: u16, q850: u8, retry: bool, cause: &str) -> Self {
        Self { status, reason: None, q850, retry, cause: cause.to_owned(), reason_field: None, more: None }
    }

    pub(crate) fn source() -> Self {
        Self::new(403, 21, false, "source not allowed")
    }

    pub(crate) fn credentials() -> Self {
        Self::new(403, 21, false, "wrong user name or password")
    }

    pub(crate) fn unregistered() -> Self {
        Self::new(480, 20, false, "the user is not registered")
    }

    /// RFC 5627 §5.3, of a temporary GRUU that is not, or not any more.
    pub(crate) fn void() -> Self {
        Self::new(404, 1, false, "no such temporary GRUU, or void")
    }

    pub(crate) fn draining() -> Self {
        Self::new(503, 41, true, "gateway is draining")
    }

    pub(crate) fn calls_limit() -> Self {
        Self::new(503, 42, true, "gateway is at its limit of calls")
    }

    pub(crate) fn fraud(status: u16) -> Self {
        Self::new(status, 21, status == 503, "a cap against toll fraud")
    }

    pub(crate) fn unrouted() -> Self {
        Self::new(404, 1, false, "no route for the number")
    }

    pub(crate) fn looped() -> Self {
        Self::new(482, 25, false, "the call came back to the gateway that sent it")
    }

    pub(crate) fn diverted() -> Self {
        Self::new(482, 25, false, "the call was diverted too often")
    }

    /// RFC 3323 §5: what is critical and cannot be done ends the call.
    pub(crate) fn privacy() -> Self {
        Self::new(500, 79, false, "a privacy that is asked for as critical is not known")
    }

    pub(crate) fn sdp(why: &str) -> Self {
        Self::new(488, 88, false, &format!("SDP not usable: {why}"))
    }

    pub(crate) fn ports() -> Self {
        Self::new(503, 34, true, "no RTP ports free")
    }

    /// A dialog cannot be replaced (RFC 3891 §3).
    pub(crate) fn dialog(status: u16, why: &str) -> Self {
        Self::new(status, q850(status), false, why)
    }

    pub(crate) fn internal(why: &str) -> Self {
        Self::new(500, 41, false, why)
    }

    pub(crate) fn no_answer() -> Self {
        Self::new(480, 19, false, "callee did not answer")
    }

    pub(crate) fn operator() -> Self {
        Self::new(480, 31, false, "ended by operator")
    }

    /// The same as an attempt that failed, for when no other trunk takes the call.
    pub(crate) fn as_failure(&self) -> Failure {
        let reason = self.reason.clone().unwrap_or_else(|| reason_phrase(self.status).into());
        Failure::Status { status: self.status, reason, retry_after: None }
    }

    /// The caller's identity could not be verified (RFC 8224 §6.2.2, with RFC 9410 §4 for who looks at Reason).
    pub(crate) fn identity(failure: &stir::Failure) -> Self {
        Self {
            reason: Some(failure.class.phrase().into()),
            reason_field: Some(failure.reason()),
            ..Self::new(failure.class.status(), 21, false, &failure.to_string())
        }
    }

    /// Control said no.
    pub(crate) fn control(status: u16, reason: &str) -> Self {
        let status = if (400..700).contains(&status) { status } else { 500 };
        let cause = format!("control refused: {reason}");
        Self { reason: Some(reason.into()), ..Self::new(status, 21, status == 503, &cause) }
    }

    /// No peer was left before any was tried, or after `last` had failed.
    pub(crate) fn dry(dry: Dry, last: Option<&Failure>) -> Self {
        match (dry, last) {
            (Dry::Full, _) => Self::new(503, 34, true, "all trunks full"),
            (Dry::Unlocated, _) => {
                Self::new(503, 38, true, "no address is known of the trunk's peers, which are names")
            }
            (Dry::Down, _) => Self::new(503, 38, true, "no trunk in service"),
            (Dry::Tried, Some(failure)) => Self::callee(failure),
            (Dry::Tried, None) => Self::new(503, 38, true, "no trunk could be used"),
        }
    }

    /// What else goes with it, to be filled in.
    pub(crate) fn more(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }

    /// A redirection as the caller is told it (RFC 3261 §21.3).
    pub(crate) fn redirection(status: u16, reason: &str, contacts: &[String]) -> Self {
        let cause = format!("{status} {reason}, told to the caller");
        let mut refusal = Self { reason: Some(reason.into()), ..Self::new(status, 20, false, &cause) };
        if !contacts.is_empty() {
            refusal.more().fields.push(("Contact", contacts.join(", ")));
        }
        refusal
    }

    /// Takes over from the callee's refusal what the caller needs to understand it: which extensions are missing (421,
    /// RFC 3261 §21.4.16) or not known (420, §21.4.15).
    pub(crate) fn explained_by(mut self, response: Option<&Received>) -> Self {
        let Some(message) = response.and_then(|response| response.parse().ok()) else { return self };
        let name = match (self.status == message.status(), self.status) {
            (true, 420) => Name::Unsupported,
            (true, 421) => Name::Require,
            _ => return self,
        };
        let tags: Vec<String> = message.values(name).map(text).collect();
        if !tags.is_empty() {
            self.more().fields.push((name.as_str(), tags.join(", ")));
        }
        self
    }

    /// The callee's side failed for good.
    pub(crate) fn callee(failure: &Failure) -> Self {
        match failure {
            // The carrier challenges the gateway, not the caller, who could not answer it.
            Failure::Status { status: 401 | 407, .. } => {
                Self::new(503, 38, true, "carrier asks for authentication")
            }
            // Where to is not for the caller to know: it would lead around the gateway (RFC 3261 §8.1.3.4 leaves it to us).
            Failure::Status { status: status @ 300..=399, .. } => {
                Self::new(480, 20, false, &format!("carrier redirects ({status})"))
            }
            Failure::Status { status, reason, .. } => {
                let cause = format!("{status} {reason}");
                Self {
                    reason: Some(reason.clone()),
                    ..Self::new(*status, q850(*status), *status == 503, &cause)
                }
            }
            Failure::NoAnswer => Self::no_answer(),
            Failure::NoResponse => Self::new(503, 38, true, "carrier did not respond"),
            Failure::Refused => Self::new(503, 38, true, "carrier unreachable (ICMP refused)"),
            Failure::ConnectFailed => Self::new(503, 38, true, "carrier could not be connected"),
            Failure::TimedOut => Self::new(503, 102, true, "carrier sent no final response"),
            Failure::AnsweredLate => Self::new(487, 16, false, "answered after it was given up"),
        }
    }
}

/// The Q.850 cause of a status (RFC 3398 §8.2.6.1).
pub(crate) const fn q850(status: u16) -> u8 {
    match status {
        401 | 402 | 403 | 407 | 603 => 21,
        404 | 485 | 604 => 1,
        405 => 63,
        406 | 415 | 488 | 606 => 88,
        428 | 436 | 437 | 438 => 21,
        408 | 504 => 102,
        410 => 22,
        413 | 414 | 416 | 420 | 421 | 423 | 505 | 513 => 127,
        480 => 18,
        482 | 483 => 25,
        484 => 28,
        486 | 600 => 17,
        487 => 16,
        501 => 79,
        502 => 38,
        580 => 47,
        _ => 41,
    }
}
