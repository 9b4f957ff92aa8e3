//! Where call records last: SQLite in one folder, one writing thread, group commit.
//!
//! What [`Store::submit`] took is on disk once the store says so ([`Options::stored`]): it survives `kill -9`
//! and, as each commit is synced (`synchronous=FULL`), loss of power. Batches make that affordable.
#![forbid(unsafe_code)]

mod error;
mod folder;
mod query;
mod rows;
mod schema;
mod writer;

pub use error::{Error, Trouble};
pub use query::{Cursor, Filter, Page, Reader, Stop};
pub use writer::{Closed, Facts, Options, Record, Refused, Store, Write};
