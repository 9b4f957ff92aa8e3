//! Starting and stopping the control plane.
#![expect(clippy::disallowed_methods, reason = "this is where the clock and the API's socket come from")]

use crate::bridge::{self, Bridge};
use crate::fetch::{Fetcher, Fetching};
use crate::http::{self, About};
use crate::inbox::Links;
use control::Engine;
use link::{RouteTable, UnixMicros};
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Instant, SystemTime};
use store::{Options, Store};
use tokio::sync::{mpsc, watch};

/// How the control plane shall run.
pub struct Config {
    /// Where the HTTP API listens; `None` for no API. It has no authentication: keep it on loopback or a management network.
    pub http: Option<SocketAddr>,
    /// The folder for call records; made if missing.
    pub data: PathBuf,
    /// Name of the gateway's input and output (`uring`, `fallback`), for show.
    pub io: String,
    /// How the workers are scheduled: `normal` or `realtime`.
    pub scheduling: &'static str,
    /// Number of gateway shards that are expected to say hello.
    pub workers: usize,
    /// The program's version, for show.
    pub version: String,
    /// The routing to begin with.
    pub routing: RouteTable,
    /// How certificates of callers' networks are fetched; `None`: they are not.
    pub fetching: Option<Fetching>,
    /// Takes lines for the log: trunks that change state, trouble of the store.
    pub log: Box<dyn Fn(&str) + Send>,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("http", &self.http).field("data", &self.data).finish_non_exhaustive()
    }
}

/// Why the control plane could not start.
#[derive(Debug)]
pub enum Error {
    /// The API can't listen there.
    Http(SocketAddr, io::Error),
    /// The store can't be opened.
    Store(store::Error),
    /// No thread or no file descriptor left.
    System(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(address, error) => match error.kind() {
                io::ErrorKind::AddrInUse => {
                    write!(
                        f,
                        "--http {address}: the port is in use; stop whoever uses it or choose another port"
                    )
                }
                io::ErrorKind::AddrNotAvailable => {
                    write!(
                        f,
                        "--http {address}: this host has no such address; `ip address` lists those it has"
                    )
                }
                io::ErrorKind::PermissionDenied => {
                    write!(f, "--http {address}: no permission; ports below 1024 want a privileged user")
                }
                _ => write!(f, "--http {address}: {error}"),
            },
            Self::Store(error) => error.fmt(f),
            Self::System(error) => write!(f, "the control plane can't start: {error}"),
        }
    }
}

impl std::error::Error for Error {}

/// What was left when the control plane stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Records of calls that could not be written, and why.
    pub lost: Option<(usize, String)>,
    /// Records written in this run: starts, answers and ends of calls.
    pub written: u64,
}

/// A running control plane. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct Handle {
    orders: mpsc::Sender<bridge::Order>,
    thread: JoinHandle<Stopped>,
    http: Option<SocketAddr>,
    database: PathBuf,
}

impl Handle {
    /// Where the API listens (with the port that was found for port 0).
    pub const fn http(&self) -> Option<SocketAddr> {
        self.http
    }

    /// The file of the call records.
    pub fn database(&self) -> &Path {
        &self.database
    }

    /// Routes by this from now on; false if the control plane is gone.
    pub fn reload(&self, routing: RouteTable) -> bool {
        self.orders.blocking_send(bridge::Order::Routing(Box::new(routing))).is_ok()
    }

    /// Fetches certificates like this from now on; false if the control plane is gone.
    pub fn reload_fetching(&self, fetching: Option<Fetching>) -> bool {
        self.orders.blocking_send(bridge::Order::Fetching(Box::new(fetching))).is_ok()
    }

    /// Tells all shards to take no new calls; false if the control plane is gone.
    pub fn drain(&self) -> bool {
        self.orders.blocking_send(bridge::Order::Drain).is_ok()
    }

    /// Takes in what the shards said last, writes everything to disk and ends. To be called after the shards have ended.
    /// Blocks for as long as the disk takes, at most some seconds.
    pub fn stop(self) -> Stopped {
        let Self { orders, thread, .. } = self;
        drop(orders);
        thread
            .join()
            .unwrap_or_else(|_| Stopped { lost: Some((0, "the control thread panicked".into())), written: 0 })
    }
}

/// Starts the control plane on a thread of its own. When this returns the API listens and the store is open.
///
/// # Errors
/// See [`Error`]: each message names the option and the cure.
pub fn start(config: Config, links: Links) -> Result<Handle, Error> {
    let begun = Instant::now();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let epoch = UnixMicros(now.as_micros() as u64);
    let listener = config
        .http
        .map(|address| listen(address).map_err(|error| Error::Http(address, error)))
        .transpose()?;
    let http = listener.as_ref().and_then(|it| it.local_addr().ok());

    let engine = control::Config { epoch, ..control::Config::default() };
    let (said, stored) = watch::channel(0);
    let options = Options {
        // The engine never has more under way: this queue is never full.
        queue: engine.writes,
        stored: Box::new(move |seq| {
            said.send_replace(seq);
        }),
    };
    let store = Store::open(&config.data, options).map_err(Error::Store)?;
    let reader = store.reader().map_err(Error::Store)?;
    let database = store.path().to_owned();
    let closed = store.facts().closed_at_start;
    if closed > 0 {
        (config.log)(&format!("{closed} calls of an earlier run were open and are recorded as cut off"));
    }

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Two for the API's questions to the store, the rest for names that are looked up.
        .max_blocking_threads(6)
        .build()
        .map_err(Error::System)?;
    let (orders, ordered) = mpsc::channel(16);
    let (ask, asked) = mpsc::channel(64);
    let about = About {
        io: config.io,
        scheduling: config.scheduling,
        workers: config.workers,
        version: config.version,
        begun,
        epoch,
        database: database.clone(),
    };
    let registered = reader.registrations().map_err(Error::Store)?;
    let (fetcher, fetched) = Fetcher::new(config.fetching);
    let engine = Engine::new(engine, config.routing).with_registrations(registered);
    let bridge = Bridge::new(engine, store, begun, links.commands, fetcher, config.log);
    let run = move || {
        runtime.block_on(async move {
            let server = listener.map(|it| http::serve(it, Arc::new(about), ask, reader));
            bridge::run(bridge, links.inbox, ordered, asked, stored, fetched, server).await
        })
    };
    let thread = Builder::new().name("control".into()).spawn(run).map_err(Error::System)?;
    Ok(Handle { orders, thread, http, database })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
