//! Trunks: what a call may be sent to, how many calls each takes, which of them is tried first, which is alive.

mod health;
mod hunt;
mod limit;
mod located;
mod quality;
mod registration;
mod select;
mod table;

pub use health::{Evidence, Health, HealthConfig, HealthState, SharedHealth, Transition};
pub use hunt::{Attempt, Dry, Hunt};
pub use limit::{CallLimit, RateLimit};
pub use link::Selection;
pub use located::{NamedPeer, Version, Written};
pub use quality::{ENOUGH, Heard, QualityRule, SharedQuality};
pub(crate) use registration::Counts;
pub use registration::{RegistrationConfig, RegistrationNews, SharedRegistration};
pub use table::{
    GroupConfig, Peer, PeerConfig, Seizure, TableError, Trunk, TrunkConfig, TrunkGroup, TrunkTable,
};
