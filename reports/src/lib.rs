//! Result files and the pages rendered from them.
//!
//! Recording comes first ([`result`], [`Recorder`]); pages are drawn from recorded files only and can be redrawn byte
//! for byte at any later time. This crate knows nothing of gateways or generators.

pub mod limits;
pub mod metric;
mod read;
mod recorder;
pub mod result;

pub use read::{ReadError, RunFolder, read_folder, read_result};
pub use recorder::{EVENTS_FILE, RESULT_FILE, Recorder, SERIES_FILE};

/// The rendered page.
pub const HTML_FILE: &str = "index.html";
/// Limits and validity checks as test cases.
pub const JUNIT_FILE: &str = "junit.xml";
