//! `trunkline load`: flags into the load generator's options, its verdict into an exit code.

use crate::Error;
use crate::arguments::{self, LoadCommand};
use driver::{Choice, Scheduling};
use loadgen::{AnswerOptions, CallOptions, LoadError, RunOptions};
use reports::Lang;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Runs one of the load commands.
pub(crate) fn run(arguments: arguments::Load) -> Result<ExitCode, Error> {
    let verdict = match arguments.command {
        LoadCommand::Answer(arguments) => {
            loadgen::answer(&answer(arguments)?)?;
            return Ok(ExitCode::SUCCESS);
        }
        LoadCommand::Call(arguments) => loadgen::call(&call(arguments)?),
        LoadCommand::Run(arguments) => {
            let options = measured(arguments.out, &arguments.io, &arguments.scheduling, &arguments.lang)?;
            loadgen::run_plan(&arguments.plan, &options)
        }
    };
    verdict_code(verdict)
}

/// A verdict as exit code; a run that could not take place proves nothing, which is INVALID, unless it was asked wrongly.
pub(crate) fn verdict_code(verdict: Result<reports::result::Verdict, LoadError>) -> Result<ExitCode, Error> {
    match verdict {
        Ok(verdict) => Ok(ExitCode::from(verdict.exit_code())),
        Err(error @ LoadError::Usage(_)) => Err(error.into()),
        Err(error) => {
            eprintln!("trunkline: {error}");
            Ok(ExitCode::from(reports::result::Verdict::Invalid.exit_code()))
        }
    }
}

fn answer(arguments: arguments::Answer) -> Result<AnswerOptions, Error> {
    Ok(AnswerOptions {
        ring: seconds("--ring", arguments.ring)?,
        status: arguments.status,
        silent: arguments.silent,
        rtp: arguments.rtp,
        bye_after: arguments.hold.map(|hold| seconds("--hold", hold)).transpose()?,
        out: arguments.out,
        io: choice(&arguments.io)?,
        scheduling: scheduled(&arguments.scheduling)?,
        ..AnswerOptions::new(arguments.listen)
    })
}

fn call(arguments: arguments::Call) -> Result<CallOptions, Error> {
    Ok(CallOptions {
        to: arguments.to,
        from: arguments.from,
        rate: arguments.rate,
        concurrent: arguments.concurrent,
        hold: seconds("--hold", arguments.hold)?,
        duration: arguments.duration.map(|span| seconds("--duration", span)).transpose()?,
        calls: arguments.calls,
        rtp: arguments.rtp,
        threads: arguments.workers,
        seed: arguments.seed,
        run: measured(arguments.out, &arguments.io, &arguments.scheduling, &arguments.lang)?,
    })
}

/// What every measuring command takes.
pub(crate) fn measured(
    out: Option<PathBuf>,
    io: &str,
    scheduling: &str,
    lang: &str,
) -> Result<RunOptions, Error> {
    let (io, scheduling, lang) = (choice(io)?, scheduled(scheduling)?, language(lang)?);
    Ok(RunOptions { out, io, scheduling, lang, command: command_line(), quiet: false })
}

/// The driver of a word.
pub(crate) fn choice(word: &str) -> Result<Choice, Error> {
    word.parse().map_err(|error| format!("--io {word}: {error}").into())
}

/// The scheduling of a word.
fn scheduled(word: &str) -> Result<Scheduling, Error> {
    word.parse().map_err(|error| format!("--scheduling {word}: {error}").into())
}

/// The language of a word.
pub(crate) fn language(word: &str) -> Result<Lang, Error> {
    word.parse().map_err(|error| format!("--lang: {error}").into())
}

/// The command as it was typed, for the record.
fn command_line() -> String {
    let program = std::iter::once(String::from("trunkline"));
    program.chain(std::env::args().skip(1)).collect::<Vec<_>>().join(" ")
}

fn seconds(flag: &str, value: f64) -> Result<Duration, Error> {
    Duration::try_from_secs_f64(value)
        .map_err(|_| format!("{flag} {value}: give a number of seconds, 0 or more").into())
}
