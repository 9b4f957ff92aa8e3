//! What the commands take, as plain structs, and why one may come to no verdict.

use crate::farm::FarmError;
use crate::plan::{PlanError, PortRange};
use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;
use driver::{Choice, Scheduling};
use reports::Lang;
use std::io;
use std::path::PathBuf;

/// How `load answer` shall behave.
#[derive(Clone, Debug)]
pub struct AnswerOptions {
    /// Where to listen, UDP and TCP.
    pub listen: SocketAddr,
    /// From 180 to 200.
    pub ring: Duration,
    /// Refuse every call with this.
    pub status: Option<u16>,
    /// Swallow everything.
    pub silent: bool,
    /// Send and check marked RTP.
    pub rtp: bool,
    /// Hang up so long after answering.
    pub bye_after: Option<Duration>,
    /// Write what is measured there, line by line.
    pub out: Option<PathBuf>,
    /// IO mode.
    pub io: Choice,
    /// How the kernel schedules the threads.
    pub scheduling: Scheduling,
    /// Most calls at once.
    pub calls_max: u32,
    /// RTP ports to open at start.
    pub ports_ready: u32,
    /// Ports for RTP; `None`: the usual range.
    pub ports: Option<PortRange>,
    /// Say nothing on standard output.
    pub quiet: bool,
}

impl AnswerOptions {
    /// A carrier that answers at once, without voice.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            ring: Duration::ZERO,
            status: None,
            silent: false,
            rtp: false,
            bye_after: None,
            out: None,
            io: Choice::Auto,
            scheduling: Scheduling::Auto,
            calls_max: 65_536,
            ports_ready: 64,
            ports: None,
            quiet: false,
        }
    }
}

/// What `load call` shall do.
#[derive(Clone, Debug)]
pub struct CallOptions {
    /// `sip:NUMBER@ADDR:PORT`; the number may hold a range.
    pub to: String,
    /// Our address.
    pub from: Option<SocketAddr>,
    /// New calls a second.
    pub rate: Option<f64>,
    /// Ramp to so many calls at once, and stay there.
    pub concurrent: Option<u32>,
    /// How long each call lasts.
    pub hold: Duration,
    /// Stop placing calls after so long.
    pub duration: Option<Duration>,
    /// Stop after so many calls.
    pub calls: Option<u32>,
    /// Send and check marked RTP.
    pub rtp: bool,
    /// Threads.
    pub threads: u16,
    /// Of arrivals and holds.
    pub seed: u64,
    /// The rest is that of a plan.
    pub run: RunOptions,
}

/// What every measuring command takes.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Where results and report go; `None`: only to the terminal.
    pub out: Option<PathBuf>,
    /// IO mode.
    pub io: Choice,
    /// How the kernel schedules the threads.
    pub scheduling: Scheduling,
    /// Language of the report.
    pub lang: Lang,
    /// The command line, for the record.
    pub command: String,
    /// No progress.
    pub quiet: bool,
}

/// Why a command did not come to a verdict.
#[derive(Debug)]
pub enum LoadError {
    /// The options or the plan are wrong: exit code 2.
    Usage(String),
    /// The farm did not start.
    Farm(FarmError),
    /// Anything else that the host refused.
    System(String, io::Error),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) => f.write_str(text),
            Self::Farm(error) => write!(f, "{error}"),
            Self::System(what, error) => write!(f, "{what}: {error}"),
        }
    }
}

impl core::error::Error for LoadError {}

impl From<FarmError> for LoadError {
    fn from(error: FarmError) -> Self {
        Self::Farm(error)
    }
}

impl From<PlanError> for LoadError {
    fn from(error: PlanError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl LoadError {
    /// The process's exit code: 2 for wrong usage, 3 for a run that never became one.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Farm(_) | Self::System(..) => 3,
        }
    }
}
