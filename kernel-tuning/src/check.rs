//! Compares a machine with a profile; reads only.

use crate::profile::{Kind, Knob, Only, Profile, Want};
use crate::root::Root;
use crate::value::{Surroundings, better, normal, wanted};
use std::fmt;
use std::str::FromStr;

/// A range of ports, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    /// First port.
    pub low: u16,
    /// Last port.
    pub high: u16,
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.low == self.high {
            write!(f, "{}", self.low)
        } else {
            write!(f, "{}-{}", self.low, self.high)
        }
    }
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a port or a range of ports");
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        let (low, high) =
            (low.trim().parse().map_err(|_| wrong())?, high.trim().parse().map_err(|_| wrong())?);
        if low > high { Err(wrong()) } else { Ok(Self { low, high }) }
    }
}

/// What the check must know about the use of the machine.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The ports used for RTP.
    pub rtp_ports: PortRange,
}

impl Default for Options {
    fn default() -> Self {
        Self { rtp_ports: PortRange { low: 16_384, high: 32_767 } }
    }
}

/// How a setting stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// As wanted.
    Good,
    /// Mis-set.
    Off,
    /// This machine has no such setting (no frequency governor in a virtual machine, for instance).
    Absent,
    /// It exists but cannot be read or understood.
    Unreadable,
}

/// One setting compared.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The knob's name.
    pub id: String,
    /// How it stands.
    pub verdict: Verdict,
    /// The value found; of several files, the first that is off. For an unreadable setting, why.
    pub found: String,
    /// What it should be.
    pub wanted: String,
    /// Files that are off, with the value they should get; empty for limits.
    pub off: Vec<(String, String)>,
    /// Files compared.
    pub files: usize,
    /// The knob.
    pub knob: Knob,
}

/// A machine compared with a profile.
#[derive(Debug, Clone)]
pub struct CheckReport {
    /// The profile's name.
    pub profile: String,
    /// One per knob, in the profile's order.
    pub findings: Vec<Finding>,
}

impl CheckReport {
    /// How many knobs are off.
    #[must_use]
    pub fn off(&self) -> usize {
        self.count(Verdict::Off)
    }

    /// One line for a report's environment page.
    #[must_use]
    pub fn summary(&self) -> String {
        format!(
            "{}: {} of {} knobs off",
            self.profile,
            self.off(),
            self.findings.len() - self.count(Verdict::Absent)
        )
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.findings.iter().filter(|finding| finding.verdict == verdict).count()
    }
}

/// Compares the machine below `root` with `profile`. Changes nothing.
#[must_use]
pub fn check(root: &Root, profile: &Profile, options: Options) -> CheckReport {
    let around = surroundings(root, options);
    CheckReport {
        profile: profile.name.clone(),
        findings: profile.knobs.iter().map(|knob| compare(root, knob, around)).collect(),
    }
}

fn surroundings(root: &Root, options: Options) -> Surroundings {
    let cpus = root.matching("sys/devices/system/cpu/cpu*").len();
    let ephemeral = root.find("proc/sys/net/ipv4/ip_local_port_range").and_then(|text| {
        let (low, high) = text.split_once(char::is_whitespace)?;
        Some(PortRange { low: low.parse().ok()?, high: high.trim().parse().ok()? })
    });
    Surroundings { cpus: u32::try_from(cpus.max(1)).unwrap_or(1), rtp_ports: options.rtp_ports, ephemeral }
}

fn compare(root: &Root, knob: &Knob, around: Surroundings) -> Finding {
    let mut finding = Finding {
        id: knob.id.clone(),
        verdict: Verdict::Absent,
        found: String::new(),
        wanted: wanted(&knob.want, around),
        off: Vec::new(),
        files: 0,
        knob: knob.clone(),
    };
    let Some(pattern) = knob.pattern() else {
        compare_limit(root, knob, around, &mut finding);
        return finding;
    };
    let files: Vec<String> =
        root.matching(&pattern).into_iter().filter(|file| applies(root, file, knob.only.as_ref())).collect();
    finding.files = files.len();
    for file in files {
        let read = root.read(&file).map_err(|error| error.to_string()).map(|text| normal(&text));
        let judged = read.and_then(|found| Ok((better(&knob.want, &found, around)?, found)));
        match judged {
            Ok((None, found)) => {
                if finding.verdict == Verdict::Absent {
                    finding.verdict = Verdict::Good;
                    finding.found = found;
                }
            }
            Ok((Some(value), found)) => {
                if finding.verdict != Verdict::Off {
                    finding.verdict = Verdict::Off;
                    finding.found = found;
                }
                finding.off.push((file, value));
            }
            Err(why) => {
                if finding.verdict != Verdict::Off {
                    finding.verdict = Verdict::Unreadable;
                    finding.found = why;
                }
            }
        }
    }
    if finding.files == 0 && matches!(knob.want, Want::Equals(_)) {
        finding.found = "no such setting here".to_owned();
    }
    finding
}

/// Whether a file meets the knob's condition.
fn applies(root: &Root, file: &str, only: Option<&Only>) -> bool {
    let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
    match only {
        None => true,
        Some(Only::Exists(path)) => root.exists(&format!("{folder}/{path}")),
        Some(Only::Above(name, value)) => root
            .find(&format!("{folder}/{name}"))
            .and_then(|text| text.parse::<u64>().ok())
            .is_some_and(|number| number > *value),
    }
}

/// The soft limit of this process, from `/proc/self/limits`.
fn compare_limit(root: &Root, knob: &Knob, around: Surroundings, finding: &mut Finding) {
    let Some(soft) = soft_limit(root, &knob.id) else {
        return;
    };
    finding.files = 1;
    match better(&knob.want, &soft, around) {
        Ok(None) => finding.verdict = Verdict::Good,
        Ok(Some(_)) => finding.verdict = Verdict::Off,
        Err(why) => {
            finding.verdict = Verdict::Unreadable;
            finding.found = why;
            return;
        }
    }
    finding.found = soft;
}

/// The soft limit called `nofile` or `memlock`; `unlimited` as the kernel writes it.
pub(crate) fn soft_limit(root: &Root, name: &str) -> Option<String> {
    let title = match name {
        "nofile" => "Max open files",
        "memlock" => "Max locked memory",
        "nproc" => "Max processes",
        "rtprio" => "Max realtime priority",
        _ => return None,
    };
    let limits = root.find("proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix(title))?;
    line.split_whitespace().next().map(str::to_owned)
}

impl Verdict {
    /// The word printed in tables.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Off => "OFF",
            Self::Absent => "absent",
            Self::Unreadable => "?",
        }
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width =
            |column: fn(&Finding) -> usize| self.findings.iter().map(column).max().unwrap_or(0).clamp(5, 44);
        let (id, found) = (width(|f| f.id.len()), width(|f| f.found.len()));
        writeln!(f, "{:<7} {:<id$}  {:<found$}  wanted", "", "setting", "found")?;
        for finding in &self.findings {
            writeln!(
                f,
                "{:<7} {:<id$}  {:<found$}  {}",
                finding.verdict.word(),
                finding.id,
                finding.found,
                finding.wanted
            )?;
        }
        for finding in self.findings.iter().filter(|finding| finding.verdict == Verdict::Off) {
            let knob = &finding.knob;
            writeln!(f, "\n{}: {} (wanted: {})", finding.id, finding.found, finding.wanted)?;
            writeln!(f, "  why      {}", knob.why)?;
            writeln!(f, "  mis-set  {}", knob.mis_set)?;
            match &knob.effect.file {
                Some(file) => writeln!(f, "  effect   {} ({file})", knob.effect.said)?,
                None => writeln!(f, "  effect   {}", knob.effect.said)?,
            }
            match (&knob.undo, knob.kind) {
                (Some(undo), _) => writeln!(f, "  set/undo {undo}")?,
                (None, Kind::Limit) => {}
                (None, _) => writeln!(f, "  undo     trunkline tune restore puts the previous value back")?,
            }
        }
        writeln!(f, "\n{}. Nothing was changed.", self.summary())
    }
}
