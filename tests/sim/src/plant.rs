//! Planted defects: what a broken machine would send, or not send, to see that the simulator finds it.

use std::collections::BTreeSet;
use std::fmt;

/// What becomes of a datagram on its way out of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Twist {
    /// It goes out as it is.
    Pass,
    /// It vanishes.
    Swallow,
    /// These bytes go out instead.
    Replace(Vec<u8>),
}

type Twister = Box<dyn FnMut(&[u8]) -> Twist>;

/// A planted defect: sees every datagram on its way out of a node.
pub struct Plant {
    /// What the defect is, for the log.
    pub name: &'static str,
    twist: Twister,
}

impl Plant {
    /// A defect that does to datagrams what `twist` says.
    pub fn new(name: &'static str, twist: impl FnMut(&[u8]) -> Twist + 'static) -> Self {
        Self { name, twist: Box::new(twist) }
    }

    /// Datagrams of which `which` is true go out once: identical ones later are swallowed.
    pub fn once(name: &'static str, which: impl Fn(&str) -> bool + 'static) -> Self {
        let mut seen = BTreeSet::new();
        Self::new(name, move |payload| {
            let repeated = which(&String::from_utf8_lossy(payload)) && !seen.insert(payload.to_vec());
            if repeated { Twist::Swallow } else { Twist::Pass }
        })
    }

    pub(crate) fn twist(&mut self, payload: &[u8]) -> Twist {
        (self.twist)(payload)
    }
}

impl fmt::Debug for Plant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Plant({})", self.name)
    }
}

/// A defect to be planted in the unit under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// A 2xx to an INVITE is never sent again (RFC 3261 §13.3.1.4).
    TwoHundredsOnce,
    /// A BYE is never sent again.
    ByesOnce,
    /// A 2xx that comes again is not acknowledged again (RFC 3261 §13.2.2.4).
    AcksOnce,
    /// What the caller's side is called shows on the carrier's.
    Leak,
    /// Now and then a packet of one call goes out in place of another's.
    CrossTalk,
    /// A BYE is said twice, in two transactions.
    ByesTwice,
}

impl Defect {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::TwoHundredsOnce, Self::ByesOnce, Self::AcksOnce, Self::Leak, Self::CrossTalk, Self::ByesTwice];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TwoHundredsOnce => "two-hundreds-once",
            Self::ByesOnce => "byes-once",
            Self::AcksOnce => "acks-once",
            Self::Leak => "leak",
            Self::CrossTalk => "cross-talk",
            Self::ByesTwice => "byes-twice",
        }
    }

    /// The defect of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|defect| defect.name() == name)
    }

    pub(crate) fn plant(self) -> Plant {
        let name = self.name();
        match self {
            Self::TwoHundredsOnce => {
                Plant::once(name, |text| text.starts_with("SIP/2.0 2") && method(text) == "INVITE")
            }
            Self::ByesOnce => Plant::once(name, |text| text.starts_with("BYE ")),
            Self::AcksOnce => Plant::once(name, |text| text.starts_with("ACK ")),
            Self::Leak => Plant::new(name, |payload| {
                let text = String::from_utf8_lossy(payload);
                if !text.starts_with("INVITE ") {
                    return Twist::Pass;
                }
                let leaked = "Max-Forwards: 69\r\nX-Billing: caller-7@10.1.0.1";
                Twist::Replace(text.replacen("Max-Forwards: 69", leaked, 1).into_bytes())
            }),
            Self::CrossTalk => {
                let mut last: Vec<u8> = Vec::new();
                let mut count = 0u32;
                Plant::new(name, move |payload| {
                    if payload.len() != 172 || payload[0] != 0x80 {
                        return Twist::Pass;
                    }
                    count += 1;
                    let other = std::mem::replace(&mut last, payload.to_vec());
                    if count.is_multiple_of(50) { Twist::Replace(other) } else { Twist::Pass }
                })
            }
            Self::ByesTwice => {
                let mut said = 0u32;
                Plant::new(name, move |payload| {
                    let text = String::from_utf8_lossy(payload);
                    if !text.starts_with("BYE ") {
                        return Twist::Pass;
                    }
                    // A retransmission that goes out under another branch is another BYE.
                    said += 1;
                    Twist::Replace(
                        text.replacen("branch=z9hG4bK", &format!("branch=z9hG4bK{said}"), 1).into_bytes(),
                    )
                })
            }
        }
    }
}

/// The method in CSeq.
fn method(text: &str) -> &str {
    let line = text.lines().find(|line| line.to_ascii_lowercase().starts_with("cseq:"));
    line.and_then(|line| line.split_ascii_whitespace().last()).unwrap_or_default()
}
