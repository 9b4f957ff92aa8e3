//! The simulator's command: many fresh seeds, or one seed again with its log.

use sim::Defect;
use sim::scene::{self, Options, Topology};
use sim::swarm::Swarm;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::process::ExitCode;

const USAGE: &str = "\
Runs whole topologies in virtual time, each from one seed, and says what was wrong.

usage: cargo sim [--seeds N] [--base SEED] [--topology NAME]... [--plant DEFECT]
       cargo sim --seed SEED [--topology NAME]... [--log FILE] [--plant DEFECT]

  --seeds N        how many seeds for each topology (default 100)
  --base SEED      the first of them (default: fresh from the system)
  --seed SEED      this one only; the same seed gives the same log byte for byte
  --topology NAME  only this one; may be repeated (default: all)
  --log FILE       with --seed: write the event log there
  --plant DEFECT   plant a defect in the unit under test, to see the simulator find it; --list names them
  --failures N     stop after this many failures (default 5)
  --list           name the topologies and the defects
";

/// What the command line asks for.
struct Asked {
    swarm: Swarm,
    log: Option<String>,
}

fn read(mut arguments: impl Iterator<Item = String>) -> Result<Option<Asked>, String> {
    let mut swarm = Swarm::new(fresh(), 100);
    let mut topologies = Vec::new();
    let (mut log, mut seed) = (None, None);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        let number = |text: String| text.parse::<u64>().map_err(|_| format!("{text:?} is no number"));
        match argument.as_str() {
            "--seeds" => swarm.seeds = number(value()?)?,
            "--base" => swarm.base = number(value()?)?,
            "--seed" => seed = Some(number(value()?)?),
            "--failures" => swarm.failures_max = number(value()?)? as usize,
            "--log" => log = Some(value()?),
            "--topology" => {
                let name = value()?;
                topologies
                    .push(Topology::named(&name).ok_or_else(|| format!("no topology {name:?}; see --list"))?);
            }
            "--plant" => {
                let name = value()?;
                let all = Defect::ALL.map(Defect::name).join(", ");
                let defect =
                    Defect::named(&name).ok_or_else(|| format!("no defect {name:?}; there are {all}"))?;
                swarm.options.defect = Some(defect);
            }
            "--list" => {
                for topology in Topology::ALL {
                    println!("{:12} {}", topology.name(), topology.about());
                }
                println!("defects: {}", Defect::ALL.map(Defect::name).join(", "));
                return Ok(None);
            }
            "--help" | "-h" => {
                print!("{USAGE}");
                return Ok(None);
            }
            other => return Err(format!("{other:?} is no option\n\n{USAGE}")),
        }
    }
    if !topologies.is_empty() {
        swarm.topologies = topologies;
    }
    if let Some(seed) = seed {
        (swarm.base, swarm.seeds) = (seed, 1);
        swarm.options.keep_log = log.is_some();
    } else if log.is_some() {
        return Err("--log goes with --seed".to_owned());
    }
    Ok(Some(Asked { swarm, log }))
}

/// A seed that the system draws.
fn fresh() -> u64 {
    RandomState::new().hash_one("swarm") >> 16
}

fn main() -> ExitCode {
    match read(std::env::args().skip(1)) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(asked)) if asked.swarm.seeds == 1 => single(&asked),
        Ok(Some(asked)) => many(&asked.swarm),
        Err(why) => {
            eprintln!("sim: {why}");
            ExitCode::from(2)
        }
    }
}

fn single(asked: &Asked) -> ExitCode {
    let mut text = String::new();
    let mut failed = false;
    for topology in &asked.swarm.topologies {
        let options = Options { keep_log: asked.log.is_some(), ..asked.swarm.options };
        let report = scene::run(*topology, asked.swarm.base, options);
        println!(
            "{topology} seed {}: {} calls, {} answered, {} log lines, hash {:016x}",
            report.seed, report.calls.0, report.calls.1, report.log.1, report.log.0
        );
        for violation in &report.violations {
            println!("    {violation}");
        }
        failed |= !report.violations.is_empty();
        text.push_str(&report.text);
    }
    if let Some(path) = &asked.log
        && let Err(error) = std::fs::write(path, text)
    {
        eprintln!("sim: cannot write {path}: {error}");
        return ExitCode::from(2);
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn many(swarm: &Swarm) -> ExitCode {
    println!("seeds {} to {}", swarm.base, swarm.base.wrapping_add(swarm.seeds - 1));
    let mut scenes = 0;
    let harvest = swarm.run(|report| {
        scenes += 1;
        if scenes % 100 == 0 {
            println!("{scenes} scenes, at seed {}", report.seed);
            // Progress only: a closed pipe is no reason to stop.
            let _ = std::io::stdout().flush();
        }
    });
    print!("{}", harvest.complaint());
    println!(
        "{} scenes, {} calls, {} answered, {} log lines, {} failed",
        harvest.scenes,
        harvest.calls.0,
        harvest.calls.1,
        harvest.lines,
        harvest.failures.len()
    );
    if harvest.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
