//! Result files and the pages rendered from them.
//!
//! Recording comes first ([`result`], [`Recorder`]); pages are drawn from recorded files only ([`render`]) and can be
//! redrawn byte for byte at any later time; [`check`] says whether a folder still is what was recorded. This crate
//! knows nothing of gateways or generators.

mod check;
mod junit;
pub mod limits;
pub mod metric;
mod number;
mod page;
mod read;
mod recorder;
mod render;
pub mod result;
mod svg;
mod text;

pub use check::{CheckReport, check};
pub use junit::render_junit;
pub use page::render_html;
pub use read::{ReadError, RunFolder, read_folder, read_result};
pub use recorder::{EVENTS_FILE, RESULT_FILE, Recorder, SERIES_FILE};
pub use render::{RenderError, Rendered, render};
pub use text::{Lang, UnknownLang};

/// The rendered page.
pub const HTML_FILE: &str = "index.html";
/// Limits and validity checks as test cases.
pub const JUNIT_FILE: &str = "junit.xml";
