//! The folder: made if missing, and locked, so that two processes never write one store.

use crate::{Error, Trouble};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// The database's name in the folder.
const DATABASE: &str = "trunkline.db";
/// The file that says who uses the folder. The lock goes with the process, however it dies.
const LOCK: &str = "trunkline.lock";

/// A folder that is ours until this is dropped.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) database: PathBuf,
    _lock: File,
}

impl Folder {
    pub(crate) fn take(path: &Path) -> Result<Self, Error> {
        fs::create_dir_all(path).map_err(|error| Error::io(path, &error))?;
        let lock_path = path.join(LOCK);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(|error| Error::io(&lock_path, &error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let pid = lock.read_to_string(&mut pid).ok().and_then(|_| pid.trim().parse().ok());
                return Err(Error { path: path.to_owned(), trouble: Trouble::InUse(pid) });
            }
            Err(TryLockError::Error(error)) => return Err(Error::io(&lock_path, &error)),
        }
        let wrote = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
        wrote.map_err(|error| Error::io(&lock_path, &error))?;
        Ok(Self { database: path.join(DATABASE), _lock: lock })
    }
}
