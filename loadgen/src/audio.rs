//! One end's voice: a paced stream of marked packets out, and the account of the stream in.

use crate::heard::{Heard, Verdict};
use crate::mark::{CallName, Direction, Mark, Unmarked};
use crate::measure::{VoicePart, VoiceRecord, nanos};
use crate::pace::Place;
use crate::plan::{Codec, Marks};
use crate::sign::{self, Ear, Listener, Speaker, TONES};
use core::net::SocketAddr;
use core::time::Duration;
use media::opus::{Decoder, Settings};
use media::resample::Rate;
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
    /// Ticks of the RTP clock in a packet.
    ticks: u32,
    marks: Marks,
    /// Payloads: one with tone, over whose beginning marks are written; or one of each tone of a sign.
    payloads: Vec<Box<[u8]>>,
    ear: Option<Ear>,
}

impl Sound {
    /// A tone of 400 Hz, of which every packet time holds whole periods; or the tones of signs.
    pub(crate) fn new(codec: Codec, ptime: Duration, marks: Marks) -> Self {
        let count = (ptime.as_millis() * 8) as usize;
        let mut samples = vec![0i16; count];
        media::Tone::sine(400.0, 8000, 8000).fill(&mut samples);
        let payloads = match marks {
            Marks::Signs => (0..TONES).map(|tone| encode(codec, &sign::samples(tone))).collect(),
            _ => vec![encode(codec, &samples)],
        };
        let ticks = if codec == Codec::Opus { media::opus::CLOCK / 8000 } else { 1 } * count as u32;
        Self { codec, ptime, ticks, marks, payloads, ear: (marks == Marks::Signs).then(Ear::new) }
    }

    /// Writes a mark over the tone.
    fn write(&self, mark: &Mark, payload: &mut [u8]) {
        match (self.marks, self.codec) {
            (Marks::Levels, Codec::Pcma) => mark.write_levels(payload, media::g711::alaw_encode),
            (Marks::Levels, Codec::Pcmu) => mark.write_levels(payload, media::g711::ulaw_encode),
            (Marks::Bytes, _) => mark.write(payload),
            _ => {}
        }
    }

    /// Reads the mark of a packet that was heard.
    fn read(&self, payload: &[u8]) -> Result<Mark, Unmarked> {
        match (self.marks, self.codec) {
            (Marks::Levels, Codec::Pcma) => Mark::read_levels(payload, media::g711::alaw_decode),
            (Marks::Levels, Codec::Pcmu) => Mark::read_levels(payload, media::g711::ulaw_decode),
            _ => Mark::read(payload),
        }
    }
}

/// A packet of samples. Those of Opus may follow each other in any order.
fn encode(codec: Codec, samples: &[i16]) -> Box<[u8]> {
    let mut payload = vec![0; samples.len().max(media::opus::OCTETS_MAX)];
    let octets = match codec {
        Codec::Pcma => media::g711::alaw_encode_frame(samples, &mut payload),
        Codec::Pcmu => media::g711::ulaw_encode_frame(samples, &mut payload),
        // Three of a kind, so that the last one has nothing but itself in it.
        Codec::Opus => media::opus::standalone(Settings::of(Rate::Hz8000), &samples.repeat(3), &mut payload),
    };
    payload.truncate(octets);
    payload.into()
}

/// What signs take at each end of a call.
#[derive(Debug)]
struct Signing {
    speaker: Speaker,
    listener: Listener,
    decoder: Option<Decoder>,
}

impl Signing {
    fn new(name: CallName, direction: Direction, codec: Codec) -> Box<Self> {
        let decoder = (codec == Codec::Opus).then(|| Decoder::new(Settings::of(Rate::Hz8000)));
        Box::new(Self { speaker: Speaker::new(name, direction), listener: Listener::new(name), decoder })
    }

    /// The tone of a payload.
    fn tone(&mut self, payload: &[u8], sound: &Sound) -> Option<u8> {
        let mut samples = [0; sign::SAMPLES];
        let count = match (sound.codec, &mut self.decoder) {
            (Codec::Pcma, _) => media::g711::alaw_decode_frame(payload, &mut samples),
            (Codec::Pcmu, _) => media::g711::ulaw_decode_frame(payload, &mut samples),
            (Codec::Opus, Some(decoder)) => decoder.decode(payload, &mut samples),
            (Codec::Opus, None) => 0,
        };
        sound.ear.as_ref().filter(|_| count == samples.len()).and_then(|ear| ear.tone(&samples))
    }
}

/// Where an end hears, and by which payload type.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    pub(crate) local: SocketAddr,
    pub(crate) payload_type: u8,
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
    /// The payload types of what is sent and of what is heard.
    types: [u8; 2],
    signing: Option<Box<Signing>>,
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
            types: [sound.codec.payload_type(); 2],
            signing: (sound.marks == Marks::Signs).then(|| Signing::new(name, direction, sound.codec)),
        }
    }

    /// Where this end hears.
    pub(crate) fn end(&self) -> End {
        End { local: self.local, payload_type: self.types[1] }
    }

    /// The peer wants to hear there, by its own payload type. Who is called goes by what the caller offered (RFC 3264 §6.1).
    pub(crate) fn meet(&mut self, remote: SocketAddr, payload_type: u8) {
        self.remote = Some(remote);
        self.types[0] = payload_type;
        if self.direction == Direction::Back {
            self.types[1] = payload_type;
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
        let hears = self.heard.peer();
        let tone = self.signing.as_mut().map_or(0, |it| it.speaker.tone(self.next, intended, hears));
        let Some(sounds) = sound.payloads.get(tone) else { return };
        let len = sounds.len();
        let header = rtp::Header { payload_type: self.types[0], ..self.sender.packet(sound.ticks, len) };
        let (call, direction, place) = (self.name, self.direction, self.next);
        let mark = Mark { call, hears, direction, place, intended, sent: now };
        out.send_with(self.socket, remote, rtp::HEADER_LEN + len, |bytes| {
            // The buffer was asked for with room for both.
            let _ = header.write(bytes);
            let payload = &mut bytes[rtp::HEADER_LEN..];
            payload.copy_from_slice(sounds);
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
        let header = *packet.header();
        // Another codec than the one agreed upon is nobody's of ours.
        if sound.marks != Marks::Bytes && header.payload_type != self.types[1] {
            part.foreign += 1;
            return;
        }
        if let Some(mut signing) = self.signing.take() {
            let tone = signing.tone(packet.payload(), sound);
            signing.listener.take((header.ssrc, header.sequence), arrived, tone, |(arrived, mark)| {
                self.account(mark.ok_or(Unmarked::Corrupt), arrived, answered, part);
            });
            self.signing = Some(signing);
            return;
        }
        self.account(sound.read(packet.payload()), arrived, answered, part);
    }

    /// Sets a packet against what should have come.
    fn account(
        &mut self,
        mark: Result<Mark, Unmarked>,
        arrived: Time,
        answered: Option<Time>,
        part: &mut VoicePart,
    ) {
        let mark = match mark {
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

    /// Books the rest at the call's end. `planned`: the call ended as it should, so voice was due until now. No record is made of a call too
    /// short for its signs to be read: it has no voice to judge.
    pub(crate) fn close(
        &mut self,
        now: Time,
        planned: bool,
        sound: &Sound,
        part: &mut VoicePart,
    ) -> Option<VoiceRecord> {
        if let Some(signing) = &mut self.signing {
            let short = signing.listener.heard_too_little();
            signing.listener.give_up(|_| part.corrupt += 1);
            if short {
                return None;
            }
        }
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
        Some(VoiceRecord {
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
        })
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
        pair_of(Codec::Pcma, Marks::Bytes)
    }

    fn pair_of(codec: Codec, marks: Marks) -> (Sound, Voice, Voice) {
        let sound = Sound::new(codec, Duration::from_millis(20), marks);
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
        let ra = a.close(end, true, &sound, &mut forth).unwrap();
        let rb = b.close(end, true, &sound, &mut back).unwrap();
        assert_eq!((ra.sent, ra.heard, ra.lost), (500, 495, 5));
        assert_eq!((rb.sent, rb.heard, rb.lost), (500, 500, 0));
        assert!((4360..=4410).contains(&rb.mos), "{}", rb.mos);
        assert!(ra.mos < 4000, "1 % of loss without concealment is heard: {}", ra.mos);
        assert_eq!(forth.lost, 5);
        assert_eq!(back.delay.max(), Some(400_000));
        assert_eq!(forth.send_error.max(), Some(100_000));
        assert_eq!((a.peer(), b.peer()), (CallName::new(2, 1), CallName::new(1, 1)));
    }

    /// Sends packets between two ends that mark them with signs, without those at `lost`.
    fn talk_in_signs(codec: Codec, packets: u32, lost: &[u32]) -> (Option<VoiceRecord>, VoicePart, CallName) {
        let (sound, mut a, mut b) = pair_of(codec, Marks::Signs);
        let mut out = Outbox::<()>::new(4, 0);
        let mut part = VoicePart::default();
        for n in 0..packets {
            let at = Time::from_millis(200 + 20 * u64::from(n));
            b.send(at, at, &sound, &mut VoicePart::default(), &mut out);
            while let Some(send) = out.next_send() {
                let bytes = out.pool().bytes(&send.packet).to_vec();
                out.pool().release(send.packet);
                if !lost.contains(&n) {
                    a.hear(&bytes, at + Duration::from_millis(2), None, &sound, &mut part);
                }
            }
        }
        let end = Time::from_millis(200 + 20 * u64::from(packets));
        (a.close(end, true, &sound, &mut part), part, a.peer())
    }

    #[test]
    fn signs_account_for_each_packet_as_marks_do() {
        for codec in [Codec::Opus, Codec::Pcma, Codec::Pcmu] {
            let (record, part, peer) = talk_in_signs(codec, 300, &[20, 100, 101, 250]);
            let record = record.unwrap();
            assert_eq!((record.heard, record.lost, part.corrupt), (296, 4, 0), "{codec:?}");
            assert_eq!((part.delay.min(), part.delay.max()), (Some(2_000_000), Some(2_000_000)));
            assert_eq!(peer, CallName::new(2, 1));
        }
        let (record, part, _) = talk_in_signs(Codec::Opus, 40, &[]);
        assert!(record.is_none() && part.corrupt == 40, "too short to be read");
        let lost: Vec<u32> = (0..600).step_by(30).collect();
        let (record, part, _) = talk_in_signs(Codec::Opus, 600, &lost);
        assert_eq!((record.unwrap().heard, part.corrupt), (0, 580), "never a sign whole: no voice");
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
            let record = a.close(Time::from_millis(400), planned, &sound, &mut part).unwrap();
            assert_eq!((record.tail, record.into_silence), (if planned { 3 } else { 0 }, 5));
            assert_eq!((record.lost, record.mos > record.mos_with_tail), (0, planned));
        }
    }
}
