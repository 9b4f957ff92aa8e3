//! Reads a run's folder back.

use crate::recorder::{EVENTS_FILE, RESULT_FILE, SERIES_FILE, hash};
use crate::result::{Event, RunResult, SCHEMA, SeriesPoint};
use serde::de::DeserializeOwned;
use std::fmt;
use std::path::{Path, PathBuf};

/// Why a run's folder cannot be read.
#[derive(Debug)]
pub enum ReadError {
    /// A file cannot be opened or read.
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not what the schema says.
    Content {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        why: String,
    },
    /// The file was written under another schema.
    Schema {
        /// Which file.
        path: PathBuf,
        /// The schema it names.
        found: String,
    },
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Content { path, why } => write!(f, "{}: {why}", path.display()),
            Self::Schema { path, found } => {
                write!(f, "{}: schema is {found:?}, this version reads {SCHEMA:?}", path.display())
            }
        }
    }
}

impl std::error::Error for ReadError {}

/// A run's folder in memory.
#[derive(Debug, Clone)]
pub struct RunFolder {
    /// `result.json`.
    pub result: RunResult,
    /// `series.jsonl`, in file order.
    pub series: Vec<SeriesPoint>,
    /// `events.jsonl`, in file order.
    pub events: Vec<Event>,
    /// SHA-256 of `result.json` as it stands on disk.
    pub result_hash: String,
}

/// Reads `result.json` of `dir`.
///
/// # Errors
/// The file is missing, is not JSON of this shape, or names another schema.
pub fn read_result(dir: &Path) -> Result<RunResult, ReadError> {
    let path = dir.join(RESULT_FILE);
    parse_result(&path, &read_bytes(&path)?)
}

/// Reads the whole folder. A torn last line of a `.jsonl` file (the writer was killed) is left out.
///
/// # Errors
/// As [`read_result`], and when a line other than the last cannot be read.
pub fn read_folder(dir: &Path) -> Result<RunFolder, ReadError> {
    let path = dir.join(RESULT_FILE);
    let bytes = read_bytes(&path)?;
    Ok(RunFolder {
        result: parse_result(&path, &bytes)?,
        series: read_lines(&dir.join(SERIES_FILE))?,
        events: read_lines(&dir.join(EVENTS_FILE))?,
        result_hash: hash(&bytes),
    })
}

fn parse_result(path: &Path, bytes: &[u8]) -> Result<RunResult, ReadError> {
    let content =
        |error: serde_json::Error| ReadError::Content { path: path.to_owned(), why: error.to_string() };
    let value: serde_json::Value = serde_json::from_slice(bytes).map_err(content)?;
    let schema = value.get("schema").and_then(|schema| schema.as_str()).unwrap_or_default();
    if schema != SCHEMA {
        return Err(ReadError::Schema { path: path.to_owned(), found: schema.to_owned() });
    }
    serde_json::from_value(value).map_err(content)
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, ReadError> {
    std::fs::read(path).map_err(|source| ReadError::Io { path: path.to_owned(), source })
}

fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, ReadError> {
    let bytes = read_bytes(path)?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    bytes[..whole]
        .split(|byte| *byte == b'\n')
        .enumerate()
        .filter(|(_, line)| !line.is_empty())
        .map(|(number, line)| {
            serde_json::from_slice(line).map_err(|error| ReadError::Content {
                path: path.to_owned(),
                why: format!("line {}: {error}", number + 1),
            })
        })
        .collect()
}
