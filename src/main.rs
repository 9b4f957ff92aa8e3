//! Trunkline: arguments in, one of the daemons started. Composition only; nothing is decided here.
#![forbid(unsafe_code)]

mod arguments;
mod check;
mod drill;
mod load;
mod report;
mod serve;
mod trace;
mod tune;

use arguments::{Arguments, Command};
use clap::Parser;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let command = Arguments::parse().command.unwrap_or_else(|| Command::Drill(arguments::Drill::default()));
    // Where there are no huge pages there is nothing to be spared.
    let _ = driver::affinity::plain_pages();
    let outcome = match command {
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Check(arguments) => check::run(arguments),
        Command::Load(arguments) => load::run(arguments),
        Command::Drill(arguments) => drill::run(arguments),
        Command::Report(arguments) => report::run(&arguments),
        Command::Trace(arguments) => trace::run(&arguments),
        Command::Tune(arguments) => tune::run(&arguments),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("trunkline: {error}");
        ExitCode::from(2)
    })
}

/// What a subcommand that cannot go on says; printed behind the program's name, exit code 2.
type Error = Box<dyn std::error::Error>;
