//! Draws `index.html` and `junit.xml` of a run's folder from its recorded files.

use crate::read::{ReadError, read_folder};
use crate::recorder::replace;
use crate::text::Lang;
use crate::{HTML_FILE, JUNIT_FILE, render_html, render_junit};
use std::fmt;
use std::path::{Path, PathBuf};

/// Why a run's folder cannot be drawn.
#[derive(Debug)]
pub enum RenderError {
    /// A recorded file cannot be read.
    Read(ReadError),
    /// A page cannot be written.
    Write(std::io::Error),
    /// The page's template failed.
    Template(String),
}

impl fmt::Display for RenderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => write!(f, "{error}"),
            Self::Write(error) => write!(f, "{error}"),
            Self::Template(why) => write!(f, "the page could not be drawn: {why}"),
        }
    }
}

impl std::error::Error for RenderError {}

impl From<ReadError> for RenderError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

/// The files drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The page.
    pub html: PathBuf,
    /// The test cases.
    pub junit: PathBuf,
}

/// Draws the pages of the run in `dir` in `lang` and writes them there. The same files give the same bytes.
///
/// # Errors
/// A recorded file is missing or not what the schema says, or a page cannot be written.
pub fn render(dir: &Path, lang: Lang) -> Result<Rendered, RenderError> {
    let folder = read_folder(dir)?;
    let page = render_html(&folder, lang).map_err(|error| RenderError::Template(error.to_string()))?;
    let drawn = Rendered { html: dir.join(HTML_FILE), junit: dir.join(JUNIT_FILE) };
    replace(&drawn.html, page.as_bytes()).map_err(RenderError::Write)?;
    replace(&drawn.junit, render_junit(&folder.result).as_bytes()).map_err(RenderError::Write)?;
    Ok(drawn)
}
