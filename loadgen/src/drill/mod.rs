//! The acceptance drill: a gateway and two carriers as processes of their own, callers here, calls up, and then a
//! carrier is killed. What follows is measured from all sides and judged.

mod calendar;
mod facts;
mod gateway;
mod http;
mod outcome;
mod processes;
mod schedule;

use crate::arrival::Spacing;
use crate::conduct::{Conductor, Outside};
use crate::farm::Farm;
use crate::gather::Gather;
use crate::hold::HoldLaw;
use crate::live::{Live, TrunkLine};
use crate::observe::Watched;
use crate::options::{LoadError, RunOptions};
use crate::partfile::PartReader;
use crate::plan::{self, Arrival, Callee, Caller, Count, Hold, Phases, Plan, Seconds, Target, Threads};
use crate::run::{self, interruption, system};
use core::net::SocketAddr;
use core::time::Duration;
use driver::clock::{self, WallAnchor};
use gateway::{Gateway, Health, TrunkFacts};
use processes::{Running, free_ports};
use reports::result::{Ended, Event, IoInForce, RunResult, SeriesPoint, Verdict, event_kind};
use sansio::Time;
use schedule::{MEDIA_TIMEOUT, Schedule, gateway_ports};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

pub use schedule::SHORTEST;

/// The carriers' names, as trunks of the gateway and in the report.
pub(crate) const CARRIERS: [&str; 2] = ["carrier-a", "carrier-b"];

/// How long a carrier rings.
const RING: Duration = Duration::from_millis(500);

/// What the drill shall do.
#[derive(Clone, Debug)]
pub struct DrillOptions {
    /// The `trunkline` binary that becomes gateway and carriers.
    pub binary: PathBuf,
    /// Calls up at once.
    pub concurrent: u32,
    /// Length of the whole, seconds; at least [`SHORTEST`].
    pub seconds: u32,
    /// Worker threads of the gateway; `None`: its own default.
    pub workers: Option<u16>,
    /// The rest; without `out` the folder `drill/<date-time>` is taken.
    pub run: RunOptions,
}

/// Runs the drill.
///
/// # Errors
/// [`LoadError`] when it could not begin; a drill that took place ends in a verdict instead.
pub fn drill(options: &DrillOptions) -> Result<Verdict, LoadError> {
    if options.seconds < SHORTEST {
        return Err(LoadError::Usage(format!(
            "--duration {}: the drill needs at least {SHORTEST} seconds",
            options.seconds
        )));
    }
    let calls = Count::try_from(options.concurrent)
        .map_err(|error| LoadError::Usage(format!("--concurrent: {error}")))?;
    let interrupted = interruption()?;
    let wall = WallAnchor::take().wall(clock::now());
    let mut options = options.clone();
    let out = options
        .run
        .out
        .take()
        .unwrap_or_else(|| Path::new("drill").join(calendar::folder_name(wall.as_secs())));
    std::fs::create_dir_all(&out).map_err(|error| LoadError::System(out.display().to_string(), error))?;
    options.run.out = Some(out.clone());
    let mut stage = Stage::set(&options, &out)?;
    let bare = stage.bare_path(&options, &interrupted)?;
    let plan = the_plan(calls, &Schedule::new(options.seconds), stage.sip);
    let result = stage.play(&options, &plan, bare, &interrupted)?;
    stage.clear();
    run::conclude(&result, &options.run)?;
    Ok(result.verdict)
}

/// The calls of the drill as a plan.
fn the_plan(calls: Count, schedule: &Schedule, sip: SocketAddr) -> Plan {
    // A few more than asked for, so that those being set up do not leave the level below it.
    let wanted = Count(calls.0 + (calls.0 / 40).max(2));
    Plan {
        name: "drill".to_owned(),
        title: format!("Drill: {} calls with voice through a carrier failure", calls.0),
        seed: 20_261_121,
        target: Target {
            to: Callee {
                number: Callee::parse("sip:+4930{00000-99999}@127.0.0.1:1")
                    .map_or_else(|_| crate::number::NumberPattern::empty(), |callee| callee.number),
                address: sip,
                transport: plan::SipTransport::Udp,
            },
            from: Some(([127, 0, 0, 1], 0).into()),
            caller: Caller::load(),
            threads: Threads(1),
            callee_may_hang_up: false,
            no_response_seconds: Seconds(Duration::from_secs(10)),
            no_answer_seconds: Seconds(Duration::from_secs(15)),
        },
        carriers: Vec::new(),
        acts: Vec::new(),
        arrival: Arrival::Concurrent {
            calls: wanted,
            ramp_seconds: Seconds(schedule.ramp),
            seconds: Seconds(schedule.drain - schedule.ramp),
            spacing: Spacing::Constant,
        },
        hold: Hold(HoldLaw::Fixed(schedule.hold)),
        media: plan::Media::default(),
        phases: Phases {
            warm_up_seconds: Seconds(Duration::ZERO),
            drain_seconds: Some(Seconds(Duration::ZERO)),
        },
        limits: plan::Limits::default(),
        validity: plan::Validity::default(),
    }
}

/// The processes and what is known of them.
#[derive(Debug)]
struct Stage {
    out: PathBuf,
    binary: PathBuf,
    io: String,
    scheduling: String,
    sip: SocketAddr,
    listens: [SocketAddr; 2],
    api: Gateway,
    gateway: Running,
    gateway_command: String,
    health: Health,
    carriers: Vec<Running>,
    readers: Vec<PartReader>,
}

/// What was seen of the gateway while the drill ran.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) trunks: Vec<TrunkFacts>,
    pub(crate) calls: Option<u64>,
    pub(crate) peaks: BTreeMap<String, u64>,
    /// Seconds after the start at which the killed carrier's trunk was first seen not in use, and in use again.
    pub(crate) down_at: Option<f64>,
    pub(crate) up_at: Option<f64>,
    next: Option<Time>,
}

impl Stage {
    /// Starts the gateway and the carriers, and waits until they are there.
    fn set(options: &DrillOptions, out: &Path) -> Result<Self, LoadError> {
        let ports = free_ports(4)?;
        let (sip, listens, http) = (ports[0], [ports[1], ports[2]], ports[3]);
        let (io, scheduling) = (options.run.io.to_string(), options.run.scheduling.to_string());
        let data = out.join("gateway");
        // A database of an earlier drill in the same folder would count as this one's.
        match std::fs::remove_dir_all(&data) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(LoadError::System(data.display().to_string(), error));
            }
            _ => {}
        }
        let (low, high) = gateway_ports(options.concurrent + options.concurrent / 4);
        let max_calls = options.concurrent.saturating_mul(2).max(100);
        let mut arguments: Vec<String> = ["serve", "--listen", &sip.to_string()].map(str::to_owned).to_vec();
        for (name, listen) in CARRIERS.iter().zip(listens) {
            arguments.extend(["--trunk".to_owned(), format!("{name}={listen},max_calls={max_calls}")]);
        }
        let rest = [
            ("--http", http.to_string()),
            ("--data", data.display().to_string()),
            ("--io", io.clone()),
            ("--scheduling", scheduling.clone()),
            ("--media-timeout", format!("{}s", MEDIA_TIMEOUT.as_secs())),
            ("--rtp-ports", format!("{low}-{high}")),
        ];
        for (flag, value) in rest {
            arguments.extend([flag.to_owned(), value]);
        }
        if let Some(workers) = options.workers {
            arguments.extend(["--workers".to_owned(), workers.to_string()]);
        }
        let gateway = Running::start("gateway", &options.binary, &arguments, out.join("gateway.log"))?;
        let mut stage = Self {
            out: out.to_owned(),
            binary: options.binary.clone(),
            io,
            scheduling,
            sip,
            listens,
            api: Gateway { address: http },
            gateway,
            gateway_command: format!("trunkline {}", arguments.join(" ")),
            health: Health::default(),
            carriers: Vec::new(),
            readers: Vec::new(),
        };
        stage.await_gateway()?;
        for (which, name) in CARRIERS.iter().enumerate() {
            stage.start_carrier(which, name)?;
        }
        stage.await_carriers()?;
        Ok(stage)
    }

    fn await_gateway(&mut self) -> Result<(), LoadError> {
        let give_up = clock::now() + Duration::from_secs(15);
        loop {
            if let Ok(health) = self.api.health()
                && health.status != "draining"
            {
                self.health = health;
                return Ok(());
            }
            if self.gateway.has_ended() || clock::now() > give_up {
                return Err(did_not_start(&self.gateway));
            }
            clock::sleep_until(clock::now() + Duration::from_millis(50));
        }
    }

    fn start_carrier(&mut self, which: usize, folder: &str) -> Result<(), LoadError> {
        let dir = self.out.join(folder);
        match std::fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(LoadError::System(dir.display().to_string(), error));
            }
            _ => {}
        }
        let arguments: Vec<String> = [
            "load",
            "answer",
            "--listen",
            &self.listens[which].to_string(),
            "--ring",
            &RING.as_secs_f64().to_string(),
            "--rtp",
            "--io",
            &self.io,
            "--scheduling",
            &self.scheduling,
            "--out",
            &dir.display().to_string(),
        ]
        .map(str::to_owned)
        .to_vec();
        let log = self.out.join(format!("{folder}.log"));
        self.carriers.push(Running::start(folder, &self.binary, &arguments, log)?);
        self.readers.push(PartReader::new(&dir));
        Ok(())
    }

    fn await_carriers(&mut self) -> Result<(), LoadError> {
        let give_up = clock::now() + Duration::from_secs(15);
        while self.readers.iter().any(|reader| reader.head().is_none()) {
            for reader in &mut self.readers {
                reader.look();
            }
            let dead = self.carriers.iter_mut().find_map(|carrier| carrier.has_ended().then_some(&*carrier));
            if let Some(dead) = dead {
                return Err(did_not_start(dead));
            }
            if clock::now() > give_up {
                return Err(did_not_start(&self.carriers[0]));
            }
            clock::sleep_until(clock::now() + Duration::from_millis(20));
        }
        Ok(())
    }

    /// Calls a carrier without the gateway between, and takes the median delay of that bare path.
    fn bare_path(
        &mut self,
        options: &DrillOptions,
        interrupted: &AtomicBool,
    ) -> Result<Option<Duration>, LoadError> {
        let second = Duration::from_secs(1);
        let schedule = Schedule {
            ramp: second,
            hold: second,
            kill: second,
            restart: second,
            drain: 3 * second,
            end: 3 * second,
        };
        let plan = the_plan(Count(options.concurrent.clamp(1, 100)), &schedule, self.listens[1]);
        let own: SocketAddr = ([127, 0, 0, 1], 0).into();
        let mut live = Live::new(options.run.quiet);
        live.say("measuring the bare path: callers straight to a carrier, 3 s");
        let mut farm = Farm::start(
            &run::caller_specs(&plan, own, run::farm_number(1)),
            options.run.io,
            options.run.scheduling,
        )?;
        let mut gather = Gather::default();
        farm.begin(clock::now() + Duration::from_millis(50));
        let give_up = clock::now() + Duration::from_secs(12);
        while !farm.is_done() && clock::now() < give_up {
            farm.poll(|shard, part| gather.callers.take(shard, &part));
            if interrupted.load(Ordering::Relaxed) {
                farm.drain();
            }
            clock::sleep_until(clock::now() + Duration::from_millis(20));
        }
        farm.stop(Duration::from_secs(2), |shard, part| gather.callers.take(shard, &part));
        // The carrier writes once a second.
        clock::sleep_until(clock::now() + Duration::from_millis(1300));
        for part in self.readers[1].look() {
            gather.carriers.take(0, &part);
        }
        let mut delay = gather.callers.total.voice.delay.clone();
        delay.merge(&gather.carriers.total.voice.delay);
        Ok(delay.quantile(0.5).map(Duration::from_nanos))
    }

    /// The drill itself, from the first call to the record.
    fn play(
        &mut self,
        options: &DrillOptions,
        plan: &Plan,
        bare: Option<Duration>,
        interrupted: &AtomicBool,
    ) -> Result<RunResult, LoadError> {
        let schedule = Schedule::new(options.seconds);
        let own: SocketAddr = ([127, 0, 0, 1], 0).into();
        let callers = Farm::start(
            &run::caller_specs(plan, own, run::farm_number(2)),
            options.run.io,
            options.run.scheduling,
        )?;
        let mut result = RunResult::default();
        self.describe(options, plan, &callers, &mut result);
        for reader in &mut self.readers {
            reader.look();
        }
        let start = clock::now() + Duration::from_millis(200);
        let mut conductor = Conductor::new(result, Some(&self.out), start, options.run.quiet)
            .map_err(system("writing the record"))?;
        conductor.calls_wanted = u64::from(options.concurrent);
        conductor.length = schedule.end.as_secs_f64();
        conductor.watched.push(Watched::new("gateway", "target", self.gateway.pid(), 0.0));
        conductor.watched.push(Watched::new("callers", "generator", std::process::id(), 0.0));
        for carrier in &self.carriers {
            conductor.watched.push(Watched::new(&carrier.name, "generator", carrier.pid(), 0.0));
        }
        conductor.outside = self.readers.drain(..).map(|reader| Outside { reader }).collect();
        callers.begin(start);
        conductor.callers = Some(callers);
        let mut acts = Acts {
            start,
            schedule,
            next: 0,
            reached: false,
            killed: None,
            returned: None,
            ended: Ended::Completed,
        };
        let mut seen = Seen::default();
        self.drive(&mut conductor, &mut acts, &mut seen, interrupted)?;
        if acts.ended == Ended::Completed && acts.next < 5 {
            conductor.phase("drain");
        }
        self.settle(&mut conductor, &mut seen);
        let cdrs = self.records(&conductor);
        conductor.stop_farms();
        for watched in &mut conductor.watched {
            watched.look(clock::now().since(start).as_secs_f64());
        }
        self.gateway.end(Duration::from_secs(8));
        for carrier in &mut self.carriers {
            carrier.end(Duration::from_secs(3));
        }
        // The carriers' last words.
        conductor.stop_farms();
        conductor.result.run.ended = acts.ended;
        outcome::complete(
            &mut conductor,
            &outcome::Known { plan, acts: &acts, seen: &seen, cdrs, bare, calls: options.concurrent },
        );
        for event in outcome::events(&conductor.result) {
            conductor.event(event);
        }
        conductor.finish().map_err(system("writing the record"))
    }

    /// The loop: acts in their time, seconds shown and recorded, until every call is over.
    fn drive(
        &mut self,
        conductor: &mut Conductor,
        acts: &mut Acts,
        seen: &mut Seen,
        interrupted: &AtomicBool,
    ) -> Result<(), LoadError> {
        let overdue = acts.start + acts.schedule.end + Duration::from_secs(30);
        loop {
            self.watch(conductor, acts, seen);
            conductor.step(|point| decorate(point, seen));
            let Some(callers) = &conductor.callers else { return Ok(()) };
            if callers.is_done() || clock::now() > overdue {
                return Ok(());
            }
            if self.gateway.has_ended() {
                acts.ended = Ended::Aborted;
                conductor.result.run.abort =
                    Some(format!("the gateway ended by itself: {}", self.gateway.last_words()));
                return Ok(());
            }
            if interrupted.load(Ordering::Relaxed) && acts.ended == Ended::Completed {
                acts.ended = Ended::Interrupted;
                callers.drain();
            }
            if acts.ended == Ended::Completed {
                self.act(conductor, acts)?;
            }
            let up = conductor.gather.callers.up();
            if !acts.reached && up >= conductor.calls_wanted {
                acts.reached = true;
                let text = format!("{up} calls are up");
                let event = Event { kind: event_kind::TARGET_REACHED.to_owned(), text, ..Event::default() };
                conductor.event(event.with("calls", up));
            }
            clock::sleep_until(clock::now() + Duration::from_millis(10));
        }
    }

    /// Does what is due.
    fn act(&mut self, conductor: &mut Conductor, acts: &mut Acts) -> Result<(), LoadError> {
        let since = clock::now().since(acts.start);
        let schedule = &acts.schedule;
        let plan = [Duration::ZERO, schedule.ramp, schedule.kill, schedule.restart, schedule.drain];
        if plan.get(acts.next).is_none_or(|&at| since < at) || clock::now() < acts.start {
            return Ok(());
        }
        acts.next += 1;
        match acts.next - 1 {
            0 => conductor.phase("ramp"),
            1 => conductor.phase("hold"),
            2 => {
                conductor.phase("fault");
                let (before, after) = self.carriers[0].kill();
                acts.killed = Some((before, after.since(before)));
                conductor.gather.carriers.forget(0);
                let t = conductor.t_of(before);
                let text = format!("{} killed with {} calls up", CARRIERS[0], conductor.gather.callers.up());
                let event =
                    Event { t, kind: event_kind::CARRIER_KILLED.to_owned(), text, ..Event::default() };
                conductor.event(event.with("carrier", CARRIERS[0]));
            }
            3 => {
                conductor.phase("recovery");
                self.start_carrier(0, "carrier-a-again")?;
                acts.returned = Some(clock::now());
                let carrier = self.carriers.last().map_or(0, Running::pid);
                let t = conductor.t();
                conductor.watched.push(Watched::new("carrier-a-again", "generator", carrier, t));
                conductor.outside.extend(self.readers.drain(..).map(|reader| Outside { reader }));
                let text = format!("{} started again", CARRIERS[0]);
                let event =
                    Event { t, kind: event_kind::CARRIER_RETURNED.to_owned(), text, ..Event::default() };
                conductor.event(event.with("carrier", CARRIERS[0]));
            }
            _ => conductor.phase("drain"),
        }
        Ok(())
    }

    /// Asks the gateway how its trunks are: twice a second, ten times around the fault and the return.
    fn watch(&self, conductor: &mut Conductor, acts: &Acts, seen: &mut Seen) {
        let now = clock::now();
        if seen.next.is_some_and(|next| now < next) {
            return;
        }
        let awaiting = acts.killed.is_some() && seen.down_at.is_none()
            || acts.returned.is_some() && seen.up_at.is_none();
        seen.next = Some(now + Duration::from_millis(if awaiting { 100 } else { 500 }));
        // A gateway that does not answer this time is asked again next time.
        let Ok(trunks) = self.api.trunks() else { return };
        if !awaiting {
            seen.calls = self.api.calls().ok().map(|(all, answered)| answered.unwrap_or(all));
        }
        let t = conductor.t();
        for trunk in &trunks {
            let peak = seen.peaks.entry(trunk.name.clone()).or_insert(0);
            *peak = (*peak).max(trunk.calls);
        }
        let up = trunks.iter().find(|trunk| trunk.name == CARRIERS[0]).is_some_and(TrunkFacts::is_up);
        seen.trunks = trunks;
        let mut turned = |kind: &str, text: String| {
            let event = Event { t, kind: kind.to_owned(), text, ..Event::default() };
            conductor.event(event.with("trunk", CARRIERS[0]));
        };
        if acts.killed.is_some() && seen.down_at.is_none() && !up {
            seen.down_at = Some(t);
            turned(event_kind::BREAKER_OPEN, format!("the gateway stopped using {}", CARRIERS[0]));
        }
        if acts.returned.is_some() && seen.down_at.is_some() && seen.up_at.is_none() && up {
            seen.up_at = Some(t);
            turned(event_kind::BREAKER_CLOSED, format!("the gateway uses {} again", CARRIERS[0]));
        }
    }

    /// After the last call: waits until the gateway has none either, and looks at its counters at rest.
    fn settle(&self, conductor: &mut Conductor, seen: &mut Seen) {
        let give_up = clock::now() + Duration::from_secs(5);
        loop {
            conductor.step(|point| decorate(point, seen));
            seen.calls = self.api.calls().ok().map(|(all, _)| all);
            if seen.calls == Some(0) || clock::now() > give_up {
                break;
            }
            clock::sleep_until(clock::now() + Duration::from_millis(100));
        }
        if let Ok(trunks) = self.api.trunks() {
            seen.trunks = trunks;
        }
    }

    /// The gateway's call records, once all that can be expected are there.
    fn records(
        &self,
        conductor: &Conductor,
    ) -> std::collections::HashMap<crate::mark::CallName, gateway::Cdr> {
        let expected = conductor.gather.callers.total.invites;
        let give_up = clock::now() + Duration::from_secs(6);
        loop {
            let cdrs = self.api.cdrs().unwrap_or_default();
            if cdrs.len() as u64 >= expected || clock::now() > give_up {
                return cdrs;
            }
            clock::sleep_until(clock::now() + Duration::from_millis(250));
        }
    }

    /// What is known before the first call.
    fn describe(&self, options: &DrillOptions, plan: &Plan, callers: &Farm, result: &mut RunResult) {
        result.run.title.clone_from(&plan.title);
        result.run.command.clone_from(&options.run.command);
        result.run.plan = format!(
            "# the drill's own plan\nconcurrent = {}\nseconds = {}\nschedule = \"{:?}\"\nring_seconds = {}\n",
            options.concurrent,
            options.seconds,
            Schedule::new(options.seconds),
            RING.as_secs_f64()
        );
        result.run.seed = plan.seed;
        result.run.versions.insert("trunkline".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
        let target = &mut result.target;
        target.name = "Trunkline gateway".to_owned();
        target.version = Some(self.health.version.clone()).filter(|version| !version.is_empty());
        target.address = format!("udp:{}", self.sip);
        target.configuration = Some(self.gateway_command.clone());
        target.relays_media = Some(true);
        target.codec = Some("PCMA/8000".to_owned());
        target.packet_ms = Some(20);
        target.transport = Some("udp".to_owned());
        target.topology = Some(format!("callers -> gateway -> {}, {}", CARRIERS[0], CARRIERS[1]));
        result.environment = crate::environment::describe();
        let (io, note) = callers.io();
        result.environment.io.push(IoInForce {
            process: "gateway".to_owned(),
            mode: self.health.io.clone(),
            note: String::new(),
            scheduling: self.health.scheduling.clone(),
            workers: self.health.workers,
        });
        result.environment.io.push(IoInForce {
            process: "callers".to_owned(),
            mode: io.to_owned(),
            note: note.to_owned(),
            scheduling: callers.scheduling().to_owned(),
            workers: Some(callers.len() as u32),
        });
        for (name, reader) in CARRIERS.iter().zip(&self.readers) {
            if let Some(head) = reader.head() {
                result.environment.io.push(IoInForce {
                    process: (*name).to_owned(),
                    mode: head.io.clone(),
                    note: head.note.clone(),
                    scheduling: head.scheduling.clone(),
                    workers: Some(1),
                });
            }
        }
        result.capacity.arrivals = Some("constant".to_owned());
        result.limits = outcome::limits(options.concurrent);
    }

    /// Ends what still runs.
    fn clear(mut self) {
        self.gateway.end(Duration::from_secs(2));
        for carrier in &mut self.carriers {
            carrier.end(Duration::from_secs(2));
        }
    }
}

fn did_not_start(process: &Running) -> LoadError {
    let words = process.last_words();
    LoadError::System(
        format!("{} did not start; it said: {words}", process.name),
        std::io::Error::other("see its log"),
    )
}

fn decorate(point: &mut SeriesPoint, seen: &Seen) -> Vec<TrunkLine> {
    point.target_calls = seen.calls;
    let line = |trunk: &TrunkFacts| {
        point.trunks.insert(trunk.name.clone(), trunk.calls);
        TrunkLine { name: trunk.name.clone(), calls: trunk.calls, max: None, state: trunk.state.clone() }
    };
    seen.trunks.iter().map(line).collect()
}

/// Where the drill stands.
#[derive(Debug)]
pub(crate) struct Acts {
    pub(crate) start: Time,
    pub(crate) schedule: Schedule,
    next: usize,
    reached: bool,
    /// When the carrier was killed, and how exactly that is known.
    pub(crate) killed: Option<(Time, Duration)>,
    pub(crate) returned: Option<Time>,
    pub(crate) ended: Ended,
}
