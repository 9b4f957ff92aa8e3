//! The event log: what happened, in order, as text whose hash tells two runs apart.

use sansio::Time;
use std::fmt::{self, Write};

/// What happened in a run. The hash covers every byte ever written; the text is kept only on request.
#[derive(Debug)]
pub struct EventLog {
    hash: u64,
    lines: u64,
    keep: bool,
    off: bool,
    text: String,
    line: String,
}

impl EventLog {
    /// An empty log that keeps its text if `keep` is set, and only hashes it otherwise.
    pub const fn new(keep: bool) -> Self {
        Self { hash: fnv(&[], OFFSET), lines: 0, keep, off: false, text: String::new(), line: String::new() }
    }

    /// A log that nothing is written to: for runs so many that writing would take longer than running.
    pub fn off() -> Self {
        Self { off: true, ..Self::new(false) }
    }

    /// Whether nothing is written to it.
    pub const fn is_off(&self) -> bool {
        self.off
    }

    /// Writes one line: the time, who, and what.
    pub fn line(&mut self, now: Time, who: &str, what: fmt::Arguments<'_>) {
        if self.off {
            return;
        }
        self.line.clear();
        // Writing to a String does not fail.
        let _ = writeln!(self.line, "{now} {who} {what}");
        self.hash = fnv(self.line.as_bytes(), self.hash);
        self.lines += 1;
        if self.keep {
            self.text.push_str(&self.line);
        }
    }

    /// FNV-1a over everything written so far.
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// Lines written so far.
    pub const fn lines(&self) -> u64 {
        self.lines
    }

    /// The text, empty unless it is kept.
    pub fn text(&self) -> &str {
        &self.text
    }
}

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a of `bytes`, going on from `hash`.
const fn fnv(bytes: &[u8], mut hash: u64) -> u64 {
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    hash
}

/// FNV-1a of `bytes`: the fixed hash used wherever the simulator needs one.
pub(crate) const fn digest(bytes: &[u8]) -> u64 {
    fnv(bytes, OFFSET)
}

/// A payload as the log shows it: its length, digest and, for text, the first line.
pub(crate) struct Shown<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes {:016x}", self.0.len(), digest(self.0))?;
        let line = self.0.split(|byte| *byte == b'\r' || *byte == b'\n').next().unwrap_or_default();
        if !line.is_empty() && line.len() <= 200 && line.iter().all(|b| (b' '..0x7f).contains(b)) {
            write!(f, " {}", String::from_utf8_lossy(line))?;
            for name in ["Call-ID:", "CSeq:"] {
                if let Some(value) = field(self.0, name) {
                    write!(f, " | {}", String::from_utf8_lossy(value))?;
                }
            }
        }
        Ok(())
    }
}

fn field<'a>(bytes: &'a [u8], name: &str) -> Option<&'a [u8]> {
    bytes
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .take_while(|line| !line.is_empty())
        .find(|line| line.len() > name.len() && line[..name.len()].eq_ignore_ascii_case(name.as_bytes()))
        .map(|line| line[name.len()..].trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_covers_every_byte_whether_or_not_the_text_is_kept() {
        let (mut kept, mut hashed) = (EventLog::new(true), EventLog::new(false));
        for log in [&mut kept, &mut hashed] {
            log.line(Time::from_millis(1), "a", format_args!("sends {}", Shown(b"x")));
        }
        assert_eq!(kept.hash(), hashed.hash());
        assert!(kept.text().starts_with("0.001000000 a sends 1 bytes "));
        assert_eq!(hashed.text(), "");
        hashed.line(Time::from_millis(1), "a", format_args!(""));
        assert_ne!(kept.hash(), hashed.hash());
    }
}
