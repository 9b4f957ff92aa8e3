//! Why tuning could not be checked, changed or undone.

use std::fmt;
use std::path::PathBuf;

/// An error that names the file or key, and the cure.
#[derive(Debug)]
pub enum TuneError {
    /// There is no such profile.
    UnknownProfile {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// A profile or state file is not what it should be.
    Content {
        /// Which file.
        path: String,
        /// Where and why.
        why: String,
    },
    /// Settings may not be written; nothing was changed.
    NotPermitted {
        /// The first file that refused.
        path: PathBuf,
        /// How many settings would have been changed.
        settings: usize,
    },
    /// An earlier change has not been undone; nothing was changed.
    StateExists {
        /// The state file.
        path: PathBuf,
    },
    /// There is nothing to undo.
    NoState {
        /// The state file that is missing.
        path: PathBuf,
    },
    /// The state file cannot be written or removed.
    State {
        /// The state file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl fmt::Display for TuneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownProfile { name, known } => {
                write!(f, "no profile {name:?}; there are: {}", known.join(", "))
            }
            Self::Content { path, why } => write!(f, "{path}: {why}"),
            Self::NotPermitted { path, settings } => write!(
                f,
                "may not write {} (and so none of the {settings} settings): run as root on the host itself; inside a \
                 container the host's settings are read-only. Nothing was changed",
                path.display()
            ),
            Self::StateExists { path } => write!(
                f,
                "{} holds the values from before an earlier change: undo that first (trunkline tune restore). Nothing was \
                 changed",
                path.display()
            ),
            Self::NoState { path } => write!(f, "nothing to undo: {} does not exist", path.display()),
            Self::State { path, source } => write!(f, "{}: {source}", path.display()),
        }
    }
}

impl std::error::Error for TuneError {}
