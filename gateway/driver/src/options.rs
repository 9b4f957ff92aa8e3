//! How a driver shall run: which back-end, on which core, with how much memory.

use core::fmt;
use core::str::FromStr;
use core::time::Duration;

/// Which back-end is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// io_uring if [`crate::probe`] passes, else epoll.
    #[default]
    Auto,
    /// io_uring or an error.
    Uring,
    /// epoll, without trying io_uring.
    Fallback,
}

/// A word that names no [`Choice`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownChoice;

impl fmt::Display for UnknownChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected auto, uring or fallback")
    }
}

impl core::error::Error for UnknownChoice {}

impl FromStr for Choice {
    type Err = UnknownChoice;
    fn from_str(word: &str) -> Result<Self, UnknownChoice> {
        match word {
            "auto" => Ok(Self::Auto),
            // Health, log and reports call them by what they are.
            "uring" | "io_uring" => Ok(Self::Uring),
            "fallback" | "epoll" => Ok(Self::Fallback),
            _ => Err(UnknownChoice),
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Uring => "uring",
            Self::Fallback => "fallback",
        })
    }
}

/// How the kernel shall schedule the driver's thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheduling {
    /// As any other thread: it shares a core fairly with whatever else wants to run there.
    #[default]
    Normal,
    /// Real-time if the process may, else as any other thread.
    Auto,
    /// Real-time (SCHED_RR at the lowest priority, `sched(7)`): it runs as soon as a packet or a timer is due, before all
    /// normal threads; or an error. The kernel leaves the others 5 % of the time.
    Realtime,
}

/// A word that names no [`Scheduling`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownScheduling;

impl fmt::Display for UnknownScheduling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected auto, realtime or normal")
    }
}

impl core::error::Error for UnknownScheduling {}

impl FromStr for Scheduling {
    type Err = UnknownScheduling;
    fn from_str(word: &str) -> Result<Self, UnknownScheduling> {
        match word {
            "normal" => Ok(Self::Normal),
            "auto" => Ok(Self::Auto),
            "realtime" => Ok(Self::Realtime),
            _ => Err(UnknownScheduling),
        }
    }
}

impl fmt::Display for Scheduling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Normal => "normal",
            Self::Auto => "auto",
            Self::Realtime => "realtime",
        })
    }
}

/// The back-end in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Io {
    /// io_uring.
    Uring,
    /// epoll with recvmmsg and sendmmsg.
    Fallback,
}

impl Io {
    /// The name that the log, the health endpoint and reports show.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uring => "io_uring",
            Self::Fallback => "epoll",
        }
    }
}

impl fmt::Display for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a driver shall run. The default suits one shard of a few thousand calls.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which back-end. Default: auto.
    pub io: Choice,
    /// The core to pin the thread to in [`crate::Driver::new`]. Default: none, the scheduler chooses.
    pub cpu: Option<usize>,
    /// How the kernel schedules the thread. Default: as any other.
    pub scheduling: Scheduling,
    /// Longest time for which a busy thread lets packets gather before it wakes. Default 500 µs, which
    /// is also the most a packet is delayed by it; zero wakes for every packet at any load.
    pub coalesce: Duration,
    /// Packets expected within [`Self::coalesce`] from which on wake-ups are shared; from four times as many
    /// on, packets gather for the whole of it. Default 8: a gateway's few calls are seen within microseconds.
    pub share_from: u16,
    /// Datagrams below 2 KiB that may be on their way out at once. Default 4096; memory: 2 KiB each once
    /// used. Beyond it datagrams are dropped and counted (`packets_exhausted`).
    pub small_packets: u32,
    /// Datagrams up to 64 KiB that may be on their way out at once. Default 64; memory: 64 KiB each once used.
    pub large_packets: u32,
    /// Receive buffers of 2 KiB in the ring, for media and streams; rounded up to a power of two, at
    /// most 32 768. Default 2048 (4.1 MiB). A burst beyond it costs a re-arm per socket
    /// (`buffers_exhausted`), no packet. The fallback needs none.
    pub small_buffers: u16,
    /// Receive buffers of 64 KiB in the ring, for signalling (sockets opened with `icmp_errors`), rounded
    /// up to a power of two. Default 128 (8 MiB, of which only what arrives is touched).
    pub large_buffers: u16,
    /// Most TCP streams at once, those still closing included. Default 4096. Connections beyond it
    /// are closed at once and counted (`streams_refused`).
    pub streams_max: u32,
    /// Most bytes one stream may have waiting to be written; beyond it the stream ends as stalled.
    /// Default 256 KiB; worst case `streams_max` times that.
    pub write_buffer: usize,
    /// How long a stream that was shut may take to get its last bytes out and see the peer close. Default 5 s.
    pub linger: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            io: Choice::Auto,
            cpu: None,
            scheduling: Scheduling::Normal,
            coalesce: Duration::from_micros(500),
            share_from: 8,
            small_packets: 4096,
            large_packets: 64,
            small_buffers: 2048,
            large_buffers: 128,
            streams_max: 4096,
            write_buffer: 256 * 1024,
            linger: Duration::from_secs(5),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_read_back_as_they_print() {
        for choice in [Choice::Auto, Choice::Uring, Choice::Fallback] {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        assert_eq!("mmsg".parse::<Choice>(), Err(UnknownChoice));
        for scheduling in [Scheduling::Normal, Scheduling::Auto, Scheduling::Realtime] {
            assert_eq!(scheduling.to_string().parse(), Ok(scheduling));
        }
        assert_eq!("fifo".parse::<Scheduling>(), Err(UnknownScheduling));
    }
}
