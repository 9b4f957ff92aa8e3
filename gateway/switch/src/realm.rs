//! Networks that the gateway joins: each has its addresses for signalling and media, its peers and its rules.
//!
//! A call comes in at one realm and leaves by that of its callee; its media is bridged from the one's address to the other's.

use crate::admission::Network;
use crate::config::{Listener, RtpPorts, Start};
use crate::shard::Shard;
use crate::status::Refusal;
use core::net::{IpAddr, SocketAddr};
use sip::{Flow, Nat};

/// One of several networks that the gateway is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Realm {
    /// Its name, in configuration and errors.
    pub name: String,
    /// Whose addresses belong to it, besides the trunks that name it.
    pub networks: Vec<Network>,
    /// Where requests to its peers go; none: as everywhere.
    pub nat: Option<Nat>,
    /// The SIP addresses (as bound) by which it is reached. Fixed at the start.
    pub listeners: Vec<SocketAddr>,
    /// Where its media is, by address family. Fixed at the start.
    pub media: Vec<MediaPlace>,
}

/// Where RTP is received and what is said of it in SDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaPlace {
    /// The address that ports are opened on.
    pub local: IpAddr,
    /// The address named in SDP.
    pub advertised: IpAddr,
    /// The ports, of all shards.
    pub ports: RtpPorts,
}

/// What a listener is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The realm, by its place in the configuration at the start; none: the addresses of no realm.
    pub(crate) realm: Option<usize>,
    /// Where media of its calls is.
    pub(crate) media: MediaPlace,
}

impl Place {
    /// What the listener of a shard that starts is part of.
    pub(crate) fn of(listener: &Listener, start: &Start) -> Self {
        let realms = &start.config.realms;
        let realm = realms.iter().position(|realm| realm.listeners.contains(&listener.local));
        let v4 = listener.local.is_ipv4();
        // Its own address if media is there too, else one of its family.
        let media = realm.and_then(|at| {
            let mut places = realms[at].media.iter();
            let own = places.clone().find(|place| place.local == listener.local.ip());
            own.or_else(|| places.find(|place| place.local.is_ipv4() == v4))
        });
        let own = MediaPlace {
            local: listener.local.ip(),
            advertised: start.config.media_advertised(v4).unwrap_or_else(|| listener.advertised.ip()),
            ports: start.rtp_ports,
        };
        Self { realm, media: media.copied().unwrap_or(own) }
    }
}

/// The realm that an address belongs to: that of the smallest network which holds it.
pub fn realm_of(realms: &[Realm], address: IpAddr) -> Option<usize> {
    let best = |realm: &Realm| {
        realm.networks.iter().filter(|network| network.contains(address)).map(|network| network.bits()).max()
    };
    let found = realms.iter().enumerate().filter_map(|(at, realm)| Some((best(realm)?, at)));
    // Of equals the first one.
    found.min_by_key(|(bits, at)| (core::cmp::Reverse(*bits), *at)).map(|(_, at)| at)
}

impl Shard {
    /// The listener from which a peer is reached: one of its address family, in its realm. `named` is the realm that its trunk
    /// says it is in.
    pub(crate) fn listener_towards(
        &self,
        address: SocketAddr,
        named: Option<&str>,
    ) -> Result<usize, Refusal> {
        let realms = &self.config.realms;
        let realm = match named {
            Some(name) => realms.iter().position(|realm| realm.name == name),
            None => realm_of(realms, address.ip()),
        };
        let fits = |listener: &Listener| listener.local.is_ipv4() == address.is_ipv4();
        let within = self.listeners.iter().zip(&self.places);
        let found = within.into_iter().position(|(listener, place)| fits(listener) && place.realm == realm);
        let anywhere = || match realm {
            None => self.listeners.iter().position(fits),
            Some(_) => None,
        };
        found.or_else(anywhere).ok_or_else(|| {
            Refusal::internal(match realm {
                Some(_) => "no listen address of the peer's address family in its realm",
                None => "no listen address of the peer's address family",
            })
        })
    }

    /// The listener that a flow came by. Where it came over an address for connections only, its media uses the same IP
    /// address.
    pub(crate) fn listener_of(&self, flow: &Flow) -> usize {
        self.listener_called(flow.local).unwrap_or(0)
    }

    /// The listener that is called so, or else has that IP address.
    pub(crate) fn listener_called(&self, local: SocketAddr) -> Option<usize> {
        let named = self.listeners.iter().position(|it| it.advertised == local);
        named.or_else(|| self.listeners.iter().position(|it| it.advertised.ip() == local.ip()))
    }

    /// The realm of a listener.
    pub(crate) fn realm_at(&self, listener: usize) -> Option<&Realm> {
        self.config.realms.get(self.places.get(listener)?.realm?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn realm(name: &str, networks: &[&str]) -> Realm {
        let networks = networks.iter().map(|text| text.parse().unwrap()).collect();
        Realm { name: name.into(), networks, nat: None, listeners: Vec::new(), media: Vec::new() }
    }

    #[test]
    fn an_address_is_in_the_realm_of_the_smallest_network_that_holds_it() {
        let realms = [
            realm("outside", &["0.0.0.0/0", "::/0"]),
            realm("inside", &["10.0.0.0/8", "fd00::/8"]),
            realm("branch", &["10.7.0.0/16"]),
        ];
        let of = |address: &str| realm_of(&realms, address.parse().unwrap());
        assert_eq!((of("192.0.2.1"), of("10.1.2.3"), of("10.7.2.3")), (Some(0), Some(1), Some(2)));
        assert_eq!((of("::ffff:10.7.2.3"), of("fd00::1"), of("2001:db8::1")), (Some(2), Some(1), Some(0)));
        assert_eq!(realm_of(&realms[1..], "192.0.2.1".parse().unwrap()), None);
    }
}
