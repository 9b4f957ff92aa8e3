//! Paced playback: which packet of which clip is due when, by an absolute clock.
//!
//! Each packet is due a whole number of packet lengths after the start, so that a tick that comes late does not make all later ones late.
//! Time is an argument and so is the clock that tells it.

use crate::prompt::Clip;
use core::time::Duration;
use sansio::Time;
use std::sync::Arc;

/// Packets that are sent in a row to catch up; what is later is not sent at all, but silence in its place.
const CATCH_UP: u32 = 5;

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn<'a> {
    /// Send this; then ask again.
    Packet {
        /// The payload.
        payload: &'a [u8],
        /// How far it moves the RTP timestamp.
        ticks: u32,
        /// Silence before it, by which its timestamp is later (RFC 3551 §4.1: it begins a talk spurt then).
        silence: u32,
    },
    /// Nothing before this time.
    Wait(Time),
    /// Nothing before it goes on.
    Paused,
    /// All was played to its end.
    Over,
}

/// Plays clips one after the other.
#[derive(Clone, Debug)]
pub struct Player {
    clips: Vec<Arc<Clip>>,
    repeated: bool,
    /// Which clip and which of its packets is next.
    place: (usize, usize),
    /// When.
    due: Time,
    paused: bool,
    /// Ticks that passed in silence since the last packet.
    silence: u32,
    /// Packet lengths of silence in place of packets that were too late.
    missed: u64,
    played: u64,
}

impl Player {
    /// Plays clips of one codec and packet length from `start` on, over and over if `repeated`. `None` if there is nothing to play, or
    /// the clips are not alike.
    pub fn new(start: Time, clips: Vec<Arc<Clip>>, repeated: bool) -> Option<Self> {
        let first = clips.first()?;
        let (codec, ptime) = (first.codec(), first.ptime());
        let alike = clips.iter().all(|clip| (clip.codec(), clip.ptime()) == (codec, ptime));
        let any = clips.iter().any(|clip| clip.packets() > 0);
        (alike && any).then_some(Self {
            clips,
            repeated,
            place: (0, 0),
            due: start,
            paused: false,
            silence: 0,
            missed: 0,
            played: 0,
        })
    }

    /// What is due now. To be asked until it gives no packet.
    pub fn turn(&mut self, now: Time) -> Turn<'_> {
        if self.paused {
            return Turn::Paused;
        }
        if now < self.due {
            return Turn::Wait(self.due);
        }
        if !self.find() {
            return Turn::Over;
        }
        self.drop_late(now);
        let (clip, packet) = self.place;
        self.place.1 += 1;
        self.due += self.span();
        self.played += 1;
        let silence = core::mem::take(&mut self.silence);
        let clip = &self.clips[clip];
        // `find` has looked that it is there.
        Turn::Packet { payload: clip.packet(packet).unwrap_or_default(), ticks: clip.ticks(), silence }
    }

    /// Goes to the next clip that has packets, unless there are some left of this one.
    fn find(&mut self) -> bool {
        while self.place.1 >= self.clips[self.place.0].packets() {
            self.place = (self.place.0 + 1, 0);
            if self.place.0 == self.clips.len() {
                if !self.repeated {
                    // It stays over, however often it is asked.
                    self.place = (self.clips.len() - 1, usize::MAX);
                    return false;
                }
                self.place.0 = 0;
            }
        }
        true
    }

    /// Time that passed unused is silence: what is not sent yet is sent later, and not in a burst.
    fn drop_late(&mut self, now: Time) {
        let span = self.span();
        let behind = now.since(self.due).as_nanos() / span.as_nanos().max(1);
        if behind >= u128::from(CATCH_UP) {
            let behind = u32::try_from(behind).unwrap_or(u32::MAX);
            self.missed += u64::from(behind);
            self.skip(behind);
        }
    }

    /// Lets so many packet lengths pass in silence.
    fn skip(&mut self, lengths: u32) {
        self.due += self.span() * lengths;
        self.silence = self.silence.wrapping_add(self.clips[0].ticks().wrapping_mul(lengths));
    }

    /// Falls silent, until [`Self::resume`].
    pub const fn pause(&mut self) {
        self.paused = true;
    }

    /// Goes on where it was paused, a whole number of packet lengths after its start.
    pub fn resume(&mut self, now: Time) {
        if core::mem::take(&mut self.paused) && now > self.due {
            let span = self.span().as_nanos().max(1);
            let lengths = now.since(self.due).as_nanos().div_ceil(span);
            self.skip(u32::try_from(lengths).unwrap_or(u32::MAX));
        }
    }

    /// When it is to be asked next; `None` while it is paused.
    pub const fn deadline(&self) -> Option<Time> {
        if self.paused { None } else { Some(self.due) }
    }

    /// How long a packet lasts.
    pub fn span(&self) -> Duration {
        Duration::from_millis(self.clips[0].ptime().into())
    }

    /// Packets given out.
    pub const fn played(&self) -> u64 {
        self.played
    }

    /// Packet lengths of silence in place of packets that would have been too late.
    pub const fn missed(&self) -> u64 {
        self.missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tone;
    use crate::codec::{Codec, Decoder};
    use crate::prompt::Sound;

    fn clip(hertz: f64, seconds: f64, repeated: bool) -> Arc<Clip> {
        let mut samples = vec![0; (8000.0 * seconds) as usize];
        Tone::sine(hertz, 8000, 8000).fill(&mut samples);
        Arc::new(Clip::new(&Sound::new(8000, samples), Codec::Pcma, 20, repeated))
    }

    #[test]
    fn an_hour_of_late_ticks_drifts_by_nothing() {
        let start = Time::from_millis(17);
        let mut player = Player::new(start, vec![clip(400.0, 1.0, true)], true).unwrap();
        let (mut now, mut sent, mut late) = (start, 0u64, Duration::ZERO);
        let hour = Duration::from_secs(3600);
        while now.since(start) < hour {
            match player.turn(now) {
                Turn::Packet { silence, ticks, .. } => {
                    assert_eq!((silence, ticks), (0, 160));
                    let due = start + Duration::from_millis(20 * sent);
                    assert!(now >= due);
                    late = late.max(now.since(due));
                    sent += 1;
                }
                // Ticks come up to 13 ms late, never the same.
                Turn::Wait(due) => {
                    assert_eq!(due, start + Duration::from_millis(20 * sent));
                    now = due + Duration::from_micros(sent * 7919 % 13_000);
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((sent, player.missed()), (180_000, 0));
        assert!(late < Duration::from_millis(14), "{late:?}");
    }

    #[test]
    fn a_sequence_is_played_in_order_and_is_over_when_its_last_packet_is() {
        let clips = vec![clip(400.0, 0.1, false), clip(900.0, 0.03, false)];
        let wanted: Vec<Vec<u8>> = clips
            .iter()
            .flat_map(|clip| (0..clip.packets()).map(|n| clip.packet(n).unwrap().to_vec()))
            .collect();
        assert_eq!(wanted.len(), 7, "30 ms are filled up to two packets");
        let mut player = Player::new(Time::ZERO, clips, false).unwrap();
        let mut got = Vec::new();
        let mut now = Time::ZERO;
        loop {
            match player.turn(now) {
                Turn::Packet { payload, .. } => got.push(payload.to_vec()),
                Turn::Wait(due) => now = due,
                Turn::Over => break,
                Turn::Paused => panic!("nobody paused it"),
            }
        }
        assert_eq!(got, wanted);
        assert_eq!(now, Time::from_millis(140));
        assert_eq!(player.turn(now + Duration::from_secs(5)), Turn::Over, "it stays so");
    }

    #[test]
    fn what_is_far_too_late_is_silence_and_no_burst() {
        let mut player = Player::new(Time::ZERO, vec![clip(400.0, 2.0, false)], false).unwrap();
        assert!(matches!(player.turn(Time::ZERO), Turn::Packet { silence: 0, .. }));
        // 70 ms late: three packets are due, and are sent.
        let mut now = Time::from_millis(70);
        for _ in 0..3 {
            assert!(matches!(player.turn(now), Turn::Packet { silence: 0, .. }));
        }
        assert_eq!(player.turn(now), Turn::Wait(Time::from_millis(80)));
        // A second late: the next packet, fifty lengths later.
        now = Time::from_millis(1080);
        assert!(matches!(player.turn(now), Turn::Packet { silence: 8000, .. }));
        assert_eq!(player.turn(now), Turn::Wait(Time::from_millis(1100)));
        assert_eq!((player.played(), player.missed()), (5, 50));
    }

    #[test]
    fn a_pause_is_silence_of_whole_packets() {
        let mut player = Player::new(Time::ZERO, vec![clip(400.0, 1.0, false)], false).unwrap();
        assert!(matches!(player.turn(Time::ZERO), Turn::Packet { .. }));
        player.pause();
        assert_eq!(player.turn(Time::from_millis(20)), Turn::Paused);
        assert_eq!(player.deadline(), None);
        player.resume(Time::from_millis(505));
        assert_eq!(player.turn(Time::from_millis(505)), Turn::Wait(Time::from_millis(520)));
        assert!(matches!(player.turn(Time::from_millis(520)), Turn::Packet { silence: 4000, .. }));
        player.resume(Time::from_millis(600));
        assert_eq!(player.deadline(), Some(Time::from_millis(540)), "it was not paused");
    }

    #[test]
    fn a_repeated_clip_has_no_click_at_its_seam() {
        // A frequency that does not fit the clip's length.
        let clip = clip(441.7, 1.237, true);
        let mut player = Player::new(Time::ZERO, vec![clip.clone()], true).unwrap();
        let (mut decoder, mut heard) = (Decoder::new(Codec::Pcma), Vec::new());
        for n in 0..3 * clip.packets() as u64 {
            let Turn::Packet { payload, .. } = player.turn(Time::from_millis(20 * n)) else { panic!() };
            let mut samples = [0; 160];
            let count = decoder.decode(payload, &mut samples);
            heard.extend_from_slice(&samples[..count]);
        }
        // A sine of this frequency and peak moves by less than 2800 from sample to sample; A-law is off by 256 at its peak.
        let jump = heard.windows(2).map(|it| (i32::from(it[0]) - i32::from(it[1])).abs()).max().unwrap();
        assert!(jump < 3400, "{jump}");
        assert!(clip.packets() >= 60, "{} packets", clip.packets());
    }

    #[test]
    fn there_has_to_be_something_alike_to_play() {
        assert!(Player::new(Time::ZERO, Vec::new(), true).is_none());
        let other = Arc::new(Clip::new(&Sound::new(8000, vec![0; 800]), Codec::Pcmu, 20, false));
        assert!(Player::new(Time::ZERO, vec![clip(400.0, 1.0, false), other], true).is_none());
        let empty = Arc::new(Clip::new(&Sound::new(8000, Vec::new()), Codec::Pcma, 20, true));
        assert!(Player::new(Time::ZERO, vec![empty], true).is_none(), "or it would look for ever");
    }
}
