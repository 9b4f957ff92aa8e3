//! SIPp as caller and as carrier, and what its statistics say.

use crate::process::{Cores, Outcome, Running, free_port};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A carrier that answers every call.
pub struct Carrier {
    process: Running,
    statistics: PathBuf,
    /// Where it listens.
    pub port: u16,
}

impl Carrier {
    /// Starts one.
    pub fn start(name: &str, folder: &Path) -> Outcome<Self> {
        let port = free_port()?;
        fs::write(folder.join("carrier.xml"), include_str!("carrier.xml")).map_err(|e| e.to_string())?;
        let (mut arguments, statistics) = common(name, "carrier.xml", port, folder);
        arguments.push("-nd".to_owned());
        let mut process = Running::start(name, "sipp", &arguments, Cores::Load, folder)?;
        process.wait_for_port(port, folder)?;
        Ok(Self { process, statistics, port })
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Messages it had to send again so far; it says so once a second.
    pub fn retransmissions(&self) -> u64 {
        read(&self.statistics).get("Retransmissions(C)").copied().unwrap_or(0)
    }
}

/// What a caller did.
#[derive(Debug, Default)]
pub struct Called {
    /// Calls that ended well.
    pub completed: u64,
    /// Calls that did not.
    pub failed: u64,
    /// Messages sent again.
    pub retransmissions: u64,
    /// From start to end.
    pub seconds: f64,
}

/// Arguments that callers and carriers have in common, and the file with their statistics.
fn common(name: &str, scenario: &str, port: u16, folder: &Path) -> (Vec<String>, PathBuf) {
    let statistics = folder.join(format!("{name}.csv"));
    let _ = fs::remove_file(&statistics);
    let text = format!(
        "-sf {scenario} -i 127.0.0.1 -mi 127.0.0.1 -p {port} -mp {} -nostdin -trace_stat -fd 1 -buff_size 2000000 -stf",
        // SIPp opens it and the one two above, whether media flow or not.
        port + 2
    );
    let mut arguments: Vec<String> = text.split(' ').map(str::to_owned).collect();
    arguments.push(statistics.display().to_string());
    (arguments, statistics)
}

/// Places `calls` calls at `rate` a second to `to`; `seen` is told the process while it runs.
pub fn call(to: u16, rate: u32, calls: u32, folder: &Path, seen: &mut dyn FnMut(u32)) -> Outcome<Called> {
    let port = free_port()?;
    fs::write(folder.join("caller.xml"), include_str!("caller.xml")).map_err(|e| e.to_string())?;
    let (mut arguments, statistics) = common("caller", "caller.xml", port, folder);
    let limit = 4 + 2 * calls.div_ceil(rate);
    let more = format!("-r {rate} -m {calls} -l 30000 -s 4930123456 -timeout {limit}s 127.0.0.1:{to}");
    arguments.extend(more.split(' ').map(str::to_owned));
    let start = Instant::now();
    let mut process = Running::start("caller", "sipp", &arguments, Cores::Load, folder)?;
    while !process.is_over() && start.elapsed() < Duration::from_secs(u64::from(limit) + 5) {
        seen(process.id());
        crate::process::pause(0.02);
    }
    let seconds = start.elapsed().as_secs_f64();
    drop(process);
    let row = read(&statistics);
    let of = |name: &str| row.get(name).copied().unwrap_or(0);
    let completed = of("SuccessfulCall(C)");
    Ok(Called {
        completed,
        // What never ended when the time was up failed too.
        failed: u64::from(calls).saturating_sub(completed),
        retransmissions: of("Retransmissions(C)"),
        seconds,
    })
}

/// The last whole row of a statistics file, by column.
fn read(file: &Path) -> HashMap<String, u64> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().unwrap_or_default().split(';').collect();
    let whole = |line: &&str| line.split(';').count() + 1 >= names.len();
    let last = lines.rfind(whole).unwrap_or_default();
    names
        .iter()
        .zip(last.split(';'))
        .filter_map(|(name, value)| Some(((*name).to_owned(), value.parse().ok()?)))
        .collect()
}
