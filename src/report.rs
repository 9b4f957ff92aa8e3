//! `trunkline report`: draws and checks the report of a finished run.

use crate::Error;
use crate::arguments::{self, ReportCommand};
use crate::load::language;
use std::process::ExitCode;

/// Runs one of the report commands.
pub(crate) fn run(arguments: &arguments::Report) -> Result<ExitCode, Error> {
    match &arguments.command {
        ReportCommand::Render { dir, lang } => {
            let lang = language(lang.as_deref().unwrap_or("en"))?;
            let drawn = reports::render(dir, lang)?;
            println!("{}\n{}", drawn.html.display(), drawn.junit.display());
            Ok(ExitCode::SUCCESS)
        }
        ReportCommand::Check { dir } => {
            let found = reports::check(dir);
            println!("{found}");
            Ok(if found.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}
