//! The tables, in numbered steps; `user_version` says how many a file has seen.

use rusqlite::{Connection, TransactionBehavior};

/// Every step so far, in order. A step that was released never changes.
const STEPS: &[&str] = &[
    include_str!("migrations/1.sql"),
    include_str!("migrations/2.sql"),
    include_str!("migrations/3.sql"),
    include_str!("migrations/4.sql"),
    include_str!("migrations/5.sql"),
    include_str!("migrations/6.sql"),
];

/// The version this program writes.
pub(crate) const VERSION: u32 = STEPS.len() as u32;

/// What prevents a file from being used.
#[derive(Debug)]
pub(crate) enum Unfit {
    /// It was written by a newer program.
    Newer(u32),
    /// The database says no.
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Unfit {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// Brings a file up to [`VERSION`]: all missing steps in one transaction, so that it is never half done.
pub(crate) fn migrate(connection: &mut Connection) -> Result<(), Unfit> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: u32 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if found > VERSION {
        return Err(Unfit::Newer(found));
    }
    for step in &STEPS[found as usize..] {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    Ok(())
}
