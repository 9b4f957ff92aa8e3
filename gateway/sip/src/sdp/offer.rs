//! Who offers and who answers (RFC 3264 §4, RFC 3261 §13.2.1, §14): one exchange at a time.

/// Where an offer/answer exchange stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing is open.
    Stable,
    /// Our INVITE asks for an offer by carrying none.
    Awaiting,
    /// We offered.
    Offered {
        /// A provisional response has shown what the answer will be.
        previewed: bool,
    },
    /// The peer offered.
    Asked,
}

/// What a description received in a response, an ACK or a request means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// An offer, to be answered.
    Offer,
    /// What the answer will be, in a provisional response that may be lost: media may flow by it, the exchange stays open.
    Preview,
    /// The answer to our offer.
    Answer,
    /// Said already; nothing changes (RFC 3261 §13.2.1).
    Repeat,
}

/// Why a description may not be sent or is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// The peer's offer crossed ours: refused with 491, tried again later (RFC 3261 §14.2).
    Glare,
    /// The peer offered again before we answered: refused with 500 and Retry-After (RFC 3261 §14.2).
    Pending,
    /// There is no offer to answer.
    NothingOffered,
}

impl Conflict {
    /// The status that refuses a request for this reason.
    pub const fn status(self) -> u16 {
        match self {
            Self::Glare => 491,
            Self::Pending => 500,
            Self::NothingOffered => 400,
        }
    }
}

/// The offer/answer exchange of one dialog. Holds no descriptions; it only says what the next one means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange {
    state: State,
    completed: u32,
}

impl Default for Exchange {
    fn default() -> Self {
        Self { state: State::Stable, completed: 0 }
    }
}

impl Exchange {
    /// Nothing offered yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether no offer waits for its answer.
    pub const fn is_stable(&self) -> bool {
        matches!(self.state, State::Stable)
    }

    /// Whether the peer's offer waits for our answer.
    pub const fn must_answer(&self) -> bool {
        matches!(self.state, State::Asked)
    }

    /// Exchanges completed so far.
    pub const fn completed(&self) -> u32 {
        self.completed
    }

    /// We send an offer: in an INVITE, an UPDATE, or the response to an INVITE without one.
    pub const fn offer_sent(&mut self) -> Result<(), Conflict> {
        match self.state {
            State::Stable => {
                self.state = State::Offered { previewed: false };
                Ok(())
            }
            State::Offered { .. } | State::Awaiting => Err(Conflict::Pending),
            State::Asked => Err(Conflict::Glare),
        }
    }

    /// The peer's request carries a description, which can only be an offer.
    pub const fn offer_received(&mut self) -> Result<(), Conflict> {
        match self.state {
            State::Stable => {
                self.state = State::Asked;
                Ok(())
            }
            State::Offered { .. } | State::Awaiting => Err(Conflict::Glare),
            State::Asked => Err(Conflict::Pending),
        }
    }

    /// We answer; `reliably` in a 2xx or an ACK, otherwise in a provisional response, which leaves the exchange open.
    pub const fn answer_sent(&mut self, reliably: bool) -> Result<(), Conflict> {
        match self.state {
            State::Asked => {
                if reliably {
                    self.state = State::Stable;
                    self.completed += 1;
                }
                Ok(())
            }
            State::Stable | State::Offered { .. } | State::Awaiting => Err(Conflict::NothingOffered),
        }
    }

    /// A response or ACK carries a description; `reliably` as in [`Exchange::answer_sent`]. If our INVITE carried none
    /// it is an offer, to be answered in the ACK.
    pub const fn received(&mut self, reliably: bool) -> Meaning {
        match self.state {
            State::Offered { .. } if reliably => {
                self.state = State::Stable;
                self.completed += 1;
                Meaning::Answer
            }
            State::Offered { previewed: false } => {
                self.state = State::Offered { previewed: true };
                Meaning::Preview
            }
            State::Offered { previewed: true } => Meaning::Preview,
            State::Awaiting if reliably => {
                self.state = State::Asked;
                Meaning::Offer
            }
            State::Awaiting | State::Asked | State::Stable => Meaning::Repeat,
        }
    }

    /// The open offer was refused, or its request failed: what was agreed before still holds (RFC 3261 §14.1).
    pub const fn withdrawn(&mut self) {
        self.state = State::Stable;
    }

    /// Our INVITE goes out without a description: the next one that comes reliably is an offer (RFC 3261 §13.2.1).
    pub const fn offer_requested(&mut self) -> Result<(), Conflict> {
        match self.state {
            State::Stable => {
                self.state = State::Awaiting;
                Ok(())
            }
            State::Offered { .. } | State::Awaiting => Err(Conflict::Pending),
            State::Asked => Err(Conflict::Glare),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offer_in_invite_answer_in_final_response() {
        let mut caller = Exchange::new();
        caller.offer_sent().unwrap();
        assert_eq!(caller.received(false), Meaning::Preview);
        assert_eq!(caller.received(false), Meaning::Preview);
        assert_eq!(caller.received(true), Meaning::Answer);
        assert_eq!(caller.received(true), Meaning::Repeat);
        assert!(caller.is_stable());
        let mut callee = Exchange::new();
        callee.offer_received().unwrap();
        callee.answer_sent(false).unwrap();
        assert!(callee.must_answer());
        callee.answer_sent(true).unwrap();
        assert_eq!((callee.completed(), callee.answer_sent(true)), (1, Err(Conflict::NothingOffered)));
    }

    #[test]
    fn late_offer_is_answered_in_the_ack() {
        let mut caller = Exchange::new();
        for completed in 1..3 {
            caller.offer_requested().unwrap();
            assert_eq!(caller.received(false), Meaning::Repeat);
            assert_eq!(caller.offer_received(), Err(Conflict::Glare));
            assert_eq!(caller.received(true), Meaning::Offer);
            caller.answer_sent(true).unwrap();
            assert_eq!((caller.completed(), caller.received(true)), (completed, Meaning::Repeat));
        }
        let mut callee = Exchange::new();
        callee.offer_sent().unwrap();
        assert_eq!(callee.received(true), Meaning::Answer);
    }

    #[test]
    fn glare_and_its_end() {
        let mut exchange = Exchange::new();
        exchange.offer_sent().unwrap();
        assert_eq!(exchange.offer_received().unwrap_err().status(), 491);
        assert_eq!(exchange.offer_sent().unwrap_err(), Conflict::Pending);
        exchange.withdrawn();
        exchange.offer_received().unwrap();
        assert_eq!(exchange.offer_received().unwrap_err().status(), 500);
        assert_eq!(exchange.offer_sent().unwrap_err(), Conflict::Glare);
        exchange.answer_sent(true).unwrap();
        assert!(exchange.is_stable());
    }
}
