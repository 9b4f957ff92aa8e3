//! The vocabulary between gateways and control: what a gateway shard tells ([`Event`]) and what it is told ([`Command`]).
//!
//! Embedded or far apart, the words are the same; only how they travel differs. A gateway says [`VERSION`]
//! in its [`Hello`]; control refuses one it does not understand. Times are wall-clock [`UnixMicros`]:
//! they mean the same on both sides, unlike a machine's monotonic time.
#![forbid(unsafe_code)]

mod abuse;
mod cdr;
mod command;
mod event;
mod id;
mod identity;
mod playback;
mod registration;
mod report;
mod snapshot;
mod trace;
mod trunk_registration;

pub use abuse::{Alarm, AlarmKind, Ban, BanReason};
pub use cdr::{Attempt, Cdr, End, LegMedia, Media, Part, Reason, Side, StreamFacts, Transfer};
pub use command::{Command, Decision, ReportAsked};
pub use event::{CallAnswered, CallRecord, Event, Hello, Release, RouteAsked, TrunkChange};
pub use id::{CallId, CallIds, GroupName, ShardId, Ticket, TrunkName, UnixMicros};
pub use identity::{Certificate, Chain, Identity};
pub use playback::{MediaAnswer, MediaRefusal, PlayAsked, Playback, PlaybackState, StopAsked};
pub use registration::{Binding, Connection, FlowName, Registration};
pub use report::{
    Figure, Kind, LiveCall, LocatedName, LocatedPeer, PeerFacts, Phase, ShardReport, TrunkFacts, TrunkHeard,
    TrunkState,
};
pub use snapshot::{RouteEntry, RouteTable, Routed, RoutingError, RoutingSnapshot, Selection, TrunkGroup};
pub use trace::{Trace, TraceAsked, TraceLeg, TraceMessage, TraceOf};
pub use trunk_registration::{RegistrationChange, RegistrationFacts, RegistrationState};

/// The version of this vocabulary. A change that an older reader cannot understand raises it.
pub const VERSION: u16 = 1;

/// What a call to a registered phone has in place of a trunk's name, with the user's name behind it; no trunk is called so.
pub const USER_PREFIX: &str = "user:";

/// What a call has in place of a trunk's name whose far end is a call of another worker, with that worker's number behind
/// it; no trunk is called so.
pub const WORKER_PREFIX: &str = "worker:";

/// Text that mostly is a constant of the sender, so that saying it costs no allocation.
pub type Text = std::borrow::Cow<'static, str>;
