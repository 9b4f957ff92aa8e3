//! The load generator alone, for tests of itself: `load answer ADDR:PORT [SECONDS-OF-RING]`,
//! `load call sip:NUMBER@ADDR:PORT CPS HOLD SECONDS [rtp]`, `load run PLAN.toml`.

use loadgen::{AnswerOptions, CallOptions, LoadError, RunOptions};
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(words: &[&str]) -> Result<u8, LoadError> {
    let usage = || {
        LoadError::Usage(
            "load answer ADDR:PORT [RING] | load call URI CPS HOLD SECONDS [rtp] | load run PLAN".into(),
        )
    };
    let number = |word: &str| word.parse::<f64>().map_err(|_| usage());
    let io = match std::env::var("TRUNKLINE_IO").as_deref() {
        Ok("uring") => driver::Choice::Uring,
        Ok("fallback") => driver::Choice::Fallback,
        _ => driver::Choice::Auto,
    };
    let options = RunOptions {
        out: std::env::var_os("OUT").map(Into::into),
        io,
        lang: reports::Lang::En,
        command: words.join(" "),
        quiet: false,
    };
    match words {
        ["answer", listen, rest @ ..] => {
            let mut answer = AnswerOptions::new(listen.parse().map_err(|_| usage())?);
            answer.ring = Duration::from_secs_f64(rest.first().map_or(Ok(0.0), |ring| number(ring))?);
            answer.rtp = true;
            answer.io = io;
            answer.out = options.out;
            loadgen::answer(&answer).map(|()| 0)
        }
        ["call", to, cps, hold, seconds, rest @ ..] => {
            let call = CallOptions {
                to: (*to).to_owned(),
                from: None,
                rate: Some(number(cps)?),
                concurrent: None,
                hold: Duration::from_secs_f64(number(hold)?),
                duration: Some(Duration::from_secs_f64(number(seconds)?)),
                calls: None,
                rtp: rest.first() == Some(&"rtp"),
                threads: 1,
                seed: 1,
                run: options,
            };
            loadgen::call(&call).map(|verdict| verdict.exit_code())
        }
        ["run", plan] => loadgen::run_plan(plan.as_ref(), &options).map(|verdict| verdict.exit_code()),
        _ => Err(usage()),
    }
}
