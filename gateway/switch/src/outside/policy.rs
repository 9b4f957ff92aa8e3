//! What passes outside of calls: which methods, how large a body, how many subscriptions.

use crate::profile::Referrals;
use core::time::Duration;
use sip::message::Method;

/// The methods that can pass outside of calls, in the order in which they are named.
const CHOICES: [Method; 5] =
    [Method::Message, Method::Subscribe, Method::Publish, Method::Options, Method::Notify];

/// A set of methods that pass outside of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passing(u8);

impl Passing {
    /// None.
    pub const NONE: Self = Self(0);
    /// What phones and exchanges expect of each other: MESSAGE (RFC 3428), SUBSCRIBE with its NOTIFYs (RFC 6665) and
    /// PUBLISH (RFC 3903).
    pub const USUAL: Self = Self(0b111);

    /// The set of these methods, in any case.
    ///
    /// # Errors
    /// Names the method that cannot pass, and those that can.
    pub fn named(names: &[String]) -> Result<Self, String> {
        names.iter().try_fold(Self::NONE, |set, name| {
            let wanted = name.to_ascii_uppercase();
            let place = CHOICES.iter().position(|method| method.as_str() == wanted);
            place.map(|place| Self(set.0 | 1 << place)).ok_or_else(|| {
                let known: Vec<&str> = CHOICES.iter().map(|method| method.as_str()).collect();
                let why = if wanted == "INFO" {
                    "exists inside calls alone, where it always passes (RFC 6086 §4.2)"
                } else {
                    "cannot pass outside of calls"
                };
                format!("\"{name}\" {why}; known are {}", known.join(", "))
            })
        })
    }

    /// Whether a method is in it.
    pub fn has(self, method: Method) -> bool {
        CHOICES.iter().position(|other| *other == method).is_some_and(|place| self.0 & 1 << place != 0)
    }

    /// The set without a method.
    #[must_use]
    pub fn without(self, method: Method) -> Self {
        let place = CHOICES.iter().position(|other| *other == method);
        Self(self.0 & !place.map_or(0, |place| 1 << place))
    }

    /// What is in either.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What passes outside of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outside {
    /// Methods that pass from and to phones, and from allowed networks; trunks' profiles have their own.
    pub requests: Passing,
    /// What becomes of REFERs outside of calls from phones and allowed networks; trunks' profiles have their own.
    pub referrals: Referrals,
    /// Most of them executed at a time on this shard, each one call or two; one more is answered 503.
    pub referrals_max: u32,
    /// Longest body that passes, in bytes; one more is answered 413.
    pub body_max: usize,
    /// Most subscriptions at a time on this shard, each about 4 KiB; one more is answered 503.
    pub subscriptions_max: u32,
    /// Most requests at a time on this shard that wait for their answer, each about 4 KiB and its body.
    pub requests_max: u32,
    /// The longest time a subscription is asked for, whatever the subscriber wants.
    pub expires_max: Duration,
}

impl Default for Outside {
    fn default() -> Self {
        Self {
            requests: Passing::USUAL,
            referrals: Referrals::Refuse,
            referrals_max: 100,
            body_max: 16_384,
            subscriptions_max: 10_000,
            requests_max: 10_000,
            expires_max: Duration::from_secs(86_400),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_made_of_names() {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(Passing::named(&names(&["MESSAGE", "subscribe", "Publish"])), Ok(Passing::USUAL));
        assert_eq!(Passing::named(&[]), Ok(Passing::NONE));
        let set = Passing::named(&names(&["OPTIONS", "NOTIFY"])).unwrap();
        assert!(set.has(Method::Options) && set.has(Method::Notify) && !set.has(Method::Message));
        assert!(!Passing::USUAL.or(set).has(Method::Invite) && Passing::USUAL.or(set).has(Method::Publish));
        assert!(Passing::named(&names(&["INFO"])).unwrap_err().contains("inside calls alone"));
        let error = Passing::named(&names(&["BYE"])).unwrap_err();
        assert!(error.ends_with("known are MESSAGE, SUBSCRIBE, PUBLISH, OPTIONS, NOTIFY"), "{error}");
    }
}
