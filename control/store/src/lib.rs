//! Where call records last: SQLite.
