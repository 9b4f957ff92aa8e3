//! The tree below which `/proc` and `/sys` are looked for: the host's, or a made-up one in tests.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A directory that holds `proc/` and `sys/`.
#[derive(Debug, Clone)]
pub struct Root {
    path: PathBuf,
}

impl Root {
    /// This machine.
    #[must_use]
    pub fn host() -> Self {
        Self { path: PathBuf::from("/") }
    }

    /// A tree of files that stands in for a machine.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// A path below the root; `name` is relative, as in `proc/sys/net/core/rmem_max`.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The content of a file without surrounding white space.
    ///
    /// # Errors
    /// The file is missing or may not be read.
    pub fn read(&self, name: &str) -> io::Result<String> {
        Ok(fs::read_to_string(self.path(name))?.trim().to_owned())
    }

    /// The content of a file that may be missing, unreadable or empty.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<String> {
        self.read(name).ok().filter(|text| !text.is_empty())
    }

    /// Whether anything stands at `name`.
    #[must_use]
    pub fn exists(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// Whether `name` could be written, without writing it.
    pub(crate) fn probe_write(&self, name: &str) -> io::Result<()> {
        OpenOptions::new().write(true).open(self.path(name)).map(drop)
    }

    /// Writes `value` to an existing file in one write, as the kernel's files want it.
    pub(crate) fn write(&self, name: &str, value: &str) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).truncate(true).open(self.path(name))?;
        file.write_all(format!("{value}\n").as_bytes())
    }

    /// Existing files that match `pattern`, whose components may contain one `*` each; sorted by name, numbers by value.
    #[must_use]
    pub fn matching(&self, pattern: &str) -> Vec<String> {
        let mut found = vec![String::new()];
        for component in pattern.split('/') {
            found = found.into_iter().flat_map(|base| self.step(&base, component)).collect();
        }
        found.retain(|name| self.exists(name));
        found
    }

    fn step(&self, base: &str, component: &str) -> Vec<String> {
        let join = |name: &str| if base.is_empty() { name.to_owned() } else { format!("{base}/{name}") };
        let Some((before, after)) = component.split_once('*') else {
            return vec![join(component)];
        };
        let Ok(entries) = fs::read_dir(self.path(base)) else {
            return Vec::new();
        };
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| {
                name.len() >= before.len() + after.len() && name.starts_with(before) && name.ends_with(after)
            })
            // `cpu*` means the numbered ones, not `cpufreq` or `cpuidle`.
            .filter(|name| {
                before.is_empty()
                    || name[before.len()..name.len() - after.len()].bytes().all(|byte| byte.is_ascii_digit())
            })
            .collect();
        names.sort_by_key(|name| (name.trim_start_matches(before).parse::<u64>().unwrap_or(0), name.clone()));
        names.iter().map(|name| join(name)).collect()
    }
}

/// Where the state file lies: absolute paths are the host's own, never below the root.
pub(crate) fn parent_of(path: &Path) -> Option<&Path> {
    path.parent().filter(|parent| !parent.as_os_str().is_empty())
}
