//! Music on hold: who is held hears it, from the moment that the other side takes no audio until it does again.
//!
//! RFC 3264 §8.4 puts a stream on hold by a direction without receiving; RFC 6337 §5.3 has the held side told `sendonly`, so that it may
//! hear something. Where a side says `inactive`, the other one is offered `sendonly` in its place, and the answer says `inactive` again: else it
//! would have agreed to hear nothing. A side that says `sendonly` may have music of its own; where the gateway has been given some, its is heard.

use super::Purpose;
use crate::bridge::Side as Leg;
use crate::mail::Mail;
use crate::shard::Shard;
use link::{Phase, PlaybackState, Side};
use sansio::{Key, Outbox, Time};

/// What is offered to the side that is to be held, in place of what the side that holds has offered.
pub(crate) fn audible(offer: &[u8]) -> Vec<u8> {
    directed(offer, b"a=inactive", b"a=sendonly")
}

/// The answer to the side that holds, in place of that to such an offer: nothing else may be said to `inactive` (RFC 3264 §6.1).
pub(crate) fn silent(answer: &[u8]) -> Vec<u8> {
    directed(answer, b"a=recvonly", b"a=inactive")
}

/// A description with another line for each that reads so.
fn directed(body: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 16);
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        if line.trim_ascii() == from {
            out.extend_from_slice(to);
            out.extend_from_slice(b"\r\n");
        } else {
            out.extend_from_slice(line);
        }
    }
    out
}

impl Shard {
    /// The session of a call may have changed: music begins or ends.
    pub(crate) fn review_hold(&mut self, now: Time, key: Key, out: &mut Outbox<Mail>) {
        if self.config.hold_music.is_none() && self.plays.open.is_empty() {
            return;
        }
        for side in [Side::Caller, Side::Callee] {
            let held = self.calls.get(key).is_some_and(|call| {
                let media = call.media.as_ref().filter(|_| call.phase == Phase::Answered);
                media.is_some_and(|media| {
                    let (here, there) =
                        (media.bridge.leg(side.into()), media.bridge.leg(Leg::from(side).other()));
                    here.direction().receives && !there.direction().receives
                })
            });
            let plays = self.plays.of(key, Some(side));
            let music = plays
                .iter()
                .copied()
                .find(|id| self.plays.open.get(id).is_some_and(|play| play.purpose == Purpose::Hold));
            match (held, music) {
                (false, Some(music)) => self.end_play(now, music, PlaybackState::Stopped, out),
                (true, None) if plays.is_empty() => self.begin_music(now, key, side, out),
                _ => {}
            }
        }
    }

    fn begin_music(&mut self, now: Time, key: Key, side: Side, out: &mut Outbox<Mail>) {
        let Some(file) = self.config.hold_music.clone() else { return };
        let what = (file.display().to_string(), vec![file], true);
        if self.begin_play(now, key, side, what, Purpose::Hold, None, out).is_err() {
            self.stats.plays_refused += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directions_are_changed_and_nothing_else() {
        let offer = b"v=0\r\na=inactive-not\r\nm=audio 1 RTP/AVP 8\r\na=inactive\r\n";
        let wanted = b"v=0\r\na=inactive-not\r\nm=audio 1 RTP/AVP 8\r\na=sendonly\r\n";
        assert_eq!(audible(offer), wanted);
        assert_eq!(audible(b"a=inactive"), b"a=sendonly\r\n");
        assert_eq!(silent(b"v=0\na=recvonly\n"), b"v=0\na=inactive\r\n", "RFC 3264 §6.1");
        assert_eq!(silent(offer), offer);
    }
}
