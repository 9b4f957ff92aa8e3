//! The jitter buffer of one stream: packets in whatever order they come, and for each moment what is to be heard.
//!
//! Media time runs in ticks of the payload's clock; the *offset* of a sample is how long after the fastest packet's transit it is
//! heard. All packets played in a row have the same offset. [`Delays`] says what it should be; the buffer goes there where it is
//! not heard: at the beginning of a talk spurt it simply waits longer or less, within speech it asks for periods to be put in or taken out.
//!
//! What is missing when its time has come is concealed and given up as soon as something later is played; if nothing later
//! is there, what comes late is played late, and the offset grows by as much: after a spike nothing is thrown away that
//! can still be heard within the bounds. Beyond them the oldest is given up.

use super::slots::{Slot, Slots};
use super::{Bounds, Delays};
use crate::Header;
use core::time::Duration;
use sansio::Time;

/// A step forward from here on, and backward from there on, is a jump (RFC 3550 A.1 MAX_DROPOUT and MAX_MISORDER).
const MAX_DROPOUT: u16 = 3000;
const MAX_MISORDER: u16 = 100;
const SECOND: i64 = 1_000_000_000;
const MS: i64 = 1_000_000;
/// A transit time this much shorter than the base, or this much longer, is another time base.
const SOONER: i64 = SECOND;
const LATER: i64 = 5 * SECOND;
/// Speech is made shorter if so much can go, longer by so much at least; and how far from the target nothing is done.
const TOO_LONG: i64 = 5 * MS;
const LEAST: i64 = 5 * MS;
const GUARD: i64 = 2 * MS;
/// Time between two changes of speech, unless it is this far off.
const PACE: i64 = 60 * MS;
const FAR: i64 = 60 * MS;
/// Places in a tick at which packets may begin that are waited for.
const PLACES: u32 = 16;
/// How far beyond the most an offset is let go before packets are given up.
const BEYOND: i64 = 20 * MS;
/// Concealment that lasts longer is silence.
const OUTAGE: i64 = 200 * MS;
/// So many packets in a row too late to be played, with nothing played between: the base is theirs.
const HOPELESS: u8 = 8;

/// How a buffer is to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// Ticks a second of the RTP timestamp, 1000 to 192 000; brought into that range.
    pub clock: u32,
    /// What the delay may be, and how many packets shall keep it.
    pub bounds: Bounds,
    /// Packets that may wait, 8 to 1024; rounded up to a power of two.
    pub slots: u16,
    /// Octets of the largest payload.
    pub octets: u16,
}

impl Config {
    /// For telephony: 20 to 200 ms, beginning with 60 ms, 98 packets of a hundred in time, 64 packets of `octets` at most.
    pub const fn telephony(clock: u32, octets: u16) -> Self {
        let bounds = Bounds {
            min: Duration::from_millis(20),
            max: Duration::from_millis(200),
            start: Duration::from_millis(60),
            quantile: 0.98,
        };
        Self { clock, bounds, slots: 64, octets }
    }
}

/// What a payload is to the buffer. Who knows the codec knows this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Sound of so many ticks. `then_silent` if it ends with a description of silence, after which nothing need be sent (G.729 Annex B).
    Audio {
        /// How much media time the payload covers.
        ticks: u32,
        /// Whether silence is to be expected after it.
        then_silent: bool,
    },
    /// Comfort noise (RFC 3389): silence from its time on.
    Noise,
    /// What is in the stream's numbering and is not played: telephone events (RFC 4733).
    Other,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It waits.
    Kept,
    /// Its time is over: it was concealed.
    Late,
    /// It came before.
    Duplicate,
    /// Its payload is larger than a slot.
    Overflow,
    /// Its sequence number or timestamp is far from all others; another one like it makes a new beginning.
    Jump,
}

/// What happened to packets, and what was heard. `packets` is the sum of `played`, `events`, `late`, `duplicates`, `overflow`, `early`,
/// `skipped`, `flushed`, `jumps` and what waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets that came.
    pub packets: u64,
    /// Played, comfort noise among them.
    pub played: u64,
    /// Passed over, being no sound.
    pub events: u64,
    /// Came after something later had been played.
    pub late: u64,
    /// Came again.
    pub duplicates: u64,
    /// Were larger than a slot.
    pub overflow: u64,
    /// Given up while they waited, because one came so far ahead that it needed their slots.
    pub early: u64,
    /// Given up while they waited, because playing them would have meant more delay than is allowed.
    pub skipped: u64,
    /// Given up while they waited, because the source began anew.
    pub flushed: u64,
    /// Far from all others.
    pub jumps: u64,
    /// Not there when their time had come: late ones and those that never come.
    pub lost: u64,
    /// Played later than they should have been, with nothing in between.
    pub delayed: u64,
    /// Times that nothing was there to play.
    pub underruns: u64,
    /// New synchronisation sources.
    pub ssrc_changes: u64,
    /// New sequences or time bases of the same source.
    pub restarts: u64,
    /// Beginnings of talk spurts, at which the delay was chosen freely.
    pub spurts: u64,
    /// Ticks concealed.
    pub concealed: u64,
    /// Ticks of comfort noise.
    pub noise: u64,
    /// Times that speech was to be made shorter.
    pub shrinks: u64,
    /// Times that speech was to be made longer.
    pub stretches: u64,
    /// The sum of the offsets of all packets played, in microseconds.
    pub offset_micros: u64,
}

/// What changes the length of a packet's speech.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adjust {
    /// Nothing.
    Keep,
    /// So many ticks at most should go.
    Shrink(u32),
    /// So many ticks at most should come.
    Stretch(u32),
}

/// What is to be heard next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Nothing: nothing has been heard yet, or nothing for long. So many ticks.
    Silence(u32),
    /// The remote is silent on purpose: comfort noise as described last, if it was. So many ticks.
    Noise(u32),
    /// What should be heard is not there. So many ticks.
    Conceal(u32),
    /// A description of noise (RFC 3389), which takes no time.
    Describe(&'a [u8]),
    /// A packet.
    Play {
        /// Its payload.
        payload: &'a [u8],
        /// Its header.
        header: Header,
        /// How its length should change.
        adjust: Adjust,
        /// Whether something was left out before it, so that it does not go on where the last one ended.
        seam: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Not begun: the first packet waits for the others.
    Filling,
    Speaking,
    /// Nothing was there.
    Missing,
    /// Silent on purpose.
    Quiet,
}

/// What is known of the present source and time base.
#[derive(Clone, Debug)]
struct Stream {
    ssrc: u32,
    /// The highest sequence number, extended, and a media time with its timestamp.
    highest: u64,
    at: i64,
    timestamp: u32,
    /// The lowest sequence number neither played nor given up.
    next: u64,
    /// Bit `n`: `next - 1 - n` came.
    came: u128,
    /// Media time of the next sample that is made.
    cursor: i64,
    phase: Phase,
    /// What would follow a jump in sequence, and the transit of a jump in time.
    after_jump: Option<u16>,
    odd_transit: Option<i64>,
    /// Where the last sound ended.
    ended: i64,
    /// The cursor at the last change of speech, and what was seen since.
    adjusted: i64,
    low: Option<Low>,
    /// Ticks concealed in a row.
    missed: i64,
    hopeless: u8,
    /// Whether an event came after the last sound.
    event: bool,
}

/// The packet that came nearest to being too late: how long before it was needed the fastest would have come, and what was queued. And how many
/// packets were looked at.
#[derive(Clone, Copy, Debug)]
struct Low {
    lead: i64,
    queue: i64,
    seen: u32,
}

/// The jitter buffer of one stream. See the module's page.
#[derive(Clone, Debug)]
pub struct Buffer {
    clock: i64,
    longest: i64,
    slots: Slots,
    delays: Delays,
    stream: Option<Stream>,
    counts: Counts,
}

impl Buffer {
    /// An empty buffer. Allocates here and never again.
    pub fn new(config: &Config) -> Self {
        let slots = usize::from(config.slots.clamp(8, 1024)).next_power_of_two();
        let longest = config.bounds.max.max(config.bounds.min).min(Duration::from_secs(60));
        Self {
            clock: i64::from(config.clock.clamp(1000, 192_000)),
            longest: longest.as_nanos() as i64, // at most a minute
            slots: Slots::new(slots, usize::from(config.octets)),
            delays: Delays::new(config.bounds),
            stream: None,
            counts: Counts::default(),
        }
    }

    /// Takes a packet that came at `arrival`.
    pub fn put(&mut self, arrival: Time, header: &Header, content: Content, payload: &[u8]) -> Put {
        self.counts.packets += 1;
        if payload.len() > self.slots.room() {
            self.counts.overflow += 1;
            return Put::Overflow;
        }
        let now = nanos_of(arrival);
        match &self.stream {
            Some(stream) if stream.ssrc == header.ssrc => {}
            Some(_) => {
                self.counts.ssrc_changes += 1;
                self.begin(header);
            }
            None => self.begin(header),
        }
        let Some(place) = self.place(now, header, content) else {
            self.counts.jumps += 1;
            return Put::Jump;
        };
        let (sequence, at, transit) = place;
        let waiting = self.slots.count() as u64;
        let Some(stream) = &mut self.stream else { return Put::Jump };
        if sequence < stream.next {
            let back = stream.next - 1 - sequence;
            if stream.phase == Phase::Filling && stream.highest - sequence < waiting {
                stream.next = sequence;
            } else {
                if back < 128 {
                    if stream.came >> back & 1 == 1 {
                        self.counts.duplicates += 1;
                        return Put::Duplicate;
                    }
                    stream.came |= 1 << back;
                }
                self.counts.late += 1;
                if content != Content::Other {
                    self.delays.record(now, transit);
                }
                return Put::Late;
            }
        }
        if self.slots.get(sequence).is_some() {
            self.counts.duplicates += 1;
            return Put::Duplicate;
        }
        if sequence >= stream.next + waiting {
            let kept = self.slots.used();
            self.give_up(sequence - waiting + 1);
            self.counts.early += (kept - self.slots.used()) as u64;
        }
        // RFC 4733 §2.2.1: all packets of an event carry the timestamp of its beginning.
        if content != Content::Other {
            self.delays.record(now, transit);
        }
        self.slots.put(Slot::new(sequence, at, transit, content, *header), payload);
        if let Some(stream) = &mut self.stream
            && sequence >= stream.highest
        {
            stream.highest = sequence;
            if content != Content::Other {
                (stream.at, stream.timestamp) = (at, header.timestamp);
            }
        }
        Put::Kept
    }

    /// What is to be heard next: the consumer holds `queued` ticks that it has made and not played, and needs `need` more
    /// (at least one is given). Ask again until nothing is needed.
    pub fn take(&mut self, now: Time, queued: u32, need: u32) -> Step<'_> {
        let need = need.max(1);
        // Each turn but the last gives up a packet.
        for _ in 0..=self.slots.count() {
            match self.decide(now, queued, need) {
                Decision::Again => {}
                Decision::Wait(ticks) => return self.wait(ticks),
                Decision::Play { sequence, adjust, seam } => return self.play(sequence, adjust, seam),
            }
        }
        self.wait(need)
    }

    /// What happened so far.
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The delay aimed at.
    pub const fn target(&self) -> Duration {
        Duration::from_nanos(self.delays.target().unsigned_abs())
    }

    /// How much later than the fastest packet comes the next sample would be heard if it were now; `None` before the first.
    pub fn offset(&self, now: Time, queued: u32) -> Option<Duration> {
        let stream = self.stream.as_ref().filter(|stream| stream.phase != Phase::Filling)?;
        let offset = self.lead(stream.cursor, nanos_of(now)) + nanos(i64::from(queued), self.clock);
        Some(Duration::from_nanos(offset.max(0).unsigned_abs()))
    }

    /// Millionths by which the remote's clock is faster than ours; `None` until it is known.
    pub fn skew(&self) -> Option<f64> {
        self.delays.skew()
    }

    /// Packets that wait.
    pub const fn waiting(&self) -> usize {
        self.slots.used()
    }

    /// Forgets the source: the next packet begins anew (hold, a new answer).
    pub fn reset(&mut self) {
        self.counts.flushed += self.slots.clear() as u64;
        if self.stream.take().is_some() {
            self.delays.restart();
        }
    }

    /// A new source or time base begins with this packet.
    fn begin(&mut self, header: &Header) {
        self.counts.flushed += self.slots.clear() as u64;
        if self.stream.is_some() {
            self.delays.restart();
        }
        let first = 1 << 32 | u64::from(header.sequence);
        self.stream = Some(Stream {
            ssrc: header.ssrc,
            highest: first,
            at: 0,
            timestamp: header.timestamp,
            next: first,
            came: 0,
            cursor: 0,
            phase: Phase::Filling,
            after_jump: None,
            odd_transit: None,
            ended: 0,
            adjusted: 0,
            low: None,
            missed: 0,
            hopeless: 0,
            event: false,
        });
    }

    /// Extended sequence number, media time and transit; `None` for what is far from all others. May begin anew.
    fn place(&mut self, now: i64, header: &Header, content: Content) -> Option<(u64, i64, i64)> {
        let stream = self.stream.as_mut()?;
        let ahead = header.sequence.wrapping_sub(stream.highest as u16);
        if ahead >= MAX_DROPOUT && ahead <= 0u16.wrapping_sub(MAX_MISORDER) {
            // RFC 3550 A.1: two in a row are a source that began anew.
            if stream.after_jump != Some(header.sequence) {
                stream.after_jump = Some(header.sequence.wrapping_add(1));
                return None;
            }
            return Some(self.begin_again(now, header));
        }
        let steps = i64::from(ahead.cast_signed());
        let sequence = stream.highest.saturating_add_signed(steps);
        let at = stream.at + i64::from(header.timestamp.wrapping_sub(stream.timestamp).cast_signed());
        let transit = now - nanos(at, self.clock);
        let first = stream.phase == Phase::Filling && self.slots.used() == 0;
        if content != Content::Other && !first {
            let relative = transit - self.delays.base();
            if !(-SOONER..=LATER).contains(&relative) {
                let odd = stream.odd_transit.replace(transit);
                if odd.is_none_or(|odd| (odd - transit).abs() > SECOND / 2) {
                    return None;
                }
                return Some(self.begin_again(now, header));
            }
            stream.odd_transit = None;
        }
        Some((sequence, at, transit))
    }

    fn begin_again(&mut self, now: i64, header: &Header) -> (u64, i64, i64) {
        self.counts.restarts += 1;
        self.begin(header);
        (1 << 32 | u64::from(header.sequence), 0, now)
    }

    /// How long ago the fastest packet of media time `at` would have come.
    const fn lead(&self, at: i64, now: i64) -> i64 {
        now - nanos(at, self.clock) - self.delays.base()
    }

    fn ticks(&self, nanos: i64) -> i64 {
        // At most a minute.
        nanos.clamp(-60 * SECOND, 60 * SECOND) * self.clock / SECOND
    }

    /// The packet that waits and is the first to be played. What is no sound before it is passed over.
    fn first(&mut self) -> Option<Slot> {
        let stream = self.stream.as_mut()?;
        if self.slots.used() == 0 {
            return None;
        }
        let mut sequence = stream.next;
        while sequence <= stream.highest {
            match self.slots.get(sequence) {
                Some(slot) if slot.content != Content::Other => return Some(*slot),
                Some(_) if sequence == stream.next => {
                    self.slots.free(sequence);
                    self.counts.events += 1;
                    stream.next += 1;
                    stream.came = stream.came << 1 | 1;
                    stream.event = true;
                }
                _ => {}
            }
            sequence += 1;
        }
        None
    }

    fn decide(&mut self, now: Time, queued: u32, need: u32) -> Decision {
        let now = nanos_of(now);
        let Some(slot) = self.first() else { return Decision::Wait(need) };
        let queue = nanos(i64::from(queued), self.clock);
        let (target, lead) = (self.delays.target(), self.lead(slot.at, now));
        if lead + queue > self.longest + BEYOND {
            return self.skip(&slot, now, queue);
        }
        let Some(stream) = &mut self.stream else { return Decision::Wait(need) };
        let gap = slot.at - stream.cursor;
        let in_sequence = slot.sequence == stream.next;
        let missing = stream.phase == Phase::Missing;
        let spurt = match stream.phase {
            Phase::Filling | Phase::Quiet => true,
            Phase::Speaking | Phase::Missing => slot.at > stream.ended && (in_sequence || slot.header.marker),
        };
        // A whole tick, after which nothing is queued: where in a tick a packet begins decides how early it is needed.
        if spurt && lead < target {
            return Decision::Wait(need);
        }
        if !spurt && !in_sequence && gap > 0 {
            return Decision::Wait(u32::try_from(gap).unwrap_or(need).min(need));
        }
        let mut adjust = Adjust::Keep;
        match slot.content {
            Content::Audio { ticks, .. } if !spurt && !missing => {
                let tick = queued.saturating_add(need);
                let step = common(ticks, tick);
                let low = stream.low.get_or_insert(Low { lead, queue, seen: 0 });
                low.seen += 1;
                if lead < low.lead {
                    (low.lead, low.queue) = (lead, queue);
                }
                // All places in a tick at which a packet may begin have been seen.
                let whole = low.seen >= (tick / step).min(PLACES);
                let paced = nanos(stream.cursor - stream.adjusted, self.clock) >= PACE;
                if whole && paced || (lead - target).abs() >= FAR {
                    let nanos = |ticks: u32| nanos(i64::from(ticks), self.clock);
                    adjust = self.adjust(nanos(step), nanos(tick - step));
                }
            }
            _ => stream.low = None,
        }
        self.counts.spurts += u64::from(spurt && slot.content != Content::Noise);
        self.counts.delayed += u64::from(!spurt && gap < 0 && missing);
        self.counts.offset_micros += (lead + queue).max(0).unsigned_abs() / 1000;
        Decision::Play { sequence: slot.sequence, adjust, seam: false }
    }

    /// How speech should change. A packet has to be there when the tick that it begins in is asked for, which is the queue's length before it
    /// is heard. Where packets begin in ticks repeats in steps of their common divisor; the last of these places is the one that needs
    /// its packet earliest, `last` and a rest less than a step after the tick's beginning. So what can go without a packet being needed
    /// earlier is that rest, and whole steps as far as there is room to the target; what has to come are whole steps less the rest.
    fn adjust(&mut self, step: i64, last: i64) -> Adjust {
        let target = self.delays.target();
        let Some(stream) = &mut self.stream else { return Adjust::Keep };
        let Some(low) = stream.low.take() else { return Adjust::Keep };
        stream.adjusted = stream.cursor;
        let (spare, step) = (low.lead - target, step.max(1));
        let rest = (low.queue - last).max(0);
        if spare < -GUARD {
            let most = ((-spare + step - 1) / step * step - rest).max(LEAST);
            self.counts.stretches += 1;
            return Adjust::Stretch(u32::try_from(self.ticks(most)).unwrap_or(0));
        }
        let most = rest + (spare - GUARD).max(0) / step * step - GUARD;
        if most < TOO_LONG {
            return Adjust::Keep;
        }
        self.counts.shrinks += 1;
        Adjust::Shrink(u32::try_from(self.ticks(most)).unwrap_or(0))
    }

    /// The first packet would be heard too late. The next that would be heard by the target is played instead, or
    /// else the last that is within the bounds.
    fn skip(&mut self, first: &Slot, now: i64, queue: i64) -> Decision {
        let target = self.delays.target();
        let Some(stream) = &self.stream else { return Decision::Again };
        let mut chosen = None;
        for sequence in first.sequence + 1..=stream.highest {
            let Some(slot) = self.slots.get(sequence).filter(|slot| slot.content != Content::Other) else {
                continue;
            };
            let lead = self.lead(slot.at, now);
            if lead + queue <= self.longest + BEYOND && (chosen.is_none() || lead >= target) {
                chosen = Some((sequence, lead + queue));
            }
            if lead <= target {
                break;
            }
        }
        let kept = self.slots.used() as u64;
        if let Some((sequence, offset)) = chosen {
            self.give_up(sequence);
            self.counts.skipped += kept - self.slots.used() as u64;
            self.counts.offset_micros += offset.max(0).unsigned_abs() / 1000;
            return Decision::Play { sequence, adjust: Adjust::Keep, seam: true };
        }
        let transit = first.transit;
        self.give_up(first.sequence + 1);
        self.counts.skipped += kept - self.slots.used() as u64;
        if let Some(stream) = &mut self.stream {
            stream.hopeless += 1;
            if stream.hopeless >= HOPELESS {
                stream.hopeless = 0;
                self.delays.restart();
                self.delays.record(now, transit);
                self.counts.restarts += 1;
            }
        }
        Decision::Again
    }

    /// All before `next` that waits is given up.
    fn give_up(&mut self, next: u64) {
        let Some(stream) = &mut self.stream else { return };
        // What lies farther back than there are slots does not wait.
        let from = stream.next.max(next.saturating_sub(self.slots.count() as u64 + u64::from(MAX_DROPOUT)));
        for sequence in from..next {
            let came = self.slots.free(sequence);
            stream.came = stream.came << 1 | u128::from(came);
            self.counts.lost += u64::from(!came);
        }
        stream.next = stream.next.max(next);
    }

    /// Nothing is played for so long.
    fn wait(&mut self, ticks: u32) -> Step<'_> {
        let Some(stream) = &mut self.stream else { return Step::Silence(ticks) };
        if stream.phase == Phase::Filling {
            return Step::Silence(ticks);
        }
        stream.cursor += i64::from(ticks);
        // Whoever sends events need not send sound (RFC 4733 §2.5.1.2).
        if stream.phase == Phase::Speaking && stream.event {
            stream.phase = Phase::Quiet;
        }
        if stream.phase == Phase::Quiet {
            self.counts.noise += u64::from(ticks);
            return Step::Noise(ticks);
        }
        if stream.phase == Phase::Speaking {
            stream.phase = Phase::Missing;
            stream.missed = 0;
            self.counts.underruns += u64::from(self.slots.used() == 0);
        }
        stream.missed += i64::from(ticks);
        if nanos(stream.missed, self.clock) > OUTAGE {
            return Step::Silence(ticks);
        }
        self.counts.concealed += u64::from(ticks);
        Step::Conceal(ticks)
    }

    fn play(&mut self, sequence: u64, adjust: Adjust, seam: bool) -> Step<'_> {
        // Before the first sound there may be events.
        let kept = self.slots.used() as u64;
        self.give_up(sequence);
        self.counts.events += kept - self.slots.used() as u64;
        let slot = self.slots.get(sequence).copied();
        if let (Some(stream), Some(slot)) = (&mut self.stream, slot) {
            self.slots.free(sequence);
            stream.next = sequence + 1;
            stream.came = stream.came << 1 | 1;
            (stream.missed, stream.hopeless, stream.event) = (0, 0, false);
            self.counts.played += 1;
            match slot.content {
                Content::Audio { ticks, then_silent } => {
                    stream.phase = if then_silent { Phase::Quiet } else { Phase::Speaking };
                    stream.cursor = slot.at + i64::from(ticks);
                    stream.ended = stream.cursor;
                    let payload = self.slots.payload(sequence);
                    return Step::Play { payload, header: slot.header, adjust, seam };
                }
                Content::Noise | Content::Other => {
                    stream.phase = Phase::Quiet;
                    (stream.cursor, stream.ended) = (slot.at, slot.at);
                    return Step::Describe(self.slots.payload(sequence));
                }
            }
        }
        Step::Silence(1)
    }
}

enum Decision {
    /// A packet was given up: look again.
    Again,
    /// Nothing for so many ticks.
    Wait(u32),
    Play {
        sequence: u64,
        adjust: Adjust,
        seam: bool,
    },
}

/// The greatest common divisor; at least 1.
const fn common(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    if a == 0 { 1 } else { a }
}

/// Ticks as nanoseconds.
const fn nanos(ticks: i64, clock: i64) -> i64 {
    // Apart, so that no product is too large.
    (ticks / clock).saturating_mul(SECOND) + ticks % clock * SECOND / clock
}

/// A time as a number that differences can be taken of.
const fn nanos_of(time: Time) -> i64 {
    // Three hundred years, less what media time can add.
    let nanos = time.as_nanos();
    if nanos > i64::MAX as u64 / 4 { i64::MAX / 4 } else { nanos as i64 }
}
