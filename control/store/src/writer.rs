//! The one thread that writes: takes records from a bounded queue and commits them in groups.
#![expect(clippy::disallowed_methods, reason = "a group closes by the clock")]

use crate::folder::Folder;
use crate::query::Reader;
use crate::{Error, rows, schema};
use core::time::Duration;
use link::{CallAnswered, CallId, CallRecord, Cdr, Registration, ShardId, UnixMicros};
use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

/// Most records in one commit.
const GROUP: usize = 500;
/// How long a record waits for others to share its commit. At 1000 calls/s a synced commit each 20 ms cost 30 us of
/// CPU per call, each 100 ms 18 us: this is between.
const GATHER: Duration = Duration::from_millis(50);
/// How long a connection waits for another's lock.
pub(crate) const BUSY: Duration = Duration::from_secs(1);
/// Pause before a failed commit is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// Tries for what is left once the store was told to close.
const LAST_TRIES: u32 = 3;

/// A numbered record.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// Counts up; said back once on disk.
    pub seq: u64,
    /// What.
    pub record: Record,
}

/// What is kept.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A call began.
    Started(Box<CallRecord>),
    /// It was answered.
    Answered(CallAnswered),
    /// It is over.
    Ended(Box<Cdr>),
    /// A shard's process started: its open calls of before are closed.
    Restarted {
        /// The shard.
        shard: ShardId,
        /// When its process started.
        started: UnixMicros,
    },
    /// A user's bindings, in place of those before.
    Registered(Box<Registration>),
    /// Open calls were alive at this time.
    Alive(UnixMicros),
}

impl Record {
    /// The call, if this ends one.
    fn ended(&self) -> Option<CallId> {
        match self {
            Self::Ended(cdr) => Some(cdr.call),
            _ => None,
        }
    }

    /// The user whose bindings it tells, if it tells any.
    fn registered(&self) -> Option<&str> {
        match self {
            Self::Registered(registration) => Some(&registration.user),
            _ => None,
        }
    }

    /// The call, if this only leaves a trace of one.
    fn note_of(&self) -> Option<CallId> {
        match self {
            Self::Started(record) => Some(record.call),
            Self::Answered(answered) => Some(answered.call),
            _ => None,
        }
    }
}

/// How a store shall be opened.
pub struct Options {
    /// Records in the queue at most; about 1 KB each.
    pub queue: usize,
    /// Called on the writing thread with the number of the last record on disk.
    pub stored: Box<dyn FnMut(u64) + Send>,
}

/// What a store does and how it feels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Why nothing can be written at present; it is tried again each second.
    pub failing: Option<String>,
    /// Commits.
    pub commits: u64,
    /// Records written.
    pub records: u64,
    /// Records that the database refused for what they are; none, unless there is a defect.
    pub refused: u64,
    /// Commits that failed and were tried again.
    pub retries: u64,
    /// Time of the slowest commit in microseconds.
    pub slowest_us: u64,
    /// Calls found open at the start and closed as of a restart.
    pub closed_at_start: u64,
}

/// A record was not taken: the queue is full or the store closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// What is left when a store is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Records that could not be written, with the reason; none of them was said to be stored.
    pub lost: Option<(usize, String)>,
    /// The last facts.
    pub facts: Facts,
}

/// An open store.
pub struct Store {
    folder: Folder,
    queue: SyncSender<Write>,
    facts: Arc<Mutex<Facts>>,
    closing: Arc<AtomicBool>,
    thread: JoinHandle<Option<(usize, String)>>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store in `folder`, makes it if it is not there, and closes calls that an earlier run left open.
    ///
    /// # Errors
    /// See [`crate::Trouble`]; the message names the file and the cure.
    pub fn open(folder: &Path, options: Options) -> Result<Self, Error> {
        let folder = Folder::take(folder)?;
        let path = &folder.database;
        let mut connection = connect(path).map_err(|error| Error::sqlite(path, &error))?;
        schema::migrate(&mut connection).map_err(|unfit| Error::unfit(path, &unfit))?;
        let closed = rows::close_open(&connection, None).map_err(|error| Error::sqlite(path, &error))?;
        let facts = Arc::new(Mutex::new(Facts { closed_at_start: closed as u64, ..Facts::default() }));
        let (queue, records) = sync_channel(options.queue.max(1));
        let closing = Arc::new(AtomicBool::new(false));
        let writer = Writer {
            connection,
            closing: Arc::clone(&closing),
            facts: Arc::clone(&facts),
            stored: options.stored,
        };
        let thread = Builder::new()
            .name("store".into())
            .spawn(move || writer.run(&records))
            .map_err(|error| Error::io(path, &error))?;
        Ok(Self { folder, queue, facts, closing, thread })
    }

    /// Queues a record; never blocks.
    ///
    /// # Errors
    /// [`Refused`] when the queue is full.
    pub fn submit(&self, write: Write) -> Result<(), Refused> {
        self.queue.try_send(write).map_err(|_| Refused)
    }

    /// A reader of its own.
    ///
    /// # Errors
    /// The database can't be opened.
    pub fn reader(&self) -> Result<Reader, Error> {
        Reader::open(&self.folder.database)
    }

    /// How it does.
    pub fn facts(&self) -> Facts {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.folder.database
    }

    /// Writes what is queued and closes. Blocks until that is done or has failed for a few seconds.
    pub fn close(self) -> Closed {
        let Self { folder, queue, facts, closing, thread } = self;
        closing.store(true, Ordering::Relaxed);
        drop(queue);
        let lost = thread.join().unwrap_or_else(|_| Some((0, "the writing thread panicked".into())));
        drop(folder);
        let facts = facts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Closed { lost, facts }
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    // Each commit is on the medium before it is acknowledged.
    connection.pragma_update(None, "synchronous", "FULL")?;
    // In pages of 4 KiB: the longer a page stays in the journal the more changes share its way to the file.
    connection.pragma_update(None, "wal_autocheckpoint", 4000)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    // In KiB, for the index leaves that random numbers touch.
    connection.pragma_update(None, "cache_size", -16_000)?;
    connection.set_prepared_statement_cache_capacity(16);
    Ok(connection)
}

struct Writer {
    connection: Connection,
    closing: Arc<AtomicBool>,
    facts: Arc<Mutex<Facts>>,
    stored: Box<dyn FnMut(u64) + Send>,
}

impl Writer {
    fn run(mut self, records: &Receiver<Write>) -> Option<(usize, String)> {
        let mut group = Vec::with_capacity(GROUP);
        let mut pause = GATHER;
        while let Ok(first) = records.recv() {
            group.push(first);
            gather(
                records,
                &mut group,
                if self.closing.load(Ordering::Relaxed) { Duration::ZERO } else { pause },
            );
            // A full group leaves others waiting.
            pause = if group.len() == GROUP { Duration::ZERO } else { GATHER };
            if let Err(why) = self.keep(&group) {
                let lost = group.len() + records.iter().count();
                return Some((lost, why));
            }
            if let Some(last) = group.last() {
                (self.stored)(last.seq);
            }
            group.clear();
        }
        None
    }

    /// Commits a group, however long it takes; gives up only once the store is being closed.
    fn keep(&mut self, group: &[Write]) -> Result<(), String> {
        let mut tries = 0;
        loop {
            let begun = Instant::now();
            let error = match self.commit(group) {
                Ok(refused) => {
                    let took = begun.elapsed();
                    self.note(|facts| {
                        facts.failing = None;
                        facts.commits += 1;
                        facts.records += (group.len() - refused) as u64;
                        facts.refused += refused as u64;
                        facts.slowest_us = facts.slowest_us.max(took.as_micros() as u64);
                    });
                    return Ok(());
                }
                Err(error) => self.connection.path().map_or_else(
                    || error.to_string(),
                    |path| Error::sqlite(Path::new(path), &error).to_string(),
                ),
            };
            tries += 1;
            self.note(|facts| {
                facts.retries += 1;
                facts.failing = Some(error.clone());
            });
            if self.closing.load(Ordering::Relaxed) && tries >= LAST_TRIES {
                return Err(error);
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Writes a group in one transaction; gives the number of records that the database refused for what they are.
    fn commit(&mut self, group: &[Write]) -> rusqlite::Result<usize> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut refused = 0;
        let ended: HashSet<CallId> = group.iter().filter_map(|it| it.record.ended()).collect();
        let told = group.iter().filter_map(|it| Some((it.record.registered()?, it.seq)));
        let last: HashMap<&str, u64> = told.collect();
        for write in group {
            // A call that is over within the group needs no trace.
            if write.record.note_of().is_some_and(|call| ended.contains(&call)) {
                continue;
            }
            // What was said of a user last is all that stays.
            if write
                .record
                .registered()
                .is_some_and(|user| last.get(user).is_some_and(|last| *last > write.seq))
            {
                continue;
            }
            match apply(&transaction, &write.record) {
                Ok(()) => {}
                Err(error) if is_of_the_record(&error) => refused += 1,
                Err(error) => return Err(error),
            }
        }
        transaction.commit()?;
        Ok(refused)
    }

    fn note(&self, change: impl FnOnce(&mut Facts)) {
        change(&mut self.facts.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Fills up a group. The wait is one sleep: records do not wake the thread one by one.
fn gather(records: &Receiver<Write>, group: &mut Vec<Write>, pause: Duration) {
    std::thread::sleep(pause);
    group.extend(records.try_iter().take(GROUP - group.len()));
}

fn apply(connection: &Connection, record: &Record) -> rusqlite::Result<()> {
    match record {
        Record::Started(started) => rows::start(connection, started),
        Record::Answered(answered) => rows::answer(connection, answered),
        Record::Ended(cdr) => rows::end(connection, cdr),
        Record::Restarted { shard, started } => {
            rows::close_open(connection, Some((*shard, *started))).map(drop)
        }
        Record::Registered(registration) => rows::register(connection, registration),
        Record::Alive(at) => rows::alive(connection, *at),
    }
}

/// Whether the same record would fail for ever, whatever the disk does.
fn is_of_the_record(error: &rusqlite::Error) -> bool {
    match error.sqlite_error_code() {
        Some(code) => {
            matches!(code, ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig)
        }
        None => matches!(error, rusqlite::Error::ToSqlConversionFailure(_)),
    }
}
