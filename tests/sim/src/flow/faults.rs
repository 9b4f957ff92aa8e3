//! The faults that befall one message of a flow.

use crate::town::Town;
use crate::{Arriving, Damage};
use sansio::Time;
use std::fmt;
use std::time::Duration;

/// How late a slow message is: its first retransmissions overtake it.
const SLOW: Duration = Duration::from_millis(1200);
/// How late a tardy message is: before its transaction is given up, and after one that has its answer is forgotten.
const TARDY: Duration = Duration::from_secs(25);
/// How late a late message is: past 64 × T1, so that every transaction that could use it is over.
pub(super) const LATE: Duration = Duration::from_secs(40);
/// How long control is gone.
const GONE: Duration = Duration::from_secs(5);

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The datagram does not arrive.
    Lost,
    /// It arrives twice.
    Doubled,
    /// The next one in its direction arrives before it.
    Overtaken,
    /// It arrives after 1.2 s, when it has been sent again.
    Slow,
    /// It arrives after 25 s.
    Tardy,
    /// It arrives after 40 s; what is sent again in the meantime arrives as usual.
    Late,
    /// It and all its retransmissions arrive after 40 s.
    Stalled,
    /// It does not arrive, and its sender hears that nobody listens there (ICMP).
    Refused,
    /// Its end is cut off.
    Short,
    /// One byte of it is another.
    Garbled,
    /// When it is sent, the process of control dies; it is back after 5 s, knowing nothing.
    ControlDies,
    /// What was written arrives byte by byte.
    Crumbled,
    /// The connection breaks, and what was written last is lost.
    CutBefore,
    /// The connection breaks, and half of what was written last has arrived.
    CutMiddle,
    /// The connection breaks once what was written last has arrived.
    CutAfter,
}

impl Kind {
    /// Those of datagrams.
    pub const DATAGRAM: [Self; 11] = [
        Self::Lost,
        Self::Doubled,
        Self::Overtaken,
        Self::Slow,
        Self::Tardy,
        Self::Late,
        Self::Stalled,
        Self::Refused,
        Self::Short,
        Self::Garbled,
        Self::ControlDies,
    ];
    /// Those of streams.
    pub const STREAM: [Self; 4] = [Self::Crumbled, Self::CutBefore, Self::CutMiddle, Self::CutAfter];

    /// Whether retransmissions repair it: the flow comes to the same end as without it.
    pub const fn is_repaired(self) -> bool {
        matches!(
            self,
            Self::Lost
                | Self::Doubled
                | Self::Overtaken
                | Self::Slow
                | Self::Tardy
                | Self::Late
                | Self::ControlDies
                | Self::Crumbled
        )
    }

    /// Whether somebody is told what nobody said: whoever is may do what nobody expects.
    pub const fn is_damage(self) -> bool {
        matches!(self, Self::Short | Self::Garbled)
    }

    /// Whether a message may arrive when its transaction is over, and be a new one to who gets it (RFC 3261 §17.2.3).
    pub const fn brings_ghosts(self) -> bool {
        matches!(self, Self::Tardy | Self::Late | Self::Stalled)
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
    /// When it was sent in the clean run.
    pub at: Time,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Crumbled | Kind::CutBefore | Kind::CutMiddle | Kind::CutAfter => {
                write!(f, "write {} {:?}", self.number, self.kind)
            }
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
            Kind::Slow => network.hold(self.number, SLOW),
            Kind::Tardy => network.hold(self.number, TARDY),
            Kind::Late => network.hold(self.number, LATE),
            Kind::Stalled => network.stall(self.number, LATE),
            Kind::Refused => network.refuse(self.number),
            Kind::Short => network.damage(self.number, Damage::Short),
            Kind::Garbled => network.damage(self.number, Damage::Garbled),
            Kind::ControlDies => town.restart_control_at(self.at, self.at + GONE),
            Kind::Crumbled => town.world.crumble(self.number),
            Kind::CutBefore => town.world.break_at(self.number, Arriving::Nothing),
            Kind::CutMiddle => town.world.break_at(self.number, Arriving::Half),
            Kind::CutAfter => town.world.break_at(self.number, Arriving::All),
        }
    }
}
