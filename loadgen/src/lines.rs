//! The calls of one shard and all they hold: legs, ports, streams, alarms. The only place where a call is removed.

use crate::audio::{End, Sound, Voice};
use crate::mail::{FARM, Mail};
use crate::mark::{CallName, Direction};
use crate::measure::{CallRecord, Outcome, Part, VoiceRecord, nanos};
use crate::pace::Pacer;
use crate::plan::Media;
use crate::ports::Ports;
use crate::session;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use sansio::{Datagram, Key, Outbox, Random, Slab, SocketId, Time, TimerId, Wheel};
use sip::{Endpoint, LegId};

/// How often parts are mailed.
const SECOND: Duration = Duration::from_secs(1);

/// Where a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// INVITE sent or received, no final answer.
    Starting,
    /// Answered.
    Standing,
    /// BYE or CANCEL sent.
    Ending,
}

/// What a call's alarm means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alarm {
    /// Carrier: send the first response.
    Ring,
    /// Carrier: answer.
    Answer,
    /// Either: hang up.
    HangUp,
    /// Carrier: offer anew.
    Reinvite,
}

/// A call at one end.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) name: CallName,
    pub(crate) leg: LegId,
    pub(crate) stage: Stage,
    /// When it was due (caller) or came in (carrier): what delays count from.
    pub(crate) due: Time,
    pub(crate) rang: Option<Time>,
    pub(crate) answered: Option<Time>,
    /// When our BYE went out.
    pub(crate) ending: Option<Time>,
    pub(crate) hold: Duration,
    pub(crate) judged: bool,
    /// How it ends, once that is decided before it is over.
    pub(crate) verdict: Option<Outcome>,
    pub(crate) reason: String,
    pub(crate) voice: Option<Voice>,
    /// What the voice came to, once it ended.
    closed: Option<(CallName, Option<VoiceRecord>)>,
    alarm: Option<TimerId>,
}

/// What [`Lines`] are made with.
#[derive(Debug)]
pub(crate) struct LinesConfig {
    pub(crate) shard: u16,
    /// Names of calls begin with it; not 0, and unique over the farms of a run.
    pub(crate) farm: u32,
    pub(crate) media: Media,
    pub(crate) calls_max: u32,
    pub(crate) direction: Direction,
}

/// The calls of one shard.
#[derive(Debug)]
pub(crate) struct Lines {
    pub(crate) endpoint: Endpoint,
    pub(crate) random: Random,
    pub(crate) part: Part,
    pub(crate) media: Media,
    pub(crate) calls: Slab<Call>,
    by_leg: Vec<Option<(LegId, Key)>>,
    ports: Ports,
    pacer: Pacer,
    sound: Sound,
    alarms: Wheel<(Key, Alarm)>,
    shard: u16,
    farm: u32,
    direction: Direction,
    numbers: u32,
    /// Calls answered and not over.
    up: u64,
    second: Option<Time>,
    retransmissions: u64,
    timeouts: u64,
    unexpected: u64,
    /// When what is being handled came in, by the kernel's clock: delays count to it, so that reading several
    /// datagrams in one wake-up costs no truth.
    pub(crate) heard: Time,
}

impl Lines {
    pub(crate) fn new(
        config: &LinesConfig,
        endpoint: Endpoint,
        sip: SocketAddr,
        mut random: Random,
        now: Time,
    ) -> Self {
        let ptime = Duration::from_millis(u64::from(config.media.ptime_ms.0));
        let start = random.u32();
        Self {
            endpoint,
            part: Part::default(),
            media: config.media,
            calls: Slab::new(config.calls_max),
            by_leg: Vec::new(),
            ports: Ports::new(sip.ip(), config.media.ports, config.calls_max.saturating_add(256), start),
            pacer: Pacer::new(ptime, now),
            sound: Sound::new(config.media.codec, ptime, config.media.marks()),
            alarms: Wheel::new(now, config.calls_max),
            shard: config.shard,
            farm: config.farm,
            direction: config.direction,
            numbers: 0,
            up: 0,
            second: None,
            retransmissions: 0,
            timeouts: 0,
            unexpected: 0,
            heard: now,
            random,
        }
    }

    /// A name for the next call.
    pub(crate) fn name(&mut self) -> CallName {
        self.numbers = self.numbers.wrapping_add(1);
        CallName::new(self.farm, self.numbers)
    }

    /// Enters a call whose leg was just made.
    pub(crate) fn enter(
        &mut self,
        name: CallName,
        leg: LegId,
        due: Time,
        voice: Option<Voice>,
    ) -> Option<Key> {
        let socket = voice.as_ref().map(|voice| voice.socket);
        let call = Call {
            name,
            leg,
            stage: Stage::Starting,
            due,
            rang: None,
            answered: None,
            ending: None,
            hold: Duration::ZERO,
            judged: true,
            verdict: None,
            reason: String::new(),
            voice,
            closed: None,
            alarm: None,
        };
        let key = self.calls.insert(call).ok()?;
        if let Some(socket) = socket {
            self.ports.assign(socket, key);
        }
        let index = leg.index();
        if index >= self.by_leg.len() {
            self.by_leg.resize(index + 1, None);
        }
        self.by_leg[index] = Some((leg, key));
        Some(key)
    }

    /// The call of a leg.
    pub(crate) fn of_leg(&self, leg: LegId) -> Option<Key> {
        self.by_leg.get(leg.index()).copied().flatten().filter(|(known, _)| *known == leg).map(|(_, key)| key)
    }

    /// Takes a port and makes the voice of call `name`; `None` without a free port.
    pub(crate) fn new_voice<M>(&mut self, name: CallName, now: Time, out: &mut Outbox<M>) -> Option<Voice> {
        let port = self.ports.take(now, out)?;
        Some(Voice::new(name, self.direction, port, &self.sound, &mut self.random, now))
    }

    /// Gives back the port of a voice whose call was never entered.
    pub(crate) fn drop_voice(&mut self, voice: Option<Voice>, now: Time) {
        if let Some(voice) = voice {
            self.ports.give_back(voice.socket, now);
        }
    }

    /// Our session description, for a call with or without voice.
    pub(crate) fn describe(&self, body: &mut Vec<u8>, call: CallName, end: End) {
        session::write(body, call.0, end.local, (self.media.codec, end.payload_type), self.media.ptime_ms.0);
    }

    /// Where a call without voice says that it hears: nowhere.
    pub(crate) fn nowhere(&self, ip: IpAddr) -> End {
        End { local: SocketAddr::new(ip, 9), payload_type: self.media.codec.payload_type() }
    }

    /// Takes the peer's session description; false if it cannot be talked to.
    pub(crate) fn connect(&mut self, key: Key, body: &[u8]) -> bool {
        let Some(voice) = self.calls.get_mut(key).and_then(|call| call.voice.as_mut()) else { return true };
        match session::read(body) {
            // RFC 3261 §14.1: what is refused leaves the session as it was.
            Some(audio) if audio.codec == self.sound.codec => {
                voice.meet(audio.address, audio.payload_type);
                true
            }
            _ => false,
        }
    }

    /// Starts sending.
    pub(crate) fn speak(&mut self, key: Key, now: Time) {
        let Some(voice) = self.calls.get_mut(key).and_then(|call| call.voice.as_mut()) else { return };
        if voice.remote.is_some() && voice.place.is_none() {
            voice.place = Some(self.pacer.join(key, now));
            voice.speaks_from = now;
        }
    }

    /// Stops sending.
    fn hush(&mut self, key: Key) {
        let voice = self.calls.get_mut(key).and_then(|call| call.voice.as_mut());
        let Some(place) = voice.and_then(|voice| voice.place.take()) else { return };
        if let Some((place, moved)) = self.pacer.leave(place)
            && let Some(voice) = self.calls.get_mut(moved).and_then(|call| call.voice.as_mut())
        {
            voice.place = Some(place);
        }
    }

    /// Sets the call's alarm, in place of the one it had.
    pub(crate) fn alarm(&mut self, key: Key, at: Time, alarm: Alarm) {
        let Some(call) = self.calls.get_mut(key) else { return };
        if let Some(old) = call.alarm.take() {
            self.alarms.cancel(old);
        }
        call.alarm = self.alarms.insert(at, (key, alarm));
    }

    /// The next alarm that is due.
    pub(crate) fn next_alarm(&mut self, now: Time) -> Option<(Key, Alarm)> {
        let (_, (key, alarm)) = self.alarms.pop(now)?;
        if let Some(call) = self.calls.get_mut(key) {
            call.alarm = None;
        }
        Some((key, alarm))
    }

    /// The call was answered.
    pub(crate) fn answered(&mut self, key: Key, now: Time) {
        let Some(call) = self.calls.get_mut(key) else { return };
        call.stage = Stage::Standing;
        call.answered = Some(now);
        self.up += 1;
        self.part.answered += 1;
    }

    /// Hangs up, in whatever state the call is; it is over when its leg is gone.
    pub(crate) fn hang_up(&mut self, key: Key, now: Time) {
        let Some(call) = self.calls.get_mut(key) else { return };
        if call.stage == Stage::Ending {
            return;
        }
        if call.stage == Stage::Standing {
            self.up -= 1;
            if let Some(answered) = call.answered {
                self.part.sdt.record(nanos(now.since(answered)));
            }
        }
        call.stage = Stage::Ending;
        call.ending = Some(now);
        let leg = call.leg;
        self.close_voice(key, now, true);
        if self.endpoint.bye(now, leg, &[]).is_err() {
            self.over(key, now, Outcome::Lost);
        }
    }

    /// Ends the voice and books it; what comes later is a straggler.
    fn close_voice(&mut self, key: Key, now: Time, planned: bool) {
        self.hush(key);
        let Some(call) = self.calls.get_mut(key) else { return };
        let Some(mut voice) = call.voice.take() else { return };
        let record = voice.close(now, planned, &self.sound, &mut self.part.voice);
        self.ports.give_back(voice.socket, now);
        call.closed = Some((voice.peer(), record));
    }

    /// Removes a call that is over.
    pub(crate) fn over(&mut self, key: Key, now: Time, outcome: Outcome) {
        self.close_voice(key, now, outcome == Outcome::Completed);
        let Some(call) = self.calls.remove(key) else { return };
        if let Some(alarm) = call.alarm {
            self.alarms.cancel(alarm);
        }
        if let Some(slot) = self.by_leg.get_mut(call.leg.index())
            && slot.is_some_and(|(leg, _)| leg == call.leg)
        {
            *slot = None;
        }
        if call.stage == Stage::Standing {
            self.up -= 1;
            if let Some(answered) = call.answered {
                self.part.sdt.record(nanos(now.since(answered)));
            }
        }
        let (peer, voice) = call.closed.unwrap_or((CallName::NOBODY, None));
        self.part.ended(CallRecord {
            call: call.name,
            peer,
            due: call.due.as_nanos(),
            answered: call.answered.map_or(0, Time::as_nanos),
            ended: now.as_nanos(),
            outcome: call.verdict.unwrap_or(outcome),
            reason: call.reason,
            judged: call.judged,
            voice: voice.filter(|_| call.answered.is_some()),
        });
    }

    /// Takes a datagram that came to an RTP port.
    pub(crate) fn hear(&mut self, datagram: Datagram<'_>) {
        let call = self.ports.user(datagram.socket).and_then(|key| self.calls.get_mut(key));
        match call {
            Some(Call { voice: Some(voice), answered, .. }) => {
                voice.hear(datagram.payload, datagram.received, *answered, &self.sound, &mut self.part.voice);
            }
            _ => self.part.voice.stale += 1,
        }
    }

    /// Sends the packets that are due.
    pub(crate) fn talk<M>(&mut self, now: Time, out: &mut Outbox<M>) {
        while let Some((intended, streams)) = self.pacer.due(now) {
            for &key in streams {
                if let Some(voice) = self.calls.get_mut(key).and_then(|call| call.voice.as_mut()) {
                    voice.send(intended, now, &self.sound, &mut self.part.voice, out);
                }
            }
        }
    }

    /// Ports are opened ahead; see [`Mail::Ready`].
    pub(crate) fn ports(&mut self) -> &mut Ports {
        &mut self.ports
    }

    /// Seconds count from this instant.
    pub(crate) fn begin(&mut self, start: Time) {
        self.second = Some(start + SECOND);
        self.part.from = start.as_nanos();
    }

    /// Mails the seconds that are over.
    pub(crate) fn close_seconds(&mut self, now: Time, out: &mut Outbox<Mail>) {
        let Some(end) = self.second.filter(|&end| end <= now) else { return };
        self.mail_part(now, out);
        let mut next = end + SECOND;
        while next <= now {
            next += SECOND;
        }
        self.second = Some(next);
    }

    /// Mails what was measured since the last part.
    pub(crate) fn mail_part(&mut self, now: Time, out: &mut Outbox<Mail>) {
        for (_, call) in self.calls.iter_mut() {
            if let Some(voice) = call.voice.as_mut() {
                voice.close_second(&mut self.part.voice);
            }
        }
        let stats = self.endpoint.stats();
        let unexpected =
            stats.stray_responses + stats.stray_acks + stats.malformed_dropped + stats.malformed_refused;
        self.part.retransmissions = stats.retransmissions_sent - self.retransmissions;
        self.part.timeouts = stats.transactions_timed_out - self.timeouts;
        self.part.unexpected = unexpected - self.unexpected;
        self.retransmissions = stats.retransmissions_sent;
        self.timeouts = stats.transactions_timed_out;
        self.unexpected = unexpected;
        self.part.voice.skipped = core::mem::take(&mut self.pacer.skipped);
        self.part.up = self.up;
        self.part.open = self.calls.len() as u64;
        self.part.to = now.as_nanos();
        let part = core::mem::replace(&mut self.part, Part { from: now.as_nanos(), ..Part::default() });
        out.mail(FARM, Mail::Part { shard: self.shard, part: Box::new(part) });
    }

    /// When anything of the above is due.
    pub(crate) fn deadline(&self) -> Option<Time> {
        [self.endpoint.deadline(), self.alarms.deadline(), self.pacer.deadline(), self.second]
            .into_iter()
            .flatten()
            .min()
    }

    /// The shard's number.
    pub(crate) fn shard(&self) -> u16 {
        self.shard
    }

    /// Whether `socket` is one for RTP.
    pub(crate) fn is_rtp(socket: SocketId) -> bool {
        socket.0 >= crate::ports::FIRST_SOCKET
    }
}
