//! The way that a leg's media takes, as its descriptions agree on it: ICE as a lite agent (RFC 8445, RFC 8839), RTCP on the port
//! of RTP (RFC 5761, RFC 8858), and one stream in a bundle (RFC 9143).
//!
//! What a peer offers is answered in kind. Offers of ours have all of it where browsers are called, else nothing.

use core::net::{IpAddr, SocketAddr};
use rtp::ice::{Credentials, Remote};
use rtp::srtp::Secrets;
use sip::sdp::{MEDIA_MAX, Media, Session};

/// The priority of the one candidate that there is: a host's, of the first component (RFC 8445 §5.1.2.1).
const PRIORITY: u32 = 126 << 24 | 65_535 << 8 | 255;
/// Most letters of `a=mid` that are said again; who names a stream at greater length is not bundled.
const MID_MAX: usize = 64;

/// What a description says of its way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct WaySaid {
    /// Its agent, if it has credentials that can be used and RTCP shares the port: candidates of ours are for one alone.
    pub(crate) ice: Option<Remote>,
    pub(crate) mux: bool,
    bundled: bool,
    /// The names of all streams.
    mids: Vec<String>,
    /// Which of them is ours.
    index: usize,
}

impl WaySaid {
    /// What a session says of one of its streams.
    pub(crate) fn of(session: &Session<'_>, media: &Media<'_>) -> Self {
        let way = session.way(media);
        let ice = way.ice.filter(|_| way.mux).and_then(|(fragment, password)| {
            let credentials = Credentials::new(fragment, password)?;
            Some(Remote { credentials, lite: way.ice_lite })
        });
        let mid = |media: &Media<'_>| {
            let mid = media.mid().filter(|mid| mid.len() <= MID_MAX);
            mid.map(|mid| String::from_utf8_lossy(mid).into_owned()).unwrap_or_default()
        };
        Self {
            ice,
            mux: way.mux,
            bundled: way.bundled,
            mids: session.media.iter().take(MEDIA_MAX).map(mid).collect(),
            index: session.media.iter().position(|other| core::ptr::eq(other, media)).unwrap_or(0),
        }
    }
}

/// What is written of the way: attributes of the session and of the stream, and the names of all streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct WayWritten {
    pub(crate) session: Vec<String>,
    pub(crate) media: Vec<String>,
    pub(crate) mids: Vec<String>,
}

/// The agreement of one leg on its way.
#[derive(Debug, Default)]
pub(crate) struct LegWay {
    /// The credentials of ours, with those of the peer that they were made for, if it had said some.
    own: Option<(Credentials, Option<Remote>)>,
    /// What the peer offers, until its turn is over.
    offered: Option<WaySaid>,
    /// Whether the last offer of ours had ICE and shared ports.
    ours: bool,
    /// What was agreed upon.
    agreed: WaySaid,
}

impl LegWay {
    /// The peer offers.
    pub(crate) fn hear_offer(&mut self, said: &WaySaid, secrets: &mut Secrets) {
        if let Some(remote) = &said.ice {
            // RFC 8839 §4.4.3.1: to other credentials belong others of ours.
            let stands = self.own.as_ref().is_some_and(|(_, of)| of.as_ref().is_none_or(|of| of == remote));
            if !stands {
                self.own = Some((Credentials::draw(secrets), None));
            }
            if let Some((_, of)) = &mut self.own {
                *of = Some(remote.clone());
            }
        }
        self.offered = Some(said.clone());
    }

    /// What is written next is an offer.
    pub(crate) fn offering(&mut self) {
        self.offered = None;
    }

    /// What to write, for a stream at `index` whose port is this; `browser`: an offer is made for one.
    pub(crate) fn write(
        &mut self,
        address: IpAddr,
        port: u16,
        index: usize,
        browser: bool,
        secrets: &mut Secrets,
    ) -> WayWritten {
        let mut written = WayWritten::default();
        let said = match &self.offered {
            Some(said) => said.clone(),
            None => {
                self.ours = browser || self.agreed.mux;
                if !self.ours {
                    return written;
                }
                self.offer(index)
            }
        };
        if said.ice.is_some() || self.offered.is_none() && (browser || self.agreed.ice.is_some()) {
            let (own, _) = self.own.get_or_insert_with(|| (Credentials::draw(secrets), None));
            written.session.push("ice-lite".into());
            written.media.push(format!("ice-ufrag:{}", own.fragment()));
            written.media.push(format!("ice-pwd:{}", own.password()));
            written.media.push(format!("candidate:1 1 UDP {PRIORITY} {address} {port} typ host"));
            written.media.push("end-of-candidates".into());
        }
        if said.mux {
            written.media.push("rtcp-mux".into());
        }
        if let Some(mid) = said.mids.get(said.index).filter(|mid| !mid.is_empty() && said.bundled) {
            written.session.push(format!("group:BUNDLE {mid}"));
        }
        written.mids = said.mids;
        written
    }

    /// What an offer of ours says.
    fn offer(&self, index: usize) -> WaySaid {
        let mids = match self.agreed.mids.is_empty() {
            true => (0..=index).map(|at| if at == index { "0".into() } else { String::new() }).collect(),
            false => self.agreed.mids.clone(),
        };
        let bundled = self.agreed.mids.is_empty() || self.agreed.bundled;
        WaySaid { ice: None, mux: true, bundled, mids, index }
    }

    /// What was said last is offered as it is.
    pub(crate) fn reoffered(&mut self) {
        self.offered = None;
        self.ours = self.agreed.mux;
    }

    /// The exchange is at its end; `answers`: an offer of ours.
    pub(crate) fn commit(&mut self, said: &WaySaid, answers: bool, secrets: &mut Secrets) {
        if !answers {
            self.hear_offer(said, secrets);
        }
        self.agreed = said.clone();
        if answers && !self.ours {
            (self.agreed.ice, self.agreed.mux) = (None, false);
        }
        if let (Some(remote), Some((_, of))) = (&self.agreed.ice, &mut self.own) {
            *of = Some(remote.clone());
        }
    }

    /// Whether RTCP comes and goes with RTP.
    pub(crate) const fn is_multiplexed(&self) -> bool {
        self.agreed.mux
    }

    /// The credentials of both agents, if the peer checks. Two lite agents do not (RFC 8445 §6.1.1).
    pub(crate) fn agents(&self) -> Option<(&Credentials, &Remote)> {
        let remote = self.agreed.ice.as_ref().filter(|remote| !remote.lite)?;
        self.own.as_ref().map(|(own, _)| (own, remote))
    }
}

/// Where RTCP of a peer is that puts it on the port of RTP.
pub(crate) fn with_rtp(mux: bool, rtp: Option<SocketAddr>, rtcp: Option<SocketAddr>) -> Option<SocketAddr> {
    if mux { rtp } else { rtcp }
}
