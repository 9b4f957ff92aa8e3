//! The part file: what a carrier process measured, one line a second, so that a kill loses a second at most.
#![expect(clippy::disallowed_methods, reason = "an edge: files are written and read here")]

use crate::measure::Part;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Its name in the carrier's folder.
pub const PART_FILE: &str = "parts.jsonl";

/// The first line of a part file: who writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartHead {
    /// The farm's number in marks.
    pub farm: u32,
    /// Process.
    pub pid: u32,
    /// IO mode in force.
    pub io: String,
    /// Why not the better one.
    pub note: String,
    /// How its threads are scheduled: `realtime` or `normal`.
    #[serde(default)]
    pub scheduling: String,
    /// Where it listens.
    pub listen: String,
}

/// Writes a part file.
#[derive(Debug)]
pub struct PartWriter {
    file: File,
}

impl PartWriter {
    /// Begins the file in `dir`, which is made if it is not there.
    ///
    /// # Errors
    /// The folder or file cannot be written; the message names it.
    pub fn create(dir: &Path, head: &PartHead) -> io::Result<Self> {
        let path = dir.join(PART_FILE);
        let make = || {
            fs::create_dir_all(dir)?;
            File::create(&path)
        };
        let file =
            make().map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
        let mut writer = Self { file };
        writer.line(head)?;
        Ok(writer)
    }

    /// Appends one second.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn part(&mut self, part: &Part) -> io::Result<()> {
        self.line(part)
    }

    fn line(&mut self, value: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(value).map_err(io::Error::other)?;
        line.push(b'\n');
        self.file.write_all(&line)
    }
}

/// Reads a part file while another process writes it.
#[derive(Debug)]
pub struct PartReader {
    path: PathBuf,
    at: u64,
    head: Option<PartHead>,
}

impl PartReader {
    /// Will read the file in `dir`, which need not be there yet.
    pub fn new(dir: &Path) -> Self {
        Self { path: dir.join(PART_FILE), at: 0, head: None }
    }

    /// Who writes it, once that was read.
    pub fn head(&self) -> Option<&PartHead> {
        self.head.as_ref()
    }

    /// The whole lines written since the last look. A torn or strange line ends the look; it is tried again next time.
    pub fn look(&mut self) -> Vec<Part> {
        let mut parts = Vec::new();
        let Ok(mut file) = File::open(&self.path) else { return parts };
        if file.seek(SeekFrom::Start(self.at)).is_err() {
            return parts;
        }
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        loop {
            line.clear();
            match reader.read_until(b'\n', &mut line) {
                Ok(len) if len > 0 && line.ends_with(b"\n") => {}
                _ => return parts,
            }
            if self.head.is_none() {
                let Ok(head) = serde_json::from_slice(&line) else { return parts };
                self.head = Some(head);
            } else {
                let Ok(part) = serde_json::from_slice(&line) else { return parts };
                parts.push(part);
            }
            self.at += line.len() as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_come_and_torn_ones_wait() {
        let dir = std::env::temp_dir().join(format!("loadgen-parts-{}", std::process::id()));
        let mut reader = PartReader::new(&dir);
        assert!(reader.look().is_empty());
        let head = PartHead { farm: 7, io: "epoll".to_owned(), ..PartHead::default() };
        let mut writer = PartWriter::create(&dir, &head).unwrap();
        writer.part(&Part { attempts: 3, ..Part::default() }).unwrap();
        assert_eq!(reader.look().len(), 1);
        assert_eq!(reader.head(), Some(&head));
        writer.file.write_all(b"{\"attempts\":").unwrap();
        assert!(reader.look().is_empty());
        writer.file.write_all(b"9}\n").unwrap();
        let parts = reader.look();
        assert_eq!((parts.len(), parts[0].attempts), (1, 9));
        fs::remove_dir_all(&dir).unwrap();
    }
}
