//! Two endpoints against each other in virtual time: calls, races, transports, limits; nothing is left at the end.

mod calls;
mod harness;
mod races;
