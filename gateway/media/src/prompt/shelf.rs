//! Clips that were made, kept while there is room: the one that was wanted longest ago makes room.

use super::Clip;
use crate::codec::Codec;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is wanted of a file. Codecs are told apart by name and clock rate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    file: String,
    codec: (&'static str, u32),
    ptime: u32,
    repeated: bool,
}

impl Wanted {
    /// A file in a codec, in packets of `ptime` milliseconds, to be repeated or not.
    pub fn new(file: &str, codec: Codec, ptime: u32, repeated: bool) -> Self {
        Self { file: file.to_owned(), codec: (codec.name(), codec.clock_rate()), ptime, repeated }
    }
}

/// What a shelf counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShelfStats {
    /// Clips that were there when they were wanted.
    pub hits: u64,
    /// Clips that had to be made.
    pub made: u64,
    /// Clips that made room for others.
    pub evicted: u64,
    /// Octets of all clips that are kept.
    pub octets: u64,
}

/// Clips by what they were made of.
#[derive(Debug)]
pub struct Shelf {
    clips: BTreeMap<Wanted, Kept>,
    most: usize,
    turn: u64,
    stats: ShelfStats,
}

#[derive(Debug)]
struct Kept {
    /// The state of the file that it was made of.
    version: u64,
    used: u64,
    clip: Arc<Clip>,
}

impl Shelf {
    /// Room for `most` octets. A clip that is larger is made and not kept.
    pub const fn new(most: usize) -> Self {
        let stats = ShelfStats { hits: 0, made: 0, evicted: 0, octets: 0 };
        Self { clips: BTreeMap::new(), most, turn: 0, stats }
    }

    /// The clip of a file in this state (any number that changes when the file does), if it is there.
    pub fn get(&mut self, wanted: &Wanted, version: u64) -> Option<Arc<Clip>> {
        self.turn += 1;
        let kept = self.clips.get_mut(wanted).filter(|kept| kept.version == version)?;
        kept.used = self.turn;
        self.stats.hits += 1;
        Some(Arc::clone(&kept.clip))
    }

    /// Keeps a clip that was made; whoever plays one that makes room for it goes on undisturbed.
    pub fn put(&mut self, wanted: Wanted, version: u64, clip: &Arc<Clip>) {
        self.stats.made += 1;
        self.remove(&wanted);
        if clip.size() > self.most {
            return;
        }
        while self.stats.octets as usize + clip.size() > self.most {
            let Some(oldest) = self.clips.iter().min_by_key(|(_, kept)| kept.used).map(|(it, _)| it.clone())
            else {
                break;
            };
            self.remove(&oldest);
            self.stats.evicted += 1;
        }
        self.stats.octets += clip.size() as u64;
        self.clips.insert(wanted, Kept { version, used: self.turn, clip: Arc::clone(clip) });
    }

    fn remove(&mut self, wanted: &Wanted) {
        if let Some(kept) = self.clips.remove(wanted) {
            self.stats.octets -= kept.clip.size() as u64;
        }
    }

    /// What it counted.
    pub const fn stats(&self) -> ShelfStats {
        self.stats
    }
}
