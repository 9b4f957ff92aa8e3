//! `trunkline check`: a configuration read as `serve` reads it, and what would come of it. Nothing is started or written.

mod config;
mod route;

use crate::Error;
use crate::arguments::{Check, CheckCommand};
use std::process::ExitCode;

/// Runs one of the checks; its findings go to standard output.
pub(crate) fn run(arguments: Check) -> Result<ExitCode, Error> {
    match arguments.command {
        CheckCommand::Config { file, mut serve } => {
            serve.config = serve.config.or(file);
            config::run(&serve)
        }
        CheckCommand::Route { number, from, source, json, serve } => {
            route::run(&number, &from, source, json, &serve)
        }
    }
}
