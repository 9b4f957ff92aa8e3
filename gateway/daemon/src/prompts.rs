//! The thread that reads prompts: a shard asks it for files, and it answers with packets ready to be sent.
//!
//! It alone touches the disk for them. What it made it keeps while there is room, for all shards.

use crate::config::{ConfigError, Media};
use core::sync::atomic::{AtomicU64, Ordering};
use driver::mailbox::{Receiver, Sender, mailbox};
use link::Figure;
use media::prompt::{Clip, Shelf, ShelfStats, Sound, Wanted};
use rustix::event::{PollFd, PollFlags, poll};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::UNIX_EPOCH;
use switch::{Mail, PromptAsked};

/// Questions waiting at most; the order to play that stands behind one beyond it fails.
const QUESTIONS: usize = 1024;
/// Longest file that is read, in octets.
const FILE_MAX: u64 = media::prompt::FILE_MAX;

/// The file of music on hold: below the folder of prompts if it is relative and there is one.
pub(crate) fn hold_music(media: &Media) -> Option<PathBuf> {
    let file = media.hold_music.as_ref()?;
    Some(media.prompts.as_ref().map_or_else(|| file.clone(), |folder| folder.join(file)))
}

/// Looks whether what is configured can be played.
pub(crate) fn check(
    folder: Option<&Path>,
    music: Option<&Path>,
    at: &dyn Fn(&str) -> String,
) -> Result<(), ConfigError> {
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        let error = format!("{}: there is no such folder; make it, or leave the key out", folder.display());
        return Err(ConfigError::new(at("media.prompts"), error));
    }
    match music.map(sound) {
        Some(Err(error)) => Err(ConfigError::new(at("media.hold_music"), error)),
        _ => Ok(()),
    }
}

/// Reads a file; the error names it and the cure.
#[expect(clippy::disallowed_methods, reason = "this thread is where prompts are read")]
fn sound(path: &Path) -> Result<Sound, String> {
    let fail = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let unread = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => fail(&"there is no such file; put it there, or name another"),
        _ => fail(&format!("cannot be read: {error}")),
    };
    let file = std::fs::File::open(path).map_err(unread)?;
    let about = file.metadata().map_err(unread)?;
    if !about.is_file() {
        return Err(fail(&"it is no file; name a WAV file"));
    }
    let mut bytes = Vec::new();
    file.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(unread)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(fail(&format!("it is larger than {} MiB; shorten it", FILE_MAX >> 20)));
    }
    Sound::parse(&bytes).map_err(|error| fail(&error))
}

/// A number that changes when a file does.
fn version(path: &Path) -> Option<u64> {
    let about = std::fs::metadata(path).ok()?;
    let written = about.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some((written.as_nanos() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ about.len())
}

/// The thread. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Prompts {
    sender: Sender<Mail>,
    thread: Option<JoinHandle<()>>,
    counts: Arc<Counts>,
}

/// What its shelf counts, for the report of a shard.
#[derive(Debug, Default)]
pub(crate) struct Counts([AtomicU64; 4]);

impl Counts {
    fn set(&self, stats: ShelfStats) {
        for (count, value) in self.0.iter().zip([stats.hits, stats.made, stats.evicted, stats.octets]) {
            count.store(value, Ordering::Relaxed);
        }
    }

    /// As figures.
    pub(crate) fn figures(&self, figures: &mut Vec<Figure>) {
        let [hits, made, evicted, octets] = self.0.each_ref().map(|it| it.load(Ordering::Relaxed));
        figures.extend([
            Figure::counter(
                "prompt_cache_hits_total",
                "Prompts that were ready when they were wanted.",
                hits,
            ),
            Figure::counter("prompt_cache_made_total", "Prompts read and encoded.", made),
            Figure::counter(
                "prompt_cache_evicted_total",
                "Prompts forgotten to make room for others.",
                evicted,
            ),
            Figure::gauge("prompt_cache_bytes", "Memory of the prompts that are ready.", octets),
        ]);
    }
}

impl Prompts {
    /// Starts it: it answers the shards at `shards` and keeps `room` octets.
    pub(crate) fn start(shards: Vec<Sender<Mail>>, room: usize) -> std::io::Result<Self> {
        let (sender, inbox) = mailbox(QUESTIONS)?;
        let counts = Arc::<Counts>::default();
        let shown = counts.clone();
        let thread = driver::spawn("prompts", None, move || serve(inbox, &shards, Shelf::new(room), &shown))?;
        Ok(Self { sender, thread: Some(thread), counts })
    }

    /// Its mailbox.
    pub(crate) fn sender(&self) -> Sender<Mail> {
        self.sender.clone()
    }

    /// What it counts.
    pub(crate) fn counts(&self) -> Arc<Counts> {
        self.counts.clone()
    }
}

impl Drop for Prompts {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        // Full of questions it is awake, and has read some of them in a moment.
        while self.sender.send(Mail::Quit).is_err() && !thread.is_finished() {
            std::thread::yield_now();
        }
        let _ = thread.join();
    }
}

fn serve(mut inbox: Receiver<Mail>, shards: &[Sender<Mail>], mut shelf: Shelf, counts: &Counts) {
    loop {
        while let Some(mail) = inbox.try_recv() {
            match mail {
                Mail::PromptAsked(asked) => {
                    let clips = clips(&asked, &mut shelf);
                    counts.set(shelf.stats());
                    if let Some(shard) = shards.get(usize::from(asked.shard)) {
                        // A shard that takes no mail has a timer for this.
                        let _ = shard.send(Mail::PromptCame { play: asked.play, clips });
                    }
                }
                Mail::Quit => return,
                _ => {}
            }
        }
        if inbox.arm() {
            // An interrupted wait is as good as none.
            let _ = poll(&mut [PollFd::new(&inbox, PollFlags::IN)], None);
        }
        inbox.disarm();
    }
}

fn clips(asked: &PromptAsked, shelf: &mut Shelf) -> Result<Vec<Arc<Clip>>, String> {
    // Files that are played one after the other over and over have no seam of their own.
    let repeated = asked.repeated && asked.files.len() == 1;
    asked
        .files
        .iter()
        .map(|path| {
            let wanted = Wanted::new(&path.display().to_string(), asked.codec, asked.ptime, repeated);
            let version = version(path);
            if let Some(clip) = version.and_then(|version| shelf.get(&wanted, version)) {
                return Ok(clip);
            }
            let clip = Arc::new(Clip::new(&sound(path)?, asked.codec, asked.ptime, repeated));
            if let Some(version) = version {
                shelf.put(wanted, version, &clip);
            }
            Ok(clip)
        })
        .collect()
}
