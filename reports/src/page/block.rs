//! What a page is made of: sections of blocks. Sections fill them, one template writes them.

use crate::number;
use crate::result::Status;
use crate::text::Text;

/// One cell of a table.
#[derive(Debug, Clone)]
pub(crate) enum Cell {
    Text(String),
    Number(String),
    Code(String),
    Missing(String),
    Badge { class: &'static str, words: String },
    Svg(String),
}

impl Cell {
    pub(crate) fn text(words: impl Into<String>) -> Self {
        Self::Text(words.into())
    }

    pub(crate) fn number(words: impl Into<String>) -> Self {
        Self::Number(words.into())
    }

    pub(crate) fn missing(t: &Text) -> Self {
        Self::Missing(t.get("not-measured").to_owned())
    }

    /// Recorded words, or "unknown".
    pub(crate) fn words(t: &Text, words: Option<&str>) -> Self {
        words
            .filter(|words| !words.is_empty())
            .map_or_else(|| Self::Missing(t.get("unknown").to_owned()), Self::text)
    }

    pub(crate) fn count(t: &Text, count: Option<u64>) -> Self {
        Self::of(t, count, number::grouped)
    }

    pub(crate) fn percent(t: &Text, percent: Option<f64>) -> Self {
        Self::of(t, percent, |value| format!("{} %", number::percent(value)))
    }

    pub(crate) fn seconds(t: &Text, seconds: Option<f64>) -> Self {
        Self::of(t, seconds, number::seconds)
    }

    pub(crate) fn bytes(t: &Text, bytes: Option<f64>) -> Self {
        Self::of(t, bytes, number::bytes)
    }

    pub(crate) fn ms(t: &Text, ns: Option<u64>) -> Self {
        Self::of(t, ns, number::ms)
    }

    pub(crate) fn significant(t: &Text, value: Option<f64>) -> Self {
        Self::of(t, value, number::significant)
    }

    /// `value` written by `write`, or "not measured".
    pub(crate) fn of<T>(t: &Text, value: Option<T>, write: impl FnOnce(T) -> String) -> Self {
        value.map_or_else(|| Self::missing(t), |value| Self::Number(write(value)))
    }

    /// The outcome of a limit.
    pub(crate) fn status(t: &Text, status: Status) -> Self {
        let (class, words) = match status {
            Status::Pass => ("good", t.get("status.pass")),
            Status::Fail => ("bad", t.get("status.fail")),
            Status::Invalid => ("bad", t.get("status.invalid")),
            Status::NotMeasured => ("none", t.get("status.not-measured")),
        };
        Self::Badge { class, words: words.to_owned() }
    }

    /// A count that must be zero.
    pub(crate) fn zero(t: &Text, count: Option<u64>) -> Self {
        match count {
            Some(0) => Self::Badge { class: "good", words: "0".to_owned() },
            Some(count) => Self::Badge { class: "bad", words: number::grouped(count) },
            None => Self::missing(t),
        }
    }

    /// Class of the cell in its column: figures stay flush right even where one is missing.
    pub(crate) fn class(&self, head: &[Head], column: &usize) -> &'static str {
        match self {
            Self::Svg(_) => "b",
            _ => head.get(*column).map_or("", |head| head.class),
        }
    }
}

/// A column's head.
#[derive(Debug)]
pub(crate) struct Head {
    pub words: String,
    pub class: &'static str,
}

/// A table.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub caption: String,
    pub head: Vec<Head>,
    pub rows: Vec<Vec<Cell>>,
    pub note: Option<String>,
}

impl Table {
    pub(crate) fn new(caption: &str) -> Self {
        Self { caption: caption.to_owned(), ..Self::default() }
    }

    /// Adds a column of words.
    pub(crate) fn column(mut self, words: &str) -> Self {
        self.head.push(Head { words: words.to_owned(), class: "" });
        self
    }

    /// Adds a column of figures, set flush right.
    pub(crate) fn figures(mut self, words: &str) -> Self {
        self.head.push(Head { words: words.to_owned(), class: "n" });
        self
    }

    pub(crate) fn note(mut self, words: &str) -> Self {
        self.note = Some(words.to_owned());
        self
    }

    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }
}

/// One line of a figure's key to its numbered marks.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub number: usize,
    pub time: String,
    pub words: String,
    pub bad: bool,
}

/// A plot with title, key and note.
#[derive(Debug, Default)]
pub(crate) struct Figure {
    pub title: String,
    pub svg: String,
    pub key: Vec<Key>,
    pub note: Option<String>,
}

/// A headline figure.
#[derive(Debug)]
pub(crate) struct Tile {
    pub label: String,
    pub value: String,
    pub unit: String,
    pub note: String,
    pub class: &'static str,
}

/// A glossary entry.
#[derive(Debug)]
pub(crate) struct Term {
    pub short: String,
    pub name: String,
    pub formula: String,
    pub meaning: String,
}

/// A part of a section.
#[derive(Debug)]
pub(crate) enum Block {
    Heading(String),
    Paragraph(String),
    List(Vec<String>),
    Tiles(Vec<Tile>),
    Facts(Vec<(String, Cell)>),
    Table(Table),
    Figure(Figure),
    Pre { title: String, text: String },
    Terms(Vec<Term>),
}

/// A numbered section.
#[derive(Debug)]
pub(crate) struct Section {
    pub id: String,
    pub number: String,
    pub title: String,
    pub lead: String,
    pub blocks: Vec<Block>,
}

impl Section {
    pub(crate) fn new(id: &str, title: &str, lead: &str) -> Self {
        Self {
            id: id.to_owned(),
            number: String::new(),
            title: title.to_owned(),
            lead: lead.to_owned(),
            blocks: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, block: Block) {
        self.blocks.push(block);
    }

    /// Adds a table unless it has no row.
    pub(crate) fn table(&mut self, table: Table) {
        if !table.rows.is_empty() {
            self.push(Block::Table(table));
        }
    }

    /// Adds a figure when there is something to draw.
    pub(crate) fn figure(&mut self, title: &str, svg: Option<String>, note: Option<&str>) {
        if let Some(svg) = svg {
            let note = note.map(str::to_owned);
            self.push(Block::Figure(Figure { title: title.to_owned(), svg, key: Vec::new(), note }));
        }
    }
}
