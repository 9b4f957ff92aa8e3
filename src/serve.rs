//! `trunkline serve`: gateway and control plane composed into one process, and its life from signal to signal.
#![expect(clippy::disallowed_methods, reason = "the main thread sleeps between two looks for signals")]

use crate::Error;
use crate::arguments;
use driver::mailbox::Receiver;
use gatewayd::{File, Gateway, Register, Route, Secret, Settings, Trunk, User};
use link::{Event, RouteTable, ShardId};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::Write;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::process::ExitCode;
use std::time::Duration;
use switch::Mail;

/// Runs the gateway until it has drained or was stopped.
pub(crate) fn run(arguments: &arguments::Serve) -> Result<ExitCode, Error> {
    let (file, mut settings) = configure(arguments)?;
    settings.load()?;
    if arguments.check {
        settings.tls.policy()?;
        fetching(&settings)?;
        println!("configuration is good: {} trunks, {} workers", settings.trunks.len(), settings.workers);
        return Ok(ExitCode::SUCCESS);
    }
    // Before any thread is started: all of them inherit that these signals go to us.
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    fit_rtp_ports(&mut settings, raise_open_files())?;
    let mut gateway = gatewayd::start(&settings, seed())?;
    let control = match start_control(&mut gateway, &file, &settings) {
        Ok(control) => control,
        Err(error) => {
            gateway.quit();
            gateway.quit();
            gateway.join();
            return Err(error);
        }
    };
    announce(&gateway, &control, &settings);
    let served = attend(&mut signals, &mut gateway, &control, arguments);
    gateway.join();
    let stopped = control.stop();
    log(&format!("stopped; {} records written", stopped.written));
    if let Some((records, why)) = stopped.lost {
        log(&format!("{records} call records could not be written: {why}"));
        return Ok(ExitCode::FAILURE);
    }
    Ok(served)
}

/// The configuration: the file if one is named, the flags over it.
pub(crate) fn configure(arguments: &arguments::Serve) -> Result<(File, Settings), Error> {
    let (mut file, place) = match &arguments.config {
        Some(path) => (File::read(path)?, path.display().to_string()),
        None => (File::default(), String::from("command line")),
    };
    if !arguments.listen.is_empty() {
        file.listen.clone_from(&arguments.listen);
    }
    if !arguments.tls.is_empty() {
        file.tls_listen.clone_from(&arguments.tls);
    }
    if !arguments.ws.is_empty() {
        file.ws_listen.clone_from(&arguments.ws);
    }
    if !arguments.wss.is_empty() {
        file.wss_listen.clone_from(&arguments.wss);
    }
    file.tls.certificate = arguments.cert.clone().or(file.tls.certificate);
    file.tls.key = arguments.key.clone().or(file.tls.key);
    for text in &arguments.trunk {
        file.trunks.push(trunk(text)?);
    }
    for text in &arguments.route {
        file.routes.push(route(text)?);
    }
    for text in &arguments.user {
        file.users.push(user(text)?);
    }
    if !arguments.allow.is_empty() {
        file.allow.clone_from(&arguments.allow);
    }
    if !arguments.dns.is_empty() {
        file.dns.servers.clone_from(&arguments.dns);
    }
    if let Some(http) = &arguments.http {
        file.http = match http.as_str() {
            "off" => None,
            text => Some(text.parse().map_err(|_| format!("--http {text}: write ADDR:PORT, or off"))?),
        };
    }
    if let Some(address) = arguments.advertise {
        file.advertise = vec![address];
    }
    file.workers = arguments.workers.unwrap_or(file.workers);
    file.media.timeout = arguments.media_timeout.unwrap_or(file.media.timeout);
    file.calls.no_response = arguments.no_response.unwrap_or(file.calls.no_response);
    if let Some(interval) = arguments.probe_interval {
        file.health.probe_interval = interval;
        file.health.probe_interval_down = file.health.probe_interval_down.min(interval);
    }
    if let Some(io) = &arguments.io {
        file.io.clone_from(io);
    }
    if let Some(scheduling) = &arguments.scheduling {
        file.scheduling.clone_from(scheduling);
    }
    if let Some(ports) = &arguments.rtp_ports {
        file.media.rtp_ports.clone_from(ports);
    }
    if let Some(data) = &arguments.data {
        file.data.clone_from(data);
    }
    let settings = Settings::resolve(&file, &place)?;
    Ok((file, settings))
}

/// `NAME=ADDR:PORT[+ADDR:PORT]...[,OPTION=N]...`
fn trunk(text: &str) -> Result<Trunk, Error> {
    let fail = |what: String| Error::from(format!("--trunk {text}: {what}"));
    let mut parts = text.split(',');
    let (name, peers) = parts
        .next()
        .and_then(|first| first.split_once('='))
        .ok_or_else(|| fail("write NAME=ADDR:PORT, options behind it by commas".into()))?;
    let mut trunk = Trunk::new(name, "");
    trunk.peers = peers.split('+').map(str::to_owned).collect();
    for option in parts {
        let (key, value) =
            option.split_once('=').ok_or_else(|| fail(format!("\"{option}\" is no OPTION=VALUE")))?;
        let number = || value.parse::<u32>().map_err(|_| fail(format!("{key}={value} is no whole number")));
        match key {
            "max_calls" => trunk.max_calls = number()?,
            "max_cps" => trunk.max_cps = number()?,
            "weight" => trunk.weight = number()?,
            "priority" => trunk.priority = number()?,
            "codecs" => trunk.codecs = value.split('+').map(str::to_owned).collect(),
            "backup" => trunk.backup = Some(value.to_owned()),
            "provider" => trunk.provider = Some(value.to_owned()),
            "profile" => trunk.profile = Some(value.to_owned()),
            "username" => trunk.username = Some(value.to_owned()),
            "password" => trunk.password = Some(Secret(value.to_owned())),
            "register" => trunk.register = register(value).map_err(fail)?,
            "needs_registration" => trunk.needs_registration = yes(value).map_err(fail)?,
            _ => {
                let known = "max_calls, max_cps, weight, priority, codecs, backup, provider, profile, username, password, register, \
                             needs_registration";
                return Err(fail(format!("unknown option \"{key}\"; known are {known}")));
            }
        }
    }
    Ok(trunk)
}

/// `yes`, `no`, or the time to ask for.
fn register(value: &str) -> Result<Option<Register>, String> {
    if matches!(value, "yes" | "no") {
        return Ok((value == "yes").then(Register::default));
    }
    let expires = value.parse().map_err(|error| format!("register={value}: yes, no or a time: {error}"))?;
    Ok(Some(Register { expires, ..Register::default() }))
}

fn yes(value: &str) -> Result<bool, String> {
    match value {
        "yes" => Ok(true),
        "no" => Ok(false),
        other => Err(format!("\"{other}\": yes or no")),
    }
}

/// `NAME:PASSWORD`
fn user(text: &str) -> Result<User, Error> {
    let (name, password) =
        text.split_once(':').filter(|(name, _)| !name.is_empty()).ok_or("--user: write NAME:PASSWORD")?;
    Ok(User { name: name.to_owned(), password: Secret(password.to_owned()), numbers: Vec::new() })
}

/// `PREFIX=NAME[|NAME]...`
fn route(text: &str) -> Result<Route, Error> {
    let (prefix, names) = text
        .split_once('=')
        .filter(|(_, names)| !names.is_empty())
        .ok_or_else(|| format!("--route {text}: write PREFIX=NAME, several names parted by |"))?;
    Ok(Route {
        prefix: prefix.to_owned(),
        to: names.split('|').map(str::to_owned).collect(),
        strip: 0,
        prepend: String::new(),
        ask: false,
    })
}

/// Control's end of the shards' mailbox.
#[derive(Debug)]
struct Events(Receiver<Mail>);

impl controld::Inbox for Events {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn next(&mut self) -> Option<(ShardId, Event)> {
        loop {
            if let Some(event) = Gateway::event(self.0.try_recv()?) {
                return Some(event);
            }
        }
    }

    fn arm(&mut self) -> bool {
        self.0.arm()
    }

    fn disarm(&mut self) {
        self.0.disarm();
    }
}

fn start_control(gateway: &mut Gateway, file: &File, settings: &Settings) -> Result<controld::Handle, Error> {
    let events = gateway.take_events().ok_or("the events were taken already")?;
    let send = gateway.commander();
    let links = controld::Links {
        inbox: Box::new(Events(events)),
        commands: Box::new(move |shard, command| send(shard, command.clone())),
    };
    let config = controld::Config {
        http: file.http,
        data: file.data.clone(),
        io: flag(gateway.io()).to_owned(),
        scheduling: scheduling(gateway),
        workers: usize::from(settings.workers),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        routing: RouteTable::new((*settings.routing).clone())?,
        fetching: fetching(settings)?,
        log: Box::new(log),
    };
    Ok(controld::start(config, links)?)
}

/// How control fetches certificates of callers' networks.
fn fetching(settings: &Settings) -> Result<Option<controld::Fetching>, Error> {
    let Some(wanted) = settings.stir.fetching()? else { return Ok(None) };
    let mut fetching = controld::Fetching::new(wanted.roots.as_deref())
        .map_err(|error| format!("{} {error}", wanted.roots_place))?;
    (fetching.ports, fetching.hosts, fetching.private) = (wanted.ports, wanted.hosts, wanted.private);
    fetching.plain_ports = wanted.plain_ports;
    Ok(Some(fetching))
}

/// Waits for signals, and for the gateway to be done.
fn attend(
    signals: &mut Signals,
    gateway: &mut Gateway,
    control: &controld::Handle,
    arguments: &arguments::Serve,
) -> ExitCode {
    let mut stopping = false;
    while !gateway.is_finished() {
        for signal in signals.pending() {
            match signal {
                SIGHUP => reload(gateway, control, arguments),
                SIGTERM if !stopping => {
                    log("draining: no new calls; stops when the last call is over (SIGINT ends them now)");
                    stopping = true;
                    gateway.drain();
                }
                _ => {
                    log("ending all calls");
                    stopping = true;
                    gateway.quit();
                }
            }
        }
        if !gateway.is_finished() {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    ExitCode::SUCCESS
}

fn reload(gateway: &mut Gateway, control: &controld::Handle, arguments: &arguments::Serve) {
    let done = configure(arguments).and_then(|(_, mut settings)| {
        settings.load()?;
        let fetching = fetching(&settings)?;
        gateway.reload(&settings)?;
        control.reload_fetching(fetching);
        control.reload(RouteTable::new((*settings.routing).clone())?);
        Ok(settings.trunks.len())
    });
    match done {
        Ok(trunks) => log(&format!("reloaded: {trunks} trunks; calls in progress keep what they have")),
        Err(error) => log(&format!("not reloaded, the old configuration stays: {error}")),
    }
}

/// A driver as the flag `--io` calls it.
const fn flag(io: driver::Io) -> &'static str {
    match io {
        driver::Io::Uring => "uring",
        driver::Io::Fallback => "fallback",
    }
}

/// How the workers are scheduled, as the flag `--scheduling` calls it.
const fn scheduling(gateway: &Gateway) -> &'static str {
    if gateway.is_realtime() { "realtime" } else { "normal" }
}

/// Leaves RTP only as many ports as there are file descriptors besides those that all else needs: calls without ports
/// are refused and counted, whereas a store, a listener or a log without descriptors would fail at random.
fn fit_rtp_ports(settings: &mut Settings, files: Option<u64>) -> Result<(), Error> {
    let Some(files) = files else { return Ok(()) };
    let besides = 192 + 32 * u64::from(settings.workers);
    let wanted = u64::from(settings.rtp_ports.pairs()) * 2 + besides;
    if files >= wanted {
        return Ok(());
    }
    let pairs = files.saturating_sub(besides) / 2;
    if pairs < 2 {
        let least = besides + 4;
        return Err(format!(
            "the limit of {files} open files is too low: {} workers need {besides}, each call 4 more; raise it \
             (ulimit -n) to {least} at least, {wanted} for all RTP ports",
            settings.workers
        )
        .into());
    }
    log(&format!(
        "the limit of {files} open files allows {} calls; raise it (ulimit -n {wanted}) to use all RTP ports",
        pairs / 2
    ));
    // Fewer than there are now, which are at most 32768.
    settings.rtp_ports.high = settings.rtp_ports.low + (pairs * 2 - 1) as u16;
    Ok(())
}

/// Says what is served, by what, and where; then that it is ready.
fn announce(gateway: &Gateway, control: &controld::Handle, settings: &Settings) {
    let io = flag(gateway.io());
    if let Some(refusal) = gateway.refusal() {
        log(&format!("io: {io} ({}), since {refusal}", gateway.io()));
    }
    let listen: Vec<String> = gateway.listen().iter().map(SocketAddr::to_string).collect();
    let http = control.http().map_or_else(|| "off".to_owned(), |address| address.to_string());
    for trunk in &settings.tls.unverified {
        log(&format!(
            "trunk {trunk}: tls_verify = false: whoever is on the way can listen to its calls and alter them"
        ));
    }
    let further: String =
        gateway.streams().iter().map(|(over, at)| format!(", {} {at}", over.via().to_lowercase())).collect();
    log(&format!(
        "ready: sip {} (udp, tcp){further}, http {http}, io {io}, workers {} ({}), trunks {}, records {}",
        listen.join(" "),
        settings.workers,
        scheduling(gateway),
        settings.trunks.len(),
        control.database().display()
    ));
}

/// One line on standard error. A log that cannot be written is no reason to drop calls.
fn log(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "trunkline: {line}");
}

/// Raises the limit of open files as far as the host allows; tells it.
fn raise_open_files() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if setrlimit(Resource::Nofile, raised).is_err() {
        return limit.current;
    }
    limit.maximum
}

/// A seed for identifiers: different in each process of a host and after each start.
fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    // RandomState is keyed by the operating system's randomness.
    RandomState::new().build_hasher().finish()
}
