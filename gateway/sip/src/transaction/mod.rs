//! SIP transactions (RFC 3261 §17 with RFC 6026): four pure state machines, their keys and their timers.
//!
//! A machine takes its state and an input and says the next state and what to do; it holds nothing. The
//! endpoint carries the doing out, so that each table can be tested whole.

pub mod client;
pub mod client_invite;
pub mod key;
pub mod server;
pub mod server_invite;
pub mod timing;

use core::fmt;
use core::ops::BitOr;

/// What a transition asks of the endpoint: a set.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Actions(u16);

impl Actions {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Send the request or the last response (again).
    pub const SEND: Self = Self(1);
    /// Send the ACK of a final response of 300 to 699 (RFC 3261 §17.1.1.3).
    pub const ACK: Self = Self(1 << 1);
    /// Hand the message to the transaction user.
    pub const DELIVER: Self = Self(1 << 2);
    /// Tell the transaction user that nothing came in time.
    pub const TIMED_OUT: Self = Self(1 << 3);
    /// Tell the transaction user that the transport failed.
    pub const UNREACHABLE: Self = Self(1 << 4);
    /// Set the retransmission timer (A, E, G) to its next interval.
    pub const RETRANSMIT: Self = Self(1 << 5);
    /// Stop the retransmission timer.
    pub const STOP_RETRANSMIT: Self = Self(1 << 6);
    /// Set the lifetime timer of the new state (B, D, F, H, I, J, K, L, M), in place of the old state's.
    pub const LIFETIME: Self = Self(1 << 7);
    /// Stop the lifetime timer.
    pub const STOP_LIFETIME: Self = Self(1 << 8);

    /// Whether all of `other` is in the set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOr for Actions {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        self.and(other)
    }
}

impl fmt::Debug for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 9] = [
            "SEND",
            "ACK",
            "DELIVER",
            "TIMED_OUT",
            "UNREACHABLE",
            "RETRANSMIT",
            "STOP_RETRANSMIT",
            "LIFETIME",
            "STOP_LIFETIME",
        ];
        f.debug_set().entries((0..9).filter(|bit| self.0 & (1 << bit) != 0).map(|bit| NAMES[bit])).finish()
    }
}
