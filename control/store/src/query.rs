//! Questions about finished calls, on a connection of their own that can only read.

use crate::rows::{self, COLUMNS, micros, number};
use crate::{Error, writer::BUSY};
use link::{CallId, Cdr, Registration, TrunkName, UnixMicros};
use rusqlite::types::Value;
use rusqlite::{Connection, InterruptHandle, OpenFlags, OptionalExtension, params_from_iter};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::{fmt, str::FromStr};

/// Which finished calls are wanted; all conditions hold together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Begun at or after this.
    pub since: Option<UnixMicros>,
    /// Begun before this.
    pub until: Option<UnixMicros>,
    /// Caller's or dialled number, exactly.
    pub number: Option<String>,
    /// The trunk that carried or refused it.
    pub trunk: Option<TrunkName>,
    /// The final status.
    pub status: Option<RangeInclusive<u16>>,
    /// Older than this place in the list.
    pub before: Option<Cursor>,
    /// At most so many.
    pub limit: u32,
}

/// A place in the list of calls, newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    started: UnixMicros,
    call: CallId,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{}", self.started.0, self.call)
    }
}

impl FromStr for Cursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (started, call) = text.split_once('-').ok_or(())?;
        let started = UnixMicros(u64::from_str_radix(started, 16).map_err(drop)?);
        Ok(Self { started, call: call.parse().map_err(drop)? })
    }
}

/// Some finished calls, newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// The calls.
    pub cdrs: Vec<Cdr>,
    /// Where the next page begins, if there is one.
    pub next: Option<Cursor>,
}

/// Reads finished calls. Blocks: to be used on a thread that may wait.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    connection: Connection,
}

/// Stops a reader's question from another thread.
pub struct Stop(InterruptHandle);

impl Stop {
    /// The question under way, if any, ends with an error.
    pub fn stop(&self) {
        self.0.interrupt();
    }
}

impl Reader {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let open = || {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(path, flags)?;
            connection.busy_timeout(BUSY)?;
            Ok(connection)
        };
        let connection = open().map_err(|error| Error::sqlite(path, &error))?;
        Ok(Self { path: path.to_owned(), connection })
    }

    /// A handle to stop long questions with.
    pub fn stopper(&self) -> Stop {
        Stop(self.connection.get_interrupt_handle())
    }

    /// Finished calls, newest first.
    ///
    /// # Errors
    /// The database can't be read, or the question was stopped.
    pub fn cdrs(&self, filter: &Filter) -> Result<Page, Error> {
        let (text, values) = statement(filter);
        let read = || -> rusqlite::Result<Vec<Cdr>> {
            self.connection.prepare_cached(&text)?.query_map(params_from_iter(values), rows::read)?.collect()
        };
        let mut cdrs = read().map_err(|error| Error::sqlite(&self.path, &error))?;
        let limit = filter.limit as usize;
        let more = cdrs.len() > limit;
        cdrs.truncate(limit);
        let next = cdrs.last().filter(|_| more).map(|it| Cursor { started: it.started, call: it.call });
        Ok(Page { cdrs, next })
    }

    /// Who was registered when it was written last, by user name.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn registrations(&self) -> Result<Vec<Registration>, Error> {
        let read = || -> rusqlite::Result<Vec<Registration>> {
            let mut rows = self
                .connection
                .prepare("SELECT user, revision, bindings FROM registrations ORDER BY user")?;
            rows.query_map([], rows::registration)?.collect()
        };
        read().map_err(|error| Error::sqlite(&self.path, &error))
    }

    /// One finished call.
    ///
    /// # Errors
    /// The database can't be read, or the question was stopped.
    pub fn cdr(&self, call: CallId) -> Result<Option<Cdr>, Error> {
        let text = format!("SELECT {COLUMNS} FROM calls WHERE call = ?1");
        let read = || self.connection.prepare_cached(&text)?.query_row([number(call)], rows::read).optional();
        read().map_err(|error| Error::sqlite(&self.path, &error))
    }
}

/// The statement for a filter and its values. One more row than asked for tells whether there is a next page.
fn statement(filter: &Filter) -> (String, Vec<Value>) {
    let mut text = format!("SELECT {COLUMNS} FROM calls WHERE true");
    let mut values = Vec::new();
    let mut add = |condition: &str, given: &[Value]| {
        text.push_str(" AND ");
        text.push_str(condition);
        values.extend_from_slice(given);
    };
    if let Some(since) = filter.since {
        add("started >= ?", &[micros(since).into()]);
    }
    if let Some(until) = filter.until {
        add("started < ?", &[micros(until).into()]);
    }
    if let Some(wanted) = &filter.number {
        add("(dialled = ? OR from_number = ?)", &[wanted.clone().into(), wanted.clone().into()]);
    }
    if let Some(trunk) = &filter.trunk {
        add("trunk = ?", &[trunk.as_str().to_owned().into()]);
    }
    if let Some(status) = &filter.status {
        let (low, high) = (i64::from(*status.start()), i64::from(*status.end()));
        add("status BETWEEN ? AND ?", &[low.into(), high.into()]);
    }
    if let Some(Cursor { started, call }) = filter.before {
        add("(started, call) < (?, ?)", &[micros(started).into(), number(call).into()]);
    }
    text.push_str(" ORDER BY started DESC, call DESC LIMIT ?");
    values.push((i64::from(filter.limit) + 1).into());
    (text, values)
}
