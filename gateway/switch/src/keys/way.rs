//! The keys of one direction of a call: what is heard of them, and how they go on.
//!
//! Keys come as telephone events and tones in the packets that pass, and from INFO. They go on as INFO, or as packets of the
//! gateway's own, one each 20 ms, in the place of the sound that comes meanwhile. How long a key lasts goes through; one that is still held
//! goes on while it is.

use super::ear::Ear;
use super::mode::{Form, Plan};
use super::numbering::Numbering;
use super::voice::{PACKET_MS, Voice};
use core::time::Duration;
use media::dtmf::{Heard, Key};
use rtp::event::{Listener, Report, Transmission};
use rtp::{Header, Packet};
use sansio::Time;
use std::collections::VecDeque;

/// Keys that wait to be said; one more is dropped. As many as a calling card has twice over.
pub(crate) const QUEUE_MAX: usize = 64;
/// A key of which nothing is heard for so long was let go.
const PATIENCE: Duration = Duration::from_millis(200);
/// How long sound is waited for, whose numbers a key's packets take, before a stream of their own begins.
const WAIT: Duration = Duration::from_millis(60);
/// How loud a key is said of which that is not known: -10 dBm0, as phones do.
const VOLUME: u8 = 10;
/// Shortest key that is said: what every receiver takes (ITU-T Q.24).
const LEAST: Duration = Duration::from_millis(50);
/// The longest payload of a tone: 20 ms of linear samples at 48 kHz.
const PAYLOAD_MAX: usize = 1920;
/// Behind by so much, packets are no longer made up for.
const BEHIND: Duration = Duration::from_millis(100);

/// What became of keys in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeysAccount {
    /// Keys that came as telephone events and went on otherwise.
    pub from_events: u64,
    /// Keys that came in INFO and went on otherwise.
    pub from_info: u64,
    /// Keys that came as tones and went on otherwise.
    pub from_tones: u64,
    /// Keys said as telephone events.
    pub to_events: u64,
    /// Keys said in INFO.
    pub to_info: u64,
    /// Keys said as tones.
    pub to_tones: u64,
    /// Keys dropped: too many waited, or the other side has no word for them.
    pub dropped: u64,
    /// Packets of sound in whose place a key was said, or which held one.
    pub covered: u64,
}

impl KeysAccount {
    /// Adds another one.
    pub(crate) const fn add(&mut self, other: &Self) {
        self.from_events += other.from_events;
        self.from_info += other.from_info;
        self.from_tones += other.from_tones;
        self.to_events += other.to_events;
        self.to_info += other.to_info;
        self.to_tones += other.to_tones;
        self.dropped += other.dropped;
        self.covered += other.covered;
    }
}

/// A key to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Press {
    event: u8,
    volume: u8,
    /// How long; none while it is held.
    length: Option<Duration>,
}

#[derive(Debug)]
enum Saying {
    Events(Transmission, u8),
    Tones(Box<Voice>, u32),
}

/// One direction of a call in which keys are translated.
#[derive(Debug)]
pub(crate) struct Way {
    plan: Plan,
    /// Ticks a second of what goes out.
    clock: u32,
    numbering: Numbering,
    listener: Option<Listener>,
    ear: Option<Ear>,
    /// The key that is heard as a tone, and when its stream was heard last.
    tone: Option<Time>,
    queue: VecDeque<Press>,
    saying: Option<Saying>,
    /// When the next packet is due.
    next: Option<Time>,
    pub(crate) account: KeysAccount,
}

impl Way {
    /// By this plan; `seed` is what a stream is numbered from that has no packets but the gateway's.
    pub(crate) fn new(plan: Plan, seed: u32) -> Self {
        let clock = plan.spoken.first().map_or(8000, |(_, codec)| codec.clock_rate());
        let heard = plan.heard.first().map_or(8000, |(_, codec)| codec.clock_rate());
        Self {
            clock,
            numbering: Numbering::new(clock, seed),
            listener: plan.events.is_some().then(|| Listener::new(heard, PATIENCE)),
            ear: plan.tones.then(|| Ear::new(&plan.heard)),
            tone: None,
            queue: VecDeque::with_capacity(QUEUE_MAX),
            saying: None,
            next: None,
            account: KeysAccount::default(),
            plan,
        }
    }

    /// By which plan.
    pub(crate) const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Whether a packet is a key's own, which goes on in another form or not at all.
    fn is_event(&self, payload_type: u8) -> bool {
        self.plan.events.is_some_and(|(one, other)| payload_type == one || payload_type == other)
    }

    /// Takes a packet that came; what passes of it, if anything does, is written to `room`: its octets.
    pub(crate) fn take(&mut self, now: Time, packet: &Packet<'_>, room: &mut [u8]) -> Option<usize> {
        let header = *packet.header();
        let is_new = self.numbering.note(&header);
        if self.is_event(header.payload_type) {
            self.hear_event(now, &header, packet.payload());
            if is_new {
                self.numbering.take_out();
            }
            return None;
        }
        // In 120 ms a key can begin or end five times at most.
        let mut heard = [None; 5];
        let mut places = heard.iter_mut();
        let silence = self.ear.as_mut().filter(|_| is_new).and_then(|ear| {
            ear.hear(packet, room, |it| {
                if let Some(place) = places.next() {
                    *place = Some(it);
                }
            })
        });
        self.tone = self.tone.map(|_| now);
        for it in heard.into_iter().flatten() {
            match it {
                Heard::Began(key) => {
                    self.tone = Some(now);
                    self.account.from_tones += 1;
                    Self::begin(&self.plan, &mut self.queue, &mut self.account, key.event(), VOLUME);
                }
                Heard::Ended { ms, .. } => {
                    self.tone = None;
                    let length = Duration::from_millis(ms.into());
                    Self::end(&mut self.queue, &mut self.saying, self.clock, length);
                }
            }
        }
        self.hasten(now);
        self.account.covered += u64::from(silence.is_some() || self.saying.is_some());
        if self.saying.is_some() {
            if is_new {
                self.numbering.take_out();
            }
            return None;
        }
        silence.or_else(|| {
            let payload = packet.payload();
            room.get_mut(..payload.len())?.copy_from_slice(payload);
            Some(payload.len())
        })
    }

    /// Whether a key is being said: a packet that would go out now is not sent, and has no number.
    pub(crate) const fn covers(&mut self) -> bool {
        if self.saying.is_some() {
            self.numbering.take_out();
        }
        self.saying.is_some()
    }

    /// The header under which a packet goes on; `None` if its number is another's.
    pub(crate) fn pass(&mut self, now: Time, header: Header) -> Option<Header> {
        self.numbering.pass(now, header)
    }

    fn hear_event(&mut self, now: Time, header: &Header, payload: &[u8]) {
        let Some(mut listener) = self.listener.take() else { return };
        listener.put(now, header, payload, |report| self.hear_report(report));
        self.listener = Some(listener);
        self.hasten(now);
    }

    /// A key that waits is said now: there is a stream whose numbers it takes.
    fn hasten(&mut self, now: Time) {
        if self.saying.is_none() && !self.queue.is_empty() && !self.says_info() {
            self.next = Some(now);
        }
    }

    const fn says_info(&self) -> bool {
        matches!(self.plan.form, Form::Info { .. })
    }

    fn hear_report(&mut self, report: Report) {
        match report {
            Report::Began { event, volume } => {
                self.account.from_events += 1;
                Self::begin(&self.plan, &mut self.queue, &mut self.account, event, volume);
            }
            Report::Ended { duration, .. } => {
                Self::end(&mut self.queue, &mut self.saying, self.clock, duration);
            }
        }
    }

    /// A key was pressed that is held.
    fn begin(plan: &Plan, queue: &mut VecDeque<Press>, account: &mut KeysAccount, event: u8, volume: u8) {
        Self::push(plan, queue, account, Press { event, volume, length: None });
    }

    fn push(plan: &Plan, queue: &mut VecDeque<Press>, account: &mut KeysAccount, press: Press) -> bool {
        let sayable = match plan.form {
            Form::Tones => Key::of_event(press.event).is_some() && !plan.spoken.is_empty(),
            Form::Events(_) | Form::Info { .. } => press.event <= rtp::event::FLASH,
        };
        if !sayable || queue.len() >= QUEUE_MAX {
            account.dropped += 1;
            return false;
        }
        queue.push_back(press);
        true
    }

    /// The key that was held was let go.
    fn end(queue: &mut VecDeque<Press>, saying: &mut Option<Saying>, clock: u32, length: Duration) {
        if let Some(press) = queue.iter_mut().rev().find(|press| press.length.is_none()) {
            press.length = Some(length);
            return;
        }
        match saying {
            Some(Saying::Events(sending, _)) => sending.end_after(ticks(length.max(LEAST), clock)),
            Some(Saying::Tones(voice, _)) => voice.end(millis(length)),
            None => {}
        }
    }

    /// A key that was said in INFO. False if it is dropped.
    pub(crate) fn press(&mut self, now: Time, event: u8, length: Duration) -> bool {
        self.account.from_info += 1;
        let press = Press { event, volume: VOLUME, length: Some(length.max(LEAST)) };
        if !Self::push(&self.plan, &mut self.queue, &mut self.account, press) {
            return false;
        }
        if self.next.is_none() && !self.says_info() {
            self.next = Some(if self.numbering.has_begun() { now } else { now + WAIT });
        }
        true
    }

    /// The next key to be said in INFO: its event and how long it lasted.
    pub(crate) fn info(&mut self) -> Option<(u8, Duration)> {
        if !self.has_info() {
            return None;
        }
        let press = self.queue.pop_front()?;
        self.account.to_info += 1;
        Some((press.event, press.length?.max(LEAST)))
    }

    /// Whether there is a key to be said in INFO: one that was let go.
    pub(crate) fn has_info(&self) -> bool {
        self.says_info() && self.queue.front().is_some_and(|press| press.length.is_some())
    }

    /// When [`Self::tick`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let listening = self.listener.as_ref().and_then(Listener::deadline);
        let tone = self.tone.map(|heard| heard + PATIENCE);
        [self.next, listening, tone].into_iter().flatten().min()
    }

    /// Does what is due: gives `send` the packets of keys.
    pub(crate) fn tick(&mut self, now: Time, mut send: impl FnMut(Header, &[u8])) {
        if let Some(mut listener) = self.listener.take() {
            listener.poll(now, |report| self.hear_report(report));
            self.listener = Some(listener);
        }
        if self.tone.is_some_and(|heard| heard + PATIENCE <= now) {
            self.tone = None;
            if let Some(ear) = &mut self.ear {
                ear.forget();
            }
            Self::end(&mut self.queue, &mut self.saying, self.clock, Duration::ZERO);
        }
        while let Some(due) = self.next.filter(|due| *due <= now) {
            let step = Duration::from_millis(PACKET_MS.into());
            self.next = self.say(now, &mut send).then(|| {
                let next = due + step;
                if now.since(next) > BEHIND { now + step } else { next }
            });
        }
    }

    /// Says the next packet of the next key; false if there is nothing to say.
    fn say(&mut self, now: Time, send: &mut impl FnMut(Header, &[u8])) -> bool {
        loop {
            if self.saying.is_none() && !self.begin_saying(now) {
                return false;
            }
            let interval = self.clock / 1000 * PACKET_MS;
            match &mut self.saying {
                Some(Saying::Events(sending, payload_type)) => {
                    if let Some(it) = sending.packet(interval) {
                        let header = self.numbering.put_in(now, *payload_type, it.timestamp, it.marker);
                        send(header, &it.payload.octets());
                        return true;
                    }
                }
                Some(Saying::Tones(voice, timestamp)) => {
                    let mut payload = [0; PAYLOAD_MAX];
                    if let Some((octets, lasts)) = voice.packet(&mut payload) {
                        let header = self.numbering.put_in(now, voice.payload_type(), *timestamp, false);
                        self.numbering.reach(now, *timestamp);
                        *timestamp = timestamp.wrapping_add(lasts);
                        send(header, &payload[..octets]);
                        return true;
                    }
                }
                None => return false,
            }
            self.saying = None;
        }
    }

    fn begin_saying(&mut self, now: Time) -> bool {
        let Some(press) = self.queue.pop_front() else { return false };
        let timestamp = self.numbering.present(now);
        let saying = match self.plan.form {
            Form::Events(payload_type) => {
                self.account.to_events += 1;
                let mut sending = Transmission::new(press.event, press.volume, timestamp);
                if let Some(length) = press.length {
                    sending.end_after(ticks(length.max(LEAST), self.clock));
                }
                Some(Saying::Events(sending, payload_type))
            }
            Form::Tones => {
                // What is neither was not put into the queue.
                let (Some(key), Some(codec)) = (Key::of_event(press.event), self.plan.spoken.first()) else {
                    return false;
                };
                self.account.to_tones += 1;
                let mut voice = Voice::new(key, press.volume, *codec);
                if let Some(length) = press.length {
                    voice.end(millis(length));
                }
                Some(Saying::Tones(Box::new(voice), timestamp))
            }
            Form::Info { .. } => None,
        };
        self.saying = saying;
        self.saying.is_some()
    }

    /// Keys that were not said yet are dropped: the other side changes.
    pub(crate) fn drop_all(&mut self) -> KeysAccount {
        self.account.dropped += self.queue.len() as u64;
        self.queue.clear();
        self.account
    }
}

fn millis(length: Duration) -> u32 {
    u32::try_from(length.as_millis()).unwrap_or(u32::MAX)
}

fn ticks(length: Duration, clock: u32) -> u32 {
    u32::try_from(length.as_nanos() * u128::from(clock) / 1_000_000_000).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
