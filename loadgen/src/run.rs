//! The commands: be callers, be a carrier, run a plan. Options come as plain structs; what they mean is decided here.

use crate::arrival::{Arrivals, poisson_distance};
use crate::callee::Behaviour;
use crate::caller::CallerConfig;
use crate::conduct::Conductor;
use crate::farm::{Farm, ShardSpec, source_towards};
use crate::live::TrunkLine;
use crate::mail::Mail;
use crate::observe::Watched;
use crate::options::{AnswerOptions, CallOptions, LoadError, RunOptions};
use crate::partfile::{PartHead, PartWriter};
use crate::plan::{self, Arrival, Codec, Count, Hold, Phases, Plan, Rate, Seconds, Target};
use crate::verdict::{self, Health};
use crate::{hold::HoldLaw, shard};
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use driver::clock;
use reports::result::{Ended, Event, IoInForce, RunResult, SeriesPoint, Verdict, event_kind};
use sansio::Random;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) fn system(what: &str) -> impl FnOnce(io::Error) -> LoadError + '_ {
    move |error| LoadError::System(what.to_owned(), error)
}

/// Set by Ctrl-C and SIGTERM from the first call of this on.
///
/// # Errors
/// The operating system's.
pub fn interruption() -> Result<Arc<AtomicBool>, LoadError> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&flag)).map_err(system("catching signals"))?;
    }
    Ok(flag)
}

/// A number that no other farm of this host has, from the clock and the process.
pub(crate) fn farm_number(salt: u64) -> u32 {
    let mut random =
        Random::new(clock::now().as_nanos() ^ (u64::from(std::process::id()) << 32) ^ salt.rotate_left(17));
    (random.u64() >> 33) as u32 | 1
}

/// Be a carrier until interrupted.
///
/// # Errors
/// [`LoadError`] when it cannot start or its record cannot be written.
pub fn answer(options: &AnswerOptions) -> Result<(), LoadError> {
    let interrupted = interruption()?;
    let mut media = plan::Media { rtp: options.rtp, ..plan::Media::default() };
    media.ports = options.ports.unwrap_or(media.ports);
    let behaviour = Behaviour {
        ring: options.ring,
        status: options.status,
        silent: options.silent,
        bye_after: options.bye_after,
        ..Behaviour::default()
    };
    let farm_id = farm_number(0);
    let spec = ShardSpec {
        listen: options.listen,
        farm: farm_id,
        media,
        calls_max: options.calls_max,
        ports_ready: options.ports_ready,
        part: shard::Part::Carrier(behaviour),
        seed: u64::from(farm_id),
    };
    let mut farm = Farm::start(&[spec], options.io, options.scheduling)?;
    let (io, note) = farm.io();
    let listen = farm.addresses()[0];
    let head = PartHead {
        farm: farm_id,
        pid: std::process::id(),
        io: io.to_owned(),
        note: note.to_owned(),
        scheduling: farm.scheduling().to_owned(),
        listen: listen.to_string(),
    };
    let mut writer = match &options.out {
        Some(dir) => Some(PartWriter::create(dir, &head).map_err(system("writing the record"))?),
        None => None,
    };
    if !options.quiet {
        println!("answering on {listen} (UDP and TCP), {io}; Ctrl-C ends");
    }
    farm.begin(clock::now());
    let mut failed = None;
    let mut calls = 0;
    let mut write = |part: &crate::measure::Part| {
        calls += part.answered;
        if let Some(Err(error)) = writer.as_mut().map(|writer| writer.part(part)) {
            failed = Some(error);
        }
    };
    while !interrupted.load(Ordering::Relaxed) {
        farm.poll(|_, part| write(&part));
        clock::sleep_until(clock::now() + Duration::from_millis(20));
    }
    farm.stop(Duration::from_secs(2), |_, part| write(&part));
    if !options.quiet {
        println!("{calls} calls answered");
    }
    failed.map_or(Ok(()), |error| Err(LoadError::System("writing the record".to_owned(), error)))
}

/// Be the callers, as the options say.
///
/// # Errors
/// [`LoadError`]; a run that took place ends in a verdict instead.
pub fn call(options: &CallOptions) -> Result<Verdict, LoadError> {
    conduct_plan(&plan_of(options)?, "load call", &options.run)
}

/// Runs a plan file.
///
/// # Errors
/// [`LoadError`]; a run that took place ends in a verdict instead.
pub fn run_plan(path: &Path, options: &RunOptions) -> Result<Verdict, LoadError> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| LoadError::Usage(format!("plan {shown}: {error}; give the path of a plan file")))?;
    let plan = Plan::parse(&shown, &text)?;
    conduct_plan(&plan, &text, options)
}

/// The plan that the options of `load call` amount to.
fn plan_of(options: &CallOptions) -> Result<Plan, LoadError> {
    let usage = |flag: &str, error: &str| LoadError::Usage(format!("{flag}: {error}"));
    let to = plan::Callee::parse(&options.to).map_err(|error| usage("--to", &error))?;
    let threads = plan::Threads::try_from(options.threads).map_err(|error| usage("--workers", error))?;
    let seconds = |flag: &str, span: Duration| {
        Seconds::try_from(span.as_secs_f64()).map_err(|error| usage(flag, error))
    };
    let calls = options
        .calls
        .map(|calls| Count::try_from(calls).map_err(|error| usage("--calls", error)))
        .transpose()?;
    let hold = seconds("--hold", options.hold)?;
    let arrival = match options.concurrent {
        Some(concurrent) => {
            if hold.0.is_zero() {
                return Err(usage(
                    "--concurrent",
                    "needs --hold above 0: calls that end at once are never up together",
                ));
            }
            let concurrent = Count::try_from(concurrent).map_err(|error| usage("--concurrent", error))?;
            let rate = options
                .rate
                .map(|rate| Rate::try_from(rate).map_err(|error| usage("--rate", error)))
                .transpose()?;
            // Without a rate the ramp takes as long as a call, but at least as long as 100 calls a second need.
            let ramp = rate.map_or_else(
                || hold.0.as_secs_f64().min(f64::from(concurrent.0) / 50.0).max(1.0),
                |rate| f64::from(concurrent.0) / rate.0,
            );
            let length = options.duration.unwrap_or(Duration::from_secs(60));
            let ramp = Duration::from_secs_f64(ramp).min(length.max(Duration::from_secs(1)));
            Arrival::Concurrent {
                calls: concurrent,
                ramp_seconds: Seconds(ramp),
                seconds: Seconds(length.saturating_sub(ramp)),
                spacing: crate::arrival::Spacing::Constant,
            }
        }
        None => {
            let rate =
                Rate::try_from(options.rate.unwrap_or(10.0)).map_err(|error| usage("--rate", error))?;
            let length = match (options.duration, calls) {
                (Some(length), _) => length,
                (None, Some(calls)) => Duration::from_secs_f64(f64::from(calls.0) / rate.0 + 1.0),
                (None, None) => Duration::from_secs(60),
            };
            let seconds = seconds("--duration", length)?;
            Arrival::Rate { spacing: crate::arrival::Spacing::Constant, rate, seconds, calls }
        }
    };
    Ok(Plan {
        name: "load-call".to_owned(),
        title: format!("Calls to {}", options.to),
        seed: options.seed,
        target: Target {
            to,
            from: options.from,
            caller: plan::Caller::load(),
            threads,
            callee_may_hang_up: false,
            no_response_seconds: Seconds(Duration::from_secs(32)),
            no_answer_seconds: Seconds(Duration::from_secs(60)),
        },
        carriers: Vec::new(),
        acts: Vec::new(),
        arrival,
        hold: Hold(HoldLaw::Fixed(hold.0)),
        media: plan::Media { rtp: options.rtp, ..plan::Media::default() },
        phases: Phases {
            drain_seconds: options.concurrent.map(|_| Seconds(Duration::ZERO)),
            ..Phases::default()
        },
        limits: plan::Limits::default(),
        validity: plan::Validity::default(),
    })
}

/// The shards that call as a plan says, from `own`.
pub(crate) fn caller_specs(plan: &Plan, own: SocketAddr, farm: u32) -> Vec<ShardSpec> {
    let (stretches, spacing, calls_max) = plan.arrival.stretches(&plan.hold.0);
    let arrivals = Arrivals::new(stretches, spacing, plan.hold.0, calls_max, plan.seed);
    let shares = u64::from(plan.target.threads.0);
    // Room for set-up and tear-down beside the calls that talk, and for what chance adds.
    let concurrent = plan.arrival.concurrent(&plan.hold.0);
    let most = concurrent + concurrent / 4 + 5 * (concurrent as f64).sqrt() as u32 + 64;
    let per_shard = most / plan.target.threads.0 as u32 + 16;
    let ready = (concurrent + concurrent / 10) / plan.target.threads.0 as u32 + 16;
    let peer_may_end =
        plan.target.callee_may_hang_up || plan.carriers.iter().any(|carrier| carrier.bye_seconds.is_some());
    (0..plan.target.threads.0)
        .map(|thread| {
            let config = CallerConfig {
                to: plan.target.to.clone(),
                caller: plan.target.caller.0.clone(),
                arrivals: arrivals.clone(),
                share: u64::from(thread),
                shares,
                warm_up: plan.phases.warm_up_seconds.0,
                drain_after: plan.phases.drain_seconds.map(|seconds| seconds.0),
                no_response: plan.target.no_response_seconds.0,
                no_answer: plan.target.no_answer_seconds.0,
                peer_may_end,
            };
            let port = match own.port() {
                0 => 0,
                port => port.saturating_add(thread),
            };
            ShardSpec {
                listen: SocketAddr::new(own.ip(), port),
                farm: farm.wrapping_add(2 * u32::from(thread)),
                media: plan.media,
                calls_max: per_shard,
                ports_ready: ready,
                part: shard::Part::Caller(Box::new(config)),
                seed: plan.seed ^ (u64::from(thread) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            }
        })
        .collect()
}

fn carrier_specs(plan: &Plan, farm: u32) -> Vec<ShardSpec> {
    let concurrent = plan.arrival.concurrent(&plan.hold.0);
    let each = concurrent / plan.carriers.len().max(1) as u32;
    let spec = |(index, carrier): (usize, &plan::Carrier)| ShardSpec {
        listen: carrier.listen,
        farm: farm.wrapping_add(2 * index as u32),
        media: plan.media.of_carriers(),
        calls_max: concurrent.saturating_mul(2) + 256,
        ports_ready: each + each / 10 + 32,
        part: shard::Part::Carrier(carrier.behaviour()),
        seed: plan.seed ^ (index as u64 + 77).wrapping_mul(0xd6e8_feb8_6659_fd93),
    };
    plan.carriers.iter().enumerate().map(spec).collect()
}

/// Where the callers stand: as told, or wherever the way to the target begins.
pub(crate) fn own_address(from: Option<SocketAddr>, to: SocketAddr) -> SocketAddr {
    from.unwrap_or_else(|| {
        let ip = source_towards(to).unwrap_or_else(|| match to {
            SocketAddr::V4(_) => IpAddr::from([127, 0, 0, 1]),
            SocketAddr::V6(_) => IpAddr::from(core::net::Ipv6Addr::LOCALHOST),
        });
        SocketAddr::new(ip, 0)
    })
}

/// The distance of a plan's arrivals from Poisson's law, where that is its law and calls are enough to tell.
fn arrival_distance(plan: &Plan) -> Option<f64> {
    let Arrival::Rate { spacing: crate::arrival::Spacing::Poisson, rate, .. } = &plan.arrival else {
        return None;
    };
    let (stretches, spacing, calls_max) = plan.arrival.stretches(&plan.hold.0);
    let due: Vec<f64> = Arrivals::new(stretches, spacing, plan.hold.0, calls_max.min(100_000), plan.seed)
        .map(|due| due.at.as_secs_f64())
        .collect();
    let mut gaps: Vec<f64> = due.windows(2).map(|pair| pair[1] - pair[0]).collect();
    (gaps.len() >= 50).then(|| poisson_distance(&mut gaps, 1.0 / rate.0))
}

fn conduct_plan(plan: &Plan, text: &str, options: &RunOptions) -> Result<Verdict, LoadError> {
    let interrupted = interruption()?;
    let own = own_address(plan.target.from, plan.target.to.address);
    let farm = farm_number(plan.seed);
    let carriers = match plan.carriers.is_empty() {
        true => None,
        false => Some(Farm::start(&carrier_specs(plan, farm ^ 0x4000_0000), options.io, options.scheduling)?),
    };
    let callers = Farm::start(&caller_specs(plan, own, farm), options.io, options.scheduling)?;
    let mut result = RunResult::default();
    describe(plan, text, options, &callers, &mut result);
    let start = clock::now() + Duration::from_millis(100);
    let mut conductor = Conductor::new(result, options.out.as_deref(), start, options.quiet)
        .map_err(system("writing the record"))?;
    conductor.calls_wanted = u64::from(plan.arrival.concurrent(&plan.hold.0));
    let schedule: Duration =
        plan.arrival.stretches(&plan.hold.0).0.iter().map(|stretch| stretch.length).sum();
    conductor.length = schedule.as_secs_f64();
    conductor.watched.push(Watched::new("generator", "generator", std::process::id(), 0.0));
    callers.begin(start);
    if let Some(carriers) = &carriers {
        carriers.begin(start);
    }
    conductor.callers = Some(callers);
    conductor.carriers = carriers;
    conductor.phase("load");
    let ended = drive(&mut conductor, plan, &interrupted, start + schedule);
    conductor.stop_farms();
    conductor.result.run.ended = ended;
    complete(&mut conductor, plan);
    let result = conductor.finish().map_err(system("writing the record"))?;
    conclude(&result, options)?;
    Ok(result.verdict)
}

fn drive(
    conductor: &mut Conductor,
    plan: &Plan,
    interrupted: &AtomicBool,
    schedule_end: sansio::Time,
) -> Ended {
    let names: Vec<String> = plan.carriers.iter().map(|carrier| carrier.name.clone()).collect();
    let mut ended = Ended::Completed;
    let mut draining = false;
    let mut acts: Vec<&plan::Act> = plan.acts.iter().collect();
    acts.sort_by_key(|act| std::cmp::Reverse(act.at_seconds));
    loop {
        while let Some(act) = acts.pop_if(|act| conductor.t() >= act.at_seconds.0.as_secs_f64()) {
            tell(conductor, plan, act);
        }
        let ups: Vec<u64> = (0..names.len()).map(|index| conductor.gather.carriers.up_of(index)).collect();
        conductor.step(|point: &mut SeriesPoint| {
            let line = |(name, &calls): (&String, &u64)| {
                point.trunks.insert(name.clone(), calls);
                TrunkLine { name: name.clone(), calls, ..TrunkLine::default() }
            };
            names.iter().zip(&ups).map(line).collect()
        });
        let Some(callers) = &conductor.callers else { return ended };
        if callers.is_done() {
            return ended;
        }
        if interrupted.load(Ordering::Relaxed) && ended == Ended::Completed {
            ended = Ended::Interrupted;
            callers.drain();
        }
        if !draining && clock::now() >= schedule_end {
            draining = true;
            conductor.phase("drain");
        }
        clock::sleep_until(clock::now() + Duration::from_millis(10));
    }
}

/// Tells a carrier what a plan wants it to do now.
fn tell(conductor: &mut Conductor, plan: &Plan, act: &plan::Act) {
    let Some(which) = plan.carriers.iter().position(|carrier| carrier.name == act.carrier) else { return };
    let behaviour = act.behaviour(plan.carriers[which].behaviour());
    let (kind, text) = match act.does {
        plan::Does::Answer => (event_kind::CARRIER_RETURNED, "answers as at first"),
        plan::Does::Refuse => ("carrier-refuses", "refuses every call"),
        plan::Does::Silent => (event_kind::CARRIER_SILENT, "falls silent"),
        plan::Does::Slow => ("carrier-slow", "answers late"),
        plan::Does::Die => (event_kind::CARRIER_KILLED, "is gone"),
    };
    if let Some(carriers) = &conductor.carriers {
        carriers.tell_one(which, behaviour.map_or(Mail::Die, Mail::Behave));
    }
    let text = format!("{} {text}", act.carrier);
    let event = Event { kind: kind.to_owned(), text, ..Event::default() };
    conductor.event(event.with("carrier", &act.carrier));
}

/// What is known of a run before it begins.
fn describe(plan: &Plan, text: &str, options: &RunOptions, callers: &Farm, result: &mut RunResult) {
    let (io, note) = callers.io();
    result.run.title = if plan.title.is_empty() { plan.name.clone() } else { plan.title.clone() };
    result.run.command = options.command.clone();
    result.run.plan = text.to_owned();
    result.run.seed = plan.seed;
    result.run.versions.insert("trunkline".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    let transport = match plan.target.to.transport {
        plan::SipTransport::Udp => "udp",
        plan::SipTransport::Tcp => "tcp",
    };
    result.target.name = "system under load".to_owned();
    result.target.address = format!("{transport}:{}", plan.target.to.address);
    result.target.transport = Some(transport.to_owned());
    if plan.media.rtp {
        let written = |codec: Codec| format!("{}/{}", codec.name(), codec.clock());
        let codec = written(plan.media.codec);
        result.target.codec = Some(match plan.media.carrier_codec.filter(|_| plan.media.is_translated()) {
            Some(other) => format!("{codec} to {}", written(other)),
            None => codec,
        });
        result.target.packet_ms = Some(u32::from(plan.media.ptime_ms.0));
    }
    let names: Vec<&str> = plan.carriers.iter().map(|carrier| carrier.name.as_str()).collect();
    let behind = if names.is_empty() {
        "its own callees".to_owned()
    } else {
        format!("carriers {}", names.join(", "))
    };
    result.target.topology = Some(format!("callers -> {} -> {behind}", plan.target.to.address));
    result.environment = crate::environment::describe();
    result.environment.io.push(IoInForce {
        process: "generator".to_owned(),
        mode: io.to_owned(),
        note: note.to_owned(),
        scheduling: callers.scheduling().to_owned(),
        workers: Some(callers.len() as u32),
    });
    result.capacity.arrivals = Some(plan.arrival.law().to_owned());
    result.limits = verdict::limits(&plan.limits, plan.media.rtp);
}

/// Fills the result from what was gathered.
fn complete(conductor: &mut Conductor, plan: &Plan) {
    conductor.close_environment();
    let health = Health::of(&conductor.gather, arrival_distance(plan));
    let result = &mut conductor.result;
    let joined = verdict::join(&conductor.gather.callers, &conductor.gather.carriers);
    result.signalling = verdict::signalling(&conductor.gather.callers, |_| false);
    if plan.media.rtp {
        result.media = verdict::media(&conductor.gather, &joined, |_| false);
        result.limits.push(verdict::mos_limit(&plan.limits, &result.media));
    }
    result.validity = verdict::validity(&plan.validity, &health, plan.media.rtp);
    crate::capacity::fill(result, &conductor.series, plan);
}

/// Renders the report and prints the summary.
pub(crate) fn conclude(result: &RunResult, options: &RunOptions) -> Result<(), LoadError> {
    if let Some(out) = &options.out {
        let drawn = reports::render(out, options.lang);
        let drawn = drawn
            .map_err(|error| LoadError::System("drawing the report".to_owned(), io::Error::other(error)))?;
        println!("{}", crate::summary::text(result));
        println!("report: {}", drawn.html.display());
    } else {
        println!("{}", crate::summary::text(result));
    }
    Ok(())
}
