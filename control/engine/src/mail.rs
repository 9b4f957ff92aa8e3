//! What the engine is told and what it says.

use crate::{Fetch, Fetched, View};
use link::{
    Alarm, Ban, CallAnswered, CallId, CallRecord, Cdr, Command, Event, MediaRefusal, Playback, Registration,
    RouteTable, ShardId, Side, Ticket, Trace, TraceOf, UnixMicros,
};
use std::net::IpAddr;

/// Everything that travels to and from the engine.
#[derive(Debug)]
pub enum Mail {
    /// In: a shard says something.
    FromGateway(ShardId, Event),
    /// In: writes are on disk.
    FromStore(Stored),
    /// In: the API asks.
    FromApi(Query),
    /// In: whoever runs this process orders something.
    FromOwner(Order),
    /// In: a file was fetched, or could not be.
    FromFetcher(Fetched),
    /// Out: fetch the file at this address.
    ToFetcher(Fetch, String),
    /// Out: to a shard.
    ToGateway(ShardId, Command),
    /// Out: to the store.
    ToStore(Write),
    /// Out: to the API.
    ToApi(Answer),
}

/// Something to be kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// Counts up by one per write.
    pub seq: u64,
    /// What.
    pub record: Record,
}

/// What the store keeps.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A call began: leaves a trace of it, should everything die.
    Started(Box<CallRecord>),
    /// It was answered.
    Answered(CallAnswered),
    /// It is over.
    Ended(Box<Cdr>),
    /// A shard's process started: what that shard had open before is over.
    Restarted {
        /// The shard.
        shard: ShardId,
        /// When its process started.
        started: UnixMicros,
    },
    /// A user's bindings, in place of those before; none: the user is forgotten.
    Registered(Box<Registration>),
    /// Calls were open and alive at this time: the end of those that a crash cuts off.
    Alive(UnixMicros),
}

/// All writes up to and including this number are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The number of the last one.
    pub through: u64,
}

/// A question of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Comes back with the answer.
    pub ticket: Ticket,
    /// What is asked.
    pub ask: Ask,
}

/// What the API can ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// What all shards see now.
    View {
        /// List at most this many live calls, newest first.
        calls: u32,
    },
    /// End a call.
    Hangup(CallId),
    /// Who is registered now, by user name.
    Registrations,
    /// Tell the messages of a call.
    Trace(TraceOf),
    /// Which sources are banned.
    Bans,
    /// Listen again to a source, or to all.
    Unban(Option<IpAddr>),
    /// The last alarms.
    Alarms,
    /// Play files to a side of a call.
    Play {
        /// The call.
        call: CallId,
        /// Who hears them.
        side: Side,
        /// By name.
        files: Vec<String>,
        /// Over and over.
        repeated: bool,
    },
    /// Play no more to a side of a call, or to both.
    StopPlaying(CallId, Option<Side>),
    /// What is played or was lately, of one call or of all.
    Playbacks(Option<CallId>),
}

/// The answer to a [`Query`].
#[derive(Debug)]
pub struct Answer {
    /// Of the query.
    pub ticket: Ticket,
    /// The answer itself.
    pub outcome: Outcome,
}

/// What came of a query.
#[derive(Debug)]
pub enum Outcome {
    /// What the shards see.
    View(Box<View>),
    /// The messages of a call; `None` if no shard answered in time.
    Trace(Option<Box<Trace>>),
    /// The call's shard was told to end it.
    Told,
    /// Who is registered, without what has expired.
    Registrations(Vec<Registration>),
    /// The bans in force, by source.
    Bans(Vec<Ban>),
    /// So many bans were lifted.
    Lifted(usize),
    /// The last alarms, newest first.
    Alarms(Vec<Alarm>),
    /// What plays now, by number; of a stop, how many were stopped.
    Media(Result<u64, MediaRefusal>),
    /// What is played or was lately, newest first.
    Playbacks(Vec<Playback>),
    /// No shard could have such a call.
    NoShard(ShardId),
    /// Too many questions at once: ask again.
    Busy,
}

/// An order of whoever runs the process.
#[derive(Debug)]
pub enum Order {
    /// Route by this from now on.
    Routing(Box<RouteTable>),
    /// Take no new calls.
    Drain,
}
