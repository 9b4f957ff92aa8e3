//! Trunkline beside its peers, as whole processes over loopback: see the script `run` beside this file.
//!
//! What it measures goes to `reports/results/peers/*.json`; docs/performance.md is drawn from those files alone.
#![allow(clippy::disallowed_methods, reason = "starts processes, waits for them and writes files")]
#![allow(unreachable_pub, reason = "a program of several files")]

mod cost;
mod generator;
mod media;
mod middle;
mod overload;
mod page;
mod plot;
mod process;
mod readme;
mod record;
mod registrations;
mod signalling;
mod sipp;
mod talk;
mod tls;

use process::Outcome;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// How much is measured.
pub struct Extent {
    /// Calls per second, from low to high.
    pub rates: &'static [u32],
    /// Seconds at each.
    pub rate_seconds: u32,
    /// Rates at which the generators are compared.
    pub generator_rates: &'static [u32],
    /// Calls with voice at once.
    pub calls: &'static [u32],
    /// Seconds over which the calls come up, and over which they then are measured.
    pub ramp_seconds: u32,
    /// As said above.
    pub plateau_seconds: u32,
    /// Calls with voice at once when kinds of work are compared.
    pub cost_calls: u32,
    /// Calls over TLS connections that stand; a quarter of that with a connection each.
    pub tls_calls: u32,
    /// Phones that register.
    pub phones: u32,
    /// Calls per second that are offered, from below what the gateway can take to several times that.
    pub overload_rates: &'static [u32],
    /// Seconds at each.
    pub overload_seconds: u32,
    /// Calls with voice that are up meanwhile.
    pub overload_calls: u32,
}

/// Everything that is measured, in the order in which it is.
const PARTS: [&str; 7] = ["signalling", "generator", "media", "cost", "tls", "registrations", "overload"];

/// Twenty-five minutes.
const ALL: Extent = Extent {
    rates: &[200, 500, 1000, 2000, 3000, 4000, 5000, 6000, 8000],
    rate_seconds: 4,
    generator_rates: &[1000, 2000, 4000],
    calls: &[10, 100, 300, 1000, 1500, 2000],
    ramp_seconds: 4,
    plateau_seconds: 10,
    cost_calls: 100,
    tls_calls: 20_000,
    phones: 10_000,
    overload_rates: &[1000, 2000, 4000, 6000, 8000, 12_000, 16_000, 24_000],
    overload_seconds: 10,
    overload_calls: 50,
};

/// One minute: whether everything works.
const QUICK: Extent = Extent {
    rates: &[50],
    rate_seconds: 1,
    generator_rates: &[50],
    calls: &[5],
    ramp_seconds: 1,
    plateau_seconds: 3,
    cost_calls: 4,
    tls_calls: 64,
    phones: 100,
    overload_rates: &[50],
    overload_seconds: 2,
    overload_calls: 5,
};

/// Everything a measurement needs to know.
pub struct Bench {
    /// The binary under test.
    pub trunkline: String,
    /// For logs and configurations of one step.
    pub folder: PathBuf,
    /// How much.
    pub extent: Extent,
    /// As typed.
    pub command: String,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match measure(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &[String]) -> Outcome<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let results = root.join("reports/results/peers");
    let mut parts: Vec<&str> = Vec::new();
    let mut extent = ALL;
    let mut quick = false;
    for argument in arguments {
        match argument.as_str() {
            "--all" => parts.extend(PARTS),
            "--quick" => {
                extent = QUICK;
                quick = true;
            }
            "--render" => return page::draw(&results, root),
            part if PARTS.contains(&part) => parts.push(part),
            other => {
                return Err(format!("\"{other}\" is none of --all, --quick, --render, {}", PARTS.join(", ")));
            }
        }
    }
    if parts.is_empty() && quick {
        parts.extend(PARTS);
    }
    if parts.is_empty() {
        return Err(format!("say --all, --quick, --render, or which of {}", PARTS.join(", ")));
    }
    let trunkline = std::env::var("TRUNKLINE").unwrap_or_default();
    let trunkline = std::fs::canonicalize(&trunkline)
        .map_err(|error| format!("TRUNKLINE=\"{trunkline}\" is not the binary: {error}"))?;
    let folder = std::env::temp_dir().join(format!("trunkline-peers-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let bench = Bench {
        trunkline: trunkline.display().to_string(),
        folder: folder.clone(),
        extent,
        command: format!("benches/peers/run {}", arguments.join(" ")),
    };
    // A quick run's numbers mean nothing and shall not replace those that do.
    let (results, page_root) =
        if quick { (folder.join("results"), folder.clone()) } else { (results, root.to_owned()) };
    for part in parts {
        let rows = match part {
            "signalling" => signalling::measure(&bench)?,
            "generator" => generator::measure(&bench)?,
            "cost" => cost::measure(&bench)?,
            "tls" => tls::measure(&bench)?,
            "registrations" => registrations::measure(&bench)?,
            "overload" => overload::measure(&bench)?,
            _ => media::measure(&bench)?,
        };
        record::write(&results, part, &bench, root, rows)?;
    }
    page::draw(&results, &page_root)?;
    if quick {
        println!("everything works; results and page of this quick run are in {}", folder.display());
    } else {
        let _ = std::fs::remove_dir_all(&folder);
    }
    Ok(())
}
