//! The faults that befall one message of a flow.

use crate::town::Town;
use std::fmt;
use std::time::Duration;

/// How late a late message is: past 64 × T1, so that every transaction that could use it is over.
const LATE: Duration = Duration::from_secs(40);

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The datagram does not arrive.
    Lost,
    /// It arrives twice.
    Doubled,
    /// The next one in its direction arrives before it.
    Overtaken,
    /// It arrives after 40 s; what is sent again in the meantime arrives as usual.
    Late,
    /// It and all its retransmissions arrive after 40 s.
    Stalled,
    /// The connection breaks, and what was written last is lost.
    CutBefore,
    /// The connection breaks once what was written last has arrived.
    CutAfter,
}

impl Kind {
    /// Those of datagrams.
    pub const DATAGRAM: [Self; 5] = [Self::Lost, Self::Doubled, Self::Overtaken, Self::Late, Self::Stalled];
    /// Those of streams.
    pub const STREAM: [Self; 2] = [Self::CutBefore, Self::CutAfter];

    /// Whether retransmissions repair it: the flow comes to the same end as without it.
    pub const fn is_repaired(self) -> bool {
        matches!(self, Self::Lost | Self::Doubled | Self::Overtaken | Self::Late)
    }

    /// Whether a message may arrive when its transaction is over, and be a new one to who gets it (RFC 3261 §17.2.3).
    pub const fn brings_ghosts(self) -> bool {
        matches!(self, Self::Late | Self::Stalled)
    }
}

/// A fault of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which kind.
    pub kind: Kind,
    /// The datagram or write, counted from 0 over the whole run.
    pub number: u64,
    /// For [`Kind::Overtaken`]: how long it is held back.
    pub held: Duration,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::CutBefore | Kind::CutAfter => write!(f, "write {} {:?}", self.number, self.kind),
            Kind::Overtaken => write!(f, "datagram {} Overtaken, held {:?}", self.number, self.held),
            _ => write!(f, "datagram {} {:?}", self.number, self.kind),
        }
    }
}

impl Fault {
    /// Sees that it happens.
    pub(super) fn befall(self, town: &mut Town) {
        let network = &mut town.world.network;
        match self.kind {
            Kind::Lost => network.doom(self.number),
            Kind::Doubled => network.double(self.number),
            Kind::Overtaken => network.hold(self.number, self.held),
            Kind::Late => network.hold(self.number, LATE),
            Kind::Stalled => network.stall(self.number, LATE),
            Kind::CutBefore => town.world.break_at(self.number, false),
            Kind::CutAfter => town.world.break_at(self.number, true),
        }
    }
}
