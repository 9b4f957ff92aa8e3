//! The names of things that both sides know: calls, shards, trunks, groups, tickets and wall-clock times.

use serde::{Deserialize, Serialize};
use std::{fmt, num::ParseIntError, str::FromStr, sync::Arc};

/// A call, unique over shards and restarts: the shard in the top 8 bits, below it a number that starts at
/// the process's start in unix microseconds and grows by one per call.
///
/// Written as 16 hexadecimal digits for people and JSON (a JSON number would lose its low bits).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

impl CallId {
    /// The shard that owns the call.
    pub const fn shard(self) -> ShardId {
        ShardId((self.0 >> 56) as u8)
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for CallId {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

impl Serialize for CallId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CallId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Hands out one shard's call ids.
#[derive(Clone, Debug)]
pub struct CallIds {
    next: u64,
}

impl CallIds {
    /// Ids of `shard` in a process that started at `started`: later than any id of an earlier run, unless
    /// that run had a million calls a second on one shard or the clock was set back.
    pub const fn new(shard: ShardId, started: UnixMicros) -> Self {
        Self { next: ((shard.0 as u64) << 56) | (started.0 & ((1 << 56) - 1)) }
    }

    /// The next id.
    pub const fn draw(&mut self) -> CallId {
        let id = CallId(self.next);
        self.next = self.next.wrapping_add(1);
        id
    }
}

/// A gateway shard (one core's machine).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ShardId(pub u8);

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What joins a question to its answers; chosen by whoever asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ticket(pub u64);

/// Wall-clock time: microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UnixMicros(pub u64);

impl UnixMicros {
    /// Microseconds from `earlier` to this time, 0 if the clock was set back in between.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.as_str().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

name!(
    /// A trunk's name, as configured; cheap to clone.
    TrunkName
);
name!(
    /// A trunk group's name, as configured; cheap to clone.
    GroupName
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn call_ids_carry_their_shard_and_read_back() {
        let mut ids = CallIds::new(ShardId(3), UnixMicros(1_800_000_000_000_000));
        let (first, second) = (ids.draw(), ids.draw());
        assert_eq!(first.shard(), ShardId(3));
        assert!(second > first);
        assert_eq!(first.to_string().len(), 16);
        assert_eq!(first.to_string().parse::<CallId>().unwrap(), first);
        assert!("no".parse::<CallId>().is_err());
    }
}
