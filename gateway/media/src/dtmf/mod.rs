//! DTMF within sound: the sixteen pairs of frequencies of ITU-T Q.23, made and recognized as ITU-T Q.24 asks.
//!
//! G.711 of either law leaves all of it, and any linear codec. G.729 codes speech: it loses some short keys and may split a long one in two
//! (`media/tests/dtmf.rs` prints how many of each length), which is why keys go as telephone events (RFC 4733) wherever both sides can.
mod detect;
mod make;

pub use detect::{Detector, Heard};
pub use make::{Generator, Levels};

/// Frequencies of the rows and columns in Hz, ITU-T Q.23.
pub const ROWS: [f64; 4] = [697.0, 770.0, 852.0, 941.0];
/// See [`ROWS`].
pub const COLUMNS: [f64; 4] = [1209.0, 1336.0, 1477.0, 1633.0];
/// Row by row.
const KEYS: [u8; 16] = *b"123A456B789C*0#D";

/// A key: 0 to 9, `*`, `#`, A to D.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(u8);

impl Key {
    /// The key of a character; letters may be small.
    pub fn of(character: char) -> Option<Self> {
        let place = KEYS.iter().position(|&key| char::from(key) == character.to_ascii_uppercase())?;
        Some(Self(place as u8))
    }

    /// The key at a row and a column, 0 to 3 each.
    const fn at(row: usize, column: usize) -> Self {
        Self((row as u8 & 3) << 2 | column as u8 & 3)
    }

    /// The character.
    pub fn character(self) -> char {
        char::from(KEYS[usize::from(self.0 & 15)])
    }

    /// Its two frequencies in Hz, the lower one first.
    pub fn frequencies(self) -> (f64, f64) {
        (ROWS[usize::from(self.0 >> 2 & 3)], COLUMNS[usize::from(self.0 & 3)])
    }

    /// Its number as a telephone event, RFC 4733 §3.2, table 3: 0 to 9, 10 is `*`, 11 is `#`, 12 to 15 are A to D.
    pub fn event(self) -> u8 {
        match self.character() {
            '*' => 10,
            '#' => 11,
            digit @ '0'..='9' => digit as u8 - b'0',
            letter => letter as u8 - b'A' + 12,
        }
    }

    /// The key of a telephone event.
    pub fn of_event(event: u8) -> Option<Self> {
        Self::of(char::from(*b"0123456789*#ABCD".get(usize::from(event))?))
    }

    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..16).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_q_23_and_rfc_4733_section_3_2() {
        assert_eq!(Key::all().count(), 16);
        for key in Key::all() {
            assert_eq!(Key::of(key.character()), Some(key));
            assert_eq!(Key::of_event(key.event()), Some(key));
        }
        let event = |c| Key::of(c).unwrap().event();
        assert_eq!("0159*#AdD".chars().map(event).collect::<Vec<_>>(), [0, 1, 5, 9, 10, 11, 12, 15, 15]);
        assert_eq!(Key::of('0').unwrap().frequencies(), (941.0, 1336.0));
        assert_eq!(Key::of('A').unwrap().frequencies(), (697.0, 1633.0));
        assert_eq!((Key::of('E'), Key::of_event(16)), (None, None));
    }
}
