//! What can be wrong with a store, said with the file and the cure.

use crate::schema::{Unfit, VERSION};
use rusqlite::ErrorCode;
use std::path::{Path, PathBuf};
use std::{fmt, io};

/// The store can't be used.
#[derive(Debug)]
pub struct Error {
    /// The file or folder concerned.
    pub path: PathBuf,
    /// What is wrong.
    pub trouble: Trouble,
}

/// What is wrong with a store.
#[derive(Debug)]
pub enum Trouble {
    /// No permission to read or write.
    Permission,
    /// No space left.
    DiskFull,
    /// Another process uses it; its number, if it could be read.
    InUse(Option<u32>),
    /// Written by a newer program: the version found.
    Newer(u32),
    /// Not a database, or a damaged one.
    Damaged(String),
    /// Anything else the system said.
    Other(String),
}

impl Error {
    pub(crate) fn io(path: &Path, error: &io::Error) -> Self {
        let trouble = match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Trouble::Permission,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Trouble::DiskFull,
            _ => Trouble::Other(error.to_string()),
        };
        Self { path: path.to_owned(), trouble }
    }

    pub(crate) fn sqlite(path: &Path, error: &rusqlite::Error) -> Self {
        let trouble = match error.sqlite_error_code() {
            Some(ErrorCode::PermissionDenied | ErrorCode::ReadOnly | ErrorCode::CannotOpen) => {
                Trouble::Permission
            }
            Some(ErrorCode::DiskFull) => Trouble::DiskFull,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Trouble::InUse(None),
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Trouble::Damaged(error.to_string()),
            _ => Trouble::Other(error.to_string()),
        };
        Self { path: path.to_owned(), trouble }
    }

    pub(crate) fn unfit(path: &Path, unfit: &Unfit) -> Self {
        match unfit {
            Unfit::Newer(found) => Self { path: path.to_owned(), trouble: Trouble::Newer(*found) },
            Unfit::Sqlite(error) => Self::sqlite(path, error),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.path.display())?;
        match &self.trouble {
            Trouble::Permission => f.write_str(
                "no permission to write call records there; make the folder and its files writable for this user, \
                 or name another folder with --data",
            ),
            Trouble::DiskFull => {
                f.write_str("the disk is full; free some space, or name a folder on another disk with --data")
            }
            Trouble::InUse(Some(pid)) => write!(
                f,
                "another trunkline (process {pid}) keeps its call records there; stop it, or name another folder \
                 with --data"
            ),
            Trouble::InUse(None) => f.write_str(
                "another process has locked the call records; close it (a database browser, a backup?), or name \
                 another folder with --data",
            ),
            Trouble::Newer(found) => write!(
                f,
                "written by a newer trunkline (schema {found}, this one knows {VERSION}); run that one, or name \
                 another folder with --data"
            ),
            Trouble::Damaged(detail) => write!(
                f,
                "not a usable database ({detail}); move it away to start with an empty one, or restore a copy"
            ),
            Trouble::Other(detail) => f.write_str(detail),
        }
    }
}

impl std::error::Error for Error {}
