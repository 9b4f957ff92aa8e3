//! What is attached to a call's media besides the other leg: prompts that are played to a side in place of what the other one sends.
//!
//! A shard reads no file: it asks the process for clips ([`PromptAsked`]), plays them by the timer wheel, packet by packet, and tells
//! control when that has begun and ended. The relay looks once per packet whether a leg has a [`Splice`]; legs without one know of none
//! of this.

pub(crate) mod hold;
mod relay;
mod splice;

pub(crate) use relay::{relay, restated};
pub(crate) use splice::Splice;

use crate::bridge::Side as Leg;
use crate::call::{CallMedia, at};
use crate::mail::Mail;
use crate::session;
use crate::shard::{Shard, Timer};
use core::time::Duration;
use link::{
    CallId, Event, MediaAnswer, MediaRefusal, Phase, PlayAsked, Playback, PlaybackState, Side, StopAsked,
    Text, Ticket,
};
use media::codec::Codec;
use media::player::{Player, Turn};
use media::prompt::Clip;
use rtp::Header;
use sansio::{Key, Mailbox, Outbox, Time, TimerId};
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// Most prompts played, or waited for, at a time on a shard.
const PLAYS_MAX: usize = 4096;
/// Most files of a sequence.
const FILES_MAX: usize = 32;
/// How long a prompt may take to be read.
const READ_LIMIT: Duration = Duration::from_secs(5);

/// To the process: these files as packets of a codec.
#[derive(Debug)]
pub struct PromptAsked {
    /// The shard that asks.
    pub shard: u16,
    /// Its number for this.
    pub play: u64,
    /// The files.
    pub files: Vec<PathBuf>,
    /// The codec.
    pub codec: Codec,
    /// Milliseconds of a packet.
    pub ptime: u32,
    /// Whether it is played over and over: a single file has no seam then.
    pub repeated: bool,
}

/// Why something is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// It was ordered.
    Order,
    /// The other side holds.
    Hold,
}

/// A prompt played to one side of a call.
#[derive(Debug)]
pub(crate) struct Play {
    key: Key,
    call: CallId,
    side: Side,
    purpose: Purpose,
    what: String,
    repeated: bool,
    codec: Codec,
    payload_type: u8,
    /// Who waits to hear that it has begun.
    ticket: Option<Ticket>,
    /// None until it was read.
    player: Option<Player>,
    timer: Option<TimerId>,
}

/// All of a shard.
#[derive(Debug, Default)]
pub(crate) struct Plays {
    next: u64,
    open: BTreeMap<u64, Play>,
}

impl Plays {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// Those of a call, of one side if that is given.
    fn of(&self, key: Key, side: Option<Side>) -> Vec<u64> {
        let own = self.open.iter().filter(|(_, play)| play.key == key);
        own.filter(|(_, play)| side.is_none_or(|side| play.side == side)).map(|(id, _)| *id).collect()
    }
}

impl Shard {
    /// Control wants something played.
    pub(crate) fn play_asked(&mut self, now: Time, asked: PlayAsked, out: &mut Outbox<Mail>) {
        let PlayAsked { ticket, call, side, files, repeated } = asked;
        let begun = match self.ids.get(&call).copied() {
            Some(key) => self.prompt_paths(&files).and_then(|paths| {
                let play = (files.join(", "), paths, repeated);
                self.begin_play(now, key, side, play, Purpose::Order, Some(ticket), out).map_err(not_now)
            }),
            None => Err(MediaRefusal::NoCall),
        };
        if let Err(refusal) = begun {
            self.stats.plays_refused += 1;
            self.answer_media(ticket, Err(refusal), out);
        }
    }

    /// Control wants a side, or both, to hear the other one again.
    pub(crate) fn stop_asked(&mut self, now: Time, asked: &StopAsked, out: &mut Outbox<Mail>) {
        let Some(key) = self.ids.get(&asked.call).copied() else {
            return self.answer_media(asked.ticket, Err(MediaRefusal::NoCall), out);
        };
        let stopped = self.plays.of(key, asked.side);
        for play in &stopped {
            self.end_play(now, *play, PlaybackState::Stopped, out);
        }
        self.answer_media(asked.ticket, Ok(stopped.len() as u64), out);
    }

    /// The files of prompts by their names.
    fn prompt_paths(&self, names: &[String]) -> Result<Vec<PathBuf>, MediaRefusal> {
        let Some(folder) = &self.config.prompts else {
            return Err(not_now(
                "no prompts are configured: set media.prompts to the folder they are in".into(),
            ));
        };
        if names.is_empty() || names.len() > FILES_MAX {
            return Err(MediaRefusal::File(format!("{} files: name 1 to {FILES_MAX}", names.len())));
        }
        let path = |name: &String| {
            let inside = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
            if name.is_empty() || !inside || name.chars().any(char::is_control) {
                let error = "name a file below media.prompts, without .. and without a / in front";
                return Err(MediaRefusal::File(format!("{name:?}: {error}")));
            }
            Ok(folder.join(name))
        };
        names.iter().map(path).collect()
    }

    /// Asks for the clips of something that is to be played; what plays until then goes on.
    #[expect(clippy::too_many_arguments, reason = "what, to whom, why and who waits for it")]
    fn begin_play(
        &mut self,
        now: Time,
        key: Key,
        side: Side,
        (what, files, repeated): (String, Vec<PathBuf>, bool),
        purpose: Purpose,
        ticket: Option<Ticket>,
        out: &mut Outbox<Mail>,
    ) -> Result<(), Text> {
        if self.plays.len() >= PLAYS_MAX {
            return Err("too many prompts are played at once; try again".into());
        }
        let own = Header {
            sequence: self.names.u32() as u16,
            timestamp: self.names.u32(),
            ssrc: self.names.u32(),
            ..Header::default()
        };
        // Before the answer it is not settled what is spoken, nor how it is protected.
        let answered = self.calls.get_mut(key).filter(|call| call.phase == Phase::Answered);
        let Some((id, media)) = answered.and_then(|call| Some((call.id, call.media.as_mut()?))) else {
            return Err("the call is not answered yet, or is ending".into());
        };
        let leg = media.bridge.leg(side.into());
        if leg.target().is_none() || !leg.direction().receives {
            return Err("that side takes no audio now: it holds, or has not said where".into());
        }
        let Some((codec, payload_type, ptime)) = voice(media, side) else {
            return Err("that side speaks no codec that the gateway can make".into());
        };
        let leg = media.bridge.legs(Leg::from(side)).0;
        leg.splice.get_or_insert_with(|| Box::new(Splice::new(now, own)));
        let play = self.plays.next;
        self.plays.next += 1;
        let timer = self.set_timer(now + READ_LIMIT, Timer::Play(play));
        let open = Play {
            key,
            call: id,
            side,
            purpose,
            what,
            repeated,
            codec,
            payload_type,
            ticket,
            player: None,
            timer,
        };
        self.plays.open.insert(play, open);
        let asked = PromptAsked { shard: self.shards.me, play, files, codec, ptime, repeated };
        // Behind the shards is control, and behind that who reads prompts.
        out.mail(Mailbox(self.shards.count + 1), Mail::PromptAsked(Box::new(asked)));
        Ok(())
    }

    /// Clips were read, or could not be.
    pub(crate) fn prompt_came(
        &mut self,
        now: Time,
        id: u64,
        clips: Result<Vec<Arc<Clip>>, String>,
        out: &mut Outbox<Mail>,
    ) {
        let Some(play) = self.plays.open.get(&id).filter(|play| play.player.is_none()) else { return };
        let (key, side, repeated) = (play.key, play.side, play.repeated);
        let Some(leg) = self.calls.get_mut(key).and_then(|call| call.media.as_mut()) else {
            return self.end_play(now, id, PlaybackState::Interrupted, out);
        };
        let leg = leg.bridge.legs(Leg::from(side)).0;
        let start = leg.splice.as_ref().map_or(now, |splice| splice.ready(now));
        let player = clips.and_then(|clips| {
            Player::new(start, clips, repeated).ok_or_else(|| String::from("there is nothing to play in it"))
        });
        let player = match player {
            Ok(player) => player,
            Err(error) => return self.fail_play(now, id, error, out),
        };
        for other in self.plays.of(key, Some(side)) {
            let plays = self.plays.open.get(&other).is_some_and(|it| it.player.is_some());
            if other != id && plays {
                self.end_play(now, other, PlaybackState::Replaced, out);
            }
        }
        let leg = self.calls.get_mut(key).and_then(|call| call.media.as_mut());
        if let Some(splice) = leg.and_then(|media| media.bridge.legs(Leg::from(side)).0.splice.as_mut()) {
            splice.play(id);
        }
        let Some(play) = self.plays.open.get_mut(&id) else { return };
        play.player = Some(player);
        let (timer, ticket) = (play.timer.take(), play.ticket.take());
        if let Some(timer) = timer {
            self.wheel.cancel(timer);
        }
        self.stats.plays_started += 1;
        if let Some(ticket) = ticket {
            self.answer_media(ticket, Ok(id), out);
        }
        self.tell_playback(now, id, PlaybackState::Playing, out);
        self.play_due(now, id, out);
    }

    /// A play is due: its next packets, or its end.
    pub(crate) fn play_due(&mut self, now: Time, id: u64, out: &mut Outbox<Mail>) {
        let Some(play) = self.plays.open.get_mut(&id) else { return };
        play.timer = None;
        let Some(player) = &mut play.player else {
            let error = format!("it was not read within {} s", READ_LIMIT.as_secs());
            return self.fail_play(now, id, error, out);
        };
        let (codec, payload_type) = (play.codec, play.payload_type);
        let media = self.calls.get_mut(play.key).and_then(|call| call.media.as_mut());
        let leg = media.map(|media| media.bridge.legs(Leg::from(play.side)).0);
        // The leg went to another call, or its peer is another, or speaks otherwise now.
        let leg = leg.filter(|leg| leg.negotiated(payload_type));
        let parts = leg.and_then(|leg| {
            let splice = leg.splice.take_if(|splice| splice.playing() == Some(id))?;
            Some((leg, splice))
        });
        let Some((leg, mut splice)) = parts else {
            return self.end_play(now, id, PlaybackState::Interrupted, out);
        };
        let next = loop {
            match player.turn(now) {
                Turn::Packet { payload, ticks, silence } => {
                    splice.rest(silence);
                    match leg.target().filter(|_| leg.direction.receives) {
                        Some(target) => {
                            let clock = codec.clock_rate();
                            let header = splice.next(now, payload_type, ticks, clock, payload.len());
                            leg.note_made(now);
                            leg.send(target, header, payload, out);
                            self.stats.play_packets += 1;
                        }
                        None => splice.rest(ticks),
                    }
                }
                Turn::Wait(due) => break Some(due),
                Turn::Paused | Turn::Over => break None,
            }
        };
        leg.splice = Some(splice);
        match next {
            Some(due) => {
                let timer = self.set_timer(due, Timer::Play(id));
                if timer.is_none() {
                    // There are too many timers, which is counted: better the other side than nothing.
                    return self.end_play(now, id, PlaybackState::Interrupted, out);
                }
                if let Some(play) = self.plays.open.get_mut(&id) {
                    play.timer = timer;
                }
            }
            None => self.end_play(now, id, PlaybackState::Finished, out),
        }
    }

    fn fail_play(&mut self, now: Time, id: u64, error: String, out: &mut Outbox<Mail>) {
        self.stats.plays_failed += 1;
        let ticket = self.plays.open.get_mut(&id).and_then(|play| play.ticket.take());
        if let Some(ticket) = ticket {
            self.answer_media(ticket, Err(MediaRefusal::File(error)), out);
        }
        self.end_play(now, id, PlaybackState::Failed, out);
    }

    /// A play is over: the side hears the other one again.
    fn end_play(&mut self, now: Time, id: u64, state: PlaybackState, out: &mut Outbox<Mail>) {
        self.tell_playback(now, id, state, out);
        let Some(play) = self.plays.open.remove(&id) else { return };
        if let Some(timer) = play.timer {
            self.wheel.cancel(timer);
        }
        if let Some(ticket) = play.ticket {
            self.answer_media(ticket, Err(not_now("it was stopped before it began".into())), out);
        }
        self.stats.play_packets_missed += play.player.as_ref().map_or(0, Player::missed);
        let media = self.calls.get_mut(play.key).and_then(|call| call.media.as_mut());
        let splice = media.and_then(|media| media.bridge.legs(Leg::from(play.side)).0.splice.as_mut());
        if let Some(splice) = splice.filter(|splice| splice.playing() == Some(id)) {
            splice.stop();
        }
        // Who is held hears music again, once what was ordered is over.
        if play.purpose == Purpose::Order && matches!(state, PlaybackState::Finished | PlaybackState::Stopped)
        {
            self.review_hold(now, play.key, out);
        }
    }

    /// A call is over, and so is all that is played in it.
    pub(crate) fn end_plays(&mut self, now: Time, key: Key, out: &mut Outbox<Mail>) {
        if self.plays.open.is_empty() {
            return;
        }
        for id in self.plays.of(key, None) {
            self.end_play(now, id, PlaybackState::Interrupted, out);
        }
    }

    fn answer_media(&self, ticket: Ticket, result: Result<u64, MediaRefusal>, out: &mut Outbox<Mail>) {
        self.tell(Event::MediaAnswered(Box::new(MediaAnswer { ticket, result })), out);
    }

    fn tell_playback(&self, now: Time, id: u64, state: PlaybackState, out: &mut Outbox<Mail>) {
        let Some(play) = self.plays.open.get(&id) else { return };
        if play.player.is_none() && state != PlaybackState::Failed {
            // Nobody has heard of it.
            return;
        }
        let playback = Playback {
            call: play.call,
            playback: id,
            side: play.side,
            what: play.what.clone(),
            hold: play.purpose == Purpose::Hold,
            state,
            at: self.wall(now),
        };
        self.tell(Event::Playback(Box::new(playback)), out);
    }
}

fn not_now(why: Text) -> MediaRefusal {
    MediaRefusal::NotNow(why)
}

/// What the gateway says to a side: codec, payload type and packet length. What is sent to it now if that can be made, else the first of
/// its codecs that can.
fn voice(media: &CallMedia, side: Side) -> Option<(Codec, u8, u32)> {
    let (leg, across) = (media.bridge.leg(side.into()), media.bridge.leg(Leg::from(side).other()));
    let own = &media.sessions[at(side)];
    let known = |payload_type: u8| {
        let (_, name) = own.codecs().iter().find(|(number, _)| *number == payload_type)?;
        let clock = leg.clock_of(payload_type)?;
        // RFC 7587 §7: Opus says 2 whatever is in it.
        let channels = if name.eq_ignore_ascii_case("opus") { 2 } else { 1 };
        Some((Codec::of(name, clock, channels)?, payload_type))
    };
    let sent = match &across.translator {
        Some(translator) => Some(translator.says()),
        None => across.payload_type().map(|it| across.payload_map.of(it)),
    };
    let heard = sent.filter(|it| leg.negotiated(*it)).and_then(known);
    let (codec, payload_type) =
        heard.or_else(|| own.codecs().iter().find_map(|(number, _)| known(*number)))?;
    let asked = session::parse(own.said()).ok();
    let ptime = asked.and_then(|session| session.audio().and_then(|(_, audio)| audio.ptime)).unwrap_or(20);
    Some((codec, payload_type, u32::from(ptime).clamp(10, 60) / 10 * 10))
}
