//! The vocabulary between gateways and control: what a gateway shard tells ([`Event`]) and what it is told ([`Command`]).
//!
//! Embedded or far apart, the words are the same; only how they travel differs. A gateway says [`VERSION`]
//! in its [`Hello`]; control refuses one it does not understand. Times are wall-clock [`UnixMicros`]:
//! they mean the same on both sides, unlike a machine's monotonic time.
#![forbid(unsafe_code)]

mod cdr;
mod command;
mod event;
mod id;
mod registration;
mod report;
mod snapshot;

pub use cdr::{Attempt, Cdr, End, LegMedia, Media, Side, StreamFacts};
pub use command::{Command, Decision, ReportAsked};
pub use event::{CallAnswered, CallRecord, Event, Hello, RouteAsked, TrunkChange};
pub use id::{CallId, CallIds, GroupName, ShardId, Ticket, TrunkName, UnixMicros};
pub use registration::{Binding, Connection, Registration};
pub use report::{
    Figure, Kind, LiveCall, LocatedName, LocatedPeer, PeerFacts, Phase, ShardReport, TrunkFacts, TrunkState,
};
pub use snapshot::{RouteEntry, RouteTable, Routed, RoutingError, RoutingSnapshot, Selection, TrunkGroup};

/// The version of this vocabulary. A change that an older reader cannot understand raises it.
pub const VERSION: u16 = 1;

/// What a call to a registered phone has in place of a trunk's name, with the user's name behind it; no trunk is called so.
pub const USER_PREFIX: &str = "user:";

/// Text that mostly is a constant of the sender, so that saying it costs no allocation.
pub type Text = std::borrow::Cow<'static, str>;
