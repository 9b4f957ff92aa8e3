//! Which indices of a source were used: the rollover counter's estimate (RFC 3711 §3.3.1) and the replay list (§3.3.2).

use super::SOURCES_MAX;

/// Indices that are remembered behind the highest one (RFC 3711 §3.3.2: at least 64).
const WIDTH: u64 = 128;

/// The indices used of one source: the highest, and which of those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    highest: u64,
    /// Bit n: the n-th before the highest.
    used: u128,
}

impl Window {
    pub(super) const fn starting(index: u64) -> Self {
        Self { highest: index, used: 1 }
    }

    /// The index of a sequence number: the one nearest to the highest (RFC 3711 §3.3.1, Appendix A), and none below zero.
    pub(super) fn estimate(self, sequence: u16) -> u64 {
        let (roc, last) = (self.highest >> 16, (self.highest & 0xffff) as i32);
        let ahead = i32::from(sequence) - last;
        let roc = if ahead > 0x8000 && roc > 0 {
            roc - 1
        } else if ahead < -0x8000 {
            roc + 1
        } else {
            roc
        };
        roc << 16 | u64::from(sequence)
    }

    /// Whether an index was used already, or is too old to tell.
    pub(super) const fn has(self, index: u64) -> bool {
        if index > self.highest {
            return false;
        }
        let behind = self.highest - index;
        behind >= WIDTH || self.used >> behind & 1 == 1
    }

    /// The index is used.
    pub(super) const fn note(&mut self, index: u64) {
        if index > self.highest {
            let ahead = index - self.highest;
            self.used = if ahead >= WIDTH { 0 } else { self.used << ahead };
            self.used |= 1;
            self.highest = index;
        } else if self.highest - index < WIDTH {
            self.used |= 1 << (self.highest - index);
        }
    }
}

/// The windows of the sources under one key; at most [`SOURCES_MAX`].
#[derive(Clone, Debug, Default)]
pub(super) struct Sources {
    known: Vec<(u32, Window)>,
    /// Where the last one was.
    last: usize,
}

impl Sources {
    #[inline]
    fn find(&mut self, ssrc: u32) -> Option<&mut Window> {
        if self.known.get(self.last).is_none_or(|(known, _)| *known != ssrc) {
            self.last = self.known.iter().position(|(known, _)| *known == ssrc)?;
        }
        self.known.get_mut(self.last).map(|(_, window)| window)
    }

    /// What was used of a source.
    #[inline]
    pub(super) fn of(&mut self, ssrc: u32) -> Option<Window> {
        self.find(ssrc).copied()
    }

    pub(super) const fn is_full(&self) -> bool {
        self.known.len() >= SOURCES_MAX
    }

    /// The index of a source is used; false if there is no room for the source.
    #[inline]
    pub(super) fn note(&mut self, ssrc: u32, index: u64) -> bool {
        if let Some(window) = self.find(ssrc) {
            window.note(index);
            return true;
        }
        if self.is_full() {
            return false;
        }
        self.known.push((ssrc, Window::starting(index)));
        true
    }
}
