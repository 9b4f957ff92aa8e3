//! `trunkline drill`: the acceptance drill, with this very binary as gateway and carriers.

use crate::Error;
use crate::arguments;
use crate::load::{measured, verdict_code};
use loadgen::drill::{DrillOptions, drill};
use std::process::ExitCode;

/// The gateway's share of this machine: callers and carriers need the other half.
fn half_of_the_cores() -> u16 {
    (driver::affinity::available().len() / 2).clamp(1, 64) as u16
}

/// Runs the drill.
pub(crate) fn run(arguments: arguments::Drill) -> Result<ExitCode, Error> {
    let options = DrillOptions {
        binary: std::env::current_exe()?,
        concurrent: arguments.concurrent,
        seconds: arguments.duration,
        workers: Some(half_of_the_cores()),
        run: measured(arguments.out, &arguments.io, &arguments.lang)?,
    };
    verdict_code(drill(&options))
}
