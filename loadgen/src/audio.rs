//! One end's voice: a paced stream of marked packets out, and the account of the stream in.

use crate::heard::{Heard, Verdict};
use crate::mark::{CallName, Direction, Mark, Unmarked};
use crate::measure::{VoicePart, VoiceRecord, nanos};
use crate::pace::Place;
use crate::plan::Codec;
use core::net::SocketAddr;
use core::time::Duration;
use rtp::quality::{self, Measured, Score};
use sansio::{Outbox, Random, SocketId, Time};

/// Delay between mouth and ear that no network causes: a packet's voice and a jitter buffer of 40 ms.
const PLAYOUT: Duration = Duration::from_millis(60);

/// Silence at a call's end that is not loss: the packets on their way when the call ended.
const TAIL: Duration = Duration::from_millis(45);

/// What all streams of a shard have in common.
#[derive(Clone, Debug)]
pub(crate) struct Sound {
    pub(crate) codec: Codec,
    pub(crate) ptime: Duration,
    /// The other side speaks another codec: marks are levels.
    translated: bool,
    /// A packet's worth of tone; marks are written over its beginning.
    tone: Vec<u8>,
}

impl Sound {
    /// A tone of 400 Hz, of which every packet time holds whole periods.
    pub(crate) fn new(codec: Codec, ptime: Duration, translated: bool) -> Self {
        let count = (ptime.as_millis() * 8) as usize;
        let mut samples = vec![0i16; count];
        media::Tone::sine(400.0, 8000, 8000).fill(&mut samples);
        let mut tone = vec![0; count];
        match codec {
            Codec::Pcma => media::g711::alaw_encode_frame(&samples, &mut tone),
            Codec::Pcmu => media::g711::ulaw_encode_frame(&samples, &mut tone),
        };
        Self { codec, ptime, translated, tone }
    }

    /// Writes a mark over the tone.
    fn write(&self, mark: &Mark, payload: &mut [u8]) {
        match (self.translated, self.codec) {
            (false, _) => mark.write(payload),
            (true, Codec::Pcma) => mark.write_levels(payload, media::g711::alaw_encode),
            (true, Codec::Pcmu) => mark.write_levels(payload, media::g711::ulaw_encode),
        }
    }

    /// Reads the mark of a packet that was heard.
    fn read(&self, payload: &[u8]) -> Result<Mark, Unmarked> {
        match (self.translated, self.codec) {
            (false, _) => Mark::read(payload),
            (true, Codec::Pcma) => Mark::read_levels(payload, media::g711::alaw_decode),
            (true, Codec::Pcmu) => Mark::read_levels(payload, media::g711::ulaw_decode),
        }
    }
}

/// The voice of one call at this end.
#[derive(Debug)]
pub(crate) struct Voice {
    pub(crate) socket: SocketId,
    pub(crate) local: SocketAddr,
    /// Where the peer wants to hear, once known.
    pub(crate) remote: Option<SocketAddr>,
    /// Its place in the pace, while it sends.
    pub(crate) place: Option<Place>,
    /// When it joined the pace: instants of its slot before that are not its own.
    pub(crate) speaks_from: Time,
    name: CallName,
    direction: Direction,
    sender: rtp::Sender,
    next: u32,
    began: Time,
    pub(crate) heard: Heard,
    /// The account at the last second's end.
    before: Tally,
    /// Packets sent when the last one was heard.
    sent_when_heard: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    heard: u64,
    lost: u64,
    impaired: u64,
}

impl Voice {
    /// The voice of call `name` on a port it takes at `now`; `direction` is that of what it sends.
    pub(crate) fn new(
        name: CallName,
        direction: Direction,
        port: (SocketId, SocketAddr),
        sound: &Sound,
        random: &mut Random,
        now: Time,
    ) -> Self {
        let expects = match direction {
            Direction::Forth => Direction::Back,
            Direction::Back => Direction::Forth,
        };
        let numbers = random.u64();
        let sender = rtp::Sender::new(
            sound.codec.payload_type(),
            (numbers >> 32) as u32,
            (numbers >> 16) as u16,
            random.u32(),
        );
        Self {
            socket: port.0,
            local: port.1,
            remote: None,
            place: None,
            speaks_from: now,
            name,
            direction,
            sender,
            next: 0,
            began: now,
            heard: Heard::new(name, expects),
            before: Tally::default(),
            sent_when_heard: 0,
        }
    }

    /// Sends the packet that was due at `intended`.
    pub(crate) fn send<M>(
        &mut self,
        intended: Time,
        now: Time,
        sound: &Sound,
        part: &mut VoicePart,
        out: &mut Outbox<M>,
    ) {
        let Some(remote) = self.remote.filter(|_| intended >= self.speaks_from) else { return };
        let mark = Mark {
            call: self.name,
            hears: self.heard.peer(),
            direction: self.direction,
            place: self.next,
            intended,
            sent: now,
        };
        let len = sound.tone.len();
        let header = self.sender.packet(len as u32, len);
        out.send_with(self.socket, remote, rtp::HEADER_LEN + len, |bytes| {
            // The buffer was asked for with room for both.
            let _ = header.write(bytes);
            let payload = &mut bytes[rtp::HEADER_LEN..];
            payload.copy_from_slice(&sound.tone);
            sound.write(&mark, payload);
        });
        part.streams += u64::from(self.next == 0);
        self.next = self.next.wrapping_add(1);
        part.sent += 1;
        part.send_error.record(nanos(now.since(intended)));
    }

    /// Takes a datagram that came to this call's port; `answered` is when the call was.
    pub(crate) fn hear(
        &mut self,
        datagram: &[u8],
        arrived: Time,
        answered: Option<Time>,
        sound: &Sound,
        part: &mut VoicePart,
    ) {
        let Ok(packet) = rtp::Packet::parse(datagram) else {
            part.foreign += u64::from(rtp::classify(datagram) != rtp::Kind::Rtcp);
            return;
        };
        // Another codec than the one agreed upon is nobody's of ours.
        let own = !sound.translated || packet.header().payload_type == sound.codec.payload_type();
        let read = if own { sound.read(packet.payload()) } else { Err(Unmarked::Foreign) };
        let mark = match read {
            Ok(mark) => mark,
            Err(Unmarked::Foreign) => {
                part.foreign += 1;
                return;
            }
            Err(Unmarked::Corrupt) => {
                part.corrupt += 1;
                return;
            }
        };
        let first = self.heard.first.is_none();
        match self.heard.take(&mark, arrived, self.began) {
            Verdict::Counted { from_sent, .. } => {
                part.heard += 1;
                part.delay.record(nanos(from_sent));
                self.sent_when_heard = self.next;
                if first {
                    part.first_audio.record(nanos(arrived.since(answered.unwrap_or(arrived))));
                }
            }
            Verdict::Duplicate => part.duplicates += 1,
            Verdict::Stale => part.stale += 1,
            Verdict::Crosstalk => part.crosstalk += 1,
        }
    }

    /// Books what was lost since the last time, and how the last second sounded.
    pub(crate) fn close_second(&mut self, part: &mut VoicePart) {
        let now = Tally {
            heard: self.heard.unique,
            lost: self.heard.lost(),
            impaired: self.heard.lost() + self.heard.discards,
        };
        part.lost += now.lost as i64 - self.before.lost as i64;
        let heard = now.heard - self.before.heard;
        if heard > 0 {
            let impaired = now.impaired.saturating_sub(self.before.impaired);
            let loss = impaired as f64 / (heard + impaired) as f64;
            part.mos.record(u64::from(self.rate(loss, 1.0)));
        }
        self.before = now;
    }

    /// Books the rest at the call's end. `planned`: the call ended as it should, so voice was due until now.
    pub(crate) fn close(
        &mut self,
        now: Time,
        planned: bool,
        sound: &Sound,
        part: &mut VoicePart,
    ) -> VoiceRecord {
        self.close_second_without_mos(part);
        let silence = now.since(self.heard.last.unwrap_or(self.began));
        let ptime = sound.ptime.as_nanos().max(1);
        let lost = self.heard.lost();
        let tail = match planned && self.heard.last.is_some() && silence > TAIL {
            true => ((silence - TAIL).as_nanos() / ptime) as u64,
            false => 0,
        };
        part.reordered += self.heard.reordered;
        part.discards += self.heard.discards;
        let (mut mos, mut mos_with_tail) = (0, 0);
        if self.heard.unique > 0 {
            part.jitter.record((self.heard.jitter_ms() * 1e6) as u64);
            part.gap.record(nanos(self.heard.gap_max.saturating_sub(sound.ptime)));
            let rate = |lost: u64| {
                let bad = (lost + self.heard.discards) as f64;
                self.rate(bad / (self.heard.unique + lost) as f64, self.heard.burst_ratio())
            };
            (mos, mos_with_tail) = (rate(lost), rate(lost + tail));
        }
        VoiceRecord {
            sent: u64::from(self.next),
            heard: self.heard.unique,
            lost,
            tail,
            into_silence: u64::from(self.next.wrapping_sub(self.sent_when_heard)),
            mos,
            mos_with_tail,
            crosstalk: self.heard.crosstalk,
            gap: nanos(self.heard.gap_max),
            silence: nanos(silence),
        }
    }

    fn close_second_without_mos(&mut self, part: &mut VoicePart) {
        part.lost += self.heard.lost() as i64 - self.before.lost as i64;
        self.before.lost = self.heard.lost();
    }

    /// MOS-CQE in thousandths, for G.711 without concealment: the pessimistic view.
    fn rate(&self, loss: f64, burst_ratio: f64) -> u32 {
        let network = Duration::from_secs_f64(self.heard.delay_ms().unwrap_or(0.0).max(0.0) / 1e3);
        let measured = Measured { loss, burst_ratio, delay: network + PLAYOUT };
        (Score::of(quality::Codec::G711, measured).mos * 1000.0) as u32
    }

    /// When this end last heard anything, or began.
    pub(crate) fn peer(&self) -> CallName {
        self.heard.peer()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Sound, Voice, Voice) {
        let sound = Sound::new(Codec::Pcma, Duration::from_millis(20), false);
        let mut random = Random::new(1);
        let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let now = Time::from_millis(100);
        let mut a = Voice::new(
            CallName::new(1, 1),
            Direction::Forth,
            (SocketId(16), address(2)),
            &sound,
            &mut random,
            now,
        );
        let mut b = Voice::new(
            CallName::new(2, 1),
            Direction::Back,
            (SocketId(17), address(4)),
            &sound,
            &mut random,
            now,
        );
        a.remote = Some(b.local);
        b.remote = Some(a.local);
        (sound, a, b)
    }

    #[test]
    fn two_ends_talk_and_account_for_each_packet() {
        let (sound, mut a, mut b) = pair();
        let mut out = Outbox::<()>::new(64, 0);
        let (mut forth, mut back) = (VoicePart::default(), VoicePart::default());
        for i in 0..500u64 {
            let intended = Time::from_millis(200 + 20 * i);
            let now = intended + Duration::from_micros(100);
            a.send(intended, now, &sound, &mut forth, &mut out);
            b.send(intended, now, &sound, &mut back, &mut out);
            while let Some(send) = out.next_send() {
                let bytes = out.pool().bytes(&send.packet).to_vec();
                out.pool().release(send.packet);
                let arrived = now + Duration::from_micros(400);
                assert_eq!(bytes.len(), 172);
                // The relay loses one packet in a hundred on the way back.
                match send.socket {
                    SocketId(16) => b.hear(&bytes, arrived, Some(Time::from_millis(150)), &sound, &mut back),
                    _ if i % 100 == 50 => {}
                    _ => a.hear(&bytes, arrived, Some(Time::from_millis(150)), &sound, &mut forth),
                }
            }
        }
        let end = Time::from_millis(200 + 20 * 500);
        let (ra, rb) = (a.close(end, true, &sound, &mut forth), b.close(end, true, &sound, &mut back));
        assert_eq!((ra.sent, ra.heard, ra.lost), (500, 495, 5));
        assert_eq!((rb.sent, rb.heard, rb.lost), (500, 500, 0));
        assert!((4360..=4410).contains(&rb.mos), "{}", rb.mos);
        assert!(ra.mos < 4000, "1 % of loss without concealment is heard: {}", ra.mos);
        assert_eq!(forth.lost, 5);
        assert_eq!(back.delay.max(), Some(400_000));
        assert_eq!(forth.send_error.max(), Some(100_000));
        assert_eq!((a.peer(), b.peer()), (CallName::new(2, 1), CallName::new(1, 1)));
    }

    #[test]
    fn silence_before_a_planned_end_is_loss_and_before_another_is_not() {
        for planned in [true, false] {
            let (sound, mut a, mut b) = pair();
            let mut out = Outbox::<()>::new(4, 0);
            let mut part = VoicePart::default();
            for i in 0..10u64 {
                let at = Time::from_millis(200 + 20 * i);
                b.send(at, at, &sound, &mut VoicePart::default(), &mut out);
                a.send(at, at, &sound, &mut part, &mut out);
                while let Some(send) = out.next_send() {
                    let bytes = out.pool().bytes(&send.packet).to_vec();
                    out.pool().release(send.packet);
                    if send.socket == SocketId(17) && i < 5 {
                        a.hear(&bytes, at, None, &sound, &mut part);
                    }
                }
            }
            let record = a.close(Time::from_millis(400), planned, &sound, &mut part);
            assert_eq!((record.tail, record.into_silence), (if planned { 3 } else { 0 }, 5));
            assert_eq!((record.lost, record.mos > record.mos_with_tail), (0, planned));
        }
    }
}
