//! What control tells a gateway shard.

use crate::{
    CallId, Certificate, GroupName, PlayAsked, Registration, RoutingSnapshot, StopAsked, Text, Ticket,
    TraceAsked,
};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;

/// An order or an answer to a shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// Route by this from now on; calls in progress keep what they have.
    Snapshot(#[serde(with = "shared")] Arc<RoutingSnapshot>),
    /// The answer to [`Event::RouteAsked`](crate::Event::RouteAsked). Comes late or never when control is busy or away.
    Route {
        /// The call that waits.
        call: CallId,
        /// Where it goes.
        decision: Decision,
    },
    /// Say what you see: answered with [`Event::Report`](crate::Event::Report).
    ReportAsked(ReportAsked),
    /// Tell the messages of a call: answered with [`Event::Trace`](crate::Event::Trace).
    TraceAsked(Box<TraceAsked>),
    /// These records are on disk: forget them.
    CdrAcknowledged(Vec<CallId>),
    /// The answer to [`Event::CertificateAsked`](crate::Event::CertificateAsked).
    Certificate(Box<Certificate>),
    /// The answer to [`Event::RevocationsAsked`](crate::Event::RevocationsAsked).
    Revocations(Box<Certificate>),
    /// Take no new calls, let those in progress finish.
    Drain,
    /// Registrations known from before the gateway's start: for users of whom it has heard nothing since.
    Registrations(Vec<Registration>),
    /// Listen again to this source, or to all that are banned.
    Unban(Option<IpAddr>),
    /// Play something in a call: answered with [`Event::MediaAnswered`](crate::Event::MediaAnswered).
    Play(Box<PlayAsked>),
    /// Play no more in a call: answered likewise.
    StopPlaying(Box<StopAsked>),
    /// End this call.
    Hangup {
        /// The call.
        call: CallId,
    },
}

/// What a report shall hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportAsked {
    /// To be repeated in the report.
    pub ticket: Ticket,
    /// List at most this many live calls; 0 for none.
    pub calls: u32,
}

/// Where an asked call goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Decision {
    /// To these trunk groups, in order, with this number.
    Groups {
        /// The groups to try.
        groups: Vec<GroupName>,
        /// The number to send.
        number: String,
    },
    /// Nowhere.
    Refuse {
        /// The SIP status for the caller, 400 to 699.
        status: u16,
        /// Its reason phrase.
        reason: Text,
    },
}

/// A snapshot is shared between shards of a process, and plain on a wire.
mod shared {
    use crate::RoutingSnapshot;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::sync::Arc;

    pub(super) fn serialize<S: Serializer>(
        it: &Arc<RoutingSnapshot>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        it.as_ref().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<RoutingSnapshot>, D::Error> {
        RoutingSnapshot::deserialize(from).map(Arc::new)
    }
}
