//! `trunkline tune`: shows what is mis-set on this host, sets it when asked to, and puts it back.

use crate::Error;
use crate::arguments::{self, TuneCommand};
use kernel_tuning::{Consent, Options, Profile, Root, STATE_FILE, apply, check, fingerprint, restore};
use std::path::Path;
use std::process::ExitCode;

/// Runs one of the tune commands.
pub(crate) fn run(arguments: &arguments::Tune) -> Result<ExitCode, Error> {
    let root = Root::host();
    match &arguments.command {
        TuneCommand::Check { profile } => {
            let report = check(&root, &Profile::built_in(profile)?, Options::default());
            print!("{report}");
            return Ok(if report.off() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        TuneCommand::Apply { profile, yes } => {
            let profile = Profile::built_in(profile)?;
            print!("{}", apply(&root, &profile, Options::default(), consent(*yes), Path::new(STATE_FILE))?);
        }
        TuneCommand::Restore { yes } => print!("{}", restore(&root, consent(*yes), Path::new(STATE_FILE))?),
        TuneCommand::Fingerprint => println!("{}", fingerprint().to_json()),
    }
    Ok(ExitCode::SUCCESS)
}

const fn consent(yes: bool) -> Consent {
    if yes { Consent::Change } else { Consent::DryRun }
}
