//! The state file: every value from before a change, so that the way back is exact.

use crate::error::TuneError;
use crate::root::{Root, parent_of};
use serde::{Deserialize, Serialize};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Format of the state file.
const SCHEMA: &str = "trunkline.tune/1";

/// What was changed, and when the machine was booted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    pub schema: String,
    pub profile: String,
    /// The boot in which the values were changed: after another boot there is nothing left to undo.
    pub boot: String,
    #[serde(default)]
    pub change: Vec<Saved>,
}

/// One file's previous and new value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Saved {
    pub path: String,
    pub before: String,
    pub after: String,
}

impl State {
    pub(crate) fn new(root: &Root, profile: &str) -> Self {
        Self { schema: SCHEMA.to_owned(), profile: profile.to_owned(), boot: boot(root), change: Vec::new() }
    }

    /// Whether the machine still runs the boot in which the values were changed.
    pub(crate) fn is_of_this_boot(&self, root: &Root) -> bool {
        self.boot == boot(root)
    }

    /// The saved state; `None` when there is none.
    pub(crate) fn load(path: &Path) -> Result<Option<Self>, TuneError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(TuneError::State { path: path.to_owned(), source }),
        };
        let content = |why: String| TuneError::Content { path: path.display().to_string(), why };
        let state: Self = toml::from_str(&text).map_err(|error| content(error.to_string()))?;
        if state.schema != SCHEMA {
            return Err(content(format!("schema is {:?}, this version reads {SCHEMA:?}", state.schema)));
        }
        // A state file decides what is written as root: only the kernel's own settings may be named in it.
        let foreign = state.change.iter().find(|saved| {
            let known = saved.path.starts_with("proc/") || saved.path.starts_with("sys/");
            !known || saved.path.split('/').any(|part| part == "..")
        });
        match foreign {
            Some(saved) => Err(content(format!("{:?} is not a kernel setting", saved.path))),
            None => Ok(Some(state)),
        }
    }

    /// Writes the state whole (temporary file, then rename) and to the disk.
    pub(crate) fn save(&self, path: &Path) -> Result<(), TuneError> {
        let failed = |source: io::Error| TuneError::State { path: path.to_owned(), source };
        let text = toml::to_string(self).map_err(|error| failed(io::Error::other(error)))?;
        if let Some(parent) = parent_of(path) {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".tmp");
        let temporary = PathBuf::from(temporary);
        let write = || {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&temporary)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&temporary, path)
        };
        write().map_err(failed)
    }

    /// Removes the state file: everything is undone.
    pub(crate) fn remove(path: &Path) -> Result<(), TuneError> {
        fs::remove_file(path).map_err(|source| TuneError::State { path: path.to_owned(), source })
    }
}

fn boot(root: &Root) -> String {
    root.find("proc/sys/kernel/random/boot_id").unwrap_or_else(|| "unknown".to_owned())
}
