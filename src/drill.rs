//! `trunkline drill`: the acceptance drill, with this very binary as gateway and carriers.

use crate::Error;
use crate::arguments;
use crate::load::{measured, verdict_code};
use loadgen::drill::{DrillOptions, drill};
use std::process::ExitCode;

/// Runs the drill.
pub(crate) fn run(arguments: arguments::Drill) -> Result<ExitCode, Error> {
    let options = DrillOptions {
        binary: std::env::current_exe()?,
        concurrent: arguments.concurrent,
        seconds: arguments.duration,
        workers: arguments.workers,
        run: measured(arguments.out, &arguments.io, &arguments.scheduling, &arguments.lang)?,
    };
    verdict_code(drill(&options))
}
