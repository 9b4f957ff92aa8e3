//! What has to be settled with a leg's peer before its media passes: where it is, by ICE, and under which keys, by DTLS.
//!
//! Both share the leg's RTP port with RTP and RTCP (RFC 7983). With ICE only sources whose checks were authentic are listened
//! to, whatever they send. A leg that awaits keys passes nothing, either way.

use crate::bridge::{Bridge, Side};
use crate::leg_media::LegMedia;
use crate::leg_way::LegWay;
use crate::security::{Agreed, Joint};
use core::net::SocketAddr;
use core::time::Duration;
use rtp::dtls::{Broken, DATAGRAM_MAX, End, Ends, Exported, Fingerprint, Step};
use rtp::ice::{self, Agent};
use rtp::srtp::Mki;
use rtp::{Framing, Policy};
use sansio::{Outbox, Time};

/// Times that a handshake that broke begins anew: somebody may have sent rubbish in the peer's name.
const TRIES: u8 = 3;
/// Steps taken out of a handshake at once: a flight is some of them.
const STEPS_MAX: usize = 64;

/// Counts of a leg's ICE and DTLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkAccount {
    /// What ICE counted before its agent was another.
    pub ice: ice::Account,
    /// RTP and RTCP from sources without an authentic check.
    pub unchecked: u64,
    /// RTP and RTCP that came, or were to be sent, before there were keys.
    pub unkeyed: u64,
    /// STUN and DTLS not taken: from nowhere that is known, or on a leg that agreed on neither.
    pub unwanted: u64,
    /// Handshakes begun.
    pub begun: u64,
    /// Those that came to keys.
    pub keyed: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those in which another certificate was shown than signalling said.
    pub mismatched: u64,
    /// Microseconds of processor time that they took.
    pub spent_us: u64,
}

/// How a leg's handshake ended, if it ended badly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The peer showed another certificate than signalling said (RFC 5763 §5: the session is torn down).
    Stranger,
    /// It came to no keys.
    Failed,
}

/// A leg's agent and handshake.
#[derive(Debug, Default)]
pub(crate) struct Link {
    agent: Option<Agent>,
    shaking: Option<Shaking>,
}

/// The handshake of a leg.
#[derive(Debug)]
struct Shaking {
    joint: Joint,
    end: Option<Box<dyn End>>,
    /// Where its datagrams go: where the last one that was taken came from.
    peer: Option<SocketAddr>,
    /// When it is to be looked at again.
    wake: Option<Time>,
    tries: u8,
    /// What was counted of the processor time of this end.
    spent_us: u64,
    /// Whether the certificate is one of those that signalling named.
    known: bool,
    keyed: bool,
    fault: Option<Fault>,
}

impl Shaking {
    const fn new(joint: Joint) -> Self {
        Self {
            joint,
            end: None,
            peer: None,
            wake: None,
            tries: 0,
            spent_us: 0,
            known: false,
            keyed: false,
            fault: None,
        }
    }
}

impl LegMedia {
    /// What was agreed of the leg's keys and way holds from now on.
    pub(crate) fn settle(&mut self, agreed: Option<&Joint>, way: &LegWay) {
        let mut link = self.link.take().unwrap_or_default();
        match way.agents() {
            Some((own, remote)) => match &mut link.agent {
                Some(agent) => agent.renew(own, remote),
                none => *none = Some(Agent::new(own.clone(), remote.clone())),
            },
            None => self.link_account.ice.add(link.agent.take().map(|agent| *agent.account())),
        }
        match agreed {
            Some(joint)
                if link.shaking.as_ref().is_some_and(|it| it.joint == *joint && it.fault.is_none()) => {}
            Some(joint) => link.shaking = Some(Shaking::new(joint.clone())),
            None => link.shaking = None,
        }
        self.link = (link.agent.is_some() || link.shaking.is_some()).then_some(link);
    }

    /// Whether the leg's media has to be protected and there is no key yet.
    #[inline]
    pub(crate) fn awaits_keys(&self) -> bool {
        self.crypto.is_none() && self.link.as_ref().is_some_and(|link| link.shaking.is_some())
    }

    /// Where ICE leads: `None` if the leg has none, else what the peer chose, if it did.
    pub(crate) fn way_chosen(&self) -> Option<Option<SocketAddr>> {
        self.link.as_ref()?.agent.as_ref().map(Agent::chosen)
    }

    /// As whose a packet of RTP or RTCP from here is to be taken; `None`, and counted, if it is nobody's. With ICE all sources
    /// that it knows are the peer's.
    pub(crate) fn admit(&mut self, source: SocketAddr) -> Option<SocketAddr> {
        let Some(agent) = self.link.as_ref().and_then(|link| link.agent.as_ref()) else {
            return Some(source);
        };
        let admitted = agent.chosen().filter(|_| agent.knows(source));
        self.link_account.unchecked += u64::from(admitted.is_none());
        admitted
    }

    /// Media goes where ICE leads.
    fn follow(&mut self) {
        let Some(chosen) = self.way_chosen() else { return };
        self.latch.expect(chosen, Policy::Strict);
        self.rtcp_remote = chosen;
        self.forget_rtcp_source();
    }

    /// Counts of ICE and DTLS.
    pub fn link_account(&self) -> LinkAccount {
        let mut account = self.link_account;
        account.ice.add(self.link.as_ref().and_then(|link| Some(*link.agent.as_ref()?.account())));
        account
    }

    /// Whether a handshake is under way.
    pub(crate) fn is_shaking(&self) -> bool {
        let shaking = self.link.as_ref().and_then(|link| link.shaking.as_ref());
        shaking.is_some_and(|it| it.end.is_some() && !it.keyed)
    }

    /// Whether a handshake of ours could begin: it is ours to, and the peer can be reached.
    pub(crate) fn could_begin(&self) -> bool {
        let shaking = self.link.as_ref().and_then(|link| link.shaking.as_ref());
        shaking.is_some_and(|it| it.joint.active && it.end.is_none() && it.fault.is_none() && !it.keyed)
            && self.latch.target().is_some()
    }

    /// When the leg is to be looked at again though nothing comes.
    pub(crate) fn link_wake(&self) -> Option<Time> {
        let link = self.link.as_ref()?;
        let consent = link.agent.as_ref().and_then(Agent::consent_ends);
        let shaking = link.shaking.as_ref().and_then(|it| it.wake);
        consent.into_iter().chain(shaking).min()
    }

    /// How the leg's handshake ended, if it ended badly.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.link.as_ref()?.shaking.as_ref()?.fault
    }

    /// Takes STUN or DTLS that came to the RTP port; true if where media goes may be another than before. `ends`: handshakes
    /// may begin.
    pub(crate) fn take_link<M>(
        &mut self,
        now: Time,
        source: SocketAddr,
        payload: &[u8],
        ends: Option<&dyn Ends>,
        out: &mut Outbox<M>,
    ) -> bool {
        let Some(link) = &mut self.link else {
            self.malformed += 1;
            return false;
        };
        match (Framing::of(payload), &mut link.agent) {
            (Framing::Stun, Some(agent)) => {
                let heard = agent.handle(now, source, payload);
                if let Some(answer) = heard.answer {
                    out.send(self.rtp_socket, source, &answer);
                }
                if heard.moved {
                    self.follow();
                }
                heard.moved
            }
            (Framing::Dtls, agent) => {
                let known = match agent {
                    Some(agent) => agent.knows(source),
                    None => self.latch.permits(source),
                };
                if known && link.shaking.is_some() {
                    self.shake(now, source, payload, ends, out);
                } else {
                    self.link_account.unwanted += 1;
                }
                false
            }
            _ => {
                self.link_account.unwanted += 1;
                false
            }
        }
    }

    /// A datagram of the handshake came.
    fn shake<M>(
        &mut self,
        now: Time,
        source: SocketAddr,
        payload: &[u8],
        ends: Option<&dyn Ends>,
        out: &mut Outbox<M>,
    ) {
        let Some(shaking) = self.link.as_mut().and_then(|link| link.shaking.as_mut()) else { return };
        if shaking.fault.is_some() {
            return;
        }
        if shaking.end.is_none() {
            // What comes before our own first flight says nothing that it would not say again.
            let Some(ends) = ends.filter(|_| !shaking.joint.active && !shaking.keyed) else { return };
            shaking.end = Some(ends.open(now, false));
            self.link_account.begun += 1;
        }
        shaking.peer = Some(source);
        let done = shaking.end.as_mut().map_or(Ok(()), |end| end.handle(now, payload));
        self.proceed(now, done, out);
    }

    /// Begins the handshake, if it is ours to begin.
    pub(crate) fn begin<M>(&mut self, now: Time, ends: &dyn Ends, out: &mut Outbox<M>) {
        if !self.could_begin() {
            return;
        }
        if let Some(shaking) = self.link.as_mut().and_then(|link| link.shaking.as_mut()) {
            shaking.end = Some(ends.open(now, true));
            self.link_account.begun += 1;
        }
        self.proceed(now, Ok(()), out);
    }

    /// Time went by; true if where media goes is another than before: consent has run out.
    pub(crate) fn link_timeout<M>(&mut self, now: Time, out: &mut Outbox<M>) -> bool {
        let Some(link) = &mut self.link else { return false };
        let lapsed = link.agent.as_mut().is_some_and(|agent| agent.handle_timeout(now));
        let due = link.shaking.as_mut().filter(|it| it.wake.is_some_and(|wake| wake <= now));
        let done = due.and_then(|it| it.end.as_mut()).map(|end| end.handle_timeout(now));
        if let Some(done) = done {
            self.proceed(now, done, out);
        }
        if lapsed {
            self.follow();
        }
        lapsed
    }

    /// Does what the handshake wants done.
    fn proceed<M>(&mut self, now: Time, done: Result<(), Broken>, out: &mut Outbox<M>) {
        let target = self.latch.target();
        let Some(shaking) = self.link.as_mut().and_then(|link| link.shaking.as_mut()) else { return };
        let Some(end) = shaking.end.as_mut() else { return };
        let (mut room, mut keys, mut over) = ([0; DATAGRAM_MAX], None, done.is_err());
        shaking.wake = None;
        // An end that is broken may still have to say so.
        for _ in 0..STEPS_MAX {
            match end.poll(&mut room) {
                Step::Send(datagram) => {
                    if let Some(peer) = shaking.peer.or(target) {
                        out.send(self.rtp_socket, peer, datagram);
                    }
                }
                Step::Certificate(certificate) => {
                    shaking.known = Fingerprint::vouch(&shaking.joint.prints, certificate);
                    if !shaking.known {
                        shaking.fault = Some(Fault::Stranger);
                        over = true;
                        break;
                    }
                }
                Step::Keys(exported) => keys = Some(exported),
                Step::Closed => {
                    over = true;
                    break;
                }
                Step::Wait(at) => {
                    shaking.wake = Some(at.max(now + Duration::from_millis(1)));
                    break;
                }
            }
        }
        let spent = end.spent();
        self.link_account.spent_us += spent.saturating_sub(core::mem::replace(&mut shaking.spent_us, spent));
        if over {
            self.end_handshake();
        }
        if let Some(exported) = keys {
            self.take_keys(&exported);
        }
    }

    /// The handshake is over without a need, or without a way, to go on.
    fn end_handshake(&mut self) {
        let Some(shaking) = self.link.as_mut().and_then(|link| link.shaking.as_mut()) else { return };
        (shaking.end, shaking.wake, shaking.spent_us) = (None, None, 0);
        if shaking.keyed && shaking.fault.is_none() {
            // Keys outlive it; what the peer says of its end is said in signalling.
            return;
        }
        self.link_account.mismatched += u64::from(shaking.fault == Some(Fault::Stranger));
        self.link_account.failed += 1;
        shaking.tries += 1;
        if shaking.fault.is_none() && shaking.tries >= TRIES {
            shaking.fault = Some(Fault::Failed);
        }
    }

    /// Keys came: media is protected by them from now on (RFC 5764 §4.2).
    fn take_keys(&mut self, exported: &Exported) {
        let Some(shaking) = self.link.as_mut().and_then(|link| link.shaking.as_mut()) else { return };
        if !shaking.known {
            shaking.fault = shaking.fault.or(Some(Fault::Failed));
            self.link_account.failed += 1;
            return;
        }
        shaking.keyed = true;
        self.link_account.keyed += 1;
        let (own, peer) = match shaking.joint.active {
            true => (&exported.client, &exported.server),
            false => (&exported.server, &exported.client),
        };
        self.protect(&Agreed::Keys(own, peer, Mki::default()));
    }
}

impl Bridge {
    /// A side's keys are as agreed from now on; the handshake that is to come to them, if one is.
    pub(crate) fn agree(&mut self, side: Side, agreed: &Agreed<'_>) -> Option<Joint> {
        self.legs(side).0.protect(agreed);
        match agreed {
            Agreed::Dtls(joint) => Some((*joint).clone()),
            _ => None,
        }
    }

    /// That handshake, and a side's way, are as agreed from now on.
    pub(crate) fn settle(&mut self, side: Side, joint: Option<&Joint>, way: &LegWay) {
        self.legs(side).0.settle(joint, way);
    }
}
