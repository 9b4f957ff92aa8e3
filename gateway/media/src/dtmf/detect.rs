//! Recognizes keys in sound.
//!
//! Every 5 ms the last 20 ms are held against the eight frequencies ([`Bank`]). A key is there when
//!
//! - the strongest row and column are off by 2.5 % at most (ITU-T Q.24: 1.5 % has to be taken, 3.5 % must not be),
//! - each has -31 dBm0 at least, and the column is at most 5 dB louder and 9 dB softer than the row (Q.24: networks ask for
//!   4 to 8 dB either way),
//! - both together are 85 % of all that is heard (noise 15 dB below them leaves 97 %): that keeps speech out, whose energy is in many harmonics,
//! - and this was so, for the same key and with levels and frequencies that stood still, as no voice's do, in four windows in a row: 40 ms are
//!   always enough, 22 ms (what must not be taken) never.
//!
//! It ends when six windows in a row say otherwise: pauses of 30 ms separate two keys, breaks of 10 ms do not.

use super::{COLUMNS, Key, ROWS};
use crate::bank::{Bank, Window};

/// Milliseconds from window to window.
const BLOCK_MS: u32 = 5;
/// How far a frequency may be off.
const OFF: f64 = 0.025;
/// Softest level of each frequency, in dBm0.
const SOFTEST: f64 = -31.0;
/// How much louder the column may be, and the row, as ratios of power: 5 and 9 dB.
const COLUMN_LOUDER: f64 = 3.16;
const ROW_LOUDER: f64 = 7.94;
/// Share of the energy that both have.
const PURE: f64 = 0.85;
/// The strongest of a group is so much stronger than the next: 6 dB.
const CLEAR: f64 = 4.0;
/// Change of level between windows that count as one tone, as a ratio of power: 3 dB.
const STEADY: f64 = 2.0;
/// Change of a frequency between windows that count as one tone, in Hz.
const STILL: f64 = 6.0;
/// Level below which a tone that was recognized is over: 10 dB.
const OVER: f64 = 0.1;
/// Windows that begin a key, and that end it.
const BEGIN: u32 = 4;
const END: u32 = 6;
/// A tone is so much longer than the blocks whose windows show it: the first does when it is nearly full.
const UNSEEN_MS: u32 = 15;

/// What was recognized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A key is pressed; it has been for 25 to 40 ms.
    Began(Key),
    /// It is no longer. `ms` is how long the tone was, within 10 ms.
    Ended {
        /// The key.
        key: Key,
        /// Length of its tone in milliseconds.
        ms: u32,
    },
}

/// What a window shows: a key, the power of both sines, and how far each is off in Hz.
#[derive(Clone, Copy, Debug)]
struct Seen {
    key: Key,
    power: f64,
    off: (f64, f64),
}

impl Seen {
    /// Whether this and the window before it show one tone.
    fn goes_on(&self, before: &Self) -> bool {
        self.key == before.key
            && self.power < before.power * STEADY
            && before.power < self.power * STEADY
            && (self.off.0 - before.off.0).abs() < STILL
            && (self.off.1 - before.off.1).abs() < STILL
    }
}

/// Listens to one stream.
#[derive(Clone, Debug)]
pub struct Detector {
    bank: Bank<8>,
    state: State,
}

#[derive(Clone, Debug, Default)]
struct State {
    /// What the last window showed, and how many in a row did.
    candidate: Option<(Seen, u32)>,
    /// The key that is pressed: its power, windows since it began, windows in a row that show it no more.
    pressed: Option<(Key, f64, u32, u32)>,
}

impl Detector {
    /// A detector for `rate` Hz, 8000 to 48 000.
    pub fn new(rate: u32) -> Self {
        let [a, b, c, d] = ROWS;
        let [e, f, g, h] = COLUMNS;
        Self { bank: Bank::new(rate, [a, b, c, d, e, f, g, h]), state: State::default() }
    }

    /// Listens to the next samples; calls `heard` for what it recognizes in them.
    pub fn hear(&mut self, samples: &[i16], mut heard: impl FnMut(Heard)) {
        let state = &mut self.state;
        self.bank.hear(samples, |window| state.follow(key(window), &mut heard));
    }

    /// Whether a key is pressed, or may turn out to be: what was heard last looks like one. True some 15 ms after a tone began, when no
    /// receiver could have recognized what came before.
    pub fn suspects(&self) -> bool {
        self.state.pressed.is_some() || self.state.candidate.is_some()
    }

    /// The key that is pressed.
    pub fn pressed(&self) -> Option<Key> {
        self.state.pressed.map(|pressed| pressed.0)
    }
}

/// The key that a window shows.
fn key(window: &Window<8>) -> Option<Seen> {
    let strongest = |group: core::ops::Range<usize>| -> Option<usize> {
        let best = group.clone().max_by(|&a, &b| window.power(a).total_cmp(&window.power(b)))?;
        let others = group.filter(|&n| n != best);
        others.map(|n| window.power(n) * CLEAR).all(|other| other < window.power(best)).then_some(best)
    };
    let (row, column) = (strongest(0..4)?, strongest(4..8)?);
    let off = (window.off(row), window.off(column));
    let near = off.0.abs() <= ROWS[row] * OFF && off.1.abs() <= COLUMNS[column - 4] * OFF;
    let (low, high) = (window.sine(row), window.sine(column));
    let softest = window.energy_of(SOFTEST);
    let loud = low >= softest && high >= softest;
    let even = high <= low * COLUMN_LOUDER && low <= high * ROW_LOUDER;
    let pure = low + high >= PURE * window.energy;
    (near && loud && even && pure).then(|| Seen { key: Key::at(row, column - 4), power: low + high, off })
}

impl State {
    fn follow(&mut self, seen: Option<Seen>, heard: &mut impl FnMut(Heard)) {
        let mut over = None;
        if let Some((key, power, windows, missing)) = &mut self.pressed {
            *windows += 1;
            match seen {
                Some(seen) if seen.key == *key && seen.power >= *power * OVER => {
                    *missing = 0;
                    *power = power.max(seen.power);
                }
                _ => *missing += 1,
            }
            if *missing >= END {
                // It was recognized at the end of its fourth window.
                over = Some((*key, (*windows + BEGIN - *missing) * BLOCK_MS + UNSEEN_MS));
            }
        }
        if let Some((key, ms)) = over {
            self.pressed = None;
            heard(Heard::Ended { key, ms });
        }
        self.candidate = seen.map(|seen| match &self.candidate {
            Some((before, count)) if seen.goes_on(before) => (seen, count.saturating_add(1)),
            _ => (seen, 1),
        });
        if let (None, Some((seen, BEGIN..))) = (self.pressed, self.candidate) {
            self.pressed = Some((seen.key, seen.power, 0, 0));
            heard(Heard::Began(seen.key));
        }
    }
}
