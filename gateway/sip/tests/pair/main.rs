//! Two endpoints against each other in virtual time: calls, races, transports, limits; nothing is left at the end.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by it")]

mod calls;
mod harness;
mod large;
mod nat;
mod races;
mod refusals;
mod reliable;
mod session;
mod torture;
mod transfer;
mod transport;
