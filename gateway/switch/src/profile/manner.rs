//! What a profile says of how calls are set up with a trunk: its redirections, its forks' media, offers, large requests.

/// Declares a choice that a configuration writes as one word.
macro_rules! choices {
    ($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $what:literal])+ $variant:ident = $word:literal,)+ }) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[doc = $what])+ $variant,)+
        }

        impl $name {
            /// The words of the configuration, in order.
            pub const WORDS: &[&str] = &[$($word),+];

            /// The choice of this word; `None` if it is none.
            pub fn named(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$variant),)+
                    _ => None,
                }
            }

            /// Its word.
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }
    };
}

choices! {
    /// What becomes of a redirection (3xx, RFC 3261 §8.1.3.4).
    Redirects {
        /// The gateway calls where it leads, as far as that is within its own routing.
        Follow = "follow",
        /// The caller is told, and calls again.
        Relay = "relay",
        /// The call ends with 480.
        Refuse = "refuse",
    }
}

choices! {
    /// Whose media is heard before the answer when a call was forked behind the trunk (RFC 3960 §3.1).
    EarlyDialogs {
        /// That of the branch which described its media last.
        Latest = "latest",
        /// That of the branch which did first.
        First = "first",
    }
}

choices! {
    /// What becomes of an INVITE that is to join a call (RFC 3911 §4).
    Joins {
        /// It goes on to the far end of that call, which can mix.
        Pass = "pass",
        /// It is refused (603).
        Refuse = "refuse",
    }
}

choices! {
    /// What becomes of a REFER outside of calls (RFC 3515, RFC 5359 §2.18).
    Referrals {
        /// The gateway calls whom the request is for, and puts him through to whom it refers to.
        Execute = "execute",
        /// It goes on to whom it is for, that one's NOTIFYs back.
        Pass = "pass",
        /// It is refused (403).
        Refuse = "refuse",
    }
}

choices! {
    /// What becomes of an INVITE without an offer (RFC 3261 §13.2.1).
    LateOffers {
        /// It goes on without: the callee offers.
        Pass = "pass",
        /// The gateway offers to the callee, and the callee's answer is offered to the caller.
        Offer = "offer",
    }
}

choices! {
    /// How a request goes that is too large for a datagram (RFC 3261 §18.1.1), where the trunk is reached over UDP.
    LargeRequests {
        /// Over TCP; over UDP all the same if there is no connection to be had.
        Tcp = "tcp",
        /// Over UDP.
        Udp = "udp",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_choice_is_known_by_its_word() {
        for word in Redirects::WORDS {
            assert_eq!(Redirects::named(word).map(Redirects::word), Some(*word));
        }
        assert_eq!(EarlyDialogs::named("first"), Some(EarlyDialogs::First));
        assert_eq!(LateOffers::named("offer"), Some(LateOffers::Offer));
        assert_eq!(LargeRequests::named("TCP"), None);
    }
}
