//! The ladder as text: one column per party, one line per message.

use crate::Ladder;
use std::fmt::Write;

/// Characters from one column to the next.
const SPAN: usize = 30;
/// Characters before the first column: the time.
const LEFT: usize = 24;

pub(crate) fn draw(ladder: &Ladder) -> String {
    let columns = ladder.columns();
    let width = LEFT + SPAN * columns.len().saturating_sub(1) + SPAN / 2 + 1;
    let place = |column: usize| LEFT + SPAN * column;
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(out, "{}", ladder.heading());
    for line in 0..2 {
        let mut canvas = Canvas::new(width);
        for (at, (title, address)) in columns.iter().enumerate() {
            let words: String = if line == 0 { title } else { address }.chars().take(SPAN - 2).collect();
            canvas.put(place(at).saturating_sub(words.chars().count() / 2), &words);
        }
        canvas.end(&mut out);
    }
    let gateway = 1;
    for step in &ladder.messages {
        let mut canvas = Canvas::new(width);
        canvas.put(0, &format!("{:>12.3} ms", step.offset_ms));
        for column in 0..columns.len() {
            canvas.put(place(column), "│");
        }
        let other = place(ladder.column(step.leg));
        let own = place(gateway);
        let (left, right) = (own.min(other), own.max(other));
        let to_right = (own < other) == step.is_sent();
        let dash = if step.retransmission { "╌" } else { "─" };
        for at in left + 1..right {
            canvas.put(at, dash);
        }
        if to_right {
            canvas.put(right - 1, "▶");
        } else {
            canvas.put(left + 1, "◀");
        }
        let room = SPAN - 6;
        let mut words: String = step.words().chars().take(room).collect();
        words = format!(" {words} ");
        // Beside the party, so that arrows that cross other columns are read where they belong.
        let middle = if other > own { other - SPAN / 2 } else { other + SPAN / 2 };
        canvas.put(middle - words.chars().count() / 2, &words);
        canvas.end(&mut out);
    }
    out
}

/// One line being drawn.
struct Canvas(Vec<char>);

impl Canvas {
    fn new(width: usize) -> Self {
        Self(vec![' '; width])
    }

    fn put(&mut self, at: usize, words: &str) {
        for (place, letter) in self.0.iter_mut().skip(at).zip(words.chars()) {
            *place = if letter.is_control() { '.' } else { letter };
        }
    }

    fn end(self, out: &mut String) {
        let line: String = self.0.into_iter().collect();
        out.push_str(line.trim_end());
        out.push('\n');
    }
}
