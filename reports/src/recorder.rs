//! Writes a run's folder so that at every instant it holds a valid, if partial, result.

use crate::limits::judge;
use crate::result::{Ended, Event, RunResult, SeriesPoint};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// File names inside a run's folder.
pub const RESULT_FILE: &str = "result.json";
/// One [`SeriesPoint`] a line.
pub const SERIES_FILE: &str = "series.jsonl";
/// One [`Event`] a line.
pub const EVENTS_FILE: &str = "events.jsonl";

/// Appends series and events as they come, and writes `result.json` whole (temporary file, then rename).
///
/// From [`Recorder::create`] on the folder holds a result whose verdict is INVALID, reason `interrupted`: whoever stops
/// the process, at whatever instant, leaves that behind. [`Recorder::checkpoint`] refreshes it, [`Recorder::finish`]
/// replaces it by the final one.
#[derive(Debug)]
pub struct Recorder {
    dir: PathBuf,
    series: File,
    events: File,
}

impl Recorder {
    /// Makes `dir`, empties its series and events, and writes `partial` as an interrupted run.
    ///
    /// # Errors
    /// The folder or a file in it cannot be written; the message names the path.
    pub fn create(dir: &Path, partial: &RunResult) -> io::Result<Self> {
        fs::create_dir_all(dir).map_err(|error| named(dir, &error))?;
        for stale in [crate::HTML_FILE, crate::JUNIT_FILE] {
            match fs::remove_file(dir.join(stale)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(named(&dir.join(stale), &error));
                }
                _ => {}
            }
        }
        let recorder = Self {
            dir: dir.to_owned(),
            series: emptied(&dir.join(SERIES_FILE))?,
            events: emptied(&dir.join(EVENTS_FILE))?,
        };
        recorder.checkpoint(partial)?;
        Ok(recorder)
    }

    /// The run's folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Appends one second.
    ///
    /// # Errors
    /// The file cannot be written (disk full, for instance).
    pub fn series(&mut self, point: &SeriesPoint) -> io::Result<()> {
        append(&mut self.series, point)
    }

    /// Appends one event.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn event(&mut self, event: &Event) -> io::Result<()> {
        append(&mut self.events, event)
    }

    /// Replaces `result.json` by `partial` as it would stand if the run stopped now: ended `interrupted`, INVALID.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn checkpoint(&self, partial: &RunResult) -> io::Result<()> {
        let mut result = partial.clone();
        result.run.ended = Ended::Interrupted;
        // The other files go on growing: their hashes come with the end.
        self.write(result, BTreeMap::new())
    }

    /// Judges `result` ([`judge`]), adds the hashes of the other files and writes it. `run.ended` is the caller's word.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn finish(self, result: RunResult) -> io::Result<RunResult> {
        self.series.sync_all()?;
        self.events.sync_all()?;
        let mut hashes = BTreeMap::new();
        for name in [SERIES_FILE, EVENTS_FILE] {
            hashes.insert(name.to_owned(), hash_file(&self.dir.join(name))?);
        }
        self.write(result, hashes)?;
        crate::read::read_result(&self.dir).map_err(io::Error::other)
    }

    fn write(&self, mut result: RunResult, hashes: BTreeMap<String, String>) -> io::Result<()> {
        judge(&mut result);
        result.files = hashes;
        let mut text = serde_json::to_vec_pretty(&result).map_err(io::Error::other)?;
        text.push(b'\n');
        replace(&self.dir.join(RESULT_FILE), &text)
    }
}

/// Writes `bytes` to a temporary file beside `path`, then renames it onto `path`: readers see the old or the new file.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(|error| named(path, &error))
}

/// SHA-256 of a file as lower-case hex.
pub(crate) fn hash_file(path: &Path) -> io::Result<String> {
    Ok(hash(&fs::read(path).map_err(|error| named(path, &error))?))
}

/// SHA-256 of `bytes` as lower-case hex.
pub(crate) fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The same error with the path in front.
pub(crate) fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn emptied(path: &Path) -> io::Result<File> {
    let make = || {
        OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
        OpenOptions::new().append(true).open(path)
    };
    make().map_err(|error| named(path, &error))
}

/// One line in one write, so that a kill leaves whole lines.
fn append(file: &mut File, record: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(record).map_err(io::Error::other)?;
    line.push(b'\n');
    file.write_all(&line)
}
